# What every answer of a journal's ledger goes through on its way out.
from libc.stdint cimport int64_t, uint64_t

from quotelife.engine cimport Engine
from quotelife.journal.answers cimport AnswerIndex
from quotelife.journal.writer cimport JournalWriter
from quotelife_server.deferred cimport Deferred, Turn, tell, tell_outcome
from quotelife_server.latencies cimport Latencies
from quotelife_server.reply_store cimport ReplyStore


cdef class Standing:
    cdef Engine engine
    cdef str counterparty
    cdef uint64_t changes              # of kills in force, as it was decided

    cdef bint stands(self, bytes reply) except -1


cdef class Waiting(Deferred):
    cdef public bytes reply
    cdef uint64_t sequence             # input sequence of its only decision; 0: see ``_sequences``
    cdef object _sequences             # of all its decisions, a list or tuple, or None for none
    cdef readonly str request_id
    cdef readonly bytes digest
    cdef readonly bytes request
    cdef public object stands          # ledger.Stands, or None
    cdef readonly object unanswered    # called where nobody will ever see it, or None
    cdef readonly bint strict
    cdef readonly bint is_replay
    cdef public object ledger          # whose ``taken_back`` hears of it where it does not stand any more

    cpdef bytes leaving(self)


cdef class Batch:
    cdef public uint64_t number        # of the last record of its answers
    cdef readonly Turn turn
    cdef readonly list waiting

    cpdef int release(self) except -1


cdef class JournalFigures:
    cdef public uint64_t bytes
    cdef public uint64_t unjournaled
    cdef public uint64_t refused
    cdef readonly Latencies commits


cdef class Outgoing:
    cdef public str fault
    cdef public bint _refuses
    cdef public bint _syncs
    cdef public JournalWriter _writer
    cdef public ReplyStore _replies
    cdef public AnswerIndex _index     # of answers that are not among them
    cdef public object _call_soon
    cdef public Batch _batch
    cdef public object _held           # deque of Batch: those that a worker thread has to be through for, oldest first
    cdef public bint _scheduled
    cdef readonly object _hasten
    cdef public list _after_write
    cdef public uint64_t _served_first # answers that left and found no room in the journal; 0: none
    cdef public uint64_t _served_last
    cdef public JournalFigures figures
    cdef public int64_t _segment       # number of the one seen under way at the last write; -1: look again

    cdef int may_decide(self) except -1
    cdef bint may_have(self, str request_id, int64_t now_ns) except -1
    cdef int hold(self, Waiting waiting, int64_t now_ns) except -1
    cdef bint note(self, Waiting waiting) except -1
    cdef int commit_soon(self) except -1
    cdef int commit(self) except -1
    cdef int write(self) except -1
    cdef int release(self, uint64_t number) except -1
