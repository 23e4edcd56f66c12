"""The ``feeds`` section of the configuration: one entry per source of market data, told apart by ``kind``."""

import re
from ipaddress import IPv4Address
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from quotelife.config.schema import Duration, LongerThanZero, Name, Section
from quotelife.feed.binary import FRAME_EVENTS_MAX
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US
from quotelife_server.addresses import Address

Market = Literal["spot", "usdm", "coinm"]


def _written(pattern: str, words: str) -> AfterValidator:
    """The text matches; ``words`` say what is right to whoever cannot read patterns."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(words)
        return text

    return AfterValidator(check)


HOST_AND_PATH = r"://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._/-]*)?"
WsUrl = Annotated[
    str,
    Field(max_length=256),
    _written(
        "wss?" + HOST_AND_PATH, "must be wss://host or ws://host, with :port and /path if need be, no more"
    ),
]
RestUrl = Annotated[
    str,
    Field(max_length=256),
    _written(
        "https?" + HOST_AND_PATH,
        "must be https://host or http://host, with :port and /path if need be, no more",
    ),
]
Path = Annotated[
    str, Field(max_length=128), _written(r"/[A-Za-z0-9._/-]*", "must be a path such as /stream, no more")
]


def _own_address(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise ValueError("must be the IPv4 address of one of our interfaces, such as 10.1.2.3") from None


OwnAddress = Annotated[str, AfterValidator(_own_address)]
Stream = Annotated[
    str,
    _written(
        r"depth(@[0-9]+ms)?|bookTicker|trade|aggTrade",
        "must be depth@100ms or another beat of depth, bookTicker, trade or aggTrade",
    ),
]

DEPTH_PATHS: dict[Market, str] = {
    "spot": "/api/v3/depth",
    "usdm": "/fapi/v1/depth",
    "coinm": "/dapi/v1/depth",
}
USDM_VENUE = "wss://fstream.binance.com"
STREAMS_MAX: dict[Market, int] = {"spot": 1024, "usdm": 200, "coinm": 200}
# Request weight of a depth answer of at most so many levels, and what one address may use in a minute.
DEPTH_WEIGHTS: dict[Market, tuple[tuple[int, int], ...]] = {
    "spot": ((100, 5), (500, 25), (1000, 50), (5000, 250)),
    "usdm": ((50, 2), (100, 5), (500, 10), (1000, 20)),
    "coinm": ((50, 2), (100, 5), (500, 10), (1000, 20)),
}
WEIGHT_PER_MINUTE: dict[Market, int] = {"spot": 6000, "usdm": 2400, "coinm": 2400}
DEPTH_LIMITS: dict[Market, tuple[int, int]] = {"spot": (1, 5000), "usdm": (5, 1000), "coinm": (5, 1000)}


class SnapshotSettings(Section):
    """How REST snapshots are fetched."""

    # Levels a side. More levels mean a deeper book and a heavier request.
    limit: int = Field(default=1000, ge=1, le=5000)
    # Path of the depth request; left out, the market's own.
    path: Path | None = None
    # Least time between two requests of this feed, whatever the symbol: the venue limits requests by address.
    interval_ns: LongerThanZero = Field(default=200 * NS_PER_MS, alias="interval")
    # Request weight that this feed may use in a minute; null: half of what the market allows one address.
    weight_per_minute: int | None = Field(default=None, ge=1, le=1_000_000)
    # An answer that takes longer counts as failed.
    timeout_ns: LongerThanZero = Field(default=5 * NS_PER_S, alias="timeout")
    # After a failed or refused snapshot of a symbol: first and longest wait; it doubles in between.
    retry_min_ns: LongerThanZero = Field(default=250 * NS_PER_MS, alias="retry_min")
    retry_max_ns: LongerThanZero = Field(default=10 * NS_PER_S, alias="retry_max")
    # A longer answer is refused.
    bytes_max: int = Field(default=4 * 1024 * 1024, ge=1024, le=64 * 1024 * 1024)


class ReconnectSettings(Section):
    """Waits between attempts to connect: doubling from ``min`` to ``max``, with jitter."""

    min_ns: LongerThanZero = Field(default=250 * NS_PER_MS, alias="min")
    max_ns: LongerThanZero = Field(default=30 * NS_PER_S, alias="max")
    # An attempt that takes longer counts as failed.
    timeout_ns: LongerThanZero = Field(default=5 * NS_PER_S, alias="timeout")


class LivenessSettings(Section):
    """When a connection counts as dead."""

    # Ping the venue this often; its answer also proves to quiet instruments that nothing was missed.
    ping_ns: LongerThanZero = Field(default=2 * NS_PER_S, alias="ping")
    # No frame at all for so long, answers to pings included: connect anew.
    idle_ns: LongerThanZero = Field(default=6 * NS_PER_S, alias="idle")
    # No market data for so long, though pings are answered: connect anew. Allow for the quietest hour.
    mute_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="mute")


class BinanceFeedConfig(Section):
    """One websocket connection to Binance spot, USD-M or COIN-M, or to a venue that speaks the same wire."""

    kind: Literal["binance"]
    # Shown in status and logs; given once.
    name: Name
    market: Market
    # Such as wss://stream.binance.com:9443, wss://fstream.binance.com, wss://dstream.binance.com.
    ws_url: WsUrl
    # Such as https://api.binance.com, https://fapi.binance.com, https://dapi.binance.com.
    rest_url: RestUrl
    # Path of the combined stream; USD-M: /public/stream for depth and bookTicker, /market/stream for aggTrade.
    ws_path: Path = "/stream"
    # Names from the instruments section; their symbols are subscribed.
    instruments: tuple[Name, ...] = Field(min_length=1, max_length=1024)
    # Streams per symbol. Without a depth stream there is no book: mark such instruments quotes_only.
    streams: tuple[Stream, ...] = Field(default=("depth@100ms", "bookTicker", "trade"), min_length=1)
    snapshot: SnapshotSettings = SnapshotSettings()
    reconnect: ReconnectSettings = ReconnectSettings()
    liveness: LivenessSettings = LivenessSettings()
    # Events one read of the socket, or one snapshot with the diffs held for it, may bring.
    buffer_events: int = Field(default=65_536, ge=4096, le=4_194_304)
    # Diffs held per symbol while its snapshot is on the way.
    pending_bytes_max: int = Field(default=1024 * 1024, ge=4096, le=256 * 1024 * 1024)
    # A longer websocket message closes the connection.
    message_bytes_max: int = Field(default=4 * 1024 * 1024, ge=4096, le=64 * 1024 * 1024)

    @property
    def has_depth(self) -> bool:
        """It makes books, not quotes and trades alone."""
        return any(stream.startswith("depth") for stream in self.streams)

    @property
    def has_quotes(self) -> bool:
        """It gives best prices beside the book, or without one."""
        return "bookTicker" in self.streams

    @property
    def depth_path(self) -> str:
        return self.snapshot.path or DEPTH_PATHS[self.market]

    @property
    def snapshots_per_minute(self) -> int:
        """As many as the request weight allows."""
        weight = next(
            weight for levels, weight in DEPTH_WEIGHTS[self.market] if self.snapshot.limit <= levels
        )
        return (self.snapshot.weight_per_minute or WEIGHT_PER_MINUTE[self.market] // 2) // weight

    @model_validator(mode="after")
    def _fits_together(self) -> "BinanceFeedConfig":
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError("instruments: each may be named once")
        if len(set(self.streams)) != len(self.streams):
            raise ValueError("streams: each may be named once")
        if sum(stream.startswith("depth") for stream in self.streams) > 1:
            raise ValueError("streams: one depth stream is enough; two would look like lost messages")
        if "trade" in self.streams and "aggTrade" in self.streams:
            raise ValueError("streams: trade and aggTrade tell the same trades; choose one")
        subscribed, most = len(self.instruments) * len(self.streams), STREAMS_MAX[self.market]
        if subscribed > most:
            raise ValueError(
                f"instruments: {subscribed} streams on one connection, the venue takes {most}; split the feed"
            )
        if self.ws_url.startswith(USDM_VENUE) and self.market == "usdm":
            self._fits_usdm_paths()
        low, high = DEPTH_LIMITS[self.market]
        if not low <= self.snapshot.limit <= high:
            raise ValueError(f"snapshot.limit: {self.market} takes {low} to {high}")
        if self.snapshots_per_minute < 1:
            raise ValueError(
                f"snapshot.weight_per_minute: one answer of {self.snapshot.limit} levels weighs more; "
                "raise it or lower snapshot.limit"
            )
        if self.reconnect.min_ns > self.reconnect.max_ns:
            raise ValueError("reconnect.min: must not exceed reconnect.max")
        if self.snapshot.retry_min_ns > self.snapshot.retry_max_ns:
            raise ValueError("snapshot.retry_min: must not exceed snapshot.retry_max")
        if self.liveness.ping_ns >= self.liveness.idle_ns:
            raise ValueError("liveness.ping: must be shorter than liveness.idle")
        return self

    def _fits_usdm_paths(self) -> None:
        """Since April 2026 USD-M serves books and trades under two paths, and nothing under the old one."""
        book = [each for each in self.streams if each.startswith("depth") or each == "bookTicker"]
        other = [each for each in self.streams if each not in book]
        if book and other:
            raise ValueError(
                f"streams: the venue serves {', '.join(book)} under /public and {', '.join(other)} under /market; "
                "make two feeds of this one"
            )
        if "trade" in other:
            raise ValueError("streams: USD-M has no trade stream; take aggTrade")
        path = "/public/stream" if book else "/market/stream"
        if self.ws_path != path:
            raise ValueError(f"ws_path: must be {path} for {', '.join(self.streams)}")


class ResubscribeSettings(Section):
    """How a book is asked for anew after a break, without dropping the connection."""

    # A snapshot that takes longer after its subscription counts as lost: subscribe anew.
    timeout_ns: LongerThanZero = Field(default=5 * NS_PER_S, alias="timeout")
    # Between two subscriptions of one book that follow each other closely: first and longest wait; it doubles.
    retry_min_ns: LongerThanZero = Field(default=250 * NS_PER_MS, alias="retry_min")
    retry_max_ns: LongerThanZero = Field(default=10 * NS_PER_S, alias="retry_max")


class StreamedFeedConfig(Section):
    """One websocket connection to a venue that sends snapshots on it: what Deribit, Coinbase and OKX share."""

    # Shown in status and logs; given once.
    name: Name
    ws_url: WsUrl
    # Names from the instruments section; their symbols are subscribed.
    instruments: tuple[Name, ...] = Field(min_length=1, max_length=2000)
    resubscribe: ResubscribeSettings = ResubscribeSettings()
    # Least time between two requests on this connection.
    request_interval_ns: LongerThanZero = Field(default=150 * NS_PER_MS, alias="request_interval")
    # Symbols (Deribit: channels) named in one request.
    batch: int = Field(default=100, ge=1, le=500)
    reconnect: ReconnectSettings = ReconnectSettings()
    liveness: LivenessSettings = LivenessSettings()
    # Events one read of the socket may bring.
    buffer_events: int = Field(default=65_536, ge=4096, le=4_194_304)
    # A longer websocket message closes the connection.
    message_bytes_max: int = Field(default=4 * 1024 * 1024, ge=4096, le=64 * 1024 * 1024)

    @model_validator(mode="after")
    def _streamed_fits_together(self) -> Self:
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError("instruments: each may be named once")
        if self.reconnect.min_ns > self.reconnect.max_ns:
            raise ValueError("reconnect.min: must not exceed reconnect.max")
        if self.resubscribe.retry_min_ns > self.resubscribe.retry_max_ns:
            raise ValueError("resubscribe.retry_min: must not exceed resubscribe.retry_max")
        if self.liveness.ping_ns >= self.liveness.idle_ns:
            raise ValueError("liveness.ping: must be shorter than liveness.idle")
        least = 4 * len(self.instruments) + 16
        if self.buffer_events < least:
            raise ValueError(f"buffer_events: {len(self.instruments)} instruments take {least}; raise it")
        return self


class DeribitFeedConfig(StreamedFeedConfig):
    """One connection to Deribit, or to a venue that speaks the same wire. Public channels need no login, ``raw``
    ones do at the venue itself."""

    kind: Literal["deribit"]
    # wss://www.deribit.com/ws/api/v2; the test venue: wss://test.deribit.com/ws/api/v2.
    ws_url: WsUrl
    # Beat of the book channel; null: no books, then quotes may be had.
    book: Literal["raw", "agg2", "100ms"] | None = "100ms"
    # Best prices alone (the quote channel), where there is no book. Mark the instruments quotes_only.
    quotes: bool = False
    # Beat of the trades channel; null: no trades.
    trades: Literal["raw", "agg2", "100ms"] | None = "100ms"
    # Beat of the ticker channel (greeks, mark, underlying, funding); null: no tickers.
    ticker: Literal["raw", "agg2", "100ms"] | None = "100ms"
    # Greeks of one instrument reach the engine, and its journal, at most once in so long.
    greeks_interval_ns: LongerThanZero = Field(default=1 * NS_PER_S, alias="greeks_interval")
    # The venue sends a heartbeat this often and closes the connection if its test is not answered; whole seconds.
    heartbeat_ns: LongerThanZero = Field(default=10 * NS_PER_S, alias="heartbeat")
    # The venue ends a session that subscribes more than 3.3 times a second for long; counted by address.
    request_interval_ns: LongerThanZero = Field(default=350 * NS_PER_MS, alias="request_interval")

    @property
    def has_depth(self) -> bool:
        """It makes books, not quotes and trades alone."""
        return self.book is not None

    @property
    def has_quotes(self) -> bool:
        """It gives best prices without a book."""
        return self.quotes

    @model_validator(mode="after")
    def _fits_together(self) -> "DeribitFeedConfig":
        if self.book is not None and self.quotes:
            raise ValueError("quotes: a book gives the best prices already; set book: null or quotes: false")
        if self.book is None and not self.quotes and self.trades is None and self.ticker is None:
            raise ValueError("book: nothing is subscribed; set book, quotes, trades or ticker")
        if self.heartbeat_ns < 10 * NS_PER_S or self.heartbeat_ns % NS_PER_S:
            raise ValueError("heartbeat: the venue takes whole seconds, 10s or more")
        return self


class CoinbaseFeedConfig(StreamedFeedConfig):
    """One connection to Coinbase Advanced Trade market data, or to a venue that speaks the same wire."""

    kind: Literal["coinbase"]
    # wss://advanced-trade-ws.coinbase.com
    ws_url: WsUrl
    # Subscribe market_trades as well as level2.
    trades: bool = True
    # A snapshot of a busy product has some 50,000 levels and 5 MB.
    buffer_events: int = Field(default=262_144, ge=4096, le=4_194_304)
    message_bytes_max: int = Field(default=32 * 1024 * 1024, ge=4096, le=64 * 1024 * 1024)

    has_depth: ClassVar[bool] = True
    has_quotes: ClassVar[bool] = False


class OkxResubscribeSettings(ResubscribeSettings):
    """How a book is asked for anew at a venue that counts requests by the hour."""

    retry_max_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="retry_max")


class OkxFeedConfig(StreamedFeedConfig):
    """One connection to OKX public channels, or to a venue that speaks the same wire."""

    kind: Literal["okx"]
    # wss://ws.okx.com:8443/ws/v5/public
    ws_url: WsUrl
    # Channel of the book; null: no books, then quotes may be had. The tbt channels need a login at the venue itself.
    book: Literal["books", "books-l2-tbt", "books50-l2-tbt"] | None = "books"
    # Best prices alone (bbo-tbt), where there is no book. Mark the instruments quotes_only.
    quotes: bool = False
    trades: bool = True
    # The venue closes a connection that is silent for 30 s: the text ping is sent this often.
    keep_alive_ns: LongerThanZero = Field(default=15 * NS_PER_S, alias="keep_alive")
    # The venue takes 480 requests an hour on one connection, and every attempt to mend a book takes two.
    request_interval_ns: LongerThanZero = Field(default=400 * NS_PER_MS, alias="request_interval")
    resubscribe: OkxResubscribeSettings = OkxResubscribeSettings()

    @property
    def has_depth(self) -> bool:
        """It makes books, not quotes and trades alone."""
        return self.book is not None

    @property
    def has_quotes(self) -> bool:
        """It gives best prices without a book."""
        return self.quotes

    @model_validator(mode="after")
    def _fits_together(self) -> "OkxFeedConfig":
        if self.book is not None and self.quotes:
            raise ValueError("quotes: a book gives the best prices already; set book: null or quotes: false")
        if self.book is None and not self.quotes and not self.trades:
            raise ValueError("book: nothing is subscribed; set book, quotes or trades")
        if self.keep_alive_ns >= 30 * NS_PER_S:
            raise ValueError("keep_alive: the venue closes after 30 s of silence; set less")
        return self


class BinaryFeedConfig(Section):
    """Frames of the binary record (docs/binary-feed.md) from one in-house feed handler."""

    kind: Literal["binary"]
    # Shown in status and logs; given once.
    name: Name
    # tcp: we connect; udp: we listen.
    transport: Literal["tcp", "udp"]
    # host:port to connect to, or to listen on; a multicast group is joined.
    address: Address
    # udp: address of our own interface on which a group is joined; null: the system's choice.
    interface: OwnAddress | None = None
    # Number of the publisher; frames of others are not taken.
    source: int = Field(default=1, ge=0, lt=2**32)
    # Names from the instruments section, in the order of the publisher's numbers: the first is 0.
    instruments: tuple[Name, ...] = Field(min_length=1, max_length=65_536)
    # No frame for so long, heartbeats included: the instruments are not trusted any more; TCP connects anew.
    silence_ns: LongerThanZero = Field(default=3 * NS_PER_S, alias="silence")
    # UDP: frames held, and for how long, at most 5 ms, while an earlier one is missing; then it is lost.
    reorder_frames: int = Field(default=16, ge=0, le=1024)
    reorder_ns: LongerThanZero = Field(default=2 * NS_PER_MS, alias="reorder", le=5 * NS_PER_MS)
    # TCP: how a connection is made again.
    reconnect: ReconnectSettings = ReconnectSettings()
    # Events that one read of the socket, or the frames held, may bring.
    buffer_events: int = Field(default=65_536, ge=4096, le=4_194_304)
    # UDP: what the kernel keeps for us while we are busy.
    socket_bytes: int = Field(default=4 * 1024 * 1024, ge=65_536, le=1024 * 1024 * 1024)

    has_depth: ClassVar[bool] = True
    has_quotes: ClassVar[bool] = False

    @model_validator(mode="after")
    def _fits_together(self) -> "BinaryFeedConfig":
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError("instruments: each may be named once")
        if self.reconnect.min_ns > self.reconnect.max_ns:
            raise ValueError("reconnect.min: must not exceed reconnect.max")
        held = self.reorder_frames if self.transport == "udp" else 0
        least = (held + 1) * FRAME_EVENTS_MAX + 3 * len(self.instruments)
        if self.buffer_events < least:
            raise ValueError(
                f"buffer_events: {held} held frames and {len(self.instruments)} instruments take {least}; "
                "raise it or lower reorder_frames"
            )
        return self


class ItchFeedConfig(Section):
    """NASDAQ TotalView-ITCH 5.0 over MoldUDP64 (two lines and a re-request server) or SoupBinTCP (docs/itch.md)."""

    kind: Literal["itch"]
    # Shown in status and logs; given once.
    name: Name
    # mold: we listen on line_a and line_b; soup: we connect to server.
    transport: Literal["mold", "soup"]
    # Names from the instruments section, order_level each; their symbols are taken, all others skipped.
    instruments: tuple[Name, ...] = Field(min_length=1, max_length=16_384)
    # mold: host:port of the lines; a multicast group is joined.
    line_a: Address | None = None
    line_b: Address | None = None
    # mold: address of our own interface on which the groups are joined; null: the system's choice.
    interface: OwnAddress | None = None
    # mold: the one on which the group of line_b is joined; null: as interface.
    interface_b: OwnAddress | None = None
    # mold: whom to ask for what both lines lost; null: a book that lost something is gone for the day.
    rerequest: Address | None = None
    # soup: whom to connect to.
    server: Address | None = None
    # soup: the login; the password is read from this variable of the environment.
    username: Annotated[str, Field(max_length=6, pattern=r"^[\x21-\x7e]*$")] = ""
    password_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)] | None = None
    # The only session to take; null: whichever comes.
    session: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=10)] | None = None
    # Nothing heard for so long, heartbeats included: the books are not trusted any more; soup connects anew.
    silence_ns: LongerThanZero = Field(default=3 * NS_PER_S, alias="silence")
    # mold: a hole is asked for when the other line has had so long to close it …
    reorder_ns: LongerThanZero = Field(default=NS_PER_MS, alias="reorder")
    # … makes the books GAPPED when it is so old, at most 5 ms …
    gap_ns: LongerThanZero = Field(default=3 * NS_PER_MS, alias="gap", le=5 * NS_PER_MS)
    # … and is asked for again every so often, so many messages at a time.
    retry_ns: LongerThanZero = Field(default=10 * NS_PER_MS, alias="retry")
    request_messages: int = Field(default=1000, ge=1, le=65_000)
    # mold: messages that may wait for an earlier one; a power of two.
    window_messages: int = Field(default=65_536, ge=64, le=16_777_216)
    # mold: datagrams that may wait for the event loop; a power of two, 2,048 bytes each.
    ring_datagrams: int = Field(default=8192, ge=64, le=1_048_576)
    # mold: how long the receive thread lets datagrams gather while they come fast; saves system calls, costs time.
    gather_ns: Duration = Field(default=50 * NS_PER_US, alias="gather", le=NS_PER_MS)
    # soup: how a connection is made again.
    reconnect: ReconnectSettings = ReconnectSettings()
    # Events handed to the engine at a time, at most.
    buffer_events: int = Field(default=65_536, ge=4096, le=4_194_304)
    # mold: what the kernel keeps for us while we are busy, each line.
    socket_bytes: int = Field(default=4 * 1024 * 1024, ge=65_536, le=1024 * 1024 * 1024)

    has_depth: ClassVar[bool] = True
    has_quotes: ClassVar[bool] = False

    @model_validator(mode="after")
    def _fits_together(self) -> "ItchFeedConfig":
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError("instruments: each may be named once")
        if self.transport == "mold":
            if self.line_a is None:
                raise ValueError("line_a: host:port to listen on is needed for transport mold")
            if self.server is not None:
                raise ValueError("server: belongs to transport soup; mold has line_a, line_b and rerequest")
        else:
            if self.server is None:
                raise ValueError("server: host:port to connect to is needed for transport soup")
            if self.line_a is not None or self.line_b is not None or self.rerequest is not None:
                raise ValueError("line_a, line_b, rerequest: belong to transport mold; soup has server")
        for name in ("window_messages", "ring_datagrams"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name}: must be a power of two, such as {1 << (value.bit_length() - 1)}")
        if self.reorder_ns > self.gap_ns:
            raise ValueError("reorder: must not exceed gap")
        if self.reconnect.min_ns > self.reconnect.max_ns:
            raise ValueError("reconnect.min: must not exceed reconnect.max")
        least = 4 * len(self.instruments) + 64
        if self.buffer_events < least:
            raise ValueError(f"buffer_events: {len(self.instruments)} instruments take {least}; raise it")
        return self


class GrpcFeedConfig(Section):
    """Instruments that clients feed by MarketDataService.PublishEvents; no others may be published."""

    kind: Literal["grpc"]
    # Shown in status and logs; given once.
    name: Name
    # Names from the instruments section.
    instruments: tuple[Name, ...] = Field(min_length=1, max_length=65_536)

    has_depth: ClassVar[bool] = True
    has_quotes: ClassVar[bool] = False

    @model_validator(mode="after")
    def _fits_together(self) -> "GrpcFeedConfig":
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError("instruments: each may be named once")
        return self


CompId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/@-]+$", max_length=64)]


class FixFeedConfig(Section):
    """One FIX 4.4 market data session that we initiate."""

    kind: Literal["fix"]
    # Shown in status and logs; given once.
    name: Name
    # host:port of the counterparty's acceptor.
    address: Address
    # TLS with the system's certificates.
    tls: bool = False
    # SenderCompID (49), ours.
    sender: CompId
    # TargetCompID (56), theirs.
    target: CompId
    # Names from the instruments section; their symbols are sent as Symbol (55).
    instruments: tuple[Name, ...] = Field(min_length=1, max_length=1024)
    # Levels a side (264); 0: the whole book.
    depth: int = Field(default=0, ge=0, le=10_000)
    # Increments (265=1); false: a full refresh each time.
    incremental: bool = True
    # HeartBtInt (108), whole seconds.
    heartbeat_ns: LongerThanZero = Field(default=5 * NS_PER_S, alias="heartbeat")
    # Both sequences begin at 1 with each logon (141=Y). Without it they go on for as long as the service runs.
    reset_on_logon: bool = True
    # password: Username (553) and Password (554); deribit: RawData (96) and a digest as the password.
    authentication: Literal["none", "password", "deribit"] = "none"
    username: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=128)] | None = None
    # File that holds the password or secret and nothing else.
    password_file: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    # Lost messages that are not resent within this time end the connection.
    resend_timeout_ns: LongerThanZero = Field(default=5 * NS_PER_S, alias="resend_timeout")
    # No market data for so long, though heartbeats come: connect anew. Allow for the quietest hour.
    mute_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="mute")
    reconnect: ReconnectSettings = ReconnectSettings()
    resubscribe: ResubscribeSettings = ResubscribeSettings()
    # Events that one read of the socket may bring; a full refresh must fit.
    buffer_events: int = Field(default=65_536, ge=4096, le=4_194_304)
    # A longer message counts as garbled.
    message_bytes_max: int = Field(default=4 * 1024 * 1024, ge=4096, le=64 * 1024 * 1024)

    has_depth: ClassVar[bool] = True
    has_quotes: ClassVar[bool] = False

    @model_validator(mode="after")
    def _fits_together(self) -> "FixFeedConfig":
        if len(set(self.instruments)) != len(self.instruments):
            raise ValueError("instruments: each may be named once")
        if self.heartbeat_ns % NS_PER_S:
            raise ValueError("heartbeat: FIX counts whole seconds")
        given = self.username is not None and self.password_file is not None
        if self.authentication != "none" and not given:
            raise ValueError(f"authentication: {self.authentication} needs username and password_file")
        if self.authentication == "none" and (self.username is not None or self.password_file is not None):
            raise ValueError("authentication: username and password_file need password or deribit")
        if self.reconnect.min_ns > self.reconnect.max_ns:
            raise ValueError("reconnect.min: must not exceed reconnect.max")
        if self.resubscribe.retry_min_ns > self.resubscribe.retry_max_ns:
            raise ValueError("resubscribe.retry_min: must not exceed resubscribe.retry_max")
        return self


FeedConfig = Annotated[
    BinanceFeedConfig
    | DeribitFeedConfig
    | CoinbaseFeedConfig
    | OkxFeedConfig
    | BinaryFeedConfig
    | FixFeedConfig
    | ItchFeedConfig
    | GrpcFeedConfig,
    Field(discriminator="kind"),
]
