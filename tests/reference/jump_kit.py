"""A market whose adverse-selection curve is known: the best prices stand still but for jumps of ``JUMP`` ticks, which
come up and down at a constant rate each, so that P(τ) of one tick is 1 − exp(−rate·τ) but for pairs of jumps.
"""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from quotelife.config import Config
from quotelife.model.logistic import LogisticHazardModel
from quotelife.records import HORIZONS_NS, EventBuffer, EventFlags, EventKindCode

START_NS = 1_700_000_000_000_000_000
STEP_NS = 50_000_000
JUMP = 3
RATE = 0.05  # a second, in each direction


def config(monitor: dict[str, Any], **learning: Any) -> Config:
    """One instrument, fed by quotes alone, and a client of each of two postures. Nothing is recalibrated, unless asked
    for: a model that is wrong stays wrong."""
    return Config.model_validate_json(
        json.dumps(
            {
                "version": 1,
                "model": {"artifact": "first_passage"},
                "instruments": [
                    {
                        "name": "X",
                        "venue": "sim",
                        "symbol": "X",
                        "tick_size": "0.01",
                        "lot_size": "1",
                        "quotes_only": True,
                        "warmup": "1s",
                        "reference": "mid",
                        "adverse_ticks": 1.0,
                    }
                ],
                "tiers": {"gold": {"posture": "client_priority"}, "careful": {"posture": "risk_averse"}},
                "counterparties": {"alpha": {"tier": "gold"}, "omega": {"tier": "careful"}},
                "regimes": {
                    "volatility_ratio": 1e6,
                    "spread_volatility_ratio": 1e6,
                    "update_frequency_ratio": 1e6,
                },
                "learning": {
                    "probe_interval": "250ms",
                    "recalibration": {"enabled": False},
                    **learning,
                    "monitor": {"enabled": True, **monitor},
                },
            }
        )
    )


def model(rate: float) -> LogisticHazardModel:
    """P(τ) = 1 − exp(−rate·τ), whatever is asked."""
    steps = np.diff(np.array(HORIZONS_NS) * 1e-9, prepend=0.0)
    return LogisticHazardModel(
        {
            "intercepts": [math.log(math.expm1(rate * step)) for step in steps.tolist()],
            "clip": 5.0,
            "offset": {"coefficient": 0.0, "min": -5.0, "max": 5.0},
            "features": [],
        }
    )


def quotes(
    rates: list[tuple[float, float]], seed: int = 1, start_ns: int = START_NS, bid: int = 1_000_000
) -> Iterator[tuple[int, EventBuffer]]:
    """(time, a quote in a buffer that is good until the next) every 50 ms; ``rates``: (seconds, rate) in turn."""
    rng = np.random.default_rng(seed)
    buffer = EventBuffer(16)
    now_ns = start_ns
    for seconds, rate in rates:
        steps = round(seconds * 1e9) // STEP_NS
        jumps = rng.poisson(rate * STEP_NS * 1e-9, (steps, 2))
        for up, down in jumps.tolist():
            now_ns += STEP_NS
            bid += JUMP * (up - down)
            buffer.clear()
            put(buffer, now_ns, bid)
            yield now_ns, buffer


def put(buffer: EventBuffer, now_ns: int, bid: int = 1_000_000, instrument: int = 0) -> None:
    """One quote, a tick wide."""
    buffer.append(
        EventKindCode.QUOTE,
        instrument=instrument,
        flags=EventFlags.LAST,
        sequence=now_ns,
        exchange_ns=now_ns,
        receive_ns=now_ns,
        price_ticks=bid,
        size_lots=10,
        order_id=bid + 1,
        aux=10,
    )
