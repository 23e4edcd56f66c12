"""``quotelife bench``: what the hot path costs, each figure also as a ratio to a reference loop in the same run."""

import json
import os
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from quotelife_server.cli.options import wrong

ROUNDS = 5
STEP_S = 1.0
SUITES = ("engine", "decide", "capture", "journal", "book", "ingest", "feeds", "ledger")
# Only when named: a gigabyte, a service, XGBoost, 100,000 quotes, nine servers and a C++ compiler, overload, attacks.
LONG = ("restart", "kill", "trees", "withdraw", "rpc", "overload", "abuse")


def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="engine, decide, capture, journal, book, ingest, feeds, ledger; restart, kill, trees, withdraw, "
            "rpc, overload and abuse only when named. [default: all but these seven]"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of recorded data. [default: QUOTELIFE_DATA, else the simulator]"),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=100, help="How many interleaved rounds; medians are shown.")
    ] = ROUNDS,
    nautilus: Annotated[
        Path | None,
        typer.Option(
            help="For book: a Python interpreter that has nautilus_trader, to be measured beside ours. "
            "[default: ours alone]"
        ),
    ] = None,
    step: Annotated[
        float,
        typer.Option(min=0.1, max=60, help="For rpc: seconds that each load is measured for, in each round."),
    ] = STEP_S,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Measure what the hot path costs here.

    On recorded events, Binance's and NASDAQ's, or on simulated ones where no recording is at hand.
    """
    chosen = suites or list(SUITES)
    for name in chosen:
        if name not in SUITES + LONG:
            wrong("SUITES", f"no suite {name!r}; there are {', '.join(SUITES + LONG)}")
    from quotelife_server.cli.bench_suites import measure

    result: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "rounds": rounds}
    result.update(measure(frozenset(chosen), data, rounds, nautilus, step))
    typer.echo(json.dumps(result, indent=2) if as_json else lines(result))


def lines(result: dict[str, Any], title: str = "") -> str:
    """The figures for people: plain ones in two columns, like groups of them as a table."""
    plain = {_words(key): value for key, value in result.items() if not isinstance(value, dict)}
    groups = {key: value for key, value in result.items() if isinstance(value, dict)}
    out = [title] if title and plain else []
    name_width = max(map(len, plain), default=0)
    figures = [_figure(value) for value in plain.values() if not isinstance(value, str)]
    figure_width = max(map(len, figures), default=0) if title else 0
    indent = "  " if title else ""
    for name, value in plain.items():
        figure = value if isinstance(value, str) else f"{_figure(value):>{figure_width}}"
        out.append(f"{indent}{name:<{name_width}}  {figure}")
    if title and not plain and len({tuple(group) for group in groups.values()}) == 1:
        return _table(title, groups)
    parts = ["\n".join(out)] if out else []
    parts += [lines(group, f"{title}, {_words(key)}" if title else key) for key, group in groups.items()]
    return "\n\n".join(parts)


def _table(title: str, groups: dict[str, dict[str, Any]]) -> str:
    """A column for each group, a row for each figure."""
    rows = [[title, *groups]]
    for key in next(iter(groups.values())):
        values = [group[key] for group in groups.values()]
        places = max(len(str(value).partition(".")[2]) for value in values)
        rows.append([f"  {_words(key)}", *(_figure(value, places) for value in values)])
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        f"{name:<{first}}" + "".join(f"  {text:>{width}}" for text, width in zip(row, widths, strict=True))
        for name, *row in rows
    )


def _words(key: str) -> str:
    return key.replace("_", " ")


def _figure(value: object, places: int | None = None) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and places is not None:
        return f"{value:,.{places}f}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
