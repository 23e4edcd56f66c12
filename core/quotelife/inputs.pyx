"""The door between an engine and whatever records its inputs; see ``inputs.pxd``."""

from enum import IntEnum

import numpy as np

from libc.math cimport NAN
from libc.string cimport memcpy, memset

from quotelife.records import EVENT_DTYPE, LABEL_DTYPE, SHADOW_DTYPE, SIGNAL_DTYPE, WATCH_DTYPE
from quotelife.records cimport NO_INDEX, DecisionRecord, RequestRecord


class Change(IntEnum):
    CONFIG = CHANGE_CONFIG
    MODEL = CHANGE_MODEL
    OVERRIDE_SET = CHANGE_OVERRIDE_SET
    OVERRIDE_CLEARED = CHANGE_OVERRIDE_CLEARED
    KILLED = CHANGE_KILLED
    ENABLED = CHANGE_ENABLED
    EVENTS_NAMED = CHANGE_EVENTS_NAMED
    STEPPED = CHANGE_STEPPED
    LEARNED = CHANGE_LEARNED
    WATCHED = CHANGE_WATCHED
    WATCH_UPDATED = CHANGE_WATCH_UPDATED
    WATCH_ACKNOWLEDGED = CHANGE_WATCH_ACKNOWLEDGED
    WATCH_LOST = CHANGE_WATCH_LOST
    OUTCOME = CHANGE_OUTCOME
    COUNTERPARTIES = CHANGE_COUNTERPARTIES


cdef class InputSink:
    """Takes note of nothing; base of capture and journal."""

    cdef int events(self, const Event* events, Py_ssize_t count, uint64_t first_sequence) except -1:
        return 0

    cdef int signal(self, const Signal* signal, uint64_t sequence) except -1:
        return 0

    cdef int timer(self, int64_t now_ns, uint64_t sequence) except -1:
        return 0

    cdef int watch_timer(self, int64_t now_ns, uint64_t sequence) except -1:
        return 0

    cdef int decision(self, const Request* request, const Decision* decision) except -1:
        return 0

    cdef int shadow(self, const ShadowAnswer* answer) except -1:
        return 0

    cdef int label(self, const LabelRecord* label) except -1:
        return 0

    cdef int watch(self, const WatchRecord* said) except -1:
        return 0

    cdef int change(self, int kind, dict payload, int64_t now_ns, uint64_t sequence) except -1:
        return 0


cdef class DerivedTap(InputSink):
    """Keeps what an engine comes to by itself or notes, until it is taken: labels that it resolves and what it says of
    live quotes, as bytes of ``LABEL_DTYPE`` and ``WATCH_DTYPE``; steps of instrument groups, what was learned and
    what is known of counterparties as (sequence, payload)."""

    def __init__(self):
        self._labels = []
        self._watches = []
        self._steps = []
        self._learned = []
        self._counterparties = []

    cdef int label(self, const LabelRecord* label) except -1:
        self._labels.append((<const char*>label)[:sizeof(LabelRecord)])
        return 0

    cdef int watch(self, const WatchRecord* said) except -1:
        self._watches.append((<const char*>said)[:sizeof(WatchRecord)])
        return 0

    cdef int change(self, int kind, dict payload, int64_t now_ns, uint64_t sequence) except -1:
        if kind == CHANGE_STEPPED:
            self._steps.append((sequence, payload))
        elif kind == CHANGE_LEARNED:
            self._learned.append((sequence, payload))
        elif kind == CHANGE_COUNTERPARTIES:
            self._counterparties.append((sequence, payload))
        return 0

    def labels(self):
        """Those resolved since the last call, in order."""
        found, self._labels = self._labels, []
        return found

    def watches(self):
        """What was said of live quotes since the last call, in order."""
        found, self._watches = self._watches, []
        return found

    def steps(self):
        """Those made since the last call, in order."""
        found, self._steps = self._steps, []
        return found

    def learned(self):
        """What was noted since the last call, in order."""
        found, self._learned = self._learned, []
        return found

    def counterparties(self):
        """What was noted of counterparties since the last call, in order."""
        found, self._counterparties = self._counterparties, []
        return found


cdef class WatchWord:
    """One word of the engine on a live quote: a record of ``WATCH_DTYPE``, field by field."""

    def __init__(self, *, number, at_ns, quote, kind, reason, state, input_sequence=0, life_ns=0, moved_ticks=NAN,
                 value_ticks=NAN, instrument=None, held=False):
        """As left out: what a restart makes of the state of a quote, with no instrument and nothing judged."""
        memset(&self.c, 0, sizeof(WatchRecord))
        self.c.number = number
        self.c.input_sequence = input_sequence
        self.c.at_ns = at_ns
        self.c.quote = quote
        self.c.life_ns = life_ns
        self.c.moved_ticks = moved_ticks
        self.c.value_ticks = value_ticks
        self.c.instrument = NO_INDEX if instrument is None else instrument
        self.c.kind = kind
        self.c.reason = reason
        self.c.state = state
        self.c.held = held

    @property
    def number(self):
        return self.c.number

    @property
    def at_ns(self):
        return self.c.at_ns

    @property
    def quote(self):
        return self.c.quote

    @property
    def life_ns(self):
        return self.c.life_ns

    @property
    def moved_ticks(self):
        return self.c.moved_ticks

    @property
    def value_ticks(self):
        return self.c.value_ticks

    @property
    def instrument(self):
        return self.c.instrument

    @property
    def kind(self):
        return self.c.kind

    @property
    def reason(self):
        return self.c.reason

    @property
    def held(self):
        return self.c.held


cdef class WatchTap(InputSink):
    """Keeps what is said of live quotes until it is taken, and calls ``notify`` when there is something to take.
    That is called from within the engine: it must not call back into it, nor raise."""

    def __init__(self, notify):
        self._notify = notify
        self._said = []

    cdef int watch(self, const WatchRecord* said) except -1:
        cdef WatchWord word = WatchWord.__new__(WatchWord)
        word.c = said[0]
        self._said.append(word)
        if len(self._said) == 1:
            self._notify()
        return 0

    def take(self):
        """What was said since the last call, in order; a list."""
        found, self._said = self._said, []
        return found


cdef class InputTap(InputSink):
    """Hands every input to Python: tools and tests. ``tap(name, sequence, *values)`` is called for each input
    and for each shadow's answer, resolved label and word on a live quote."""

    cdef object _tap

    def __init__(self, tap):
        self._tap = tap

    cdef int events(self, const Event* events, Py_ssize_t count, uint64_t first_sequence) except -1:
        array = np.empty(count, dtype=EVENT_DTYPE)
        cdef unsigned char[::1] raw
        if count:
            raw = array.view(np.uint8)
            memcpy(&raw[0], events, count * sizeof(Event))
        self._tap("events", first_sequence, array)
        return 0

    cdef int signal(self, const Signal* signal, uint64_t sequence) except -1:
        self._tap("signal", sequence, np.frombuffer((<const char*>signal)[:sizeof(Signal)], dtype=SIGNAL_DTYPE)[0])
        return 0

    cdef int timer(self, int64_t now_ns, uint64_t sequence) except -1:
        self._tap("timer", sequence, now_ns)
        return 0

    cdef int watch_timer(self, int64_t now_ns, uint64_t sequence) except -1:
        self._tap("watch_timer", sequence, now_ns)
        return 0

    cdef int decision(self, const Request* request, const Decision* decision) except -1:
        cdef RequestRecord asked = RequestRecord.__new__(RequestRecord)
        cdef DecisionRecord answered = DecisionRecord()
        asked.c = request[0]
        answered.c = decision[0]
        self._tap("decision", decision.input_sequence, asked, answered)
        return 0

    cdef int shadow(self, const ShadowAnswer* answer) except -1:
        self._tap("shadow", answer.input_sequence,
                  np.frombuffer((<const char*>answer)[:sizeof(ShadowAnswer)], dtype=SHADOW_DTYPE)[0])
        return 0

    cdef int label(self, const LabelRecord* label) except -1:
        self._tap("label", label.input_sequence,
                  np.frombuffer((<const char*>label)[:sizeof(LabelRecord)], dtype=LABEL_DTYPE)[0])
        return 0

    cdef int watch(self, const WatchRecord* said) except -1:
        self._tap("watch", said.input_sequence,
                  np.frombuffer((<const char*>said)[:sizeof(WatchRecord)], dtype=WATCH_DTYPE)[0])
        return 0

    cdef int change(self, int kind, dict payload, int64_t now_ns, uint64_t sequence) except -1:
        self._tap("change", sequence, Change(kind), payload, now_ns)
        return 0
