"""``GetExpiryResponse`` of one decision, straight from its record to bytes.

The common answer: one side, no package, no features asked for. ``convert.expiry_reply`` says the same of every
other through protobuf's own objects, and both are held against each other. Field numbers and presence are those of
``quote_expiry_service.proto``: a plain field is left out where it is zero, an optional one where it is not known.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.math cimport isfinite, isnan
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quotelife.records cimport (
    ACTUATION_ABSOLUTE,
    ACTUATION_NONE,
    ACTUATION_WITHDRAW,
    DECISION_QUOTE,
    HORIZONS,
    NO_INDEX,
    Decision,
    DecisionRecord,
)
from quotelife_server.protobuf_wire cimport FIXED64, LENGTH, VARINT, put_varint

cdef enum:
    SPACE = 4096
    FIXED_BYTES_MAX = 1400       # of everything but the texts
    CLOCK_SERVICE_UTC = 1
    CLOCK_UNSYNCHRONISED = 2


cdef inline uint8_t *_given(uint8_t *at, uint32_t field, int64_t value) noexcept nogil:
    """An optional whole number, or one known not to be zero."""
    at = put_varint(at, field << 3 | VARINT)
    return put_varint(at, <uint64_t>value)


cdef inline uint8_t *_number(uint8_t *at, uint32_t field, int64_t value) noexcept nogil:
    return _given(at, field, value) if value else at


cdef inline uint8_t *_double(uint8_t *at, uint32_t field, double value) noexcept nogil:
    at = put_varint(at, field << 3 | FIXED64)
    memcpy(at, &value, 8)
    return at + 8


cdef inline uint8_t *_known(uint8_t *at, uint32_t field, double value) noexcept nogil:
    return _double(at, field, value) if isfinite(value) else at


cdef inline uint8_t *_bits(uint8_t *at, uint32_t field, uint64_t mask) noexcept nogil:
    """Bit i of the mask is value i + 1 of the enum; all of them are below 128."""
    cdef uint8_t *length
    cdef int bit
    if not mask:
        return at
    at = put_varint(at, field << 3 | LENGTH)
    length = at
    at += 1
    for bit in range(64):
        if mask >> bit & 1:
            at[0] = <uint8_t>(bit + 1)
            at += 1
    length[0] = <uint8_t>(at - length - 1)
    return at


cdef inline uint8_t *_text(uint8_t *at, uint32_t field, const char *text, Py_ssize_t n) noexcept nogil:
    if n == 0:
        return at
    at = put_varint(at, field << 3 | LENGTH)
    at = put_varint(at, <uint64_t>n)
    memcpy(at, text, <size_t>n)
    return at + n


cdef bytes _curve_head(object horizons_ns):
    """Of a ``Curve``: its length, and the horizons; behind it come the values."""
    cdef uint8_t space[256]
    cdef uint8_t packed[128]
    cdef uint8_t *end = packed
    cdef uint8_t *at
    for horizon_ns in horizons_ns:
        end = put_varint(end, <uint64_t>horizon_ns)
    inner = (<char *>packed)[:end - packed]
    at = _text(space, 1, inner, len(inner))
    at = put_varint(at, 2 << 3 | LENGTH)
    at = put_varint(at, 8 * HORIZONS)
    whole = (<char *>space)[:at - space]
    at = put_varint(space, 17 << 3 | LENGTH)
    at = put_varint(at, <uint64_t>len(whole) + 8 * HORIZONS)
    return (<char *>space)[:at - space] + whole


cdef inline uint8_t *_decision_id(uint8_t *at, const char *boot_id, Py_ssize_t n, uint64_t sequence) noexcept nogil:
    """As ``convert.decision_id`` writes it."""
    cdef uint8_t digits[20]
    cdef int first = 20
    while True:
        first -= 1
        digits[first] = <uint8_t>(c"0" + sequence % 10)
        sequence //= 10
        if not sequence:
            break
    at = put_varint(at, 1 << 3 | LENGTH)
    at = put_varint(at, <uint64_t>(n + 1 + 20 - first))
    memcpy(at, boot_id, <size_t>n)
    at += n
    at[0] = c"-"
    memcpy(at + 1, &digits[first], <size_t>(20 - first))
    return at + 1 + 20 - first


cdef class ReplyWriter:
    """Knows what is the same in every answer of a service."""

    def __init__(self, horizons_ns, str schema_hash):
        if len(horizons_ns) != HORIZONS:
            raise ValueError(f"horizons_ns: must be the {HORIZONS} of the records")
        self._curve = _curve_head(horizons_ns)
        self._schema_hash = schema_hash

    def reply(
        self,
        DecisionRecord record not None,
        *,
        str boot_id not None,
        str request_id not None,
        str model_digest not None,
        double tick,
        int64_t venue_step_ns,
        bint synchronised,
        bint watched,
        int watch_refusal,
        int64_t compute_ns,
    ):
        """The bytes of the answer; ``None`` where its texts are too long for it. ``tick``: of the instrument, in money;
        ``compute_ns``: since work on it began."""
        return self.write(
            record, boot_id, request_id, model_digest, tick, venue_step_ns, synchronised, watched, watch_refusal,
            compute_ns,
        )

    cdef bytes write(
        self, DecisionRecord record, str boot_id, str request_id, str model_digest, double tick,
        int64_t venue_step_ns, bint synchronised, bint watched, int watch_refusal, int64_t compute_ns,
    ):
        """As ``reply``."""
        cdef uint8_t space[SPACE]
        cdef uint8_t *at = space
        cdef const Decision *d = &record.c
        cdef bint quote = d.kind == DECISION_QUOTE
        cdef bint judged = d.h_ticks > 0
        cdef bint drawn = judged
        cdef Py_ssize_t id_n, request_n, digest_n, schema_n
        cdef const char *id_text = PyUnicode_AsUTF8AndSize(boot_id, &id_n)
        cdef const char *request_text = PyUnicode_AsUTF8AndSize(request_id, &request_n)
        cdef const char *digest_text = PyUnicode_AsUTF8AndSize(model_digest, &digest_n)
        cdef const char *schema_text = PyUnicode_AsUTF8AndSize(self._schema_hash, &schema_n)
        cdef int64_t end_ns
        cdef int i
        if id_n + request_n + digest_n + schema_n > SPACE - FIXED_BYTES_MAX:
            return None
        at = _decision_id(at, id_text, id_n, d.input_sequence)
        at = _text(at, 2, request_text, request_n)
        at = _number(at, 3, d.kind)
        at = _number(at, 4, d.life_ns)
        if quote and synchronised:
            at = _given(at, 5, d.expiry_ns)
        at = _number(at, 6, d.now_ns)
        if quote:
            at = _given(at, 7, d.expiry_ns - d.life_ns)
        at = _number(at, 8, CLOCK_SERVICE_UTC if synchronised else CLOCK_UNSYNCHRONISED)
        at = _number(at, 9, d.posture_requested)
        at = _number(at, 10, d.posture_effective)
        at = _number(at, 11, d.rule)
        if d.rule_index != NO_INDEX:
            at = _given(at, 12, d.rule_index)
        at = _number(at, 13, d.mode)
        at = _number(at, 14, d.regime + 1)
        at = _bits(at, 15, d.reasons)
        at = _bits(at, 16, d.binding)
        if judged:
            for i in range(HORIZONS):
                if isnan(d.p[i]):
                    drawn = False
            if drawn:
                memcpy(at, <const char *>self._curve, <size_t>len(self._curve))
                at += len(self._curve)
                memcpy(at, d.p, 8 * HORIZONS)
                at += 8 * HORIZONS
                at = _known(at, 18, d.p_ref)
                if quote:
                    at = _known(at, 19, d.p_life)
            if d.model_role:  # a tolerance of 0 is one that held tolerance has used up
                at = _double(at, 20, d.alpha)
            at = _double(at, 21, d.h_ticks)
            at = _double(at, 22, d.h_ticks * tick)
            at = _known(at, 23, d.edge_ticks)
            if d.reference_ticks != 0:
                at = _known(at, 24, d.reference_ticks)
                at = _known(at, 25, d.reference_ticks * tick)
                at = _known(at, 26, d.sigma_ticks)
            at = _known(at, 27, d.expected_value_ticks * tick)
            at = _known(at, 28, d.break_even_edge_ticks * tick)
        at = _number(at, 30, d.quality + 1)
        if d.data_age_ns >= 0:
            at = _given(at, 31, d.data_age_ns)
        at = _text(at, 32, digest_text, digest_n)
        at = _number(at, 33, d.model_revision)
        at = _text(at, 34, schema_text, schema_n)
        at = _number(at, 35, d.config_revision)
        at = _number(at, 36, compute_ns)
        if watched:
            at = _given(at, 38, d.life_without_watch_ns if quote else 0)
        if judged:
            at = _known(at, 40, d.moved_ticks)
        at = _number(at, 41, d.actuation)
        if quote and d.actuation != ACTUATION_NONE:
            at = _given(at, 42, d.venue_life_ns)
            if synchronised and (d.actuation == ACTUATION_ABSOLUTE or d.actuation == ACTUATION_WITHDRAW):
                end_ns = d.now_ns + d.venue_life_ns
                at = _given(at, 43, end_ns - end_ns % venue_step_ns)
        if judged and d.model_role:
            at = _double(at, 45, d.held_alpha)
        at = _number(at, 46, watched)
        at = _number(at, 47, watch_refusal)
        return PyBytes_FromStringAndSize(<const char *>space, at - space)
