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
        SetSpec(f"{kind} {coin}", kind, f"{kind}-{coin}", "0.5bp", CRYPTO, {}, {500: universal}, {500: 0.05}, True)
        for kind, coin, universal in (
            ("usdm", "BTC", (0.711, 0.079)), ("usdm", "ETH", (0.684, 0.064)),
            ("spot", "BTC", (0.697, 0.073)), ("spot", "ETH", (0.742, 0.100)),
        )
    ),
)  # fmt: skip


def targets(sets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each must of the table that these sets can tell, by the microprice: what, what it must be, what it is, met."""
    out: list[dict[str, Any]] = []
    named = {entry["name"]: entry for entry in sets if entry["reference"] == "microprice"}

    def add(name: str, what: str, must: str, value: float | None, met: bool | None) -> None:
        out.append({"set": name, "what": what, "must": must, "value": value, "met": met})

    crypto = []
    for spec in SETS:
        entry = named.get(spec.name)
        if entry is None:
            continue
        by_horizon = {
            each["horizon_ns"] // MS: {m["model"]: m for m in each["models"]} for each in entry["horizons"]
        }
        for ms, (auc_least, skill_least) in spec.must.items():
            own = by_horizon[ms][entry["model"]]
            add(spec.name, f"AUC {ms} ms", f">= {auc_least}", own["auc"], _at_least(own["auc"], auc_least))
            skill = own["brier_skill"]
            add(
                spec.name,
                f"Brier skill {ms} ms",
                f">= {skill_least}",
                skill,
                _at_least(skill, skill_least),
            )
        for ms, ece in spec.ece.items():
            found = by_horizon[ms][entry["model"]]["ece"]
            add(spec.name, f"ECE {ms} ms", f"<= {ece}", found, found <= ece)
        for row in entry["frontier"]:
            if (row["model"], row["policy"]) != (entry["model"], "expected value"):
                continue
            change = row["change"]
            if row["fill"] == 0.5 and spec.crypto:
                add(
                    spec.name,
                    "frontier at 50 % fill",
                    "< -0.20",
                    change,
                    change is not None and change < -0.20,
                )
            elif row["fill"] == 0.5:
                upper = row["interval"][1] if row["interval"] else None
                add(
                    spec.name,
                    "frontier at 50 % fill, upper end",
                    "< -0.25",
                    upper,
                    bool(upper and upper < -0.25),
                )
            elif row["fill"] == 0.9:
                add(
                    spec.name,
                    "frontier at 90 % fill",
                    "<= 0.03",
                    change,
                    change is not None and change <= 0.03,
                )
        out += _value_targets(spec.name, entry["value"])
        out += _held_targets(spec.name, entry["held_tolerance"])
        if spec.crypto:
            crypto.append((by_horizon[500][entry["model"]]["auc"], by_horizon[500][IMBALANCE]["auc"]))
    if len(crypto) == 4:
        own, bar = (float(mean) for mean in np.mean(crypto, axis=0))
        add("crypto, mean of four", "AUC 500 ms", f"> {bar:.4f} (queue imbalance)", own, own > bar)
    return out


def _at_least(value: float | None, least: float) -> bool:
    # Not rounded first: .0598 is not .060.
    return value is not None and value >= least


def _value_targets(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Within the interval: not worse than the best fixed life by more than chance.
    out = []
    for row in rows:
        if row["slice"] != "all" or row["policy"].removesuffix(" + withdrawal") != "expected value":
            continue
        watched = row["policy"].endswith("withdrawal")
        upper = row["over_static_interval"][1] if row["over_static_interval"] else None
        plain = next(
            each["value"] for each in rows
            if (each["case"], each["slice"], each["policy"]) == (row["case"], "all", "static best")
        )  # fmt: skip
        met = upper is not None and upper >= 0.0
        if watched:
            met = met and row["interval"] is not None and row["interval"][1] >= plain
        out.append(
            {
                "set": name,
                "what": f"value, {row['case']}" + (", withdrawal" if watched else ""),
                "must": ">= best fixed life, within the interval"
                + (", without and with withdrawal" if watched else ""),
                "value": row["over_static"],
                "met": met,
            }
        )
    return out


def _held_targets(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if name not in ("GBP", "AMZN"):
        return []
    return [
        {
            "set": name,
            "what": f"held tolerance, {row['posture']}, {row['model']}: worst 2,000 in a row",
            "must": f"<= {row['alpha'] + 0.01:g}",
            "value": row["worst_2000"],
            "met": None if row["worst_2000"] is None else row["worst_2000"] <= row["alpha"] + 0.01,
        }
        for row in rows
        if row["held"]
    ]
