"""Fuzz targets: one function from bytes to nothing for each decoder of what comes from outside.

``tools/fuzz.py`` drives them with libFuzzer on a sanitizer build; ``tests/fuzz/test_fuzz_targets.py`` runs the seeds
and every finding there has been on the ordinary one. A target raises on whatever must not be: an exception that is
none of the documented ones, or a broken invariant of what the decoder gave.
"""

from importlib import import_module
from importlib.util import find_spec

from fuzz_targets.kit import Target

MODULES = {
    "binance_spot": "json_feeds",
    "binance_usdm": "json_feeds",
    "binance_coinm": "json_feeds",
    "deribit": "json_feeds",
    "coinbase": "json_feeds",
    "okx": "json_feeds",
    "itch": "itch",
    "itch_framed": "itch",
    "mold": "itch",
    "soupbin": "itch",
    "fix": "fix",
    "fix_session": "fix",
    "binary_stream": "binary",
    "binary_datagrams": "binary",
    "dbn": "dbn",
    "bitstamp": "recordings",
    "tardis": "recordings",
    "fx_ticks": "recordings",
    "lobster": "recordings",
    "headlines": "recordings",
    "recorded": "recordings",
    "capture": "segments",
    "journal": "segments",
    "http2": "http2",
    "expiry_request": "requests",
}
"""Module of each target, which holds it under its own name."""
NEEDS = {"http2": "quotelife_server.transport.native_connection"}
"""What a build may lack, and a target cannot do without."""


def lacks(name: str) -> str | None:
    """The module for want of which a target cannot be run here."""
    needed = NEEDS.get(name)
    return needed if needed is not None and find_spec(needed) is None else None


def load(name: str) -> Target:
    """Raises ``KeyError`` for a name that is not in ``MODULES``."""
    found = getattr(import_module(f"fuzz_targets.{MODULES[name]}"), name)
    assert isinstance(found, Target)
    return found
