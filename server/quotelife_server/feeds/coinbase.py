"""One live connection to Coinbase Advanced Trade market data, or to a venue that speaks the same wire."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from quotelife.clock import Clock
from quotelife.feed.coinbase import CoinbaseDecoder
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife_server.feeds.base import Sink
from quotelife_server.feeds.settings import CoinbaseFeedConfig
from quotelife_server.feeds.subscribing import Outgoing, SubscribingFeed, in_batches
from quotelife_server.feeds.websocket import instruments_of


class CoinbaseFeed(SubscribingFeed):
    """``Feed`` for one ``CoinbaseFeedConfig``.

    A request names one channel. Heartbeats are subscribed first: the venue closes a connection without any
    subscription after 5 s, and quiet ones after a minute.
    """

    config: CoinbaseFeedConfig
    decoder: CoinbaseDecoder

    def __init__(
        self,
        config: CoinbaseFeedConfig,
        instruments: Sequence[Instrument],
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        decoder = CoinbaseDecoder(EventBuffer(config.buffer_events))
        super().__init__(config, decoder, instruments, sink=sink, clock=clock, logger=logger, rng=rng)

    @classmethod
    def from_table(
        cls, config: CoinbaseFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> "CoinbaseFeed":
        """The feed, its instruments looked up by name. Raises ``ConfigError`` for names not there."""
        instruments = instruments_of(config.name, config.instruments, table)
        return cls(config, instruments, sink=sink, clock=clock, logger=logger)

    def counters(self) -> dict[str, int]:
        counters = super().counters()
        counters["duplicates"] += self.decoder.duplicates
        return counters

    def subscriptions(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        yield Outgoing(orjson.dumps({"type": "subscribe", "channel": "heartbeats"}))
        for some in in_batches(symbols, self.config.batch):
            yield Outgoing(_request("subscribe", "level2", some), some)
            yield from self.others_of(some)

    def resubscriptions_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        yield Outgoing(_request("unsubscribe", "level2", symbols))
        yield Outgoing(_request("subscribe", "level2", symbols), tuple(symbols))

    def others_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        if self.config.trades:
            yield Outgoing(_request("subscribe", "market_trades", symbols))


def _request(kind: str, channel: str, products: Sequence[str]) -> bytes:
    return orjson.dumps({"type": kind, "product_ids": list(products), "channel": channel})
