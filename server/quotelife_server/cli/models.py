"""``quotelife models``: what serves, and how that is changed, on a running service or on a folder at rest."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from quotelife.errors import ArtifactError, QuotelifeError
from quotelife_server.cli.options import TARGET, Admin, Timeout, failed, tls_of, wrong

if TYPE_CHECKING:
    from quotelife.model.promotion import Quotes
    from quotelife.model.registry import RegistryState
    from quotelife.records import PostureCode

DESCRIPTION_SHOWN = 100
app = typer.Typer(
    help="The models of a service: stored, loaded as shadows, tried on a share of counterparties, promoted, rolled "
    "back. All commands ask a running service; with --registry they work on its folder (server.models.directory) while "
    "no service runs on it.",
    no_args_is_help=True,
)


class Posture(StrEnum):
    CLIENT_PRIORITY = "client_priority"
    LIQUIDITY_PROVIDER = "liquidity_provider"
    RISK_AVERSE = "risk_averse"


Folder = Annotated[
    Path | None,
    typer.Option(help="The folder of models itself instead of a service. [default: ask the service]"),
]
Given = Annotated[Path, typer.Option(help="The folder of models, server.models.directory of the service.")]
Postures = Annotated[
    list[Posture] | None,
    typer.Option("--posture", "-p", help="Of this posture alone; may be given several times. [default: all]"),
]
Model = Annotated[str, typer.Argument(help="Its digest, the first 6 or more digits of it, or its name.")]
Expect = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="REVISION",
        help="Only if the line-up is at this revision still (models list shows it). [default: the one just "
        "looked at; with --registry any]",
    ),
]
Verdict = Annotated[
    Path | None,
    typer.Option(
        help="What promote-check --out wrote of it against the champion that serves now. [default: none]"
    ),
]
Force = Annotated[
    str,
    typer.Option(metavar="REASON", help="Why it may serve without a verdict that passes. [default: none]"),
]
Configuration = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="With --registry: the service's configuration: the verdict must be on its instruments, by the bounds of "
        "its learning.promotion.market. [default: none]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Change = Callable[["RegistryState", str, tuple["PostureCode", ...]], "RegistryState"]


@app.command("list")
def list_(
    target: Admin = TARGET, registry: Folder = None, as_json: Json = False, timeout: Timeout = 5.0
) -> None:
    """What serves each posture, what is stored, and what could not be loaded. Exit 1 where something could not."""
    view = _of_service(target, timeout) if registry is None else _of_folder(registry)
    if as_json:
        typer.echo(json.dumps(view, indent=2))
    else:
        _show(view)
    if view["failures"]:
        raise typer.Exit(1)


@app.command()
def add(source: Annotated[str, typer.Argument(help="A shipped artifact by name, or an artifact's folder.")],
        registry: Given, as_json: Json = False) -> None:  # fmt: skip
    """Copy an artifact into the folder, tested before and after. A running service finds it there at once."""
    from quotelife.model.registry import Registry

    model = Registry(registry).add(source)
    _done(as_json, {"digest": model.digest, "name": model.name}, f"{model.digest} {model.name}")


@app.command()
def verify(registry: Given, as_json: Json = False) -> None:
    """Load and test every stored artifact. Exit 1 where one is not whole."""
    from quotelife.model.registry import Registry

    stored = Registry(registry).stored(test=True)
    if as_json:
        typer.echo(
            json.dumps([{"digest": s.digest, "name": s.name, "problem": s.problem} for s in stored], indent=2)
        )
    else:
        for each in stored:
            text = each.problem or f"{each.name}: whole"
            typer.echo(f"{each.digest[:16]} {text}")
    if any(each.problem for each in stored):
        raise typer.Exit(1)


@app.command()
def remove(model: Model, registry: Given) -> None:
    """Remove an artifact that neither serves nor would after a rollback."""
    from quotelife.model.registry import Registry

    with Registry(registry) as folder:
        digest = folder.find(model)
        folder.remove(digest)
    typer.echo(f"{digest[:16]} removed")


@app.command()
def load(model: Model, posture: Postures = None, target: Admin = TARGET, registry: Folder = None,
         as_json: Json = False, timeout: Timeout = 60.0) -> None:  # fmt: skip
    """Load a stored model as a shadow: its answers are journaled, not served."""
    digest = _change(
        model, posture, target, registry, timeout,
        lambda client, digest, names: client.load_model(digest, postures=names),
        lambda state, digest, postures: state.loaded(digest, postures),
    )  # fmt: skip
    _done(as_json, {"digest": digest}, f"{digest[:16]} is a shadow of {_words(posture)}")


@app.command()
def unload(model: Model, posture: Postures = None, target: Admin = TARGET, registry: Folder = None,
           as_json: Json = False, timeout: Timeout = 60.0) -> None:  # fmt: skip
    """End a model's service as a shadow or challenger."""
    digest = _change(
        model, posture, target, registry, timeout,
        lambda client, digest, names: client.unload_model(digest, postures=names),
        lambda state, digest, postures: state.unloaded(digest, postures, time.time_ns()),
        loads=False,
    )  # fmt: skip
    _done(as_json, {"digest": digest}, f"{digest[:16]} is unloaded from {_words(posture)}")


@app.command()
def promote(
    model: Model,
    verdict: Verdict = None,
    force: Force = "",
    posture: Postures = None,
    expect: Expect = None,
    config: Configuration = None,
    target: Admin = TARGET,
    registry: Folder = None,
    as_json: Json = False,
    timeout: Timeout = 60.0,
) -> None:
    """Make a model the champion, by the promotion gates' verdict. The one before it comes back by rollback."""
    from quotelife.model.promotion import grounds_for, read_verdict
    from quotelife.model.registry import Registry

    raw = b"" if verdict is None else _read(verdict)
    if registry is None:
        view = _of_service(target, timeout)
        digest = _find(view, model, target)
        revision = view["revision"] if expect is None else expect
        with _naming(verdict):
            _ask(
                target,
                timeout,
                lambda client: client.promote_model(
                    digest,
                    verdict=raw,
                    force_reason=force,
                    postures=_names(posture),
                    expected_revision=revision,
                ),
                lost=f"look whether it was done (quotelife models list), or repeat it with --expect {revision}",
            )
    else:

        def change(
            state: "RegistryState", digest: str, postures: tuple["PostureCode", ...]
        ) -> "RegistryState":
            serves, quotes = _serving(state, postures, config, needed=bool(raw) and not force)
            state.expected(postures, expect, "", serves)
            now_ns = time.time_ns()
            with _naming(verdict):
                grounds = grounds_for(digest, serves, quotes, raw, force, now_ns=now_ns)
            after = state.promoted(digest, postures, now_ns, grounds)
            if raw:
                Registry(registry).keep(raw)
            return after

        digest = _change_folder(model, posture, registry, change)
    by = ""
    if raw:
        days = (time.time_ns() - read_verdict(raw).to_ns) / 86_400e9
        by = f"; its verdict ends with a decision {days:,.1f} days ago"
    _done(as_json, {"digest": digest}, f"{digest[:16]} is the champion of {_words(posture)}{by}")


@app.command()
def history(
    target: Admin = TARGET, registry: Folder = None, as_json: Json = False, timeout: Timeout = 5.0
) -> None:
    """Promotions, rollbacks, canaries and models that a reload put in, the newest last: when, what serves since, by
    which verdict or for what reason."""
    view = _of_service(target, timeout) if registry is None else _of_folder(registry)
    if as_json:
        typer.echo(json.dumps(view["history"], indent=2))
        return
    known = _known(view)
    for entry in view["history"]:
        at = datetime.fromtimestamp(entry["at_ns"] / 1e9, UTC).isoformat(timespec="seconds")
        since = ", ".join(f"{name} {_word(digest, known)}" for name, digest in entry["champions"].items())
        what = entry["what"]
        if entry["challenger"]:
            what += f" of {_word(entry['challenger'], known)} {entry['canary_share']:.2%}"
            since = ", ".join(entry["champions"])
        typer.echo(f"{at} {what}: {since}{_grounds(entry)}")


@app.command()
def canary(model: Model,
           share: Annotated[float, typer.Argument(min=0.0, max=1.0, help="Share of counterparties; 0 ends it.")],
           verdict: Verdict = None, force: Force = "", posture: Postures = None, config: Configuration = None,
           target: Admin = TARGET, registry: Folder = None, as_json: Json = False,
           timeout: Timeout = 60.0) -> None:  # fmt: skip
    """Let a model answer a share of the configured counterparties in the champion's place; more than 20 % by a verdict
    or for a reason, as in promote."""
    from quotelife.model.promotion import canary_grounds
    from quotelife.model.registry import Registry

    share_bp = round(share * 10_000)
    if abs(share_bp - share * 10_000) > 1e-6:
        wrong("SHARE", "must be a multiple of 0.0001")
    raw = b"" if verdict is None else _read(verdict)

    def change(state: "RegistryState", digest: str, postures: tuple["PostureCode", ...]) -> "RegistryState":
        serves, quotes = _serving(state, postures, config, needed=bool(raw) and not force)
        now_ns = time.time_ns()
        with _naming(verdict):
            grounds = canary_grounds(digest, share_bp, serves, quotes, raw, force, now_ns=now_ns)
        after = state.canaried(digest, postures, share_bp, now_ns, grounds)
        if raw and registry is not None:
            Registry(registry).keep(raw)
        return after

    with _naming(None if registry is not None else verdict):
        digest = _change(
            model, posture, target, registry, timeout,
            lambda client, digest, names: client.set_canary(
                digest, share, verdict=raw, force_reason=force, postures=names
            ),
            change,
            loads=share_bp > 0,
        )  # fmt: skip
    text = f"{digest[:16]} answers {share:.2%} of counterparties under {_words(posture)}"
    _done(as_json, {"digest": digest, "share": share}, text)


@app.command()
def rollback(posture: Postures = None, expect: Expect = None, target: Admin = TARGET, registry: Folder = None,
             as_json: Json = False, timeout: Timeout = 60.0) -> None:  # fmt: skip
    """Undo the last promotion, of the postures given or of all that it changed."""
    from quotelife.model.registry import Registry

    if registry is None:
        revision = _of_service(target, timeout)["revision"] if expect is None else expect
        reply = _ask(
            target,
            timeout,
            lambda client: client.rollback_model(postures=_names(posture), expected_revision=revision),
            lost=f"look whether it was done (quotelife models list), or repeat it with --expect {revision}",
        )
        digest = str(reply.digest)
    else:
        with Registry(registry) as folder:
            before = folder.read()
            before.expected((), expect, "", {})
            after = before.rolled_back(time.time_ns(), _codes(posture))
            for each in sorted(after.lineup.digests() - before.lineup.digests()):
                folder.load(each)
            folder.write(after)
        digest = next(iter(after.log[-1].champions.values())) or ""
    text = f"{digest[:16] or 'the model of the configuration'} is the champion again"
    _done(as_json, {"digest": digest}, text)


@app.command()
def clear(model: Annotated[str, typer.Argument(help="Of this model alone. [default: of all]")] = "",
          target: Admin = TARGET, registry: Folder = None, as_json: Json = False,
          timeout: Timeout = 5.0) -> None:  # fmt: skip
    """Forget loads that failed."""
    from quotelife.model.registry import Registry

    if registry is None:
        view = _of_service(target, timeout)
        digest = _failed_one(view, model) if model else ""
        count = _ask(target, timeout, lambda client: client.clear_model_failures(digest))
    else:
        with Registry(registry) as folder:
            before = folder.read()
            digest = _failed_one(_of_folder(registry), model) if model else ""
            after = before.cleared(digest or None)
            folder.write(after)
            count = len(before.failures) - len(after.failures)
    _done(as_json, {"cleared": count}, f"{count} failed loads forgotten")


def _change(
    model: str, posture: list[Posture] | None, target: str, folder: Path | None, timeout: float,
    call: Callable[[Any, str, Sequence[Any]], object], change: Change, *, loads: bool = True,
) -> str:  # fmt: skip
    """Carry a change out, on the service or on the folder; the digest of the model."""
    if folder is not None:
        return _change_folder(model, posture, folder, change, loads=loads)
    digest = _find(_of_service(target, timeout), model, target)
    _ask(target, timeout, lambda client: call(client, digest, _names(posture)))
    return digest


def _change_folder(
    model: str, posture: list[Posture] | None, folder: Path, change: Change, *, loads: bool = True
) -> str:
    from quotelife.model.registry import Failure, Registry, all_or

    with Registry(folder) as registry:
        digest = registry.find(model)
        state = registry.read()
        after = change(state, digest, all_or(_codes(posture)))
        try:
            if loads:
                registry.load(digest)
        except ArtifactError as error:
            registry.write(state.failed(Failure(digest, str(error), time.time_ns())))
            raise
        registry.write(after)
        return digest


def _read(path: Path) -> bytes:
    from quotelife.model.promotion import VERDICT_BYTES_MAX

    try:
        with path.open("rb") as file:
            return file.read(VERDICT_BYTES_MAX + 1)  # one more is refused by whoever reads it
    except OSError as error:
        wrong("--verdict", f"{path}: cannot be read ({error.strerror}); promote-check --out writes it")


@contextmanager
def _naming(verdict: Path | None) -> Iterator[None]:
    """What is refused within names the file of the verdict."""
    try:
        yield
    except QuotelifeError as error:
        raise error if verdict is None else QuotelifeError(f"{error} (verdict: {verdict})") from None


def _serving(
    state: "RegistryState", postures: tuple["PostureCode", ...], config: Path | None, *, needed: bool
) -> tuple[dict["PostureCode", str], "Quotes"]:
    """Who serves by the state and, where nothing was promoted, by the configuration; and what a verdict must be on."""
    from quotelife.config import load_config
    from quotelife.engine import configured_model
    from quotelife.model.promotion import Quotes
    from quotelife_server.settings import ServiceConfig

    champions = {posture: state.lineup.of(posture).champion for posture in postures}
    if config is None:
        if needed:
            wrong(
                "--config",
                "a verdict is held against what the service quotes and serves: name its configuration",
            )
        return {posture: digest or "" for posture, digest in champions.items()}, Quotes()
    settings = load_config(config, ServiceConfig)
    configured = configured_model(settings).digest
    return (
        {posture: configured if digest is None else digest for posture, digest in champions.items()},
        Quotes.of(settings),
    )


def _ask(target: str, timeout: float, call: Callable[[Any], Any], lost: str = "") -> Any:
    """``lost``: what to do where the call may have been carried out, though its answer did not come."""
    from quotelife_client import Client, ServiceError

    try:
        with Client(target, timeout_s=timeout, tls=tls_of(target)) as client:
            return call(client)
    except ServiceError as error:
        unknown = error.code.name in ("DEADLINE_EXCEEDED", "UNAVAILABLE", "CANCELLED", "UNKNOWN")
        raise failed(target, error, f"; {lost}" if lost and unknown else "") from None


def _of_service(target: str, timeout: float) -> dict[str, Any]:
    from quote_expiry.v1 import admin_service_pb2 as admin

    reply = _ask(target, timeout, lambda client: client.models())
    return {
        "models": [
            {
                "digest": m.digest,
                "name": m.name,
                "kind": m.kind,
                "champion": m.champion,
                "configured": m.configured,
            }
            for m in reply.models
        ],
        "postures": [
            {
                "posture": _posture(p.posture),
                "champion": p.champion,
                "wanted": p.wanted or None,
                "challenger": p.challenger or None,
                "canary_share": p.canary_share,
                "shadows": list(p.shadows),
                "rollbacks": p.rollbacks,
            }
            for p in reply.postures
        ],
        "failures": [{"digest": f.digest, "reason": f.reason, "at_ns": f.at_utc_ns} for f in reply.failures],
        "history": [
            {
                "at_ns": change.at_utc_ns,
                "what": admin.ModelChangeKind.Name(change.kind).removeprefix("MODEL_CHANGE_KIND_").lower(),
                "verdict": change.verdict or None,
                "market": change.market,
                "reason": change.reason,
                "judged_ns": [change.judged_from_utc_ns, change.judged_to_utc_ns],
                "champions": {_posture(each.posture): each.champion or None for each in change.champions},
                "challenger": change.challenger or None,
                "canary_share": change.canary_share,
            }
            for change in reply.history
        ],
        "revision": reply.revision,
        "stored": [
            {
                "digest": s.digest,
                "name": s.name,
                "kind": s.kind,
                "description": s.description,
                "problem": s.problem,
            }
            for s in reply.stored
        ],
    }


def _of_folder(folder: Path) -> dict[str, Any]:
    from quotelife.model.registry import Registry

    if not folder.is_dir():
        raise QuotelifeError(
            f"{folder}: is no folder; name server.models.directory, or add a model to begin one"
        )
    registry = Registry(folder)
    state = registry.read()
    return {
        "models": [],
        "postures": [
            {
                "posture": code.name.lower(),
                "champion": serving.champion,
                "wanted": None,
                "challenger": serving.challenger,
                "canary_share": serving.canary_bp / 10_000,
                "shadows": list(serving.shadows),
                "rollbacks": sum(code in act.champions for act in state.history),
            }
            for code, serving in state.lineup.items()
        ],
        "failures": state.to_json()["failures"],
        "history": [
            {**entry, "canary_share": entry.pop("canary_bp") / 10_000} for entry in state.to_json()["log"]
        ],
        "revision": state.revision,
        "stored": [
            {
                "digest": s.digest,
                "name": s.name,
                "kind": s.kind,
                "description": s.description,
                "problem": s.problem,
            }
            for s in registry.stored()
        ],
    }


def _posture(number: int) -> str:
    from quote_expiry.v1 import types_pb2 as types

    return types.Posture.Name(cast(Any, number)).removeprefix("POSTURE_").lower()


def _known(view: dict[str, Any]) -> dict[str, str]:
    return {each["digest"]: each["name"] for each in (*view["stored"], *view["models"])}


def _word(digest: str | None, known: dict[str, str]) -> str:
    return "the configuration's" if digest is None else f"{digest[:16]} {known.get(digest, '')}".rstrip()


def _grounds(entry: dict[str, Any]) -> str:
    by = f"; by verdict {entry['verdict'][:16]}" if entry["verdict"] else ""
    if by and entry["market"]:
        by += f" ({entry['market']})"
    if by and entry["judged_ns"][1]:
        start, end = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in entry["judged_ns"])
        by += f" on decisions of {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    return f"{by}; forced: {entry['reason']}" if entry["reason"] else by


def _show(view: dict[str, Any]) -> None:
    known = _known(view)
    promotions = [entry for entry in reversed(view["history"]) if entry["what"] == "promotion"]
    for each in view["postures"]:
        line = f"{each['posture']}: {_word(each['champion'], known)}"
        if each["wanted"]:
            line += f" in place of {_word(each['wanted'], known)}, which was not loaded"
        for entry in promotions:
            if entry["champions"].get(each["posture"]) == each["champion"]:
                line += _grounds(entry)
                break
        if each["challenger"]:
            line += f"; canary {each['canary_share']:.2%}: {_word(each['challenger'], known)}"
        if each["shadows"]:
            line += f"; shadows: {', '.join(_word(shadow, known) for shadow in each['shadows'])}"
        typer.echo(f"{line}; {each['rollbacks']} to roll back")
    typer.echo(f"revision {view['revision']}")
    for each in view["stored"]:
        text = each["problem"] or f"{each['name']} ({each['kind']}){_description(each['description'])}"
        typer.echo(f"stored {each['digest'][:16]} {text}")
    for each in view["failures"]:
        typer.echo(f"failed {each['digest'][:16]} {each['reason']}; mend it and load it again, or clear it")


def _description(text: str) -> str:
    """The first part of it, which says what the model was fitted on: on recorded or on simulated decisions."""
    first = re.split("[;.] ", text)[0].removesuffix(".")
    return f": {first[:DESCRIPTION_SHOWN]}" if first.isprintable() and first else ""


def _find(view: dict[str, Any], text: str, target: str) -> str:
    from quotelife.model.lineup import is_digest
    from quotelife.model.registry import PREFIX_MIN

    if is_digest(text):
        return text
    there = {each["digest"]: each["name"] for each in (*view["stored"], *view["models"])}
    found = [digest for digest in there if len(text) >= PREFIX_MIN and digest.startswith(text)]
    found = found or [digest for digest, name in there.items() if name == text]
    if len(found) != 1:
        problem = (
            f"several models fit: {', '.join(d[:16] for d in found)}" if found else "no such model is stored"
        )
        raise QuotelifeError(f"{target}: {text}: {problem}; quotelife models list names those there are")
    return str(found[0])


def _failed_one(view: dict[str, Any], text: str) -> str:
    found = sorted({str(each["digest"]) for each in view["failures"] if each["digest"].startswith(text)})
    if len(found) != 1:
        raise QuotelifeError(f"{text}: {len(found)} failed loads fit; quotelife models list names them")
    return found[0]


def _codes(postures: list[Posture] | None) -> list["PostureCode"]:
    from quotelife.records import PostureCode

    return [PostureCode[each.name] for each in postures or ()]


def _names(postures: list[Posture] | None) -> list[Any]:
    from quotelife_client import Posture as Named

    return [Named[each.name] for each in postures or ()]


def _words(postures: list[Posture] | None) -> str:
    return ", ".join(postures) if postures else "every posture"


def _done(as_json: bool, value: dict[str, Any], text: str) -> None:
    typer.echo(json.dumps(value) if as_json else text)
