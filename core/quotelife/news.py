"""Headlines to scores: what a scorer is, and a small lexicon that is one.

A scorer is any callable ``headline → score`` with the score in [−1, 1], negative where the news is bad for the price.
It never runs on the decision path: the service calls it on a thread of its own, offline tools call it as they read.
Another one is plugged in as an entry point of the group ``quotelife.news_scorers`` in any installed package, and named
by ``signals.news_scorer`` of the configuration.
"""

import math
import re
from collections.abc import Callable
from importlib.metadata import entry_points

Scorer = Callable[[str], float]

GROUP = "quotelife.news_scorers"
HEADLINE_CHARACTERS_MAX = 1000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEGATIONS = _words("no not never without denies deny denied avoids avoid averts averted isn't won't")
_STRONGER = _words("sharply massive massively record huge severe severely major deeply steeply heavily")
_WEAKER = _words("slightly modest modestly mildly marginal marginally partly partial")
_REACH = 3  # words that a negation or an intensifier reaches forward

# Weight by stem: a word counts for the longest stem that it begins with.
_WEIGHTS: dict[str, float] = {
    stem: weight
    for weight, stems in (
        (-1.0, "bankrupt insolven default hack exploit fraud crash collapse delist halt seize war invasion terror"),
        (-0.7, "plunge plummet tumble slump sank sink lawsuit sue sued indict charge probe investigat ban breach "
               "recall layoff sanction downgrade liquidat outage sell-off selloff panic crisis recession theft stolen"),
        (-0.4, "fall fell drop decline lower loss miss weak warn cut cuts delay concern fear risk slow reject "
               "withdraw resign outflow bearish hawkish tariff disappoint shortfall"),
        (0.4, "rise rose gain climb higher beat beats strong growth grow profit approv upgrade expand partner launch "
              "inflow bullish dovish recover rebound win wins optimis improve settle"),
        (0.7, "surge soar jump rally record-high breakthrough outperform buyback acquire acquisition takeover "
              "skyrocket boom"),
    )
    for stem in stems.split()
}  # fmt: skip
_LENGTHS = sorted({len(stem) for stem in _WEIGHTS}, reverse=True)
_WORD = re.compile(r"[a-z][a-z'-]*")
_LONG = 6  # a shorter stem takes the endings of its own forms only: ban is not bank, win is not window
_ENDING = re.compile(r"(?:e?s|e?d|e?rs?|ing|[a-z]ing|[a-z]ed)?")


def _weight(word: str) -> float:
    for length in _LENGTHS:
        weight = _WEIGHTS.get(word[:length]) if len(word) >= length else None
        if weight is not None and (length >= _LONG or _ENDING.fullmatch(word, length)):
            return weight
    return 0.0


def lexicon(headline: str) -> float:
    """Score of a headline by the words in it, in [−1, 1]: tanh of the sum of their weights, 0.0 where none is known.

    A negation within three words before turns a word round at half weight; an intensifier scales it by 1.5 or 0.5.
    Knows English market words only and reads no context: a floor for tests and demonstrations, and good enough to
    stop quoting on "exchange halts withdrawals after hack", not to trade on.
    """
    words = _WORD.findall(
        headline[:HEADLINE_CHARACTERS_MAX].lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    total = 0.0
    for place, word in enumerate(words):
        before = words[max(0, place - _REACH) : place]
        if word in _NEGATIONS or word in _STRONGER or word in _WEAKER:
            continue
        weight = _weight(word)
        if any(each in _STRONGER for each in before):
            weight *= 1.5
        if any(each in _WEAKER for each in before):
            weight *= 0.5
        if any(each in _NEGATIONS for each in before):
            weight *= -0.5
        total += weight
    return math.tanh(total)


def scorer_names() -> list[str]:
    """Names that ``find_scorer`` knows."""
    return ["lexicon", *sorted({entry.name for entry in entry_points(group=GROUP)} - {"lexicon"})]


def find_scorer(name: str) -> Scorer:
    """The scorer of a name: ``lexicon``, or one that an installed package registers.

    Raises ``LookupError``, naming those that there are, or whatever its import raises.
    """
    if name == "lexicon":
        return lexicon
    registered = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in registered:
        raise LookupError(f"no news scorer is called {name!r}; there are: {', '.join(scorer_names())}")
    scorer: Scorer = registered[name].load()
    return scorer
