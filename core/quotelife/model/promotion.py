"""On what grounds a model becomes champion: the verdict of the promotion gates, or a reason to go without.

A verdict is a file that ``quotelife promote-check --out`` writes; its digest is the SHA-256 of the file. It is a record
and no proof, since whoever may promote could also write one: what it gives is that nobody promotes by oversight, and
that registry and journal say by which figures it was done.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from quotelife.errors import QuotelifeError
from quotelife.model.lineup import is_digest
from quotelife.records import PostureCode

FORMAT = "quotelife-verdict-1"
VERDICT_BYTES_MAX = 1 << 20
REASON_CHARACTERS_MAX = 1000
VERDICT_MEND = "ask quotelife promote-check again with --out"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates said of ``challenger`` against ``champion``. ``refused``: names of the gates that said no."""

    digest: str
    challenger: str
    champion: str
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grounds:
    """Why a model may serve: digest of the verdict, and the reason where it was forced."""

    verdict: str | None = None
    reason: str = ""


def read_verdict(raw: bytes) -> Verdict:
    """The verdict in the bytes of its file. Raises ``QuotelifeError`` on anything else."""
    try:
        if len(raw) > VERDICT_BYTES_MAX:
            raise ValueError(f"more than {VERDICT_BYTES_MAX} bytes")
        value = json.loads(raw)
        if value["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        gates = [(str(gate["name"]), gate["passed"] is True) for gate in value["gates"]]
        if not gates:
            raise ValueError("it names no gate")
        challenger, champion = value["challenger"], value["champion"]
        if not is_digest(challenger) or not is_digest(champion):
            raise ValueError("it names no two models")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise QuotelifeError(f"the verdict is not readable ({error}); {VERDICT_MEND}") from None
    refused = tuple(name for name, passed in gates if not passed)
    return Verdict(hashlib.sha256(raw).hexdigest(), challenger, champion, refused)


def grounds_for(
    challenger: str, champions: Mapping[PostureCode, str], verdict: bytes = b"", reason: str = ""
) -> Grounds:
    """Why ``challenger`` may take the place of ``champions``, those that serve now.

    ``verdict``: its file, empty for none. ``reason``: why it may go without a verdict that passes, empty for no such
    wish. Raises ``QuotelifeError`` where it may not, naming the mend.
    """
    if len(reason) > REASON_CHARACTERS_MAX or not reason.isprintable():
        raise QuotelifeError(f"reason: must be at most {REASON_CHARACTERS_MAX} printable characters")
    reason = reason.strip()
    if not verdict:
        if not reason:
            raise QuotelifeError(
                f"{challenger[:16]}: a promotion needs the verdict of the gates on it (quotelife promote-check "
                "CHALLENGER --champion CHAMPION --out FILE), or a reason to go without (--force REASON)"
            )
        return Grounds(reason=reason)
    said = read_verdict(verdict)
    if said.challenger != challenger:
        raise QuotelifeError(
            f"the verdict is on {said.challenger[:16]}, not on {challenger[:16]}; {VERDICT_MEND}"
        )
    if reason:
        return Grounds(said.digest, reason)
    if said.refused:
        raise QuotelifeError(
            f"the gates refuse {challenger[:16]}: {', '.join(said.refused)}; mend the model, or force it with a reason"
        )
    for posture, champion in champions.items():
        if champion not in (said.champion, challenger):
            raise QuotelifeError(
                f"the verdict is against {said.champion[:16]}, but {champion[:16]} serves {posture.name.lower()}; ask "
                "the gates again with that champion, or promote only the postures that the other one serves"
            )
    return Grounds(said.digest)
