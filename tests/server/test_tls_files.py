"""The files of ``server.tls``: each fault by its key, at the start before anything is written, in ``config check`` and
in ``doctor``."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quotelife.errors import ConfigError
from quotelife_server import cli
from quotelife_server.app import Application
from quotelife_server.transport.choice import chosen
from quotelife_server.transport.options import GrpcOptions, TlsFiles
from quotelife_server.transport.tls_files import tls_faults, valid_between
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
        ("", "service.key", "", ["certificate:  cannot be read (Is a directory)"]),
        ("words", "words", "words", ["certificate: words is no PEM", "key: words is no", "client_ca: words is"]),
        ("service.key", "service.key", "", ["certificate: service.key holds no certificate"]),
        ("service.pem", "service.pem", "", ["key: service.pem holds no private key"]),
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


async def test_either_front_end_refuses_them_in_the_same_words(
    papers: Path, transport: str, tmp_path: Path
) -> None:
    options = GrpcOptions(65_536, 16, 10**10, 10**10, 10**9, tls=files(papers, key="oms.key"))
    made = chosen(transport)(Kit(tmp_path, warm=False).service, ["127.0.0.1:0"], options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^server\.tls\.key: .*oms\.key does not belong to .*service\.pem"):
        await made.start()
    await made.stop(0)


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
    assert run("serve", "--config", path).err.splitlines()[-3:] == ended.err.splitlines()


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
