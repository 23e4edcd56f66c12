"""TLS of a client: PEM files, and what to mend when the two ends do not trust each other."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

_BEGIN = b"-----BEGIN "
# OpenSSL's reasons, and how some of them end.
_MISMATCH = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
_TOO_WEAK = ("_TOO_SMALL", "_TOO_WEAK")

_OTHER_NAME = (
    "the service's certificate is for another name: address the service by a name in it, or give that name as "
    "tls.server_name (--tls-server-name)"
)
_CLOSED = (
    "the service closes the connection at once: where it has server.tls give tls.ca (--tls-ca), where that has "
    "client_ca also tls.certificate and tls.key (--tls-certificate, --tls-key) signed by an authority in it"
)
# What gRPC says, all of a line's words among it. Of a certificate that is missing or not liked nothing is said to the
# client: it is just closed.
_MENDS = (
    (("Hostname Verification",), _OTHER_NAME),
    (("is not in peer certificate",), _OTHER_NAME),
    (
        ("certificate has expired",),
        "the service's certificate has expired: have it renewed, or set this machine's clock",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "the service's certificate was not signed by the authority given: name the one that signed it as tls.ca "
        "(--tls-ca)",
    ),
    (
        ("WRONG_VERSION_NUMBER",),
        "the service does not speak TLS at this address: leave TLS out, or give it server.tls",
    ),
    (("failed to connect", "Socket closed"), _CLOSED),
    (("failed to connect", "Connection reset by peer"), _CLOSED),
)


def mend(details: str) -> str:
    """What to do about a connection that failed for want of trust; "" where that is not why."""
    return next((words for marks, words in _MENDS if all(each in details for each in marks)), "")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files, or pipes, which are read once. ``ca``: the authorities that may have signed the service's certificate,
    by default those that gRPC knows. ``certificate`` and ``key``: ours, for a service with ``server.tls.client_ca``.
    ``server_name``: the name that the service's certificate is for, where it is not the one in the address."""

    ca: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    server_name: str = ""
    _piped: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            missing, given = ("key", "certificate") if self.key is None else ("certificate", "key")
            raise ValueError(f"tls.{missing}: goes with tls.{given}; give both, or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises ``ValueError`` that names the field."""
        contents = (
            self._read("ca", self.ca),
            self._read("key", self.key),
            self._read("certificate", self.certificate),
        )
        # A check reads the file again, which a pipe does not allow.
        if self.ca is not None and Path(self.ca).is_file():
            _check_certificates("ca", Path(self.ca))
        if self.certificate is not None and self.key is not None:
            pair = Path(self.certificate), Path(self.key)
            if all(each.is_file() for each in pair):
                _check_certificates("certificate", pair[0])
                _check_pair(*pair)
        return grpc.ssl_channel_credentials(*contents)

    def options(self) -> tuple[tuple[str, Any], ...]:
        """Of a channel with these credentials."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()

    def _read(self, key: str, path: str | Path | None) -> bytes | None:
        if path is None or key in self._piped:
            return self._piped.get(key)
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise _unreadable(key, path, error) from None
        if _BEGIN not in content:
            raise ValueError(f"tls.{key}: {path} is no PEM file")
        if not Path(path).is_file():
            self._piped[key] = content
        return content


def _unreadable(key: str, path: str | Path, error: OSError) -> ValueError:
    return ValueError(f"tls.{key}: {path} cannot be read ({error.strerror})")


def _check_certificates(field: str, path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        pass
    except OSError as error:
        raise _unreadable(field, path, error) from None
    if not context.cert_store_stats()["x509"]:
        raise ValueError(f"tls.{field}: {path} holds no certificate that can be read")


def _check_pair(certificate: Path, key: Path) -> None:
    """gRPC says nothing of a pair that it cannot use: the handshake fails, or is made without a certificate."""
    encrypted = False

    def pass_phrase() -> str:  # or OpenSSL would ask for it on the terminal
        nonlocal encrypted
        encrypted = True
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=pass_phrase)
    except ssl.SSLError as error:
        if encrypted:
            raise ValueError(
                f"tls.key: {key} has a pass phrase; store it without: openssl pkey -in {key} -out NEW"
            ) from None
        if error.reason in _MISMATCH:
            raise ValueError(
                f"tls.key: {key} does not belong to {certificate}; give the two that were made together, our own "
                "certificate first in its file"
            ) from None
        if not (error.reason or "").endswith(_TOO_WEAK):  # gRPC's own TLS may take what OpenSSL does not
            raise ValueError(
                f"tls.key: {key} holds no private key that can be used with {certificate} "
                f"({error.reason or 'no PEM'})"
            ) from None
    except OSError as error:
        raise _unreadable("key", key, error) from None


def secured(
    address: str, tls: Tls | None, credentials: grpc.ChannelCredentials | None
) -> tuple[grpc.ChannelCredentials | None, tuple[tuple[str, Any], ...]]:
    """Credentials and options of a client's channels. Raises ``ValueError``."""
    if tls is None:
        return credentials, ()
    if credentials is not None:
        raise ValueError("credentials: tls makes them; give one of the two")
    if address.startswith("unix:"):
        raise ValueError(f"tls: a Unix socket is never encrypted; leave tls out for {address}")
    return tls.credentials(), tls.options()


def opened(address: str, tls: Tls | None) -> grpc.Channel:
    """A channel of its own, for calls that a client has not. Raises ``ValueError``."""
    if tls is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, tls.credentials(), options=tls.options())
