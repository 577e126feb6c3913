"""`python -m analysis SOURCE`, and with a word before it `plan`, `compare`, `check` or `table`.

`vsweep` runs the same.
"""

from vsweep.host import startup

if __name__ == "__main__":
    startup.steady_streams()

import importlib
import sys

COMMANDS = {  # word -> the module and the function that it means, loaded when it is called
    "analyse": ("vsweep.analysis.commands", "analyse"),
    "plan": ("vsweep.analysis.planner.command", "main"),
    "compare": ("vsweep.analysis.compare.command", "main"),
    "check": ("vsweep.analysis.checking.command", "main"),
    "table": ("vsweep.analysis.commands", "table"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command that the first argument names, `analyse` if it names none; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    word, rest = (arguments[0], arguments[1:]) if arguments and arguments[0] in COMMANDS else ("analyse", arguments)
    module, function = COMMANDS[word]
    return getattr(importlib.import_module(module), function)(rest)


if __name__ == "__main__":
    sys.exit(main())
