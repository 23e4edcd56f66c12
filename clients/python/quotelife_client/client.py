"""The blocking client."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from quote_expiry.v1 import admin_service_pb2 as admin
from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import signal_service_pb2 as signals
from quotelife_client import calls
from quotelife_client.calls import Attempts, Method, Number, R, ServiceError
from quotelife_client.types import Expiry, Posture, Side, SizeUnit

_EXPIRY = "/quote_expiry.v1.QuoteExpiryService/"
_SIGNALS = "/quote_expiry.v1.SignalService/"
_ADMIN = "/quote_expiry.v1.AdminService/"
_UNSET: Any = object()


class Client:
    """Asks the service and waits for the answer. Safe to share between threads; makes none of its own."""

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 0.25,
        attempts_max: int = 3,
        fallback_life_ns: int | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """``address``: ``host:port`` or ``unix:/path``. ``timeout_s`` bounds each call, retries included.

        ``fallback_life_ns``: life to give when the service cannot answer; 0 declines, ``None`` raises.
        """
        if timeout_s <= 0 or attempts_max < 1:
            raise ValueError("timeout_s must be above 0 and attempts_max at least 1")
        if fallback_life_ns is not None and fallback_life_ns < 0:
            raise ValueError("fallback_life_ns must not be negative")
        self._timeout_s = timeout_s
        self._attempts_max = attempts_max
        self._fallback_life_ns = fallback_life_ns
        # Retries are made here, where the deadline and the request id are known.
        settings = [("grpc.enable_retries", 0), *options]
        self._channel: Any = (
            grpc.insecure_channel(address, options=settings)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=settings)
        )
        self._get_expiry = self._method(_EXPIRY + "GetExpiry", expiry.GetExpiryResponse)
        self._publish_news = self._method(_SIGNALS + "PublishNews", signals.PublishNewsResponse)
        self._publish_volatility_index = self._method(
            _SIGNALS + "PublishVolatilityIndex", signals.PublishVolatilityIndexResponse
        )
        self._publish_inventory = self._method(
            _SIGNALS + "PublishInventory", signals.PublishInventoryResponse
        )
        self._get_status = self._method(_ADMIN + "GetStatus", admin.GetStatusResponse)
        self._set_override = self._method(_ADMIN + "SetOverride", admin.SetOverrideResponse)
        self._clear_override = self._method(_ADMIN + "ClearOverride", admin.ClearOverrideResponse)
        self._list_overrides = self._method(_ADMIN + "ListOverrides", admin.ListOverridesResponse)
        self._reload = self._method(_ADMIN + "Reload", admin.ReloadResponse)
        self._health: Any = self._channel.unary_unary(calls.HEALTH_CHECK, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the service says that it is serving. Raises ``TimeoutError``."""
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                reply = self._health(b"", timeout=left_s, wait_for_ready=True)
                if reply == calls.HEALTH_SERVING:
                    return
            except grpc.RpcError as error:
                if calls.service_error(error).code is grpc.StatusCode.UNIMPLEMENTED:
                    raise
            time.sleep(min(0.02, max(0.0, end_s - time.monotonic())))
        raise TimeoutError(f"the service was not ready within {timeout_s} s")

    def get_expiry(
        self,
        *,
        instrument: str,
        side: Side | str,
        size: Number | None = None,
        size_unit: SizeUnit = SizeUnit.BASE_QUANTITY,
        counterparty: str = "",
        desk: str = "",
        price: Number | None = None,
        bid_price: Number | None = None,
        ask_price: Number | None = None,
        edge: Number | None = None,
        reference_price: Number | None = None,
        priced_at_utc_ns: int | None = None,
        client_deadline_utc_ns: int | None = None,
        posture: Posture | None = None,
        dealers_asked: int | None = None,
        request_id: str | None = None,
        rfq_id: str = "",
        quote_id: str = "",
        include_features: bool = False,
        timeout_s: float | None = None,
        fallback_life_ns: int | None = _UNSET,
    ) -> Expiry:
        """How long may this quote live? Raises ``ServiceError``; see the class for the fallback.

        ``side``: a Side or its name, such as ``"BUY"``. ``price`` goes with BUY and SELL, ``bid_price`` and
        ``ask_price`` with TWO_WAY; ``edge`` stands instead of a price. Meaning and units of all fields:
        ``quote_expiry_service.proto``, message GetExpiryRequest.
        """
        request = calls.expiry_request(
            instrument=instrument,
            side=side,
            size=size,
            size_unit=size_unit,
            counterparty=counterparty,
            desk=desk,
            price=price,
            bid_price=bid_price,
            ask_price=ask_price,
            edge=edge,
            reference_price=reference_price,
            priced_at_utc_ns=priced_at_utc_ns,
            client_deadline_utc_ns=client_deadline_utc_ns,
            posture=posture,
            dealers_asked=dealers_asked,
            request_id=request_id,
            rfq_id=rfq_id,
            quote_id=quote_id,
            include_features=include_features,
        )
        asked_at_utc_ns = time.time_ns()
        try:
            return calls.read_expiry(self._call(self._get_expiry, request, timeout_s))
        except ServiceError as error:
            life_ns = self._fallback_life_ns if fallback_life_ns is _UNSET else fallback_life_ns
            if life_ns is None or not error.could_not_answer:
                raise
            return calls.fallback_expiry(request, error, life_ns, asked_at_utc_ns)

    def publish_news(
        self,
        score: float,
        *,
        instrument: str = "",
        source: str = "",
        published_at_utc_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> signals.SignalReceipt:
        """A news sentiment score in [−1, 1], for one instrument or all. Not retried: it would count twice."""
        request = calls.news_request(score, instrument, source, published_at_utc_ns)
        return (self._call(self._publish_news, request, timeout_s, attempts_max=1)).receipt

    def publish_volatility_index(
        self,
        index: str,
        level: float,
        *,
        published_at_utc_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> signals.SignalReceipt:
        request = signals.PublishVolatilityIndexRequest(
            index=index, level=level, published_at_utc_ns=published_at_utc_ns
        )
        return (self._call(self._publish_volatility_index, request, timeout_s)).receipt

    def publish_inventory(
        self,
        instrument: str,
        *,
        position: Number,
        limit: Number,
        unit: SizeUnit = SizeUnit.BASE_QUANTITY,
        desk: str = "",
        as_of_utc_ns: int | None = None,
        timeout_s: float | None = None,
    ) -> signals.SignalReceipt:
        request = calls.inventory_request(instrument, position, limit, unit, desk, as_of_utc_ns)
        return (self._call(self._publish_inventory, request, timeout_s)).receipt

    def status(
        self, instruments: Sequence[str] = (), *, timeout_s: float | None = None
    ) -> admin.GetStatusResponse:
        """State of the service and of the instruments named, or of all."""
        request = admin.GetStatusRequest(instruments=instruments)
        return self._call(self._get_status, request, timeout_s)

    def set_override(
        self,
        posture: Posture,
        ttl_ns: int,
        *,
        counterparty: str = "",
        instrument: str = "",
        desk: str = "",
        timeout_s: float | None = None,
    ) -> admin.Override:
        """A posture for a while; what is left out matches everything. Not retried: it would be set twice."""
        request = calls.override_request(posture, ttl_ns, counterparty, instrument, desk)
        return (self._call(self._set_override, request, timeout_s, attempts_max=1)).override

    def clear_override(self, override_id: int, *, timeout_s: float | None = None) -> bool:
        """True when the override was in force."""
        request = admin.ClearOverrideRequest(override_id=override_id)
        return (self._call(self._clear_override, request, timeout_s)).cleared

    def overrides(self, *, timeout_s: float | None = None) -> list[admin.Override]:
        return list((self._call(self._list_overrides, admin.ListOverridesRequest(), timeout_s)).overrides)

    def reload(self, *, timeout_s: float = 10.0) -> admin.ReloadResponse:
        """Read the configuration again. A faulty one raises FAILED_PRECONDITION, one violation per fault."""
        return self._call(self._reload, admin.ReloadRequest(), timeout_s)

    def _method(self, path: str, reply: type[R]) -> Method[R]:
        call = self._channel.unary_unary(
            path, request_serializer=calls.serialize, response_deserializer=reply.FromString
        )
        return Method(call, reply)

    def _call(
        self, method: Method[R], request: Message, timeout_s: float | None, attempts_max: int | None = None
    ) -> R:
        attempts = Attempts(
            self._timeout_s if timeout_s is None else timeout_s,
            self._attempts_max if attempts_max is None else attempts_max,
        )
        while True:
            try:
                reply: R = method.call(request, timeout=attempts.remaining_s())
                return reply
            except grpc.RpcError as error:
                pause_s = attempts.pause_s(error)
            time.sleep(pause_s)
