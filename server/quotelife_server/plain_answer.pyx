"""The short way of a plain request: from its bytes to an answer that waits for its records.

Plain is what ``RequestReader`` reads: one side of one instrument, nothing asked for beside the answer. It is decided,
counted, kept and noted as ``handlers`` does with every other, through a handful of objects. Whatever is not plain, and
every retry, is handed back before anything has been changed.
"""

from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from quotelife.engine cimport Engine
from quotelife.records cimport BIND_EXPOSURE, DECISION_QUOTE, Decision, DecisionRecord
from quotelife_server.decision_counts cimport DecisionCounts
from quotelife_server.latencies cimport Latencies
from quotelife_server.outgoing cimport Outgoing, Standing, Waiting
from quotelife_server.recent cimport RecentQuotes
from quotelife_server.reply_writer cimport ReplyWriter
from quotelife_server.request_reader cimport PlainRequest, RequestReader
from quotelife_server.short_way cimport ShortWay

from quotelife_server import convert


cdef inline int64_t _steady_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef class PlainAnswers(ShortWay):
    """One thread, the event loop's."""

    cdef object _service
    cdef Engine _engine
    cdef object _ledger
    cdef Outgoing _outgoing                # the same, where it is a journal's
    cdef DecisionCounts _decisions
    cdef Latencies _latencies
    cdef PlainRequest _request             # the ones under way: whoever keeps them copies them
    cdef DecisionRecord _decision
    cdef RequestReader _reader
    cdef dict _under_way                   # requests that are being explained, by id
    cdef ReplyWriter _writer
    cdef str _boot_id

    def __init__(self, service, reader, explainer):
        """``reader``: a ``RequestReader`` of the service's engine."""
        self._service = service
        self._engine = service.engine
        self._ledger = service.ledger
        self._outgoing = service.ledger if isinstance(service.ledger, Outgoing) else None
        self._decisions = service.metrics.decisions
        self._latencies = service.metrics.latencies
        self._request = PlainRequest()
        self._decision = DecisionRecord()
        self._boot_id = service.boot_id
        self._reader = reader
        self._under_way = explainer.under_way
        self._writer = convert.WRITER

    cpdef object answer(self, bytes payload, int64_t now_ns):
        """The answer to the bytes of a ``GetExpiryRequest``, decided now; ``None``: take the long way. Raises
        ``RpcError``."""
        if payload is None:
            raise TypeError("payload: must be bytes")
        cdef int64_t started_ns = _steady_ns()
        cdef bint synchronised = self._service.synchronised
        cdef PlainRequest request = self._request
        if not self._reader.fill(request, payload, now_ns, synchronised):
            return None
        cdef str request_id = request.request_id
        if request_id and (request_id in self._under_way or (
            self._ledger.find(request_id, now_ns) is not None if self._outgoing is None
            else self._outgoing.may_have(request_id, now_ns)
        )):
            return None
        if self._outgoing is None:
            self._ledger.check()
        else:
            self._outgoing.may_decide()
        cdef const Decision *decision = &self._decision.c
        self._engine.decide(request.record, self._decision)
        self._decisions.add(decision.kind, decision.posture_effective, decision.regime)
        if decision.binding & BIND_EXPOSURE:
            self._service.exposure.held_back([request.record], [self._decision], now_ns)
        cdef Waiting waiting = Waiting.__new__(Waiting)
        cdef Standing stands
        cdef RecentQuotes recent
        if decision.kind == DECISION_QUOTE:
            recent = self._service.recent
            recent.keep_plain(request.record, self._decision, payload)
            stands = Standing.__new__(Standing)
            stands.engine = self._engine
            stands.counterparty = request.counterparty
            stands.changes = self._engine.kill_changes_c()
            waiting.stands = stands
        waiting.sequence = decision.input_sequence
        waiting.request_id = request_id
        waiting.digest = request.digest
        waiting.request = payload
        waiting.reply = self._writer.write(
            self._decision, self._boot_id, request_id,
            self._engine.model_of(self._decision).digest, request.tick, request.venue_step_ns, synchronised, False, 0,
            _steady_ns() - started_ns,
        )
        if self._outgoing is None:
            self._ledger.take(waiting, now_ns)
        else:
            self._outgoing.hold(waiting, now_ns)
        self._latencies.observe(_steady_ns() - started_ns)
        return waiting
