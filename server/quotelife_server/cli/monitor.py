"""``quotelife monitor``: what the served models of a service are worth now, and the end of a step down."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from quotelife_server.cli.options import TARGET, Admin, Timeout, failed, tls_of

if TYPE_CHECKING:
    from quote_expiry.v1 import admin_service_pb2 as admin

LEVELS = ("", "well", "WARNED", "DEGRADED", "WORST")


def monitor(
    group: Annotated[
        list[str] | None, typer.Argument(help="Instrument groups, by name. [default: all]")
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="End the step down of the named groups, with a reason for the record."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The groups of the status as JSON.")] = False,
    target: Admin = TARGET,
    timeout: Timeout = 5.0,
) -> None:
    """Show the rolling scores, drift and step of every instrument group and served model.

    Exit 1: the answers of one are not well, or a group has stepped down. That one is asked what it was not trained on
    is shown, and is no reason to exit with 1.
    """
    from quotelife_client import Client, ServiceError

    if end is not None and not group:
        raise typer.BadParameter("name the groups whose step down shall end", param_hint="--end")
    try:
        with Client(target, timeout_s=timeout, tls=tls_of(target)) as client:
            for name in group or () if end is not None else ():
                was = client.end_step_down(name, end or "").ended
                typer.echo(f"{name}: {'the step down is ended' if was else 'had not stepped down'}")
            if end is not None:
                return
            status = client.status()
    except ServiceError as error:
        raise failed(target, error) from None
    known = {each.group: each for each in status.groups}
    for name in group or ():
        if name not in known:
            raise typer.BadParameter(f"no instrument group is called {name!r}", param_hint="GROUP")
    shown = [known[name] for name in group] if group else list(status.groups)
    if as_json:
        _print_json(shown)
    else:
        _print(shown, status)
    if any(each.stepped_down or each.level > 1 for each in shown):
        raise typer.Exit(1)


def _print_json(groups: "list[admin.GroupStatus]") -> None:
    import json

    from google.protobuf.json_format import MessageToDict

    found = [MessageToDict(each, preserving_proto_field_name=True) for each in groups]
    typer.echo(json.dumps(found, indent=2))


def _print(groups: "list[admin.GroupStatus]", status: "admin.GetStatusResponse") -> None:
    from rich.console import Console
    from rich.table import Table

    from quotelife_server.cli.doctor_service import unjudged_in_words

    console = Console()
    table = Table("group", "model", "level", "at", "labels", "hits", "Brier", "skill", "ECE", "AUC", "CUSUM low/high",
                  "of", box=None)  # fmt: skip
    for each in groups:
        for model in each.models:
            for scores in model.scores:
                table.add_row(
                    each.group,
                    model.model[:8],
                    "STEPPED DOWN" if each.stepped_down else LEVELS[model.level],
                    f"{scores.horizon_ns / 1e9:g} s",
                    f"{scores.labels:,}",
                    _figure(scores, "prevalence", ".4f"),
                    _figure(scores, "brier", ".4f"),
                    _figure(scores, "skill", "+.3f"),
                    _figure(scores, "ece", ".4f"),
                    _figure(scores, "auc", ".3f"),
                    f"{scores.cusum_p_low:.1f} / {scores.cusum_p_high:.1f}",
                    f"{scores.limit_warned:.1f}",
                )
    console.print(table)
    for each in groups:
        if each.stepped_down:
            console.print(f"{each.group}: stepped down to Risk Averse: {each.reason}", highlight=False)
        for model in each.models:
            for text in filter(None, (model.text, model.features_text, _features(model))):
                console.print(f"{each.group} {model.model[:8]}: {text}", highlight=False)
    if not any(each.models for each in groups):
        console.print("no label so far, or learning.monitor.enabled is false", highlight=False)
    if status.groups_unjudged:
        console.print(unjudged_in_words(status), highlight=False)
    labels = status.labels
    console.print(
        f"labels: {labels.opened:,} opened, {labels.resolved:,} resolved, {labels.censored:,} censored, "
        f"{labels.thinned:,} thinned, "
        f"{labels.overflowed:,} found no room; lost by the journal: {status.labels_lost:,} labels, "
        f"{status.shadows_lost:,} answers of shadows",
        highlight=False,
    )


def _figure(scores: Any, name: str, form: str) -> str:
    return format(getattr(scores, name), form) if scores.HasField(name) else ""


def _features(model: "admin.ModelMonitorStatus") -> str:
    if model.features_note:
        return f"no drift of features: {model.features_note}"
    if not model.features_samples:
        return ""
    named = ", ".join(f"{each.feature} {each.psi:.2f}" for each in model.features)
    against = "" if model.features_own else " against all instruments of the training"
    return f"features: PSI {named}{against} ({model.features_samples:,} decisions)"
