"""What a reply says of expected value and of the venue session, and which side a TWO_WAY quote follows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.config import load_config
from quotelife.records import DECISION_DTYPE, DecisionCode, DecisionRecord
from quotelife_client import Actuation
from quotelife_client.calls import read_expiry
from quotelife_server.convert import binding_side
from reference.service_kit import CONFIG, MS, Kit, S, write_config

VALUE = CONFIG.replace(
    "version: 1",
    """version: 1
postures:
  client_priority: {mode: expected_value}
  liquidity_provider: {mode: expected_value}
  risk_averse: {mode: expected_value}
""",
)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def by_value(kit: Kit, tmp_path: Path) -> Kit:
    from quotelife_server.settings import ServiceConfig

    kit.engine.apply_config(load_config(write_config(tmp_path, VALUE), ServiceConfig), kit.engine.now_ns)
    return kit


def record(kind: DecisionCode, life_ns: int = 0) -> DecisionRecord:
    row = np.zeros(1, DECISION_DTYPE)
    row["kind"], row["life_ns"] = kind, life_ns
    return DecisionRecord.from_bytes(row.tobytes())


Q, I, D = DecisionCode.QUOTE, DecisionCode.INDICATIVE, DecisionCode.DECLINE  # noqa: E741
TWO_WAY: list[tuple[tuple[DecisionCode, int], tuple[DecisionCode, int], int]] = [
    ((Q, 300 * MS), (Q, 200 * MS), 1),
    ((Q, 150 * MS), (Q, 200 * MS), 0),
    ((Q, 150 * MS), (Q, 150 * MS), 0),
    ((Q, 150 * MS), (I, 0), 1),
    ((I, 0), (Q, 5000 * MS), 0),
    ((I, 0), (D, 0), 1),
    ((D, 0), (Q, 750 * MS), 0),
]


@pytest.mark.parametrize(("buy", "sell", "binds"), TWO_WAY)
def test_two_way_follows_the_more_careful_side_then_the_shorter_life(
    buy: tuple[DecisionCode, int], sell: tuple[DecisionCode, int], binds: int
) -> None:
    sides = [record(*buy), record(*sell)]
    assert binding_side(sides) is sides[binds]


def two_way(kit: Kit, bid: str, ask: str, **fields: Any) -> expiry.GetExpiryResponse:
    return kit.get(side=types.SIDE_TWO_WAY, bid_price=bid, ask_price=ask, reference_price="63000", **fields)


def test_two_way_by_value_is_as_firm_as_its_worse_side(by_value: Kit) -> None:
    """Bid 5 below the reference, ask 1 below it: the ask gives an edge away, so the quote is indicative."""
    reply = two_way(by_value, "62995", "62999", counterparty="beta")
    buy, sell = reply.sides
    assert (buy.decision, buy.edge_ticks) == (types.DECISION_QUOTE, 50.0)
    assert (sell.decision, sell.edge_ticks) == (types.DECISION_INDICATIVE, -10.0)
    assert types.REASON_EDGE_TOO_SMALL in sell.reasons
    assert (reply.decision, reply.life_ns) == (types.DECISION_INDICATIVE, 0)
    assert not reply.HasField("expiry_utc_ns")
    assert buy.expected_value > 0


def test_two_way_lives_and_their_minimum_by_value(by_value: Kit) -> None:
    reply = two_way(by_value, "62995", "63010", counterparty="alpha")
    assert [side.edge_ticks for side in reply.sides] == [50.0, 100.0]
    lives = [side.life_ns for side in reply.sides]
    assert reply.life_ns == min(lives) > 0


def test_value_is_told_in_price_units_and_only_where_it_decided(by_value: Kit) -> None:
    """0.1 a tick: the wire's edge of 5 is 50 ticks, its expected value a tenth of the engine's."""
    reply = by_value.get(edge="5", counterparty="beta")
    assert reply.mode == types.MODE_EXPECTED_VALUE
    assert 0 < reply.expected_value < 5
    assert reply.break_even_edge < 5
    told = read_expiry(reply)
    assert (told.expected_value, told.break_even_edge) == (reply.expected_value, reply.break_even_edge)
    plain = by_value.get(counterparty="beta")
    assert types.REASON_NO_EDGE in plain.reasons
    assert plain.mode == types.MODE_TOLERANCE_P500
    assert not plain.HasField("expected_value") and not plain.HasField("break_even_edge")


def test_relative_session(kit: Kit) -> None:
    """10 ms steps, 3 ms on the way: what the venue is told and 3 ms are the life."""
    reply = kit.get(venue_session="spans", counterparty="beta")
    assert reply.decision == types.DECISION_QUOTE
    assert reply.actuation == types.ACTUATION_RELATIVE
    assert reply.venue_life_ns % (10 * MS) == 0
    assert reply.life_ns == reply.venue_life_ns + 3 * MS
    assert not reply.HasField("venue_expiry_utc_ns")
    plain = kit.get(counterparty="beta")
    assert plain.life_ns - 10 * MS < reply.life_ns <= plain.life_ns


def test_absolute_session(kit: Kit) -> None:
    kit.clock.set_ns(kit.clock.now_ns() + 123_456)
    reply = kit.get(venue_session="instants", counterparty="beta")
    assert reply.actuation == types.ACTUATION_ABSOLUTE
    assert reply.venue_expiry_utc_ns == reply.expiry_utc_ns
    assert reply.venue_expiry_utc_ns % MS == 0
    assert reply.life_ns == reply.expiry_utc_ns - reply.decided_at_utc_ns


def test_withdraw_session(kit: Kit) -> None:
    """The venue gets a minute, down to its whole second of UTC; ours is to be cancelled long before."""
    kit.clock.set_ns(kit.clock.now_ns() + 123_456)
    reply = kit.get(venue_session="coarse", counterparty="beta")
    assert reply.decision == types.DECISION_QUOTE
    assert reply.venue_life_ns == 60 * S
    assert reply.venue_expiry_utc_ns == (reply.decided_at_utc_ns + 60 * S) // S * S
    assert reply.expiry_utc_ns - reply.decided_at_utc_ns == reply.life_ns <= 2 * S
    told = read_expiry(reply)
    assert (told.actuation, told.venue_life_ns, told.venue_expiry_utc_ns) == (
        Actuation.WITHDRAW,
        60 * S,
        reply.venue_expiry_utc_ns,
    )


def test_both_sides_say_what_the_venue_is_told(kit: Kit) -> None:
    reply = two_way(kit, "62990", "63010", venue_session="spans", counterparty="alpha")
    assert [side.venue_life_ns for side in reply.sides] == [side.life_ns - 3 * MS for side in reply.sides]
    assert reply.venue_life_ns == min(side.venue_life_ns for side in reply.sides)


def test_a_clock_that_is_off_refuses_instants_alone(kit: Kit) -> None:
    kit.service.synchronised = False
    refused = kit.get(venue_session="instants", counterparty="beta")
    assert (refused.decision, refused.life_ns) == (types.DECISION_DECLINE, 0)
    assert types.REASON_CLOCK in refused.reasons
    span = kit.get(venue_session="spans", counterparty="beta")
    assert span.decision == types.DECISION_QUOTE
    coarse = kit.get(venue_session="coarse", counterparty="beta")
    assert coarse.venue_life_ns == 60 * S and not coarse.HasField("venue_expiry_utc_ns")


def test_without_a_session_nothing_is_said_of_venues(kit: Kit) -> None:
    reply = kit.get(counterparty="beta")
    assert reply.actuation == types.ACTUATION_UNSPECIFIED
    assert not reply.HasField("venue_life_ns") and not reply.HasField("venue_expiry_utc_ns")
