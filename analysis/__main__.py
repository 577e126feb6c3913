"""`python -m analysis SOURCE`, and with a word before it `plan`, `compare` or `table`. `vsweep` runs the same."""

from vsweep.host import startup

if __name__ == "__main__":
    startup.steady_streams()

import sys

from vsweep.analysis import commands, planner
from vsweep.analysis.compare import command

COMMANDS = {"analyse": commands.analyse, "plan": planner.main, "compare": command.main, "table": commands.table}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command that the first argument names, `analyse` if it names none; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:])
    return commands.analyse(arguments)


if __name__ == "__main__":
    sys.exit(main())
