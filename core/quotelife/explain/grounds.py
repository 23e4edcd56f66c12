"""What a decision stands on beside the market."""

from dataclasses import dataclass

from quotelife.config.schema import PostureSettings
from quotelife.decision.policy import OverrideSpec, Policy
from quotelife.engine import Engine
from quotelife.instruments import InstrumentTable
from quotelife.model.curve import CurveModel
from quotelife.records import NO_INDEX_VALUE, DecisionRecord, PostureCode, RequestFlags, RequestRecord

POSTURE_KEYS = {
    PostureCode.CLIENT_PRIORITY: "client_priority",
    PostureCode.LIQUIDITY_PROVIDER: "liquidity_provider",
    PostureCode.RISK_AVERSE: "risk_averse",
}


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a decision stands on beside the market: immutable, so that a decision can be explained later."""

    policy: Policy
    model: CurveModel
    instruments: InstrumentTable
    overrides: tuple[OverrideSpec, ...] = ()
    config_digest: str = ""
    model_known: bool = True
    """False: ``model`` only stands in for the one that was used."""

    @classmethod
    def of(
        cls,
        engine: Engine,
        decision: DecisionRecord,
        *,
        config_digest: str = "",
        model_known: bool = True,
    ) -> "Grounds":
        """What is in force in ``engine`` for ``decision``. ``config_digest``: where its configuration is a part of
        another."""
        overrides = tuple(
            OverrideSpec(
                each.posture,
                each.expires_ns,
                _index(each.counterparty),
                _index(each.desk),
                _index(each.instrument),
                each.override_id,
            )
            for each in engine.overrides(-1)  # those too that have just expired: they say so
        )
        return cls(
            engine.policy,
            engine.model_of(decision),
            engine.instruments,
            overrides,
            config_digest or engine.policy.digest,
            model_known,
        )


def has_curve(decision: DecisionRecord) -> bool:
    """Was P drawn from features? Not where the data or the market decided before."""
    return bool(decision.model_role and decision.h_ticks > 0)


def package_curve(request: RequestRecord, decision: DecisionRecord) -> bool:
    """Is it a package whose curve came of its legs or of the residual, and not of a model?"""
    return bool(request.flags & RequestFlags.LAST_LEG and not decision.model_role and decision.h_ticks > 0)


def by_legs(request: RequestRecord) -> bool:
    """Is it a package that was judged by the curves of its legs?"""
    routes = RequestFlags.LAST_LEG | RequestFlags.ON_UNDERLYING | RequestFlags.RESIDUAL
    return request.flags & routes == RequestFlags.LAST_LEG


def settings_of(decision: DecisionRecord, grounds: Grounds) -> PostureSettings:
    """Those of the effective posture."""
    key = POSTURE_KEYS[PostureCode(decision.posture_effective)]
    settings: PostureSettings = getattr(grounds.policy.config.postures, key)
    return settings


def age_ns(request: RequestRecord, decision: DecisionRecord) -> int:
    """How long ago the quote was priced; a moment in the future counts as now."""
    return 0 if request.priced_at_ns is None else max(decision.now_ns - request.priced_at_ns, 0)


def _index(value: int) -> int | None:
    return None if value == NO_INDEX_VALUE else value
