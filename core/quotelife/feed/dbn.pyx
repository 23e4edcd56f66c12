"""Databento Binary Encoding, versions 1 to 3, to events. No I/O; layouts are those of ``dbn_layout``.

Orders (schema mbo) become order records. Databento tells an execution in three steps: T, the trade as the aggressor
saw it; F, each resting order that it filled; C or M, what that did to the book. F and the C or M of the same order in
the same message are one EXECUTE, so that no execution counts as a cancellation; of a T only what no F tells is a TRADE.
R begins a book anew: with the snapshot flag its orders follow up to the last snapshot record, without it the book is
empty and known. A file that begins without an R has a book that is not known, and stays WARMING.

Levels (mbp-1, mbp-10, tbbo, bbo, cmbp-1, cbbo) come whole with each record: LEVEL records of what changed, or for
an instrument of quotes only one QUOTE.

``MAYBE_BAD_BOOK`` gives the book up (CLEAR, GAP) until the next snapshot, or the next whole row without it.
``BAD_TS_RECV`` says that the receive stamp is wrong: the last good one stands in for it.
"""

from decimal import Decimal

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

from quotelife.errors import DecodeError
from quotelife.feed.dbn_layout import (
    PRICE_SCALE, RTYPES, c_text, metadata_bytes, parse_metadata, read_record,
)

from quotelife.feed.level_window cimport Row, Window, window_apply
from quotelife.records cimport (
    EV_ADD, EV_CANCEL, EV_CLEAR, EV_EXECUTE, EV_MODIFY, EV_QUOTE, EV_SNAPSHOT_BEGIN, EV_SNAPSHOT_END, EV_STATUS,
    EV_TRADE, FLAG_GAP, FLAG_LAST, FLAG_SNAPSHOT, SIDE_ASK, SIDE_BID, SIDE_NONE, STATUS_AUCTION, STATUS_CLOSED,
    STATUS_HALT, STATUS_HEARTBEAT, STATUS_TRADING, Event, EventBuffer,
)

cdef enum:
    F_LAST = 0x80
    F_TOB = 0x40
    F_SNAPSHOT = 0x20
    F_MBP = 0x10
    F_BAD_TS_RECV = 0x08
    F_MAYBE_BAD_BOOK = 0x04
    LEVELS_MAX = 10
    ROOM = 512                 # events that one record may make: all fills of a message, or two windows
    IDENTITIES_MAX = 1 << 20

cdef int64_t UNDEF = INT64_MAX
cdef uint64_t UNDEF_TS = <uint64_t>-1
cdef uint32_t UNDEF_LOTS = <uint32_t>-1


cdef packed struct Head:
    uint8_t length
    uint8_t rtype
    uint16_t publisher
    uint32_t number
    uint64_t ts_event

cdef packed struct Mbo:
    Head head
    uint64_t order_id
    int64_t price
    uint32_t size
    uint8_t flags
    uint8_t channel
    char action
    char side
    uint64_t ts_recv
    int ts_in_delta
    uint32_t sequence

cdef packed struct Pair:       # of a consolidated record the counts are publishers
    int64_t bid
    int64_t ask
    uint32_t bid_size
    uint32_t ask_size
    uint32_t bid_count
    uint32_t ask_count

cdef packed struct Mbp:        # also trades (without levels) and bbo
    Head head
    int64_t price
    uint32_t size
    char action
    char side
    uint8_t flags
    uint8_t depth
    uint64_t ts_recv
    int ts_in_delta
    uint32_t sequence
    Pair level[LEVELS_MAX]

cdef packed struct Status:
    Head head
    uint64_t ts_recv
    uint16_t action
    uint16_t reason
    uint16_t trading_event
    char is_trading


# Shortest record of each type, 0: not known.
cdef uint16_t SIZE[256]

def _fill_sizes():
    from quotelife.feed.dbn_layout import DTYPES
    for rtype, kind in RTYPES.items():
        SIZE[rtype] = DTYPES[kind][0].itemsize

_fill_sizes()


cdef inline int64_t signed(uint64_t ts) noexcept nogil:
    return <int64_t>ts if ts <= <uint64_t>INT64_MAX else 0


cdef inline int64_t when(const Head* head, uint64_t received) noexcept nogil:
    # What day it is for the mappings, which go by the receive stamp.
    return signed(received) if signed(received) else signed(head.ts_event)


cdef inline int side_of(char side) noexcept nogil:
    if side == c"B":
        return SIDE_BID
    if side == c"A":
        return SIDE_ASK
    return SIDE_NONE


cdef inline int64_t rounded(int64_t price, int64_t tick) noexcept nogil:
    # Of a trade: hidden orders may rest between two ticks. Half up.
    cdef int64_t low = price // tick - (1 if price % tick < 0 else 0)
    return low + (1 if price - low * tick >= tick - tick // 2 else 0)


cdef class DbnDecoder:
    """Bytes of one DBN file or stream, decompressed, to events in ``buffer``.

    ``feed`` hands in bytes as they come, in any pieces; ``decode`` fills the buffer with whole venue messages and
    says how many; the caller drains the buffer in between. Raises ``DecodeError`` with record and offset: of a fault in
    one record nothing reaches the buffer but, where the book would be wrong without it, CLEAR (GAP), and decoding goes
    on behind it; where the bytes themselves make no sense, every further call says so again.

    Counters: ``records`` in all, ``messages``, ``skipped`` (types without a use here), ``foreign`` (instruments that
    are not ours), ``unsided`` (trades without an aggressor), ``bad_stamps``, ``errors`` (error records).
    """

    def __cinit__(self):
        self.track = NULL
        self.identity = NULL

    def __init__(self, EventBuffer buffer not None):
        if self.data is not None:
            raise ValueError("a decoder is initialised once")
        if buffer.capacity < 2 * ROOM:
            raise ValueError(f"the event buffer must hold at least {2 * ROOM} events, not {buffer.capacity}")
        self.buffer = buffer
        self.names = []
        self.by_symbol = {}
        self.data = b""
        self.starved_ = True

    def __dealloc__(self):
        free(self.track)
        free(self.identity)

    @property
    def starved(self):
        """Nothing more can be decoded before more bytes come."""
        return bool(self.starved_)

    def add_instrument(self, str symbol, uint32_t index, tick_size, lot_size, *, bint order_level=False,
                       bint quotes_only=False):
        """Before the first bytes: ``symbol`` as the mappings have it, or an instrument id in digits.

        Raises ``ValueError`` on a grid finer than the format's (1e-9, whole units of size) or a repeated symbol.
        """
        cdef Track* track
        cdef Track* grown
        tick, lot = Decimal(tick_size) * PRICE_SCALE, Decimal(lot_size)
        if not (0 < tick < 2**62 and tick == int(tick)):
            raise ValueError(f"{symbol}: tick_size {tick_size} is no multiple of 0.000000001, the format's unit")
        if not (0 < lot < 2**32 and lot == int(lot)):
            raise ValueError(f"{symbol}: lot_size {lot_size} must be a whole number: the format counts whole units")
        if symbol in self.by_symbol:
            raise ValueError(f"{symbol}: added twice")
        if self.begun:
            raise ValueError(f"{symbol}: add instruments before the first bytes")
        if self.tracks == self.tracks_max:
            grown = <Track*>realloc(self.track, 2 * (self.tracks_max + 1) * sizeof(Track))
            if grown == NULL:
                raise MemoryError()
            self.track = grown
            self.tracks_max = 2 * (self.tracks_max + 1)
        track = self.track + self.tracks
        memset(track, 0, sizeof(Track))
        track.instrument = index
        track.tick = int(tick)
        track.lot = int(lot)
        track.orders = order_level
        track.quotes = quotes_only
        self.by_symbol[symbol] = self.tracks
        self.names.append(symbol)
        self.tracks += 1
        if symbol.isdigit() and int(symbol) < 2**32:
            self._learn(symbol, int(symbol), 0, INT64_MAX)

    def feed(self, bytes data not None):
        """More bytes, in any pieces."""
        self.data = self.data[self.at:] + data if self.at < len(self.data) else data
        self.at = 0
        self.starved_ = False

    def decode(self, int64_t messages=INT64_MAX):
        """Up to so many whole venue messages into the buffer; how many came.

        Fewer: ``starved`` says that bytes are missing, otherwise the buffer has to be drained (a long snapshot is one
        message, and may take several calls).
        """
        cdef const unsigned char* raw
        cdef Py_ssize_t size, left
        cdef int64_t done = 0
        if not self.begun and not self._begin():
            return 0
        while done < messages:
            if self.buffer.capacity - self.buffer.count < ROOM:
                return done
            left = len(self.data) - self.at
            if left < <Py_ssize_t>sizeof(Head):
                self.starved_ = True
                return done
            raw = <const unsigned char*>self.data + self.at
            size = 4 * <Py_ssize_t>raw[0]
            if size < <Py_ssize_t>sizeof(Head) or size < SIZE[raw[1]] + (8 if self.ts_out else 0):
                raise self._fault(
                    f"length {size} of a record of type 0x{raw[1]:02X}; the file is damaged from here on"
                )
            if left < size:
                self.starved_ = True
                return done
            # Past the record before it is looked at: after a refusal decoding goes on behind it.
            self.at += size
            self.offset += size
            self.records += 1
            if self._record(raw, size):
                self.messages += 1
                done += 1
        return done

    def end(self):
        """No bytes are left to come. Raises ``DecodeError`` when the last record is cut short."""
        cdef Py_ssize_t left = len(self.data) - self.at
        if left or (not self.begun and self.offset == 0):
            raise self._fault(f"the file ends {left} bytes into a record; it was cut short, fetch it again")

    # --- metadata and who is who ---

    cdef int _begin(self) except -1:
        """1 once the records begin."""
        if len(self.data) - self.at < 8:
            self.starved_ = True
            return 0
        cdef Py_ssize_t size
        try:
            size = metadata_bytes(self.data[self.at:self.at + 8])
            if len(self.data) - self.at < size:
                self.starved_ = True
                return 0
            if size:
                self.metadata = parse_metadata(self.data[self.at:self.at + size])
        except DecodeError as error:
            raise self._fault(str(error)) from None
        if size:
            self.ts_out = self.metadata.ts_out
            for name, number, start, end in self.metadata.identities():
                self._learn(name, number, start, end)
        self.at += size
        self.offset += size
        self.begun = True
        return 1

    cdef int _learn(self, str symbol, uint32_t number, int64_t from_ns, int64_t until_ns) except -1:
        cdef Identity* grown
        cdef int i
        track = self.by_symbol.get(symbol)
        if track is None:
            return 0
        for i in range(self.identities):
            if (self.identity[i].number == number and self.identity[i].from_ns == from_ns
                    and self.identity[i].until_ns == until_ns):
                self.identity[i].track = track
                return 0
        if self.identities == IDENTITIES_MAX:
            raise self._fault(f"more than {IDENTITIES_MAX} symbol mappings")
        if self.identities == self.identities_max:
            grown = <Identity*>realloc(self.identity, 2 * (self.identities_max + 8) * sizeof(Identity))
            if grown == NULL:
                raise MemoryError()
            self.identity = grown
            self.identities_max = 2 * (self.identities_max + 8)
        self.identity[self.identities].number = number
        self.identity[self.identities].track = track
        self.identity[self.identities].from_ns = from_ns
        self.identity[self.identities].until_ns = until_ns
        self.identities += 1
        return 0

    cdef Track* _whose(self, uint32_t number, uint16_t publisher, int64_t ts, bint booked) except? NULL:
        # The instrument of a record, NULL: not one of ours. The newest mapping counts.
        cdef Track* track = NULL
        cdef Event like
        cdef int i
        for i in range(self.identities - 1, -1, -1):
            if (self.identity[i].number == number
                    and self.identity[i].from_ns <= ts < self.identity[i].until_ns):
                track = self.track + self.identity[i].track
                break
        if track == NULL and self.identities == 0 and self.tracks == 1:
            # Nothing says which id is whose: one instrument, one id.
            track = self.track
            if track.bound and track.number != number:
                raise self._fault(
                    f"instrument {number} after {track.number} in a file without symbols; say which one "
                    f"{self.names[0]} is: symbol: \"{number}\""
                )
        if track == NULL:
            self.foreign += 1
            return NULL
        if not track.bound or (track.number != number and booked):
            if track.bound:            # a continuous symbol has rolled: another book
                memset(&like, 0, sizeof(Event))
                like.instrument = track.instrument
                like.receive_ns = track.received_ns
                self._push(track, &like, EV_CLEAR).flags = FLAG_LAST
                track.publisher = publisher
            track.window.whole = track.in_snapshot = track.bad = False
            track.fills = 0
            track.traded_lots = 0
            track.number = number
            track.bound = True
        if booked:
            if track.publisher == 0:
                track.publisher = publisher
            elif track.publisher != publisher:
                raise self._fault(
                    f"instrument {number} comes from publisher {publisher} after {track.publisher}; a book is that of "
                    f"one publisher: filter the file"
                )
        return track

    # --- what records have in common ---

    cdef object _fault(self, str text):
        return DecodeError(f"record {self.records} (up to byte {self.offset}): {text}")

    cdef int _refuse(self, Track* track, const Event* like, str text) except -1:
        # The book lacks this record: given up, and said.
        self._break(track, like)
        raise self._fault(text)

    cdef void _break(self, Track* track, const Event* like):
        cdef Event* event
        track.window.whole = track.in_snapshot = False
        track.fills = 0
        track.traded_lots = 0
        track.bad = True
        event = self._push(track, like, EV_CLEAR)
        if event != NULL:
            event.flags = FLAG_GAP | FLAG_LAST

    cdef Event* _push(self, Track* track, const Event* like, uint8_t kind):
        cdef Event* event = self.buffer.push()
        if event != NULL:
            event[0] = like[0]
            event.kind = kind
            if track.in_snapshot:
                event.flags |= FLAG_SNAPSHOT
        return event

    cdef bint _close(self, Track* track, const Event* like, Py_ssize_t start, bint last):
        # The end of a venue message: LAST on its last event, and a record that made none still ends it.
        cdef Event* event
        self.receive_ns = like.receive_ns
        self.instrument = track.instrument
        if not last:
            return False
        if self.buffer.count == start:
            event = self._push(track, like, EV_STATUS)
            if event == NULL:
                return True
            event.aux = STATUS_HEARTBEAT
            event.side = SIDE_NONE
            event.price_ticks = event.size_lots = event.order_id = event.sequence = 0
        self.buffer.events[self.buffer.count - 1].flags |= FLAG_LAST
        return True

    cdef int64_t _stamp(self, Track* track, uint64_t received, uint64_t event, uint8_t flags):
        cdef int64_t t = signed(received)
        if t == 0:
            t = signed(event)
        if flags & F_BAD_TS_RECV:
            self.bad_stamps += 1
            return track.received_ns if track.received_ns else t
        track.received_ns = t
        return t

    # --- records ---

    cdef bint _record(self, const unsigned char* raw, Py_ssize_t size) except -1:
        """Whether it ended a venue message."""
        cdef int rtype = raw[1]
        if rtype == 0xA0:
            return self._mbo(raw)
        if rtype == 0x01 or rtype == 0xB1 or 0xC0 <= rtype <= 0xC4:
            return self._levels(raw, rtype, 1)
        if rtype == 0x0A:
            return self._levels(raw, rtype, LEVELS_MAX)
        if rtype == 0x00:
            return self._trade(raw)
        if rtype == 0x12:
            return self._status(raw)
        if rtype == 0x13 or rtype == 0x15 or rtype == 0x16:
            self._tell(raw, size, rtype)
        else:
            self.skipped += 1
        return False

    cdef bint _mbo(self, const unsigned char* raw) except -1:
        cdef Mbo m
        cdef Event like
        cdef Event* event
        cdef Track* track
        cdef Py_ssize_t start
        cdef int64_t ticks = 0, lots = 0, part
        cdef int side, i
        memcpy(&m, raw, sizeof(Mbo))
        track = self._whose(m.head.number, m.head.publisher, when(&m.head, m.ts_recv), True)
        if track == NULL:
            return False
        if not track.orders:
            raise self._fault(f"orders of {self.names[track - self.track]}; set order_level: true for it")
        memset(&like, 0, sizeof(Event))
        like.instrument = track.instrument
        like.exchange_ns = signed(m.head.ts_event)
        like.receive_ns = self._stamp(track, m.ts_recv, m.head.ts_event, m.flags)
        like.sequence = m.sequence
        start = self.buffer.count
        if m.flags & (F_TOB | F_MBP):
            self._refuse(track, &like, "a level among orders (flag TOB or MBP); fetch schema mbp-1 or mbp-10 instead")
        side = side_of(m.side)
        if m.action == c"R":
            self._flush_trade(track, &like)
            self._flush_fills(track, &like)
            track.in_snapshot = track.bad = False
            event = self._push(track, &like, EV_SNAPSHOT_BEGIN)
            track.in_snapshot = (m.flags & F_SNAPSHOT) != 0
            if track.in_snapshot:
                event.flags |= FLAG_SNAPSHOT
            else:
                self._push(track, &like, EV_SNAPSHOT_END)
        elif track.in_snapshot and not m.flags & F_SNAPSHOT:
            track.in_snapshot = False
            self._push(track, &like, EV_SNAPSHOT_END)
        if m.flags & F_MAYBE_BAD_BOOK and not track.bad:
            self._break(track, &like)
        if m.action in (c"A", c"C", c"M", c"T", c"F"):
            if m.price == UNDEF or m.size == UNDEF_LOTS:
                self._refuse(track, &like, f"action {chr(m.action)} without a price or size")
            if m.size % track.lot:
                self._refuse(
                    track, &like,
                    f"size {m.size} is no multiple of {track.lot}; set lot_size: 1 for {self.names[track - self.track]}"
                )
            lots = m.size // track.lot
            if m.action == c"T" or m.action == c"F":
                ticks = rounded(m.price, track.tick)
            elif m.price % track.tick:
                self._refuse(track, &like, self._off_grid(m.price, track - self.track))
            else:
                ticks = m.price // track.tick
            if side == SIDE_NONE and m.action != c"T" and m.action != c"C":
                self._refuse(track, &like, f"action {chr(m.action)} without a side")
            if lots == 0 and m.action == c"A":
                self._refuse(track, &like, "an order of size 0")
        elif m.action not in (c"R", c"N"):
            self._refuse(track, &like, f"action {m.action} is not known")
        like.side = side
        like.price_ticks = ticks
        like.size_lots = lots
        like.order_id = <int64_t>m.order_id
        if m.action == c"A":
            self._push(track, &like, EV_ADD)
        elif m.action == c"C" or m.action == c"M":
            for i in range(track.fills):
                if track.fill[i].order_id == m.order_id:
                    break
            else:
                i = -1
            if i >= 0:
                part = track.fill[i].lots
                if m.action == c"C" and part > lots > 0:
                    part = lots
                event = self._push(track, &like, EV_EXECUTE)
                event.size_lots = part
                event.price_ticks = track.fill[i].ticks
                event.side = track.fill[i].side
                track.fill[i].lots -= part
                if track.fill[i].lots == 0:
                    track.fills -= 1
                    memmove(track.fill + i, track.fill + i + 1, (track.fills - i) * sizeof(Fill))
                like.size_lots = lots - part if m.action == c"C" else lots
            if m.action == c"M":
                self._push(track, &like, EV_MODIFY)
            elif i < 0 or like.size_lots > 0:
                self._push(track, &like, EV_CANCEL)
        elif m.action == c"T":
            self._flush_trade(track, &like)
            track.traded_lots = lots
            track.traded_ticks = ticks
            track.aggressor = side
        elif m.action == c"F" and lots > 0:
            track.traded_lots -= min(lots, track.traded_lots)
            if track.fills == FILLS_MAX:
                self._flush_fills(track, &like)
            track.fill[track.fills].order_id = m.order_id
            track.fill[track.fills].lots = lots
            track.fill[track.fills].ticks = ticks
            track.fill[track.fills].side = side
            track.fills += 1
        if not m.flags & F_LAST:
            return self._close(track, &like, start, False)
        self._flush_trade(track, &like)
        self._flush_fills(track, &like)
        if track.in_snapshot:
            track.in_snapshot = False
            event = self._push(track, &like, EV_SNAPSHOT_END)
            event.flags |= FLAG_SNAPSHOT
            event.side = SIDE_NONE
            event.price_ticks = event.size_lots = event.order_id = 0
        return self._close(track, &like, start, True)

    cdef void _flush_trade(self, Track* track, const Event* like):
        # What of the last trade no fill has told: hidden orders, crosses.
        cdef Event* event
        if track.traded_lots > 0:
            if track.aggressor == SIDE_NONE:
                self.unsided += 1
            else:
                event = self._push(track, like, EV_TRADE)
                event.side = track.aggressor
                event.price_ticks = track.traded_ticks
                event.size_lots = track.traded_lots
                event.order_id = 0
        track.traded_lots = 0

    cdef void _flush_fills(self, Track* track, const Event* like):
        # Fills whose book change did not come with them: trades all the same.
        cdef Event* event
        cdef int i
        for i in range(track.fills):
            event = self._push(track, like, EV_TRADE)
            event.side = SIDE_ASK if track.fill[i].side == SIDE_BID else SIDE_BID
            event.price_ticks = track.fill[i].ticks
            event.size_lots = track.fill[i].lots
            event.order_id = 0
        track.fills = 0

    def _off_grid(self, int64_t price, int track):
        tick = Decimal(self.track[track].tick) / PRICE_SCALE
        return (
            f"price {Decimal(price) / PRICE_SCALE} is no multiple of the tick {tick.normalize():f}; "
            f"mend tick_size of {self.names[track]}"
        )

    cdef bint _levels(self, const unsigned char* raw, int rtype, int depth) except -1:
        cdef Mbp m
        cdef Event like
        cdef Event* event
        cdef Row row[2]
        cdef Track* track
        cdef Pair pair
        cdef Py_ssize_t start
        cdef int k, which, n
        cdef int64_t price
        cdef uint32_t size
        cdef bint interval = rtype >= 0xC0 and rtype != 0xC2
        cdef bint consolidated = rtype == 0xB1 or 0xC0 <= rtype <= 0xC2
        memcpy(&m, raw, sizeof(Mbp) - (LEVELS_MAX - depth) * sizeof(Pair))
        track = self._whose(m.head.number, m.head.publisher, when(&m.head, m.ts_recv), not consolidated)
        if track == NULL:
            return False
        name = self.names[track - self.track]
        if track.orders:
            raise self._fault(f"levels of {name}, which is order_level; set order_level: false for it")
        if track.window.depth != depth:
            track.window.whole = False
            track.window.depth = depth
        memset(&like, 0, sizeof(Event))
        like.instrument = track.instrument
        like.exchange_ns = signed(m.head.ts_event)
        like.receive_ns = self._stamp(track, m.ts_recv, m.head.ts_event, m.flags)
        like.sequence = 0 if consolidated else m.sequence
        start = self.buffer.count
        for which in range(2):
            n = 0
            for k in range(depth):
                pair = m.level[k]
                price = pair.ask if which else pair.bid
                size = pair.ask_size if which else pair.bid_size
                if price == UNDEF or size == 0:
                    continue
                if price % track.tick:
                    self._refuse(track, &like, self._off_grid(price, track - self.track))
                if size == UNDEF_LOTS or size % track.lot:
                    self._refuse(track, &like, f"size {size} is no multiple of {track.lot}; set lot_size: 1 for {name}")
                row[which].ticks[n] = price // track.tick
                row[which].lots[n] = size // track.lot
                n += 1
            row[which].n = n
        if m.flags & F_MAYBE_BAD_BOOK:
            if not track.bad:
                self._break(track, &like)
            return self._close(track, &like, start, True)
        track.bad = False
        if m.action == c"T" and not interval and m.size and m.size != UNDEF_LOTS and m.price != UNDEF:
            if side_of(m.side) == SIDE_NONE:
                self.unsided += 1
            else:
                event = self._push(track, &like, EV_TRADE)
                event.side = side_of(m.side)
                event.price_ticks = rounded(m.price, track.tick)
                event.size_lots = m.size // track.lot
        if track.quotes:
            event = self._push(track, &like, EV_QUOTE)
            event.sequence = self.records
            if row[0].n:
                event.price_ticks = row[0].ticks[0]
                event.size_lots = row[0].lots[0]
            if row[1].n:
                event.order_id = row[1].ticks[0]
                event.aux = row[1].lots[0]
        else:
            window_apply(&track.window, row, &like, self.buffer)
        return self._close(track, &like, start, interval or consolidated or (m.flags & F_LAST) != 0)

    cdef bint _trade(self, const unsigned char* raw) except -1:
        cdef Mbp m
        cdef Event like
        cdef Event* event
        cdef Track* track
        memcpy(&m, raw, sizeof(Mbp) - LEVELS_MAX * sizeof(Pair))
        track = self._whose(m.head.number, m.head.publisher, when(&m.head, m.ts_recv), False)
        if track == NULL:
            return False
        memset(&like, 0, sizeof(Event))
        like.instrument = track.instrument
        like.exchange_ns = signed(m.head.ts_event)
        like.receive_ns = self._stamp(track, m.ts_recv, m.head.ts_event, m.flags)
        like.sequence = m.sequence
        if m.price == UNDEF or m.size == UNDEF_LOTS or m.size % track.lot:
            raise self._fault(
                f"a trade of {self.names[track - self.track]} of size {m.size}; a price, and a multiple of its "
                f"lot_size {track.lot}, are needed"
            )
        if side_of(m.side) == SIDE_NONE or m.size == 0:
            self.unsided += 1
            return False
        event = self._push(track, &like, EV_TRADE)
        event.side = side_of(m.side)
        event.price_ticks = rounded(m.price, track.tick)
        event.size_lots = m.size // track.lot
        return self._close(track, &like, self.buffer.count - 1, True)

    cdef bint _status(self, const unsigned char* raw) except -1:
        cdef Status m
        cdef Event like
        cdef Event* event
        cdef Track* track
        cdef int code
        memcpy(&m, raw, sizeof(Status))
        track = self._whose(m.head.number, m.head.publisher, when(&m.head, m.ts_recv), False)
        if track == NULL:
            return False
        memset(&like, 0, sizeof(Event))
        like.instrument = track.instrument
        like.exchange_ns = signed(m.head.ts_event)
        like.receive_ns = self._stamp(track, m.ts_recv, m.head.ts_event, 0)
        if m.action == 7:
            code = STATUS_TRADING
        elif 8 <= m.action <= 10:                        # halt, pause, suspend
            code = STATUS_HALT
        elif m.action == 12 or m.action == 13 or m.action == 15:
            code = STATUS_CLOSED                         # close, post-close, not available for trading
        elif 1 <= m.action <= 5 or m.action == 11:       # pre-open, pre-cross, quoting, cross, rotation, pre-close
            code = STATUS_AUCTION
        elif m.is_trading == c"Y":                       # no change of phase, a new price indication, short selling
            code = STATUS_TRADING
        elif m.is_trading == c"N":
            code = STATUS_AUCTION
        else:
            code = STATUS_HEARTBEAT
        event = self._push(track, &like, EV_STATUS)
        event.aux = code
        return self._close(track, &like, self.buffer.count - 1, True)

    cdef int _tell(self, const unsigned char* raw, Py_ssize_t size, int rtype) except -1:
        """Definitions, errors, symbol mappings: rare, so by their dtypes."""
        cdef int64_t step
        cdef int i
        try:
            kind, record = read_record(raw[:size], self.ts_out)
        except DecodeError as error:
            raise self._fault(str(error)) from None
        record = record[0]
        if kind == "error":
            self.errors += 1
            self.last_error = c_text(bytes(record["err"]))
            return 0
        number = int(record["instrument_id"])
        if kind == "symbol_mapping":
            for name in ("stype_in_symbol", "stype_out_symbol"):
                self._learn(c_text(bytes(record[name])), number, 0, INT64_MAX)
            return 0
        symbol = c_text(bytes(record["raw_symbol"]))
        track = self.by_symbol.get(symbol)
        if track is None:
            return 0
        for i in range(self.identities):
            if self.identity[i].number == number:
                break
        else:
            self._learn(symbol, number, 0, INT64_MAX)
        step = record["min_price_increment"]
        if 0 < step < UNDEF and step % self.track[<int>track].tick:
            raise self._fault(
                f"{symbol} moves in steps of {Decimal(step) / PRICE_SCALE}, no multiple of its tick_size; "
                f"set tick_size: {(Decimal(step) / PRICE_SCALE).normalize():f}"
            )
        return 0
