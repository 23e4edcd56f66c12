"""How many files the process may open, and how many of them connections may be."""

import contextlib
import resource

from quotelife_server import log

FILES_KEPT = 256  # for journal, capture, feeds and listeners, and connections taken only to be turned away
CONNECTIONS_MIN = 16

_log = log.get_logger(__name__)


def connections_within(count_max: int, listening: int) -> int:
    """How many connections each of so many front ends may have, ``count_max`` where the system allows it: for that the
    process's own limit is raised as far as need be. Beyond the limit the journal could not open its next file, and the
    service would decline everything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = listening * count_max + FILES_KEPT
    if resource.RLIM_INFINITY != soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):  # beyond what the kernel allows anybody
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return count_max
    most = min(count_max, max(CONNECTIONS_MIN, (soft - FILES_KEPT) // listening))
    _log.warning(
        "fewer connections than server.connections.count_max: the process may not open so many files",
        connections_max=most,
        count_max=count_max,
        open_files_max=soft,
        mend=f"ulimit -Hn {needed}, or LimitNOFILE={needed} of its unit",
    )
    return most
