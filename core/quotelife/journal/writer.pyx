"""Appends every decision, answer, signal and change of an engine to a journal.

One thread owns a writer: the engine's. Inputs are appended in C to a bounded buffer, and ``commit`` hands the whole of
it to the operating system with one write. What a failing disk does not take stays in the buffer. Everything that waits
for a device is for other threads: ``prepare``, ``sync``, ``finish_segments`` and ``mend``. They take turns, and the
owner waits for none of them: ``commit(wait=False)`` holds back what has to come after their work.

A segment may be taken away under a running process: removed, renamed, cut. ``check``, every sync and the last look
before a segment is closed compare the open file with what its name leads to. While the file is open its content is at
hand: ``mend`` writes it again.

Two durabilities. ``process-crash``: a reply may leave after ``commit``; the bytes are the operating system's and
survive the end of the process. ``power-loss`` (``power_loss=True``): a reply may leave after a ``sync`` that covers it;
bytes are kept in the buffer until then, since after a failed sync nothing that was written before it can be trusted: a
new segment begins and everything not known to be safe is written again (Rebello et al., "Can Applications Recover from
fsync Failures?", USENIX ATC 2020).
"""

import contextlib
import errno
import json
import os
import struct
import threading

from cpython.buffer cimport PyBUF_READ
from cpython.exc cimport PyErr_CheckSignals
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc cimport errno as libc_errno
from libc.stdint cimport UINT64_MAX
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove, memset
from posix.unistd cimport write

from quotelife.checksum cimport crc32c_c
from quotelife.inputs cimport CHANGE_CONFIG, CHANGE_COUNTERPARTIES, CHANGE_LEARNED, CHANGE_MODEL, CHANGE_WATCHED
from quotelife.journal.format cimport (
    HEADER_BYTES, KIND_ANSWER, KIND_BOOT, KIND_CHANGE, KIND_DECISION, KIND_GAP, KIND_LABEL, KIND_REFUSED, KIND_SEAL,
    KIND_SHADOW, KIND_SIGNAL, KIND_STATE, KIND_WATCH, PACKED, POWER_LOSS, RECORD_BYTES_MAX, RECORD_HEADER_BYTES,
    RecordHeader, bitmap_words, padded,
)
from quotelife.records cimport Decision, LabelRecord, Request, ShadowAnswer, WatchRecord

from quotelife.errors import JournalError
from quotelife.features.schema import SCHEMA_HASH, SCHEMA_VERSION
from quotelife.journal.format import FORMAT_VERSION, LAYOUT_HASH, pack_header
from quotelife.journal.index import index_segment, segment_name
from quotelife.journal.state import OperationalState
from quotelife.journal.storage import ARTIFACTS, write_whole

SEGMENT_BYTES = 64 << 20
BUFFER_BYTES = 16 << 20
cdef enum:
    GROWTH_MAX = 4             # rare inputs may stretch the buffer so many times over before they are lost too
    ANSWER_SIZES_BYTES = 24    # at the start of an answer, before the sequences
    UNFINISHED_MAX = 8         # closed segments that may wait for finish_segments(): no further one is closed then,
    STRETCH_MAX = 4            # and the open one grows to so many times its size before nothing more is taken
    STATE_TIMES = 2            # as large as the state that it begins with is a segment at least
    COPY_BYTES = 4 << 20
    REQUEST_WORDS = sizeof(Request) // 8
    DECISION_WORDS = sizeof(Decision) // 8
    PACKED_WORDS_MAX = 1 + (REQUEST_WORDS + DECISION_WORDS + 63) // 64 + REQUEST_WORDS + DECISION_WORDS + 1
    LONG_WRITE_BYTES = 256 << 10   # from here on other threads may run during a write
    BEHIND_BYTES = 8 << 20         # that may gather in memory before the device is handed them
    BEHIND_TIMES = 4               # as much before them is looked at again: the device may not have been done with it
    LEARNED_TIMES = 4              # as many bytes as a state has, of changes of what was learned, before the next
    LEARNED_BYTES_MIN = 1 << 20    # of changes of what was learned between two states


cdef class Segment:
    """A file that is being written, or waits to be synced and closed."""

    def __init__(self, file, str name, uint64_t number, uint64_t first_number):
        self.file = file
        self.descriptor = getattr(file, "descriptor", -1)
        self.name = name
        self.number = number
        self.first_number = first_number
        self.scan = SegmentScan(HEADER_BYTES, first_number)

    cdef int compare(self, uint64_t end, bint exact) except -1:
        # Does its name still lead to it, and is everything there? OSError when not.
        cdef uint64_t held = self.file.measure()
        if held < end or (exact and not self.dirty and held != end):
            raise OSError(errno.ESTALE, f"holds {held} bytes, not the {end} that were written; something changed it")
        return 0


cdef uint64_t _pack(uint64_t* bits, uint64_t* out, uint64_t first, const uint64_t* words, uint64_t n) noexcept nogil:
    # The words that are not zero, and the bits of all of them from that of ``first`` on. How many they are; there is
    # room for one more behind them. No branch depends on what the words are.
    cdef uint64_t k, word, is_set, found = 0
    cdef uint64_t mask = bits[first // 64] if first % 64 else 0
    for k in range(first, first + n):
        word = words[k - first]
        is_set = word != 0
        out[found] = word
        found += is_set
        mask |= is_set << (k % 64)
        if k % 64 == 63:
            bits[k // 64] = mask
            mask = 0
    if (first + n) % 64:
        bits[(first + n) // 64] = mask
    return found


cdef uint64_t _behind_from(Segment segment) noexcept:
    return segment.behind - min(segment.behind, <uint64_t>(BEHIND_TIMES * BEHIND_BYTES))


cdef class JournalWriter(InputSink):
    """See the module. ``next_number`` and ``segment`` are what ``recover`` found; ``boot_id`` is unique to this start.

    ``segment_bytes`` is the size at which a segment is closed, ``buffer_bytes`` bounds what waits for the disk.
    """

    def __cinit__(self):
        self._data = NULL

    def __init__(self, storage, *, str boot_id, uint64_t segment_bytes=SEGMENT_BYTES,
                 uint64_t buffer_bytes=BUFFER_BYTES, bint power_loss=False, uint64_t next_number=1, uint64_t segment=0):
        if self._data != NULL:
            raise JournalError("a writer is initialised once")
        pack_header(1, 1, 0, boot_id, LAYOUT_HASH, bytes(32))
        if buffer_bytes < 65536 or segment_bytes < 4096:
            raise ValueError("a journal needs a buffer of at least 64 KiB and segments of at least 4 KiB")
        self._data = <uint8_t*>malloc(buffer_bytes)
        if self._data == NULL:
            raise MemoryError()
        self._capacity = buffer_bytes
        self._segment_bytes = segment_bytes
        self._buffer_bytes = buffer_bytes
        self._storage = storage
        self.boot_id = boot_id
        self.power_loss = power_loss
        self.next_number = next_number
        self.committed_number = self.durable_number = next_number - 1
        self.segment = self._durable_in = segment
        self.lost_segment = ""
        self._state = OperationalState()
        self._words = []
        self._waiting = []
        self._unfinished = {}
        self._abandoned = []
        self._artifacts_due = []
        self._artifacts_kept = set()
        self._models = {}
        self._models_named = set()
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._finishing = threading.Lock()

    def __dealloc__(self):
        free(self._data)

    # --- appending ------------------------------------------------------------------------------------------------

    cdef uint8_t* _append(self, int kind, uint64_t sequence, int64_t now_ns, uint64_t length) noexcept nogil:
        # Room for a record of that payload, header filled in but for the checksum; NULL when the buffer is full.
        cdef uint64_t size = RECORD_HEADER_BYTES + padded(length)
        cdef uint64_t room = UINT64_MAX
        cdef RecordHeader* header
        if length > RECORD_BYTES_MAX:
            return NULL
        if kind == KIND_SHADOW or kind == KIND_LABEL:
            room = self._buffer_bytes // 2                           # a burst of them leaves room for decisions
        elif kind == KIND_DECISION or kind == KIND_SIGNAL:
            room = self._buffer_bytes - self._buffer_bytes // 8      # the rest is for their answers
        if self._used - self._states_bytes + size > room or self._used + size > self._capacity:
            self._compact()
            if self._used - self._states_bytes + size > room:
                return NULL
        if kind == KIND_STATE:
            if self._states_n == STATES_HELD or not self._grow(self._states_bytes + size + self._buffer_bytes):
                return NULL
        elif self._used + size > self._capacity:
            # Rare, and not to be lost for want of room in a buffer meant for decisions.
            if kind == KIND_ANSWER or not self._grow(max(2 * self._capacity, self._used + size)):
                return NULL
        if now_ns > self._now_ns:
            self._now_ns = now_ns
        header = <RecordHeader*>(self._data + self._used)
        header.length = <uint32_t>length
        header.number = self.next_number
        header.input_sequence = sequence
        header.now_ns = self._now_ns
        header.durable = self.durable_number
        header.kind = kind
        header.flags = POWER_LOSS if self.power_loss else 0
        header.zero = 0
        self._used += size
        if kind == KIND_STATE:
            self._state_ends[self._states_n] = self._base + self._used
            self._state_sizes[self._states_n] = size
            self._states_n += 1
            self._states_bytes += size
        self.next_number += 1
        if size > RECORD_HEADER_BYTES:
            memset(self._data + self._used - 8, 0, 8)
        return <uint8_t*>header

    cdef bint _grow(self, uint64_t capacity) noexcept nogil:
        cdef uint8_t* grown
        if capacity <= self._capacity:
            return True
        if capacity > GROWTH_MAX * self._buffer_bytes + RECORD_BYTES_MAX:
            return False
        grown = <uint8_t*>realloc(self._data, capacity)
        if grown == NULL:
            return False
        self._data = grown
        self._capacity = capacity
        return True

    cdef void _close_record(self, uint8_t* record) noexcept nogil:
        cdef RecordHeader* header = <RecordHeader*>record
        header.crc = crc32c_c(0, record + 4, RECORD_HEADER_BYTES - 4 + padded(header.length))

    cdef int _append_bytes(self, int kind, uint64_t sequence, int64_t now_ns, bytes payload) except -1:
        cdef const unsigned char* raw = payload
        cdef uint8_t* record = self._append(kind, sequence, now_ns, len(payload))
        if record == NULL:
            if kind != KIND_STATE:
                self._lose(sequence)
            return 0
        memcpy(record + RECORD_HEADER_BYTES, raw, len(payload))
        self._close_record(record)
        return 1

    cdef void _lose(self, uint64_t sequence) noexcept nogil:
        self.lost += 1
        if not self._gap_due or sequence < self._gap_first:
            self._gap_first = sequence
        if not self._gap_due or sequence > self._gap_last:
            self._gap_last = sequence
        self._gap_due = True

    cdef uint64_t _done(self) noexcept nogil:
        # Bytes at the start of the buffer that are where they were promised to be.
        if not self.power_loss:
            return self._written
        return min(self._durable_at - self._base, self._written) if self._durable_at > self._base else 0

    cdef void _compact(self) noexcept nogil:
        # Forget what the disk is known to hold.
        cdef uint64_t done = self._done()
        cdef int i, gone = 0
        if done and (self._used - done <= done or done >= self._buffer_bytes // 8):
            memmove(self._data, self._data + done, self._used - done)
            self._base += done
            self._used -= done
            self._written -= done
            while gone < self._states_n and self._state_ends[gone] <= self._base:
                self._states_bytes -= self._state_sizes[gone]
                gone += 1
            self._states_n -= gone
            for i in range(self._states_n):
                self._state_ends[i] = self._state_ends[gone + i]
                self._state_sizes[i] = self._state_sizes[gone + i]

    cdef int decision(self, const Request* request, const Decision* decision) except -1:
        # Packed: some 40 % of its words are zero.
        cdef uint64_t packed[PACKED_WORDS_MAX]
        cdef uint64_t size = 1 + bitmap_words(REQUEST_WORDS + DECISION_WORDS)
        cdef uint8_t* record
        packed[0] = REQUEST_WORDS + DECISION_WORDS
        size += _pack(packed + 1, packed + size, 0, <const uint64_t*>request, REQUEST_WORDS)
        size += _pack(packed + 1, packed + size, REQUEST_WORDS, <const uint64_t*>decision, DECISION_WORDS)
        record = self._append(KIND_DECISION, decision.input_sequence, decision.now_ns, 8 * size)
        if record == NULL:
            self._lose(decision.input_sequence)
            return 0
        (<RecordHeader*>record).flags |= PACKED
        memcpy(record + RECORD_HEADER_BYTES, packed, 8 * size)
        self._close_record(record)
        self._last_sequence = decision.input_sequence
        return 0

    cdef int shadow(self, const ShadowAnswer* answer) except -1:
        # Behind its decision and never without it; for one that finds no room itself nothing is refused.
        cdef uint8_t* record = NULL
        if answer.input_sequence == self._last_sequence:
            record = self._append(KIND_SHADOW, answer.input_sequence, answer.now_ns, sizeof(ShadowAnswer))
        if record == NULL:
            self.shadows_lost += 1
            return 0
        memcpy(record + RECORD_HEADER_BYTES, answer, sizeof(ShadowAnswer))
        self._close_record(record)
        return 0

    cdef int label(self, const LabelRecord* label) except -1:
        # Numbered, so that a reader sees where one found no room; for that nothing is refused.
        cdef uint8_t* record = self._append(KIND_LABEL, label.input_sequence, self._now_ns, sizeof(LabelRecord))
        if record == NULL:
            self.labels_lost += 1
            return 0
        memcpy(record + RECORD_HEADER_BYTES, label, sizeof(LabelRecord))
        self._close_record(record)
        return 0

    cdef int watch(self, const WatchRecord* said) except -1:
        # As a label; what is carried over to the next boot knows of it all the same.
        cdef uint8_t* record = self._append(KIND_WATCH, said.input_sequence, said.at_ns, sizeof(WatchRecord))
        self._words.append((<const char*>said)[:sizeof(WatchRecord)])      # a withdrawal does not wait for the state
        if len(self._words) == SIGNALS_KEPT:
            self._fold()
        if record == NULL:
            self.watches_lost += 1
            self._state_due = True
            return 0
        memcpy(record + RECORD_HEADER_BYTES, said, sizeof(WatchRecord))
        self._close_record(record)
        return 0

    cdef int signal(self, const Signal* signal, uint64_t sequence) except -1:
        cdef uint8_t* record = self._append(KIND_SIGNAL, sequence, signal.receive_ns, sizeof(Signal))
        if record == NULL:
            self._lose(sequence)
        else:
            memcpy(record + RECORD_HEADER_BYTES, signal, sizeof(Signal))
            self._close_record(record)
        self._last_sequence = sequence
        self._signals[self._n_signals] = signal[0]
        self._n_signals += 1
        if self._n_signals == SIGNALS_KEPT:
            self._fold()
        return 0

    cdef int change(self, int kind, dict payload, int64_t now_ns, uint64_t sequence) except -1:
        self._fold()
        self._last_sequence = sequence
        cdef bytes record
        self._state.change(kind, payload, now_ns)
        if kind == CHANGE_WATCHED:         # many, and the state has to write each out too
            quote = self._state.quote_text(payload["quote"])
            record = f'{{"kind":{kind},"payload":{quote},"now_ns":{now_ns}}}'.encode()
        else:
            record = encode({"kind": kind, "payload": payload, "now_ns": now_ns})
        self._append_bytes(KIND_CHANGE, sequence, now_ns, record)
        if kind == CHANGE_LEARNED or kind == CHANGE_COUNTERPARTIES:
            # A restart reads every one since the last state: no more than so many times as much.
            self._learned_since_state += len(record)
            if self._learned_since_state >= max(LEARNED_TIMES * self._state_bytes, <uint64_t>LEARNED_BYTES_MIN):
                self._state_due = True
                self._append_state_due()
        if (kind == CHANGE_CONFIG or kind == CHANGE_MODEL) and self._engine is not None:
            for model in self._engine.served.all():
                self._name_model(model)
        return 0

    cdef int _name_model(self, model) except -1:
        # By the record just appended. Held are those that a file names which may have to be written again; such a file
        # begins with the state, and so with the model before its first record.
        cdef uint64_t first = self._first_number_held(), latest = 0
        self._models_named.add(model.digest)
        self._models[model.digest] = self.next_number - 1, model
        for number, _ in self._models.values():
            if latest < number < first:
                latest = number
        self._models = {digest: held for digest, held in self._models.items() if held[0] >= min(first, latest)}
        self._artifacts_due.append(model)
        return 0

    cdef uint64_t _first_number_held(self):
        # Of the first record that an open file or, with power_loss, the buffer may have to give again.
        cdef Segment segment
        cdef uint64_t first = (self.durable_number if self.power_loss else self.committed_number) + 1
        with self._lock:
            for segment in self._waiting + ([self._open] if self._open is not None else []):
                first = min(first, segment.first_number)
        return first

    cdef int _fold(self) except -1:
        cdef int i
        for i in range(self._n_signals):
            self._state.signal((<const char*>&self._signals[i])[:sizeof(Signal)])
        self._n_signals = 0
        for word in self._words:
            self._state.watch(word)
        self._words.clear()
        return 0

    cdef int _append_state(self) except -1:
        # It is no input: where there is no room for it nothing is lost, and it comes later.
        self._fold()
        cdef bytes record = self._state.to_bytes(self._now_ns)
        self._state_due = not self._append_bytes(KIND_STATE, self._last_sequence, self._now_ns, record)
        if not self._state_due:
            self._learned_since_state = 0
            self._state_bytes = len(record)
        return 0

    cdef int _append_state_due(self) except -1:
        # Only when the one before has left the buffer, however often one becomes due: they are large.
        if self._state_due:
            self._compact()
            if not self._states_n:
                self._append_state()
        return 0

    cdef int _say_gap(self) except -1:
        cdef uint64_t first = self._gap_first, last = self._gap_last
        if self._gap_due and not self.full:
            self._gap_due = False
            self._append_bytes(KIND_GAP, last, self._now_ns, encode(
                {"first": first, "last": last, "reason": "the buffer was full"}))
            self._state_due = True
        return 0

    def begin(self, engine, int64_t now_ns, carried=None):
        """Note the start of ``engine``: boot, configuration, state.

        ``carried`` is the ``OperationalState`` of the boot before: from its first bytes on, the new boot knows what
        the old one knew. Put ``engine.record_to`` and ``carried.restore(engine, now_ns)`` after it, then ``commit``.
        """
        if self._engine is not None:
            raise JournalError("a writer begins once")
        self._engine = engine
        self._last_sequence = engine.input_sequence
        config = engine.config_payload()
        self._append_bytes(KIND_BOOT, self._last_sequence, now_ns, encode({
            "boot_id": self.boot_id, "now_ns": now_ns, "input_sequence": self._last_sequence,
            "durability": "power-loss" if self.power_loss else "process-crash", "schema_version": SCHEMA_VERSION,
            "schema_hash": SCHEMA_HASH, "layout_hash": LAYOUT_HASH.hex(), "format": FORMAT_VERSION,
        }))
        if carried is not None:
            self._state = carried.carried_over(now_ns)
        self.change(CHANGE_CONFIG, config, now_ns, self._last_sequence)
        self._append_state()

    cpdef int answer(self, sequences, bytes request_id, bytes digest, bytes request, bytes reply) except -1:
        """Note one answer: the decisions it tells of, the id to find it by (empty: none) and its bytes both ways.

        Raises ``JournalError`` when the buffer is full, or was for one of the decisions: the answer may not be given.
        """
        cdef uint64_t sequence = 0
        cdef uint8_t* record
        cdef uint8_t* at
        if not isinstance(sequences, (list, tuple)):
            sequences = tuple(sequences)
        for each in sequences:
            sequence = each
            if self._gap_first <= sequence <= self._gap_last:
                raise JournalError(f"the journal's buffer was full: decision {sequence} is not in it")
        record = self._append_answer(
            sequence, len(sequences), request_id, len(request_id), digest, request, reply)
        if record == NULL:
            raise JournalError("the journal's buffer is full; the disk does not take what waits in it")
        at = record + RECORD_HEADER_BYTES + ANSWER_SIZES_BYTES
        for each in sequences:
            sequence = each
            memcpy(at, &sequence, 8)
            at += 8
        self._close_record(record)
        return 0

    cdef bint answer_one(self, uint64_t sequence, str request_id, bytes digest, bytes request, bytes reply) except -1:
        # ``answer`` for one decision; where that raises ``JournalError`` this is False.
        cdef Py_ssize_t id_size
        cdef const char* raw_id = PyUnicode_AsUTF8AndSize(request_id, &id_size)
        cdef uint8_t* record
        if self._gap_first <= sequence <= self._gap_last:
            return False
        record = self._append_answer(sequence, 1, raw_id, id_size, digest, request, reply)
        if record == NULL:
            return False
        memcpy(record + RECORD_HEADER_BYTES + ANSWER_SIZES_BYTES, &sequence, 8)
        self._close_record(record)
        return True

    cdef uint8_t* _append_answer(
            self, uint64_t last_sequence, size_t decisions, const char* request_id, size_t id_size, bytes digest,
            bytes request, bytes reply) except? NULL:
        # All of its record but the decisions' sequences, which stand behind the sizes, and the checksum. NULL when the
        # buffer is full.
        cdef uint32_t sizes[6]
        cdef uint8_t* record
        cdef uint8_t* at
        sizes[0] = <uint32_t>decisions
        sizes[1] = <uint32_t>id_size
        sizes[2] = <uint32_t>len(digest)
        sizes[3] = <uint32_t>len(request)
        sizes[4] = <uint32_t>len(reply)
        sizes[5] = 0
        record = self._append(
            KIND_ANSWER, last_sequence, self._now_ns,
            sizeof(sizes) + 8 * <uint64_t>decisions + id_size + len(digest) + len(request) + len(reply))
        if record == NULL:
            return NULL
        at = record + RECORD_HEADER_BYTES
        memcpy(at, sizes, sizeof(sizes))
        at += sizeof(sizes) + 8 * decisions
        memcpy(at, request_id, sizes[1])
        at += sizes[1]
        memcpy(at, <const char*>digest, sizes[2])
        at += sizes[2]
        memcpy(at, <const char*>request, sizes[3])
        at += sizes[3]
        memcpy(at, <const char*>reply, sizes[4])
        return record

    def refuse(self, sequences):
        """Note that the answers to these decisions were taken back: they were never sent and are not to be found."""
        values = list(sequences)
        if values:
            self._append_bytes(KIND_REFUSED, values[len(values) - 1], self._now_ns,
                               struct.pack(f"<{len(values)}Q", *values))

    def gap(self, uint64_t first, uint64_t last, str reason):
        """Note that inputs ``first`` to ``last`` were served without a journal."""
        self._append_bytes(KIND_GAP, last, self._now_ns, encode({"first": first, "last": last, "reason": reason}))
        self._state_due = True
        self._append_state_due()

    @property
    def pending_bytes(self):
        """Bytes appended and not committed."""
        return self.pending()

    cdef uint64_t pending(self) noexcept:
        return self._used - self._written

    @property
    def held_bytes(self):
        """Bytes in the buffer: not committed, or committed and, with ``power_loss``, not yet known to be safe."""
        return self._used - self._done()

    @property
    def full(self):
        """No room for another decision and its answer: ask the engine nothing that is to be answered."""
        return self.no_room()

    cdef bint no_room(self) noexcept:
        cdef uint64_t bound = self._buffer_bytes - self._buffer_bytes // 8
        if self._used - self._states_bytes + 8192 <= bound:
            return False
        self._compact()
        return self._used - self._states_bytes + 8192 > bound

    @property
    def state(self):
        """The operational state as journaled so far, an ``OperationalState``."""
        self._fold()
        return self._state

    # --- to the disk, by the owner --------------------------------------------------------------------------------

    cpdef uint64_t commit(self, bint wait=True) except? 0:
        """Write everything pending and return the number of the last record written.

        Some things come first and take as long as the disk does: the copy of a new model, with ``power_loss`` the sync
        of the segment before, what ``mend`` does. They are done here, or, not to ``wait``, left to other threads: until
        ``sync`` (or ``prepare``) has been through, everything is held back and ``pending_bytes`` stays.

        Raises ``JournalError`` when the disk does not take it: everything stays pending, in order, for the next try.
        """
        cdef uint64_t number
        if self._closed:
            raise JournalError("the journal is closed")
        if self.lost_segment:
            if not wait:
                raise JournalError(f"{self._storage.where(self.lost_segment)}: is not what was written")
            self.mend()
        try:
            if self._sync_failed:
                self._after_failed_sync()
            self._say_gap()
            self._append_state_due()
            number = self.next_number - 1
            if self._used > self._written:
                if wait:
                    with self._working:
                        self._prepare()
                if self.holds_back():
                    return self.committed_number
                self._ready()
                self._write_on(self._data + self._written, self._used - self._written)
                self._written = self._used
                self.committed_number = number
                self.commits += 1
            self._compact()
        except OSError as error:
            self.failures += 1
            self._cut()
            where = self._storage.where(self._open.name if self._open is not None else "")
            raise JournalError(f"{where}: {error.strerror or error}; the journal keeps "
                               f"{self._used - self._written} bytes and tries again") from error
        if self._open is not None and self._open.end >= self._full_at() and len(self._unfinished) <= UNFINISHED_MAX:
            try:
                self._rotate()
            except OSError:
                self.failures += 1         # what was committed is committed; the next commit tries again
        if wait and len(self._unfinished) > UNFINISHED_MAX:
            self.finish_segments()
        return self.committed_number

    cdef uint64_t _full_at(self) noexcept:
        # It begins with the state. One that is larger than a segment, of many live quotes, is written again when as
        # much has come behind it, not with every commit.
        return max(self._segment_bytes, STATE_TIMES * self._state_bytes)

    @property
    def held_back(self):
        """``commit(wait=False)`` would not write what is pending now."""
        return self.holds_back()

    cdef bint holds_back(self):
        return len(self._artifacts_due) > 0 or (self._open is None and self.power_loss and len(self._waiting) > 0)

    cdef int _write(self, const uint8_t* data, uint64_t size) except -1:
        # One write; more only where the file took less than it was given.
        cdef uint64_t done = 0, taken
        self._open.dirty = True
        while done < size:
            if self._open.descriptor >= 0:
                taken = _append_to(self._open.descriptor, data + done, size - done)
            else:
                taken = self._open.file.write(PyMemoryView_FromMemory(<char*>data + done, size - done, PyBUF_READ))
            if taken == 0:
                raise OSError(errno.EIO, "nothing was written")
            done += taken
        self._open.dirty = False
        return 0

    cdef int _write_on(self, const uint8_t* data, uint64_t size) except -1:
        # Whole records behind those that are there.
        cdef uint64_t begin = self._open.end
        self._write(data, size)
        self._open.end += size
        if self._open.scan is not None and self._open.scan.end == begin:
            try:
                self._open.scan._run(data, size, begin)
            except MemoryError:
                self._open.scan = None     # its sidecar will be made of what is read
        return 0

    cdef int _cut(self) except -1:
        # Take back what a failed write may have left after the last whole record.
        if self._open is not None and self._open.dirty:
            try:
                self._open.file.truncate(self._open.end)
                self._open.dirty = False
            except OSError:
                pass
        return 0

    cdef int _ready(self) except -1:
        # A file whose end is where the next record belongs.
        if self._open is not None and self._open.dirty:
            self._cut()
            if self._open.dirty:
                self._leave()
                if self.holds_back():
                    raise OSError(errno.EAGAIN, "a segment was given up and is to be synced first")
        if self._open is None:
            self._open = self._create(self.committed_number + 1)
        elif self._open.end >= STRETCH_MAX * self._full_at() and len(self._unfinished) > UNFINISHED_MAX:
            raise OSError(errno.EAGAIN, f"{len(self._unfinished)} segments wait to be synced: the disk is too slow")
        if self._open.end == 0:
            header = self._header(self._open)
            self._write(header, len(header))
            self._open.end = len(header)
        return 0

    cdef Segment _create(self, uint64_t first_number):
        name = segment_name(self.segment + 1)
        file = self._storage.create(name)
        self.segment += 1
        self._names_made += 1
        made = Segment(file, name, self.segment, first_number)
        if self._last_scan is not None:
            made.scan.make_room(self._last_scan)
        self._last_scan = made.scan
        return made

    cdef bytes _header(self, Segment segment):
        return pack_header(segment.number, segment.first_number, self._now_ns, self.boot_id, LAYOUT_HASH,
                           bytes.fromhex(SCHEMA_HASH))

    cdef int _leave(self) except -1:
        # Never write to this file again; what it holds up to its end counts, once it is synced.
        with self._lock:
            self._waiting.append(self._open)
            self._open = None
        return 0

    cdef int _after_failed_sync(self) except -1:
        cdef Segment segment
        with self._lock:               # nothing that is not safe counts, nor would a second sync tell the truth
            for segment in self._waiting + ([self._open] if self._open is not None else []):
                segment.file.close()
                if self.power_loss and segment.first_number > self.durable_number:
                    self._abandoned.append(segment.name)
                    self._unfinished.pop(segment.name, None)
                elif segment.name in self._unfinished:
                    self._unfinished[segment.name] = None      # what was written to it may not be there
            self._waiting.clear()
            self._open = None
        if self.power_loss:
            self._written = self._durable_at - self._base if self._durable_at > self._base else 0
            self.committed_number = self.durable_number
        self._sync_failed = False
        return 0

    cdef int _rotate(self) except -1:
        # Seal the segment; the next one begins with the state, so that nothing before it is needed to know it.
        cdef RecordHeader seal
        cdef bytes payload = struct.pack("<QQ", self.committed_number, self._open.end)
        cdef uint8_t raw[RECORD_HEADER_BYTES + 16]
        memset(&seal, 0, sizeof(seal))
        seal.length = 16
        seal.number = self.committed_number + 1
        seal.now_ns = self._now_ns
        seal.input_sequence = self._last_sequence
        seal.durable = self.durable_number
        seal.kind = KIND_SEAL
        seal.flags = POWER_LOSS if self.power_loss else 0
        memcpy(raw, &seal, RECORD_HEADER_BYTES)
        memcpy(raw + RECORD_HEADER_BYTES, <const char*>payload, 16)
        self._close_record(raw)
        if self._open.dirty:
            self._cut()
            if self._open.dirty:
                self._leave()
                return 0
        try:
            self._write_on(raw, sizeof(raw))
        except OSError:
            self._cut()
            raise
        self._unfinished[self._open.name] = self._open.scan
        self._leave()
        if not self._closed:
            self._append_state()
        return 0

    @property
    def models(self):
        """Digests of the models named since this writer began."""
        return set(self._models_named)

    @property
    def first_held(self):
        """Number of the first segment that may not be removed: it is being written, synced or given its sidecar, or,
        with ``power_loss``, the last record that is known to be safe lies in it. Without that one a power cut would
        leave no record, nor the number that the next one has.
        """
        cdef Segment segment
        with self._lock:
            held = [segment.number for segment in self._waiting]
            if self._open is not None:
                held.append(self._open.number)
            held += [int(name.partition(".")[0]) for name in list(self._unfinished)]
            if self.power_loss:
                held.append(self._durable_in)
            return min(held, default=self.segment)

    def take_abandoned(self):
        """Names of the segments, since the last call, of which nobody was told and all is written again to later ones,
        for the caller to remove: those of a failed sync."""
        with self._lock:
            taken, self._abandoned = self._abandoned, []
        return taken

    @property
    def unfinished(self):
        """Closed segments that ``finish_segments`` has not been through yet."""
        return len(self._unfinished)

    def check(self):
        """Compare the files being written with what their names lead to: something may have taken them away.

        ``JournalError`` when it has; every ``commit`` raises it too until ``mend`` has been through.
        """
        cdef Segment segment
        try:
            if self.lost_segment:
                raise OSError(errno.ESTALE, "is not what was written")
            self._storage.hold()
            with self._lock:
                open_ones = list(self._waiting) if self._open is None else [*self._waiting, self._open]
            for segment in open_ones:
                self._compare(segment, segment.end, True)
        except OSError as error:
            raise JournalError(f"{self._storage.where(self.lost_segment)}: {error.strerror or error}") from error

    cdef int _compare(self, Segment segment, uint64_t end, bint exact) except -1:
        try:
            segment.compare(end, exact)
        except OSError:
            if not segment.closed:         # a worker was through with it meanwhile
                self.failures += 1
                self.lost_segment = segment.name
                raise
        return 0

    # --- to the disk, by other threads ----------------------------------------------------------------------------

    def sync(self):
        """Make everything committed safe from a power cut; returns the number of the last record covered.

        May be called from another thread; the GIL is released meanwhile. Raises ``JournalError`` when the disk
        refuses: nothing since the last good sync is known to be safe, and the next ``commit`` writes all of it again
        to a new segment.
        """
        cdef uint64_t number = 0, position = 0, end = 0, holds = 0
        cdef Segment segment, last
        with self._working:
            with self._lock:
                if self._sync_failed:
                    raise JournalError(f"{self._storage.where()}: the last sync failed; commit first")
                number = self.committed_number
                position = self._base + self._written
                segment = self._open
                end = segment.end if segment is not None else 0
                if segment is not None and segment.first_number <= number:
                    holds = segment.number
                elif self._waiting:
                    last = self._waiting[len(self._waiting) - 1]
                    holds = last.number
            try:
                self._prepare()
                self._sync_names()
                if segment is not None and number > self.durable_number:
                    self._sync_file(segment)
                    self._compare(segment, end, False)
            except OSError as error:
                self.failures += 1
                raise JournalError(f"{self._storage.where()}: {error.strerror or error}; nothing since record "
                                   f"{self.durable_number} is known to be safe") from error
            self.syncs += 1
            with self._lock:
                self._durable_in = max(self._durable_in, holds)
                self.durable_number = number
                self._durable_at = position
        return number

    def prepare(self):
        """Do what ``commit(wait=False)`` holds everything back for; returns the number of the last record written.

        ``JournalError`` when the disk refuses.
        """
        try:
            with self._working:
                self._prepare()
        except OSError as error:
            self.failures += 1
            raise JournalError(f"{self._storage.where()}: {error.strerror or error}") from error
        return self.committed_number

    cdef int _prepare(self) except -1:
        # A record that names a model comes after the model, with power_loss a segment after the one before it.
        self._copy_artifacts()
        if self.power_loss:
            self._sync_waiting()
            self._sync_names()
        return 0

    cdef int _sync_waiting(self) except -1:
        cdef Segment segment
        with self._lock:
            waiting = list(self._waiting)
        for segment in waiting:
            self._sync_file(segment)
            self._compare(segment, segment.end, True)
            with self._lock:
                segment.closed = True
                self._waiting.remove(segment)
            segment.file.write_behind(_behind_from(segment))
            segment.file.close()
        return 0

    cdef int _sync_file(self, Segment segment) except -1:
        try:
            segment.file.sync()        # once: a second try would not tell of what the first one lost
        except OSError:
            self._sync_failed = True
            raise
        return 0

    cdef int _sync_names(self) except -1:
        cdef uint64_t made = self._names_made
        if made != self._names_synced:
            try:
                self._storage.sync_names()
            except OSError:
                self._sync_failed = True
                raise
            self._names_synced = made
        return 0

    @property
    def behind_due(self):
        """So much has been written that ``write_behind`` should be called."""
        return self._open is not None and self._open.end - self._open.behind >= BEHIND_BYTES

    def write_behind(self, double pause_s=0.0):
        """Hand the device what has been written to the open segment, and give its memory back; returns the bytes of the
        segment. Any thread: it takes some milliseconds, and ``pause_s`` after every megabyte.

        Left to itself the system gathers half a minute of records, writes them in one go, for which a ``commit`` may
        have to wait, and keeps them for readers that do not come, at the cost of memory that is new to each of them.
        """
        cdef Segment segment = self._open
        if segment is None:
            return 0
        begin = _behind_from(segment)
        segment.behind = segment.end
        segment.file.write_behind(begin, pause_s)
        return segment.behind

    def finish_segments(self, double pause_s=0.0):
        """Sync segments that were rotated out and write their sidecars; any thread. Returns how many were finished.

        ``pause_s``: between pieces of that work, for the owner to have its core and the interpreter; none where half as
        many wait as may: beyond that nothing is taken any more.

        A disk that refuses is left for the next call: a sidecar only saves time, and is made again where it is missing.
        """
        cdef int done = 0
        if not self._finishing.acquire(blocking=False):
            return 0
        try:
            with self._working:
                if self._sync_failed or self.lost_segment:
                    return 0
                due = dict(self._unfinished)
                self._sync_waiting()
            if 2 * len(due) >= UNFINISHED_MAX:
                pause_s = 0.0
            for name, scan in due.items():
                try:
                    index_segment(self._storage, name, scan, pause_s=pause_s)
                except (FileNotFoundError, JournalError):
                    self.failures += 1     # gone or damaged since: verify tells
                del self._unfinished[name]
                done += 1
        except OSError:
            self.failures += 1
        finally:
            self._finishing.release()
        return done

    def mend(self):
        """Write again what was taken away, as far as it is at hand, and copy what is due; no ``commit`` meanwhile.

        The open file still holds its content when its name is gone. From one that was cut, what is left of it is
        kept; with ``power_loss`` the next ``commit`` adds what the buffer holds. ``JournalError`` if the disk refuses.
        """
        with self._finishing, self._working:
            try:
                self._storage.hold()
                self._write_again()
                self._copy_artifacts()
            except OSError as error:
                self.failures += 1
                raise JournalError(f"{self._storage.where(self.lost_segment)}: {error.strerror or error}") from error
        return self.committed_number

    cdef int _write_again(self) except -1:
        # From the first segment that is gone on, all of them: those written later count.
        cdef Segment segment, copy
        cdef int first
        segments = [*self._waiting, self._open] if self._open is not None else list(self._waiting)
        for first, segment in enumerate(segments):
            try:
                segment.compare(segment.end, True)
            except OSError:
                break
        else:
            self.lost_segment = ""
            return 0
        # Whatever took the files may have taken the models that they name.
        self._artifacts_kept.clear()
        for _, model in list(self._models.values()):
            if model not in self._artifacts_due:
                self._artifacts_due.append(model)
        self._copy_artifacts()
        copies = []
        for segment in segments[first:]:
            copies.append(self._copy(segment))
        self._storage.sync_names()
        self._names_synced = self._names_made
        with self._lock:
            for segment, copy in zip(segments[first:], copies):
                self._put_in_place(segment, copy)
        self.lost_segment = ""
        return 0

    cdef int _put_in_place(self, Segment segment, Segment copy) except -1:
        cdef bint whole = copy is not None and copy.end == segment.end
        if segment.name in self._unfinished:
            del self._unfinished[segment.name]
            if whole:
                self._unfinished[copy.name] = copy.scan
        if segment is not self._open:
            self._waiting.remove(segment)
        elif whole:
            self._open = copy
        else:
            self._open = None
            self._state_due = True
            self._sync_failed = True       # with power_loss the buffer still has what is missing
        if copy is not None and copy is not self._open:
            copy.file.close()
        segment.file.close()
        return 0

    cdef Segment _copy(self, Segment segment):
        # What can be read of it in a new file, synced; None where that is nothing.
        cdef Segment copy = None
        cdef SegmentScan scan = SegmentScan(HEADER_BYTES, segment.first_number)
        try:
            while scan.end < segment.end:
                at = scan.end
                block = segment.file.read(at, min(COPY_BYTES, segment.end - at))
                scan.run(block, at)
                if scan.end == at:         # a record longer than that, or the end of what is sound
                    block = segment.file.read(at, segment.end - at)
                    scan.run(block, at)
                if scan.end == at:
                    break
                if copy is None:
                    copy = self._create(segment.first_number)
                    copy.scan = scan
                    _put(copy, self._header(copy))
                _put(copy, memoryview(block)[:scan.end - at])
            if copy is not None:
                copy.file.sync()
        except BaseException:
            if copy is not None:
                copy.file.close()
                with contextlib.suppress(OSError):
                    self._storage.remove(copy.name)
            raise
        return copy

    cdef int _copy_artifacts(self) except -1:
        # Models are few; a journal that names one by its digest alone could not be replayed elsewhere.
        while self._artifacts_due:         # taken from the list last: until then commit() holds back
            model = self._artifacts_due[0]
            if model.digest and model.files and model.digest not in self._artifacts_kept:
                for name in sorted(model.files, key=lambda name: name == "manifest.json"):
                    target = f"{ARTIFACTS}/{model.digest}/{name}"
                    if not self._storage.exists(target) or self._storage.read(target) != model.files[name]:
                        write_whole(self._storage, target, model.files[name])
                # A name may be there and not be safe: the one who made it may not have come further.
                self._storage.sync_names(f"{ARTIFACTS}/{model.digest}/manifest.json")
                self._artifacts_kept.add(model.digest)
            del self._artifacts_due[0]
        return 0

    def remove_model(self, str digest):
        """Remove the copy of a model that no closed segment names, unless it was named since this writer began.

        Returns whether it was removed; raises ``OSError``.
        """
        with self._working:                # while it is held nobody takes a copy that is there for granted
            if digest in self._models_named:
                return False
            for name in reversed(self._storage.below(f"{ARTIFACTS}/{digest}")):
                self._storage.remove(name)
        return True

    def close(self):
        """Commit, seal, sync and index what there is. ``JournalError`` when the disk refuses: call it again then."""
        if self._closed:
            return
        self.commit()
        if self._used > self._written:     # the state, for a segment that is not to be
            self.commit()
        self.sync()
        if self._gap_due or self._state_due:     # until now there was no room for it
            self.commit()
            self.sync()
        try:
            if self._open is not None:
                self._closed = True
                self._rotate()
            with self._working:
                self._sync_waiting()
        except OSError as error:
            self._closed = False
            self.failures += 1
            self._cut()
            where = self._storage.where(self._open.name if self._open is not None else "")
            raise JournalError(f"{where}: {error.strerror or error}") from error
        self._closed = True
        self.finish_segments()


cdef ssize_t _append_to(int descriptor, const uint8_t* data, size_t size) except -1:
    # As ``os.write``, but that others run only during long writes. The page cache takes a few kB in 2 us and 64 kB
    # in 30: who lets go of the interpreter for that may be kept out for a switch interval, 5 ms, by whoever wants it,
    # with answers to hand over. Where the disk has to be waited for it is the owner that waits, either way.
    cdef ssize_t taken
    cdef int error
    while True:
        if size < LONG_WRITE_BYTES:
            taken = write(descriptor, data, size)
            error = libc_errno.errno
        else:
            with nogil:
                taken = write(descriptor, data, size)
                error = libc_errno.errno
        if taken >= 0:
            return taken
        if error != libc_errno.EINTR:
            raise OSError(error, os.strerror(error))
        PyErr_CheckSignals()


cdef int _put(Segment segment, data) except -1:
    rest = memoryview(data)
    while rest:
        taken = segment.file.write(rest)
        if taken <= 0:
            raise OSError(errno.EIO, "nothing was written")
        segment.end += taken
        rest = rest[taken:]
    return 0


def encode(value):
    """``value`` as JSON in UTF-8, keys in their order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
