"""A folder of models and its state: nothing half written, nothing lost, nothing forged."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from quotelife.errors import ArtifactError, QuotelifeError
from quotelife.model import registry as registry_module
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.lineup import POSTURES, LineUp, Serving
from quotelife.model.promotion import Grounds
from quotelife.model.registry import Act, Entry, Failure, Registry, RegistryState, all_or
from quotelife.records import PostureCode

A, B, C, D, E = (letter * 64 for letter in "abcde")
CP, LP, RA = POSTURES
WHY = Grounds(reason="as the test asks")


def champions(state: RegistryState) -> list[str | None]:
    return [serving.champion for _, serving in state.lineup.items()]


def test_a_promotion_is_of_all_postures_or_of_those_named() -> None:
    state = RegistryState().promoted(A, POSTURES, 1, WHY).promoted(B, [LP], 2, WHY)
    assert champions(state) == [A, B, A]


def test_two_rollbacks_undo_two_promotions_and_a_third_is_refused() -> None:
    state = RegistryState().promoted(A, POSTURES, 1, WHY).promoted(B, [LP, RA], 2, WHY)
    once = state.rolled_back(9)
    assert champions(once) == [A, A, A]
    twice = once.rolled_back(9)
    assert champions(twice) == [None, None, None] and twice.history == ()
    with pytest.raises(QuotelifeError, match="no promotion"):
        twice.rolled_back(9)


def test_a_posture_named_twice_is_rolled_back_once() -> None:
    state = RegistryState().promoted(A, POSTURES, 1, WHY).promoted(B, POSTURES, 2, WHY)
    assert state.rolled_back(9, [RA, RA]) == state.rolled_back(9, [RA])


def test_canaries_are_in_the_log_and_shadows_are_not() -> None:
    state = RegistryState().promoted(A, POSTURES, 1, WHY).loaded(B, [LP])
    state = state.canaried(C, [LP, RA], 500, 2).unloaded(B, [LP], 3).canaried(C, [LP], 0, 4)
    state = state.canaried(D, [RA], 9000, 5, WHY).unloaded(D, [RA], 6)
    assert state.log[1:] == (
        Entry(2, "canary", {LP: A, RA: A}, challenger=C, share_bp=500),
        Entry(4, "canary", {LP: A}, challenger=C),
        Entry(5, "canary", {RA: A}, WHY, challenger=D, share_bp=9000),
        Entry(6, "canary", {RA: A}, challenger=D),
    )
    assert RegistryState.from_json(state.to_json()) == state


def test_a_model_of_the_configuration_is_logged_for_the_postures_that_it_serves() -> None:
    state = RegistryState().promoted(A, [RA], 1, WHY).with_configured(C, 2)
    assert len(state.log) == 1, "the first that a service has is no change"
    assert state.with_configured(C, 3) == state
    changed = state.with_configured(D, 4)
    assert changed.log[-1] == Entry(4, "configuration", {LP: None, POSTURES[0]: None})
    assert RegistryState.from_json(changed.to_json()) == changed
    everywhere = state.promoted(A, POSTURES, 5, WHY)
    assert everywhere.with_configured(D, 6).log == everywhere.log


def test_a_log_of_something_unknown_is_no_state() -> None:
    value = RegistryState().promoted(A, POSTURES, 1, WHY).to_json()
    value["log"][0]["what"] = "magic"
    with pytest.raises(QuotelifeError, match="'magic' is none of promotion, rollback, canary, configuration"):
        RegistryState.from_json(value)


def test_one_posture_is_rolled_back_by_its_own_last_promotion() -> None:
    state = RegistryState().promoted(A, POSTURES, 1, WHY).promoted(B, [LP], 2, WHY).promoted(C, [RA], 3, WHY)
    back = state.rolled_back(9, [LP])
    assert champions(back) == [A, A, C]
    assert champions(back.rolled_back(9)) == [A, A, A]


def test_the_challenger_that_is_promoted_is_challenger_and_shadow_no_longer() -> None:
    state = RegistryState().loaded(A, POSTURES).canaried(A, [LP], 500, 1).promoted(A, [LP], 1, WHY)
    assert state.lineup.of(LP) == Serving(champion=A)
    assert state.lineup.of(RA) == Serving(shadows=(A,))


def test_a_model_that_is_the_champion_already_is_not_promoted_again() -> None:
    with pytest.raises(QuotelifeError, match="is the champion there already"):
        RegistryState().promoted(A, POSTURES, 1, WHY).promoted(A, [LP], 2, WHY)


def test_a_fifth_shadow_is_refused() -> None:
    state = RegistryState()
    for digest in (A, B, C, D):
        state = state.loaded(digest, [LP])
    with pytest.raises(QuotelifeError, match="a posture takes 4; unload one first"):
        state.loaded(E, [LP])
    assert state.unloaded(B, [LP], 1).loaded(E, [LP]).lineup.of(LP).shadows == (A, C, D, E)


def test_a_failure_stays_until_it_is_cleared_or_the_model_loads() -> None:
    state = RegistryState().failed(Failure(A, "corrupt", 1)).failed(Failure(B, "corrupt", 2))
    assert [each.digest for each in state.loaded(C, POSTURES).failures] == [A, B]
    assert [each.digest for each in state.loaded(A, POSTURES).failures] == [B]
    assert [each.digest for each in state.cleared(B).failures] == [A]
    assert state.cleared().failures == ()
    assert state.failed(Failure(A, "gone", 3)).failures == (Failure(B, "corrupt", 2), Failure(A, "gone", 3))


def test_where_a_model_is_broken_the_champion_before_it_that_is_whole_serves() -> None:
    state = (
        RegistryState().promoted(A, POSTURES, 1, WHY).promoted(B, POSTURES, 2, WHY).promoted(C, [LP], 3, WHY)
    )
    state = state.canaried(D, [RA], 100, 1).loaded(E, [RA])
    assert champions(state.without([C])) == [B, B, B]
    assert champions(state.without([B, C])) == [A, A, A]
    assert champions(state.without([A, B, C])) == [None, None, None]
    assert state.without([D, E]).lineup.of(RA) == Serving(champion=B)


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = RegistryState().promoted(A, POSTURES, 1, WHY).loaded(B, [LP]).canaried(C, [RA], 25, 1)
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
        registry.write(RegistryState().promoted(first, POSTURES, 1, WHY).promoted(second, POSTURES, 2, WHY))
        for digest in (first, second):
            with pytest.raises(QuotelifeError, match="it stays"):
                registry.remove(digest)
        registry.remove(third)
        assert {each.digest for each in registry.stored()} == {first, second}


def test_history_is_bounded() -> None:
    state = RegistryState()
    for turn in range(200):
        state = state.promoted(A if turn % 2 else B, POSTURES, turn, WHY)
    assert len(state.history) == 64 and len(state.log) == 200
    assert state.history[-1] == Act(199, dict.fromkeys(POSTURES, B))


def test_a_line_up_survives_json() -> None:
    lineup = LineUp(Serving(A, B, 7, (C,)), Serving(), Serving(shadows=(D, E)))
    assert LineUp.from_json(json.loads(json.dumps(lineup.to_json()))) == lineup
    with pytest.raises(QuotelifeError):
        LineUp.from_json({"client_priority": {"champion": "../etc"}})


def test_no_postures_are_all_of_them() -> None:
    assert all_or([]) == POSTURES and all_or([PostureCode.RISK_AVERSE] * 2) == (RA,)


def test_the_log_keeps_what_a_rollback_takes_from_the_history() -> None:
    state = (
        RegistryState().promoted(A, POSTURES, 1, WHY).promoted(B, [LP], 2, Grounds(verdict=C)).rolled_back(3)
    )
    assert state.log == (
        Entry(1, "promotion", dict.fromkeys(POSTURES, A), WHY),
        Entry(2, "promotion", {LP: B}, Grounds(verdict=C)),
        Entry(3, "rollback", {LP: A}),
    )
    assert len(state.history) == 1


def test_the_revision_counts_changes_of_the_line_up_alone() -> None:
    state = RegistryState().loaded(A, POSTURES).promoted(A, POSTURES, 1, WHY)
    assert state.revision == 2
    assert state.failed(Failure(B, "corrupt", 1)).cleared().revision == 2
    assert state.rolled_back(2).revision == 3


def test_a_state_of_before_there_was_a_log_is_read() -> None:
    value = RegistryState().promoted(A, POSTURES, 1, WHY).to_json()
    old = {key: value[key] for key in ("format", "lineup", "history", "failures")}
    state = RegistryState.from_json(old)
    assert (champions(state), state.log, state.revision) == ([A, A, A], (), 0)
    assert champions(state.rolled_back(2)) == [None, None, None]


@pytest.mark.parametrize("judged", [[0, 1 << 63], [1], None])
def test_times_of_a_verdict_that_cannot_be_are_left_out_and_the_rest_is_read(judged: object) -> None:
    value = RegistryState().promoted(A, POSTURES, 1, WHY).to_json()
    value["log"][0]["judged_ns"] = judged
    state = RegistryState.from_json(value)
    assert champions(state) == [A, A, A]
    assert (state.log[0].grounds.from_ns, state.log[0].grounds.to_ns) == (0, 0)


def test_a_rollback_goes_back_behind_a_champion_that_served_nobody() -> None:
    """None → A → B, and B is broken: A serves, so back means the configuration's."""
    state = RegistryState().promoted(A, POSTURES, 1, WHY).promoted(B, POSTURES, 2, WHY)
    assert champions(state.rolled_back(3)) == [A, A, A]
    assert champions(state.rolled_back(3, broken=[B])) == [None, None, None]
    later = state.promoted(C, [LP], 3, WHY)
    assert champions(later.rolled_back(4, broken=[B])) == [B, A, B]
    assert champions(state.rolled_back(3, [RA], broken=[B])) == [B, B, None]


def test_a_rollback_from_the_only_promotion_takes_a_broken_model_back_too() -> None:
    back = RegistryState().promoted(A, POSTURES, 1, WHY).rolled_back(2, broken=[A])
    assert champions(back) == [None, None, None] and back.history == ()


def test_whoever_has_seen_another_revision_or_champion_is_told() -> None:
    state, serves = RegistryState().promoted(A, POSTURES, 1, WHY), dict.fromkeys(POSTURES, A)
    state.expected(POSTURES, 1, A, serves)
    with pytest.raises(QuotelifeError, match="at revision 1, not at 0: somebody has changed it"):
        state.expected(POSTURES, 0, "", serves)
    with pytest.raises(QuotelifeError, match=f"risk_averse is served by {B[:16]}, not by {A[:16]}"):
        state.expected(POSTURES, None, A, serves | {RA: B})


class Refusing:
    """``registry._sync`` of a disk that takes data and refuses to sync the folder of that name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.names, self.synced, self.sync = names, list[str](), registry_module._sync
        monkeypatch.setattr(registry_module, "_sync", self)

    def __call__(self, folder: Path) -> None:
        self.synced.append(folder.name)
        if folder.name in self.names:
            raise OSError(errno.EIO, "Input/output error")
        self.sync(folder)


@pytest.mark.parametrize("first", [True, False])
def test_a_state_that_could_not_be_synced_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    folder = tmp_path / "models"
    with Registry(folder) as registry:
        before = RegistryState() if first else RegistryState().promoted(A, POSTURES, 1, WHY)
        if not first:
            registry.write(before)
        Refusing(monkeypatch, "models")
        with pytest.raises(QuotelifeError, match=r"cannot be written .*; the state before stays"):
            registry.write(before.promoted(B, POSTURES, 2, WHY))
        assert registry.read() == before


def test_a_state_that_can_be_neither_synced_nor_taken_back_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    with Registry(folder) as registry:
        registry.write(RegistryState())
        refusing = Refusing(monkeypatch, "models")
        replace, turns = os.replace, []

        def once(*paths: str) -> None:
            turns.append(paths)
            if len(turns) > 1:
                raise OSError(errno.EIO, "Input/output error")
            replace(*paths)

        monkeypatch.setattr(os, "replace", once)
        with pytest.raises(QuotelifeError, match=r"neither synced nor taken back .*repeat the change"):
            registry.write(RegistryState().promoted(B, POSTURES, 2, WHY))
    assert refusing.synced == ["models"]


def test_what_was_added_is_synced_with_its_folder_and_those_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(monkeypatch)
    Registry(tmp_path / "deep" / "models").add("golden")
    names = [name if not name.startswith(".adding-") else "the artifact" for name in refusing.synced]
    assert names == [tmp_path.name, "deep", "models", "the artifact", "artifacts"]


def test_a_removal_that_was_interrupted_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry(tmp_path) as registry:
        digest = registry.add("golden").digest

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(shutil, "rmtree", interrupted)
            registry.remove(digest)
        assert registry.stored() == []
        registry.add("golden")
        registry.remove(digest)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_problems_of_stored_models_name_no_folder(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    for name, spoil in (("golden", "manifest.json"), ("logistic", "parameters.json")):
        (tmp_path / "models" / "artifacts" / registry.add(name).digest / spoil).unlink()
    stored = registry.stored() + registry.stored(test=True)
    assert sum(bool(each.problem) for each in stored) == 3
    assert not [each.problem for each in stored if str(tmp_path) in each.problem]


def test_a_state_nested_beyond_reading_names_itself(tmp_path: Path) -> None:
    with Registry(tmp_path) as registry:
        (tmp_path / "registry.json").write_bytes(b"[" * 100_000)
        with pytest.raises(QuotelifeError, match=r"registry\.json: .*; restore it, or remove it"):
            registry.read()


def test_an_artifact_that_another_process_adds_meanwhile_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is done just before the folder gets its name."""
    rename = os.rename

    def late(aside: Path, target: Path) -> None:
        monkeypatch.undo()
        Registry(tmp_path).add("golden")
        rename(aside, target)

    monkeypatch.setattr(os, "rename", late)
    digest = Registry(tmp_path).add("golden").digest
    assert [entry.name for entry in (tmp_path / "artifacts").iterdir()] == [digest]


def test_the_market_of_a_verdict_is_kept() -> None:
    state = RegistryState().promoted(A, POSTURES, 1, Grounds("f" * 64, market="crypto"))
    assert RegistryState.from_json(state.to_json()).log[0].grounds.market == "crypto"


def test_a_line_of_the_log_from_before_verdicts_had_markets_names_none() -> None:
    state = RegistryState().promoted(A, POSTURES, 1, Grounds("f" * 64)).to_json()
    del state["log"][0]["market"]
    assert RegistryState.from_json(state).log[0].grounds == Grounds("f" * 64)


@pytest.mark.parametrize(
    ("part", "key", "junk"),
    [
        ("history", "champions", {}),
        ("history", "champions", {"risk_averse": []}),
        ("history", "at_ns", 10**30),
        ("log", "champions", {"risk_averse": 5}),
        ("log", "at_ns", 10**30),
        ("log", "challenger", True),
        ("log", "verdict", -1),
    ],
)
def test_a_state_with_something_else_in_it_is_none(part: str, key: str, junk: object) -> None:
    state = RegistryState().promoted(A, POSTURES, 1, Grounds("f" * 64, "because")).to_json()
    assert RegistryState.from_json(state).to_json() == state
    state[part][0][key] = junk
    with pytest.raises(QuotelifeError, match="is no state of a registry"):
        RegistryState.from_json(state)
