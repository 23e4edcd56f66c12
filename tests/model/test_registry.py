"""A folder of models and its state: nothing half written, nothing lost, nothing forged."""

import json
import shutil
from pathlib import Path

import pytest

from quotelife.errors import ArtifactError, QuotelifeError
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.lineup import POSTURES, LineUp, Serving
from quotelife.model.registry import Act, Failure, Registry, RegistryState, all_or
from quotelife.records import PostureCode

A, B, C, D, E = (letter * 64 for letter in "abcde")
CP, LP, RA = POSTURES


def champions(state: RegistryState) -> list[str | None]:
    return [serving.champion for _, serving in state.lineup.items()]


def test_a_promotion_is_of_all_postures_or_of_those_named() -> None:
    state = RegistryState().promoted(A, POSTURES, 1).promoted(B, [LP], 2)
    assert champions(state) == [A, B, A]


def test_two_rollbacks_undo_two_promotions_and_a_third_is_refused() -> None:
    state = RegistryState().promoted(A, POSTURES, 1).promoted(B, [LP, RA], 2)
    once = state.rolled_back()
    assert champions(once) == [A, A, A]
    twice = once.rolled_back()
    assert champions(twice) == [None, None, None] and twice.history == ()
    with pytest.raises(QuotelifeError, match="no promotion"):
        twice.rolled_back()


def test_one_posture_is_rolled_back_by_its_own_last_promotion() -> None:
    state = RegistryState().promoted(A, POSTURES, 1).promoted(B, [LP], 2).promoted(C, [RA], 3)
    back = state.rolled_back([LP])
    assert champions(back) == [A, A, C]
    assert champions(back.rolled_back()) == [A, A, A]


def test_the_challenger_that_is_promoted_is_challenger_and_shadow_no_longer() -> None:
    state = RegistryState().loaded(A, POSTURES).canaried(A, [LP], 500).promoted(A, [LP], 1)
    assert state.lineup.of(LP) == Serving(champion=A)
    assert state.lineup.of(RA) == Serving(shadows=(A,))


def test_a_model_that_is_the_champion_already_is_not_promoted_again() -> None:
    with pytest.raises(QuotelifeError, match="is the champion there already"):
        RegistryState().promoted(A, POSTURES, 1).promoted(A, [LP], 2)


def test_a_fifth_shadow_is_refused() -> None:
    state = RegistryState()
    for digest in (A, B, C, D):
        state = state.loaded(digest, [LP])
    with pytest.raises(QuotelifeError, match="a posture takes 4; unload one first"):
        state.loaded(E, [LP])
    assert state.unloaded(B, [LP]).loaded(E, [LP]).lineup.of(LP).shadows == (A, C, D, E)


def test_a_failure_stays_until_it_is_cleared_or_the_model_loads() -> None:
    state = RegistryState().failed(Failure(A, "corrupt", 1)).failed(Failure(B, "corrupt", 2))
    assert [each.digest for each in state.loaded(C, POSTURES).failures] == [A, B]
    assert [each.digest for each in state.loaded(A, POSTURES).failures] == [B]
    assert [each.digest for each in state.cleared(B).failures] == [A]
    assert state.cleared().failures == ()
    assert state.failed(Failure(A, "gone", 3)).failures == (Failure(B, "corrupt", 2), Failure(A, "gone", 3))


def test_where_a_model_is_broken_the_champion_before_it_that_is_whole_serves() -> None:
    state = RegistryState().promoted(A, POSTURES, 1).promoted(B, POSTURES, 2).promoted(C, [LP], 3)
    state = state.canaried(D, [RA], 100).loaded(E, [RA])
    assert champions(state.without([C])) == [B, B, B]
    assert champions(state.without([B, C])) == [A, A, A]
    assert champions(state.without([A, B, C])) == [None, None, None]
    assert state.without([D, E]).lineup.of(RA) == Serving(champion=B)


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = RegistryState().promoted(A, POSTURES, 1).loaded(B, [LP]).canaried(C, [RA], 25)
    state = state.failed(Failure(D, "is missing", 7))
    with Registry(tmp_path) as registry:
        registry.write(state)
    assert Registry(tmp_path).read() == state


def test_a_state_that_was_damaged_names_itself_and_the_mend(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        registry.write(RegistryState())
        (tmp_path / "registry.json").write_bytes(b'{"format": "quotelife-registry-1"')
        with pytest.raises(QuotelifeError, match=r"registry\.json: .*; restore it, or remove it"):
            registry.read()


def test_one_process_changes_the_state(tmp_path: Path) -> None:
    with Registry(tmp_path), pytest.raises(QuotelifeError, match="in use by a running service"):
        Registry(tmp_path).lock()
    Registry(tmp_path).lock()


def test_without_the_lock_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(QuotelifeError, match="is not locked"):
        Registry(tmp_path).write(RegistryState())
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_is_stored_under_its_digest_and_found_by_digest_prefix_and_name(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    digest = registry.add("golden").digest
    assert registry.add(builtin_artifact("golden")).digest == digest  # again, by its path: nothing happens
    assert (tmp_path / "artifacts" / digest).is_dir()
    name = load_artifact(builtin_artifact("golden")).name
    assert [registry.find(text) for text in (digest, digest[:6], name)] == [digest] * 3
    assert registry.load(digest).files == load_artifact(builtin_artifact("golden")).files
    with pytest.raises(QuotelifeError, match="no such model"):
        registry.find(digest[:5])
    assert not list(tmp_path.glob("artifacts/.adding-*"))


def test_a_changed_artifact_is_neither_added_nor_loaded(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(builtin_artifact("logistic"), source)
    registry = Registry(tmp_path / "models")
    digest = registry.add(source).digest
    for folder in (source, tmp_path / "models" / "artifacts" / digest):
        path = folder / "parameters.json"
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(ArtifactError, match="is not the file that manifest"):
        registry.add(source)
    with pytest.raises(ArtifactError, match="is not the file that manifest"):
        registry.load(digest)
    ((stored),) = registry.stored(test=True)
    assert "is not the file" in stored.problem


def test_an_artifact_under_another_digest_is_not_loaded(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    digest = registry.add("golden").digest
    (tmp_path / "artifacts" / digest).rename(tmp_path / "artifacts" / A)
    with pytest.raises(ArtifactError, match="holds"):
        registry.load(A)


def test_what_serves_or_may_be_rolled_back_to_is_not_removed(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        first, second, third = (registry.add(n).digest for n in ("golden", "logistic", "first_passage"))
        registry.write(RegistryState().promoted(first, POSTURES, 1).promoted(second, POSTURES, 2))
        for digest in (first, second):
            with pytest.raises(QuotelifeError, match="it stays"):
                registry.remove(digest)
        registry.remove(third)
        assert {each.digest for each in registry.stored()} == {first, second}


def test_history_is_bounded() -> None:
    state = RegistryState()
    for turn in range(200):
        state = state.promoted(A if turn % 2 else B, POSTURES, turn)
    assert len(state.history) == 64
    assert state.history[-1] == Act(199, dict.fromkeys(POSTURES, B))


def test_a_line_up_survives_json() -> None:
    lineup = LineUp(Serving(A, B, 7, (C,)), Serving(), Serving(shadows=(D, E)))
    assert LineUp.from_json(json.loads(json.dumps(lineup.to_json()))) == lineup
    with pytest.raises(QuotelifeError):
        LineUp.from_json({"client_priority": {"champion": "../etc"}})


def test_no_postures_are_all_of_them() -> None:
    assert all_or([]) == POSTURES and all_or([PostureCode.RISK_AVERSE] * 2) == (RA,)
