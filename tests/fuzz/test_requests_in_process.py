"""Random and mutated requests straight into the handlers: never anything but an answer or a named refusal."""

import gc
import random
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import signal_service_pb2 as signals
from quote_expiry.v1 import types_pb2 as types
from quotelife.config import load_config
from quotelife_server.recent import RecentQuotes
from quotelife_server.rpc import Code, RpcError
from quotelife_server.settings import ServiceConfig
from reference.service_kit import CONFIG, GET_EXPIRY, MS, Kit, S, write_config

REQUESTS = 100_000
BY_VALUE = [
    f"{name}: {{mode: expected_value}}" for name in ("client_priority", "liquidity_provider", "risk_averse")
]
ACTUATIONS = ["absolute", "relative", "withdraw", "last_look"]
ALLOWED = {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND}
NUMBERS = [
    "0",
    "1",
    "-1",
    "62999.9",
    "0.001",
    "1e5",
    "NaN",
    "inf",
    "-0",
    "",
    " ",
    "9" * 18,
    "9" * 19,
    "٣",
    "1.",
    ".5",
    "+7",
]
TEXTS = [
    "",
    "alpha",
    "main",
    "BTC-USDT",
    "ETH-USDT",
    "BTC-USD",
    "nobody",
    "instants",
    "spans",
    "coarse",
    "x" * 128,
    "x" * 129,
    "\x00",
    "é",
    "\u202e",
    "🙂",
]
INTS = [0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)]
DOUBLES = [0.0, -1.0, 1.0, 0.5, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324]


class Requests:
    """A seeded source of payloads: well-formed, badly filled, mutated and noise."""

    def __init__(self, seed: int, now_ns: int) -> None:
        self._rng = random.Random(seed)
        self._now_ns = now_ns

    def payload(self, message: Any) -> bytes:
        kind = self._rng.random()
        if kind < 0.05:
            return self._rng.randbytes(self._rng.randrange(200))
        payload: bytes = self.fill(message()).SerializeToString()
        if kind < 0.45 and payload:
            payload = self.mutate(payload)
        return payload

    def fill(self, message: Any, depth: int = 0) -> Any:
        """Any field may be set, to something plausible or to something at the edge of its type."""
        rng = self._rng
        if isinstance(message, expiry.GetExpiryRequest) and rng.random() < 0.9:
            message.instrument = "BTC-USDT"
            message.side = rng.choice((1, 2, 3))
            chosen = rng.sample(list(message.DESCRIPTOR.fields), rng.randrange(4))
        else:
            chosen = [field for field in message.DESCRIPTOR.fields if rng.random() < 0.5]
        for field in chosen:
            if field.message_type is not None:
                inner = getattr(message, field.name)
                if hasattr(inner, "add"):
                    inner = inner.add()
                inner.SetInParent()
                if depth < 3:
                    self.fill(inner, depth + 1)
            else:
                self.set(message, field)
        return message

    def set(self, message: Any, field: Any) -> None:
        rng = self._rng
        value: Any
        if field.type == field.TYPE_STRING:
            value = rng.choice(TEXTS if rng.random() < 0.5 else NUMBERS)
        elif field.type == field.TYPE_DOUBLE:
            value = rng.choice(DOUBLES)
        elif field.type == field.TYPE_BOOL:
            value = rng.random() < 0.1
        elif field.type == field.TYPE_ENUM:
            value = rng.choice([0, 1, 2, 3, 4, 17, -1, 2**31 - 1])
        elif field.type == field.TYPE_INT64:
            value = rng.choice([*INTS, self._now_ns, self._now_ns - 20 * MS, self._now_ns + 300 * MS])
        elif field.type == field.TYPE_UINT64:
            value = rng.choice([0, 1, 2**63, 2**64 - 1])
        else:
            value = rng.choice([0, 1, 5, 2**31 - 1])
        if hasattr(getattr(message, field.name), "append"):
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)

    def mutate(self, payload: bytes) -> bytes:
        rng = self._rng
        data = bytearray(payload)
        for _ in range(rng.randrange(1, 5)):
            kind = rng.randrange(5)
            at = rng.randrange(len(data)) if data else 0
            if kind == 0 and data:
                data[at] ^= 1 << rng.randrange(8)
            elif kind == 1 and data:
                data[at] = rng.randrange(256)
            elif kind == 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 8))
            elif kind == 3 and data:
                del data[at : at + rng.randrange(1, 8)]
            else:
                data = data[:at] + data[:at] + data[at:]
        return bytes(data[:60_000])


def ask(kit: Kit, method: str, payload: bytes) -> Code:
    try:
        kit.call(method, payload)
    except RpcError as error:
        return error.code
    return Code.OK


def test_a_hundred_thousand_requests_and_flat_memory(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    kit = Kit(tmp_path, replies_bytes=100_000)
    kit.service.recent = RecentQuotes("b00t", 50, S)
    requests = Requests(seed, kit.clock.now_ns())
    codes: Counter[Code] = Counter()
    process = psutil.Process()

    def run(count: int) -> None:
        for _ in range(count):
            payload = requests.payload(expiry.GetExpiryRequest)
            code = ask(kit, GET_EXPIRY, payload)
            assert code in ALLOWED, f"seed {seed}: {code.name} for {payload.hex()}"
            codes[code] += 1

    run(REQUESTS // 4)  # every cache is full by now
    gc.collect()
    before_rss = process.memory_info().rss
    tracemalloc.start()
    run(1000)
    before_traced = tracemalloc.get_traced_memory()[0]
    run(1000)
    gc.collect()
    growth = tracemalloc.get_traced_memory()[0] - before_traced
    tracemalloc.stop()
    run(REQUESTS - REQUESTS // 4 - 2000)
    gc.collect()
    rss_growth = process.memory_info().rss - before_rss
    assert sum(codes.values()) == REQUESTS
    assert growth < 200_000, f"seed {seed}: {growth} B of objects left by 1,000 requests"
    assert rss_growth < 8 * 1024 * 1024, f"seed {seed}: resident memory grew by {rss_growth} B"
    assert kit.service.metrics.internal_errors == 0
    # The generator must reach every kind of answer, or it shows nothing.
    assert codes[Code.OK] > REQUESTS // 20 and codes[Code.INVALID_ARGUMENT] > REQUESTS // 20
    assert codes[Code.NOT_FOUND] > 100
    assert kit.get().decision_id, "the service still answers"


def test_requests_by_value_and_for_venues_keep_every_promise(tmp_path: Path) -> None:
    """Random requests under expected value, most for a venue session: lives only where firm, on grid and in bounds."""
    seed = random.SystemRandom().randrange(2**32)
    kit = Kit(tmp_path)
    text = CONFIG.replace("version: 1", f"version: 1\npostures: {{{', '.join(BY_VALUE)}}}", 1)
    kit.engine.apply_config(load_config(write_config(tmp_path, text), ServiceConfig), kit.engine.now_ns)
    requests = Requests(seed, kit.clock.now_ns())
    rng = random.Random(seed)
    seen: Counter[int] = Counter()
    for _ in range(8_000):
        message = requests.fill(expiry.GetExpiryRequest())
        message.request_id = ""
        message.venue_session = rng.choice(["", "instants", "spans", "coarse", "look"])
        if rng.random() < 0.5 and message.side in (1, 2):
            message.ClearField("price")
            message.edge = f"{rng.uniform(-2, 8):.2f}"
        try:
            raw = kit.call(GET_EXPIRY, message.SerializeToString())
        except RpcError as error:
            assert error.code in ALLOWED, f"seed {seed}"
            continue
        reply = expiry.GetExpiryResponse.FromString(raw)
        seen[reply.decision] += 1
        session = kit.engine.config.venue_sessions.get(message.venue_session)
        assert reply.actuation == (0 if session is None else ACTUATIONS.index(session.actuation) + 1)
        if reply.decision != types.DECISION_QUOTE:
            assert reply.life_ns == 0 and not reply.HasField("venue_life_ns"), f"seed {seed}"
            continue
        assert reply.life_ns > 0
        if session is not None:
            assert reply.venue_life_ns <= (session.life_max_ns or 2**62)
            if session.actuation == "absolute":
                assert reply.venue_expiry_utc_ns % session.granularity_ns == 0
            elif session.actuation != "withdraw":
                assert reply.venue_life_ns % session.granularity_ns == 0
                assert reply.venue_life_ns >= session.life_min_ns
    assert kit.service.metrics.internal_errors == 0
    assert min(seen[kind] for kind in (1, 2, 3)) > 50, f"seed {seed}: {seen}"


def test_signals_and_administration_hold_as_well(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    kit = Kit(tmp_path)
    requests = Requests(seed, kit.clock.now_ns())
    methods: dict[str, Any] = {
        "/quote_expiry.v1.SignalService/PublishNews": signals.PublishNewsRequest,
        "/quote_expiry.v1.SignalService/PublishVolatilityIndex": signals.PublishVolatilityIndexRequest,
        "/quote_expiry.v1.SignalService/PublishInventory": signals.PublishInventoryRequest,
        "/quote_expiry.v1.SignalService/PublishGreeks": signals.PublishGreeksRequest,
        "/quote_expiry.v1.SignalService/PublishCalendar": signals.PublishCalendarRequest,
        "/quote_expiry.v1.AdminService/SetOverride": admin.SetOverrideRequest,
        "/quote_expiry.v1.AdminService/ClearOverride": admin.ClearOverrideRequest,
        "/quote_expiry.v1.AdminService/ListOverrides": admin.ListOverridesRequest,
    }
    codes: Counter[Code] = Counter()
    for k in range(20_000):
        method, message = list(methods.items())[k % len(methods)]
        payload = requests.payload(message)
        code = ask(kit, method, payload)
        # RESOURCE_EXHAUSTED: the table of overrides is bounded and says so. UNAVAILABLE: no loop runs a scorer here.
        assert code in ALLOWED | {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE}, (
            f"seed {seed}: {method} {code.name} {payload.hex()}"
        )
        codes[code] += 1
        if k % 100 == 0:
            kit.clock.advance_ns(S)
            assert kit.get().decision_id
    assert kit.service.metrics.internal_errors == 0
    assert codes[Code.OK] > 100 and codes[Code.INVALID_ARGUMENT] > 100
