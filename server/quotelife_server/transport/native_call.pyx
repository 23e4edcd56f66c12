"""Calls of the native front end: from headers and bytes to a handler, and from its answer to a response.

A call is looked at when something of it has come (``look``) and rendered when the client can take something of it
(``render``); both run outside nghttp2's callbacks, since a handler may do anything. What comes in callbacks is only
taken down (``take_headers``, ``take_data``).
"""

from collections import OrderedDict, deque

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from quotelife_server.deferred cimport Deferred
from quotelife_server.transport.grpc_wire cimport Coding, PREFIX_BYTES, MessageReader, put_prefix
from quotelife_server.transport.native_session cimport Stream
from quotelife_server.transport.native_sieve cimport refusal_frame
from quotelife_server.transport.nghttp2 cimport NGHTTP2_CANCEL, NGHTTP2_NO_ERROR

from quotelife_server.rpc import CallContext, Code, RpcError, State, Unary, too_late
from quotelife_server.transport.grpc_wire import binary_value, framed, grpc_message
from quotelife_server.transport.limits import (
    BACKLOG_BYTES_MAX,
    BACKLOG_MAX,
    EXPIRED_MAX as EXPIRED,
    HOLD_S as HOLD,
    MESSAGE_S as MESSAGE,
    STALL_S as STALL,
    draining,
    no_message,
    not_read,
    too_many_streams,
)

cdef:
    double HOLD_S = HOLD
    double MESSAGE_S = MESSAGE
    double STALL_S = STALL
    double OVERLOAD_S = 0.1      # what came in such a while is judged, ...
    double TRIAL_S = 0.03        # ... and in such a one while longer turns are tried
    double TRY_S = 2.0
    double TRY_S_MAX = 16.0
    int64_t BUDGET_NS_MAX = 32_000_000
    double CALL_NS = 20_000.0    # until it has been measured
    size_t EXPIRED_MAX = EXPIRED
    size_t WAITING_MAX = BACKLOG_MAX
    size_t WAITING_BYTES_MAX = BACKLOG_BYTES_MAX
    object SERVING = State.SERVING

cdef enum:
    MESSAGE_OVERHEAD = 80        # of one that waits to be handed over, beside its bytes
    AT_ONCE = 32                 # messages of one stream that are handed over before others have their turn
    ANSWERS_BYTES = 65_536       # of answers that wait; beyond it no further message is handed over
    FRAME_BYTES = 16_384         # messages of a stream are laid together up to this size
    NO_TIMEOUT = -1
    OK = 0                       # of gRPC's codes
    RESOURCE_EXHAUSTED = 8
    FEW = 8                      # one of so many
    DAY_NS = 86_400_000_000_000


cdef inline int64_t _steady_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef class Method:
    """One entry of the table of methods."""

    def __cinit__(self, str path, entry, AnswerCounts counts):
        self.path = path
        self.entry = entry
        self.counts = counts
        self.is_unary = isinstance(entry, Unary)
        self.short = entry.short if self.is_unary else None
        self.reads_on = not self.is_unary and entry.reads_on
        self.is_bounded = self.is_unary and entry.bounded


cdef class Desk:
    """What the connections of one server share: the service, the bounds, and what they hold together."""

    def __cinit__(
        self, service, methods, *, message_bytes_max, streams_max, held_bytes_max, keepalive_s, keepalive_timeout_s,
        client_ping_s, age_s, age_grace_s, overload_turn_ns, busy_poll_ns=0,
    ):
        """``age_s``: 0 where connections may grow as old as they like. ``overload_turn_ns``: of one turn of the event loop
        so much is for calls, while more come than can be answered. ``busy_poll_ns``: the event loop does not sleep for so long
        after an answer. ``now_s`` is kept by the server, to 10 ms."""
        self.service = service
        self.methods = {
            path.encode(): Method(path, entry, service.metrics.answers_of(path)) for path, entry in methods.items()
        }
        self.message_bytes_max = message_bytes_max
        self.streams_max = streams_max
        self.held_bytes_max = held_bytes_max
        self.keepalive_s = keepalive_s
        self.keepalive_timeout_s = keepalive_timeout_s
        self.client_ping_s = client_ping_s
        self.age_s = age_s
        self.age_grace_s = age_grace_s
        self.conversations = set()
        self.connections = {}
        self.waiting = OrderedDict()
        self.in_flight = service.in_flight
        self.in_flight_max = self.in_flight.limit
        self.turn_ns = self.budget_ns = overload_turn_ns
        self.busy_poll_ns = busy_poll_ns
        refusal = service.overloaded()
        self.refusal_text = grpc_message(refusal.message)
        self.refusal_details = binary_value(refusal.status_bytes())
        self.refusal_frame = refusal_frame(RESOURCE_EXHAUSTED, self.refusal_text, self.refusal_details)
        self.call_ns = CALL_NS
        self.refusing, self.pressed = [], []
        self.turn_over = self._turn_over
        self.poll = self._poll

    cdef int open_turn(self, object loop) except -1:
        """A connection has brought calls. Counting begins anew when the event loop has been through all that was ready."""
        self.turn_callers += 1
        if not self.turn_open:
            self.turn_open = True
            if not self.polls:             # or it runs then anyway
                loop.call_soon(self.turn_over)
        return 0

    def _turn_over(self):
        self.turn_open = False
        self.turn_calls = 0
        if self.turn_callers:
            self.last_callers, self.turn_callers = self.turn_callers, 0

    cdef bint one_calls(self) noexcept:
        """No other connection brings calls in this turn, as it seems: none has so far, nor beside another in the last."""
        return self.turn_callers == 1 and self.last_callers <= 1

    cdef int poll_on(self, object loop) except -1:
        """Answers have been written. For a while the event loop does not sleep: to be woken costs more than to look, and who
        got an answer may have another question."""
        self.answered = False
        if self.busy_poll_ns:
            self.poll_until_ns = _steady_ns() + self.busy_poll_ns
            if not self.polls:
                self.polls = True
                self.loop = loop
                loop.call_soon(self.poll)
        return 0

    def _poll(self):
        if self.turn_open:
            self._turn_over()
        if self.draining or _steady_ns() >= self.poll_until_ns:
            self.polls = False
            self.loop = None
        else:
            self.loop.call_soon(self.poll)

    cdef int let_wait(self, Call call) except -1:
        """An answer that its client does not take. It has no place in flight, but there are no more of them than there are
        places: the one that has waited longest gives way."""
        if not call.waits:
            call.waits = True
            self.waiting[call] = None
            if <size_t>len(self.waiting) > self.in_flight_max:
                (<Call>self.waiting.popitem(last=False)[0])._give_way()
        return 0

    cdef bint lets_come(self) except -1:
        """Bounded calls wait until all that this turn brings is known. Where none are taken, as while the service leaves,
        nobody chooses among them: each hears why as it comes."""
        return self.overloaded and self.service.state is SERVING

    cdef bint has_no_room(self) except -1:
        """For one more bounded call: so many are under way, or this turn has brought so many."""
        return self.turn_calls >= self.in_flight_max or <size_t>self.in_flight.count >= self.in_flight_max

    cdef size_t places_left(self) except? 0:
        """For bounded calls, of those that may be under way and of those that a turn may bring."""
        cdef size_t taken = max(self.turn_calls, <size_t>self.service.in_flight.count)
        return self.in_flight_max - min(taken, self.in_flight_max)

    cdef int turn_away_unseen(self, Method method, size_t n) except -1:
        """Take down that so many calls of a method are refused which nobody has looked at."""
        if not method.turned_away:
            self.refusing.append(method)
        method.turned_away += n
        return 0

    cdef int begin_overload(self) except -1:
        if not self.overloaded:
            self.overloaded = True
            if self.now_s - self.tried_s > TRY_S or self.try_wait_s == 0:
                self.try_wait_s = TRY_S
            self.tried_s = self.window_s = self.now_s
            self.budget_ns = self.turn_ns
            self.taken, self.turned_away, self.turns = self.turn_calls, 0, 0
        return 0

    cdef int judge_overload(self) except -1:
        """It is over when of the calls of a while few were turned away.

        Callers who ask again as soon as they are refused would never let it end, however few they are. So now and then a
        turn may take twice as long. Of a number of callers it refuses fewer then, and twice as long again is tried; of calls
        that come whatever is answered it refuses more.
        """
        cdef double refused = <double>self.turned_away / <double>max(self.turns, 1)
        cdef bint trying = self.budget_ns > self.turn_ns
        if not self.overloaded or self.now_s - self.window_s < (TRIAL_S if trying else OVERLOAD_S):
            return 0
        if self.turned_away * FEW <= self.taken + self.turned_away:
            self.overloaded = False
        elif trying:
            if refused < self.refused_before and self.budget_ns < BUDGET_NS_MAX:
                self.refused_before = refused
                self.budget_ns *= 2
            else:
                self.budget_ns = self.turn_ns
                self.try_wait_s = min(2 * self.try_wait_s, TRY_S_MAX)
                self.tried_s = self.now_s
        elif self.now_s - self.tried_s > self.try_wait_s:
            self.refused_before = refused
            self.budget_ns = 2 * self.turn_ns
        self.window_s = self.now_s
        self.taken = self.turned_away = self.turns = 0
        return 0

    cdef int count_refusals(self) except -1:
        cdef Method method
        for method in self.refusing:
            self.in_flight.refused += method.turned_away
            method.counts.add(RESOURCE_EXHAUSTED, method.turned_away)
            self.turned_away += method.turned_away
            method.turned_away = 0
        self.turned_away -= self.shut_out
        self.shut_out = 0
        self.refusing.clear()
        return 0


cdef class Call(Stream):
    """One call. It is itself the callback of the answer it waits for."""

    def __call__(self, outcome):
        if not self.closed and not self.over:
            if self.in_turn:
                self.session.wake_in_turn(self)
            else:
                self.session.wake(self)

    cdef int take_headers(self, object peer) except -1:
        """In a callback: find the method, or what is wrong."""
        # Before all else: of what came behind the bound nothing was read, the content type may be there.
        if self.header_bytes > self.session.header_bytes_max:
            self.error = RpcError(
                Code.RESOURCE_EXHAUSTED,
                f"received metadata size exceeds hard limit ({self.header_bytes} vs. {self.session.header_bytes_max})",
            )
            return 0
        if not self.is_post:
            self.http_status = 405
            return 0
        if not self.is_grpc:
            self.http_status = 415
            return 0
        self.method = self.desk.methods.get(self.path)
        if self.method is None:
            self.error = RpcError(Code.UNIMPLEMENTED, "Method not found!")
        elif self.timeout_ns < NO_TIMEOUT:
            self.error = RpcError(Code.INTERNAL, "grpc-timeout: must be 1 to 8 digits and a unit: H, M, S, m, u or n")
        elif self.coding == Coding.OTHER:
            self.error = RpcError(Code.UNIMPLEMENTED, "grpc-encoding: only identity, gzip and deflate are known")
        if self.error is not None:
            return 0
        if self.timeout_ns >= 0:
            self.deadline_ns = <int64_t>self.desk.service.clock.now_ns() + min(self.timeout_ns, <int64_t>DAY_NS)
        self.peer = peer
        return 0

    cdef bint has_all(self) noexcept:
        """A unary call whose message has come, or that has ended: what comes now, nobody reads."""
        return self.method is not None and self.method.is_unary and (self.over or self.request is not None)

    cdef int take_data(self, const uint8_t *data, size_t n) except -1:
        """In a callback: collect messages. What is wrong with them is said when the call is looked at."""
        cdef size_t length
        cdef list found
        if self.over or self.method is None or self.error is not None or (
            self.method.is_unary and self.request is not None
        ):
            return self.session.consume(self, n)  # nobody reads it any more
        try:
            if self.reader is None:
                if self.method.is_unary and n > PREFIX_BYTES and data[0] == 0:
                    length = (
                        (<size_t>data[1] << 24) | (<size_t>data[2] << 16) | (<size_t>data[3] << 8) | data[4]
                    )
                    if length == n - PREFIX_BYTES and length <= self.desk.message_bytes_max:
                        self.request = PyBytes_FromStringAndSize(<const char *>data + PREFIX_BYTES, length)
                        return self.session.consume(self, n)
                self.reader = MessageReader(self.desk.message_bytes_max, self.coding)
            found = []
            self.reader.feed_c(data, n, found)
            if self.method.is_unary:
                if found:
                    self.request = found[0]
                self.session.consume(self, n)
            else:
                # The rest is given back as messages are handed over, in deliver().
                if self.talk is None:
                    self.talk = _conversation(self)
                self.talk.unconsumed += n
                self.talk.inbox_bytes += n + MESSAGE_OVERHEAD * <size_t>len(found)
                self.talk.inbox.extend(found)
                if not self.reader.unfinished():
                    self.partial_s = 0
                elif self.partial_s == 0 or found:
                    self.partial_s = self.desk.now_s
            self._hold()
        except RpcError as error:
            self.error = error
            self.session.consume(self, n)
        return 0

    cdef int _hold(self) except -1:
        """Count what the call holds of what has come. Raises ``RpcError`` where all calls hold too much."""
        cdef size_t now = 0 if self.reader is None else self.reader.held()
        if self.talk is not None:
            now += self.talk.inbox_bytes
        self.desk.held_bytes += now - self.held
        grew = now > self.held
        self.held = now
        if grew and self.desk.held_bytes > self.desk.held_bytes_max:
            raise RpcError(Code.RESOURCE_EXHAUSTED, "too many bytes wait to be read; retry later")
        return 0

    cdef void expect_message(self) noexcept:
        """Its message has not come whole, and may never."""
        if not self.is_begun and self.is_new() and not self.can_run():
            self.is_begun = True
            self.desk.begun += 1
            self.session.begun += 1

    cdef void expect_no_more(self) noexcept:
        if self.is_begun:
            self.is_begun = False
            self.desk.begun -= 1
            self.session.begun -= 1

    cdef bint is_new(self) noexcept:
        """A unary call with which nothing is wrong so far and that has not been looked at."""
        return self.method is not None and self.method.is_unary and not self.looked_at and self.error is None

    cdef bint can_run(self) noexcept:
        """Its message has come, or will not come."""
        return self.request is not None or self.remote_ended

    cdef int look(self) except -1:
        """Go on with what has come. Outside callbacks."""
        if self.over or self.closed:
            return 0
        if self.http_status:
            self.over, self.over_s = True, self.desk.now_s
            return self.session.answer_http(self, self.http_status)
        if self.is_new() and not self.can_run():
            return 0
        if not self.looked_at:
            self.looked_at = True
            if self.error is None:
                self._start()
        if self.over:
            return 0
        if self.error is not None:
            return self.fail(self.error)
        if self.method.is_unary:
            if self.started:
                return 0
            return self.fail(no_message()) if self.request is None else self._run()
        return self.talk.deliver()

    cdef int _start(self) except -1:
        """Find room for it."""
        cdef Desk desk = self.desk
        cdef object service = desk.service
        if self.method.is_bounded and service.state is SERVING:
            if desk.has_no_room():
                desk.begin_overload()
                return self.turn_away()
            if <size_t>len(desk.waiting) >= desk.in_flight_max and self.session.room(self) <= 0:
                desk.shut_out += 1
                return self.turn_away()  # answers that nobody takes are held already
            # ``Service.admit`` would say no more than what has been seen here.
            desk.in_flight.try_enter()
            self.admitted = True
            desk.turn_calls += 1
            desk.taken += 1
            return 0
        try:
            if self.method.is_unary:
                service.admit(self.method.entry)
                self.admitted = True
                return 0
            if desk.draining:
                raise draining()
            if self.deadline_ns and service.clock.now_ns() >= self.deadline_ns:
                raise too_late()
            if <size_t>len(self.desk.conversations) >= self.desk.streams_max:
                raise too_many_streams()
            if self.talk is None:
                self.talk = _conversation(self)
            self.talk.handler = service.open_stream(self.method.entry, self.talk, self.context())
        except RpcError as error:
            self.error = error
            return 0
        self.desk.conversations.add(self.talk)
        return 0

    cdef int _run(self) except -1:
        """Hand the message of a unary call to its handler."""
        cdef object service = self.desk.service
        cdef ShortWay short = self.method.short
        cdef Deferred later
        cdef int64_t now_ns
        answer = None
        self.started = True
        try:
            request = self.request if self.reader is None else self.reader.whole(self.request)
            if short is not None:
                now_ns = service.clock.now_ns()
                if self.deadline_ns and now_ns >= self.deadline_ns:
                    raise too_late()
                answer = short.answer(request, now_ns)
            if answer is None:
                answer = service.unary(self.method.entry, request, self.context(), short_asked=short is not None)
        except BaseException as error:
            return self.fail(error)
        self.request = b""
        self.answer = answer
        if type(answer) is bytes:
            return 0
        later = answer
        later.then(self)
        if not self.over and later.outcome is None:
            self.in_turn = later.turn is not None
            if self.in_turn:
                self.session.wait_for(self, later.turn)
        return 0

    cdef object context(self):
        return CallContext(self.method.path, self.deadline_ns or None, self.peer)

    cdef int render(self) except -1:
        """As much of the response as the client can take. Outside callbacks."""
        cdef bytes payload
        cdef Deferred later = None
        cdef int64_t room
        if self.over or self.closed:
            return 0
        if self.talk is not None:
            return self._render_stream()
        answer = self.answer
        if answer is None:
            return 0
        if type(answer) is not bytes:
            later = answer
            if later.outcome is None:
                return 0
        room = self.session.room(self)
        if room <= 0:
            return self._stall()
        try:
            payload = answer if later is None else later.leaving()
        except BaseException as error:
            return self.fail(error)
        self.answer = None
        self.over, self.over_s = True, self.desk.now_s
        self._release()
        self.method.counts.add(OK)
        self.desk.answered = True
        put_prefix(self.prefix, <size_t>len(payload))
        self.session.put_out(self, payload, PREFIX_BYTES)
        if room < len(payload) + PREFIX_BYTES:
            self.desk.let_wait(self)
        elif self.waits:
            self._wait_no_more()
        self.finishing = True
        return self.session.respond(self)

    cdef int _render_stream(self) except -1:
        cdef Conversation talk = self.talk
        cdef int64_t size = 0, room
        cdef bytes payload
        if self.out_waits():
            return 0
        if talk.outgoing:
            room = min(self.session.room(self), <int64_t>FRAME_BYTES)
            if room <= 0:
                return self._stall()
            self.stalled_s = 0
            parts = []
            try:
                while talk.outgoing and size < room:
                    item = talk.outgoing.popleft()
                    if isinstance(item, bytes):
                        talk.outgoing_bytes -= <size_t>len(item)
                        self.desk.outgoing_bytes -= <size_t>len(item)
                        payload = item
                    else:
                        payload = item()
                    parts.append(framed(payload))
                    size += len(payload) + PREFIX_BYTES
            except BaseException as error:
                talk.drop_outgoing()
                talk.finished, talk.finished_s = True, self.desk.now_s  # also where its handler was through with it
                talk.error = self.desk.service.as_rpc_error(error, self.context())
            if parts:
                self.session.put_out(self, parts[0] if len(parts) == 1 else b"".join(parts), 0)
        if talk.finished and not talk.outgoing and (
            talk.error is None or self.remote_ended or self.desk.now_s - talk.finished_s > HOLD_S
        ):
            return self._finish_stream()
        # Clients that are writing when their call ends with an error may lose the reason for it. Left without answers
        # they stop, and until then what they write is read.
        if self.out is not None:
            if not self.headers_sent:
                return self.session.respond(self)
            return self.session.resume(self)
        return 0

    cdef int _finish_stream(self) except -1:
        cdef Conversation talk = self.talk
        if talk.error is not None:
            return self._put_error(talk.error)
        self.over, self.over_s = True, self.desk.now_s
        talk.tell_end()
        self.method.counts.add(OK)
        self.finishing = True
        if self.headers_sent:
            return self.session.resume(self)
        if self.out is not None:
            return self.session.respond(self)
        return self.session.refuse(self)

    cdef int fail(self, object error) except -1:
        """End the call with a status; what waits to be sent is dropped, what nghttp2 has already is not."""
        if self.over or self.closed:
            return 0
        if not isinstance(error, RpcError):
            error = self.desk.service.as_rpc_error(error, self.context())
        return self._put_error(error)

    cdef int turn_away(self) except -1:
        """More calls come than can be answered. Of all that happens to a call this must cost least: it happens most."""
        cdef Desk desk = self.desk
        if self.over or self.closed:
            return 0
        self.looked_at = self.over = True
        self.over_s = desk.now_s
        self.request = b""
        if self.reader is not None:
            self.reader = None
            self._hold()
        if not self.method.turned_away:
            desk.refusing.append(self.method)
        self.method.turned_away += 1
        self.status, self.message, self.details = RESOURCE_EXHAUSTED, desk.refusal_text, desk.refusal_details
        self.is_static = True
        return self.session.refuse(self)

    cdef int _put_error(self, object error) except -1:
        self.over, self.over_s = True, self.desk.now_s
        self.expect_no_more()
        self._release()
        if self.waits:
            self._wait_no_more()
        self.answer = None
        self.request = b""
        if self.talk is not None:
            self.talk.finished = True
            self.talk.drop_outgoing()
            self.talk.inbox.clear()
            self.talk.inbox_bytes = 0
            self.talk.room = None
            self.talk.tell_end()
            if self.talk.unconsumed:
                self.session.consume(self, self.talk.unconsumed)
                self.talk.unconsumed = 0
        self.reader = None
        self._hold()
        if self.method is not None:
            self.method.counts.add(error.code)
        self.status = int(error.code)
        self.message = grpc_message(error.message)
        details = error.status_bytes()
        if details is not None:
            self.details = binary_value(details)
        if not self.headers_sent and self.out is None:
            return self.session.refuse(self)
        self.finishing = True
        if not self.headers_sent:
            return self.session.respond(self)
        return self.session.resume(self)

    cdef int _release(self) except -1:
        if self.admitted:
            self.admitted = False
            if self.method.is_bounded:
                self.desk.in_flight.leave()
        return 0

    cdef int _stall(self) except -1:
        """The client has no window for what there is to be said."""
        if self.stalled_s == 0:
            self.stalled_s = self.desk.now_s
            self._release()  # a client that takes no answers must not keep others from theirs
        if self.talk is None:
            self.desk.let_wait(self)
        return self.session.stall(self)

    cdef int _give_way(self) except -1:
        self.waits = False
        if self.closed or self.ended:
            return 0
        if self.over:
            self.session.reset(self, NGHTTP2_CANCEL)
        else:
            self.fail(not_read())
        return self.session.wake(self)

    cdef int _wait_no_more(self) except -1:
        self.waits = False
        self.desk.waiting.pop(self, None)
        return 0

    cdef int end(self) except -1:
        """Its stream is closed, for whatever reason. Outside callbacks."""
        self.over = True
        self.expect_no_more()
        self._release()
        if self.waits:
            self._wait_no_more()
        self.answer = self.reader = None
        if self.talk is not None:
            self.talk.finished = True
            self.talk.drop_outgoing()
            self.talk.inbox.clear()
            self.talk.inbox_bytes = 0
        self._hold()
        if self.talk is not None:
            self.talk.tell_end()
        return 0

    cdef int check(self, double now_s, int64_t now_ns) except -1:
        """What time has brought."""
        if self.out_waits():
            if self.taken_s == 0 or self.taken_seen != self.taken:
                self.taken_s, self.taken_seen = max(now_s, 1e-9), self.taken
            elif now_s - self.taken_s > STALL_S:
                return self.session.reset(self, NGHTTP2_CANCEL)
        else:
            self.taken_s = 0
        if not self.over:
            if self.deadline_ns and now_ns >= self.deadline_ns:
                return self.fail(RpcError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))
            if self.talk is None:
                if (
                    self.request is None and now_s - max(self.begun_s, self.session.heard_s) > MESSAGE_S
                    and self.desk.expired < EXPIRED_MAX
                ):
                    self.desk.expired += 1
                    return self.fail(
                        RpcError(Code.DEADLINE_EXCEEDED, f"the message did not come within {MESSAGE_S:g} s")
                    )
            else:
                if (
                    self.partial_s and not self.talk.held_back
                    and now_s - max(self.partial_s, self.session.heard_s) > MESSAGE_S
                ):
                    return self.fail(
                        RpcError(Code.DEADLINE_EXCEEDED, f"a message did not end within {MESSAGE_S:g} s")
                    )
                if self.talk.finished and self.talk.error is not None and now_s - self.talk.finished_s > HOLD_S:
                    # It had a while to read what waits; with the status it gets another. Then the call is dropped.
                    if self.talk.outgoing or self.out_waits():
                        return self.session.reset(self, NGHTTP2_CANCEL)
                    return self._put_error(self.talk.error)
            if self.stalled_s and now_s - self.stalled_s > STALL_S:
                return self.session.reset(self, NGHTTP2_CANCEL)
        elif not self.ended:
            if not self.out_waits() and now_s - self.over_s > STALL_S:
                return self.session.reset(self, NGHTTP2_CANCEL)
        elif not self.remote_ended and now_s - self.over_s > HOLD_S:
            # A client that was writing has had its time to see why its call is over.
            return self.session.reset(self, NGHTTP2_NO_ERROR)
        return 0


cdef Conversation _conversation(Call call):
    cdef Conversation talk = Conversation.__new__(Conversation)
    talk.call = call
    talk.outgoing = deque()
    talk.inbox = deque()
    return talk


cdef class Conversation:
    """A stream as its handler sees it (``rpc.StreamCall``), and as the connection does."""

    def send(self, payload):
        if self.finished:
            return
        if self.outgoing and (
            <size_t>len(self.outgoing) >= WAITING_MAX or self.outgoing_bytes > WAITING_BYTES_MAX
            or self.call.desk.outgoing_bytes > self.call.desk.held_bytes_max
        ):
            self.finish(not_read())
            return
        if isinstance(payload, bytes):
            self.outgoing_bytes += <size_t>len(payload)
            self.call.desk.outgoing_bytes += <size_t>len(payload)
        self.outgoing.append(payload)
        self.call.session.wake(self.call)

    def finish(self, error=None):
        if self.finished:
            return
        self.finished = True
        self.finished_s = self.call.desk.now_s
        self.error = error
        if not self.call.closed:
            self.call.session.wake(self.call)

    cdef int drop_outgoing(self) except -1:
        self.outgoing.clear()
        self.call.desk.outgoing_bytes -= self.outgoing_bytes
        self.outgoing_bytes = 0
        return 0

    def __call__(self, outcome):
        """The room that the handler asked for is there."""
        self.room = None
        if not self.call.over and not self.call.closed:
            self.call.session.wake(self.call)

    cdef int deliver(self) except -1:
        """Hand over messages as far as handler and answers allow."""
        cdef Call call = self.call
        cdef int done = 0
        cdef bint blocked = False
        try:
            while self.inbox and not self.finished:
                if self.room is not None:
                    break
                if done >= AT_ONCE:
                    blocked = True
                    call.session.wake_later(call)
                    break
                if not call.method.reads_on and self.outgoing and (done == 0 or self.outgoing_bytes > ANSWERS_BYTES):
                    blocked = True  # looked at again when they have been sent
                    break
                message = call.reader.whole(self.inbox.popleft())
                done += 1
                room = self.handler.on_message(message)
                if room is not None and room.outcome is None:
                    self.room = room
                    room.then(self)
                    if self.room is not None:
                        call.session.wait_for(call, room.turn)
            if self.finished:
                self.inbox.clear()
            if blocked or self.room is not None or self.inbox:
                self.held_back = True
            else:
                if self.held_back:
                    self.held_back = False
                    if call.partial_s:
                        call.partial_s = call.desk.now_s  # until now its client could not go on with it
                self.inbox_bytes = 0
                call._hold()
                if self.unconsumed:
                    call.session.consume(call, self.unconsumed)
                    self.unconsumed = 0
                if call.remote_ended and not self.half_closed and not self.finished:
                    self.half_closed = True
                    if call.reader is not None and call.reader.unfinished():
                        raise RpcError(Code.INTERNAL, "the call ends in the middle of a message")
                    self.handler.on_half_close()
        except BaseException as error:
            self.inbox.clear()
            self.finish(call.desk.service.as_rpc_error(error, call.context()))
        return 0

    cdef int tell_end(self) except -1:
        """The handler hears once that the call is over."""
        if self.told or self.handler is None:
            return 0
        self.told = True
        self.call.desk.conversations.discard(self)
        try:
            self.handler.on_cancel()
        except BaseException as error:
            self.call.desk.service.as_rpc_error(error, self.call.context())
        return 0
