"""The command `vsweep WORD ...`: finds the program that WORD means and hands it the other arguments.

Each program reads its own arguments, and is the same by its older name: `launch.py` is `vsweep train`, and
`python -m analysis` is `vsweep analyse`. Nothing is loaded before it is needed: `vsweep analyse` loads no jax.
"""

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vsweep.host import startup

HELP = """usage: vsweep COMMAND ...

  train CONFIG [flags]                     trains a sweep, or continues it, and fits the law
  plan CONFIG [flags]                      shows what would be trained, its cost and what it would tell (train --plan)
  design --flops FLOP                      proposes a sweep for a compute, or the runs to add to one
  serve [WORKDIR ...]                      a page on this machine that shows sweeps while they train
  analyse SOURCE                           fits the law to a work directory or a table: report.html, fits.json
  compare A B                              does a change move the exponent, or only the constant?
  plan-from-law FITS.json --compute FLOP   from a fitted law to a model size, tokens and a loss
  check FITS.json NEW                      do new runs lie on the forecast of a fitted law?
  table SOURCE OUT.csv                     the runs as C, N, D, loss, for other tools
  tokenise INPUT... --out STORE            text files or a data set as ids, for training on your own text
  generate WORKDIR --run RUN_ID QUERY...   the answers of a finished run, or samples of its text
  evaluate WORKDIR [--data FILE]           losses and metrics of finished runs on any data, without training
  export WORKDIR RUN_ID --to FILE          its parameters as .npz or .safetensors

CONFIG is the name of a bundled config with a variant, such as addition:smoke, or a file: configs/mine.py:variant.
Bundled: {bundled}. `vsweep COMMAND --help` shows the flags of a command.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `vsweep ARGUMENTS` (default: those of the process) and ends the process with its exit status."""
    startup.steady_streams()
    word, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if word in ("-h", "--help", "help"):
        print(HELP.format(bundled=", ".join(bundled_configs())), end="")
        sys.exit(0)
    if word == "--version":
        from vsweep import __version__

        print(f"vsweep {__version__}")
        sys.exit(0)
    if word not in COMMANDS:
        sys.exit(_refuse("vsweep", f"no such command - got {word!r}; allowed: {', '.join(COMMANDS)}", word, COMMANDS))
    sys.exit(COMMANDS[word](rest))


def bundled_configs() -> dict[str, Path]:
    """Name -> file of the configs that come with the package."""
    import vsweep.configs

    files = sorted(path for folder in vsweep.configs.__path__ for path in Path(folder).glob("[!_]*.py"))
    return {path.stem: path for path in files}


def config_flag(word: str) -> str:
    """The flag of launch.py for `addition:smoke`, `mine.py:variant` or `--config=` and one of them.

    Raises:
      ValueError: neither a path to a .py file nor the name of a bundled config.
    """
    config = word.removeprefix("--config=")
    name, colon, variant = config.partition(":")
    if "/" in name or name.endswith(".py"):
        return f"--config={config}"
    bundled = bundled_configs()
    if name not in bundled:
        allowed = f"{', '.join(bundled)}, or a file such as configs/mine.py:variant"
        raise ValueError(f"no such bundled config - got {name!r}; allowed: {allowed}")
    return f"--config={bundled[name]}{colon}{variant}"


def _train(rest: list[str], *flags: str, word: str = "train") -> int:
    startup.refuse_without_posix()
    first = rest[0] if rest else ""
    if first.startswith("--config=") or (first and not first.startswith("-")):
        try:
            rest = [config_flag(first), *rest[1:]]
        except ValueError as error:
            return _refuse(f"vsweep {word}", str(error), first.partition(":")[0], bundled_configs())
    elif not any(flag.startswith(("--config", "--help", "-help", "-?")) for flag in rest):
        allowed = "the config first, such as addition:smoke or configs/mine.py:variant"
        return _refuse(f"vsweep {word}", f"no config - got {first!r}; allowed: {allowed}")
    from vsweep.cli import train

    return train.run([f"vsweep {word}", *rest, *flags])


def _plan(rest: list[str]) -> int:
    return _train(rest, "--plan", word="plan")


def _analysis(*words: str) -> Callable[[list[str]], int]:
    def run(rest: list[str]) -> int:
        from vsweep.analysis import __main__ as analysis

        return analysis.main([*words, *rest])

    return run


def _design(rest: list[str]) -> int:
    startup.refuse_without_posix()
    from vsweep.cli.designing import command

    return command.main(rest)


def _tokenise(rest: list[str]) -> int:
    startup.refuse_without_posix()
    from vsweep.cli import tokenise

    return tokenise.main(rest)


def _serve(rest: list[str]) -> int:
    startup.refuse_without_posix()
    from vsweep.serve import command

    return command.main(rest)


def _on_jax(module: str) -> Callable[[list[str]], int]:
    def run(rest: list[str]) -> int:
        startup.refuse_without_posix()
        from vsweep.cli import flags
        from vsweep.config.problems import ConfigError

        try:
            with flags.reading_variables():
                program = importlib.import_module(module)
        except ConfigError as error:
            print(error, file=sys.stderr)
            return 2
        return program.main(rest)

    return run


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": _train,
    "plan": _plan,
    "design": _design,
    "serve": _serve,
    "analyse": _analysis("analyse"),
    "compare": _analysis("compare"),
    "plan-from-law": _analysis("plan"),
    "check": _analysis("check"),
    "table": _analysis("table"),
    "tokenise": _tokenise,
    "generate": _on_jax("vsweep.generate"),
    "evaluate": _on_jax("vsweep.evaluate"),
    "export": _on_jax("vsweep.export"),
}


def _refuse(program: str, problem: str, word: str = "", words: Sequence[str] = ()) -> int:
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    print(f"{program}: {problem}{f'; did you mean {close[0]}?' if close else ''}", file=sys.stderr)
    return 2
