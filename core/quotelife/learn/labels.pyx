"""Labels of decisions: when the reference first passes a threshold against the desk.

The path of the reference is known at its points only, each of which holds until the next. A quote lives from
``now_ns + latency_ns`` on; age u is counted from there, and D from the reference at the decision, so that what moved
while the quote was under way counts as passed at age 0. The label is the first age at which D is at least h, which is
the age of a point of the path or 0: one touch is enough. docs/dataset.md tells it with pictures.
"""

import numpy as np

from libc.math cimport isnan
from libc.stdint cimport INT64_MAX, int8_t, int64_t, uint8_t

cdef double TOUCH = 1e-9        # a microprice that moves by one tick exactly may miss it by a rounding

NEVER = INT64_MAX               # not passed while it was observed
TOUCH_TICKS = TOUCH


def observed_ns(path, now_ns, *, int64_t latency_ns, int64_t longest_ns):
    """How long each decision is watched: (n,) i8 ns from ``now_ns + latency_ns`` on, 0..``longest_ns``.

    Until the first point of ``path`` that is not good from the decision on, or the last point; 0 where the path is not
    good at the decision.
    """
    now = np.ascontiguousarray(now_ns, dtype=np.int64)
    time = np.ascontiguousarray(path.time_ns, dtype=np.int64)
    good = np.ascontiguousarray(path.good, dtype=bool)
    if not len(time):
        return np.zeros(len(now), dtype=np.int64)
    holes = np.append(time[~good], time[-1])
    holes.sort()
    at = np.searchsorted(time, now, side="right") - 1
    known = (at >= 0) & good[np.maximum(at, 0)]
    end = holes[np.minimum(np.searchsorted(holes, now, side="right"), len(holes) - 1)]
    left = np.clip(end - (now + latency_ns), 0, longest_ns)
    return np.where(known, left, 0).astype(np.int64)


def first_passage_ns(path, str reference, now_ns, side, reference_ticks, h_ticks, *, int64_t latency_ns, observed_ns):
    """First age in ns at which the ``reference`` ("mid", "microprice") has moved ``h_ticks`` against the desk: (n,) i8.

    Ages count from ``now_ns + latency_ns``, moves from ``reference_ticks``; ``side`` is +1 where the desk buys and is
    hurt by a fall. ``NEVER`` where it was not passed within ``observed_ns``, and where threshold or reference is NaN.
    ``h_ticks`` is (n,) or one number. ``now_ns`` must not fall.
    """
    cdef const int64_t[::1] now = np.ascontiguousarray(now_ns, dtype=np.int64)
    cdef Py_ssize_t n = len(now), m = len(path.time_ns), i, k, at = -1
    cdef const int8_t[::1] sides = _rows(side, np.int8, n, "side")
    cdef const double[::1] origin = _rows(reference_ticks, np.float64, n, "reference_ticks")
    cdef const double[::1] h = _rows(np.broadcast_to(h_ticks, (n,)), np.float64, n, "h_ticks")
    cdef const int64_t[::1] watched = _rows(observed_ns, np.int64, n, "observed_ns")
    cdef const int64_t[::1] time = np.ascontiguousarray(path.time_ns, dtype=np.int64)
    cdef const double[::1] value = np.ascontiguousarray(path.values(reference), dtype=np.float64)
    cdef const uint8_t[::1] good = np.ascontiguousarray(path.good, dtype=np.uint8)
    out = np.full(n, NEVER, dtype=np.int64)
    cdef int64_t[::1] passed = out
    cdef int64_t live, last
    cdef double bound
    if n > 1 and (np.diff(np.asarray(now)) < 0).any():
        raise ValueError("now_ns must not fall: decisions stand in order of time")
    with nogil:
        for i in range(n):
            live = now[i] + latency_ns
            while at + 1 < m and time[at + 1] <= live:
                at += 1
            last = live + watched[i]
            bound = h[i] - TOUCH
            if isnan(bound) or isnan(origin[i]) or watched[i] <= 0:
                continue
            k = at if at >= 0 else 0
            while k < m and time[k] <= last:
                if good[k] and -sides[i] * (value[k] - origin[i]) >= bound:
                    passed[i] = time[k] - live if time[k] > live else 0
                    break
                k += 1
    return out


def _rows(values, dtype, Py_ssize_t n, str name):
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.shape != (n,):
        raise ValueError(f"{name}: {array.shape} values for {n} decisions")
    return array
