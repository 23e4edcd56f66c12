"""Drift of what a model reads: live decisions counted in the bins that its manifest says it was fitted on.

``training.feature_bins`` of a manifest (made by ``quotelife.learn.drift.feature_bins``)::

    {"rows": n, "features": [{"name", "per": null or "sigma", "edges": [rising], "shares": [bins..., missing]}, ...],
     "instruments": {name: [shares of each feature]}}

Edges are those of all instruments together; an instrument that was fitted on has its own shares between them. The
population stability index of a feature is Σ (a − e)·ln(a/e) over its bins, a the share now and e the share then, each
at least 10⁻⁴. Usual reading: below .1 none, above .25 much.
"""

import math

import numpy as np

from libc.math cimport NAN, fmax, isnan, log
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from quotelife.errors import ArtifactError
from quotelife.features.schema import NAMES
from quotelife.model.curve cimport feature_index
from quotelife.records cimport is_valid



CELLS = BIN_CELLS                      # of one feature; the last one: missing

cdef double SHARE_LEAST = 1e-4         # an empty bin counts as this, or ln 0 would be the answer


cdef void bins_count(const BinnedFeature* bins, int n, const double* x, const uint64_t* valid, double sigma_ticks,
                     uint32_t* counts) noexcept nogil:
    cdef const BinnedFeature* each
    cdef double value
    cdef int i, cell
    for i in range(n):
        each = &bins[i]
        value = <double><float>x[each.feature] if is_valid(valid, each.feature) else NAN     # as datasets hold it
        if each.per_sigma:
            value = value / sigma_ticks if sigma_ticks > 0.0 else NAN
        if isnan(value):
            cell = BIN_CELLS - 1
        else:
            cell = 0
            while cell < each.edges and each.edge[cell] < value:
                cell += 1
        counts[i * BIN_CELLS + cell] += 1


cdef double bins_psi(const double* expected, const uint32_t* counts) noexcept nogil:
    cdef double total = 0.0, found = 0.0, e, a
    cdef int k
    for k in range(BIN_CELLS):
        total += counts[k]
    if total == 0.0:
        return 0.0
    for k in range(BIN_CELLS):
        e = fmax(expected[k], SHARE_LEAST)
        a = fmax(counts[k] / total, SHARE_LEAST)
        found += (a - e) * log(a / e)
    return found


cdef class FeatureBins:
    """The bins of one model. Raises ``ArtifactError`` naming what does not read."""

    def __cinit__(self, told):
        cdef BinnedFeature* each
        cdef int i, k
        try:
            features = list(told["features"])
            self._instruments = {}
            if not 0 < len(features) <= len(NAMES):
                raise ArtifactError(f"1 to {len(NAMES)} features are needed")
            self.bins = <BinnedFeature*>calloc(len(features), sizeof(BinnedFeature))
            if self.bins == NULL:
                raise MemoryError()
            self.features = len(features)
            names, pooled = [], []
            for i, entry in enumerate(features):
                where = f"features[{i}]"
                each = &self.bins[i]
                each.feature = feature_index(entry["name"], where)
                each.per_sigma = entry["per"] == "sigma"
                edges = [float(edge) for edge in entry["edges"]]
                if len(edges) > BIN_EDGES_MAX or edges != sorted(set(edges)) or not all(map(math.isfinite, edges)):
                    raise ArtifactError(f"{where}: edges must rise, at most {BIN_EDGES_MAX}")
                each.edges = len(edges)
                for k in range(each.edges):
                    each.edge[k] = edges[k]
                names.append(f"{entry['name']}/sigma" if each.per_sigma else entry["name"])
                pooled.append(cells(entry["shares"], each.edges, where))
            self.names = tuple(names)
            self._pooled = np.array(pooled)
            for name, rows in told["instruments"].items():
                if len(rows) != self.features:
                    raise ArtifactError(f"instruments.{name}: {self.features} rows of shares are needed")
                self._instruments[name] = np.array(
                    [cells(row, self.bins[i].edges, f"instruments.{name}[{i}]") for i, row in enumerate(rows)])
        except ArtifactError as error:
            raise ArtifactError(f"training.feature_bins: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"training.feature_bins: does not read ({error!r}); train the model again") from None

    def __dealloc__(self):
        free(self.bins)

    def expected(self, instruments):
        """Shares (features, BIN_CELLS) to expect of ``instruments`` (names), and whether they are their own: the mean
        of those that were fitted on, else of all that were."""
        known = [self._instruments[name] for name in instruments if name in self._instruments]
        return (np.mean(known, axis=0), True) if known else (self._pooled, False)

    def count(self, x, sigma_ticks):
        """Counts (features, BIN_CELLS) of decisions ``x`` (n, all features), NaN where missing."""
        cdef const double[:, ::1] rows = np.ascontiguousarray(np.nan_to_num(np.asarray(x, dtype=np.float64)))
        cdef const double[::1] sigma = np.ascontiguousarray(sigma_ticks, dtype=np.float64)
        out = np.zeros((self.features, BIN_CELLS), dtype=np.uint32)
        cdef uint32_t[:, ::1] counts = out
        cdef uint64_t[:, ::1] valid
        cdef Py_ssize_t i
        bits = np.packbits(~np.isnan(np.asarray(x, dtype=np.float64)), axis=1, bitorder="little")
        words = np.zeros((len(bits), 16), dtype=np.uint8)
        words[:, :bits.shape[1]] = bits
        valid = words.view(np.uint64)
        if rows.shape[1] != len(NAMES) or sigma.shape[0] != rows.shape[0]:
            raise ValueError(f"x must be (n, {len(NAMES)}) and sigma_ticks (n,)")
        for i in range(rows.shape[0]):
            bins_count(self.bins, self.features, &rows[i, 0], &valid[i, 0], sigma[i], &counts[0, 0])
        return out


cdef list cells(shares, int edges, str where):
    # Shares in a row of BIN_CELLS: those of the bins from the left, that of the missing last.
    row = [float(share) for share in shares]
    if len(row) != edges + 2 or not all(0.0 <= share <= 1.0 for share in row):
        raise ArtifactError(f"{where}: {edges + 2} shares from 0 to 1 are needed")
    return row[:edges + 1] + [0.0] * (BIN_CELLS - edges - 2) + row[edges + 1:]


def psi(expected, counts):
    """The index of each feature (features,), of shares and counts as ``FeatureBins`` gives them."""
    cdef const double[:, ::1] e = np.ascontiguousarray(expected, dtype=np.float64)
    cdef const uint32_t[:, ::1] n = np.ascontiguousarray(counts, dtype=np.uint32)
    cdef Py_ssize_t i
    if e.shape[1] != BIN_CELLS or n.shape[1] != BIN_CELLS or e.shape[0] != n.shape[0]:
        raise ValueError(f"expected and counts must both be (features, {BIN_CELLS})")
    return np.array([bins_psi(&e[i, 0], &n[i, 0]) for i in range(e.shape[0])])
