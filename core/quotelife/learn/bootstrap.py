"""Block bootstrap: intervals for figures of dependent rows (Künsch 1989; blocks drawn with replacement).

Neighbouring decisions see the same market, so whole stretches of time are drawn instead of rows. Most figures here are
functions of sums over rows; the sums are taken once a block, and a draw is a weighting of blocks.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

DRAWS = 1000


def block_of(now_ns: Longs, block_ns: int) -> Longs:
    """(n,) the block of each row, numbered from 0 without holes; blocks are aligned to time, not to the first row."""
    if block_ns <= 0:
        raise ValueError("block_ns must be above 0")
    _, found = np.unique(now_ns // block_ns, return_inverse=True)
    return found.reshape(-1).astype(np.int64)


def block_sums(block: Longs, values: npt.ArrayLike) -> Floats:
    """(blocks, k) sums of ``values`` (n,) or (n, k)."""
    columns = np.asarray(values, dtype=np.float64).reshape(len(block), -1)
    blocks = int(block.max()) + 1 if len(block) else 0
    return np.column_stack([np.bincount(block, column, minlength=blocks) for column in columns.T])


def weights(blocks: int, *, seed: int, draws: int = DRAWS) -> Floats:
    """(draws, blocks): how often each block is drawn."""
    if blocks < 1:
        raise ValueError("there are no blocks to draw from")
    rng = np.random.default_rng(seed)
    return rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=draws).astype(np.float64)


def interval(values: Floats, level: float = 0.95) -> list[float] | None:
    """[low, high] of the draws that gave a number; none where fewer than half did."""
    known = values[np.isfinite(values)]
    if 2 * len(known) < len(values) or not len(known):
        return None
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return [float(low), float(high)]


def mean_with_interval(block: Longs, values: Floats, *, seed: int, draws: int = DRAWS) -> dict[str, Any]:
    """The mean of ``values`` (n,) and its interval."""
    sums = block_sums(block, np.column_stack([values, np.ones(len(values))]))
    drawn = weights(len(sums), seed=seed, draws=draws) @ sums
    return {"mean": float(values.mean()), "interval": interval(drawn[:, 0] / drawn[:, 1])}
