"""MoldUDP64: packets of two lines and of a re-request server in, ITCH messages in order out. No I/O; docs/itch.md.

Format: "MoldUDP64 Protocol Specification 1.00": session (10 bytes), sequence of the first message (8), count (2), then
each message behind two bytes of its length; all big-endian. Count 0 is a heartbeat and 0xFFFF the end of the session;
both carry the number of the next message. A request has the same header: session, first number, how many.

Of each number the first copy counts, whoever brings it: line A, line B or the re-request server, in whatever packets.
Messages that overtook others wait in a window indexed by number. A hole

1. is asked for when it is ``reorder_ns`` old (it is likely only the other line that is late),
2. makes every instrument GAPPED when it is ``gap_ns`` old, because what is behind it is not told any more in time,
3. is closed by whatever copy comes; when nothing is missing, the books are whole again.

Nothing is skipped while there is a re-request server to ask. Without one a hole that is ``gap_ns`` old is lost, and
as an order-level book is the sum of the whole day, there is none until the next session. A session that is met in its
middle is nothing but a hole from number 1 on. Sessions have no order: another one than the current ends it, but for
the one before, whose packets come late. The re-request server speaks of the past alone: it begins no session, and is
no sign that the lines are heard.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from quotelife.errors import DecodeError

from quotelife.feed.itch cimport ITCH_CATCHING_UP, ITCH_LIVE, ItchDecoder, be16, be64

cdef int64_t SEQUENCE_MAX = <int64_t>1 << 60
cdef int64_t RETRY_NS_MAX = 1_000_000_000
LINE_NAMES = ("a", "b", "rerequested")


cdef class MoldReceiver:
    """Packets to ``decoder``, whose buffer the caller drains after each call.

    ``window``: messages that may wait for an earlier one, a power of two. ``rerequest``: there is a server to ask, at
    most for ``request_messages`` at a time, again every ``retry_ns`` (doubling) while it does not answer. ``session``:
    the only one to take, of 10 ASCII bytes or fewer; None: whichever comes. ``heartbeat_ns``: how often quiet
    instruments are told that nothing was missed. ``midnight_ns``: called with the receive stamp at the start of a
    session, gives the midnight its times count from; None: as the decoder has it.

    Raises ``ValueError`` when a bound is out of range. Not thread-safe.
    """

    def __cinit__(self, ItchDecoder decoder not None, *, int64_t window=65_536, bint rerequest=False,
                  int64_t reorder_ns=1_000_000, int64_t gap_ns=5_000_000, int64_t retry_ns=10_000_000,
                  int64_t request_messages=1000, int64_t heartbeat_ns=1_000_000_000, session=None, midnight_ns=None):
        cdef bytes padded
        if not 64 <= window <= 1 << 24 or window & (window - 1):
            raise ValueError(f"window: a power of two from 64 to 16,777,216, not {window}")
        if not 1 <= request_messages < END_OF_SESSION:
            raise ValueError(f"request_messages: 1 to 65,534, not {request_messages}")
        if not 0 <= reorder_ns or not 0 < gap_ns or not 0 < retry_ns or not 0 < heartbeat_ns:
            raise ValueError("times must be above 0")
        self.slots = <HeldMessage*>calloc(window, sizeof(HeldMessage))
        if self.slots == NULL:
            raise MemoryError()
        self.decoder = decoder
        self.window = window
        self.rerequest = rerequest
        self.reorder_ns = reorder_ns
        self.gap_ns = gap_ns
        self.retry_ns = retry_ns
        self.heartbeat_ns = heartbeat_ns
        self.request_messages = request_messages
        self._midnight = midnight_ns
        self.expected = self.known = 1
        if session is not None:
            padded = session.encode("ascii").rjust(SESSION_BYTES)
            if len(padded) != SESSION_BYTES:
                raise ValueError(f"session: at most {SESSION_BYTES} characters, not {session!r}")
            memcpy(self.session_id, <const char*>padded, SESSION_BYTES)
            self.fixed = True

    def __dealloc__(self):
        free(self.slots)

    def packet(self, const uint8_t[::1] data not None, int line, int64_t now_ns):
        """One packet of a line: 0 A, 1 B, 2 the re-request server.

        Raises ``DecodeError`` naming the fault: of a malformed packet, which gives nothing at all, or of an ITCH
        message in it, which does not keep the others.
        """
        cdef const char* fault = "shorter than a header"
        if not 0 <= line < LINES:
            raise ValueError(f"line: 0 to {LINES - 1}, not {line}")
        if data.shape[0] >= MOLD_HEADER:
            fault = self.take(line, &data[0], data.shape[0], now_ns)
        else:
            self.malformed += 1
        if fault != NULL:
            raise DecodeError(f"MoldUDP64 packet: {fault.decode('ascii')}")
        message_fault = self.decoder.take_fault()
        if message_fault is not None:
            raise DecodeError(message_fault)

    def go_on(self, int64_t now_ns):
        """Apply more of what waits, after the buffer was drained."""
        self.release(now_ns)
        self.judge(now_ns)

    def tick(self, int64_t now_ns):
        """Let time pass: call every millisecond while ``missing_since_ns`` is not 0, and now and then otherwise."""
        self.tick_c(now_ns)

    def request(self, int64_t now_ns):
        """The request to send to the re-request server now, or None."""
        cdef int64_t first, end
        if not self.rerequest or not self.had_session or self.expected >= self.known:
            return None
        if now_ns - self.missing_since_ns < self.reorder_ns:
            return None
        if self.expected < self.asked_to and now_ns - self.asked_ns < self.wait_ns and not (
            # Many servers send one packet for a request, however much it asks for: its end is the end of the answer.
            self.answered_ns >= self.asked_ns and now_ns - self.answered_ns >= self.reorder_ns
        ):
            return None
        # No answer at all: ask more slowly.
        self.wait_ns = min(2 * self.wait_ns, RETRY_NS_MAX) if self.expected == self.asked_at else self.retry_ns
        end = min(self.known, self.expected + self.request_messages)
        first = self.first_held(end - self.expected)
        if first:
            end = first
        self.asked_at = self.expected
        self.asked_to = end
        self.asked_ns = now_ns
        self.requests += 1
        return (bytes(self.session_id[:SESSION_BYTES]) + self.expected.to_bytes(8, "big")
                + (end - self.expected).to_bytes(2, "big"))

    def down(self, int64_t now_ns):
        """The feed stops, or its consumer failed: no book any more, whatever session comes next is begun anew."""
        self.decoder.down(now_ns)
        self.had_session = False
        self.more = False
        self.missing_since_ns = 0

    def silent(self, int64_t now_ns):
        """Nothing is heard on any line: what was sent meanwhile is not known."""
        self.unheard = True
        self.decoder.doubt(now_ns)

    @property
    def session(self):
        """The session under way, or None."""
        return bytes(self.session_id[:SESSION_BYTES]).decode("latin-1").strip() if self.had_session else None

    @property
    def line_counts(self):
        """By line: (packets, messages of which it brought the first copy)."""
        return {name: (self.packets[i], self.first[i]) for i, name in enumerate(LINE_NAMES)}

    # --- packets --------------------------------------------------------------------------------------------------

    cdef const char* take(self, int line, const uint8_t* p, Py_ssize_t n, int64_t now_ns) noexcept nogil:
        # One packet of at least a header; NULL, or why nothing of it is taken.
        cdef int64_t sequence = <int64_t>be64(p + SESSION_BYTES)
        cdef Py_ssize_t count = be16(p + SESSION_BYTES + 8), at = MOLD_HEADER, i
        cdef bint control = count == 0 or count == END_OF_SESSION
        cdef int64_t before
        if sequence <= 0 or sequence > SEQUENCE_MAX:
            self.malformed += 1
            return "a sequence that is not above 0, or out of range"
        if not control:
            for i in range(count):
                if at + 2 > n:
                    break
                at += 2 + be16(p + at)
            else:
                i = count
            if i < count or at > n:
                self.malformed += 1
                return "shorter than the messages it counts"
        if at != n:
            self.malformed += 1
            return "bytes behind its last message"
        if not self.start(line, p, now_ns):
            self.foreign += 1
            return NULL
        self.packets[line] += 1
        if line != REREQUESTED:
            self.last_ns = now_ns
            if sequence >= self.known or (not control and sequence + count > self.known):
                self.unheard = False               # else an old copy, which proves nothing of the silence
        if control:
            self.heartbeats += 1
            self.know(sequence, now_ns)
            self.ended = count == END_OF_SESSION
        else:
            self.know(sequence + count, now_ns)
            before = self.expected
            self.accept(line, p + MOLD_HEADER, count, sequence, now_ns)
            if line == REREQUESTED and self.expected > before:
                self.answered_ns = now_ns
        self.judge(now_ns)
        return NULL

    cdef bint start(self, int line, const uint8_t* p, int64_t now_ns) noexcept nogil:
        # Whether the packet is of the session under way, which it may begin.
        if memcmp(p, self.session_id, SESSION_BYTES) == 0:
            if self.had_session:
                return True
        elif self.fixed:
            return False
        if line == REREQUESTED:
            return False
        if self.had_session:
            if self.had_previous and memcmp(p, self.previous, SESSION_BYTES) == 0:
                return False
            memcpy(self.previous, self.session_id, SESSION_BYTES)
            self.had_previous = True
        memcpy(self.session_id, p, SESSION_BYTES)
        self.had_session = True
        self.ended = self.unheard = False
        self.sessions += 1
        memset(self.slots, 0, self.window * sizeof(HeldMessage))
        self.held = 0
        self.more = False
        self.expected = self.known = self.judged = 1
        self.asked_to = self.asked_ns = self.asked_at = self.answered_ns = self.missing_since_ns = 0
        self.wait_ns = self.retry_ns
        if self._midnight is not None:
            with gil:
                self.decoder.midnight_ns = self._midnight(now_ns)
        self.decoder.begin_c(now_ns)
        return True

    cdef void accept(self, int line, const uint8_t* p, Py_ssize_t count, int64_t sequence,
                     int64_t now_ns) noexcept nogil:
        cdef Py_ssize_t i, length, at = 0
        cdef HeldMessage* slot
        if sequence + count <= self.expected:
            self.duplicates += count
            return
        for i in range(count):
            length = be16(p + at)
            at += 2
            if sequence < self.expected:
                self.duplicates += 1
            elif sequence == self.expected and not self.more and self.decoder.room() > 0:
                slot = self.slots + (sequence & (self.window - 1))
                if slot.sequence == sequence:      # it waited, and nobody has let it go on yet
                    slot.sequence = 0
                    self.held -= 1
                    self.duplicates += 1
                else:
                    self.first[line] += 1
                if length == 0:
                    self.decoder.refuse(0, "it is empty", NULL, now_ns)
                else:
                    self.decoder.decode(p + at, length, now_ns, sequence)
                self.expected += 1
                if line == REREQUESTED:
                    self.recovered += 1
                if self.held:
                    self.release(now_ns)
            elif sequence - self.expected >= self.window:
                self.beyond += 1                   # asked for again when it is its turn
            else:
                slot = self.slots + (sequence & (self.window - 1))
                if slot.sequence == sequence:
                    self.duplicates += 1
                else:
                    slot.sequence = sequence
                    slot.arrived_ns = now_ns
                    slot.length = <uint16_t>length
                    memcpy(slot.data, p + at, min(length, <Py_ssize_t>HELD_BYTES))
                    self.held += 1
                    self.first[line] += 1
                    if line == REREQUESTED:
                        self.recovered += 1
            at += length
            sequence += 1

    cdef void release(self, int64_t now_ns) noexcept nogil:
        # What waits and is next now, as far as the buffer has room.
        cdef HeldMessage* slot
        self.more = False
        while self.held:
            slot = self.slots + (self.expected & (self.window - 1))
            if slot.sequence != self.expected:
                return
            if self.decoder.room() <= 0:
                self.more = True
                return
            slot.sequence = 0
            self.held -= 1
            self.reordered += 1
            if slot.length == 0:
                self.decoder.refuse(0, "it is empty", NULL, now_ns)
            else:
                self.decoder.decode(slot.data, slot.length, now_ns, self.expected)
            self.expected += 1

    cdef void judge(self, int64_t now_ns) noexcept nogil:
        # Whether anything is missing, and since when that has shown.
        if self.more:
            return
        if self.expected >= self.known:
            self.missing_since_ns = 0
            if not self.unheard:
                self.decoder.settle_c(now_ns, self.expected - 1)
        elif self.decoder.room() <= 0:
            self.more = True                       # the rest of this packet waits
        elif not self.missing_since_ns or self.expected != self.judged:
            # A new hole: it has shown since the oldest message that waits behind it came.
            if not self.held:
                self.missing_since_ns = self.known_since_ns
            elif self.decoder.state == ITCH_LIVE:
                self.missing_since_ns = self.oldest_held_ns()
            else:
                self.missing_since_ns = now_ns
        self.judged = self.expected

    cdef void know(self, int64_t sequence, int64_t now_ns) noexcept nogil:
        if sequence > self.known:
            self.known = sequence
            self.known_since_ns = now_ns

    cdef int64_t oldest_held_ns(self) noexcept nogil:
        cdef int64_t sequence = self.expected, found = 0, oldest = 0
        cdef const HeldMessage* slot
        while found < self.held and sequence < self.expected + self.window:
            slot = self.slots + (sequence & (self.window - 1))
            if slot.sequence == sequence:
                oldest = slot.arrived_ns if found == 0 else min(oldest, slot.arrived_ns)
                found += 1
            sequence += 1
        return oldest

    cdef int64_t first_held(self, int64_t messages) noexcept nogil:
        # The first message that waits, among so many from the expected one on; 0: none of them.
        cdef int64_t sequence
        if self.held:
            for sequence in range(self.expected, self.expected + min(messages, self.window)):
                if self.slots[sequence & (self.window - 1)].sequence == sequence:
                    return sequence
        return 0

    cdef void tick_c(self, int64_t now_ns) noexcept nogil:
        cdef int64_t first
        if not self.had_session or self.more:
            return
        if self.missing_since_ns and now_ns - self.missing_since_ns >= self.gap_ns:
            if self.decoder.state == ITCH_LIVE:
                self.gaps += 1
            if self.rerequest:
                self.decoder.doubt_c(now_ns)
            else:
                if self.decoder.state == ITCH_CATCHING_UP:
                    self.gaps += 1
                first = self.first_held(self.window)
                if not first:
                    first = self.known
                self.lost += first - self.expected
                self.decoder.lose_c(now_ns)
                self.expected = first
                self.missing_since_ns = 0
                self.release(now_ns)
                self.judge(now_ns)
        if (self.decoder.state == ITCH_LIVE and not self.missing_since_ns and not self.ended
                and now_ns - self.last_ns < self.heartbeat_ns and now_ns - self.beaten_ns >= self.heartbeat_ns):
            self.beaten_ns = now_ns
            self.decoder.beat_c(now_ns)
