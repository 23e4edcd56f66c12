"""One live connection to Deribit, or to a venue that speaks the same wire."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from quotelife.clock import Clock
from quotelife.errors import DecodeError
from quotelife.feed.deribit import DeribitDecoder
from quotelife.feed.deribit_instruments import read_instrument
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer
from quotelife.units import NS_PER_S
from quotelife_server.feeds.base import GreeksSink, Sink, few
from quotelife_server.feeds.settings import DeribitFeedConfig
from quotelife_server.feeds.subscribing import Outgoing, SubscribingFeed, in_batches
from quotelife_server.feeds.websocket import instruments_of


class DeribitFeed(SubscribingFeed):
    """``Feed`` for one ``DeribitFeedConfig``.

    What a reply says is held against what was asked for: the venue leaves channels it does not have out of its answer
    to a subscription, and an instrument's real tick and lot may be finer than the configured ones. Both are logged
    with the mend and counted.
    """

    config: DeribitFeedConfig
    decoder: DeribitDecoder

    def __init__(
        self,
        config: DeribitFeedConfig,
        instruments: Sequence[Instrument],
        *,
        sink: Sink,
        greeks: GreeksSink,
        clock: Clock,
        logger: Any,
        rng: random.Random | None = None,
    ) -> None:
        decoder = DeribitDecoder(EventBuffer(config.buffer_events), quotes=config.quotes)
        super().__init__(config, decoder, instruments, sink=sink, clock=clock, logger=logger, rng=rng)
        self.channels_refused = 0
        self.grids_too_coarse = 0
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._greeks = greeks
        self._tickers_taken_ns = 0
        self._request_id = 0
        self._asked: dict[
            int, tuple[str, ...]
        ] = {}  # by request: the channels, or the instrument, it asked for
        self._tests_answered = 0

    @classmethod
    def from_table(
        cls,
        config: DeribitFeedConfig,
        table: InstrumentTable,
        *,
        sink: Sink,
        greeks: GreeksSink,
        clock: Clock,
        logger: Any,
    ) -> "DeribitFeed":
        """The feed, its instruments looked up by name. Raises ``ConfigError`` for names not there."""
        instruments = instruments_of(config.name, config.instruments, table)
        return cls(config, instruments, sink=sink, greeks=greeks, clock=clock, logger=logger)

    def has_books(self) -> bool:
        return self.config.book is not None

    def counters(self) -> dict[str, int]:
        return super().counters() | {
            "channels_refused": self.channels_refused,
            "grids_too_coarse": self.grids_too_coarse,
        }

    # Requests.

    def subscriptions(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        config = self.config
        yield self._request("public/set_heartbeat", {"interval": config.heartbeat_ns // NS_PER_S})
        if config.book is not None:
            for some in in_batches(symbols, config.batch):
                yield self._subscribe([f"book.{symbol}.{config.book}" for symbol in some], some)
        yield from self.others_of(symbols)
        for symbol in symbols:
            yield self._request("public/get_instrument", {"instrument_name": symbol}, (symbol,))

    def resubscriptions_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        channels = [f"book.{symbol}.{self.config.book}" for symbol in symbols]
        yield self._request("public/unsubscribe", {"channels": channels})
        yield self._subscribe(channels, tuple(symbols))

    def others_of(self, symbols: Sequence[str]) -> Iterable[Outgoing]:
        config = self.config
        channels = [f"quote.{symbol}" for symbol in symbols] if config.quotes else []
        for kind, beat in (("ticker", config.ticker), ("trades", config.trades)):
            if beat is not None:
                channels += [f"{kind}.{symbol}.{beat}" for symbol in symbols]
        for each in in_batches(channels, config.batch):
            yield self._subscribe(each)

    def _subscribe(self, channels: Sequence[str], asks: tuple[str, ...] = ()) -> Outgoing:
        return self._request("public/subscribe", {"channels": list(channels)}, tuple(channels), asks)

    def _request(
        self, method: str, params: dict[str, Any], expected: tuple[str, ...] = (), asks: tuple[str, ...] = ()
    ) -> Outgoing:
        self._request_id += 1
        if expected:
            self._asked[self._request_id] = expected
        body = {"jsonrpc": "2.0", "id": self._request_id, "method": method, "params": params}
        return Outgoing(orjson.dumps(body), asks)

    # Connection.

    def ready(self) -> None:
        self._tests_answered = self.decoder.test_requests
        super().ready()

    def dropped(self) -> None:
        super().dropped()
        self._asked.clear()
        self.decoder.take_tickers()  # nothing of a lost connection is handed on later

    def after_message(self, now_ns: int) -> None:
        super().after_message(now_ns)
        if self.decoder.test_requests != self._tests_answered:
            self._tests_answered = self.decoder.test_requests
            self.send_first(self._request("public/test", {}))
        reply = self.decoder.take_reply()
        if reply is not None:
            self._on_reply(reply)
        if now_ns - self._tickers_taken_ns >= self.config.greeks_interval_ns:
            self._tickers_taken_ns = now_ns
            for ticker in self.decoder.take_tickers():
                self._greeks(
                    ticker.instrument, receive_ns=now_ns, source_ns=ticker.exchange_ns, **ticker.pairs()
                )

    def _on_reply(self, data: bytes) -> None:
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:  # the decoder skips what it does not need
            self._log.often("reply_refused", error=str(error))
            return
        number, result = body.get("id"), body.get("result")
        expected = self._asked.pop(number, None) if isinstance(number, int) else None
        if expected is None or result is None:
            return  # an error has been logged with its words
        if isinstance(result, list):
            taken = {channel for channel in result if isinstance(channel, str)}
            refused = [channel for channel in expected if channel not in taken]
            self.channels_refused += len(refused)
            if refused:
                self._log.error(
                    "channels_refused",
                    channels=few(refused),
                    mend="the venue has no such channel: look at the instrument's symbol and the feed's beats",
                )
        elif expected[0] in self._instruments:
            instrument = self._instruments[expected[0]]
            try:
                faults = list(read_instrument(data).faults(instrument.tick_size, instrument.lot_size))
            except DecodeError as error:
                faults = [f"the venue's answer about it was not understood: {error}"]
            for fault in faults:
                self.grids_too_coarse += 1
                self._log.error("grid_too_coarse", instrument=instrument.name, mend=fault)
