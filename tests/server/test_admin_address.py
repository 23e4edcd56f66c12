"""AdminService on an address of its own: what is served where, and that a kill waits behind nobody there."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_server.administration import SHARED
from quotelife_server.app import Application
from quotelife_server.handlers import State
from quotelife_server.kill import from_json
from quotelife_server.rpc import CallContext, Deferred, Unary
from reference.service_kit import GET_EXPIRY, running, write_config

pytestmark = pytest.mark.usefixtures("transport")

ADMIN = "/quote_expiry.v1.AdminService/"
METHODS = [method.name for method in admin.DESCRIPTOR.services_by_name["AdminService"].methods]
REQUEST = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY).SerializeToString()
KILL = admin.KillRequest(reason="test").SerializeToString()
ENABLE = admin.EnableRequest(reason="test").SerializeToString()


@pytest.fixture(params=["tcp", "unix"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Application]:
    address = "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path / 'admin.sock'}"
    async with running(write_config(tmp_path), admin_address=address) as application:
        yield application


async def call(address: str | None, path: str, payload: bytes = b"") -> bytes:
    assert address is not None
    async with grpc.aio.insecure_channel(address) as channel:
        return await channel.unary_unary(path)(payload, timeout=10)  # type: ignore[no-any-return]


async def code(address: str | None, path: str, payload: bytes = b"") -> grpc.StatusCode:
    try:
        await call(address, path, payload)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def decision(app: Application) -> int:
    return expiry.GetExpiryResponse.FromString(await call(app.addresses[0], GET_EXPIRY, REQUEST)).decision


async def test_a_kill_and_its_end_are_taken_at_the_address(app: Application) -> None:
    await call(app.admin_address, ADMIN + "Kill", KILL)
    assert await decision(app) == types.DECISION_DECLINE
    await call(app.admin_address, ADMIN + "Enable", ENABLE)
    assert await decision(app) == types.DECISION_QUOTE


async def test_the_shared_address_still_kills_and_tells(app: Application) -> None:
    codes = {
        await code(app.addresses[0], ADMIN + method, KILL if method == "Kill" else b"") for method in SHARED
    }
    assert codes == {grpc.StatusCode.OK}
    assert app.engine.killed(None)


@pytest.mark.parametrize("method", sorted(set(METHODS) - SHARED))
async def test_the_shared_address_refuses_the_rest_and_says_where_it_is_served(
    app: Application, method: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="alone") as refused:
        await call(app.addresses[0], ADMIN + method)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert refused.value.details() == f"{method} is served at server.admin_address alone: {app.admin_address}"
    assert not str(app.admin_address).endswith(":0"), "where it is, not how it was asked for"


async def test_nothing_of_the_administration_is_refused_at_its_address(app: Application) -> None:
    codes = {method: await code(app.admin_address, ADMIN + method) for method in METHODS}
    assert grpc.StatusCode.PERMISSION_DENIED not in codes.values()
    assert {codes[method] for method in ("Kill", "Enable", "SetOverride", "ClearOverride")} == {
        grpc.StatusCode.INVALID_ARGUMENT
    }
    assert {codes[method] for method in ("GetStatus", "ListOverrides", "Reload")} == {grpc.StatusCode.OK}


async def test_quotes_are_not_asked_for_there(app: Application) -> None:
    assert await code(app.admin_address, GET_EXPIRY, REQUEST) is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_told_there(app: Application) -> None:
    reply = await call(app.admin_address, "/grpc.health.v1.Health/Check")
    assert health_pb2.HealthCheckResponse.FromString(reply).status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_names_what_is_served_there(app: Application) -> None:
    def services() -> set[str]:
        with grpc.insecure_channel(app.admin_address) as channel:
            return set(ProtoReflectionDescriptorDatabase(channel).get_services())

    assert {each for each in await asyncio.to_thread(services) if "quote_expiry" in each} == {
        "quote_expiry.v1.AdminService"
    }


# --- while the service has enough to do, or leaves ------------------------------------------------------------


@pytest.mark.parametrize("transport", ["grpc_aio"], indirect=True)  # the native one keeps no such queue
@pytest.mark.parametrize("way", ["shared", "admin"])
async def test_a_kill_at_the_address_overtakes_calls_that_came_before_it(tmp_path: Path, way: str) -> None:
    """Most of a queue that stood before the kill is declined; where it waits its turn, next to nothing is."""
    decisions: Counter[int] = Counter()
    async with (
        running(write_config(tmp_path), admin_address="127.0.0.1:0", in_flight_max=100_000) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as asking,
        grpc.aio.insecure_channel(str(app.admin_address)) as operator,
    ):
        kill = (asking if way == "shared" else operator).unary_unary(ADMIN + "Kill")
        await operator.unary_unary(ADMIN + "GetStatus")(b"", timeout=10)

        async def ask() -> None:
            reply = await asking.unary_unary(GET_EXPIRY)(REQUEST, timeout=60)
            decisions[expiry.GetExpiryResponse.FromString(reply).decision] += 1

        await ask()
        asked = [asyncio.create_task(ask()) for _ in range(400)]
        await asyncio.sleep(0)  # all of them are on their way
        await kill(KILL, timeout=10)
        await asyncio.gather(*asked)
    assert sum(decisions.values()) == 401
    assert (decisions[types.DECISION_DECLINE] > 200) == (way == "admin"), decisions


async def test_the_administration_waits_for_no_place_in_flight(app: Application) -> None:
    while app.service.in_flight.try_enter(0):
        pass
    assert await code(app.admin_address, ADMIN + "GetStatus") is grpc.StatusCode.OK
    assert await code(app.addresses[0], ADMIN + "GetStatus") is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_while_it_leaves_the_address_takes_kills_and_their_end_and_tells_the_status(
    app: Application,
) -> None:
    app.service.set_state(State.DRAINING)
    codes = {method: await code(app.admin_address, ADMIN + method) for method in METHODS}
    refused = {method for method, each in codes.items() if each is grpc.StatusCode.UNAVAILABLE}
    assert refused == set(METHODS) - {"Kill", "Enable", "GetStatus"}
    assert {"SetOverride", "ClearOverride", "ListOverrides", "Reload", "PromoteModel"} <= refused


async def test_a_kill_is_taken_and_kept_while_the_service_drains(tmp_path: Path) -> None:
    """The shared address is closed already, and a call there is still being answered."""
    application = Application(write_config(tmp_path), overrides={"admin_address": "127.0.0.1:0"})
    answers: list[Deferred] = []

    def hang(payload: bytes, context: CallContext) -> Deferred:
        answers.append(Deferred())
        return answers[-1]

    application.service.methods[GET_EXPIRY] = Unary(hang)
    application.grpc = type(application.grpc)(
        application.service, application.grpc._addresses, application.grpc_options
    )
    await application.start()
    async with asyncio.timeout(20):
        held = asyncio.create_task(call(application.addresses[0], GET_EXPIRY, REQUEST))
        while not answers:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.005)
        drain = asyncio.create_task(application.drain())
        while await code(application.addresses[0], ADMIN + "GetStatus") is grpc.StatusCode.OK:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await call(application.admin_address, ADMIN + "Kill", KILL)
        assert not drain.done()
        answers[0].resolve(b"")
        await held
        await drain
    assert [kill.reason for kill in from_json((tmp_path / "KILL.state").read_bytes())] == ["test"]
    assert await code(application.admin_address, ADMIN + "GetStatus") is grpc.StatusCode.UNAVAILABLE


async def test_an_address_in_use_is_said_at_start(tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as first:
        second = Application(first.reloader._path, overrides={"admin_address": first.addresses[0]})
        with pytest.raises(
            OSError, match=r"^server\.admin_address: 127.* is in use, by another process or another key"
        ):
            await second.start()
        await second.drain()
