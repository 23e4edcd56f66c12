"""Exponentially weighted time mean of a piecewise constant process, unbiased from the first moment on.

mean(t) = ∫ x(u)·e^(−(t−u)/W) du / ∫ e^(−(t−u)/W) du over the observed time.
"""

from libc.math cimport expm1
from libc.stdint cimport int64_t


cdef void ewma_mean_init(EwmaMean* self, int64_t window_ns) noexcept nogil:
    self.window_s = window_ns * 1e-9
    self.area = 0.0
    self.weight = 0.0
    self.value = 0.0
    self.last_ns = 0
    self.start_ns = 0
    self.started = False


cdef inline void grow(const EwmaMean* self, int64_t t, double* area, double* weight) noexcept nogil:
    # Moments as of t: the old ones decay by e^(-dt/W), the value adds W (1 - e^(-dt/W)) seconds of weight.
    cdef double gone
    area[0] = self.area
    weight[0] = self.weight
    if t > self.last_ns:
        gone = -expm1((self.last_ns - t) * 1e-9 / self.window_s)
        weight[0] += gone * (self.window_s - weight[0])
        area[0] += gone * (self.value * self.window_s - area[0])


cdef void ewma_mean_set(EwmaMean* self, int64_t t, double value) noexcept nogil:
    cdef double area, weight
    if not self.started:
        self.started = True
        self.start_ns = t
        self.last_ns = t
    grow(self, t, &area, &weight)
    self.area = area
    self.weight = weight
    self.value = value
    if t > self.last_ns:
        self.last_ns = t


cdef double ewma_mean_at(const EwmaMean* self, int64_t t) noexcept nogil:
    cdef double area, weight
    if not self.started:
        return 0.0
    grow(self, t, &area, &weight)
    return area / weight if weight > 0.0 else self.value


cdef class EwmaMeanWindow:
    """Python view, for tests and tools."""

    def __cinit__(self, int64_t window_ns):
        if window_ns <= 0:
            raise ValueError("window_ns must be above 0")
        ewma_mean_init(&self.c, window_ns)

    def set(self, int64_t t, double value):
        """From ``t`` ns on the process has this value."""
        ewma_mean_set(&self.c, t, value)

    def at(self, int64_t t):
        """The mean at ``t``."""
        return ewma_mean_at(&self.c, t)
