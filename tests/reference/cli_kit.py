"""``quotelife`` through its entry point, in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from quotelife_server import cli


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """``quotelife ARGUMENTS``; what it does not catch itself, a user's traceback, comes out here."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["quotelife", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
