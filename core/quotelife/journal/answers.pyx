"""Answers of earlier boots by their request id: one sorted array over all their segments."""

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint64_t

from quotelife.journal.format cimport hash_id

from quotelife.journal.reader import read_one
from quotelife.journal.records import decode_answer


cdef class AnswerIndex:
    """Finds what was answered to a request id before this start.

    24 bytes an answer are held in memory, the answers themselves stay on the disk. A request id that was never seen
    costs one binary search.
    """

    cdef object _storage
    cdef object _refused
    cdef list _files             # (name, boot id)
    cdef object _keep
    cdef const uint64_t[::1] _hash
    cdef const uint64_t[::1] _place   # offset, and above bit 40 the place in _files
    cdef const int64_t[::1] _ns

    def __init__(self, storage, indexes, refused):
        self._storage = storage
        self._refused = refused
        self._files = [(index.name, index.header.boot_id) for index in indexes]
        hashes = [index.id_hash for index in indexes] or [np.empty(0, dtype=np.uint64)]
        places = [index.id_offset | np.uint64(k << 40) for k, index in enumerate(indexes)] or hashes
        times = [index.id_ns for index in indexes] or hashes
        merged = np.concatenate(hashes).astype(np.uint64, copy=False)
        order = np.argsort(merged, kind="stable")      # equal ids stay in the order of time
        self._hash = np.ascontiguousarray(merged[order])
        self._place = np.ascontiguousarray(np.concatenate(places).astype(np.uint64, copy=False)[order])
        self._ns = np.ascontiguousarray(np.concatenate(times).astype(np.int64)[order])

    def __len__(self):
        return self._hash.shape[0]

    def find(self, bytes request_id not None, int64_t since_ns=0):
        """The newest answer to that id given since ``since_ns`` and not taken back, else ``None``.

        Raises ``JournalError`` when its record is damaged, ``OSError``.
        """
        cdef uint64_t wanted = hash_id(request_id, len(request_id))
        cdef Py_ssize_t low = 0, high = self._hash.shape[0], middle
        cdef uint64_t place
        while low < high:                  # the first one beyond
            middle = (low + high) // 2
            if self._hash[middle] <= wanted:
                low = middle + 1
            else:
                high = middle
        while low > 0 and self._hash[low - 1] == wanted:
            low -= 1
            if self._ns[low] < since_ns:
                continue
            place = self._place[low]
            name, boot_id = self._files[place >> 40]
            answer = decode_answer(read_one(self._storage, name, boot_id, place & ((<uint64_t>1 << 40) - 1)))
            if answer.request_id == request_id and self._refused.get(boot_id, set()).isdisjoint(answer.sequences):
                return answer
        return None
