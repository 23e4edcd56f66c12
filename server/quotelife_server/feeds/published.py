"""Market data published by gRPC client streams: which instruments may come that way, and who feeds which.

One venue message is applied whole or not at all. A message that is refused, and a break in the sequence of an
instrument, mean that its book has missed something: it gets CLEAR (GAP | LAST) and waits for a snapshot. The end of
a stream, however it comes, distrusts every instrument that it fed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quotelife.clock import Clock
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EventBuffer, EventFlags, EventKindCode, StatusKind
from quotelife_server import convert
from quotelife_server.feeds.base import FaultLog, FeedFigures, Sink
from quotelife_server.feeds.settings import GrpcFeedConfig
from quotelife_server.rpc import CallContext, Code, RpcError, StreamCall

GAP = EventFlags.GAP | EventFlags.LAST


@dataclass(slots=True)
class Published:
    """One instrument on its way in."""

    instrument: Instrument
    feed: "PublishedFeed"
    fed: bool = False  # something was passed on since the last CLEAR
    in_snapshot: bool = False
    sequence: int | None = None  # of the last event that changed the book


class PublishedFeed:
    """``Feed`` for one ``GrpcFeedConfig``: its publishers come to us. Each instrument has one at a time."""

    def __init__(
        self, config: GrpcFeedConfig, table: InstrumentTable, *, sink: Sink, clock: Clock, logger: Any
    ) -> None:
        """Raises ``UnknownInstrumentError``."""
        self.name = config.name
        self.instruments = [table.by_name(name) for name in config.instruments]
        self.clock = clock
        self.streams: dict[int, PublishStream] = {}  # who feeds an instrument, by its index
        self.last_message_ns = 0
        self.messages = 0
        self.bytes = 0
        self.events = 0
        self.refused = 0
        self.gaps = 0
        self.resyncs = 0
        self.ended = 0
        self._buffer = EventBuffer(2 * convert.MARKET_EVENTS_MAX + len(self.instruments))
        self._sink = sink
        self._log = FaultLog(logger, config.name, clock)

    # Feed.

    async def start(self) -> None:
        """Publishers connect when they like."""

    async def stop(self) -> None:
        for stream in set(self.streams.values()):
            stream.on_cancel()

    def figures(self) -> FeedFigures:
        return FeedFigures(
            self.name,
            bool(self.streams),
            self.last_message_ns,
            {
                "reconnects": self.ended,
                "messages": self.messages,
                "bytes": self.bytes,
                "decode_errors": self.refused,
                "gaps": self.gaps,
                "resyncs": self.resyncs,
                "events": self.events,
            },
            self._log.newest,
        )

    # Streams.

    def take(self, instrument: Instrument, stream: "PublishStream") -> Published:
        """The instrument is this stream's from here on. Raises ``RpcError`` when it is another's."""
        if instrument.index in self.streams:
            raise RpcError(
                Code.ALREADY_EXISTS,
                f"{instrument.name} is being published by another stream; end that one first",
            )
        if not self.streams:
            self._log.info("feed_up")
        self.streams[instrument.index] = stream
        published = Published(instrument, self)
        self._status(published, StatusKind.FEED_UP)
        return published

    def give_back(self, published: Published) -> None:
        del self.streams[published.instrument.index]
        self._status(published, StatusKind.FEED_DOWN)
        if not self.streams:
            self.ended += 1
            self._log.warning("feed_down", reason="the last stream ended")

    def apply(
        self, published: Published, event: convert.MarketRecord, *, first: bool, last: bool, now_ns: int
    ) -> None:
        """One event of a valid message, perhaps the first or last of its instrument; ``drain`` follows them all."""
        flags = EventFlags.LAST if last else EventFlags(0)
        kind, sequence = event.kind, event.sequence
        if kind == EventKindCode.SNAPSHOT_BEGIN:
            published.in_snapshot = True
            published.sequence = None
        elif kind == EventKindCode.SNAPSHOT_END:
            published.in_snapshot = False
            self.resyncs += 1
        elif kind == EventKindCode.CLEAR:
            published.in_snapshot = False
        elif published.in_snapshot:
            flags |= EventFlags.SNAPSHOT
        elif sequence is not None and event.numbered and published.sequence is not None:
            step = sequence - published.sequence  # 1 from message to message, 0 or 1 inside one
            if step != 1 and (first or step != 0):
                self.distrust(published, now_ns)
        if sequence is not None and event.numbered:
            published.sequence = sequence
        self._buffer.append(
            kind,
            instrument=published.instrument.index,
            side=event.side,
            flags=flags,
            exchange_ns=event.exchange_ns,
            receive_ns=now_ns,
            sequence=(published.sequence or 0) if sequence is None else sequence,
            price_ticks=event.price_ticks,
            size_lots=event.size_lots,
            order_id=event.order_id,
            aux=event.aux,
        )
        published.fed = True
        self.events += 1

    def distrust(self, published: Published, now_ns: int) -> None:
        """Its book has missed something."""
        published.in_snapshot = False
        if published.fed:
            published.fed = False
            self.gaps += 1
            self._buffer.append(
                EventKindCode.CLEAR, instrument=published.instrument.index, flags=GAP, receive_ns=now_ns
            )

    def drain(self) -> None:
        if self._buffer.count:
            try:
                self._sink(self._buffer)
            finally:
                self._buffer.clear()

    def _status(self, published: Published, code: StatusKind) -> None:
        self._buffer.append(
            EventKindCode.STATUS,
            instrument=published.instrument.index,
            flags=EventFlags.LAST,
            receive_ns=self.clock.now_ns(),
            aux=code,
        )
        self.drain()


class PublishStream:
    """``PublishEvents``: messages in, one receipt at the end."""

    def __init__(
        self,
        call: StreamCall,
        context: CallContext,
        *,
        find: Callable[[str], tuple[Instrument, PublishedFeed]],
        now_ns: Callable[[], int],
    ) -> None:
        """``find`` raises ``RpcError`` for an instrument that is not there, or that no publisher may feed."""
        self._call = call
        self._context = context
        self._find = find
        self._now_ns = now_ns
        self._published: dict[str, Published] = {}
        self.applied = 0
        self.refused = 0

    def on_message(self, payload: bytes) -> None:
        """Raises ``RpcError``, which ends the stream, when it is not known which books a faulty message was for."""
        now_ns = self._now_ns()
        message = convert.market_message(payload)
        names = dict.fromkeys(event.instrument for event in message.events)
        for name in names:
            if name not in self._published:
                instrument, feed = self._find(name)
                self._published[name] = feed.take(instrument, self)
        feeds = {id(feed): feed for feed in (self._published[name].feed for name in names)}
        for feed in feeds.values():
            feed.messages += 1
            feed.bytes += len(payload)
            feed.last_message_ns = now_ns
        try:
            events = convert.market_events(message, self._instruments, self._in_snapshot)
        except RpcError as refusal:
            self.refused += len(message.events)
            for feed in feeds.values():
                feed.refused += 1
                feed._log.often("message_refused", error=refusal.message, peer=self._context.peer)
            for name in names:
                self._published[name].feed.distrust(self._published[name], now_ns)
        else:
            last = {event.instrument: at for at, event in enumerate(message.events)}
            seen: set[str] = set()
            for at, event in enumerate(events):
                name = message.events[at].instrument
                published = self._published[name]
                published.feed.apply(
                    published, event, first=name not in seen, last=last[name] == at, now_ns=now_ns
                )
                seen.add(name)
            self.applied += len(events)
        for feed in feeds.values():
            feed.drain()

    def on_half_close(self) -> None:
        self._leave()
        self._call.send(convert.publish_reply(self.applied, self.refused))
        self._call.finish()

    def on_cancel(self) -> None:
        self._leave()

    def _leave(self) -> None:
        published, self._published = self._published, {}
        for each in published.values():
            each.feed.give_back(each)

    def _instruments(self, name: str) -> Instrument:
        return self._published[name].instrument

    def _in_snapshot(self, name: str) -> bool:
        return self._published[name].in_snapshot


def finder(
    feeds: Mapping[str, PublishedFeed], table: InstrumentTable
) -> Callable[[str], tuple[Instrument, PublishedFeed]]:
    """What ``PublishStream`` finds instruments by; ``feeds`` by the name of the instrument."""

    def find(name: str) -> tuple[Instrument, PublishedFeed]:
        instrument = table.get(name)
        if instrument is None:
            raise convert.unknown_instrument(name)
        feed = feeds.get(name)
        if feed is None:
            convert.refuse_unpublished(name)
        return instrument, feed

    return find
