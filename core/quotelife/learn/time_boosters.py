"""The other side of ``quotelife bench trees``: XGBoost's own inference beside ours, in one process.

    python -m quotelife.learn.time_boosters FOLDER [--rounds 5]

Trains boosters on made-up rows, asserts equal margins, writes a model of the first into FOLDER/trees and figures as
JSON to standard output: ns a row, ours over many rows without the GIL, XGBoost's one row a call. Exit code 3 when
XGBoost is not installed.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.features.schema import SCHEMA
from quotelife.learn.boosters import ensemble_parameters
from quotelife.model.artifact import save_artifact
from quotelife.model.booster_file import read_booster
from quotelife.model.curve import UNMIRRORED
from quotelife.model.tree_curve import TreeCurveModel
from quotelife.model.trees import TreeEnsemble

SHAPES = ((100, 4), (300, 6))  # trees, depth
COLUMNS = 24
TRAINED_ROWS = 4_000
ROWS = 20_000
CALLS = 500
NO_XGBOOST = 3


def _rows(rng: np.random.Generator, n: int) -> npt.NDArray[np.float32]:
    x = rng.standard_normal((n, COLUMNS), dtype=np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    return x


def _train(xgboost: Any, trees: int, depth: int) -> Any:
    """Falls with its last column, as a model over ln(h/σ) must."""
    rng = np.random.default_rng(depth)
    x = _rows(rng, TRAINED_ROWS)
    signal = np.nan_to_num(np.sin(2.0 * x[:, 0]) + x[:, 1] * x[:, 2] - x[:, -1])
    y = (signal + rng.standard_normal(TRAINED_ROWS) > 0.0).astype(np.float64)
    options = {
        "objective": "binary:logistic",
        "max_depth": depth,
        "nthread": 1,
        "monotone_constraints": tuple([0] * (COLUMNS - 1) + [-1]),
    }
    return xgboost.train(options, xgboost.DMatrix(x, y), trees)


def measure(booster: Any, rounds: int) -> dict[str, Any]:
    """ns a row of both, medians over interleaved rounds. ``AssertionError`` unless all margins are equal."""
    x = _rows(np.random.default_rng(1), ROWS)
    ours = read_booster(bytes(booster.save_raw("ubj")))
    linked = TreeEnsemble(ours.features, ours.base, ours.sizes, ours.slots, ours.values, fill=0)
    expected = booster.inplace_predict(x, predict_type="margin").tobytes()
    if ours.margins(x).tobytes() != expected or linked.margins(x).tobytes() != expected:
        raise AssertionError("the margins are not XGBoost's")
    times: dict[str, list[float]] = {"ours": [], "linked": [], "xgboost": []}
    for _ in range(rounds):
        for name, ensemble in (("ours", ours), ("linked", linked)):
            start = time.thread_time_ns()
            ensemble.margins(x)
            times[name].append((time.thread_time_ns() - start) / ROWS)
        calls = []
        for i in range(CALLS):
            row = x[i : i + 1]
            start = time.thread_time_ns()
            booster.inplace_predict(row, predict_type="margin")
            calls.append(time.thread_time_ns() - start)
        times["xgboost"].append(statistics.median(calls))
    ns = {name: statistics.median(values) for name, values in times.items()}
    return {
        "ns_per_row": round(ns["ours"]),
        "ns_per_row_node_by_node": round(ns["linked"]),
        "inplace_predict_ns": round(ns["xgboost"]),
        "inplace_predict_to_ours": round(ns["xgboost"] / ns["ours"]),
        "rows_with_equal_margins": ROWS,
    }


def _model(booster: Any) -> TreeCurveModel:
    names = [s.name for s in SCHEMA if s.name not in UNMIRRORED and s.name != "threshold"]
    return TreeCurveModel(
        {
            "intercepts": [0.0] * 12,
            "features": [{"name": name, "per": None, "reference": 0.0} for name in names[: COLUMNS - 1]],
            "log_threshold": True,
            "ensembles": [ensemble_parameters(booster)],
        }
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m quotelife.learn.time_boosters", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    try:
        import xgboost
    except ImportError:
        return NO_XGBOOST
    out: dict[str, Any] = {"xgboost": xgboost.__version__}
    for i, (trees, depth) in enumerate(SHAPES):
        booster = _train(xgboost, trees, depth)
        if i == 0:
            save_artifact(
                _model(booster),
                options.folder,
                name="trees",
                folder="trees",
                description="Trained on made-up rows.",
            )
        out[f"{trees}_trees_of_depth_{depth}"] = measure(booster, options.rounds)
    sys.stdout.write(json.dumps(out) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
