# ``GetExpiryResponse`` of one decision, straight from its record to bytes.
from libc.stdint cimport int64_t

from quotelife.records cimport DecisionRecord


cdef class ReplyWriter:
    cdef bytes _curve
    cdef str _schema_hash

    cdef bytes write(
        self, DecisionRecord record, str boot_id, str request_id, str model_digest, double tick,
        int64_t venue_step_ns, bint synchronised, bint watched, int watch_refusal, int64_t compute_ns,
    )
