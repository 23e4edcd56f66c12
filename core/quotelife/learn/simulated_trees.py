"""The shipped trees, fitted on simulated markets alone: nobody's data, and no market's.

    python -m quotelife.learn.simulated_trees FOLDER [--hours 2] [--seed 20241201]

Trained as the universal model is, of the two simulated instruments with news shocks and their headlines, and refused
unless, in a market of another seed, P(500 ms) is at most .01 in calm at the demonstration's thresholds; and one second
into a full shock, for a quote in ETH that the shock runs against and that stands ``STRESSED_BPS`` away, both P and the
share that is passed are in [.10, .25] and differ by at most ``APART_MOST``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quotelife.errors import QuotelifeError
from quotelife.learn.bootstrap_logistic import (
    START_NS,
    WARMUP_NS,
    Shocks,
    SimulatedInstrument,
    drawn_shocks,
    run_market,
)
from quotelife.learn.builtin_artifacts import CREATED_BY
from quotelife.learn.dataset import LONGEST_NS, Decisions, ReferencePath
from quotelife.learn.drift import feature_bins
from quotelife.learn.gradient_boosting import Recipe
from quotelife.learn.labels import NEVER, first_passage_ns, observed_ns
from quotelife.learn.samples import Market, markets, passages
from quotelife.learn.train import evaluate, training_record
from quotelife.learn.training import Fitted, train_universal
from quotelife.model.artifact import save_artifact
from quotelife.model.curve import CurveModel
from quotelife.sim.market import NewsShock
from quotelife.units import NS_PER_MS, NS_PER_S

NAME = "simulated_trees"
RECIPE = Recipe(trees=150, depth=4, eta=0.2, columns_share=0.8, leaf_rows=100.0, bins=64, seed=20241201)
ROWS_WANTED = 200_000
SHARES = (0.60, 0.15, 0.25)
SHOCKS = Shocks(gap_s=110.0, intensity=(0.7, 1.3))
P500 = 5  # place on the grid
CALM_BPS = {"BTCUSDT": 0.26, "ETHUSDT": 0.36}  # of configs/demo
STRESSED_SYMBOL, STRESSED_BPS = "ETHUSDT", 2.0
TOLD_BPS = (0.36, 1.0, 1.5, 2.0, 2.4)  # what the manifest tells of the shock
STRESSED_AGE_NS = (900 * NS_PER_MS, 1100 * NS_PER_MS)
CALM_MOST = 0.01
STRESSED = (0.10, 0.25)
APART_MOST = 0.05
SHOCKS_TOLD = 96  # quotes of one shock fare alike: 24 tell the share that is passed to 8 points, these to 4


def decisions(
    hours: float,
    seed: int,
    *,
    shocks: Sequence[NewsShock] | None = None,
    gap_ns: float = 300.0 * NS_PER_MS,
) -> list[Decisions]:
    """Labelled decisions of both symbols at the demonstration's thresholds, with ``shocks`` or such as ``SHOCKS``.

    Left out are those within whose labels a shock would begin. Nothing tells of it before, so that it would put into
    calm how often the simulator was told to have news, and nothing else.
    """
    plan = (
        drawn_shocks(SHOCKS, hours, np.random.default_rng(seed)) if shocks is None else shocks
    )  # as the market's
    market, instruments = run_market(
        hours,
        seed,
        lambda rng, reference: 1.0,
        shocks=SHOCKS if shocks is None else shocks,
        gap_ns=gap_ns,
        headlines=True,
    )
    starts = np.array([shock.start_ns for shock in plan] + [NEVER])
    names = [symbol.symbol for symbol in market.config.symbols]
    out = []
    for name, each in zip(names, instruments, strict=True):
        one = _decisions(name, each)
        following = starts[np.searchsorted(starts, one.now_ns, side="right")]
        out.append(one[np.flatnonzero(following - one.now_ns > LONGEST_NS)])
    return out


def _decisions(name: str, instrument: SimulatedInstrument) -> Decisions:
    rows = sorted(instrument.rows, key=lambda row: row[:2])
    time_ns, value = np.array(instrument.times, dtype=np.int64), np.array(instrument.path)
    last = np.append(np.diff(time_ns) > 0, True)  # of the changes of one instant
    path = ReferencePath(time_ns[last], value[last], value[last], np.ones(int(last.sum()), dtype=bool))
    now = np.array([row[0] for row in rows], dtype=np.int64)
    side = np.array([row[1] for row in rows], dtype=np.int8)
    reference = np.array([row[4] for row in rows])
    h = CALM_BPS[name] * 1e-4 * reference
    watched = observed_ns(path, now, latency_ns=0, longest_ns=LONGEST_NS)
    passage = first_passage_ns(path, "microprice", now, side, reference, h, latency_ns=0, observed_ns=watched)
    return Decisions(
        instrument=name,
        group="simulated",
        tick_size=1.0,
        reference="microprice",
        latency_ns=0,
        now_ns=now,
        side=side,
        x=np.array([np.where(row[6], row[5], np.nan) for row in rows], dtype=np.float32),
        sigma_ticks=np.array([row[3] for row in rows]),
        reference_ticks=reference,
        mid_ticks=reference,
        spread_ticks=np.zeros(len(rows)),
        regime=np.zeros(len(rows), dtype=np.int8),
        observed_ns=watched,
        h_ticks=h[:, None],
        passage_ns=passage[:, None],
        path=path,
        thresholds=("demonstration",),
    )


def fit(found: list[Market]) -> Fitted:
    """The model; equal markets give equal bytes."""
    return train_universal(found, RECIPE, rows_wanted=ROWS_WANTED)


def shock_answers(model: CurveModel, seed: int, shocks: int = SHOCKS_TOLD) -> dict[str, Any]:
    """Mean P(500 ms) in a market of ``seed``: ``calm`` of the instrument where it is most, before any shock; and
    ``shock``, of the quotes that a shock runs against, for each of ``TOLD_BPS``: ``p``, and ``passed``, the share whose
    threshold was passed within 500 ms."""
    found, plan = shocked_market(seed, shocks)
    told: dict[str, Any] = {"calm": 0.0, "shocks": shocks, "shock": []}
    for one in found:
        p = p500(model, one, one.h_ticks[:, 0])
        told["calm"] = max(told["calm"], float(p[one.now_ns < plan[0].start_ns].mean()))
        if one.instrument != STRESSED_SYMBOL:
            continue
        hurt = np.zeros(len(p), dtype=bool)
        for shock in plan:
            age = one.now_ns - shock.start_ns
            hurt |= (age >= STRESSED_AGE_NS[0]) & (age < STRESSED_AGE_NS[1]) & (one.side == -shock.direction)
        rows = np.flatnonzero(hurt)
        for bps in TOLD_BPS:
            h = bps * 1e-4 * one.reference_ticks
            told["shock"].append(
                {
                    "bps": bps,
                    "p": float(p500(model, one, h)[rows].mean()),
                    "passed": float((passages(one, rows, h[rows]) <= 500 * NS_PER_MS).mean()),
                    "quotes": len(rows),
                }
            )
    return told


def shocked_market(seed: int, shocks: int) -> tuple[list[Decisions], list[NewsShock]]:
    """Decisions of both symbols in a market of ``seed`` with full shocks of 4 s, one each 30 s, up and down in turn."""
    first = START_NS + WARMUP_NS + 20 * NS_PER_S
    plan = [
        NewsShock(
            start_ns=first + 30 * k * NS_PER_S,
            duration_ns=4 * NS_PER_S,
            direction=(-1) ** k,
            score=(-1.0) ** k,
        )
        for k in range(shocks)
    ]
    hours = (plan[-1].start_ns + 10 * NS_PER_S - START_NS) / (3600.0 * NS_PER_S)
    return decisions(hours, seed, shocks=plan, gap_ns=40.0 * NS_PER_MS), plan


def faults(told: dict[str, Any]) -> list[str]:
    """Where the answers leave the bounds of the module's docstring."""
    at = next(entry for entry in told["shock"] if entry["bps"] == STRESSED_BPS)
    found = (
        [] if told["calm"] <= CALM_MOST else [f"in calm P(500 ms) is {told['calm']:.4f}, above {CALM_MOST}"]
    )
    for name in ("p", "passed"):
        if not STRESSED[0] <= at[name] <= STRESSED[1]:
            found.append(
                f"under the shock, at {STRESSED_BPS} bp, {name} is {at[name]:.3f}, outside {STRESSED}"
            )
    if abs(at["p"] - at["passed"]) > APART_MOST:
        found.append(
            f"P is {at['p']:.3f} where {at['passed']:.3f} is passed: further apart than {APART_MOST}"
        )
    return found


def p500(model: CurveModel, of: Decisions, h_ticks: np.ndarray) -> np.ndarray:
    """(n,) P(500 ms) at any thresholds."""
    x, valid = of.inputs(slice(None), h_ticks)
    return np.asarray(model.curves(x, valid, h_ticks, of.sigma_ticks)[0][:, P500])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m quotelife.learn.simulated_trees", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help=f"where the folder {NAME!r} is written; it must not exist yet"
    )
    parser.add_argument("--hours", type=float, default=2.0, help="simulated time")
    parser.add_argument("--seed", type=int, default=20241201)
    options = parser.parse_args(arguments)
    found = markets(decisions(options.hours, options.seed), shares=SHARES)
    fitted = fit(found)
    model = fitted.model
    told = shock_answers(model, options.seed + 1)
    if wrong := faults(told):
        raise QuotelifeError(
            "; ".join(wrong) + ": nothing to ship; simulate more hours, or choose another threshold"
        )
    metrics, tables = evaluate(model, found, {market.instrument: [0] for market in found})
    save_artifact(
        model,
        options.folder,
        name=NAME,
        folder=NAME,
        description=(
            "Universal trees, fitted on simulated markets only: they know the simulator, not a "
            "venue. Train on recorded data, with quotelife train, before quoting on it."
        ),
        created_by=CREATED_BY,
        training={
            **training_record(found, "universal", SHARES),
            "source": "quotelife.sim, two correlated symbols with news shocks",
            "importance": fitted.importance,
            "seed": options.seed,
            "hours": options.hours,
            "shock": {**told, "stressed_bps": STRESSED_BPS, "calm_bps": CALM_BPS},
            "feature_bins": feature_bins(found, model),
        },
        metrics=metrics,
        reliability=tables,
    )
    sys.stdout.write(f"{told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
