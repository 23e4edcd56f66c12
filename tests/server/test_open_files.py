"""Connections never take the files that the journal needs."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
import structlog
from quotelife_server.open_files import connections_within
soft, hard, count_max, listening = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
with structlog.testing.capture_logs() as lines:
    most = connections_within(count_max, listening)
print(json.dumps([most, resource.getrlimit(resource.RLIMIT_NOFILE)[0], [line["mend"] for line in lines]]))
"""


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ((512, 512, 100, 1), [100, 512, []]),
        ((300, 4000, 1024, 1), [1024, 1280, []]),  # the soft limit is ours to raise
        ((1024, 1024, 1024, 1), [768, 1024, ["ulimit -Hn 1280, or LimitNOFILE=1280 of its unit"]]),
        ((300, 1000, 1024, 2), [372, 1000, ["ulimit -Hn 2304, or LimitNOFILE=2304 of its unit"]]),
        ((64, 64, 1024, 1), [16, 64, ["ulimit -Hn 1280, or LimitNOFILE=1280 of its unit"]]),
    ],
)
def test_connections_fit_into_what_the_process_may_open(limits: tuple[int, ...], found: list[object]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, limits)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == found
