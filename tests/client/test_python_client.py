"""The Python client against a real service and against broken ones: values, retries, deadline, fallback."""

import asyncio
import dataclasses
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import FrozenInstanceError
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.decision.kill import KillSource
from quotelife_client import (
    AsyncClient,
    Client,
    Decision,
    ExpiryRequest,
    Posture,
    Quality,
    Reason,
    Regime,
    ServiceError,
    Side,
    SizeUnit,
    Source,
    calls,
)
from quotelife_client import types as client_types
from quotelife_server.app import Application
from quotelife_server.convert import killed_meanwhile
from quotelife_server.handlers import State
from reference.service_kit import GET_EXPIRY, MS, S, running, write_config

CODE = grpc.StatusCode
Behaviour = Callable[[int, Any], Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    async with running(write_config(tmp_path)) as application:
        yield application


@asynccontextmanager
async def server_that(behave: Behaviour) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers ``behave(number of the call, context)``; yields its address and what it got."""
    received: list[bytes] = []

    async def answer(payload: bytes, context: Any) -> bytes:
        received.append(payload)
        return await behave(len(received), context)  # type: ignore[no-any-return]

    class Anything(grpc.GenericRpcHandler):  # type: ignore[type-arg]
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)  # type: ignore[arg-type]

    server = grpc.aio.server(handlers=[Anything()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", received
    finally:
        await server.stop(0)


async def abort_with(context: Any, code: grpc.StatusCode, *details: Any) -> bytes:
    if details:
        status = status_pb2.Status(code=code.value[0])
        for detail in details:
            status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, "refused by the test")
    raise AssertionError


def quote(**fields: Any) -> dict[str, Any]:
    return {"instrument": "BTC-USDT", "side": Side.BUY, **fields}


async def test_both_clients_get_the_same_kind_of_answer(app: Application) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        await client.wait_ready(5)
        one = await client.get_expiry(**quote(counterparty="alpha", size="1.5", price=Decimal("62999.9")))

    def blocking() -> client_types.Expiry:
        with Client(app.addresses[0], timeout_s=5) as client:
            client.wait_ready(5)
            return client.get_expiry(
                **quote(counterparty="alpha", size=1, size_unit=SizeUnit.LOTS, side="BUY")
            )

    two = await asyncio.to_thread(blocking)
    for reply in (one, two):
        assert reply.source is Source.SERVICE and reply.error == ""
        assert reply.decision is Decision.QUOTE
        assert reply.regime is Regime.NORMAL and reply.quality is Quality.GOOD
        assert reply.posture_effective is Posture.CLIENT_PRIORITY
        assert reply.expiry_utc_ns is not None and reply.counted_from_utc_ns is not None
        assert reply.expiry_utc_ns - reply.counted_from_utc_ns == reply.life_ns
        assert len(reply.p) == len(reply.horizons_ns) == 12
        assert reply.request_id and reply.decision_id
    with pytest.raises(FrozenInstanceError):
        one.life_ns = 1  # type: ignore[misc]


async def test_every_field_of_the_answer_is_carried_over(app: Application) -> None:
    wire = {field.name for field in expiry.GetExpiryResponse.DESCRIPTOR.fields}
    here = set(client_types.Expiry.__dataclass_fields__)
    assert wire - {"curve"} <= here
    for name in (
        "Side",
        "SizeUnit",
        "Decision",
        "Posture",
        "Mode",
        "Regime",
        "Quality",
        "Rule",
        "Constraint",
        "Reason",
    ):
        wire_enum = getattr(types, name)
        prefix = "".join(f"_{c}" if c.isupper() else c for c in name).lstrip("_").upper() + "_"
        assert {prefix + member.name: member.value for member in getattr(client_types, name)} == dict(
            wire_enum.items()
        )


async def test_two_way_and_features(app: Application) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        reply = await client.get_expiry(
            instrument="BTC-USDT",
            side=Side.TWO_WAY,
            bid_price="62990",
            ask_price="63010",
            include_features=True,
        )
    assert [each.side for each in reply.sides] == [Side.BUY, Side.SELL]
    assert reply.life_ns == min(each.life_ns for each in reply.sides)
    assert {feature.name for feature in reply.sides[0].features} >= {"spread_ticks", "news_score"}


async def test_signals_and_administration(app: Application) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        override = await client.set_override(Posture.RISK_AVERSE, 3600 * S, counterparty="alpha")
        assert [each.override_id for each in await client.overrides()] == [override.override_id]
        assert (
            await client.get_expiry(**quote(counterparty="alpha"))
        ).posture_requested is Posture.RISK_AVERSE
        assert await client.clear_override(override.override_id)
        assert not await client.overrides()
        await client.publish_volatility_index("DVOL", 55.0)
        await client.publish_inventory("BTC-USDT", position="-1", limit=10)
        greeks = await client.publish_greeks("ETH-USDT", delta=0.5, gamma=0.01, underlying="BTC-USDT")
        assert not greeks.ignored
        receipt = await client.publish_news(-1.0, source="test")
        assert receipt.input_sequence > 0
        reply = await client.get_expiry(**quote(counterparty="alpha"))
        assert reply.posture_effective is Posture.RISK_AVERSE and Reason.NEWS in reply.reasons
        (status,) = (await client.status(["ETH-USDT"])).instruments
        assert (status.instrument, status.option.greeks.underlying) == ("ETH-USDT", "BTC-USDT")


async def test_what_the_caller_did_wrong_is_never_masked_by_the_fallback(app: Application) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5, fallback_life_ns=100 * MS) as client:
        with pytest.raises(ServiceError) as caught:
            await client.get_expiry(**quote(price="-1"))
        assert caught.value.code is CODE.INVALID_ARGUMENT
        assert [field for field, _ in caught.value.violations] == ["price"]
        with pytest.raises(ServiceError) as caught:
            await client.get_expiry(instrument="NONE", side=Side.BUY)
        assert caught.value.code is CODE.NOT_FOUND


MASKED = [CODE.CANCELLED, CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED, CODE.INTERNAL, CODE.UNKNOWN]
RAISED = [
    CODE.INVALID_ARGUMENT,
    CODE.NOT_FOUND,
    CODE.UNIMPLEMENTED,
    CODE.PERMISSION_DENIED,
    CODE.UNAUTHENTICATED,
    CODE.FAILED_PRECONDITION,
    CODE.RESOURCE_EXHAUSTED,
]


@pytest.mark.parametrize("code", MASKED, ids=lambda code: code.name)
async def test_a_service_that_cannot_answer_gives_the_fallback(code: grpc.StatusCode) -> None:
    async with server_that(lambda n, context: abort_with(context, code)) as (address, _):
        async with AsyncClient(address, timeout_s=0.2, fallback_life_ns=2 * S) as client:
            before = time.time_ns()
            reply = await client.get_expiry(**quote())
            after = time.time_ns()
        assert reply.source is Source.FALLBACK and reply.decision is Decision.QUOTE
        assert reply.expiry_utc_ns is not None and before + 2 * S <= reply.expiry_utc_ns < after + 2 * S
        assert reply.counted_from_utc_ns == reply.expiry_utc_ns - reply.life_ns
        assert before < reply.counted_from_utc_ns <= after and reply.life_ns < 2 * S
        assert code.name in reply.error and reply.unjournaled
        async with AsyncClient(address, timeout_s=0.2) as client:
            with pytest.raises(ServiceError) as caught:
                await client.get_expiry(**quote())
            assert caught.value.code is code


@pytest.mark.parametrize("code", RAISED, ids=lambda code: code.name)
async def test_any_other_refusal_is_raised_and_not_tried_again(code: grpc.StatusCode) -> None:
    async with (
        server_that(lambda n, context: abort_with(context, code)) as (address, received),
        AsyncClient(address, timeout_s=2, fallback_life_ns=100 * MS) as client,
    ):
        with pytest.raises(ServiceError) as caught:
            await client.get_expiry(**quote())
        assert caught.value.code is code and len(received) == 1


async def test_overload_with_advice_gives_the_fallback() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(20)
    async with (
        server_that(lambda n, context: abort_with(context, CODE.RESOURCE_EXHAUSTED, retry)) as (address, _),
        AsyncClient(address, timeout_s=2, fallback_life_ns=0) as client,
    ):
        reply = await client.get_expiry(**quote(side=Side.TWO_WAY))
        assert reply.source is Source.FALLBACK
        assert reply.decision is Decision.DECLINE and reply.life_ns == 0 and reply.expiry_utc_ns is None
        assert [each.decision for each in reply.sides] == [Decision.DECLINE] * 2
        with pytest.raises(ServiceError) as caught:
            await client.get_expiry(**quote(), fallback_life_ns=None)
        assert caught.value.retry_after_ns == 20 * MS


async def test_unavailable_is_tried_again_with_the_same_id() -> None:
    async def behave(n: int, context: Any) -> bytes:
        if n < 3:
            await abort_with(context, CODE.UNAVAILABLE)
        return expiry.GetExpiryResponse(decision=types.DECISION_QUOTE, life_ns=7).SerializeToString()

    async with server_that(behave) as (address, received), AsyncClient(address, timeout_s=2) as client:
        reply = await client.get_expiry(**quote())
    assert reply.life_ns == 7 and reply.source is Source.SERVICE
    assert len(received) == 3 and len(set(received)) == 1
    assert expiry.GetExpiryRequest.FromString(received[0]).request_id


async def test_attempts_are_bounded() -> None:
    async with (
        server_that(lambda n, context: abort_with(context, CODE.UNAVAILABLE)) as (address, received),
        AsyncClient(address, timeout_s=5, attempts_max=4) as client,
    ):
        with pytest.raises(ServiceError):
            await client.get_expiry(**quote())
    assert len(received) == 4


async def test_signals_that_would_count_twice_are_not_tried_again() -> None:
    async with (
        server_that(lambda n, context: abort_with(context, CODE.UNAVAILABLE)) as (address, received),
        AsyncClient(address, timeout_s=2) as client,
    ):
        with pytest.raises(ServiceError):
            await client.publish_news(0.5)
    assert len(received) == 1


async def test_the_deadline_holds_against_a_service_that_hangs() -> None:
    async def hang(n: int, context: Any) -> bytes:
        await asyncio.sleep(30)
        return b""

    async with (
        server_that(hang) as (address, _),
        AsyncClient(address, timeout_s=0.1, fallback_life_ns=5 * S) as client,
    ):
        started = time.monotonic()
        reply = await client.get_expiry(**quote())
        assert time.monotonic() - started < 1.0
        assert reply.source is Source.FALLBACK and "DEADLINE_EXCEEDED" in reply.error
        assert reply.decision is Decision.QUOTE and reply.life_ns <= 4_900 * MS
        too_late = await client.get_expiry(**quote(), fallback_life_ns=50 * MS)
        assert too_late.decision is Decision.DECLINE, "it ran out while the service was waited for"
        assert too_late.life_ns == 0 and too_late.expiry_utc_ns is None


def test_nobody_listening_gives_the_fallback_within_the_deadline() -> None:
    threads = set(threading.enumerate())
    with Client(f"127.0.0.1:{free_port()}", timeout_s=0.2, fallback_life_ns=5 * S) as client:
        started = time.monotonic()
        reply = client.get_expiry(**quote())
        assert time.monotonic() - started < 1.0
        assert set(threading.enumerate()) <= threads, "the client makes no thread"
        with pytest.raises(TimeoutError, match=r"not ready within 0.1 s: .*Connection refused"):
            client.wait_ready(0.1)
    assert reply.source is Source.FALLBACK and 0 < reply.life_ns < 5 * S


def test_the_fallback_counts_from_pricing_and_stops_at_the_clients_deadline() -> None:
    with Client(f"127.0.0.1:{free_port()}", timeout_s=0.05, fallback_life_ns=2 * S) as client:
        now = time.time_ns()
        priced = client.get_expiry(**quote(priced_at_utc_ns=now - 30 * MS))
        assert priced.expiry_utc_ns == now + 1970 * MS and priced.life_ns < 1970 * MS
        near = client.get_expiry(**quote(priced_at_utc_ns=now, client_deadline_utc_ns=now + 1500 * MS))
        assert near.expiry_utc_ns == now + 1500 * MS and near.life_ns < 1500 * MS
        past = client.get_expiry(**quote(priced_at_utc_ns=now, client_deadline_utc_ns=now - 1))
        assert past.decision is Decision.DECLINE
        old = client.get_expiry(**quote(priced_at_utc_ns=now - 5 * S))
        assert old.decision is Decision.DECLINE and old.life_ns == 0 and old.expiry_utc_ns is None
        ahead = client.get_expiry(**quote(priced_at_utc_ns=now + 60 * S))
        assert ahead.life_ns == 2 * S, "never more than was allowed"


def test_values_that_are_not_exact_are_refused_before_they_leave() -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="price"):
            client.get_expiry(**quote(price=1.5))
        with pytest.raises(ValueError, match="side"):
            client.get_expiry(instrument="x", side="HOLD")
    with pytest.raises(ValueError, match="timeout_s"):
        Client("127.0.0.1:1", timeout_s=0)
    with pytest.raises(ValueError, match="fallback_life_ns"):
        Client("127.0.0.1:1", fallback_life_ns=-1)


async def test_a_life_given_late_in_a_drain_is_the_fallback(app: Application) -> None:
    app.service.set_state(State.DRAINING)
    async with AsyncClient(app.addresses[0], timeout_s=0.2, fallback_life_ns=5 * S) as client:
        reply = await client.get_expiry(**quote())
    assert reply.source is Source.FALLBACK and "UNAVAILABLE" in reply.error


async def test_without_a_synchronised_clock_a_life_has_no_end_in_utc(app: Application) -> None:
    app.clock.offset_limit_ns = -1
    async with asyncio.timeout(10):
        while app.service.synchronised:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.01)
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        reply = await client.get_expiry(**quote(side=Side.TWO_WAY))
    assert reply.decision is Decision.QUOTE and reply.life_ns > 0
    assert reply.clock is client_types.Clock.UNSYNCHRONISED
    assert reply.expiry_utc_ns is None and all(side.expiry_utc_ns is None for side in reply.sides)


async def test_values_newer_than_the_client_become_unspecified() -> None:
    async def newer(n: int, context: Any) -> bytes:
        return expiry.GetExpiryResponse(
            decision=types.DECISION_QUOTE, regime=77, reasons=[99]
        ).SerializeToString()  # type: ignore[arg-type,list-item]

    async with server_that(newer) as (address, _), AsyncClient(address) as client:
        reply = await client.get_expiry(**quote())
    assert reply.regime is Regime.UNSPECIFIED and reply.reasons == (Reason.UNSPECIFIED,)


async def test_a_retry_after_a_lost_answer_gets_the_same_decision(app: Application) -> None:
    payload = expiry.GetExpiryRequest(
        request_id="r", instrument="BTC-USDT", side=types.SIDE_BUY
    ).SerializeToString()
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        first = await channel.unary_unary(GET_EXPIRY)(payload)
        assert await channel.unary_unary(GET_EXPIRY)(payload) == first


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"side": 1}, TypeError, "side: give a Side or its name, not int"),
        ({"side": None}, TypeError, "side: give a Side"),
        ({"side": "UNSPECIFIED"}, ValueError, "side: .* is none of BUY, SELL, TWO_WAY"),
        ({"posture": 3}, TypeError, "posture: give a Posture"),
        ({"posture": "BOLD"}, ValueError, "posture: 'BOLD' is none of CLIENT_PRIORITY"),
        ({"size": 1, "size_unit": 2}, TypeError, "size_unit: give a SizeUnit"),
        ({"timeout_s": float("inf")}, ValueError, "timeout_s"),
        ({"timeout_s": float("nan")}, ValueError, "timeout_s"),
        ({"timeout_s": 1e18}, ValueError, "timeout_s"),
        ({"timeout_s": "1"}, TypeError, "timeout_s"),
        ({"timeout_s": 0}, ValueError, "timeout_s: 0 leaves no time"),
        ({"timeout_s": -0.1}, ValueError, "timeout_s: -0.1 leaves no time"),
        ({"dealers_asked": -1}, ValueError, "dealers_asked: -1 is out of range"),
        ({"dealers_asked": "3"}, TypeError, "dealers_asked: give an int"),
        ({"priced_at_utc_ns": 2**63}, ValueError, "priced_at_utc_ns: .* is out of range"),
        ({"pric": "1"}, TypeError, r"^Client\.get_expiry\(\) got an unexpected keyword argument 'pric'"),
        ({"fallback_life_ns": 1.5}, TypeError, "fallback_life_ns"),
        ({"fallback_life_ns": -1}, ValueError, "fallback_life_ns"),
    ],
)
def test_what_is_wrong_with_an_argument_is_said_by_name(
    fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(error, match=text):
        client.get_expiry(**quote(**fields))
    settings = {key: value for key, value in fields.items() if key in ("timeout_s", "fallback_life_ns")}
    if settings:
        with pytest.raises(error, match=text):
            Client("127.0.0.1:1", **settings)


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":50051", "127.0.0.1:70000", "[::1]", ""])
async def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    for client in (Client, AsyncClient):
        with pytest.raises(ValueError, match=r"address: .* is not host:port, such as"):
            client(address)


@pytest.mark.parametrize(
    "address", ["unix:/tmp/x", "unix:x", "[::1]:1", "dns:///a.b:1", "unix:1", "ipv4:127.0.0.1:1"]
)
def test_addresses_that_grpc_takes_are_taken(address: str) -> None:
    Client(address).close()


def test_an_override_and_an_inventory_name_their_faulty_arguments_too() -> None:
    with Client("127.0.0.1:1") as client:
        with pytest.raises(TypeError, match="posture: give a Posture"):
            client.set_override(3, S)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="unit: give a SizeUnit"):
            client.publish_inventory("BTC-USDT", position=1, limit=2, unit=None)  # type: ignore[arg-type]


async def test_names_do_instead_of_members(app: Application) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        await client.wait_ready(5)
        reply = await client.get_expiry(
            **quote(side="SELL", desk="main", posture="RISK_AVERSE", size=1, size_unit="LOTS")
        )
        assert reply.posture_requested is Posture.RISK_AVERSE
        assert (await client.set_override("RISK_AVERSE", S)).posture == types.POSTURE_RISK_AVERSE


async def test_a_closed_client_says_so_and_gives_no_fallback() -> None:
    blocking = Client("127.0.0.1:1", fallback_life_ns=S)
    blocking.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        blocking.get_expiry(**quote())
    with pytest.raises(RuntimeError, match="the client is closed"):
        blocking.wait_ready(1)
    client = AsyncClient("127.0.0.1:1", fallback_life_ns=S)
    await client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.get_expiry(**quote())
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.wait_ready(1)


async def test_explanations_come_as_typed_values_with_both_clients(app: Application) -> None:
    """Held against the message itself, field by field, by a reading of its own."""
    asked = quote(counterparty="alpha", side=Side.TWO_WAY, bid_price="62990", ask_price="63010", explain=True)
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        one = await client.get_expiry(**asked, request_id="why")
        (batched,) = await client.batch_get_expiry([ExpiryRequest(**asked, request_id="why")])
        plain = await client.get_expiry(**{**asked, "explain": False})

    def blocking() -> client_types.Expiry:
        with Client(app.addresses[0], timeout_s=5) as client:
            return client.get_expiry(**asked, request_id="why")

    two = await asyncio.to_thread(blocking)
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        request = calls.request_message(ExpiryRequest(**asked, request_id="why"))
        wire = expiry.GetExpiryResponse.FromString(
            await channel.unary_unary(GET_EXPIRY)(request.SerializeToString(), timeout=5)
        )
    assert plain.explanations == ()
    assert one.explanations == two.explanations
    assert isinstance(batched, client_types.Expiry) and batched.explanations == one.explanations
    assert [each.side for each in one.explanations] == [Side.BUY, Side.SELL]
    assert [each.decision_id for each in one.explanations] == [each.decision_id for each in one.sides]
    for here, there in zip(one.explanations, wire.explanations, strict=True):
        held_equal(here, there, {"horizons_ns": there.curve.horizon_ns, "p": there.curve.p})
        assert here.verified and here.contributions and here.rule_path and here.constraints


def held_equal(here: Any, there: Any, elsewhere: dict[str, Any]) -> None:
    for field in dataclasses.fields(here):
        value = getattr(here, field.name)
        if field.name in elsewhere:
            assert list(value) == list(elsewhere[field.name])
        elif isinstance(value, tuple):
            for part, message in zip(value, getattr(there, field.name), strict=True):
                held_equal(part, message, {})
        elif value is None:
            assert not there.HasField(field.name)
        else:
            assert value == getattr(there, field.name), field.name
    assert {field.name for field in there.DESCRIPTOR.fields} - {"curve"} <= {
        field.name for field in dataclasses.fields(here)
    }


@pytest.mark.parametrize("side", [Side.BUY, Side.TWO_WAY])
async def test_the_fallback_does_not_undo_a_kill(app: Application, side: Side) -> None:
    """Killed when last heard: a service that is away gives DECLINE to that counterparty, and a life to others."""
    alpha, beta = quote(counterparty="alpha", side=side), quote(counterparty="beta", side=side)
    async with AsyncClient(app.addresses[0], timeout_s=2, attempts_max=1, fallback_life_ns=30 * S) as client:
        await client.get_expiry(**beta)
        app.kills.kill("alpha", "stop", KillSource.RPC)
        killed = await client.get_expiry(**alpha)
        assert killed.source is Source.SERVICE and Reason.KILLED in killed.reasons
        app.service.set_state(State.DRAINING)
        away = await client.get_expiry(**alpha)
        assert (away.source, away.decision, away.life_ns) == (Source.FALLBACK, Decision.DECLINE, 0)
        assert away.reasons == (Reason.KILLED,)
        assert all(each.decision is Decision.DECLINE for each in away.sides)
        assert (await client.get_expiry(**beta)).decision is Decision.QUOTE
        app.service.set_state(State.SERVING)
        app.kills.enable("alpha", "go on")
        assert (await client.get_expiry(**alpha)).source is Source.SERVICE
        app.service.set_state(State.DRAINING)
        assert (await client.get_expiry(**alpha)).decision is Decision.QUOTE


async def test_an_answer_that_a_kill_took_back_is_no_quote_of_the_fallbacks() -> None:
    error = killed_meanwhile()
    async with (
        server_that(lambda n, context: abort_with(context, CODE.UNAVAILABLE, *error.details)) as (address, _),
        AsyncClient(address, timeout_s=2, fallback_life_ns=30 * S) as client,
    ):
        reply = await client.get_expiry(**quote())
    assert reply.source is Source.FALLBACK and reply.decision is Decision.DECLINE
    assert reply.reasons == (Reason.KILLED,)


async def test_a_lost_service_is_looked_for_every_second_at_least() -> None:
    """gRPC's own waits between attempts to connect, 1 s and 1.6 times longer each time, make three in four seconds."""
    attempts = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, AsyncClient(address, timeout_s=0.2, attempts_max=1, fallback_life_ns=0) as client:
        end = time.monotonic() + 4.0
        while time.monotonic() < end:
            assert (await client.get_expiry(**quote())).source is Source.FALLBACK
            await asyncio.sleep(0.02)
    assert attempts >= 5


def test_a_reason_that_grpc_lost_is_an_end_of_the_call() -> None:
    assert calls.end_of_call(CODE.INTERNAL, "Internal error from Core: 8")[0] is CODE.UNAVAILABLE
    assert calls.end_of_call(CODE.INTERNAL, "internal error 12ab") == (CODE.INTERNAL, "internal error 12ab")
