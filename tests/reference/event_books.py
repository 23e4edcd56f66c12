"""Events applied to level books, for tests: the engine's part, without quality and features."""

from typing import NamedTuple

from quotelife.book.level_book import Book
from quotelife.records import EventBuffer, EventFlags, EventKindCode, StatusKind

KIND = EventKindCode
LEVEL, QUOTE = int(KIND.LEVEL), int(KIND.QUOTE)
LAST, GAP = int(EventFlags.LAST), int(EventFlags.GAP)
Best = tuple[int, int, int, int]  # bid ticks, bid lots, ask ticks, ask lots


class EventRow(NamedTuple):
    """One event, fields in the order of ``EVENT_DTYPE``."""

    exchange_ns: int
    receive_ns: int
    sequence: int
    price_ticks: int
    size_lots: int
    order_id: int
    aux: int
    instrument: int
    kind: int
    side: int
    flags: int


def rows(buffer: EventBuffer) -> list[EventRow]:
    """The events of a buffer as Python values."""
    return [EventRow._make(row) for row in buffer.array().tolist()]


class AppliedBook:
    """The level side of one instrument; quotes are recorded beside it, never laid over it."""

    def __init__(self, capacity: int = 16384) -> None:
        self.book = Book(capacity)
        self.whole = False
        self.open = False  # inside a venue message: LAST has not come yet
        self.sequence = -1
        self.gaps = 0
        self.crossed = 0
        self.best: dict[int, Best] = {}  # by update id, whenever the book was whole
        self.quotes: dict[int, Best] = {}  # by update id

    def apply(self, event: EventRow) -> bool:
        """True when the message ends here and the book is whole."""
        kind = event.kind
        last = bool(event.flags & LAST)
        if kind == LEVEL:
            self.book.level(event.side, event.price_ticks, event.size_lots)
            self.open = not last
        elif kind == QUOTE:
            assert last and not self.open
            self.quotes[event.sequence] = (event.price_ticks, event.size_lots, event.order_id, event.aux)
            return False
        elif kind == KIND.SNAPSHOT_BEGIN:
            assert not last and not self.open
            self.book.clear()
            self.whole = False
            self.open = True
        elif kind == KIND.SNAPSHOT_END:
            assert last and self.open
            self.whole = True
            self.open = False
        elif kind == KIND.CLEAR:
            assert last and not self.open
            self.gaps += bool(event.flags & GAP)
            self.book.clear()
            self.whole = False
        elif kind == KIND.STATUS:
            assert last and not self.open
            if event.aux == StatusKind.FEED_DOWN:
                self.whole = False
        else:
            return False
        if not (last and self.whole):
            return False
        self.sequence = max(self.sequence, event.sequence)
        self.book.refresh(self.sequence)
        self.crossed += self.book.crossed
        self.best[self.sequence] = self.book.best
        return True

    def levels(self) -> tuple[dict[int, int], dict[int, int]]:
        """Bids and asks, ticks to lots."""
        return dict(self.book.bids(1 << 20)), dict(self.book.asks(1 << 20))


class AppliedBooks:
    """One ``AppliedBook`` per instrument index, fed from an event buffer."""

    def __init__(self, instruments: int = 1) -> None:
        self.books = [AppliedBook() for _ in range(instruments)]

    def drain(self, buffer: EventBuffer) -> list[EventRow]:
        """Apply and clear; returns the events."""
        events = rows(buffer)
        for event in events:
            self.books[event.instrument].apply(event)
        buffer.clear()
        return events

    def __getitem__(self, index: int) -> AppliedBook:
        return self.books[index]
