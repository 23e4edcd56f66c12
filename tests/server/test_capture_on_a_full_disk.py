"""The capture of a whole service on a real file system that has no room left, or takes no writes."""

import asyncio
import time
from pathlib import Path

import pytest

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.capture.format import CaptureError
from quotelife_server.app import Application
from reference.disk_kit import Disk, disk
from reference.service_kit import CONFIG, running, write_config

__all__ = ["disk"]

SAID_S = 5.0


async def status_of(app: Application) -> admin.GetStatusResponse:
    return admin.GetStatusResponse.FromString(await app._status([]))


async def until_alerted(app: Application, wanted: bool) -> list[admin.Alert]:
    began = time.monotonic()
    while True:
        alerts = [each for each in (await status_of(app)).alerts if each.name == "capture_failing"]
        if bool(alerts) is wanted:
            return alerts
        assert time.monotonic() - began < SAID_S, f"not alerted={wanted} within {SAID_S} s"
        await asyncio.sleep(0.05)


async def test_a_full_disk_is_an_alert_within_five_seconds_and_until_it_has_room(
    tmp_path: Path, disk: Disk
) -> None:
    folder = disk.path / "capture"
    capture = {"directory": str(folder), "segment_bytes": 65536}
    async with running(write_config(tmp_path), capture=capture) as app:
        disk.fill()
        (alert,) = await until_alerted(app, True)
        assert alert.text.startswith(f"{folder}: No space left on device; inputs wait in memory")
        status = await status_of(app)
        assert not status.capture.writable and status.capture.fault == f"{folder}: No space left on device"
        assert 'quotelife_alert{name="capture_failing"} 1.0' in (await app.exposition.text()).decode()
        disk.free()
        await until_alerted(app, False)
        assert (await status_of(app)).capture.writable
        assert 'quotelife_alert{name="capture_failing"} 0.0' in (await app.exposition.text()).decode()


async def test_a_start_on_a_full_disk_serves_and_says_so(tmp_path: Path, disk: Disk) -> None:
    """Where the folder can still be made: what cannot be written waits in memory."""
    folder = disk.path / "capture"
    folder.mkdir()
    disk.fill()
    async with running(write_config(tmp_path), capture={"directory": str(folder)}) as app:
        (alert,) = await until_alerted(app, True)
        assert alert.text.startswith(f"{folder}: No space left on device")
        disk.free()
        await until_alerted(app, False)


def test_a_start_on_a_read_only_disk_names_folder_and_mend(tmp_path: Path, disk: Disk) -> None:
    folder = disk.path / "capture"
    disk.read_only()
    config = write_config(tmp_path, f"{CONFIG.rstrip()}\n  capture: {{directory: {folder}}}\n")
    with pytest.raises(CaptureError) as refused:
        Application(config)
    assert str(refused.value) == (
        f"server.capture.directory: {folder}: Read-only file system; mount it writable, or name another folder"
    )
