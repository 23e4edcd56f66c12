"""What a service shows of its models' monitors: alerts, status, metrics, doctor, and the end of a step down."""

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.exposition import generate_latest
from tests.engine.test_model_monitor import LADDER, Desk, run_several, saved, several
from typer.testing import CliRunner

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.lineup import LineUp, Serving
from quotelife.records import DecisionRecord, RequestRecord
from quotelife_client import AsyncClient, Posture, Reason, ServiceError
from quotelife_server import monitoring
from quotelife_server.alerts import (
    MODEL_DEGRADED,
    MODEL_INPUTS,
    MODEL_STEPPED_DOWN,
    MODEL_WARNED,
    Alert,
    Alerts,
)
from quotelife_server.cli import monitor as monitor_command
from quotelife_server.cli.commands import app as commands
from quotelife_server.cli.doctor_service import of_status, unjudged_in_words
from quotelife_server.monitoring import ModelWatch, group_status, label_counts, monitor_families
from reference import jump_kit
from reference.jump_kit import RATE
from reference.service_kit import CONFIG, running, write_config

S = 1_000_000_000


def text_of(engine: Engine) -> str:
    class Families:
        def collect(self):  # type: ignore[no-untyped-def]
            return monitor_families(engine)

    return generate_latest(Families()).decode()  # type: ignore[arg-type]


def test_alerts_rise_with_the_ladder_and_end_when_the_model_is_right_again() -> None:
    desk = Desk(LADDER)
    alerts = Alerts()
    watch = ModelWatch(desk.engine, alerts)
    seen: list[str] = []

    def run(seconds: int, rate: float) -> None:
        for _ in range(seconds // 10):
            desk.run(10, rate)
            watch.check(desk.now_ns)
            seen.extend(each.name for each in alerts.active() if each.name not in seen)

    run(120, RATE)
    assert seen == []
    run(400, 8 * RATE)
    assert seen == [MODEL_WARNED, MODEL_DEGRADED, MODEL_STEPPED_DOWN]
    (down,) = [each for each in alerts.active() if each.name == MODEL_STEPPED_DOWN]
    assert down.text.startswith("1 of 1 groups: X: P is too low: ")
    run(1500, RATE)
    assert alerts.active() == []
    assert dict(alerts.levels()) == dict.fromkeys(seen, 0)


def test_a_challenger_that_is_wrong_is_named_in_the_alert_with_what_to_do(tmp_path: Path) -> None:
    desk = Desk(LADDER, rate=8 * RATE)
    wrong = saved(tmp_path, RATE)
    canary = Serving(challenger=wrong.digest, canary_bp=10_000)
    desk.engine.apply_lineup(LineUp(canary), {wrong.digest: wrong}, desk.now_ns)
    alerts = Alerts()
    desk.run(900, 8 * RATE)
    ModelWatch(desk.engine, alerts).check(desk.now_ns)
    (alert,) = alerts.active()
    assert alert.name == MODEL_DEGRADED
    assert alert.text.startswith(
        f"1 of 1 groups: X: challenger {wrong.digest[:16]} (end its canary): P is too low: "
    )


@pytest.fixture(scope="module")
def drifted() -> tuple[Desk, list[Alert], list[Any]]:
    """The shipped trees on a market of jumps, of which they know nothing, until the first window of scores is over and
    they too are worse than asked for: (desk, alerts, lines of the log)."""
    scores = {"window": "3min", "labels_min": 100, "outcomes_min": 1, "ece_max": 1e-3}
    desk = Desk({"features": {"samples_min": 100, "every": 2}, **scores})
    desk.engine.apply_model(load_artifact(builtin_artifact("simulated_trees")), desk.now_ns)
    alerts = Alerts()
    watch = ModelWatch(desk.engine, alerts)
    with structlog.testing.capture_logs() as lines, pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitoring, "_log", structlog.get_logger())
        for _ in range(250):
            desk.run(1)
            watch.check(desk.now_ns)
    return desk, alerts.active(), lines


def test_drift_of_inputs_is_an_alert_of_its_own_and_hides_no_other(
    drifted: tuple[Desk, list[Alert], list[Any]],
) -> None:
    """Drift stands first; when the answers go wrong too, that is an alert and a line of the log of its own, once."""
    _, alerts, lines = drifted
    by_name = {each.name: each for each in alerts}
    inputs = by_name.pop(MODEL_INPUTS)
    assert (
        inputs.text.startswith("1 of 1 groups: X: ") and "features are not distributed as in" in inputs.text
    )
    assert "simulated_trees was trained on simulated markets and knows no other" in inputs.text
    assert set(by_name) == {MODEL_WARNED}
    assert by_name[MODEL_WARNED].since_ns > inputs.since_ns and "PSI" not in by_name[MODEL_WARNED].text
    said = [(line["alert"], line["group"]) for line in lines if line["event"] == "model under an alert"]
    assert said == [(MODEL_INPUTS, "X"), (MODEL_WARNED, "X")]


def test_drift_alone_warns_and_fails_neither_doctor_nor_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk({"features": {"samples_min": 100, "every": 2}})
    desk.engine.apply_model(load_artifact(builtin_artifact("simulated_trees")), desk.now_ns)
    desk.run(200)
    alerts = Alerts()
    ModelWatch(desk.engine, alerts).check(desk.now_ns)
    unjudged, early = desk.engine.monitors.unjudged()
    status = admin.GetStatusResponse(
        state=admin.SERVICE_STATE_SERVING,
        groups=[group_status(desk.engine, 0)],
        alerts=[admin.Alert(name=each.name, text=each.text) for each in alerts.active()],
        groups_unjudged=unjudged,
        groups_first_window=early,
    )
    found = {each.name: each for each in of_status(status)}
    for name in ("alert model_inputs", "inputs in X", "scores"):
        assert (found[name].good, found[name].mark) == (True, "WARN")
    assert "knows no other" in found["inputs in X"].text and found["models"].good
    assert found["scores"].text.startswith("1 groups are not judged yet: no whole learning.monitor.window")
    shown = monitor_of(status, monkeypatch)
    output = " ".join(shown.output.split())
    assert shown.exit_code == 0 and "knows no other" in output and "are not judged yet" in output


def test_lines_of_the_log_about_models_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten groups under an alert at once and three lines a minute: the rest are counted when the minute is over."""
    rates = [16 * RATE] * 10
    engine = Engine(
        several(rates, {"cusum": {"warn": "1min"}}), model=jump_kit.model(RATE), start_ns=jump_kit.START_NS
    )
    run_several(engine, rates, 120)
    monkeypatch.setattr(monitoring, "LINES_A_MINUTE", 3)
    alerts = Alerts()
    watch = ModelWatch(engine, alerts)
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(monitoring, "_log", structlog.get_logger())
        for minute in range(3):
            watch.check(engine.now_ns + minute * 60 * S)
    told = [line for line in lines if line["event"] == "model under an alert"]
    (rest,) = [line for line in lines if line["event"] == "more models under an alert"]
    assert len(told) == 3 and rest["models"] >= 7
    (alert,) = [each for each in alerts.active() if each.text.startswith("10 of 10 groups: ")]
    assert alert.text.count("P is too low") >= 5 and "and 5 more" in alert.text


def test_scores_are_judged_once_there_are_labels_enough() -> None:
    """No whole window yet and too few labels in one are told apart."""
    for labels_min, unjudged in ((500, 0), (100_000, 1)):
        desk = Desk({"window": "2min", "labels_min": labels_min, "outcomes_min": 1})
        desk.run(60)
        assert desk.engine.monitors.unjudged() == (1, 1), "no whole window yet"
        assert "quotelife_monitor_first_window_groups 1.0" in text_of(desk.engine)
        desk.run(120)
        assert desk.engine.monitors.unjudged() == (unjudged, 0)
        assert f"quotelife_monitor_unjudged_groups {unjudged:.1f}" in text_of(desk.engine)
        assert "quotelife_monitor_first_window_groups 0.0" in text_of(desk.engine)


def test_a_group_is_in_its_first_window_while_its_model_has_no_label_yet(tmp_path: Path) -> None:
    desk = Desk({"window": "2min", "labels_min": 500, "outcomes_min": 1})
    desk.run(180)
    assert desk.engine.monitors.unjudged() == (0, 0)
    desk.engine.apply_model(saved(tmp_path, 2 * RATE), desk.now_ns)
    desk.decide(desk.now_ns, 0)
    desk.engine.on_timer(desk.now_ns + 3 * S)
    assert desk.engine.monitors.unjudged() == (1, 1)


def test_groups_without_enough_labels_are_told_apart_in_words() -> None:
    told = unjudged_in_words(admin.GetStatusResponse(groups_unjudged=5, groups_first_window=2))
    assert told.startswith("2 groups are not judged yet") and "3 groups have too few labels" in told
    assert "not judged yet" not in unjudged_in_words(admin.GetStatusResponse(groups_unjudged=3))


@pytest.mark.parametrize("watched", ["monitor", "recalibration", "held_tolerance"])
def test_resolved_labels_are_counted_whoever_asks_for_them(watched: str) -> None:
    """By one of the three alone; what was opened is resolved, or open: of the last 2 s, or 5 s of a life."""
    content = json.loads(jump_kit.config({"enabled": watched == "monitor"}).model_dump_json(by_alias=True))
    content["learning"]["recalibration"]["enabled"] = watched == "recalibration"
    for posture in content["postures"].values():
        posture["held_tolerance"]["enabled"] = watched == "held_tolerance"
    engine = Engine(
        Config.model_validate_json(json.dumps(content)),
        model=jump_kit.model(RATE),
        start_ns=jump_kit.START_NS,
    )
    for now_ns, buffer in jump_kit.quotes([(60, RATE)]):
        engine.on_events(buffer)
        engine.decide(RequestRecord(0, 1, now_ns=now_ns, counterparty=0), DecisionRecord())
    counts = label_counts(engine)
    assert counts.opened > counts.resolved > 800 and counts.opened - counts.resolved <= 130
    assert (counts.censored, counts.overflowed, counts.thinned) == (0, 0, 0)
    assert 'outcome="thinned"' in text_of(engine)


@pytest.fixture(scope="module")
def stepped() -> Desk:
    desk = Desk({**LADDER, "automatic_return": False})
    desk.run(60)
    desk.run(400, 8 * RATE)
    return desk


def test_the_status_of_a_group_tells_scores_drift_labels_and_step(stepped: Desk) -> None:
    message = group_status(stepped.engine, 0)
    group = stepped.engine.monitors.group(0)
    assert (message.group, message.stepped_down) == ("X", True)
    assert message.since_utc_ns == group.since_ns and "P is too low" in message.reason
    (model,) = message.models
    assert [each.horizon_ns for each in model.scores] == [500_000_000, 2 * S]
    for line, scores in zip(model.scores, group.models[0].scores, strict=True):
        assert (line.labels, line.brier, line.ece) == (scores.labels, scores.brier, scores.ece)
        assert 0 < line.limit_warned < line.limit_degraded < line.limit_worst
    assert "does not say how features were distributed" in model.features_note
    counts = label_counts(stepped.engine)
    assert counts.opened > counts.resolved > 3000 and counts == message.labels
    found = {each.name: each for each in of_status(admin.GetStatusResponse(groups=[message], labels=counts))}
    assert not found["model in X"].good and "STEPPED DOWN since" in found["model in X"].text
    assert not found["models"].good and found["labels"].good


def test_the_metrics_have_every_score_and_the_step(stepped: Desk) -> None:
    text = text_of(stepped.engine)
    assert 'quotelife_monitor_groups{level="stepped_down"} 1.0' in text
    assert 'quotelife_labels_total{outcome="resolved"}' in text
    for name in ("labels", "prevalence", "brier", "ece", "auc"):
        assert f'quotelife_model_{name}{{group="X",horizon="2s",model="0000000000000000"}}' in text
    assert 'direction="low"' in text


def test_metrics_of_many_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads(jump_kit.config({}).model_dump_json(by_alias=True))
    first = content["instruments"][0]
    content["instruments"] = [{**first, "name": f"X{i}", "symbol": f"X{i}"} for i in range(5)]
    wanted = Config.model_validate_json(json.dumps(content))
    engine = Engine(wanted, model=jump_kit.model(RATE), start_ns=jump_kit.START_NS)
    for now_ns, buffer in jump_kit.quotes([(5, RATE)]):
        for i in range(5):
            buffer.clear()
            jump_kit.put(buffer, now_ns, instrument=i)
            engine.on_events(buffer)
        engine.on_timer(now_ns)
    monkeypatch.setattr(monitoring, "GROUPS_MEASURED_MAX", 3)
    text = text_of(engine)
    assert 'group="X2"' in text and 'group="X3"' not in text
    assert 'quotelife_monitor_groups{level="well"} 5.0' in text


LEARNING = "learning: {monitor: {enabled: true, worst: step_down, automatic_return: false}}\n"


async def test_a_step_down_is_seen_in_reply_and_status_and_ended_by_an_operator(tmp_path: Path) -> None:
    async with (
        running(write_config(tmp_path, CONFIG + LEARNING)) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        now_ns = app.clock.now_ns()
        model = int(app.engine.model.digest[:16], 16)
        assert app.engine.step(now_ns, "BTC-USDT", True, source=1, reason="P is too low", model=model)
        for instrument, down in (("BTC-USDT", True), ("ETH-USDT", False)):
            reply = await client.get_expiry(instrument=instrument, side="BUY", counterparty="alpha")
            assert (Reason.MODEL_STEPPED_DOWN in reply.reasons) == down
            assert reply.posture_requested == Posture.CLIENT_PRIORITY
            assert (reply.posture_effective == Posture.RISK_AVERSE) == down
        status = await client.status(instruments=["BTC-USDT"])
        (group,) = status.groups
        assert group.stepped_down and group.reason == "P is too low"
        with pytest.raises(ServiceError, match="no instrument group is called 'nobody'"):
            await client.end_step_down("nobody", "why")
        with pytest.raises(ServiceError, match="reason"):
            await client.end_step_down("BTC-USDT", "")
        assert (await client.end_step_down("BTC-USDT", "looked at")).ended is True
        assert (await client.end_step_down("BTC-USDT", "again")).ended is False
        assert not (await client.status()).groups[0].stepped_down
        reply = await client.get_expiry(instrument="BTC-USDT", side="BUY", counterparty="alpha")
        assert Reason.MODEL_STEPPED_DOWN not in reply.reasons
        assert reply.posture_effective == Posture.CLIENT_PRIORITY


def monitor_of(
    status: admin.GetStatusResponse,
    monkeypatch: pytest.MonkeyPatch,
    ended: list[tuple[str, str]] | None = None,
) -> Any:
    """``quotelife monitor`` of a service with this status; what is ended goes to ``ended``."""

    class Client:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None: ...
        def status(self) -> admin.GetStatusResponse:
            return status

        def end_step_down(self, group: str, reason: str) -> admin.EndStepDownResponse:
            assert ended is not None
            ended.append((group, reason))
            return admin.EndStepDownResponse(ended=True)

    import quotelife_client

    monkeypatch.setattr(quotelife_client, "Client", Client)
    return CliRunner().invoke(commands, ["monitor"], env={"COLUMNS": "200"})


def test_the_command_shows_what_is_not_well_and_exits_with_1(
    stepped: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = admin.GetStatusResponse(
        groups=[group_status(stepped.engine, 0)],
        labels=label_counts(stepped.engine),
        shadows_lost=3,
        labels_lost=2,
    )
    ended: list[tuple[str, str]] = []
    assert monitor_command.LEVELS[admin.MONITOR_LEVEL_DEGRADED] == "DEGRADED"
    shown = monitor_of(status, monkeypatch, ended)
    assert shown.exit_code == 1
    assert (
        "STEPPED DOWN" in shown.output
        and "P is too low" in shown.output
        and "2 labels, 3 answers of shadows" in shown.output
    )
    (told,) = json.loads(CliRunner().invoke(commands, ["monitor", "X", "--json"]).output)
    assert told["stepped_down"] is True and len(told["models"][0]["scores"]) == 2
    assert CliRunner().invoke(commands, ["monitor", "Y"]).exit_code == 2
    assert CliRunner().invoke(commands, ["monitor", "--end", "why"]).exit_code == 2
    done = CliRunner().invoke(commands, ["monitor", "X", "--end", "looked at"])
    assert done.exit_code == 0 and "the step down is ended" in done.output and ended == [("X", "looked at")]
