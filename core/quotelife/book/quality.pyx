"""How far an instrument's data can be trusted: the causes, and the record of its states; docs/quality.md."""

from enum import IntEnum

from quotelife.records cimport QUALITY_GOOD, QUALITY_HALTED


class QualityCause(IntEnum):
    """Why data is not GOOD; docs/quality.md says what each means and what to do."""

    NONE = CAUSE_NONE
    NO_DATA = CAUSE_NO_DATA
    RESYNCHRONISING = CAUSE_RESYNCHRONISING
    ONE_SIDED = CAUSE_ONE_SIDED
    WARMING_UP = CAUSE_WARMING_UP
    LOST_MESSAGES = CAUSE_LOST_MESSAGES
    FEED_DOWN = CAUSE_FEED_DOWN
    BOOK_FULL = CAUSE_BOOK_FULL
    LINE_SILENT = CAUSE_LINE_SILENT
    BOOK_SILENT = CAUSE_BOOK_SILENT
    BOOK_UNANSWERED = CAUSE_BOOK_UNANSWERED
    CROSSED = CAUSE_CROSSED
    HALT = CAUSE_HALT
    CLOSED = CAUSE_CLOSED
    DIVERGED = CAUSE_DIVERGED
    BEYOND_KNOWN_DEPTH = CAUSE_BEYOND_KNOWN_DEPTH


cdef void quality_note(QualityRecord* self, const Verdict* verdict, int64_t t) noexcept nogil:
    cdef int64_t since
    if self.since_ns < 0:
        self.since_ns = t
        self.quality = verdict.quality
        self.entered[verdict.quality] += 1
        self.trouble_ns = -1
    elif verdict.quality != self.quality:
        since = min(max(verdict.since_ns, self.since_ns), t)
        self.time_ns[self.quality] += since - self.since_ns
        self.since_ns = since
        self.quality = verdict.quality
        self.entered[verdict.quality] += 1
    self.cause = verdict.cause
    if verdict.quality == QUALITY_GOOD or verdict.quality == QUALITY_HALTED:
        self.trouble_ns = -1
    elif self.trouble_ns < 0:
        self.trouble_ns = self.since_ns
