"""Live quotes and those who have them watched: streams, heartbeats, withdrawals until they are acknowledged.

The engine knows when a quote is to be withdrawn; here stands who is told, and what happens when nobody listens.
An *owner* has at most one stream. What the engine says of live quotes lands in a ``WatchTap`` and goes out right
behind the journal's next write, in the turn after the event that brought it; of one turn all leaves together.
While an owner has quotes that outlive their unwatched ends, heartbeats come so often that its lease is renewed in time.
A stream that ends, is silent for too long or is not read is lost, and with it everything that its owner had watched:
the engine withdraws it, the client counts it as withdrawn by itself. Withdrawals stay with the owner until they are
acknowledged, and are said again to its next stream. After a restart owners with live quotes are awaited for as long as
a silence may last.

One thread, the event loop's; no transport.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.clock import Clock
from quotelife.counterparty.posterior import OutcomeCode
from quotelife.engine import Engine
from quotelife.inputs import WatchTap, WatchWord
from quotelife.records import (
    DecisionRecord,
    QuoteStateCode,
    RequestRecord,
    WatchCode,
)
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US
from quotelife_server import watch_messages as wire
from quotelife_server.alerts import WATCH_LOST, WITHDRAWALS_HELD_BACK, Alerts
from quotelife_server.latencies import Latencies
from quotelife_server.ledger import Ledger
from quotelife_server.log import get_logger
from quotelife_server.recent import RecentQuotes
from quotelife_server.rpc import Code, RpcError
from quotelife_server.watch_messages import Said

OPEN_WITHIN_NS = 5 * NS_PER_S  # for the first message of a stream
ALERT_NS = 60 * NS_PER_S  # a lost stream is alerted for so long, or until its owner is back
REPEATS_AT_ONCE = 4096
TELL_AT_ONCE = 512  # words of the engine in one turn, some 9 us each
OWNERS_NAMED_MAX = 10
NEVER_NS = 2**63 - 1
ROUNDING = 1e-9  # of lots, taken off in parts
LATENCY_BOUNDS_NS = tuple(
    us * NS_PER_US for us in (10, 20, 30, 50, 75, 100, 200, 500, 1_000, 5_000, 20_000, 100_000)
)

Decision = tuple[str, int]
"""Boot and input sequence."""

_log = get_logger(__name__)


class Figures:
    """Counters for status and metrics."""

    def __init__(self) -> None:
        self.repeats = 0
        self.refused = 0
        self.lost_streams = 0
        self.slow_consumers = 0
        self.latencies = Latencies(LATENCY_BOUNDS_NS)
        """From the engine time of what brought a withdrawal to the transport."""


class Withdrawal:
    """Said and not acknowledged yet."""

    __slots__ = ("again_ns", "expiry_ns", "name", "queued", "repeated", "sequence", "since_ns", "word")

    def __init__(self, name: str, word: WatchWord, expiry_ns: int, since_ns: int) -> None:
        """``since_ns``: when it was said, or a restart brought it back."""
        self.name = name
        self.word = word
        self.expiry_ns = expiry_ns
        self.since_ns = since_ns
        self.again_ns = 0
        self.repeated = -1  # not said yet
        self.sequence = 0  # of the message that said it first to the stream of now
        self.queued = False


class Owner:
    """Whoever has quotes watched, with or without a stream at present."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stream: Stream | None = None
        self.live = 0
        self.leased = 0  # of those: they are to live beyond their ends without a watch
        self.names: dict[str, int] = {}  # quotes that something may be said of
        self.awaited_until_ns = (
            0  # after a restart: may come back for its live quotes until then; 0: is not awaited
        )
        self.withdrawals: OrderedDict[int, Withdrawal] = (
            OrderedDict()
        )  # by quote, the next to be repeated first

    def count(self, quotes: int, leased: bool) -> None:
        """A live one comes (1) or goes (-1)."""
        self.live += quotes
        self.leased += quotes * leased


class Stream(Protocol):
    """An owner's stream, as far as it is asked for here (``watch_stream``)."""

    since_ns: int
    heard_ns: int
    heartbeat_ns: int  # it hears of us so often
    lease_ns: int  # a heartbeat lets quotes outlive their unwatched ends for so long

    @property
    def interval_ns(self) -> int:
        """How often the client means to be heard."""

    @property
    def waiting(self) -> int:
        """Messages that wait to be written."""

    def put(self, message: Said, now_ns: int) -> None: ...

    def withdraw(self, withdrawal: Withdrawal, now_ns: int) -> None: ...

    def look(self, now_ns: int) -> None: ...

    def renew(self, now_ns: int) -> None: ...

    def end(self, error: RpcError | None, why: str) -> None: ...


class Timer(Protocol):
    def cancel(self) -> None: ...


class Schedule(Protocol):
    """Of the event loop."""

    def soon(self, call: Callable[[], None]) -> object: ...

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer: ...


class LoopSchedule:
    """Of the loop that runs when it is asked."""

    def soon(self, call: Callable[[], None]) -> object:
        return asyncio.get_running_loop().call_soon(call)

    def later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay_s, call)


class Ear:
    """Hangs at an engine from its start (``tap``), and wakes whoever listens by then."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self.tap = WatchTap(self._heard)

    def _heard(self) -> None:
        if self.wake is not None:
            self.wake()


_STANDING = (0, QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)
_WITHDRAW = int(WatchCode.WITHDRAW)  # looked up once, not on the way of every withdrawal
_STATES = {
    OutcomeCode.HIT: QuoteStateCode.FILLED,
    OutcomeCode.LIFTED: QuoteStateCode.FILLED,
    OutcomeCode.EXPIRED: QuoteStateCode.EXPIRED,
    OutcomeCode.DONE_AWAY: QuoteStateCode.CANCELLED,
    OutcomeCode.COVER: QuoteStateCode.CANCELLED,
    OutcomeCode.CANCELLED: QuoteStateCode.CANCELLED,
}


class Watching:
    """All owners and streams of one service."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        boot_id: str,
        ledger: Ledger,
        recent: RecentQuotes,
        schedule: Schedule,
        alerts: Alerts,
        ear: Ear,
        queue_max: int,
    ) -> None:
        """``ear``: at the engine. ``queue_max``: messages of one stream that may wait to be written."""
        self.engine = engine
        self.clock = clock
        self.boot_id = boot_id
        self.ledger = ledger
        self.recent = recent
        self.schedule = schedule
        self.figures = Figures()
        self.queue_max = queue_max
        self._alerts = alerts
        self._tap = ear.tap
        ear.wake = self._said_something
        self._owners: dict[str, Owner] = {}
        self._quotes: dict[
            int, tuple[Owner, str, int, bool]
        ] = {}  # those that something may be said of: owner, name, end, does it outlive its unwatched one
        self._decisions: dict[int, tuple[Decision, ...]] = {}  # of those ...
        self._decided: dict[Decision, tuple[int, ...]] = {}  # ... and back
        # Of TWO_WAY quotes, once an outcome of one side has come: what is left of each, by its decision.
        self._sides: dict[int, dict[int, float]] = {}
        self._strangers: set[Stream] = set()  # streams that have not said whose they are
        self._timer: Timer | None = None
        self._timer_ns = NEVER_NS
        self._beating: Timer | None = None
        self._renewing: Timer | None = None
        self._shortest_ns = 0  # of the leases that it is armed for
        self._expired: dict[
            int, tuple[Owner, str, int, bool]
        ] = {}  # just now: a hint for a new one may follow, among the words that wait
        self._untold: deque[WatchWord] = deque()  # words of the engine that no owner has been told of yet
        self._lost: dict[str, tuple[int, int]] = {}  # owner: when, how many were live
        self._leaving = False

    # --- registration ---------------------------------------------------------------------------------------------

    def refusal(self, owner: str, name: str) -> int:
        """Why a quote of this name cannot be watched for this owner now; 0 where it can."""
        found = self._owners.get(owner)
        if found is None or found.stream is None:
            return expiry.WATCH_REFUSAL_NO_STREAM
        if self._leaving:
            return expiry.WATCH_REFUSAL_UNAVAILABLE
        if name in found.names:
            return expiry.WATCH_REFUSAL_NAME_IN_USE
        if self.engine.watching.live >= self.engine.config.watch.quotes_max:
            return expiry.WATCH_REFUSAL_FULL
        return 0

    def watch(
        self,
        now_ns: int,
        owner: str,
        name: str,
        requests: Sequence[RequestRecord],
        decisions: Sequence[DecisionRecord],
        rfq: str,
    ) -> int:
        """Register a quote that ``refusal`` has nothing against; its id. Raises ``QuotelifeError``, ``ValueError``."""
        quote = self.engine.watch(
            now_ns,
            owner=owner,
            name=name,
            requests=requests,
            decisions=decisions,
            rfq=rfq,
            boot=self.boot_id,
        )
        found = self._owners[owner]
        ends = self.engine.watching.ends_ns(quote)
        assert ends is not None
        end_ns, unwatched_ns = ends
        leased = unwatched_ns < end_ns
        found.count(1, leased)
        found.names[name] = quote
        self._quotes[quote] = (found, name, end_ns, leased)
        if leased:
            self._renew_soon(found)
        self._know(quote, self.boot_id, [decision.input_sequence for decision in decisions])
        self._arm()
        return quote

    def _know(self, quote: int, boot_id: str, sequences: Sequence[int]) -> None:
        self._decisions[quote] = tuple((boot_id, sequence) for sequence in sequences)
        for each in self._decisions[quote]:
            self._decided[each] = (*self._decided.get(each, ()), quote)

    def outcome(
        self,
        now_ns: int,
        boot_id: str,
        decision: DecisionRecord,
        kind: OutcomeCode,
        traded_lots: float | None,
        sides: Sequence[int] = (),
    ) -> None:
        """An outcome was reported of a decision: where its quote is watched, that is over, or what was traded is taken
        off its size. Where that is not known, nobody knows what is left either: it stays live, at what it counts as.

        ``traded_lots``: of the decision's instrument, ``None``: all of it. ``sides``: where the outcome is that of one
        side, the input sequences of all that its quote has: the quote is over when all of them are."""
        for quote in self._decided.get((boot_id, decision.input_sequence), ()):
            self._outcome_of(quote, now_ns, decision, kind, traded_lots, sides)

    def _outcome_of(
        self,
        quote: int,
        now_ns: int,
        decision: DecisionRecord,
        kind: OutcomeCode,
        traded_lots: float | None,
        sides: Sequence[int],
    ) -> None:
        status = self.engine.live_quote(quote)
        entry = self._quotes.get(quote)
        if status is None or entry is None:
            return
        state, left = _STATES[kind], None
        if state == QuoteStateCode.FILLED and traded_lots is not None and status.sides:
            # Lots of its first market, which of a package is another than that of the decision.
            instruments = self.engine.instruments
            first = instruments[status.sides[0][0]]
            traded_lots *= float(instruments[decision.instrument].lot_size / first.lot_size)
        if sides:
            most = self._left_of_sides(quote, status.size_lots, decision, state, traded_lots, sides)
            if most > 0 or math.isnan(most):  # a quote has one size: that of the side with most left
                if state != QuoteStateCode.FILLED and not most < status.size_lots:
                    return
                state, left = QuoteStateCode.PARTLY_FILLED, most if most < status.size_lots else None
        elif state == QuoteStateCode.FILLED and traded_lots is not None and status.sides:
            if math.isnan(status.size_lots):
                state = QuoteStateCode.PARTLY_FILLED
            elif traded_lots < status.size_lots:
                state, left = QuoteStateCode.PARTLY_FILLED, status.size_lots - traded_lots
        now = self.engine.watch_updated(now_ns, quote, state, left)
        if now not in _STANDING and state not in _STANDING:  # else it is withdrawn, and what is left stands
            self.ended(quote)
            owner, name, _, _ = entry
            if owner.stream is not None:  # whoever has reported it, the stream that has it live is to know
                owner.stream.put(wire.over(name, now_ns), now_ns)

    def _left_of_sides(
        self,
        quote: int,
        size_lots: float,
        decision: DecisionRecord,
        state: QuoteStateCode,
        traded_lots: float | None,
        sides: Sequence[int],
    ) -> float:
        """Lots that are left of the side with most, after an outcome of one; 0: all are over, NaN: nobody knows."""
        left = self._sides.setdefault(quote, dict.fromkeys(sides, size_lots))
        before = left[decision.input_sequence]
        if state == QuoteStateCode.FILLED and traded_lots is not None:
            rest = before - traded_lots
            left[decision.input_sequence] = 0.0 if rest <= ROUNDING * before else rest
        else:
            left[decision.input_sequence] = 0.0
        return math.nan if any(map(math.isnan, left.values())) else max(left.values())

    def live(self, owner: str, name: str, decision_id: str) -> bool:
        """Whether the quote of this decision is watched under this name, and nothing has ended it."""
        found = self._owners.get(owner)
        status = None if found is None else self.engine.live_quote(found.names.get(name, 0))
        live = (QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)
        return (
            status is not None
            and status.state in live
            and not status.withdraw
            and any(f"{status.boot}-{each}" == decision_id for each in status.decisions)
        )

    def unanswered(self, quote: int) -> None:
        """The answer that it was registered with could not be recorded, so nobody has seen it: it was never live."""
        self.engine.watch_updated(self.clock.now_ns(), quote, QuoteStateCode.CANCELLED)
        self.ended(quote)

    def ended(self, quote: int) -> None:
        """Nothing more will be said of it."""
        entry = self._quotes.pop(quote, None)
        if entry is None:
            return
        owner, name, _, leased = entry
        self._sides.pop(quote, None)
        for decision in self._decisions.pop(quote, ()):
            others = tuple(each for each in self._decided.get(decision, ()) if each != quote)
            if others:
                self._decided[decision] = others
            else:
                self._decided.pop(decision, None)
        if owner.names.get(name) == quote:
            del owner.names[name]
        if owner.withdrawals.pop(quote, None) is None:
            owner.count(-1, leased)

    # --- what the engine says ---------------------------------------------------------------------------------------

    def _said_something(self) -> None:
        """Called from within the engine: what it says leaves behind the journal's next write."""
        self.ledger.after_write(self._tell)

    def _tell(self) -> None:
        told = not self._untold
        self._untold.extend(self._tap.take())
        if self._untold and told:
            self._tell_some()

    def _tell_some(self) -> None:
        """A bounded number, so that others hear that we live while a kill ends tens of thousands."""
        now_ns = self.clock.now_ns()
        untold = self._untold
        for _ in range(min(TELL_AT_ONCE, len(untold))):
            word = untold.popleft()
            quote = word.quote
            entry = self._quotes.get(quote) or self._expired.get(quote)
            if entry is None:
                continue
            owner, name, expiry_ns, leased = entry
            if word.kind == _WITHDRAW:
                owner.count(-1, leased)
                owner.withdrawals[quote] = withdrawal = Withdrawal(name, word, expiry_ns, word.at_ns)
                if owner.stream is not None:
                    self.figures.latencies.observe(now_ns - word.at_ns)
                    owner.stream.withdraw(withdrawal, now_ns)
            elif word.kind == WatchCode.EXPIRED:
                self.ended(quote)
                self._expired[quote] = entry
                if owner.stream is not None:
                    owner.stream.put(wire.expired(name, word), now_ns)
            elif owner.stream is not None:
                owner.stream.put(wire.requote_hint(name, word), now_ns)
        if untold:
            self.schedule.soon(self._tell_some)
        else:
            self._expired.clear()
        self._arm()

    # --- time -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take over what a restart has left, and keep time from here on."""
        config = self.engine.config.watch
        now_ns = self.clock.now_ns()
        self._tap.take()  # of before: it shows in the states of the quotes
        for quote in self.engine.live_quotes():
            owner = self._owners.setdefault(quote.owner, Owner(quote.owner))
            leased = quote.unwatched_ns < quote.expiry_ns
            if quote.state in (QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED):
                owner.count(1, leased)
                owner.awaited_until_ns = now_ns + config.heartbeat_ns * config.heartbeats_missed
            elif quote.state == QuoteStateCode.WITHDRAWN and not quote.acknowledged:
                word = WatchWord(
                    number=quote.number,
                    at_ns=quote.withdrawn_ns,
                    quote=quote.quote,
                    kind=WatchCode.WITHDRAW,
                    reason=quote.withdraw,
                    state=quote.state,
                    moved_ticks=quote.moved_ticks,
                    value_ticks=quote.value_ticks,
                    instrument=quote.withdrawn_at,
                    held=quote.held,
                )
                owner.withdrawals[quote.quote] = Withdrawal(quote.name, word, quote.expiry_ns, now_ns)
            else:
                continue
            self._quotes[quote.quote] = (owner, quote.name, quote.expiry_ns, leased)
            owner.names[quote.name] = quote.quote
            self._know(quote.quote, quote.boot, quote.decisions)
        awaited = [owner.name for owner in self._owners.values() if owner.awaited_until_ns]
        if awaited:
            _log.warning(
                "owners of live quotes are awaited",
                owners=awaited[:OWNERS_NAMED_MAX],
                of=len(awaited),
                quotes=sum(owner.live for owner in self._owners.values()),
            )
        self._arm()
        self._beat()

    def _beat(self) -> None:
        config = self.engine.config.watch
        self._beating = None
        try:
            self.look(self.clock.now_ns())
        finally:
            if not self._leaving:
                heard_every_ns = [
                    min(owner.stream.interval_ns, owner.stream.heartbeat_ns)
                    for owner in self._owners.values()
                    if owner.stream is not None
                ]
                every_ns = min(
                    min(heard_every_ns, default=config.heartbeat_ns) // 4,
                    config.repeat_ns // 2,
                    config.judge_every_ns,
                )
                self._beating = self.schedule.later(every_ns / NS_PER_S, self._beat)

    def _renew_soon(self, owner: Owner) -> None:
        if self._renewing is not None and (
            owner.stream is None or owner.stream.lease_ns >= self._shortest_ns
        ):
            return
        if self._renewing is not None:
            self._renewing.cancel()
        self._renew()

    def _renew(self) -> None:
        """Heartbeats in between, to owners of quotes that live by them."""
        self._renewing = None
        now_ns = self.clock.now_ns()
        leases_ns = []
        for owner in self._owners.values():
            if owner.leased and owner.stream is not None:
                owner.stream.renew(now_ns)
                leases_ns.append(owner.stream.lease_ns)
        if leases_ns and not self._leaving:
            self._shortest_ns = min(leases_ns)
            self._renewing = self.schedule.later(self._shortest_ns / 4 / NS_PER_S, self._renew)

    def look(self, now_ns: int) -> None:
        """Several times a heartbeat: who is silent, who is to hear that we live, what is to be said again."""
        config = self.engine.config.watch
        if self.engine.watching.live:
            self.engine.on_watch_timer(now_ns)  # their data is looked at, what is left of them is judged
        for stranger in list(self._strangers):
            if now_ns - stranger.since_ns > OPEN_WITHIN_NS:
                stranger.end(
                    RpcError(Code.FAILED_PRECONDITION, "open: is missing; it comes first"), "never opened"
                )
        for owner in list(self._owners.values()):
            stream = owner.stream
            if stream is not None:
                stream.look(now_ns)
            elif owner.awaited_until_ns and now_ns > owner.awaited_until_ns:
                self._lose(owner, "did not come back after the restart", now_ns)
            self._repeat(owner, now_ns, config.repeat_ns, config.forget_ns)
            if owner.stream is None and not owner.live and not owner.withdrawals:
                del self._owners[owner.name]
        self._judge(now_ns)
        self._arm()

    def _repeat(self, owner: Owner, now_ns: int, repeat_ns: int, forget_ns: int) -> None:
        for _ in range(min(REPEATS_AT_ONCE, len(owner.withdrawals))):
            quote, withdrawal = next(iter(owner.withdrawals.items()))
            if max(withdrawal.since_ns, withdrawal.expiry_ns) + forget_ns < now_ns:
                self.ended(quote)  # nobody will ask any more, and the engine has forgotten it
                continue
            if withdrawal.again_ns > now_ns or owner.stream is None:
                return
            owner.withdrawals.move_to_end(quote)
            withdrawal.again_ns = now_ns + repeat_ns
            if not withdrawal.queued:
                self.figures.repeats += withdrawal.repeated >= 0
                owner.stream.withdraw(withdrawal, now_ns)

    def _arm(self) -> None:
        """Call the engine when time alone ends or releases a quote."""
        next_ns = self.engine.next_watch_ns()
        if next_ns >= self._timer_ns:
            return  # woken before or then anyway, and looks again
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = next_ns
        delay_ms = max(1, -((self.clock.now_ns() - next_ns) // NS_PER_MS))  # what the loop counts in, upwards
        self._timer = self.schedule.later(delay_ms * NS_PER_MS / NS_PER_S, self._time)

    def _time(self) -> None:
        self._timer, self._timer_ns = None, NEVER_NS
        self.engine.on_watch_timer(self.clock.now_ns())
        self._arm()

    def _judge(self, now_ns: int) -> None:
        for name, (at_ns, _) in list(self._lost.items()):
            owner = self._owners.get(name)
            if now_ns - at_ns > ALERT_NS or (owner is not None and owner.stream is not None):
                del self._lost[name]
        if self._lost:
            named = [
                f"{name} ({count} live)" for name, (_, count) in list(self._lost.items())[:OWNERS_NAMED_MAX]
            ]
            more = f" and {len(self._lost) - len(named)} more" if len(self._lost) > len(named) else ""
            text = f"streams of watched quotes were lost: {', '.join(named)}{more}; those quotes count as withdrawn"
            self._alerts.raise_(WATCH_LOST, text, now_ns)
        else:
            self._alerts.clear(WATCH_LOST, now_ns)
        waiting = self.engine.watching.waiting
        if waiting:
            text = (
                f"{waiting} withdrawals wait until their venue sessions take another cancel (cancels_per_s)"
            )
            self._alerts.raise_(WITHDRAWALS_HELD_BACK, text, now_ns)
        else:
            self._alerts.clear(WITHDRAWALS_HELD_BACK, now_ns)

    # --- streams --------------------------------------------------------------------------------------------------

    def came(self, stream: Stream) -> None:
        self._strangers.add(stream)

    def gone(self, stream: Stream) -> None:
        self._strangers.discard(stream)

    def open(self, stream: Stream, name: str, *, resume: bool, now_ns: int) -> Owner:
        """Give the owner its stream. Raises ``RpcError`` where it has one."""
        if self._leaving:
            raise RpcError(Code.UNAVAILABLE, "the service is draining")
        owner = self._owners.setdefault(name, Owner(name))
        if owner.stream is not None:
            raise RpcError(
                Code.ALREADY_EXISTS,
                "open.owner: has a stream already; end it, or wait until its silence shows, or take another name",
            )
        self._strangers.discard(stream)
        if not resume and owner.live:
            self._lose(owner, "came back without resume", now_ns)
        owner.awaited_until_ns = 0
        owner.stream = stream
        self._owners[name] = owner
        if owner.leased:
            self._renew_soon(owner)
        for withdrawal in owner.withdrawals.values():  # said at once, whatever was said to the stream before
            withdrawal.again_ns, withdrawal.queued, withdrawal.sequence = 0, False, 0
        return owner

    def resumed(self, owner: Owner) -> list[expiry.WatchRegistered]:
        """What of the owner is live and watched on."""
        live = (QuoteStateCode.LIVE, QuoteStateCode.PARTLY_FILLED)
        return [
            wire.registered(self.engine, quote)
            for quote in self.engine.live_quotes(owner.name)
            if quote.state in live and not quote.withdraw
        ]

    def lost(self, owner: Owner, why: str, now_ns: int) -> None:
        """The owner's stream has ended, for whatever reason."""
        owner.stream = None
        for withdrawal in owner.withdrawals.values():
            withdrawal.queued = False
        self._lose(owner, why, now_ns)

    def _lose(self, owner: Owner, why: str, now_ns: int) -> None:
        owner.awaited_until_ns = 0
        told = owner.live or owner.withdrawals  # nobody may cancel those that are withdrawn, either
        count = self.engine.watch_lost(now_ns, owner.name, why) if told else 0
        if count:
            self.figures.lost_streams += 1
            self._lost[owner.name] = (now_ns, count)
            while len(self._lost) > 1024:
                del self._lost[next(iter(self._lost))]
            _log.warning("a watch was lost", owner=owner.name, why=why, live=count)
        else:
            _log.info("a watch ended", owner=owner.name, why=why)

    def leave(self) -> None:
        """The service drains: whoever has quotes watched is told to withdraw them, while streams stand."""
        self._leaving = True
        now_ns = self.clock.now_ns()
        for owner in self._owners.values():
            if owner.live:
                self.engine.watch_lost(now_ns, owner.name, "the service is draining")

    def stop(self) -> None:
        for timer in (self._timer, self._beating, self._renewing):
            if timer is not None:
                timer.cancel()
        self._timer = self._beating = self._renewing = None

    @property
    def unwritten(self) -> int:
        """Messages that wait for the transport."""
        return sum(owner.stream.waiting for owner in self._owners.values() if owner.stream is not None)

    def status(self) -> admin.WatchStatus:
        counts = self.engine.watching.counts()
        now_ns = self.clock.now_ns()
        message = admin.WatchStatus(
            live=counts.live,
            known=counts.known,
            waiting=counts.waiting,
            unacknowledged=self.unacknowledged,
            registered=counts.registered,
            expired=counts.expired,
            hints=counts.hints,
            held_back=counts.held_back,
            repeats=self.figures.repeats,
            refused=self.figures.refused,
            lost_streams=self.figures.lost_streams,
            slow_consumers=self.figures.slow_consumers,
            awaited=sum(owner.awaited_until_ns > 0 for owner in self._owners.values()),
        )
        for reason, count in sorted(counts.withdrawn.items()):
            if count:
                message.withdrawn.add(reason=reason, count=count)
        for owner in self._owners.values():
            if owner.stream is not None:
                message.streams.add(
                    owner=owner.name,
                    since_utc_ns=owner.stream.since_ns,
                    silent_ns=max(0, now_ns - owner.stream.heard_ns),
                    waiting_messages=owner.stream.waiting,
                    unacknowledged=len(owner.withdrawals),
                )
        return message

    @property
    def unacknowledged(self) -> int:
        return sum(len(owner.withdrawals) for owner in self._owners.values())

    @property
    def streams(self) -> int:
        return sum(owner.stream is not None for owner in self._owners.values())
