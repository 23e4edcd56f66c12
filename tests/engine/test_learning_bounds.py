"""What learning may take: probes in their turn, memory for what serves, and only what an engine can have written."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quotelife.config import Config
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import Change, InputTap
from quotelife.model.artifact import load_artifact, save_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.lineup import LineUp, Serving
from quotelife.records import EventBuffer, EventKindCode, StatusKind
from reference import jump_kit
from reference.jump_kit import RATE, START_NS

MS = 1_000_000
S = 1000 * MS
TIMER_NS = 100 * MS
PROBES_A_TIMER = 64


def one(window: str = "15min", start_ns: int = START_NS) -> Engine:
    config = jump_kit.config(
        {"enabled": False}, recalibration={"enabled": True, "window": window, "refit": "100ms"}
    )
    return Engine(config, model=jump_kit.model(RATE), start_ns=start_ns)


def run(engine: Engine, seconds: float) -> None:
    for now_ns, buffer in jump_kit.quotes([(seconds, RATE)], 1, start_ns=engine.now_ns):
        engine.on_events(buffer)
        engine.on_timer(now_ns)


def noted(engine: Engine) -> dict[str, Any]:
    told: list[dict[str, Any]] = []
    engine.record_to(InputTap(lambda name, _, *v: told.append(v[1]) if v[0] is Change.LEARNED else None))
    assert engine.note_learned(engine.now_ns + 11 * S) == 1
    return told[0]


def parts_of(payload: dict[str, Any]) -> dict[str, str]:
    (model,) = payload["groups"][0]["models"].values()
    parts: dict[str, str] = model["parts"]
    return parts


def test_near_time_zero_only_parts_of_times_that_were_are_noted() -> None:
    engine = one(start_ns=0)
    run(engine, 60)
    labels = engine.learned()[0].labels
    payload = noted(engine)
    assert {int(number) for number in parts_of(payload)} <= set(range(5))
    again = one(start_ns=0)
    again.apply_learned(payload, engine.now_ns)
    assert again.learned()[0].labels == labels and labels[0][0] > 100


def cell(anchor: int, place: int, n: int, hits: int, z: int) -> bytes:
    return bytes([anchor, place]) + b"".join(
        each.to_bytes(size, "little", signed=True) for each, size in ((n, 4), (hits, 4), (z, 8))
    )


@pytest.mark.parametrize(
    ("number", "cells"),
    [
        (-40, None),
        (2**70, None),
        (2**62, None),
        (None, cell(0, 3, 5, 1, 0) * 2),
        (None, cell(0, 3, 0, 0, 0)),
        (None, cell(0, 3, 5, 6, 0)),
        (None, cell(0, 3, 5, 1, 5 * 16 * 2**24 + 1)),
        (None, cell(0, 3, 2**31 - 1, 1, 0)),
    ],
)
def test_labels_that_no_engine_can_have_noted_are_refused_before_anything_changes(
    number: int | None, cells: bytes | None
) -> None:
    """A good part stands before the bad one, and it is not taken either."""
    from base64 import b64encode

    engine = one()
    run(engine, 60)
    good = noted(engine)
    bad = copy.deepcopy(good)
    parts = parts_of(bad)
    text = next(iter(parts.values())) if cells is None else b64encode(cells).decode()
    parts[str(max(map(int, parts)) if number is None else number)] = text
    fresh = one()
    before = fresh.input_sequence
    with pytest.raises(QuotelifeError, match="learned"):
        fresh.apply_learned(bad, engine.now_ns)
    assert fresh.input_sequence == before and fresh.learned()[0].labels == ((0, 0), (0, 0))
    fresh.apply_learned(good, engine.now_ns)
    assert fresh.learned()[0].labels == engine.learned()[0].labels


def many(instruments: int, probe: str) -> Engine:
    content = json.loads(
        jump_kit.config({"enabled": False}, recalibration={"enabled": True}).model_dump_json(by_alias=True)
    )
    content["learning"]["probe_interval"] = probe
    names = [f"I{i}" for i in range(instruments)]
    content["instruments"] = [{**content["instruments"][0], "name": name, "symbol": name} for name in names]
    config = Config.model_validate_json(json.dumps(content))
    return Engine(config, model=jump_kit.model(RATE), start_ns=START_NS)


def probes_by_timer(engine: Engine, instruments: int, seconds: int) -> list[int]:
    """Each instrument has one message between two timers."""
    buffer, told, before = EventBuffer(65536), [], 0
    for step in range(seconds * 10):
        buffer.clear()
        for i in range(instruments):
            jump_kit.put(buffer, START_NS + step * TIMER_NS + i, instrument=i)
        engine.on_events(buffer)
        opened = engine.label_counts()[0]
        engine.on_timer(START_NS + (step + 1) * TIMER_NS)
        told.append((engine.label_counts()[0] - opened) // 2)
        before = opened
    assert before > 0
    return told


def test_quiet_instruments_are_not_all_probed_at_the_same_timer() -> None:
    """Of 50 that are due every 250 ms some 20 are due within 100."""
    engine = many(50, "250ms")
    told = probes_by_timer(engine, 50, 6)[20:]
    assert max(told) <= 28 and min(told) >= 12
    opened = [group.opened for group in engine.learned()]
    assert max(opened) - min(opened) <= 4


def test_a_timer_probes_no_more_than_its_budget_and_everybody_has_his_turn() -> None:
    engine = many(200, "50ms")
    told = probes_by_timer(engine, 200, 12)[20:]
    assert max(told) == min(told) == PROBES_A_TIMER
    opened = [group.opened for group in engine.learned()]
    assert min(opened) > 0 and max(opened) - min(opened) <= 4


def test_instruments_that_are_not_good_take_no_probes_from_those_that_are() -> None:
    """300 are halted and 20 are not; all of these are asked as often as the interval says."""
    engine = many(320, "250ms")
    buffer = EventBuffer(65536)
    for i in range(320):
        jump_kit.put(buffer, START_NS, instrument=i)
    for i in range(20, 320):
        buffer.append(EventKindCode.STATUS, instrument=i, receive_ns=START_NS, aux=StatusKind.HALT)
    engine.on_events(buffer)
    for step in range(120):
        buffer.clear()
        for i in range(20):
            jump_kit.put(buffer, START_NS + step * TIMER_NS + i, instrument=i)
        engine.on_events(buffer)
        engine.on_timer(START_NS + (step + 1) * TIMER_NS)
    opened = [group.opened for group in engine.learned()]
    assert max(opened[20:]) == 0
    assert min(opened[:20]) >= 2 * 4 * 10 - 8


def test_the_calm_between_messages_is_asked_about_as_the_storm_behind_them_is() -> None:
    """Six moves 300 ms apart, then 10 to 20 s of nothing: within 500 ms of a random moment a tick is passed some .07 of
    the time. Asked only behind messages it would be .4."""
    rng = np.random.default_rng(3)
    engine = one("1h")
    buffer, bid, at_ns, times, bids = EventBuffer(16), 1_000_000, START_NS + 2 * S, [], []
    while at_ns < START_NS + 1500 * S:
        for k in range(6):
            bid += 3 * int(rng.choice([-1, 1]))
            times.append(at_ns + k * 300_000_000)
            bids.append(bid)
        at_ns += int(rng.uniform(10, 20) * S)
    done = 0
    for now_ns in range(START_NS, START_NS + 1500 * S, TIMER_NS):
        while done < len(times) and times[done] <= now_ns:
            buffer.clear()
            jump_kit.put(buffer, times[done], bids[done])
            engine.on_events(buffer)
            done += 1
        engine.on_timer(now_ns)
    at = rng.integers(START_NS + 10 * S, START_NS + 1400 * S, 20_000)
    moves = np.searchsorted(times, at, side="right"), np.searchsorted(times, at + S // 2, side="right")
    passed = np.zeros((20_000, 2))
    for row, (first, last) in enumerate(zip(*moves, strict=True)):
        path = np.array(bids[first - 1 : last]) - bids[first - 1]
        passed[row] = path.max() >= 1, path.min() <= -1
    truth = passed.mean()
    ((labels, hits), _) = engine.learned()[0].labels
    assert 0.04 < truth < 0.10 and labels > 9_000
    assert abs(hits / labels - truth) < 0.015


def artifact(folder: Path, number: int) -> CurveModel:
    model = jump_kit.model(RATE * (1 + number / 100))
    return load_artifact(
        save_artifact(model, folder, name=f"m{number}", description="x", folder=f"m{number}")
    )


def test_a_model_that_the_same_line_up_names_is_not_forgotten_for_a_new_one(tmp_path: Path) -> None:
    """All 16 places are taken and hold labels; the oldest comes back beside a model that is new."""
    models = [artifact(tmp_path, i) for i in range(17)]
    by_digest = {model.digest: model for model in models}
    engine = one("1h")

    def serve(first: int, second: int) -> None:
        engine.apply_lineup(
            LineUp(
                client_priority=Serving(champion=models[first].digest),
                liquidity_provider=Serving(champion=models[first].digest),
                risk_averse=Serving(champion=models[second].digest),
            ),
            by_digest,
            engine.now_ns,
        )

    def labels(number: int) -> Any:
        digest = models[number].digest[:16]
        return [each.labels for each in engine.learned()[0].models if each.model == digest]

    serve(0, 0)
    run(engine, 10)
    before = labels(0)
    for i in range(1, 16):
        serve(i, i)
        run(engine, 5)
    assert len(engine.learned()[0].models) == 16 and labels(0) and labels(1)
    serve(16, 0)
    assert labels(0)[0][0] >= before[0][0] and labels(0)[0][0][0] > 0
    assert labels(16) == [((0, 0), (0, 0))]


def test_what_was_learned_of_a_model_that_serves_no_more_is_freed_with_its_last_label(tmp_path: Path) -> None:
    """Six models one after the other, each for longer than the window: room for two is all that is ever taken."""
    models = [artifact(tmp_path, i) for i in range(6)]
    engine = one("10s")
    unasked = engine.instrument_status(0, START_NS).memory_bytes
    sizes, places = [], []
    for model in models:
        engine.apply_lineup(LineUp(client_priority=Serving(champion=model.digest),
                                   liquidity_provider=Serving(champion=model.digest),
                                   risk_averse=Serving(champion=model.digest)), {model.digest: model},
                            engine.now_ns)  # fmt: skip
        run(engine, 25)
        sizes.append(engine.learned()[0].memory_bytes)
        places.append(len(engine.learned()[0].models))
    assert set(sizes) == {sizes[0]} and sizes[0] > 0
    assert max(places) <= 2
    taken = engine.instrument_status(0, engine.now_ns).memory_bytes - unasked
    assert (
        150_000 < taken < 200_000
    )  # the pool of labels and the curves of two models, none of it before the first label
