"""``quotelife promote-check --out``: refused before anything is judged, written whole or not at all."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from quotelife.learn import gates
from quotelife.learn.dataset import Decisions
from quotelife.model.artifact import builtin_artifact
from reference.cli_kit import Run

CONFIG = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: BTC-USDT, venue: sim, symbol: BTCUSDT, tick_size: 0.1, lot_size: 0.001}
  - {name: ETH-USDT, venue: sim, symbol: ETHUSDT, tick_size: 0.01, lot_size: 0.001, enabled: QUOTED}
"""


def test_a_path_that_cannot_be_written_is_refused_before_anything_is_judged(run: Run, tmp_path: Path) -> None:
    ask = ("promote-check", builtin_artifact("golden"), "--dataset", tmp_path / "no-dataset", "--out")
    for path, why in (
        (tmp_path / "nowhere" / "verdict.json", "cannot be written"),
        (tmp_path, "is a folder"),
    ):
        ended = run(*ask, path)
        assert ended.code == 2 and why in ended.err and "no-dataset" not in ended.err


def test_where_nothing_could_be_judged_the_verdict_before_stays(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "verdict.json"
    out.write_text("before")
    ask = ("promote-check", builtin_artifact("golden"), "--dataset", tmp_path / "no-dataset", "--out", out)
    assert run(*ask).code == 1
    assert out.read_text() == "before" and list(tmp_path.iterdir()) == [out]


def test_a_verdict_names_the_postures_and_instruments_it_is_for_and_when_it_was_given(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the service only watches are not judged, and so not named."""
    judged: list[str] = []

    def check(challenger: Any, champion: Any, decisions: Sequence[Decisions], *_: Any, **__: Any) -> Any:
        judged[:] = [each.instrument for each in decisions]
        return gates.Verdict("a" * 64, "b" * 64, 0, ())

    monkeypatch.setattr(gates, "check", check)
    assert run("labels", "--out", tmp_path / "d", "--simulated", 0.0039, "--jobs", 1).code == 0
    config, out = tmp_path / "config.yaml", tmp_path / "verdict.json"
    ask = ("promote-check", builtin_artifact("golden"), "--dataset", tmp_path / "d", "--out", out)
    for quoted, more, names in (
        ("true", (), ["BTC-USDT", "ETH-USDT"]),
        ("false", ("--posture", "risk_averse", "--now", "2026-03-18"), ["BTC-USDT"]),
    ):
        config.write_text(CONFIG.replace("QUOTED", quoted))
        before = datetime.now(UTC)
        ended = run(*ask, "--config", config, *more)
        assert ended.code == 0 and judged == names
        assert ("ETH-USDT: left out" in ended.out) == (quoted == "false")
        verdict = json.loads(out.read_text())
        if more:
            assert (verdict["postures"], verdict["at"]) == (["risk_averse"], "2026-03-18T00:00:00+00:00")
        else:
            assert verdict["postures"] == ["client_priority", "liquidity_provider", "risk_averse"]
            assert abs((datetime.fromisoformat(verdict["at"]) - before).total_seconds()) < 60.0
    config.write_text(
        CONFIG.replace("QUOTED", "false").replace("lot_size: 0.001}", "lot_size: 0.001, enabled: false}")
    )
    ended = run(*ask, "--config", config)
    assert ended.code == 1 and "BTC-USDT, ETH-USDT are only watched" in ended.err
