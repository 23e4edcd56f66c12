# Appends every input of an engine to a journal.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from quotelife.inputs cimport InputSink
from quotelife.journal.format cimport SegmentScan
from quotelife.records cimport Signal

cdef enum:
    SIGNALS_KEPT = 256         # signals, and words on live quotes, not yet taken over by the state
    STATES_HELD = 8            # that may stand in the buffer

cdef class Segment:
    cdef object file
    cdef int descriptor        # to append by write(2); below zero: by the file's own ``write``
    cdef str name
    cdef uint64_t number
    cdef uint64_t first_number
    cdef uint64_t end          # size of the file up to its last whole record
    cdef uint64_t behind       # that was when the device was last handed what it holds
    cdef SegmentScan scan      # of what was written up to the end: nobody has to read it again for its sidecar
    cdef bint dirty            # bytes after the end may lie in the file
    cdef bint closed

    cdef int compare(self, uint64_t end, bint exact) except -1


cdef class JournalWriter(InputSink):
    cdef readonly str boot_id
    cdef readonly uint64_t next_number       # of the next record appended
    cdef readonly uint64_t committed_number  # last record that commit() wrote
    cdef readonly uint64_t durable_number    # last record that sync() made safe
    cdef readonly uint64_t lost              # inputs that found the buffer full
    cdef readonly uint64_t shadows_lost   # answers of shadows that found no room
    cdef readonly uint64_t labels_lost    # resolved labels that found no room
    cdef readonly uint64_t watches_lost   # words on live quotes that found none
    cdef readonly uint64_t commits
    cdef readonly uint64_t syncs
    cdef readonly uint64_t failures          # commits and syncs that the disk refused
    cdef readonly uint64_t segment           # number of the segment under way
    cdef readonly bint power_loss
    cdef readonly str lost_segment           # one whose file is not what was written; empty: none is known
    cdef object _storage
    cdef object _state
    cdef object _engine
    cdef uint8_t* _data
    cdef uint64_t _capacity
    cdef uint64_t _used          # bytes in _data
    cdef uint64_t _written       # of which are in the file; kept until durable when power_loss
    cdef uint64_t _base          # position of _data[0] in the run of all bytes ever appended
    cdef uint64_t _durable_at    # position up to which everything is durable
    cdef uint64_t _segment_bytes
    cdef uint64_t _buffer_bytes
    cdef bint _sync_failed       # nothing after durable_number can be trusted to be on the disk
    cdef bint _closed
    cdef bint _state_due         # what stands before does not tell it, or is too long
    cdef int _states_n           # that stand in the buffer, beside what its marks count
    cdef uint64_t _state_ends[STATES_HELD]
    cdef uint64_t _state_sizes[STATES_HELD]
    cdef uint64_t _states_bytes
    cdef Segment _open           # the segment being written
    cdef bint _gap_due           # inputs were lost, and the journal does not yet say so
    cdef uint64_t _gap_first     # the last run of them
    cdef uint64_t _gap_last
    cdef int64_t _now_ns
    cdef uint64_t _last_sequence
    cdef Signal _signals[SIGNALS_KEPT]
    cdef int _n_signals
    cdef list _words
    cdef uint64_t _learned_since_state     # bytes
    cdef uint64_t _state_bytes
    cdef list _waiting           # segments left and not yet known to be on the disk, their files open
    cdef dict _unfinished        # sealed segments without a sidecar, by name: the scan of what was written, or None
    cdef list _abandoned         # names of segments whose records are written again to later ones
    cdef uint64_t _durable_in    # number of the segment that record durable_number lies in
    cdef SegmentScan _last_scan  # of the segment made last
    cdef uint64_t _names_made    # files created, and how many of them when their names were last synced
    cdef uint64_t _names_synced
    cdef list _artifacts_due     # models in use whose artifact may not lie in the journal yet
    cdef set _artifacts_kept     # digests whose artifact is known to lie there
    cdef dict _models            # digest to (last record that changed to it, model), as long as a held file names it
    cdef set _models_named       # digests of all since this writer began
    cdef object _lock            # over _open and _waiting; held for no longer than it takes to change them
    cdef object _working         # one of the other threads at a time: syncs, closes, copies
    cdef object _finishing       # one of them makes sidecars

    cpdef int answer(self, sequences, bytes request_id, bytes digest, bytes request, bytes reply) except -1
    cdef bint answer_one(self, uint64_t sequence, str request_id, bytes digest, bytes request, bytes reply) except -1
    cpdef uint64_t commit(self, bint wait=*) except? 0
    cdef bint no_room(self) noexcept
    cdef bint holds_back(self)
    cdef uint64_t pending(self) noexcept
    cdef uint8_t* _append_answer(
        self, uint64_t last_sequence, size_t decisions, const char* request_id, size_t id_size, bytes digest,
        bytes request, bytes reply) except? NULL
    cdef uint8_t* _append(self, int kind, uint64_t sequence, int64_t now_ns, uint64_t length) noexcept nogil
    cdef bint _grow(self, uint64_t capacity) noexcept nogil
    cdef void _close_record(self, uint8_t* record) noexcept nogil
    cdef int _append_bytes(self, int kind, uint64_t sequence, int64_t now_ns, bytes payload) except -1
    cdef void _lose(self, uint64_t sequence) noexcept nogil
    cdef int _name_model(self, model) except -1
    cdef uint64_t _first_number_held(self)
    cdef int _fold(self) except -1
    cdef int _say_gap(self) except -1
    cdef uint64_t _done(self) noexcept nogil
    cdef void _compact(self) noexcept nogil
    cdef int _append_state(self) except -1
    cdef uint64_t _full_at(self) noexcept
    cdef int _append_state_due(self) except -1
    cdef int _write(self, const uint8_t* data, uint64_t size) except -1
    cdef int _write_on(self, const uint8_t* data, uint64_t size) except -1
    cdef int _cut(self) except -1
    cdef int _ready(self) except -1
    cdef int _leave(self) except -1
    cdef int _after_failed_sync(self) except -1
    cdef int _rotate(self) except -1
    cdef Segment _create(self, uint64_t first_number)
    cdef bytes _header(self, Segment segment)
    cdef int _compare(self, Segment segment, uint64_t end, bint exact) except -1
    cdef int _prepare(self) except -1
    cdef int _sync_waiting(self) except -1
    cdef int _sync_file(self, Segment segment) except -1
    cdef int _write_again(self) except -1
    cdef int _put_in_place(self, Segment segment, Segment copy) except -1
    cdef Segment _copy(self, Segment segment)
    cdef int _sync_names(self) except -1
    cdef int _copy_artifacts(self) except -1
