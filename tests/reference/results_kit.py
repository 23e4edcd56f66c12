"""Results as ``quotelife backtest --json`` gives them, small and made up, with names that try a page."""

from typing import Any

import numpy as np

NASTY = '<script>alert("x")</script> & sons'
START_NS = 1_723_400_000_000_000_000
POLICIES = {
    "expected value": (-0.87, -0.85, -0.82, -0.76, -0.55),
    "tolerance inversion": (-0.84, -0.82, -0.78, -0.68, 0.17),
    "logistic, expected value": (-0.86, -0.84, -0.81, -0.74, -0.5),
}


def one_set(name: str = "GBP", seed: int = 1, points: int = 200) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    time_ns = (START_NS + np.arange(points) * 60_000_000_000).tolist()
    life = np.clip(800.0 / (0.2 + np.abs(np.sin(np.arange(points) / 20.0))), 100.0, 5000.0)
    return {
        "name": name,
        "instrument": "6B",
        "reference": "microprice",
        "h": "1 tick",
        "h_ticks": 1.0,
        "rows": 84_000,
        "block_s": 60.0,
        "split": {"train": [START_NS - 10**13, START_NS - 10**12], "test": [time_ns[0], time_ns[-1]]},
        "horizons": [
            {
                "horizon_ns": horizon_ns,
                "rows": 42_000,
                "prevalence": base,
                "models": [_scored("volatility", 0.001, base, rng), _scored(NASTY, 0.0453, base, rng)],
            }
            for horizon_ns, base in ((100_000_000, 0.001), (500_000_000, 0.0065), (2_000_000_000, 0.034))
        ],
        "frontier": [
            {"policy": policy, "fill": fill, "pickoffs": 0.1 * fill * (1 + change), "static_pickoffs": 0.1 * fill,
             "change": change, "interval": [change - 0.06, change + 0.05]}
            for policy, changes in POLICIES.items()
            for fill, change in zip((0.2, 0.3, 0.5, 0.7, 0.9), changes, strict=True)
        ],
        "value": [
            {"case": "fast client, marked at accept", "slice": part, "policy": policy, "value": worth,
             "interval": [worth - 0.004, worth + 0.005]}
            for part in ("all", "top risk decile")
            for policy, worth in (("static 2 s", 0.301), ("expected value", 0.3125), ("withdrawn", -0.012))
        ],
        "held_tolerance": [
            {"posture": "RISK_AVERSE", "alpha": 0.02, "held": held, "model": "universal", "decisions": 84_000,
             "realised": 0.0213, "worst_2000": worst, "bound_limited": 1234, "declined": 12}
            for held, worst in ((True, 0.0265), (False, 0.0615))
        ],
        "lives": {
            "time_ns": time_ns,
            "mid": (10_000 + np.cumsum(rng.normal(0, 2, points))).tolist(),
            "sigma_ticks": (0.3 + np.abs(np.sin(np.arange(points) / 20.0))).tolist(),
            "regime": [1 if 100 <= i < 120 else 3 if 120 <= i < 130 else 0 for i in range(points)],
            "life_ms": {"expected value": life.tolist(),
                        "tolerance inversion": [None if 120 <= i < 130 else float(v) for i, v in enumerate(life / 2)],
                        "static 2 s": [850.0] * points},
        },
    }  # fmt: skip


def results(*sets: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": 1,
        "seed": 7,
        "data_digest": "68cea359",
        "build": "0.1.0",
        "sets": list(sets) or [one_set()],
    }


def _scored(model: str, skill: float, base: float, rng: np.random.Generator) -> dict[str, Any]:
    said = base * np.linspace(0.0, 3.0, 10)
    return {
        "model": model, "auc": 0.9004, "auc_within_10min": 0.661, "brier_skill": skill,
        "brier_skill_interval": [skill - 0.016, skill + 0.016], "ece": 0.0031, "log_loss": 0.1,
        "reliability": [
            {"rows": 4200, "p": float(p), "hit": float(rng.binomial(4200, min(1.0, 1.2 * p)) / 4200)} for p in said
        ],
    }  # fmt: skip
