"""The capture of a running service: what it writes, what it says, and that a failing disk is its own affair."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.capture.format import CaptureError, InputKind
from quotelife.capture.reader import Capture
from quotelife.capture.segments import SegmentFiles
from quotelife.engine import Engine
from quotelife_server.alerts import Alerts
from quotelife_server.capturing import Capturing
from quotelife_server.cli import capture as command
from quotelife_server.feeds.base import Feed, FeedFigures, GreeksSink, Sink
from quotelife_server.settings import CaptureSettings, ServiceConfig
from reference.market_kit import market
from reference.service_kit import running, write_config

CONFIG = """{"version": 1,
  "instruments": [
    {"name": "BTC", "venue": "binance-usdm", "symbol": "BTCUSDT", "tick_size": "0.1", "lot_size": "0.001"},
    {"name": "ETH", "venue": "binance-usdm", "symbol": "ETHUSDT", "tick_size": "0.01", "lot_size": "0.001"}],
  "feeds": [
    {"kind": "binance", "name": "f", "market": "usdm", "ws_url": "ws://127.0.0.1:1",
     "rest_url": "http://127.0.0.1:1", "instruments": ["BTC", "ETH"], "streams": ["depth@100ms"]}]}"""


def captured_service(folder: Path) -> Any:
    return running(
        write_config(folder),
        unix_socket=str(folder / "quotelife.sock"),
        capture={"directory": str(folder / "capture"), "segment_bytes": 65536},
    )


async def test_a_service_captures_what_its_engine_sees(tmp_path: Path) -> None:
    async with captured_service(tmp_path) as app:
        await asyncio.sleep(0.5)
    capture = Capture(tmp_path / "capture")
    (head,) = capture.heads()
    assert head.boot_id == app.service.boot_id and head.input_sequence == 0
    runs = list(capture.inputs())
    assert [run.first_sequence for run in runs] == sorted(run.first_sequence for run in runs)
    assert runs[0].first_sequence == 1
    assert runs[-1].first_sequence + runs[-1].length - 1 == app.engine.input_sequence
    assert {InputKind.EVENT, InputKind.TIMER} <= {run.kind for run in runs}


async def test_status_and_metrics_tell_of_the_capture(tmp_path: Path) -> None:
    async with captured_service(tmp_path) as app:
        await asyncio.sleep(0.4)
        status = admin.GetStatusResponse.FromString(await app._status([]))
        text = (await app.exposition.text()).decode()
    assert status.capture.writable and status.capture.records > 0
    assert status.capture.lost == 0 and status.capture.segments >= 1 and status.capture.fault == ""
    assert "quotelife_capture_failing 0.0" in text
    assert "quotelife_capture_records" in text


async def test_without_a_directory_there_is_no_capture(tmp_path: Path) -> None:
    async with running(write_config(tmp_path), unix_socket=str(tmp_path / "quotelife.sock")) as app:
        status = admin.GetStatusResponse.FromString(await app._status([]))
        assert not status.HasField("capture")


async def test_a_disk_that_fails_is_said_and_recovers_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CaptureSettings(directory=str(tmp_path))
    engine = Engine(ServiceConfig.model_validate_json(CONFIG), start_ns=1)
    alerts = Alerts()
    capturing = Capturing(settings, engine, boot_id="x", alerts=alerts)
    engine.record_to(capturing.sink)

    async def tick(now_ns: int) -> None:
        engine.on_timer(now_ns)
        capturing.tick(now_ns)
        assert capturing._work is not None
        await capturing._work

    full = OSError(28, "No space left on device")

    def fail(*_: Any) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(capturing._files, "_create", fail)
        for i in range(1, 4):
            await tick(i * 1_000_000_000)
        assert "No space left" in capturing.figures().fault
        (alert,) = alerts.active()
        assert alert.name == "capture_failing"
        assert alert.text == f"{tmp_path}: No space left on device; inputs wait in memory, 0 lost so far"
    await tick(4_000_000_000)
    await tick(5_000_000_000)
    await tick(6_000_000_000)
    assert alerts.active() == [] and alerts.levels() == [("capture_failing", 0)]
    assert capturing.figures().fault == "" and capturing.figures().lost == 0
    await capturing.stop()
    runs = list(Capture(tmp_path).inputs())
    assert [run.first_sequence + i for run in runs for i in range(run.length)] == [1, 2, 3, 4, 5, 6]


def test_a_folder_that_another_service_captures_into_is_named_with_its_key(tmp_path: Path) -> None:
    engine = Engine(ServiceConfig.model_validate_json(CONFIG), start_ns=1)
    settings = CaptureSettings(directory=str(tmp_path))
    held = SegmentFiles(tmp_path)
    with pytest.raises(CaptureError) as caught:
        Capturing(settings, engine, boot_id="x", alerts=Alerts())
    held.close()
    assert str(caught.value) == (
        f"server.capture.directory: {tmp_path}: another process captures into this folder; name another one"
    )


class MarketFeed:
    """The simulated market, an update every now and then."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        for i, buffer in enumerate(market(10)):
            self._sink(buffer)
            if i % 20 == 0:
                await asyncio.sleep(0.001)

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()

    def figures(self) -> FeedFigures:
        return FeedFigures("market", True, 0, {})


@pytest.mark.parametrize("end", ["seconds", "interrupt"])
async def test_the_command_captures_the_feeds_until_told_to_end(tmp_path: Path, end: str) -> None:
    def open_feeds(config: Any, table: Any, clock: Any, sink: Sink, greeks: GreeksSink) -> Sequence[Feed]:
        return [MarketFeed(sink)]

    if end == "interrupt":
        asyncio.get_running_loop().call_later(0.5, signal.raise_signal, signal.SIGINT)
    config = ServiceConfig.model_validate_json(CONFIG)
    figures = await command.run(config, tmp_path, 0.5 if end == "seconds" else 30.0, open_feeds)
    assert figures.lost == 0 and figures.fault == ""
    events = sum(run.length for run in Capture(tmp_path).inputs() if run.kind is InputKind.EVENT)
    assert events == figures.records > 500
