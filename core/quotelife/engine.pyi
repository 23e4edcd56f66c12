from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quotelife.config import Config
from quotelife.counterparty.posterior import Counterparties
from quotelife.decision.kill import KillSource, KillStatus
from quotelife.decision.policy import Policy
from quotelife.inputs import InputSink
from quotelife.instruments import InstrumentTable
from quotelife.model.curve import CurveModel
from quotelife.model.ladder import Monitors
from quotelife.model.lineup import LineUp
from quotelife.model.served import ServedModels
from quotelife.quotes.watching import Watching
from quotelife.records import DecisionRecord, EventBuffer, RequestRecord

CALENDAR_KEPT: int

LEARNED_EVERY_NS: int

class GreeksStatus(NamedTuple):
    delta: float | None
    gamma: float | None
    vega: float | None
    theta: float | None
    mark_iv: float | None
    underlying_price: float | None
    mark_price: float | None
    funding: float | None
    oldest_ns: int
    underlying: int
    taken: int
    ignored: int

class InstrumentStatus(NamedTuple):
    quality: int
    regime: int
    reasons: int
    bid_ticks: int
    bid_lots: int
    ask_ticks: int
    ask_lots: int
    last_event_ns: int
    events: int
    messages: int
    gaps: int
    resyncs: int
    crossed: int
    dropped_levels: int
    unsupported: int
    unsided_trades: int
    undecided_trades: int
    orders: int
    unknown_orders: int
    invalid_orders: int
    dropped_orders: int
    purged_orders: int
    decisions: int
    declines: int
    regime_ns: tuple[int, ...]
    not_good_ns: int
    quality_cause: int
    quality_since_ns: int
    quality_ns: tuple[int, ...]
    quality_entered: tuple[int, ...]
    stress_entries: int
    greeks: GreeksStatus | None
    memory_bytes: int

class ModelStatus(NamedTuple):
    model: str
    serves: bool
    calibration: tuple[tuple[float, float], ...]
    labels: tuple[tuple[int, int], ...]

class GroupStatus(NamedTuple):
    name: str
    calibration: tuple[tuple[float, float], ...]
    labels: tuple[tuple[int, int], ...]
    models: tuple[ModelStatus, ...]
    memory_bytes: int
    tolerance: tuple[float, ...]
    opened: int
    resolved: int
    thinned: int
    overflowed: int
    censored: int

class LiveQuoteStatus(NamedTuple):
    quote: int
    owner: str
    name: str
    rfq: str
    boot: str
    decisions: tuple[int, ...]
    state: int
    withdraw: int
    waiting: bool
    number: int
    withdrawn_ns: int
    moved_ticks: float
    value_ticks: float
    withdrawn_at: int
    held: bool
    acknowledged: bool
    expiry_ns: int
    unwatched_ns: int
    size_lots: float
    counterparty: str
    desk: str | None
    session: str | None
    sides: tuple[tuple[int, int, float, float, float | None], ...]

class OverrideStatus(NamedTuple):
    override_id: int
    posture: int
    counterparty: int
    desk: int
    instrument: int
    expires_ns: int

def configured_model(config: Config) -> CurveModel: ...

class Engine:
    def __init__(
        self,
        config: Config,
        *,
        model: CurveModel | None = None,
        lineup: LineUp | None = None,
        models: Mapping[str, CurveModel] = ...,
        start_ns: int = 0,
    ) -> None: ...
    def on_events(self, buffer: EventBuffer) -> None: ...
    def on_signal(
        self,
        kind: int,
        *,
        receive_ns: int,
        source_ns: int,
        value: float,
        value2: float = 0.0,
        instrument: int = 0xFFFFFFFF,
        desk: int = 0xFFFFFFFF,
        ttl_ns: int = 0,
        source: int = 0,
    ) -> bool: ...
    def on_greeks(
        self,
        instrument: int,
        *,
        receive_ns: int,
        source_ns: int,
        delta_gamma: tuple[float, float] | None = None,
        vega_theta: tuple[float, float] | None = None,
        volatility_underlying: tuple[float, float] | None = None,
        mark_funding: tuple[float, float] | None = None,
    ) -> None: ...
    def calendar(self, now_ns: int) -> list[tuple[int, int, int, int, int]]: ...
    def name_events(self, now_ns: int, events: list[dict[str, Any]]) -> None: ...
    def event_name(self, id: int) -> dict[str, Any] | None: ...
    def on_signal_record(self, record: bytes | memoryview) -> bool: ...
    def on_timer(self, now_ns: int) -> None: ...
    def on_watch_timer(self, now_ns: int) -> None: ...
    def decide(self, request: RequestRecord, decision: DecisionRecord) -> None: ...
    def decide_package(
        self, legs: Sequence[RequestRecord], decisions: Sequence[DecisionRecord]
    ) -> list[RequestRecord]: ...
    def package_requests(
        self, legs: Sequence[RequestRecord], decisions: Sequence[DecisionRecord] = ()
    ) -> list[RequestRecord]: ...
    def redo(self, request: RequestRecord, recorded: DecisionRecord, decision: DecisionRecord) -> None: ...
    def redo_shadow(
        self, request: RequestRecord, recorded: DecisionRecord, answer: np.void
    ) -> npt.NDArray[np.void]: ...
    def shadows(self) -> npt.NDArray[np.void]: ...
    def note_learned(self, now_ns: int, most: int = 16) -> int: ...
    def apply_learned(self, payload: Mapping[str, Any], now_ns: int) -> int: ...
    def watch(
        self,
        now_ns: int,
        *,
        owner: str,
        name: str,
        requests: Sequence[RequestRecord],
        decisions: Sequence[DecisionRecord],
        rfq: str = "",
        boot: str = "",
        expiry_ns: int | None = None,
    ) -> int: ...
    def apply_watch(self, kind: int, payload: dict[str, Any], now_ns: int) -> None: ...
    def watch_updated(self, now_ns: int, quote: int, state: int, size_lots: float | None = None) -> int: ...
    def watch_acknowledged(self, now_ns: int, quote: int, number: int = 0) -> bool: ...
    def watch_lost(self, now_ns: int, owner: str, reason: str = "") -> int: ...
    @property
    def watching(self) -> Watching: ...
    def live_quote(self, quote: int) -> LiveQuoteStatus | None: ...
    def live_quotes(self, owner: str | None = None) -> list[LiveQuoteStatus]: ...
    def next_watch_ns(self) -> int: ...
    def outcome(self, now_ns: int, payload: dict[str, Any]) -> bool: ...
    def note_counterparties(self, now_ns: int, most: int = 16) -> int: ...
    def apply_counterparties(self, payload: dict[str, Any], now_ns: int) -> int: ...
    @property
    def counterparties(self) -> Counterparties: ...
    def record_to(self, *sinks: InputSink) -> None: ...
    def apply_config(self, config: Config, now_ns: int, *, model: CurveModel | None = None) -> int: ...
    def config_payload(self) -> dict[str, Any]: ...
    def continue_revisions(self, config_revision: int, model_revision: int) -> None: ...
    def apply_model(self, model: CurveModel, now_ns: int) -> int: ...
    def apply_lineup(
        self,
        lineup: LineUp,
        models: Mapping[str, CurveModel],
        now_ns: int,
        *,
        model: CurveModel | None = None,
        because: Mapping[str, str | None] | None = None,
    ) -> int: ...
    def set_override(
        self,
        *,
        now_ns: int,
        expires_ns: int,
        posture: int,
        counterparty: int = 0xFFFFFFFF,
        instrument: int = 0xFFFFFFFF,
        desk: int = 0xFFFFFFFF,
        override_id: int = 0,
    ) -> int: ...
    def clear_override(self, override_id: int, now_ns: int) -> bool: ...
    def step(
        self,
        now_ns: int,
        group: str,
        down: bool,
        *,
        source: int = ...,
        reason: str = ...,
        model: int = ...,
        since_ns: int | None = ...,
    ) -> bool: ...
    @property
    def monitors(self) -> Monitors: ...
    def apply_label(self, record: bytes | bytearray | memoryview, *, adopt: bool = False) -> bytes: ...
    def held_alpha(self, instrument: int, posture: int) -> float: ...
    def learned(self) -> list[GroupStatus]: ...
    def group_learned(self, g: int) -> GroupStatus: ...
    def group_of(self, instrument: int) -> int: ...
    def label_counts(self) -> tuple[int, int, int, int, int]: ...
    def overrides(self, now_ns: int) -> list[OverrideStatus]: ...
    def kill(
        self,
        now_ns: int,
        *,
        counterparty: str | int | None = None,
        reason: str = "",
        source: KillSource | int = ...,
        since_ns: int | None = None,
    ) -> KillStatus: ...
    def enable(
        self,
        now_ns: int,
        *,
        counterparty: str | int | None = None,
        reason: str = "",
        source: KillSource | int = ...,
    ) -> bool: ...
    def kills(self) -> list[KillStatus]: ...
    @property
    def kill_changes(self) -> int: ...
    @property
    def throttle_trips(self) -> int: ...
    def paused(self) -> list[tuple[str, str]]: ...
    def killed(self, counterparty: int | None) -> bool: ...
    def killed_since(self, changes: int, counterparty: str) -> bool: ...
    def instrument_status(self, index: int, now_ns: int) -> InstrumentStatus: ...
    def troubled(
        self, now_ns: int, after_ns: int, most: int
    ) -> tuple[int, list[tuple[int, int, int, int]]]: ...
    def want_resync(self) -> list[int]: ...
    def level_top(self, index: int) -> tuple[int, int, int, int, int]: ...
    next_override_id: int
    @property
    def config(self) -> Config: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def model(self) -> CurveModel: ...
    @property
    def served(self) -> ServedModels: ...
    def model_of(self, decision: DecisionRecord) -> CurveModel: ...
    @property
    def instruments(self) -> InstrumentTable: ...
    @property
    def now_ns(self) -> int: ...
    @property
    def input_sequence(self) -> int: ...
    @property
    def config_revision(self) -> int: ...
    @property
    def model_revision(self) -> int: ...
    @property
    def unknown_events(self) -> int: ...
