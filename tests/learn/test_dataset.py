"""Decisions in memory and in Parquet files: equal after a round trip, refused where spoilt or of another schema."""

import json
import os
import re
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from quotelife.config import load_config
from quotelife.errors import QuotelifeError
from quotelife.features.schema import INDEX, NAMES
from quotelife.learn import dataset
from quotelife.learn.build import build_dataset
from quotelife.learn.collect import CollectSettings
from quotelife.learn.dataset import (
    Dataset,
    DatasetError,
    Decisions,
    read_decisions,
    threshold_ticks,
    write_decisions,
)
from quotelife.learn.labels import NEVER
from quotelife.learn.units import simulated_units
from reference.dataset_kit import decisions

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    both = tmp_path / "a.decisions.parquet", tmp_path / "a.path.parquet"
    write_decisions(decisions(), *both, {"key": "k"})
    return both


def test_a_round_trip_gives_the_same_bytes(files: tuple[Path, Path]) -> None:
    was, now = decisions(), read_decisions(*files)
    assert was.digest() == now.digest()
    for each in fields(Decisions):
        if each.name != "path":
            np.testing.assert_array_equal(getattr(was, each.name), getattr(now, each.name))
            if isinstance(getattr(was, each.name), np.ndarray):
                assert getattr(was, each.name).dtype == getattr(now, each.name).dtype, each.name


def test_the_same_decisions_give_the_same_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    again = tmp_path / "b.decisions.parquet", tmp_path / "b.path.parquet"
    write_decisions(decisions(), *again, {"key": "k"})
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]


def test_columns_bear_the_names_of_the_schema_and_never_is_null(files: tuple[Path, Path]) -> None:
    table = parquet.read_table(files[0])
    assert [name for name in table.column_names if name.startswith("x.")] == [f"x.{name}" for name in NAMES]
    never = decisions().passage_ns[:, 0] == NEVER
    assert never.any() and not never.all()
    assert table.column("passage_ns.1tick").is_null().to_numpy().tolist() == never.tolist()


@pytest.mark.parametrize("column", ["passage_ns", "x", "side", "observed_ns"])
def test_the_digest_changes_with_any_value(column: str) -> None:
    was = decisions()
    changed = np.array(getattr(was, column))
    changed.flat[-1] -= 1
    assert replace(was, **{column: changed}).digest() != was.digest()


def test_rows_are_taken_from_every_column() -> None:
    all_of_them = decisions()
    some = all_of_them[3:7]
    assert len(some) == 4
    np.testing.assert_array_equal(some.x, all_of_them.x[3:7])
    np.testing.assert_array_equal(some.passage_ns, all_of_them.passage_ns[3:7])
    assert some.path is all_of_them.path


def test_inputs_are_those_of_a_model_with_a_bit_for_each_known_feature() -> None:
    all_of_them = decisions()
    x, valid = all_of_them.inputs(slice(0, 5))
    assert x.shape == (5, 128) and valid.shape == (5, 2) and valid.dtype == np.uint64
    for i in range(len(NAMES)):
        known = [int(word >> (i % 64)) & 1 for word in valid[:, i // 64].tolist()]
        assert known == (~np.isnan(all_of_them.x[:5, i])).astype(int).tolist()
        np.testing.assert_array_equal(x[:, i], np.nan_to_num(all_of_them.x[:5, i]))
    assert not x[:, len(NAMES) :].any()


def test_inputs_at_another_threshold_have_its_feature() -> None:
    all_of_them = decisions()
    x, valid = all_of_them.inputs(h_ticks=all_of_them.h_ticks[:, 2])
    i = INDEX["threshold"]
    known = ~np.isnan(all_of_them.sigma_ticks)
    assert (valid[:, i // 64] >> np.uint64(i % 64) & np.uint64(1)).astype(bool).tolist() == known.tolist()
    np.testing.assert_allclose(x[:, i], np.where(known, 1.0, 0.0))


def test_an_outcome_is_unknown_where_the_path_ends_before_the_horizon_passed_or_not() -> None:
    some = decisions(3)
    some = replace(
        some,
        passage_ns=np.array([[5], [NEVER], [NEVER]]),
        observed_ns=np.array([7, 9, 10]),
        h_ticks=np.ones((3, 1)),
    )
    assert some.outcome(10).tolist() == [-1, -1, 0]
    assert some.outcome(7).tolist() == [1, 0, 0]
    assert some.outcome(4).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("spec", "expected"), [("6tick", 6.0), ("0.5bp", 0.05), ("0.3sigma", 0.6), ("1ticks", 1.0)]
)
def test_thresholds_in_ticks(spec: str, expected: float) -> None:
    assert threshold_ticks(spec, np.array([2.0]), np.array([1000.0])).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("spec", ["", "tick", "0tick", "-1bp", "nansigma", "3", "1pip", "infbp"])
def test_what_is_no_threshold_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="tick, bp or sigma"):
        threshold_ticks(spec, np.ones(1), np.ones(1))


def test_another_schema_is_refused_with_the_mend(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "SCHEMA_HASH", "another")
    with pytest.raises(
        DatasetError, match=r"a\.decisions\.parquet: of another feature schema.*quotelife labels"
    ):
        read_decisions(*files)


@pytest.mark.parametrize("place", [0, 1])
def test_a_file_cut_short_is_named_with_the_mend(files: tuple[Path, Path], place: int) -> None:
    whole = files[place].read_bytes()
    files[place].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=rf"{files[place].name}: .*remove it and run"):
        read_decisions(*files)


def test_a_missing_file_is_named(files: tuple[Path, Path]) -> None:
    files[1].unlink()
    with pytest.raises(DatasetError, match=r"a\.path\.parquet: no such file"):
        read_decisions(*files)


def test_a_path_of_other_decisions_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "b.decisions.parquet", tmp_path / "b.path.parquet"
    write_decisions(decisions(instrument="GBP"), *other, {"key": "k"})
    with pytest.raises(DatasetError, match="does not belong to"):
        read_decisions(files[0], other[1])


def test_any_other_parquet_file_is_refused(tmp_path: Path, files: tuple[Path, Path]) -> None:
    table = parquet.read_table(files[0]).replace_schema_metadata(None)
    parquet.write_table(table, files[0])
    with pytest.raises(DatasetError, match="not a file of a dataset"):
        read_decisions(*files)


def test_a_folder_without_a_head_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no whole dataset; make it with: quotelife labels"):
        Dataset(tmp_path)


def test_a_head_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        Dataset(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps(dataset.schema_head()))
    with pytest.raises(DatasetError, match=r"dataset\.json: KeyError"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda head: "[" * 100_000,
        lambda head: json.dumps({**head, "settings": None}),
        lambda head: json.dumps({**head, "pieces": [{**head["pieces"][0], "instrument": None}]}),
        lambda head: json.dumps({**head, "pieces": [{**head["pieces"][0], "rows": "40"}]}),
    ],
)
def test_a_head_with_something_else_in_it_is_named_with_the_mend(tmp_path: Path, spoil: Any) -> None:
    piece = dataset.Piece("a", "", "EUR", "EUR", "mid", 40, 1, 0, 1, "k", "d")
    head = {**dataset.schema_head(), "settings": {}, "digest": "", "pieces": [vars(piece)]}
    (tmp_path / "dataset.json").write_text(json.dumps(head))
    assert Dataset(tmp_path).pieces == (piece,)
    (tmp_path / "dataset.json").write_text(spoil(head))
    with pytest.raises(DatasetError, match=r"dataset\.json: .*; remove it and run the same quotelife labels"):
        Dataset(tmp_path)


def test_pieces_of_an_instrument_that_do_not_go_together_are_refused() -> None:
    """By the place of a threshold, 1 tick of one would be trained and scored as 1 σ of the other."""
    first = decisions()
    later = replace(first, now_ns=first.now_ns + 10**12)
    dataset.check_together([first, later])
    dataset.check_together([first, first[:0]])
    for other, what in (
        (replace(later, thresholds=later.thresholds[::-1]), "thresholds"),
        (replace(later, reference="microprice"), "reference"),
        (replace(later, latency_ns=2), "latency_ns"),
        (replace(later, tick_size=0.05), "tick_size"),
        (first, "two pieces hold decisions of the same time"),
    ):
        with pytest.raises(DatasetError, match=f"EUR: .*{what}"):
            dataset.check_together([first, other])


def test_without_pyarrow_nothing_is_replayed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(self: object, settings: object) -> str:
        raise AssertionError("the sources were looked at already")

    unit = type("AnyUnit", (), {"key": key})()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(QuotelifeError, match=r"datasets need pyarrow in this environment: .* -m pip install"):
        build_dataset(tmp_path / "data", [unit], CollectSettings())  # type: ignore[list-item]
    assert not (tmp_path / "data").exists()


def test_what_a_simulated_market_gave_is_known_as_such(files: tuple[Path, Path]) -> None:
    assert not read_decisions(*files).simulated
    write_decisions(decisions(), *files, {"source": simulated_units(load_config(DEMO), 1.0, 1)[0].content})
    assert read_decisions(*files).simulated


def changed(name: str, value: float, row: int = 3, column: int = 0) -> Decisions:
    """The decisions with one value of one field changed; ``path.`` before it: of the path."""
    was = decisions()
    owner: Any = was.path if name.startswith("path.") else was
    field = name.removeprefix("path.")
    array = np.array(getattr(owner, field))
    array[(row, column) if array.ndim > 1 else row] = value
    new = replace(owner, **{field: array})
    return replace(was, path=new) if owner is was.path else new


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x", np.inf, f"x.{NAMES[0]}: is infinite"),
        ("x", -np.inf, f"x.{NAMES[0]}: is infinite"),
        ("sigma_ticks", np.inf, "sigma_ticks: must be 0 or more"),
        ("sigma_ticks", -1.0, "sigma_ticks: must be 0 or more"),
        ("h_ticks", np.inf, "h_ticks.1tick: must be above 0"),
        ("h_ticks", 0.0, "h_ticks.1tick: must be above 0"),
        ("reference_ticks", np.nan, "reference_ticks: is no finite number"),
        ("mid_ticks", np.inf, "mid_ticks: is no finite number"),
        ("side", 0, "side: must be 1 or -1"),
        ("now_ns", 10**18, "now_ns: must not fall"),
        ("path.time_ns", 0, "path.time_ns: must rise"),
        ("path.mid_ticks", np.nan, "path.mid_ticks: is no finite number where the path is good"),
        ("path.microprice_ticks", np.inf, "path.microprice_ticks: is no finite number"),
    ],
)
def test_what_is_no_number_is_refused_by_field_before_it_is_written(
    name: str, value: float, words: str, tmp_path: Path
) -> None:
    """An infinite feature ended XGBoost, and a path of NaN made figures that are no JSON."""
    both = tmp_path / "a.decisions.parquet", tmp_path / "a.path.parquet"
    with pytest.raises(DatasetError, match=rf"EUR: {re.escape(words)}.*make the dataset anew"):
        write_decisions(changed(name, value), *both, {})
    assert not list(tmp_path.iterdir())


def test_labels_that_the_path_contradicts_are_refused() -> None:
    """A decision is observed for no longer than the path is known, what passed had moved by h, and what did not has
    not at the end."""
    was = decisions()
    dataset.check_decisions(was)
    passed = was.passage_ns != NEVER
    assert passed.any() and not passed.all()
    cases = [
        ("observed_ns", replace(was, observed_ns=was.observed_ns + 1)),
        ("passage_ns.1tick", replace(was, passage_ns=np.full_like(was.passage_ns, NEVER))),
        ("passage_ns.1tick", replace(was, passage_ns=np.zeros_like(was.passage_ns))),
        ("passage_ns.1tick", replace(was, passage_ns=np.where(passed, -1, was.passage_ns))),
        (
            "passage_ns.1tick",
            replace(was, passage_ns=np.where(passed, was.observed_ns[:, None] + 1, was.passage_ns)),
        ),
    ]
    for name, wrong in cases:
        with pytest.raises(DatasetError, match=rf"EUR: {re.escape(name)}: .*make the dataset anew"):
            dataset.check_decisions(wrong)


def test_a_dataset_without_a_threshold_or_with_no_tick_is_refused() -> None:
    was = decisions()
    bare = replace(was, thresholds=(), h_ticks=was.h_ticks[:, :0], passage_ns=was.passage_ns[:, :0])
    for name, wrong in (
        ("thresholds", bare),
        ("tick_size", replace(was, tick_size=0.0)),
        ("tick_size", replace(was, tick_size=np.nan)),
        ("latency_ns", replace(was, latency_ns=-1)),
        ("reference", replace(was, reference="last")),
    ):
        with pytest.raises(DatasetError, match=f"EUR: {name}: "):
            dataset.check_decisions(wrong)


def test_what_another_wrote_is_held_to_the_same_when_read(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "check_decisions", lambda decisions: None)
        write_decisions(changed("x", np.inf), *files, {})
    with pytest.raises(DatasetError, match=r"a\.decisions\.parquet: EUR: x\..*: is infinite"):
        read_decisions(*files)


def test_files_are_on_disk_before_they_get_their_names(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(
        Path, "replace", lambda path, target: (done.append(target.name), rename(path, target))
    )
    write_decisions(decisions(), *files, {})
    assert done == ["sync", "a.path.parquet", "sync", "a.decisions.parquet"]
