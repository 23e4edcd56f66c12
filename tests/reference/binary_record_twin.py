"""What a receiver of the binary record must make of its input, in plain Python from docs/binary-feed.md; and a
publisher with books of its own whose truth can be asked for."""

import random
import struct
import zlib
from collections.abc import Sequence

from quotelife_client.binary import BinaryEncoder, quote, record
from quotelife_client.types import BookSide, EventKind

Event = tuple[int, ...]  # kind, instrument, side, flags, price, size, order id, aux, sequence, exchange time
CLEARED = -1  # kind of what the receiver adds by itself: CLEAR with GAP and LAST
ALIVE = -2  # a heartbeat for the instrument


def unpack(data: bytes) -> tuple[int, int, int, int, int, list[Event]]:
    """Flags, count, source, session, first and events of a whole frame. Raises ``ValueError``."""
    if len(data) < 32:
        raise ValueError("short")
    magic, version, flags, count, source, crc, session, first = struct.unpack_from("<4sBBHIIqq", data)
    if (magic, version) != (b"QLEV", 1) or len(data) != 32 + 64 * count or count > 1023:
        raise ValueError("header")
    if flags != (0 if count else 1) or session <= 0 or not 0 < first <= 2**62:
        raise ValueError("header")
    if zlib.crc32(data[16:], zlib.crc32(data[:12])) != crc:
        raise ValueError("crc")
    events = []
    for at in range(32, len(data), 64):
        time, _, seq, price, size, order, aux, instrument, kind, side, flag = struct.unpack_from(
            "<qqqqqqqIBBH", data, at
        )
        events.append((kind, instrument, side, flag, price, size, order, aux, seq, time))
    return flags, count, source, session, first, events


class Receiver:
    """Valid frames of one source in any order, several times or never; events in order, or CLEAR after a loss."""

    def __init__(self, instruments: int, window: int) -> None:
        self.window = window
        self.session = 0
        self.next = 0
        self.sent = 0  # the publisher has sent all numbers below
        self.early: dict[int, list[Event]] = {}
        self.fed = [False] * instruments
        self.whole = [False] * instruments  # a snapshot has begun, and nothing was lost since
        self.complete = [False] * instruments  # … and has ended
        self.skipping = [False] * instruments  # a snapshot that says nothing new
        self.out: list[Event] = []
        self.gaps = 0

    @property
    def waiting(self) -> bool:
        return bool(self.early) or self.sent > self.next

    def take(self, frame: bytes) -> list[Event]:
        self.out = []
        _, count, _, session, first, events = unpack(frame)
        if session < self.session:
            return self.out
        if session > self.session:
            if self.session:
                self.lose()
            self.session, self.next, self.sent, self.early = session, first, first, {}
        if not count:
            self.sent = max(self.sent, first)
            if first <= self.next and not self.waiting:
                self.out += [(ALIVE, i) for i in range(len(self.fed))]
        elif first + count > self.next:
            if first > self.next:
                self.early.setdefault(first, events)
                if len(self.early) > self.window:
                    self.jump()
            else:
                self.apply(first, events)
                self.follow()
        return self.out

    def give_up(self) -> list[Event]:
        self.out = []
        if self.waiting:
            self.jump()
        return self.out

    def jump(self) -> None:
        self.lose()
        self.next = min(self.early) if self.early else self.sent
        self.follow()

    def lose(self) -> None:
        self.gaps += 1
        for i, fed in enumerate(self.fed):
            if fed:
                self.out.append((CLEARED, i))
            self.fed[i] = self.whole[i] = self.complete[i] = self.skipping[i] = False

    def follow(self) -> None:
        while self.early and min(self.early) <= self.next:
            first = min(self.early)
            self.apply(first, self.early.pop(first))

    def apply(self, first: int, events: Sequence[Event]) -> None:
        for event in events[max(0, self.next - first) :]:
            kind, i, side, flags, *rest = event
            if kind == EventKind.SNAPSHOT_BEGIN and flags & 16 and self.complete[i]:
                self.skipping[i] = True
                continue
            if self.skipping[i] and kind == EventKind.SNAPSHOT_END:
                self.skipping[i] = False
                self.out.append((ALIVE, i))
                continue
            if self.skipping[i] and kind in (EventKind.LEVEL, EventKind.ADD):
                continue
            if kind == EventKind.SNAPSHOT_BEGIN:
                self.whole[i], self.complete[i], self.skipping[i] = True, False, False
                flags &= ~16
            elif kind == EventKind.SNAPSHOT_END:
                if not self.whole[i]:
                    continue
                self.whole[i], self.complete[i] = False, True
            elif kind == EventKind.CLEAR or (kind == EventKind.STATUS and rest[3] == 5):
                self.whole[i] = self.complete[i] = self.skipping[i] = False
            elif self.whole[i]:
                flags |= 2
            self.fed[i] = True
            self.out.append((kind, i, side, flags, *rest))
        self.next = max(self.next, first + len(events))
        self.sent = max(self.sent, self.next)


class Publisher:
    """Random venue messages for a few level books, numbered and packed; every best price it ever had by number."""

    def __init__(self, seed: int, instruments: int, *, source: int = 1, session: int = 1) -> None:
        self.rng = random.Random(seed)
        self.encoder = BinaryEncoder(source, session)
        self.bids: list[dict[int, int]] = [{1000 - k: 5 + k for k in range(5)} for _ in range(instruments)]
        self.asks: list[dict[int, int]] = [{1001 + k: 5 + k for k in range(5)} for _ in range(instruments)]
        # For each instrument: (number of the event that ended a message, bid, bid size, ask, ask size).
        self.truth: list[list[tuple[int, int, int, int, int]]] = [[] for _ in range(instruments)]
        self.records: list[bytes] = []
        self.number = 0
        self.venue = 0

    def add(self, instrument: int, packed: bytes, *, last: bool = False) -> None:
        self.records.append(packed)
        self.number += 1
        if last:
            self.truth[instrument].append((self.number, *self.best(instrument)))

    def best(self, i: int) -> tuple[int, int, int, int]:
        bid, ask = max(self.bids[i]), min(self.asks[i])
        return bid, self.bids[i][bid], ask, self.asks[i][ask]

    def snapshot(self, i: int, *, repeat: bool = False) -> None:
        self.venue += 1
        self.add(i, record(EventKind.SNAPSHOT_BEGIN, i, repeat=repeat))
        for side, book in ((BookSide.BID, self.bids[i]), (BookSide.ASK, self.asks[i])):
            for price, size in book.items():
                self.add(i, record(EventKind.LEVEL, i, side=side, price_ticks=price, size_lots=size))
        self.add(i, record(EventKind.SNAPSHOT_END, i, sequence=self.venue, last=True), last=True)

    def change(self, i: int) -> None:
        """One to four levels change; the book stays two-sided and uncrossed after the message."""
        rng = self.rng
        self.venue += 1
        changes: list[tuple[BookSide, int, int]] = []
        for _ in range(rng.randrange(1, 5)):
            side = rng.choice((BookSide.BID, BookSide.ASK))
            book, other = (
                (self.bids[i], self.asks[i]) if side == BookSide.BID else (self.asks[i], self.bids[i])
            )
            if len(book) > 3 and rng.random() < 0.4:
                price, size = rng.choice(list(book)), 0
                del book[price]
            else:
                away = rng.randrange(1, 8)
                price = min(other) - away if side == BookSide.BID else max(other) + away
                price, size = max(price, 1), rng.randrange(1, 50)
                book[price] = size
            changes.append((side, price, size))
        for at, (side, price, size) in enumerate(changes):
            last = at == len(changes) - 1
            packed = record(
                EventKind.LEVEL,
                i,
                side=side,
                price_ticks=price,
                size_lots=size,
                sequence=self.venue,
                last=last,
            )
            self.add(i, packed, last=last)

    def trade(self, i: int) -> None:
        bid = max(self.bids[i])
        packed = record(EventKind.TRADE, i, side=BookSide.ASK, price_ticks=bid, size_lots=1, last=True)
        self.add(i, packed)

    def quote(self, i: int) -> None:
        """As bookTicker says it: best bid and offer as they stand."""
        self.venue += 1
        bid, bid_lots, ask, ask_lots = self.best(i)
        self.add(i, quote(i, bid, bid_lots, ask, ask_lots, sequence=self.venue), last=True)

    def step(self) -> None:
        """One venue message of some kind for some instrument."""
        i = self.rng.randrange(len(self.bids))
        kind = self.rng.random()
        if kind < 0.05:
            self.snapshot(i, repeat=self.rng.random() < 0.5)
        elif kind < 0.8:
            self.change(i)
        elif kind < 0.9:
            self.trade(i)
        else:
            self.quote(i)

    def frames(self, largest: int = 12) -> list[bytes]:
        """All since the last call, in frames of random sizes that heed no venue message."""
        frames = []
        while self.records:
            n = self.rng.randrange(1, largest + 1)
            frames.append(self.encoder.frame(b"".join(self.records[:n])))
            del self.records[:n]
        return frames

    def best_at(self, i: int, number: int) -> tuple[int, int, int, int] | None:
        """Best prices as of the last message that ended at or before an event's number."""
        found = None
        for ended, *best in reversed(self.truth[i]):
            if ended <= number:
                found = (best[0], best[1], best[2], best[3])
                break
        return found
