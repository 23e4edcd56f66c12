"""The golden model gives the documented probabilities to the documented inputs."""

import math

import pytest

from quotelife.errors import ArtifactError
from quotelife.learn import builtin_artifacts
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.curve import invert
from quotelife.model.golden import PARAMETERS, GoldenModel
from quotelife.units import NS_PER_MS

CALM = {"spread_volatility_ratio": 1.0, "top_update_ratio": 1.0, "book_imbalance_log": 0.0}
STRESS = {
    "spread_volatility_ratio": 10.0,
    "top_update_ratio": 5.0,
    "news_score": -1.0,
    "book_imbalance_log": math.log(0.5),
}
P500 = 5


def curve(features: dict[str, float]) -> list[float]:
    p = load_artifact(builtin_artifact("golden")).curve(features, h_ticks=1.0, sigma_ticks=math.nan)
    assert p is not None
    return p.tolist()  # type: ignore[no-any-return]


def test_stress_gives_15_percent() -> None:
    """The scenario of ``quotelife demo``: p500 = .1500, logit −1.734601."""
    p500 = curve(STRESS)[P500]
    assert p500 == pytest.approx(0.15, abs=1e-15)
    assert math.log(p500 / (1 - p500)) == pytest.approx(-1.734601, abs=5e-7)


def test_calm_gives_half_a_percent() -> None:
    assert curve(CALM)[P500] == pytest.approx(0.005, abs=1e-15)
    assert curve({}) == curve(CALM)


def test_news_one_second_old_and_stronger_stress_give_the_same() -> None:
    aged = {
        **STRESS,
        "news_score": -(0.5 ** (1 / 60)),
        "spread_volatility_ratio": 40.0,
        "book_imbalance_log": -1.1,
    }
    assert curve(aged) == curve(STRESS)


def test_the_side_does_not_matter() -> None:
    assert curve({**STRESS, "news_score": 1.0, "book_imbalance_log": math.log(2.0)}) == pytest.approx(
        curve(STRESS)
    )


def test_half_way_lies_between() -> None:
    assert 0.005 < curve({**CALM, "spread_volatility_ratio": 4.0})[P500] < 0.15


def test_the_lives_of_the_scenario_follow() -> None:
    """150 ms at 2 % under stress; 2,902 ms at 10 % in calm, to the millisecond."""
    assert invert(curve(STRESS), 0.02) / NS_PER_MS == pytest.approx(150.0, abs=1e-3)
    assert round(invert(curve(CALM), 0.10) / NS_PER_MS) == 2902


def test_the_shipped_artifacts_are_what_the_code_writes(tmp_path: object) -> None:
    builtin_artifacts.main(tmp_path)  # type: ignore[arg-type]
    for name in ("golden", "first_passage"):
        written = load_artifact(tmp_path / name)  # type: ignore[operator]
        assert written.digest == load_artifact(builtin_artifact(name)).digest


def test_calm_must_lie_below_stress() -> None:
    entry = {**PARAMETERS["features"][0], "calm": 5.0}
    with pytest.raises(ArtifactError, match="must lie above calm"):
        GoldenModel({**PARAMETERS, "features": [entry]})
