# Numbers as protobuf writes them.
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    VARINT = 0                   # wire types
    FIXED64 = 1
    LENGTH = 2


cdef inline uint8_t *put_varint(uint8_t *at, uint64_t value) noexcept nogil:
    """Up to 10 bytes."""
    while value >= 128:
        at[0] = <uint8_t>(value | 128)
        value >>= 7
        at += 1
    at[0] = <uint8_t>value
    return at + 1


cdef inline const uint8_t *take_varint(const uint8_t *at, const uint8_t *end, uint64_t *value) noexcept nogil:
    """One below 2^63 in as few bytes as it takes, else ``NULL``."""
    cdef uint64_t sum = 0
    cdef int shift = 0
    cdef uint8_t byte
    while at < end and shift < 63:
        byte = at[0]
        at += 1
        sum |= <uint64_t>(byte & 127) << shift
        if byte < 128:
            value[0] = sum
            return at if byte or shift == 0 else NULL
        shift += 7
    return NULL
