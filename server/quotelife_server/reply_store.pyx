"""Replies by request id: the same id with the same content gets the stored reply."""

cimport cython
from cpython.dict cimport PyDict_GetItem
from cpython.ref cimport PyObject
from libc.stdint cimport INT64_MAX, int64_t

from collections import deque

ENTRY_BYTES = 512  # what a stored reply takes beside its own bytes: id, digest, places in table and order
cdef int64_t _ENTRY_BYTES = ENTRY_BYTES
cdef enum:
    AT_ONCE = 256              # that expire drops


@cython.no_gc                  # bytes and texts lead nowhere; millions of these are nothing to look through
cdef class _Entry:
    pass


cdef class ReplyStore:
    """Of a request only a digest is kept. Holds about ``bytes_max`` bytes and no reply longer than ``age_ns_max``; the
    oldest leave first, and those that leave for want of room are counted in ``evicted``. Replies since
    ``held_from_ns`` stay whatever room they take: nobody else could find them yet.
    """

    def __init__(self, int64_t bytes_max, int64_t age_ns_max):
        self._bytes_max = bytes_max
        self.age_ns_max = age_ns_max
        self.held_from_ns = INT64_MAX
        self._entries = {}
        self._order = deque()

    def __len__(self):
        return len(self._entries)

    cdef _Entry _found(self, str request_id, int64_t now_ns):
        cdef PyObject *found = PyDict_GetItem(self._entries, request_id)
        if found == NULL or now_ns - (<_Entry>found).now_ns > self.age_ns_max:
            return None
        return <_Entry>found

    cpdef bint has(self, str request_id, int64_t now_ns) except -1:
        """Is a reply stored under the id?"""
        return self._found(request_id, now_ns) is not None

    cpdef tuple find(self, str request_id, int64_t now_ns):
        """``(digest, reply)`` stored under the id, or ``None``."""
        cdef _Entry entry = self._found(request_id, now_ns)
        return None if entry is None else (entry.digest, entry.reply)

    cpdef int keep(self, str request_id, bytes digest, bytes reply, int64_t now_ns) except -1:
        cdef _Entry oldest
        cdef _Entry entry = _Entry.__new__(_Entry)
        entry.request_id = request_id
        entry.digest = digest
        entry.reply = reply
        entry.now_ns = now_ns
        self.forget(request_id)
        self._entries[request_id] = entry
        self._order.append(entry)
        self.bytes += _ENTRY_BYTES + <int64_t>len(reply)
        while self.bytes > self._bytes_max:
            oldest = self._oldest()
            if oldest is None or oldest.now_ns >= self.held_from_ns:
                return 0
            self._drop(oldest)
            self.evicted += 1
        return 0

    def note_replay(self, str request_id not None):
        """The reply under the id has been given to a retry."""
        cdef PyObject *found = PyDict_GetItem(self._entries, request_id)
        if found != NULL:
            (<_Entry>found).replayed = True

    def was_replayed(self, str request_id not None):
        cdef PyObject *found = PyDict_GetItem(self._entries, request_id)
        return found != NULL and (<_Entry>found).replayed

    cdef _Entry _oldest(self):
        cdef _Entry entry
        while self._order:
            entry = self._order[0]
            if not entry.gone:
                return entry
            self._order.popleft()
            self._gone -= 1
        return None

    def expire(self, int64_t now_ns):
        """Drop what is too old, a few at a time so that a timer tick stays short."""
        cdef _Entry oldest
        for _ in range(AT_ONCE):
            oldest = self._oldest()
            if oldest is None or now_ns - oldest.now_ns <= self.age_ns_max:
                return
            self._drop(oldest)

    def oldest_age_ns(self, int64_t now_ns):
        """How far back a retry finds its reply; 0 when there is none."""
        cdef _Entry oldest = self._oldest()
        return 0 if oldest is None else now_ns - oldest.now_ns

    cpdef int forget(self, str request_id) except -1:
        cdef PyObject *found = PyDict_GetItem(self._entries, request_id)
        return 0 if found == NULL else self._drop(<_Entry>found)

    cdef int _drop(self, _Entry entry) except -1:
        del self._entries[entry.request_id]
        self.bytes -= _ENTRY_BYTES + <int64_t>len(entry.reply)
        entry.gone = True          # its place in the order goes when it is the oldest, or with many others
        entry.digest = entry.reply = None
        self._gone += 1
        if self._gone > len(self._entries) + AT_ONCE:
            self._order = deque([each for each in self._order if not (<_Entry>each).gone])
            self._gone = 0
        return 0
