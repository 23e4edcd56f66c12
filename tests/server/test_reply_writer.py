"""Answers straight from the record, held against those that protobuf's own objects make."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.records import NO_INDEX_VALUE, DecisionRecord
from quotelife_server import convert
from quotelife_server.reply_writer import ReplyWriter
from reference.service_kit import Kit

FRAME = convert.ReplyFrame("b00t", "0123456789abcdef", synchronised=True)
NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.5, -2.25, float("nan"), float("inf"), -float("inf"), 1e300]), st.floats()
)
COUNTS = st.one_of(st.sampled_from([0, 1, 127, 128, 2**31, 2**62]), st.integers(0, 2**62))
DOUBLES = (
    "reference_ticks", "edge_ticks", "h_ticks", "moved_ticks", "sigma_ticks", "alpha", "p_ref", "p_life",
    "expected_value_ticks", "break_even_edge_ticks", "held_alpha",
)  # fmt: skip


def call_of(request_id: str = "", step_ns: int = 1, tick: float = 0.01) -> Any:
    """As much of an ``ExpiryCall`` as a reply needs."""
    return SimpleNamespace(
        message=expiry.GetExpiryRequest(request_id=request_id),
        venue_step_ns=step_ns,
        packages=[],
        tick_of=lambda _: tick,
    )


def same(decision: DecisionRecord, frame: convert.ReplyFrame, call: Any) -> expiry.GetExpiryResponse:
    """Both tellings of one decision, which must be equal but for the time they took."""
    fast = expiry.GetExpiryResponse.FromString(convert.expiry_reply(call, [decision], frame, 0))
    slow = expiry.GetExpiryResponse.FromString(convert.whole_reply(call, [decision], frame, 0))
    assert fast.compute_ns > 0
    fast.ClearField("compute_ns")
    slow.ClearField("compute_ns")
    assert fast.SerializeToString(deterministic=True) == slow.SerializeToString(deterministic=True)
    return fast


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_decision_is_told_alike(data: st.DataObject) -> None:
    record = DecisionRecord()
    row = record.array().copy()
    for name in DOUBLES:
        row[name] = data.draw(NUMBERS)
    row["p"] = data.draw(st.lists(NUMBERS, min_size=12, max_size=12))
    for name in ("life_ns", "venue_life_ns", "life_without_watch_ns", "now_ns", "input_sequence"):
        row[name] = data.draw(COUNTS) >> 2
    row["expiry_ns"] = row["now_ns"] + row["life_ns"]
    row["data_age_ns"] = data.draw(st.one_of(st.just(-1), COUNTS))
    row["kind"] = data.draw(st.integers(1, 3))
    row["reasons"] = data.draw(st.integers(0, 2**20 - 1))
    row["binding"] = data.draw(st.integers(0, 2**10 - 1))
    for name, most in (
        ("posture_requested", 3), ("posture_effective", 3), ("rule", 5), ("regime", 2), ("quality", 4), ("mode", 2),
        ("actuation", 4), ("model_role", 2),
    ):  # fmt: skip
        row[name] = data.draw(st.integers(0, most))
    row["rule_index"] = data.draw(st.sampled_from([0, 5, NO_INDEX_VALUE]))
    row["config_revision"], row["model_revision"] = (
        data.draw(st.integers(0, 2**31)),
        data.draw(st.integers(0, 300)),
    )
    decision = DecisionRecord.from_bytes(row.tobytes())
    frame = convert.ReplyFrame(
        "b00t-é", data.draw(st.sampled_from(["", "ab" * 32])), data.draw(st.booleans()), data.draw(st.booleans()),
        data.draw(st.integers(0, 9)),
    )  # fmt: skip
    call = call_of(data.draw(st.text(max_size=20)), data.draw(st.sampled_from([1, 10**6, 10**9])))
    same(decision, frame, call)


def test_answers_of_the_engine_are_told_alike(tmp_path: Path) -> None:
    kit = Kit(tmp_path)
    kinds = set()
    for fields in (
        {}, {"price": "63000.1"}, {"counterparty": "alpha", "edge": "0.5"}, {"venue_session": "instants"},
        {"venue_session": "coarse"}, {"price": "1.0"}, {"instrument": "ETH-USDT"},
    ):  # fmt: skip
        request = expiry.GetExpiryRequest(
            **{"instrument": "BTC-USDT", "side": types.SIDE_SELL, "request_id": "r-1"} | fields  # type: ignore[arg-type]
        )
        call = convert.expiry_request(request, kit.engine, kit.clock.now_ns(), synchronised=True)
        decision = DecisionRecord()
        kit.engine.decide(call.records[0], decision)
        for synchronised in (True, False):
            reply = same(decision, replace(FRAME, synchronised=synchronised), call)
        kinds.add(reply.decision)
    assert types.DECISION_QUOTE in kinds and len(kinds) > 1


def test_texts_too_long_for_it_are_left_to_protobuf() -> None:
    writer = ReplyWriter(convert.HORIZONS_NS, "s")
    long = "x" * 4096
    reply = writer.reply(
        DecisionRecord(), boot_id="d", request_id=long, model_digest="m", tick=1.0, venue_step_ns=1,
        synchronised=True, watched=False, watch_refusal=0, compute_ns=1,
    )  # fmt: skip
    assert reply is None
    row = DecisionRecord().array().copy()
    row["kind"] = types.DECISION_DECLINE
    told = same(DecisionRecord.from_bytes(row.tobytes()), FRAME, call_of(long))
    assert told.request_id == long


def test_the_curve_has_the_horizons_of_the_records() -> None:
    with pytest.raises(ValueError, match="horizons_ns"):
        ReplyWriter((1, 2), "s")
    assert len(np.asarray(convert.HORIZONS_NS)) == 12
