"""Loading, promoting and rolling back models of a running service.

Everything slow is done on a thread: reading an artifact, its self-test (which walks every parameter and so warms it),
writing the state. What is left for the loop is one swap of pointers, an input like any other, so that no call waits and
none fails. The state is on the disk before the swap: what was acknowledged survives a restart, and a crash between the
two comes back with the new line-up. One change at a time; each begins from what the one before it left.

``Models.state`` is what is wanted, and all that is ever written. A model that could not be loaded is missing from what
serves, not from what is wanted: it serves again after a restart, or once it is loaded, if it is whole by then.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from quotelife.config import Config
from quotelife.engine import Engine, configured_model
from quotelife.errors import ArtifactError, ConfigError, QuotelifeError
from quotelife.model.curve import CurveModel
from quotelife.model.lineup import LineUp
from quotelife.model.promotion import Quotes, canary_grounds, grounds_for
from quotelife.model.registry import Failure, Registry, RegistryState, Stored
from quotelife.records import ModelRoleCode, PostureCode
from quotelife_server.alerts import MODEL_FAILED, Alerts
from quotelife_server.log import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Expected:
    """What whoever asks for a change takes to be the case; ``None`` and empty: anything."""

    revision: int | None = None
    champion: str = ""


ANYTHING = Expected()


class Models:
    """What serves by the registry's word. ``engine``: one that is there already, where there is no folder; otherwise
    ``open`` makes it."""

    def __init__(
        self,
        folder: str | None,
        now_ns: Callable[[], int],
        alerts: Alerts,
        engine: Engine | None = None,
    ) -> None:
        self.registry = None if folder is None else Registry(folder)
        self.state = RegistryState()
        self._now_ns = now_ns
        self._alerts = alerts
        self._loaded: dict[str, CurveModel] = {}
        self._broken: set[str] = set()
        self._engine = engine
        self._one_at_a_time = asyncio.Lock()

    def open(self, config: Config, start_ns: int) -> Engine:
        """The engine with what served before the restart.

        A model that cannot be loaded is left out, its failure kept and an alert raised: the champion before it serves.
        Raises ``ConfigError`` when the folder is in use by another service or its state cannot be read,
        ``ArtifactError`` when the configuration's own model does not load.
        """
        if self.registry is not None:
            try:
                self.registry.lock()
                self.state = self.registry.read()
            except QuotelifeError as error:
                self.close()
                raise ConfigError([f"server: models: directory: {error}"]) from None
            self._load_all(self.registry)
        model = configured_model(config)
        self._engine = Engine(
            config,
            model=model,
            lineup=self._effective(self.state),
            models=self._loaded,
            start_ns=start_ns,
        )
        if self.registry is not None and model.digest != self.state.configured:
            self.state = self.state.with_configured(model.digest, self._now_ns())
            try:
                self.registry.write(self.state)
            except QuotelifeError as error:
                _log.error(
                    "the configuration's model could not be written into the history", error=str(error)
                )
        self._tell()
        return self._engine

    def _load_all(self, registry: Registry) -> None:
        while missing := self._effective(self.state).digests() - set(self._loaded):
            digest = min(missing)
            try:
                self._loaded[digest] = registry.load(digest)
            except ArtifactError as error:
                self._broken.add(digest)
                _log.error("model not loaded, the one before it serves", digest=digest, error=str(error))
                self.state = self.state.failed(self._failure(digest, error))

    def _effective(self, state: RegistryState, broken: Collection[str] | None = None) -> LineUp:
        return state.without(self._broken if broken is None else broken).lineup

    def close(self) -> None:
        if self.registry is not None:
            self.registry.unlock()

    # --- changes, each by itself --------------------------------------------------------------------------------

    async def load(self, digest: str, postures: Collection[PostureCode]) -> CurveModel:
        """Load a model of the store as a shadow. Raises ``ArtifactError``, ``QuotelifeError``: all stays as it is."""
        return await self._with_model(digest, lambda state: state.loaded(digest, postures))

    async def promote(
        self,
        digest: str,
        postures: Collection[PostureCode],
        verdict: bytes = b"",
        reason: str = "",
        expected: Expected = ANYTHING,
    ) -> CurveModel:
        """Make a model of the store the champion, loading it where it is not: by the gates' ``verdict`` on it and on
        what it replaces, or for a ``reason``. Raises as ``load``.
        """

        def change(state: RegistryState) -> RegistryState:
            serves, now_ns = self._champions(postures), self._now_ns()
            state.expected(postures, expected.revision, expected.champion, serves)
            grounds = grounds_for(digest, serves, self._quotes(), verdict, reason, now_ns=now_ns)
            return state.promoted(digest, postures, now_ns, grounds)

        return await self._with_model(digest, change, verdict)

    async def canary(
        self,
        digest: str,
        postures: Collection[PostureCode],
        share_bp: int,
        verdict: bytes = b"",
        reason: str = "",
    ) -> CurveModel:
        """Let a model of the store answer a share of counterparties; many only on grounds as in ``promote``. Raises as
        ``load``."""

        def change(state: RegistryState) -> RegistryState:
            serves, now_ns = self._champions(postures), self._now_ns()
            grounds = canary_grounds(digest, share_bp, serves, self._quotes(), verdict, reason, now_ns=now_ns)
            return state.canaried(digest, postures, share_bp, now_ns, grounds)

        return await self._with_model(digest, change, verdict)

    async def unload(self, digest: str, postures: Collection[PostureCode]) -> None:
        """End its service as a shadow or challenger. Raises ``QuotelifeError``."""
        async with self._one_at_a_time:
            await self._become(self.state.unloaded(digest, postures, self._now_ns()))

    async def rollback(self, postures: Collection[PostureCode], expected: Expected = ANYTHING) -> CurveModel:
        """Undo the last promotion; the model that is the champion again. Raises as ``load``."""
        async with self._one_at_a_time:
            before = self.state
            after = before.rolled_back(self._now_ns(), postures, self._broken)
            changed = list(after.log[-1].champions)
            before.expected(changed, expected.revision, expected.champion, self._champions(changed))
            await self._become(after)
            return self._champion(changed[0])

    async def clear(self, digest: str | None) -> int:
        """Forget the failure of one model or of all; how many there were. Raises ``QuotelifeError``."""
        async with self._one_at_a_time:
            after = self.state.cleared(digest)
            count = len(self.state.failures) - len(after.failures)
            if count:
                await asyncio.to_thread(self._registry().write, after)
                self.state = after
                self._tell()
            return count

    async def configured(self, digest: str) -> None:
        """A reload has put this model in where none was promoted: a line of the log. A disk that refuses it does not
        undo the reload."""
        if self.registry is None:
            return
        async with self._one_at_a_time:
            after = self.state.with_configured(digest, self._now_ns())
            try:
                await asyncio.to_thread(self.registry.write, after)
            except QuotelifeError as error:
                _log.error("the model of a reload could not be written into the history", error=str(error))
            self.state = after

    async def stored(self) -> list[Stored]:
        """What the store holds, by its manifests."""
        return [] if self.registry is None else await asyncio.to_thread(self.registry.stored)

    async def _with_model(
        self, digest: str, change: Callable[[RegistryState], RegistryState], verdict: bytes = b""
    ) -> CurveModel:
        async with self._one_at_a_time:
            change(self.state)  # what cannot be is refused before anything is loaded
            model = self._loaded.get(digest) or await self._load(digest)
            await self._become(change(self.state), verdict, self._broken - {digest})
            return model

    def _quotes(self) -> Quotes:
        return Quotes.of(self._serving_engine().config)

    async def _load(self, digest: str) -> CurveModel:
        """Off the loop. A failure is kept until it is cleared, or the model loads."""
        registry = self._registry()
        try:
            model = await asyncio.to_thread(registry.load, digest)
        except ArtifactError as error:
            failure = self._failure(digest, error)
            failed = self.state.failed(failure)
            self.state = failed
            self._tell()
            try:
                await asyncio.to_thread(registry.write, failed)
            except QuotelifeError as refusal:
                _log.error("a failed load could not be written down", error=str(refusal))
            raise ArtifactError(failure.reason) from None
        self._loaded[digest] = model
        return model

    def _failure(self, digest: str, error: ArtifactError) -> Failure:
        """Told to whoever asks: where on this machine the folder lies is nobody's business."""
        return Failure(digest, self._registry().without_folder(str(error)), self._now_ns())

    async def _become(
        self, after: RegistryState, verdict: bytes = b"", broken: set[str] | None = None
    ) -> None:
        """Load what is not, write the state, swap: nothing has changed where one of the first two raises.

        ``broken``: the models that cannot be served since, where one of them has just been loaded.
        """
        engine, registry = self._serving_engine(), self._registry()
        broken = self._broken if broken is None else broken
        because = after.log[-1].because() if after.log is not self.state.log else None
        for digest in sorted(self._effective(after, broken).digests() - set(self._loaded)):
            await self._load(digest)
            after = after.cleared(digest)
        if verdict:
            await asyncio.to_thread(registry.keep, verdict)
        await asyncio.to_thread(registry.write, after)
        self.state, self._broken = after, broken
        lineup = self._effective(after)
        if lineup != engine.served.lineup:
            revision = engine.apply_lineup(lineup, self._loaded, self._now_ns(), because=because)
            _log.warning("models swapped", revision=revision, lineup=lineup.to_json(), because=because)
        # Kept ready beside what serves: the champions that the next rollback brings back.
        former = {digest for act in after.history[-1:] for digest in act.champions.values() if digest}
        kept = lineup.digests() | former
        self._loaded = {digest: model for digest, model in self._loaded.items() if digest in kept}
        self._tell()

    def _tell(self) -> None:
        failures = self.state.failures
        if not failures:
            self._alerts.clear(MODEL_FAILED, self._now_ns())
            return
        last = failures[-1]
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        text = (
            f"{last.digest[:16]} was not loaded: {last.reason}{more}; mend it and load it again, or clear it"
        )
        self._alerts.raise_(MODEL_FAILED, text, self._now_ns())

    def _registry(self) -> Registry:
        if self.registry is None:
            raise QuotelifeError(
                "this service has no folder of models; set server.models.directory and restart it"
            )
        return self.registry

    def _serving_engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    # --- views --------------------------------------------------------------------------------------------------

    def told(self, error: QuotelifeError) -> str:
        """What may be said of ``error`` to somebody who asked from elsewhere."""
        return str(error) if self.registry is None else self.registry.without_folder(str(error))

    def promoted_over(self) -> list[PostureCode]:
        """Postures that a promotion serves, whatever model the configuration names."""
        return [
            posture
            for posture, serving in self._effective(self.state).items()
            if serving.champion is not None
        ]

    def _champion(self, posture: PostureCode) -> CurveModel:
        return self._serving_engine().served.model_of(int(posture), ModelRoleCode.CHAMPION)

    def _champions(self, postures: Collection[PostureCode]) -> dict[PostureCode, str]:
        return {posture: self._champion(posture).digest for posture in postures}
