"""Every live feed behind the service, against its simulated venue and faults at random: the venue's own book, always.

The short form is a few seconds of all handlers at once; ``make soak`` is the hour.
"""

import os
import random
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
    folder = tmp_path_factory.mktemp("soak")
    return soaked([made(name) for name, made in HANDLERS.items()], folder, SHORT_S, 11)


@pytest.mark.parametrize("name", HANDLERS)
def test_random_faults_leave_the_venues_own_book(short: Any, name: str) -> None:
    """GOOD is never wrong in between, and at each checkpoint all is GOOD again and equal, entry by entry."""
    _, found, figures = short
    assert found.get(name) is None
    assert "watching" not in found
    assert figures[name]["checkpoints"] >= 2
    assert figures[name]["compared"] > 50


@pytest.mark.parametrize("name", HANDLERS)
def test_the_faults_do_break_what_they_should(short: Any, name: str) -> None:
    """A soak whose faults reach nobody proves nothing."""
    _, _, figures = short
    assert figures[name]["faults"] >= 5
    assert figures[name]["not_good_s"] > 0
    assert figures[name]["disconnects"] + figures[name]["snapshots"] + figures[name]["gaps"] > 2


class Lying(StreamedHandler):
    """From its fortieth change on the venue tells one lot too many, once: as if a decoder had misread it."""

    def make(self, market: MarketSimulator) -> Venue:
        venue = SimulatedCoinbase(market)
        wire, told = venue.wires[0], [0]
        change = wire.change

        def lie(book: PublishedBook, update: DepthUpdate) -> bytes:
            told[0] += 1
            if told[0] >= 40 and update.bids and told[0] < 10_000:
                told[0] = 10_000
                (ticks, lots), *others = update.bids
                update = update._replace(bids=((ticks, lots + 1), *others))
            return change(book, update)

        wire.change = lie  # type: ignore[method-assign]
        return venue

    def hit(self, rng: random.Random) -> str:
        return "none"


def test_one_wrong_size_is_found(tmp_path: Path) -> None:
    _, found, _ = soaked([Lying("coinbase")], tmp_path, 4.0, 1)
    assert "GOOD, but not what the venue's book was" in found["coinbase"]


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
    assert (truth.outdated_s(8, 5.0), truth.outdated_s(9, 5.0)) == (3.0, 0.0)


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


@pytest.mark.slow
def test_an_hour_of_random_faults_leaves_the_venues_own_books(tmp_path: Path) -> None:
    """``SOAK_SECONDS`` sets another length."""
    handlers = [made(name) for name, made in HANDLERS.items()]
    rig = Rig(handlers, random.randrange(2**32), tmp_path, print)
    seconds = float(os.environ.get("SOAK_SECONDS", "3600"))
    assert uvloop.run(rig.run(seconds, (30.0, 150.0), (0.05, 3.0))) == {}
