# Takes an engine's events, signals and timers into blocks in memory; another thread may write them out.
#
# The engine's side costs a memcpy a batch. There is a fixed number of blocks: the engine fills one, seals it when it is
# full or old, and takes the one that was freed last, since that is still in the cache; write_pending() checksums, writes
# and frees the sealed ones. Where none is free, inputs are counted as lost, and the range of their sequences is marked
# in the next block that is.
# Both sides hold the GIL whenever they touch the counters; checksum and write go without it.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from quotelife.inputs cimport InputSink

cdef struct Header:            # HEADER_DTYPE
    char magic[4]
    uint32_t checksum
    uint32_t length
    uint16_t version
    uint8_t kind
    uint8_t pad0
    uint64_t first_sequence
    uint32_t slots
    uint32_t runs
    uint32_t events
    uint32_t signals
    uint32_t timers
    uint32_t pad1
    char boot_id[32]

cdef struct Run:               # RUN_DTYPE
    uint64_t first_sequence
    uint32_t count
    uint8_t kind
    uint8_t pad[3]

cdef struct Block:
    char* bytes                # header, slots, room for the runs
    Run* runs                  # while the block is being filled
    uint32_t n_slots
    uint32_t n_runs
    uint32_t events
    uint32_t signals
    uint32_t timers
    bint finished              # runs behind the slots, header and checksum in place
    int64_t opened_ns

cdef class CaptureWriter(InputSink):
    cdef Block* blocks
    cdef uint32_t n_blocks
    cdef uint32_t slots_max
    cdef Block* open           # the one being filled, or NULL
    cdef Block** waiting       # block number k to be written is waiting[k % n_blocks]
    cdef uint64_t sealed       # blocks sealed so far
    cdef uint64_t done         # blocks written so far
    cdef Block** free_blocks   # a stack
    cdef uint32_t n_free
    cdef int64_t now_ns        # of the last tick
    cdef int64_t age_ns
    cdef uint64_t lost_first   # the range of inputs lost and not yet marked; lost_first 0: none
    cdef uint64_t lost_last
    cdef readonly uint64_t records    # events and signals written
    cdef readonly uint64_t lost       # events, signals and timers lost
    cdef readonly str fault           # why nothing can be written; "" when it can
    cdef readonly str boot_id
    cdef bytes boot_bytes
    cdef object files          # SegmentFiles
    cdef dict heads            # heads to be written before the block of that number
    cdef bytes head            # of the segment being written
    cdef object head_fields    # Head

    cdef int _timer(self, int kind, int64_t now_ns, uint64_t sequence) except -1
    cdef Block* _room(self, uint64_t sequence, uint64_t count) noexcept
    cdef void _note(self, Block* block, int kind, uint64_t first_sequence, uint32_t count) noexcept nogil
    cdef void _seal(self) noexcept nogil
    cdef int _finish(self, Block* block) except -1
