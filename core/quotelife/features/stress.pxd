# What the regime needs to know, apart from the feature vector: it is judged on every event, the vector only on
# requests. Features fill it, decision/regime reads it.
cdef enum StressValid:
    STRESS_HAS_VOLATILITY = 1
    STRESS_HAS_SPREAD = 2
    STRESS_HAS_UPDATES = 4
    STRESS_HAS_DECORRELATION = 8
    STRESS_HAS_NEWS = 16

cdef struct StressInputs:
    double volatility_ratio          # short over long realised volatility
    double spread_volatility_ratio   # 1 s spread volatility over its 60 s level
    double update_frequency_ratio    # top-of-book updates against their 60 s baseline
    double decorrelation_z           # worst driver
    double news_abs                  # |score| of the strongest news that is still fresh
    unsigned valid                   # StressValid; a field whose bit is clear must not be read
