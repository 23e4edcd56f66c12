"""``quotelife demo --scenario``: simulations without sockets, shown as a timeline and as tables, or as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quotelife.config import load_config
from quotelife.errors import QuotelifeError
from quotelife.sim.rfq.comparison import compare
from quotelife.sim.scenario import SEED, Scenario, Variant, clock, eth_news
from quotelife_server.settings import ServiceConfig

EXIT_FAILED = 1
RFQ_SECONDS = 600.0
TRAINED = "simulated_trees"
TITLES = {
    Variant.EXPIRES: "The price turns after our quote has expired",
    Variant.MOVES: "The price turns inside the 150 ms",
    Variant.CALM: "The same market without the headline",
}
STYLES = {"market": "bold yellow", "quotelife": "cyan", "static 2 s": "magenta"}
ROWS = (
    ("requests", "asked"),
    ("quotes", "quoted"),
    ("declined", "declined"),
    ("mean life, ms", "mean_life_ms"),
    ("fills", "fills"),
    ("fills missed", "fills_missed"),
    ("pick-offs", "pick_offs"),
    ("  their value, price units", "pick_off_value_price"),
    ("late hits refused", "late_hits_refused"),
    ("withdrawn in time", "withdrawn_in_time"),
    ("withdrawn too late", "withdrawn_too_late"),
    ("value, price units", "value_price"),
    ("value per RFQ, price units", "value_price_per_rfq"),
    ("value per RFQ, in h", "value_h_per_rfq"),
)


def show_eth_news(seed: int | None, as_json: bool) -> int:
    """All variants with the golden model, and what the trained one gives; exit code 1 unless every expectation held."""
    seed = SEED if seed is None else seed
    stories = [eth_news(variant, seed=seed) for variant in Variant]
    trained = [eth_news(variant, seed=seed, model=TRAINED) for variant in (Variant.EXPIRES, Variant.CALM)]
    held = all(story.held for story in [*stories, *trained])
    if as_json:
        _write(
            {
                "scenario": "eth-news",
                "seed": seed,
                "held": held,
                "variants": [story.data() for story in stories],
                "trained_model": [story.data() for story in trained],
            }
        )
    else:
        console = Console()
        console.print(
            f"ETH news scenario, seed {seed}, golden model; all times are simulated, UTC", style="bold"
        )
        for story in stories:
            _show_story(console, story)
        console.print(_expectations(f"The trained model in the same market ({TRAINED})", trained))
        console.print("every expectation held" if held else "NOT every expectation held", style="bold")
    return 0 if held else EXIT_FAILED


def show_rfq_market(configs: Path, seed: int, seconds: float | None, as_json: bool) -> int:
    """The comparison; exit code 1 when it could not be run."""
    seconds = RFQ_SECONDS if seconds is None else seconds
    try:
        result = compare(load_config(configs, ServiceConfig), seed=seed, seconds=seconds)
    except (QuotelifeError, ValueError) as error:
        sys.stderr.write(f"quotelife demo: {error}\n")
        return EXIT_FAILED
    if as_json:
        _write(result)
        return 0
    console = Console()
    console.print(
        f"RFQ market, seed {seed}: {result['seconds']:g} simulated seconds, {result['shocks']} news shocks, "
        f"{result['requests_per_second']:g} requests a second,\nedge {result['edge_in_h']:g} h, model "
        f"{result['model']}, withdrawals take {result['withdrawal_path_ms']:g} ms",
        style="bold",
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for dealer in result["dealers"]:
        table.add_column(dealer["dealer"], justify="right")
    for title, key in ROWS:
        table.add_row(title, *(_number(dealer[key]) for dealer in result["dealers"]))
    console.print(table)
    for dealer in result["dealers"]:
        if dealer["withdrawn_for"]:
            why = ", ".join(f"{reason} {count}" for reason, count in dealer["withdrawn_for"].items())
            console.print(f"{dealer['dealer']} withdrew for: {why}")
    return 0


def _show_story(console: Console, story: Scenario) -> None:
    table = Table(
        title=TITLES[story.variant], title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False
    )
    table.add_column("time", no_wrap=True)
    table.add_column("who", no_wrap=True)
    table.add_column("what")
    for line in story.timeline:
        style = STYLES.get(line.who, "")
        table.add_row(clock(line.at_ns), Text(line.who, style=style), line.text)
    console.print(table)
    console.print(_expectations(None, [story]))


def _expectations(title: str | None, stories: list[Scenario]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False)
    for name in ("expected", "wanted", "shown", ""):
        table.add_column(name)
    for story in stories:
        for each in story.expectations:
            verdict = Text("held", style="green") if each.held else Text("MISSED", style="bold red")
            table.add_row(each.name, each.wanted, each.shown, verdict)
    return table


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}" if abs(value) < 1 else f"{value:,.2f}"


def _write(result: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(result, indent=2, sort_keys=False) + "\n")
