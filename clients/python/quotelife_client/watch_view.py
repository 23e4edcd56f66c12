"""What a client knows of the quotes that it has watched, without any input or output.

``WatchView`` takes the service's messages and the time, and says what has happened, what is to be sent, and whether a
quote may be thought of as live. It errs on the safe side: a quote is live only while the service is heard and has not
said otherwise, and beyond its unwatched end only on lease: until so long after the service's time in the newest
heartbeat. All times but those of the wire are of ``time.monotonic_ns``.
"""

import heapq
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, cast

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_client import calls
from quotelife_client.types import (
    Actuation,
    Expiry,
    QuoteState,
    Side,
    SizeUnit,
    WatchEvent,
    WatchEventKind,
    WatchRefusal,
    WithdrawReason,
)

BATCH_MAX = 256
BATCH_BYTES_MAX = 32_768  # well below what a service takes in one message
ENDED_KEPT = 16_384
OUTGOING_MAX = 262_144
OFFSETS_KEPT = 64
_UNKNOWN = object()
SILENCE_NS = 500_000_000  # until the service has said how long it may be
LEASE_NS_MIN, LEASE_NS_MAX = 20_000_000, 60_000_000_000


class _Watched:
    """A quote that is live as far as is known, or asked about. ``until_ns``, ``unwatched_ns``: UTC."""

    __slots__ = ("asked", "expiry", "listed", "until_ns", "unwatched_ns")

    def __init__(self, until_ns: int = 0, unwatched_ns: int = 0, *, asked: bool = False) -> None:
        self.until_ns = until_ns
        self.unwatched_ns = unwatched_ns
        self.asked = asked  # registration is under way: not live yet
        self.listed = True


class WatchView:
    """One owner's quotes over one stream after another."""

    def __init__(
        self,
        owner: str,
        *,
        heartbeat_ns: int | None = None,
        lease_ns: int | None = None,
        resume: bool = False,
    ) -> None:
        """``heartbeat_ns``: how often the service shall hear us; by default as often as it is heard itself.
        ``lease_ns``: how long one of its heartbeats lets quotes outlive their unwatched ends; by default as it says."""
        if not owner or len(owner) > 128 or not owner.isprintable():
            raise ValueError("owner: give 1 to 128 printable characters")
        if heartbeat_ns is not None and not 10_000_000 <= heartbeat_ns <= 60_000_000_000:
            raise ValueError(f"heartbeat: {heartbeat_ns / 1e9} s does not lie between 0.01 and 60")
        if lease_ns is not None and not LEASE_NS_MIN <= lease_ns <= LEASE_NS_MAX:
            raise ValueError(f"lease: {lease_ns / 1e9} s does not lie between 0.02 and 60")
        self.owner = owner
        self.outgoing: deque[expiry.WatchQuotesRequest] = deque()
        self.boot_id = ""
        self.silence_ns = SILENCE_NS
        self.interval_ns = heartbeat_ns or SILENCE_NS // 2
        self.lease_ns = lease_ns or 0
        self._given_ns = heartbeat_ns
        self._silences = 2.0  # of the service's intervals, that make its silence too long
        self._given_lease_ns = lease_ns
        self._proven_ns = 0  # UTC: the service's time in the newest heartbeat
        self._unwatched_ends: list[tuple[int, str]] = []  # a heap; of quotes that end later, or have ended
        self._leased: set[str] = set()  # those past their unwatched ends
        self._resume = resume
        self._open = False  # the service has answered our opening
        self._resuming = False
        self._heard_ns: int | None = None
        self._sequence = 0
        self._beat_ns = 0  # our last heartbeat
        self._offsets: deque[int] = deque(maxlen=OFFSETS_KEPT)
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._quotes: dict[str, _Watched] = {}
        self._ended: OrderedDict[str, WithdrawReason | None] = OrderedDict()
        self._waiting: dict[str, int] = {}  # told WITHDRAW, not taken by the caller: newest sequence; 0: none
        self._missed: set[str] = set()  # the caller failed to take it; of those that have ended

    # --- what is asked of it ----------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """The service has opened the stream, and it has not ended."""
        return self._open

    def alive(self, now_ns: int) -> bool:
        """The stream stands and the service was heard within its bound."""
        return self._open and self._heard_ns is not None and now_ns - self._heard_ns <= self.silence_ns

    def live(self, quote_id: str, now_ns: int) -> bool:
        """Registered, not withdrawn or over, before its end by the service's clock, and the service is heard; beyond
        the unwatched end only on lease."""
        quote = self._quotes.get(quote_id)
        if quote is None or quote.asked or not quote.listed or not self.alive(now_ns):
            return False
        utc_ns = self.utc_ns(now_ns)
        return utc_ns < quote.until_ns and utc_ns < max(quote.unwatched_ns, self._proven_ns + self.lease_ns)

    def live_quotes(self, now_ns: int) -> list[str]:
        # A copy is made at once: another thread may register.
        return [quote_id for quote_id in list(self._quotes) if self.live(quote_id, now_ns)]

    def withdrawn(self, quote_id: str) -> WithdrawReason | None:
        """Why it was withdrawn; ``None`` where it was not, or that is long ago."""
        return self._ended.get(quote_id)

    def utc_ns(self, now_ns: int) -> int:
        """The service's clock, as the fastest of its last messages showed it."""
        return now_ns + self._offset_ns

    def silent_at_ns(self) -> int | None:
        """When its silence will have been too long; ``None`` while nothing stands."""
        return None if self._heard_ns is None else self._heard_ns + self.silence_ns

    def due_ns(self) -> int | None:
        """When the lease of a quote runs out unless a heartbeat comes; ``None``: no quote needs one."""
        due_ns = self._proven_ns + self.lease_ns
        if not self._leased:
            if not self._unwatched_ends:
                return None
            due_ns = max(due_ns, self._unwatched_ends[0][0])
        return due_ns - self._offset_ns

    # --- what the caller does -----------------------------------------------------------------------------------------

    def expect(self, quote_id: str) -> None:
        """GetExpiry with ``watch`` is under way: what is said of the quote meanwhile is not forgotten. Raises
        ``ValueError`` for the id of a live quote, or of one that has ended: a service that is asked again with the same
        ``request_id`` gives the answer of then."""
        if quote_id in self._quotes:
            raise ValueError(f"quote_id: {quote_id!r} is watched already; a new quote takes a new id")
        if quote_id in self._ended or quote_id in self._waiting:
            raise ValueError(f"quote_id: {quote_id!r} has ended; a new quote takes a new id")
        self._quotes[quote_id] = _Watched(asked=True)

    def answered(self, quote_id: str, answer: Expiry | None) -> None:
        """How that went; ``None``: there is no answer."""
        quote = self._quotes.get(quote_id)
        if quote is None or not quote.asked:
            return  # withdrawn, or lost, before its answer was here
        if answer is None or not answer.watched or answer.counted_from_utc_ns is None:
            del self._quotes[quote_id]
            return
        quote.asked = False
        quote.until_ns = answer.counted_from_utc_ns + answer.life_ns
        without_ns = answer.life_ns if answer.life_without_watch_ns is None else answer.life_without_watch_ns
        self._lives(quote_id, quote, answer.counted_from_utc_ns + without_ns)

    def register(
        self, quote_id: str, *, decision_id: str = "", quote: expiry.GetExpiryRequest | None = None
    ) -> None:
        """``REGISTERED`` or ``REFUSED`` follows. Raises ``ValueError``, ``ConnectionError`` while no stream stands."""
        if bool(decision_id) == (quote is not None):
            raise ValueError("decision_id: give either this or the whole quote")
        if not self._open:
            raise ConnectionError("the watch has no stream at present; nothing can be registered")
        if len(self.outgoing) >= OUTGOING_MAX:
            raise ConnectionError("the service does not take registrations as fast as they come; wait")
        self.expect(quote_id)
        self.outgoing.append(
            expiry.WatchQuotesRequest(
                register=expiry.WatchRegister(quote_id=quote_id, decision_id=decision_id, quote=quote)
            )
        )

    def update(self, quote_id: str, state: QuoteState, remaining: str | None, unit: SizeUnit) -> None:
        """The quote was filled, partly filled, cancelled: the service is told. One that has ended is not live from here
        on, whatever is raised: ``ConnectionError`` where no stream has taken what was said before for too long."""
        if state >= QuoteState.FILLED:
            self._end(quote_id, None)
        if len(self.outgoing) >= OUTGOING_MAX:
            raise ConnectionError("the service does not take updates as fast as they come; wait")
        message = expiry.WatchUpdate(
            quote_id=quote_id, state=cast(Any, state.value), at_utc_ns=time.time_ns()
        )
        if remaining is not None:
            message.remaining.quantity = remaining
            message.remaining.unit = cast(Any, unit.value)
        self.outgoing.append(expiry.WatchQuotesRequest(update=message))

    def _cancel(self, quote_id: str) -> None:
        """Over here, and the service may watch it still."""
        update = expiry.WatchUpdate(
            quote_id=quote_id, state=cast(Any, QuoteState.CANCELLED.value), at_utc_ns=time.time_ns()
        )
        self.outgoing.append(expiry.WatchQuotesRequest(update=update))

    def acknowledge(self, event: WatchEvent) -> None:
        """The caller has it: a WITHDRAW is being acted on."""
        if event.kind is WatchEventKind.WITHDRAW and (sequence := self._waiting.pop(event.quote_id, 0)):
            self._acknowledge(event.quote_id, sequence)

    def missed(self, event: WatchEvent) -> None:
        """The caller could not take it: a WITHDRAW is not acknowledged, and told again when the service says it
        again."""
        if event.kind is WatchEventKind.WITHDRAW:
            self._waiting.pop(event.quote_id, None)
            if event.quote_id in self._ended:  # else it is told again anyway
                self._missed.add(event.quote_id)

    def _acknowledge(self, quote_id: str, sequence: int) -> None:
        self.outgoing.append(
            expiry.WatchQuotesRequest(
                acknowledge=expiry.WatchAcknowledge(quote_id=quote_id, sequence=sequence)
            )
        )

    # --- the stream -----------------------------------------------------------------------------------------------

    def opening(self) -> expiry.WatchQuotesRequest:
        """The first message of a new stream."""
        self._sequence = 0
        self._beat_ns = 0
        self._resuming = self._resume or bool(self._quotes)
        return expiry.WatchQuotesRequest(
            open=expiry.WatchOpen(
                owner=self.owner,
                heartbeat_interval_ns=self._given_ns or 0,
                resume=self._resuming,
                lease_ns=self._given_lease_ns or 0,
            )
        )

    def take_outgoing(self, now_ns: int) -> expiry.WatchQuotesRequest:
        """What is to be sent: as much as one message takes, and a heartbeat where the last is half an interval old:
        nothing else says what was read, however much there is to say. With nothing to say, a heartbeat."""
        messages: list[expiry.WatchQuotesRequest] = []
        size = 0
        while self.outgoing and len(messages) < BATCH_MAX - 1 and size < BATCH_BYTES_MAX:
            messages.append(self.outgoing.popleft())
            size += messages[-1].ByteSize()
        if not messages or now_ns - self._beat_ns >= self.interval_ns // 2:
            self._beat_ns = now_ns
            messages.append(
                expiry.WatchQuotesRequest(
                    heartbeat=expiry.WatchHeartbeat(
                        at_utc_ns=time.time_ns(), interval_ns=self._given_ns or 0, sequence=self._sequence
                    )
                )
            )
        if len(messages) == 1:
            return messages[0]
        return expiry.WatchQuotesRequest(batch=expiry.WatchRequests(messages=messages))

    def take(self, message: expiry.WatchQuotesResponse, now_ns: int) -> list[WatchEvent]:
        """A message has come: what it tells the caller."""
        self._heard_ns = now_ns
        kind = message.WhichOneof("message")
        if kind == "batch":
            return [event for each in message.batch.messages for event in self._take(each, now_ns)]
        return self._take(message, now_ns)

    def _take(self, message: expiry.WatchQuotesResponse, now_ns: int) -> list[WatchEvent]:
        self._sequence = message.sequence or self._sequence
        kind = message.WhichOneof("message")
        if kind == "heartbeat":
            self._proves(message.heartbeat.at_utc_ns, now_ns)
            if self._open and message.heartbeat.interval_ns:
                self._heard_every(message.heartbeat.interval_ns)
            return []
        if kind == "opened":
            return self._opened(message.opened, now_ns)
        if kind == "resumed":
            return self._resumed(message.resumed, now_ns)
        if kind == "registered":
            return self._registered(message.registered)
        if kind == "refused":
            return self._refused(message.refused)
        if kind == "withdraw":
            return self._withdraw(message.withdraw, message.sequence)
        if kind == "expired":
            quote_id = message.expired.quote_id
            if self._end(quote_id, None):
                return [WatchEvent(WatchEventKind.EXPIRED, quote_id, at_utc_ns=message.expired.at_utc_ns)]
            return []
        if kind == "requote_hint":
            hint = message.requote_hint
            return [
                WatchEvent(
                    WatchEventKind.REQUOTE_HINT, hint.quote_id, life_ns=hint.life_ns, at_utc_ns=hint.at_utc_ns
                )
            ]
        return []  # of a service newer than this client

    def _opened(self, message: expiry.WatchOpened, now_ns: int) -> list[WatchEvent]:
        self._proves(message.at_utc_ns, now_ns)
        self._open = True
        self.boot_id = message.boot_id
        interval_ns = message.heartbeat_interval_ns or SILENCE_NS // 2
        self._silences = message.silence_max_ns / interval_ns
        self._heard_every(interval_ns)
        self.silence_ns = message.silence_max_ns
        self.lease_ns = message.lease_ns or message.heartbeat_interval_ns
        if self._resuming:
            for quote in self._quotes.values():
                quote.listed = False
        return [WatchEvent(WatchEventKind.OPENED, at_utc_ns=message.at_utc_ns)]

    def _heard_every(self, interval_ns: int) -> None:
        """So often the service means to be heard from now on."""
        self.silence_ns = round(self._silences * interval_ns)
        self.interval_ns = self._given_ns or interval_ns

    def _resumed(self, message: expiry.WatchResumed, now_ns: int) -> list[WatchEvent]:
        events = []
        for each in message.quotes:
            quote = self._quotes.get(each.quote_id)
            if quote is not None:
                quote.listed = True
                quote.asked = False
                quote.until_ns = min(quote.until_ns or each.expiry_utc_ns, each.expiry_utc_ns)
                if not quote.unwatched_ns:  # its answer was lost
                    self._lives(each.quote_id, quote, each.unwatched_expiry_utc_ns or each.expiry_utc_ns)
            elif self._ended.get(each.quote_id, _UNKNOWN) is not _UNKNOWN:
                if self._ended[each.quote_id] is None:
                    continue  # an update says so, and is on its way
                # Counted as withdrawn while nothing was heard: that stays so.
                self._cancel(each.quote_id)
            else:
                events += self._registered(each)
        if message.last:
            gone = [quote_id for quote_id, quote in self._quotes.items() if not quote.listed]
            events += self._lose(gone, now_ns)
            self._resuming = False
        return events

    def _registered(self, message: expiry.WatchRegistered) -> list[WatchEvent]:
        quote_id = message.quote_id
        if quote_id in self._ended and quote_id not in self._quotes:
            return []  # withdrawn before it was said to be watched
        quote = self._quotes.setdefault(quote_id, _Watched())
        quote.asked = False
        quote.until_ns = message.expiry_utc_ns
        self._lives(quote_id, quote, message.unwatched_expiry_utc_ns or message.expiry_utc_ns)
        answer = calls.read_expiry(message.response) if message.HasField("response") else None
        return [
            WatchEvent(
                WatchEventKind.REGISTERED,
                quote_id,
                expiry_utc_ns=message.expiry_utc_ns,
                unwatched_expiry_utc_ns=quote.unwatched_ns,
                side=calls.enum_of(Side, message.side),
                actuation=calls.enum_of(Actuation, message.actuation),
                expiry=answer,
            )
        ]

    def _refused(self, message: expiry.WatchRefused) -> list[WatchEvent]:
        quote = self._quotes.get(message.quote_id)
        if quote is not None and quote.asked:
            del self._quotes[message.quote_id]
        return [
            WatchEvent(
                WatchEventKind.REFUSED,
                message.quote_id,
                refusal=calls.enum_of(WatchRefusal, message.reason),
                message=message.message,
                violations=tuple((each.field, each.description) for each in message.fields),
                expiry=calls.read_expiry(message.response) if message.HasField("response") else None,
            )
        ]

    def _withdraw(self, message: expiry.WatchWithdraw, sequence: int) -> list[WatchEvent]:
        reason, quote_id = calls.enum_of(WithdrawReason, message.reason), message.quote_id
        known = self._end(quote_id, reason)
        if quote_id in self._waiting:
            self._waiting[quote_id] = sequence  # told before, and not taken yet: nobody acts on it
            return []
        if not known and quote_id in self._ended and quote_id not in self._missed:
            self._acknowledge(quote_id, sequence)  # told before, and acted on
            return []
        self._remember(quote_id, reason)
        self._waiting[quote_id] = sequence
        return [
            WatchEvent(
                WatchEventKind.WITHDRAW,
                message.quote_id,
                reason=reason,
                at_utc_ns=message.decided_at_utc_ns,
                expiry_utc_ns=message.expiry_utc_ns,
                instrument=message.instrument,
                moved_ticks=message.moved_ticks if message.HasField("moved_ticks") else None,
                held_back=message.held_back,
                sequence=sequence,
            )
        ]

    def _lives(self, quote_id: str, quote: _Watched, unwatched_ns: int) -> None:
        # From here on, and beyond that end only on lease.
        quote.unwatched_ns = unwatched_ns
        if unwatched_ns < quote.until_ns:
            heapq.heappush(self._unwatched_ends, (unwatched_ns, quote_id))

    def _proves(self, at_utc_ns: int, now_ns: int) -> None:
        # When it was sent counts, not when it was read: what has waited on its way says nothing of now.
        self._proven_ns = at_utc_ns
        # What came fastest is nearest to the truth: later than the service's clock it never is.
        self._offsets.append(at_utc_ns - now_ns)
        self._offset_ns = max(self._offsets)

    # --- loss -----------------------------------------------------------------------------------------------------

    def broken(self) -> list[WatchEvent]:
        """The stream has ended. No quote is live; those that the service lists when it is back in time are again."""
        was, self._open = self._open, False
        updates = [each for each in self.outgoing if each.WhichOneof("message") == "update"]
        self.outgoing = deque(updates)  # what became of quotes is to be known all the same
        self._waiting = dict.fromkeys(self._waiting, 0)  # the next stream says them again
        asked = [quote_id for quote_id, quote in self._quotes.items() if quote.asked]
        events = [WatchEvent(WatchEventKind.DISCONNECTED)] if was else []
        for quote_id in asked:
            del self._quotes[quote_id]
            events.append(
                WatchEvent(
                    WatchEventKind.REFUSED,
                    quote_id,
                    refusal=WatchRefusal.NO_STREAM,
                    message="the stream ended before the service had answered",
                )
            )
        return events

    def tick(self, now_ns: int) -> list[WatchEvent]:
        """Time has passed: quotes of a service that was not heard for too long are withdrawn, and those whose lease has
        run out."""
        silent_ns = self.silent_at_ns()
        if silent_ns is not None and now_ns > silent_ns and self._quotes:
            return self._lose(list(self._quotes), now_ns)
        utc_ns = self.utc_ns(now_ns)
        while self._unwatched_ends and self._unwatched_ends[0][0] <= utc_ns:
            unwatched_ns, quote_id = heapq.heappop(self._unwatched_ends)
            quote = self._quotes.get(quote_id)
            if quote is not None and not quote.asked and quote.unwatched_ns == unwatched_ns:
                self._leased.add(quote_id)
        if not self._leased or utc_ns < self._proven_ns + self.lease_ns:
            return []
        lapsed = sorted(self._leased)
        for quote_id in lapsed:
            self._cancel(quote_id)
        return self._lose(lapsed, now_ns)

    def _lose(self, quote_ids: Iterable[str], now_ns: int) -> list[WatchEvent]:
        events = []
        for quote_id in quote_ids:
            quote = self._quotes.pop(quote_id)
            self._leased.discard(quote_id)
            self._remember(quote_id, WithdrawReason.WATCH_LOST)
            self._waiting[quote_id] = 0
            events.append(
                WatchEvent(
                    WatchEventKind.WITHDRAW,
                    quote_id,
                    reason=WithdrawReason.WATCH_LOST,
                    at_utc_ns=self.utc_ns(now_ns),
                    expiry_utc_ns=quote.until_ns,
                )
            )
        return events

    def _end(self, quote_id: str, reason: WithdrawReason | None) -> bool:
        """True where it was known."""
        self._leased.discard(quote_id)
        if self._quotes.pop(quote_id, None) is None:
            return False
        self._remember(quote_id, reason)
        return True

    def _remember(self, quote_id: str, reason: WithdrawReason | None) -> None:
        self._ended[quote_id] = reason
        self._ended.move_to_end(quote_id)
        self._missed.discard(quote_id)
        while len(self._ended) > ENDED_KEPT:
            forgotten, _ = self._ended.popitem(last=False)
            self._missed.discard(forgotten)
