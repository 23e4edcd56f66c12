"""The best levels of a book in the venue's own words: what a checksum over text is taken of."""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from quotelife.feed.json_bytes cimport Text
from quotelife.records cimport SIDE_BID


cdef class TextBook:
    """Price and size of each level exactly as they came."""

    def __cinit__(self):
        self.bid.levels = <TextLevel*>calloc(TEXT_LEVELS, sizeof(TextLevel))
        self.ask.levels = <TextLevel*>calloc(TEXT_LEVELS, sizeof(TextLevel))
        if self.bid.levels == NULL or self.ask.levels == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.bid.levels)
        free(self.ask.levels)

    cdef void clear(self) noexcept:
        self.bid.n = self.ask.n = 0

    cdef bint set(self, int side, int64_t price_ticks, int64_t size_lots, Text price, Text size) noexcept:
        cdef TextSide* of = &self.bid if side == SIDE_BID else &self.ask
        cdef int64_t key = price_ticks if side == SIDE_BID else -price_ticks
        cdef int low = 0, high = of.n, middle
        cdef TextLevel* at
        if price.n + size.n + 1 > TEXT_MAX:
            return False
        while low < high:
            middle = (low + high) // 2
            if of.levels[middle].key < key:
                low = middle + 1
            else:
                high = middle
        at = &of.levels[low]
        if low < of.n and at.key == key:
            if size_lots == 0:
                of.n -= 1
                memmove(at, at + 1, (of.n - low) * sizeof(TextLevel))
                return True
        elif size_lots == 0:
            return True
        else:
            if of.n == TEXT_LEVELS:
                if low == 0:
                    return True
                memmove(of.levels, of.levels + 1, (low - 1) * sizeof(TextLevel))
                at -= 1
            else:
                memmove(at + 1, at, (of.n - low) * sizeof(TextLevel))
                of.n += 1
        at.key = key
        at.length = <unsigned char>(price.n + size.n + 1)
        memcpy(at.text, price.at, price.n)
        at.text[price.n] = b':'
        memcpy(at.text + price.n + 1, size.at, size.n)
        return True

    cdef bytes checked(self):
        # bid:size:ask:size:bid:... from the best level on; a side that has run out is left out.
        cdef char text[2 * CHECKED_LEVELS * (TEXT_MAX + 1)]
        cdef Py_ssize_t n = 0
        cdef int i
        cdef TextSide* of
        cdef TextLevel* level
        for i in range(2 * CHECKED_LEVELS):
            of = &self.ask if i & 1 else &self.bid
            if (i >> 1) >= of.n:
                continue
            level = &of.levels[of.n - 1 - (i >> 1)]
            if n:
                text[n] = b':'
                n += 1
            memcpy(text + n, level.text, level.length)
            n += level.length
        return text[:n]
