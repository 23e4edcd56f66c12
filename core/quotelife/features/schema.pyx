"""The ordered list of features: name, unit, window, side symmetry; and its hash.

Signed features are multiplied by −s (s = +1 when the desk buys), so that a positive value points to a move
against the quote and one model serves both sides. A model names the hash of the schema it was fitted to and
is refused under any other. The definitions stand here and in the docstrings of ``state``.
"""

import hashlib
import json
from typing import NamedTuple

SCHEMA_VERSION = 2


class FeatureSpec(NamedTuple):
    """One feature: its place, unit, window (0 = now) and whether its sign follows the side."""

    index: int
    name: str
    unit: str
    window_ns: int
    signed: bool
    text: str


SCHEMA = (
    FeatureSpec(F_SPREAD_TICKS, "spread_ticks", "ticks", 0, False, "best ask − best bid"),
    FeatureSpec(F_SPREAD_BPS, "spread_bps", "bp", 0, False, "spread over mid"),
    FeatureSpec(F_SPREAD_VOLATILITY_1S, "spread_volatility_1s", "ticks", 1_000_000_000, False,
                "time-weighted population standard deviation of the spread"),
    FeatureSpec(F_SPREAD_VOLATILITY_RATIO, "spread_volatility_ratio", "ratio", 1_000_000_000, False,
                "spread volatility over 1 s against its 60 s level"),
    FeatureSpec(F_TOP_UPDATES_100MS, "top_updates_100ms", "count", 100_000_000, False,
                "changes of best bid or ask price or size"),
    FeatureSpec(F_TOP_UPDATES_1S, "top_updates_1s", "count", 1_000_000_000, False,
                "changes of best bid or ask price or size"),
    FeatureSpec(F_TOP_UPDATE_RATIO, "top_update_ratio", "ratio", 100_000_000, False,
                "update frequency over 100 ms against its 60 s baseline"),
    FeatureSpec(F_BOOK_IMBALANCE_RATIO, "book_imbalance_ratio", "ratio", 0, False,
                "bid size / ask size over 5 populated levels a side, capped; for people, not mirrored by side"),
    FeatureSpec(F_BOOK_IMBALANCE, "book_imbalance", "1", 0, True, "(B − A)/(B + A) over 5 populated levels"),
    FeatureSpec(F_BOOK_IMBALANCE_LOG, "book_imbalance_log", "1", 0, True, "ln(B/A) over 5 populated levels, capped"),
    FeatureSpec(F_QUEUE_IMBALANCE, "queue_imbalance", "1", 0, True, "(q_b − q_a)/(q_b + q_a) at the best prices"),
    FeatureSpec(F_MICROPRICE_DEVIATION, "microprice_deviation", "ticks", 0, True, "(microprice − mid) / tick"),
    FeatureSpec(F_BOOK_PRESSURE, "book_pressure", "1", 0, True,
                "size difference weighted by exp(−distance in ticks / 5), over the weighted sum"),
    FeatureSpec(F_DEPTH_BID_1, "depth_bid_1", "lots", 0, False, "cumulative bid size, 1 level"),
    FeatureSpec(F_DEPTH_ASK_1, "depth_ask_1", "lots", 0, False, "cumulative ask size, 1 level"),
    FeatureSpec(F_DEPTH_BID_3, "depth_bid_3", "lots", 0, False, "cumulative bid size, 3 levels"),
    FeatureSpec(F_DEPTH_ASK_3, "depth_ask_3", "lots", 0, False, "cumulative ask size, 3 levels"),
    FeatureSpec(F_DEPTH_BID_5, "depth_bid_5", "lots", 0, False, "cumulative bid size, 5 levels"),
    FeatureSpec(F_DEPTH_ASK_5, "depth_ask_5", "lots", 0, False, "cumulative ask size, 5 levels"),
    FeatureSpec(F_DEPTH_BID_10, "depth_bid_10", "lots", 0, False, "cumulative bid size, 10 levels"),
    FeatureSpec(F_DEPTH_ASK_10, "depth_ask_10", "lots", 0, False, "cumulative ask size, 10 levels"),
    FeatureSpec(F_DEPTH_RATIO, "depth_ratio", "ratio", 0, False,
                "size of both sides over 5 levels against its own 60 s mean"),
    FeatureSpec(F_SIZE_TO_DEPTH, "size_to_depth", "ratio", 0, False,
                "RFQ size over the 5-level depth on the side where the desk would hedge"),
    FeatureSpec(F_VWAP_DEVIATION_100MS, "vwap_deviation_100ms", "1", 100_000_000, True, "last trade / VWAP − 1"),
    FeatureSpec(F_VWAP_DEVIATION_500MS, "vwap_deviation_500ms", "1", 500_000_000, True, "last trade / VWAP − 1"),
    FeatureSpec(F_CANCEL_RATE_100MS, "cancel_rate_100ms", "lots/s", 100_000_000, False,
                "size removed a second on both sides, trades taken off"),
    FeatureSpec(F_CANCEL_RATE_1S, "cancel_rate_1s", "lots/s", 1_000_000_000, False,
                "size removed a second on both sides, trades taken off"),
    FeatureSpec(F_CANCEL_RATIO, "cancel_ratio", "ratio", 1_000_000_000, False,
                "cancel rate over 1 s against its 60 s baseline"),
    FeatureSpec(F_ORDER_FLOW_IMBALANCE_100MS, "order_flow_imbalance_100ms", "1", 100_000_000, True,
                "Cont-Kukanov-Stoikov e_n at the best prices, summed, over mean best size"),
    FeatureSpec(F_ORDER_FLOW_IMBALANCE_1S, "order_flow_imbalance_1s", "1", 1_000_000_000, True,
                "Cont-Kukanov-Stoikov e_n at the best prices, summed, over mean best size"),
    FeatureSpec(F_TRADE_IMBALANCE_100MS, "trade_imbalance_100ms", "1", 100_000_000, True,
                "(buyer − seller aggressor size)/(sum)"),
    FeatureSpec(F_TRADE_IMBALANCE_500MS, "trade_imbalance_500ms", "1", 500_000_000, True,
                "(buyer − seller aggressor size)/(sum)"),
    FeatureSpec(F_TRADE_IMBALANCE_2S, "trade_imbalance_2s", "1", 2_000_000_000, True,
                "(buyer − seller aggressor size)/(sum), 100 ms buckets"),
    FeatureSpec(F_TRADE_INTENSITY_100MS, "trade_intensity_100ms", "1/s", 100_000_000, False, "trades a second"),
    FeatureSpec(F_TRADE_INTENSITY_500MS, "trade_intensity_500ms", "1/s", 500_000_000, False, "trades a second"),
    FeatureSpec(F_TRADE_INTENSITY_2S, "trade_intensity_2s", "1/s", 2_000_000_000, False,
                "trades a second, 100 ms buckets"),
    FeatureSpec(F_MID_MOVES_100MS, "mid_moves_100ms", "count", 100_000_000, False, "changes of the mid"),
    FeatureSpec(F_MID_MOVES_1S, "mid_moves_1s", "count", 1_000_000_000, False, "changes of the mid"),
    FeatureSpec(F_MID_MOVES_10S, "mid_moves_10s", "count", 10_000_000_000, False, "changes of the mid, 100 ms buckets"),
    FeatureSpec(F_MID_MOVES_60S, "mid_moves_60s", "count", 60_000_000_000, False, "changes of the mid, 100 ms buckets"),
    FeatureSpec(F_LAST_MOVE_AGE_S, "last_move_age_s", "s", 0, False, "since the last change of the mid"),
    FeatureSpec(F_LAST_MOVE_DIRECTION, "last_move_direction", "1", 0, True, "+1 up, −1 down"),
    FeatureSpec(F_REALISED_VOLATILITY_100MS, "realised_volatility_100ms", "ticks/√s", 100_000_000, False,
                "EWMA of squared mid changes"),
    FeatureSpec(F_REALISED_VOLATILITY_1S, "realised_volatility_1s", "ticks/√s", 1_000_000_000, False,
                "EWMA of squared mid changes"),
    FeatureSpec(F_REALISED_VOLATILITY_10S, "realised_volatility_10s", "ticks/√s", 10_000_000_000, False,
                "EWMA of squared mid changes"),
    FeatureSpec(F_REALISED_VOLATILITY_60S, "realised_volatility_60s", "ticks/√s", 60_000_000_000, False,
                "EWMA of squared mid changes"),
    FeatureSpec(F_VOLATILITY_RATIO, "volatility_ratio", "ratio", 1_000_000_000, False,
                "realised volatility 1 s / 60 s"),
    FeatureSpec(F_OWN_VELOCITY_500MS, "own_velocity_500ms", "%/s", 500_000_000, True,
                "(M(t)/M(t − W) − 1)/W of the instrument's own mid"),
    FeatureSpec(F_DRIVER0_VELOCITY_500MS, "driver0_velocity_500ms", "%/s", 500_000_000, True,
                "(M_d(t)/M_d(t − W) − 1)/W of the first driver"),
    FeatureSpec(F_DRIVER0_VELOCITY_100MS, "driver0_velocity_100ms", "%/s", 100_000_000, True,
                "(M_d(t)/M_d(t − W) − 1)/W of the first driver"),
    FeatureSpec(F_DRIVER0_DECORRELATION, "driver0_decorrelation", "z", 2_000_000_000, False,
                "slow minus fast EWMA correlation of 100 ms returns, Fisher z over its standard error"),
    FeatureSpec(F_DRIVER0_RESIDUAL_VELOCITY, "driver0_residual_velocity", "%/s", 500_000_000, True,
                "own velocity − beta × driver velocity"),
    FeatureSpec(F_DRIVER1_VELOCITY_500MS, "driver1_velocity_500ms", "%/s", 500_000_000, True, "second driver"),
    FeatureSpec(F_DRIVER1_VELOCITY_100MS, "driver1_velocity_100ms", "%/s", 100_000_000, True, "second driver"),
    FeatureSpec(F_DRIVER1_DECORRELATION, "driver1_decorrelation", "z", 2_000_000_000, False, "second driver"),
    FeatureSpec(F_DRIVER1_RESIDUAL_VELOCITY, "driver1_residual_velocity", "%/s", 500_000_000, True, "second driver"),
    FeatureSpec(F_NEWS_SCORE, "news_score", "1", 0, True, "strongest of the last scores, decayed with its half-life"),
    FeatureSpec(F_NEWS_AGE_S, "news_age_s", "s", 0, False, "age of that score"),
    FeatureSpec(F_NEWS_COUNT, "news_count", "count", 0, False, "scores still alive"),
    FeatureSpec(F_VOLATILITY_INDEX, "volatility_index", "index points", 0, False, "level of the configured index"),
    FeatureSpec(F_VOLATILITY_INDEX_CHANGE_1M, "volatility_index_change_1m", "index points", 60_000_000_000, False,
                "change over one minute"),
    FeatureSpec(F_VOLATILITY_INDEX_Z, "volatility_index_z", "z", 86_400_000_000_000, False,
                "level against a day's EWMA mean and deviation"),
    FeatureSpec(F_VOLATILITY_INDEX_AGE_S, "volatility_index_age_s", "s", 0, False, "age of the level"),
    FeatureSpec(F_INVENTORY, "inventory", "1", 0, False,
                "s · position / limit: positive when a fill would push the position further the same way"),
    FeatureSpec(F_COUNTERPARTY_FILL_RATE, "counterparty_fill_rate", "1", 0, False,
                "posterior or prior fill rate of the counterparty"),
    FeatureSpec(F_COUNTERPARTY_SIZE_RATIO, "counterparty_size_ratio", "ratio", 0, False,
                "RFQ size / the counterparty's average size"),
    FeatureSpec(F_THRESHOLD, "threshold", "√s", 0, False, "h / (sigma · √1 s)"),
    FeatureSpec(F_ORDER_FLOW_IMBALANCE_5_100MS, "order_flow_imbalance_5_100ms", "1", 100_000_000, True,
                "Cont-Kukanov-Stoikov e_n summed over levels 1 to 5, over the 60 s mean size of 5 levels of a side"),
    FeatureSpec(F_ORDER_FLOW_IMBALANCE_5_1S, "order_flow_imbalance_5_1s", "1", 1_000_000_000, True,
                "Cont-Kukanov-Stoikov e_n summed over levels 1 to 5, over the 60 s mean size of 5 levels of a side"),
    FeatureSpec(F_ADD_RATE_100MS, "add_rate_100ms", "lots/s", 100_000_000, False, "size added a second on both sides"),
    FeatureSpec(F_ADD_RATE_1S, "add_rate_1s", "lots/s", 1_000_000_000, False, "size added a second on both sides"),
    FeatureSpec(F_SWEEP_COST, "sweep_cost", "ticks", 0, False,
                "mean price of the RFQ size against the best price on the side where the desk would hedge"),
    FeatureSpec(F_ADD_RATE_OWN_100MS, "add_rate_own_100ms", "lots/s", 100_000_000, False,
                "size added a second, on the side where the quote stands"),
    FeatureSpec(F_ADD_RATE_OPPOSITE_100MS, "add_rate_opposite_100ms", "lots/s", 100_000_000, False,
                "size added a second, on the other side"),
    FeatureSpec(F_CANCEL_RATE_OWN_100MS, "cancel_rate_own_100ms", "lots/s", 100_000_000, False,
                "size removed a second and not traded, on the side where the quote stands"),
    FeatureSpec(F_CANCEL_RATE_OPPOSITE_100MS, "cancel_rate_opposite_100ms", "lots/s", 100_000_000, False,
                "size removed a second and not traded, on the other side"),
    FeatureSpec(F_ADDS_OWN_100MS, "adds_own_100ms", "1/s", 100_000_000, False,
                "times a second that size was added, on the side where the quote stands"),
    FeatureSpec(F_ADDS_OPPOSITE_100MS, "adds_opposite_100ms", "1/s", 100_000_000, False,
                "times a second that size was added, on the other side"),
    FeatureSpec(F_CANCELS_OWN_100MS, "cancels_own_100ms", "1/s", 100_000_000, False,
                "times a second that size was removed and not traded, on the side where the quote stands"),
    FeatureSpec(F_CANCELS_OPPOSITE_100MS, "cancels_opposite_100ms", "1/s", 100_000_000, False,
                "times a second that size was removed and not traded, on the other side"),
    FeatureSpec(F_ADD_RATE_OWN_1S, "add_rate_own_1s", "lots/s", 1_000_000_000, False,
                "size added a second, on the side where the quote stands"),
    FeatureSpec(F_ADD_RATE_OPPOSITE_1S, "add_rate_opposite_1s", "lots/s", 1_000_000_000, False,
                "size added a second, on the other side"),
    FeatureSpec(F_CANCEL_RATE_OWN_1S, "cancel_rate_own_1s", "lots/s", 1_000_000_000, False,
                "size removed a second and not traded, on the side where the quote stands"),
    FeatureSpec(F_CANCEL_RATE_OPPOSITE_1S, "cancel_rate_opposite_1s", "lots/s", 1_000_000_000, False,
                "size removed a second and not traded, on the other side"),
    FeatureSpec(F_ADDS_OWN_1S, "adds_own_1s", "1/s", 1_000_000_000, False,
                "times a second that size was added, on the side where the quote stands"),
    FeatureSpec(F_ADDS_OPPOSITE_1S, "adds_opposite_1s", "1/s", 1_000_000_000, False,
                "times a second that size was added, on the other side"),
    FeatureSpec(F_CANCELS_OWN_1S, "cancels_own_1s", "1/s", 1_000_000_000, False,
                "times a second that size was removed and not traded, on the side where the quote stands"),
    FeatureSpec(F_CANCELS_OPPOSITE_1S, "cancels_opposite_1s", "1/s", 1_000_000_000, False,
                "times a second that size was removed and not traded, on the other side"),
)

if [spec.index for spec in SCHEMA] != list(range(FEATURES)):
    raise AssertionError("schema.pxd and schema.pyx disagree")

NAMES = tuple([spec.name for spec in SCHEMA])
INDEX = {spec.name: spec.index for spec in SCHEMA}


def _hash():
    rows = [[spec.name, spec.unit, spec.window_ns, spec.signed] for spec in SCHEMA]
    text = json.dumps([SCHEMA_VERSION, rows], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


SCHEMA_HASH = _hash()
