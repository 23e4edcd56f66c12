# NASDAQ TotalView-ITCH 5.0, messages to events. ItchDecoder is a state machine without I/O: see itch.pyx and
# docs/itch.md.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from quotelife.records cimport EventBuffer

cdef enum:
    LOCATES = 65_536

cdef enum ItchState:
    ITCH_LOST = 0              # messages are gone for good, or none came yet: no book can be made
    ITCH_CATCHING_UP = 1       # all from the first message on is known or on its way: what comes is state, not flow
    ITCH_LIVE = 2

cdef struct ItchInstrument:
    uint64_t symbol            # its eight bytes, as on the wire
    uint32_t index             # dense index in the engine
    uint32_t units             # 1/10,000 of a dollar a tick
    uint32_t shares            # a lot
    uint8_t trading            # state of its last trading action, 0: none yet
    bint halted                # by an operational halt of NASDAQ
    bint off                   # a message of it could not be used: no book until the next session

cdef inline uint16_t be16(const uint8_t* p) noexcept nogil:
    return <uint16_t>((p[0] << 8) | p[1])

cdef inline uint32_t be32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | <uint32_t>p[3]

cdef inline uint64_t be64(const uint8_t* p) noexcept nogil:
    return (<uint64_t>be32(p) << 32) | be32(p + 4)


cdef class ItchDecoder:
    cdef readonly EventBuffer buffer
    cdef readonly Py_ssize_t instruments
    cdef readonly int64_t midnight_ns
    cdef readonly int64_t messages, skipped, unknown, malformed, off_grid, broken_trades, crosses, hidden
    cdef readonly int state              # ItchState
    cdef readonly bint system_hours      # have started: directory and trading states have been told
    cdef readonly int64_t last_ns        # exchange time of the last message that was looked into
    cdef const char* fault               # of the last message refused, until it has been told
    cdef uint8_t fault_type
    cdef ItchInstrument* own
    cdef uint16_t* slot                  # by locate: place in own + 1, 0: not ours
    cdef int64_t[256] seen

    cdef const char* decode(self, const uint8_t* p, Py_ssize_t n, int64_t receive_ns, int64_t sequence) noexcept nogil
    cdef const char* refuse(self, uint8_t kind, const char* fault, ItchInstrument* own,
                            int64_t receive_ns) noexcept nogil
    cdef void begin_c(self, int64_t receive_ns) noexcept nogil
    cdef void doubt_c(self, int64_t receive_ns) noexcept nogil
    cdef void settle_c(self, int64_t receive_ns, int64_t sequence) noexcept nogil
    cdef void lose_c(self, int64_t receive_ns) noexcept nogil
    cdef void beat_c(self, int64_t receive_ns) noexcept nogil
    cdef void for_all(self, int kind, int flags, int64_t aux, int64_t receive_ns, int64_t sequence) noexcept nogil
    cdef void control(self, ItchInstrument* own, int kind, int flags, int64_t aux, int64_t receive_ns,
                      int64_t sequence) noexcept nogil
    cdef void tell_trading(self, ItchInstrument* own, int64_t receive_ns) noexcept nogil
    cdef void system(self, uint8_t code, int64_t receive_ns) noexcept nogil
    cdef void directory(self, const uint8_t* p, uint16_t locate) noexcept nogil
    cdef Py_ssize_t room(self) noexcept nogil
