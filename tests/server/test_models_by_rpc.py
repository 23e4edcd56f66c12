"""Models loaded, promoted and rolled back over the wire while the service answers."""

import asyncio
import errno
import hashlib
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from quote_expiry.v1 import admin_service_pb2 as admin
from quotelife.errors import ConfigError
from quotelife.inputs import Change
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal
from quotelife.journal.records import decode_change
from quotelife.model import artifact
from quotelife.model import registry as registry_module
from quotelife.model.artifact import MANIFEST, builtin_artifact, canonical, load_artifact, manifest_digest
from quotelife.model.golden import GoldenModel
from quotelife.model.registry import Registry
from quotelife.model.tree_curve import TreeCurveModel
from quotelife.replay.verify import verify
from quotelife_client import AsyncClient, Decision, Posture, ServiceError
from quotelife_server.app import Application
from reference import verdict_kit
from reference.service_kit import CONFIG, running, write_config

TEXT = CONFIG.replace(
    "  log_level: error\n",
    "  log_level: error\n  models: {directory: FOLDER/models}\n  journal: {directory: FOLDER/journal}\n",
)
PASSAGE, GOLDEN, LOGISTIC = (
    load_artifact(builtin_artifact(name)).digest for name in ("first_passage", "golden", "logistic")
)
TRIAL = "a trial"


def store(folder: Path) -> Registry:
    registry = Registry(folder / "models")
    for name in ("golden", "logistic"):
        registry.add(name)
    return registry


@asynccontextmanager
async def service(folder: Path, text: str = TEXT) -> AsyncIterator[tuple[Application, AsyncClient]]:
    path = write_config(folder, text.replace("FOLDER", str(folder)))
    async with (
        running(path, watch_configuration=False) as app,
        AsyncClient(app.addresses[0], timeout_s=20) as client,
    ):
        yield app, client


async def serving(client: AsyncClient, counterparty: str = "alpha") -> str:
    reply = await client.get_expiry(instrument="BTC-USDT", side="BUY", counterparty=counterparty)
    return str(reply.model_digest)


async def champions(client: AsyncClient) -> list[str]:
    return [each.champion for each in (await client.models()).postures]


async def test_a_model_is_loaded_as_a_shadow_promoted_and_rolled_back_twice(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        assert await serving(client) == PASSAGE
        assert not (await client.load_model(GOLDEN)).champion
        assert [list(each.shadows) for each in (await client.models()).postures] == [[GOLDEN]] * 3
        assert await serving(client) == PASSAGE
        assert (await client.promote_model(GOLDEN, force_reason=TRIAL)).champion
        await client.promote_model(LOGISTIC, postures=[Posture.LIQUIDITY_PROVIDER], force_reason=TRIAL)
        assert (await serving(client), await serving(client, "beta")) == (GOLDEN, LOGISTIC)
        assert (await client.rollback_model()).digest == GOLDEN
        assert (await serving(client), await serving(client, "beta")) == (GOLDEN, GOLDEN)
        back = await client.rollback_model()
        assert (back.digest, back.configured) == (PASSAGE, True)
        assert (await serving(client), await serving(client, "beta")) == (PASSAGE, PASSAGE)
        with pytest.raises(ServiceError, match="no promotion to go back behind") as caught:
            await client.rollback_model()
        assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_what_serves_survives_a_restart_and_so_does_the_way_back(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, force_reason=TRIAL)
        await client.set_canary(LOGISTIC, 1.0, force_reason=TRIAL, postures=[Posture.CLIENT_PRIORITY])
    async with service(tmp_path) as (app, client):
        assert (await serving(client), await serving(client, "beta")) == (LOGISTIC, GOLDEN)
        assert (await client.rollback_model()).digest == PASSAGE
        assert await champions(client) == [PASSAGE] * 3
        assert app.engine.served.lineup.client_priority.challenger == LOGISTIC


async def test_every_decision_across_swaps_canaries_and_a_restart_is_verified(tmp_path: Path) -> None:
    store(tmp_path)
    for _ in range(2):
        async with service(tmp_path) as (_, client):
            for change in (
                client.load_model(LOGISTIC),
                client.promote_model(GOLDEN, postures=["RISK_AVERSE"], force_reason=TRIAL),
                client.set_canary(LOGISTIC, 0.5, force_reason=TRIAL),
                client.rollback_model(),
            ):
                await change
                for counterparty in ("alpha", "beta", ""):
                    await serving(client, counterparty)
    report = verify(tmp_path / "journal")
    assert report.mismatches == [] and report.complete
    assert (report.boots, report.decisions) == (2, 24)
    assert report.shadows == report.shadows_equal > 10
    journal = Journal(str(tmp_path / "journal"))
    assert {PASSAGE, GOLDEN, LOGISTIC} <= {path.name for path in (tmp_path / "journal/artifacts").iterdir()}
    assert journal.segments


def damaged(registry: Registry, digest: str) -> None:
    path = registry.folder / "artifacts" / digest / "parameters.json"
    path.write_bytes(path.read_bytes()[:-1])


def forged(registry: Registry, *, file: str = "", key: str = "", value: object = None) -> str:
    """Another artifact whose every digest is right, with something wrong inside; its digest."""
    source = builtin_artifact("logistic")
    manifest = json.loads((source / MANIFEST).read_bytes())
    files = {name: (source / name).read_bytes() for name in manifest["files"]}
    if file:
        content = json.loads(files[file])
        assert isinstance(value, dict)
        content["rows"][0].update(value)
        files[file] = canonical(content)
    if key:
        manifest[key] = value
    for name, raw in files.items():
        manifest["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    manifest["digest"] = manifest_digest(manifest)
    folder = registry.folder / "artifacts" / manifest["digest"]
    folder.mkdir()
    for name, raw in {**files, MANIFEST: canonical(manifest)}.items():
        (folder / name).write_bytes(raw)
    return str(manifest["digest"])


async def test_a_model_that_cannot_be_is_refused_and_seen_until_it_is_cleared(tmp_path: Path) -> None:
    registry = store(tmp_path)
    damaged(registry, GOLDEN)
    other = forged(registry, key="schema", value={"version": 1, "hash": "0" * 64})
    no_number = forged(registry, file="selftest.json", value={"curve": [2.0] * 12})
    async with service(tmp_path) as (_, client):
        for digest, why in (
            (GOLDEN, f"artifacts/{GOLDEN}/parameters.json: is not in canonical form"),
            (other, "fitted to feature schema"),
            (no_number, "answers otherwise"),
            ("0" * 64, "there is no such artifact"),
        ):
            for call in (client.load_model(digest), client.promote_model(digest, force_reason=TRIAL)):
                with pytest.raises(ServiceError, match=why) as caught:
                    await call
                assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
                assert str(tmp_path) not in str(caught.value)
        assert await serving(client) == PASSAGE
        assert await champions(client) == [PASSAGE] * 3
        assert (await client.status()).alerts[0].name == "model_failed"
    async with service(tmp_path) as (_, client):
        failures = (await client.models()).failures
        assert {each.digest for each in failures} == {GOLDEN, other, no_number, "0" * 64}
        assert {each.digest for each in (await client.status()).model_failures} == {
            f.digest for f in failures
        }
        assert await client.clear_model_failures(GOLDEN) == 1
        assert await client.clear_model_failures() == 3
        status = await client.status()
        assert not status.model_failures and not [a for a in status.alerts if a.name == "model_failed"]


async def test_trees_are_read_and_tested_off_the_loop_at_a_reload_and_at_a_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walking them holds whoever does it, so it is never the thread that answers."""
    made: list[int] = []
    tested: list[int] = []

    class Trees(TreeCurveModel):
        def __init__(self, parameters: dict[str, object]) -> None:
            made.append(threading.get_ident())
            super().__init__(parameters)

        def curve(self, *args: Any, **kwargs: Any) -> npt.NDArray[np.float64]:
            tested.append(threading.get_ident())
            return super().curve(*args, **kwargs)

    registry = store(tmp_path)
    trees = registry.add("simulated_trees").digest
    monkeypatch.setitem(artifact.KINDS, "trees", Trees)
    async with service(tmp_path) as (app, client):
        await client.promote_model(trees, force_reason=TRIAL)
        await client.rollback_model()
        promoted = len(tested)
        text = TEXT.replace("artifact: first_passage", "artifact: simulated_trees")
        write_config(tmp_path, text.replace("FOLDER", str(tmp_path)))
        assert (await client.reload()).changed
        assert await serving(client) == trees == app.engine.model.digest
    assert len(made) == 2 and len(tested) > promoted > 0
    assert threading.get_ident() not in made + tested


class NoNumber(GoldenModel):
    """Answers NaN."""

    def curve(self, *args: object, **kwargs: object) -> npt.NDArray[np.float64]:
        return np.full(12, np.nan)


async def test_a_model_whose_self_test_gives_no_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path)
    monkeypatch.setitem(artifact.KINDS, GoldenModel().kind, NoNumber)
    async with service(tmp_path) as (_, client):
        with pytest.raises(ServiceError, match="the model's answer is no number"):
            await client.promote_model(GOLDEN, force_reason=TRIAL)
        assert await serving(client) == PASSAGE
        assert [each.digest for each in (await client.models()).failures] == [GOLDEN]


async def test_a_champion_that_is_gone_at_a_restart_gives_way_to_the_one_before_it(tmp_path: Path) -> None:
    registry = store(tmp_path)
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, force_reason=TRIAL)
        await client.promote_model(LOGISTIC, force_reason=TRIAL)
    shutil.rmtree(registry.folder / "artifacts" / LOGISTIC)
    async with service(tmp_path) as (_, client):
        assert await serving(client) == GOLDEN
        assert [each.digest for each in (await client.models()).failures] == [LOGISTIC]
        assert [each.wanted for each in (await client.models()).postures] == [LOGISTIC] * 3
        assert (await client.rollback_model()).digest == PASSAGE
        assert await serving(client) == PASSAGE
        assert [each.wanted for each in (await client.models()).postures] == [""] * 3
    async with service(tmp_path) as (_, client):
        assert await serving(client) == PASSAGE


async def test_what_could_not_be_loaded_is_wanted_still_and_serves_once_it_is_whole(tmp_path: Path) -> None:
    """Also after other changes were written, and with its canary."""
    registry = store(tmp_path)
    gone, there = (registry.folder / "artifacts" / name for name in ("away", LOGISTIC))
    async with service(tmp_path) as (_, client):
        await client.promote_model(LOGISTIC, force_reason=TRIAL)
        await client.set_canary(GOLDEN, 1.0, force_reason=TRIAL, postures=["CLIENT_PRIORITY"])
    there.rename(gone)
    async with service(tmp_path) as (_, client):
        assert (await serving(client), await serving(client, "beta")) == (GOLDEN, PASSAGE)
        await client.clear_model_failures()
        await client.load_model(GOLDEN, postures=["RISK_AVERSE"])
    gone.rename(there)
    async with service(tmp_path) as (_, client):
        assert (await serving(client), await serving(client, "beta")) == (GOLDEN, LOGISTIC)
    there.rename(gone)
    async with service(tmp_path) as (_, client):
        assert await serving(client, "beta") == PASSAGE
        gone.rename(there)
        await client.load_model(LOGISTIC)
        assert await serving(client, "beta") == LOGISTIC
        postures = (await client.models()).postures
        assert [(each.champion, list(each.shadows)) for each in postures] == [
            (LOGISTIC, []),
            (LOGISTIC, []),
            (LOGISTIC, [GOLDEN]),
        ]


def verdict(challenger: str, champion: str, *, passed: bool = True) -> bytes:
    return verdict_kit.written(challenger, champion, refused=() if passed else ("beats_champion_brier",))


async def test_the_gates_promote_and_the_journal_and_the_history_name_their_verdict(tmp_path: Path) -> None:
    registry = store(tmp_path)
    good = verdict(GOLDEN, PASSAGE)
    digest = hashlib.sha256(good).hexdigest()
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, verdict=good)
        await client.promote_model(
            LOGISTIC, verdict=verdict(LOGISTIC, GOLDEN, passed=False), force_reason=TRIAL
        )
        await client.rollback_model()
        history = (await client.models()).history
        assert [(each.kind, each.champions[0].champion, each.reason) for each in history] == [
            (admin.MODEL_CHANGE_KIND_PROMOTION, GOLDEN, ""),
            (admin.MODEL_CHANGE_KIND_PROMOTION, LOGISTIC, TRIAL),
            (admin.MODEL_CHANGE_KIND_ROLLBACK, GOLDEN, ""),
        ]
        assert history[0].verdict == digest
    assert (registry.folder / "verdicts" / f"{digest}.json").read_bytes() == good
    changes = [
        decode_change(record).payload["because"]
        for record in Journal(str(tmp_path / "journal")).records()
        if record.kind == Kind.CHANGE and decode_change(record).kind is Change.MODEL
    ]
    assert [each["what"] for each in changes] == ["promotion", "promotion", "rollback"]
    assert (changes[0]["verdict"], changes[1]["reason"]) == (digest, TRIAL)
    assert verify(tmp_path / "journal").mismatches == []


async def test_journal_and_history_name_the_market_of_the_verdict_and_every_decision_is_verified(
    tmp_path: Path,
) -> None:
    store(tmp_path)
    text = TEXT + "learning: {promotion: {market: crypto}}\n"
    async with service(tmp_path, text) as (_, client):
        assert await serving(client) == PASSAGE
        await client.promote_model(GOLDEN, verdict=verdict_kit.written(GOLDEN, PASSAGE, market="crypto"))
        assert await serving(client) == GOLDEN
        assert [each.market for each in (await client.models()).history] == ["crypto"]
    (change,) = (
        decode_change(record).payload["because"]
        for record in Journal(str(tmp_path / "journal")).records()
        if record.kind == Kind.CHANGE and decode_change(record).kind is Change.MODEL
    )
    assert change["market"] == "crypto"
    report = verify(tmp_path / "journal")
    assert report.mismatches == [] and report.complete and report.decisions == 2


async def test_a_market_that_a_reload_sets_is_what_the_next_verdict_is_held_against(tmp_path: Path) -> None:
    store(tmp_path)
    crypto = verdict_kit.written(GOLDEN, PASSAGE, market="crypto")
    async with service(tmp_path) as (_, client):
        with pytest.raises(ServiceError, match=r"learning.promotion.market is full_day"):
            await client.promote_model(GOLDEN, verdict=crypto)
        text = TEXT + "learning: {promotion: {market: crypto}}\n"
        write_config(tmp_path, text.replace("FOLDER", str(tmp_path)))
        await client.reload()
        assert (await client.promote_model(GOLDEN, verdict=crypto)).champion
        await serving(client)
    assert verify(tmp_path / "journal").mismatches == []


async def test_a_canary_of_many_needs_grounds_and_journal_and_history_name_every_canary(
    tmp_path: Path,
) -> None:
    store(tmp_path)
    good = verdict(GOLDEN, PASSAGE)
    async with service(tmp_path) as (_, client):
        await client.set_canary(GOLDEN, 0.2, postures=["RISK_AVERSE"])
        with pytest.raises(ServiceError, match="a canary of more than 20 % needs the verdict") as caught:
            await client.set_canary(GOLDEN, 0.2001)
        assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        await client.set_canary(GOLDEN, 1.0, verdict=good)
        await client.unload_model(GOLDEN)
        history = (await client.models()).history
    digest = hashlib.sha256(good).hexdigest()
    said = [
        (each.kind, each.challenger, each.canary_share, each.verdict, len(each.champions)) for each in history
    ]
    assert said == [
        (admin.MODEL_CHANGE_KIND_CANARY, GOLDEN, share, by, postures)
        for share, by, postures in ((0.2, "", 1), (1.0, digest, 3), (0.0, "", 3))
    ]
    assert (history[1].judged_from_utc_ns, history[1].judged_to_utc_ns) == (
        verdict_kit.FROM_NS,
        verdict_kit.TO_NS,
    )
    changes = [
        decode_change(record).payload["because"]
        for record in Journal(str(tmp_path / "journal")).records()
        if record.kind == Kind.CHANGE and decode_change(record).kind is Change.MODEL
    ]
    assert [(each["what"], each["verdict"]) for each in changes] == [
        ("canary", None),
        ("canary", digest),
        ("canary", None),
    ]


async def test_a_model_that_a_reload_puts_in_is_in_the_history(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, postures=["RISK_AVERSE"], force_reason=TRIAL)
        text = TEXT.replace("artifact: first_passage", "artifact: logistic").replace("FOLDER", str(tmp_path))
        write_config(tmp_path, text)
        await client.reload()
        last = (await client.models()).history[-1]
    assert last.kind == admin.MODEL_CHANGE_KIND_CONFIGURATION
    assert [each.posture for each in last.champions] == [
        int(Posture.CLIENT_PRIORITY),
        int(Posture.LIQUIDITY_PROVIDER),
    ]


async def test_a_model_that_the_configuration_names_since_a_restart_is_in_the_history(tmp_path: Path) -> None:
    store(tmp_path)
    for name, kinds in (
        ("first_passage", []),
        ("first_passage", []),
        ("logistic", [admin.MODEL_CHANGE_KIND_CONFIGURATION]),
        ("logistic", [admin.MODEL_CHANGE_KIND_CONFIGURATION]),
    ):
        text = TEXT.replace("artifact: first_passage", f"artifact: {name}")
        async with service(tmp_path, text) as (_, client):
            assert [each.kind for each in (await client.models()).history] == kinds


async def test_without_a_verdict_that_fits_nothing_is_promoted(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        for raw, why in (
            (b"", "needs the verdict of the gates"),
            (verdict(GOLDEN, PASSAGE, passed=False), "the gates refuse .*: beats_champion_brier"),
            (verdict(LOGISTIC, PASSAGE), f"is on {LOGISTIC[:16]}, not on"),
            (
                verdict_kit.written(GOLDEN, PASSAGE, unasked=("BTC-USD",)),
                "not judged by the verdict.*: BTC-USD;",
            ),
            (verdict(GOLDEN, LOGISTIC), f"but {PASSAGE[:16]} serves client_priority"),
            (verdict_kit.written(GOLDEN, PASSAGE, at="2012-06-21"), "of 2012-06-21 00:00 UTC"),
            (
                verdict_kit.written(GOLDEN, PASSAGE, market="crypto"),
                "learning.promotion.market is full_day; ask",
            ),
            (verdict_kit.written(GOLDEN, PASSAGE, postures=["risk_averse"]), "not for client_priority, liqu"),
        ):
            with pytest.raises(ServiceError, match=why) as caught:
                await client.promote_model(GOLDEN, verdict=raw)
            assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert await champions(client) == [PASSAGE] * 3
        assert not (await client.models()).failures


async def test_a_reason_may_be_as_long_as_the_registry_keeps_it(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, force_reason="x" * 1000)
        assert (await client.models()).history[0].reason == "x" * 1000


async def test_a_model_mended_on_a_disk_that_is_full_does_not_serve_by_a_later_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = store(tmp_path)
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, force_reason=TRIAL)
        await client.load_model(LOGISTIC)
    path = registry.folder / "artifacts" / GOLDEN / "parameters.json"
    whole = path.read_bytes()
    damaged(registry, GOLDEN)
    async with service(tmp_path) as (app, client):
        assert await serving(client) == PASSAGE
        path.write_bytes(whole)
        with monkeypatch.context() as full:

            def refuse(path: Path, raw: bytes) -> None:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))

            full.setattr(registry_module, "_write", refuse)
            with pytest.raises(ServiceError, match="what serves is unchanged"):
                await client.load_model(GOLDEN)
        await client.unload_model(LOGISTIC)
        assert await serving(client) == PASSAGE
        assert app.models.promoted_over() == []
        await client.load_model(GOLDEN)
        assert await serving(client) == GOLDEN


async def test_where_a_restart_may_serve_the_change_the_refusal_does_not_say_that_nothing_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = store(tmp_path)

    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    async with service(tmp_path) as (_, client):
        (registry.folder / "registry.json").unlink()
        monkeypatch.setattr(registry_module, "_sync", refuse)
        monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: refuse(self))
        with pytest.raises(ServiceError, match="a restart may serve it") as caught:
            await client.promote_model(GOLDEN, force_reason=TRIAL)
        monkeypatch.undo()
    assert "unchanged" not in str(caught.value)


async def test_a_second_operator_does_not_go_back_by_two(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, force_reason=TRIAL, expected_revision=0, expected_champion=PASSAGE)
        await client.promote_model(LOGISTIC, force_reason=TRIAL, expected_revision=1)
        seen = (await client.models()).revision
        assert (await client.rollback_model(expected_revision=seen)).digest == GOLDEN
        for expected in ({"expected_revision": seen}, {"expected_champion": LOGISTIC}):
            for call in (
                client.rollback_model(**expected),
                client.promote_model(LOGISTIC, force_reason=TRIAL, **expected),
            ):
                with pytest.raises(ServiceError, match="look again") as caught:
                    await call
                assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert await champions(client) == [GOLDEN] * 3


async def test_no_refusal_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = store(tmp_path)
    (registry.folder / "artifacts" / LOGISTIC / "manifest.json").unlink()
    async with service(tmp_path) as (_, client):

        def refuse(path: Path, raw: bytes) -> None:
            raise OSError(errno.EROFS, "Read-only file system", str(path))

        monkeypatch.setattr(registry_module, "_write", refuse)
        for call in (
            client.load_model(GOLDEN),
            client.load_model(LOGISTIC),
            client.promote_model(GOLDEN, force_reason=TRIAL),
            client.promote_model(GOLDEN, verdict=verdict(GOLDEN, PASSAGE)),
            client.set_canary(GOLDEN, 0.1),
        ):
            with pytest.raises(ServiceError) as caught:
                await call
            assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION
            assert str(tmp_path) not in f"{caught.value} {caught.value.violations}"
        view = await client.models()
        assert any(each.problem for each in view.stored)
        assert str(tmp_path) not in str(view) + str(await client.status())
        assert await champions(client) == [PASSAGE] * 3


async def test_a_reload_does_not_undo_a_promotion(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        await client.promote_model(GOLDEN, postures=["CLIENT_PRIORITY"], force_reason=TRIAL)
        text = TEXT.replace("artifact: first_passage", "artifact: logistic").replace("FOLDER", str(tmp_path))
        write_config(tmp_path, text)
        assert (await client.reload()).changed
        assert (await serving(client), await serving(client, "beta")) == (GOLDEN, LOGISTIC)
        assert (await client.rollback_model()).digest == LOGISTIC


async def test_of_two_promotions_at_once_both_are_in_the_history_and_the_last_serves(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (app, client):
        await asyncio.gather(
            client.promote_model(GOLDEN, force_reason=TRIAL),
            client.promote_model(LOGISTIC, force_reason=TRIAL),
        )
        last = app.models.state.lineup.client_priority.champion
        first = app.models.state.history[-1].champions[1]  # type: ignore[index]
        assert {first, last} == {GOLDEN, LOGISTIC}
        assert await serving(client) == last
        assert (await client.rollback_model()).digest == first
        assert (await client.rollback_model()).digest == PASSAGE


async def test_the_same_promotion_twice_at_once_is_refused_once(tmp_path: Path) -> None:
    store(tmp_path)
    async with service(tmp_path) as (_, client):
        calls = (
            client.promote_model(GOLDEN, force_reason=TRIAL),
            client.promote_model(GOLDEN, force_reason=TRIAL),
        )
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(isinstance(each, ServiceError) for each in outcomes) == [False, True]
        await client.rollback_model()
        assert await serving(client) == PASSAGE


async def swaps(folder: Path, count: int) -> tuple[int, float]:
    """Promotions and rollbacks while others ask without a pause: calls answered, longest wait in seconds."""
    store(folder)
    async with service(folder) as (app, client):
        done = False
        answered, longest = 0, 0.0

        async def ask() -> None:
            nonlocal answered, longest
            async with AsyncClient(app.addresses[0], timeout_s=20, attempts_max=1) as mine:
                while not done:
                    started = time.perf_counter()
                    reply = await mine.get_expiry(instrument="BTC-USDT", side="BUY", counterparty="alpha")
                    longest = max(longest, time.perf_counter() - started)
                    assert reply.decision is Decision.QUOTE
                    assert reply.model_digest in (PASSAGE, GOLDEN, LOGISTIC)
                    answered += 1

        asking = [asyncio.ensure_future(ask()) for _ in range(4)]
        try:
            for turn in range(count):
                if turn % 4 >= 2:
                    await client.rollback_model()
                else:
                    await client.promote_model((GOLDEN, LOGISTIC)[turn % 4], force_reason=TRIAL)
        finally:
            done = True
            await asyncio.gather(*asking)
        assert app.engine.model_revision == count + 1
        return answered, longest


async def test_swaps_under_load_fail_no_call(tmp_path: Path) -> None:
    answered, _ = await swaps(tmp_path, 60)
    assert answered > 60


@pytest.mark.slow
async def test_a_thousand_swaps_under_load_fail_no_call(tmp_path: Path) -> None:
    answered, longest = await swaps(tmp_path, 1000)
    print(f"1,000 swaps, {answered:,} calls answered, 0 failed, longest {1e3 * longest:.1f} ms")
    assert answered > 1000


async def test_without_a_folder_of_models_the_call_names_the_key(tmp_path: Path) -> None:
    text = TEXT.replace("models: {directory: FOLDER/models}", "models: {directory: null}")
    async with service(tmp_path, text) as (_, client):
        with pytest.raises(ServiceError, match=r"set server\.models\.directory"):
            await client.load_model(GOLDEN)
        reply = await client.models()
        assert [each.digest for each in reply.models] == [PASSAGE] and not reply.stored


async def test_a_folder_in_use_is_not_served_twice(tmp_path: Path) -> None:
    with Registry(tmp_path / "models"), pytest.raises(ConfigError, match="in use by a running service"):
        async with service(tmp_path):
            pass


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (("LoadModel", admin.LoadModelRequest(digest="golden")), "digest"),
        (("PromoteModel", admin.PromoteModelRequest(digest=GOLDEN, postures=[9])), "postures"),  # type: ignore[list-item]
        (("PromoteModel", admin.PromoteModelRequest(digest=GOLDEN, force_reason="x" * 1001)), "force_reason"),
        (("RollbackModel", admin.RollbackModelRequest(postures=[3, 3])), "postures"),  # type: ignore[list-item]
        (("SetCanary", admin.SetCanaryRequest(digest=GOLDEN, share=1.5)), "share"),
        (("SetCanary", admin.SetCanaryRequest(digest=GOLDEN, share=float("nan"))), "share"),
        (("SetCanary", admin.SetCanaryRequest(digest=GOLDEN, share=0.00005)), "share"),
    ],
)
async def test_a_request_that_makes_no_sense_names_its_field(
    tmp_path: Path, call: tuple[str, admin.LoadModelRequest], field: str
) -> None:
    store(tmp_path)
    async with service(tmp_path) as (app, _), grpc.aio.insecure_channel(app.addresses[0]) as channel:
        method = channel.unary_unary(f"/quote_expiry.v1.AdminService/{call[0]}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(call[1].SerializeToString(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(field)
