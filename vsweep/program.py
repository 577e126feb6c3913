"""What a message should call a command, so that the reader can type it where he is.

There are two ways to each command: `vsweep WORD`, and in a checkout without an installed package a file or a module.
"""

import argparse
import sys
from pathlib import Path

IN_A_CHECKOUT = {
    "train": "python launch.py",
    "analyse": "python -m analysis",
    "plan-from-law": "python -m analysis plan",
    "compare": "python -m analysis compare",
    "check": "python -m analysis check",
    "table": "python -m analysis table",
    "generate": "python -m vsweep.generate",
}
LAUNCHER = Path(__file__).parent.parent / "launch.py"  # stands beside the package in a checkout only


def command(word: str) -> str:
    """`vsweep WORD` if that is how this program was called, or if there is no checkout; else the checkout's way."""
    called = Path(sys.argv[0]) if sys.argv else Path()
    if called.name == "__main__.py" and called.parent.name == "vsweep":
        return f"python -m vsweep {word}"
    if called.stem == "vsweep" or not LAUNCHER.is_file():
        return f"vsweep {word}"
    return IN_A_CHECKOUT.get(word, f"python -m vsweep {word}")


def parser(word: str, description: str, examples: str) -> argparse.ArgumentParser:
    """The arguments of a command, with `examples` below them: its own name stands there as {command}."""
    name = command(word)
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        name, description=description, epilog=examples.format(command=name), formatter_class=raw
    )
