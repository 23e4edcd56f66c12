"""``python -m quotelife_server.simvenue``: the simulated venue in its own process.

Prints one JSON line with its address once it listens; ends on SIGINT or SIGTERM.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable

from quotelife.sim.market import MARKETS, MarketConfig, MarketSimulator, NewsShock
from quotelife.units import parse_duration_ns
from quotelife_server.simvenue.base import Venue, VenueSettings, serve
from quotelife_server.simvenue.fix import SimulatedFix
from quotelife_server.simvenue.itch import ItchDays, ItchVenue, LineFaults
from quotelife_server.simvenue.streamed import SimulatedCoinbase, SimulatedDeribit, SimulatedOkx
from quotelife_server.simvenue.venue import SimulatedVenue

VENUES: dict[str, Callable[[MarketSimulator, VenueSettings], Venue]] = {
    "binance": SimulatedVenue,
    "deribit": SimulatedDeribit,
    "coinbase": SimulatedCoinbase,
    "okx": SimulatedOkx,
    "fix": SimulatedFix,
}


def parser() -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(prog="python -m quotelife_server.simvenue", description=__doc__)
    cli.add_argument("--host", default="127.0.0.1")
    cli.add_argument(
        "--port", type=int, default=0, help="0 takes a free port; itch: UDP re-requests and SoupBinTCP"
    )
    cli.add_argument("--seed", type=int, default=1)
    cli.add_argument(
        "--venue",
        choices=sorted([*VENUES, "itch"]),
        default="binance",
        help="whose wire; --market is Binance's alone",
    )
    cli.add_argument("--market", choices=MARKETS, default="usdm")
    cli.add_argument(
        "--depth-interval", type=parse_duration_ns, default="100ms", help="beat of the depth stream"
    )
    cli.add_argument(
        "--shock-at", type=parse_duration_ns, help="news shock so long after the start, such as 8s"
    )
    cli.add_argument("--shock-duration", type=parse_duration_ns, default="4s")
    cli.add_argument("--shock-intensity", type=float, default=1.0)
    cli.add_argument("--shock-every", type=parse_duration_ns, default="0s", help="repeat it; 0s: once")
    itch = cli.add_argument_group("itch", "ITCH 5.0 over two MoldUDP64 lines and SoupBinTCP; no shocks")
    itch.add_argument("--symbols", type=_symbols, default="AAPL,AMZN")
    itch.add_argument(
        "--line-a", default="127.0.0.1:26477", help="where line A is sent, host:port or a group"
    )
    itch.add_argument("--line-b", default="127.0.0.1:26478")
    itch.add_argument(
        "--loss", type=float, default=0.0, help="of each line on its own, as the next two: 0 to 1"
    )
    itch.add_argument("--duplicate", type=float, default=0.0)
    itch.add_argument("--reorder", type=float, default=0.0)
    return cli


def _symbols(text: str) -> list[str]:
    names = text.split(",")
    if len(set(names)) < len(names) or not all(0 < len(name) <= 8 and name.isascii() for name in names):
        raise argparse.ArgumentTypeError("1 to 8 ASCII characters each, none twice, commas in between")
    return names


async def run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if arguments.venue == "itch":
        await _run_itch(arguments, stop)
        return
    config = MarketConfig(market=arguments.market, depth_interval_ns=arguments.depth_interval)
    market = MarketSimulator(config, arguments.seed, time.time_ns())
    venue = VENUES[arguments.venue](market, VenueSettings(shock_every_ns=arguments.shock_every))
    shock_at_ns = None
    if arguments.shock_at is not None:
        shock_at_ns = market.start_ns + arguments.shock_at
        venue.plan_shock(NewsShock(shock_at_ns, arguments.shock_duration, arguments.shock_intensity))

    def started(port: int) -> None:
        line = {
            "host": arguments.host,
            "port": port,
            "venue": arguments.venue,
            "path": getattr(venue, "PATH", "/stream"),
            "control_port": getattr(venue, "control_port", port),
            "market": arguments.market,
            "symbols": [
                {"symbol": each.symbol, "tick_size": str(each.tick_size), "lot_size": str(each.lot_size)}
                for each in config.symbols
            ],
            "seed": arguments.seed,
            "start_ns": market.start_ns,
            "shock_at_ns": shock_at_ns,
        }
        _tell(line)

    serving = asyncio.create_task(serve(venue, arguments.host, arguments.port, started))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _run_itch(arguments: argparse.Namespace, stop: asyncio.Event) -> None:
    lines = [arguments.line_a, arguments.line_b]
    faults = [
        LineFaults(arguments.loss, arguments.duplicate, arguments.reorder, seed=arguments.seed + i)
        for i in range(len(lines))
    ]
    venue = ItchVenue(lines=lines, faults=faults)
    await venue.start(arguments.host, arguments.port, arguments.port)
    running = asyncio.create_task(ItchDays(venue, arguments.symbols, arguments.seed).run())
    line = {
        "venue": "itch",
        "line_a": arguments.line_a,
        "line_b": arguments.line_b,
        "rerequest": venue.rerequest_address,
        "server": venue.soup_address,
        "symbols": arguments.symbols,
        "seed": arguments.seed,
    }
    _tell(line)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await venue.stop()


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    arguments = parser().parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(run(arguments))
    else:
        uvloop.run(run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
