# Held tolerance: adaptive conformal control of the realised share of passed lives; docs/online.md.
from libc.stdint cimport uint8_t, uint16_t, uint64_t

cdef enum HeldBy:              # what the tolerance had to do with a life
    HELD_FREE = 0              # it set the life, or less of it would: the label counts
    HELD_SHORTEST = 1          # the shortest life bound, or there was a decline below it: frozen, but see the module
    HELD_FROZEN = 2            # something else set the life, or there was none

cdef enum:
    # The account reaches down to −20·α. A miss earns rate·α, so that a market which has come to rest waits for its lives no
    # longer than 20/rate misses, whatever it lost before (20 minutes of 8 a second at rate .002). Nearer to 0, and a market
    # that moves by turns is forgiven most of what it takes.
    HELD_REMEMBERED = 20

cdef struct Held:
    double alpha               # in [0, the posture's tolerance]
    double debt                # in [-20 of the posture's tolerances, 0]: what the shortest lives have lost

cdef HeldBy held_by(uint8_t kind, uint16_t binding, uint64_t reasons) noexcept nogil
cdef void held_update(Held* self, double alpha, double rate, HeldBy by, bint hit) noexcept nogil
# What was dumped, under a posture whose tolerance is alpha: never beyond it.
cdef void held_restore(Held* self, double alpha, const Held* dumped) noexcept nogil
