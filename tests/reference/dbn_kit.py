"""Databento's own package as the oracle of DBN, and files written by it or byte by byte. No code of the project."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import databento_dbn as dbn
import zstandard


def files(folder: Path) -> list[Path]:
    """Every DBN file; the older DBZ ones are another format."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".dbz")


def plain(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:4] != b"\x28\xb5\x2f\xfd":
        return raw
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True).read()


def decoded(raw: bytes, version: int = 3) -> tuple[Any, list[Any]]:
    """(metadata or None, records) as the package has them, in the version in which they were written."""
    fragment = raw[:3] != b"DBN"
    decoder = dbn.DBNDecoder(
        has_metadata=not fragment,
        upgrade_policy=dbn.VersionUpgradePolicy.AS_IS,
        input_version=version if fragment else None,
    )
    decoder.write(raw)
    out = decoder.decode()
    if decoder.buffer():
        raise AssertionError("the package left bytes over")
    return (None, out) if fragment else (out[0], out[1:])


def fragment_version(path: Path) -> int:
    """Told by the record: definitions of 360, 400 and 520 bytes."""
    return {90: 1, 100: 2, 130: 3}.get(plain(path)[0], 3)


def field(record: Any, name: str) -> int | str:
    """A field of a record as an int or a text, whatever the package makes of it."""
    if not hasattr(record, name) and name[-2:].isdigit():
        value = getattr(record.levels[int(name[-2:])], name[:-3])
    else:
        value = getattr(record, name)
    if name in ("is_trading", "is_quoting", "is_short_sell_restricted"):
        return {True: "Y", False: "N", None: "~"}[value]
    if value is None:
        return 0xFF if name.startswith("stype") else 0
    value = getattr(value, "value", value)
    return value.rstrip("\0") if isinstance(value, str) else int(value)


# --- files by hand ---

UNDEF = 2**63 - 1


def cstr(text: str, length: int) -> bytes:
    return text.encode().ljust(length, b"\0")


def metadata(
    *,
    version: int = 3,
    dataset: str = "XTST.BOOK",
    schema: int = 0,
    mappings: dict[str, list[tuple[int, int, str]]] | None = None,
    ts_out: bool = False,
    stype_out: int = 0,
) -> bytes:
    symbol = 22 if version == 1 else 71
    mappings = mappings or {}
    body = cstr(dataset, 16) + struct.pack("<HQQQ", schema, 1, 2**64 - 1, 0)
    body += b"" if version > 1 else struct.pack("<Q", 2**64 - 1)
    body += bytes([1, stype_out, ts_out])
    body += struct.pack("<H", symbol) + bytes(53) if version > 1 else bytes(47)
    body += struct.pack("<I", 0)
    for names in (list(mappings), [], []):
        body += struct.pack("<I", len(names)) + b"".join(cstr(n, symbol) for n in names)
    body += struct.pack("<I", len(mappings))
    for name, intervals in mappings.items():
        body += cstr(name, symbol) + struct.pack("<I", len(intervals))
        for start, end, other in intervals:
            body += struct.pack("<II", start, end) + cstr(other, symbol)
    if version > 2:
        body += bytes(-len(body) % 8)
    return b"DBN" + bytes([version]) + struct.pack("<I", len(body)) + body


def header(rtype: int, size: int, number: int, ts: int, publisher: int = 1) -> bytes:
    return struct.pack("<BBHIQ", size // 4, rtype, publisher, number, ts)


def mbo(
    action: str, side: str, price: int, size: int, order_id: int, *,
    flags: int = 0x80, t: int = 10**18, number: int = 7, sequence: int = 1, received: int | None = None,
    publisher: int = 1,
) -> bytes:  # fmt: skip
    return header(0xA0, 56, number, t, publisher) + struct.pack(
        "<QqIBBccQiI", order_id, price, size, flags, 0, action.encode(), side.encode(),
        t + 5 if received is None else received, 5, sequence,
    )  # fmt: skip


Levels = list[tuple[int, int]]


def mbp(
    depth: int, bids: Levels, asks: Levels, *,
    action: str = "A", side: str = "N", price: int = UNDEF, size: int = 0, flags: int = 0x80, t: int = 10**18,
    number: int = 7, sequence: int = 1,
) -> bytes:  # fmt: skip
    out = struct.pack("<qIccBBQiI", price, size, action.encode(), side.encode(), flags, 0, t + 5, 5, sequence)
    for k in range(depth):
        bid, ask = (levels[k] if k < len(levels) else (UNDEF, 0) for levels in (bids, asks))
        out += struct.pack("<qqIIII", bid[0], ask[0], bid[1], ask[1], 1 if bid[1] else 0, 1 if ask[1] else 0)
    return header(1 if depth == 1 else 10, 16 + len(out), number, t) + out


def trade(side: str, price: int, size: int, *, t: int = 10**18, number: int = 7, sequence: int = 1) -> bytes:
    return header(0, 48, number, t) + struct.pack(
        "<qIccBBQiI", price, size, b"T", side.encode(), 0x80, 0, t + 5, 5, sequence
    )


def status(action: int, trading: str = "~", *, t: int = 10**18, number: int = 7) -> bytes:
    return header(0x12, 40, number, t) + struct.pack(
        "<QHHHccc7x", t + 5, action, 0, 0, trading.encode(), b"~", b"~"
    )


def records(raw: bytes) -> Iterator[bytes]:
    at = 8 + int.from_bytes(raw[4:8], "little") if raw[:3] == b"DBN" else 0
    while at < len(raw):
        yield raw[at : at + raw[at] * 4]
        at += raw[at] * 4


# --- what the events must be ---

Told = tuple[str, int, int, int, int, int]  # kind, side, price ticks, lots, order id, flags


def events_of_orders(stream: list[Any], tick: int) -> list[list[Told]]:
    """Messages of one instrument's MBO records, written from the meaning of Databento's actions.

    F before a C or M of the same order is an EXECUTE; of a T what no F tells is a TRADE; R begins the book anew.
    """
    out: list[list[Told]] = []
    now: list[Told] = []
    fills: list[tuple[int, int, int, int]] = []  # order, side, price, lots
    traded: list[tuple[int, int, int]] = []
    snapshot = False

    def signed(order_id: int) -> int:
        return order_id - 2**64 if order_id >= 2**63 else order_id

    def flush(own: int, *, of_fills: bool) -> None:
        now.extend(("TRADE", s, p, q, 0, own) for s, p, q in traded if q and s)
        traded.clear()
        if of_fills:
            now.extend(("TRADE", 3 - s, p, q, 0, own) for _, s, p, q in fills)
            fills.clear()

    for r in stream:
        action, flags = str(field(r, "action")), int(r.flags)
        side = {"B": 1, "A": 2, "N": 0}[str(field(r, "side"))]
        own = 2 if snapshot else 0
        ticks, lots, order_id = int(r.price) // tick, int(r.size), signed(int(r.order_id))
        if action == "R":
            flush(own, of_fills=True)
            snapshot = bool(flags & 0x20)
            now.append(("BEGIN", 0, 0, 0, 0, 2 if snapshot else 0))
            if not snapshot:
                now.append(("END", 0, 0, 0, 0, 0))
        elif action == "A":
            now.append(("ADD", side, ticks, lots, order_id, own))
        elif action in "CM":
            left = lots
            mine = next((f for f in fills if f[0] == order_id), None)
            if mine is not None:
                at = fills.index(mine)
                _, maker, price, filled = fills.pop(at)
                part = min(filled, lots) if action == "C" else filled
                now.append(("EXECUTE", maker, price, part, order_id, own))
                if filled > part:
                    fills.insert(at, (order_id, maker, price, filled - part))
                left = lots - part if action == "C" else lots
            if action == "M":
                now.append(("MODIFY", side, ticks, left, order_id, own))
            elif left:
                now.append(("CANCEL", side, ticks, left, order_id, own))
        elif action == "T":
            flush(own, of_fills=False)
            traded.append((side, ticks, lots))
        elif action == "F":
            if traded:
                s, p, q = traded.pop()
                traded.append((s, p, max(0, q - lots)))
            fills.append((order_id, side, ticks, lots))
        if flags & 0x80:
            flush(2 if snapshot else 0, of_fills=True)
            if snapshot:
                now.append(("END", 0, 0, 0, 0, 2))
                snapshot = False
            out.append(now)
            now = []
    return out


KINDS = {
    1: "ADD",
    2: "MODIFY",
    3: "CANCEL",
    4: "EXECUTE",
    5: "TRADE",
    6: "LEVEL",
    7: "QUOTE",
    8: "BEGIN",
    9: "END",
}
KINDS[10] = "CLEAR"


def told(events: Any) -> list[list[Told]]:
    """Events as messages of the twin; LAST ends one, a STATUS says nothing of the book."""
    out: list[list[Told]] = [[]]
    for e in events:
        if int(e["kind"]) in KINDS:
            side, price, lots, order = (int(e[f]) for f in ("side", "price_ticks", "size_lots", "order_id"))
            out[-1].append((KINDS[int(e["kind"])], side, price, lots, order, int(e["flags"]) & ~1))
        if int(e["flags"]) & 1:
            out.append([])
    out.pop()  # of a message that has not ended
    return out
