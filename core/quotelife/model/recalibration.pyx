"""Rolling two-parameter recalibration of the adverse-selection curve: what a model's level is worth now.

At each anchor horizon τ_j a pair (a_j, b_j) minimises, over the labels resolved within the window,

    Σ [ln(1 + e^{v}) − y·v] + ridge/2·(a² + (b − 1)²),   v = a + b·logit P(τ_j),   |a| ≤ a_max, b_min ≤ b ≤ b_max

which is Platt's sigmoid on the logit (Platt 1999) shrunk to the identity: no label, no change. Between anchors the pair
is linear in ln τ, beyond them that of the nearest. The map rises in P at every τ and the running maximum is taken over
τ, so the curve still never falls with τ and still falls with h.

Prequential (Dawid 1984): a decision is judged by the pair in force at its time, and that knows nothing of later labels.
A label is added when its horizon is over, hit or not: hits told at once would count before the misses of the same
decisions and lift the level.

Labels are counted in 64 bins of logit P by 60 parts of the window, so an addition and what leaves the window are
O(1) and a fit takes microseconds however many labels there are. Within a bin the mean logit stands for all. The window
is therefore between 59/60 of ``window_ns`` and all. Sums are whole numbers, and each fit starts from the identity:
the pair is a function of the labels in the window alone.
"""

import struct
from base64 import b64decode

import numpy as np

from libc.math cimport exp, fabs, isnan, log, log1p
from libc.stdint cimport int8_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from quotelife.model.curve cimport curve_enforce
from quotelife.records cimport HORIZONS

from quotelife.records import HORIZONS_NS

ANCHORS_NS = (500_000_000, 2_000_000_000)
UNKNOWN = -1           # a label that will never be known: censored

cdef double Z_MAX = 16.0               # of |logit P|: beyond it P is read as if there
cdef double BIN_LOW = -12.0            # the first and the last bin hold what lies beyond, too
cdef double BINS_PER_LOGIT = 4.0
cdef double FIXED = 16777216.0         # 2^24
cdef int NEWTON_STEPS = 50
cdef int HALVINGS = 40
cdef double CONVERGED = 1e-13           # of what a step would gain beside the loss: rounding hides less
LOGIT_MAX = Z_MAX
PART_LABELS_MAX = (2**31 - 1) // CALIBRATION_BUCKETS      # so that no total overflows
_CELL = struct.Struct("<BBiiq")          # anchor, bin, labels, hits, sum of logits


cdef inline double logit_of(double p) noexcept nogil:
    cdef double z
    if p <= 0.0:
        return -Z_MAX
    if p >= 1.0:
        return Z_MAX
    z = log(p / (1.0 - p))
    return -Z_MAX if z < -Z_MAX else Z_MAX if z > Z_MAX else z


cdef void calibrate_curve(const AnchorGrid* grid, const CalibrationPair* pair, double* p) noexcept nogil:
    cdef const CalibrationPair* low
    cdef const CalibrationPair* high
    cdef double a, b
    cdef int k
    cdef bint identity = True
    for k in range(grid.anchors):
        identity = identity and pair[k].a == 0.0 and pair[k].b == 1.0
    if identity:
        return
    for k in range(HORIZONS):
        if p[k] >= 1.0:                # passed already, or certain
            continue
        low = &pair[grid.low[k]]
        high = &pair[grid.high[k]]
        a = low.a + grid.share[k] * (high.a - low.a)
        b = low.b + grid.share[k] * (high.b - low.b)
        p[k] = 1.0 / (1.0 + exp(-(a + b * logit_of(p[k]))))
    curve_enforce(p)


cdef struct Loss:
    double value
    double g_a
    double g_b
    double h_aa
    double h_ab
    double h_bb


cdef void loss_at(const LabelBucket* labels, double ridge, double a, double b, Loss* out) noexcept nogil:
    cdef const LabelCell* cell
    cdef double z, v, e, p, weight
    cdef int i
    out.value = 0.5 * ridge * (a * a + (b - 1.0) * (b - 1.0))
    out.g_a = ridge * a
    out.g_b = ridge * (b - 1.0)
    out.h_aa = out.h_bb = ridge
    out.h_ab = 0.0
    for i in range(CALIBRATION_BINS):
        cell = &labels.bin[i]
        if cell.n == 0:
            continue
        z = <double>cell.z / FIXED / cell.n
        v = a + b * z
        e = exp(-fabs(v))
        p = (1.0 if v >= 0.0 else e) / (1.0 + e)
        out.value += cell.n * (log1p(e) + (v if v > 0.0 else 0.0)) - cell.hits * v
        weight = cell.n * p - cell.hits
        out.g_a += weight
        out.g_b += weight * z
        weight = cell.n * p * (1.0 - p)
        out.h_aa += weight
        out.h_ab += weight * z
        out.h_bb += weight * z * z


cdef double newton(const LabelBucket* labels, double ridge, bint free_a, bint free_b, double* a,
                   double* b) noexcept nogil:
    # Minimise over what is free from where a and b are; the loss there. Convex, so halving the step is all the care.
    cdef Loss now, then
    cdef double da, db, det, step
    cdef int i, j
    loss_at(labels, ridge, a[0], b[0], &now)
    for i in range(NEWTON_STEPS):
        if free_a and free_b:
            det = now.h_aa * now.h_bb - now.h_ab * now.h_ab
            da = (now.h_bb * now.g_a - now.h_ab * now.g_b) / det
            db = (now.h_aa * now.g_b - now.h_ab * now.g_a) / det
        else:
            da = now.g_a / now.h_aa if free_a else 0.0
            db = now.g_b / now.h_bb if free_b else 0.0
        if not da * now.g_a + db * now.g_b > CONVERGED * (1.0 + now.value):
            break
        step = 1.0
        for j in range(HALVINGS):
            loss_at(labels, ridge, a[0] - step * da, b[0] - step * db, &then)
            if then.value <= now.value:
                break
            step *= 0.5
        else:
            break
        a[0] -= step * da
        b[0] -= step * db
        now = then
    return now.value


cdef void bucket_add(LabelBucket* self, double p, bint hit) noexcept nogil:
    cdef double z = logit_of(p)
    cdef int i = <int>((z - BIN_LOW) * BINS_PER_LOGIT)
    i = 0 if z < BIN_LOW else CALIBRATION_BINS - 1 if i >= CALIBRATION_BINS else i
    self.n += 1
    self.bin[i].n += 1
    self.bin[i].hits += hit
    self.bin[i].z += <int64_t>(z * FIXED)


cdef Rolling* rolling_new(const Rolling* like) noexcept nogil:
    cdef Rolling* self = <Rolling*>calloc(1, sizeof(Rolling))
    cdef int j
    if self == NULL:
        return NULL
    self.grid = like.grid
    self.window_ns = like.window_ns
    self.bucket_ns = like.bucket_ns
    self.refit_ns = like.refit_ns
    self.ridge = like.ridge
    self.a_max = like.a_max
    self.b_min = like.b_min
    self.b_max = like.b_max
    for j in range(self.grid.anchors):
        self.pair[j].b = 1.0
    self.anchor = <AnchorLabels*>calloc(self.grid.anchors, sizeof(AnchorLabels))
    if self.anchor == NULL:
        free(self)
        return NULL
    return self


cdef void rolling_free(Rolling* self) noexcept nogil:
    if self != NULL:
        free(self.anchor)
        free(self)


cdef bytes rolling_part(const Rolling* self, int64_t bucket):
    cdef const LabelBucket* part
    cdef const LabelCell* cell
    cdef int i, j
    found = []
    if self.bucket - CALIBRATION_BUCKETS < bucket <= self.bucket:
        for j in range(self.grid.anchors):
            part = &self.anchor[j].bucket[bucket_place(bucket)]
            for i in range(CALIBRATION_BINS):
                cell = &part.bin[i]
                if cell.n:
                    found.append(_CELL.pack(j, i, cell.n, cell.hits, cell.z))
    return b"".join(found)


def checked_part(str text not None):
    """The bytes of a part of the window out of base64. ``ValueError`` where this build cannot have written them."""
    part = b64decode(text, validate=True)
    if len(part) % _CELL.size:
        raise ValueError("these are no labels")
    cells = list(_CELL.iter_unpack(part))
    if len({(j, i) for j, i, *_ in cells}) != len(cells) or not all(
        j < len(ANCHORS_NS) and i < CALIBRATION_BINS and 0 <= hits <= n and 0 < n <= PART_LABELS_MAX
        and abs(z) <= n * Z_MAX * FIXED
        for j, i, n, hits, z in cells
    ):
        raise ValueError("these are no labels")
    return part


def checked_number(number):
    """The number of a part of the window. ``ValueError`` where no time of an engine lies in it."""
    number = int(number)
    if not 0 <= number < 1 << 62:
        raise ValueError(f"part {number} of a window lies at no time")
    return number


cdef bint rolling_load(Rolling* self, int64_t bucket, bytes part) except -1:
    cdef LabelBucket* place
    cdef LabelBucket* total
    cdef int i, j
    cdef int32_t n, hits
    cdef int64_t z
    if bucket > self.bucket or bucket <= self.bucket - CALIBRATION_BUCKETS:
        return False
    if part == rolling_part(self, bucket):
        rolling_noted(self, bucket)
        return False
    cells = list(_CELL.iter_unpack(part))
    for j in range(self.grid.anchors):
        place = &self.anchor[j].bucket[bucket_place(bucket)]
        bucket_forget(&self.anchor[j].total, place)
        self.anchor[j].changed = True
    for j, i, n, hits, z in cells:
        place = &self.anchor[j].bucket[bucket_place(bucket)]
        total = &self.anchor[j].total
        place.bin[i].n = n
        place.bin[i].hits = hits
        place.bin[i].z = z
        place.n += n
        total.bin[i].n += n
        total.bin[i].hits += hits
        total.bin[i].z += z
        total.n += n
    rolling_noted(self, bucket)
    return True


cdef void rolling_noted(Rolling* self, int64_t bucket) noexcept nogil:
    cdef LabelBucket* part
    cdef int j
    for j in range(self.grid.anchors):
        part = &self.anchor[j].bucket[bucket_place(bucket)]
        part.noted = part.n


cdef int64_t rolling_hits(const Rolling* self, int place) noexcept nogil:
    cdef int64_t hits = 0
    cdef int i
    for i in range(CALIBRATION_BINS):
        hits += self.anchor[place].total.bin[i].hits
    return hits


cdef void rolling_add(Rolling* self, int64_t now_ns, int place, double p, bint hit) noexcept nogil:
    cdef AnchorLabels* labels = &self.anchor[place]
    if isnan(p):
        return
    rolling_pass(self, now_ns)
    bucket_add(&labels.bucket[bucket_place(self.bucket)], p, hit)
    bucket_add(&labels.total, p, hit)
    labels.changed = True


cdef bint rolling_refit(Rolling* self, int64_t now_ns) noexcept nogil:
    cdef bint fitted = False
    cdef int j
    rolling_pass(self, now_ns)
    if self.fits and now_ns - self.fitted_ns < self.refit_ns:
        return False
    self.fitted_ns = now_ns
    self.fits += 1
    for j in range(self.grid.anchors):
        if self.anchor[j].changed:
            self.anchor[j].changed = False
            rolling_fit(self, j)
            fitted = True
    return fitted


cdef void rolling_pass(Rolling* self, int64_t now_ns) noexcept nogil:
    # Empty the parts of the window that have come to its end.
    cdef LabelBucket* bucket
    cdef LabelBucket* total
    cdef int64_t newest = now_ns // self.bucket_ns, gone
    cdef int i, j
    if not self.began:
        self.began = True
        self.bucket = newest
    if now_ns > self.now_ns:
        self.now_ns = now_ns
    if newest <= self.bucket:
        return
    gone = newest - self.bucket
    for i in range(1, 1 + <int>(gone if gone < CALIBRATION_BUCKETS else CALIBRATION_BUCKETS)):
        for j in range(self.grid.anchors):
            bucket = &self.anchor[j].bucket[bucket_place(self.bucket + i)]
            if bucket.n:
                bucket_forget(&self.anchor[j].total, bucket)
                self.anchor[j].changed = True
    self.bucket = newest


cdef void rolling_fit(Rolling* self, int place) noexcept nogil:
    cdef const LabelBucket* labels = &self.anchor[place].total
    cdef CalibrationPair best
    cdef double a = 0.0, b = 1.0, loss, least = 0.0, edge
    cdef bint found = False
    best.a = 0.0
    best.b = 1.0
    if labels.n:
        newton(labels, self.ridge, True, True, &a, &b)
        if fabs(a) <= self.a_max and self.b_min <= b <= self.b_max:
            best.a = a
            best.b = b
        else:
            # Convex: the best inside the bounds lies on a bound that the free optimum is beyond.
            if fabs(a) > self.a_max:
                best.a = self.a_max if a > 0.0 else -self.a_max
                edge = 1.0
                newton(labels, self.ridge, False, True, &best.a, &edge)
                best.b = self.b_min if edge < self.b_min else self.b_max if edge > self.b_max else edge
                least = newton(labels, self.ridge, False, False, &best.a, &best.b)
                found = True
            if not self.b_min <= b <= self.b_max:
                b = self.b_min if b < self.b_min else self.b_max
                edge = 0.0
                newton(labels, self.ridge, True, False, &edge, &b)
                edge = -self.a_max if edge < -self.a_max else self.a_max if edge > self.a_max else edge
                loss = newton(labels, self.ridge, False, False, &edge, &b)
                if not found or loss < least:
                    best.a = edge
                    best.b = b
    self.pair[place] = best


cdef void bucket_forget(LabelBucket* total, LabelBucket* bucket) noexcept nogil:
    cdef int i
    for i in range(CALIBRATION_BINS):
        total.bin[i].n -= bucket.bin[i].n
        total.bin[i].hits -= bucket.bin[i].hits
        total.bin[i].z -= bucket.bin[i].z
    total.n -= bucket.n
    memset(bucket, 0, sizeof(LabelBucket))


cdef class RollingCalibration:
    """See the module. ``window_ns``: how long a label counts; ``ridge`` > 0: how many labels' worth of information
    (each P(1 − P)) the identity has; ``refit_ns``: the pairs change no more often, a 180th of the window where not
    given; ``anchors_ns``: horizons of the grid, rising.

    ``ValueError`` where one of them is out of range.
    """

    def __cinit__(self, int64_t window_ns, *, double ridge=10.0, refit_ns=None, anchors_ns=ANCHORS_NS,
                  double a_max=4.0, double b_min=0.25, double b_max=4.0):
        cdef int k, j
        anchors = tuple(anchors_ns)
        if window_ns < CALIBRATION_BUCKETS:
            raise ValueError(f"window_ns must be at least {CALIBRATION_BUCKETS}")
        if not 0.0 < ridge < 1e12:
            raise ValueError("ridge must be above 0 and finite")
        if not (0.0 <= a_max <= 100.0 and 0.0 < b_min <= 1.0 <= b_max <= 100.0):
            raise ValueError("bounds must hold the identity: a_max in [0, 100], 0 < b_min <= 1 <= b_max <= 100")
        if not anchors or any(tau not in HORIZONS_NS for tau in anchors) or list(anchors) != sorted(set(anchors)):
            raise ValueError("anchors_ns must be horizons of the grid in rising order")
        self.c.window_ns = window_ns
        self.c.refit_ns = window_ns // 180 if refit_ns is None else refit_ns
        if self.c.refit_ns < 0:
            raise ValueError("refit_ns must not be negative")
        self.c.ridge = ridge
        self.c.a_max = a_max
        self.c.b_min = b_min
        self.c.b_max = b_max
        self.c.bucket_ns = -(-window_ns // CALIBRATION_BUCKETS)
        self.c.grid.anchors = len(anchors)
        for j, tau in enumerate(anchors):
            self.c.grid.horizon[j] = HORIZONS_NS.index(tau)
            self.c.pair[j].a = 0.0
            self.c.pair[j].b = 1.0
        for k, tau in enumerate(HORIZONS_NS):
            j = sum(anchor <= tau for anchor in anchors)          # anchors up to here
            self.c.grid.low[k] = max(j - 1, 0)
            self.c.grid.high[k] = min(j, len(anchors) - 1)
            if 0 < j < len(anchors):
                self.c.grid.share[k] = log(<double>tau / anchors[j - 1]) / log(<double>anchors[j] / anchors[j - 1])
        self.c.anchor = <AnchorLabels*>calloc(len(anchors), sizeof(AnchorLabels))
        if self.c.anchor == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.c.anchor)

    @property
    def window_ns(self):
        """How long a label counts."""
        return self.c.window_ns

    @property
    def refit_ns(self):
        """The pairs change no more often."""
        return self.c.refit_ns

    @property
    def ridge(self):
        """Weight of the identity."""
        return self.c.ridge

    @property
    def a_max(self):
        """Bound on ``|a|``."""
        return self.c.a_max

    @property
    def b_min(self):
        """Lower bound of b."""
        return self.c.b_min

    @property
    def b_max(self):
        """Upper bound of b."""
        return self.c.b_max

    @property
    def fits(self):
        """How often the pairs were refitted so far."""
        return self.c.fits

    @property
    def anchors_ns(self):
        """Horizons that have a pair of their own."""
        return tuple([HORIZONS_NS[self.c.grid.horizon[j]] for j in range(self.c.grid.anchors)])

    @property
    def labels(self):
        """(labels, hits) in the window, for each anchor, as of the newest input."""
        cdef int j
        return tuple([(self.c.anchor[j].total.n, rolling_hits(&self.c, j)) for j in range(self.c.grid.anchors)])

    def add(self, int64_t resolved_ns, p, hit):
        """Labels of one decision, known since ``resolved_ns``: ``p`` (m,), P at each anchor as the model gave it, and
        ``hit`` (m,), 1 or 0, or ``UNKNOWN``. ``ValueError`` on another shape, or when time goes back."""
        cdef int j
        values = np.asarray(p, dtype=np.float64)
        hits = np.asarray(hit)
        if values.shape != (self.c.grid.anchors,) or hits.shape != (self.c.grid.anchors,):
            raise ValueError(f"p and hit have an entry for each of {self.c.grid.anchors} anchors")
        self._check_time(resolved_ns)
        for j in range(self.c.grid.anchors):
            if hits[j] != UNKNOWN:
                rolling_add(&self.c, resolved_ns, j, values[j], hits[j] != 0)

    def at(self, int64_t now_ns):
        """The pairs (a, b) in force at ``now_ns``, shape (m, 2). ``ValueError`` when time goes back."""
        self._check_time(now_ns)
        rolling_refit(&self.c, now_ns)
        return np.array([(self.c.pair[j].a, self.c.pair[j].b) for j in range(self.c.grid.anchors)])

    def apply(self, int64_t now_ns, p):
        """The curve ``p`` (12,) under the pairs in force at ``now_ns``."""
        return self.calibrate(np.asarray(p, dtype=np.float64)[None], self.at(now_ns)[None])[0]

    def prequential(self, now_ns, p, resolved_ns, hit):
        """Curves of n decisions in order of time, each under the pairs in force at its own: ``(p', pairs)`` of shapes
        (n, 12) and (n, m, 2).

        ``now_ns`` (n,), never falling; ``p`` (n, 12), rows of NaN (no answer) stay and give no label;
        ``resolved_ns`` (n, m), when the label of each anchor became known, that is when its horizon was over;
        ``hit`` (n, m), 1 or 0, or ``UNKNOWN``. A decision sees the labels with ``resolved_ns`` up to its ``now_ns``;
        those left at the end are added, so what follows must lie behind them. ``ValueError`` on other shapes, or when
        time goes back.
        """
        cdef const int64_t[::1] now = np.ascontiguousarray(now_ns, dtype=np.int64)
        cdef const double[:, ::1] curve = np.ascontiguousarray(p, dtype=np.float64)
        resolved_at = np.ascontiguousarray(resolved_ns, dtype=np.int64)
        hits = np.ascontiguousarray(hit, dtype=np.int8)
        cdef int m = self.c.grid.anchors, j
        cdef Py_ssize_t n = now.shape[0], i, place = 0, labels
        cdef const CalibrationPair* pair
        if (curve.shape[0] != n or curve.shape[1] != HORIZONS or resolved_at.shape != (n, m)
                or hits.shape != (n, m)):
            raise ValueError(f"for {n} decisions p must be ({n}, {HORIZONS}), resolved_ns and hit ({n}, {m})")
        if np.any(np.diff(now_ns) < 0):
            raise ValueError("decisions must be in order of time")
        known = np.flatnonzero((hits != UNKNOWN) & ~np.isnan(np.asarray(curve)[:, :1]))
        if np.any(resolved_at.ravel()[known] < np.repeat(np.asarray(now), m)[known]):
            raise ValueError("a label cannot be known before its decision")
        cdef const int64_t[::1] order = known[np.argsort(resolved_at.ravel()[known], kind="stable")]
        cdef const int64_t[::1] at = resolved_at.ravel()
        cdef const int8_t[::1] y = hits.ravel()
        labels = order.shape[0]
        if n:
            self._check_time(now[0])
        out = np.array(curve)
        pairs = np.empty((n, m, 2))
        cdef double[:, ::1] p_out = out
        cdef double[:, :, ::1] pairs_out = pairs
        with nogil:
            for i in range(n):
                while place < labels and at[order[place]] <= now[i]:
                    self._add_label(at, y, curve, order[place])
                    place += 1
                rolling_refit(&self.c, now[i])
                pair = self.c.pair
                for j in range(m):
                    pairs_out[i, j, 0] = pair[j].a
                    pairs_out[i, j, 1] = pair[j].b
                if not isnan(p_out[i, 0]):
                    calibrate_curve(&self.c.grid, pair, &p_out[i, 0])
            while place < labels:
                self._add_label(at, y, curve, order[place])
                place += 1
        return out, pairs

    cdef void _add_label(self, const int64_t[::1] at, const int8_t[::1] y, const double[:, ::1] curve,
                         int64_t place) noexcept nogil:
        cdef int anchor = <int>(place % self.c.grid.anchors)
        rolling_add(&self.c, at[place], anchor, curve[place // self.c.grid.anchors, self.c.grid.horizon[anchor]],
                    y[place] != 0)

    def calibrate(self, p, pairs):
        """Curves ``p`` (n, 12) under ``pairs`` (n, m, 2) or one (m, 2) for all. ``ValueError`` on other shapes."""
        out = np.array(p, dtype=np.float64, order="C", ndmin=2)
        cdef double[:, ::1] curve = out
        cdef Py_ssize_t n = curve.shape[0], i
        cdef CalibrationPair pair[ANCHORS_MAX]
        cdef int j
        if curve.shape[1] != HORIZONS:
            raise ValueError(f"curves have {HORIZONS} points, not {curve.shape[1]}")
        cdef const double[:, :, ::1] given = np.ascontiguousarray(
            np.broadcast_to(np.asarray(pairs, dtype=np.float64), (n, self.c.grid.anchors, 2)))
        for i in range(n):
            if isnan(curve[i, 0]):
                continue
            for j in range(self.c.grid.anchors):
                pair[j].a = given[i, j, 0]
                pair[j].b = given[i, j, 1]
            calibrate_curve(&self.c.grid, pair, &curve[i, 0])
        return out

    def _check_time(self, int64_t now_ns):
        if self.c.began and now_ns < self.c.now_ns:
            raise ValueError(f"time goes back: {now_ns} after {self.c.now_ns}")
