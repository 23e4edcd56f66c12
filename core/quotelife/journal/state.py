"""What must survive a restart beside the records themselves: overrides, kills, steps down, live signals, what was
learned of models and of counterparties, live quotes.

Names, not places: a configuration numbers instruments, counterparties and desks, and the next one may number them
otherwise.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quotelife.errors import QuotelifeError
from quotelife.inputs import Change
from quotelife.records import (
    NO_INDEX_VALUE,
    SIGNAL_DTYPE,
    WATCH_DTYPE,
    QuoteStateCode,
    RegimeCode,
    SignalCode,
    WatchCode,
    WithdrawCode,
)

if TYPE_CHECKING:
    from quotelife.engine import Engine

LEARNED_BYTES = 4 << 20
"""Of labels in a snapshot: 100 to 200 instrument groups with one model; those noted longest ago go without."""
COUNTERPARTY_BYTES = 8 << 20
"""Of counterparties in a snapshot: some 6,000; those noted longest ago go."""
OUTCOMES_KEPT = 65_536
"""Outcomes since their counterparties were noted: that is done every 10 s. The oldest go."""
COUNTED_KEPT = 65_536
"""Quotes whose first outcome has come; the oldest go."""
MODELS_KEPT = 16
"""Of one group, those noted last: as many as the engine follows."""
PARTS = 60
"""Of a window of labels, as the engine keeps it."""
NEWS_KEPT = 8
"""Scores kept for one instrument, and as many for all of them, as the engine keeps."""

UNACKNOWLEDGED_NS = 60 * 1_000_000_000
"""A withdrawal that nobody has acknowledged is carried over so long beyond the end of its quote's life."""

_SIGNAL = struct.Struct("<qqddqQIBxHI4x")
_WATCH = struct.Struct("<QQqQqddIBBBB")
assert _WATCH.size == WATCH_DTYPE.itemsize
assert _SIGNAL.size == SIGNAL_DTYPE.itemsize

Json = dict[str, Any]


class OperationalState:
    """A fold over the records of a journal: ``change`` and ``signal`` apply one, ``to_json`` is a snapshot.

    ``config`` is the configuration in force as ``Engine.config_payload`` gave it (empty before the first one),
    ``overrides`` by id, ``kills`` by counterparty (``None``: everybody), ``steps`` down by instrument group, each as
    the payload of its record.
    """

    def __init__(self) -> None:
        self.config: Json = {}
        self.overrides: dict[int, Json] = {}
        self.next_override_id = 1
        self.kills: dict[str | None, Json] = {}
        self.steps: dict[str, Json] = {}
        self._signals: dict[tuple[Any, ...], list[Json]] = {}
        self._calendar: dict[tuple[int, str | None], Json] = {}  # by id and instrument
        self._event_names: dict[int, Json] = {}  # by id
        self.quotes: dict[int, Json] = {}  # by id: live, or withdrawn and nobody has said so
        self.next_quote = 1
        self.words = 0  # number of the last that was said of a live quote
        self._quote_texts: dict[int, str] = {}  # of those asked for: all of each but ``_CHANGING``
        self._learned: dict[str, Json] = {}  # by instrument group, the one noted last at the end
        self._learned_texts: dict[str, str] = {}  # of each, up to its labels
        self._counterparties: dict[str, str] = {}  # as texts, the one noted last at the end
        self._outcomes: dict[str, dict[str, Json]] = {}  # by counterparty, since it was noted, and id
        self._outcomes_count = 0
        # Quotes by the id of their first decision, in the order of their first outcomes, and that id as JSON.
        self._counted: dict[str, str] = {}
        self._settings_text = ""  # of the configuration itself, once it was asked for
        self._instruments: list[str] = []
        self._desks: list[str] = []
        self._indices: list[str] = []

    def change(self, kind: int, payload: Mapping[str, Any], now_ns: int | None = None) -> None:
        """Apply one change of ``quotelife.inputs.Change``, made at ``now_ns``; a kind not known changes nothing."""
        if kind == Change.CONFIG:
            self._configure(dict(payload))
        elif kind == Change.MODEL:
            self.config["model_revision"] = payload["revision"]
            self.config["model_digest"] = payload["digest"]
            self.config["lineup"] = payload.get("lineup")
        elif kind == Change.OVERRIDE_SET:
            self.overrides[payload["id"]] = dict(payload)
            self.next_override_id = max(self.next_override_id, payload["id"] + 1)
        elif kind == Change.OVERRIDE_CLEARED:
            self.overrides.pop(payload["id"], None)
        elif kind == Change.KILLED:
            self.kills[payload["counterparty"]] = dict(payload)
        elif kind == Change.ENABLED:
            self.kills.pop(payload["counterparty"], None)
        elif kind == Change.STEPPED:
            self.steps.pop(payload["group"], None)
            if payload["down"]:
                self.steps[payload["group"]] = dict(payload)
        elif kind == Change.EVENTS_NAMED:
            self._event_names = self._names_held()
            self._event_names.update((event["id"], event) for event in payload["events"])
        elif kind == Change.LEARNED:
            for entry in payload["groups"]:
                self._learn(entry)
        elif kind == Change.COUNTERPARTIES:
            for entry in payload["counterparties"]:
                self._note(entry)
        elif kind == Change.OUTCOME:
            self._count(payload)
        elif kind == Change.WATCHED:
            self.next_quote = max(self.next_quote, payload["quote"] + 1)
            self.words = max(self.words, payload.get("words", 0))
            told = dict(payload)
            if now_ns is not None:  # of a build that did not tell: as the engine takes it
                told.setdefault("decided_ns", now_ns)
            self._set_quote(payload["quote"], told)
        elif kind == Change.WATCH_UPDATED:
            self._update_quote(payload)
        elif kind == Change.WATCH_ACKNOWLEDGED:
            quote = self.quotes.get(payload["quote"])
            if quote is not None and quote["withdraw"]:
                self._set_quote(payload["quote"], None)

    def _note(self, entry: Json) -> None:
        name = entry["name"]
        self._outcomes_count -= len(self._outcomes.pop(name, ()))
        self._counterparties.pop(name, None)
        self._counterparties[name] = _text(entry)

    def _count(self, payload: Mapping[str, Any]) -> None:
        if payload["counts"]:
            self._note_counted(first_decision(payload))
        if not payload["counterparty"]:
            return
        kept = self._outcomes.setdefault(payload["counterparty"], {})
        self._outcomes_count += payload["outcome"] not in kept
        kept[payload["outcome"]] = dict(payload)  # a restart tells again what it has carried over
        if self._outcomes_count > OUTCOMES_KEPT:
            name, kept = next(iter(self._outcomes.items()))
            del kept[next(iter(kept))]
            self._outcomes_count -= 1
            if not kept:
                del self._outcomes[name]

    def _note_counted(self, quote: str) -> None:
        if quote not in self._counted:
            self._counted[quote] = _text(quote)
        if len(self._counted) > COUNTED_KEPT:
            del self._counted[next(iter(self._counted))]

    def counted(self) -> list[str]:
        """Quotes whose first outcome has come, by the id of their first decision, the oldest first."""
        return list(self._counted)

    def counterparties(self) -> list[Json]:
        """What was noted of each counterparty, at most ``COUNTERPARTY_BYTES`` of it."""
        return [json.loads(text) for text in self._counterparty_texts()]

    def _counterparty_texts(self) -> list[str]:
        found: list[str] = []
        size = 0
        for text in reversed(self._counterparties.values()):
            size += len(text)
            if size > COUNTERPARTY_BYTES:
                break
            found.append(text)
        return found[::-1]

    def outcomes(self) -> list[Json]:
        """Those that came since their counterparty was noted, each counterparty's in order."""
        return [payload for kept in self._outcomes.values() for payload in kept.values()]

    def _set_quote(self, id: int, quote: Json | None) -> None:
        if quote is None:
            self.quotes.pop(id, None)
            self._quote_texts.pop(id, None)
            return
        known = self.quotes.get(id)
        if known is not None and id in self._quote_texts and _fixed(known) != _fixed(quote):
            del self._quote_texts[id]
        self.quotes[id] = quote

    def quote_text(self, id: int) -> str:
        """A quote as JSON. Its curves take long to write: that is done once, whatever becomes of it."""
        quote = self.quotes[id]
        text = self._quote_texts.get(id)
        if text is None:
            text = self._quote_texts[id] = _quote_text(quote)
        size = quote["size_lots"]
        rest = f'"state":{quote["state"]},"withdraw":{quote["withdraw"]}'
        for key in ("words", "restored", "said"):  # those that are told of it
            if key in quote:
                rest += f',"{key}":{_text(quote[key])}'
        return f'{text},"size_lots":{"null" if size is None else repr(size)},{rest}}}'

    def _change_quote(self, id: int, **changed: Any) -> None:
        # Of ``_CHANGING``: what is written already stays.
        self.quotes[id] = {**self.quotes[id], **changed}

    def _update_quote(self, payload: Mapping[str, Any]) -> None:
        quote = self.quotes.get(payload["quote"])
        if quote is None:
            return
        if payload["state"] >= QuoteStateCode.FILLED:
            self._set_quote(payload["quote"], None)
            return
        size_lots = quote["size_lots"] if payload["size_lots"] is None else payload["size_lots"]
        self._change_quote(payload["quote"], state=payload["state"], size_lots=size_lots)

    def watch(self, record: bytes) -> None:
        """Apply a word on a live quote, the bytes of ``WATCH_DTYPE``."""
        number, _, at_ns, id, _, moved, value, instrument, kind, reason, _, held = _WATCH.unpack(record)
        self.words = max(self.words, number)
        quote = self.quotes.get(id)
        if quote is None or kind == WatchCode.REQUOTE_HINT:
            return
        if kind == WatchCode.WITHDRAW:
            said = {
                "number": number,
                "at_ns": at_ns,
                "moved_ticks": None if math.isnan(moved) else moved,
                "value_ticks": None if math.isnan(value) else value,
                "instrument": _name(self._instruments, instrument),
                "held": bool(held),
            }
            self._change_quote(id, withdraw=reason, said=said)
        else:
            self._set_quote(id, None)

    def live_quotes(self, now_ns: int) -> list[Json]:
        """Quotes to be watched on, in the order of registration: those whose end nobody has told of, and those that
        are to be withdrawn until that is acknowledged, or they are long over."""
        return [self.quotes[id] for id in self._held_quotes(now_ns)]

    def _held_quotes(self, now_ns: int) -> list[int]:
        return sorted(
            id
            for id, quote in self.quotes.items()
            if not quote["withdraw"]
            or now_ns - int(quote.get("venue_ends_ns") or quote["expiry_ns"]) < UNACKNOWLEDGED_NS
        )

    def _learn(self, entry: Json) -> None:
        models: dict[str, Json] = self._learned.pop(entry["group"], {"models": {}})["models"]
        for model, of in entry["models"].items():
            known = models.pop(model, {"parts": {}})
            parts = known["parts"] if known.get("window_ns") == of["window_ns"] else {}
            parts = {int(number): part for number, part in (parts | of["parts"]).items()}
            newest = max(parts, default=0)
            kept = {str(number): parts[number] for number in sorted(parts) if number > newest - PARTS}
            models[model] = {"window_ns": of["window_ns"], "parts": kept}
        for model in list(models)[:-MODELS_KEPT]:
            del models[model]
        kept = {"group": entry["group"], "held": entry["held"], "models": models}
        self._learned[entry["group"]] = kept
        self._learned_texts[entry["group"]] = _text({**kept, "models": {}}).removesuffix("}}")

    def learned(self, now_ns: int) -> list[Json]:
        """What was learned, by instrument group, without labels that have left their window at ``now_ns``; of those
        beyond ``LEARNED_BYTES`` the tolerances alone."""
        labels = self._labels(now_ns)
        return [{**entry, "models": labels.get(group, {})} for group, entry in self._learned.items()]

    def _labels(self, now_ns: int) -> dict[str, Json]:
        """By group and model, as many as a snapshot holds, what was noted last before anything else."""
        found: dict[str, Json] = {}
        size = 0
        for group, entry in reversed(self._learned.items()):
            models = {}
            for model, of in entry["models"].items():
                oldest = now_ns // -(-of["window_ns"] // PARTS) - PARTS
                parts = {number: part for number, part in of["parts"].items() if int(number) > oldest}
                size += sum(len(number) + len(part) for number, part in parts.items())
                if size > LEARNED_BYTES:
                    return found
                if parts:
                    models[model] = {"window_ns": of["window_ns"], "parts": parts}
            if models:
                found[group] = models
        return found

    def _names_held(self, now_ns: int = 0) -> dict[int, Json]:
        held = {event for (event, _), kept in self._calendar.items() if _end(kept) > now_ns}
        return {event: name for event, name in self._event_names.items() if event in held}

    def _configure(self, payload: Json) -> None:
        self.config = payload
        self._settings_text = ""
        config = payload.get("config", {})
        self._instruments = [entry["name"] for entry in config.get("instruments", [])]
        self._desks = sorted(config.get("desks", {}))  # numbered in this order
        self._indices = list(config.get("signals", {}).get("volatility_indices", []))
        counterparties = config.get("counterparties", {})
        # As in the engine: what was set for a name that is gone ends, since it can fit nobody.
        self.overrides = {
            number: entry
            for number, entry in self.overrides.items()
            if (entry["counterparty"] is None or entry["counterparty"] in counterparties)
            and (entry["desk"] is None or entry["desk"] in self._desks)
        }
        self._signals = {
            key: kept for key, kept in self._signals.items() if key[2] is None or key[2] in self._desks
        }

    def signal(self, record: bytes) -> None:
        """Apply one signal, the bytes of ``SIGNAL_DTYPE``."""
        (source_ns, receive_ns, value, value2, ttl_ns, source, instrument, kind, flags, desk) = (
            _SIGNAL.unpack(record)
        )
        entry: Json = {
            "kind": kind,
            "instrument": _name(self._instruments, instrument),
            "desk": _name(self._desks, desk),
            "source": source,
            "source_ns": source_ns,
            "receive_ns": receive_ns,
            "value": value,
            "value2": value2,
            "ttl_ns": ttl_ns,
        }
        if flags:
            entry["flags"] = flags
        if kind == SignalCode.VOLATILITY_INDEX:
            entry["index"] = _name(self._indices, source)
        self._keep(entry)

    def _keep(self, entry: Json) -> None:
        if entry["kind"] == SignalCode.CALENDAR:
            if entry["value"] == RegimeCode.NORMAL:
                event = entry["source"]
                self._calendar = {key: kept for key, kept in self._calendar.items() if key[0] != event}
            elif _end(entry) > entry["receive_ns"]:
                at = entry["receive_ns"]
                self._calendar = {key: kept for key, kept in self._calendar.items() if _end(kept) > at}
                self._calendar[entry["source"], entry["instrument"]] = entry
            return
        if 0 < entry["ttl_ns"] <= entry["receive_ns"] - _at(entry):
            return  # its time was over before it came: it took the place of nothing
        news = entry["kind"] == SignalCode.NEWS
        key = (entry["kind"], entry["instrument"], None if news else entry["desk"], entry.get("index"))
        kept = self._signals.setdefault(key, [])
        if entry in kept:
            return
        kept.append(entry)
        kept.sort(key=_at)
        del kept[: -NEWS_KEPT if news else -1]

    def signals(self, now_ns: int) -> list[Json]:
        """Signals alive at ``now_ns``, in the order in which they came."""
        alive = [
            entry
            for kept in self._signals.values()
            for entry in kept
            if entry["ttl_ns"] <= 0 or now_ns - _at(entry) < entry["ttl_ns"]
        ]
        alive += [entry for entry in self._calendar.values() if _end(entry) > now_ns]
        return sorted(alive, key=lambda entry: entry["receive_ns"])

    def to_bytes(self, now_ns: int) -> bytes:
        """``to_json`` as JSON in UTF-8."""
        # The event loop waits for it. What there is much of is joined from texts: of base64 there is nothing to
        # escape, and the settings of many instruments seldom change.
        labels, texts = self._labels(now_ns), self._learned_texts
        learned = ",".join(
            texts[group] + (_labels_text(labels[group]) if group in labels else "") + "}}"
            for group in self._learned
        )
        quotes = ",".join([self.quote_text(id) for id in self._held_quotes(now_ns)])
        rest = _text(self._operated(now_ns))
        counted = ",".join(self._counted.values())
        known = ",".join(self._counterparty_texts())
        return (
            f'{{"config":{self._config_text()},{rest[1:-1]},"counted":[{counted}],"counterparties":[{known}],'
            f'"learned":[{learned}],"quotes":[{quotes}]}}'
        ).encode()

    def _config_text(self) -> str:
        if "config" in self.config and not self._settings_text:
            self._settings_text = _text(self.config["config"])
        entries = (
            f"{_text(key)}:{self._settings_text if key == 'config' else _text(value)}"
            for key, value in self.config.items()
        )
        return f"{{{','.join(entries)}}}"

    def to_json(self, now_ns: int) -> Json:
        """All of it, JSON-able; what has expired at ``now_ns`` is left out."""
        return {
            "config": self.config,
            **self._operated(now_ns),
            "counted": self.counted(),
            "counterparties": self.counterparties(),
            "learned": self.learned(now_ns),
            "quotes": self.live_quotes(now_ns),
        }

    def _operated(self, now_ns: int) -> Json:
        return {
            "overrides": [entry for entry in self.overrides.values() if entry["expires_ns"] > now_ns],
            "next_override_id": self.next_override_id,
            "next_quote": self.next_quote,
            "words": self.words,
            "kills": list(self.kills.values()),
            "steps": list(self.steps.values()),
            "signals": self.signals(now_ns),
            "event_names": list(self._names_held(now_ns).values()),
            "outcomes": self.outcomes(),
        }

    def carried_over(self, now_ns: int) -> OperationalState:
        """What the next boot begins with."""
        state = OperationalState.from_json(self.to_json(now_ns))
        state._quote_texts = {id: self._quote_texts[id] for id in state.quotes if id in self._quote_texts}
        return state

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> OperationalState:
        """The state of which ``to_json`` gave ``value``."""
        state = cls()
        state._configure(dict(value["config"]))
        state.overrides = {entry["id"]: dict(entry) for entry in value["overrides"]}
        state.next_override_id = value["next_override_id"]
        state.kills = {entry["counterparty"]: dict(entry) for entry in value["kills"]}
        state.steps = {entry["group"]: dict(entry) for entry in value.get("steps", ())}
        state._event_names = {entry["id"]: entry for entry in value.get("event_names", ())}
        for entry in value["signals"]:
            state._keep(dict(entry))
        for entry in value.get("learned", ()):
            state._learn(entry)
        for entry in value.get("counterparties", ()):
            state._note(entry)
        for quote in value.get("counted", ()):
            state._note_counted(quote)
        for entry in value.get("outcomes", ()):
            state._count(entry)
        state.next_quote = value.get("next_quote", 1)
        state.words = value.get("words", 0)
        for entry in value.get("quotes", ()):
            state._set_quote(entry["quote"], dict(entry))
        return state

    def restore(self, engine: Engine, now_ns: int) -> list[str]:
        """Apply everything alive to a fresh engine through its ordinary inputs, kills first.

        Call it after ``engine.record_to``, so that the new boot's journal holds these inputs too. Returns a line for
        each thing that names what the engine's configuration no longer has, and was left out.
        """
        left_out: list[str] = []
        for entry in self.kills.values():
            engine.kill(now_ns, **entry)
        for entry in self.steps.values():
            if engine.monitors.place(entry["group"]) is None:
                left_out.append(f"step down: instrument group {entry['group']} is not configured any more")
            elif not engine.step(now_ns, **{**entry, "model": int(entry["model"], 16)}):
                left_out.append(
                    f"step down of group {entry['group']}: switched off, or its model serves no more"
                )
        for entry in self.overrides.values():
            if entry["expires_ns"] > now_ns:
                self._override(engine, entry, now_ns, left_out)
        engine.next_override_id = max(engine.next_override_id, self.next_override_id)
        if names := self._names_held(now_ns):
            engine.name_events(now_ns, list(names.values()))
        if learned := self.learned(now_ns):
            engine.apply_learned({"groups": learned}, now_ns)
        if counterparties := self.counterparties():
            engine.apply_counterparties({"counterparties": counterparties}, now_ns)
        known = {instrument.name for instrument in engine.instruments}
        for outcome in self.outcomes():
            if outcome["instrument"] in known:
                engine.outcome(now_ns, outcome)
            else:
                left_out.append(
                    f"outcome {outcome['outcome']}: instrument {outcome['instrument']} is not configured any more"
                )
        self._restore_quotes(engine, now_ns, left_out)
        indices = list(engine.config.signals.volatility_indices)
        instruments = {instrument.name: instrument.index for instrument in engine.instruments}
        for entry in self.signals(now_ns):
            what = f"{SignalCode(entry['kind']).name.lower()} signal"
            instrument, desk, source = NO_INDEX_VALUE, NO_INDEX_VALUE, entry["source"]
            ahead = entry["kind"] == SignalCode.CALENDAR
            if entry["instrument"] is not None:
                if entry["instrument"] not in instruments:
                    left_out.append(f"{what}: instrument {entry['instrument']} is not configured any more")
                    continue
                instrument = instruments[entry["instrument"]]
            if entry["desk"] is not None:
                found = engine.policy.desk_index(entry["desk"])
                if found is None:
                    left_out.append(f"{what}: desk {entry['desk']} is not configured any more")
                    continue
                desk = found
            if "index" in entry:
                if entry["index"] not in indices:
                    left_out.append(f"{what}: index {entry['index']} is not configured any more")
                    continue
                source = indices.index(entry["index"])
            engine.on_signal(
                entry["kind"],
                receive_ns=min(
                    entry["receive_ns"], now_ns
                ),  # a clock set back since must not lead the new one
                source_ns=entry["source_ns"] if ahead else min(entry["source_ns"], now_ns),
                value=entry["value"],
                value2=entry["value2"],
                instrument=instrument,
                desk=desk,
                ttl_ns=entry["ttl_ns"],
                source=source,
            )
        return left_out

    def _restore_quotes(self, engine: Engine, now_ns: int, left_out: list[str]) -> None:
        engine.watching.next_quote = max(engine.watching.next_quote, self.next_quote)
        engine.watching.words = words = max(engine.watching.words, self.words)
        room = engine.config.watch.quotes_max
        quotes = self.live_quotes(now_ns)
        # Those to be withdrawn come last: they take nobody's place, and none takes theirs.
        live = [quote for quote in quotes if not quote["withdraw"]]
        lost = [{**quote, "withdraw": int(WithdrawCode.WATCH_LOST)} for quote in live[room:]]
        if lost:
            left_out.append(
                f"{len(lost)} live quotes find no room (watch.quotes_max {room}): withdrawn, and their owners are told"
            )
        for quote in (*live[:room], *lost, *(quote for quote in quotes if quote["withdraw"])):
            try:
                engine.apply_watch(Change.WATCHED, {**quote, "words": words, "restored": True}, now_ns)
            except QuotelifeError as error:
                left_out.append(f"live quote {quote['name']} of {quote['owner']}: {error}")

    @staticmethod
    def _override(engine: Engine, entry: Json, now_ns: int, left_out: list[str]) -> None:
        places = {"counterparty": NO_INDEX_VALUE, "desk": NO_INDEX_VALUE, "instrument": NO_INDEX_VALUE}
        for part in places:
            name = entry[part]
            if name is None:
                continue
            if part == "counterparty":
                found = engine.policy.counterparty_index(name)
            elif part == "desk":
                found = engine.policy.desk_index(name)
            else:
                found = next((i.index for i in engine.instruments if i.name == name), None)
            if found is None:
                left_out.append(f"override {entry['id']}: {part} {name} is not configured any more")
                return
            places[part] = found
        engine.set_override(
            now_ns=now_ns,
            expires_ns=entry["expires_ns"],
            posture=entry["posture"],
            override_id=entry["id"],
            **places,
        )


def first_decision(outcome: Mapping[str, Any]) -> str:
    """Of the payload of an outcome: the id of the first decision of its quote, by which the quote is counted."""
    return f"{outcome['boot']}-{outcome.get('first', outcome['decision'])}"


_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


_CHANGING = ("size_lots", "state", "withdraw", "words", "restored", "said")
"""Of a quote: while it is live or about to end, and at a restart. ``words``: number of the last word that was said of
any quote before it was registered or restored; ``said``: its withdrawal, which the next boot tells in the same way."""


def _fixed(quote: Json) -> Json:
    return {key: value for key, value in quote.items() if key not in _CHANGING}


def _quote_text(quote: Json) -> str:
    # What does not change of it, left open for the rest.
    return _text(_fixed(quote)).removesuffix("}")


def _labels_text(models: Json) -> str:
    return ",".join(
        f'"{model}":{{"window_ns":{of["window_ns"]},"parts":{{'
        + ",".join([f'"{number}":"{part}"' for number, part in of["parts"].items()])
        + "}}"
        for model, of in models.items()
    )


def _at(entry: Json) -> int:
    """When a signal counts from: the source's time, unless it lies in the future or is not given."""
    source_ns: int = entry["source_ns"]
    receive_ns: int = entry["receive_ns"]
    return source_ns if 0 < source_ns < receive_ns else receive_ns


def _end(event: Json) -> int:
    """When an event of the calendar is over."""
    end_ns: int = event["source_ns"] + event["ttl_ns"]
    return end_ns


def _name(names: list[str], place: int) -> str | None:
    return names[place] if place < len(names) else None
