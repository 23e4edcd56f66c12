"""Open labels against a list that is searched whole at every step."""

import math
from typing import Any

import numpy as np
import pytest

from quotelife.model.open_labels import OpenLabelsView

ANCHOR_NS = (500_000_000, 2_000_000_000)
LIFE = 2
MS = 1_000_000
FAR = (-math.inf,) * 4
Told = tuple[int, int, int, int, int]


class Twin:
    """Every label in a list; nothing clever."""

    def __init__(self) -> None:
        self.labels: list[dict[str, Any]] = []

    def add(self, sequence: int, live: int, key: float, watched: int, life: int, anchors: list[int]) -> None:
        ages = {part: ANCHOR_NS[part] for part in anchors} | ({LIFE: life} if life else {})
        new = {"n": sequence, "live": live, "key": key, "w": watched, "ages": ages, "passed": -1, "on": False}
        self.labels.append(new)

    def due(self, until: int, x: list[float]) -> list[Told]:
        found = []
        while True:
            waiting = [(each["live"], 0, each["n"], -1, each) for each in self.labels if not each["on"]]
            for each in self.labels:
                if each["on"] and each["ages"]:
                    age, part = min((age, part) for part, age in each["ages"].items())
                    waiting.append((each["live"] + age, 1, each["n"], part, each))
            waiting = [each for each in waiting if each[0] < until]
            if not waiting:
                break
            at, _, sequence, part, label = min(waiting, key=lambda each: each[:3])
            if part >= 0:
                age = label["ages"].pop(part)
                found.append((sequence, part, at, int(0 <= label["passed"] <= age), label["passed"]))
                continue
            label["on"] = True
            if x[label["w"]] >= label["key"]:
                found += self._pass(label, at)
        self._forget()
        return found

    def passed(self, t: int, x: list[float]) -> list[Told]:
        found: list[Told] = []
        for label in self.labels:
            if label["on"] and label["passed"] < 0 and x[label["w"]] >= label["key"]:
                found += self._pass(label, t)
        self._forget()
        return found

    def _pass(self, label: dict[str, Any], t: int) -> list[Told]:
        label["passed"] = t - label["live"]
        if label["ages"].pop(LIFE, None) is None:
            return []
        return [(label["n"], LIFE, t, 1, label["passed"])]

    def _forget(self) -> None:
        self.labels = [each for each in self.labels if each["ages"]]

    def lost(self, t: int) -> set[Told]:
        found = {(each["n"], part, t, -1, each["passed"]) for each in self.labels for part in each["ages"]}
        self.labels = []
        return found


@pytest.mark.parametrize("seed", range(4))
def test_answers_are_those_of_a_whole_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, twin = OpenLabelsView(), Twin()
    t, x = 0, [0.0, 0.0, 0.0, 0.0]
    told = [0, 0]
    for step in range(6_000):
        t += int(rng.exponential(20 * MS))
        if rng.random() < 0.002:
            lost = labels.lost(t)
            assert set(lost) == twin.lost(t) and len(set(lost)) == len(lost)
        due = labels.due(t, x)
        assert due == twin.due(t, x), (seed, step)
        x[int(rng.integers(4))] += float(rng.normal(0.0, 0.7))
        passed = labels.passed(t, x)
        assert sorted(passed) == sorted(twin.passed(t, x)), (seed, step)
        told[0] += len(due)
        told[1] += len(passed)
        if rng.random() < 0.7:
            watched = int(rng.integers(4))
            key = x[watched] + float(rng.integers(-1, 12)) / 2
            life = int(rng.choice([0, 30, 500, 700])) * MS
            anchors = [0, 1] if rng.random() < 0.6 or not life else []
            live = t + int(rng.choice([0, 5 * MS]))
            assert labels.add(step + 1, live, key, watched, life_ns=life, anchors=anchors)
            twin.add(step + 1, live, key, watched, life, anchors)
        assert labels.open == len(twin.labels)
    assert min(told) > 200


def test_a_touch_at_the_very_end_of_a_horizon_counts_as_within() -> None:
    labels = OpenLabelsView()
    labels.add(7, 0, 1.0, anchors=[0])
    assert labels.due(ANCHOR_NS[0], FAR) == []
    assert labels.passed(ANCHOR_NS[0], (1.0,) * 4) == []
    assert labels.due(ANCHOR_NS[0] + 1, FAR) == [(7, 0, ANCHOR_NS[0], 1, ANCHOR_NS[0])]


def test_a_place_is_free_as_soon_as_nothing_more_is_asked() -> None:
    labels = OpenLabelsView()
    labels.add(1, 0, 1.0, life_ns=100 * MS, anchors=[])
    labels.add(2, 0, 2.0, life_ns=100 * MS, anchors=[])
    labels.add(3, 0, 2.0, life_ns=100 * MS, anchors=[0])
    labels.due(1, FAR)
    labels.passed(10 * MS, (1.0,) * 4)
    assert labels.open == 2
    labels.due(100 * MS + 1, FAR)
    assert labels.open == 1
    labels.due(ANCHOR_NS[0] + 1, FAR)
    assert labels.open == 0


@pytest.mark.parametrize("rate", [1_000, 10_000, 50_000])
def test_a_burst_is_thinned_all_along_and_on_both_sides(rate: int) -> None:
    """Three seconds of it, both sides of each request; every tenth of a second gets its part."""
    labels = OpenLabelsView()
    taken = []
    for k in range(3 * rate):
        now = k // 2 * 2_000_000_000 // rate
        labels.due(now, FAR)
        taken.append(labels.add(k + 1, now, 1.0, anchors=[1]))
    assert labels.overflowed == 0
    assert labels.thinned == len(taken) - sum(taken) > 0
    later = np.array(taken[rate:], dtype=float)
    assert later.reshape(20, -1).sum(axis=1).min() >= 4
    assert 0.6 < later[::2].sum() / later[1::2].sum() < 1.7


def test_beyond_all_room_nothing_is_watched_and_all_is_counted() -> None:
    labels = OpenLabelsView()
    taken = sum(labels.add(k + 1, 0, 1.0) for k in range(300_000))
    assert labels.open == taken <= 1024
    assert taken + labels.thinned + labels.overflowed == 300_000


def test_probes_have_room_whatever_the_requests_do() -> None:
    labels = OpenLabelsView()
    for k in range(100_000):
        labels.add(k + 1, 0, 1.0)
    assert [labels.add(0, 0, 1.0) for _ in range(257)] == [True] * 256 + [False]


def test_what_was_lost_sight_of_is_told_as_that_and_never_again() -> None:
    labels = OpenLabelsView()
    labels.add(1, 5, 1.0, life_ns=9, anchors=[0])
    assert labels.lost(7) == [(1, 0, 7, -1, -1), (1, LIFE, 7, -1, -1)]
    assert labels.passed(8, (math.inf,) * 4) == []
    assert labels.due(2**60, FAR) == []
    assert (labels.open, labels.censored) == (0, 1)
