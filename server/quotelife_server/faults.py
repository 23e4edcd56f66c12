"""What is wrong with a message, collected field by field, and the numbers in it read exactly."""

import re
from decimal import Context, Decimal

from google.rpc import error_details_pb2

from quotelife.engine import Engine
from quotelife.instruments import Instrument
from quotelife.units import NS_PER_S
from quotelife_server.rpc import Code, RpcError

TEXT_CHARACTERS_MAX = 128
VIOLATIONS_MAX = 16
"""Of the faults in a message, so many are listed; all are counted."""
COUNT_MAX = float(2**53)
GREEK_MAX = 1e15
POINTS_PER_UNIT = 100.0  # of volatility: the engine holds vega per point, the interface per 1.00

_EXACT = Context(prec=64)  # 18 digits before the point over a step of as many behind it
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)


class Faults:
    """Collects the fields at fault, so that a caller sees all of them at once."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str]] = []

    def add(self, name: str, reason: str) -> None:
        self._found.append((name, reason))

    def raise_if_any(self) -> None:
        if not self._found:
            return
        details = error_details_pb2.BadRequest()
        for name, reason in self._found[:VIOLATIONS_MAX]:
            details.field_violations.add(field=name, description=reason)
        text = "; ".join(f"{name}: {reason}" if name else reason for name, reason in self._found[:3])
        more = f"; and {len(self._found) - 3} more" if len(self._found) > 3 else ""
        error = RpcError(Code.INVALID_ARGUMENT, text + more, (details,))
        raise error.with_room_for(details.field_violations)

    def text(self, name: str, value: str, *, required: bool = False, most: int = TEXT_CHARACTERS_MAX) -> None:
        if not value:
            if required:
                self.add(name, "is required")
        elif len(value) > most or not value.isprintable():
            self.add(name, f"must be at most {most} printable characters")

    def decimal(self, name: str, value: str) -> Decimal | None:
        """The number, or ``None`` with a fault noted."""
        if _DECIMAL.fullmatch(value) is None:
            self.add(
                name, "must be a decimal such as 63250.10, with at most 18 digits on either side of the point"
            )
            return None
        return Decimal(value)

    def above_zero(self, name: str, value: str) -> Decimal | None:
        number = self.decimal(name, value)
        if number is not None and number <= 0:
            self.add(name, "must be above 0")
            return None
        return number

    def steps(self, name: str, value: str, step: Decimal, unit: str, *, least: int = 0) -> int:
        """How many ticks or lots the number is, exactly; 0 with a fault noted when it is no such number."""
        number = self.decimal(name, value)
        if number is None:
            return 0
        whole, rest = _EXACT.divmod(number, step)
        if number < 0 or (whole < least and not rest):
            self.add(name, "must be above 0" if least else "must not be negative")
        elif rest:
            self.add(name, f"must be a multiple of the instrument's {unit}, {step}")
        elif whole > COUNT_MAX:
            self.add(name, f"is out of range for the instrument's {unit}, {step}")
        else:
            return int(whole)
        return 0

    def instant(self, name: str, value_ns: int, now_ns: int, back_ns_max: int, ahead_ns_max: int) -> None:
        if value_ns < now_ns - back_ns_max:
            self.add(
                name, f"lies more than {back_ns_max // NS_PER_S} s back; give UTC nanoseconds since 1970"
            )
        elif value_ns > now_ns + ahead_ns_max:
            self.add(
                name,
                f"lies more than {ahead_ns_max // NS_PER_S} s ahead of the service's clock; "
                "give UTC nanoseconds since 1970, by a synchronised clock",
            )

    def finite(self, name: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:  # also refuses NaN
            self.add(name, f"must lie between {low:g} and {high:g}")


def quoted(name: str) -> str:
    """A name of a request as an error repeats it: in quotes, on one line, and no longer than a name can be."""
    said = repr(name)
    return said if len(said) <= TEXT_CHARACTERS_MAX + 2 else said[: TEXT_CHARACTERS_MAX + 1] + "…"


def unknown_instrument(name: str) -> RpcError:
    details = error_details_pb2.ResourceInfo(
        resource_type="instrument",
        resource_name=name[:TEXT_CHARACTERS_MAX],
        description="not configured; AdminService.GetStatus lists the instruments",
    )
    return RpcError(Code.NOT_FOUND, f"instrument: {quoted(name)} is not configured", (details,))


def find_instrument(engine: Engine, name: str) -> Instrument:
    instrument = engine.instruments.get(name)
    if instrument is None:
        raise unknown_instrument(name)
    return instrument
