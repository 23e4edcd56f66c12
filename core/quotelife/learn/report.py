"""The report of a backtest: one self-contained HTML file, and the same figures in short for a terminal.

``results`` is what ``quotelife backtest --json`` gives (docs/backtest.md). A section whose numbers are not there is
left out. The file refers to nothing outside itself and runs no script.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from quotelife.errors import QuotelifeError
from quotelife.learn import charts
from quotelife.learn.charts import Figure, Json, horizon
from quotelife.learn.drift import Drift
from quotelife.learn.results import check_results
from quotelife.model.curve import CurveModel
from quotelife.model.tree_curve import TreeCurveModel, unpack
from quotelife.model.trees import LEAF

SHORT_NS, LONG_NS = 500_000_000, 2_000_000_000
NOWRAP_CHARACTERS = 24
YEAR_2000_NS = 946_684_800_000_000_000  # a smaller number of ns is a duration
AFTER = ("log_h_room", "log_h_sigma")  # columns of trees that no single feature is


class ReportError(QuotelifeError):
    """The results cannot be read; the text names the file and the mend."""


def read_results(path: Path) -> dict[str, Any]:
    """The results of a backtest. ``ReportError`` naming the file, and the field that holds something else."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror}); name a file of results") from None
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: is no JSON ({error}); make it with: quotelife backtest --json") from None
    try:
        check_results(results)
    except ValueError as error:
        raise ReportError(f"{path}: {error}; make it with: quotelife backtest --json") from None
    found: dict[str, Any] = results
    return found


def chosen_model(entry: Json, wanted: str | None = None) -> str | None:
    """The model that the pictures show: ``wanted`` where it was scored, the set's own choice, or the most skilled."""
    horizons = entry.get("horizons", ())
    names = {scored["model"] for each in horizons for scored in each["models"]}
    for name in (wanted, entry.get("model")):
        if name in names:
            return str(name)
    best, skill = None, -math.inf
    short = at_horizon(entry, SHORT_NS) or (horizons[0] if horizons else None)
    for scored in short["models"] if short else ():
        found = scored.get("brier_skill")
        if best is None or (found is not None and found > skill):
            best, skill = scored["model"], -math.inf if found is None else found
    return best


def at_horizon(entry: Json, horizon_ns: int) -> Json | None:
    return next((each for each in entry.get("horizons", ()) if each["horizon_ns"] == horizon_ns), None)


def summary(results: Json, model: str | None = None) -> list[dict[str, Any]]:
    """The figures of each set that decide: skill and calibration of the chosen model at 500 ms and 2 s, the frontier.

    Every number is as the results have it; what they lack is not in the entry.
    """
    out = []
    for entry in results["sets"]:
        chosen = chosen_model(entry, model)
        line: dict[str, Any] = {"set": entry["name"], "model": chosen}
        line |= {key: entry[key] for key in ("reference", "h", "rows") if key in entry}
        for horizon_ns in (SHORT_NS, LONG_NS):
            at = at_horizon(entry, horizon_ns)
            scored = next((each for each in (at or {}).get("models", ()) if each["model"] == chosen), None)
            if at and scored:
                keys = ("auc", "auc_within_10min", "brier_skill", "brier_skill_interval", "ece")
                line[horizon(horizon_ns)] = {
                    **({"prevalence": at["prevalence"]} if "prevalence" in at else {}),
                    **{key: scored[key] for key in keys if scored.get(key) is not None},
                }
        line["frontier"] = [
            {key: each[key] for key in ("policy", "fill", "change", "interval") if key in each}
            for each in of_model(entry.get("frontier") or (), chosen)
            if each.get("change") is not None and each["fill"] in (0.5, 0.9)
        ]
        out.append(line)
    return out


def training_span(model: CurveModel) -> tuple[int, int] | None:
    """First and last decision, in ns, that the model was fitted on; none where its manifest tells no span."""
    training = (model.manifest or {}).get("training") or {}
    span = training.get("span_ns") or [training.get("span_start_ns"), training.get("span_end_ns")]
    return (span[0], span[1]) if all(isinstance(at, int) for at in span) and len(span) == 2 else None


def of_model(rows: Sequence[Json], model: str | None) -> list[Json]:
    """The rows of ``model`` and those that name none; all where none is of ``model``."""
    found = [each for each in rows if each.get("model") in (None, model)]
    return found or list(rows)


def importance_of(model: CurveModel) -> tuple[dict[str, float], str] | None:
    """What the model leans on, and what the numbers are: gain where training kept it, else weights or splits."""
    training = (model.manifest or {}).get("training") or {}
    gains = training.get("importance")
    if isinstance(gains, dict) and gains:
        return {str(name): float(gain) for name, gain in gains.items()}, "the gain of all splits in training"
    parameters = model.parameters()
    if isinstance(model, TreeCurveModel):
        names = [each["name"] for each in parameters["features"]]
        names += [
            name
            for name, there in zip(AFTER, ("log_room", "log_threshold"), strict=True)
            if parameters[there]
        ]
        splits: dict[str, float] = {}
        for place, packed in enumerate(parameters["ensembles"]):
            for slot in unpack(packed, len(names), f"ensembles[{place}]").slots:
                if slot != LEAF:
                    name = names[int(slot) >> 1]
                    splits[name] = splits.get(name, 0.0) + 1.0
        return (splits, "the splits of all trees (their gain was not kept)") if splits else None
    weights = {
        each["name"]: abs(float(each["weight"]))
        for each in parameters.get("features", ())
        if each.get("weight")
    }
    return (weights, "the weights, |logit per standard deviation|") if weights else None


def html(
    results: Json,
    *,
    source: str,
    model: CurveModel | None = None,
    drifted: Mapping[str, Drift] | None = None,
    wanted: str | None = None,
) -> str:
    """The whole page. ``source`` names the results; ``model`` is that of the card; ``drifted`` is by instrument."""
    sets = results["sets"]
    parts = [
        f"<h1>quotelife: how good are the lives?</h1>{_origin(results, source)}",
        _summary_table(results, wanted),
    ]
    anchors = [(f"set-{place}", _set_name(each)) for place, each in enumerate(sets)]
    if model is not None:
        anchors.append(("model", "the model"))
    parts.insert(
        1, "<nav>" + "".join(f'<a href="#{at}">{escape(name)}</a>' for at, name in anchors) + "</nav>"
    )
    parts.append(_targets(results.get("targets") or ()))
    for place, entry in enumerate(sets):
        parts.append(_set(entry, f"set-{place}", wanted))
    if model is not None:
        parts.append(_model(model))
    for instrument, found in (drifted or {}).items():
        figure = charts.drift(found.names, found.starts_ns.tolist(), found.psi.tolist())
        parts.append(f"<h2>Drift: {escape(instrument)}</h2>{_figure(figure)}")
    body = "\n".join(parts)
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>quotelife report: {escape(', '.join(each['name'] for each in sets))}</title>"
        f"<style>{css}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def _origin(results: Json, source: str) -> str:
    words = [("results", source)]
    words += [
        (key.replace("_", " "), str(results[key]))
        for key in ("build", "seed", "data_digest")
        if key in results
    ]
    return (
        '<p class="dim">' + " · ".join(f"{name} <code>{escape(text)}</code>" for name, text in words) + "</p>"
    )


def _summary_table(results: Json, wanted: str | None) -> str:
    rows = []
    for line in summary(results, wanted):
        short, long = line.get("500 ms", {}), line.get("2 s", {})
        best: dict[float, Json] = {}
        for each in line["frontier"]:
            if each["fill"] not in best or each["change"] < best[each["fill"]]["change"]:
                best[each["fill"]] = each
        rows.append(
            [line["set"], line.get("reference", ""), line.get("h", ""), line["model"] or ""]
            + [_number(short.get("auc")), _skill(short), _number(short.get("ece"), 4)]
            + [_number(long.get("auc")), _skill(long), _number(long.get("ece"), 4)]
            + [_change(best.get(fill)) for fill in (0.5, 0.9)]
        )
    head = ["set", "reference", "h", "model", "AUC 500 ms", "Brier skill 500 ms", "ECE 500 ms", "AUC 2 s"]
    head += ["Brier skill 2 s", "ECE 2 s", "pick-offs at 50 % fill", "pick-offs at 90 % fill"]
    shown = [column for column in range(len(head)) if any(row[column] for row in rows)]
    table = _table([head[c] for c in shown], [[row[c] for c in shown] for row in rows])
    return (
        f'{table}<p class="how">AUC: .5 knows nothing, 1 everything. Brier skill: above 0 is better than the test '
        "slice's own base rate. ECE: mean distance between what was said and what came. Pick-offs: the policy named, "
        "against the fixed life that fills as many RFQs; it is the best one on this very slice, so it flatters, and "
        "its bracket does not know that it was picked. Brackets are 95 % block-bootstrap intervals.</p>"
    )


def _number(value: Any, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _skill(scored: Json) -> str:
    if scored.get("brier_skill") is None:
        return ""
    bounds = scored.get("brier_skill_interval")
    text = f"{scored['brier_skill']:+.3f}" + (f"\n[{bounds[0]:+.3f}, {bounds[1]:+.3f}]" if bounds else "")
    return text.replace("-", "−")


def _change(row: Json | None) -> str:
    if row is None:
        return ""
    bounds = row.get("interval")
    text = f"{100 * row['change']:+.0f} %" + (
        f" [{100 * bounds[0]:+.0f}, {100 * bounds[1]:+.0f}]" if bounds else ""
    )
    return f"{text.replace('-', '−')}\n{row['policy']}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], chosen: str | None = None) -> str:
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    lines = []
    for row in rows:
        mark = ' class="chosen"' if chosen is not None and row[0] == chosen else ""
        lines.append(f"<tr{mark}>" + "".join(_cell(each) for each in row) + "</tr>")
    return f'<div class="scroll"><table><tr>{cells}</tr>{"".join(lines)}</table></div>'


def _cell(text: str) -> str:
    wraps = len(text) > NOWRAP_CHARACTERS and "\n" not in text
    return f"<td{' class=words' if wraps else ''}>{escape(text).replace(chr(10), '<br>')}</td>"


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    pictures = "".join(f'<div class="scroll">{each}</div>' for each in figure.pictures)
    return (
        f'<figure><figcaption><h3>{escape(figure.title)}</h3><p class="how">{escape(figure.how)}</p></figcaption>'
        f'<div class="pictures">{pictures}</div></figure>'
    )


def _set(entry: Json, anchor: str, wanted: str | None) -> str:
    chosen, colour = chosen_model(entry, wanted), charts.colours(entry)
    words = [f"reference {entry['reference']}"] if "reference" in entry else []
    words += [f"threshold h {entry['h']}"] if "h" in entry else []
    words += [f"{entry['rows']:,} labelled decisions"] if "rows" in entry else []
    words += [f"blocks of {entry['block_s']:g} s"] if "block_s" in entry else []
    for name, span in (entry.get("split") or {}).items():
        if isinstance(span, list) and len(span) == 2:
            words.append(f"{name} {_instant(span[0])} to {_instant(span[1])}")
    parts = [
        f'<h2 id="{anchor}">{escape(_set_name(entry))}</h2><p class="dim">{escape("; ".join(words))}</p>'
    ]
    parts += [_scores(entry, chosen)]
    if chosen is not None:
        parts.append(_figure(charts.reliability(entry["horizons"], chosen)))
    parts.append(_figure(charts.frontier(of_model(entry.get("frontier") or (), chosen), colour)))
    parts.append(_figure(charts.value(entry.get("value") or (), colour)) + _values(entry.get("value") or ()))
    parts.append(_withdrawal(entry.get("withdrawal") or ()))
    parts.append(_held(entry.get("held_tolerance")))
    parts.append(_figure(charts.lives(entry.get("lives") or {}, colour, entry.get("h_ticks"))))
    return "".join(parts)


def _set_name(entry: Json) -> str:
    return f"{entry['name']}, {entry['reference']}" if "reference" in entry else str(entry["name"])


def _targets(rows: Sequence[Json]) -> str:
    """What the figures had to reach, what failed first."""
    if not rows:
        return ""
    words = {True: "met", False: "NOT MET", None: "not known"}
    order = sorted(rows, key=lambda each: (each["met"] is not False, each["met"] is True))
    body = [
        [
            words[each["met"]],
            str(each["set"]),
            str(each["what"]),
            _word(each["value"]),
            _span(each["interval"]) if each.get("interval") else str(each.get("reason") or ""),
            str(each["must"]),
        ]
        for each in order
    ]
    missed = sum(each["met"] is False for each in rows)
    unknown = sum(each["met"] is None for each in rows)
    head = f"{len(rows) - missed - unknown} of {len(rows)} targets are met, {missed} are not, {unknown} are not known"
    table = _table(["", "set", "figure", "is", "interval, or why not known", "must be"], body)
    return f"<details{' open' if missed else ''}><summary>{head}</summary>{table}</details>"


def _values(rows: Sequence[Json]) -> str:
    """Every value in a table that opens: the pictures show the chief policies."""
    if not rows:
        return ""
    head = [
        ("case", "case"),
        ("slice", "slice"),
        ("policy", "policy"),
        ("value", "value in h"),
        ("interval", "interval"),
    ]
    head += [
        ("over_static", "over best fixed life"),
        ("over_static_interval", "interval"),
        ("fill", "filled"),
    ]
    head += [("pickoffs", "picked off"), ("declined", "declined")]
    head = [(key, words) for key, words in head if any(each.get(key) is not None for each in rows)]
    body = [
        [_span(each[key]) if isinstance(each.get(key), list) else _word(each.get(key)) for key, _ in head]
        for each in rows
    ]
    return f"<details><summary>All {len(rows)} values</summary>{_table([words for _, words in head], body)}</details>"


def _withdrawal(rows: Sequence[Json]) -> str:
    """Value a request by how long a withdrawal takes, a row for each case and policy."""
    if not rows:
        return ""
    paths = list(dict.fromkeys(each["path_ns"] for each in rows))
    head = ["case", "policy", *("no watch" if path is None else horizon(path) for path in paths)]
    found = {(each["case"], each["policy"], each["path_ns"]): each for each in rows}
    body = [
        [
            case,
            policy,
            *(
                f"{_word(cell['value'])} {_span(cell['interval']) if cell['interval'] else ''}"
                if cell
                else ""
                for cell in (found.get((case, policy, path)) for path in paths)
            ),
        ]
        for case, policy in dict.fromkeys((each["case"], each["policy"]) for each in rows)
    ]
    title = "<h3>Value a request in h, by how long a withdrawal takes</h3>"
    return f'{title}<div class="scroll">{_table(head, body)}</div>'


def _span(bounds: Sequence[float]) -> str:
    return f"[{_word(float(bounds[0]))}, {_word(float(bounds[1]))}]"


def _scores(entry: Json, chosen: str | None) -> str:
    """One table: a row a model, the figures of each horizon side by side."""
    horizons = entry.get("horizons") or ()
    names = list(dict.fromkeys(scored["model"] for each in horizons for scored in each["models"]))
    if not names:
        return ""
    shown = [each for each in horizons if each["horizon_ns"] in (SHORT_NS, LONG_NS)] or list(horizons)[:2]
    head = ["model"]
    for each in shown:
        at = horizon(each["horizon_ns"])
        head += [f"AUC {at}", "within 10 min", f"Brier skill {at}", f"ECE {at}"]
    rows = []
    for name in names:
        row = [name]
        for each in shown:
            scored: Json = next((s for s in each["models"] if s["model"] == name), {})
            row += [_number(scored.get("auc")), _number(scored.get("auc_within_10min")), _skill(scored)]
            row += [_number(scored.get("ece"), 4)]
        rows.append(row)
    return _table(head, rows, chosen)


def _held(rows: Any) -> str:
    entries = [rows] if isinstance(rows, dict) else list(rows or ())
    if not entries:
        return ""
    head = list(
        dict.fromkeys(key for each in entries for key in each if not isinstance(each[key], list | dict))
    )
    body = [[_word(each.get(key)) for key in head] for each in entries]
    return (
        "<figure><figcaption><h3>Is the tolerance held?</h3><p class='how'>Share of granted lives within which the "
        "market passed h, with held tolerance and without. The worst 2,000 decisions in a row should stay within α + 1 "
        "percentage point.</p></figcaption>"
        + _table([key.replace("_", " ") for key in head], body)
        + "</figure>"
    )


def _word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _instant(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def model_card(model: CurveModel) -> list[tuple[str, str]]:
    """What is known of an artifact, in words, line by line; nothing that its manifest does not say."""
    manifest = model.manifest
    card = [
        (key.replace("_", " "), str(manifest[key]))
        for key in ("name", "kind", "description", "created_by", "digest")
    ]
    card.append(("feature schema", f"version {manifest['schema']['version']}, {manifest['schema']['hash']}"))
    card.append(("threshold h", manifest["threshold"]))
    card.append(("horizons", ", ".join(horizon(ns) for ns in manifest["horizons_ns"])))
    training = manifest["training"]
    if training is None:
        card.append(("training", "none: fitted to nothing"))
    for key, value in (training or {}).items():
        # Pictures; spans that are told; the card of the model it was calibrated from.
        if key in ("importance", "feature_bins", "fitted_on", "trained"):
            continue
        words = _told(key, value)
        if words:
            card.append((key.removesuffix("_ns").replace("_", " "), words))
    if not manifest["metrics"]:
        card.append(("metrics", "none are recorded"))
    card.append(("limits", _limits(manifest)))
    return card


def _told(key: str, value: Any) -> str:
    """A value of a manifest in words: instants as such, objects and lists in line."""
    if isinstance(value, Mapping):
        inner = ((name, _told(str(name), each)) for name, each in value.items())
        return ", ".join(
            f"{str(name).removesuffix('_ns').replace('_', ' ')} {words}" for name, words in inner if words
        )
    if isinstance(value, list):
        apart = "; " if any(isinstance(each, Mapping) for each in value) else ", "
        return apart.join(_told(key, each) for each in value)
    if key.endswith("_ns") and isinstance(value, int):
        return _instant(value) if value > YEAR_2000_NS else horizon(value)
    return "" if value is None else _word(value) if isinstance(value, float | bool) else str(value)


def _limits(manifest: Mapping[str, Any]) -> str:
    first, last = manifest["horizons_ns"][0], manifest["horizons_ns"][-1]
    words = [f"says nothing below {horizon(first)} or beyond {horizon(last)}"]
    if manifest["training"] is None:
        words.append("was never held against data")
    else:
        words.append("is shown only on the span, instruments and thresholds named here")
    if not manifest["reliability"]:
        words.append("has no reliability table, so its probabilities need the rolling recalibration")
    return "; ".join(words)


def _model(model: CurveModel) -> str:
    lines = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in model_card(model) if text
    )
    parts = [f'<h2 id="model">The model</h2><div class="scroll"><table class="card">{lines}</table></div>']
    metrics = model.manifest["metrics"]
    if metrics:
        keys = list(dict.fromkeys(key for each in metrics for key in each))
        keys.sort(key=lambda key: key != "horizon_ns")
        rows = [
            [horizon(each[key]) if key == "horizon_ns" else _word(each.get(key)) for key in keys]
            for each in metrics
        ]
        head = ["horizon" if key == "horizon_ns" else key.replace("_", " ") for key in keys]
        parts.append(
            f"<details><summary>{len(rows)} scores recorded when it was made</summary>{_table(head, rows)}</details>"
        )
    found = importance_of(model)
    if found:
        parts.append(_figure(charts.importance(*found)))
    return "".join(parts)
