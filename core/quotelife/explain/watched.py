"""What became of a quote behind a decision, from a journal: its watch, and what its outcome was reported to be.

Decisions and answers are passed over by the index of each segment; of the other records at most ``RECORDS_MOST`` behind
the decision are looked at, and none later than ``WITHIN_NS`` after the end of the quote.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import Record, decode_watch
from quotelife.records import DecisionRecord, QuoteStateCode
from quotelife.units import NS_PER_S

WITHIN_NS = 600 * NS_PER_S
RECORDS_MOST = 500_000
EVENTS_MOST = 256
OUTCOMES_MOST = 256

_KINDS = (Kind.CHANGE, Kind.WATCH)


class WatchedEventKind(IntEnum):
    """What was said of a watched quote; the first three are ``WatchCode``."""

    WITHDRAW = 1
    EXPIRED = 2
    REQUOTE_HINT = 3
    UPDATED = 4
    ACKNOWLEDGED = 5
    RESTORED = 6


@dataclass(frozen=True, slots=True)
class WatchedEvent:
    """``reason`` (``WithdrawCode``), ``moved_ticks``, ``value_ticks`` (NaN where it was not judged), ``life_ns`` (of a
    hint), ``held_back`` and ``number`` are the engine's, ``state`` (``QuoteStateCode``) the engine's or the watcher's,
    ``size_lots`` what the watcher says is left, ``None`` where it says nothing."""

    kind: WatchedEventKind
    at_ns: int
    reason: int = 0
    state: int = 0
    number: int = 0
    moved_ticks: float = float("nan")
    value_ticks: float = float("nan")
    life_ns: int = 0
    held_back: bool = False
    size_lots: float | None = None


@dataclass(slots=True)
class WatchedQuote:
    """``registered``: payload of its registration, as in ``Change.WATCHED``. ``complete``: false where the search ended
    at one of its bounds before the quote did."""

    registered: dict[str, Any]
    registered_ns: int
    decision_ids: tuple[str, ...]
    events: list[WatchedEvent] = field(default_factory=list)
    complete: bool = False


@dataclass(slots=True)
class Aftermath:
    """``outcomes``: (when it was recorded, the payload of ``Change.OUTCOME``), in order; ``watched``: ``None`` where
    nobody had it watched, or it lies behind the bounds."""

    watched: WatchedQuote | None = None
    outcomes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


def aftermath(journal: Journal, first: Record, decisions: dict[int, DecisionRecord]) -> Aftermath:
    """What became of the quote of ``decisions``, by input sequence, all of the boot of ``first``, the earliest record
    among them. Raises ``JournalError`` where the journal is damaged."""
    found = Aftermath()
    end_ns = max((each.expiry_ns for each in decisions.values()), default=0)
    if end_ns <= 0:
        return found  # nothing was firm: neither watched nor reported
    marks = tuple(str(sequence).encode() for sequence in decisions)
    over_ns = end_ns + WITHIN_NS
    quote_mark = b""
    looked = 0
    for record in _others(journal, first):
        looked += 1
        if record.now_ns > over_ns:
            break
        if looked > RECORDS_MOST:
            return found
        watched = found.watched
        if record.kind == Kind.WATCH:
            if watched is not None:
                _said(watched, record)
            continue
        payload = record.payload
        if not any(mark in payload for mark in marks) and not (quote_mark and quote_mark in payload):
            continue
        change = json.loads(payload)
        kind, told = change["kind"], change["payload"]
        if kind == Change.OUTCOME:
            # A restart tells some again.
            known = {each["outcome"] for _, each in found.outcomes}
            ours = (told["boot"] or record.boot_id) == first.boot_id and told["decision"] in decisions
            if ours and told["outcome"] not in known and len(known) < OUTCOMES_MOST:
                found.outcomes.append((change["now_ns"], told))
        elif kind == Change.WATCHED:
            if watched is not None and told["quote"] == watched.registered["quote"]:
                state = QuoteStateCode.WITHDRAWN if told["withdraw"] else told["state"]
                _add(watched, WatchedEvent(WatchedEventKind.RESTORED, change["now_ns"], state=int(state)))
            elif (told["boot"] or record.boot_id) == first.boot_id and not decisions.keys().isdisjoint(
                told["decisions"]
            ):
                ids = tuple(f"{first.boot_id}-{sequence}" for sequence in told["decisions"])
                found.watched = WatchedQuote(told, change["now_ns"], ids)
                quote_mark = f'"quote":{told["quote"]},'.encode()
        elif watched is not None and told.get("quote") == watched.registered["quote"]:
            if kind == Change.WATCH_UPDATED:
                event = WatchedEvent(
                    WatchedEventKind.UPDATED,
                    change["now_ns"],
                    state=told["state"],
                    size_lots=told["size_lots"],
                )
                _add(watched, event)
            elif kind == Change.WATCH_ACKNOWLEDGED:
                event = WatchedEvent(WatchedEventKind.ACKNOWLEDGED, change["now_ns"], number=told["number"])
                _add(watched, event)
    if found.watched is not None:
        found.watched.complete = len(found.watched.events) < EVENTS_MOST
    return found


def _said(watched: WatchedQuote, record: Record) -> None:
    said = decode_watch(record)
    if int(said["quote"]) != watched.registered["quote"]:
        return
    event = WatchedEvent(
        WatchedEventKind(int(said["kind"])),
        int(said["at_ns"]),
        reason=int(said["reason"]),
        state=int(said["state"]),
        number=int(said["number"]),
        moved_ticks=float(said["moved_ticks"]),
        value_ticks=float(said["value_ticks"]),
        life_ns=int(said["life_ns"]),
        held_back=bool(said["held"]),
    )
    _add(watched, event)


def _add(watched: WatchedQuote, event: WatchedEvent) -> None:
    if len(watched.events) < EVENTS_MOST:
        watched.events.append(event)


def _others(journal: Journal, first: Record) -> Iterator[Record]:
    """Records behind ``first`` but decisions and answers, by the segments' indexes; in order."""
    for index in journal.segments:
        if index.next_number <= first.number:
            continue
        offsets = np.sort(index.other_offset)
        if index.name == first.segment:
            offsets = offsets[np.searchsorted(offsets, np.uint64(first.offset), "right") :]
        yield from journal.records_at(index, offsets.tolist(), _KINDS)
