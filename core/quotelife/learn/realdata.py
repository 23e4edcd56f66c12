"""The recorded sets of the suite, and what the figures on them must reach."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quotelife.learn import served
from quotelife.learn.backtest import IMBALANCE, MS, Plan, S

FULL_DAY = Plan()
CRYPTO = Plan(
    block_ns=10 * S, recalibration=served.CRYPTO, purge_ns=5_500 * MS,
    horizons_ns=(100 * MS, 250 * MS, 500 * MS, 1000 * MS, 2000 * MS),
)  # fmt: skip
STOCKS = replace(FULL_DAY, horizons_ns=(100 * MS, 250 * MS, *FULL_DAY.horizons_ns))


@dataclass(frozen=True)
class Recording:
    """Files that are replayed together, relative to the data folder, and the instruments in them, as YAML."""

    every_ns: int
    instruments: tuple[str, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class SetSpec:
    """One set of the table. ``must`` and ``baseline``: figure → (least AUC, least skill) by horizon in ms."""

    name: str
    recording: str
    instrument: str
    threshold: str
    plan: Plan
    must: dict[int, tuple[float, float]]
    baseline: dict[int, tuple[float, float]]
    ece: dict[int, float]
    crypto: bool = False


def _binance(kind: str) -> Recording:
    venue = f"binance-{kind}"
    tick, lot = {"usdm": (("0.1", "0.01"), "0.001"), "spot": (("0.01", "0.01"), "0.00000001")}[kind]
    coins = (("BTC", "ETH", tick[0]), ("ETH", "BTC", tick[1]))
    return Recording(
        50 * MS,
        tuple(
            f'{{name: {kind}-{own}, venue: {venue}, symbol: {own}USDT, tick_size: "{size}", lot_size: "{lot}", '
            f"drivers: [{kind}-{other}]}}"
            for own, other, size in coins
        ),
        tuple(f"{kind}-{own}=binance/{kind}/{own.lower()}usdt_20240808.gz" for own, _, _ in coins),
    )


def _nasdaq(symbol: str, levels: int) -> Recording:
    return Recording(
        250 * MS,
        (
            f'{{name: {symbol}, venue: nasdaq, symbol: {symbol}, tick_size: "0.01", lot_size: "1", order_level: true}}',
        ),
        (f"lobster/LOBSTER_SampleFile_{symbol}_2012-06-21_{levels}.zip",),
    )


RECORDINGS = {
    "gbp": Recording(
        250 * MS,
        ('{name: GBP, venue: cme, symbol: GBPUSD, tick_size: "0.0001", lot_size: "1"}',),
        ("cme/gbpusd_16june_quotes_0503.parquez.gzip", "cme/gbpusd_16june_trades_0503.parquez.gzip"),
    ),
    "amzn": _nasdaq("AMZN", 5),
    "aapl": _nasdaq("AAPL", 1),
    "usdm": _binance("usdm"),
    "spot": _binance("spot"),
}
DAY_ECE = {500: 0.004, 2000: 0.01}
SETS = (
    SetSpec("GBP", "gbp", "GBP", "1tick", replace(FULL_DAY, held_life_min_ns=500 * MS),
            {500: (0.895, 0.040), 2000: (0.885, 0.136)}, {500: (0.900, 0.045), 2000: (0.886, 0.136)}, DAY_ECE),
    SetSpec("AMZN", "amzn", "AMZN", "6tick", STOCKS,
            {500: (0.79, 0.060), 2000: (0.75, 0.093)}, {500: (0.786, 0.060), 2000: (0.748, 0.094)}, DAY_ECE),
    SetSpec("AAPL", "aapl", "AAPL", "7tick", STOCKS,
            {500: (0.755, 0.065), 2000: (0.72, 0.098)}, {500: (0.758, 0.067), 2000: (0.722, 0.100)}, DAY_ECE),
    *(
        SetSpec(f"{kind} {coin}", kind, f"{kind}-{coin}", "0.5bp", CRYPTO, {}, {500: universal},
                {500: 0.05, 2000: 0.05}, True)
        for kind, coin, universal in (
            ("usdm", "BTC", (0.711, 0.079)), ("usdm", "ETH", (0.684, 0.064)),
            ("spot", "BTC", (0.697, 0.073)), ("spot", "ETH", (0.742, 0.100)),
        )
    ),
)  # fmt: skip


def targets(sets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each must of the table that these sets can tell, by the microprice: what, what it must be, what it is, its
    interval where it has one, met; where that is not known, the reason."""
    named = {entry["name"]: entry for entry in sets if entry["reference"] == "microprice"}
    out: list[dict[str, Any]] = []
    crypto: list[tuple[float, float]] = []
    left_out: list[str] = []
    for spec in SETS:
        entry = named.get(spec.name)
        if entry is None:
            if spec.crypto:
                left_out.append(spec.name)
            continue
        by_horizon = {
            each["horizon_ns"] // MS: {m["model"]: m for m in each["models"]} for each in entry["horizons"]
        }
        out += _score_targets(spec, {ms: models[entry["model"]] for ms, models in by_horizon.items()})
        out += _frontier_targets(spec, entry)
        out += _value_targets(spec.name, entry["value"])
        out += _held_targets(spec, entry["held_tolerance"])
        if spec.crypto:
            crypto.append((by_horizon[500][entry["model"]]["auc"], by_horizon[500][IMBALANCE]["auc"]))
    if crypto and left_out:
        reason = f"{', '.join(left_out)} left out"
        out.append(
            _target("crypto, mean of four", "AUC 500 ms", "> queue imbalance", None, None, reason=reason)
        )
    elif crypto:
        own, bar = (float(mean) for mean in np.mean(crypto, axis=0))
        must = f"> {bar:.4f} (queue imbalance)"
        out.append(_target("crypto, mean of four", "AUC 500 ms", must, own, own > bar))
    return out


def _target(
    name: str, what: str, must: str, value: float | None, met: bool | None,
    *, interval: list[float] | None = None, reason: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Not known without a value."""
    found: dict[str, Any] = {"set": name, "what": what, "must": must, "value": value, "met": met}
    if interval is not None:
        found["interval"] = interval
    if met is None:
        found["reason"] = reason
    return found


def _score_targets(spec: SetSpec, own: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    # Not rounded first: .0598 is not .060.
    out = []
    for ms, (auc_least, skill_least) in spec.must.items():
        for what, key, least in (("AUC", "auc", auc_least), ("Brier skill", "brier_skill", skill_least)):
            value, interval = own[ms][key], own[ms].get(f"{key}_interval")
            met = value is not None and value >= least
            out.append(_target(spec.name, f"{what} {ms} ms", f">= {least}", value, met, interval=interval))
    for ms, most in spec.ece.items():
        value = own[ms]["ece"]
        out.append(_target(spec.name, f"ECE {ms} ms", f"<= {most}", value, value <= most))
    return out


def _frontier_targets(spec: SetSpec, entry: dict[str, Any]) -> list[dict[str, Any]]:
    own = {
        row["fill"]: row
        for row in entry["frontier"]
        if (row["model"], row["policy"]) == (entry["model"], "expected value")
    }
    wanted = ((0.5, not spec.crypto, -0.20 if spec.crypto else -0.25), (0.9, False, 0.03))
    out = []
    for level, by_upper, most in wanted:
        if level not in own:
            continue
        row = own[level]
        value = row["change"] if not by_upper else row["interval"][1] if row["interval"] else None
        what = f"frontier at {100 * level:.0f} % fill" + (", upper end" if by_upper else "")
        met = None if value is None else value < most if level < 0.9 else value <= most
        must = f"{'<' if level < 0.9 else '<='} {most:.2f}"
        reason = "no such fill" if row["change"] is None else "too many draws without such a fill"
        out.append(_target(spec.name, what, must, value, met, interval=row["interval"], reason=reason))
    return out


def _value_targets(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # By the difference request by request: to both fixed lives where there is a watch, the harder one told.
    out = []
    for row in rows:
        if row["slice"] != "all" or row["policy"].removesuffix(" + withdrawal") != "expected value":
            continue
        watched = row["policy"].endswith("withdrawal")
        keys = ("over_static", "over_unwatched") if watched else ("over_static",)
        value, interval = min(
            ((row[key], row[f"{key}_interval"]) for key in keys),
            key=lambda each: each[1][1] if each[1] else each[0],
        )
        out.append(
            _target(
                name,
                f"value over the best fixed life, {row['case']}" + (", withdrawal" if watched else ""),
                "not shown below 0" + (", over the fixed life without withdrawal neither" if watched else ""),
                value,
                None if interval is None else interval[1] >= 0.0,
                interval=interval,
                reason="too few blocks for an interval",
            )
        )
    return out


def _held_targets(spec: SetSpec, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for row in rows:
        if not row["held"]:
            continue
        most, worst = row["alpha"] + 0.01, row["worst_2000"]
        # Minutes: the first 2,000 labels warm it up, and what follows is a run or two.
        judged = worst is not None and not spec.crypto
        reason = (
            "no 2,000 labels in a row after the first 2,000"
            if worst is None
            else "minutes of data: told, not judged"
        )
        out.append(
            _target(
                spec.name,
                f"held tolerance, {row['posture']}, {row['model']}: worst 2,000 in a row",
                f"<= {most:g}",
                worst,
                worst <= most if judged else None,
                reason=reason,
            )
        )
    return out
