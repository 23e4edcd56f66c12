"""One stream, labelled by the engine as it learns and by the dataset's labels afterwards: the same, row by row."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from quotelife.config import Config
from quotelife.decision.held_tolerance import FROZEN, HeldTolerance
from quotelife.decision.life import PostureLife
from quotelife.engine import Engine
from quotelife.inputs import InputTap
from quotelife.learn.dataset import ReferencePath
from quotelife.learn.labels import first_passage_ns, observed_ns
from quotelife.learn.recorder import Recorder
from quotelife.model.curve import first_passage
from quotelife.model.recalibration import RollingCalibration
from quotelife.records import (
    DecisionCode,
    DecisionRecord,
    EventBuffer,
    EventFlags,
    EventKindCode,
    PostureCode,
    QualityCode,
    RequestRecord,
    StatusKind,
)

MS = 1_000_000
S = 1000 * MS
T0 = 1_700_000_000 * S
ANCHOR_NS = (500 * MS, 2 * S)
LIFE = 2
LATENCY_NS = 7 * MS
RATE = 0.02
RIDGE = 1.0
POSTURES = {
    PostureCode.CLIENT_PRIORITY: "client_priority",
    PostureCode.LIQUIDITY_PROVIDER: "liquidity_provider",
    PostureCode.RISK_AVERSE: "risk_averse",
}


def config(reference: str) -> Config:
    posture = {
        "tolerance_source": "curve",
        "life_min": "25ms",
        "held_tolerance": {"enabled": True, "rate": RATE, "target": 1.0},
    }
    content = {
        "version": 1,
        "model": {"artifact": "first_passage"},
        "instruments": [
            {
                "name": "EUR",
                "venue": "fx",
                "symbol": "EUR",
                "tick_size": "0.1",
                "lot_size": "1",
                "quotes_only": True,
                "warmup": "100ms",
                "stale": {"min": "1s", "max": "2s"},
                "reference": reference,
                "adverse_ticks": 8,
            }
        ],
        "learning": {
            "latency": f"{LATENCY_NS // MS}ms",
            "probe_interval": "0s",
            "recalibration": {"enabled": True, "refit": "1ns", "ridge": RIDGE, "window": "10min"},
        },
    }
    weightless = json.loads(Config.model_validate_json(json.dumps(content)).model_dump_json(by_alias=True))
    for name in POSTURES.values():
        weights = weightless["postures"][name]["weights"]
        weightless["postures"][name] |= posture | {"weights": dict.fromkeys(weights, 0.0)}
    return Config.model_validate_json(json.dumps(weightless))


class Stream(NamedTuple):
    engine: Engine
    decisions: list[DecisionRecord]  # those with a curve
    labels: list[Any]  # as the engine resolved them
    stamps: npt.NDArray[np.int64]  # of messages
    path: ReferencePath
    rows: dict[str, npt.NDArray[Any]]


def play(reference: str, seed: int, steps: int = 6_000) -> Stream:
    """Several messages a stamp, some of them far away; crossed books, losses, halts, silence, a lost line."""
    rng = np.random.default_rng(seed)
    engine = Engine(config(reference), start_ns=T0)
    recorder, labels, stamps, decisions = Recorder(engine), [], [], []

    def tap(name: str, sequence: int, *values: Any) -> None:
        if name == "label":
            assert values[0]["input_sequence"] == sequence == engine.input_sequence
            labels.append(values[0].copy())

    engine.record_to(recorder, InputTap(tap))
    now, bid = T0, 10_000
    last = EventFlags.LAST

    def event(kind: EventKindCode, **fields: int) -> None:
        buffer = EventBuffer(4)
        named = {"instrument": 0, "flags": last, "receive_ns": now, "sequence": len(stamps) + 1}
        buffer.append(kind, **(named | fields))
        engine.on_events(buffer)
        stamps.append(now)

    def quote(bid: int, ask: int) -> None:
        lots = rng.integers(1, 4, 2).tolist()
        event(EventKindCode.QUOTE, price_ticks=bid, size_lots=lots[0], order_id=ask, aux=lots[1])

    def ask(at_ns: int) -> None:
        for side in (1, -1):
            decided = DecisionRecord()
            engine.decide(RequestRecord(0, side, now_ns=at_ns), decided)
            if decided.quality == QualityCode.GOOD and decided.h_ticks > 0:
                decisions.append(decided)

    for step in range(steps):
        chance = rng.random()
        silence = 5 * S if chance < 0.0005 else 0
        gap_ns = int(rng.exponential(30 * MS)) + 2 + silence
        for at in sorted(rng.integers(1, gap_ns, int(rng.integers(0, 3))).tolist() if silence == 0 else [MS]):
            ask(now + at)
        now += gap_ns
        bid += int(rng.integers(-1, 2))
        if 0.0005 <= chance < 0.0012:
            event(EventKindCode.CLEAR, flags=last | EventFlags.GAP)
        elif 0.0012 <= chance < 0.003:
            event(EventKindCode.STATUS, aux=StatusKind.HALT)
        elif 0.003 <= chance < 0.0032:
            event(EventKindCode.STATUS, aux=StatusKind.FEED_DOWN, instrument=2**32 - 1)
        elif chance < 0.2:
            event(EventKindCode.STATUS, aux=StatusKind.TRADING)
        for _ in range(int(rng.integers(0, 3))):
            away = int(rng.integers(-6, 7))
            quote(bid + away, bid + away + int(rng.choice([2, 2, -1])))
            if rng.random() < 0.05:
                ask(now)
        quote(bid, bid + (-1 if 0.2 <= chance < 0.207 else 2))
        if step == steps // 2:
            engine.apply_model(engine.model, now)  # the same one: nothing is swapped
    now += 10 * MS
    event(EventKindCode.CLEAR, flags=last | EventFlags.GAP)
    for _ in range(2):
        now += 10 * MS
        event(EventKindCode.STATUS, aux=StatusKind.HEARTBEAT)
    return Stream(
        engine,
        decisions,
        labels,
        np.unique(stamps),
        ReferencePath(*recorder.path(0)),
        recorder.rows(0),
    )


class Offline(NamedTuple):
    passage_ns: npt.NDArray[np.int64]
    observed_ns: npt.NDArray[np.int64]

    def known(self, horizon_ns: int | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """1, 0 or −1 for a horizon that counts only where it was seen to its end."""
        hit = (self.passage_ns <= horizon_ns).astype(np.int64)
        return np.where(self.observed_ns >= horizon_ns, hit, -1)


def offline(stream: Stream, reference: str) -> Offline:
    now, side = stream.rows["now_ns"], stream.rows["side"]
    watched = observed_ns(stream.path, now, latency_ns=LATENCY_NS, longest_ns=5 * S)
    passed = first_passage_ns(
        stream.path,
        reference,
        now,
        side,
        stream.rows[f"{reference}_ticks"],
        stream.rows["h_ticks"],
        latency_ns=LATENCY_NS,
        observed_ns=watched,
    )
    return Offline(passed, watched)


@pytest.fixture(scope="module", params=[("mid", 1), ("microprice", 2)], ids=["mid", "microprice"])
def played(request: pytest.FixtureRequest) -> tuple[Stream, Offline]:
    reference, seed = request.param
    stream = play(reference, seed)
    assert [d.now_ns for d in stream.decisions] == stream.rows["now_ns"].tolist()
    assert [d.side for d in stream.decisions] == stream.rows["side"].tolist()
    return stream, offline(stream, reference)


def differing(found: Sequence[Any], expected: Sequence[Any]) -> list[tuple[int, Any, Any]]:
    """(row, found, expected) of the first few that differ."""
    pairs = enumerate(zip(found, expected, strict=True))
    return [(row, one, other) for row, (one, other) in pairs if one != other][:5]


def live(stream: Stream, part: int) -> list[int | None]:
    """By decision, None where there is no such label."""
    found = {int(label["decision"]): int(label["hit"]) for label in stream.labels if label["part"] == part}
    return [found.get(d.input_sequence) for d in stream.decisions]


@pytest.mark.parametrize("anchor", [0, 1])
def test_labels_at_the_anchors_are_those_of_the_dataset(played: tuple[Stream, Offline], anchor: int) -> None:
    stream, labels = played
    expected = labels.known(ANCHOR_NS[anchor]).tolist()
    assert differing(live(stream, anchor), expected) == []
    assert min(expected.count(each) for each in (1, 0, -1)) > 100


def test_labels_of_lives_are_those_of_the_dataset(played: tuple[Stream, Offline]) -> None:
    """A passage before a hole is one; a life that a hole cuts short without one is unknown."""
    stream, labels = played
    minimum = {
        code: getattr(stream.engine.config.postures, name).life_min_ns for code, name in POSTURES.items()
    }
    lives = np.array(
        [
            d.life_ns if d.kind == DecisionCode.QUOTE else minimum[PostureCode(d.posture_effective)]
            for d in stream.decisions
        ]
    )
    hit = labels.passage_ns <= np.minimum(lives, labels.observed_ns)
    expected = np.where(hit, 1, np.where(labels.observed_ns >= lives, 0, -1)).tolist()
    assert differing(live(stream, LIFE), expected) == []
    assert min(expected.count(each) for each in (1, 0)) > 50 and expected.count(-1) > 10


def test_the_tolerance_in_force_is_that_of_the_lives_offline(played: tuple[Stream, Offline]) -> None:
    stream, labels = played
    moved = 0
    for code, name in POSTURES.items():
        rows = [i for i, d in enumerate(stream.decisions) if d.posture_effective == code]
        settings = getattr(stream.engine.config.postures, name)
        if not rows:
            continue
        mine = [stream.decisions[i] for i in rows]
        out = HeldTolerance(settings.tolerance, RATE).lives(
            PostureLife(settings),
            [d.now_ns for d in mine],
            np.array([d.p for d in mine]),
            labels.passage_ns[rows],
            labels.observed_ns[rows],
            latency_ns=LATENCY_NS,
            heard_ns=stream.stamps,
        )
        assert (out.by != FROZEN).all()
        assert differing([d.held_alpha for d in mine], out.alpha.tolist()) == []
        assert differing([d.life_ns for d in mine], out.life_ns.tolist()) == []
        moved += len(set(out.alpha.tolist()))
    assert moved > 100


def test_the_pairs_in_force_are_those_of_the_labels_offline(played: tuple[Stream, Offline]) -> None:
    """A label counts from the second message behind its end on, as it does for a life."""
    stream, labels = played
    twin = RollingCalibration(600 * S, ridge=RIDGE, refit_ns=0)
    raw = [first_passage(d.h_ticks, d.sigma_ticks)[[5, 9]] for d in stream.decisions]
    pending = []
    for anchor, tau in enumerate(ANCHOR_NS):
        for i, hit in enumerate(labels.known(tau).tolist()):
            end = stream.decisions[i].now_ns + LATENCY_NS + tau
            place = int(np.searchsorted(stream.stamps, end, side="right")) + 1
            if hit >= 0:
                pending.append((int(stream.stamps[place]), end, anchor, i, hit))
    pending.sort(key=lambda each: each[:2])
    moved, latest = 0, 0
    for d in stream.decisions:
        while pending and pending[0][0] <= d.now_ns:
            _, end, anchor, i, hit = pending.pop(0)
            hits = [-1, -1]
            hits[anchor] = hit
            twin.add(end, raw[i], hits)
            latest = end
        expected = twin.at(latest).ravel()
        assert d.calibration == pytest.approx(tuple(expected), abs=1e-9)
        moved += d.calibration != (0.0, 1.0, 0.0, 1.0)
    assert moved > 500


def test_labels_are_numbered_and_say_what_they_moved(played: tuple[Stream, Offline]) -> None:
    stream, _ = played
    assert [int(label["number"]) for label in stream.labels] == list(range(1, len(stream.labels) + 1))
    alpha: dict[int, float] = {}
    for label in stream.labels:
        if label["part"] != LIFE:
            continue
        posture = int(label["posture"])
        start = getattr(stream.engine.config.postures, POSTURES[PostureCode(posture)]).tolerance
        before = alpha.get(posture, start)
        assert float(label["alpha"]) == pytest.approx(before + float(label["moved"]), abs=1e-15)
        alpha[posture] = float(label["alpha"])
