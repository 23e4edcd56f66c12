"""``quotelife bench trees``: margins of boosters beside XGBoost's own, and a whole decision with such a model.

XGBoost runs in a process of its own, so that the command line never imports it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quotelife.errors import QuotelifeError

NO_XGBOOST = 3
SHIPPED = "simulated_trees"


def bench_trees(rounds: int, decide_ns: Callable[[str], float]) -> dict[str, Any]:
    """Figures. ``decide_ns`` gives the p50 of a decision, in ns, with the artifact in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "quotelife.learn.time_boosters", folder, "--rounds", str(rounds)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode == NO_XGBOOST:
            raise QuotelifeError("bench trees needs XGBoost; pip install 'quotelife[learn]'")
        if run.returncode:
            raise QuotelifeError(f"bench trees: {(run.stderr.strip().splitlines() or ['no answer'])[-1]}")
        out: dict[str, Any] = json.loads(run.stdout)
        first = next(figures for figures in out.values() if isinstance(figures, dict))
        for name, artifact in (("decision", str(Path(folder) / "trees")), ("shipped_decision", SHIPPED)):
            p50 = decide_ns(artifact)
            out[name] = {
                "p50_ns": round(p50),
                "inplace_predict_ns": first["inplace_predict_ns"],
                "inplace_predict_to_decision": round(first["inplace_predict_ns"] / p50, 1),
            }
    return out
