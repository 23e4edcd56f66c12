"""A capture as a source of a replay: the inputs of one boot in the order in which its engine applied them."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from quotelife.capture.format import Head, InputKind
from quotelife.capture.reader import Capture
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import NO_INDEX_VALUE, EventBuffer, EventFlags, EventKindCode, SignalCode, StatusKind
from quotelife.replay.follow import read_config
from quotelife.replay.run import ReplayReport


class CapturedSource:
    """One boot of a capture; the newest where ``boot_id`` names none.

    With ``table`` the capture is replayed into an engine of that table, instruments, desks and volatility indices
    found by name; without, the engine is one of the captured configuration (``head``) and follows its changes.
    Raises ``QuotelifeError`` when the boot is not there, or an instrument is not in the table or has another grid.
    """

    def __init__(
        self, capture: Capture, *, boot_id: str | None = None, table: InstrumentTable | None = None
    ) -> None:
        heads = {head.boot_id: head for head in capture.heads()}
        if not heads or (boot_id is not None and boot_id not in heads):
            raise QuotelifeError(
                f"{capture.folder}: no start of boot {boot_id or ''} in it; there are: {', '.join(heads) or 'none'}"
            )
        self.head = heads[boot_id] if boot_id is not None else list(heads.values())[-1]
        self.boots = list(heads)
        self._capture = capture
        self._table = table
        self._buffer = EventBuffer(65536)
        self.instruments: Sequence[Instrument] = list(self.head.instruments())
        if table is not None:
            self.instruments = [table[index] for index in _indices(self.head, table).tolist()]

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """The events of one receive stamp, a signal or a timer a step."""
        head = self.head
        mapping = _Mapping(head, engine, self._table) if self._table is not None else None
        damaged = 0
        for run in self._capture.inputs(self.head.boot_id):
            if run.head is not head:
                if mapping is not None and self._table is not None:
                    mapping = _Mapping(run.head, engine, self._table)
                elif run.head.configuration != head.configuration:
                    engine.apply_config(read_config(run.head.configuration), engine.now_ns)
                    self.instruments = list(engine.instruments)
                head = run.head
            if len(self._capture.damage) > damaged:
                report.damaged += len(self._capture.damage) - damaged
                damaged = len(self._capture.damage)
                self._distrust(engine)
            if run.kind is InputKind.LOST:
                report.lost += 1
                self._distrust(engine)
                continue
            records = run.records
            if mapping is not None:
                records = mapping.mapped(run.kind, records)
            if run.kind is InputKind.EVENT:
                yield from self._events(engine, records)
            elif run.kind is InputKind.SIGNAL:
                for record in records:
                    yield int(record["receive_ns"])
                    engine.on_signal_record(record.tobytes())
            else:
                let_pass = engine.on_timer if run.kind is InputKind.TIMER else engine.on_watch_timer
                for now_ns in records["now_ns"].tolist():
                    yield now_ns
                    let_pass(now_ns)
        report.damaged += len(self._capture.damage) - damaged

    def _events(self, engine: Engine, records: npt.NDArray[np.void]) -> Iterator[int]:
        stamps = records["receive_ns"]
        bounds = [0, *(np.flatnonzero(stamps[1:] != stamps[:-1]) + 1).tolist(), len(records)]
        for start, end in pairwise(bounds):
            yield int(stamps[start])
            self._buffer.clear()
            self._buffer.extend(records[start:end])
            engine.on_events(self._buffer)

    def _distrust(self, engine: Engine) -> None:
        # Messages are missing: no book is to be trusted until its next snapshot.
        self._buffer.clear()
        self._buffer.append(
            EventKindCode.STATUS,
            instrument=NO_INDEX_VALUE,
            aux=StatusKind.FEED_DOWN,
            flags=EventFlags.LAST,
            receive_ns=engine.now_ns,
        )
        engine.on_events(self._buffer)


def _indices(head: Head, table: InstrumentTable) -> npt.NDArray[np.uint32]:
    """For each captured instrument its index in the table."""
    out = []
    for captured in head.instruments():
        known = table.get(captured.name)
        if known is None:
            raise QuotelifeError(
                f"the configuration has no instrument {captured.name}, which was captured; add it, or replay with "
                f"the captured configuration"
            )
        if (known.tick_size, known.lot_size) != (captured.tick_size, captured.lot_size):
            raise QuotelifeError(
                f"{captured.name}: captured with tick size {captured.tick_size} and lot size {captured.lot_size}, "
                f"the configuration has {known.tick_size} and {known.lot_size}; make them equal"
            )
        out.append(known.index)
    return np.array(out, dtype=np.uint32)


class _Mapping:
    """Indices of a captured configuration to those of the engine's."""

    def __init__(self, head: Head, engine: Engine, table: InstrumentTable) -> None:
        captured = head.configuration["config"]
        self._instruments = _indices(head, table)
        self._desks = [engine.policy.desk_index(name) for name in sorted(captured["desks"])]
        self._volatility = [
            engine.config.volatility_index(name) for name in captured["signals"]["volatility_indices"]
        ]

    def mapped(self, kind: InputKind, records: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The records with the engine's indices; without those that speak of a desk or index it does not have."""
        if kind in (InputKind.TIMER, InputKind.WATCH_TIMER):
            return records
        records = records.copy()
        known = records["instrument"] < len(self._instruments)
        records["instrument"][known] = self._instruments[records["instrument"][known]]
        if kind is InputKind.EVENT:
            return records
        kept = []
        for i, record in enumerate(records):
            if record["kind"] == SignalCode.VOLATILITY_INDEX:
                source = self._volatility[int(record["source"])]
                if source is None:
                    continue
                record["source"] = source
            if record["desk"] != NO_INDEX_VALUE:
                desk = self._desks[int(record["desk"])]
                if desk is None:
                    continue
                record["desk"] = desk
            kept.append(i)
        return records[kept]
