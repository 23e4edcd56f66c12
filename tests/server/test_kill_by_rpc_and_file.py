"""Kills by RPC and by file, what of them outlives the process, and who may end them."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.decision.kill import STRANGERS, KillSource, KillStatus
from quotelife_client.aio import AsyncClient
from quotelife_client.calls import ServiceError
from quotelife_server.alerts import KILL_NOT_KEPT, KILLED, Alerts
from quotelife_server.app import Application
from quotelife_server.handlers import NOT_KEPT, Service
from quotelife_server.in_flight import InFlight
from quotelife_server.kill import (
    FILE_BYTES_MAX,
    LOOKS_MAX,
    KillControl,
    from_json,
    orders,
    to_json,
    write_synced,
)
from quotelife_server.metrics import Metrics
from quotelife_server.reply_store import ReplyStore
from quotelife_server.rpc import CallContext, Code, Deferred, RpcError, Unary
from reference.service_kit import GET_EXPIRY, Kit, refused, running, write_config

ADMIN = "/quote_expiry.v1.AdminService/"


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def control(kit: Kit, file: Path | None) -> KillControl:
    """As a service has it after a start, over the kit's engine."""
    kills = KillControl(kit.engine, kit.clock.now_ns, Alerts(), file)
    kills.restore()
    return kills


def kill(kit: Kit, counterparty: str = "") -> admin.KillResponse:
    request = admin.KillRequest(reason="test", counterparty=counterparty)
    return admin.KillResponse.FromString(kit.call(ADMIN + "Kill", request.SerializeToString()))


def enable(kit: Kit, counterparty: str = "") -> admin.EnableResponse:
    request = admin.EnableRequest(reason="test", counterparty=counterparty)
    return admin.EnableResponse.FromString(kit.call(ADMIN + "Enable", request.SerializeToString()))


# --- RPC ----------------------------------------------------------------------------------------------------


def test_a_kill_declines_every_answer_until_it_is_enabled(kit: Kit) -> None:
    since_ns = kill(kit).since_utc_ns
    assert since_ns == kit.clock.now_ns()
    for counterparty in ("alpha", "beta", "somebody", ""):
        reply = kit.get(counterparty=counterparty)
        assert reply.decision == types.DECISION_DECLINE
        assert list(reply.reasons) == [types.REASON_KILLED]
        assert reply.rule == types.RULE_KILL_SWITCH
    enable(kit)
    assert kit.get().decision == types.DECISION_QUOTE


def test_a_two_way_request_of_a_killed_counterparty_is_declined_on_both_sides(kit: Kit) -> None:
    kill(kit, "alpha")
    reply = kit.get(counterparty="alpha", side=types.SIDE_TWO_WAY)
    assert [side.decision for side in reply.sides] == [types.DECISION_DECLINE] * 2
    assert kit.get(counterparty="beta").decision == types.DECISION_QUOTE


def test_a_second_kill_keeps_the_first_time(kit: Kit) -> None:
    first = kill(kit).since_utc_ns
    kit.clock.advance_ns(1_000)
    assert kill(kit).since_utc_ns == first


def test_a_kill_is_taken_while_calls_in_flight_are_at_their_bound(kit: Kit) -> None:
    kit.service.in_flight = InFlight(1)
    assert kit.service.in_flight.try_enter(0)
    kill(kit)
    assert kit.engine.killed(None)


@pytest.mark.parametrize("method", ["Kill", "Enable"])
@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": "x" * 129}, "reason"),
        ({"reason": "ok", "counterparty": "nobody"}, "counterparty"),
    ],
)
def test_a_wrong_field_is_named(kit: Kit, method: str, fields: dict[str, str], at_fault: str) -> None:
    request = admin.KillRequest(**fields) if method == "Kill" else admin.EnableRequest(**fields)
    with refused() as errors:
        kit.call(ADMIN + method, request.SerializeToString())
    assert errors[0].code == Code.INVALID_ARGUMENT
    details = errors[0].details[0]
    assert isinstance(details, error_details_pb2.BadRequest)
    assert [violation.field for violation in details.field_violations] == [at_fault]
    assert not kit.engine.kills()


def test_a_killed_name_that_is_no_longer_configured_can_be_enabled(kit: Kit) -> None:
    kit.engine.kill(kit.clock.now_ns(), counterparty="gone")
    enable(kit, "gone")
    assert not kit.engine.kills()


def test_strangers_can_be_killed_together(kit: Kit) -> None:
    kill(kit, STRANGERS)
    assert kit.get(counterparty="somebody").decision == types.DECISION_DECLINE
    assert kit.get(counterparty="alpha").decision == types.DECISION_QUOTE


def test_a_retry_gets_no_firm_answer_of_before_the_kill(kit: Kit) -> None:
    first = kit.get(request_id="r1", counterparty="alpha")
    assert first.decision == types.DECISION_QUOTE
    kill(kit, "alpha")
    assert kit.get(request_id="r1", counterparty="alpha").decision == types.DECISION_DECLINE
    enable(kit, "alpha")
    assert kit.get(request_id="r1", counterparty="alpha") == first


def test_a_firm_answer_that_is_being_explained_does_not_outlive_a_kill(kit: Kit) -> None:
    postponed: list[Callable[[], None]] = []
    service = Service(
        kit.engine,
        kit.clock,
        boot_id="b00t",
        metrics=Metrics(),
        replies=ReplyStore(2**20, 2**60),
        in_flight=InFlight(64),
        retry_delay_ns=1,
        later=postponed.append,
    )
    entry = service.methods[GET_EXPIRY]
    assert isinstance(entry, Unary)
    outcomes: list[bytes | BaseException] = []
    for _ in range(2):
        answer = service.unary(entry, kit.payload(explain=True), CallContext(GET_EXPIRY))
        assert isinstance(answer, Deferred)
        answer.then(outcomes.append)
    postponed[0]()
    kill(kit)
    postponed[1]()
    first, second = outcomes
    assert isinstance(first, bytes)
    assert expiry.GetExpiryResponse.FromString(first).decision == types.DECISION_QUOTE
    assert (
        isinstance(second, RpcError) and second.code is Code.UNAVAILABLE and "a kill came" in second.message
    )


# --- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [(None, "kill file")]),
        ("# feed broken\n", [(None, "feed broken")]),
        ("alpha\n\n  beta # too fast\n", [("alpha", "kill file"), ("beta", "too fast")]),
        ("# night\nalpha\nbeta\n", [("alpha", "night"), ("beta", "night")]),
    ],
)
def test_lines_of_a_kill_file(text: str, wanted: list[tuple[str | None, str]]) -> None:
    assert list(orders(text)) == wanted


def test_the_file_is_obeyed_once_it_has_stayed_the_same_for_a_look(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "KILL"
    kills = control(kit, file)
    kills.look()
    file.write_text("alp")  # a name half written
    kills.look()
    file.write_text("alpha")
    kills.look()
    assert not kit.engine.kills()
    kills.look()
    assert [each[:3] for each in kit.engine.kills()] == [("alpha", "kill file", KillSource.FILE)]


def test_a_file_that_goes_on_changing_is_obeyed_all_the_same(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "KILL"
    kills = control(kit, file)
    for looks in range(1, 10):
        file.write_text("#" * looks)
        kills.look()
        if kit.engine.kills():
            break
    assert looks == LOOKS_MAX


async def test_the_file_is_looked_at_while_another_kill_is_written_down(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "KILL"
    kills = control(kit, file)
    slow = asyncio.Event()
    monkeypatch.setattr(kills, "keep", slow.wait)
    watching = asyncio.ensure_future(kills.watch())
    try:
        kit.engine.kill(kit.clock.now_ns(), counterparty="beta", reason="test", source=KillSource.RPC)
        await asyncio.sleep(0.02)
        file.touch()
        async with asyncio.timeout(5):
            while not kit.engine.killed(None):  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.002)
    finally:
        watching.cancel()


def test_a_changed_file_is_read_again(kit: Kit, tmp_path: Path) -> None:
    file = tmp_path / "KILL"
    kills = control(kit, file)
    for text in ("alpha", "beta # and beta"):
        file.write_text(text)
        for _ in range(2):
            kills.look()
    assert [each.counterparty for each in kit.engine.kills()] == ["alpha", "beta"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nobody-we-know\n",
        b"alpha\nnobody-we-know\n",
        b"\xff\xfe",
        b"alpha\n" * (FILE_BYTES_MAX // 6 + 1),
    ],
    ids=["empty", "strange name", "strange among known", "no text", "too long"],
)
def test_what_is_not_understood_kills_everybody(kit: Kit, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "KILL"
    file.write_bytes(content)
    control(kit, file)
    assert [kill.counterparty for kill in kit.engine.kills()] == [None]


def test_a_file_that_cannot_be_read_kills_everybody(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "KILL").mkdir()
    control(kit, tmp_path / "KILL")
    assert kit.engine.kills()[0].counterparty is None
    assert kit.engine.kills()[0].reason == "the kill file cannot be read: Is a directory"


def test_a_file_that_cannot_be_looked_at_kills_everybody(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "KILL").symlink_to(tmp_path / "KILL")
    control(kit, tmp_path / "KILL")
    assert kit.engine.killed(None)


# --- what outlives the process ------------------------------------------------------------------------------


async def test_kept_kills_are_in_force_after_a_restart(tmp_path: Path) -> None:
    before, file = Kit(tmp_path, warm=False), tmp_path / "KILL"
    kills = control(before, file)
    kills.kill("alpha", "limit", KillSource.RPC)
    kills.kill(None, "night", KillSource.RPC)
    await kills.keep()
    after = Kit(tmp_path, warm=False)
    control(after, file)
    assert after.engine.kills() == before.engine.kills()


async def test_an_ended_kill_stays_ended_after_a_restart(tmp_path: Path) -> None:
    before, file = Kit(tmp_path, warm=False), tmp_path / "KILL"
    kills = control(before, file)
    kills.kill(None, "night", KillSource.RPC)
    await kills.keep()
    kills.enable(None, "morning")
    await kills.keep()
    after = Kit(tmp_path, warm=False)
    control(after, file)
    assert after.engine.kills() == []


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"version": 2, "kills": []}', b'{"version": 1, "kills": [{"counterparty": 3}]}',
     b'{"version": 1, "kills": 5}', b"\xff\x00"],
)  # fmt: skip
def test_an_unreadable_state_kills_everybody(kit: Kit, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "KILL.state").write_bytes(content)
    control(kit, tmp_path / "KILL")
    assert kit.engine.killed(None)


def test_what_was_kept_is_read_back() -> None:
    kills = [
        KillStatus("alpha", 'say "no"\n', KillSource.THROTTLE, 1_700_000_000_000_000_001),
        KillStatus(None, "", KillSource.FILE, 0),
    ]
    assert from_json(to_json(kills)) == kills


async def test_a_kill_that_cannot_be_kept_is_in_force_and_alerted(kit: Kit, tmp_path: Path) -> None:
    alerts = Alerts()
    kills = KillControl(kit.engine, kit.clock.now_ns, alerts, tmp_path / "gone" / "KILL")
    kills.kill(None, "night", KillSource.RPC)
    for _ in range(2):  # asking again does not make it true
        with pytest.raises(OSError):
            await kills.keep()
    assert kit.engine.killed(None)
    assert [alert.name for alert in alerts.active()] == [KILLED, KILL_NOT_KEPT]
    (tmp_path / "gone").mkdir()
    await kills.keep()
    assert [alert.name for alert in alerts.active()] == [KILLED]


# --- the whole service --------------------------------------------------------------------------------------


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    async with running(write_config(tmp_path)) as application:
        yield application


async def until_killed(app: Application) -> None:
    async with asyncio.timeout(5):
        while not app.engine.kills():  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.002)


async def test_status_shows_kill_state_and_alert_and_health_goes_on(app: Application) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        await client.kill("desk closed")
        status = await client.status()
        assert status.state == admin.SERVICE_STATE_KILLED
        assert [(each.counterparty, each.reason, each.source) for each in status.kills] == [
            ("", "desk closed", admin.KILL_SOURCE_RPC)
        ]
        assert [(each.name, each.text) for each in status.alerts] == [(KILLED, "everybody: desk closed")]
        assert app.service.health.serving
        assert b'quotelife_alert{name="killed"} 1.0' in await app.exposition.text()
        await client.enable("desk open")
        status = await client.status()
        assert status.state == admin.SERVICE_STATE_SERVING
        assert not status.kills and not status.alerts
        assert b'quotelife_alert{name="killed"} 0.0' in await app.exposition.text()


async def killed_and_kept(client: AsyncClient) -> None:
    """Kills until the reply says that it is on disk: within a second usually, and as late as the disk likes."""
    async with asyncio.timeout(20):
        while (await client.kill("limit", counterparty="alpha")).unrecorded:
            pass


async def test_a_kill_acknowledged_as_recorded_is_on_disk(app: Application, tmp_path: Path) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        await killed_and_kept(client)
        kept = json.loads((tmp_path / "KILL.state").read_text())["kills"]
        assert [(each["counterparty"], each["reason"]) for each in kept] == [("alpha", "limit")]
        await client.enable("mended", counterparty="alpha")
        assert json.loads((tmp_path / "KILL.state").read_text())["kills"] == []


async def test_a_kill_that_the_disk_is_slow_to_take_is_acknowledged_as_such_and_kept(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No operator waits for a disk that hangs; the reply says that it is not written down, until it is."""
    free = threading.Event()

    def write(file: Path, content: bytes) -> None:
        assert free.wait(30)
        write_synced(file, content)

    monkeypatch.setattr("quotelife_server.kill.write_synced", write)
    async with AsyncClient(app.addresses[0], timeout_s=10) as client:
        try:
            reply = await client.kill("limit", counterparty="alpha")
            assert NOT_KEPT in reply.unrecorded
            assert [kill.counterparty for kill in app.engine.kills()] == ["alpha"]
            assert not (tmp_path / "KILL.state").exists()
        finally:
            free.set()
        await killed_and_kept(client)
    assert [kill.reason for kill in from_json((tmp_path / "KILL.state").read_bytes())] == ["limit"]


async def test_enabling_is_refused_while_the_file_stands_and_is_an_act_of_its_own(
    app: Application, tmp_path: Path
) -> None:
    file = tmp_path / "KILL"
    request = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY).SerializeToString()
    async with (
        AsyncClient(app.addresses[0], timeout_s=5) as client,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):

        async def decision() -> int:
            reply = await channel.unary_unary(GET_EXPIRY)(request, timeout=5)
            return expiry.GetExpiryResponse.FromString(reply).decision

        assert await decision() == types.DECISION_QUOTE
        file.touch()
        await until_killed(app)
        with pytest.raises(ServiceError, match="remove it") as failed:
            await client.enable("go on")
        assert failed.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert failed.value.violations == ((str(file), "exists; remove it, then enable again"),)
        file.unlink()
        await asyncio.sleep(0.05)
        assert await decision() == types.DECISION_DECLINE
        await client.enable("go on")
        assert await decision() == types.DECISION_QUOTE


async def test_a_kill_by_file_outlives_the_file_and_the_process(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with running(path) as app:
        (tmp_path / "KILL").write_text("# storm\n")
        await until_killed(app)
        async with asyncio.timeout(5):
            while not (tmp_path / "KILL.state").exists():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.002)
        (tmp_path / "KILL").unlink()
    async with running(path) as app, AsyncClient(app.addresses[0], timeout_s=5) as client:
        reply = await client.get_expiry(instrument="BTC-USDT", side="BUY")
        assert reply.decision.name == "DECLINE"
        assert [each.reason for each in (await client.status()).kills] == ["storm"]


@pytest.mark.parametrize("has_file", [True, False])
async def test_looking_goes_on_until_it_is_cancelled_and_a_failure_ends_it(
    kit: Kit, tmp_path: Path, has_file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = control(kit, tmp_path / "kill" if has_file else None)
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 8:
            raise RuntimeError("it cannot look")

    monkeypatch.setattr(kills, "look", look)
    watching = asyncio.create_task(kills.watch())
    while looks < 4:  # noqa: ASYNC110 (nobody else would tell)
        await asyncio.sleep(0.001)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    seen = looks
    await asyncio.sleep(0.1)
    assert looks == seen < 8
    with pytest.raises(RuntimeError, match="it cannot look"):
        await asyncio.wait_for(kills.watch(), 10)
    await asyncio.sleep(0.1)
    assert looks == 8
