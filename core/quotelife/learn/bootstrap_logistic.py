"""The shipped logistic model, fitted on simulated markets alone: nobody's data, and no market's.

    python -m quotelife.learn.bootstrap_logistic FOLDER [--hours 2.5] [--seed 20241107]

Simulates correlated books with news shocks, takes decisions at random times on both sides with thresholds
from 1 to 100 ticks, labels each with the first passage of the reference price, fits the pooled hazard on the
first 65 % of the time and scores it on the rest, 10 s apart. The scores are written to the manifest.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.features.probe import FeatureProbe
from quotelife.features.schema import INDEX, NAMES
from quotelife.learn.builtin_artifacts import CREATED_BY
from quotelife.learn.hazard_fit import Floats, HazardData, fit_hazard, score
from quotelife.learn.samples import OFFSET, first_passage_logits
from quotelife.model.artifact import save_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.logistic import LogisticHazardModel
from quotelife.model.transform import apply
from quotelife.records import HORIZONS_NS, SideCode
from quotelife.sim.market import MarketConfig, MarketSimulator, NewsShock
from quotelife.sim.updates import DepthUpdate, TopUpdate, TradeUpdate
from quotelife.units import NS_PER_MS, NS_PER_S

START_NS = 1_700_000_000 * NS_PER_S
LATENCY_NS = 1 * NS_PER_MS
WARMUP_NS = 90 * NS_PER_S
PURGE_NS = 10 * NS_PER_S  # the longest horizon, and room for the windows of a shock
DECISION_GAP_NS = 300 * NS_PER_MS  # mean time between decisions on one instrument
SHOCK_GAP_S = 170.0
MICROPRICE_SPREAD_TICKS_MAX = 4.0  # wider spreads are referred to their mid
ONE_TICK_SHARE = 0.2  # of decisions; the rest has a threshold log-uniform in 1..H_TICKS_MAX
H_TICKS_MAX = 100.0
# Thresholds scored apart: over all of them, telling 1 tick from 100 would pass for skill.
BANDS = ((0.0, 1.0), (1.0, 5.0), (5.0, 20.0), (20.0, 100.0))
TRAIN_SHARE = 0.65
CLIP = 5.0
RIDGE = 20.0

# Free of ticks, lots and currency, so that the same weights mean the same on another instrument.
INPUTS = (
    ("queue_imbalance", "identity"),
    ("book_imbalance_log", "identity"),
    ("microprice_deviation", "asinh"),
    ("book_pressure", "identity"),
    ("order_flow_imbalance_100ms", "asinh"),
    ("order_flow_imbalance_1s", "asinh"),
    ("trade_imbalance_500ms", "identity"),
    ("trade_imbalance_2s", "identity"),
    ("last_move_direction", "identity"),
    ("last_move_age_s", "log1p"),
    ("mid_moves_1s", "log1p"),
    ("volatility_ratio", "log1p"),
    ("spread_ticks", "log1p"),
    ("spread_volatility_ratio", "log1p"),
    ("top_update_ratio", "log1p"),
    ("cancel_ratio", "log1p"),
)


@dataclass
class Samples:
    """n labelled decisions in order of time: ``x`` (n, 128), ``valid`` (n, 2), ``event`` as in HazardData."""

    time_ns: npt.NDArray[np.int64]
    x: Floats
    valid: npt.NDArray[np.uint64]
    h_ticks: Floats
    sigma_ticks: Floats
    event: npt.NDArray[np.int64]

    def __getitem__(self, rows: Any) -> "Samples":
        return Samples(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def digest(self) -> str:
        """SHA-256 over the bytes of all columns."""
        sha = hashlib.sha256()
        for name in self.__dataclass_fields__:
            sha.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return sha.hexdigest()


class SimulatedInstrument:
    """One symbol's features, the path of its reference price, and the decisions taken on it."""

    def __init__(self) -> None:
        self.probe = FeatureProbe()
        self.reference = float("nan")
        self.times: list[int] = []
        self.path: list[float] = []
        self.rows: list[tuple[int, int, float, float, float, Floats, npt.NDArray[np.bool_]]] = []

    def apply(self, update: DepthUpdate | TopUpdate | TradeUpdate) -> None:
        t = update.time_ns + LATENCY_NS
        if isinstance(update, TopUpdate):
            bid, bid_lots, ask, ask_lots = update[3:7]
            self.probe.quote(t, bid, bid_lots, ask, ask_lots)
            if bid_lots and ask_lots and ask > bid:
                if ask - bid <= MICROPRICE_SPREAD_TICKS_MAX:
                    self.reference = (ask * bid_lots + bid * ask_lots) / (bid_lots + ask_lots)
                else:
                    self.reference = (bid + ask) / 2.0
                self.times.append(t)
                self.path.append(self.reference)
        elif isinstance(update, TradeUpdate):
            aggressor = SideCode.ASK if update.seller_is_aggressor else SideCode.BID
            self.probe.trade(t, update.price_ticks, update.lots, int(aggressor))
        else:
            levels = [(int(SideCode.BID), level) for level in update.bids]
            levels += [(int(SideCode.ASK), level) for level in update.asks]
            for i, (side, (price, lots)) in enumerate(levels):
                self.probe.level(t, side, price, lots, last=i == len(levels) - 1)

    def decide(self, t: int, side: int, h_ticks: float) -> None:
        sigma = self.probe.sigma(t)
        if sigma is not None and self.path:
            x, valid = self.probe.vector(t, side, h_ticks=h_ticks)
            self.rows.append((t, side, h_ticks, sigma, self.reference, x, valid))

    def label(self, last_ns: int) -> list[tuple[int, float, float, int, Floats, npt.NDArray[np.bool_]]]:
        """Every decision whose longest horizon is over, with the bin in which its threshold was passed."""
        times = np.array(self.times)
        path = np.array(self.path)
        grid = np.array(HORIZONS_NS)
        out = []
        for t, side, h, sigma, reference, x, valid in self.rows:
            if t + HORIZONS_NS[-1] > last_ns:
                continue
            i, j = np.searchsorted(times, (t, t + HORIZONS_NS[-1]), side="right")
            passed = -side * (path[i:j] - reference) >= h
            first = int(np.argmax(passed)) if passed.any() else -1
            event = int(np.searchsorted(grid, times[i + first] - t)) if first >= 0 else len(grid)
            out.append((t, h, sigma, event, x, valid))
        return out


@dataclass(frozen=True)
class Shocks:
    """News shocks of random time, length, strength and direction; ``gap_s`` is the mean time between them."""

    gap_s: float = SHOCK_GAP_S
    intensity: tuple[float, float] = (0.2, 1.0)


def drawn_shocks(shocks: Shocks, hours: float, rng: np.random.Generator) -> list[NewsShock]:
    """Random shocks of a market that runs for ``hours``, none in its warm-up."""
    stop_ns = START_NS + round(hours * 3600 * NS_PER_S)
    at = START_NS + WARMUP_NS
    planned = []
    while (at := at + round(rng.exponential(shocks.gap_s) * NS_PER_S) + 10 * NS_PER_S) < stop_ns:
        direction = int(rng.choice([-1, 1]))
        planned.append(
            NewsShock(
                at,
                round(rng.uniform(1.0, 6.0) * NS_PER_S),
                intensity=float(rng.uniform(*shocks.intensity)),
                direction=direction,
                score=float(direction),
            )
        )
    return planned


def run_market(
    hours: float,
    seed: int,
    threshold: Callable[[np.random.Generator, float], float],
    *,
    shocks: Shocks | Sequence[NewsShock] = Shocks(),
    gap_ns: float = DECISION_GAP_NS,
    headlines: bool = False,
) -> tuple[MarketSimulator, list[SimulatedInstrument]]:
    """One simulated market with decisions of both sides at random times, ``gap_ns`` apart in the mean.

    ``threshold(rng, reference in ticks)`` gives h in ticks. ``shocks`` are random ones or those given; with
    ``headlines`` the features tell of their news. Equal arguments give equal decisions.
    """
    rng = np.random.default_rng(seed)
    market = MarketSimulator(MarketConfig(), seed, START_NS)
    planned = drawn_shocks(shocks, hours, rng) if isinstance(shocks, Shocks) else list(shocks)
    for shock in planned:
        market.add_shock(shock)
    instruments = [SimulatedInstrument() for _ in market.config.symbols]
    due = [START_NS + WARMUP_NS + round(rng.exponential(gap_ns)) for _ in instruments]
    heard = [(shock.start_ns, shock.score) for shock in planned if shock.score is not None]
    told = [heard[:] if headlines else [] for _ in instruments]
    for symbol, instrument in enumerate(instruments):
        book = market.snapshot(symbol)
        instrument.probe.snapshot(START_NS, book.bids, book.asks)
    for update in market.run(hours * 3600):
        instrument = instruments[update.symbol]
        while due[update.symbol] < update.time_ns + LATENCY_NS:
            h = threshold(rng, instrument.reference)
            news = told[update.symbol]
            while news and news[0][0] + LATENCY_NS <= due[update.symbol]:
                came_ns, headline = news.pop(0)
                instrument.probe.news(due[update.symbol], headline, source_ns=came_ns + LATENCY_NS)
            for side in (1, -1):
                instrument.decide(due[update.symbol], side, h)
            due[update.symbol] += max(1, round(rng.exponential(gap_ns)))
        instrument.apply(update)
    return market, instruments


def one_tick_or_more(rng: np.random.Generator, reference_ticks: float) -> float:
    """h in ticks of the logistic model's samples."""
    one_tick = rng.random() < ONE_TICK_SHARE
    return 1.0 if one_tick else float(np.exp(rng.uniform(0.0, np.log(H_TICKS_MAX))))


def simulate(hours: float, seed: int) -> Samples:
    """Decisions with their labels from one simulated market. Equal arguments give equal bytes."""
    market, instruments = run_market(hours, seed, one_tick_or_more)
    rows = [row for instrument in instruments for row in instrument.label(market.now_ns)]
    rows.sort(key=lambda row: row[0])
    x = np.zeros((len(rows), 128))
    x[:, : len(NAMES)] = [row[4] for row in rows]
    valid = np.zeros((len(rows), 2), dtype=np.uint64)
    for i in range(len(NAMES)):
        bits = np.array([row[5][i] for row in rows], dtype=np.uint64)
        valid[:, i // 64] |= bits << np.uint64(i % 64)
    return Samples(
        np.array([row[0] for row in rows], dtype=np.int64),
        x,
        valid,
        np.array([row[1] for row in rows]),
        np.array([row[2] for row in rows]),
        np.array([row[3] for row in rows], dtype=np.int64),
    )


def transformed(samples: Samples) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The model's inputs after their transforms (n, f), and where they are missing."""
    g = np.zeros((len(samples.event), len(INPUTS)))
    missing = np.zeros(g.shape, dtype=bool)
    for i, (name, transform) in enumerate(INPUTS):
        column = INDEX[name]
        missing[:, i] = (samples.valid[:, column // 64] >> np.uint64(column % 64)) & np.uint64(1) == 0
        g[:, i] = [apply(transform, value) for value in samples.x[:, column]]
    return g, missing


def train(samples: Samples) -> LogisticHazardModel:
    """Fit on all of ``samples``."""
    g, missing = transformed(samples)
    seen = np.where(missing, np.nan, g)
    mean = np.nanmean(seen, axis=0)
    scale = np.nanstd(seen, axis=0)
    if not (scale > 0.0).all():
        raise ValueError(f"{INPUTS[int(np.argmin(scale))][0]} never moves; take it out of INPUTS")
    z = np.where(missing, 0.0, np.clip((g - mean) / scale, -CLIP, CLIP))
    offset = first_passage_logits(samples.h_ticks, samples.sigma_ticks)
    fit = fit_hazard(HazardData(z, missing, offset, samples.event), ridge=RIDGE)
    return LogisticHazardModel(
        {
            "intercepts": fit.intercepts.tolist(),
            "clip": CLIP,
            "offset": {"coefficient": fit.coefficient, "min": OFFSET[0], "max": OFFSET[1]},
            "features": [
                {
                    "name": name,
                    "transform": transform,
                    "mean": float(mean[i]),
                    "scale": float(scale[i]),
                    "weight": float(fit.weight[i]),
                    "slope": float(fit.slope[i]),
                    "missing": float(fit.missing[i]),
                }
                for i, (name, transform) in enumerate(INPUTS)
            ],
        }
    )


def evaluate(model: CurveModel, samples: Samples) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(metrics, reliability) of ``model``: over all thresholds first, then per band of them.

    First passage on the same rows stands beside each score.
    """
    metrics: list[dict[str, Any]] = []
    tables: list[dict[str, Any]] = []
    for low, high in ((0.0, H_TICKS_MAX), *BANDS):
        part = samples[(samples.h_ticks > low) & (samples.h_ticks <= high)]
        inputs = (part.x, part.valid, part.h_ticks, part.sigma_ticks)
        scored, binned = score(model.curves(*inputs)[0], part.event)
        plain, _ = score(FirstPassageModel().curves(*inputs)[0], part.event)
        for entry, table, base in zip(scored, binned, plain, strict=True):
            band = {"h_ticks_above": low, "h_ticks_up_to": high}
            for key in ("auc", "brier_skill", "calibration_error"):
                entry[f"first_passage_{key}"] = base[key]
            metrics.append(entry | band)
            tables.append(table | band)
    return metrics, tables


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m quotelife.learn.bootstrap_logistic", description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="where the folder 'logistic' is written; it must not exist yet"
    )
    parser.add_argument("--hours", type=float, default=2.5, help="simulated time")
    parser.add_argument("--seed", type=int, default=20241107)
    options = parser.parse_args(arguments)
    samples = simulate(options.hours, options.seed)
    cut = samples.time_ns[0] + round(TRAIN_SHARE * float(samples.time_ns[-1] - samples.time_ns[0]))
    first = samples[samples.time_ns + PURGE_NS < cut]
    rest = samples[samples.time_ns >= cut]
    model = train(first)
    metrics, tables = evaluate(model, rest)
    at_500ms = next(entry for entry in metrics if entry["horizon_ns"] == 500 * NS_PER_MS)
    if model.parameters()["offset"]["coefficient"] <= 0.0:
        raise ValueError("the fit turns first passage round: more hours are needed")
    if at_500ms["brier_skill"] <= at_500ms["first_passage_brier_skill"]:
        raise ValueError("the fit does not beat first passage: nothing worth shipping")
    save_artifact(
        model,
        options.folder,
        name="logistic",
        folder="logistic",
        description=(
            "Pooled logistic hazard over first passage, fitted on simulated markets only: it knows the "
            "simulator, not a venue. Fit it again on recorded data before quoting on it."
        ),
        created_by=CREATED_BY,
        training={
            "source": "quotelife.sim, two correlated symbols with news shocks",
            "seed": options.seed,
            "span_start_ns": int(first.time_ns[0]),
            "span_end_ns": int(first.time_ns[-1]),
            "rows": len(first.event),
            "test_start_ns": int(rest.time_ns[0]),
            "test_end_ns": int(rest.time_ns[-1]),
            "test_rows": len(rest.event),
            "data_digest": samples.digest(),
            "ridge": RIDGE,
        },
        metrics=metrics,
        reliability=tables,
    )
    sys.stdout.write("    h ticks  horizon   base    AUC   skill    ECE  first passage: AUC, skill, ECE\n")
    for entry in metrics:
        scores = " ".join(
            f"{entry[prefix + 'auc']:6.3f} {entry[prefix + 'brier_skill']:+7.3f}"
            f" {entry[prefix + 'calibration_error']:6.4f}"
            for prefix in ("", "first_passage_")
        )
        sys.stdout.write(
            f"{entry['h_ticks_above']:>4g}..{entry['h_ticks_up_to']:<5g}"
            f" {entry['horizon_ns'] // NS_PER_MS:>5} ms {entry['base_rate']:6.4f} {scores}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
