"""ITCH 5.0 messages to events: every type, what becomes of the book, what is refused, and when a book is whole."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.bench import time_itch, time_itch_reference
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import DecodeError
from quotelife.feed.itch import MESSAGE_LENGTHS, ItchDecoder
from quotelife.records import EventBuffer, EventFlags, EventKindCode, QualityCode, SideCode, StatusKind
from quotelife.sim.itch_wire import ItchMarket, ItchSymbol, framed
from reference.itch_twin import ASK, BID, ItchTwin, build, example

MIDNIGHT = 1_700_000_000_000_000_000
LAST, SNAPSHOT, GAP = EventFlags.LAST, EventFlags.SNAPSHOT, EventFlags.GAP
KIND = EventKindCode
CENT = Decimal("0.01")


class Fed:
    """A decoder of AAA (index 1) and BBB (index 0), whole from the start, and an engine behind it."""

    def __init__(self, tmp_path, *, settled: bool = True, orders_max: int = 1000) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(
            "version: 1\ninstruments:\n"
            + "".join(
                f"  - {{name: {name}, venue: nasdaq, symbol: {name}, tick_size: 0.01, lot_size: 1, warmup: 0s, "
                f"order_level: true, book_orders_max: {orders_max}}}\n"
                for name in ("BBB", "AAA")
            ),
            encoding="utf-8",
        )
        self.engine = Engine(load_config(path))
        self.buffer = EventBuffer(256)
        self.decoder = ItchDecoder(
            self.buffer, [("AAA", 1, CENT, Decimal(1)), ("BBB", 0, CENT, Decimal(1))], midnight_ns=MIDNIGHT
        )
        self.decoder.begin(MIDNIGHT)
        self.send(directory(1, "AAA"))
        self.send(directory(2, "BBB"))
        if settled:
            self.decoder.settle(MIDNIGHT)
            self.drain()

    def send(self, data: bytes, sequence: int = 1) -> list[dict]:
        self.decoder.message(data, 0, sequence)
        return self.drain()

    def drain(self) -> list[dict]:
        array = self.buffer.array()
        events = [dict(zip(array.dtype.names, row, strict=True)) for row in array.tolist()]
        self.engine.on_events(self.buffer)
        self.buffer.clear()
        return events

    def quality(self, index: int = 1) -> QualityCode:
        return QualityCode(self.engine.instrument_status(index, self.engine.now_ns).quality)

    def top(self, index: int = 1) -> tuple[int, ...]:
        return tuple(self.engine.level_top(index))[1:]


@pytest.fixture
def fed(tmp_path) -> Fed:
    return Fed(tmp_path)


def directory(locate: int, symbol: str) -> bytes:
    return build("R", locate, 1, symbol, "Q", "N", 100, "N", "C", "Z", "P", "N", "N", "1", "N", 0, "N")


def add(reference: int, side: str, shares: int, price: int, locate: int = 1) -> bytes:
    return build("A", locate, 5, reference, side, shares, "AAA", price)


def two_sided(fed: Fed) -> None:
    fed.send(add(1, "B", 100, 1_000_000))
    fed.send(add(2, "S", 200, 1_000_200))


def test_an_added_order_is_one_event_with_the_time_of_the_exchange(fed):
    (event,) = fed.send(build("A", 1, 34_200_000_000_123, 77, "S", 300, "AAA", 1_234_500), sequence=9)
    assert event == {
        "exchange_ns": MIDNIGHT + 34_200_000_000_123, "receive_ns": MIDNIGHT + 34_200_000_000_123, "sequence": 9,
        "price_ticks": 12_345, "size_lots": 300, "order_id": 77, "aux": 0, "instrument": 1, "kind": KIND.ADD,
        "side": SideCode.ASK, "flags": LAST,
    }  # fmt: skip


def test_a_replaced_order_keeps_its_side_under_its_new_number(fed):
    two_sided(fed)
    (event,) = fed.send(build("U", 1, 6, 2, 3, 150, 1_000_300))
    assert (event["kind"], event["order_id"], event["aux"]) == (KIND.MODIFY, 2, 3)
    assert fed.top() == (10_000, 100, 10_003, 150)
    fed.send(build("X", 1, 7, 3, 50))
    assert fed.top() == (10_000, 100, 10_003, 100)
    fed.send(build("D", 1, 8, 2))  # its old number is unknown now
    assert fed.engine.instrument_status(1, fed.engine.now_ns).unknown_orders == 1


def test_an_execution_that_is_not_printed_takes_the_order_and_is_no_trade(fed):
    two_sided(fed)
    (event,) = fed.send(build("C", 1, 6, 1, 40, 8, "N", 1_000_000))
    assert (event["kind"], event["flags"], event["size_lots"]) == (KIND.EXECUTE, LAST | SNAPSHOT, 40)
    assert fed.top()[:2] == (10_000, 60)
    (event,) = fed.send(build("C", 1, 6, 1, 10, 8, "Y", 1_000_049))
    assert (event["flags"], event["price_ticks"]) == (LAST, 10_000)


@pytest.mark.parametrize(("sent", "side"), [("S", SideCode.BID), ("B", SideCode.NONE)])
def test_a_hidden_execution_is_a_trade_whose_side_only_s_tells(fed, sent, side):
    two_sided(fed)
    (event,) = fed.send(build("P", 1, 6, 0, sent, 5, "AAA", 1_000_151, 99))
    assert (event["kind"], event["side"], event["price_ticks"], event["aux"]) == (
        KIND.TRADE,
        side,
        10_002,
        99,
    )
    assert fed.decoder.hidden == 1


def test_broken_trades_and_crosses_are_counted_and_change_no_book(fed):
    two_sided(fed)
    before = fed.top()
    for kind in "BQ":
        (event,) = fed.send(example(kind))
        assert (event["kind"], event["aux"]) == (KIND.STATUS, StatusKind.HEARTBEAT)
    assert (fed.decoder.broken_trades, fed.decoder.crosses, fed.top()) == (1, 1, before)


@pytest.mark.parametrize(
    ("state", "code"),
    [("H", StatusKind.HALT), ("P", StatusKind.HALT), ("Q", StatusKind.AUCTION), ("T", StatusKind.TRADING)],
)
def test_a_trading_action_is_a_status(fed, state, code):
    (event,) = fed.send(build("H", 1, 6, "AAA", state, " ", ""))
    assert (event["kind"], event["aux"], event["instrument"]) == (KIND.STATUS, code, 1)


def test_a_stock_without_a_trading_action_is_halted_when_system_hours_start(fed):
    """ITCH 5.0, 1.2.2: who is absent from the states told before system hours is halted at NASDAQ."""
    two_sided(fed)
    fed.send(build("H", 1, 1, "AAA", "T", " ", ""))
    assert [(e["instrument"], e["aux"]) for e in fed.send(build("S", 0, 2, "S"))] == [(0, StatusKind.HALT)]
    assert (fed.quality(1), fed.quality(0)) == (QualityCode.GOOD, QualityCode.HALTED)
    fed.send(build("H", 2, 3, "BBB", "T", " ", ""))
    assert fed.quality(0) is QualityCode.WARMING


def test_symbols_that_the_directory_does_not_name_are_known_when_system_hours_start(tmp_path):
    fed = Fed(tmp_path)
    fed.decoder.begin(MIDNIGHT)
    fed.send(directory(7, "AAA"))
    assert not fed.decoder.system_hours
    fed.send(build("S", 0, 2, "S"))
    assert (fed.decoder.system_hours, fed.decoder.unlisted) == (True, ["BBB"])


def test_an_operational_halt_ends_only_when_both_halts_have(fed):
    fed.send(build("h", 1, 6, "AAA", "Q", "H"))
    (event,) = fed.send(build("H", 1, 7, "AAA", "T", " ", ""))
    assert event["aux"] == StatusKind.HALT
    (event,) = fed.send(build("h", 1, 8, "AAA", "Q", "T"))
    assert event["aux"] == StatusKind.TRADING


def test_the_end_of_system_hours_closes_all(fed):
    events = fed.send(build("S", 0, 6, "E"))
    assert [(e["aux"], e["instrument"]) for e in events] == [(StatusKind.CLOSED, 1), (StatusKind.CLOSED, 0)]
    assert fed.send(build("S", 0, 6, "Q")) == []


@pytest.mark.parametrize("kind", sorted(MESSAGE_LENGTHS))
def test_every_type_is_taken_at_its_length_and_refused_at_any_other(fed, kind):
    """Refused: nothing of any instrument is trusted any more."""
    data = example(kind)
    assert len(data) == MESSAGE_LENGTHS[kind]
    fed.send(data)
    assert fed.decoder.counts[kind] == 1 + 2 * (kind == "R")
    for wrong in (data[:-1], data + b"\0"):
        fed.decoder.begin(MIDNIGHT)
        fed.drain()
        with pytest.raises(DecodeError, match=f"{kind!r}: a length"):
            fed.decoder.message(wrong, 1)
        events = fed.drain()
        assert [(e["kind"], e["flags"]) for e in events] == [(KIND.CLEAR, GAP | LAST)] * 2
    assert fed.decoder.malformed == 2


def test_an_unknown_type_is_told_and_leaves_the_books(fed):
    two_sided(fed)
    with pytest.raises(DecodeError, match="'z'"):
        fed.decoder.message(b"z" + bytes(30), 1)
    assert fed.drain() == []
    assert (fed.decoder.unknown, fed.quality()) == (1, QualityCode.GOOD)


@pytest.mark.parametrize(
    "data",
    [
        build("A", 1, 5, 0, "B", 1, "AAA", 1_000_000),
        build("A", 1, 5, 9, "?", 1, "AAA", 1_000_000),
        build("A", 1, 5, 9, "B", 0, "AAA", 1_000_000),
        build("A", 1, 5, 9, "B", 1, "AAA", 0),
        build("A", 1, 5, 9, "B", 1, "AAA", 1_000_001),
        build("A", 1, 86_400_000_000_000, 9, "B", 1, "AAA", 1_000_000),
        build("U", 1, 5, 1, 0, 1, 1_000_000),
        build("E", 1, 5, 0, 1, 1),
        build("X", 1, 5, 1, 2**31),
        build("H", 1, 5, "AAA", "x", " ", ""),
        build("P", 1, 5, 0, "B", 0, "AAA", 1_000_000, 1),
    ],
)
def test_a_wrong_field_costs_the_book_of_its_instrument_alone(fed, data):
    two_sided(fed)
    fed.send(add(11, "B", 1, 1_000_000, locate=2))
    fed.send(add(12, "S", 1, 1_000_100, locate=2))
    with pytest.raises(DecodeError):
        fed.decoder.message(data, 0)
    events = fed.drain()
    assert [(e["kind"], e["flags"], e["instrument"]) for e in events] == [(KIND.CLEAR, GAP | LAST, 1)]
    assert fed.quality() is QualityCode.GAPPED
    assert fed.send(add(20, "B", 1, 1_000_000)) == []
    fed.decoder.doubt(MIDNIGHT)
    fed.decoder.settle(MIDNIGHT)
    fed.drain()
    assert fed.quality() is QualityCode.GAPPED


def test_other_symbols_are_skipped(fed):
    fed.send(directory(3, "CCC"))
    assert fed.send(add(1, "B", 1, 1_000_000, locate=3)) == []
    assert fed.decoder.skipped == 1


def test_locates_are_told_anew_each_day(fed):
    fed.decoder.begin(MIDNIGHT)
    fed.send(directory(2, "AAA"))
    fed.send(directory(1, "BBB"))
    assert fed.send(add(1, "B", 1, 1_000_000, locate=2))[0]["instrument"] == 1


def test_a_day_that_is_caught_up_with_is_no_order_flow_and_good_only_at_its_end(tmp_path):
    fed = Fed(tmp_path, settled=False)
    two_sided(fed)
    assert fed.send(example("P", 1)) == []
    assert fed.quality() is QualityCode.WARMING
    fed.decoder.settle(MIDNIGHT)
    fed.drain()
    assert (fed.quality(), fed.top()) == (QualityCode.GOOD, (10_000, 100, 10_002, 200))


def test_what_is_missing_makes_gapped_and_what_comes_late_makes_good_again(fed):
    two_sided(fed)
    fed.decoder.doubt(MIDNIGHT)
    fed.drain()
    assert fed.quality() is QualityCode.GAPPED
    fed.send(build("X", 1, 6, 1, 50))
    assert fed.quality() is QualityCode.GAPPED
    fed.decoder.settle(MIDNIGHT)
    fed.drain()
    assert (fed.quality(), fed.top()) == (QualityCode.GOOD, (10_000, 50, 10_002, 200))


def test_what_is_lost_leaves_no_book_until_a_new_session(fed):
    two_sided(fed)
    fed.decoder.lose(MIDNIGHT)
    fed.drain()
    fed.decoder.settle(MIDNIGHT)
    assert fed.send(add(3, "B", 1, 1_000_000)) == []
    assert (fed.quality(), fed.top()) == (QualityCode.GAPPED, (0, 0, 0, 0))
    fed.decoder.begin(MIDNIGHT)
    fed.send(directory(1, "AAA"))
    two_sided(fed)
    fed.decoder.settle(MIDNIGHT)
    fed.drain()
    assert fed.quality() is QualityCode.GOOD


def test_a_book_that_outgrew_its_room_is_not_made_whole_by_the_end_of_a_gap(tmp_path):
    """Its orders were given up; a hole that is closed later tells none of them again."""
    fed = Fed(tmp_path, orders_max=2)
    two_sided(fed)
    fed.send(add(3, "B", 1, 999_900))
    assert fed.quality() is QualityCode.GAPPED
    fed.decoder.doubt(MIDNIGHT)
    fed.decoder.settle(MIDNIGHT)
    fed.drain()
    fed.send(add(4, "B", 1, 500_000))
    fed.send(add(5, "S", 1, 900_000))
    assert fed.quality() is QualityCode.GAPPED


REFERENCES = st.integers(1, 12)
SHARES = st.integers(1, 40)
PRICES = st.sampled_from([100, 200, 300, 400])
DAY = st.lists(
    st.one_of(
        st.builds(lambda r, s, n, p, on: build("A", on, 5, r, s, n, "AAA", p), REFERENCES, st.sampled_from("BS"),
                  SHARES, PRICES, st.sampled_from([1, 2])),
        st.builds(lambda r, n: build("E", 1, 5, r, n, 1), REFERENCES, SHARES),
        st.builds(lambda r, n: build("C", 1, 5, r, n, 1, "Y", 250), REFERENCES, SHARES),
        st.builds(lambda r, n: build("X", 1, 5, r, n), REFERENCES, SHARES),
        st.builds(lambda r: build("D", 1, 5, r), REFERENCES),
        st.builds(lambda r, n, s, p: build("U", 1, 5, r, n, s, p), REFERENCES, st.integers(13, 24), SHARES, PRICES),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(DAY)
def test_any_day_gives_the_books_of_the_twin(tmp_path_factory, day):
    """Of references that rest once only: the venue does not use one twice."""
    from quotelife.book.order_book import Orders

    twin, book = ItchTwin(), Orders()
    buffer = EventBuffer(128)
    decoder = ItchDecoder(buffer, [("AAA", 0, CENT, Decimal(1))])
    decoder.begin(0)
    decoder.settle(0)
    buffer.clear()
    for data in [directory(1, "AAA"), directory(2, "BBB"), *day]:
        reference = int.from_bytes(data[11:19], "big")
        if data[:1] == b"A" and reference in twin.orders:
            continue
        if data[:1] in b"ECXDU" and twin.orders.get(reference, (1,))[0] != 1:
            continue
        if data[:1] == b"U" and int.from_bytes(data[19:27], "big") in twin.orders:
            continue
        twin.message(data)
        decoder.message(data, 1)
        for row in buffer.array().tolist():
            _, _, _, price, lots, order_id, aux, _, kind, side, _ = row
            if kind == KIND.ADD:
                book.add(order_id, side, price, lots)
            elif kind == KIND.MODIFY:
                book.modify(order_id, price, lots, new_id=aux)
            elif kind == KIND.CANCEL:
                book.cancel(order_id, lots)
            elif kind == KIND.EXECUTE:
                book.execute(order_id, lots)
        buffer.clear()
    book.levels.refresh()
    assert book.levels.bids(99) == [(price // 100, n) for price, n in twin.levels("AAA", BID)]
    assert book.levels.asks(99) == [(price // 100, n) for price, n in twin.levels("AAA", ASK)]


@pytest.mark.parametrize(
    ("instruments", "said"),
    [
        ([], "1 to 65,535"),
        ([("TOOLONGNAME", 0, CENT, Decimal(1))], "1 to 8"),
        ([("A", 0, Decimal("0.00001"), Decimal(1))], "0.0001"),
        ([("A", 0, CENT, Decimal("0.5"))], "whole shares"),
    ],
)
def test_what_itch_cannot_have_is_named(instruments, said):
    with pytest.raises(ValueError, match=said):
        ItchDecoder(EventBuffer(128), instruments)


@pytest.mark.parametrize("dense", [False, True])
def test_decoder_and_books_show_the_best_prices_of_plain_c_after_each_message(dense):
    """The yardstick of ``quotelife bench feeds`` does the same work: three symbols, every best bid and ask summed."""
    market = ItchMarket([ItchSymbol(f"S{i}") for i in range(3)], midnight_ns=0, start_ns=1)
    stream = framed(market.opening + market.advance(4000))
    decoder = ItchDecoder(EventBuffer(128), [(f"S{i}", i, CENT, Decimal(1)) for i in range(3)])
    _, messages, checksum = time_itch(decoder, stream)
    _, plain_messages, plain_checksum = time_itch_reference(stream, 3, 100, dense=dense)
    assert (messages, checksum) == (plain_messages, plain_checksum)
    assert checksum != 0
