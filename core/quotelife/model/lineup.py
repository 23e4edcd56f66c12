"""Which models serve: a champion, perhaps a challenger and any shadows for each posture, all named by digest.

A challenger answers in the champion's place for a share of the configured counterparties (a canary). Which ones is a
matter of ``canary_place`` alone: the same for every process, build and restart, and a larger share only adds to them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from quotelife.errors import QuotelifeError
from quotelife.records import PostureCode

SHADOWS_MAX = 4
"""Shadows of one posture: each is one more curve for every decision."""
BASIS_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Serving:
    """The models of one posture. ``champion`` ``None``: the one that the configuration names.

    ``canary_bp``: share of counterparties that the challenger answers, in basis points; 0 where there is none.
    """

    champion: str | None = None
    challenger: str | None = None
    canary_bp: int = 0
    shadows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.challenger is None) != (self.canary_bp == 0) or not 0 <= self.canary_bp <= BASIS_POINTS:
            raise QuotelifeError(f"canary_bp: 1 to {BASIS_POINTS} with a challenger, 0 without one")
        if self.challenger is not None and self.challenger == self.champion:
            raise QuotelifeError("challenger: is the champion already")
        if len(self.shadows) > SHADOWS_MAX:
            raise QuotelifeError(f"shadows: a posture takes {SHADOWS_MAX}; unload one first")
        if len(set(self.shadows)) != len(self.shadows):
            raise QuotelifeError("shadows: names a model twice")

    def digests(self) -> Iterator[str]:
        """Every model named, the champion first; some may come twice."""
        yield from (each for each in (self.champion, self.challenger) if each is not None)
        yield from self.shadows


@dataclass(frozen=True, slots=True)
class LineUp:
    """What serves each posture."""

    client_priority: Serving = field(default_factory=Serving)
    liquidity_provider: Serving = field(default_factory=Serving)
    risk_averse: Serving = field(default_factory=Serving)

    def of(self, posture: PostureCode) -> Serving:
        serving: Serving = getattr(self, posture.name.lower())
        return serving

    def items(self) -> Iterator[tuple[PostureCode, Serving]]:
        yield from ((posture, self.of(posture)) for posture in POSTURES)

    def put(self, posture: PostureCode, serving: Serving) -> "LineUp":
        """The same with another ``serving`` for one posture."""
        return replace(self, **{posture.name.lower(): serving})

    def digests(self) -> set[str]:
        """Every model named."""
        return {digest for _, serving in self.items() for digest in serving.digests()}

    def to_json(self) -> dict[str, Any]:
        return {
            posture.name.lower(): {
                "champion": serving.champion,
                "challenger": serving.challenger,
                "canary_bp": serving.canary_bp,
                "shadows": list(serving.shadows),
            }
            for posture, serving in self.items()
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> "LineUp":
        """What ``to_json`` gave; ``None``, as in records older than line-ups: the configuration's model alone."""
        if value is None:
            return cls()
        try:
            return cls(
                **{
                    name: Serving(
                        _digest(each["champion"]),
                        _digest(each["challenger"]),
                        int(each["canary_bp"]),
                        tuple(str(_digest(shadow)) for shadow in each["shadows"]),
                    )
                    for name, each in value.items()
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise QuotelifeError(f"a line-up of models is not readable: {error!r}") from None


POSTURES = (PostureCode.CLIENT_PRIORITY, PostureCode.LIQUIDITY_PROVIDER, PostureCode.RISK_AVERSE)


def is_digest(text: object) -> bool:
    """A SHA-256 in small hexadecimal digits?"""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


def _digest(value: object) -> str | None:
    if value is not None and not is_digest(value):
        raise ValueError(f"{value!r} is no digest")
    return value if isinstance(value, str) else None


def canary_place(digest: str, counterparty: str) -> int:
    """Place of a counterparty, 0 to 9,999, in the canary of the challenger ``digest``: it is served by it where the
    place is below the share in basis points.

    The first 8 bytes, big-endian, of SHA-256 over digest, a zero byte and name in UTF-8, modulo 10,000.
    """
    raw = hashlib.sha256(f"{digest}\0{counterparty}".encode()).digest()
    return int.from_bytes(raw[:8], "big") % BASIS_POINTS
