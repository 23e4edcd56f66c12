"""Fuzz targets on the ordinary build: what they start from, and every input that has ever broken a decoder."""

from pathlib import Path

import pytest

from fuzz_targets import MODULES, lacks, load
from fuzz_targets.kit import Target, same

FOUND = sorted((Path(__file__).parent / "found").iterdir())


def found(name: str) -> Target:
    if lacks(name):
        pytest.skip("built without nghttp2")
    return load(name)


@pytest.mark.parametrize("name", MODULES)
def test_seeds_keep_every_invariant(name: str):
    target = found(name)
    seeds = list(target.seeds())
    assert len(seeds) > 1
    for seed in seeds:
        assert len(seed) <= 8192
        target.run(seed)


@pytest.mark.parametrize("path", FOUND, ids=[path.name for path in FOUND])
def test_what_was_found_once_is_mended(path: Path):
    found(path.name.partition("-")[0]).run(path.read_bytes())


@pytest.mark.parametrize("name", MODULES)
def test_no_target_minds_an_empty_input(name: str):
    found(name).run(b"")


def test_two_tellings_that_differ_are_a_finding():
    with pytest.raises(AssertionError, match="in one piece 2"):
        same(([1, 2], "x"), ([1, 3], "x"))
