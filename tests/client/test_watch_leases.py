"""Beyond the life that it would have without a watch a quote lives on lease: by a clock made by hand, and over loopback
with the network cut, the client stalled or killed."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife_client import (
    AsyncClient,
    AsyncWatcher,
    QuoteState,
    Side,
    WatchEvent,
    WatchEventKind,
    WithdrawReason,
)
from quotelife_client.watch_view import WatchView
from quotelife_server.app import Application
from reference.chaos_proxy import ChaosProxy
from reference.service_kit import CONFIG, running, write_config

MS = 1_000_000
UTC = 1_700_000_000_000 * MS  # the service's clock when the view's shows 0
LEASE_MS, SILENCE_MS = 40, 500


class Stream:
    """A view that hears what a test lets through, on a clock made by hand; times in ms."""

    def __init__(self, *, transit_ms: float = 0.0, lease_ms: int | None = LEASE_MS) -> None:
        self.view = WatchView("oms")
        self.transit_ms = transit_ms
        self.told: list[tuple[float, WatchEvent]] = []
        self.view.opening()
        opened = expiry.WatchOpened(
            at_utc_ns=UTC, heartbeat_interval_ns=250 * MS, silence_max_ns=SILENCE_MS * MS
        )
        if lease_ms is not None:
            opened.lease_ns = lease_ms * MS
        self._take(0.0, expiry.WatchQuotesResponse(opened=opened))

    def _take(
        self, sent_ms: float, message: expiry.WatchQuotesResponse, read_ms: float | None = None
    ) -> None:
        at_ms = sent_ms + self.transit_ms if read_ms is None else read_ms
        self.told += [(at_ms, event) for event in self.view.take(message, round(at_ms * MS))]

    def registered(self, quote: str, sent_ms: float, *, unwatched_ms: float, end_ms: float) -> None:
        self._take(
            sent_ms,
            expiry.WatchQuotesResponse(
                registered=expiry.WatchRegistered(
                    quote_id=quote,
                    expiry_utc_ns=UTC + round(end_ms * MS),
                    unwatched_expiry_utc_ns=UTC + round(unwatched_ms * MS),
                )
            ),
        )

    def heartbeat(self, sent_ms: float, read_ms: float | None = None) -> None:
        beat = expiry.WatchHeartbeat(at_utc_ns=UTC + round(sent_ms * MS), interval_ns=250 * MS)
        self._take(sent_ms, expiry.WatchQuotesResponse(heartbeat=beat), read_ms)

    def live(self, quote: str, at_ms: float) -> bool:
        return self.view.live(quote, round(at_ms * MS))

    def tick(self, at_ms: float) -> list[str]:
        events = self.view.tick(round(at_ms * MS))
        assert all(e.kind is WatchEventKind.WITHDRAW for e in events)
        assert all(e.reason is WithdrawReason.WATCH_LOST and e.sequence == 0 for e in events)
        self.told += [(at_ms, event) for event in events]
        return [event.quote_id for event in events]

    def due_ms(self) -> float | None:
        due_ns = self.view.due_ns()
        return None if due_ns is None else due_ns / MS


@pytest.mark.parametrize(
    ("last_ms", "until_ms"),
    [(0, 100), (40, 100), (60, 100), (80, 120), (100, 140), (1000, 1040)],
)
def test_after_the_last_heartbeat_a_quote_lives_to_its_unwatched_end_or_as_long_as_the_lease(
    last_ms: int, until_ms: int
) -> None:
    """Heartbeats every 20 ms up to the last one, of a quote whose unwatched life is 100 ms."""
    stream = Stream()
    stream.registered("q", 0, unwatched_ms=100, end_ms=2000)
    for at_ms in range(0, last_ms + 1, 20):
        stream.heartbeat(at_ms)
        assert stream.tick(at_ms) == [] and stream.live("q", at_ms)
    assert stream.live("q", until_ms - 0.001)
    assert stream.tick(until_ms - 0.001) == []
    assert stream.due_ms() == until_ms
    assert not stream.live("q", until_ms)
    assert stream.tick(until_ms) == ["q"]
    assert stream.view.withdrawn("q") is WithdrawReason.WATCH_LOST
    (update,) = stream.view.outgoing
    assert (update.update.quote_id, update.update.state) == ("q", QuoteState.CANCELLED.value)
    stream.heartbeat(until_ms + 1)
    assert not stream.live("q", until_ms + 1), "what was withdrawn is not live again"
    assert stream.due_ms() is None


def test_a_heartbeat_that_has_waited_on_its_way_proves_nothing_of_now() -> None:
    """A stalled reader finds old heartbeats in its buffers: read now, sent long ago."""
    stream = Stream()
    stream.registered("q", 0, unwatched_ms=50, end_ms=2000)
    for at_ms in (0, 20, 40):
        stream.heartbeat(at_ms)
    stream.heartbeat(60, read_ms=300)
    stream.heartbeat(80, read_ms=300)
    assert not stream.live("q", 300)
    assert stream.tick(300) == ["q"]


def test_a_lease_does_not_end_what_does_not_live_by_one() -> None:
    stream = Stream()
    stream.registered("short", 0, unwatched_ms=100, end_ms=100)
    stream.registered("long", 0, unwatched_ms=400, end_ms=2000)
    assert stream.due_ms() == 400
    assert stream.live("short", 99.9) and not stream.live("short", 100)
    assert stream.tick(399) == [] and stream.live("long", 399)
    assert stream.tick(400) == ["long"]


def test_what_has_ended_before_is_not_withdrawn_again() -> None:
    stream = Stream()
    for name in ("filled", "expired", "lapsed"):
        stream.registered(name, 0, unwatched_ms=50, end_ms=2000)
    stream.heartbeat(20)
    assert stream.tick(55) == []
    stream.view.update("filled", QuoteState.FILLED, None, 0)  # type: ignore[arg-type]
    stream._take(56, expiry.WatchQuotesResponse(expired=expiry.WatchExpired(quote_id="expired")))
    assert stream.tick(60) == ["lapsed"]
    assert stream.tick(200) == []


def test_a_service_that_knows_of_no_lease_is_to_be_heard_within_its_own_interval() -> None:
    stream = Stream(lease_ms=None)
    stream.registered("q", 0, unwatched_ms=100, end_ms=2000)
    assert stream.live("q", 249) and not stream.live("q", 250)


@settings(max_examples=200, deadline=None)
@given(
    quotes=st.lists(
        st.tuples(st.integers(0, 200), st.integers(5, 150), st.integers(0, 1500)), min_size=1, max_size=5
    ),
    beats=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 400)), max_size=60),
    transit_ms=st.integers(0, 5),
    looks=st.lists(st.integers(0, 1500), min_size=1, max_size=30),
)
def test_no_quote_is_live_beyond_its_unwatched_end_and_the_lease_of_what_was_read(
    quotes: list[tuple[int, int, int]],
    beats: list[tuple[int, int]],
    transit_ms: int,
    looks: list[int],
) -> None:
    """By the true clock, whatever is held up on the way; words come in order and none sooner than the fastest. The
    view's clock is behind by the fastest transit. When it says that one is over there is a word for it."""
    stream = Stream(transit_ms=float(transit_ms))
    words: list[tuple[float, int, str, int]] = []  # read, order, what, its argument
    for k, (at, _, _) in enumerate(quotes):
        words.append((at + transit_ms, k, f"q{k}", at))
    sent = read = 0
    for gap, held in beats:
        sent += gap
        read = max(read, sent + transit_ms + held)
        words.append((read, 1000 + sent, "beat", sent))
    ends = {f"q{k}": (at + u, at + u + more) for k, (at, u, more) in enumerate(quotes)}
    proven = 0
    said: set[str] = set()
    pending = sorted(words)
    for look in sorted(looks):
        while pending and pending[0][0] <= look:
            read_ms, _, what, argument = pending.pop(0)
            due = stream.due_ms()
            if due is not None and due <= read_ms:
                said |= set(stream.tick(due))
            if what == "beat":
                proven = argument
                stream.heartbeat(argument, read_ms)
            else:
                stream.registered(what, argument, unwatched_ms=ends[what][0], end_ms=ends[what][1])
        for name, (unwatched_ms, end_ms) in ends.items():
            if stream.live(name, look):
                assert look - transit_ms < min(end_ms, max(unwatched_ms, proven + LEASE_MS))
                assert name not in said
        said |= set(stream.tick(look))
        for name, (_, end_ms) in ends.items():
            registered = quotes[int(name[1:])][0] + transit_ms <= look
            if registered and not stream.live(name, look) and look - transit_ms < end_ms:
                assert name in said, "not live before its end: a word has said so"


# --- over loopback ------------------------------------------------------------------------------------------------

BY_VALUE = (
    CONFIG
    + """
postures:
  client_priority: {mode: expected_value, tolerance_source: curve, life_max: 5s, life_min: 25ms, tolerance: 0.5}
  liquidity_provider: {mode: expected_value, tolerance_source: curve, life_max: 5s, life_min: 25ms, tolerance: 0.5}
  risk_averse: {mode: expected_value, tolerance_source: curve, life_max: 5s, life_min: 25ms, tolerance: 0.5}
defaults:
  value: {informed_share: 0.5, response_median: 50ms, watch_leaves: 0.01}
watch: {withdraw_at: 1.0}
"""
)
"""Lives that are a good deal longer for being watched."""
EDGES = ("0.08", "0.1", "0.12", "0.14", "0.16", "0.18", "0.2", "0.25")
LEASE_NS = 20 * MS
TRANSIT_NS = 5 * MS  # of the fastest word: so far the view's clock may be behind


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    async with running(write_config(tmp_path, BY_VALUE)) as application:
        yield application


@contextlib.asynccontextmanager
async def through(target: str) -> AsyncIterator[tuple[ChaosProxy, AsyncClient]]:
    async with ChaosProxy(target) as proxy, AsyncClient(proxy.address, timeout_s=5) as client:
        await client.wait_ready(5)
        yield proxy, client


async def short_lived(watcher: AsyncWatcher, many: int, of: str = "q") -> dict[str, tuple[int, int]]:
    """Live quotes that would live 50 to 150 ms without a watch, and longer with one: that end, and the watched one."""
    found: dict[str, tuple[int, int]] = {}
    for k in range(many):
        name = f"{of}{k}"
        answer = await watcher.get_expiry(
            name, instrument="BTC-USDT", side=Side.BUY, edge=EDGES[k % len(EDGES)]
        )
        if not answer.watched or answer.life_without_watch_ns is None or answer.counted_from_utc_ns is None:
            continue
        if 50 * MS <= answer.life_without_watch_ns <= 150 * MS < answer.life_ns:
            start_ns = answer.counted_from_utc_ns
            found[name] = start_ns + answer.life_without_watch_ns, start_ns + answer.life_ns
    return found


async def last_live(
    app: Application, watcher: AsyncWatcher, quotes: dict[str, tuple[int, int]], until_ns: int
) -> dict[str, int]:
    """When each was last seen live, by the service's clock, read before the look."""
    last = dict.fromkeys(quotes, 0)
    while (now_ns := app.clock.now_ns()) < until_ns:
        for name in quotes:
            now_ns = app.clock.now_ns()
            if watcher.live(name):
                last[name] = now_ns
        await asyncio.sleep(0.001)
    return last


@pytest.mark.parametrize("wait_ms", [0, 30, 100])
async def test_a_cut_network_ends_a_quote_at_its_unwatched_end_or_with_the_lease(
    app: Application, wait_ms: int
) -> None:
    seen: list[WatchEvent] = []
    async with (
        through(app.addresses[0]) as (proxy, client),
        client.watch("oms", lease_s=LEASE_NS / 1e9, on_event=seen.append) as watcher,
    ):
        quotes = await short_lived(watcher, 16)
        assert quotes
        await asyncio.sleep(wait_ms / 1e3)
        alive = set(watcher.live_quotes()) & quotes.keys()
        proxy.cut()
        cut_ns = app.clock.now_ns()
        end_ns = max(end for _, end in quotes.values())
        last = await last_live(app, watcher, quotes, end_ns + 10 * MS)
        for name, (unwatched_ns, _) in quotes.items():
            assert last[name] <= max(unwatched_ns, cut_ns + LEASE_NS) + TRANSIT_NS
        told = {
            event.quote_id
            for event in seen
            if event.kind in (WatchEventKind.WITHDRAW, WatchEventKind.EXPIRED)
        }
        assert alive <= told, "each has been told of"


async def test_while_heartbeats_come_quotes_outlive_their_unwatched_ends(app: Application) -> None:
    """On a lease that a busy machine does not miss; and the service beats for it."""
    seen: list[WatchEvent] = []
    async with (
        AsyncClient(app.addresses[0], timeout_s=5) as client,
        client.watch("oms", lease_s=0.4, on_event=seen.append) as watcher,
    ):
        outlived = 0
        for attempt in range(10):
            quotes = await short_lived(watcher, 8, f"q{attempt}-")
            last = await last_live(app, watcher, quotes, app.clock.now_ns() + 300 * MS)
            outlived += sum(last[name] > unwatched_ns for name, (unwatched_ns, _) in quotes.items())
            for name in watcher.live_quotes():
                watcher.update(name, QuoteState.CANCELLED)
            if outlived:
                break
        assert outlived
        assert not any(e.kind is WatchEventKind.WITHDRAW and e.sequence == 0 for e in seen)


async def test_a_client_that_was_stalled_finds_none_of_them_live(app: Application) -> None:
    """Nothing was read meanwhile; heartbeats that wait in its buffers are of then."""
    stalled: list[tuple[dict[str, bool], int]] = []

    def stall(address: str) -> None:
        async def scenario() -> None:
            async with (
                AsyncClient(address, timeout_s=5) as client,
                client.watch("oms", lease_s=LEASE_NS / 1e9) as watcher,
            ):
                quotes = await short_lived(watcher, 16)
                time.sleep(0.18)  # noqa: ASYNC251 - nothing of this loop runs meanwhile
                stalled.append(({name: watcher.live(name) for name in quotes}, len(quotes)))
                await asyncio.sleep(0.02)
                stalled.append(({name: watcher.live(name) for name in quotes}, len(quotes)))

        asyncio.run(scenario())

    await asyncio.to_thread(stall, app.addresses[0])
    for live, many in stalled:
        assert many and not any(live.values())


CHILD = """
import sys, threading, time
from quotelife_client import Client
with Client(sys.argv[1], timeout_s=5) as client, client.watch("child", lease_s=0.02) as watcher:
    events = []
    threading.Thread(target=lambda: events.extend(watcher), daemon=True).start()
    watcher.wait_open(5)
    ends = {}
    for k in range(16):
        answer = watcher.get_expiry(f"q{k}", instrument="BTC-USDT", side="BUY", edge="0.12")
        without_ns = answer.life_without_watch_ns
        if answer.watched and without_ns is not None and 50e6 <= without_ns <= 150e6 < answer.life_ns:
            ends[f"q{k}"] = answer.counted_from_utc_ns + without_ns
    print(len(ends), flush=True)
    over = 0
    end_ns = time.monotonic_ns() + int(1e9)
    last = {}
    while time.monotonic_ns() < end_ns:
        for name in ends:
            now_ns = time.time_ns()
            if watcher.live(name):
                last[name] = now_ns
    print(max((last.get(name, 0) - ends[name] for name in ends), default=0), max(last.values(), default=0), flush=True)
"""


async def test_a_client_that_was_stopped_finds_none_of_them_live(app: Application) -> None:
    """As by a debugger or a machine that swaps: by the time that it goes on they are over, though the service does not
    know yet."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, app.addresses[0], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert int(await asyncio.wait_for(process.stdout.readline(), 20)) > 0
        process.send_signal(signal.SIGSTOP)
        stopped_ns = app.clock.now_ns()
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGCONT)
        over_ns, last_ns = map(int, (await asyncio.wait_for(process.stdout.readline(), 20)).split())
        assert last_ns <= stopped_ns + 50 * MS and (
            over_ns <= 0 or last_ns <= stopped_ns + LEASE_NS + TRANSIT_NS
        )
    finally:
        process.kill()
        await process.wait()
