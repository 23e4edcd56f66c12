"""Faults between values: order of postures, references, rows out of reach, windows, overlaps."""

from typing import Any

import pytest
from pydantic import ValidationError

from quotelife.config.checks import POSTURE_NAMES, find_problems, life_ms
from quotelife.config.schema import Config


def instrument(name: str, **keys: Any) -> dict[str, Any]:
    built = {"name": name, "venue": "binance-usdm", "symbol": name, "tick_size": 0.1, "lot_size": 0.001}
    return built | keys


def ratio(numerator: str, denominator: str) -> dict[str, str]:
    return {"numerator": numerator, "denominator": denominator}


def found(**keys: Any) -> list[tuple[str, str]]:
    config = Config.model_validate(
        {"version": 1, "instruments": (instrument("BTC"), instrument("ETH"))} | keys
    )
    return [(".".join(map(str, path)), reason) for path, reason in find_problems(config)]


def places(**keys: Any) -> list[str]:
    return [place for place, _ in found(**keys)]


def postures(**keys: Any) -> list[str]:
    return places(postures=keys)


def rows(*pairs: tuple[float, str]) -> dict[str, Any]:
    return {"step_table": tuple({"p_at_or_above": p, "life": life} for p, life in pairs)}


def test_the_defaults_have_no_fault() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"risk_averse": {"tolerance": 0.051}}, "risk_averse.tolerance"),
        ({"liquidity_provider": {"tolerance": 0.11}}, "liquidity_provider.tolerance"),
        ({"risk_averse": {"life_min": "101ms"}}, "risk_averse.life_min"),
        ({"liquidity_provider": {"life_max": "5001ms"}}, "liquidity_provider.life_max"),
        ({"client_priority": {"life_max": "1999ms"}}, "liquidity_provider.life_max"),
    ],
)
def test_tolerances_and_bounds_are_ordered(given: dict[str, Any], place: str) -> None:
    """Lives: risk_averse ≤ liquidity_provider ≤ client_priority."""
    assert postures(**given) == [f"postures.{place}"]


def test_held_tolerance_takes_no_life_that_it_cannot_watch_to_its_end() -> None:
    longest = {"life_max": "6s", "held_tolerance": {"enabled": True}}
    (problem,) = found(postures={"client_priority": longest})
    assert problem[0] == "postures.client_priority.life_max" and "5s" in problem[1]
    longest["held_tolerance"] = {"enabled": False}
    assert postures(client_priority=longest) == []


def test_equal_postures_are_in_order() -> None:
    same = {"tolerance": 0.05, "life_min": "100ms", "life_max": "1s"}
    assert postures(client_priority=same, liquidity_provider=same, risk_averse=same) == []


def test_bounds_of_one_posture() -> None:
    assert "postures.risk_averse.life_min" in postures(risk_averse={"life_min": "750001us"})
    assert postures(risk_averse={"life_max": "700000001ns"}) == ["postures.risk_averse.life_max"]


@pytest.mark.parametrize(
    ("table", "place"),
    [
        (rows((0.01, "700ms")), "0.p_at_or_above"),
        (rows((0, "700ms"), (0.1, "300ms"), (0.05, "200ms")), "2.p_at_or_above"),
        (rows((0, "700ms"), (0.1, "300ms"), (0.1, "200ms")), "2.p_at_or_above"),
        (rows((0, "300ms"), (0.1, "400ms")), "1.life"),
        (rows((0, "300ms"), (0.1, "300ms")), "1.life"),
        (rows((0, "800ms"), (0.1, "300ms")), "0.life"),
        (rows((0, "700ms"), (0.1, "99ms")), "1.life"),
        (rows((0, "700ms"), (0.1, "300000001ns")), "1.life"),
    ],
)
def test_step_tables_are_sorted_and_every_row_can_be_reached(table: dict[str, Any], place: str) -> None:
    assert postures(risk_averse=table) == [f"postures.risk_averse.step_table.{place}"]


def test_an_empty_step_table_is_refused() -> None:
    assert postures(risk_averse={"step_table": ()}) == ["postures.risk_averse.step_table"]


def test_modes_that_would_break_the_order_of_lives_are_refused() -> None:
    """Tolerances in order are not enough when gamma or the mode differ."""
    assert postures(liquidity_provider={"gamma": 4.0}) == ["postures.liquidity_provider"]
    assert postures(risk_averse={"mode": "step"}) == []
    slow = {"mode": "step", **rows((0, "700ms"), (0.9, "100ms"))}
    (place, reason) = found(postures={"risk_averse": slow})[0]
    assert place == "postures.risk_averse"
    assert "would live longer than liquidity_provider" in reason


def test_curve_is_for_all_postures_or_none() -> None:
    curve = {"tolerance_source": "curve"}
    assert postures(risk_averse=curve) == ["postures.risk_averse.tolerance_source"]
    assert postures(**dict.fromkeys(POSTURE_NAMES, curve)) == []
    early = {"risk_averse": curve | {"life_min": "24ms"}}
    assert postures(**dict.fromkeys(POSTURE_NAMES, curve) | early) == ["postures.risk_averse.life_min"]


@pytest.mark.parametrize("gamma", [0.1, 10.0])
def test_the_plain_formula_survives_its_extremes(gamma: float) -> None:
    posture = Config.model_validate(
        {"version": 1, "postures": {"risk_averse": {"gamma": gamma, "tolerance": 0.5}}}
    ).postures.risk_averse
    assert life_ms(posture, 5e-324) == 750.0
    assert 100.0 <= life_ms(posture, 1 - 2**-53) < 750.0


@pytest.mark.parametrize(
    ("instruments", "place"),
    [
        ((), "instruments"),
        ((instrument("A"), instrument("A", symbol="B")), "instruments.1.name"),
        ((instrument("A"), instrument("B", symbol="A")), "instruments.1.symbol"),
        ((instrument("A", stale={"min": "2s", "max": "1s"}),), "instruments.0.stale.min"),
        ((instrument("A", drivers=("A",)),), "instruments.0.drivers.0"),
        ((instrument("A", drivers=("B",)),), "instruments.0.drivers.0.numerator"),
        ((instrument("A"), instrument("B", drivers=("A", "A"))), "instruments.1.drivers.1"),
        ((instrument("A", drivers=(ratio("A", "A"),)),), "instruments.0.drivers.0.denominator"),
        ((instrument("A", volatility_index="VIX"),), "instruments.0.volatility_index"),
    ],
)
def test_instruments(instruments: tuple[dict[str, Any], ...], place: str) -> None:
    assert places(instruments=instruments) == [place]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"counterparties": {"c": {"tier": "gone"}}}, "counterparties.c.tier"),
        ({"defaults": {"unknown_counterparty_tier": "gone"}}, "defaults.unknown_counterparty_tier"),
        ({"tiers": {"t": {"average_size": {"XRP": 1}}}}, "tiers.t.average_size.XRP"),
        ({"signals": {"volatility_indices": ("VIX", "VIX")}}, "signals.volatility_indices.1"),
    ],
)
def test_references(given: dict[str, Any], place: str) -> None:
    assert places(**given) == [place]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"probe_interval": "49ms"}, "probe_interval"),
        ({"probe_interval": "2h"}, "probe_interval"),
        ({"recalibration": {"window": "10ns"}}, "recalibration.window"),
        ({"recalibration": {"window": "8d"}}, "recalibration.window"),
        ({"recalibration": {"refit": "2h"}}, "recalibration.refit"),
    ],
)
def test_learning_has_bounds(given: dict[str, Any], place: str) -> None:
    """Outside them the engine could not build what learns, or probes would leave decisions no room."""
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"version": 1, "learning": given})
    assert [".".join(map(str, e["loc"])) for e in refused.value.errors()] == [f"learning.{place}"]


NIGHT = {"from": "22:00", "to": "02:00", "timezone": "Europe/London"}


def override(**keys: Any) -> dict[str, Any]:
    return {"posture": "risk_averse"} | keys


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([override(instruments=("XRP",))], ["0.instruments.0"]),
        ([override(instruments=("BTC", "BTC"))], ["0.instruments.1"]),
        ([override(), override(instruments=("BTC",))], ["1"]),
        ([override(instruments=("BTC",)), override(instruments=("ETH",)), override(window=NIGHT)], ["2"]),
        ([override(window=NIGHT), override(window=NIGHT, instruments=("ETH",))], ["1"]),
        ([override(window=NIGHT), override()], []),
        ([override(instruments=("BTC",)), override()], []),
    ],
)
def test_overrides_that_can_never_be_reached(overrides: list[dict[str, Any]], expected: list[str]) -> None:
    seen = places(counterparties={"c": {"overrides": tuple(overrides)}})
    assert seen == [f"counterparties.c.overrides.{place}" for place in expected]


@pytest.mark.parametrize(
    ("window", "place"),
    [
        (NIGHT | {"timezone": "Mars/Olympus"}, "timezone"),
        (NIGHT | {"timezone": "Europe"}, "timezone"),
        (NIGHT | {"timezone": "../../etc/passwd"}, "timezone"),
        (NIGHT | {"timezone": "/etc/localtime"}, "timezone"),
        (NIGHT | {"to": "22:00"}, "to"),
        (NIGHT | {"from": "24:00"}, "from"),
        (NIGHT | {"to": "00:00"}, "to"),
        (NIGHT | {"days": ("mon", "mon")}, "days"),
        (NIGHT | {"days": ()}, "days"),
    ],
)
def test_windows(window: dict[str, Any], place: str) -> None:
    seen = places(counterparties={"c": {"overrides": (override(window=window),)}})
    assert seen == [f"counterparties.c.overrides.0.window.{place}"]


@pytest.mark.parametrize("text", ["8:00", "08:60", "24:01", "0800", "08:00:61", 800, "08:00 "])
def test_times_of_day_are_well_formed(text: object) -> None:
    with pytest.raises(ValueError, match="time of day"):
        places(counterparties={"c": {"overrides": (override(window=NIGHT | {"from": text}),)}})


def entry(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "regime": "auction"} | keys


BTC: dict[str, Any] = {"instruments": ("BTC",)}
ETH: dict[str, Any] = {"instruments": ("ETH",)}


def dated(name: str, start: str, end: str, **keys: Any) -> dict[str, Any]:
    return entry(name, start=f"2026-03-18T{start}:00Z", end=f"2026-03-18T{end}:00Z", **keys)


def weekly(name: str, start: str, end: str, zone: str = "UTC", **keys: Any) -> dict[str, Any]:
    days = {"days": keys.pop("days")} if "days" in keys else {}
    return entry(name, window={"from": start, "to": end, "timezone": zone, **days}, **keys)


@pytest.mark.parametrize(
    ("calendars", "expected"),
    [
        ([entry("a")], ["0"]),
        ([entry("a", start="2026-03-18T18:00:00Z")], ["0"]),
        ([dated("a", "18:00", "18:10") | {"window": NIGHT}], ["0"]),
        ([dated("a", "18:10", "18:10")], ["0.end"]),
        ([dated("a", "18:00", "18:10"), dated("a", "19:00", "19:10")], ["1.name"]),
        ([dated("a", "18:00", "18:10"), dated("b", "18:10", "18:20")], []),
        ([dated("a", "18:00", "18:10"), dated("b", "18:09", "18:20")], ["1"]),
        ([dated("b", "18:09", "18:20"), dated("a", "18:00", "20:10"), dated("c", "20:00", "21:00")],
         ["1", "2"]),
        ([dated("a", "18:00", "18:10", **BTC), dated("b", "18:00", "18:10", **ETH)], []),
        ([dated("a", "18:00", "18:10", **BTC), dated("b", "18:00", "18:10")], ["1"]),
        ([weekly("a", "22:00", "02:00"), weekly("b", "01:00", "03:00")], ["1"]),
        ([weekly("a", "22:00", "02:00", days=("sun",)), weekly("b", "01:00", "03:00", days=("mon",))], ["1"]),
        ([weekly("a", "22:00", "02:00", days=("sun",)), weekly("b", "01:00", "03:00", days=("tue",))], []),
        ([weekly("a", "22:00", "23:00"), dated("b", "22:00", "22:10")], []),
        ([dated("a", "18:00", "18:10", instruments=("XRP",))], ["0.instruments.0"]),
    ],
)  # fmt: skip
def test_calendars(calendars: list[dict[str, Any]], expected: list[str]) -> None:
    assert places(calendars=tuple(calendars)) == [f"calendars.{place}" for place in expected]


@pytest.mark.parametrize(
    "text", ["2026-03-18", "2026-03-18T18:00:00", "2026-13-18T18:00:00Z", "1960-01-01T00:00:00Z"]
)
def test_instants_name_their_offset_and_exist(text: str) -> None:
    with pytest.raises(ValueError, match="calendars"):
        places(calendars=(entry("a", start=text, end="2026-03-18T18:00:00Z"),))


def test_expected_value_terms_are_ordered() -> None:
    """The more careful posture weighs pick-offs no less, and a relationship no more."""
    assert postures(risk_averse={"value": {"relationship_in_h": 0.05, "pick_off_weight": 3.0}}) == [
        "postures.risk_averse.value.relationship_in_h"
    ]
    assert postures(liquidity_provider={"value": {"pick_off_weight": 0.5}}) == [
        "postures.liquidity_provider.value.pick_off_weight"
    ]


def test_expected_value_is_judged_by_its_tolerance() -> None:
    """Its cap is the life that postures are ordered by; it may stand beside tolerance, not beside the whole curve."""
    assert postures(**{name: {"mode": "expected_value"} for name in POSTURE_NAMES}) == []
    assert postures(risk_averse={"mode": "expected_value"}) == []
    assert postures(risk_averse={"mode": "expected_value", "tolerance_source": "curve"}) == [
        "postures.risk_averse.tolerance_source"
    ]
    long = {"mode": "expected_value", "life_min": "5001ms", "life_max": "6s"}
    assert "postures.client_priority.life_min" in postures(client_priority=long)


def sessions(**keys: Any) -> list[tuple[str, str]]:
    return found(venue_sessions={"venue": keys})


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ({"actuation": "withdraw"}, "life_max", "is required"),
        ({"actuation": "relative", "life_min": "2s", "life_max": "1s"}, "life_min", "exceeds life_max (1s)"),
        (
            {"actuation": "relative", "granularity": "300ms", "life_max": "1s"},
            "life_max",
            "multiple of granularity",
        ),
        ({"actuation": "absolute", "transit": "1ms"}, "transit", "relative sessions"),
        ({"actuation": "absolute", "granularity": "1500ns"}, "granularity", "whole number of microseconds"),
        ({"actuation": "relative", "transit": "1500ns"}, "transit", "whole number of microseconds"),
    ],
)
def test_a_venue_session_that_cannot_be(given: dict[str, Any], key: str, words: str) -> None:
    ((place, reason),) = sessions(**given)
    assert place == f"venue_sessions.venue.{key}"
    assert words in reason


def test_venue_sessions_that_can_be() -> None:
    assert sessions(actuation="last_look") == []
    assert (
        sessions(actuation="relative", granularity="10ms", life_min="1ms", life_max="2s", transit="3ms") == []
    )
    assert sessions(actuation="withdraw", granularity="1s", life_min="10s", life_max="1min") == []


def test_a_feed_sends_quotes_alone_or_orders() -> None:
    both = (instrument("BTC", quotes_only=True, order_level=True), instrument("ETH", order_level=True))
    assert places(instruments=both) == ["instruments.0.order_level"]
