"""Layouts are a format: offsets and sizes are pinned, and bytes written by name read back by name."""

import numpy as np
import pytest

from quotelife.records import (
    DECISION_DTYPE,
    EVENT_DTYPE,
    HORIZONS_NS,
    REQUEST_DTYPE,
    SIGNAL_DTYPE,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    RequestRecord,
    SideCode,
)


def test_event_is_one_cache_line_with_pinned_offsets() -> None:
    assert EVENT_DTYPE.itemsize == 64
    assert {name: EVENT_DTYPE.fields[name][1] for name in EVENT_DTYPE.names or ()} == {
        "exchange_ns": 0, "receive_ns": 8, "sequence": 16, "price_ticks": 24, "size_lots": 32, "order_id": 40,
        "aux": 48, "instrument": 56, "kind": 60, "side": 61, "flags": 62,
    }  # fmt: skip


def test_signal_is_one_cache_line_with_pinned_offsets() -> None:
    assert SIGNAL_DTYPE.itemsize == 64
    assert {name: SIGNAL_DTYPE.fields[name][1] for name in SIGNAL_DTYPE.names or ()} == {
        "source_ns": 0, "receive_ns": 8, "value": 16, "value2": 24, "ttl_ns": 32, "source": 40, "instrument": 48,
        "kind": 52, "flags": 54, "desk": 56,
    }  # fmt: skip


def test_decision_layout_is_pinned() -> None:
    assert DECISION_DTYPE.itemsize == 1528
    assert DECISION_DTYPE.fields["p"][1] == 160
    assert DECISION_DTYPE.fields["features"][1] == 352
    assert DECISION_DTYPE.fields["rule_index"][1] == 1424
    assert len(DecisionRecord().canonical()) == 1528
    assert DECISION_DTYPE.fields["calibration"][1] == 1440
    assert DECISION_DTYPE.fields["held_alpha"][1] == 1472
    assert DECISION_DTYPE.fields["learned"][1] == 1480
    assert DECISION_DTYPE.fields["exposure_room"][1] == 1512
    assert DECISION_DTYPE.fields["life_without_watch_ns"][1] == 1520


def test_request_layout_is_pinned() -> None:
    assert REQUEST_DTYPE.itemsize == 312
    assert {name: REQUEST_DTYPE.fields[name][1] for name in REQUEST_DTYPE.names or ()} == {
        "now_ns": 0, "priced_at_ns": 8, "client_deadline_ns": 16, "size_lots": 24, "price_ticks": 32,
        "edge_ticks": 40, "reference_ticks": 48, "instrument": 56, "counterparty": 60, "desk": 64, "session": 68,
        "flags": 72, "side": 74, "posture": 75, "underlying": 76, "two_way": 80, "ratio": 88, "package_price": 96,
        "package_edge": 104, "package_reference": 112, "delta": 120, "gamma": 128, "vega": 136, "weight": 144,
        "residual_ticks": 152, "before": 160, "h_ticks": 256, "alpha": 264, "h_least": 272, "loss_least": 280,
        "inventory": 288, "reasons": 296, "package_quality": 304, "package_regime": 305, "own_quality": 306,
        "own_regime": 307, "package_posture": 308, "package_kind": 309, "moved_known": 310, "package_side": 311,
    }  # fmt: skip


def test_records_survive_the_way_through_bytes() -> None:
    request = RequestRecord(3, -1, now_ns=7, size_lots=2.5, session=4, synchronised=False)
    assert RequestRecord.from_bytes(request.canonical()).canonical() == request.canonical()
    assert DecisionRecord.from_bytes(bytes(1528)).canonical() == bytes(1528)
    with pytest.raises(ValueError, match="312 bytes"):
        RequestRecord.from_bytes(b"short")
    with pytest.raises(ValueError, match="1528 bytes"):
        DecisionRecord.from_bytes(b"short")


def test_horizon_grid_is_the_one_of_the_curve() -> None:
    ms = [25, 50, 100, 150, 250, 500, 750, 1000, 1500, 2000, 3000, 5000]
    assert list(HORIZONS_NS) == [m * 1_000_000 for m in ms]


def test_events_survive_the_way_through_numpy() -> None:
    buffer = EventBuffer(8)
    buffer.append(EventKindCode.QUOTE, instrument=3, flags=EventFlags.LAST, receive_ns=7, sequence=9,
                  price_ticks=100, size_lots=5, order_id=101, aux=6)  # fmt: skip
    buffer.append(EventKindCode.LEVEL, side=SideCode.ASK, price_ticks=-4, size_lots=1)
    again = EventBuffer(8)
    again.extend(buffer.array())
    assert again.array().tobytes() == buffer.array().tobytes()
    assert buffer.array()["price_ticks"].tolist() == [100, -4]


def test_full_buffer_refuses_and_keeps_what_it_has() -> None:
    buffer = EventBuffer(1)
    buffer.append(EventKindCode.TRADE)
    with pytest.raises(OverflowError, match="full"):
        buffer.append(EventKindCode.TRADE)
    with pytest.raises(OverflowError, match="full"):
        buffer.extend(np.zeros(1, dtype=EVENT_DTYPE))
    assert (len(buffer), buffer.overflowed) == (1, 1)
    buffer.clear()
    assert (len(buffer), buffer.overflowed) == (0, 0)


def test_request_side_is_checked() -> None:
    with pytest.raises(ValueError, match="side"):
        RequestRecord(0, 0, now_ns=1)
