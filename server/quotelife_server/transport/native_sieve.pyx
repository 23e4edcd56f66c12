"""Calls that are refused without being decoded.

Under overload most calls are refused, and to find out what each of them is costs nghttp2 more than all else that is done
for it. But a client says the same of each call to a method: the same bytes of HPACK, as long as the decoder's table stays
as it is. So the headers of a call that was decoded are kept, if they put nothing into the table, and a call that begins
with the same bytes and is whole (HEADERS, and the one DATA that ends it) is held back. When all that a turn brings is
known, the newest of those held back are given to nghttp2, in their order; the others are refused by a frame that was
made beforehand, and nghttp2 never hears of them.

RFC 9113 lets a client leave out stream numbers (section 5.1.1), so to nghttp2 it has left out these. The newest call that
was held back is always given to it: whatever the client says of an older one later is then about a stream that was
closed, which is ignored, not about one that has not begun, which ends the connection. Frames that are about no call
overtake what is held back, but for GOAWAY, behind which nghttp2 takes no call; any other brings it all to nghttp2 first.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport abs, free, malloc, realloc
from libc.string cimport memcmp, memcpy

from quotelife_server.transport.nghttp2 cimport *

cdef enum:
    HEAD_BYTES = 9
    FRAME_BYTES_MAX = 16_384                 # that nghttp2 takes: we announce no other bound
    KINDS = 4                                # of headers that are known at a time
    BLOCK_BYTES_MAX = 1024                   # of those
    HELD_MAX = 1024                          # calls
    CHUNKS_BYTES_MAX = 1_048_576             # that they keep
    OWED_MAX = 65_536                        # is given back at once; less, with the next refusals
    WINDOW_UPDATE_BYTES = 13
    RESET_BYTES = 13
    REFUSED_KEPT = 4096                      # numbers of calls for which space is kept while there are none
    FLAG_PADDED = 0x08
    FLAG_PRIORITY = 0x20


cdef class SiftingSession(Session):
    """``sift`` instead of ``recv`` while overloaded, then ``pass_on``, and ``put_refusals`` where frames are written."""

    def __dealloc__(self):
        free(self.held)
        free(self.refused)

    cdef bint sifts(self) noexcept:
        """Something is held back."""
        return self.held_n != 0 or self.tail is not None

    cdef int sift(self, bytes data) except -1:
        """As ``recv``; but whole calls that ``refusable`` has known before are held back, and so is a last piece of a
        frame or call."""
        cdef const uint8_t *at
        cdef const uint8_t *end
        cdef size_t length, size, data_length, before
        cdef int kind
        cdef bint full = False
        if self.tail is not None:
            data, self.tail = self.tail + data, None
        if self.blocks is None:
            self.blocks, self.methods, self.chunks = [], [], []
        at = <const uint8_t *>PyBytes_AS_STRING(data)
        end = at + PyBytes_GET_SIZE(data)
        at += self._finish_frame(at, <size_t>(end - at))
        self.newest_id = max(self.newest_id, nghttp2_session_get_last_proc_stream_id(self.h2))
        before = self.held_n
        while end - at >= HEAD_BYTES:
            length = _length(at)
            if length > FRAME_BYTES_MAX:
                self.pass_all()
                self.forget_kinds()
                self.recv(at, <size_t>(end - at))
                return 0
            size = HEAD_BYTES + length
            if size > <size_t>(end - at):
                break
            kind = self._kind(at, length)
            if kind >= 0:
                data_length = HEAD_BYTES if <size_t>(end - at) < size + HEAD_BYTES else HEAD_BYTES + _length(at + size)
                if size + data_length > <size_t>(end - at) and data_length <= HEAD_BYTES + FRAME_BYTES_MAX:
                    break
                if _ends(at + size, _stream_id(at), data_length - HEAD_BYTES):
                    if self.held_n == before:
                        full = self._keep(data)
                    self._hold(at, size + data_length, data_length - HEAD_BYTES, kind)
                    if self.held_n == HELD_MAX or self.chunks_bytes > CHUNKS_BYTES_MAX:
                        self.pass_on(1)
                        before = 0
                    at += size + data_length
                    continue
            self._pass(at, size)
            if self.held_n == 0:
                before = 0
            at += size
        if full:
            self.pass_on(1)
        if at < end:
            self.tail = PyBytes_FromStringAndSize(<const char *>at, end - at)
        return 0

    cdef int pass_on(self, size_t take) except -1:
        """Give the newest ``take`` of what is held back to nghttp2, one at least, and refuse the others."""
        cdef size_t counts[KINDS]
        cdef size_t n = self.held_n, first, k, size
        cdef const uint8_t *at
        cdef list chunks
        if n == 0:
            return 0
        # Behind SETTINGS that make the client's table smaller, a block must begin by saying so (RFC 7541 section 4.2), which
        # nghttp2 does and the frame made beforehand does not.
        first = 0 if self.small_table else n - min(max(take, 1), n)
        for k in range(KINDS):
            counts[k] = 0
        chunks = self._let_go()
        for k in range(first):
            self._refuse(self.held[k].id)
            self.owed += self.held[k].data_bytes
            counts[self.held[k].kind] += 1
        for k in range(KINDS):
            if counts[k]:
                self.on_refused(self.methods[k], counts[k])
        while first < n:
            at, size = self.held[first].at, self.held[first].size
            first += 1
            while first < n and self.held[first].at == at + size:  # as they came, in one go
                size += self.held[first].size
                first += 1
            self.recv(at, size)
        chunks.clear()
        return 0

    cdef int pass_all(self) except -1:
        """Nothing is held back any more."""
        cdef bytes tail
        self.pass_on(self.held_n)
        if self.tail is not None:
            tail, self.tail = self.tail, None
            self.recv(<const uint8_t *>PyBytes_AS_STRING(tail), <size_t>PyBytes_GET_SIZE(tail))
        return 0

    cdef size_t put_refusals(self, bytes frame, uint8_t *into, size_t room) noexcept:
        """Frames for calls that were refused, the oldest first, as many as there is room for. Returns the bytes. To be
        called where nghttp2 has no more to send: nothing may come between HEADERS and CONTINUATION.

        Where the client has made its table smaller since they were refused, they are reset: see ``pass_on``."""
        cdef size_t size = RESET_BYTES if self.small_table else <size_t>PyBytes_GET_SIZE(frame)
        cdef size_t put = 0, n = 0, k
        if self.owed > OWED_MAX or (self.owed and self.refused_n):
            if room < WINDOW_UPDATE_BYTES:
                return 0
            _put_head(into, 4, NGHTTP2_WINDOW_UPDATE, 0, 0)
            _put_32(into + HEAD_BYTES, <uint32_t>self.owed)
            self.owed = 0
            put = WINDOW_UPDATE_BYTES
        while n < self.refused_n and room - put >= size:
            if self.refused[n] < 0:
                n += 1
                continue
            if self.small_table:
                _put_head(into + put, 4, NGHTTP2_RST_STREAM, 0, self.refused[n])
                _put_32(into + put + HEAD_BYTES, NGHTTP2_REFUSED_STREAM)
            else:
                memcpy(into + put, PyBytes_AS_STRING(frame), size)
                _put_32(into + put + 5, <uint32_t>self.refused[n])
            put += size
            n += 1
            self.sent_frames += 1
        self.refused_n -= n
        for k in range(self.refused_n):
            self.refused[k] = self.refused[k + n]
        if self.refused_n == 0 and self.refused_room > REFUSED_KEPT:
            free(self.refused)
            self.refused, self.refused_room = NULL, 0
        return put

    cdef void forget_refused(self, int32_t id) noexcept:
        """The client has reset this call: of it nothing is said any more."""
        cdef size_t first = 0, end = self.refused_n, middle
        while first < end:
            middle = (first + end) // 2
            if abs(self.refused[middle]) < id:
                first = middle + 1
            else:
                end = middle
        if first < self.refused_n and self.refused[first] == id:
            self.refused[first] = -id

    cdef int forget_kinds(self) except -1:
        """The decoder's table is not what it was, or nobody knows."""
        if self.blocks:
            self.blocks.clear()
            self.methods.clear()
        return 0

    cdef int forget_held(self) except -1:
        """The connection is gone."""
        self._let_go()
        self.refused_n = 0
        self.chunks = self.tail = self.blocks = self.methods = None
        return 0

    cdef size_t _finish_frame(self, const uint8_t *at, size_t n) except? 0:
        """Give nghttp2 the rest of the frame that it has begun. Returns how many bytes of these that was."""
        cdef size_t put = 0, step
        if self.in_block:
            self.forget_kinds()
        if self.head_have == 0 and self.left == 0:
            return 0
        while put < n and (self.head_have or self.left):
            step = min(self.left if self.left else <size_t>(HEAD_BYTES - self.head_have), n - put)
            self.recv(at + put, step)
            put += step
        if self.head[3] == NGHTTP2_HEADERS or self.head[3] == NGHTTP2_CONTINUATION:
            self.forget_kinds()
        return put

    cdef int _kind(self, const uint8_t *at, size_t length) except -2:
        """The place of these HEADERS among those that are known; -1: it has none, or does not begin a call."""
        cdef bytes block
        cdef Py_ssize_t k
        if at[3] != NGHTTP2_HEADERS or self.in_block or _stream_id(at) <= self.newest_id or not at[8] & 1:
            return -1
        for k in range(len(self.blocks)):
            block = <bytes>self.blocks[k]
            if (
                <size_t>PyBytes_GET_SIZE(block) == length + 1 and <uint8_t>PyBytes_AS_STRING(block)[0] == at[4]
                and memcmp(PyBytes_AS_STRING(block) + 1, at + HEAD_BYTES, length) == 0
            ):
                return <int>k
        return -1

    cdef int _pass(self, const uint8_t *at, size_t size) except -1:
        """One whole frame to nghttp2, and before it what is held back, where the order matters."""
        cdef bint keeps
        cdef int32_t id = _stream_id(at)
        if self.held_n and (
            at[3] == NGHTTP2_HEADERS or at[3] == NGHTTP2_CONTINUATION or at[3] == NGHTTP2_GOAWAY
            or id >= self.held[0].id
        ):
            self.pass_on(self.held_n)
        if at[3] != NGHTTP2_HEADERS:
            if at[3] == NGHTTP2_CONTINUATION:
                self.forget_kinds()
            self.recv(at, size)
            return 0
        keeps = _keeps_table(at, size)
        if not keeps:
            self.forget_kinds()
        self.recv(at, size)
        if id > self.newest_id:
            self.newest_id = id
            if keeps and not at[4] & NGHTTP2_FLAG_END_STREAM and size <= HEAD_BYTES + BLOCK_BYTES_MAX:
                method = self.refusable(id)
                if method is not None:
                    block = PyBytes_FromStringAndSize(<const char *>at + 4, 1) + PyBytes_FromStringAndSize(
                        <const char *>at + HEAD_BYTES, <Py_ssize_t>size - HEAD_BYTES
                    )
                    if block in self.blocks:
                        return 0
                    if len(self.blocks) < KINDS:
                        self.blocks.append(block)
                        self.methods.append(method)
                    else:
                        self.blocks[self.next_kind], self.methods[self.next_kind] = block, method
                        self.next_kind = (self.next_kind + 1) % KINDS
        return 0

    cdef bint _keep(self, bytes data) except -1:
        """These bytes stay as long as calls in them are held back. Returns that they are too many."""
        self.chunks.append(data)
        self.chunks_bytes += PyBytes_GET_SIZE(data)
        return self.on_kept(PyBytes_GET_SIZE(data))

    cdef list _let_go(self):
        """Nothing is held back any more. Returns the bytes that ``held`` points into, for what is still to be done."""
        cdef list chunks = self.chunks
        self.on_kept(-self.chunks_bytes)
        self.held_n = 0
        self.chunks_bytes = 0
        self.chunks = []
        return chunks

    cdef int _hold(self, const uint8_t *at, size_t size, size_t data_bytes, int kind) except -1:
        cdef HeldCall *call
        if self.held == NULL:
            self.held = <HeldCall *>malloc(HELD_MAX * sizeof(HeldCall))
            if self.held == NULL:
                raise MemoryError
        call = &self.held[self.held_n]
        call.at, call.size, call.data_bytes, call.kind = at, size, <uint32_t>data_bytes, kind
        call.id = self.newest_id = _stream_id(at)
        self.held_n += 1
        return 0

    cdef int _refuse(self, int32_t id) except -1:
        cdef size_t room
        cdef void *space
        if self.refused_n == self.refused_room:
            room = max(2 * self.refused_room, <size_t>256)
            space = realloc(self.refused, room * sizeof(int32_t))
            if space == NULL:
                raise MemoryError
            self.refused, self.refused_room = <int32_t *>space, room
        self.refused[self.refused_n] = id
        self.refused_n += 1
        return 0

    cdef object refusable(self, int32_t id):
        """Of a call whose headers have just come, and with which nothing is wrong: what ``on_refused`` is to be told of
        calls like it; ``None`` where they may not be refused unseen."""
        return None

    cdef int on_refused(self, object method, size_t n) except -1:
        """So many calls like one that was ``refusable`` are refused."""
        return 0

    cdef bint on_kept(self, Py_ssize_t n) noexcept:
        """So many bytes more are kept, or fewer. Returns that they are too many, of all connections."""
        return False


cdef size_t _length(const uint8_t *head) noexcept:
    return (<size_t>head[0] << 16) | (<size_t>head[1] << 8) | head[2]


cdef int32_t _stream_id(const uint8_t *head) noexcept:
    return ((<int32_t>head[5] & 0x7F) << 24) | (<int32_t>head[6] << 16) | (<int32_t>head[7] << 8) | head[8]


cdef bint _ends(const uint8_t *head, int32_t id, size_t length) noexcept:
    """It is plain DATA that ends the call."""
    return (
        head[3] == NGHTTP2_DATA and head[4] == NGHTTP2_FLAG_END_STREAM and _stream_id(head) == id
        and 0 < length <= FRAME_BYTES_MAX
    )


cdef void _put_32(uint8_t *into, uint32_t value) noexcept:
    into[0], into[1], into[2], into[3] = value >> 24, value >> 16 & 0xFF, value >> 8 & 0xFF, value & 0xFF


cdef void _put_head(uint8_t *into, uint32_t length, uint8_t kind, uint8_t flags, int32_t id) noexcept:
    into[0], into[1], into[2] = length >> 16 & 0xFF, length >> 8 & 0xFF, length & 0xFF
    into[3], into[4] = kind, flags
    _put_32(into + 5, <uint32_t>id)


cdef bint _keeps_table(const uint8_t *frame, size_t size) noexcept:
    """HEADERS that are one whole block, in which nothing is put into the decoder's table nor its size changed."""
    cdef const uint8_t *at = frame + HEAD_BYTES
    cdef const uint8_t *end = frame + size
    cdef size_t value = 0
    cdef int strings
    if not frame[4] & NGHTTP2_FLAG_END_HEADERS or frame[4] & FLAG_PADDED:
        return False
    if frame[4] & FLAG_PRIORITY:
        at += 5
    while at < end:
        if at[0] & 0x80:
            at = _integer(at, end, 0x7F, &value)
            strings = 0
        elif at[0] & 0x60:
            return False
        else:
            at = _integer(at, end, 0x0F, &value)
            strings = 1 if value else 2
        while strings and at != NULL:
            if at >= end:
                return False
            at = _integer(at, end, 0x7F, &value)
            if at != NULL:
                at = at + value if value <= <size_t>(end - at) else NULL
            strings -= 1
        if at == NULL:
            return False
    return at == end


cdef const uint8_t *_integer(const uint8_t *at, const uint8_t *end, uint8_t mask, size_t *value) noexcept:
    """HPACK's (RFC 7541 section 5.1). Returns what comes after it, NULL where it is none or beyond reason."""
    cdef int shift = 0
    value[0] = at[0] & mask
    at += 1
    if value[0] < mask:
        return at
    while at < end and shift <= 21:
        value[0] += <size_t>(at[0] & 0x7F) << shift
        shift += 7
        at += 1
        if not at[-1] & 0x80:
            return at
    return NULL


cdef bytes refusal_frame(int status, bytes text, bytes details):
    """HEADERS that are a whole response, trailers only, of stream 0. The client's table is neither used nor changed: nghttp2
    keeps that."""
    block = b"\x88\x0f\x10" + _string(b"application/grpc") + _literal(b"grpc-status", b"%d" % status)
    block += _literal(b"grpc-message", text)
    if details is not None:
        block += _literal(b"grpc-status-details-bin", details)
    cdef uint8_t head[HEAD_BYTES]
    _put_head(head, <uint32_t>len(block), NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 0)
    return (<char *>head)[:HEAD_BYTES] + block


cdef bytes _literal(bytes name, bytes value):
    """A field that is put into no table."""
    return b"\x00" + _string(name) + _string(value)


cdef bytes _string(bytes text):
    cdef size_t rest = <size_t>len(text)
    out = bytearray()
    if rest < 127:
        out.append(rest)
    else:
        out.append(127)
        rest -= 127
        while rest >= 128:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
    return bytes(out) + text
