"""What the served models are worth now: alerts, messages of the status, and how a step down is ended."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.engine import Engine
from quotelife.model.ladder import (
    Cause,
    GroupMonitor,
    Level,
    ModelMonitor,
    StepSource,
    in_words,
    inputs_in_words,
)
from quotelife.model.recalibration import ANCHORS_NS
from quotelife.units import NS_PER_S
from quotelife_server import convert
from quotelife_server.alerts import (
    MODEL_DEGRADED,
    MODEL_INPUTS,
    MODEL_STEPPED_DOWN,
    MODEL_WARNED,
    Alerts,
)
from quotelife_server.log import get_logger
from quotelife_server.rpc import Answer, CallContext, Code, MethodTable, RpcError, Unary

if TYPE_CHECKING:
    from quotelife_server.handlers import Service

_log = get_logger(__name__)

GROUPS_NAMED_MAX = 5
GROUPS_SHOWN_MAX = 1000
GROUPS_MEASURED_MAX = 100
LINES_A_MINUTE = 20
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
    """Raises and ends the alerts about served models, one for each thing to be done: inputs unlike those of the
    training, warned of, degraded, stepped down. An alert says of how many groups it is and names the worst. What newly
    goes wrong is logged, model by model, whether or not its alert stands already."""

    def __init__(self, engine: Engine, alerts: Alerts) -> None:
        self._engine = engine
        self._alerts = alerts
        self._checked_ns: int | None = None
        self._down: set[str] = set()
        self._minute = 0
        self._lines = 0
        self._unsaid = 0

    def check(self, now_ns: int) -> None:
        """To be called after every timer of the engine; looks once a second, as often as a group is judged."""
        if self._checked_ns is not None and 0 <= now_ns - self._checked_ns < NS_PER_S:
            return
        self._checked_ns = now_ns
        monitors = self._engine.monitors
        steps = monitors.steps()
        said = [f"{name}: {reason}" for name, _, _, reason, _ in steps[:GROUPS_NAMED_MAX]]
        self._say(MODEL_STEPPED_DOWN, len(steps), said, " (Risk Averse until well again)", now_ns)
        (warned, worst_warned), (degraded, worst_degraded), (drifted, worst_drifted) = monitors.unwell(
            GROUPS_NAMED_MAX
        )
        self._say(MODEL_WARNED, warned, [self._answers(place) for place in worst_warned], "", now_ns)
        advice = "; promote or roll back a model, or let such groups step down (learning.monitor.worst)"
        self._say(
            MODEL_DEGRADED, degraded, [self._answers(place) for place in worst_degraded], advice, now_ns
        )
        inputs, advices = self._inputs(worst_drifted)
        self._say(MODEL_INPUTS, drifted, inputs, "".join(f"; {each}" for each in advices), now_ns)
        self._log_new(steps, now_ns)

    def _log_new(self, steps: Sequence[tuple[str, int, int, str, int]], now_ns: int) -> None:
        """A line for each model that has newly come under an alert, ``LINES_A_MINUTE`` at most; others are counted."""
        minute = now_ns // (60 * NS_PER_S)
        if minute != self._minute:
            if self._unsaid:
                _log.warning("more models under an alert", models=self._unsaid)
            self._minute, self._lines, self._unsaid = minute, 0, 0
        for name, _, _, reason, model in steps:
            if name not in self._down:
                self._log(MODEL_STEPPED_DOWN, name, model, reason)
        self._down = {name for name, *_ in steps}
        found, more = self._engine.monitors.newly()
        self._unsaid += more
        for place, model, causes in found:
            if self._lines >= LINES_A_MINUTE:
                self._unsaid += 1
                continue
            group = self._engine.monitors.group(place)
            for each in group.models:
                if each.model != model:
                    continue
                if causes & Cause.FEATURES and each.causes & Cause.FEATURES:
                    self._log(MODEL_INPUTS, group.name, model, f"{inputs_in_words(each)}; {advice_on(each)}")
                if causes & ~Cause.FEATURES and each.level > Level.WELL:
                    alert = MODEL_DEGRADED if each.level >= Level.DEGRADED else MODEL_WARNED
                    self._log(alert, group.name, model, _named(each, in_words(each)))

    def _log(self, alert: str, group: str, model: int, text: str) -> None:
        if self._lines >= LINES_A_MINUTE:
            self._unsaid += 1
            return
        self._lines += 1
        _log.warning("model under an alert", alert=alert, group=group, model=f"{model:016x}", text=text)

    def _answers(self, place: int) -> str:
        group = self._engine.monitors.group(place)
        said = [
            _named(each, in_words(each))
            for each in group.models
            if min(each.level, Level.DEGRADED) == min(group.level, Level.DEGRADED)
        ]
        return f"{group.name}: {'; '.join(said)}"

    def _inputs(self, places: Sequence[int]) -> tuple[list[str], list[str]]:
        """Of each place what is unlike the training; and what to do, once for each model."""
        said: list[str] = []
        advices: dict[str, None] = {}
        for place in places:
            group = self._engine.monitors.group(place)
            drifted = [each for each in group.models if each.causes & Cause.FEATURES]
            said.append(f"{group.name}: {'; '.join(_named(each, inputs_in_words(each)) for each in drifted)}")
            advices.update(dict.fromkeys(advice_on(each) for each in drifted))
        return said, list(advices)

    def _say(self, alert: str, count: int, said: Sequence[str], more: str, now_ns: int) -> None:
        if not count:
            self._alerts.clear(alert, now_ns)
            return
        others = f" and {count - len(said)} more" if count > len(said) else ""
        of = f"{count} of {self._engine.monitors.inhabited} groups: "
        self._alerts.raise_(alert, of + " | ".join(said) + others + more, now_ns)


def _named(of: ModelMonitor, text: str) -> str:
    return text if of.champion else f"challenger {of.model:016x} (end its canary): {text}"


def advice_on(of: ModelMonitor) -> str:
    """What to do about a model that is asked what it was not trained on."""
    if of.simulated:
        return (
            f"{of.name} was trained on simulated markets and knows no other: train on recordings of this market "
            "(quotelife labels, quotelife train) and promote the result"
        )
    name = of.name or f"{of.model:016x}"
    return f"train {name} again on this market as it is now (quotelife labels, quotelife train)"


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
        features_text=f"{inputs_in_words(of)}; {advice_on(of)}" if of.causes & Cause.FEATURES else "",
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
    yield GaugeMetricFamily(
        "quotelife_monitor_inputs_groups",
        "Instrument groups whose models are asked what they were not trained on",
        value=monitors.unwell(0)[2][0],
    )
    unjudged, early = monitors.unjudged()
    yield GaugeMetricFamily(
        "quotelife_monitor_unjudged_groups",
        "Instrument groups whose scores are not judged: too few labels, or no whole window yet",
        value=unjudged,
    )
    yield GaugeMetricFamily(
        "quotelife_monitor_first_window_groups",
        "Those among the unjudged that have had no whole window yet",
        value=early,
    )
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
