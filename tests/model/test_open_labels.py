"""Open labels against a list that is searched whole at every step."""

import math

import numpy as np
import pytest

from quotelife.model.open_labels import OpenLabelsView

END_NS = (500_000_000, 2_000_000_000, 5_000_000_000)
MS = 1_000_000


class Twin:
    """Every label in a list; nothing clever."""

    def __init__(self) -> None:
        self.labels: list[dict[str, float]] = []
        self.told = [0, 0, 0]

    def moved(self, t: int, x: float, watched: int) -> set[tuple[int, int]]:
        found = set()
        for i, label in enumerate(self.labels):
            if (
                label["watched"] == watched
                and label["passage"] < 0
                and x >= label["key"]
                and i >= self.told[2]
            ):
                label["passage"] = t - label["at"]
                found.add((int(label["at"]), int(label["passage"])))
        return found

    def due(self, end: int, t: int) -> list[tuple[int, int]]:
        found = []
        while self.told[end] < len(self.labels) and self.labels[self.told[end]]["at"] + END_NS[end] < t:
            label = self.labels[self.told[end]]
            found.append((int(label["at"]), int(label["passage"])))
            self.told[end] += 1
        return found


@pytest.mark.parametrize("seed", range(6))
def test_passages_and_ends_are_those_of_a_whole_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, twin = OpenLabelsView(), Twin()
    t, x = 0, [0.0, 0.0, 0.0, 0.0]
    for step in range(20_000):
        t += int(rng.exponential(8 * MS))
        if rng.random() < 0.002:
            labels.censor()
            twin.told = [len(twin.labels)] * 3
        for end in range(3):
            assert labels.due(end, t) == twin.due(end, t), (seed, step, end)
        watched = int(rng.integers(4))
        x[watched] += float(rng.normal(0.0, 0.7))
        assert set(labels.moved(t, x[watched], watched)) == twin.moved(t, x[watched], watched), (seed, step)
        if rng.random() < 0.7:
            watched = int(rng.integers(4))
            key = x[watched] + float(rng.integers(1, 12)) / 2
            assert labels.add(t, key, watched)
            twin.labels.append({"at": t, "key": key, "watched": watched, "passage": -1})
        assert labels.open == len(twin.labels) - twin.told[2]


def test_a_touch_at_the_very_end_of_a_horizon_counts_as_within() -> None:
    labels = OpenLabelsView()
    labels.add(0, 1.0)
    assert labels.due(0, END_NS[0]) == []
    assert labels.moved(END_NS[0], 1.0) == [(0, END_NS[0])]


def test_beyond_its_room_nothing_is_watched_and_all_is_counted() -> None:
    labels = OpenLabelsView()
    taken = [labels.add(i, 1.0) for i in range(1030)]
    assert sum(taken) == 1024
    assert labels.overflowed == 6
    assert len(labels.due(2, END_NS[2] + 11)) == 11
    assert labels.add(END_NS[2] + 11, 1.0)


def test_what_was_lost_sight_of_is_never_told() -> None:
    labels = OpenLabelsView()
    labels.add(0, 1.0)
    labels.censor()
    assert labels.moved(1, math.inf) == []
    assert labels.due(2, 2**60) == []
    assert labels.censored == 1
