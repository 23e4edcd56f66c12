"""The loop of a replay: inputs from a source into an engine, requests in between, a report in the end."""

from array import array
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from quotelife.engine import Engine
from quotelife.instruments import Instrument
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    PostureCode,
    QualityCode,
    RegimeCode,
    RequestRecord,
)
from quotelife.replay.tickers import TickerReport
from quotelife.units import NS_PER_MS, NS_PER_S

SILENCE_NS = 3600 * NS_PER_S  # a stretch without any input so long is a closed market: nobody asks in it


@dataclass(slots=True)
class SourceReport:
    """What one instrument showed. ``lines`` counts what came from the venue at a time: recorded lines, messages."""

    name: str
    lines: int = 0
    events: int = 0
    refused: int = 0
    checked: int = 0
    equal: int = 0
    gaps: int = 0
    resyncs: int = 0
    crossed: int = 0
    not_good_ns: int = 0
    known_ns: int = 0  # in all states, from the first look on
    regime_ns: tuple[int, ...] = ()
    stress_entries: int = 0
    mismatches: list[str] = field(default_factory=list)
    tickers: TickerReport = field(default_factory=TickerReport)
    unsided_trades: int = 0  # the venue told no aggressor: the middle of the book decided …
    undecided_trades: int = 0  # … or could not


@dataclass(slots=True)
class ReplayReport:
    """Sum of a replay: by instrument, and the decisions asked on the fly.

    ``lost`` counts the stretches that a capture marks as not written, ``damaged`` those that cannot be read,
    ``left_out_trades`` those that a recording tells without an aggressor, which are no input, ``unread_tickers`` the
    messages whose tickers could not be read.
    """

    sources: dict[str, SourceReport] = field(default_factory=dict)
    decisions: Counter[str] = field(default_factory=Counter)
    postures: Counter[str] = field(default_factory=Counter)
    regimes: Counter[str] = field(default_factory=Counter)
    qualities: Counter[str] = field(default_factory=Counter)
    lives_ns: dict[str, "array[int]"] = field(default_factory=dict)
    lines: int = 0
    signals: int = 0
    lost: int = 0
    damaged: int = 0
    left_out_trades: int = 0
    unread_tickers: int = 0
    span_ns: int = 0

    @property
    def clean(self) -> bool:
        """Nothing lost or damaged or refused, no gap, no crossed book, every compared best price and size equal.

        Tickers do not count: one that differs may have come before or after the book it shows.
        """
        return self.lost == self.damaged == 0 and all(
            s.gaps == 0 and s.crossed == 0 and s.refused == 0 and s.checked == s.equal
            for s in self.sources.values()
        )


class Source(Protocol):
    """Where the inputs come from."""

    @property
    def instruments(self) -> Sequence[Instrument]:
        """Those of the engine's instruments that it speaks of."""

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """Yields the receive stamp of the next inputs, and applies them when it is resumed."""


class Replay:
    """Drives ``engine`` from ``source``; ``ask`` builds the requests to put in between.

    Every ``ask_every_ns`` of recorded time, ``ask(now_ns)`` gives the requests to decide; ``on_decision`` sees each
    answer. Nobody asks in a stretch of ``SILENCE_NS`` in which nothing came: between two days, or before a stamp that
    is wrong.
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        *,
        ask_every_ns: int = 0,
        ask: Callable[[int], Sequence[tuple[str, RequestRecord]]] | None = None,
        on_decision: Callable[[str, DecisionRecord], None] | None = None,
    ) -> None:
        self.engine = engine
        self.report = ReplayReport({i.name: SourceReport(i.name) for i in source.instruments})
        self._source = source
        self._ask_every_ns = ask_every_ns
        self._ask = ask
        self._on_decision = on_decision

    def run(self) -> ReplayReport:
        """All of it, as fast as possible."""
        for _ in self.steps():
            pass
        return self.report

    def steps(self) -> Generator[int, None, None]:
        """Yields the recorded time of what comes next and does it when resumed, so that a caller can pace, show
        progress or stop."""
        next_ask = first = stamp = latest = 0
        try:
            for stamp in self._source.steps(self.engine, self.report):
                first = first or stamp
                if stamp - latest > SILENCE_NS:  # the first one too
                    next_ask = stamp + self._ask_every_ns
                latest = max(latest, stamp)
                if self._ask is not None and self._ask_every_ns > 0:
                    while next_ask <= stamp:
                        yield next_ask
                        self._decide(next_ask)
                        next_ask += self._ask_every_ns
                yield stamp
                self.report.lines += 1
        finally:
            self.report.span_ns = stamp - first
            self._finish(stamp)

    def _decide(self, now_ns: int) -> None:
        if self._ask is None:
            return
        report = self.report
        for label, request in self._ask(now_ns):
            decision = DecisionRecord()
            self.engine.decide(request, decision)
            kind = DecisionCode(decision.kind)
            report.decisions[kind.name] += 1
            report.regimes[RegimeCode(decision.regime).name] += 1
            report.qualities[QualityCode(decision.quality).name] += 1
            if kind is DecisionCode.QUOTE:
                report.postures[PostureCode(decision.posture_effective).name] += 1
                report.lives_ns.setdefault(label, array("q")).append(decision.life_ns)
            if self._on_decision is not None:
                self._on_decision(label, decision)

    def _finish(self, stamp: int) -> None:
        if stamp > self.engine.now_ns:
            self.engine.on_timer(stamp)
        for instrument in self._source.instruments:
            entry = self.report.sources.setdefault(instrument.name, SourceReport(instrument.name))
            status = self.engine.instrument_status(instrument.index, stamp)
            entry.events = status.events
            entry.lines = entry.lines or status.messages
            entry.gaps = status.gaps
            entry.resyncs = status.resyncs
            entry.crossed = status.crossed
            entry.unsided_trades = status.unsided_trades
            entry.undecided_trades = status.undecided_trades
            entry.regime_ns = status.regime_ns
            entry.not_good_ns = status.not_good_ns
            entry.known_ns = sum(status.quality_ns)
            entry.stress_entries = status.stress_entries


def pace(
    stamps: Iterator[int], speed: float, now_ns: Callable[[], int], sleep_s: Callable[[float], None]
) -> Iterator[int]:
    """The stamps, each not before its time: recorded time passes ``speed`` times as fast as that of ``now_ns``.

    0: as fast as possible. A stamp that steps back does not wait.
    """
    started_ns = now_ns()
    first: int | None = None
    for stamp in stamps:
        if first is None:
            first = stamp
        if speed > 0:
            ahead_ns = (stamp - first) / speed - (now_ns() - started_ns)
            if ahead_ns > NS_PER_MS:
                sleep_s(ahead_ns / 1e9)
        yield stamp
