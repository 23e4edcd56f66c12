"""What Databento Binary Encoding (DBN) looks like, versions 1 to 3: metadata and records.

All little-endian, every record a multiple of four bytes: a header of 16 bytes (length in words, type, publisher,
instrument, ``ts_event``), then what the type says. Prices are fixed-point, 1e-9. Between versions only symbols have
grown, and definitions, statistics, errors, system messages and symbol mappings with them, so the length of a record
tells its version.
"""

import struct
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quotelife.errors import DecodeError
from quotelife.units import NS_PER_S

PRICE_SCALE = 1_000_000_000
UNDEF_PRICE = 2**63 - 1
UNDEF_TIMESTAMP = 2**64 - 1
UNDEF_SIZE = 2**32 - 1
VERSION_MAX = 3
METADATA_MAX = 64 << 20
STYPE_INSTRUMENT_ID = 0
SCHEMAS = (
    "mbo", "mbp-1", "mbp-10", "tbbo", "trades", "ohlcv-1s", "ohlcv-1m", "ohlcv-1h", "ohlcv-1d", "definition",
    "statistics", "status", "imbalance", "ohlcv-eod", "cmbp-1", "cbbo-1s", "cbbo-1m", "tcbbo", "bbo-1s", "bbo-1m",
)  # fmt: skip
_NONE16 = 0xFFFF
_NONE8 = 0xFF
_FIXED = 100  # bytes of metadata before what varies

RTYPES = {
    0x00: "trade", 0x01: "mbp1", 0x0A: "mbp10", 0x11: "ohlcv", 0x12: "status", 0x13: "definition",
    0x14: "imbalance", 0x15: "error", 0x16: "symbol_mapping", 0x17: "system", 0x18: "statistics",
    0x20: "ohlcv", 0x21: "ohlcv", 0x22: "ohlcv", 0x23: "ohlcv", 0x24: "ohlcv", 0xA0: "mbo", 0xB1: "cmbp1",
    0xC0: "cbbo", 0xC1: "cbbo", 0xC2: "cmbp1", 0xC3: "bbo", 0xC4: "bbo",
}  # fmt: skip

_HEADER = "length u1 rtype u1 publisher_id u2 instrument_id u4 ts_event u8"
_LEVEL = "bid_px_{0} i8 ask_px_{0} i8 bid_sz_{0} u4 ask_sz_{0} u4 bid_ct_{0} u4 ask_ct_{0} u4"
_CONSOLIDATED = "bid_px_00 i8 ask_px_00 i8 bid_sz_00 u4 ask_sz_00 u4 bid_pb_00 u2 _ V2 ask_pb_00 u2 _ V2"
_TRADE = "price i8 size u4 action S1 side S1 flags u1 depth u1 ts_recv u8 ts_in_delta i4 sequence u4"
_CONSOLIDATED_TRADE = "price i8 size u4 action S1 side S1 flags u1 _ V1 ts_recv u8 ts_in_delta i4 _ V4"
_DEFINITION_HEAD = (
    "ts_recv u8 min_price_increment i8 display_factor i8 expiration u8 activation u8 high_limit_price i8 "
    "low_limit_price i8 max_price_variation i8"
)
_DEFINITION_TAIL = (
    "security_update_action S1 maturity_month u1 maturity_day u1 maturity_week u1 user_defined_instrument S1 "
    "contract_multiplier_unit i1 flow_schedule_type i1 tick_rule u1"
)
_DEFINITION_NAMES = (
    "currency S4 settl_currency S4 secsubtype S6 raw_symbol S{symbol} group S21 exchange S5 asset S{asset} cfi S7 "
    "security_type S7 unit_of_measure S31 underlying S21 strike_price_currency S4"
)
_MARKET_SEGMENT = (
    "market_segment_id u4 max_trade_vol u4 min_lot_size i4 min_lot_size_block i4 min_lot_size_round_lot i4 "
    "min_trade_vol u4"
)
_DATES = "appl_id i2 maturity_year u2 decay_start_date u2 channel_id u2"

_LAYOUTS: dict[str, tuple[str, ...]] = {
    "trade": (_TRADE,),
    "mbp1": (f"{_TRADE} {_LEVEL.format('00')}",),
    "mbp10": (" ".join([_TRADE, *(_LEVEL.format(f"{k:02d}") for k in range(10))]),),
    "mbo": (
        "order_id u8 price i8 size u4 flags u1 channel_id u1 action S1 side S1 ts_recv u8 ts_in_delta i4 sequence u4",
    ),
    "ohlcv": ("open i8 high i8 low i8 close i8 volume u8",),
    "bbo": (
        f"price i8 size u4 _ V1 side S1 flags u1 _ V1 ts_recv u8 _ V4 sequence u4 {_LEVEL.format('00')}",
    ),
    "cbbo": (f"price i8 size u4 _ V1 side S1 flags u1 _ V1 ts_recv u8 _ V8 {_CONSOLIDATED}",),
    "cmbp1": (f"{_CONSOLIDATED_TRADE} {_CONSOLIDATED}",),
    "status": (
        "ts_recv u8 action u2 reason u2 trading_event u2 is_trading S1 is_quoting S1 is_short_sell_restricted S1 _ V7",
    ),
    "imbalance": (
        "ts_recv u8 ref_price i8 auction_time u8 cont_book_clr_price i8 auct_interest_clr_price i8 "
        "ssr_filling_price i8 ind_match_price i8 upper_collar i8 lower_collar i8 paired_qty u4 "
        "total_imbalance_qty u4 market_imbalance_qty u4 unpaired_qty u4 auction_type S1 side S1 auction_status u1 "
        "freeze_status u1 num_extensions u1 unpaired_side S1 significant_imbalance S1 _ V1",
    ),
    "statistics": (
        "ts_recv u8 ts_ref u8 price i8 quantity i4 sequence u4 ts_in_delta i4 stat_type u2 channel_id u2 "
        "update_action u1 stat_flags u1 _ V6",
        "ts_recv u8 ts_ref u8 price i8 quantity i8 sequence u4 ts_in_delta i4 stat_type u2 channel_id u2 "
        "update_action u1 stat_flags u1 _ V18",
    ),
    "error": ("err S64", "err S302 code u1 is_last u1"),
    "system": ("msg S64", "msg S303 code u1"),
    "symbol_mapping": (
        "stype_in_symbol S22 stype_out_symbol S22 _ V4 start_ts u8 end_ts u8",
        "stype_in u1 stype_in_symbol S71 stype_out u1 stype_out_symbol S71 start_ts u8 end_ts u8",
    ),
    "definition": (
        f"{_DEFINITION_HEAD} trading_reference_price i8 unit_of_measure_qty i8 min_price_increment_amount i8 "
        f"price_ratio i8 inst_attrib_value i4 underlying_id u4 raw_instrument_id u4 market_depth_implied i4 "
        f"market_depth i4 {_MARKET_SEGMENT} _ V4 contract_multiplier i4 decay_quantity i4 "
        f"original_contract_size i4 _ V4 trading_reference_date u2 {_DATES} "
        f"{_DEFINITION_NAMES.format(symbol=22, asset=7)} instrument_class S1 _ V2 strike_price i8 _ V6 "
        f"match_algorithm S1 md_security_trading_status u1 main_fraction u1 price_display_format u1 "
        f"settl_price_type u1 sub_fraction u1 underlying_product u1 {_DEFINITION_TAIL} _ V3",
        f"{_DEFINITION_HEAD} trading_reference_price i8 unit_of_measure_qty i8 min_price_increment_amount i8 "
        f"price_ratio i8 strike_price i8 inst_attrib_value i4 underlying_id u4 raw_instrument_id u4 "
        f"market_depth_implied i4 market_depth i4 {_MARKET_SEGMENT} contract_multiplier i4 decay_quantity i4 "
        f"original_contract_size i4 trading_reference_date u2 {_DATES} "
        f"{_DEFINITION_NAMES.format(symbol=71, asset=7)} instrument_class S1 match_algorithm S1 "
        f"md_security_trading_status u1 main_fraction u1 price_display_format u1 settl_price_type u1 "
        f"sub_fraction u1 underlying_product u1 {_DEFINITION_TAIL} _ V10",
        f"{_DEFINITION_HEAD} unit_of_measure_qty i8 min_price_increment_amount i8 price_ratio i8 strike_price i8 "
        f"raw_instrument_id u8 leg_price i8 leg_delta i8 inst_attrib_value i4 underlying_id u4 "
        f"market_depth_implied i4 market_depth i4 {_MARKET_SEGMENT} contract_multiplier i4 decay_quantity i4 "
        f"original_contract_size i4 leg_instrument_id u4 leg_ratio_price_numerator i4 "
        f"leg_ratio_price_denominator i4 leg_ratio_qty_numerator i4 leg_ratio_qty_denominator i4 "
        f"leg_underlying_id u4 {_DATES} leg_count u2 leg_index u2 "
        f"{_DEFINITION_NAMES.format(symbol=71, asset=11)} leg_raw_symbol S71 instrument_class S1 match_algorithm S1 "
        f"main_fraction u1 price_display_format u1 sub_fraction u1 underlying_product u1 {_DEFINITION_TAIL} "
        f"leg_instrument_class S1 leg_side S1 _ V17",
    ),
}  # fmt: skip


def _dtype(fields: str) -> np.dtype[np.void]:
    words = f"{_HEADER} {fields}".split()
    names, forms, offsets, at = [], [], [], 0
    for name, form in zip(words[0::2], words[1::2], strict=True):
        if name != "_":
            names.append(name)
            forms.append(form if form[0] == "S" else f"<{form}")
            offsets.append(at)
        at += int(form[1:])
    return np.dtype({"names": names, "formats": forms, "offsets": offsets, "itemsize": at})


DTYPES = {name: tuple(map(_dtype, layouts)) for name, layouts in _LAYOUTS.items()}
"""By kind of record the layouts of its versions, shortest first."""


class Metadata(NamedTuple):
    """What stands before the records. ``mappings``: for each symbol asked for (from ns, to ns, what it was then)."""

    version: int
    dataset: str
    schema: str | None
    start: int
    end: int | None
    limit: int | None
    stype_in: int | None
    stype_out: int
    ts_out: bool
    symbols: tuple[str, ...]
    partial: tuple[str, ...]
    not_found: tuple[str, ...]
    mappings: dict[str, tuple[tuple[int, int, str], ...]]

    def identities(self) -> list[tuple[str, int, int, int]]:
        """(symbol, instrument id, from ns, to ns) as far as the mappings know ids."""
        out = []
        for symbol, intervals in self.mappings.items():
            for start, end, other in intervals:
                name, number = (symbol, other) if self.stype_out == STYPE_INSTRUMENT_ID else (other, symbol)
                if number.isdigit() and int(number) < 2**32:
                    out.append((name, int(number), start, end))
        return out


def metadata_bytes(head: bytes) -> int:
    """Bytes of the metadata that begins with these 8; 0 when they begin a record, as in a fragment.

    Raises ``DecodeError`` on another format or version.
    """
    if head[:4] == b"\x28\xb5\x2f\xfd":
        raise DecodeError("these bytes are compressed with zstd; hand in what they decompress to")
    if head[:3] == b"DBZ" or head[:4] == b"P*M\x18":
        raise DecodeError("this is DBZ, the format before DBN; convert it with Databento's dbn tool")
    if head[:3] != b"DBN":
        return 0
    version, length = head[3], int.from_bytes(head[4:8], "little")
    if not 1 <= version <= VERSION_MAX:
        raise DecodeError(f"DBN version {version}; versions 1 to {VERSION_MAX} are known")
    if not _FIXED + 4 * 5 <= length <= METADATA_MAX:
        raise DecodeError(f"metadata of {length} bytes; the file is damaged in its first 8 bytes")
    return 8 + length


class _Reader:
    def __init__(self, data: bytes, at: int, symbol_length: int) -> None:
        self.data, self.at, self.symbol_length = data, at, symbol_length

    def number(self) -> int:
        end = self.at + 4
        if end > len(self.data):
            raise DecodeError("the metadata ends inside its symbols; the file is damaged")
        value = int.from_bytes(self.data[self.at : end], "little")
        self.at = end
        return value

    def count(self, least: int) -> int:
        """How many items of so many bytes at least follow."""
        value = self.number()
        if value * least > len(self.data) - self.at:
            raise DecodeError(f"metadata with {value} symbols has no room for them; the file is damaged")
        return value

    def text(self) -> str:
        end = self.at + self.symbol_length
        if end > len(self.data):
            raise DecodeError("the metadata ends inside its symbols; the file is damaged")
        value = c_text(self.data[self.at : end])
        self.at = end
        return value

    def texts(self) -> tuple[str, ...]:
        return tuple(self.text() for _ in range(self.count(self.symbol_length)))

    def midnight(self) -> int:
        value = self.number()
        try:
            day = datetime(value // 10_000, value // 100 % 100, value % 100, tzinfo=UTC)
        except ValueError:
            raise DecodeError(
                f"a symbol mapping of the metadata has the date {value}; expected yyyymmdd"
            ) from None
        return min(int(day.timestamp()) * NS_PER_S, 2**63 - 1)


def c_text(raw: bytes) -> str:
    """A text that ends at the first zero byte."""
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def parse_metadata(data: bytes) -> Metadata:
    """From all ``metadata_bytes`` of it. Raises ``DecodeError`` on damage."""
    if len(data) < 8 + _FIXED + 20:
        raise DecodeError("the metadata is too short; the file is damaged")
    version = data[3]
    schema, start, end, limit = struct.unpack_from("<HQQQ", data, 24)
    at = 50 if version > 1 else 58  # version 1 has a count of records there
    stype_in, stype_out, ts_out = data[at : at + 3]
    length = int.from_bytes(data[at + 3 : at + 5], "little") if version > 1 else 22
    if not 2 <= length <= 4096:
        raise DecodeError(f"metadata with symbols of {length} bytes; the file is damaged")
    reader = _Reader(data, 8 + _FIXED, length)
    definition = reader.count(1)  # of a schema; nothing is known of it
    reader.at += definition
    symbols, partial, not_found = reader.texts(), reader.texts(), reader.texts()
    mappings: dict[str, tuple[tuple[int, int, str], ...]] = {}
    for _ in range(reader.count(length + 4)):
        name = reader.text()
        mappings[name] = tuple(
            (reader.midnight(), reader.midnight(), reader.text()) for _ in range(reader.count(8 + length))
        )
    if schema != _NONE16 and schema >= len(SCHEMAS):
        raise DecodeError(f"DBN schema {schema} is not known; known are {', '.join(SCHEMAS)}")
    return Metadata(
        version=version,
        dataset=c_text(data[8:24]),
        schema=None if schema == _NONE16 else SCHEMAS[schema],
        start=start,
        end=None if end == UNDEF_TIMESTAMP else end,
        limit=limit or None,
        stype_in=None if stype_in == _NONE8 else stype_in,
        stype_out=stype_out,
        ts_out=bool(ts_out),
        symbols=symbols,
        partial=partial,
        not_found=not_found,
        mappings=mappings,
    )


def read_record(raw: bytes, ts_out: bool = False) -> tuple[str, npt.NDArray[np.void]] | None:
    """One whole record as (kind, array of one); ``None`` for a type that is not known.

    Raises ``DecodeError`` when the record is shorter than its type demands.
    """
    kind = RTYPES.get(raw[1]) if len(raw) >= 16 else None
    if kind is None:
        return None
    size = len(raw) - (8 if ts_out else 0)
    for dtype in reversed(DTYPES[kind]):
        if dtype.itemsize <= size:
            return kind, np.frombuffer(raw, dtype=dtype, count=1)
    raise DecodeError(f"a record of type {kind} has {len(raw)} bytes; it needs {DTYPES[kind][0].itemsize}")
