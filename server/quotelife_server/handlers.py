"""Requests to the engine and its answers back, free of any transport.

``Service`` holds what the handlers share and is the one door for transports: ``methods`` is the table of
everything served, ``unary`` and ``open_stream`` run an entry of it under the rules that hold for all calls
(state, bound on calls in flight, deadline, no exception text to the outside).
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2

from quote_expiry.v1 import (
    admin_service_pb2,
    market_data_service_pb2,
    quote_expiry_service_pb2,
    signal_service_pb2,
)
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.clock import Clock
from quotelife.decision.kill import KillSource
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.news import find_scorer
from quotelife.records import BindingFlags, DecisionRecord, PostureCode, RequestRecord, SignalCode
from quotelife.units import NS_PER_S
from quotelife_server import convert
from quotelife_server.alerts import Alerts
from quotelife_server.answers import ExpiryStream, gathered
from quotelife_server.explaining import Explainer, JournalExplanations, Later, at_once
from quotelife_server.exposing import ExposureWatch
from quotelife_server.feeds.published import PublishedFeed, PublishStream, finder
from quotelife_server.health import Health
from quotelife_server.in_flight import InFlight
from quotelife_server.kill import KillControl
from quotelife_server.ledger import Ledger, NoJournal
from quotelife_server.limits import reused_request_id
from quotelife_server.log import get_logger
from quotelife_server.metrics import Metrics
from quotelife_server.model_methods import model_methods
from quotelife_server.models import Models
from quotelife_server.monitoring import monitor_methods
from quotelife_server.outcome_methods import outcome_methods
from quotelife_server.outgoing import Standing
from quotelife_server.plain_answer import PlainAnswers
from quotelife_server.recent import RecentQuotes
from quotelife_server.recent_quote import RecentQuote
from quotelife_server.reflection import Reflection
from quotelife_server.reply_store import ReplyStore
from quotelife_server.request_reader import RequestReader
from quotelife_server.rpc import (
    Answer,
    CallContext,
    Code,
    Deferred,
    MethodTable,
    RpcError,
    Stream,
    StreamCall,
    StreamHandler,
    Unary,
    mapped,
    too_late,
    unserved,
    waited,
)
from quotelife_server.rpc import State as State
from quotelife_server.scoring import NewsScoring, ScorerBusyError, ScorerFailedError
from quotelife_server.watch_stream import WatchStream
from quotelife_server.watching import Ear, LoopSchedule, Schedule, Watching

_log = get_logger(__name__)

RECENT_QUOTES = 1024  # where nothing else is said, as in tests and tools
RECENT_NS = 60 * NS_PER_S
# Behind a stored answer: the last word of a field holds. A false is only sent where it is spelt out.
NOT_WATCHED = (
    bytes(
        (
            expiry.GetExpiryResponse.WATCHED_FIELD_NUMBER << 3 & 0x7F | 0x80,
            expiry.GetExpiryResponse.WATCHED_FIELD_NUMBER >> 4,
            0,
        )
    )
    + expiry.GetExpiryResponse(watch_refusal=expiry.WATCH_REFUSAL_ENDED).SerializeToString()
)
KEEP_S = 1.0  # a kill is acknowledged after this, written down or not
_EXPOSURE = int(BindingFlags.EXPOSURE)
NOT_JOURNALED = "not yet journaled: the journal cannot be written and will have it as soon as it can be"
NOT_KEPT = (
    "not yet written beside the kill file: that is tried again and again, and the log says why it failed"
)

FILES = (
    quote_expiry_service_pb2.DESCRIPTOR,
    signal_service_pb2.DESCRIPTOR,
    market_data_service_pb2.DESCRIPTOR,
    admin_service_pb2.DESCRIPTOR,
)
SERVICES = tuple(service.full_name for file in FILES for service in file.services_by_name.values())


def _looked_at(task: asyncio.Future[Any]) -> None:
    """What came of it has been told, or comes too late to be."""
    if not task.cancelled():
        task.exception()


def _next_turn(call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_soon(call)


@dataclass(slots=True)
class Hooks:
    """What the administration asks of the application."""

    reload: Callable[[], Awaitable[bytes]]
    status: Callable[[list[int]], Awaitable[bytes]]
    spawn: Callable[[Awaitable[bytes], Deferred], None]


class Service:
    """Everything a transport may call. One thread, the event loop's."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        *,
        boot_id: str,
        metrics: Metrics,
        replies: ReplyStore,
        in_flight: InFlight,
        retry_delay_ns: int,
        ledger: Ledger | None = None,
        hooks: Hooks | None = None,
        later: Later = at_once,
        explanations: JournalExplanations | None = None,
        kills: KillControl | None = None,
        models: Models | None = None,
        recent: RecentQuotes | None = None,
        ear: Ear | None = None,
        schedule: Schedule | None = None,
        alerts: Alerts | None = None,
        watch_queue_max: int = 65_536,
    ) -> None:
        """``ledger``: where answers go on their way out; without one they leave marked as unjournaled. ``ear``: at the
        engine, for what it says of live quotes."""
        self.engine = engine
        self.clock = clock
        self.boot_id = boot_id
        self.metrics = metrics
        self.replies = replies
        self.recent = RecentQuotes(boot_id, RECENT_QUOTES, RECENT_NS) if recent is None else recent
        self.in_flight = in_flight
        self.ledger: Ledger = NoJournal(replies, _next_turn) if ledger is None else ledger
        self.state = State.STARTING
        self.health = Health(SERVICES)
        self._leaving = False
        self.hooks = hooks
        self.later = later
        self.explanations = explanations
        self.watching = Watching(
            engine,
            clock,
            boot_id=boot_id,
            ledger=self.ledger,
            recent=self.recent,
            schedule=schedule or LoopSchedule(),
            alerts=alerts or Alerts(),
            ear=ear or Ear(),
            queue_max=watch_queue_max,
        )
        self.exposure = ExposureWatch(engine)
        self.published: Mapping[str, PublishedFeed] = {}  # by name, the instruments that PublishEvents takes
        self.scoring = NewsScoring(find_scorer)
        self.kills = kills or KillControl(engine, clock.now_ns, Alerts(), None)
        self.models = models or Models(None, clock.now_ns, Alerts(), engine=engine)
        self.retry_delay_ns = retry_delay_ns
        self.synchronised = True  # the wall clock agrees: absolute instants may be sent
        self.methods: MethodTable = {
            **_expiry_methods(self),
            **_signal_methods(self),
            **_market_data_methods(self),
            **_admin_methods(self),
            **outcome_methods(self),
            **self.health.methods(),
            **Reflection((*FILES, health_pb2.DESCRIPTOR, error_details_pb2.DESCRIPTOR)).methods(),
        }
        for file in FILES:
            for service in file.services_by_name.values():
                for method in service.methods:
                    path = f"/{service.full_name}/{method.name}"
                    streams = method.client_streaming or method.server_streaming
                    self.methods.setdefault(
                        path, _unserved_stream(path) if streams else _unserved_unary(path)
                    )

    def set_state(self, state: State) -> None:
        self.state = state
        self.judge_health()

    def give_notice(self) -> None:
        """Health says NOT_SERVING from here on, calls are still taken: ``set_state`` ends that."""
        self._leaving = True
        self.judge_health()

    def judge_health(self) -> None:
        """Health says SERVING when decisions are made and will be: state, notice and journal allow it."""
        self.health.set_serving(
            self.state == State.SERVING and not self._leaving and not self.ledger.refusing
        )

    def admit(self, entry: Unary, waiting: int = 0) -> None:
        """Raises when the call may not start; otherwise ``release`` must follow once it has been answered.

        ``waiting``: calls that the transport has received and not admitted yet.
        """
        if entry.needs_serving and self.state != State.SERVING:
            raise self.not_serving()
        if entry.bounded and not self.in_flight.try_enter(waiting):
            raise self.overloaded()

    def overloaded(self) -> RpcError:
        return RpcError(
            Code.RESOURCE_EXHAUSTED,
            "too many calls in flight; retry later",
            (convert.retry_info(self.retry_delay_ns),),
        )

    def not_serving(self) -> RpcError:
        return RpcError(Code.UNAVAILABLE, f"the service is {self.state.name.lower()}")

    def release(self, entry: Unary) -> None:
        if entry.bounded:
            self.in_flight.leave()

    def unary(
        self, entry: Unary, payload: bytes, context: CallContext, *, short_asked: bool = False
    ) -> Answer:
        """Run one admitted call. ``short_asked``: the method's short way has handed it back. Raises ``RpcError`` and
        nothing else."""
        try:
            if context.deadline_ns is not None and self.clock.now_ns() >= context.deadline_ns:
                raise too_late()
            if entry.short is not None and not short_asked:
                answer = entry.short.answer(payload, self.clock.now_ns())
                if answer is not None:
                    return answer
            return entry.handle(payload, context)
        except BaseException as error:
            raise self.as_rpc_error(error, context) from None

    def open_stream(self, entry: Stream, call: StreamCall, context: CallContext) -> StreamHandler:
        try:
            return entry.open(context, call)
        except BaseException as error:
            raise self.as_rpc_error(error, context) from None

    def as_rpc_error(self, error: BaseException, context: CallContext) -> RpcError:
        """What the caller may see of an error; anything unexpected is logged under an opaque id."""
        if isinstance(error, RpcError):
            return error
        incident = secrets.token_hex(8)
        self.metrics.internal_errors += 1
        _log.error("call failed", incident=incident, method=context.method, exc_info=error)
        return RpcError(Code.INTERNAL, f"internal error {incident}")


# --- QuoteExpiryService -------------------------------------------------------------------------------------


def _decide_package(engine: Engine, legs: Sequence[RequestRecord]) -> convert.DecidedPackage:
    decisions = [DecisionRecord() for _ in range(len(legs) + 1)]
    requests = engine.decide_package(legs, decisions)
    return convert.DecidedPackage(requests, decisions[: len(requests)], [leg.ratio for leg in legs])


def _by_a_model(decisions: Sequence[DecisionRecord]) -> DecisionRecord:
    """The first whose curve a model drew: the posture is the same throughout."""
    return next((each for each in decisions if each.model_role), decisions[0])


def _expiry_methods(service: Service) -> MethodTable:
    engine, clock, metrics, ledger = service.engine, service.clock, service.metrics, service.ledger
    watching = service.watching
    explainer = Explainer(engine, service.boot_id, service.later)
    plain = PlainAnswers(service, RequestReader(engine), explainer)

    def _still_watched(message: expiry.GetExpiryRequest, reply: bytes) -> bytes:
        """A stored answer, which registers nothing: where its quote is not watched any more it must not say so."""
        if not message.watch:
            return reply
        given = expiry.GetExpiryResponse.FromString(reply)
        if not given.watched or watching.live(message.watch_owner, message.quote_id, given.decision_id):
            return reply
        return reply + NOT_WATCHED

    def answered(message: expiry.GetExpiryRequest, payload: bytes, now_ns: int) -> Answer:
        """Decide one request: the bytes of its ``GetExpiryResponse``, now or later. Raises ``RpcError``."""
        started_ns = time.perf_counter_ns()
        request_id = message.request_id
        digest = b""
        if request_id:  # before validation: a retry may come when its own instants have grown old
            digest = convert.content_digest(message)
            stored = ledger.find(request_id, now_ns)
            if stored is not None and stored[0] != digest:
                raise reused_request_id()
            under_way = None if stored is not None else explainer.joined(request_id, digest)
            if engine.killed(engine.policy.counterparty_index(message.counterparty)):
                if stored is not None or under_way is not None:
                    request_id = (
                        ""  # the firm answer of before the kill is not given again, nor is it forgotten
                    )
            elif stored is not None:
                metrics.replayed += 1
                reply = _still_watched(message, stored[1])
                return ledger.replay(request_id, reply, Standing(engine, message.counterparty))
            elif under_way is not None:
                metrics.replayed += 1
                return under_way
        ledger.check()
        synchronised = service.synchronised
        refusal = _watch_refusal(message)
        call = convert.expiry_request(
            message, engine, now_ns, synchronised=synchronised, watched=message.watch and not refusal
        )
        packages = [_decide_package(engine, legs) for legs in call.packages]
        if packages:
            records = [package.requests[-1] for package in packages]
            decisions = [package.decisions[-1] for package in packages]
        else:
            records = call.records
            decisions = [DecisionRecord() for _ in records]
            for record, decision in zip(records, decisions, strict=True):
                engine.decide(record, decision)
        for place, decision in enumerate(decisions):
            metrics.decisions.add(decision.kind, decision.posture_effective, decision.regime)
            if decision.binding & _EXPOSURE:
                side = packages[place] if packages else None
                service.exposure.held_back(
                    side.requests if side else [records[place]],
                    side.decisions if side else [decision],
                    now_ns,
                )
        recent = service.recent.keep(
            message.rfq_id, message.quote_id, message.counterparty, records, decisions, packages
        )
        all_records = [each for package in packages for each in package.requests] or records
        all_decisions = [each for package in packages for each in package.decisions] or decisions
        live = 0
        if message.watch and not refusal:
            refusal, live = _watch(message, recent, now_ns)
        frame = convert.ReplyFrame(
            service.boot_id,
            engine.model_of(_by_a_model(all_decisions)).digest,
            synchronised,
            live > 0,
            refusal,
        )
        reply = convert.expiry_reply(call, decisions, frame, started_ns, packages)
        sequences = [decision.input_sequence for decision in all_decisions]
        stands = Standing(engine, message.counterparty) if recent is not None else None

        unanswered = partial(watching.unanswered, live) if live else None

        def deliver(whole: bytes) -> Answer:
            if stands is not None and not stands(whole):
                raise convert.killed_meanwhile()
            return ledger.answer(sequences, request_id, digest, payload, whole, now_ns, stands, unanswered)

        answer: Answer
        if message.explain:
            answer = explainer.completed(
                request_id,
                digest,
                all_records,
                all_decisions,
                reply,
                deliver,
            )
        else:
            answer = ledger.answer(sequences, request_id, digest, payload, reply, now_ns, stands, unanswered)
        metrics.latencies.observe(time.perf_counter_ns() - started_ns)
        return answer

    def _watch_refusal(message: expiry.GetExpiryRequest) -> int:
        if not message.watch:
            return 0
        return watching.refusal(message.watch_owner, message.quote_id)

    def _watch(message: expiry.GetExpiryRequest, quote: RecentQuote | None, now_ns: int) -> tuple[int, int]:
        """In the turn of the decision: why it is not watched, and the live quote, 0 where there is none."""
        if quote is None:
            return expiry.WATCH_REFUSAL_NOT_FIRM, 0
        name = message.quote_id or convert.decision_id(service.boot_id, quote.decisions[0])
        try:
            live = watching.watch(
                now_ns, message.watch_owner, name, quote.part_requests, quote.parts, message.rfq_id
            )
        except QuotelifeError:
            return expiry.WATCH_REFUSAL_FULL, 0
        return 0, live

    def watch_quotes(context: CallContext, call: StreamCall) -> StreamHandler:
        if service.state != State.SERVING:
            raise service.not_serving()
        return WatchStream(
            call,
            watching,
            answer=lambda message, now_ns: answer_one(message, context, now_ns),
            admit=partial(service.admit, unary),
            release=partial(service.release, unary),
            as_rpc_error=partial(service.as_rpc_error, context=context),
        )

    def get_expiry(payload: bytes, context: CallContext) -> Answer:
        return answered(convert.parse_expiry(payload), payload, clock.now_ns())

    def answer_one(message: expiry.GetExpiryRequest, context: CallContext, now_ns: int) -> Answer | RpcError:
        try:
            return answered(message, message.SerializeToString(), now_ns)
        except BaseException as error:
            return service.as_rpc_error(error, context)

    def answer_bytes(request: bytes, context: CallContext, now_ns: int) -> Answer | RpcError:
        try:
            answer = plain.answer(request, now_ns)
            return answered(convert.parse_expiry(request), request, now_ns) if answer is None else answer
        except BaseException as error:
            return service.as_rpc_error(error, context)

    def batch_get_expiry(payload: bytes, context: CallContext) -> Answer:
        places = 0
        answers: list[Answer | RpcError] = []
        now_ns = clock.now_ns()
        for request in convert.batch_requests(payload):
            try:
                answer: Answer | None = plain.answer(request, now_ns)
                if answer is None:
                    message = convert.parse_expiry(request)
                    if message.explain:  # work for some dozens of decisions: it takes a place of its own
                        service.admit(unary)
                        places += 1
                    answer = answered(message, request, now_ns)
                answers.append(answer)
            except BaseException as error:
                answers.append(service.as_rpc_error(error, context))

        def build(outcomes: Sequence[bytes | BaseException]) -> bytes:
            return convert.batch_reply(
                [
                    service.as_rpc_error(outcome, context) if isinstance(outcome, BaseException) else outcome
                    for outcome in outcomes
                ]
            )

        def done() -> None:
            for _ in range(places):
                service.release(unary)

        return gathered(answers, build, done)

    def stream_expiry(context: CallContext, call: StreamCall) -> StreamHandler:
        if service.state != State.SERVING:
            raise service.not_serving()
        return ExpiryStream(
            call,
            answer=lambda request: answer_bytes(request, context, clock.now_ns()),
            admit=partial(service.admit, unary),
            release=partial(service.release, unary),
            as_rpc_error=partial(service.as_rpc_error, context=context),
        )

    def explain_decision(payload: bytes, context: CallContext) -> Deferred:
        decision_id = convert.explain_request(payload)
        if service.explanations is None:
            raise RpcError(
                Code.FAILED_PRECONDITION, "this service keeps no journal, so that it cannot explain later"
            )
        if service.hooks is None:
            raise RpcError(Code.UNAVAILABLE, "the service is starting")
        answer = Deferred()
        service.hooks.spawn(service.explanations.answer(decision_id), answer)
        return answer

    unary = Unary(get_expiry, short=plain)
    prefix = "/quote_expiry.v1.QuoteExpiryService/"
    return {
        prefix + "GetExpiry": unary,
        prefix + "BatchGetExpiry": Unary(batch_get_expiry),
        prefix + "StreamExpiry": Stream(stream_expiry),
        prefix + "WatchQuotes": Stream(watch_quotes, reads_on=True),
        prefix + "ExplainDecision": Unary(explain_decision),
    }


# --- SignalService ------------------------------------------------------------------------------------------


def _signal_methods(service: Service) -> MethodTable:
    engine, clock, metrics, ledger = service.engine, service.clock, service.metrics, service.ledger

    def applied(
        reply: type[convert.SignalReply], kind: SignalCode, took: bool, input_sequence: int, **fields: Any
    ) -> Answer:
        metrics.signalled(kind, took)
        return receipt(reply, took, input_sequence, **fields)

    def receipt(reply: type[convert.SignalReply], took: bool, input_sequence: int, **fields: Any) -> Answer:
        return ledger.acknowledge(
            convert.signal_reply(reply, input_sequence, engine.now_ns, not took, **fields)
        )

    def news_applied(news: convert.NewsSignal, score: float) -> Answer:
        ledger.check()
        took = engine.on_signal(
            SignalCode.NEWS,
            receive_ns=clock.now_ns(),
            source_ns=news.source_ns,
            value=score,
            instrument=news.instrument,
            ttl_ns=news.ttl_ns,
            source=news.source,
        )
        return applied(
            signal_service_pb2.PublishNewsResponse, SignalCode.NEWS, took, engine.input_sequence, score=score
        )

    async def scored(news: convert.NewsSignal) -> bytes:
        scorer = engine.config.signals.news_scorer
        assert scorer is not None
        try:
            score = await service.scoring.score(scorer, news.headline)
        except ScorerBusyError:
            raise convert.scorer_busy(service.retry_delay_ns) from None
        except ScorerFailedError:
            raise convert.scorer_failed() from None
        _log.info("headline scored", scorer=scorer, score=score, headline=news.headline)
        if score is None:  # no opinion is no news: it must not push out what is held
            return await waited(applied(signal_service_pb2.PublishNewsResponse, SignalCode.NEWS, False, 0))
        return await waited(news_applied(news, score))

    def publish_news(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        news = convert.news_signal(payload, engine, clock.now_ns())
        if news.score is not None:
            return news_applied(news, news.score)
        if service.hooks is None:
            raise RpcError(Code.UNAVAILABLE, "the service is starting")
        answer = Deferred()
        service.hooks.spawn(scored(news), answer)
        return answer

    def publish_volatility_index(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        now_ns = clock.now_ns()
        index = convert.volatility_signal(payload, engine, now_ns)
        took = engine.on_signal(
            SignalCode.VOLATILITY_INDEX,
            receive_ns=now_ns,
            source_ns=index.source_ns,
            value=index.level,
            ttl_ns=index.ttl_ns,
            source=index.index,
        )
        reply = signal_service_pb2.PublishVolatilityIndexResponse
        return applied(reply, SignalCode.VOLATILITY_INDEX, took, engine.input_sequence)

    def publish_inventory(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        now_ns = clock.now_ns()
        inventory = convert.inventory_signal(payload, engine, now_ns)
        took = engine.on_signal(
            SignalCode.INVENTORY,
            receive_ns=now_ns,
            source_ns=inventory.source_ns,
            value=inventory.position_lots,
            value2=inventory.limit_lots,
            instrument=inventory.instrument,
            desk=inventory.desk,
            ttl_ns=inventory.ttl_ns,
        )
        reply = signal_service_pb2.PublishInventoryResponse
        return applied(reply, SignalCode.INVENTORY, took, engine.input_sequence)

    def publish_greeks(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        now_ns = clock.now_ns()
        greeks = convert.greeks_signals(payload, engine, now_ns)
        took_any = False
        for kind, value, value2, source in greeks.pairs:
            took = engine.on_signal(
                kind,
                receive_ns=now_ns,
                source_ns=greeks.source_ns,
                value=value,
                value2=value2,
                instrument=greeks.instrument,
                ttl_ns=greeks.ttl_ns,
                source=source,
            )
            metrics.signalled(kind, took)
            took_any |= took
        return receipt(signal_service_pb2.PublishGreeksResponse, took_any, engine.input_sequence)

    def publish_calendar(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        now_ns = clock.now_ns()
        call = convert.calendar_signals(payload, engine, now_ns)
        took = False
        if call.names:
            engine.name_events(now_ns, call.names)
        for each in call.signals:
            took |= engine.on_signal(
                SignalCode.CALENDAR,
                receive_ns=now_ns,
                source_ns=each.from_ns,
                value=each.regime,
                instrument=each.instrument,
                ttl_ns=each.ttl_ns,
                source=each.event,
            )
        _log.info("calendar published", signals=len(call.signals), removed=call.removed, peer=context.peer)
        reply = signal_service_pb2.PublishCalendarResponse
        sequence = engine.input_sequence if call.signals else 0
        return applied(reply, SignalCode.CALENDAR, took, sequence, removed_event_ids=call.removed)

    prefix = "/quote_expiry.v1.SignalService/"
    return {
        prefix + "PublishNews": Unary(publish_news),
        prefix + "PublishVolatilityIndex": Unary(publish_volatility_index),
        prefix + "PublishInventory": Unary(publish_inventory),
        prefix + "PublishGreeks": Unary(publish_greeks),
        prefix + "PublishCalendar": Unary(publish_calendar),
    }


# --- MarketDataService --------------------------------------------------------------------------------------


def _market_data_methods(service: Service) -> MethodTable:
    def publish_events(context: CallContext, call: StreamCall) -> StreamHandler:
        if service.state != State.SERVING:
            raise service.not_serving()
        find = finder(service.published, service.engine.instruments)
        return PublishStream(call, context, find=find, now_ns=service.clock.now_ns)

    return {"/quote_expiry.v1.MarketDataService/PublishEvents": Stream(publish_events)}


# --- AdminService -------------------------------------------------------------------------------------------


def _admin_methods(service: Service) -> MethodTable:
    engine, clock, ledger = service.engine, service.clock, service.ledger

    def hooks() -> Hooks:
        if service.hooks is None:
            raise RpcError(Code.UNAVAILABLE, "the service is starting")
        return service.hooks

    def later(work: Awaitable[bytes]) -> Deferred:
        answer = Deferred()
        hooks().spawn(work, answer)
        return answer

    def get_status(payload: bytes, context: CallContext) -> Deferred:
        return later(hooks().status(convert.status_request(payload, engine)))

    def set_override(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        call = convert.override_request(payload, engine)
        now_ns = clock.now_ns()
        expires_ns = now_ns + call.ttl_ns
        try:
            override_id = engine.set_override(
                now_ns=now_ns,
                expires_ns=expires_ns,
                posture=call.posture,
                counterparty=call.counterparty,
                instrument=call.instrument,
                desk=call.desk,
            )
        except QuotelifeError:
            raise RpcError(
                Code.RESOURCE_EXHAUSTED,
                "too many overrides are in force; clear one first",
                (convert.retry_info(call.ttl_ns),),
            ) from None
        _log.info(
            "override set",
            override_id=override_id,
            posture=PostureCode(call.posture).name,
            counterparty=call.message.counterparty,
            instrument=call.message.instrument,
            desk=call.message.desk,
            ttl_ns=call.ttl_ns,
            peer=context.peer,
        )
        return ledger.acknowledge(convert.override_reply(call, override_id, expires_ns))

    def clear_override(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        override_id = convert.clear_override_request(payload)
        cleared = engine.clear_override(override_id, clock.now_ns())
        _log.info("override cleared", override_id=override_id, was_in_force=cleared, peer=context.peer)
        return ledger.acknowledge(convert.clear_override_reply(cleared))

    def list_overrides(payload: bytes, context: CallContext) -> bytes:
        convert.parse(admin_service_pb2.ListOverridesRequest, payload)
        return convert.overrides_reply(engine.overrides(clock.now_ns()), engine)

    def reload(payload: bytes, context: CallContext) -> Deferred:
        ledger.check()
        convert.parse(admin_service_pb2.ReloadRequest, payload)
        return later(hooks().reload())

    def kill(payload: bytes, context: CallContext) -> Answer:
        # Not held up by a journal that takes no records: the quotes must stop all the same.
        call = convert.kill_request(payload, engine)
        in_force = service.kills.kill(call.counterparty, call.reason, KillSource.RPC)
        _log.warning("killed", counterparty=call.counterparty, reason=call.reason, peer=context.peer)
        recorded = ledger.recorded()
        if service.kills.file is None:
            return mapped(
                recorded,
                lambda outcome: convert.kill_reply(
                    in_force.since_ns, NOT_JOURNALED if isinstance(outcome, BaseException) else ""
                ),
            )

        async def keep() -> bytes:
            journaling = asyncio.ensure_future(waited(recorded))
            keeping = asyncio.ensure_future(service.kills.keep())
            await asyncio.wait((journaling, keeping), timeout=KEEP_S)
            missing = [
                words
                for task, words in ((journaling, NOT_JOURNALED), (keeping, NOT_KEPT))
                if not task.done() or task.exception() is not None
            ]
            for task in (journaling, keeping):
                task.add_done_callback(_looked_at)
            return convert.kill_reply(in_force.since_ns, "; ".join(missing))

        return later(keep())

    def enable(payload: bytes, context: CallContext) -> Answer:
        call = convert.enable_request(payload, engine)
        if service.kills.file_exists():
            raise convert.kill_file_stands(str(service.kills.file))
        ledger.check_recording()
        take_back = service.kills.end_for_now(call.counterparty, call.reason)
        since_ns = clock.now_ns()

        def settle(outcome: bytes | BaseException) -> bytes | BaseException:
            # No firm answer decided since has left: it waits for the same records, and would be taken back now.
            if isinstance(outcome, BaseException):
                take_back()
                return convert.not_enabled(service.retry_delay_ns)
            _log.warning("enabled", counterparty=call.counterparty, reason=call.reason, peer=context.peer)
            return convert.enable_reply(since_ns)

        recorded = mapped(ledger.recorded(), settle)

        async def keep() -> bytes:
            reply = await waited(recorded)
            try:
                await service.kills.keep()
            except OSError:
                raise convert.enabling_not_kept() from None
            return reply

        return recorded if service.kills.file is None else later(keep())

    prefix = "/quote_expiry.v1.AdminService/"
    return {
        # Neither overload nor a start or drain under way keeps anybody from stopping the quotes.
        prefix + "Kill": Unary(kill, bounded=False, needs_serving=False),
        prefix + "Enable": Unary(enable, bounded=False, needs_serving=False),
        prefix + "GetStatus": Unary(get_status, needs_serving=False),
        prefix + "SetOverride": Unary(set_override),
        prefix + "ClearOverride": Unary(clear_override),
        prefix + "ListOverrides": Unary(list_overrides),
        prefix + "Reload": Unary(reload),
        **model_methods(service, later),
        **monitor_methods(service),
    }


# --- what is not served yet ---------------------------------------------------------------------------------


def _unserved_unary(path: str) -> Unary:
    def refuse(payload: bytes, context: CallContext) -> bytes:
        raise unserved(path.rpartition("/")[2])

    return Unary(refuse, bounded=False, needs_serving=False)


def _unserved_stream(path: str) -> Stream:
    def refuse(context: CallContext, call: StreamCall) -> StreamHandler:
        raise unserved(path.rpartition("/")[2])

    return Stream(refuse)
