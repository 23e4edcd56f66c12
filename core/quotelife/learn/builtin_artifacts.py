"""Write the shipped, unfitted artifacts: ``python -m quotelife.learn.builtin_artifacts FOLDER``."""

import sys
from pathlib import Path

from quotelife.model.artifact import save_artifact
from quotelife.model.curve import CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.golden import GoldenModel

CREATED_BY = "quotelife 0.1.0"

GOLDEN_TEXT = (
    "Fixed coefficients for tests and demonstrations, fitted to nothing. Calm: spread_volatility_ratio 1, "
    "top_update_ratio 1, no news, book_imbalance_log 0 give P(500 ms) = .005. Stress: "
    "spread_volatility_ratio 10, top_update_ratio 5, news_score -1 or +1, book_imbalance_log ln 0.5 give "
    "P(500 ms) = .15, logit -1.734601. h and sigma are not read."
)
FIRST_PASSAGE_TEXT = "P(tau) = 2 Phi(-h / (sigma sqrt(tau))): driftless diffusion, fitted to nothing."


def write(parent: Path, model: CurveModel, text: str) -> Path:
    """One unfitted artifact in ``parent/<kind>``."""
    return save_artifact(
        model, parent, name=model.kind, folder=model.kind, description=text, created_by=CREATED_BY
    )


def main(parent: Path) -> None:
    """Write ``first_passage`` and ``golden`` below ``parent``."""
    write(parent, FirstPassageModel(), FIRST_PASSAGE_TEXT)
    write(parent, GoldenModel(), GOLDEN_TEXT)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
