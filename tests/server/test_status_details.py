"""What a failure says fits into the trailers that clients take, over either front end and whatever a request holds."""

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import signal_service_pb2 as signals
from quote_expiry.v1 import types_pb2 as types
from quotelife_server.app import Application
from quotelife_server.convert import reload_refused
from quotelife_server.faults import Faults
from quotelife_server.rpc import STATUS_BYTES_MAX, TEXT_BYTES_MAX, Code, RpcError
from quotelife_server.transport.grpc_wire import grpc_message

CALENDAR = "/quote_expiry.v1.SignalService/PublishCalendar"
END_STEP_DOWN = "/quote_expiry.v1.AdminService/EndStepDown"
GET_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/GetExpiry"


async def failure(app: Application, path: str, payload: bytes) -> grpc.aio.AioRpcError:
    async with grpc.aio.insecure_channel(app.addresses[0]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(payload, timeout=5.0)
    return caught.value


def bad_request(status_bytes: bytes | None) -> error_details_pb2.BadRequest:
    assert status_bytes is not None and len(status_bytes) <= STATUS_BYTES_MAX
    found = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(status_bytes).details[0].Unpack(found)
    return found


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("letter", ["x", "漢", "\n"])
async def test_many_long_names_that_are_not_configured_are_an_invalid_argument(
    app: Application, letter: str
) -> None:
    """And not RESOURCE_EXHAUSTED, which a client takes for a reason to try again."""
    event = signals.CalendarEvent(
        event_id="e",
        regime=types.REGIME_AUCTION,
        instruments=[f"{k:03d}".ljust(128, letter) for k in range(100)],
        from_utc_ns=app.clock.now_ns(),
        until_utc_ns=app.clock.now_ns() + 10**9,
    )
    error = await failure(app, CALENDAR, signals.PublishCalendarRequest(events=[event]).SerializeToString())
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith("events[0].instruments: '000")
    details = dict(iter(error.trailing_metadata()))["grpc-status-details-bin"]
    violations = bad_request(details).field_violations
    assert 2 <= len(violations) <= 16 and {each.field for each in violations} == {"events[0].instruments"}


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("letter", ["x", "漢", "%"])
async def test_a_message_is_cut_as_it_goes_over_the_wire(app: Application, letter: str) -> None:
    request = admin.EndStepDownRequest(group=letter * 20_000, reason="test")
    error = await failure(app, END_STEP_DOWN, request.SerializeToString())
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert (error.details() or "").startswith(f"no instrument group is called '{letter * 200}")


@pytest.mark.usefixtures("transport")
async def test_an_unknown_desk_has_its_details(app: Application) -> None:
    """What is short goes whole."""
    request = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY, desk="nobody")
    error = await failure(app, GET_EXPIRY, request.SerializeToString())
    details = dict(iter(error.trailing_metadata()))["grpc-status-details-bin"]
    (violation,) = bad_request(details).field_violations
    assert error.details() == f"desk: {violation.description}"


@pytest.mark.parametrize(
    "text", ["", "short, naïve", "y" * 10_000, "é" * 10_000, "漢" * 10_000, "𝄞" * 10_000, "%\n" * 10_000]
)
def test_a_message_is_the_longest_beginning_that_fits(text: str) -> None:
    message = RpcError(Code.INTERNAL, text).message
    assert text.startswith(message)
    assert len(grpc_message(message)) <= TEXT_BYTES_MAX
    assert message == text or len(grpc_message(text[: len(message) + 1])) > TEXT_BYTES_MAX


def test_a_status_that_is_too_large_has_no_bytes() -> None:
    def status(length: int) -> bytes | None:
        return RpcError(
            Code.INTERNAL, "x", (error_details_pb2.ErrorInfo(reason="r" * length),)
        ).status_bytes()

    rest = len(status(1000) or b"") - 1000
    assert len(status(STATUS_BYTES_MAX - rest) or b"") == STATUS_BYTES_MAX
    assert status(STATUS_BYTES_MAX - rest + 1) is None


def test_of_many_faults_the_first_16_are_listed_and_all_counted() -> None:
    faults = Faults()
    for k in range(100):
        faults.add(f"f{k}", "is wrong")
    with pytest.raises(RpcError) as caught:
        faults.raise_if_any()
    assert caught.value.message == "f0: is wrong; f1: is wrong; f2: is wrong; and 97 more"
    violations = bad_request(caught.value.status_bytes()).field_violations
    assert [each.field for each in violations] == [f"f{k}" for k in range(16)]


def test_of_a_configuration_with_many_faults_as_many_are_listed_as_there_is_room_for() -> None:
    error = reload_refused(
        [f"config.yaml:{k}: instruments[{k}].tick_size: must be above 0" for k in range(300)]
    )
    assert "has 300 fault(s)" in error.message
    found = error_details_pb2.PreconditionFailure()
    status = error.status_bytes()
    assert status is not None and status_pb2.Status.FromString(status).details[0].Unpack(found)
    assert len(found.violations) > 16
    assert found.violations[0].description.startswith("config.yaml:0: ")
