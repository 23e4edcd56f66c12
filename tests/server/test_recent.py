"""Firm quotes are found by the id of any of their decisions, for a while and as many as there is room for."""

from pathlib import Path

from quote_expiry.v1 import types_pb2 as types
from quotelife.records import DecisionCode
from quotelife_server.recent import RecentQuotes
from reference.service_kit import MS, Kit, S


def test_a_firm_answer_is_found_by_its_decision_id(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    reply = kit.get(
        counterparty="alpha", rfq_id="r1", quote_id="q1", price="62999.9", size={"quantity": "1", "unit": 1}
    )
    quote = kit.service.recent.find(reply.decision_id)
    assert quote is not None
    assert (quote.rfq_id, quote.quote_id, quote.counterparty) == ("r1", "q1", "alpha")
    assert quote.decisions[0].expiry_ns == quote.expiry_ns == reply.expiry_utc_ns
    assert quote.decisions[0].input_sequence == int(reply.decision_id.rpartition("-")[2])
    assert quote.requests[0].counterparty == kit.engine.policy.counterparty_index("alpha")


def test_both_sides_lead_to_the_same_quote(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    reply = kit.get(side=types.SIDE_TWO_WAY)
    buy, sell = (kit.service.recent.find(side.decision_id) for side in reply.sides)
    assert buy is not None and buy is sell is kit.service.recent.find(reply.decision_id)
    assert [each.side for each in buy.decisions] == [1, -1]
    assert all(each.kind == DecisionCode.QUOTE for each in buy.decisions)


def test_what_is_kept_is_not_written_over_by_the_next_decision(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    first = kit.get()
    second = kit.get(instrument="ETH-USDT")
    kept = [kit.service.recent.find(reply.decision_id) for reply in (first, second)]
    assert [each.decisions[0].instrument for each in kept if each is not None] == [0, 1]


def test_a_decline_other_boots_and_nonsense_are_not_found(tmp_path: Path) -> None:
    kit = Kit(tmp_path, warm=False)
    reply = kit.get()
    assert reply.decision == types.DECISION_DECLINE
    warm = Kit(tmp_path)
    number = warm.get().decision_id.rpartition("-")[2]
    for id_ in (
        reply.decision_id,
        f"other-{number}",
        "b00t-",
        "b00t-x",
        "b00t-²",
        "",
        number,
        "b00t-99999999",
    ):
        assert warm.service.recent.find(id_) is None, id_


def test_the_oldest_leave_for_want_of_room_and_are_counted(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    kit.service.recent = recent = RecentQuotes("b00t", 3, S)
    ids = [kit.get(side=types.SIDE_TWO_WAY).decision_id for _ in range(5)]
    assert [recent.find(id_) is not None for id_ in ids] == [False, False, True, True, True]
    assert (len(recent), recent.evicted, len(recent._others)) == (3, 2, 3)


def test_a_quote_leaves_some_time_after_its_end(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    kit.service.recent = recent = RecentQuotes("b00t", 10, 500 * MS)
    reply = kit.get()
    recent.expire(reply.expiry_utc_ns + 500 * MS)
    assert recent.find(reply.decision_id) is not None
    recent.expire(reply.expiry_utc_ns + 500 * MS + 1)
    assert recent.find(reply.decision_id) is None and len(recent) == 0
