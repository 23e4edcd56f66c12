"""The server's own sections: what is documented is what holds, and what does not fit is refused."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from quotelife.config import load_config
from quotelife.errors import ConfigError
from quotelife.records import EventKindCode
from quotelife.units import NS_PER_S
from quotelife_server.app import load, open_feeds
from quotelife_server.clock import SystemClock
from quotelife_server.feeds.binance import BinanceFeed
from quotelife_server.feeds.settings import (
    BinanceFeedConfig,
    BinaryFeedConfig,
    CoinbaseFeedConfig,
    DeribitFeedConfig,
    FeedConfig,
    GrpcFeedConfig,
    OkxFeedConfig,
)
from quotelife_server.settings import JournalSettings, Server, ServiceConfig
from reference.service_kit import CONFIG, write_config

ROOT = Path(__file__).resolve().parents[2]
FEED = """
feeds:
  - {kind: binance, name: one, market: usdm, ws_url: "ws://h", rest_url: "http://h", instruments: [BTC-USDT]}
"""
BINARY = """
feeds:
  - {kind: binary, name: two, transport: udp, address: "h:1", instruments: [BTC-USDT]}
"""
STREAMED = """
feeds:
  - {kind: deribit, name: four, ws_url: "ws://h", instruments: [BTC-USDT]}
"""
OKX = STREAMED.replace("deribit", "okx")
COINBASE = STREAMED.replace("deribit", "coinbase")
ITCH = (
    "feeds:\n  - {kind: itch, name: five, transport: mold, line_a: '127.0.0.1:1', instruments: [BTC-USDT]}\n"
)
GRPC = "  - {kind: grpc, name: three, instruments: [BTC-USDT]}\n"


def keys(model: type[BaseModel]) -> dict[str, Any]:
    """Every key of a section as a desk writes it, sections inside as mappings."""
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        kind = info.annotation
        inner = isinstance(kind, type) and issubclass(kind, BaseModel)
        found[info.alias or name] = keys(kind) if inner and isinstance(kind, type) else None
    return found


def shape(document: Any) -> Any:
    return {key: shape(value) for key, value in document.items()} if isinstance(document, dict) else None


def test_the_default_folder_shows_every_server_key_with_its_default() -> None:
    document = yaml.safe_load((ROOT / "configs/default/server.yaml").read_text(encoding="utf-8"))["server"]
    assert shape(document) == keys(Server)
    shown = load_config(ROOT / "configs/default", ServiceConfig).server
    assert shown.journal.directory == "var/journal"  # a set to run has a journal, a bare one writes nothing
    no_directory = shown.journal.model_copy(update={"directory": None})
    assert shown.model_copy(update={"journal": no_directory}) == Server()


def test_a_bound_on_the_journal_leaves_room_for_what_is_being_written() -> None:
    """The message names both ways out, and each of them is one."""
    least = 3 * 2**20
    JournalSettings(segment_bytes=2**20, keep_bytes=least)
    with pytest.raises(
        ValidationError, match=rf"keep_bytes: .* at least {3 * 2**22}, or segment_bytes .* {2**20}"
    ):
        JournalSettings(segment_bytes=2**22, keep_bytes=least)
    with pytest.raises(ValidationError, match="keep_bytes"):
        JournalSettings(keep_bytes=2**28)


def test_the_default_folder_shows_every_feed_key_with_its_default() -> None:
    document = yaml.safe_load((ROOT / "configs/default/feeds.yaml").read_text(encoding="utf-8"))["feeds"]
    assert shape(document[0]) == keys(BinanceFeedConfig)
    required = {"kind", "name", "market", "ws_url", "rest_url", "instruments"}
    shown, bare = load_feeds([document[0], {name: document[0][name] for name in required}])
    assert shown == bare


def test_what_goes_beside_a_book_is_told_from_the_feed_of_the_book() -> None:
    config = load_config(ROOT / "configs/default", ServiceConfig)
    spot, book, trades = config.feeds
    assert config.books_elsewhere(spot) == config.books_elsewhere(book) == []
    assert config.books_elsewhere(trades) == list(trades.instruments)


def test_the_feed_of_the_trades_never_clears_the_book() -> None:
    config = load_config(ROOT / "configs/default", ServiceConfig)
    cleared = []
    for feed in open_feeds(
        config, config.instrument_table(), SystemClock(NS_PER_S), lambda _: None, lambda *_, **__: None
    ):
        assert isinstance(feed, BinanceFeed)
        feed.decoder.connected(1)
        feed.decoder.disconnected(2)
        kinds = feed.buffer.array()["kind"]
        cleared.append(EventKindCode.CLEAR in kinds)
    assert cleared == [True, True, False]


def commented_feeds() -> list[dict[str, Any]]:
    """The entries of the default folder's feeds that are written as comments."""
    lines = (ROOT / "configs/default/feeds.yaml").read_text(encoding="utf-8").splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("  # - kind"))
    text = "\n".join(line.replace("  # ", "  ", 1) for line in lines[first:])
    return list(yaml.safe_load("feeds:\n" + text)["feeds"])


@pytest.mark.parametrize(
    "model", [DeribitFeedConfig, CoinbaseFeedConfig, OkxFeedConfig, BinaryFeedConfig, GrpcFeedConfig]
)
def test_the_default_folder_shows_other_kinds_of_feeds_as_comments(model: type[BaseModel]) -> None:
    by_kind = {entry["kind"]: entry for entry in commented_feeds()}
    kind = get_args(model.model_fields["kind"].annotation)[0]
    assert shape(by_kind[kind]) == keys(model)
    required = {name for name, info in model.model_fields.items() if info.is_required()}
    bare = {name: by_kind[kind][name] for name in required}
    assert load_feeds([by_kind[kind]]) == load_feeds([bare])


def load_feeds(entries: list[dict[str, Any]]) -> Any:
    return TypeAdapter(tuple[FeedConfig, ...]).validate_python(
        tuple(
            {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
            for entry in entries
        )
    )


def test_a_book_that_breaks_at_once_every_time_keeps_within_the_requests_that_okx_takes() -> None:
    """480 an hour on a connection; each attempt is two, and waits at least half of the longest wait."""
    feed = OkxFeedConfig(kind="okx", name="a", ws_url="ws://h", instruments=("BTC",))
    assert 2 * 3600 * NS_PER_S / (feed.resubscribe.retry_max_ns / 2) <= 480


def test_subscriptions_cost_deribit_no_more_than_it_gives_back() -> None:
    """3,000 credits each, of which 10,000 come back every second."""
    feed = DeribitFeedConfig(kind="deribit", name="a", ws_url="ws://h", instruments=("BTC",))
    assert 3000 * NS_PER_S / feed.request_interval_ns <= 10_000


def test_an_instrument_whose_feeds_have_no_book_is_told_unless_it_is_quotes_only(tmp_path: Path) -> None:
    feed = FEED.replace("}", ", streams: [bookTicker]}")
    config = load_config(write_config(tmp_path, CONFIG + feed), ServiceConfig)
    assert config.without_book() == ["BTC-USDT"]
    quotes = CONFIG.replace("name: BTC-USDT,", "name: BTC-USDT, quotes_only: true,", 1)
    quotes = quotes.replace("name: BTC-USDT\n", "name: BTC-USDT\n    quotes_only: true\n", 1)
    assert load_config(write_config(tmp_path, quotes + feed), ServiceConfig).without_book() == []
    assert load_config(write_config(tmp_path, CONFIG + FEED), ServiceConfig).without_book() == []


def test_of_a_list_only_the_refused_entry_is_told_not_that_it_is_too_short_without(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(write_config(tmp_path, CONFIG + FEED.replace("}", ", streams: [x]}")), ServiceConfig)
    assert str(refused.value).count("streams") == 1


def test_a_comparison_within_a_feed_points_at_the_key_it_names(tmp_path: Path) -> None:
    text = CONFIG + STREAMED.replace("}", ",\n     heartbeat: 5s}")
    line = text[: text.index("heartbeat:")].count("\n") + 1
    with pytest.raises(ConfigError, match=rf"config.yaml:{line}: feeds\[0\].heartbeat: the venue takes"):
        load_config(write_config(tmp_path, text), ServiceConfig)


def test_the_demo_folder_loads() -> None:
    assert load_config(ROOT / "configs/demo", ServiceConfig).instruments


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CONFIG + FEED.replace("[BTC-USDT]", "[NONE]"), "NONE"),
        (CONFIG + FEED.replace("kind: binance, ", ""), r"feeds\[0\].kind: is missing"),
        (
            CONFIG + FEED.replace("kind: binance", "kind: bats"),
            r"feeds\[0\].kind: must be one of binance, deribit, coinbase, okx, binary, fix, itch, grpc, got bats",
        ),
        (CONFIG + FEED.replace("market: usdm", "market: x"), r"feeds\[0\].market: "),
        (CONFIG + FEED.replace("market:", "markt:"), r"feeds\[0\].market: is missing"),
        (CONFIG + BINARY.replace("udp", "sctp"), r"feeds\[0\].transport: "),
        (CONFIG + BINARY.replace("transport", "transports"), "did you mean transport"),
        (CONFIG + BINARY.replace(":1", ""), r"feeds\[0\].address: must be host:port"),
        (CONFIG + BINARY.replace("}", ", reorder_frames: 100}"), "buffer_events"),
        (CONFIG + BINARY.replace("}", ", silence: 0s}"), r"feeds\[0\].silence"),
        (CONFIG + ITCH, "'BTC-USDT': ITCH tells single orders; set order_level: true"),
        (
            CONFIG.replace("binance-usdm", "binance-spot")
            + FEED.replace("market: usdm", "market: spot, snapshot: {limit: 5000}"),
            "5000 levels do not fit the book of 'BTC-USDT'; lower it, or raise .*book_levels_max of 4096",
        ),
        (CONFIG + BINARY + GRPC, "'BTC-USDT' would get depth from 'two' and 'three'"),
        (CONFIG + FEED + GRPC, "'BTC-USDT' would get depth from 'one' and 'three'"),
        (
            CONFIG + STREAMED.replace("ws://h", "http://h"),
            r"feeds\[0\].ws_url: must be wss://host or ws://host",
        ),
        (
            CONFIG + FEED.replace("http://h", "ws://h"),
            r"feeds\[0\].rest_url: must be https://host or http://",
        ),
        (CONFIG + FEED.replace("[BTC-USDT]", "BTC-USDT"), r"feeds\[0\].instruments: must be a list"),
        (
            CONFIG + FEED.replace("usdm", "spot"),
            "'BTC-USDT' has venue binance-usdm, this feed market spot: the same symbol is another book",
        ),
        (
            CONFIG + FEED.replace("}", ", streams: [depth20]}"),
            r"streams\[0\]: must be depth@100ms or another",
        ),
        (CONFIG + ITCH.replace("}", ", gap: 10ms}"), r"feeds\[0\].gap: must be at most 5ms, got 10ms"),
        (CONFIG + STREAMED.replace("}", ", quotes: true}"), "quotes: a book gives the best prices already"),
        (
            CONFIG + STREAMED.replace("}", ", book: null, trades: null, ticker: null}"),
            "book: nothing is subscribed; set book, quotes, trades or ticker",
        ),
        (CONFIG + STREAMED.replace("}", ", heartbeat: 5s}"), "heartbeat: the venue takes whole seconds"),
        (CONFIG + STREAMED.replace("}", ", heartbeat: 10500ms}"), "heartbeat: the venue takes whole seconds"),
        (CONFIG + STREAMED.replace("}", ", book: 50ms}"), r"feeds\[0\].book"),
        (CONFIG + OKX.replace("}", ", keep_alive: 30s}"), "keep_alive: the venue closes after 30 s"),
        (CONFIG + OKX.replace("}", ", book: null, trades: false}"), "set book, quotes or trades"),
        (CONFIG + OKX.replace("}", ", resubscribe: {retry_min: 61s}}"), "resubscribe.retry_min"),
        (CONFIG + COINBASE.replace("}", ", liveness: {ping: 6s}}"), "liveness.ping: must be shorter"),
        (CONFIG + COINBASE + GRPC, "'BTC-USDT' would get depth from 'four' and 'three'"),
        (CONFIG + FEED + FEED.strip().split("\n", 1)[1], "two feeds"),
        (CONFIG + FEED + FEED.strip().split("\n", 1)[1].replace("one", "two"), "depth"),
        (CONFIG.replace("127.0.0.1:0\n  metrics", "nowhere\n  metrics"), "address"),
        (CONFIG.replace("127.0.0.1:0\n  metrics", "127.0.0.1:99999\n  metrics"), "address: .*0 to 65535"),
        (CONFIG + "  admin_address: nowhere\n", "admin_address: must be host:port.*or unix:PATH"),
        (CONFIG + f"  admin_address: 'unix:{'x' * 101}'\n", "admin_address: .*1 to 100 characters"),
        (
            CONFIG + "  unix_socket: /s\n  admin_address: unix:/s\n",
            "admin_address: must not be unix_socket too",
        ),
        (
            CONFIG.replace("127.0.0.1:0\n  metrics", "h:7\n  admin_address: h:7\n  metrics"),
            "admin_address: must not be address too",
        ),
        (
            CONFIG.replace("metrics_address: 127.0.0.1:0", "metrics_address: h:7\n  admin_address: h:7"),
            "admin_address: must not be metrics_address too",
        ),
        (
            CONFIG.replace("address: 127.0.0.1:0\n  metrics", "address: null\n  metrics"),
            "address: must not be null without unix_socket",
        ),
        (CONFIG + '  unix_socket: "a\\0b"\n', "unix_socket: .*NUL"),
        (CONFIG + '  admin_address: "unix:a\\0b"\n', "admin_address: .*NUL"),
        (CONFIG + '  tls: {certificate: "a\\0b", key: k}\n', "certificate: .*NUL"),
        (
            CONFIG.replace("address: 127.0.0.1:0", "address: h:7"),
            r"server.metrics_address: must not be address too",
        ),
        (CONFIG + "  in_flight_max: 0\n", "in_flight_max"),
        (CONFIG + "  in_flight: 1\n", "in_flight"),
        (CONFIG + "  overload_retry: 5\n", "overload_retry"),
        (CONFIG + "  overload_turn: 0ms\n", "overload_turn"),
        (CONFIG + "  overload_turn: 2s\n", "overload_turn"),
    ],
)
def test_what_does_not_fit_is_refused_with_file_and_line(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"config.yaml:\d+: .*{reason}"):
        load_config(write_config(tmp_path, text), ServiceConfig)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("nonsense", "must be host:port, such as 127.0.0.1:50051 or [::1]:50051"),
        ("127.0.0.1:65536", "the port must be from 0 to 65535"),
    ],
)
def test_what_does_not_fit_on_the_command_line_is_said_in_one_line(
    tmp_path: Path, address: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write_config(tmp_path), {"address": address})
    assert str(caught.value) == f"command line: server.address: {reason}"
    assert load(write_config(tmp_path), {"address": "[::1]:65535"}).server.address == "[::1]:65535"
