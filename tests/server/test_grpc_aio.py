"""What only grpc.aio has: its own count of calls, its queue of answers, its way to fail."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import grpc
import grpc.aio
import pytest

from quotelife_server.app import Application
from quotelife_server.rpc import Code, RpcError
from quotelife_server.transport import grpc_aio
from quotelife_server.transport.limits import BACKLOG_MAX
from reference.service_kit import GET_EXPIRY, TRANSPORT, running, write_config


@pytest.fixture(autouse=True)
def transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSPORT, "is", "grpc_aio")


async def test_a_drain_waits_for_calls_that_are_still_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None waits in gRPC, but every look finds another that has come and ended: more are on their way."""
    looks = 0

    def calls(_: int) -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return min(looks, 5), 0

    async with running(write_config(tmp_path)) as app:
        monkeypatch.setattr("quotelife_server.transport.grpc_aio._calls", calls)
        await app.drain()
        assert looks > 5


@pytest.mark.parametrize("missing", ["channelz_get_servers", "channelz_get_server"])
async def test_without_the_transports_own_count_of_calls_the_service_goes_on(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.delattr(grpc_aio.cygrpc, missing)
    monkeypatch.setattr(grpc_aio, "_log", SimpleNamespace(warning=lambda text, **_: warned.append(text)))
    async with (
        running(write_config(tmp_path)) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        for _ in range(3 * grpc_aio.CALLS_PER_LOOK):
            assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
    assert len(warned) == 1


async def test_a_refusal_that_finds_its_client_gone_is_no_failure(app: Application) -> None:
    class Gone:
        async def abort(self, *_: object) -> None:
            raise grpc.aio.InternalError("Failed 'execute_batch'")

    with pytest.raises(asyncio.CancelledError):
        await app.grpc._fail(GET_EXPIRY, Gone(), RpcError(Code.UNAVAILABLE, "the service is draining"))


async def test_a_client_that_reads_nothing_is_cut_off_not_buffered(app: Application) -> None:
    stream = grpc_aio._Stream()
    for _ in range(BACKLOG_MAX + 10):
        stream.send(b"x")
    assert stream.error is not None and stream.error.code == Code.RESOURCE_EXHAUSTED
    assert stream.outgoing.qsize() == BACKLOG_MAX + 1
