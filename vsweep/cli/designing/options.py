"""What `vsweep design` reads from its command line, with every mistake in one list."""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from vsweep import program
from vsweep.analysis import option_help
from vsweep.analysis.designer.search import ISOFLOP, KINDS
from vsweep.config.problems import ConfigError, Problem, closest

TOKENS_PER_PARAM = 20.0  # of Chinchilla
EXAMPLES = """examples:
  {design} --flops 1e13 --config markov --out configs/mine.py
  {design} --flops 1e16 --vocabulary 256 --positions 512 --levels 4 --sizes 5
  {design} runs/markov-full --flops 1e12 --out configs/more.py
"""
LARGEST_SPREAD = 1.0  # of log loss
OF_A_NEW_DESIGN = (
    *("config", "vocabulary", "positions", "min_flops", "kind", "levels", "sizes", "seeds", "tokens_per_param"),
    "target_flops",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line, read: None where nothing was said."""

    flops: float
    workdir: Path | None = None
    config: str | None = None
    vocabulary: int | None = None
    positions: int | None = None
    min_flops: float | None = None
    target_flops: float | None = None
    kind: str | None = None
    levels: int | None = None
    sizes: int | None = None
    seeds: int | None = None
    assume: str | None = None
    loss_convention: str | None = None
    seed_spread: float | None = None
    tokens_per_param: float | None = None
    out: Path | None = None


def read(arguments: Sequence[str]) -> Options:
    """The options. `--help` and words that are no options leave the program, as argparse does.

    Raises:
      ConfigError: every value that is wrong, and options that do not go together.
    """
    texts = vars(parser().parse_args(arguments))
    problems: list[Problem] = []
    values = {name: _value(name, text, problems) for name, text in texts.items()}
    problems += _combinations(texts)
    problems += _out_problems(values["out"]) if values["out"] else []
    if problems:
        raise ConfigError(problems)
    return Options(**values)


FLOP = ("FLOP, above 0", lambda value: 0 < value < math.inf)
COUNT = {
    "vocabulary": "a whole number from 2",
    "positions": "a whole number from 1",
    "levels": "a whole number from 2",
    "sizes": "a whole number from 2",
    "seeds": "a whole number from 1",
}
NUMBERS = {
    "flops": FLOP,
    "min_flops": FLOP,
    "target_flops": FLOP,
    "seed_spread": (f"above 0, up to {LARGEST_SPREAD:g}", lambda value: 0 < value <= LARGEST_SPREAD),
    "tokens_per_param": ("above 0", lambda value: 0 < value < math.inf),
}


def _value(name: str, text: str | None, problems: list[Problem]) -> object:
    if text is None and name != "flops":
        return None
    if name in NUMBERS:
        allowed, test = NUMBERS[name]
        return _number(name, text, allowed, test, problems)
    if name in COUNT:
        allowed = COUNT[name]
        least = int(allowed.split()[-1])
        value = _number(name, text, allowed, lambda value: value >= least and value == int(value), problems)
        return None if value is None else int(value)
    if name == "kind" and text not in KINDS:
        problems.append(Problem("--kind", "no such kind", repr(text), ", ".join(KINDS), closest(text, KINDS)))
    return Path(text) if name in ("workdir", "out") else text


def _number(name: str, text: str | None, allowed: str, test, problems: list[Problem]) -> float | None:
    flag = f"--{name.replace('_', '-')}"
    if text is None:
        problems.append(Problem(flag, "not given", allowed="the compute of all runs together, such as --flops 1e14"))
        return None
    try:
        value = float(text)
        good = math.isfinite(value) and test(value)
    except ValueError:
        good = False
    if not good:
        problems.append(Problem(flag, "not a valid value", repr(text), allowed))
    return value if good else None


def _combinations(texts: dict[str, str | None]) -> list[Problem]:
    given = [name for name, text in texts.items() if text is not None]
    problems = []
    if "workdir" in given:
        problems += [_unread(name, "without WORKDIR, for a new design") for name in OF_A_NEW_DESIGN if name in given]
    if "config" in given:
        problems += [_unread(name, "without --config") for name in ("vocabulary", "positions") if name in given]
    elif ("vocabulary" in given) != ("positions" in given):
        problems.append(Problem("--vocabulary", "goes with --positions", allowed="both, or --config"))
    if "assume" not in given and "loss_convention" in given and "workdir" not in given:
        problems.append(_unread("loss_convention", "with --assume FITS.json"))
    if "assume" in given and "tokens_per_param" in given:
        problems.append(_unread("tokens_per_param", "without --assume"))
    if "min_flops" in given and texts["kind"] not in (None, ISOFLOP):
        problems.append(_unread("min_flops", f"with --kind {ISOFLOP}"))
    if "out" in given and "vocabulary" in given:
        problems.append(Problem("--out", "a config needs a task", repr(texts["out"]), "with --config"))
    return problems


def _unread(name: str, allowed: str) -> Problem:
    return Problem(f"--{name.replace('_', '-')}", "nothing reads it", allowed=allowed)


def _out_problems(out: Path) -> list[Problem]:
    if out.suffix != ".py":
        return [Problem("--out", "not a name of a config file", repr(str(out)), "FILE.py")]
    if not out.absolute().parent.is_dir():
        return [Problem("--out", "no such folder", repr(str(out.parent)), "a folder that is there")]
    there = [file for file in (out, out.with_suffix(".csv")) if file.exists()]
    return [Problem("--out", "is there already", repr(str(file)), "a new file") for file in there]


def parser() -> argparse.ArgumentParser:
    """The parser, whose values are texts: `read` judges them all together."""
    name = program.command("design")
    found = argparse.ArgumentParser(
        name,
        description="Proposes a sweep for a compute, or the runs to add to a sweep. Compute is counted as 6ND.",
        epilog=EXAMPLES.format(design=name),
        formatter_class=option_help.Help,
    )
    found.add_argument("workdir", nargs="?", metavar="WORKDIR", help="a sweep to add runs to (default: a new design)")
    found.add_argument("--flops", metavar="FLOP", help="compute of all proposed runs together")
    found.add_argument(
        "--out", metavar="FILE.py", help="write the design as a config file; WORKDIR: and its runs as CSV"
    )
    law = found.add_argument_group("what is assumed")
    law.add_argument(
        "--assume",
        metavar="LAW",
        help="the law that the losses follow: a fits.json, `hoffmann` or E,A,B,alpha,beta (default: that of WORKDIR, "
        "else Chinchilla's, moved to this compute)",
    )
    law.add_argument("--loss-convention", metavar="NAME", help="which loss of a fits.json (default: the first fitted)")
    spread = "standard deviation of log loss between seeds (default: of the law's own study, or else 0.01)"
    law.add_argument("--seed-spread", metavar="SD", help=spread)
    ratio = f"D / N at which Chinchilla's moved law has its optimum (default: {TOKENS_PER_PARAM:g})"
    law.add_argument("--tokens-per-param", metavar="RATIO", help=ratio)
    new = found.add_argument_group("a new design")
    new.add_argument("--config", metavar="CONFIG", help="take task, model and batch from it, as `vsweep train` does")
    new.add_argument("--vocabulary", metavar="COUNT", help="without --config: tokens that there are")
    new.add_argument("--positions", metavar="COUNT", help="without --config: labels of an example")
    both = f"{ISOFLOP} (sizes at levels of compute, the default) or grid (sizes at the same budgets)"
    new.add_argument("--kind", metavar="KIND", help=both)
    new.add_argument("--min-flops", metavar="FLOP", help="compute of a run at the lowest level (default: searched)")
    new.add_argument("--levels", metavar="COUNT", help="levels of compute, or budgets (default: searched, 3 to 6)")
    new.add_argument("--sizes", metavar="COUNT", help="model sizes (default: searched: 4, 5, 6 or 8)")
    new.add_argument("--seeds", metavar="COUNT", help="seeds of each run (default: 2)")
    target = "minimise the interval of the loss forecast at this compute (default: the interval of a)"
    new.add_argument("--target-flops", metavar="FLOP", help=target)
    return found
