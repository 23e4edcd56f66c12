"""RFQ flow over decisions: who asks, when he accepts, what that was worth. Offline; numpy only.

Each decision is asked once. With probability 1 − π the taker is benign: he accepts, with probability a, at a lognormal
time after a round trip, if the quote still lives. Otherwise he is informed: he trades only if the price has passed h
against the desk and his order arrives before the end, T_h + ℓᵢ ≤ τ. Two accountings of the benign (``walks_away``):

- marked at accept: he trades whatever the price did, and the desk books e − D(A);
- he walks away once the price has moved h in the desk's favour, because others quote better then.

A withdrawal is decided when the mid has moved w·h against the quote and takes effect ``path_ns`` later.

``Flow.meet`` draws all that does not depend on the life, once: every policy meets the same takers. ``Met.settle``
gives, for any lives, each row's mean over kinds of taker and accept times; ``Met.sample`` gives single outcomes.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from quotelife.config.schema import TierValue
from quotelife.learn.dataset import Decisions, Floats, Longs
from quotelife.learn.labels import NEVER, first_passage_ns
from quotelife.records import HORIZONS_NS

MARKOUTS_NS = (100_000_000, 1_000_000_000, 10_000_000_000, 60_000_000_000)
LONGEST_NS = HORIZONS_NS[-1]
MS = 1_000_000


class Outcome(IntEnum):
    """What became of one quote."""

    FILLED = 0
    PICKED_OFF = 1
    EXPIRED = 2
    DECLINED = 3
    WITHDRAWN = 4


@dataclass(frozen=True)
class Withdrawal:
    """The watch: a quote is taken back once the mid has moved ``share`` of h, which takes ``path_ns``."""

    share: float = 0.5
    path_ns: int = 5 * MS


@dataclass(frozen=True)
class Flow:
    """Assumptions about the takers. Ages in ns from the moment the quote lives, edge in units of h."""

    name: str = "fast"
    response_median_ns: int = 350 * MS
    response_sigma: float = 0.8
    latency_ns: int = 20 * MS
    hit_probability: float = 1.0
    informed_share: float = 0.3
    taker_latency_ns: int = 5 * MS
    taker_sigma: float = 0.0
    edge_in_h: float = 0.5
    walks_away: bool = False
    draws: int = 8

    def tier(self, *, loss_in_h: float, adverse_share: float) -> TierValue:
        """The same assumptions as expected value reads them, with what was learned of the instrument."""
        return TierValue.model_validate(
            {
                "hit_probability": self.hit_probability,
                "response_median": f"{self.response_median_ns}ns",
                "response_sigma": self.response_sigma,
                "latency": f"{self.latency_ns}ns",
                "informed_share": self.informed_share,
                "taker_latency": f"{self.taker_latency_ns}ns",
                "loss_in_h": min(100.0, max(0.0, loss_in_h)),
                "adverse_share": min(10.0, max(0.0, adverse_share)),
            }
        )

    def accepted(self, age_ns: npt.NDArray[Any]) -> Floats:
        """a·G(u − ℓ): how likely a benign taker has accepted by that age."""
        since = np.maximum(np.asarray(age_ns, dtype=np.float64) - self.latency_ns, 1e-9)
        z = (np.log(since) - np.log(self.response_median_ns)) / self.response_sigma
        return self.hit_probability * _phi(z)

    def life_at_fill(self, fill: float) -> int:
        """The age in ns by which the share ``fill`` of those who would accept has done so."""
        from statistics import NormalDist

        z = NormalDist().inv_cdf(fill)
        return round(self.latency_ns + self.response_median_ns * float(np.exp(self.response_sigma * z)))

    def meet(
        self, decisions: Decisions, h_ticks: Floats, *, seed: int, withdrawal: Withdrawal | None = None
    ) -> "Met":
        """Takers for every decision. Rows must be observed over the longest horizon: ``ValueError``."""
        n = len(decisions)
        if n and int(decisions.observed_ns.min()) < LONGEST_NS:
            raise ValueError(
                "a backtest takes only decisions observed over the longest horizon; filter by observed_ns"
            )
        rng = np.random.Generator(np.random.Philox(key=seed))
        withdrawal = withdrawal or Withdrawal()

        def passage(side: Any, h: Floats, reference: str, origin: Floats) -> Longs:
            return first_passage_ns(
                decisions.path, reference, decisions.now_ns, side, origin, h,
                latency_ns=decisions.latency_ns, observed_ns=decisions.observed_ns,
            )  # fmt: skip

        against = passage(decisions.side, h_ticks, decisions.reference, decisions.reference_ticks)
        favour = passage(-decisions.side, h_ticks, decisions.reference, decisions.reference_ticks)
        warned = passage(decisions.side, withdrawal.share * h_ticks, "mid", decisions.mid_ticks)
        stratum = (np.arange(self.draws) + rng.random((n, self.draws))) / self.draws
        accept = self.latency_ns + self.response_median_ns * np.exp(
            self.response_sigma * _phi_inverse(stratum)
        )
        taker = self.taker_latency_ns * np.exp(self.taker_sigma * rng.standard_normal(n))
        hit = np.minimum(against, NEVER // 2) + taker.astype(np.int64)
        met = Met(
            flow=self,
            decisions=decisions,
            h_ticks=h_ticks,
            edge_ticks=self.edge_in_h * h_ticks,
            passage_ns=against,
            favour_ns=favour,
            withdrawn_ns=np.minimum(warned, NEVER // 2) + withdrawal.path_ns,
            accept_ns=accept.astype(np.int64),
            hit_ns=hit,
            accept_move=np.empty((n, self.draws)),
            hit_move=np.empty(n),
            kind=rng.random((n, 3)),
        )
        for k in range(self.draws):
            met.accept_move[:, k] = met.move(met.accept_ns[:, k])
        met.hit_move[:] = met.move(hit)
        return met


@dataclass(frozen=True)
class Settled:
    """Means over takers for each row, shape (n,): ``fill`` of a benign taker, ``picked`` by an informed one, and
    ``value_in_h`` a request, both kinds together."""

    fill: Floats
    picked: Floats
    value_in_h: Floats


@dataclass(frozen=True)
class Sampled:
    """One outcome a row: ``Outcome``, its age, value in ticks, and ``markout`` (n, 4) of trades, NaN where none."""

    outcome: npt.NDArray[np.int8]
    age_ns: Longs
    value_ticks: Floats
    markout_ticks: Floats

    def counts(self) -> dict[str, int]:
        return {kind.name.lower(): int((self.outcome == kind).sum()) for kind in Outcome}


@dataclass(frozen=True)
class Met:
    """Quotes and the takers they meet, before any life is chosen. ``accept_*`` are (n, draws), the rest (n,)."""

    flow: Flow
    decisions: Decisions
    h_ticks: Floats
    edge_ticks: Floats
    passage_ns: Longs
    favour_ns: Longs
    withdrawn_ns: Longs
    accept_ns: Longs
    hit_ns: Longs
    accept_move: Floats
    hit_move: Floats
    kind: Floats

    def move(self, age_ns: Longs) -> Floats:
        """D at an age, in ticks; 0 beyond the longest horizon, where nothing is asked."""
        d = self.decisions
        inside = age_ns <= LONGEST_NS
        price = d.path.at(d.now_ns + d.latency_ns + np.where(inside, age_ns, 0), d.reference)
        return np.where(inside, -d.side * (price - d.reference_ticks), 0.0)

    def settle(self, life_ns: npt.NDArray[np.int64], *, withdraw: bool = False) -> Settled:
        """What lives (n,), 0 where declined, would have brought."""
        end = np.minimum(life_ns, self.withdrawn_ns) if withdraw else life_ns
        end = np.where(life_ns > 0, end, 0)
        benign_end = np.minimum(end, self.favour_ns) if self.flow.walks_away else end
        fill = np.where(benign_end > 0, self.flow.accepted(benign_end), 0.0)
        moved = np.where(self.accept_ns <= benign_end[:, None], self.accept_move, 0.0).mean(axis=1)
        picked = (self.hit_ns <= end) & (end > 0)
        share = self.flow.informed_share
        value = (1.0 - share) * (fill * self.edge_ticks - self.flow.hit_probability * moved)
        value = value + share * np.where(picked, self.edge_ticks - self.hit_move, 0.0)
        return Settled(fill, picked.astype(np.float64), value / self.h_ticks)

    def sample(self, life_ns: npt.NDArray[np.int64], *, withdraw: bool = False) -> Sampled:
        """One taker a row, the same for every policy."""
        d, n = self.decisions, len(self.decisions)
        rows = np.arange(n)
        draw = np.minimum((self.kind[:, 2] * self.flow.draws).astype(np.int64), self.flow.draws - 1)
        accept = self.accept_ns[rows, draw]
        end = np.minimum(life_ns, self.withdrawn_ns) if withdraw else life_ns
        informed = self.kind[:, 0] < self.flow.informed_share
        stays = accept <= (np.minimum(end, self.favour_ns) if self.flow.walks_away else end)
        filled = ~informed & (self.kind[:, 1] < self.flow.hit_probability) & stays & (life_ns > 0)
        picked = informed & (self.hit_ns <= end) & (life_ns > 0)
        outcome = np.full(n, Outcome.EXPIRED, dtype=np.int8)
        outcome[end < life_ns] = Outcome.WITHDRAWN
        outcome[life_ns <= 0] = Outcome.DECLINED
        outcome[filled] = Outcome.FILLED
        outcome[picked] = Outcome.PICKED_OFF
        age = np.where(filled, accept, np.where(picked, self.hit_ns, np.maximum(end, 0)))
        moved = np.where(filled, self.accept_move[rows, draw], self.hit_move)
        traded = filled | picked
        value = np.where(traded, self.edge_ticks - moved, 0.0)
        markout = np.full((n, len(MARKOUTS_NS)), np.nan)
        for k, after in enumerate(MARKOUTS_NS):
            price = d.path.at(d.now_ns + d.latency_ns + age + after, d.reference)
            later = self.edge_ticks + d.side * (price - d.reference_ticks)
            markout[:, k] = np.where(traded, later, np.nan)
        return Sampled(outcome, age.astype(np.int64), value, markout)


_NODES = np.linspace(-8.0, 8.0, 4001)


def _erf_table() -> Floats:
    from math import erfc, sqrt

    return np.array([0.5 * erfc(-z / sqrt(2.0)) for z in _NODES])


_PHI = _erf_table()


def _phi(z: Floats) -> Floats:
    # Linear in a table of step 0.004: within 1e-6 of the normal distribution function.
    return np.interp(z, _NODES, _PHI)


def _phi_inverse(u: Floats) -> Floats:
    return np.interp(u, _PHI, _NODES)
