"""From an XGBoost booster to the ``ensembles`` entry of a tree model."""

from typing import Any, Protocol

from quotelife.model.booster_file import read_booster
from quotelife.model.tree_curve import pack
from quotelife.records import HORIZONS_NS


class SavesRaw(Protocol):
    """What is asked of an ``xgboost.Booster``; so this module reads boosters where XGBoost is not installed."""

    def save_raw(self, raw_format: str = ...) -> bytearray: ...


def ensemble_parameters(booster: SavesRaw, weight: float = 1.0) -> dict[str, Any]:
    """``booster`` as an entry of ``TreeCurveModel``'s ``ensembles``, with ``weight`` at every horizon.

    Its columns must be the model's: the features in their order, then ln(h/σ) where the model reads it. All its
    trees are taken: slice the booster first where fewer are wanted. ``ArtifactError`` for what the trees here
    cannot be: see ``quotelife.model.booster_file``.
    """
    return {"weights": [weight] * len(HORIZONS_NS), **pack(read_booster(bytes(booster.save_raw("ubj"))))}
