"""What is said of watched quotes as bytes: protobuf reads in them what was meant, and would have written the same."""

import math
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.inputs import WatchWord
from quotelife.records import QuoteStateCode, WatchCode, WithdrawCode
from quotelife_server import watch_bytes

NUMBERS = st.one_of(st.integers(0, 2**14 + 1), st.integers(0, 2**63 - 1))
TIMES = st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1))
TICKS = st.floats(allow_nan=True)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)


@st.composite
def withdrawals(draw: Callable[[Any], Any]) -> tuple[int, str, WatchWord, int, int, str]:
    word = WatchWord(
        number=draw(NUMBERS),
        at_ns=draw(TIMES),
        quote=draw(NUMBERS),
        kind=WatchCode.WITHDRAW,
        reason=draw(st.sampled_from(WithdrawCode)),
        state=QuoteStateCode.WITHDRAWN,
        moved_ticks=draw(TICKS),
        value_ticks=draw(TICKS),
        held=draw(st.booleans()),
    )
    return draw(NUMBERS), draw(NAMES), word, draw(TIMES), draw(st.integers(0, 2**32 - 1)), draw(NAMES)


def by_protobuf(
    sequence: int, name: str, word: WatchWord, expiry_ns: int, repeated: int, instrument: str
) -> expiry.WatchQuotesResponse:
    said = expiry.WatchQuotesResponse(sequence=sequence)
    message = said.withdraw
    message.SetInParent()
    message.quote_id, message.instrument = name, instrument
    message.reason = word.reason  # type: ignore[assignment]
    message.decided_at_utc_ns, message.expiry_utc_ns = word.at_ns, expiry_ns
    message.number, message.repeated_count, message.held_back = word.number, repeated, bool(word.held)
    if not math.isnan(word.moved_ticks):
        message.moved_ticks = word.moved_ticks
    if not math.isnan(word.value_ticks):
        message.value_ticks = word.value_ticks
    return said


@given(withdrawals())
def test_a_withdrawal(what: tuple[int, str, WatchWord, int, int, str]) -> None:
    assert watch_bytes.withdraw(*what) == by_protobuf(*what).SerializeToString(deterministic=True)


@given(st.lists(withdrawals(), min_size=1, max_size=5), st.integers(0, 2**40))
def test_a_batch(whats: list[tuple[int, str, WatchWord, int, int, str]], beat: int) -> None:
    messages = [by_protobuf(*what) for what in whats]
    messages.append(expiry.WatchQuotesResponse(heartbeat=expiry.WatchHeartbeat(at_utc_ns=beat)))
    pieces = [watch_bytes.withdraw(*what) for what in whats] + [messages[-1].SerializeToString()]
    together = expiry.WatchQuotesResponse(batch=expiry.WatchResponses(messages=messages))
    assert watch_bytes.batch(pieces) == together.SerializeToString(deterministic=True)
