# Datagrams from a receive thread to the event loop, through a ring with one writer and one reader: see udp_ring.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from quotelife.feed.mold cimport MoldReceiver
from quotelife.records cimport EventBuffer

cdef enum:
    DATAGRAM_BYTES = 2032      # longer ones are counted and dropped; an Ethernet frame holds 1,472
    SOCKETS_MAX = 4
    BATCH = 64                 # datagrams a call of recvmmsg

cdef struct Datagram:          # 2,048 bytes
    int64_t stamp_ns           # wall clock, the kernel's where it gives one
    uint32_t length
    uint32_t line
    uint8_t data[DATAGRAM_BYTES]


cdef class UdpRing:
    cdef Datagram* slots
    cdef readonly int64_t capacity         # a power of two
    cdef uint64_t head                     # written by the thread: datagrams that came
    cdef uint64_t tail                     # written by the loop: datagrams taken
    cdef int waiting                       # the loop sleeps and wants to be woken
    cdef int stopping
    cdef int wake_fd, stop_fd
    cdef int[SOCKETS_MAX] sockets
    cdef int[SOCKETS_MAX] lines
    cdef int n_sockets
    cdef uint32_t[SOCKETS_MAX] overflowed
    cdef int64_t nap_ns
    cdef readonly int64_t datagrams, calls, wakes, full, truncated, stamped, failures
    cdef object _thread
    cdef const char* fault                 # of the last packet refused, until it has been told

    cdef void run(self) noexcept nogil
    cdef int64_t fill(self, int place, void* memory) noexcept nogil
    cdef int64_t take_all(self, MoldReceiver mold, object sink, int64_t offset_ns, int64_t now_ns) except -1
    cdef int hand_over(self, MoldReceiver mold, object sink) except -1
