"""The pictures of the report, each from one part of the results that ``quotelife backtest --json`` gives.

A function here takes plain JSON values and gives a ``Figure``: pictures, a title that says what to see and a line on
how to read it. What the JSON lacks is not drawn.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quotelife.learn.svg import FONT_PX, Picture, Scale, apart, cut, nice_step, root, ticks, words_px
from quotelife.records import RegimeCode

SERIES = 6  # colours there are
Z95 = 1.959963984540054
PSI_SOME, PSI_MUCH = (
    0.1,
    0.25,
)  # customary: below the first nothing moved, above the second the model is out of its depth
PANEL_W, PANEL_H = 232.0, 250.0
WIDE = 960.0
NAME_CHARACTERS = 30
ROWS_DRAWN = 16  # of a panel of values; the rest stand in the table

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """``title`` says what to see, ``how`` how to read it; ``pictures`` stand side by side."""

    title: str
    how: str
    pictures: tuple[Picture, ...]


def wilson(hits: float, rows: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927). (0, 1) without rows."""
    if rows <= 0:
        return 0.0, 1.0
    p, z2 = hits / rows, Z95 * Z95
    middle = p + z2 / (2 * rows)
    half = Z95 * math.sqrt(p * (1 - p) / rows + z2 / (4 * rows * rows))
    low, high = (middle - half) / (1 + z2 / rows), (middle + half) / (1 + z2 / rows)
    return max(0.0, min(low, p)), min(1.0, max(high, p))


def percent(value: float) -> str:
    """A share in words: three digits at most."""
    return f"{100 * value:.3g} %"


def horizon(ns: int) -> str:
    return f"{ns / 1e9:g} s" if ns >= 1_000_000_000 else f"{ns / 1e6:g} ms"


def colours(entry: Json) -> dict[str, int]:
    """The colour of each policy of a set in all its pictures: grey (0) for a static life, 1 to 6 in turn for others."""
    names = [each["policy"] for part in ("frontier", "value") for each in entry.get(part) or ()]
    given: dict[str, int] = {}
    for name in [*names, *((entry.get("lives") or {}).get("life_ms") or ())]:
        if name not in given:
            coloured = sum(1 for each in given.values() if each)
            given[name] = 0 if name.startswith("static") else coloured % SERIES + 1
    return given


def reliability(horizons: Sequence[Json], model: str) -> Figure | None:
    """One panel a horizon: what ``model`` said against what came, per bin, with 95 % Wilson intervals."""
    pictures, errors = [], []
    for entry in horizons:
        scored = next((each for each in entry["models"] if each["model"] == model), None)
        bins = [each for each in (scored or {}).get("reliability", ()) if each["rows"] > 0]
        if scored and bins:
            pictures.append(_reliability_panel(entry, scored, bins))
            errors.append(
                f"{percent(scored['ece'])} at {horizon(entry['horizon_ns'])}"
                if scored.get("ece") is not None
                else ""
            )
    if not pictures:
        return None
    said = ", ".join(each for each in errors if each)
    return Figure(
        f"Does {model} mean what it says? Mean error {said}" if said else f"Does {model} mean what it says?",
        "Each dot is a bin of decisions of like prediction: across what was said, up what came; the bar is the 95 % "
        "interval of its count (bins are not independent in time, so it is a lower bound of the doubt). On the line: "
        "right. Above it: overconfident, the market moved more often than said. Both axes are square roots, so that "
        "rare events have room.",
        tuple(pictures),
    )


def _reliability_panel(entry: Json, scored: Json, bins: Sequence[Json]) -> Picture:
    bars = [each.get("interval") or wilson(each["hit"] * each["rows"], each["rows"]) for each in bins]
    top = min(1.0, 1.04 * max(max(each["p"], bar[1]) for each, bar in zip(bins, bars, strict=True)))
    picture = Picture(PANEL_W, PANEL_H, f"Reliability at {horizon(entry['horizon_ns'])}")
    x = Scale(0.0, top, 48.0, PANEL_W - 14.0, root)
    y = Scale(0.0, top, PANEL_H - 40.0, 42.0, root)
    marks = _root_ticks(top)
    _frame(picture, x, y, marks, marks, percent, percent)
    picture.line(x(0), y(0), x(top), y(top), "ideal")
    for each, bar in zip(bins, bars, strict=True):
        tip = f"said {percent(each['p'])}, came {percent(each['hit'])} of {each['rows']:,}"
        picture.line(x(each["p"]), y(bar[0]), x(each["p"]), y(bar[1]), "bar s1")
        picture.dot(x(each["p"]), y(each["hit"]), 3.5, "f1", f"{tip} [{percent(bar[0])}, {percent(bar[1])}]")
    known = entry.get("prevalence") is not None
    base = f", base rate {percent(entry['prevalence'])}" if known else ""
    picture.text(4.0, 14.0, f"{horizon(entry['horizon_ns'])}{base}", "t strong")
    counts = sorted({each["rows"] for each in bins})
    span = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,}–{counts[-1]:,}"
    picture.text(4.0, 30.0, f"{len(bins)} bins of {span} decisions", "t dim")
    picture.text((x.start + x.end) / 2, PANEL_H - 6.0, "said (across), came (up)", "t dim", "middle")
    return picture


def _root_ticks(top: float) -> list[float]:
    """Zero and round shares whose square roots lie apart."""
    found = [0.0]
    for power in range(-6, 1):
        for step in (1.0, 2.0, 5.0):
            value = step * 10.0**power
            if value <= top and math.sqrt(value / top) - math.sqrt(found[-1] / top) > 0.21:
                found.append(value)
    return found


def _frame(
    picture: Picture,
    x: Scale,
    y: Scale,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_words: Any,
    y_words: Any,
) -> None:
    for value in y_ticks:
        picture.line(x.start, y(value), x.end, y(value), "grid")
        picture.text(x.start - 6.0, y(value) + 4.0, y_words(value), "t dim", "end")
    for value in x_ticks:
        picture.line(x(value), y.start, x(value), y.start + 4.0, "axis")
        picture.text(x(value), y.start + 17.0, x_words(value), "t dim", "middle")
    picture.line(x.start, y.start, x.end, y.start, "axis")


def frontier(rows: Sequence[Json], colour: Mapping[str, int]) -> Figure | None:
    """Pick-offs against fill, and their change against the static life of equal fill, with intervals."""
    rows = [each for each in rows if each.get("change") is not None]
    if not rows:
        return None
    names = list(dict.fromkeys(each["policy"] for each in rows))
    pictures = []
    if all(each.get("pickoffs") is not None and "static_pickoffs" in each for each in rows):
        lines = {
            name: [(r["fill"], r["pickoffs"], None) for r in rows if r["policy"] == name] for name in names
        }
        static = {each["fill"]: each["static_pickoffs"] for each in rows}
        lines = {"static": [(fill, share, None) for fill, share in sorted(static.items())], **lines}
        pictures.append(
            _curves("Pick-offs, share of all RFQs", lines, {"static": 0, **colour}, percent, from_zero=True)
        )
    changed = {
        name: [(r["fill"], r["change"], r.get("interval")) for r in rows if r["policy"] == name]
        for name in names
    }
    words = "Pick-offs against static of equal fill"
    pictures.append(_curves(words, changed, colour, _signed_percent, from_zero=False))
    best = min(
        (each for each in rows if abs(each["fill"] - 0.5) < 1e-9), key=lambda r: r["change"], default=None
    )
    title = "Fewer pick-offs than any fixed life at the same fill?"
    if best is not None:
        bounds = _interval(best.get("interval"), _signed_percent)
        title += f" {best['policy']} at 50 % fill: {_signed_percent(best['change'])}{bounds}"
    return Figure(
        title,
        "Every policy is tuned to fill the same share of RFQs as a fixed life would. Left: the share of RFQs picked "
        "off; lower is better. Right: the difference to the best fixed life; below zero the policy wins, and where "
        "the bar (95 % block bootstrap) reaches zero it is not shown to.",
        tuple(pictures),
    )


def _signed_percent(value: float) -> str:
    if not value:
        return "0 %"
    return (f"{100 * value:+,.0f} %" if abs(value) >= 1.0 else f"{100 * value:+.3g} %").replace("-", "−")


def _interval(bounds: Sequence[float] | None, words: Any) -> str:
    return "" if not bounds else f" [{words(bounds[0])}, {words(bounds[1])}]"


def _curves(
    words: str,
    lines: Mapping[str, Sequence[tuple[float, float, Sequence[float] | None]]],
    colour: Mapping[str, int],
    form: Any,
    *,
    from_zero: bool,
) -> Picture:
    values = [value for points in lines.values() for _, v, bar in points for value in (v, *(bar or ()))]
    low, high = min(0.0, *values), max(0.0, *values)
    step = nice_step((high - low) or 1.0, 5)
    low, high = (0.0 if from_zero else step * math.floor(low / step)), step * max(math.ceil(high / step), 1)
    room = 16.0 + max(words_px(cut(name, NAME_CHARACTERS)) for name in lines)
    picture = Picture(334.0 + room, 300.0, words)
    x = Scale(0.0, 1.0, 66.0, 322.0)
    y = Scale(low, high, 258.0, 34.0)
    picture.text(4.0, 14.0, words, "t strong")
    picture.text((x.start + x.end) / 2, 294.0, "share of RFQs filled", "t dim", "middle")
    _frame(picture, x, y, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], ticks(low, high), percent, form)
    picture.line(x.start, y(0.0), x.end, y(0.0), "axis")
    ends = []
    for place, (name, points) in enumerate(lines.items()):
        at = colour[name]
        drawn = sorted(points)
        shift = 3.0 * (place - (len(lines) - 1) / 2) if any(bar for _, _, bar in drawn) else 0.0
        picture.path([(x(fill) + shift, y(value)) for fill, value, _ in drawn], f"line s{at}")
        for fill, value, bar in drawn:
            if bar:
                picture.line(x(fill) + shift, y(bar[0]), x(fill) + shift, y(bar[1]), f"bar s{at}")
            tip = f"{name} at {percent(fill)} fill: {form(value)}{_interval(bar, form)}"
            picture.dot(x(fill) + shift, y(value), 3.0, f"f{at}", tip)
        ends.append((name, x(drawn[-1][0]), y(drawn[-1][1])))
    for (name, at_x, at_y), placed in zip(
        ends, apart([each[2] for each in ends], FONT_PX + 3.0, 40.0, 254.0), strict=True
    ):
        picture.line(at_x + 5.0, at_y, x.end + 8.0, placed, "leader")
        picture.text(x.end + 12.0, placed + 4.0, cut(name, NAME_CHARACTERS), f"t c{colour[name]}")
    return picture


def value(rows: Sequence[Json], colour: Mapping[str, int]) -> Figure | None:
    """Value per RFQ in units of h: one panel per case and slice, one line per policy."""
    rows = [each for each in rows if each.get("value") is not None]
    if not rows:
        return None
    if max(Counter((each.get("case"), each.get("slice")) for each in rows).values()) > ROWS_DRAWN:
        rows = [
            each for each in rows if ", " not in each["policy"]
        ] or rows  # a mode in one posture is in the table
    groups: dict[str, list[Json]] = {}
    for each in rows:
        groups.setdefault(", ".join(filter(None, (each.get("case"), each.get("slice")))), []).append(each)
    pictures = tuple(_value_panel(words, group, colour) for words, group in groups.items())
    return Figure(
        "What an RFQ is worth under each policy",
        "In units of the adverse threshold h per RFQ; further right is better. The bar is the 95 % block-bootstrap "
        "interval; the dashed line stands at the best fixed life.",
        pictures,
    )


def _value_panel(words: str, rows: Sequence[Json], colour: Mapping[str, int]) -> Picture:
    names = [cut(each["policy"], NAME_CHARACTERS) for each in rows]
    left = 12.0 + max(words_px(name) for name in names)
    right = left + 196.0
    head = cut(words, int((right + 60.0) / CHARACTERS_OF_HEAD))
    height = 34.0 + 20.0 * len(rows) + 40.0
    picture = Picture(right + 72.0, height, words)
    reach = [bound for each in rows for bound in (each["value"], *(each.get("interval") or ()))]
    low, high = min(reach), max(reach)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    x = Scale(low - margin, high + margin, left, right)
    picture.text(4.0, 14.0, head, "t strong")
    bottom = height - 38.0
    for tick in ticks(x.low, x.high, 4):
        picture.line(x(tick), 26.0, x(tick), bottom, "grid")
        picture.text(x(tick), bottom + 15.0, f"{tick:g}".replace("-", "−"), "t dim", "middle")
    picture.line(left, bottom, right, bottom, "axis")
    fixed = [each["value"] for each in rows if colour[each["policy"]] == 0]
    if fixed:
        picture.line(x(max(fixed)), 26.0, x(max(fixed)), bottom, "ideal")
    for place, (each, name) in enumerate(zip(rows, names, strict=True)):
        y = 38.0 + 20.0 * place
        at = colour[each["policy"]]
        bar = each.get("interval")
        if bar:
            picture.line(x(bar[0]), y, x(bar[1]), y, f"bar s{at}")
        tip = f"{each['policy']}: {each['value']:.4g} h{_interval(bar, '{:.4g}'.format)}"
        picture.dot(x(each["value"]), y, 3.5, f"f{at}", tip)
        picture.text(left - 8.0, y + 4.0, name, f"t c{at}", "end")
        picture.text(right + 8.0, y + 4.0, f"{each['value']:.4f}".replace("-", "−"), "t dim")
    picture.text((left + right) / 2, height - 6.0, "value per RFQ, in h", "t dim", "middle")
    return picture


CHARACTERS_OF_HEAD = 7.2  # px a character of bold text


def lives(entry: Json, colour: Mapping[str, int], h_ticks: float | None = None) -> Figure | None:
    """The life that each policy grants over the test slice, under the price and above the regime."""
    time_ns = entry.get("time_ns") or []
    if len(time_ns) < 2 or not entry.get("life_ms"):
        return None
    names = list(entry["life_ms"])
    rows = [name for name in ("mid", "sigma_ticks") if entry.get(name)]
    room = 16.0 + max(words_px(cut(name, 24)) for name in names)
    x = Scale(time_ns[0], time_ns[-1], 66.0, WIDE - room)
    height = 34.0 + 120.0 * len(rows) + 196.0 + 76.0
    picture = Picture(WIDE, height, "Lives over the day")
    marks = _clock_ticks(time_ns[0], time_ns[-1])
    top = 34.0
    heads = {"mid": "mid price", "sigma_ticks": "volatility σ, ticks/√s"}
    for name in rows:
        known = [v for v in entry[name] if v is not None and math.isfinite(v)]
        if not known:
            continue
        low, high = min(known), max(known)
        pad = 0.05 * ((high - low) or 1.0)
        low = 0.0 if name == "sigma_ticks" else low - pad
        y = Scale(low, high + pad, top + 80.0, top)
        picture.text(4.0, top - 16.0, heads[name], "t strong")
        _frame(picture, x, y, [], ticks(y.low, y.high, 3), str, _plain)
        picture.path(
            [(x(t), _maybe(y, v)) for t, v in zip(time_ns, entry[name], strict=True)], "line thin s0"
        )
        top += 120.0
    shown = [v for name in names for v in entry["life_ms"][name] if v is not None and v > 0]
    if not shown:
        return None
    low, high = min(shown), max(shown)
    y = Scale(low / 1.1, high * 1.1, top + 170.0, top, math.log)
    picture.text(4.0, top - 16.0, "life granted, ms (log scale); a gap: no firm quote", "t strong")
    _frame(picture, x, y, [], _log_ticks(y.low, y.high), str, _plain)
    ends = []
    for name in names:
        points = [
            (x(t), _maybe(y, v if v else None)) for t, v in zip(time_ns, entry["life_ms"][name], strict=True)
        ]
        picture.path(points, f"line thin s{colour[name]}", step=True)
        ends.append(next((at for _, at in reversed(points) if math.isfinite(at)), top))
    for name, placed in zip(names, apart(ends, FONT_PX + 3.0, top, top + 170.0), strict=True):
        picture.text(x.end + 8.0, placed + 4.0, cut(name, 24), f"t c{colour[name]}")
    top += 196.0
    _regime_strip(picture, x, top, time_ns, entry.get("regime"))
    for at, words in marks:
        picture.line(x(at), top + 14.0, x(at), top + 18.0, "axis")
        picture.text(x(at), top + 31.0, words, "t dim", "middle")
    day = f"{_moment(time_ns[0]):%Y-%m-%d}"
    picture.text((x.start + x.end) / 2, top + 48.0, f"time of day, UTC, {day}", "t dim", "middle")
    threshold = f" against a threshold of {h_ticks:g} ticks" if h_ticks else ""
    return Figure(
        "Lives are long in calm and short before and during moves",
        f"Price above, granted lives below{threshold}, the regime as a strip at the foot. Lives should "
        "fall where volatility rises, and the regime may only shorten them.",
        (picture,),
    )


def _regime_strip(picture: Picture, x: Scale, top: float, time_ns: Sequence[int], regime: Any) -> None:
    if not regime:
        return
    picture.text(x.start - 6.0, top + 11.0, "regime", "t dim", "end")
    start = 0
    for i in range(1, len(regime) + 1):
        if i == len(regime) or regime[i] != regime[start]:
            until = time_ns[min(i, len(time_ns) - 1)]
            code = int(regime[start])
            name = RegimeCode(code).name.replace("_", " ")
            picture.box(x(time_ns[start]), top, x(until) - x(time_ns[start]), 14.0, f"g{code}", name)
            start = i
    at = x.start
    for code in sorted(set(map(int, regime))):
        name = RegimeCode(code).name.replace("_", " ")
        picture.box(at, top + 56.0, 12.0, 12.0, f"g{code}")
        picture.text(at + 17.0, top + 66.0, name, "t dim")
        at += 17.0 + words_px(name) + 20.0


def _maybe(scale: Scale, number: float | None) -> float:
    return math.nan if number is None or not math.isfinite(number) else scale(number)


def _plain(number: float) -> str:
    return f"{number:,.10g}".replace("-", "−")


def _log_ticks(low: float, high: float) -> list[float]:
    return [
        step * 10.0**power
        for power in range(-3, 7)
        for step in (1, 2, 5)
        if low <= step * 10.0**power <= high
    ] or [low, high]


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC)


def _clock_ticks(first_ns: int, last_ns: int) -> list[tuple[int, str]]:
    span_s = (last_ns - first_ns) / 1e9
    choices = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14400, 28800, 86400)
    step_s = next((each for each in choices if span_s / each <= 9), 604800)
    form = "%H:%M" if step_s >= 60 else "%H:%M:%S"
    first = -(-first_ns // (step_s * 1_000_000_000))
    last = last_ns // (step_s * 1_000_000_000)
    marks = [k * step_s * 1_000_000_000 for k in range(first, last + 1)]
    return [(at, f"{_moment(at):{form}}") for at in marks]


def importance(shares: Mapping[str, float], words: str, shown: int = 20) -> Figure | None:
    """Bars of the largest entries; ``words`` says what the number is."""
    total = sum(shares.values())
    if total <= 0:
        return None
    order = sorted(shares.items(), key=lambda each: (-each[1], each[0]))
    top = [each for each in order if each[1] > 0][:shown]
    left = 12.0 + max(words_px(cut(name, NAME_CHARACTERS)) for name, _ in top)
    picture = Picture(left + 420.0, 30.0 + 19.0 * len(top) + 8.0, "Feature importance")
    picture.text(4.0, 14.0, f"share of {words}", "t strong")
    x = Scale(0.0, top[0][1] / total, left, left + 340.0)
    for place, (name, amount) in enumerate(top):
        y = 28.0 + 19.0 * place
        share = amount / total
        picture.box(left, y, x(share) - left, 13.0, "f1", f"{name}: {percent(share)}")
        picture.text(left - 8.0, y + 11.0, cut(name, NAME_CHARACTERS), "t", "end")
        picture.text(x(share) + 6.0, y + 11.0, percent(share), "t dim")
    rest = sum(amount for _, amount in order[len(top) :]) / total
    tail = f" The {len(order) - len(top)} others hold {percent(rest)}." if len(order) > len(top) else ""
    return Figure(
        f"What the model looks at: {top[0][0]} before all",
        f"Bars are shares of {words}, all features together 100 %.{tail} Features that say the same share their "
        "weight: a short bar does not mean that the model would do as well without.",
        (picture,),
    )


def drift(
    names: Sequence[str], starts_ns: Sequence[int], psi: Sequence[Sequence[float]], shown: int = 16
) -> Figure:
    """PSI of each feature (rows of ``psi``) in each slice of time, the most drifted first."""
    order = sorted(range(len(names)), key=lambda i: (-max(psi[i]), names[i]))[:shown]
    left = 12.0 + max(words_px(cut(names[i], NAME_CHARACTERS)) for i in order)
    cell = min(64.0, 640.0 / len(starts_ns))
    right = left + cell * len(starts_ns)
    picture = Picture(right + 76.0, 40.0 + 20.0 * len(order) + 40.0, "Drift of the features")
    picture.text(left - 8.0, 30.0, "feature", "t dim", "end")
    picture.text(right + 8.0, 30.0, "largest", "t dim")
    for place, i in enumerate(order):
        y = 38.0 + 20.0 * place
        picture.text(left - 8.0, y + 13.0, cut(names[i], NAME_CHARACTERS), "t", "end")
        for k, amount in enumerate(psi[i]):
            words = f"{names[i]}, from {_moment(starts_ns[k]):%m-%d %H:%M}: PSI {amount:.3f}"
            picture.shade(left + cell * k, y, cell - 1.0, 18.0, min(1.0, amount / (2 * PSI_MUCH)), words)
        worst = max(psi[i])
        picture.text(right + 8.0, y + 13.0, f"{worst:.2f}", "t strong" if worst > PSI_MUCH else "t dim")
    bottom = 38.0 + 20.0 * len(order)
    every = max(1, math.ceil(46.0 / cell))
    for k in range(0, len(starts_ns), every):
        picture.text(left + cell * k, bottom + 15.0, f"{_moment(starts_ns[k]):%H:%M}", "t dim")
    picture.text((left + right) / 2, bottom + 34.0, "start of the slice, UTC", "t dim", "middle")
    moved = sum(max(row) > PSI_MUCH for row in psi)
    return Figure(
        f"{moved} of {len(names)} features have moved away from what the model was fitted on",
        "Population stability index of each feature, a slice of the test against the training rows, ten bins and one "
        f"for missing. Below {PSI_SOME:g} nothing moved; above {PSI_MUCH:g} (bold) the model judges what it has not "
        f"seen. Full colour stands at {2 * PSI_MUCH:g}.",
        (picture,),
    )
