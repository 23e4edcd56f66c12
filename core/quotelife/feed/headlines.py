"""News headlines: from a file's entries to scores, and what scores one that has none.

A scorer is anything that can be called with a headline and the name that it is about (or ``None``) and gives a score in
[−1, 1], or ``None`` where it has no opinion. It may be slow: it is called where headlines come in, never by a decision.
"""

import importlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol

from quotelife.errors import DecodeError, QuotelifeError
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US

ENTRY_POINTS = "quotelife.scorers"
_WORD = re.compile(r"[a-z]+(?:'t)?|\d+(?:\.\d+)?%?")


class Scorer(Protocol):
    """Scores a headline."""

    def __call__(self, headline: str, subject: str | None, /) -> float | None:
        """In [−1, 1]; ``None``: no opinion."""


class Headline(NamedTuple):
    """One entry of a file. ``score`` and ``time_ns`` are ``None`` where the entry has none."""

    text: str
    subject: str | None
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
    names = [entry.get(key) for key in ("company", "instrument")]
    if not all(name is None or isinstance(name, str) for name in names):
        raise ValueError("company and instrument must be texts")
    subject, instrument = (None if name is None else str(name) for name in names)
    return Headline(text, subject, instrument, score, parse_time(entry.get("time")))


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
    return whole * NS_PER_S + moment.microsecond * NS_PER_US


def _by_size(value: int) -> int:
    """Seconds up to the year 5138, and so on: no stamp of the years 1973 to 5138 can be two of them."""
    for bound, unit in ((10**11, NS_PER_S), (10**14, NS_PER_MS), (10**17, NS_PER_US)):
        if value < bound:
            return value * unit
    if value >= 2**63:
        raise ValueError(f"time lies beyond the year 2262, found {value}")
    return value


def load_scorer(name: str) -> Scorer:
    """``lexicon``, ``package.module:callable``, or a name that a package registers under ``quotelife.scorers``.

    A class is made an object. Raises ``QuotelifeError`` when it cannot be had.
    """
    if name == "lexicon":
        return LexiconScorer()
    try:
        if ":" in name:
            module, _, attribute = name.partition(":")
            found = getattr(importlib.import_module(module), attribute)
        else:
            found = next(iter(entry_points(group=ENTRY_POINTS, name=name))).load()
    except (ImportError, AttributeError, StopIteration, ValueError) as error:
        raise QuotelifeError(
            f"no scorer {name!r} ({error or 'not registered'}); name package.module:callable, an entry point of "
            f"{ENTRY_POINTS}, or lexicon"
        ) from None
    scorer: Scorer = found() if isinstance(found, type) else found
    if not callable(scorer):
        raise QuotelifeError(f"scorer {name!r} cannot be called")
    return scorer


def score_headline(scorer: Scorer, headline: Headline) -> float | None:
    """The entry's own score, else the scorer's. Raises ``QuotelifeError`` when that gives no score."""
    if headline.score is not None:
        return headline.score
    score = scorer(headline.text, headline.subject)
    if score is not None and not -1.0 <= score <= 1.0:  # NaN is neither
        raise QuotelifeError(
            f"the scorer gave {score!r} for {headline.text[:60]!r}; scores are -1 to 1, or None"
        )
    return score


# --- the default ---


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GOOD = {
    2: "beat beats soar soars soared surge surges surged jump jumps jumped record wins win won approval approved "
    "approves upgrade upgraded upgrades outperform boost boosts boosted rally rallies rallied breakthrough",
    1: "rise rises rose risen rising gain gains gained grow grows grew growth higher high up climb climbs climbed "
    "profit profits profitable strong stronger strength positive improve improves improved improving "
    "dividend buyback confident optimistic expands expand expansion agrees agree secure secures secured "
    "award awarded launch launches buy buys bullish recovery recover recovers rebound rebounds success "
    "successful good better best top tops accelerates exceeds exceed raises raise raised hike lifts lift lifted "
    "extends invest invests creates opens support supports backs backed attracts ahead double doubles doubled deal "
    "progress resumes clears cleared leads leading favourite buoyant reward",
}
_BAD = {
    2: "plunge plunges plunged slump slumps slumped crash crashes crashed collapse collapses collapsed bankrupt "
    "bankruptcy fraud scandal default defaults probe fined fine fines lawsuit sued sues slash slashes slashed "
    "downgrade downgraded downgrades underperform tumble tumbles tumbled crisis warning warns warned bribery",
    1: "fall falls fell falling drop drops dropped decline declines declined lower low down loss losses lose loses "
    "lost losing weak weaker weakness negative miss misses missed cut cuts cutting concern concerns fear fears "
    "worry worries risk risks risky threat threatens threatened slow slows slowed slowdown sell sells bearish "
    "strike strikes delay delays delayed halt halts halted suspend suspends suspended investigation investigate "
    "penalty charge charges charged writedown impairment debt struggle struggles struggling hit hits hurt hurts "
    "pressure worst worse bad fails fail failed failure rejects reject rejected quits resign resigns "
    "layoffs redundancies recall recalls dispute closes close closure closures shut shuts bleak gloom "
    "gloomy disappoint disappoints disappointing slide slides slid sink sinks sank dip dips dipped "
    "axes axe axed backlash blow lags shrinks shrink flat trouble troubled woes outflows short unsure",
}
_NEGATIONS = _words("no not never without despite halt halts ends end avoid avoids avoided deny denies")
# Where less is good: what a falling one says is turned round.
_BURDENS = _words(
    "cost costs loss losses debt debts deficit expenses unemployment tax taxes impairments outflows"
)
_FEWER = _words(
    "cut cuts cutting fall falls fell drop drops dropped decline declines declined lower reduce reduces reduced narrow "
    "narrows narrowed slash slashes slashed trim trims trimmed shrink shrinks"
)
_MORE = _words("rise rises rose widen widens widened grow grows grew higher up mount mounts")
_BURDEN_REACH = 3


class LexiconScorer:
    """A small list of words that markets read as good or bad, with negation, and burdens of which less is good.

    The score is (good − bad) / (good + bad + 1) over the weights of the words found; ``None`` where none is. It knows
    nothing of who gains from what: a floor for better ones (``docs/recordings.md`` has its measured accuracy).
    """

    def __init__(self) -> None:
        self._weight = {
            word: sign * weight
            for sign, lists in ((1, _GOOD), (-1, _BAD))
            for weight, words in lists.items()
            for word in words.split()
        }

    def __call__(self, headline: str, subject: str | None = None, /) -> float | None:
        """See ``Scorer``; the subject's own name is left out."""
        own = set(_WORD.findall(subject.lower())) if subject else set()
        words = [word for word in _WORD.findall(headline.lower()) if word not in own]
        good = bad = 0.0
        for at, word in enumerate(words):
            weight = self._weight_at(words, at, word)
            if weight and any(before in _NEGATIONS for before in words[max(0, at - 2) : at]):
                weight = -weight
            if weight > 0:
                good += weight
            else:
                bad -= weight
        total = good + bad
        return (good - bad) / (total + 1) if total else None

    def _weight_at(self, words: list[str], at: int, word: str) -> float:
        near = words[max(0, at - _BURDEN_REACH) : at] + words[at + 1 : at + 1 + _BURDEN_REACH]
        if word in _BURDENS:
            if any(other in _FEWER for other in near):
                return 0.0  # told by the word that says fewer
        elif any(other in _BURDENS for other in near):
            if word in _FEWER:
                return 1.0
            if word in _MORE:
                return -1.0
        return self._weight.get(word, 0.0)
