"""The live table of decisions on a terminal; plain lines anywhere else."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import IO, Any, Protocol

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.demo.record import EXPIRED, PHASES, DecisionRow, EndRow

ROWS_SHOWN = 20
NAMES = {
    "CLIENT_PRIORITY": "Client Priority",
    "LIQUIDITY_PROVIDER": "Liquidity Provider",
    "RISK_AVERSE": "Risk Averse",
    "UNSPECIFIED": "-",
}
INITIALS = {"CLIENT_PRIORITY": "CP", "LIQUIDITY_PROVIDER": "LP", "RISK_AVERSE": "RA", "UNSPECIFIED": "-"}
WIDE = 132  # columns from which postures are written out
WITH_REASONS = 100  # columns from which there is room for the reasons
COLOURS = {"CLIENT_PRIORITY": "green", "LIQUIDITY_PROVIDER": "cyan", "RISK_AVERSE": "red"}
REGIME_COLOURS = {"NORMAL": "green", "STRESS": "bold red"}


class Display(Protocol):
    """Where decisions and events are shown."""

    def decision(self, row: DecisionRow) -> None: ...

    def event(self, text: str) -> None: ...

    def ended(self, row: EndRow) -> None: ...

    def close(self) -> None: ...


def posture_words(row: DecisionRow, names: dict[str, str] = NAMES) -> str:
    """Requested → effective; one word where they are the same."""
    requested = names.get(row.requested, row.requested)
    return f"{requested} → {names.get(row.effective, row.effective)}" if row.downgraded else requested


def life_words(row: DecisionRow) -> str:
    """Milliseconds of a quote's life, or why there is none; "own" is the client's own fallback."""
    if row.source != "service":
        return f"{row.life_ns / NS_PER_MS:.0f} own"
    if row.decision == "INDICATIVE":
        return "INDIC"  # as wide as the column
    return f"{row.life_ns / NS_PER_MS:,.0f} ms" if row.decision == "QUOTE" else row.decision


def probability_words(row: DecisionRow) -> str:
    return "-" if row.p500 is None else f"{row.p500:.2%}"


def reason_words(reasons: Iterable[str]) -> str:
    """Lower case; that there was a downgrade can be seen without being told."""
    return " ".join(reason.lower() for reason in reasons if reason != "DOWNGRADED")


def end_words(row: EndRow) -> str:
    """How a watched quote ended; ``row.why`` is not EXPIRED."""
    return (
        f"WITHDRAW {row.counterparty} {row.instrument} {row.side}: {row.why.lower().replace('_', ' ')}, "
        f"{row.left_ns / NS_PER_MS:,.0f} ms before its end"
    )


class PlainLines:
    """One line a decision: for pipes, logs and terminals without a cursor."""

    def __init__(self, out: IO[str], start_ns: int) -> None:
        self._out = out
        self._start_ns = start_ns

    def decision(self, row: DecisionRow) -> None:
        at = (row.answered_ns - self._start_ns) / NS_PER_S
        latency = f"{row.latency_ns / 1000:6.0f} us" if row.latency_ns else f"{'-':>9}"
        self._write(
            f"{at:7.3f}s  {row.counterparty:<20} {row.instrument:<9} {row.side:<4} {row.size:>8}  "
            f"{posture_words(row):<33} {row.regime:<8} P500 {probability_words(row):>7}  "
            f"life {life_words(row):>9}  {latency}  {reason_words(row.reasons)}"
        )

    def event(self, text: str) -> None:
        self._write(f"---- {text}")

    def ended(self, row: EndRow) -> None:
        if row.why != EXPIRED:
            at = (row.ended_ns - self._start_ns) / NS_PER_S
            self._write(f"{at:7.3f}s  {end_words(row)}")

    def close(self) -> None:
        self._out.flush()

    def _write(self, line: str) -> None:
        self._out.write(line.rstrip() + "\n")
        self._out.flush()


class LiveTable:
    """The last decisions in a table that redraws itself, newest below, with the last event as its caption."""

    def __init__(self, console: Console, start_ns: int, title: str) -> None:
        self._console = console
        self._start_ns = start_ns
        self._title = title
        self._rows: deque[DecisionRow] = deque(maxlen=ROWS_SHOWN)
        self._events: deque[str] = deque(maxlen=3)
        self._withdrawn: deque[EndRow] = deque(maxlen=2)
        self._ends: Counter[str] = Counter()
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._render, vertical_overflow="crop"
        )
        self._live.start()

    def decision(self, row: DecisionRow) -> None:
        self._rows.append(row)

    def event(self, text: str) -> None:
        self._events.append(text)

    def ended(self, row: EndRow) -> None:
        self._ends[row.why] += 1
        if row.why != EXPIRED:
            self._withdrawn.append(row)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        wide = self._console.width >= WIDE
        reasons = self._console.width >= WITH_REASONS
        names = NAMES if wide else INITIALS
        # The narrow form fits 80 columns.
        table = Table(title=self._title, box=box.SIMPLE_HEAD, show_edge=False, padding=0, expand=reasons)
        columns: list[tuple[str, int]] = [
            ("time", 6),
            ("counterparty", 20 if wide else 14),
            ("instrument", 10 if wide else 8),
            ("side", 4),
            ("size", 7 if wide else 6),
            ("posture", 32 if wide else 7),
            ("regime", 6),
            ("P500ms", 6),
            ("life ms", 7),
            ("µs", 6),
        ]
        for name, width in columns:
            numeric = name in ("time", "size", "P500ms", "life ms", "µs")
            table.add_column(name, width=width, no_wrap=True, justify="right" if numeric else "left")
        if reasons:
            table.add_column("reasons", ratio=1, overflow="ellipsis", no_wrap=True)
        for row in self._rows:
            cells: list[str | Text] = [
                f"{(row.answered_ns - self._start_ns) / NS_PER_S:.2f}",
                row.counterparty,
                row.instrument,
                row.side,
                row.size,
                Text(posture_words(row, names), style=COLOURS.get(row.effective, "")),
                Text(row.regime, style=REGIME_COLOURS.get(row.regime, "yellow")),
                probability_words(row),
                life_words(row).removesuffix(" ms"),
                f"{row.latency_ns / 1000:,.0f}" if row.latency_ns else "-",
            ]
            table.add_row(*cells, *([reason_words(row.reasons)] if reasons else []))
        lines = [Text(event, style="bold yellow") for event in self._events]
        if self._ends:
            counts = ", ".join(
                f"{why.lower().replace('_', ' ')} {count}" for why, count in self._ends.most_common()
            )
            lines.append(Text(f"watched quotes that ended: {counts}", style="cyan"))
        for end in self._withdrawn:
            at = (end.ended_ns - self._start_ns) / NS_PER_S
            lines.append(Text(f"{at:6.2f} s  {end_words(end)}", style="magenta"))
        return Group(table, *lines)


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The closing summary as text."""

    def number(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:,.0f}{unit}"

    latency = summary["latency_us"]
    lines = [
        "",
        f"decisions {summary['decisions']}: {summary['quotes']} quotes, {summary['indicative']} indicative, "
        f"{summary['declines']} declines ({summary['declines_after_warm_up']} after warm-up), "
        f"{summary['fallbacks']} fallbacks",
        f"answer    p50 {number(latency['p50'], ' us')}, p99 {number(latency['p99'], ' us')} (round trip)",
    ]
    if summary["watched"]:
        ends = ", ".join(f"{why.lower().replace('_', ' ')} {n}" for why, n in summary["ends"].items())
        left = number(summary["withdrawn_with_left_ms_median"], " ms")
        lines.append(f"watched   {summary['watched']} quotes; they ended by {ends or 'nothing yet'}")
        lines.append(f"withdrawn with {left} of their lives left (median)")
    first = summary["first_shock"]
    if first is not None:
        why = reason_words(first["first_reasons"])
        lines += [
            f'headline  "{first["headline"]}"',
            f"shock     Risk Averse {number(first['to_risk_averse_ms'], ' ms')} after the headline ({why})",
            f"recovery  regime NORMAL {number(first['back_to_normal_ms'], ' ms')} after the shock's end",
        ]
    lines += ["", f"{'median life, ms':<22}" + "".join(f"{phase:>12}" for phase in PHASES)]
    for name, lives in summary["life_ms_median"].items():
        lines.append(f"{name:<22}" + "".join(f"{number(lives[phase]):>12}" for phase in PHASES))
    if summary["problems"]:
        lines += ["", *(f"problem: {problem}" for problem in summary["problems"])]
    return lines
