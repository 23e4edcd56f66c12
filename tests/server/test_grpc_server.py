"""The service over real sockets: TCP and Unix, errors, health, reflection, overload, drain, metrics."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.parser import text_string_to_metric_families

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_server.app import Application, run
from quotelife_server.feeds.base import FeedFigures
from quotelife_server.handlers import SERVICES, State
from quotelife_server.rpc import CallContext, Code, Deferred, RpcError, Unary
from quotelife_server.transport.http import CONNECTIONS_MAX, HttpServer
from quotelife_server.transport.listening import CannotListen, cannot_listen, refused_by_grpc, unix_socket
from reference.service_kit import CONFIG, GET_EXPIRY, TRANSPORT, running, write_config

pytestmark = pytest.mark.usefixtures("transport")

REQUEST = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY).SerializeToString()
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
IN_USE = "is in use, by another process or another key of server; stop that process or choose another"
WITH_FEATURES = expiry.GetExpiryRequest(include_features=True).SerializeToString()


async def call(channel: grpc.aio.Channel, path: str, payload: bytes, timeout_s: float = 5.0) -> bytes:
    return await channel.unary_unary(path)(payload, timeout=timeout_s)  # type: ignore[no-any-return]


async def failure(
    channel: grpc.aio.Channel, path: str, payload: bytes, timeout_s: float = 5.0
) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, path, payload, timeout_s)
    return caught.value


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    metadata = dict(iter(error.trailing_metadata()))  # old grpcio: its keys are not what keys() gives
    return status_pb2.Status.FromString(metadata["grpc-status-details-bin"])


@pytest.fixture(params=["tcp", "unix"])
def target(request: pytest.FixtureRequest, app: Application) -> str:
    return app.addresses[0 if request.param == "tcp" else 1]


async def test_an_answer_comes_over_either_socket(app: Application, target: str) -> None:
    async with grpc.aio.insecure_channel(target) as channel:
        reply = expiry.GetExpiryResponse.FromString(await call(channel, GET_EXPIRY, REQUEST))
    assert reply.decision == types.DECISION_QUOTE
    assert reply.decision_id.startswith(f"{app.service.boot_id}-")


async def test_errors_carry_their_code_and_details(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        garbage = await failure(channel, GET_EXPIRY, b"\xff\xff\xff")
        assert garbage.code() is grpc.StatusCode.INVALID_ARGUMENT
        wrong = expiry.GetExpiryRequest(
            instrument="BTC-USDT", side=types.SIDE_BUY, price="-1"
        ).SerializeToString()
        invalid = await failure(channel, GET_EXPIRY, wrong)
        bad_request = error_details_pb2.BadRequest()
        status = details_of(invalid)
        assert status.code == Code.INVALID_ARGUMENT and status.message == invalid.details()
        assert status.details[0].Unpack(bad_request)
        assert bad_request.field_violations[0].field == "price"
        unknown = expiry.GetExpiryRequest(instrument="NONE", side=types.SIDE_BUY).SerializeToString()
        assert (await failure(channel, GET_EXPIRY, unknown)).code() is grpc.StatusCode.NOT_FOUND
        assert (
            await failure(channel, "/quote_expiry.v1.Nope/Nope", b"")
        ).code() is grpc.StatusCode.UNIMPLEMENTED
        nothing = await failure(channel, "/quote_expiry.v1.QuoteExpiryService/ReportOutcome", b"")
        assert nothing.code() is grpc.StatusCode.INVALID_ARGUMENT and "outcomes" in (nothing.details() or "")


async def test_a_message_above_the_limit_is_refused(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        error = await failure(channel, GET_EXPIRY, b"\x0a" + b"x" * 100_000)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_no_exception_text_leaves(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("secret in /etc/path")

    monkeypatch.setattr("quotelife_server.convert.expiry_reply", broken)
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        error = await failure(channel, GET_EXPIRY, REQUEST + WITH_FEATURES)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details()) and "/etc" not in str(error.debug_error_string())


def hanging(tmp_path: Path, answers: list[Deferred], **overrides: Any) -> Application:
    """An application whose GetExpiry waits until the test resolves its answer."""
    application = Application(write_config(tmp_path), overrides=overrides)

    def hang(payload: bytes, context: CallContext) -> Deferred:
        answers.append(Deferred())
        return answers[-1]

    application.service.methods[GET_EXPIRY] = Unary(hang)
    application.grpc = type(application.grpc)(
        application.service, application.grpc._addresses, application.grpc_options
    )
    return application


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (conditions of foreign objects)
            await asyncio.sleep(0.01)


async def test_overload_is_refused_at_once_with_retry_info(tmp_path: Path) -> None:
    answers: list[Deferred] = []
    application = hanging(tmp_path, answers, in_flight_max=2)
    await application.start()
    async with grpc.aio.insecure_channel(application.addresses[0]) as channel:
        held = [asyncio.create_task(call(channel, GET_EXPIRY, b"")) for _ in range(2)]
        await until(lambda: len(answers) == 2)
        error = await failure(channel, GET_EXPIRY, b"")
        retry = error_details_pb2.RetryInfo()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details_of(error).details[0].Unpack(retry) and retry.retry_delay.ToMilliseconds() == 20
        health = await call(channel, "/grpc.health.v1.Health/Check", b"")
        assert health_pb2.HealthCheckResponse.FromString(health).status == SERVING, (
            "health answers under overload"
        )
        for answer in answers:
            answer.resolve(b"done")
        assert await asyncio.gather(*held) == [b"done", b"done"]
        await until(lambda: application.service.in_flight.count == 0)
    await application.drain()


async def test_a_burst_on_the_real_handler_is_refused_in_words(tmp_path: Path) -> None:
    """A handler that answers at once: calls pile up inside the transport, where only its own count shows them."""
    codes: Counter[str] = Counter()

    async with running(write_config(tmp_path), in_flight_max=32) as app, contextlib.AsyncExitStack() as stack:
        apart = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(app.addresses[0], options=apart))
            for _ in range(4)
        ]

        async def ask(channel: grpc.aio.Channel) -> None:
            try:
                await call(channel, GET_EXPIRY, REQUEST, 60)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                retry = error_details_pb2.RetryInfo()
                assert details_of(error).details[0].Unpack(retry)

        await asyncio.gather(*(ask(channel) for _ in range(400) for channel in channels))
        assert codes["RESOURCE_EXHAUSTED"] > 400 and codes["OK"] > 0
        assert app.service.in_flight.refused == codes["RESOURCE_EXHAUSTED"]
        await call(channels[0], GET_EXPIRY, REQUEST)
        await until(lambda: app.service.in_flight.count == 0)


async def test_a_cancelled_call_gives_its_place_back(tmp_path: Path) -> None:
    answers: list[Deferred] = []
    application = hanging(tmp_path, answers, in_flight_max=1)
    await application.start()
    async with grpc.aio.insecure_channel(application.addresses[0]) as channel:
        error = await failure(channel, GET_EXPIRY, b"", timeout_s=0.1)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: application.service.in_flight.count == 0)
    await application.drain()


async def test_a_drain_finishes_what_is_in_flight_and_takes_nothing_new(tmp_path: Path) -> None:
    answers: list[Deferred] = []
    application = hanging(tmp_path, answers)
    await application.start()
    async with grpc.aio.insecure_channel(application.addresses[0]) as channel:
        held = [asyncio.create_task(call(channel, GET_EXPIRY, b"")) for _ in range(41)]
        await until(lambda: len(answers) == 41)
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == SERVING
        drain = asyncio.create_task(application.drain())
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError):  # the watch itself ends, it must not hold the drain up
            await watch.read()
        assert (await failure(channel, GET_EXPIRY, b"", 1.0)).code() is grpc.StatusCode.UNAVAILABLE
        for answer in answers[:-1]:
            answer.resolve(b"done")
        *most, last = asyncio.as_completed(held)
        assert await asyncio.gather(*most) == [b"done"] * 40
        answers[-1].resolve(b"done")
        await asyncio.wait_for(drain, 5)
        try:
            assert await last == b"done"
        except grpc.aio.AioRpcError as error:
            # gRPC's own server closes the connection with the last answer, and where bytes of the client
            # have not been read by then, the kernel makes a reset of it.
            assert TRANSPORT["is"] == "grpc_aio" and error.code() is grpc.StatusCode.UNAVAILABLE


async def test_during_the_notice_health_says_no_and_calls_are_still_answered(tmp_path: Path) -> None:
    async with (
        running(write_config(tmp_path), drain={"notice": "1s", "grace": "5s"}) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
        aiohttp.ClientSession() as session,
    ):
        drain = asyncio.create_task(app.drain())
        await until(lambda: not app.service.health.serving)
        health = await call(channel, "/grpc.health.v1.Health/Check", b"")
        assert health_pb2.HealthCheckResponse.FromString(health).status == NOT_SERVING
        async with session.get(f"http://{app.metrics_address}/healthz") as response:
            assert response.status == 503
        reply = expiry.GetExpiryResponse.FromString(await call(channel, GET_EXPIRY, REQUEST))
        assert reply.decision == types.DECISION_QUOTE
        await until(lambda: app.service.state == State.DRAINING)
        # With nothing in flight the transport may be gone before the call has been refused in words.
        refused = (await failure(channel, GET_EXPIRY, REQUEST, 1.0)).code()
        assert refused in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        await drain


async def test_a_drain_in_a_burst_ends_every_call_in_words(tmp_path: Path) -> None:
    """Most calls of the burst are still inside gRPC when the drain begins."""
    codes: Counter[str] = Counter()
    text = CONFIG.replace("drain: {notice: 0ns}", "drain: {notice: 0ns, grace: 60s}")

    async with (
        running(write_config(tmp_path, text), in_flight_max=100_000) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):

        async def ask() -> None:
            try:
                await call(channel, GET_EXPIRY, REQUEST, 60)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1

        await call(channel, GET_EXPIRY, REQUEST)
        asked = [asyncio.create_task(ask()) for _ in range(400)]
        await until(lambda: codes["OK"] >= 20)
        await app.drain()
        await asyncio.gather(*asked)
    assert set(codes) - {"UNAVAILABLE"} == {"OK"}
    assert codes["UNAVAILABLE"] or TRANSPORT["is"] == "native", "one that is faster has answered all of them"


async def test_clients_that_try_again_at_once_do_not_hold_a_drain_up(tmp_path: Path) -> None:
    codes: Counter[str] = Counter()

    async with (
        running(write_config(tmp_path)) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        stopped = asyncio.Event()

        async def keep_asking() -> None:
            while not stopped.is_set():
                try:
                    await call(channel, GET_EXPIRY, REQUEST)
                    codes["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    codes[error.code().name] += 1
                    await asyncio.sleep(0.001)

        asking = [asyncio.create_task(keep_asking()) for _ in range(64)]
        await until(lambda: codes["OK"] > 200)
        async with asyncio.timeout(3):
            await app.drain()
        stopped.set()
        await asyncio.gather(*asking)
    assert set(codes) == {"OK", "UNAVAILABLE"}


class StuckFeed:
    """A feed that never comes back from ``stop``."""

    name = "stuck"

    def __init__(self) -> None:
        self.stopping = asyncio.Event()

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopping.set()
        await asyncio.Event().wait()

    def figures(self) -> FeedFigures:
        return FeedFigures(self.name, False, 0, {})


@pytest.mark.parametrize("second_signal", [True, False])
async def test_a_drain_that_hangs_ends_at_a_second_signal_or_after_its_time(
    tmp_path: Path, second_signal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotelife_server.app.STOP_S", 60.0 if second_signal else 0.2)
    text = CONFIG.replace("{notice: 0ns}", "{notice: 0ns, grace: 100ms}")
    feed, ready = StuckFeed(), asyncio.Event()
    service = asyncio.create_task(
        run(
            write_config(tmp_path, text),
            open_feeds=lambda *_: [feed],
            on_ready=lambda _: ready.set(),
        )
    )
    await asyncio.wait_for(ready.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(feed.stopping.wait(), 5)
    if second_signal:
        os.kill(os.getpid(), signal.SIGINT)
    assert await asyncio.wait_for(service, 5) == 1


async def test_health_check_and_list(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        for service in ("", *SERVICES):
            request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
            reply = await call(channel, "/grpc.health.v1.Health/Check", request)
            assert health_pb2.HealthCheckResponse.FromString(reply).status == SERVING
        request = health_pb2.HealthCheckRequest(service="nope").SerializeToString()
        assert (
            await failure(channel, "/grpc.health.v1.Health/Check", request)
        ).code() is grpc.StatusCode.NOT_FOUND
        garbage = await failure(channel, "/grpc.health.v1.Health/Check", b"\xff")
        assert garbage.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_health_watch_tells_changes_and_unknown_services(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        unknown = channel.unary_stream("/grpc.health.v1.Health/Watch")(
            health_pb2.HealthCheckRequest(service="nope").SerializeToString()
        )
        status = health_pb2.HealthCheckResponse.FromString(await unknown.read()).status
        assert status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == SERVING
        app.service.set_state(State.STARTING)
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == NOT_SERVING
        app.service.set_state(State.SERVING)
        assert health_pb2.HealthCheckResponse.FromString(await watch.read()).status == SERVING
        watch.cancel()
        unknown.cancel()
        await until(lambda: not app.service.health._watchers)


async def test_streams_are_bounded_over_all_connections(tmp_path: Path) -> None:
    path = "/grpc.health.v1.Health/Watch"
    async with running(write_config(tmp_path), streams_max=4) as app, contextlib.AsyncExitStack() as stack:
        apart = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(app.addresses[0], options=apart))
            for _ in range(3)
        ]
        watches = [channel.unary_stream(path)(b"") for channel in channels[:2] for _ in range(2)]
        for watch in watches:
            await watch.read()
        one_more = channels[2].unary_stream(path)(b"")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await one_more.read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watches[0].cancel()
        await until(lambda: len(app.grpc.streams) == 3)
        assert await channels[2].unary_stream(path)(b"").read()


async def test_reflection_lists_and_describes_every_service(app: Application) -> None:
    def ask() -> tuple[set[str], dict[str, list[str]]]:
        with grpc.insecure_channel(app.addresses[0]) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            services = set(database.get_services())
            methods = {}
            for name in SERVICES:
                file = database.FindFileContainingSymbol(name)
                service = next(each for each in file.service if f"{file.package}.{each.name}" == name)
                methods[name] = [method.name for method in service.method]
            return services, methods

    services, methods = await asyncio.to_thread(ask)
    assert services >= {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}
    assert "GetExpiry" in methods["quote_expiry.v1.QuoteExpiryService"]


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_answers_in_both_versions(app: Application, version: str) -> None:
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    asked: list[Any] = [
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol="quote_expiry.v1.GetExpiryRequest.side"
        ),
        reflection_pb2.ServerReflectionRequest(file_by_filename="quote_expiry/v1/types.proto"),
        reflection_pb2.ServerReflectionRequest(
            file_containing_symbol=f"grpc.reflection.{version}.ServerReflection"
        ),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Symbol"),
        reflection_pb2.ServerReflectionRequest(),
    ]
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        stream = channel.stream_stream(path)()
        answers = []
        for request in asked:
            await stream.write(request.SerializeToString())
            answers.append(reflection_pb2.ServerReflectionResponse.FromString(await stream.read()))
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
    assert len(answers[0].file_descriptor_response.file_descriptor_proto) == 2
    assert len(answers[1].file_descriptor_response.file_descriptor_proto) == 1
    assert answers[2].file_descriptor_response.file_descriptor_proto
    assert answers[3].error_response.error_code == Code.NOT_FOUND
    assert answers[4].error_response.error_code == Code.INVALID_ARGUMENT


async def test_reflection_refuses_garbage(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        stream = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")()
        await stream.write(b"\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_is_writing_when_its_stream_ends_hears_why(app: Application) -> None:
    """As clients write: some requests ahead of the answers, and no more without answers."""
    request = expiry.StreamExpiryRequest(request={"instrument": "BTC-USDT"}).SerializeToString()
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        for _ in range(6):
            stream = channel.stream_stream("/quote_expiry.v1.QuoteExpiryService/StreamExpiry")()
            ahead = asyncio.Semaphore(16)

            async def write(stream: Any = stream, ahead: asyncio.Semaphore = ahead) -> None:
                while True:
                    await ahead.acquire()
                    await stream.write(request)

            writing = asyncio.ensure_future(write())
            for _ in range(3):
                assert await stream.read()
                ahead.release()
            (open_,) = app.grpc.streams
            open_.finish(RpcError(Code.UNAVAILABLE, "draining"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                while await stream.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
                    ahead.release()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, "draining")


async def test_status_tells_state_instruments_and_model(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        reply = admin.GetStatusResponse.FromString(
            await call(channel, "/quote_expiry.v1.AdminService/GetStatus", b"")
        )
        named = admin.GetStatusRequest(instruments=["ETH-USDT"]).SerializeToString()
        one = admin.GetStatusResponse.FromString(
            await call(channel, "/quote_expiry.v1.AdminService/GetStatus", named)
        )
        named = admin.GetStatusRequest(instruments=["ETH-USDT", "BTC-USD"] * 100).SerializeToString()
        twice = admin.GetStatusResponse.FromString(
            await call(channel, "/quote_expiry.v1.AdminService/GetStatus", named)
        )
        unknown = admin.GetStatusRequest(instruments=["NONE"]).SerializeToString()
        error = await failure(channel, "/quote_expiry.v1.AdminService/GetStatus", unknown)
    assert reply.state == admin.SERVICE_STATE_SERVING
    assert reply.boot_id == app.service.boot_id
    assert reply.model.kind == "first_passage" and reply.model.champion
    assert [each.instrument for each in reply.instruments] == ["BTC-USDT", "ETH-USDT", "BTC-USD"]
    btc = reply.instruments[0]
    assert btc.quality == types.QUALITY_GOOD and btc.events > 0
    assert float(btc.ask_price) > float(btc.bid_price) > 60_000
    assert float(btc.bid_size) == pytest.approx(1.0, abs=0.6)
    assert sum(each.time_ns for each in btc.regimes) > 0
    assert [each.instrument for each in one.instruments] == ["ETH-USDT"]
    assert [each.instrument for each in twice.instruments] == ["ETH-USDT", "BTC-USD"]
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_metrics_and_healthz_answer_over_http(app: Application) -> None:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        await call(channel, GET_EXPIRY, REQUEST)
        await failure(channel, GET_EXPIRY, b"\xff")
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://{app.metrics_address}/metrics") as response:
            text = await response.text()
        async with session.get(f"http://{app.metrics_address}/healthz") as response:
            assert response.status == 200
        app.service.set_state(State.STARTING)
        async with session.get(f"http://{app.metrics_address}/healthz") as response:
            assert response.status == 503
        app.service.set_state(State.SERVING)
    assert 'quotelife_decisions_total{kind="quote",posture="liquidity_provider",regime="normal"} 1.0' in text
    assert f'quotelife_answers_total{{code="INVALID_ARGUMENT",method="{GET_EXPIRY}"}} 1.0' in text
    assert 'quotelife_get_expiry_seconds_bucket{le="+Inf"} 1.0' in text
    assert 'quotelife_instrument_quality{cause="none",instrument="BTC-USDT",quality="good"} 1.0' in text
    assert 'quotelife_events_total{instrument="BTC-USDT"}' in text
    assert "quotelife_stored_replies_evicted 0.0" in text
    assert "quotelife_stored_replies_oldest_seconds 0.0" in text


async def http_talk(address: str, request: bytes, timeout_s: float = 5.0) -> bytes:
    """What comes back until the other end closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(timeout_s):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_http_cuts_off_whoever_takes_his_time(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotelife_server.transport.http.CONNECTION_S", 0.1)
    other = HttpServer(app.exposition.text, lambda: True, "127.0.0.1:0")
    address = await other.start()
    half = await http_talk(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-")
    assert half == b""
    answer = await http_talk(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab")
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"serving\n")
    await other.stop()


async def test_http_bounds_its_connections_and_stops_without_waiting_for_them(app: Application) -> None:
    assert app.metrics_address is not None and app.http is not None
    host, _, port = app.metrics_address.rpartition(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(CONNECTIONS_MAX)]
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await http_talk(app.metrics_address, get) == b""
    idle.pop()[1].close()
    await asyncio.sleep(0.05)
    assert b"serving" in await http_talk(app.metrics_address, get)
    idle[0][1].write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nab")
    idle[1][1].write(b"GET /metrics HTTP/1.1\r\nX-")
    await asyncio.sleep(0.05)
    await asyncio.wait_for(app.http.stop(), 2)
    for _, writer in idle:
        writer.close()


async def test_http_garbage_is_refused_shortly_and_not_logged(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    assert app.metrics_address is not None
    for garbage in (b"\x00\xff" * 1000 + b"\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"):
        answer = await http_talk(app.metrics_address, garbage)
        assert len(answer) < 4096 and (not answer or answer.startswith(b"HTTP/1.0 400"))
    assert not caplog.records


def many_instruments(count: int) -> str:
    more = [
        f"  - {{name: I{k}, venue: binance-spot, symbol: I{k}, tick_size: 0.01, lot_size: 0.001}}"
        for k in range(count)
    ]
    return CONFIG.replace("tiers:\n", "\n".join(more) + "\ntiers:\n")


async def test_status_and_metrics_of_many_instruments_leave_room_for_calls(tmp_path: Path) -> None:
    """Neither may hold the loop for all instruments: others run in between."""
    path = write_config(tmp_path, many_instruments(400))
    application = Application(path)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    before = turns
    reply = admin.GetStatusResponse.FromString(
        await application._status(list(range(len(application.engine.instruments))))
    )
    assert len(reply.instruments) == 403 and reply.instruments[-1].instrument == "I399"
    assert turns - before >= 8
    before = turns
    assert application.exposition is not None
    text = (await application.exposition.text()).decode()
    assert turns - before >= 50
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "each family stands once"
    events = next(family for family in families if family.name == "quotelife_events")
    assert len(events.samples) == 403
    task.cancel()


async def test_status_counts_against_the_bound_and_answers_in_a_drain(tmp_path: Path) -> None:
    path = "/quote_expiry.v1.AdminService/GetStatus"
    async with (
        running(write_config(tmp_path), in_flight_max=1) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        app.service.set_state(State.DRAINING)
        reply = admin.GetStatusResponse.FromString(await call(channel, path, b""))
        assert reply.state == admin.SERVICE_STATE_DRAINING
        await until(lambda: app.service.in_flight.count == 0)
        assert app.service.in_flight.try_enter()
        assert (await failure(channel, path, b"")).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        app.service.in_flight.leave()
        names = admin.GetStatusRequest(instruments=["BTC-USDT"] * 257).SerializeToString()
        assert (await failure(channel, path, names)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_address_in_use_is_said_in_plain_words(app: Application, tmp_path: Path) -> None:
    other = Application(
        write_config(tmp_path), overrides={"address": app.addresses[0], "metrics_address": None}
    )
    taken = f"server.address: {app.addresses[0]} {IN_USE} port"
    with pytest.raises(OSError) as caught:
        await other.start()
    assert str(caught.value) == taken
    with contextlib.suppress(RpcError):
        await other.grpc.stop(0)


async def test_a_metrics_address_in_use_is_said_in_plain_words(app: Application, tmp_path: Path) -> None:
    other = Application(write_config(tmp_path), overrides={"metrics_address": app.metrics_address})
    with pytest.raises(OSError) as caught:
        await other.start()
    assert str(caught.value) == f"server.metrics_address: {app.metrics_address} {IN_USE} port"
    await other.drain()


async def test_two_names_of_one_address_in_one_configuration_are_not_laid_to_another_process(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {"address": f"127.0.0.1:{port}", "metrics_address": f"localhost:{port}"}
    application = Application(write_config(tmp_path), overrides=given)
    with pytest.raises(OSError, match=rf"^server\.metrics_address: localhost:{port} {IN_USE} port$"):
        await application.start()
    await application.drain()


@contextlib.contextmanager
def backlog_full(path: Path) -> Iterator[None]:
    """Somebody listens on it who has no time for one more."""
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        yield


@pytest.mark.parametrize(
    ("key", "address", "words"),
    [
        ("address", "192.0.2.1:50051", "is no address of this machine"),
        ("metrics_address", "192.0.2.1:50051", "is no address of this machine"),
        ("address", "nowhere.invalid:1", "has a name that is not known here"),
        ("metrics_address", "nowhere.invalid:1", "has a name that is not known here"),
        ("unix_socket", "FOLDER/none/s", "is in a folder that does not exist"),
        ("unix_socket", "FOLDER", "is there already and is no socket; remove it or choose another path"),
        ("unix_socket", "FOLDER/link", "is there already and is no socket; remove it or choose another path"),
        ("unix_socket", "FOLDER/busy", f"{IN_USE} path"),
    ],
)
async def test_an_address_that_cannot_be_had_names_its_key(
    tmp_path: Path, key: str, address: str, words: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    given = {"metrics_address": None, key: address.replace("FOLDER", str(tmp_path))}
    application = Application(write_config(tmp_path), overrides=given)
    with backlog_full(tmp_path / "busy"), pytest.raises(OSError, match=rf"^server\.{key}: .*{words}"):
        await application.start()
    await application.drain()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "busy").is_socket()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:80", "127.0.0.1:80 is not for this user to listen on; choose a port from 1024 on"),
        ("unix:/s", "unix:/s is not for this user to listen on; choose a folder that it may write to"),
    ],
)
def test_an_address_that_this_user_may_not_have_says_what_he_may(address: str, words: str) -> None:
    assert str(cannot_listen(address, PermissionError(errno.EACCES, "Permission denied"))) == words


@pytest.mark.parametrize(
    ("name", "may_write", "words"),
    [
        ("none/s", True, "is in a folder that does not exist; make it or choose another path"),
        ("s", False, "is not for this user to listen on; choose a folder that it may write to"),
        ("s" * 108, True, "cannot be listened on (AF_UNIX path too long); choose another path"),
        ("taken", True, f"{IN_USE} path"),
    ],
)
def test_why_grpc_could_not_have_a_unix_socket_is_found_without_binding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, may_write: bool, words: str
) -> None:
    """A socket bound to find out would be removed again, and by then its path may be another process's."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "taken"))
    bound: list[object] = []
    monkeypatch.setattr(socket.socket, "bind", lambda _, where: bound.append(where))
    monkeypatch.setattr(os, "access", lambda *_, **__: may_write)
    address = f"unix:{tmp_path / name}"
    assert str(refused_by_grpc(address)) == f"{address} {words}"
    assert bound == [] and [each.name for each in tmp_path.iterdir()] == ["taken"]


def test_either_front_end_says_the_same_of_a_path_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("s" * 108)
    with pytest.raises(CannotListen) as caught:
        unix_socket(path, 1)
    assert str(caught.value) == str(refused_by_grpc(f"unix:{path}"))


def test_why_grpc_could_not_have_a_port_is_found_by_trying() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert str(refused_by_grpc(address)) == f"{address} {IN_USE} port"
    assert refused_by_grpc("127.0.0.1:0") is None


async def test_a_unix_socket_in_use_is_neither_taken_nor_removed(app: Application, tmp_path: Path) -> None:
    path = tmp_path / "quotelife.sock"
    second = tmp_path / "second"
    second.mkdir()
    other = Application(
        write_config(second), overrides={"address": None, "metrics_address": None, "unix_socket": str(path)}
    )
    with pytest.raises(OSError, match=rf"^server\.unix_socket: .* {IN_USE} path$"):
        await other.start()
    await other.grpc.stop(0)
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        assert await call(channel, GET_EXPIRY, REQUEST)


async def test_a_path_means_what_it_says(tmp_path: Path) -> None:
    """gRPC reads it as a part of a URI; another's socket must not be taken, nor removed in the end, for one like it."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "a.sock"))
        other.listen()
        path = tmp_path / "a%2Esock"
        async with running(write_config(tmp_path), address=None, unix_socket=str(path)) as app:
            assert path.is_socket()
            async with grpc.aio.insecure_channel(f"unix:{quote(str(path))}") as channel:
                assert await call(channel, GET_EXPIRY, REQUEST)
            assert app.addresses == [f"unix:{path}"]
        assert (tmp_path / "a.sock").is_socket()


async def test_a_stale_unix_socket_does_not_hinder_a_start(tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    assert path.exists()
    application = Application(
        write_config(tmp_path), overrides={"address": None, "metrics_address": None, "unix_socket": str(path)}
    )
    await application.start()
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        assert await call(channel, GET_EXPIRY, REQUEST)
    await application.drain()
    assert not path.exists()
