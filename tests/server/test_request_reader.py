"""Requests straight from their bytes, held against what protobuf and ``convert`` make of the same bytes."""

import hashlib
import random
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.config import load_config
from quotelife.engine import Engine
from quotelife.records import NO_INDEX_VALUE
from quotelife_server import convert
from quotelife_server.request_reader import PlainRequest, RequestReader
from quotelife_server.rpc import RpcError
from quotelife_server.settings import ServiceConfig
from reference.service_kit import CONFIG, MS, T0, Market, S

ROOT = Path(__file__).resolve().parents[2]
NOW = T0 + 20 * S
# Grids whose steps are no power of ten, and as fine and as coarse as they come.
ODD_GRIDS = (
    ("0.1", "0.001"), ("0.25", "5"), ("0.0000001", "1000"), ("3", "0.03"), ("0.000000000001", "0.7"),
    ("12.5", "100"), ("0.03125", "0.000000019"), ("1000000", "0.3333333333"),
)  # fmt: skip
VENUES = ("binance-spot", "binance-usdm", "binance-coinm", "deribit-x")
MANY = "\n".join(
    [
        "version: 1",
        "model: {artifact: first_passage}",
        "instruments:",
        *(
            f"  - {{name: I{i}, venue: {VENUES[i % 4]}, symbol: S{i}, tick_size: {tick}, lot_size: {lot}}}"
            for i, (tick, lot) in enumerate(ODD_GRIDS * 4)
        ),
        "tiers: {best: {posture: client_priority}, rest: {posture: risk_averse}}",
        "counterparties:",
        *(f"  c{i}: {{tier: {'best' if i % 2 else 'rest'}}}" for i in range(300)),
        "venue_sessions:",
        *(
            f"  v{i}: {{actuation: {('absolute', 'relative', 'withdraw', 'last_look')[i % 4]}, granularity: {1 + i}ms, "
            f"life_max: {1 + i}s}}"
            for i in range(40)
        ),
        "desks:",
        *(f"  d{i}: {{allow_request_override: {'true' if i % 2 else 'false'}}}" for i in range(40)),
        CONFIG[CONFIG.index("server:") :],
    ]
)


def engine_of(text: str) -> Engine:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return Engine(load_config(path, ServiceConfig), start_ns=T0)


class Side:
    """An engine and its reader, and the names that requests to it may carry."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.reader = RequestReader(engine)
        self.instruments = [each.name for each in engine.instruments]
        self.counterparties = list(engine.policy.counterparty_names)
        self.desks = list(engine.policy.desk_names)
        self.sessions = list(engine.policy.session_names)


@cache
def side(name: str) -> Side:
    if name == "kit":
        engine = engine_of(CONFIG)
        Market(engine).run(T0, 1.0)  # so that a notional finds a mid
        return Side(engine)
    if name == "many":
        return Side(engine_of(MANY))
    return Side(Engine(load_config(ROOT / "configs" / name, ServiceConfig), start_ns=T0))


SIDES = ("kit", "many", "default", "demo")


def general(
    engine: Engine, payload: bytes, now_ns: int, synchronised: bool
) -> tuple[expiry.GetExpiryRequest, convert.ExpiryCall]:
    message = convert.parse_expiry(payload)
    return message, convert.expiry_request(message, engine, now_ns, synchronised=synchronised)


def held(of: Side, payload: bytes, now_ns: int = NOW, synchronised: bool = True) -> PlainRequest | None:
    """What the reader says, which must be what the general way says, or nothing."""
    plain = of.reader.read(payload, now_ns, synchronised)
    if plain is None:
        return None
    try:
        message, call = general(of.engine, payload, now_ns, synchronised)
    except RpcError as error:
        raise AssertionError(f"taken, though refused: {error.message}: {payload.hex()}") from error
    assert len(call.records) == 1 and not call.packages
    assert plain.record.canonical() == call.records[0].canonical(), payload.hex()
    assert not (message.watch or message.explain or message.include_features)
    assert plain.request_id == message.request_id
    assert plain.counterparty == message.counterparty
    assert plain.digest == (convert.content_digest(message) if message.request_id else b"")
    assert plain.venue_step_ns == call.venue_step_ns
    assert plain.tick == float(of.engine.instruments[plain.record.instrument].tick_size)
    return plain


# --- generated requests -------------------------------------------------------------------------------------

IDS = st.one_of(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-", max_size=40),
    st.text(max_size=12),
    st.sampled_from(["x" * 127, "x" * 128, "x" * 129, "é" * 128, "é" * 129, "a b", " ", "\x7f", "\x1f", "~", "\xa0",
                     "\xad", "\u202e", "🙂" * 128]),
)  # fmt: skip
DIGITS = st.text("0123456789", min_size=1, max_size=18)
ROUND = st.builds(
    lambda whole, rest: f"{whole}.{rest}", st.integers(0, 10**6), st.sampled_from(["0", "1", "25", "10"])
)
DECIMALS = st.one_of(
    ROUND,
    ROUND,
    st.integers(0, 10**9).map(str),
    st.builds(lambda sign, whole, rest: f"{sign}{whole}{rest}", st.sampled_from(["", "-", "+"]), DIGITS,
              st.one_of(st.just(""), DIGITS.map(lambda each: "." + each))),
    st.sampled_from(["0", "-0", "-0.0", "+7", "007.10", "9" * 18, "9" * 19, "1.", ".5", "1e5", "NaN", " 1", "1 ", "٣",
                     "1.5.0", "-", "+", "--1", "1_0", "9007199254740993", "9007199254740992", "0." + "0" * 17 + "1"]),
)  # fmt: skip


@st.composite
def between_two_doubles(draw: st.DrawFn, step: Decimal) -> str:
    """A decimal whose number of steps lies upon the middle of two doubles, or beside it by less than it can say."""
    count = Decimal(2 * draw(st.integers(2**52, 2**53 - 1)) + 1) / 2 ** draw(st.integers(1, 60)) * step
    whole, _, rest = format(count, "f").partition(".")
    return f"{whole[-18:]}.{rest[: draw(st.integers(1, 18))] or '0'}"


INSTANTS = st.one_of(
    st.integers(-2 * S, S).map(lambda offset: NOW + offset),
    st.sampled_from(
        [NOW - 60 * S, NOW - 60 * S - 1, NOW + S, NOW + S + 1, NOW + 7 * 86_400 * S, NOW + 7 * 86_400 * S + 1,
         NOW - 86_400 * S, NOW - 86_400 * S - 1, 0, -1, 2**63 - 1, -(2**63)]
    ),
)  # fmt: skip


@st.composite
def messages(draw: st.DrawFn, of: Side) -> expiry.GetExpiryRequest:
    """Mostly valid ones, with every field that a request may have."""

    def some(chance: int) -> bool:
        return draw(st.integers(1, 100)) <= chance

    def named(names: list[str]) -> str:
        return draw(st.sampled_from(names)) if names and some(90) else draw(IDS)

    request = expiry.GetExpiryRequest(
        instrument=named(of.instruments), side=draw(st.sampled_from([1, 2, 1, 2, 1, 2, 3, 0, 4]))
    )
    step = Decimal(1)
    known = of.engine.instruments.get(request.instrument)
    if known is not None:
        step = draw(st.sampled_from([known.tick_size, known.lot_size]))
    numbers = st.one_of(DECIMALS, DECIMALS, DECIMALS, between_two_doubles(step))
    for name, chance in (("request_id", 60), ("rfq_id", 50), ("quote_id", 50)):
        if some(chance):
            setattr(request, name, draw(IDS))
    if some(60):
        request.counterparty = named(of.counterparties)
    if some(30):
        request.desk = named(of.desks)
    if some(30):
        request.venue_session = named(of.sessions)
    if some(60):
        request.size.quantity = draw(numbers)
        request.size.unit = draw(st.sampled_from([1, 2, 3, 4, 2, 2, 0, 5]))
    for name, chance in (
        ("price", 40),
        ("edge", 30),
        ("reference_price", 30),
        ("bid_price", 2),
        ("ask_price", 2),
    ):
        if some(chance):
            setattr(request, name, draw(numbers))
    for name in ("priced_at_utc_ns", "client_deadline_utc_ns"):
        if some(25):
            setattr(request, name, draw(INSTANTS))
    if some(20):
        request.dealers_asked = draw(st.sampled_from([0, 1, 3, 127, 128, 10_000, 10_001, 2**32 - 1]))
    if some(20):
        request.overrides.posture = draw(st.sampled_from([0, 1, 2, 3, 4, -1]))
    for name in ("watch", "explain", "include_features"):
        if some(2):
            setattr(request, name, True)
    if some(2):
        request.watch_owner = draw(IDS)
    if some(2):
        request.legs.add(instrument=named(of.instruments), side=1, ratio="1")
    return request


@pytest.mark.parametrize("name", SIDES)
@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_any_request_is_read_alike(name: str, data: st.DataObject) -> None:
    of = side(name)
    held(of, data.draw(messages(of)).SerializeToString(), synchronised=data.draw(st.booleans()))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_so_it_is_by_a_clock_near_its_beginning_and_end(data: st.DataObject) -> None:
    of = side("kit")
    now_ns = data.draw(st.sampled_from([0, 1, S, 2**62 - 1, 2**62, 2**62 + 1, 2**63 - 1, -1]))
    instants = st.one_of(
        st.integers(-2 * S, 2 * S).map(lambda offset: max(-(2**63), min(2**63 - 1, now_ns + offset))),
        st.sampled_from([0, 2**63 - 1, -(2**63)]),
    )
    request = expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY)
    request.priced_at_utc_ns = data.draw(instants)
    request.client_deadline_utc_ns = data.draw(instants)
    held(of, request.SerializeToString(), now_ns)


def test_numbers_are_those_of_decimals_on_every_grid() -> None:
    """In such numbers that the faster of two divisions, the slower and none of both are all used many times."""
    of = side("many")
    rng = random.Random(7)
    plain: Counter[bool] = Counter()
    for _ in range(20_000):
        places = rng.randrange(19)
        whole, rest = rng.randrange(10 ** rng.randrange(1, 19)), rng.randrange(10**places) if places else 0
        number = f"{whole}.{rest:0{places}d}" if places else str(whole)
        request = expiry.GetExpiryRequest(
            instrument=rng.choice(of.instruments),
            side=types.SIDE_SELL,
            price=f"{rng.randrange(1, 10**9)}.{rng.randrange(100)}",
            reference_price=number,
            size=types.Size(quantity=number, unit=rng.choice((1, 2, 3, 4, 4))),  # type: ignore[arg-type]
        )
        plain[held(of, request.SerializeToString()) is not None] += 1
    assert plain[True] > 4_000 and plain[False] > 1_000


@pytest.mark.parametrize("places", [17, 18])
def test_a_quotient_that_two_roundings_take_across_a_middle_is_left_to_the_general_way(places: int) -> None:
    """``a / b`` beside an odd count ``m`` of half units by ``1 / (m b)``, of a double's size and with a divisor beyond
    10^10: 28 digits cannot say on which side it lies, so that rounding once and twice differ about every other time."""
    of = side("many")
    lot = Decimal("0.3333333333")
    instrument = next(each.name for each in of.engine.instruments if each.lot_size == lot)
    odd = 3333333333 * 5 ** (
        places - 10
    )  # of the divisor, which is so many lots' last digits of the quantity
    rng = random.Random(places)
    differ = asked = 0
    for _ in range(400):
        power = 51 if places == 18 else 49
        beside = rng.choice((-1, 1))
        middle = -beside * pow(odd, -1, 2**power) % 2**power
        middle += rng.randrange(2**53 >> power, 2**54 >> power) << power
        above, left = divmod(middle * odd + beside, 2**power)
        assert not left and 2**53 < middle < 2**54 and middle & 1
        if above >= 2**53 or above % 10 == 0:
            continue
        asked += 1
        number = f"0.{above:0{places}d}"
        once = above / (odd << (places - 10))  # Python rounds it right, once
        differ += once != float(Decimal(number) / lot)
        size = types.Size(quantity=number, unit=types.SIZE_UNIT_BASE_QUANTITY)
        held(of, request_of(instrument=instrument, size=size).SerializeToString())
    assert asked > 100 and differ > asked // 8, (asked, differ)


# --- bytes that nobody should send --------------------------------------------------------------------------


def varint(value: int, more: int = 0) -> bytes:
    """``more``: bytes that add nothing."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    for _ in range(more):
        out[-1] |= 128
        out.append(0)
    return bytes(out)


def fields_of(payload: bytes) -> list[tuple[int, int, bytes]]:
    """Field, wire type and the rest of each field of a canonical payload."""
    found, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            value |= (payload[at] & 127) << shift
            shift += 7
            at += 1
            if payload[at - 1] < 128:
                return value

    while at < len(payload):
        tag = number()
        value = number()
        if tag & 7 == 2:
            found.append((tag >> 3, 2, payload[at : at + value]))
            at += value
        else:
            found.append((tag >> 3, 0, varint(value)))
    return found


def written(field: int, wire: int, value: bytes, more: int = 0) -> bytes:
    return varint(field << 3 | wire, more) + (varint(len(value), more) if wire == 2 else b"") + value


@st.composite
def broken(draw: st.DrawFn, payload: bytes) -> bytes:
    """Near a payload: bits turned, ends cut off, fields unknown, twice, in another order, longer than they need be."""
    kind = draw(st.integers(0, 8))
    fields = fields_of(payload)
    at = draw(st.integers(0, max(len(fields) - 1, 0)))
    if kind == 0:
        data = bytearray(payload)
        for _ in range(draw(st.integers(1, 3))):
            data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(data)
    if kind == 1:
        return payload[: draw(st.integers(0, len(payload)))]
    if kind == 2:
        field = draw(st.sampled_from([0, 5, 12, 13, 20, 21, 22, 23, 24, 100, 1000, 2**29 - 1]))
        wire = draw(st.integers(0, 7))
        extra = varint(field << 3 | wire) + draw(st.binary(max_size=9))
        place = draw(st.sampled_from([0, len(payload)]))
        return payload[:place] + extra + payload[place:]
    if kind == 3:
        fields.insert(draw(st.integers(0, len(fields))), fields[at])
    elif kind == 4:
        fields = draw(st.permutations(fields))
    elif kind == 5:
        return b"".join(
            written(*each, more=draw(st.integers(0, 2)) * (i == at)) for i, each in enumerate(fields)
        )
    elif kind == 6:
        field, _, value = fields[at]
        fields[at] = (field, draw(st.integers(0, 7)), value)
    elif kind == 7:
        field = draw(st.integers(1, 23))
        fields = sorted([each for each in fields if each[0] != field] + [empty(field)])
    else:
        field, wire, value = fields[at]
        data = bytearray(value)
        data[draw(st.integers(0, len(data))) : 0] = draw(
            st.sampled_from(
                [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\0", b"\x80", b"\x08\x01", b"\x12\x00"]
            )
        )
        fields[at] = (field, wire, bytes(data))
    return b"".join(written(*each) for each in fields)


@pytest.mark.parametrize("name", ["kit", "many"])
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_broken_bytes_are_never_taken_for_more_than_they_are(name: str, data: st.DataObject) -> None:
    of = side(name)
    usual = st.sampled_from(list(USUAL.values()))
    message = data.draw(st.one_of(usual, messages(of)) if name == "kit" else messages(of))
    held(of, data.draw(broken(message.SerializeToString(deterministic=True) or b"\x08\x01")))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_noise_is_never_taken(data: st.DataObject) -> None:
    held(side("kit"), data.draw(st.binary(max_size=80)))


def test_each_bit_of_a_request_counts() -> None:
    """Every bit of a request that uses every field, turned, and every shorter request."""
    of = side("kit")
    payload = USUAL["all of it"].SerializeToString()
    assert held(of, payload) is not None
    ends = {len(b"".join(written(*each) for each in fields_of(payload)[:n])) for n in range(20)}
    plain = 0
    for at in range(len(payload)):
        whole = held(of, payload[:at]) is not None  # where it happens to end behind a field
        assert not whole or at in ends, at
        for bit in range(8):
            data = bytearray(payload)
            data[at] ^= 1 << bit
            plain += held(of, bytes(data)) is not None
    assert plain > 100  # other ids are as good


def empty(field: int) -> tuple[int, int, bytes]:
    """The field as it says no more than that it is there."""
    numbers = (6, 10, 16, 17, 20, 21, 22)
    return (field, 0, b"\0") if field in numbers else (field, 2, b"")


def test_what_may_be_written_otherwise_is_left_to_the_general_way() -> None:
    """Fields of usual requests longer than they need be, twice, swapped, and others that say nothing."""
    of = side("kit")
    for what, message in USUAL.items():
        fields = fields_of(message.SerializeToString(deterministic=True))
        others: list[bytes] = []
        for at, each in enumerate(fields):
            before, after = (
                b"".join(written(*one) for one in some) for some in (fields[:at], fields[at + 1 :])
            )
            others.append(before + written(*each, more=1) + after)
            others.append(before + written(*each) * 2 + after)
            if each[1] == 0:
                others.append(before + varint(each[0] << 3) + varint(each[2][0], more=1) + after)
            if at:
                swapped = [*fields[: at - 1], each, fields[at - 1], *fields[at + 1 :]]
                others.append(b"".join(written(*one) for one in swapped))
        for field in range(1, 30):
            if field not in {each[0] for each in fields} and field != 19:
                others.append(b"".join(written(*one) for one in sorted([*fields, empty(field)])))
        for payload in others:
            assert of.reader.read(payload, NOW, True) is None, (what, payload.hex())


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"price": "1", "edge": "1"}, "edge"),
        ({"price": "0"}, "price"),
        ({"price": "-1"}, "price"),
        ({"reference_price": "-0.0"}, "reference_price"),
        ({"size": types.Size(quantity="0.000", unit=types.SIZE_UNIT_LOTS)}, "size.quantity"),
        ({"size": types.Size(quantity="1", unit=types.SIZE_UNIT_UNSPECIFIED)}, "size.unit"),
        ({"size": types.Size(quantity="9007199254740994", unit=types.SIZE_UNIT_LOTS)}, "size.quantity"),
        ({"instrument": "ETH-USDT", "size": types.Size(quantity="1", unit=types.SIZE_UNIT_CONTRACTS)}, "size.unit"),
        ({"instrument": "BTC-USD", "size": types.Size(quantity="1", unit=types.SIZE_UNIT_BASE_QUANTITY)}, "size.unit"),
        ({"edge": "900719925474099.4"}, "edge"),
        ({"edge": "1234567890123456789"}, "edge"),
        ({"edge": "1.1234567890123456789"}, "edge"),
        ({"edge": "1."}, "edge"),
        ({"edge": "0" * 18 + "1"}, "edge"),
        ({"edge": "1." + "0" * 19}, "edge"),
        ({"dealers_asked": 0}, "dealers_asked"),
        ({"dealers_asked": 10_001}, "dealers_asked"),
        ({"priced_at_utc_ns": NOW - 60 * S - 1}, "priced_at_utc_ns"),
        ({"priced_at_utc_ns": NOW + S + 1}, "priced_at_utc_ns"),
        ({"client_deadline_utc_ns": NOW - 86_400 * S - 1}, "client_deadline_utc_ns"),
        ({"client_deadline_utc_ns": NOW + 7 * 86_400 * S + 1}, "client_deadline_utc_ns"),
        ({"request_id": "a\n"}, "request_id"),
        ({"rfq_id": "\u202e"}, "rfq_id"),
        ({"quote_id": "x" * 129}, "quote_id"),
        ({"counterparty": "\xa0"}, "counterparty"),
        ({"desk": "nobody"}, "desk"),
        ({"venue_session": "nowhere"}, "venue_session"),
        ({"overrides": expiry.RequestOverrides(posture=4)}, "overrides.posture"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_wrong_is_left_to_the_general_way(fields: dict[str, Any], refused: str) -> None:
    of, payload = side("kit"), request_of(**fields).SerializeToString()
    assert of.reader.read(payload, NOW, True) is None
    with pytest.raises(RpcError, match=refused):
        general(of.engine, payload, NOW, True)


@pytest.mark.parametrize("behind", [b"\x10\x01", b"\x10\x02", b"\x0a\x011", b"\x18\x01", b"\xff", b"\0"])
def test_nothing_may_lie_behind_the_unit(behind: bytes) -> None:
    of = side("kit")
    fields = fields_of(request_of(request_id="r", size=BASE).SerializeToString())
    assert held(of, b"".join(written(*each) for each in fields)) is not None
    for cut in range(1, len(behind) + 1):
        longer = [
            (field, wire, value + behind[:cut] if field == 7 else value) for field, wire, value in fields
        ]
        assert of.reader.read(b"".join(written(*each) for each in longer), NOW, True) is None


@pytest.mark.parametrize("last", [0x01, 0x02, 0x7E])
def test_a_number_of_ten_bytes_is_left_to_the_general_way(last: int) -> None:
    """It is negative, or has bits that no number has room for: without them it would be a usual one."""
    of = side("kit")
    fields = fields_of(USUAL["all of it"].SerializeToString())
    numbers = [at for at, (_, wire, _) in enumerate(fields) if wire == 0]
    assert len(numbers) == 4
    for at in numbers:
        field, wire, value = fields[at]
        longer = bytes(byte | 128 for byte in value) + b"\x80" * (9 - len(value)) + bytes([last])
        changed = [*fields[:at], (field, wire, longer), *fields[at + 1 :]]
        assert of.reader.read(b"".join(written(*each) for each in changed), NOW, True) is None


@pytest.mark.parametrize("more", [1, 2, 8, 100])
def test_no_text_reaches_beyond_the_end_of_what_it_is_in(more: int) -> None:
    """Wherever a text ends the request, or the size, and says that it is longer."""
    of = side("kit")
    for message in USUAL.values():
        fields = fields_of(message.SerializeToString(deterministic=True))
        for at, (field, wire, value) in enumerate(fields):
            if wire == 2:
                before = b"".join(written(*each) for each in fields[:at])
                longer = varint(field << 3 | 2) + varint(len(value) + more) + value
                assert of.reader.read(before + longer, NOW, True) is None
            if field == 7:
                inner = b"\x0a" + varint(len(value) - 4 + more) + value[2:]
                changed = [*fields[:at], (7, 2, inner), *fields[at + 1 :]]
                assert of.reader.read(b"".join(written(*each) for each in changed), NOW, True) is None


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ("0" * 17 + "1", "0" * 18 + "1"),
        ("1." + "0" * 17 + "1", "1." + "0" * 18 + "1"),
        ("1." + "0" * 18, "1." + "0" * 19),
    ],
)
@pytest.mark.parametrize("sign", ["", "-", "+"])
def test_eighteen_digits_on_either_side_of_a_point_are_taken_and_no_more(
    shorter: str, longer: str, sign: str
) -> None:
    of = side("kit")
    assert held(of, request_of(edge=sign + shorter).SerializeToString()) is not None
    assert of.reader.read(request_of(edge=sign + longer).SerializeToString(), NOW, True) is None


# --- which requests are plain -------------------------------------------------------------------------------


def request_of(**fields: Any) -> expiry.GetExpiryRequest:
    return expiry.GetExpiryRequest(**{"instrument": "BTC-USDT", "side": types.SIDE_BUY} | fields)


BASE = types.Size(quantity="2.5", unit=types.SIZE_UNIT_BASE_QUANTITY)
USUAL = {
    "the least": request_of(),
    "with an id": request_of(request_id="3f0a9c7e5b1d2a4f6e8c0b9d"),
    "as a bench asks": request_of(
        request_id="bench-17", rfq_id="rfq-17", side=types.SIDE_SELL, counterparty="client", size=BASE, edge="0.1"
    ),
    "all of it": request_of(
        request_id="bench-17", rfq_id="rfq-17", quote_id="quote-17", counterparty="alpha", desk="main", size=BASE,
        dealers_asked=300, price="63000.10", reference_price="63000.254", priced_at_utc_ns=NOW - 3 * MS,
        client_deadline_utc_ns=NOW + S, venue_session="instants",
        overrides=expiry.RequestOverrides(posture=types.POSTURE_RISK_AVERSE),
    ),
    "an edge below 0": request_of(edge="-0.25"),
    "an edge of 0": request_of(edge="-0"),
    "a stranger": request_of(counterparty="Müller & Söhne"),
    "lots": request_of(size=types.Size(quantity="1500", unit=types.SIZE_UNIT_LOTS)),
    "contracts": request_of(instrument="BTC-USD", size=types.Size(quantity="12", unit=types.SIZE_UNIT_CONTRACTS)),
    "a notional at a price": request_of(size=types.Size(quantity="1000", unit=types.SIZE_UNIT_NOTIONAL), price="9.1"),
    "a notional at a reference": request_of(
        size=types.Size(quantity="250000", unit=types.SIZE_UNIT_NOTIONAL), reference_price="63000.25", edge="1.5"
    ),
    "a float's seventeen digits": request_of(price="63000.123456789012", edge=None),
    "an edge of seventeen digits": request_of(edge="0.30000000000000004"),
    "overrides without any": request_of(request_id="r", overrides=expiry.RequestOverrides()),
    "long ids": request_of(request_id="r" * 128, rfq_id="é" * 128, quote_id="🙂" * 128, counterparty="x" * 128),
}  # fmt: skip
NOT_PLAIN = {
    "two way": request_of(side=types.SIDE_TWO_WAY),
    "two way with prices": request_of(side=types.SIDE_TWO_WAY, bid_price="1", ask_price="2"),
    "a package": request_of(instrument="", legs=[expiry.Leg(instrument="BTC-USDT", side=1, ratio="1")]),
    "watched": request_of(watch=True, watch_owner="w"),
    "explained": request_of(explain=True),
    "with features": request_of(include_features=True),
    "a notional at the market": request_of(size=types.Size(quantity="100000", unit=types.SIZE_UNIT_NOTIONAL)),
}


@pytest.mark.parametrize("what", USUAL)
@pytest.mark.parametrize("synchronised", [True, False])
def test_usual_requests_are_plain(what: str, synchronised: bool) -> None:
    assert held(side("kit"), USUAL[what].SerializeToString(), synchronised=synchronised) is not None


@pytest.mark.parametrize("what", NOT_PLAIN)
def test_requests_for_more_are_left_to_the_general_way(what: str) -> None:
    of, payload = side("kit"), NOT_PLAIN[what].SerializeToString()
    assert general(of.engine, payload, NOW, True)
    assert of.reader.read(payload, NOW, True) is None


def test_the_digest_is_right_at_every_length() -> None:
    """Of whole blocks of 128 bytes, and of every length between."""
    of = side("kit")
    lengths = set()
    for n in range(384):
        text = "x" * n
        for ids in ("r", "rr", "rrr", "🙂" * 128):
            payload = request_of(
                request_id=ids, rfq_id=text[:128], quote_id=text[128:256], counterparty=text[256:]
            ).SerializeToString()
            plain = held(of, payload)
            assert plain is not None
            assert plain.digest == hashlib.blake2b(payload, digest_size=16).digest()
            lengths.add(len(payload))
    assert set(range(20, 400)) <= lengths and max(lengths) > 900


# --- names --------------------------------------------------------------------------------------------------


def test_names_beyond_all_room_are_still_read_right() -> None:
    """Some tens of thousands of counterparties that nobody knows, between those that are configured."""
    of = side("many")
    for turn in range(2):
        for i in range(20_000):
            name = f"c{i}" if i % 4 == 0 else f"stranger-{i * 7919}"
            plain = of.reader.read(
                request_of(instrument="I1", counterparty=name).SerializeToString(), NOW, True
            )
            assert plain is not None and plain.counterparty == name
            index = of.engine.policy.counterparty_index(name)
            assert plain.record.counterparty == (NO_INDEX_VALUE if index is None else index), turn


def with_one_hash(first: str, rng: random.Random) -> str:
    """Another text of 16 bytes with the hash of ``first``, as ``request_reader`` hashes names: eight bytes are mixed
    with what came before in a way that can be undone, so that the second eight can make up for the first."""

    def mixed(word: bytes) -> int:
        value = (
            16 * 0x9E3779B97F4A7C15 ^ int.from_bytes(word, sys.byteorder)
        ) * 0x9E3779B97F4A7C15 & 2**64 - 1
        return value ^ value >> 32

    begins, ends = first[:8].encode(), int.from_bytes(first[8:].encode(), sys.byteorder)
    while True:
        other = bytes(rng.randrange(0x21, 0x7F) for _ in range(8))
        rest = (mixed(begins) ^ mixed(other) ^ ends).to_bytes(8, sys.byteorder)
        if other != begins and all(0x21 <= byte < 0x7F for byte in rest):
            return (other + rest).decode()


def test_names_of_one_hash_are_two_names() -> None:
    of, rng = side("kit"), random.Random(3)
    for _ in range(4):
        names = [first := "".join(rng.choices("abcdefgh", k=16)), with_one_hash(first, rng)]
        for name in names * 2:
            assert held(of, request_of(counterparty=name).SerializeToString()) is not None


def test_texts_of_an_answer_outlive_the_table_that_they_are_from() -> None:
    reader = RequestReader(engine_of(CONFIG))
    plain = reader.read(request_of(counterparty="stranger-1").SerializeToString(), NOW, True)
    del reader
    assert plain is not None and plain.counterparty == "stranger-1"


def test_a_name_is_none_of_another_kind() -> None:
    of = side("kit")
    for fields in (
        {"instrument": "alpha"}, {"desk": "alpha"}, {"desk": "BTC-USDT"}, {"venue_session": "main"},
        {"desk": "instants"},
    ):  # fmt: skip
        assert of.reader.read(USUAL["all of it"].SerializeToString(), NOW, True) is not None
        assert held(of, request_of(**fields).SerializeToString()) is None


Change = Callable[[str], str]


def test_a_reload_is_followed_at_once() -> None:
    engine = engine_of(CONFIG)
    of = Side(engine)
    whole = USUAL["all of it"].SerializeToString()
    stranger = request_of(counterparty="gamma").SerializeToString()
    added = request_of(instrument="SOL-USDT", price="100.001").SerializeToString()

    def plain_of(payload: bytes) -> PlainRequest:
        plain = held(of, payload)
        assert plain is not None
        return plain

    def reload(*changes: Change) -> None:
        nonlocal text
        for change in changes:
            before, text = text, change(text)
            assert text != before
        with TemporaryDirectory() as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(text, encoding="utf-8")
            engine.apply_config(load_config(path, ServiceConfig), NOW)

    text = CONFIG
    before = plain_of(whole)
    assert plain_of(stranger).record.counterparty == NO_INDEX_VALUE
    assert held(of, added) is None

    # Everything gets another number, a session another step, and a stranger is known.
    reload(
        lambda text: text.replace("  alpha: ", "  aardvark: {}\n  gamma: {}\n  alpha: "),
        lambda text: text.replace("desks:\n", "desks:\n  first: {}\n"),
        lambda text: text.replace("venue_sessions:\n", "venue_sessions:\n  first: {actuation: absolute}\n"),
        lambda text: text.replace("granularity: 1ms", "granularity: 5ms"),
        lambda text: text.replace(
            "tiers:\n", "  - {name: SOL-USDT, venue: v, symbol: S, tick_size: 0.001, lot_size: 0.5}\ntiers:\n"
        ),
    )
    after = plain_of(whole)
    assert (after.record.counterparty, after.record.desk, after.record.session) != (
        before.record.counterparty, before.record.desk, before.record.session,
    )  # fmt: skip
    assert (before.venue_step_ns, after.venue_step_ns) == (MS, 5 * MS)
    assert plain_of(stranger).record.counterparty == engine.policy.counterparty_index("gamma")
    assert plain_of(added).record.instrument == 3 and plain_of(added).tick == 0.001

    # What has gone is not known any more.
    reload(lambda text: text.replace("  gamma: {}\n", ""), lambda text: text.replace("  plain: {}\n", ""))
    assert plain_of(stranger).record.counterparty == NO_INDEX_VALUE
    reload(lambda text: text.replace("  main: {allow_request_override: true}\n", ""))
    assert held(of, whole) is None
    with pytest.raises(RpcError, match="desk"):
        general(engine, whole, NOW, True)
