"""What a folder must be to be loaded, and what saving promises."""

import hashlib
import json
import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotelife.errors import ArtifactError
from quotelife.model import artifact
from quotelife.model.artifact import MANIFEST, builtin_artifact, canonical, load_artifact, save_artifact
from quotelife.model.curve import first_passage
from quotelife.model.golden import GoldenModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_artifact(GoldenModel(), tmp_path, name="golden", description="for tests", folder="here")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def rewrite(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    """Change one file and make every checksum fit again, as a wrong tool (not a damaged disk) would."""
    value = read(folder / name)
    change(value)
    (folder / name).write_bytes(canonical(value))
    manifest = read(folder / MANIFEST)
    if name != MANIFEST:
        raw = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    manifest["digest"] = artifact.manifest_digest(manifest)
    (folder / MANIFEST).write_bytes(canonical(manifest))


def refused(folder: Path, match: str) -> None:
    with pytest.raises(ArtifactError, match=match) as caught:
        load_artifact(folder)
    assert str(folder) in str(caught.value)


def test_the_folder_is_named_after_its_content(tmp_path: Path) -> None:
    folder = save_artifact(GoldenModel(), tmp_path, name="golden", description="")
    assert folder.name == f"golden-{load_artifact(folder).digest[:16]}"
    renamed = folder.rename(tmp_path / ("golden-" + "0" * 16))
    refused(renamed, "not what its name says")


class _Code(IntEnum):
    ONE = 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just(np.float64(0.1))
    | st.just(_Code.ONE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_the_canonical_spelling_is_that_of_the_standard_library(value: object) -> None:
    try:
        text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
        expected = (text + "\n").encode("utf-8")
    except (ValueError, TypeError):
        with pytest.raises(ArtifactError, match="not storable as JSON"):
            canonical(value)
    else:
        assert canonical(value) == expected


def test_the_digest_is_the_hash_of_the_canonical_manifest(folder: Path) -> None:
    manifest = read(folder / MANIFEST)
    digest = manifest.pop("digest")
    text = json.dumps(manifest, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    assert digest == hashlib.sha256(text.encode()).hexdigest() == load_artifact(folder).digest


def test_a_loaded_model_knows_its_manifest(folder: Path) -> None:
    model = load_artifact(folder)
    assert (model.name, model.kind, model.manifest["description"]) == ("golden", "golden", "for tests")
    with pytest.raises(ValueError, match="stamped"):
        model.stamp(model.manifest)


@pytest.mark.parametrize("name", [MANIFEST, *artifact.FILES])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, f"{name}: is missing")


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "parameters.json.bak"])
def test_an_unknown_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    refused(folder, f"{name}: does not belong")


def test_no_folder_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "cannot be read")


@pytest.mark.parametrize("name", [MANIFEST, *artifact.FILES])
def test_links_folders_and_pipes_are_no_files(folder: Path, name: str, tmp_path: Path) -> None:
    path = folder / name
    elsewhere = path.rename(tmp_path / name)
    path.symlink_to(elsewhere)
    refused(folder, f"{name}: cannot be opened")
    path.unlink()
    path.mkdir()
    refused(folder, f"{name}: ")
    path.rmdir()
    os.mkfifo(path)
    refused(folder, f"{name}: is no regular file")


@pytest.mark.parametrize("name", [MANIFEST, *artifact.FILES])
def test_an_oversized_file_is_refused_before_it_is_read_whole(folder: Path, name: str) -> None:
    with open(folder / name, "r+b") as stream:
        stream.truncate(1 << 40)  # sparse: reading it whole would fail the test by memory
    refused(folder, f"{name}: is larger than")


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "sub/parameters.json", "..", "extra.json", ""]
)
def test_the_manifest_may_list_no_other_path(folder: Path, path: str) -> None:
    rewrite(folder, MANIFEST, lambda m: m["files"].update({path: {"bytes": 1, "sha256": "0" * 64}}))
    refused(folder, "lists file")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.update(format=2), "format 2"),
        (lambda m: m.update(kind="oracle"), "unknown kind 'oracle'"),
        (lambda m: m.update(kind=["golden"]), "kind must be text"),
        (lambda m: m["schema"].update(hash="ab" * 32), "schema abababababab"),
        (lambda m: m["schema"].update(version=99), "schema"),
        (lambda m: m.update(horizons_ns=m["horizons_ns"][:-1]), "horizon grid"),
        (lambda m: m["horizons_ns"].__setitem__(0, 20_000_000), "horizon grid"),
        (lambda m: m.update(threshold="last price beyond h"), "h is defined otherwise"),
        (lambda m: m.update(format=True), "format True"),
        (lambda m: m.update(format=1.0), "format 1.0"),
        (lambda m: m.update(training=3), "training"),
        (lambda m: m.update(training={"feature_bins": []}), r"training\.feature_bins must be an object"),
        (lambda m: m.update(training={"span_end_ns": "x"}), r"training\.span_end_ns must be a whole number"),
        (
            lambda m: m.update(training={"span_start_ns": True}),
            r"training\.span_start_ns must be a whole number",
        ),
        (lambda m: m.update(training={"fitted_on": None}), r"training\.fitted_on must be a list"),
        (
            lambda m: m.update(training={"levelled_on": [["A", 1, "2"]]}),
            r"training\.levelled_on must be a list",
        ),
        (lambda m: m.update(training={"importance": {"a": "b"}}), r"training\.importance must be an object"),
        (lambda m: m.update(training={"instruments": [{}]}), r"training\.instruments must be a list"),
        (lambda m: m.update(training={"source": 1}), r"training\.source must be text"),
        (
            lambda m: m.update(training={"simulated_share": 2}),
            r"training\.simulated_share must be a number from 0",
        ),
        (lambda m: m.update(metrics=[{"horizon_ns": 7}]), "metrics"),
        (lambda m: m.update(reliability={}), "reliability"),
        (lambda m: m.update(note="hello"), "remove unknown note"),
        (lambda m: m.pop("description"), "add description"),
        (lambda m: m["files"].pop("selftest.json"), "add selftest.json"),
        (lambda m: m["files"]["selftest.json"].update(sha256="0" * 64), "selftest.json: is not the file"),
        (lambda m: m["files"].update({"selftest.json": 5}), "an object is needed"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    folder: Path, change: Callable[[Any], None], match: str
) -> None:
    rewrite(folder, MANIFEST, change)
    refused(folder, match)


def test_a_digest_that_does_not_fit_is_refused(folder: Path) -> None:
    manifest = read(folder / MANIFEST)
    manifest["digest"] = "0" * 64
    (folder / MANIFEST).write_bytes(canonical(manifest))
    refused(folder, "digest does not fit")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: p.update(gamma=2.0), "answers otherwise"),
        (lambda p: p["features"][0].update(weight=1.4001), "answers otherwise"),
        (lambda p: p["features"].clear(), "answers otherwise"),
        (lambda p: p.update(gamma="2"), "gamma"),
        (lambda p: p["features"][0].update(name="moon_phase"), "moon_phase"),
    ],
)
def test_other_parameters_fail_the_selftest(folder: Path, change: Callable[[Any], None], match: str) -> None:
    rewrite(folder, "parameters.json", change)
    refused(folder, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s["rows"].clear(), "1 to 1000"),
        (lambda s: s["rows"].extend(s["rows"][:1] * 1000), "1 to 1000"),
        (lambda s: s["rows"][0]["curve"].__setitem__(3, 0.5), "answers otherwise"),
        (lambda s: s["rows"][0].update(curve=None), "answers where it should not"),
        (lambda s: s["rows"][0]["curve"].pop(), "12 numbers"),
        (lambda s: s["rows"][0]["features"].update(moon_phase=1.0), "outside the schema"),
        (lambda s: s["rows"][0]["features"].update(news_score="1"), "finite numbers"),
        (lambda s: s["rows"][0].update(h_ticks=None), "h_ticks"),
        (lambda s: s.update(more=1), "remove unknown more"),
    ],
)
def test_a_selftest_that_does_not_fit_is_refused(
    folder: Path, change: Callable[[Any], None], match: str
) -> None:
    rewrite(folder, "selftest.json", change)
    refused(folder, match)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000])
def test_numbers_that_are_none_are_refused_in_every_file(folder: Path, number: bytes) -> None:
    for name, place in (
        (MANIFEST, b'"format": 1'),
        ("parameters.json", b'"calm": 3.0'),
        ("selftest.json", b'"h_ticks": 1.0'),
    ):
        good = (folder / name).read_bytes()
        assert place in good
        (folder / name).write_bytes(good.replace(place, place.partition(b":")[0] + b": " + number, 1))
        refused(folder, name)
        (folder / name).write_bytes(good)


@pytest.mark.parametrize(
    "text",
    [b"", b"null\n", b"[]\n", b"{}\n", b"\xff\xfe", b'{"a": 1, "a": 2}', b"[" * 100_000, b'"\\ud800"\n'],
)
def test_what_is_no_manifest_is_refused(folder: Path, text: bytes) -> None:
    (folder / MANIFEST).write_bytes(text)
    refused(folder, MANIFEST)


class Bad:
    """Answers with a fixed curve, right or wrong."""

    def __init__(self, p: np.ndarray) -> None:
        self.p = p

    def curves(self, x: Any, valid: Any, h: Any, sigma: Any) -> Any:
        return np.tile(self.p, (len(h), 1)), np.ones(len(h), dtype=bool)


@pytest.mark.parametrize(
    ("p", "match"),
    [
        (first_passage(1.0, 1.0)[::-1].copy(), "falls"),
        (np.full(12, np.nan), "no number"),
        (np.linspace(0, 1.01, 12), "leaves"),
        (np.linspace(-0.01, 1, 12), "leaves"),
    ],
)
def test_a_model_that_gives_no_curve_is_refused(p: np.ndarray, match: str) -> None:
    with pytest.raises(ArtifactError, match=match):
        artifact.check_curves(Bad(p))  # type: ignore[arg-type]


def test_saving_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(artifact.os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save_artifact(GoldenModel(), tmp_path, name="golden", description="")
    assert list(tmp_path.iterdir()) == []


def test_another_artifact_is_never_overwritten(folder: Path) -> None:
    before = load_artifact(folder).digest
    with pytest.raises(ArtifactError, match="holds another artifact"):
        save_artifact(GoldenModel(), folder.parent, name="golden", description="changed", folder="here")
    assert load_artifact(folder).digest == before
    assert [path.name for path in folder.parent.iterdir()] == ["here"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "ä"])
def test_names_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="name"):
        save_artifact(GoldenModel(), tmp_path, name=name, description="")


def test_metrics_without_a_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="JSON"):
        save_artifact(
            GoldenModel(),
            tmp_path,
            name="m",
            description="",
            metrics=[{"horizon_ns": 500_000_000, "auc": float("nan")}],
        )


def test_unknown_builtin_lists_what_there_is() -> None:
    with pytest.raises(ArtifactError, match="first_passage, golden, logistic"):
        builtin_artifact("../golden")


@pytest.mark.parametrize("name", ["../../x", "a\x1b[31m", "", "é", "x" * 201])
def test_a_name_that_saving_would_refuse_is_refused(folder: Path, name: str) -> None:
    """It would be printed to terminals, and make folders."""
    rewrite(folder, MANIFEST, lambda manifest: manifest.update(name=name))
    refused(folder, "use 1 to 200 ASCII letters, digits, _ and -")


@pytest.mark.parametrize("key", ["h_ticks", "sigma_ticks", "curve", "features"])
def test_a_whole_number_beyond_every_float_is_no_number(folder: Path, key: str) -> None:
    huge = 10**400

    def change(content: Any) -> None:
        row = content["rows"][-1]
        row[key] = {"curve": [huge] * 12, "features": {"spread_ticks": huge}}.get(key, huge)

    rewrite(folder, "selftest.json", change)
    refused(folder, "number")
