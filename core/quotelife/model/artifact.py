"""Model artifacts: a folder whose every byte is accounted for.

``manifest.json`` says what the model is and lists the other files with their SHA-256; its ``digest`` is the
SHA-256 of the manifest without that key. All JSON is canonical (sorted keys, two spaces, shortest numbers
that read back equal), so that a file has one spelling and any changed byte is found. ``parameters.json``
holds what the model's constructor takes; ``selftest.json`` holds inputs with the curves that this build
must reproduce.

A manifest holds: ``format``, ``kind``, ``name``, ``description``, ``created_by``, ``schema`` (version,
hash), ``horizons_ns``, ``threshold`` (how h is defined), ``training`` (span, rows, data digest; null for
models that are not fitted), ``metrics`` (one object per horizon scored), ``reliability`` (one table per
horizon scored), ``files`` and ``digest``.
"""

import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from quotelife.errors import ArtifactError
from quotelife.features.schema import NAMES, SCHEMA_HASH, SCHEMA_VERSION
from quotelife.model.curve import CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.golden import GoldenModel
from quotelife.model.logistic import LogisticHazardModel
from quotelife.model.transform import check_keys
from quotelife.model.tree_curve import TreeCurveModel
from quotelife.records import HORIZONS_NS

FORMAT = 1
MANIFEST = "manifest.json"
FILES = ("parameters.json", "selftest.json")
BYTES_MAX = {MANIFEST: 1 << 20, "parameters.json": 1 << 22, "selftest.json": 1 << 22}
SELFTEST_ROWS_MAX = 1000
NAME_MAX = 200  # a folder's name takes 255 bytes, and gets 17 more
# Another libm may round otherwise in the last place; a wrong model is wrong by far more.
RELATIVE_TOLERANCE = 1e-9
ABSOLUTE_TOLERANCE = 1e-12
SIMULATED = "quotelife.sim"  # how training.source of a manifest begins where the markets were simulated
THRESHOLD = "first u with -s*(M(t+u) - M(t)) >= h, h in ticks, M the instrument's reference price"

KINDS: dict[str, Callable[[Any], CurveModel]] = {
    "first_passage": FirstPassageModel,
    "golden": GoldenModel,
    "logistic": LogisticHazardModel,
    "trees": TreeCurveModel,
}
MANIFEST_KEYS = (
    "format",
    "kind",
    "name",
    "description",
    "created_by",
    "schema",
    "horizons_ns",
    "threshold",
    "training",
    "metrics",
    "reliability",
    "files",
    "digest",
)

Row: TypeAlias = dict[str, Any]


def canonical(value: object) -> bytes:
    """The one spelling of ``value`` as JSON. ``ArtifactError`` for NaN, infinity and what JSON lacks."""
    try:
        try:
            text = _spelled(value, "\n")
        except TypeError:  # enumerations, numbers as keys and the like, or what JSON lacks
            text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(f"not storable as JSON: {error}") from None


def _spelled(value: object, margin: str) -> str:
    """What ``json.dumps`` gives, which indents at a sixth of this speed; ``TypeError``: ask it."""
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):  # type: ignore[arg-type]
            raise ValueError(f"Out of range float values are not JSON compliant: {value}")
        return repr(value)
    if kind is str:
        return encode_basestring(value)  # type: ignore[arg-type]
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return repr(value)
    if value is None:
        return "null"
    inner = margin + "  "
    if kind is list:
        parts = [_spelled(each, inner) for each in value]  # type: ignore[attr-defined]
        return f"[{inner}{f',{inner}'.join(parts)}{margin}]" if parts else "[]"
    if kind is dict:
        rows = sorted(value.items())  # type: ignore[attr-defined]
        parts = [f"{encode_basestring(key)}: {_spelled(each, inner)}" for key, each in rows]
        return f"{{{inner}{f',{inner}'.join(parts)}{margin}}}" if parts else "{}"
    raise TypeError(f"a {kind.__name__}")


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical manifest without its own ``digest``."""
    return hashlib.sha256(canonical({k: v for k, v in manifest.items() if k != "digest"})).hexdigest()


def builtin_artifact(name: str) -> Path:
    """Folder of an artifact shipped inside the package: ``first_passage``, ``golden``, ``logistic`` and the like."""
    root = Path(__file__).resolve().parent / "builtin"
    shipped = sorted(path.parent.name for path in root.glob(f"*/{MANIFEST}"))
    if name not in shipped:
        raise ArtifactError(f"no built-in artifact {name!r}; there are: {', '.join(shipped)}")
    return root / name


def simulated_share(training: Mapping[str, Any]) -> float:
    """How much of the decisions that a model was fitted to, says this part of its manifest, came from simulated
    markets."""
    return 1.0 if by_simulator(training) else float(training.get("simulated_share", 0.0))


def simulated(training: Mapping[str, Any]) -> bool:
    """Was it fitted to simulated markets alone?"""
    return simulated_share(training) == 1.0


def by_simulator(training: Mapping[str, Any]) -> bool:
    """Was it fitted to markets that ran in memory, on a clock which is that of no dataset?"""
    return str(training.get("source", "")).startswith(SIMULATED)


def load_artifact(folder: str | os.PathLike[str]) -> CurveModel:
    """The model in ``folder``, its digest stamped on.

    Refuses with ``ArtifactError``, naming file and mend: files that are missing, unknown, no regular files,
    too large, not canonical JSON or changed; another digest, format, kind, schema or horizon grid;
    parameters that do not fit; a self-test that gives another curve; a curve that falls, leaves [0, 1]
    or is no number.
    """
    root = Path(folder)
    try:
        present = sorted(entry.name for entry in os.scandir(root))
    except OSError as error:
        raise ArtifactError(f"{root}: cannot be read ({error.strerror}); name an artifact folder") from None
    unknown = [name for name in present if name not in (MANIFEST, *FILES)]
    if unknown:
        raise ArtifactError(f"{root / unknown[0]}: does not belong to an artifact; remove it")
    listed, raw = _read_json(root, MANIFEST)
    manifest = _check_manifest(root / MANIFEST, listed)
    content: dict[str, Any] = {}
    files = {MANIFEST: raw}
    for name in FILES:
        content[name], raw = _read_json(root, name)
        entry = manifest["files"][name]
        if entry["bytes"] != len(raw) or entry["sha256"] != hashlib.sha256(raw).hexdigest():
            raise ArtifactError(f"{root / name}: is not the file that {MANIFEST} lists; restore the artifact")
        files[name] = raw
    tail = root.name.rpartition("-")[2]
    if len(tail) == 16 and set(tail) <= set("0123456789abcdef") and not manifest["digest"].startswith(tail):
        raise ArtifactError(
            f"{root}: holds {manifest['digest'][:16]}, not what its name says; restore or rename it"
        )
    try:
        model = KINDS[manifest["kind"]](content["parameters.json"])
    except ArtifactError as error:
        raise ArtifactError(f"{root / 'parameters.json'}: {error}") from None
    try:
        _check_selftest(model, content["selftest.json"])
        check_curves(model)
    except ArtifactError as error:
        raise ArtifactError(f"{root / 'selftest.json'}: {error}") from None
    model.stamp(manifest, files)
    return model


def save_artifact(
    model: CurveModel,
    parent: str | os.PathLike[str],
    *,
    name: str,
    description: str,
    folder: str | None = None,
    created_by: str = "quotelife",
    training: Mapping[str, Any] | None = None,
    metrics: Sequence[Mapping[str, Any]] = (),
    reliability: Sequence[Mapping[str, Any]] = (),
    selftest: Sequence[Row] | None = None,
) -> Path:
    """Write ``model`` below ``parent`` and return its folder, by default ``<name>-<16 digits of digest>``.

    The folder appears whole or not at all: it is written aside, read back through ``load_artifact`` and
    renamed.     Saving the same model again is a no-op; another artifact in the same place is an
    ``ArtifactError``.     ``selftest`` rows are ``{"features": {name: value}, "h_ticks": h, "sigma_ticks":
    σ or None}``; by default a     fixed set over the features that the parameters name.
    """
    _check_name(name)
    files = {
        "parameters.json": canonical(model.parameters()),
        "selftest.json": canonical(_answer(model, selftest_inputs(model) if selftest is None else selftest)),
    }
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "kind": model.kind,
        "name": name,
        "description": description,
        "created_by": created_by,
        "schema": {"version": SCHEMA_VERSION, "hash": SCHEMA_HASH},
        "horizons_ns": list(HORIZONS_NS),
        "threshold": THRESHOLD,
        "training": None if training is None else dict(training),
        "metrics": [dict(entry) for entry in metrics],
        "reliability": [dict(entry) for entry in reliability],
        "files": {
            file: {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
            for file, raw in files.items()
        },
    }
    manifest["digest"] = manifest_digest(manifest)
    root = Path(parent)
    root.mkdir(parents=True, exist_ok=True)
    target = root / (folder or f"{name}-{manifest['digest'][:16]}")
    aside = Path(tempfile.mkdtemp(prefix=".artifact-", dir=root))
    try:
        aside.chmod(0o755)
        for file, raw in {**files, MANIFEST: canonical(manifest)}.items():
            with open(aside / file, "xb") as stream:
                stream.write(raw)
                stream.flush()
                os.fsync(stream.fileno())
        load_artifact(aside)
        if target.exists():
            if load_artifact(target).digest != manifest["digest"]:
                raise ArtifactError(f"{target}: holds another artifact; remove it or choose another folder")
            return target
        os.rename(aside, target)
        _sync_folder(root)
        return target
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def selftest_inputs(model: CurveModel) -> list[Row]:
    """Inputs that reach every parameter: each named feature low, high, huge and missing, over several h/σ."""
    names = [entry["name"] for entry in model.parameters().get("features", [])]
    rows: list[Row] = []

    def add(features: dict[str, float], h: float = 1.0, sigma: float | None = 2.0) -> None:
        rows.append({"features": features, "h_ticks": h, "sigma_ticks": sigma})

    add({})
    add({}, sigma=None)
    for ratio in (0.05, 0.5, 3.0, 40.0):
        add({}, h=2.0 * ratio)
        add({name: 0.5 + 0.125 * i for i, name in enumerate(names)}, h=2.0 * ratio)
    for sign in (-1.0, 1.0):
        add({name: sign * (1.0 + i % 3) for i, name in enumerate(names)})
        add(dict.fromkeys(names, sign * 1000000000000.0))
        for name in names:
            for size in (0.3, 2.0, 7.0):
                add({name: sign * size})
    return rows


def check_selftest(model: CurveModel) -> None:
    """``ArtifactError`` when a loaded model no longer gives what its artifact's self-test says, or has none."""
    if "selftest.json" not in model.files:
        raise ArtifactError(
            "the model was not loaded from an artifact, so it has no self-test; save and load it"
        )
    _check_selftest(model, json.loads(model.files["selftest.json"]))


def check_curves(model: CurveModel) -> None:
    """``ArtifactError`` when any probe gives a curve that is no number, leaves [0, 1] or falls.

    The probes are fixed: ordinary and extreme features, none and all of them missing, over extreme h and σ.
    """
    rng = np.random.default_rng(20240808)
    n = 256
    x = np.zeros((n, 128))
    scale = 10.0 ** rng.integers(-3, 13, size=(n, 1))
    x[:, : len(NAMES)] = rng.standard_normal((n, len(NAMES))) * scale
    x[:8, : len(NAMES)] = np.array([0.0, 1.0, -1.0, 1e300, -1e300, 1e-300, 1.7e308, -1.7e308])[:, None]
    valid = rng.integers(0, 2**64, size=(n, 2), dtype=np.uint64)
    valid[:16] = np.uint64(2**64 - 1)
    valid[16:24] = 0
    h = 10.0 ** rng.uniform(-6, 9, size=n)
    sigma = 10.0 ** rng.uniform(-9, 9, size=n)
    sigma[::17] = 0.0
    sigma[::19] = np.nan
    p, answered = model.curves(x, valid, h, sigma)
    fault = _fault(p[answered])
    if fault:
        raise ArtifactError(f"the model's answer {fault} on a probe; fit it again")


def _fault(p: npt.NDArray[np.float64]) -> str | None:
    if np.isnan(p).any():
        return "is no number"
    if (p < 0.0).any() or (p > 1.0).any():
        return "leaves [0, 1]"
    if (np.diff(p, axis=-1) < 0.0).any():
        return "falls with the horizon"
    return None


def _answer(model: CurveModel, inputs: Sequence[Row]) -> dict[str, Any]:
    rows = []
    for row in inputs:
        sigma = row["sigma_ticks"]
        curve = model.curve(
            row["features"], h_ticks=row["h_ticks"], sigma_ticks=math.nan if sigma is None else sigma
        )
        rows.append({**row, "curve": None if curve is None else curve.tolist()})
    return {"rows": rows}


def _check_selftest(model: CurveModel, content: object) -> None:
    check_keys(content, ("rows",), "selftest")
    assert isinstance(content, dict)
    rows = content["rows"]
    if not isinstance(rows, list) or not 0 < len(rows) <= SELFTEST_ROWS_MAX:
        raise ArtifactError(f"rows: 1 to {SELFTEST_ROWS_MAX} are needed; save the artifact again")
    for i, row in enumerate(rows):
        where = f"rows[{i}]"
        check_keys(row, ("features", "h_ticks", "sigma_ticks", "curve"), where)
        features, h, sigma, expected = (row[k] for k in ("features", "h_ticks", "sigma_ticks", "curve"))
        if not isinstance(features, dict) or not all(map(_is_number, features.values())):
            raise ArtifactError(f"{where}.features: an object of finite numbers is needed")
        if not set(features) <= set(NAMES):
            raise ArtifactError(
                f"{where}.features: names a feature outside the schema; save the artifact again"
            )
        if not _is_number(h) or not (sigma is None or _is_number(sigma)):
            raise ArtifactError(f"{where}: h_ticks must be a number and sigma_ticks a number or null")
        curve = model.curve(features, h_ticks=h, sigma_ticks=math.nan if sigma is None else sigma)
        if expected is None or curve is None:
            if expected is not None or curve is not None:
                raise ArtifactError(f"{where}: the model answers where it should not, or the other way round")
            continue
        if (
            not isinstance(expected, list)
            or len(expected) != len(HORIZONS_NS)
            or not all(map(_is_number, expected))
        ):
            raise ArtifactError(f"{where}.curve: {len(HORIZONS_NS)} numbers are needed")
        fault = _fault(curve)
        if fault:
            raise ArtifactError(f"{where}: the model's answer {fault}; fit it again")
        wanted = np.asarray(expected, dtype=np.float64)
        off = np.abs(curve - wanted)
        if not (off <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(wanted)).all():
            raise ArtifactError(
                f"{where}: this build answers otherwise (by {float(off.max()):.3g}); save the artifact again"
            )


def _check_manifest(path: Path, manifest: object) -> dict[str, Any]:
    where = str(path)
    check_keys(manifest, MANIFEST_KEYS, where)
    assert isinstance(manifest, dict)
    if manifest["digest"] != manifest_digest(manifest):
        raise ArtifactError(f"{where}: digest does not fit the content; restore the artifact")
    for key in ("kind", "name", "description", "created_by", "threshold"):
        if not isinstance(manifest[key], str):
            raise ArtifactError(f"{where}: {key} must be text")
    try:
        _check_name(manifest["name"])
    except ArtifactError as error:
        raise ArtifactError(f"{where}: {error}") from None
    if type(manifest["format"]) is not int or manifest["format"] != FORMAT:
        raise ArtifactError(
            f"{where}: format {manifest['format']!r} is not {FORMAT}; save it with this version"
        )
    if manifest["kind"] not in KINDS:
        raise ArtifactError(
            f"{where}: unknown kind {manifest['kind']!r}; known are {', '.join(sorted(KINDS))}"
        )
    if manifest["threshold"] != THRESHOLD:
        raise ArtifactError(f"{where}: h is defined otherwise than here ({THRESHOLD}); fit the model again")
    check_keys(manifest["schema"], ("version", "hash"), f"{where}: schema")
    if manifest["schema"] != {"version": SCHEMA_VERSION, "hash": SCHEMA_HASH}:
        raise ArtifactError(
            f"{where}: fitted to feature schema {str(manifest['schema']['hash'])[:12]}, this build has "
            f"{SCHEMA_HASH[:12]}; fit the model again"
        )
    if manifest["horizons_ns"] != list(HORIZONS_NS):
        raise ArtifactError(f"{where}: another horizon grid than this build's; fit the model again")
    if not isinstance(manifest["training"], dict | None):
        raise ArtifactError(f"{where}: training must be an object or null")
    _check_training(where, manifest["training"] or {})
    for key in ("metrics", "reliability"):
        entries = manifest[key]
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and entry.get("horizon_ns") in HORIZONS_NS for entry in entries
        ):
            raise ArtifactError(f"{where}: {key} must be a list of objects with a horizon_ns of the grid")
    files = manifest["files"]
    if not isinstance(files, dict):
        raise ArtifactError(f"{where}: files must be an object")
    for name in files:
        if name not in FILES:
            raise ArtifactError(f"{where}: lists file {name!r}; only {' and '.join(FILES)} may be listed")
    check_keys(files, FILES, f"{where}: files")
    for name, entry in files.items():
        check_keys(entry, ("bytes", "sha256"), f"{where}: files: {name}")
    return manifest


def _check_training(where: str, training: Mapping[str, Any]) -> None:
    """What is read of it later must be of its type; nothing of it must be there."""

    def spans(value: object) -> bool:
        return isinstance(value, list) and all(
            isinstance(each, list)
            and len(each) == 3
            and isinstance(each[0], str)
            and all(type(at) is int for at in each[1:])
            for each in value
        )

    kinds: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "source": ("text", lambda value: isinstance(value, str)),
        "span_start_ns": ("a whole number", lambda value: type(value) is int),
        "span_end_ns": ("a whole number", lambda value: type(value) is int),
        "fitted_on": ("a list of instrument, from and to", spans),
        "levelled_on": ("a list of instrument, from and to", spans),
        "feature_bins": ("an object or null", lambda value: isinstance(value, dict | None)),
        "rows": ("a whole number", lambda value: type(value) is int),
        "rows_of_all": ("a whole number", lambda value: type(value) is int),
        "simulated_share": ("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
        "importance": (
            "an object of finite numbers",
            lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
        ),
        "instruments": (
            "a list of objects that name an instrument",
            lambda value: (
                isinstance(value, list)
                and all(isinstance(each, dict) and isinstance(each.get("instrument"), str) for each in value)
            ),
        ),
    }
    for key, (wanted, fits) in kinds.items():
        if key in training and not fits(training[key]):
            raise ArtifactError(f"{where}: training.{key} must be {wanted}; train the model again")


def _read_json(root: Path, name: str) -> tuple[Any, bytes]:
    path = root / name
    try:
        # Not followed if a link, not waited for if a pipe; one descriptor: what is checked is what is read.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: is missing; restore the artifact") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be opened as a regular file ({error.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactError(f"{path}: is no regular file; restore the artifact")
        with open(descriptor, "rb", closefd=False) as stream:
            raw = stream.read(BYTES_MAX[name] + 1)
    finally:
        os.close(descriptor)
    if len(raw) > BYTES_MAX[name]:
        raise ArtifactError(f"{path}: is larger than {BYTES_MAX[name]} bytes; no artifact of this format is")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
        exact = canonical(value) == raw
    except (ValueError, RecursionError, ArtifactError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error}); restore the artifact") from None
    if not exact:
        raise ArtifactError(
            f"{path}: is not in canonical form, so it was changed by hand or damaged; restore it"
        )
    return value, raw


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not allowed")


def _check_name(name: str) -> None:
    """Names are printed to terminals and make folders."""
    if not 0 < len(name) <= NAME_MAX or not all(c.isalnum() or c in "_-" for c in name) or not name.isascii():
        raise ArtifactError(f"name {name[:NAME_MAX]!r}: use 1 to {NAME_MAX} ASCII letters, digits, _ and -")


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
