"""The PEM files of ``server.tls``: what is wrong with which of them, and the context that they make."""

import errno
import re
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from quotelife.errors import ConfigError
from quotelife_server.transport.options import TlsFiles

_BEGIN = b"-----BEGIN "
_PRIVATE_KEY = b"PRIVATE KEY-----"
_BYTES_MAX = 1 << 20
_FIRST = re.compile(b"^-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL | re.MULTILINE)
_MISMATCH = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
_TOO_WEAK = ("_TOO_SMALL", "_TOO_WEAK")  # how OpenSSL's reasons end that speak of a certificate
_CUT = "cannot be read; it may be cut off or edited: copy it anew"
_EXPLICIT_VERSION, _UTC_TIME = 0xA0, 0x17  # tags of DER


def tls_faults(files: TlsFiles) -> list[tuple[str, str]]:
    """What keeps the service from using them: ``(key of server.tls, reason with the mend)``, each file once. Nothing
    asks for a pass phrase."""
    return list(_faults(files))


def refuse_faults(files: TlsFiles) -> None:
    """Raises ``ConfigError`` with what ``tls_faults`` finds."""
    if faults := tls_faults(files):
        raise ConfigError([f"server.tls.{key}: {reason}" for key, reason in faults])


def tcp_context(files: TlsFiles) -> ssl.SSLContext:
    """For a server that speaks HTTP/2 alone. Raises ``ConfigError`` that names every file at fault by its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        # A pass phrase, or OpenSSL would ask for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
        if files.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= (
                ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
            )  # any in the file is one, as gRPC takes it
            context.load_verify_locations(files.client_ca)
    except OSError as error:
        refuse_faults(files)
        raise ConfigError([f"server.tls: {error}"]) from error
    return context


def _faults(files: TlsFiles) -> Iterator[tuple[str, str]]:
    certificate, key = _certificates_fault(files.certificate), _key_fault(files.key)
    if certificate:
        yield "certificate", certificate
    if key:
        yield "key", key
    if not certificate and not key:
        yield from _pair_fault(files.certificate, files.key)
    if files.client_ca is not None and (authority := _certificates_fault(files.client_ca)):
        yield "client_ca", authority


def _pem(path: Path) -> tuple[bytes, str]:
    """What it holds, and its fault."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe can be read once, and one without a writer never
            return b"", f"{path} is no regular file; name one: it is read more than once"
        if found.st_size > _BYTES_MAX:
            return b"", f"{path} is no PEM file: it holds more than {_BYTES_MAX:,} bytes"
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", f"{path}: there is no such file; names start at the folder of the configuration"
    except OSError as error:
        mend = "; give the service's user the right to" if error.errno == errno.EACCES else ""
        return b"", f"{path} cannot be read ({error.strerror}){mend}"
    return content, "" if _BEGIN in content else f"{path} is no PEM file"


def _certificates_fault(path: Path) -> str:
    """Of a file that must hold certificates, and nothing that is none."""
    _, fault = _pem(path)
    if fault:
        return fault
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        if error.reason == "NO_CERTIFICATE_OR_CRL_FOUND":
            return f"{path} holds no certificate"
        return f"{path} holds a certificate that {_CUT}"
    return "" if context.cert_store_stats()["x509"] else f"{path} holds no certificate"


def _key_fault(path: Path) -> str:
    content, fault = _pem(path)
    return fault or ("" if _PRIVATE_KEY in content else f"{path} holds no private key")


def _pair_fault(certificate: Path, key: Path) -> Iterator[tuple[str, str]]:
    """Of a certificate that can be read, and something that says it is a key."""
    encrypted = False

    def pass_phrase() -> str:  # or OpenSSL would ask for it on the terminal
        nonlocal encrypted
        encrypted = True
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=pass_phrase)
    except ssl.SSLError as error:
        reason = error.reason or ""
        if encrypted:
            yield "key", f"{key} has a pass phrase; store it without: openssl pkey -in {key} -out NEW"
        elif reason in _MISMATCH:
            yield (
                "key",
                f"{key} does not belong to {certificate}; give the two that were made together, the service's own "
                "certificate first in its file",
            )
        elif reason.endswith(_TOO_WEAK):
            words = reason.lower().replace("_", " ")
            yield "certificate", f"{certificate} is refused as too weak ({words}); have a stronger one made"
        else:
            yield "key", f"{key} holds a private key that {_CUT}"


def valid_between(certificate: Path) -> tuple[datetime, datetime] | None:
    """From when until when the first certificate of a file is good in which ``tls_faults`` finds no fault (RFC 5280,
    4.1.2.5); nothing where it stands there in another form. The standard library reads these times of a peer alone."""
    found = _FIRST.search(certificate.read_bytes())
    if found is None:
        return None
    der = ssl.PEM_cert_to_DER_cert(found[0].decode("ascii"))
    at, _ = _content(der, 0)  # Certificate
    at, _ = _content(der, at)  # TBSCertificate
    skipped = 4 if der[at] == _EXPLICIT_VERSION else 3  # version, serial number, signature, issuer
    for _ in range(skipped):
        _, at = _content(der, at)
    begin, _ = _content(der, at)
    _, end = _content(der, begin)
    return _time(der, begin), _time(der, end)


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at ``at`` begins and ends."""
    length, at = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size]), at + size
    return at, at + length


def _time(der: bytes, at: int) -> datetime:
    begin, end = _content(der, at)
    text = der[begin:end].decode("ascii")
    if der[at] == _UTC_TIME:  # has two digits of the year
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
