"""NASDAQ TotalView-ITCH 5.0: one message in, at most one order-level event out. No I/O.

Layouts follow the published "Nasdaq TotalView-ITCH 5.0" specification; ``docs/itch.md`` says what is taken from each
message. The decoder knows single messages only; framing, sequence numbers and loss are the transport's
(``mold.pyx``, ``soupbin.pyx``, ``itch_files.py``), which tells of them by ``begin``, ``doubt``, ``settle`` and
``lose``.

How a book becomes whole. An order-level book is the sum of all messages since the first of the day. ``begin`` says
that they come from the first one on: SNAPSHOT_BEGIN for every instrument, and what follows is state, not flow, until
``settle`` says that nothing is missing: SNAPSHOT_END. When messages are missing but will be told late, ``doubt``
makes every instrument GAPPED (STATUS MISSING) without forgetting what rests, and ``settle`` makes it whole again.
What is gone for good (``lose``) leaves no book until the next ``begin``.

Nothing is read beyond the length of a message's type, and a length that is not its type's is refused.
"""

from decimal import Decimal

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from quotelife.errors import DecodeError

from quotelife.records cimport (
    EV_ADD, EV_CANCEL, EV_CLEAR, EV_EXECUTE, EV_MODIFY, EV_SNAPSHOT_BEGIN, EV_SNAPSHOT_END, EV_STATUS, EV_TRADE,
    EVERY_ORDER, FLAG_GAP, FLAG_LAST, FLAG_SNAPSHOT, SIDE_ASK, SIDE_BID, SIDE_NONE, STATUS_AUCTION, STATUS_CLOSED,
    STATUS_FEED_DOWN, STATUS_FEED_UP, STATUS_HALT, STATUS_HEARTBEAT, STATUS_MISSING, STATUS_TRADING, Event,
    EventBuffer,
)

cdef int64_t DAY_NS = 86_400_000_000_000
cdef uint32_t SHARES_MAX = 1 << 30

MESSAGE_LENGTHS = {
    "S": 12, "R": 39, "H": 25, "Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "A": 36, "F": 40,
    "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19, "I": 50, "N": 20, "O": 48,
}
PRICE_SCALE = 10_000

cdef uint8_t[256] LENGTH
memset(LENGTH, 0, 256)
for _type, _length in MESSAGE_LENGTHS.items():
    LENGTH[<int>ord(_type)] = _length
del _type, _length


cdef class ItchDecoder:
    """Messages of a day to events of the chosen instruments in ``buffer``, which the caller drains.

    ``instruments``: (symbol, dense index, tick size in dollars, lot size in shares) of each. ``midnight_ns``: midnight
    in New York of the session's day, ns since 1970; times in messages count from there. Raises ``ValueError`` on an
    instrument that ITCH cannot have, or a buffer too small for what one call may bring. Not thread-safe.
    """

    def __cinit__(self, EventBuffer buffer not None, instruments, *, int64_t midnight_ns=0):
        cdef bytes padded
        cdef ItchInstrument* own
        self.instruments = len(instruments)
        if not 0 < self.instruments <= 65_535:
            raise ValueError(f"instruments: 1 to 65,535, not {self.instruments}")
        if buffer.capacity < 4 * self.instruments + 64:
            raise ValueError(f"an event buffer of {buffer.capacity} is too small for {self.instruments} instruments; "
                             f"give it {4 * self.instruments + 64} events")
        self.own = <ItchInstrument*>calloc(self.instruments, sizeof(ItchInstrument))
        self.slot = <uint16_t*>calloc(LOCATES, sizeof(uint16_t))
        if self.own == NULL or self.slot == NULL:
            raise MemoryError()
        for i, (symbol, index, tick_size, lot_size) in enumerate(instruments):
            padded = symbol.encode("ascii", "replace").ljust(8)
            units = Decimal(tick_size) * PRICE_SCALE
            if not symbol or len(padded) != 8 or not symbol.isascii():
                raise ValueError(f"{symbol!r}: an ITCH symbol has 1 to 8 ASCII characters")
            if not 0 < units < 1 << 31 or units != int(units):
                raise ValueError(f"{symbol}: the tick_size must be a multiple of 0.0001, such as 0.01")
            if not 0 < lot_size < SHARES_MAX or lot_size != int(lot_size):
                raise ValueError(f"{symbol}: the lot_size must be whole shares, such as 1")
            own = self.own + <Py_ssize_t>i
            memcpy(&own.symbol, <const char*>padded, 8)
            own.index = index
            own.units = int(units)
            own.shares = int(lot_size)
        self.buffer = buffer
        self.midnight_ns = midnight_ns

    def __dealloc__(self):
        free(self.own)
        free(self.slot)

    # --- what the transport tells ---------------------------------------------------------------------------------

    def begin(self, int64_t receive_ns, *, midnight_ns=None):
        """Messages come from the first one of a session on."""
        if midnight_ns is not None:
            self.midnight_ns = midnight_ns
        self.begin_c(receive_ns)

    def doubt(self, int64_t receive_ns):
        """Messages are missing and will be told late."""
        self.doubt_c(receive_ns)

    def settle(self, int64_t receive_ns, int64_t sequence=0):
        """Nothing is missing any more; ``sequence``: of the last message."""
        self.settle_c(receive_ns, sequence)

    def lose(self, int64_t receive_ns):
        """Messages are gone for good."""
        self.lose_c(receive_ns)

    def up(self, int64_t receive_ns):
        """The line is there: FEED_UP for every instrument."""
        self.for_all(EV_STATUS, FLAG_LAST, STATUS_FEED_UP, receive_ns, 0)

    def down(self, int64_t receive_ns):
        """The line is given up: FEED_DOWN for every instrument, and no book until the next ``begin``."""
        self.state = ITCH_LOST
        self.for_all(EV_STATUS, FLAG_LAST, STATUS_FEED_DOWN, receive_ns, 0)

    def heartbeat(self, int64_t receive_ns):
        """The line is heard and nothing is missing: HEARTBEAT for every instrument."""
        self.beat_c(receive_ns)

    cdef void begin_c(self, int64_t receive_ns) noexcept nogil:
        cdef Py_ssize_t i
        memset(self.slot, 0, LOCATES * sizeof(uint16_t))
        for i in range(self.instruments):
            self.own[i].off = self.own[i].halted = False
            self.own[i].trading = 0
        self.system_hours = False
        self.state = ITCH_CATCHING_UP
        self.for_all(EV_SNAPSHOT_BEGIN, FLAG_SNAPSHOT, EVERY_ORDER, receive_ns, 0)

    cdef void doubt_c(self, int64_t receive_ns) noexcept nogil:
        if self.state == ITCH_LIVE:
            self.state = ITCH_CATCHING_UP
            self.for_all(EV_STATUS, FLAG_LAST, STATUS_MISSING, receive_ns, 0)

    cdef void settle_c(self, int64_t receive_ns, int64_t sequence) noexcept nogil:
        if self.state == ITCH_CATCHING_UP:
            self.state = ITCH_LIVE
            self.for_all(EV_SNAPSHOT_END, FLAG_SNAPSHOT | FLAG_LAST, 0, receive_ns, sequence)

    cdef void lose_c(self, int64_t receive_ns) noexcept nogil:
        if self.state != ITCH_LOST:
            self.state = ITCH_LOST
            self.for_all(EV_CLEAR, FLAG_GAP | FLAG_LAST, 0, receive_ns, 0)

    cdef void beat_c(self, int64_t receive_ns) noexcept nogil:
        self.for_all(EV_STATUS, FLAG_LAST, STATUS_HEARTBEAT, receive_ns, 0)

    # --- messages -------------------------------------------------------------------------------------------------

    def message(self, const uint8_t[::1] data not None, int64_t receive_ns, int64_t sequence=0):
        """Decode one message; returns the number of events appended. ``receive_ns`` 0: as the exchange stamped it.

        Raises ``DecodeError`` naming the fault; what of the market is not trusted because of it is in the buffer.
        Raises ``OverflowError`` when the buffer must be drained first.
        """
        cdef Py_ssize_t start = self.buffer.count
        if self.room() < 1:
            raise OverflowError("drain the event buffer first")
        if data.shape[0] == 0:
            self.refuse(0, "it is empty", NULL, receive_ns)
        else:
            self.decode(&data[0], data.shape[0], receive_ns, sequence)
        fault = self.take_fault()
        if fault is not None:
            raise DecodeError(fault)
        return self.buffer.count - start

    def framed(self, const uint8_t[::1] data not None, Py_ssize_t at, int64_t sequence, Py_ssize_t events_max):
        """Decode messages with two bytes of length before each, from ``at`` on, stamped by the exchange's time.

        Stops where data ends inside a message, after ``events_max`` events, or at a fault. Returns (where it
        stopped, sequence of the next message); ``take_fault`` tells of a fault.
        """
        cdef Py_ssize_t n, size = data.shape[0], start = self.buffer.count
        while at >= 0 and at + 2 <= size and self.buffer.count - start < events_max and self.room() > 0:
            n = be16(&data[at])
            if at + 2 + n > size:
                break
            if n == 0:
                self.refuse(0, "it is empty", NULL, 0)
            elif self.decode(&data[at + 2], n, 0, sequence) == NULL:
                at += 2 + n
                sequence += 1
                continue
            at += 2 + n
            sequence += 1
            break
        return at, sequence

    def take_fault(self):
        """What was wrong with the last message refused since the last call, or None."""
        cdef const char* fault = self.fault
        if fault == NULL:
            return None
        self.fault = NULL
        return f"ITCH message {chr(self.fault_type)!r}: {fault.decode('ascii')}"

    @property
    def counts(self):
        """Messages by type, those of other instruments too."""
        return {chr(kind): self.seen[kind] for kind in range(256) if self.seen[kind]}

    @property
    def unlisted(self):
        """Symbols that the session's directory has not named."""
        cdef Py_ssize_t i
        listed = {self.slot[i] - 1 for i in range(LOCATES) if self.slot[i]}
        return [(<bytes>(<char*>&self.own[i].symbol)[:8]).decode("ascii").strip()
                for i in range(self.instruments) if i not in listed]

    cdef Py_ssize_t room(self) noexcept nogil:
        # Events that messages may bring with one fault and a change of state behind them.
        return self.buffer.capacity - self.buffer.count - 2 * self.instruments - 1

    cdef const char* refuse(self, uint8_t kind, const char* fault, ItchInstrument* own,
                            int64_t receive_ns) noexcept nogil:
        # Which instrument's message it was decides which book is not known any more; own NULL: anybody's.
        self.malformed += 1
        self.fault = fault
        self.fault_type = kind
        if own == NULL:
            self.lose_c(receive_ns)
        elif not own.off:
            own.off = True
            self.control(own, EV_CLEAR, FLAG_GAP | FLAG_LAST, 0, receive_ns, 0)
        return fault

    cdef const char* decode(self, const uint8_t* p, Py_ssize_t n, int64_t receive_ns, int64_t sequence) noexcept nogil:
        # One message of n > 0 bytes, with room(); NULL or the fault. At most one event unless there is a fault.
        cdef uint8_t kind = p[0]
        cdef uint16_t place
        cdef int64_t since, order_id
        cdef uint32_t price, shares
        cdef ItchInstrument* own
        cdef Event* event
        cdef bint live
        if LENGTH[kind] != n:
            if LENGTH[kind] == 0:
                self.unknown += 1              # a type of a later version: it changes no order of this one
                self.fault = "a type that ITCH 5.0 does not have"
                self.fault_type = kind
                return self.fault
            return self.refuse(kind, "a length that is not that of its type", NULL, receive_ns)
        self.messages += 1
        self.seen[kind] += 1
        since = (<int64_t>be16(p + 5) << 32) | be32(p + 7)
        place = self.slot[be16(p + 1)]
        if place == 0:
            if kind == b'S':
                self.system(p[11], receive_ns if receive_ns else self.midnight_ns + since)
            elif kind == b'R':
                self.directory(p, be16(p + 1))
            else:
                self.skipped += 1
            return NULL
        own = self.own + (place - 1)
        if since >= DAY_NS:
            return self.refuse(kind, "a time beyond the day", own, receive_ns)
        since += self.midnight_ns
        self.last_ns = since
        if receive_ns == 0:
            receive_ns = since
        live = self.state == ITCH_LIVE

        event = self.buffer.events + self.buffer.count
        event.exchange_ns = since
        event.receive_ns = receive_ns
        event.sequence = sequence
        event.instrument = own.index
        event.flags = FLAG_LAST if live else FLAG_SNAPSHOT
        event.aux = 0
        if kind == b'A' or kind == b'F' or kind == b'U':
            if self.state == ITCH_LOST or own.off:
                return NULL
            order_id = <int64_t>be64(p + 11)
            if kind == b'U':
                event.kind = EV_MODIFY
                event.side = SIDE_NONE
                event.aux = <int64_t>be64(p + 19)
                shares = be32(p + 27)
                price = be32(p + 31)
                if event.aux == 0:
                    return self.refuse(kind, "an order reference of 0", own, receive_ns)
            else:
                event.kind = EV_ADD
                event.side = SIDE_BID if p[19] == b'B' else SIDE_ASK
                shares = be32(p + 20)
                price = be32(p + 32)
                if p[19] != b'B' and p[19] != b'S':
                    return self.refuse(kind, "a side that is neither B nor S", own, receive_ns)
            if order_id == 0 or shares == 0 or shares > SHARES_MAX or price == 0:
                return self.refuse(kind, "a reference, size or price of 0, or out of range", own, receive_ns)
            event.order_id = order_id
            event.price_ticks = price // own.units
            event.size_lots = shares if own.shares == 1 else shares // own.shares
            if event.price_ticks * own.units != price or event.size_lots * own.shares != shares:
                self.off_grid += 1
                return self.refuse(kind, "a price or size between tick_size or lot_size: make them smaller", own,
                                   receive_ns)
        elif kind == b'E' or kind == b'X' or kind == b'C' or kind == b'D':
            if self.state == ITCH_LOST or own.off:
                return NULL
            order_id = <int64_t>be64(p + 11)
            event.kind = EV_CANCEL
            event.side = SIDE_NONE
            event.order_id = order_id
            event.price_ticks = event.size_lots = 0
            if order_id == 0:
                return self.refuse(kind, "an order reference of 0", own, receive_ns)
            if kind != b'D':
                shares = be32(p + 19)
                if shares == 0 or shares > SHARES_MAX:
                    return self.refuse(kind, "a size of 0, or out of range", own, receive_ns)
                event.size_lots = shares if own.shares == 1 else shares // own.shares
                if event.size_lots * own.shares != shares:
                    self.off_grid += 1
                    return self.refuse(kind, "a size between lot_size: make it smaller", own, receive_ns)
                if kind != b'X':
                    event.kind = EV_EXECUTE
                if kind == b'C':
                    # A print between two ticks is told at the nearer one; what is not printed is told by a cross.
                    event.price_ticks = (<int64_t>be32(p + 32) + own.units // 2) // own.units
                    if p[31] == b'N':
                        event.flags |= FLAG_SNAPSHOT
        elif kind == b'P':
            self.hidden += 1
            if not live:
                return NULL
            shares = be32(p + 20)
            price = be32(p + 32)
            if shares == 0 or shares > SHARES_MAX or price == 0:
                return self.refuse(kind, "a size or price of 0, or out of range", own, receive_ns)
            event.kind = EV_TRADE
            # B has long been sent whatever the side was: the middle of the book tells it better.
            event.side = SIDE_BID if p[19] == b'S' else SIDE_NONE
            event.order_id = 0
            event.price_ticks = (<int64_t>price + own.units // 2) // own.units
            event.size_lots = (<int64_t>shares + own.shares - 1) // own.shares
            event.aux = <int64_t>be64(p + 36)
        elif kind == b'H':
            if p[19] != b'T' and p[19] != b'H' and p[19] != b'P' and p[19] != b'Q':
                return self.refuse(kind, "a trading state that is none of H, P, Q, T", own, receive_ns)
            own.trading = p[19]
            self.tell_trading(own, receive_ns)
            return NULL
        elif kind == b'h':
            if p[19] == b'Q' and (p[20] == b'H' or p[20] == b'T'):
                own.halted = p[20] == b'H'
                self.tell_trading(own, receive_ns)
            return NULL
        else:
            if kind == b'B':
                self.broken_trades += 1
            elif kind == b'Q':
                self.crosses += 1
            elif kind == b'R':
                self.directory(p, be16(p + 1))
            if live:
                self.control(own, EV_STATUS, FLAG_LAST, STATUS_HEARTBEAT, receive_ns, 0)
            return NULL
        self.buffer.count += 1
        return NULL

    cdef void system(self, uint8_t code, int64_t receive_ns) noexcept nogil:
        cdef Py_ssize_t i
        if code == b'E' or code == b'C':
            self.for_all(EV_STATUS, FLAG_LAST, STATUS_CLOSED, receive_ns, 0)
        elif code == b'S':
            self.system_hours = True
            # Trading states are told before system hours: what none was told of is halted there.
            for i in range(self.instruments):
                if self.own[i].trading == 0:
                    self.control(self.own + i, EV_STATUS, FLAG_LAST, STATUS_HALT, receive_ns, 0)

    cdef void directory(self, const uint8_t* p, uint16_t locate) noexcept nogil:
        # Which locate is ours is told anew every day.
        cdef uint64_t symbol
        cdef Py_ssize_t i
        memcpy(&symbol, p + 11, 8)
        self.slot[locate] = 0
        for i in range(self.instruments):
            if self.own[i].symbol == symbol:
                self.slot[locate] = <uint16_t>(i + 1)
                return

    cdef void tell_trading(self, ItchInstrument* own, int64_t receive_ns) noexcept nogil:
        cdef int code = STATUS_TRADING
        if own.halted or own.trading == b'H' or own.trading == b'P':
            code = STATUS_HALT
        elif own.trading == b'Q':
            code = STATUS_AUCTION
        self.control(own, EV_STATUS, FLAG_LAST, code, receive_ns, 0)

    cdef void for_all(self, int kind, int flags, int64_t aux, int64_t receive_ns, int64_t sequence) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.instruments):
            if kind != EV_SNAPSHOT_END or not self.own[i].off:
                self.control(self.own + i, kind, flags, aux, receive_ns, sequence)

    cdef void control(self, ItchInstrument* own, int kind, int flags, int64_t aux, int64_t receive_ns,
                      int64_t sequence) noexcept nogil:
        cdef Event* event = self.buffer.push()
        if event == NULL:
            return                   # room was asked for before
        event.kind = kind
        event.flags = flags
        event.aux = aux
        event.instrument = own.index
        event.receive_ns = receive_ns
        event.sequence = sequence
