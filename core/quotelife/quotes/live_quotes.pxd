# Live quotes that are watched: what ends them, and in which order. No market, no rules: the engine judges.
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t

from quotelife.records cimport HORIZONS

cdef enum:
    QUOTE_SIDES_MAX = 32       # of one quote: both sides of a package of 16 legs
    NOWHERE = 0xFFFFFFFF       # no place

cdef struct LiveSide:          # one market that ends a quote by moving against it
    double key                 # the quote is withdrawn when the adverse coordinate, -side * mid, is at or above it
    double mid_ticks           # at pricing: what D counts from
    double h_ticks
    double edge_ticks          # at pricing; NaN: not told
    double loss_ticks          # given pick-off, a lot
    double tick_value          # money: tick size times lot size
    double share               # lots of it for each lot of the quote
    double risk                # money that is expected to be lost by it until its end
    double p[HORIZONS]         # curve of the decision
    uint32_t instrument
    uint32_t quote             # place
    uint32_t next              # place of the quote's next side
    uint32_t heap_at           # in its heap of keys; NOWHERE: not in it
    int8_t side
    uint8_t posture            # in force when it was decided
    uint8_t mode

cdef struct LiveQuote:
    uint64_t id
    int64_t decided_ns         # when it was given its life: nobody could accept it before
    int64_t end_ns             # of its life
    int64_t due_ns             # when time is to end it: end_ns, or never while it waits beyond that
    int64_t unwatched_ns       # of the life that it would have without a watch
    int64_t venue_end_ns       # its venue ends it then at the latest; end_ns: with its life
    int64_t forget_ns          # once it has ended
    double size_lots           # still live; NaN: not told
    double risk                # of all its sides: orders what waits
    uint64_t number            # of the word that ended it; 0: none has
    int64_t withdrawn_ns       # when its withdrawal was said
    uint32_t first             # side
    uint32_t heap_at           # in ends while it is live, in ended afterwards; NOWHERE: in neither
    uint32_t wait_at           # in waiting of its session; NOWHERE: it does not
    uint32_t moved_at          # side that the withdrawal came from; NOWHERE: none
    double moved_ticks         # D of that side then; NaN: not known
    double value_ticks         # what was left was worth then; NaN: not judged
    uint32_t withdrawn_at      # instrument that its withdrawal was said of; NO_INDEX: none
    uint32_t counterparty
    uint32_t desk
    uint32_t session
    uint8_t state              # records.QuoteState
    uint8_t withdraw           # records.WithdrawReason, from when it is to be withdrawn on
    bint acknowledged
    bint lost                  # the stream that had it watched is gone
    bint counted               # what it may lose is in the sums
    bint held                  # its withdrawal had waited
    bint cancels               # the venue holds it longer than we do: its end is a withdrawal

cdef struct Heap:
    uint32_t* place
    uint32_t n
    uint32_t room

cdef struct LiveQuotes:
    LiveQuote* quote
    LiveSide* side
    uint32_t room              # for quotes ...
    uint32_t sides_room        # ... and for sides
    uint32_t n                 # quotes held, live or not yet forgotten
    uint32_t live
    uint32_t free              # first free place, chained by first
    uint32_t free_side         # chained by next
    uint32_t markets           # 2 for each instrument: against a buyer, against a seller
    Heap* keys                 # by market: sides of live quotes, smallest key on top
    double* trigger            # by market: the smallest key; infinity: none
    uint32_t* watched          # instruments whose markets may end a live quote, in no order ...
    uint32_t* watched_at       # ... and by instrument its place there
    uint32_t watched_n
    Heap ends                  # live ones, next end on top
    Heap ended                 # the others, next to be forgotten on top
    uint32_t sessions
    Heap* waiting              # by venue session: to be withdrawn, but it takes no more cancels now; largest risk on top

cdef bint quotes_markets(LiveQuotes* self, uint32_t instruments) noexcept nogil     # False: no memory
cdef bint quotes_sessions(LiveQuotes* self, uint32_t sessions) noexcept nogil       # nothing waits; False: no memory
cdef void quotes_free(LiveQuotes* self) noexcept nogil
cdef uint64_t quotes_bytes(const LiveQuotes* self) noexcept nogil
# Place of a new live quote with these sides; NOWHERE: no memory.
cdef uint32_t quotes_open(LiveQuotes* self, const LiveQuote* quote, const LiveSide* sides, int n) noexcept nogil
# The live side that the market has passed first by coming to x, of one market; NOWHERE: none.
cdef inline uint32_t quotes_passed(const LiveQuotes* self, uint32_t market, double x) noexcept nogil:
    return self.keys[market].place[0] if x >= self.trigger[market] else NOWHERE
# The next live quote whose due_ns is not after t; NOWHERE: none.
cdef uint32_t quotes_due(const LiveQuotes* self, int64_t t) noexcept nogil
# From now on no market ends it; it stays live and waits for its turn.
cdef bint quotes_wait(LiveQuotes* self, uint32_t place) noexcept nogil              # False: no memory
# Time does not end it any more.
cdef void quotes_hold(LiveQuotes* self, uint32_t place) noexcept nogil
cdef void quotes_stop_waiting(LiveQuotes* self, uint32_t place) noexcept nogil
# It has come to an end, and is known until forget_ns.
cdef void quotes_end(LiveQuotes* self, uint32_t place, int state, int64_t forget_ns) noexcept nogil
# The next that has ended and is to be forgotten by t; NOWHERE: none.
cdef uint32_t quotes_to_forget(const LiveQuotes* self, int64_t t) noexcept nogil
cdef void quotes_drop(LiveQuotes* self, uint32_t place) noexcept nogil


cdef class LiveQuotesView:
    cdef LiveQuotes c
    cdef dict _places
