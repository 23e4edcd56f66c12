"""A folder of models and what of them serves.

``artifacts/<digest>/`` are artifacts, each under its own digest, so that none can be changed without it showing.
``verdicts/<digest>.json`` are the verdicts by which models were promoted.
``registry.json`` is the state: the line-up, the champions before it for a rollback, what was promoted, rolled back and
tried on what grounds, and loads that failed, until somebody clears them. It is replaced whole. Whoever changes
the state holds ``lock``: a running service for as long as it runs, so that there is one writer.

A state is a value; what may happen to it are its methods, each of which gives the next one or raises
``QuotelifeError``. It says what is wanted. A model that cannot be loaded changes nothing of it: what serves meanwhile
is ``without`` it.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from quotelife.errors import ArtifactError, QuotelifeError
from quotelife.model.artifact import MANIFEST, builtin_artifact, canonical, load_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.lineup import BASIS_POINTS, POSTURES, LineUp, Serving, is_digest
from quotelife.model.promotion import REASON_CHARACTERS_MAX, Grounds
from quotelife.records import PostureCode

FORMAT = "quotelife-registry-1"
STATE = "registry.json"
ARTIFACTS = "artifacts"
VERDICTS = "verdicts"
LOCK = "lock"
REMOVED = ".removed-"
HISTORY_MAX = 64
LOG_MAX = 256
FAILURES_MAX = 64
PREFIX_MIN = 6
"""Digits of a digest that may stand for all of it."""
KINDS = PROMOTION, ROLLBACK, CANARY, CONFIGURATION = "promotion", "rollback", "canary", "configuration"


class HalfWritten(QuotelifeError):
    """The new state may be on the disk or not: what serves is not changed, but a restart may change it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that was to be loaded and could not be. ``at_ns``: the last time."""

    digest: str
    reason: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Act:
    """One promotion: the champions before it, of the postures it changed."""

    at_ns: int
    champions: Mapping[PostureCode, str | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log: one of ``KINDS``, the champions since of the postures it changed, and why.

    ``challenger``, ``share_bp``: of a ``CANARY``, who answers which share since.
    """

    at_ns: int
    what: str
    champions: Mapping[PostureCode, str | None]
    grounds: Grounds = field(default_factory=Grounds)
    challenger: str | None = None
    share_bp: int = 0

    def because(self) -> dict[str, str | None]:
        """For the journal, beside the line-up."""
        return {
            "what": self.what,
            "verdict": self.grounds.verdict,
            "market": self.grounds.market,
            "reason": self.grounds.reason,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "at_ns": self.at_ns,
            **self.because(),
            "judged_ns": [self.grounds.from_ns, self.grounds.to_ns],
            "champions": {posture.name.lower(): champion for posture, champion in self.champions.items()},
            "challenger": self.challenger,
            "canary_bp": self.share_bp,
        }


@dataclass(frozen=True, slots=True)
class RegistryState:
    """What is to serve, how it came to, and what could not be loaded.

    ``history`` is what rollbacks go back through; ``log`` is for people, newest last, and forgets no rollback.
    ``revision`` counts the changes of the line-up. ``configured``: digest of the configuration's model, as the service
    last had it; empty where no service has written it yet.
    """

    lineup: LineUp = field(default_factory=LineUp)
    history: tuple[Act, ...] = ()
    failures: tuple[Failure, ...] = ()
    log: tuple[Entry, ...] = ()
    revision: int = 0
    configured: str = ""

    def _with(self, lineup: LineUp) -> "RegistryState":
        return replace(self, lineup=lineup, revision=self.revision + (lineup != self.lineup))

    def loaded(self, digest: str, postures: Iterable[PostureCode]) -> "RegistryState":
        """``digest`` as a shadow of ``postures`` that it does not serve yet; a failure of it is over."""
        lineup = self.lineup
        for posture in postures:
            serving = lineup.of(posture)
            if digest not in serving.digests():
                lineup = lineup.put(posture, replace(serving, shadows=(*serving.shadows, digest)))
        return self.cleared(digest)._with(lineup)

    def unloaded(self, digest: str, postures: Iterable[PostureCode], at_ns: int) -> "RegistryState":
        """``digest`` no longer a shadow or a challenger of ``postures``; a champion stays."""
        lineup = self.lineup
        for posture in postures:
            serving = lineup.of(posture)
            if serving.challenger == digest:
                serving = replace(serving, challenger=None, canary_bp=0)
            kept = tuple(each for each in serving.shadows if each != digest)
            lineup = lineup.put(posture, replace(serving, shadows=kept))
        if lineup == self.lineup:
            raise QuotelifeError(f"{digest[:16]} is neither shadow nor challenger there")
        return self._tried(lineup, digest, 0, at_ns, Grounds())

    def canaried(
        self,
        digest: str,
        postures: Iterable[PostureCode],
        share_bp: int,
        at_ns: int,
        grounds: Grounds = Grounds(),  # noqa: B008 (a value)
    ) -> "RegistryState":
        """``digest`` answers ``share_bp`` ten-thousandths of the counterparties of ``postures``; 0 ends it."""
        if not 0 <= share_bp <= BASIS_POINTS:
            raise QuotelifeError("share: must lie between 0 and 1, in steps of 0.0001")
        lineup = self.lineup
        for posture in postures:
            serving = lineup.of(posture)
            if share_bp:
                if serving.champion == digest:
                    raise QuotelifeError(f"{digest[:16]} is the champion of {_word(posture)} already")
                serving = replace(serving, challenger=digest, canary_bp=share_bp)
            elif serving.challenger == digest:
                serving = replace(serving, challenger=None, canary_bp=0)
            lineup = lineup.put(posture, serving)
        if not share_bp and lineup == self.lineup:
            raise QuotelifeError(f"{digest[:16]} is no challenger there; nothing was ended")
        return self.cleared(digest)._tried(lineup, digest, share_bp, at_ns, grounds)

    def _tried(
        self, lineup: LineUp, digest: str, share_bp: int, at_ns: int, grounds: Grounds
    ) -> "RegistryState":
        """With ``lineup``, and a line of the log on the postures whose challenger it changes."""

        def trial(serving: Serving) -> tuple[str | None, int]:
            return serving.challenger, serving.canary_bp

        changed = {
            posture: serving.champion
            for posture, serving in lineup.items()
            if trial(serving) != trial(self.lineup.of(posture))
        }
        after = self._with(lineup)
        if not changed:
            return after
        return replace(after, log=self._logged(Entry(at_ns, CANARY, changed, grounds, digest, share_bp)))

    def with_configured(self, digest: str, at_ns: int) -> "RegistryState":
        """The configuration's model is ``digest`` since ``at_ns``; a line of the log, where it takes another one's
        place and answers anybody."""
        after = replace(self, configured=digest)
        champions = {posture: None for posture, serving in self.lineup.items() if serving.champion is None}
        if not champions or self.configured in ("", digest):
            return after
        return replace(after, log=self._logged(Entry(at_ns, CONFIGURATION, champions)))

    def promoted(
        self, digest: str, postures: Iterable[PostureCode], at_ns: int, grounds: Grounds
    ) -> "RegistryState":
        """``digest`` as the champion of ``postures``; no longer their challenger or shadow."""
        before: dict[PostureCode, str | None] = {}
        lineup = self.lineup
        for posture in postures:
            serving = lineup.of(posture)
            if serving.champion != digest:
                before[posture] = serving.champion
                lineup = lineup.put(posture, _crowned(serving, digest))
        if not before:
            raise QuotelifeError(f"{digest[:16]} is the champion there already")
        history = (*self.history, Act(at_ns, before))[-HISTORY_MAX:]
        entry = Entry(at_ns, PROMOTION, dict.fromkeys(before, digest), grounds)
        return replace(self.cleared(digest)._with(lineup), history=history, log=self._logged(entry))

    def rolled_back(
        self, at_ns: int, postures: Iterable[PostureCode] = (), broken: Iterable[str] = ()
    ) -> "RegistryState":
        """The last promotion undone, of ``postures`` the last one each; none: all that the last one changed.

        A champion of ``broken`` serves nobody, so going back from it or to it changes nothing: such a promotion is
        undone along with the one before it.
        """
        wanted, gone = list(dict.fromkeys(postures)), set(broken)
        acts = list(self.history)
        if not wanted:
            if not acts:
                raise QuotelifeError("there is no promotion to go back behind")
            wanted = list(acts[-1].champions)
        lineup, serves = self.lineup, self.without(gone).lineup
        for posture in wanted:
            places = [place for place, act in enumerate(acts) if posture in act.champions]
            if not places:
                raise QuotelifeError(f"{_word(posture)}: there is no promotion to go back behind")
            while places:
                place = places.pop()
                champion = acts[place].champions[posture]
                left = {key: value for key, value in acts[place].champions.items() if key != posture}
                acts[place] = Act(acts[place].at_ns, left)
                if champion not in gone and champion != serves.of(posture).champion:
                    break
            lineup = lineup.put(posture, _crowned(lineup.of(posture), champion))
        entry = Entry(at_ns, ROLLBACK, {posture: lineup.of(posture).champion for posture in wanted})
        history = tuple(act for act in acts if act.champions)
        return replace(self._with(lineup), history=history, log=self._logged(entry))

    def _logged(self, entry: Entry) -> tuple[Entry, ...]:
        return (*self.log, entry)[-LOG_MAX:]

    def expected(
        self,
        postures: Iterable[PostureCode],
        revision: int | None,
        champion: str,
        serves: Mapping[PostureCode, str],
    ) -> None:
        """Raises ``QuotelifeError`` where the state is not the one that whoever asks has seen: of another ``revision``
        (``None``: any), or with another ``champion`` (empty: any) than ``serves`` one of ``postures`` now.
        """
        if revision is not None and revision != self.revision:
            raise QuotelifeError(
                f"the line-up is at revision {self.revision}, not at {revision}: somebody has changed it, or this was "
                "done already; look again (quotelife models list)"
            )
        for posture in postures:
            if champion and serves[posture] != champion:
                raise QuotelifeError(
                    f"{_word(posture)} is served by {serves[posture][:16]}, not by {champion[:16]}; look again "
                    "(quotelife models list)"
                )

    def failed(self, failure: Failure) -> "RegistryState":
        """A load that failed, instead of an earlier one of the same model."""
        short = replace(failure, reason=failure.reason[:REASON_CHARACTERS_MAX])
        others = self.cleared(failure.digest).failures
        return replace(self, failures=(*others, short)[-FAILURES_MAX:])

    def cleared(self, digest: str | None = None) -> "RegistryState":
        """Without the failure of one model, or of all."""
        kept = tuple(each for each in self.failures if digest is not None and each.digest != digest)
        return replace(self, failures=kept)

    def named(self) -> set[str]:
        """Models that serve, or would after rollbacks: none of them may be removed."""
        former = {digest for act in self.history for digest in act.champions.values() if digest is not None}
        return self.lineup.digests() | former

    def without(self, broken: Iterable[str]) -> "RegistryState":
        """What can serve where the models ``broken`` cannot: a champion's place goes to the one before it that can,
        at last to the configuration's."""
        gone = set(broken)
        lineup = self.lineup
        for posture, serving in self.lineup.items():
            champion = serving.champion
            earlier = [act.champions[posture] for act in self.history if posture in act.champions]
            while champion in gone:
                champion = earlier.pop() if earlier else None
            kept = replace(
                serving,
                challenger=None if serving.challenger in gone else serving.challenger,
                canary_bp=0 if serving.challenger in gone else serving.canary_bp,
                shadows=tuple(each for each in serving.shadows if each not in gone),
            )
            lineup = lineup.put(posture, kept if champion == serving.champion else _crowned(kept, champion))
        return replace(self, lineup=lineup)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "lineup": self.lineup.to_json(),
            "history": [
                {"at_ns": act.at_ns, "champions": {p.name.lower(): c for p, c in act.champions.items()}}
                for act in self.history
            ],
            "failures": [
                {"digest": each.digest, "reason": each.reason, "at_ns": each.at_ns} for each in self.failures
            ],
            "log": [entry.to_json() for entry in self.log],
            "revision": self.revision,
            "configured": self.configured,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RegistryState":
        """Raises ``QuotelifeError`` on anything that ``to_json`` does not give."""
        try:
            if value["format"] != FORMAT:
                raise QuotelifeError(f"format {value['format']!r} is not {FORMAT}")
            return cls(
                LineUp.from_json(value["lineup"]),
                tuple(Act(_instant(act["at_ns"]), _champions(act)) for act in value["history"]),
                tuple(
                    Failure(str(each["digest"]), str(each["reason"]), _instant(each["at_ns"]))
                    for each in value["failures"]
                ),
                tuple(  # states before there was a log have none
                    Entry(
                        _instant(entry["at_ns"]),
                        _kind(entry["what"]),
                        _champions(entry),
                        _grounds(entry),
                        _digest(entry.get("challenger")),
                        int(entry.get("canary_bp", 0)),
                    )
                    for entry in value.get("log", ())
                ),
                int(value.get("revision", 0)),
                str(value.get("configured", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise QuotelifeError(f"is no state of a registry ({error!r})") from None


def _grounds(entry: Mapping[str, Any]) -> Grounds:
    try:
        from_ns, to_ns = map(_instant, entry.get("judged_ns", (0, 0)))
    except (ValueError, TypeError):  # only told, and no reason to serve nothing
        from_ns = to_ns = 0
    verdict, reason, market = _digest(entry["verdict"]), str(entry["reason"]), str(entry.get("market", ""))
    return Grounds(verdict, reason, from_ns, to_ns, market)


@dataclass(frozen=True, slots=True)
class Stored:
    """One artifact of the folder; ``problem``: why it cannot be used, as far as was looked at."""

    digest: str
    name: str = ""
    kind: str = ""
    description: str = ""
    problem: str = ""


class Registry:
    """See the module. Nothing is made before something is added, written or locked."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._lock: IO[bytes] | None = None

    # --- state --------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Become the one that changes the state, until ``unlock``. Raises ``QuotelifeError`` when another one is."""
        try:
            _make(self.folder)
            stream = open(self.folder / LOCK, "ab")  # noqa: SIM115 (held until unlock)
        except OSError as error:
            raise QuotelifeError(
                f"{self.folder}: cannot be written ({error.strerror}); make it writable, or name another folder"
            ) from None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise QuotelifeError(
                f"{self.folder}: is in use by a running service; ask that service (--target), or stop it first"
            ) from None
        self._lock = stream

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "Registry":
        self.lock()
        return self

    def __exit__(self, *_: object) -> None:
        self.unlock()

    def read(self) -> RegistryState:
        """The state; a fresh one where none was written yet. Raises ``QuotelifeError`` when it cannot be read."""
        path = self.folder / STATE
        try:
            return RegistryState.from_json(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return RegistryState()
        except (OSError, ValueError, RecursionError, QuotelifeError) as error:
            raise QuotelifeError(
                f"{path}: {error}; restore it, or remove it to begin with the configuration's model alone"
            ) from None

    def write(self, state: RegistryState) -> None:
        """Replace the state, synced. Needs ``lock``. Raises ``QuotelifeError`` when the disk refuses: the old stays, or
        the message says that it may not.
        """
        if self._lock is None:
            raise QuotelifeError(f"{self.folder}: is not locked")
        path = self.folder / STATE
        aside, before = path.with_suffix(".tmp"), path.with_suffix(".before")
        replaced = False
        try:
            was = path.read_bytes() if path.exists() else None
            if was is not None:
                _write(before, was)
            _write(aside, canonical(state.to_json()))
            os.replace(aside, path)
            replaced = True
            _sync(self.folder)
        except OSError as error:
            why = error.strerror
            try:
                if (
                    replaced
                ):  # seen by whoever reads it, though it might not outlive a power cut: take it back
                    path.unlink() if was is None else os.replace(before, path)
            except OSError:
                raise HalfWritten(
                    f"{path}: was written but neither synced nor taken back ({why}); a restart may serve it: mend the "
                    "disk and repeat the change"
                ) from None
            raise QuotelifeError(f"{path}: cannot be written ({why}); the state before stays") from None

    def keep(self, verdict: bytes) -> None:
        """A copy of the file of a verdict, under its digest. Raises ``QuotelifeError`` when the disk refuses."""
        folder = self.folder / VERDICTS
        path = folder / f"{hashlib.sha256(verdict).hexdigest()}.json"
        try:
            _make(folder)
            if not path.exists():
                _write(path.with_suffix(".tmp"), verdict)
                os.replace(path.with_suffix(".tmp"), path)
                _sync(folder)
        except OSError as error:
            raise QuotelifeError(f"{path}: cannot be written ({error.strerror})") from None

    # --- artifacts ----------------------------------------------------------------------------------------------

    def add(self, source: str | os.PathLike[str]) -> CurveModel:
        """Copy an artifact into the folder, a shipped one by its name, any other by its path with a slash in it.

        It is loaded, and so tested, before it is copied and after. One that is there already stays. Raises
        ``ArtifactError``.
        """
        name = os.fspath(source)
        if "/" not in name and not Path(name).is_dir():
            model = load_artifact(builtin_artifact(name))
        else:
            model = load_artifact(name)
        target = self._place(model.digest)
        if target.exists():
            return self.load(model.digest)
        try:
            _make(target.parent)
            aside = Path(tempfile.mkdtemp(prefix=".adding-", dir=target.parent))
        except OSError as error:
            raise ArtifactError(
                f"{target.parent}: cannot be written ({error.strerror}); make it writable, or name another folder"
            ) from None
        try:
            aside.chmod(0o755)
            for file, raw in model.files.items():
                _write(aside / file, raw)
            _sync(aside)
            load_artifact(aside)
            os.rename(aside, target)
            _sync(target.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return self.load(model.digest)  # somebody else has just added it
            raise ArtifactError(
                f"{target}: cannot be written ({error.strerror}); nothing was added"
            ) from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return model

    def load(self, digest: str) -> CurveModel:
        """The model of that digest, its self-test passed. Raises ``ArtifactError``."""
        folder = self._place(digest)
        if not folder.is_dir():
            raise ArtifactError(f"{folder}: there is no such artifact; add it first (quotelife models add)")
        model = load_artifact(folder)
        if model.digest != digest:
            raise ArtifactError(f"{folder}: holds {model.digest[:16]}; restore the artifact of its name")
        return model

    def stored(self, *, test: bool = False) -> list[Stored]:
        """All artifacts by digest; with ``test`` each is loaded and tested, else only its manifest is read."""
        try:
            digests = sorted(
                entry.name for entry in os.scandir(self.folder / ARTIFACTS) if is_digest(entry.name)
            )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise QuotelifeError(f"{self.folder}: cannot be read ({error.strerror})") from None
        return [self._stored(digest, test) for digest in digests]

    def _stored(self, digest: str, test: bool) -> Stored:
        try:
            if test:
                self.load(digest)
            manifest = json.loads((self._place(digest) / MANIFEST).read_bytes())
            words = [str(manifest[key]) for key in ("name", "kind", "description")]
            return Stored(digest, *words)
        except OSError as error:
            return Stored(
                digest, problem=f"{MANIFEST}: cannot be read ({error.strerror}); restore the artifact"
            )
        except (ValueError, KeyError, TypeError, ArtifactError) as error:
            return Stored(digest, problem=self.without_folder(str(error)))

    def without_folder(self, text: str) -> str:
        """``text`` for somebody who need not know where on this machine the folder lies."""
        return text.replace(f"{self.folder}/", "").replace(str(self.folder), "the folder of models")

    def find(self, text: str) -> str:
        """The digest that a digest, at least ``PREFIX_MIN`` digits of one, or a name stands for.

        Raises ``QuotelifeError`` when none or several fit.
        """
        if is_digest(text):
            return text
        stored = self.stored()
        found = [each.digest for each in stored if len(text) >= PREFIX_MIN and each.digest.startswith(text)]
        found = found or [each.digest for each in stored if each.name == text]
        if len(found) == 1:
            return found[0]
        if found:
            raise QuotelifeError(f"{text}: several models fit: {', '.join(each[:16] for each in found)}")
        raise QuotelifeError(
            f"{text}: no such model in {self.folder}; quotelife models list names those there are"
        )

    def remove(self, digest: str) -> None:
        """Remove an artifact that nothing names, and what an interrupted removal left. Needs ``lock``. Raises
        ``QuotelifeError``.
        """
        if self._lock is None:
            raise QuotelifeError(f"{self.folder}: is not locked")
        if digest in self.read().named():
            raise QuotelifeError(f"{digest[:16]}: serves, or would after a rollback; it stays")
        folder = self._place(digest)
        aside = folder.with_name(f"{REMOVED}{digest}")
        try:
            for left in folder.parent.glob(f"{REMOVED}*"):
                shutil.rmtree(left)
            os.rename(folder, aside)
            _sync(folder.parent)
            shutil.rmtree(aside)
        except OSError as error:
            raise QuotelifeError(f"{folder}: cannot be removed ({error.strerror})") from None

    def _place(self, digest: str) -> Path:
        if not is_digest(digest):
            raise ArtifactError(f"{digest!r}: a digest has 64 digits 0-9 and a-f")
        return self.folder / ARTIFACTS / digest


def _crowned(serving: Serving, champion: str | None) -> Serving:
    ended = champion is not None and serving.challenger == champion
    return Serving(
        champion,
        None if ended else serving.challenger,
        0 if ended else serving.canary_bp,
        tuple(each for each in serving.shadows if each != champion),
    )


def _kind(what: object) -> str:
    if what not in KINDS:
        raise ValueError(f"{what!r} is none of {', '.join(KINDS)}")
    return str(what)


def _champions(value: Mapping[str, Any]) -> dict[PostureCode, str | None]:
    found = {PostureCode[name.upper()]: _digest(champion) for name, champion in value["champions"].items()}
    if not found:
        raise ValueError("champions: of no posture")
    return found


def _digest(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and is_digest(value)):
        raise ValueError(f"{value!r} is no digest")
    return value


def _instant(value: Any) -> int:
    """ns since 1970; what is beyond 64 bits is no time."""
    found = int(value)
    if not -(1 << 63) <= found < 1 << 63:
        raise ValueError(f"{value!r} is no time")
    return found


def _word(posture: PostureCode) -> str:
    return posture.name.lower()


def _make(folder: Path) -> None:
    """Make a folder and those above it that are not there, so that they outlive a power cut."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _write(path: Path, raw: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def all_or(postures: Iterable[PostureCode]) -> tuple[PostureCode, ...]:
    """The postures given, each once; none: all of them."""
    return tuple(dict.fromkeys(postures)) or POSTURES
