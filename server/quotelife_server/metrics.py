"""Prometheus figures. The decision path adds to plain ints; text is made only when somebody asks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from quotelife.book.quality import QualityCause
from quotelife.counterparty.posterior import OutcomeCode
from quotelife.engine import Engine, InstrumentStatus
from quotelife.records import DecisionCode, PostureCode, QualityCode, RegimeCode, SignalCode, WithdrawCode
from quotelife.units import NS_PER_S, NS_PER_US
from quotelife_server.alerts import Alerts
from quotelife_server.answer_counts import AnswerCounts
from quotelife_server.decision_counts import DecisionCounts
from quotelife_server.exposing import ExposureWatch, exposure_families
from quotelife_server.feeds.base import FeedFigures
from quotelife_server.journaling import COMMIT_BOUNDS_NS, JournalLedger
from quotelife_server.latencies import Latencies
from quotelife_server.limits import in_pieces
from quotelife_server.monitoring import monitor_families
from quotelife_server.watching import Watching

LATENCY_BOUNDS_NS = tuple(
    us * NS_PER_US for us in (5, 10, 15, 20, 30, 50, 75, 100, 200, 500, 1_000, 5_000, 20_000)
)

PIECE = 100  # instruments or figures handled in one go, about half a millisecond

_INSTRUMENT_COUNTERS = {
    "events": "Market events applied",
    "gaps": "Gaps in the data",
    "resyncs": "Books made whole again",
    "crossed": "Times a book stood crossed",
    "dropped_levels": "Levels dropped by the bound of the book",
    "unknown_orders": "Order records of ids that do not rest",
    "invalid_orders": "Order records that could not be applied as they came",
    "dropped_orders": "Orders dropped by the bound of the book, each the start of a gap",
    "purged_orders": "Stale orders taken out because they crossed the market",
    "declines": "Decisions to decline",
    "stress_entries": "Times stress began",
}


class Metrics:
    """Counters of the handlers. Everything about instruments and feeds is read from them when asked."""

    def __init__(self) -> None:
        self.decisions = DecisionCounts()
        self.latencies = Latencies(LATENCY_BOUNDS_NS)
        self.signals: dict[tuple[SignalCode, bool], int] = {}
        self.outcomes: dict[OutcomeCode, int] = {}
        self.replayed = 0
        self.internal_errors = 0
        self._answers: dict[str, AnswerCounts] = {}

    def signalled(self, kind: SignalCode, took: bool) -> None:
        """``took``: it changed something."""
        self.signals[kind, took] = self.signals.get((kind, took), 0) + 1

    def outcome(self, kind: OutcomeCode) -> None:
        self.outcomes[kind] = self.outcomes.get(kind, 0) + 1

    def answers_of(self, method: str) -> AnswerCounts:
        """Where the calls of a method are counted."""
        counts = self._answers.get(method)
        if counts is None:
            counts = self._answers[method] = AnswerCounts()
        return counts

    @property
    def answers(self) -> dict[tuple[str, str], int]:
        """Calls answered, by method and name of the status code."""
        return {
            (method, code.name): n
            for method, counts in self._answers.items()
            for code, n in counts.by_code().items()
        }


Gauge = tuple[str, str, Callable[[], float]]


class Exposition:
    """Turns the counters, the engine's and the feeds' figures into text at the moment of a scrape, in pieces,
    between which calls are answered."""

    def __init__(
        self,
        metrics: Metrics,
        engine: Engine,
        now_ns: Callable[[], int],
        gauges: Iterable[Gauge],
        feeds: Callable[[], Iterable[FeedFigures]],
        alerts: Alerts,
        journal: JournalLedger | None = None,
        watching: Watching | None = None,
        exposure: ExposureWatch | None = None,
    ) -> None:
        self._metrics = metrics
        self._engine = engine
        self._now_ns = now_ns
        self._gauges = list(gauges)
        self._feeds = feeds
        self._alerts = alerts
        self._journal = journal
        self._watching = watching
        self._exposure = exposure

    async def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        statuses: list[tuple[str, InstrumentStatus]] = []
        async for piece in in_pieces(list(self._engine.instruments), PIECE):
            now_ns = self._now_ns()
            statuses += [(each.name, self._engine.instrument_status(each.index, now_ns)) for each in piece]
        written = []
        for family in self._families(statuses):
            head = True
            async for samples in in_pieces(family.samples, PIECE):
                written.append(_written(family, samples, head=head))
                head = False
        return b"".join(written)

    def _families(self, statuses: Sequence[tuple[str, InstrumentStatus]]) -> Iterator[Metric]:
        yield self._decisions()
        yield self._latency()
        answers = CounterMetricFamily(
            "quotelife_answers", "Calls answered, by method and gRPC code", labels=("method", "code")
        )
        for (method, code), count in sorted(self._metrics.answers.items()):
            answers.add_metric((method, code), count)
        yield answers
        for name, text, value in (
            ("quotelife_throttle_trips", "Counterparties throttled", self._engine.throttle_trips),
            ("quotelife_replayed", "Requests answered from the stored reply", self._metrics.replayed),
            (
                "quotelife_internal_errors",
                "Calls that failed inside the service",
                self._metrics.internal_errors,
            ),
        ):
            yield CounterMetricFamily(name, text, value=value)
        signals = CounterMetricFamily(
            "quotelife_signals",
            "Signals taken, by kind; ignored: older than what was held",
            labels=("kind", "outcome"),
        )
        for (kind, took), count in sorted(self._metrics.signals.items()):
            signals.add_metric((kind.name.lower(), "applied" if took else "ignored"), count)
        yield signals
        outcomes = CounterMetricFamily(
            "quotelife_outcomes", "Outcomes of quotes taken in, by kind", labels=("kind",)
        )
        for outcome, count in sorted(self._metrics.outcomes.items()):
            outcomes.add_metric((outcome.name.lower(),), count)
        yield outcomes
        for name, text, read in self._gauges:
            yield GaugeMetricFamily(name, text, value=read())
        alerts = GaugeMetricFamily("quotelife_alert", "1 while somebody should look at it", labels=("name",))
        for name, level in self._alerts.levels():
            alerts.add_metric((name,), level)
        yield alerts
        kills = GaugeMetricFamily("quotelife_kills", "Kills in force", value=len(self._engine.kills()))
        yield kills
        yield from monitor_families(self._engine)
        if self._journal is not None:
            yield from _journal_families(self._journal)
        if self._watching is not None:
            yield from _watch_families(self._watching)
        if self._exposure is not None:
            yield from exposure_families(self._exposure)
        yield from self._instruments(statuses)
        yield from self._feed_figures()

    def _decisions(self) -> Metric:
        family = CounterMetricFamily(
            "quotelife_decisions",
            "Decisions, by kind, posture and regime",
            labels=("kind", "posture", "regime"),
        )
        for kind in DecisionCode:
            for posture in PostureCode:
                for regime in RegimeCode:
                    count = self._metrics.decisions.of(kind, posture, regime)
                    if count:
                        family.add_metric(
                            (kind.name.lower(), posture.name.lower(), regime.name.lower()), count
                        )
        return family

    def _latency(self) -> Metric:
        return _histogram(
            "quotelife_get_expiry_seconds",
            "Time from payload to reply inside the service, without transport",
            self._metrics.latencies.bounds_ns,
            self._metrics.latencies.counts,
            self._metrics.latencies.sum_ns,
        )

    def _instruments(self, statuses: Sequence[tuple[str, InstrumentStatus]]) -> Iterator[Metric]:
        for field, text in _INSTRUMENT_COUNTERS.items():
            counter = CounterMetricFamily(f"quotelife_{field}", text, labels=("instrument",))
            for name, status in statuses:
                counter.add_metric((name,), getattr(status, field))
            yield counter
        orders = GaugeMetricFamily(
            "quotelife_orders", "Orders that rest in an order-level book", labels=("instrument",)
        )
        for name, status in statuses:
            orders.add_metric((name,), status.orders)
        yield orders
        yield from _qualities(statuses)
        now_ns = self._now_ns()
        age = GaugeMetricFamily("quotelife_data_age_seconds", "Since the last event", labels=("instrument",))
        for name, status in statuses:
            if status.last_event_ns:
                age.add_metric((name,), (now_ns - status.last_event_ns) / NS_PER_S)
        yield age
        regimes = CounterMetricFamily(
            "quotelife_regime_seconds", "Time spent in each regime", labels=("instrument", "regime")
        )
        for name, status in statuses:
            for regime, time_ns in zip(RegimeCode, status.regime_ns, strict=True):
                regimes.add_metric((name, regime.name.lower()), time_ns / NS_PER_S)
        yield regimes

    def _feed_figures(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        connected = GaugeMetricFamily(
            "quotelife_feed_connected", "1 when the connection stands", labels=("feed",)
        )
        for feed in self._feeds():
            connected.add_metric((feed.name,), float(feed.connected))
            for name, value in feed.counters.items():
                if name not in families:
                    families[name] = CounterMetricFamily(
                        f"quotelife_feed_{name}", f"Feed: {name}", labels=("feed",)
                    )
                families[name].add_metric((feed.name,), value)
        yield connected
        yield from families.values()


def _watch_families(watching: Watching) -> Iterator[Metric]:
    counts, figures = watching.engine.watching.counts(), watching.figures
    for name, text, value in (
        ("live", "Live quotes that are watched", counts.live),
        ("streams", "Open streams of WatchQuotes", watching.streams),
        ("unacknowledged", "Withdrawals said and not acknowledged", watching.unacknowledged),
        ("waiting", "Withdrawals that wait for their venue session", counts.waiting),
        ("memory_bytes", "Memory that live quotes take in the engine", counts.memory_bytes),
    ):
        yield GaugeMetricFamily(f"quotelife_watch_{name}", text, value=value)
    for name, text, value in (
        ("registered", "Quotes registered", counts.registered),
        ("refused", "Registrations refused", figures.refused),
        ("expired", "Watched quotes whose life ran out", counts.expired),
        ("hints", "Hints for a new quote", counts.hints),
        ("held_back", "Withdrawals that had to wait for their venue session", counts.held_back),
        ("repeats", "Withdrawals said again for want of an acknowledgement", figures.repeats),
        ("lost_streams", "Streams lost with live quotes", figures.lost_streams),
        ("slow_consumers", "Streams ended because the client did not read", figures.slow_consumers),
    ):
        yield CounterMetricFamily(f"quotelife_watch_{name}", text, value=value)
    withdrawn = CounterMetricFamily(
        "quotelife_watch_withdrawn", "Quotes withdrawn, by reason", labels=("reason",)
    )
    for reason, count in sorted(counts.withdrawn.items()):
        withdrawn.add_metric((WithdrawCode(reason).name.lower(),), count)
    yield withdrawn
    yield _histogram(
        "quotelife_withdraw_seconds",
        "From the engine time of what brought it to the withdrawal on its way to the transport",
        figures.latencies.bounds_ns,
        figures.latencies.counts,
        figures.latencies.sum_ns,
    )


def _qualities(statuses: Sequence[tuple[str, InstrumentStatus]]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "quotelife_instrument_quality",
        "1 for the state of the book, with its cause",
        labels=("instrument", "quality", "cause"),
    )
    labels = ("instrument", "quality")
    entered = CounterMetricFamily(
        "quotelife_instrument_quality_entered", "Times it was entered", labels=labels
    )
    seconds = CounterMetricFamily("quotelife_instrument_quality_seconds", "Time spent in it", labels=labels)
    for name, status in statuses:
        quality = QualityCode(status.quality).name.lower()
        state.add_metric((name, quality, QualityCause(status.quality_cause).name.lower()), 1)
        for code, times, time_ns in zip(QualityCode, status.quality_entered, status.quality_ns, strict=True):
            if times:
                entered.add_metric((name, code.name.lower()), times)
                seconds.add_metric((name, code.name.lower()), time_ns / NS_PER_S)
    yield state
    yield entered
    yield seconds


def _journal_families(journal: JournalLedger) -> Iterator[Metric]:
    figures = journal.figures
    yield GaugeMetricFamily(
        "quotelife_journal_writable", "1 while the journal takes records", value=float(not journal.fault)
    )
    yield GaugeMetricFamily("quotelife_journal_segments", "Segments on disk", value=float(journal.segments))
    for name, text, value in (
        ("records", "Records written", journal.records),
        ("bytes", "Bytes written", figures.bytes),
        ("failures", "Writes and syncs that failed", journal.failures),
        ("unreadable_answers", "Retries of answers that cannot be read back", journal.unreadable),
        ("unjournaled", "Decisions answered before their record", figures.unjournaled),
        ("refused", "Calls refused because the journal could not be written", figures.refused),
        ("shadows_lost", "Answers of shadows that found no room", journal.shadows_lost),
        ("labels_lost", "Resolved labels that found no room", journal.labels_lost),
        ("watches_lost", "Words on live quotes that found no room", journal.watches_lost),
        ("inputs_lost", "Inputs that found no room", journal.inputs_lost),
    ):
        yield CounterMetricFamily(f"quotelife_journal_{name}", text, value=value)
    yield _histogram(
        "quotelife_journal_commit_seconds",
        "Time of one write, which holds what one turn of the event loop brought",
        COMMIT_BOUNDS_NS,
        figures.commit_counts,
        figures.commit_sum_ns,
    )


def _histogram(
    name: str, text: str, bounds_ns: Sequence[int], counts: Sequence[int], sum_ns: int
) -> HistogramMetricFamily:
    """``counts``: one for each bound, and one for all above."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound_ns, count in zip(bounds_ns, counts, strict=False):
        total += count
        buckets.append((repr(bound_ns / NS_PER_S), total))
    buckets.append(("+Inf", total + counts[-1]))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=sum_ns / NS_PER_S)


class _One:
    """A registry of one metric, for ``generate_latest``."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _written(family: Metric, samples: Sequence[Any], *, head: bool) -> bytes:
    """Some samples of a family as text; HELP and TYPE stand once, before the first."""
    piece = Metric(family.name, family.documentation, family.type)
    piece.samples = list(samples)
    text: bytes = generate_latest(cast(Any, _One(piece)))
    return text if head else text.split(b"\n", 2)[2]
