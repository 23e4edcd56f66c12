"""What a dataset is made from, cut into what can be replayed apart: a day of instruments that drive each other."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from quotelife.capture.reader import Capture
from quotelife.config import Config
from quotelife.errors import QuotelifeError
from quotelife.feed.itch_files import day_in
from quotelife.instruments import InstrumentTable
from quotelife.learn.collect import CollectSettings, asking_config
from quotelife.learn.dataset import SIMULATED_SOURCE, schema_head
from quotelife.replay.captured import CapturedSource
from quotelife.replay.files import split_argument
from quotelife.replay.follow import read_config
from quotelife.replay.run import Source
from quotelife.replay.sources import open_files
from quotelife.sim.source import SimulatedSource
from quotelife.units import NS_PER_S

SIMULATED_START_NS = 1_700_000_000 * NS_PER_S
SIMULATED_PIECE_NS = 3600 * NS_PER_S  # a simulated market is at most so long: the next one has another seed
READ = 1 << 20
VERSION = 1  # of what one replay yields: raise it with every change of labels, recorder or collection


@dataclass(frozen=True)
class Unit:
    """One replay: in one engine, in one process. ``instruments`` are those that it speaks of.

    Recordings in ``arguments``, or the ``boot_id`` of the capture which ``arguments`` names, or the simulated market of
    ``seed`` for ``span_ns`` from ``start_ns`` on. ``content`` is the digest of what the source holds.
    """

    kind: str  # "files", "capture", "simulated"
    config: Config
    instruments: tuple[str, ...]
    label: str
    content: str
    arguments: tuple[str, ...] = ()
    day: str | None = None
    boot_id: str | None = None
    seed: int = 0
    start_ns: int = 0
    span_ns: int = 0

    @property
    def title(self) -> str:
        return f"{'+'.join(self.instruments)}{' ' if self.label else ''}{self.label}"

    def open(self, table: InstrumentTable) -> Source:
        if self.kind == "files":
            return open_files(self.arguments, table, day=self.day)
        if self.kind == "capture":
            return CapturedSource(Capture(Path(self.arguments[0])), boot_id=self.boot_id, table=table)
        return SimulatedSource(table, seed=self.seed, start_ns=self.start_ns, duration_ns=self.span_ns)

    def key(self, settings: CollectSettings) -> str:
        """Digest of all that decides what comes out: sources, configuration of the market, settings, schema."""
        config = asking_config(self.config).model_dump(mode="json")
        market = {
            name: config[name] for name in ("instruments", "regimes", "calendars", "signals", "postures")
        }
        words = [VERSION, schema_head(), settings.as_dict(), market, self.content, self.instruments]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()

    def piece_name(self, instrument: str, key: str) -> str:
        """The stem of the files of one instrument."""
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in instrument)
        return "-".join(part for part in (safe, self.label, key[:12]) if part)


def simulated_units(config: Config, hours: float, seed: int) -> list[Unit]:
    """Simulated markets that follow one another, an hour each and the last one shorter, with seeds of their own."""
    if not 1 / 3600 <= hours <= 24 * 365:
        raise ValueError("hours: must be from a second to a year")
    units: list[Unit] = []
    left, start = round(hours * 3600) * NS_PER_S, SIMULATED_START_NS
    table = config.instrument_table()
    while left > 0:
        span = min(left, SIMULATED_PIECE_NS)
        words = json.dumps([seed, len(units)]).encode()
        own = int.from_bytes(hashlib.sha256(words).digest()[:4], "big")
        source = SimulatedSource(table, seed=own, start_ns=start, duration_ns=span)
        units.append(
            Unit(
                "simulated",
                config,
                tuple(each.name for each in source.instruments),
                f"simulated-{len(units):03d}",
                f"{SIMULATED_SOURCE}{own} {start} {span}",
                seed=own,
                start_ns=start,
                span_ns=span,
            )
        )
        left -= span
        start += span
    return units


def captured_units(folder: Path, boot_id: str | None, config: Config | None) -> list[Unit]:
    """One for each boot of a capture, or the one named, under the captured configuration unless one is given."""
    capture = Capture(folder)
    heads = {head.boot_id: head for head in capture.heads()}
    if boot_id is not None and boot_id not in heads:
        raise QuotelifeError(
            f"{folder}: no start of boot {boot_id} in it; there are: {', '.join(heads) or 'none'}"
        )
    return [
        Unit(
            "capture",
            read_config(head.configuration) if config is None else config,
            tuple(each.name for each in head.instruments()),
            boot[:12],
            digest_of_boot(capture, boot),
            arguments=(str(folder),),
            boot_id=boot,
        )
        for boot, head in heads.items()
        if boot_id in (None, boot)
    ]


def file_units(arguments: Sequence[str], config: Config, *, day: str | None, continued: bool) -> list[Unit]:
    """Recorded files, apart by the day in their names (not where ``continued``) and by instruments that drive none
    of the others; an instrument's files of one day, a pair of quotes and trades for instance, stay together."""
    table = config.instrument_table()
    together = _driven_together(config)
    groups: dict[tuple[str, frozenset[str]], list[str]] = {}
    for argument in arguments:
        path = split_argument(argument)[1]
        named = None if continued else day_in(path.name)
        owns = {each.name for each in open_files([argument], table, day=day).instruments}
        linked = frozenset().union(*(together[name] for name in owns))
        groups.setdefault((day or (named.isoformat() if named else ""), linked), []).append(argument)
    merged: list[tuple[str, set[str], list[str]]] = []
    for (label, linked), own in groups.items():
        joined = [each for each in merged if each[0] == label and each[1] & linked]
        for each in joined:
            merged.remove(each)
        whole = set(linked).union(*(each[1] for each in joined))
        merged.append((label, whole, [argument for each in joined for argument in each[2]] + own))
    units = []
    for label, _, own in merged:
        source = open_files(own, table, day=day)
        content = digest_of(split_argument(argument)[1] for argument in own)
        names = tuple(each.name for each in source.instruments)
        units.append(Unit("files", config, names, label, content, arguments=tuple(own), day=day))
    return units


def digest_of(paths: Iterable[Path]) -> str:
    """SHA-256 over the content of the files in that order, wherever they lie."""
    whole = hashlib.sha256()
    for path in paths:
        sha = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(READ):
                sha.update(block)
        whole.update(sha.digest())
    return whole.hexdigest()


def digest_of_boot(capture: Capture, boot_id: str) -> str:
    """SHA-256 over the inputs of one boot: equal when its segments are compressed, or later boots join them."""
    sha = hashlib.sha256()
    head = None
    for run in capture.inputs(boot_id):
        if run.head is not head:
            head = run.head
            grids = [(each.name, str(each.tick_size), str(each.lot_size)) for each in head.instruments()]
            sha.update(
                json.dumps([grids, head.configuration["config"].get("desks")], sort_keys=True).encode()
            )
        sha.update(f"{run.kind} {run.first_sequence} {run.length}".encode())
        sha.update(run.records.tobytes())
    return sha.hexdigest()


def day_of(time_ns: int) -> str:
    """UTC, YYYY-MM-DD."""
    return datetime.fromtimestamp(time_ns // NS_PER_S, UTC).date().isoformat()


def _driven_together(config: Config) -> dict[str, frozenset[str]]:
    """For each instrument all that drive it or are driven by it, over any number of steps, itself among them."""
    sets: dict[str, set[str]] = {each.name: {each.name} for each in config.instruments}
    for each in config.instruments:
        for driver in each.drivers:
            for name in (driver.numerator, driver.denominator):
                if name is not None and sets[name] is not sets[each.name]:
                    sets[name] |= sets[each.name]
                    for member in sets[name]:
                        sets[member] = sets[name]
    return {name: frozenset(members) for name, members in sets.items()}
