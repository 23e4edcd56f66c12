"""The numbers of docs/expected-value.md, recomputed by the twin and by the compiled code."""

import re
from pathlib import Path

import numpy as np
import pytest

from quotelife.config.schema import LiquidityProvider, TierValue
from quotelife.decision.expected_value import ExpectedValue
from quotelife.model.curve import first_passage, invert
from reference.value_twin import ValueTwin

TEXT = (Path(__file__).parents[2] / "docs" / "expected-value.md").read_text(encoding="utf-8")
EXAMPLE = TEXT[TEXT.index("## An example") : TEXT.index("## How it is computed")]
TIER = TierValue(informed_share=0.3)
POSTURE = LiquidityProvider()
H, EDGE, INVENTORY = 4.0, 1.0, 0.5
P = [float(p) for p in first_passage(H, 2.0)]
CAP_NS = invert(P, POSTURE.tolerance) // 1000 * 1000
TWIN = ValueTwin(TIER, POSTURE.value, P, EDGE, H, INVENTORY)
MS = 1_000_000


def test_the_table_of_values() -> None:
    rows = re.findall(r"^\| \**([\d,.]+) ms\** \| \**([−\d.]+)\** \|$", EXAMPLE, re.MULTILINE)
    assert len(rows) == 7
    for life, value in rows:
        tau_ns = float(life.replace(",", "")) * MS
        assert round(TWIN.value(tau_ns), 5) == float(value.replace("−", "-"))


def test_the_life_and_its_terms() -> None:
    best = ExpectedValue(TIER, POSTURE.value).best(
        P, edge_ticks=EDGE, h_ticks=H, inventory=INVENTORY, low_ns=100 * MS, high_ns=CAP_NS
    )
    assert f"**{best.life_ns / MS:.3f} ms** | **{best.life_value_ticks:.5f}**" in EXAMPLE
    life = np.array(best.life_ns, dtype=np.float64)
    accepted, moment = float(TWIN.accepted(life)), float(TWIN.moment(life))
    picked = float(TWIN.probability(life - TIER.taker_latency_ns))
    assert f"F_A = {accepted:.5f}, ∫P dF_A = {moment:.5f} and P(τ − 5 ms) = {picked:.5f}" in EXAMPLE
    terms = [0.7 * (EDGE * accepted - 0.25 * H * moment), -0.3 * (1.5 * H - EDGE) * picked, -0.2 * accepted]
    written = re.findall(r"  = +([−\d.]+) {5}\w", EXAMPLE)
    assert [f"{term:.5f}".replace("-", "−") for term in terms] == written
    assert sum(terms) == pytest.approx(best.life_value_ticks, abs=1e-9)


def test_the_cap_and_break_even() -> None:
    assert f"{CAP_NS / MS:,.1f} ms, worth {TWIN.value(CAP_NS):.5f}" in EXAMPLE.replace("\n", " ")
    assert f"P(500 ms) = {100 * P[5]:.2f} %, P(1 s) = {100 * P[7]:.2f} %" in EXAMPLE
    solver = ExpectedValue(TIER, POSTURE.value)
    with_position = solver.best(
        P, edge_ticks=EDGE, h_ticks=H, inventory=INVENTORY, low_ns=100 * MS, high_ns=CAP_NS
    )
    assert f"an edge of {with_position.break_even_ticks:.5f} ticks" in EXAMPLE
    without = solver.best(P, edge_ticks=EDGE, h_ticks=H, low_ns=500 * MS, high_ns=CAP_NS)
    assert f"below {without.break_even_ticks:.5f} ticks" in EXAMPLE
