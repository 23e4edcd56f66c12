# How far an instrument's data can be trusted, why, since when, and how often that changed; docs/quality.md.
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:
    QUALITIES = 6

cdef enum Cause:                    # why the data is not GOOD; CAUSE_NONE while it is
    CAUSE_NONE = 0
    CAUSE_NO_DATA = 1               # WARMING: no whole book so far
    CAUSE_RESYNCHRONISING = 2       # WARMING: the venue starts the book anew, nothing was lost
    CAUSE_ONE_SIDED = 3             # WARMING: one side of the book is empty
    CAUSE_WARMING_UP = 4            # WARMING: the book is whole, but for less than the instrument's warmup
    CAUSE_LOST_MESSAGES = 5         # GAPPED: the sequence or the checksum broke
    CAUSE_FEED_DOWN = 6             # GAPPED or WARMING: the connection is lost
    CAUSE_BOOK_FULL = 7             # GAPPED: more orders than book_orders_max
    CAUSE_LINE_SILENT = 8           # STALE: nothing at all is heard, heartbeats among it
    CAUSE_BOOK_SILENT = 9           # STALE: the line is heard, the book's own stream is not
    CAUSE_BOOK_UNANSWERED = 10      # STALE: trades or quotes go by which the book's own stream does not answer
    CAUSE_CROSSED = 11              # CROSSED
    CAUSE_HALT = 12                 # HALTED: the venue says halt
    CAUSE_CLOSED = 13               # HALTED: the venue says closed
    CAUSE_DIVERGED = 14             # GAPPED: a record does not fit the orders, all of which were told
    CAUSE_BEYOND_KNOWN_DEPTH = 15   # GAPPED: the market has come to levels that are not known

cdef struct Verdict:
    int64_t since_ns                # the instant from which it holds, where the data alone says; else the look's own
    uint8_t quality
    uint8_t cause

cdef struct QualityRecord:
    int64_t since_ns                # in the present state since; -1 before the first look
    int64_t trouble_ns              # neither GOOD nor HALTED since; -1 while it is one of them
    int64_t time_ns[QUALITIES]      # in each state before since_ns
    uint64_t entered[QUALITIES]
    uint8_t quality
    uint8_t cause

# Book a look at time t. A change counts from the verdict's own instant, not from when somebody looked.
cdef void quality_note(QualityRecord* self, const Verdict* verdict, int64_t t) noexcept nogil
