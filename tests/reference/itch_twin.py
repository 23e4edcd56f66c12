"""Plain twin of the ITCH 5.0 decoder with its books, and builders of messages: written from the specification alone."""

import struct
from collections import defaultdict

BID, ASK = 1, 2
Levels = list[tuple[int, int]]
LAYOUTS = {
    "S": "c", "R": "8sccIcc2scccccIc", "H": "8scc4s", "Y": "8sc", "L": "4s8sccc",
    "V": "QQQ", "W": "c", "K": "8sIcI", "J": "8sIIII", "h": "8scc", "A": "QcI8sI", "F": "QcI8sI4s",
    "E": "QIQ", "C": "QIQcI", "X": "QI", "D": "Q", "U": "QQII", "P": "QcI8sIQ", "Q": "Q8sIQc", "B": "Q",
    "I": "QQc8sIIIcc", "N": "8sc", "O": "8scIIIQII",
}  # fmt: skip
"""What follows type, locate, tracking number and time of each type, big-endian."""


def build(kind: str, locate: int, since_ns: int, *fields: object) -> bytes:
    """One message; strings are padded to their field."""
    raw = [field.encode().ljust(1) if isinstance(field, str) else field for field in fields]
    layout = ">" + LAYOUTS[kind]
    padded = []
    for field, size in zip(raw, _sizes(LAYOUTS[kind]), strict=True):
        padded.append(field.ljust(size) if isinstance(field, bytes) else field)
    return (
        kind.encode()
        + struct.pack(">HH", locate, 0)
        + since_ns.to_bytes(6, "big")
        + struct.pack(layout, *padded)
    )


def _sizes(layout: str) -> list[int]:
    out, digits = [], ""
    for character in layout:
        if character.isdigit():
            digits += character
            continue
        out.append(int(digits or 1) if character == "s" else struct.calcsize(">" + character))
        digits = ""
    return out


def example(kind: str, locate: int = 1, since_ns: int = 1, reference: int = 1) -> bytes:
    """A message of the type with something plausible in every field."""
    values: dict[str, tuple[object, ...]] = {
        "S": ("O",), "R": ("AAA", "Q", "N", 100, "N", "C", "Z", "P", "N", "N", "1", "N", 0, "N"),
        "H": ("AAA", "T", " ", ""), "Y": ("AAA", "0"), "L": ("MPID", "AAA", "Y", "N", "A"), "V": (1, 2, 3),
        "W": ("1",), "K": ("AAA", 34_200, "A", 10_000), "J": ("AAA", 1, 2, 3, 0), "h": ("AAA", "Q", "T"),
        "A": (reference, "B", 100, "AAA", 1_000_000), "F": (reference, "S", 100, "AAA", 1_010_000, "MPID"),
        "E": (reference, 10, 7), "C": (reference, 10, 8, "Y", 1_000_100), "X": (reference, 10), "D": (reference,),
        "U": (reference, reference + 1, 50, 1_000_200), "P": (0, "B", 5, "AAA", 1_005_000, 9),
        "Q": (1000, "AAA", 1_000_000, 10, "O"), "B": (7,), "I": (1, 2, "B", "AAA", 1, 2, 3, "O", "L"),
        "N": ("AAA", "A"), "O": ("AAA", "Y", 1, 2, 3, 4, 5, 6),
    }  # fmt: skip
    return build(kind, locate, since_ns, *values[kind])


class ItchTwin:
    """Books of all symbols of a day, orders in a dictionary, prices in 1/10,000 of a dollar."""

    def __init__(self) -> None:
        self.symbols: dict[int, str] = {}
        self.orders: dict[int, tuple[int, int, int, int]] = {}  # locate, side, price, shares
        self.executed: dict[str, int] = defaultdict(int)

    def message(self, data: bytes) -> None:
        kind = chr(data[0])
        locate = int.from_bytes(data[1:3], "big")
        fields = struct.unpack(">" + LAYOUTS[kind], data[11:])
        if kind == "R":
            self.symbols[locate] = fields[0].decode().strip()
        elif kind in ("A", "F"):
            self.orders[fields[0]] = (locate, BID if fields[1] == b"B" else ASK, fields[4], fields[2])
        elif kind in ("E", "C", "X") and fields[0] in self.orders:
            _, side, price, shares = self.orders[fields[0]]
            if kind != "X":
                self.executed[self.symbols[locate]] += min(shares, fields[1])
            self.orders[fields[0]] = (locate, side, price, shares - fields[1])
            if fields[1] >= shares:
                del self.orders[fields[0]]
        elif kind == "D":
            self.orders.pop(fields[0], None)
        elif kind == "U" and fields[0] in self.orders:
            _, side, _, _ = self.orders.pop(fields[0])
            self.orders[fields[1]] = (locate, side, fields[3], fields[2])

    def levels(self, symbol: str, side: int) -> Levels:
        """(price, shares) from the best on."""
        out: dict[int, int] = defaultdict(int)
        for locate, on, price, shares in self.orders.values():
            if on == side and self.symbols.get(locate) == symbol:
                out[price] += shares
        return sorted(out.items(), reverse=side == BID)
