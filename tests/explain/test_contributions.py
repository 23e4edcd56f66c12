"""What moved P(500 ms): contributions by hand, by all orders in plain Python, and what they add up to."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from quotelife.features.schema import INDEX
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.curve import Attribution, CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.golden import GoldenModel
from quotelife.model.logistic import LogisticHazardModel

P500 = 5
LOGISTIC = load_artifact(builtin_artifact("logistic"))


def term(name: str, weight: float, **keys: Any) -> dict[str, Any]:
    base = {"transform": "identity", "mean": 0.0, "scale": 1.0, "slope": 0.0, "missing": 0.0}
    return {"name": name, "weight": weight} | base | keys


def one_bin(*features: dict[str, Any], offset: float = 0.0) -> LogisticHazardModel:
    """All hazard before 500 ms in the bin that ends there: logit P(500 ms) is the bin's score."""
    intercepts = [-700.0] * 12
    intercepts[P500] = -2.0
    return LogisticHazardModel(
        {
            "intercepts": intercepts,
            "clip": 5.0,
            "offset": {"coefficient": offset, "min": -30.0, "max": 30.0},
            "features": list(features),
        }
    )


def attributed(model: CurveModel, features: dict[str, float], **keys: float) -> Attribution:
    inputs = {"h_ticks": 3.0, "sigma_ticks": 2.0, "h_reference": 1.0, "sigma_reference": 2.5} | keys
    found = model.attribute(features, **inputs)
    assert found is not None
    return found


def logit(p: float) -> float:
    return math.log(p / (1.0 - p))


def by_all_orders(
    model: CurveModel, features: dict[str, float], *, h: tuple[float, float], sigma: tuple[float, float]
) -> dict[str, float]:
    """Shapley values from the definition: every order of all inputs."""
    reference = model.reference()
    names = [*reference, "h_ticks", "sigma_ticks"]

    def value(present: frozenset[str]) -> float:
        row = {}
        for name, at_rest in reference.items():
            if name not in present:
                row[name] = at_rest
            elif name in features:
                row[name] = features[name]
        curve = model.curve(row, h_ticks=h["h_ticks" in present], sigma_ticks=sigma["sigma_ticks" in present])
        assert curve is not None
        return logit(float(curve[P500]))

    effects = dict.fromkeys(names, 0.0)
    orders = list(permutations(names))
    for order in orders:
        present: frozenset[str] = frozenset()
        for name in order:
            after = present | {name}
            effects[name] += (value(after) - value(present)) / len(orders)
            present = after
    return effects


def test_contributions_of_a_small_logistic_by_hand() -> None:
    """Score −2 + 0.5·(3 − 1)/2 + 0.25·(−4): half a logit up, one down; the weight of a missing one is its own."""
    model = one_bin(
        term("spread_ticks", 0.5, mean=1.0, scale=2.0),
        term("queue_imbalance", 0.25),
        term("book_pressure", 9.0, missing=0.125),
    )
    found = attributed(model, {"spread_ticks": 3.0, "queue_imbalance": -4.0})
    assert found.baseline == pytest.approx(-2.0, abs=1e-9)
    assert found.logit == pytest.approx(-2.0 + 0.5 - 1.0 + 0.125, abs=1e-9)
    assert found.effects == pytest.approx(
        {
            "spread_ticks": 0.5,
            "queue_imbalance": -1.0,
            "book_pressure": 0.125,
            "h_ticks": 0.0,
            "sigma_ticks": 0.0,
        },
        abs=1e-9,
    )


def test_a_mean_is_undone_by_the_transform() -> None:
    """The reference is the value whose transform is the mean that was fitted."""
    model = one_bin(
        term("spread_ticks", 1.0, transform="log", mean=math.log(4.0)),
        term("queue_imbalance", 1.0, transform="asinh", mean=math.asinh(-3.0)),
        term("mid_moves_1s", 1.0, transform="log1p", mean=math.log1p(7.0)),
        term("book_pressure", 1.0, transform="abs", mean=2.5),
    )
    expected = {"spread_ticks": 4.0, "queue_imbalance": -3.0, "mid_moves_1s": 7.0, "book_pressure": 2.5}
    assert model.reference() == pytest.approx(expected)
    assert attributed(model, expected).effects == pytest.approx(
        dict.fromkeys((*expected, "h_ticks", "sigma_ticks"), 0.0), abs=1e-12
    )


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_few_inputs_agree_with_every_order(offset: float) -> None:
    """Several bins make the logit bend, so that the order counts: the mean over all orders is what is meant."""
    parameters = one_bin(
        term("spread_ticks", 1.5), term("queue_imbalance", -2.0), term("book_pressure", 1.0), offset=offset
    ).parameters()
    model = LogisticHazardModel(parameters | {"intercepts": [-1.0 - 0.1 * k for k in range(12)]})
    features = {"spread_ticks": 2.0, "queue_imbalance": 1.0}
    found = attributed(model, features)
    assert found.effects == pytest.approx(by_all_orders(model, features, h=(1.0, 3.0), sigma=(2.5, 2.0)))


def test_golden_agrees_with_every_order() -> None:
    model = GoldenModel()
    features = {"spread_volatility_ratio": 4.2, "top_update_ratio": 9.0, "news_score": -0.6}
    found = attributed(model, features)
    assert found.effects == pytest.approx(by_all_orders(model, features, h=(1.0, 3.0), sigma=(2.5, 2.0)))
    assert found.effects["h_ticks"] == 0.0, "golden does not read it"


def test_first_passage_is_all_threshold_and_volatility() -> None:
    found = attributed(FirstPassageModel(), {"spread_ticks": 9.0})
    assert set(found.effects) == {"h_ticks", "sigma_ticks"}
    assert found.effects["h_ticks"] < 0.0 < -found.effects["sigma_ticks"], "farther and calmer: less likely"
    assert found.effects == pytest.approx(
        by_all_orders(FirstPassageModel(), {}, h=(1.0, 3.0), sigma=(2.5, 2.0))
    )


def random_input(rng: np.random.Generator) -> dict[str, float]:
    return {
        name: float(value + rng.normal() * (1.0 + abs(value)))
        for name, value in LOGISTIC.reference().items()
        if rng.random() < 0.9
    }


@pytest.mark.parametrize("seed", range(20))
def test_baseline_and_contributions_add_up_to_the_logit(seed: int) -> None:
    """Also where the orders are sampled: the sum of each order telescopes."""
    rng = np.random.default_rng(seed)
    features = random_input(rng)
    keys = {"h_ticks": float(rng.uniform(1, 20)), "sigma_ticks": float(rng.uniform(0.5, 20))}
    found = attributed(LOGISTIC, features, **keys)
    curve = LOGISTIC.curve(features, **keys)
    assert curve is not None
    assert found.logit == pytest.approx(logit(float(curve[P500])), rel=1e-9)
    assert found.baseline + math.fsum(found.effects.values()) == pytest.approx(found.logit, abs=1e-9)


def test_sampled_orders_come_close_to_very_many() -> None:
    """16 orders against 1,000 of numpy's own: within 0.05 of a logit and 5 % of the whole movement."""
    rng = np.random.default_rng(3)
    features = random_input(rng)
    reference = LOGISTIC.reference() | {"h_ticks": 1.0, "sigma_ticks": 2.5}
    actual = features | {"h_ticks": 3.0, "sigma_ticks": 2.0}
    names = list(reference)
    n, orders = len(names), 1000
    x, valid = np.zeros((orders * (n + 1), 128)), np.zeros((orders * (n + 1), 2), dtype=np.uint64)
    h, sigma = np.empty(len(x)), np.empty(len(x))
    ranks = np.argsort(rng.random((orders, n)), axis=1)
    row = 0
    for rank in ranks:
        for step in range(n + 1):
            for k, name in enumerate(names):
                on = rank[k] < step
                value = actual.get(name) if on else reference[name]
                if name == "h_ticks":
                    h[row] = value
                elif name == "sigma_ticks":
                    sigma[row] = value
                elif value is not None:
                    x[row, INDEX[name]] = value
                    valid[row, INDEX[name] // 64] |= np.uint64(1) << np.uint64(INDEX[name] % 64)
            row += 1
    p, answered = LOGISTIC.curves(x, valid, h, sigma)
    assert answered.all()
    steps = np.diff(np.log(p[:, P500] / (1 - p[:, P500])).reshape(orders, n + 1), axis=1)
    found = attributed(LOGISTIC, features)
    scale = sum(abs(effect) for effect in found.effects.values())
    for k, name in enumerate(names):
        expected = float(np.mean(steps[np.arange(orders), ranks[:, k]]))
        assert abs(found.effects[name] - expected) < min(0.05, 0.05 * scale), name


def test_no_answer_gives_no_contributions() -> None:
    """The shipped logistic stands on volatility; without it there is nothing to attribute."""
    found = LOGISTIC.attribute(
        {}, h_ticks=1.0, sigma_ticks=math.nan, h_reference=1.0, sigma_reference=math.nan
    )
    assert found is None
