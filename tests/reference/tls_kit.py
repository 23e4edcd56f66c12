"""Certificates made for a test: an authority of ours and one of theirs, and what they have signed."""

import subprocess
from pathlib import Path

CURVE = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1\n"


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    """NAME.pem and NAME.key."""
    key, paper = folder / f"{name}.key", folder / f"{name}.pem"
    _openssl(
        *("req", "-x509", "-newkey", *CURVE, "-nodes", "-days", "2", "-subj", f"/CN={name}"),
        *("-keyout", key, "-out", paper),
    )


def signed(folder: Path, name: str, authority: str, names: str = NAMES) -> None:
    """NAME.pem and NAME.key (PKCS#8), good for this machine's loopback; ``names``: extensions."""
    key, paper, asked, extensions = (folder / f"{name}.{end}" for end in ("key", "pem", "csr", "names"))
    extensions.write_text(names, encoding="ascii")
    _openssl("req", "-newkey", *CURVE, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", asked)
    _openssl(
        *("x509", "-req", "-days", "2", "-in", asked, "-extfile", extensions, "-CAcreateserial"),
        *("-CA", folder / f"{authority}.pem", "-CAkey", folder / f"{authority}.key", "-out", paper),
    )


def make(folder: Path) -> Path:
    """Service and oms signed by ours, stranger by theirs."""
    for name in ("ours", "theirs"):
        authority(folder, name)
    for name, signer in (("service", "ours"), ("oms", "ours"), ("stranger", "theirs")):
        signed(folder, name, signer)
    return folder
