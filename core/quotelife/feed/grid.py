"""Prices and sizes of text files on an instrument's grid: exactly, or not at all."""

from decimal import Decimal, InvalidOperation

REMEMBERED = 100_000
NUMBER_MAX = 2**53


class Grid:
    """Multiples of ``unit`` (a tick or a lot) for decimal texts; texts that come again are remembered."""

    def __init__(self, unit: Decimal, setting: str) -> None:
        self._unit = unit
        self._setting = setting
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """``"1.5"`` with a unit of 0.5 is 3. Raises ``ValueError`` naming the setting to mend."""
        known = self._known.get(text)
        if known is None:
            known = self._multiple(text)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[text] = known
        return known

    def nearest(self, text: str) -> int:
        """The nearest multiple, half up: for what floating point has passed through, or may lie between two."""
        return int((self._decimal(text) / self._unit + Decimal("0.5")).__floor__())

    def _decimal(self, text: str) -> Decimal:
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or value.copy_abs() > NUMBER_MAX * self._unit:
            raise ValueError(f"expected a number, found {text[:40]!r}")
        return value

    def _multiple(self, text: str) -> int:
        value = self._decimal(text)
        whole = int(value / self._unit)
        if whole * self._unit != value:
            raise ValueError(f"{value} is no multiple of {self._unit.normalize():f}; mend {self._setting}")
        return whole
