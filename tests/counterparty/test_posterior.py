"""What is believed of a counterparty: the tier without evidence, its own evidence with enough of it."""

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from quotelife.config import Config
from quotelife.counterparty.posterior import Counterparties, CounterpartyStatus, OutcomeCode
from reference.counterparty_twin import MS, Prior, Quotes, beta_binomial

INSTRUMENT = {"name": "A", "venue": "v", "symbol": "A", "tick_size": "0.01", "lot_size": "1"}
HIT, EXPIRED, AWAY, COVER, CANCELLED = (
    OutcomeCode.HIT,
    OutcomeCode.EXPIRED,
    OutcomeCode.DONE_AWAY,
    OutcomeCode.COVER,
    OutcomeCode.CANCELLED,
)


def configured(names: dict[str, str | None] | None = None, **statistics: Any) -> Config:
    names = {"alpha": "good", "beta": "good", "gamma": "bad", "nobody": None} if names is None else names
    return Config.model_validate_json(
        json.dumps(
            {
                "version": 1,
                "instruments": [INSTRUMENT, {**INSTRUMENT, "name": "B", "symbol": "B"}],
                "tiers": {
                    "good": {"fill_rate": 0.4, "value": {"hit_probability": 0.6, "response_median": "700ms"}},
                    "bad": {"value": {"informed_share": 0.5, "latency": "0ms"}},
                },
                "counterparties": {name: {"tier": tier} for name, tier in names.items()},
                "counterparty_statistics": statistics,
            }
        )
    )


def status(counterparties: Counterparties, name: str) -> CounterpartyStatus:
    found = counterparties.status(name)
    assert found is not None
    return found


def tell(
    counterparties: Counterparties,
    name: str,
    kind: OutcomeCode,
    *,
    age_ms: float = math.nan,
    life_ms: float = 500.0,
    lots: float = math.nan,
    instrument: int = 0,
    at_ns: int = 0,
    counts: bool = True,
) -> None:
    place = counterparties.names.index(name)
    assert counterparties.outcome(
        place, instrument, kind, counts, age_ns=age_ms * MS, life_ns=life_ms * MS, size_lots=lots, at_ns=at_ns
    )


def test_without_an_outcome_everything_is_as_the_tier_says() -> None:
    counterparties = Counterparties(configured())
    assert counterparties.refit(10**9) == []
    alpha = status(counterparties, "alpha")
    assert alpha.believed == alpha.used == alpha.configured
    assert alpha.configured.hit_probability == 0.6
    assert alpha.fill_rate == 0.4
    assert status(counterparties, "gamma").fill_rate is None
    assert [each.mean_bp for each in alpha.markouts] == [None] * 4


def test_whoever_told_nothing_has_exactly_the_belief_of_its_tier() -> None:
    counterparties = Counterparties(configured())
    for _ in range(200):
        tell(counterparties, "alpha", HIT, age_ms=90)
    changed = counterparties.refit(10**9, True)
    assert len(changed) == 4  # alpha, good, and the tiers that follow what others show: bad and none
    beta, alpha = status(counterparties, "beta"), status(counterparties, "alpha")
    assert beta.believed.hit_probability > 0.6
    # 20 ms of it are the round trip. A lone member is shrunk to what is configured, and it once only.
    assert alpha.believed == beta.believed
    assert 70e6 < alpha.believed.response_median_ns < 100e6


def test_a_counterparty_is_shrunk_to_the_rest_of_its_tier() -> None:
    counterparties = Counterparties(configured({"alpha": "good", "beta": "good", "delta": "good"}))
    for _ in range(200):
        tell(counterparties, "alpha", HIT, age_ms=90)
        tell(counterparties, "beta", EXPIRED, life_ms=2000)
    counterparties.refit(10**9, True)
    alpha, beta, delta = (status(counterparties, name).believed for name in ("alpha", "beta", "delta"))
    assert alpha.hit_probability > delta.hit_probability > beta.hit_probability
    # 175 quotes of its own weigh against 20 that stand for all the rest.
    weight = sum(2 ** (-k / 500) for k in range(200))
    assert alpha.hit_probability > weight / (weight + 20)
    assert delta.hit_probability == pytest.approx(0.5, abs=0.05)


def test_not_pooled_a_tier_stays_as_it_is_configured() -> None:
    counterparties = Counterparties(configured(pooled=False))
    for _ in range(200):
        tell(counterparties, "alpha", HIT, age_ms=90)
    counterparties.refit(10**9, True)
    beta = status(counterparties, "beta")
    assert beta.believed == beta.used == beta.configured
    assert status(counterparties, "alpha").used != beta.used


@pytest.mark.parametrize("seed", range(4))
def test_fill_rate_and_response_are_those_of_the_twin_under_forgetting(seed: int) -> None:
    counterparties = Counterparties(configured(pooled=False, half_life_quotes=50))
    rng, keep = np.random.default_rng(seed), 2 ** (-1 / 50)
    twin, quotes, fills = Quotes(), 0.0, 0.0
    for _ in range(300):
        kind = rng.choice([HIT, EXPIRED, AWAY, COVER, CANCELLED])
        life = float(rng.choice([150.0, 600.0]))
        age = life * float(rng.choice([0.3, 0.8]))
        twin.forget(keep)
        quotes, fills = quotes * keep, fills * keep
        untold = kind == HIT and rng.random() < 0.3
        if kind == EXPIRED or untold:
            tell(counterparties, "gamma", kind, life_ms=life)
        else:
            tell(counterparties, "gamma", kind, age_ms=age, life_ms=life)
        quotes += kind != CANCELLED
        if kind == HIT:
            fills += 1
            (twin.within if untold else twin.answers).append(((life if untold else age) * MS, 1.0))
        elif kind in (AWAY, COVER):
            twin.refused += 1
        else:
            twin.lives.append(((age if kind == CANCELLED else life) * MS, 1.0))
    counterparties.refit(10**9, True)
    gamma = status(counterparties, "gamma")
    assert (gamma.quotes, gamma.fills) == pytest.approx((quotes, fills))
    hit, median_ns, sigma = twin.fit(Prior())
    assert gamma.believed.hit_probability == pytest.approx(hit, abs=1e-3)
    assert gamma.believed.response_median_ns == pytest.approx(median_ns, rel=5e-3)
    assert gamma.believed.response_sigma == pytest.approx(sigma, rel=5e-3)
    # bad names no fill rate: its hit probability stands in.
    assert (gamma.fill_rate, gamma.fill_deviation) == pytest.approx(beta_binomial(0.3, 20, quotes, fills))


def test_the_half_life_is_counted_in_quotes() -> None:
    counterparties = Counterparties(configured())
    tell(counterparties, "alpha", HIT, age_ms=100)
    for _ in range(500):
        tell(counterparties, "alpha", EXPIRED)
    assert status(counterparties, "alpha").fills == pytest.approx(0.5)


def test_done_away_while_the_quote_lived_is_a_refusal_and_afterwards_only_an_end() -> None:
    counterparties = Counterparties(configured())
    tell(counterparties, "alpha", AWAY, age_ms=100, life_ms=500)
    tell(counterparties, "alpha", AWAY, age_ms=500, life_ms=500)
    tell(counterparties, "alpha", AWAY, life_ms=500)  # nobody said when
    alpha = status(counterparties, "alpha")
    keep = 2 ** (-1 / 500)
    assert (alpha.refused, alpha.censored) == pytest.approx((keep**2, keep + 1))
    assert alpha.quotes == pytest.approx(keep**2 + keep + 1)


def test_a_cancelled_quote_was_no_trial_of_the_fill_rate() -> None:
    counterparties = Counterparties(configured())
    tell(counterparties, "alpha", CANCELLED, age_ms=100)
    alpha = status(counterparties, "alpha")
    assert (alpha.quotes, alpha.censored, alpha.fill_rate) == (0.0, 1.0, 0.4)


def test_a_further_fill_of_the_same_quote_counts_for_no_second_quote() -> None:
    counterparties = Counterparties(configured())
    tell(counterparties, "alpha", HIT, age_ms=100)
    tell(counterparties, "alpha", HIT, age_ms=200, counts=False)
    alpha = status(counterparties, "alpha")
    assert (alpha.reported, alpha.quotes, alpha.answers) == (2, 1.0, 1.0)


def test_what_decisions_are_made_by_moves_in_steps() -> None:
    counterparties = Counterparties(configured(pooled=False))
    used, moves = [], 0
    for k in range(400):
        tell(counterparties, "alpha", HIT if k % 3 == 0 else EXPIRED, age_ms=120)
        moves += len(counterparties.refit(k * 10**8))
        used.append(status(counterparties, "alpha").used)
    assert 3 < moves < 200  # far fewer than quotes
    for a, b in pairwise(used):
        far = max(
            abs(b.hit_probability - a.hit_probability) / 0.005,
            abs(math.log(b.response_median_ns / a.response_median_ns)) / 0.01,
            abs(b.response_sigma - a.response_sigma) / 0.01,
        )
        assert far == 0 or far > 0.4
    last = status(counterparties, "alpha")
    assert last.used.hit_probability == pytest.approx(last.believed.hit_probability, abs=0.0076)
    assert last.used.response_median_ns == pytest.approx(last.believed.response_median_ns, rel=0.016)


def test_one_timer_changes_few_and_all_have_their_turn() -> None:
    names: dict[str, str | None] = {f"c{k:02d}": "good" for k in range(30)}
    counterparties = Counterparties(configured(names, pooled=False))
    for name in names:
        for _ in range(20):
            tell(counterparties, name, HIT, age_ms=60)
    changes = [counterparties.refit(k * 10**8) for k in range(15)]
    assert [len(each) for each in changes] == [2] * 15
    assert sorted(place for each in changes for place in each) == list(range(30))
    assert len({status(counterparties, name).used for name in names}) == 1


def test_sizes_are_kept_by_instrument() -> None:
    counterparties = Counterparties(configured())
    for lots in (2.0, 4.0):
        tell(counterparties, "alpha", EXPIRED, lots=lots)
    tell(counterparties, "alpha", EXPIRED, lots=10.0, instrument=1)
    sizes = {each.instrument: each.lots for each in status(counterparties, "alpha").sizes}
    keep = 2 ** (-1 / 500)
    assert sizes == pytest.approx({"A": (2 * keep + 4) / (keep + 1), "B": 10.0})


def test_sums_that_were_noted_come_back_to_the_bit() -> None:
    config = configured()
    first, again = Counterparties(config), Counterparties(config)
    rng = np.random.default_rng(5)
    for name in ("alpha", "beta", "gamma"):
        for _ in range(50):
            kind = rng.choice([HIT, EXPIRED, AWAY, CANCELLED])
            tell(first, name, kind, age_ms=float(rng.uniform(50, 400)), lots=float(rng.integers(1, 9)))
    notes = first.note(10**9, 16)
    assert [entry["name"] for entry in notes] == ["beta", "gamma", "alpha"]
    assert first.note(2 * 10**9, 16) == []
    again.load(notes)
    tell(first, "alpha", EXPIRED)
    tell(again, "alpha", EXPIRED)
    first.refit(3 * 10**9, True)
    again.refit(3 * 10**9, True)
    for name in first.names:
        here, there = status(first, name), status(again, name)
        # Sums of a tier are made in another order: estimates may differ in their last digits.
        assert there.believed == pytest.approx(here.believed, rel=1e-9)
        # What is used moves in steps from where it was: by less than one, it may differ.
        assert there.used == pytest.approx(here.used, abs=0.0101, rel=0.0151)
    (was,), (now,) = first.note(10**12, 1), again.note(10**12, 1)
    assert was == now


def test_one_counterparty_is_noted_at_most_once_in_ten_seconds() -> None:
    counterparties = Counterparties(configured())
    told = 0
    for k in range(1000):
        tell(counterparties, "alpha", EXPIRED)
        told += len(counterparties.note(k * 10**8, 16))
    assert told == 10


def test_notes_that_do_not_read_change_nothing() -> None:
    counterparties = Counterparties(configured())
    tell(counterparties, "alpha", EXPIRED)
    note = counterparties.note(10**9, 1)[0]
    before = status(counterparties, "alpha")
    for bad in ({"sums": note["sums"][1:]}, {"lived": [[64, 1.0, 1.0]]}, {"sums": [math.inf] * 100}):
        with pytest.raises(ValueError):
            counterparties.load([note, {**note, **bad}])
    with pytest.raises(KeyError):
        counterparties.load([{"name": "alpha"}])
    assert status(counterparties, "alpha") == before


def test_names_keep_what_is_known_of_them_through_a_new_configuration() -> None:
    counterparties = Counterparties(configured())
    tell(counterparties, "beta", HIT, age_ms=100)
    tell(counterparties, "gamma", HIT, age_ms=100)
    counterparties.follow(configured({"aaa": "good", "beta": "bad", "nobody": None}), 0)
    assert counterparties.known == ["beta"]
    beta = status(counterparties, "beta")
    assert (beta.tier, beta.fills) == ("bad", 1.0)


def test_whoever_was_heard_of_longest_ago_makes_room() -> None:
    counterparties = Counterparties(configured(counterparties_max=2))
    for at_ns, name in enumerate(("alpha", "beta", "alpha", "gamma")):
        tell(counterparties, name, EXPIRED, at_ns=at_ns)
    assert counterparties.known == ["alpha", "gamma"]
    assert counterparties.forgotten == 1


def _oldest(told: dict[str, int]) -> str:
    return min(told, key=lambda name: (told[name], name))


@pytest.mark.parametrize("seed", range(6))
def test_who_makes_room_is_who_a_search_of_all_finds(seed: int) -> None:
    """Reports late and at equal times, configurations that drop and add names, and a restart: always the same one."""
    rng = np.random.default_rng(seed)
    universe = [f"c{k:02d}" for k in range(40)]
    told: dict[str, int] = {}
    names = universe[:30]
    counterparties = Counterparties(configured(dict.fromkeys(names, "good"), counterparties_max=12))
    forgotten = 0
    for step in range(1500):
        chance = rng.random()
        if chance < 0.01:
            names = sorted(rng.choice(universe, 25, replace=False).tolist())
            config = configured(dict.fromkeys(names, "good"), counterparties_max=12)
            counterparties.follow(config, step)
            told = {name: at_ns for name, at_ns in told.items() if name in names}
        elif chance < 0.02:
            noted = counterparties.note(10**15 + step * 10**11, 50)
            changed = Counterparties(configured(dict.fromkeys(names, "good"), counterparties_max=12))
            changed.load([entry for entry in noted if entry["name"] in told])
            told = {name: at_ns for name, at_ns in told.items() if name in changed.known}
            counterparties = changed
        else:
            name, at_ns = str(rng.choice(names)), int(rng.integers(0, 20) + step // 10)
            tell(counterparties, name, EXPIRED, at_ns=at_ns)
            if name not in told and len(told) == 12:
                del told[_oldest(told)]
                forgotten += 1
            told[name] = at_ns
        assert counterparties.known == sorted(told), f"seed {seed}, step {step}"
    assert forgotten > 300


def _random_story(counterparties: list[Counterparties], names: list[str], rng: Any, count: int) -> None:
    for _ in range(count):
        name, kind = str(rng.choice(names)), rng.choice([HIT, EXPIRED, AWAY])
        age, life = float(rng.lognormal(5.5, 0.7)), float(rng.choice([300.0, 900.0]))
        for each in counterparties:
            tell(each, name, kind, age_ms=math.nan if kind == EXPIRED else age, life_ms=life)


RELOADS: list[dict[str, Any]] = [
    {},
    {"tiers": {"good": {"fill_rate": 0.4, "value": {"loss_in_h": 3.0, "latency": "5ms"}}, "bad": {}}},
    {"counterparty_statistics": {"half_life_quotes": 200.0, "prior_answers": 30.0}},
    {"counterparty_statistics": {"pooled": False}},
]


@pytest.mark.parametrize("change", RELOADS)
def test_fitted_at_its_next_use_it_is_what_fitting_all_at_once_gives(change: dict[str, Any]) -> None:
    """Two that are told the same: one fits all of them with the configuration, the other as they come up."""
    names = [f"c{k:03d}" for k in range(300)]
    tiers = {name: ("good", "bad", None)[k % 3] for k, name in enumerate(names)}
    lazy, eager = (Counterparties(configured(tiers)) for _ in range(2))
    rng = np.random.default_rng(7)
    _random_story([lazy, eager], names[:280], rng, 4000)
    for each in (lazy, eager):
        each.refit(10**9, True)
    _random_story([lazy, eager], names, rng, 600)
    content = json.loads(configured(tiers).model_dump_json(by_alias=True))
    after = Config.model_validate_json(json.dumps(content | change))
    for each in (lazy, eager):
        each.follow(after, 2 * 10**9)
    eager.refit(2 * 10**9, True)
    moved = 0
    for k in range(250):
        _random_story([lazy, eager], names, rng, 5)
        now_ns = (2 + k // 10) * 10**9 + k % 10 * 10**8
        changes = lazy.refit(now_ns)
        assert changes == eager.refit(now_ns), k
        moved += len(changes)
        for name in names if k % 50 == 0 else names[k : k + 3]:
            assert lazy.status(name) == eager.status(name), (k, name)
    assert [lazy.status(name) for name in names] == [eager.status(name) for name in names]
    assert moved > 100
    assert lazy.note(10**12, 400) == eager.note(10**12, 400)


def test_to_look_at_one_that_is_not_fitted_yet_changes_nothing() -> None:
    """Two configurations one after the other: what the second fits by does not depend on who looked in between."""
    names: dict[str, str | None] = {f"c{k:02d}": "good" for k in range(40)}
    seen, unseen = (Counterparties(configured(names)) for _ in range(2))
    _random_story([seen, unseen], list(names), np.random.default_rng(2), 800)
    second = json.loads(configured(names).model_dump_json(by_alias=True))
    second["tiers"]["good"]["value"]["response_median"] = "300ms"
    between = json.loads(json.dumps(second))
    between["counterparty_statistics"]["prior_answers"] = 300.0
    for each in (seen, unseen):
        each.refit(10**9, True)
        each.follow(Config.model_validate_json(json.dumps(between)), 2 * 10**9)
        if each is seen:
            shown = [status(each, name).used for name in names]
        each.follow(Config.model_validate_json(json.dumps(second)), 3 * 10**9)
        each.refit(4 * 10**9, True)
    assert [seen.status(name) for name in names] == [unseen.status(name) for name in names]
    assert shown != [status(seen, name).used for name in names]


def test_a_configuration_is_taken_without_fitting_all() -> None:
    names: dict[str, str | None] = {f"c{k:04d}": "good" for k in range(1500)}
    config = configured(names)
    counterparties = Counterparties(config)
    rng = np.random.default_rng(4)
    for name in names:
        _random_story([counterparties], [name], rng, 12)
    counterparties.refit(10**9, True)
    assert counterparties.owed == 0
    counterparties.follow(config, 2 * 10**9)
    assert counterparties.owed == len(names), "none is fitted in the reload"
    counterparties.refit(2 * 10**9 + 1)
    assert counterparties.owed == len(names) - 64, "a timer fits some"
    _random_story([counterparties], ["c1400"], rng, 1)
    assert counterparties.owed == len(names) - 65, "and an outcome its own"


def test_outcomes_of_strangers_teach_nothing() -> None:
    counterparties = Counterparties(configured())
    nan = math.nan
    assert not counterparties.outcome(99, 0, HIT, True, age_ns=nan, life_ns=nan, size_lots=nan, at_ns=0)
    assert (counterparties.strangers, counterparties.known) == (1, [])


def test_switched_off_nothing_is_used() -> None:
    counterparties = Counterparties(configured(enabled=False))
    for _ in range(100):
        tell(counterparties, "alpha", HIT, age_ms=50)
    assert counterparties.refit(10**9, True) == []
    alpha = status(counterparties, "alpha")
    assert alpha.used == alpha.configured


def test_between_two_poolings_the_rest_of_the_tier_is_what_it_was() -> None:
    """Within ten seconds of a pooling a counterparty's new answers are not taken off a pool that lacks them."""
    counterparties = Counterparties(configured())
    for _ in range(40):
        tell(counterparties, "alpha", HIT, age_ms=300, life_ms=2000)
    counterparties.refit(10**9)
    rates, medians = [], []
    for k in range(1, 60):
        tell(counterparties, "beta", HIT, age_ms=1500, life_ms=2000)
        counterparties.refit(10**9 + k * 100 * MS)
        found = status(counterparties, "beta")
        rates.append(found.fill_rate or 0.0)
        medians.append(found.believed.response_median_ns)
    assert all(b > a for a, b in pairwise(rates)), "each of its quotes is filled"
    assert all(b >= a - 1e3 for a, b in pairwise(medians)), "each answer is slower than what was believed"
    counterparties.refit(10**11, True)
    pooled = status(counterparties, "beta")
    assert rates[-1] == pytest.approx(pooled.fill_rate, abs=0.01)
    assert medians[-1] == pytest.approx(pooled.believed.response_median_ns, rel=0.02)


def test_more_notes_than_there_is_room_for_leave_the_newest() -> None:
    names: dict[str, str | None] = {f"c{k:03d}": "good" for k in range(200)}
    first = Counterparties(configured(names))
    for name in names:
        tell(first, name, HIT, age_ms=300)
    noted = first.note(10**12, 500)
    assert len(noted) == 200
    second = Counterparties(configured(names, counterparties_max=100))
    second.load(noted)
    assert second.known == sorted(entry["name"] for entry in noted[-100:])


def test_all_that_was_noted_is_fitted_after_a_restart_without_pooling() -> None:
    names: dict[str, str | None] = {f"c{k:03d}": "good" for k in range(400)}
    first = Counterparties(configured(names, pooled=False))
    for name in names:
        for _ in range(50):
            tell(first, name, HIT, age_ms=100)
    noted = first.note(10**12, 500)
    second = Counterparties(configured(names, pooled=False))
    second.load(noted)
    for k in range(400):
        second.refit(10**12 + k)
    assert all(status(second, name).used != status(second, name).configured for name in names)


def test_what_other_tiers_show_moves_no_tier_beyond_what_can_be_fitted() -> None:
    config = json.loads(configured({"a": "good", "b": "bad"}).model_dump_json(by_alias=True))
    config["defaults"]["value"]["response_sigma"] = 0.1
    config["tiers"]["bad"]["value"]["response_sigma"] = 1.5
    counterparties = Counterparties(Config.model_validate_json(json.dumps(config)))
    rng = np.random.default_rng(1)
    for age in np.exp(rng.normal(np.log(1000.0), 2.0, 600)).clip(20, 90_000):
        tell(counterparties, "a", HIT, age_ms=float(age), life_ms=100_000)
    counterparties.refit(10**12, True)
    assert 1.5 < status(counterparties, "b").believed.response_sigma <= 3.0


def test_a_cancellation_without_a_time_says_nothing_of_response_times() -> None:
    counterparties = Counterparties(configured())
    for _ in range(200):
        tell(counterparties, "alpha", CANCELLED, life_ms=2000)
    counterparties.refit(10**12, True)
    found = status(counterparties, "alpha")
    assert found.believed == found.configured and found.censored == 0.0


def test_one_that_is_never_hit_is_asked_again() -> None:
    counterparties = Counterparties(configured(prior_quotes=1))
    for _ in range(3000):
        tell(counterparties, "alpha", AWAY, age_ms=1, life_ms=2000)
    counterparties.refit(10**12, True)
    assert status(counterparties, "alpha").used.hit_probability == pytest.approx(0.005)
