# The best levels of both sides as a venue prints them whole, row by row, and the LEVEL records between two rows.
from libc.stdint cimport int64_t

from quotelife.records cimport Event, EventBuffer

cdef enum:
    WINDOW_LEVELS = 64         # levels a side, at most

cdef struct Row:               # one side: best first; lots above 0
    int n
    int64_t ticks[WINDOW_LEVELS]
    int64_t lots[WINDOW_LEVELS]

cdef struct Window:
    int depth                  # levels a side that a row can show
    bint whole                 # a row has been seen since the start or the last break
    Row side[2]                # bids, asks, as of the last row

# The most events that one row makes.
cdef inline int window_events_max(int depth) noexcept nogil:
    return 4 * depth + 2

# The records that make the book of `before` that of `now`, copies of `like` in all that is not theirs; the first row
# is a snapshot. `now` becomes the window's. The buffer must have room for window_events_max(); returns how many came.
cdef int window_apply(Window* self, const Row* now, const Event* like, EventBuffer buffer) noexcept


cdef class LevelWindow:
    cdef Window c
    cdef readonly EventBuffer buffer
