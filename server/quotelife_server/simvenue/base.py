"""What every simulated venue has in common: a market on the loop's clock, a listener, faults, a control door.

One task lets the market run and hands its messages to the clients. Who does not keep up is cut off, as at a real venue.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from aiohttp import web

from quotelife.sim.market import MarketSimulator, NewsShock
from quotelife.sim.updates import VenueUpdate
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.simvenue.faults import KINDS, TIMED, Fault, FaultLine

CATCH_UP_NS = 200 * NS_PER_MS
LAG_NS_MAX = 1 * NS_PER_S
REOPEN_S = 0.05


@dataclass(frozen=True, slots=True)
class VenueSettings:
    """How the venue runs.

    ``tick_s``: how often the market is advanced. ``queue_bytes_max``: what a client may leave unread before
    it is cut off. ``ping_s``: websocket ping interval; a client that does not answer is closed.
    ``shock_every_ns``: repeat the planned shock, in alternating directions; 0: once.
    """

    tick_s: float = 0.005
    queue_bytes_max: int = 1 << 20
    ping_s: float = 20.0
    clients_max: int = 64
    shock_every_ns: int = 0


class Connection(Protocol):
    """One client's line, as far as the faults concern it."""

    def abort(self) -> None:
        """Drop the connection without a word."""

    def break_off(self) -> None:
        """Write the beginning of a message and close."""

    def stall(self, stalled: bool) -> None:
        """Leave the socket open, but neither write to it nor read from it; or go on."""


class Venue(ABC):
    """One ``MarketSimulator`` on the loop's clock and the faults of its line; made inside the running event loop.

    A venue adds ``publish`` (what has happened, to the clients), ``send`` (one message, past the faults), ``lines``
    (the connections that stand), ``open`` and ``shut``. ``app`` is its control door, or all of it.
    """

    FAULTS: ClassVar[tuple[str, ...]] = ()
    """Faults of this venue beside those of its line; each hits ``own_faults[kind]`` times."""

    def __init__(
        self, market: MarketSimulator, settings: VenueSettings | None, routes: Sequence[web.RouteDef] = ()
    ) -> None:
        self.market = market
        self.settings = settings or VenueSettings()
        self.faults = FaultLine()
        self.own_faults = dict.fromkeys(self.FAULTS, 0)
        self.messages = 0
        self.cut_off = 0
        # Venue time runs from here: the market's start, as the caller has just stamped it.
        self._epoch = asyncio.get_running_loop().time()
        self._frozen_at: float | None = None
        self._pacing: asyncio.Task[None] | None = None
        self._shock: NewsShock | None = None
        self._runner: web.AppRunner | None = None
        self._address = ("", 0)
        self._away: asyncio.Task[None] | None = None
        self._reopening: asyncio.Future[None] | None = None
        self._stalling: asyncio.TimerHandle | None = None
        self.app = web.Application(client_max_size=64 * 1024)
        self.app.add_routes(
            [
                *routes,
                web.get("/control/status", self._status),
                web.post("/control/shock", self._control_shock),
                web.post("/control/fault", self._control_fault),
            ]
        )
        self.app.on_startup.append(self._start)
        self.app.on_shutdown.append(self._stop)

    # ---------------------------------------------------------------------------------------------- venue

    @abstractmethod
    def publish(self, updates: Sequence[VenueUpdate]) -> None:
        """Send what has just happened."""

    @abstractmethod
    def send(self, stream: str, payload: bytes) -> None:
        """One message to everybody who gets that stream."""

    @abstractmethod
    def lines(self) -> Sequence[Connection]:
        """The connections that stand."""

    def own_fault(self, kind: str) -> bool:
        """Does this fault of the venue hit now? Counts it off."""
        if self.own_faults[kind] <= 0:
            return False
        self.own_faults[kind] -= 1
        return True

    # ---------------------------------------------------------------------------------------------- time

    @property
    def now_ns(self) -> int:
        """Venue time: the market's start plus what the loop's clock has run since."""
        return self.market.start_ns + int((asyncio.get_running_loop().time() - self._epoch) * NS_PER_S)

    def plan_shock(self, shock: NewsShock) -> None:
        """A shock in the market; repeated when the settings say so."""
        self.market.add_shock(shock)
        self._shock = shock

    async def _start(self, app: web.Application) -> None:
        self._pacing = asyncio.create_task(self._pace(), name="venue-pace")

    async def _stop(self, app: web.Application) -> None:
        await self.freeze()
        await self._back()

    async def freeze(self) -> None:
        """Stop the clock that drives the market; until ``thaw`` only ``run_to`` moves it. For tests."""
        if self._pacing is not None:
            self._pacing.cancel()
            await asyncio.gather(self._pacing, return_exceptions=True)
            self._pacing = None
            self._frozen_at = asyncio.get_running_loop().time()

    def thaw(self) -> None:
        """Let the market go on where it stands: venue time is behind by as long as it stood."""
        if self._frozen_at is not None:
            self._epoch += asyncio.get_running_loop().time() - self._frozen_at
            self._frozen_at = None
            self._pacing = asyncio.create_task(self._pace(), name="venue-pace")

    async def stopped(self) -> None:
        """Returns or raises when the market has stopped: a venue without a market must not look alive."""
        if self._pacing is not None:
            await asyncio.wait([self._pacing])
            if not self._pacing.cancelled():
                self._pacing.result()

    async def _pace(self) -> None:
        while True:
            now_ns = self.now_ns
            slipped_ns = now_ns - self.market.now_ns - LAG_NS_MAX
            if slipped_ns > 0:  # the machine is too slow for this market: let it be a slower one
                self._epoch += slipped_ns / NS_PER_S
                now_ns -= slipped_ns
            # After a stall the market catches up in pieces, so that the clients' tasks get their turn.
            self.run_to(min(now_ns, self.market.now_ns + CATCH_UP_NS))
            behind = now_ns - self.market.now_ns > CATCH_UP_NS
            await asyncio.sleep(0 if behind else self.settings.tick_s)

    def run_to(self, to_ns: int) -> None:
        """Let the market run to a time and publish all that happened."""
        self._repeat_shock()
        for name, payload in self.faults.due(to_ns):
            self.send(name, payload)
        updates = self.market.advance(to_ns)
        self.publish(updates)

    def _repeat_shock(self) -> None:
        every = self.settings.shock_every_ns
        shock = self._shock
        if every and shock is not None and self.market.now_ns > shock.start_ns:
            start_ns = max(shock.start_ns + every, self.market.now_ns)
            self.plan_shock(shock.moved_to(start_ns, -shock.direction))

    def deliver(self, stream: str, payload: bytes) -> None:
        """Through the faults to everybody who subscribed."""
        for name, message in self.faults.through((stream, payload), self.market.now_ns):
            self.send(name, message)

    # ------------------------------------------------------------------------------------------- listener

    async def listen(self, host: str, port: int) -> int:
        """Take connections; returns the port (``port`` 0 takes a free one)."""
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        self._address = (host, await self.open(host, port))
        return self._address[1]

    @abstractmethod
    async def open(self, host: str, port: int) -> int:
        """Open the listener of the market data; returns its port."""

    @abstractmethod
    async def shut(self) -> None:
        """Close the listener, so that who connects is refused."""

    async def close(self) -> None:
        """End everything that ``listen`` began."""
        if self._runner is not None:
            await self._back()
            await self.shut()
            await self._runner.cleanup()

    def restart(self, away_s: float) -> None:
        """Drop all connections and refuse new ones for so long. The market goes on meanwhile."""
        if self._runner is None:
            raise ValueError("restart: somebody else listens for this venue")
        if self._away is None or self._away.done():
            self._away = asyncio.create_task(self._restart(away_s), name="venue-restart")

    async def _restart(self, away_s: float) -> None:
        try:
            await self.shut()
            for line in list(self.lines()):
                line.abort()
            await asyncio.sleep(away_s)
        finally:
            # Whoever ends the wait must not end the reopening, too.
            self._reopening = asyncio.ensure_future(again(lambda: self.open(*self._address)))
            await asyncio.shield(self._reopening)

    async def _back(self) -> None:
        """End a restart and a stall that are under way."""
        if self._away is not None and not self._away.done():
            self._away.cancel()
            await asyncio.gather(self._away, return_exceptions=True)
        if self._reopening is not None:
            await self._reopening
        self._stall(False)

    def _stall(self, stalled: bool) -> None:
        if self._stalling is not None:
            self._stalling.cancel()
            self._stalling = None
        for line in list(self.lines()):
            line.stall(stalled)

    # -------------------------------------------------------------------------------------------- control

    async def calm(self) -> None:
        """End all faults; what was held back comes out now, and who was away is back."""
        for stream, payload in self.faults.clear():
            self.send(stream, payload)
        self.own_faults = dict.fromkeys(self.FAULTS, 0)
        await self._back()

    def fault(
        self, kind: str, *, stream: str = "*", count: int = 1, duration_ms: float = 0, delay_ms: float = 0
    ) -> None:
        """Begin a fault, as the control door does it. Raises ``ValueError``."""
        duration_ns = round(duration_ms * NS_PER_MS)
        if kind in (*TIMED, "stall", "restart") and duration_ns <= 0:
            raise ValueError(f"duration_ms: {kind} needs how long it lasts, above 0")
        if kind == "cut":
            for line in list(self.lines()):
                line.abort()
        elif kind == "half":
            for line in list(self.lines()):
                line.break_off()
        elif kind == "stall":
            self._stall(True)
            loop = asyncio.get_running_loop()
            self._stalling = loop.call_later(duration_ns / NS_PER_S, self._stall, False)
        elif kind == "restart":
            self.restart(duration_ns / NS_PER_S)
        elif kind in self.FAULTS:
            self.own_faults[kind] = int(count)
        elif kind in KINDS:
            until_ns = self.market.now_ns + duration_ns
            self.faults.add(Fault(kind, str(stream), int(count), until_ns, round(delay_ms * NS_PER_MS)))
        else:
            known = ", ".join((*KINDS, *self.FAULTS))
            raise ValueError(f"kind: {kind!r} is none of {known}, cut, half, stall, restart, clear")

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "market": self.market.config.market,
                "seed": self.market.seed,
                "now_ns": self.market.now_ns,
                "behind_ns": self.now_ns - self.market.now_ns,
                "clients": len(self.lines()),
                "messages": self.messages,
                "cut_off": self.cut_off,
                "faults": self.faults.hits,
                "shock": [self.market.shock_level(i) for i in range(len(self.market.config.symbols))],
            }
        )

    async def _control_shock(self, request: web.Request) -> web.Response:
        """Start a news shock.

        ``{"duration_ms": 4000, "in_ms": 0, "intensity": 1, "direction": -1, "score": -1, "symbol": null}``
        """

        async def plan(body: dict[str, Any]) -> dict[str, Any]:
            symbol = body.pop("symbol", None)
            at_ns = self.market.now_ns + round(float(body.pop("in_ms", 0)) * NS_PER_MS)
            shock = self.market.schedule_shock(
                at_ns,
                round(float(body.pop("duration_ms", 4000)) * NS_PER_MS),
                symbol=None if symbol is None else self.market.config.index(symbol),
                **body,
            )
            return {"start_ns": shock.start_ns, "end_ns": shock.start_ns + shock.duration_ns}

        return await _controlled(request, plan)

    async def _control_fault(self, request: web.Request) -> web.Response:
        """``{"kind": "drop", "stream": "btcusdt@depth*", "count": 1, "duration_ms": 0, "delay_ms": 0}``

        Kinds: drop, duplicate, reorder, garbage, noise (``count``), delay, mute (``duration_ms``); of all connections
        cut, half (a message half written, then cut), stall, restart (``duration_ms``); clear; and what the venue
        itself has (``FAULTS``, with ``count``).
        """

        def known(kind: str, **body: Any) -> dict[str, Any]:
            self.fault(kind, **body)
            return {"kind": kind, "count": body.get("count", 1)}

        async def plan(body: dict[str, Any]) -> dict[str, Any]:
            if body == {"kind": "clear"}:
                await self.calm()
                return body
            return known(**body)

        return await _controlled(request, plan)


async def again(open_listener: Callable[[], Awaitable[Any]]) -> None:
    """Open a listener that was closed: while away, its port may be some client's for a while."""
    while True:
        try:
            await open_listener()
            return
        except OSError:
            await asyncio.sleep(REOPEN_S)


async def _controlled(
    request: web.Request, act: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
) -> web.Response:
    try:
        body = await request.json() if request.can_read_body else {}
        return web.json_response(await act(body))
    except (ValueError, TypeError, KeyError) as error:
        return web.json_response({"error": str(error)}, status=400)


async def serve(venue: Venue, host: str, port: int, started: Callable[[int], Awaitable[None] | None]) -> None:
    """Run until cancelled; ``started`` is told the port (``port`` 0 takes a free one)."""
    try:
        told = started(await venue.listen(host, port))
        if told is not None:
            await told
        await venue.stopped()
    finally:
        await venue.close()
