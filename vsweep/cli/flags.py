"""The door of the command line: flags and config files in, one list of problems out, never a traceback."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict

from vsweep.cli import command_line
from vsweep.cli.command_line import CommandLine
from vsweep.config import default_dict, document, sweep_config
from vsweep.config.design import explicit_runs
from vsweep.config.problems import ConfigError, Problem, without_repeats

EXAMPLE = "--config=configs/addition.py:laptop"


def parse_flags(arguments: list[str]) -> list[str]:
    """Reads flags, the config file and its overrides; `--help` prints and ends the program with status 0.

    Mistakes in any of them end the program with all of their problems, and those of the config, and status 2.
    """
    try:
        line = command_line.read(flags.FLAGS.read_flags_from_files(arguments[1:], force_gnu=False))
    except flags.Error as error:
        fail([Problem("command line", _message(error))])
    if line.help:
        show_help(arguments[0], line.help)
        sys.exit(0)
    problems = line.problems + _set_flags(arguments[0], line)
    config, unloadable = _load_config(arguments[0], line)
    if config is None:
        problems += unloadable + _problems_of_overrides(line)
    else:
        overridden = command_line.with_overrides(config, line.overrides)
        flags.FLAGS["config"].value = overridden
        problems += _locate_runs(overridden, _folder_of([words for name, words in line.flags if name == "config"][-1]))
    if problems:
        fail(problems + without_repeats(_config_problems(config), problems))
    return arguments[:1]


@contextlib.contextmanager
def reading_variables() -> Iterator[None]:
    """Loading jax, which answers an environment variable that it cannot read with a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError([Problem("environment", str(error))]) from None


def fail(problems: Sequence[Problem | str]) -> NoReturn:
    """Ends the program with one list of problems on standard error and status 2."""
    print("\n".join(["vsweep cannot start:", *(f"  {problem}" for problem in problems)]), file=sys.stderr)
    sys.exit(2)


def leave_at_once(message: str, status: int) -> NoReturn:
    """Without waiting for threads: those of a save that failed may wait for each other, minutes long."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(status)


def show_help(program: str, which: str) -> None:
    """`--help`: how to call it, its own flags and the fields of a config. `--helpfull`: the flags of libraries too."""
    if which == "helpxml":
        flags.FLAGS.write_help_in_xml_format(sys.stdout)
        return
    own = flags.FLAGS.get_help() if which == "helpfull" else flags.FLAGS.module_help("vsweep.cli.train")
    call = f"usage: {program} --config=FILE.py:VARIANT [--config.SECTION.FIELD=VALUE ...] [flags]"
    print("\n\n".join([call, f"such as: {program} {EXAMPLE} --config.sweep.seed=0,1", own, document.help_text()]))
    if which != "helpfull":
        print("\n--helpfull lists the flags of libraries too.")


def _set_flags(program: str, line: CommandLine) -> list[Problem]:
    problems = []
    flags.FLAGS([program])
    for name, words in line.flags:
        try:
            if name != "config":
                flags.FLAGS([program, *words])
        except (flags.Error, ValueError) as error:
            problems.append(Problem("command line", _message(error)))
    return problems


def _load_config(program: str, line: CommandLine) -> tuple[ConfigDict | None, list[Problem]]:
    """The config of the last `--config`, or why there is none."""
    given = [words for name, words in line.flags if name == "config"]
    if not given:
        return None, [Problem("--config", "not given", allowed=f"a config file, such as {EXAMPLE}")]
    _import_from_its_folder(given[-1])
    try:
        with _warnings_of_the_loader_apart():
            flags.FLAGS([program, *given[-1]])
            config = flags.FLAGS["config"].value
            if config is not None:
                config.items()  # a file that could not be loaded says so on first use
    except flags.Error as error:
        return None, [Problem("command line", _message(error))]
    except Exception as error:  # a config file is the user's code and may raise anything
        return None, [_unloadable(error)]
    if isinstance(config, ConfigDict):
        return config, []
    allowed = "a ConfigDict, as in configs/addition.py"
    return None, [Problem("--config", f"get_config returned {type(config).__name__}", allowed=allowed)]


def _import_from_its_folder(words: Sequence[str]) -> None:
    """A user's own task or optimizer stands beside the config file. Nothing installed is hidden by what is there."""
    folder = str(_folder_of(words))
    if folder not in sys.path:
        sys.path.append(folder)


def _folder_of(words: Sequence[str]) -> Path:
    """The folder of the config file that a flag names."""
    file = words[-1].rpartition("=")[2].partition(":")[0]
    return Path(file).absolute().parent


def _locate_runs(config: ConfigDict | dict, folder: Path) -> list[Problem]:
    """Gives the file of explicit runs by its whole path: it may stand beside the config file."""
    sweep = config.get("sweep")
    path = sweep.get("runs_csv") if isinstance(sweep, Mapping | ConfigDict) else None
    if not path or not isinstance(path, str):
        return []
    place = explicit_runs.locate(path, folder)
    if isinstance(place, Problem):
        return [place]
    sweep["runs_csv"] = place
    return []


def _problems_of_overrides(line: CommandLine) -> list[Problem]:
    """Without a config file, only what is wrong with an override by itself can be said."""
    config = command_line.with_overrides(ConfigDict(default_dict()), line.overrides)
    return [problem for problem in _problems_of(config) if problem.field in line.overrides]


def _config_problems(config: ConfigDict | None) -> list[Problem]:
    return [] if config is None else _problems_of(flags.FLAGS["config"].value)


def _problems_of(config) -> list[Problem]:
    try:
        sweep_config.from_dict(config)
    except ConfigError as error:
        return error.problems
    return []


@contextlib.contextmanager
def _warnings_of_the_loader_apart() -> Iterator[None]:
    """How ml_collections loads a config file is deprecated: under `python -W error` no fault of the file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"the load_module\(\) method is deprecated", DeprecationWarning)
        yield


def _unloadable(error: Exception) -> Problem:
    if isinstance(_cause(error), Warning):
        allowed = "a file and libraries that do not warn, or Python without -W error and PYTHONWARNINGS"
        what = "a warning became an error while --config was loaded"
        return Problem("python -W error", what, _message(error), allowed)
    return Problem("--config", _message(error), allowed=f"a file with get_config(), such as {EXAMPLE}")


def _cause(error: BaseException) -> BaseException:
    """The innermost one: config_flags wraps errors in errors."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return error


def _message(error: BaseException) -> str:
    """The innermost cause in one line; config_flags puts tracebacks into messages."""
    error = _cause(error)
    text = str(error) if isinstance(error, SyntaxError | OSError) or not error.args else str(error.args[0])
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    told = lines[-1] if "Traceback" in text or isinstance(error, OSError) else " ".join(lines)
    return told if isinstance(error, flags.Error) else f"{type(error).__name__}: {told}"
