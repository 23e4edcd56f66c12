"""``quotelife demo --scenario``: what it prints, its JSON and its exit codes."""

import json
from pathlib import Path

import pytest

from quotelife.sim.scenario import SEED, Variant
from quotelife_server.demo import scenarios

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "demo"


def test_eth_news_prints_a_timeline_that_a_person_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert scenarios.show_eth_news(None, False) == 0
    out = capsys.readouterr().out
    for part in (
        "14:30:00.000",
        "NEWS -1.0",
        "lives 150 ms",
        "expired, 1.350 s late",
        "PICKED OFF",
        "lives 2,902 ms",
    ):
        assert part in out, part
    assert f"seed {SEED}" in out and "every expectation held" in out and "MISSED" not in out


def test_eth_news_as_json_names_every_expectation_and_fails_with_a_market_without_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert scenarios.show_eth_news(SEED + 1, True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["held"] is False and told["seed"] == SEED + 1
    assert [each["variant"] for each in told["variants"]] == [variant.value for variant in Variant]
    assert any(not each["held"] for each in told["variants"][0]["expectations"])


def test_rfq_market_compares_the_dealers(capsys: pytest.CaptureFixture[str]) -> None:
    assert scenarios.show_rfq_market(CONFIGS, 7, 60.0, True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seed"] == 7 and [each["dealer"] for each in told["dealers"]] == [
        "static 2 s",
        "static 2 s, watched",
        "quotelife",
    ]
    assert scenarios.show_rfq_market(CONFIGS, 7, 60.0, False) == 0
    out = capsys.readouterr().out
    assert "seed 7" in out and "late hits refused" in out and "value per RFQ, in h" in out


def test_rfq_market_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert scenarios.show_rfq_market(CONFIGS, 7, 10.0, False) == 1
    assert "seconds must lie in" in capsys.readouterr().err
