"""The wall clock steps, jitters, sleeps: the service's clock goes on, says so and comes back."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quotelife.feed.fix_session import FixReader, FixSession, encode, fields_of, utc_timestamp
from quotelife_client.aio import AsyncClient
from quotelife_client.types import Clock, Decision
from quotelife_server import feeds
from quotelife_server.alerts import CLOCK_UNSYNCHRONISED, ENGINE_AHEAD
from quotelife_server.app import Application
from quotelife_server.clock import SystemClock, steady_ns
from reference.service_kit import MS, T0, S, running, write_config

H = 3600 * S


class Machine:
    """A machine's two clocks."""

    def __init__(self) -> None:
        self.wall_ns, self.steady_ns = T0, 12_345 * S
        self.clock = SystemClock(MS, wall_ns=lambda: self.wall_ns, steady_ns=lambda: self.steady_ns)

    def go_on(self, span_ns: int) -> None:
        self.wall_ns += span_ns
        self.steady_ns += span_ns


@pytest.mark.parametrize("step_ns", [H, -H, S, -S, MS + 1, -MS - 1])
def test_a_step_of_the_wall_clock_does_not_move_the_clock_and_is_seen(step_ns: int) -> None:
    machine = Machine()
    machine.go_on(5 * S)
    machine.wall_ns += step_ns
    assert machine.clock.now_ns() == T0 + 5 * S
    assert machine.clock.measure_wall_offset_ns() == step_ns
    assert not machine.clock.synchronised
    machine.go_on(S)
    machine.wall_ns -= step_ns
    assert machine.clock.measure_wall_offset_ns() == 0
    assert machine.clock.synchronised
    assert machine.clock.now_ns() == T0 + 6 * S


def heard_by_a_venue(step_ns: int) -> list[tuple[str, str]]:
    """Types and SendingTimes of what a FIX session sends in 65 s; the wall clock steps after 31."""
    machine, sent = Machine(), []
    session = FixSession("DESK", "VENUE", heartbeat_s=10)
    session.connected(machine.clock.now_ns())
    session.take()
    for second in range(65):
        machine.go_on(S)
        if second == 31:
            machine.wall_ns += step_ns
        now_ns = machine.clock.now_ns()
        if second % 9 == 0:
            fields = [(35, "0" if second else "A"), (34, str(1 + second // 9)), (49, "VENUE"), (56, "DESK")]
            session.received(encode([*fields, (52, utc_timestamp(now_ns)), (98, "0"), (108, "10")]), now_ns)
        session.tick(now_ns)
        for message in FixReader().read(session.take()):
            told = dict(fields_of(message))
            sent.append((told[35].decode(), told[52].decode()))
    return sent


@pytest.mark.parametrize("step_ns", [H, -H, 11 * S, -11 * S])
def test_a_step_of_the_wall_clock_moves_no_heartbeat_and_no_stamp_of_a_fix_session(step_ns: int) -> None:
    sent = heard_by_a_venue(step_ns)
    assert [kind for kind, _ in sent] == ["0"] * 6, "one in ten seconds, no test request"
    assert sent == heard_by_a_venue(0)


def test_live_feeds_read_no_wall_clock() -> None:
    """Their times and timers come from the clock handed to them. ITCH compares it with the wall clock's, by which the
    kernel stamps datagrams; none of those stamps is taken for later than now."""
    folder = Path(feeds.__file__).parent
    found = {
        f"{path.name}: {word}"
        for path in sorted(folder.glob("*.py*"))
        if path.suffix in (".py", ".pyx")
        for word in re.findall(r"time\.time\w*|datetime\.(?:now|utcnow|today)", path.read_text())
    }
    assert found == {"itch.py: time.time_ns"}


def test_jitter_within_the_limit_is_none_of_the_clocks_business() -> None:
    machine, rng = Machine(), random.Random(3)
    before = machine.clock.now_ns()
    for _ in range(1_000):
        machine.go_on(rng.randrange(10 * MS))
        true_ns = machine.wall_ns
        machine.wall_ns += rng.randrange(-MS, MS + 1)
        machine.clock.measure_wall_offset_ns()
        machine.wall_ns = true_ns
        assert machine.clock.synchronised
        assert machine.clock.now_ns() == true_ns >= before
        before = true_ns


def test_an_offset_about_the_limit_does_not_flap() -> None:
    machine = Machine()
    seen = []
    for offset_ns in (MS + 1, MS - 1, MS + 1, MS // 2 + 1, MS // 2, MS - 1, MS):
        machine.wall_ns = T0 + offset_ns
        machine.clock.measure_wall_offset_ns()
        seen.append(machine.clock.synchronised)
    assert seen == [False, False, False, False, True, True, True]


def test_a_sleep_of_the_machine_is_time_that_has_passed() -> None:
    """By a steady clock that counts it, as Linux has one: books are an hour old then, and instants are right."""
    machine = Machine()
    machine.go_on(H)
    machine.clock.measure_wall_offset_ns()
    assert machine.clock.synchronised
    assert machine.clock.now_ns() == T0 + H


def test_a_sleep_that_the_steady_clock_does_not_count_is_a_step() -> None:
    machine = Machine()
    machine.wall_ns += H
    machine.clock.measure_wall_offset_ns()
    assert not machine.clock.synchronised


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock that goes on in a sleep")
def test_the_steady_clock_goes_on_in_a_sleep() -> None:
    early = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert early <= steady_ns() <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_an_interrupted_reading_is_taken_again() -> None:
    """Between the two readings of the steady clock the process stood still for 80 ms, once."""
    steps = iter([0, 0, 80 * MS])
    steady = [0]

    def steady_now() -> int:
        steady[0] += next(steps, 1_000)
        return steady[0]

    clock = SystemClock(MS, wall_ns=lambda: T0 + steady[0], steady_ns=steady_now)
    assert abs(clock.measure_wall_offset_ns()) <= 2_000


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Application]:
    async with running(write_config(tmp_path)) as application:
        yield application


async def until(app: Application, synchronised: bool) -> None:
    async with asyncio.timeout(5):
        while bool(app.alerts.active()) == synchronised:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("step_ns", [H, -H])
async def test_a_step_under_a_running_service_alerts_and_holds_instants_back(
    app: Application, step_ns: int
) -> None:
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        before = await client.get_expiry(instrument="BTC-USDT", side="BUY")
        assert (before.clock, before.decision) == (Clock.SERVICE_UTC, Decision.QUOTE)
        app.clock._wall_ns = lambda: time.time_ns() + step_ns
        await until(app, synchronised=False)
        during = await client.get_expiry(instrument="BTC-USDT", side="BUY")
        assert (during.clock, during.decision) == (Clock.UNSYNCHRONISED, Decision.QUOTE)
        assert during.expiry_utc_ns is None and 0 < during.life_ns <= 5_000 * MS
        assert 0 <= during.decided_at_utc_ns - before.decided_at_utc_ns < 10 * S
        alerts = (await client.status()).alerts
        assert [alert.name for alert in alerts] == [CLOCK_UNSYNCHRONISED]
        app.clock._wall_ns = time.time_ns
        await until(app, synchronised=True)
        after = await client.get_expiry(instrument="BTC-USDT", side="BUY")
        assert after.clock is Clock.SERVICE_UTC
        assert after.expiry_utc_ns is not None and after.decided_at_utc_ns >= during.decided_at_utc_ns


async def test_an_input_stamped_in_the_future_alerts_and_holds_instants_back(app: Application) -> None:
    """No door of the service lets one in; if one came all the same, no client gets an end an hour late."""
    app.engine.on_timer(app.clock.now_ns() + H)
    await until(app, synchronised=False)
    assert [alert.name for alert in app.alerts.active()] == [ENGINE_AHEAD]
    async with AsyncClient(app.addresses[0], timeout_s=5) as client:
        reply = await client.get_expiry(instrument="BTC-USDT", side="BUY")
    assert (reply.clock, reply.expiry_utc_ns) == (Clock.UNSYNCHRONISED, None)
