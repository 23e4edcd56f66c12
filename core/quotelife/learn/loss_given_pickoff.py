"""What a pick-off costs, and what benign accepts meet, learned of an instrument from the flow over its train slice."""

from dataclasses import dataclass

from quotelife.learn.flow import LONGEST_NS, Met

ROWS_MIN = 30
LOSS_IN_H = 1.5  # where too few thresholds were passed: what ``TierValue`` assumes


@dataclass(frozen=True)
class Learned:
    """``loss_in_h``: mean move, in h, at which an informed taker trades. ``adverse_share``: mean move against the desk
    at benign accepts, over h·1{T_h ≤ A}. ``passages``: how many of the first were seen."""

    loss_in_h: float
    adverse_share: float
    passages: int


def learn(met: Met) -> Learned:
    """From all passages inside the longest horizon, whatever the lives."""
    seen = met.hit_ns <= LONGEST_NS
    passages = int(seen.sum())
    loss = float((met.hit_move[seen] / met.h_ticks[seen]).mean()) if passages >= ROWS_MIN else LOSS_IN_H
    inside = met.accept_ns <= LONGEST_NS
    if met.flow.walks_away:
        inside &= met.accept_ns <= met.favour_ns[:, None]
    h = met.h_ticks[:, None]
    moved = float(((met.accept_move / h) * inside).sum())
    passed = float((inside & (met.passage_ns[:, None] <= met.accept_ns)).sum())
    return Learned(loss, max(0.0, moved / passed) if passed >= ROWS_MIN else 0.0, passages)
