"""What the loader takes and refuses: every fault at once, each with its file, line, key and reason."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from quotelife.config import Config, load_config
from quotelife.config.loader import FILE_BYTES_MAX
from quotelife.config.schema import Section
from quotelife.errors import ConfigError
from quotelife_server.settings import ServiceConfig

BASE = """\
version: 1
instruments:
  - name: BTC
    venue: binance-usdm
    symbol: BTCUSDT
    tick_size: 0.1
    lot_size: 0.001
"""


def write(folder: Path, text: str | bytes, name: str = "all.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(path: Path, model: type[Config] = Config) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, model)
    return caught.value.problems


def test_a_configuration_without_a_version_says_what_to_write(tmp_path: Path) -> None:
    found = problems(write(tmp_path, BASE.replace("version: 1\n", "", 1)))
    assert found == ["all.yaml:1: version: is missing; one of the files says version: 1"]


def test_a_file_and_a_folder_give_the_same(tmp_path: Path) -> None:
    """How content is spread over files does not show, neither in the values nor in the digest."""
    one = write(tmp_path, BASE + "defaults: {posture: risk_averse}\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder, BASE, "a.yaml")
    write(folder, "# spread\ndefaults:\n  posture: risk_averse   # over files\n", "b.yaml")
    write(folder, "nothing: read\n", ".hidden.yaml")
    write(folder, "nothing read", "notes.txt")
    assert load_config(one) == load_config(folder)
    assert load_config(one).digest == load_config(folder).digest


def test_digest_follows_the_content(tmp_path: Path) -> None:
    plain = load_config(write(tmp_path, BASE))
    other = load_config(write(tmp_path, BASE.replace("0.001", "0.01")))
    spelled_out = load_config(write(tmp_path, BASE + "defaults: {not_good: decline}\n"))
    assert plain.digest == spelled_out.digest != other.digest
    assert len(plain.digest) == 64


def test_values_are_read_as_written(tmp_path: Path) -> None:
    more = "postures: {risk_averse: {life_min: 50ms, tolerance: 2e-2}}\nsignals: {news_half_life: 1.5s}\n"
    config = load_config(write(tmp_path, BASE + more))
    assert (config.postures.risk_averse.life_min_ns, config.postures.risk_averse.tolerance) == (
        50_000_000,
        0.02,
    )
    assert config.postures.risk_averse.life_max_ns == 750_000_000
    assert config.signals.news_half_life_ns == 1_500_000_000
    table = config.instrument_table()
    assert (str(table[0].tick_size), str(table[0].lot_size)) == ("0.1", "0.001")


def test_a_config_can_be_written_down_and_read_again(tmp_path: Path) -> None:
    """The JSON form by YAML keys is itself a configuration with the same digest."""
    first = load_config(Path(__file__).parents[2] / "configs" / "default", ServiceConfig)
    again = ServiceConfig.model_validate_json(first.model_dump_json(by_alias=True))
    assert (first, first.digest) == (again, again.digest)


def test_every_fault_is_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = BASE + (
        "    warmup: 5\n"  # 8
        "    tick: 1\n"  # 9
        "  - name: ETH\n"  # 10
        "    venue: Binance\n"  # 11
        "    symbol: ETHUSDT\n"
        "    tick_size: -0.1\n"  # 13
        "postures:\n"
        "  risk_averse:\n"
        "    tolerance: 0.6\n"  # 16
        "tiers: {gold: {postur: risk_averse}}\n"  # 17
        "counterparties: {a: {tier: silver}}\n"
        "defaults: {not_good: maybe}\n"  # 19
        "regimes: {news_score: high}\n"  # 20
        "surprise: 1\n"  # 21
    )
    found = problems(write(tmp_path, text))
    starts = [
        "all.yaml:8: instruments[0].warmup: write a duration",
        "all.yaml:9: instruments[0].tick: unknown key; did you mean tick_size?",
        "all.yaml:10: instruments[1].lot_size: is missing",
        "all.yaml:11: instruments[1].venue: string should match",
        "all.yaml:13: instruments[1].tick_size: input should be greater",
        "all.yaml:16: postures.risk_averse.tolerance: input should be less than or equal to 0.5, got 0.6",
        "all.yaml:17: tiers.gold.postur: unknown key; did you mean posture?",
        "all.yaml:18: counterparties.a.tier: no tier 'silver' is configured",
        "all.yaml:19: defaults.not_good: input should be 'decline' or 'risk_averse', got maybe",
        "all.yaml:20: regimes.news_score: input should be a valid number, got high",
        "all.yaml:21: surprise: unknown key; known here: version, instruments",
    ]
    assert len(starts) == len(found), found
    for start, problem in zip(starts, found, strict=True):
        assert problem.startswith(start)


def test_faults_between_values_are_reported_beside_faults_within(tmp_path: Path) -> None:
    """A section that could not be read does not hide what is wrong between the others."""
    text = BASE + (
        "desks: {voice: {postur: risk_averse}}\n"  # 8
        "counterparties:\n"
        "  a: {tier: silver}\n"  # 10
    )
    assert problems(write(tmp_path, text)) == [
        "all.yaml:8: desks.voice.postur: unknown key; did you mean posture?",
        "all.yaml:10: counterparties.a.tier: no tier 'silver' is configured",
    ]


def test_a_fault_hides_no_reference_of_its_own_section(tmp_path: Path) -> None:
    """A mistyped posture, time zone and tier of one counterparty and an instrument after one that is refused."""
    text = BASE + (
        "  - {name: ETH, venue: v, symbol: E, tick_size: -1, lot_size: 1}\n"  # 8
        "tiers: {gold: {fill_rate: 2}, silver: {}}\n"  # 9
        "counterparties:\n"
        "  a:\n"
        "    tier: sliver\n"  # 12
        "    overrides:\n"
        "      - {instruments: [ETH], posture: risk_avers}\n"  # 14
        "      - {instruments: [BCT], posture: Risk_Averse, window: {timezone: Europe/Londn, from: 08:00, to: 09:00}}\n"
        "  b: {tier: gold, overrides: [{x: 1}, {posture: risk_averse, instruments: [ETC]}]}\n"  # 16
    )
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    found = caught.value.problems
    words = "input should be 'client_priority', 'liquidity_provider' or 'risk_averse'"
    assert found == [
        "all.yaml:8: instruments[1].tick_size: input should be greater than or equal to Decimal('1E-12'), got -1",
        "all.yaml:9: tiers.gold.fill_rate: input should be less than or equal to 1, got 2",
        "all.yaml:12: counterparties.a.tier: no tier 'sliver' is configured; did you mean silver?",
        f"all.yaml:14: counterparties.a.overrides[0].posture: {words}, got risk_avers; did you mean risk_averse?",
        "all.yaml:15: counterparties.a.overrides[1].instruments[0]: no instrument 'BCT' is configured; "
        "did you mean BTC?",
        f"all.yaml:15: counterparties.a.overrides[1].posture: {words}, got Risk_Averse; did you mean risk_averse?",
        "all.yaml:15: counterparties.a.overrides[1].window.timezone: no IANA time zone 'Europe/Londn'; "
        "did you mean Europe/London?",
        "all.yaml:16: counterparties.b.overrides[0].posture: is missing",
        "all.yaml:16: counterparties.b.overrides[0].x: unknown key; known here: instruments, window, posture",
        "all.yaml:16: counterparties.b.overrides[1].instruments[0]: no instrument 'ETC' is configured; "
        "did you mean BTC?",
    ]
    assert caught.value.unchecked == ("counterparties", "instruments", "tiers")


def test_a_tab_that_indents_is_called_one(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "version: 1\ntiers:\n\tgold: {}\n")) == [
        "all.yaml:3: yaml: a tab indents this line; use spaces"
    ]


def test_feeds_are_held_against_instruments_beside_other_faults(tmp_path: Path) -> None:
    """Each at its line, whatever else is refused."""
    text = BASE + (
        "feeds:\n"
        "  - {kind: grpc, name: one, instruments: [BTC]}\n"
        "  - {kind: grpc, name: one, instruments: [BTX]}\n"  # 10
        "server: {in_flight_max: many}\n"
    )
    assert problems(write(tmp_path, text), ServiceConfig) == [
        "all.yaml:10: feeds[1].instruments[0]: no instrument 'BTX' is configured; did you mean BTC?",
        "all.yaml:10: feeds[1].name: 'one' is the name of two feeds",
        "all.yaml:11: server.in_flight_max: input should be a valid integer, got many",
    ]


def test_a_section_that_was_refused_breaks_no_reference(tmp_path: Path) -> None:
    text = BASE + "tiers: {silver: {fill_rate: 2}}\ncounterparties: {a: {tier: silver}}\n"
    assert problems(write(tmp_path, text)) == [
        "all.yaml:8: tiers.silver.fill_rate: input should be less than or equal to 1, got 2"
    ]


def test_a_file_that_cannot_be_parsed_breaks_no_reference(tmp_path: Path) -> None:
    """What the broken file may hold is not reported as missing."""
    write(tmp_path, BASE.replace("binance-usdm", "Nowhere"), "b.yaml")
    write(tmp_path, "tiers:\n  silver: [\n", "a.yaml")
    write(tmp_path, "counterparties: {a: {tier: silver}}\n", "c.yaml")
    found = problems(tmp_path)
    assert [problem.split(": ")[0] for problem in found] == ["a.yaml:3", "b.yaml:4"]


def test_duplicate_keys_are_refused_at_every_depth(tmp_path: Path) -> None:
    text = BASE + "    symbol: OTHER\nversion: 1\n"
    assert problems(write(tmp_path, text)) == [
        "all.yaml:8: instruments[0].symbol: is written twice, first on line 5",
        "all.yaml:9: version: is written twice, first on line 1",
    ]


def test_a_section_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, BASE, "a.yaml")
    write(tmp_path, "# here too\nversion: 1\n", "b.yaml")
    assert problems(tmp_path) == ["b.yaml:2: version: is set in a.yaml:1 already; keep it in one file"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x [1, 2]\nb: *x\n", "all.yaml:8: a: anchors and aliases are not taken; write the value out"),
        ("a: *x\n", "all.yaml:8: a: anchors and aliases are not taken; write the value out"),
        ("a: {<<: {b: 1}}\n", "all.yaml:8: a: unknown key"),
        ("? [1]\n: 2\n", "all.yaml:8: (top level): a key must be plain text"),
        ("a: !!python/object:os.system x\n", "all.yaml:8: a: tags such as tag:yaml.org,2002:python/"),
        ("a: !!int 3\n", "all.yaml:8: a: tags such as tag:yaml.org,2002:int are not taken"),
        ("---\nversion: 1\n", "all.yaml:8: (top level): a second document begins here"),
        ("a: [1, 2\nb: 3\n", "all.yaml:9: yaml: "),
        ("a: b: c\n", "all.yaml:8: yaml: "),
        ("\ta: 1\n", "all.yaml:8: yaml: "),
        ("a: 'unfinished\n", "all.yaml:9: yaml: "),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "all.yaml:8: a[0][0]"),
    ],
)
def test_yaml_that_is_not_taken(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(write(tmp_path, BASE + text))[0].startswith(problem)


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    """Nine levels of nine references would be 400 million values."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "anchors and aliases" in problems(write(tmp_path, "\n".join(levels)))[0]


@pytest.mark.parametrize("depth", [100, 10_000, 200_000])
def test_depth_is_bounded(tmp_path: Path, depth: int) -> None:
    for opening in ("[", "{a: "):
        assert problems(write(tmp_path, "a: " + opening * depth))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"version: 1\nname: \xff\n", "all.yaml:2: file: is not UTF-8 at byte 17"),
        (b"version: 1\nname: \x00\n", "all.yaml:2: yaml: "),
        (b"version: 1\nname: \x1b[0m\n", "all.yaml:2: yaml: "),
        (b"- a\n- b\n", "all.yaml:1: yaml: must be a mapping of sections"),
        (b"just text\n", "all.yaml:1: yaml: must be a mapping of sections"),
        (b"# " + b"x" * FILE_BYTES_MAX, f"all.yaml:1: file: is larger than {FILE_BYTES_MAX} bytes"),
        (b"", "all.yaml:1: version: is missing"),
        (b"# nothing\n", "all.yaml:1: version: is missing"),
    ],
)
def test_bytes_that_are_not_taken(tmp_path: Path, raw: bytes, problem: str) -> None:
    assert [found for found in problems(write(tmp_path, raw)) if found.startswith(problem)]


def test_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, b"\xef\xbb\xbf" + BASE.encode())).version == 1


def test_places_that_hold_no_configuration(tmp_path: Path) -> None:
    assert problems(tmp_path / "gone") == [f"{tmp_path / 'gone'}:1: file: there is no such file or folder"]
    assert problems(Path("nul\0byte"))[0].endswith("file: there is no such file or folder")
    assert problems(tmp_path)[0] == f"{tmp_path}:1: file: holds no *.yaml file"
    write(tmp_path, BASE, "a.yaml")
    write(tmp_path, "", "b.yml")
    assert problems(tmp_path) == ["b.yml:1: file: would be ignored; name it .yaml"]


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    write(tmp_path, BASE, "a.yaml")
    os.mkfifo(tmp_path / "b.yaml")
    (tmp_path / "c.yaml").mkdir()
    assert problems(tmp_path) == [f"{name}.yaml:1: file: is not a regular file" for name in "bc"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("on", "on"),
        ("no", "no"),
        ("08:30", "08:30"),
        ("1_000", "1_000"),
        ("'12'", "12"),
        ("12e", "12e"),
        ("2026-03-18", "2026-03-18"),
    ],
)
def test_text_stays_text(tmp_path: Path, value: str, expected: str) -> None:
    """YAML 1.1 would make booleans, sexagesimal numbers and dates of these."""
    assert load_config(write(tmp_path, BASE + f"model: {{artifact: {value}}}\n")).model.artifact == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("adverse_ticks", ".nan"),
        ("adverse_ticks", ".inf"),
        ("adverse_ticks", "1e999"),
        ("adverse_ticks", "true"),
        ("adverse_ticks", "'1'"),
        ("enabled", "1"),
        ("enabled", "'yes'"),
        ("book_levels_max", "100.5"),
        ("book_levels_max", "7"),
        ("book_levels_max", "9" * 5_000),
        ("book_orders_max", "0"),
        ("book_orders_max", "4194305"),
        ("order_level", "1"),
        ("lot_size", "abc"),
        ("lot_size", ".inf"),
        ("lot_size", "0"),
        ("lot_size", "[]"),
        ("warmup", "-1s"),
        ("warmup", "1.5ns"),
        ("warmup", "10000d"),
        ("warmup", "~"),
        ("name", "''"),
        ("name", "a b"),
        ("drivers", "BTC"),
        ("drivers", "[{numerator: BTC, extra: 1}]"),
        ("drivers", "[A, B, C]"),
        ("stale", "[]"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_at_their_line(tmp_path: Path, key: str, value: str) -> None:
    lines = [line for line in BASE.splitlines() if f" {key}:" not in line] + [f"    {key}: {value}"]
    if key == "name":
        lines = [*BASE.splitlines()[:2], f"  - name: {value}", *BASE.splitlines()[3:]]
    line = next(number for number, text in enumerate(lines, start=1) if f" {key}:" in text)
    found = problems(write(tmp_path, "\n".join(lines)))
    assert [problem for problem in found if problem.startswith(f"all.yaml:{line}: instruments[0].{key}")], (
        found
    )


class Extra(Section):
    port: int = Field(default=50051, ge=1, le=65_535)


class Wider(Config):
    extra: Extra = Extra()


def test_a_wider_model_is_checked_as_strictly(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "extra:\n  prot: 1\n")
    assert problems(path, Wider) == ["all.yaml:9: extra.prot: unknown key; did you mean port?"]
    assert problems(path)[0].startswith("all.yaml:8: extra: unknown key")
    good = load_config(write(tmp_path, BASE + "extra: {port: 8080}\n"), Wider)
    assert (8080, Wider) == (good.extra.port, type(good))
    assert good.digest != load_config(write(tmp_path, BASE), Wider).digest


def test_nothing_can_be_changed_afterwards(tmp_path: Path) -> None:
    config: Any = load_config(write(tmp_path, BASE))
    with pytest.raises(ValueError, match="frozen"):
        config.version = 2
    with pytest.raises(ValueError, match="frozen"):
        config.postures.risk_averse.tolerance = 0.5


def test_a_choice_of_numbers_hides_no_other_fault(tmp_path: Path) -> None:
    """A refused value whose choices are not words is left out like any other."""
    found = problems(
        write(tmp_path, BASE.replace("version: 1", "version: 6.5e-06") + "defaults: {posture: risk}\n")
    )
    assert len(found) == 2
    assert "version: " in found[0] and "posture: " in found[1]


def test_a_bound_of_a_duration_is_told_as_a_duration(tmp_path: Path) -> None:
    text = BASE + "learning: {recalibration: {window: 8d, refit: 0s}, latency: 2s}\n"
    assert problems(write(tmp_path, text)) == [
        "all.yaml:8: learning.latency: must be at most 1s, got 2s",
        "all.yaml:8: learning.recalibration.refit: must be longer than 0s, got 0s",
        "all.yaml:8: learning.recalibration.window: must be at most 7d, got 8d",
    ]


def sections(of: type[BaseModel] = Section) -> Iterator[type[BaseModel]]:
    for each in of.__subclasses__():
        yield each
        yield from sections(each)


def test_no_duration_of_any_section_is_refused_in_nanoseconds() -> None:
    """Every key of the core and the server that is a duration, far beyond both ends."""
    refused = 0
    for section in sections():
        for name, field in section.model_fields.items():
            if not name.endswith("_ns"):
                continue
            for text in ("0s", "1ns", "399d", "401d"):
                try:
                    section.model_validate({field.alias: text})
                except ValidationError as error:
                    found = [each["msg"] for each in error.errors() if each["loc"] == (field.alias,)]
                    assert not any(re.search("[0-9]{5}|should be", told) for told in found), (name, found)
                    refused += len(found)
    assert refused > 50
