"""Recorded market data through the live decoder and engine, on the recording's own clock.

Beside driving the engine, a replay holds the book against the venue: whenever a depth message and a bookTicker
carry the same update id, best prices and sizes of the depth levels must equal the ticker's.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.binance import BinanceDecoder
from quotelife.feed.recorded import merge_recorded
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventKindCode,
    PostureCode,
    QualityCode,
    RegimeCode,
    RequestRecord,
)

PENDING_MAX = 65536
_STEM = re.compile(r"([A-Za-z0-9]+?(?:_perp|_\d{6})?)(?:[_.-].*)?")


@dataclass(frozen=True, slots=True)
class Source:
    """One recorded file and the instrument it belongs to. ``market`` is spot, usdm or coinm."""

    path: Path
    instrument: Instrument
    market: str


def find_source(argument: str, table: InstrumentTable) -> Source:
    """``INSTRUMENT=PATH``, or a path whose folder names the market and whose file name starts with the symbol.

    Raises ``QuotelifeError`` naming what could not be found.
    """
    name, given, rest = argument.partition("=")
    path = Path(rest if given else argument)
    if not path.is_file():
        raise QuotelifeError(f"{path}: no such file")
    if given:
        instrument = table.get(name)
        if instrument is None:
            raise QuotelifeError(f"{name}: no such instrument in the configuration")
        return Source(path, instrument, instrument.venue.removeprefix("binance-"))
    market = path.resolve().parent.name
    match = _STEM.fullmatch(path.name)
    symbol = match[1].upper() if match else ""
    for instrument in table:
        if instrument.venue == f"binance-{market}" and instrument.symbol.upper() == symbol:
            return Source(path, instrument, market)
    raise QuotelifeError(
        f"{path}: no instrument with venue binance-{market} and symbol {symbol} in the configuration; "
        f"write INSTRUMENT={path}"
    )


@dataclass(slots=True)
class SourceReport:
    """What one instrument's recording showed."""

    name: str
    lines: int = 0
    events: int = 0
    refused: int = 0
    checked: int = 0
    equal: int = 0
    gaps: int = 0
    resyncs: int = 0
    crossed: int = 0
    first_ns: int = 0
    last_ns: int = 0
    not_good_ns: int = 0
    regime_ns: tuple[int, ...] = ()
    stress_entries: int = 0
    mismatches: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ReplayReport:
    """Sum of a replay: by instrument, and the decisions asked on the fly."""

    sources: dict[str, SourceReport] = field(default_factory=dict)
    decisions: Counter[str] = field(default_factory=Counter)
    postures: Counter[str] = field(default_factory=Counter)
    regimes: Counter[str] = field(default_factory=Counter)
    qualities: Counter[str] = field(default_factory=Counter)
    lives_ns: dict[str, list[int]] = field(default_factory=dict)
    lines: int = 0
    span_ns: int = 0

    @property
    def clean(self) -> bool:
        """No gap, no crossed book, nothing refused, every compared best price and size equal."""
        return all(
            s.gaps == 0 and s.crossed == 0 and s.refused == 0 and s.checked == s.equal
            for s in self.sources.values()
        )


class _Oracle:
    """Pairs depth tops and tickers by update id, whichever comes first."""

    def __init__(self, report: SourceReport) -> None:
        self._report = report
        self._tops: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._tickers: OrderedDict[int, tuple[int, ...]] = OrderedDict()

    def _compare(self, update_id: int, top: tuple[int, ...], ticker: tuple[int, ...]) -> None:
        self._report.checked += 1
        if top == ticker:
            self._report.equal += 1
        elif len(self._report.mismatches) < 20:
            self._report.mismatches.append(f"update {update_id}: book {top}, ticker {ticker}")

    def top(self, update_id: int, top: tuple[int, ...]) -> None:
        ticker = self._tickers.get(update_id)
        if ticker is not None:
            self._compare(update_id, top, ticker)
        self._remember(self._tops, update_id, top)

    def ticker(self, update_id: int, ticker: tuple[int, ...]) -> None:
        if update_id in self._tickers:
            return
        top = self._tops.get(update_id)
        if top is not None:
            self._compare(update_id, top, ticker)
        self._remember(self._tickers, update_id, ticker)

    @staticmethod
    def _remember(store: OrderedDict[int, tuple[int, ...]], key: int, value: tuple[int, ...]) -> None:
        store[key] = value
        if len(store) > PENDING_MAX:
            store.popitem(last=False)


class Replay:
    """Drives ``engine`` with recorded files; ``ask`` builds the requests to put in between.

    ``ask_every_ns`` of recorded time, ``ask(now_ns)`` gives the requests to decide; ``on_decision`` sees each answer.
    """

    def __init__(
        self,
        engine: Engine,
        sources: Sequence[Source],
        *,
        ask_every_ns: int = 0,
        ask: Callable[[int], Sequence[tuple[str, RequestRecord]]] | None = None,
        on_decision: Callable[[str, DecisionRecord], None] | None = None,
        check: bool = True,
    ) -> None:
        if not sources:
            raise QuotelifeError("nothing to replay: name at least one recorded file")
        self.engine = engine
        self.report = ReplayReport()
        self._sources = list(sources)
        self._ask_every_ns = ask_every_ns
        self._ask = ask
        self._on_decision = on_decision
        self._check = check
        self._buffer = EventBuffer(65536)
        self._decoders: dict[str, BinanceDecoder] = {}
        self._oracles: dict[str, _Oracle] = {}
        for source in self._sources:
            decoder = self._decoders.get(source.market)
            if decoder is None:
                decoder = self._decoders[source.market] = BinanceDecoder(source.market, self._buffer)
            instrument = source.instrument
            if instrument.name not in self.report.sources:
                decoder.add_instrument(
                    instrument.symbol, instrument.index, instrument.tick_size, instrument.lot_size
                )
                entry = self.report.sources[instrument.name] = SourceReport(instrument.name)
                self._oracles[instrument.name] = _Oracle(entry)

    def run(self) -> ReplayReport:
        """All of it, as fast as possible."""
        for _ in self.steps():
            pass
        return self.report

    def steps(self) -> Generator[int, None, None]:
        """One recorded line a step; yields its receive stamp, so that a caller can pace, show progress or stop."""
        next_ask = 0
        first = 0
        stamp = 0
        try:
            for stamp, number, data, is_snapshot in merge_recorded([source.path for source in self._sources]):
                if not first:
                    first = stamp
                    next_ask = stamp + self._ask_every_ns
                if self._ask is not None and self._ask_every_ns > 0:
                    while next_ask <= stamp:
                        self._decide(next_ask)
                        next_ask += self._ask_every_ns
                self._line(stamp, self._sources[number], data, is_snapshot)
                yield stamp
        finally:
            self.report.span_ns = stamp - first
            self._finish(stamp)

    def _line(self, stamp: int, source: Source, data: bytes, is_snapshot: bool) -> None:
        entry = self.report.sources[source.instrument.name]
        decoder = self._decoders[source.market]
        buffer = self._buffer
        buffer.clear()
        try:
            if is_snapshot:
                decoder.snapshot(source.instrument.symbol, data, stamp)
            else:
                decoder.message(data, stamp)
        except DecodeError:
            entry.refused += 1
        self.engine.on_events(buffer)
        entry.lines += 1
        entry.events += len(buffer)
        entry.first_ns = entry.first_ns or stamp
        entry.last_ns = stamp
        self.report.lines += 1
        if self._check and len(buffer):
            self._hold_against_venue(source.instrument.index, self._oracles[source.instrument.name])

    def _hold_against_venue(self, index: int, oracle: _Oracle) -> None:
        last = self._buffer.array()[-1]
        kind = int(last["kind"])
        if kind == EventKindCode.LEVEL:
            sequence, *top = self.engine.level_top(index)
            if sequence:
                oracle.top(sequence, tuple(top))
        elif kind == EventKindCode.QUOTE:
            oracle.ticker(
                int(last["sequence"]),
                (int(last["price_ticks"]), int(last["size_lots"]), int(last["order_id"]), int(last["aux"])),
            )

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
                report.lives_ns.setdefault(label, []).append(decision.life_ns)
            if self._on_decision is not None:
                self._on_decision(label, decision)

    def _finish(self, stamp: int) -> None:
        if stamp > self.engine.now_ns:
            self.engine.on_timer(stamp)
        for source in self._sources:
            entry = self.report.sources[source.instrument.name]
            status = self.engine.instrument_status(source.instrument.index, stamp)
            entry.gaps = status.gaps
            entry.resyncs = status.resyncs
            entry.crossed = status.crossed
            entry.regime_ns = status.regime_ns
            entry.not_good_ns = status.not_good_ns
            entry.stress_entries = status.stress_entries
