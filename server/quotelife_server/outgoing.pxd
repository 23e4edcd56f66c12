# What every answer of a journal's ledger goes through on its way out.
from libc.stdint cimport int64_t, uint64_t

from quotelife.journal.answers cimport AnswerIndex
from quotelife.journal.writer cimport JournalWriter
from quotelife_server.deferred cimport Deferred, Turn
from quotelife_server.reply_store cimport ReplyStore


cdef class Standing:
    cdef object engine
    cdef str counterparty
    cdef uint64_t changes              # of kills in force, as it was decided


cdef class Waiting(Deferred):
    cdef public bytes reply
    cdef readonly object sequences     # input sequences of its decisions, a list or tuple
    cdef readonly str request_id
    cdef readonly bytes digest
    cdef readonly bytes request
    cdef public object stands          # ledger.Stands, or None
    cdef readonly object unanswered    # called where nobody will ever see it, or None
    cdef readonly bint strict
    cdef public object ledger          # whose ``taken_back`` hears of it where it does not stand any more

    cpdef bytes leaving(self)


cdef class Batch:
    cdef public uint64_t number        # of the last record of its answers
    cdef readonly Turn turn
    cdef readonly list waiting


cdef class Outgoing:
    cdef public str fault
    cdef public bint _refuses
    cdef public JournalWriter _writer
    cdef public ReplyStore _replies
    cdef public AnswerIndex _index     # of answers that are not among them
    cdef public Batch _batch
    cdef public bint _scheduled

    cpdef int check(self) except -1
    cdef bint may_have(self, str request_id, int64_t now_ns) except -1
    cpdef Waiting take(self, Waiting waiting, int64_t now_ns)
    cpdef bint _note(self, Waiting waiting) except -1
