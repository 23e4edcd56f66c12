"""The live table of decisions on a terminal; plain lines anywhere else."""

from __future__ import annotations

from collections import deque
from typing import IO, Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.demo.record import PHASES, DecisionRow

ROWS_SHOWN = 20
SHORT = {
    "CLIENT_PRIORITY": "Client Priority",
    "LIQUIDITY_PROVIDER": "Liquidity Provider",
    "RISK_AVERSE": "Risk Averse",
    "UNSPECIFIED": "-",
}
COLOURS = {"CLIENT_PRIORITY": "green", "LIQUIDITY_PROVIDER": "cyan", "RISK_AVERSE": "red"}
REGIME_COLOURS = {"NORMAL": "green", "STRESS": "bold red"}


class Display(Protocol):
    """Where decisions and events are shown."""

    def decision(self, row: DecisionRow) -> None: ...

    def event(self, text: str) -> None: ...

    def close(self) -> None: ...


def posture_words(row: DecisionRow) -> str:
    requested = SHORT.get(row.requested, row.requested)
    return f"{requested} → {SHORT.get(row.effective, row.effective)}" if row.downgraded else requested


def life_words(row: DecisionRow) -> str:
    """Milliseconds of a quote's life, or why there is none."""
    if row.source != "service":
        return f"{row.life_ns / NS_PER_MS:.0f} ms (fallback)"
    return f"{row.life_ns / NS_PER_MS:,.0f} ms" if row.decision == "QUOTE" else row.decision


def probability_words(row: DecisionRow) -> str:
    return "-" if row.p500 is None else f"{row.p500:.2%}"


def reason_words(row: DecisionRow) -> str:
    return " ".join(reason.lower() for reason in row.reasons)


class PlainLines:
    """One line a decision: for pipes, logs and terminals without a cursor."""

    def __init__(self, out: IO[str], start_ns: int) -> None:
        self._out = out
        self._start_ns = start_ns

    def decision(self, row: DecisionRow) -> None:
        at = (row.answered_ns - self._start_ns) / NS_PER_S
        self._write(
            f"{at:7.3f}s  {row.counterparty:<20} {row.instrument:<9} {row.side:<4} {row.size:>8}  "
            f"{posture_words(row):<33} {row.regime:<8} P500 {probability_words(row):>7}  "
            f"life {life_words(row):>9}  {row.latency_ns / 1000:6.0f} us  {reason_words(row)}"
        )

    def event(self, text: str) -> None:
        self._write(f"---- {text}")

    def close(self) -> None:
        self._out.flush()

    def _write(self, line: str) -> None:
        self._out.write(line.rstrip() + "\n")
        self._out.flush()


class LiveTable:
    """The last decisions in a table that redraws itself, newest below, with the last event as its caption."""

    def __init__(self, console: Console, start_ns: int, title: str) -> None:
        self._start_ns = start_ns
        self._title = title
        self._rows: deque[DecisionRow] = deque(maxlen=ROWS_SHOWN)
        self._events: deque[str] = deque(maxlen=3)
        self._live = Live(
            console=console, refresh_per_second=8, get_renderable=self._render, vertical_overflow="crop"
        )
        self._live.start()

    def decision(self, row: DecisionRow) -> None:
        self._rows.append(row)

    def event(self, text: str) -> None:
        self._events.append(text)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Group:
        table = Table(title=self._title, expand=True)
        for name in ("time", "counterparty", "instrument", "side"):
            table.add_column(name, no_wrap=True)
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("posture", no_wrap=True)
        table.add_column("regime", no_wrap=True)
        for name in ("P(500 ms)", "life", "latency"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("reasons", overflow="ellipsis", no_wrap=True)
        for row in self._rows:
            table.add_row(
                f"{(row.answered_ns - self._start_ns) / NS_PER_S:.2f}",
                row.counterparty,
                row.instrument,
                row.side,
                row.size,
                Text(posture_words(row), style=COLOURS.get(row.effective, "")),
                Text(row.regime, style=REGIME_COLOURS.get(row.regime, "yellow")),
                probability_words(row),
                life_words(row),
                f"{row.latency_ns / 1000:,.0f} µs",
                reason_words(row),
            )
        return Group(table, *(Text(event, style="bold yellow") for event in self._events))


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The closing summary as text."""

    def number(value: float | None, unit: str = "") -> str:
        return "-" if value is None else f"{value:,.0f}{unit}"

    latency = summary["latency_us"]
    lines = [
        "",
        f"decisions {summary['decisions']}: {summary['quotes']} quotes, {summary['declines']} declines "
        f"({summary['declines_after_warm_up']} after warm-up), {summary['fallbacks']} fallbacks",
        f"answer    p50 {number(latency['p50'], ' us')}, p99 {number(latency['p99'], ' us')} (round trip)",
    ]
    first = summary["first_shock"]
    if first is not None:
        why = " ".join(reason.lower() for reason in first["first_reasons"])
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
