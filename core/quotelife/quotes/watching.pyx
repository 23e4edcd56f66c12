"""What becomes of live quotes, and what is said of it. Rules of the market are the engine's: it says which are to be
withdrawn, here it is seen to that each is said once, in time, and no faster than its venue session takes cancels.

Everything follows from the calls and their times alone. What was said is numbered and lies in ``said`` until the
engine has told its sinks. Numbers go on over restarts: each registration tells how far they were.
"""

from typing import NamedTuple

from libc.math cimport NAN, ceil, fmax, isnan
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from quotelife.decision.policy cimport Policy
from quotelife.model.curve cimport curve_at
from quotelife.quotes.live_quotes cimport (
    NOWHERE, LiveQuote, LiveSide, quotes_bytes, quotes_drop, quotes_due, quotes_end, quotes_free, quotes_hold,
    quotes_markets, quotes_open, quotes_passed, quotes_sessions, quotes_stop_waiting, quotes_to_forget, quotes_wait,
)
from quotelife.records cimport (
    NO_INDEX, QUOTE_EXPIRED, QUOTE_WITHDRAWN, WATCH_EXPIRED, WATCH_REQUOTE_HINT, WATCH_WITHDRAW,
    WITHDRAW_ADVERSE_MOVE, WITHDRAW_LIFE_ENDED, WITHDRAW_REASONS, WITHDRAW_WATCH_LOST, WatchRecord,
)
from quotelife.windows.int128 cimport int128_t

from quotelife.errors import QuotelifeError

cdef double PER_MONEY = 2.0**60        # units that sums count in
cdef double MOST = 2.0**44             # money, of one side: 2**22 of them fit into a sum


cdef inline int128_t _units(double risk) noexcept nogil:
    # Whole units, so that sums follow from what is live alone, in whichever order it came and went. No number is the
    # most there is.
    if not risk < MOST:
        risk = MOST
    return <int128_t>ceil(fmax(0.0, risk) * PER_MONEY)


class QuoteNames(NamedTuple):
    """What a live quote is called by others. Names, not places: a configuration may number them otherwise."""

    owner: str           # the stream that has it watched
    name: str            # the quote's, among those of its owner
    rfq: str
    boot: str            # of its decisions
    decisions: tuple     # their input sequences
    counterparty: str    # empty: none was named
    desk: str | None
    session: str | None


class WatchCounts(NamedTuple):
    """Since start, ``live``, ``known`` and ``waiting`` now."""

    live: int
    known: int           # live or ended, not forgotten yet
    waiting: int         # to be withdrawn as soon as their venue session takes another cancel
    registered: int
    withdrawn: dict      # by records.WithdrawCode
    expired: int
    hints: int
    held_back: int       # withdrawals that had to wait
    judged: int          # values of what was left
    unsaid: int          # no memory for what was to be said; 0 in a sound process
    memory_bytes: int


cdef class Watching:
    """Live quotes of one engine. Raises ``MemoryError``."""

    def __init__(self):
        self.due_ns = self._release_ns = INT64_MAX
        self.next_quote = 1
        self._places = {}
        self._names = {}
        self._owners = {}

    def __dealloc__(self):
        quotes_free(&self.c)
        free(self._budget)
        free(self.said)
        free(self.said_of)
        free(self._exposure)
        free(self._desk_exposure)

    cdef int follow(self, settings, Policy policy, before, uint32_t instruments, int64_t t,
                    uint64_t sequence) except -1:
        # Take the settings of a configuration's section and the venue sessions of its policy; before: what sessions
        # were called in the one before.
        cdef uint32_t n = len(policy.session_names), k, place
        cdef CancelBudget* budget
        cdef LiveQuote* quote
        self.forget_ns = settings.forget_ns
        self._repeat_ns = settings.repeat_ns
        self.quotes_max = settings.quotes_max
        budget = <CancelBudget*>calloc(max(n, 1), sizeof(CancelBudget))
        if budget == NULL or not quotes_markets(&self.c, instruments):
            free(budget)
            raise MemoryError()
        places = {name: k for k, name in enumerate(policy.session_names)}
        for k in range(n):
            budget[k].every_ns = policy.session(k).cancel_ns
            budget[k].burst = policy.session(k).cancels_burst
        for k, name in enumerate(before):
            if name in places:
                budget[<uint32_t>places[name]].tat_ns = self._budget[k].tat_ns
        waiting = []
        for id, place in self._places.items():
            quote = &self.c.quote[place]
            if quote.wait_at != NOWHERE:
                waiting.append(place)
                quotes_stop_waiting(&self.c, place)
        if not quotes_sessions(&self.c, n):
            free(budget)
            raise MemoryError()
        for id, place in self._places.items():
            self.c.quote[place].session = places.get(self._names[id].session, <uint32_t>NO_INDEX)
        free(self._budget)
        self._budget = budget
        for place in waiting:
            if self.c.quote[place].session == NO_INDEX:      # a session that is gone bounds nobody
                self._withdrawn_now(place, True, t, sequence)
            elif not quotes_wait(&self.c, place):
                raise MemoryError()
        self._waits = True                         # it may: what was withdrawn above has looked at emptied queues
        self._look()

    # --- in and out ---------------------------------------------------------------------------------------------------

    cdef uint32_t place(self, uint64_t quote) except? 0xFFFFFFFF:
        # NOWHERE: it is not known.
        return self._places.get(quote, <uint32_t>NOWHERE)

    cdef uint32_t open(self, const LiveQuote* quote, const LiveSide* sides, int n, object names, int64_t t,
                       bint restored) except? 0xFFFFFFFF:
        # restored: a boot before this one has registered it.
        cdef uint32_t place = quotes_open(&self.c, quote, sides, n)
        if place == NOWHERE:
            raise MemoryError()
        self._places[quote.id] = place
        self._names[quote.id] = names
        self._owners.setdefault(names.owner, {})[names.name] = quote.id
        self.next_quote = max(self.next_quote, quote.id + 1)
        self.registered += not restored
        self._value_risk(place, t, False)
        self.c.quote[place].counted = True
        self._count(place, 1)
        self._look()
        return place

    cdef int check_room(self) except -1:
        # For one more that is live. As many again are known that have ended, withdrawals that nobody has acknowledged
        # among them; a refusal changes nothing, for it is no input.
        if self.c.live >= self.quotes_max:
            raise QuotelifeError(f"{self.quotes_max} quotes are watched; end some first, or raise watch.quotes_max")
        while self.c.n >= 2 * <uint64_t>self.quotes_max and self.c.ended.n:
            self.drop(self.c.ended.place[0])
        return 0

    cdef int forget(self, int64_t t) except -1:
        cdef uint32_t place
        while True:
            place = quotes_to_forget(&self.c, t)
            if place == NOWHERE:
                return 0
            self.drop(place)

    cdef int drop(self, uint32_t place) except -1:
        cdef uint64_t id = self.c.quote[place].id
        names = self._names.pop(id)
        del self._places[id]
        owned = self._owners[names.owner]
        if owned.get(names.name) == id:              # else the name is another's by now
            del owned[names.name]
        if not owned:
            del self._owners[names.owner]
        self._uncount(place)
        quotes_drop(&self.c, place)
        self._look()
        return 0

    cdef void end(self, uint32_t place, uint8_t state, int64_t t) noexcept nogil:
        # As whoever watches it has told: nothing is said.
        self._end(place, state, t)
        self._look()

    # --- what may be lost ---------------------------------------------------------------------------------------------

    cdef int recount(self, uint32_t instruments, uint32_t desks) except -1:
        # Anew, by the numbers of a configuration.
        cdef int128_t* exposure = <int128_t*>calloc(max(instruments, 1), sizeof(int128_t))
        cdef int128_t* desk_exposure = <int128_t*>calloc(max(desks, 1), sizeof(int128_t))
        cdef uint32_t place
        if exposure == NULL or desk_exposure == NULL:
            free(exposure)
            free(desk_exposure)
            raise MemoryError()
        free(self._exposure)
        free(self._desk_exposure)
        self._exposure, self._desk_exposure = exposure, desk_exposure
        self._exposures, self._desks = instruments, desks
        for place in range(self.c.room):
            if self.c.quote[place].id and self.c.quote[place].counted:
                self._count(place, 1)
        return 0

    cdef double exposure(self, uint32_t instrument) noexcept nogil:
        return <double>self._exposure[instrument] / PER_MONEY if instrument < self._exposures else 0.0

    cdef double desk_exposure(self, uint32_t desk) noexcept nogil:
        return <double>self._desk_exposure[desk] / PER_MONEY if desk < self._desks else 0.0

    cdef void _count(self, uint32_t place, int sign) noexcept nogil:
        cdef const LiveQuote* quote = &self.c.quote[place]
        cdef const LiveSide* side
        cdef int128_t units
        cdef uint32_t at = quote.first
        while at != NOWHERE:
            side = &self.c.side[at]
            units = sign * _units(side.risk)
            self._exposure[side.instrument] += units
            if quote.desk < self._desks:
                self._desk_exposure[quote.desk] += units
            at = side.next

    cdef void _uncount(self, uint32_t place) noexcept nogil:
        if self.c.quote[place].counted:
            self._count(place, -1)
            self.c.quote[place].counted = False

    cdef void _value_risk(self, uint32_t place, int64_t t, bint waits) noexcept nogil:
        # size L P(while it can still be hit), of a quote that is not counted just now; waits: in the queue of its
        # venue session, where it does not stand now.
        cdef LiveQuote* quote = &self.c.quote[place]
        cdef LiveSide* side
        cdef double size = 1.0 if isnan(quote.size_lots) else quote.size_lots
        cdef int64_t left = quote.end_ns - t, cancel_ns
        cdef uint32_t at = quote.first
        if quote.cancels and quote.withdraw:
            # Its venue does not end it with its life: it stands until the cancel has come there, which takes as long
            # as its turn does, and then about as long as it takes until a withdrawal is said again. Of a watch that is
            # lost nobody may cancel it.
            cancel_ns = INT64_MAX if quote.lost else self._repeat_ns
            if waits and not quote.lost:
                cancel_ns += (self.c.waiting[quote.session].n + 1) * self._budget[quote.session].every_ns
            left = min(max(left, cancel_ns), quote.venue_end_ns - t)
        quote.risk = 0.0
        while at != NOWHERE:
            side = &self.c.side[at]
            side.risk = 0.0
            if left > 0 and side.h_ticks > 0.0:
                side.risk = size * side.share * side.loss_ticks * side.tick_value * curve_at(side.p, left)
            quote.risk += side.risk
            at = side.next

    cdef void _revalue(self, uint32_t place, int64_t t, bint waits) noexcept nogil:
        # It does not stand in a queue now.
        cdef bint counted = self.c.quote[place].counted
        if counted:
            self._count(place, -1)
        self._value_risk(place, t, waits)
        if counted:
            self._count(place, 1)

    cdef void resize(self, uint32_t place, double size_lots, int64_t t) noexcept nogil:
        # It has another size, or time has passed.
        cdef bint waits = self.c.quote[place].wait_at != NOWHERE
        if waits:
            quotes_stop_waiting(&self.c, place)
        self.c.quote[place].size_lots = size_lots
        self._revalue(place, t, waits)
        if waits:
            quotes_wait(&self.c, place)            # there is the room that it had

    cdef void acknowledge(self, uint32_t place) noexcept nogil:
        # Its withdrawal is acted on.
        if self.c.quote[place].forget_ns:
            self.c.quote[place].acknowledged = True
            self._uncount(place)

    cdef void _end(self, uint32_t place, uint8_t state, int64_t t) noexcept nogil:
        cdef LiveQuote* quote = &self.c.quote[place]
        cdef bint stands = state == QUOTE_WITHDRAWN and not quote.acknowledged       # for all that is known
        quotes_end(&self.c, place, state, max(t, quote.venue_end_ns if stands else quote.end_ns) + self.forget_ns)
        if stands:
            self._revalue(place, t, False)         # nobody says yet that it cannot be hit any more
        else:
            self._uncount(place)

    # --- what time and market do --------------------------------------------------------------------------------------

    cdef void time(self, int64_t t, uint64_t sequence) noexcept nogil:
        cdef LiveQuote* quote
        cdef uint32_t place
        self._release(t, sequence)
        while True:
            place = quotes_due(&self.c, t)
            if place == NOWHERE:
                break
            quote = &self.c.quote[place]
            if quote.cancels:
                # The venue holds it beyond its life: it is not over before it is cancelled.
                quotes_hold(&self.c, place)
                if not quote.withdraw:
                    self.withdraw(place, WITHDRAW_LIFE_ENDED, NOWHERE, NAN, NAN, t, sequence)
                continue
            self._end(place, QUOTE_EXPIRED, t)
            self.expired += 1
            self._say(WATCH_EXPIRED, place, t, sequence)
        self._look()

    cdef void passed(self, uint32_t instrument, double mid, int64_t t, uint64_t sequence) noexcept nogil:
        # The mid of an instrument is this now.
        cdef uint32_t at
        cdef int way
        cdef double x
        for way in range(2):
            x = mid if way else -mid
            while True:
                at = quotes_passed(&self.c, 2 * instrument + way, x)
                if at == NOWHERE:
                    break
                self.withdraw(self.c.side[at].quote, WITHDRAW_ADVERSE_MOVE, at,
                              -self.c.side[at].side * (mid - self.c.side[at].mid_ticks), NAN, t, sequence)

    cdef void withdraw(self, uint32_t place, uint8_t reason, uint32_t side, double moved, double value, int64_t t,
                       uint64_t sequence) noexcept nogil:
        # A live quote; side: which brought it, NOWHERE: none. At once, or as soon as its venue session takes it.
        cdef LiveQuote* quote = &self.c.quote[place]
        cdef CancelBudget* budget
        if quote.withdraw or quote.forget_ns:
            return
        quote.withdraw = reason
        quote.moved_at = side
        quote.moved_ticks = moved
        quote.value_ticks = value
        if quote.session < self.c.sessions and self._budget[quote.session].every_ns:
            budget = &self._budget[quote.session]
            if self.c.waiting[quote.session].n or t < budget.tat_ns - (budget.burst - 1) * budget.every_ns:
                self._revalue(place, t, True)
                if quotes_wait(&self.c, place):
                    self._waits = True
                    self.held_back += 1
                    self._look()
                    return
            budget.tat_ns = max(budget.tat_ns, t) + budget.every_ns
        self._withdrawn_now(place, False, t, sequence)

    cdef void withdrawn_before(self, uint32_t place, int64_t t) noexcept nogil:
        # A boot before this one has said it, as the quote tells: nothing is said, and no venue session is asked.
        self._end(place, QUOTE_WITHDRAWN, t)
        self._look()

    cdef void _withdrawn_now(self, uint32_t place, bint held, int64_t t, uint64_t sequence) noexcept nogil:
        cdef LiveQuote* quote = &self.c.quote[place]
        cdef WatchRecord* said
        self._end(place, QUOTE_WITHDRAWN, t)
        self._withdrawn[quote.withdraw] += 1
        said = self._say(WATCH_WITHDRAW, place, t, sequence)
        if said != NULL:
            said.held = quote.held = held
        self._look()

    cdef void _release(self, int64_t t, uint64_t sequence) noexcept nogil:
        # Those that wait for their venue session, the largest risk first.
        cdef CancelBudget* budget
        cdef uint32_t k
        if t < self._release_ns:
            return
        for k in range(self.c.sessions):
            budget = &self._budget[k]
            while self.c.waiting[k].n and t >= budget.tat_ns - (budget.burst - 1) * budget.every_ns:
                budget.tat_ns = max(budget.tat_ns, t) + budget.every_ns
                self._withdrawn_now(self.c.waiting[k].place[0], True, t, sequence)

    cdef void withdraw_market(self, uint32_t instrument, uint8_t reason, int64_t t, uint64_t sequence) noexcept nogil:
        # Everything that has a side there.
        cdef uint32_t market, at
        for market in range(2 * instrument, 2 * instrument + 2):
            while self.c.keys[market].n:
                at = self.c.keys[market].place[0]
                self.withdraw(self.c.side[at].quote, reason, at, NAN, NAN, t, sequence)

    cdef void lose(self, uint32_t place, int64_t t, uint64_t sequence) noexcept nogil:
        # Nobody acts on it any more: no venue session is asked, and whoever has it counts it as withdrawn.
        cdef LiveQuote* quote = &self.c.quote[place]
        quote.lost = True
        if quote.forget_ns:
            self._revalue(place, t, False)
            return
        if not quote.withdraw:
            quote.withdraw = WITHDRAW_WATCH_LOST
            quote.moved_at = NOWHERE
            quote.moved_ticks = quote.value_ticks = NAN
        self._withdrawn_now(place, False, t, sequence)

    cdef void hint(self, uint32_t place, int64_t life_ns, int64_t t, uint64_t sequence) noexcept nogil:
        # A new quote in the place of one just ended could live so long.
        cdef WatchRecord* said = self._say(WATCH_REQUOTE_HINT, place, t, sequence)
        self.hints += 1
        if said != NULL:
            said.life_ns = life_ns

    # --- what is said -------------------------------------------------------------------------------------------------

    cdef WatchRecord* _room(self, uint32_t place) noexcept nogil:
        # For one more word, numbered; NULL: there is none, and its number is missing.
        cdef size_t room = max(2 * self._said_room, 64)
        cdef WatchRecord* grown
        cdef uint32_t* places
        self.words += 1
        if self.said_n == self._said_room:
            places = <uint32_t*>realloc(self.said_of, room * sizeof(uint32_t))
            if places != NULL:
                self.said_of = places
            grown = NULL if places == NULL else <WatchRecord*>realloc(self.said, room * sizeof(WatchRecord))
            if grown == NULL:
                self.unsaid += 1
                return NULL
            self.said = grown
            self._said_room = room
        self.said_of[self.said_n] = place
        self.said_n += 1
        memset(&self.said[self.said_n - 1], 0, sizeof(WatchRecord))
        return &self.said[self.said_n - 1]

    cdef WatchRecord* _say(self, uint8_t kind, uint32_t place, int64_t t, uint64_t sequence) noexcept nogil:
        cdef LiveQuote* quote = &self.c.quote[place]
        cdef WatchRecord* said = self._room(place)
        if kind != WATCH_REQUOTE_HINT:
            quote.number = self.words
        if kind == WATCH_WITHDRAW:
            quote.withdrawn_ns = t
        if said == NULL:
            return NULL
        said.number = self.words
        said.input_sequence = sequence
        said.at_ns = t
        said.quote = quote.id
        said.life_ns = max(0, quote.end_ns - t)
        said.kind = kind
        said.reason = quote.withdraw if kind == WATCH_WITHDRAW else 0
        said.state = quote.state
        said.moved_ticks = said.value_ticks = NAN
        if kind == WATCH_WITHDRAW:
            said.moved_ticks = quote.moved_ticks
            said.value_ticks = quote.value_ticks
        said.instrument = NO_INDEX
        if kind == WATCH_WITHDRAW and quote.moved_at != NOWHERE:
            said.instrument = self.c.side[quote.moved_at].instrument
        elif quote.first != NOWHERE:
            said.instrument = self.c.side[quote.first].instrument
        if kind == WATCH_WITHDRAW:
            quote.withdrawn_at = said.instrument
        return said

    cdef void _look(self) noexcept nogil:
        # When is it that time alone changes something?
        cdef const CancelBudget* budget
        cdef uint32_t k
        self.due_ns = INT64_MAX
        if self.c.ends.n:
            self.due_ns = self.c.quote[self.c.ends.place[0]].due_ns
        if self._waits:
            self._waits = False
            self._release_ns = INT64_MAX
            for k in range(self.c.sessions):
                budget = &self._budget[k]
                if self.c.waiting[k].n:
                    self._waits = True
                    self._release_ns = min(self._release_ns, budget.tat_ns - (budget.burst - 1) * budget.every_ns)
            self.due_ns = min(self.due_ns, self._release_ns)

    # --- views --------------------------------------------------------------------------------------------------------

    @property
    def live(self):
        """How many are."""
        return self.c.live

    @property
    def waiting(self):
        """Withdrawals held back until their venue sessions take another cancel."""
        cdef uint64_t waiting = 0
        cdef uint32_t k
        for k in range(self.c.sessions):
            waiting += self.c.waiting[k].n
        return waiting

    def counts(self):
        """``WatchCounts``."""
        return WatchCounts(
            self.c.live, self.c.n, self.waiting, self.registered,
            {k: self._withdrawn[k] for k in range(1, WITHDRAW_REASONS)}, self.expired, self.hints, self.held_back,
            self.judged, self.unsaid, quotes_bytes(&self.c),
        )

    def exposures(self):
        """Money that quotes which can still be hit are expected to lose: by instrument index, by desk index."""
        cdef uint32_t k
        return ([self.exposure(k) for k in range(self._exposures)],
                [self.desk_exposure(k) for k in range(self._desks)])

    def ends_ns(self, uint64_t quote):
        """End of the life of a quote that is known, and of that without a watch; else ``None``."""
        cdef const LiveQuote* held
        place = self._places.get(quote)
        if place is None:
            return None
        held = &self.c.quote[<uint32_t>place]
        return held.end_ns, held.unwatched_ns

    def exposure_of(self, uint32_t instrument):
        """Of one instrument, by its index."""
        return self.exposure(instrument)

    def desk_exposure_of(self, uint32_t desk):
        """Of one desk, by its index."""
        return self.desk_exposure(desk)

    def names(self, uint64_t quote):
        """``QuoteNames`` of a quote that is known, else ``None``."""
        return self._names.get(quote)

    def by_owner(self, owner=None):
        """Ids of what is known, of one owner or of all, in the order of registration."""
        if owner is not None:
            return sorted(self._owners.get(owner, {}).values())
        return sorted(self._places)

    def find(self, str owner, str name):
        """Id of the quote of that name, 0 where none is known."""
        return self._owners.get(owner, {}).get(name, 0)

    def owners(self):
        """Those that have quotes known, by name."""
        return sorted(self._owners)
