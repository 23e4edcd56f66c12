"""A ``GetExpiryRequest`` read straight from its bytes, held against protobuf's reading and Python's decimals.

What is taken must be a message that protobuf reads, say nothing that the reader leaves to others, and give the
record and the digest that follow from it. The engine's compiled parts are not needed for that, and not there.
"""

import hashlib
import re
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace

from fuzz_targets.kit import Bytes, Target
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quotelife.instruments import Instrument, InstrumentTable
from quotelife.records import NO_INDEX_VALUE, RequestRecord
from quotelife_server.request_reader import PlainRequest, RequestReader

S = 1_000_000_000
NOWS = (1_700_000_000 * S, 0, 61 * S, 2**62)
GRIDS = (
    ("BTC-USDT", "binance-spot", "0.01", "0.00001"),
    ("BTC-PERP", "binance-usdm", "0.1", "0.001"),
    ("BTC-USD", "binance-coinm", "0.5", "100"),
    ("ODD", "odd", "0.03125", "0.3333333333"),
)
COUNTERPARTIES, DESKS, SESSIONS = ("alpha", "beta"), ("main", "voice"), ("instants", "spans")
DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)
COUNT_MAX = float(2**53)
INSTRUMENTS = InstrumentTable(
    Instrument(index, name, venue, name, Decimal(tick), Decimal(lot))
    for index, (name, venue, tick, lot) in enumerate(GRIDS)
)
ENGINE = SimpleNamespace(
    instruments=INSTRUMENTS,
    policy=SimpleNamespace(
        counterparty_names=COUNTERPARTIES,
        desk_names=DESKS,
        session_names=SESSIONS,
        counterparty_index={name: i for i, name in enumerate(COUNTERPARTIES)}.get,
        desk_index={name: i for i, name in enumerate(DESKS)}.get,
        session_index={name: i for i, name in enumerate(SESSIONS)}.get,
    ),
    config=SimpleNamespace(
        venue_sessions={
            name: SimpleNamespace(granularity_ns=10**6 * (i + 1)) for i, name in enumerate(SESSIONS)
        }
    ),
)
READER = RequestReader(ENGINE)  # type: ignore[arg-type]


def number(text: str, *, above_zero: bool) -> Decimal:
    assert DECIMAL.fullmatch(text), text
    value = Decimal(text)
    assert value > 0 or not above_zero, text
    return value


def lots(message: expiry.GetExpiryRequest, instrument: Instrument, mid: Decimal | None) -> float:
    quantity = number(message.size.quantity, above_zero=True)
    coin, derivative = instrument.venue.endswith("coinm"), instrument.venue.endswith(("coinm", "usdm"))
    assert 1 <= message.size.unit <= 4
    if message.size.unit == 1:
        return float(quantity)
    assert derivative if message.size.unit == 3 else not coin
    if message.size.unit == 4:
        assert mid is not None
        quantity /= mid
    return float(quantity / instrument.lot_size)


def expected(message: expiry.GetExpiryRequest, now_ns: int, synchronised: bool) -> RequestRecord:
    """The record that a message must give. ``AssertionError``: the message is none that may be taken."""
    assert message.side in (1, 2)
    assert not (
        message.legs or message.watch or message.watch_owner or message.explain or message.include_features
    )
    assert not (message.HasField("bid_price") or message.HasField("ask_price"))
    assert not (message.HasField("edge") and message.HasField("price"))
    assert 0 <= message.overrides.posture <= 3
    assert not message.HasField("dealers_asked") or 1 <= message.dealers_asked <= 10_000
    for text in (message.request_id, message.rfq_id, message.quote_id, message.counterparty):
        assert len(text) <= 128 and text.isprintable(), text
    instrument = INSTRUMENTS.by_name(message.instrument)
    priced = message.priced_at_utc_ns if message.HasField("priced_at_utc_ns") else None
    deadline = message.client_deadline_utc_ns if message.HasField("client_deadline_utc_ns") else None
    assert priced is None or now_ns - 60 * S <= priced <= now_ns + S
    assert deadline is None or now_ns - 86_400 * S <= deadline <= now_ns + 7 * 86_400 * S
    price = number(message.price, above_zero=True) if message.HasField("price") else None
    edge = number(message.edge, above_zero=False) if message.HasField("edge") else None
    reference = (
        number(message.reference_price, above_zero=True) if message.HasField("reference_price") else None
    )
    size = lots(message, instrument, price or reference) if message.HasField("size") else None
    assert size is None or 0 < size <= COUNT_MAX
    ticks = [
        None if each is None else float(each / instrument.tick_size) for each in (price, edge, reference)
    ]
    assert all(each is None or abs(each) <= COUNT_MAX for each in ticks)

    def place(names: tuple[str, ...], name: str) -> int:
        return names.index(name) if name else NO_INDEX_VALUE

    return RequestRecord(
        instrument.index,
        1 if message.side == 1 else -1,
        now_ns=now_ns,
        counterparty=place(
            COUNTERPARTIES, message.counterparty if message.counterparty in COUNTERPARTIES else ""
        ),
        desk=place(DESKS, message.desk),
        session=place(SESSIONS, message.venue_session),
        size_lots=size,
        price_ticks=ticks[0],
        edge_ticks=ticks[1],
        reference_ticks=ticks[2],
        priced_at_ns=priced,
        client_deadline_ns=deadline,
        posture=message.overrides.posture,
        synchronised=synchronised,
    )


def check(payload: bytes, now_ns: int, synchronised: bool) -> PlainRequest | None:
    plain = READER.read(payload, now_ns, synchronised)
    if plain is None:
        return None
    message = expiry.GetExpiryRequest.FromString(payload)
    assert message.SerializeToString(deterministic=True) == payload, "not canonical"
    assert plain.record.canonical() == expected(message, now_ns, synchronised).canonical()
    digest = hashlib.blake2b(payload, digest_size=16).digest() if message.request_id else b""
    said = (plain.request_id, plain.counterparty, plain.digest)
    assert said == (message.request_id, message.counterparty, digest)
    assert plain.tick == float(INSTRUMENTS.by_name(message.instrument).tick_size)
    step_ns = 10**6 * (SESSIONS.index(message.venue_session) + 1) if message.venue_session else 1
    assert plain.venue_step_ns == step_ns
    return plain


def built(source: Bytes, now_ns: int) -> bytes:
    """A message whose numbers are the input's, which bytes turned at random seldom reach."""

    def decimal() -> str:
        what = source.byte()
        whole, rest = source.number(8) % 10 ** (1 + what % 18), source.number(8) % 10 ** (1 + what // 16)
        return f"{'-' if what == 255 else ''}{whole}.{rest:0{1 + what // 16}d}" if what & 1 else str(whole)

    what = source.byte()
    message = expiry.GetExpiryRequest(instrument=GRIDS[what & 3][0], side=1 + (what >> 2 & 1))  # type: ignore[arg-type]
    if what & 8:
        message.size.quantity = decimal()
        message.size.unit = 1 + source.byte() % 4  # type: ignore[assignment]
    if what & 16:
        setattr(message, ("price", "edge")[what >> 5 & 1], decimal())
    if what & 64:
        message.reference_price = decimal()
    if what & 128:
        message.priced_at_utc_ns = now_ns - 61 * S + source.number(4) * 16
    message.request_id = source.rest().decode("utf-8", "replace")
    return message.SerializeToString(deterministic=True)


def run(data: bytes) -> None:
    source = Bytes(data)
    what = source.byte()
    now_ns = NOWS[what >> 2 & 3]
    payload = built(source, now_ns) if what & 2 else source.rest()
    check(payload, now_ns, bool(what & 1))


def seeds() -> Iterator[bytes]:
    request = expiry.GetExpiryRequest(
        request_id="bench-17", rfq_id="rfq-17", quote_id="quote-17", instrument="BTC-PERP", side=1,
        counterparty="alpha", desk="main", dealers_asked=300, price="63000.10", reference_price="63000.254",
        priced_at_utc_ns=NOWS[0] - S, client_deadline_utc_ns=NOWS[0] + S, venue_session="spans",
        overrides=expiry.RequestOverrides(posture=3),
    )  # fmt: skip
    for grid in GRIDS:
        for unit in range(1, 5):
            request.instrument = grid[0]
            request.size.quantity = "2.5"
            request.size.unit = unit  # type: ignore[assignment]
            yield b"\1" + request.SerializeToString(deterministic=True)
    usual = expiry.GetExpiryRequest(
        request_id="r-1", instrument="BTC-USDT", side=2, counterparty="Jürgen", edge="-0.1"
    )
    yield b"\0" + usual.SerializeToString(deterministic=True)
    yield b"\0" + expiry.GetExpiryRequest(instrument="ODD", side=3, legs=[expiry.Leg()]).SerializeToString()
    # A text that says it goes on: only the sanitizers see that what lies behind the request was read.
    yield b"\0" + expiry.GetExpiryRequest(instrument="ODD", side=1).SerializeToString() + b"\x42\x7fa"
    yield b"\3" + bytes([0b11011001, 17, 1, 2, 3, 4, 5, 6, 0, 0, 9, 8, 7, 6, 5, 0, 0, 0, 3, 33]) * 3
    yield b"\2" + bytes([0b01111010, 255, 1, 2, 3, 4, 5, 6, 7, 0, 9, 8, 7, 6, 5, 4, 3, 0, 1, 129]) * 3


WORDS = tuple(
    bytes([len(name)]) + name.encode()
    for name in (*COUNTERPARTIES, *DESKS, *SESSIONS, *(grid[0] for grid in GRIDS))
)
expiry_request = Target(
    run, seeds, words=(*WORDS, b"\x9a\x01\x02\x08\x01", b"\x92\x01", b"\x82\x01", b"0.1", b"\x30\x01")
)
