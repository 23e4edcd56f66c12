"""The shipped trees: where they come from, and what they say of a simulated market in calm and under a shock."""

import base64
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from quotelife.errors import ArtifactError
from quotelife.features.schema import SCHEMA
from quotelife.learn import simulated_trees
from quotelife.learn.bootstrap_logistic import START_NS, WARMUP_NS
from quotelife.learn.splits import LONGEST_HORIZON_NS
from quotelife.model.artifact import builtin_artifact, canonical, load_artifact, manifest_digest
from quotelife.model.curve import CurveModel
from quotelife.records import HORIZONS_NS
from quotelife.sim.market import NewsShock
from quotelife.units import NS_PER_S

FOLDER = builtin_artifact(simulated_trees.NAME)


@pytest.fixture(scope="module")
def model() -> CurveModel:
    return load_artifact(FOLDER)


def at_the_threshold(told: dict) -> dict:
    return next(entry for entry in told["shock"] if entry["bps"] == simulated_trees.STRESSED_BPS)


def test_the_manifest_says_what_it_is_and_what_it_is_worth(model: CurveModel) -> None:
    training = model.manifest["training"]
    assert "simulated markets only" in model.manifest["description"]
    assert training["rows"] > 10_000 and training["test_rows"] > 5_000
    for entry in training["instruments"]:
        assert entry["test_start_ns"] - entry["calibrate_end_ns"] > LONGEST_HORIZON_NS
    assert {entry["horizon_ns"] for entry in model.manifest["metrics"]} <= set(HORIZONS_NS)
    at_500 = [entry for entry in model.manifest["metrics"] if entry["horizon_ns"] == 500_000_000]
    assert len(at_500) == 2 and all(entry["auc"] > 0.7 for entry in at_500)
    assert (FOLDER / "parameters.json").stat().st_size < 300_000


def test_calm_is_calm_and_the_shock_is_told_in_a_market_it_has_not_seen(model: CurveModel) -> None:
    """At most .01 at the demonstration's thresholds, and between .10 and .25 for the quote that is run
    against, one second into a shock."""
    told = simulated_trees.shock_answers(model, seed=4711, shocks=4)
    assert told["calm"] <= 0.01
    assert 0.10 <= at_the_threshold(told)["p"] <= 0.25


def test_what_it_says_of_the_shock_is_what_the_shock_does(model: CurveModel) -> None:
    """As the manifest has it, of 96 shocks it has not seen: at the threshold of the bounds, the share that is passed
    lies in the same band as what is said, and the two are close."""
    told = model.manifest["training"]["shock"]
    at = at_the_threshold(told)
    assert simulated_trees.faults(told) == [] and told["shocks"] == 96 and at["quotes"] > 400
    assert 0.10 <= at["passed"] <= 0.25 and abs(at["p"] - at["passed"]) <= 0.05


@pytest.mark.parametrize(
    ("calm", "p", "passed", "says"),
    [
        (0.02, 0.15, 0.15, "in calm"),
        (0.005, 0.09, 0.12, "p is 0.090"),
        (0.005, 0.20, 0.56, "passed is 0.560"),
        (0.005, 0.11, 0.24, "further apart"),
    ],
)
def test_a_model_that_is_not_honest_of_the_shock_is_nothing_to_ship(
    calm: float, p: float, passed: float, says: str
) -> None:
    entry = {"bps": simulated_trees.STRESSED_BPS, "p": p, "passed": passed}
    found = simulated_trees.faults({"calm": calm, "shock": [entry]})
    assert found and any(says in fault for fault in found)


def test_no_label_reaches_into_a_shock_that_had_not_begun_and_those_of_the_shock_stay() -> None:
    start_ns = START_NS + WARMUP_NS + 10 * NS_PER_S
    hours = (start_ns + 10 * NS_PER_S - START_NS) / (3600.0 * NS_PER_S)
    shock = NewsShock(start_ns=start_ns, duration_ns=2 * NS_PER_S, direction=1, score=1.0)
    for one in simulated_trees.decisions(hours, 1, shocks=[shock], gap_ns=100e6):
        age = one.now_ns - start_ns
        assert not ((age < 0) & (age >= -LONGEST_HORIZON_NS)).any()
        assert (age < -LONGEST_HORIZON_NS).sum() > 20 and ((age >= 0) & (age < 2 * NS_PER_S)).sum() > 10


@pytest.mark.slow
def test_the_shock_is_measured_again_in_another_market(model: CurveModel) -> None:
    assert simulated_trees.faults(simulated_trees.shock_answers(model, seed=815)) == []


@pytest.mark.slow
def test_what_ships_is_what_the_command_makes(model: CurveModel, tmp_path: Path) -> None:
    """To the byte, on the build of XGBoost that it was made with; where a recipe or the simulator has changed, the
    command makes it anew."""
    pytest.importorskip("xgboost")
    assert simulated_trees.main([str(tmp_path)]) == 0
    made = load_artifact(tmp_path / simulated_trees.NAME)
    for name in ("data_digest", "shock"):
        assert made.manifest["training"][name] == model.manifest["training"][name]
    assert made.files["parameters.json"] == model.files["parameters.json"]


def test_bids_and_asks_are_mirrored(model: CurveModel) -> None:
    """A market upside down, seen from the other side, gives the same vector: no column may tell the two apart."""
    names = {entry["name"] for entry in model.parameters()["features"]}
    assert not any(name.startswith(("depth_bid", "depth_ask", "book_imbalance_ratio")) for name in names)
    assert {spec.name for spec in SCHEMA if spec.signed} & names


def test_a_wider_threshold_is_never_more_likely_and_a_longer_horizon_never_less(model: CurveModel) -> None:
    n = 200
    rng = np.random.default_rng(3)
    for _ in range(50):
        x = np.repeat(rng.normal(0, 2, (1, 128)), n, axis=0)
        valid = np.repeat(rng.integers(0, 2**64, (1, 2), dtype=np.uint64), n, axis=0)
        p, answered = model.curves(x, valid, np.geomspace(0.01, 1000, n), np.full(n, 3.0))
        assert answered.all()
        assert (np.diff(p, axis=0) <= 1e-12).all() and (np.diff(p, axis=1) >= 0.0).all()


def spoilt(tmp_path: Path, change: object) -> Path:
    """The artifact with other parameters, and every digest set right again."""
    folder = tmp_path / "spoilt"
    shutil.copytree(FOLDER, folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    parameters = json.loads((folder / "parameters.json").read_bytes())
    change(manifest, parameters)  # type: ignore[operator]
    raw = canonical(parameters)
    (folder / "parameters.json").write_bytes(raw)
    manifest["files"]["parameters.json"] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    manifest["digest"] = manifest_digest(manifest)
    (folder / "manifest.json").write_bytes(canonical(manifest))
    return folder


def test_leaves_that_are_no_number_are_refused(tmp_path: Path) -> None:
    def change(manifest: dict, parameters: dict) -> None:
        entry = parameters["ensembles"][0]
        values = np.frombuffer(base64.b64decode(entry["values"]), dtype="<f4").copy()
        values[-1] = np.nan
        entry["values"] = base64.b64encode(values.tobytes()).decode("ascii")

    with pytest.raises(ArtifactError, match="nan is no value of a leaf"):
        load_artifact(spoilt(tmp_path, change))


def test_other_leaves_than_the_self_test_was_made_with_are_refused(tmp_path: Path) -> None:
    def change(manifest: dict, parameters: dict) -> None:
        parameters["intercepts"][5] += 0.01

    with pytest.raises(ArtifactError, match="selftest"):
        load_artifact(spoilt(tmp_path, change))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    def change(manifest: dict, parameters: dict) -> None:
        manifest["schema"]["hash"] = "ab" * 32

    with pytest.raises(ArtifactError, match="schema"):
        load_artifact(spoilt(tmp_path, change))


def test_the_script_gives_equal_bytes_from_equal_seeds() -> None:
    """Of a market of four minutes, which is all a test can wait for."""
    pytest.importorskip("xgboost")
    from dataclasses import replace

    from quotelife.learn.samples import markets
    from quotelife.learn.training import train_universal

    recipe = replace(simulated_trees.RECIPE, trees=10, leaf_rows=20.0)

    def parameters(seed: int) -> dict:
        found = markets(simulated_trees.decisions(0.06, seed), shares=simulated_trees.SHARES)
        return train_universal(found, recipe, rows_wanted=3_000).model.parameters()

    assert parameters(5) == parameters(5)
