"""Trees by plain recursion: a twin of the flat layout, and random ensembles that fall with their last column."""

import base64
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LEAF = 0xFFFF


def packed(
    sizes: Sequence[int], slots: Sequence[int], values: Sequence[float], base: float
) -> dict[str, Any]:
    """The JSON-ready form, as its description says."""
    arrays = {
        "sizes": np.array(sizes, "<i4"),
        "slots": np.array(slots, "<u2"),
        "values": np.array(values, "<f4"),
    }
    return {"base": float(np.float32(base))} | {
        name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()
    }


def unpacked(entry: dict[str, Any]) -> tuple[list[int], list[int], npt.NDArray[np.float32]]:
    raw = {name: base64.b64decode(entry[name]) for name in ("sizes", "slots", "values")}
    return (
        np.frombuffer(raw["sizes"], "<i4").tolist(),
        np.frombuffer(raw["slots"], "<u2").tolist(),
        np.frombuffer(raw["values"], "<f4"),
    )


def margin(
    sizes: Sequence[int],
    slots: Sequence[int],
    values: npt.NDArray[np.float32],
    base: float,
    row: Sequence[float],
) -> float:
    """One row, NaN where missing: float32 throughout, one tree after the other."""
    with np.errstate(over="ignore"):
        x = [np.float32(value) for value in row]
    total = np.float32(base)
    first = 0
    for size in sizes:
        node = 0
        while slots[first + node] != LEAF:
            slot = slots[first + node]
            left = slot % 2 == 0 if np.isnan(x[slot // 2]) else bool(x[slot // 2] < values[first + node])
            splits_before = sum(slot != LEAF for slot in slots[first : first + node])
            node = 2 * splits_before + (1 if left else 2)
        total = np.float32(total + values[first + node])
        first += size
    return float(total)


def random_ensemble(
    rng: np.random.Generator,
    columns: int,
    *,
    trees: int = 12,
    depth: int = 4,
    falls_with: Collection[int] = (),
) -> dict[str, Any]:
    """Trees of random shapes, never rising with ``falls_with``: a split on such a column parts the range of leaves."""
    sizes, slots, values = [], [], []
    for _ in range(trees):
        queue: list[tuple[int, float, float]] = [(0, -0.3, 0.3)]
        for level, low, high in queue:
            if level == depth or rng.random() < 0.15:
                slots.append(LEAF)
                values.append(float(rng.uniform(low, high)))
                continue
            column = int(rng.integers(columns))
            slots.append(2 * column + int(rng.integers(2)))
            values.append(float(rng.normal()))
            middle = float(rng.uniform(low, high))
            left, right = ((middle, high), (low, middle)) if column in falls_with else ((low, high),) * 2
            queue += [(level + 1, *left), (level + 1, *right)]
        sizes.append(len(queue))
    return packed(sizes, slots, values, float(rng.normal()))


def random_parameters(rng: np.random.Generator, features: Sequence[str]) -> dict[str, Any]:
    """Parameters of a tree model over ``features``, ln(h/room) and ln(h/σ)."""
    features = list(dict.fromkeys([*features, "spread_ticks", "microprice_deviation"]))
    columns = len(features) + 2
    return {
        "intercepts": rng.normal(0, 1, 12).tolist(),
        "features": [
            {
                "name": name,
                "per": "sigma" if rng.random() < 0.3 else None,
                "reference": float(rng.normal()),
            }
            for name in features
        ],
        "log_room": True,
        "log_threshold": True,
        "ensembles": [
            {
                "weights": np.maximum(rng.normal(0.5, 0.5, 12), 0.0).tolist(),
                **random_ensemble(rng, columns, falls_with=(columns - 2, columns - 1)),
            }
            for _ in range(int(rng.integers(1, 5)))
        ],
    }
