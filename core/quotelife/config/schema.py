"""The configuration as frozen models: every key, its type, its range and its default.

Keys are named as a desk writes them; durations are text with a unit (``150ms``) and end up as int64
nanoseconds in the attribute of the same name with ``_ns``. Percentages are plain fractions (0.02 is 2 %).
What one value alone can tell is checked here, what takes two values in ``checks``.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WrapValidator,
    field_validator,
)

from quotelife.instruments import Instrument, InstrumentTable
from quotelife.units import NS_PER_MS, NS_PER_S, NS_PER_US, format_duration_ns, parse_duration_ns

GAMMA = 1.7317483049889
"""Shape of the curve behind the tolerance formula: at a tolerance of 2 %, p500 = 15 % gives 150 ms."""

ALPHA_MAX = 0.5
STEP_ROWS_MAX = 16
DRIVERS_MAX = 2
VOLATILITY_INDICES_MAX = 16
DURATION_MAX_NS = 400 * 86_400 * NS_PER_S
MONITOR_LEAST_NS = 60 * NS_PER_S
MONITOR_MOST_NS = 365 * 86_400 * NS_PER_S

PostureName = Literal["client_priority", "liquidity_provider", "risk_averse"]
PromotionMarket = Literal["full_day", "crypto"]
"""By whose bounds the promotion gates judge: a full day of data, or minutes of crypto, which show less."""
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _parse_duration(value: object, within_bounds: Callable[[int], int]) -> int:
    if not isinstance(value, str):
        raise ValueError("write a duration as a number with its unit, such as 150ms, 2s or 5min")
    duration_ns = parse_duration_ns(value)
    if duration_ns > DURATION_MAX_NS:
        raise ValueError(f"must be at most {_span(DURATION_MAX_NS)}")
    try:
        return within_bounds(duration_ns)
    except ValidationError as error:  # its words are of so many ns
        bounds = error.errors()[0].get("ctx", {})
        told = [f"{words} {_span(bounds[key])}" for key, words in _BOUNDS.items() if key in bounds]
        raise ValueError(f"must be {told[0]}") from None


_BOUNDS = {"ge": "at least", "le": "at most", "gt": "longer than", "lt": "shorter than"}


def _span(duration_ns: int) -> str:
    days, rest = divmod(duration_ns, 86_400 * NS_PER_S)
    return f"{days}d" if days and not rest else "0s" if not duration_ns else format_duration_ns(duration_ns)


def _parse_decimal(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("write a number, such as 0.01")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("write a number, such as 0.01") from None
    if not number.is_finite():
        raise ValueError("must be finite")
    return number


_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")


def _parse_clock(value: object) -> int:
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a time of day as HH:MM or HH:MM:SS")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    if minutes > 59 or seconds > 59 or hours * 3600 + minutes * 60 + seconds > 86_400:
        raise ValueError("a time of day lies between 00:00 and 24:00")
    return hours * 3600 + minutes * 60 + seconds


def _format_clock(value: int) -> str:
    return f"{value // 3600:02}:{value // 60 % 60:02}:{value % 60:02}"


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})")


def _parse_instant(value: object) -> int:
    if not isinstance(value, str) or _INSTANT.fullmatch(value) is None:
        raise ValueError("write an instant with its UTC offset, such as 2026-03-18T18:00:00Z")
    moment = datetime.fromisoformat(value)  # its ValueError names the part that is out of range
    try:
        since = moment - _EPOCH
    except OverflowError:
        raise ValueError("outside the years 1970 to 2200") from None
    if not timedelta(0) <= since <= timedelta(days=230 * 365):
        raise ValueError("outside the years 1970 to 2200")
    return since // timedelta(seconds=1) * NS_PER_S


def _format_instant(value: int) -> str:
    return (_EPOCH + timedelta(seconds=value // NS_PER_S)).isoformat()


def _as_text(form: Callable[[int], str]) -> PlainSerializer:
    return PlainSerializer(form, return_type=str, when_used="json")


def _parse_day(value: object) -> object:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is None:
        raise ValueError("write a day as 2026-12-25")
    day = date.fromisoformat(value)
    if not 1970 <= day.year < 2200:
        raise ValueError("outside the years 1970 to 2200")
    return day


CalendarDay = Annotated[date, BeforeValidator(_parse_day)]
# Bounds stand before the validator, which then tells them as durations; so do those of a ``Field`` assigned.
_DURATION = WrapValidator(_parse_duration)
_DURATION_TEXT = _as_text(format_duration_ns)
Duration = Annotated[int, _DURATION, _DURATION_TEXT]
LongerThanZero = Annotated[int, Field(gt=0), _DURATION, _DURATION_TEXT]
Latency = Annotated[int, Field(le=60 * NS_PER_S), _DURATION, _DURATION_TEXT]
ResponseTime = Annotated[int, Field(ge=NS_PER_MS, le=3600 * NS_PER_S), _DURATION, _DURATION_TEXT]
TimeOfDay = Annotated[int, BeforeValidator(_parse_clock), _as_text(_format_clock)]
Instant = Annotated[int, BeforeValidator(_parse_instant), _as_text(_format_instant)]
Size = Annotated[
    Decimal, BeforeValidator(_parse_decimal), Field(ge=Decimal("1e-12"), le=Decimal("1e12"), max_digits=24)
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=10)]
Ratio = Annotated[float, Field(gt=1, le=1e6)]
Exposure = Annotated[float, Field(gt=0, le=1e18)] | None
"""What may be lost by picked-off live quotes, expected, in price units times size units; ``None``: any."""


def _instrument_set(value: object) -> object:
    if not isinstance(value, str | list | tuple) or not value:
        raise ValueError("write all, or a list of instruments")
    return None if value == "all" else tuple(value) if isinstance(value, list) else value


InstrumentSet = Annotated[
    tuple[Name, ...] | None,
    BeforeValidator(_instrument_set),
    PlainSerializer(lambda names: "all" if names is None else list(names), when_used="json"),
]
"""Names of instruments, or the word ``all``, which is ``None`` here."""


class Section(BaseModel):
    """Base of every part: unknown keys, wrong types, NaN and infinity are refused; nothing can be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Driver(Section):
    """A correlated asset: another instrument (a bare name says the same), or the synthetic ratio of two."""

    numerator: Name
    denominator: Name | None = None


def _driver(value: object) -> object:
    return {"numerator": value} if isinstance(value, str) else value


class Staleness(Section):
    """Data is stale after ``gap_multiple`` times the instrument's own expected gap, inside [min, max]."""

    gap_multiple: float = Field(default=20.0, ge=1, le=1e6)
    min_ns: LongerThanZero = Field(default=1 * NS_PER_S, alias="min")
    max_ns: LongerThanZero = Field(default=30 * NS_PER_S, alias="max")


class InstrumentSettings(Section):
    """One instrument; its place in the list is its dense index."""

    name: Name
    group: Name | None = None
    venue: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    symbol: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,31}$")]
    tick_size: Size
    lot_size: Size
    enabled: bool = True
    adverse_ticks: float = Field(default=1.0, ge=0, le=1e6)
    adverse_bps: float = Field(default=0.0, ge=0, le=1e4)
    reference: Literal["auto", "mid", "microprice"] = "auto"
    microprice_spread_ticks_max: float = Field(default=4.0, ge=1, le=1e6)
    drivers: tuple[Annotated[Driver, BeforeValidator(_driver)], ...] = Field(
        default=(), max_length=DRIVERS_MAX
    )
    volatility_index: Name | None = None
    underlying: Name | None = None
    premium: Literal["quote", "underlying"] = "quote"
    book_levels_max: int = Field(default=4096, ge=8, le=65_536)
    book_orders_max: int = Field(default=65_536, ge=1, le=4_194_304)
    quotes_only: bool = False
    order_level: bool = False
    purge_after_ns: LongerThanZero = Field(default=1 * NS_PER_S, alias="purge_after")
    warmup_ns: Duration = Field(default=2 * NS_PER_S, alias="warmup")
    stale: Staleness = Staleness()
    exposure_max: Exposure = None


class StepRowSettings(Section):
    """From this P(500 ms) on, this life."""

    p_at_or_above: Fraction
    life_ns: LongerThanZero = Field(alias="life")


STEP_PRESETS: dict[str, tuple[tuple[float, int], ...]] = {
    "step_2pct": ((0.0, 750 * NS_PER_MS), (0.02, 100 * NS_PER_MS)),
}


class Weights(Section):
    """How strongly each input's risk score scales the tolerance: alpha · exp(−Σ w · risk)."""

    fill_rate: Weight = 0.0
    size_ratio: Weight = 0.0
    depth: Weight = 0.0
    imbalance: Weight = 0.0
    inventory: Weight = 0.0
    vwap_deviation: Weight = 0.0
    cancel_rate: Weight = 0.0
    spread_volatility: Weight = 0.0
    update_frequency: Weight = 0.0
    driver_velocity: Weight = 0.0


class ClientPriorityWeights(Weights):
    fill_rate: Weight = 0.05
    size_ratio: Weight = 0.05
    depth: Weight = 0.05


class LiquidityProviderWeights(Weights):
    imbalance: Weight = 0.05
    inventory: Weight = 0.05
    vwap_deviation: Weight = 0.05
    cancel_rate: Weight = 0.05


class RiskAverseWeights(Weights):
    spread_volatility: Weight = 0.05
    update_frequency: Weight = 0.05
    driver_velocity: Weight = 0.05


class StepTable(Section):
    """A preset, or rows of one's own, in rising p from 0 on."""

    preset: Literal["step_2pct"] | None = None
    rows: tuple[StepRowSettings, ...] = Field(default=(), max_length=STEP_ROWS_MAX)

    def steps(self) -> tuple[tuple[float, int], ...]:
        """(p at or above, life in ns) of every row, in rising p."""
        if self.preset is not None:
            return STEP_PRESETS[self.preset]
        return tuple((row.p_at_or_above, row.life_ns) for row in self.rows)


def _step_table(value: object) -> object:
    if isinstance(value, str):
        return {"preset": value}
    if isinstance(value, dict) and isinstance(rows := value.get("rows"), list):
        return value | {"rows": tuple(rows)}
    return {"rows": tuple(value)} if isinstance(value, list | tuple) else value


class ValueSettings(Section):
    """What a posture puts into the expected value of a life, and what follows from no value; docs/expected-value.md."""

    relationship_in_h: float = Field(default=0.0, ge=0, le=10)
    pick_off_weight: float = Field(default=1.0, ge=0, le=100)
    inventory_weight: float = Field(default=0.0, ge=0, le=10)
    no_value: Literal["indicative", "decline"] = "indicative"


class ClientPriorityValue(ValueSettings):
    relationship_in_h: float = Field(default=0.1, ge=0, le=10)
    pick_off_weight: float = Field(default=0.75, ge=0, le=100)


class LiquidityProviderValue(ValueSettings):
    inventory_weight: float = Field(default=0.1, ge=0, le=10)


class RiskAverseValue(ValueSettings):
    pick_off_weight: float = Field(default=3.0, ge=0, le=100)


class HeldToleranceSettings(Section):
    """Keep the realised share of passed lives at or below the tolerance; docs/online.md."""

    enabled: bool = False
    rate: float = Field(default=0.002, gt=0, le=0.5)
    target: float = Field(default=0.8, gt=0, le=1)


class PostureSettings(Section):
    """Tolerance, bounds, value terms and input weights of one posture.

    Under ``expected_value`` the tolerance caps the life, and decides alone where a request gives no edge.
    """

    mode: Literal["tolerance", "step", "expected_value"] = "tolerance"
    tolerance_source: Literal["p500", "curve"] = "p500"
    tolerance: float = Field(gt=0, le=ALPHA_MAX)
    gamma: float = Field(default=GAMMA, ge=0.1, le=10)
    held_tolerance: HeldToleranceSettings = HeldToleranceSettings()
    life_min_ns: LongerThanZero = Field(alias="life_min")
    life_max_ns: LongerThanZero = Field(alias="life_max")
    below_minimum: Literal["clip", "decline"] | None = None
    value: ValueSettings = ValueSettings()
    step_table: Annotated[StepTable, BeforeValidator(_step_table)] = StepTable(preset="step_2pct")
    weights: Weights = Weights()

    @property
    def declines_below_minimum(self) -> bool:
        """``below_minimum``, or what the mode makes of it where it is left out."""
        return (self.below_minimum or ("decline" if self.mode == "expected_value" else "clip")) == "decline"


class ClientPriority(PostureSettings):
    tolerance: float = Field(default=0.10, gt=0, le=ALPHA_MAX)
    life_min_ns: LongerThanZero = Field(default=250 * NS_PER_MS, alias="life_min")
    life_max_ns: LongerThanZero = Field(default=5000 * NS_PER_MS, alias="life_max")
    value: ClientPriorityValue = ClientPriorityValue()
    weights: ClientPriorityWeights = ClientPriorityWeights()


class LiquidityProvider(PostureSettings):
    tolerance: float = Field(default=0.05, gt=0, le=ALPHA_MAX)
    life_min_ns: LongerThanZero = Field(default=100 * NS_PER_MS, alias="life_min")
    life_max_ns: LongerThanZero = Field(default=2000 * NS_PER_MS, alias="life_max")
    value: LiquidityProviderValue = LiquidityProviderValue()
    weights: LiquidityProviderWeights = LiquidityProviderWeights()


class RiskAverse(PostureSettings):
    tolerance: float = Field(default=0.02, gt=0, le=ALPHA_MAX)
    life_min_ns: LongerThanZero = Field(default=100 * NS_PER_MS, alias="life_min")
    life_max_ns: LongerThanZero = Field(default=750 * NS_PER_MS, alias="life_max")
    value: RiskAverseValue = RiskAverseValue()
    weights: RiskAverseWeights = RiskAverseWeights()


class Postures(Section):
    """The three postures, from the least to the most careful."""

    client_priority: ClientPriority = ClientPriority()
    liquidity_provider: LiquidityProvider = LiquidityProvider()
    risk_averse: RiskAverse = RiskAverse()


class Standard(Section):
    """What is usual for an input: risk = (value − center) / scale, in the input's own measure."""

    center: float = Field(ge=-1e6, le=1e6)
    scale: float = Field(ge=1e-9, le=1e6)


class RiskInputs(Section):
    """How each input is standardised; ratios are taken as their logarithm, so 0 is "as usual" for them."""

    fill_rate: Standard = Standard(center=0.3, scale=0.15)
    size_ratio: Standard = Standard(center=0.0, scale=0.7)
    depth: Standard = Standard(center=0.0, scale=0.5)
    imbalance: Standard = Standard(center=0.0, scale=0.4)
    inventory: Standard = Standard(center=0.0, scale=0.4)
    vwap_deviation: Standard = Standard(center=0.0, scale=5e-5)
    cancel_rate: Standard = Standard(center=0.0, scale=0.7)
    spread_volatility: Standard = Standard(center=0.0, scale=0.7)
    update_frequency: Standard = Standard(center=0.0, scale=0.7)
    driver_velocity: Standard = Standard(center=0.0, scale=0.03)


class TierValue(Section):
    """What expected value assumes of a counterparty without a history; docs/expected-value.md."""

    hit_probability: Fraction = 0.3
    response_median_ns: ResponseTime = Field(default=1000 * NS_PER_MS, alias="response_median")
    response_sigma: float = Field(default=0.8, ge=0.01, le=3)
    latency_ns: Latency = Field(default=20 * NS_PER_MS, alias="latency")
    informed_share: Fraction = 0.1
    taker_latency_ns: Latency = Field(default=5 * NS_PER_MS, alias="taker_latency")
    loss_in_h: float = Field(default=1.5, ge=0, le=100)
    adverse_share: float = Field(default=0.25, ge=0, le=10)
    watch_leaves: Fraction = 0.5


class Throttle(Section):
    """At most ``decisions_max`` decisions in any ``window``; off where that is null."""

    decisions_max: int | None = Field(default=None, ge=1, le=10_000)
    window_ns: LongerThanZero = Field(default=1 * NS_PER_S, alias="window")
    release: Literal["manual", "automatic"] = "manual"
    pause_ns: LongerThanZero = Field(default=10 * NS_PER_S, alias="pause")


class Tier(Section):
    """A class of counterparties: its posture and what is assumed of a member without a history."""

    posture: PostureName | None = None
    throttle: Throttle | None = None
    fill_rate: Fraction | None = None
    value: TierValue = TierValue()
    average_size: dict[Name, Size] = Field(default_factory=dict)


class Window(Section):
    """Every week on ``days``, from ``from`` until before ``to`` on the wall clocks of ``timezone``.

    ``to`` earlier than ``from`` runs into the next morning; the day is the one on which the window opens.
    """

    days: tuple[Day, ...] = Field(default=DAYS, max_length=7)
    from_s: TimeOfDay = Field(alias="from")
    to_s: TimeOfDay = Field(alias="to")
    timezone: str = Field(min_length=1, max_length=64)

    def ahead(self, now_ns: int) -> list[tuple[int, int]]:
        """[start, end), UTC ns, of the time under way or next; none where no day is named."""
        here = ZoneInfo(self.timezone)
        today = datetime.fromtimestamp(now_ns // NS_PER_S, here).date()
        for days in range(-1, 9):
            day = today + timedelta(days=days)
            start = _midnight_ns(day, here, self.from_s)
            end = _midnight_ns(day + timedelta(days=self.from_s >= self.to_s), here, self.to_s)
            if DAYS[day.weekday()] in self.days and end > now_ns:
                return [(start, end)]
        return []


class Override(Section):
    """A desk's word on one counterparty; the first that fits in the list is taken."""

    instruments: InstrumentSet = None
    window: Window | None = None
    posture: PostureName


class Counterparty(Section):
    tier: Name | None = None
    throttle: Throttle | None = None
    overrides: tuple[Override, ...] = Field(default=(), max_length=256)


class PriceBounds(Section):
    """How far from the service's own mid a quoted price and a caller's reference may lie, and what an edge may do.

    The bound is the wider of ``bps`` of the mid and ``spreads`` of the spread.
    """

    bps: float = Field(default=100.0, ge=0, le=1e4)
    spreads: float = Field(default=10.0, ge=1, le=1e6)
    beyond: Literal["decline", "indicative"] = "decline"
    negative_edge: Literal["shortest", "refuse"] = "shortest"
    edge_widens_max: float = Field(default=50.0, ge=1, le=1e6)


class Desk(Section):
    posture: PostureName | None = None
    allow_request_override: bool = False
    not_good: Literal["decline", "risk_averse"] | None = None
    price_bounds: PriceBounds | None = None
    exposure_max: Exposure = None


class VenueSession(Section):
    """How the venue behind a session consumes a life, and which lives it takes; docs/venue-sessions.md."""

    actuation: Literal["absolute", "relative", "withdraw", "last_look"]
    granularity_ns: LongerThanZero = Field(default=NS_PER_US, alias="granularity")
    life_min_ns: Duration = Field(default=0, alias="life_min")
    life_max_ns: LongerThanZero | None = Field(default=None, alias="life_max")
    transit_ns: Latency = Field(default=0, alias="transit")
    cancels_per_s: float | None = Field(default=None, ge=0.01, le=1e6)
    cancels_burst: int = Field(default=1, ge=1, le=1_000_000)


class Watch(Section):
    """What live quotes are watched for, and how many; docs/watching.md."""

    quotes_max: int = Field(default=100_000, ge=1, le=1_000_000)
    withdraw_at: float = Field(default=0.5, gt=0, le=1)
    judge_every_ns: LongerThanZero = Field(default=50 * NS_PER_MS, alias="judge_every")
    judge_most: int = Field(default=64, ge=0, le=4096)
    hints_most: int = Field(default=16, ge=0, le=4096)
    forget_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="forget")
    heartbeat_ns: Annotated[int, Field(ge=10 * NS_PER_MS, le=60 * NS_PER_S), _DURATION, _DURATION_TEXT] = (
        Field(default=250 * NS_PER_MS, alias="heartbeat")
    )
    heartbeats_missed: int = Field(default=2, ge=1, le=100)
    lease_ns: Annotated[int, Field(ge=20 * NS_PER_MS, le=60 * NS_PER_S), _DURATION, _DURATION_TEXT] = Field(
        default=40 * NS_PER_MS, alias="lease"
    )
    repeat_ns: Annotated[int, Field(ge=10 * NS_PER_MS, le=60 * NS_PER_S), _DURATION, _DURATION_TEXT] = Field(
        default=100 * NS_PER_MS, alias="repeat"
    )


class Packages(Section):
    """Quotes of several legs; docs/packages.md."""

    legs_max: int = Field(default=16, ge=2, le=16)
    combine: Literal["frechet"] = "frechet"
    delta_neutral_share: float = Field(default=0.05, ge=0, le=1)
    greeks_age_max_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="greeks_age_max")
    volatility_points: float = Field(default=0.01, ge=0, le=100)
    residual_ticks: float = Field(default=0.1, ge=0, le=1e6)


class Defaults(Section):
    """What holds where nothing else does; ``value`` for counterparties without a tier."""

    posture: PostureName = "liquidity_provider"
    unknown_counterparty_tier: Name | None = None
    allow_request_override: bool = False
    not_good: Literal["decline", "risk_averse"] = "decline"
    price_bounds: PriceBounds = PriceBounds()
    value: TierValue = TierValue()


class Regimes(Section):
    """When the market is in STRESS, and when it has left it."""

    volatility_ratio: Ratio = 5.0
    spread_volatility_ratio: Ratio = 5.0
    news_score: float = Field(default=0.8, gt=0, le=1)
    news_fresh_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="news_fresh")
    decorrelation_z: float = Field(default=4.0, gt=0, le=1e6)
    update_frequency_ratio: Ratio = 4.0
    exit_after_ns: Duration = Field(default=10 * NS_PER_S, alias="exit_after")
    exit_fraction: float = Field(default=0.6, gt=0, le=1)
    unknown_release_ns: Duration = Field(default=60 * NS_PER_S, alias="unknown_release")


class Calendar(Section):
    """A scheduled regime: dated (``start`` until before ``end``), weekly (``window``), or whole days (``dates``)."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    regime: Literal["auction", "scheduled_news", "halt"]
    instruments: InstrumentSet = None
    venues: tuple[str, ...] = Field(default=(), max_length=256)
    dates: tuple[CalendarDay, ...] = Field(default=(), max_length=1024)
    timezone: str = "UTC"
    start_ns: Instant | None = Field(default=None, alias="start")
    end_ns: Instant | None = Field(default=None, alias="end")
    window: Window | None = None

    @property
    def everywhere(self) -> bool:
        """It is about all instruments."""
        return self.instruments is None and not self.venues

    def concerns(self, names: Set[str], venues: Set[str]) -> bool:
        """It is about one of the instruments of these names, which have these venues."""
        named = not names.isdisjoint(self.instruments or ())
        return self.everywhere or named or not venues.isdisjoint(self.venues)

    def ahead(self, now_ns: int) -> list[tuple[int, int]]:
        """[start, end), UTC ns, of what is under way or to come; of a weekly one the next alone."""
        if self.window is None:
            return sorted(span for span in self.spans() if span[1] > now_ns)
        return self.window.ahead(now_ns)

    def spans(self) -> tuple[tuple[int, int], ...]:
        """[start, end) of a dated entry and of each of its ``dates``, UTC ns; none of a weekly one."""
        if self.start_ns is not None and self.end_ns is not None:
            return ((self.start_ns, self.end_ns),)
        here = ZoneInfo(self.timezone)
        return tuple(
            (_midnight_ns(day, here), _midnight_ns(day + timedelta(days=1), here)) for day in self.dates
        )


def _midnight_ns(day: date, here: ZoneInfo, after_s: int = 0) -> int:
    """So many seconds of the local clock after midnight."""
    clock = datetime.combine(day, time()) + timedelta(seconds=after_s)
    return int(clock.replace(tzinfo=here).timestamp()) * NS_PER_S


class Signals(Section):
    """Slow signals from outside."""

    news_half_life_ns: LongerThanZero = Field(default=60 * NS_PER_S, alias="news_half_life")
    news_time_to_live_ns: LongerThanZero | None = Field(default=None, alias="news_time_to_live")
    volatility_index_time_to_live_ns: LongerThanZero = Field(
        default=86_400 * NS_PER_S, alias="volatility_index_time_to_live"
    )
    inventory_time_to_live_ns: LongerThanZero | None = Field(default=None, alias="inventory_time_to_live")
    greeks_time_to_live_ns: LongerThanZero | None = Field(default=None, alias="greeks_time_to_live")
    news_scorer: Name | None = "lexicon"
    volatility_indices: tuple[Name, ...] = Field(default=(), max_length=VOLATILITY_INDICES_MAX)


class Model(Section):
    """Which artifact draws the curve: the name of a shipped one, or the path of a folder."""

    artifact: str = Field(default="first_passage", min_length=1, max_length=4096)


class Recalibration(Section):
    """Rolling recalibration of the curve from labels resolved within ``window``; docs/online.md."""

    enabled: bool = True
    window_ns: Duration = Field(default=900 * NS_PER_S, alias="window", ge=NS_PER_S, le=7 * 86_400 * NS_PER_S)
    refit_ns: LongerThanZero = Field(default=5 * NS_PER_S, alias="refit", le=3600 * NS_PER_S)
    ridge: float = Field(default=50.0, ge=1e-3, le=1e6)


class Cusum(Section):
    """Calibration in the long run: each limit is the least mean time between false alarms, over all models and groups
    of the service together, were every model right."""

    odds: float = Field(default=2.0, ge=1.1, le=10.0)
    warn_ns: Duration = Field(
        default=86_400 * NS_PER_S, alias="warn", ge=MONITOR_LEAST_NS, le=MONITOR_MOST_NS
    )
    degraded_ns: Duration = Field(
        default=7 * 86_400 * NS_PER_S, alias="degraded", ge=MONITOR_LEAST_NS, le=MONITOR_MOST_NS
    )
    worst_ns: Duration = Field(
        default=30 * 86_400 * NS_PER_S, alias="worst", ge=MONITOR_LEAST_NS, le=MONITOR_MOST_NS
    )


class FeatureDrift(Section):
    """Population stability of the features that are asked about against those of the training."""

    window_ns: Duration = Field(
        default=86_400 * NS_PER_S, alias="window", ge=MONITOR_LEAST_NS, le=MONITOR_MOST_NS
    )
    every: int = Field(default=8, ge=1, le=100_000)
    samples_min: int = Field(default=5_000, ge=100, le=1_000_000_000)
    psi_max: float = Field(default=0.25, gt=0.0, le=100.0)


class Monitor(Section):
    """What the served models are worth now, and what is done about one that is not well."""

    enabled: bool = True
    window_ns: Duration = Field(
        default=3600 * NS_PER_S, alias="window", ge=MONITOR_LEAST_NS, le=7 * 86_400 * NS_PER_S
    )
    labels_min: int = Field(default=2_000, ge=100, le=1_000_000_000)
    outcomes_min: int = Field(default=100, ge=1, le=1_000_000_000)
    ece_max: float = Field(default=0.05, gt=0.0, le=1.0)
    skill_min: float = Field(default=-0.05, ge=-100.0, lt=0.0)
    cusum: Cusum = Cusum()
    features: FeatureDrift = FeatureDrift()
    worst: Literal["alert", "step_down"] = "alert"
    well_after_ns: Duration = Field(
        default=3600 * NS_PER_S, alias="well_after", ge=MONITOR_LEAST_NS, le=MONITOR_MOST_NS
    )
    automatic_return: bool = True


class Promotion(Section):
    """What a promotion asks of the verdict of the gates."""

    market: PromotionMarket = "full_day"
    verdict_age_max_ns: LongerThanZero = Field(default=7 * 86_400 * NS_PER_S, alias="verdict_age_max")


class Learning(Section):
    """What moves by itself: labels from the market, and what is made of them."""

    latency_ns: Duration = Field(default=NS_PER_MS, alias="latency", le=NS_PER_S)
    probe_interval_ns: Duration = Field(default=250 * NS_PER_MS, alias="probe_interval", le=3600 * NS_PER_S)
    recalibration: Recalibration = Recalibration()
    monitor: Monitor = Monitor()
    promotion: Promotion = Promotion()

    @field_validator("probe_interval_ns")
    @classmethod
    def _leaves_room_for_decisions(cls, value: int) -> int:
        if 0 < value < 50 * NS_PER_MS:
            raise ValueError(
                "0s (never) or at least 50ms: more probes would take the room of decisions' labels"
            )
        return value


class CounterpartyStatistics(Section):
    """What is learned of counterparties from reported outcomes; docs/counterparties.md."""

    enabled: bool = True
    used_by: Literal["expected_value", "all"] = "all"
    half_life_quotes: float = Field(default=500.0, ge=1, le=1e6)
    prior_quotes: float = Field(default=20.0, ge=0.01, le=1e6)
    prior_answers: float = Field(default=10.0, ge=0.01, le=1e6)
    prior_fills: float = Field(default=20.0, ge=0.01, le=1e6)
    pooled: bool = True
    counterparties_max: int = Field(default=4096, ge=1, le=100_000)


class Config(Section):
    """Everything that decides a life. Immutable; a change is a new Config, swapped whole."""

    version: Literal[1]
    instruments: tuple[InstrumentSettings, ...] = Field(default=(), max_length=65_536)
    postures: Postures = Postures()
    risk_inputs: RiskInputs = RiskInputs()
    tiers: dict[Name, Tier] = Field(default_factory=dict, max_length=256)
    counterparties: dict[Name, Counterparty] = Field(default_factory=dict, max_length=1_000_000)
    desks: dict[Name, Desk] = Field(default_factory=dict, max_length=65_536)
    defaults: Defaults = Defaults()
    venue_sessions: dict[Name, VenueSession] = Field(default_factory=dict, max_length=65_536)
    throttle: Throttle = Throttle()
    watch: Watch = Watch()
    packages: Packages = Packages()
    regimes: Regimes = Regimes()
    calendars: tuple[Calendar, ...] = Field(default=(), max_length=1024)
    signals: Signals = Signals()
    model: Model = Model()
    learning: Learning = Learning()
    counterparty_statistics: CounterpartyStatistics = CounterpartyStatistics()

    @property
    def digest(self) -> str:
        """sha256 of the content: the spread over files, comments and the order of keys do not matter."""
        content = self.model_dump(mode="json")
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def further_problems(self) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """Faults between values of the sections that a wider model adds, as ``checks.find_problems`` gives them."""
        return ()

    def instrument_table(self) -> InstrumentTable:
        """Names, grids and dense indices, in the order of the configuration."""
        return InstrumentTable(
            Instrument(index, each.name, each.venue, each.symbol, each.tick_size, each.lot_size)
            for index, each in enumerate(self.instruments)
        )

    def calendar_instruments(self, entry: Calendar) -> tuple[int, ...]:
        """Places of the instruments that an entry of the calendar is about."""
        everywhere = entry.everywhere
        return tuple(
            place
            for place, each in enumerate(self.instruments)
            if everywhere or each.name in (entry.instruments or ()) or each.venue in entry.venues
        )

    def volatility_index(self, name: str) -> int | None:
        """Index number of a volatility index, ``None`` when there is none of that name."""
        names = self.signals.volatility_indices
        return names.index(name) if name in names else None


def section_type(model: type[BaseModel], name: str) -> Any:
    """The declared type behind a YAML key of a model, ``None`` when it has no such key."""
    for attribute, info in model.model_fields.items():
        if name == (info.alias or attribute):
            return info.annotation
    return None


def section_keys(model: type[BaseModel]) -> list[str]:
    """The YAML keys of a model, in their order."""
    return [info.alias or attribute for attribute, info in model.model_fields.items()]
