"""Slow signals from files, beside the market data of a replay: volatility index by day, news headlines."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.headlines import parse_headlines
from quotelife.feed.unpack import first_line, lines
from quotelife.feed.volatility_days import TTL_NS, index_levels, is_index_days
from quotelife.instruments import Instrument
from quotelife.news import Scorer, checked_score
from quotelife.records import NO_INDEX_VALUE, SIGNAL_DTYPE, SignalCode
from quotelife.replay.files import fault, split_argument
from quotelife.replay.run import ReplayReport, Source

NEWS_HALF_LIVES = 10  # that a headline lives where the configuration says no time


@dataclass(slots=True)
class SignalFiles:
    """The signals of all files in order of time. ``unscored``: headlines of which the scorer thinks nothing."""

    records: npt.NDArray[np.void]
    unscored: int = 0


def read_signals(
    arguments: Sequence[str],
    config: Config,
    scorer: Scorer,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> SignalFiles:
    """``[INDEX=]PATH`` each: a volatility index by day, or headlines; ``progress`` is told how many are scored.

    Raises ``QuotelifeError`` naming the file and what is wrong with it.
    """
    parts: list[npt.NDArray[np.void]] = []
    unscored = 0
    for argument in arguments:
        name, path = split_argument(argument)
        if is_index_days(first_line(path)):
            parts.append(_index(path, _number_of(name, path, config)))
        elif name is not None:
            raise QuotelifeError(f"{path}: has no columns DATE,OPEN,CLOSE; only an index by day takes a name")
        else:
            records, without = _news(path, config, scorer, progress)
            parts.append(records)
            unscored += without
    records = np.zeros(sum(map(len, parts)), dtype=SIGNAL_DTYPE)  # np.concatenate would drop the padding
    at = 0
    for part in parts:
        records[at : at + len(part)] = part
        at += len(part)
    return SignalFiles(records[np.argsort(records["receive_ns"], kind="stable")], unscored)


def _number_of(name: str | None, path: Path, config: Config) -> int:
    known = config.signals.volatility_indices
    if name is None and len(known) == 1:
        return 0
    number = None if name is None else config.volatility_index(name)
    if number is None:
        raise QuotelifeError(
            f"{path}: which index is it? signals.volatility_indices has {', '.join(known) or 'none'}; add it there, "
            f"and write NAME={path}"
        )
    return number


def _index(path: Path, number: int) -> npt.NDArray[np.void]:
    try:
        levels = list(index_levels(lines(path)))
    except DecodeError as error:
        raise error if str(error).startswith(str(path)) else fault(path, error) from None
    records = np.zeros(len(levels), dtype=SIGNAL_DTYPE)
    records["kind"] = SignalCode.VOLATILITY_INDEX
    records["instrument"] = records["desk"] = NO_INDEX_VALUE
    records["source"] = number
    records["ttl_ns"] = TTL_NS
    for place, field in enumerate(("receive_ns", "value")):
        records[field] = [level[place] for level in levels]
    records["source_ns"] = records["receive_ns"]
    return records


def _news(
    path: Path, config: Config, scorer: Scorer, progress: Callable[[int], None]
) -> tuple[npt.NDArray[np.void], int]:
    table = config.instrument_table()
    rows = []
    unscored = 0
    try:
        headlines = parse_headlines(b"".join(lines(path)))
    except DecodeError as error:
        raise error if str(error).startswith(str(path)) else fault(path, error) from None
    for number, headline in enumerate(headlines, start=1):
        if headline.time_ns is None:
            raise DecodeError(
                f"{path}: entry {number}: no time; a headline without one can be scored, not replayed"
            )
        index = NO_INDEX_VALUE
        if headline.instrument is not None:
            instrument = table.get(headline.instrument)
            if instrument is None:
                raise QuotelifeError(
                    f"{path}: entry {number}: no instrument {headline.instrument} in the configuration"
                )
            index = instrument.index
        score = headline.score
        if score is None:
            score = _scored(scorer, headline.text, f"{path}: entry {number}")
            progress(number)
        if score is None:
            unscored += 1
        else:
            rows.append((headline.time_ns, score, index))
    records = np.zeros(len(rows), dtype=SIGNAL_DTYPE)
    records["kind"] = SignalCode.NEWS
    records["desk"] = NO_INDEX_VALUE
    for place, field in enumerate(("receive_ns", "value", "instrument")):
        records[field] = [row[place] for row in rows]
    records["source_ns"] = records["receive_ns"]
    records["ttl_ns"] = (
        config.signals.news_time_to_live_ns or NEWS_HALF_LIVES * config.signals.news_half_life_ns
    )
    return records, unscored


def _scored(scorer: Scorer, headline: str, place: str) -> float | None:
    try:
        return checked_score(scorer, headline)
    except Exception as error:
        raise QuotelifeError(f"{place}: {headline[:60]!r}: {type(error).__name__}: {error}") from error


class WithSignals:
    """A source and the signals that came meanwhile; what was still alive when it begins comes first."""

    def __init__(self, source: Source, signals: SignalFiles) -> None:
        self._source = source
        self._records = signals.records

    @property
    def instruments(self) -> Sequence[Instrument]:
        return self._source.instruments

    def steps(self, engine: Engine, report: ReplayReport) -> Iterator[int]:
        """A signal is a step of its own, before the market data of the same stamp."""
        stamps = self._records["receive_ns"].tolist()
        at = 0
        begun = False
        for t in self._source.steps(engine, report):
            while at < len(stamps) and stamps[at] <= t:
                record = self._records[at]
                if begun:
                    yield stamps[at]
                elif stamps[at] + int(record["ttl_ns"]) <= t:
                    at += 1
                    continue
                engine.on_signal_record(record.tobytes())
                report.signals += 1
                at += 1
            begun = True
            yield t
