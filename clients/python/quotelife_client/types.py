"""What the service says, as plain Python values. Numbers of the enums are those of the wire."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum

Number = str | int | Decimal


class Side(IntEnum):
    """Which way the desk trades if the quote is accepted."""

    UNSPECIFIED = 0
    BUY = 1
    SELL = 2
    TWO_WAY = 3


class SizeUnit(IntEnum):
    """What a quantity counts."""

    UNSPECIFIED = 0
    LOTS = 1
    BASE_QUANTITY = 2
    CONTRACTS = 3
    NOTIONAL = 4


class Decision(IntEnum):
    """May the desk be firm?"""

    UNSPECIFIED = 0
    QUOTE = 1
    INDICATIVE = 2
    DECLINE = 3


class Posture(IntEnum):
    """Objective, tolerance and bounds by which a life is chosen."""

    UNSPECIFIED = 0
    CLIENT_PRIORITY = 1
    LIQUIDITY_PROVIDER = 2
    RISK_AVERSE = 3


class Mode(IntEnum):
    """How a posture turned the curve into a life."""

    UNSPECIFIED = 0
    TOLERANCE_P500 = 1
    TOLERANCE_CURVE = 2
    STEP = 3
    EXPECTED_VALUE = 4


class Actuation(IntEnum):
    """How a venue session consumes a life."""

    UNSPECIFIED = 0
    ABSOLUTE = 1
    RELATIVE = 2
    WITHDRAW = 3
    LAST_LOOK = 4


class Regime(IntEnum):
    """State of the market as far as it limits postures."""

    UNSPECIFIED = 0
    NORMAL = 1
    STRESS = 2
    AUCTION = 3
    SCHEDULED_NEWS = 4
    HALT = 5


class Quality(IntEnum):
    """How far the book can be trusted."""

    UNSPECIFIED = 0
    WARMING = 1
    GOOD = 2
    GAPPED = 3
    STALE = 4
    CROSSED = 5
    HALTED = 6


class Rule(IntEnum):
    """Which rule chose the requested posture."""

    UNSPECIFIED = 0
    KILL_SWITCH = 1
    DATA_QUALITY = 2
    REQUEST_OVERRIDE = 3
    RUNTIME_OVERRIDE = 4
    COUNTERPARTY_OVERRIDE = 5
    COUNTERPARTY_TIER = 6
    DESK_DEFAULT = 7
    GLOBAL_DEFAULT = 8
    MODEL_MONITOR = 9


class Constraint(IntEnum):
    """What set the life."""

    UNSPECIFIED = 0
    TOLERANCE = 1
    MINIMUM = 2
    MAXIMUM = 3
    CLIENT_DEADLINE = 4
    STEP = 5
    BELOW_MINIMUM = 6
    HORIZON = 7
    VALUE = 8
    VENUE_MAXIMUM = 9
    VENUE_MINIMUM = 10
    GRANULARITY = 11
    TRANSIT = 12
    MARKET = 13
    EDGE = 14
    EXPOSURE = 15


class Reason(IntEnum):
    """Why the answer is what it is."""

    UNSPECIFIED = 0
    DATA_NOT_GOOD = 1
    DOWNGRADED = 2
    VOLATILITY = 3
    SPREAD_VOLATILITY = 4
    NEWS = 5
    DECORRELATION = 6
    UPDATE_FREQUENCY = 7
    AUCTION = 8
    SCHEDULED_NEWS = 9
    HALT = 10
    BELOW_MINIMUM = 11
    DEADLINE_TOO_CLOSE = 12
    MODEL_FALLBACK = 13
    NO_VOLATILITY = 14
    STALE_REQUEST = 15
    HYSTERESIS = 16
    OVERRIDE_REFUSED = 17
    DISABLED = 18
    MOVED_THROUGH = 19
    NO_VALUE = 20
    EDGE_TOO_SMALL = 21
    NO_EDGE = 22
    VENUE_MINIMUM = 23
    CLOCK = 24
    KILLED = 25
    THROTTLED = 26
    PRICE_FAR = 27
    REFERENCE_FAR = 28
    EDGE_CAPPED = 29
    MODEL_STEPPED_DOWN = 30
    EXPOSURE = 31


class QuoteState(IntEnum):
    """What has become of a watched quote."""

    UNSPECIFIED = 0
    LIVE = 1
    PARTLY_FILLED = 2
    FILLED = 3
    WITHDRAWN = 4
    TOO_LATE = 5
    EXPIRED = 6
    CANCELLED = 7


class WithdrawReason(IntEnum):
    """Why a watched quote should be withdrawn."""

    UNSPECIFIED = 0
    VALUE = 1
    ADVERSE_MOVE = 2
    STRESS = 3
    HALT = 4
    KILL_SWITCH = 5
    DATA_QUALITY = 6
    WATCH_LOST = 7
    LIFE_ENDED = 8


class WatchRefusal(IntEnum):
    """Why a quote is not watched."""

    UNSPECIFIED = 0
    NO_STREAM = 1
    UNKNOWN_DECISION = 2
    NOT_FIRM = 3
    ENDED = 4
    NAME_IN_USE = 5
    FULL = 6
    INVALID = 7
    UNAVAILABLE = 8
    KILLED = 9
    UPDATE = 10  # of an update: fields are wrong, and the quote is as it was before


class WatchEventKind(Enum):
    """What a watcher tells."""

    OPENED = "opened"
    REGISTERED = "registered"
    REFUSED = "refused"
    WITHDRAW = "withdraw"
    EXPIRED = "expired"
    REQUOTE_HINT = "requote hint"
    DISCONNECTED = "disconnected"


class EventKind(IntEnum):
    """Kind of a market event; numbers of the protocol and of the binary record."""

    UNSPECIFIED = 0
    ADD = 1
    MODIFY = 2
    CANCEL = 3
    EXECUTE = 4
    TRADE = 5
    LEVEL = 6
    QUOTE = 7
    SNAPSHOT_BEGIN = 8
    SNAPSHOT_END = 9
    CLEAR = 10
    STATUS = 11


class BookSide(IntEnum):
    """Side of the book; of a trade the aggressor's."""

    UNSPECIFIED = 0
    BID = 1
    ASK = 2


class TradingStatus(IntEnum):
    """Trading status of an instrument."""

    UNSPECIFIED = 0
    TRADING = 1
    HALT = 2
    AUCTION = 3
    CLOSED = 4


class Clock(IntEnum):
    """Clock by which an instant is given."""

    UNSPECIFIED = 0
    SERVICE_UTC = 1
    UNSYNCHRONISED = 2


class Source(Enum):
    """Who gave the life."""

    SERVICE = "service"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One leg of a package: ``ratio`` units of it in one, ``side`` as the desk trades it when it buys the package.

    Greeks are those of one unit: ``delta`` per unit of the underlying's price, ``vega`` per 1.00 of implied volatility.
    Without a ``delta`` the service takes what was last published, or the legs' own books.
    """

    instrument: str
    side: Side | str
    ratio: Number = 1
    delta: float | None = None
    gamma: float | None = None
    vega: float | None = None
    underlying: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryRequest:
    """A quote to ask about, one of many; the fields are the arguments of ``get_expiry``.

    Without a ``request_id`` each asking gets one of its own.
    """

    instrument: str = ""
    side: Side | str
    legs: Sequence[Leg] = ()
    size: Number | None = None
    size_unit: SizeUnit | str = SizeUnit.BASE_QUANTITY
    counterparty: str = ""
    desk: str = ""
    price: Number | None = None
    bid_price: Number | None = None
    ask_price: Number | None = None
    edge: Number | None = None
    reference_price: Number | None = None
    priced_at_utc_ns: int | None = None
    client_deadline_utc_ns: int | None = None
    venue_session: str = ""
    posture: Posture | str | None = None
    dealers_asked: int | None = None
    request_id: str | None = None
    rfq_id: str = ""
    quote_id: str = ""
    include_features: bool = False
    explain: bool = False
    watch: bool = False
    watch_owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketEvent:
    """One change of the market, as ``MarketEvent`` of market_data_service.proto has it."""

    instrument: str
    kind: EventKind | str
    side: BookSide | str = BookSide.UNSPECIFIED
    price: Number | None = None
    size: Number | None = None
    ask_price: Number | None = None
    ask_size: Number | None = None
    order_id: int = 0
    exchange_utc_ns: int | None = None
    sequence: int | None = None
    status: TradingStatus | str = TradingStatus.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class PublishReceipt:
    """How many events of a stream were applied, and how many refused with the messages they came in."""

    applied: int
    refused: int


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model; ``value`` is ``None`` where it is not valid."""

    name: str
    unit: str
    value: float | None


class PackageRoute(IntEnum):
    """How a package is judged; docs/packages.md."""

    UNSPECIFIED = 0
    FRECHET = 1
    UNDERLYING = 2
    RESIDUAL = 3


@dataclass(frozen=True, slots=True)
class LegExpiry:
    """What one leg adds to a package: its own P(500 ms) by curves of legs, its part of the net delta by greeks."""

    instrument: str
    side: Side
    p_ref: float | None
    quality: Quality
    regime: Regime
    contribution: float | None
    decision_id: str
    h_price: float | None
    reasons: tuple[Reason, ...] = ()
    delta: float | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """A package beside its life. ``p_lower`` is the lower bound on P(500 ms), ``p_ref`` of the answer the upper;
    ``h_price`` is the threshold of one package."""

    route: PackageRoute
    legs: tuple[LegExpiry, ...]
    p_lower: float | None
    h_price: float | None
    underlying: str = ""
    net_delta: float | None = None
    residual_p_ref: float | None = None


@dataclass(frozen=True, slots=True)
class SideExpiry:
    """The decision for one side of a TWO_WAY quote."""

    side: Side
    decision: Decision
    life_ns: int
    expiry_utc_ns: int | None
    decision_id: str = ""
    reasons: tuple[Reason, ...] = ()
    binding: tuple[Constraint, ...] = ()
    p_ref: float | None = None
    p_life: float | None = None
    h_ticks: float | None = None
    h_price: float | None = None
    edge_ticks: float | None = None
    moved_ticks: float | None = None
    alpha: float | None = None
    held_alpha: float | None = None
    expected_value: float | None = None
    break_even_edge: float | None = None
    horizons_ns: tuple[int, ...] = ()
    p: tuple[float, ...] = ()
    features: tuple[Feature, ...] = ()
    venue_life_ns: int | None = None
    venue_expiry_utc_ns: int | None = None
    package: Package | None = None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one input did to logit P(500 ms), against its ``reference``: its Shapley value."""

    feature: str
    unit: str
    logit: float
    value: float | None
    reference: float | None


@dataclass(frozen=True, slots=True)
class RuleStep:
    """One rule that was tried; ``rule`` is UNSPECIFIED for the regime, which comes behind all that choose."""

    rule: Rule
    applied: bool
    posture: Posture
    detail: str


@dataclass(frozen=True, slots=True)
class ConstraintStep:
    """One bound on the life: ``life_ns`` is what it alone would allow, ``None`` any; ``next`` would bind next."""

    constraint: Constraint
    life_ns: int | None
    binding: bool
    next: bool
    detail: str


@dataclass(frozen=True, slots=True)
class RiskStep:
    """One input of a posture's tolerance: its standardised score and its weight."""

    input: str
    score: float
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one decision is what it is: message Explanation of quote_expiry_service.proto, in its order.

    ``summary`` says it in one sentence. ``baseline_logit``, all ``contributions`` (strongest first) and ``left_over``
    add up to ``logit``, that of P(500 ms); they are ``None`` where no curve was drawn. ``verified``: computed again
    from its record, every byte came out the same; ``None`` where that could not be tried. Figures as in ``Expiry``.
    """

    decision_id: str
    side: Side
    summary: str
    contributions: tuple[Contribution, ...]
    baseline_logit: float | None
    logit: float | None
    left_over: float | None
    rule_path: tuple[RuleStep, ...]
    constraints: tuple[ConstraintStep, ...]
    risks: tuple[RiskStep, ...]
    risk_sum: float | None
    held_alpha: float | None
    features: tuple[Feature, ...]
    horizons_ns: tuple[int, ...]
    p: tuple[float, ...]
    verified: bool | None
    verification: str
    config_digest: str
    config_revision: int
    model_kind: str
    model_name: str
    model_digest: str
    model_revision: int
    schema_hash: str


@dataclass(frozen=True, slots=True)
class Expiry:
    """How long a quote may live, and why.

    ``life_ns`` counts from ``counted_from_utc_ns`` and ends at ``expiry_utc_ns`` (UTC nanoseconds); both
    instants are ``None`` unless ``decision`` is QUOTE, and there is no ``expiry_utc_ns`` while ``clock`` is
    UNSYNCHRONISED. For a TWO_WAY quote the life is the shorter of the two
    in ``sides``. ``p`` is P(τ), the probability that the market has moved against the quote by ``h`` by each
    age of ``horizons_ns``. Where the posture decides by expected value, ``expected_value`` is what the life is
    worth and ``break_even_edge`` the edge from which a firm quote would be, both a unit, in price units.
    With a ``venue_session``, ``actuation`` says how the venue consumes the life and ``venue_life_ns`` or
    ``venue_expiry_utc_ns`` what to tell it; for WITHDRAW that is the venue's longest life, and the quote is
    to be cancelled at ``expiry_utc_ns``. ``watched``: the quote is watched until then, where ``watch`` was asked for;
    else ``watch_refusal`` says why not. With ``explain`` asked for, ``explanations`` holds one, or two for
    TWO_WAY, BUY first; otherwise it is empty. ``None`` means unknown. ``source`` is FALLBACK when the caller's own
    fallback life stands in for a service that could not answer; ``error`` then names the reason and everything
    else is empty, but for ``reasons``: KILLED where the service was last known to decline for a kill.
    """

    source: Source
    decision: Decision
    life_ns: int
    expiry_utc_ns: int | None
    counted_from_utc_ns: int | None
    decided_at_utc_ns: int
    request_id: str
    decision_id: str = ""
    clock: Clock = Clock.UNSPECIFIED
    posture_requested: Posture = Posture.UNSPECIFIED
    posture_effective: Posture = Posture.UNSPECIFIED
    rule: Rule = Rule.UNSPECIFIED
    rule_index: int | None = None
    mode: Mode = Mode.UNSPECIFIED
    regime: Regime = Regime.UNSPECIFIED
    quality: Quality = Quality.UNSPECIFIED
    reasons: tuple[Reason, ...] = ()
    binding: tuple[Constraint, ...] = ()
    horizons_ns: tuple[int, ...] = ()
    p: tuple[float, ...] = ()
    p_ref: float | None = None
    p_life: float | None = None
    alpha: float | None = None
    held_alpha: float | None = None
    h_ticks: float | None = None
    h_price: float | None = None
    edge_ticks: float | None = None
    moved_ticks: float | None = None
    reference_ticks: float | None = None
    reference_price: float | None = None
    sigma_ticks: float | None = None
    expected_value: float | None = None
    break_even_edge: float | None = None
    features: tuple[Feature, ...] = ()
    data_age_ns: int | None = None
    model_digest: str = ""
    model_revision: int = 0
    schema_hash: str = ""
    config_revision: int = 0
    compute_ns: int = 0
    unjournaled: bool = False
    sides: tuple[SideExpiry, ...] = field(default=())
    package: Package | None = None
    actuation: Actuation = Actuation.UNSPECIFIED
    venue_life_ns: int | None = None
    venue_expiry_utc_ns: int | None = None
    explanations: tuple[Explanation, ...] = ()
    watched: bool = False
    watch_refusal: WatchRefusal = WatchRefusal.UNSPECIFIED
    life_without_watch_ns: int | None = None
    error: str = ""

    @property
    def life_ms(self) -> float:
        return self.life_ns / 1e6


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One thing that a watcher tells; fields beside ``kind`` and ``quote_id`` are set where they belong.

    OPENED, DISCONNECTED: the stream stands, or has ended: no quote is live while it does not. REGISTERED: the quote
    is watched until ``expiry_utc_ns``, and would end at ``unwatched_expiry_utc_ns`` without a watch; ``expiry`` is the
    whole answer where the whole quote was registered. REFUSED: it is not watched, ``refusal`` and ``message`` say why.
    WITHDRAW: cancel it now, for ``reason``. EXPIRED: its life is over. REQUOTE_HINT: a new quote could live
    ``life_ns``. ``at_utc_ns``: when, by the service's clock. ``sequence`` is 0 where the watcher came to it by itself,
    as it does when the service is not heard any more.
    """

    kind: WatchEventKind
    quote_id: str = ""
    at_utc_ns: int = 0
    reason: WithdrawReason = WithdrawReason.UNSPECIFIED
    refusal: WatchRefusal = WatchRefusal.UNSPECIFIED
    message: str = ""
    violations: tuple[tuple[str, str], ...] = ()
    life_ns: int = 0
    expiry_utc_ns: int = 0
    unwatched_expiry_utc_ns: int = 0
    side: Side = Side.UNSPECIFIED
    actuation: Actuation = Actuation.UNSPECIFIED
    instrument: str = ""
    moved_ticks: float | None = None
    held_back: bool = False
    expiry: Expiry | None = None
    sequence: int = 0
