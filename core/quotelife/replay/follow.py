"""An engine that follows what a journal says of configuration, model, overrides, kills and steps down."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import ArtifactError, QuotelifeError
from quotelife.inputs import Change
from quotelife.model.artifact import load_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.lineup import LineUp
from quotelife.records import NO_INDEX_VALUE

WATCHES = (Change.WATCHED, Change.WATCH_UPDATED, Change.WATCH_ACKNOWLEDGED, Change.WATCH_LOST)


def read_config(payload: Mapping[str, Any]) -> Config:
    """The configuration in an engine's ``config_payload()``; sections that are not the engine's are left out.

    Raises ``QuotelifeError`` when this build refuses it.
    """
    known = {info.alias or name for name, info in Config.model_fields.items()}
    fields = {key: value for key, value in payload["config"].items() if key in known}
    try:
        return Config.model_validate_json(json.dumps(fields))
    except ValueError as error:
        raise QuotelifeError(
            f"the recorded configuration {payload['digest'][:12]} is none of this build's: {error}; "
            f"use the version of quotelife that recorded it"
        ) from None


class Follower:
    """Makes engines as a journal's boots had them, with the models that lie beside the journal."""

    def __init__(self, artifacts: Path) -> None:
        self._artifacts = artifacts
        self._models: dict[str, CurveModel] = {}

    def model(self, digest: str) -> CurveModel:
        """The model of that digest. Raises ``QuotelifeError`` when the journal has no whole copy of it."""
        if digest not in self._models:
            folder = self._artifacts / digest
            if not digest or not folder.is_dir():
                raise QuotelifeError(
                    f"{self._artifacts}: no copy of the model {digest or 'without a digest'}; put its artifact there"
                )
            try:
                model = load_artifact(folder)
            except ArtifactError as error:
                raise QuotelifeError(str(error)) from None
            if model.digest != digest:
                raise QuotelifeError(f"{folder}: holds the model {model.digest}; restore the one of its name")
            self._models[digest] = model
        return self._models[digest]

    def _all(self, lineup: LineUp) -> dict[str, CurveModel]:
        return {digest: self.model(digest) for digest in sorted(lineup.digests())}

    def engine(self, payload: Mapping[str, Any], start_ns: int) -> Engine:
        """A fresh engine under the configuration and model of a ``config_payload()``, at its revisions."""
        lineup = LineUp.from_json(payload.get("lineup"))
        engine = Engine(
            read_config(payload),
            model=self.model(payload["model_digest"]),
            lineup=lineup,
            models=self._all(lineup),
            start_ns=start_ns,
        )
        engine.continue_revisions(payload["revision"], payload["model_revision"])
        return engine

    def apply(self, engine: Engine, kind: Change, payload: Mapping[str, Any], now_ns: int) -> None:
        """One recorded change, as the ordinary input it was. Raises ``QuotelifeError`` when it cannot be applied."""
        if kind is Change.CONFIG:
            config = read_config(payload)
            engine.apply_config(config, now_ns, model=self.model(payload["model_digest"]))
        elif kind is Change.MODEL:
            lineup = LineUp.from_json(payload.get("lineup"))
            engine.apply_lineup(lineup, self._all(lineup), now_ns, model=self.model(payload["digest"]))
        elif kind is Change.OVERRIDE_SET:
            set_override(engine, payload, now_ns)
        elif kind is Change.OVERRIDE_CLEARED:
            engine.clear_override(payload["id"], now_ns)
        elif kind is Change.KILLED:
            engine.kill(now_ns, **payload)
        elif kind is Change.ENABLED:
            engine.enable(now_ns, **payload)
        elif kind is Change.EVENTS_NAMED:
            engine.name_events(now_ns, payload["events"])
        elif kind is Change.STEPPED:
            engine.step(now_ns, **{**payload, "model": int(payload["model"], 16)})
        elif kind is Change.LEARNED:
            engine.apply_learned(payload, now_ns)
        elif kind is Change.OUTCOME:
            engine.outcome(now_ns, dict(payload))
        elif kind is Change.COUNTERPARTIES:
            engine.apply_counterparties(dict(payload), now_ns)
        elif kind in WATCHES:
            engine.apply_watch(kind, dict(payload), now_ns)
        else:
            raise QuotelifeError(f"a change of kind {kind.name} is not one of this build's engine")


def set_override(engine: Engine, payload: Mapping[str, Any], now_ns: int) -> None:
    """An override as it is recorded, names and all, under the id that it had."""
    counterparty, desk, instrument = payload["counterparty"], payload["desk"], payload["instrument"]
    engine.set_override(
        now_ns=now_ns,
        expires_ns=payload["expires_ns"],
        posture=payload["posture"],
        counterparty=_index(counterparty, engine.policy.counterparty_index),
        desk=_index(desk, engine.policy.desk_index),
        instrument=_index(instrument, lambda name: engine.instruments.by_name(name).index),
        override_id=payload["id"],
    )


def _index(name: str | None, find: Any) -> int:
    if name is None:
        return NO_INDEX_VALUE
    index: int | None = find(name)
    if index is None:
        raise QuotelifeError(f"an override names {name}, which the configuration then in force does not have")
    return index
