"""Configuration read again while running: whole or not at all, and without a restart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from watchfiles import awatch

from quotelife.engine import Engine
from quotelife.errors import ConfigError
from quotelife_server import convert
from quotelife_server.log import get_logger
from quotelife_server.settings import ServiceConfig

_log = get_logger(__name__)

RESTART_SECTIONS = ("server", "feeds")


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
    ) -> None:
        """``path`` is watched; ``load`` reads it and raises ``ConfigError``; ``config`` is what it gave at
        start."""
        self._path = path
        self._load = load
        self._started_with = config
        self._config = config
        self._engine = engine
        self._now_ns = now_ns
        self._lock = asyncio.Lock()
        self.problems: list[str] = []
        self.restart_required: list[str] = []
        self.applied = 0
        self.refused = 0

    async def reload(self) -> bool:
        """Returns whether anything changed. Raises ``ConfigError``; the old configuration then stays."""
        async with self._lock:
            try:
                config = await asyncio.to_thread(self._load)
                changed = config != self._config
                if changed:
                    self._engine.apply_config(config, self._now_ns())
            except ConfigError as error:
                self.problems = error.problems
                self.refused += 1
                _log.error("configuration refused, the old one stays", problems=error.problems)
                raise
            self.problems = []
            self.restart_required = self._waiting_for_restart(config)
            if changed:
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
        """Reload whenever a file of the configuration changes, until cancelled."""
        async for _ in self._changes():
            try:
                await self.reload()
            except ConfigError:
                continue  # logged, and shown by status

    async def _changes(self) -> AsyncIterator[object]:
        async for changes in awatch(self._path, recursive=False, debounce=200, step=50):
            yield changes

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
