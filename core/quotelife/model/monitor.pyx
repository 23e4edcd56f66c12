"""Monitoring of the served curve: rolling Brier score, calibration error and AUC against realised first passages.

All of them come from labels counted in 64 bins of logit P by parts of a window, the store of the rolling
recalibration, filled with P as it was served: a label costs O(1), and the scores are made when somebody asks. Within
a bin the mean logit stands for all; two labels of one bin are a tie for the AUC.
"""

from typing import NamedTuple

from libc.math cimport NAN, exp, fabs, sqrt

from quotelife.model.recalibration cimport CALIBRATION_BINS, LabelBucket, LabelCell, RollingCalibration

cdef double FIXED = 16777216.0         # 2^24, as in recalibration


class CurveScores(NamedTuple):
    """Of one horizon. ``z``: hits beyond Σp in standard deviations of independent labels; overlapping ones waver more.
    NaN where there is nothing to say: no labels, or for ``skill`` and ``auc`` only one outcome."""

    labels: int
    prevalence: float
    brier: float
    skill: float
    ece: float
    auc: float
    z: float


cdef void scores_of(const LabelBucket* labels, Scores* out) noexcept nogil:
    cdef const LabelCell* cell
    cdef double n = <double>labels.n, hits = 0.0, misses_below = 0.0, pairs = 0.0, error = 0.0, brier = 0.0
    cdef double expected = 0.0, variance = 0.0, p, misses
    cdef int i
    out.labels = n
    out.prevalence = out.brier = out.skill = out.ece = out.auc = out.z = NAN
    if labels.n == 0:
        return
    for i in range(CALIBRATION_BINS):
        cell = &labels.bin[i]
        if cell.n == 0:
            continue
        p = 1.0 / (1.0 + exp(-<double>cell.z / FIXED / cell.n))
        misses = cell.n - cell.hits
        brier += cell.n * p * p + cell.hits * (1.0 - 2.0 * p)
        error += fabs(cell.hits - cell.n * p)
        expected += cell.n * p
        variance += cell.n * p * (1.0 - p)
        pairs += cell.hits * (misses_below + 0.5 * misses)
        misses_below += misses
        hits += cell.hits
    out.prevalence = hits / n
    out.brier = brier / n
    out.ece = error / n
    out.z = (hits - expected) / sqrt(variance)
    if 0.0 < hits < n:
        out.skill = 1.0 - out.brier / (out.prevalence * (1.0 - out.prevalence))
        out.auc = pairs / (hits * (n - hits))


def scores(RollingCalibration labels not None):
    """``CurveScores`` of each anchor of a store, over the labels within its window."""
    cdef Scores each
    cdef int j
    found = []
    for j in range(labels.c.grid.anchors):
        scores_of(&labels.c.anchor[j].total, &each)
        found.append(CurveScores(<int>each.labels, each.prevalence, each.brier, each.skill, each.ece, each.auc, each.z))
    return tuple(found)
