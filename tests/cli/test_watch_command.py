"""``quotelife watch`` and ``get --watch`` as JSON: one object a line, with the keys of its kind."""

import asyncio
import json
from pathlib import Path

import pytest

from quotelife_client import WatchEvent, WatchEventKind, WatchRefusal, WithdrawReason
from quotelife_server.cli import watch
from reference.cli_kit import Run
from reference.service_kit import running, write_config


def test_what_is_zero_or_false_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    event = WatchEvent(
        WatchEventKind.WITHDRAW, "q1", at_utc_ns=5, reason=WithdrawReason.VALUE, moved_ticks=0.0, sequence=0
    )
    watch._say(event, 0.0, True)
    assert json.loads(capsys.readouterr().out) == {
        "kind": "WITHDRAW",
        "quote_id": "q1",
        "at_utc_ns": 5,
        "reason": "VALUE",
        "expiry_utc_ns": 0,
        "instrument": "",
        "moved_ticks": 0.0,
        "held_back": False,
        "sequence": 0,
    }
    watch._say(WatchEvent(WatchEventKind.WITHDRAW, "q1"), 0.0, True)
    assert json.loads(capsys.readouterr().out)["moved_ticks"] is None, "not known is not 0"
    refusal = WatchEvent(WatchEventKind.REFUSED, "q1", refusal=WatchRefusal.ENDED, message="its life is over")
    watch._say(refusal, 0.0, True)
    assert json.loads(capsys.readouterr().out) == {
        "kind": "REFUSED",
        "quote_id": "q1",
        "refusal": "ENDED",
        "message": "its life is over",
        "violations": [],
    }


def test_every_kind_that_is_printed_has_its_keys() -> None:
    assert {*watch._FIELDS} == {kind.name for kind in WatchEventKind} - {"OPENED"}


async def test_an_answer_and_what_follows_are_one_object_a_line(run: Run, tmp_path: Path) -> None:
    async with running(write_config(tmp_path)) as app:
        arguments = ["get", "BTC-USDT", "BUY", "--watch", "--json", "--target", app.addresses[0]]
        ended = await asyncio.to_thread(run, *arguments, "--timeout", "5")
    assert ended.code == 0, ended.err
    answer, *events = [json.loads(line) for line in ended.out.splitlines()]
    assert answer["decision"] == "QUOTE" and answer["watched"] is True
    kinds = [event["kind"] for event in events]
    assert {*kinds} & {"WITHDRAW", "EXPIRED"}
    assert len({event["quote_id"] for event in events}) == 1
