"""Configuration read again while running: whole or not at all, and without a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from quotelife.engine import Engine, configured_model
from quotelife.errors import ArtifactError, ConfigError
from quotelife.records import PostureCode
from quotelife_server import convert
from quotelife_server.log import get_logger
from quotelife_server.settings import ServiceConfig

_log = get_logger(__name__)

RESTART_SECTIONS = ("server", "feeds")
LOOK_INTERVAL_S = 0.25
Fingerprint = tuple[tuple[str, int, int, int], ...]


class Reloader:
    """Loads, checks and applies; one reload at a time. A refused configuration leaves the old one in
    force."""

    def __init__(
        self,
        path: Path,
        load: Callable[[], ServiceConfig],
        config: ServiceConfig,
        engine: Engine,
        now_ns: Callable[[], int],
        promoted: Callable[[], list[PostureCode]] = list,
        swapped: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """``path`` is watched; ``load`` reads it and raises ``ConfigError``; ``config`` is what it gave at
        start. ``promoted``: postures that a promoted model serves, whatever the configuration names; ``swapped`` is
        awaited with the digest of the model that a reload has put in for the others."""
        self._path = path
        self._load = load
        self._started_with = config
        self._config = config
        self._engine = engine
        self._now_ns = now_ns
        self._promoted = promoted
        self._swapped = swapped
        self._missing: Path | None = None
        self._lock = asyncio.Lock()
        self.problems: list[str] = []
        self.restart_required: list[str] = []
        self.applied = 0
        self.refused = 0

    async def reload(self) -> bool:
        """Returns whether anything changed. Raises ``ConfigError``; the old configuration then stays, as it does
        with any other error."""
        async with self._lock:
            try:
                config = await asyncio.to_thread(self._load)
                changed = config != self._config
                model = None
                if config.model != self._config.model:  # read, hashed and tested while the loop answers
                    model = await asyncio.to_thread(configured_model, config)
                if changed:
                    self._engine.apply_config(config, self._now_ns(), model=model)
            except ConfigError as error:
                self._refuse(error.problems)
                raise
            except ArtifactError as error:
                self._missing = Path(config.model.artifact)
                where, *why = str(error).split(
                    ": ", 1
                )  # the folder is for the log; others get its file's name
                _log.error("the model of the configuration was not loaded", error=str(error))
                problems = [": ".join(("model.artifact", Path(where).name, *why))]
                self._refuse(problems)
                raise ConfigError(problems) from error
            except Exception as error:
                self._refuse(["the configuration could not be read or applied; the log says why"], error)
                raise
            self.problems = []
            self._missing = None
            self.restart_required = self._waiting_for_restart(config)
            if changed:
                if config.model != self._config.model and (promoted := self._promoted()):
                    _log.warning(
                        "model.artifact has changed, but promoted models go on serving: roll them back for it to serve",
                        postures=[posture.name.lower() for posture in promoted],
                    )
                if model is not None:
                    _log.warning(
                        "models swapped by the configuration, no gate was asked", digest=model.digest
                    )
                    if self._swapped is not None:
                        await self._swapped(model.digest)
                self._config = config
                self.applied += 1
                _log.info(
                    "configuration applied",
                    revision=self._engine.config_revision,
                    restart_required=self.restart_required,
                )
            return changed

    async def answer(self) -> bytes:
        """``reload`` as a reply of AdminService."""
        try:
            changed = await self.reload()
        except ConfigError as error:
            raise convert.reload_refused(error.problems) from None
        return convert.reload_reply(self._engine.config_revision, changed, self.restart_required)

    async def watch(self) -> None:
        """Reload whenever the files differ from when they were last read, until cancelled; those of the model's
        artifact too, where that is what the last reload was refused for.

        The files are looked at, not subscribed to: a folder may be replaced, taken away and brought back, lie
        on a network or behind a link. They are read once they have stayed the same for one look.
        """
        read: Fingerprint | None = None
        before: Fingerprint | None = None
        while True:
            now = await asyncio.to_thread(self._files)
            if now == before and now != read:
                read = now
                with suppress(Exception):  # logged, and shown by status
                    await self.reload()
            before = now
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _files(self) -> Fingerprint:
        return fingerprint(self._path) + (() if self._missing is None else fingerprint(self._missing))

    def _refuse(self, problems: list[str], error: Exception | None = None) -> None:
        self.problems = problems
        self.refused += 1
        _log.error("configuration refused, the old one stays", problems=problems, exc_info=error)

    def _waiting_for_restart(self, config: ServiceConfig) -> list[str]:
        """Keys under ``server`` and ``feeds`` that differ from what the service started with."""
        waiting = []
        for section in RESTART_SECTIONS:
            old, new = getattr(self._started_with, section, None), getattr(config, section, None)
            if old == new:
                continue
            fields = getattr(type(new), "model_fields", None)
            if fields is None:
                waiting.append(section)
                continue
            for name, info in fields.items():
                if getattr(old, name) != getattr(new, name):
                    waiting.append(f"{section}.{info.alias or name}")
        return waiting


def fingerprint(path: Path) -> Fingerprint:
    """Name, time of change, size and inode of every file of a configuration; of none that cannot be looked at."""
    found = []
    try:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            status = file.stat()
            found.append((file.name, status.st_mtime_ns, status.st_size, status.st_ino))
    except OSError:  # being replaced
        return ()
    return tuple(found)
