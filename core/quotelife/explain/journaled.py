"""A decision explained from a journal alone: configuration, model, overrides and names all come from there.

Works on the folder of a service that runs or has stopped; nothing is locked or written.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quotelife.engine import Engine
from quotelife.errors import QuotelifeError
from quotelife.explain.decision import Explanation, explain, verify
from quotelife.explain.grounds import Grounds, has_curve, settings_of
from quotelife.explain.watched import Aftermath, aftermath
from quotelife.journal.format import Kind
from quotelife.journal.reader import Journal, refused_sequences
from quotelife.journal.records import LIFE, Answer, Record, decode_decision, decode_label
from quotelife.journal.state import OperationalState
from quotelife.model.curve import CurveModel
from quotelife.model.first_passage import FirstPassageModel
from quotelife.model.lineup import LineUp
from quotelife.model.recalibration import ANCHORS_NS
from quotelife.records import DecisionRecord, ModelRoleCode, PostureCode, RequestRecord
from quotelife.replay.follow import Follower, read_config, set_override
from quotelife.units import NS_PER_S

LABELLED_WITHIN_NS = 60 * NS_PER_S
"""A quiet market takes long to tell what became of a life, and asks for nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class JournaledDecision:
    """One decision with its explanation. ``verified``: ``None`` where it could not be computed again. ``labels``: what
    the market made of it, scalars of ``LABEL_DTYPE`` in the order in which they were known."""

    decision_id: str
    request: RequestRecord
    decision: DecisionRecord
    grounds: Grounds
    explanation: Explanation
    verified: bool | None
    problem: str
    labels: tuple[np.void, ...]


@dataclass(frozen=True, slots=True)
class JournaledAnswer:
    """An answer and its decisions, BUY first. ``answer``: ``None`` where none was journaled or it never left.
    ``aftermath``: what became of its quote."""

    answer: Answer | None
    decisions: tuple[JournaledDecision, ...]
    aftermath: Aftermath


def explain_from(journal: Journal, decision_id: str) -> JournaledAnswer | None:
    """The decision of that id and, for TWO_WAY, the other side's; ``None`` when there is none.

    Raises ``JournalError`` where the journal is damaged, ``QuotelifeError`` where it holds a configuration that
    this build refuses.
    """
    record = journal.find_decision(decision_id)
    if record is None:
        return None
    records = [record]
    answer = journal.answer_of(record)
    if answer is not None:
        for sequence in answer.sequences:
            if sequence != record.input_sequence:
                other = journal.find_decision(f"{record.boot_id}-{sequence}")
                if other is not None:
                    records.append(other)
        records.sort(key=lambda each: each.input_sequence)
        if set(answer.sequences) & refused_sequences(journal.segments).get(record.boot_id, set()):
            answer = None  # taken back: the caller never saw it
    explained = tuple(_explained(journal, each) for each in records)
    taken = {each.decision.input_sequence: each.decision for each in explained}
    return JournaledAnswer(answer, explained, aftermath(journal, records[0], taken))


def _explained(journal: Journal, record: Record) -> JournaledDecision:
    request, decision = decode_decision(record)
    state = journal.state_at(record)
    engine, problem = _engine(journal, state, decision)
    grounds = Grounds.of(engine, decision, config_digest=state.config["digest"], model_known=not problem)
    return JournaledDecision(
        record.decision_id,
        request,
        decision,
        grounds,
        explain(request, decision, grounds),
        None if problem else verify(engine, request, decision),
        problem,
        _labels(journal, record, decision.instrument, *_asked(decision, grounds)),
    )


def _asked(decision: DecisionRecord, grounds: Grounds) -> tuple[int, int]:
    """How many parts a label of the decision may have, and when the market has answered the last of them, ns."""
    if not has_curve(decision):
        return 0, 0
    learning, settings = grounds.policy.config.learning, settings_of(decision, grounds)
    anchors = LIFE if learning.recalibration.enabled or learning.monitor.enabled else 0
    life = int(settings.held_tolerance.enabled)
    ages = [max(ANCHORS_NS)] * anchors + [max(decision.life_ns, settings.life_min_ns)] * life
    return len(ages), decision.now_ns + learning.latency_ns + max(ages, default=0)


def _labels(
    journal: Journal, decision: Record, instrument: int, most: int, due_ns: int
) -> tuple[np.void, ...]:
    """Not all that may be asked is (a burst is thinned, a bound froze the tolerance). So the search ends where the
    labels of ``due_ns`` have come, those of one instrument in the order of time: with the input that brought a later
    one, or once a message behind that moment was followed by another."""
    found: list[np.void] = []
    last = heard_ns = 0
    if not most:
        return ()
    for record in journal.following(decision, (Kind.LABEL, Kind.DECISION)):
        late = record.now_ns > decision.now_ns + LABELLED_WITHIN_NS
        over = last and record.input_sequence != last
        if late or over or record.boot_id != decision.boot_id or len(found) == most:
            break
        if record.kind == Kind.LABEL:
            label = decode_label(record)
            if label["decision"] == decision.input_sequence:
                found.append(label)
            if label["instrument"] == instrument and label["at_ns"] >= due_ns:
                last = record.input_sequence
        else:
            _, other = decode_decision(record)
            message_ns = other.now_ns - other.data_age_ns
            if other.instrument == instrument and other.data_age_ns >= 0 and message_ns > due_ns:
                if heard_ns and message_ns > heard_ns:
                    break
                heard_ns = heard_ns or message_ns
    return tuple(found)


def _engine(journal: Journal, state: OperationalState, decision: DecisionRecord) -> tuple[Engine, str]:
    """An engine as it stood when ``decision`` was taken, without a market; why its model only stands in."""
    if not state.config:
        raise QuotelifeError("the journal does not say which configuration was in force")
    follower, problem = Follower(Path(journal.storage.where("artifacts"))), ""
    lineup = LineUp.from_json(state.config.get("lineup"))
    posture, role = decision.posture_effective, decision.model_role
    if posture == PostureCode.NONE:
        digest = None
    else:
        serving = lineup.of(PostureCode(posture))
        digest = serving.challenger if role == ModelRoleCode.CHALLENGER else serving.champion
    digest = digest or state.config["model_digest"]
    model: CurveModel
    try:
        model = follower.model(digest)
    except QuotelifeError:
        model = FirstPassageModel()
        problem = f"the journal has no whole copy of the model {digest[:16] or 'without a digest'}"
    # Of all models that served then only the one that answered is asked again: it stands for every other.
    engine = Engine(
        read_config(state.config), model=model, lineup=lineup, models=dict.fromkeys(lineup.digests(), model)
    )
    engine.continue_revisions(state.config["revision"], state.config["model_revision"])
    for entry in sorted(state.overrides.values(), key=lambda each: int(each["id"])):
        if entry["expires_ns"] > decision.now_ns:
            set_override(engine, entry, 0)
    return engine, problem
