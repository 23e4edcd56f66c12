"""Kills, enables and throttles among the inputs: every decision comes out again, both ways, and over a restart."""

import json
from pathlib import Path

import pytest

from quotelife.decision.kill import KillSource
from quotelife.records import RuleCode
from quotelife.replay.follow import read_config
from quotelife.replay.verify import verify
from reference.market_kit import CONFIG, START_NS, market
from reference.session_kit import Session


class StopAndGo(Session):
    """Somebody is killed now and then, and enabled soon after."""

    tripped = False

    def tick(self, now_ns: int) -> None:
        super().tick(now_ns)
        chance, kills = self.rng.random(), self.engine.kills()
        self.tripped |= any(kill.source is KillSource.THROTTLE for kill in kills)
        if chance < 0.03:
            self.engine.kill(now_ns, reason="everybody")
        elif chance < 0.1:
            name = self.rng.choice(self.engine.policy.counterparty_names)
            self.engine.kill(now_ns, counterparty=name, reason="one", source=KillSource.FILE)
        elif chance < 0.4 and kills:
            self.engine.enable(now_ns, counterparty=self.rng.choice(kills).counterparty, reason="go on")


@pytest.mark.parametrize("release", ["manual", "automatic"])
def test_kills_and_throttles_are_verified_from_record_and_from_market(tmp_path: Path, release: str) -> None:
    fields = json.loads(CONFIG.model_dump_json(by_alias=True))
    fields["throttle"] = {"decisions_max": 12, "window": "500ms", "release": release, "pause": "300ms"}
    config = read_config({"config": fields, "digest": ""})
    run = StopAndGo(tmp_path / "journal", tmp_path / "capture", config, start_ns=START_NS)
    run.work(market(60), 1000, 0.25)
    assert RuleCode.KILL_SWITCH in run.figures.rules and len(run.figures.rules) > 3
    assert run.engine.throttle_trips > 1 and run.tripped == (release == "manual")
    run.engine.kill(run.engine.now_ns, counterparty="gone", reason="kept over the restart")
    before = run.engine.kills()
    run.close()
    again = Session(
        tmp_path / "journal", tmp_path / "capture", config, start_ns=run.engine.now_ns, boot_id="boot2"
    )
    assert again.engine.kills() == before
    for kill in before:
        again.engine.enable(again.engine.now_ns, counterparty=kill.counterparty)
    again.close()
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.mismatches == []
        assert (report.boots, report.decisions, report.equal, report.complete) == (2, 1000, 1000, True)
