"""What the two Python clients ask, and how they are told what to do."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types

HELD_S, HELD_ROUNDS, HELD_AT_ONCE = 0.15, 3, 100
STREAMED, BATCHED = 200, 50
SMALL, LARGE = 7000, 9000  # bytes of metadata, below and above what the service takes
APART = [("grpc.use_local_subchannel_pool", 1)]


class Given:
    """key=value arguments: target, cases, and what some cases need."""

    def __init__(self, arguments: Iterable[str]) -> None:
        given = dict(each.split("=", 1) for each in arguments)
        self.target = given["target"]
        self.cases = given["cases"].split(",")
        self.calls = int(given.get("calls", "1000"))
        self.at_once = int(given.get("at_once", "64"))
        self.seconds = float(given.get("seconds", "3"))
        self.ca, self.certificate, self.key = (given.get(name) for name in ("ca", "certificate", "key"))

    def credentials(self) -> grpc.ChannelCredentials | None:
        if self.ca is None:
            return None
        own = None if self.certificate is None or self.key is None else (self.key, self.certificate)
        key, certificate = (None, None) if own is None else (Path(each).read_bytes() for each in own)
        return grpc.ssl_channel_credentials(Path(self.ca).read_bytes(), key, certificate)


def tell(case: str, fault: BaseException | None, note: str) -> None:
    words = note if fault is None else f"{type(fault).__name__}: {fault}"
    sys.stdout.write(json.dumps({"case": case, "ok": fault is None, "note": words}) + "\n")
    sys.stdout.flush()


def request(**more: Any) -> expiry.GetExpiryRequest:
    return expiry.GetExpiryRequest(instrument="BTC-USDT", side=types.SIDE_BUY, **more)


def streamed(tag: int) -> expiry.StreamExpiryRequest:
    return expiry.StreamExpiryRequest(tag=tag, request=request())


def quoted(replies: Iterable[expiry.GetExpiryResponse]) -> None:
    replies = list(replies)
    assert all(each.decision == types.DECISION_QUOTE for each in replies), replies[0]
    assert len({each.decision_id for each in replies}) == len(replies)


def bad_field(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The field that google.rpc.BadRequest names."""
    details = dict(iter(metadata))["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    bad = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(details).details[0].Unpack(bad)
    return bad.field_violations[0].field


def told(message: expiry.WatchQuotesResponse) -> list[expiry.WatchQuotesResponse]:
    return list(message.batch.messages) if message.HasField("batch") else [message]


def opening(owner: str) -> expiry.WatchQuotesRequest:
    return expiry.WatchQuotesRequest(open=expiry.WatchOpen(owner=owner, heartbeat_interval_ns=5_000_000_000))


def registering() -> expiry.WatchQuotesRequest:
    return expiry.WatchQuotesRequest(register=expiry.WatchRegister(quote_id="q-1", quote=request()))


def cancelling() -> expiry.WatchQuotesRequest:
    return expiry.WatchQuotesRequest(
        update=expiry.WatchUpdate(quote_id="q-1", state=expiry.QUOTE_STATE_CANCELLED)
    )


def passed(codes: Counter[str], began_s: float, allowed: str = "") -> str:
    """A note of the rate and of how calls ended. Raises where one ended otherwise than OK or ``allowed``."""
    spent_s = time.monotonic() - began_s
    note = ", ".join(f"{code} {count:,}" for code, count in sorted(codes.items()))
    assert codes["OK"] > 0 and set(codes) <= {"OK", allowed}, note
    return f"{note}; {codes['OK'] / spent_s:,.0f}/s"
