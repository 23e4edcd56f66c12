# The models that serve, by posture, as the engine reads them: C structs that the objects below keep alive.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quotelife.model.curve cimport CurveModel, curve_fn

cdef enum:
    SERVED_SHADOWS_MAX = 4
    SERVED_POSTURES = 4            # by Posture; 0, none chosen: the model of the configuration

    SERVED_ONCE_MAX = 6            # models that answer anybody: a champion and a challenger of each posture

cdef struct ModelSlot:
    curve_fn fn
    const void* params
    uint64_t model                 # first 16 digits of the digest
    int place                      # where the engine keeps what it learned of it, -1: nowhere; the engine sets it

cdef struct PostureModels:
    ModelSlot champion
    ModelSlot challenger
    ModelSlot shadow[SERVED_SHADOWS_MAX]
    const uint8_t* canary          # by counterparty: served by the challenger; NULL where there is none
    uint32_t n_shadows


cdef class ServedModels:
    cdef PostureModels posture[SERVED_POSTURES]
    cdef const ModelSlot* serving_slot[SERVED_ONCE_MAX]    # of the models that answer anybody, each once
    cdef uint32_t n_serving
    cdef readonly CurveModel base
    cdef readonly object lineup
    cdef readonly dict models      # by digest, all that the line-up names
    cdef uint32_t _counterparties
    cdef list _canaries            # the bytes behind canary
    cdef tuple _champion           # model by posture
    cdef tuple _challenger         # its base where there is none

    cpdef CurveModel model_of(self, int posture, int role)
    # The slot that answers a counterparty under a posture; role gets its ModelRole.
    cdef int _serve_once(self) except -1
    cdef const ModelSlot* slot(self, int posture, uint32_t counterparty, uint8_t* role) noexcept nogil
