"""Caps on what live quotes may lose: how full each is, how often it has held back lives, and the alert about it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.engine import Engine
from quotelife.records import NO_INDEX_VALUE, DecisionCode, DecisionRecord, RequestFlags, RequestRecord
from quotelife.units import NS_PER_S
from quotelife_server.alerts import EXPOSURE_CAPPED, Alerts

ALERT_NS = 60 * NS_PER_S  # after the last life that a cap has held back
CAPS_SHOWN_MAX = 1000
CAPS_NAMED_MAX = 5

Key = tuple[str, str]  # "instrument" or "desk", and its name


class Held:
    """What one cap has held back since start."""

    __slots__ = ("declined", "last_ns", "shortened")

    def __init__(self) -> None:
        self.shortened = 0
        self.declined = 0
        self.last_ns = 0


class Cap(NamedTuple):
    """One ``exposure_max`` now, in money."""

    kind: str
    name: str
    exposed: float
    exposure_max: float
    shortened: int
    declined: int

    @property
    def share(self) -> float:
        return self.exposed / self.exposure_max if self.exposure_max > 0 else 1.0


class ExposureWatch:
    """All caps of one engine's configuration. One thread, the event loop's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._revision = -1
        self._instruments: dict[int, float] = {}  # caps by index ...
        self._desks: dict[int, float] = {}
        self._keys: dict[Key, tuple[int, float]] = {}  # ... and by name
        self._held: dict[Key, Held] = {}

    def _follow(self) -> None:
        """Take the caps of the configuration in force; counts of caps that are gone go too."""
        engine = self._engine
        if engine.config_revision == self._revision:
            return
        self._revision = engine.config_revision
        self._keys = {}
        for instrument in engine.instruments:
            cap = engine.config.instruments[instrument.index].exposure_max
            if cap is not None:
                self._keys["instrument", instrument.name] = (instrument.index, cap)
        for name, desk in engine.config.desks.items():
            index = engine.policy.desk_index(name)
            if desk.exposure_max is not None and index is not None:
                self._keys["desk", name] = (index, desk.exposure_max)
        self._held = {key: self._held.get(key, Held()) for key in self._keys}
        self._instruments = {index: cap for (kind, _), (index, cap) in self._keys.items() if kind != "desk"}
        self._desks = {index: cap for (kind, _), (index, cap) in self._keys.items() if kind == "desk"}

    def held_back(
        self, requests: Sequence[RequestRecord], decisions: Sequence[DecisionRecord], now_ns: int
    ) -> None:
        """A cap has bound the last of these decisions, of one side: it counts for the cap that left the least."""
        self._follow()
        key = self._tightest(requests, decisions)
        if key is None:
            return
        held = self._held[key]
        held.last_ns = now_ns
        if decisions[-1].kind == DecisionCode.QUOTE:
            held.shortened += 1
        else:
            held.declined += 1

    def _tightest(self, requests: Sequence[RequestRecord], decisions: Sequence[DecisionRecord]) -> Key | None:
        engine, whole = self._engine, decisions[-1]
        legs = [
            (
                decision.instrument,
                request.weight * decision.h_ticks / whole.h_ticks if whole.h_ticks > 0 else 1.0,
            )
            for request, decision in zip(requests[:-1], decisions, strict=False)
            if not request.flags & RequestFlags.GREEKS
        ]
        rooms: list[tuple[float, Key]] = []
        for index, share in legs or [(whole.instrument, 1.0)]:
            if index in self._instruments and share > 0:
                room = self._instruments[index] - engine.watching.exposure_of(index)
                rooms.append((room / share, ("instrument", engine.instruments[index].name)))
        if whole.desk != NO_INDEX_VALUE and whole.desk in self._desks:
            room = self._desks[whole.desk] - engine.watching.desk_exposure_of(whole.desk)
            rooms.append((room, ("desk", engine.policy.desk_names[whole.desk])))
        return min(rooms)[1] if rooms else None

    def caps(self) -> list[Cap]:
        """Every cap, instruments before desks, in the order of the configuration."""
        self._follow()
        watching = self._engine.watching
        return [
            Cap(
                kind,
                name,
                watching.desk_exposure_of(index) if kind == "desk" else watching.exposure_of(index),
                cap,
                self._held[kind, name].shortened,
                self._held[kind, name].declined,
            )
            for (kind, name), (index, cap) in self._keys.items()
        ]

    def status(self) -> Iterator[admin.ExposureStatus]:
        """The fullest first, ``CAPS_SHOWN_MAX`` of them."""
        for cap in sorted(self.caps(), key=lambda each: -each.share)[:CAPS_SHOWN_MAX]:
            yield admin.ExposureStatus(
                **{cap.kind: cap.name},
                exposed=cap.exposed,
                exposure_max=cap.exposure_max,
                shortened=cap.shortened,
                declined=cap.declined,
            )

    def check(self, alerts: Alerts, now_ns: int) -> None:
        """To be called every second or so: the alert stands while a cap has held back lives within a minute."""
        self._follow()
        tight = {key for key, held in self._held.items() if held.last_ns and now_ns - held.last_ns < ALERT_NS}
        if not tight:
            alerts.clear(EXPOSURE_CAPPED, now_ns)
            return
        caps = sorted(
            (cap for cap in self.caps() if (cap.kind, cap.name) in tight), key=lambda each: -each.share
        )
        named = [
            f"{cap.kind} {cap.name} {cap.share:.0%} of {cap.exposure_max:g} "
            f"({cap.shortened:,} shortened, {cap.declined:,} not quoted since start)"
            for cap in caps[:CAPS_NAMED_MAX]
        ]
        more = f" and {len(caps) - len(named)} more" if len(caps) > len(named) else ""
        alerts.raise_(EXPOSURE_CAPPED, f"exposure_max holds back lives: {'; '.join(named)}{more}", now_ns)


def exposure_families(exposure: ExposureWatch) -> Iterator[Metric]:
    """Of instruments and desks that have a cap."""
    labels = ("kind", "name")
    caps = exposure.caps()
    if not caps:
        return
    for name, text, field in (
        ("quotelife_exposure", "Money that live quotes are expected to lose, by cap", "exposed"),
        ("quotelife_exposure_max", "The cap, money", "exposure_max"),
    ):
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for cap in caps:
            gauge.add_metric((cap.kind, cap.name), getattr(cap, field))
        yield gauge
    capped = CounterMetricFamily(
        "quotelife_exposure_capped",
        "Lives that a cap has held back: shortened, or not quoted",
        labels=(*labels, "outcome"),
    )
    for cap in caps:
        capped.add_metric((cap.kind, cap.name, "shortened"), cap.shortened)
        capped.add_metric((cap.kind, cap.name, "declined"), cap.declined)
    yield capped
