# How good the served curve has been lately, from the same binned labels as the recalibration.
from quotelife.model.recalibration cimport LabelBucket, Rolling

cdef struct Scores:
    double labels
    double prevalence
    double brier               # mean of (y - p)^2
    double skill               # 1 - brier over that of the prevalence; NaN without both outcomes
    double ece                 # sum over bins of |hits - labels p| over the labels
    double auc                 # NaN without both outcomes
    double z                   # (hits - sum of p) over its standard deviation were the labels independent

cdef void scores_of(const LabelBucket* labels, Scores* out) noexcept nogil
