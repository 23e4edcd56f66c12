"""STRESS and its hysteresis: in at once, out after 10 s below 60 % of the threshold."""

from typing import Any

import pytest

from quotelife.config.schema import Regimes
from quotelife.decision.regime import Regime
from quotelife.records import ReasonFlags, RegimeCode

S = 1_000_000_000
NORMAL, STRESS = RegimeCode.NORMAL, RegimeCode.STRESS
START = 1_700_000_000 * S

TRIGGERS = {
    "volatility_ratio": (5.0, ReasonFlags.VOLATILITY),
    "spread_volatility_ratio": (5.0, ReasonFlags.SPREAD_VOLATILITY),
    "update_frequency_ratio": (4.0, ReasonFlags.UPDATE_FREQUENCY),
    "decorrelation_z": (4.0, ReasonFlags.DECORRELATION),
    "news_abs": (0.8, ReasonFlags.NEWS),
}
CALM: dict[str, Any] = dict.fromkeys(TRIGGERS, 0.0)


def regime(**keys: Any) -> Regime:
    return Regime(Regimes.model_validate(keys))


@pytest.mark.parametrize("name", TRIGGERS)
def test_each_trigger_enters_at_once_and_names_itself(name: str) -> None:
    threshold, reason = TRIGGERS[name]
    assert (STRESS, reason) == regime().update(START, **CALM | {name: threshold * 1.001})


@pytest.mark.parametrize("name", TRIGGERS)
def test_the_threshold_itself_fires_only_for_news(name: str) -> None:
    """Ratios and decorrelation must exceed theirs, news must reach it."""
    threshold, _ = TRIGGERS[name]
    assert (STRESS if name == "news_abs" else NORMAL) == regime().update(
        START, **CALM | {name: threshold}
    ).regime


@pytest.mark.parametrize("name", TRIGGERS)
def test_leaves_after_ten_seconds_below_sixty_percent(name: str) -> None:
    threshold, reason = TRIGGERS[name]
    state = regime()
    state.update(START, **CALM | {name: threshold * 1.001})
    low = CALM | {name: threshold * 0.599}
    held = state.update(START + 1 * S, **low)
    assert (STRESS, reason | ReasonFlags.HYSTERESIS) == held
    assert state.update(START + 11 * S - 1, **low).regime == STRESS
    assert state.update(START + 11 * S, **low) == (NORMAL, 0)


@pytest.mark.parametrize("name", TRIGGERS)
def test_between_sixty_percent_and_the_threshold_it_never_leaves(name: str) -> None:
    threshold, _ = TRIGGERS[name]
    state = regime()
    state.update(START, **CALM | {name: threshold * 1.001})
    for second in range(1, 60):
        assert state.update(START + second * S, **CALM | {name: threshold * 0.61}).regime == STRESS


def test_a_rise_starts_the_ten_seconds_again() -> None:
    state = regime()
    state.update(START, volatility_ratio=6.0)
    state.update(START + 1 * S, volatility_ratio=1.0)
    state.update(START + 9 * S, volatility_ratio=4.0)  # above 60 %
    assert state.update(START + 11 * S, volatility_ratio=1.0).regime == STRESS
    assert state.update(START + 21 * S - 1, volatility_ratio=1.0).regime == STRESS
    assert state.update(START + 21 * S, volatility_ratio=1.0).regime == NORMAL


def test_triggers_leave_one_by_one_and_stress_with_the_last() -> None:
    state = regime()
    state.update(START, volatility_ratio=6.0, decorrelation_z=5.0)
    both = state.update(START + 5 * S, volatility_ratio=1.0, decorrelation_z=5.0)
    assert both.reasons == ReasonFlags.VOLATILITY | ReasonFlags.DECORRELATION
    one = state.update(START + 15 * S, volatility_ratio=1.0, decorrelation_z=5.0)
    assert one == (STRESS, ReasonFlags.DECORRELATION)
    state.update(START + 16 * S, volatility_ratio=1.0, decorrelation_z=0.0)
    assert state.update(START + 26 * S, volatility_ratio=1.0, decorrelation_z=0.0).regime == NORMAL


def test_no_fresh_news_is_calm() -> None:
    """Knowledge, not a missing input: the way out starts at once."""
    state = regime()
    assert state.update(START).regime == NORMAL
    state.update(START, news_abs=1.0)
    assert state.update(START + 1 * S).regime == STRESS
    assert state.update(START + 11 * S).regime == NORMAL


def test_a_missing_input_neither_fires_nor_releases_until_its_own_time() -> None:
    """After a gap windows are empty for a while, which must not end a stress; a driver gone for good must."""
    state = regime(unknown_release="60s")
    assert state.update(START).regime == NORMAL
    state.update(START, decorrelation_z=5.0)
    assert state.update(START + 1 * S).regime == STRESS
    assert state.update(START + 30 * S).regime == STRESS
    assert state.update(START + 61 * S - 1).regime == STRESS
    assert state.update(START + 61 * S).regime == NORMAL


def test_absence_does_not_count_towards_the_ten_seconds() -> None:
    state = regime()
    state.update(START, volatility_ratio=6.0)
    state.update(START + 1 * S, volatility_ratio=1.0)
    state.update(START + 5 * S)
    assert state.update(START + 12 * S, volatility_ratio=1.0).regime == STRESS
    assert state.update(START + 22 * S, volatility_ratio=1.0).regime == NORMAL


def test_an_input_that_is_no_number_holds_what_is() -> None:
    state = regime()
    assert state.update(START, volatility_ratio=float("nan")).regime == NORMAL
    state.update(START, volatility_ratio=6.0)
    assert state.update(START + 100 * S, volatility_ratio=float("nan")).regime == STRESS


def test_entries_are_counted_once_a_stress() -> None:
    state = regime(exit_after="0s")
    for second, value in enumerate((6.0, 7.0, 6.0, 0.0, 6.0, 0.0)):
        state.update(START + second * S, volatility_ratio=value)
    assert (state.entries, state.entered_ns) == (2, START + 4 * S)


def test_thresholds_come_from_the_configuration() -> None:
    state = regime(volatility_ratio=2.0, exit_after="3s", exit_fraction=0.5)
    assert state.update(START, volatility_ratio=2.1).regime == STRESS
    state.update(START + 1 * S, volatility_ratio=0.99)
    assert state.update(START + 4 * S, volatility_ratio=0.99).regime == NORMAL
