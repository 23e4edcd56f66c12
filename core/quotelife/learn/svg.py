"""Drawing in SVG: scales, ticks and an element at a time. Colours are CSS classes, so that one picture serves light,
dark and paper; nothing outside the text is referred to."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

FONT_PX = 12.0
CHARACTER_PX = 6.6  # mean advance of a sans-serif at 12 px, generous


def words_px(text: str, size: float = FONT_PX) -> float:
    """About how wide ``text`` is drawn."""
    return len(text) * CHARACTER_PX * size / FONT_PX


def cut(text: str, characters: int) -> str:
    """``text``, at most so long, its end replaced by … where it is longer."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


@dataclass(frozen=True)
class Scale:
    """From values in [``low``, ``high``] to pixels in [``start``, ``end``], linear in ``warp(value)``."""

    low: float
    high: float
    start: float
    end: float
    warp: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        low, high = self.warp(self.low), self.warp(self.high)
        share = (self.warp(min(max(value, self.low), self.high)) - low) / (high - low)
        return self.start + share * (self.end - self.start)


def root(value: float) -> float:
    """Square root, odd: spreads what lies near zero and has a place for zero."""
    return math.copysign(math.sqrt(abs(value)), value)


def nice_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 2.5, 5 × 10^k that cuts ``span`` into at most ``count`` parts."""
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= rough * (1 - 1e-9))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values in [low, high], at most ``count`` + 1."""
    step = nice_step(high - low, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as may be to those ``wanted``, at least ``gap`` apart, in the same order along the axis.

    Where they do not all fit between ``low`` and ``high`` they run over the end.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    at = low
    for i in order:
        placed[i] = max(wanted[i], at)
        at = placed[i] + gap
    at = high
    for i in reversed(order):
        placed[i] = min(placed[i], at)
        at = placed[i] - gap
    at = low
    for i in order:  # too many: keep the gap rather than the end
        placed[i] = max(placed[i], at)
        at = placed[i] + gap
    return placed


class Picture:
    """One SVG. ``label`` is what a screen reader says of it. Coordinates are pixels from the top left."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self._parts.append(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{css}"/>')

    def path(self, points: Iterable[tuple[float, float]], css: str, *, step: bool = False) -> None:
        """Through ``points``; broken where a coordinate is no number; ``step``: each value holds until the next."""
        words, last = [], None
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)):
                last = None
                continue
            if last is None:
                words.append(f"M{_n(x)} {_n(y)}")
            else:
                words.append(f"H{_n(x)}V{_n(y)}" if step else f"L{_n(x)} {_n(y)}")
            last = y
        if words:
            self._parts.append(f'<path d="{"".join(words)}" class="{css}"/>')

    def dot(self, x: float, y: float, radius: float, css: str, tip: str = "") -> None:
        self._mark(f'circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" class="{css}"', "circle", tip)

    def box(self, x: float, y: float, width: float, height: float, css: str, tip: str = "") -> None:
        place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0.0))}" height="{_n(max(height, 0.0))}"'
        self._mark(f'rect {place} class="{css}"', "rect", tip)

    def shade(self, x: float, y: float, width: float, height: float, share: float, tip: str = "") -> None:
        """A cell, ``share`` in [0, 1] of the full colour."""
        place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
        self._mark(f'rect {place} class="heat" fill-opacity="{_n(share)}"', "rect", tip)

    def text(self, x: float, y: float, words: str, css: str = "t", anchor: str = "start") -> None:
        """``y`` is the baseline; ``anchor``: start, middle or end."""
        at = f'x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" font-size="{FONT_PX:g}"'
        self._parts.append(f'<text {at} class="{css}">{escape(words)}</text>')

    def _mark(self, start: str, name: str, tip: str) -> None:
        self._parts.append(f"<{start}><title>{escape(tip)}</title></{name}>" if tip else f"<{start}/>")

    def __str__(self) -> str:
        size = f'viewBox="0 0 {_n(self.width)} {_n(self.height)}" width="{_n(self.width)}"'
        return f'<svg {size} role="img" aria-label="{escape(self.label)}">{"".join(self._parts)}</svg>'


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
