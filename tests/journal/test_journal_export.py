"""The commands and the export: what a journal holds, under its names, and every example of the documentation runs."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quotelife.engine import Engine
from quotelife.errors import JournalError
from quotelife.features.schema import INDEX
from quotelife.inputs import Change
from quotelife.journal.export import TABLES, export_parquet
from quotelife.journal.reader import Journal
from quotelife.journal.recovery import recover
from quotelife.journal.storage import DirectoryStorage
from quotelife.journal.writer import JournalWriter
from quotelife.records import DecisionRecord, RequestRecord, SignalCode
from quotelife_server.cli.commands import app
from reference.journal_kit import T0, TEXT, Flow, S, begin, make_config

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "journal.md"
BLOCKS = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


WATCHED = {
    "quote": 7, "owner": "oms", "name": "q7", "rfq": "r7", "boot": "b1", "decisions": [11, 12], "expiry_ns": T0 + 9 * S,
    "unwatched_ns": T0 + 8 * S, "size_lots": 2.5, "counterparty": "alpha", "desk": None, "session": None,
    "cancels": False, "state": 1, "withdraw": 0,
    "sides": [
        {"instrument": "BTC", "side": side, "mid_ticks": 100.5, "h_ticks": 3.0, "loses_h_ticks": 3.0, "share": 1.0,
         "edge_ticks": None, "p": [0.0] * 12, "posture": 1, "mode": 1, "regime": 0, "quality": 3}
        for side in (1, -1)
    ],
}  # fmt: skip
OUTCOME = {
    "outcome": "o1", "decision": 12, "first": 11, "boot": "b1", "quote": "q7", "counterparty": "alpha",
    "instrument": "BTC", "side": -1, "kind": 2, "counts": True, "at_ns": T0 + 3 * S, "age_ns": None, "life_ns": S,
    "price_ticks": 101.0, "traded_lots": None, "size_lots": 2.5, "quoted_ticks": None, "mid_ticks": 0.0, "h_ticks": 3.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two boots; in the second one, counterparties and desks are numbered otherwise."""
    folder = tmp_path_factory.mktemp("exported")
    engine = Engine(make_config(folder), start_ns=T0)
    storage = DirectoryStorage(folder / "journal")
    writer = begin(storage, engine, segment_bytes=20_000)
    flow = Flow(engine, writer)
    for _ in range(5):
        flow.ask(4)
        writer.commit()
    engine.on_signal(SignalCode.NEWS, receive_ns=T0 + S, source_ns=T0, value=-0.5, instrument=1)
    decide(engine, counterparty=1, desk=1, size_lots=2.0)
    writer.refuse([3])
    writer.close()
    recovered = recover(storage, T0)
    text = TEXT.replace("  beta:", "  aaa: {tier: strategic}\n  beta:").replace(
        "desks:\n", "desks:\n  able: {}\n"
    )
    engine = Engine(make_config(folder, text), start_ns=T0 + 2 * S)
    writer = JournalWriter(
        storage, boot_id="b2", next_number=recovered.next_number, segment=recovered.segment
    )
    writer.begin(engine, T0 + 2 * S, recovered.state)
    engine.record_to(writer)
    decide(engine, counterparty=1, desk=1)
    engine.apply_watch(Change.WATCHED, WATCHED, T0 + 3 * S)
    told = {**WATCHED, "quote": 8, "name": "q8", "boot": "b2", "decided_ns": T0 + 2 * S}
    engine.apply_watch(Change.WATCHED, told, T0 + 3 * S)
    engine.outcome(T0 + 3 * S, OUTCOME)
    engine.watch_lost(T0 + 4 * S, "oms", "gone")
    writer.commit()
    storage.close()
    export_parquet(Journal(folder / "journal"), folder / "out")
    return folder


def decide(engine: Engine, **options: float) -> None:
    engine.decide(RequestRecord(0, -1, now_ns=engine.now_ns + 1, **options), DecisionRecord())  # type: ignore[arg-type]


def query(folder: Path, text: str) -> list[tuple[object, ...]]:
    with duckdb.connect() as connection:
        out = folder / "out"
        rows: list[tuple[object, ...]] = connection.execute(
            re.sub(r"'(\w+\.parquet)'", rf"'{out}/\1'", text)
        ).fetchall()
        return rows


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.splitlines()[0][3:])
def test_every_query_of_the_documentation_runs_and_finds_something(folder: Path, text: str) -> None:
    if "kind = 'QUOTE'" in text:
        assert query(folder, text) == []  # without market data nothing is quoted
    else:
        assert query(folder, text)


def test_every_record_is_in_one_of_the_tables(folder: Path) -> None:
    records = [
        record.number for record in Journal(folder / "journal").records() if record.kind.name != "STATE"
    ]
    found = query(
        folder,
        "SELECT record FROM (" + " UNION ALL ".join(
            f"SELECT record FROM '{name}.parquet'" for name in TABLES
        ) + ") ORDER BY record",
    )  # fmt: skip
    assert [number for (number,) in found] == records


def test_names_are_those_of_the_boot(folder: Path) -> None:
    named = query(
        folder,
        "SELECT boot_id, instrument, counterparty, desk, side, request_size_lots, kind FROM 'decisions.parquet' "
        "WHERE counterparty IS NOT NULL ORDER BY record",
    )
    assert named == [
        ("b1", "BTC", "beta", "side", "SELL", 2.0, "DECLINE"),
        ("b2", "BTC", "alpha", "main", "SELL", None, "DECLINE"),
    ]


def test_values_are_those_of_the_records(folder: Path) -> None:
    columns = "decision_id, reasons, f_" + ", f_".join(INDEX)
    rows = {row[0]: row for row in query(folder, f"SELECT {columns} FROM 'decisions.parquet'")}
    from quotelife.journal.format import Kind
    from quotelife.journal.records import decode_decision

    records = list(Journal(folder / "journal").records([Kind.DECISION]))
    assert len(records) == len(rows)
    for record in records:
        decision = decode_decision(record)[1]
        row = rows[record.decision_id]
        assert "DATA_NOT_GOOD" in row[1]
        assert list(row[2:]) == [decision.feature(place) for place in INDEX.values()]


def test_answers_taken_back_are_marked(folder: Path) -> None:
    assert query(folder, "SELECT request_id FROM 'answers.parquet' WHERE taken_back") == [("r3",)]


def test_changes_tell_what_they_were(folder: Path) -> None:
    kinds = [kind for (kind,) in query(folder, "SELECT kind FROM 'changes.parquet' ORDER BY record")]
    assert kinds == ["BOOT", Change.CONFIG.name, "REFUSED", "BOOT", Change.CONFIG.name, "WATCH_LOST"]


def test_a_watched_quote_has_its_registration_and_every_word(folder: Path) -> None:
    columns = (
        "owner, name, rfq, quote, decision_ids, restored, decided_ns, expiry_ns, unwatched_ns, size_lots, "
        "counterparty, desk, state, withdraw, instruments, sides, mid_ticks, h_ticks, boot_id"
    )
    (row,) = query(folder, f"SELECT {columns} FROM 'watched_quotes.parquet' WHERE quote = 7")
    assert row == (
        "oms", "q7", "r7", 7, ["b1-11", "b1-12"], True, T0 + 3 * S, T0 + 9 * S, T0 + 8 * S, 2.5, "alpha", None,
        "LIVE", None, ["BTC", "BTC"], ["BUY", "SELL"], [100.5, 100.5], [3.0, 3.0], "b2",
    )  # fmt: skip
    columns = (
        "quote, kind, reason, state, epoch_ns(time), moved_ticks, value_ticks, life_ns, held_back, number"
    )
    (row,) = query(folder, f"SELECT {columns} FROM 'watches.parquet' WHERE quote = 7")
    assert row == (7, "WITHDRAW", "WATCH_LOST", "WITHDRAWN", T0 + 4 * S, None, None, None, False, 1)
    types = query(folder, "SELECT typeof(expiry_ns), typeof(unwatched_ns) FROM 'watched_quotes.parquet'")
    assert types == [("BIGINT", "BIGINT")] * 2
    rows = query(folder, "SELECT quote, restored, decided_ns FROM 'watched_quotes.parquet'")
    assert rows == [(7, True, T0 + 3 * S), (8, False, T0 + 2 * S)]


def test_an_outcome_is_a_row_under_its_names(folder: Path) -> None:
    columns = (
        "outcome_id, decision_id, quote_id, counterparty, instrument, side, kind, counts, at_ns, age_ns, life_ns, "
        "price_ticks, traded_lots, size_lots, mid_ticks, h_ticks"
    )
    (row,) = query(folder, f"SELECT {columns} FROM 'outcomes.parquet'")
    assert row == (
        "o1", "b1-12", "q7", "alpha", "BTC", "SELL", "LIFTED", True, T0 + 3 * S, None, S, 101.0, None, 2.5, None, 3.0,
    )  # fmt: skip


def test_an_export_that_ends_early_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_parquet(Journal(folder / "journal"), tmp_path / "out", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_an_export_does_not_overwrite(folder: Path) -> None:
    with pytest.raises(JournalError, match="exists; remove it"):
        export_parquet(Journal(folder / "journal"), folder / "out")


def test_a_folder_that_cannot_be_made_is_named_with_the_mend(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        JournalError, match=r"file/out: cannot be made \(Not a directory\); name a folder where"
    ):
        export_parquet(Journal(folder / "journal"), tmp_path / "file" / "out")


def test_the_export_command(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["journal", "export", str(folder / "journal"), "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    assert "22 decisions, 0 shadows, 0 labels, 20 answers" in result.output
    assert len(list((tmp_path / "out").glob("*.parquet"))) == len(TABLES)


@pytest.mark.parametrize(
    ("where", "code", "severity"), [(None, 0, None), (-5, 4, "TORN"), (1000, 5, "DAMAGE")]
)
def test_verify_exits_by_what_it_finds(
    tmp_path: Path, where: int | None, code: int, severity: str | None
) -> None:
    engine = Engine(make_config(tmp_path), start_ns=T0)
    storage = DirectoryStorage(tmp_path / "journal")
    writer = begin(storage, engine)
    Flow(engine, writer).ask(3)
    writer.commit()
    path = tmp_path / "journal" / "0000000001.qlj"
    raw = bytearray(path.read_bytes())
    if where is not None:
        raw[where] ^= 1
    path.write_bytes(raw)
    plain = CliRunner().invoke(app, ["journal", "verify", str(tmp_path / "journal")])
    result = CliRunner().invoke(app, ["journal", "verify", "--json", str(tmp_path / "journal")])
    assert (plain.exit_code, result.exit_code) == (code, code)
    report = json.loads(result.stdout)
    assert report["clean"] is (severity is None)
    assert [finding["severity"] for finding in report["findings"]] == ([severity] if severity else [])


def test_a_folder_without_a_journal_is_not_a_clean_journal(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["journal", "verify", str(tmp_path)])
    assert isinstance(result.exception, JournalError)
    assert "no segment of a journal in it" in str(result.exception)


def test_verify_of_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["journal", "verify", str(tmp_path / "none")])
    assert isinstance(result.exception, JournalError)
