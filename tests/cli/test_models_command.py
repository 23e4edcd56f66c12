"""``quotelife models`` on a folder at rest and on a running service."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quotelife.model.artifact import builtin_artifact, load_artifact, save_artifact
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.registry import Registry
from quotelife_client import Client
from quotelife_server.cli import models as cli_models
from quotelife_server.cli.doctor_service import findings
from reference import verdict_kit
from reference.cli_kit import Ended, Run
from reference.service_kit import CONFIG, running, write_config

PASSAGE, GOLDEN, LOGISTIC = (
    load_artifact(builtin_artifact(name)).digest for name in ("first_passage", "golden", "logistic")
)
FORCED = ("--force", "a trial")
CRYPTO = CONFIG + "learning: {promotion: {market: crypto}}\n"


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    for name, digest in (("golden", GOLDEN), ("logistic", LOGISTIC)):
        ended = run("models", "add", name, "--registry", tmp_path / "models", "--json")
        assert (ended.code, json.loads(ended.out)["digest"]) == (0, digest)
    return tmp_path / "models"


def listed(run: Run, folder: Path) -> dict[str, object]:
    """By posture: champion, challenger, share, shadows."""
    view = json.loads(run("models", "list", "--registry", folder, "--json").out)
    keys = ("champion", "challenger", "canary_share", "shadows")
    return {each["posture"]: [each[key] for key in keys] for each in view["postures"]}


def test_a_folder_at_rest_goes_from_shadow_to_canary_to_champion_and_back(run: Run, folder: Path) -> None:
    at = ("--registry", folder)
    assert run("models", "load", GOLDEN[:8], *at).code == 0
    assert listed(run, folder)["risk_averse"] == [None, None, 0.0, [GOLDEN]]
    assert run("models", "canary", GOLDEN, "0.05", "-p", "risk_averse", *at).code == 0
    assert listed(run, folder)["risk_averse"] == [None, GOLDEN, 0.05, [GOLDEN]]
    assert run("models", "promote", GOLDEN[:8], *FORCED, *at).code == 0
    assert run("models", "promote", LOGISTIC, *FORCED, "-p", "client_priority", *at).code == 0
    assert listed(run, folder) == {
        "client_priority": [LOGISTIC, None, 0.0, []],
        "liquidity_provider": [GOLDEN, None, 0.0, []],
        "risk_averse": [GOLDEN, None, 0.0, []],
    }
    assert run("models", "rollback", *at).out.startswith(GOLDEN[:16])
    assert run("models", "rollback", *at).out.startswith("the model of the configuration")
    ended = run("models", "rollback", *at)
    assert (ended.code, ended.out) == (1, "") and "no promotion to go back behind" in ended.err


def test_a_broken_model_is_refused_listed_verified_and_cleared(run: Run, folder: Path) -> None:
    path = folder / "artifacts" / GOLDEN / "parameters.json"
    path.write_bytes(path.read_bytes()[:-1])
    at = ("--registry", folder)
    ended = run("models", "promote", GOLDEN, *FORCED, *at)
    assert ended.code == 1 and "restore it" in ended.err and "Traceback" not in ended.err
    ended = run("models", "list", *at)
    assert ended.code == 1 and f"failed {GOLDEN[:16]}" in ended.out
    ended = run("models", "verify", *at)
    assert ended.code == 1 and f"{LOGISTIC[:16]} " in ended.out and "whole" in ended.out
    assert run("models", "clear", GOLDEN[:8], *at).out.startswith("1 failed")
    assert run("models", "list", *at).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("promote", "nobody", *FORCED, "--registry", "FOLDER"), 1, "no such model"),
        (("canary", "GOLDEN", "1.5", "--registry", "FOLDER"), 2, "less than or equal to 1"),
        (("canary", "GOLDEN", "0.00005", "--registry", "FOLDER"), 2, "multiple of 0.0001"),
        (("promote", "GOLDEN", "--posture", "bold", "--registry", "FOLDER"), 2, "bold"),
        (("list", "--registry", "FOLDER/nowhere"), 1, "is no folder"),
        (("list", "--target", "127.0.0.1:1", "--timeout", "0.2"), 1, "127.0.0.1:1"),
        (("add", "no-such-artifact", "--registry", "FOLDER"), 1, "there are: first_passage"),
        (("unload", "GOLDEN", "--registry", "FOLDER"), 1, "neither shadow nor challenger"),
    ],
)
def test_what_cannot_be_says_why(
    run: Run, folder: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    given = [text.replace("FOLDER", str(folder)).replace("GOLDEN", GOLDEN) for text in arguments]
    ended = run("models", *given)
    assert ended.code == code and words in ended.err and "Traceback" not in ended.err, ended.err


def test_a_folder_in_use_is_left_to_its_service(run: Run, folder: Path) -> None:
    with Registry(folder):
        ended = run("models", "promote", GOLDEN, *FORCED, "--registry", folder)
    assert ended.code == 1 and "ask that service (--target)" in ended.err


def test_a_folder_that_cannot_be_written_is_named_with_the_mend(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("models", "add", "golden", "--registry", tmp_path / "file" / "models")
    assert (
        ended.code == 1 and "models/artifacts: cannot be written (File exists); make it writable" in ended.err
    )


def test_what_a_model_was_fitted_on_stands_in_the_list(run: Run, folder: Path, tmp_path: Path) -> None:
    """Of a description only what prints: it comes from a file."""
    for name, description in (
        ("plain", "Fitted on simulated decisions of A; scores are of the last part of the span alone."),
        ("odd", "\x1b[31mred"),
    ):
        made = save_artifact(FirstPassageModel(), tmp_path / "made", name=name, description=description)
        assert run("models", "add", made, "--registry", folder).code == 0
    listed = run("models", "list", "--registry", folder).out
    assert "plain (first_passage): Fitted on simulated decisions of A\n" in listed
    assert "odd (first_passage)\n" in listed


def test_only_what_nothing_names_is_removed(run: Run, folder: Path) -> None:
    run("models", "promote", GOLDEN, *FORCED, "--registry", folder)
    assert run("models", "remove", GOLDEN, "--registry", folder).code == 1
    assert run("models", "remove", LOGISTIC, "--registry", folder).code == 0
    assert [each.digest for each in Registry(folder).stored()] == [GOLDEN]


def verdict(path: Path, champion: str, *, passed: bool = True) -> Path:
    path.write_bytes(verdict_kit.written(GOLDEN, champion, refused=() if passed else ("ece_2 s",)))
    return path


def test_a_folder_at_rest_is_promoted_by_a_verdict_on_what_serves(run: Run, folder: Path) -> None:
    file = folder.parent / "verdict.json"
    config = write_config(folder.parent, CONFIG)
    ask = ("models", "promote", GOLDEN, "--registry", folder, "--verdict", file)
    assert run(*ask).code == 2  # there is none
    verdict(file, PASSAGE, passed=False)
    assert "name its configuration" in run(*ask).err
    ended = run(*ask, "--config", config)
    assert ended.code == 1 and "the gates refuse" in ended.err and "ece_2 s" in ended.err
    assert str(file) in ended.err
    assert run(*ask[:-2], "--config", config).code == 1
    huge = folder.parent / "huge.json"
    with huge.open("wb") as sparse:
        sparse.truncate(1 << 40)
    ended = run(*(huge if each is file else each for each in ask), "--config", config)
    assert ended.code == 1 and "more than 1048576 bytes" in ended.err
    verdict(file, PASSAGE)
    assert run(*ask, "--config", config, "--expect", 1).code == 1
    ended = run(*ask, "--config", config, "--expect", 0)
    assert ended.code == 0 and "its verdict ends with a decision" in ended.out
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    words = f"by verdict {digest[:16]} (full_day) on decisions of 2026-03-01 00:00 to 2026-03-01 23:59 UTC"
    assert words in run("models", "list", "--registry", folder).out
    assert run("models", "rollback", "--registry", folder, "--expect", 0).code == 1
    assert run("models", "rollback", "--registry", folder, "--expect", 1).code == 0
    told = run("models", "history", "--registry", folder).out.splitlines()
    assert len(told) == 2 and digest[:16] in told[0] and "rollback: client_priority the config" in told[1]
    entries = json.loads(run("models", "history", "--registry", folder, "--json").out)
    assert [entry["verdict"] for entry in entries] == [digest, None]


def test_a_folder_at_rest_takes_the_verdict_that_its_configurations_market_asks_for(
    run: Run, folder: Path
) -> None:
    file = folder.parent / "verdict.json"
    file.write_bytes(verdict_kit.written(GOLDEN, PASSAGE, market="crypto"))
    ask = ("models", "promote", GOLDEN, "--registry", folder, "--verdict", file, "--config")
    ended = run(*ask, write_config(folder.parent, CONFIG))
    assert ended.code == 1 and "learning.promotion.market is full_day" in ended.err and str(file) in ended.err
    assert run(*ask, write_config(folder.parent, CRYPTO)).code == 0
    assert "(crypto) on decisions" in run("models", "history", "--registry", folder).out


async def test_a_service_tells_by_the_bounds_of_which_market_its_champion_was_judged(
    run: Run, folder: Path
) -> None:
    file = folder.parent / "verdict.json"
    text = CRYPTO.replace("  log_level: error\n", f"  log_level: error\n  models: {{directory: {folder}}}\n")
    async with running(write_config(folder.parent, text), watch_configuration=False) as app:

        async def command(*arguments: object) -> Ended:
            asked: Callable[[], Ended] = lambda: run("models", *arguments, "--target", app.addresses[0])  # noqa: E731
            return await asyncio.to_thread(asked)

        ended = await command("promote", GOLDEN, "--verdict", verdict(file, PASSAGE))
        assert (
            ended.code == 1
            and "by the bounds of full_day, but learning.promotion.market is crypto" in ended.err
        )
        file.write_bytes(verdict_kit.written(GOLDEN, PASSAGE, market="crypto"))
        assert (await command("promote", GOLDEN, "--verdict", file)).code == 0
        for asked in ("list", "history"):
            assert "(crypto) on decisions" in (await command(asked)).out


async def test_a_rollback_of_a_service_expects_what_it_looked_at(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else changes the line-up between the look and the call: it is refused, not carried out on another."""
    text = CONFIG.replace("  log_level: error\n", f"  log_level: error\n  models: {{directory: {folder}}}\n")
    look = cli_models._of_service

    def meanwhile(target: str, timeout: float) -> dict[str, Any]:
        seen = look(target, timeout)
        with Client(target) as other:
            other.promote_model(LOGISTIC, force_reason="meanwhile")
        return seen

    async with running(write_config(folder.parent, text), watch_configuration=False) as app:
        target = app.addresses[0]
        forced = ("promote", GOLDEN, *FORCED, "--target", target)
        assert (await asyncio.to_thread(run, "models", *forced)).code == 0
        monkeypatch.setattr(cli_models, "_of_service", meanwhile)
        ended = await asyncio.to_thread(run, "models", "rollback", "--target", target)
    assert ended.code == 1 and "is at revision 2, not at 1" in ended.err


async def test_a_lost_answer_names_the_revision_to_repeat_it_with(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_models, "_of_service", lambda target, timeout: {"revision": 7})
    ended = run("models", "rollback", "--target", "127.0.0.1:1", "--timeout", 0.2)
    assert ended.code == 1 and "or repeat it with --expect 7" in ended.err


async def test_a_running_service_is_asked(run: Run, folder: Path) -> None:
    text = CONFIG.replace("  log_level: error\n", f"  log_level: error\n  models: {{directory: {folder}}}\n")
    async with running(write_config(folder.parent, text), watch_configuration=False) as app:

        async def command(*arguments: object) -> Ended:
            asked: Callable[[], Ended] = lambda: run("models", *arguments, "--target", app.addresses[0])  # noqa: E731
            return await asyncio.to_thread(asked)

        assert (await command("load", GOLDEN[:8])).out.startswith(f"{GOLDEN[:16]} is a shadow")
        assert (await command("canary", GOLDEN, 0.25)).code == 1
        assert (await command("canary", GOLDEN, 0.25, *FORCED)).code == 0
        ended = await command("promote", LOGISTIC)
        assert ended.code == 1 and "needs the verdict of the gates" in ended.err
        assert (await command("promote", LOGISTIC, *FORCED)).code == 0
        told = (await command("history")).out.splitlines()
        assert f"canary of {GOLDEN[:16]} golden 25.00%: client_priority, liquidity" in told[0]
        assert all("forced: a trial" in line for line in told) and len(told) == 2
        assert (await command("rollback", "--expect", 0)).code == 1
        ended = await command("list")
        assert ended.code == 0 and f"client_priority: {LOGISTIC[:16]}" in ended.out
        assert f"canary 25.00%: {GOLDEN[:16]}" in ended.out
        assert json.loads((await command("rollback", "--json")).out)["digest"] == PASSAGE
        assert (await command("unload", GOLDEN)).code == 0
        assert (await command("load", "0" * 64)).code == 1
        said = await asyncio.to_thread(findings, app.addresses[0], 5.0)
        assert any(each.name == "alert model_failed" and not each.good for each in said)
        assert (await command("list")).code == 1
        assert (await command("clear")).out.startswith("1 failed")
        assert (await command("list")).code == 0
