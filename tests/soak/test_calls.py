"""The soak of calls in its short form, and that it finds what it looks for. ``make soak-rpc`` is ten million."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from quotelife_server.cli.bench_rig import running_service
from soak import calls

pytest.importorskip("quotelife_server.transport.native_connection", reason="built without nghttp2")


class Service:
    """Whose memory is what the test says."""

    address = ("127.0.0.1", 1)

    def __init__(self, rss: Iterator[int], **answers: int) -> None:
        self._rss = rss
        self._answers = answers

    def figures(self) -> dict[str, Any]:
        return {"rss": next(self._rss), "answers": self._answers}


def soaked(monkeypatch: pytest.MonkeyPatch, rss: list[int], lost: int = 0, **answers: int) -> list[str]:
    monkeypatch.setattr(calls, "load", lambda service, path, message, n: n - lost)
    service: Any = Service(iter(rss), **answers)
    return calls.soak(service, len(rss) * calls.ROUND, 60.0, lambda line: None)


def test_memory_that_has_settled_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert soaked(monkeypatch, [100 << 20, 150 << 20, 150 << 20, 151 << 20], OK=7) == []


def test_memory_that_grows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    (wrong,) = soaked(monkeypatch, [(100 + 10 * k) << 20 for k in range(4)], OK=7)
    assert "memory grew by 20971520 bytes" in wrong


def test_calls_that_fail_or_are_lost_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    (wrong,) = soaked(monkeypatch, [1, 1], OK=7, INTERNAL=1)[:1]
    assert "INTERNAL" in wrong
    assert "3 of" in soaked(monkeypatch, [1, 1], lost=3, OK=7)[0]


def test_a_few_thousand_calls_leave_memory_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("h2load") is None:
        pytest.skip("h2load is not here")
    monkeypatch.setattr(calls, "ROUND", 2000)
    told: list[dict[str, Any]] = []
    with running_service({"recent": {"quotes_max": 256}, "replies": {"bytes_max": 2**18}}) as service:
        assert calls.soak(service, 12_000, 120.0, told.append) == []
    assert told[-1]["calls"] == 12_000
