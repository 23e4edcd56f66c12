"""Real Databento files of every version and schema: each field as Databento's own package has it."""

from decimal import Decimal
from pathlib import Path

import pytest

from quotelife.book.level_book import Book
from quotelife.errors import DecodeError
from quotelife.feed.dbn import DbnDecoder
from quotelife.feed.dbn_layout import (
    UNDEF_PRICE,
    UNDEF_TIMESTAMP,
    metadata_bytes,
    parse_metadata,
    read_record,
)
from quotelife.records import EventBuffer, EventKindCode

kit = pytest.importorskip("tests.reference.dbn_kit", reason="databento-dbn is not installed")
pytestmark = pytest.mark.realdata


def test_every_field_of_every_record_is_the_packages(data_dir: Path) -> None:
    """144 files, versions 1 to 3, plain, compressed and fragments."""
    files = kit.files(data_dir / "dbn")
    records = fields = 0
    unequal: list[str] = []
    for path in files:
        raw = kit.plain(path)
        metadata, theirs = kit.decoded(raw, kit.fragment_version(path))
        mine = list(kit.records(raw))
        assert len(mine) == len(theirs), path.name
        for one, other in zip(mine, theirs, strict=True):
            known = read_record(one, bool(metadata and metadata.ts_out))
            assert known is not None, path.name
            records += 1
            for name in known[1].dtype.names or ():
                if name == "length":
                    continue
                value = known[1][name][0]
                value = value.decode() if isinstance(value, bytes) else int(value)
                fields += 1
                if value != kit.field(other, name):
                    unequal.append(f"{path.name} {known[0]}.{name}: {value} != {kit.field(other, name)}")
    assert unequal == []
    assert (len(files), records, fields) == (144, 459, 9_773)


def test_all_metadata_are_the_packages(data_dir: Path) -> None:
    whole = 0
    for path in kit.files(data_dir / "dbn"):
        raw = kit.plain(path)
        size = metadata_bytes(raw[:8])
        if not size:
            continue
        whole += 1
        mine, (theirs, _) = parse_metadata(raw[:size]), kit.decoded(raw)
        assert mine.version == theirs.version
        assert mine.dataset == theirs.dataset
        assert mine.schema == (None if theirs.schema is None else str(theirs.schema)), path.name
        assert (mine.start, mine.limit, mine.ts_out) == (theirs.start, theirs.limit, theirs.ts_out)
        assert (mine.end or UNDEF_TIMESTAMP) == (theirs.end or UNDEF_TIMESTAMP)
        assert (mine.stype_in is None) == (theirs.stype_in is None)
        assert (list(mine.symbols), list(mine.partial), list(mine.not_found)) == (
            theirs.symbols, theirs.partial, theirs.not_found,
        )  # fmt: skip
        assert list(mine.mappings) == list(theirs.mappings)
        for name, intervals in mine.mappings.items():
            assert [symbol for _, _, symbol in intervals] == [i["symbol"] for i in theirs.mappings[name]]
    assert whole == 137


TICK = {"GLBX.MDP3": "0.05", "XNAS.ITCH": "0.0001", "IFEU.IMPACT": "0.01", "NDEX.IMPACT": "0.001"}


def test_events_of_every_order_file_follow_from_the_packages_records(data_dir: Path) -> None:
    """MBO of four venues and three versions: the twin reads the package's records, the decoder the bytes."""
    seen = messages = 0
    for path in kit.files(data_dir / "dbn"):
        raw = kit.plain(path)
        if raw[:3] != b"DBN" or parse_metadata(raw[: metadata_bytes(raw[:8])]).schema != "mbo":
            continue
        metadata, records = kit.decoded(raw)
        tick = Decimal(TICK[metadata.dataset])
        decoder = DbnDecoder(EventBuffer(4096))
        decoder.add_instrument(metadata.symbols[0], 0, tick, Decimal(1), order_level=True)
        decoder.feed(raw)
        messages += decoder.decode()
        decoder.end()
        expected = kit.events_of_orders(records, int(tick * 10**9))
        assert kit.told(decoder.buffer.array()) == expected, path.name
        stamps = {int(r.ts_recv) for r in records}
        assert {int(t) for t in decoder.buffer.array()["receive_ns"]} <= stamps
        seen += 1
    assert (seen, messages) == (9, 15)


def test_best_prices_of_every_level_file_are_the_packages(data_dir: Path) -> None:
    """mbp-1, mbp-10, tbbo, bbo, cmbp-1 and cbbo: after each record the best levels are its own."""
    files = compared = mixed = 0
    for path in kit.files(data_dir / "dbn"):
        raw = kit.plain(path)
        if raw[:3] != b"DBN":
            continue
        metadata, records = kit.decoded(raw)
        if str(metadata.schema).split("-")[0] not in ("mbp", "tbbo", "bbo", "cmbp", "cbbo"):
            continue
        files += 1
        if len({int(r.publisher_id) for r in records}) > 1:  # OPRA: the exchanges' books side by side
            decoder = DbnDecoder(EventBuffer(4096))
            decoder.add_instrument(metadata.symbols[0], 0, Decimal("0.01"), Decimal(1))
            decoder.feed(raw)
            with pytest.raises(DecodeError, match="a book is that of one publisher"):
                decoder.decode()
            mixed += 1
            continue
        book = Book()
        decoder = DbnDecoder(EventBuffer(4096))
        decoder.add_instrument(metadata.symbols[0], 0, Decimal("0.000000001"), Decimal(1))
        size = metadata_bytes(raw[:8])
        decoder.feed(raw[:size])
        for record, one in zip(records, kit.records(raw), strict=True):
            decoder.buffer.clear()
            decoder.feed(one)
            decoder.decode()
            for event in decoder.buffer.array():
                if event["kind"] == EventKindCode.LEVEL:
                    book.level(int(event["side"]), int(event["price_ticks"]), int(event["size_lots"]))
            book.refresh()
            level, expected = record.levels[0], []
            for price, size in ((level.bid_px, level.bid_sz), (level.ask_px, level.ask_sz)):
                expected += [price, size] if price != UNDEF_PRICE and size else [0, 0]
            assert list(book.best) == expected, path.name
            compared += 1
    assert (files, mixed, compared) == (50, 2, 156)
