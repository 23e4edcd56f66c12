"""The binary record over TCP and UDP: frames of 64-byte events in, events out. No I/O; docs/binary-feed.md.

``docs/binary-feed.md`` has the wire format. A frame is a header of 32 bytes and ``count`` events; its events are
numbered from ``first`` on, one number an event. A frame whose length, CRC, source or any one event is wrong gives
nothing at all.

How loss shows. The next event expected is known from the last frame. A frame beyond it is held, at most ``window``
frames and for as long as the caller waits before ``give_up``; when what was missing comes, all goes on in order.
Otherwise every instrument of the feed gets CLEAR (GAP | LAST): which of them the lost events spoke of is not known.
What came before is a duplicate, whoever sent it twice. A larger ``session`` is a publisher that began anew; a
smaller one is a copy of the past.

How a book becomes whole again. Only by SNAPSHOT_BEGIN … SNAPSHOT_END with nothing lost in between: an END whose
BEGIN was lost is not passed on, or the engine would take half a book for a whole one. A snapshot whose BEGIN is flagged
REPEAT is for those who need it: where the book is whole it is left out, since it would begin the windows anew.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from quotelife.errors import DecodeError

from quotelife.records cimport (
    EV_ADD, EV_CANCEL, EV_CLEAR, EV_EXECUTE, EV_LEVEL, EV_MODIFY, EV_QUOTE, EV_SNAPSHOT_BEGIN, EV_SNAPSHOT_END,
    EV_STATUS, EV_TRADE, FLAG_GAP, FLAG_LAST, FLAG_SNAPSHOT, SIDE_ASK, SIDE_BID, SIDE_NONE, STATUS_FEED_DOWN,
    STATUS_FEED_UP, STATUS_HEARTBEAT, STATUS_TRADING, Event, EventBuffer,
)

cdef enum:
    VERSION = 1
    CRC_AT = 12
    AFTER_CRC = 16
    FRAME_HEARTBEAT = 1
    FLAG_REPEAT = 16           # on the wire only, of a SNAPSHOT_BEGIN

cdef int64_t NUMBER_MAX = <int64_t>1 << 53       # ticks and lots beyond it do not survive a double
cdef int64_t SEQUENCE_MAX = <int64_t>1 << 62

INPUT_BYTES = 262_144
FRAME_EVENTS_MAX = COUNT_MAX


# CRC-32 (IEEE 802.3, zlib's), eight bytes a step.
cdef uint32_t TABLE[8][256]

cdef void fill_table() noexcept:
    cdef uint32_t i, k, c
    for i in range(256):
        c = i
        for k in range(8):
            c = (c >> 1) ^ (0xEDB88320 if c & 1 else 0)
        TABLE[0][i] = c
    for i in range(256):
        for k in range(1, 8):
            TABLE[k][i] = (TABLE[k - 1][i] >> 8) ^ TABLE[0][TABLE[k - 1][i] & 255]

fill_table()

cdef uint32_t crc32(uint32_t crc, const unsigned char* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t word
    cdef uint32_t low, high
    crc = ~crc
    while n >= 8:
        memcpy(&word, p, 8)
        low = <uint32_t>word ^ crc
        high = <uint32_t>(word >> 32)
        crc = (TABLE[7][low & 255] ^ TABLE[6][(low >> 8) & 255] ^ TABLE[5][(low >> 16) & 255] ^ TABLE[4][low >> 24]
               ^ TABLE[3][high & 255] ^ TABLE[2][(high >> 8) & 255] ^ TABLE[1][(high >> 16) & 255]
               ^ TABLE[0][high >> 24])
        p += 8
        n -= 8
    while n > 0:
        crc = (crc >> 8) ^ TABLE[0][(crc ^ p[0]) & 255]
        p += 1
        n -= 1
    return ~crc


cdef inline bint beyond(int64_t value) noexcept nogil:
    return value < 0 or value > NUMBER_MAX


cdef const char* event_fault(const Event* event, uint32_t instruments) noexcept nogil:
    # What is wrong with one record, or NULL.
    cdef bint sided = event.side == SIDE_BID or event.side == SIDE_ASK
    if event.instrument >= instruments:
        return "an instrument that the feed's list does not have"
    if event.exchange_ns < 0 or event.sequence < 0:
        return "a negative time or sequence"
    if event.flags & ~<int>(FLAG_LAST | FLAG_SNAPSHOT | (FLAG_GAP if event.kind == EV_CLEAR else 0)
                            | (FLAG_REPEAT if event.kind == EV_SNAPSHOT_BEGIN else 0)):
        return "a flag that has no meaning there"
    if event.kind == EV_LEVEL:
        if not sided:
            return "a LEVEL without a side"
        if beyond(event.size_lots):
            return "a size below 0 or out of range"
        if event.price_ticks <= 0 or event.price_ticks > NUMBER_MAX:
            return "a price that is not above 0, or out of range"
    elif event.kind == EV_ADD or event.kind == EV_MODIFY or event.kind == EV_TRADE:
        if not sided and (event.kind != EV_MODIFY or event.side != SIDE_NONE):
            return "an order or a trade without a side"
        if event.size_lots <= 0 or event.size_lots > NUMBER_MAX:
            return "a size that is not above 0, or out of range"
        if event.price_ticks <= 0 or event.price_ticks > NUMBER_MAX:
            return "a price that is not above 0, or out of range"
    elif event.kind == EV_CANCEL or event.kind == EV_EXECUTE:
        if event.side > SIDE_ASK:
            return "an unknown side"
        if beyond(event.size_lots) or beyond(event.price_ticks):
            return "a price or size below 0 or out of range"
    elif event.kind == EV_QUOTE:
        if beyond(event.size_lots) or beyond(event.aux):
            return "a size below 0 or out of range"
        if beyond(event.price_ticks) or beyond(event.order_id):
            return "a price below 0 or out of range"
        if (event.size_lots > 0 and event.price_ticks == 0) or (event.aux > 0 and event.order_id == 0):
            return "a side of a QUOTE with a size and no price"
    elif event.kind == EV_STATUS:
        if event.aux < STATUS_TRADING or event.aux > STATUS_HEARTBEAT:
            return "an unknown status"
    elif event.kind == EV_SNAPSHOT_END:
        if beyond(event.size_lots) or beyond(event.price_ticks) or beyond(event.order_id):
            return "levels or a price of a cut below 0 or out of range"
    elif event.kind != EV_SNAPSHOT_BEGIN and event.kind != EV_CLEAR:
        return "an unknown kind"
    return NULL


cdef class BinaryDecoder:
    """Frames of one source to events in ``buffer``, which the caller drains.

    ``instruments``: dense index for each wire number, in the order of the feed's list. ``source``: frames of any
    other are not ours. ``window``: frames of a datagram feed that may be held for an earlier one; 0 for a stream,
    where nothing overtakes. Raises ``ValueError`` when the buffer cannot hold what one call may bring. Not
    thread-safe.

    A stream is received straight into ``input_view()`` and then told by ``received``; a datagram is handed to
    ``datagram``. The instruments are told of the line by ``connected`` and ``disconnected``.
    """

    def __cinit__(self, EventBuffer buffer not None, instruments, uint32_t source, *, Py_ssize_t window=0):
        cdef uint32_t i
        cdef Py_ssize_t n = len(instruments)
        if not 0 < n <= 65_536:
            raise ValueError(f"instruments: 1 to 65,536, not {n}")
        if not 0 <= window <= 1024:
            raise ValueError(f"window: 0 to 1,024, not {window}")
        needed = (window + 1) * COUNT_MAX + 3 * n
        if buffer.capacity < needed:
            raise ValueError(f"an event buffer of {buffer.capacity} is too small for {n} instruments and a window "
                             f"of {window} frames; give it {needed} events")
        self.wire = <WireInstrument*>calloc(n, sizeof(WireInstrument))
        if self.wire == NULL:
            raise MemoryError()
        for i in range(n):
            self.wire[i].index = instruments[i]
        self.instruments = n
        self.buffer = buffer
        self.source = source
        self.window = window
        self.held = {}
        self.input = bytearray(INPUT_BYTES) if window == 0 else bytearray()

    def __dealloc__(self):
        free(self.wire)

    # --- the line ---------------------------------------------------------------------------------------------

    def connected(self, int64_t receive_ns):
        """The line is up: FEED_UP for every instrument."""
        self.status_of_all(STATUS_FEED_UP, receive_ns)

    def disconnected(self, int64_t receive_ns):
        """The line is gone: FEED_DOWN for every instrument, and each waits for a snapshot; held frames are dropped.
        Whatever session comes next is taken."""
        cdef uint32_t i
        self.forget()
        for i in range(self.instruments):
            self.wire[i].fed = False
            self.forget_snapshot(&self.wire[i])
        self.status_of_all(STATUS_FEED_DOWN, receive_ns)

    cdef void forget(self):
        # Take whatever session and sequence come next; the rest of a broken frame is dropped.
        self.session = 0
        self.expected = 0
        self.known = 0
        self.held.clear()
        self.missing_since_ns = 0
        self.input_start = 0
        self.input_end = 0
        self.under_way = False

    @property
    def held_frames(self):
        """Frames that wait for an earlier one."""
        return len(self.held)

    # --- a stream ---------------------------------------------------------------------------------------------

    def input_view(self):
        """Writable view of what the next read may fill; never empty. Dies with the next call of ``received``."""
        return memoryview(self.input)[self.input_end:]

    cpdef bint received(self, Py_ssize_t n, int64_t receive_ns, Py_ssize_t most=0) except -1:
        """Decode what ``n`` more bytes of the input complete. True: drain the buffer and call again with 0.

        ``most``: so many events, and what is left of the last one's message, 0 for as many as find room.
        Raises ``DecodeError`` naming the fault; the stream cannot be read on then. Frames before it are in the
        buffer.
        """
        cdef unsigned char[::1] view = self.input
        cdef const unsigned char* base = &view[0]
        cdef Header header
        cdef Py_ssize_t left, size
        cdef int64_t until
        cdef const char* fault
        if n < 0 or n > view.shape[0] - self.input_end:
            raise ValueError(f"{n} bytes were not received")
        self.input_end += n
        while True:
            left = self.input_end - self.input_start
            if left < HEADER_BYTES:
                break
            fault = self.read_header(base + self.input_start, left, &header)
            if fault != NULL:
                self.refuse(fault)
            if header.source != self.source:
                self.foreign += 1
                self.refuse("a source that is not the feed's")
            size = HEADER_BYTES + header.count * EVENT_BYTES
            if left < size:
                break
            if 0 < most <= self.buffer.count or self.room() < header.count + 2 * <Py_ssize_t>self.instruments:
                return True
            if not self.under_way:
                fault = self.read_frame(base + self.input_start, &header)
                if fault != NULL:
                    self.refuse(fault)
                self.under_way = self.arrive(&header, receive_ns)
                if self.under_way and header.first > self.expected:
                    self.known = header.first
                    self.skip(receive_ns)
                elif not self.under_way and self.missing_since_ns:
                    self.skip(receive_ns)    # a heartbeat says that more was sent, and nothing can overtake it
            if self.under_way:
                until = self.cut(base + self.input_start, &header, most)
                self.apply(base + self.input_start, &header, until, receive_ns)
                if until < header.count:
                    return True
                self.under_way = False
            self.input_start += size
        if self.input_start == self.input_end:
            self.input_start = self.input_end = 0
        elif self.input_start:
            memmove(&view[0], base + self.input_start, self.input_end - self.input_start)
            self.input_end -= self.input_start
            self.input_start = 0
        return False

    cdef int refuse(self, const char* fault) except -1:
        self.malformed += 1
        raise DecodeError(f"binary frame: {fault.decode('ascii')}")

    # --- datagrams --------------------------------------------------------------------------------------------

    cpdef int datagram(self, bytes data, int64_t receive_ns) except -1:
        """Decode one datagram, one frame each; the buffer must be empty. Returns the number of events appended.

        Raises ``DecodeError`` naming the fault; the datagram counts as lost then. ``missing_since_ns`` is not 0
        while an earlier frame is missing, and tells when that showed: call ``give_up`` when it is too long ago.
        """
        cdef const unsigned char* p = data
        cdef Py_ssize_t n = len(data), start = self.buffer.count
        cdef Header header
        cdef const char* fault = NULL
        if start:
            raise OverflowError("the event buffer must be drained before each datagram")
        fault = self.read_header(p, n, &header)
        if fault == NULL and n != HEADER_BYTES + header.count * EVENT_BYTES:
            fault = "a length that is not that of its count"
        if fault == NULL and header.source != self.source:
            self.foreign += 1
            return 0
        if fault == NULL:
            fault = self.read_frame(p, &header)
        if fault != NULL:
            self.refuse(fault)
        if not self.arrive(&header, receive_ns):
            return <int>(self.buffer.count - start)
        if header.first <= self.expected:
            self.apply(p, &header, header.count, receive_ns)
            self.release(receive_ns)
            self.settle()
        elif header.first in self.held:
            self.duplicates += 1
        else:
            self.held[header.first] = (receive_ns, data)
            if not self.missing_since_ns:
                self.missing_since_ns = receive_ns
            if len(self.held) > self.window:
                self.skip(receive_ns)
        return <int>(self.buffer.count - start)

    cpdef int give_up(self, int64_t receive_ns) except -1:
        """Wait no longer for what is missing: a gap, and on with what is held, up to the next hole.

        The buffer must be empty."""
        if self.buffer.count:
            raise OverflowError("the event buffer must be drained before giving up")
        if self.missing_since_ns:
            self.skip(receive_ns)
        return <int>self.buffer.count

    # --- frames -----------------------------------------------------------------------------------------------

    cdef const char* read_header(self, const unsigned char* p, Py_ssize_t n, Header* header) noexcept nogil:
        # All that can be judged before the events are there.
        if n < HEADER_BYTES:
            return "shorter than a header"
        memcpy(header, p, HEADER_BYTES)
        if header.magic[0] != b'Q' or header.magic[1] != b'L' or header.magic[2] != b'E' or header.magic[3] != b'V':
            return "no magic QLEV"
        if header.version != VERSION:
            return "another version than 1"
        if header.flags & ~<int>FRAME_HEARTBEAT or (header.count == 0) != (header.flags & FRAME_HEARTBEAT != 0):
            return "neither events nor a heartbeat"
        if header.count > COUNT_MAX:
            return "more than 1023 events"
        if header.session <= 0 or header.first <= 0 or header.first > SEQUENCE_MAX:
            return "a session or sequence that is not above 0, or out of range"
        return NULL

    cdef const char* read_frame(self, const unsigned char* p, const Header* header) noexcept nogil:
        # Checks all, and lays the events, as they are, behind the last of the buffer; its count stays.
        cdef Event* events = self.buffer.events + self.buffer.count
        cdef Py_ssize_t i
        cdef const char* fault
        cdef Py_ssize_t size = HEADER_BYTES + header.count * EVENT_BYTES
        if crc32(crc32(0, p, CRC_AT), p + AFTER_CRC, size - AFTER_CRC) != header.crc:
            return "a wrong checksum"
        memcpy(events, p + HEADER_BYTES, header.count * EVENT_BYTES)
        for i in range(header.count):
            fault = event_fault(events + i, self.instruments)
            if fault != NULL:
                return fault
        return NULL

    cdef bint arrive(self, const Header* header, int64_t receive_ns):
        # Books a checked frame; true when it holds events that are not known yet.
        self.frames += 1
        if header.session != self.session:
            if header.session < self.session:
                self.duplicates += 1
                return False
            if self.session:
                self.gaps += 1
                self.held.clear()
                self.missing_since_ns = 0
                self.distrust(receive_ns)
            self.session = header.session
            self.expected = self.known = header.first
        if header.count == 0:
            self.heartbeats += 1
            if header.first <= self.expected:
                if not self.missing_since_ns:
                    self.status_of_all(STATUS_HEARTBEAT, receive_ns)
            else:
                if self.known <= self.expected:
                    self.known_since_ns = receive_ns
                if header.first > self.known:
                    self.known = header.first
                if not self.missing_since_ns:
                    self.missing_since_ns = receive_ns
            return False
        if header.first + header.count <= self.expected:
            self.duplicates += 1
            return False
        return True

    cdef int64_t cut(self, const unsigned char* p, const Header* header, Py_ssize_t most) noexcept nogil:
        # Up to which event a checked frame is applied now: behind the end of a message, so that whoever looks at the
        # engine between two calls finds none cut in two that came in one piece.
        cdef const Event* events = <const Event*>(p + HEADER_BYTES)
        cdef int64_t until = self.expected - header.first + max(most - self.buffer.count, 1)
        if most == 0 or until >= header.count:
            return header.count
        while until < header.count and not events[until - 1].flags & FLAG_LAST:
            until += 1
        return until

    cdef void apply(self, const unsigned char* p, const Header* header, int64_t until,
                    int64_t receive_ns) noexcept nogil:
        # The events before until of a checked frame that were not applied yet; first <= expected < first + until.
        cdef Event* event
        cdef WireInstrument* wire
        cdef Py_ssize_t i, known = self.expected - header.first
        cdef Event* out = self.buffer.events + self.buffer.count
        for i in range(known, until):
            event = out
            memcpy(event, p + HEADER_BYTES + i * EVENT_BYTES, EVENT_BYTES)
            wire = self.wire + event.instrument
            event.instrument = wire.index
            event.receive_ns = receive_ns
            if event.kind == EV_SNAPSHOT_BEGIN:
                if event.flags & FLAG_REPEAT and wire.whole:
                    wire.repeated = True
                    continue
                event.flags &= ~<int>FLAG_REPEAT
                self.forget_snapshot(wire)
                wire.in_snapshot = True
            elif event.kind == EV_SNAPSHOT_END and wire.repeated:
                wire.repeated = False
                event.kind = EV_STATUS         # the levels as they are, as of its sequence
                event.aux = STATUS_HEARTBEAT
            elif event.kind == EV_SNAPSHOT_END:
                if not wire.in_snapshot:
                    continue
                wire.in_snapshot = False
                wire.whole = True
                self.resyncs += 1
            elif event.kind == EV_CLEAR or (event.kind == EV_STATUS and event.aux == STATUS_FEED_DOWN):
                self.forget_snapshot(wire)
            elif wire.repeated and (event.kind == EV_LEVEL or event.kind == EV_ADD):
                continue
            elif wire.in_snapshot:
                event.flags |= FLAG_SNAPSHOT
            wire.fed = True
            out += 1
        self.events += until - known
        self.buffer.count = out - self.buffer.events
        self.expected = header.first + until
        if self.known < self.expected:
            self.known = self.expected

    cdef void forget_snapshot(self, WireInstrument* wire) noexcept nogil:
        wire.in_snapshot = wire.whole = wire.repeated = False

    cdef void release(self, int64_t receive_ns):
        # Held frames that follow now.
        cdef Header header
        cdef const unsigned char* p
        cdef bytes data
        while self.held:
            first = min(self.held)
            if first > self.expected:
                return
            _, data = self.held.pop(first)
            p = data
            memcpy(&header, p, HEADER_BYTES)
            if header.first + header.count <= self.expected:
                self.duplicates += 1
                continue
            self.reordered += 1
            self.apply(p, &header, header.count, receive_ns)

    cdef void skip(self, int64_t receive_ns):
        # A gap up to the first event that is there, or that was sent.
        cdef int64_t to = min(self.held) if self.held else self.known
        self.gaps += 1
        self.lost += to - self.expected
        self.distrust(receive_ns)
        self.expected = to
        self.release(receive_ns)
        self.settle()

    cdef void settle(self):
        # Each hole has time of its own, from what first showed it.
        if not self.missing_since_ns:
            return
        self.missing_since_ns = self.known_since_ns if self.known > self.expected else 0
        for since_ns, _ in self.held.values():
            if not self.missing_since_ns or since_ns < self.missing_since_ns:
                self.missing_since_ns = since_ns

    cdef void distrust(self, int64_t receive_ns) noexcept nogil:
        # CLEAR for all that were told anything since their last one.
        cdef Event* event
        cdef uint32_t i
        for i in range(self.instruments):
            if not self.wire[i].fed:
                continue
            self.wire[i].fed = False
            self.forget_snapshot(&self.wire[i])
            event = self.buffer.push()
            if event == NULL:
                return               # room was asked for before
            event.kind = EV_CLEAR
            event.flags = FLAG_GAP | FLAG_LAST
            event.instrument = self.wire[i].index
            event.receive_ns = receive_ns

    cdef void status_of_all(self, int code, int64_t receive_ns) noexcept nogil:
        cdef Event* event
        cdef uint32_t i
        for i in range(self.instruments):
            event = self.buffer.push()
            if event == NULL:
                return
            event.kind = EV_STATUS
            event.flags = FLAG_LAST
            event.aux = code
            event.instrument = self.wire[i].index
            event.receive_ns = receive_ns

    cdef Py_ssize_t room(self) noexcept nogil:
        return self.buffer.capacity - self.buffer.count
