"""The curve from one call of trees.

    logit P(τ_k) = max over j ≤ k of (a_j + Σ_i w_ij·m_i)

where m_i are the margins of one to six tree ensembles over the same columns: one walk through the trees gives all
twelve horizons. Several ensembles are one model where they were fitted to several horizons, or to several markets and
stacked. Each horizon has its own weights, for what a margin is worth changes with it; the maximum keeps P from falling
with τ.

A column is a schema feature, divided by σ where ``per`` says so; an invalid one is missing. It needs no transform, for
a rising one would leave every split where it is. After them, with ``log_room``, comes ln(h/room): room, spread/2 −
microprice deviation in ticks, is how far the microprice can fall against the desk by sizes alone. A threshold within it
is passed when a queue thins, one beyond it when the touch goes too. With ``log_threshold`` the last column is ln(h/σ).
Weights ≥ 0 and trees that fall with both are required, so that every term falls with h, and so does the largest: a
wider threshold is never more likely to be passed, whatever the input.
"""

import base64
import binascii

import numpy as np

from libc.math cimport NAN, exp, log
from libc.stdint cimport uint32_t, uint64_t

from quotelife.errors import ArtifactError
from quotelife.features.schema import NAMES
from quotelife.model.hazard import LARGEST
from quotelife.model.transform import check_keys
from quotelife.model.curve cimport CurveModel, ModelInput, feature_index, first_passage_answers
from quotelife.model.hazard cimport hazard_passed, read_grid
from quotelife.model.transform cimport clip, number, text
from quotelife.model.trees cimport TreeEnsemble, trees_margin, trees_put
from quotelife.records cimport FEATURES_MAX, HORIZONS, VALID_WORDS, is_valid

ENSEMBLE_KEYS = ("weights", "base", "sizes", "slots", "values")
ROOM_FEATURES = ("spread_ticks", "microprice_deviation")
cdef double ROOM_LEAST = 1e-9          # ticks
_DTYPES = {"sizes": "<i4", "slots": "<u2", "values": "<f4"}


cdef inline float column_value(const TreeColumn* column, const ModelInput* row) noexcept nogil:
    cdef double x = row.x[column.feature] if is_valid(row.valid, column.feature) else NAN
    if column.per_sigma:
        x = x / row.sigma_ticks if row.sigma_ticks > 0.0 else NAN
    return <float>x


cdef inline double log_room(const TreeCurveParams* m, const ModelInput* row) noexcept nogil:
    """ln(h/room); NaN where a feature is missing, or there is no h."""
    cdef double room
    if not is_valid(row.valid, m.spread) or not is_valid(row.valid, m.deviation) or not row.h_ticks > 0.0:
        return NAN
    room = 0.5 * row.x[m.spread] - row.x[m.deviation]
    return log(row.h_ticks / (room if room > ROOM_LEAST else ROOM_LEAST))


cdef int _curve(const void* params, const ModelInput* row, double* p) noexcept nogil:
    cdef const TreeCurveParams* m = <const TreeCurveParams*>params
    cdef uint32_t keys[2 * (FEATURES_MAX + 2)]
    cdef double margin[ENSEMBLES_MAX]
    cdef double z, highest = 0.0
    cdef int i, k
    if row.h_ticks <= 0.0:
        return hazard_passed(p)
    if row.h_ticks != row.h_ticks:
        return 1
    for i in range(m.columns):
        trees_put(keys, i, column_value(&m.column[i], row))
    if m.log_room:
        trees_put(keys, m.columns, <float>log_room(m, row))
    if m.log_threshold:
        if not first_passage_answers(row.h_ticks, row.sigma_ticks):
            return 1
        trees_put(keys, m.columns + m.log_room, <float>log(row.h_ticks / row.sigma_ticks))
    for i in range(m.ensembles):
        margin[i] = <double>trees_margin(m.trees[i], keys)
    for k in range(HORIZONS):
        z = m.intercept[k]
        for i in range(m.ensembles):
            z += m.weight[i][k] * margin[i]
        if k > 0 and z <= highest:
            p[k] = p[k - 1]
        else:
            highest = z
            p[k] = 1.0 / (1.0 + exp(-clip(z, -700.0, 700.0)))
    return 0


def pack(TreeEnsemble ensemble):
    """The JSON-ready values of an ensemble: its base and, in base64 of little-endian numbers, its three arrays."""
    out = {"base": ensemble.base}
    for name, dtype in _DTYPES.items():
        out[name] = base64.b64encode(getattr(ensemble, name).astype(dtype).tobytes()).decode("ascii")
    return out


def unpack(parameters, int columns, str where):
    """What ``pack`` packed, as an ensemble over ``columns`` columns. ``ArtifactError`` naming ``where``."""
    arrays = []
    for name, dtype in _DTYPES.items():
        try:
            raw = base64.b64decode(text(parameters, name, where), validate=True)
            arrays.append(np.frombuffer(raw, dtype=dtype))
        except (binascii.Error, ValueError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"{where}.{name}: not base64 of {dtype[1:]} numbers ({error})") from None
    base = number(parameters, "base", where, -3.4e38, 3.4e38)
    try:
        return TreeEnsemble(columns, base, *arrays)
    except ArtifactError as error:
        raise ArtifactError(f"{where}.{error}") from None


cdef class TreeCurveModel(CurveModel):
    """Trees and what each is worth at every horizon. ``parameters``::

        {"intercepts": [12 numbers],
         "features": [{"name", "per": null or "sigma", "reference"}, ...],
         "log_room": true or false (where left out), "log_threshold": true or false,
         "ensembles": [{"weights": [12 numbers ≥ 0], "base", "sizes", "slots", "values"}, ...]}

    ``reference`` is the value of the feature, before division, that its effect is told against: the
    mean of what was fitted. Cannot answer without σ when ``log_threshold``. Raises ``ArtifactError`` naming
    the parameter that does not fit.
    """

    def __init__(self, parameters):
        cdef TreeColumn* column
        cdef TreeEnsemble ensemble
        cdef int i, k
        keys = ("intercepts", "features", "log_room", "log_threshold", "ensembles")
        if isinstance(parameters, dict):
            parameters = {"log_room": False, **parameters}
        check_keys(parameters, keys, "parameters")
        read_grid(parameters["intercepts"], "intercepts", -LARGEST, self.c.intercept)
        for name in ("log_room", "log_threshold"):
            if not isinstance(parameters[name], bool):
                raise ArtifactError(f"{name}: true or false is needed")
        self.c.log_room = parameters["log_room"]
        self.c.log_threshold = parameters["log_threshold"]
        self.c.spread, self.c.deviation = (feature_index(name, "log_room") for name in ROOM_FEATURES)
        features = parameters["features"]
        if not isinstance(features, list) or len(features) > len(NAMES):
            raise ArtifactError(f"features: a list of at most {len(NAMES)} objects is needed")
        self._references = []
        references = {}
        for i, entry in enumerate(features):
            where = f"features[{i}]"
            if isinstance(entry, dict) and "transform" in entry:       # columns had one once
                if entry["transform"] != "identity":
                    raise ArtifactError(f"{where}: trees that read transformed columns are of an earlier version; "
                                        "train them again")
                entry = {key: value for key, value in entry.items() if key != "transform"}
            check_keys(entry, ("name", "per", "reference"), where)
            name = text(entry, "name", where)
            column = &self.c.column[i]
            column.feature = feature_index(name, where)
            if name == "threshold":
                raise ArtifactError(f"{where}: 'threshold' moves with h; take log_threshold, which is kept monotone")
            if entry["per"] is not None and entry["per"] != "sigma":
                raise ArtifactError(f"{where}.per: null or \"sigma\" is needed, not {entry['per']!r}")
            column.per_sigma = entry["per"] == "sigma"
            reference = number(entry, "reference", where, -1e15, 1e15)
            if references.setdefault(name, reference) != reference:
                raise ArtifactError(f"{where}: {name!r} has another reference before; give it one")
            self._references.append(reference)
        self.c.columns = len(features)
        if self.c.log_room and not set(ROOM_FEATURES) <= set(references):
            raise ArtifactError(f"log_room: reads {' and '.join(ROOM_FEATURES)}; name them among the features, too")
        if self._width() == 0:
            raise ArtifactError("features: trees need at least one column")
        ensembles = parameters["ensembles"]
        if not isinstance(ensembles, list) or not 1 <= len(ensembles) <= ENSEMBLES_MAX:
            raise ArtifactError(f"ensembles: a list of 1 to {ENSEMBLES_MAX} objects is needed")
        built = []
        for i, entry in enumerate(ensembles):
            where = f"ensembles[{i}]"
            check_keys(entry, ENSEMBLE_KEYS, where)
            read_grid(entry["weights"], f"{where}.weights", 0.0, self.c.weight[i])
            ensemble = unpack(entry, self._width(), where)
            for k in range(self.c.columns, self._width()):
                if not ensemble.falls_with(k):
                    raise ArtifactError(f"{where}: rises with the threshold; train it with monotone_constraints -1 on "
                                        f"column {k}")
            self.c.trees[i] = &ensemble.c
            built.append(ensemble)
        self.c.ensembles = len(built)
        self._ensembles = tuple(built)
        self.kind = "trees"
        self.params = &self.c
        self.fn = _curve

    cdef int _width(self) noexcept:
        return self.c.columns + self.c.log_room + self.c.log_threshold

    def parameters(self):
        return {
            "intercepts": [self.c.intercept[k] for k in range(HORIZONS)],
            "features": [
                {
                    "name": NAMES[self.c.column[i].feature],
                    "per": "sigma" if self.c.column[i].per_sigma else None,
                    "reference": self._references[i],
                }
                for i in range(self.c.columns)
            ],
            "log_room": bool(self.c.log_room),
            "log_threshold": bool(self.c.log_threshold),
            "ensembles": [
                {"weights": [self.c.weight[i][k] for k in range(HORIZONS)], **pack(ensemble)}
                for i, ensemble in enumerate(self._ensembles)
            ],
        }

    def reference(self):
        return {NAMES[self.c.column[i].feature]: self._references[i] for i in range(self.c.columns)}

    def columns(self, x, valid, h_ticks, sigma_ticks):
        """What the trees read of n inputs given as to ``curves``: float32 (n, c), NaN where missing."""
        cdef const double[:, ::1] rows = np.ascontiguousarray(x, dtype=np.float64)
        cdef const uint64_t[:, ::1] bits = np.ascontiguousarray(valid, dtype=np.uint64)
        cdef const double[::1] h = np.ascontiguousarray(h_ticks, dtype=np.float64)
        cdef const double[::1] sigma = np.ascontiguousarray(sigma_ticks, dtype=np.float64)
        cdef Py_ssize_t n = rows.shape[0], i
        cdef int k, width = self._width()
        cdef ModelInput row
        if rows.shape[1] != FEATURES_MAX or bits.shape[1] != VALID_WORDS:
            raise ValueError(f"x must have {FEATURES_MAX} columns and valid {VALID_WORDS}, "
                             f"not {rows.shape[1]} and {bits.shape[1]}")
        if bits.shape[0] != n or h.shape[0] != n or sigma.shape[0] != n:
            raise ValueError("x, valid, h_ticks and sigma_ticks must have the same number of rows")
        out = np.empty((n, width), dtype=np.float32)
        cdef float[:, ::1] filled = out
        with nogil:
            for i in range(n):
                row.x = &rows[i, 0]
                row.valid = &bits[i, 0]
                row.h_ticks = h[i]
                row.sigma_ticks = sigma[i]
                for k in range(self.c.columns):
                    filled[i, k] = column_value(&self.c.column[k], &row)
                if self.c.log_room:
                    filled[i, self.c.columns] = <float>log_room(&self.c, &row)
                if self.c.log_threshold:
                    filled[i, width - 1] = (<float>log(h[i] / sigma[i]) if h[i] > 0.0 and sigma[i] > 0.0 else NAN)
        return out

    def margins(self, columns):
        """Margins of each ensemble over ``columns()``: float32 (n, e), as XGBoost gives them."""
        return np.column_stack([ensemble.margins(columns) for ensemble in self._ensembles])
