"""The service's methods as values: what to ask, how long to try, what the answer means.

``Requests`` builds a ``Call``; a client carries it out. What differs between clients is the waiting alone.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import market_data_service_pb2 as market
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import signal_service_pb2 as signals
from quotelife_client import calls
from quotelife_client.calls import ServiceError
from quotelife_client.types import Expiry, ExpiryRequest, Leg, Number, Posture, Reason, Side, SizeUnit

BACKOFF_FIRST_S = 0.005
BACKOFF_MAX_S = 0.25
TIMEOUT_MAX_S = 86_400.0
PORT_MAX = 65_535
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]+\]|[^\s:/\[\]]+):([0-9]{1,5})")
_SCHEME = re.compile(r"(?:unix|unix-abstract|vsock|dns|ipv4|ipv6|xds|passthrough):(?![0-9]+$)")

_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/"
_SIGNALS = "/quote_expiry.v1.SignalService/"
_ADMIN = "/quote_expiry.v1.AdminService/"
UNSET: Any = object()

# gRPC alone waits for up to two minutes before it tries a lost connection again, and does not notice a peer that has
# vanished without a word. Retries are made here, where the deadline and the request id are known. The service sends
# away who pings more often than every 5 s.
CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
)

STREAM_EXPIRY = _EXPIRY + "StreamExpiry"
PUBLISH_EVENTS = "/quote_expiry.v1.MarketDataService/PublishEvents"
read_stream_expiry = expiry.StreamExpiryResponse.FromString
read_publish_events = market.PublishEventsResponse.FromString

# The methods a client needs, and the messages they answer with.
METHODS: dict[str, type[Message]] = {
    _EXPIRY + "GetExpiry": expiry.GetExpiryResponse,
    _EXPIRY + "BatchGetExpiry": expiry.BatchGetExpiryResponse,
    _SIGNALS + "PublishNews": signals.PublishNewsResponse,
    _SIGNALS + "PublishVolatilityIndex": signals.PublishVolatilityIndexResponse,
    _SIGNALS + "PublishInventory": signals.PublishInventoryResponse,
    _SIGNALS + "PublishGreeks": signals.PublishGreeksResponse,
    _SIGNALS + "PublishCalendar": signals.PublishCalendarResponse,
    _ADMIN + "GetStatus": admin.GetStatusResponse,
    _ADMIN + "SetOverride": admin.SetOverrideResponse,
    _ADMIN + "ClearOverride": admin.ClearOverrideResponse,
    _ADMIN + "ListOverrides": admin.ListOverridesResponse,
    _ADMIN + "Reload": admin.ReloadResponse,
    _ADMIN + "Kill": admin.KillResponse,
    _ADMIN + "Enable": admin.EnableResponse,
    _ADMIN + "LoadModel": admin.LoadModelResponse,
    _ADMIN + "UnloadModel": admin.UnloadModelResponse,
    _ADMIN + "PromoteModel": admin.PromoteModelResponse,
    _ADMIN + "RollbackModel": admin.RollbackModelResponse,
    _ADMIN + "SetCanary": admin.SetCanaryResponse,
    _ADMIN + "ClearModelFailures": admin.ClearModelFailuresResponse,
    _ADMIN + "EndStepDown": admin.EndStepDownResponse,
    _ADMIN + "ListModels": admin.ListModelsResponse,
    _EXPIRY + "ReportOutcome": expiry.ReportOutcomeResponse,
    _ADMIN + "GetCounterparty": admin.GetCounterpartyResponse,
    _ADMIN + "ListCounterparties": admin.ListCounterpartiesResponse,
}

T = TypeVar("T")


class Call(Generic[T]):
    """One call: its deadline, its retries (on UNAVAILABLE only, never beyond the deadline), its meaning."""

    def __init__(
        self,
        method: str,
        request: Message,
        read: Callable[[Any], T],
        *,
        timeout_s: float,
        attempts_max: int,
        instead: Callable[[ServiceError], T] | None = None,
    ) -> None:
        """``read`` makes a value of the reply; ``instead`` makes one when the service could not answer."""
        self.method = method
        self.request = request
        self.read = read
        self._instead = instead
        self._end_s = time.monotonic() + timeout_s
        self._attempts_left = attempts_max
        self._backoff_s = BACKOFF_FIRST_S

    def remaining_s(self) -> float:
        return max(0.0, self._end_s - time.monotonic())

    def pause_s(self, error: Any) -> float:
        """How long to wait before the next attempt. Raises ``ServiceError`` when there shall be none."""
        self._attempts_left -= 1
        failed = calls.service_error(error)
        pause_s = random.uniform(0.5, 1.0) * self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)
        worth_it = self._attempts_left > 0 and pause_s < self.remaining_s()
        if failed.code is not grpc.StatusCode.UNAVAILABLE or not worth_it:
            raise failed from None
        return pause_s

    def otherwise(self, error: ServiceError) -> T:
        """The value that stands in for an answer. Raises the error when none may."""
        if self._instead is None or not error.could_not_answer:
            raise error
        return self._instead(error)


class Asked:
    """One request for a life that is out, and what stands in for its answer."""

    __slots__ = ("_asked_at_ns", "_killed", "life_ns", "message")

    def __init__(self, message: expiry.GetExpiryRequest, life_ns: int | None, killed: set[str]) -> None:
        """``life_ns``: the fallback life, ``None`` without one. ``killed``: the client's memory of the counterparties
        whose last answer was a kill's."""
        self.message = message
        self.life_ns = life_ns
        self._killed = killed
        self._asked_at_ns = time.time_ns()

    def read(self, result: expiry.ExpiryResult) -> Expiry | ServiceError:
        """The answer; where the service could not give one, the fallback."""
        if result.WhichOneof("result") == "response":
            return self.read_reply(result.response)
        answer = calls.read_result(result)
        if isinstance(answer, ServiceError) and answer.could_not_answer and self.life_ns is not None:
            return self.instead(answer)
        return answer

    def instead(self, error: ServiceError) -> Expiry:
        """The fallback. Raises the error when there is none, or when it is the caller's own."""
        if self.life_ns is None or not error.could_not_answer:
            raise error
        killed = error.killed or self.message.counterparty in self._killed
        return calls.fallback_expiry(
            self.message, error, self.life_ns, self._asked_at_ns, time.time_ns(), killed=killed
        )

    def read_reply(self, reply: expiry.GetExpiryResponse) -> Expiry:
        answer = calls.read_expiry(reply)
        if Reason.KILLED in answer.reasons:
            self._killed.add(self.message.counterparty)
        else:
            self._killed.discard(self.message.counterparty)
        return answer


class Requests:
    """Builds the calls, under one client's settings."""

    def __init__(self, timeout_s: float, attempts_max: int, fallback_life_ns: int | None) -> None:
        self._timeout_s = _above_zero_s(timeout_s)
        self._attempts_max = _whole_number("attempts_max", attempts_max)
        if attempts_max < 1:
            raise ValueError(f"attempts_max: {attempts_max} is not at least 1")
        self._fallback_life_ns = _checked_fallback_ns(fallback_life_ns)
        self._killed: set[str] = set()

    def get_expiry(
        self,
        *,
        instrument: str = "",
        side: Side | str,
        legs: Sequence[Leg] = (),
        size: Number | None = None,
        size_unit: SizeUnit | str = SizeUnit.BASE_QUANTITY,
        counterparty: str = "",
        desk: str = "",
        price: Number | None = None,
        bid_price: Number | None = None,
        ask_price: Number | None = None,
        edge: Number | None = None,
        reference_price: Number | None = None,
        priced_at_utc_ns: int | None = None,
        client_deadline_utc_ns: int | None = None,
        venue_session: str = "",
        posture: Posture | str | None = None,
        dealers_asked: int | None = None,
        request_id: str | None = None,
        rfq_id: str = "",
        quote_id: str = "",
        include_features: bool = False,
        explain: bool = False,
        watch: bool = False,
        watch_owner: str = "",
        timeout_s: float | None = None,
        fallback_life_ns: int | None = UNSET,
    ) -> Call[Expiry]:
        """How long may this quote live? Raises ``ServiceError``; see the class for the fallback.

        ``side``, ``size_unit`` and ``posture``: a member or its name, such as ``"BUY"``. ``price`` goes with BUY
        and SELL, ``bid_price`` and ``ask_price`` with TWO_WAY; ``edge`` stands instead of a price.
        A package has ``legs`` instead of an ``instrument``: prices and edge are then of one package, ``size`` counts
        packages, and the answer's ``package`` says what each leg adds.
        ``venue_session``: a session of the service's configuration, for what to tell the venue. ``explain``: the
        answer comes with its ``explanations``, about a millisecond later. ``watch``: the quote is watched at once, for
        the open stream of ``watch_owner``; ``Watcher.get_expiry`` does both. Meaning and units of all fields:
        ``quote_expiry_service.proto``, message GetExpiryRequest.
        """
        request = calls.expiry_request(
            instrument=instrument,
            side=side,
            legs=legs,
            size=size,
            size_unit=size_unit,
            counterparty=counterparty,
            desk=desk,
            price=price,
            bid_price=bid_price,
            ask_price=ask_price,
            edge=edge,
            reference_price=reference_price,
            priced_at_utc_ns=priced_at_utc_ns,
            client_deadline_utc_ns=client_deadline_utc_ns,
            venue_session=venue_session,
            posture=posture,
            dealers_asked=dealers_asked,
            request_id=request_id,
            rfq_id=rfq_id,
            quote_id=quote_id,
            include_features=include_features,
            explain=explain,
            watch=watch,
            watch_owner=watch_owner,
        )
        asked = self._asked(request, fallback_life_ns)
        instead = asked.instead if asked.life_ns is not None else None
        return self._call(_EXPIRY + "GetExpiry", request, asked.read_reply, timeout_s, instead=instead)

    def batch_get_expiry(
        self,
        requests: Sequence[ExpiryRequest],
        *,
        timeout_s: float | None = None,
        fallback_life_ns: int | None = UNSET,
    ) -> Call[list[Expiry | ServiceError]]:
        """How long may these quotes live? At most 256 in one call, each answered on its own and in order.

        A request that was refused has its ``ServiceError`` in its place. Raises ``ServiceError`` when the call as
        a whole failed; with a fallback, one that stands for every request is given where the service could not
        answer, as by ``get_expiry``.
        """
        asked = [self._asked(calls.request_message(request), fallback_life_ns) for request in requests]
        message = expiry.BatchGetExpiryRequest(requests=[each.message for each in asked])

        def read(reply: expiry.BatchGetExpiryResponse) -> list[Expiry | ServiceError]:
            return [each.read(result) for each, result in zip(asked, reply.results, strict=True)]

        instead = None
        if asked and asked[0].life_ns is not None:

            def instead(error: ServiceError) -> list[Expiry | ServiceError]:
                return [each.instead(error) for each in asked]

        return self._call(_EXPIRY + "BatchGetExpiry", message, read, timeout_s, instead=instead)

    def _asked(self, message: expiry.GetExpiryRequest, fallback_life_ns: int | None) -> "Asked":
        given_ns = (
            self._fallback_life_ns if fallback_life_ns is UNSET else _checked_fallback_ns(fallback_life_ns)
        )
        return Asked(message, given_ns, self._killed)

    def asked_on(self, fallback_life_ns: int | None) -> Callable[[ExpiryRequest], "Asked"]:
        """For a stream: what makes a request of what the caller wants to know."""
        return lambda request: self._asked(calls.request_message(request), fallback_life_ns)

    def publish_news(
        self,
        score: float,
        *,
        instrument: str = "",
        source: str = "",
        published_at_utc_ns: int | None = None,
        time_to_live_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> Call[signals.SignalReceipt]:
        """A news sentiment score in [−1, 1], for one instrument or all. Not retried: it would count twice."""
        request = signals.PublishNewsRequest(
            score=score,
            instrument=instrument,
            source=source,
            published_at_utc_ns=published_at_utc_ns,
            time_to_live_ns=time_to_live_ns,
        )
        return self._call(_SIGNALS + "PublishNews", request, _receipt, timeout_s, attempts_max=1)

    def publish_headline(
        self,
        headline: str,
        *,
        instrument: str = "",
        source: str = "",
        published_at_utc_ns: int | None = None,
        time_to_live_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> Call[signals.PublishNewsResponse]:
        """A headline, scored by the service's scorer; the reply says the score. Not retried, as above."""
        request = signals.PublishNewsRequest(
            headline=headline,
            instrument=instrument,
            source=source,
            published_at_utc_ns=published_at_utc_ns,
            time_to_live_ns=time_to_live_ns,
        )
        return self._call(_SIGNALS + "PublishNews", request, _whole, timeout_s, attempts_max=1)

    def publish_volatility_index(
        self,
        index: str,
        level: float,
        *,
        published_at_utc_ns: int | None = None,
        time_to_live_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> Call[signals.SignalReceipt]:
        """The level of a configured index, such as ``"DVOL"``."""
        request = signals.PublishVolatilityIndexRequest(
            index=index,
            level=level,
            published_at_utc_ns=published_at_utc_ns,
            time_to_live_ns=time_to_live_ns,
        )
        return self._call(_SIGNALS + "PublishVolatilityIndex", request, _receipt, timeout_s)

    def publish_inventory(
        self,
        instrument: str,
        *,
        position: Number,
        limit: Number,
        unit: SizeUnit | str = SizeUnit.BASE_QUANTITY,
        desk: str = "",
        as_of_utc_ns: int | None = None,
        time_to_live_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> Call[signals.SignalReceipt]:
        """A position and the largest one allowed, for one desk or all."""
        request = calls.inventory_request(
            instrument, position, limit, unit, desk, as_of_utc_ns, time_to_live_ns
        )
        return self._call(_SIGNALS + "PublishInventory", request, _receipt, timeout_s)

    def publish_greeks(
        self,
        instrument: str,
        *,
        delta: float | None = None,
        gamma: float | None = None,
        vega: float | None = None,
        theta_per_day: float | None = None,
        underlying: str = "",
        as_of_utc_ns: int | None = None,
        time_to_live_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> Call[signals.SignalReceipt]:
        """Sensitivities of one option, per unit of it: delta with gamma, vega (per 1.00 of volatility) with theta, or
        all four; ``underlying`` is the instrument that delta and gamma refer to."""
        greeks = expiry.Greeks(
            delta=delta, gamma=gamma, vega=vega, theta_per_day=theta_per_day, underlying=underlying
        )
        request = signals.PublishGreeksRequest(
            instrument=instrument, greeks=greeks, as_of_utc_ns=as_of_utc_ns, time_to_live_ns=time_to_live_ns
        )
        return self._call(_SIGNALS + "PublishGreeks", request, _receipt, timeout_s)

    def publish_calendar(
        self,
        events: Sequence[signals.CalendarEvent] = (),
        *,
        removed: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Call[signals.PublishCalendarResponse]:
        """Auctions, scheduled news and halts to add or replace, and ids of events to forget."""
        request = signals.PublishCalendarRequest(events=events, removed_event_ids=removed)
        return self._call(_SIGNALS + "PublishCalendar", request, _whole, timeout_s)

    def report_outcomes(
        self, outcomes: Iterable[expiry.Outcome], *, timeout_s: float | None = None
    ) -> Call[expiry.ReportOutcomeResponse]:
        """What became of quotes, at most 1,024 of them; safe to send again under the same ids.

        ``refused`` of the reply names those whose decision the service does not know (any more); the others are
        recorded. INVALID_ARGUMENT: one is malformed, and none was taken in.
        """
        request = expiry.ReportOutcomeRequest(outcomes=outcomes)
        return self._call(_EXPIRY + "ReportOutcome", request, _whole, timeout_s)

    def counterparty(self, name: str, *, timeout_s: float | None = None) -> Call[admin.CounterpartyStatus]:
        """What is known of one counterparty. NOT_FOUND where it is not configured."""
        request = admin.GetCounterpartyRequest(counterparty=name)
        return self._call(_ADMIN + "GetCounterparty", request, lambda reply: reply.counterparty, timeout_s)

    def counterparties(
        self, after: str = "", *, timeout_s: float | None = None
    ) -> Call[admin.ListCounterpartiesResponse]:
        """Those that outcomes were told of, 256 at a time by name, from behind ``after`` on."""
        request = admin.ListCounterpartiesRequest(after=after)
        return self._call(_ADMIN + "ListCounterparties", request, _whole, timeout_s)

    def status(
        self, instruments: Sequence[str] = (), *, timeout_s: float | None = None
    ) -> Call[admin.GetStatusResponse]:
        """State of the service and of the instruments named, or of all."""
        request = admin.GetStatusRequest(instruments=instruments)
        return self._call(_ADMIN + "GetStatus", request, _whole, timeout_s)

    def set_override(
        self,
        posture: Posture | str,
        ttl_ns: int,
        *,
        counterparty: str = "",
        instrument: str = "",
        desk: str = "",
        timeout_s: float | None = None,
    ) -> Call[admin.Override]:
        """A posture for a while; what is left out matches everything. Not retried: it would be set twice."""
        request = calls.override_request(posture, ttl_ns, counterparty, instrument, desk)
        return self._call(
            _ADMIN + "SetOverride", request, lambda reply: reply.override, timeout_s, attempts_max=1
        )

    def clear_override(self, override_id: int, *, timeout_s: float | None = None) -> Call[bool]:
        """True when the override was in force."""
        request = admin.ClearOverrideRequest(override_id=override_id)
        return self._call(_ADMIN + "ClearOverride", request, lambda reply: bool(reply.cleared), timeout_s)

    def overrides(self, *, timeout_s: float | None = None) -> Call[list[admin.Override]]:
        """Overrides in force, oldest first."""
        request = admin.ListOverridesRequest()
        return self._call(_ADMIN + "ListOverrides", request, lambda reply: list(reply.overrides), timeout_s)

    def reload(self, *, timeout_s: float = 10.0) -> Call[admin.ReloadResponse]:
        """Read the configuration again. A faulty one raises FAILED_PRECONDITION, one violation per fault."""
        return self._call(_ADMIN + "Reload", admin.ReloadRequest(), _whole, timeout_s)

    def kill(
        self, reason: str, *, counterparty: str = "", timeout_s: float | None = None
    ) -> Call[admin.KillResponse]:
        """Every answer, or every answer to one counterparty, becomes DECLINE until it is enabled again."""
        request = admin.KillRequest(reason=reason, counterparty=counterparty)
        return self._call(_ADMIN + "Kill", request, _whole, timeout_s)

    def enable(
        self, reason: str, *, counterparty: str = "", timeout_s: float | None = None
    ) -> Call[admin.EnableResponse]:
        """End the kill of everybody, or that of one counterparty; the other kills stay."""
        request = admin.EnableRequest(reason=reason, counterparty=counterparty)
        return self._call(_ADMIN + "Enable", request, _whole, timeout_s)

    def models(self, *, timeout_s: float | None = None) -> Call[admin.ListModelsResponse]:
        """What serves each posture, what is stored, and what could not be loaded."""
        return self._call(_ADMIN + "ListModels", admin.ListModelsRequest(), _whole, timeout_s)

    def load_model(
        self, digest: str, *, postures: Iterable[Posture | str] = (), timeout_s: float = 60.0
    ) -> Call[admin.ModelStatus]:
        """Load a stored model as a shadow of ``postures``, none: of all. One that cannot be raises
        FAILED_PRECONDITION with the reason, and everything stays as it is."""
        request = admin.LoadModelRequest(digest=digest, postures=calls.posture_numbers(postures))
        return self._call(_ADMIN + "LoadModel", request, lambda reply: reply.model, timeout_s)

    def unload_model(
        self, digest: str, *, postures: Iterable[Posture | str] = (), timeout_s: float = 60.0
    ) -> Call[admin.UnloadModelResponse]:
        """End a model's service as a shadow or challenger."""
        request = admin.UnloadModelRequest(digest=digest, postures=calls.posture_numbers(postures))
        return self._call(_ADMIN + "UnloadModel", request, _whole, timeout_s, attempts_max=1)

    def promote_model(
        self,
        digest: str,
        *,
        verdict: bytes = b"",
        force_reason: str = "",
        postures: Iterable[Posture | str] = (),
        expected_revision: int | None = None,
        expected_champion: str = "",
        timeout_s: float = 60.0,
    ) -> Call[admin.ModelStatus]:
        """Make a model the champion of ``postures``, none: of all. Not retried: it would be refused the second time.

        ``verdict``: the file that ``quotelife promote-check --out`` wrote of it against the champion that serves;
        ``force_reason``: why it may serve without one that passes. One of the two is needed. FAILED_PRECONDITION where
        the line-up is no longer at ``expected_revision``, or another model than ``expected_champion`` serves.
        """
        request = admin.PromoteModelRequest(
            digest=digest,
            postures=calls.posture_numbers(postures),
            verdict=verdict,
            force_reason=force_reason,
            expected_revision=expected_revision,
            expected_champion=expected_champion,
        )
        return self._call(
            _ADMIN + "PromoteModel", request, lambda reply: reply.model, timeout_s, attempts_max=1
        )

    def rollback_model(
        self,
        *,
        postures: Iterable[Posture | str] = (),
        expected_revision: int | None = None,
        expected_champion: str = "",
        timeout_s: float = 60.0,
    ) -> Call[admin.ModelStatus]:
        """Undo the last promotion. Not retried: it would go back by two, unless what is expected is named, as in
        ``promote_model``."""
        request = admin.RollbackModelRequest(
            postures=calls.posture_numbers(postures),
            expected_revision=expected_revision,
            expected_champion=expected_champion,
        )
        return self._call(
            _ADMIN + "RollbackModel", request, lambda reply: reply.model, timeout_s, attempts_max=1
        )

    def set_canary(
        self,
        digest: str,
        share: float,
        *,
        verdict: bytes = b"",
        force_reason: str = "",
        postures: Iterable[Posture | str] = (),
        timeout_s: float = 60.0,
    ) -> Call[admin.ModelStatus]:
        """Let a model answer a ``share`` (0 to 1) of the configured counterparties; 0 ends it. More than 0.2 needs
        ``verdict`` or ``force_reason``, as in ``promote_model``."""
        request = admin.SetCanaryRequest(
            digest=digest,
            share=share,
            postures=calls.posture_numbers(postures),
            verdict=verdict,
            force_reason=force_reason,
        )
        return self._call(_ADMIN + "SetCanary", request, lambda reply: reply.model, timeout_s)

    def end_step_down(
        self, group: str, reason: str, *, timeout_s: float | None = None
    ) -> Call[admin.EndStepDownResponse]:
        """Let an instrument group that has stepped down to Risk Averse go on as its postures say."""
        request = admin.EndStepDownRequest(group=group, reason=reason)
        return self._call(_ADMIN + "EndStepDown", request, _whole, timeout_s)

    def clear_model_failures(self, digest: str = "", *, timeout_s: float | None = None) -> Call[int]:
        """Forget the failed loads of one model or of all; how many there were."""
        request = admin.ClearModelFailuresRequest(digest=digest)
        return self._call(_ADMIN + "ClearModelFailures", request, lambda reply: int(reply.cleared), timeout_s)

    def _call(
        self,
        method: str,
        request: Message,
        read: Callable[[Any], T],
        timeout_s: float | None,
        *,
        attempts_max: int | None = None,
        instead: Callable[[ServiceError], T] | None = None,
    ) -> Call[T]:
        return Call(
            method,
            request,
            read,
            timeout_s=self._timeout_s if timeout_s is None else _above_zero_s(timeout_s),
            attempts_max=self._attempts_max if attempts_max is None else attempts_max,
            instead=instead,
        )


def checked_timeout_s(timeout_s: float) -> float:
    """Nothing left, 0 or less, is a time too: what remains of another's."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout_s: give a number of seconds, not {type(timeout_s).__name__}")
    if not timeout_s <= TIMEOUT_MAX_S:  # NaN is not either
        raise ValueError(f"timeout_s: {timeout_s} is not a time of at most {TIMEOUT_MAX_S:.0f} s")
    return timeout_s


def _above_zero_s(timeout_s: float) -> float:
    if checked_timeout_s(timeout_s) <= 0:
        raise ValueError(f"timeout_s: {timeout_s} leaves no time to ask; give one above 0")
    return timeout_s


def checked_address(address: str) -> str:
    """``host:port``, or any target that gRPC tells by its scheme, as it is. Raises ``ValueError``."""
    if _SCHEME.match(address) is None:
        match = _HOST_AND_PORT.fullmatch(address)
        if match is None or int(match[1]) > PORT_MAX:
            raise ValueError(
                f"address: {address!r} is not host:port, such as 127.0.0.1:50051 or [::1]:50051, nor unix:/path"
            )
    return address


def renamed(error: TypeError, client: str) -> TypeError:
    """What is wrong with the arguments of a method, under the name that the caller knows."""
    text = str(error)
    own = f"{Requests.__name__}."
    return TypeError(client + "." + text.removeprefix(own)) if text.startswith(own) else error


def _whole_number(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: give an int, not {type(value).__name__}")
    return value


def _checked_fallback_ns(life_ns: int | None) -> int | None:
    if life_ns is not None and _whole_number("fallback_life_ns", life_ns) < 0:
        raise ValueError("fallback_life_ns must not be negative")
    return life_ns


def _receipt(reply: Any) -> signals.SignalReceipt:
    return reply.receipt  # type: ignore[no-any-return]


def _whole(reply: Any) -> Any:
    return reply
