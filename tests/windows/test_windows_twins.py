"""Every window class against its plain twin, on random, awkward and recorded streams.

The classes are found in the package; one without a case fails the first test.
"""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quotelife.windows
from reference import window_twins as twins
from reference.recorded import Quote, top_and_trades

MS = 1_000_000
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND + 37


class Event(NamedTuple):
    t: int
    a: int  # any integer
    b: int  # above 0


class Case(NamedTuple):
    twin: type
    arguments: tuple[Any, ...]
    feed: Callable[[Any, Event], object]
    move: Callable[[Any, int], object]
    read: Callable[[Any, int], list[Any]]


def tails(read: Callable[[Any, int], list[Any]], count: int) -> Callable[[Any, int], list[Any]]:
    return lambda window, t: [value for tail in range(count) for value in read(window, tail)]


CASES = {
    "Ring": Case(
        twins.RingTwin,
        (16, [100 * MS, 500 * MS, SECOND], 2),
        lambda w, e: w.push(e.t, e.a, e.b),
        lambda w, t: w.advance(t),
        # An incomplete window is not to be read: what it holds is compared only while it is whole.
        tails(
            lambda w, k: (
                [w.whole(k), w.count(k), w.sums(k), w.before(k)] if w.whole(k) else [False, w.count(k)]
            ),
            3,
        ),
    ),
    "Vwap": Case(
        twins.VwapTwin,
        (16, [100 * MS, 500 * MS]),
        lambda w, e: w.push(e.t, 60_000_0 + e.a, e.b if e.a >= 0 else -e.b),
        lambda w, t: w.advance(t),
        tails(lambda w, k: [w.whole(k), w.count(k), w.volumes(k), w.deviation(k)], 2),
    ),
    "TimeWeightedWindow": Case(
        twins.TimeWeightedTwin,
        (16, SECOND),
        lambda w, e: w.set(e.t, e.a),
        lambda w, t: w.advance(t),
        lambda w, t: [True, w.advance(t), w.mean, w.variance] if w.whole else [False],
    ),
    "Buckets": Case(
        twins.BucketsTwin,
        ([1, 5, 20], 2),
        lambda w, e: w.add(e.t, e.a, e.b % 2),
        lambda w, t: w.advance(t),
        lambda w, t: [w.sum(tail, channel) for tail in range(3) for channel in range(2)],
    ),
    "EwmaVarianceWindow": Case(
        twins.EwmaVarianceTwin,
        (SECOND,),
        lambda w, e: w.add(e.t, e.a / 2),
        lambda w, t: None,
        lambda w, t: [w.rate(t)],
    ),
    "EwmaMeanWindow": Case(
        twins.EwmaMeanTwin,
        (SECOND,),
        lambda w, e: w.set(e.t, e.a / 2),
        lambda w, t: None,
        lambda w, t: [w.at(t)],
    ),
    "EwmaCorrelationWindow": Case(
        twins.EwmaCorrelationTwin,
        (20.0,),
        lambda w, e: w.add(e.t // (100 * MS), e.a, (e.b % 7) - 3 + e.a / 2),
        lambda w, t: None,
        lambda w, t: [w.correlation, w.n(t // (100 * MS))],
    ),
}


def window_classes() -> dict[str, type]:
    found = {}
    for module in pkgutil.iter_modules(quotelife.windows.__path__, "quotelife.windows."):
        for name, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if value.__module__ == module.name:
                found[name] = value
    return found


CLASSES = window_classes()


def test_every_window_class_has_a_twin() -> None:
    assert set(CLASSES) == set(CASES)


def same(ours: list[Any], expected: list[Any]) -> bool:
    return len(ours) == len(expected) and all(
        math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) if isinstance(b, float) and a is not None else a == b
        for a, b in zip(ours, expected, strict=True)
    )


def check(name: str, events: Iterable[Event], every: int = 1, pauses: Iterable[int] = (0, 100 * MS)) -> int:
    """Feed both; compare after each ``every``-th event and some time later. Returns how many comparisons."""
    case = CASES[name]
    window, twin = CLASSES[name](*case.arguments), case.twin(*case.arguments)
    compared = 0
    for k, event in enumerate(events):
        case.feed(window, event)
        case.feed(twin, event)
        if k % every:
            continue
        for pause in pauses:
            t = event.t + pause
            if pause and k % (7 * every) == 0:
                case.move(window, t)
                case.move(twin, t)
            elif pause:
                continue
            ours, expected = case.read(window, t), case.read(twin, t)
            assert same(ours, expected), (
                f"{name} after event {k} {event}, read at +{pause}: {ours} != {expected}"
            )
            compared += 1
    return compared


def stream(rng: np.random.Generator, steps_ns: list[int], count: int) -> list[Event]:
    """Steps drawn from ``steps_ns``; times never go backwards, as in the engine."""
    events, t = [], START
    for _ in range(count):
        t += int(rng.choice(steps_ns))
        events.append(Event(t, int(rng.integers(-9, 10)), int(rng.integers(1, 1000))))
    return events


STREAMS = {
    "ordinary": [1, 3 * MS, 20 * MS, 60 * MS, 90 * MS],
    "equal stamps": [0, 0, 0, 50 * MS, 100 * MS],
    "exactly on the border": [100 * MS, 500 * MS, SECOND],
    "just inside and just outside": [100 * MS - 1, 1, 100 * MS + 1, SECOND - 1, SECOND + 1],
    "burst beyond capacity": [0, 1000, 1000, 1 * MS],
    "burst, then idle": [0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10, 3 * SECOND],
    "long idle": [0, 5 * SECOND, 3600 * SECOND],
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("seed", range(3))
def test_window_equals_its_twin(name: str, kind: str, seed: int) -> None:
    assert check(name, stream(np.random.default_rng(seed), STREAMS[kind], 250)) > 250


GROWING: dict[str, tuple[Any, ...]] = {
    "Ring": (512, [100 * MS, 500 * MS, SECOND], 2),
    "Vwap": (512, [100 * MS, SECOND]),
    "TimeWeightedWindow": (512, SECOND),
}


@pytest.mark.parametrize("name", GROWING)
@pytest.mark.parametrize("mean_step_ns", [SECOND // 2000, SECOND // 300, SECOND // 50])
def test_read_seldom_or_after_each_event_is_the_same(name: str, mean_step_ns: int) -> None:
    """Windows that double several times, and at the smallest step overflow, on the way."""
    rng = np.random.default_rng(mean_step_ns)
    case, t = CASES[name], START
    seldom, often = (CLASSES[name](*GROWING[name]) for _ in range(2))
    for k in range(4000):
        t += int(rng.exponential(mean_step_ns))
        event = Event(t, int(rng.integers(-(10**6), 10**6)), int(rng.integers(1, 10**6)))
        for window in (seldom, often):
            case.feed(window, event)
        case.read(often, t)
        if k % 701 == 700 or k == 3999:
            assert case.read(seldom, t) == case.read(often, t), f"after event {k}"


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, MS, 100 * MS - 1, 100 * MS, 500 * MS, SECOND, SECOND + 1, 10**12]),
            st.integers(-(10**6), 10**6),
            st.integers(1, 10**9),
        ),
        max_size=60,
    )
)
def test_window_equals_its_twin_on_any_stream(name: str, rows: list[tuple[int, int, int]]) -> None:
    t, events = START, []
    for step, a, b in rows:
        t += step
        events.append(Event(t, a, b))
    check(name, events)


@pytest.mark.parametrize("name", ["Ring", "Vwap", "TimeWeightedWindow", "Buckets"])
def test_time_never_goes_backwards(name: str) -> None:
    """An earlier stamp counts as the last one."""
    rng = np.random.default_rng(5)
    case = CASES[name]
    window, straight = (CLASSES[name](*case.arguments) for _ in range(2))
    t = latest = START
    for _ in range(300):
        t += int(rng.integers(-50 * MS, 80 * MS))
        latest = max(latest, t)
        a, b = int(rng.integers(-9, 10)), int(rng.integers(1, 100))
        case.feed(window, Event(t, a, b))
        case.feed(straight, Event(latest, a, b))
        assert case.read(window, t) == case.read(straight, latest)


@pytest.mark.parametrize("name", ["Ring", "Vwap", "TimeWeightedWindow", "Buckets"])
def test_reset_forgets(name: str) -> None:
    case = CASES[name]
    events = stream(np.random.default_rng(1), STREAMS["ordinary"], 80)
    used, fresh = (CLASSES[name](*case.arguments) for _ in range(2))
    for event in events[:40]:
        case.feed(used, event)
    used.reset()
    for event in events[40:]:
        case.feed(used, event)
        case.feed(fresh, event)
    ours, expected = case.read(used, events[-1].t), case.read(fresh, events[-1].t)
    assert ours == expected


def test_overflow_lasts_until_the_lost_entries_would_have_left() -> None:
    ring = CLASSES["Ring"](4, [100, 1000], 1)
    for t in range(1, 7):  # entries of t = 1 and 2 are given up at t = 5 and 6
        ring.push(t, 1)
    assert [ring.whole(0), ring.whole(1)] == [False, False]
    ring.advance(101)
    assert not ring.whole(0)
    ring.advance(102)  # the entry of t = 2 lies on the border: out
    assert [ring.whole(0), ring.whole(1)] == [True, False]
    ring.advance(1002)
    assert ring.whole(1)


def test_skipped_time_neither_decays_nor_counts() -> None:
    cut, whole = (CLASSES["EwmaVarianceWindow"](SECOND) for _ in range(2))
    for window in (cut, whole):
        window.start(0)
        window.add(SECOND, 2.0)
    before = cut.rate(9 * SECOND)
    cut.skip(2 * SECOND, 9 * SECOND)
    assert cut.rate(9 * SECOND) > before and math.isclose(
        cut.rate(9 * SECOND), whole.rate(2 * SECOND), rel_tol=1e-12
    )
    assert math.isclose(cut.rate(10 * SECOND), whole.rate(3 * SECOND), rel_tol=1e-12)


def test_time_weighted_keeps_to_the_bit_over_ten_million_ticks() -> None:
    """128-bit integers: a day of large values leaves no trace once the window has passed."""
    window = CLASSES["TimeWeightedWindow"](16, SECOND)
    for k in range(20_000):
        window.set(START + k * 400 * MS, 10_000_000 + (k % 3) * 7)
    t = START + 20_000 * 400 * MS + 5 * SECOND
    window.set(t, 100)
    window.set(t + SECOND // 2, 106)
    window.advance(t + SECOND)
    assert [window.mean, window.variance] == [103.0, 9.0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Ring", (3, [1], 1)),
        ("Ring", (4, [2, 1], 1)),
        ("Ring", (4, [1], 9)),
        ("Vwap", (3, [1])),
        ("TimeWeightedWindow", (1, 5)),
        ("TimeWeightedWindow", (4, 61 * SECOND)),
        ("Buckets", ([0],)),
        ("Buckets", ([1], 99)),
        ("EwmaVarianceWindow", (0,)),
        ("EwmaMeanWindow", (0,)),
        ("EwmaCorrelationWindow", (0.0,)),
    ],
)
def test_wrong_argument_is_refused(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CLASSES[name](*arguments)


@pytest.fixture(scope="module")
def tape(data_dir: Path) -> list[Event]:
    """BTC perpetual: spread or price moves as the value, sizes as weights."""
    events, mid = [], 0
    for row in top_and_trades(data_dir, "usdm", "btcusdt", 6000):
        if isinstance(row, Quote):
            move = row.bid_ticks + row.ask_ticks - (mid or row.bid_ticks + row.ask_ticks)
            mid = row.bid_ticks + row.ask_ticks
            events.append(Event(row.t, row.ask_ticks - row.bid_ticks + move, row.bid_lots + 1))
        else:
            events.append(Event(row.t, 3 - 2 * row.aggressor, row.lots))
    return events


@pytest.mark.realdata
@pytest.mark.parametrize("name", CASES)
def test_window_equals_its_twin_on_a_recorded_tape(name: str, tape: list[Event]) -> None:
    """Rings small enough to overflow."""
    assert check(name, tape, every=20) >= 300
