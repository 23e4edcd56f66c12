"""One instrument by itself: a book, its features and its signals, fed from Python.

Tests, notebooks and research read features through this; the engine runs the same C functions.
"""

import numpy as np

from cpython.array cimport array
from libc.math cimport NAN
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from quotelife.book.level_book cimport book_clear, book_free, book_init, book_level, book_quote, book_refresh
from quotelife.features.schema cimport FEATURES
from quotelife.features.state cimport (
    VOLATILITY_INDICES,
    FeatureParams,
    feature_compute,
    feature_on_book,
    feature_on_gap,
    feature_on_level,
    feature_on_signal,
    feature_on_trade,
    feature_remap_desks,
    feature_set_driver,
    feature_sigma,
    feature_state_bytes,
    feature_state_free,
    feature_state_new,
    feature_stress,
    shared_on_signal,
    shared_signals_free,
    shared_signals_new,
)
from quotelife.features.stress cimport (
    STRESS_HAS_DECORRELATION,
    STRESS_HAS_NEWS,
    STRESS_HAS_SPREAD,
    STRESS_HAS_UPDATES,
    STRESS_HAS_VOLATILITY,
    StressInputs,
)
from quotelife.records cimport (
    FEATURES_MAX,
    NO_INDEX,
    SIDE_ASK,
    SIDE_BID,
    SIG_INVENTORY,
    SIG_NEWS,
    SIG_VOLATILITY_INDEX,
    VALID_WORDS,
    Signal,
    is_valid,
)

from quotelife.features.schema import INDEX, NAMES


cdef class FeatureProbe:
    """Features of one instrument. Times are ns above 0, prices ticks, sizes lots.

    ``share_signals_with``: another probe whose news for all and volatility indices this one reads too.
    Raises ``ValueError`` naming the argument that is wrong.
    """

    def __cinit__(self, *, int64_t news_half_life_ns=0, int book_levels_max=4096,
                  FeatureProbe share_signals_with=None):
        cdef FeatureParams params
        if news_half_life_ns < 0:
            raise ValueError("news_half_life_ns must not be negative; 0 means 60 s")
        memset(&params, 0, sizeof(params))
        params.news_half_life_ns = news_half_life_ns
        self.drivers = [None, None]
        self.state = feature_state_new(&params)
        book_init(&self.book, book_levels_max)
        if share_signals_with is None:
            self.shared = shared_signals_new()
        else:
            self.signals_owner = share_signals_with
            self.shared = share_signals_with.shared

    def __dealloc__(self):
        feature_state_free(self.state)
        book_free(&self.book)
        if self.signals_owner is None:
            shared_signals_free(self.shared)

    @property
    def bytes(self):
        """Room reserved for this instrument's features."""
        return feature_state_bytes(self.state)

    def set_driver(self, int slot, FeatureProbe numerator, FeatureProbe denominator=None):
        """Follow ``numerator`` (or the ratio of the two) in ``slot`` 0 or 1; ``None`` unsets."""
        if slot not in (0, 1):
            raise ValueError("slot must be 0 or 1")
        self.drivers[slot] = (numerator, denominator)
        feature_set_driver(self.state, slot, numerator.state if numerator is not None else NULL,
                           denominator.state if denominator is not None else NULL)

    def level(self, int64_t t, int side, int64_t price_ticks, int64_t lots, *, bint last=True):
        """A level's absolute size from a diff message; ``last`` ends the message. Sides: 1 bid, 2 ask."""
        cdef int64_t old
        if side != SIDE_BID and side != SIDE_ASK:
            raise ValueError("side must be 1 (bid) or 2 (ask)")
        old = book_level(&self.book, side, price_ticks, lots)
        feature_on_level(self.state, t, side, price_ticks, old, lots)
        if last:
            self.last(t)

    def snapshot(self, int64_t t, bids, asks):
        """The whole book at once, as (price ticks, lots) pairs: a fresh start, not order flow."""
        book_clear(&self.book)
        for price, lots in bids:
            book_level(&self.book, SIDE_BID, price, lots)
        for price, lots in asks:
            book_level(&self.book, SIDE_ASK, price, lots)
        self.last(t)

    def quote(self, int64_t t, int64_t bid_ticks, int64_t bid_lots, int64_t ask_ticks, int64_t ask_lots):
        """Best bid and offer; a side without size is empty."""
        book_quote(&self.book, self.book.quote_sequence + 1, bid_ticks, bid_lots, ask_ticks, ask_lots)
        self.last(t)

    def last(self, int64_t t):
        """End of a venue message."""
        cdef bint changed = book_refresh(&self.book)
        feature_on_book(self.state, &self.book, t, changed)

    def trade(self, int64_t t, int64_t price_ticks, int64_t lots, int aggressor):
        """``aggressor``: 1 the buyer, 2 the seller."""
        if aggressor != SIDE_BID and aggressor != SIDE_ASK:
            raise ValueError("aggressor must be 1 (buyer) or 2 (seller)")
        feature_on_trade(self.state, t, price_ticks, lots, aggressor)

    def gap(self, int64_t t):
        """Messages were lost; a snapshot has to follow."""
        feature_on_gap(self.state, t)

    cdef int _signal(self, int64_t t, int kind, double value, double value2, source_ns, int64_t ttl_ns, source,
                     bint to_all, uint32_t desk=NO_INDEX) except -1:
        cdef Signal signal
        memset(&signal, 0, sizeof(signal))
        signal.kind = kind
        signal.receive_ns = t
        signal.source_ns = t if source_ns is None else source_ns
        signal.value = value
        signal.value2 = value2
        signal.ttl_ns = ttl_ns
        signal.source = source
        signal.instrument = NO_INDEX
        signal.desk = desk
        if to_all:
            shared_on_signal(self.shared, &signal, t)
        else:
            feature_on_signal(self.state, &signal, t)
        return 0

    def news(self, int64_t t, double score, *, source_ns=None, int64_t ttl_ns=0, bint to_all=False):
        """A sentiment score in [−1, 1], for this instrument or for all."""
        self._signal(t, SIG_NEWS, score, 0.0, source_ns, ttl_ns, 0, to_all)

    def volatility_index(self, int64_t t, double level, *, int index=0, source_ns=None, int64_t ttl_ns=0):
        if not 0 <= index < VOLATILITY_INDICES:
            raise ValueError(f"index must be 0 to {VOLATILITY_INDICES - 1}")
        self._signal(t, SIG_VOLATILITY_INDEX, level, 0.0, source_ns, ttl_ns, index, True)

    def inventory(self, int64_t t, double position_lots, double limit_lots, *, source_ns=None, int64_t ttl_ns=0,
                  uint32_t desk=NO_INDEX):
        """A position and its limit, above 0; of one desk, by its number, or for all desks."""
        if not limit_lots > 0.0:
            raise ValueError("limit_lots must be above 0")
        self._signal(t, SIG_INVENTORY, position_lots, limit_lots, source_ns, ttl_ns, 0, False, desk)

    def remap_desks(self, new_index):
        """Desks have been renumbered: the new number by old number, ``None`` where a desk is gone."""
        cdef array numbers = array("I", [<uint32_t>NO_INDEX if index is None else index for index in new_index])
        feature_remap_desks(self.state, numbers.data.as_uints, len(numbers))

    def sigma(self, int64_t t):
        """Ticks per √s, ``None`` while unknown."""
        cdef double value = feature_sigma(self.state, t)
        return value if value == value else None

    def stress(self, int64_t t, *, int64_t news_fresh_ns=60_000_000_000):
        """What the regime is judged by: only the inputs that are valid, by name."""
        cdef StressInputs inputs
        feature_stress(self.state, self.shared, t, news_fresh_ns, &inputs)
        out = {}
        if inputs.valid & STRESS_HAS_VOLATILITY:
            out["volatility_ratio"] = inputs.volatility_ratio
        if inputs.valid & STRESS_HAS_SPREAD:
            out["spread_volatility_ratio"] = inputs.spread_volatility_ratio
        if inputs.valid & STRESS_HAS_UPDATES:
            out["update_frequency_ratio"] = inputs.update_frequency_ratio
        if inputs.valid & STRESS_HAS_DECORRELATION:
            out["decorrelation_z"] = inputs.decorrelation_z
        if inputs.valid & STRESS_HAS_NEWS:
            out["news_abs"] = inputs.news_abs
        return out

    def vector(self, int64_t t, int side, *, double size_lots=NAN, double h_ticks=1.0, sigma_ticks=None,
               double fill_rate=NAN, double average_size_lots=NAN, int volatility_index=-1, uint32_t desk=NO_INDEX):
        """(values, valid): arrays as long as the schema, as a decision for ``side`` (+1 the desk buys) sees them.

        ``sigma_ticks``: ``None`` takes the instrument's own.
        """
        cdef FeatureQuery query
        cdef double[FEATURES_MAX] out
        cdef uint64_t[VALID_WORDS] valid
        cdef int k
        if side != 1 and side != -1:
            raise ValueError("side must be +1 (the desk buys) or -1 (it sells)")
        query.now_ns = t
        query.side = side
        query.size_lots = size_lots
        query.h_ticks = h_ticks
        query.sigma_ticks = feature_sigma(self.state, t) if sigma_ticks is None else sigma_ticks
        query.fill_rate = fill_rate
        query.average_size_lots = average_size_lots
        query.volatility_index = volatility_index
        query.desk = desk
        feature_compute(self.state, &self.book, self.shared, &query, out, valid)
        return (np.array([out[k] for k in range(FEATURES)]),
                np.array([is_valid(valid, k) for k in range(FEATURES)], dtype=bool))

    def features(self, int64_t t, int side=-1, *, double size_lots=NAN, double h_ticks=1.0, sigma_ticks=None,
                 double fill_rate=NAN, double average_size_lots=NAN, int volatility_index=-1,
                 uint32_t desk=NO_INDEX):
        """Valid features by name. The default side (the desk sells) leaves signed features as they are."""
        values, valid = self.vector(
            t, side, size_lots=size_lots, h_ticks=h_ticks, sigma_ticks=sigma_ticks, fill_rate=fill_rate,
            average_size_lots=average_size_lots, volatility_index=volatility_index, desk=desk)
        return {name: float(values[INDEX[name]]) for name in NAMES if valid[INDEX[name]]}
