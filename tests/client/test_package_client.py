"""Packages by the Python client and by ``quotelife get``, against a real service."""

import asyncio
from pathlib import Path

import pytest

from quotelife_client import (
    AsyncClient,
    Decision,
    ExpiryRequest,
    Leg,
    PackageRoute,
    Quality,
    ServiceError,
    Side,
)
from quotelife_server.cli import get as command
from reference.service_kit import running, write_config

SPREAD = [
    Leg(instrument="ETH-USDT", side="BUY", delta=0.5, gamma=0.001, vega=3.0, underlying="BTC-USDT"),
    Leg(instrument="BTC-USD", side=Side.SELL, ratio="2", delta=0.1, underlying="BTC-USDT"),
]


async def test_legs_go_out_and_the_package_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(write_config(tmp_path)) as app, AsyncClient(app.addresses[0], timeout_s=5) as client:
        await client.wait_ready(5)
        reply = await client.get_expiry(side="BUY", legs=SPREAD, size=1000)
        package = reply.package
        assert package is not None
        assert reply.decision in (Decision.QUOTE, Decision.DECLINE)
        assert (package.route, package.underlying) == (PackageRoute.UNDERLYING, "BTC-USDT")
        assert package.net_delta == pytest.approx(0.3)
        assert [(leg.instrument, leg.side, leg.delta, leg.contribution) for leg in package.legs] == [
            ("ETH-USDT", Side.BUY, 0.5, 0.5),
            ("BTC-USD", Side.SELL, 0.1, pytest.approx(-0.2)),
        ]
        assert package.legs[0].quality is not Quality.UNSPECIFIED
        batch = await client.batch_get_expiry(
            [ExpiryRequest(side="TWO_WAY", legs=[Leg(instrument="BTC-USDT", side="BUY")])] * 2
        )
        for each in batch:
            assert not isinstance(each, ServiceError)
            assert [side.package is not None for side in each.sides] == [True, True]
        single = await client.get_expiry(instrument="BTC-USDT", side="BUY")
        assert single.package is None

        with pytest.raises(ServiceError, match="underlying"):
            await client.get_expiry(side="BUY", legs=[Leg(instrument="ETH-USDT", side="BUY", delta=0.5)])
        for legs, words in (
            (["ETH-USDT,BUY", "BTC-USD,sell,2"], "package: FRECHET"),
            (
                ["ETH-USDT,BUY,1,.5,0,0,BTC-USDT", "BTC-USD,SELL,2,.1,0,0,BTC-USDT"],
                "on BTC-USDT, net delta 0.3",
            ),
        ):
            await asyncio.to_thread(
                command.get, "-", "BUY", "3", leg=legs, target=app.addresses[0], timeout=5.0
            )
            assert words in capsys.readouterr().out
