"""A whole service on a real file system that has no room left: said, held, mended.

A read-only file system, which no mount makes of one that is being written to, is in ``test_journal_ledger``.
"""

import asyncio
import time
from pathlib import Path

import aiohttp
import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.journal.recovery import verify
from quotelife_server.app import Application
from reference.disk_kit import Disk, disk
from reference.service_kit import GET_EXPIRY, running, write_config

__all__ = ["disk"]

GET_STATUS = "/quote_expiry.v1.AdminService/GetStatus"
SAID_S = 5.0


class Caller:
    def __init__(self, app: Application, channel: grpc.aio.Channel) -> None:
        self._app = app
        self._channel = channel

    async def ask(self, request_id: str = "") -> expiry.GetExpiryResponse | grpc.aio.AioRpcError:
        request = expiry.GetExpiryRequest(request_id=request_id, instrument="BTC-USDT", side=types.SIDE_BUY)
        try:
            reply: bytes = await self._channel.unary_unary(GET_EXPIRY)(
                request.SerializeToString(), timeout=10
            )
        except grpc.aio.AioRpcError as error:
            return error
        return expiry.GetExpiryResponse.FromString(reply)

    async def journal(self) -> admin.JournalStatus:
        return (await self.status()).journal

    async def status(self) -> admin.GetStatusResponse:
        return admin.GetStatusResponse.FromString(
            await self._channel.unary_unary(GET_STATUS)(b"", timeout=10)
        )

    async def health(self) -> int:
        stub = health_pb2_grpc.HealthStub(self._channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)).status)

    async def metrics(self) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self._app.metrics_address}/metrics") as answer,
        ):
            return await answer.text()

    async def until_writable(self, wanted: bool) -> float:
        """Seconds until the status says so."""
        began = time.monotonic()
        while (await self.journal()).writable is not wanted:
            assert time.monotonic() - began < SAID_S, f"not writable={wanted} within {SAID_S} s"
            await asyncio.sleep(0.05)
        return time.monotonic() - began


@pytest.mark.parametrize("policy", ["refuse", "serve-unjournaled"])
@pytest.mark.parametrize("asked", [True, False], ids=["under load", "at rest"])
async def test_the_policy_holds_is_said_and_ends_by_itself(
    tmp_path: Path, disk: Disk, policy: str, asked: bool
) -> None:
    journal = {"directory": str(disk.path / "journal"), "on_failure": policy, "segment_bytes": 2**20}
    async with (
        running(write_config(tmp_path), journal=journal) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        caller = Caller(app, channel)
        first = await caller.ask("first")
        assert isinstance(first, expiry.GetExpiryResponse) and not first.unjournaled
        disk.fill()
        if asked:
            for _ in range(10):  # a page of the last write may still have room
                await caller.ask()
        await caller.until_writable(False)
        status = await caller.status()
        assert [alert.name for alert in status.alerts] == ["journal_failing"]
        metrics = await caller.metrics()
        assert 'quotelife_alert{name="journal_failing"} 1.0' in metrics
        assert "quotelife_journal_writable 0.0" in metrics
        answer = await caller.ask("meanwhile")
        if policy == "refuse":
            assert isinstance(answer, grpc.aio.AioRpcError)
            assert answer.code() is grpc.StatusCode.UNAVAILABLE
            assert answer.details() == "the journal cannot be written"
            assert await caller.health() == health_pb2.HealthCheckResponse.NOT_SERVING
        else:
            assert isinstance(answer, expiry.GetExpiryResponse) and answer.unjournaled
            assert await caller.health() == health_pb2.HealthCheckResponse.SERVING
        assert await caller.ask("first") == first
        disk.free()
        await caller.until_writable(True)
        assert await caller.health() == health_pb2.HealthCheckResponse.SERVING
        assert not (await caller.status()).alerts
        after = await caller.ask("after")
        assert isinstance(after, expiry.GetExpiryResponse) and not after.unjournaled
    assert verify(str(disk.path / "journal")).findings == []
