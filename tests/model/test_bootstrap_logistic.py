"""The shipped logistic model: where it comes from, and that it serves what was fitted."""

from pathlib import Path

import numpy as np
import pytest

from quotelife.learn import bootstrap_logistic as bootstrap
from quotelife.learn.hazard_fit import LOG_TAU
from quotelife.model.artifact import builtin_artifact, load_artifact, save_artifact
from quotelife.model.logistic import LogisticHazardModel
from quotelife.records import HORIZONS_NS


@pytest.fixture(scope="module")
def samples() -> bootstrap.Samples:
    return bootstrap.simulate(0.06, seed=5)


@pytest.fixture(scope="module")
def other() -> bootstrap.Samples:
    return bootstrap.simulate(0.06, seed=77)


@pytest.fixture(scope="module")
def model(samples: bootstrap.Samples) -> LogisticHazardModel:
    return bootstrap.train(samples)


def test_the_same_seed_gives_the_same_samples(samples: bootstrap.Samples, other: bootstrap.Samples) -> None:
    assert bootstrap.simulate(0.06, seed=5).digest() == samples.digest() != other.digest()


def test_samples_are_whole(samples: bootstrap.Samples) -> None:
    assert len(samples.event) > 800
    assert (np.diff(samples.time_ns) >= 0).all()
    assert np.isfinite(samples.x).all()
    assert ((samples.h_ticks >= 1.0) & (samples.h_ticks <= bootstrap.H_TICKS_MAX)).all()
    assert set(np.unique(samples.event)) <= set(range(len(HORIZONS_NS) + 1))
    assert samples.time_ns[-1] - samples.time_ns[0] <= 0.06 * 3600e9 - HORIZONS_NS[-1]


def test_labels_are_the_first_passage_of_the_reference_price() -> None:
    """A hand-made path: the desk buys at 100; −2 ticks at 60 ms, −3 at 700 ms, both for a moment."""
    instrument = bootstrap.SimulatedInstrument()
    ms = 1_000_000
    instrument.times = [10 * ms, 60 * ms, 61 * ms, 700 * ms, 701 * ms, 9_000 * ms]
    instrument.path = [100.0, 98.0, 100.5, 97.0, 101.0, 50.0]
    nothing = np.zeros(0), np.zeros(0, dtype=bool)
    for side, h in ((1, 1.0), (1, 2.0), (1, 2.5), (1, 4.0), (-1, 1.0), (-1, 1.5)):
        instrument.rows.append((10 * ms, side, h, 1.0, 100.0, *nothing))
    # 50 ms on is the second bin's end, 690 ms lies in (500, 750], the fall at 9 s is too late.
    assert [row[3] for row in instrument.label(10_000 * ms)] == [1, 1, 6, 12, 6, 12]
    assert instrument.label(5_009 * ms) == []  # the longest horizon is not over yet


def test_what_is_served_is_what_was_fitted(samples: bootstrap.Samples, model: LogisticHazardModel) -> None:
    """The curve from the fit's own matrices equals the served one: no skew of transform or offset."""
    parameters = model.parameters()
    g, missing = bootstrap.transformed(samples)
    offset = bootstrap.first_passage_logits(samples.h_ticks, samples.sigma_ticks)
    logit = np.array(parameters["intercepts"]) + parameters["offset"]["coefficient"] * offset
    for i, entry in enumerate(parameters["features"]):
        z = np.clip((g[:, i] - entry["mean"]) / entry["scale"], -bootstrap.CLIP, bootstrap.CLIP)
        term = np.where(missing[:, i], 0.0, z)[:, None] * (entry["weight"] + entry["slope"] * LOG_TAU)
        logit += term + (missing[:, i] * entry["missing"])[:, None]
    expected = 1.0 - np.cumprod(1.0 / (1.0 + np.exp(logit)), axis=1)
    p, answered = model.curves(samples.x, samples.valid, samples.h_ticks, samples.sigma_ticks)
    assert answered.all()
    np.testing.assert_allclose(p, expected, rtol=1e-6, atol=1e-9)


def test_a_trained_model_survives_its_artifact(
    samples: bootstrap.Samples, model: LogisticHazardModel, tmp_path: Path
) -> None:
    metrics, tables = bootstrap.evaluate(model, samples)
    folder = save_artifact(model, tmp_path, name="l", description="", metrics=metrics, reliability=tables)
    loaded = load_artifact(folder)
    assert loaded.parameters() == model.parameters()
    assert loaded.manifest["metrics"] == metrics


def test_the_fit_beats_first_passage_out_of_sample(
    other: bootstrap.Samples, model: LogisticHazardModel
) -> None:
    """Fitted on one simulated market, scored on another. Two minutes are enough up to 500 ms, not beyond."""
    overall = bootstrap.evaluate(model, other)[0][: len(HORIZONS_NS)]
    assert [entry["horizon_ns"] for entry in overall] == list(HORIZONS_NS)
    for entry in overall[:6]:
        assert entry["brier_skill"] > entry["first_passage_brier_skill"]
        assert entry["calibration_error"] < entry["first_passage_calibration_error"]


def test_the_shipped_manifest_says_what_it_is_and_what_it_is_worth() -> None:
    manifest = load_artifact(builtin_artifact("logistic")).manifest
    training = manifest["training"]
    assert "simulated markets only" in manifest["description"]
    assert training["rows"] > 50_000 and training["test_rows"] > 20_000
    assert training["test_start_ns"] - training["span_end_ns"] >= bootstrap.PURGE_NS
    overall = [
        entry for entry in manifest["metrics"] if entry["h_ticks_up_to"] - entry["h_ticks_above"] == 100.0
    ]
    assert [entry["horizon_ns"] for entry in overall] == list(HORIZONS_NS)
    for entry in overall:
        assert entry["brier_skill"] > entry["first_passage_brier_skill"]
    assert {table["horizon_ns"] for table in manifest["reliability"]} == set(HORIZONS_NS)


def test_the_shipped_model_keeps_its_skill_on_a_market_it_has_not_seen(samples: bootstrap.Samples) -> None:
    """The figures of the manifest can be had again: another seed, the same order of skill."""
    model = load_artifact(builtin_artifact("logistic"))
    for entry in bootstrap.evaluate(model, samples)[0][: len(HORIZONS_NS)]:
        assert entry["brier_skill"] > entry["first_passage_brier_skill"]


def test_the_shipped_model_never_calls_a_wider_threshold_more_likely() -> None:
    model = load_artifact(builtin_artifact("logistic"))
    n = 200
    rng = np.random.default_rng(3)
    for _ in range(50):
        x = np.repeat(rng.normal(0, 2, (1, 128)), n, axis=0)
        valid = np.repeat(rng.integers(0, 2**64, (1, 2), dtype=np.uint64), n, axis=0)
        p, answered = model.curves(x, valid, np.geomspace(0.01, 1000, n), np.full(n, 3.0))
        assert answered.all() and (np.diff(p, axis=0) <= 1e-12).all()
