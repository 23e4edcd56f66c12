"""The kill switch as the service holds it: turned on by RPC, by a file, by the throttle; kept over a restart.

The engine declines; this module turns it on and off and remembers. The kill file is looked at every ``LOOK_S``:
while it exists nobody can enable, and removing it enables nobody. What is in force is kept beside it, in
``<kill file>.state``, written and synced before an RPC is answered and read again at start. Whatever cannot be read or
understood kills everybody.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from quotelife.decision.kill import STRANGERS, KillSource, KillStatus
from quotelife.engine import Engine
from quotelife.units import NS_PER_S
from quotelife_server.alerts import KILL_NOT_KEPT, KILLED, Alerts
from quotelife_server.log import get_logger

_log = get_logger(__name__)

LOOK_S = 0.002
LOOK_WITHOUT_FILE_S = 0.05  # after what the engine turned on by itself: it declines already
LOOKS_MAX = 3
RETRY_NS = 1 * NS_PER_S
FILE_BYTES_MAX = 65_536
REASON_CHARACTERS_MAX = 128
NAMES_SHOWN_MAX = 5

Stamp = tuple[int, int, int]


class KillControl:
    """``file`` ``None``: no kill file, and kills end with the process unless a journal keeps them."""

    def __init__(self, engine: Engine, now_ns: Callable[[], int], alerts: Alerts, file: Path | None) -> None:
        self._engine = engine
        self._now_ns = now_ns
        self._alerts = alerts
        self.file = file
        self._state = None if file is None else file.with_name(file.name + ".state")
        self._lock = asyncio.Lock()
        self._kept_changes = 0
        self._shown_changes = 0
        self._retry_ns = 0
        self._before: Stamp | None = None
        self._read: Stamp | None = None
        self._unsettled = 0

    # --- turning on and off -----------------------------------------------------------------------------------

    def kill(self, counterparty: str | None, reason: str, source: KillSource) -> KillStatus:
        """In force when this returns; not yet kept."""
        kill = self._engine.kill(self._now_ns(), counterparty=counterparty, reason=reason, source=source)
        self._show()
        return kill

    def enable(self, counterparty: str | None, reason: str) -> bool:
        """False when there was no such kill; not yet kept. The caller has asked ``file_exists`` first."""
        was = self._engine.enable(self._now_ns(), counterparty=counterparty, reason=reason)
        self._show()
        return was

    def end_for_now(self, counterparty: str | None, reason: str) -> Callable[[], None]:
        """``enable``, and what takes it back as if it had never been: the kill has the time it had."""
        before = [kill for kill in self._engine.kills() if kill.counterparty == counterparty]
        self.enable(counterparty, reason)

        def take_back() -> None:
            for kill in before:
                self._again(kill)
            self._show()

        return take_back

    def _again(self, kill: KillStatus) -> None:
        self._engine.kill(
            self._now_ns(),
            counterparty=kill.counterparty,
            reason=kill.reason,
            source=kill.source,
            since_ns=kill.since_ns,
        )

    def file_exists(self) -> bool:
        return self.file is not None and self._stamp(self.file) is not None

    # --- the file ---------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Look at the file, keep what others have changed, until cancelled."""
        loop = asyncio.get_running_loop()
        every_s = LOOK_WITHOUT_FILE_S if self.file is None else LOOK_S
        failed: asyncio.Future[None] = loop.create_future()
        keeping: asyncio.Task[None] | None = None
        timer: asyncio.TimerHandle | None = None

        def look() -> None:  # so often that a coroutine which sleeps would be half of what it costs
            nonlocal keeping, timer
            try:
                self.look()
                due = (
                    self._state is not None
                    and self._engine.kill_changes != self._kept_changes
                    and self._now_ns() >= self._retry_ns
                )
                if due and (keeping is None or keeping.done()):
                    # In a task: a slow disk must not close our eyes.
                    keeping = asyncio.ensure_future(self._keep_or_alert())
            except BaseException as error:
                if not failed.done():
                    failed.set_exception(error)
                return
            timer = loop.call_later(every_s, look)

        look()
        try:
            await failed
        finally:
            if timer is not None:
                timer.cancel()
            if keeping is not None:
                keeping.cancel()

    async def _keep_or_alert(self) -> None:
        with suppress(OSError):  # alerted
            await self.keep()

    def look(self, *, at_once: bool = False) -> None:
        """Obey the file once it has stayed the same for one look (or ``at_once``): it may be being written. One
        that goes on changing is obeyed as it stands after ``LOOKS_MAX``."""
        if self._engine.kill_changes != self._shown_changes:
            self._show()
        if self.file is None:
            return
        now = self._stamp(self.file)
        self._unsettled = self._unsettled + 1 if now != self._read else 0
        if now != self._read and (now == self._before or at_once or self._unsettled >= LOOKS_MAX):
            self._read = now
            self._unsettled = 0
            if now is not None:
                self._obey(self.file)
        self._before = now

    def _stamp(self, file: Path) -> Stamp | None:
        """Tells one content from another; ``None``: no such file. One that cannot be looked at has a stamp too."""
        try:
            status = os.stat(file)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return (-1, error.errno or 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _obey(self, file: Path) -> None:
        known = set(self._engine.policy.counterparty_names) | {STRANGERS}
        try:
            with file.open("rb") as stream:
                raw = stream.read(FILE_BYTES_MAX + 1)
            if len(raw) > FILE_BYTES_MAX:
                raise ValueError(f"longer than {FILE_BYTES_MAX} bytes")
            wanted: list[tuple[str | None, str]] = list(orders(raw.decode()))
        except (OSError, ValueError) as error:
            wanted = [(None, f"the kill file cannot be read: {_words(error)}")]
        strange = [name for name, _ in wanted if name is not None and name not in known]
        if strange:  # a slip of the pen must not leave anybody quoted
            wanted = [(None, f"the kill file names {strange[0]!r}, which is not configured")]
        for name, reason in wanted:
            _log.warning("kill file", counterparty=name, reason=reason)
            self.kill(name, _reason(reason), KillSource.FILE)

    # --- what is kept -----------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Turn on again what was in force when the service ended, and obey the file; at start."""
        if self._state is not None:
            try:
                raw = self._state.read_bytes()
            except FileNotFoundError:
                raw = b""
            except OSError as error:
                raw = b"?"
                _log.error("kill state", file=str(self._state), error=str(error))
            try:
                kills = from_json(raw) if raw else []
            except (ValueError, KeyError, TypeError):
                reason = f"{self._state.name} cannot be read"
                kills = [KillStatus(None, reason, KillSource.FILE, self._now_ns())]
            for kill in kills:
                self._again(kill)
            if not os.access(self._state.parent, os.W_OK):
                self._not_kept(f"{self._state.parent} cannot be written")
        self.look(at_once=True)

    async def keep(self) -> None:
        """Returns when what is in force now will survive the process. Raises ``OSError``; alerted then."""
        if self._state is None:
            return
        async with self._lock:
            changes = self._engine.kill_changes
            if changes == self._kept_changes:
                return
            self._kept_changes = changes
            try:
                await asyncio.to_thread(write_synced, self._state, to_json(self._engine.kills()))
            except OSError as error:
                self._kept_changes = -1
                self._retry_ns = self._now_ns() + RETRY_NS
                self._not_kept(f"{self._state.name} cannot be written: {_words(error)}")
                raise
            self._alerts.clear(KILL_NOT_KEPT, self._now_ns())

    def _not_kept(self, why: str) -> None:
        text = f"{why}; until it can, a restart forgets kills and brings ended ones back"
        self._alerts.raise_(KILL_NOT_KEPT, text, self._now_ns())

    def _show(self) -> None:
        self._shown_changes = self._engine.kill_changes
        kills = self._engine.kills()
        if not kills:
            self._alerts.clear(KILLED, self._now_ns())
            return
        names = ["everybody" if kill.counterparty is None else kill.counterparty for kill in kills]
        more = f" and {len(names) - NAMES_SHOWN_MAX} more" if len(names) > NAMES_SHOWN_MAX else ""
        text = f"{', '.join(names[:NAMES_SHOWN_MAX])}{more}: {kills[0].reason}"
        self._alerts.raise_(KILLED, text, self._now_ns())


def orders(text: str) -> Iterator[tuple[str | None, str]]:
    """What a kill file asks for: (counterparty, reason) a line, ``None`` for everybody where no line names one.

    A ``#`` starts a reason; one on a line of its own is the reason of all lines that have none.
    """
    lines = [line.partition("#") for line in text.splitlines()]
    named = [(name.strip(), reason.strip()) for name, _, reason in lines if name.strip()]
    common = next((reason.strip() for name, _, reason in lines if not name.strip() and reason.strip()), "")
    common = common or "kill file"
    if not named:
        yield None, common
    for name, reason in named:
        yield name, reason or common


def to_json(kills: list[KillStatus]) -> bytes:
    rows = [
        {"counterparty": kill.counterparty, "reason": kill.reason, "source": int(kill.source),
         "since_ns": kill.since_ns}
        for kill in kills
    ]  # fmt: skip
    return json.dumps({"version": 1, "kills": rows}, indent=1).encode() + b"\n"


def from_json(raw: bytes) -> list[KillStatus]:
    """Raises ``ValueError``, ``KeyError`` or ``TypeError`` on anything that ``to_json`` does not write."""
    content = json.loads(raw)
    if content["version"] != 1:
        raise ValueError("unknown version")
    kills = []
    for row in content["kills"]:
        counterparty, reason, since_ns = row["counterparty"], row["reason"], row["since_ns"]
        if not (isinstance(counterparty, str | None) and isinstance(reason, str) and type(since_ns) is int):
            raise TypeError("wrong type")
        kills.append(KillStatus(counterparty, reason, KillSource(row["source"]), since_ns))
    return kills


def write_synced(file: Path, content: bytes) -> None:
    """Replace a file whole: after a crash or a power cut it holds the old content or the new."""
    fresh = file.with_name(file.name + ".new")
    with fresh.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _reason(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:REASON_CHARACTERS_MAX]


def _words(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
