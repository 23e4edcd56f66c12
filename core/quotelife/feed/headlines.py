"""News headlines from a file: a JSON list of objects, or one object a line."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from quotelife.errors import DecodeError
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US, since_1970_ns


class Headline(NamedTuple):
    """One entry of a file. ``score`` and ``time_ns`` are ``None`` where the entry has none."""

    text: str
    instrument: str | None
    score: float | None
    time_ns: int | None


def parse_headlines(data: bytes) -> list[Headline]:
    """A JSON list of objects, or one object a line. Raises ``DecodeError`` naming entry and field."""
    try:
        text = data.decode("utf-8")
        entries = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.splitlines() if line.strip()]
        )
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"neither a JSON list nor one JSON object a line: {error}") from None
    out = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise DecodeError(f"entry {number}: expected an object, found {str(entry)[:60]!r}")
        try:
            out.append(_headline(entry))
        except ValueError as error:
            raise DecodeError(f"entry {number}: {error}") from None
    return out


def _headline(entry: Mapping[str, object]) -> Headline:
    text = entry.get("title", entry.get("headline"))
    if not isinstance(text, str) or not text.strip():
        raise ValueError("title (or headline) must be a text")
    score = entry.get("sentiment", entry.get("score"))
    if score is not None:
        if isinstance(score, bool) or not isinstance(score, int | float) or not -1 <= score <= 1:
            raise ValueError(f"sentiment (or score) must be a number from -1 to 1, found {score!r}")
        score = float(score)
    instrument = entry.get("instrument")
    if instrument is not None and not isinstance(instrument, str):
        raise ValueError(f"instrument must be a text, found {instrument!r}")
    return Headline(text, instrument, score, parse_time(entry.get("time")))


def parse_time(value: object) -> int | None:
    """ISO 8601 with an offset, or a number since 1970 whose unit (s, ms, µs, ns) its size tells, in ns."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return _by_size(value)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"time must be ISO 8601 with an offset or a number since 1970, found {value!r}")
    whole = int(moment.replace(microsecond=0).timestamp())
    return since_1970_ns(whole * NS_PER_S + moment.microsecond * NS_PER_US, 1)


def _by_size(value: int) -> int:
    """Seconds up to the year 5138, and so on: no stamp of the years 1973 to 5138 can be two of them."""
    for bound, unit in ((10**11, NS_PER_S), (10**14, NS_PER_MS), (10**17, NS_PER_US)):
        if value < bound:
            return since_1970_ns(value, unit)
    return since_1970_ns(value, 1)
