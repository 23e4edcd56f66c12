"""Held tolerance: the realised share of granted lives within which the market passed h stays below α,
whatever the model is worth.

    α_{t+1} = clip(α_t + rate·(α − 1{T_h ≤ τ}), 0, α)

after each resolved label: adaptive conformal inference (Gibbs and Candès 2021), one-sided. What a hit takes from α_t,
1/α misses give back, and at α_t = 0 no life is left to lose: over any run of n labels, those of the shortest lives
among them, the hits that count exceed α·n by no more than α/rate, plus those that bring α_t to 0 or were on their way
then. Of hits of both kinds 20·α/rate more are remembered, and must be earned back first. docs/online.md has the worst.

What counts. A life that the tolerance set, or that it would shorten if it were smaller (the longest life, the end of
the grid, expected value): the label counts. A life cut by the client's deadline, by the venue or by a bad edge, or read
from a step table, and every decline but one: frozen. Where the shortest life binds, or a decline because the tolerance
leaves less than it, α_t is frozen too: less of it would change nothing; but then nothing would ever move it again, so
those labels keep an account of their own, in [−20·α, 0]; only what they earn beyond it goes to α_t. Such a decline is
labelled by the shortest life that it refused. docs/online.md says why.
"""

import heapq
from typing import NamedTuple

import numpy as np

from libc.math cimport fmax, fmin
from libc.stdint cimport INT64_MAX, int8_t, int64_t, uint8_t, uint16_t, uint64_t

from quotelife.decision.life cimport LifeResult, PostureLife, choose_life
from quotelife.records cimport (BIND_BELOW_MINIMUM, BIND_CLIENT_DEADLINE, BIND_EDGE, BIND_EXPOSURE, BIND_MARKET,
                                BIND_MIN, BIND_STEP, BIND_VENUE_MAX, BIND_VENUE_MIN, DECISION_DECLINE,
                                DECISION_QUOTE, HORIZONS,
                                WHY_BELOW_MINIMUM, WHY_CLOCK, WHY_DEADLINE_TOO_CLOSE, WHY_EDGE_TOO_SMALL,
                                WHY_NO_VALUE, WHY_NO_VOLATILITY, WHY_STALE_REQUEST, WHY_VENUE_MINIMUM)


FREE, SHORTEST, FROZEN = HELD_FREE, HELD_SHORTEST, HELD_FROZEN
REMEMBERED = HELD_REMEMBERED


cdef enum:
    NOT_TOLERATED = (WHY_CLOCK | WHY_DEADLINE_TOO_CLOSE | WHY_EDGE_TOO_SMALL | WHY_NO_VALUE | WHY_NO_VOLATILITY
                     | WHY_STALE_REQUEST | WHY_VENUE_MINIMUM)      # declines that no tolerance would have prevented


cdef HeldBy held_by(uint8_t kind, uint16_t binding, uint64_t reasons) noexcept nogil:
    if binding & (BIND_CLIENT_DEADLINE | BIND_EDGE | BIND_EXPOSURE | BIND_MARKET | BIND_STEP | BIND_VENUE_MAX
                  | BIND_VENUE_MIN):
        return HELD_FROZEN
    if kind == DECISION_QUOTE:
        return HELD_SHORTEST if binding & (BIND_MIN | BIND_BELOW_MINIMUM) else HELD_FREE
    if reasons & <uint64_t>WHY_BELOW_MINIMUM and not reasons & <uint64_t>NOT_TOLERATED:
        return HELD_SHORTEST
    return HELD_FROZEN


cdef void held_update(Held* self, double alpha, double rate, HeldBy by, bint hit) noexcept nogil:
    cdef double step = rate * (alpha - hit)
    if by == HELD_FROZEN:
        return
    if by == HELD_SHORTEST:
        self.debt += step
        step = fmax(self.debt, 0.0)
        self.debt = fmin(fmax(self.debt, -(HELD_REMEMBERED * alpha)), 0.0)
    self.alpha = fmin(fmax(self.alpha + step, 0.0), alpha)


cdef void held_restore(Held* self, double alpha, const Held* dumped) noexcept nogil:
    self.alpha = fmin(fmax(dumped.alpha, 0.0), alpha)
    self.debt = fmax(fmin(dumped.debt, 0.0), -(HELD_REMEMBERED * alpha))


class HeldLives(NamedTuple):
    """What ``HeldTolerance.lives`` gives, each of shape (n,): the tolerance in force, the life (0: declined), what set
    it, and 1, 0 or −1 for passed within it, not passed, not known. A decline is judged by the shortest life."""

    alpha: np.ndarray
    life_ns: np.ndarray
    by: np.ndarray
    hit: np.ndarray


cdef class HeldTolerance:
    """The tolerance of one posture and instrument group. ``alpha``: the posture's, where it starts and what it never
    exceeds; ``rate``: the step of one label. ``ValueError`` when one is outside (0, 1)."""

    cdef Held c
    cdef double _alpha
    cdef double _rate

    def __init__(self, double alpha, double rate):
        if not (0.0 < alpha < 1.0 and 0.0 < rate < 1.0):
            raise ValueError("alpha and rate must lie between 0 and 1")
        self._alpha = self.c.alpha = alpha
        self._rate = rate
        self.c.debt = 0.0

    @property
    def alpha(self):
        """α_t, in force now."""
        return self.c.alpha

    @property
    def debt(self):
        """The account of the shortest lives, at most 0."""
        return self.c.debt

    def update(self, bint hit, int by=HELD_FREE):
        """One resolved label: was the threshold passed within the life? The new α_t."""
        held_update(&self.c, self._alpha, self._rate, <HeldBy>by, hit)
        return self.c.alpha

    def dump(self):
        """(α_t, account): all that moves, for ``restore``."""
        return self.c.alpha, self.c.debt

    def restore(self, double alpha, double debt):
        """Go on from what was dumped, cut to what this posture allows. ``ValueError`` on what is no number."""
        cdef Held dumped
        if alpha != alpha or debt != debt:
            raise ValueError("a tolerance and its account are numbers")
        dumped.alpha = alpha
        dumped.debt = debt
        held_restore(&self.c, self._alpha, &dumped)

    def lives(self, PostureLife posture, now_ns, p, passage_ns, observed_ns, *, int64_t latency_ns=0, heard_ns=None):
        """Lives of n decisions in order of time, each under the tolerance that the labels resolved by then leave.

        ``now_ns`` (n,), never falling; ``p`` (n, 12) curves; ``passage_ns`` (n,) age at the first passage, the largest
        int64 where none was seen; ``observed_ns`` (n,) age up to which the market was watched: a life that ends later
        without a passage gives no label. Ages count from the decision and ``latency_ns``. A hit is known when its
        instant is over, a miss when the end of the life is. With ``heard_ns`` (m,), the stamps of the market's
        messages, rising, it is known as live: a hit by the next message, a miss by the second after the end of the
        life, since the first could show that one was lost before it. Input weights are left out. ``ValueError`` on
        other shapes.
        """
        cdef const int64_t[::1] now = np.ascontiguousarray(now_ns, dtype=np.int64)
        cdef const double[:, ::1] curve = np.ascontiguousarray(p, dtype=np.float64)
        cdef const int64_t[::1] passage = np.ascontiguousarray(passage_ns, dtype=np.int64)
        cdef const int64_t[::1] observed = np.ascontiguousarray(observed_ns, dtype=np.int64)
        cdef Py_ssize_t n = now.shape[0], i, k
        cdef LifeResult life
        cdef int64_t span
        cdef uint8_t kind
        if (curve.shape[0] != n or curve.shape[1] != HORIZONS or passage.shape[0] != n or observed.shape[0] != n):
            raise ValueError(f"for {n} decisions p must be ({n}, {HORIZONS}), passage_ns and observed_ns ({n},)")
        if np.any(np.diff(now_ns) < 0):
            raise ValueError("decisions must be in order of time")
        out = HeldLives(np.empty(n), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint8),
                        np.full(n, -1, dtype=np.int8))
        cdef double[::1] alpha = out.alpha
        cdef int64_t[::1] lives = out.life_ns
        cdef uint8_t[::1] by = out.by
        cdef int8_t[::1] hit = out.hit
        live = np.ascontiguousarray(now_ns, dtype=np.int64) + latency_ns
        heard = None if heard_ns is None else np.ascontiguousarray(heard_ns, dtype=np.int64)
        open_labels = []

        def resolves(k, age, hit):
            # By when it counts, and in what order: that of the engine, which judges a stamp once it is over.
            at = int(live[k]) + age
            if heard is None:
                heapq.heappush(open_labels, (at, not hit, k))
                return
            # It is settled with a stamp: its own, or where only time went by that of the first message behind it; and
            # a stamp is over when the next one begins.
            order = 1 if hit and age > 0 else 0
            at_ns = at if order else after(at)
            heapq.heappush(open_labels, (after(at_ns), order, at, not hit, k))

        def after(at_ns):
            place = np.searchsorted(heard, at_ns, side="right")
            return int(heard[place]) if place < len(heard) else INT64_MAX

        for i in range(n):
            while open_labels and open_labels[0][0] < now[i] + (heard is not None):
                *_, k = heapq.heappop(open_labels)
                held_update(&self.c, self._alpha, self._rate, <HeldBy>by[k], hit[k] == 1)
            alpha[i] = self.c.alpha
            choose_life(&posture.c, alpha[i], &curve[i, 0], &life)
            kind = DECISION_DECLINE if life.decline else DECISION_QUOTE
            lives[i] = life.life_ns
            by[i] = held_by(kind, life.binding, life.reasons)
            span = posture.c.min_ns if life.decline else life.life_ns
            if passage[i] <= min(span, observed[i]):
                hit[i] = 1
                resolves(i, passage[i], True)
            elif observed[i] >= span:
                hit[i] = 0
                resolves(i, span, False)
        while open_labels:
            *_, k = heapq.heappop(open_labels)
            held_update(&self.c, self._alpha, self._rate, <HeldBy>by[k], hit[k] == 1)
        return out
