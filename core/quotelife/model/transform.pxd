# Feature transforms shared by the linear models. Each is defined for every finite double.
from libc.math cimport copysign, fabs, log, sqrt

cdef enum Transform:
    TRANSFORM_IDENTITY = 0
    TRANSFORM_ABS = 1
    TRANSFORM_ASINH = 2
    TRANSFORM_LOG1P = 3      # ln(1 + max(x, 0))
    TRANSFORM_LOG = 4        # ln(max(x, 1e-9))

cdef extern from *:
    """
    #define QUOTELIFE_LN_2 0.69314718055994530942
    """
    const double LN_2 "QUOTELIFE_LN_2"

cdef inline double clip(double x, double low, double high) noexcept nogil:
    # libm's fmin and fmax are calls that mind NaN; here x is a number.
    return low if x < low else high if x > high else x

cdef inline double transform(int kind, double x) noexcept nogil:
    cdef double a
    # Built on log, which costs a third of libm's log1p and asinh; an absolute error of 1e-16 is nothing here.
    if kind == TRANSFORM_IDENTITY:
        return x
    if kind == TRANSFORM_ABS:
        return fabs(x)
    if kind == TRANSFORM_ASINH:
        a = fabs(x)
        return copysign(log(a + sqrt(a * a + 1.0)) if a < 1e150 else log(a) + LN_2, x)
    if kind == TRANSFORM_LOG1P:
        return log(1.0 + (x if x > 0.0 else 0.0))
    return log(x if x > 1e-9 else 1e-9)

cdef double transform_inverse(int kind, double y) noexcept nogil
cdef int transform_index(str name, str feature, str where) except -1
cdef double number(object mapping, str key, str where, double low, double high) except? -1
cdef str text(object mapping, str key, str where)
