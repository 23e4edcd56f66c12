"""What an instrument is: its grid of prices and sizes, and its place in the engine."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from quotelife.errors import UnknownInstrumentError


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable thing.

    ``index`` is its dense number in events and in the engine. ``tick_size`` is the price of one tick and
    ``lot_size`` the quantity of one lot, both exact decimals.
    """

    index: int
    name: str
    venue: str
    symbol: str
    tick_size: Decimal
    lot_size: Decimal

    def ticks_to_price(self, ticks: int) -> Decimal:
        return self.tick_size * ticks


def name_hash(name: str) -> int:
    """What a signal's ``source`` is for a name: 64 bits, the same in every run."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


class InstrumentTable:
    """Instruments by name and by dense index, in the order given."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._by_index = list(instruments)
        self._by_name = {instrument.name: instrument for instrument in self._by_index}
        if [instrument.index for instrument in self._by_index] != list(range(len(self._by_index))):
            raise ValueError("instrument indices must be 0, 1, 2, … in order")
        if len(self._by_name) != len(self._by_index):
            raise ValueError("instrument names must differ")

    def __len__(self) -> int:
        return len(self._by_index)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_index)

    def __getitem__(self, index: int) -> Instrument:
        return self._by_index[index]

    def by_name(self, name: str) -> Instrument:
        """Raises ``UnknownInstrumentError`` when there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownInstrumentError(name) from None

    def get(self, name: str) -> Instrument | None:
        return self._by_name.get(name)
