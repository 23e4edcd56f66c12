"""What scores a headline: the lexicon, scorers of others, and what they may answer."""

import pytest

from quotelife import news
from quotelife.news import checked_score, find_scorer, import_scorer, lexicon


@pytest.mark.parametrize(
    ("headline", "low", "high"),
    [
        ("Exchange halts withdrawals after hack", -1.0, -0.8),
        ("Regulator sues exchange over fraud", -1.0, -0.8),
        ("Bitcoin surges to record high on ETF approval", 0.5, 1.0),
        ("Shares slightly lower", -0.3, -0.01),
        ("Shares sharply lower", -0.7, -0.5),
        ("Company denies bankruptcy", 0.2, 0.6),
        ("Shares surge on record profit", 0.8, 1.0),
        ("Bank fined over fraud", -1.0, -0.8),
        ("No growth this year", -0.4, -0.1),
        ("Company cuts costs", 0.2, 0.6),
        ("Losses widen", -0.8, -0.2),
        ("Debt reduced after sale", 0.2, 0.6),
        ("Company cuts dividend and warns", -0.8, -0.2),
        ("Firm won\u2019t be hurt", 0.0, 0.4),
    ],
)
def test_the_lexicon_scores_what_its_words_say(headline: str, low: float, high: float) -> None:
    score = lexicon(headline)
    assert score is not None
    assert low <= score <= high


@pytest.mark.parametrize(
    "headline",
    ["", "Quarterly meeting scheduled for Tuesday", "Bank window in Banff", "\u66ab\u505c\u63d0\u6b3e"],
)
def test_without_a_known_word_it_has_no_opinion(headline: str) -> None:
    assert lexicon(headline) is None


def test_no_word_is_listed_twice() -> None:
    """A word with two weights would silently have the last one."""
    source = news.__file__
    with open(source, encoding="utf-8") as file:
        text = file.read()
    start = text.index("_WEIGHTS")
    listed = [
        word for piece in text[start : text.index("_NEGATIONS = ")].split('"')[1::2] for word in piece.split()
    ]
    assert len(listed) == len(set(listed)) > 300


def test_a_scorer_is_held_to_its_range() -> None:
    assert checked_score(lambda _: None, "x") is None
    assert checked_score(lambda _: -1, "x") == -1.0
    for wrong in (1.5, float("nan")):
        with pytest.raises(ValueError, match="scores are -1 to 1, or None"):
            checked_score(lambda _, wrong=wrong: wrong, "x")


class Constant:
    """A scorer that is a class."""

    def __call__(self, headline: str) -> float:
        return 0.5


def test_a_scorer_by_name() -> None:
    assert find_scorer("lexicon") is lexicon
    assert import_scorer("quotelife.news:lexicon") is lexicon
    assert import_scorer(f"{__name__}:Constant")("x") == 0.5
    for name in ("quotelife.news:GROUP", "quotelife.news:none", "no_such_module:x"):
        with pytest.raises(LookupError):
            import_scorer(name)
    with pytest.raises(LookupError, match="there are: lexicon"):
        find_scorer("nobody")
