"""Headlines to scores: what a scorer is, a word list that is one, and how others are found.

A scorer is any callable ``headline → score`` with the score in [−1, 1], negative where the news is bad for the price,
or ``None`` where it has no opinion. It may be slow: the service calls it on a thread of its own and a replay as it
reads its files, never a decision. Another one is plugged in as an entry point of the group ``quotelife.news_scorers``
in any installed package and named by ``signals.news_scorer`` of the configuration, or by ``replay --scorer``.
"""

import importlib
import math
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

Scorer = Callable[[str], float | None]

LEXICON = "lexicon"  # the built-in scorer
GROUP = "quotelife.news_scorers"
HEADLINE_CHARACTERS_MAX = 1000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WEIGHTS: dict[str, float] = {
    word: weight
    for weight, words in (
        (0.4, "accelerates agree agrees ahead attracts award awarded backed backs best better bullish "
               "buoyant buy buyback buys clear cleared clears climb climbed climbing climbs confident "
               "deal dividend double doubled doubles dovish exceed exceeds expand expanded expands "
               "expansion extends favourite gain gained gains good grew grow growing grows growth high "
               "higher hike improve improved improves improving inflow inflows invest invests launch "
               "launched launches lead leading leads lift lifted lifts optimism optimistic partner "
               "partners partnership positive profit profitable profits progress raise raised raises "
               "rebound rebounds recover recovered recovers recovery resumes reward rise risen rises "
               "rising rose secure secured secures settles strength strong stronger success successful "
               "support supports top tops up"),
        (0.8, "acquire acquired acquires acquisition approval approve approved approves beat beats boom "
               "boost boosted boosts breakthrough jump jumped jumping jumps outperform outperforms "
               "rallied rallies rally record skyrocket skyrockets soar soared soaring soars surge surged "
               "surges surging takeover upgrade upgraded upgrades win wins won"),
        (-0.4, "axe axed axes backlash bad bearish bleak blow charge charges close closes closure "
               "closures concern concerns cut cuts cutting debt decline declined declines delay delayed "
               "delays dip dipped dips disappoint disappointing disappoints dispute down drop dropped "
               "dropping drops fail failed fails failure fall fallen falling falls fear fears fell flat "
               "gloom gloomy hawkish hit hits hurt hurts impairment lags layoff layoffs lose loses "
               "losing loss losses lost low lower miss missed misses negative outflow outflows penalty "
               "pressure quits redundancies reject rejected rejects resign resigns risk risks risky sank "
               "sell sells short shortfall shrink shrinks shut shuts sink sinks slid slide slides slow "
               "slowdown slowed slows strike strikes struggle struggles struggling tariff tariffs threat "
               "threaten threatened threatens trouble troubled unsure weak weaker weakness withdraw "
               "withdraws woes worry worries worse worst writedown"),
        (-0.8, "ban banned bans breach breached breaches bribery charged crisis depeg depegs downgrade "
               "downgraded downgrades fine fined fines halt halted halts indicted indictment investigate "
               "investigated investigates investigation lawsuit outage outages panic plummet plummeted "
               "plummets plunge plunged plunges probe probes recall recalls recession sanction "
               "sanctioned sanctions scandal seize seized seizes selloff slash slashed slashes slump "
               "slumped slumps stolen sue sued sues suspend suspended suspends theft tumble tumbled "
               "tumbles underperform underperforms warn warned warning warns"),
        (-1.0, "bankrupt bankruptcy collapse collapsed collapses collapsing crash crashed crashes "
               "crashing default defaulted defaults delist delisted delists exploit exploited exploits "
               "fraud hack hacked hackers hacks insolvency insolvent invaded invades invasion terror "
               "terrorism war"),
    )
    for word in words.split()
}  # fmt: skip
_NEGATIONS = _words(
    "no not never without despite ends end avoid avoids avoided averts averted deny denies denied isn't won't"
)
_NEGATION_REACH = 2  # words that a negation reaches forward
_STRONGER = _words("sharply massive massively huge severe severely major deeply steeply heavily")
_WEAKER = _words("slightly modest modestly mildly marginal marginally partly partial")
# Where less is good: what a falling one says is turned round.
_BURDENS = _words(
    "cost costs loss losses debt debts deficit expenses unemployment tax taxes impairments outflow outflows"
)
_FEWER = _words(
    "cut cuts cutting fall falls fell drop drops dropped decline declines declined lower reduce reduces reduced narrow "
    "narrows narrowed slash slashes slashed trim trims trimmed shrink shrinks"
)
_MORE = _words("rise rises rose widen widens widened grow grows grew higher up mount mounts")
_REACH = 3  # words that a burden or an intensifier reaches either way
_WORD = re.compile(r"[a-z][a-z']*")


def lexicon(headline: str) -> float | None:
    """Score of a headline by the words in it: tanh of the sum of their weights; ``None`` where none is known.

    A negation just before a word turns it round at half its weight, an intensifier near it scales it by 1.5 or 0.5, and
    of burdens (costs, debts) less is good. English market words only, and who gains from what it cannot tell: a floor,
    good enough to stop quoting on "exchange halts withdrawals after hack", not to trade on. Measured in
    ``docs/signals.md``.
    """
    words = _WORD.findall(
        headline[:HEADLINE_CHARACTERS_MAX].lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    total, known = 0.0, False
    for at, word in enumerate(words):
        weight = _weight(words, at)
        if not weight or word in _NEGATIONS:
            continue
        known = True
        near = words[max(0, at - _REACH) : at + 1 + _REACH]
        if not _STRONGER.isdisjoint(near):
            weight *= 1.5
        if not _WEAKER.isdisjoint(near):
            weight *= 0.5
        if not _NEGATIONS.isdisjoint(words[max(0, at - _NEGATION_REACH) : at]):
            weight *= -0.5
        total += weight
    return math.tanh(total) if known else None


def _weight(words: list[str], at: int) -> float:
    word = words[at]
    near = words[max(0, at - _REACH) : at] + words[at + 1 : at + 1 + _REACH]
    if word in _BURDENS:
        if not _FEWER.isdisjoint(near):
            return 0.0  # told by the word that says fewer
    elif not _BURDENS.isdisjoint(near):
        if word in _FEWER:
            return 0.4
        if word in _MORE:
            return -0.4
    return _WEIGHTS.get(word, 0.0)


def scorer_names() -> list[str]:
    """Names that ``find_scorer`` knows."""
    return [LEXICON, *sorted({entry.name for entry in entry_points(group=GROUP)} - {LEXICON})]


def find_scorer(name: str) -> Scorer:
    """The scorer of a name: ``lexicon``, or one that an installed package registers; a class is made an object.

    Raises ``LookupError``, naming those that there are, or whatever its import raises.
    """
    if name == LEXICON:
        return lexicon
    registered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in registered:
        raise LookupError(f"no news scorer is called {name!r}; there are: {', '.join(scorer_names())}")
    return _callable(registered[name].load(), name)


def import_scorer(name: str) -> Scorer:
    """``module:name``, for tools that a person starts; a class is made an object.

    Raises ``LookupError`` when there is none, or whatever its import raises.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(f"no scorer {name!r}: {error}") from None
    return _callable(found, name)


def _callable(found: object, name: str) -> Scorer:
    scorer = found() if isinstance(found, type) else found
    if not callable(scorer):
        raise LookupError(f"scorer {name!r} cannot be called")
    return cast(Scorer, scorer)


def checked_score(scorer: Scorer, headline: str) -> float | None:
    """What the scorer says. Raises ``ValueError`` when that is no score, or whatever the scorer raises."""
    score = scorer(headline)
    if score is None:
        return None
    if not -1.0 <= score <= 1.0:  # NaN is neither
        raise ValueError(f"the scorer gave {score!r}; scores are -1 to 1, or None for no opinion")
    return float(score)
