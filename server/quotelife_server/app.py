"""The running service on one screen: compose, start, drain, stop."""

import asyncio
import contextlib
import gc
import secrets
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quotelife.config import load_config
from quotelife.errors import ConfigError
from quotelife.instruments import InstrumentTable
from quotelife.units import NS_PER_S
from quotelife_server import log
from quotelife_server.addresses import UNIX
from quotelife_server.administration import administration, shared
from quotelife_server.alerts import CLOCK_UNSYNCHRONISED, ENGINE_AHEAD, JOURNAL_FAILING, THROTTLED, Alerts
from quotelife_server.capturing import open_capture
from quotelife_server.clock import SystemClock
from quotelife_server.explaining import JournalExplanations, Turns
from quotelife_server.feeds.base import Feed, GreeksSink, Sink, few
from quotelife_server.feeds.binance import BinanceFeed
from quotelife_server.feeds.binary import BinaryFeed
from quotelife_server.feeds.coinbase import CoinbaseFeed
from quotelife_server.feeds.deribit import DeribitFeed
from quotelife_server.feeds.fix import FixFeed
from quotelife_server.feeds.itch import ItchFeed
from quotelife_server.feeds.okx import OkxFeed
from quotelife_server.feeds.published import PublishedFeed
from quotelife_server.feeds.settings import (
    BinanceFeedConfig,
    BinaryFeedConfig,
    CoinbaseFeedConfig,
    DeribitFeedConfig,
    FixFeedConfig,
    GrpcFeedConfig,
    ItchFeedConfig,
    OkxFeedConfig,
)
from quotelife_server.feeds.websocket import WebsocketFeed
from quotelife_server.handlers import Hooks, Service, State
from quotelife_server.in_flight import InFlight
from quotelife_server.journaling import JournalLedger, Losses, OpenJournal
from quotelife_server.kill import NAMES_SHOWN_MAX, KillControl
from quotelife_server.metrics import Exposition, Metrics
from quotelife_server.models import Models
from quotelife_server.monitoring import ModelWatch
from quotelife_server.open_files import connections_within
from quotelife_server.quality import MarketDataWatch
from quotelife_server.recent import RecentQuotes
from quotelife_server.reload import Reloader
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import Deferred, waited
from quotelife_server.settings import Server, ServiceConfig
from quotelife_server.status import status_reply
from quotelife_server.tls import check_tls, folder_of
from quotelife_server.transport.choice import GrpcFrontEnd, chosen
from quotelife_server.transport.http import HttpServer
from quotelife_server.transport.listening import CannotListen
from quotelife_server.transport.options import GrpcOptions, TlsFiles
from quotelife_server.watching import Ear

TICK_S = 0.1
AHEAD_NS_MAX = 1_000_000
LEAVE_S, LEAVE_LOOKS = 0.01, 20  # for withdrawals to be written before streams end
ADMIN_GRACE_NS = NS_PER_S  # a kill is acknowledged within it (handlers.KEEP_S)
STOP_S = 3.0  # what the rest of a drain may take beyond its notice and its grace

_log = log.get_logger(__name__)


FeedOpener = Callable[[ServiceConfig, InstrumentTable, SystemClock, Sink, GreeksSink], Sequence[Feed]]


def open_feeds(
    config: ServiceConfig, instruments: InstrumentTable, clock: SystemClock, sink: Sink, greeks: GreeksSink
) -> Sequence[Feed]:
    """The configured feeds, not yet connected."""
    kinds: dict[type, Callable[..., Feed]] = {
        BinanceFeedConfig: BinanceFeed.from_table,
        DeribitFeedConfig: partial(DeribitFeed.from_table, greeks=greeks),
        CoinbaseFeedConfig: CoinbaseFeed.from_table,
        OkxFeedConfig: OkxFeed.from_table,
        BinaryFeedConfig: BinaryFeed.from_table,
        FixFeedConfig: FixFeed.from_table,
        ItchFeedConfig: ItchFeed.from_table,
        GrpcFeedConfig: PublishedFeed,
    }
    feeds = []
    for each in config.feeds:
        feed = kinds[type(each)](each, instruments, sink=sink, clock=clock, logger=_log)
        if isinstance(feed, WebsocketFeed):
            feed.books_elsewhere(config.books_elsewhere(each))
        feeds.append(feed)
    return feeds


def published(feeds: Sequence[Feed]) -> dict[str, PublishedFeed]:
    """By the name of the instrument, where it comes in by PublishEvents."""
    return {
        instrument.name: feed
        for feed in feeds
        if isinstance(feed, PublishedFeed)
        for instrument in feed.instruments
    }


def load(config_path: Path, overrides: Mapping[str, object]) -> ServiceConfig:
    """The configuration, with keys of its ``server`` section replaced. Raises ``ConfigError``."""
    config = load_config(config_path, ServiceConfig)
    if not overrides:
        return config
    written = config.server.model_dump(mode="json", by_alias=True)
    try:
        server = Server.model_validate({**written, **overrides})
    except ValidationError as error:
        raise ConfigError([_override_fault(fault["loc"], fault["msg"]) for fault in error.errors()]) from None
    return config.model_copy(update={"server": server})


def _override_fault(location: tuple[int | str, ...], message: str) -> str:
    reason = message.removeprefix("Value error, ")
    return f"command line: {'.'.join(('server', *map(str, location)))}: {reason[:1].lower()}{reason[1:]}"


class Application:
    """One service. ``start`` returns when it answers; ``drain`` when everything has been answered."""

    def __init__(
        self,
        config_path: Path,
        *,
        overrides: Mapping[str, object] | None = None,
        open_feeds: FeedOpener = open_feeds,
    ) -> None:
        load_again = partial(load, config_path, overrides or {})
        self.config = load_again()
        settings = self.config.server
        tls = check_tls(config_path, settings)  # before anything is opened or written
        self.clock = SystemClock(settings.wall_offset_max_ns)
        self.started_ns = self.clock.now_ns()
        self.alerts = Alerts()
        self.models = Models(settings.models.directory, self.clock.now_ns, self.alerts)
        self.engine = self.models.open(self.config, self.started_ns)
        # Unique even where the clock was set back between two starts.
        boot_id = f"{self.started_ns:x}{secrets.token_hex(4)}"
        self.capturing = open_capture(settings.capture, self.engine, boot_id=boot_id, alerts=self.alerts)
        ear = Ear()
        sinks = [*([] if self.capturing is None else [self.capturing.sink]), ear.tap]
        self.engine.record_to(*sinks)
        self.metrics = Metrics()
        self.kills = KillControl(
            self.engine, self.clock.now_ns, self.alerts, _kill_file(config_path, settings.kill_file)
        )
        replies = ReplyStore(settings.replies.bytes_max, settings.replies.age_max_ns)
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="journal")
        self.journal: OpenJournal | None = None
        self.ledger: JournalLedger | None = None
        if settings.journal.directory is not None:
            self.journal = OpenJournal(settings, self.engine, boot_id, self.started_ns, sinks)
            self.ledger = JournalLedger(
                self.journal,
                replies,
                now_ns=self.clock.now_ns,
                call_soon=lambda work: asyncio.get_running_loop().call_soon(work),
                in_thread=self._in_thread,
                on_change=self._journal_changed,
            )
        self.service = Service(
            self.engine,
            self.clock,
            boot_id=boot_id,
            metrics=self.metrics,
            replies=replies,
            in_flight=InFlight(settings.in_flight_max),
            retry_delay_ns=settings.overload_retry_ns,
            ledger=self.ledger,
            later=Turns().add,
            hooks=Hooks(reload=self._reload, status=self._status, spawn=self._answer_later),
            kills=self.kills,
            models=self.models,
            ear=ear,
            alerts=self.alerts,
            watch_queue_max=settings.watch_queue_max,
            recent=RecentQuotes(boot_id, settings.recent.quotes_max, settings.recent.keep_ns),
            explanations=None
            if settings.journal.directory is None
            else JournalExplanations(Path(settings.journal.directory)),
        )
        if self.ledger is None:
            mend = "name a folder as server.journal.directory"
            _log.warning("no journal: answers are kept nowhere, and say unjournaled", mend=mend)
        if unfed := self.config.without_feed():
            _log.warning("instruments without a feed, declined for ever", instruments=few(unfed))
        if bookless := self.config.without_book():
            mend = "add a feed with depth, or set quotes_only"
            _log.warning(
                "instruments without a book, declined for ever", instruments=few(bookless), mend=mend
            )
        self.reloader = Reloader(
            config_path,
            load_again,
            self.config,
            self.engine,
            self.clock.now_ns,
            promoted=self.models.promoted_over,
            swapped=self.models.configured,
        )
        engine = self.engine
        self.feeds = open_feeds(
            self.config, engine.instruments, self.clock, engine.on_events, engine.on_greeks
        )
        self.service.published = published(self.feeds)
        self.grpc_options = _grpc_options(settings, tls)
        front_end = chosen(settings.transport)
        self.admin: GrpcFrontEnd | None = None
        self.admin_address = settings.admin_address
        methods = self.service.methods
        if settings.admin_address is not None:
            self.admin = front_end(
                self.service, [settings.admin_address], self.grpc_options, administration(self.service)
            )
            methods = shared(self.service, lambda: str(self.admin_address))
        self.grpc = front_end(self.service, _addresses(settings), self.grpc_options, methods)
        self.market_data = MarketDataWatch(self.engine, self.config.feeds, self.alerts)
        self.model_watch = ModelWatch(self.engine, self.alerts)
        self.exposition = self._exposition()
        self.http = self._http_server(settings)
        self.addresses: list[str] = []
        self.metrics_address: str | None = None
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Bind, connect the feeds, answer. Raises ``OSError`` that names the key when an address cannot be had."""
        self.kills.restore()
        if self.ledger is not None:
            self.ledger.begin(asyncio.get_running_loop().call_soon)
        self.service.watching.begin()
        if self.admin is not None:
            with _named("admin_address"):
                (self.admin_address,) = await self.admin.start()
        with _named("address"):
            self.addresses = await self.grpc.start()
        if self.http is not None:
            with _named("metrics_address"):
                self.metrics_address = await self.http.start()
        for feed in self.feeds:
            await feed.start()
        self._keep_running(self._tick())
        self._keep_running(self.kills.watch())
        if self.config.server.watch_configuration:
            self._keep_running(self.reloader.watch())
        gc.collect()
        gc.freeze()  # what lives as long as the process need not be walked again
        self.service.set_state(State.SERVING)
        _log.info(
            "serving",
            transport=self.grpc.name,
            addresses=self.addresses,
            admin_address=self.admin_address,
            metrics_address=self.metrics_address,
            boot_id=self.service.boot_id,
            instruments=len(self.engine.instruments),
            model=self.engine.model.digest,
        )

    async def drain(self) -> None:
        """Say NOT_SERVING and still answer for ``notice``; then refuse new calls, give those in flight ``grace``
        and cut off the rest; then stop everything else. The administration is heard until nothing can be decided
        any more."""
        drain = self.config.server.drain
        self.service.give_notice()
        _log.info("leaving", notice_s=drain.notice_ns / NS_PER_S)
        await asyncio.sleep(drain.notice_ns / NS_PER_S)
        self.service.set_state(State.DRAINING)
        _log.info("draining", in_flight=self.service.in_flight.count)
        await self._withdraw_all()
        await self.grpc.stop(drain.grace_ns)
        for feed in self.feeds:
            await feed.stop()
        if self.admin is not None:
            await self.admin.stop(ADMIN_GRACE_NS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.service.watching.stop()
        if self.http is not None:
            await self.http.stop()
        if self.capturing is not None:
            await self.capturing.stop()
        await asyncio.to_thread(self._threads.shutdown)
        if self.ledger is not None:
            self.ledger.close()
        self.models.close()
        _log.info("stopped", input_sequence=self.engine.input_sequence)

    async def _withdraw_all(self) -> None:
        """Whoever has quotes watched hears that they are not any more, before the streams end."""
        self.service.watching.leave()
        for _ in range(LEAVE_LOOKS):
            await asyncio.sleep(LEAVE_S)
            if not self.service.watching.unwritten:
                return

    async def _tick(self) -> None:
        losses = None if self.ledger is None else Losses(self.ledger, self.alerts)
        while True:
            await asyncio.sleep(TICK_S)
            now_ns = self.clock.now_ns()
            self.engine.on_timer(now_ns)
            if given_up := self.engine.want_resync():
                for feed in self.feeds:
                    if isinstance(feed, WebsocketFeed | FixFeed):  # the others have nobody to ask
                        feed.resynchronise(given_up)
            self.service.replies.expire(now_ns)
            self.service.recent.expire(now_ns)
            if self.capturing is not None:
                self.capturing.tick(now_ns)
            if self.ledger is not None:
                if not self.ledger.fault:
                    self.engine.note_learned(now_ns)
                    self.engine.note_counterparties(now_ns)
                self.ledger.tick(now_ns)
            if losses is not None:
                losses.check(now_ns)
            self._check_throttle(now_ns)
            self._check_clock(now_ns)
            self.service.exposure.check(self.alerts, now_ns)
            self.market_data.check(now_ns)
            self.model_watch.check(now_ns)

    def _check_throttle(self, now_ns: int) -> None:
        # One that is released by hand is a kill, and alerted as such.
        paused = self.engine.paused()
        if not paused:
            self.alerts.clear(THROTTLED, now_ns)
            return
        names = [f"{name}: {why}" for name, why in paused[:NAMES_SHOWN_MAX]]
        more = f" and {len(paused) - len(names)} more" if len(paused) > len(names) else ""
        self.alerts.raise_(THROTTLED, f"{'; '.join(names)}{more}; declined until the pause ends", now_ns)

    def _check_clock(self, now_ns: int) -> None:
        # Everything is stamped here by one clock; a stamp from elsewhere would hold engine time until it is reached.
        ahead = self.engine.now_ns > now_ns + AHEAD_NS_MAX
        if ahead:
            text = (
                f"an input was stamped {(self.engine.now_ns - now_ns) / NS_PER_S:.6f} s ahead of the service's clock: "
                "no instants are sent until that time has come or the service has been restarted"
            )
            self.alerts.raise_(ENGINE_AHEAD, text, now_ns)
        else:
            self.alerts.clear(ENGINE_AHEAD, now_ns)
        offset_ns = self.clock.measure_wall_offset_ns()
        self.service.synchronised = self.clock.synchronised and not ahead
        if self.clock.synchronised:
            self.alerts.clear(CLOCK_UNSYNCHRONISED, now_ns)
            return
        text = (
            f"the wall clock is {offset_ns / NS_PER_S:+.6f} s away from the service's: no instants are sent until "
            "it is back or the service has been restarted"
        )
        self.alerts.raise_(CLOCK_UNSYNCHRONISED, text, now_ns)

    def _keep_running(self, work: Coroutine[Any, Any, None]) -> None:
        """A task without which the service must not go on: its failure stops the service."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and task.exception() is not None:
                self.failure = task.exception()
                _log.critical("stopping: a task failed", exc_info=self.failure)
                self.stopping.set()

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)

    def _answer_later(self, work: Awaitable[bytes], answer: Deferred) -> None:
        async def resolve() -> None:
            try:
                answer.resolve(await work)
            except BaseException as error:
                answer.resolve(error)
                if not isinstance(error, Exception):
                    raise

        task = asyncio.get_running_loop().create_task(resolve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def reload_soon(self) -> None:
        """SIGHUP. What is wrong with the files is logged by the reloader."""
        self._answer_later(self.reloader.answer(), Deferred())

    async def _reload(self) -> bytes:
        return await waited(self.service.ledger.acknowledge(await self.reloader.answer()))

    def _in_thread(self, work: Callable[[], int], done: Callable[[int | BaseException], None]) -> None:
        def ended(future: asyncio.Future[int]) -> None:
            done(future.exception() or future.result())

        asyncio.get_running_loop().run_in_executor(self._threads, work).add_done_callback(ended)

    def _journal_changed(self) -> None:
        assert self.ledger is not None
        if self.ledger.fault:
            self.alerts.raise_(JOURNAL_FAILING, self.ledger.failing_text, self.clock.now_ns())
        else:
            self.alerts.clear(JOURNAL_FAILING, self.clock.now_ns())
        self.service.judge_health()

    async def _status(self, indices: list[int]) -> bytes:
        return await status_reply(
            self.service,
            indices=indices,
            started_ns=self.started_ns,
            wall_offset_ns=self.clock.wall_offset_ns,
            feeds=[feed.figures() for feed in self.feeds],
            config_problems=self.reloader.problems,
            restart_required=self.reloader.restart_required,
            capture=self.capturing.figures() if self.capturing is not None else None,
            alerts=self.alerts.active(),
            model_failures=self.models.state.failures,
            journal=self.ledger,
            feeds_of=self.market_data.feeds_of,
        )

    def _http_server(self, settings: Server) -> HttpServer | None:
        if settings.metrics_address is None:
            return None
        return HttpServer(self.exposition.text, lambda: self.service.health.serving, settings.metrics_address)

    def _exposition(self) -> Exposition:
        gauges = [
            ("quotelife_in_flight", "Calls being answered", lambda: float(self.service.in_flight.count)),
            (
                "quotelife_stored_replies",
                "Replies kept by request id",
                lambda: float(len(self.service.replies)),
            ),
            (
                "quotelife_stored_replies_bytes",
                "Memory they take",
                lambda: float(self.service.replies.bytes),
            ),
            (
                "quotelife_stored_replies_evicted",
                "Replies that left before their time, for want of room",
                lambda: float(self.service.replies.evicted),
            ),
            ("quotelife_recent_quotes", "Firm quotes kept", lambda: float(len(self.service.recent))),
            (
                "quotelife_recent_quotes_evicted",
                "Firm quotes that left before their time, for want of room",
                lambda: float(self.service.recent.evicted),
            ),
            (
                "quotelife_stored_replies_oldest_seconds",
                "How far back a retry finds its reply",
                lambda: self.service.replies.oldest_age_ns(self.clock.now_ns()) / NS_PER_S,
            ),
            (
                "quotelife_wall_offset_seconds",
                "Wall clock minus clock",
                lambda: self.clock.wall_offset_ns / NS_PER_S,
            ),
            (
                "quotelife_config_revision",
                "Configuration in force",
                lambda: float(self.engine.config_revision),
            ),
            ("quotelife_config_refused", "Reloads refused", lambda: float(self.reloader.refused)),
        ]
        if self.capturing is not None:
            gauges += self.capturing.gauges()
        return Exposition(
            self.metrics,
            self.engine,
            self.clock.now_ns,
            gauges,
            lambda: [feed.figures() for feed in self.feeds],
            self.alerts,
            self.ledger,
            self.service.watching,
            self.service.exposure,
        )


async def run(
    config_path: Path,
    *,
    address: str | None = None,
    unix_socket: str | None = None,
    metrics_address: str | None = None,
    open_feeds: FeedOpener = open_feeds,
    on_ready: Callable[[Application], None] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the drain at once. Addresses given here go
    before those of the configuration.

    Returns the exit code: 1 when a task that must not fail did, or when the drain did not come to its end.
    Raises ``ConfigError``, ``OSError``.
    """
    given = {"address": address, "unix_socket": unix_socket, "metrics_address": metrics_address}
    overrides = {key: value for key, value in given.items() if value is not None}
    log.configure(load(config_path, overrides).server.log_level)  # before anything binds a logger
    app = Application(config_path, overrides=overrides, open_feeds=open_feeds)
    loop = asyncio.get_running_loop()
    forced = asyncio.Event()

    def asked_to_stop() -> None:
        (forced if app.stopping.is_set() else app.stopping).set()

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, asked_to_stop)
    loop.add_signal_handler(signal.SIGHUP, app.reload_soon)
    try:
        await app.start()
        if on_ready is not None:
            on_ready(app)
        await app.stopping.wait()
    finally:
        app.stopping.set()
        drained = await _drain_or_leave(app, forced)
    return 0 if drained and app.failure is None else 1


async def _drain_or_leave(app: Application, forced: asyncio.Event) -> bool:
    """False when the drain was given up: at a second signal, or because it took too long."""
    settings = app.config.server.drain
    drain = asyncio.ensure_future(app.drain())
    force = asyncio.ensure_future(forced.wait())
    bound_s = (settings.notice_ns + settings.grace_ns) / NS_PER_S + STOP_S
    await asyncio.wait((drain, force), timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
    force.cancel()
    if drain.done():
        await drain
        return True
    _log.error("leaving without the end of the drain", second_signal=forced.is_set())
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(name)  # one more ends the process whatever it does
    drain.cancel()
    return False


def _kill_file(config_path: Path, name: str | None) -> Path | None:
    """As configured; a relative name starts at the folder of the configuration."""
    return None if name is None else folder_of(config_path) / name


@contextlib.contextmanager
def _named(key: str) -> Iterator[None]:
    """Whoever finds an address taken must know which key to change."""
    try:
        yield
    except CannotListen as error:
        own = "unix_socket" if key == "address" and error.address.startswith(UNIX) else key
        raise OSError(f"server.{own}: {error}") from error


def _addresses(settings: Server) -> list[str]:
    addresses = [settings.address] if settings.address is not None else []
    if settings.unix_socket is not None:
        addresses.append(f"unix:{settings.unix_socket}")
    return addresses


def _grpc_options(settings: Server, tls: TlsFiles | None) -> GrpcOptions:
    return GrpcOptions(
        connections_max=connections_within(
            settings.connections.count_max, 1 if settings.admin_address is None else 2
        ),
        connection_age_max_ns=settings.connections.age_max_ns,
        connection_age_grace_ns=settings.connections.age_grace_ns,
        tls=tls,
        message_bytes_max=settings.message_bytes_max,
        streams_max=settings.streams_max,
        overload_turn_ns=settings.overload_turn_ns,
        busy_poll_ns=settings.busy_poll_ns,
        keepalive_interval_ns=settings.keepalive.interval_ns,
        keepalive_timeout_ns=settings.keepalive.timeout_ns,
        client_ping_interval_min_ns=settings.keepalive.client_interval_min_ns,
    )
