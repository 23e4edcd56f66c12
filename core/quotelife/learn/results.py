"""What the report reads of a backtest's results, and of which type: whoever wrote them by hand is told the field.

Keys that the report does not read may hold anything; a key that is not there is left out of the page.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeAlias

from quotelife.records import RegimeCode

# Takes a value and the name of its place; ``ValueError`` naming that place where the value is another.
Shape: TypeAlias = Callable[[Any, str], None]
LARGEST = 1e15  # of a figure: beyond it neither ticks nor words of a picture mean anything


def check_results(results: Any) -> None:
    """``ValueError`` naming the first field that the report cannot draw."""
    _RESULTS(results, "")


def _wrong(where: str, value: Any, wanted: str) -> ValueError:
    text = repr(value)
    return ValueError(f"{where or 'results'}: {text if len(text) <= 40 else text[:40] + '…'} is not {wanted}")


def _number(low: float = -LARGEST, high: float = LARGEST, *, whole: bool = False) -> Shape:
    wanted = f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"

    def check(value: Any, where: str) -> None:
        if (
            isinstance(value, bool)
            or not isinstance(value, int if whole else int | float)
            or not low <= value <= high
        ):
            raise _wrong(where, value, wanted)

    return check


def _text(value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise _wrong(where, value, "text")


def _truth(value: Any, where: str) -> None:
    if not isinstance(value, bool):
        raise _wrong(where, value, "true or false")


def _anything(value: Any, where: str) -> None: ...


def _or_null(shape: Shape) -> Shape:
    def check(value: Any, where: str) -> None:
        if value is not None:
            shape(value, where)

    return check


def _list(shape: Shape, *, least: int = 0, most: float = math.inf) -> Shape:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise _wrong(where, value, "a list")
        if not least <= len(value) <= most:
            raise ValueError(f"{where}: {len(value)} entries; {least:g} to {most:g} are needed")
        for place, each in enumerate(value):
            shape(each, f"{where}[{place}]")

    return check


def _map(shape: Shape) -> Shape:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        for name, each in value.items():
            shape(each, f"{where}.{name}")

    return check


def _object(needed: dict[str, Shape], **others: Shape) -> Shape:
    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object")
        lead = f"{where}." if where else ""
        for name in needed:
            if name not in value:
                raise ValueError(f"{lead}{name}: is missing")
        for name, shape in (needed | others).items():
            if name in value:
                shape(value[name], lead + name)

    return check


_FIGURE = _or_null(_number())
_SHARE = _number(0, 1)
_COUNT = _number(0, whole=True)
_INSTANT = _number(0, 2**63 - 1, whole=True)
_PAIR = _or_null(_list(_number(), least=2, most=2))
_NAME = _or_null(_text)


def _span(value: Any, where: str) -> None:
    if isinstance(value, list) and len(value) == 2:
        _list(_INSTANT)(value, where)


def _held(value: Any, where: str) -> None:
    (_map(_anything) if isinstance(value, dict) else _or_null(_list(_map(_anything))))(value, where)


_BIN = _object(
    {"rows": _COUNT, "p": _SHARE, "hit": _SHARE}, interval=_or_null(_list(_SHARE, least=2, most=2))
)
_SCORED = _object(
    {"model": _text}, auc=_FIGURE, auc_within_10min=_FIGURE, brier_skill=_FIGURE, brier_skill_interval=_PAIR,
    ece=_FIGURE, reliability=_list(_BIN),
)  # fmt: skip
_HORIZON = _object({"horizon_ns": _INSTANT, "models": _list(_SCORED)}, prevalence=_FIGURE)
_FRONTIER = _object(
    {"policy": _text, "fill": _SHARE}, model=_NAME, change=_FIGURE, interval=_PAIR, pickoffs=_FIGURE,
    static_pickoffs=_number(),
)  # fmt: skip
_VALUE = _object(
    {"policy": _text}, case=_NAME, slice=_NAME, value=_FIGURE, interval=_PAIR, over_static=_FIGURE,
    over_static_interval=_PAIR, fill=_FIGURE, pickoffs=_FIGURE, declined=_FIGURE,
)  # fmt: skip
_LIVES_TYPES = _object(
    {}, time_ns=_list(_INSTANT), mid=_list(_FIGURE), sigma_ticks=_list(_FIGURE),
    regime=_list(_number(0, len(RegimeCode) - 1, whole=True)), life_ms=_map(_list(_or_null(_number(0)))),
)  # fmt: skip


def _lives(value: Any, where: str) -> None:
    """As many of each as there are instants, which rise."""
    _LIVES_TYPES(value, where)
    instants = value.get("time_ns", [])
    if any(after <= before for before, after in pairwise(instants)):
        raise ValueError(f"{where}.time_ns: must rise")
    columns = {name: value[name] for name in ("mid", "sigma_ticks", "regime") if value.get(name)}
    columns |= {f"life_ms.{name}": column for name, column in value.get("life_ms", {}).items()}
    for name, column in columns.items():
        if len(column) != len(instants):
            raise ValueError(f"{where}.{name}: {len(column)} entries for {len(instants)} of time_ns")


_SET = _object(
    {"name": _text}, reference=_text, h=_text, rows=_COUNT, block_s=_number(), model=_NAME, h_ticks=_FIGURE,
    split=_or_null(_map(_span)), horizons=_list(_HORIZON), frontier=_or_null(_list(_FRONTIER)),
    value=_or_null(_list(_VALUE)), held_tolerance=_held, lives=_or_null(_lives),
)  # fmt: skip
_TARGET = _object(
    {"met": _or_null(_truth), "set": _anything, "what": _anything, "value": _FIGURE, "must": _anything},
    interval=_PAIR,
)
_RESULTS = _object({"sets": _list(_SET, least=1)}, targets=_or_null(_list(_TARGET)))
