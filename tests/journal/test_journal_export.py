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
    assert kinds == ["BOOT", Change.CONFIG.name, "REFUSED", "BOOT", Change.CONFIG.name]


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
