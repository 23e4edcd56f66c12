"""``quotelife promote-check --out``: refused before anything is judged, written whole or not at all."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from quotelife.learn import gates
from quotelife.learn.dataset import Decisions
from quotelife.model.artifact import builtin_artifact
from quotelife.records import HORIZONS_NS
from quotelife_server.cli.promote_check import BLOCK_MIN_S
from reference.cli_kit import Ended, Run

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


def test_a_block_is_twice_the_longest_label_or_more(run: Run, tmp_path: Path) -> None:
    assert 2 * max(HORIZONS_NS) / 1e9 == BLOCK_MIN_S
    ask = ("promote-check", builtin_artifact("golden"), "--dataset", tmp_path, "--block", BLOCK_MIN_S - 0.1)
    ended = run(*ask)
    assert ended.code == 2 and "--block" in ended.err


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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[gates.Bounds]:
    """The bounds that the gates were asked with; they say yes to all."""
    bounds: list[gates.Bounds] = []

    def check(*given: Any, **_: Any) -> Any:
        bounds.append(given[3])
        return gates.Verdict("a" * 64, "b" * 64, 0, (), given[3].market)

    monkeypatch.setattr(gates, "check", check)
    return bounds


@pytest.fixture
def ask(run: Run, tmp_path: Path, asked: list[gates.Bounds]) -> Callable[..., Ended]:
    """The command on a dataset, with a verdict.json; ``market``: of the configuration that it names."""
    assert run("labels", "--out", tmp_path / "d", "--simulated", 0.0039, "--jobs", 1).code == 0

    def command(*more: object, market: str = "") -> Ended:
        config = tmp_path / "config.yaml"
        config.write_text(
            CONFIG.replace("QUOTED", "true")
            + f"learning: {{promotion: {{market: {market or 'full_day'}}}}}\n"
        )
        named = ("--config", config) if market else ()
        given = ("--dataset", tmp_path / "d", "--out", tmp_path / "verdict.json", *named, *more)
        return run("promote-check", builtin_artifact("golden"), *given)

    return command


@pytest.mark.parametrize(
    ("configured", "more", "market"),
    [
        ("", (), "full_day"),
        ("", ("--market", "crypto"), "crypto"),
        ("crypto", (), "crypto"),
        ("full_day", (), "full_day"),
        ("crypto", ("--market", "crypto"), "crypto"),
    ],
)
def test_the_market_is_the_configurations_or_what_is_said_without_one(
    ask: Callable[..., Ended], tmp_path: Path, configured: str, more: tuple[str, ...], market: str
) -> None:
    ended = ask(*more, market=configured)
    assert ended.code == 0 and f"by the bounds of {market}" in ended.out
    assert json.loads((tmp_path / "verdict.json").read_text())["market"] == market


@pytest.mark.parametrize(("configured", "said"), [("full_day", "crypto"), ("crypto", "full_day")])
def test_a_market_that_contradicts_the_configuration_is_refused_before_anything_is_judged(
    ask: Callable[..., Ended], asked: list[gates.Bounds], configured: str, said: str
) -> None:
    ended = ask("--market", said, market=configured)
    assert ended.code == 2 and f"learning.promotion.market is {configured}" in ended.err
    assert "leave --market out" in ended.err and not asked


def test_the_bounds_are_those_of_the_market(ask: Callable[..., Ended], asked: list[gates.Bounds]) -> None:
    for market in ("full_day", "crypto"):
        assert ask(market=market).code == 0
    found = [(dict(each.ece), each.block_ns, each.loosened) for each in asked]
    ms, s = 1_000_000, 1_000_000_000
    assert found == [
        ({500 * ms: 0.004, 2 * s: 0.01}, 60 * s, ()),
        ({500 * ms: 0.05, 2 * s: 0.05}, 10 * s, ()),
    ]


def test_what_a_decision_may_take_is_a_ratio(ask: Callable[..., Ended], asked: list[gates.Bounds]) -> None:
    assert ask("--latency-ratio", 7).code == 0 and asked[0].decision_to_yardstick == 7.0
    assert ask("--latency", "5ms").code == 2, "no word for another meaning than that of labels"
