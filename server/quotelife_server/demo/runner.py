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
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
import yaml
from rich.console import Console

from quotelife.config import Config, load_config
from quotelife.errors import ConfigError, QuotelifeError
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_client import AsyncClient, Decision, ServiceError, Side, Tls
from quotelife_server.demo.oms import Oms, RfqClient, Tradable
from quotelife_server.demo.processes import Children
from quotelife_server.demo.record import DecisionRow, EndRow, Shock, problems, summarise
from quotelife_server.demo.table import Display, LiveTable, PlainLines, summary_lines
from quotelife_server.settings import ServiceConfig

READY_S = 60.0
TARGET_READY_S = 10.0  # of a service that is said to run already
WARM_UP_S = 30.0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
SHOCK_AT_NS = 8 * NS_PER_S
SHOCK_DURATION_NS = 4 * NS_PER_S
SHOCK_INTENSITY = 0.7  # its volatility lingers in the windows: at 1.0 lives stay short long after it
SHOCK_EVERY_NS = 45 * NS_PER_S  # when there is no end in sight
WALK_IN = "walk-in"  # somebody the configuration does not know
RFQS_PER_SECOND = 1.5
MARKET_OF_VENUE = {"binance-spot": "spot", "binance-usdm": "usdm", "binance-coinm": "coinm"}


def main(
    seconds: float | None = None,
    seed: int = 7,
    configs: Path | None = None,
    plain: bool = False,
    summary_json: Path | None = None,
    target: str | None = None,
    address: str = "127.0.0.1:0",
    tls: Tls | None = None,
) -> int:
    """Run for ``seconds``, counted from the first request, or until Ctrl-C. Returns the exit code.

    ``target``: only the OMS and the table, on a service that runs already and knows ``configs``, with ``tls`` where it
    speaks that. ``address``: where the service of the demonstration listens, in the clear, port 0: anywhere.
    """
    rows: list[DecisionRow] = []
    shocks: list[Shock] = []
    ends: list[EndRow] = []
    try:
        path = _configs(configs)
        demo = (
            _demo(rows, shocks, ends, seconds, seed, path, plain, address)
            if target is None
            else _attached(rows, ends, seconds, seed, path, plain, target, tls)
        )
        finished = uvloop.run(_run(demo))
    except ConfigError:
        raise
    except (QuotelifeError, ServiceError, ConnectionError, TimeoutError) as error:
        sys.stderr.write(f"quotelife demo: {error}\n")
        return EXIT_FAILED
    if not finished and not rows:
        return EXIT_INTERRUPTED
    summary = summarise(rows, shocks, ends)
    summary["seed"] = seed
    summary["problems"] = problems(summary, shock_expected=finished and target is None)
    for line in summary_lines(summary):
        _say(line)
    if summary_json is not None:
        summary_json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return EXIT_FAILED if summary["problems"] else 0


def _configs(given: Path | None) -> Path:
    from quotelife_server.cli.paths import config_path

    return config_path(given, "demo")


async def _run(work: Coroutine[Any, Any, None]) -> bool:
    """Until ``work`` ends; False when SIGINT or SIGTERM ended it."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    demo = asyncio.create_task(work)
    await asyncio.wait([stopping, demo], return_when=asyncio.FIRST_COMPLETED)
    finished = demo.done()
    stopping.cancel()
    demo.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await demo
    return finished


async def _demo(
    rows: list[DecisionRow],
    shocks: list[Shock],
    ends: list[EndRow],
    seconds: float | None,
    seed: int,
    configs: Path,
    plain: bool,
    address: str,
) -> None:
    config = load_config(configs, ServiceConfig)
    market = market_of(config)
    at_ns, duration_ns = SHOCK_AT_NS, SHOCK_DURATION_NS
    if seconds is not None:
        at_ns = min(at_ns, int(seconds * NS_PER_S * 2 / 5))
        duration_ns = min(duration_ns, int(seconds * NS_PER_S / 5))

    with tempfile.TemporaryDirectory(prefix="quotelife-demo-") as folder:
        async with Children() as children:
            _say("starting the simulated venue …")
            venue = await children.start(
                "simulated venue",
                [sys.executable, "-m", "quotelife_server.simvenue", "--seed", str(seed), "--market", market],
            )
            listening = await venue.said(lambda line: "port" in line, READY_S)
            venue_address = f"{listening['host']}:{listening['port']}"
            own = own_sections(config, address, Path(folder) / "journal")
            own["feeds"] = feeds_of(config, market, venue_address)
            kept = config.server.journal.directory or "while the demo runs"
            _say(f"journal: {kept}; capture: {config.server.capture.directory or 'none'}")
            write_config(configs, Path(folder), own)
            _say(f"starting the service on venue {venue_address} …")
            service = await children.start(
                "service", [sys.executable, "-m", "quotelife_server.cli", "serve", "--config", folder]
            )
            serving = await service.said(lambda line: line.get("event") == "serving", READY_S)
            address = serving["addresses"][0]
            _say(f"service {address} is up; waiting for its first good data …")
            await first_of(warm_up(address, config), venue.died(), service.died())

            start_ns = time.time_ns()
            title = f"quotelife   service {address}   venue {venue_address}   seed {seed}"
            display = open_display(plain, start_ns, title)

            def on_decision(row: DecisionRow) -> None:
                rows.append(row)
                display.decision(row)

            def on_end(row: EndRow) -> None:
                ends.append(row)
                display.ended(row)

            def on_news(news_ns: int, score: float, headline: str) -> None:
                shocks.append(Shock(news_ns, duration_ns, headline))
                at_s = (news_ns - start_ns) / NS_PER_S
                display.event(f"{at_s:.3f} s  NEWS {score:+.1f}  {headline}")

            def on_news_taken(taken_ns: int) -> None:
                shocks[-1].taken_ns = taken_ns

            oms = Oms(
                service=address,
                venue=f"http://{venue_address}",
                instruments=tradables(config),
                clients=rfq_clients(config),
                desk=next(iter(config.desks), ""),
                seed=seed,
                on_decision=on_decision,
                on_news=on_news,
                on_news_taken=on_news_taken,
                on_end=on_end,
            )
            try:
                await first_of(
                    pause(seconds),
                    oms.run(),
                    order_shocks(f"http://{venue_address}", at_ns, duration_ns, repeat=seconds is None),
                    venue.died(),
                    service.died(),
                )
            finally:
                display.close()


async def _attached(
    rows: list[DecisionRow],
    ends: list[EndRow],
    seconds: float | None,
    seed: int,
    configs: Path,
    plain: bool,
    target: str,
    tls: Tls | None,
) -> None:
    """The OMS and the table on a service that runs already; its market is its own."""
    config = load_config(configs, ServiceConfig)
    _say(f"waiting for the service at {target} …")
    async with AsyncClient(target, timeout_s=1.0, tls=tls) as client:
        await client.wait_ready(TARGET_READY_S)
    display = open_display(plain, time.time_ns(), f"quotelife   service {target}")

    def on_decision(row: DecisionRow) -> None:
        rows.append(row)
        display.decision(row)

    def on_end(row: EndRow) -> None:
        ends.append(row)
        display.ended(row)

    oms = Oms(
        service=target,
        venue=None,
        instruments=tradables(config),
        clients=rfq_clients(config),
        desk=next(iter(config.desks), ""),
        seed=seed,
        on_decision=on_decision,
        on_end=on_end,
        tls=tls,
    )
    try:
        await first_of(pause(seconds), oms.run())
    except ServiceError as error:
        if "not configured" not in str(error):
            raise
        raise QuotelifeError(
            f"{error}; name the service's own configuration with --config, not {configs}"
        ) from None
    finally:
        display.close()


async def pause(seconds: float | None) -> None:
    """For so long, or for ever."""
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


async def first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Until the first piece of work ends; raises what it raised. The others are cancelled."""
    tasks = [asyncio.create_task(piece) for piece in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is not None:
            raise error


async def order_shocks(venue: str, at_ns: int, duration_ns: int, *, repeat: bool) -> None:
    """Order the venue's news shock; with ``repeat`` more, in alternating directions. Never returns."""
    direction = -1
    async with aiohttp.ClientSession() as session:
        while True:
            body = {
                "in_ms": at_ns / NS_PER_MS,
                "duration_ms": duration_ns / NS_PER_MS,
                "intensity": SHOCK_INTENSITY,
                "direction": direction,
                "score": float(direction),
            }
            async with session.post(f"{venue}/control/shock", json=body) as response:
                if response.status != 200:
                    raise QuotelifeError(f"the venue refused the shock: {await response.text()}")
            await pause(SHOCK_EVERY_NS / NS_PER_S if repeat else None)
            direction = -direction


def market_of(config: Config) -> str:
    """Which wire the venue has to speak for these instruments. Raises ``QuotelifeError``."""
    venues = {instrument.venue for instrument in config.instruments}
    markets = {MARKET_OF_VENUE.get(venue) for venue in venues}
    market = next(iter(markets)) if len(markets) == 1 else None
    if market is None:
        raise QuotelifeError(
            f"instruments: the demo needs one venue out of {', '.join(MARKET_OF_VENUE)}, not {sorted(venues)}"
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


def own_sections(config: ServiceConfig, address: str, journal: Path) -> dict[str, Any]:
    """The ``server`` section of this run, on this machine and in the clear. Journal and capture stay as they are
    configured; where there is no journal the run gets one of its own, so that its decisions can be explained."""
    server: dict[str, Any] = {
        "address": address,
        "metrics_address": "127.0.0.1:0",
        "unix_socket": None,
        "tls": None,
    }
    settings = config.server.journal
    if settings.directory is None:
        written = settings.model_dump(mode="json", by_alias=True)
        server["journal"] = {**written, "directory": str(journal)}
    return {"server": server}


def write_config(source: Path, target: Path, addresses: dict[str, Any]) -> None:
    """The demonstration's configuration with this run's ``server`` and ``feeds``; all else as it stands."""
    files = sorted(source.glob("*.yaml")) if source.is_dir() else [source]
    run: dict[str, Any] = {}
    for path in files:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        taken = {key: document.pop(key) for key in addresses if key in document}
        run |= taken
        text = yaml.safe_dump(document) if taken else path.read_text(encoding="utf-8")
        if document:
            (target / path.name).write_text(text, encoding="utf-8")
    run["server"] = {**(run.get("server") or {}), **addresses["server"]}
    run["feeds"] = addresses["feeds"]
    (target / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")


def feeds_of(config: Config, market: str, venue_address: str) -> list[dict[str, Any]]:
    """The ``feeds`` section: all instruments from the simulated venue."""
    return [
        {
            "kind": "binance",
            "name": "simulated-venue",
            "market": market,
            "ws_url": f"ws://{venue_address}",
            "rest_url": f"http://{venue_address}",
            "instruments": [instrument.name for instrument in config.instruments],
        }
    ]


async def warm_up(address: str, config: Config) -> None:
    """Return when the service quotes every instrument. Raises ``QuotelifeError``, ``ServiceError``,
    ``TimeoutError``."""
    async with AsyncClient(address, timeout_s=1.0) as client:
        await client.wait_ready(READY_S)
        end_s = time.monotonic() + WARM_UP_S
        for instrument in tradables(config):
            while True:
                try:
                    reply = await client.get_expiry(instrument=instrument.name, side=Side.BUY)
                except ServiceError as error:  # on a busy machine a first answer may be late
                    if not error.could_not_answer or time.monotonic() > end_s:
                        raise
                    continue
                if reply.decision is Decision.QUOTE:
                    break
                if time.monotonic() > end_s:
                    raise QuotelifeError(
                        f"the service does not quote {instrument.name} after {WARM_UP_S:.0f} s: data "
                        f"{reply.quality.name}, {' '.join(reason.name for reason in reply.reasons)}"
                    )
                await asyncio.sleep(0.1)


def open_display(plain: bool, start_ns: int, title: str) -> Display:
    """A table on a terminal, lines elsewhere or with ``plain``; times count from ``start_ns``."""
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
