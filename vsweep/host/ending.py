"""How a command ends: with one of the exit statuses of docs/reliability.md, and never with a traceback."""

import sys
from collections.abc import Callable

from vsweep.atomic import CannotWrite
from vsweep.config.problems import ConfigError
from vsweep.host import interruption


def status(work: Callable[[], None], left: str) -> int:
    """Of a command that does `work`, with what went wrong on standard error.

    0; 2 with all problems of its input; 74 where something cannot be written; 75 after a signal that raised Leave, and
    `left` says what that means.
    """
    try:
        work()
    except interruption.Leave as signal:
        print(f"{signal}: {left}", file=sys.stderr)
        return interruption.EXIT_STATUS
    except CannotWrite as error:
        print(error, file=sys.stderr)
        return CannotWrite.STATUS
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
