# Feature transforms shared by the linear models. Each is defined for every finite double.
from libc.math cimport asinh, fabs, fmax, log, log1p

cdef enum Transform:
    TRANSFORM_IDENTITY = 0
    TRANSFORM_ABS = 1
    TRANSFORM_ASINH = 2
    TRANSFORM_LOG1P = 3      # ln(1 + max(x, 0))
    TRANSFORM_LOG = 4        # ln(max(x, 1e-9))

cdef inline double transform(int kind, double x) noexcept nogil:
    if kind == TRANSFORM_IDENTITY:
        return x
    if kind == TRANSFORM_ABS:
        return fabs(x)
    if kind == TRANSFORM_ASINH:
        return asinh(x)
    if kind == TRANSFORM_LOG1P:
        return log1p(fmax(x, 0.0))
    return log(fmax(x, 1e-9))

cdef int transform_index(str name, str feature, str where) except -1
cdef double number(object mapping, str key, str where, double low, double high) except? -1
cdef str text(object mapping, str key, str where)
