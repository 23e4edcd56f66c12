"""On what grounds a model becomes champion: the verdict of the promotion gates, or a reason to go without.

A verdict is a file that ``quotelife promote-check --out`` writes; its digest is the SHA-256 of the file. It is a record
and no proof, since whoever may promote could also write one: what it gives is that nobody promotes by oversight, and
that registry and journal say by which figures it was done.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import get_args

from quotelife.config import Config
from quotelife.config.schema import Learning, PromotionMarket, Recalibration
from quotelife.errors import QuotelifeError
from quotelife.model.lineup import is_digest
from quotelife.records import PostureCode
from quotelife.units import NS_PER_S

FORMAT = "quotelife-verdict-4"
VERDICT_BYTES_MAX = 1 << 20
REASON_CHARACTERS_MAX = 1000
CANARY_BP_MAX = 2000
"""Share of the counterparties, in basis points, that a challenger answers without grounds: a trial."""
CLOCKS_APART_NS = 300 * NS_PER_S
"""So far the clock of whoever asked the gates may be ahead: a verdict of the future would never be too old."""
VERDICT_MEND = "ask quotelife promote-check again with --out"
REQUIRED = frozenset({
    "beats_champion_log_loss", "beats_champion_brier", "not_worse_500 ms", "not_worse_2 s", "no_market_worse",
    "ece_500 ms", "ece_2 s", "latency_yardstick", "latency_champion", "schema", "self_test", "probes", "no_nan",
    "monotone_horizon", "monotone_threshold", "mirror",
})  # fmt: skip
"""The gates that a verdict must have asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gates said of ``challenger`` against ``champion``.

    ``refused``: names of the gates that said no; ``lacking``: of those that were not asked; ``market``: by whose
    bounds; ``loosened``: those that were wider than usual there, in words; ``instruments``: on which enough was judged,
    between ``from_ns`` and ``to_ns``; ``recalibration``: ``learning.recalibration`` under which the curves were judged,
    as JSON; ``postures``: names of those that it was asked for; ``at_ns``: when.
    """

    digest: str
    challenger: str
    champion: str
    refused: tuple[str, ...]
    lacking: tuple[str, ...]
    market: str
    loosened: tuple[str, ...]
    instruments: frozenset[str]
    from_ns: int
    to_ns: int
    recalibration: Mapping[str, object]
    postures: frozenset[str]
    at_ns: int


@dataclass(frozen=True, slots=True)
class Grounds:
    """Why a model may serve: digest of the verdict, the reason where it was forced, the times of the first and the last
    decision that the verdict is on (0: there is no verdict), and the market by whose bounds it was given."""

    verdict: str | None = None
    reason: str = ""
    from_ns: int = 0
    to_ns: int = 0
    market: str = ""


@dataclass(frozen=True, slots=True)
class Quotes:
    """What of a configuration a verdict is held against: names of the instruments quoted, and ``learning``."""

    instruments: tuple[str, ...] = ()
    learning: Learning = field(default_factory=Learning)

    @classmethod
    def of(cls, config: Config) -> "Quotes":
        return cls(tuple(each.name for each in config.instruments if each.enabled), config.learning)


def _alike(said: Mapping[str, object], served: Recalibration) -> bool:
    """The same, or both off?"""
    if not said.get("enabled") and not served.enabled:
        return True
    return said == served.model_dump(mode="json")


def _told(settings: Mapping[str, object] | Recalibration) -> str:
    found = settings.model_dump(mode="json") if isinstance(settings, Recalibration) else settings
    if not found.get("enabled"):
        return "no recalibration"
    return "recalibration " + ", ".join(f"{key} {value}" for key, value in found.items() if key != "enabled")


def _days(ns: int) -> str:
    return f"{ns / (86_400 * NS_PER_S):.3g} days"


def _apart(ns: int) -> str:
    return _days(ns) if ns >= 86_400 * NS_PER_S else f"{ns // (60 * NS_PER_S)} minutes"


def _instant(value: object) -> int:
    """ns since 1970, as registry, journal and wire hold them."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("one of its times is none between 1970 and 2262")
    return value


def _check_text(value: object) -> None:
    """What it says is told on terminals and over the wire."""
    if isinstance(value, str):
        if not value.isprintable():
            raise ValueError("it holds text that does not print")
    elif isinstance(value, list | dict):
        for each in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_text(each)


def read_verdict(raw: bytes) -> Verdict:
    """The verdict in the bytes of its file. Raises ``QuotelifeError`` on anything else."""
    try:
        if len(raw) > VERDICT_BYTES_MAX:
            raise ValueError(f"more than {VERDICT_BYTES_MAX} bytes")
        value = json.loads(raw)
        _check_text(value)
        if value["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        gates = [(str(gate["name"]), gate["passed"] is True) for gate in value["gates"]]
        if not gates:
            raise ValueError("it names no gate")
        challenger, champion = value["challenger"], value["champion"]
        if not is_digest(challenger) or not is_digest(champion):
            raise ValueError("it names no two models")
        market = value.get("market")
        if market not in get_args(PromotionMarket):
            raise ValueError(f"its market is none of {', '.join(get_args(PromotionMarket))}")
        loosened = tuple(str(each) for each in value["loosened"])
        spans = [
            (
                str(each["instrument"]),
                each["asked"] is True,
                _instant(each["from_ns"]),
                _instant(each["to_ns"]),
            )
            for each in value["instruments"]
        ]
        if not spans:
            raise ValueError("it names no instrument")
        for name, _, start, end in spans:
            if start > end:
                raise ValueError(f"what it says of {name} ends before it begins")
        recalibration = dict(value["recalibration"])
        postures = frozenset(PostureCode[str(each).upper()].name.lower() for each in value["postures"])
        at = datetime.fromisoformat(value["at"])
        at_ns = _instant(round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * NS_PER_S)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise QuotelifeError(f"the verdict is not readable ({error}); {VERDICT_MEND}") from None
    return Verdict(
        hashlib.sha256(raw).hexdigest(),
        challenger,
        champion,
        refused=tuple(name for name, passed in gates if not passed),
        lacking=tuple(sorted(REQUIRED - {name for name, _ in gates})),
        market=market,
        loosened=loosened,
        instruments=frozenset(name for name, asked, _, _ in spans if asked),
        from_ns=min(start for _, _, start, _ in spans),
        to_ns=max(end for _, _, _, end in spans),
        recalibration=recalibration,
        postures=postures,
        at_ns=at_ns,
    )


def grounds_for(
    challenger: str,
    champions: Mapping[PostureCode, str],
    quotes: Quotes,
    verdict: bytes = b"",
    reason: str = "",
    *,
    now_ns: int,
    what: str = "a promotion",
) -> Grounds:
    """Why ``challenger`` may at ``now_ns`` take the place of ``champions``, for a service that ``quotes``.

    ``champions``: those that serve now the postures that are to change. ``verdict``: its file, empty for none.
    ``reason``: why it may go without a verdict that passes, empty for no such wish. Raises ``QuotelifeError`` where it
    may not, naming the mend.
    """
    if len(reason) > REASON_CHARACTERS_MAX or not reason.isprintable():
        raise QuotelifeError(f"reason: must be at most {REASON_CHARACTERS_MAX} printable characters")
    reason = reason.strip()
    if not verdict:
        if not reason:
            raise QuotelifeError(
                f"{challenger[:16]}: {what} needs the verdict of the gates on it (quotelife promote-check "
                "CHALLENGER --champion CHAMPION --out FILE), or a reason to go without (--force REASON)"
            )
        return Grounds(reason=reason)
    said = read_verdict(verdict)
    if said.challenger != challenger:
        raise QuotelifeError(
            f"the verdict is on {said.challenger[:16]}, not on {challenger[:16]}; {VERDICT_MEND}"
        )
    grounds = Grounds(said.digest, reason, said.from_ns, said.to_ns, said.market)
    if reason:
        return grounds
    if said.refused:
        raise QuotelifeError(
            f"the gates refuse {challenger[:16]}: {', '.join(said.refused)}; mend the model, or force it with a reason"
        )
    if said.lacking:
        raise QuotelifeError(
            f"the verdict lacks gates: {', '.join(said.lacking)}; {VERDICT_MEND}, or force it with a reason"
        )
    if said.loosened:
        raise QuotelifeError(
            f"the verdict was given by loosened bounds: {'; '.join(said.loosened)}; ask again without, or say why they "
            "are right (--force REASON)"
        )
    if said.market != (market := quotes.learning.promotion.market):
        raise QuotelifeError(
            f"the verdict was given by the bounds of {said.market}, but learning.promotion.market is {market}; ask "
            "promote-check again with --config, the service's own, or say why those bounds are right (--force REASON)"
        )
    if said.at_ns > now_ns + CLOCKS_APART_NS:
        at = datetime.fromtimestamp(said.at_ns / NS_PER_S, UTC)
        raise QuotelifeError(
            f"the verdict is of {at:%Y-%m-%d %H:%M} UTC, {_apart(said.at_ns - now_ns)} from now: set the clock that is "
            f"wrong and {VERDICT_MEND}, or say why it holds (--force REASON)"
        )
    most_ns = quotes.learning.promotion.verdict_age_max_ns
    if (age_ns := now_ns - said.at_ns) > most_ns:
        at = datetime.fromtimestamp(said.at_ns / NS_PER_S, UTC)
        raise QuotelifeError(
            f"the verdict is of {at:%Y-%m-%d %H:%M} UTC, {_days(age_ns)} ago, and learning.promotion.verdict_age_max "
            f"is {_days(most_ns)}; {VERDICT_MEND}, or say why it still holds (--force REASON)"
        )
    recalibration = quotes.learning.recalibration
    if not _alike(said.recalibration, recalibration):
        raise QuotelifeError(
            f"the verdict judged curves under {_told(said.recalibration)}, but the service serves them under "
            f"{_told(recalibration)}; ask promote-check again with --config, the service's own, or "
            "say why that is right (--force REASON)"
        )
    if unjudged := sorted(set(quotes.instruments) - said.instruments):
        raise QuotelifeError(
            f"quoted, but not judged by the verdict, or on too few blocks: {', '.join(unjudged)}; name datasets of "
            "them to promote-check as well, set enabled to false where they are only watched, or say why the model may "
            "serve them (--force REASON)"
        )
    changing = [posture.name.lower() for posture, champion in champions.items() if champion != challenger]
    if unasked := [name for name in changing if name not in said.postures]:
        raise QuotelifeError(
            f"the verdict was asked for {', '.join(sorted(said.postures)) or 'no posture'}, not for "
            f"{', '.join(unasked)}; ask promote-check again with --posture, or promote only those (--posture)"
        )
    for posture, champion in champions.items():
        if champion not in (said.champion, challenger):
            raise QuotelifeError(
                f"the verdict is against {said.champion[:16]}, but {champion[:16]} serves {posture.name.lower()}; ask "
                "the gates again with that champion, or promote only the postures that the other one serves"
            )
    return grounds


def canary_grounds(
    challenger: str,
    share_bp: int,
    champions: Mapping[PostureCode, str],
    quotes: Quotes,
    verdict: bytes = b"",
    reason: str = "",
    *,
    now_ns: int,
) -> Grounds:
    """Why ``challenger`` may answer ``share_bp`` ten-thousandths of the counterparties: up to ``CANARY_BP_MAX`` as a
    trial, which needs no grounds, above that as in ``grounds_for``."""
    if share_bp <= CANARY_BP_MAX and not verdict and not reason:
        return Grounds()
    what = f"a canary of more than {CANARY_BP_MAX / 100:g} %"
    return grounds_for(challenger, champions, quotes, verdict, reason, now_ns=now_ns, what=what)
