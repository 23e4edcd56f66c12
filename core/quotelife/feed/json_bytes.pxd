# Leaves for schema-specific JSON decoders: no allocation, no Python objects, exact numbers.
#
# Every reader takes a pointer into NUL-terminated bytes (CPython guarantees the NUL behind a bytes object),
# and returns the position after what it read, or NULL with a Fault set. NUL is never a legal byte of JSON
# outside strings and ends every loop here, so no reader passes the end of the message. A reader that is given
# NULL gives it on, so readers chain, and whoever chains them looks once.
#
# An object is walked member by member, a list item by item:
#
#     p = first_member(p, &m, &seen, fault)            p = first_item(p, &more, b"a list of levels", fault)
#     while m.more:                                    while more:
#         if same(m.key, b"timestamp"):                    p = read_level(p, ...)
#             m.field = HAS_timestamp                      p = next_item(p, &more, fault)
#             p = read_ms(p, &time_ms, fault)
#         else:
#             p = skip_value(p, fault)
#         p = next_member(p, &m, fault)
#
# Behind the loop p is the end of the object or list, or NULL.
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcmp, strlen

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

cdef struct Text:              # in the message, without its quotes
    const char* at
    Py_ssize_t n

cdef struct Members:           # of the object being walked
    bint more                  # p stands at the value of one
    Text key
    unsigned int field         # the reader's bit for the member at hand; 0: it may stand there twice
    unsigned int* seen         # the bits of those before

cdef enum:
    DIGITS_MAX = 18            # 10^18 < 2^63: so many digits cannot overflow
    NS_PER_MS = 1_000_000
    MS_MAX = 9_000_000_000_000     # year 2255; ns still fit int64


cdef inline const char* fail(Fault* fault, int code, const char* what, const char* at) noexcept nogil:
    fault.code = code
    fault.what = what
    fault.at = at
    return NULL


cdef inline const char* skip_space(const char* p) noexcept nogil:
    while <unsigned char>p[0] <= 32 and (p[0] == 32 or p[0] == 10 or p[0] == 13 or p[0] == 9):
        p += 1
    return p


cdef inline const char* skip_string(const char* p, Fault* fault) noexcept nogil:
    # p stands behind the opening quote; returns the position behind the closing one.
    cdef const char* start = p
    while True:
        while <unsigned char>p[0] > 34 and p[0] != b'\\':         # 34 is the quote
            p += 1
        if p[0] == b'"':
            return p + 1
        if p[0] == b'\\':
            p += 1
        if p[0] == 0:
            return fail(fault, FAULT_SYNTAX, "an unfinished string", start)
        p += 1


cdef inline const char* skip_value(const char* p, Fault* fault) noexcept nogil:
    # Any JSON value. Brackets are counted, not matched by kind: what is skipped is not judged.
    cdef const char* start = p
    cdef Py_ssize_t depth = 0
    if p == NULL:
        return NULL
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
    cdef uint64_t n = 0        # wraps harmlessly where there are too many digits
    cdef unsigned int digit
    if p == NULL:
        return NULL
    digit = <unsigned char>p[0] - 48
    while digit <= 9:
        n = n * 10 + digit
        p += 1
        digit = <unsigned char>p[0] - 48
    if p == start or p[0] == b'.' or p[0] == b'e' or p[0] == b'E':
        return fail(fault, FAULT_SYNTAX, "an integer", start)
    if p - start > DIGITS_MAX:
        return fail(fault, FAULT_RANGE, "an integer of at most 18 digits", start)
    out[0] = <int64_t>n
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
    cdef const char* digits
    cdef uint64_t n = 0                # wraps harmlessly where there are too many digits
    cdef int left = grid.decimals
    cdef unsigned int digit, lost = 0  # digits finer than the grid: an exponent may yet make up for them
    if p == NULL:
        return NULL
    digit = <unsigned char>p[0] - 48
    while digit <= 9:
        n = n * 10 + digit
        p += 1
        digit = <unsigned char>p[0] - 48
    if p == start:
        return fail(fault, FAULT_SYNTAX, "a decimal", start)
    if p - start + left > DIGITS_MAX:
        return fail(fault, FAULT_RANGE, "a decimal of at most 18 digits", start)
    if p[0] == b'.':
        p += 1
        digits = p
        digit = <unsigned char>p[0] - 48
        while digit <= 9 and left > 0:
            n = n * 10 + digit
            left -= 1
            p += 1
            digit = <unsigned char>p[0] - 48
        while digit <= 9:
            lost |= digit
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
        if n % <uint64_t>grid.step != 0:
            return fail(fault, FAULT_OFF_GRID, "a multiple of the tick or lot size", start)
        n = n // <uint64_t>grid.step
    out[0] = <int64_t>n
    return p


cdef inline const char* read_signed_int(const char* p, int64_t* out, Fault* fault) noexcept nogil:
    cdef bint negative
    if p == NULL:
        return NULL
    negative = p[0] == b'-'
    p = read_int(p + negative, out, fault)
    if negative and p != NULL:
        out[0] = -out[0]
    return p


cdef inline const char* read_ms(const char* p, int64_t* out, Fault* fault) noexcept nogil:
    # Milliseconds since 1970.
    cdef const char* start = p
    p = read_int(p, out, fault)
    if p != NULL and out[0] > <int64_t>MS_MAX:
        return fail(fault, FAULT_RANGE, "a time in milliseconds", start)
    return p


# The same in quotes.

cdef inline const char* quote(const char* p, const char* what, Fault* fault) noexcept nogil:
    if p == NULL:
        return NULL
    return p + 1 if p[0] == b'"' else fail(fault, FAULT_SYNTAX, what, p)


cdef inline const char* read_decimal(const char* p, const Grid* grid, int64_t* out, Fault* fault) noexcept nogil:
    # "61800.20"
    p = read_number(quote(p, "a decimal in quotes", fault), grid, out, fault)
    return quote(p, "a decimal in quotes", fault)


cdef inline const char* read_quoted_int(const char* p, int64_t* out, Fault* fault) noexcept nogil:
    # "1652459225393"
    return quote(read_int(quote(p, "an integer in quotes", fault), out, fault), "an integer in quotes", fault)


cdef inline const char* read_quoted_ms(const char* p, int64_t* out, Fault* fault) noexcept nogil:
    return quote(read_ms(quote(p, "an integer in quotes", fault), out, fault), "an integer in quotes", fault)


# Strings.

cdef inline bint same(Text text, const char* word) noexcept nogil:
    # word is a literal: its length costs nothing.
    return <size_t>text.n == strlen(word) and memcmp(text.at, word, strlen(word)) == 0


cdef inline const char* read_text(const char* p, Text* out, Fault* fault) noexcept nogil:
    # out is empty where there is none.
    out.at = p
    out.n = 0
    p = quote(p, "a string", fault)
    if p == NULL:
        return NULL
    out.at = p
    p = skip_string(p, fault)
    if p != NULL:
        out.n = p - out.at - 1
    return p


cdef inline const char* read_either(const char* p, const char* no, const char* yes, bint* out, const char* what,
                                    Fault* fault) noexcept nogil:
    # One string or the other; out: was it the second?
    cdef const char* start = p
    cdef Text text
    p = read_text(p, &text, fault)
    if p == NULL:
        return NULL
    out[0] = same(text, yes)
    if not out[0] and not same(text, no):
        return fail(fault, FAULT_VALUE, what, start)
    return p


# Objects and lists.

cdef inline const char* expect(const char* p, char c, const char* what, Fault* fault) noexcept nogil:
    # Beyond c, which has to come next. Venues write no space: it is looked for only where c is not.
    if p == NULL:
        return NULL
    if p[0] != c:
        p = skip_space(p)
        if p[0] != c:
            return fail(fault, FAULT_SYNTAX, what, p)
    return skip_space(p + 1)


cdef inline const char* read_key(const char* p, Members* m, Fault* fault) noexcept nogil:
    if p[0] != b'"':
        return fail(fault, FAULT_SYNTAX, "a field name", p)
    p = expect(read_text(p, &m.key, fault), b':', "a colon", fault)
    m.more = p != NULL
    return p


cdef inline const char* first_member(const char* p, Members* m, unsigned int* seen, Fault* fault) noexcept nogil:
    m.more = False
    m.field = 0
    m.seen = seen
    p = expect(p, b'{', "a JSON object", fault)
    if p == NULL:
        return NULL
    return p + 1 if p[0] == b'}' else read_key(p, m, fault)


cdef inline const char* next_member(const char* p, Members* m, Fault* fault) noexcept nogil:
    # p stands behind the value of the member at hand.
    m.more = False
    if p == NULL:
        return NULL
    if m.seen[0] & m.field:
        return fail(fault, FAULT_REPEATED, "each field once", m.key.at)
    m.seen[0] |= m.field
    m.field = 0
    if p[0] != b',':
        p = skip_space(p)
        if p[0] == b'}':
            return p + 1
        if p[0] != b',':
            return fail(fault, FAULT_SYNTAX, "a comma or the end of the object", p)
    return read_key(skip_space(p + 1), m, fault)


cdef inline const char* first_item(const char* p, bint* more, const char* what, Fault* fault) noexcept nogil:
    # what: the list should be.
    p = expect(p, b'[', what, fault)
    more[0] = p != NULL and p[0] != b']'
    return p if p == NULL or more[0] else p + 1


cdef inline const char* next_item(const char* p, bint* more, Fault* fault) noexcept nogil:
    # p stands behind the item at hand.
    more[0] = False
    if p == NULL:
        return NULL
    if p[0] != b',':
        p = skip_space(p)
        if p[0] == b']':
            return p + 1
        if p[0] != b',':
            return fail(fault, FAULT_SYNTAX, "a comma or the end of the list", p)
    more[0] = True
    return skip_space(p + 1)


cdef inline const char* expect_end(const char* p, const char* end, Fault* fault) noexcept nogil:
    # Of the message.
    if p == NULL:
        return NULL
    p = skip_space(p)
    return p if p == end else fail(fault, FAULT_SYNTAX, "the end of the message", p)


# Times.

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
    if p == NULL:
        return NULL
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
