# Leaves for schema-specific JSON decoders: no allocation, no Python objects, exact numbers.
#
# Every reader takes a pointer into NUL-terminated bytes (CPython guarantees the NUL behind a bytes object),
# and returns the position after what it read, or NULL with a Fault set. NUL is never a legal byte of JSON
# outside strings and ends every loop here, so no reader passes the end of the message.
from libc.stdint cimport int64_t

cdef enum FaultCode:
    FAULT_NONE = 0
    FAULT_SYNTAX = 1           # not the JSON that was expected here
    FAULT_OFF_GRID = 2         # a decimal that is no multiple of the instrument's tick or lot
    FAULT_RANGE = 3            # a number beyond what int64 holds safely
    FAULT_MISSING = 4          # a field the message kind needs is not there
    FAULT_REPEATED = 5         # a field stands there twice
    FAULT_VALUE = 6            # well formed, but impossible (U > u, a price of 0, ...)
    FAULT_FULL = 7             # the event buffer has no room for the message

cdef struct Fault:
    int code
    const char* what           # static text: what was expected, or which field
    const char* at             # where in the message, NULL when nowhere in particular

cdef struct Grid:              # of a tick or a lot: value = step * 10^-decimals
    int decimals
    int64_t step

cdef enum:
    DIGITS_MAX = 18            # 10^18 < 2^63: so many digits cannot overflow


cdef inline const char* fail(Fault* fault, int code, const char* what, const char* at) noexcept nogil:
    fault.code = code
    fault.what = what
    fault.at = at
    return NULL


cdef inline const char* skip_space(const char* p) noexcept nogil:
    while p[0] == 32 or p[0] == 10 or p[0] == 13 or p[0] == 9:
        p += 1
    return p


cdef inline const char* skip_string(const char* p, Fault* fault) noexcept nogil:
    # p stands behind the opening quote; returns the position behind the closing one.
    cdef const char* start = p
    while p[0] != b'"':
        if p[0] == b'\\':
            p += 1
        if p[0] == 0:
            return fail(fault, FAULT_SYNTAX, "an unfinished string", start)
        p += 1
    return p + 1


cdef inline const char* skip_value(const char* p, Fault* fault) noexcept nogil:
    # Any JSON value. Brackets are counted, not matched by kind: what is skipped is not judged.
    cdef const char* start = p
    cdef Py_ssize_t depth = 0
    while True:
        if p[0] == b'"':
            p = skip_string(p + 1, fault)
            if p == NULL:
                return NULL
        elif p[0] == b'{' or p[0] == b'[':
            depth += 1
            p += 1
        elif p[0] == b'}' or p[0] == b']':
            if depth == 0:
                break
            depth -= 1
            p += 1
        elif p[0] == 0:
            return fail(fault, FAULT_SYNTAX, "an unfinished value", start)
        elif p[0] == b',' and depth == 0:
            break
        else:
            p += 1
            continue
        if depth == 0:
            break
    if p == start:
        return fail(fault, FAULT_SYNTAX, "a value", start)
    return p


cdef inline const char* read_int(const char* p, int64_t* out, Fault* fault) noexcept nogil:
    # A non-negative JSON integer of at most DIGITS_MAX digits.
    cdef const char* start = p
    cdef int64_t n = 0
    cdef unsigned int digit = <unsigned char>p[0] - 48
    while digit <= 9 and p - start < DIGITS_MAX:
        n = n * 10 + digit
        p += 1
        digit = <unsigned char>p[0] - 48
    if p == start:
        return fail(fault, FAULT_SYNTAX, "an integer", start)
    if digit <= 9:
        return fail(fault, FAULT_RANGE, "an integer of at most 18 digits", start)
    if p[0] == b'.' or p[0] == b'e' or p[0] == b'E':
        return fail(fault, FAULT_SYNTAX, "an integer", start)
    out[0] = n
    return p


cdef inline const char* read_decimal(const char* p, const Grid* grid, int64_t* out, Fault* fault) noexcept nogil:
    # A quoted plain decimal such as "61800.20", as exact grid units; never rounded.
    cdef const char* start = p
    cdef const char* digits
    cdef int64_t n = 0
    cdef int left = grid.decimals
    cdef unsigned int digit
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "a decimal in quotes", start)
    p += 1
    digits = p
    digit = <unsigned char>p[0] - 48
    while digit <= 9:
        if p - digits + left >= DIGITS_MAX:
            return fail(fault, FAULT_RANGE, "a decimal of at most 18 digits", start)
        n = n * 10 + digit
        p += 1
        digit = <unsigned char>p[0] - 48
    if p == digits:
        return fail(fault, FAULT_SYNTAX, "a decimal in quotes", start)
    if p[0] == b'.':
        p += 1
        digits = p
        digit = <unsigned char>p[0] - 48
        while digit <= 9:
            if left > 0:
                n = n * 10 + digit
                left -= 1
            elif digit != 0:
                return fail(fault, FAULT_OFF_GRID, "a multiple of the tick or lot size", start)
            p += 1
            digit = <unsigned char>p[0] - 48
        if p == digits:
            return fail(fault, FAULT_SYNTAX, "a decimal in quotes", start)
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "a decimal in quotes", start)
    while left > 0:
        n *= 10
        left -= 1
    if grid.step != 1:
        if n % grid.step != 0:
            return fail(fault, FAULT_OFF_GRID, "a multiple of the tick or lot size", start)
        n = n // grid.step
    out[0] = n
    return p + 1
