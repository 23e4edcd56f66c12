"""The server's own sections: what is documented is what holds, and what does not fit is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from quotelife.config import load_config
from quotelife.errors import ConfigError
from quotelife_server.app import load
from quotelife_server.feeds.settings import BinanceFeedConfig
from quotelife_server.settings import Server, ServiceConfig
from reference.service_kit import CONFIG, write_config

ROOT = Path(__file__).resolve().parents[2]
FEED = """
feeds:
  - {kind: binance, name: one, market: usdm, ws_url: "ws://h", rest_url: "http://h", instruments: [BTC-USDT]}
"""


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
    assert load_config(ROOT / "configs/default", ServiceConfig).server == Server()


def test_the_default_folder_shows_every_feed_key_with_its_default() -> None:
    document = yaml.safe_load((ROOT / "configs/default/feeds.yaml").read_text(encoding="utf-8"))["feeds"]
    assert shape(document[0]) == keys(BinanceFeedConfig)
    shown, bare = load_config(ROOT / "configs/default", ServiceConfig).feeds
    required = {"kind", "name", "market", "ws_url", "rest_url", "instruments"}
    assert set(document[1]) == required
    assert shown.model_dump(exclude=required) == bare.model_dump(exclude=required)


def test_the_demo_folder_loads() -> None:
    assert load_config(ROOT / "configs/demo", ServiceConfig).instruments


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CONFIG + FEED.replace("[BTC-USDT]", "[NONE]"), "NONE"),
        (CONFIG + FEED + FEED.strip().split("\n", 1)[1], "two feeds"),
        (CONFIG + FEED + FEED.strip().split("\n", 1)[1].replace("one", "two"), "depth"),
        (CONFIG.replace("127.0.0.1:0\n  metrics", "nowhere\n  metrics"), "address"),
        (CONFIG.replace("127.0.0.1:0\n  metrics", "127.0.0.1:99999\n  metrics"), "address: .*0 to 65535"),
        (CONFIG + "  in_flight_max: 0\n", "in_flight_max"),
        (CONFIG + "  in_flight: 1\n", "in_flight"),
        (CONFIG + "  overload_retry: 5\n", "overload_retry"),
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
