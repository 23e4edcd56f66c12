"""A dataset made piece by piece: in parallel, interruptible, and resumed where it was left.

A piece counts once its ``NAME.json`` stands, which is written last; it is made anew when what made it differs.
"""

import ctypes
import json
import multiprocessing
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from quotelife.errors import QuotelifeError
from quotelife.learn.collect import CollectSettings, collect
from quotelife.learn.dataset import (
    HEAD,
    Dataset,
    Piece,
    dataset_digest,
    need_pyarrow,
    put_in_place,
    read_piece,
    rows_of,
    schema_head,
    write_decisions,
)
from quotelife.learn.units import Unit, day_of
from quotelife.replay.run import ReplayReport

LOOK_S = 0.2


@dataclass
class Building:
    """How far it has come. ``span_ns`` is market time replayed, of the units under way and of those done."""

    units: int = 0
    done: int = 0
    kept: int = 0
    rows: int = 0
    span_ns: int = 0
    warnings: list[str] = field(default_factory=list)


def build_dataset(
    folder: Path,
    units: Sequence[Unit],
    settings: CollectSettings,
    *,
    jobs: int = 1,
    progress: Callable[[Building], None] = lambda _: None,
) -> tuple[Dataset, Building]:
    """Make what is missing of the dataset of these units in ``folder``, and its ``dataset.json``.

    Whatever ``progress`` raises, KeyboardInterrupt among it, ends the work: pieces that are whole stay. Raises
    ``DatasetError`` when the folder holds a dataset of other settings, ``QuotelifeError`` naming a unit that failed.
    """
    need_pyarrow()  # before hours of market are replayed for a piece that cannot be written
    keys = [unit.key(settings) for unit in units]
    if len(set(keys)) != len(keys):
        twin = next(unit for unit, key in zip(units, keys, strict=True) if keys.count(key) > 1)
        raise QuotelifeError(
            f"{twin.title}: the same content is named twice among the sources; leave one out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    head = folder / HEAD
    if head.exists():
        _check_same_settings(head, settings)
    for leftover in folder.glob("*.tmp"):
        leftover.unlink()
    state = Building(units=len(units))
    found: dict[int, list[Piece]] = {}
    for i, (unit, key) in enumerate(zip(units, keys, strict=True)):
        whole = _whole_pieces(folder, unit, key)
        if whole is not None:
            found[i] = whole
            state.kept += 1
            state.done += 1
            state.rows += sum(piece.rows for piece in whole)
    missing = [i for i in range(len(units)) if i not in found]
    if missing:
        head.unlink(missing_ok=True)  # a head says that everything is there
        run = _in_processes if jobs > 1 and len(missing) > 1 else _in_turn
        with closing(run(folder, units, keys, missing, settings, jobs, state, progress)) as made:
            for i, own, warnings in made:
                found[i] = own
                state.done += 1
                state.rows += sum(piece.rows for piece in own)
                state.warnings += warnings
    pieces = sorted((piece for each in found.values() for piece in each), key=lambda piece: piece.name)
    content = {
        **schema_head(),
        "settings": settings.as_dict(),
        "digest": dataset_digest(settings.as_dict(), pieces),
        "pieces": [asdict(piece) for piece in pieces],
    }
    _write_json(head, content)
    return Dataset(folder), state


def make_pieces(
    folder: Path, unit: Unit, key: str, settings: CollectSettings, progress: Callable[[int], None]
) -> tuple[list[Piece], list[str]]:
    """Replay one unit and write its pieces; (pieces, warnings). ``progress`` is told of ns of market."""
    found, report = collect(unit.config, unit.open, settings, progress=lambda span_ns, _: progress(span_ns))
    if not any(source.resyncs for source in report.sources.values()):
        raise QuotelifeError(
            f"{unit.title}: no book was ever built from it, so there is nothing to label; where the file goes on from "
            f"the one of the day before, name both and --continued"
        )
    pieces = []
    for decisions in found:
        name = unit.piece_name(decisions.instrument, key)
        n, m = len(decisions), len(decisions.path)
        first = int(decisions.path.time_ns[0]) if m else 0
        piece = Piece(
            name=name,
            day=day_of(int(decisions.now_ns[0]) if n else first),
            instrument=decisions.instrument,
            group=decisions.group,
            reference=decisions.reference,
            rows=n,
            points=m,
            first_ns=int(decisions.now_ns[0]) if n else first,
            last_ns=int(decisions.now_ns[-1]) if n else first,
            key=key,
            digest=decisions.digest(),
        )
        provenance = {"key": key, "source": unit.content, "settings": settings.as_dict()}
        write_decisions(decisions, folder / piece.decisions_file, folder / piece.path_file, provenance)
        pieces.append(piece)
    for piece in pieces:  # once all of them are there: a unit is whole or not
        _write_json(folder / f"{piece.name}.json", asdict(piece))
    return pieces, _warnings(unit, report, pieces)


def _warnings(unit: Unit, report: ReplayReport, pieces: list[Piece]) -> list[str]:
    out = [
        f"{unit.title}: {piece.instrument} was never good, no decision on it"
        for piece in pieces
        if not piece.rows
    ]
    if report.lost or report.damaged:
        out.append(
            f"{unit.title}: {report.lost} stretches lost when captured, {report.damaged} damaged since"
        )
    return out


Made = tuple[int, list[Piece], list[str]]


def _in_turn(
    folder: Path,
    units: Sequence[Unit],
    keys: list[str],
    missing: list[int],
    settings: CollectSettings,
    jobs: int,
    state: Building,
    progress: Callable[[Building], None],
) -> Generator[Made, None, None]:
    before = 0
    for i in missing:

        def tell(span_ns: int, before: int = before) -> None:
            state.span_ns = before + span_ns
            progress(state)

        yield (i, *make_pieces(folder, units[i], keys[i], settings, tell))
        before = state.span_ns


def _in_processes(
    folder: Path,
    units: Sequence[Unit],
    keys: list[str],
    missing: list[int],
    settings: CollectSettings,
    jobs: int,
    state: Building,
    progress: Callable[[Building], None],
) -> Generator[Made, None, None]:
    """One process a unit, at most ``jobs`` at a time; whatever ends this ends them."""
    context = multiprocessing.get_context("spawn")
    spans: Any = context.Array(ctypes.c_int64, len(units), lock=False)
    waiting = list(missing)
    running: dict[Connection, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                i = waiting.pop(0)
                mine, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work, args=(theirs, spans, i, folder, units[i], keys[i], settings), daemon=True
                )
                process.start()
                theirs.close()
                running[mine] = (i, process)
            for ready in wait(list(running), timeout=LOOK_S):
                assert isinstance(ready, Connection)
                i, process = running.pop(ready)
                try:
                    told = ready.recv()
                except EOFError:
                    process.join()
                    raise QuotelifeError(
                        f"{units[i].title}: its process ended with {process.exitcode}; where memory was short, fewer "
                        f"--jobs take less"
                    ) from None
                process.join()
                if isinstance(told, str):
                    raise QuotelifeError(told)
                yield (i, *told)
            state.span_ns = sum(spans[:])
            progress(state)
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _work(
    answer: Any, spans: Any, i: int, folder: Path, unit: Unit, key: str, settings: CollectSettings
) -> None:
    """In a process of its own: the pieces go back, or what was wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends this one

    def tell(span_ns: int) -> None:
        spans[i] = span_ns

    try:
        answer.send(make_pieces(folder, unit, key, settings, tell))
    except (QuotelifeError, OSError, MemoryError) as error:
        answer.send(f"{unit.title}: {error}" if not str(error).startswith(unit.title) else str(error))


def _whole_pieces(folder: Path, unit: Unit, key: str) -> list[Piece] | None:
    """All pieces of a unit, ``None`` where one is missing, cut short or was made from something else."""
    pieces = []
    for instrument in unit.instruments:
        name = unit.piece_name(instrument, key)
        try:
            piece = read_piece(json.loads((folder / f"{name}.json").read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        files = ((folder / piece.decisions_file, piece.rows), (folder / piece.path_file, piece.points))
        if piece.key != key or not all(rows_of(path) == rows for path, rows in files):
            return None
        pieces.append(piece)
    return pieces


def _check_same_settings(head: Path, settings: CollectSettings) -> None:
    try:
        was = json.loads(head.read_bytes())["settings"]
        differ = [name for name, value in settings.as_dict().items() if was.get(name) != value]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # spoilt, and written anew
    if differ:
        told = ", ".join(f"{name} {was.get(name)!r}" for name in differ)
        raise QuotelifeError(
            f"{head}: the folder holds a dataset of other settings ({told}); name another --out, or remove the folder"
        )


def _write_json(path: Path, content: Any) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    put_in_place(unfinished, path)
