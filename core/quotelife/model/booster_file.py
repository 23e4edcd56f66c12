"""XGBoost's model files, JSON and UBJ, read without XGBoost.

Read is every booster of trees with one output: no categories, no classes, no vector leaves, no DART, no linear booster.
What is refused and what is corrupt is an ``ArtifactError`` that says which; no bytes do anything else.

Formats: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html and https://ubjson.org.
"""

import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.errors import ArtifactError
from quotelife.model.trees import (
    LEAF,
    NODES_MOST,
    TREES_MOST,
    TreeEnsemble,
    log_margin,
    logistic_margin,
)

BYTES_MOST = 1 << 28
DEPTH_MOST = 64  # of what is nested; a booster nests 8 deep

# Objectives by what makes a margin of the stored base score.
LOGISTIC = frozenset({"binary:logistic", "reg:logistic"})
LOG = frozenset({"survival:aft", "count:poisson", "reg:gamma"})
IDENTITY = frozenset({"reg:squarederror"})

UBJ_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
UBJ_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


def read_booster(raw: bytes) -> TreeEnsemble:
    """The trees in a saved booster. ``ArtifactError`` for what is no such file or holds what is not supported."""
    if len(raw) > BYTES_MOST:
        raise ArtifactError(f"a booster of more than {BYTES_MOST} bytes")
    model = _object(_read_json(raw) if re.match(rb'\s*\{\s*["}]', raw) else _Ubj(raw).document(), "file")
    learner = _object(model.get("learner"), "learner")
    booster = _object(learner.get("gradient_booster"), "gradient_booster")
    if booster.get("name") != "gbtree":
        raise ArtifactError(
            f"gradient_booster: {booster.get('name')!r} is not supported; train with booster=gbtree"
        )
    shape = _object(learner.get("learner_model_param"), "learner_model_param")
    if _whole(shape, "num_class", "learner_model_param", 0) > 1:
        raise ArtifactError("learner_model_param: several classes are not supported; train one booster each")
    if _whole(shape, "num_target", "learner_model_param", 1) > 1:
        raise ArtifactError("learner_model_param: several targets are not supported; train one booster each")
    features = _whole(shape, "num_feature", "learner_model_param")
    trees = _object(booster.get("model"), "gradient_booster.model").get("trees")
    if not isinstance(trees, list) or len(trees) > TREES_MOST:
        raise ArtifactError(f"gradient_booster.model.trees: a list of at most {TREES_MOST} trees is needed")
    flat = [_tree(tree, f"trees[{i}]", features) for i, tree in enumerate(trees)]
    return TreeEnsemble(
        features,
        _base_margin(learner, shape),
        np.array([len(slots) for slots, _ in flat], dtype=np.int32),
        np.concatenate([slots for slots, _ in flat] or [np.empty(0, np.uint16)]),
        np.concatenate([values for _, values in flat] or [np.empty(0, np.float32)]),
    )


def _base_margin(learner: dict[str, Any], shape: dict[str, Any]) -> float:
    """``base_score`` is stored as the objective's output; XGBoost sums from the margin that gives it."""
    objective = _object(learner.get("objective"), "objective").get("name")
    score = shape.get("base_score")
    match = re.fullmatch(r"\[?([-+0-9.eE]{1,40})\]?", score) if isinstance(score, str) else None
    try:
        value = float(np.float32(match[1])) if match else np.nan
    except ValueError:
        value = np.nan
    if objective in IDENTITY:
        margin = value
    elif objective in LOGISTIC:
        margin = logistic_margin(value) if 0.0 < value < 1.0 else np.nan
    elif objective in LOG:
        margin = log_margin(value) if value > 0.0 else np.nan
    else:
        raise ArtifactError(f"objective: {objective!r} is not supported; there are {_known()}")
    if not np.isfinite(margin):
        raise ArtifactError(f"learner_model_param.base_score: {score!r} is none of {objective}")
    return margin


def _known() -> str:
    return ", ".join(sorted(LOGISTIC | LOG | IDENTITY))


def _tree(value: object, where: str, features: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
    """(slots, values) of one tree, breadth first; nodes that nothing leads to (pruned ones) are left out."""
    tree = _object(value, where)
    if _whole(_object(tree.get("tree_param"), f"{where}.tree_param"), "size_leaf_vector", where, 1) > 1:
        raise ArtifactError(f"{where}: leaves with several outputs are not supported")
    left = _numbers(tree, "left_children", where)
    n = len(left)
    right = _numbers(tree, "right_children", where, n)
    feature = _numbers(tree, "split_indices", where, n)
    default_left = _numbers(tree, "default_left", where, n)
    threshold = _numbers(tree, "split_conditions", where, n, whole=False)
    if "split_type" in tree and _numbers(tree, "split_type", where, n).any():
        raise ArtifactError(f"{where}: categorical splits are not supported; encode categories as numbers")
    slots, values = [], []
    lefts, rights = left.tolist(), right.tolist()
    slot_of = np.where(left < 0, LEAF, 2 * feature + (default_left == 0)).tolist()
    inner = left >= 0
    for name, wrong in (
        ("children", inner & ((left == 0) | (left >= n) | (right <= 0) | (right >= n))),
        ("children", ~inner & ((left != -1) | (right != -1))),
        ("split_indices", inner & ((feature < 0) | (feature >= features))),
        ("default_left", (default_left != 0) & (default_left != 1)),
    ):
        if wrong.any():
            raise ArtifactError(f"{where}.{name}: node {int(np.argmax(wrong))} is corrupt")
    queue, seen = [0], bytearray(n)
    for node in queue:
        if seen[node]:
            raise ArtifactError(f"{where}: two splits lead to node {node}")
        seen[node] = 1
        slots.append(slot_of[node])
        values.append(node)
        if lefts[node] >= 0:
            queue += (lefts[node], rights[node])
    with np.errstate(over="ignore"):
        return np.array(slots, dtype=np.uint16), threshold[values].astype(np.float32)


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{where}: an object is needed; this is no model that XGBoost saved")
    return value


def _whole(mapping: dict[str, Any], key: str, where: str, default: int | None = None) -> int:
    """A count, which XGBoost writes as text."""
    value = mapping.get(key, default)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    if type(value) is int and 0 <= value < 10**9:
        return value
    raise ArtifactError(f"{where}.{key}: a count is needed, not {value!r:.80}")


def _numbers(
    tree: dict[str, Any], key: str, where: str, n: int | None = None, *, whole: bool = True
) -> npt.NDArray[Any]:
    """A row of ``n`` numbers, by default of 1 to NODES_MOST; int64 when ``whole``, else float64."""
    value = tree.get(key)
    if isinstance(value, list) and len(value) <= NODES_MOST:
        kinds = set(map(type, value))
        if kinds <= ({int, bool} if whole else {int, float}):
            try:
                value = np.array(value, dtype=np.int64 if whole else np.float64)
            except OverflowError:
                value = None
    if not isinstance(value, np.ndarray) or (whole and value.dtype.kind not in "iu"):
        raise ArtifactError(f"{where}.{key}: a list of {'whole ' if whole else ''}numbers is needed")
    if not (1 <= len(value) <= NODES_MOST if n is None else len(value) == n):
        raise ArtifactError(f"{where}.{key}: {len(value)} entries for {n} nodes")
    return value.astype(np.int64 if whole else np.float64)


def _read_json(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"not readable as JSON: {error}") from None


class _Ubj:
    """One UBJ document; arrays of numbers of one type come as numpy arrays."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def document(self) -> object:
        value = self._value(self._take(1), 0)
        if self._at != len(self._raw):
            raise self._error("bytes after the end")
        return value

    def _error(self, what: str) -> ArtifactError:
        return ArtifactError(f"not readable as UBJ: byte {self._at}: {what}")

    def _take(self, n: int) -> bytes:
        if n > len(self._raw) - self._at:
            raise self._error("ends too early")
        self._at += n
        return self._raw[self._at - n : self._at]

    def _value(self, marker: bytes, depth: int) -> Any:
        if depth > DEPTH_MOST:
            raise self._error("nested too deep")
        if marker == b"{":
            return self._mapping(depth)
        if marker == b"[":
            return self._list(depth)
        if marker in UBJ_NUMBERS:
            return self._row(marker, 1)[0].item()
        if marker == b"S":
            return self._text()
        if marker == b"C":
            return self._take(1).decode("latin-1")
        if marker in UBJ_CONSTANTS:
            return UBJ_CONSTANTS[marker]
        raise self._error(f"unknown type {marker!r}")

    def _row(self, marker: bytes, n: int) -> npt.NDArray[Any]:
        dtype = np.dtype(UBJ_NUMBERS[marker])
        return np.frombuffer(self._take(n * dtype.itemsize), dtype=dtype)

    def _length(self) -> int:
        marker = self._take(1)
        if marker not in UBJ_NUMBERS or marker in b"dD":
            raise self._error("a length is needed")
        length = int(self._row(marker, 1)[0])
        if not 0 <= length <= len(self._raw):
            raise self._error(f"a length of {length}")
        return length

    def _text(self) -> str:
        try:
            return self._take(self._length()).decode("utf-8")
        except UnicodeDecodeError:
            raise self._error("text that is no UTF-8") from None

    def _peek(self) -> bytes:
        return self._raw[self._at : self._at + 1]

    def _mapping(self, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        while self._peek() != b"}":
            key = self._text()
            out[key] = self._value(self._take(1), depth + 1)
        self._take(1)
        return out

    def _list(self, depth: int) -> Any:
        kind = None
        if self._peek() == b"$":
            self._take(1)
            kind = self._take(1)
            if self._peek() != b"#":
                raise self._error("a typed list without a length")
        if self._peek() == b"#":
            self._take(1)
            length = self._length()
            if kind is not None:
                if kind not in UBJ_NUMBERS:
                    raise self._error(f"a list of type {kind!r}")
                return self._row(kind, length)
            return [self._value(self._take(1), depth + 1) for _ in range(length)]
        out = []
        while self._peek() != b"]":
            out.append(self._value(self._take(1), depth + 1))
        self._take(1)
        return out
