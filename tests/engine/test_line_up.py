"""Champions, canaries and shadows: who answers, what is told of it, and that shadows change nothing."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from engine.test_engine import MS, T0, TEXT, S, Tape, make_config, walk
from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.inputs import InputTap
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.lineup import LineUp, Serving, canary_place
from quotelife.records import DecisionRecord, ModelRoleCode, PostureCode, RequestRecord

NAMES = [f"cp{i:04d}" for i in range(2000)]
MODELS: dict[str, CurveModel] = {
    model.digest: model
    for model in (load_artifact(builtin_artifact(name)) for name in ("first_passage", "golden", "logistic"))
}
PASSAGE, GOLDEN, LOGISTIC = MODELS
EMPTY = LineUp()


def served(tmp_path: Path, lineup: LineUp = EMPTY, text: str = TEXT) -> tuple[Engine, int]:
    engine = Engine(make_config(tmp_path, text), lineup=lineup, models=MODELS, start_ns=T0)
    tape = Tape(engine)
    tape.snapshot(T0)
    return engine, walk(tape, T0, 30)


def ask(engine: Engine, t: int, counterparty: int = 0, side: int = 1) -> DecisionRecord:
    request = RequestRecord(instrument=0, side=side, now_ns=t, counterparty=counterparty)
    decision = DecisionRecord()
    engine.decide(request, decision)
    return decision


def test_each_posture_is_answered_by_its_own_champion(tmp_path: Path) -> None:
    lineup = EMPTY.put(PostureCode.LIQUIDITY_PROVIDER, Serving(champion=GOLDEN))
    engine, t = served(tmp_path, lineup)
    plain, _ = served(tmp_path)
    alpha, beta = ask(engine, t), ask(engine, t, 1)
    was_alpha, was_beta = ask(plain, t), ask(plain, t, 1)
    assert (alpha.posture_effective, beta.posture_effective) == (1, 2)
    assert alpha.p == was_alpha.p and beta.p != was_beta.p
    assert (engine.model_of(alpha).digest, engine.model_of(beta).digest) == (PASSAGE, GOLDEN)
    assert alpha.model_role == beta.model_role == ModelRoleCode.CHAMPION


def test_shadows_leave_every_decision_byte_for_byte_as_it_was(tmp_path: Path) -> None:
    shadowed = Serving(shadows=(GOLDEN, LOGISTIC))
    lineup = LineUp(shadowed, shadowed, shadowed)
    (engine, t), (plain, _) = served(tmp_path, lineup), served(tmp_path)
    for k in range(200):
        a, b = (ask(each, t + k * MS, k % 3, 1 if k % 2 else -1) for each in (engine, plain))
        assert a.canonical() == b.canonical()
    assert len(engine.shadows()) == 2 and len(plain.shadows()) == 0


def test_a_shadow_answers_what_it_would_have_answered_as_the_champion(tmp_path: Path) -> None:
    engine, t = served(tmp_path, EMPTY.put(PostureCode.CLIENT_PRIORITY, Serving(shadows=(GOLDEN,))))
    other, _ = served(tmp_path, EMPTY.put(PostureCode.CLIENT_PRIORITY, Serving(champion=GOLDEN)))
    ask(engine, t)
    (shadow,), would = engine.shadows(), ask(other, t)
    assert f"{int(shadow['model']):016x}" == GOLDEN[:16]
    assert tuple(shadow["p"].tolist()) == would.p
    for name in ("life_ns", "reasons", "binding", "kind", "input_sequence", "p_life", "h_ticks"):
        assert shadow[name] == getattr(would, name), name


def test_sinks_are_told_of_the_decision_and_then_of_its_shadows(tmp_path: Path) -> None:
    engine, t = served(tmp_path, EMPTY.put(PostureCode.CLIENT_PRIORITY, Serving(shadows=(GOLDEN, LOGISTIC))))
    told: list[tuple[str, int]] = []

    def tap(name: str, sequence: int, *values: Any) -> None:
        told.append((name, sequence))

    engine.record_to(InputTap(tap))
    n = ask(engine, t).input_sequence
    ask(engine, t, 1)  # of a posture without shadows
    assert told == [("decision", n), ("shadow", n), ("shadow", n), ("decision", n + 1)]


def canary_config() -> str:
    return TEXT.replace(
        "  alpha: {tier: strategic}\n  beta: {tier: regular}\n",
        "".join(f"  {name}: {{tier: strategic}}\n" for name in NAMES),
    )


def expected_place(digest: str, name: str) -> int:
    raw = hashlib.sha256(digest.encode() + b"\0" + name.encode()).digest()
    return sum(byte << 8 * (7 - i) for i, byte in enumerate(raw[:8])) % 10_000


def test_a_canary_takes_its_share_of_counterparties_and_always_the_same(tmp_path: Path) -> None:
    lineup = EMPTY.put(PostureCode.CLIENT_PRIORITY, Serving(challenger=GOLDEN, canary_bp=2500))
    engine, t = served(tmp_path, lineup, canary_config())
    roles = [ask(engine, t, i).model_role for i in range(len(NAMES))]
    chosen = [expected_place(GOLDEN, name) < 2500 for name in NAMES]
    assert roles == [ModelRoleCode.CHALLENGER if each else ModelRoleCode.CHAMPION for each in chosen]
    assert 0.22 < sum(chosen) / len(NAMES) < 0.28  # three standard deviations
    assert roles == [ask(engine, t + S, i).model_role for i in range(len(NAMES))]


def test_a_larger_canary_only_adds_counterparties() -> None:
    places = [canary_place(GOLDEN, name) for name in NAMES]
    for small, large in ((100, 500), (500, 5000), (5000, 10_000)):
        assert {i for i, p in enumerate(places) if p < small} <= {
            i for i, p in enumerate(places) if p < large
        }
    assert all(0 <= place < 10_000 for place in places)


def test_another_challenger_takes_other_counterparties() -> None:
    a, b = ({n for n in NAMES if canary_place(d, n) < 2500} for d in (GOLDEN, LOGISTIC))
    assert len(a & b) < 0.5 * min(len(a), len(b))


def test_where_the_challenger_serves_the_champion_is_its_shadow(tmp_path: Path) -> None:
    lineup = EMPTY.put(
        PostureCode.CLIENT_PRIORITY, Serving(challenger=GOLDEN, canary_bp=10_000, shadows=(GOLDEN,))
    )
    (engine, t), (plain, _) = served(tmp_path, lineup), served(tmp_path)
    decision = ask(engine, t)
    (shadow,), was = engine.shadows(), ask(plain, t)
    assert engine.model_of(decision).digest == GOLDEN
    assert f"{int(shadow['model']):016x}" == PASSAGE[:16]
    assert tuple(shadow["p"].tolist()) == was.p and shadow["life_ns"] == was.life_ns


def test_a_counterparty_that_is_not_configured_is_left_to_the_champion(tmp_path: Path) -> None:
    lineup = EMPTY.put(PostureCode.LIQUIDITY_PROVIDER, Serving(challenger=GOLDEN, canary_bp=10_000))
    engine, t = served(tmp_path, lineup)
    assert ask(engine, t, 0xFFFFFFFF).model_role == ModelRoleCode.CHAMPION


def test_a_swap_is_an_input_and_counts_one_revision(tmp_path: Path) -> None:
    engine, _ = served(tmp_path)
    told: list[Any] = []
    engine.record_to(InputTap(lambda *values: told.append(values)))
    before = engine.input_sequence
    lineup = EMPTY.put(PostureCode.RISK_AVERSE, Serving(champion=GOLDEN))
    assert engine.apply_lineup(lineup, MODELS, T0) == 2
    assert engine.input_sequence == before + 1
    ((name, sequence, kind, payload, _),) = told
    assert (name, sequence, kind.name) == ("change", before + 1, "MODEL")
    assert LineUp.from_json(payload["lineup"]) == lineup


def test_a_line_up_with_a_model_that_is_not_loaded_changes_nothing(tmp_path: Path) -> None:
    engine, _ = served(tmp_path)
    before = engine.input_sequence
    with pytest.raises(QuotelifeError, match="is not loaded"):
        engine.apply_lineup(EMPTY.put(PostureCode.RISK_AVERSE, Serving(champion="0" * 64)), MODELS, T0)
    assert (engine.input_sequence, engine.model_revision) == (before, 1)


def test_a_configuration_keeps_the_line_up(tmp_path: Path) -> None:
    engine, t = served(tmp_path, EMPTY.put(PostureCode.CLIENT_PRIORITY, Serving(champion=GOLDEN)))
    engine.apply_config(
        make_config(tmp_path, TEXT.replace("artifact: first_passage", "artifact: logistic")), t
    )
    assert engine.model_of(ask(engine, t)).digest == GOLDEN
    assert engine.model_of(ask(engine, t, 1)).digest == LOGISTIC


def test_a_record_taken_again_gives_the_same_shadows(tmp_path: Path) -> None:
    both = Serving(challenger=GOLDEN, canary_bp=5000, shadows=(LOGISTIC,))
    engine, t = served(tmp_path, LineUp(both, both, both))
    for k in range(50):
        request = RequestRecord(instrument=0, side=1, now_ns=t + k * MS, counterparty=k % 2)
        decision, again = DecisionRecord(), DecisionRecord()
        engine.decide(request, decision)
        shadows = engine.shadows()
        engine.redo(request, decision, again)
        assert again.canonical() == decision.canonical()
        assert len(shadows) in (1, 2)
        for each in shadows:
            assert each.tobytes() == engine.redo_shadow(request, decision, each).tobytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"challenger": GOLDEN},
        {"canary_bp": 5},
        {"challenger": GOLDEN, "canary_bp": 10_001},
        {"challenger": GOLDEN, "canary_bp": 1, "champion": GOLDEN},
        {"shadows": ("a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64)},
        {"shadows": (GOLDEN, GOLDEN)},
    ],
)
def test_a_line_up_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(QuotelifeError):
        Serving(**fields)
