"""A working day in little: a market, decisions and everything that changes in between, journaled and captured."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quotelife.capture.segments import SegmentFiles
from quotelife.capture.writer import CaptureWriter
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.journal.recovery import recover
from quotelife.journal.storage import DirectoryStorage
from quotelife.journal.writer import JournalWriter
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.lineup import LineUp, Serving
from quotelife.records import (
    NO_INDEX_VALUE,
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    PostureCode,
    RequestRecord,
    RuleCode,
    SignalCode,
)
from quotelife.replay.follow import read_config
from quotelife.units import NS_PER_MS, NS_PER_S

TICK_NS = 100 * NS_PER_MS


@dataclass
class Figures:
    """What a session did; tests assert that none of it was left out."""

    decisions: int = 0
    events: int = 0
    changes: int = 0
    signals: int = 0
    timers: int = 0
    kinds: set[DecisionCode] = field(default_factory=set)
    rules: set[RuleCode] = field(default_factory=set)
    postures: set[PostureCode] = field(default_factory=set)


def variants(base: Config) -> list[Config]:
    """Configurations to change between: thresholds, tolerances, names and the model."""
    out = [base]
    changes: list[Callable[[dict[str, Any]], None]] = [
        lambda c: c["instruments"][0].__setitem__("adverse_ticks", 3),
        lambda c: c["postures"]["client_priority"].__setitem__("tolerance", 0.11),
        lambda c: c["desks"].__setitem__("aardvark", {}),  # renumbers every desk
        lambda c: c["counterparties"].__setitem__("aaa", {"tier": next(iter(c["tiers"]))}),
        lambda c: c["model"].__setitem__(
            "artifact", "logistic" if c["model"]["artifact"] != "logistic" else "first_passage"
        ),
    ]
    for change in changes:
        fields = json.loads(base.model_dump_json(by_alias=True))
        change(fields)
        out.append(read_config({"config": fields, "digest": ""}))
    return out


class Session:
    """One boot of a journaled, captured engine. ``work`` feeds it; nothing depends on anything but ``seed``."""

    def __init__(
        self, journal: Path, capture: Path, config: Config, *, start_ns: int, boot_id: str = "boot1", seed: int = 1,
        segment_bytes: int = 64 << 20, block_bytes: int = 256 * 1024, blocks: int = 64,
        buffer_bytes: int = 16 << 20,
    ) -> None:  # fmt: skip
        self.rng = random.Random(seed)
        self.figures = Figures()
        self.variants = variants(config)
        self.models = [load_artifact(builtin_artifact(name)) for name in ("first_passage", "logistic")]
        self.engine = Engine(config, start_ns=start_ns)
        self.storage = DirectoryStorage(str(journal))
        recovered = recover(self.storage, start_ns)
        self.journal = JournalWriter(
            self.storage, boot_id=boot_id, segment_bytes=segment_bytes, buffer_bytes=buffer_bytes,
            next_number=recovered.next_number, segment=recovered.segment,
        )  # fmt: skip
        self.capture = CaptureWriter(
            SegmentFiles(capture, segment_bytes=segment_bytes),
            boot_id=boot_id,
            block_bytes=block_bytes,
            blocks=blocks,
        )
        self.capture.begin(self.engine.config_payload(), start_ns=start_ns)
        self.journal.begin(self.engine, start_ns, recovered.state)
        self.engine.record_to(self.journal, self.capture)
        recovered.state.restore(self.engine, start_ns)
        self._overrides: list[int] = []
        self._answer = DecisionRecord()
        self._next_tick_ns = 0

    def work(self, batches: Iterable[EventBuffer], decisions: int, per_batch: float) -> None:
        """Feed all batches, ``per_batch`` decisions after each on average, until there are enough."""
        due = 0.0
        for number, buffer in enumerate(batches):
            self.engine.on_events(buffer)
            self.figures.events += len(buffer)
            now_ns = self.engine.now_ns
            if now_ns >= self._next_tick_ns:
                self._next_tick_ns = now_ns + TICK_NS
                self.tick(now_ns)
            due += per_batch
            while due >= 1 and self.figures.decisions < decisions:
                due -= 1
                self.decide(now_ns + self.rng.randrange(NS_PER_MS))
            if number % 40 == 39:
                self.flush()
            if self.figures.decisions >= decisions:
                break
        self.flush()

    def flush(self) -> None:
        self.journal.commit()
        self.capture.tick(self.engine.now_ns)
        assert self.capture.write_pending()

    def close(self) -> None:
        self.journal.commit()
        self.journal.close()
        self.storage.close()
        assert self.capture.close()

    def tick(self, now_ns: int) -> None:
        """A timer, and now and then something that changes."""
        self.engine.on_timer(now_ns)
        self.figures.timers += 1
        self.figures.changes += self.engine.note_learned(now_ns) > 0
        chance = self.rng.random()
        if chance < 0.25:
            self._signal(now_ns)
        elif chance < 0.32:
            self._override(now_ns)
        elif chance < 0.36:
            self.engine.apply_config(self.rng.choice(self.variants), now_ns)
            self._count_change()
        elif chance < 0.38:
            self.engine.apply_model(self.rng.choice(self.models), now_ns)
            self._count_change()
        elif chance < 0.42:
            self._line_up(now_ns)

    def _count_change(self) -> None:
        self.figures.changes += 1

    def _place(self, count: int) -> int:
        return NO_INDEX_VALUE if self.rng.random() < 0.5 or not count else self.rng.randrange(count)

    def _signal(self, now_ns: int) -> None:
        rng, engine = self.rng, self.engine
        kind = rng.choice([SignalCode.NEWS, SignalCode.INVENTORY, SignalCode.VOLATILITY_INDEX])
        indices = engine.config.signals.volatility_indices
        if kind is SignalCode.VOLATILITY_INDEX and not indices:
            kind = SignalCode.NEWS
        engine.on_signal(
            kind,
            receive_ns=now_ns,
            source_ns=now_ns - rng.randrange(NS_PER_S),
            value=rng.uniform(-1, 1) if kind is not SignalCode.VOLATILITY_INDEX else rng.uniform(10, 90),
            value2=5.0 if kind is SignalCode.INVENTORY else 0.0,
            instrument=self._place(len(engine.instruments)),
            desk=self._place(len(engine.policy.desk_names))
            if kind is SignalCode.INVENTORY
            else NO_INDEX_VALUE,
            source=rng.randrange(len(indices)) if kind is SignalCode.VOLATILITY_INDEX else 0,
            ttl_ns=rng.choice([0, 5 * NS_PER_S]),
        )
        self.figures.signals += 1

    def _line_up(self, now_ns: int) -> None:
        first, second = (model.digest for model in self.models)
        servings = [
            Serving(),
            Serving(champion=second, shadows=(first,)),
            Serving(challenger=second, canary_bp=5000, shadows=(second,)),
        ]
        lineup = LineUp(*(self.rng.choice(servings) for _ in range(3)))
        self.engine.apply_lineup(lineup, {model.digest: model for model in self.models}, now_ns)
        self._count_change()

    def _override(self, now_ns: int) -> None:
        rng, engine = self.rng, self.engine
        alive = [each.override_id for each in engine.overrides(now_ns)]
        if alive and rng.random() < 0.4:
            engine.clear_override(rng.choice(alive), now_ns)
        else:
            engine.set_override(
                now_ns=now_ns,
                expires_ns=now_ns + rng.randrange(NS_PER_S, 20 * NS_PER_S),
                posture=rng.randint(1, 3),
                counterparty=self._place(len(engine.policy.counterparty_names)),
                instrument=self._place(len(engine.instruments)),
                desk=self._place(len(engine.policy.desk_names)),
            )
        self._count_change()

    def decide(self, now_ns: int) -> None:
        rng, engine = self.rng, self.engine
        priced_ns = now_ns - rng.randrange(300 * NS_PER_MS) if rng.random() < 0.5 else None
        request = RequestRecord(
            rng.randrange(len(engine.instruments)),
            rng.choice((1, -1)),
            now_ns=now_ns,
            counterparty=self._place(len(engine.policy.counterparty_names)),
            desk=self._place(len(engine.policy.desk_names)),
            size_lots=rng.choice([None, 10.0, 5000.0]),
            edge_ticks=rng.choice([None, 0.5, 2.0, 8.0]),
            priced_at_ns=priced_ns,
            client_deadline_ns=now_ns + 400 * NS_PER_MS if rng.random() < 0.2 else None,
            posture=rng.choice([0, 0, 0, 1, 2, 3]),
        )
        engine.decide(request, self._answer)
        figures = self.figures
        figures.decisions += 1
        figures.kinds.add(DecisionCode(self._answer.kind))
        figures.rules.add(RuleCode(self._answer.rule))
        figures.postures.add(PostureCode(self._answer.posture_effective))
