"""The binary record's decoder: chunks, refusals, loss, order and copies, against a twin in plain Python."""

import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import DecodeError
from quotelife.feed.binary import FRAME_EVENTS_MAX, INPUT_BYTES, BinaryDecoder
from quotelife.records import EventBuffer, EventKindCode, QualityCode, StatusKind
from quotelife_client import binary as wire
from quotelife_client.binary import BinaryEncoder, quote, record, status
from quotelife_client.types import BookSide, EventKind, TradingStatus
from reference.binary_record_twin import ALIVE, CLEARED, Event, Publisher, Receiver, unpack

INDICES = (7, 3, 11)
LEVEL = record(EventKind.LEVEL, 0, side=BookSide.BID, price_ticks=10, size_lots=1, last=True)


def decoder(window: int = 0, **fields: Any) -> BinaryDecoder:
    return BinaryDecoder(EventBuffer(65_536), INDICES, fields.pop("source", 1), window=window)


def told(decoder: BinaryDecoder) -> list[Event]:
    """What is in the buffer, in wire numbers as the twin says it; empties it."""
    out: list[Event] = []
    for row in decoder.buffer.array():
        i = INDICES.index(row["instrument"])
        if row["kind"] == EventKindCode.CLEAR and row["flags"] & 4 and not row["exchange_ns"]:
            out.append((CLEARED, i))
        elif row["kind"] == EventKindCode.STATUS and row["aux"] == StatusKind.HEARTBEAT:
            out.append((ALIVE, i))
        else:
            numbers = ("price_ticks", "size_lots", "order_id", "aux", "sequence", "exchange_ns")
            out.append(
                (
                    int(row["kind"]),
                    i,
                    int(row["side"]),
                    int(row["flags"]),
                    *(int(row[name]) for name in numbers),
                )
            )
    decoder.buffer.clear()
    return out


def feed(decoder: BinaryDecoder, data: bytes, receive_ns: int = 1) -> None:
    """As a socket does it: into the input, as much as fits at a time."""
    while data:
        view = decoder.input_view()
        n = min(len(view), len(data))
        view[:n] = data[:n]
        data = data[n:]
        while decoder.received(n, receive_ns):
            raise AssertionError("the buffer is large enough here")


def header(
    *,
    magic: bytes = b"QLEV",
    version: int = 1,
    flags: int = 0,
    count: int = 1,
    source: int = 1,
    session: int = 5,
    first: int = 1,
    body: bytes = LEVEL,
) -> bytes:
    head = struct.pack("<4sBBHI", magic, version, flags, count, source)
    rest = struct.pack("<qq", session, first) + body
    return head + struct.pack("<I", zlib.crc32(rest, zlib.crc32(head))) + rest


# --- one frame ----------------------------------------------------------------------------------------------


def test_every_field_of_a_record_arrives() -> None:
    it = decoder()
    packed = record(
        EventKind.ADD,
        2,
        side=BookSide.ASK,
        price_ticks=123,
        size_lots=45,
        order_id=-6,
        sequence=7,
        exchange_utc_ns=8,
        trade_id=9,
        last=True,
    )
    feed(it, BinaryEncoder(1).frame(packed), receive_ns=99)
    (row,) = it.buffer.array()
    assert {name: int(row[name]) for name in row.dtype.names} == {
        "exchange_ns": 8,
        "receive_ns": 99,
        "sequence": 7,
        "price_ticks": 123,
        "size_lots": 45,
        "order_id": -6,
        "aux": 9,
        "instrument": 11,
        "kind": EventKindCode.ADD,
        "side": 2,
        "flags": 1,
    }


def test_a_quote_and_a_status_stand_where_the_engine_reads_them() -> None:
    it = decoder()
    feed(it, BinaryEncoder(1).frame(quote(0, 100, 1, 102, 2) + status(1, TradingStatus.HALT)))
    rows = it.buffer.array()
    assert [int(rows[0][name]) for name in ("price_ticks", "size_lots", "order_id", "aux")] == [
        100,
        1,
        102,
        2,
    ]
    assert (int(rows[1]["kind"]), int(rows[1]["aux"])) == (EventKindCode.STATUS, StatusKind.HALT)


def test_the_checksum_is_that_of_zlib_at_every_length() -> None:
    it = decoder()
    encoder = BinaryEncoder(1)
    for count in (1, 2, 3, 50, FRAME_EVENTS_MAX):
        feed(it, encoder.frame(LEVEL * count))
        it.buffer.clear()
    assert it.events == 1 + 2 + 3 + 50 + FRAME_EVENTS_MAX and it.malformed == 0


BAD_FRAMES = {
    "no magic": header(magic=b"QLEX"),
    "another version": header(version=2),
    "unknown flags": header(flags=2),
    "a heartbeat with events": header(flags=1),
    "no events and no heartbeat": header(count=0, body=b""),
    "too many events": header(count=1024),
    "session 0": header(session=0),
    "sequence 0": header(first=0),
    "sequence out of range": header(first=2**62 + 1),
    "another source": header(source=2),
    "a wrong checksum": header()[:12] + b"\0\0\0\0" + header()[16:],
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_a_frame_that_is_wrong_gives_nothing_and_ends_a_stream(frame: bytes) -> None:
    it = decoder()
    with pytest.raises(DecodeError, match="binary frame: "):
        feed(it, frame)
    assert len(it.buffer) == 0 and it.frames == 0 and it.malformed == 1


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_a_datagram_that_is_wrong_gives_nothing_and_the_next_is_read(frame: bytes) -> None:
    it = decoder(window=2)
    if frame == BAD_FRAMES["another source"]:
        assert it.datagram(frame, 1) == 0 and it.foreign == 1
    else:
        with pytest.raises(DecodeError, match="binary frame: "):
            it.datagram(frame, 1)
        assert it.malformed == 1
    assert len(it.buffer) == 0
    assert it.datagram(header(), 1) == 1


def bad(**fields: Any) -> bytes:
    base: dict[str, Any] = {"side": BookSide.BID, "price_ticks": 10, "size_lots": 1}
    return record(fields.pop("kind", EventKind.LEVEL), fields.pop("instrument", 0), **{**base, **fields})


BAD_RECORDS = {
    "unknown kind": bad(kind=12),
    "kind 0": bad(kind=0),
    "an instrument beyond the list": bad(instrument=3),
    "no side": bad(side=0),
    "unknown side": bad(side=3),
    "no price": bad(price_ticks=0),
    "negative price": bad(price_ticks=-1),
    "price out of range": bad(price_ticks=2**53 + 1),
    "negative size": bad(size_lots=-1),
    "size out of range": bad(size_lots=2**63 - 1),
    "negative time": bad(exchange_utc_ns=-1),
    "negative sequence": bad(sequence=-1),
    "a gap that is no CLEAR": bad(gap=True),
    "a trade without size": bad(kind=EventKind.TRADE, size_lots=0),
    "a trade without side": bad(kind=EventKind.TRADE, side=0),
    "an order without size": bad(kind=EventKind.ADD, size_lots=0),
    "a negative cancel": bad(kind=EventKind.CANCEL, size_lots=-1),
    "a status of no meaning": status(0, 0),  # type: ignore[arg-type]
    "a quote with a size and no price": quote(0, 0, 1, 5, 1),
    "a quote with a negative size": quote(0, 1, -1, 5, 1),
    "unknown flags": bad()[:62] + b"\x08\x00",
}


@pytest.mark.parametrize("packed", BAD_RECORDS.values(), ids=BAD_RECORDS.keys())
def test_one_bad_record_spoils_its_frame_and_no_other(packed: bytes) -> None:
    it = decoder()
    encoder = BinaryEncoder(1)
    good = encoder.frame(LEVEL)
    with pytest.raises(DecodeError):
        feed(it, good + encoder.frame(LEVEL + packed + LEVEL))
    assert len(told(it)) == 1, "the frame before stands, the bad one gives nothing"


def test_a_buffer_too_small_for_one_call_is_refused_with_the_size_it_takes() -> None:
    with pytest.raises(ValueError, match=f"give it {3 * FRAME_EVENTS_MAX + 9} events"):
        BinaryDecoder(EventBuffer(3000), INDICES, 1, window=2)


# --- streams ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 3000), min_size=1, max_size=40))
def test_any_chunking_gives_the_same_events(seed: int, cuts: list[int]) -> None:
    publisher = Publisher(seed, len(INDICES))
    for _ in range(60):
        publisher.step()
    data = b"".join(publisher.frames())
    whole, pieces = decoder(), decoder()
    feed(whole, data)
    expected, got, at, k = told(whole), [], 0, 0
    while at < len(data):
        feed(pieces, data[at : at + cuts[k % len(cuts)]])
        got += told(pieces)
        at += cuts[k % len(cuts)]
        k += 1
    assert got == expected
    assert pieces.frames == whole.frames and pieces.events == publisher.number


def test_a_read_larger_than_the_buffer_is_decoded_in_turns() -> None:
    it = BinaryDecoder(EventBuffer(FRAME_EVENTS_MAX + 9), INDICES, 1)
    encoder = BinaryEncoder(1)
    data = b"".join(encoder.frame(LEVEL * FRAME_EVENTS_MAX) for _ in range(3))
    assert len(data) < INPUT_BYTES
    it.input_view()[: len(data)] = data
    turns, events = 1, 0
    more = it.received(len(data), 1)
    while more:
        events += len(it.buffer)
        it.buffer.clear()
        more = it.received(0, 1)
        turns += 1
    assert (turns, events + len(it.buffer)) == (3, 3 * FRAME_EVENTS_MAX)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), most=st.integers(1, 40))
def test_slices_give_the_same_events_and_go_beyond_their_bound_for_one_message(seed: int, most: int) -> None:
    publisher = Publisher(seed, len(INDICES))
    for _ in range(60):
        publisher.step()
    data = b"".join(publisher.frames())
    whole, sliced = decoder(), decoder()
    feed(whole, data)
    expected, got, n = told(whole), [], len(data)
    sliced.input_view()[:n] = data
    more = True
    while more:
        more, n = sliced.received(n, 1, most), 0
        rows = sliced.buffer.array()
        assert not any(
            row["flags"] & 1 for row in rows[most - 1 : -1]
        )  # beyond the bound: one message's rest
        got += told(sliced)
    assert got == expected
    assert sliced.frames == whole.frames and sliced.events == whole.events


def test_a_long_frame_is_cut_behind_a_message_and_checked_once() -> None:
    level = record(EventKind.LEVEL, 0, side=BookSide.BID, price_ticks=10, size_lots=1, last=False)
    it, frame = decoder(), BinaryEncoder(1).frame((level + level + LEVEL) * 100)
    it.input_view()[: len(frame)] = frame
    sizes, n, more = [], len(frame), True
    while more:
        more, n = it.received(n, 1, 128), 0
        assert it.buffer.array()[-1]["flags"] & 1
        sizes.append(len(it.buffer))
        it.buffer.clear()
    assert sizes == [129, 129, 42]
    assert (it.frames, it.events, it.expected) == (1, 300, 301)


def test_what_is_left_of_a_frame_is_dropped_with_its_line() -> None:
    it, encoder = decoder(), BinaryEncoder(1)
    frame = encoder.frame(LEVEL * 100)
    it.input_view()[: len(frame)] = frame
    assert it.received(len(frame), 1, 10) and it.events == 10
    it.disconnected(2)
    it.buffer.clear()
    again = BinaryEncoder(1, session=encoder.session + 1).frame(LEVEL * 3)
    feed(it, again)
    assert it.events == 13 and len(it.buffer) == 3


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_mutation_of_a_stream_crashes_it_or_passes_unseen(data: st.DataObject) -> None:
    """Every byte of a frame is under its checksum: what comes out is a prefix of what was sent."""
    publisher = Publisher(data.draw(st.integers(0, 100)), len(INDICES))
    for _ in range(10):
        publisher.step()
    sent = b"".join(publisher.frames())
    clean = decoder()
    feed(clean, sent)
    expected = told(clean)
    mutated = bytearray(sent)
    at = data.draw(st.integers(0, len(sent) - 1))
    kind = data.draw(st.sampled_from(("flip", "insert", "delete", "noise")))
    if kind == "flip":
        mutated[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "insert":
        mutated[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    elif kind == "delete":
        del mutated[at : at + data.draw(st.integers(1, 100))]
    else:
        mutated[at:] = data.draw(st.binary(max_size=300))
    it = decoder()
    try:
        feed(it, bytes(mutated))
    except DecodeError:
        assert it.malformed == 1
    got = told(it)
    assert got == expected[: len(got)]


def test_a_jump_in_the_numbers_of_a_stream_distrusts_at_once() -> None:
    it = decoder()
    encoder = BinaryEncoder(1)
    feed(it, encoder.frame(LEVEL))
    encoder.next += 4
    feed(it, encoder.frame(LEVEL))
    assert [event[:2] for event in told(it)] == [(EventKind.LEVEL, 0), (CLEARED, 0), (EventKind.LEVEL, 0)]
    assert (it.gaps, it.lost) == (1, 4)


def test_a_heartbeat_tells_of_events_that_never_came() -> None:
    it = decoder()
    encoder = BinaryEncoder(1)
    feed(it, encoder.frame(LEVEL) + encoder.heartbeat())
    assert [event[0] for event in told(it)] == [EventKind.LEVEL, ALIVE, ALIVE, ALIVE]
    encoder.next += 1
    feed(it, encoder.heartbeat())
    assert told(it) == [(CLEARED, 0)]


def test_a_lost_line_distrusts_every_instrument_and_the_rest_of_a_frame_is_dropped() -> None:
    it = decoder()
    encoder = BinaryEncoder(1)
    feed(it, encoder.frame(record(EventKind.SNAPSHOT_BEGIN, 0)) + encoder.frame(LEVEL)[:50])
    told(it)
    it.disconnected(5)
    assert [(row["instrument"], row["aux"]) for row in it.buffer.array()] == [
        (index, StatusKind.FEED_DOWN) for index in INDICES
    ]
    it.buffer.clear()
    again = BinaryEncoder(1, session=2)
    feed(it, again.frame(LEVEL + record(EventKind.SNAPSHOT_END, 0, last=True)))
    assert [event[0] for event in told(it)] == [EventKind.LEVEL], "an END without its BEGIN is not passed on"


def test_a_snapshot_that_repeats_is_left_out_where_the_book_is_whole_and_taken_where_it_is_not() -> None:
    """Nothing but a sign of life, or each would begin warm-up and windows anew."""
    it = decoder()
    encoder = BinaryEncoder(1)
    other = record(EventKind.LEVEL, 1, side=BookSide.BID, price_ticks=9, size_lots=1, last=True)
    begin = record(EventKind.SNAPSHOT_BEGIN, 0, repeat=True)
    end = record(EventKind.SNAPSHOT_END, 0, last=True, sequence=5)
    snapshot = encoder.frame(begin + LEVEL + end)
    feed(it, snapshot)
    assert [event[0] for event in told(it)] == [
        EventKind.SNAPSHOT_BEGIN,
        EventKind.LEVEL,
        EventKind.SNAPSHOT_END,
    ]
    feed(it, encoder.frame(begin + LEVEL + other + end + LEVEL))
    assert [event[:2] for event in told(it)] == [(EventKind.LEVEL, 1), (ALIVE, 0), (EventKind.LEVEL, 0)]
    encoder.next += 1
    feed(it, encoder.frame(begin + LEVEL + end))
    kinds = [event[0] for event in told(it)]
    assert kinds == [
        CLEARED,
        CLEARED,
        EventKind.SNAPSHOT_BEGIN,
        EventKind.LEVEL,
        EventKind.SNAPSHOT_END,
    ]
    assert it.resyncs == 2


# --- datagrams ----------------------------------------------------------------------------------------------


def shaken(
    rng: random.Random, frames: list[bytes], *, loss: float, copies: float, overtakes: float
) -> list[bytes]:
    """What a network makes of them."""
    arrivals = []
    for at, frame in enumerate(frames):
        if rng.random() >= loss:
            arrivals.append((at + (rng.uniform(0, 6) if rng.random() < overtakes else 0), frame))
        if rng.random() < copies:
            arrivals.append((at + rng.uniform(0, 9), frame))
    return [frame for _, frame in sorted(arrivals, key=lambda each: each[0])]


def engine_of(folder: Path) -> Engine:
    rows = "\n".join(
        f"  - {{name: I{i}, venue: desk, symbol: S{i}, tick_size: 1, lot_size: 1, warmup: 0s}}"
        for i in range(len(INDICES))
    )
    path = folder / "config.yaml"
    path.write_text(
        f"version: 1\nmodel: {{artifact: first_passage}}\ninstruments:\n{rows}\n", encoding="utf-8"
    )
    return Engine(load_config(path), start_ns=1)


def run_lossy(folder: Path, seed: int, steps: int) -> tuple[BinaryDecoder, int]:
    """A publisher, a bad network, decoder and twin and engine: returns the decoder and how often a book was GOOD.

    Events equal the twin's at each step, and a book that is GOOD equals the publisher's at the decoder's place.
    """
    rng = random.Random(seed)
    window = rng.choice((0, 1, 4, 16))
    engine = engine_of(folder)
    it = BinaryDecoder(EventBuffer(65_536), range(len(INDICES)), 1, window=window)
    twin = Receiver(len(INDICES), window)
    publisher = Publisher(seed, len(INDICES))
    good, now_ns = 0, 1
    rates = {
        "loss": rng.choice((0.0, 0.02, 0.2)),
        "copies": rng.choice((0.0, 0.1)),
        "overtakes": rng.choice((0, 0.3)),
    }

    def check() -> None:
        nonlocal good
        for i in range(len(INDICES)):
            state = engine.instrument_status(i, now_ns)
            if state.quality == QualityCode.GOOD:
                good += 1
                best = (state.bid_ticks, state.bid_lots, state.ask_ticks, state.ask_lots)
                assert best == publisher.best_at(i, it.expected - 1), f"seed {seed}, number {it.expected - 1}"

    def take(expected: list[Event]) -> None:
        rows = it.buffer.array()
        engine.on_events(it.buffer)
        it.buffer.clear()
        got = [
            (CLEARED, int(row["instrument"]))
            if row["kind"] == EventKindCode.CLEAR
            else (ALIVE, int(row["instrument"]))
            if row["kind"] == EventKindCode.STATUS
            else (int(row["kind"]), int(row["instrument"]), int(row["price_ticks"]), int(row["size_lots"]))
            for row in rows
        ]
        assert got == [event if event[0] < 0 else (*event[:2], *event[4:6]) for event in expected], (
            f"seed {seed}"
        )
        check()

    for i in range(len(INDICES)):
        publisher.snapshot(i)
    for k in range(steps):
        for _ in range(rng.randrange(12)):
            publisher.step()
        frames = publisher.frames()
        if rng.random() < 0.3:
            frames.append(publisher.encoder.heartbeat())
        if k == steps // 2:  # the publisher begins anew
            publisher.encoder = BinaryEncoder(1, session=2)
            publisher.number = 0
            publisher.truth = [[] for _ in INDICES]
            for i in range(len(INDICES)):
                publisher.snapshot(i)
            frames = publisher.frames()
        for frame in shaken(rng, frames, **rates):
            now_ns += 100_000
            if rng.random() < 0.01:
                frame = bytes([*frame[:-1], frame[-1] ^ 255])
            try:
                it.datagram(frame, now_ns)
            except DecodeError:
                assert len(it.buffer) == 0
                continue
            take(twin.take(frame))
        assert bool(it.missing_since_ns) == twin.waiting
        if rng.random() < 0.5:
            it.give_up(now_ns)
            take(twin.give_up())
    it.give_up(now_ns)
    take(twin.give_up())
    for i in range(len(INDICES)):
        publisher.snapshot(i)
    for frame in publisher.frames():
        it.datagram(frame, now_ns)
        engine.on_events(it.buffer)
        it.buffer.clear()
    good = 0
    it.give_up(now_ns)
    engine.on_events(it.buffer)
    it.buffer.clear()
    return it, good


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 3000), marks=pytest.mark.slow)], ids=str)
def test_a_book_that_is_good_is_the_publishers_whatever_the_network_does(
    tmp_path: Path, seeds: range
) -> None:
    gaps = reordered = duplicates = 0
    for seed in seeds:
        it, _ = run_lossy(tmp_path, seed, 40)
        gaps, reordered = gaps + it.gaps, reordered + it.reordered
        duplicates += it.duplicates
    assert min(gaps, reordered, duplicates) > len(seeds), (
        "the network must have done all of it, or nothing is shown"
    )


def test_a_frame_that_overtakes_waits_for_the_one_before() -> None:
    it = decoder(window=2)
    encoder = BinaryEncoder(1)
    one, two, three = (encoder.frame(LEVEL) for _ in range(3))
    assert it.datagram(one, 1) == 1
    it.buffer.clear()
    assert it.datagram(three, 2) == 0 and it.missing_since_ns == 2 and it.held_frames == 1
    assert it.datagram(two, 3) == 2 and it.missing_since_ns == 0 and it.reordered == 1 and it.gaps == 0


def test_what_is_not_there_in_time_is_a_gap_and_what_is_held_goes_on() -> None:
    it = decoder(window=2)
    encoder = BinaryEncoder(1)
    one, two, three = (encoder.frame(LEVEL) for _ in range(3))
    it.datagram(one, 1)
    it.buffer.clear()
    it.datagram(three, 2)
    assert it.give_up(9) == 2
    assert [event[0] for event in told(it)] == [CLEARED, EventKind.LEVEL]
    assert it.datagram(two, 10) == 0 and it.duplicates == 1, "what comes after all is a copy of the past"
    assert (it.gaps, it.lost) == (1, 1)


def test_a_window_that_is_full_waits_no_longer() -> None:
    it = decoder(window=2)
    encoder = BinaryEncoder(1)
    frames = [encoder.frame(LEVEL) for _ in range(5)]
    it.datagram(frames[0], 1)
    it.buffer.clear()
    assert it.datagram(frames[2], 1) == it.datagram(frames[3], 1) == 0
    assert it.datagram(frames[4], 1) == 4 and it.gaps == 1 and it.held_frames == 0


def test_a_publisher_that_began_anew_is_followed_and_its_past_is_not() -> None:
    it = decoder(window=2)
    old, new = BinaryEncoder(1, session=10, first=100), BinaryEncoder(1, session=11)
    it.datagram(old.frame(LEVEL), 1)
    it.buffer.clear()
    late = old.frame(LEVEL)
    assert it.datagram(new.frame(LEVEL), 2) == 2
    assert [event[0] for event in told(it)] == [CLEARED, EventKind.LEVEL]
    assert it.datagram(late, 3) == 0 and it.session == 11 and it.expected == 2


# --- the client's encoder -----------------------------------------------------------------------------------


def test_frames_are_cut_to_the_size_asked_for_and_numbered_on() -> None:
    encoder = BinaryEncoder(3, session=9)
    frames = list(encoder.frames([LEVEL] * 50, wire.DATAGRAM_EVENTS))
    heads = [unpack(frame) for frame in frames]
    assert [(count, source, session, first) for _, count, source, session, first, _ in heads] == [
        (22, 3, 9, 1),
        (22, 3, 9, 23),
        (6, 3, 9, 45),
    ]
    assert max(map(len, frames)) <= 1472, "one Ethernet packet without fragments"


@pytest.mark.parametrize("records", [b"", LEVEL[:-1], LEVEL * 1024])
def test_what_is_no_frame_is_refused(records: bytes) -> None:
    with pytest.raises(ValueError, match="records: 1 to 1023"):
        BinaryEncoder(1).frame(records)


def test_the_record_is_the_engines_own() -> None:
    """64 bytes in the order of ``EVENT_DTYPE``: a numpy array of events is a frame's body as it stands."""
    it = decoder()
    buffer = EventBuffer(4)
    buffer.append(
        EventKindCode.LEVEL,
        instrument=1,
        side=2,
        price_ticks=5,
        size_lots=6,
        sequence=7,
        flags=1,
        exchange_ns=8,
    )
    feed(it, BinaryEncoder(1).frame(buffer.array().tobytes()))
    (row,) = it.buffer.array()
    expected = buffer.array()[0]
    assert [row[name] for name in row.dtype.names if name not in ("instrument", "receive_ns")] == [
        expected[name] for name in row.dtype.names if name not in ("instrument", "receive_ns")
    ]
    assert row["instrument"] == INDICES[1] and np.dtype(row.dtype).itemsize == 64
