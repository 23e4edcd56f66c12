"""Nothing but GOOD lengthens a life: the same request, the same market, another state of the data."""

import random
from pathlib import Path

import pytest

from engine.test_engine import MS, T0, TEXT, Tape, make_config, walk
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventFlags,
    EventKindCode,
    QualityCode,
    RequestRecord,
    SideCode,
    StatusKind,
)

POSTURES = (
    "",
    "postures: {risk_averse: {mode: step}, liquidity_provider: {mode: step}, client_priority: {mode: step}}\n",
    "postures: {client_priority: {mode: expected_value, below_minimum: clip}}\n",
    "postures: {risk_averse: {below_minimum: decline}}\n",
    "postures: {liquidity_provider: {mode: expected_value}}\n",
)
SESSIONS = """
venue_sessions:
  spans: {actuation: relative, granularity: 10ms, life_min: 50ms, life_max: 2s, transit: 3ms}
"""


def spoil(tape: Tape, how: str, t: int) -> None:
    engine = tape.engine
    if how == "gap":
        tape.event(EventKindCode.CLEAR, t, flags=EventFlags.GAP | EventFlags.LAST)
    elif how == "clear":
        tape.event(EventKindCode.CLEAR, t)
    elif how == "crossed":
        tape.diff(t, [(SideCode.BID, engine.level_top(0)[3] + 3, 5)])
    elif how == "one sided":
        for side in (SideCode.BID, SideCode.ASK):
            while side == SideCode.BID and engine.level_top(0)[1]:
                tape.diff(t, [(SideCode.BID, engine.level_top(0)[1], 0)])
    elif how == "warming":
        tape.snapshot(t, bid=engine.level_top(0)[1], ask=engine.level_top(0)[3])
    elif how != "stale":
        tape.event(EventKindCode.STATUS, t, aux=StatusKind[how])


WAYS = {
    "gap": QualityCode.GAPPED,
    "FEED_DOWN": QualityCode.GAPPED,
    "clear": QualityCode.WARMING,
    "warming": QualityCode.WARMING,
    "one sided": QualityCode.WARMING,
    "crossed": QualityCode.CROSSED,
    "HALT": QualityCode.HALTED,
    "CLOSED": QualityCode.HALTED,
    "stale": QualityCode.STALE,
}


def market(config: Config, seed: int, seconds: float) -> tuple[Tape, int]:
    rng = random.Random(seed)
    engine = Engine(config, start_ns=T0)
    tape = Tape(engine)
    tape.snapshot(T0 + 1)
    return tape, walk(tape, T0 + 1, seconds, seed=seed, every_ns=rng.choice((20, 50)) * MS)


def request(rng: random.Random, now_ns: int, mid: float) -> RequestRecord:
    options: dict[str, float] = {}
    if rng.random() < 0.5:
        options["priced_at_ns"] = now_ns - rng.randint(0, 800) * MS
    if rng.random() < 0.3:
        options["client_deadline_ns"] = now_ns + rng.randint(1, 2000) * MS
    if rng.random() < 0.5:
        options["price_ticks"] = mid + rng.randint(-3, 3)
    return RequestRecord(
        0,
        rng.choice((1, -1)),
        now_ns=now_ns,
        counterparty=rng.choice((0, 1, 0xFFFFFFFF)),
        session=rng.choice((0, 0xFFFFFFFF)),
        **options,
    )


def life(decision: DecisionRecord) -> int:
    return decision.life_ns if decision.kind == DecisionCode.QUOTE else 0


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("not_good", ["decline", "risk_averse"])
def test_no_state_but_good_gives_a_longer_life(tmp_path: Path, how: str, not_good: str) -> None:
    rng = random.Random(f"{how} {not_good}")
    firm = 0
    for n, postures in enumerate(POSTURES * 2):
        # A trade or a level at any moment makes no difference to what is asked here: both engines see the same.
        text = TEXT + SESSIONS + postures + f"defaults: {{not_good: {not_good}}}\n"
        config = make_config(tmp_path, text.replace("warmup: 1s", "warmup: 1s, stale: {min: 1s, max: 1s}"))
        lax = make_config(tmp_path, text.replace("warmup: 1s", "warmup: 0s, stale: {min: 9s, max: 9s}"))
        seconds = rng.choice((3.0, 15.0))
        bad, t = market(config, n, seconds)
        good, _ = market(lax, n, seconds)
        later = t + (1100 * MS if how == "stale" else MS)
        spoil(bad, how, later - 1)
        mid = (good.engine.level_top(0)[1] + good.engine.level_top(0)[3]) / 2
        for _ in range(60):
            asked = request(rng, later, mid)
            spoiled, whole = DecisionRecord(), DecisionRecord()
            bad.engine.decide(asked, spoiled)
            good.engine.decide(asked, whole)
            assert QualityCode(whole.quality) is QualityCode.GOOD
            assert QualityCode(spoiled.quality) is WAYS[how]
            assert life(spoiled) <= life(whole), (n, postures)
            firm += spoiled.kind == DecisionCode.QUOTE
    usable = not_good == "risk_averse" and WAYS[how] is not QualityCode.HALTED
    assert (firm > 0) == usable, "the minimum must be given somewhere, or nothing has been compared"


def test_a_quote_that_the_last_known_market_moved_through_gets_no_minimum(tmp_path: Path) -> None:
    two = "{life_min: 2s, life_max: 2s}"
    text = TEXT + f"postures: {{risk_averse: {two}, liquidity_provider: {two}, client_priority: {two}}}\n"
    text += "defaults: {not_good: risk_averse}\n"
    tape, t = market(make_config(tmp_path, text), 1, 15.0)
    engine = tape.engine
    bid = engine.level_top(0)[1]
    tape.diff(t + 100 * MS, [(SideCode.BID, bid - k, 0) for k in range(8)])  # the mid falls by 4 ticks
    late = t + 1500 * MS
    kinds = []
    for side in (1, -1):
        decision = DecisionRecord()
        engine.decide(RequestRecord(0, side, now_ns=late, priced_at_ns=t + 90 * MS), decision)
        assert QualityCode(decision.quality) is QualityCode.STALE
        kinds.append(DecisionCode(decision.kind))
    assert kinds == [DecisionCode.DECLINE, DecisionCode.QUOTE]
