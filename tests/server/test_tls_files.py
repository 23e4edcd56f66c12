"""The files of ``server.tls``: each fault by its key, at the start before anything is written, in ``config check`` and
in ``doctor``."""

import os
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from quotelife.errors import ConfigError
from quotelife_server import cli
from quotelife_server.app import Application
from quotelife_server.transport import tls_files
from quotelife_server.transport.choice import GrpcFrontEnd, chosen
from quotelife_server.transport.options import GrpcOptions, TlsFiles
from quotelife_server.transport.tls_files import tcp_context, tls_faults, valid_between
from reference import tls_kit
from reference.cli_kit import Run, run
from reference.service_kit import CONFIG, Kit, write_config

__all__ = ["run"]

PHRASE = ("-aes256", "-passout", "pass:secret")


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def dated(folder: Path, name: str, begin: datetime, end: datetime) -> None:
    """NAME.pem, signed by itself, for that time."""
    begins, ends = (f"{each:%Y%m%d%H%M%SZ}" for each in (begin, end))
    (folder / f"{name}.index").write_text("", encoding="ascii")
    (folder / f"{name}.cnf").write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/{name}.index\nnew_certs_dir={folder}\nrand_serial=yes\n"
        "policy=any\ndefault_md=sha256\n[any]\ncommonName=supplied\n",
        encoding="ascii",
    )
    openssl(
        *("ca", "-batch", "-notext", "-selfsign", "-config", folder / f"{name}.cnf"),
        *("-in", folder / "service.csr", "-keyfile", folder / "service.key"),
        *("-startdate", begins, "-enddate", ends, "-out", folder / f"{name}.pem"),
    )


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tls_kit.make(tmp_path_factory.mktemp("papers"))
    openssl("pkey", "-in", folder / "oms.key", *PHRASE, "-out", folder / "locked.key")
    openssl("genrsa", "-out", folder / "rsa.key", "2048")
    for name in ("service.pem", "service.key"):
        text = (folder / name).read_text(encoding="ascii")
        (folder / f"cut.{name}").write_text(text[: len(text) // 2], encoding="ascii")
    (folder / "words").write_text("no PEM\n", encoding="ascii")
    own = (folder / "service.pem").read_bytes()
    (folder / "large.pem").write_bytes(own + b"\n" * 2**20)
    (folder / "told.pem").write_bytes(b"# -----BEGIN CERTIFICATE----- of the desk \xe9\n" + own)
    (folder / "marked.pem").write_bytes(b"\xef\xbb\xbf" + own)
    return folder


def files(papers: Path, certificate: str = "service.pem", key: str = "service.key", ca: str = "") -> TlsFiles:
    return TlsFiles(papers / certificate, papers / key, papers / ca if ca else None)


def test_files_that_fit_have_no_fault(papers: Path) -> None:
    assert tls_faults(files(papers)) == []
    assert tls_faults(files(papers, ca="ours.pem")) == []
    assert tls_faults(files(papers, ca="oms.pem")) == [], "one client alone, by its own certificate"


@pytest.mark.parametrize(
    ("certificate", "key", "ca", "faults"),
    [
        ("none.pem", "service.key", "", ["certificate: none.pem: there is no such file; names start at"]),
        ("service.pem", "none.key", "", ["key: none.key: there is no such file"]),
        ("service.pem", "service.key", "none.pem", ["client_ca: none.pem: there is no such file"]),
        ("", "service.key", "", ["certificate:  is no regular file; name one"]),
        ("words", "words", "words", ["certificate: words is no PEM", "key: words is no", "client_ca: words is"]),
        ("service.key", "service.key", "", ["certificate: service.key holds no certificate"]),
        ("service.pem", "service.pem", "", ["key: service.pem holds no private key"]),
        ("service.pem", "service.key", "large.pem", ["client_ca: large.pem is no PEM file: it holds more than 1,"]),
        ("service.pem", "service.key", "oms.key", ["client_ca: oms.key holds no certificate"]),
        ("cut.service.pem", "oms.key", "", ["certificate: cut.service.pem holds a certificate that cannot be read"]),
        ("service.pem", "cut.service.key", "", ["key: cut.service.key holds a private key that cannot be read"]),
        ("service.pem", "service.key", "cut.service.pem", ["client_ca: cut.service.pem holds a certificate that"]),
        ("service.pem", "oms.key", "", ["key: oms.key does not belong to service.pem; give the two that were made"]),
        ("service.pem", "rsa.key", "", ["key: rsa.key does not belong to service.pem"]),
        ("oms.pem", "locked.key", "", ["key: locked.key has a pass phrase; store it without: openssl pkey -in"]),
        ("none.pem", "none.key", "none", ["certificate: none.pem", "key: none.key", "client_ca: none: there"]),
    ],
)  # fmt: skip
def test_each_fault_is_named_by_its_key_and_file(
    papers: Path, certificate: str, key: str, ca: str, faults: list[str]
) -> None:
    found = [
        f"{name}: {reason}".replace(f"{papers}/", "").replace(str(papers), "")
        for name, reason in tls_faults(files(papers, certificate, key, ca))
    ]
    assert len(found) == len(faults), found
    for told, expected in zip(found, faults, strict=True):
        assert told.startswith(expected)


def test_a_file_that_this_user_may_not_read_says_so(papers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (_, reason), _ = tls_faults(files(papers))
    assert "cannot be read (Permission denied); give the service's user the right to" in reason


def piped(path: Path) -> Path:
    """The file's content as a pipe, to be read once."""
    end, start = os.pipe()
    os.write(start, path.read_bytes())
    os.close(start)
    return Path(f"/dev/fd/{end}")


def test_what_is_no_regular_file_is_refused_unread(papers: Path, tmp_path: Path) -> None:
    """The service reads its files more than once. A named pipe without a writer would hold a check for ever."""
    named = tmp_path / "named"
    os.mkfifo(named)
    for path in (named, piped(papers / "service.key")):
        words = f"{path} is no regular file; name one: it is read more than once"
        assert tls_faults(TlsFiles(papers / "service.pem", path)) == [("key", words)]
        assert tls_faults(TlsFiles(path, papers / "service.key", path)) == [
            ("certificate", words),
            ("client_ca", words),
        ]


def front_end(transport: str, tmp_path: Path, tls: TlsFiles) -> GrpcFrontEnd:
    options = GrpcOptions(65_536, 16, 10**10, 10**10, 10**9, tls=tls)
    service = Kit(tmp_path, warm=False).service
    return chosen(transport)(service, ["127.0.0.1:0"], options, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        ("service.pem", "oms.key", r"key: .*oms\.key does not belong to .*service\.pem"),
        ("oms.pem", "locked.key", r"key: .*locked\.key has a pass phrase"),
        ("service.pem", "none.key", r"key: .*none\.key: there is no such file"),
    ],
)
async def test_either_front_end_refuses_them_in_the_same_words(
    papers: Path, transport: str, tmp_path: Path, certificate: str, key: str, words: str
) -> None:
    made = front_end(transport, tmp_path, files(papers, certificate, key))
    with pytest.raises(ConfigError, match=rf"^server\.tls\.{words}"):
        await made.start()
    await made.stop(0)


def test_a_context_that_cannot_be_made_of_faultless_files_says_why(
    papers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_files, "tls_faults", lambda files: [])
    with pytest.raises(ConfigError, match=r"^server\.tls: .*KEY_VALUES_MISMATCH"):
        tcp_context(files(papers, key="oms.key"))
    with pytest.raises(ConfigError, match=r"^server\.tls: .*No such file"):
        tcp_context(files(papers, ca="none.pem"))


async def test_the_private_key_is_opened_no_more_often_than_it_must(
    papers: Path, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read, load = Path.read_bytes, ssl.SSLContext.load_cert_chain

    def counted_read(path: Path) -> bytes:
        opened.extend([path.name] if path.suffix == ".key" else [])
        return read(path)

    def counted_load(context: ssl.SSLContext, certificate: Path, key: Path, password: Any = None) -> None:
        opened.append(key.name)
        load(context, certificate, key, password)

    monkeypatch.setattr(Path, "read_bytes", counted_read)
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", counted_load)
    assert tls_faults(files(papers)) == []
    assert len(opened) == 2, "whether it says it is one, and whether it fits"
    opened.clear()
    made = front_end(transport, tmp_path, files(papers))
    await made.start()
    await made.stop(0)
    assert len(opened) == {"native": 1, "grpc_aio": 3}[transport]


def written(tmp_path: Path, papers: Path, certificate: str, key: str, more: str = "") -> Path:
    tls = f"  tls: {{certificate: {papers / certificate}, key: {papers / key}{more}}}\n"
    return write_config(tmp_path, CONFIG.rstrip() + f"\n{tls}")


def test_a_start_refuses_them_before_journal_and_capture_are_touched(papers: Path, tmp_path: Path) -> None:
    folders = {name: {"directory": str(tmp_path / name)} for name in ("journal", "capture", "models")}
    with pytest.raises(ConfigError, match=r"config\.yaml:\d+: server\.tls\.key: .*does not belong to"):
        Application(written(tmp_path, papers, "service.pem", "oms.key"), overrides=folders)
    assert [each.name for each in tmp_path.iterdir()] == ["config.yaml"]


def test_config_check_names_every_file_with_file_and_line(run: Run, papers: Path, tmp_path: Path) -> None:
    assert run("config", "check", written(tmp_path, papers, "service.pem", "service.key")).code == 0
    path = written(tmp_path, papers, "none.pem", "oms.key", f", client_ca: {papers / 'words'}")
    line = len(path.read_text(encoding="utf-8").splitlines())
    ended = run("config", "check", path)
    assert ended.code == cli.EXIT_CONFIG and ended.out == ""
    assert ended.err.splitlines() == [
        "configuration refused:",
        f"  config.yaml:{line}: server.tls.certificate: {papers / 'none.pem'}: there is no such file; names start at "
        "the folder of the configuration",
        f"  config.yaml:{line}: server.tls.client_ca: {papers / 'words'} is no PEM file",
    ]
    served = run("serve", "--config", path)
    assert served.code == cli.EXIT_CONFIG
    assert served.err.splitlines()[-3:] == ended.err.splitlines()


def test_names_start_at_the_folder_of_the_configuration(run: Run, papers: Path, tmp_path: Path) -> None:
    for name in ("service.pem", "service.key"):
        (tmp_path / name).write_bytes((papers / name).read_bytes())
    write_config(tmp_path, CONFIG.rstrip() + "\n  tls: {certificate: service.pem, key: service.key}\n")
    assert run("config", "check", tmp_path).code == 0
    assert run("config", "check", tmp_path / "config.yaml").code == 0


def test_doctor_says_whether_and_how_long_they_can_be_used(
    run: Run, papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")  # also from an uninstalled tree
    now = datetime.now(UTC)
    for name, begin, end in (("good", -1, 400), ("ending", -1, 10), ("ended", -9, -2), ("coming", 2, 9)):
        dated(papers, name, now + timedelta(days=begin), now + timedelta(days=end))

    def said(certificate: str, key: str = "service.key") -> tuple[int, str]:
        ended = run("doctor", "--config", written(tmp_path, papers, certificate, key))
        return ended.code, next(line for line in ended.out.splitlines() if " tls: " in line)

    begins, ends = valid_between(papers / "ended.pem") or (now, now)
    assert abs(begins - now + timedelta(days=9)) < timedelta(seconds=2)
    assert said("good.pem")[0] == 0 and said("good.pem")[1].startswith(
        f"  ok    tls: {papers / 'good.pem'} until "
    )
    assert said("ending.pem")[0] == 0 and "  WARN  tls: server.tls.certificate: " in said("ending.pem")[1]
    assert said("ended.pem") == (
        1,
        f"  FAIL  tls: server.tls.certificate: {papers / 'ended.pem'} ended {ends.isoformat()}; have it renewed",
    )
    assert said("coming.pem")[0] == 1 and "is not good before" in said("coming.pem")[1]
    code, line = said("service.pem", "oms.key")
    assert code == 1 and line.startswith("  FAIL  tls: config.yaml:") and "server.tls.key: " in line
    assert "  ok    tls: none" in run("doctor", "--config", write_config(tmp_path)).out


@pytest.mark.parametrize("year", [2030, 2049, 2050, 2130])
def test_both_ways_in_which_a_certificate_writes_a_year_are_read(papers: Path, year: int) -> None:
    end = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    dated(papers, f"until-{year}", datetime(2020, 1, 2, tzinfo=UTC), end)
    assert valid_between(papers / f"until-{year}.pem") == (datetime(2020, 1, 2, tzinfo=UTC), end)


def test_the_first_certificate_is_not_looked_for_in_words_about_it(papers: Path) -> None:
    assert tls_faults(files(papers, "told.pem")) == []
    assert valid_between(papers / "told.pem") == valid_between(papers / "service.pem") is not None


async def test_files_that_grpc_alone_does_not_take_are_not_blamed_on_the_address(
    papers: Path, tmp_path: Path
) -> None:
    """Its own TLS reads no byte order mark, OpenSSL does."""
    assert tls_faults(files(papers, "marked.pem")) == []
    server = front_end("grpc_aio", tmp_path, files(papers, "marked.pem"))
    with pytest.raises(ConfigError, match=r"server\.tls: the TLS of gRPC does not take these files"):
        await server.start()
    await server.stop(0)
