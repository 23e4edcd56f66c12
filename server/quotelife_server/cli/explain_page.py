"""An ``ExplainDecisionResponse`` as a page for a terminal."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from quote_expiry.v1 import quote_expiry_service_pb2 as expiry
from quote_expiry.v1 import types_pb2 as types
from quotelife.explain.words import bound_words, percent, time_words

BAR = 24  # cells
CONTRIBUTIONS_SHOWN = 12


def pages(response: expiry.ExplainDecisionResponse) -> Iterator[RenderableType]:
    """One page a side."""
    for explanation in response.explanations:
        yield page(response, explanation)


def page(response: expiry.ExplainDecisionResponse, explanation: expiry.Explanation) -> Group:
    parts: list[RenderableType] = [
        Text(f"{explanation.decision_id}  {_name(types.Side, explanation.side)}", style="bold"),
        Text(explanation.summary),
        Text(),
        _inputs(response, explanation),
    ]
    if explanation.HasField("curve"):
        parts += [_heading("P(the market passes the threshold within τ)"), _curve(explanation.curve)]
    if explanation.contributions:
        parts += [_heading("What moved P(500 ms), in logits"), _contributions(explanation)]
        parts += _bounded(explanation)
    parts += [_heading("Which posture"), _rules(explanation.rule_path)]
    if explanation.constraints:
        parts += [_heading("What bounds the life, tightest first"), _constraints(explanation.constraints)]
    weighted = [each for each in explanation.risks if each.weight]
    if weighted:
        parts += [_heading("Risk scores that scaled the tolerance"), _risks(weighted)]
    if labels := [each for each in response.labels if each.decision_id == explanation.decision_id]:
        parts += [_heading("What the market made of it"), _labels(labels)]
    if response.HasField("watched"):
        parts += [_heading("What became of the quote while it was watched"), _watched(response.watched)]
    if outcomes := [each for each in response.outcomes if each.decision_id == explanation.decision_id]:
        parts += [_heading("What was reported of it"), _outcomes(outcomes)]
    parts += [Text(), _verification(explanation)]
    return Group(*parts)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _name(enum: Any, value: int) -> str:
    return str(enum.Name(value)).partition("_")[2]


def _grid(*columns: str) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for justify in columns:
        table.add_column(justify=justify)  # type: ignore[arg-type]
    return table


def _instant(utc_ns: int) -> str:
    moment = datetime.fromtimestamp(utc_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{utc_ns % 1_000_000_000:09} UTC"


def _inputs(response: expiry.ExplainDecisionResponse, explanation: expiry.Explanation) -> Table:
    table = _grid("left", "left")
    request, reply = response.request, response.response

    def row(name: str, value: str) -> None:
        if value:
            table.add_row(name, escape(value))

    if response.HasField("request"):
        row("instrument", request.instrument)
        if request.HasField("size"):
            row("size", f"{request.size.quantity} {types.SizeUnit.Name(request.size.unit)[10:].lower()}")
        for name in ("price", "bid_price", "ask_price", "edge", "reference_price"):
            if request.HasField(name):
                row(name.replace("_", " "), getattr(request, name))
        row("counterparty", request.counterparty)
        row("desk", request.desk)
        row("venue session", request.venue_session)
        for name in ("rfq_id", "quote_id", "request_id"):
            row(name.replace("_", " "), getattr(request, name))
        if request.overrides.posture:
            row("posture asked for", _name(types.Posture, request.overrides.posture))
    if response.HasField("response"):
        side = next((each for each in reply.sides if each.side == explanation.side), reply)
        row("decided at", _instant(reply.decided_at_utc_ns))
        row("answer", f"{_name(types.Decision, side.decision)}, life {time_words(side.life_ns)}")
        row("reasons", ", ".join(_name(types.Reason, each) for each in side.reasons))
        row("data", f"{_name(types.Quality, reply.quality)}, regime {_name(types.Regime, reply.regime)}")
        if side.HasField("h_ticks"):
            row("adverse threshold", f"{side.h_ticks:g} ticks, of which {side.moved_ticks:g} gone")
    else:
        row("answer", "none was sent")
    row("configuration", f"revision {explanation.config_revision}, {explanation.config_digest[:16]}")
    model = f"{explanation.model_name or explanation.model_kind} ({explanation.model_kind})"
    row("model", f"revision {explanation.model_revision}, {model}, {explanation.model_digest[:16]}")
    return table


def _curve(curve: expiry.Curve) -> Table:
    table = _grid("right", "right", "left")
    for horizon_ns, p in zip(curve.horizon_ns, curve.p, strict=True):
        table.add_row(time_words(horizon_ns), percent(p), Text("█" * round(BAR * p), style="cyan"))
    return table


def _contributions(explanation: expiry.Explanation) -> Table:
    table = _grid("left", "right", "right", "right", "left", "left")
    largest = max(abs(each.logit) for each in explanation.contributions) or 1.0
    table.add_row("all at their references", "", "", f"{explanation.baseline_logit:+.3f}", "", "")
    for each in explanation.contributions[:CONTRIBUTIONS_SHOWN]:
        cells = round(BAR / 2 * abs(each.logit) / largest)
        left = "█" * cells if each.logit < 0 else ""
        right = "█" * cells if each.logit >= 0 else ""
        bar = Text(left.rjust(BAR // 2), style="green").append("│", style="dim").append(right, style="red")
        value = f"{each.value:.4g}" if each.HasField("value") else "missing"
        table.add_row(
            each.feature, value, f"against {each.reference:.4g}", f"{each.logit:+.3f}", bar, each.unit
        )
    rest = explanation.contributions[CONTRIBUTIONS_SHOWN:]
    if rest:
        table.add_row(f"{len(rest)} more", "", "", f"{sum(each.logit for each in rest):+.3f}", "", "")
    if abs(explanation.left_over) >= 5e-4:  # less is rounding, and would be shown as 0.000
        table.add_row("left over", "", "", f"{explanation.left_over:+.3f}", "", "")
    table.add_row("together", "", "", f"{explanation.logit:+.3f}", "", "")
    return table


def _bounded(explanation: expiry.Explanation) -> list[RenderableType]:
    """A line for each bound that the logit ran into, whose size stands among the contributions."""
    words = (bound_words(each.feature, each.reference, each.value) for each in explanation.contributions)
    return [Text(each) for each in words if each]


def _rules(steps: Sequence[expiry.RuleStep]) -> Table:
    table = _grid("left", "left", "left")
    for step in steps:
        name = _name(types.Rule, step.rule) if step.rule else "REGIME"
        mark = Text("→", style="bold yellow") if step.applied else Text(" ")
        style = "" if step.applied else "dim"
        table.add_row(mark, Text(name.replace("_", " ").lower(), style=style), Text(step.detail, style=style))
    return table


def _constraints(steps: Sequence[expiry.ConstraintStep]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1))
    table.add_column("bound")
    table.add_column("life", justify="right")
    table.add_column("")
    table.add_column("why")
    for step in steps:
        state = Text("binds", style="bold yellow") if step.binding else Text("next" if step.next else "")
        life = time_words(step.life_ns) if step.HasField("life_ns") else "any"
        table.add_row(
            _name(types.Constraint, step.constraint).replace("_", " ").lower(), life, state, step.detail
        )
    return table


def _risks(steps: Sequence[expiry.RiskStep]) -> Table:
    table = _grid("left", "right", "right", "right")
    for step in steps:
        share = f"{0.0 - step.score * step.weight:+.4f} in ln α"
        table.add_row(
            step.input.replace("_", " "), f"score {step.score:+.2f}", f"weight {step.weight:g}", share
        )
    return table


def _labels(labels: Sequence[expiry.DecisionLabel]) -> Table:
    table = _grid("left", "left", "left")
    for each in labels:
        asked = f"within {'the life, ' if each.life else ''}{time_words(each.horizon_ns)}"
        what, why = Text("not known", style="dim"), f"lost sight of at {_instant(each.at_utc_ns)}"
        if each.HasField("passed"):
            what, why = Text("not passed", style="green"), ""
            if each.passed:
                what = Text(f"passed after {time_words(each.passage_ns)}", style="red")
            if each.HasField("p"):
                why = f"P was {percent(each.p)}"
            elif each.life:
                why = f"held tolerance {100.0 * each.moved:+.4f} to {100.0 * each.held_alpha:.4f} %"
                if each.account:
                    why += f", account of the shortest lives {100.0 * each.account:.4f} %"
        table.add_row(asked, what, why)
    return table


def _watched(quote: expiry.WatchedQuote) -> Table:
    table = _grid("right", "left", "left")
    began_ns = quote.registered_at_utc_ns
    life, unwatched = (
        time_words(max(0, at - began_ns)) for at in (quote.expiry_utc_ns, quote.unwatched_expiry_utc_ns)
    )
    size = f", {quote.size_lots:g} lots" if quote.HasField("size_lots") else ""
    what = f"{escape(quote.quote_id)} of {escape(quote.owner)}: {life} to live, {unwatched} without a watch{size}"
    table.add_row(_instant(began_ns), "registered", what)
    for each in quote.events:
        words = []
        if each.reason:
            words.append(expiry.WithdrawReason.Name(each.reason).removeprefix("WITHDRAW_REASON_"))
        if each.kind == expiry.WATCHED_EVENT_KIND_UPDATED:
            words.append(expiry.QuoteState.Name(each.state).removeprefix("QUOTE_STATE_"))
        if each.HasField("size_lots"):
            words.append(f"{each.size_lots:g} lots left")
        if each.HasField("moved_ticks"):
            words.append(f"moved {each.moved_ticks:g} ticks")
        if each.HasField("value_ticks"):
            words.append(f"{each.value_ticks:g} ticks of value left")
        if each.HasField("life_ns"):
            words.append(f"a new quote would live {time_words(each.life_ns)}")
        if each.held_back:
            words.append("held back by the venue's cancel rate")
        name = expiry.WatchedEventKind.Name(each.kind).removeprefix("WATCHED_EVENT_KIND_").replace("_", " ")
        table.add_row(f"{(each.at_utc_ns - began_ns) / 1e6:+.3f} ms", name.lower(), ", ".join(words))
    if quote.incomplete:
        table.add_row("", "", Text("more was recorded than is looked through", style="yellow"))
    return table


def _outcomes(outcomes: Sequence[expiry.ReportedOutcome]) -> Table:
    table = _grid("left", "left", "left")
    for each in outcomes:
        words = []
        if each.HasField("age_ns"):
            words.append(f"after {time_words(each.age_ns)}")
        if each.HasField("price_ticks"):
            words.append(f"at {each.price_ticks:g} ticks")
        if each.HasField("traded_lots"):
            words.append(f"{each.traded_lots:g} lots")
        if not each.counted:
            words.append("a further report of the same quote")
        kind = expiry.OutcomeKind.Name(each.kind).removeprefix("OUTCOME_KIND_")
        table.add_row(_instant(each.at_utc_ns), kind, ", ".join(words))
    return table


def _verification(explanation: expiry.Explanation) -> Text:
    if not explanation.HasField("verified"):
        return Text(f"not verified: {explanation.verification}", style="yellow")
    style, word = ("green", "verified") if explanation.verified else ("bold red", "NOT VERIFIED")
    return Text(f"{word}: {explanation.verification}", style=style)
