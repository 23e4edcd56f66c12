"""What ``quotelife doctor --target`` makes of a running service's health and status."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import types_pb2 as types
from quotelife.units import NS_PER_S
from quotelife_client import Client, ServiceError, Tls
from quotelife_client.calls import service_error
from quotelife_client.tls import mend, opened
from quotelife_server.alerts import WARNINGS

BOOKS_SHOWN_MAX = 20
EVENTS_SHOWN_MAX = 20
GROUPS_SHOWN_MAX = 20
CAPS_SHOWN_MAX = 10
_QUIET = (types.QUALITY_GOOD, types.QUALITY_HALTED)  # a halt is the venue's, and nobody's fault


class Finding(NamedTuple):
    """One fact of a service; ``good`` False where somebody should act, ``warning`` where he should know."""

    name: str
    good: bool
    text: str
    warning: bool = False

    @property
    def mark(self) -> str:
        """Of four letters, at the head of its line."""
        if not self.good:
            return "FAIL"
        return "WARN" if self.warning else "ok  "


def findings(target: str, timeout_s: float, tls: Tls | None = None) -> list[Finding]:
    """Everything worth a line; the service's own word on its health first."""
    health = _health(target, timeout_s, tls)
    try:
        with Client(target, timeout_s=timeout_s, tls=tls) as client:
            status = client.status()
    except ServiceError as error:
        return [health, Finding("status", False, str(error))] if health.good else [health]
    return [health, *of_status(status)]


def of_status(status: admin.GetStatusResponse) -> Iterator[Finding]:
    """What a status says, alerts first."""
    state = admin.ServiceState.Name(status.state).removeprefix("SERVICE_STATE_")
    text = f"{state}, version {status.version}, up {status.uptime_ns / NS_PER_S:,.0f} s"
    yield Finding("state", status.state == admin.SERVICE_STATE_SERVING, text)
    for alert in status.alerts:
        text = f"{alert.text} (since {_instant(alert.since_utc_ns)})"
        warning = alert.name in WARNINGS
        yield Finding(f"alert {alert.name}", warning, text, warning)
    for kill in status.kills:
        who = kill.counterparty or "everybody"
        yield Finding("kill", False, f"{who}: {kill.reason} (since {_instant(kill.since_utc_ns)})")
    yield from _feeds(status)
    yield from _books(status)
    yield from _calendar(status)
    yield from _models(status)
    yield from _watches(status)
    yield from _exposures(status)
    for name, part in (("journal", status.journal), ("capture", status.capture)):
        if status.HasField(name):
            taken = f"{part.records:,} records in {part.segments} segments"
            yield Finding(name, part.writable, taken if part.writable else part.fault)
    if not status.HasField("journal"):
        text = "server.journal.directory is null: decisions are kept nowhere, and replies say unjournaled"
        yield Finding("journal", True, f"{text}; name a folder, and start the service again", warning=True)
    good = f"revision {status.config_revision}"
    if status.restart_required:
        good += f"; waits for a restart: {', '.join(status.restart_required)}"
    yield Finding("configuration", not status.config_problems, "; ".join(status.config_problems) or good)


def _feeds(status: admin.GetStatusResponse) -> Iterator[Finding]:
    """Where a feed is down, or one of its books is bad, with the newest fault that it logged."""
    troubled = {feed for each in status.instruments if each.quality not in _QUIET for feed in each.feeds}
    for feed in status.feeds:
        text = "connected" if feed.connected else "down"
        if feed.HasField("data_age_ns"):
            text += f", last heard {feed.data_age_ns / NS_PER_S:.1f} s ago"
        if feed.fault and (not feed.connected or feed.feed in troubled):
            text += f"; {feed.fault_age_ns / NS_PER_S:.1f} s ago: {feed.fault}"
        elif not feed.connected and not feed.HasField("data_age_ns"):
            text += ", nothing heard yet"
        yield Finding(f"feed {feed.feed}", feed.connected, text)


def _books(status: admin.GetStatusResponse) -> Iterator[Finding]:
    bad = [each for each in status.instruments if each.quality not in _QUIET]
    halted = sum(each.quality == types.QUALITY_HALTED for each in status.instruments)
    good = len(status.instruments) - len(bad) - halted
    text = f"{good} of {len(status.instruments)} good" + (f", {halted} halted" if halted else "")
    if bad:
        names = [_book(each) for each in bad[:BOOKS_SHOWN_MAX]]
        more = f" and {len(bad) - len(names)} more" if len(bad) > len(names) else ""
        text += f": declined are {', '.join(names)}{more}"
    yield Finding("books", not bad, text)


def _calendar(status: admin.GetStatusResponse) -> Iterator[Finding]:
    """One line an event, those under way first; none is a fault."""
    events = sorted(status.calendar, key=lambda each: not each.active)
    for each in events[:EVENTS_SHOWN_MAX]:
        event = each.event
        where = ", ".join((*event.venues, *event.instruments)) or "everything"
        regime = types.Regime.Name(event.regime).removeprefix("REGIME_")
        when = f"until {_instant(event.until_utc_ns)}"
        if not each.active:
            when = f"from {_instant(event.from_utc_ns)} {when}"
        by = admin.CalendarSource.Name(each.source).removeprefix("CALENDAR_SOURCE_").lower()
        text = f"{regime} on {where}, {when}, {by}"
        yield Finding(
            f"event {event.event_id}", True, text + (f": {event.description}" if event.description else "")
        )
    if len(events) > EVENTS_SHOWN_MAX:
        yield Finding("events", True, f"{len(events) - EVENTS_SHOWN_MAX} more")


def _models(status: admin.GetStatusResponse) -> Iterator[Finding]:
    """Groups whose models are not well, and labels; an older service says neither."""
    bad = [each for each in status.groups if each.stepped_down or each.level > admin.MONITOR_LEVEL_WELL]
    watched = [each for each in status.groups if each.models]
    for each in bad[:GROUPS_SHOWN_MAX]:
        words = admin.MonitorLevel.Name(each.level).removeprefix("MONITOR_LEVEL_")
        text = "; ".join(model.text for model in each.models if model.text)
        if each.stepped_down:
            words, text = f"STEPPED DOWN since {_instant(each.since_utc_ns)}", each.reason
        yield Finding(f"model in {each.group}", False, f"{words}: {text}")
    drifted = [(each.group, model) for each in watched for model in each.models if model.features_text]
    for group, model in drifted[:GROUPS_SHOWN_MAX]:
        yield Finding(f"inputs in {group}", True, f"{model.model[:8]}: {model.features_text}", warning=True)
    if len(drifted) > GROUPS_SHOWN_MAX:
        yield Finding("inputs", True, f"{len(drifted) - GROUPS_SHOWN_MAX} more", warning=True)
    if watched:
        more = f", {len(bad)} not" if bad else ""
        yield Finding("models", not bad, f"well in {len(watched) - len(bad)} of {len(watched)} groups{more}")
    if status.groups_unjudged:
        yield Finding("scores", True, unjudged_in_words(status), warning=True)
    labels = status.labels
    if labels.opened:
        text = f"{labels.opened:,} opened, {labels.resolved:,} resolved, {labels.censored:,} censored"
        text += f", {labels.thinned:,} thinned"
        lost = f"; {labels.overflowed:,} found no room" if labels.overflowed else ""
        yield Finding("labels", not labels.overflowed, text + lost)
    if status.shadows_lost:
        yield Finding(
            "shadows", False, f"{status.shadows_lost:,} answers found no room in the journal's buffer"
        )
    if status.labels_lost:
        yield Finding("labels", False, f"{status.labels_lost:,} found no room in the journal's buffer")
    if status.watches_lost:
        yield Finding("watch", False, f"{status.watches_lost:,} words found no room in the journal's buffer")
    if status.inputs_lost:
        yield Finding("journal", False, f"{status.inputs_lost:,} inputs found no room in its buffer")


def _watches(status: admin.GetStatusResponse) -> Iterator[Finding]:
    """Live quotes that are watched, where any were since start."""
    watch = status.watch
    if not watch.registered and not watch.streams and not watch.awaited:
        return
    withdrawn = sum(each.count for each in watch.withdrawn)
    text = f"{watch.live:,} live on {len(watch.streams)} streams; {watch.registered:,} registered, "
    text += f"{withdrawn:,} withdrawn, {watch.unacknowledged:,} not acknowledged"
    troubles = {
        f"{watch.lost_streams:,} streams lost with live quotes": watch.lost_streams,
        f"{watch.slow_consumers:,} of clients that did not read": watch.slow_consumers,
        f"{watch.waiting:,} withdrawals wait for their venue session": watch.waiting,
        f"{watch.awaited:,} owners have not come back": watch.awaited,
    }
    told = [words for words, count in troubles.items() if count]
    yield Finding("watched quotes", True, "; ".join((text, *told)), warning=bool(told))


def _exposures(status: admin.GetStatusResponse) -> Iterator[Finding]:
    """Caps on what live quotes may lose, where there are some: the fullest."""
    caps = [
        f"{each.WhichOneof('of')} {each.instrument or each.desk} {each.exposed:.6g} of {each.exposure_max:g} "
        f"({each.shortened:,} shortened, {each.declined:,} not quoted)"
        for each in status.exposures[:CAPS_SHOWN_MAX]
    ]
    if caps:
        more = len(status.exposures) - len(caps)
        yield Finding("exposure", True, "; ".join(caps) + (f"; {more:,} more" if more else ""))


def unjudged_in_words(status: "admin.GetStatusResponse") -> str:
    """Of groups whose models' scores are not judged: why, and what to do."""
    early = status.groups_first_window
    too_few = status.groups_unjudged - early
    told = []
    if early:
        told.append(f"{early:,} groups are not judged yet: no whole learning.monitor.window has passed; wait")
    if too_few:
        told.append(
            f"{too_few:,} groups have too few labels in learning.monitor.window to be judged: let instruments share "
            "a group, or lengthen the window"
        )
    return f"{'; '.join(told)} (docs/monitoring.md)"


def _book(book: admin.InstrumentStatus) -> str:
    """Such as ``BTC-USDT GAPPED (lost messages, since 2026-01-01T00:00:00+00:00, feed binance)``."""
    why = []
    if book.quality_cause:
        name = types.QualityCause.Name(book.quality_cause)
        why.append(name.removeprefix("QUALITY_CAUSE_").lower().replace("_", " "))
    if book.HasField("quality_since_utc_ns"):
        why.append(f"since {_instant(book.quality_since_utc_ns)}")
    if book.feeds:
        why.append(f"feed {', '.join(book.feeds)}")
    elif book.quality_cause:  # an older service says neither
        why.append("no feed")
    name = f"{book.instrument} {types.Quality.Name(book.quality)[8:]}"
    return f"{name} ({', '.join(why)})" if why else name


def _health(target: str, timeout_s: float, tls: Tls | None) -> Finding:
    with opened(target, tls) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            return Finding("service", False, f"{target}: {_why(error)}")
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    return Finding("service", status == "SERVING", f"{target} is {status}")


def _why(error: grpc.RpcError) -> str:
    """The code, and what to mend where the two do not trust each other, or else what gRPC says."""
    failed = service_error(error)
    words = mend(failed.message) or failed.message
    return f"{failed.code.name}: {words}" if words else failed.code.name


def _instant(utc_ns: int) -> str:
    return datetime.fromtimestamp(utc_ns / NS_PER_S, UTC).isoformat(timespec="seconds")
