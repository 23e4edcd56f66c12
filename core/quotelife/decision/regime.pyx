"""When the market of an instrument is in STRESS.

Each trigger has its own hysteresis: it fires at once when its input passes the threshold, and is dropped when the
input has stayed below ``exit_fraction`` of the threshold for ``exit_after``. STRESS holds while any trigger does.

An input that is missing says nothing: it neither fires a trigger nor runs its time out. A trigger whose input
stays missing is dropped after ``unknown_release``, so that a driver that is gone for good does not hold the
switch for ever. News is the exception: none alive and younger than ``news_fresh`` is knowledge, and counts as calm.
"""

from typing import NamedTuple

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from quotelife.features.stress cimport (STRESS_HAS_DECORRELATION, STRESS_HAS_NEWS, STRESS_HAS_SPREAD,
                                        STRESS_HAS_UPDATES, STRESS_HAS_VOLATILITY, StressInputs)
from quotelife.records cimport (REGIME_NORMAL, REGIME_STRESS, WHY_DECORRELATION, WHY_HYSTERESIS, WHY_NEWS,
                                WHY_SPREAD_VOLATILITY, WHY_UPDATE_FREQUENCY, WHY_VOLATILITY)

cdef uint64_t WHY[TRIGGERS]
WHY[TRIGGER_VOLATILITY] = WHY_VOLATILITY
WHY[TRIGGER_SPREAD_VOLATILITY] = WHY_SPREAD_VOLATILITY
WHY[TRIGGER_NEWS] = WHY_NEWS
WHY[TRIGGER_DECORRELATION] = WHY_DECORRELATION
WHY[TRIGGER_UPDATE_FREQUENCY] = WHY_UPDATE_FREQUENCY

cdef enum Level:
    UNKNOWN = 0
    CALM = 1
    BETWEEN = 2
    FIRING = 3


cdef inline int _level(bint known, bint firing, bint calm) noexcept nogil:
    return UNKNOWN if not known else FIRING if firing else CALM if calm else BETWEEN


cdef inline int _above(const RegimeParams* params, int trigger, double value, bint known) noexcept nogil:
    return _level(known, value > params.threshold[trigger],
                  value < params.threshold[trigger] * params.exit_fraction)


cdef inline int _news(const RegimeParams* params, const StressInputs* inputs) noexcept nogil:
    cdef double threshold = params.threshold[TRIGGER_NEWS]
    if not inputs.valid & STRESS_HAS_NEWS:
        return CALM
    return _level(True, inputs.news_abs >= threshold, inputs.news_abs < threshold * params.exit_fraction)


cdef int regime_update(RegimeState* state, const RegimeParams* params, const StressInputs* inputs, int64_t now_ns,
                       uint64_t* reasons) noexcept nogil:
    cdef int level[TRIGGERS]
    cdef unsigned bit, before = state.active
    cdef bint firing = False
    cdef int i
    level[TRIGGER_VOLATILITY] = _above(
        params, TRIGGER_VOLATILITY, inputs.volatility_ratio, inputs.valid & STRESS_HAS_VOLATILITY)
    level[TRIGGER_SPREAD_VOLATILITY] = _above(
        params, TRIGGER_SPREAD_VOLATILITY, inputs.spread_volatility_ratio, inputs.valid & STRESS_HAS_SPREAD)
    level[TRIGGER_NEWS] = _news(params, inputs)
    level[TRIGGER_DECORRELATION] = _above(
        params, TRIGGER_DECORRELATION, inputs.decorrelation_z, inputs.valid & STRESS_HAS_DECORRELATION)
    level[TRIGGER_UPDATE_FREQUENCY] = _above(
        params, TRIGGER_UPDATE_FREQUENCY, inputs.update_frequency_ratio, inputs.valid & STRESS_HAS_UPDATES)

    reasons[0] = 0
    for i in range(TRIGGERS):
        bit = 1 << i
        if level[i] == FIRING:
            firing = True
            state.active |= bit
            state.calm &= ~bit
            state.unknown &= ~bit
        elif state.active & bit:
            _fade(state, params, i, level[i], now_ns)
        if state.active & bit:
            reasons[0] |= WHY[i]

    if not state.active:
        return REGIME_NORMAL
    if not before:
        state.entered_ns = now_ns
        state.entries += 1
    if not firing:
        reasons[0] |= WHY_HYSTERESIS
    return REGIME_STRESS


cdef void _fade(RegimeState* state, const RegimeParams* params, int i, int level, int64_t now_ns) noexcept nogil:
    # A trigger that holds but does not fire: run its time out, or start it again.
    cdef unsigned bit = 1 << i
    if level == CALM:
        state.unknown &= ~bit
        if not state.calm & bit:
            state.calm |= bit
            state.since_ns[i] = now_ns
        if now_ns - state.since_ns[i] >= params.exit_after_ns:
            state.active &= ~bit
            state.calm &= ~bit
    elif level == UNKNOWN:
        state.calm &= ~bit
        if not state.unknown & bit:
            state.unknown |= bit
            state.since_ns[i] = now_ns
        if now_ns - state.since_ns[i] >= params.unknown_release_ns:
            state.active &= ~bit
            state.unknown &= ~bit
    else:
        state.calm &= ~bit
        state.unknown &= ~bit


class Verdict(NamedTuple):
    """``RegimeCode`` and ``ReasonFlags`` as numbers."""

    regime: int
    reasons: int


cdef RegimeParams regime_params(settings) except *:
    """From the ``Regimes`` of a configuration."""
    cdef RegimeParams params
    params.threshold[TRIGGER_VOLATILITY] = settings.volatility_ratio
    params.threshold[TRIGGER_SPREAD_VOLATILITY] = settings.spread_volatility_ratio
    params.threshold[TRIGGER_NEWS] = settings.news_score
    params.threshold[TRIGGER_DECORRELATION] = settings.decorrelation_z
    params.threshold[TRIGGER_UPDATE_FREQUENCY] = settings.update_frequency_ratio
    params.news_fresh_ns = settings.news_fresh_ns
    params.exit_after_ns = settings.exit_after_ns
    params.exit_fraction = settings.exit_fraction
    params.unknown_release_ns = settings.unknown_release_ns
    return params


cdef class Regime:
    """One instrument's regime by the very code the engine runs, for tests and tools."""

    def __init__(self, settings):
        """``settings``: the ``Regimes`` of a configuration."""
        self.params = regime_params(settings)
        memset(&self.state, 0, sizeof(RegimeState))

    @property
    def entries(self):
        """Times NORMAL turned into STRESS."""
        return self.state.entries

    @property
    def entered_ns(self):
        """Start of the current or last stress."""
        return self.state.entered_ns

    def update(self, int64_t now_ns, *, volatility_ratio=None, spread_volatility_ratio=None,
               update_frequency_ratio=None, decorrelation_z=None, news_abs=None):
        """One judgement; ``None`` means that the input is missing; news: that none is fresh."""
        cdef StressInputs inputs
        cdef uint64_t reasons = 0
        memset(&inputs, 0, sizeof(StressInputs))
        if volatility_ratio is not None:
            inputs.volatility_ratio = volatility_ratio
            inputs.valid |= STRESS_HAS_VOLATILITY
        if spread_volatility_ratio is not None:
            inputs.spread_volatility_ratio = spread_volatility_ratio
            inputs.valid |= STRESS_HAS_SPREAD
        if update_frequency_ratio is not None:
            inputs.update_frequency_ratio = update_frequency_ratio
            inputs.valid |= STRESS_HAS_UPDATES
        if decorrelation_z is not None:
            inputs.decorrelation_z = decorrelation_z
            inputs.valid |= STRESS_HAS_DECORRELATION
        if news_abs is not None:
            inputs.news_abs = news_abs
            inputs.valid |= STRESS_HAS_NEWS
        regime = regime_update(&self.state, &self.params, &inputs, now_ns, &reasons)
        return Verdict(regime, reasons)
