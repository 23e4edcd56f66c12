"""Many lives at once are the lives one by one."""

import numpy as np
import pytest

from quotelife.config.schema import LiquidityProvider, PostureSettings, TierValue, ValueSettings
from quotelife.decision.expected_value import ExpectedValue
from quotelife.decision.life import PostureLife
from quotelife.model.curve import first_passage, invert

MS = 1_000_000


def curves() -> np.ndarray:
    return np.array([first_passage(h, 2.0) for h in np.geomspace(0.3, 20.0, 60)])


@pytest.mark.parametrize("keys", [{}, {"tolerance_source": "curve"}, {"mode": "step"}])
def test_choose_gives_each_curve_its_own_life(keys: dict[str, str]) -> None:
    posture = PostureLife(LiquidityProvider.model_validate(keys))
    alpha = np.linspace(0.001, 0.3, 60)
    many = posture.choose(curves(), alpha)
    one = [posture.life(p, a) for p, a in zip(curves(), alpha, strict=True)]
    assert many.life_ns.tolist() == [life.life_ns for life in one]
    assert many.binding.tolist() == [life.binding for life in one]


def test_choose_by_value_gives_the_best_life_under_the_tolerance() -> None:
    """The same life as ``ExpectedValue.best`` between the minimum and what P(τ) ≤ α leaves; 0 where nothing is left."""
    settings = PostureSettings.model_validate(
        {"mode": "expected_value", "tolerance": 0.1, "tolerance_source": "curve", "life_min": "50ms",
         "life_max": "3s"}
    )  # fmt: skip
    value = ExpectedValue(TierValue(informed_share=0.4), ValueSettings())
    many = PostureLife(settings).choose_by_value(curves(), value, edge_ticks=0.4, h_ticks=1.0)
    given = 0
    for p, life_ns, worth in zip(curves(), many.life_ns, many.value_ticks, strict=True):
        cap = min(3000 * MS, invert(p, 0.1) // 1000 * 1000)
        if cap < 50 * MS:
            assert life_ns == 0 and np.isnan(worth)
            continue
        best = value.best(p, edge_ticks=0.4, h_ticks=1.0, low_ns=50 * MS, high_ns=cap)
        if best.life_value_ticks > 1e-9:
            given += 1
            assert (life_ns, worth) == (best.life_ns, best.life_value_ticks)
        else:
            assert life_ns == 0 and np.isnan(worth)
    assert given > 20


def test_what_is_no_curve_is_refused() -> None:
    posture = PostureLife(LiquidityProvider())
    with pytest.raises(ValueError, match="never fall"):
        posture.choose(curves()[:, ::-1])
    with pytest.raises(ValueError, match="shape"):
        posture.choose(curves()[:, :4])
