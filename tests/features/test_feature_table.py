"""Every feature that is promised, with its windows, is in the schema."""

import pytest

from quotelife.features.schema import INDEX, NAMES, SCHEMA

MS = 1_000_000
NOW = (0,)

# Of the row of counterparties what a request and its tier give; markouts and response times come with outcomes.
TABLE: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "spread": (("spread_ticks", "spread_bps"), NOW),
    "spread volatility": (("spread_volatility_",), (1000,)),
    "top-of-book update frequency": (("top_updates_",), (100, 1000)),
    "order book imbalance": (("book_imbalance_ratio", "book_imbalance", "book_imbalance_log"), NOW),
    "queue imbalance, microprice deviation": (("queue_imbalance", "microprice_deviation"), NOW),
    "book pressure": (("book_pressure",), NOW),
    "depth": (tuple(f"depth_{side}_{n}" for side in ("bid", "ask") for n in (1, 3, 5, 10)), NOW),
    "size against depth": (("size_to_depth", "sweep_cost"), NOW),
    "VWAP deviation": (("vwap_deviation_",), (100, 500)),
    "add and cancel rates": (("add_rate_own_", "add_rate_opposite_", "cancel_rate_own_"), (100, 1000)),
    "add and cancel rates, the other side": (("cancel_rate_opposite_",), (100, 1000)),
    "adds and cancels": (("adds_own_", "adds_opposite_", "cancels_own_", "cancels_opposite_"), (100, 1000)),
    "order flow imbalance": (("order_flow_imbalance_", "order_flow_imbalance_5_"), (100, 1000)),
    "signed trade imbalance, trade intensity": (("trade_imbalance_", "trade_intensity_"), (100, 500, 2000)),
    "mid-move count": (("mid_moves_",), (100, 1000, 10_000, 60_000)),
    "last move": (("last_move_age_s", "last_move_direction"), NOW),
    "realised volatility": (("realised_volatility_",), (100, 1000, 10_000, 60_000)),
    "short/long ratio": (("volatility_ratio",), (1000,)),
    "correlated-asset velocity": (("driver0_velocity_", "driver1_velocity_"), (100, 500)),
    "decorrelation": (("driver0_decorrelation", "driver1_decorrelation"), (2000,)),
    "residual velocity": (("driver0_residual_velocity", "driver1_residual_velocity"), (500,)),
    "news sentiment": (("news_score", "news_age_s", "news_count"), NOW),
    "volatility index": (("volatility_index", "volatility_index_age_s"), NOW),
    "volatility index, change": (("volatility_index_change_1m",), (60_000,)),
    "volatility index, z": (("volatility_index_z",), (86_400_000,)),
    "inventory": (("inventory",), NOW),
    "counterparty": (("counterparty_fill_rate", "counterparty_size_ratio"), NOW),
    "threshold": (("threshold",), NOW),
}


def named(stem: str, window_ms: int) -> str:
    if not stem.endswith("_"):
        return stem
    return stem + (f"{window_ms}ms" if window_ms < 1000 else f"{window_ms // 1000}s")


@pytest.mark.parametrize("row", TABLE)
def test_a_row_of_the_table_is_in_the_schema_with_its_windows(row: str) -> None:
    stems, windows_ms = TABLE[row]
    for stem in stems:
        for window_ms in windows_ms:
            name = named(stem, window_ms)
            assert name in NAMES
            assert SCHEMA[INDEX[name]].window_ns == window_ms * MS, name
