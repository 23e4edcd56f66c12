"""Exponentially weighted correlation of two zero-mean series on a common grid of steps.

xx ← λ·xx + x², likewise yy and xy, λ = e^(−1/steps). Only steps with a non-zero value touch the state.
"""

from libc.math cimport exp, sqrt
from libc.stdint cimport int64_t


cdef void ewma_correlation_init(EwmaCorrelation* self, double steps) noexcept nogil:
    self.decay = 1.0 / steps
    self.xx = 0.0
    self.yy = 0.0
    self.xy = 0.0
    self.active = 0.0
    self.last_step = 0
    self.started = False


cdef void ewma_correlation_add(EwmaCorrelation* self, int64_t step, double x, double y) noexcept nogil:
    cdef double kept
    if x == 0.0 and y == 0.0:
        return
    if self.started and step > self.last_step:
        kept = exp((self.last_step - step) * self.decay)
        self.xx *= kept
        self.yy *= kept
        self.xy *= kept
        self.active *= kept
    if not self.started or step > self.last_step:
        self.last_step = step
    self.started = True
    self.xx += x * x
    self.yy += y * y
    self.xy += x * y
    self.active += 1.0


cdef double ewma_correlation_value(const EwmaCorrelation* self) noexcept nogil:
    cdef double rho
    if not ewma_correlation_known(self):
        return 0.0
    rho = self.xy / (sqrt(self.xx) * sqrt(self.yy))
    return 1.0 if rho > 1.0 else (-1.0 if rho < -1.0 else rho)


cdef double ewma_correlation_n(const EwmaCorrelation* self, int64_t step) noexcept nogil:
    if not self.started:
        return 0.0
    if step < self.last_step:
        step = self.last_step
    return (1.0 + exp(-self.decay)) * self.active * exp((self.last_step - step) * self.decay)


cdef class EwmaCorrelationWindow:
    """Python view, for tests and tools. ``steps``: the time constant in grid steps."""

    def __cinit__(self, double steps):
        if not steps > 0.0:
            raise ValueError("steps must be above 0")
        ewma_correlation_init(&self.c, steps)

    def add(self, int64_t step, double x, double y):
        """The two values of a grid step; steps never given are idle."""
        ewma_correlation_add(&self.c, step, x, y)

    @property
    def correlation(self):
        """In [−1, 1], ``None`` while either variance is zero."""
        return ewma_correlation_value(&self.c) if ewma_correlation_known(&self.c) else None

    def n(self, int64_t step):
        """Effective number of steps that were not idle."""
        return ewma_correlation_n(&self.c, step)
