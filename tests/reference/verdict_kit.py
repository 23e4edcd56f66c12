"""Verdicts of the promotion gates, written by hand."""

import json
from datetime import UTC, datetime
from typing import Any

from quotelife.config.schema import Recalibration
from quotelife.model.promotion import REQUIRED

INSTRUMENTS = ("BTC-USDT", "ETH-USDT", "BTC-USD")
"""Of ``service_kit.CONFIG``."""
FROM_NS, TO_NS = 1_772_323_200_000_000_000, 1_772_409_599_000_000_000


def written(
    challenger: str,
    champion: str,
    /,
    *,
    refused: tuple[str, ...] = (),
    unasked: tuple[str, ...] = (),
    **changed: Any,
) -> bytes:
    """A file as ``promote-check --out`` writes it now; yes, but for the gates ``refused``."""
    value = {
        "format": "quotelife-verdict-4",
        "challenger": challenger,
        "champion": champion,
        "market": "full_day",
        "loosened": [],
        "recalibration": Recalibration().model_dump(mode="json"),
        "instruments": [
            {
                "instrument": name,
                "rows": 9,
                "blocks": 30,
                "from_ns": FROM_NS,
                "to_ns": TO_NS,
                "asked": name not in unasked,
            }
            for name in INSTRUMENTS
        ],
        "postures": ["client_priority", "liquidity_provider", "risk_averse"],
        "at": datetime.now(UTC).isoformat(),
        "gates": [{"name": name, "passed": name not in refused} for name in sorted(REQUIRED)],
    }
    return json.dumps(value | changed).encode()
