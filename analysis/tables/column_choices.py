"""The user's own word on which column is what: `--column D=tokens_B*1e9`, `columns={"D": "tokens_B*1e9"}` in Python."""

import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# What may be chosen; `column_names` has the usual names of each.
QUANTITIES = ("N", "D", "C", "loss", "seed", "unique_tokens", "budget", "weight", "run")
NO_COLUMN = "none"  # of run ids: each row is a run of its own


@dataclass(frozen=True)
class Choice:
    """A quantity, the name of its column, and the factor that gives plain counts, FLOP or nats per token."""

    quantity: str
    column: str
    factor: float = 1.0

    @property
    def source(self) -> str:
        """The column with its factor, such as `tokens_B*1e+09`."""
        if self.factor == 1.0:
            return self.column
        short = f"{self.factor:g}"
        return f"{self.column}*{short if float(short) == self.factor else repr(self.factor)}"

    def __str__(self) -> str:
        return f"{self.quantity}={self.source}"


def parse(choices: Iterable[str] | Mapping[str, str], names: Iterable[str]) -> dict[str, Choice]:
    """Reads `QUANTITY=COLUMN` or `QUANTITY=COLUMN*FACTOR` for a table with columns `names`.

    A column whose own name ends like a factor is found first, so `D=x*2` is the column `x*2` where there is one.

    Raises:
      ValueError: every choice that is wrong, each with what is allowed.
    """
    if isinstance(choices, Mapping):
        choices = [f"{quantity}={text}" for quantity, text in choices.items()]
    texts = [choices] if isinstance(choices, str) else choices
    names = list(names)
    found, problems = {}, []
    for text in texts:
        try:
            choice = _parsed(text, names)
        except ValueError as error:
            problems.append(str(error))
            continue
        if choice.quantity in found:
            problems.append(f"--column {text}: {choice.quantity} was given before, as {found[choice.quantity]}")
        found[choice.quantity] = choice
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _parsed(text: str, names: list[str]) -> Choice:
    quantity, equals, rest = text.partition("=")
    known = {name.casefold(): name for name in QUANTITIES}
    if not equals or quantity.strip().casefold() not in known:
        raise ValueError(f"--column {text}: needed is QUANTITY=COLUMN, with QUANTITY one of {', '.join(QUANTITIES)}")
    quantity, rest = known[quantity.strip().casefold()], rest.strip()
    if rest in names:
        return Choice(quantity, rest)
    if quantity == "run" and rest.casefold() == NO_COLUMN:
        return Choice(quantity, NO_COLUMN)
    column, star, number = rest.rpartition("*")
    if not star or column.strip() not in names:
        raise ValueError(f"--column {text}: no column {column.strip() or rest!r}; it has {', '.join(names)}")
    try:
        factor = float(number)
    except ValueError:
        factor = math.nan
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"--column {text}: the factor is {number.strip()!r}; needed is a positive number, such as 1e9")
    return Choice(quantity, column.strip(), factor)


def command(choices: Iterable[Choice]) -> str:
    """The options of a shell that make these choices, for a message: `--column N=params*1e+06`."""
    return " ".join(f"--column {shlex.quote(str(choice))}" for choice in choices)
