"""The report: what stands on the page is what stands in the results, and it can be read."""

import json
import math
import re
from collections.abc import Iterator
from copy import deepcopy
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from quotelife.learn import charts
from quotelife.learn.charts import Figure, wilson
from quotelife.learn.drift import drift, index
from quotelife.learn.report import (
    ReportError,
    chosen_model,
    html,
    importance_of,
    model_card,
    read_results,
    summary,
)
from quotelife.learn.svg import CHARACTER_PX, FONT_PX, apart, ticks
from quotelife.model.artifact import builtin_artifact, load_artifact
from quotelife_server.cli.commands import app
from reference.results_kit import NASTY, START_NS, one_set, results


def figures() -> dict[str, Figure | None]:
    entry = one_set()
    colour = charts.colours(entry)
    model = load_artifact(builtin_artifact("logistic"))
    found = importance_of(model)
    assert found is not None
    starts = [START_NS + k * 3_600_000_000_000 for k in range(12)]
    psi = np.random.default_rng(1).random((30, 12)).tolist()
    return {
        "reliability": charts.reliability(entry["horizons"], NASTY),
        "frontier": charts.frontier(entry["frontier"], colour),
        "value": charts.value(entry["value"], colour),
        "lives": charts.lives(entry["lives"], colour, 1.0),
        "importance": charts.importance(*found),
        "drift": charts.drift([f"feature_{i}" for i in range(30)], starts, psi),
    }


def parsed(figure: Figure | None) -> list[ElementTree.Element]:
    assert figure is not None
    return [ElementTree.fromstring(str(each)) for each in figure.pictures]


def text_boxes(root: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """Words with left, top, right and bottom, at the mean advance of a sans-serif."""
    boxes = []
    for each in root.iter("text"):
        words = each.text or ""
        width = len(words) * CHARACTER_PX * 0.94
        left = (
            float(each.attrib["x"])
            - {"start": 0.0, "middle": width / 2, "end": width}[each.attrib["text-anchor"]]
        )
        base = float(each.attrib["y"])
        boxes.append((words, left, base - 0.75 * FONT_PX, left + width, base + 0.2 * FONT_PX))
    return boxes


@pytest.mark.parametrize("name", ["reliability", "frontier", "value", "lives", "importance", "drift"])
def test_no_words_of_a_picture_overlap_or_leave_it(name: str) -> None:
    for root in parsed(figures()[name]):
        boxes = text_boxes(root)
        width, height = (float(each) for each in root.attrib["viewBox"].split()[2:])
        assert len(boxes) > 5
        for words, left, top, right, bottom in boxes:
            assert left >= -1 and top >= -1 and right <= width + 1 and bottom <= height + 1, words
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                apart_in_x = a[3] <= b[1] or b[3] <= a[1]
                apart_in_y = a[4] <= b[2] or b[4] <= a[2]
                assert apart_in_x or apart_in_y, f"{a[0]!r} lies over {b[0]!r}"


@pytest.mark.parametrize("name", ["reliability", "frontier", "value", "lives", "importance", "drift"])
def test_each_figure_says_what_to_see_and_how_to_read_it(name: str) -> None:
    figure = figures()[name]
    assert figure is not None
    assert len(figure.title) > 20
    assert len(figure.how) > 60


def test_the_dots_of_the_value_stand_where_the_numbers_say() -> None:
    entry = one_set()
    rows = [each for each in entry["value"] if each["slice"] == "all"]
    (root,) = parsed(charts.value(rows, charts.colours(entry)))
    drawn = [float(each.attrib["cx"]) for each in root.iter("circle")]
    worth = [each["value"] for each in rows]
    scale, start = np.polyfit(worth, drawn, 1)
    assert scale > 0
    assert np.allclose(np.polyval([scale, start], worth), drawn, atol=0.02)


def test_the_dots_of_the_frontier_stand_where_the_numbers_say() -> None:
    entry = one_set()
    figure = charts.frontier(entry["frontier"], charts.colours(entry))
    change = [each["change"] for each in entry["frontier"]]
    drawn = [float(each.attrib["cy"]) for each in parsed(figure)[1].iter("circle")]
    scale, start = np.polyfit(change, drawn, 1)
    assert scale < 0  # up is more
    assert np.allclose(np.polyval([scale, start], change), drawn, atol=0.02)


def test_the_dots_of_reliability_stand_on_square_roots_of_what_was_said_and_what_came() -> None:
    entry = one_set()
    panels = parsed(charts.reliability(entry["horizons"], NASTY))
    for at, root in zip(entry["horizons"], panels, strict=True):
        bins = at["models"][1]["reliability"]
        for key, attribute in (("p", "cx"), ("hit", "cy")):
            drawn = [float(each.attrib[attribute]) for each in root.iter("circle")]
            true = np.sqrt([each[key] for each in bins])
            fitted = np.polyval(np.polyfit(true, drawn, 1), true)
            assert np.allclose(fitted, drawn, atol=0.05)


def test_the_summary_repeats_the_results_to_the_last_digit() -> None:
    entry = one_set()
    (line,) = summary(results(entry))
    scored = entry["horizons"][1]["models"][1]
    keys = ("auc", "auc_within_10min", "brier_skill", "brier_skill_interval", "ece")
    assert line["model"] == NASTY
    assert line["500 ms"] == {"prevalence": 0.0065, **{key: scored[key] for key in keys}}
    told = {(each["policy"], each["fill"]): (each["change"], each["interval"]) for each in line["frontier"]}
    assert told == {
        (each["policy"], each["fill"]): (each["change"], each["interval"])
        for each in entry["frontier"]
        if each["fill"] in (0.5, 0.9)
    }


def test_the_page_shows_the_numbers_of_the_results() -> None:
    page = html(results(), source="r.json")
    for words in ("0.900", "+0.045<br>[+0.029, +0.061]", "0.0031", "−82 % [−88, −77]", "0.3125", "0.0265"):
        assert words in page, words


def test_the_page_refers_to_nothing_outside_itself_and_runs_no_script() -> None:
    model = load_artifact(builtin_artifact("logistic"))
    page = html(results(one_set("GBP"), one_set(NASTY)), source=NASTY, model=model)
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|<link|<script|<img|<iframe| src=| on\w+=", page, re.I
    )
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))


def test_names_are_escaped_wherever_they_stand() -> None:
    entry = one_set(NASTY)
    for row in entry["frontier"] + entry["value"]:
        row["policy"] = NASTY + row["policy"]
    entry["value"][0]["case"] = NASTY
    entry["held_tolerance"][0]["posture"] = NASTY
    entry["h"] = NASTY
    entry["lives"]["life_ms"] = {NASTY: entry["lives"]["life_ms"]["expected value"]}
    page = html(results(entry), source=NASTY)
    tags = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.add(tag)

    Tags().feed(page)
    assert "script" not in tags
    assert "&lt;script&gt;" in page


def test_what_the_results_lack_is_left_out() -> None:
    entry = {"name": "bare", "horizons": one_set()["horizons"]}
    page = html(results(entry), source="r.json")
    assert "mean what it says" in page
    assert not re.search("Fewer pick-offs|worth under|tolerance held|Lives are long|The model", page)


def test_only_the_chosen_model_has_its_frontier_drawn() -> None:
    entry = one_set()
    entry["frontier"] = [
        {**row, "model": model} for model in (NASTY, "volatility") for row in entry["frontier"]
    ]
    (line,) = summary(results(entry))
    assert len(line["frontier"]) == 2 * 3
    (line,) = summary(results(entry), "volatility")
    assert len(line["frontier"]) == 2 * 3


def test_every_value_stands_in_the_table_even_where_the_picture_shows_the_chief_ones() -> None:
    entry = one_set()
    base = entry["value"][1]
    entry["value"] += [
        {**base, "policy": f"expected value, posture {i}", "value": 0.2 + i / 1000} for i in range(20)
    ]
    page = html(results(entry), source="r.json")
    drawn = sum("posture" in (each.text or "") for root in parsed(charts.value(entry["value"], charts.colours(entry)))
                for each in root.iter("text"))  # fmt: skip
    assert drawn == 0
    assert all(f"posture {i}" in page for i in range(20))


def test_what_missed_its_target_is_told_first_and_open() -> None:
    targets = [
        {"set": "GBP", "what": "AUC at 500 ms", "must": ">= 0.895", "value": 0.9, "met": True},
        {"set": "GBP", "what": "ECE at 2 s", "must": "<= 0.01", "value": 0.012, "met": False},
        {"set": "BTC", "what": "a run", "must": "<= 0.06", "value": None, "met": None, "reason": "too short"},
    ]
    page = html({**results(), "targets": targets}, source="r.json")
    assert page.index("ECE at 2 s") < page.index("AUC at 500 ms")
    assert "<details open><summary>1 of 3 targets are met, 1 are not, 1 are not known" in page
    assert "too short" in page


def test_a_figure_that_is_null_is_not_drawn() -> None:
    entry = one_set()
    entry["frontier"][0] |= {"change": None, "interval": None, "pickoffs": None}
    figure = charts.frontier(entry["frontier"], charts.colours(entry))
    dots = len(list(parsed(figure)[-1].iter("circle")))
    assert dots == len(entry["frontier"]) - 1


def test_the_model_asked_for_goes_before_the_most_skilled() -> None:
    entry = one_set()
    assert chosen_model(entry) == NASTY
    assert chosen_model(entry, "volatility") == "volatility"
    assert chosen_model(entry, "unknown") == NASTY


def test_the_card_tells_span_digest_schema_and_threshold() -> None:
    model = load_artifact(builtin_artifact("logistic"))
    card = dict(model_card(model))
    assert card["digest"] == model.digest
    assert model.manifest["schema"]["hash"] in card["feature schema"]
    assert card["threshold h"] == model.manifest["threshold"]
    assert card["span start"] == "2023-11-14 22:14:50 UTC"
    assert card["data digest"] == model.manifest["training"]["data_digest"]


def test_the_card_of_an_unfitted_model_says_so() -> None:
    card = dict(model_card(load_artifact(builtin_artifact("first_passage"))))
    assert card["training"] == "none: fitted to nothing"
    assert "never held against data" in card["limits"]


def test_importance_is_the_gain_that_training_kept() -> None:
    fitted = load_artifact(builtin_artifact("logistic"))
    model = type(fitted)(fitted.parameters())
    model.stamp({**fitted.manifest, "training": {"importance": {"queue_imbalance": 3.0, "log_h_sigma": 9.0}}})
    found = importance_of(model)
    assert found is not None
    assert found[0] == {"queue_imbalance": 3.0, "log_h_sigma": 9.0}


def test_results_that_are_none_are_refused_with_the_mend(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    for text, word in (
        ("{", "no JSON"),
        ("[]", "is not an object"),
        ('{"sets": [{}]}', r"sets\[0\]\.name: is missing"),
        ('{"sets": []}', "sets: 0 entries"),
        (
            '{"sets": [{"name": "A", "lives": {"time_ns": "x"}}]}',
            r"sets\[0\]\.lives\.time_ns: 'x' is not a list",
        ),
        (
            '{"sets": [{"name": "A", "frontier": [{"policy": "p", "fill": NaN}]}]}',
            r"frontier\[0\]\.fill: nan",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ReportError, match=word):
            read_results(path)


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(results(one_set(points=12))))
    page = tmp_path / "r.json" / "report.html"
    run = CliRunner().invoke(app, ["report", str(tmp_path / "r.json"), "--output", str(page)])
    assert run.exit_code == 2 and "cannot be written (" in " ".join(run.output.replace("│", " ").split())


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key of every object, and the first and last entry of every list."""
    keys = list(value) if isinstance(value, dict) else [0, len(value) - 1] if isinstance(value, list) else []
    for key in dict.fromkeys(keys):
        yield (*path, key)
        yield from places(value[key], (*path, key))


@pytest.mark.parametrize(
    "value", [None, "x", [], {}, [[]], True, -1, 0, 2**70, -1e308, math.nan], ids=lambda value: repr(value)
)
def test_a_field_that_holds_something_else_is_named_or_drawn_and_never_a_fault(
    tmp_path: Path, value: Any
) -> None:
    path, named, drawn = tmp_path / "r.json", 0, 0
    small = results(one_set(points=12))
    small["sets"][0]["horizons"] = small["sets"][0]["horizons"][1:2]
    small["sets"][0]["value"] = small["sets"][0]["value"][:2]
    small["targets"] = [
        {"met": False, "set": "A", "what": "w", "value": 0.5, "interval": [0.1, 0.2], "must": "m"}
    ]
    for place in places(small):
        changed: Any = deepcopy(small)
        owner = changed
        for key in place[:-1]:
            owner = owner[key]
        owner[place[-1]] = value
        path.write_text(json.dumps(changed))
        try:
            found = read_results(path)
        except ReportError as error:
            named += 1
            assert str(place[0]) in str(error)
            continue
        summary(found)
        html(found, source="r.json")
        drawn += 1
    assert named > 20 and drawn > 10


@pytest.mark.parametrize(
    ("hits", "rows", "bounds"),
    [
        (0, 10, (0.0, 0.27753)),
        (5, 10, (0.23659, 0.76341)),
        (10, 10, (0.72247, 1.0)),
        (1, 1000, (0.00018, 0.00564)),
    ],
)
def test_wilson_intervals_are_those_of_the_tables(hits: int, rows: int, bounds: tuple[float, float]) -> None:
    assert wilson(hits / 1.0, rows) == pytest.approx(bounds, abs=2e-5)


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    places = apart([100.0, 101.0, 99.0, 250.0], 15.0, 40.0, 254.0)
    order = sorted(range(4), key=lambda i: places[i])
    assert order == [2, 0, 1, 3]
    assert min(np.diff(sorted(places))) >= 15.0
    assert min(places) >= 40.0
    assert max(places) <= 254.0


def test_ticks_are_round_and_within() -> None:
    assert ticks(-1.0, 0.25) == [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25]
    assert ticks(0.0, 0.1) == [0.0, 0.02, 0.04, 0.06, 0.08, 0.1]


def test_the_stability_index_is_that_of_the_formula() -> None:
    e, a = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    assert index(e, a) == pytest.approx(0.3 * np.log(0.5 / 0.2) * 2)
    assert index(e, e) == 0.0


def test_drift_shows_the_feature_that_moved_when_it_moved() -> None:
    rng = np.random.default_rng(4)
    train = rng.normal(size=(5000, 3)).astype(np.float32)
    test = rng.normal(size=(6000, 3)).astype(np.float32)
    test[3000:, 1] += 2.0
    test[3000:, 2] = np.nan
    found = drift(("calm", "moved", "gone"), train, test, np.arange(6000) + START_NS, slices=6)
    assert found.psi.shape == (3, 6)
    assert found.psi[0].max() < 0.05
    assert found.psi[1, :3].max() < 0.05 < 1.0 < found.psi[1, 3:].min()
    assert found.psi[2, 3:].min() > 1.0
