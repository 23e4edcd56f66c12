# MoldUDP64 over two lines and a re-request server. MoldReceiver is a state machine without I/O: see mold.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t

from quotelife.feed.itch cimport ItchDecoder

cdef enum:
    MOLD_HEADER = 20
    SESSION_BYTES = 10
    LINES = 3                  # A, B, re-requested
    REREQUESTED = 2
    HELD_BYTES = 62            # more than any ITCH message has; a longer one is refused by its length alone
    END_OF_SESSION = 0xFFFF

cdef struct HeldMessage:       # 80 bytes
    int64_t sequence           # 0: empty; one below what is expected: done with
    int64_t arrived_ns
    uint16_t length
    uint8_t data[HELD_BYTES]


cdef class MoldReceiver:
    cdef readonly ItchDecoder decoder
    cdef readonly int64_t window           # messages, a power of two
    cdef readonly int64_t reorder_ns, gap_ns, retry_ns, heartbeat_ns, request_messages
    cdef readonly bint rerequest
    cdef readonly int64_t expected         # sequence of the next message
    cdef readonly int64_t known            # the venue has sent all below
    cdef readonly int64_t missing_since_ns # when what is missing first showed; 0: nothing is missing
    cdef readonly int64_t last_ns          # receive stamp of the last good packet of line A or B
    cdef readonly bint more                # what waits may be applied: drain the buffer and call go_on()
    cdef readonly bint ended               # the session has ended
    cdef public int64_t malformed
    cdef readonly int64_t sessions, duplicates, reordered, foreign, heartbeats
    cdef readonly int64_t gaps, lost, beyond, requests, recovered
    cdef readonly int64_t held             # messages that wait for an earlier one
    cdef int64_t[LINES] packets
    cdef int64_t[LINES] first
    cdef HeldMessage* slots
    cdef uint8_t[SESSION_BYTES] session_id
    cdef uint8_t[SESSION_BYTES] previous
    cdef bint had_session, had_previous, fixed
    cdef bint unheard          # after a silence, until a line has told all that was known before it
    cdef int64_t asked_to, asked_ns, asked_at, answered_ns, wait_ns, beaten_ns, judged, known_since_ns
    cdef object _midnight

    cdef const char* take(self, int line, const uint8_t* p, Py_ssize_t n, int64_t now_ns) noexcept nogil
    cdef bint start(self, int line, const uint8_t* p, int64_t now_ns) noexcept nogil
    cdef void accept(self, int line, const uint8_t* p, Py_ssize_t count, int64_t sequence,
                     int64_t now_ns) noexcept nogil
    cdef void release(self, int64_t now_ns) noexcept nogil
    cdef void judge(self, int64_t now_ns) noexcept nogil
    cdef int64_t first_held(self, int64_t messages) noexcept nogil
    cdef int64_t oldest_held_ns(self) noexcept nogil
    cdef void know(self, int64_t sequence, int64_t now_ns) noexcept nogil
    cdef void tick_c(self, int64_t now_ns) noexcept nogil
