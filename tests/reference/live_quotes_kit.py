"""Two instruments whose books stand still or step as a test says, one engine, and quotes that are watched."""

from pathlib import Path
from typing import Any

import numpy as np

from quotelife.config import Config, load_config
from quotelife.engine import Engine
from quotelife.inputs import DerivedTap
from quotelife.records import (
    WATCH_DTYPE,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    RequestRecord,
    SideCode,
    WatchCode,
    WithdrawCode,
)

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S

TEXT = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: BTC, venue: test, symbol: BTC, tick_size: 0.1, lot_size: 0.001, warmup: 1s, adverse_ticks: 8}
  - {name: ETH, venue: test, symbol: ETH, tick_size: 0.01, lot_size: 0.001, warmup: 1s, adverse_ticks: 8}
tiers:
  strategic: {posture: client_priority}
counterparties:
  alpha: {tier: strategic}
  beta: {tier: strategic}
venue_sessions:
  slow: {actuation: relative, cancels_per_s: 10, cancels_burst: 2}
  coarse: {actuation: withdraw, life_max: 1min}
desks:
  main: {}
"""


class Market:
    """Two instruments whose books stand still, or step, as a test says; what the engine says is kept."""

    def __init__(self, config: Config) -> None:
        self.engine = Engine(config, start_ns=T0)
        self.tap = DerivedTap()
        self.engine.record_to(self.tap)
        self.buffer = EventBuffer(256)
        self.t = T0 + 1
        self.mid = {0: 1001, 1: 2001}
        for instrument in self.mid:
            self.book(instrument)
        for k in range(400):
            self.t += 50 * MS
            for instrument in self.mid:
                self.move(instrument, (1, -1)[k % 2])

    def book(self, instrument: int) -> None:
        mid = self.mid[instrument]
        self.buffer.append(EventKindCode.SNAPSHOT_BEGIN, instrument=instrument, receive_ns=self.t)
        for k in range(30):
            for side, price in ((SideCode.BID, mid - 1 - k), (SideCode.ASK, mid + 1 + k)):
                self.buffer.append(EventKindCode.LEVEL, instrument=instrument, side=side, receive_ns=self.t,
                                   flags=EventFlags.SNAPSHOT, price_ticks=price, size_lots=100)  # fmt: skip
        self.buffer.append(EventKindCode.SNAPSHOT_END, instrument=instrument, receive_ns=self.t,
                           flags=EventFlags.LAST, sequence=1)  # fmt: skip
        self.flush()

    def flush(self) -> None:
        self.engine.on_events(self.buffer)
        self.buffer.clear()

    def move(self, instrument: int, ticks: int) -> None:
        """The whole spread moves so far in one message, at the time that it is."""
        before, after = self.mid[instrument], self.mid[instrument] + ticks
        changes = [(SideCode.ASK, price, 0) for price in range(before + 1, after + 1)]
        changes += [(SideCode.BID, price, 0) for price in range(after, before)]
        changes += [(SideCode.BID, after - 1 - k, 100) for k in range(abs(ticks))]
        changes += [(SideCode.ASK, after + 1 + k, 100) for k in range(abs(ticks))]
        changes.append((SideCode.BID, after - 1, 100))
        for k, (side, price, lots) in enumerate(changes):
            last = EventFlags.LAST if k == len(changes) - 1 else 0
            self.buffer.append(EventKindCode.LEVEL, instrument=instrument, side=side, receive_ns=self.t,
                               flags=last, sequence=2, price_ticks=price, size_lots=lots)  # fmt: skip
        self.mid[instrument] = after
        self.flush()

    def status(self, instrument: int, code: int) -> None:
        self.buffer.append(EventKindCode.STATUS, instrument=instrument, receive_ns=self.t, aux=code,
                           flags=EventFlags.LAST)  # fmt: skip
        self.flush()

    def decide(
        self, instrument: int = 0, side: int = 1, **options: Any
    ) -> tuple[RequestRecord, DecisionRecord]:
        request = RequestRecord(instrument, side, now_ns=self.t, **{"counterparty": 0, **options})
        decision = DecisionRecord()
        self.engine.decide(request, decision)
        return request, decision

    def watch(self, name: str = "q1", *, owner: str = "oms", sides: Any = ((0, 1),), **options: Any) -> int:
        made = [self.decide(instrument, side, **options) for instrument, side in sides]
        return self.engine.watch(
            self.t, owner=owner, name=name, requests=[r for r, _ in made], decisions=[d for _, d in made]
        )

    def said(self) -> list[tuple[str, int, str]]:
        """(kind, quote, reason) of what was said since the last call."""
        return [
            (WatchCode(w["kind"]).name, int(w["quote"]), WithdrawCode(w["reason"]).name)
            for w in self.records()
        ]

    def records(self) -> list[np.void]:
        return [np.frombuffer(each, WATCH_DTYPE)[0] for each in self.tap.watches()]


def config_of(tmp_path: Path, text: str = "") -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT + text, encoding="utf-8")
    return load_config(path)
