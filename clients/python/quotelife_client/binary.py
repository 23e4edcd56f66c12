"""The binary record, for a desk's own feed handler: events to bytes that a feed of kind ``binary`` reads.

Needs nothing but the standard library. ``docs/binary-feed.md`` has the format. Prices are ticks and sizes lots of
the instrument's configuration, instruments are places in the feed's list, times are UTC nanoseconds.

    encoder = BinaryEncoder(source=1)
    records = [record(EventKind.SNAPSHOT_BEGIN, 0), ..., record(EventKind.SNAPSHOT_END, 0, last=True)]
    for frame in encoder.frames(records):
        connection.sendall(frame)
"""

import struct
import time
import zlib
from collections.abc import Iterator, Sequence

from quotelife_client.types import BookSide, EventKind, TradingStatus

VERSION = 1
COUNT_MAX = 1023  # events of a frame: it still fits a UDP datagram
DATAGRAM_EVENTS = 22  # events of a frame that fits an Ethernet packet
FLAG_LAST = 1
FLAG_SNAPSHOT = 2
FLAG_GAP = 4
FLAG_REPEAT = 16
FRAME_HEARTBEAT = 1

_HEAD = struct.Struct("<4sBBHI")
_PLACE = struct.Struct("<qq")
_RECORD = struct.Struct("<qqqqqqqIBBH")


def record(
    kind: EventKind,
    instrument: int,
    *,
    side: BookSide = BookSide.UNSPECIFIED,
    price_ticks: int = 0,
    size_lots: int = 0,
    order_id: int = 0,
    last: bool = False,
    gap: bool = False,
    repeat: bool = False,
    sequence: int = 0,
    exchange_utc_ns: int = 0,
    trade_id: int = 0,
) -> bytes:
    """One event, 64 bytes. ``last``: it ends a venue message; ``gap``, of a CLEAR: messages were lost; ``repeat``, of a
    SNAPSHOT_BEGIN: the snapshot holds nothing new.

    QUOTE and STATUS have functions of their own. Raises ``struct.error`` when a number does not fit.
    """
    flags = FLAG_LAST * last | FLAG_GAP * gap | FLAG_REPEAT * repeat
    numbers = (exchange_utc_ns, 0, sequence, price_ticks, size_lots, order_id, trade_id)
    return _RECORD.pack(*numbers, instrument, kind, side, flags)


def quote(
    instrument: int,
    bid_ticks: int,
    bid_lots: int,
    ask_ticks: int,
    ask_lots: int,
    *,
    last: bool = True,
    sequence: int = 0,
    exchange_utc_ns: int = 0,
) -> bytes:
    """Best bid and offer; 0 lots: that side is empty."""
    numbers = (exchange_utc_ns, 0, sequence, bid_ticks, bid_lots, ask_ticks, ask_lots)
    return _RECORD.pack(*numbers, instrument, EventKind.QUOTE, 0, FLAG_LAST * last)


def status(instrument: int, status: TradingStatus, *, exchange_utc_ns: int = 0) -> bytes:
    """Trading status changed: a venue message of its own."""
    return _RECORD.pack(exchange_utc_ns, 0, 0, 0, 0, 0, status, instrument, EventKind.STATUS, 0, FLAG_LAST)


class BinaryEncoder:
    """Numbers the events of one source and packs them into frames."""

    def __init__(self, source: int, session: int | None = None, *, first: int = 1) -> None:
        """``source``: that of the feed's configuration. ``session``: larger than that of any earlier run of this
        source; by default the time of day."""
        self.source = source
        self.session = time.time_ns() if session is None else session
        self.next = first

    def frame(self, records: bytes) -> bytes:
        """One frame of up to 1,023 records, given as one piece. Raises ``ValueError``."""
        count, rest = divmod(len(records), _RECORD.size)
        if rest or not 0 < count <= COUNT_MAX:
            raise ValueError(
                f"records: 1 to {COUNT_MAX} of {_RECORD.size} bytes each, not {len(records)} bytes"
            )
        packed = self._pack(0, count, records)
        self.next += count
        return packed

    def frames(self, records: Sequence[bytes], events_max: int = COUNT_MAX) -> Iterator[bytes]:
        """As many frames as the records take, ``events_max`` to a frame (``DATAGRAM_EVENTS`` suits UDP)."""
        for at in range(0, len(records), events_max):
            yield self.frame(b"".join(records[at : at + events_max]))

    def heartbeat(self) -> bytes:
        """A frame without events: the publisher is there, and has sent all before ``next``."""
        return self._pack(FRAME_HEARTBEAT, 0, b"")

    def _pack(self, flags: int, count: int, records: bytes) -> bytes:
        head = _HEAD.pack(b"QLEV", VERSION, flags, count, self.source)
        rest = _PLACE.pack(self.session, self.next) + records
        return head + struct.pack("<I", zlib.crc32(rest, zlib.crc32(head))) + rest
