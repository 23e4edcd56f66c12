"""One live connection to OKX public channels, or to a venue that speaks the same wire."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from picows import WSMsgType, WSTransport

from quotelife.clock import Clock
from quotelife.feed.okx import OkxDecoder
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife_server.feeds.base import Sink
from quotelife_server.feeds.settings import OkxFeedConfig
from quotelife_server.feeds.subscribing import Outgoing, SubscribingFeed, in_batches
from quotelife_server.feeds.websocket import instruments_of


class OkxFeed(SubscribingFeed):
    """``Feed`` for one ``OkxFeedConfig``. The text ``ping`` keeps the line open; websocket pings go beside it."""

    config: OkxFeedConfig
    decoder: OkxDecoder

    def __init__(
        self,
        config: OkxFeedConfig,
        instruments: Sequence[Instrument],
        *,
        sink: Sink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        decoder = OkxDecoder(EventBuffer(config.buffer_events), quotes=config.quotes)
        super().__init__(config, decoder, instruments, sink=sink, clock=clock, logger=logger, rng=rng)
        self._kept_alive_ns = 0

    @classmethod
    def from_table(
        cls, config: OkxFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> "OkxFeed":
        """The feed, its instruments looked up by name. Raises ``ConfigError`` for names not there."""
        instruments = instruments_of(config.name, config.instruments, table)
        return cls(config, instruments, sink=sink, clock=clock, logger=logger)

    def has_books(self) -> bool:
        return self.config.book is not None

    def keep_alive(self, transport: WSTransport, now_ns: int) -> None:
        super().keep_alive(transport, now_ns)
        if now_ns - self._kept_alive_ns >= self.config.keep_alive_ns:
            self._kept_alive_ns = now_ns
            transport.send(WSMsgType.TEXT, b"ping")

    def subscriptions(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        config = self.config
        for some in in_batches(symbols, config.batch):
            if config.book is not None:
                yield Outgoing(_request("subscribe", config.book, some), some)
            yield from self.others_of(some)

    def resubscriptions_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        assert self.config.book is not None
        yield Outgoing(_request("unsubscribe", self.config.book, symbols))
        yield Outgoing(_request("subscribe", self.config.book, symbols), tuple(symbols))

    def others_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        if self.config.quotes:
            yield Outgoing(_request("subscribe", "bbo-tbt", symbols))
        if self.config.trades:
            yield Outgoing(_request("subscribe", "trades", symbols))


def _request(kind: str, channel: str, symbols: Sequence[str]) -> bytes:
    return orjson.dumps({"op": kind, "args": [{"channel": channel, "instId": symbol} for symbol in symbols]})
