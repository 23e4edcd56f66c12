"""A small order management system: clients ask it for quotes, it prices them and asks how long they may live.
What it quotes it has watched.

It sees the market as any desk does, through the venue's streams, and knows nothing of the service but its
address. Without a venue it asks before it has priced.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import exp
from random import Random

import aiohttp

from quotelife.units import NS_PER_MS
from quotelife_client import (
    AsyncClient,
    AsyncWatcher,
    ServiceError,
    Side,
    SizeUnit,
    Tls,
    WatchEvent,
    WatchEventKind,
)
from quotelife_server.demo.record import EXPIRED, DecisionRow, EndRow

FALLBACK_LIFE_NS = 100 * NS_PER_MS
TIMEOUT_S = 0.25
SIZE_SPREAD = 0.5


@dataclass(frozen=True, slots=True)
class Tradable:
    """An instrument as the OMS knows it."""

    name: str
    symbol: str
    tick_size: Decimal
    lot_size: Decimal


@dataclass(frozen=True, slots=True)
class RfqClient:
    """Somebody who asks for quotes, so many a second; ``average_size`` by instrument, in base quantity."""

    name: str
    rfqs_per_second: float
    average_size: dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class _Quoted:
    """A quote that is out, until it has ended."""

    counterparty: str
    instrument: str
    side: Side
    asked_ns: int


class Oms:
    """Runs until cancelled. Tells through its callables of each decision, of each headline and when the service has
    taken it, and of each end of a watched quote."""

    def __init__(
        self,
        *,
        service: str,
        venue: str | None,
        instruments: Sequence[Tradable],
        clients: Sequence[RfqClient],
        desk: str,
        seed: int,
        on_decision: Callable[[DecisionRow], None],
        on_news: Callable[[int, float, str], None] | None = None,
        on_news_taken: Callable[[int], None] | None = None,
        on_end: Callable[[EndRow], None] | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._service = service
        self._tls = tls
        self._venue = venue
        self._instruments = list(instruments)
        self._clients = list(clients)
        self._desk = desk
        self._seed = seed
        self._on_decision = on_decision
        self._on_news = on_news
        self._on_news_taken = on_news_taken
        self._on_end = on_end
        self._quotes: dict[str, _Quoted] = {}  # that are watched
        self._asked = 0
        self._tops: dict[str, tuple[Decimal, Decimal]] = {}
        self._priced = asyncio.Event()
        self.errors = 0

    async def run(self) -> None:
        """Raises what ends it: a lost venue, a service that refuses a well-formed request."""
        async with (
            AsyncClient(
                self._service, timeout_s=TIMEOUT_S, fallback_life_ns=FALLBACK_LIFE_NS, tls=self._tls
            ) as client,
            client.watch(f"demo-{os.getpid()}", on_event=self._heard) as watcher,
            asyncio.TaskGroup() as tasks,
        ):
            if self._venue is not None:
                tasks.create_task(self._watch_market(client, self._venue))
                await asyncio.wait_for(self._priced.wait(), 10)
            for rfq_client in self._clients:
                tasks.create_task(self._trade(watcher, rfq_client))

    def _heard(self, event: WatchEvent) -> None:
        """A watched quote has ended: a WITHDRAW is where an OMS cancels."""
        if event.kind not in (WatchEventKind.WITHDRAW, WatchEventKind.EXPIRED):
            return
        quoted = self._quotes.pop(event.quote_id, None)
        if quoted is None or self._on_end is None:
            return
        now_ns = time.time_ns()
        withdrawn = event.kind is WatchEventKind.WITHDRAW
        lived_ns = time.monotonic_ns() - quoted.asked_ns
        self._on_end(
            EndRow(
                ended_ns=now_ns,
                counterparty=quoted.counterparty,
                instrument=quoted.instrument,
                side=quoted.side.name,
                why=event.reason.name if withdrawn else EXPIRED,
                lived_ns=lived_ns,
                left_ns=max(0, event.expiry_utc_ns - event.at_utc_ns) if withdrawn else 0,
            )
        )

    async def _watch_market(self, client: AsyncClient, venue: str) -> None:
        """Prices and headlines, as the venue streams them."""
        names = {instrument.symbol: instrument.name for instrument in self._instruments}
        streams = ["!news", *(f"{symbol.lower()}@bookTicker" for symbol in names)]
        url = f"{venue}/stream?streams={'/'.join(streams)}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            async for message in socket:
                data = json.loads(message.data)["data"]
                if data.get("e") == "news":
                    if self._on_news is not None:
                        self._on_news(data["E"] * NS_PER_MS, data["score"], data["headline"])
                    await client.publish_news(
                        data["score"],
                        instrument=names.get(data["s"], ""),
                        source="simulated-venue",
                        published_at_utc_ns=data["E"] * NS_PER_MS,
                        timeout_s=2.0,
                    )
                    if self._on_news_taken is not None:
                        self._on_news_taken(time.time_ns())
                else:
                    self._tops[names[data["s"]]] = Decimal(data["b"]), Decimal(data["a"])
                    if len(self._tops) == len(names):
                        self._priced.set()
        raise ConnectionError("the venue closed the market data connection")

    async def _trade(self, watcher: AsyncWatcher, rfq_client: RfqClient) -> None:
        """One client's requests for quote: exponential times between, lognormal sizes, either side."""
        random = Random(f"{self._seed}.{rfq_client.name}")
        while True:
            await asyncio.sleep(random.expovariate(rfq_client.rfqs_per_second))
            instrument = random.choice(self._instruments)
            side = random.choice((Side.BUY, Side.SELL))
            usual = rfq_client.average_size.get(instrument.name, instrument.lot_size * 1000)
            scale = Decimal(f"{exp(random.gauss(0.0, SIZE_SPREAD)):.3f}")
            lots = max(1, int(usual * scale / instrument.lot_size))
            await self._quote(watcher, rfq_client, instrument, side, lots)

    async def _quote(
        self, watcher: AsyncWatcher, rfq_client: RfqClient, instrument: Tradable, side: Side, lots: int
    ) -> None:
        """Price at the touch on our side, where it is known; ask for the life, and note what came back."""
        bid, ask = self._tops.get(instrument.name, (None, None))
        asked_ns = time.monotonic_ns()
        self._asked += 1
        quote_id = f"q{self._asked}"
        self._quotes[quote_id] = _Quoted(rfq_client.name, instrument.name, side, asked_ns)
        try:
            reply = await watcher.get_expiry(
                quote_id,
                instrument=instrument.name,
                side=side,
                size=Decimal(lots),
                size_unit=SizeUnit.LOTS,  # the one unit that every instrument has
                counterparty=rfq_client.name,
                desk=self._desk,
                price=bid if side is Side.BUY else ask,
            )
        except ServiceError:
            self.errors += 1
            raise
        if not reply.watched:
            self._quotes.pop(quote_id, None)
        latency_ns = time.monotonic_ns() - asked_ns
        self._on_decision(
            DecisionRow(
                answered_ns=time.time_ns(),
                counterparty=rfq_client.name,
                instrument=instrument.name,
                side=side.name,
                size=f"{(lots * instrument.lot_size).normalize():f}",
                requested=reply.posture_requested.name,
                effective=reply.posture_effective.name,
                regime=reply.regime.name,
                decision=reply.decision.name,
                p500=reply.p_ref,
                life_ns=reply.life_ns,
                reasons=tuple(reason.name for reason in reply.reasons),
                latency_ns=latency_ns,
                source=reply.source.value,
                watched=reply.watched,
            )
        )
