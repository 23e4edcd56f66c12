"""What the served models are worth now: alerts, messages of the status, and how a step down is ended."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.engine import Engine
from quotelife.model.ladder import GroupMonitor, Level, ModelMonitor, StepSource, in_words
from quotelife.model.recalibration import ANCHORS_NS
from quotelife_server import convert
from quotelife_server.alerts import MODEL_DEGRADED, MODEL_STEPPED_DOWN, MODEL_WARNED, Alerts
from quotelife_server.log import get_logger
from quotelife_server.rpc import Answer, CallContext, Code, MethodTable, RpcError, Unary

if TYPE_CHECKING:
    from quotelife_server.handlers import Service

_log = get_logger(__name__)

GROUPS_NAMED_MAX = 5
GROUPS_SHOWN_MAX = 1000
GROUPS_MEASURED_MAX = 100
REASON_BYTES_MAX = 200
LABEL_OUTCOMES = ("opened", "resolved", "censored", "overflowed", "thinned")
_SCORES = {
    "labels": "Labels in the window",
    "prevalence": "Share of them that hit",
    "brier": "Rolling Brier score of P as served",
    "skill": "Rolling Brier skill",
    "ece": "Rolling calibration error",
    "auc": "Rolling area under the curve",
}


class ModelWatch:
    """Raises and ends the alerts about served models: warned of, degraded, stepped down."""

    def __init__(self, engine: Engine, alerts: Alerts) -> None:
        self._engine = engine
        self._alerts = alerts

    def check(self, now_ns: int) -> None:
        """To be called after every timer of the engine."""
        monitors = self._engine.monitors
        steps = monitors.steps()
        said = [f"{name}: {reason}" for name, _, _, reason, _ in steps[:GROUPS_NAMED_MAX]]
        self._say(MODEL_STEPPED_DOWN, len(steps), said, " (Risk Averse until well again)", now_ns)
        (warned, first_warned), (degraded, first_degraded) = monitors.unwell(GROUPS_NAMED_MAX)
        self._say(MODEL_WARNED, warned, [self._words(place) for place in first_warned], "", now_ns)
        advice = "; promote or roll back a model, or let such groups step down (learning.monitor.worst)"
        self._say(MODEL_DEGRADED, degraded, [self._words(place) for place in first_degraded], advice, now_ns)

    def _words(self, place: int) -> str:
        group = self._engine.monitors.group(place)
        worst = [
            each
            for each in group.models
            if min(each.level, Level.DEGRADED) == min(group.level, Level.DEGRADED)
        ]
        said = [
            in_words(each)
            if each.champion
            else f"challenger {each.model:016x} (end its canary): {in_words(each)}"
            for each in worst
        ]
        return f"{group.name}: {'; '.join(said)}"

    def _say(self, alert: str, count: int, said: Sequence[str], more: str, now_ns: int) -> None:
        if not count:
            self._alerts.clear(alert, now_ns)
            return
        others = f" and {count - len(said)} more" if count > len(said) else ""
        self._alerts.raise_(alert, " | ".join(said) + others + more, now_ns)


def group_status(engine: Engine, place: int) -> admin.GroupStatus:
    """One instrument group: what it has learned, and what its models are worth."""
    group, learned = engine.monitors.group(place), engine.group_learned(place)
    message = admin.GroupStatus(
        group=group.name,
        stepped_down=group.down,
        level=cast(Any, group.level + 1),
        labels=admin.LabelCounts(
            opened=learned.opened,
            resolved=learned.resolved,
            censored=learned.censored,
            overflowed=learned.overflowed,
            thinned=learned.thinned,
        ),
        held_tolerance=learned.tolerance,
    )
    if group.down:
        _put_step(message, group)
    for horizon_ns, (a, b) in zip(ANCHORS_NS, learned.calibration, strict=False):
        message.calibration.add(horizon_ns=horizon_ns, a=a, b=b)
    message.models.extend(_model_status(each) for each in group.models)
    return message


def _put_step(message: admin.GroupStatus, group: GroupMonitor) -> None:
    message.since_utc_ns = group.since_ns
    message.reason = group.reason


def _model_status(of: ModelMonitor) -> admin.ModelMonitorStatus:
    message = admin.ModelMonitorStatus(
        model=f"{of.model:016x}",
        level=cast(Any, of.level + 1),
        text=in_words(of),
        features_samples=of.psi_samples,
        features_above=of.psi_above,
        features_own=of.psi_own,
        features_note=of.psi_note,
    )
    for horizon_ns, scores, (low, high), limits in zip(
        ANCHORS_NS, of.scores, of.cusum, of.limits, strict=True
    ):
        line = message.scores.add(
            horizon_ns=horizon_ns,
            labels=scores.labels,
            cusum_p_low=low,
            cusum_p_high=high,
            limit_warned=limits[0],
            limit_degraded=limits[1],
            limit_worst=limits[2],
        )
        for name in ("prevalence", "brier", "skill", "ece", "auc"):
            value = getattr(scores, name)
            if value == value:  # NaN: there is nothing to say
                setattr(line, name, value)
    for name, psi in of.psi:
        message.features.add(feature=name, psi=psi)
    return message


def label_counts(engine: Engine) -> admin.LabelCounts:
    """Of all groups."""
    return admin.LabelCounts(**dict(zip(LABEL_OUTCOMES, engine.label_counts(), strict=True)))


def monitor_families(engine: Engine) -> Iterator[Metric]:
    """Prometheus figures; those of single groups for the first ``GROUPS_MEASURED_MAX`` of the configuration alone."""
    monitors = engine.monitors
    levels = GaugeMetricFamily(
        "quotelife_monitor_groups", "Instrument groups by how their models do", labels=("level",)
    )
    for level, count in zip(("well", "warned", "degraded", "stepped_down"), monitors.levels(), strict=True):
        levels.add_metric((level,), count)
    yield levels
    labels = CounterMetricFamily(
        "quotelife_labels", "Decisions and probes watched for their first passage", labels=("outcome",)
    )
    for outcome, count in zip(LABEL_OUTCOMES, engine.label_counts(), strict=True):
        labels.add_metric((outcome,), count)
    yield labels
    keys = ("group", "model", "horizon")
    scores = {
        name: GaugeMetricFamily(f"quotelife_model_{name}", text, labels=keys)
        for name, text in _SCORES.items()
    }
    cusum = GaugeMetricFamily(
        "quotelife_model_cusum",
        "Evidence against P, over the limit of a warning",
        labels=(*keys, "direction"),
    )
    psi = GaugeMetricFamily(
        "quotelife_model_psi_worst",
        "Population stability index of the worst feature",
        labels=("group", "model"),
    )
    for place in range(min(monitors.groups, GROUPS_MEASURED_MAX)):
        group = monitors.group(place)
        for each in group.models:
            model = f"{each.model:016x}"
            for k, horizon in enumerate(("500ms", "2s")):
                for name, family in scores.items():
                    value = getattr(each.scores[k], name)
                    if value == value:
                        family.add_metric((group.name, model, horizon), value)
                for direction, value in zip(("low", "high"), each.cusum[k], strict=True):
                    cusum.add_metric((group.name, model, horizon, direction), value / each.limits[k][0])
            if each.psi:
                psi.add_metric((group.name, model), each.psi[0][1])
    yield from scores.values()
    yield cusum
    yield psi


def monitor_methods(service: "Service") -> MethodTable:
    engine, clock, ledger = service.engine, service.clock, service.ledger

    def end_step_down(payload: bytes, context: CallContext) -> Answer:
        ledger.check()
        request = convert.parse(admin.EndStepDownRequest, payload)
        faults = convert.Faults()
        if not request.reason or len(request.reason.encode()) > REASON_BYTES_MAX:
            faults.add("reason", f"must be given, in at most {REASON_BYTES_MAX} bytes")
        faults.raise_if_any()
        if engine.monitors.place(request.group) is None:
            raise RpcError(Code.NOT_FOUND, f"no instrument group is called {request.group!r}")
        ended = engine.step(
            clock.now_ns(), request.group, False, source=StepSource.OPERATOR, reason=request.reason
        )
        _log.warning(
            "step down ended",
            group=request.group,
            was_in_force=ended,
            reason=request.reason,
            peer=context.peer,
        )
        return ledger.acknowledge(admin.EndStepDownResponse(ended=ended).SerializeToString())

    return {"/quote_expiry.v1.AdminService/EndStepDown": Unary(end_step_down)}
