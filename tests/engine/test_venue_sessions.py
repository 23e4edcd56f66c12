"""What a venue session makes of a life: fixtures by hand, and that nothing ever lengthens one."""

import json
import random
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.records import (
    NO_INDEX_VALUE,
    ActuationCode,
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ReasonFlags,
    RequestRecord,
)
from reference.market_kit import CONFIG, START_NS, market

US = 1_000
MS = 1_000_000
S = 1000 * MS
NOW = START_NS + 20 * S + 123_456_789  # a UTC second plus 0.123456789 s
LIFE = 1_234_867 * US
POSTURES = ("client_priority", "liquidity_provider", "risk_averse")


def step_config(life: str = "1234867us", sessions: dict[str, Any] | None = None, **posture: Any) -> Config:
    """Every posture gives this very life, whatever the market: a step table of one row."""
    content = CONFIG.model_dump(mode="json", by_alias=True)
    for name in POSTURES:
        content["postures"][name] |= {
            "mode": "step",
            "life_min": "100ms",
            "life_max": "5s",
            "step_table": {"rows": [{"p_at_or_above": 0.0, "life": life}]},
        } | posture
    content["model"]["artifact"] = "first_passage"
    content["instruments"][0]["adverse_ticks"] = 50.0  # far enough for quotes to have an age
    content["venue_sessions"] = sessions or {}
    return Config.model_validate_json(json.dumps(content))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return started()


def started() -> Engine:
    """A market that goes on until just before NOW."""
    engine = Engine(step_config(), start_ns=START_NS)
    for buffer in market(19.0):
        engine.on_events(buffer)
    return engine


def decide(engine: Engine, config: Config, session: str | None, **options: Any) -> DecisionRecord:
    """A decision under ``config``, and the same bytes from its record alone."""
    if engine.config != config:
        engine.apply_config(config, engine.now_ns)
    index = None if session is None else engine.policy.session_index(session)
    request = RequestRecord(
        0, 1, session=NO_INDEX_VALUE if index is None else index, **{"now_ns": NOW, **options}
    )
    decided, redone = DecisionRecord(), DecisionRecord()
    engine.decide(request, decided)
    engine.redo(request, decided, redone)
    assert redone.canonical() == decided.canonical()
    return decided


def at_venue(
    engine: Engine, life: str = "1234867us", posture: dict[str, Any] | None = None, **session: Any
) -> Any:
    """The decision for a session with these keys, others of the request by ``request=``."""
    options = session.pop("request", {})
    config = step_config(life, {"venue": session}, **(posture or {}))
    return decide(engine, config, "venue", **options)


GRANULARITY: list[tuple[str, dict[str, str], int, int]] = [
    # session; what the venue is told; our life
    ("relative, ms", {"granularity": "1ms"}, 1_234 * MS, 1_234 * MS),
    ("relative, s", {"granularity": "1s"}, 1_000 * MS, 1_000 * MS),
    ("relative, 100 us", {"granularity": "100us"}, 1_234_800 * US, 1_234_800 * US),
    ("relative, us", {}, LIFE, LIFE),
    ("relative, ms, 5 ms away", {"granularity": "1ms", "transit": "5ms"}, 1_229 * MS, 1_234 * MS),
    ("relative, s, 250 ms away", {"granularity": "1s", "transit": "250ms"}, 0, 0),
    ("relative, us, 5 ms away", {"transit": "5ms"}, 1_229_867 * US, LIFE),
    # 20.123456789 + 1.234867 = 21.358323789
    ("absolute, ms", {"actuation": "absolute", "granularity": "1ms"}, 1_234_543_211, 1_234_543_211),
    ("absolute, s", {"actuation": "absolute", "granularity": "1s"}, 876_543_211, 876_543_211),
    ("absolute, 100 us", {"actuation": "absolute", "granularity": "100us"}, 1_234_843_211, 1_234_843_211),
    ("absolute, us", {"actuation": "absolute"}, 1_234_866_211, 1_234_866_211),
    ("last look", {"actuation": "last_look"}, LIFE, LIFE),
    ("last look, ms", {"actuation": "last_look", "granularity": "1ms"}, 1_234 * MS, 1_234 * MS),
    ("withdraw", {"actuation": "withdraw", "granularity": "1s", "life_max": "1min"}, 60 * S, LIFE),
]


@pytest.mark.parametrize(
    ("session", "venue_ns", "life_ns"), [row[1:] for row in GRANULARITY], ids=[row[0] for row in GRANULARITY]
)
def test_granularity_and_transit(
    engine: Engine, session: dict[str, str], venue_ns: int, life_ns: int
) -> None:
    decision = at_venue(engine, **{"actuation": "relative", **session})
    assert (venue_ns, life_ns) == (decision.venue_life_ns, decision.life_ns)
    kind = DecisionCode.QUOTE if life_ns else DecisionCode.DECLINE
    assert (kind, NOW + life_ns) == (decision.kind, decision.expiry_ns)
    rounded = life_ns < LIFE and life_ns > 0
    assert rounded == bool(decision.binding & BindingFlags.GRANULARITY)
    assert ("transit" in session) == bool(decision.binding & BindingFlags.TRANSIT)


def test_an_absolute_end_lies_on_the_grid_of_utc(engine: Engine) -> None:
    """20.123456789 + 1.234867 = 21.358323789, down to 21.358."""
    decision = at_venue(engine, actuation="absolute", granularity="1ms")
    assert decision.expiry_ns == START_NS + 21 * S + 358 * MS


def test_without_a_session_the_plain_life(engine: Engine) -> None:
    decision = decide(engine, step_config(), None)
    assert (decision.life_ns, decision.venue_life_ns, decision.actuation) == (LIFE, 0, ActuationCode.NONE)


def test_one_second_of_granularity_leaves_nothing_of_less(engine: Engine) -> None:
    """0.9 s, told in whole seconds: nothing, so no quote."""
    decision = at_venue(engine, "900ms", actuation="relative", granularity="1s")
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    assert decision.reasons & ReasonFlags.VENUE_MINIMUM
    assert (decision.life_ns, decision.venue_life_ns, decision.expiry_ns) == (0, 0, NOW)
    assert ActuationCode(decision.actuation) is ActuationCode.RELATIVE


def test_a_life_below_the_venues_minimum_is_not_lengthened(engine: Engine) -> None:
    decision = at_venue(engine, "150ms", actuation="relative", life_min="200ms")
    assert DecisionCode(decision.kind) is DecisionCode.DECLINE
    assert decision.reasons & ReasonFlags.VENUE_MINIMUM
    assert decision.binding & BindingFlags.VENUE_MINIMUM
    assert (
        DecisionCode(at_venue(engine, "200ms", actuation="relative", life_min="200ms").kind)
        is DecisionCode.QUOTE
    )


def test_the_minimum_holds_for_what_the_venue_is_told(engine: Engine) -> None:
    """201 ms less 2 ms on the way is 199 ms at the venue: below its 200."""
    told = at_venue(engine, "201ms", actuation="relative", life_min="200ms", transit="2ms")
    assert told.reasons & ReasonFlags.VENUE_MINIMUM
    assert (
        at_venue(engine, "202ms", actuation="relative", life_min="200ms", transit="2ms").venue_life_ns
        == 200 * MS
    )


def test_a_life_above_the_venues_maximum_is_cut(engine: Engine) -> None:
    """2.5 s at the venue, which begins 5 ms later: 2.505 s from now."""
    decision = at_venue(engine, "4s", actuation="relative", life_max="2500ms", transit="5ms")
    assert (decision.venue_life_ns, decision.life_ns) == (2_500 * MS, 2_505 * MS)
    assert decision.binding & BindingFlags.VENUE_MAXIMUM


def test_a_coarse_venue_is_sent_its_maximum_and_ours_is_cancelled(engine: Engine) -> None:
    """150 ms on a venue whose minimum is 10 s."""
    decision = at_venue(
        engine, "150ms", actuation="withdraw", granularity="1s", life_min="10s", life_max="5min"
    )
    assert DecisionCode(decision.kind) is DecisionCode.QUOTE
    assert (decision.life_ns, decision.venue_life_ns) == (150 * MS, 300 * S)
    assert decision.expiry_ns == NOW + 150 * MS
    assert ActuationCode(decision.actuation) is ActuationCode.WITHDRAW


@pytest.mark.parametrize("actuation", ["absolute", "relative", "withdraw", "last_look"])
def test_only_instants_need_a_clock(engine: Engine, actuation: str) -> None:
    decision = at_venue(engine, actuation=actuation, life_max="5s", request={"synchronised": False})
    refused = actuation == "absolute"
    assert refused == bool(decision.reasons & ReasonFlags.CLOCK)
    assert (DecisionCode.DECLINE if refused else DecisionCode.QUOTE) == decision.kind


def test_the_deadline_comes_before_the_granularity(engine: Engine) -> None:
    """700.5 ms until the client's deadline, told in whole milliseconds: 700."""
    decision = at_venue(
        engine, actuation="relative", granularity="1ms", request={"client_deadline_ns": NOW + 700_500 * US}
    )
    assert decision.life_ns == 700 * MS
    assert BindingFlags(decision.binding) & BindingFlags.CLIENT_DEADLINE
    assert BindingFlags(decision.binding) & BindingFlags.GRANULARITY


@pytest.mark.parametrize("below", ["clip", "decline"])
def test_rounding_below_the_postures_minimum_does_as_below_minimum_says(engine: Engine, below: str) -> None:
    """At least 150.5 ms, told in whole milliseconds: 150 where clipped, nothing where declined."""
    decision = at_venue(
        engine,
        "150500us",
        {"life_min": "150500us", "below_minimum": below},
        actuation="relative",
        granularity="1ms",
    )
    assert decision.reasons & ReasonFlags.BELOW_MINIMUM
    expected = (DecisionCode.QUOTE, 150 * MS) if below == "clip" else (DecisionCode.DECLINE, 0)
    assert expected == (decision.kind, decision.life_ns)


def test_an_age_counts_towards_the_postures_minimum(engine: Engine) -> None:
    """Priced 300 ms ago, at most 400 ms: 100 ms are left, told in 30 ms steps 90; 390 ms in all is above 100."""
    posture = {"life_min": "100ms", "life_max": "400ms", "below_minimum": "decline"}
    decision = at_venue(
        engine,
        "400ms",
        posture,
        actuation="relative",
        granularity="30ms",
        request={"priced_at_ns": NOW - 300 * MS},
    )
    assert (decision.kind, decision.life_ns) == (DecisionCode.QUOTE, 90 * MS)


def any_session(rng: random.Random) -> dict[str, Any]:
    step = rng.choice((1, 7, 100, 1000, 30_000, 1_000_000))
    session: dict[str, Any] = {
        "actuation": rng.choice(("absolute", "relative", "withdraw", "last_look")),
        "granularity": f"{step}us",
    }
    if session["actuation"] == "withdraw" or rng.random() < 0.5:
        session["life_max"] = f"{step * rng.randrange(1, 5_000_000 // step + 2)}us"
    if session["actuation"] != "withdraw" and rng.random() < 0.3:
        longest = int(session.get("life_max", "2000000us")[:-2])
        session["life_min"] = f"{rng.randrange(longest + 1)}us"
    if session["actuation"] == "relative" and rng.random() < 0.5:
        session["transit"] = f"{rng.randrange(1, 80_000)}us"
    return session


def test_no_session_lengthens_a_life_or_leaves_a_bound() -> None:
    """60 configurations of 8 sessions × 40 requests, all modes: inside posture, deadline and venue, never later."""
    rng = random.Random(20260318)
    engine = started()  # its time runs ahead of NOW
    kinds: set[tuple[int, int]] = set()
    for _ in range(60):
        sessions = {f"s{i}": any_session(rng) for i in range(8)}
        mode = rng.choice(("tolerance", "step", "expected_value"))
        low = rng.randrange(25_000, 600_000)
        posture = {
            "mode": mode,
            "tolerance_source": rng.choice(("p500", "curve")),
            "tolerance": 0.4,
            "life_min": f"{low}us",
            "life_max": f"{low + rng.randrange(1, 4_000_000)}us",
            "below_minimum": rng.choice((None, "clip", "decline")),
            "step_table": {"preset": "step_2pct"},
        }
        config = step_config(sessions=sessions, **posture)
        bounds = config.postures.liquidity_provider
        for _ in range(40):
            name = rng.choice(list(sessions))
            session = config.venue_sessions[name]
            age = rng.choice((0, 0, rng.randrange(200 * MS)))
            options: dict[str, Any] = {"now_ns": NOW + rng.randrange(200 * MS)}
            if age:
                options["priced_at_ns"] = options["now_ns"] - age
            if rng.random() < 0.4:
                options["client_deadline_ns"] = options["now_ns"] + rng.randrange(2 * S)
            if rng.random() < 0.7:
                options["edge_ticks"] = rng.uniform(-1, 12)
            plain = decide(engine, config, None, **options)
            options["now_ns"] = plain.now_ns
            age = max(0, plain.now_ns - options["priced_at_ns"]) if age else 0
            made = decide(engine, config, name, **options)
            kinds.add((made.kind, session.granularity_ns))
            if made.kind != DecisionCode.QUOTE:
                assert (made.life_ns, made.venue_life_ns, made.expiry_ns) == (0, 0, made.now_ns)
                continue
            assert plain.kind == DecisionCode.QUOTE or mode == "expected_value"
            if mode != "expected_value":
                assert made.life_ns <= plain.life_ns
            assert made.expiry_ns == made.now_ns + made.life_ns <= options.get("client_deadline_ns", 2**62)
            assert 0 < made.life_ns <= bounds.life_max_ns - age
            if made.life_ns + age < bounds.life_min_ns:
                assert made.reasons & ReasonFlags.BELOW_MINIMUM and not bounds.declines_below_minimum
            longest = session.life_max_ns or 2**62
            if session.actuation == "withdraw":
                assert made.venue_life_ns == longest >= made.life_ns
                continue
            assert session.life_min_ns <= made.venue_life_ns <= longest
            assert made.venue_life_ns + session.transit_ns == made.life_ns
            on_grid = made.expiry_ns if session.actuation == "absolute" else made.venue_life_ns
            assert on_grid % session.granularity_ns == 0
    assert len(kinds) > 8
