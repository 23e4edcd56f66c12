"""Heaps of live quotes against a plain list."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.quotes.live_quotes import LiveQuotesView

INSTRUMENTS = 3
KEYS = st.integers(-6, 6).map(float)
SIDES = st.lists(
    st.tuples(st.integers(0, INSTRUMENTS - 1), st.sampled_from((-1, 1)), KEYS), min_size=1, max_size=4
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.integers(0, 40), SIDES, st.integers(0, 3).map(float)),
        st.tuples(st.just("move"), st.integers(0, INSTRUMENTS - 1), st.integers(-6, 6)),
        st.tuples(st.just("time"), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.integers(0, 30)),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("turn")),
    ),
    max_size=80,
)


class PlainQuotes:
    """What the heaps do, by looking at everything."""

    def __init__(self) -> None:
        self.live: dict[int, tuple[int, list[tuple[int, int, float]], float]] = {}
        self.waits: set[int] = set()

    def passed(self, instrument: int, mid: float) -> list[int]:
        found: list[int] = []
        for side in (1, -1):
            hit = sorted(
                (key, id)
                for id, (_, sides, _) in self.live.items()
                if id not in self.waits
                for at, way, key in sides
                if at == instrument and way == side and -side * mid >= key
            )
            for _, id in hit:
                if id in self.live:
                    found.append(id)
                    self.end(id)
        return found

    def due(self, t: int) -> list[int]:
        found = sorted((end, id) for id, (end, _, _) in self.live.items() if end <= t)
        for _, id in found:
            self.end(id)
        return [id for _, id in found]

    def waiting(self) -> list[int]:
        found = sorted(self.waits, key=lambda id: (-self.live[id][2], id))
        for id in found:
            self.end(id)
        return found

    def triggers(self) -> list[float]:
        return [
            min(
                (
                    key
                    for id, (_, sides, _) in self.live.items()
                    if id not in self.waits
                    for at, way, key in sides
                    if at == instrument and way == side
                ),
                default=math.inf,
            )
            for instrument in range(INSTRUMENTS)
            for side in (1, -1)
        ]

    def watched(self) -> list[int]:
        return sorted(
            {at for id, (_, sides, _) in self.live.items() if id not in self.waits for at, _, _ in sides}
        )

    def end(self, id: int) -> None:
        self.live.pop(id, None)
        self.waits.discard(id)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_order_of_events_ends_the_same_quotes_in_the_same_order(steps) -> None:
    view, plain = LiveQuotesView(INSTRUMENTS), PlainQuotes()
    opened = 0
    held: set[int] = set()
    for step in steps:
        if step[0] == "open":
            opened += 1
            held.add(opened)
            view.open(opened, step[1], step[2], step[3])
            plain.live[opened] = (step[1], step[2], step[3])
        elif step[0] == "move":
            assert view.passed(step[1], step[2]) == plain.passed(step[1], step[2])
        elif step[0] == "time":
            assert view.due(step[1]) == plain.due(step[1])
        elif step[0] == "wait" and step[1] in plain.live:
            view.wait(step[1])
            plain.waits.add(step[1])
        elif step[0] == "drop" and step[1] in held:
            held.discard(step[1])
            view.drop(step[1])
            plain.end(step[1])
        elif step[0] == "turn":
            assert view.waiting() == plain.waiting()
        assert view.triggers() == plain.triggers()
        assert view.watched() == plain.watched()
        assert len(view) == len(plain.live)


def test_room_is_used_again() -> None:
    view = LiveQuotesView(1)
    for number in range(1, 1000):
        view.open(number, number, [(0, 1, 0.0), (0, -1, 0.0)])
        view.drop(number)
    held = view.memory_bytes
    for number in range(1000, 100_000):
        view.open(number, number, [(0, 1, 0.0), (0, -1, 0.0)])
        view.drop(number)
    assert view.memory_bytes == held
