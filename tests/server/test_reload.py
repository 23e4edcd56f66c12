"""Configuration read again while running: whole or not at all."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from quote_expiry.v1 import types_pb2 as types
from quotelife.errors import ConfigError
from quotelife.model.artifact import builtin_artifact
from quotelife_client import AsyncClient, Posture, ServiceError, Side
from quotelife_server.app import Application
from quotelife_server.settings import ServiceConfig
from reference.service_kit import CONFIG, running, write_config

ALPHA_DOWN = CONFIG.replace("alpha: {tier: strategic}", "alpha: {tier: regular}")
FAULTY = CONFIG.replace("alpha: {tier: strategic}", "alpha: {tier: no-such-tier}")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (conditions of foreign objects)
            await asyncio.sleep(0.02)


async def posture(app: Application) -> Posture:
    async with AsyncClient(app.addresses[0], timeout_s=2) as client:
        reply = await client.get_expiry(instrument="BTC-USDT", side=Side.BUY, counterparty="alpha")
        return reply.posture_requested


async def test_a_good_change_is_in_force_at_once_and_has_a_revision(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=2) as client,
    ):
        assert await posture(app) is Posture.CLIENT_PRIORITY
        before = app.engine.config_revision
        write_config(tmp_path, ALPHA_DOWN)
        reply = await client.reload()
        assert reply.changed and reply.config_revision == before + 1
        assert await posture(app) is Posture.LIQUIDITY_PROVIDER
        again = await client.reload()
        assert not again.changed and again.config_revision == before + 1


async def test_a_faulty_change_is_refused_with_file_and_line_and_changes_nothing(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=2) as client,
    ):
        before = app.engine.config_revision
        write_config(tmp_path, FAULTY)
        with pytest.raises(ServiceError) as caught:
            await client.reload()
        assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        line = FAULTY.splitlines().index("  alpha: {tier: no-such-tier}") + 1
        assert len(caught.value.violations) == 1
        assert caught.value.violations[0][1].startswith(f"config.yaml:{line}: ")
        assert str(tmp_path) not in str(caught.value)
        assert app.engine.config_revision == before
        assert await posture(app) is Posture.CLIENT_PRIORITY
        assert list((await client.status()).config_problems) == [caught.value.violations[0][1]]
        write_config(tmp_path)
        await client.reload()
        assert not (await client.status()).config_problems


async def test_a_change_that_no_engine_can_take_live_is_refused(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=2) as client,
    ):
        write_config(tmp_path, CONFIG.replace("tick_size: 0.01,", "tick_size: 0.02,"))
        with pytest.raises(ServiceError) as caught:
            await client.reload()
        assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert "restart" in str(caught.value)
        assert await posture(app) is Posture.CLIENT_PRIORITY


async def test_server_keys_wait_for_a_restart_and_hold_nothing_up(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=2) as client,
    ):
        write_config(tmp_path, ALPHA_DOWN + "  in_flight_max: 7\n")
        reply = await client.reload()
        assert list(reply.restart_required) == ["server.in_flight_max"]
        assert await posture(app) is Posture.LIQUIDITY_PROVIDER
        assert app.service.in_flight.limit == 256


async def test_a_written_file_is_seen_without_being_told(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with running(path) as app:
        before = app.engine.config_revision
        write_config(tmp_path, FAULTY)
        await until(lambda: app.reloader.refused == 1)
        assert app.engine.config_revision == before
        write_config(tmp_path, ALPHA_DOWN)
        await until(lambda: app.engine.config_revision == before + 1)
        assert await posture(app) is Posture.LIQUIDITY_PROVIDER


async def test_a_file_replaced_by_rename_is_seen_every_time(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    drafts = tmp_path / "drafts"
    drafts.mkdir()
    async with running(path) as app:
        for k in range(3):
            before = app.engine.config_revision
            write_config(drafts, (ALPHA_DOWN, CONFIG)[k % 2]).rename(path)
            await until(lambda before=before: app.engine.config_revision == before + 1)


async def test_a_folder_taken_away_and_brought_back_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    write_config(folder)
    async with running(folder) as app:
        folder.rename(tmp_path / "old")
        await until(lambda: app.reloader.refused == 1)
        folder.mkdir()
        write_config(folder, ALPHA_DOWN)
        await until(lambda: app.engine.config_revision == 2)
        assert await posture(app) is Posture.LIQUIDITY_PROVIDER and not app.reloader.problems


async def test_an_unexpected_error_in_a_reload_ends_neither_watch_nor_service(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with running(path) as app:
        load = app.reloader._load

        def broken() -> ServiceConfig:
            raise RuntimeError("secret /etc/path")

        app.reloader._load = broken
        write_config(tmp_path, ALPHA_DOWN)
        await until(lambda: app.reloader.refused == 1)
        assert len(app.reloader.problems) == 1 and "secret" not in app.reloader.problems[0]
        assert not app.stopping.is_set()
        assert await posture(app) is Posture.CLIENT_PRIORITY
        app.reloader._load = load
        write_config(tmp_path, ALPHA_DOWN + "\n")
        await until(lambda: app.engine.config_revision == 2)
        assert app.failure is None and not app.reloader.problems


async def test_a_configuration_that_the_engine_refuses_is_a_refused_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path)

    class Refusing:
        config_revision = 1

        def apply_config(self, config: object, now_ns: int, *, model: object) -> int:
            raise ConfigError(["instruments: cannot be removed"])

    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=2) as client,
    ):
        monkeypatch.setattr(app.reloader, "_engine", Refusing())
        write_config(tmp_path, ALPHA_DOWN)
        for refused in (1, 2):  # it is tried again, not taken for applied
            with pytest.raises(ServiceError) as caught:
                await client.reload()
            assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
            assert caught.value.violations == (("configuration", "instruments: cannot be removed"),)
            assert app.reloader.refused == refused and app.reloader.applied == 0
        assert list((await client.status()).config_problems) == ["instruments: cannot be removed"]


async def test_a_model_that_cannot_be_loaded_is_a_refused_reload_that_names_no_folder(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    folder = shutil.copytree(builtin_artifact("golden"), tmp_path / "secret" / "mine")
    (folder / "parameters.json").write_text("{}")
    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=2) as client,
    ):
        for name, why in (
            (f"{folder}", "model.artifact: parameters.json: is not in canonical form"),
            (f"{folder}-away", "model.artifact: mine-away: cannot be read (No such file or directory)"),
        ):
            write_config(tmp_path, CONFIG.replace("artifact: first_passage", f"artifact: {name}"))
            with pytest.raises(ServiceError) as caught:
                await client.reload()
            assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
            ((_, said),) = caught.value.violations
            assert said.startswith(why)
            assert "secret" not in f"{caught.value} {await client.status()}"
        assert app.engine.config_revision == 1 and app.engine.model.kind == "first_passage"


async def test_an_artifact_that_arrives_after_the_file_that_names_it_is_served(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    path = write_config(tmp_path)
    async with running(path) as app:
        write_config(tmp_path, CONFIG.replace("artifact: first_passage", f"artifact: {folder}"))
        await until(lambda: app.reloader.refused > 0)
        shutil.copytree(builtin_artifact("golden"), folder)
        await until(lambda: app.engine.model.kind == "golden")
        assert not app.reloader.problems


async def test_calls_under_load_survive_a_hundred_reloads(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=5) as client,
    ):
        stop = False
        answered = 0

        async def ask() -> None:
            nonlocal answered
            while not stop:
                reply = await client.get_expiry(instrument="BTC-USDT", side=Side.SELL, counterparty="alpha")
                assert reply.posture_requested in (Posture.CLIENT_PRIORITY, Posture.LIQUIDITY_PROVIDER)
                answered += 1

        tasks = [asyncio.create_task(ask()) for _ in range(4)]
        for k in range(100):
            write_config(tmp_path, (CONFIG, ALPHA_DOWN)[k % 2])
            await app.reloader.reload()
        stop = True
        await asyncio.gather(*tasks)
        assert app.engine.config_revision == 100  # the first of them was no change
        assert answered > 50


async def test_concurrent_reloads_come_one_after_the_other(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    async with running(path, watch_configuration=False) as app:
        write_config(tmp_path, ALPHA_DOWN)
        changed = await asyncio.gather(*(app.reloader.reload() for _ in range(5)))
        assert sorted(changed) == [False, False, False, False, True]


def test_a_faulty_configuration_stops_a_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config.yaml:\d+: "):
        Application(write_config(tmp_path, FAULTY))


def test_a_faulty_override_stops_a_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="address"):
        Application(write_config(tmp_path), overrides={"address": "not an address"})


PROGRAM = """
import sys, uvloop
from pathlib import Path
from quotelife_server.app import run
def ready(app):
    print(app.addresses[0], flush=True)
sys.exit(uvloop.run(run(Path(sys.argv[1]), on_ready=ready)))
"""


async def test_a_process_reloads_on_sighup_and_drains_on_sigterm(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(path), stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        address = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        async with AsyncClient(address, timeout_s=5) as client:
            await client.wait_ready(10)
            reply = await client.get_expiry(instrument="BTC-USDT", side="BUY")
            assert reply.quality.value == types.QUALITY_WARMING
            boot_id = (await client.status()).boot_id
            assert reply.decision_id.startswith(boot_id + "-")
            write_config(tmp_path, ALPHA_DOWN)
            process.send_signal(signal.SIGHUP)
            async with asyncio.timeout(5):
                while (await client.status()).config_revision == 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0
            with pytest.raises(ServiceError):
                await client.get_expiry(instrument="BTC-USDT", side="BUY", timeout_s=0.3)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
