# Leaves for schema-specific JSON decoders: no allocation, no Python objects, exact numbers.
#
# Every reader takes a pointer into NUL-terminated bytes (CPython guarantees the NUL behind a bytes object),
# and returns the position after what it read, or NULL with a Fault set. NUL is never a legal byte of JSON
# outside strings and ends every loop here, so no reader passes the end of the message.
from libc.stdint cimport int64_t
from libc.string cimport memcmp

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


cdef inline const char* read_scientific(const char* start, const Grid* grid, int64_t* out,
                                        Fault* fault) noexcept nogil:
    # A decimal with an exponent, such as 1e-8 or 6.18e4, as exact grid units; never rounded.
    cdef const char* p = start
    cdef int64_t n = 0
    cdef int shift = grid.decimals     # n * 10^shift counts units of 10^-decimals
    cdef int exponent = 0
    cdef int digits = 0
    cdef bint fraction = False, negative
    while True:
        if p[0] == b'.' and not fraction:
            fraction = True
        elif b'0' <= p[0] <= b'9':
            if n >= 100_000_000_000_000_000LL:
                return fail(fault, FAULT_RANGE, "a decimal of at most 18 digits", start)
            n = n * 10 + (p[0] - 48)
            shift -= fraction
            digits += 1
        else:
            break
        p += 1
    if digits == 0 or p[0] != b'e' and p[0] != b'E':
        return fail(fault, FAULT_SYNTAX, "a decimal", start)
    p += 1
    negative = p[0] == b'-'
    if p[0] == b'-' or p[0] == b'+':
        p += 1
    if not (b'0' <= p[0] <= b'9'):
        return fail(fault, FAULT_SYNTAX, "an exponent", start)
    while b'0' <= p[0] <= b'9':
        if exponent > 999:
            return fail(fault, FAULT_RANGE, "an exponent below 1000", start)
        exponent = exponent * 10 + (p[0] - 48)
        p += 1
    shift += -exponent if negative else exponent
    while n != 0 and shift > 0:
        if n >= 100_000_000_000_000_000LL:
            return fail(fault, FAULT_RANGE, "a decimal of at most 18 digits", start)
        n *= 10
        shift -= 1
    while n != 0 and shift < 0:
        if n % 10 != 0:
            return fail(fault, FAULT_OFF_GRID, "a multiple of the tick or lot size", start)
        n = n // 10
        shift += 1
    if n % grid.step != 0:
        return fail(fault, FAULT_OFF_GRID, "a multiple of the tick or lot size", start)
    out[0] = n // grid.step
    return p


cdef inline const char* read_number(const char* p, const Grid* grid, int64_t* out, Fault* fault) noexcept nogil:
    # A decimal that is not negative, such as 61800.20 or 1e-8, as exact grid units; never rounded.
    cdef const char* start = p
    cdef const char* digits = p
    cdef int64_t n = 0
    cdef int left = grid.decimals
    cdef bint lost = False             # a digit finer than the grid: an exponent may yet make up for it
    cdef unsigned int digit = <unsigned char>p[0] - 48
    while digit <= 9:
        if p - digits + left >= DIGITS_MAX:
            return fail(fault, FAULT_RANGE, "a decimal of at most 18 digits", start)
        n = n * 10 + digit
        p += 1
        digit = <unsigned char>p[0] - 48
    if p == digits:
        return fail(fault, FAULT_SYNTAX, "a decimal", start)
    if p[0] == b'.':
        p += 1
        digits = p
        digit = <unsigned char>p[0] - 48
        while digit <= 9:
            if left > 0:
                n = n * 10 + digit
                left -= 1
            elif digit != 0:
                lost = True
            p += 1
            digit = <unsigned char>p[0] - 48
        if p == digits:
            return fail(fault, FAULT_SYNTAX, "a decimal", start)
    if p[0] == b'e' or p[0] == b'E':
        return read_scientific(start, grid, out, fault)
    if lost:
        return fail(fault, FAULT_OFF_GRID, "a multiple of the tick or lot size", start)
    while left > 0:
        n *= 10
        left -= 1
    if grid.step != 1:
        if n % grid.step != 0:
            return fail(fault, FAULT_OFF_GRID, "a multiple of the tick or lot size", start)
        n = n // grid.step
    out[0] = n
    return p


cdef inline const char* read_decimal(const char* p, const Grid* grid, int64_t* out, Fault* fault) noexcept nogil:
    # The same in quotes: "61800.20".
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "a decimal in quotes", p)
    p = read_number(p + 1, grid, out, fault)
    if p == NULL:
        return NULL
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "a decimal in quotes", p)
    return p + 1


cdef inline const char* read_quoted_int(const char* p, int64_t* out, Fault* fault) noexcept nogil:
    # A non-negative integer in quotes: "1652459225393".
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "an integer in quotes", p)
    p = read_int(p + 1, out, fault)
    if p == NULL:
        return NULL
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "an integer in quotes", p)
    return p + 1


cdef inline bint same(const char* text, Py_ssize_t n, const char* word, Py_ssize_t m) noexcept nogil:
    return n == m and memcmp(text, word, n) == 0


cdef inline const char* after_value(const char* p, bint* more, Fault* fault) noexcept nogil:
    # Behind a member of an object: its end, or the next key, at whose quote the position then stands.
    p = skip_space(p)
    more[0] = p[0] == b','
    if more[0]:
        return skip_space(p + 1)
    if p[0] != b'}':
        return fail(fault, FAULT_SYNTAX, "a comma or the end of the object", p)
    return p + 1


cdef inline const char* read_key(const char* p, const char** key, Py_ssize_t* n, Fault* fault) noexcept nogil:
    # "key": up to its value.
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "a field name", p)
    key[0] = p + 1
    p = skip_string(p + 1, fault)
    if p == NULL:
        return NULL
    n[0] = p - key[0] - 1
    p = skip_space(p)
    if p[0] != b':':
        return fail(fault, FAULT_SYNTAX, "a colon", p)
    return skip_space(p + 1)


cdef inline const char* read_signed_int(const char* p, int64_t* out, Fault* fault) noexcept nogil:
    cdef bint negative = p[0] == b'-'
    p = read_int(p + negative, out, fault)
    if negative:
        out[0] = -out[0]
    return p


cdef inline int64_t two_digits(const char* p) noexcept nogil:
    # -1000 where they are no digits.
    cdef unsigned int tens = <unsigned char>p[0] - 48
    cdef unsigned int ones
    if tens > 9:
        return -1000
    ones = <unsigned char>p[1] - 48
    return 10 * tens + ones if ones <= 9 else -1000


cdef inline const char* read_utc(const char* p, int64_t* ns, Fault* fault) noexcept nogil:
    # "2026-08-09T21:05:48.228568804Z", up to nine digits of a second, to ns since 1970.
    cdef const char* start = p
    cdef int64_t century, year, month, day, hour, minute, second, part = 0, scale = 1_000_000_000
    cdef unsigned int digit
    p += 1
    if start[0] == b'"':
        century = two_digits(p)
        year = 100 * century + two_digits(p + 2) if century >= 0 else -1
        if year >= 1970 and p[4] == b'-':
            month = two_digits(p + 5)
            if 1 <= month <= 12 and p[7] == b'-':
                day = two_digits(p + 8)
                if 1 <= day <= 31 and p[10] == b'T':
                    hour = two_digits(p + 11)
                    if 0 <= hour < 24 and p[13] == b':':
                        minute = two_digits(p + 14)
                        if 0 <= minute < 60 and p[16] == b':':
                            second = two_digits(p + 17)
                            if 0 <= second <= 60:
                                p += 19
                                if p[0] == b'.':
                                    p += 1
                                    digit = <unsigned char>p[0] - 48
                                    while digit <= 9 and scale > 1:
                                        scale = scale // 10
                                        part += digit * scale
                                        p += 1
                                        digit = <unsigned char>p[0] - 48
                                if p[0] == b'Z' and p[1] == b'"' and year < 2255:
                                    # Days since 1970 of the Gregorian calendar, years beginning in March.
                                    if month <= 2:
                                        year -= 1
                                        month += 12
                                    day += 365 * year + year // 4 - year // 100 + year // 400
                                    day += (153 * (month - 3) + 2) // 5 - 719469
                                    second += ((day * 24 + hour) * 60 + minute) * 60
                                    ns[0] = second * 1_000_000_000 + part
                                    return p + 2
    return fail(fault, FAULT_SYNTAX, "a UTC time in quotes", start)
