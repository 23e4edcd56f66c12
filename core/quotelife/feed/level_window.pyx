"""Rows of best levels to LEVEL records: only what changed, LAST on the last.

A level that slides out at the bottom of the window, or comes into it from below, was not cancelled or added by anyone:
its record carries SNAPSHOT, a correction of the book and no order flow. Out of the window the book knows nothing, so
a level that has left it leaves the book.
"""

from libc.stdint cimport int64_t, uint16_t, uint8_t
from libc.string cimport memset

from quotelife.records cimport (
    EV_LEVEL, EV_SNAPSHOT_BEGIN, EV_SNAPSHOT_END, EV_STATUS, FLAG_LAST, FLAG_SNAPSHOT, SIDE_BID, STATUS_HEARTBEAT,
    Event, EventBuffer,
)


cdef inline void put(EventBuffer buffer, const Event* like, uint8_t kind, int which, int64_t ticks, int64_t lots,
                     uint16_t flags) noexcept:
    cdef Event* event = buffer.push()
    if event == NULL:
        return
    event[0] = like[0]
    event.kind = kind
    event.side = SIDE_BID + which if kind == EV_LEVEL else 0
    event.price_ticks = ticks
    event.size_lots = lots
    event.order_id = event.aux = 0
    event.flags = flags


cdef inline int place(const Row* row, int64_t ticks) noexcept nogil:
    cdef int i
    for i in range(row.n):
        if row.ticks[i] == ticks:
            return i
    return -1


cdef inline bint below(const Row* row, int depth, int which, int64_t ticks) noexcept nogil:
    # Beyond the worst level of a window that is full.
    if row.n < depth:
        return False
    if which == 0:
        return ticks < row.ticks[row.n - 1]
    return ticks > row.ticks[row.n - 1]


cdef int window_apply(Window* self, const Row* now, const Event* like, EventBuffer buffer) noexcept:
    cdef Py_ssize_t start = buffer.count
    cdef const Row* old
    cdef const Row* new
    cdef Event* last
    cdef int which, i, j
    if not self.whole:
        put(buffer, like, EV_SNAPSHOT_BEGIN, 0, 0, 0, FLAG_SNAPSHOT)
    for which in range(2):
        old = &self.side[which]
        new = now + which
        if self.whole:
            for i in range(old.n):
                if place(new, old.ticks[i]) < 0:
                    put(buffer, like, EV_LEVEL, which, old.ticks[i], 0,
                        FLAG_SNAPSHOT if below(new, self.depth, which, old.ticks[i]) else 0)
        for i in range(new.n):
            j = place(old, new.ticks[i]) if self.whole else -1
            if j >= 0 and old.lots[j] == new.lots[i]:
                continue
            put(buffer, like, EV_LEVEL, which, new.ticks[i], new.lots[i],
                FLAG_SNAPSHOT if not self.whole or (j < 0 and below(old, self.depth, which, new.ticks[i])) else 0)
    if not self.whole:
        put(buffer, like, EV_SNAPSHOT_END, 0, 0, 0, FLAG_SNAPSHOT)
    elif buffer.count == start:
        put(buffer, like, EV_STATUS, 0, 0, 0, 0)       # the same row again: the book's own stream is alive
        last = buffer.events + buffer.count - 1
        last.aux = STATUS_HEARTBEAT
    self.whole = True
    self.side[0] = now[0]
    self.side[1] = now[1]
    return <int>(buffer.count - start)


cdef class LevelWindow:
    """Rows of at most ``depth`` levels a side to LEVEL records in ``buffer``.

    Raises ``ValueError`` when ``depth`` is out of range.
    """

    def __init__(self, EventBuffer buffer not None, int depth):
        if not 1 <= depth <= WINDOW_LEVELS:
            raise ValueError(f"depth must be 1 to {WINDOW_LEVELS}, not {depth}")
        memset(&self.c, 0, sizeof(Window))
        self.c.depth = depth
        self.buffer = buffer

    def row(self, bids, asks, *, instrument, int64_t receive_ns, int64_t exchange_ns=0, int64_t sequence=0):
        """One row, (price ticks, lots) best first, as one venue message; returns the number of records.

        Raises ``ValueError`` on more than ``depth`` levels or a size below 1, ``OverflowError`` when the buffer has
        no room for any row; nothing of the row reaches the buffer then.
        """
        cdef Row[2] now
        cdef Event like
        cdef int which, n
        if self.buffer.capacity - self.buffer.count < window_events_max(self.c.depth):
            raise OverflowError(f"event buffer is full ({self.buffer.capacity} events)")
        for which in range(2):
            levels = asks if which else bids
            if len(levels) > self.c.depth:
                raise ValueError(f"{len(levels)} levels a side, at most {self.c.depth}")
            now[which].n = 0
            for ticks, lots in levels:
                if lots < 1:
                    raise ValueError(f"a level at {ticks} ticks without a size")
                now[which].ticks[now[which].n] = ticks
                now[which].lots[now[which].n] = lots
                now[which].n += 1
        memset(&like, 0, sizeof(Event))
        like.instrument = instrument
        like.receive_ns = receive_ns
        like.exchange_ns = exchange_ns
        like.sequence = sequence
        n = window_apply(&self.c, now, &like, self.buffer)
        self.buffer.events[self.buffer.count - 1].flags |= FLAG_LAST
        return n

    def forget(self):
        """After a break: the next row is a snapshot."""
        self.c.whole = False
