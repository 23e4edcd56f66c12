"""Feature transforms by name, and the reading of parameters, shared by the linear models.

identity x; abs |x|; asinh; log1p ln(1 + max(x, 0)); log ln(max(x, 1e-9)). The last two throw away the sign and
are refused for signed features.
"""

from libc.math cimport exp, expm1, fmax, sinh

from quotelife.errors import ArtifactError
from quotelife.features.schema import INDEX, SCHEMA

cdef double LARGEST_EXPONENT = 700.0   # exp() of it is still finite

TRANSFORMS = ("identity", "abs", "asinh", "log1p", "log")


cdef int transform_index(str name, str feature, str where) except -1:
    if name not in TRANSFORMS:
        raise ArtifactError(f"{where}: unknown transform {name!r}; use one of {', '.join(TRANSFORMS)}")
    if name in ("log1p", "log") and SCHEMA[INDEX[feature]].signed:
        raise ArtifactError(f"{where}: {name} loses the sign of signed feature {feature!r}; use asinh or abs")
    return TRANSFORMS.index(name)


cdef double number(object mapping, str key, str where, double low, double high) except? -1:
    # mapping[key] as a finite double inside [low, high].
    value = mapping.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArtifactError(f"{where}.{key}: a number is needed, not {value!r}")
    if not low <= value <= high:    # NaN and infinity too
        raise ArtifactError(f"{where}.{key}: {value!r} is outside [{low:g}, {high:g}]")
    return value


cdef str text(object mapping, str key, str where):
    # mapping[key] as text.
    value = mapping.get(key)
    if not isinstance(value, str):
        raise ArtifactError(f"{where}.{key}: text is needed, not {value!r}")
    return value


cdef double transform_inverse(int kind, double y) noexcept nogil:
    # A value whose transform is y, or the one that comes closest.
    if kind == TRANSFORM_IDENTITY:
        return y
    if kind == TRANSFORM_ABS:
        return fmax(y, 0.0)
    y = clip(y, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    if kind == TRANSFORM_ASINH:
        return sinh(y)
    if kind == TRANSFORM_LOG1P:
        return expm1(fmax(y, 0.0))
    return exp(y)


def check_keys(mapping, keys, where):
    """``ArtifactError`` unless ``mapping`` is a dictionary with exactly the ``keys``."""
    if not isinstance(mapping, dict):
        raise ArtifactError(f"{where}: an object is needed, not {type(mapping).__name__}")
    missing = [key for key in keys if key not in mapping]
    unknown = sorted(str(key) for key in mapping if key not in keys)
    if missing:
        raise ArtifactError(f"{where}: add {', '.join(missing)}")
    if unknown:
        raise ArtifactError(f"{where}: remove unknown {', '.join(unknown)}")


def apply(str name, double x):
    """One transform of one number. ``ValueError`` for an unknown name."""
    return transform(TRANSFORMS.index(name), x)
