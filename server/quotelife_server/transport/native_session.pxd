# One HTTP/2 connection of a server, over nghttp2, without I/O; and what a stream of it is to gRPC.
#
# Memory. A Session owns its nghttp2_session, and in `streams` the Streams that nghttp2 has not closed; nghttp2 holds
# a borrowed pointer to each as the stream's user data, and forgets it before the Stream leaves `streams`.
# Callbacks run inside recv() and pump() only, hold the GIL, and call nothing of Python that could come back here.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from quotelife_server.transport.nghttp2 cimport nghttp2_session


cdef class Stream:
    cdef readonly int32_t id
    cdef Session session
    # The request's headers.
    cdef bytes path
    cdef int64_t timeout_ns                  # -1: none given, -2: one that is wrong
    cdef int coding                          # grpc_wire.Coding
    cdef bint is_post, is_grpc
    cdef size_t header_bytes                 # decoded, each with 32 more, as SETTINGS_MAX_HEADER_LIST_SIZE counts
    cdef bint headers_done, remote_ended, closed
    # The response. `out` is read by nghttp2 when a frame is made; `prefix` goes before it.
    cdef bint headers_sent, ended
    cdef uint8_t prefix[5]
    cdef size_t prefix_left
    cdef bytes out
    cdef size_t out_at
    cdef size_t taken                        # of all that was in `out` so far
    cdef bint finishing                      # nothing comes after `out` but the trailers
    cdef bint deferred                       # nghttp2 waits for resume()
    cdef int status
    cdef bytes message, details
    cdef bint is_static                      # these two outlive the connection

    cdef bint out_waits(self) noexcept


cdef class Session:
    cdef nghttp2_session *h2
    cdef readonly dict streams
    cdef object failure                      # of a callback, raised by recv() and pump()
    # Where the client's bytes stand, by the lengths of its frames: nghttp2 does not tell of those that it ignores.
    cdef uint8_t head[9]
    cdef int head_have
    cdef size_t left                         # of the preface or of a frame
    cdef bint in_block                       # headers that a CONTINUATION goes on with
    cdef int continuations
    cdef bint settled                        # the client's SETTINGS have come
    cdef bint small_table                    # they have made HPACK's table for responses smaller than it begins
    cdef double heard_s                      # since when the client is read without a break; while it is not, NOT_HEARD
    cdef size_t header_bytes_max
    cdef int64_t unsent                      # bytes handed over since nghttp2 last had nothing more to send
    cdef size_t sent_frames, recv_frames
    cdef size_t begun                        # of its calls those that the subclass waits to become whole
    cdef size_t barren_frames                # neither HEADERS nor DATA, since the subclass has looked

    cdef int open_session(
        self, uint32_t streams_max, uint32_t window, uint32_t connection_window, size_t header_bytes_max
    ) except -1
    cdef void close_session(self) noexcept
    cdef bint in_frame(self) noexcept
    cdef void _follow(self, const uint8_t *data, size_t n) noexcept
    cdef int put_out(self, Stream stream, bytes out, size_t prefix) except -1
    cdef int recv(self, const uint8_t *data, size_t n) except -1
    cdef int _raise_failure(self) except -1
    cdef int respond(self, Stream stream) except -1
    cdef int refuse(self, Stream stream) except -1
    cdef int answer_http(self, Stream stream, int code) except -1
    cdef int resume(self, Stream stream) except -1
    cdef int _trail(self, Stream stream) except -1
    cdef int reset(self, Stream stream, uint32_t code) except -1
    cdef int64_t room(self, Stream stream) noexcept
    cdef int consume(self, Stream stream, size_t n) except -1

    # What a subclass makes of it. Those that are called from callbacks must call nothing that may come back.
    cdef Stream begin(self)
    cdef int on_headers(self, Stream stream) except -1
    cdef int on_data(self, Stream stream, const uint8_t *data, size_t n) except -1
    cdef int on_end(self, Stream stream) except -1
    cdef int on_closed(self, Stream stream, uint32_t code) except -1
    cdef int on_drained(self, Stream stream) except -1
    cdef int on_frame(self, int kind, int flags, int32_t stream_id, size_t length) except -1
    cdef int on_pong(self, const uint8_t *opaque) except -1
    # Called by calls.
    cdef int wake(self, Stream stream) except -1
    cdef int wake_in_turn(self, Stream stream) except -1
    cdef int wake_later(self, Stream stream) except -1
    cdef int wait_for(self, Stream stream, object turn) except -1
    cdef int stall(self, Stream stream) except -1
