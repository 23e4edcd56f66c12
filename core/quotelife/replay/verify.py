"""Every journaled decision computed once more, and held against the record byte for byte.

- **From the journal alone** (``capture`` is ``None``): an engine that follows the journal's changes judges each record
  anew (``Engine.redo``): posture, threshold, curve, tolerance, life follow from what the record says of the market.
- **From market bytes up**: capture and journal of a boot are merged into the one order of inputs by their sequences,
  and an engine that is fed them decides anew (``Engine.decide``): features, quality and regime follow too.

An input that is in neither ends what can be verified of a boot; so do stretches served without a journal. They are
named, with the decisions they cost, never passed over.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.capture.format import InputKind
from quotelife.capture.reader import Capture, Inputs
from quotelife.config import Config
from quotelife.decision.kill import KillSource
from quotelife.decision.package import follows
from quotelife.engine import Engine
from quotelife.errors import JournalError, QuotelifeError
from quotelife.features.schema import SCHEMA_HASH
from quotelife.inputs import Change, DerivedTap
from quotelife.journal.format import LAYOUT_HASH, Kind
from quotelife.journal.index import segment_names
from quotelife.journal.reader import Journal
from quotelife.journal.records import (
    Record,
    decode_boot,
    decode_change,
    decode_decision,
    decode_gap,
    decode_label,
    decode_shadow,
    decode_state,
    decode_watch,
)
from quotelife.model.ladder import StepSource
from quotelife.records import (
    DECISION_DTYPE,
    HORIZONS_NS,
    LABEL_DTYPE,
    SHADOW_DTYPE,
    WATCH_DTYPE,
    DecisionRecord,
    EventBuffer,
    ModelRoleCode,
    PostureCode,
    QuoteStateCode,
    RequestFlags,
    RequestRecord,
    WatchCode,
    WithdrawCode,
)
from quotelife.replay.follow import Follower, set_override

KEPT = 20  # mismatches told in full
FIELDS = 4  # of the first of them that differ
EVERY = 1000  # records between two words of progress
LIFE = 2  # part of a label that moves a tolerance
TOUCH = 1e-6  # ticks: by rounding a quote may be withdrawn so much before its level
_KINDS = (
    Kind.BOOT,
    Kind.CHANGE,
    Kind.SIGNAL,
    Kind.DECISION,
    Kind.SHADOW,
    Kind.LABEL,
    Kind.WATCH,
    Kind.GAP,
    Kind.STATE,
)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A decision that does not come out as it was recorded. ``fields``: name, recorded, recomputed."""

    decision_id: str
    fields: tuple[tuple[str, str, str], ...]


@dataclass(slots=True)
class Stretch:
    """From ``first`` (an input sequence) on nothing of a boot can be verified; ``decisions`` are journaled there."""

    boot_id: str
    first: int
    reason: str
    decisions: int = 0


@dataclass(slots=True)
class Verification:
    """What has been verified so far. ``events`` were replayed from the capture."""

    boots: int = 0
    decisions: int = 0
    equal: int = 0
    shadows: int = 0
    shadows_equal: int = 0
    shadows_missing: int = 0
    labels: int = 0
    labels_equal: int = 0
    labels_missing: int = 0
    without_labels: int = (
        0  # boots that learn and have none in the journal: whether any is missing is not known
    )
    watches: int = 0  # words on live quotes
    watches_equal: int = 0
    watches_missing: int = 0
    notes: int = 0  # of what was learned
    notes_equal: int = 0
    changes: int = 0
    signals: int = 0
    events: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)
    unverifiable: list[Stretch] = field(default_factory=list)

    @property
    def unequal(self) -> int:
        return sum(
            (
                self.decisions - self.equal,
                self.shadows - self.shadows_equal,
                self.labels - self.labels_equal,
                self.watches - self.watches_equal,
                self.notes - self.notes_equal,
            )
        )

    @property
    def complete(self) -> bool:
        """No stretch was left out."""
        return not self.unverifiable


def verify(
    journal: Path,
    capture: Path | None = None,
    *,
    report: Verification | None = None,
    progress: Callable[[Verification], None] = lambda _: None,
) -> Verification:
    """Verify all boots of a journal; ``report`` is filled on the way, so that an interrupted run has one too.

    Raises ``JournalError`` on damage, ``QuotelifeError`` when another build wrote journal or capture.
    """
    report = report if report is not None else Verification()
    opened = Journal(str(journal))
    if not segment_names(opened.storage):
        raise JournalError(f"{journal}: no segment of a journal in it; name the folder of server.journal")
    follower = Follower(journal / "artifacts")
    runs = _Runs(Capture(capture)) if capture is not None else None
    for boot_id, records in _boots(opened.records(_KINDS), report, progress):
        report.boots += 1
        if runs is None:
            _Alone(boot_id, follower, report).run(records)
        else:
            _FromMarket(boot_id, follower, report, runs).run(records)
    progress(report)
    return report


def _boots(
    records: Iterator[Record], report: Verification, progress: Callable[[Verification], None]
) -> Iterator[tuple[str, Iterator[Record]]]:
    """The records boot by boot."""
    held = next(records, None)

    def of_boot(boot_id: str) -> Iterator[Record]:
        nonlocal held
        number = 0
        while held is not None and held.boot_id == boot_id:
            yield held
            held = next(records, None)
            number += 1
            if number % EVERY == 0:
                progress(report)

    while held is not None:
        boot_id = held.boot_id
        mine = of_boot(boot_id)
        yield boot_id, mine
        for _ in mine:
            pass


def _check_build(record: Record) -> dict[str, Any]:
    boot = decode_boot(record)
    for key, here in (("schema_hash", SCHEMA_HASH), ("layout_hash", LAYOUT_HASH.hex())):
        if boot[key] != here:
            what = "features" if key == "schema_hash" else "records"
            raise QuotelifeError(
                f"boot {record.boot_id} was written by a build with other {what} ({boot[key][:12]}, this build has "
                f"{here[:12]}); verify it with the version of quotelife that wrote it"
            )
    return boot


class _Boot:
    """One boot's verification: what both ways have in common."""

    def __init__(self, boot_id: str, follower: Follower, report: Verification) -> None:
        self.boot_id = boot_id
        self.follower = follower
        self.report = report
        self.engine: Engine | None = None
        self.again = DecisionRecord()
        self.shadows: npt.NDArray[np.void] = np.empty(0, SHADOW_DTYPE)  # of the last decision
        self.shadows_found = self.shadows_due = 0
        self.labels_known = 0  # number of the label before; −1: not known
        self.watches_known = 0  # … and of the word on a live quote
        self._quoted = False
        self.stretch: Stretch | None = None
        self.package: list[tuple[RequestRecord, DecisionRecord]] = []  # of the one under way, so far

    def leave(self, first: int, reason: str) -> None:
        """From ``first`` on nothing can be verified."""
        self.engine = None
        self.stretch = Stretch(self.boot_id, first, reason)
        self.report.unverifiable.append(self.stretch)

    def compare(self, record: Record, recorded: DecisionRecord, held_alpha: float | None = None) -> None:
        self.report.decisions += 1
        was, now = recorded.canonical(), self.again.canonical()
        if was == now and held_alpha is not None and recorded.held_alpha != held_alpha:
            if len(self.report.mismatches) < KEPT:
                field = ("held_alpha", str(recorded.held_alpha), f"{held_alpha}, by the labels before it")
                self.report.mismatches.append(Mismatch(record.decision_id, (field,)))
        elif was == now:
            self.report.equal += 1
        elif len(self.report.mismatches) < KEPT:
            self.report.mismatches.append(Mismatch(record.decision_id, differences(was, now)))

    def follow_package(
        self, record: Record, request: RequestRecord, recorded: DecisionRecord, market: Engine | None
    ) -> None:
        """What a request says of its package must follow from the records before it, and with a ``market`` from that.

        Called once for each decision, in order, with the engine at the time of the decision."""
        if not request.flags & (RequestFlags.LEG | RequestFlags.LAST_LEG):
            self.package.clear()
            return
        if request.flags & RequestFlags.FIRST_LEG:
            self.package.clear()
        self.package.append((request, recorded))
        if request.flags & RequestFlags.FIRST_LEG:
            return
        same = len(self.package) > 1 and follows(*self.package[-2], request)
        if same and market is not None and request.flags & RequestFlags.LAST_LEG:
            requests, decisions = zip(*self.package, strict=True)
            again = market.package_requests(requests[:-1], decisions[:-1])
            same = all(was.canonical() == now.canonical() for was, now in zip(requests, again, strict=True))
        if not same:
            self.report.equal -= 1
            if len(self.report.mismatches) < KEPT:
                fields = (("request", "as recorded", "does not follow from its package"),)
                self.report.mismatches.append(Mismatch(record.decision_id, fields))

    def compare_shadow(self, record: Record) -> None:
        """Against what was taken again for the decision before it."""
        recorded = decode_shadow(record)
        self.report.shadows += 1
        self.shadows_found += 1
        for again in self.shadows:
            if again["model"] == recorded["model"] and again["input_sequence"] == record.input_sequence:
                if again.tobytes() == recorded.tobytes():
                    self.report.shadows_equal += 1
                elif len(self.report.mismatches) < KEPT:
                    self._mismatch(record, differences(recorded.tobytes(), again.tobytes(), SHADOW_DTYPE))
                return
        if len(self.report.mismatches) < KEPT:
            self._mismatch(record, (("model", f"{int(recorded['model']):016x}", "no shadow then"),))

    def expect_shadows(self, count: int) -> None:
        """So many of the decision just taken; how many of the one before are not there?"""
        self.report.shadows_missing += max(self.shadows_due - self.shadows_found, 0)
        self.shadows_due, self.shadows_found = count, 0

    def count_label(self, label: np.void) -> bool:
        """Whether it is the next; those that are not there are counted."""
        number, before = int(label["number"]), self.labels_known
        self.labels_known = number
        if before >= 0:
            self.report.labels_missing += max(number - before - 1, 0)
        return number == before + 1

    def compare_label(self, record: Record, again: bytes) -> None:
        self.report.labels += 1
        if again == record.payload:
            self.report.labels_equal += 1
        elif len(self.report.mismatches) < KEPT:
            number = int(decode_label(record)["number"])
            self.report.mismatches.append(
                Mismatch(f"{record.boot_id} label {number}", differences(record.payload, again, LABEL_DTYPE))
            )

    def words_before(self, quote: Mapping[str, Any]) -> None:
        """Words go on from those of boots before: the first quote of a boot says how far they were."""
        if not self._quoted and self.watches_known == 0:
            self.watches_known = quote.get("words", 0)
        self._quoted = True

    def count_watch(self, said: np.void) -> None:
        """Those that are not there are counted."""
        number, before = int(said["number"]), self.watches_known
        self.watches_known = number
        if before >= 0:
            self.report.watches_missing += max(number - before - 1, 0)

    def compare_watch(self, record: Record, again: bytes) -> None:
        self.report.watches += 1
        if again == record.payload:
            self.report.watches_equal += 1
        elif len(self.report.mismatches) < KEPT:
            self._unlike(record, differences(record.payload, again, WATCH_DTYPE))

    def _unlike(self, record: Record, fields: tuple[tuple[str, str, str], ...]) -> None:
        number = int(decode_watch(record)["number"])
        self.report.mismatches.append(Mismatch(f"{record.boot_id} watch {number}", fields))

    def _mismatch(self, record: Record, fields: tuple[tuple[str, str, str], ...]) -> None:
        self.report.mismatches.append(Mismatch(f"{record.decision_id} (shadow)", fields))


class _Alone(_Boot):
    """From the journal alone."""

    # Whose tolerance follows from labels that are all there, by group and posture; None: every one's.
    _followed: set[tuple[str, int]] | None = None

    def __init__(self, boot_id: str, follower: Follower, report: Verification) -> None:
        super().__init__(boot_id, follower, report)
        self._latest: tuple[RequestRecord, DecisionRecord] | None = None
        self._first_ns: int | None = None  # of the first decision
        self._quotes: dict[int, dict[str, Any]] = {}  # live ones, as they were registered or restored

    def run(self, records: Iterable[Record]) -> None:
        for record in records:
            if record.kind is Kind.BOOT:
                _check_build(record)
            elif record.kind is Kind.CHANGE:
                change = decode_change(record)
                if self.engine is None:
                    if self.stretch is None:  # the configuration that the boot began with
                        self.engine = self.follower.engine(change.payload, change.now_ns)
                    continue
                self.follower.apply(self.engine, change.kind, change.payload, change.now_ns)
                self.report.changes += 1
                if change.kind is Change.WATCHED:
                    self.words_before(change.payload)
                    self._quotes[change.payload["quote"]] = change.payload
                elif change.kind is Change.WATCH_ACKNOWLEDGED or (
                    change.kind is Change.WATCH_UPDATED and change.payload["state"] >= QuoteStateCode.FILLED
                ):
                    self._quotes.pop(change.payload["quote"], None)
            elif record.kind is Kind.GAP:
                gap = decode_gap(record)
                self.leave(
                    gap.first, f"inputs {gap.first} to {gap.last} were served without a journal: {gap.reason}"
                )
            elif record.kind is Kind.STATE:
                if self.engine is None:
                    self._resume(record)
            elif record.kind is Kind.DECISION:
                self._decision(record)
            elif record.kind is Kind.SHADOW and self.engine is not None:
                self._shadow(record, self.engine)
            elif record.kind is Kind.LABEL and self.engine is not None:
                self._label(record, self.engine)
            elif record.kind is Kind.WATCH and self.engine is not None:
                self._watch(record, self.engine)
        self.expect_shadows(0)
        if self.engine is not None and self.labels_known == 0 and self._due():
            self.report.without_labels += _learns(self.engine.config)

    def _due(self) -> bool:
        # Labels of the first decision, whatever was asked of it, came before the last one.
        if self._first_ns is None or self._latest is None:
            return False
        return self._latest[1].now_ns - self._first_ns > 2 * HORIZONS_NS[-1]

    def _label(self, record: Record, engine: Engine) -> None:
        """Fold it: the tolerance that it leaves is what the next decisions must have gone by."""
        label = decode_label(record)
        if not self.count_label(label):
            self._followed = set()  # what was missed may have moved any tolerance
        key = self._key(int(label["instrument"]), int(label["posture"]))
        follows = label["part"] != LIFE or self._followed is None or key in self._followed
        try:
            again = engine.apply_label(record.payload, adopt=not follows)
        except ValueError as error:
            raise JournalError(f"record {record.number}: {error}") from None
        self.compare_label(record, again)
        if self._followed is not None and label["part"] == LIFE:
            self._followed.add(key)

    def _watch(self, record: Record, engine: Engine) -> None:
        """Without a market only what it says of itself can be asked: was it time, had it moved so far?"""
        said = decode_watch(record)
        self.count_watch(said)
        self.report.watches += 1
        quote = self._quotes.get(int(said["quote"]))
        wrong: tuple[str, str, str] | None = None
        if quote is not None and said["kind"] == WatchCode.EXPIRED:
            if said["at_ns"] < quote["expiry_ns"]:
                wrong = ("at_ns", str(said["at_ns"]), f"its end is {quote['expiry_ns']}")
        elif quote is not None and said["reason"] == WithdrawCode.ADVERSE_MOVE and not quote["withdraw"]:
            # One that was withdrawn before a restart was told again without its move, by builds that did not carry it.
            at = quote.get("withdraw_at", engine.config.watch.withdraw_at)
            least = at * min(side["h_ticks"] for side in quote["sides"])
            if not said["moved_ticks"] >= least - TOUCH:
                wrong = ("moved_ticks", str(said["moved_ticks"]), f"{least} ends it")
        if said["kind"] == WatchCode.EXPIRED:
            self._quotes.pop(int(said["quote"]), None)
        if wrong is None:
            self.report.watches_equal += 1
        elif len(self.report.mismatches) < KEPT:
            self._unlike(record, (wrong,))

    def _key(self, instrument: int, posture: int) -> tuple[str, int]:
        assert self.engine is not None
        each = self.engine.config.instruments[instrument]
        return (each.group or each.name, posture)

    def _resume(self, record: Record) -> None:
        """Behind a gap, or where older segments were removed, a snapshot says what was in force."""
        state = decode_state(record)
        if not state.config:
            return
        self.engine = self.follower.engine(state.config, record.now_ns)
        for override in sorted(state.overrides.values(), key=lambda each: int(each["id"])):
            set_override(self.engine, override, record.now_ns)
        for step in state.steps.values():
            self.follower.apply(self.engine, Change.STEPPED, step, record.now_ns)
        self.stretch = None
        self._followed = set()
        self._quotes = dict(state.quotes)
        self.labels_known = self.watches_known = -1

    def _decision(self, record: Record) -> None:
        if self.engine is None:
            if self.stretch is None:
                self.leave(record.input_sequence, "the journal does not say what was in force")
            assert self.stretch is not None
            self.stretch.decisions += 1
            return
        request, recorded = decode_decision(record)
        self.engine.redo(request, recorded, self.again)
        equal = self.report.equal
        self.compare(record, recorded, self._held(recorded))
        if self.report.equal > equal:
            self.follow_package(record, request, recorded, None)
        self._latest = request, recorded
        self._first_ns = recorded.now_ns if self._first_ns is None else self._first_ns
        self.expect_shadows(_shadows_of(self.engine, recorded))

    def _shadow(self, record: Record, engine: Engine) -> None:
        if self._latest is not None and self._latest[1].input_sequence == record.input_sequence:
            self.shadows = engine.redo_shadow(*self._latest, decode_shadow(record))
        self.compare_shadow(record)

    def _held(self, recorded: DecisionRecord) -> float | None:
        """The tolerance that the labels before it leave, where they are all there."""
        assert self.engine is not None
        posture = recorded.posture_effective
        if recorded.model_role == 0:
            return None
        if self._followed is not None and self._key(recorded.instrument, posture) not in self._followed:
            return None
        return self.engine.held_alpha(recorded.instrument, posture)


class _Runs:
    """The runs of a capture, one ahead, boot by boot."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.heads = {head.boot_id: head for head in capture.heads()}
        self._all = capture.inputs()
        self._held = next(self._all, None)

    def seek(self, boot_id: str) -> None:
        """On to the first run of a boot that the capture has."""
        while self._held is not None and self._held.head.boot_id != boot_id:
            self._held = next(self._all, None)

    def at(self, boot_id: str, sequence: int) -> Inputs | None:
        """The run of the boot that holds an input, or the one after it; ``None`` at the boot's end."""
        while self._held is not None and self._held.head.boot_id == boot_id:
            if self._held.first_sequence + self._held.length > sequence:
                return self._held
            self._held = next(self._all, None)
        return None


class _FromMarket(_Boot):
    """From market bytes up."""

    def __init__(self, boot_id: str, follower: Follower, report: Verification, runs: _Runs) -> None:
        super().__init__(boot_id, follower, report)
        self._runs = runs
        self._buffer = EventBuffer(65536)
        self._gap = ""
        self._started_ns = 0
        self._restoring = True  # what was in force before the boot is put back before anything else happens
        self._tap = DerivedTap()
        self._steps: deque[tuple[int, dict[str, Any]]] = deque()  # that the journal has yet to tell of
        self._recorded: dict[int, Record] = {}  # labels by number, until both are there
        self._resolved: dict[int, bytes] = {}
        self._said: dict[int, Record] = {}  # words on live quotes by number, in the same way
        self._said_again: dict[int, bytes] = {}

    def run(self, records: Iterable[Record]) -> None:
        captured = self.boot_id in self._runs.heads
        if captured:
            self._runs.seek(self.boot_id)
        boot: dict[str, Any] | None = None
        for record in records:
            if record.kind is Kind.BOOT:
                boot = _check_build(record)
                if not captured:
                    self.leave(boot["input_sequence"] + 1, "the capture does not have this boot")
            elif self.stretch is not None:
                self.stretch.decisions += record.kind is Kind.DECISION
            elif record.kind is Kind.GAP:
                gap = decode_gap(record)
                self._gap = f"inputs {gap.first} to {gap.last} were served without a journal: {gap.reason}"
            elif record.kind is Kind.SHADOW:
                if self.engine is not None:
                    self.compare_shadow(record)
            elif record.kind is Kind.LABEL:
                if self.engine is not None:
                    label = decode_label(record)
                    self.count_label(label)
                    self._recorded[int(label["number"])] = record
                    self._match()
            elif record.kind is Kind.WATCH:
                if self.engine is not None:
                    said = decode_watch(record)
                    self.count_watch(said)
                    self._said[int(said["number"])] = record
                    self._match()
            elif record.kind in (Kind.CHANGE, Kind.SIGNAL, Kind.DECISION):
                if self.engine is None:
                    self._begin(record, boot)
                else:
                    self._apply(record, self.engine)
                    if self.stretch is None:
                        self._count_missing(record.input_sequence)
        if self.engine is not None:
            waiting = (*self._recorded.values(), *self._said.values())
            last = max((record.input_sequence for record in waiting), default=0)
            if self.engine.input_sequence < last:  # brought by what was captured behind the last record
                self._catch_up(self.engine, last + 1)
        self._match()
        if self.stretch is None:
            for record in self._recorded.values():
                self.compare_label(record, bytes(LABEL_DTYPE.itemsize))
            for record in self._said.values():
                self.compare_watch(record, bytes(WATCH_DTYPE.itemsize))
        self.expect_shadows(0)

    def _match(self) -> None:
        """Labels are told before the input that brings them, and captured ones come with the next record."""
        for each in self._tap.labels():
            self._resolved[int(np.frombuffer(each, LABEL_DTYPE)[0]["number"])] = each
        for number in sorted(self._recorded.keys() & self._resolved.keys()):
            self.compare_label(self._recorded.pop(number), self._resolved.pop(number))
        for each in self._tap.watches():
            self._said_again[int(np.frombuffer(each, WATCH_DTYPE)[0]["number"])] = each
        for number in sorted(self._said.keys() & self._said_again.keys()):
            self.compare_watch(self._said.pop(number), self._said_again.pop(number))

    def _count_missing(self, sequence: int) -> None:
        """A label stands before the record of any later input, so those that should be before this one and are not
        never come."""
        self._match()
        for number, each in list(self._resolved.items()):
            if int(np.frombuffer(each, LABEL_DTYPE)[0]["input_sequence"]) > sequence:
                break
            del self._resolved[number]
            if (
                number > self.labels_known
            ):  # else a hole between two that are there, counted when the second came
                self.labels_known = number
                self.report.labels_missing += 1
        for number, each in list(self._said_again.items()):
            # What comes of a registration, or of a lost watcher, stands behind that input.
            if int(np.frombuffer(each, WATCH_DTYPE)[0]["input_sequence"]) >= sequence:
                break
            del self._said_again[number]
            if number > self.watches_known:
                self.watches_known = number
                self.report.watches_missing += 1

    def _begin(self, record: Record, boot: dict[str, Any] | None) -> None:
        if boot is None or boot["input_sequence"] != 0 or record.kind is not Kind.CHANGE:
            self.leave(record.input_sequence, "the journal does not reach back to the start of this boot")
            assert self.stretch is not None
            self.stretch.decisions += record.kind is Kind.DECISION
            return
        self._started_ns = self._runs.heads[self.boot_id].start_ns
        self.engine = self.follower.engine(decode_change(record).payload, self._started_ns)
        self.engine.record_to(self._tap)

    def _apply(self, record: Record, engine: Engine) -> None:
        """Everything captured before the record, then the record itself."""
        change = decode_change(record) if record.kind is Kind.CHANGE else None
        if (
            change is not None
            and record.input_sequence == engine.input_sequence
            and change.kind is Change.KILLED
            and change.payload["source"] == KillSource.THROTTLE
        ):
            # The decision before it has tripped the throttle here as it did there: in force, so no input.
            self.follower.apply(engine, change.kind, change.payload, change.now_ns)
            self.report.changes += 1
            return
        if not self._catch_up(engine, record.input_sequence):
            assert self.stretch is not None
            self.stretch.decisions += record.kind is Kind.DECISION
            return
        if change is not None and change.kind is Change.STEPPED:
            self._stepped(record, change.payload, engine)
            return
        if self._ahead(engine, record.input_sequence):
            assert self.stretch is not None
            self.stretch.decisions += record.kind is Kind.DECISION
            return
        self._restoring &= change is not None
        if record.kind is Kind.DECISION:
            request, recorded = decode_decision(record)
            engine.decide(request, self.again)
            equal = self.report.equal
            self.compare(record, recorded)
            if self.report.equal > equal:
                self.follow_package(record, request, recorded, engine)
            self.shadows = engine.shadows()
            self.expect_shadows(len(self.shadows))
            return
        if change is None:
            engine.on_signal_record(record.payload)
            self.report.signals += 1
        elif change.kind is Change.LEARNED and not self._restoring:
            self._learned(record, change.payload, engine)
        elif change.kind is Change.COUNTERPARTIES and not self._restoring:
            self._counterparties(record, change.payload, engine)
        else:
            if change.kind is Change.WATCHED:
                self.words_before(change.payload)
            self.follower.apply(engine, change.kind, change.payload, change.now_ns)
            self.report.changes += 1
        self._take_steps()
        if engine.input_sequence - len(self._steps) != record.input_sequence:
            self.leave(
                record.input_sequence,
                f"{record.kind.name.lower()} {record.input_sequence} was no input when it was applied again",
            )

    def _learned(self, record: Record, payload: Mapping[str, Any], engine: Engine) -> None:
        """What was learned is asked of the engine, not given to it."""
        self._tap.learned()
        if not engine.note_learned(record.now_ns):
            engine.apply_learned({"groups": []}, record.now_ns)  # an input there, and so it is here
        ((_, again),) = self._tap.learned()
        self._compare_note(record, "groups", "group", payload, again)

    def _counterparties(self, record: Record, payload: Mapping[str, Any], engine: Engine) -> None:
        """What is known of counterparties likewise."""
        self._tap.counterparties()
        if not engine.note_counterparties(record.now_ns):
            engine.apply_counterparties({"counterparties": []}, record.now_ns)
        ((_, again),) = self._tap.counterparties()
        self._compare_note(record, "counterparties", "name", payload, again)

    def _compare_note(
        self, record: Record, what: str, key: str, payload: Mapping[str, Any], again: Mapping[str, Any]
    ) -> None:
        self.report.notes += 1
        self.report.changes += 1
        if again == payload:
            self.report.notes_equal += 1
        elif len(self.report.mismatches) < KEPT:
            was, now = ({entry[key]: entry for entry in each[what]} for each in (payload, again))
            fields = tuple(
                (name, str(was.get(name, "nothing")), str(now.get(name, "nothing")))
                for name in sorted(was.keys() | now.keys())
                if was.get(name) != now.get(name)
            )
            fields = fields or ((what, ", ".join(was), ", ".join(now)),)
            self.report.mismatches.append(
                Mismatch(f"{record.boot_id} learned {record.input_sequence}", fields[:FIELDS])
            )

    def _stepped(self, record: Record, payload: Mapping[str, Any], engine: Engine) -> None:
        """A step that the engine takes by itself, at a timer or with another change, must come out of them here too;
        one of an operator, or in force from before the boot, is an input of its own."""
        own = payload["source"] == StepSource.OPERATOR or (payload["since_ns"] <= self._started_ns)
        if own and engine.input_sequence < record.input_sequence:
            self.follower.apply(engine, Change.STEPPED, payload, record.now_ns)
            self._take_steps()
        again = self._steps.popleft() if self._steps else None
        if again == (record.input_sequence, payload):
            self.report.changes += 1
            return
        word = "step down" if payload["down"] else "return"
        reason = f"the {word} of group {payload['group']} does not come out again"
        if again is not None and again[0] == record.input_sequence:
            other = [key for key in payload if again[1].get(key) != payload[key]]
            reason += f": recorded {', '.join(f'{key} {payload[key]}' for key in other)}; recomputed "
            reason += ", ".join(f"{key} {again[1].get(key)}" for key in other)
        self.leave(record.input_sequence, reason)

    def _take_steps(self) -> None:
        self._steps.extend(self._tap.steps())

    def _catch_up(self, engine: Engine, sequence: int) -> bool:
        """Apply what the capture holds below ``sequence``; False when something is missing, or a step that the engine
        takes by itself on the way is in the journal nowhere."""
        while True:
            self._take_steps()
            if self._steps and self._steps[0][0] < sequence:
                first, step = self._steps[0]
                word = "steps down" if step["down"] else "returns"
                self.leave(first, f"group {step['group']} {word} here, and the journal does not say so")
                return False
            wanted = engine.input_sequence + 1
            if wanted >= sequence:
                return True
            run = self._runs.at(self.boot_id, wanted)
            if run is None or run.first_sequence > wanted or run.kind is InputKind.LOST:
                self.leave(wanted, self._missing(run, wanted))
                return False
            skip = wanted - run.first_sequence
            self._restoring = False
            self._feed(engine, run, skip, min(run.length, sequence - run.first_sequence))

    def _ahead(self, engine: Engine, sequence: int) -> bool:
        """Is the engine past an input that is to be applied?"""
        if engine.input_sequence < sequence:
            return False
        self.leave(sequence, f"input {sequence} is in both, and not the same")
        return True

    def _feed(self, engine: Engine, run: Inputs, start: int, stop: int) -> None:
        if run.kind is InputKind.EVENT:
            self._buffer.clear()
            for at in range(start, stop, self._buffer.capacity):
                self._buffer.clear()
                self._buffer.extend(run.records[at : min(stop, at + self._buffer.capacity)])
                engine.on_events(self._buffer)
            self.report.events += stop - start
        elif run.kind is InputKind.SIGNAL:
            for record in run.records[start:stop]:
                engine.on_signal_record(record.tobytes())
            self.report.signals += stop - start
        else:
            let_pass = engine.on_timer if run.kind is InputKind.TIMER else engine.on_watch_timer
            for now_ns in run.records["now_ns"][start:stop].tolist():
                let_pass(now_ns)

    def _missing(self, run: Inputs | None, wanted: int) -> str:
        if run is not None and run.kind is InputKind.LOST and run.first_sequence <= wanted:
            last = run.first_sequence + run.length - 1
            return f"inputs {run.first_sequence} to {last} found no room when captured"
        if self._gap:
            return self._gap
        damage = [each.path.name for each in self._runs.capture.damage]
        if run is None:
            reason = (
                f"the capture of this boot ends before input {wanted}; of a process that was killed it lacks the "
                "last second, and the journal alone can be verified"
            )
        else:
            reason = f"inputs {wanted} to {run.first_sequence - 1} are in neither journal nor capture"
        return reason + (f"; damaged: {', '.join(damage)}" if damage else "")


def _shadows_of(engine: Engine, decision: DecisionRecord) -> int:
    """How many models besides the one that answered were asked."""
    if not decision.model_role:
        return 0
    base, lineup = engine.served.base.digest, engine.served.lineup
    serving = lineup.of(PostureCode(decision.posture_effective))
    champion = serving.champion or base
    challenged = decision.model_role == ModelRoleCode.CHALLENGER
    served = (serving.challenger or base) if challenged else champion
    asked = [*serving.shadows, champion] if challenged else serving.shadows
    return sum(digest != served for digest in asked)


def _learns(config: Config) -> bool:
    learning, postures = config.learning, config.postures
    each = postures.client_priority, postures.liquidity_provider, postures.risk_averse
    held = any(posture.held_tolerance.enabled for posture in each)
    return held or learning.recalibration.enabled or learning.monitor.enabled


def differences(
    was: bytes, now: bytes, dtype: np.dtype[np.void] = DECISION_DTYPE
) -> tuple[tuple[str, str, str], ...]:
    """The first fields that differ between two canonical records, with both values as text."""
    recorded, recomputed = (np.frombuffer(each, dtype=dtype)[0] for each in (was, now))
    out: list[tuple[str, str, str]] = []
    for name in dtype.names or ():
        if recorded[name].tobytes() == recomputed[name].tobytes():
            continue
        if recorded[name].shape:
            place = next(
                i
                for i in range(len(recorded[name]))
                if recorded[name][i].tobytes() != recomputed[name][i].tobytes()
            )
            out.append((f"{name}[{place}]", str(recorded[name][place]), str(recomputed[name][place])))
        else:
            out.append((name, str(recorded[name]), str(recomputed[name])))
        if len(out) == FIELDS:
            break
    return tuple(out) or (("padding", was.hex(), now.hex()),)
