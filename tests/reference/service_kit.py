"""A service with a market behind it, for tests of handlers, transports and clients."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.clock import ManualClock
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode
from quotelife_server import log
from quotelife_server.app import Application
from quotelife_server.handlers import Service, State
from quotelife_server.in_flight import InFlight
from quotelife_server.metrics import Metrics
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import CallContext, Deferred, RpcError, Unary
from quotelife_server.settings import ServiceConfig

log.configure("critical")

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S
GET_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/GetExpiry"

CONFIG = """
version: 1
model: {artifact: first_passage}
signals: {volatility_indices: [DVOL]}
instruments:
  - name: BTC-USDT
    venue: binance-usdm
    symbol: BTCUSDT
    tick_size: 0.1
    lot_size: 0.001
    warmup: 1s
    drivers: [ETH-USDT]
    volatility_index: DVOL
  - {name: ETH-USDT, venue: binance-spot, symbol: ETHUSDT, tick_size: 0.01, lot_size: 0.001, warmup: 1s}
  - {name: BTC-USD, venue: binance-coinm, symbol: BTCUSD_PERP, tick_size: 0.1, lot_size: 1, warmup: 1s}
tiers:
  strategic: {posture: client_priority}
  regular: {posture: liquidity_provider}
counterparties:
  alpha: {tier: strategic}
  beta: {tier: regular}
venue_sessions:
  instants: {actuation: absolute, granularity: 1ms, life_max: 10s}
  spans: {actuation: relative, granularity: 10ms, life_min: 50ms, life_max: 2s, transit: 3ms}
  coarse: {actuation: withdraw, granularity: 1s, life_min: 10s, life_max: 60s}
  look: {actuation: last_look}
desks:
  main: {allow_request_override: true}
  plain: {}
server:
  address: 127.0.0.1:0
  metrics_address: 127.0.0.1:0
  drain: {notice: 0ns}
  log_level: error
"""


TRANSPORT = {"is": "auto"}
"""What configurations written here ask for; the fixture ``transport`` sets it."""


def write_config(folder: Path, text: str = CONFIG) -> Path:
    path = folder / "config.yaml"
    if TRANSPORT["is"] != "auto":
        text = text.replace("\nserver:\n", f"\nserver:\n  transport: {TRANSPORT['is']}\n", 1)
    path.write_text(text, encoding="utf-8")
    return path


class Market:
    """Books of all instruments of CONFIG: a snapshot each, then a random walk of the best prices."""

    def __init__(self, engine: Engine, seed: int = 1) -> None:
        self._engine = engine
        self._buffer = EventBuffer(4096)
        self._rng = random.Random(seed)
        self._bids = [630_000, 310_000, 630_000]
        self._sequence = 1

    def start(self, t: int) -> None:
        for i, bid in enumerate(self._bids):
            self._buffer.append(EventKindCode.SNAPSHOT_BEGIN, instrument=i, receive_ns=t)
            for k in range(12):
                self._level(i, SideCode.BID, bid - k, 1000 + k, t, EventFlags.SNAPSHOT)
                self._level(i, SideCode.ASK, bid + 2 + k, 1000 + k, t, EventFlags.SNAPSHOT)
            self._buffer.append(
                EventKindCode.SNAPSHOT_END,
                instrument=i,
                receive_ns=t,
                flags=EventFlags.LAST,
                sequence=self._sequence,
            )
        self._flush()

    def step(self, t: int) -> None:
        """One depth message for every instrument."""
        self._sequence += 1
        for i, bid in enumerate(self._bids):
            move = self._rng.choice((-1, 0, 0, 0, 1))
            if move > 0:
                self._level(i, SideCode.ASK, bid + 2, 0, t, 0)
            elif move < 0:
                self._level(i, SideCode.BID, bid, 0, t, 0)
            self._bids[i] = bid + move
            self._level(i, SideCode.ASK, bid + move + 2, self._rng.randint(500, 1500), t, 0)
            self._level(i, SideCode.BID, bid + move, self._rng.randint(500, 1500), t, EventFlags.LAST)
        self._flush()

    def run(self, start_ns: int, seconds: float) -> int:
        """Snapshots, then a step every 50 ms; returns the time of the last one."""
        self.start(start_ns)
        steps = round(seconds * S / (50 * MS))
        for k in range(1, steps + 1):
            self.step(start_ns + k * 50 * MS)
        return start_ns + steps * 50 * MS

    async def keep_fresh(self, now_ns: Callable[[], int]) -> None:
        """A step every 50 ms until cancelled."""
        while True:
            self.step(now_ns())
            await asyncio.sleep(0.05)

    def _level(self, instrument: int, side: int, price: int, lots: int, t: int, flags: int) -> None:
        self._buffer.append(
            EventKindCode.LEVEL,
            instrument=instrument,
            side=side,
            receive_ns=t,
            price_ticks=price,
            size_lots=lots,
            flags=flags,
            sequence=self._sequence,
        )

    def _flush(self) -> None:
        self._engine.on_events(self._buffer)
        self._buffer.clear()


class Kit:
    """Handlers over a real engine, called without a transport."""

    def __init__(
        self,
        folder: Path,
        *,
        warm: bool = True,
        in_flight_max: int = 64,
        replies_bytes: int = 2**23,
        text: str = CONFIG,
    ) -> None:
        self.path = write_config(folder, text)
        self.config = load_config(self.path, ServiceConfig)
        self.clock = ManualClock(T0)
        self.engine = Engine(self.config, start_ns=T0)
        if warm:
            self.clock.set_ns(Market(self.engine).run(T0, 20.0))
        self.service = Service(
            self.engine,
            self.clock,
            boot_id="b00t",
            metrics=Metrics(),
            replies=ReplyStore(replies_bytes, 24 * 3600 * S),
            in_flight=InFlight(in_flight_max),
            retry_delay_ns=20 * MS,
        )
        self.service.set_state(State.SERVING)

    def call(self, method: str, payload: bytes, deadline_ns: int | None = None) -> bytes:
        """One unary call as a transport makes it. Raises ``RpcError``."""
        entry = self.service.methods[method]
        assert isinstance(entry, Unary)
        context = CallContext(method, deadline_ns)
        self.service.admit(entry)
        try:
            answer = self.service.unary(entry, payload, context)
            if not isinstance(answer, Deferred):
                return answer
            outcomes: list[bytes | BaseException] = []
            answer.then(outcomes.append)
            assert outcomes, "the answer has not come at once"
            return answer.leaving()
        finally:
            self.service.release(entry)

    def get(self, **fields: Any) -> expiry.GetExpiryResponse:
        return expiry.GetExpiryResponse.FromString(self.call(GET_EXPIRY, self.payload(**fields)))

    def payload(self, **fields: Any) -> bytes:
        base: dict[str, Any] = {"instrument": "BTC-USDT", "side": types.SIDE_BUY}
        return expiry.GetExpiryRequest(**{**base, **fields}).SerializeToString()


@contextmanager
def refused() -> Iterator[list[RpcError]]:
    """Collects the RpcError that the block must raise."""
    caught: list[RpcError] = []
    try:
        yield caught
    except RpcError as error:
        caught.append(error)
    assert caught, "the call was not refused"


@asynccontextmanager
async def running(path: Path, **overrides: Any) -> AsyncIterator[Application]:
    """An application on real sockets with good books; its clock runs ahead by the market it was given."""
    application = Application(path, overrides=overrides)
    market = Market(application.engine)
    market.run(application.started_ns, 20.0)
    application.clock._base_ns += 20 * S
    application.clock.offset_limit_ns = 60 * S
    await application.start()
    task = asyncio.create_task(market.keep_fresh(application.clock.now_ns))
    try:
        yield application
    finally:
        task.cancel()
        await application.drain()
