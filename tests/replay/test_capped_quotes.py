"""Caps on exposure in journal and replay: what was left of them follows from the inputs, for packages too."""

import json
from pathlib import Path

from quotelife.config import Config
from quotelife.records import (
    NO_INDEX_VALUE,
    BindingFlags,
    DecisionCode,
    DecisionRecord,
    ReasonFlags,
    RequestRecord,
)
from quotelife.replay.verify import verify
from reference.market_kit import START_NS, market
from replay.test_watched_quotes import WatchedSession, watched_config

DECISIONS = 1000


def capped_config() -> Config:
    content = watched_config().model_dump(mode="json", by_alias=True)
    for instrument in content["instruments"]:
        instrument["exposure_max"] = 0.005
    for desk in content["desks"].values():
        desk["exposure_max"] = 0.0015
    for posture in content["postures"].values():
        posture["life_min"] = "1ms"
    return Config.model_validate_json(json.dumps(content))


class CappedSession(WatchedSession):
    """As a watched session, with packages by their legs between."""

    shortened = declined = packages = two_ways = rooms = 0

    def decide(self, now_ns: int) -> None:
        rng, engine = self.rng, self.engine
        if rng.random() > 0.4 or self.figures.decisions > DECISIONS - 3:
            super().decide(now_ns)
            return
        desk = rng.randrange(len(engine.policy.desk_names))
        if rng.random() < 0.5:
            legs = [
                RequestRecord(k, rng.choice((1, -1)), now_ns=now_ns, ratio=1.0 + k, counterparty=0, desk=desk,
                              size_lots=rng.choice([None, rng.choice([2.0, 20.0]) * (1 + k)]))
                for k in range(2)
            ]  # fmt: skip
            decisions = [DecisionRecord() for _ in range(3)]
            requests = list(engine.decide_package(legs, decisions))
            self.packages += decisions[-1].kind == DecisionCode.QUOTE
        else:
            size, both = rng.choice([2.0, 20.0]), rng.random() < 0.5
            requests = [RequestRecord(0, side, now_ns=now_ns, counterparty=0, desk=desk, size_lots=size,
                                      session=NO_INDEX_VALUE, two_way=both, second_side=side < 0)
                        for side in ((1, -1) if both else (1,))]  # fmt: skip
            decisions = [DecisionRecord() for _ in requests]
            for request, decision in zip(requests, decisions, strict=True):
                engine.decide(request, decision)
            self.two_ways += both and decisions[0].kind == decisions[1].kind == DecisionCode.QUOTE
        self.figures.decisions += len(decisions)
        whole = decisions[-1]
        self.rooms += whole.exposure_room == whole.exposure_room
        if whole.kind == DecisionCode.QUOTE:
            self.watched += 1
            self.shortened += bool(whole.binding & BindingFlags.EXPOSURE)
            engine.watch(
                now_ns, owner="oms0", name=str(self.watched), requests=requests, decisions=decisions,
                boot=self.journal.boot_id,
            )  # fmt: skip
        self.declined += bool(whole.reasons & ReasonFlags.EXPOSURE)


def test_what_caps_have_held_back_comes_out_again(tmp_path: Path) -> None:
    run = CappedSession(
        tmp_path / "journal", tmp_path / "capture", capped_config(), start_ns=START_NS, boot_id="boot1"
    )
    run.work(market(60), DECISIONS, 0.25)
    run.close()
    assert run.packages > 20 and run.two_ways > 10 and run.rooms > 100
    assert run.shortened > 10 and run.declined > 10, (run.shortened, run.declined, run.packages)
    for report in (verify(tmp_path / "journal"), verify(tmp_path / "journal", tmp_path / "capture")):
        assert report.mismatches == []
        assert report.decisions == report.equal == run.figures.decisions and report.complete
        assert report.watches == report.watches_equal > 100 and report.unequal == 0
