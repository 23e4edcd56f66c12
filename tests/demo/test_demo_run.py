"""The whole demonstration over real sockets, short; and what it says when a child does not come up."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from quotelife_server.demo.oms import TIMEOUT_S
from quotelife_server.demo.processes import ChildError, Children

ROOT = Path(__file__).resolve().parents[2]
LATE = (" ms after the headline, not within ", "as on a machine with more work than cores")


def start_demo(seconds: float | None, summary: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "quotelife_server.cli", "demo", "--plain", "--seed", "7"]
    command += ["--config", str(ROOT / "configs" / "demo"), "--summary-json", str(summary)]
    if seconds is not None:
        command += ["--seconds", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def came_late(line: str) -> bool:
    """An answer that came after the client's time: it went by its own rule."""
    latency = re.search(r" own +(\d+) us", line)
    return latency is not None and int(latency[1]) >= TIMEOUT_S * 1e6


def run_demo(summary_path: Path) -> tuple[dict[str, Any], str]:
    """Its summary and what it said. Others may use the same cores: whoever comes late on a busy machine may try again,
    and does so three times where it is the service that is late, and nothing else is wrong."""
    for tries_left in (2, 1, 0):
        demo = start_demo(10, summary_path)
        out, err = demo.communicate(timeout=120)
        summary = (
            json.loads(summary_path.read_text()) if summary_path.exists() else {"problems": [err[-3000:]]}
        )
        late = [any(words in problem for words in LATE) for problem in summary["problems"]]
        late += [came_late(line) for line in out.splitlines() if " own " in line]
        if not tries_left or not late or not all(late):
            break
    assert demo.returncode == 0, out[-3000:] + err[-3000:]
    return summary, out


@pytest.mark.alone
def test_a_shock_downgrades_within_a_second_and_lives_differ(tmp_path: Path):
    summary, out = run_demo(tmp_path / "summary.json")
    assert summary["problems"] == []
    # Which they were and why: the summary alone does not tell.
    assert summary["declines_after_warm_up"] == 0, [line for line in out.splitlines() if "DECLINE" in line]
    assert summary["fallbacks"] == 0, [line for line in out.splitlines() if " own " in line]
    assert 0 < summary["first_shock"]["to_risk_averse_ms"] < 1000
    assert summary["first_shock"]["stressed_before"] == 0
    assert summary["first_shock"]["taken_ms"] >= 0
    assert summary["first_shock"]["unheeded"] == 0
    lives = {name: phases["before"] for name, phases in summary["life_ms_median"].items()}
    assert lives["alpine-pension"] > lives["borealis-macro"] > lives["corvid-arbitrage"]
    # The downgrade may take a second of the shock: whoever was quoted once or twice in it may have been quoted before.
    shaken = {
        name: summary["life_ms_median"][name]["shock"]
        for name, quotes in summary["quotes_in_shock"].items()
        if quotes > 2
    }
    assert max(shaken.values(), default=0.0) <= 750, shaken
    assert summary["life_ms_median_of_all"]["shock"] <= 750
    assert "NEWS -1.0" in out


def test_ctrl_c_ends_it_with_a_summary_and_leaves_no_child(tmp_path: Path):
    summary_path = tmp_path / "summary.json"
    demo = start_demo(None, summary_path)
    assert demo.stdout is not None
    children: list[psutil.Process] = []
    end = time.monotonic() + 60
    for line in demo.stdout:
        assert time.monotonic() < end
        if " life " in line:
            children = psutil.Process(demo.pid).children(recursive=True)
            break
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 0, err[-3000:]
    assert len(children) == 2
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert json.loads(summary_path.read_text())["decisions"] > 0


async def test_a_child_that_ends_early_is_quoted():
    async with Children() as children:
        child = await children.start("parrot", [sys.executable, "-c", "print('polly'); raise SystemExit(3)"])
        with pytest.raises(ChildError, match=r"parrot ended early \(exit code 3\); it last said:\s+polly"):
            await child.said(lambda line: True, 10)


async def test_a_child_that_says_nothing_is_not_waited_for_for_ever():
    async with Children() as children:
        child = await children.start("mute", [sys.executable, "-c", "import time; time.sleep(60)"])
        with pytest.raises(ChildError, match="mute was not ready within 1 s"):
            await child.said(lambda line: True, 1)
    assert child.process.returncode == -signal.SIGTERM


async def test_a_death_in_mid_run_is_reported():
    async with Children() as children:
        child = await children.start("mortal", [sys.executable, "-c", "import time; time.sleep(0.2)"])
        with pytest.raises(ChildError, match="mortal ended by itself"):
            await asyncio.wait_for(child.died(), 10)
