"""The demonstration's summary, display and configuration, without processes."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from quotelife.config import load_config
from quotelife.errors import QuotelifeError
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.demo.record import DecisionRow, EndRow, Shock, percentile, problems, summarise
from quotelife_server.demo.runner import (
    WALK_IN,
    feeds_of,
    market_of,
    own_sections,
    rfq_clients,
    tradables,
    write_config,
)
from quotelife_server.demo.table import LiveTable, PlainLines, summary_lines
from quotelife_server.settings import ServiceConfig

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo"
ENDS = [
    EndRow(12 * NS_PER_S, "alpine", "BTC-USDT", "BUY", "ADVERSE_MOVE", 40 * NS_PER_MS, 160 * NS_PER_MS),
    EndRow(13 * NS_PER_S, "alpine", "BTC-USDT", "BUY", "EXPIRED", 200 * NS_PER_MS, 0),
    EndRow(14 * NS_PER_S, "alpine", "ETH-USDT", "SELL", "STRESS", 10 * NS_PER_MS, 90 * NS_PER_MS),
]
SHOCK = Shock(10 * NS_PER_S, 4 * NS_PER_S, "headline")


def row(at_s: float, life_ms: float = 2000, **fields: object) -> DecisionRow:
    usual = DecisionRow(
        answered_ns=round(at_s * NS_PER_S),
        counterparty="alpine",
        instrument="BTC-USDT",
        side="BUY",
        size="1.5",
        requested="CLIENT_PRIORITY",
        effective="CLIENT_PRIORITY",
        regime="NORMAL",
        decision="QUOTE",
        p500=0.01,
        life_ns=round(life_ms * NS_PER_MS),
        reasons=(),
        latency_ns=500_000,
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


STRESSED = {"regime": "STRESS", "effective": "RISK_AVERSE", "reasons": ("DOWNGRADED", "NEWS")}
RUN = [
    row(1, decision="DECLINE", life_ms=0),
    row(2, 3000),
    row(9, 5000),
    row(10.2, 4000),
    row(10.5, 200, **STRESSED),
    row(13, 150, **STRESSED),
    row(15, 300, **STRESSED),
    row(17.5, 2500),
    row(18, 2700),
]


def test_lives_by_phase_are_medians_of_the_quotes_in_it():
    lives = summarise(RUN, [SHOCK])["life_ms_median"]["alpine"]
    assert lives == {"before": 4000, "shock": 200, "recovering": 300, "after": 2600}


def test_times_to_downgrade_and_back():
    first = summarise(RUN, [SHOCK])["first_shock"]
    assert first["to_risk_averse_ms"] == 500
    assert first["back_to_normal_ms"] == 3500
    assert first["first_reasons"] == ["DOWNGRADED", "NEWS"]
    assert first["stressed_before"] == 0


def test_a_second_shock_does_not_count_for_the_first():
    calm_between = [*RUN[:6], row(22, 100, **STRESSED), row(40, 5000)]
    first = summarise(calm_between, [SHOCK, Shock(20 * NS_PER_S, NS_PER_S)])["first_shock"]
    assert first["back_to_normal_ms"] is None
    assert summarise(calm_between, [SHOCK])["first_shock"]["back_to_normal_ms"] == 26_000


def test_counts_tell_warm_up_from_later_declines_and_the_service_from_the_fallback():
    rows = [*RUN, row(19, decision="DECLINE"), row(19.5, source="fallback", decision="QUOTE")]
    summary = summarise(rows, [SHOCK])
    assert (summary["decisions"], summary["quotes"], summary["fallbacks"]) == (11, 8, 1)
    assert (summary["declines"], summary["declines_after_warm_up"]) == (2, 1)


def test_percentile_is_nearest_rank():
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50, 99, 100)
    assert percentile([7.0], 0.99) == 7
    assert percentile([], 0.5) is None


def whole_run() -> list[DecisionRow]:
    """Two counterparties, ten decisions a second, 20 s: everything the demonstration is to show."""
    rows = []
    for tick in range(200):
        at_s = 0.05 + tick / 10
        name, life_ms = [("alpine", 3000), ("borealis", 2000)][tick % 2]
        stressed = STRESSED if 10.2 < at_s < 17 else {}
        rows.append(row(at_s, 150 if stressed else life_ms, counterparty=name, **stressed))
    return rows


def said(rows: list[DecisionRow], *, shock_expected: bool = True) -> str:
    return "\n".join(problems(summarise(rows, [SHOCK]), shock_expected=shock_expected))


def test_a_run_that_shows_everything_has_no_problem():
    assert said(whole_run()) == ""


def test_problems_name_what_never_worked():
    assert "never had good data" in said([row(1, decision="DECLINE", life_ms=0)])
    assert "never announced" in problems(summarise(whole_run(), []), shock_expected=True)[0]
    assert "fallback" in said(whole_run() + [row(1, source="fallback")] * 40)


def test_nobody_downgraded_is_a_problem():
    assert "downgraded nobody" in said([row(each.answered_ns / NS_PER_S) for each in whole_run()])


def test_a_late_downgrade_is_a_problem():
    late = [
        replace(each, regime="NORMAL", effective=each.requested)
        if each.answered_ns < 11.2 * NS_PER_S
        else each
        for each in whole_run()
    ]
    problem = "Risk Averse came 1,250 ms after the headline, not within 1,000 ms; the service "
    assert said(late) == problem + "had not taken it"
    taken = replace(SHOCK, taken_ns=SHOCK.start_ns + 1200 * NS_PER_MS)
    assert problems(summarise(late, [taken]), shock_expected=True) == [
        problem + "had taken it after 1,200 ms"
    ]


def test_a_headline_that_is_taken_and_not_heeded_is_a_problem():
    taken = replace(SHOCK, taken_ns=SHOCK.start_ns + 240 * NS_PER_MS)
    assert problems(summarise(whole_run(), [taken]), shock_expected=True) == []
    calm = {"regime": "NORMAL", "effective": "CLIENT_PRIORITY"}
    under_way, early, worn_off = (
        row(10.241, latency_ns=2 * NS_PER_MS, **calm),
        row(10.249, **calm),
        row(13.9, **calm),
    )
    declined = row(10.249, decision="DECLINE", **calm)
    rows = sorted([*whole_run(), under_way, early, declined, worn_off], key=lambda each: each.answered_ns)
    assert problems(summarise(rows, [taken]), shock_expected=True) == [
        "1 quotes of the shock were not of regime STRESS, "
        "though the service had taken the headline before they were asked for"
    ]


def test_a_regime_that_stays_is_a_problem():
    stays = [replace(each, **STRESSED) if each.answered_ns > 17 * NS_PER_S else each for each in whole_run()]
    assert said(stays) == ""  # not watched for long enough
    assert said([*stays, row(20.1, **STRESSED)]) == (
        "the regime did not come back within 6,100 ms of the shock's end"
    )
    assert "the regime came back 6,500 ms after" in said([*stays, row(20.5)])


def test_postures_that_stay_are_a_problem():
    stays = [
        replace(each, effective="RISK_AVERSE") if each.answered_ns > 17 * NS_PER_S else each
        for each in whole_run()
    ]
    assert said(stays) == "postures did not come back: 100% downgraded after the shock"


def test_lives_that_do_not_shorten_are_a_problem():
    same = [
        replace(each, life_ns=(3000 if each.counterparty == "alpine" else 2000) * NS_PER_MS)
        for each in whole_run()
    ]
    assert said(same) == "the shock shortened no lives: median 2,500 ms before, 2,500 ms in it"


def test_lives_alike_before_the_shock_are_a_problem():
    alike = [
        replace(each, life_ns=2000 * NS_PER_MS) if each.answered_ns < SHOCK.start_ns else each
        for each in whole_run()
    ]
    assert said(alike) == "2 counterparties got the same life before the shock"


@pytest.mark.parametrize("end_s", [0.2, 5, 9.9, 10.4, 12, 14.5, 17.2])
def test_a_run_ended_early_is_no_problem(end_s: float):
    rows = [each for each in whole_run() if each.answered_ns < end_s * NS_PER_S]
    assert said(rows, shock_expected=False) == ""
    if end_s < 10:
        assert problems(summarise(rows, []), shock_expected=False) == []


def test_summary_of_nothing_is_still_a_summary():
    summary = summarise([], [])
    summary["problems"] = problems(summary, shock_expected=True)
    assert any("problem: no quote" in line for line in summary_lines(summary))


def test_plain_lines_hold_the_whole_decision():
    out = io.StringIO()
    display = PlainLines(out, 10 * NS_PER_S)
    display.decision(RUN[4])
    display.event("news")
    display.close()
    line, event = out.getvalue().splitlines()
    for word in ("0.500s", "alpine", "BTC-USDT", "BUY", "1.5", "Client Priority → Risk Averse", "STRESS"):
        assert word in line
    assert line.endswith("news")
    assert "1.00%" in line and "200 ms" in line and "500 us" in line
    assert event == "---- news"


@pytest.mark.parametrize(("width", "posture"), [(160, "Client Priority → Risk Averse"), (80, "CP → RA")])
def test_live_table_fits_its_terminal(width: int, posture: str):
    out = io.StringIO()
    console = Console(file=out, width=width, height=40, force_terminal=True, color_system=None)
    display = LiveTable(console, 10 * NS_PER_S, "title")
    display.decision(RUN[4])
    display.event("headline")
    display.close()
    text = out.getvalue()
    assert posture in text
    (line,) = [line for line in text.splitlines() if "BTC-USDT" in line]
    assert line.split()[-4:-1] == ["1.00%", "200", "500"] or line.split()[-3:] == ["1.00%", "200", "500"]
    assert len(line.rstrip()) <= width
    assert "headline" in text


def test_ends_of_watched_quotes_are_counted_and_withdrawals_shown():
    summary = summarise([row(2, watched=True), row(9)], [], ENDS)
    assert summary["watched"] == 1
    assert summary["ends"] == {"ADVERSE_MOVE": 1, "EXPIRED": 1, "STRESS": 1}
    assert summary["withdrawn_with_left_ms_median"] == 125
    text = "\n".join(summary_lines({**summary, "problems": []}))
    assert "1 quotes; they ended by adverse move 1, expired 1, stress 1" in text and "with 125 ms" in text
    out = io.StringIO()
    lines = PlainLines(out, 10 * NS_PER_S)
    for end in ENDS:
        lines.ended(end)
    assert out.getvalue().splitlines() == [
        "  2.000s  WITHDRAW alpine BTC-USDT BUY: adverse move, 160 ms before its end",
        "  4.000s  WITHDRAW alpine ETH-USDT SELL: stress, 90 ms before its end",
    ]


def test_the_table_counts_ends_and_shows_the_last_withdrawals():
    out = io.StringIO()
    display = LiveTable(Console(file=out, force_terminal=True, width=100), 10 * NS_PER_S, "title")
    for end in ENDS:
        display.ended(end)
    display.close()
    assert "watched quotes that ended: adverse move 1, expired 1, stress 1" in out.getvalue()
    assert "WITHDRAW alpine ETH-USDT SELL: stress" in out.getvalue()


# ------------------------------------------------------------------------------------------- configuration


def test_shipped_demo_configuration_is_what_the_demo_needs():
    config = load_config(DEMO, ServiceConfig)
    assert market_of(config) in ("spot", "usdm", "coinm")
    assert [each.symbol for each in tradables(config)] == ["BTCUSDT", "ETHUSDT"]
    clients = {client.name: client for client in rfq_clients(config)}
    assert len(clients) >= 4
    assert WALK_IN in clients and WALK_IN not in config.counterparties
    assert all(client.average_size for client in clients.values())


def test_run_configuration_replaces_addresses_and_nothing_else(tmp_path: Path):
    source = tmp_path / "source"
    target = tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for path in DEMO.glob("*.yaml"):
        (source / path.name).write_bytes(path.read_bytes())
    (source / "service.yaml").write_text("server:\n  in_flight_max: 7\n  address: 1.2.3.4:5\n")
    before = load_config(source, ServiceConfig)
    feeds = feeds_of(before, "usdm", "127.0.0.1:9")
    write_config(source, target, {"server": {"address": "127.0.0.1:0"}, "feeds": feeds})
    after = load_config(target, ServiceConfig)
    assert (after.server.address, after.server.in_flight_max) == ("127.0.0.1:0", 7)
    assert [feed.ws_url for feed in after.feeds] == ["ws://127.0.0.1:9"]
    assert list(after.feeds[0].instruments) == [each.name for each in before.instruments]
    rest = {"server", "feeds"}
    assert after.model_dump(exclude=rest) == before.model_dump(exclude=rest)
    assert yaml.safe_load((target / "run.yaml").read_text()).keys() == rest


@pytest.mark.parametrize("journal", ["var/journal", None])
def test_journal_and_capture_of_the_configuration_are_kept(tmp_path: Path, journal: str | None):
    """Both as configured; without a journal the run has one of its own, with the other settings as they are."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for path in DEMO.glob("*.yaml"):
        (source / path.name).write_bytes(path.read_bytes())
    server = {
        "journal": {"directory": journal, "durability": "power-loss", "keep": "7d"},
        "capture": {"directory": "var/capture", "compress": False},
        "tls": {"certificate": "service.pem", "key": "service.key"},
    }
    (source / "service.yaml").write_text(yaml.safe_dump({"server": server}))
    before = load_config(source, ServiceConfig)
    own = own_sections(before, "127.0.0.1:0", tmp_path / "own")
    write_config(source, target, {**own, "feeds": feeds_of(before, "usdm", "127.0.0.1:9")})
    after = load_config(target, ServiceConfig).server
    assert after.capture == before.server.capture
    assert after.tls is None, "it is reached in the clear, and the files are not in its folder"
    assert after.journal.directory == (journal or str(tmp_path / "own"))
    assert after.journal == before.server.journal.model_copy(update={"directory": after.journal.directory})


def test_instruments_of_two_venues_are_refused(tmp_path: Path):
    config = load_config(DEMO, ServiceConfig)
    first, second = config.instruments[:2]
    mixed = config.model_copy(
        update={"instruments": (first, second.model_copy(update={"venue": "binance-spot"}))}
    )
    with pytest.raises(QuotelifeError, match="one venue"):
        market_of(mixed)
