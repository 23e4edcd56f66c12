"""``quotelife bench feeds``, DBN: what it measures is what Databento would have written."""

from collections import Counter

import pytest

from quotelife.records import EventBuffer, EventKindCode
from quotelife.sim.orders import OrderFlow
from quotelife_server.cli import bench_dbn
from quotelife_server.cli.bench_feeds import DECODERS


def test_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the decoded book against the one that was encoded."""
    monkeypatch.setattr(bench_dbn, "MESSAGES", 3000)
    figures = DECODERS["dbn"](None, 1)
    assert figures["records"] > 3000
    assert figures["decode_and_book_ns_per_record"] > figures["decode_ns_per_record"] > 0


def test_encoded_orders_are_read_by_databentos_package() -> None:
    kit = pytest.importorskip("tests.reference.dbn_kit", reason="databento-dbn is not installed")
    tape = EventBuffer(3010)
    OrderFlow().write(tape, 3000)
    kinds = Counter(tape.array()["kind"].tolist())
    _, records = kit.decoded(bench_dbn.orders_to_mbo(tape.array()).tobytes())
    actions = Counter(str(kit.field(record, "action")) for record in records)
    executed = kinds[EventKindCode.EXECUTE]
    assert executed > 100
    assert (actions["T"], actions["F"]) == (executed, executed)
    assert actions["C"] == kinds[EventKindCode.CANCEL] + executed
    assert (actions["A"], actions["M"], actions["R"]) == (
        kinds[EventKindCode.ADD], kinds[EventKindCode.MODIFY], 1,
    )  # fmt: skip
