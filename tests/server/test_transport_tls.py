"""TLS and mTLS over real sockets, with either front end; certificates are made for the test."""

import asyncio
import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_server.transport.grpc_aio import GrpcServer
from reference.service_kit import GET_EXPIRY, running, write_config

pytestmark = pytest.mark.usefixtures("transport")

REQUEST = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY).SerializeToString()


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem"),
    )  # fmt: skip


def certificate(folder: Path, name: str, signer: str) -> None:
    openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
        "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.csr"),
    )  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", encoding="ascii")
    openssl(
        "x509", "-req", "-days", "2", "-in", str(folder / f"{name}.csr"), "-CA", str(folder / f"{signer}.pem"),
        "-CAkey", str(folder / f"{signer}.key"), "-CAcreateserial", "-extfile", str(folder / "names"),
        "-out", str(folder / f"{name}.pem"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Authorities ours and theirs; service and oms signed by ours, stranger by theirs."""
    folder = tmp_path_factory.mktemp("papers")
    for name in ("ours", "theirs"):
        authority(folder, name)
    for name, signer in (("service", "ours"), ("oms", "ours"), ("stranger", "theirs")):
        certificate(folder, name, signer)
    return folder


def channel(papers: Path, address: str, name: str | None = None) -> grpc.aio.Channel:
    key = certificate_ = None
    if name is not None:
        key = (papers / f"{name}.key").read_bytes()
        certificate_ = (papers / f"{name}.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials((papers / "ours.pem").read_bytes(), key, certificate_)
    return grpc.aio.secure_channel(address, credentials)


async def ask(channel: grpc.aio.Channel) -> int:
    async with channel:
        reply = await channel.unary_unary(GET_EXPIRY)(REQUEST, timeout=5)
    return expiry.GetExpiryResponse.FromString(reply).decision


def service(papers: Path, tmp_path: Path, *, mutual: bool, **more: Any) -> Any:
    tls = {"certificate": str(papers / "service.pem"), "key": str(papers / "service.key")}
    if mutual:
        tls["client_ca"] = str(papers / "ours.pem")
    return running(write_config(tmp_path), tls=tls, **more)


async def test_calls_are_answered_over_tls_and_not_without_it(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path, mutual=False, unix_socket=str(tmp_path / "s")) as app:
        assert await ask(channel(papers, app.addresses[0])) == types.DECISION_QUOTE
        assert await ask(grpc.aio.insecure_channel(app.addresses[1])) == types.DECISION_QUOTE, (
            "Unix is as it was"
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(grpc.aio.insecure_channel(app.addresses[0]))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_with_an_authority_only_its_clients_are_let_in(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path, mutual=True, admin_address="127.0.0.1:0") as app:
        assert await ask(channel(papers, app.addresses[0], "oms")) == types.DECISION_QUOTE
        for name in (None, "stranger"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(channel(papers, app.addresses[0], name))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        async with channel(papers, str(app.admin_address), "oms") as admin:
            assert await admin.unary_unary("/quote_expiry.v1.AdminService/GetStatus")(b"", timeout=5)
        with pytest.raises(grpc.aio.AioRpcError):
            async with channel(papers, str(app.admin_address)) as admin:
                await admin.unary_unary("/quote_expiry.v1.AdminService/GetStatus")(b"", timeout=5)


async def test_large_requests_and_streams_go_over_tls(papers: Path, tmp_path: Path) -> None:
    async with (
        service(papers, tmp_path, mutual=True) as app,
        channel(papers, app.addresses[0], "oms") as secure,
    ):
        batch = expiry.BatchGetExpiryRequest(
            requests=[{"instrument": "BTC-USDT", "side": types.SIDE_BUY}] * 100
        )
        reply = await secure.unary_unary("/quote_expiry.v1.QuoteExpiryService/BatchGetExpiry")(
            batch.SerializeToString(), timeout=10
        )
        assert len(expiry.BatchGetExpiryResponse.FromString(reply).results) == 100
        stream = secure.stream_stream("/quote_expiry.v1.QuoteExpiryService/StreamExpiry")()
        for tag in range(1, 200):
            message = expiry.StreamExpiryRequest(
                tag=tag, request={"instrument": "BTC-USDT", "side": types.SIDE_BUY}
            )
            await stream.write(message.SerializeToString())
            assert expiry.StreamExpiryResponse.FromString(await stream.read()).tag == tag
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF


async def test_another_protocol_inside_tls_is_not_spoken(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path, mutual=False) as app:
        host, _, port = app.addresses[0].rpartition(":")
        context = ssl.create_default_context(cafile=str(papers / "ours.pem"))
        context.set_alpn_protocols(["http/1.1"])
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.wait_for(reader.read(), 5)  # nothing


async def test_handshakes_that_do_not_end_are_bounded_and_make_room(papers: Path, tmp_path: Path) -> None:
    """300 clients that say nothing, or half of it; the oldest goes first, and a good one comes in."""
    before = len(os.listdir("/proc/self/fd"))
    async with service(papers, tmp_path, mutual=False, connections={"count_max": 40}) as app:
        if isinstance(app.grpc, GrpcServer):
            pytest.skip("gRPC's own server bounds its own")
        host, _, port = app.addresses[0].rpartition(":")
        ours = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
        for _, writer in ours[::2]:
            writer.write(b"\x16\x03\x01\x02\x00\x01")
        gone = [await asyncio.wait_for(reader.read(), 5) for reader, _ in ours[:280]]
        assert set(gone) == {b""}
        assert len(os.listdir("/proc/self/fd")) < before + 300 + 40
        assert await ask(channel(papers, app.addresses[0])) == types.DECISION_QUOTE
        for _, writer in ours:
            writer.close()


async def test_a_drain_ends_handshakes_under_way(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path, mutual=False, drain={"notice": "0ns", "grace": "0ns"}) as app:
        if isinstance(app.grpc, GrpcServer):
            pytest.skip("gRPC's own server ends its own")
        host, _, port = app.addresses[0].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x16\x03\x01\x02\x00\x01")
        await asyncio.sleep(0.1)
        await app.grpc.stop(0)
        assert await asyncio.wait_for(reader.read(), 1) == b""
        writer.close()


async def test_a_client_that_never_closes_holds_no_drain_up(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path, mutual=False, drain={"notice": "0ns", "grace": "20s"}) as app:
        if isinstance(app.grpc, GrpcServer):
            pytest.skip("gRPC's own server closes at once")
        host, _, port = app.addresses[0].rpartition(":")
        context = ssl.create_default_context(cafile=str(papers / "ours.pem"))
        context.set_alpn_protocols(["h2"])

        def shake_hands() -> ssl.SSLSocket:  # and say nothing more, not even that it has heard of the end
            return context.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)

        with await asyncio.to_thread(shake_hands):
            await asyncio.wait_for(app.drain(), 10)
            assert not app.grpc.connections


async def test_why_a_client_was_not_let_in_stands_in_the_log(
    papers: Path, tmp_path: Path, transport: str
) -> None:
    """It is not told itself; of many one a second stands there."""
    if transport == "grpc_aio":
        pytest.skip("gRPC C has a log of its own")
    with structlog.testing.capture_logs() as lines:
        async with service(papers, tmp_path, mutual=True) as app:
            for name in ("stranger", None, "stranger"):
                with pytest.raises(grpc.aio.AioRpcError):
                    await ask(channel(papers, app.addresses[0], name))
    told = [line for line in lines if line["event"] == "a TLS handshake failed"]
    assert len(told) == 1
    assert told[0]["peer"] == "127.0.0.1" and "unable to get local issuer" in told[0]["reason"]


async def test_one_client_can_be_let_in_by_its_own_certificate(papers: Path, tmp_path: Path) -> None:
    tls = {"certificate": "service.pem", "key": "service.key", "client_ca": "oms.pem"}
    named = {key: str(papers / name) for key, name in tls.items()}
    async with running(write_config(tmp_path), tls=named) as app:
        assert await ask(channel(papers, app.addresses[0], "oms"))
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(channel(papers, app.addresses[0], "stranger"))
