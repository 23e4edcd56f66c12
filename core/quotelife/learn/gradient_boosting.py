"""XGBoost, as it is called here: in rounds that can be interrupted and resumed, bit-equal for equal data and seed.

Each round of rounds starts from the bytes of the booster so far, whether it was interrupted or not, so that resuming
changes nothing. XGBoost is imported here and in ``time_boosters`` only: the server never does.
"""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.errors import QuotelifeError

ROUNDS = 25  # trees between checkpoints


@dataclass(frozen=True)
class Recipe:
    """How trees are grown.

    ``leaf_rows``: least rows of a leaf were its hits as frequent as all. XGBoost counts in units of p(1 − p), so that
    a fixed number would mean 170 times as many rows where 1 in 170 is hit.
    """

    trees: int = 200
    depth: int = 5
    eta: float = 0.08
    rows_share: float = 0.5
    columns_share: float = 0.5
    leaf_rows: float = 1000.0
    bins: int = 128
    seed: int = 1
    threads: int = 1


def xgboost() -> Any:
    """The module. ``QuotelifeError`` saying how to install it."""
    try:
        import xgboost as module
    except ImportError:
        raise QuotelifeError("training trees needs XGBoost; pip install 'quotelife[learn]'") from None
    return module


def boost(
    columns: npt.NDArray[np.float32],
    hit: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.float64],
    recipe: Recipe,
    *,
    falling: int = 1,
    checkpoint: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Any:
    """A booster of ``recipe.trees`` trees whose margin is logit P(hit), never rising with the last ``falling`` columns.

    ``checkpoint``: folder where the booster so far is kept; one of other data or another recipe there is not taken up.
    ``progress(trees done, of all)``. ``QuotelifeError`` where all or none were hit.
    """
    module = xgboost()
    rate = float(np.average(hit, weights=weight))
    if not 0.0 < rate < 1.0:
        raise QuotelifeError(
            f"{'all' if rate else 'none'} of {len(hit)} rows passed the threshold: choose another, or a longer span"
        )
    parameters = {
        "objective": "binary:logistic",
        "base_score": rate,
        "max_depth": recipe.depth,
        "eta": recipe.eta,
        "subsample": recipe.rows_share,
        "colsample_bytree": recipe.columns_share,
        "min_child_weight": max(1.0, recipe.leaf_rows * rate * (1.0 - rate)),
        "max_bin": recipe.bins,
        "tree_method": "hist",
        "seed": recipe.seed,
        "seed_per_iteration": True,
        "nthread": recipe.threads,
        "monotone_constraints": (0,) * (columns.shape[1] - falling) + (-1,) * falling,
    }
    key = _key(columns, hit, weight, recipe)
    raw, done = _resume(checkpoint, key)
    with _interrupts_held():
        data = module.QuantileDMatrix(
            columns, hit, weight=weight, max_bin=recipe.bins, nthread=recipe.threads
        )
    while done < recipe.trees:
        progress(done, recipe.trees)
        rounds = min(ROUNDS, recipe.trees - done)
        so_far = None if raw is None else module.Booster(parameters, model_file=bytearray(raw))
        booster = module.train({**parameters, "seed": recipe.seed + done}, data, rounds, xgb_model=so_far)
        raw, done = bytes(booster.save_raw("ubj")), done + rounds
        _keep(checkpoint, key, raw, done)
    progress(done, recipe.trees)
    return module.Booster(model_file=bytearray(raw or b""))


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes when the block is over. XGBoost reads a matrix by calling back into Python: an exception there is
    swallowed, and its heap is broken after."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if held:
            signal.raise_signal(signal.SIGINT)


def _key(columns: Any, hit: Any, weight: Any, recipe: Recipe) -> str:
    sha = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for array in (columns, hit, weight):
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def _resume(folder: Path | None, key: str) -> tuple[bytes | None, int]:
    path = None if folder is None else folder / f"{key[:16]}.ubj"
    if path is None or not path.exists():
        return None, 0
    head, _, raw = path.read_bytes().partition(b"\n")
    name, _, done = head.decode("ascii", "replace").partition(" ")
    whole, _, digest = done.partition(" ")
    if name != key or digest != hashlib.sha256(raw).hexdigest() or not whole.isdigit():
        return None, 0
    return raw, int(whole)


def _keep(folder: Path | None, key: str, raw: bytes, done: int) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{key[:16]}.ubj"
    aside = path.with_suffix(".tmp")
    aside.write_bytes(f"{key} {done} {hashlib.sha256(raw).hexdigest()}\n".encode() + raw)
    aside.replace(path)
