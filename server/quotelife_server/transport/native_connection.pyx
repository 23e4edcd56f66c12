"""One client's connection: an asyncio protocol around a ``Session``, its calls, and its bounds in time and number.

Life of a chunk of bytes. ``data_received`` gives it to nghttp2, whose callbacks take down what has come; then calls are
looked at (handlers run) and rendered, frames are collected, and one write takes all of them. An answer that comes later
wakes its call, and the flush of that turn takes all that were woken. While the transport's buffer is full nothing is
rendered, no frame is made and nothing is read.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy
from posix.time cimport CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, clock_gettime, timespec

from quotelife_server.transport.native_call cimport Call, Desk, Method
from quotelife_server.transport.native_session cimport Stream
from quotelife_server.transport.native_sieve cimport SiftingSession
from quotelife_server.transport.nghttp2 cimport *

from functools import partial

from quotelife_server import log
from quotelife_server.transport.limits import FRAME_S as FRAME
from quotelife_server.transport.limits import BEGUN_MAX as BEGUN
from quotelife_server.transport.limits import METADATA_BYTES_MAX, draining, too_many_begun
from quotelife_server.transport.limits import PREFACE_S as PREFACE
from quotelife_server.transport.limits import STALL_S as STALL
from quotelife_server.transport.native_session import SessionFault

cdef:
    double PREFACE_S = PREFACE
    double FRAME_S = FRAME
    double STALL_S = STALL
    size_t BEGUN_MAX = BEGUN

cdef enum:
    PASSES_MAX = 4                           # of one flush over what its own answers have brought
    WINDOW_BYTES = 65_535                    # of a call that are not read yet
    CONNECTION_WINDOW_BYTES = 4_194_304
    SCRATCH_BYTES = 131_072
    WRITE_BYTES = 65_536                     # collected frames are written when they are more
    CREDIT_MAX = 4096                        # of frames that bring no call on; so many at once ...
    CREDIT_A_SECOND = 1000                   # ... and so many a second
    FRAME_EARNS = 4                          # for each frame of ours: clients acknowledge what they get
    SETTINGS_COST = 40
    RESET_COST = 4                           # of a call that was not answered
    BEGUN_COST = 8                           # of one that gives way while it waits for its message: twice what its end earns
    PING_STRIKES_MAX = 2                     # as gRPC has it

cdef:
    double SPARE = 1.05                      # so much more is passed on than there seems to be time for
    double SMOOTH = 8.0                      # turns of which the time of a call is the mean
    size_t ROUNDS = 2                        # over the connections, in which calls are looked at: one after the other is dearer
    double LESS = 0.95
    double CALL_NS_MIN = 500.0

cdef double LEAVE_S = 0.1                    # for a client to hear that it should go elsewhere, ...
cdef double LEAVE_S_MAX = 1.0                # ... and to acknowledge what was sent behind that
cdef size_t SURPLUS_BYTES = 256              # behind the message of a unary call; fewer bring nothing on
cdef double LINGER_S = 0.5                   # for a client to close its side when we have closed ours
cdef const uint8_t *GOODBYE = b"goodbye!"    # of the PING that is
cdef double NOT_HEARD = 1e300

# Frames of one flush. One event loop runs all connections, and no flush runs inside another.
cdef uint8_t *_scratch = <uint8_t *>malloc(SCRATCH_BYTES)
cdef size_t _used = 0
if _scratch == NULL:
    raise MemoryError

_log = log.get_logger(__name__)


cdef class Connection(SiftingSession):
    """``asyncio.Protocol`` of one connection; ``sweep`` looks after it."""

    def __cinit__(self, Desk desk, loop, double age_factor=1.0):
        """``age_factor``: of the oldest age a connection may reach, so that they do not all end together."""
        self.age_s = desk.age_s * age_factor
        self.streams = {}
        self.desk = desk
        self.loop = loop
        self.agenda, self.fresh, self.later, self.gone, self.stalled = [], [], [], [], []
        if desk.serve_turn is None:
            desk.serve_turn = partial(_serve_turn, desk)
        self.credit, self.credited_s = CREDIT_MAX, loop.time()
        self.flush_soon = self._flush_later
        self.peer = ""

    # --- asyncio ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport):
        self.transport = transport
        self.peer = _peer(transport)
        self.born_s = self.read_s = self.desk.now_s
        self.desk.connections[self] = None
        if self.desk.draining:
            self._close()
            return
        encrypted = transport.get_extra_info("ssl_object")
        if encrypted is not None and encrypted.selected_alpn_protocol() != "h2":
            self._close()
            return
        transport.set_write_buffer_limits(high=4 * WRITE_BYTES)
        self.open_session(
            <uint32_t>self.desk.streams_max, WINDOW_BYTES, CONNECTION_WINDOW_BYTES, METADATA_BYTES_MAX
        )
        self._flush()

    def data_received(self, data):
        cdef const uint8_t[::1] view
        if self.h2 == NULL or self.closing:
            return
        if not self.leaving and self.desk.lets_come():
            self._received(NULL, 0, data if PyBytes_CheckExact(data) else bytes(data))
        elif PyBytes_CheckExact(data):
            self._received(<const uint8_t *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data), None)
        elif len(data):
            view = data
            self._received(&view[0], <size_t>len(data), None)

    def eof_received(self):
        """A client that has shut its side down is gone."""
        return False

    def pause_writing(self):
        self.paused = True
        self.paused_s = self.desk.now_s
        self.heard_s = NOT_HEARD
        if not self.closing and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self):
        self.paused = False
        # Nothing was read meanwhile: whatever the client says has waited in the socket.
        self.heard_s = self.read_s = self.desk.now_s
        if self.own_ping_s:
            self.own_ping_s = self.desk.now_s
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        if self.cut:
            self.cut_off()
        elif not self.closing:
            if self.fresh or self.sifts():
                self._press()
            self._flush()

    def connection_lost(self, error):
        self.lost = self.closing = True
        self.desk.connections.pop(self, None)
        if not self.busy:
            self._forget()

    # --- for the server -----------------------------------------------------------------------------------------------

    @property
    def idle(self):
        """No call is open and none has ever been: the first to go where there are too many."""
        return not self.streams and not self.calls_begun and not self.closing

    def leave(self):
        """Tell the client that the connection will end; calls that it sends before it has heard so are taken.

        It has when it acknowledges a PING sent behind. Calls that come later would be refused, and clients try such a one
        only once more: where two connections end in a row, it fails.
        """
        if not self.leaving and self.h2 != NULL and not self.closing:
            self.leaving = 1
            self.leaving_s = self.desk.now_s
            nghttp2_submit_shutdown_notice(self.h2)
            nghttp2_submit_ping(self.h2, NGHTTP2_FLAG_NONE, GOODBYE)
            self._flush()

    def refuse_new(self):
        """No call is taken from here on; the connection ends with the last one."""
        if self.leaving < 2 and self.h2 != NULL and not self.closing:
            self.leaving = 2
            self.pass_all()  # or GOAWAY would name none of them
            self._goaway(NGHTTP2_NO_ERROR, b"")
            self._flush()
            self._close_if_done()

    def cut_off(self):
        """End every call with a status and close, as far as the client reads it; where its socket is full, as soon as it
        is not."""
        if self.h2 == NULL:
            self._close()
            return
        if self.paused:
            self.cut = True
            return
        for call in list(self.streams.values()):
            (<Call>call).fail(draining())
        if self.leaving < 2:
            self.leaving = 2
            self._goaway(NGHTTP2_NO_ERROR, b"")
        self._flush()
        self._end()

    def abort(self):
        """At once, whatever waits to be sent."""
        self.closing = True
        if self.transport is not None and not self.lost:
            self.transport.abort()

    cdef int _sweep(self, double now_s, int64_t now_ns) except -1:
        cdef Desk desk = self.desk
        if self.lost:
            return 0
        if self.closing:
            if now_s - self.closing_s > STALL_S:
                self.abort()
            elif now_s - self.closing_s > LINGER_S:
                if self.transport.get_write_buffer_size():
                    self.transport.close()  # and read no more
                else:
                    self.abort()  # with TLS a transport that closes waits far longer for the client to say so too
            return 0
        if not self.settled and now_s - self.born_s > PREFACE_S:
            self.abort()
            return 0
        if self.in_frame() and not self.paused:
            if self.frame_s == 0 or self.frames_seen != self.recv_frames:
                self.frame_s, self.frames_seen = now_s, self.recv_frames
            elif now_s - self.frame_s > FRAME_S:
                self.abort()
                return 0
        else:
            self.frame_s = 0
        if self.paused:
            if now_s - self.paused_s > STALL_S:
                self.abort()
                return 0
            if self.sifts():
                self.pass_all()  # the deadlines of calls run from here on, whenever the client reads again
        elif self.own_ping_s:
            if now_s - self.own_ping_s > desk.keepalive_timeout_s:
                self.abort()
                return 0
        elif now_s - self.read_s > desk.keepalive_s:
            self.own_ping_s = now_s
            nghttp2_submit_ping(self.h2, NGHTTP2_FLAG_NONE, NULL)
            self._flush()
        if self.age_s and not self.leaving and now_s - self.born_s > self.age_s:
            self.leave()
        if self.leaving == 1 and now_s - self.leaving_s > (LEAVE_S if self.has_heard else LEAVE_S_MAX):
            self.refuse_new()
        if self.age_s and self.leaving and now_s - self.leaving_s > desk.age_grace_s and not desk.draining:
            self.cut_off()
        if self.streams and not self.closing:
            self._check_calls(now_s, now_ns)
        if self.leaving == 2:
            self._close_if_done()
        return 0

    cdef int _check_calls(self, double now_s, int64_t now_ns) except -1:
        for call in list(self.streams.values()):
            (<Call>call).check(now_s, now_ns)
        return self._flush()

    def _close_if_done(self):
        if self.leaving == 2 and not self.streams and not self.closing and not self.agenda and not self.paused:
            if nghttp2_session_want_write(self.h2) or self.sifts() or self.refused_n:
                return  # GOAWAY, for one
            self._end()

    # --- bytes in -----------------------------------------------------------------------------------------------------

    cdef int _received(self, const uint8_t *data, size_t n, bytes sifted) except -1:
        """``sifted``: the bytes, where those calls that can be are to be held back."""
        self.read_s = self.desk.now_s
        self.own_ping_s = 0  # whatever comes shows that the client is there
        self.busy = True
        try:
            if sifted is not None:
                self.sift(sifted)
            else:
                if self.sifts():
                    self.pass_all()
                self.forget_kinds()
                self.recv(data, n)
        except BaseException as error:
            self.busy = False
            return self._fault(error)
        self.busy = False
        if self.desk.begun > BEGUN_MAX:
            _end_begun(self.desk)
        if self.barren_frames:
            self._spend(<int>self.barren_frames)
            self.barren_frames = 0
        if self.calm:
            self._goaway(NGHTTP2_ENHANCE_YOUR_CALM, b"too_many_pings" if self.strikes > PING_STRIKES_MAX else b"")
            self._flush()
            return self._close()
        if self.fresh or self.sifts():
            self._press()
            if not self.agenda and not self.gone:
                return 0  # what else there is to be written goes with their answers
        self._flush()
        if self.turn is not None and self.desk.one_calls() and not self.turn.is_long:
            self._end_turn_soon()
        return 0

    cdef int _fault(self, object error) except -1:
        """nghttp2 has given the connection up, or something has gone wrong that must not."""
        if isinstance(error, SessionFault):
            _log.debug("connection given up", peer=self.peer, reason=str(error))
        else:
            _log.error("connection given up", peer=self.peer, exc_info=error)
        self.closing = True
        self.closing_s = self.desk.now_s
        if not self.lost:
            self.transport.abort()
        return self._end_gone()

    cdef Stream begin(self):
        cdef Call call = Call.__new__(Call)
        call.desk = self.desk
        call.begun_s = self.desk.now_s
        self.calls_begun += 1
        return call

    cdef int on_headers(self, Stream stream) except -1:
        cdef Call call = <Call>stream
        call.take_headers(self.peer)
        call.expect_message()
        return self._come(call)

    cdef object refusable(self, int32_t id):
        cdef Call call = self.streams.get(id)
        return call.method if call is not None and call.is_new() and call.method.is_bounded else None

    cdef int on_refused(self, object method, size_t n) except -1:
        self.calls_begun += n
        return self.desk.turn_away_unseen(<Method>method, n)

    cdef bint on_kept(self, Py_ssize_t n) noexcept:
        self.desk.sifted_bytes += n
        return self.desk.sifted_bytes > <Py_ssize_t>self.desk.held_bytes_max

    cdef int on_data(self, Stream stream, const uint8_t *data, size_t n) except -1:
        cdef Call call = <Call>stream
        if call.has_all() and n < SURPLUS_BYTES:
            self._spend(1)
        call.take_data(data, n)
        return self._come(call)

    cdef int on_end(self, Stream stream) except -1:
        return self._come(<Call>stream)

    cdef int _come(self, Call call) except -1:
        """Something of a call has come. A unary one is looked at, and takes a place in flight, when it can be run."""
        if call.listed:
            return 0
        if call.is_new():
            if not call.can_run():
                return 0
            call.expect_no_more()
            if call.method.is_bounded and self.desk.lets_come():
                call.listed = True
                self.fresh.append(call)
                return 0
        return self._list(call)

    cdef int on_closed(self, Stream stream, uint32_t code) except -1:
        self.gone.append(stream)
        if not (<Call>stream).over:
            self._spend(RESET_COST)
        return 0

    cdef int on_drained(self, Stream stream) except -1:
        return self._list(<Call>stream)

    cdef int on_frame(self, int kind, int flags, int32_t stream_id, size_t length) except -1:
        if kind == NGHTTP2_DATA:
            if length == 0:
                self._spend(1)
            return 0
        if kind == NGHTTP2_PING:
            return self._ping()
        if kind == NGHTTP2_SETTINGS and not flags & NGHTTP2_FLAG_ACK:
            self.windows_grew = True
            return self._spend(SETTINGS_COST)
        if kind == NGHTTP2_WINDOW_UPDATE:
            self.windows_grew = True
        elif kind == NGHTTP2_RST_STREAM:
            self.forget_refused(stream_id)
        return 0

    cdef int on_pong(self, const uint8_t *opaque) except -1:
        if memcmp(opaque, GOODBYE, 8) == 0:
            self.has_heard = True
        return 0

    cdef int _ping(self) except -1:
        """gRPC's rule: two PINGs too early are forgiven, and whatever we send in between makes the next one timely. As it
        may have waited to be read, one counts as come when that could have been at the earliest."""
        if self.sent_seen != self.sent_frames:
            self.sent_seen = self.sent_frames
            self.strikes = 0
        elif self.ping_s and <double>self.loop.time() - self.ping_s < self.desk.client_ping_s:
            self.strikes += 1
            if self.strikes > PING_STRIKES_MAX:
                self.calm = True
        self.ping_s = max(self.desk.looked_s, 1e-9)
        return 0

    cdef int _spend(self, int cost) except -1:
        """For what brings no call on. What we send earns some of it back."""
        cdef double now_s = self.loop.time()
        self.credit += CREDIT_A_SECOND * (now_s - self.credited_s)
        self.credited_s = now_s
        self.credit += FRAME_EARNS * <double>(self.sent_frames - self.earned)
        self.earned = self.sent_frames
        self.credit = min(self.credit, <double>CREDIT_MAX) - cost
        if self.credit < 0:
            self.calm = True
        return 0

    # --- bytes out ----------------------------------------------------------------------------------------------------

    cdef int _list(self, Call call) except -1:
        if not call.listed:
            call.listed = True
            self.agenda.append(call)
        return 0

    cdef int wake(self, Stream stream) except -1:
        self._list(<Call>stream)
        if not self.busy:
            self._schedule()
        return 0

    cdef int wake_in_turn(self, Stream stream) except -1:
        return self._list(<Call>stream)

    cdef int wait_for(self, Stream stream, object turn) except -1:
        if turn is not None and turn is not self.turn:
            self.turn = turn
            turn.after(self._turn_over)
        return 0

    cdef int stall(self, Stream stream) except -1:
        cdef Call call = <Call>stream
        if not call.is_stalled:
            call.is_stalled = True
            self.stalled.append(call)
        return 0

    cdef int wake_later(self, Stream stream) except -1:
        cdef Call call = <Call>stream
        if not call.listed:
            call.listed = True
            self.later.append(call)
        return self._schedule()

    cdef int _schedule(self) except -1:
        if not self.scheduled and not self.paused and not self.closing:
            self.scheduled = True
            self.loop.call_soon(self.flush_soon)
        return 0

    cdef int _press(self) except -1:
        """Calls are looked at when all that this turn brings is known."""
        cdef Desk desk = self.desk
        if not self.pressed:
            self.pressed = True
            desk.pressed.append(self)
        if not desk.serve_waits:
            desk.serve_waits = True
            self.loop.call_soon(desk.serve_turn)
        return 0

    cdef int _end_turn_soon(self) except -1:
        """Nothing will join the answers that this turn of the event loop has brought so far."""
        try:
            self.turn.end_soon()
        except BaseException as error:  # it ends with the next answer, or when its ledger next looks
            _log.error("a turn could not be ended early", exc_info=error)
        return 0

    def _flush_later(self):
        self.scheduled = False
        self.agenda += self.later
        self.later.clear()
        self._flush()

    def _turn_over(self):
        """Answers of one turn have come: they leave together, and now."""
        self.turn = None
        if self.agenda:
            self._flush()

    cdef int _flush(self) except -1:
        """Work off the agenda and write what came of it, in one piece as far as it goes."""
        global _used
        if self.busy or self.paused or self.closing or self.h2 == NULL:
            return 0
        self.busy = True
        try:
            self._work()
        except BaseException as error:  # it may have been called at the end of a turn, by those who serve others too
            _used = 0  # or the next connection would send what was meant for this one
            self.busy = False
            self._fault(error)
        finally:
            self.busy = False
            if self.lost:
                self._forget()
        if self.h2 != NULL and not self.closing:
            if self.agenda:
                self._schedule()
            if (
                not nghttp2_session_want_read(self.h2) and not nghttp2_session_want_write(self.h2)
                and not self.sifts() and not self.refused_n
            ):
                if self.leaving == 2:
                    self._end()
                else:
                    self._close()
            elif self.leaving == 2:
                self._close_if_done()
        return 0

    cdef int _work(self) except -1:
        cdef int passes = 0
        cdef size_t calls
        cdef list agenda
        cdef Call call
        self._end_gone()
        while True:
            if self.windows_grew:
                self.windows_grew = False
                agenda, self.stalled = self.stalled, []
                for call in agenda:
                    call.is_stalled = False
                    self._list(call)
            agenda, self.agenda = self.agenda, []
            calls = self.desk.turn_calls
            # First all of them: what has come together is in flight together, and beyond the limit refused.
            for call in agenda:
                call.listed = False
                call.look()
            # Or an earlier one could not be opened: what it brought would count in this one too.
            if self.desk.turn_calls != calls or (calls and not self.desk.turn_open):
                self.desk.open_turn(self.loop)
            if self.desk.refusing:
                self.desk.count_refusals()
            for call in agenda:
                self._render(call)
            self._pump()
            self._put_refusals()
            self._end_gone()
            passes += 1
            if not self.agenda or self.paused or self.closing or passes == PASSES_MAX:
                break
        self._write()
        if self.desk.answered:
            self.desk.poll_on(self.loop)
        return 0

    cdef int _render(self, Call call) except -1:
        # What was handed over before takes its part of the window first: an answer that would only wait is not asked for.
        # And what waits for a window of its own takes none of the connection's.
        if self.unsent >= nghttp2_session_get_remote_window_size(self.h2):
            self._pump()
            if self.paused or self.closing:
                return self._list(call)
        return call.render()

    cdef int _end_gone(self) except -1:
        while self.gone:
            (<Call>self.gone.pop()).end()
        return 0

    cdef int _pump(self) except -1:
        """Frames out of nghttp2 into the scratch space, and on when there are many."""
        global _used
        cdef const uint8_t *data
        cdef ssize_t n
        while not self.paused and not self.closing:
            n = nghttp2_session_mem_send(self.h2, &data)
            if n <= 0:
                self._raise_failure()
                if n < 0:
                    raise SessionFault(f"nghttp2: {nghttp2_strerror(<int>n).decode()}")
                self.unsent = 0
                return 0
            if <size_t>n > SCRATCH_BYTES - _used:
                self._write()
            if <size_t>n > SCRATCH_BYTES:
                self.transport.write(PyBytes_FromStringAndSize(<const char *>data, n))
                continue
            memcpy(_scratch + _used, data, <size_t>n)
            _used += <size_t>n
            if _used > WRITE_BYTES:
                self._write()
        return 0

    cdef int _put_refusals(self) except -1:
        """Frames of which nghttp2 knows nothing go between those of its own. While the client takes none, they wait."""
        global _used
        while (self.refused_n or self.owed) and not self.paused and not self.closing:
            _used += self.put_refusals(self.desk.refusal_frame, _scratch + _used, SCRATCH_BYTES - _used)
            if not self.refused_n:
                break
            self._write()
        return 0

    cdef int _write(self) except -1:
        global _used
        cdef bytes data
        if _used:
            data = PyBytes_FromStringAndSize(<const char *>_scratch, <Py_ssize_t>_used)
            _used = 0
            if not self.lost:
                self.transport.write(data)
        return 0

    cdef int _goaway(self, uint32_t code, bytes text) except -1:
        if self.h2 != NULL:
            nghttp2_submit_goaway(
                self.h2, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.h2), code,
                <const uint8_t *>PyBytes_AS_STRING(text), <size_t>len(text),
            )
        return 0

    cdef int _end(self) except -1:
        """Once what was written has been sent, say that nothing more comes, and read on, without looking, until the client
        has closed its side as well: what it says meanwhile would make a reset of our close, which may cost it answers.
        """
        if self.closing or self.lost or self.transport.is_closing() or not self.transport.can_write_eof():
            return self._close()  # with TLS the transport does this itself
        self.closing = True
        self.closing_s = self.desk.now_s
        self.transport.write_eof()
        return 0

    cdef int _close(self) except -1:
        """Once what was written has been sent. Nothing is read any more."""
        if not self.closing:
            self.closing = True
            self.closing_s = self.desk.now_s
            if not self.lost:
                self.transport.close()
        return 0

    cdef int _forget(self) except -1:
        """The connection is gone, and so are its calls."""
        calls = list(self.streams.values())
        self.streams.clear()
        self._end_gone()
        for call in calls:
            (<Call>call).closed = True
            (<Call>call).end()
        self.agenda.clear()
        self.fresh.clear()
        self.later.clear()
        self.stalled.clear()
        self.forget_held()
        self.flush_soon = self.turn = None
        self.close_session()
        return 0


cdef int _end_begun(Desk desk) except -1:
    """More calls than may wait for their messages: the oldest of the connection that has most of them end."""
    cdef Connection connection, most
    cdef Call call
    cdef size_t n
    while desk.begun > BEGUN_MAX:
        most = None
        for connection in desk.connections:
            if most is None or connection.begun > most.begun:
                most = connection
        if most is None or most.begun == 0:
            break  # they are of connections that are going
        n = max(<size_t>1, min(desk.begun - BEGUN_MAX, most.begun // 2))
        for call in list(most.streams.values()):
            if call.is_begun:
                call.fail(too_many_begun())
                most._spend(BEGUN_COST)
                n -= 1
                if n == 0:
                    break
        most._schedule()
    return 0


def sweep(Desk desk, double now_s, int64_t now_ns, loop_s=None):
    """Look after every connection: deadlines, clients that stall, keepalive, age. ``now_s``: that of ``AttendedTime``, by
    which clients are timed; ``now_ns``: the service's clock, for the deadlines of calls; ``loop_s``: the event loop's, by
    which their PINGs are, if it differs from ``now_s``."""
    desk.now_s = now_s
    desk.looked_s, desk.loop_s = desk.loop_s, now_s if loop_s is None else loop_s
    desk.expired = 0
    desk.judge_overload()
    for connection in list(desk.connections):
        try:
            (<Connection>connection)._sweep(now_s, now_ns)
        except BaseException as error:
            (<Connection>connection)._fault(error)


def _serve_turn(Desk desk):
    """Calls that one turn of the event loop has brought while overloaded: as many as its time allows, a few of each
    connection in turn and the newest first, since who has waited longest is the first to give up. All others are turned
    away."""
    cdef Connection connection
    cdef list pressed = []
    cdef bint chooses = desk.lets_come()
    for connection in desk.pressed:
        connection.pressed = False
        if not connection.paused and not connection.closing:
            connection.busy = True
            pressed.append(connection)
    desk.pressed, desk.serve_waits = [], False
    if not pressed:
        return
    try:
        _serve(desk, pressed, chooses)
    except BaseException as error:  # what has come of it is written all the same
        _log.error("a turn was not served to its end", exc_info=error)
        for connection in pressed:
            if connection.fresh or connection.sifts():
                connection.fresh.clear()
                connection._fault(error)
    for connection in pressed:
        connection.busy = False
    for connection in pressed:
        if connection.lost:
            connection._forget()
    # The answers as a rule come now, and what was refused leaves with them: one write for both.
    for connection in pressed:
        if connection.turn is not None:
            connection._end_turn_soon()
    for connection in pressed:
        if connection.lost:
            continue
        if connection.turn is not None:
            connection._schedule()
        else:
            connection._flush()


cdef int _serve(Desk desk, list pressed, bint chooses) except -1:
    cdef Connection connection
    cdef Call call
    cdef list waiting
    cdef int64_t began_spent_ns, end_ns, left_ns
    cdef size_t first, taken = 0, in_a_row, k
    cdef bint is_open = True
    desk.turn_calls = 0
    desk.served += 1
    desk.turns += 1
    first = desk.served % <size_t>len(pressed)
    waiting = pressed[first:] + pressed[:first]
    in_a_row = max(<size_t>1, _expected(desk) // (ROUNDS * <size_t>len(pressed)))
    _pass_on(desk, waiting, chooses)
    # Each connection is passed one call at least: many would leave no time for any. So it is looked at from here on.
    began_spent_ns = _spent_ns()
    end_ns = _steady_ns() + desk.budget_ns
    while waiting and is_open:
        for connection in waiting:
            try:
                for k in range(min(in_a_row, <size_t>len(connection.fresh))):
                    call = connection.fresh.pop()
                    call.listed = False
                    connection._list(call)
                    taken += 1
                    call.look()
                    if chooses and _steady_ns() >= end_ns:  # no sooner than the processor's time, and cheaper to ask
                        left_ns = began_spent_ns + desk.budget_ns - _spent_ns()
                        end_ns = _steady_ns() + left_ns
                        is_open = left_ns > 0
                        if not is_open:
                            break
            except BaseException as error:
                connection.fresh.clear()
                connection._fault(error)
            if not is_open:
                break
        waiting = [connection for connection in waiting if connection.fresh]
    if is_open and desk.refusing:
        desk.call_ns *= LESS  # there was time for some of those that are refused
    elif taken:
        desk.call_ns += (<double>(_spent_ns() - began_spent_ns) / <double>taken - desk.call_ns) / SMOOTH
    for connection in pressed:
        try:
            for call in connection.fresh:
                call.listed = False
                call.turn_away()
        except BaseException as error:
            connection._fault(error)
        connection.fresh.clear()
    desk.count_refusals()
    desk.turn_calls = 0
    return 0


cdef int _pass_on(Desk desk, list connections, bint chooses) except -1:
    """Of the calls that are held back, as many as there is time for, as it seems, and places; of each connection in turn.
    All of them, where there is nothing to choose."""
    cdef Connection connection
    cdef size_t left = _expected(desk)
    cdef size_t before = 0
    left = min(left, desk.places_left())
    for connection in connections:
        connection.share = 0
        left -= min(left, <size_t>len(connection.fresh))
    while left != before:
        before = left
        for connection in connections:
            if left and connection.share < connection.held_n:
                connection.share += 1
                left -= 1
    for connection in connections:
        try:
            connection.pass_on(connection.share if chooses else connection.held_n)
            connection.pass_all()
        except BaseException as error:
            connection.fresh.clear()
            connection._fault(error)
    return 0


cdef size_t _expected(Desk desk) noexcept:
    """How many calls a turn seems to have time for, and one more."""
    return 1 + <size_t>(SPARE * <double>desk.budget_ns / max(desk.call_ns, CALL_NS_MIN))


cdef int64_t _steady_ns() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef int64_t _spent_ns() noexcept:
    """Processor time of this thread: what others take of the processor is not the calls' doing."""
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef str _peer(object transport):
    """As gRPC writes addresses."""
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple):
        return "unix:"
    return f"ipv4:{name[0]}:{name[1]}" if len(name) == 2 else f"ipv6:[{name[0]}]:{name[1]}"
