"""Watchers over a real server on loopback: withdrawals, dead streams, restarts of a connection, many quotes."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.records import QuoteStateCode
from quotelife_client import (
    AsyncClient,
    AsyncWatcher,
    Client,
    ExpiryRequest,
    QuoteState,
    ServiceError,
    Side,
    WatchEvent,
    WatchEventKind,
    WatchRefusal,
    WithdrawReason,
)
from quotelife_client.watching import CLOSE_S
from quotelife_server.app import Application
from reference.chaos_proxy import ChaosProxy
from reference.service_kit import CONFIG, running, write_config

LASTING = (
    CONFIG
    + """
postures:
  client_priority: {mode: step, life_max: 5s, step_table: [{p_at_or_above: 0, life: 5s}]}
  liquidity_provider: {mode: step, life_max: 5s, step_table: [{p_at_or_above: 0, life: 5s}]}
watch: {heartbeat: 250ms, withdraw_at: 1.0}
"""
)
GET_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/GetExpiry"
WATCH = "/quote_expiry.v1.QuoteExpiryService/WatchQuotes"
BOUND_S = 0.5  # of silence, by LASTING
SLACK_S = 1.0  # what a busy machine may add


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    """Quotes that outlive every bound of the watch."""
    async with running(write_config(tmp_path, LASTING)) as application:
        yield application


@pytest.fixture
async def client(app: Application) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        await client.wait_ready(5)
        yield client


async def until(holds: Callable[[], bool], timeout_s: float = 5.0) -> float:
    """How long it took."""
    began_s = time.monotonic()
    while not holds():
        assert time.monotonic() - began_s < timeout_s, "it never came"
        await asyncio.sleep(0.005)
    return time.monotonic() - began_s


async def next_of(watcher: AsyncWatcher, kind: WatchEventKind) -> WatchEvent:
    async with asyncio.timeout(5):
        async for event in watcher:
            if event.kind is kind:
                return event
    raise AssertionError("the watch ended")


def states(app: Application, owner: str) -> dict[str, int]:
    return {quote.name: quote.state for quote in app.engine.live_quotes(owner)}


WIDE = {"instrument": "BTC-USDT", "side": Side.BUY, "edge": "20"}  # a threshold that the walk does not reach


def say(**message: Any) -> bytes:
    return expiry.WatchQuotesRequest(**message).SerializeToString()


def withdraw_all(app: Application) -> None:
    app.engine.kill(app.clock.now_ns(), counterparty="alpha")


# --- the life of a watched quote --------------------------------------------------------------------------------


async def test_a_quote_is_watched_withdrawn_and_acknowledged(app: Application, client: AsyncClient) -> None:
    async with client.watch("oms") as watcher:
        answer = await watcher.get_expiry("q1", counterparty="alpha", **WIDE)
        assert answer.watched and watcher.live("q1") and watcher.live_quotes() == ["q1"]
        withdraw_all(app)
        event = await next_of(watcher, WatchEventKind.WITHDRAW)
        assert (event.quote_id, event.reason) == ("q1", WithdrawReason.KILL_SWITCH)
        assert not watcher.live("q1") and watcher.withdrawn("q1") is WithdrawReason.KILL_SWITCH
        await until(lambda: app.service.watching.unacknowledged == 0)
        (quote,) = app.engine.live_quotes("oms")
        assert quote.acknowledged


async def test_a_withdrawal_that_nobody_takes_is_repeated(app: Application, client: AsyncClient) -> None:
    async with client.watch("oms") as watcher:
        await watcher.get_expiry("q1", counterparty="alpha", **WIDE)
        withdraw_all(app)
        await until(lambda: app.service.watching.figures.repeats >= 2)
        await asyncio.sleep(0.05)
        assert not watcher.live("q1")
        assert app.service.watching.unacknowledged == 1, "it waits in the queue, and nobody has seen it"
        event = await next_of(watcher, WatchEventKind.WITHDRAW)
        assert event.quote_id == "q1"
        await until(lambda: app.service.watching.unacknowledged == 0)
        assert watcher._events.empty(), "its repeats are no events"


async def test_a_busy_client_shows_what_it_reads(app: Application, client: AsyncClient) -> None:
    """It always has something to say: heartbeats, which say what was read, go with it."""
    seen: list[WatchEvent] = []
    async with client.watch("oms", on_event=seen.append) as watcher:
        await watcher.get_expiry("q1", size="2", **WIDE)
        await asyncio.sleep(BOUND_S)
        end_s = time.monotonic() + 4 * BOUND_S
        while time.monotonic() < end_s:
            watcher.update("q1", QuoteState.PARTLY_FILLED, remaining="1")
            await asyncio.sleep(0.02)
        assert watcher.live("q1") and watcher.connections == 1
        assert [event.kind for event in seen] == [WatchEventKind.OPENED]
        assert app.service.watching.figures.slow_consumers == 0


async def test_an_on_event_that_raises_loses_nothing(
    app: Application, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[Any, ...]] = []
    monkeypatch.setattr("quotelife_client.watching._log.error", lambda *args, **_: logged.append(args))
    seen: list[str] = []

    def on_event(event: WatchEvent) -> None:
        if event.kind is WatchEventKind.WITHDRAW:
            seen.append(event.quote_id)
            if len(seen) in (2, 3):
                raise KeyError(event.quote_id)

    names = {f"q{k}" for k in range(6)}
    async with client.watch("oms", on_event=on_event) as watcher:
        for name in names:
            await watcher.get_expiry(name, counterparty="alpha", **WIDE)
        withdraw_all(app)
        await until(lambda: len(seen) >= 8)
        await until(lambda: app.service.watching.unacknowledged == 0)
        assert set(seen) == names
        assert len(seen) == 8, "the two that were not taken have come again"
        assert watcher.errors == 2 and isinstance(watcher.first_error, KeyError)
        assert len(logged) == 1, "the first; it may raise for every event"
        assert watcher.alive and watcher.connections == 1


async def test_an_iteration_given_up_leaves_what_it_has_not_given_to_the_next(app: Application) -> None:
    def iterate() -> tuple[list[str], list[str]]:
        with Client(app.addresses[0], timeout_s=5) as blocking, blocking.watch("sync") as watcher:
            loop.call_soon_threadsafe(
                loop.call_later, 5, watcher.close
            )  # what never comes is not awaited for ever
            first: list[str] = []
            for event in watcher:
                if event.kind is WatchEventKind.OPENED:
                    for k in range(4):
                        watcher.get_expiry(f"q{k}", counterparty="alpha", **WIDE)
                    loop.call_soon_threadsafe(withdraw_all, app)
                if event.kind is WatchEventKind.WITHDRAW:
                    first.append(event.quote_id)
                    break
            rest: list[str] = []
            for event in watcher:
                if event.kind is WatchEventKind.WITHDRAW:
                    rest.append(event.quote_id)
                    if len(rest) == 4:
                        break
            return first, rest

    loop = asyncio.get_running_loop()
    first, rest = await asyncio.to_thread(iterate)
    assert len(first) == 1
    assert sorted(rest) == ["q0", "q1", "q2", "q3"], "the one at which it was given up is told again"


async def test_quotes_are_registered_by_decision_and_whole(app: Application, client: AsyncClient) -> None:
    async with client.watch("oms") as watcher:
        answer = await client.get_expiry(**WIDE)
        watcher.register("by-id", decision_id=answer.decision_id)
        event = await next_of(watcher, WatchEventKind.REGISTERED)
        assert event.quote_id == "by-id" and event.expiry_utc_ns == answer.expiry_utc_ns
        watcher.register("whole", quote=ExpiryRequest(instrument="ETH-USDT", side="SELL"))
        event = await next_of(watcher, WatchEventKind.REGISTERED)
        assert event.expiry is not None and event.expiry.watched and event.side is Side.SELL
        assert watcher.live("by-id") and watcher.live("whole")
        watcher.register("unknown", decision_id="x-1")
        event = await next_of(watcher, WatchEventKind.REFUSED)
        assert event.refusal is WatchRefusal.UNKNOWN_DECISION and not watcher.live("unknown")
        with pytest.raises(ValueError, match="is watched already"):
            watcher.register("whole", decision_id=answer.decision_id)


async def test_an_update_ends_a_quote_on_both_sides(app: Application, client: AsyncClient) -> None:
    async with client.watch("oms") as watcher:
        await watcher.get_expiry("q1", size="2", **WIDE)
        await watcher.get_expiry("q2", size="2", **WIDE)
        watcher.update("q1", QuoteState.FILLED)
        watcher.update("q2", QuoteState.PARTLY_FILLED, remaining="1")
        assert not watcher.live("q1") and watcher.live("q2")
        await until(lambda: states(app, "oms").get("q2") == QuoteStateCode.PARTLY_FILLED)
        assert states(app, "oms")["q1"] == QuoteStateCode.FILLED


async def test_the_end_of_a_life_is_told_and_no_quote_outlives_it(tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as app, AsyncClient(app.addresses[0], timeout_s=5) as client:
        seen: list[WatchEvent] = []
        async with client.watch("oms", on_event=seen.append) as watcher:
            answer = await watcher.get_expiry("q1", **WIDE)
            assert answer.watched and answer.expiry_utc_ns is not None
            ends = (WatchEventKind.EXPIRED, WatchEventKind.WITHDRAW)
            while watcher.live("q1"):
                assert app.clock.now_ns() <= answer.expiry_utc_ns + 20_000_000
                await asyncio.sleep(0.001)
            await until(lambda: any(event.kind in ends for event in seen))


async def test_another_stream_of_a_living_owner_waits_and_a_wrong_one_fails(client: AsyncClient) -> None:
    async with client.watch("oms"):
        with pytest.raises(TimeoutError):
            async with client.watch("oms", open_timeout_s=0.3):
                pass
    async with client.watch("oms"):
        pass
    with pytest.raises(ValueError, match="owner"):
        client.watch("a\nb")


async def test_without_a_stream_the_answer_says_that_nobody_watches(client: AsyncClient) -> None:
    answer = await client.get_expiry(watch=True, watch_owner="nobody", **WIDE)
    assert not answer.watched and answer.watch_refusal is WatchRefusal.NO_STREAM


async def test_a_repeated_request_makes_no_quote_live_again(app: Application, client: AsyncClient) -> None:
    async with client.watch("oms") as watcher:
        answer = await watcher.get_expiry("q1", request_id="r1", **WIDE)
        watcher.update("q1", QuoteState.FILLED)
        with pytest.raises(ValueError, match="has ended"):
            await watcher.get_expiry("q1", request_id="r1", **WIDE)
        assert answer.watched and not watcher.live("q1") and watcher.live_quotes() == []


async def test_what_was_said_before_the_end_reaches_the_service(
    app: Application, client: AsyncClient
) -> None:
    async with client.watch("oms") as watcher:
        await watcher.get_expiry("q1", size="2", **WIDE)
        watcher.update("q1", QuoteState.FILLED)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < CLOSE_S, "the service says when it has it"
    await until(lambda: not app.service.watching.streams)
    assert states(app, "oms") == {"q1": QuoteStateCode.FILLED}
    assert app.service.watching.figures.lost_streams == 0


@pytest.mark.parametrize("read_by", ["thread", "caller", "given up"])
async def test_what_was_said_before_the_end_of_a_blocking_watcher_reaches_the_service(
    app: Application, read_by: str
) -> None:
    def scenario() -> None:
        with Client(app.addresses[0], timeout_s=5) as blocking, blocking.watch("sync") as watcher:
            reader = None
            if read_by == "thread":
                reader = threading.Thread(target=lambda: list(watcher), daemon=True)
                reader.start()
                watcher.wait_open(5)
            else:
                events = iter(watcher)
                assert next(events).kind is WatchEventKind.OPENED
            assert watcher.get_expiry("q1", size="2", **WIDE).watched
            watcher.update("q1", QuoteState.FILLED)
            if read_by == "given up":
                del events
            watcher.close()
            assert not watcher.alive
            if reader is not None:
                reader.join(2)
                assert not reader.is_alive(), "the iteration has ended"

    await asyncio.to_thread(scenario)
    await until(lambda: not app.service.watching.streams)
    assert states(app, "sync") == {"q1": QuoteStateCode.FILLED}
    assert app.service.watching.figures.lost_streams == 0


async def test_a_watch_closes_at_once_where_nobody_is_heard(app: Application) -> None:
    async with through(app.addresses[0]) as (proxy, client), client.watch("oms") as watcher:
        await watcher.get_expiry("q1", **WIDE)
        proxy.cut()
        watcher.update("q1", QuoteState.FILLED)
        began_s = time.monotonic()
        await watcher.close()
        assert time.monotonic() - began_s < CLOSE_S + SLACK_S
        assert not watcher.live("q1") and watcher.live_quotes() == []


async def test_live_quotes_are_listed_by_one_thread_while_others_register(app: Application) -> None:
    interval_s = sys.getswitchinterval()

    def scenario() -> None:
        sys.setswitchinterval(0.0001)  # threads change fifty times as often, and calls wait for it the less
        with Client(app.addresses[0], timeout_s=5) as blocking, blocking.watch("sync") as watcher:
            threading.Thread(target=lambda: list(watcher), daemon=True).start()
            watcher.wait_open(5)
            view = watcher._view
            for k in range(2000):  # long enough for threads to change in the middle
                view._registered(expiry.WatchRegistered(quote_id=f"b{k}", expiry_utc_ns=2**62))
            failed: list[Exception] = []
            done = threading.Event()

            def listing() -> None:
                while not done.is_set():
                    try:
                        assert len(watcher.live_quotes()) >= 1000
                    except Exception as error:
                        failed.append(error)
                        return

            threads = [threading.Thread(target=listing) for _ in range(2)]
            for thread in threads:
                thread.start()
            for k in range(150):
                watcher.get_expiry(f"q{k}", **WIDE)
                watcher.update(f"q{k}", QuoteState.CANCELLED)
                if failed:
                    break
            done.set()
            for thread in threads:
                thread.join(5)
            assert not failed, failed

    try:
        await asyncio.to_thread(scenario)
    finally:
        sys.setswitchinterval(interval_s)


# --- dead streams -------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def through(proxy_to: str) -> AsyncIterator[tuple[ChaosProxy, AsyncClient]]:
    async with ChaosProxy(proxy_to) as proxy, AsyncClient(proxy.address, timeout_s=5) as client:
        await client.wait_ready(5)
        yield proxy, client


async def test_a_cut_network_ends_every_quote_within_the_bound_on_both_sides(app: Application) -> None:
    async with through(app.addresses[0]) as (proxy, client), client.watch("oms") as watcher:
        for k in range(10):
            assert (await watcher.get_expiry(f"q{k}", **WIDE)).watched
        proxy.cut()  # no word gets through, and nobody is told
        took_s = await until(lambda: watcher.live_quotes() == [])
        assert took_s < BOUND_S + SLACK_S
        lost_s = took_s + await until(lambda: set(states(app, "oms").values()) == {QuoteStateCode.WITHDRAWN})
        assert lost_s < BOUND_S + SLACK_S
        told = [await next_of(watcher, WatchEventKind.WITHDRAW) for _ in range(10)]
        assert {event.reason for event in told} == {WithdrawReason.WATCH_LOST}
        assert not watcher.alive


async def test_a_broken_connection_is_opened_anew_and_nothing_lives_on(app: Application) -> None:
    async with through(app.addresses[0]) as (proxy, client), client.watch("oms") as watcher:
        await watcher.get_expiry("q1", **WIDE)
        proxy.reset()
        await until(lambda: not watcher.live("q1"))
        event = await next_of(watcher, WatchEventKind.WITHDRAW)
        assert (event.quote_id, event.reason) == ("q1", WithdrawReason.WATCH_LOST)
        await until(lambda: watcher.alive)
        assert not watcher.live("q1"), "what was lost is not live again"
        assert (await watcher.get_expiry("q2", **WIDE)).watched and watcher.live("q2")
        await until(lambda: app.service.watching.unacknowledged == 0)


async def test_a_network_that_comes_back_is_found_again(app: Application) -> None:
    async with through(app.addresses[0]) as (proxy, client), client.watch("oms") as watcher:
        proxy.cut()
        await until(lambda: not watcher.alive)
        proxy.mend()
        await until(lambda: watcher.alive, 10)
        assert watcher.connections == 2


async def test_a_stalled_reader_is_dead_to_itself_and_to_the_service(
    app: Application, client: AsyncClient
) -> None:
    done = threading.Event()

    def stall() -> list[bool]:
        with Client(app.addresses[0], timeout_s=5) as blocking, blocking.watch("sync") as watcher:
            events = iter(watcher)
            assert next(events).kind is WatchEventKind.OPENED
            answer = watcher.get_expiry("q1", **WIDE)
            seen = [answer.watched, watcher.live("q1")]
            time.sleep(BOUND_S + 0.05)  # nobody iterates
            seen.append(watcher.live("q1"))
            done.wait(5)
            return seen

    task = asyncio.create_task(asyncio.to_thread(stall))
    await until(lambda: states(app, "sync").get("q1") == QuoteStateCode.LIVE)
    took_s = await until(lambda: states(app, "sync").get("q1") == QuoteStateCode.WITHDRAWN)
    assert took_s < 3 * BOUND_S + SLACK_S
    done.set()
    assert await task == [True, True, False]


CHILD = """
import sys
from quotelife_client import Client
with Client(sys.argv[1], timeout_s=5) as client, client.watch("child") as watcher:
    for event in watcher:
        if event.kind.name == "OPENED":
            for k in range(5):
                watcher.get_expiry(f"q{k}", instrument="BTC-USDT", side="BUY", edge="20")
            print("watched", flush=True)
"""


async def test_quotes_of_a_killed_client_are_withdrawn(app: Application) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, app.addresses[0], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"watched\n"
        await asyncio.sleep(2 * BOUND_S)
        assert list(states(app, "child").values()) == [QuoteStateCode.LIVE] * 5, "a living client keeps them"
    finally:
        process.kill()
    took_s = await until(lambda: set(states(app, "child").values()) == {QuoteStateCode.WITHDRAWN})
    assert took_s < BOUND_S + SLACK_S
    await process.wait()


async def test_a_service_that_leaves_withdraws_what_it_watched(tmp_path: Path) -> None:
    async with running(write_config(tmp_path, LASTING)) as app:
        client = AsyncClient(app.addresses[0], timeout_s=5)
        watcher = client.watch("oms")
        await watcher.__aenter__()
        await watcher.get_expiry("q1", **WIDE)
    event = await next_of(watcher, WatchEventKind.WITHDRAW)
    assert (event.quote_id, event.reason) == ("q1", WithdrawReason.WATCH_LOST)
    assert not watcher.live("q1")
    await watcher.close()
    await client.close()


async def test_a_client_that_never_reads_is_dropped_by_the_transport_too(app: Application) -> None:
    """Flow control holds up what is being written, and with it the words that end the call."""
    async with ChaosProxy(app.addresses[0]) as proxy, grpc.aio.insecure_channel(proxy.address) as channel:
        get = channel.unary_unary(GET_EXPIRY)
        request = expiry.GetExpiryRequest(
            instrument="BTC-USDT", side=types.SIDE_BUY, edge="20", counterparty="alpha"
        )
        answer = expiry.GetExpiryResponse.FromString(await get(request.SerializeToString()))
        call = channel.stream_stream(WATCH)()
        await call.write(say(open=expiry.WatchOpen(owner="deaf", heartbeat_interval_ns=60_000_000_000)))
        for k in range(40):
            batch = expiry.WatchRequests()
            for n in range(100):
                name = f"{k}-{n}-".ljust(128, "x")
                batch.messages.add(
                    register=expiry.WatchRegister(quote_id=name, decision_id=answer.decision_id)
                )
            await call.write(say(batch=batch))
        await until(lambda: app.service.watching.status().registered == 4000)
        proxy.stall()
        withdraw_all(app)
        took_s = await until(lambda: app.service.watching.figures.slow_consumers == 1)
        assert took_s < 4 * BOUND_S + SLACK_S
        assert set(states(app, "deaf").values()) == {QuoteStateCode.WITHDRAWN}
        await until(lambda: not app.grpc.streams, 2)
        call.cancel()


# --- many ---------------------------------------------------------------------------------------------------------


async def test_ten_thousand_quotes_on_one_stream_are_withdrawn_by_one_event(
    app: Application, client: AsyncClient
) -> None:
    many = 10_000
    withdrawn: set[str] = set()
    ended: set[str] = set()
    registered = 0

    def on_event(event: WatchEvent) -> None:
        nonlocal registered
        registered += event.kind is WatchEventKind.REGISTERED
        if event.kind is WatchEventKind.WITHDRAW:
            withdrawn.add(event.quote_id)
        if event.kind in (WatchEventKind.WITHDRAW, WatchEventKind.EXPIRED):
            ended.add(event.quote_id)

    # Service and client share one loop here: each is silent while the other works, and no stream may be lost to that.
    async with client.watch("oms", heartbeat_s=1.0, on_event=on_event) as watcher:
        for k in range(0, many, 1000):
            answer = await client.get_expiry(counterparty="alpha", **WIDE)
            for n in range(k, k + 1000):
                watcher.register(f"q{n}", decision_id=answer.decision_id)
            await until(lambda k=k: registered == k + 1000, 30)  # type: ignore[misc]
        withdraw_all(app)
        await until(lambda: len(ended) == many, 30)
        assert len(withdrawn) > many // 2, "on a slow machine the first lives are over before"
        assert watcher.live_quotes() == []
        assert app.service.watching.figures.lost_streams == 0, "else they were withdrawn by the loss"
        await until(lambda: app.service.watching.unacknowledged == 0, 30)


def test_a_refusal_for_good_ends_the_watch(tmp_path: Path) -> None:
    async def scenario() -> Any:
        async with running(write_config(tmp_path)) as app, AsyncClient(app.addresses[0]) as client:
            watcher = client.watch("oms")
            object.__setattr__(watcher._view, "_given_ns", 1)
            with pytest.raises(ServiceError, match="heartbeat_interval_ns"):
                await watcher.__aenter__()

    asyncio.run(scenario())


async def test_a_watch_that_was_refused_for_good_says_so_to_all_that_is_asked_of_it(
    app: Application, client: AsyncClient
) -> None:
    async with client.watch("oms") as watcher:
        await watcher.get_expiry("q1", **WIDE)
        assert watcher._call is not None
        object.__setattr__(watcher._view, "_given_ns", 1)  # the next stream is refused
        watcher._call.cancel()
        await until(lambda: watcher._failure is not None)
        refused = "heartbeat_interval_ns"
        with pytest.raises(ServiceError, match=refused):
            await watcher.get_expiry("q2", **WIDE)
        with pytest.raises(ServiceError, match=refused):
            watcher.register("q3", decision_id="d-1")
        with pytest.raises(ServiceError, match=refused):
            watcher.update("q1", QuoteState.FILLED)


async def test_a_blocking_watch_that_was_refused_for_good_says_so_too(app: Application) -> None:
    def scenario() -> None:
        with Client(app.addresses[0], timeout_s=5) as blocking, blocking.watch("sync") as watcher:
            object.__setattr__(watcher._view, "_given_ns", 1)
            with pytest.raises(ServiceError):
                list(watcher)
            with pytest.raises(ServiceError):
                watcher.get_expiry("q2", **WIDE)
            with pytest.raises(ServiceError):
                watcher.register("q3", decision_id="d-1")
            with pytest.raises(ServiceError):
                watcher.update("q1", QuoteState.FILLED)

    await asyncio.to_thread(scenario)


async def test_a_watch_whose_own_task_fails_says_so(app: Application, client: AsyncClient) -> None:
    watcher = client.watch("oms")

    def broken() -> Any:
        raise OSError("no more files")

    watcher._connect = broken
    with pytest.raises(OSError, match="no more files"):
        await watcher.__aenter__()
