"""Bytes of a ``GetExpiryRequest`` straight to the engine's record, for the requests that most are: one instrument,
BUY or SELL, nothing wrong. ``convert.expiry_request`` reads every other one, and finds the words for what is wrong.

Nothing here may be taken that ``convert`` would refuse, and no byte of a record may differ from its own: whatever is
not certain is left to it. Only canonical bytes are read (fields ascending, each once, numbers as short as can be, no
field that says what leaving it out says), which is how protobuf's libraries write. Of these the digest of the
message is the digest of the bytes. Field numbers are those of ``quote_expiry_service.proto``.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.math cimport NAN, ldexp
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from quotelife.records cimport (
    NO_INDEX,
    REQ_HAS_DEADLINE,
    REQ_HAS_EDGE,
    REQ_HAS_PRICE,
    REQ_HAS_PRICED_AT,
    REQ_HAS_REFERENCE,
    REQ_HAS_SIZE,
    REQ_UNSYNCHRONISED,
    Request,
    RequestRecord,
)
from quotelife_server.protobuf_wire cimport take_varint

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* BLAKE2b (RFC 7693), 16 bytes, no key. hashlib makes an object for it that costs as much as the sum itself. */
    static const uint64_t quotelife_blake_iv[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL, 0xa54ff53a5f1d36f1ULL,
        0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL, 0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};

    static inline uint64_t quotelife_blake_turn(uint64_t word, unsigned by) { return word >> by | word << (64 - by); }

    #define QUOTELIFE_BLAKE_G(a, b, c, d, x, y)                                          \\
        a += b + x; d = quotelife_blake_turn(d ^ a, 32); c += d; b = quotelife_blake_turn(b ^ c, 24); \\
        a += b + y; d = quotelife_blake_turn(d ^ a, 16); c += d; b = quotelife_blake_turn(b ^ c, 63)
    #define QUOTELIFE_BLAKE_ROUND(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)        \\
        QUOTELIFE_BLAKE_G(v0, v4, v8, v12, w[a], w[b]); QUOTELIFE_BLAKE_G(v1, v5, v9, v13, w[c], w[d]);   \\
        QUOTELIFE_BLAKE_G(v2, v6, v10, v14, w[e], w[f]); QUOTELIFE_BLAKE_G(v3, v7, v11, v15, w[g], w[h]); \\
        QUOTELIFE_BLAKE_G(v0, v5, v10, v15, w[i], w[j]); QUOTELIFE_BLAKE_G(v1, v6, v11, v12, w[k], w[l]); \\
        QUOTELIFE_BLAKE_G(v2, v7, v8, v13, w[m], w[n]); QUOTELIFE_BLAKE_G(v3, v4, v9, v14, w[o], w[p])

    static void quotelife_blake_block(uint64_t h[8], const uint8_t block[128], uint64_t count, int last) {
        uint64_t w[16];
        uint64_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3], v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
        uint64_t v8 = quotelife_blake_iv[0], v9 = quotelife_blake_iv[1], v10 = quotelife_blake_iv[2];
        uint64_t v11 = quotelife_blake_iv[3], v12 = quotelife_blake_iv[4] ^ count, v13 = quotelife_blake_iv[5];
        uint64_t v14 = last ? ~quotelife_blake_iv[6] : quotelife_blake_iv[6], v15 = quotelife_blake_iv[7];
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        memcpy(w, block, 128);
    #else
        for (int i = 0; i < 16; i++) {
            w[i] = 0;
            for (int k = 7; k >= 0; k--) w[i] = w[i] << 8 | block[8 * i + k];
        }
    #endif
        QUOTELIFE_BLAKE_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        QUOTELIFE_BLAKE_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
        QUOTELIFE_BLAKE_ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
        QUOTELIFE_BLAKE_ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
        QUOTELIFE_BLAKE_ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
        QUOTELIFE_BLAKE_ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
        QUOTELIFE_BLAKE_ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
        QUOTELIFE_BLAKE_ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
        QUOTELIFE_BLAKE_ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
        QUOTELIFE_BLAKE_ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
        QUOTELIFE_BLAKE_ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        QUOTELIFE_BLAKE_ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
        h[0] ^= v0 ^ v8; h[1] ^= v1 ^ v9; h[2] ^= v2 ^ v10; h[3] ^= v3 ^ v11;
        h[4] ^= v4 ^ v12; h[5] ^= v5 ^ v13; h[6] ^= v6 ^ v14; h[7] ^= v7 ^ v15;
    }

    static void quotelife_blake(const uint8_t *data, size_t n, uint8_t out[16]) {
        uint64_t h[8];
        uint8_t rest[128] = {0};
        size_t at = 0;
        memcpy(h, quotelife_blake_iv, sizeof h);
        h[0] ^= 0x01010000ULL ^ 16;
        for (; n - at > 128; at += 128) quotelife_blake_block(h, data + at, at + 128, 0);
        memcpy(rest, data + at, n - at);
        quotelife_blake_block(h, rest, n, 1);
        for (int i = 0; i < 16; i++) out[i] = (uint8_t)(h[i / 8] >> 8 * (i % 8));
    }
    """
    void quotelife_blake(const uint8_t *data, size_t n, uint8_t *out) noexcept nogil
    int leading_zeros "__builtin_clzll"(uint64_t word) noexcept nogil      # of a word that is not 0
    ctypedef unsigned long long uint128_t "unsigned __int128"

cdef enum:
    DIGEST_BYTES = 16
    TEXT_CHARACTERS_MAX = 128    # as faults.py counts them
    TEXT_BYTES_MAX = 4 * TEXT_CHARACTERS_MAX
    DIGITS_MAX = 18              # on either side of a point
    DEALERS_MAX = 10_000
    SLOTS_MIN = 64
    SLOTS_MAX = 65_536
    STRANGERS = 1024             # room for counterparties that are not configured
    LOOKED_AT = 4                # slots that a name may lie in
    SIDE_BUY = 1                 # of the wire
    SIDE_SELL = 2
    UNIT_LOTS = 1
    UNIT_BASE_QUANTITY = 2
    UNIT_CONTRACTS = 3
    UNIT_NOTIONAL = 4
    POSTURE_MAX = 3

cdef int64_t S = 1_000_000_000
cdef int64_t PRICED_BACK_NS_MAX = 60 * S
cdef int64_t PRICED_AHEAD_NS_MAX = S
cdef int64_t DEADLINE_BACK_NS_MAX = 86_400 * S
cdef int64_t DEADLINE_AHEAD_NS_MAX = 7 * 86_400 * S
cdef int64_t NOW_NS_MAX = <int64_t>1 << 62     # no sum below overflows
cdef double COUNT_MAX = 9007199254740992.0
cdef uint64_t EXACT_MAX = (<uint64_t>1 << 53) - 1  # whole numbers up to here are doubles
cdef uint64_t DIVISOR_MAX = 10_000_000_000
cdef uint64_t TEN[20]
cdef int _power
TEN[0] = 1
for _power in range(1, 20):
    TEN[_power] = 10 * TEN[_power - 1]


# --- the wire ----------------------------------------------------------------------------------------------------

cdef struct Fields:              # of one request, as they lie in its bytes
    Span request_id
    Span rfq_id
    Span quote_id
    Span instrument
    Span quantity
    Span counterparty
    Span desk
    Span price
    Span edge
    Span reference
    Span session
    int64_t priced_at_ns
    int64_t deadline_ns
    uint8_t side
    uint8_t unit
    uint8_t posture
    bint has_priced_at
    bint has_deadline


cdef inline const uint8_t *_span(const uint8_t *at, const uint8_t *end, Span *span) noexcept nogil:
    """A text that is not empty, else ``NULL``."""
    cdef uint64_t n
    at = take_varint(at, end, &n)
    if at == NULL or n == 0 or n > TEXT_BYTES_MAX or <Py_ssize_t>n > end - at:
        return NULL
    span.at = at
    span.n = <Py_ssize_t>n
    return at + n


cdef bint _size(Span inner, Fields *f) noexcept nogil:
    cdef const uint8_t *at = inner.at
    cdef const uint8_t *end = inner.at + inner.n
    cdef uint64_t value
    if at[0] != 0x0A:            # quantity
        return False
    at = _span(at + 1, end, &f.quantity)
    if at == NULL or end - at != 2 or at[0] != 0x10:   # unit, one byte
        return False
    if not UNIT_LOTS <= at[1] <= UNIT_NOTIONAL:
        return False
    f.unit = at[1]
    return True


cdef bint _scan(const uint8_t *at, const uint8_t *end, Fields *f) noexcept nogil:
    """Where the fields lie; false where they are none that are read here, or not canonical."""
    cdef uint32_t tag
    cdef uint32_t field
    cdef uint32_t last = 0
    cdef uint64_t value = 0
    cdef Span inner
    memset(f, 0, sizeof(Fields))
    while at < end:
        tag = at[0]
        at += 1
        if tag >= 128:
            if at == end or not 0 < at[0] < 128:
                return False
            tag = (tag & 127) | <uint32_t>at[0] << 7
            at += 1
        field = tag >> 3
        if field <= last:
            return False
        last = field
        if tag == (1 << 3 | 2):
            at = _span(at, end, &f.request_id)
        elif tag == (2 << 3 | 2):
            at = _span(at, end, &f.rfq_id)
        elif tag == (3 << 3 | 2):
            at = _span(at, end, &f.quote_id)
        elif tag == (4 << 3 | 2):
            at = _span(at, end, &f.instrument)
        elif tag == (6 << 3 | 0):
            at = take_varint(at, end, &value)
            if value != SIDE_BUY and value != SIDE_SELL:
                return False
            f.side = <uint8_t>value
        elif tag == (7 << 3 | 2):
            at = _span(at, end, &inner)
            if at == NULL or not _size(inner, f):
                return False
        elif tag == (8 << 3 | 2):
            at = _span(at, end, &f.counterparty)
        elif tag == (9 << 3 | 2):
            at = _span(at, end, &f.desk)
        elif tag == (10 << 3 | 0):
            at = take_varint(at, end, &value)
            if not 1 <= value <= DEALERS_MAX:
                return False
        elif tag == (11 << 3 | 2):
            at = _span(at, end, &f.price)
        elif tag == (14 << 3 | 2):
            at = _span(at, end, &f.edge)
        elif tag == (15 << 3 | 2):
            at = _span(at, end, &f.reference)
        elif tag == (16 << 3 | 0):
            at = take_varint(at, end, &value)
            f.priced_at_ns = <int64_t>value
            f.has_priced_at = True
        elif tag == (17 << 3 | 0):
            at = take_varint(at, end, &value)
            f.deadline_ns = <int64_t>value
            f.has_deadline = True
        elif tag == (18 << 3 | 2):
            at = _span(at, end, &f.session)
        elif tag == (19 << 3 | 2):   # overrides: nothing, or a posture
            if end - at >= 3 and at[0] == 2 and at[1] == 0x08 and 1 <= at[2] <= POSTURE_MAX:
                f.posture = at[2]
                at += 3
            elif end - at >= 1 and at[0] == 0:
                at += 1
            else:
                return False
        else:
            return False
        if at == NULL:
            return False
    return f.side != 0 and f.instrument.n != 0 and not (f.price.n and f.edge.n)


# --- exact numbers -----------------------------------------------------------------------------------------------

cdef bint _decimal(Span text, Exact *out) noexcept nogil:
    """A decimal as ``faults.Faults.decimal`` takes it, without zeros at its end; false as well where it is too long."""
    cdef const uint8_t *at = text.at
    cdef const uint8_t *end = text.at + text.n
    cdef const uint8_t *first
    cdef const uint8_t *point
    cdef uint64_t count = 0
    cdef uint8_t digit
    out.negative = at[0] == c"-"
    if at[0] == c"-" or at[0] == c"+":
        at += 1
    first = at
    while at < end and c"0" <= at[0] <= c"9":
        at += 1
    point = at
    if not 1 <= point - first <= DIGITS_MAX:
        return False
    out.places = 0
    if at < end:
        if at[0] != c"." or not 1 <= end - at - 1 <= DIGITS_MAX:
            return False
        at += 1
        while at < end:
            if not c"0" <= at[0] <= c"9":
                return False
            at += 1
        while (end - 1)[0] == c"0":
            end -= 1
        if (end - 1)[0] == c".":
            end -= 1
        else:
            out.places = <int>(end - point - 1)
    at = first
    while at < end:
        if at != point:
            digit = at[0] - c"0"
            if count >= TEN[18]:         # of 19 digits the next would overflow
                return False
            count = 10 * count + digit
        at += 1
    out.count = count
    return True


cdef inline bint _times(uint64_t *value, uint64_t factor) noexcept nogil:
    cdef uint128_t product = <uint128_t>value[0] * <uint128_t>factor   # of mixed types it would be cut to 64 bits
    value[0] = <uint64_t>product
    return product >> 64 == 0


cdef inline bint _shift(uint64_t *above, uint64_t *below, int places) noexcept nogil:
    """Times 10^places; false where it does not fit."""
    if not -19 <= places <= 19:
        return False
    return _times(above, TEN[places]) if places >= 0 else _times(below, TEN[-places])


cdef bint _quotient(uint64_t above, uint64_t below, double *out) noexcept nogil:
    """What ``float`` makes of the quotient of decimals, each division of which was rounded to 28 digits first; false where
    that is not certain.

    The two roundings of ``above / price / lot`` move it by less than 1.1e-27 of itself. Below 2^53 and DIVISOR_MAX no
    quotient lies so near the middle of two doubles, nor upon it: a middle has an odd count k of 2^53 to 2^54 halves of a
    unit, and differs by at least 1 / (below k) > 5e-27. So the one rounding of the processor is the same. Any
    other is taken to 64 bits, whose last 11 tell the middle from what lies 2^-11 of a unit off it.
    """
    cdef int up
    cdef int down
    cdef int drop
    cdef uint128_t scaled
    cdef uint128_t quotient
    cdef uint64_t half
    cdef uint64_t low
    cdef uint64_t whole
    if above == 0:
        out[0] = 0.0
        return True
    if above <= EXACT_MAX and below <= DIVISOR_MAX:
        out[0] = <double>above / <double>below
        return True
    up = leading_zeros(above)
    down = leading_zeros(below)
    scaled = above << up
    scaled = scaled << 64
    quotient = scaled / <uint128_t>(below << down)
    drop = 12 if quotient >> 64 else 11
    half = <uint64_t>1 << (drop - 1)
    low = <uint64_t>quotient & (2 * half - 1)
    if low == half or low == half - 1:
        return False
    whole = <uint64_t>(quotient >> drop) + (low > half)
    out[0] = ldexp(<double>whole, drop - 64 + down - up)
    return True


# --- names and what they stand for -------------------------------------------------------------------------------

cdef inline uint64_t _hash(const uint8_t *at, Py_ssize_t n) noexcept nogil:
    cdef uint64_t word
    cdef uint64_t sum = <uint64_t>n * <uint64_t>0x9E3779B97F4A7C15
    while n >= 8:
        memcpy(&word, at, 8)
        sum = (sum ^ word) * <uint64_t>0x9E3779B97F4A7C15
        sum ^= sum >> 32
        at += 8
        n -= 8
    word = 0
    memcpy(&word, at, <size_t>n)
    sum = (sum ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return sum ^ sum >> 29


cdef class _Names:
    """A bounded table of names that have been looked up. One that finds no room takes the place of another."""

    def __cinit__(self, Py_ssize_t names):
        cdef Py_ssize_t n = SLOTS_MIN
        while n < 4 * names and n < SLOTS_MAX:
            n *= 2
        self._slots = <Slot *>PyMem_Calloc(n + LOOKED_AT, sizeof(Slot))
        if self._slots == NULL:
            raise MemoryError()
        self._mask = n - 1
        self._held = [None] * (n + LOOKED_AT)
        self._turn = 0

    def __dealloc__(self):
        PyMem_Free(self._slots)

    cdef Slot *find(self, Span name, uint64_t hash) noexcept:
        cdef Slot *slot = self._slots + (hash & self._mask)
        cdef int i
        for i in range(LOOKED_AT):
            if slot.hash == hash and slot.n == name.n and memcmp(slot.text, name.at, <size_t>name.n) == 0:
                return slot
            slot += 1
        return NULL

    cdef Slot *put(self, str name, uint64_t hash, uint32_t index, int64_t step_ns) except NULL:
        cdef Py_ssize_t at = <Py_ssize_t>(hash & self._mask)
        cdef Py_ssize_t n
        cdef const char *text = PyUnicode_AsUTF8AndSize(name, &n)
        cdef int i
        for i in range(LOOKED_AT):
            if self._slots[at + i].n == 0:
                at += i
                break
        else:
            at += self._turn % LOOKED_AT
            self._turn += 1
        self._held[at] = name
        cdef Slot *slot = self._slots + at
        slot.hash = hash
        slot.text = text
        slot.n = n
        slot.index = index
        slot.step_ns = step_ns
        return slot

    cdef str text(self, Slot *slot):
        return <str>self._held[slot - self._slots]


cdef str _text(Span span):
    """The text, ``None`` where ``faults.Faults.text`` would not have it."""
    cdef const uint8_t *at = span.at
    cdef Py_ssize_t i
    cdef uint8_t high = 0
    cdef uint8_t bad = 0
    if span.n == 0:
        return ""
    for i in range(span.n):
        high |= at[i]
        bad |= (at[i] < 0x20) | (at[i] == 0x7F)
    if bad:
        return None
    if high < 128:
        return PyUnicode_DecodeUTF8(<const char *>at, span.n, NULL) if span.n <= TEXT_CHARACTERS_MAX else None
    try:
        text = PyUnicode_DecodeUTF8(<const char *>at, span.n, NULL)
    except UnicodeDecodeError:
        return None
    return text if len(text) <= TEXT_CHARACTERS_MAX and text.isprintable() else None


cdef bint _is_text(Span span) except -1:
    """``_text`` would have it."""
    cdef const uint8_t *at = span.at
    cdef Py_ssize_t i
    cdef uint8_t odd = 0
    for i in range(span.n):
        odd |= (at[i] < 0x20) | (at[i] >= 0x7F)
    return span.n <= TEXT_CHARACTERS_MAX if not odd else _text(span) is not None


cdef bint _step(object step, Exact *out) except -1:
    """A tick or lot as a count and places, without zeros at its end; false where it does not fit."""
    sign, digits, exponent = step.as_tuple()
    if sign or not isinstance(exponent, int):
        return False
    count = int("".join(map(str, digits)))
    if count == 0:
        return False
    while count % 10 == 0:
        count //= 10
        exponent += 1
    if count >= 2**63 or not -DIGITS_MAX <= exponent <= DIGITS_MAX:
        return False
    out.count = count
    out.places = -exponent
    out.negative = False
    return True


# --- requests ----------------------------------------------------------------------------------------------------

cdef class PlainRequest:
    """What ``RequestReader`` found."""

    def __init__(self):
        self.record = RequestRecord.__new__(RequestRecord)


cdef class RequestReader:
    """Keeps what the names in requests stand for, as long as the engine's configuration is the same."""

    def __init__(self, engine):
        self._engine = engine
        self._follow()

    def __dealloc__(self):
        PyMem_Free(self._grids)

    cdef int _follow(self) except -1:
        """Forget everything, and take it from the configuration that is in force now."""
        engine = self._engine
        policy, config, instruments = engine.policy, engine.config, engine.instruments
        cdef Grid *grids = <Grid *>PyMem_Calloc(len(instruments) + 1, sizeof(Grid))
        if grids == NULL:
            raise MemoryError()
        PyMem_Free(self._grids)
        self._grids = grids
        self._instrument = _Names(len(instruments))
        self._counterparty = _Names(len(policy.counterparty_names) + STRANGERS)
        self._desk = _Names(len(policy.desk_names))
        self._session = _Names(len(policy.session_names))
        self._policy, self._config, self._instruments = policy, config, instruments
        return 0

    def read(self, bytes payload not None, int64_t now_ns, bint synchronised):
        """The request in a payload; ``None``: it is not plain, or not certain to be, and ``convert`` must read it."""
        cdef PlainRequest plain = PlainRequest()
        return plain if self.fill(plain, payload, now_ns, synchronised) else None

    cdef bint fill(self, PlainRequest plain, bytes payload, int64_t now_ns, bint synchronised) except -1:
        """As ``read``, into what is given; false where it gives ``None``. Of what was there before nothing is left."""
        cdef Fields f
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(payload)
        cdef Py_ssize_t n = PyBytes_GET_SIZE(payload)
        cdef Slot *instrument
        cdef Slot *counterparty = NULL
        cdef Slot *desk = NULL
        cdef Slot *session = NULL
        cdef Grid *grid
        cdef Request *c
        cdef uint8_t digest[DIGEST_BYTES]
        if not _scan(at, at + n, &f) or not 0 <= now_ns <= NOW_NS_MAX:
            return False
        if f.has_priced_at and not (
            now_ns - PRICED_BACK_NS_MAX <= f.priced_at_ns <= now_ns + PRICED_AHEAD_NS_MAX
        ):
            return False
        if f.has_deadline and not (
            now_ns - DEADLINE_BACK_NS_MAX <= f.deadline_ns <= now_ns + DEADLINE_AHEAD_NS_MAX
        ):
            return False
        # Nothing of these three changes while it is in force, and convert asks nothing else of the configuration.
        if (
            self._engine.policy is not self._policy
            or self._engine.config is not self._config
            or self._engine.instruments is not self._instruments
        ):
            self._follow()
        instrument = self._find_instrument(f.instrument)
        if instrument == NULL:
            return False
        grid = self._grids + instrument.index
        if f.desk.n:
            desk = self._find_desk(f.desk)
            if desk == NULL:
                return False
        if f.session.n:
            session = self._find_session(f.session)
            if session == NULL:
                return False
        if f.counterparty.n:
            counterparty = self._find_counterparty(f.counterparty)
            if counterparty == NULL:
                return False
        request_id = _text(f.request_id)
        if request_id is None or not _is_text(f.rfq_id) or not _is_text(f.quote_id):
            return False

        c = &plain.record.c
        memset(c, 0, sizeof(Request))
        c.instrument = instrument.index
        c.side = 1 if f.side == SIDE_BUY else -1
        c.now_ns = c.priced_at_ns = now_ns
        c.counterparty = NO_INDEX if counterparty == NULL else counterparty.index
        c.desk = NO_INDEX if desk == NULL else desk.index
        c.session = NO_INDEX if session == NULL else session.index
        c.posture = f.posture
        if not synchronised:
            c.flags |= REQ_UNSYNCHRONISED
        if f.has_priced_at:
            c.priced_at_ns = f.priced_at_ns
            c.flags |= REQ_HAS_PRICED_AT
        if f.has_deadline:
            c.client_deadline_ns = f.deadline_ns
            c.flags |= REQ_HAS_DEADLINE
        c.size_lots = c.price_ticks = c.edge_ticks = c.reference_ticks = NAN
        if not _fill_numbers(&f, grid, c):
            return False

        plain.request_id = request_id
        plain.counterparty = "" if counterparty == NULL else self._counterparty.text(counterparty)
        plain.tick = grid.tick_size
        plain.venue_step_ns = 1 if session == NULL else session.step_ns
        if f.request_id.n:
            quotelife_blake(at, <size_t>n, digest)
            plain.digest = PyBytes_FromStringAndSize(<const char *>digest, DIGEST_BYTES)
        else:
            plain.digest = b""
        return True

    cdef Slot *_find_instrument(self, Span name) except? NULL:
        cdef uint64_t hash = _hash(name.at, name.n)
        cdef Slot *slot = self._instrument.find(name, hash)
        if slot != NULL:
            return slot
        text = _text(name)
        instrument = None if text is None else self._instruments.get(text)
        if instrument is None:
            return NULL
        cdef uint32_t index = instrument.index
        cdef Grid *grid = self._grids + index
        if not grid.known:
            grid.tick_size = float(instrument.tick_size)
            grid.exact = _step(instrument.tick_size, &grid.tick) and _step(instrument.lot_size, &grid.lot)
            grid.coin_margined = instrument.venue.endswith("coinm")
            grid.derivative = grid.coin_margined or instrument.venue.endswith("usdm")
            grid.known = True
        return self._instrument.put(text, hash, index, 0)

    cdef Slot *_find_counterparty(self, Span name) except? NULL:
        """Also one that is not configured."""
        cdef uint64_t hash = _hash(name.at, name.n)
        cdef Slot *slot = self._counterparty.find(name, hash)
        if slot != NULL:
            return slot
        text = _text(name)
        if text is None:
            return NULL
        index = self._policy.counterparty_index(text)
        return self._counterparty.put(text, hash, NO_INDEX if index is None else index, 0)

    cdef Slot *_find_desk(self, Span name) except? NULL:
        cdef uint64_t hash = _hash(name.at, name.n)
        cdef Slot *slot = self._desk.find(name, hash)
        if slot != NULL:
            return slot
        text = _text(name)
        index = None if text is None else self._policy.desk_index(text)
        return NULL if index is None else self._desk.put(text, hash, index, 0)

    cdef Slot *_find_session(self, Span name) except? NULL:
        cdef uint64_t hash = _hash(name.at, name.n)
        cdef Slot *slot = self._session.find(name, hash)
        if slot != NULL:
            return slot
        text = _text(name)
        index = None if text is None else self._policy.session_index(text)
        if index is None:
            return NULL
        return self._session.put(text, hash, index, self._config.venue_sessions[text].granularity_ns)


cdef bint _steps(const Exact *number, const Exact *step, double *out) noexcept nogil:
    """How many ticks or lots it is, as ``convert`` says it; false where that is not certain, or too many."""
    cdef uint64_t above = number.count
    cdef uint64_t below = step.count
    if not _shift(&above, &below, step.places - number.places) or not _quotient(above, below, out):
        return False
    if number.negative:
        out[0] = -out[0]
    return -COUNT_MAX <= out[0] <= COUNT_MAX


cdef bint _lots(const Exact *quantity, uint8_t unit, const Exact *price, const Grid *grid, double *out) noexcept nogil:
    """As ``convert.to_lots``; ``price`` is ``NULL`` where none was given."""
    cdef uint64_t above = quantity.count
    cdef uint64_t below = 1
    cdef int places = -quantity.places
    if unit != UNIT_LOTS:
        if unit == UNIT_CONTRACTS:
            if not grid.derivative:
                return False
        elif grid.coin_margined:
            return False
        below = grid.lot.count
        places += grid.lot.places
        if unit == UNIT_NOTIONAL:
            if price == NULL or not _times(&below, price.count):
                return False
            places += price.places
    return _shift(&above, &below, places) and _quotient(above, below, out) and 0.0 < out[0] <= COUNT_MAX


cdef bint _fill_numbers(const Fields *f, const Grid *grid, Request *c) noexcept nogil:
    """Size, price, edge and reference; false where ``convert`` has to read them."""
    cdef Exact number
    cdef Exact quantity
    cdef Exact mid
    cdef bint has_mid = False
    if not grid.exact:
        return False
    if f.reference.n:
        if not _decimal(f.reference, &number) or number.negative or number.count == 0:
            return False
        if not _steps(&number, &grid.tick, &c.reference_ticks):
            return False
        c.flags |= REQ_HAS_REFERENCE
        mid = number
        has_mid = True
    if f.price.n:
        if not _decimal(f.price, &number) or number.negative or number.count == 0:
            return False
        if not _steps(&number, &grid.tick, &c.price_ticks):
            return False
        c.flags |= REQ_HAS_PRICE
        mid = number
        has_mid = True
    if f.edge.n:
        if not _decimal(f.edge, &number) or not _steps(&number, &grid.tick, &c.edge_ticks):
            return False
        c.flags |= REQ_HAS_EDGE
    if f.unit:
        if not _decimal(f.quantity, &quantity) or quantity.negative or quantity.count == 0:
            return False
        if not _lots(&quantity, f.unit, &mid if has_mid else NULL, grid, &c.size_lots):
            return False
        c.flags |= REQ_HAS_SIZE
    return True
