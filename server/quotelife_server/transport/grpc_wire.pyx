"""What gRPC puts into HTTP/2: length-prefixed messages, their compression, timeouts, texts in trailers.

No socket, no session: bytes in, messages out. Source: gRPC's PROTOCOL-HTTP2.md.
"""

import zlib
from binascii import b2a_base64

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcmp, memcpy

from quotelife_server.rpc import Code, RpcError

cdef enum:
    TIMEOUT_DIGITS_MAX = 8
    NO_TIMEOUT = -1
    WRONG_TIMEOUT = -2

cdef int64_t SECOND_NS = 1_000_000_000
cdef int64_t MINUTES_MAX = 31 * 24 * 60
cdef dict _WINDOW_BITS = {GZIP: 31, DEFLATE: 15}


cdef int64_t timeout_of(const uint8_t *text, size_t n) noexcept nogil:
    """Nanoseconds of a ``grpc-timeout``; ``WRONG_TIMEOUT`` where it is none. At most 8 digits of hours fit."""
    cdef int64_t value = 0
    cdef size_t i
    if n < 2 or n > TIMEOUT_DIGITS_MAX + 1:
        return WRONG_TIMEOUT
    for i in range(n - 1):
        if text[i] < c'0' or text[i] > c'9':
            return WRONG_TIMEOUT
        value = value * 10 + (text[i] - c'0')
    cdef uint8_t unit = text[n - 1]
    if unit == c'n':
        return value
    if unit == c'u':
        return value * 1_000
    if unit == c'm':
        return value * 1_000_000
    if unit == c'S':
        return value * SECOND_NS
    # Longer than a month is as good as a month, and 8 digits of hours would not fit.
    if unit == c'M':
        return min(value, MINUTES_MAX) * (60 * SECOND_NS)
    if unit == c'H':
        return min(value, MINUTES_MAX / 60) * (3_600 * SECOND_NS)
    return WRONG_TIMEOUT


cdef int coding_of(const uint8_t *text, size_t n) noexcept nogil:
    if n == 8 and memcmp(text, b"identity", 8) == 0:
        return IDENTITY
    if n == 4 and memcmp(text, b"gzip", 4) == 0:
        return GZIP
    if n == 7 and memcmp(text, b"deflate", 7) == 0:
        return DEFLATE
    return OTHER


cdef bint is_grpc(const uint8_t *text, size_t n) noexcept nogil:
    """``application/grpc``, alone or with a subtype or parameters."""
    if n < 16 or memcmp(text, b"application/grpc", 16) != 0:
        return False
    return n == 16 or text[16] == c'+' or text[16] == c';'


cdef void put_prefix(uint8_t *into, size_t n) noexcept nogil:
    """Of an uncompressed message of ``n`` bytes."""
    into[0] = 0
    into[1] = <uint8_t>(n >> 24)
    into[2] = <uint8_t>(n >> 16)
    into[3] = <uint8_t>(n >> 8)
    into[4] = <uint8_t>n


cdef class MessageReader:
    """One call's messages out of its bytes, however these are cut. Holds at most one unfinished message, and of that
    only what has come: a length that is only announced takes no memory."""

    def __cinit__(self, size_t limit, int coding=IDENTITY):
        """``limit``: bytes of a message, before and after it is inflated."""
        self.limit = limit
        self.coding = coding

    cdef int feed_c(self, const uint8_t *data, size_t n, list into) except -1:
        """Appends the messages that end in these bytes: ``bytes``, or ``Compressed``. Raises ``RpcError``."""
        cdef size_t take, missing, had
        while n:
            if self._body is None:
                take = min(<size_t>(PREFIX_BYTES - self._prefix_have), n)
                memcpy(&self._prefix[self._prefix_have], data, take)
                self._prefix_have += <int>take
                data += take
                n -= take
                if self._prefix_have < PREFIX_BYTES:
                    return 0
                self._begin()
                if n >= self._length:  # all of it is here: no copy on the way
                    self._finish(PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>self._length), into)
                    data += self._length
                    n -= self._length
                    continue
                self._body = bytearray()
            had = <size_t>PyByteArray_GET_SIZE(self._body)
            missing = self._length - had
            take = min(missing, n)
            PyByteArray_Resize(self._body, <Py_ssize_t>(had + take))
            memcpy(PyByteArray_AS_STRING(self._body) + had, data, take)
            data += take
            n -= take
            if take == missing:
                body = bytes(self._body)
                self._body = None
                self._finish(body, into)
        return 0

    cdef int _begin(self) except -1:
        cdef uint8_t flag = self._prefix[0]
        self._length = (
            (<size_t>self._prefix[1] << 24) | (<size_t>self._prefix[2] << 16)
            | (<size_t>self._prefix[3] << 8) | self._prefix[4]
        )
        if flag > 1:
            raise RpcError(Code.INTERNAL, f"a message begins with the flag {flag}; 0 and 1 are known")
        if flag and self.coding == IDENTITY:
            raise RpcError(Code.INTERNAL, "a message is compressed, but the call has no grpc-encoding")
        if self._length > self.limit:
            raise too_large(self._length, self.limit)
        return 0

    cdef int _finish(self, bytes body, list into) except -1:
        self._prefix_have = 0
        into.append(Compressed(body) if self._prefix[0] else body)
        return 0

    cdef bint unfinished(self) noexcept:
        return self._prefix_have != 0

    cdef size_t held(self) noexcept:
        return 0 if self._body is None else <size_t>PyByteArray_GET_SIZE(self._body)

    cpdef bytes whole(self, object message):
        """A message as its caller wrote it. Raises ``RpcError``."""
        if isinstance(message, bytes):
            return message
        if self.coding == OTHER:
            raise RpcError(Code.UNIMPLEMENTED, "grpc-encoding: only identity, gzip and deflate are known")
        return _inflated((<Compressed>message).body, _WINDOW_BITS[self.coding], self.limit)

    def feed(self, bytes data):
        """The messages that end in these bytes, inflated. Raises ``RpcError``."""
        found = []
        self.feed_c(data, <size_t>len(data), found)
        return [self.whole(message) for message in found]

    @property
    def is_unfinished(self):
        """A message has begun and not ended."""
        return self.unfinished()


cdef class Compressed:
    """The bytes of a message that is yet to be inflated: when it is looked at, and not before."""

    cdef bytes body

    def __cinit__(self, bytes body):
        self.body = body


cdef object too_large(size_t length, size_t limit):
    return RpcError(
        Code.RESOURCE_EXHAUSTED, f"Received message larger than max ({length} vs. {limit})"
    )


cdef bytes _inflated(bytes body, int window_bits, size_t limit):
    """Raises ``RpcError``; never makes more than ``limit`` + 1 bytes."""
    stream = zlib.decompressobj(window_bits)
    try:
        whole = stream.decompress(body, limit + 1)
    except zlib.error:
        raise RpcError(Code.INTERNAL, "a message cannot be decompressed") from None
    if <size_t>len(whole) > limit:
        raise too_large(<size_t>len(whole), limit)
    if not stream.eof or stream.unused_data:
        raise RpcError(Code.INTERNAL, "a message cannot be decompressed")
    return whole


def timeout_ns(bytes text):
    """Nanoseconds of a ``grpc-timeout``, ``None`` where it is none."""
    cdef int64_t value = timeout_of(text, <size_t>len(text))
    return None if value < 0 else value


def grpc_message(str text):
    """As ``grpc-message`` carries it: UTF-8, and all but printable ASCII percent-encoded."""
    raw = text.encode("utf-8", "replace")
    if all(32 <= byte <= 126 and byte != 37 for byte in raw):
        return raw
    return b"".join(
        b"%c" % byte if 32 <= byte <= 126 and byte != 37 else b"%%%02X" % byte for byte in raw
    )


def binary_value(bytes value):
    """As a header whose name ends with ``-bin`` carries it: base64 without padding."""
    return b2a_base64(value, newline=False).rstrip(b"=")


def framed(bytes message):
    """With its prefix, uncompressed."""
    cdef uint8_t prefix[PREFIX_BYTES]
    put_prefix(prefix, <size_t>len(message))
    return (<char *>prefix)[:PREFIX_BYTES] + message
