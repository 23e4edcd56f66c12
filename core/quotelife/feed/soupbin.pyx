"""SoupBinTCP 3.0, client side: bytes of a connection in, ITCH messages in order out. No I/O; docs/itch.md.

Format: "SoupBinTCP version 3.00": packets of two bytes of length, a type and the rest. A login names session and first
number wanted; the server then sends all from there on, numbered one by one. So a connection that broke is resumed at
the next number, and whoever comes late asks for number 1; nothing is ever lost.

The one thing the protocol does not say is when the past ends and the present begins, and a book that is hours behind
must not be called whole. So a connection that only asks comes first: a login for number 0 ("the newest") is accepted
with the number of the next message, the target. The second connection resumes; at the target the book is whole if the
target is not older than a second, else the client asks again. Each round is shorter than the one before for whoever
reads faster than the day goes on, and who does not has no book. The server's heartbeats say nothing of it: some send
them by the clock, in the middle of the past too.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memmove

from quotelife.errors import DecodeError

from quotelife.feed.itch cimport ITCH_CATCHING_UP, ItchDecoder, be16

INPUT_BYTES = 262_144
cdef int64_t FRESH_NS = 1_000_000_000
cdef enum:
    ACCEPTED_BYTES = 30
cdef int64_t SEQUENCE_MAX = <int64_t>1 << 60
cdef bytes TYPES = b"+AHJSUZ"
LOGOUT = b"\x00\x01O"
HEARTBEAT = b"\x00\x01R"
_REJECTIONS = {"A": "not authorised: check username and password", "S": "the session is not available"}


cdef class SoupClient:
    """One user's sessions with a server, over as many connections as it takes, into ``decoder``.

    Each connection: send ``connect()``, receive into ``input_view()`` and tell ``received``, until ``leave`` is True
    or the line ends; then ``disconnected``. ``again``: the next connection should follow at once. While logged in send
    ``HEARTBEAT`` every second.

    ``username`` and ``password``: at most 6 and 10 ASCII characters. ``session``: the only one to take, None: the
    server's current one. ``midnight_ns``: as of ``MoldReceiver``. Raises ``ValueError``. Not thread-safe.
    """

    def __cinit__(self, ItchDecoder decoder not None, *, str username="", str password="", session=None,
                  midnight_ns=None):
        if len(username) > 6 or not username.isascii():
            raise ValueError("username: at most 6 ASCII characters")
        if len(password) > 10 or not password.isascii():
            raise ValueError("password: at most 10 ASCII characters")
        if session is not None and (len(session) > 10 or not session.isascii()):
            raise ValueError("session: at most 10 ASCII characters")
        self.decoder = decoder
        self.username = username
        self.password = password
        self.session = self.wanted = session or ""
        self.fixed = bool(session)
        self.expected = 1
        self._midnight = midnight_ns
        self.input = bytearray(INPUT_BYTES)

    def connect(self):
        """A connection is there; returns the login to send."""
        self.start = self.end = 0
        self.logged_in = self.leave = self.again = False
        self.rejected = None
        self.probing = self.target < self.expected or self.target == 0
        number = 0 if self.probing else self.expected
        body = (f"L{self.username:<6}{self.password:<10}{self.wanted:>10}{number:>20}").encode("ascii")
        return len(body).to_bytes(2, "big") + body

    def disconnected(self, int64_t now_ns):
        """The line is gone: nothing is known until it has been resumed. What was asked for is asked again."""
        self.logged_in = False
        self.start = self.end = 0
        if not self.leave:
            self.target = 0
        self.decoder.doubt(now_ns)

    def down(self, int64_t now_ns):
        """The feed stops, or its consumer failed: the next connection begins with number 1."""
        self.decoder.down(now_ns)
        self.expected = 1
        self.target = 0
        self.sessions = 0
        self.logged_in = self.ended = False

    def input_view(self):
        """Writable view of what the next read may fill; never empty. Dies with the next call of ``received``."""
        return memoryview(self.input)[self.end:]

    cpdef bint received(self, Py_ssize_t n, int64_t now_ns) except -1:
        """Decode what ``n`` more bytes complete. True: drain the buffer and call again with 0.

        Raises ``DecodeError`` naming the fault when the stream cannot be read on. A fault of a single message does
        not end it: ``decoder.take_fault``.
        """
        cdef uint8_t[::1] view = self.input
        cdef const uint8_t* base = &view[0]
        cdef const uint8_t* p
        cdef Py_ssize_t left, length
        if n < 0 or n > view.shape[0] - self.end:
            raise ValueError(f"{n} bytes were not received")
        self.end += n
        while not self.leave:
            left = self.end - self.start
            if left < 3:
                break
            p = base + self.start
            length = be16(p)
            if length == 0:
                self.refuse("a packet without a type")
            if left < length + 2:
                if p[2] not in TYPES:          # a length that means nothing must not swallow what follows
                    self.refuse(f"an unknown type {chr(p[2])!r}")
                break
            if p[2] == b'S':
                if self.decoder.room() < 1:
                    return True
                if not self.logged_in or self.probing:
                    # A server may send the newest message to who asked for it.
                    if not self.logged_in:
                        self.refuse("data before the login was accepted")
                else:
                    if length == 1:
                        self.decoder.refuse(0, "it is empty", NULL, now_ns)
                    else:
                        self.decoder.decode(p + 3, length - 1, now_ns, self.expected)
                    self.expected += 1
                    self.messages += 1
                    if self.expected >= self.target and self.decoder.state == ITCH_CATCHING_UP:
                        self.reach(now_ns)
            else:
                self.control(p[2], p + 3, length - 1, now_ns)
            self.start += length + 2
        if self.start == self.end or self.leave:
            self.start = self.end = 0
        elif self.start:
            memmove(&view[0], base + self.start, self.end - self.start)
            self.end -= self.start
            self.start = 0
        return False

    cdef int control(self, uint8_t kind, const uint8_t* p, Py_ssize_t n, int64_t now_ns) except -1:
        if kind == b'H':
            self.heartbeats += 1
        elif kind == b'A':
            if n != ACCEPTED_BYTES or self.logged_in:
                self.refuse("a login acceptance of another length, or a second one")
            self.accepted(p, now_ns)
        elif kind == b'J':
            code = chr(p[0]) if n == 1 else "?"
            self.rejected = _REJECTIONS.get(code, f"refused with code {code!r}")
            if code == "S" and not self.fixed:
                self.wanted = ""               # that session is over: whichever is there now
            self.leave = True
            self.target = 0
        elif kind == b'Z':
            self.ended = True
            self.leave = True
            self.target = 0
            if not self.fixed:
                self.wanted = ""
        elif kind == b'U' or kind == b'+':
            self.unsequenced += 1
        else:
            self.refuse(f"an unknown type {chr(kind)!r}")
        return 0

    cdef int accepted(self, const uint8_t* p, int64_t now_ns) except -1:
        cdef bytes text = p[:ACCEPTED_BYTES]
        session = text[:10].decode("latin-1").strip()
        number = text[10:].strip()
        if not session.isascii() or not session.isprintable():
            self.refuse("a login accepted for a session that is not ASCII")
        if not number.isdigit() or not 0 < int(number) <= SEQUENCE_MAX:
            self.refuse("a login accepted without a number")
        if self.fixed and session != self.wanted:
            self.refuse("a login accepted for another session than was asked for")
        sequence = int(number)
        self.logged_in = True
        self.wanted = session
        if self.sessions == 0 or session != self.session:
            self.session = session
            self.sessions += 1
            self.expected = 1
            self.ended = False
            if self._midnight is not None:
                self.decoder.midnight_ns = self._midnight(now_ns)
            self.decoder.begin_c(now_ns)
            if not self.probing:               # it was opened since we asked
                self.target = 0
                self.leave = True
                return 0
        elif self.ended:                       # still the one that is over: nothing more comes of it
            self.target = 0
            self.leave = True
            return 0
        if sequence < self.expected and self.probing:
            self.refuse("a login accepted for less than it has sent before")
        if self.probing:
            self.probes += 1
            self.target = sequence
            self.probed_ns = now_ns
            self.leave = self.again = True
            return 0
        if sequence > self.expected:           # what is between is not kept any more
            self.lost += sequence - self.expected
            self.decoder.lose_c(now_ns)
            self.expected = sequence
        elif sequence < self.expected:
            self.refuse("a login accepted from another number than was asked for")
        if self.expected >= self.target:
            self.reach(now_ns)
        return 0

    cdef void reach(self, int64_t now_ns):
        if now_ns - self.probed_ns > FRESH_NS:
            self.target = 0                    # much was sent since: ask again
            self.leave = self.again = True
            return
        self.decoder.settle_c(now_ns, self.expected - 1)

    cdef int refuse(self, str fault) except -1:
        self.malformed += 1
        raise DecodeError(f"SoupBinTCP packet: {fault}")
