"""Prometheus figures. The decision path adds to plain ints; text is made only when somebody asks."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from quotelife.engine import Engine
from quotelife.instruments import InstrumentTable
from quotelife.records import DecisionCode, PostureCode, QualityCode, RegimeCode
from quotelife.units import NS_PER_S, NS_PER_US
from quotelife_server.feeds.base import FeedFigures

LATENCY_BOUNDS_NS = tuple(
    us * NS_PER_US for us in (5, 10, 15, 20, 30, 50, 75, 100, 200, 500, 1_000, 5_000, 20_000)
)

_POSTURES = len(PostureCode)
_REGIMES = len(RegimeCode)


class Metrics:
    """Counters of the handlers. Everything about instruments and feeds is read from them when asked."""

    def __init__(self) -> None:
        self.decisions = [0] * ((len(DecisionCode) + 1) * _POSTURES * _REGIMES)
        self.latency_counts = [0] * (len(LATENCY_BOUNDS_NS) + 1)
        self.latency_sum_ns = 0
        self.signals = 0
        self.replayed = 0
        self.internal_errors = 0
        self.answers: dict[tuple[str, str], int] = {}

    def decided(self, kind: int, posture: int, regime: int) -> None:
        self.decisions[(kind * _POSTURES + posture) * _REGIMES + regime] += 1

    def observe(self, latency_ns: int) -> None:
        self.latency_counts[bisect_left(LATENCY_BOUNDS_NS, latency_ns)] += 1
        self.latency_sum_ns += latency_ns

    def answered(self, method: str, code: str) -> None:
        key = (method, code)
        self.answers[key] = self.answers.get(key, 0) + 1


Gauge = tuple[str, str, Callable[[], float]]


class ServiceCollector(Collector):
    """Turns the counters, the engine's and the feeds' figures into metrics at the moment of a scrape."""

    def __init__(
        self,
        metrics: Metrics,
        engine: Engine,
        now_ns: Callable[[], int],
        gauges: Iterable[Gauge],
        feeds: Callable[[], Iterable[FeedFigures]],
    ) -> None:
        self._metrics = metrics
        self._engine = engine
        self._now_ns = now_ns
        self._gauges = list(gauges)
        self._feeds = feeds

    def collect(self) -> Iterator[Metric]:
        yield self._decisions()
        yield self._latency()
        answers = CounterMetricFamily(
            "quotelife_answers", "Calls answered, by method and gRPC code", labels=("method", "code")
        )
        for (method, code), count in sorted(self._metrics.answers.items()):
            answers.add_metric((method, code), count)
        yield answers
        for name, text, value in (
            ("quotelife_signals", "Signals applied", self._metrics.signals),
            ("quotelife_replayed", "Requests answered from the stored reply", self._metrics.replayed),
            (
                "quotelife_internal_errors",
                "Calls that failed inside the service",
                self._metrics.internal_errors,
            ),
        ):
            yield CounterMetricFamily(name, text, value=value)
        for name, text, read in self._gauges:
            yield GaugeMetricFamily(name, text, value=read())
        yield from self._instruments(self._engine.instruments)
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
                    count = self._metrics.decisions[(kind * _POSTURES + posture) * _REGIMES + regime]
                    if count:
                        family.add_metric(
                            (kind.name.lower(), posture.name.lower(), regime.name.lower()), count
                        )
        return family

    def _latency(self) -> Metric:
        buckets: list[tuple[str, float]] = []
        total = 0
        for bound_ns, count in zip(LATENCY_BOUNDS_NS, self._metrics.latency_counts, strict=False):
            total += count
            buckets.append((repr(bound_ns / NS_PER_S), total))
        buckets.append(("+Inf", total + self._metrics.latency_counts[-1]))
        return HistogramMetricFamily(
            "quotelife_get_expiry_seconds",
            "Time from payload to reply inside the service, without transport",
            buckets=buckets,
            sum_value=self._metrics.latency_sum_ns / NS_PER_S,
        )

    def _instruments(self, table: InstrumentTable) -> Iterator[Metric]:
        by_instrument = ("instrument",)
        counters = {
            "events": CounterMetricFamily("quotelife_events", "Market events applied", labels=by_instrument),
            "gaps": CounterMetricFamily("quotelife_gaps", "Gaps in the data", labels=by_instrument),
            "resyncs": CounterMetricFamily(
                "quotelife_resyncs", "Books made whole again", labels=by_instrument
            ),
            "crossed": CounterMetricFamily(
                "quotelife_crossed", "Times a book stood crossed", labels=by_instrument
            ),
            "dropped_levels": CounterMetricFamily(
                "quotelife_dropped_levels", "Levels dropped by the bound of the book", labels=by_instrument
            ),
            "declines": CounterMetricFamily(
                "quotelife_declines", "Decisions to decline", labels=by_instrument
            ),
            "stress_entries": CounterMetricFamily(
                "quotelife_stress_entries", "Times stress began", labels=by_instrument
            ),
        }
        quality = GaugeMetricFamily(
            "quotelife_quality", "1 for the state of the book", labels=("instrument", "quality")
        )
        age = GaugeMetricFamily("quotelife_data_age_seconds", "Since the last event", labels=by_instrument)
        regimes = CounterMetricFamily(
            "quotelife_regime_seconds", "Time spent in each regime", labels=("instrument", "regime")
        )
        now_ns = self._now_ns()
        for instrument in table:
            status = self._engine.instrument_status(instrument.index, now_ns)
            for name, family in counters.items():
                family.add_metric((instrument.name,), getattr(status, name))
            quality.add_metric((instrument.name, QualityCode(status.quality).name.lower()), 1)
            if status.last_event_ns:
                age.add_metric((instrument.name,), (now_ns - status.last_event_ns) / NS_PER_S)
            for regime, time_ns in zip(RegimeCode, status.regime_ns, strict=True):
                regimes.add_metric((instrument.name, regime.name.lower()), time_ns / NS_PER_S)
        yield from counters.values()
        yield quality
        yield age
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


def registry_of(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry
