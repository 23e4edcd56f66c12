"""The promotion gates: may a challenger take the champion's place? Each has a figure, a bound, a reason.

Both models are judged on the same decisions, all later than what either was fitted on, and as they would be served:
each under its own rolling recalibration. Differences are challenger minus champion, so below 0 is better, in units of
what the base rate alone would score: −.01 is a hundredth of all there is to explain. Their intervals come from a block
bootstrap, because neighbouring decisions see the same market.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.bench import time_clock, time_decisions, time_engine
from quotelife.config import Config, load_config
from quotelife.config.schema import PromotionMarket, Recalibration
from quotelife.engine import Engine
from quotelife.errors import ArtifactError, QuotelifeError
from quotelife.features.schema import NAMES, SCHEMA_HASH
from quotelife.learn.bootstrap import weights
from quotelife.learn.dataset import Decisions, Floats, Longs, check_together
from quotelife.learn.hazard_fit import calibration_error, reliability
from quotelife.learn.served import ANCHOR_AT, FULL_DAY, recalibrated
from quotelife.learn.splits import SplitError, purge_ns, seen_until_ns
from quotelife.model.artifact import check_curves, check_selftest
from quotelife.model.curve import UNMIRRORED, CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.lineup import POSTURES
from quotelife.model.promotion import FORMAT
from quotelife.records import HORIZONS_NS, EventBuffer, RequestRecord
from quotelife.sim.events import EventWriter
from quotelife.sim.market import BTC, MarketConfig, MarketSimulator

MS, S = 1_000_000, 1_000_000_000
SHORT_NS, LONG_NS = 500 * MS, 2000 * MS
MARKETS: dict[PromotionMarket, dict[int, float]] = {
    "full_day": {SHORT_NS: 0.004, LONG_NS: 0.01},
    "crypto": {SHORT_NS: 0.05, LONG_NS: 0.05},
}
"""Targets of calibration by horizon in ns."""
BLOCK_NS: dict[PromotionMarket, int] = {"full_day": 60 * S, "crypto": 10 * S}
"""Length of a block of the bootstrap: shorter ones make the intervals narrower."""
TO_YARDSTICK, TO_CHAMPION, LEVEL = 5.0, 10.0, 0.95
P_LEAST = 1e-9  # what log loss takes for a probability of 0
DECISIONS_TIMED, ROUNDS, SIMULATED_S = 4000, 5, 60
CHECKED_ROWS = 2000
H_FACTORS = (0.5, 0.8, 1.0, 1.25, 2.0, 4.0)
CHUNK = 50_000
BLOCKS_LEAST = 30
BLOCK_LEAST_NS = 2 * HORIZONS_NS[-1]
NORMAL = statistics.NormalDist()
Hits = npt.NDArray[np.bool_]
Loss = Callable[[Floats, Hits], Floats]
ROUNDING = (
    1e-12  # relative: the last place of a logit may turn over between two thresholds that ask the same leaves
)


class GatesError(QuotelifeError):
    """The gates cannot judge: what is missing, and the mend."""


@dataclass(frozen=True)
class Bounds:
    """What a challenger must reach. Horizons in ns.

    A decision by first passage takes about 1 µs where the budget is 5 µs, hence ``decision_to_yardstick``.
    ``market``: whose targets of calibration and blocks these are held against.
    """

    ece: tuple[tuple[int, float], ...] = tuple(MARKETS["full_day"].items())
    decision_to_yardstick: float = TO_YARDSTICK
    decision_to_champion: float = TO_CHAMPION
    block_ns: int = BLOCK_NS["full_day"]
    recalibration: Recalibration = FULL_DAY
    level: float = LEVEL
    seed: int = 20260101
    market: PromotionMarket = "full_day"

    def __post_init__(self) -> None:
        if (
            self.block_ns < BLOCK_LEAST_NS
        ):  # labels reach into the next block, so that blocks would not be independent
            raise GatesError(
                f"block: must be {BLOCK_LEAST_NS / 1e9:g} s or more, twice the longest label; record for longer where "
                "there are too few blocks"
            )

    @property
    def loosened(self) -> tuple[str, ...]:
        """In words, each bound that is wider than it is for ``market``: a promotion asks for a reason."""
        own = dict(self.ece)
        out = [
            f"ece_{_ms(ns)} at most {own.get(ns, math.inf):g} instead of {target:g}"
            for ns, target in MARKETS[self.market].items()
            if own.get(ns, math.inf) > target
        ]
        for name, value, most in (
            ("latency_yardstick", self.decision_to_yardstick, TO_YARDSTICK),
            ("latency_champion", self.decision_to_champion, TO_CHAMPION),
        ):
            if value > most:
                out.append(f"{name} at most {value:g} instead of {most:g}")
        if self.block_ns < (least := BLOCK_NS[self.market]):
            out.append(f"blocks of {self.block_ns / S:g} s instead of {least / S:g} s")
        if self.level < LEVEL:
            out.append(f"intervals of {self.level:g} instead of {LEVEL:g}")
        return tuple(out)


@dataclass(frozen=True)
class Gate:
    """``bound`` is what ``figure`` may at most be, unless the reason says otherwise; none where there is no number."""

    name: str
    passed: bool
    figure: float | None
    bound: float | None
    reason: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Asked:
    """What of one instrument was judged: decisions, blocks with an outcome at the longer horizon, and the time of the
    first and the last decision. ``asked``: there was enough of it to see whether the challenger is worse there.
    """

    instrument: str
    rows: int
    blocks: int
    from_ns: int
    to_ns: int
    asked: bool


@dataclass(frozen=True)
class Verdict:
    """All gates, in the order in which they were asked. ``market``: by whose bounds; ``loosened``: what was asked less
    than is usual there, in words.
    ``postures``: those that it is for; ``at``: when it was given, by ISO 8601, which whoever asks must say.
    """

    challenger: str
    champion: str
    rows: int
    gates: tuple[Gate, ...]
    market: PromotionMarket = "full_day"
    loosened: tuple[str, ...] = ()
    instruments: tuple[Asked, ...] = ()
    recalibration: Recalibration = FULL_DAY
    postures: tuple[str, ...] = tuple(posture.name.lower() for posture in POSTURES)
    at: str = ""

    @property
    def promoted(self) -> bool:
        return all(gate.passed for gate in self.gates)

    def as_json(self) -> dict[str, Any]:
        gates = [
            {key: value for key, value in asdict(gate).items() if value is not None} for gate in self.gates
        ]
        return {
            "format": FORMAT,
            "promoted": self.promoted,
            "challenger": self.challenger,
            "champion": self.champion,
            "rows": self.rows,
            "market": self.market,
            "loosened": list(self.loosened),
            "instruments": [asdict(each) for each in self.instruments],
            "recalibration": self.recalibration.model_dump(mode="json"),
            "postures": list(self.postures),
            "at": self.at,
            "gates": gates,
        }


@dataclass(frozen=True)
class Judged:
    """n decisions of one market and threshold: curves (n, 12) as served, and outcome (n, 12): 1, 0, −1 unknown."""

    market: str
    now_ns: Longs
    champion: Floats
    challenger: Floats
    outcome: npt.NDArray[np.int8]


def check(
    challenger: CurveModel,
    champion: CurveModel,
    decisions: Sequence[Decisions],
    bounds: Bounds | None = None,
    *,
    thresholds: Sequence[str] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> Verdict:
    """The verdict on ``challenger``. ``decisions``: each one instrument in order of time. ``thresholds``: only these of
    those stored; none: all. ``GatesError`` when there is nothing to judge on.
    """
    bounds = bounds or Bounds()
    loosened = list(bounds.loosened)
    left = sorted({name for each in decisions for name in each.thresholds} - set(thresholds))
    if thresholds and left:
        loosened.append(f"thresholds left out: {', '.join(left)}")
    made_up = sorted({each.instrument for each in decisions if each.simulated})
    if made_up:
        loosened.append(f"judged on simulated decisions of {', '.join(made_up)}")
    decisions = [with_thresholds(each, thresholds) for each in decisions]
    for name in dict.fromkeys(each.instrument for each in decisions):
        own = [each for each in decisions if each.instrument == name and len(each)]
        check_together(sorted(own, key=lambda each: int(each.now_ns[0])))
    if challenger.digest == champion.digest:
        raise GatesError("the challenger is the champion: name another artifact")
    later = unseen(decisions, (challenger, champion))
    judged: list[Judged] = []
    of: dict[str, list[Judged]] = {each.instrument: [] for each in later}
    for each in later:
        for place, name in enumerate(each.thresholds or ("",) * each.h_ticks.shape[1]):
            progress(f"curves of {each.instrument} {name}")
            judged.append(served(challenger, champion, each, place, bounds))
            of[each.instrument].append(judged[-1])
    gates = [*skill(judged, bounds), *calibration(judged, bounds)]
    progress("timing decisions")
    gates += latency(challenger, champion, bounds)
    progress("invariants")
    gates += invariants(challenger, later)
    return Verdict(
        challenger.digest,
        champion.digest,
        sum(len(each.now_ns) for each in judged),
        tuple(gates),
        bounds.market,
        tuple(loosened),
        tuple(
            asked(name, [each for each in later if each.instrument == name], of[name], bounds) for name in of
        ),
        bounds.recalibration,
    )


def asked(instrument: str, decisions: Sequence[Decisions], judged: Sequence[Judged], bounds: Bounds) -> Asked:
    """What was judged of one instrument; asked where at each horizon one of its thresholds could be."""
    loss = LOSSES["log_loss"][0]
    places = [HORIZONS_NS.index(ns) for ns, _ in bounds.ece]
    enough = all(
        any(
            _enough(_sums([each], k, loss, _blocks([each], [k], bounds.block_ns), bounds.block_ns))
            for each in judged
        )
        for k in places
    )
    return Asked(
        instrument,
        sum(map(len, decisions)),
        len(_blocks(judged, [max(places)], bounds.block_ns)),
        min(int(each.now_ns[0]) for each in decisions),
        max(int(each.now_ns[-1]) for each in decisions),
        enough,
    )


def unseen(decisions: Sequence[Decisions], models: Sequence[CurveModel]) -> list[Decisions]:
    """The decisions after all that the ``models`` were fitted on, and the purge. ``GatesError`` when there are none."""
    try:
        until, latest = max(
            ((seen_until_ns(model.manifest), model) for model in models), key=lambda found: found[0]
        )
    except SplitError as error:
        raise GatesError(str(error)) from None
    found = []
    for each in decisions:
        rows = each.now_ns > until + (purge_ns(each.latency_ns) if until else 0)
        if rows.any():
            found.append(each[rows])
    if not found:
        raise GatesError(
            f"no decision of {', '.join(dict.fromkeys(each.instrument for each in decisions))} lies after "
            f"{datetime.fromtimestamp(until / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC, until when {latest.name} was fitted"
            f"{_on(latest)}; record more, label it, and name that dataset; where these decisions are from before that "
            "time and can only be judged so, promote for a reason (--force REASON)"
        )
    return found


def _on(model: CurveModel) -> str:
    training = (model.manifest or {}).get("training") or {}
    names = dict.fromkeys(str(each["instrument"]) for each in training.get("instruments", ()))
    return f" on {', '.join(names)}" if names else ""


def with_thresholds(decisions: Decisions, wanted: Sequence[str]) -> Decisions:
    """The decisions with only those of their thresholds; all where none is named. ``GatesError`` for one not stored."""
    if not wanted:
        return decisions
    for name in wanted:
        if name not in decisions.thresholds:
            raise GatesError(
                f"{decisions.instrument}: threshold {name!r} is not stored; there are: "
                + ", ".join(decisions.thresholds)
            )
    at = [decisions.thresholds.index(name) for name in wanted]
    return replace(
        decisions,
        h_ticks=decisions.h_ticks[:, at],
        passage_ns=decisions.passage_ns[:, at],
        thresholds=tuple(wanted),
    )


def served(
    challenger: CurveModel, champion: CurveModel, decisions: Decisions, place: int, bounds: Bounds
) -> Judged:
    """Both models' curves on the rows with a threshold, each under its own rolling recalibration where that is on."""
    rows = np.flatnonzero(decisions.h_ticks[:, place] > 0.0)
    part = decisions[rows]
    outcome = np.stack([part.outcome(ns, place) for ns in HORIZONS_NS], axis=1)
    curves = [
        recalibrated(part, outcome[:, ANCHOR_AT], raw_curves(model, part, place), bounds.recalibration)
        for model in (challenger, champion)
    ]
    name = f"{part.instrument} {part.thresholds[place]}" if part.thresholds else part.instrument
    return Judged(name, part.now_ns, curves[1], curves[0], outcome)


def raw_curves(model: CurveModel, decisions: Decisions, place: int) -> Floats:
    """(n, 12), by first passage where the model has no answer, as the engine does; NaN where that has none either."""
    out = np.empty((len(decisions), len(HORIZONS_NS)))
    fallback = FirstPassageModel()
    for start in range(0, len(decisions), CHUNK):
        rows = slice(start, start + CHUNK)
        h, sigma = decisions.h_ticks[rows, place], decisions.sigma_ticks[rows]
        x, valid = decisions.inputs(rows, h)
        p, answered = model.curves(x, valid, h, sigma)
        if not answered.all():
            lacking = ~answered
            other, known = fallback.curves(x[lacking], valid[lacking], h[lacking], sigma[lacking])
            p[lacking] = np.where(known[:, None], other, np.nan)
        out[rows] = p
    return out


def skill(judged: Sequence[Judged], bounds: Bounds) -> list[Gate]:
    """Better in log loss and in Brier score, both horizons together, outside the interval; at neither one worse, and on
    no market and threshold."""
    horizons = [ns for ns, _ in bounds.ece]
    out: list[Gate] = []
    worse: list[Gate] = []
    # One index of blocks and one draw of them for both horizons: their errors go together, and are added together.
    index = _blocks(judged, [HORIZONS_NS.index(ns) for ns in horizons], bounds.block_ns)
    drawn_blocks = weights(len(index), seed=bounds.seed) if len(index) else np.zeros((0, 0))
    for name, (loss, base) in LOSSES.items():
        point, drawn = 0.0, np.zeros(1)
        for ns in horizons:
            k = HORIZONS_NS.index(ns)
            held = _sums(judged, k, loss, index, bounds.block_ns)
            count, hits, total = held.sum(axis=0)
            if not _enough(held):
                raise GatesError(
                    f"{_ms(ns)}: {_filled(held)} blocks of {bounds.block_ns / 1e9:g} s with {hits:.0f} passages of "
                    f"{count:.0f} decisions say nothing; at least {BLOCKS_LEAST} blocks and both outcomes are needed: "
                    "record for longer"
                )
            scale = base(hits / count)
            draws = drawn_blocks @ held
            this = draws[:, 2] / draws[:, 0] / scale
            point += total / count / scale / len(horizons)
            drawn = drawn + this / len(horizons)
            if name == "log_loss":
                reach = _reach(this, bounds.level)
                fine = reach[0] <= 0.0
                words = "not shown to be worse" if fine else "worse, outside the interval"
                said = f"{_ms(ns)}: log loss {total / count / scale:+.4f} of the base rate's, {words}"
                worse.append(Gate(f"not_worse_{_ms(ns)}", fine, reach[0], 0.0, said, reach))
        reach = _reach(drawn, bounds.level)
        better = reach[1] < 0.0
        words = "beats the champion" if better else "does not beat the champion outside its interval"
        said = f"upper end {reach[1]:+.4f}: {words}"
        out.append(Gate(f"beats_champion_{name}", better, point, 0.0, said, reach))
    return [*out, *worse, _each_market(judged, horizons, bounds)]


def _each_market(judged: Sequence[Judged], horizons: Sequence[int], bounds: Bounds) -> Gate:
    """Is it worse in log loss on one market and threshold at one horizon, which a gain on the others would hide?

    All of them are asked at once, so a loss counts where Holm's step-down test (1979) rejects at the tail of
    ``bounds.level``: one-sided, from the normal law with the standard error of the block bootstrap. The figure is the
    lower end of the difference that is surest to be a loss, at the level that Holm asks of the first.
    """
    found: list[tuple[float, float, float, str]] = []
    silent = 0
    for ns in horizons:
        k = HORIZONS_NS.index(ns)
        for market in dict.fromkeys(each.market for each in judged):
            own = [each for each in judged if each.market == market]
            index = _blocks(own, [k], bounds.block_ns)
            held = _sums(own, k, LOSSES["log_loss"][0], index, bounds.block_ns)
            count, hits, total = held.sum(axis=0)
            if not _enough(held):
                silent += 1
                continue
            draws = weights(len(held), seed=bounds.seed) @ held
            scale = LOSSES["log_loss"][1](hits / count)
            mean, error = total / count / scale, float(np.std(draws[:, 2] / draws[:, 0])) / scale
            p = 1.0 - NORMAL.cdf(mean / error) if error > 0.0 else float(mean <= 0.0)
            found.append((p, mean, error, f"{market} at {_ms(ns)}"))
    found.sort()
    tail = (1.0 - bounds.level) / 2.0
    losses = []
    for place, (p, mean, _, where) in enumerate(found):
        if p > tail / (len(found) - place):
            break
        losses.append(f"{where} {mean:+.4f}")
    untold = f"; {silent} with too few blocks or one outcome only were not asked" if silent else ""
    if not found:
        return Gate("no_market_worse", True, None, None, f"pooled alone can be judged{untold}")
    _, mean, error, where = found[0]
    lower = mean + NORMAL.inv_cdf(tail / len(found)) * error
    said = (
        f"worse at {', '.join(losses)}" if losses else f"surest: {where} {mean:+.4f}, not shown to be worse"
    )
    return Gate(
        "no_market_worse", not losses, lower, 0.0, f"{said} (Holm over {len(found)}, log loss){untold}"
    )


def _blocks(judged: Sequence[Judged], places: Sequence[int], block_ns: int) -> Longs:
    """Blocks that hold a usable decision at one of the horizons ``places``, in order."""
    found = [each.now_ns[usable(each, k)] // block_ns for each in judged for k in places]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)


def _filled(held: Floats) -> int:
    return int((held[:, 0] > 0).sum())


def _enough(held: Floats) -> bool:
    """Do sums by block say anything: enough blocks with a decision, and both outcomes?"""
    count, hits, _ = held.sum(axis=0)
    return _filled(held) >= BLOCKS_LEAST and bool(0 < hits < count)


def _sums(judged: Sequence[Judged], k: int, loss: Loss, index: Longs, block_ns: int) -> Floats:
    """(blocks, 3), for each block of ``index``: decisions, passages at horizon ``k``, challenger's loss less the
    champion's."""
    rows = [usable(each, k) for each in judged]
    block = np.concatenate([each.now_ns[at] // block_ns for each, at in zip(judged, rows, strict=True)])
    hit = np.concatenate([each.outcome[at, k] == 1 for each, at in zip(judged, rows, strict=True)])
    mine, other = (
        np.concatenate([getattr(each, name)[at, k] for each, at in zip(judged, rows, strict=True)])
        for name in ("challenger", "champion")
    )
    place = np.searchsorted(index, block)
    columns = (np.ones(len(hit)), hit, loss(mine, hit) - loss(other, hit))
    return np.stack([np.bincount(place, each, minlength=len(index)) for each in columns], axis=1)


def _reach(drawn: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def usable(judged: Judged, k: int) -> Longs:
    """Rows whose label at horizon ``k`` is known and that both models answer."""
    return np.flatnonzero(
        (judged.outcome[:, k] >= 0) & ~np.isnan(judged.champion[:, k]) & ~np.isnan(judged.challenger[:, k])
    )


def _log_loss(p: Floats, hit: Hits) -> Floats:
    return -np.log(np.maximum(np.where(hit, p, 1.0 - p), P_LEAST))


def _brier(p: Floats, hit: Hits) -> Floats:
    return (p - hit) ** 2


# Each with what the base rate alone would score.
LOSSES: dict[str, tuple[Loss, Callable[[float], float]]] = {
    "log_loss": (_log_loss, lambda q: -(q * math.log(q) + (1 - q) * math.log(1 - q))),
    "brier": (_brier, lambda q: q * (1 - q)),
}


def _ms(ns: int) -> str:
    return f"{ns / 1e6:g} ms" if ns < S else f"{ns / 1e9:g} s"


def calibration(judged: Sequence[Judged], bounds: Bounds) -> list[Gate]:
    """Expected calibration error over ten quantile bins, of the market where it is largest."""
    out = []
    for ns, bound in bounds.ece:
        k = HORIZONS_NS.index(ns)
        worst, where = 0.0, ""
        for each in judged:
            rows = usable(each, k)
            if len(rows):
                error = calibration_error(reliability(each.challenger[rows, k], each.outcome[rows, k] == 1))
                if error >= worst:
                    worst, where = error, each.market
        words = "within" if worst <= bound else "beyond"
        out.append(
            Gate(f"ece_{_ms(ns)}", worst <= bound, worst, bound, f"{where}: {words} its market's target")
        )
    return out


def _simulated() -> tuple[EventBuffer, Config]:
    """A market to time decisions in, and the configuration of its one instrument."""
    tape = EventBuffer(200_000)
    market = MarketSimulator(MarketConfig(symbols=(BTC,)), 1, 0)
    writer = EventWriter(tape, [0])
    for second in range(1, SIMULATED_S + 1):
        updates = market.advance(second * S)
        if second == 1:
            writer.write_snapshot(market.snapshot(0))
        else:
            writer.write_all(updates)
    instrument = "{name: I0, venue: gates, symbol: S0, tick_size: 0.1, lot_size: 0.001, warmup: 0s}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gates.yaml"
        path.write_text(f"version: 1\ninstruments:\n  - {instrument}\n", encoding="utf-8")
        return tape, load_config(path)


def latency(challenger: CurveModel, champion: CurveModel, bounds: Bounds) -> list[Gate]:
    """A whole decision with either model, in turns in one run, against first passage and against each other."""
    tape, config = _simulated()
    clock = time_clock()
    models = {"challenger": challenger, "champion": champion, "yardstick": FirstPassageModel()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            engine = Engine(config, model=model)
            time_engine(engine, tape)
            request = RequestRecord(0, 1, now_ns=engine.now_ns, size_lots=1.0)
            taken = time_decisions(engine, request, DECISIONS_TIMED, 20_000)
            times[name].append(float(np.median(taken)) - clock)
    mine, other, yardstick = (statistics.median(times[name]) for name in models)
    relative, ratio = mine / yardstick, mine / other
    words = f"a decision takes {mine / 1000:.2f} µs here"
    return [
        Gate("latency_yardstick", relative <= bounds.decision_to_yardstick, relative, bounds.decision_to_yardstick,
             f"{words}, {yardstick / 1000:.2f} µs by first passage"),
        Gate("latency_champion", ratio <= bounds.decision_to_champion, ratio, bounds.decision_to_champion,
             f"{words}, {other / 1000:.2f} µs with the champion"),
    ]  # fmt: skip


def invariants(challenger: CurveModel, decisions: Sequence[Decisions]) -> list[Gate]:
    """What every served model keeps: schema, self-test, numbers, order in τ and in h, no side of its own."""
    schema = challenger.manifest["schema"]["hash"]
    out = [
        _gate(
            "schema",
            schema == SCHEMA_HASH,
            "fitted to this build's feature schema",
            "fitted to another schema",
        )
    ]
    for name, fault in (
        ("self_test", _fault(check_selftest, challenger)),
        ("probes", _fault(check_curves, challenger)),
    ):
        out.append(_gate(name, fault is None, "passed", fault or ""))
    rows = [each[:: max(1, len(each) // CHECKED_ROWS)] for each in decisions]
    total = nan = tau = h_fall = sided = 0
    for each in rows:
        for place in range(each.h_ticks.shape[1]):
            part = each[np.flatnonzero(each.h_ticks[:, place] > 0.0)]
            h, sigma = part.h_ticks[:, place], part.sigma_ticks
            last = np.full((len(part), len(HORIZONS_NS)), np.inf)
            for factor in H_FACTORS:
                x, valid = part.inputs(slice(None), h * factor)
                p, answered = challenger.curves(x, valid, h * factor, sigma)
                other, _ = challenger.curves(*_other_side(x, valid), h * factor, sigma)
                p, other = p[answered], other[answered]
                total += len(p)
                nan += int((~np.isfinite(p)).any(axis=1).sum())
                tau += int((np.diff(p, axis=1) < 0.0).any(axis=1).sum())
                h_fall += int((p > last[answered] * (1.0 + ROUNDING)).any(axis=1).sum())
                sided += int(((p != other) & (p == p)).any(axis=1).sum())
                last[answered] = p
    for name, count, words in (
        ("no_nan", nan, "is a number"),
        ("monotone_horizon", tau, "never falls with τ"),
        ("monotone_threshold", h_fall, "never rises with h"),
        ("mirror", sided, "does not change with features that a mirrored market does not mirror"),
    ):
        out.append(Gate(name, count == 0, count, 0, f"{count} of {total:,} curves break it: P {words}"))
    return out


def _other_side(x: Floats, valid: npt.NDArray[np.uint64]) -> tuple[Floats, npt.NDArray[np.uint64]]:
    """The same rows seen from the other side in the features that a side-symmetric model may not read, or without."""
    at = [NAMES.index(name) for name in sorted(UNMIRRORED)]
    bits = np.unpackbits(valid.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    turned = x.copy()
    turned[:, at] = np.where(bits[:, at] == 1, 0.0, 1.0 + np.abs(x[::-1, at]))
    bits[:, at] ^= 1
    return turned, np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def _gate(name: str, passed: bool, good: str, bad: str) -> Gate:
    return Gate(name, passed, None, None, good if passed else bad)


def _fault(test: Callable[[CurveModel], None], model: CurveModel) -> str | None:
    try:
        test(model)
    except ArtifactError as error:
        return str(error)
    return None
