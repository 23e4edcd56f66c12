# Firm quotes of a short while ago, by decision id.
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from quotelife.records cimport Decision, DecisionRecord, Request, RequestRecord

cdef enum:
    CHUNK = 256                # plain quotes that are given memory together, half a megabyte


cdef struct Plain:
    Request request
    Decision decision
    PyObject *payload          # owned: the bytes of the request


cdef class PlainChunk:
    cdef Plain *slots
    cdef Py_ssize_t first      # of those in use
    cdef Py_ssize_t end

    cdef void drop_first(self) noexcept


cdef class RecentQuotes:
    cdef readonly Py_ssize_t quotes_max
    cdef readonly int64_t keep_ns
    cdef readonly uint64_t evicted         # left before their time, for want of room
    cdef str _boot_id
    cdef list _chunks          # of plain quotes, oldest first, none of them empty
    cdef PlainChunk _spare
    cdef Py_ssize_t _plain
    cdef object _quotes        # all other, by the input sequence of the first decision
    cdef readonly dict _others # that of another side leads to it
    cdef uint64_t _first_whole # of the oldest in _quotes

    cdef int keep_plain(self, RequestRecord request, DecisionRecord decision, bytes payload) except -1
    cdef PlainChunk _writable(self)
    cdef object _find_plain(self, uint64_t sequence)
    cdef int _make_room(self) except -1
    cdef int _drop_oldest(self) except -1
    cdef int _look(self) except -1
