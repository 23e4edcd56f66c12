"""Requests taken out of their envelopes and answers put into them, held against protobuf's own objects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_server import convert, envelopes
from quotelife_server.rpc import Code, RpcError

TAGS = st.one_of(st.sampled_from([0, 1, 127, 128, 2**63 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
TEXTS = st.text(max_size=300)


def answer_of(text: str) -> bytes:
    return expiry.GetExpiryResponse(decision_id=text, life_ns=len(text)).SerializeToString()


@given(TAGS, TEXTS)
def test_a_request_of_a_stream_is_taken_out(tag: int, text: str) -> None:
    request = expiry.GetExpiryRequest(request_id=text, instrument="BTC").SerializeToString()
    payload = expiry.StreamExpiryRequest(
        tag=tag, request=expiry.GetExpiryRequest.FromString(request)
    ).SerializeToString()
    assert convert.stream_request(payload) == (tag, request)
    assert envelopes.stream_request(payload) == (None if tag >= 2**63 else (tag, request))


@given(TAGS, TEXTS)
def test_an_answer_of_a_stream_is_put_in(tag: int, text: str) -> None:
    answer = answer_of(text)
    response = expiry.StreamExpiryResponse(tag=tag)
    response.result.response.ParseFromString(answer)
    assert convert.stream_reply(tag, answer) == response.SerializeToString()


@given(st.lists(TEXTS, max_size=20))
def test_the_requests_of_a_batch_are_taken_out(texts: list[str]) -> None:
    requests = [expiry.GetExpiryRequest(request_id=each) for each in texts]
    payload = expiry.BatchGetExpiryRequest(requests=requests).SerializeToString()
    wanted = [each.SerializeToString() for each in requests]
    assert convert.batch_requests(payload) == envelopes.batch_requests(payload) == wanted


@given(
    st.lists(
        st.one_of(TEXTS.map(answer_of), st.just(RpcError(Code.NOT_FOUND, "instrument: not here"))), max_size=9
    )
)
def test_the_answers_of_a_batch_are_put_in(outcomes: list[bytes | RpcError]) -> None:
    response = expiry.BatchGetExpiryResponse()
    for outcome in outcomes:
        result = response.results.add()
        if isinstance(outcome, RpcError):
            result.fault.code, result.fault.message = int(Code.NOT_FOUND), "instrument: not here"
        else:
            result.response.ParseFromString(outcome)
    assert convert.batch_reply(outcomes) == response.SerializeToString()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x08\x01",
        b"\x08\x00\x12\x00",  # a tag that leaving it out would say
        b"\x08\x81\x00\x12\x00",  # a number longer than it must be
        b"\x08\x01\x12",
        b"\x08\x01\x12\x01",
        b"\x08\x01\x12\x00\x00",
        b"\x08\x01\x12\x00\x12\x00",
        b"\x12\x00\x08\x01",
        b"\x08\x01\x12" + b"\xff" * 9 + b"\x01",
    ],
)
def test_an_envelope_that_is_written_otherwise_is_left_to_protobuf(payload: bytes) -> None:
    assert envelopes.stream_request(payload) is None


@pytest.mark.parametrize(
    "payload", [b"\x0a", b"\x0a\x01", b"\x0a\x00\x12\x00", b"\x0a" + b"\xff" * 9 + b"\x01"]
)
def test_a_batch_that_is_written_otherwise_is_left_to_protobuf(payload: bytes) -> None:
    assert envelopes.batch_requests(payload) is None


def test_a_stream_written_backwards_is_read_by_protobuf() -> None:
    request = expiry.GetExpiryRequest(instrument="BTC").SerializeToString()
    payload = b"\x12" + bytes([len(request)]) + request + b"\x08\x07"
    assert convert.stream_request(payload) == (7, request)
    with pytest.raises(RpcError) as refused:
        convert.stream_request(b"\x12\x05x")
    assert refused.value.code == Code.INVALID_ARGUMENT
