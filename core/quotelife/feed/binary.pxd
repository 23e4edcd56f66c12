# The binary record, bytes to events. BinaryDecoder is a state machine without I/O: see binary.pyx and
# docs/binary-feed.md.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from quotelife.records cimport EventBuffer

cdef enum:
    HEADER_BYTES = 32
    EVENT_BYTES = 64
    COUNT_MAX = 1023           # events of a frame: it still fits a UDP datagram

cdef struct Header:            # as on the wire, little-endian
    uint8_t magic[4]
    uint8_t version
    uint8_t flags              # FrameFlag
    uint16_t count             # events that follow
    uint32_t source
    uint32_t crc               # CRC-32 of all the frame but these four bytes
    int64_t session
    int64_t first              # sequence of the first event

cdef struct WireInstrument:
    uint32_t index             # dense index in the engine
    bint fed                   # something was passed on since its last CLEAR
    bint in_snapshot
    bint whole                 # by a snapshot, and nothing has been lost since
    bint repeated              # in a snapshot that is left out


cdef class BinaryDecoder:
    cdef readonly EventBuffer buffer
    cdef readonly uint32_t source
    cdef readonly Py_ssize_t window
    cdef readonly int64_t frames, heartbeats, events, duplicates, reordered, gaps, lost, malformed, foreign, resyncs
    cdef readonly int64_t session       # 0: none seen since the line is up
    cdef readonly int64_t expected      # sequence of the next event
    cdef readonly int64_t missing_since_ns
    cdef readonly object input          # bytearray that a stream is received into, see input_view()
    cdef Py_ssize_t input_start, input_end
    cdef bint under_way                 # the frame at input_start is checked, and applied in part
    cdef WireInstrument* wire
    cdef readonly uint32_t instruments
    cdef dict held                      # first sequence → (receive stamp, datagram) of what came too early
    cdef int64_t known                  # the publisher has sent all below
    cdef int64_t known_since_ns         # when a heartbeat first said so of what was not there

    cpdef bint received(self, Py_ssize_t n, int64_t receive_ns, Py_ssize_t most=*) except -1
    cpdef int datagram(self, bytes data, int64_t receive_ns) except -1
    cpdef int give_up(self, int64_t receive_ns) except -1

    cdef void forget(self)
    cdef int refuse(self, const char* fault) except -1
    cdef const char* read_header(self, const unsigned char* p, Py_ssize_t n, Header* header) noexcept nogil
    cdef const char* read_frame(self, const unsigned char* p, const Header* header) noexcept nogil
    cdef bint arrive(self, const Header* header, int64_t receive_ns)
    cdef int64_t cut(self, const unsigned char* p, const Header* header, Py_ssize_t most) noexcept nogil
    cdef void apply(self, const unsigned char* p, const Header* header, int64_t until,
                    int64_t receive_ns) noexcept nogil
    cdef void forget_snapshot(self, WireInstrument* wire) noexcept nogil
    cdef void release(self, int64_t receive_ns)
    cdef void skip(self, int64_t receive_ns)
    cdef void settle(self)
    cdef void distrust(self, int64_t receive_ns) noexcept nogil
    cdef void status_of_all(self, int code, int64_t receive_ns) noexcept nogil
    cdef Py_ssize_t room(self) noexcept nogil
