"""The native front end over real sockets: connections, ages, drain, and which front end is chosen."""

import asyncio
import contextlib
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import ConfigError
from quotelife_server.app import Application
from quotelife_server.transport import choice
from quotelife_server.transport.grpc_aio import GrpcServer
from reference.service_kit import GET_EXPIRY, TRANSPORT, running, write_config

pytest.importorskip("quotelife_server.transport.native_connection", reason="built without nghttp2")

from quotelife_server.transport.native import NativeServer

REQUEST = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY).SerializeToString()
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty SETTINGS
PING = bytes([0, 0, 8, 6] + [0] * 13)
GOAWAY_HEAD = bytes([0, 0, 8, 7, 0, 0, 0, 0, 0])


@pytest.fixture(autouse=True)
def transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSPORT, "is", "native")


def server(app: Application) -> NativeServer:
    assert isinstance(app.grpc, NativeServer)
    return app.grpc


async def connect(app: Application) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = app.addresses[0].rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ask(app: Application, **options: Any) -> int:
    async with grpc.aio.insecure_channel(app.addresses[0], **options) as channel:
        reply = await channel.unary_unary(GET_EXPIRY)(REQUEST, timeout=5)
    return expiry.GetExpiryResponse.FromString(reply).decision


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (conditions of foreign objects)
            await asyncio.sleep(0.01)


async def test_idle_connections_make_room_for_those_that_call(tmp_path: Path) -> None:
    async with running(write_config(tmp_path), connections={"count_max": 20}) as app:
        idle = [await connect(app) for _ in range(60)]
        await until(lambda: len(server(app).connections) <= 20)
        assert await ask(app) == types.DECISION_QUOTE
        for _, writer in idle:
            writer.close()


async def test_connections_that_call_are_not_driven_out(tmp_path: Path) -> None:
    async with (
        running(write_config(tmp_path), connections={"count_max": 3}) as app,
        contextlib.AsyncExitStack() as stack,
    ):
        apart = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(app.addresses[0], options=apart))
            for _ in range(3)
        ]
        for channel in channels:
            await channel.unary_unary(GET_EXPIRY)(REQUEST, timeout=5)
        reader, writer = await connect(app)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        for channel in channels:
            await channel.unary_unary(GET_EXPIRY)(REQUEST, timeout=5)
        assert len(server(app).connections) == 3


async def test_a_thousand_slow_connections_do_not_hold_up_a_good_client(tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as app:
        slow = [await connect(app) for _ in range(1000)]
        for k, (_, writer) in enumerate(slow):
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: k % 25])
        for _ in range(20):
            assert await ask(app) == types.DECISION_QUOTE
        for _, writer in slow:
            writer.close()


async def test_connections_that_grow_old_cost_no_call(tmp_path: Path) -> None:
    """A client under load, whose connection is ended again and again."""
    codes: Counter[str] = Counter()
    ages = {"age_max": "200ms", "age_grace": "5s"}
    async with (
        running(write_config(tmp_path), connections=ages) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        seen: set[int] = set()

        async def keep_asking() -> None:
            while len(seen) < 4:
                seen.update(server(app).connections)
                try:
                    await channel.unary_unary(GET_EXPIRY)(REQUEST, timeout=5)
                    codes["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    codes[f"{error.code().name}: {error.details()}"] += 1

        async with asyncio.timeout(30):
            await asyncio.gather(*(keep_asking() for _ in range(8)))
    assert set(codes) == {"OK"} and codes["OK"] > 20


async def test_a_drain_with_silent_and_half_open_clients_ends_in_time(tmp_path: Path) -> None:
    async with running(write_config(tmp_path), drain={"notice": "0ns", "grace": "300ms"}) as app:
        silent = [await connect(app) for _ in range(5)]
        for _, writer in silent[:3]:
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        await until(lambda: len(server(app).connections) == 5)
        async with asyncio.timeout(2):
            await app.drain()
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), 2) is not None
        assert not server(app).connections


async def test_who_writes_while_the_connection_ends_is_not_reset(tmp_path: Path) -> None:
    """Bytes that nobody reads make a reset of a close, and what the client has not read by then may be lost to it."""
    async with running(write_config(tmp_path), drain={"notice": "0ns", "grace": "10s"}) as app:
        host, _, port = app.addresses[0].rpartition(":")
        loop = asyncio.get_running_loop()
        with socket.create_connection((host, int(port))) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, HELLO)
            await until(lambda: len(server(app).connections) == 1)
            drain = asyncio.create_task(app.drain())
            heard = b""
            while heard.count(GOAWAY_HEAD) < 2:  # the one that names the last call
                piece = await asyncio.wait_for(loop.sock_recv(client, 4096), 5)
                assert piece
                heard += piece
            await asyncio.sleep(0.05)  # it has no more to say, and has closed its side
            for _ in range(3):
                await loop.sock_sendall(client, PING)
                await asyncio.sleep(0.02)
            assert await asyncio.wait_for(loop.sock_recv(client, 4096), 5) == b""
            assert len(server(app).connections) == 1
        await asyncio.wait_for(drain, 5)


async def test_a_client_that_never_closes_holds_no_drain_up(tmp_path: Path) -> None:
    async with running(write_config(tmp_path), drain={"notice": "0ns", "grace": "10s"}) as app:
        reader, writer = await connect(app)
        writer.write(HELLO)
        await until(lambda: len(server(app).connections) == 1)
        await asyncio.wait_for(app.drain(), 5)
        assert not server(app).connections
        assert GOAWAY_HEAD in await reader.read()
        writer.close()


async def test_the_oldest_idle_connection_makes_room(tmp_path: Path) -> None:
    async with running(write_config(tmp_path), connections={"count_max": 5}) as app:
        idle = [await connect(app) for _ in range(5)]
        await until(lambda: len(server(app).connections) == 5)
        more = [await connect(app) for _ in range(2)]
        for reader, _ in idle[:2]:
            assert await asyncio.wait_for(reader.read(), 5) is not None
        await until(lambda: len(server(app).connections) == 5)
        for reader, writer in (*idle[2:], *more):
            assert not reader.at_eof()
            writer.close()


async def test_who_leaves_does_not_take_the_socket_of_who_comes(tmp_path: Path) -> None:
    """The path is free as soon as nobody listens there; calls under way have their grace all the same."""
    path = tmp_path / "socket"
    async with running(
        write_config(tmp_path), unix_socket=str(path), drain={"notice": "0ns", "grace": "5s"}
    ) as app:
        channel = grpc.aio.insecure_channel(f"unix:{path}")
        await channel.unary_unary(GET_EXPIRY)(REQUEST, timeout=5)
        stopping = asyncio.ensure_future(server(app).stop(10**9))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not path.exists()
        path.touch()
        await channel.close()
        await stopping
        assert path.exists()


def test_the_setting_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.chosen("native") is NativeServer and NativeServer.name == "native"
    assert choice.chosen("auto") is NativeServer
    assert choice.chosen("grpc_aio") is GrpcServer


def test_without_nghttp2_auto_says_so_in_one_line_and_native_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    warned: list[str] = []

    class Log:
        def warning(self, text: str, **_: str) -> None:
            warned.append(text)

    monkeypatch.setattr(choice, "_log", Log())
    monkeypatch.setitem(sys.modules, "quotelife_server.transport.native", None)
    assert choice.chosen("auto") is GrpcServer
    assert len(warned) == 1
    with pytest.raises(ConfigError, match="libnghttp2-dev"):
        choice.chosen("native")
    assert choice.chosen("grpc_aio") is GrpcServer and len(warned) == 1


def test_a_library_that_is_not_there_is_told_from_a_build_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(name: str) -> None:
        raise ImportError("libnghttp2.so.14: cannot open shared object file")

    monkeypatch.setattr(choice, "import_module", cannot)
    with pytest.raises(ConfigError, match=r"libnghttp2\.so\.14: .* libnghttp2-14$"):
        choice.chosen("native")
