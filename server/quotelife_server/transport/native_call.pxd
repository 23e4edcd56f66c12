# Calls over a Session: what of them is known before, while and after a handler has them.
from libc.stdint cimport int64_t, uint8_t

from quotelife_server.answer_counts cimport AnswerCounts
from quotelife_server.in_flight cimport InFlight
from quotelife_server.short_way cimport ShortWay
from quotelife_server.transport.grpc_wire cimport MessageReader
from quotelife_server.transport.native_session cimport Stream


cdef class Method:
    cdef readonly str path
    cdef readonly object entry
    cdef AnswerCounts counts
    cdef ShortWay short                      # asked before the handler
    cdef readonly bint is_unary
    cdef bint reads_on
    cdef bint is_bounded                     # counts against the limit of calls in flight
    cdef size_t turned_away                  # since it was last counted


cdef class Desk:
    cdef readonly object service
    cdef dict methods
    cdef readonly size_t message_bytes_max, streams_max, held_bytes_max
    cdef readonly double keepalive_s, keepalive_timeout_s, client_ping_s, age_s, age_grace_s
    cdef public double now_s           # that clients are timed by, see ``sweep``
    cdef public double loop_s          # the event loop's at the last ``sweep`` …
    cdef public double looked_s        # … and at the one before it
    cdef readonly size_t held_bytes
    cdef readonly set conversations
    cdef readonly dict connections           # oldest first; values mean nothing
    cdef object waiting                      # OrderedDict of unary calls whose clients have no window for their answers
    cdef size_t outgoing_bytes               # of messages of all streams that wait to be sent
    cdef public bint draining
    # Overload. A turn is one of the event loop.
    cdef readonly bint overloaded
    cdef size_t turn_calls                   # bounded ones that this turn has brought and that were taken
    cdef size_t turn_callers                 # connections that they came from, by now ...
    cdef size_t last_callers                 # ... and those of the last turn that brought any
    cdef InFlight in_flight
    cdef size_t in_flight_max
    cdef int64_t turn_ns                     # for calls, of a turn, while overloaded
    cdef double window_s                     # overload is judged by what came since then:
    cdef size_t taken, turned_away
    cdef size_t shut_out                     # of those that will be counted: for their client's window, not for want of time
    cdef int64_t budget_ns                   # turn_ns; more of it while it is tried whether that helps
    cdef double tried_s, try_wait_s          # when that was last, and how long until it is again
    cdef double refused_before               # calls a turn, before it was tried
    cdef list refusing                       # methods of which calls were turned away
    cdef bytes refusal_text, refusal_details, refusal_frame
    cdef double call_ns                      # processor time of a call that a turn takes, as the last turns had it
    cdef object turn_over, serve_turn        # run by the event loop, once each where they are waited for
    cdef bint turn_open, serve_waits
    # Busy polling.
    cdef int64_t busy_poll_ns, poll_until_ns
    cdef object poll, loop                   # what the event loop runs, and the loop while it does
    cdef bint answered                       # something since ``poll_on`` was last called
    cdef bint polls
    cdef list pressed                        # connections with calls that wait for serve_turn
    cdef size_t served, turns                # turns of calls that waited: ever, since ``window_s``
    cdef readonly size_t begun               # unary calls whose message has not come whole
    cdef size_t expired                      # of those, ended since all connections were last looked at
    cdef readonly Py_ssize_t sifted_bytes    # that connections keep while calls in them are held back

    cdef int open_turn(self, object loop) except -1
    cdef bint one_calls(self) noexcept
    cdef int poll_on(self, object loop) except -1
    cdef int let_wait(self, Call call) except -1
    cdef bint lets_come(self) except -1
    cdef bint has_no_room(self) except -1
    cdef size_t places_left(self) except? 0
    cdef int turn_away_unseen(self, Method method, size_t n) except -1
    cdef int begin_overload(self) except -1
    cdef int judge_overload(self) except -1
    cdef int count_refusals(self) except -1


cdef class Call(Stream):
    cdef Desk desk
    cdef Method method
    cdef object peer
    cdef object error                        # RpcError that ends it as soon as it is looked at
    cdef int http_status                     # where it is no gRPC call
    cdef MessageReader reader                # None while every message has come whole
    cdef object request                      # the message of a unary call; bytes or Compressed
    cdef object answer                       # bytes or Deferred
    cdef Conversation talk
    cdef int64_t deadline_ns                 # by the service's clock; 0: none
    cdef double begun_s, partial_s, stalled_s, over_s
    cdef size_t held
    cdef size_t taken_seen                   # of `taken`, at `taken_s`
    cdef double taken_s
    cdef bint looked_at, admitted, started, over, listed
    cdef bint in_turn                        # its answer comes before the end of a turn for which the session waits
    cdef bint waits                          # is in the desk's `waiting`
    cdef bint is_begun                       # is one of the desk's, and its session's, `begun`
    cdef bint is_stalled                     # is in the connection's `stalled`

    cdef int take_headers(self, object peer) except -1
    cdef int take_data(self, const uint8_t *data, size_t n) except -1
    cdef void expect_message(self) noexcept
    cdef void expect_no_more(self) noexcept
    cdef bint is_new(self) noexcept
    cdef bint can_run(self) noexcept
    cdef int look(self) except -1
    cdef int render(self) except -1
    cdef int fail(self, object error) except -1
    cdef bint has_all(self) noexcept
    cdef int turn_away(self) except -1
    cdef int check(self, double now_s, int64_t now_ns) except -1
    cdef int end(self) except -1
    cdef int _start(self) except -1
    cdef int _run(self) except -1
    cdef object context(self)
    cdef int _put_error(self, object error) except -1
    cdef int _hold(self) except -1
    cdef int _release(self) except -1
    cdef int _stall(self) except -1
    cdef int _give_way(self) except -1
    cdef int _wait_no_more(self) except -1
    cdef int _render_stream(self) except -1
    cdef int _finish_stream(self) except -1


cdef class Conversation:
    cdef Call call
    cdef object handler
    cdef object outgoing                     # deque of bytes or of what gives them
    cdef object inbox                        # deque of messages that have not been handed over
    cdef object error
    cdef object room                         # Deferred that the handler asked to wait for
    cdef readonly bint finished
    cdef double finished_s
    cdef size_t unconsumed, outgoing_bytes, inbox_bytes
    cdef bint half_closed, told
    cdef bint held_back                      # its client's window is not given back yet

    cdef int drop_outgoing(self) except -1
    cdef int deliver(self) except -1
    cdef int tell_end(self) except -1
