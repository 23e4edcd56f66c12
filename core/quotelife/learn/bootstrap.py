"""Block bootstrap: intervals for figures of dependent rows (Künsch 1989; blocks drawn with replacement).

Neighbouring decisions see the same market, so whole stretches of time are drawn instead of rows. Most figures here are
functions of sums over rows; the sums are taken once a block, and a draw is a weighting of blocks.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

DRAWS = 1000
BLOCKS_MIN = 10  # fewer say nothing of what another stretch of time would have given


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


def interval(values: Floats, blocks: int, level: float = 0.95) -> list[float] | None:
    """[low, high] of the draws of a figure whose rows lie in so many ``blocks``; none where those are fewer than
    ``BLOCKS_MIN``, or more draws lack a number than either tail holds, for what they would have been could then lie
    inside."""
    if blocks < BLOCKS_MIN:
        return None
    known = values[np.isfinite(values)]
    tail = (1.0 - level) / 2.0
    if not len(known) or len(values) - len(known) > tail * len(values) + 1e-9:
        return None
    low, high = np.quantile(known, [tail, 1.0 - tail])
    return [float(low), float(high)]


def means(
    values: Floats, inside: npt.NDArray[np.bool_], block: Longs, drawn: Floats
) -> list[tuple[float, list[float] | None]]:
    """For each column of ``values`` (n, k) its mean over the rows ``inside`` (n,) and that mean's interval over
    ``drawn``, which ``weights`` gives; none where the rows lie in fewer than ``BLOCKS_MIN`` blocks."""
    part = values[inside]
    sums = block_sums(block, np.column_stack([values, np.ones(len(values))]) * inside[:, None])
    count = drawn @ sums[:, -1]
    with np.errstate(invalid="ignore"):
        found = (drawn @ sums[:, :-1]) / np.where(count > 0, count, np.nan)[:, None]
    filled = int((sums[:, -1] > 0).sum())
    return [
        (float(mean), interval(column, filled))
        for mean, column in zip(part.mean(axis=0), found.T, strict=True)
    ]
