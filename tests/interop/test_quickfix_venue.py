"""The simulated FIX venue against a QuickFIX initiator: what it says is FIX 4.4 by another engine's dictionary.

Needs an environment of its own: QUOTELIFE_QUICKFIX names its Python (docs/fix.md).
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import uvloop

from quotelife.sim.market import MarketConfig, MarketSimulator
from quotelife.units import NS_PER_MS
from quotelife_server.simvenue.fix import SimulatedFix

PYTHON = os.environ.get("QUOTELIFE_QUICKFIX")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PYTHON is None, reason="QUOTELIFE_QUICKFIX names no Python with quickfix: make test-fix"
    ),
]


class Initiator:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 20)).decode().strip()

    async def said(self) -> dict[str, Any]:
        self.tell("books")
        said: dict[str, Any] = json.loads(await self.line())
        assert said["refused"] == []
        return said

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + 20
        while not holds(said := await self.said()):
            assert time.monotonic() < end, said
            await asyncio.sleep(0.05)
        return said


def same(venue: SimulatedFix, said: dict[str, Any]) -> bool:
    for at, name in enumerate(venue.names):
        symbol, book = venue.market.config.symbols[at], venue.books[at]
        told = said["books"].get(name)
        if told is None:
            return False
        for side, levels in (("0", book.bids), ("1", book.asks)):
            own = {ticks * symbol.tick_size: lots * symbol.lot_size for ticks, lots in levels.items()}
            if {Decimal(price): Decimal(size) for price, size in told[side].items()} != own:
                return False
    return True


async def run() -> None:
    market = MarketSimulator(MarketConfig(depth_interval_ns=50 * NS_PER_MS), 5, time.time_ns())
    venue = SimulatedFix(market)
    port = await venue.listen("127.0.0.1", 0)
    assert PYTHON is not None
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        str(Path(__file__).with_name("quickfix_initiator.py")),
        str(port),
        ",".join(venue.names),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    initiator = Initiator(process)

    async def compare() -> None:
        await venue.freeze()
        await initiator.until(lambda said: same(venue, said))
        venue.thaw()

    try:
        assert await initiator.line() == "ready"
        await initiator.until(lambda said: len(said["books"]) == 2)
        await asyncio.sleep(2)
        await compare()
        # What its session layer asks for is answered: resends are gap-filled, tests answered, resets obeyed.
        for fault in ("skip", "test", "resend", "sequence_reset", "bad_checksum"):
            venue.fault(fault)
            await asyncio.sleep(0.5)
            initiator.tell("again")
            await asyncio.sleep(0.5)
            await compare()
        assert (await initiator.said())["logons"] == 1
        venue.fault("logout")
        await initiator.until(lambda said: said["logons"] == 2 and len(said["books"]) == 2)
        await compare()
    finally:
        initiator.tell("quit")
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
        await venue.close()


def test_a_quickfix_initiator_has_the_venues_books() -> None:
    uvloop.run(run())
