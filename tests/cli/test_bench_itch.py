"""``quotelife bench feeds``, ITCH: what the sender drops is counted, recovered, and the books come out right."""

from typing import Any

import pytest
import uvloop

from quotelife.sim.itch_wire import ItchMarket, ItchSymbol
from quotelife_server.cli import bench_itch


@pytest.mark.parametrize("lines", [1, 2])
def test_what_the_sender_dropped_is_recovered(lines: int) -> None:
    market = ItchMarket(
        [ItchSymbol(f"S{i}") for i in range(bench_itch.SYMBOLS)], midnight_ns=0, start_ns=bench_itch.OPEN_NS
    )
    messages = market.opening + market.advance(5000)
    figures: dict[str, Any] = uvloop.run(
        bench_itch._udp(messages, True, dropped=0.1, lines=lines, per_s=20_000, truth=market.encoder)
    )
    assert figures["books_equal"]
    assert figures["messages_lost_for_good"] == 0
    dropped = figures["messages_dropped_on_every_line"]
    assert 300 < dropped < 700 if lines == 1 else 20 < dropped < 100
    assert figures["messages_rerequested"] >= figures["messages_recovered"] >= dropped
    assert figures["datagrams_sent"] < lines * len(messages)
