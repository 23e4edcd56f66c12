"""Requests and answers of ``GetExpiry`` inside those of ``StreamExpiry`` and ``BatchGetExpiry``, as bytes.

An answer goes into its envelope as it is; protobuf's objects would read it and write it again, which costs more than
the decision. Requests are taken out where their envelope is written as protobuf's libraries write; any other is
``None`` here and left to ``convert``. Field numbers are those of ``quote_expiry_service.proto``.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from quotelife_server.protobuf_wire cimport LENGTH, VARINT, put_varint, take_varint

cdef enum:
    TAG = 1                      # of StreamExpiryRequest and StreamExpiryResponse
    REQUEST = 2                  # of StreamExpiryRequest
    RESULT = 2                   # of StreamExpiryResponse
    REQUESTS = 1                 # of BatchGetExpiryRequest
    RESULTS = 1                  # of BatchGetExpiryResponse
    RESPONSE = 1                 # of ExpiryResult
    HEADS_BYTES = 40             # of all heads before one answer


def stream_request(bytes payload not None):
    """``(tag, request)`` of a ``StreamExpiryRequest``; ``None``: ``convert.stream_request`` has to read it."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(payload)
    cdef const uint8_t *end = at + PyBytes_GET_SIZE(payload)
    cdef uint64_t tag = 0
    cdef uint64_t size
    if at < end and at[0] == (TAG << 3 | VARINT):
        at = take_varint(at + 1, end, &tag)
        if at == NULL or tag == 0:
            return None
    if at == end or at[0] != (REQUEST << 3 | LENGTH):
        return None
    at = take_varint(at + 1, end, &size)
    if at == NULL or size != <uint64_t>(end - at):
        return None
    return tag, PyBytes_FromStringAndSize(<const char *>at, end - at)


def batch_requests(bytes payload not None):
    """Those of a ``BatchGetExpiryRequest``, in their order; ``None``: ``convert.batch_request`` has to read it."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(payload)
    cdef const uint8_t *end = at + PyBytes_GET_SIZE(payload)
    cdef uint64_t size
    cdef list requests = []
    while at < end:
        if at[0] != (REQUESTS << 3 | LENGTH):
            return None
        at = take_varint(at + 1, end, &size)
        if at == NULL or size > <uint64_t>(end - at):
            return None
        requests.append(PyBytes_FromStringAndSize(<const char *>at, <Py_ssize_t>size))
        at += size
    return requests


cdef uint8_t *_put_response(uint8_t *at, uint8_t field, Py_ssize_t size) noexcept:
    """Heads of a field that is an ``ExpiryResult`` with a response of so many bytes."""
    cdef uint8_t inner[11]
    cdef uint8_t *inner_end
    inner[0] = RESPONSE << 3 | LENGTH
    inner_end = put_varint(&inner[1], <uint64_t>size)
    at[0] = field << 3 | LENGTH
    at = put_varint(at + 1, <uint64_t>(inner_end - inner) + <uint64_t>size)
    memcpy(at, inner, <size_t>(inner_end - inner))
    return at + (inner_end - inner)


def stream_response(uint64_t tag, bytes response not None):
    """The ``StreamExpiryResponse`` that carries the bytes of a ``GetExpiryResponse``."""
    cdef uint8_t heads[HEADS_BYTES]
    cdef uint8_t *at = heads
    if tag:
        at[0] = TAG << 3 | VARINT
        at = put_varint(at + 1, tag)
    at = _put_response(at, RESULT, PyBytes_GET_SIZE(response))
    return PyBytes_FromStringAndSize(<const char *>heads, at - heads) + response


def batch_result(bytes response not None):
    """The part of a ``BatchGetExpiryResponse`` that carries one: parts in a row are the whole."""
    cdef uint8_t heads[HEADS_BYTES]
    cdef uint8_t *at = _put_response(heads, RESULTS, PyBytes_GET_SIZE(response))
    return PyBytes_FromStringAndSize(<const char *>heads, at - heads) + response
