"""Models and policies over labelled decisions: prediction scores, frontier, value a request, held tolerance.

Everything before the test slice serves to learn: the fixed life to beat and the loss given pick-off on the train slice,
what a watch is worth to expected value on the calibration slice. Curves are recalibrated as they are live, by labels
already resolved (``quotelife.learn.served``), over all slices in order of time. Lives come from the functions
that the engine runs; input weights and positions are left out. docs/backtest.md tells the figures.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.config.schema import (
    ClientPriority,
    HeldToleranceSettings,
    LiquidityProvider,
    PostureSettings,
    Recalibration,
    RiskAverse,
    ValueSettings,
)
from quotelife.decision.expected_value import ExpectedValue
from quotelife.decision.held_tolerance import FREE, SHORTEST, HeldTolerance
from quotelife.decision.life import PostureLife
from quotelife.errors import QuotelifeError
from quotelife.features.schema import INDEX
from quotelife.learn.bootstrap import block_of, means, weights
from quotelife.learn.dataset import Decisions, Floats, Longs, ReferencePath, check_together
from quotelife.learn.flow import LONGEST_NS, Flow, Met
from quotelife.learn.frontier import LEVELS, frontier
from quotelife.learn.labels import first_passage_ns
from quotelife.learn.loss_given_pickoff import Learned, learn
from quotelife.learn.scores import fit_platt, horizon_score, known
from quotelife.learn.served import FULL_DAY, recalibrated
from quotelife.learn.splits import (
    LONGEST_WINDOW_NS,
    ClockSplit,
    clock_split,
    fitted_on,
    levelled_on,
    purge_ns,
)
from quotelife.model.curve import CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.recalibration import ANCHORS_NS, UNKNOWN
from quotelife.records import HORIZONS_NS

MS = 1_000_000
S = 1_000_000_000
POSTURES: dict[str, type[PostureSettings]] = {
    "client_priority": ClientPriority,
    "liquidity_provider": LiquidityProvider,
    "risk_averse": RiskAverse,
}
MODES: dict[str, dict[str, str]] = {
    "tolerance p500": {"mode": "tolerance", "tolerance_source": "p500"},
    "tolerance curve": {"mode": "tolerance", "tolerance_source": "curve"},
    "step table": {"mode": "step"},
    "expected value": {"mode": "expected_value", "tolerance_source": "curve"},
}
STATIC_NS = tuple(each * MS for each in (25, 50, 100, 150, 250, 350, 500, 750, 1000, 1500, 2000, 3000, 5000))
WATCH_SHARES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.0)
HELD = HeldToleranceSettings()
RUN = 2000
CHUNK = 50_000
VOLATILITY = "volatility only"
IMBALANCE = "queue imbalance only"


def _flows() -> dict[str, Flow]:
    fast = Flow(name="fast client")
    slow = Flow(name="slow client", response_median_ns=1500 * MS)
    toxic = replace(slow, name="toxic slow client", informed_share=0.6, edge_in_h=0.25)
    cases = {}
    for flow in (fast, slow, toxic):
        cases[f"{flow.name}, marked at accept"] = flow
        cases[f"{flow.name}, walks away"] = replace(flow, walks_away=True)
    return cases


FLOWS = _flows()


@dataclass(frozen=True)
class Plan:
    """How one set is judged. ``rows_max`` thins what policies are judged on, evenly; scores take every row."""

    block_ns: int = 60 * S
    recalibration: Recalibration = FULL_DAY
    horizons_ns: tuple[int, ...] = (500 * MS, 1000 * MS, 2000 * MS, 5000 * MS)
    purge_ns: int = 10 * S
    rows_max: int = 24_000
    seed: int = 20260101
    held_life_min_ns: int = 0
    held_overconfidence: float = 3.0

    def __post_init__(self) -> None:
        least = 2 * max(self.horizons_ns)
        if self.block_ns < least:  # labels reach into the next block, so that blocks would not be independent
            raise ValueError(
                f"a bootstrap block must be {least / S:g} s or more, twice the longest horizon that is judged"
            )


@dataclass(frozen=True)
class Case:
    """Decisions of one instrument under one threshold, and the curves (n, 12) of each model, as served. ``ranks``:
    curves by which a model's AUC goes instead."""

    name: str
    threshold: str
    decisions: Decisions
    h_ticks: Floats
    passage_ns: Longs
    split: ClockSplit
    curves: dict[str, Floats]
    plan: Plan
    ranks: dict[str, Floats] = field(default_factory=dict)


def joined(pieces: Sequence[Decisions]) -> Decisions:
    """Pieces of one instrument in order of time as one; what lies between two paths is not known. ``DatasetError``
    where they do not go together."""
    check_together(pieces)
    if len(pieces) == 1:
        return pieces[0]
    paths = []
    for piece in pieces:
        good = piece.path.good.copy()
        good[-1:] = False
        paths.append(replace(piece.path, good=good))
    path = ReferencePath(
        *(
            np.concatenate([getattr(each, name) for each in paths])
            for name in ("time_ns", "mid_ticks", "microprice_ticks", "good")
        )
    )
    first = pieces[0]
    rows = ("now_ns", "side", "x", "sigma_ticks", "reference_ticks", "mid_ticks", "spread_ticks", "regime",
            "observed_ns", "h_ticks", "passage_ns")  # fmt: skip
    whole: dict[str, Any] = {k: np.concatenate([getattr(p, k) for p in pieces]) for k in rows}
    return replace(first, path=path, **whole)


def passages(decisions: Decisions, h_ticks: Floats) -> Longs:
    """First passages of any threshold."""
    d = decisions
    return first_passage_ns(
        d.path, d.reference, d.now_ns, d.side, d.reference_ticks, h_ticks,
        latency_ns=d.latency_ns, observed_ns=d.observed_ns,
    )  # fmt: skip


def model_curves(model: CurveModel, decisions: Decisions, h_ticks: Floats) -> Floats:
    """(n, 12) curves, first passage where the model has no answer, NaN where neither has."""
    out = np.empty((len(decisions), len(HORIZONS_NS)))
    fallback = FirstPassageModel()
    for start in range(0, len(decisions), CHUNK):
        rows = slice(start, start + CHUNK)
        h, sigma = h_ticks[rows], decisions.sigma_ticks[rows]
        x, valid = decisions.inputs(rows, h)
        p, answered = model.curves(x, valid, h, sigma)
        p[~answered] = fallback.curves(x[~answered], valid[~answered], h[~answered], sigma[~answered])[0]
        out[rows] = p
    return out


def hide_seen(curves: Floats, decisions: Decisions, model: CurveModel) -> Floats:
    """NaN for the rows that ``model`` was fitted on, as far as they lie before the test slice.

    What a model says of rows that its trees have seen is sharper than what it will say: recalibration would learn to
    sharpen it more, and a choice made there would trust it too much.
    """
    now = decisions.now_ns
    test_ns = clock_split(now, purge_ns=purge_ns(decisions.latency_ns)).cuts_ns[1]
    seen = np.zeros(len(now), dtype=bool)
    for _, start, end in fitted_on(model.manifest):
        seen |= (now >= start) & (now <= end)
    return np.where((seen & (now < test_ns))[:, None], np.nan, curves)


def seen_in_training(case: Case, models: Mapping[str, CurveModel]) -> dict[str, bool]:
    """Whether each was fitted or calibrated on a part of the test slice's time, whichever instrument it was."""
    start, end = case.split.cuts_ns[1], int(case.decisions.now_ns[-1])
    return {
        name: any(since <= end and until >= start for _, since, until in _learned_on(model))
        for name, model in models.items()
    }


def fitted_later(case: Case, models: Mapping[str, CurveModel]) -> dict[str, bool]:
    """Whether each was fitted or calibrated on what came after the test slice, which no live model could know."""
    end = int(case.decisions.now_ns[-1])
    return {name: any(until > end for _, _, until in _learned_on(model)) for name, model in models.items()}


def _learned_on(model: CurveModel) -> list[tuple[str, int, int]]:
    return fitted_on(model.manifest) + levelled_on(model.manifest)


def make_case(
    name: str, threshold: str, decisions: Decisions, h_ticks: Floats, models: Mapping[str, Floats], plan: Plan
) -> Case:
    """Split by the clock, and every model's curves (n, 12), NaN where there is none, recalibrated in order of time."""
    passage = passages(decisions, h_ticks)
    rolling = {**models, VOLATILITY: model_curves(FirstPassageModel(), decisions, h_ticks)}
    split = clock_split(
        decisions.now_ns, purge_ns=max(plan.purge_ns, purge_ns(decisions.latency_ns)), label=name
    )
    # Its level rolls like the others', for a fair skill; its AUC is its own, which a level that comes and goes blurs.
    ranks = {IMBALANCE: imbalance_curves(decisions, passage, split.train)}
    curves = {
        key: recalibrated(decisions, anchor_labels(decisions, passage), p, plan.recalibration)
        for key, p in (rolling | ranks).items()
    }
    return Case(name, threshold, decisions, h_ticks, passage, split, curves, plan, ranks)


def anchor_labels(decisions: Decisions, passage_ns: Longs) -> npt.NDArray[np.int8]:
    """(n, 2), what recalibration learns from: 1 passed by the anchor, 0 not, ``UNKNOWN``."""
    anchors = np.array(ANCHORS_NS, dtype=np.int64)
    seen = decisions.observed_ns[:, None] >= anchors
    return np.where(seen, passage_ns[:, None] <= anchors, UNKNOWN).astype(np.int8)


def scores(case: Case) -> list[dict[str, Any]]:
    """Each horizon: prevalence, and every model's figures on the labelled rows of the test slice."""
    d, plan = case.decisions, case.plan
    out = []
    for horizon_ns in plan.horizons_ns:
        k = HORIZONS_NS.index(horizon_ns)
        usable = known(d, horizon_ns)
        test = case.split.test[usable[case.split.test]]
        for p in case.curves.values():
            test = test[~np.isnan(p[test, k])]
        hit = case.passage_ns <= horizon_ns
        models = [
            {"model": name, "log_loss": _log_loss(p[test, k], hit[test]),
             **horizon_score(p[test, k], hit[test], d.now_ns[test], block_ns=plan.block_ns, seed=plan.seed,
                             rank=case.ranks.get(name, p)[test, k])}
            for name, p in case.curves.items()
        ]  # fmt: skip
        out.append(
            {
                "horizon_ns": horizon_ns,
                "rows": len(test),
                "prevalence": float(hit[test].mean()) if len(test) else None,
                "models": models,
            }
        )
    return out


def _log_loss(p: Floats, hit: Any) -> float | None:
    if len(hit) == 0:
        return None
    q = np.clip(p, 1e-12, 1.0 - 1e-12)
    return float(-np.where(hit, np.log(q), np.log1p(-q)).mean())


def imbalance_curves(d: Decisions, passage_ns: Longs, train: Longs) -> Floats:
    """(n, 12) curves of the queue imbalance alone, Platt's two parameters a horizon from the train slice."""
    z = np.nan_to_num(d.x[:, INDEX["queue_imbalance"]].astype(np.float64))
    p = np.empty((len(z), len(HORIZONS_NS)))
    for k, horizon_ns in enumerate(HORIZONS_NS):
        fit = train[known(d, horizon_ns)[train]]
        a, b = fit_platt(z[fit], passage_ns[fit] <= horizon_ns)
        p[:, k] = 1.0 / (1.0 + np.exp(-(a + b * z)))
    return np.maximum.accumulate(p, axis=1)


def policy_rows(case: Case, part: Longs, models: Sequence[str]) -> Longs:
    """The rows of a slice that policies can be judged on: observed to the end, with a threshold and a curve of every
    model, thinned."""
    keep = (case.decisions.observed_ns[part] >= LONGEST_NS) & (case.h_ticks[part] > 0.0)
    for name in models:
        keep &= ~np.isnan(case.curves[name][part, 0])
    rows = part[keep]
    return rows[:: max(1, -(-len(rows) // case.plan.rows_max))]


def judged_rows(case: Case, models: Sequence[str]) -> Longs:
    """``policy_rows`` of the test slice; ``QuotelifeError`` where there are none, or none on the train slice, by which
    the fixed life is chosen."""
    rows = policy_rows(case, case.split.test, models)
    for name, found in (("test", rows), ("train", policy_rows(case, case.split.train, []))):
        if len(found) == 0:
            raise QuotelifeError(
                f"{case.name}: no policy can be judged: no decision of the {name} slice has its path known for "
                f"{LONGEST_NS / S:g} s and a curve of each model; record for longer, without holes"
            )
    return rows


def meet(case: Case, rows: Longs, flow: Flow) -> Met:
    return flow.meet(case.decisions[rows], case.h_ticks[rows], seed=case.plan.seed)


def _settings(**keys: Any) -> PostureLife:
    return PostureLife(
        PostureSettings.model_validate({"tolerance": 0.5, "life_min": "1ms", "life_max": "5s", **keys})
    )


def free_posture() -> PostureLife:
    """Expected value on its own: no tolerance, no bounds but those of the curve."""
    return _settings(**MODES["expected value"])


def families(
    met: Met, p: Floats, learned: Learned
) -> dict[str, tuple[Callable[[float], Longs], float, float]]:
    """Each policy as a family of lives, with the range of its parameter: a tolerance, a scale, or 1/λ."""
    by_value = _settings(**MODES["expected value"])
    tolerances = {name: _settings(**MODES[name]) for name in ("tolerance p500", "tolerance curve")}
    risky = p[:, HORIZONS_NS.index(500 * MS)] >= 0.02

    def value(parameter: float) -> Longs:
        terms = ValueSettings().model_copy(update={"pick_off_weight": 1.0 / parameter})
        return value_lives(met, p, by_value, terms, learned, 1.0, 1.0)

    def step(scale: float) -> Longs:
        return np.where(risky, 100 * MS * scale, 750 * MS * scale).clip(max=LONGEST_NS).astype(np.int64)

    out: dict[str, tuple[Callable[[float], Longs], float, float]] = {"expected value": (value, 1e-4, 100.0)}
    for name, posture in tolerances.items():
        out[name] = (lambda a, posture=posture: posture.choose(p, alpha=a).life_ns, 1e-6, 0.999)  # type: ignore[misc]
    return out | {"step table": (step, 0.1, 50.0)}


def frontiers(case: Case, models: Sequence[str]) -> list[dict[str, Any]]:
    """Pick-offs against a fixed life at equal fill, of every policy over every model, on the test slice."""
    rows = judged_rows(case, models)
    flow = FLOWS["fast client, marked at accept"]
    met, learned = meet(case, rows, flow), learn(meet(case, policy_rows(case, case.split.train, []), flow))
    block = block_of(met.decisions.now_ns, case.plan.block_ns)
    out = []
    for model in models:
        for policy, (family, low, high) in families(met, case.curves[model][rows], learned).items():
            for row in frontier(met, family, low, high, block, seed=case.plan.seed, levels=LEVELS):
                out.append(
                    {
                        "model": model,
                        "policy": policy,
                        "fill": row["fill"],
                        "pickoffs": row["policy"],
                        "static_pickoffs": row["static"],
                        "change": row["change"],
                        "interval": row["interval"],
                    }
                )
    return out


def best_static(met: Met, *, withdraw: bool) -> int:
    """The fixed life of the largest value a request; the shortest of several."""
    n = len(met.decisions)
    worth = [
        met.settle(np.full(n, life, dtype=np.int64), withdraw=withdraw).value_in_h.mean()
        for life in STATIC_NS
    ]
    return STATIC_NS[int(np.argmax(worth))]


def value_lives(
    met: Met, p: Floats, posture: PostureLife, terms: ValueSettings, learned: Learned, watched: float,
    alpha: float | None,
) -> Longs:  # fmt: skip
    """Lives by expected value. ``watched``: the share of losses, to the informed and to benign takers who follow the
    price, that a watch is counted on to leave."""
    tier = met.flow.tier(loss_in_h=learned.loss_in_h, adverse_share=learned.adverse_share * watched)
    chosen = terms.model_copy(
        update={"pick_off_weight": terms.pick_off_weight * watched, "inventory_weight": 0.0}
    )
    return posture.choose_by_value(
        p, ExpectedValue(tier, chosen), edge_ticks=met.edge_ticks, h_ticks=met.h_ticks, alpha=alpha
    ).life_ns


def watch_share(met: Met, p: Floats, learned: Learned) -> float:
    """Which of ``WATCH_SHARES`` brings most with a withdrawal: life and withdrawal are one optimisation."""
    free = free_posture()
    worth = [
        met.settle(value_lives(met, p, free, ValueSettings(), learned, share, 1.0), withdraw=True)
        .value_in_h.mean()
        for share in WATCH_SHARES
    ]  # fmt: skip
    return WATCH_SHARES[int(np.argmax(worth))]


def values(
    case: Case, model: str, *, progress: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """Value a request in h: every mode and posture and fixed lives, without and with withdrawal, for each flow.

    ``over_static`` is over the fixed life under the same watch, ``over_unwatched`` over the fixed life without one; the
    intervals are of the differences, request by request.
    """
    plan, p = case.plan, case.curves[model]
    rows = judged_rows(case, [model])
    train = policy_rows(case, case.split.train, [])
    tune = policy_rows(case, case.split.calibrate, [model])[::2]
    risk = p[rows, HORIZONS_NS.index(500 * MS)]
    top = risk >= np.quantile(risk, 0.9)
    slices = {"all": np.ones(len(rows), bool), "top risk decile": top}
    block = block_of(case.decisions.now_ns[rows], plan.block_ns)
    draws = weights(int(block.max()) + 1, seed=plan.seed)
    step = _settings(mode="step")
    out = []
    for name, flow in FLOWS.items():
        progress(f"{case.name}: value, {name}")
        past, met = meet(case, train, flow), meet(case, rows, flow)
        learned = learn(past)
        share = watch_share(meet(case, tune, flow), p[tune], learned) if len(tune) else 1.0
        unwatched: Floats = np.empty(0)
        for withdraw in (False, True):
            static_ns = best_static(past, withdraw=withdraw)
            lives: dict[str, Longs] = {
                "static best": np.full(len(rows), static_ns, dtype=np.int64),
                "static 2 s": np.full(len(rows), 2000 * MS, dtype=np.int64),
                "step 100/750 ms": step.choose(p[rows]).life_ns,
                "expected value": value_lives(
                    met, p[rows], _settings(**MODES["expected value"]), ValueSettings(), learned,
                    share if withdraw else 1.0, 1.0,
                ),
            }  # fmt: skip
            for mode, keys in MODES.items():
                for posture, base in POSTURES.items():
                    settings = base.model_validate(keys)
                    compiled = PostureLife(settings)
                    lives[f"{mode}, {posture}"] = (
                        value_lives(
                            met, p[rows], compiled, settings.value, learned, share if withdraw else 1.0, None
                        )
                        if settings.mode == "expected_value"
                        else compiled.choose(p[rows]).life_ns
                    )
            settled = {policy: met.settle(life, withdraw=withdraw) for policy, life in lives.items()}
            base_line = settled["static best"].value_in_h
            if not withdraw:
                unwatched = base_line
            for part, inside in slices.items():
                for policy, got in settled.items():
                    worth = got.value_in_h
                    columns = np.column_stack([worth, worth - base_line, worth - unwatched])
                    value, over, over_unwatched = means(columns, inside, block, draws)
                    out.append(
                        {
                            "case": name,
                            "slice": part,
                            "policy": policy + (" + withdrawal" if withdraw else ""),
                            "value": value[0],
                            "interval": value[1],
                            "over_static": over[0],
                            "over_static_interval": over[1],
                            "over_unwatched": over_unwatched[0],
                            "over_unwatched_interval": over_unwatched[1],
                            "fill": float(got.fill[inside].mean()),
                            "pickoffs": float(got.picked[inside].mean()),
                            "declined": float((lives[policy][inside] == 0).mean()),
                            "static_life_ns": static_ns,
                            "loss_in_h": learned.loss_in_h,
                            "adverse_share": learned.adverse_share,
                            "watch_share": share,
                        }
                    )
    return out


def outcomes(case: Case, model: str) -> dict[str, Any]:
    """Single outcomes and mean markouts of the flow that meets expected value lives on the test slice."""
    rows = judged_rows(case, [model])
    flow = FLOWS["fast client, marked at accept"]
    met, learned = meet(case, rows, flow), learn(meet(case, policy_rows(case, case.split.train, []), flow))
    found: dict[str, Any] = {}
    for posture, base in POSTURES.items():
        settings = base.model_validate(MODES["expected value"])
        life = value_lives(
            met, case.curves[model][rows], PostureLife(settings), settings.value, learned, 1.0, None
        )
        for withdraw in (False, True):
            sampled = met.sample(life, withdraw=withdraw)
            marks = sampled.markout_ticks / met.h_ticks[:, None]
            traded = {
                kind: (sampled.outcome == code)[:, None] & np.isfinite(marks)
                for kind, code in (("filled", 0), ("picked_off", 1))
            }
            found[posture + (" + withdrawal" if withdraw else "")] = {
                **sampled.counts(),
                "markout_in_h": {
                    kind: [float(marks[mask[:, k], k].mean()) if mask[:, k].any() else None for k in range(4)]
                    for kind, mask in traded.items()
                },
            }
    return found


def worst_run(hit: Any, run: int = RUN) -> float | None:
    """The largest share of hits over ``run`` labelled decisions in a row; none where there are fewer."""
    if len(hit) < run:
        return None
    total = np.concatenate([[0], np.cumsum(np.asarray(hit, dtype=np.int64))])
    return float((total[run:] - total[:-run]).max()) / run


def held_tolerance(case: Case, model: str, terms: HeldToleranceSettings = HELD) -> list[dict[str, Any]]:
    """Realised shares with and without the held tolerance, for the model and for an overconfident one, on the test
    slice.

    With ``held_life_min_ns`` shorter lives are declined, so that none has a label that the feed cannot tell.
    ``worst_2000`` is over decisions whose life the tolerance decided, after a warm-up of 2,000; ``worst_2000_all`` over
    all that were granted, those at the shortest life too.
    """
    d, plan = case.decisions, case.plan
    rows = case.split.test[~np.isnan(case.curves[model][case.split.test, 0])]
    passage = np.minimum(case.passage_ns[rows], np.iinfo(np.int64).max // 2)
    out = []
    for posture, base in POSTURES.items():
        settings = base.model_validate({})
        if plan.held_life_min_ns:
            shorter = {"life_min_ns": plan.held_life_min_ns, "below_minimum": "decline"}
            settings = settings.model_copy(update=shorter)
        compiled = PostureLife(settings)
        for label, scale in (
            (model, 1.0),
            (f"{model}, P / {plan.held_overconfidence:g}", plan.held_overconfidence),
        ):
            p = case.curves[model][rows] / scale
            for held in (False, True):
                # A rate of nearly 0 leaves the tolerance where it stands: one code for both.
                target, rate = (terms.target, terms.rate) if held else (1.0, 1e-300)
                lives = HeldTolerance(settings.tolerance * target, rate).lives(
                    compiled,
                    d.now_ns[rows],
                    p,
                    passage,
                    d.observed_ns[rows],
                    latency_ns=d.latency_ns,
                    heard_ns=d.path.time_ns[d.path.good],
                )
                granted = (lives.life_ns > 0) & (lives.hit >= 0)
                free = granted & (lives.by == FREE)
                after = lives.hit[free][RUN:]
                out.append(
                    {
                        "posture": posture,
                        "alpha": settings.tolerance,
                        "held": held,
                        "rate": rate if held else None,
                        "target": target if held else None,
                        "model": label,
                        "decisions": int(free.sum()),
                        "realised": float(lives.hit[free].mean()) if free.any() else None,
                        "worst_2000": worst_run(after),
                        "realised_all": float(lives.hit[granted].mean()) if granted.any() else None,
                        "worst_2000_all": worst_run(lives.hit[granted][RUN:]),
                        "bound_limited": int((granted & (lives.by == SHORTEST)).sum()),
                        "declined": int((lives.life_ns == 0).sum()),
                        "mean_life_ms": float(lives.life_ns.mean() / MS),
                    }
                )
    return out


def lives_over_time(case: Case, model: str, points: int = 800) -> dict[str, Any]:
    """Lives of the three postures beside price and regime, at a few moments of the test slice, the desk buying."""
    d = case.decisions
    rows = case.split.test[(d.side[case.split.test] > 0) & ~np.isnan(case.curves[model][case.split.test, 0])]
    rows = rows[:: max(1, -(-len(rows) // points))]
    return {
        "time_ns": d.now_ns[rows].tolist(),
        "mid": (d.mid_ticks[rows] * d.tick_size).tolist(),
        "regime": d.regime[rows].tolist(),
        "sigma_ticks": [None if np.isnan(s) else float(s) for s in d.sigma_ticks[rows]],
        "life_ms": {
            posture: (
                PostureLife(base.model_validate({})).choose(case.curves[model][rows]).life_ns / MS
            ).tolist()
            for posture, base in POSTURES.items()
        },
    }


def judge(
    case: Case, model: str, models: Sequence[str], *, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """All figures of a case. ``model`` decides lives and value; ``models`` have a frontier each."""
    d, split, plan = case.decisions, case.split, case.plan
    progress(f"{case.name}: scores")
    horizons = scores(case)
    progress(f"{case.name}: frontier")
    front = frontiers(case, models)
    value = values(case, model, progress=progress)
    progress(f"{case.name}: held tolerance")
    first, last = int(d.now_ns[0]), int(d.now_ns[-1])
    return {
        "name": case.name,
        "instrument": d.instrument,
        "reference": d.reference,
        "h": case.threshold,
        "h_ticks": float(np.nanmedian(case.h_ticks)),
        "latency_ns": d.latency_ns,
        "model": model,
        "split": {
            "train": [first, split.cuts_ns[0]],
            "calibrate": [split.cuts_ns[0], split.cuts_ns[1]],
            "test": [split.cuts_ns[1], last],
            "purge_ns": plan.purge_ns,
            "longest_window_ns": LONGEST_WINDOW_NS,
        },
        "rows": len(split.test),
        "block_s": plan.block_ns / S,
        "horizons": horizons,
        "frontier": front,
        "value": value,
        "outcomes": outcomes(case, model),
        "held_tolerance": held_tolerance(case, model),
        "lives": lives_over_time(case, model),
    }
