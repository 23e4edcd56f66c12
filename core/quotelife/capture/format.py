"""How a capture lies on disk.

A capture is a folder of segments, ``NNNNNNNNNN.qlc`` or, compressed at rest, ``NNNNNNNNNN.qlc.zst``. A segment is a
row of blocks. A block is self-contained:

- header, 80 bytes: ``HEADER_DTYPE``; the CRC32C covers all of the block that follows it;
- slots, 64 bytes each: the records of the runs, one after the other: events (``EVENT_DTYPE``), signals
  (``SIGNAL_DTYPE``), timers and watch timers (``TIMER_DTYPE``);
- runs, 16 bytes each: ``RUN_DTYPE``, ``count`` inputs of one kind with consecutive input sequences from
  ``first_sequence`` on.

A run of kind ``LOST`` has no slots: inputs of that range could not be written. Sequences that no run names belong to
inputs that a capture does not hold (decisions, changes of configuration: the journal has them).

A block of kind ``HEAD`` holds a JSON text instead, padded with spaces: what one needs to read the blocks after it
(``Head``). Every segment begins with one; another follows where the configuration changed.

All numbers are little-endian. Blocks are a multiple of 16 bytes long.
"""

import json
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import Any

import numpy as np

from quotelife.errors import QuotelifeError
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import EVENT_DTYPE, SIGNAL_DTYPE

VERSION = 2  # 2: since watch timers are in it
MAGIC = b"QLCB"
HEADER_BYTES = 80
SLOT_BYTES = 64
RUN_BYTES = 16
BOOT_BYTES = 32  # as many as a journal takes
CHECKED_FROM = 8  # what lies before is not covered by the checksum: magic and checksum itself
BLOCK_BYTES_MAX = 64 * 1024 * 1024


class CaptureError(QuotelifeError):
    """A capture cannot be written or read; the text says which file and what to do."""


class BlockKind(IntEnum):
    HEAD = 1
    INPUTS = 2


class InputKind(IntEnum):
    """What a run holds."""

    EVENT = 1
    SIGNAL = 2
    TIMER = 3
    LOST = 4
    WATCH_TIMER = 5  # ``Engine.on_watch_timer``


HEADER_DTYPE = np.dtype(
    [
        ("magic", "S4"),
        ("checksum", "<u4"),
        ("length", "<u4"),  # of the whole block
        ("version", "<u2"),
        ("kind", "u1"),
        ("pad0", "u1"),
        ("first_sequence", "<u8"),  # of the first run; HEAD: of the first input after it
        ("slots", "<u4"),  # events + signals + timers of both kinds
        ("runs", "<u4"),
        ("events", "<u4"),
        ("signals", "<u4"),
        ("timers", "<u4"),
        ("pad1", "<u4"),
        ("boot_id", f"S{BOOT_BYTES}"),
    ]
)
RUN_DTYPE = np.dtype([("first_sequence", "<u8"), ("count", "<u4"), ("kind", "u1"), ("pad", "u1", (3,))])
TIMER_DTYPE = np.dtype({"names": ["now_ns"], "formats": ["<i8"], "offsets": [0], "itemsize": SLOT_BYTES})
SLOT_DTYPES = {
    InputKind.EVENT: EVENT_DTYPE,
    InputKind.SIGNAL: SIGNAL_DTYPE,
    InputKind.TIMER: TIMER_DTYPE,
    InputKind.WATCH_TIMER: TIMER_DTYPE,
}
LAYOUT = "; ".join(
    f"{name} {dtype.itemsize}: "
    + ", ".join(f"{field} {fields[0].str}@{fields[1]}" for field, fields in (dtype.fields or {}).items())
    for name, dtype in (("event", EVENT_DTYPE), ("signal", SIGNAL_DTYPE))
)


@dataclass(frozen=True, slots=True)
class Head:
    """What one needs to read the inputs after it.

    ``configuration`` is the engine's ``config_payload()``: revision, digest, the configuration itself.
    ``input_sequence`` and ``start_ns`` are the engine's when the capture began; a capture that began with its engine
    has sequence 0.
    """

    boot_id: str
    input_sequence: int
    start_ns: int
    configuration: dict[str, Any]
    layout: str = LAYOUT

    def instruments(self) -> InstrumentTable:
        """The instruments that the indices of events and signals mean."""
        return InstrumentTable(
            Instrument(
                index,
                row["name"],
                row["venue"],
                row["symbol"],
                Decimal(str(row["tick_size"])),
                Decimal(str(row["lot_size"])),
            )
            for index, row in enumerate(self.configuration["config"]["instruments"])
        )

    def to_json(self) -> bytes:
        return json.dumps(
            {
                "layout": self.layout,
                "boot_id": self.boot_id,
                "input_sequence": self.input_sequence,
                "start_ns": self.start_ns,
                "configuration": self.configuration,
            }
        ).encode()

    @staticmethod
    def from_json(text: bytes) -> "Head":
        """Raises ``ValueError`` or ``KeyError`` on anything that ``to_json`` does not write."""
        fields = json.loads(text)
        return Head(
            fields["boot_id"],
            fields["input_sequence"],
            fields["start_ns"],
            fields["configuration"],
            fields["layout"],
        )
