# What becomes of live quotes: withdrawn, expired, forgotten; and what is said of it.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from quotelife.decision.policy cimport Policy
from quotelife.quotes.live_quotes cimport LiveQuote, LiveQuotes, LiveSide
from quotelife.records cimport WITHDRAW_REASONS, WatchRecord
from quotelife.windows.int128 cimport int128_t

cdef struct CancelBudget:      # of a venue session: the generic cell rate algorithm, in whole nanoseconds
    int64_t every_ns           # 0: without bound
    int64_t burst
    int64_t tat_ns             # theoretical arrival time of the next


cdef class Watching:
    cdef LiveQuotes c
    cdef CancelBudget* _budget                  # by venue session
    cdef int128_t* _exposure                    # money at risk by instrument, in units of 2**-60 ...
    cdef int128_t* _desk_exposure               # ... and by desk
    cdef uint32_t _exposures
    cdef uint32_t _desks
    cdef int64_t _repeat_ns
    cdef int64_t due_ns                         # before this time alone changes nothing
    cdef bint _waits                            # something may, in the queue of some venue session
    cdef int64_t _release_ns                    # when the next of those that wait may go; INT64_MAX: none waits
    cdef WatchRecord* said                      # by the input under way, not told yet
    cdef uint32_t* said_of                      # places of the quotes that they are of
    cdef size_t said_n
    cdef size_t _said_room
    cdef public uint64_t words                  # number of the last; a restart moves it on, so that none comes twice
    cdef readonly uint64_t unsaid               # no memory for what was to be said
    cdef readonly uint64_t registered
    cdef readonly uint64_t expired
    cdef readonly uint64_t hints
    cdef readonly uint64_t held_back            # withdrawals that had to wait
    cdef uint64_t _withdrawn[WITHDRAW_REASONS]
    cdef uint32_t watched_next                  # place of the instrument that the next timer begins below; 0: a new turn
    cdef int64_t watched_ns                     # when the turn under way began
    cdef uint32_t judged_next                   # place that the next timer begins at
    cdef int64_t judged_ns                      # when the turn under way began
    cdef readonly uint64_t judged
    cdef int64_t forget_ns
    cdef uint32_t quotes_max
    cdef public uint64_t next_quote             # id; a restart moves it on, so that none comes twice
    cdef dict _places                           # id → place
    cdef dict _names                            # id → QuoteNames
    cdef dict _owners                           # owner → {name: id}, of quotes that are known

    cdef int follow(self, object settings, Policy policy, object before, uint32_t instruments, int64_t t,
                    uint64_t sequence) except -1
    cdef uint32_t place(self, uint64_t quote) except? 0xFFFFFFFF
    cdef uint32_t open(self, const LiveQuote* quote, const LiveSide* sides, int n, object names, int64_t t,
                       bint restored) except? 0xFFFFFFFF
    cdef void withdrawn_before(self, uint32_t place, int64_t t) noexcept nogil
    cdef void time(self, int64_t t, uint64_t sequence) noexcept nogil
    cdef void passed(self, uint32_t instrument, double mid, int64_t t, uint64_t sequence) noexcept nogil
    cdef void withdraw(self, uint32_t place, uint8_t reason, uint32_t side, double moved, double value, int64_t t,
                       uint64_t sequence) noexcept nogil
    cdef void withdraw_market(self, uint32_t instrument, uint8_t reason, int64_t t, uint64_t sequence) noexcept nogil
    cdef void lose(self, uint32_t place, int64_t t, uint64_t sequence) noexcept nogil
    cdef int check_room(self) except -1
    cdef void end(self, uint32_t place, uint8_t state, int64_t t) noexcept nogil
    cdef void hint(self, uint32_t place, int64_t life_ns, int64_t t, uint64_t sequence) noexcept nogil
    cdef WatchRecord* _room(self, uint32_t place) noexcept nogil
    cdef WatchRecord* _say(self, uint8_t kind, uint32_t place, int64_t t, uint64_t sequence) noexcept nogil
    cdef void _withdrawn_now(self, uint32_t place, bint held, int64_t t, uint64_t sequence) noexcept nogil
    cdef double exposure(self, uint32_t instrument) noexcept nogil
    cdef double desk_exposure(self, uint32_t desk) noexcept nogil
    cdef void acknowledge(self, uint32_t place) noexcept nogil
    cdef void _value_risk(self, uint32_t place, int64_t t, bint waits) noexcept nogil
    cdef void _revalue(self, uint32_t place, int64_t t, bint waits) noexcept nogil
    cdef void resize(self, uint32_t place, double size_lots, int64_t t) noexcept nogil
    cdef int recount(self, uint32_t instruments, uint32_t desks) except -1
    cdef void _count(self, uint32_t place, int sign) noexcept nogil
    cdef void _uncount(self, uint32_t place) noexcept nogil
    cdef void _end(self, uint32_t place, uint8_t state, int64_t t) noexcept nogil
    cdef void _release(self, int64_t t, uint64_t sequence) noexcept nogil
    cdef void _look(self) noexcept nogil
    cdef int forget(self, int64_t t) except -1
    cdef int drop(self, uint32_t place) except -1
