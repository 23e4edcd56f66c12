"""Withdrawals as bytes of ``WatchQuotesResponse``: what protobuf makes of the same fields, at a fraction of its time,
which is on the way of every withdrawal. The numbers of the fields are those of the proto file; a test holds every
field against protobuf's own reading."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.math cimport isnan
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quotelife.inputs cimport WatchWord

from quotelife_server.protobuf_wire cimport FIXED64, LENGTH, VARINT, put_varint

cdef enum:
    NUMBERS_BYTES = 128  # tags, lengths and numbers of one withdrawal take at most 97


cdef inline unsigned char* put_number(unsigned char* at, int field, uint64_t value) noexcept:
    """Left out where it is 0, as proto3 does."""
    if value:
        at[0] = <unsigned char>(field << 3 | VARINT)
        at = put_varint(at + 1, value)
    return at


cdef inline unsigned char* put_double(unsigned char* at, int field, double value) noexcept:
    """Left out where it is NaN: not known."""
    if not isnan(value):
        at[0] = <unsigned char>(field << 3 | FIXED64)
        memcpy(at + 1, &value, 8)  # as the wire has it, on the little-endian machines that this is built for
        at += 9
    return at


cdef inline unsigned char* put_bytes(unsigned char* at, int field, const char* data, Py_ssize_t size) noexcept:
    if size:
        at[0] = <unsigned char>(field << 3 | LENGTH)
        at = put_varint(at + 1, size)
        memcpy(at, data, size)
        at += size
    return at


def withdraw(uint64_t sequence, str name not None, WatchWord word not None, int64_t expiry_ns, uint32_t repeated,
             str instrument not None):
    """One message that says it: ``sequence`` of the stream, ``repeated`` how often it was said before, ``instrument``
    the name of the one whose market brought it, empty where none did."""
    cdef Py_ssize_t name_size, instrument_size, head
    cdef const char* name_utf8 = PyUnicode_AsUTF8AndSize(name, &name_size)
    cdef const char* instrument_utf8 = PyUnicode_AsUTF8AndSize(instrument, &instrument_size)
    cdef unsigned char front[24]
    cdef unsigned char* at
    cdef bytes inner = PyBytes_FromStringAndSize(NULL, NUMBERS_BYTES + name_size + instrument_size)
    cdef unsigned char* began = <unsigned char*>PyBytes_AS_STRING(inner)
    at = put_bytes(began, 1, name_utf8, name_size)
    at = put_number(at, 2, word.c.reason)
    at = put_number(at, 3, <uint64_t>word.c.at_ns)
    at = put_number(at, 4, word.c.number)
    at = put_number(at, 5, repeated)
    at = put_bytes(at, 6, instrument_utf8, instrument_size)
    at = put_double(at, 7, word.c.moved_ticks)
    at = put_double(at, 8, word.c.value_ticks)
    at = put_number(at, 9, <uint64_t>expiry_ns)
    at = put_number(at, 10, word.c.held != 0)
    cdef Py_ssize_t size = at - began
    at = put_number(front, 1, sequence)
    at[0] = 3 << 3 | LENGTH
    at = put_varint(at + 1, size)
    head = at - front
    cdef bytes message = PyBytes_FromStringAndSize(NULL, head + size)
    memcpy(PyBytes_AS_STRING(message), front, head)
    memcpy(PyBytes_AS_STRING(message) + head, began, size)
    return message


def batch(list messages not None):
    """One message that holds these, each the bytes of a ``WatchQuotesResponse``."""
    cdef unsigned char front[12]
    cdef unsigned char* at
    pieces = []
    cdef Py_ssize_t size = 0
    cdef bytes message
    for message in messages:
        front[0] = 1 << 3 | LENGTH
        at = put_varint(front + 1, PyBytes_GET_SIZE(message))
        pieces.append(front[:at - front])
        pieces.append(message)
        size += at - front + PyBytes_GET_SIZE(message)
    front[0] = 10 << 3 | LENGTH
    at = put_varint(front + 1, size)
    return front[:at - front] + b"".join(pieces)
