"""The door of the command line: flags and config files in, one list of problems out, never a traceback."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict, config_flags

from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import Anything

EXAMPLE = "--config=configs/addition.py:laptop"


class AsItIs(flags.ArgumentParser):
    """Takes text as it is, for `config` reads the numbers in it, and a config file's value too."""

    def parse(self, argument: object) -> object:
        return argument


config_flags.register_flag_parser_for_type(Anything, AsItIs())


def parse_flags(arguments: list[str]) -> list[str]:
    """absl's parser; a mistake in a flag or in the config file ends the program with its problems and status 2."""
    try:
        with _warnings_of_the_loader_apart():
            rest = flags.FLAGS(arguments)
        problems = [f"command line: stray argument - got {word!r}; allowed: flags, --name=value" for word in rest[1:]]
        problems += _config_problems(arguments)
    except ConfigError as error:
        problems = error.problems
    except flags.Error as error:
        problems = [f"command line: {_message(error)}"]
    except Exception as error:  # a config file is the user's code and may raise anything
        problems = [_config_problem(_message(error))]
    if problems:
        fail(problems)
    return rest


@contextlib.contextmanager
def reading_variables() -> Iterator[None]:
    """Loading jax, which answers an environment variable that it cannot read with a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError([f"environment: {error}"]) from None


def fail(problems: list[str]) -> NoReturn:
    print("\n".join(["vsweep cannot start:", *(f"  {problem}" for problem in problems)]), file=sys.stderr)
    sys.exit(2)


def leave_at_once(message: str, status: int) -> NoReturn:
    """Without waiting for threads: those of a save that failed may wait for each other, minutes long."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


@contextlib.contextmanager
def _warnings_of_the_loader_apart() -> Iterator[None]:
    """How ml_collections loads a config file is deprecated: under `python -W error` no fault of the file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"the load_module\(\) method is deprecated", DeprecationWarning)
        yield


def _config_problems(arguments: list[str]) -> list[str]:
    if not flags.FLAGS["config"].present:
        return [f"--config: not given; allowed: a config file, such as {EXAMPLE}"]
    config = flags.FLAGS["config"].value
    if config is not None:
        config.items()  # a file that could not be loaded says so on first use
    if isinstance(config, ConfigDict):
        return []
    return [f"--config: get_config returned {type(config).__name__}; allowed: a ConfigDict, as in configs/addition.py"]


def _config_problem(told: str) -> str:
    if told.partition(":")[0].endswith("Warning"):
        return (
            f"python -W error: a warning became an error while --config was loaded - got {told}; allowed: a file and "
            "libraries that do not warn, or Python without -W error and PYTHONWARNINGS"
        )
    return f"--config: {told}; allowed: a file with get_config(), such as {EXAMPLE}"


def _message(error: BaseException) -> str:
    """The innermost cause in one line: config_flags wraps errors in errors, and tracebacks in messages."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    text = str(error) if isinstance(error, SyntaxError | OSError) or not error.args else str(error.args[0])
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    told = lines[-1] if "Traceback" in text or isinstance(error, OSError) else " ".join(lines)
    return told if isinstance(error, flags.Error) else f"{type(error).__name__}: {told}"
