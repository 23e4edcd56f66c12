"""``quotelife demo``: venue and service in processes of their own, the OMS and the table in this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
import yaml
from rich.console import Console

from quotelife.config import Config, load_config
from quotelife.errors import ConfigError, QuotelifeError
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_client import AsyncClient
from quotelife_server.demo.oms import Oms, RfqClient, Tradable
from quotelife_server.demo.processes import Children
from quotelife_server.demo.record import DecisionRow, Shock, problems, summarise
from quotelife_server.demo.table import Display, LiveTable, PlainLines, summary_lines
from quotelife_server.settings import ServiceConfig

READY_S = 60.0
SHOCK_AT_NS = 8 * NS_PER_S
SHOCK_DURATION_NS = 4 * NS_PER_S
SHOCK_EVERY_NS = 45 * NS_PER_S      # when there is no end in sight
WALK_IN = "walk-in"                 # somebody the configuration does not know
RFQS_PER_SECOND = 2.0
MARKET_OF_VENUE = {"binance-spot": "spot", "binance-usdm": "usdm", "binance-coinm": "coinm"}


def main(
    seconds: float | None = None,
    seed: int = 7,
    configs: Path | None = None,
    plain: bool = False,
    summary_json: Path | None = None,
) -> int:
    """Run the demonstration for ``seconds`` (counted from the first request), or until Ctrl-C. The exit code."""
    try:
        return uvloop.run(_demo(seconds, seed, _configs(configs), plain, summary_json))
    except ConfigError:
        raise
    except (QuotelifeError, OSError, TimeoutError) as error:
        sys.stderr.write(f"quotelife demo: {error}\n")
        return 1


def _configs(given: Path | None) -> Path:
    from quotelife_server.cli.paths import config_path

    return config_path(given, "demo")


async def _demo(
    seconds: float | None, seed: int, configs: Path, plain: bool, summary_json: Path | None
) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = load_config(configs, ServiceConfig)
    market = market_of(config)
    rows: list[DecisionRow] = []
    shocks: list[Shock] = []
    duration_ns = SHOCK_DURATION_NS if seconds is None else min(SHOCK_DURATION_NS, int(seconds * NS_PER_S / 5))
    at_ns = SHOCK_AT_NS if seconds is None else min(SHOCK_AT_NS, int(seconds * NS_PER_S * 2 / 5))

    async with Children() as children:
        with tempfile.TemporaryDirectory(prefix="quotelife-demo-") as folder:
            _say("starting the simulated venue …")
            venue = await children.start(
                "simulated venue",
                [sys.executable, "-m", "quotelife_server.simvenue", "--seed", str(seed), "--market", market],
            )
            listening = await venue.said(lambda line: "port" in line, READY_S)
            venue_address = f"{listening['host']}:{listening['port']}"
            _say(f"starting the service on it ({venue_address}) …")
            write_config(configs, Path(folder), market, venue_address)
            service = await children.start(
                "service", [sys.executable, "-m", "quotelife_server.cli", "serve", "--config", folder]
            )
            serving = await service.said(lambda line: line.get("event") == "serving", READY_S)
            address = serving["addresses"][0]
            async with AsyncClient(address) as client:
                await client.wait_ready(READY_S)
            start_ns = time.time_ns()
            display = _display(plain, start_ns, f"quotelife · service {address} · venue {venue_address} · seed {seed}")
            try:

                def on_decision(row: DecisionRow) -> None:
                    rows.append(row)
                    display.decision(row)

                def on_news(news_ns: int, score: float, headline: str) -> None:
                    shocks.append(Shock(news_ns, duration_ns, headline))
                    at_s = (news_ns - start_ns) / NS_PER_S
                    display.event(f"{at_s:.3f} s  NEWS {score:+.1f}  {headline}")

                oms = Oms(
                    service=address,
                    venue=f"http://{venue_address}",
                    instruments=tradables(config),
                    clients=rfq_clients(config),
                    desk=next(iter(config.desks), ""),
                    seed=seed,
                    on_decision=on_decision,
                    on_news=on_news,
                )
                await _until(
                    stop,
                    seconds,
                    oms.run(),
                    _shocks(f"http://{venue_address}", at_ns, duration_ns, repeat=seconds is None),
                    venue.died(),
                    service.died(),
                )
            finally:
                display.close()

    summary = summarise(rows, shocks)
    summary["seed"] = seed
    planned = bool(shocks) or (seconds is not None and at_ns < seconds * NS_PER_S)
    found = problems(summary, shock_planned=planned)
    for line in summary_lines(summary, found):
        _say(line)
    if summary_json is not None:
        summary["problems"] = found
        summary_json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if found else 0


async def _until(stop: asyncio.Event, seconds: float | None, *work: Any) -> None:
    """Until the time is over or somebody stops it; raises what the first failing piece of work raises."""
    tasks = [asyncio.ensure_future(piece) for piece in work]
    stopping = asyncio.create_task(stop.wait())
    pending: set[asyncio.Future[Any]] = {stopping, *tasks}
    end_s = None if seconds is None else time.monotonic() + seconds
    try:
        while not stopping.done():
            left_s = None if end_s is None else end_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                return
            done, pending = await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                _raise_first(task)
    finally:
        for task in (stopping, *tasks):
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)


def _raise_first(task: asyncio.Future[Any]) -> None:
    """The failure of one task; of a group, its first."""
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, QuotelifeError | OSError | TimeoutError):
        raise error
    if error is not None:
        raise QuotelifeError(f"{type(error).__name__}: {error}") from error


async def _shocks(venue: str, at_ns: int, duration_ns: int, *, repeat: bool) -> None:
    """Order the venue's news shock, and further ones in alternating directions when the run has no end."""
    direction = -1
    async with aiohttp.ClientSession() as session:
        while True:
            body = {
                "in_ms": at_ns / NS_PER_MS,
                "duration_ms": duration_ns / NS_PER_MS,
                "direction": direction,
                "score": float(direction),
            }
            async with session.post(f"{venue}/control/shock", json=body) as response:
                if response.status != 200:
                    raise QuotelifeError(f"the venue refused the shock: {await response.text()}")
            if not repeat:
                return
            await asyncio.sleep(SHOCK_EVERY_NS / NS_PER_S)
            direction = -direction


def market_of(config: Config) -> str:
    """Which wire the venue has to speak for these instruments. Raises ``QuotelifeError``."""
    venues = {instrument.venue for instrument in config.instruments}
    markets = {MARKET_OF_VENUE.get(venue) for venue in venues}
    market = next(iter(markets)) if len(markets) == 1 else None
    if market is None:
        raise QuotelifeError(
            f"the demo needs instruments of one venue out of {', '.join(MARKET_OF_VENUE)}, not {sorted(venues)}"
        )
    return market


def tradables(config: Config) -> list[Tradable]:
    return [
        Tradable(each.name, each.symbol, each.tick_size, each.lot_size)
        for each in config.instruments
        if each.enabled
    ]


def rfq_clients(config: Config) -> list[RfqClient]:
    """Every configured counterparty, with the sizes of its tier, and one that is not configured."""
    clients = []
    unknown_tier = config.defaults.unknown_counterparty_tier
    tiers = {name: counterparty.tier for name, counterparty in config.counterparties.items()}
    for name, tier_name in {**tiers, WALK_IN: unknown_tier}.items():
        tier = config.tiers.get(tier_name) if tier_name else None
        clients.append(RfqClient(name, RFQS_PER_SECOND, dict(tier.average_size) if tier else {}))
    return clients


def write_config(source: Path, target: Path, market: str, venue_address: str) -> None:
    """The demonstration's configuration with this run's addresses.

    ``server`` and ``feeds`` are replaced key by key, everything else is copied as it is.
    """
    run: dict[str, dict[str, Any]] = {"server": {}, "feeds": {}}
    for path in sorted(source.glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        taken = [key for key in run if key in document]
        for key in taken:
            run[key] = document.pop(key) or {}
        if not taken:
            (target / path.name).write_bytes(path.read_bytes())
        elif document:
            (target / path.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    run["server"] |= {"address": "127.0.0.1:0", "metrics_address": "127.0.0.1:0", "unix_socket": None}
    run["feeds"] = feeds_of(market, venue_address)
    (target / "addresses.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")


def feeds_of(market: str, venue_address: str) -> dict[str, Any]:
    """The ``feeds`` section that points a venue's handler at the simulated one."""
    return {f"binance-{market}": {"websocket": f"ws://{venue_address}", "rest": f"http://{venue_address}"}}


def _display(plain: bool, start_ns: int, title: str) -> Display:
    console = Console()
    if plain or not console.is_terminal or os.environ.get("TERM") == "dumb":
        lines = PlainLines(sys.stdout, start_ns)
        lines.event(title)
        return lines
    return LiveTable(console, start_ns, title)


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
