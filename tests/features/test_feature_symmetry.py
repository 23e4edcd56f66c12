"""P_bid(x) = P_ask(mirror x): a mirrored market seen from the other side gives the same features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.features.probe import FeatureProbe
from quotelife.features.schema import INDEX, NAMES, SCHEMA

MS = 1_000_000
SECOND = 1_000_000_000
T = 1_700_000_000 * SECOND
BID, ASK = 1, 2
CENTRE = (
    20_000_000  # price p mirrors to CENTRE − p; both lie at about half of it, so that ratios agree to 1e-5
)

# Features that name a side: the mirror exchanges them, and turns the ratio upside down.
EXCHANGED = {f"depth_bid_{n}": f"depth_ask_{n}" for n in (1, 3, 5, 10)}
RELATIVE = {name for name in NAMES if "velocity" in name or "vwap" in name or name == "spread_bps"}


def other_side(name: str) -> str:
    return name.replace("_own_", "_?_").replace("_opposite_", "_own_").replace("_?_", "_opposite_")


def play(rows: list[tuple[int, int, int, int, int]], mirrored: bool) -> FeatureProbe:
    """Steps (dt, what, side, offset, lots) played straight or mirrored."""
    probe, driver = FeatureProbe(), FeatureProbe()
    probe.set_driver(0, driver)

    def price(p: int) -> int:
        return CENTRE - p if mirrored else p

    def flip(side: int) -> int:
        return 3 - side if mirrored else side

    half = CENTRE // 2
    bids = [(half - 1 - k, 10 + k) for k in range(12)]
    asks = [(half + 1 + k, 20 + k) for k in range(12)]
    if mirrored:
        bids, asks = [(price(p), q) for p, q in asks], [(price(p), q) for p, q in bids]
    t = T
    probe.snapshot(t, bids, asks)
    driver.snapshot(t, bids, asks)
    for dt, what, side, offset, lots in rows:
        t += dt
        if what == 0:
            probe.trade(t, price(half + offset), 1 + lots, flip(side))
        else:
            at = half - 1 - offset if side == BID else half + 1 + offset
            (driver if what == 1 else probe).level(t, flip(side), price(at), lots)
    return probe


ROWS = st.lists(
    st.tuples(
        st.sampled_from([0, MS, 40 * MS, 100 * MS, 300 * MS]),
        st.sampled_from([0, 1, 2, 2, 2]),
        st.sampled_from([BID, ASK]),
        st.integers(0, 11),
        st.sampled_from([0, 1, 7, 300]),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(ROWS, st.sampled_from([0, 500 * MS, 7 * SECOND]))
def test_mirrored_market_from_the_other_side(rows: list[tuple[int, int, int, int, int]], later: int) -> None:
    t = T + sum(row[0] for row in rows) + later
    straight, straight_valid = play(rows, mirrored=False).vector(t, 1, size_lots=5)
    mirror, mirror_valid = play(rows, mirrored=True).vector(t, -1, size_lots=5)
    expected, expected_valid = straight.copy(), straight_valid.copy()
    for bid, ask in EXCHANGED.items():
        pair, swapped = [INDEX[bid], INDEX[ask]], [INDEX[ask], INDEX[bid]]
        expected[pair], expected_valid[pair] = straight[swapped], straight_valid[swapped]
    ratio = INDEX["book_imbalance_ratio"]
    if expected_valid[ratio]:
        expected[ratio] = 1 / straight[ratio]
    assert (mirror_valid == expected_valid).all()
    for k, name in enumerate(NAMES):
        tolerance = 1e-4 if name in RELATIVE else 1e-12
        if "decorrelation" in name:
            tolerance = 1e-3
        assert mirror[k] == pytest.approx(expected[k], rel=tolerance, abs=1e-9), name


def test_signed_features_change_sign_with_the_side_and_no_others() -> None:
    rng = np.random.default_rng(3)
    rows = [
        (
            int(rng.integers(0, 60 * MS)),
            int(rng.integers(0, 3)),
            int(rng.integers(1, 3)),
            int(rng.integers(0, 12)),
            int(rng.integers(0, 50)),
        )
        for _ in range(600)
    ]
    probe = play(rows, mirrored=False)
    t = T + sum(row[0] for row in rows)
    probe.news(t, 0.5)
    probe.inventory(t, 30, 100)
    buys, buys_valid = probe.vector(t, 1, fill_rate=0.5)
    sells, sells_valid = probe.vector(t, -1, fill_rate=0.5)
    assert (buys_valid == sells_valid).all()
    signed = {spec.name for spec in SCHEMA if spec.signed}
    for k, name in enumerate(NAMES):
        # Inventory is positive when a fill pushes the position further the same way; own and opposite are of the quote.
        expected = -sells[k] if name in signed or name == "inventory" else sells[INDEX[other_side(name)]]
        assert buys[k] == expected, name
    seen = {name for k, name in enumerate(NAMES) if buys_valid[k] and buys[k] != 0 and name in signed}
    assert len(seen) >= 15, f"the stream must exercise the signed features; only {sorted(seen)} were not zero"
