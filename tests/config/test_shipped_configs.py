"""The shipped sets load, and configs/default documents every key there is."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from quotelife.config import Config, load_config
from quotelife.config.schema import STEP_PRESETS, TierValue, section_keys, section_type
from quotelife.decision.policy import Policy
from quotelife_server.settings import ServiceConfig

CONFIGS = Path(__file__).parents[2] / "configs"
CORE_FILES = {"default", "demo"}
OF_ITS_OWN = {"instruments", "tiers", "counterparties", "desks", "venue_sessions", "calendars", "feeds"}
"""Sections that are nothing but names and numbers of the set's own: a bare configuration has none of them."""
DELIBERATE = {
    "model.artifact": ("simulated_trees", "first_passage"),
    "server.journal.directory": ("var/journal", None),
    "signals.volatility_indices": (["DVOL-BTC", "DVOL-ETH"], []),
    "defaults.unknown_counterparty_tier": ("regular", None),
}
"""Keys of configs/default that say another thing than the code's default, (this, that), and name that beside them."""


def core_only(folder: Path, target: Path) -> Path:
    """The set without the files of sections that belong to the service alone."""
    for file in folder.glob("*.yaml"):
        if set(yaml.safe_load(file.read_text())) <= set(section_keys(Config)):
            (target / file.name).write_bytes(file.read_bytes())
    return target


def test_both_sets_are_shipped() -> None:
    assert {folder.name for folder in CONFIGS.iterdir() if folder.is_dir()} >= CORE_FILES


@pytest.mark.parametrize("name", sorted(CORE_FILES))
def test_a_shipped_set_loads_and_compiles(name: str, tmp_path: Path) -> None:
    config = load_config(core_only(CONFIGS / name, tmp_path))
    assert Policy(config).instruments == len(config.instruments) >= 2


def differences(one: Any, other: Any, at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every key, dotted, whose values two configurations do not share."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{at}.{key}" if at else key)
    elif one != other:
        yield at, one, other


def test_the_default_set_spells_out_the_defaults() -> None:
    """Every section of configs/default says what the code has as defaults, but for a few keys that are listed here."""
    shipped = load_config(CONFIGS / "default", ServiceConfig)
    risk_averse = shipped.postures.risk_averse
    assert (
        risk_averse.step_table.steps() == STEP_PRESETS["step_2pct"]
    )  # rows that show how such a table is written
    preset = {"step_table": ServiceConfig(version=1).postures.risk_averse.step_table}
    postures = {"risk_averse": risk_averse.model_copy(update=preset)}
    shipped = shipped.model_copy(update={"postures": shipped.postures.model_copy(update=postures)})
    ours, bare = (
        {
            key: value
            for key, value in each.model_dump(mode="json", by_alias=True).items()
            if key not in OF_ITS_OWN
        }
        for each in (shipped, ServiceConfig(version=1))
    )
    assert {key: (here, there) for key, here, there in differences(ours, bare)} == DELIBERATE
    assert shipped.tiers["strategic"].value == TierValue()  # "shown with the defaults"


def test_what_differs_from_the_defaults_names_them() -> None:
    """The comment beside or above such a key says what holds where it is left out."""
    lines = [
        line
        for file in sorted((CONFIGS / "default").glob("*.yaml"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    unsaid = []
    for path, (ours, default) in DELIBERATE.items():
        key, said = path.rpartition(".")[2], str(ours).replace("'", "")
        (at,) = [i for i, line in enumerate(lines) if line.lstrip().startswith(f"{key}: {said}")]
        word = "null (default)" if default is None else f"efault: {default or 'none'}"
        if word not in lines[at] + lines[at - 1]:
            unsaid.append(path)
    assert unsaid == []


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) if each is not NoneType for model in models_in(each)]


def key_paths(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key path of the schema; ``*`` stands for an item or a name of one's own."""
    for key in section_keys(model):
        yield (*at, key)
        annotation = section_type(model, key)
        for inner in models_in(annotation):
            several = not (isinstance(annotation, type) and issubclass(annotation, BaseModel))
            optional = several and NoneType in get_args(annotation)
            yield from key_paths(inner, (*at, key) if not several or optional else (*at, key, "*"))


def documented(folder: Path) -> dict[tuple[str, ...], str]:
    """Every key path written in the set, and whether a comment stands beside it, above it, or names it."""
    found: dict[tuple[str, ...], str] = {}

    def walk(node: yaml.Node, at: tuple[str, ...], lines: list[str]) -> None:
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                walk(item, (*at, "*"), lines)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                paths = [(*at, key.value), (*at, "*")]
                row = key.start_mark.line
                above = row - 1
                while above > 0 and not lines[above].strip():
                    above -= 1
                comment = "#" in lines[row] or lines[above].lstrip().startswith("#")
                comment = comment or any(re.search(rf"#.*\b{re.escape(key.value)}\b", line) for line in lines)
                for path in paths:
                    found[path] = found.get(path, "") or ("yes" if comment else "")
                    walk(value, path, lines)

    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text)
        assert root is not None, file
        walk(root, (), text.splitlines())
    return found


def is_written(path: tuple[str, ...]) -> bool:
    """Whether people write this path: a step table is a preset's name or the rows themselves."""
    return path[-1] not in ("preset", "rows") and "rows" not in path


def test_every_key_stands_in_the_default_set() -> None:
    """A key that the schema knows and the documented set does not show fails here."""
    written = documented(CONFIGS / "default")
    assert [path for path in key_paths(Config) if is_written(path) and path not in written] == []


def test_every_key_has_a_comment_somewhere_in_the_default_set() -> None:
    """The three postures share their keys: one comment explains all."""
    written = documented(CONFIGS / "default")
    explained = {path[-1] for path, comment in written.items() if comment}
    assert [path for path in key_paths(Config) if is_written(path) and path[-1] not in explained] == []
