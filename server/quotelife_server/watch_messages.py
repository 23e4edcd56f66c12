"""Messages of WatchQuotes: what comes as bytes, checked, and what is said of live quotes, as messages."""

from typing import Any, cast

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.engine import Engine, LiveQuoteStatus
from quotelife.inputs import WatchWord
from quotelife.records import ActuationCode, QuoteStateCode
from quotelife.units import NS_PER_MS, NS_PER_S
from quotelife_server.convert import COUNT_MAX, Faults, parse, to_lots
from quotelife_server.rpc import RpcError

MESSAGES_MAX = 256  # in one batch, either way
INTERVAL_NS_MIN = 10 * NS_PER_MS
INTERVAL_NS_MAX = 60 * NS_PER_S
LEASE_NS_MIN = 20 * NS_PER_MS
SENT_BACK_NS_MAX = 600 * NS_PER_S
SENT_AHEAD_NS_MAX = NS_PER_S
SLACK = 1e-9  # decimal sizes become floating-point lots
RESUMED_AT_ONCE = 256  # quotes in one WatchResumed

Said = expiry.WatchQuotesResponse


def requests_of(payload: bytes) -> list[expiry.WatchQuotesRequest]:
    """One message, or those of a batch. Raises ``RpcError``."""
    message = parse(expiry.WatchQuotesRequest, payload)
    if message.WhichOneof("message") != "batch":
        return [message]
    faults = Faults()
    if len(message.batch.messages) > MESSAGES_MAX:
        faults.add("batch.messages", f"must be at most {MESSAGES_MAX}; send several")
    elif any(each.WhichOneof("message") in ("batch", "open") for each in message.batch.messages):
        faults.add("batch.messages", "holds open or batch, which stand alone")
    faults.raise_if_any()
    return list(message.batch.messages)


def check_open(message: expiry.WatchOpen) -> None:
    """Raises ``RpcError``."""
    faults = Faults()
    faults.text("open.owner", message.owner, required=True)
    if message.heartbeat_interval_ns:
        _check_interval(faults, "open.heartbeat_interval_ns", message.heartbeat_interval_ns)
    if message.lease_ns and not LEASE_NS_MIN <= message.lease_ns <= INTERVAL_NS_MAX:
        faults.add("open.lease_ns", "must lie between 20 ms and 60 s; 0 for the service's own")
    faults.raise_if_any()


def check_heartbeat(message: expiry.WatchHeartbeat) -> None:
    """Raises ``RpcError``."""
    faults = Faults()
    if message.interval_ns:
        _check_interval(faults, "heartbeat.interval_ns", message.interval_ns)
    faults.raise_if_any()


def _check_interval(faults: Faults, name: str, interval_ns: int) -> None:
    if not INTERVAL_NS_MIN <= interval_ns <= INTERVAL_NS_MAX:
        faults.add(name, "must lie between 10 ms and 60 s; 0 for the service's own")


def check_register(message: expiry.WatchRegister, owner: str, now_ns: int) -> None:
    """Raises ``RpcError``. ``owner``: of the stream."""
    faults = Faults()
    faults.text("register.quote_id", message.quote_id, required=True)
    faults.text("register.decision_id", message.decision_id)
    if bool(message.decision_id) == message.HasField("quote"):
        faults.add("register.decision_id", "give either this or quote")
    if message.HasField("quote"):
        if message.quote.watch_owner not in ("", owner):
            faults.add("register.quote.watch_owner", "is not the owner of this stream; leave it empty")
        if message.quote.quote_id not in ("", message.quote_id):
            faults.add("register.quote.quote_id", "differs from register.quote_id; leave it empty")
    if message.sent_at_utc_ns:
        faults.instant(
            "register.sent_at_utc_ns", message.sent_at_utc_ns, now_ns, SENT_BACK_NS_MAX, SENT_AHEAD_NS_MAX
        )
    faults.raise_if_any()


def remaining_lots(message: expiry.WatchUpdate, engine: Engine, quote: LiveQuoteStatus) -> float | None:
    """What an update says is left, ``None`` where it says nothing. Raises ``RpcError``."""
    faults = Faults()
    if not QuoteStateCode.LIVE <= message.state <= QuoteStateCode.CANCELLED:
        faults.add("update.state", "must be one of the states")
    lots = None
    if message.HasField("remaining"):
        quantity = faults.decimal("update.remaining.quantity", message.remaining.quantity)
        unit = message.remaining.unit
        package = len(quote.decisions) > 2  # legs, and each side
        if package and unit not in (types.SIZE_UNIT_LOTS, types.SIZE_UNIT_CONTRACTS):
            faults.add("update.remaining.unit", "of a package must be LOTS or CONTRACTS: both count packages")
        elif unit not in (types.SIZE_UNIT_LOTS, types.SIZE_UNIT_BASE_QUANTITY, types.SIZE_UNIT_CONTRACTS):
            faults.add(
                "update.remaining.unit",
                "must be SIZE_UNIT_LOTS, SIZE_UNIT_BASE_QUANTITY or SIZE_UNIT_CONTRACTS",
            )
        elif quantity is not None and quote.sides:
            instrument = engine.instruments[quote.sides[0][0]]
            if package:
                lots = float(quantity / instrument.lot_size)
            else:
                lots = to_lots(instrument, quantity, unit, None, faults, "update.remaining.unit")
            if lots is not None and not 0 <= lots <= COUNT_MAX:
                faults.add("update.remaining.quantity", "is out of range for the instrument's lot size")
            elif lots is not None and lots > quote.size_lots * (1 + SLACK):  # never of an unknown size
                faults.add(
                    "update.remaining.quantity", "is more than was left before; a larger quote is a new one"
                )
            elif lots == 0 and int(message.state) == QuoteStateCode.PARTLY_FILLED:
                faults.add("update.remaining.quantity", "nothing is left: say QUOTE_STATE_FILLED")
    faults.raise_if_any()
    return lots


def opened(
    owner: str,
    boot_id: str,
    now_ns: int,
    *,
    interval_ns: int,
    silence_ns: int,
    client_silence_ns: int,
    lease_ns: int,
    repeat_ns: int,
) -> Said:
    return Said(
        opened=expiry.WatchOpened(
            owner=owner,
            boot_id=boot_id,
            at_utc_ns=now_ns,
            heartbeat_interval_ns=interval_ns,
            silence_max_ns=silence_ns,
            client_silence_max_ns=client_silence_ns,
            lease_ns=lease_ns,
            repeat_interval_ns=repeat_ns,
        )
    )


def resumed(quotes: list[expiry.WatchRegistered]) -> list[Said]:
    """As many messages as it takes, at least one."""
    pieces = [quotes[at : at + RESUMED_AT_ONCE] for at in range(0, len(quotes), RESUMED_AT_ONCE)] or [[]]
    return [
        Said(resumed=expiry.WatchResumed(quotes=piece, last=place == len(pieces) - 1))
        for place, piece in enumerate(pieces)
    ]


def registered(engine: Engine, quote: LiveQuoteStatus) -> expiry.WatchRegistered:
    side = 0
    for _, sign, *_ in quote.sides:
        side |= types.SIDE_BUY if sign > 0 else types.SIDE_SELL  # both bits: TWO_WAY
    message = expiry.WatchRegistered(
        quote_id=quote.name,
        expiry_utc_ns=quote.expiry_ns,
        unwatched_expiry_utc_ns=min(quote.unwatched_ns, quote.expiry_ns),
        side=cast(Any, side),
    )
    session = engine.config.venue_sessions.get(quote.session) if quote.session else None
    if session is not None:
        message.actuation = cast(Any, int(ActuationCode[session.actuation.upper()]))
    return message


def refused(quote_id: str, reason: int, text: str, error: RpcError | None = None) -> expiry.WatchRefused:
    message = expiry.WatchRefused(quote_id=quote_id, reason=cast(Any, reason), message=text)
    for detail in error.details if error is not None else ():
        for violation in getattr(detail, "field_violations", ()):
            message.fields.add(field=violation.field, description=violation.description)
    return message


def expired(name: str, word: WatchWord) -> Said:
    return Said(expired=expiry.WatchExpired(quote_id=name, at_utc_ns=word.at_ns))


def over(name: str, now_ns: int) -> Said:
    """It has ended otherwise, as somebody else has told."""
    return Said(expired=expiry.WatchExpired(quote_id=name, at_utc_ns=now_ns))


def requote_hint(name: str, word: WatchWord) -> Said:
    return Said(
        requote_hint=expiry.WatchRequoteHint(quote_id=name, life_ns=word.life_ns, at_utc_ns=word.at_ns)
    )


def heartbeat(now_ns: int, interval_ns: int) -> Said:
    return Said(heartbeat=expiry.WatchHeartbeat(at_utc_ns=now_ns, interval_ns=interval_ns))
