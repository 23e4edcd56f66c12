"""Coverage-guided fuzzing of the decoders: ``tools/fuzz.py [--seconds N] [--corpus DIR] [TARGET…]``.

Builds the Cython code with clang's sanitizers and coverage counters (``QUOTELIFE_BUILD=fuzz``) and one libFuzzer
executable that holds a Python (``tests/fuzz_targets/driver.c``), writes the seeds, and runs each target for so many
seconds. Inputs that reach new code are kept in ``build/fuzz/corpus/TARGET`` for the next run; what fails lies in
``build/fuzz/found``. Ends with 1 if anything failed, with 2 if clang is missing.

To be run by an environment that has quotelife's development set; ``make fuzz`` does.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"
LIBRARY = BUILD / "lib"
DRIVER = BUILD / "driver"
CORPUS = BUILD / "corpus"
FOUND = BUILD / "found"
SOURCE = ROOT / "tests" / "fuzz_targets" / "driver.c"
SANITIZE = "-fsanitize=fuzzer,address,undefined"
VERSIONS = range(22, 13, -1)
INPUT_BYTES_MAX = 4096
INPUT_CPU_S = 10  # of one input; it takes milliseconds
INPUT_WAITS_S = 300  # one that waits for ever takes no CPU; a busy machine may let any one wait for long
MEMORY_MB = 2048
MISSING = "fuzz: clang with libFuzzer is missing; run: apt-get install -y clang-14 libclang-rt-14-dev"

sys.path[:0] = [str(ROOT / "tests")]


class Outcome(NamedTuple):
    """Of one target's run: ``edges`` in the Cython code, ``features`` with counts and lines of Python."""

    target: str
    executions: int
    seconds: float
    edges_before: int
    edges: int
    features: int
    inputs: int
    found: list[Path]


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def find_clang() -> str | None:
    """A clang that has libFuzzer and the sanitizers beside it, ``$CLANG`` first."""
    names = [os.environ.get("CLANG", ""), "clang", *(f"clang-{version}" for version in VERSIONS)]
    for name in names:
        path = shutil.which(name) if name else None
        if path is None:
            continue
        found = [
            subprocess.run(
                [path, f"-print-file-name=libclang_rt.{part}-{os.uname().machine}.a"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout.strip()
            for part in ("fuzzer", "asan")
        ]
        if all(os.path.isabs(library) and os.path.exists(library) for library in found):
            return path
    return None


def compiled(targets: Iterable[str]) -> list[str]:
    """The Cython modules that these targets import."""
    code = "import sys; from fuzz_targets import load; [load(name) for name in sys.argv[1:]]; print(*sys.modules)"
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *targets], env=env, capture_output=True, text=True, check=True
    )
    folders = (ROOT / "core", ROOT / "server")
    names = done.stdout.split()
    return [
        name
        for name in names
        if any((folder / name.replace(".", "/")).with_suffix(".pyx").is_file() for folder in folders)
    ]


def build(clang: str, targets: Iterable[str]) -> None:
    """Executable, and what of the extensions these targets need, as far as their sources have changed: the sanitizers
    make the compiler slow."""
    env = os.environ | {
        "QUOTELIFE_BUILD": "fuzz",
        "QUOTELIFE_FUZZED": " ".join(compiled(targets)),
        "CC": clang,
        "LDSHARED": f"{clang} -shared",
    }
    command = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(LIBRARY)]
    subprocess.run(command, cwd=ROOT, env=env, check=True)
    if DRIVER.exists() and DRIVER.stat().st_mtime > SOURCE.stat().st_mtime:
        return
    version = sysconfig.get_config_var("LDVERSION")
    folder = sysconfig.get_config_var("LIBDIR")
    command = [clang, "-O1", "-g", SANITIZE, f"-I{sysconfig.get_paths()['include']}", str(SOURCE)]
    command += [
        "-rdynamic",
        f"-L{folder}",
        f"-Wl,-rpath,{folder}",
        f"-lpython{version}",
        "-lm",
        "-o",
        str(DRIVER),
    ]
    subprocess.run(command, cwd=ROOT, check=True)


def environment(target: str, *, asan: str = "malloc_context_size=2:quarantine_size_mb=32") -> dict[str, str]:
    """What the executable runs in: the sanitizer build first, Python's memory under the sanitizer's eyes.

    Short histories of allocations make it twice as fast; ``reproduce`` takes long ones.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return env | {
        "FUZZ_TARGET": target,
        "FUZZ_PYTHON": sys.executable,
        "FUZZ_INPUT_CPU_S": str(INPUT_CPU_S),
        "PYTHONPATH": os.pathsep.join(map(str, (LIBRARY, ROOT / "clients/python", ROOT / "tests"))),
        "PYTHONMALLOC": "malloc",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:{asan}",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }  # fmt: skip


def write_seeds(target: str) -> list[str]:
    """Seeds into the corpus; returns the options that the target needs."""
    from fuzz_targets import load

    loaded = load(target)
    corpus = CORPUS / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(loaded.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed[:INPUT_BYTES_MAX])
    if not loaded.words:
        return []
    words = BUILD / f"{target}.dict"
    lines = ("".join(f"\\x{byte:02x}" for byte in word) for word in loaded.words)
    words.write_text("".join(f'"{line}"\n' for line in lines), encoding="ascii")
    return [f"-dict={words}"]


def fuzz(target: str, seconds: int, seed: int) -> Outcome:
    """Run one target until the time is over or something fails."""
    options = write_seeds(target)
    FOUND.mkdir(parents=True, exist_ok=True)
    before = set(FOUND.iterdir())
    log = BUILD / f"{target}.log"
    command = [
        str(DRIVER), str(CORPUS / target), *options, f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={INPUT_WAITS_S}", f"-report_slow_units={INPUT_WAITS_S}", f"-rss_limit_mb={MEMORY_MB}",
        f"-artifact_prefix={FOUND}/{target}-", "-detect_leaks=0", "-print_final_stats=1", f"-seed={seed}",
    ]  # fmt: skip
    started = time.monotonic()
    with log.open("wb") as out:
        code = subprocess.run(
            command, env=environment(target), stdout=out, stderr=out, check=False
        ).returncode
    elapsed = time.monotonic() - started
    text = log.read_text(encoding="utf-8", errors="replace")
    found = sorted(set(FOUND.iterdir()) - before)
    if code and not found:
        sys.stderr.write(text[-4000:])
        raise SystemExit(f"fuzz: {target} could not be run; all of it is in {log}")
    covered = [tuple(map(int, pair)) for pair in re.findall(r"cov: (\d+) ft: (\d+)", text)] or [(0, 0)]
    loaded = re.search(r"INITED cov: (\d+)", text)
    executed = re.search(r"number_of_executed_units: (\d+)", text) or re.search(
        r"^#(\d+)(?!.*^#\d)", text, re.M | re.S
    )
    return Outcome(
        target, int(executed[1]) if executed else 0, elapsed, int(loaded[1]) if loaded else 0, covered[-1][0],
        covered[-1][1], sum(1 for _ in (CORPUS / target).iterdir()), found,
    )  # fmt: skip


def reproduce(path: Path) -> int:
    """Run one input that was found, with all that the sanitizers say."""
    target = path.name.partition("-")[0]
    return subprocess.run([str(DRIVER), str(path)], env=environment(target, asan=""), check=False).returncode


def main() -> int:
    from fuzz_targets import MODULES, lacks

    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of the decoders.")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(MODULES)}; none: all"
    )
    parser.add_argument("--seconds", type=int, default=300, help="for each target (300)")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's random numbers (1)")
    parser.add_argument("--reproduce", type=Path, metavar="FILE", help="run one input from build/fuzz/found")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(MODULES)
    if unknown:
        parser.error(f"unknown targets {', '.join(sorted(unknown))}; known are {', '.join(MODULES)}")
    clang = find_clang()
    if clang is None:
        sys.stderr.write(f"{MISSING}\n")
        return 2
    started = time.monotonic()
    say(f"fuzz: building with {clang}")
    targets = list(arguments.targets or MODULES)
    if arguments.reproduce:
        targets = [arguments.reproduce.name.partition("-")[0]]
    left_out = [name for name in targets if lacks(name)]
    build(clang, [name for name in targets if name not in left_out])
    say(f"fuzz: built in {time.monotonic() - started:.0f} s")
    if arguments.reproduce:
        return reproduce(arguments.reproduce)
    say(f"{'target':<18}{'executions':>11}{'seconds':>9}{'edges':>13}{'features':>10}{'inputs':>8}  found")
    failed = False
    for target in targets:
        if target in left_out:
            say(f"{target:<18} left out: this build has no {lacks(target)}")
            failed = failed or target in arguments.targets
            continue
        done = fuzz(target, arguments.seconds, arguments.seed)
        edges = f"{done.edges_before}→{done.edges}"
        say(
            f"{target:<18}{done.executions:>11,}{done.seconds:>9.1f}{edges:>13}{done.features:>10,}{done.inputs:>8,}"
            f"  {len(done.found) or '-'}"
        )
        for path in done.found:
            failed = True
            say(f"  {path.relative_to(ROOT)}: see {BUILD.relative_to(ROOT)}/{target}.log")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
