"""How every command ends: what is wrong with its input is one line on stderr, and never a traceback."""

import functools
import os
import sys
from collections.abc import Callable

from vsweep.analysis.formatting import one_line
from vsweep.atomic import CannotWrite

BAD_INPUT = 2
NO_MEMORY = os.EX_OSERR

Command = Callable[..., int]


def command(name: str) -> Callable[[Command], Command]:
    """Turns errors that the user can fix into a status and one line on stderr that begins with `name`.

    Others, which are mistakes in this program, keep their traceback.
    """

    def decorate(run: Command) -> Command:
        @functools.wraps(run)
        def answering(*arguments, **options) -> int:
            try:
                return run(*arguments, **options)
            except CannotWrite as error:
                return refuse(name, error, CannotWrite.STATUS)
            except (ValueError, OSError) as error:  # BadTable and BadLaw are ValueErrors
                return refuse(name, error)
            except MemoryError as error:
                needs = "free some, or use fewer resamples (--bootstrap)"
                return refuse(name, f"not enough memory ({error or 'no more was given'}): {needs}", NO_MEMORY)

        return answering

    return decorate


def refuse(name: str, reason: object, status: int = BAD_INPUT) -> int:
    """Prints `reason` as one line on stderr and returns `status`."""
    print(f"{name}: {one_line(reason)}", file=sys.stderr)
    return status
