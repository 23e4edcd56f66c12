"""Answers by their request id: those of earlier starts, and of segments that have been closed since.

Entries are kept in runs sorted by hash. A new one is merged with its neighbours until each run is at least twice as
long as the next, so that the number of runs is the logarithm of that of segments. In a run, a table by the first bits
of the hash leads to a bucket of about two entries: a request id that was never seen costs one look at each run.
"""

import time

import numpy as np

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from quotelife.journal.format cimport hash_id

from quotelife.errors import JournalError
from quotelife.journal.reader import read_one
from quotelife.journal.records import decode_answer

cdef enum:
    FILE_SHIFT = 40            # place: offset in the file, and above it the place of the file in the run's list
    ENTRIES = 16_384           # of a run that are made at a time, some 0.2 ms, where there are to be pauses
cdef uint64_t OFFSET_MASK = (<uint64_t>1 << FILE_SHIFT) - 1


cdef class _Run:
    def __init__(self, tuple files, hash, place, ns, double pause_s=0.0):
        cdef uint64_t[::1] values = hash
        cdef uint32_t[::1] first
        cdef uint64_t bucket = 0
        cdef Py_ssize_t k = 0, n = len(hash), stop
        cdef int bits = max(1, (n // 2).bit_length())
        if n >> 32:
            raise ValueError("more answers than an index can hold")
        self.files, self.hash, self.place, self.ns = files, hash, place, ns
        self.last_ns = max((each[2] for each in files), default=0)
        self.shift = 64 - bits
        first = np.empty((1 << bits) + 1, dtype=np.uint32)
        while k < n:
            stop = min(n, k + ENTRIES)
            with nogil:
                while k < stop:
                    while bucket <= values[k] >> self.shift:
                        first[bucket] = k
                        bucket += 1
                    k += 1
            if pause_s:
                time.sleep(pause_s)
        with nogil:
            while bucket < <uint64_t>first.shape[0]:
                first[bucket] = n
                bucket += 1
        self.first = first

    def __len__(self):
        return self.hash.shape[0]

    cdef Py_ssize_t after(self, uint64_t wanted) noexcept nogil:
        # The first entry beyond those of that hash.
        cdef Py_ssize_t low = self.first[wanted >> self.shift], middle
        cdef Py_ssize_t high = self.first[(wanted >> self.shift) + 1]
        while low < high:
            middle = (low + high) // 2
            if self.hash[middle] <= wanted:
                low = middle + 1
            else:
                high = middle
        return low


cdef _Run _of_segments(indexes):
    files = tuple((index.name, index.header.boot_id, index.last_ns) for index in indexes)
    hashes = [index.id_hash for index in indexes] or [np.empty(0, dtype=np.uint64)]
    places = [index.id_offset | np.uint64(k << FILE_SHIFT) for k, index in enumerate(indexes)] or hashes
    times = [index.id_ns for index in indexes] or hashes
    merged = np.concatenate(hashes).astype(np.uint64, copy=False)
    order = np.argsort(merged, kind="stable")      # equal ids stay in the order of time
    return _Run(files, merged[order], np.concatenate(places).astype(np.uint64, copy=False)[order],
                np.concatenate(times).astype(np.int64)[order])


cdef _Run _merged(_Run older, _Run newer, int64_t since_ns, double pause_s):
    # Entries since that time of both; of equal hashes those of the older one come first.
    cdef Py_ssize_t a = 0, b = 0, n = older.hash.shape[0], m = newer.hash.shape[0], k = 0, stop
    both = older.files + newer.files
    kept = tuple(each for each in both if each[2] >= since_ns)
    moved_to = np.zeros(len(both) + 1, dtype=np.uint64)
    moved_to[[at for at, each in enumerate(both) if each[2] >= since_ns]] = np.arange(len(kept), dtype=np.uint64)
    cdef uint64_t[::1] moved = moved_to
    cdef uint64_t place, base = len(older.files)
    out = np.empty(n + m, dtype=np.uint64), np.empty(n + m, dtype=np.uint64), np.empty(n + m, dtype=np.int64)
    cdef uint64_t[::1] hashes = out[0]
    cdef uint64_t[::1] places = out[1]
    cdef int64_t[::1] times = out[2]
    while a < n or b < m:
        stop = min(n + m, a + b + ENTRIES)
        with nogil:
            while a + b < stop:
                if b == m or (a < n and older.hash[a] <= newer.hash[b]):
                    hashes[k], times[k], place = older.hash[a], older.ns[a], older.place[a]
                    a += 1
                else:
                    hashes[k], times[k] = newer.hash[b], newer.ns[b]
                    place = newer.place[b] + (base << FILE_SHIFT)
                    b += 1
                places[k] = place & OFFSET_MASK | moved[place >> FILE_SHIFT] << FILE_SHIFT
                k += times[k] >= since_ns
        if pause_s:
            time.sleep(pause_s)
    return _Run(kept, *(column if k == n + m else column[:k].copy() for column in out), pause_s)


cdef class AnswerIndex:
    """Finds what was answered to a request id.

    ``indexes``: of the segments, oldest first; ``refused``: boot id to sequences whose answers were taken back. About
    28 bytes an answer are held in memory, the answers themselves stay on the disk. One thread finds, one may ``add``.
    """

    def __init__(self, storage, indexes, refused):
        self._storage = storage
        self._refused = refused
        self._removed = set()
        self._runs = (_of_segments(indexes),)

    def __len__(self):
        cdef _Run run
        cdef Py_ssize_t count = 0
        for run in self._runs:
            count += len(run)
        return count

    @property
    def runs(self):
        """How many places are looked at for a request id."""
        return len(self._runs)

    def add(self, index, int64_t since_ns=0, *, double pause_s=0.0):
        """Take in one more segment, and forget what is older than ``since_ns``; with such pauses, in which others may
        have the core."""
        cdef _Run run
        runs = [run for run in self._runs if len(run) and run.last_ns >= since_ns]
        if len(index.id_hash):
            runs.append(_of_segments([index]))
        while len(runs) > 1:
            newer, older = runs.pop(), runs.pop()
            if len(older) >= 2 * len(newer):
                runs += [older, newer]
                break
            runs.append(_merged(older, newer, since_ns, pause_s))
        self._runs = tuple(runs)

    def take_back(self, str boot_id, sequences):
        """The answers to these decisions were never sent."""
        self._refused.setdefault(boot_id, set()).update(sequences)

    def forget(self, str name):
        """That segment is about to be removed, as it should be: its answers count as never given."""
        self._removed.add(name)

    cdef bint may_have(self, str request_id) except -1:
        """False where ``find`` would find nothing whatever the time; of others with few exceptions it is true."""
        cdef Py_ssize_t n, at
        cdef const char* text = PyUnicode_AsUTF8AndSize(request_id, &n)
        cdef uint64_t wanted = hash_id(<const uint8_t*>text, n)
        cdef _Run run
        for run in self._runs:
            at = run.after(wanted)
            if at > 0 and run.hash[at - 1] == wanted:
                return True
        return False

    def find(self, bytes request_id not None, int64_t since_ns=0):
        """The newest answer to that id given since ``since_ns`` and not taken back, else ``None``.

        Raises ``JournalError`` when its record is damaged or its segment gone, ``OSError``.
        """
        cdef uint64_t wanted = hash_id(request_id, len(request_id))
        cdef tuple runs = self._runs
        cdef Py_ssize_t k, at
        cdef uint64_t place
        cdef _Run run
        for k in range(len(runs) - 1, -1, -1):
            run = <_Run>runs[k]
            at = run.after(wanted)
            while at > 0 and run.hash[at - 1] == wanted:
                at -= 1
                if run.ns[at] < since_ns:
                    continue
                place = run.place[at]
                name, boot_id, _ = run.files[place >> FILE_SHIFT]
                if name in self._removed:
                    continue
                try:
                    answer = decode_answer(read_one(self._storage, name, boot_id, place & OFFSET_MASK))
                except FileNotFoundError:
                    raise JournalError(f"{self._storage.where(name)}: is gone, and in it an answer") from None
                refused = self._refused.get(boot_id)
                if answer.request_id == request_id and (refused is None or refused.isdisjoint(answer.sequences)):
                    return answer
        return None
