"""The frame of the real-data suite, on two minutes of the simulated market: from a recording to targets."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quotelife.config import Config
from quotelife.learn import backtest, realdata, suite, suite_models, suite_sets, units
from quotelife.learn.backtest import IMBALANCE, MS, VOLATILITY, Plan, S
from quotelife.learn.dataset import Decisions
from quotelife.learn.gradient_boosting import Recipe
from quotelife.learn.realdata import Recording, SetSpec
from quotelife.learn.suite_models import LOGISTIC, SHIPPED, STACKED, UNIVERSAL, given_models
from quotelife.learn.units import Unit
from quotelife.model.artifact import builtin_artifact

pytest.importorskip("xgboost")
pytest.importorskip("pyarrow")
HOURS = 0.035
NAME = "simulated BTC"
RECORDING = Recording(
    100 * MS,
    (
        '{name: BTC, venue: sim, symbol: BTCUSDT, tick_size: "0.1", lot_size: "0.001"}',
        '{name: ETH, venue: sim, symbol: ETHUSDT, tick_size: "0.01", lot_size: "0.001"}',
    ),
    ("market.sim",),
)
PLAN = Plan(block_ns=4 * S, purge_ns=5_500 * MS, horizons_ns=(500 * MS, 2000 * MS), rows_max=1000)
SPEC = SetSpec(NAME, "simulated", "BTC", "0.5sigma", PLAN,
               {500: (0.3, 2.0), 2000: (1.1, -9.0)}, {500: (0.5, 0.0)}, {500: 1.0})  # fmt: skip
SMALL = Recipe(trees=4, depth=2, eta=0.2, leaf_rows=20, bins=16)
Collected = dict[str, tuple[Decisions, str]]


def silent(text: str) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def small() -> Any:
    """One set, of the simulated market in place of files; short trees; two kinds of clients."""

    def simulated(arguments: Sequence[str], config: Config, **_: Any) -> list[Unit]:
        assert [Path(each).name for each in arguments] == ["market.sim"]
        return units.simulated_units(config, HOURS, seed=3)

    with pytest.MonkeyPatch.context() as patch:
        for module in (realdata, suite, suite_models, suite_sets):
            patch.setattr(module, "SETS", (SPEC,))
        patch.setattr(suite_sets, "RECORDINGS", {"simulated": RECORDING})
        patch.setattr(suite_sets, "file_units", simulated)
        patch.setattr(suite_models, "UNIVERSAL_RECIPE", SMALL)
        patch.setattr(suite_models, "LOCAL", SMALL)
        kept = ("fast client, marked at accept", "toxic slow client, walks away")
        patch.setattr(backtest, "FLOWS", {name: backtest.FLOWS[name] for name in kept})
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "market.sim").write_text("")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def collected(data: Path, work: Path) -> Collected:
    return suite_sets.collect_sets(data, work, silent)


@pytest.fixture(scope="module")
def results(collected: Collected, work: Path) -> dict[str, Any]:
    return run(collected, work)


def run(collected: Collected, work: Path, models: Any = None, seed: int = 1) -> dict[str, Any]:
    return suite.run_suite(collected, work, models or suite_models.trained_models, silent, seed=seed)


def test_what_is_collected_is_labelled_joined_and_then_read(
    collected: Collected, data: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the set's own name, against the microprice, at its threshold; the second time nothing is replayed."""
    ((name, (decisions, digest)),) = collected.items()
    assert (name, decisions.instrument, decisions.reference) == (NAME, "BTC", "microprice")
    assert decisions.thresholds == (SPEC.threshold,) and len(decisions) > 1000

    def replayed(*_: Any, **__: Any) -> None:
        raise AssertionError("replayed again")

    monkeypatch.setattr("quotelife.learn.build.collect", replayed)
    again, same = suite_sets.collect_sets(data, work, silent)[NAME]
    assert same == digest and again.digest() == decisions.digest()
    (data / "market.sim").rename(data / "elsewhere")
    with pytest.raises(Exception, match=r"market.sim: not there; name the folder with --data"):
        suite_sets.collect_sets(data, work, silent)
    (data / "elsewhere").rename(data / "market.sim")


def test_a_set_is_judged_by_both_references_and_the_stack_decides(results: dict[str, Any]) -> None:
    by_price, by_mid = results["sets"]
    assert (by_price["reference"], by_mid["reference"]) == ("microprice", "mid")
    for entry in (by_price, by_mid):
        assert entry["name"] == NAME and entry["model"] == STACKED
        assert entry["seen_in_training"] == dict.fromkeys((STACKED, UNIVERSAL, LOGISTIC, SHIPPED), False)
        assert entry["fitted_later"] == entry["seen_in_training"]
        scored = [each["model"] for each in entry["horizons"][0]["models"]]
        assert scored == [STACKED, UNIVERSAL, LOGISTIC, SHIPPED, VOLATILITY, IMBALANCE]
    assert {row["model"] for row in by_price["frontier"]} == {STACKED, UNIVERSAL, LOGISTIC, SHIPPED}
    assert {row["model"] for row in by_mid["frontier"]} == {STACKED}
    assert {row["model"].partition(",")[0] for row in by_price["held_tolerance"]} == {STACKED}


def test_targets_are_of_the_figures_of_the_deciding_model(results: dict[str, Any]) -> None:
    """Those by the microprice, each beside what it must be; a bound that holds is met and one out of reach is not."""
    (entry,) = [each for each in results["sets"] if each["reference"] == "microprice"]
    own = {
        each["horizon_ns"] // MS: next(m for m in each["models"] if m["model"] == STACKED)
        for each in entry["horizons"]
    }
    found = {each["what"]: each for each in results["targets"]}
    for ms, met in ((500, (True, False)), (2000, (False, True))):
        for what, key, expected in zip(("AUC", "Brier skill"), ("auc", "brier_skill"), met, strict=True):
            assert (found[f"{what} {ms} ms"]["value"], found[f"{what} {ms} ms"]["met"]) == (
                own[ms][key],
                expected,
            )
    assert found["ECE 500 ms"]["value"] == own[500]["ece"]
    value = next(
        each for each in entry["value"]
        if (each["case"], each["slice"], each["policy"]) == ("toxic slow client, walks away", "all", "expected value")
    )  # fmt: skip
    told = found["value over the best fixed life, toxic slow client, walks away"]
    assert told["value"] == value["over_static"] and told["met"] == (value["over_static_interval"][1] >= 0)
    held = [each for each in results["targets"] if each["what"].startswith("held")]
    assert len(held) == 6 and all(each["met"] is None and each["reason"] for each in held)


def test_the_second_run_judges_nothing_again_and_gives_the_same_bytes(
    results: dict[str, Any], collected: Collected, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the recipe, the seed, the plan or the code is another."""
    judged: list[str] = []

    def judge(case: Any, model: str, models: Any, **_: Any) -> dict[str, Any]:
        judged.append(case.decisions.reference)
        return json.loads(json.dumps(results["sets"][0]))

    monkeypatch.setattr(suite, "judge", judge)
    assert json.dumps(run(collected, work)) == json.dumps(results) and not judged
    run(collected, work, seed=2)
    assert judged == ["microprice", "mid"]
    with monkeypatch.context() as patch:
        patch.setattr(suite_models, "LOCAL", replace(SMALL, eta=0.1))
        run(collected, work)
        assert len(judged) == 4
    with monkeypatch.context() as patch:
        patch.setattr(suite, "SETS", (replace(SPEC, plan=replace(PLAN, held_overconfidence=2.0)),))
        run(collected, work)
        assert len(judged) == 6
    monkeypatch.setattr(suite, "code_digest", lambda: "other code")
    run(collected, work)
    assert len(judged) == 8


@pytest.mark.parametrize("name", ["config/schema.py", "learn/splits.py", "model/tree_curve.so", "units.py"])
def test_a_change_of_any_file_that_has_a_part_is_another_code(tmp_path: Path, name: str) -> None:
    package = tmp_path / "quotelife"
    for folder in (*suite.CODE, "venue"):
        (package / folder).mkdir(parents=True, exist_ok=True)
    for each in (name, "venue/other.py", "learn/labels.pyx"):
        (package / each).write_text("one")
    before = suite.code_digest(package)
    for each in ("venue/other.py", "learn/labels.pyx"):
        (package / each).write_text("two")
    assert suite.code_digest(package) == before
    (package / name).write_text("two")
    changed = suite.code_digest(package)
    (package / name).rename(package / "learn" / "moved.py")
    assert len({before, changed, suite.code_digest(package)}) == 3


def test_what_judging_and_training_load_is_in_the_digest() -> None:
    """In a fresh interpreter; but for what plays markets, since the datasets that come of it have digests."""
    asked = (
        "import sys, quotelife.learn.suite_models\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('quotelife')), sep='\\n')"
    )
    run = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in run.stdout.split()}
    covered = set(suite.code_files())
    assert {Path(str(m.__file__)) for m in (backtest, realdata, suite_models)} <= loaded & covered
    assert {path.parent.name for path in loaded - covered} <= {"book", "sim", "windows"}


def test_equal_seed_and_data_give_equal_bytes_in_another_folder(
    results: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    assert json.dumps(run(suite_sets.collect_sets(data, tmp_path, silent), tmp_path)) == json.dumps(results)


def test_artifacts_that_are_named_are_judged_instead(
    collected: Collected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of them decides; one fitted on the test slice is said to be."""
    judged: list[tuple[str, list[str]]] = []

    def judge(case: Any, model: str, models: Any, **_: Any) -> dict[str, Any]:
        judged.append((model, list(models)))
        return {"name": NAME, "reference": "none", "data_digest": ""}

    monkeypatch.setattr(suite, "judge", judge)
    folders = [str(builtin_artifact(name)) for name in ("first_passage", "logistic")]
    found = run(collected, tmp_path, given_models(folders))
    assert judged == [("first_passage", ["first_passage", "logistic"]), ("first_passage", ["first_passage"])]
    assert [each["seen_in_training"]["first_passage"] for each in found["sets"]] == [False, False]
