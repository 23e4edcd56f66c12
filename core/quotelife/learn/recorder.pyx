"""What a dataset is made of, taken down while an engine runs: the path of the reference and the decisions asked."""

import numpy as np

from libc.math cimport NAN
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from quotelife.features.schema import NAMES

from quotelife.book.quality cimport QUALITIES, Verdict
from quotelife.engine cimport Engine, InstrumentState
from quotelife.inputs cimport InputSink
from quotelife.records cimport (
    FLAG_LAST, NO_INDEX, QUALITY_GAPPED, QUALITY_GOOD, Decision, Event, Request, is_valid,
)

cdef enum:
    BLOCK = 16384               # rows of decisions in a block
    NUMBERS = 6                 # of a row, beside its features: the order is that of COLUMNS

COLUMNS = ("sigma_ticks", "mid_ticks", "microprice_ticks", "spread_ticks", "reference_ticks", "h_ticks")

cdef int FEATURES = len(NAMES)

cdef struct Point:
    int64_t time_ns
    double mid
    double microprice
    int64_t good

cdef struct Track:              # the path of one instrument
    Point* points
    Py_ssize_t count
    Py_ssize_t room
    int64_t heard_ns            # its last message
    int64_t bad_ns              # time in which it was not GOOD and is again
    int quality


cdef class _Rows:
    # The decisions of one instrument: whole blocks, and the one being filled.
    cdef list blocks
    cdef Py_ssize_t used
    cdef int64_t[::1] now
    cdef int8_t[:, ::1] codes   # side, regime
    cdef double[:, ::1] numbers
    cdef float[:, ::1] x

    def __init__(self):
        self.blocks = []
        self.open()

    cdef int open(self) except -1:
        block = (np.empty(BLOCK, np.int64), np.empty((BLOCK, 2), np.int8), np.empty((BLOCK, NUMBERS)),
                 np.empty((BLOCK, FEATURES), np.float32))
        self.blocks.append(block)
        self.now, self.codes, self.numbers, self.x = block
        self.used = 0
        return 0

    def taken(self):
        ends = [BLOCK] * (len(self.blocks) - 1) + [self.used]
        return tuple(np.concatenate([block[k][:end] for block, end in zip(self.blocks, ends)]) for k in range(4))


cdef class Recorder(InputSink):
    """A sink of ``engine`` that keeps the path of every instrument, and every decision taken on good data.

    A point of the path is the state at the end of a receive stamp, where it is another than before; nobody is answered
    within one. It is not good where the engine's quality is not: from the instant of the verdict, and where messages
    were lost from the last one on that was heard. Memory grows with what is taken down.
    """

    cdef Engine _engine
    cdef Track* _tracks
    cdef uint32_t _n
    cdef list _rows

    def __cinit__(self, Engine engine not None):
        self._engine = engine
        self._n = engine.n_instruments
        self._tracks = <Track*>calloc(max(self._n, 1), sizeof(Track))
        if self._tracks == NULL:
            raise MemoryError
        self._rows = [_Rows() for _ in range(self._n)]

    def __dealloc__(self):
        cdef uint32_t i
        if self._tracks != NULL:
            for i in range(self._n):
                free(self._tracks[i].points)
            free(self._tracks)

    cdef int events(self, const Event* events, Py_ssize_t count, uint64_t first_sequence) except -1:
        cdef Py_ssize_t k
        cdef uint32_t i, instrument, looked_at = NO_INDEX
        for k in range(count):
            instrument = events[k].instrument
            if instrument == NO_INDEX:
                for i in range(self._n):
                    self._look(i, True)
            elif instrument < self._n and instrument != looked_at and events[k].flags & FLAG_LAST:
                self._look(instrument, True)
                looked_at = instrument
        return 0

    cdef int decision(self, const Request* request, const Decision* decision) except -1:
        cdef uint32_t i = request.instrument
        cdef const InstrumentState* state
        cdef _Rows rows
        cdef Py_ssize_t k
        cdef int f
        cdef double bid, ask, bid_lots, ask_lots
        if i >= self._n:
            return 0
        self._look(i, False)
        if decision.quality != QUALITY_GOOD or decision.h_ticks <= 0.0:
            return 0                   # no features: the data, the calendar or the configuration forbids an answer
        rows = self._rows[i]
        if rows.used == BLOCK:
            rows.open()
        k = rows.used
        state = self._engine.states[i]
        bid, bid_lots = state.book.bid_ticks, state.book.bid_lots
        ask, ask_lots = state.book.ask_ticks, state.book.ask_lots
        rows.now[k] = decision.now_ns
        rows.codes[k, 0] = decision.side
        rows.codes[k, 1] = decision.regime
        rows.numbers[k, 0] = decision.sigma_ticks
        rows.numbers[k, 1] = decision.mid_ticks
        rows.numbers[k, 2] = (ask * bid_lots + bid * ask_lots) / (bid_lots + ask_lots)
        rows.numbers[k, 3] = decision.spread_ticks
        rows.numbers[k, 4] = decision.reference_ticks
        rows.numbers[k, 5] = decision.h_ticks
        for f in range(FEATURES):
            rows.x[k, f] = <float>decision.features[f] if is_valid(decision.valid, f) else <float>NAN
        rows.used += 1
        return 0

    cdef int _look(self, uint32_t i, bint heard) except -1:
        # The engine's own verdict on what it now holds, as a point of the path where that is new.
        cdef const InstrumentState* state = self._engine.states[i]
        cdef Track* track = &self._tracks[i]
        cdef int64_t t = self._engine.now_ns, bad_ns = 0, start
        cdef Verdict verdict = self._engine.quality_c(state, &self._engine._policy.instrument[i], t)
        cdef Point point
        cdef int q
        cdef double bid = state.book.bid_ticks, ask = state.book.ask_ticks
        cdef double bid_lots = state.book.bid_lots, ask_lots = state.book.ask_lots
        cdef bint was_good = track.count > 0 and track.points[track.count - 1].good
        point.good = verdict.quality == QUALITY_GOOD
        point.time_ns = t
        point.mid = point.microprice = NAN
        for q in range(QUALITIES):
            if q != QUALITY_GOOD:
                bad_ns += state.quality.time_ns[q]
        if point.good:
            point.mid = 0.5 * (bid + ask)
            point.microprice = (ask * bid_lots + bid * ask_lots) / (bid_lots + ask_lots)
            if was_good and bad_ns > track.bad_ns and track.quality == QUALITY_GOOD:
                # It was silent for so long that it was not good for a while, and nobody looked then.
                start = state.quality.since_ns - (bad_ns - track.bad_ns)
                self._hole(track, start)
            elif not was_good and not heard and state.quality.quality == QUALITY_GOOD:
                point.time_ns = state.quality.since_ns           # the end of the warm-up, not the look at it
            track.bad_ns = bad_ns
        elif track.count and verdict.quality == QUALITY_GAPPED and track.quality != QUALITY_GAPPED:
            # What the lost messages said, and when, nobody knows.
            if not was_good and track.points[track.count - 1].time_ns > track.heard_ns:
                track.count -= 1                                   # silence, as it seemed
            self._hole(track, track.heard_ns + 1)
            point.time_ns = 0
        elif was_good:
            if bad_ns > track.bad_ns and track.quality == QUALITY_GOOD:    # silent before, as above
                self._hole(track, state.quality.since_ns - (bad_ns - track.bad_ns))
            point.time_ns = verdict.since_ns if verdict.since_ns < t else t
        self._add(track, &point)
        track.quality = verdict.quality
        if heard:
            track.heard_ns = t
        return 0

    cdef int _hole(self, Track* track, int64_t start) except -1:
        cdef Point point
        point.time_ns = start
        point.mid = point.microprice = NAN
        point.good = False
        return self._add(track, &point)

    cdef int _add(self, Track* track, const Point* point) except -1:
        cdef Point* grown
        cdef Point* last = track.points + track.count - 1
        cdef Point added = point[0]
        if track.count:
            if same(last, point):
                return 0
            added.time_ns = max(added.time_ns, last.time_ns)
            if added.time_ns == last.time_ns:                      # the same stamp: only its end counts
                track.count -= 1
                if track.count and same(last - 1, point):
                    return 0
        if track.count == track.room:
            track.room = max(2 * track.room, 1024)
            grown = <Point*>realloc(track.points, track.room * sizeof(Point))
            if grown == NULL:
                raise MemoryError
            track.points = grown
        track.points[track.count] = added
        track.count += 1
        return 0

    def path(self, uint32_t i):
        """(time_ns, mid_ticks, microprice_ticks, good) of instrument ``i`` so far, closed behind its last message."""
        if i >= self._n:
            raise IndexError(i)
        cdef Track* track = &self._tracks[i]
        cdef Py_ssize_t k, n = track.count
        cdef bint closing = n > 0 and track.points[n - 1].good
        out = (np.empty(n + closing, np.int64), np.full(n + closing, np.nan), np.full(n + closing, np.nan),
               np.zeros(n + closing, np.bool_))
        cdef int64_t[::1] time = out[0]
        cdef double[::1] mid = out[1]
        cdef double[::1] microprice = out[2]
        cdef uint8_t[::1] good = out[3].view(np.uint8)
        for k in range(n):
            time[k] = track.points[k].time_ns
            mid[k] = track.points[k].mid
            microprice[k] = track.points[k].microprice
            good[k] = track.points[k].good != 0
        if closing:
            time[n] = max(track.heard_ns, track.points[n - 1].time_ns + 1)
        return out

    def rows(self, uint32_t i):
        """The decisions of instrument ``i`` in the order asked: now_ns, side, regime, x and ``COLUMNS`` by name."""
        now, codes, numbers, x = self._rows[i].taken()
        found = {name: np.ascontiguousarray(numbers[:, k]) for k, name in enumerate(COLUMNS)}
        return {"now_ns": now, "side": codes[:, 0].copy(), "regime": codes[:, 1].copy(), "x": x, **found}


cdef bint same(const Point* one, const Point* other) noexcept nogil:
    if one.good != other.good:
        return False
    return not one.good or (one.mid == other.mid and one.microprice == other.microprice)
