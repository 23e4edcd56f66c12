"""What Deribit says an instrument is (public/get_instrument, public/get_instruments), and whether a grid carries it."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from quotelife.errors import DecodeError


class DeribitInstrument(NamedTuple):
    """One instrument. Prices and amounts in the venue's units.

    ``tick_size`` is the finest price step; ``tick_steps`` are (above price, step) where it is coarser.
    """

    name: str
    kind: str  # future, option, spot, future_combo, option_combo
    tick_size: Decimal
    tick_steps: tuple[tuple[Decimal, Decimal], ...]
    min_trade_amount: Decimal
    contract_size: Decimal

    def faults(self, tick_size: Decimal, lot_size: Decimal) -> Iterator[str]:
        """Why prices and amounts of this instrument do not lie on that grid, each with its mend."""
        finest = min(self.tick_size, *(step for _, step in self.tick_steps), self.tick_size)
        for step in (self.tick_size, *(step for _, step in self.tick_steps)):
            if step % tick_size:
                yield f"tick_size: {tick_size} does not carry the venue's step of {step}; set {finest}"
                break
        if self.min_trade_amount % lot_size:
            least = self.min_trade_amount
            yield f"lot_size: {lot_size} does not carry the venue's least amount of {least}; set {least}"


def read_instrument(data: bytes) -> DeribitInstrument:
    """The answer to public/get_instrument. Raises ``DecodeError``."""
    return _instrument(_result(data))


def read_instruments(data: bytes) -> list[DeribitInstrument]:
    """The answer to public/get_instruments. Raises ``DecodeError``."""
    result = _result(data)
    if not isinstance(result, list):
        raise DecodeError("result: a list of instruments is expected")
    return [_instrument(row) for row in result]


def _result(data: bytes) -> Any:
    try:
        return json.loads(data, parse_float=Decimal, parse_int=Decimal)["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise DecodeError(f"no answer with a result: {type(error).__name__}: {error}") from None


def _instrument(row: Any) -> DeribitInstrument:
    try:
        steps = tuple(
            (_positive(step["above_price"]), _positive(step["tick_size"]))
            for step in row.get("tick_size_steps", [])
        )
        return DeribitInstrument(
            str(row["instrument_name"]),
            str(row["kind"]),
            _positive(row["tick_size"]),
            steps,
            _positive(row["min_trade_amount"]),
            _positive(row["contract_size"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DecodeError(f"instrument: {type(error).__name__}: {error}: {str(row)[:80]}") from None


def _positive(value: Any) -> Decimal:
    if not isinstance(value, Decimal) or not value > 0:
        raise TypeError(f"a number above 0 is expected, not {value!r}")
    return value
