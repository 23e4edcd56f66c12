"""LOBSTER rows to events, and rows that are wrong: made up, not recorded."""

import zipfile
from decimal import Decimal
from pathlib import Path

import pytest

from quotelife.book.order_book import Orders
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.errors import DecodeError, QuotelifeError
from quotelife.feed.lobster import LobsterDecoder, LobsterFiles, anonymous_id, midnight_of
from quotelife.records import (
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    RequestRecord,
    SideCode,
    StatusKind,
)
from quotelife.replay.files import FileSource
from quotelife.replay.lobster import LobsterRecording
from quotelife.replay.run import Replay

S = 1_000_000_000
BID, ASK = SideCode.BID, SideCode.ASK
EMPTY_ASK, EMPTY_BID = b"9999999999,0", b"-9999999999,0"
FIRST = b"34200.000000001,1,11,100,1000000,1"
FIRST_BOOK = b"1000200,50,1000000,130,1000300,70,999900,20"
NAME = "ABC_2012-06-21_34200000_57600000_message_2.csv"


@pytest.fixture
def buffer() -> EventBuffer:
    return EventBuffer(256)


@pytest.fixture
def decoder(buffer: EventBuffer) -> LobsterDecoder:
    decoder = LobsterDecoder(
        buffer, instrument=0, tick_size=Decimal("0.01"), lot_size=Decimal(1), midnight_ns=0
    )
    decoder.message(FIRST, FIRST_BOOK)
    return decoder


def rows(buffer: EventBuffer) -> list[tuple[int, ...]]:
    """(kind, side, price, size, order id, flags) of each event; empties the buffer."""
    out = [
        (kind, side, price, lots, order_id, flags)
        for _, _, _, price, lots, order_id, _, _, kind, side, flags in buffer.array().tolist()
    ]
    buffer.clear()
    return out


def test_the_first_row_starts_the_book(decoder: LobsterDecoder, buffer: EventBuffer) -> None:
    book = Orders()
    events = rows(buffer)
    for kind, side, price, lots, order_id, _ in events[1:-1]:
        assert kind == EventKindCode.ADD
        book.add(order_id, side, price, lots)
    book.levels.refresh()
    assert (events[0][0], events[-1][0]) == (EventKindCode.SNAPSHOT_BEGIN, EventKindCode.SNAPSHOT_END)
    assert [event[5] & EventFlags.LAST for event in events] == [0] * (len(events) - 1) + [EventFlags.LAST]
    assert book.levels.bids() == [(10_000, 130), (9_999, 20)]
    assert book.levels.asks() == [(10_002, 50), (10_003, 70)]
    assert book[11] == (BID, 10_000, 100), "the order of the first message stands by its own id"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"34200.5,1,12,5,1000100,1", (EventKindCode.ADD, BID, 10_001, 5, 12)),
        (b"34200.5,2,11,40,1000000,1", (EventKindCode.CANCEL, BID, 10_000, 40, 11)),
        (b"34200.5,3,11,100,1000000,1", (EventKindCode.CANCEL, BID, 10_000, 100, 11)),
        (b"34200.5,4,11,60,1000000,1", (EventKindCode.EXECUTE, BID, 10_000, 60, 11)),
        (b"34200.5,4,7,20,1000200,-1", (EventKindCode.EXECUTE, ASK, 10_002, 20, anonymous_id(ASK, 10_002))),
        (b"34200.5,5,0,20,1000150,-1", (EventKindCode.TRADE, BID, 10_002, 20, 0)),
        (b"34200.5,5,0,20,1000100,1", (EventKindCode.TRADE, ASK, 10_001, 20, 0)),
    ],
)
def test_each_type_of_message(
    decoder: LobsterDecoder, buffer: EventBuffer, line: bytes, expected: tuple[int, ...]
) -> None:
    buffer.clear()
    assert decoder.message(line) == 34_200 * S + S // 2
    assert rows(buffer) == [(*expected, EventFlags.LAST)]


@pytest.mark.parametrize(
    ("price", "status"), [(-1, StatusKind.HALT), (0, StatusKind.AUCTION), (1, StatusKind.TRADING)]
)
def test_halts(decoder: LobsterDecoder, buffer: EventBuffer, price: int, status: StatusKind) -> None:
    buffer.clear()
    decoder.message(f"34201,7,0,0,{price},-1".encode())
    (event,) = buffer.array()
    assert (event["kind"], event["aux"]) == (EventKindCode.STATUS, status)


def test_a_level_that_enters_the_window_is_a_correction(decoder: LobsterDecoder, buffer: EventBuffer) -> None:
    buffer.clear()
    decoder.message(b"34201,4,7,50,1000200,-1", b"1000300,70,1000000,130,1000500,5,999900,20")
    traded, entered = rows(buffer)
    assert traded[:2] == (EventKindCode.EXECUTE, ASK)
    assert entered == (EventKindCode.ADD, ASK, 10_005, 5, anonymous_id(ASK, 10_005), 3)


def test_what_leaves_the_window_is_forgotten_with_its_ids(
    decoder: LobsterDecoder, buffer: EventBuffer
) -> None:
    decoder.message(b"34201,1,12,5,1000100,1", b"1000200,50,1000100,5,1000300,70,1000000,130")
    decoder.message(
        b"34201,1,13,5,1000150,1".replace(b"150", b"100"), b"1000200,50,1000100,10,1000300,70,1000000,130"
    )
    buffer.clear()
    decoder.message(b"34202,1,14,1,999900,1", b"1000200,50,1000100,10,1000300,70,1000000,130")
    assert [event[:3] for event in rows(buffer)] == [
        (EventKindCode.ADD, BID, 9_999),
        (EventKindCode.CANCEL, BID, 9_999),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "expected time"),
        (b"34200,1,12,5,1000100", "expected time"),
        (b"34200,1,12,5,1000100,1,9", "expected time"),
        (b"x,1,12,5,1000100,1", "seconds after midnight"),
        (b"-1,1,12,5,1000100,1", "seconds after midnight"),
        (b"86400,1,12,5,1000100,1", "beyond the day"),
        (b"34200,1,12,5,1000100,0", "direction"),
        (b"34200,1,12,0,1000100,1", "above 0"),
        (b"34200,1,12,-5,1000100,1", "above 0"),
        (b"34200,1,-12,5,1000100,1", "above 0"),
        (b"34200,1,12,5,0,1", "above 0"),
        (b"34200,1,12,5,1000150,1", "multiple of the tick"),
        (b"34200,1,12,five,1000100,1", "invalid literal"),
        (b"34200,8,12,5,1000100,1", "type"),
    ],
)
def test_a_bad_message_is_named_by_its_row_and_reaches_nobody(
    decoder: LobsterDecoder, buffer: EventBuffer, line: bytes, complaint: str
) -> None:
    buffer.clear()
    with pytest.raises(DecodeError, match=f"row 2: .*{complaint}"):
        decoder.message(line)
    assert len(buffer) == 0


@pytest.mark.parametrize(
    "book",
    [b"1000200,50,1000000", b"a,50,1000000,130", b"1000000,50,1000000,130", b"1000200,-5,1000000,130", b""],
)
def test_a_bad_book_row_is_named_by_its_row(
    decoder: LobsterDecoder, buffer: EventBuffer, book: bytes
) -> None:
    buffer.clear()
    with pytest.raises(DecodeError, match="row 2"):
        decoder.message(b"34200.5,1,12,5,999900,1", book)
    assert len(buffer) == 0


def test_the_first_row_needs_its_book(buffer: EventBuffer) -> None:
    decoder = LobsterDecoder(
        buffer, instrument=0, tick_size=Decimal("0.01"), lot_size=Decimal(1), midnight_ns=0
    )
    with pytest.raises(DecodeError, match="orderbook"):
        decoder.message(FIRST)


# ------------------------------------------------------------------------------------------------- files, replay


def recording(folder: Path, messages: list[bytes], books: list[bytes], *, zipped: bool) -> Path:
    folder.mkdir(exist_ok=True)
    texts = {
        NAME: b"\n".join(messages) + b"\n",
        NAME.replace("message", "orderbook"): b"\n".join(books) + b"\n",
    }
    if not zipped:
        for name, text in texts.items():
            (folder / name).write_bytes(text)
        return folder / NAME
    with zipfile.ZipFile(folder / "sample.zip", "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return folder / "sample.zip"


MESSAGES = [FIRST] + [f"{34_201 + k // 10}.{k % 10},5,0,1,1000100,1".encode() for k in range(200)]
CONFIG = """
version: 1
model: {artifact: first_passage}
instruments:
  - {name: ABC, venue: nasdaq, symbol: ABC, tick_size: 0.01, lot_size: 1, order_level: LEVEL}
"""


def engine_for(tmp_path: Path, level: str = "true") -> Engine:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("LEVEL", level), encoding="utf-8")
    return Engine(load_config(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_recording_is_replayed_and_asked_for_lives(tmp_path: Path, zipped: bool) -> None:
    path = recording(tmp_path / "day", MESSAGES, [FIRST_BOOK] * len(MESSAGES), zipped=zipped)
    engine = engine_for(tmp_path)
    seen: list[DecisionRecord] = []
    source = FileSource([LobsterRecording.find(str(path), engine.instruments)])
    report = Replay(
        engine,
        source,
        ask_every_ns=5 * S,
        ask=lambda t: [("ABC", RequestRecord(0, 1, now_ns=t))],
        on_decision=lambda _, decision: seen.append(decision),
    ).run()
    entry = report.sources["ABC"]
    assert (entry.lines, entry.checked, entry.equal, entry.crossed) == (201, 201, 201, 0)
    assert len(seen) == 4
    assert seen[0].now_ns == midnight_of("2012-06-21") + 34_205 * S + 1


def test_midnight_is_new_yorks() -> None:
    assert midnight_of("2012-06-21") == 1_340_251_200 * S
    assert midnight_of("2012-01-21") == 1_327_122_000 * S


def test_a_replay_names_file_and_row_of_a_bad_message(tmp_path: Path) -> None:
    path = recording(tmp_path / "day", [FIRST, b"34201,1,2"], [FIRST_BOOK] * 2, zipped=True)
    engine = engine_for(tmp_path)
    with pytest.raises(DecodeError, match=r"sample\.zip: row 2: expected time"):
        Replay(engine, FileSource([LobsterRecording.find(f"ABC={path}", engine.instruments)])).run()


def test_a_book_file_that_ends_early_is_said(tmp_path: Path) -> None:
    path = recording(tmp_path / "day", [FIRST] * 3, [FIRST_BOOK] * 2, zipped=False)
    with pytest.raises(DecodeError, match=r"orderbook_2\.csv ends before row 3"):
        list(LobsterFiles.find(path).lines())


@pytest.mark.parametrize("day", ["2012-13-21", "2012-02-30"])
def test_a_name_without_a_day_is_said(tmp_path: Path, day: str) -> None:
    path = recording(tmp_path / "day", [FIRST], [FIRST_BOOK], zipped=False)
    wrong = path.with_name(path.name.replace("2012-06-21", day))
    path.rename(wrong)
    book = path.with_name(path.name.replace("message", "orderbook"))
    book.rename(wrong.with_name(wrong.name.replace("message", "orderbook")))
    with pytest.raises(DecodeError, match=day):
        LobsterFiles.find(wrong)


def test_a_missing_orderbook_file_is_said(tmp_path: Path) -> None:
    path = recording(tmp_path / "day", [FIRST], [FIRST_BOOK], zipped=False)
    path.with_name(path.name.replace("message", "orderbook")).unlink()
    with pytest.raises(DecodeError, match=r"orderbook_2\.csv is missing"):
        LobsterFiles.find(path)


def test_a_level_instrument_is_refused_with_the_mend(tmp_path: Path) -> None:
    path = recording(tmp_path / "day", [FIRST], [FIRST_BOOK], zipped=True)
    engine = engine_for(tmp_path, "false")
    with pytest.raises(QuotelifeError, match="order_level: true"):
        Replay(engine, FileSource([LobsterRecording.find(str(path), engine.instruments)])).run()
