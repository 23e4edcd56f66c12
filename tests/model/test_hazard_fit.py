"""The fit finds coefficients that are known, and the scores are those of their definitions."""

import numpy as np
import pytest

from quotelife.learn.hazard_fit import (
    LOG_TAU,
    HazardData,
    auc,
    brier_skill,
    calibration_error,
    fit_hazard,
    reliability,
    score,
)

RNG_SEED = 4


def synthetic(n: int) -> tuple[HazardData, dict[str, np.ndarray]]:
    """Decisions whose hazard is exactly the model's, with coefficients known."""
    rng = np.random.default_rng(RNG_SEED)
    true = {
        "intercepts": rng.normal(-0.5, 0.3, 12),
        "coefficient": np.array(0.7),
        "weight": np.array([0.8, -0.5, 0.0]),
        "slope": np.array([-0.2, 0.0, 0.15]),
        "missing": np.array([0.0, 0.6, 0.0]),
    }
    z = rng.normal(size=(n, 3))
    missing = np.zeros((n, 3), dtype=bool)
    missing[:, 1] = rng.random(n) < 0.3
    z[missing] = 0.0
    offset = rng.normal(-3.0, 1.5, size=(n, 1)) + np.linspace(-1.0, 1.0, 12)
    event = np.full(n, 12)
    for k in range(12):
        logit = true["intercepts"][k] + true["coefficient"] * offset[:, k]
        logit = logit + z @ (true["weight"] + true["slope"] * LOG_TAU[k]) + missing @ true["missing"]
        hit = rng.random(n) < 1.0 / (1.0 + np.exp(-logit))
        event[(event == 12) & hit] = k
    return HazardData(z, missing, offset, event), true


def test_known_coefficients_are_found() -> None:
    data, true = synthetic(40_000)
    fit = fit_hazard(data, ridge=1.0)
    np.testing.assert_allclose(fit.intercepts, true["intercepts"], atol=0.12)
    assert fit.coefficient == pytest.approx(0.7, abs=0.02)
    np.testing.assert_allclose(fit.weight, true["weight"], atol=0.03)
    np.testing.assert_allclose(fit.slope, true["slope"], atol=0.03)
    np.testing.assert_allclose(fit.missing, true["missing"], atol=0.06)
    assert fit.iterations < 15


def test_the_error_shrinks_with_the_data() -> None:
    """Not merely close: consistent. 25 times the rows cut the error by more than half."""
    errors = []
    for n in (2_000, 50_000):
        data, true = synthetic(n)
        fit = fit_hazard(data, ridge=1e-3)
        errors.append(
            np.linalg.norm(np.concatenate([fit.weight - true["weight"], fit.slope - true["slope"]]))
        )
    assert errors[1] < errors[0] / 2


def test_an_endless_ridge_leaves_first_passage() -> None:
    fit = fit_hazard(synthetic(2_000)[0], ridge=1e12)
    assert fit.coefficient == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(
        np.concatenate([fit.intercepts, fit.weight, fit.slope, fit.missing]), 0.0, atol=1e-6
    )


def test_the_gradient_vanishes_at_the_fit() -> None:
    """Checked by moving each coefficient: the penalised loss rises both ways."""
    data, _ = synthetic(3_000)
    ridge = 2.0
    fit = fit_hazard(data, ridge=ridge)

    def loss(b: np.ndarray, c: float, w: np.ndarray, v: np.ndarray, m: np.ndarray) -> float:
        total = ridge / 2 * (b @ b + (c - 1) ** 2 + w @ w + v @ v + m @ m)
        for k in range(12):
            risk = data.event >= k
            logit = (
                b[k] + c * data.offset[risk, k] + data.z[risk] @ (w + v * LOG_TAU[k]) + data.missing[risk] @ m
            )
            total += np.sum(np.logaddexp(0, logit) - logit * (data.event[risk] == k))
        return float(total)

    best = [fit.intercepts, fit.coefficient, fit.weight, fit.slope, fit.missing]
    base = loss(*best)  # type: ignore[arg-type]
    for i, part in enumerate(best):
        for j in range(np.size(part)):
            if i == 4 and j != 1:
                continue  # never missing: no coefficient
            for step in (-1e-3, 1e-3):
                moved = [np.array(p, dtype=float) for p in best]
                if moved[i].ndim:
                    moved[i][j] += step
                else:
                    moved[i] += step
                assert loss(*moved) > base  # type: ignore[arg-type]


def test_no_rows_are_refused() -> None:
    data, _ = synthetic(10)
    with pytest.raises(ValueError, match="no rows"):
        fit_hazard(HazardData(data.z[:0], data.missing[:0], data.offset[:0], data.event[:0]))


def test_auc_counts_pairs_and_ties_half() -> None:
    rng = np.random.default_rng(1)
    p = rng.integers(0, 8, 200) / 8.0
    hit = rng.random(200) < p
    pairs = p[hit][:, None] - p[~hit][None, :]
    assert auc(p, hit) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert np.isnan(auc(p, np.zeros(200, dtype=bool)))


def test_brier_skill_is_nought_for_the_base_rate_and_one_for_the_truth() -> None:
    hit = np.array([True, False, False, False])
    assert brier_skill(np.full(4, 0.25), hit) == pytest.approx(0.0)
    assert brier_skill(hit.astype(float), hit) == 1.0


def test_calibration_error_is_nought_only_when_shares_are_met() -> None:
    p = np.repeat([0.25, 0.75], 400)
    hit = np.concatenate([np.arange(400) % 4 == 0, np.arange(400) % 4 != 0])
    assert calibration_error(reliability(p, hit, bins=2)) == pytest.approx(0.0)
    assert calibration_error(reliability(1.0 - p, hit, bins=2)) == pytest.approx(0.5)


def test_horizons_without_both_outcomes_are_not_scored() -> None:
    event = np.array([3, 12, 12, 12])
    metrics, tables = score(np.full((4, 12), 0.3), event)
    assert [entry["horizon_ns"] for entry in metrics] == [t["horizon_ns"] for t in tables]
    assert metrics[0]["horizon_ns"] == 150_000_000 and len(metrics) == 9
