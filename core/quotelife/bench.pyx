"""Timing loops in C for ``quotelife bench``: what the hot path costs without Python's part in it.

Loops that only compute are measured in processor time of their thread, so that a busy machine does not pass for slow
code; single decisions and what writes, with the monotonic clock. Ratios within one run are what counts.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport fdatasync, write

from quotelife.book.level_book cimport LevelBook, book_free, book_init, book_level, book_quote, book_refresh
from quotelife.book.order_book cimport OrderBook, OrderChange, order_apply, orders_free, orders_init
from quotelife.capture.writer cimport CaptureWriter
from quotelife.engine cimport STRESS_CADENCE_NS, Engine
from quotelife.feed.itch cimport ItchDecoder, be16, be32, be64
from quotelife.journal.writer cimport JournalWriter
from quotelife.records cimport (
    EV_ADD, EV_EXECUTE, EV_LEVEL, EV_QUOTE, EV_TRADE, FLAG_LAST, SIDE_BID, DecisionRecord, Event, EventBuffer,
    RequestRecord,
)
from quotelife.windows.buckets cimport (
    BucketWindow, buckets_add, buckets_advance, buckets_bytes, buckets_init, buckets_sum,
)
from quotelife.windows.ring cimport RingWindow, ring_advance, ring_bytes, ring_init, ring_push

cdef extern from "<time.h>" nogil:
    int CLOCK_THREAD_CPUTIME_ID

cdef enum:
    JOURNALED_WORDS = 112      # of a decision's features: with others that are set as many as one has that is a QUOTE


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return ts.tv_sec * 1_000_000_000 + ts.tv_nsec


cdef inline int64_t thread_ns() noexcept nogil:
    # Processor time: what else the machine does in between is not counted.
    cdef timespec ts
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts)
    return ts.tv_sec * 1_000_000_000 + ts.tv_nsec


def time_reference(EventBuffer buffer):
    """The yardstick: ns of processor time for all events on the plainest dense price ladder in C, best prices found by
    walking.

    One array of sizes a side, indexed by price − lowest price; no bounds on memory, no far levels given up, no
    features. Returns (ns, checksum); the checksum keeps the compiler honest.
    """
    cdef Py_ssize_t i, n = buffer.count
    cdef const Event* event
    cdef int64_t low = 0, high = 0, width, start, best_bid = -1, best_ask, at, checksum = 0
    cdef bint first = True
    for i in range(n):
        event = buffer.events + i
        if event.kind == EV_LEVEL:
            if first or event.price_ticks < low:
                low = event.price_ticks
            if first or event.price_ticks > high:
                high = event.price_ticks
            first = False
    width = high - low + 1
    if width > 1 << 27:
        raise ValueError("price range too wide for the dense ladder")
    cdef int64_t* bids = <int64_t*>calloc(width + 2, sizeof(int64_t))
    cdef int64_t* asks = <int64_t*>calloc(width + 2, sizeof(int64_t))
    if bids == NULL or asks == NULL:
        free(bids)
        free(asks)
        raise MemoryError()
    best_ask = width
    start = thread_ns()
    for i in range(n):
        event = buffer.events + i
        if event.kind == EV_LEVEL:
            at = event.price_ticks - low
            if event.side == SIDE_BID:
                bids[at] = event.size_lots
                if event.size_lots > 0:
                    if at > best_bid:
                        best_bid = at
                elif at == best_bid:
                    while best_bid >= 0 and bids[best_bid] == 0:
                        best_bid -= 1
            else:
                asks[at] = event.size_lots
                if event.size_lots > 0:
                    if at < best_ask:
                        best_ask = at
                elif at == best_ask:
                    while best_ask < width and asks[best_ask] == 0:
                        best_ask += 1
        if event.flags & FLAG_LAST:
            checksum += best_bid ^ best_ask
    start = thread_ns() - start
    free(bids)
    free(asks)
    return start, checksum


def time_book(EventBuffer buffer, int capacity=4096):
    """ns of processor time for all events on the level book alone. Returns (ns, top changes)."""
    cdef LevelBook book
    cdef Py_ssize_t i
    cdef const Event* event
    cdef int64_t start, changes = 0
    book_init(&book, capacity)
    start = thread_ns()
    for i in range(buffer.count):
        event = buffer.events + i
        if event.kind == EV_LEVEL:
            book_level(&book, event.side, event.price_ticks, event.size_lots)
            book.level_sequence = event.sequence
        elif event.kind == EV_QUOTE:
            book_quote(&book, event.sequence, event.price_ticks, event.size_lots, event.order_id, event.aux)
        if event.flags & FLAG_LAST and event.kind != EV_TRADE:
            changes += book_refresh(&book)
    start = thread_ns() - start
    book_free(&book)
    return start, changes


def time_orders(EventBuffer buffer, *, bint view=True, int64_t orders_max=65_536, int capacity=4096):
    """ns of processor time for all events on the order-level book alone, with ``view`` recomputed at each LAST.

    Returns (ns, top changes, (bid ticks, bid lots, ask ticks, ask lots) at the end).
    """
    cdef LevelBook book
    cdef OrderBook orders
    cdef OrderChange change
    cdef Py_ssize_t i
    cdef const Event* event
    cdef int64_t start, changes = 0
    book_init(&book, capacity)
    try:
        orders_init(&orders, orders_max)
    except BaseException:
        book_free(&book)
        raise
    start = thread_ns()
    for i in range(buffer.count):
        event = buffer.events + i
        if EV_ADD <= event.kind <= EV_EXECUTE:
            order_apply(&orders, &book, event, &change)
        if view and event.flags & FLAG_LAST:
            changes += book_refresh(&book)
    start = thread_ns() - start
    book_refresh(&book)
    best = book.bid_ticks, book.bid_lots, book.ask_ticks, book.ask_lots
    orders_free(&orders)
    book_free(&book)
    return start, changes, best


cdef struct PlainOrder:
    int32_t at                 # price, 1/10,000 of a dollar over the lowest of its book; -1: no order
    uint32_t shares
    uint32_t side              # place of its side: 2 x locate + (0 bid, 1 ask)

cdef struct PlainLevel:
    int64_t key                # place of its price, bids as they are, asks negated
    uint32_t shares

cdef struct PlainSide:
    uint32_t* shares           # dense: by price
    PlainLevel* level          # sorted, the best last
    int64_t n
    int64_t best


def time_itch(ItchDecoder decoder not None, const uint8_t[::1] stream not None, *, bint book=True,
              Py_ssize_t warm=0, int64_t orders_max=65_536, int capacity=4096):
    """ns of processor time for all messages of ``stream``, framed by two bytes of length, through ``decoder``.

    With ``book`` each instrument's orders go into a book of their own, whose view is recomputed at each message.
    Returns (ns, messages, checksum of the best prices after each message). The first ``warm`` messages are not timed:
    tables and pages grow there. Instruments are 0, 1, 2, …; stamps are the exchange's.
    """
    cdef Py_ssize_t at = 0, size = stream.shape[0], n, messages = 0, i, instruments = decoder.instruments
    cdef LevelBook* books = <LevelBook*>calloc(instruments, sizeof(LevelBook))
    cdef OrderBook* orders = <OrderBook*>calloc(instruments, sizeof(OrderBook))
    cdef OrderChange change
    cdef const Event* event
    cdef int64_t start, checksum = 0
    if books == NULL or orders == NULL:
        free(books)
        free(orders)
        raise MemoryError()
    for i in range(instruments):
        book_init(books + i, capacity)
        orders_init(orders + i, orders_max)
    decoder.begin(1)
    decoder.settle(1)
    decoder.buffer.count = 0
    start = thread_ns()
    with nogil:
        while at + 2 <= size:
            n = be16(&stream[at])
            if n == 0 or at + 2 + n > size:
                break
            if messages == warm:
                start = thread_ns()
            decoder.decode(&stream[at + 2], n, 0, messages)
            at += 2 + n
            messages += 1
            if book and decoder.buffer.count == 1:
                event = decoder.buffer.events
                if EV_ADD <= event.kind <= EV_EXECUTE:
                    order_apply(orders + event.instrument, books + event.instrument, event, &change)
                    book_refresh(books + event.instrument)
                    checksum += books[event.instrument].bid_ticks ^ books[event.instrument].ask_ticks
            decoder.buffer.count = 0
    start = thread_ns() - start
    for i in range(instruments):
        orders_free(orders + i)
        book_free(books + i)
    free(orders)
    free(books)
    return start, messages - warm, checksum


def time_itch_reference(const uint8_t[::1] stream not None, Py_ssize_t instruments, uint32_t units, *,
                        Py_ssize_t warm=0, bint dense=False):
    """The yardstick: ns of processor time for the same messages in the plainest C, after itch-order-book's kind.

    Orders are an array indexed by reference number; the levels of a side stand sorted in an array and are searched from
    the best one on. With ``dense`` sizes are an array indexed by price instead, and best prices are found by walking:
    no book of many symbols can be kept so, it is the floor. Nothing is checked, no memory is bounded, no event is made.
    Locates are 1 to ``instruments``; ``units``: 1/10,000 of a dollar a tick. Returns (ns, messages, checksum) as
    ``time_itch``.
    """
    cdef Py_ssize_t at = 0, size = stream.shape[0], n, messages = 0, i
    cdef const uint8_t* p
    cdef int64_t low = 1 << 62, high = 0, price, reference, most = 0, start, checksum = 0, ticks, bid, ask
    cdef uint32_t shares
    cdef PlainOrder* orders
    cdef PlainOrder* order
    cdef PlainSide* sides
    cdef PlainSide* side
    cdef uint8_t kind
    while at + 2 <= size:
        n = be16(&stream[at])
        p = &stream[at + 2]
        if p[0] == b'A' or p[0] == b'F' or p[0] == b'U':
            price = be32(p + 31) if p[0] == b'U' else be32(p + 32)
            low = min(low, price)
            high = max(high, price)
            most = max(most, <int64_t>(be64(p + 19) if p[0] == b'U' else be64(p + 11)))
        at += 2 + n
    ticks = (high - low) // units + 1
    if ticks > 1 << 24 or most > 1 << 28:
        raise ValueError("the prices or reference numbers are too far apart for arrays")
    orders = <PlainOrder*>calloc(most + 1, sizeof(PlainOrder))
    sides = <PlainSide*>calloc(2 * instruments + 2, sizeof(PlainSide))
    if orders == NULL or sides == NULL:
        raise MemoryError()
    for i in range(2, 2 * instruments + 2):
        sides[i].shares = <uint32_t*>calloc(ticks + 2, sizeof(uint32_t)) if dense else NULL
        sides[i].level = NULL if dense else <PlainLevel*>calloc(ticks + 2, sizeof(PlainLevel))
        sides[i].best = ticks if i & 1 else -1
    at = 0
    start = thread_ns()
    with nogil:
        while at + 2 <= size:
            n = be16(&stream[at])
            p = &stream[at + 2]
            at += 2 + n
            if messages == warm:
                start = thread_ns()
            messages += 1
            kind = p[0]
            if kind == b'A' or kind == b'F':
                order = orders + be64(p + 11)
                order.at = <int32_t>((be32(p + 32) - low) // units)
                order.shares = be32(p + 20)
                order.side = 2 * be16(p + 1) + (p[19] == b'S')
                plain_add(sides + order.side, order.at, order.shares, order.side & 1)
            elif kind == b'U':
                order = orders + be64(p + 11)
                plain_less(sides + order.side, order.at, order.shares, order.side & 1, ticks)
                shares = order.side
                order = orders + be64(p + 19)
                order.at = <int32_t>((be32(p + 31) - low) // units)
                order.shares = be32(p + 27)
                order.side = shares
                plain_add(sides + order.side, order.at, order.shares, order.side & 1)
            elif kind == b'D' or kind == b'X' or kind == b'E' or kind == b'C':
                order = orders + be64(p + 11)
                shares = order.shares if kind == b'D' else be32(p + 19)
                order.shares -= shares
                plain_less(sides + order.side, order.at, shares, order.side & 1, ticks)
            else:
                continue
            side = sides + (order.side & ~<uint32_t>1)
            bid = side.best
            ask = (side + 1).best
            checksum += (0 if bid < 0 else bid + low // units) ^ (0 if ask >= ticks else ask + low // units)
    start = thread_ns() - start
    for i in range(2, 2 * instruments + 2):
        free(sides[i].shares)
        free(sides[i].level)
    free(sides)
    free(orders)
    return start, messages - warm, checksum


cdef inline void plain_add(PlainSide* side, int64_t at, uint32_t shares, int ask) noexcept nogil:
    cdef int64_t i, key = -at if ask else at
    if side.shares == NULL:
        i = side.n - 1
        while i >= 0 and side.level[i].key > key:
            i -= 1
        if i >= 0 and side.level[i].key == key:
            side.level[i].shares += shares
            return
        memmove(side.level + i + 2, side.level + i + 1, (side.n - i - 1) * sizeof(PlainLevel))
        side.level[i + 1].key = key
        side.level[i + 1].shares = shares
        side.n += 1
        side.best = -side.level[side.n - 1].key if ask else side.level[side.n - 1].key
        return
    side.shares[at] += shares
    if at < side.best if ask else at > side.best:
        side.best = at


cdef inline void plain_less(PlainSide* side, int64_t at, uint32_t shares, int ask, int64_t ticks) noexcept nogil:
    cdef int64_t i, key = -at if ask else at
    if side.shares == NULL:
        i = side.n - 1
        while side.level[i].key > key:
            i -= 1
        side.level[i].shares -= shares
        if side.level[i].shares == 0:
            memmove(side.level + i, side.level + i + 1, (side.n - i - 1) * sizeof(PlainLevel))
            side.n -= 1
            if side.n == 0:
                side.best = ticks if ask else -1
            else:
                side.best = -side.level[side.n - 1].key if ask else side.level[side.n - 1].key
        return
    side.shares[at] -= shares
    if at == side.best and side.shares[at] == 0:
        if ask:
            while side.best < ticks and side.shares[side.best] == 0:
                side.best += 1
        else:
            while side.best >= 0 and side.shares[side.best] == 0:
                side.best -= 1


def time_windows(EventBuffer buffer):
    """ns an event of one rolling count and sum, by window length: exact rings to 1 s, 100 ms buckets beyond.

    Every event of the tape is pushed at its receive stamp, so each window evicts as many as it takes in.
    """
    cdef RingWindow ring
    cdef BucketWindow buckets
    cdef Py_ssize_t i
    cdef int64_t start, window, value
    cdef int64_t sink = 0
    cdef int32_t length
    cdef void* memory
    cdef int32_t capacity = 1 << 17
    out = {}
    for window in (100_000_000, 500_000_000, 1_000_000_000):
        memory = calloc(1, ring_bytes(capacity, 1))
        if memory == NULL:
            raise MemoryError()
        ring_init(&ring, memory, capacity, 1, &window, 1)
        start = thread_ns()
        for i in range(buffer.count):
            value = buffer.events[i].size_lots
            ring_advance(&ring, buffer.events[i].receive_ns)
            ring_push(&ring, buffer.events[i].receive_ns, &value)
            sink ^= ring.tail[0].sum[0]
        start = thread_ns() - start
        free(memory)
        out[f"window_{window // 1_000_000}ms"] = start / buffer.count
    for length in (20, 100, 600):
        memory = calloc(1, buckets_bytes(length, 1))
        if memory == NULL:
            raise MemoryError()
        buckets_init(&buckets, memory, 1, &length, 1)
        start = thread_ns()
        for i in range(buffer.count):
            buckets_advance(&buckets, buffer.events[i].receive_ns)
            buckets_add(&buckets, 0, buffer.events[i].size_lots)
            sink ^= buckets_sum(&buckets, 0, 0)
        start = thread_ns() - start
        free(memory)
        out[f"window_{length * 100}ms"] = start / buffer.count
    if sink == 1:
        out["checksum"] = 1.0              # never in practice; keeps the loops from being dropped
    return out


def time_engine(Engine engine, EventBuffer buffer):
    """ns of processor time for all events through the engine: order of inputs, book, every window of the schema,
    quality, regime."""
    cdef Py_ssize_t i
    cdef int64_t start = thread_ns()
    for i in range(buffer.count):
        engine.on_event_c(buffer.events + i)
    return thread_ns() - start


def time_quality(Engine engine not None, EventBuffer buffer not None):
    """What the record of quality adds to ``time_engine``: (ns of processor time for all events, looks among them).

    The tape's messages go through what staleness is judged by, and are looked at as often as the engine looks, on an
    engine that has seen the tape: its books are whole. The loop itself is in the figure.
    """
    cdef Py_ssize_t i, looks = 0
    cdef const Event* event
    cdef int64_t start, t, looked = 0
    for i in range(buffer.count):
        if buffer.events[i].instrument >= engine.n_instruments:
            raise ValueError("unknown instrument index")
    start = thread_ns()
    with nogil:
        for i in range(buffer.count):
            event = buffer.events + i
            if not event.flags & FLAG_LAST:
                continue
            t = event.receive_ns
            engine.heard(engine.states[event.instrument], &engine._policy.instrument[event.instrument], event, t)
            if t - looked >= STRESS_CADENCE_NS:
                looked = t
                looks += 1
                engine.look(engine.states[event.instrument], &engine._policy.instrument[event.instrument], t)
    return thread_ns() - start, looks


def time_decisions(Engine engine, RequestRecord request, Py_ssize_t n, int64_t step_ns=0):
    """ns of each of ``n`` decisions of one request, shape (n,); its clock moves on by ``step_ns`` between two.

    The loop runs without the GIL. Each figure holds two clock reads (``time_clock``).
    """
    cdef DecisionRecord decision = DecisionRecord()
    cdef Py_ssize_t i
    cdef int64_t start
    if request.c.instrument >= engine.n_instruments:
        raise ValueError("unknown instrument index")
    out = np.empty(n, dtype=np.int64)
    cdef int64_t[::1] times = out
    with nogil:
        for i in range(n):
            start = now_ns()
            engine.decide_c(&request.c, &decision.c)
            times[i] = now_ns() - start
            request.c.now_ns += step_ns
    return out


def time_clock(Py_ssize_t n=100_000):
    """ns of one pair of clock reads, mean over ``n``."""
    cdef Py_ssize_t i
    cdef int64_t start = now_ns(), sink = 0
    for i in range(n):
        sink ^= now_ns()
    return (now_ns() - start) / n


def time_capture(CaptureWriter writer not None, EventBuffer tape not None):
    """ns for all events, message by message, into a capture, checksums and writes included."""
    cdef Py_ssize_t i, first = 0
    cdef int64_t start = now_ns()
    for i in range(tape.count):
        if tape.events[i].flags & FLAG_LAST or i == tape.count - 1:
            writer.events(tape.events + first, i + 1 - first, first + 1)
            first = i + 1
        if i % 20_000 == 0:        # far from what the writer can hold
            writer.write_pending()
    writer.tick(1 << 62)
    writer.write_pending()
    return now_ns() - start


def time_journal(JournalWriter writer not None, Py_ssize_t n, int batch, bytes request, bytes reply, bint sync):
    """Processor ns of this thread for ``n`` decisions with their answers, committed (and synced) in batches."""
    cdef RequestRecord asked = RequestRecord(0, 1, now_ns=1)
    cdef DecisionRecord answered = DecisionRecord()
    cdef Py_ssize_t i
    for i in range(JOURNALED_WORDS):
        answered.c.features[i] = 1.0 + i
    names = [f"request-{i:08d}".encode() for i in range(n)]
    cdef int64_t start = thread_ns()
    for i in range(n):
        answered.c.input_sequence = i + 1
        answered.c.now_ns = i + 1
        writer.decision(&asked.c, &answered.c)
        writer.answer((i + 1,), names[i], b"0123456789abcdef", request, reply)
        if (i + 1) % batch == 0 or i == n - 1:
            writer.commit()
            if sync:
                writer.sync()
    return thread_ns() - start


def time_plain_writes(int file, bytes block, Py_ssize_t count, bint sync):
    """The yardstick of a journal: processor ns of this thread for ``count`` plain writes of ``block``. ``OSError``."""
    cdef Py_ssize_t i, size = len(block)
    cdef const char* data = block
    cdef int64_t start = thread_ns()
    for i in range(count):
        if write(file, data, size) != size or (sync and fdatasync(file) != 0):
            raise OSError("could not write the yardstick's block")
    return thread_ns() - start


def time_copy_and_write(int file, EventBuffer tape not None, size_t block_bytes):
    """The yardstick of a capture: ns for the same messages by memcpy into blocks and write(2) alone.

    Raises ``OSError``.
    """
    cdef Py_ssize_t i, first = 0
    cdef size_t filled = 0, size
    cdef char* block = <char*>malloc(block_bytes)
    cdef int64_t start = now_ns()
    if block == NULL:
        raise MemoryError()
    try:
        for i in range(tape.count):
            if tape.events[i].flags & FLAG_LAST or i == tape.count - 1:
                size = (i + 1 - first) * sizeof(Event)
                if filled + size > block_bytes or i == tape.count - 1:
                    if write(file, block, filled) != <Py_ssize_t>filled:
                        raise OSError("could not write the yardstick's block")
                    filled = 0
                memcpy(block + filled, tape.events + first, min(size, block_bytes))
                filled += min(size, block_bytes)
                first = i + 1
        return now_ns() - start
    finally:
        free(block)
