"""Is a journal whole, what does the next start need of it, and what may go.

Torn: bytes at the end of what was written that nobody was ever told of; the next start cuts them off. Damage: bytes
that were promised and do not read back; nothing is written over them, and the service does not start on them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from quotelife.errors import JournalError
from quotelife.journal.answers import AnswerIndex
from quotelife.journal.decisions import DecisionIndex
from quotelife.journal.format import (
    SEGMENT_HEADER_BYTES,
    Kind,
    find_after,
    pack_record,
    read_record,
    unpack_header,
)
from quotelife.journal.index import (
    SegmentIndex,
    build_sidecar,
    first_numbers,
    index_segment,
    last_time,
    load_sidecar,
    scan_segment,
    segment_names,
    sidecar_name,
    sidecar_of,
    sidecars_alone,
    stop_numbers,
)
from quotelife.journal.reader import read_one, refused_sequences, state_before
from quotelife.journal.records import models_named
from quotelife.journal.state import OperationalState
from quotelife.journal.storage import ARTIFACTS, TEMPORARY, DirectoryStorage, Storage, write_whole
from quotelife.model.artifact import MANIFEST, manifest_digest
from quotelife.units import NS_PER_S

ANSWERS_KEPT_NS = 86_400 * NS_PER_S
"""How long the same request id gets the same reply."""

VERIFY_TRIES = 8

MEND = (
    "restore the file from a backup, or stop the service and move this file and all later ones away "
    "(their decisions are lost to it then)"
)


class Severity(IntEnum):
    TORN = 1
    DAMAGE = 2


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    severity: Severity
    file: str
    offset: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}: offset {self.offset}: {self.text}"


@dataclass
class SegmentReport:
    """One segment as ``verify`` found it; ``sidecar`` is ok, missing, damaged, or none where none is due."""

    name: str
    bytes: int
    records: int = 0
    first_number: int = 0
    next_number: int = 0
    boot_id: str = ""
    sealed: bool = False
    sidecar: str = "none"


@dataclass
class Report:
    """Everything ``verify`` found."""

    segments: list[SegmentReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def severity(self) -> int:
        """0: clean; else the worst ``Severity`` among the findings."""
        return max((finding.severity for finding in self.findings), default=0)

    @property
    def records(self) -> int:
        return sum(segment.records for segment in self.segments)


@dataclass
class Recovered:
    """What a start needs to know of the journal it goes on with.

    ``torn_bytes`` and ``torn_records`` (those that could still be told apart) were cut off, ``answers`` finds what
    may have to be given again, ``decisions`` what was decided in them.
    """

    state: OperationalState
    next_number: int
    segment: int
    answers: AnswerIndex
    decisions: DecisionIndex
    records: int
    torn_bytes: int
    mended: list[str]


def _judge(where: str, raw: bytes, offset: int, number: int, *, what: str) -> Finding:
    """Record ``number`` should begin at ``offset`` and does not read back: torn or damaged?"""
    proof = find_after(raw, offset, number)
    if proof is not None and proof[3]:
        text = f"{what}; a sound record follows at offset {proof[0]}; {MEND}"
        return Finding(Severity.DAMAGE, where, offset, text)
    return Finding(
        Severity.TORN,
        where,
        offset,
        f"{len(raw) - offset} bytes that were never acknowledged; the next start cuts them",
    )


def _examine(
    where: str, name: str, number: int, raw: bytes, expected: int, stop: int
) -> tuple[SegmentIndex | None, Finding | None]:
    """Read one segment. ``expected``: number of its first record; ``stop``: see stop_numbers; 0: not known."""
    try:
        header = unpack_header(raw)
    except JournalError as error:
        if "version" in str(error):
            return None, Finding(Severity.DAMAGE, where, 0, f"{error}; use that build to read it")
        return None, _judge(where, raw, 0, max(expected, 1), what=str(error))
    if header.segment != number:
        text = f"is segment {header.segment} under another name; {MEND}"
        return None, Finding(Severity.DAMAGE, where, 0, text)
    if 0 < stop <= header.first_number:
        text = "everything in it is in later segments again; the next start removes it"
        return scan_segment(name, raw, stop), Finding(Severity.TORN, where, SEGMENT_HEADER_BYTES, text)
    if expected and header.first_number > expected:
        text = f"records {expected} to {header.first_number - 1} are missing before this segment; {MEND}"
        return None, Finding(Severity.DAMAGE, where, 0, text)
    index = scan_segment(name, raw, stop)
    if stop and index.next_number < stop and index.end < len(raw):
        text = f"record {index.next_number} is damaged or missing; {MEND}"
        return index, Finding(Severity.DAMAGE, where, index.end, text)
    if index.end == len(raw):
        if stop and not index.sealed:
            # Sound, but its seal is not there: left behind by a start that was itself ended.
            return _closed(where, index, raw)
        return index, None
    if stop:
        return _closed(where, index, raw)
    # Behind a seal: it was taken back after a failed write, and a power cut brought it back instead of what came after.
    what = "bytes follow the seal" if index.sealed else f"record {index.next_number} is damaged"
    return index, _judge(where, raw, index.end, index.next_number, what=what)


def _closed(where: str, index: SegmentIndex, raw: bytes) -> tuple[SegmentIndex, Finding | None]:
    """A segment that others follow, read up to the first record of the next one: sealed right there, or not?"""
    sealed = scan_segment(index.name, raw)
    if sealed.sealed and sealed.end == len(raw) and sealed.next_number == index.next_number:
        return sealed, None
    text = (
        f"{len(raw) - index.end} bytes that the next segment holds again, or no seal; the next start mends it"
    )
    return index, Finding(Severity.TORN, where, index.end, text)


def verify(path: str | Storage, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read every byte of a journal and say what is wrong with it; changes nothing.

    What a service beside it removes meanwhile is left out. ``progress(done, total)`` is called with bytes after each
    segment. Raises ``JournalError`` where segments go from the middle again and again, ``OSError``.
    """
    storage: Storage = DirectoryStorage(path, lock=False) if isinstance(path, str) else path
    for _ in range(VERIFY_TRIES):
        report = _read_through(storage, progress)
        if report is not None:
            return report
    raise JournalError(f"{storage.where()}: segments come and go while it is read; verify it again")


def _read_through(storage: Storage, progress: Callable[[int, int], None] | None) -> Report | None:
    """``None``: one went that others stand before, as a start or a failing disk makes it; what was seen is no more."""
    report = Report()
    names = segment_names(storage)
    total = sum(_size_now(storage, name) for _, name in names)
    done = 0
    stops = stop_numbers(first_numbers(storage, names))
    expected = 0
    named: dict[str, tuple[str, Finding]] = {}  # by the last segment that does: with it the copy may go
    for at, (number, name) in enumerate(names):
        where = storage.where(name)
        try:
            raw = storage.read(name)
        except FileNotFoundError:
            if segment_names(storage)[:1] < [(number, name)]:  # keeping removes the oldest first
                return None
            expected = 0
            continue
        entry = SegmentReport(name, len(raw))
        report.segments.append(entry)
        index, finding = _examine(where, name, number, raw, expected, stops[at])
        if finding is not None:
            report.findings.append(finding)
        if index is not None and index.records:
            for offset, record, digest in _models_in(raw, index):
                named[digest] = (name, Finding(Severity.DAMAGE, where, offset, f"record {record}"))
            entry.records, entry.sealed = index.records, index.sealed
            entry.first_number, entry.next_number = index.header.first_number, index.next_number
            entry.boot_id = index.header.boot_id
            expected = index.next_number
            if index.sealed and index.end == len(raw) and finding is None:
                entry.sidecar = _check_sidecar(storage, name, raw)
                if entry.sidecar == "damaged":
                    text = "does not say what its segment holds; the next start makes it again"
                    report.findings.append(Finding(Severity.TORN, storage.where(sidecar_name(name)), 0, text))
        done += len(raw)
        if progress is not None:
            progress(done, total)
    for digest, (name, by) in named.items():
        problem = _model_problem(storage, digest)
        if problem and _size_now(storage, name):
            text = f"{by.text} names the model {digest}: {problem}; put its artifact there again"
            report.findings.append(Finding(Severity.DAMAGE, by.file, by.offset, text))
    return report


def _size_now(storage: Storage, name: str) -> int:
    """In bytes; 0 where it is past keeping and gone."""
    try:
        return storage.size(name)
    except FileNotFoundError:
        return 0


def _models_in(raw: bytes, index: SegmentIndex) -> Iterator[tuple[int, int, str]]:
    """(offset, record number, digest) of every model that a segment names."""
    for offset in index.other_offset.tolist():
        record = read_record(raw, offset)
        if record is not None:
            for digest in models_named(record.kind, record.payload):
                yield offset, record.number, digest


def _model_problem(storage: Storage, digest: str) -> str:
    """What is wrong with the copy of a model; empty: nothing."""
    folder = f"{ARTIFACTS}/{digest}"
    try:
        manifest = json.loads(storage.read(f"{folder}/{MANIFEST}"))
        if manifest["digest"] != digest or manifest_digest(manifest) != digest:
            return f"{storage.where(folder)}/{MANIFEST} is another's"
        for name, entry in manifest["files"].items():
            if hashlib.sha256(storage.read(f"{folder}/{name}")).hexdigest() != entry["sha256"]:
                return f"{storage.where(folder)}/{name} was changed"
    except FileNotFoundError:
        return f"{storage.where(folder)} is not there, or not whole"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{storage.where(folder)}/{MANIFEST} does not read"
    return ""


def _check_sidecar(storage: Storage, name: str, raw: bytes) -> str:
    try:
        there = storage.read(sidecar_name(name))
    except FileNotFoundError:
        return "missing"
    return "ok" if there == build_sidecar(name, raw)[1] else "damaged"


def recover(storage: Storage, now_ns: int, answers_ns: int = ANSWERS_KEPT_NS) -> Recovered:
    """Make a journal ready to go on with: cut a torn tail, seal what is open, and say what the new boot must know.

    Sealed segments are taken at their sidecar's word (``verify`` reads them through), so that only the last one is
    read. Raises ``JournalError`` on damage, naming file, offset and mend, with nothing changed; ``OSError``.
    """
    names = segment_names(storage)
    stops = stop_numbers(first_numbers(storage, names))
    indexes: list[SegmentIndex] = []
    torn: list[tuple[str, int, SegmentIndex | None]] = []
    sidecars: list[tuple[str, bytes]] = []
    torn_bytes = 0
    expected = 0
    for at, (number, name) in enumerate(names):
        index = load_sidecar(storage, name)
        if (
            index is None
            or index.header.segment != number
            or (expected and index.header.first_number != expected)
            or (stops[at] and index.next_number != stops[at])
        ):
            raw = storage.read(name)
            index, finding = _examine(storage.where(name), name, number, raw, expected, stops[at])
            if finding is not None and finding.severity == Severity.DAMAGE:
                raise JournalError(f"{finding}. `quotelife journal verify` reads the whole journal.")
            if finding is not None or index is None or not index.sealed:
                end = index.end if index is not None else 0
                torn.append((name, end, index))
                torn_bytes += len(raw) - end
            else:
                sidecars.append((name, sidecar_of(index, raw)))  # whole: only that is to be made again
        if index is not None and index.records:
            indexes.append(index)
            expected = index.next_number
    mended = _mend(storage, torn)
    for name, sidecar in sidecars:
        write_whole(storage, sidecar_name(name), sidecar)
        mended.append(f"{sidecar_name(name)}: made again, it was missing or not its segment's")
    next_number = expected or 1
    state = state_before(storage, indexes, next_number)
    young = [index for index in indexes if index.last_ns >= now_ns - answers_ns]
    refused = refused_sequences(indexes)  # one for both: what one takes back is the other's too
    return Recovered(
        state=state,
        next_number=next_number,
        segment=names[-1][0] if names else 0,
        answers=AnswerIndex(storage, young, refused),
        decisions=DecisionIndex(storage, young, refused, state.config),
        records=sum(index.records for index in indexes),
        torn_bytes=torn_bytes,
        mended=mended,
    )


def _mend(storage: Storage, torn: list[tuple[str, int, SegmentIndex | None]]) -> list[str]:
    """Cut, seal and index. What was done, a line each."""
    done = []
    for name in storage.list():
        if name.endswith(TEMPORARY):
            storage.remove(name)
    for name in sidecars_alone(storage):
        storage.remove(name)
    for name, end, index in torn:
        if index is None or index.records == 0:
            _remove(storage, name)
            done.append(f"{name}: removed, it held nothing that was acknowledged")
            continue
        cut = storage.size(name) - end
        stream = storage.append(name)
        try:
            if cut:
                stream.truncate(end)
            seal = memoryview(
                pack_record(
                    Kind.SEAL,
                    index.next_number,
                    0,
                    index.last_ns,
                    index.durable,
                    struct.pack("<QQ", index.next_number - 1, end),
                )
            )
            while seal and not index.sealed:
                seal = seal[stream.write(seal) :]
            stream.sync()
        finally:
            stream.close()
        done.append(f"{name}: sealed" + (f", {cut} bytes never acknowledged cut off" if cut else ""))
        index_segment(storage, name)
    if torn:
        storage.sync_names()
    return done


def _remove(storage: Storage, name: str, pause_s: float = 0.0) -> None:
    storage.remove(name, pause_s=pause_s)
    if storage.exists(sidecar_name(name)):
        storage.remove(sidecar_name(name))


def retain(
    storage: Storage,
    now_ns: int,
    *,
    age_ns: int,
    total_bytes: int,
    held_from: int,
    abandoned: Collection[str] = (),
    answers_ns: int = ANSWERS_KEPT_NS,
    removing: Callable[[str], None] = lambda name: None,
    pause_s: float = 0.0,
) -> list[str]:
    """Remove the oldest segments beyond an age or a total size; returns their names. 0 means: no such bound.
    ``removing`` is told of each one first; ``pause_s``: as ``Storage.remove`` has it.

    The newest segment and those numbered ``held_from`` or more (see ``JournalWriter.first_held``) stay whatever they
    take; ``abandoned`` (see ``JournalWriter.take_abandoned``) go first. Age never removes what the answers of the last
    ``answers_ns`` lie in; size does, since a full disk would stop the service: the oldest request ids are then answered
    anew. Raises ``OSError``.
    """
    for name in abandoned:
        removing(name)
        with contextlib.suppress(FileNotFoundError):
            _remove(storage, name, pause_s)
    names = segment_names(storage)
    sizes = {name: storage.size(name) for _, name in names}
    removed = list(abandoned)
    held = sum(sizes.values())
    for number, name in names[:-1]:
        if number >= held_from:
            break
        over = 0 < total_bytes < held
        if not over:
            last_ns = last_time(storage, name) if age_ns else None
            if last_ns is None or now_ns - last_ns <= max(age_ns, answers_ns):
                break
        removing(name)
        _remove(storage, name, pause_s)
        held -= sizes[name]
        removed.append(name)
    if removed:
        storage.sync_names()
    return removed


def unnamed_models(
    storage: Storage, in_use: Collection[str], named_in: dict[str, frozenset[str]]
) -> list[str]:
    """Digests of the models whose copies no segment names any more: for ``JournalWriter.remove_model``.

    ``in_use``: digests that the segments being written name. ``named_in``, by segment, is filled here and spares the
    next call what does not change. None is told while a closed segment has no sidecar. Raises ``OSError``.
    """
    there = {name.split("/")[1] for name in storage.below(ARTIFACTS)}
    if there <= set(in_use):
        return []
    names = [name for _, name in segment_names(storage)]
    for name in set(named_in) - set(names):
        del named_in[name]
    for name in names:
        if name not in named_in:
            index = load_sidecar(storage, name)
            if index is not None:
                named_in[name] = frozenset(_models_of(storage, index))
            elif name != names[-1]:
                return []
    return sorted(there.difference(in_use, *named_in.values()))


def _models_of(storage: Storage, index: SegmentIndex) -> Iterator[str]:
    for offset in index.other_offset.tolist():
        record = read_one(storage, index.name, index.header.boot_id, offset)
        yield from models_named(record.kind, record.payload)
