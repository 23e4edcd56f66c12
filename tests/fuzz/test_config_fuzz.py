"""Mutated configurations: a ConfigError that names file and line, or a valid Config; never anything else."""

import random
import re
from pathlib import Path

import pytest

from quotelife.config import Config, load_config
from quotelife.decision.policy import Policy
from quotelife.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = ("instruments.yaml", "postures.yaml", "counterparties.yaml", "market.yaml", "venues.yaml")
TOKENS = [
    b"~", b"null", b".nan", b".inf", b"-1", b"0", b"1e309", b"99999999999999999999", b"true", b"''",
    b'"', b"'", b"[", b"]", b"{", b"}", b": ", b"- ", b"#", b"&a ", b"*a ", b"!!int ", b"<<: ", b"? ",
    b"|\n", b">\n", b"---\n", b"...\n", b"%YAML 1.2\n", b"\t", b"\n", b"\r", b"\x00", b"\xff", b"\xc3",
    b"\xed\xa0\x80", b"\xef\xbb\xbf", b"-5ms", b"1d", b"24:00", b"Europe/London", b"../x", b"all",
    b"risk_averse", b"step_2pct", b"curve", b"step", b"expected_value", b"withdraw", b"relative",
    b"BTC-USDT", b"0.5", b"0.500001",
    b"[[[[[[[[[[[[[[[[[[[[[[[[", b"a: {a: {a: {a: ", b"\xe2\x80\xa8", b"\xc2\x85",
]  # fmt: skip
PROBLEM = re.compile(r"[a-z_.-]+\.yaml:[1-9][0-9]*: \S.*: \S.*", re.DOTALL)
SCALAR = re.compile(rb"(?<=: )[^\s{}\[\],#]+")


def mutate(rng: random.Random, raw: bytes, other: bytes) -> bytes:
    """One edit as a hand, a merge or a broken disk makes it."""
    lines = raw.splitlines(keepends=True)
    at = rng.randrange(len(raw))
    row = rng.randrange(len(lines))
    kind = rng.randrange(12)
    if kind == 0:
        return raw[:at] + bytes([raw[at] ^ (1 << rng.randrange(8))]) + raw[at + 1 :]
    if kind == 1:
        return raw[:at] + rng.choice(TOKENS) + raw[at:]
    if kind == 2:
        return raw[:at] + raw[at + rng.randrange(1, 40) :]
    if kind == 3:
        return raw[:at]
    if kind == 4:
        return b"".join(lines[:row] + lines[row + 1 :])
    if kind == 5:
        return b"".join([*lines[:row], lines[row], *lines[row:]])
    if kind == 6:
        return b"".join([*lines[:row], b" " * rng.randrange(1, 9) + lines[row], *lines[row + 1 :]])
    if kind == 7:
        return b"".join([*lines[:row], lines[row].lstrip(b" "), *lines[row + 1 :]])
    if kind == 8:
        donor = other.splitlines(keepends=True)
        return b"".join([*lines[:row], rng.choice(donor), *lines[row:]])
    values = list(SCALAR.finditer(raw))
    if not values:
        return raw
    found = rng.choice(values)
    if kind == 9:
        replacement = rng.choice(values)[0]
    elif kind == 10:
        replacement = b"%g" % (10 ** rng.uniform(-12, 12) * rng.choice((1, -1)))
    else:
        replacement = rng.choice(TOKENS)
    return raw[: found.start()] + replacement + raw[found.end() :]


def run(folder: Path, seeds: range) -> tuple[int, int]:
    """(accepted, refused) over the seeds; a failure names its seed."""
    originals = {}
    for name in FILES:
        source = CONFIGS / "demo" / name
        # what the demo set leaves to defaults is taken from the documented one
        originals[name] = (source if source.exists() else CONFIGS / "default" / name).read_bytes()
    for name, raw in originals.items():
        (folder / name).write_bytes(raw)
    old = load_config(folder)
    before = old.model_dump_json()
    accepted = refused = 0
    for seed in seeds:
        rng = random.Random(seed)
        name = rng.choice(FILES)
        raw = originals[name]
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            raw = mutate(rng, raw or b"\n", originals[rng.choice(FILES)])
        (folder / name).write_bytes(raw)
        try:
            config = load_config(folder)
            Policy(config)
        except ConfigError as error:
            refused += 1
            assert error.problems, seed
            for problem in error.problems:
                assert PROBLEM.fullmatch(problem), (seed, problem)
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
        else:
            accepted += 1
            assert type(config) is Config, seed
        (folder / name).write_bytes(originals[name])
    assert old.model_dump_json() == before
    return accepted, refused


def test_mutated_configurations(tmp_path: Path) -> None:
    accepted, refused = run(tmp_path, range(500))
    assert accepted > 50
    assert refused > 250


@pytest.mark.slow
def test_ten_thousand_mutated_configurations(tmp_path: Path) -> None:
    """10,000 mutated configurations, 0 crash, the old one kept."""
    accepted, refused = run(tmp_path, range(500, 10_500))
    assert accepted + refused == 10_000
    assert accepted > 1_000
    assert refused > 5_000


def test_random_bytes(tmp_path: Path) -> None:
    rng = random.Random(7)
    path = tmp_path / "all.yaml"
    for seed in range(500):
        path.write_bytes(
            rng.randbytes(rng.randrange(200)) if seed % 2 else b"".join(rng.choices(TOKENS, k=30))
        )
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert all(PROBLEM.fullmatch(problem) for problem in caught.value.problems), caught.value.problems
