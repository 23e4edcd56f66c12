# What a decoder knows of one symbol: its grids, where its chain of messages stands, and its counters.
from libc.stdint cimport int64_t, uint32_t

from quotelife.feed.json_bytes cimport Grid

cdef enum:
    WAITING = 0                # SyncState
    SPLICING = 1
    SYNCED = 2


cdef Grid grid_of(object size, str name) except *


cdef class SymbolFeed:
    cdef readonly str symbol
    cdef readonly uint32_t instrument
    cdef bytes key               # the symbol as it stands on the wire
    cdef Grid price_grid
    cdef Grid size_grid
    cdef object tick_size
    cdef object lot_size
    cdef readonly bint companion # another feed gives the book: what is lost here leaves it alone
    cdef bint down               # COMPANION_DOWN was told, COMPANION_UP not yet
    cdef int state               # SyncState
    cdef bint requested          # a snapshot is due or on its way
    cdef int64_t chain_id        # id of the last change applied or held, -1: none
    cdef int64_t chain_ns        # its exchange time
    cdef int64_t depths, quotes, trades, duplicates, gaps, mismatches, syncs, refused, restarts
    cdef int64_t malformed, off_grid, overflows
    cdef void forget(self)       # nothing of the past proves anything any more
