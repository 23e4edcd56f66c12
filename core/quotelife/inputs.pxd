# Who is told of every input of an engine, in the one order in which they were applied: capture and journal.
#
# An engine calls its sinks after it has applied an input, with the input_sequence that the input got. A sink must
# not change the engine and must not fail for want of a disk: it notes its own faults and goes on.
from libc.stdint cimport int64_t, uint64_t

from quotelife.records cimport Decision, Event, LabelRecord, Request, ShadowAnswer, Signal, WatchRecord

cdef enum ChangeKind:
    CHANGE_CONFIG = 1            # {"revision", "digest", "config", "model_digest", "model_revision", "lineup"}
    CHANGE_MODEL = 2             # {"revision", "digest" (of the configuration's), "lineup" (LineUp.to_json), "because"
                                 # ({"what", "verdict", "reason"} of a promotion or rollback, else None)}
    CHANGE_OVERRIDE_SET = 3      # {"id", "posture", "counterparty", "desk", "instrument", "expires_ns"}, names or None
    CHANGE_OVERRIDE_CLEARED = 4  # {"id"}
    CHANGE_KILLED = 5            # {"counterparty" (name, None: everybody), "reason", "source" (KillSource), "since_ns"}
    CHANGE_ENABLED = 6           # {"counterparty", "reason", "source"}
    CHANGE_EVENTS_NAMED = 7      # {"events": [{"id", "event_id", "description", "instruments", "venues"}]}: what events
                                 # of the calendar are called, the id is that of their signals
    CHANGE_STEPPED = 8           # {"group", "down", "source" (StepSource), "reason", "model" (16 digits), "since_ns"}: an
                                 # instrument group steps down to Risk Averse, or returns
    CHANGE_LEARNED = 9           # {"groups": [...]}: Engine.note_learned, what was learned since the last one; of an engine
                                 # that knows it nothing changes
    CHANGE_WATCHED = 10          # one quote is watched from now on: Engine.watch says what the payload holds
    CHANGE_WATCH_UPDATED = 11    # {"quote", "state" (QuoteState), "size_lots" (None: as before)}: what became of it
    CHANGE_WATCH_ACKNOWLEDGED = 12   # {"quote", "number"}: its withdrawal has arrived
    CHANGE_WATCH_LOST = 13       # {"owner", "reason"}: whoever had quotes watched is gone
    CHANGE_OUTCOME = 14          # what became of one quote: Engine.outcome says what the payload holds
    CHANGE_COUNTERPARTIES = 15   # {"counterparties": [...]}: Engine.note_counterparties, what is known of each that has
                                 # changed; of an engine that knows it nothing changes


cdef class InputSink:
    # count events with consecutive numbers from first_sequence on; the array is the caller's and dies with the call.
    cdef int events(self, const Event* events, Py_ssize_t count, uint64_t first_sequence) except -1
    cdef int signal(self, const Signal* signal, uint64_t sequence) except -1
    cdef int timer(self, int64_t now_ns, uint64_t sequence) except -1
    # Time for live quotes alone: Engine.on_watch_timer.
    cdef int watch_timer(self, int64_t now_ns, uint64_t sequence) except -1
    # The decision carries its sequence.
    cdef int decision(self, const Request* request, const Decision* decision) except -1
    # No input: what a shadow made of the decision just told.
    cdef int shadow(self, const ShadowAnswer* answer) except -1
    # It follows from the other inputs and has a number of its own: told before the input that brought it.
    cdef int label(self, const LabelRecord* label) except -1
    # As a label; what comes of a quote just registered, or of a watcher just lost, is told behind that input.
    cdef int watch(self, const WatchRecord* said) except -1
    # A rare input; the payload is JSON-able and written down at once or never.
    cdef int change(self, int kind, dict payload, int64_t now_ns, uint64_t sequence) except -1


cdef class DerivedTap(InputSink):
    cdef list _labels
    cdef list _watches
    cdef list _steps
    cdef list _learned
    cdef list _counterparties


cdef class WatchWord:
    cdef WatchRecord c


cdef class WatchTap(InputSink):
    cdef list _said    # of WatchWord
    cdef object _notify
