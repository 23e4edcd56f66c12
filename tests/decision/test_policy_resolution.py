"""Which posture: every rung of the order, downgrade only, priors."""

from itertools import product
from typing import Any

import pytest

from quotelife.config.schema import Config
from quotelife.decision.policy import OverrideSpec, Policy
from quotelife.errors import ConfigError
from quotelife.records import NO_INDEX_VALUE, PostureCode, ReasonFlags, RegimeCode, RequestRecord, RuleCode

CP, LP, RA = PostureCode.CLIENT_PRIORITY, PostureCode.LIQUIDITY_PROVIDER, PostureCode.RISK_AVERSE
NOW = 1_767_000_000_000_000_000


def instrument(name: str, **keys: Any) -> dict[str, Any]:
    built = {"name": name, "venue": "binance-usdm", "symbol": name, "tick_size": 0.1, "lot_size": 0.001}
    return built | keys


def config(**keys: Any) -> Config:
    return Config.model_validate({"version": 1, "instruments": (instrument("BTC"), instrument("ETH"))} | keys)


FULL: dict[str, Any] = {
    "tiers": {
        "strategic": {"posture": "client_priority", "fill_rate": 0.5, "average_size": {"ETH": 12.5}},
        "silent": {"fill_rate": 0.25},
    },
    "counterparties": {
        "plain": {"tier": "strategic"},
        "special": {
            "tier": "strategic",
            "overrides": (
                {"instruments": ("ETH",), "posture": "risk_averse"},
                {"instruments": "all", "posture": "liquidity_provider"},
            ),
        },
        "quiet": {"tier": "silent"},
        "bare": {},
    },
    "desks": {
        "open": {"posture": "risk_averse", "allow_request_override": True, "not_good": "risk_averse"},
        "shut": {},
    },
    "defaults": {"posture": "liquidity_provider", "unknown_counterparty_tier": "silent"},
}
POLICY = Policy(config(**FULL))


def request(
    counterparty: str | None = None, desk: str | None = None, instrument: int = 0, posture: int = 0
) -> RequestRecord:
    client = POLICY.counterparty_index(counterparty) if counterparty else None
    where = POLICY.desk_index(desk) if desk else None
    return RequestRecord(
        instrument,
        1,
        now_ns=NOW,
        counterparty=NO_INDEX_VALUE if client is None else client,
        desk=NO_INDEX_VALUE if where is None else where,
        posture=posture,
    )


def override(posture: int, **keys: int) -> OverrideSpec:
    return OverrideSpec(posture=posture, **{"expires_ns": NOW + 1} | keys)


def test_request_override_stands_above_all() -> None:
    """A desk that may override names the posture, whatever an operator or the counterparty's settings say."""
    asked = request("special", "open", posture=CP)
    choice = POLICY.resolve_request(asked, overrides=[override(RA)])
    assert (choice.requested, choice.effective, choice.rule, choice.reasons) == (
        CP,
        CP,
        RuleCode.REQUEST_OVERRIDE,
        0,
    )


@pytest.mark.parametrize("desk", ["shut", None])
def test_request_override_is_refused_where_the_desk_may_not(desk: str | None) -> None:
    choice = POLICY.resolve_request(request("plain", desk, posture=RA))
    assert (choice.requested, choice.rule) == (CP, RuleCode.COUNTERPARTY_TIER)
    assert choice.reasons == ReasonFlags.OVERRIDE_REFUSED


def test_a_desk_that_is_not_configured_may_override_where_the_defaults_say() -> None:
    policy = Policy(config(defaults={"allow_request_override": True}))
    assert policy.resolve_request(request(posture=RA)).rule == RuleCode.REQUEST_OVERRIDE


def test_a_posture_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="posture"):
        request("plain", "open", posture=4)


def test_operator_override_stands_above_the_counterparty() -> None:
    choice = POLICY.resolve_request(request("special"), overrides=[override(CP)])
    assert (choice.requested, choice.rule, choice.rule_index) == (CP, RuleCode.RUNTIME_OVERRIDE, 0)


def test_operator_override_ends_with_its_time() -> None:
    ended = override(CP, expires_ns=NOW)
    assert (
        POLICY.resolve_request(request("special"), overrides=[ended]).rule == RuleCode.COUNTERPARTY_OVERRIDE
    )


@pytest.mark.parametrize("field", ["counterparty", "desk", "instrument"])
def test_operator_override_holds_only_for_what_it_names(field: str) -> None:
    asked = request("plain", "shut", instrument=1)
    own = {
        "counterparty": POLICY.counterparty_index("plain"),
        "desk": POLICY.desk_index("shut"),
        "instrument": 1,
    }[field]
    assert own is not None
    fits = POLICY.resolve_request(asked, overrides=[override(RA, **{field: own})])
    other = POLICY.resolve_request(asked, overrides=[override(RA, **{field: own ^ 1})])
    assert (fits.rule, other.rule) == (RuleCode.RUNTIME_OVERRIDE, RuleCode.COUNTERPARTY_TIER)


def test_the_most_specific_operator_override_wins_and_then_the_latest() -> None:
    asked = request("plain", instrument=1)
    overrides = [
        override(CP, override_id=3),
        override(LP, instrument=1, override_id=4),
        override(RA, instrument=1, override_id=7),
        override(CP, override_id=8),
    ]
    choice = POLICY.resolve_request(asked, overrides=overrides)
    assert (choice.requested, choice.rule_index) == (RA, 7), "its id"


@pytest.mark.parametrize(("index", "expected"), [(1, (RA, 0)), (0, (LP, 1))])
def test_counterparty_override_by_instrument(index: int, expected: tuple[int, int]) -> None:
    """The first override that fits is taken and named."""
    choice = POLICY.resolve_request(request("special", "open", instrument=index))
    assert (*expected, RuleCode.COUNTERPARTY_OVERRIDE) == (choice.requested, choice.rule_index, choice.rule)


def test_counterparty_override_among_many_instruments() -> None:
    """Sets of more than one machine word: only the named instruments are in."""
    names = [f"I{i}" for i in range(200)]
    chosen = (0, 63, 64, 127, 130, 199)
    own = {"instruments": tuple(names[i] for i in chosen), "posture": "risk_averse"}
    policy = Policy(
        config(
            instruments=tuple(instrument(name) for name in names),
            counterparties={
                "a": {"overrides": ({"instruments": ("I5",), "posture": "client_priority"},)},
                "c": {"overrides": (own,)},
            },
        )
    )
    index = policy.counterparty_index("c")
    assert index is not None
    found = [
        i
        for i in range(200)
        if policy.resolve_request(RequestRecord(i, 1, now_ns=NOW, counterparty=index)).rule
        == RuleCode.COUNTERPARTY_OVERRIDE
    ]
    assert list(chosen) == found


def test_tier_then_desk_then_global() -> None:
    tier = POLICY.resolve_request(request("plain", "open"))
    desk = POLICY.resolve_request(request("quiet", "open"))
    bare = POLICY.resolve_request(request("bare", "open"))
    everyone = POLICY.resolve_request(request("quiet", "shut"))
    nobody = POLICY.resolve_request(request())
    assert [(tier.requested, tier.rule)] == [(CP, RuleCode.COUNTERPARTY_TIER)]
    assert [(each.requested, each.rule) for each in (desk, bare)] == [(RA, RuleCode.DESK_DEFAULT)] * 2
    assert [(each.requested, each.rule) for each in (everyone, nobody)] == [(LP, RuleCode.GLOBAL_DEFAULT)] * 2
    assert tier.rule_index == NO_INDEX_VALUE


def test_unknown_counterparty_takes_the_tier_of_the_defaults() -> None:
    policy = Policy(config(**FULL | {"defaults": {"unknown_counterparty_tier": "strategic"}}))
    choice = policy.resolve_request(request())
    assert (choice.requested, choice.rule) == (CP, RuleCode.COUNTERPARTY_TIER)
    assert (policy.tier_of(None), Policy(config()).tier_of(None)) == ("strategic", None)


@pytest.mark.parametrize(("regime", "posture"), list(product(RegimeCode, (CP, LP, RA))))
def test_the_regime_only_downgrades(regime: RegimeCode, posture: PostureCode) -> None:
    """Any regime but NORMAL makes Risk Averse of every posture; the requested one stays named."""
    choice = POLICY.resolve_request(request("plain", "open", posture=posture), regime=regime)
    assert posture == choice.requested
    assert choice.effective >= choice.requested
    assert (posture if regime == RegimeCode.NORMAL else RA) == choice.effective
    assert (choice.effective != posture) == bool(choice.reasons & ReasonFlags.DOWNGRADED)


@pytest.mark.parametrize(
    ("regime", "reason"),
    [
        (RegimeCode.AUCTION, ReasonFlags.AUCTION),
        (RegimeCode.SCHEDULED_NEWS, ReasonFlags.SCHEDULED_NEWS),
        (RegimeCode.HALT, ReasonFlags.HALT),
    ],
)
def test_scheduled_regimes_name_themselves(regime: RegimeCode, reason: ReasonFlags) -> None:
    assert POLICY.resolve_request(request(), regime=regime).reasons & reason


def test_priors_come_from_the_tier() -> None:
    plain, quiet, bare = (POLICY.counterparty_index(name) for name in ("plain", "quiet", "bare"))
    assert tuple(POLICY.prior_fill_rate(index) for index in (plain, quiet, bare)) == (0.5, 0.25, None)
    assert POLICY.prior_fill_rate(None) == 0.25
    assert tuple(POLICY.prior_size_lots(plain, i) for i in (0, 1)) == (None, 12_500.0)
    assert (POLICY.prior_size_lots(bare, 1), POLICY.prior_size_lots(plain, 2)) == (None, None)


def test_not_good_data_by_desk() -> None:
    answers = {name: POLICY.answers_not_good(POLICY.desk_index(name)) for name in ("open", "shut", "none")}
    assert answers == {"open": True, "shut": False, "none": False}
    assert Policy(config(defaults={"not_good": "risk_averse"})).answers_not_good(None)


def test_instrument_settings_are_compiled() -> None:
    compiled = Policy(
        config(
            instruments=(
                instrument("BTC", reference="mid", stale={"gap_multiple": 7.0, "min": "2s", "max": "3s"}),
                instrument(
                    "ETH",
                    drivers=("BTC", {"numerator": "ETH", "denominator": "BTC"}),
                    volatility_index="VIX",
                    enabled=False,
                    warmup="5s",
                ),
            ),
            signals={"volatility_indices": ("DVOL", "VIX")},
        )
    )
    btc, eth = compiled.instrument_params(0), compiled.instrument_params(1)
    assert (btc["driver"], eth["driver"]) == ([[-1, -1], [-1, -1]], [[0, -1], [1, 0]])
    assert (btc["volatility_index"], eth["volatility_index"]) == (-1, 1)
    assert tuple(btc[f"stale_{k}"] for k in ("gap_multiple", "min_ns", "max_ns")) == (
        7.0,
        2_000_000_000,
        3_000_000_000,
    )
    assert (
        btc["reference"], eth["reference"], btc["enabled"], eth["enabled"], eth["warmup_ns"]
    ) == (1, 0, True, False, 5_000_000_000)  # fmt: skip
    with pytest.raises(IndexError):
        compiled.instrument_params(2)


def test_indices_do_not_depend_on_the_order_of_the_files() -> None:
    reordered = FULL | {"counterparties": dict(reversed(FULL["counterparties"].items()))}
    policy = Policy(config(**reordered))
    assert POLICY.counterparty_names == policy.counterparty_names == ("bare", "plain", "quiet", "special")
    assert POLICY.digest == policy.digest


def test_a_policy_refuses_what_the_loader_would() -> None:
    with pytest.raises(ConfigError, match=r"counterparties\.x\.tier: no tier 'gone'"):
        Policy(config(counterparties={"x": {"tier": "gone"}}))
