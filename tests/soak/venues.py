"""The handlers of a soak: each a simulated venue, its own book as the truth, its faults, and the feed that listens."""

import asyncio
import random
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from quotelife.records import SideCode
from quotelife.sim.itch_wire import ItchMarket, ItchSymbol
from quotelife.sim.market import BTC, ETH, MarketConfig, MarketSimulator
from quotelife.sim.updates import DepthUpdate, VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.simvenue.base import Venue, VenueSettings
from quotelife_server.simvenue.fix import SimulatedFix
from quotelife_server.simvenue.itch import ItchVenue, LineFaults
from quotelife_server.simvenue.streamed import SimulatedCoinbase, SimulatedDeribit, SimulatedOkx
from quotelife_server.simvenue.venue import SimulatedVenue
from reference.event_books import EventRow
from soak.binary_venue import BinaryVenue
from soak.books import Truth

HOST = "127.0.0.1"
PORTS = (15_000, 32_000)
WHOLE = 10_000
BEAT_NS = 100 * NS_PER_MS
STEP_NS = 10 * NS_PER_MS
SYMBOLS = tuple(replace(symbol, flow_per_second=40.0) for symbol in (BTC, ETH))
SETTINGS = VenueSettings(tick_s=0.01)


class Handler:
    """One live feed's counterpart. ``truths`` in the order of its instruments."""

    order_level = False
    symbols: Sequence[str] = tuple(symbol.symbol for symbol in SYMBOLS)
    grid: Sequence[tuple[Any, Any]] = tuple((symbol.tick_size, symbol.lot_size) for symbol in SYMBOLS)

    def __init__(self, name: str) -> None:
        self.name = name
        self.truths = [Truth() for _ in self.symbols]

    def instruments(self) -> list[dict[str, Any]]:
        return [
            {
                "name": f"{self.name}-{symbol}",
                "venue": self.name,
                "symbol": symbol,
                "tick_size": str(tick),
                "lot_size": str(lot),
                "warmup": "0s",
                "order_level": self.order_level,
            }
            for symbol, (tick, lot) in zip(self.symbols, self.grid, strict=True)
        ]

    async def start(self, seed: int) -> dict[str, Any]:
        """Begin; returns what the feed's configuration has of its own."""
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    def key(self, row: EventRow) -> int:
        """Where in the truth a message belongs."""
        raise NotImplementedError

    def hit(self, rng: random.Random) -> str:
        """Make one fault; returns its name."""
        raise NotImplementedError

    async def calm(self) -> None:
        """No faults any more."""
        raise NotImplementedError

    async def freeze(self) -> None:
        """The market stands still; ``truths`` are final, and have been held against the venue's own book."""
        raise NotImplementedError

    def thaw(self) -> None:
        raise NotImplementedError


class MarketHandler(Handler):
    """A venue around a ``MarketSimulator``. A truth follows the changes that the market hands out, not the venue."""

    venue: Venue
    streams: Sequence[str] = ("*", "book.*", "book.BTCUSDT*", "book.ETHUSDT*", "trades.*")
    timed = ("mute", "delay", "stall", "restart")
    counted = ("drop", "duplicate", "reorder", "garbage", "noise")
    sudden = ("cut", "half")
    market_kind = "usdm"

    def make(self, market: MarketSimulator) -> Venue:
        raise NotImplementedError

    def feed(self, address: str) -> dict[str, Any]:
        raise NotImplementedError

    async def start(self, seed: int) -> dict[str, Any]:
        config = MarketConfig(SYMBOLS, self.market_kind, depth_interval_ns=BEAT_NS, step_ns=STEP_NS)
        market = MarketSimulator(config, seed, time.time_ns())
        for at, truth in enumerate(self.truths):
            start = market.snapshot(at, WHOLE)
            for side, levels in ((SideCode.BID, start.bids), (SideCode.ASK, start.asks)):
                for ticks, lots in levels:
                    truth.book.level(side, ticks, lots)
            truth.note(self.key_of(market.start_ns, start.last_update_id), time.monotonic())
        self.venue = self.make(market)
        self._publish = self.venue.publish
        self.venue.publish = self._published  # type: ignore[method-assign]
        return self.feed(f"{HOST}:{await self.venue.listen(HOST, free_port())}")

    def _published(self, updates: Sequence[VenueUpdate]) -> None:
        now_s = time.monotonic()
        for update in updates:
            if isinstance(update, DepthUpdate):
                truth = self.truths[update.symbol]
                for side, levels in ((SideCode.BID, update.bids), (SideCode.ASK, update.asks)):
                    for ticks, lots in levels:
                        truth.book.level(side, ticks, lots)
                truth.note(self.key_of(update.time_ns, update.last_id), now_s)
        self._publish(updates)

    def key_of(self, time_ns: int, last_id: int) -> int:
        """Of a change: the exchange's time, in the milliseconds of most wires."""
        return time_ns // NS_PER_MS

    def key(self, row: EventRow) -> int:
        return row.exchange_ns // NS_PER_MS

    async def stop(self) -> None:
        await self.venue.close()

    def hit(self, rng: random.Random) -> str:
        kind = rng.choice((*self.timed, *self.counted, *self.sudden, *self.venue.FAULTS))
        body: dict[str, Any] = {}
        if kind in self.timed:
            body["duration_ms"] = rng.choice((50, 200, 800, 3000, 5000))
        elif kind in self.counted:
            body["count"] = rng.choice((1, 1, 2, 5, 20))
        if kind in self.counted or kind in ("mute", "delay"):
            body["stream"] = rng.choice(self.streams)
        if kind == "delay":
            body["delay_ms"] = rng.choice((20, 100, 400))
        self.venue.fault(kind, **body)
        return kind

    async def calm(self) -> None:
        await self.venue.calm()

    async def freeze(self) -> None:
        await self.venue.freeze()
        market = self.venue.market
        stands_ns = market.now_ns - market.start_ns
        self.venue.run_to(market.start_ns - (-stands_ns // BEAT_NS) * BEAT_NS)
        for at, truth in enumerate(self.truths):
            book = market.snapshot(at, WHOLE)
            own = {(SideCode.BID, ticks): lots for ticks, lots in book.bids}
            own |= {(SideCode.ASK, ticks): lots for ticks, lots in book.asks}
            assert truth.book.all == own, f"{self.name}: the changes told do not make the venue's own book"

    def thaw(self) -> None:
        self.venue.thaw()


RECONNECT = {"min": "20ms", "max": "300ms", "timeout": "3s"}
LIVENESS = {"ping": "500ms", "idle": "2s", "mute": "4s"}
RESUBSCRIBE = {"timeout": "1s", "retry_min": "20ms", "retry_max": "300ms"}


class BinanceHandler(MarketHandler):
    streams = ("*", "*@depth*", "btcusdt@depth*", "ethusdt@depth*", "*@bookTicker", "*rade*")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.market_kind = name.partition("-")[2]

    def make(self, market: MarketSimulator) -> Venue:
        return SimulatedVenue(market, SETTINGS)

    def feed(self, address: str) -> dict[str, Any]:
        return {
            "kind": "binance",
            "market": self.market_kind,
            "ws_url": f"ws://{address}",
            "rest_url": f"http://{address}",
            "snapshot": {
                "interval": "20ms",
                "timeout": "3s",
                "retry_min": "20ms",
                "retry_max": "300ms",
                "weight_per_minute": 1_000_000,
            },
            "reconnect": RECONNECT,
            "liveness": LIVENESS,
        }

    def key_of(self, time_ns: int, last_id: int) -> int:
        return last_id

    def key(self, row: EventRow) -> int:
        return row.sequence


class StreamedHandler(MarketHandler):
    def make(self, market: MarketSimulator) -> Venue:
        if self.name == "deribit":
            return SimulatedDeribit(market, SETTINGS, heartbeat_scale=0.1)
        return (
            SimulatedCoinbase(market, SETTINGS) if self.name == "coinbase" else SimulatedOkx(market, SETTINGS)
        )

    def feed(self, address: str) -> dict[str, Any]:
        path = "" if self.name == "coinbase" else getattr(self.venue, "PATH", "")
        return {
            "kind": self.name,
            "ws_url": f"ws://{address}{path}",
            "request_interval": "5ms",
            "resubscribe": RESUBSCRIBE,
            "reconnect": RECONNECT,
            "liveness": LIVENESS,
        }


class FixHandler(MarketHandler):
    def make(self, market: MarketSimulator) -> Venue:
        return SimulatedFix(market, SETTINGS)

    def feed(self, address: str) -> dict[str, Any]:
        return {
            "kind": "fix",
            "address": address,
            "sender": "QUOTELIFE",
            "target": "SIM",
            "heartbeat": "2s",
            "resend_timeout": "1s",
            "mute": "4s",
            "resubscribe": RESUBSCRIBE,
            "reconnect": RECONNECT,
        }


class BinaryHandler(MarketHandler):
    streams = ("*",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.transport = name.partition("-")[2]
        self.udp = f"{HOST}:{free_port()}" if self.transport == "udp" else None

    def make(self, market: MarketSimulator) -> Venue:
        return BinaryVenue(market, SETTINGS, self.udp)

    def feed(self, address: str) -> dict[str, Any]:
        return {
            "kind": "binary",
            "transport": self.transport,
            "address": self.udp or address,
            "silence": "2s",
            "reconnect": RECONNECT,
            "socket_bytes": 100_000,
        }

    def key_of(self, time_ns: int, last_id: int) -> int:
        return last_id

    def key(self, row: EventRow) -> int:
        return row.sequence


ITCH_SYMBOLS = ("AAA", "BBB")
MIDNIGHT, OPEN = 0, 34_200 * NS_PER_S
TURN_S, TURN_MESSAGES = 0.02, 4
NEW_SESSION = 0.02  # of all faults
SESSION_MESSAGES = 150_000  # a day is told anew to whoever has lost it: it must not become too long


class ItchHandler(Handler):
    """Orders by reference; a truth reads the venue's own messages, and is held against the encoder's orders."""

    order_level = True
    symbols = ITCH_SYMBOLS
    grid = (("0.01", "1"), ("0.01", "1"))
    faults: Sequence[str]

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sessions = 0
        self.venue: ItchVenue
        self.market: ItchMarket
        self._running: asyncio.Task[None] | None = None
        self._faults: set[asyncio.Task[None]] = set()
        self._frozen = False

    async def begin(self, venue: ItchVenue, seed: int) -> None:
        self.venue = venue
        self.seed = seed
        await venue.start(HOST, free_port())
        self.open_session()
        self._running = asyncio.create_task(self._run())

    def open_session(self) -> None:
        self.sessions += 1
        if self.sessions > 1:
            self.venue.begin_session(f"SIM{self.sessions:07d}")
        names = [ItchSymbol(name) for name in (*self.symbols, "OTHER")]
        self.market = ItchMarket(names, self.seed + self.sessions, midnight_ns=MIDNIGHT, start_ns=OPEN)
        for truth in self.truths:
            truth.begin_anew()
            truth.note(0, time.monotonic())
        self.publish(self.market.opening)

    def publish(self, messages: Sequence[bytes]) -> None:
        number, now_s = len(self.venue.messages), time.monotonic()
        for message in messages:
            number += 1
            at = int.from_bytes(message[1:3], "big") - 1
            if 0 <= at < len(self.truths):
                told(self.truths[at], message)
                self.truths[at].note(number, now_s)
        self.venue.publish(messages)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TURN_S)
            if not self._frozen:
                self.publish(self.market.advance(TURN_MESSAGES))
                if len(self.venue.messages) > SESSION_MESSAGES:
                    self.open_session()

    async def stop(self) -> None:
        tasks = [task for task in (self._running, *self._faults) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.venue.stop()

    def key(self, row: EventRow) -> int:
        return row.sequence

    def hit_either(self, kind: str, rng: random.Random) -> None:
        """What goes wrong over datagrams and over a connection."""
        if kind == "silence":
            self.for_a_while(rng, self.mute(True), self.mute(False))
        elif kind == "restart":
            self._keep(self.venue.restart(rng.choice((0.1, 0.5, 3.0))))
        elif kind == "new_session":
            if rng.random() < 0.5:
                self.venue.end_session()
            self.open_session()
        elif kind == "burst":
            self.publish(self.market.advance(rng.choice((100, 1000))))
        else:
            raise AssertionError(f"{kind} is no fault of this venue")

    def for_a_while(self, rng: random.Random, on: Callable[[], None], off: Callable[[], None]) -> None:
        async def hold() -> None:
            on()
            try:
                await asyncio.sleep(rng.choice((0.05, 0.2, 0.8, 3.0)))
            finally:
                off()

        self._keep(hold())

    def _keep(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._faults.add(task)
        task.add_done_callback(self._faults.discard)

    def mute(self, muted: bool) -> Callable[[], None]:
        def act() -> None:
            self.venue.mute = muted

        return act

    async def calm(self) -> None:
        for task in list(self._faults):
            task.cancel()
        await asyncio.gather(*self._faults, return_exceptions=True)
        self.venue.mute = False

    async def freeze(self) -> None:
        self._frozen = True
        self.venue.flush()
        for at, truth in enumerate(self.truths):
            own = {
                reference: (order.side, order.ticks, order.lots)
                for reference, order in self.market.encoder.orders.items()
                if order.instrument == at
            }
            assert truth.book.all == own, f"{self.name}: the messages told do not make the venue's own orders"

    def thaw(self) -> None:
        self._frozen = False


def told(truth: Truth, message: bytes) -> None:
    """One ITCH message to the book it speaks of; layouts as of the specification."""
    kind, book = message[:1], truth.book

    def number(at: int, size: int) -> int:
        return int.from_bytes(message[at : at + size], "big")

    if kind in b"AF":
        side = SideCode.BID if message[19:20] == b"B" else SideCode.ASK
        book.put(number(11, 8), (side, number(32, 4) // 100, number(20, 4)))
    elif kind in b"ECX":
        book.reduce(number(11, 8), number(19, 4))
    elif kind == b"D":
        book.reduce(number(11, 8), 0)
    elif kind == b"U":
        book.replace(number(11, 8), number(19, 8), number(31, 4) // 100, number(27, 4))


class MoldHandler(ItchHandler):
    async def start(self, seed: int) -> dict[str, Any]:
        lines = [f"{HOST}:{free_port()}" for _ in range(2)]
        self.usual = [LineFaults(loss=0.01, duplicate=0.01, reorder=0.02, seed=seed + i) for i in range(2)]
        await self.begin(ItchVenue(lines=lines, faults=self.usual, rerequest_loss=0.05), seed)
        return {
            "kind": "itch",
            "transport": "mold",
            "line_a": lines[0],
            "line_b": lines[1],
            "interface": HOST,
            "rerequest": self.venue.rerequest_address,
            "silence": "2s",
            "socket_bytes": 100_000,
            "ring_datagrams": 1024,
        }

    def hit(self, rng: random.Random) -> str:
        venue = self.venue
        kinds = ("storm", "silence", "one_line", "no_rerequests", "noise", "restart", "burst")
        kind = "new_session" if rng.random() < NEW_SESSION else rng.choice(kinds)
        if kind == "storm":
            worse = [
                LineFaults(
                    rng.choice((0.1, 0.5)), rng.choice((0, 0.3)), rng.choice((0, 0.3)), rng.randrange(99)
                )
                for _ in venue.lines
            ]
            self.for_a_while(rng, lambda: self._lines(worse), lambda: self._lines(self.usual))
        elif kind == "one_line":
            line = rng.randrange(2)
            self.for_a_while(
                rng, lambda: venue.muted_lines.add(line), lambda: venue.muted_lines.discard(line)
            )
        elif kind == "no_rerequests":
            self.for_a_while(rng, lambda: self._rerequest_loss(1.0), lambda: self._rerequest_loss(0.05))
        elif kind == "noise":
            for _ in range(rng.randrange(1, 30)):
                venue.noise(mold_noise(rng, venue.session))
        else:
            self.hit_either(kind, rng)
        return kind

    def _lines(self, faults: Sequence[LineFaults]) -> None:
        for line, each in zip(self.venue.lines, faults, strict=True):
            line.faults = each

    def _rerequest_loss(self, loss: float) -> None:
        self.venue.rerequest_loss = loss


def mold_noise(rng: random.Random, session: str) -> bytes:
    """Datagrams that no venue sends: bytes at random, a packet cut short, one that counts more than it has."""
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(0, 200))
    if kind == 1:
        return session.encode().rjust(10) + rng.randbytes(3)
    if kind == 2:
        return session.encode().rjust(10) + (1).to_bytes(8, "big") + (40).to_bytes(2, "big") + b"\x00\x24A"
    return session.encode().rjust(10) + bytes(10)


class SoupHandler(ItchHandler):
    async def start(self, seed: int) -> dict[str, Any]:
        await self.begin(ItchVenue(), seed)
        return {
            "kind": "itch",
            "transport": "soup",
            "server": self.venue.soup_address,
            "silence": "2s",
            "reconnect": RECONNECT,
        }

    def hit(self, rng: random.Random) -> str:
        venue = self.venue
        kinds = ("cut", "half", "silence", "noise", "restart", "burst")
        kind = "new_session" if rng.random() < NEW_SESSION else rng.choice(kinds)
        if kind == "cut":
            venue.drop_connections()
        elif kind == "half":
            venue.break_off()
        elif kind == "noise":
            venue.noise(rng.choice((b"\x00\x00", b"\x00\x05?????", b"\x00\x01+", b"GET / HTTP/1.1\r\n\r\n")))
        else:
            self.hit_either(kind, rng)
        return kind


def free_port() -> int:
    """Of those that no client is given by the system: a venue that restarts must find its port free."""
    while True:
        port = random.randrange(*PORTS)
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind((HOST, port))
        except OSError:
            continue
        return port


HANDLERS: dict[str, Callable[[str], Handler]] = {
    "binance-spot": BinanceHandler,
    "binance-usdm": BinanceHandler,
    "binance-coinm": BinanceHandler,
    "deribit": StreamedHandler,
    "coinbase": StreamedHandler,
    "okx": StreamedHandler,
    "itch-mold": MoldHandler,
    "itch-soup": SoupHandler,
    "fix": FixHandler,
    "binary-tcp": BinaryHandler,
    "binary-udp": BinaryHandler,
}
