"""A day of quiet symbols on a line with heartbeats: none is a fault, and a muted stream is."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from quotelife.book.quality import QualityCause
from quotelife.config import Config, load_config
from quotelife.engine import Engine
from quotelife.records import EventBuffer, EventFlags, EventKindCode, QualityCode, SideCode, StatusKind

S = 1_000_000_000
MS = 1_000_000
T0 = 1_700_000_000 * S
HOUR = 3600 * S
HEARTBEAT = 2 * S
MEANS_S = (5.0, 20.0, 60.0, 120.0)  # mean silence of the symbols, outside of bursts and lulls
MULTIPLE, LEAST, MOST, ALIVE = (
    20.0,
    1 * S,
    30 * S,
    10.0,
)  # configured, and the engine's factor on a line that is heard
MEMORY_NS = 300e9
LEARNT_NS = 10e9  # of the book's own stream, from which on its rhythm is believed
START = 1200 * S  # until then, rhythms are being learnt


@pytest.fixture
def config(tmp_path: Path) -> Config:
    rows = "".join(
        f"  - {{name: Q{k}, venue: sim, symbol: Q{k}, tick_size: 1, lot_size: 1, warmup: 1s}}\n"
        for k in range(len(MEANS_S))
    )
    path = tmp_path / "config.yaml"
    path.write_text(f"version: 1\nmodel: {{artifact: first_passage}}\ninstruments:\n{rows}", encoding="utf-8")
    return load_config(path)


def stamps(rng: random.Random, mean_s: float, end_ns: int) -> Iterator[int]:
    """When a symbol's book changes: Poisson, with bursts of 20 to 300 changes, and lulls of 20 to 60 times its mean."""
    t = T0
    while True:
        t += int(rng.expovariate(1 / mean_s) * S) + 1
        if rng.random() < 0.005:
            t += int(rng.uniform(20, 60) * mean_s * S)
        if t >= end_ns:
            return
        yield t
        if rng.random() < 0.02:
            pace_s = rng.uniform(0.01, 0.2)
            for _ in range(rng.randint(20, 300)):
                t += int(rng.expovariate(1 / pace_s) * S) + 1
                if t >= end_ns:
                    return
                yield t


class Rhythm:
    """The bound in plain Python: multiples of the silence to be expected at a random moment."""

    def __init__(self) -> None:
        self.last = 0
        self.gaps = self.squares = 0.0

    def heard(self, t: int) -> None:
        if self.last:
            gap = float(t - self.last)
            kept = max(0.0, 1.0 - gap / MEMORY_NS)
            self.gaps = self.gaps * kept + gap
            self.squares = self.squares * kept + gap * gap
        self.last = t

    @property
    def expected_ns(self) -> float:
        return MULTIPLE * self.squares / self.gaps if self.gaps >= LEARNT_NS else float(MOST)

    @property
    def bound_ns(self) -> float:
        """What an unanswered trade is allowed."""
        return min(max(self.expected_ns, LEAST), MOST)

    @property
    def long_bound_ns(self) -> float:
        """What silence is allowed while the line is heard."""
        return max(ALIVE * self.expected_ns, MOST)


class Day:
    """The symbols of one line; ``mute_ns``: from then on no book changes come, heartbeats do."""

    def __init__(
        self, config: Config, seed: int, end_ns: int, mute_ns: int | None = None, trades: bool = True
    ):
        rng = random.Random(seed)
        self.engine = Engine(config, start_ns=T0)
        self.buffer = EventBuffer(256)
        self.rhythms = [Rhythm() for _ in MEANS_S]
        self.trips: list[tuple[int, int, QualityCause]] = []  # symbol, time, cause
        self.traded: dict[int, int] = {}  # first trade after the mute, by symbol
        steps = [(t, 0, -1) for t in range(T0 + HEARTBEAT, end_ns, HEARTBEAT)]
        for symbol, mean_s in enumerate(MEANS_S):
            steps += [(t, 1, symbol) for t in stamps(rng, mean_s, end_ns)]
        steps.sort()
        bad: set[int] = set()
        for symbol in range(len(MEANS_S)):
            self._snapshot(symbol)
        for t, kind, symbol in steps:
            if kind == 0:
                self._heartbeat(t)
            else:
                # Judged just before it is heard: the end of a silence is where a false trip would be.
                self._judge(t - 1, bad)
                muted = mute_ns is not None and t >= mute_ns
                if trades and rng.random() < 0.3:
                    self._event(
                        EventKindCode.TRADE, symbol, t, side=SideCode.BID, price_ticks=101, size_lots=1
                    )
                    if muted:
                        self.traded.setdefault(symbol, t)
                if not muted:
                    self._event(
                        EventKindCode.LEVEL, symbol, t, side=SideCode.BID, price_ticks=99,
                        size_lots=rng.randint(1, 500), sequence=t,
                    )  # fmt: skip
                    self.rhythms[symbol].heard(t)
            self._judge(t, bad)

    def _judge(self, t: int, bad: set[int]) -> None:
        for symbol in range(len(MEANS_S)):
            status = self.engine.instrument_status(symbol, t)
            if status.quality == QualityCode.STALE:
                if symbol not in bad and t > T0 + START:
                    self.trips.append((symbol, t, QualityCause(status.quality_cause)))
                bad.add(symbol)
            else:
                bad.discard(symbol)

    def _snapshot(self, symbol: int) -> None:
        self.buffer.append(EventKindCode.SNAPSHOT_BEGIN, instrument=symbol, receive_ns=T0)
        for side, price in ((SideCode.BID, 99), (SideCode.ASK, 101)):
            self.buffer.append(
                EventKindCode.LEVEL,
                instrument=symbol,
                side=side,
                price_ticks=price,
                size_lots=5,
                receive_ns=T0,
            )
        self._event(EventKindCode.SNAPSHOT_END, symbol, T0)
        self.rhythms[symbol].heard(T0)

    def _heartbeat(self, t: int) -> None:
        for symbol in range(len(MEANS_S)):
            self._event(EventKindCode.STATUS, symbol, t, aux=StatusKind.HEARTBEAT)

    def _event(self, kind: int, symbol: int, t: int, **fields: int) -> None:
        self.buffer.append(kind, instrument=symbol, receive_ns=t, flags=EventFlags.LAST, **fields)
        self.engine.on_events(self.buffer)
        self.buffer.clear()


@pytest.mark.parametrize("hours", [2, pytest.param(24, marks=pytest.mark.slow, id="a whole day")])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_quiet_symbol_is_taken_for_a_fault(config: Config, hours: int, seed: int) -> None:
    assert Day(config, seed, T0 + hours * HOUR).trips == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_muted_stream_is_found_by_the_trades_it_does_not_answer(config: Config, seed: int) -> None:
    mute = T0 + HOUR
    day = Day(config, seed, mute + HOUR, mute)
    found = {symbol: (t, cause) for symbol, t, cause in reversed(day.trips)}
    assert min(t for t, _ in found.values()) > mute, "nothing before it"
    for symbol, first_trade in day.traded.items():
        if first_trade < mute + HOUR - 2 * MOST:
            t, cause = found[symbol]
            assert cause is QualityCause.BOOK_UNANSWERED
            assert t <= first_trade + day.rhythms[symbol].bound_ns + HEARTBEAT
    assert len(day.traded) >= 3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_muted_stream_without_trades_is_found_within_the_long_bound(config: Config, seed: int) -> None:
    mute = T0 + HOUR
    day = Day(config, seed, mute + 6 * HOUR, mute, trades=False)
    found = {symbol: (t, cause) for symbol, t, cause in day.trips}
    for symbol, rhythm in enumerate(day.rhythms):
        due = rhythm.last + rhythm.long_bound_ns
        if due < mute + 6 * HOUR - HEARTBEAT:
            t, cause = found[symbol]
            assert cause is QualityCause.BOOK_SILENT
            assert due < t <= due + HEARTBEAT
    assert found, "somebody is"
