from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from quotelife_server.deferred cimport Turn
from quotelife_server.transport.native_call cimport Call, Desk
from quotelife_server.transport.native_session cimport Stream
from quotelife_server.transport.native_sieve cimport SiftingSession


cdef class Connection(SiftingSession):
    cdef readonly Desk desk
    cdef object transport, loop, flush_soon
    cdef Turn turn                           # that answers wait for
    cdef readonly str peer
    cdef readonly size_t calls_begun
    cdef list agenda                         # calls to be looked at and rendered
    cdef list fresh                          # calls that have come while overloaded: serve_turn looks at them
    cdef list later                          # calls that have had their turn: back on the agenda in the next
    cdef list gone                           # calls whose stream was closed in a callback
    cdef list stalled                        # calls that wait for the client's windows
    cdef bint has_heard                      # of the goodbye
    cdef bint busy, scheduled, pressed, paused, lost, closing, cut, calm, windows_grew
    cdef readonly int leaving                # 1: told that it will end, 2: takes no new call
    cdef double age_s, born_s, read_s, paused_s, frame_s, ping_s, leaving_s, closing_s
    cdef size_t share                        # of the calls that are held back: so many are taken
    cdef double own_ping_s                   # of our PING that is not answered; 0: none
    cdef double credit, credited_s
    cdef size_t frames_seen, sent_seen, earned
    cdef int strikes

    cdef int _received(self, const uint8_t *data, size_t n, bytes sifted) except -1
    cdef int _flush(self) except -1
    cdef int _work(self) except -1
    cdef int _render(self, Call call) except -1
    cdef int _end_gone(self) except -1
    cdef int _pump(self) except -1
    cdef int _put_refusals(self) except -1
    cdef int _write(self) except -1
    cdef int _goaway(self, uint32_t code, bytes text) except -1
    cdef int _end(self) except -1
    cdef int _close(self) except -1
    cdef int _fault(self, object error) except -1
    cdef int _ping(self) except -1
    cdef int _spend(self, int cost) except -1
    cdef int _come(self, Call call) except -1
    cdef int _list(self, Call call) except -1
    cdef int _schedule(self) except -1
    cdef int _press(self) except -1
    cdef int _end_turn_soon(self) except -1
    cdef int _sweep(self, double now_s, int64_t now_ns) except -1
    cdef int _check_calls(self, double now_s, int64_t now_ns) except -1
    cdef int _forget(self) except -1
