"""P_bid(x) = P_ask(mirror x), from the events on: a market upside down gives the other side's curve."""

import numpy as np
import pytest

from quotelife.features.probe import FeatureProbe
from quotelife.features.schema import NAMES, SCHEMA
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.curve import UNMIRRORED, CurveModel
from quotelife.model.tree_curve import TreeCurveModel
from quotelife.units import NS_PER_MS, NS_PER_S
from reference import tree_kit

START = 1_000 * NS_PER_S
BID, ASK = 1, 2


def market(seed: int, upside_down: bool) -> FeatureProbe:
    """Two minutes of a random book around 100,000 ticks, or its mirror image around that price."""
    rng = np.random.default_rng(seed)
    probe = FeatureProbe()
    centre = 100_000

    def price(offset: int) -> int:
        return centre - offset if upside_down else centre + offset

    def side(value: int) -> int:
        return BID + ASK - value if upside_down else value

    bids = [(price(-i), 50 + 3 * i) for i in range(1, 30)]
    asks = [(price(i), 40 + 2 * i) for i in range(1, 30)]
    probe.snapshot(START, *((asks, bids) if upside_down else (bids, asks)))
    best = {BID: -1, ASK: 1}
    t = START
    for _ in range(3_000):
        t += int(rng.integers(1, 80)) * NS_PER_MS
        which = int(rng.integers(1, 3))
        out = -1 if which == BID else 1
        action = rng.random()
        if action < 0.2:
            probe.trade(t, price(best[which]), int(rng.integers(1, 9)), side(BID + ASK - which))
        elif action < 0.35 and abs(best[which]) < 6:
            probe.level(t, side(which), price(best[which]), 0)
            best[which] += out
        elif action < 0.5 and best[ASK] - best[BID] > 1:
            best[which] -= out
            probe.level(t, side(which), price(best[which]), int(rng.integers(5, 90)))
        else:
            depth = best[which] + out * int(rng.integers(0, 5))
            probe.level(t, side(which), price(depth), int(rng.integers(5, 90)))
    probe.news(t, -0.7 if upside_down else 0.7)
    return probe


def trees() -> CurveModel:
    """Over every feature that moves here and that a model may read; none stands on a threshold of a split."""
    names = [spec.name for spec in SCHEMA if spec.name not in UNMIRRORED and spec.name != "threshold"]
    return TreeCurveModel(tree_kit.random_parameters(np.random.default_rng(8), names))


@pytest.mark.parametrize("kind", ["first_passage", "golden", "logistic", "trees"])
@pytest.mark.parametrize("seed", range(4))
def test_a_mirrored_market_gives_the_other_sides_curve(kind: str, seed: int) -> None:
    model = trees() if kind == "trees" else load_artifact(builtin_artifact(kind))
    plain, mirrored = market(seed, False), market(seed, True)
    now = START + 200 * NS_PER_S
    curves = []
    for probe, side in ((plain, 1), (mirrored, -1)):
        x, valid = probe.vector(now, side, h_ticks=2.0)
        sigma = probe.sigma(now)
        assert sigma is not None
        features = {name: float(x[i]) for i, name in enumerate(NAMES) if valid[i]}
        curves.append(model.curve(features, h_ticks=2.0, sigma_ticks=sigma))
    assert curves[0] is not None and 0.0 < curves[0][5] < 1.0
    # Sums run over the same numbers, but bps and VWAPs are taken at mirrored, not at equal, prices.
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-6)
