"""Configuration of the service: everything of the core, and the ``server`` and ``feeds`` sections."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from quotelife.config import Config
from quotelife.config.checks import Path, Problem, no_instrument
from quotelife.config.schema import Duration, InstrumentSettings, LongerThanZero, Section
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US
from quotelife_server.addresses import PATH_CHARACTERS_MAX, UNIX, Address, AddressOrUnix, without_nul
from quotelife_server.feeds.settings import DEPTH_PATHS, BinanceFeedConfig, FeedConfig, ItchFeedConfig
from quotelife_server.transport.options import Transport

KEPT_SEGMENTS_MIN = 3

FilePath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(without_nul)]
SocketPath = Annotated[str, Field(min_length=1, max_length=PATH_CHARACTERS_MAX), AfterValidator(without_nul)]


class Keepalive(Section):
    """HTTP/2 pings. A client that pings more often than ``client_interval_min`` is cut off."""

    interval_ns: LongerThanZero = Field(default=30 * NS_PER_S, alias="interval")
    timeout_ns: LongerThanZero = Field(default=10 * NS_PER_S, alias="timeout")
    client_interval_min_ns: LongerThanZero = Field(default=5 * NS_PER_S, alias="client_interval_min")


class TlsSettings(Section):
    """PEM files, read at the start: certificate chain and key of the service. With ``client_ca`` clients must show a
    certificate that one of these authorities has signed (mTLS). It concerns TCP addresses; Unix sockets are guarded by
    the rights of their folder."""

    certificate: FilePath
    key: FilePath
    client_ca: FilePath | None = None


class ConnectionSettings(Section):
    """How many clients may be connected, and for how long. One that has reached ``age_max`` (none where it is null;
    ±10 %, so that they do not all leave together) is told to connect anew, and gets ``age_grace`` for what is under
    way."""

    count_max: int = Field(default=1024, ge=1, le=65_536)
    age_max_ns: LongerThanZero | None = Field(default=None, alias="age_max")
    age_grace_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="age_grace")


class Replies(Section):
    """Replies kept by request id, so that a retry gets the same answer: the newest in memory, the others, where
    there is a journal, in it."""

    bytes_max: int = Field(default=512 * 1024 * 1024, ge=0, le=64 * 1024**3)
    age_max_ns: LongerThanZero = Field(default=24 * 3600 * NS_PER_S, alias="age_max")


class RecentSettings(Section):
    """Firm quotes kept in memory, about 2.5 kB each, for registrations and outcomes that name a decision: for ``keep``
    beyond their end, and no more than ``quotes_max``, the oldest leaving first."""

    quotes_max: int = Field(default=32_768, ge=1, le=4_194_304)
    keep_ns: LongerThanZero = Field(default=600 * NS_PER_S, alias="keep")


class JournalSettings(Section):
    """The journal: what must be on disk before an answer leaves, and what happens when it cannot be.

    ``durability`` says what an answer outlives. ``process-crash``: the records were handed to the operating
    system, so nothing answered is lost when the service dies in any way; a power cut or a crash of the machine
    may take the last seconds. ``power-loss``: they were synced to the device (fdatasync) as well, so nothing
    answered is lost as long as the device keeps what it has confirmed.

    ``on_failure``, when the journal cannot be written. ``refuse``: no decision is made until it can be; calls
    get UNAVAILABLE. ``serve-unjournaled``: decisions go on and say ``unjournaled``.

    Closed segments older than ``keep`` are removed, and the oldest beyond ``keep_bytes``; age never removes one
    that may still hold the answer to a retry (``replies.age_max``), size does. ``keep_bytes`` is at least three
    times ``segment_bytes``.
    """

    directory: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    durability: Literal["process-crash", "power-loss"] = "process-crash"
    on_failure: Literal["refuse", "serve-unjournaled"] = "refuse"
    segment_bytes: int = Field(default=256 * 1024**2, ge=1024**2, le=16 * 1024**3)
    keep_ns: LongerThanZero = Field(default=90 * 86_400 * NS_PER_S, alias="keep")
    keep_bytes: int | None = Field(default=None, ge=1024**2)
    buffer_bytes: int = Field(default=64 * 1024**2, ge=1024**2, le=4 * 1024**3)

    @model_validator(mode="after")
    def _several_segments_are_kept(self) -> "JournalSettings":
        # The one being written and those not yet synced stay whatever the bound is.
        if self.keep_bytes is not None and self.keep_bytes < KEPT_SEGMENTS_MIN * self.segment_bytes:
            raise ValueError(
                f"keep_bytes: {self.keep_bytes} is less than {KEPT_SEGMENTS_MIN} segments of {self.segment_bytes}; "
                f"set it to at least {KEPT_SEGMENTS_MIN * self.segment_bytes}, or segment_bytes to at most "
                f"{self.keep_bytes // KEPT_SEGMENTS_MIN}"
            )
        return self


class Drain(Section):
    """How the service leaves: for ``notice`` it says NOT_SERVING and still answers, then it refuses new calls
    and gives those in flight ``grace``."""

    notice_ns: Duration = Field(default=200 * NS_PER_MS, alias="notice")
    grace_ns: Duration = Field(default=5 * NS_PER_S, alias="grace")


class CaptureSettings(Section):
    """Every event and signal on disk, in the order in which the engine applied them."""

    directory: str | None = Field(default=None, min_length=1, max_length=4096)
    segment_bytes: int = Field(default=64 * 1024**2, ge=64 * 1024, le=1024**3)
    bytes_max: int | None = Field(default=32 * 1024**3, ge=1024**2)
    age_max_ns: LongerThanZero | None = Field(default=None, alias="age_max")
    compress: bool = True


class ModelSettings(Section):
    """Where models are stored, and what of them serves."""

    directory: str | None = Field(default=None, min_length=1, max_length=4096)


class Server(Section):
    """Where the service listens and what it lets clients do. All of it takes a restart to change.

    ``overload_turn``: processor time that calls get in one turn of the event loop while more come than can be answered;
    those beyond it are refused (native transport).

    ``busy_poll``: for so long after an answer the event loop looks for more without sleeping (native transport): to be
    woken takes longer than most answers. A core is taken while calls come more often than that; 0 switches it off.

    ``transport``: what serves gRPC. ``native`` needs a build that found nghttp2, ``grpc_aio`` is gRPC's own server,
    ``auto`` takes the first where it is there.
    """

    transport: Transport = "auto"
    address: Address | None = "127.0.0.1:50051"
    unix_socket: SocketPath | None = None
    admin_address: AddressOrUnix | None = None
    metrics_address: Address | None = "127.0.0.1:9151"
    in_flight_max: int = Field(default=256, ge=1, le=100_000)
    streams_max: int = Field(default=1024, ge=1, le=1_000_000)
    message_bytes_max: int = Field(default=65_536, ge=1024, le=4 * 1024 * 1024)
    watch_queue_max: int = Field(default=65_536, ge=64, le=16_777_216)
    overload_retry_ns: LongerThanZero = Field(default=20 * NS_PER_MS, alias="overload_retry")
    overload_turn_ns: LongerThanZero = Field(default=250 * NS_PER_US, alias="overload_turn", le=NS_PER_S)
    busy_poll_ns: Duration = Field(default=100 * NS_PER_US, alias="busy_poll", le=10 * NS_PER_MS)
    wall_offset_max_ns: LongerThanZero = Field(default=1 * NS_PER_MS, alias="wall_offset_max")
    kill_file: Annotated[str, Field(min_length=1, max_length=1024)] | None = "KILL"
    watch_configuration: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    keepalive: Keepalive = Keepalive()
    connections: ConnectionSettings = ConnectionSettings()
    tls: TlsSettings | None = None
    replies: Replies = Replies()
    recent: RecentSettings = RecentSettings()
    journal: JournalSettings = JournalSettings()
    drain: Drain = Drain()
    capture: CaptureSettings = CaptureSettings()
    models: ModelSettings = ModelSettings()

    @model_validator(mode="after")
    def _addresses_are_apart(self) -> "Server":
        others = {
            "address": self.address,
            "unix_socket": None if self.unix_socket is None else UNIX + self.unix_socket,
            "metrics_address": self.metrics_address,
        }
        for key, other in others.items():
            if self.admin_address is not None and self.admin_address == other and not other.endswith(":0"):
                raise ValueError(f"admin_address: must not be {key} too; choose another, or null for none")
        own = self.address
        if own is None and self.unix_socket is None:
            raise ValueError(
                "address: must not be null without unix_socket; the service would listen nowhere"
            )
        if own is not None and own == self.metrics_address and not own.endswith(":0"):
            raise ValueError("metrics_address: must not be address too; choose another, or null for none")
        return self


def _itch_fault(instrument: InstrumentSettings) -> str | None:
    if not instrument.order_level:
        return "ITCH tells single orders; set order_level: true for it"
    if instrument.tick_size % Decimal("0.0001"):
        return "ITCH prices have four decimals; tick_size must be a multiple of 0.0001"
    if instrument.lot_size % 1:
        return "ITCH sizes are whole shares; lot_size must be a whole number"
    if len(instrument.symbol) > 8:
        return "an ITCH symbol has at most 8 characters"
    return None


def _other_market(feed: BinanceFeedConfig, venue: str) -> bool:
    """The instrument is of one of Binance's markets, and the feed of another. A name of one's own says neither."""
    own = f"binance-{feed.market}"
    return venue != own and venue in {f"binance-{market}" for market in DEPTH_PATHS}


class ServiceConfig(Config):
    """The whole configuration of a service."""

    server: Server = Server()
    feeds: tuple[FeedConfig, ...] = Field(default=(), max_length=256)

    def further_problems(self) -> Iterator[Problem]:
        known = {instrument.name: instrument for instrument in self.instruments}
        names: set[str] = set()
        depth: dict[str, str] = {}
        for at, feed in enumerate(self.feeds):
            if feed.name in names:
                yield ("feeds", at, "name"), f"{feed.name!r} is the name of two feeds"
            names.add(feed.name)
            for place, instrument in enumerate(feed.instruments):
                path: Path = ("feeds", at, "instruments", place)
                if instrument not in known:
                    yield path, no_instrument(instrument, known)
                elif isinstance(feed, ItchFeedConfig) and (fault := _itch_fault(known[instrument])):
                    yield path, f"{instrument!r}: {fault}"
                elif isinstance(feed, BinanceFeedConfig) and _other_market(feed, known[instrument].venue):
                    fault = (
                        f"{instrument!r} has venue {known[instrument].venue}, this feed market {feed.market}"
                    )
                    yield path, f"{fault}: the same symbol is another book there; mend one of the two"
                elif isinstance(feed, BinanceFeedConfig) and feed.has_depth:
                    kept = known[instrument].book_levels_max
                    if feed.snapshot.limit > kept:
                        fault = f"{feed.snapshot.limit} levels do not fit the book of {instrument!r}"
                        mend = f"lower it, or raise the instrument's book_levels_max of {kept}"
                        yield ("feeds", at, "snapshot", "limit"), f"{fault}; {mend}"
                if feed.has_depth and depth.setdefault(instrument, feed.name) != feed.name:
                    yield path, f"{instrument!r} would get depth from {depth[instrument]!r} and {feed.name!r}"

    def books_elsewhere(self, feed: FeedConfig) -> list[str]:
        """Instruments of a feed whose book, or best prices where none has a book, another feed gives."""
        gives: dict[str, FeedConfig] = {}
        for each in (
            *(each for each in self.feeds if each.has_depth),
            *(each for each in self.feeds if each.has_quotes),
        ):
            for name in each.instruments:
                gives.setdefault(name, each)
        return [name for name in feed.instruments if gives.get(name, feed) is not feed]

    def without_book(self) -> list[str]:
        """Instruments whose feeds give no book, and that do not say ``quotes_only``: they are never GOOD."""
        booked = {name for feed in self.feeds if feed.has_depth for name in feed.instruments}
        fed = {name for feed in self.feeds for name in feed.instruments}
        return [each.name for each in self.instruments if each.name in fed - booked and not each.quotes_only]

    def without_feed(self) -> list[str]:
        """Instruments that no feed carries: no market is ever known for them, so that all quotes are declined."""
        fed = {instrument for feed in self.feeds for instrument in feed.instruments}
        return [instrument.name for instrument in self.instruments if instrument.name not in fed]
