"""The capture beside a running engine: the loop copies, one thread writes, compresses and removes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from quotelife.capture.segments import SegmentFiles
from quotelife.capture.writer import CaptureWriter
from quotelife.engine import Engine
from quotelife_server.metrics import Gauge
from quotelife_server.settings import CaptureSettings


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
    waits in memory, and is lost, counted and marked, when there is no more room. Raises ``CaptureError`` or
    ``OSError`` when the folder cannot be had at the start.
    """

    def __init__(self, settings: CaptureSettings, engine: Engine, *, boot_id: str, logger: Any) -> None:
        assert settings.directory is not None
        self._log = logger.bind(directory=settings.directory)
        self._files = SegmentFiles(
            Path(settings.directory),
            segment_bytes=settings.segment_bytes,
            total_bytes_max=settings.bytes_max,
            age_max_ns=settings.age_max_ns,
            compress=settings.compress,
        )
        self.sink = CaptureWriter(self._files, boot_id=boot_id)
        self.sink.begin(engine.config_payload(), start_ns=engine.now_ns, input_sequence=engine.input_sequence)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="capture")
        self._work: asyncio.Future[None] | None = None
        self._untidy = ""
        self._fault = ""
        self._lost = 0

    def tick(self, now_ns: int) -> None:
        """Have what is old enough written. ``now_ns`` is near enough to wall time to judge the age of files by."""
        self.sink.tick(now_ns)
        if self._work is None or self._work.done():
            self._report()
            self._work = asyncio.get_running_loop().run_in_executor(self._thread, self._write, now_ns)

    async def stop(self) -> None:
        """Write what is left and let go of the folder."""
        self._files.stopping = True
        if self._work is not None:
            await self._work
        await asyncio.get_running_loop().run_in_executor(self._thread, self.sink.close)
        self._thread.shutdown(wait=True)
        self._report()

    def figures(self) -> CaptureFigures:
        return CaptureFigures(
            records=self.sink.records,
            lost=self.sink.lost,
            bytes=self._files.bytes,
            segments=self._files.count,
            fault=self.sink.fault or self._untidy,
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
            self._untidy = str(error)

    def _report(self) -> None:
        figures = self.figures()
        if figures.fault != self._fault:
            if figures.fault:
                self._log.error("capture: the disk fails, inputs wait in memory", fault=figures.fault)
            else:
                self._log.info("capture: the disk is well again", lost=figures.lost)
            self._fault = figures.fault
        elif figures.lost > self._lost and not self._lost:
            self._log.error("capture: inputs are lost", lost=figures.lost)
        self._lost = figures.lost


def open_capture(settings: CaptureSettings, engine: Engine, *, boot_id: str, logger: Any) -> Capturing | None:
    """The configured capture, ``None`` where no directory is named."""
    if settings.directory is None:
        return None
    return Capturing(settings, engine, boot_id=boot_id, logger=logger)
