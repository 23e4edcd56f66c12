"""Windows on the wall clock of their zone, across midnight and across changes of clocks; calendars."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotelife.config.schema import DAYS, Config, Window
from quotelife.decision.policy import Policy
from quotelife.decision.zones import FIRST_S, LAST_S, offset_table
from quotelife.records import RegimeCode, RequestRecord, RuleCode

ZONES = [
    "UTC",
    "Europe/London",
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
]
S = 1_000_000_000


def config(**keys: Any) -> Config:
    names = ("BTC", "ETH")
    instruments = tuple(
        {"name": n, "venue": "binance-usdm", "symbol": n, "tick_size": 0.1, "lot_size": 0.001} for n in names
    )
    return Config.model_validate({"version": 1, "instruments": instruments} | keys)


def windowed(**window: Any) -> Policy:
    overrides = ({"window": window, "posture": "risk_averse"},)
    return Policy(config(counterparties={"c": {"overrides": overrides}}))


def is_open(policy: Policy, at: datetime) -> bool:
    request = RequestRecord(0, 1, now_ns=ns(at), counterparty=0)
    return policy.resolve_request(request).rule == RuleCode.COUNTERPARTY_OVERRIDE


def ns(at: datetime) -> int:
    return round(at.timestamp()) * S


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


LONDON_OPEN = windowed(**{"from": "08:00", "to": "16:30", "timezone": "Europe/London"})


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (utc(2026, 3, 27, 8), utc(2026, 3, 27, 16, 30)),  # winter, GMT
        (utc(2026, 3, 30, 7), utc(2026, 3, 30, 15, 30)),  # the Monday after, BST
        (utc(2026, 10, 23, 7), utc(2026, 10, 23, 15, 30)),  # summer
        (utc(2026, 10, 26, 8), utc(2026, 10, 26, 16, 30)),  # winter again
    ],
)
def test_a_window_follows_the_local_clock(first: datetime, last: datetime) -> None:
    """Open from its first second, closed at its last, on both sides of both changes of clocks."""
    second = timedelta(seconds=1)
    seen = [is_open(LONDON_OPEN, at) for at in (first - second, first, last - second, last)]
    assert seen == [False, True, True, False]


def test_an_hour_that_is_left_out_never_opens() -> None:
    """New York 2026-03-08: 02:00 to 03:00 does not exist."""
    policy = windowed(**{"from": "02:00", "to": "03:00", "timezone": "America/New_York"})
    start = utc(2026, 3, 8, 4)
    assert not any(is_open(policy, start + timedelta(minutes=m)) for m in range(0, 600, 5))


def test_an_hour_that_comes_twice_opens_twice() -> None:
    """New York 2026-11-01: 01:00 to 02:00 comes at 05:00 and at 06:00 UTC."""
    policy = windowed(**{"from": "01:00", "to": "02:00", "timezone": "America/New_York"})
    start = utc(2026, 11, 1, 3)
    assert [m for m in range(0, 360, 30) if is_open(policy, start + timedelta(minutes=m))] == [
        120,
        150,
        180,
        210,
    ]


def test_a_window_over_midnight_belongs_to_the_day_it_opens() -> None:
    """Friday 22:00 to 02:00: Saturday 01:00 is in, Friday 01:00 is not, and so over the week's end."""
    policy = windowed(**{"days": ("fri", "sun"), "from": "22:00", "to": "02:00", "timezone": "UTC"})
    friday = utc(2026, 1, 2)
    expected = {1: False, 21: False, 22: True, 25: True, 26: False, 46: False, 70: True, 73: True, 74: False}
    assert expected == {hour: is_open(policy, friday + timedelta(hours=hour)) for hour in expected}


def test_a_whole_day() -> None:
    policy = windowed(**{"days": ("wed",), "from": "00:00", "to": "24:00", "timezone": "UTC"})
    wednesday = utc(2026, 1, 7)
    second = timedelta(seconds=1)
    times = [
        wednesday - second,
        wednesday,
        wednesday + timedelta(days=1) - second,
        wednesday + timedelta(days=1),
    ]
    assert [is_open(policy, at) for at in times] == [False, True, True, False]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.integers(0, 86_399),
    st.integers(1, 86_400),
    st.lists(st.integers(FIRST_S, LAST_S - 1), min_size=20, max_size=20),
)
def test_windows_agree_with_the_calendar_of_the_library(
    name: str, days: set[str], from_s: int, to_s: int, instants: list[int]
) -> None:
    """6,000 instants between 2000 and 2040 in six zones, judged by datetime instead of the tables."""
    if from_s == to_s:
        return
    clock = [f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in (from_s, to_s)]
    policy = windowed(**{"days": tuple(days), "from": clock[0], "to": clock[1], "timezone": name})
    for instant in instants:
        local = datetime.fromtimestamp(instant, ZoneInfo(name))
        second = local.hour * 3600 + local.minute * 60 + local.second
        today, yesterday = DAYS[local.weekday()] in days, DAYS[local.weekday() - 1] in days
        if from_s < to_s:
            expected = today and from_s <= second < to_s
        else:
            expected = (today and second >= from_s) or (yesterday and second < to_s)
        assert expected == is_open(policy, datetime.fromtimestamp(instant, UTC))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.integers(0, 86_399),
    st.integers(1, 86_400),
    st.sampled_from([utc(2026, 1, 5), utc(2026, 7, 6)]),
    st.lists(st.integers(0, 10 * 86_400), min_size=10, max_size=10),
)
def test_what_is_ahead_of_a_window_is_its_next_time_open(
    name: str, days: set[str], from_s: int, to_s: int, first: datetime, after_s: list[int]
) -> None:
    """Open from the start told until the end told, and shut from the moment asked until that start; weeks in which no
    zone changes its clock."""
    if from_s == to_s:
        return
    clock = [f"{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in (from_s, to_s)]
    window = {"days": tuple(days), "from": clock[0], "to": clock[1], "timezone": name}
    policy = windowed(**window)
    second = timedelta(seconds=1)
    for after in after_s:
        at = first + timedelta(seconds=after)
        ((start_ns, end_ns),) = Window.model_validate(window).ahead(ns(at))
        start, end = (datetime.fromtimestamp(each // S, UTC) for each in (start_ns, end_ns))
        assert at < end and is_open(policy, max(start, at)) and is_open(policy, end - second)
        if at < start:
            shut = [at, at + (start - at) / 3, at + 2 * (start - at) / 3, start - second]
            assert not any(is_open(policy, each.replace(microsecond=0)) for each in shut)


@pytest.mark.parametrize("name", ZONES)
def test_offsets_agree_around_every_change(name: str) -> None:
    """The tables hold every change to the second."""
    zone = ZoneInfo(name)
    starts, offsets = offset_table(name)
    assert list(starts) == sorted(set(starts))
    for i, start in enumerate(starts):
        for at, expected in ((start, offsets[i]), (start - 1, offsets[i - 1])):
            if at >= FIRST_S:
                offset = datetime.fromtimestamp(at, zone).utcoffset()
                assert offset is not None
                assert expected == offset.total_seconds()


def test_tables_know_the_two_changes_a_year() -> None:
    assert len(offset_table("UTC")[0]) == 1
    assert len(offset_table("Europe/London")[0]) == 1 + 2 * 40


CALENDAR = Policy(
    config(
        calendars=(
            {
                "name": "fed",
                "regime": "scheduled_news",
                "start": "2026-03-18T18:00:00Z",
                "end": "2026-03-18T19:20:00+01:00",
            },
            {
                "name": "expiry",
                "regime": "auction",
                "instruments": ("ETH",),
                "window": {"days": ("wed",), "from": "17:59", "to": "18:10", "timezone": "UTC"},
            },
            {
                "name": "upgrade",
                "regime": "halt",
                "instruments": ("BTC",),
                "window": {"days": ("wed",), "from": "18:05", "to": "18:06", "timezone": "UTC"},
            },
        )
    )
)


@pytest.mark.parametrize(
    ("minute", "btc", "eth"),
    [
        (-2, RegimeCode.NORMAL, RegimeCode.NORMAL),
        (-1, RegimeCode.NORMAL, RegimeCode.AUCTION),
        (0, RegimeCode.SCHEDULED_NEWS, RegimeCode.SCHEDULED_NEWS),
        (5, RegimeCode.HALT, RegimeCode.SCHEDULED_NEWS),
        (6, RegimeCode.SCHEDULED_NEWS, RegimeCode.SCHEDULED_NEWS),
        (19, RegimeCode.SCHEDULED_NEWS, RegimeCode.SCHEDULED_NEWS),
        (20, RegimeCode.NORMAL, RegimeCode.NORMAL),
    ],
)
def test_calendar_by_instrument_and_severity(minute: int, btc: RegimeCode, eth: RegimeCode) -> None:
    """Dated and weekly entries; where both lie over an instrument the more severe holds."""
    at = ns(utc(2026, 3, 18, 18) + timedelta(minutes=minute))
    assert (btc, eth) == (CALENDAR.scheduled_regime(0, at), CALENDAR.scheduled_regime(1, at))


def test_calendar_ends_are_exact() -> None:
    """A dated entry is [start, end) to the nanosecond."""
    start, end = ns(utc(2026, 3, 18, 18)), ns(utc(2026, 3, 18, 18, 20))
    expected = [RegimeCode.NORMAL, RegimeCode.SCHEDULED_NEWS, RegimeCode.SCHEDULED_NEWS, RegimeCode.NORMAL]
    assert expected == [CALENDAR.scheduled_regime(0, at) for at in (start - 1, start, end - 1, end)]


def test_an_unknown_instrument_has_no_calendar() -> None:
    assert CALENDAR.scheduled_regime(2, ns(utc(2026, 3, 18, 18))) == RegimeCode.NORMAL
