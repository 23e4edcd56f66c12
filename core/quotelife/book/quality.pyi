from enum import IntEnum

class QualityCause(IntEnum):
    NONE = 0
    NO_DATA = 1
    RESYNCHRONISING = 2
    ONE_SIDED = 3
    WARMING_UP = 4
    LOST_MESSAGES = 5
    FEED_DOWN = 6
    BOOK_FULL = 7
    LINE_SILENT = 8
    BOOK_SILENT = 9
    BOOK_UNANSWERED = 10
    CROSSED = 11
    HALT = 12
    CLOSED = 13
    DIVERGED = 14
    BEYOND_KNOWN_DEPTH = 15
