"""What a model is promoted by: a verdict on it and on what it replaces, or a reason."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from quotelife.config.schema import Learning, Recalibration
from quotelife.errors import QuotelifeError
from quotelife.model import promotion
from quotelife.model.promotion import Grounds, Quotes, read_verdict
from quotelife.records import PostureCode
from quotelife.units import NS_PER_S
from reference import verdict_kit

NEW, OLD, OTHER = (letter * 64 for letter in "abc")
CP, RA = PostureCode.CLIENT_PRIORITY, PostureCode.RISK_AVERSE
SERVES = {CP: OLD, RA: OLD}
GIVEN = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)
HOUR = 3600 * NS_PER_S
NOW = round(GIVEN.timestamp()) * NS_PER_S + HOUR
grounds_for = partial(promotion.grounds_for, now_ns=NOW)
canary_grounds = partial(promotion.canary_grounds, now_ns=NOW)


def written(**changed: Any) -> bytes:
    return verdict_kit.written(NEW, OLD, **{"at": GIVEN.isoformat(), **changed})


REFUSED = written(refused=("ece_2 s",))


def quoted(*instruments: str, **learning: Any) -> Quotes:
    return Quotes(instruments or verdict_kit.INSTRUMENTS, Learning.model_validate(learning))


QUOTED = quoted()
JUDGED = (verdict_kit.FROM_NS, verdict_kit.TO_NS, "full_day")


def test_the_digest_is_that_of_the_file() -> None:
    raw = written()
    assert grounds_for(NEW, SERVES, QUOTED, raw) == Grounds(hashlib.sha256(raw).hexdigest(), "", *JUDGED)


def test_a_reason_goes_without_a_verdict_or_over_one_that_refuses() -> None:
    assert grounds_for(NEW, SERVES, QUOTED, reason=" a trial ") == Grounds(None, "a trial")
    assert grounds_for(NEW, SERVES, QUOTED, REFUSED, "a trial") == Grounds(
        hashlib.sha256(REFUSED).hexdigest(), "a trial", *JUDGED
    )


def test_a_posture_that_the_challenger_serves_already_needs_no_verdict_of_its_own() -> None:
    assert grounds_for(NEW, {CP: NEW, RA: OLD}, QUOTED, written()).verdict


@pytest.mark.parametrize(
    ("verdict", "reason", "serves", "words"),
    [
        (b"", "", SERVES, "needs the verdict of the gates on it"),
        (b"", "   ", SERVES, "needs the verdict of the gates on it"),
        (REFUSED, "", SERVES, "the gates refuse aaaaaaaaaaaaaaaa: ece_2 s;"),
        (written(challenger=OTHER), "", SERVES, "is on cccccccccccccccc, not on aaaaaaaaaaaaaaaa"),
        (written(challenger=OTHER), "a trial", SERVES, "is on cccccccccccccccc"),
        (written(), "", {CP: OLD, RA: OTHER}, "cccccccccccccccc serves risk_averse"),
        (
            written(gates=[{"name": "mirror", "passed": True}]),
            "",
            SERVES,
            "lacks gates: beats_champion_brier, beats",
        ),
        (
            written(loosened=["ece_2 s at most 1 instead of 0.01"]),
            "",
            SERVES,
            "loosened bounds: ece_2 s at most 1 ins",
        ),
        (
            written(unasked=("ETH-USDT",)),
            "",
            SERVES,
            "quoted, but not judged by the verdict, or on .*: ETH-USDT;",
        ),
        (b"", "x" * 1001, SERVES, "at most 1000 printable"),
        (b"", "a\nb", SERVES, "printable"),
    ],
)
def test_what_is_no_ground_says_why(
    verdict: bytes, reason: str, serves: dict[PostureCode, str], words: str
) -> None:
    with pytest.raises(QuotelifeError, match=words):
        grounds_for(NEW, serves, QUOTED, verdict, reason)


@pytest.mark.parametrize(
    "raw",
    [
        b"yes",
        b"[]",
        b"{}",
        b'"' + b"x" * (1 << 20) + b'"',
        written(format="quotelife-verdict-3"),
        written(market=None),
        written(market="moon"),
        written(market=["full_day"]),
        written(postures=["bold"]),
        written(postures=None),
        written(at=None),
        written(at="yesterday"),
        written(loosened=None),
        written(instruments=[]),
        written(champion="first_passage"),
        written(gates=[]),
        written(gates=[{"name": "beats"}]),
        b"[" * 100_000,
    ],
)
def test_what_is_no_verdict_is_refused(raw: bytes) -> None:
    with pytest.raises(QuotelifeError, match="the verdict is not readable"):
        read_verdict(raw)


def test_a_gate_that_says_anything_but_true_refuses() -> None:
    assert read_verdict(written(gates=[{"name": "beats", "passed": "true"}])).refused == ("beats",)


@pytest.mark.parametrize("changed", [{"loosened": ["wide"]}, {"gates": [{"name": "mirror", "passed": True}]}])
def test_a_reason_goes_over_loosened_bounds_and_gates_not_asked(changed: dict[str, Any]) -> None:
    assert grounds_for(NEW, SERVES, QUOTED, written(**changed), "a trial").reason == "a trial"


def test_an_instrument_that_the_verdict_never_saw_needs_a_reason() -> None:
    raw = written()
    more = replace(QUOTED, instruments=("GBP",))
    with pytest.raises(QuotelifeError, match=r"quoted, but not judged .*: GBP;"):
        grounds_for(NEW, SERVES, more, raw)
    assert grounds_for(NEW, SERVES, more, raw, "a trial").verdict


def test_a_yes_that_is_too_old_needs_a_reason_and_one_without_a_zone_is_of_utc() -> None:
    quotes = quoted(promotion={"verdict_age_max": "2h"})
    for raw in (written(), written(at="2026-03-02T18:00"), written(at="2026-03-02T19:00+01:00")):
        assert grounds_for(NEW, SERVES, quotes, raw, now_ns=NOW + HOUR).verdict
        with pytest.raises(
            QuotelifeError,
            match=r"is of 2026-03-02 18:00 UTC, 0.0833 days ago, and .*verdict_age_max is 0.0833 days; ask",
        ):
            grounds_for(NEW, SERVES, quotes, raw, now_ns=NOW + HOUR + 1)
        assert grounds_for(NEW, SERVES, quotes, raw, "it holds", now_ns=NOW + 999 * HOUR).verdict
    with pytest.raises(QuotelifeError, match=r"8 days ago, and .* is 7 days"):
        grounds_for(NEW, SERVES, QUOTED, written(), now_ns=NOW + 191 * HOUR)


def test_a_yes_of_the_future_needs_a_reason() -> None:
    """It would never be too old. Five minutes are left to clocks that do not agree."""
    for seconds, at in ((300, "2026-03-02T19:05:00Z"), (-300, "2026-03-02T18:55:00Z")):
        assert grounds_for(NEW, SERVES, QUOTED, written(at=at)).verdict, seconds
    late = written(at="2026-03-04T19:00:00Z")
    with pytest.raises(QuotelifeError, match=r"is of 2026-03-04 19:00 UTC, 2 days from now: set the clock"):
        grounds_for(NEW, SERVES, QUOTED, late)
    assert grounds_for(NEW, SERVES, QUOTED, late, "the clock was wrong").verdict


def test_any_bit_turned_is_refused_in_words_or_leaves_grounds_that_can_be_kept() -> None:
    """Held back by no digest, so every field stands for itself: times that the wire holds, text that prints."""
    value = json.loads(written())
    value["instruments"] = value["instruments"][
        :1
    ]  # of several the others' times hide what is wrong with one
    quotes = quoted(value["instruments"][0]["instrument"])
    raw, kept, refused = json.dumps(value).encode(), 0, 0
    for place in range(8 * len(raw)):
        turned = bytearray(raw)
        turned[place // 8] ^= 1 << place % 8
        try:
            grounds = grounds_for(NEW, SERVES, quotes, bytes(turned))
        except QuotelifeError as error:
            assert str(error).isprintable(), place
            refused += 1
            continue
        assert 0 <= grounds.from_ns <= grounds.to_ns < 1 << 63, place
        kept += 1
    assert refused > 10 * kept > 0


def test_a_span_that_ends_before_it_begins_is_no_verdict() -> None:
    spoilt = json.loads(written())
    spoilt["instruments"][1]["to_ns"] = spoilt["instruments"][1]["from_ns"] - 1
    with pytest.raises(QuotelifeError, match="ends before it begins"):
        read_verdict(json.dumps(spoilt).encode())


def test_a_clock_some_minutes_ahead_is_told_in_minutes() -> None:
    at = (GIVEN + timedelta(minutes=370)).isoformat()
    with pytest.raises(QuotelifeError, match=r"\d+ minutes from now: set the clock"):
        grounds_for(NEW, SERVES, QUOTED, written(at=at), now_ns=int(GIVEN.timestamp()) * 10**9)


@pytest.mark.parametrize("value", [-1, 1 << 63, 10**400, "5", True, None, 1.5])
def test_a_time_that_the_wire_cannot_hold_is_no_verdict(value: object) -> None:
    """It was promoted by, written into the registry, and ended every listing since."""
    for key in ("from_ns", "to_ns"):
        spoilt = json.loads(written())
        spoilt["instruments"][0][key] = value
        with pytest.raises(QuotelifeError, match=r"not readable \(one of its times is none between 1970 and"):
            read_verdict(json.dumps(spoilt).encode())


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59", "1969-12-31"])
def test_a_verdict_of_a_time_that_cannot_be_told_is_no_verdict(at: str) -> None:
    with pytest.raises(QuotelifeError, match=r"not readable \(one of its times is none between 1970 and"):
        read_verdict(written(at=at))


@pytest.mark.parametrize("text", ["\x1b[31m", "\ud800", "a\nb"])
def test_text_that_does_not_print_is_no_verdict(text: str) -> None:
    for changed in (
        {"loosened": [text]},
        {"recalibration": {"enabled": True, text: 1}},
        {"more": {"a": [text]}},
    ):
        with pytest.raises(QuotelifeError, match=r"not readable \(it holds text that does not print\)"):
            read_verdict(written(**changed))


def test_a_yes_by_the_bounds_of_another_market_than_the_services_is_refused_and_says_which() -> None:
    quotes = {name: quoted(promotion={"market": name}) for name in ("full_day", "crypto")}
    for market, other in (("crypto", "full_day"), ("full_day", "crypto")):
        with pytest.raises(
            QuotelifeError,
            match=f"by the bounds of {market}, but learning.promotion.market is {other}; ask promote-check again",
        ):
            grounds_for(NEW, SERVES, quotes[other], written(market=market))
        assert grounds_for(NEW, SERVES, quotes[market], written(market=market)).market == market


def test_a_service_whose_configuration_names_no_market_takes_no_yes_by_the_wider_bounds() -> None:
    with pytest.raises(QuotelifeError, match=r"by the bounds of crypto, but .* is full_day"):
        grounds_for(NEW, SERVES, QUOTED, written(market="crypto"))


def test_a_reason_goes_over_the_bounds_of_another_market_and_the_grounds_name_it() -> None:
    found = grounds_for(NEW, SERVES, QUOTED, written(market="crypto"), "minutes are all there is")
    assert (found.market, found.reason) == ("crypto", "minutes are all there is")


def test_a_large_canary_asks_for_the_services_market_too() -> None:
    with pytest.raises(QuotelifeError, match=r"learning.promotion.market is full_day"):
        canary_grounds(NEW, 2001, SERVES, QUOTED, written(market="crypto"))


def test_a_verdict_of_the_format_before_says_what_to_do() -> None:
    with pytest.raises(
        QuotelifeError, match=r"format is not quotelife-verdict-4.*ask quotelife promote-check again"
    ):
        read_verdict(written(format="quotelife-verdict-3"))


def test_a_verdict_that_names_no_market_is_refused() -> None:
    value = json.loads(written())
    del value["market"]
    with pytest.raises(QuotelifeError, match="its market is none of full_day, crypto"):
        read_verdict(json.dumps(value).encode())


def test_a_verdict_is_for_the_postures_that_it_was_asked_for() -> None:
    raw = written(postures=["client_priority"])
    assert grounds_for(NEW, {CP: OLD}, QUOTED, raw).verdict
    assert grounds_for(NEW, {CP: OLD, RA: NEW}, QUOTED, raw).verdict, "it serves the other one already"
    with pytest.raises(
        QuotelifeError, match="asked for client_priority, not for risk_averse; ask promote-check"
    ):
        grounds_for(NEW, SERVES, QUOTED, raw)
    assert grounds_for(NEW, SERVES, QUOTED, raw, "a trial").verdict


def test_a_canary_of_a_fifth_is_a_trial_and_one_of_more_needs_grounds() -> None:
    assert canary_grounds(NEW, 2000, SERVES, QUOTED) == Grounds()
    with pytest.raises(QuotelifeError, match="a canary of more than 20 % needs the verdict"):
        canary_grounds(NEW, 2001, SERVES, QUOTED)
    with pytest.raises(QuotelifeError, match="the gates refuse"):
        canary_grounds(NEW, 10_000, SERVES, QUOTED, REFUSED)
    assert canary_grounds(NEW, 10_000, SERVES, QUOTED, written()).verdict
    assert canary_grounds(NEW, 10_000, SERVES, QUOTED, reason="a trial") == Grounds(reason="a trial")


def test_a_share_of_postures_that_have_no_challenger_to_end_needs_no_grounds() -> None:
    assert canary_grounds(NEW, 0, SERVES, QUOTED) == Grounds()


def judged_under(**settings: Any) -> bytes:
    return written(recalibration=Recalibration.model_validate(settings).model_dump(mode="json"))


def test_curves_are_promoted_only_as_they_were_judged() -> None:
    on, off = (quoted(recalibration={"enabled": each}) for each in (True, False))
    for raw, quotes in (
        (judged_under(enabled=False), on),
        (judged_under(enabled=True), off),
        (judged_under(enabled=True, window="100s"), on),
    ):
        with pytest.raises(QuotelifeError, match="ask promote-check again with --config"):
            grounds_for(NEW, SERVES, quotes, raw)
        assert grounds_for(NEW, SERVES, quotes, raw, "a trial").verdict
    assert grounds_for(NEW, SERVES, on, judged_under(enabled=True)).verdict
    assert grounds_for(NEW, SERVES, off, judged_under(enabled=False, window="100s")).verdict
