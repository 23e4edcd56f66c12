"""Decisions and their labels from any source of a replay, through the live engine.

Every feature is the engine's own: requests are put to it on a clock, both sides of every instrument, and a sink takes
down what it answers and how the reference moves. Labels are taken from that path afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from quotelife.config import Config
from quotelife.config.schema import InstrumentSettings, Model, Throttle
from quotelife.engine import Engine
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.learn.dataset import LONGEST_NS, REFERENCES, Decisions, Floats, ReferencePath, threshold_ticks
from quotelife.learn.labels import first_passage_ns, observed_ns
from quotelife.learn.recorder import Recorder
from quotelife.model.first_passage import FirstPassageModel
from quotelife.records import RequestRecord
from quotelife.replay.run import Replay, ReplayReport, Source
from quotelife.units import NS_PER_MS, NS_PER_S

CONFIGURED = "configured"
SIDES = (-1, 1)
THRESHOLDS = ("configured", "1tick", "0.3sigma", "1sigma", "3sigma")
STEPS_A_LOOK = 2048


@dataclass(frozen=True)
class CollectSettings:
    """What is asked and how it is labelled.

    ``thresholds`` as ``threshold_ticks`` reads them, or ``configured``: the h of the instrument's own configuration.
    ``reference``: mid, microprice, or ``configured``, which of ``auto`` makes the one that fits the median spread.
    """

    every_ns: int = 250 * NS_PER_MS
    latency_ns: int = 1 * NS_PER_MS
    thresholds: tuple[str, ...] = THRESHOLDS
    reference: str = CONFIGURED

    def __post_init__(self) -> None:
        if self.every_ns < NS_PER_MS:
            raise ValueError("every: must be 1ms or more; the rows would say the same")
        if not 0 <= self.latency_ns <= NS_PER_S:
            raise ValueError("latency: must be 0 to 1s, as the service's learning.latency")
        if self.reference not in (*REFERENCES, CONFIGURED):
            raise ValueError(
                f"reference: {self.reference!r} is none of {', '.join((*REFERENCES, CONFIGURED))}"
            )
        if not self.thresholds or len(set(self.thresholds)) != len(self.thresholds):
            raise ValueError("thresholds: name at least one, and each once")
        for spec in self.thresholds:
            if spec != CONFIGURED:
                threshold_ticks(spec, np.ones(1), np.ones(1))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "thresholds": list(self.thresholds)}


def asking_config(config: Config) -> Config:
    """The same market under nobody's limits: no counterparties, no throttles, the cheapest model."""
    tiers = {name: tier.model_copy(update={"throttle": None}) for name, tier in config.tiers.items()}
    return config.model_copy(
        update={"tiers": tiers, "counterparties": {}, "throttle": Throttle(), "model": Model()}
    )


def collect(
    config: Config,
    open_source: Callable[[InstrumentTable], Source],
    settings: CollectSettings,
    *,
    progress: Callable[[int, ReplayReport], None] = lambda span_ns, report: None,
) -> tuple[list[Decisions], ReplayReport]:
    """The labelled decisions of each instrument of the source, in its order, and the report of the replay.

    ``progress`` is told of the recorded time so far, in ns, every few thousand steps; what it raises ends the work.
    """
    engine = Engine(asking_config(config), model=FirstPassageModel())
    source = open_source(engine.instruments)
    recorder = Recorder(engine)
    engine.record_to(recorder)
    indices = [instrument.index for instrument in source.instruments]

    def ask(now_ns: int) -> Sequence[tuple[str, RequestRecord]]:
        return [("", RequestRecord(i, side, now_ns=now_ns)) for i in indices for side in SIDES]

    run = Replay(engine, source, ask_every_ns=settings.every_ns, ask=ask)
    steps = run.steps()
    first, taken = 0, 0
    try:
        for stamp in steps:
            first = first or stamp
            taken += 1
            if taken % STEPS_A_LOOK == 0:
                progress(stamp - first, run.report)
    finally:
        steps.close()
    found = [labelled(recorder, engine.config, each, settings) for each in source.instruments]
    return found, run.report


def labelled(
    recorder: Recorder, config: Config, instrument: Instrument, settings: CollectSettings
) -> Decisions:
    """What was taken down of one instrument, with its labels."""
    rows = recorder.rows(instrument.index)
    path = ReferencePath(*recorder.path(instrument.index))
    reference = chosen_reference(config.instruments[instrument.index], settings, rows["spread_ticks"])
    origin = rows["mid_ticks"] if reference == "mid" else rows["microprice_ticks"]
    now, side = rows["now_ns"], rows["side"]
    watched = observed_ns(path, now, latency_ns=settings.latency_ns, longest_ns=LONGEST_NS)
    h = [
        rows["h_ticks"] if spec == CONFIGURED else threshold_ticks(spec, rows["sigma_ticks"], origin)
        for spec in settings.thresholds
    ]
    passages = [
        first_passage_ns(
            path, reference, now, side, origin, each, latency_ns=settings.latency_ns, observed_ns=watched
        )
        for each in h
    ]
    return Decisions(
        instrument=instrument.name,
        group=instrument.name,
        tick_size=float(instrument.tick_size),
        reference=reference,
        latency_ns=settings.latency_ns,
        now_ns=now,
        side=side,
        x=rows["x"],
        sigma_ticks=rows["sigma_ticks"],
        reference_ticks=origin,
        mid_ticks=rows["mid_ticks"],
        spread_ticks=rows["spread_ticks"],
        regime=rows["regime"],
        observed_ns=watched,
        h_ticks=np.stack(h, axis=1),
        passage_ns=np.stack(passages, axis=1),
        path=path,
        thresholds=settings.thresholds,
    )


def chosen_reference(own: InstrumentSettings, settings: CollectSettings, spread_ticks: Floats) -> str:
    """``mid`` or ``microprice``: one for all labels of an instrument; ``auto`` goes by its median spread."""
    chosen = own.reference if settings.reference == CONFIGURED else settings.reference
    if chosen != "auto":
        return chosen
    tight = len(spread_ticks) > 0 and float(np.median(spread_ticks)) <= own.microprice_spread_ticks_max
    return "microprice" if tight else "mid"
