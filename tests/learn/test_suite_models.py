"""The models of the real-data suite, on a made-up market: out of sample where it counts, and made anew when need be."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.learn.training_kit import decisions

from quotelife.learn import suite_models
from quotelife.learn.backtest import model_curves
from quotelife.learn.dataset import Decisions
from quotelife.learn.gradient_boosting import Recipe
from quotelife.learn.samples import markets
from quotelife.learn.splits import fitted_on
from quotelife.learn.suite import Candidate
from quotelife.learn.suite_models import LOGISTIC, SHIPPED, STACKED, UNIVERSAL, trained_models

pytest.importorskip("xgboost")
SMALL = Recipe(trees=4, depth=2, eta=0.2, leaf_rows=20, bins=16)
LATER_NS = 10**17  # than the simulated market of the shipped models


def _day() -> Decisions:
    made = decisions(3, 150)
    path = replace(made.path, time_ns=made.path.time_ns + LATER_NS)
    return replace(made, now_ns=made.now_ns + LATER_NS, path=path)


DAY = _day()
ANSWERED = DAY.sigma_ticks > 0.0


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite_models, "UNIVERSAL_RECIPE", SMALL)
        patch.setattr(suite_models, "LOCAL", SMALL)
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Candidate]:
    return trained(tmp_path_factory.mktemp("work"))


def trained(work: Path) -> Mapping[str, Candidate]:
    return trained_models({"GBP": DAY}, work, lambda text: None)["GBP"]


def test_what_answers_before_the_test_slice_has_not_seen_the_calibrate_slice(
    found: Mapping[str, Candidate],
) -> None:
    """And nothing but the train slice is hidden of it."""
    (market,) = markets([DAY], purge=10_000_000_000)
    cuts = [market.span_ns(part)[0] for part in ("calibrate", "test")]
    h = DAY.h_ticks[:, 0]
    for name in (STACKED, UNIVERSAL):
        model, before = found[name].model, found[name].before
        assert before is not None
        assert all(until < cuts[0] for _, _, until in fitted_on(before.manifest))
        assert max(until for _, _, until in fitted_on(model.manifest)) > cuts[0]
        assert all(until < cuts[1] for _, _, until in fitted_on(model.manifest))
        p = found[name].curves(DAY, h)
        last = DAY.now_ns >= cuts[1]
        middle = (DAY.now_ns >= cuts[0]) & ~last & ANSWERED
        np.testing.assert_array_equal(p[last], model_curves(model, DAY, h)[last])
        np.testing.assert_array_equal(p[middle], model_curves(before, DAY, h)[middle])
        assert np.isnan(p[market.rows[0]["train"]]).all() and not np.isnan(p[middle]).any()


def test_a_model_without_another_before_it_says_nothing_of_what_it_was_fitted_on(
    found: Mapping[str, Candidate],
) -> None:
    """Up to the test slice; the shipped one, fitted to another market, answers everywhere."""
    (market,) = markets([DAY], purge=10_000_000_000)
    h = DAY.h_ticks[:, 0]
    refitted = Candidate(found[UNIVERSAL].model).curves(DAY, h)
    for part, hidden in (("train", True), ("calibrate", True), ("test", False)):
        assert np.isnan(refitted[market.rows[0][part]]).all() == hidden
    assert np.isnan(found[LOGISTIC].curves(DAY, h)[market.rows[0]["train"]]).all()
    assert not np.isnan(found[LOGISTIC].curves(DAY, h)[market.rows[0]["calibrate"]]).any()
    assert not np.isnan(found[SHIPPED].curves(DAY, h)[ANSWERED]).any()


def test_what_is_there_is_loaded_and_what_makes_it_otherwise_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another recipe of the base makes the stack anew too; so does other code."""
    made: list[str] = []

    def counted(name: str) -> Any:
        function = getattr(suite_models, name)

        def count(*arguments: Any, **keys: Any) -> Any:
            made.append(name)
            return function(*arguments, **keys)

        return count

    for name in ("train_universal", "train_trees", "train_logistic"):
        monkeypatch.setattr(suite_models, name, counted(name))
    first = trained(tmp_path)
    assert made == ["train_universal", "train_trees", "train_logistic"]
    again = trained(tmp_path)
    assert len(made) == 3
    assert {name: each.digests for name, each in again.items()} == {
        name: each.digests for name, each in first.items()
    }
    monkeypatch.setattr(suite_models, "UNIVERSAL_RECIPE", Recipe(**{**vars(SMALL), "eta": 0.1}))
    other = trained(tmp_path)
    assert made[3:] == ["train_universal", "train_trees"]
    assert other[STACKED].model.digest != first[STACKED].model.digest
    monkeypatch.setattr(suite_models, "code_digest", lambda: "other code")
    trained(tmp_path)
    assert made[5:] == ["train_universal", "train_trees", "train_logistic"]
