"""Venue updates straight to event records, with no JSON between: for tests of the engine and for training.

Writes what a feed handler writes for the same messages: LEVEL records for a batch, QUOTE for a book top,
TRADE for a print, SNAPSHOT_BEGIN .. END for a snapshot, LAST on the last record of each.
"""

from collections.abc import Iterable, Sequence

from quotelife.records import EventBuffer, EventFlags, EventKindCode, SideCode
from quotelife.sim.updates import BookSnapshot, DepthUpdate, TopUpdate, TradeUpdate, VenueUpdate
from quotelife.units import NS_PER_MS

_LEVEL = int(EventKindCode.LEVEL)
_QUOTE = int(EventKindCode.QUOTE)
_TRADE = int(EventKindCode.TRADE)
_BEGIN = int(EventKindCode.SNAPSHOT_BEGIN)
_END = int(EventKindCode.SNAPSHOT_END)
_BID = int(SideCode.BID)
_ASK = int(SideCode.ASK)
_LAST = int(EventFlags.LAST)
_SNAPSHOT = int(EventFlags.SNAPSHOT)


class EventWriter:
    """Appends updates to an ``EventBuffer``.

    ``instruments`` gives the engine's dense index for each symbol of the market, in the market's order.
    ``latency_ns`` is added to the venue's time to make the receive stamp.
    """

    def __init__(self, buffer: EventBuffer, instruments: Sequence[int], latency_ns: int = NS_PER_MS) -> None:
        self._buffer = buffer
        self._instruments = list(instruments)
        self._latency_ns = latency_ns

    def write_all(self, updates: Iterable[VenueUpdate]) -> None:
        for update in updates:
            self.write(update)

    def write(self, update: VenueUpdate) -> None:
        """Append one update's records. The caller flushes before the buffer is full."""
        append = self._buffer.append
        instrument = self._instruments[update.symbol]
        receive_ns = update.time_ns + self._latency_ns
        if isinstance(update, TopUpdate):
            append(
                _QUOTE,
                instrument=instrument,
                flags=_LAST,
                exchange_ns=update.time_ns,
                receive_ns=receive_ns,
                sequence=update.update_id,
                price_ticks=update.bid_ticks,
                size_lots=update.bid_lots,
                order_id=update.ask_ticks,
                aux=update.ask_lots,
            )
        elif isinstance(update, TradeUpdate):
            append(
                _TRADE,
                instrument=instrument,
                side=_ASK if update.seller_is_aggressor else _BID,
                flags=_LAST,
                exchange_ns=update.time_ns,
                receive_ns=receive_ns,
                sequence=update.trade_id,
                price_ticks=update.price_ticks,
                size_lots=update.lots,
                aux=update.trade_id,
            )
        else:
            self._write_levels(update, update.last_id, update.time_ns, receive_ns, instrument, 0, True)

    def write_snapshot(self, snapshot: BookSnapshot) -> None:
        """Append a whole book: SNAPSHOT_BEGIN, its levels, SNAPSHOT_END with LAST."""
        append = self._buffer.append
        instrument = self._instruments[snapshot.symbol]
        receive_ns = snapshot.time_ns + self._latency_ns
        sequence = snapshot.last_update_id
        time_ns = snapshot.time_ns
        append(
            _BEGIN,
            instrument=instrument,
            flags=_SNAPSHOT,
            exchange_ns=time_ns,
            receive_ns=receive_ns,
            sequence=sequence,
        )
        self._write_levels(snapshot, sequence, time_ns, receive_ns, instrument, _SNAPSHOT, False)
        append(
            _END,
            instrument=instrument,
            flags=_SNAPSHOT | _LAST,
            exchange_ns=time_ns,
            receive_ns=receive_ns,
            sequence=sequence,
        )

    def _write_levels(
        self,
        book: DepthUpdate | BookSnapshot,
        sequence: int,
        exchange_ns: int,
        receive_ns: int,
        instrument: int,
        flags: int,
        last: bool,
    ) -> None:
        append = self._buffer.append
        left = len(book.bids) + len(book.asks)
        for side, levels in ((_BID, book.bids), (_ASK, book.asks)):
            for ticks, lots in levels:
                left -= 1
                append(
                    _LEVEL,
                    instrument=instrument,
                    side=side,
                    flags=flags | (_LAST if last and not left else 0),
                    exchange_ns=exchange_ns,
                    receive_ns=receive_ns,
                    sequence=sequence,
                    price_ticks=ticks,
                    size_lots=lots,
                )
