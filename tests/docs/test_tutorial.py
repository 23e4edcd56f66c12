"""The commands of docs/tutorial.md, as they stand there, one after the other."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone  # its commands, the demonstration among them, are run as a reader would

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"
TIMEOUT_S = 300


def blocks() -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each block printed. The folder has what a reader's has: configs, and the command on the path."""
    pytest.importorskip("xgboost")
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(ROOT / "configs", folder / "configs")
    command = folder / "bin" / "quotelife"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m quotelife_server.cli "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(sys.path),
    }
    out: dict[str, str] = {}
    for block in blocks():
        done = subprocess.run(
            ["bash", "-euc", block],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        name = re.findall(r"^quotelife (\S+)", block, re.MULTILINE)
        key = name[-1]
        out[key] = out.get(key, "") + done.stdout
    out["page"] = (folder / "report.html").read_text(encoding="utf-8")
    return out


def test_every_step_has_its_commands() -> None:
    steps = re.findall(r"^\*\*(\d+)\. ", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE)
    assert steps == [str(k) for k in range(1, 11)]
    assert len(blocks()) == 10


def test_the_model_passes_the_gates_and_is_what_explains_the_last_decision(told: dict[str, str]) -> None:
    assert "promote: yes" in told["promote-check"]
    assert "tutorial (trees)" in told["explain"]
    assert re.search(r"^verified", told["explain"], re.MULTILINE)


def test_the_page_has_every_picture(told: dict[str, str]) -> None:
    for words in ("mean what it says", "Fewer pick-offs", "worth under", "Is the tolerance held", "Lives are long",
                  "What the model looks at", "have moved away"):  # fmt: skip
        assert words in told["page"], words


def test_the_rollback_gives_back_the_model_before_and_the_history_says_why_it_had_gone(
    told: dict[str, str],
) -> None:
    assert "is the champion of every posture" in told["models"]
    assert "is the champion again" in told["models"]
    promoted, by_verdict, back = re.findall(r"^20.*?: .*$", told["models"], re.MULTILINE)
    assert "forced: the desk begins" in promoted and "first_passage" in promoted
    assert re.search(
        r"tutorial; by verdict [0-9a-f]{16} \(crypto\) on decisions of 2\S+ \S+ to 2\S+ \S+ UTC; "
        r"forced: this desk trades the simulated market$",
        by_verdict,
    )
    assert "rollback: " in back and "first_passage" in back
