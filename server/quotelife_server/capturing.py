"""The capture beside a running engine: the loop copies, one thread writes, compresses and removes."""

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from quotelife.capture.format import CaptureError
from quotelife.capture.segments import SegmentFiles
from quotelife.capture.writer import CaptureWriter
from quotelife.engine import Engine
from quotelife.units import NS_PER_S
from quotelife_server.alerts import CAPTURE_FAILING, Alerts
from quotelife_server.metrics import Gauge
from quotelife_server.settings import CaptureSettings

LOSING_NS = 2 * NS_PER_S  # so long after the last loss one is over


class CaptureFigures(NamedTuple):
    """What the capture tells of itself. Counters only grow."""

    records: int  # events and signals written
    lost: int  # inputs that found no room
    bytes: int
    segments: int
    fault: str  # why nothing can be written; empty when it can


class Capturing:
    """A capture of ``engine`` from its first input on; hand ``sink`` to ``Engine.record_to``.

    ``tick`` is called by the loop every 100 ms or so. No fault of the disk reaches the loop: what cannot be written
    waits in memory, and is lost, counted and marked, when there is no more room; either is an alert until it is over.
    Raises ``CaptureError`` when the folder cannot be had at the start.
    """

    def __init__(self, settings: CaptureSettings, engine: Engine, *, boot_id: str, alerts: Alerts) -> None:
        assert settings.directory is not None
        self._alerts = alerts
        folder = Path(settings.directory).absolute()
        try:
            self._files = SegmentFiles(
                folder,
                segment_bytes=settings.segment_bytes,
                total_bytes_max=settings.bytes_max,
                age_max_ns=settings.age_max_ns,
                compress=settings.compress,
            )
        except CaptureError as error:  # another process has it
            raise CaptureError(f"server.capture.directory: {error}") from None
        except OSError as error:
            raise CaptureError(
                f"server.capture.directory: {folder}: {error.strerror or error}; {_mend(error)}, or name another folder"
            ) from error
        self.sink = CaptureWriter(self._files, boot_id=boot_id)
        self.sink.begin(engine.config_payload(), start_ns=engine.now_ns, input_sequence=engine.input_sequence)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="capture")
        self._work: asyncio.Future[None] | None = None
        self._untidy = ""
        self._lost = 0
        self._losing_until_ns = 0

    def tick(self, now_ns: int) -> None:
        """Have what is old enough written. ``now_ns`` is near enough to wall time to judge the age of files by."""
        self.sink.tick(now_ns)
        if self._work is None or self._work.done():
            self._report(now_ns)
            self._work = asyncio.get_running_loop().run_in_executor(self._thread, self._write, now_ns)

    async def stop(self) -> None:
        """Write what is left and let go of the folder."""
        self._files.stopping = True
        if self._work is not None:
            await self._work
        await asyncio.get_running_loop().run_in_executor(self._thread, self.sink.close)
        self._thread.shutdown(wait=True)

    def figures(self) -> CaptureFigures:
        fault = self.sink.fault or self._untidy
        return CaptureFigures(
            records=self.sink.records,
            lost=self.sink.lost,
            bytes=self._files.bytes,
            segments=self._files.count,
            fault=f"{self._files.folder}: {fault}" if fault else "",
        )

    def gauges(self) -> list[Gauge]:
        """Figures for Prometheus."""
        return [
            ("quotelife_capture_records", "Events and signals captured", lambda: float(self.sink.records)),
            (
                "quotelife_capture_lost",
                "Inputs that the capture had no room for",
                lambda: float(self.sink.lost),
            ),
            (
                "quotelife_capture_bytes",
                "Bytes captured, before compression",
                lambda: float(self._files.bytes),
            ),
            ("quotelife_capture_segments", "Segments on disk", lambda: float(self._files.count)),
            (
                "quotelife_capture_failing",
                "1 while the disk fails",
                lambda: float(bool(self.figures().fault)),
            ),
        ]

    def _write(self, now_ns: int) -> None:
        self.sink.write_pending()
        try:
            self._files.tidy(now_ns, meanwhile=self.sink.write_pending)
            self._untidy = ""
        except OSError as error:
            self._untidy = error.strerror or str(error)

    def _report(self, now_ns: int) -> None:
        figures = self.figures()
        if figures.lost > self._lost:
            self._losing_until_ns = now_ns + LOSING_NS
        self._lost = figures.lost
        losing = now_ns < self._losing_until_ns
        if not figures.fault and not losing:
            self._alerts.clear(CAPTURE_FAILING, now_ns)
            return
        text = figures.fault or f"{self._files.folder}: the disk is too slow"
        what = "inputs are lost" if losing else "inputs wait in memory"
        self._alerts.raise_(CAPTURE_FAILING, f"{text}; {what}, {figures.lost:,} lost so far", now_ns)


def _mend(error: OSError) -> str:
    mends = {
        errno.ENOSPC: "make room",
        errno.EDQUOT: "raise the quota",
        errno.EROFS: "mount it writable",
        errno.EACCES: "let the service's user write there",
        errno.EPERM: "let the service's user write there",
        errno.ENOTDIR: "remove the file that stands in its way",
        errno.EEXIST: "remove the file that stands in its way",
    }
    return mends.get(error.errno or 0, "mend the disk")


def open_capture(
    settings: CaptureSettings, engine: Engine, *, boot_id: str, alerts: Alerts
) -> Capturing | None:
    """The configured capture, ``None`` where no directory is named."""
    if settings.directory is None:
        return None
    return Capturing(settings, engine, boot_id=boot_id, alerts=alerts)
