from quotelife.model.curve cimport CurveModel

# Logit of the hazard of each horizon bin under first passage; -inf where it is 0, +inf where it is 1.
# The caller has checked first_passage_answers().
cdef void first_passage_log_odds(double h_ticks, double sigma_ticks, double* out) noexcept nogil


cdef class FirstPassageModel(CurveModel):
    pass
