"""Caps on exposure as an operator sees them: status, metrics, alert, doctor."""

from pathlib import Path
from typing import Any

import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_client import AsyncClient, Reason
from quotelife_server.alerts import EXPOSURE_CAPPED
from quotelife_server.cli.doctor_service import of_status
from quotelife_server.exposing import ALERT_NS, CAPS_SHOWN_MAX
from reference.service_kit import CONFIG, running, write_config
from reference.watch_kit import WatchKit

LARGE = types.Size(quantity="2000000", unit=types.SIZE_UNIT_BASE_QUANTITY)
TWO = types.Size(quantity="2", unit=types.SIZE_UNIT_BASE_QUANTITY)


def capped(*, instrument: float | None = None, desk: float | None = None) -> str:
    text = CONFIG.replace("volatility_index: DVOL\n", "volatility_index: DVOL\n    adverse_ticks: 3\n")
    if instrument is not None:
        text = text.replace(
            "volatility_index: DVOL\n", f"volatility_index: DVOL\n    exposure_max: {instrument!r}\n"
        )
    if desk is not None:
        text = text.replace("  plain: {}\n", f"  plain: {{exposure_max: {desk!r}}}\n")
    return text


def ask(kit: WatchKit, name: str, **fields: Any) -> expiry.GetExpiryResponse:
    asked = {"size": TWO, **fields}
    return kit.get(watch=True, watch_owner="oms", quote_id=name, desk="plain", **asked)


def test_without_a_cap_nothing_is_shown(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path)
    kit.open()
    ask(kit, "q1")
    assert kit.service.exposure.caps() == []
    kit.service.exposure.check(kit.alerts, kit.clock.now_ns())
    assert kit.alerts.active() == []


@pytest.mark.parametrize("kind", ["instrument", "desk"])
def test_each_cap_counts_what_it_holds_back(tmp_path: Path, kind: str) -> None:
    free = WatchKit(tmp_path, text=capped())
    free.open()
    ask(free, "q1")
    one = free.engine.watching.exposures()[0][0]
    caps = {"instrument": 2.5 * one, "desk": 25 * one} if kind == "instrument" else {"desk": 2.5 * one}
    folder = tmp_path / "capped"
    folder.mkdir()
    kit = WatchKit(folder, text=capped(**caps))
    kit.open()
    replies = [ask(kit, f"q{k}") for k in range(4)]
    replies += [ask(kit, f"large {k}", size=LARGE) for k in range(2)]
    bound = [each for each in replies if types.CONSTRAINT_EXPOSURE in each.binding]
    quoted = sum(each.decision == types.DECISION_QUOTE for each in bound)
    assert quoted and len(bound) > quoted
    shown = {(cap.kind, cap.name): cap for cap in kit.service.exposure.caps()}
    assert set(shown) == (
        {("instrument", "BTC-USDT"), ("desk", "plain")} if len(caps) == 2 else {("desk", "plain")}
    )
    cap = shown[kind, "BTC-USDT" if kind == "instrument" else "plain"]
    assert (cap.shortened, cap.declined) == (quoted, len(bound) - quoted)
    assert 0.9 < cap.share <= 1.0 and cap.exposure_max == 2.5 * one
    if kind == "instrument":
        other = shown["desk", "plain"]
        assert (other.shortened, other.declined) == (0, 0) and other.exposed == cap.exposed

    kit.service.exposure.check(kit.alerts, kit.clock.now_ns())
    (alert,) = kit.alerts.active()
    assert alert.name == EXPOSURE_CAPPED and f"{kind} {cap.name} " in alert.text
    assert f"{quoted} shortened, {len(bound) - quoted} not quoted" in alert.text
    kit.service.exposure.check(kit.alerts, kit.clock.now_ns() + ALERT_NS)
    assert kit.alerts.active() == []
    messages = list(kit.service.exposure.status())
    assert len(messages) == len(caps)
    assert (messages[0].WhichOneof("of"), messages[0].exposed) == (kind, cap.exposed), "the fullest first"


def test_the_status_is_bounded(tmp_path: Path) -> None:
    names = [f"D{k:04}" for k in range(CAPS_SHOWN_MAX + 10)]
    desks = "".join(f"  {name}: {{exposure_max: 1}}\n" for name in names)
    kit = WatchKit(tmp_path, text=CONFIG.replace("  plain: {}\n", f"  plain: {{}}\n{desks}"))
    assert len(kit.service.exposure.caps()) == len(names)
    assert len(list(kit.service.exposure.status())) == CAPS_SHOWN_MAX


async def test_status_metrics_alert_and_doctor_of_a_service(tmp_path: Path) -> None:
    async with (
        running(write_config(tmp_path, capped(instrument=1e-9, desk=1e6))) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        answer = await client.get_expiry(instrument="BTC-USDT", side="BUY", counterparty="alpha")
        assert Reason.EXPOSURE in answer.reasons, answer
        app.service.exposure.check(app.alerts, app.clock.now_ns())
        status = await client.status()
        caps = {each.WhichOneof("of"): each for each in status.exposures}
        assert (caps["instrument"].instrument, caps["desk"].desk) == ("BTC-USDT", "plain")
        assert caps["instrument"].shortened + caps["instrument"].declined == 1
        assert EXPOSURE_CAPPED in {each.name for each in status.alerts}
        findings = {each.name: each for each in of_status(status)}
        assert findings[f"alert {EXPOSURE_CAPPED}"].good, "a cap that does its work is no failure"
        assert "instrument BTC-USDT 0 of 1e-09" in findings["exposure"].text
        text = (await app.exposition.text()).decode()
        assert 'quotelife_exposure_max{kind="desk",name="plain"} 1e+06' in text
        assert 'quotelife_exposure{kind="instrument",name="BTC-USDT"} 0.0' in text
        assert 'quotelife_exposure_capped_total{kind="desk",name="plain",outcome="declined"} 0.0' in text


def test_of_a_package_the_leg_whose_instrument_is_full_is_counted(tmp_path: Path) -> None:
    kit = WatchKit(tmp_path, text=capped(instrument=1e-3, desk=1e9))
    legs = [
        expiry.Leg(instrument=name, side=types.SIDE_BUY, ratio="1")
        for name in ("BTC-USDT", "ETH-USDT", "BTC-USD")
    ]
    many = types.Size(quantity="1000000", unit=types.SIZE_UNIT_CONTRACTS)
    reply = kit.get(instrument="", legs=legs, size=many, counterparty="alpha", desk="plain")
    assert reply.decision != types.DECISION_QUOTE and types.REASON_EXPOSURE in reply.reasons
    assert {cap.name: cap.declined for cap in kit.service.exposure.caps()} == {"BTC-USDT": 1, "plain": 0}


def test_both_sides_of_a_request_together_stay_within_a_cap(tmp_path: Path) -> None:
    free = WatchKit(tmp_path, text=capped())
    free.open()
    ask(free, "q1", side=types.SIDE_TWO_WAY)
    both = free.engine.watching.exposures()[0][0]
    bound = 0
    for share in (0.3, 0.6, 0.9):
        folder = tmp_path / f"capped {share}"
        folder.mkdir()
        kit = WatchKit(folder, text=capped(desk=share * both))
        kit.open()
        for k in range(3):
            reply = ask(kit, f"q{k}", side=types.SIDE_TWO_WAY)
            bound += sum(types.CONSTRAINT_EXPOSURE in side.binding for side in reply.sides)
            assert kit.engine.watching.exposures()[1][0] <= share * both * (1 + 1e-9)
    assert bound > 0
