"""gRPC's own bytes inside HTTP/2: messages, timeouts, texts."""

import urllib.parse
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotelife_server.rpc import Code, RpcError
from quotelife_server.transport.grpc_wire import (
    Coding,
    MessageReader,
    binary_value,
    framed,
    grpc_message,
    timeout_ns,
)

PAYLOADS = st.lists(st.binary(max_size=200), max_size=20)


@given(PAYLOADS, st.integers(1, 50))
def test_messages_come_out_however_they_are_cut(payloads: list[bytes], size: int) -> None:
    data = b"".join(map(framed, payloads))
    reader = MessageReader(200)
    found = [each for at in range(0, len(data), size) for each in reader.feed(data[at : at + size])]
    assert found == payloads and not reader.is_unfinished


@given(PAYLOADS, st.integers(1, 50))
def test_compressed_messages_come_out_as_they_were(payloads: list[bytes], size: int) -> None:
    packed = [zlib.compress(each) for each in payloads]
    data = b"".join(b"\1" + len(each).to_bytes(4, "big") + each for each in packed)
    reader = MessageReader(300, Coding.DEFLATE)
    found = [each for at in range(0, len(data), size) for each in reader.feed(data[at : at + size])]
    assert found == payloads


@given(st.binary(max_size=100))
def test_any_bytes_give_messages_or_an_error(data: bytes) -> None:
    try:
        for coding in Coding:
            reader = MessageReader(50, coding)
            assert all(len(each) <= 50 for each in reader.feed(data))
    except RpcError as error:
        assert error.code in (Code.INTERNAL, Code.RESOURCE_EXHAUSTED, Code.UNIMPLEMENTED)


@given(st.text(max_size=50))
def test_texts_survive_percent_encoding(text: str) -> None:
    sent = grpc_message(text)
    assert all(32 <= byte <= 126 for byte in sent)
    assert urllib.parse.unquote_to_bytes(sent) == text.encode("utf-8", "replace")


@given(st.binary(max_size=50))
def test_binary_values_have_no_padding(value: bytes) -> None:
    import base64

    sent = binary_value(value)
    assert not sent.endswith(b"=")
    assert base64.b64decode(sent + b"=" * (-len(sent) % 4)) == value


@pytest.mark.parametrize("text", [b"", b"1", b"S", b"123456789n", b"1x", b"x1", b"\xff\xff"])
def test_what_is_no_timeout(text: bytes) -> None:
    assert timeout_ns(text) is None


@given(st.integers(0, 10**8 - 1), st.sampled_from("numSMH"))
def test_timeouts_are_exact_up_to_a_month(value: int, unit: str) -> None:
    size = {"n": 1, "u": 1000, "m": 10**6, "S": 10**9, "M": 60 * 10**9, "H": 3600 * 10**9}[unit]
    whole = timeout_ns(f"{value}{unit}".encode())
    assert whole == (value * size if unit in "numS" else min(value * size, 31 * 86_400 * 10**9))
