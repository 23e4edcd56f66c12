"""What a gRPC front end is told, whichever it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quotelife.units import NS_PER_US

Transport = Literal["auto", "native", "grpc_aio"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: certificate chain and key of the service, and, where clients must show a certificate, the authorities
    that may have signed it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """Bounds, keepalive and TLS of the HTTP/2 layer. ``tls`` concerns TCP; Unix sockets are never encrypted."""

    message_bytes_max: int
    streams_max: int
    keepalive_interval_ns: int
    keepalive_timeout_ns: int
    client_ping_interval_min_ns: int
    connections_max: int = 1024
    connection_age_max_ns: int | None = None
    connection_age_grace_ns: int = 0
    tls: TlsFiles | None = None
    overload_turn_ns: int = 250 * NS_PER_US
    busy_poll_ns: int = 0
