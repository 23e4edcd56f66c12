"""``quotelife explain``: why a decision is what it is, for a desk or as JSON for an auditor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quotelife.errors import QuotelifeError
from quotelife_server.cli.options import TARGET, Timeout, checked_target, tls_of, wrong

if TYPE_CHECKING:
    from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
    from quotelife.journal.reader import Journal

EXIT_UNVERIFIED = 4
LAST = "last"


def explain(
    decision_id: Annotated[
        str, typer.Argument(help="Id that came with the answer; with --journal also: last.")
    ],
    journal: Annotated[
        Path | None,
        typer.Option(help="Folder of a journal, of a running or a stopped service. [default: ask --target]"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            callback=checked_target,
            help=f"A service that keeps a journal, as host:port or unix:PATH. [default: {TARGET}]",
        ),
    ] = None,
    side: Annotated[
        Literal["buy", "sell"] | None,
        typer.Option(help="Only this side of a TWO_WAY decision. [default: both]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON (docs/explain.md).")] = False,
    timeout: Timeout = 10.0,
) -> None:
    """Explain one decision, from a journal or by a running service.

    Exit 0: explained. 1: no decision of that id, a damaged journal, no service. 4: explained, but the decision could
    not be verified: computed again from its record it does not come out the same, or the journal lacks what it takes.
    """
    if journal is not None and target is not None:
        wrong("--journal", "name a journal or a target, not both")
    if decision_id == LAST and journal is None:  # a service would look for a decision of that id
        wrong(
            "DECISION_ID", "last goes with --journal; a service is asked by the id that came with the answer"
        )
    if journal is not None:
        response = _from_journal(journal, decision_id)
    else:
        response = _from_service(target or TARGET, decision_id, timeout)
    if side is not None:
        from quote_expiry.v1 import quote_expiry_service_pb2 as expiry

        wanted = expiry.ExplainDecisionResponse()
        wanted.CopyFrom(response)
        del wanted.explanations[:]
        number = {"buy": 1, "sell": 2}[side]
        wanted.explanations.extend(each for each in response.explanations if each.side == number)
        if not wanted.explanations:
            raise QuotelifeError(f"{decision_id} has no {side} side")
        shown = {each.decision_id for each in wanted.explanations}
        del wanted.labels[:]
        wanted.labels.extend(each for each in response.labels if each.decision_id in shown)
        mine = [each for each in response.outcomes if each.decision_id in shown]
        del wanted.outcomes[:]
        wanted.outcomes.extend(mine)
        response = wanted
    if as_json:
        typer.echo(to_json(response))
    else:
        from rich.console import Console

        from quotelife_server.cli.explain_page import pages

        console = Console(soft_wrap=False, highlight=False)
        for at, page in enumerate(pages(response)):
            if at:
                console.rule()
            console.print(page)
    if not all(each.verified for each in response.explanations):
        raise typer.Exit(EXIT_UNVERIFIED)


def to_json(response: "expiry.ExplainDecisionResponse") -> str:
    """The message as protobuf's JSON, every field under its own name: docs/explain.md."""
    from google.protobuf import json_format

    return json_format.MessageToJson(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=2
    )


def _from_journal(folder: Path, decision_id: str) -> "expiry.ExplainDecisionResponse":
    from quotelife.explain.journaled import explain_from
    from quotelife.journal.reader import Journal
    from quotelife_server import convert

    journal = Journal(folder)
    found = explain_from(journal, _newest(journal) if decision_id == LAST else decision_id)
    if found is None:
        raise QuotelifeError(f"{folder}: holds no decision {decision_id}")
    return convert.explained_answer(found)


def _newest(journal: "Journal") -> str:
    newest = journal.newest_decision()
    if not journal.segments:
        where = journal.storage.where()
        raise QuotelifeError(f"{where}: no segment of a journal in it; name the folder of server.journal")
    if newest is None:
        raise QuotelifeError("the journal holds no decision yet")
    return str(newest.decision_id)


def _from_service(target: str, decision_id: str, timeout_s: float) -> "expiry.ExplainDecisionResponse":
    import grpc

    from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
    from quotelife_client.calls import service_error
    from quotelife_client.tls import opened

    request = expiry.ExplainDecisionRequest(decision_id=decision_id)
    with opened(target, tls_of(target)) as channel:
        call = channel.unary_unary(
            "/quote_expiry.v1.QuoteExpiryService/ExplainDecision",
            expiry.ExplainDecisionRequest.SerializeToString,
            expiry.ExplainDecisionResponse.FromString,
        )
        try:
            response: expiry.ExplainDecisionResponse = call(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise QuotelifeError(f"{target}: {service_error(error)}") from None
    return response
