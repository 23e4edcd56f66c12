"""Firm quotes of a short while ago, by decision id: what a registration or an outcome speaks of.

A decision is kept from when it was taken, whether its answer has left or not, for ``keep_ns`` beyond the end of its
life, and the oldest leave first for want of room. Those of a boot before this one are not here: ``earlier_quotes``.

Most are plain, and of few anything is ever asked. These lie as records side by side, in the order of decisions, and
become a ``RecentQuote`` when somebody asks; all other are one from the start.
"""

from collections import OrderedDict

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport INT64_MAX, UINT64_MAX
from libc.string cimport memcpy

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.records import DecisionCode
from quotelife_server.recent_quote import RecentQuote


cdef class PlainChunk:
    def __cinit__(self):
        self.slots = <Plain *>PyMem_Malloc(CHUNK * sizeof(Plain))
        if self.slots == NULL:
            raise MemoryError()

    def __dealloc__(self):
        while self.first < self.end:
            self.drop_first()
        PyMem_Free(self.slots)

    cdef void drop_first(self) noexcept:
        Py_DECREF(<object>self.slots[self.first].payload)
        self.first += 1


cdef class RecentQuotes:
    """One thread, the event loop's. Decisions come in the order of their input sequences."""

    def __init__(self, str boot_id not None, Py_ssize_t quotes_max, int64_t keep_ns):
        self._boot_id = boot_id
        self.quotes_max = quotes_max
        self.keep_ns = keep_ns
        self._chunks = []
        self._quotes = OrderedDict()
        self._others = {}
        self._first_whole = UINT64_MAX

    def __len__(self):
        return self._plain + <Py_ssize_t>len(self._quotes)

    def keep(self, str rfq_id not None, str quote_id not None, str counterparty not None, requests, decisions,
             packages=()):
        """The sides that are QUOTE, which nobody may change from here on; ``None`` where there is none. ``packages``
        has those that the decisions are of, if any."""
        firm = [place for place, each in enumerate(decisions) if each.kind == DecisionCode.QUOTE]
        if not firm:
            return None
        sides = tuple([requests[place] for place in firm]), tuple([decisions[place] for place in firm])
        parts = sides
        if packages:
            parts = (
                tuple([each for place in firm for each in packages[place].requests]),
                tuple([each for place in firm for each in packages[place].decisions]),
            )
        quote = RecentQuote(self._boot_id, rfq_id, quote_id, counterparty, *sides, *parts)
        first, *others = [decision.input_sequence for decision in quote.decisions]
        self._make_room()
        self._quotes[first] = quote
        for other in others:
            self._others[other] = first
        self._look()
        return quote

    cdef int keep_plain(self, RequestRecord request, DecisionRecord decision, bytes payload) except -1:
        """As ``keep``, of one that is QUOTE; ``payload``: the bytes of its request. What is given is copied."""
        cdef PlainChunk chunk
        cdef Plain *slot
        self._make_room()
        chunk = self._writable()
        slot = chunk.slots + chunk.end
        memcpy(&slot.request, &request.c, sizeof(Request))
        memcpy(&slot.decision, &decision.c, sizeof(Decision))
        slot.payload = <PyObject *>payload
        Py_INCREF(payload)
        chunk.end += 1
        self._plain += 1
        return 0

    cdef PlainChunk _writable(self):
        cdef PlainChunk chunk
        if self._chunks:
            chunk = <PlainChunk>self._chunks[len(self._chunks) - 1]
            if chunk.end < CHUNK:
                return chunk
        chunk = PlainChunk() if self._spare is None else self._spare
        self._spare = None
        self._chunks.append(chunk)
        return chunk

    def find(self, str decision_id not None):
        """The quote that the decision of this id was taken for, with all of its firm sides; ``None`` where it was none
        of this boot, was not firm, or has left."""
        boot_id, _, sequence = decision_id.rpartition("-")
        if boot_id != self._boot_id or not (sequence.isascii() and sequence.isdecimal()):
            return None
        number = int(sequence)
        quote = self._quotes.get(self._others.get(number, number))
        return self._find_plain(number) if quote is None and number < UINT64_MAX else quote

    cdef object _find_plain(self, uint64_t sequence):
        cdef PlainChunk chunk
        cdef Plain *slot
        cdef Py_ssize_t low, high, middle
        for chunk in self._chunks:
            if chunk.slots[chunk.end - 1].decision.input_sequence >= sequence:
                break
        else:
            return None
        low, high = chunk.first, chunk.end - 1
        while low < high:
            middle = (low + high) // 2
            if chunk.slots[middle].decision.input_sequence < sequence:
                low = middle + 1
            else:
                high = middle
        slot = chunk.slots + low
        if slot.decision.input_sequence != sequence:
            return None
        cdef RequestRecord request = RequestRecord.__new__(RequestRecord)
        cdef DecisionRecord decision = DecisionRecord.__new__(DecisionRecord)
        memcpy(&request.c, &slot.request, sizeof(Request))
        memcpy(&decision.c, &slot.decision, sizeof(Decision))
        said = expiry.GetExpiryRequest.FromString(<bytes>slot.payload)
        sides = (request,), (decision,)
        return RecentQuote(self._boot_id, said.rfq_id, said.quote_id, said.counterparty, *sides, *sides)

    def expire(self, int64_t now_ns, int most=1024):
        """Drop what is past keeping, a few at a time so that a timer tick stays short. In the order of decisions: one
        that lives long keeps those behind it for as long."""
        cdef PlainChunk chunk
        cdef int64_t end_ns
        for _ in range(most):
            end_ns = INT64_MAX
            if self._plain:
                chunk = <PlainChunk>self._chunks[0]
            if self._plain and chunk.slots[chunk.first].decision.input_sequence < self._first_whole:
                end_ns = chunk.slots[chunk.first].decision.expiry_ns
            elif self._first_whole != UINT64_MAX:
                end_ns = self._quotes[self._first_whole].expiry_ns
            else:
                return
            if end_ns + self.keep_ns >= now_ns:
                return
            self._drop_oldest()

    cdef int _make_room(self) except -1:
        while self._plain + <Py_ssize_t>len(self._quotes) >= self.quotes_max and (
            self._plain or self._first_whole != UINT64_MAX
        ):
            self._drop_oldest()
            self.evicted += 1
        return 0

    cdef int _drop_oldest(self) except -1:
        cdef PlainChunk chunk
        if self._plain:
            chunk = <PlainChunk>self._chunks[0]
            if chunk.slots[chunk.first].decision.input_sequence < self._first_whole:
                chunk.drop_first()
                self._plain -= 1
                if chunk.first == chunk.end:
                    del self._chunks[0]
                    chunk.first = chunk.end = 0
                    self._spare = chunk
                return 0
        _, quote = self._quotes.popitem(last=False)
        for other in quote.decisions[1:]:
            del self._others[other.input_sequence]
        return self._look()

    cdef int _look(self) except -1:
        self._first_whole = next(iter(self._quotes), UINT64_MAX)
        return 0
