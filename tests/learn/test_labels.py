"""First passages and how long they are watched, against a walk in plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.learn.dataset import ReferencePath
from quotelife.learn.labels import NEVER, first_passage_ns, observed_ns
from reference import label_twin

LONGEST = 50


def path_of(points: list[label_twin.Point]) -> ReferencePath:
    time, value, good = zip(*points, strict=True)
    ticks = np.where(good, value, np.nan)
    return ReferencePath(np.array(time), ticks, ticks + 0.25, np.array(good))


@st.composite
def paths(draw: st.DrawFn) -> list[label_twin.Point]:
    times = draw(st.lists(st.integers(0, 200), min_size=1, max_size=40, unique=True))
    step = st.tuples(st.integers(-6, 6), st.sampled_from([True] * 6 + [False]))
    return [(time, v / 2, good) for time, (v, good) in ((t, draw(step)) for t in sorted(times))]


@settings(max_examples=150, deadline=None)
@given(
    points=paths(),
    now=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    sides=st.lists(st.sampled_from([1, -1]), min_size=8, max_size=8),
    h=st.lists(st.sampled_from([0.5, 1.0, 2.5, float("nan")]), min_size=8, max_size=8),
    latency=st.integers(0, 20),
)
def test_passages_are_those_of_a_walk_over_the_path(
    points: list[label_twin.Point], now: list[int], sides: list[int], h: list[float], latency: int
) -> None:
    path, times = path_of(points), np.array(sorted(now))
    side, bounds = np.array(sides[: len(now)], np.int8), np.array(h[: len(now)])
    origin = path.at(times, "mid")
    watched = observed_ns(path, times, latency_ns=latency, longest_ns=LONGEST)
    assert [label_twin.watched(points, t, latency, LONGEST) for t in times.tolist()] == watched.tolist()
    passed = first_passage_ns(
        path, "mid", times, side, origin, bounds, latency_ns=latency, observed_ns=watched
    )
    rows = zip(times.tolist(), side.tolist(), origin.tolist(), bounds.tolist(), watched.tolist(), strict=True)
    assert [label_twin.passage(points, t, s, m, b, latency, w) for t, s, m, b, w in rows] == passed.tolist()


def label(points: list[label_twin.Point], *, side: int = 1, h: float = 1.0, latency: int = 0) -> int:
    """Of a decision at 10 on a path that stands at 5 then."""
    path, now = path_of([(0, 5.0, True), *points]), np.array([10])
    watched = observed_ns(path, now, latency_ns=latency, longest_ns=LONGEST)
    one = np.array([side], np.int8)
    return int(
        first_passage_ns(path, "mid", now, one, np.array([5.0]), h, latency_ns=latency, observed_ns=watched)[
            0
        ]
    )


END = (1000, 0.0, False)


def test_a_fall_is_against_the_desk_that_buys_and_a_rise_against_the_one_that_sells() -> None:
    fall, rise = [(20, 4.0, True), END], [(20, 6.0, True), END]
    assert [label(fall), label(fall, side=-1), label(rise), label(rise, side=-1)] == [10, NEVER, NEVER, 10]


def test_one_touch_is_enough_and_less_than_h_is_none() -> None:
    assert label([(20, 4.5, True), (30, 4.0, True), (31, 5.0, True), END]) == 20


def test_what_moved_during_the_latency_has_passed_when_the_quote_goes_live() -> None:
    assert label([(13, 4.0, True), END], latency=5) == 0


def test_what_came_back_during_the_latency_has_not_passed() -> None:
    assert label([(13, 4.0, True), (14, 5.0, True), END], latency=5) == NEVER


def test_age_counts_from_the_decision_and_the_latency() -> None:
    assert label([(40, 4.0, True), END], latency=5) == 25


def test_nothing_passes_behind_a_hole() -> None:
    assert label([(20, 0.0, False), (21, 4.0, True), END]) == NEVER


def test_a_microprice_that_moves_by_h_but_for_a_rounding_passes() -> None:
    assert label([(20, 5.0 - 1.0 + 1e-13, True), END]) == 10


def test_decisions_out_of_order_are_refused() -> None:
    path = path_of([(0, 5.0, True), END])
    two = np.array([20, 10])
    with pytest.raises(ValueError, match="must not fall"):
        first_passage_ns(
            path, "mid", two, np.ones(2, np.int8), np.ones(2), 1.0, latency_ns=0, observed_ns=np.ones(2)
        )


def test_a_column_of_another_length_is_refused_by_its_name() -> None:
    path = path_of([(0, 5.0, True), END])
    with pytest.raises(ValueError, match="reference_ticks"):
        first_passage_ns(
            path,
            "mid",
            np.array([1]),
            np.ones(1, np.int8),
            np.ones(2),
            1.0,
            latency_ns=0,
            observed_ns=np.ones(1),
        )


def test_no_path_watches_nothing() -> None:
    none = ReferencePath(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, bool))
    assert observed_ns(none, np.array([1]), latency_ns=0, longest_ns=LONGEST).tolist() == [0]
