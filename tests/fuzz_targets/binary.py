"""The binary record: frames over a stream, and in datagrams held against a receiver in plain Python."""

import struct
import zlib
from collections.abc import Iterator

from fuzz_targets.kit import Bytes, Target, drain, pieces, same
from quotelife.errors import DecodeError
from quotelife.feed.binary import BinaryDecoder
from quotelife.records import EventBuffer, EventKindCode, StatusKind
from reference.binary_record_twin import ALIVE, CLEARED, Event, Receiver
from reference.event_books import EventRow

INSTRUMENTS = 3
SOURCE = 7
WINDOW = 2
CAPACITY = (WINDOW + 1) * 1023 + 3 * INSTRUMENTS
WORDS = (b"QLEV\1\0", b"QLEV\1\1\0\0")


def sealed(flags: int, count: int, session: int, first: int, events: bytes, source: int = SOURCE) -> bytes:
    """A frame whose checksum holds."""
    head = b"QLEV" + struct.pack("<BBHI", 1, flags, count, source)
    rest = struct.pack("<QQ", session & (1 << 64) - 1, first & (1 << 64) - 1) + events
    return head + struct.pack("<I", zlib.crc32(head + rest)) + rest


def event_of(source: Bytes) -> bytes:
    """64 bytes of an event, where the input says so with the instrument and flags that are looked at first."""
    raw = bytearray(source.take(64).ljust(64, b"\0"))
    if source.byte() & 1:
        raw[56:60] = bytes((raw[56] % INSTRUMENTS, 0, 0, 0))
        raw[62:64] = bytes((raw[62] & 3, 0))
    return bytes(raw)


def frame_of(source: Bytes, expected: int, session: int) -> bytes:
    """A frame near what is expected next, its events as the input has them; or any bytes."""
    head = source.byte()
    if head == 255:
        return source.take(source.number(2))
    count = head & 7
    count = count if count < 7 else source.byte()
    events = b"".join(event_of(source) for _ in range(count))
    first = max(1, expected + (head >> 3 & 7) - 2)
    if head & 64:
        session += 1 if head & 128 else -1
    return sealed(int(count == 0), count, max(1, session), first, events)


def heals(events: list[EventRow]) -> None:
    """Events of the frame of a snapshot after all that was: each is passed on, to its end."""
    assert [(e.kind, e.instrument) for e in events[-2:]] == [
        (EventKindCode.SNAPSHOT_BEGIN, 1),
        (EventKindCode.SNAPSHOT_END, 1),
    ]


def snapshot(session: int, first: int) -> bytes:
    begin = bytes(56) + bytes((1, 0, 0, 0, EventKindCode.SNAPSHOT_BEGIN, 0, 0, 0))
    end = bytes(56) + bytes((1, 0, 0, 0, EventKindCode.SNAPSHOT_END, 0, 1, 0))
    return sealed(0, 2, session, first, begin + end)


# --- a stream ---


def received(decoder: BinaryDecoder, chunks: list[bytes]) -> tuple[list[EventRow], str | None]:
    events: list[EventRow] = []
    try:
        for chunk in chunks:
            decoder.input_view()[: len(chunk)] = chunk
            n = len(chunk)
            while decoder.received(n, 5):
                n = 0
                events += drain(decoder.buffer, INSTRUMENTS)
            events += drain(decoder.buffer, INSTRUMENTS)
    except DecodeError as error:
        events += drain(decoder.buffer, INSTRUMENTS)
        return events, str(error)
    return events, None


def run_stream(data: bytes) -> None:
    """The same events in one piece and in many; a new connection with a snapshot gives a book."""
    source = Bytes(data)
    options = source.byte()
    frames, expected = [], 5
    while source:
        frame = frame_of(source, expected, 9)
        frames.append(frame)
        expected += min(int.from_bytes(frame[6:8], "little"), 1023)
    body = b"".join(frames)
    told = []
    for chunks in ([body], pieces(body, options)):
        decoder = BinaryDecoder(EventBuffer(CAPACITY), range(INSTRUMENTS), SOURCE)
        decoder.connected(1)
        drain(decoder.buffer, INSTRUMENTS)
        events, fault = received(decoder, chunks)
        counts = (
            decoder.frames,
            decoder.events,
            decoder.gaps,
            decoder.lost,
            decoder.duplicates,
            decoder.resyncs,
        )
        told.append((events, fault, counts, decoder.malformed, decoder.foreign, decoder.expected))
        decoder.disconnected(6)
        drain(decoder.buffer, INSTRUMENTS)
        events, fault = received(decoder, [snapshot(1, 1)])
        assert fault is None
        heals(events)
    same(*told)


def published() -> Iterator[bytes]:
    """Frames of a small publisher."""
    from reference.binary_record_twin import Publisher

    publisher = Publisher(1, INSTRUMENTS, source=SOURCE, session=9)
    publisher.number = 4
    for i in range(INSTRUMENTS):
        publisher.snapshot(i)
    for _ in range(12):
        publisher.step()
    yield from publisher.frames(5)


def seeds() -> Iterator[bytes]:
    frames = list(published())
    yield b"\1" + b"".join(b"\xff" + len(frame).to_bytes(2, "little") + frame for frame in frames)
    shaped = b"".join(
        bytes((int.from_bytes(frame[6:8], "little") % 7 | 16,))
        + b"".join(frame[at : at + 64] + b"\1" for at in range(32, 32 + 64 * (frame[6] % 7), 64))
        for frame in frames
    )
    yield b"\2" + shaped
    yield b"\2" + b"\x10" + shaped[:600] + b"\x18" + shaped[600:1200] + b"\x08\x10\x20\x40\xc0"


binary_stream = Target(run_stream, seeds, WORDS)


# --- datagrams ---


def as_twin(events: list[EventRow]) -> list[Event]:
    """As the twin tells events."""
    out: list[Event] = []
    for e in events:
        if e.kind == EventKindCode.CLEAR and e.flags == 5 and e.exchange_ns == e.sequence == 0:
            out.append((CLEARED, e.instrument))
        elif e.kind == EventKindCode.STATUS and e.aux == StatusKind.HEARTBEAT and e.sequence == 0:
            out.append((ALIVE, e.instrument))
        else:
            out.append(
                (e.kind, e.instrument, e.side, e.flags, e.price_ticks, e.size_lots, e.order_id, e.aux, e.sequence,
                 e.exchange_ns)
            )  # fmt: skip
    return out


def plain(events: list[Event]) -> list[Event]:
    """A publisher may say CLEAR or HEARTBEAT itself in the words of the receiver: then they are the same."""
    out: list[Event] = []
    for event in events:
        if len(event) > 2 and event[8] == 0:
            if event[0] == EventKindCode.CLEAR and event[3] == 5 and event[9] == 0:
                event = (CLEARED, event[1])
            elif event[0] == EventKindCode.STATUS and event[7] == StatusKind.HEARTBEAT:
                event = (ALIVE, event[1])
        out.append(event)
    return out


def run_datagrams(data: bytes) -> None:
    """Whatever comes, the twin says the same of what was not refused."""
    source = Bytes(data)
    decoder = BinaryDecoder(EventBuffer(CAPACITY), range(INSTRUMENTS), SOURCE, window=WINDOW)
    twin = Receiver(INSTRUMENTS, WINDOW)
    decoder.connected(1)
    drain(decoder.buffer, INSTRUMENTS)
    while source:
        action = source.byte()
        frame = frame_of(source, decoder.expected, decoder.session)
        malformed, foreign = decoder.malformed, decoder.foreign
        try:
            decoder.datagram(frame, 5)
        except DecodeError as error:
            assert str(error)
            assert decoder.malformed == malformed + 1
            assert not drain(decoder.buffer, INSTRUMENTS)
            continue
        if decoder.foreign > foreign:
            assert int.from_bytes(frame[8:12], "little") != SOURCE
            assert not drain(decoder.buffer, INSTRUMENTS)
            continue
        assert plain(twin.take(frame)) == as_twin(drain(decoder.buffer, INSTRUMENTS))
        assert (decoder.missing_since_ns != 0) == twin.waiting
        assert decoder.held_frames <= WINDOW
        if action & 1:
            decoder.give_up(6)
            assert plain(twin.give_up()) == as_twin(drain(decoder.buffer, INSTRUMENTS))
        assert decoder.expected == twin.next
        assert decoder.gaps == twin.gaps
    decoder.disconnected(6)
    drain(decoder.buffer, INSTRUMENTS)
    decoder.datagram(snapshot(1, 1), 7)
    heals(drain(decoder.buffer, INSTRUMENTS))


def datagram_seeds() -> Iterator[bytes]:
    frames = list(published())
    for order in (frames, [frames[at ^ 1] for at in range(len(frames) // 2 * 2)], frames[::3]):
        yield b"".join(b"\0\xff" + len(frame).to_bytes(2, "little") + frame for frame in order)
    yield b"".join(
        bytes((at & 1, 1 | (at % 5) << 3)) + frame[32:96] + b"\1" for at, frame in enumerate(frames)
    )


binary_datagrams = Target(run_datagrams, datagram_seeds, WORDS)
