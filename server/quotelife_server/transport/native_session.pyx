"""One HTTP/2 connection of a server, over nghttp2 and without I/O, and its streams as gRPC uses them.

nghttp2 does framing, HPACK, flow control and HTTP's rules for headers. This file makes its callbacks methods, and
knows how a gRPC response is laid out: headers, messages, trailers, or trailers only. ``native_session.pxd`` tells who
owns what and when callbacks run.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from quotelife_server.transport.grpc_wire cimport coding_of, is_grpc, timeout_of
from quotelife_server.transport.nghttp2 cimport *

from quotelife.errors import QuotelifeError

cdef enum:
    PREFACE_BYTES = 24
    HEAD_BYTES = 9
    HEADER_OVERHEAD = 32                     # RFC 9113 section 6.5.2
    TABLE_BYTES = 4096                       # of HPACK, until SETTINGS say otherwise
    HEADER_BYTES_END = 262_144               # a block that decodes to more ends the connection
    CONTINUATIONS_MAX = 8
    ACKS_MAX = 100                           # PING and SETTINGS that wait to be acknowledged
    SETTINGS_MAX = 32                        # entries of one SETTINGS
    RESETS_BURST = 2000                      # streams that a client may reset at once, and a second: the bound
    RESETS_A_SECOND = 1000                   # behind the one of Connection, for what ends before that looks at it

cdef nghttp2_session_callbacks *_callbacks = NULL
cdef nghttp2_option *_option = NULL
cdef nghttp2_nv _ok[2]
cdef nghttp2_nv _status[17]
cdef list _status_texts = [b"%d" % code for code in range(17)]


class SessionFault(QuotelifeError):
    """A connection that cannot go on; its text is for the log."""


cdef nghttp2_nv _static(const char *name, size_t name_n, const char *value, size_t value_n) noexcept:
    cdef nghttp2_nv pair
    pair.name, pair.namelen = <uint8_t *>name, name_n
    pair.value, pair.valuelen = <uint8_t *>value, value_n
    pair.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE
    return pair


cdef nghttp2_nv _pair(const char *name, size_t name_n, bytes value, uint8_t flags) noexcept:
    cdef nghttp2_nv pair = _static(name, name_n, value, <size_t>len(value))
    pair.flags = flags
    return pair


cdef class Stream:
    """One call of a client. Made when its headers begin."""

    cdef bint out_waits(self) noexcept:
        """What was handed over to be sent has not been taken up into frames."""
        return self.prefix_left != 0 or self.out is not None


cdef class Session:
    """The HTTP/2 side of one connection. Subclasses say what is done with calls, and begin with no ``streams``."""

    def __dealloc__(self):
        self.close_session()

    cdef int open_session(
        self, uint32_t streams_max, uint32_t window, uint32_t connection_window, size_t header_bytes_max
    ) except -1:
        """``window``: bytes of one call that may come before they are read; ``connection_window``: of all of them."""
        cdef nghttp2_settings_entry settings[4]
        cdef size_t n = 2
        self.header_bytes_max = header_bytes_max
        self.left = PREFACE_BYTES
        _check(nghttp2_session_server_new2(&self.h2, _callbacks, <void *>self, _option))
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams_max
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, header_bytes_max
        if window != 65_535:
            settings[2].settings_id, settings[2].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window
            n = 3
        _check(nghttp2_submit_settings(self.h2, NGHTTP2_FLAG_NONE, settings, n))
        _check(nghttp2_session_set_local_window_size(self.h2, NGHTTP2_FLAG_NONE, 0, <int32_t>connection_window))
        return 0

    cdef void close_session(self) noexcept:
        """Nothing of nghttp2 is left; the streams are the subclass's to end."""
        if self.h2 != NULL:
            nghttp2_session_del(self.h2)
            self.h2 = NULL

    cdef int recv(self, const uint8_t *data, size_t n) except -1:
        """Raises ``SessionFault`` where the connection is past mending. What nghttp2 answers by GOAWAY is no such fault:
        then it wants to read no more."""
        cdef ssize_t taken
        self._follow(data, n)
        taken = nghttp2_session_mem_recv(self.h2, data, n)
        self._raise_failure()
        _check(<int>min(taken, 0))
        return 0

    cdef bint in_frame(self) noexcept:
        """A frame, or the block of headers that began with it, has not ended."""
        return self.head_have != 0 or self.left != 0 or self.in_block

    cdef void _follow(self, const uint8_t *data, size_t n) noexcept:
        """Step over the frames in these bytes."""
        cdef size_t step
        while n:
            if self.left:
                step = min(self.left, n)
                self.left -= step
            else:
                step = min(<size_t>(HEAD_BYTES - self.head_have), n)
                memcpy(&self.head[self.head_have], data, step)
                self.head_have += <int>step
                if self.head_have == HEAD_BYTES:
                    self.head_have = 0
                    self.recv_frames += 1
                    self.left = (<size_t>self.head[0] << 16) | (<size_t>self.head[1] << 8) | self.head[2]
                    if self.head[3] == NGHTTP2_HEADERS or self.head[3] == NGHTTP2_CONTINUATION:
                        self.in_block = not self.head[4] & NGHTTP2_FLAG_END_HEADERS
            data += step
            n -= step

    cdef int put_out(self, Stream stream, bytes out, size_t prefix) except -1:
        """Hand bytes over to be sent, behind so many bytes of ``stream.prefix``."""
        stream.out = out
        stream.prefix_left = prefix
        self.unsent += <int64_t>len(out) + <int64_t>prefix
        return 0

    cdef int _raise_failure(self) except -1:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return 0

    cdef int respond(self, Stream stream) except -1:
        """Headers; then ``out`` as nghttp2 asks for it."""
        cdef nghttp2_data_provider provider
        provider.source.ptr = NULL
        provider.read_callback = _on_read
        stream.headers_sent = True
        _check(nghttp2_submit_response(self.h2, stream.id, _ok, 2, &provider))
        return 0

    cdef int refuse(self, Stream stream) except -1:
        """Trailers only: the headers carry ``status``."""
        cdef nghttp2_nv pairs[6]
        cdef size_t n
        stream.headers_sent = stream.finishing = stream.ended = True
        pairs[0], pairs[1] = _ok[0], _ok[1]
        n = 2 + _put_status(stream, &pairs[2])
        if stream.coding == 3:
            pairs[n] = _static("grpc-accept-encoding", 20, "identity,deflate,gzip", 21)
            n += 1
        _check(nghttp2_submit_response(self.h2, stream.id, pairs, n, NULL))
        return 0

    cdef int answer_http(self, Stream stream, int code) except -1:
        """To what is no gRPC call: 405 or 415."""
        cdef nghttp2_nv pairs[2]
        stream.headers_sent = stream.finishing = stream.ended = True
        if code == 405:
            pairs[0] = _static(":status", 7, "405", 3)
            pairs[1] = _static("allow", 5, "POST", 4)
        else:
            pairs[0] = _static(":status", 7, "415", 3)
        _check(nghttp2_submit_response(self.h2, stream.id, pairs, 2 if code == 405 else 1, NULL))
        return 0

    cdef int resume(self, Stream stream) except -1:
        """There is more in ``out``, or nothing more to come."""
        if stream.finishing and not stream.ended and not stream.out_waits():
            # nghttp2 asks for no DATA while the client's window is shut; trailers need none.
            stream.ended, stream.deferred = True, False
            return self._trail(stream)
        if stream.deferred:
            stream.deferred = False
            _check(nghttp2_session_resume_data(self.h2, stream.id))
        return 0

    cdef int _trail(self, Stream stream) except -1:
        cdef nghttp2_nv pairs[3]
        return _check(nghttp2_submit_trailer(self.h2, stream.id, pairs, _put_status(stream, pairs)))

    cdef int reset(self, Stream stream, uint32_t code) except -1:
        _check(nghttp2_submit_rst_stream(self.h2, NGHTTP2_FLAG_NONE, stream.id, code))
        return 0

    cdef int64_t room(self, Stream stream) noexcept:
        """Bytes that the client's windows let through behind what was handed over; 0 or less: none."""
        return min(
            nghttp2_session_get_remote_window_size(self.h2) - self.unsent,
            <int64_t>nghttp2_session_get_stream_remote_window_size(self.h2, stream.id),
        )

    cdef int consume(self, Stream stream, size_t n) except -1:
        """So much of what a call has sent has been read: it may send as much again."""
        if not stream.closed:
            _check(nghttp2_session_consume_stream(self.h2, stream.id, n))
        return 0

    cdef Stream begin(self):
        return Stream.__new__(Stream)

    cdef int on_headers(self, Stream stream) except -1:
        return 0

    cdef int on_data(self, Stream stream, const uint8_t *data, size_t n) except -1:
        return 0

    cdef int on_end(self, Stream stream) except -1:
        return 0

    cdef int on_closed(self, Stream stream, uint32_t code) except -1:
        return 0

    cdef int on_drained(self, Stream stream) except -1:
        return 0

    cdef int on_frame(self, int kind, int flags, int32_t stream_id, size_t length) except -1:
        return 0

    cdef int on_pong(self, const uint8_t *opaque) except -1:
        """A PING of ours was acknowledged, with its 8 bytes."""
        return 0

    cdef int wake(self, Stream stream) except -1:
        """There is something to do for it."""
        return 0

    cdef int wake_in_turn(self, Stream stream) except -1:
        """As ``wake``, for what will be done at the latest at the end of a turn that it waits for."""
        return 0

    cdef int wake_later(self, Stream stream) except -1:
        """As ``wake``, when others have had their turn."""
        return 0

    cdef int wait_for(self, Stream stream, object turn) except -1:
        """It will be woken within this ``rpc.Turn``, if there is one."""
        return 0

    cdef int stall(self, Stream stream) except -1:
        """The client's windows let nothing of it through."""
        return 0


cdef int _check(int result) except -1:
    if result < 0:
        raise SessionFault(f"nghttp2: {nghttp2_strerror(result).decode()}")
    return 0


cdef size_t _put_status(Stream stream, nghttp2_nv *pairs) noexcept:
    cdef size_t n = 1
    cdef uint8_t flags = NGHTTP2_NV_FLAG_NO_COPY_NAME
    if stream.is_static:
        flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE
    pairs[0] = _status[stream.status]
    if stream.message is not None:
        pairs[n] = _pair("grpc-message", 12, stream.message, flags)
        n += 1
    if stream.details is not None:
        pairs[n] = _pair("grpc-status-details-bin", 23, stream.details, flags)
        n += 1
    return n


# --- callbacks --------------------------------------------------------------------------------------------------------


cdef int _failed(Session session, object error) noexcept:
    if session.failure is None:
        session.failure = error
    return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int _on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session session = <Session>user
    cdef Stream stream
    if frame.hd.type != NGHTTP2_HEADERS or frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        return 0
    try:
        stream = session.begin()
        stream.id = frame.hd.stream_id
        stream.timeout_ns = -1
        stream.session = session
        session.streams[stream.id] = stream
        return nghttp2_session_set_stream_user_data(h2, stream.id, <void *>stream)
    except BaseException as error:
        return _failed(session, error)


cdef int _on_header(
    nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
    size_t value_n, uint8_t flags, void *user
) noexcept:
    cdef Session session = <Session>user
    cdef void *pointer = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
    if pointer == NULL:
        return 0
    cdef Stream stream = <Stream>pointer
    stream.header_bytes += name_n + value_n + HEADER_OVERHEAD
    if stream.header_bytes > session.header_bytes_max:
        # Told when the block has ended; until then nothing of it is kept. nghttp2 has to decode it all the same, or it
        # would lose its place in the table of headers.
        if stream.header_bytes > HEADER_BYTES_END:
            return _failed(session, SessionFault("the headers of a call are without end"))
        return 0
    if stream.headers_done:
        return 0  # trailers of a request: gRPC has none
    try:
        if name_n == 5 and memcmp(name, b":path", 5) == 0:
            stream.path = value[:value_n]
        elif name_n == 7 and memcmp(name, b":method", 7) == 0:
            stream.is_post = value_n == 4 and memcmp(value, b"POST", 4) == 0
        elif name_n == 12:
            if memcmp(name, b"content-type", 12) == 0:
                stream.is_grpc = is_grpc(value, value_n)
            elif memcmp(name, b"grpc-timeout", 12) == 0:
                stream.timeout_ns = timeout_of(value, value_n)
        elif name_n == 13 and memcmp(name, b"grpc-encoding", 13) == 0:
            stream.coding = coding_of(value, value_n)
    except BaseException as error:
        return _failed(session, error)
    return 0


cdef int _on_begin_frame(nghttp2_session *h2, const nghttp2_frame_hd *head, void *user) noexcept:
    cdef Session session = <Session>user
    if head.type == NGHTTP2_CONTINUATION:
        session.continuations += 1
        if session.continuations > CONTINUATIONS_MAX:
            return _failed(session, SessionFault("too many CONTINUATION frames"))
    else:
        session.continuations = 0
        if head.type != NGHTTP2_HEADERS and head.type != NGHTTP2_DATA:
            session.barren_frames += 1
    return 0


cdef int _on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *user) noexcept:
    cdef Session session = <Session>user
    cdef void *pointer
    cdef Stream stream
    cdef size_t k
    try:
        if frame.hd.type == NGHTTP2_HEADERS or frame.hd.type == NGHTTP2_DATA:
            if frame.hd.type == NGHTTP2_DATA and not frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                session.on_frame(
                    frame.hd.type, frame.hd.flags, frame.hd.stream_id, frame.hd.length - frame.data.padlen
                )
            pointer = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
            if pointer == NULL:
                return 0
            stream = <Stream>pointer
            if frame.hd.type == NGHTTP2_HEADERS and not stream.headers_done:
                stream.headers_done = True
                if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                    stream.remote_ended = True
                session.on_headers(stream)
            elif frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                stream.remote_ended = True
                session.on_end(stream)
            return 0
        if frame.hd.type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
            return session.on_pong(frame.ping.opaque_data)
        if frame.hd.type == NGHTTP2_SETTINGS and not frame.hd.flags & NGHTTP2_FLAG_ACK:
            session.settled = True
            for k in range(frame.settings.niv):
                # Made smaller and large again in one go, it was smaller: the next block says both.
                if (
                    frame.settings.iv[k].settings_id == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE
                    and frame.settings.iv[k].value < TABLE_BYTES
                ):
                    session.small_table = True
        session.on_frame(frame.hd.type, frame.hd.flags, frame.hd.stream_id, frame.hd.length)
    except BaseException as error:
        return _failed(session, error)
    return 0


cdef int _on_sent(nghttp2_session *h2, const nghttp2_frame *frame, void *user) noexcept:
    if frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_HEADERS:
        (<Session>user).sent_frames += 1
    return 0


cdef int _on_not_sent(nghttp2_session *h2, const nghttp2_frame *frame, int error, void *user) noexcept:
    """A response that nghttp2 will not send, as where its headers are too long: the call must not wait for ever."""
    cdef void *pointer
    if frame.hd.type == NGHTTP2_HEADERS:
        pointer = nghttp2_session_get_stream_user_data(h2, frame.hd.stream_id)
        if pointer != NULL and not (<Stream>pointer).closed:
            nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_INTERNAL_ERROR)
    return 0


cdef int _on_data(
    nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t n, void *user
) noexcept:
    cdef Session session = <Session>user
    cdef void *pointer
    try:
        # The window of the connection is given back at once, or one call that is not read would hold up all others.
        _check(nghttp2_session_consume_connection(h2, n))
        pointer = nghttp2_session_get_stream_user_data(h2, stream_id)
        if pointer != NULL:
            session.on_data(<Stream>pointer, data, n)
    except BaseException as error:
        return _failed(session, error)
    return 0


cdef int _on_close(nghttp2_session *h2, int32_t stream_id, uint32_t code, void *user) noexcept:
    cdef Session session = <Session>user
    cdef Stream stream
    try:
        stream = session.streams.pop(stream_id, None)
        if stream is not None:
            nghttp2_session_set_stream_user_data(h2, stream_id, NULL)
            stream.closed = True
            stream.out, stream.prefix_left = None, 0
            session.on_closed(stream, code)
    except BaseException as error:
        return _failed(session, error)
    return 0


cdef ssize_t _on_read(
    nghttp2_session *h2, int32_t stream_id, uint8_t *into, size_t length, uint32_t *flags,
    nghttp2_data_source *source, void *user
) noexcept:
    """Fill a DATA frame out of the prefix and ``out``."""
    cdef Session session = <Session>user
    cdef void *pointer = nghttp2_session_get_stream_user_data(h2, stream_id)
    cdef Stream stream
    cdef size_t take, put = 0, left
    if pointer == NULL:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    stream = <Stream>pointer
    try:
        if stream.prefix_left:
            take = min(stream.prefix_left, length)
            memcpy(into, &stream.prefix[5 - stream.prefix_left], take)
            stream.prefix_left -= take
            put = take
        if stream.out is not None and not stream.prefix_left:
            left = <size_t>len(stream.out) - stream.out_at
            take = min(left, length - put)
            memcpy(into + put, <const char *>stream.out + stream.out_at, take)
            stream.out_at += take
            put += take
            if take == left:
                stream.out = None
                stream.out_at = 0
                if not stream.finishing:
                    session.on_drained(stream)
        stream.taken += put
        if not stream.out_waits() and stream.finishing and not stream.ended:
            flags[0] |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM
            stream.ended = True
            session._trail(stream)
        elif put == 0:
            stream.deferred = True
            return NGHTTP2_ERR_DEFERRED
    except BaseException as error:
        return _failed(session, error)
    return <ssize_t>put


cdef int _prepare() except -1:
    global _callbacks, _option
    cdef bytes text
    cdef int code
    _check(nghttp2_session_callbacks_new(&_callbacks))
    nghttp2_session_callbacks_set_on_begin_headers_callback(_callbacks, _on_begin_headers)
    nghttp2_session_callbacks_set_on_header_callback(_callbacks, _on_header)
    nghttp2_session_callbacks_set_on_begin_frame_callback(_callbacks, _on_begin_frame)
    nghttp2_session_callbacks_set_on_frame_recv_callback(_callbacks, _on_frame)
    nghttp2_session_callbacks_set_on_frame_send_callback(_callbacks, _on_sent)
    nghttp2_session_callbacks_set_on_frame_not_send_callback(_callbacks, _on_not_sent)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(_callbacks, _on_data)
    nghttp2_session_callbacks_set_on_stream_close_callback(_callbacks, _on_close)
    _check(nghttp2_option_new(&_option))
    nghttp2_option_set_no_auto_window_update(_option, 1)
    nghttp2_option_set_max_outbound_ack(_option, ACKS_MAX)
    nghttp2_option_set_max_settings(_option, SETTINGS_MAX)
    quotelife_reset_rate(_option, RESETS_BURST, RESETS_A_SECOND)
    _ok[0] = _static(":status", 7, "200", 3)
    _ok[1] = _static("content-type", 12, "application/grpc", 16)
    for code in range(17):
        text = _status_texts[code]
        _status[code] = _static("grpc-status", 11, text, <size_t>len(text))
    return 0


def library_version():
    """Of the nghttp2 that is loaded."""
    return nghttp2_version(0).version_str.decode()


_prepare()
