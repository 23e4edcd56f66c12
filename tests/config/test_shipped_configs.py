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
from quotelife.config.schema import section_keys, section_type
from quotelife.decision.policy import Policy

CONFIGS = Path(__file__).parents[2] / "configs"
CORE_FILES = {"default", "demo"}


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


def test_the_default_set_spells_out_the_defaults(tmp_path: Path) -> None:
    """Postures, standardisation, regimes and signals of configs/default say what the code has as defaults."""
    shipped = load_config(core_only(CONFIGS / "default", tmp_path))
    plain = Config.model_validate({"version": 1})
    table = {"step_table": plain.postures.risk_averse.step_table}
    own_rows = shipped.postures.risk_averse.model_copy(update=table)
    assert plain.postures == shipped.postures.model_copy(update={"risk_averse": own_rows})
    assert plain.risk_inputs == shipped.risk_inputs
    assert plain.regimes == shipped.regimes
    assert plain.signals.news_half_life_ns == shipped.signals.news_half_life_ns


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
