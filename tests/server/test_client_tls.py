"""The client and the commands over TLS and mTLS, with either front end; certificates are made for the test."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from quotelife_client import AsyncClient, Client, Decision, ServiceError, Tls, WatchEventKind
from quotelife_server.app import Application
from quotelife_server.cli.doctor_service import findings
from reference import tls_kit
from reference.service_kit import running, write_config

pytestmark = pytest.mark.usefixtures("transport")

TIMEOUT_S = 10.0


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tls_kit.make(tmp_path_factory.mktemp("papers"))
    openssl("pkey", "-in", folder / "oms.key", "-aes256", "-passout", "pass:x", "-out", folder / "locked.key")
    openssl(
        *("x509", "-req", "-days", "-1", "-in", folder / "service.csr", "-extfile", folder / "service.names"),
        *("-CA", folder / "ours.pem", "-CAkey", folder / "ours.key", "-out", folder / "ended.pem"),
    )
    (folder / "ended.key").write_bytes((folder / "service.key").read_bytes())
    tls_kit.signed(folder, "elsewhere", "ours", "subjectAltName=DNS:quotes.example\n")
    return folder


def tls(papers: Path, own: str | None = "oms", ca: str = "ours", server_name: str = "") -> Tls:
    pair = (None, None) if own is None else (papers / f"{own}.pem", papers / f"{own}.key")
    return Tls(papers / f"{ca}.pem", *pair, server_name)


@contextlib.asynccontextmanager
async def service(papers: Path, tmp_path: Path, name: str = "service") -> AsyncIterator[Application]:
    files = {
        "certificate": str(papers / f"{name}.pem"),
        "key": str(papers / f"{name}.key"),
        "client_ca": str(papers / "ours.pem"),
    }
    async with running(write_config(tmp_path), tls=files) as app:
        yield app


def ask(address: str, how: Tls | None) -> Decision:
    with Client(address, timeout_s=TIMEOUT_S, attempts_max=1, tls=how) as client:
        return client.get_expiry(instrument="BTC-USDT", side="BUY").decision


async def refusal(address: str, how: Tls | None) -> str:
    with pytest.raises(ServiceError) as caught:
        await asyncio.to_thread(ask, address, how)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    return caught.value.message


async def test_both_clients_are_answered_and_watch_over_mutual_tls(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path) as app:
        address = app.addresses[0]
        assert await asyncio.to_thread(ask, address, tls(papers)) is Decision.QUOTE
        async with AsyncClient(address, timeout_s=TIMEOUT_S, tls=tls(papers)) as client:
            assert (await client.get_expiry(instrument="BTC-USDT", side="BUY")).decision is Decision.QUOTE
            async with client.watch("oms") as watcher:
                assert (await anext(watcher)).kind is WatchEventKind.OPENED


def piped(path: Path) -> Path:
    """As a shell gives it for <(cat PATH): to be read once."""
    end, start = os.pipe()
    os.write(start, path.read_bytes())
    os.close(start)
    return Path(f"/dev/fd/{end}")


async def test_files_may_come_through_pipes(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path) as app:
        names = ("ours.pem", "oms.pem", "oms.key")
        for through in (("oms.key",), ("oms.pem",), names):
            how = Tls(*(piped(papers / name) if name in through else papers / name for name in names))
            for _ in range(2):  # a command reads them to name what is wrong, then connects
                assert await asyncio.to_thread(ask, app.addresses[0], how) is Decision.QUOTE


def test_a_file_that_was_renewed_is_read_again(papers: Path, tmp_path: Path) -> None:
    """Only what came through a pipe is kept."""
    copy = tmp_path / "ours.pem"
    copy.write_bytes((papers / "ours.pem").read_bytes())
    how = Tls(copy)
    how.credentials()
    copy.write_text("words", encoding="ascii")
    with pytest.raises(ValueError, match=r"^tls\.ca: .*ours\.pem is no PEM file"):
        how.credentials()


async def test_a_name_that_is_not_in_the_address_can_be_given(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path, "elsewhere") as app:
        address = app.addresses[0]
        assert (
            await asyncio.to_thread(ask, address, tls(papers, server_name="quotes.example")) is Decision.QUOTE
        )
        assert "tls.server_name" in await refusal(address, tls(papers))


async def test_an_error_of_trust_says_what_to_mend(papers: Path, tmp_path: Path) -> None:
    async with service(papers, tmp_path) as app:
        assert "tls.ca" in await refusal(app.addresses[0], tls(papers, ca="theirs"))
        for how in (tls(papers, own=None), tls(papers, own="stranger"), None):
            assert "tls.certificate" in await refusal(app.addresses[0], how)
        found = await asyncio.to_thread(findings, app.addresses[0], TIMEOUT_S, tls(papers, ca="theirs"))
        assert not found[0].good and "tls.ca" in found[0].text
        found = await asyncio.to_thread(findings, app.addresses[0], TIMEOUT_S, tls(papers))
        assert found[0].good, found[0].text


async def test_a_certificate_of_the_service_that_has_ended_is_told_from_one_of_strangers(
    papers: Path, tmp_path: Path
) -> None:
    async with service(papers, tmp_path, "ended") as app:
        assert "certificate has expired: have it renewed" in await refusal(app.addresses[0], tls(papers))


async def test_tls_to_a_service_without_it_says_so(papers: Path, tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as app:
        assert "does not speak TLS" in await refusal(app.addresses[0], tls(papers))


def test_files_that_cannot_be_used_are_named(papers: Path) -> None:
    with pytest.raises(ValueError, match=r"tls\.key: goes with tls\.certificate"):
        Tls(papers / "ours.pem", certificate=papers / "oms.pem")
    with pytest.raises(ValueError, match=r"tls\.ca: .*none\.pem cannot be read"):
        Client("127.0.0.1:1", tls=Tls(papers / "none.pem"))
    with pytest.raises(ValueError, match=r"tls\.ca: .*oms\.names is no PEM file"):
        Client("127.0.0.1:1", tls=Tls(papers / "oms.names"))
    with pytest.raises(ValueError, match=r"tls\.ca: .*oms\.key holds no certificate"):
        Client("127.0.0.1:1", tls=Tls(papers / "oms.key"))
    for certificate, key, words in (
        (
            "oms.pem",
            "service.key",
            r"tls\.key: .*service\.key does not belong to .*oms\.pem; give the two that were",
        ),
        ("oms.pem", "locked.key", r"tls\.key: .*locked\.key has a pass phrase; store it without"),
        ("oms.pem", "oms.pem", r"tls\.key: .*oms\.pem holds no private key that can be used"),
        ("oms.key", "oms.key", r"tls\.certificate: .*oms\.key holds no certificate"),
    ):
        with pytest.raises(ValueError, match=words):
            Client("127.0.0.1:1", tls=Tls(papers / "ours.pem", papers / certificate, papers / key))
    with pytest.raises(ValueError, match="one of the two"):
        Client("127.0.0.1:1", tls=Tls(papers / "ours.pem"), credentials=grpc.ssl_channel_credentials())
    for client in (Client, AsyncClient):
        with pytest.raises(ValueError, match=r"^tls: a Unix socket is never encrypted; leave tls out"):
            client("unix:/run/quotelife.sock", tls=tls(papers))


@pytest.mark.parametrize(("loads", "field"), [("load_verify_locations", "ca"), ("load_cert_chain", "key")])
def test_a_file_that_cannot_be_read_again_is_named(
    papers: Path, monkeypatch: pytest.MonkeyPatch, loads: str, field: str
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(ssl.SSLContext, loads, gone)
    with pytest.raises(
        ValueError, match=rf"^tls\.{field}: .*\.\w+ cannot be read \(No such file or directory\)"
    ):
        Client("127.0.0.1:1", tls=tls(papers))


async def command(*words: str | Path, **environment: str) -> tuple[int, str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "quotelife_server.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout + done.stderr


async def test_commands_take_files_as_options_and_from_the_environment(papers: Path, tmp_path: Path) -> None:
    options = ("--tls-ca", papers / "ours.pem", "--tls-certificate", papers / "oms.pem")
    options += ("--tls-key", papers / "oms.key")
    environment = {
        "QUOTELIFE_TLS_CA": str(papers / "ours.pem"),
        "QUOTELIFE_TLS_CERTIFICATE": str(papers / "oms.pem"),
        "QUOTELIFE_TLS_KEY": str(papers / "oms.key"),
    }
    async with service(papers, tmp_path) as app:
        target = ("--target", app.addresses[0], "--timeout", "10")
        asked = ("get", "BTC-USDT", "BUY", *target)
        demo = ("demo", "--target", app.addresses[0], "--config", tmp_path, "--seconds", "5", "--plain")
        (status, told), (_, by_environment), (failed, why), (usage, missing), shown = await asyncio.gather(
            command(*options, *asked),
            command("doctor", *target, **environment),
            command("--tls-ca", papers / "theirs.pem", *asked),
            command(*options[:4], *asked),
            command(*demo, **environment),
        )
        assert shown[0] == 0 and "median life, ms" in shown[1], shown[1]
        assert status == 0 and "QUOTE for" in told
        assert f"ok    service: {app.addresses[0]} is SERVING" in by_environment
        assert failed == 1 and "--tls-ca" in why
        assert usage == 2 and "--tls-key" in missing
        status, told = await command("--tls-ca", papers / "none.pem", *asked)
        assert status == 1 and "--tls-ca" in told and "cannot be read" in told
        status, told = await command(*options[:4], "--tls-key", papers / "service.key", *asked)
        assert status == 1 and told.startswith("quotelife: --tls-key: ") and "does not belong to" in told
        status, told = await command("kill", "--reason", "test", *target, **environment)
        assert status == 0 and "everybody killed" in told
