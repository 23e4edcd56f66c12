"""What a service shows of its models' monitors: alerts, status, metrics, doctor, and the end of a step down."""

import json
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from tests.engine.test_model_monitor import LADDER, Desk, saved
from typer.testing import CliRunner

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.model.lineup import LineUp, Serving
from quotelife.records import DecisionRecord, RequestRecord
from quotelife_client import AsyncClient, Posture, Reason, ServiceError
from quotelife_server import monitoring
from quotelife_server.alerts import MODEL_DEGRADED, MODEL_STEPPED_DOWN, MODEL_WARNED, Alerts
from quotelife_server.cli import monitor as monitor_command
from quotelife_server.cli.commands import app as commands
from quotelife_server.cli.doctor_service import of_status
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
    assert down.text.startswith("X: P is too low: ")
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
    assert alert.text.startswith(f"X: challenger {wrong.digest[:16]} (end its canary): P is too low: ")


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

    class Client:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None: ...
        def status(self) -> admin.GetStatusResponse:
            return status

        def end_step_down(self, group: str, reason: str) -> admin.EndStepDownResponse:
            ended.append((group, reason))
            return admin.EndStepDownResponse(ended=True)

    import quotelife_client

    monkeypatch.setattr(quotelife_client, "Client", Client)
    assert monitor_command.LEVELS[admin.MONITOR_LEVEL_DEGRADED] == "DEGRADED"
    shown = CliRunner().invoke(commands, ["monitor"], env={"COLUMNS": "200"})
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
