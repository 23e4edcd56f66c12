"""What a manifest says of the distribution of features, against counts of one row after the other."""

import math
from bisect import bisect_left

import numpy as np
import pytest
from tests.learn.training_kit import market

from quotelife.features.schema import INDEX
from quotelife.learn import drift
from quotelife.learn.drift import feature_bins
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife.model.curve import CurveModel


@pytest.fixture(scope="module")
def model() -> CurveModel:
    return load_artifact(builtin_artifact("simulated_trees"))


def test_shares_are_those_of_single_rows_of_the_parts_it_was_fitted_on(model: CurveModel) -> None:
    group = [market(1, 60, instrument="A"), market(2, 60, instrument="B")]
    told = feature_bins(group, model)
    assert told is not None
    total = 0
    for place in range(2):
        piece, rows = group[place].pieces[0], group[place].rows[0]
        fitted = [int(row) for part in ("train", "calibrate") for row in rows[part]]
        total += len(fitted)
        for i in (0, 7, 14, 38):
            feature = told["features"][i]
            counts = [0] * (len(feature["edges"]) + 2)
            for row in fitted:
                value = float(piece.x[row, INDEX[feature["name"]]])
                if feature["per"] == "sigma":
                    value /= float(piece.sigma_ticks[row])
                counts[-1 if math.isnan(value) else bisect_left(feature["edges"], value)] += 1
            shares = [count / len(fitted) for count in counts]
            assert told["instruments"]["AB"[place]][i] == pytest.approx(shares, abs=1e-5)
    assert told["rows"] == total


def test_pooled_bins_hold_a_tenth_each_and_the_share_that_is_missing(model: CurveModel) -> None:
    told = feature_bins([market(3, 240)], model)
    assert told is not None
    for feature in told["features"]:
        shares = np.array(feature["shares"])
        if len(feature["edges"]) == 9:
            assert shares[:-1] == pytest.approx((1 - shares[-1]) / 10, abs=0.02)
        assert shares.sum() == pytest.approx(1.0, abs=1e-3)
        assert 0.02 < shares[-1] < 0.09


def test_of_many_instruments_only_what_they_are_together_is_told(
    model: CurveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "INSTRUMENTS_MOST", 1)
    told = feature_bins([market(1, 60, instrument="A"), market(2, 60, instrument="B")], model)
    assert told is not None and told["instruments"] == {} and len(told["features"]) == 41


def test_a_model_that_reads_no_features_has_no_bins() -> None:
    assert feature_bins([market(1, 60)], load_artifact(builtin_artifact("first_passage"))) is None


def test_the_shipped_trees_say_what_they_were_fitted_on(model: CurveModel) -> None:
    told = model.manifest["training"]["feature_bins"]
    assert [each["name"] for each in told["features"]] == [
        each["name"] for each in model.parameters()["features"]
    ]
    assert set(told["instruments"]) == {"BTCUSDT", "ETHUSDT"}
