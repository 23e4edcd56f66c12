# The bytes of a journal, little-endian throughout; docs/journal.md holds the same for readers in other languages.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    HEADER_BYTES = 160         # of a segment
    RECORD_HEADER_BYTES = 48
    RECORD_BYTES_MAX = 1 << 28
    PIECE_BYTES = 262_144      # of a file that are read at a time, some 0.1 ms
    POWER_LOSS = 1             # record flag: the reply waits until the record is known to be on the disk
    PACKED = 2                 # record flag: of the payload's words only those that are not zero

cdef enum RecordKind:
    KIND_BOOT = 1
    KIND_CHANGE = 2
    KIND_SIGNAL = 3
    KIND_DECISION = 4
    KIND_ANSWER = 5
    KIND_REFUSED = 6
    KIND_GAP = 7
    KIND_STATE = 8
    KIND_SEAL = 9
    KIND_SHADOW = 10
    KIND_LABEL = 11
    KIND_WATCH = 12

cdef struct RecordHeader:      # 48 bytes; the payload follows, padded with zeros to a multiple of 8
    uint32_t crc               # CRC32C of everything after it, the padding included
    uint32_t length            # of the payload, without padding
    uint64_t number            # consecutive over all segments and boots
    uint64_t input_sequence    # of the engine; 0 where it has none
    int64_t now_ns             # engine time when it was written
    uint64_t durable           # number of the last record then known to be on the disk for good
    uint16_t kind
    uint16_t flags
    uint32_t zero

cdef inline uint64_t padded(uint64_t length) noexcept nogil:
    return (length + 7) & ~<uint64_t>7

# Bytes of the whole record at offset when it is a sound one, else 0.
cdef uint64_t record_at(const uint8_t* data, uint64_t size, uint64_t offset) noexcept nogil
# A packed payload: how many words of 8 bytes it stands for, a bit for each of them, and the words whose bit is set.
cdef inline uint64_t bitmap_words(uint64_t words) noexcept nogil:
    return (words + 63) // 64

# FNV-1a, 64 bits: finds a request id in an index; the id itself is compared then.
cdef uint64_t hash_id(const uint8_t* data, size_t length) noexcept nogil


cdef class SegmentScan:
    cdef readonly uint64_t end           # offset after the last sound record
    cdef readonly uint64_t next_number
    cdef readonly uint64_t stop_number
    cdef readonly uint64_t records
    cdef readonly bint sealed
    cdef readonly int64_t first_ns
    cdef readonly int64_t last_ns
    cdef readonly uint64_t durable       # largest mark of a record
    cdef Column* columns
    cdef int make_room(self, SegmentScan like) except -1
    cdef int _run(self, const uint8_t* data, uint64_t size, uint64_t base) except -1 nogil
    cdef int _run_file(self, int descriptor, uint64_t piece, int64_t pause_ns) except -1 nogil
    cdef int _sort(self, int key, int columns, int64_t pause_ns) except -1 nogil
    cdef int _note(self, const uint8_t* record, uint64_t offset, const RecordHeader* header) except -1 nogil

cdef struct Column:
    uint64_t* values
    size_t count
    size_t room
