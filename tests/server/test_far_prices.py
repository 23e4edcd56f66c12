"""A price or a reference far from the market, sent over the wire: what the reply says of it."""

from pathlib import Path

import grpc
import grpc.aio
import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife_client.calls import read_expiry
from reference.service_kit import GET_EXPIRY, Kit, running, write_config

FAR_PRICE, FAR_REFERENCE = types.REASON_PRICE_FAR, types.REASON_REFERENCE_FAR


@pytest.mark.parametrize(
    ("prices", "reasons"),
    [
        ({"price": "60000"}, {FAR_PRICE}),  # the market stands at 63,000: 5 % away, 1 % is the bound
        ({"price": "63001", "reference_price": "66000"}, {FAR_REFERENCE}),
        ({"edge": "1", "reference_price": "60000"}, {FAR_PRICE, FAR_REFERENCE}),
        ({"price": "62990", "reference_price": "63000"}, set()),
    ],
)
async def test_far_prices_over_the_wire(
    tmp_path: Path, prices: dict[str, str], reasons: set["types.Reason.ValueType"]
) -> None:
    """Declined with each reason and MARKET as what binds; near the market neither shows."""
    request = expiry.GetExpiryRequest(
        request_id="far", instrument="BTC-USDT", side=types.SIDE_BUY, counterparty="beta", **prices
    )
    async with (
        running(write_config(tmp_path)) as app,
        grpc.aio.insecure_channel(app.addresses[0]) as channel,
    ):
        payload = await channel.unary_unary(GET_EXPIRY)(request.SerializeToString(), timeout=5)
    reply = expiry.GetExpiryResponse.FromString(payload)
    assert {FAR_PRICE, FAR_REFERENCE} & set(reply.reasons) == reasons
    assert (reply.decision == types.DECISION_DECLINE) == bool(reasons)
    assert (types.CONSTRAINT_MARKET in reply.binding) == bool(reasons)
    assert (reply.life_ns == 0) == bool(reasons)
    told = read_expiry(reply)
    assert {"PRICE_FAR", "REFERENCE_FAR"} & {reason.name for reason in told.reasons} == {
        types.Reason.Name(reason).removeprefix("REASON_") for reason in reasons
    }


def test_a_two_way_quote_with_one_far_side_is_declined(tmp_path: Path) -> None:
    """The near side is still told its life; the far one says why."""
    reply = Kit(tmp_path).get(
        side=types.SIDE_TWO_WAY, bid_price="62999", ask_price="66000", counterparty="beta"
    )
    buy, sell = reply.sides
    assert FAR_PRICE not in buy.reasons and FAR_PRICE in sell.reasons
    assert types.CONSTRAINT_MARKET in sell.binding
    assert sell.decision == reply.decision == types.DECISION_DECLINE
