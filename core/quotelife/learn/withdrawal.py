"""What a watch is worth by how long its withdrawal takes: fixed lives and expected value, a request at a time.

A quote is taken back once the mid has moved half of h against it; that counts from ``path_ns`` later. Expected value
counts on the share of losses that such a watch leaves over, for each path the one of ``WATCH_SHARES`` that brought most
on the calibration slice. docs/backtest.md tells the figures.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from quotelife.config.schema import ValueSettings
from quotelife.learn.backtest import (
    FLOWS,
    MS,
    WATCH_SHARES,
    Case,
    S,
    best_static,
    free_posture,
    judged_rows,
    meet,
    policy_rows,
    value_lives,
)
from quotelife.learn.bootstrap import block_of, means, weights
from quotelife.learn.dataset import Floats, Longs
from quotelife.learn.flow import Met, Withdrawal
from quotelife.learn.loss_given_pickoff import Learned, learn

PATHS_NS = (1 * MS, 5 * MS, 50 * MS, 500 * MS)
EXPECTED = "expected value"
UNWATCHED_LIFE = "expected value, life of no watch"


def by_path(met: Met, path_ns: int) -> Met:
    """The same quotes and takers, with a withdrawal that takes ``path_ns``."""
    return replace(met, withdrawn_ns=met.withdrawn_ns + (path_ns - Withdrawal().path_ns))


def lives_by_share(met: Met, p: Floats, learned: Learned) -> dict[float, Longs]:
    """Lives (n,) by expected value for each share of losses that a watch is counted on to leave."""
    free = free_posture()
    return {share: value_lives(met, p, free, ValueSettings(), learned, share, 1.0) for share in WATCH_SHARES}


def withdrawal_values(
    case: Case, model: str, *, progress: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """Value a request in h for each flow, without a watch (``path_ns`` null) and for each of ``PATHS_NS``.

    ``over_static`` is over the best fixed life under the same watch, ``over_unwatched`` over the best without one,
    ``over_short`` over the life that expected value gives where nobody watches; their intervals are of the
    differences, request by request.
    """
    plan, p = case.plan, case.curves[model]
    rows = judged_rows(case, [model])
    train = policy_rows(case, case.split.train, [])
    tune = policy_rows(case, case.split.calibrate, [model])[::2]
    inside = np.ones(len(rows), bool)
    block = block_of(case.decisions.now_ns[rows], plan.block_ns)
    draws = weights(int(block.max()) + 1, seed=plan.seed)
    out: list[dict[str, Any]] = []
    for name, flow in FLOWS.items():
        progress(f"{case.name}, {case.decisions.reference}: withdrawal, {name}")
        past, met, tuning = (meet(case, part, flow) for part in (train, rows, tune))
        learned = learn(past)
        tuned, lives = lives_by_share(tuning, p[tune], learned), lives_by_share(met, p[rows], learned)
        unwatched: Floats = np.empty(0)
        for path_ns in (None, *PATHS_NS):
            watched = path_ns is not None
            before, there, now = (
                (each if path_ns is None else by_path(each, path_ns)) for each in (past, tuning, met)
            )
            share = best_share(there, tuned) if watched else 1.0
            static_ns = best_static(before, withdraw=watched)
            chosen = {
                "static best": np.full(len(rows), static_ns, dtype=np.int64),
                "static 2 s": np.full(len(rows), 2 * S, dtype=np.int64),
                EXPECTED: lives[share],
            } | ({UNWATCHED_LIFE: lives[1.0]} if watched else {})
            settled = {policy: now.settle(life, withdraw=watched) for policy, life in chosen.items()}
            base, short = settled["static best"].value_in_h, settled[UNWATCHED_LIFE if watched else EXPECTED]
            if not watched:
                unwatched = base
            for policy, got in settled.items():
                worth = got.value_in_h
                columns = np.column_stack([worth, worth - base, worth - unwatched, worth - short.value_in_h])
                found = means(columns, inside, block, draws)
                row: dict[str, Any] = {"case": name, "path_ns": path_ns, "policy": policy}
                for key, (value, interval) in zip(
                    ("value", "over_static", "over_unwatched", "over_short"), found, strict=True
                ):
                    row[key] = value
                    row["interval" if key == "value" else f"{key}_interval"] = interval
                out.append(
                    row
                    | {
                        "fill": float(got.fill.mean()),
                        "pickoffs": float(got.picked.mean()),
                        "declined": float((chosen[policy] == 0).mean()),
                        "life_ms": float(chosen[policy].mean() / MS),
                        "static_life_ns": static_ns,
                        "watch_share": share,
                    }
                )
    return out


def best_share(met: Met, lives: dict[float, Longs]) -> float:
    """The share whose lives bring most under the withdrawal of ``met``; 1 where there is nothing to tell by."""
    if not len(met.decisions):
        return 1.0
    worth = {share: met.settle(life, withdraw=True).value_in_h.mean() for share, life in lives.items()}
    return max(worth, key=lambda share: worth[share])


def judge_withdrawal(
    case: Case, model: str, *, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """One case's ``withdrawal_values``, under the same head as ``backtest.judge`` gives."""
    d = case.decisions
    return {
        "name": case.name,
        "instrument": d.instrument,
        "reference": d.reference,
        "h": case.threshold,
        "h_ticks": float(np.nanmedian(case.h_ticks)),
        "latency_ns": d.latency_ns,
        "model": model,
        "rows": len(case.split.test),
        "block_s": case.plan.block_ns / S,
        "horizons": [],
        "frontier": [],
        "value": [],
        "held_tolerance": [],
        "withdrawal": withdrawal_values(case, model, progress=progress),
    }


def withdrawal_targets(sets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By the microprice, each flow and path: expected value not shown to bring less than the best fixed life, with
    a watch neither less than that under the same watch nor less than that without one; the harder one is told."""
    out: list[dict[str, Any]] = []
    for entry in sets:
        if entry["reference"] != "microprice":
            continue
        for row in entry["withdrawal"]:
            if row["policy"] != EXPECTED:
                continue
            watched = row["path_ns"] is not None
            value, interval = min(
                (
                    (row[key], row[f"{key}_interval"])
                    for key in (("over_static", "over_unwatched") if watched else ("over_static",))
                ),
                key=lambda each: each[1][1] if each[1] else each[0],
            )
            way = f"withdrawal in {row['path_ns'] / MS:g} ms" if watched else "no withdrawal"
            out.append(
                {
                    "set": entry["name"],
                    "what": f"value over the best fixed life, {row['case']}, {way}",
                    "must": "not shown below 0"
                    + (", over the fixed life without withdrawal neither" if watched else ""),
                    "value": value,
                    "met": None if interval is None else interval[1] >= 0.0,
                    **({"interval": interval} if interval else {"reason": "too few blocks for an interval"}),
                }
            )
    return out
