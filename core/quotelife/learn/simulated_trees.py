"""The shipped trees, fitted on simulated markets alone: nobody's data, and no market's.

    python -m quotelife.learn.simulated_trees FOLDER [--hours 1] [--seed 20241201]

Trained as the universal model is, of the two simulated instruments with news shocks, and refused unless P(500 ms) is at
most .01 in calm at the demonstration's thresholds, and in [.10, .25] one second into a full shock, in a market of
another seed, for a quote in ETH that the shock runs against and that stands ``STRESSED_BPS`` away (SPEC 13.4).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from quotelife.learn.bootstrap_logistic import START_NS, WARMUP_NS, Shocks, SimulatedInstrument, run_market
from quotelife.learn.builtin_artifacts import CREATED_BY
from quotelife.learn.dataset import LONGEST_NS, Decisions, ReferencePath
from quotelife.learn.drift import feature_bins
from quotelife.learn.gradient_boosting import Recipe
from quotelife.learn.labels import first_passage_ns, observed_ns
from quotelife.learn.samples import Market, markets
from quotelife.learn.train import evaluate, training_record
from quotelife.learn.training import train_universal
from quotelife.model.artifact import save_artifact
from quotelife.model.curve import CurveModel
from quotelife.sim.market import NewsShock
from quotelife.units import NS_PER_MS, NS_PER_S

NAME = "simulated_trees"
RECIPE = Recipe(trees=50, depth=4, eta=0.15, leaf_rows=300.0, bins=64, seed=20241201)
ROWS_WANTED = 200_000
SHARES = (0.60, 0.15, 0.25)
SHOCKS = Shocks(gap_s=110.0, intensity=(0.2, 1.2))
P500 = 5  # place on the grid
CALM_BPS = {"BTCUSDT": 0.26, "ETHUSDT": 0.36}  # of configs/demo
STRESSED_SYMBOL, STRESSED_BPS = "ETHUSDT", 1.0
STRESSED_AGE_NS = (900 * NS_PER_MS, 1100 * NS_PER_MS)
CALM_MOST = 0.01
STRESSED = (0.10, 0.25)


def decisions(
    hours: float,
    seed: int,
    *,
    shocks: Shocks | list[NewsShock] = SHOCKS,
    gap_ns: float = 300.0 * NS_PER_MS,
) -> list[Decisions]:
    """Labelled decisions of both symbols at the demonstration's thresholds."""
    market, instruments = run_market(hours, seed, lambda rng, reference: 1.0, shocks=shocks, gap_ns=gap_ns)
    names = [symbol.symbol for symbol in market.config.symbols]
    return [_decisions(name, each) for name, each in zip(names, instruments, strict=True)]


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


def fit(found: list[Market]) -> CurveModel:
    """The model; equal markets give equal bytes."""
    return train_universal(found, RECIPE, rows_wanted=ROWS_WANTED).model


def shock_answers(model: CurveModel, seed: int, shocks: int = 4) -> dict[str, float]:
    """Mean P(500 ms) in a market of ``seed``: ``calm`` of the instrument where it is most, before any shock, and
    ``stressed``; and beside that how often the stressed quote's threshold was passed within 500 ms."""
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
    told: dict[str, float] = {"calm": 0.0}
    for one in decisions(hours, seed, shocks=plan, gap_ns=40.0 * NS_PER_MS):
        p = p500(model, one, one.h_ticks[:, 0])
        told["calm"] = max(told["calm"], float(p[one.now_ns < first].mean()))
        if one.instrument == STRESSED_SYMBOL:
            h = STRESSED_BPS * 1e-4 * one.reference_ticks
            hurt = np.zeros(len(p), dtype=bool)
            for shock in plan:
                age = one.now_ns - shock.start_ns
                hurt |= (
                    (age >= STRESSED_AGE_NS[0]) & (age < STRESSED_AGE_NS[1]) & (one.side == -shock.direction)
                )
            told["stressed"] = float(p500(model, one, h)[hurt].mean())
            passed = first_passage_ns(
                one.path,
                one.reference,
                one.now_ns,
                one.side,
                one.reference_ticks,
                h,
                latency_ns=0,
                observed_ns=one.observed_ns,
            )
            told["stressed_passed"] = float((passed[hurt] <= 500 * NS_PER_MS).mean())
    return told


def p500(model: CurveModel, of: Decisions, h_ticks: np.ndarray) -> np.ndarray:
    """(n,) P(500 ms) at any thresholds."""
    x, valid = of.inputs(slice(None), h_ticks)
    return np.asarray(model.curves(x, valid, h_ticks, of.sigma_ticks)[0][:, P500])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m quotelife.learn.simulated_trees", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help=f"where the folder {NAME!r} is written; it must not exist yet"
    )
    parser.add_argument("--hours", type=float, default=1.0, help="simulated time")
    parser.add_argument("--seed", type=int, default=20241201)
    options = parser.parse_args(arguments)
    found = markets(decisions(options.hours, options.seed), shares=SHARES)
    model = fit(found)
    told = shock_answers(model, options.seed + 1)
    if told["calm"] > CALM_MOST or not STRESSED[0] <= told["stressed"] <= STRESSED[1]:
        raise ValueError(f"P(500 ms) is {told}: not at most {CALM_MOST} in calm and in {STRESSED} in stress")
    metrics, tables = evaluate(model, found, {market.instrument: [0] for market in found})
    save_artifact(
        model,
        options.folder,
        name=NAME,
        folder=NAME,
        description=(
            "Universal trees over a pooled hazard, fitted on simulated markets only: they know the simulator, not a "
            "venue. Train on recorded data, with quotelife train, before quoting on it."
        ),
        created_by=CREATED_BY,
        training={
            **training_record(found, "universal", SHARES),
            "source": "quotelife.sim, two correlated symbols with news shocks",
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
