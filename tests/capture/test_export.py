"""A capture as Parquet says what the records said, in ticks and as decimals, to pandas and to DuckDB's reader alike."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from test_capture import T0, Disk, Recorder, S

from quotelife.capture.export import export_parquet
from quotelife.capture.reader import Capture
from quotelife.errors import QuotelifeError
from quotelife.records import EVENT_DTYPE, EventFlags, EventKindCode, SideCode, StatusKind

parquet = pytest.importorskip("pyarrow.parquet")


def event(kind: int, **fields: int) -> np.ndarray:
    array = np.zeros(1, dtype=EVENT_DTYPE)
    array["kind"] = kind
    array["receive_ns"] = T0
    for name, value in fields.items():
        array[name] = value
    return array


def exported(folder: Path) -> list[dict[str, object]]:
    out = folder / "out.parquet"
    capture = Capture(folder)
    rows = export_parquet(capture, out)
    table = parquet.read_table(out)
    assert rows == len(table)
    assert not list(folder.glob("*.tmp"))
    return table.to_pylist()  # type: ignore[no-any-return]


def test_each_kind_of_row_says_what_its_record_said(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    run.events(event(EventKindCode.LEVEL, side=SideCode.BID, price_ticks=605_001, size_lots=1_500, sequence=7,
                     exchange_ns=T0 - 3, flags=EventFlags.SNAPSHOT))  # fmt: skip
    run.signal(-0.25)
    run.engine.on_timer(T0 + 1)
    run.events(event(EventKindCode.QUOTE, price_ticks=605_001, size_lots=2, order_id=605_002, aux=3,
                     flags=EventFlags.LAST))  # fmt: skip
    run.events(event(EventKindCode.TRADE, side=SideCode.ASK, price_ticks=-5, size_lots=1, aux=99))
    run.events(event(EventKindCode.STATUS, instrument=0xFFFFFFFF, aux=StatusKind.HALT))
    run.writer.close()
    rows = exported(tmp_path)
    expected = [
        {"input_sequence": 1, "kind": "LEVEL", "instrument": "BTC", "exchange_ns": T0 - 3, "receive_ns": T0,
         "sequence": 7, "side": "BID", "last": False, "snapshot": True, "price_ticks": 605_001, "size_lots": 1_500,
         "price": Decimal("60500.1"), "size": Decimal("1.5"), "ask_price": None, "value": None, "status": None},
        {"input_sequence": 2, "kind": "NEWS", "instrument": None, "exchange_ns": T0 - 5, "receive_ns": T0,
         "value": -0.25, "value2": 0.0, "price": None, "side": None},
        {"input_sequence": 4, "kind": "QUOTE", "side": None, "price": Decimal("60500.1"), "size": Decimal("0.002"),
         "ask_price_ticks": 605_002, "ask_size_lots": 3, "ask_price": Decimal("60500.2"),
         "ask_size": Decimal("0.003"), "last": True, "order_id": None, "trade_id": None},
        {"input_sequence": 5, "kind": "TRADE", "side": "ASK", "price": Decimal("-0.5"), "size": Decimal("0.001"),
         "trade_id": 99, "ask_price": None},
        {"input_sequence": 6, "kind": "STATUS", "instrument": None, "status": "HALT", "price": None, "size": None},
    ]  # fmt: skip
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert {key: row[key] for key in wanted} == wanted
        assert row["boot_id"] == run.writer.boot_id


def test_prices_beyond_64_bits_of_the_finest_unit_are_exact(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    ticks = 2**53 + 1
    run.events(event(EventKindCode.LEVEL, side=SideCode.BID, price_ticks=ticks, size_lots=-(2**55)))
    run.writer.close()
    (row,) = exported(tmp_path)
    assert row["price"] == ticks * Decimal("0.1")
    assert row["size"] == -(2**55) * Decimal("0.001")


def test_a_loss_is_a_row(tmp_path: Path) -> None:
    disk = Disk(free=0)
    run = Recorder(
        tmp_path, files={"create": disk.create, "compress": False}, block_bytes=80 + 80 * 10 + 16, blocks=2
    )
    run.some_events(25)
    assert not run.writer.write_pending()
    disk.free = 1 << 60
    assert run.writer.write_pending()
    run.some_events(1)
    run.writer.tick(T0 + 100 * S)
    run.writer.close()
    rows = exported(tmp_path)
    assert [row["input_sequence"] for row in rows] == [*range(1, 21), 21, 26]
    assert (rows[20]["kind"], rows[20]["lost"]) == ("LOST", 5)


def test_many_runs_and_row_groups_keep_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quotelife.capture.export.ROWS", 50)
    run = Recorder(tmp_path, block_bytes=2000)
    for i in range(60):
        run.some_events(i % 7)
        if i % 3 == 0:
            run.signal(0.5)
        run.decide()
    run.writer.close()
    rows = exported(tmp_path)
    assert [row["input_sequence"] for row in rows] == [each.sequence for each in run.inputs]


def test_an_export_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    run.some_events(10)
    run.writer.close()

    def interrupt(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_parquet(Capture(tmp_path), tmp_path / "out.parquet", progress=interrupt)
    assert not list(tmp_path.glob("out.parquet*"))


def test_a_file_that_cannot_be_written_is_named_with_the_mend(tmp_path: Path) -> None:
    run = Recorder(tmp_path)
    run.some_events(1)
    run.writer.close()
    with pytest.raises(
        QuotelifeError, match=r"none/day\.parquet: cannot be written .*; name a file in a folder"
    ):
        export_parquet(Capture(tmp_path), tmp_path / "none" / "day.parquet")


def test_the_queries_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duckdb = pytest.importorskip("duckdb")
    run = Recorder(tmp_path)
    run.events(event(EventKindCode.TRADE, side=SideCode.ASK, price_ticks=10, size_lots=1000, exchange_ns=T0 - 5_000_000,
                     flags=EventFlags.LAST))  # fmt: skip
    run.events(event(EventKindCode.TRADE, side=SideCode.BID, price_ticks=20, size_lots=3000, exchange_ns=T0 - 5_000_000,
                     flags=EventFlags.LAST))  # fmt: skip
    run.writer.close()
    export_parquet(Capture(tmp_path), tmp_path / "day.parquet")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).resolve().parents[2] / "docs" / "capture.md").read_text(encoding="utf-8")
    queries = [part.split("```")[0] for part in text.split("```sql\n")[1:]]
    messages, vwap = [duckdb.sql(query).fetchall() for query in queries]
    assert [(row[0], row[2], row[3]) for row in messages] == [("BTC", 2, 5.0)]
    assert [(name, float(price), float(volume)) for name, price, volume in vwap] == [("BTC", 1.75, 4.0)]
