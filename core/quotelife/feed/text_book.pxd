# The best levels of a book in the venue's own words, for checksums over text.
from libc.stdint cimport int64_t

from quotelife.feed.json_bytes cimport Text

cdef enum:
    TEXT_MAX = 46              # of "price:size"
    TEXT_LEVELS = 1024         # kept a side; beyond them the farthest are given up
    CHECKED_LEVELS = 25        # a side that the checksum covers

cdef struct TextLevel:         # 56 bytes
    int64_t key                # +price for bids, -price for asks: the best has the highest
    unsigned char length
    char text[TEXT_MAX]

cdef struct TextSide:
    TextLevel* levels          # ascending keys
    int n


cdef class TextBook:
    cdef TextSide bid
    cdef TextSide ask

    cdef void clear(self) noexcept
    # size_lots 0 removes the level. False: longer than TEXT_MAX.
    cdef bint set(self, int side, int64_t price_ticks, int64_t size_lots, Text price, Text size) noexcept
    cdef bytes checked(self)
