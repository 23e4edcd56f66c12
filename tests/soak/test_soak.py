"""Every live feed behind the service, against its simulated venue and faults at random: the venue's own book, always.

The short form is a few seconds of all handlers at once; ``make soak`` is the hour.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop

from quotelife.records import EventKindCode, SideCode
from quotelife.sim.market import MarketSimulator
from quotelife.sim.streamed_wires import PublishedBook
from quotelife.sim.updates import DepthUpdate
from quotelife_server import log
from quotelife_server.simvenue.base import Venue
from quotelife_server.simvenue.streamed import SimulatedCoinbase
from reference.event_books import EventRow
from soak.books import Entries, Received, Truth
from soak.rig import Rig
from soak.venues import HANDLERS, Handler, StreamedHandler

SHORT_S = 5.0
FAULTS = 5


def soaked(
    handlers: list[Handler], folder: Path, seconds: float, seed: int
) -> tuple[Rig, dict[str, str], dict[str, dict[str, Any]]]:
    """The rig, what was found, and the last figures of each."""
    log.configure("critical")
    figures: dict[str, dict[str, Any]] = {}

    def tell(line: dict[str, Any]) -> None:
        print(line)
        if line.get("done"):
            figures[line["handler"]] = line

    rig = Rig(handlers, seed, folder, tell)
    found = uvloop.run(rig.run(seconds, (2.0, 2.5), (0.02, 0.5)))
    return rig, found, figures


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """On a busy machine five seconds hold few faults: there once more, and longer."""
    for seconds in (SHORT_S, 5 * SHORT_S):
        handlers = [made(name) for name, made in HANDLERS.items()]
        run = soaked(handlers, tmp_path_factory.mktemp("soak"), seconds, 11)
        if run[1] or all(line["faults"] >= FAULTS for line in run[2].values()):
            break
    return run


@pytest.mark.parametrize("name", HANDLERS)
def test_random_faults_leave_the_venues_own_book(short: Any, name: str) -> None:
    """GOOD is never wrong in between, and at each checkpoint all is GOOD again and equal, entry by entry."""
    _, found, figures = short
    assert found.get(name) is None
    assert "watching" not in found
    assert figures[name]["checkpoints"] >= 1
    assert figures[name]["compared"] > 10


@pytest.mark.parametrize("name", HANDLERS)
def test_the_faults_do_break_what_they_should(short: Any, name: str) -> None:
    """A soak whose faults reach nobody proves nothing."""
    _, _, figures = short
    assert figures[name]["faults"] >= FAULTS
    assert figures[name]["not_good_s"] > 0
    assert figures[name]["disconnects"] + figures[name]["snapshots"] + figures[name]["gaps"] > 2


class Lying(StreamedHandler):
    """Once a second the venue tells one lot too many: as if a decoder had misread it."""

    def make(self, market: MarketSimulator) -> Venue:
        venue = SimulatedCoinbase(market)
        wire, told = venue.wires[0], itertools.count(1)
        change = wire.change

        def lie(book: PublishedBook, update: DepthUpdate) -> bytes:
            if next(told) % 10 == 0 and update.bids:
                (ticks, lots), *others = update.bids
                update = update._replace(bids=((ticks, lots + 1), *others))
            return change(book, update)

        wire.change = lie  # type: ignore[method-assign]
        return venue

    def hit(self, rng: random.Random) -> str:
        return "none"


def test_one_wrong_size_is_found(tmp_path: Path) -> None:
    rig, _, _ = soaked([Lying("coinbase")], tmp_path, 3.0, 1)
    assert any("GOOD, but not what the venue's book was" in wrong for wrong in rig.watched[0].wrong)


def test_a_truth_knows_its_book_after_each_message() -> None:
    truth, before = Truth(), Entries()
    truth.book.level(SideCode.BID, 10, 5)
    before.level(SideCode.BID, 10, 5)
    truth.note(7, 1.0)
    truth.book.level(SideCode.BID, 10, 6)
    truth.note(9, 2.0)
    assert truth.digest_at(6) is None
    assert truth.digest_at(7) == truth.digest_at(8) == before.digest
    assert truth.digest_at(9) == truth.book.digest != before.digest
    assert truth.was(before.digest, 8) and not truth.was(before.digest, 9)
    assert (truth.outdated_s(8, 5.0), truth.outdated_s(9, 5.0)) == (3.0, 0.0)
    truth.begin_anew()
    truth.note(1, 6.0)
    assert truth.was(before.digest, 7), "what is on its way is of the session before"
    assert truth.was(truth.book.digest, 1) and not truth.was(before.digest, 1)


def test_a_received_order_book_is_the_sum_of_its_events() -> None:
    def row(kind: EventKindCode, order: int, ticks: int = 0, lots: int = 0, aux: int = 0) -> EventRow:
        return EventRow(0, 0, 1, ticks, lots, order, aux, 0, kind, SideCode.ASK, 1)

    received = Received(order_level=True)
    for each in (
        row(EventKindCode.SNAPSHOT_BEGIN, 0),
        row(EventKindCode.ADD, 1, 100, 5),
        row(EventKindCode.ADD, 2, 101, 4),
        row(EventKindCode.SNAPSHOT_END, 0),
        row(EventKindCode.EXECUTE, 1, 0, 2),
        row(EventKindCode.MODIFY, 2, 102, 9, aux=3),
    ):
        received.apply(each)
    assert received.whole
    assert received.book.all == {1: (SideCode.ASK, 100, 3), 3: (SideCode.ASK, 102, 9)}
    assert received.book.top(order_level=True) == (0, 0, 100, 3)
    received.apply(row(EventKindCode.CANCEL, 1))
    assert received.book.top(order_level=True) == (0, 0, 102, 9)


def test_its_command_line_can_be_interrupted_and_leaves_its_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "soak", "--handlers", "okx,fix", "--directory", str(tmp_path)]
    paths = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["handlers"] == ["okx", "fix"]
        while json.loads(process.stdout.readline()).get("handler") != "fix":
            pass  # until both have begun
        process.send_signal(signal.SIGINT)
        told = [json.loads(line) for line in process.stdout.read().splitlines()]
        assert process.wait(30) == 130
    assert told[-1] == {"interrupted": True}
    for name in ("okx", "fix"):
        last = (tmp_path / f"{name}.jsonl").read_text().splitlines()[-1]
        assert json.loads(last)["done"], "figures up to here"


@pytest.mark.slow
def test_an_hour_of_random_faults_leaves_the_venues_own_books(tmp_path: Path) -> None:
    """``SOAK_SECONDS`` sets another length."""
    handlers = [made(name) for name, made in HANDLERS.items()]
    rig = Rig(handlers, random.randrange(2**32), tmp_path, print)
    seconds = float(os.environ.get("SOAK_SECONDS", "3600"))
    assert uvloop.run(rig.run(seconds, (30.0, 150.0), (0.05, 3.0))) == {}
