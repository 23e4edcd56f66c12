"""Curves as the service would have served them: gates and backtest judge a model behind this one door.

What is done to a curve on its way out is ``learning.recalibration`` of a configuration, nothing else: where that is off
a model is judged by its raw curves.
"""

import numpy as np
import numpy.typing as npt

from quotelife.config.schema import Recalibration
from quotelife.learn.dataset import Decisions, Floats, Longs
from quotelife.model.recalibration import ANCHORS_NS, UNKNOWN, RollingCalibration
from quotelife.records import HORIZONS_NS

FULL_DAY = Recalibration.model_validate({"enabled": True})
"""What ships."""
CRYPTO = Recalibration.model_validate({"enabled": True, "window": "100s", "refit": "500ms", "ridge": 500.0})
"""For markets that turn within minutes: the best window and ridge of those tried on the first 65 % of recorded ones.
``ridge`` is in rows: of decisions on both sides every 50 ms, 20 of which say as much as one label at 500 ms."""
ANCHOR_AT = [HORIZONS_NS.index(ns) for ns in ANCHORS_NS]
"""Places of the anchors on the grid."""


def recalibrated(
    decisions: Decisions, hit: npt.NDArray[np.int8], p: Floats, settings: Recalibration
) -> Floats:
    """Curves ``p`` (n, 12) of decisions in order of time, each under the pairs that its moment knew.

    A label teaches from when a service would have known it (``heard_of``).

    ``hit`` (n, 2), for each of ``ANCHORS_NS``: 1 passed by then, 0 not, −1 (``UNKNOWN``) where that is not known. Rows
    of NaN stay. ``settings`` that are off leave ``p`` as it is.
    """
    if not settings.enabled:
        return p
    rolling = RollingCalibration(settings.window_ns, ridge=settings.ridge, refit_ns=settings.refit_ns)
    ends = decisions.now_ns[:, None] + decisions.latency_ns + np.array(ANCHORS_NS, dtype=np.int64)
    resolved, heard = heard_of(decisions, ends)
    return rolling.prequential(decisions.now_ns, p, resolved, np.where(heard, hit, UNKNOWN).astype(np.int8))[
        0
    ]


def heard_of(decisions: Decisions, ends_ns: Longs) -> tuple[Longs, npt.NDArray[np.bool_]]:
    """When a service would know of what ended, and whether it ever would: the first message behind an end shows that
    nothing was lost before it, and is itself judged when the second begins.

    The path has no messages that left the reference where it was: where it stands still this errs to the late side.
    """
    messages = decisions.path.time_ns[decisions.path.good]
    second = np.searchsorted(messages, ends_ns, side="right") + 1
    heard = second < len(messages)
    known_ns = ends_ns.copy()
    known_ns[heard] = messages[second[heard]]
    return known_ns, heard
