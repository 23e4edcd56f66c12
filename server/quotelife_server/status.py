"""AdminService status: everything the service knows about itself, in one message."""

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.features.schema import SCHEMA_HASH
from quotelife.model.registry import Failure
from quotelife_server import convert
from quotelife_server.alerts import Alert
from quotelife_server.capturing import CaptureFigures
from quotelife_server.feeds.base import FeedFigures
from quotelife_server.handlers import Service, State
from quotelife_server.journaling import JournalLedger
from quotelife_server.limits import in_pieces
from quotelife_server.model_methods import champion_status
from quotelife_server.model_methods import model_failures as model_failed
from quotelife_server.monitoring import GROUPS_SHOWN_MAX, group_status, label_counts

PIECE = 50  # instruments handled in one go; between two pieces calls are answered
GROUPS_PIECE = 10

KILLS_SHOWN_MAX = 1000
CALENDAR_SHOWN_MAX = 1000

FEED_FIELDS = ("reconnects", "messages", "bytes", "gaps", "decode_errors")


def software_version() -> str:
    try:
        return version("quotelife")
    except PackageNotFoundError:  # run from the source tree
        return "0+source"


async def status_reply(
    service: Service,
    *,
    indices: Sequence[int],
    started_ns: int,
    wall_offset_ns: int,
    feeds: Iterable[FeedFigures],
    config_problems: Sequence[str],
    restart_required: Sequence[str],
    alerts: Sequence[Alert],
    model_failures: Sequence[Failure] = (),
    capture: CaptureFigures | None = None,
    journal: JournalLedger | None = None,
    feeds_of: Callable[[str], Iterable[str]] = lambda _: (),
) -> bytes:
    """The bytes of a ``GetStatusResponse`` for the instruments of ``indices``."""
    engine, clock = service.engine, service.clock
    now_ns = clock.now_ns()
    response = admin.GetStatusResponse(
        version=software_version(),
        boot_id=service.boot_id,
        now_utc_ns=now_ns,
        uptime_ns=now_ns - started_ns,
        wall_offset_ns=wall_offset_ns,
        input_sequence=engine.input_sequence,
        in_flight=service.in_flight.count,
        config_revision=engine.config_revision,
        config_problems=config_problems[:100],
        model=champion_status(engine),
        model_failures=model_failed(model_failures),
        schema_hash=SCHEMA_HASH,
        restart_required=restart_required,
        kills=[convert.kill_status(kill) for kill in engine.kills()[:KILLS_SHOWN_MAX]],
        alerts=[admin.Alert(name=each.name, text=each.text, since_utc_ns=each.since_ns) for each in alerts],
    )
    if capture is not None:
        response.capture.CopyFrom(
            admin.CaptureStatus(
                writable=not capture.fault,
                records=capture.records,
                lost=capture.lost,
                segments=capture.segments,
                fault=capture.fault,
            )
        )
    killed = service.state == State.SERVING and any(kill.counterparty is None for kill in engine.kills())
    state = admin.SERVICE_STATE_KILLED if killed else service.state.value  # same numbers
    response.state = cast(Any, state)
    if journal is not None:
        response.journal.CopyFrom(_journal_status(journal))
    response.calendar.extend(convert.calendar_status(engine, indices, now_ns)[:CALENDAR_SHOWN_MAX])
    name_of = convert.names_by_hash(engine)
    async for piece in in_pieces(indices, PIECE):
        now_ns = clock.now_ns()
        for index in piece:
            instrument = engine.instruments[index]
            status = engine.instrument_status(index, now_ns)
            message = convert.instrument_status(instrument, status, now_ns, name_of)
            message.feeds.extend(feeds_of(instrument.name))
            response.instruments.append(message)
    response.watch.CopyFrom(service.watching.status())
    response.exposures.extend(service.exposure.status())
    response.labels.CopyFrom(label_counts(engine))
    response.groups_unjudged, response.groups_first_window = engine.monitors.unjudged()
    response.shadows_lost = journal.shadows_lost if journal is not None else 0
    response.labels_lost = journal.labels_lost if journal is not None else 0
    response.watches_lost = journal.watches_lost if journal is not None else 0
    response.inputs_lost = journal.inputs_lost if journal is not None else 0
    groups = list(dict.fromkeys(engine.group_of(index) for index in indices))[:GROUPS_SHOWN_MAX]
    async for places in in_pieces(groups, GROUPS_PIECE):
        response.groups.extend(group_status(engine, place) for place in places)
    for feed in feeds:
        line = response.feeds.add(feed=feed.name, connected=feed.connected)
        for name in FEED_FIELDS:
            setattr(line, name, feed.counters.get(name, 0))
        if feed.last_message_ns:
            line.data_age_ns = max(0, now_ns - feed.last_message_ns)
        if feed.fault is not None:
            line.fault = feed.fault.text
            line.fault_age_ns = max(0, now_ns - feed.fault.at_ns)
    return response.SerializeToString()


def _journal_status(journal: JournalLedger) -> admin.JournalStatus:
    return admin.JournalStatus(
        writable=not journal.fault,
        durability=journal.durability,
        records=journal.records,
        bytes=journal.figures.bytes,
        segments=journal.segments,
        unjournaled=journal.figures.unjournaled,
        refused=journal.figures.refused,
        fault=journal.fault,
    )
