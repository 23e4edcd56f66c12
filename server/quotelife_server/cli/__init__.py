"""The ``quotelife`` command. This module imports next to nothing, so that Ctrl-C is obeyed quietly from the start:
everything else, the commands among it, is imported under a handler that ends the process at once."""

import os
import sys

TYPE_CHECKING = False  # importing typing takes longer than everything here
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 3
EXIT_INTERRUPTED = 130
COMMAND_LINE = "command line: "  # how a fault of the configuration begins that an option brought in


def main() -> "NoReturn":
    """Entry point. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration refused, 130 interrupted."""
    import signal

    # It is not obeyed behind nohup, or in the background of a script.
    obeyed = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if obeyed:
        signal.signal(signal.SIGINT, _leave)
    from quotelife.errors import ConfigError, QuotelifeError
    from quotelife_server.cli.commands import app

    try:
        if obeyed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app(prog_name="quotelife")
        code: object = 0
    except SystemExit as end:
        code = end.code
    except ConfigError as error:
        own = all(problem.startswith(COMMAND_LINE) for problem in error.problems)
        lines = [] if own else ["configuration refused:"]
        lines += [f"  {problem}" for problem in error.problems]
        if error.unchecked:
            lines += [
                f"once these are mended, {', '.join(error.unchecked)} will also be held against other values"
            ]
        sys.stderr.write("\n".join(lines) + "\n")
        code = EXIT_USAGE if own else EXIT_CONFIG
    except QuotelifeError as error:
        sys.stderr.write(f"quotelife: {error}\n")
        code = EXIT_FAILED
    except OSError as error:
        sys.stderr.write(f"quotelife: {_refused(error)}\n")
        code = EXIT_FAILED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    if obeyed:
        signal.signal(signal.SIGINT, _leave)  # the interpreter takes its time to end
    sys.exit(code)  # type: ignore[arg-type]


def _refused(error: OSError) -> str:
    """What the system would not do, with what mends it where that is known."""
    import errno

    nameless = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE)
    mends = {
        errno.EACCES: "run this as its owner, or give this user the right to it",
        errno.EPERM: "run this as its owner, or give this user the right to it",
        errno.ENOENT: "look whether the name is right",
        errno.ENOSPC: "make room on the disk",
        errno.EDQUOT: "make room on the disk",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    if error.strerror is None:
        return str(error)
    name = "" if error.filename is None else f"{error.filename}: "  # a write that fails does not tell it
    mend = mends.get(error.errno or 0) if name or error.errno in nameless else None
    return f"{name}{error.strerror}" + (f"; {mend}" if mend else "")


def _leave(*_: object) -> "NoReturn":
    try:
        sys.stdout.flush()
    finally:
        os._exit(EXIT_INTERRUPTED)
