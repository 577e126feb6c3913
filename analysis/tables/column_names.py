"""The columns of a foreign table: which one holds N, D, C, the loss and so on, and what is wrong with their values.

People name the same quantity in many ways. The exact name wins, then any usual one; two usual ones for one quantity are
a question that only the owner of the table can answer, so they are a problem and never a guess.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from numbers import Real

import numpy as np
import pandas as pd

from vsweep.analysis.tables import units
from vsweep.analysis.tables.column_choices import Choice, command

# What each quantity is called, in small letters and without spaces and punctuation.
NAMES = {
    "N": "n params parameters nparams nparameters numparams numparameters totalparams totalparameters modelparams "
    "modelparameters paramcount parametercount modelsize",
    "D": "d tokens ntokens numtokens totaltokens traintokens trainingtokens datatokens datasettokens tokensseen "
    "numtraintokens numtrainingtokens",
    "C": "c flop flops cflop cflops nflops numflops totalflop totalflops trainflop trainflops trainingflop "
    "trainingflops compute traincompute trainingcompute totalcompute",
    "loss": "loss valloss evalloss validationloss evaluationloss testloss heldoutloss finalloss finalvalloss "
    "finalevalloss finaltestloss finalvalidationloss",
    "seed": "seed randomseed rngseed",
    "unique_tokens": "uniquetokens u unique nunique nuniquetokens numuniquetokens uniquedatatokens",
    "budget": "budget isoflop isoflops isoflopbudget flopbudget flopsbudget budgetflop budgetflops computebudget "
    "budgetcompute tokenbudget tokensbudget budgettokens",
    "weight": "weight sampleweight pointweight fitweight",
}
# Parameters that a token meets in a mixture of experts: the N of 6ND. Total parameters are a second N of such tables.
ACTIVE = set(
    [
        "activeparams",
        "activeparameters",
        "activeparam",
        "nactive",
        "nactivated",
        "nactiveparams",
        "nactiveparameters",
        "numactiveparams",
        "numactiveparameters",
        "activatedparams",
        "activatedparameters",
        "nactivatedparams",
        "paramsactive",
        "parametersactive",
        "activeparamcount",
        "activesize",
    ]
)
COUNTED = ("N", "D", "C", "unique_tokens", "budget")  # whose names may say thousands, millions or GFLOP
OPTIONAL = ("seed", "unique_tokens", "budget", "weight")
# What to look for in unknown names when N, D, C or the loss is missing, and from which likeness (of 1) on to offer one.
TELLING = {"N": "params parameters modelsize", "D": "tokens", "C": "flops compute", "loss": "loss crossentropy"}
ALIKE = 0.75
AT_MOST = 8  # rows named in a message


@dataclass(frozen=True)
class Column:
    """One column that holds a known quantity: where it is, its name in the table, and the factor to plain counts.

    `unit` is the unit that its name says, in words for a count and one of `units.LOSS_UNITS` for a loss. `chosen` says
    that the user named it, so that nothing about it is doubted.
    """

    quantity: str
    at: int
    name: str
    factor: float = 1.0
    unit: str = ""
    chosen: bool = False

    @property
    def choice(self) -> Choice:
        """The option that reads it so."""
        return Choice(self.quantity, self.name, self.factor)

    @property
    def label(self) -> str:
        """Its name, with the quantity where the name alone would not tell."""
        return self.name if plain(self.name) == plain(self.quantity) else f"{self.name} ({self.quantity})"


@dataclass(frozen=True)
class ColumnReading:
    """The column of each quantity that is there, what is missing or doubtful, and notes on how names were read."""

    columns: dict[str, Column]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def plain(name: object) -> str:
    """The name in small letters, without spaces and punctuation."""
    return "".join(letter for letter in str(name).casefold() if letter.isalnum())


def recognise(names: list[str], choices: Mapping[str, Choice] | None = None) -> ColumnReading:
    """Which of the columns `names` hold a quantity of `NAMES`, and what a law needs beyond them.

    The user's own `choices` by quantity come first; a column that he chose is no candidate for anything else.
    """
    choices = choices or {}
    taken = {choice.column for choice in choices.values()}
    columns, problems, notes, doubtful = {}, [], [], []
    for quantity in NAMES:
        if quantity in choices:
            columns[quantity] = _chosen(choices[quantity], names)
            continue
        best, others = _candidates(quantity, names, taken)
        if len(best) > 1:
            doubtful.append(quantity)
            several = " and ".join(names[at] for at in best)
            answer = command([_read_as(quantity, names, best[0]).choice])
            problems.append(
                f"columns {several} could each be {quantity} - keep one, or name the right one, such as {answer}"
            )
        elif best:
            columns[quantity] = _read_as(quantity, names, best[0])
            if others:
                notes.append(_about_others(columns[quantity], names, others))
    renamed = [
        f"{quantity} is {column.choice.source}" for quantity, column in columns.items() if column.label != column.name
    ]
    if renamed:
        how = "were chosen or recognised" if choices else "were recognised"
        notes.insert(0, f"Columns {how} by their names: {', '.join(renamed)}.")
    units_said = [f"{column.name} is in {column.unit}" for column in columns.values() if column.unit]
    if units_said:
        notes.append(f"Units were taken from the names: {', '.join(units_said)}.")
    if "N" in columns and (about := _about_active(columns["N"], names)):
        notes.append(about)
    missing = _missing({*columns, *doubtful}, names)
    return ColumnReading(columns, (*problems, missing) if missing else tuple(problems), tuple(notes))


def is_active(name: str) -> bool:
    """Whether a column counts active parameters: `active_params`, `config.n_activated`, `active_params (B)`."""
    last = re.split(r"[./]", name)[-1]
    said = units.from_name(last)
    return plain(last) in ACTIVE or (said is not None and said.base in ACTIVE)


def _about_active(column: Column, names: list[str]) -> str:
    """A note on which parameters of a mixture of experts N counts; empty where no column counts active ones."""
    if is_active(column.name):
        return f"N is {column.name}: the parameters that each token meets in a mixture of experts, and those of 6ND."
    active = [at for at, name in enumerate(names) if is_active(name)]
    if not active:
        return ""
    answer = command([_read_as("N", names, active[0]).choice])
    counted = "which counts experts that a token never meets"
    return f"N is {column.name}, and so is that of 6ND, {counted} ({answer} does not)."


def _chosen(choice: Choice, names: list[str]) -> Column:
    unit = (units.loss_unit(choice.column) or "") if choice.quantity == "loss" and choice.factor == 1.0 else ""
    return Column(choice.quantity, names.index(choice.column), choice.column, choice.factor, unit, chosen=True)


def _read_as(quantity: str, names: list[str], at: int) -> Column:
    """The column as `quantity`, with the unit that its name says."""
    name = names[at]
    if quantity == "loss":
        return Column(quantity, at, name, unit=units.loss_unit(name) or "")
    said = units.from_name(name) if quantity in COUNTED and plain(name) not in NAMES[quantity].split() else None
    return Column(quantity, at, name, said.factor, said.text) if said else Column(quantity, at, name)


def _about_others(column: Column, names: list[str], others: list[int]) -> str:
    unused = ", ".join(names[at] for at in others)
    answer = command([_read_as(column.quantity, names, others[0]).choice])
    was = "were" if len(others) > 1 else "was"
    return f"The column {column.name} was read as {column.quantity}; {unused} {was} not used ({answer} reads it)."


def _candidates(quantity: str, names: list[str], taken: Set[str]) -> tuple[list[int], list[int]]:
    """Positions of the columns with the best claim to be `quantity`, and of those with a lesser one."""
    tests = (
        lambda name: name == quantity,
        lambda name: plain(name) == plain(quantity),
        lambda name: quantity == "N" and is_active(name),
        lambda name: plain(name) in NAMES[quantity].split(),
        lambda name: _says_unit(quantity, name),
        lambda name: _is_nested(quantity, name),
        lambda name: quantity == "N" and is_non_embedding(name),
    )
    free = [(at, name) for at, name in enumerate(names) if name not in taken]
    tiers = [[at for at, name in free if test(name)] for test in tests]
    best = next((tier for tier in tiers if tier), [])
    lesser = sorted({at for tier in tiers[2:] for at in tier} - set(best))
    return best, lesser


def _says_unit(quantity: str, name: str) -> bool:
    """Whether a name is a usual one with a unit, such as `params_M`, `total_gflops` or `val_bpb`."""
    if quantity == "loss":
        return units.loss_unit(name) is not None and "train" not in plain(name)
    said = units.from_name(name) if quantity in COUNTED else None
    return said is not None and said.base in NAMES[quantity].split()


def _is_nested(quantity: str, name: str) -> bool:
    """Whether the last part of `config.n_params` is a usual name: no single letter, and no loss of training."""
    last = plain(re.split(r"[./]", name)[-1])
    if last == plain(name) or len(last) < 2 or (quantity == "loss" and "train" in plain(name)):
        return False
    return last in NAMES[quantity].split()


def is_non_embedding(name: str) -> bool:
    """Whether a column counts parameters without embeddings: a second N of many tables."""
    words = plain(name)
    without = any(part in words for part in ("nonemb", "noemb", "withoutemb", "exclemb"))
    return without and (words.startswith("n") or "param" in words or "size" in words)


def _missing(there: set[str], names: list[str]) -> str:
    """What a law needs beyond the quantities that are `there`, with the closest names; empty if nothing is missing.

    Nothing is where the table has one of N, D and C and no column that could be another.
    """
    sizes = {"C" if quantity == "budget" else quantity for quantity in there} & set("NDC")
    wanted = [] if "loss" in there else ["loss"]
    if not sizes:
        wanted += ["N", "D", "C"]
    elif len(sizes) == 1:
        wanted += [quantity for quantity in "NDC" if quantity not in sizes]
    if not wanted:
        return ""
    if len(sizes) == 1 and "loss" in there and not _closest(wanted, names) and not _hours(names):
        return ""  # a law of this one variable
    # Of the last two either one will do.
    words = ", ".join(wanted) if wanted == ["loss"] else f"{', '.join(wanted[:-1])} (or {wanted[-1]})"
    closest = _closest(wanted, names)
    hints = [f"; closest to {quantity}: {name}" for quantity, name in closest.items()]
    hours = _hours(names)
    if hours and "C" in wanted:
        hints.append(f"; {hours[0]} is time and no FLOP: multiply it by the speed, in FLOP per hour or day")
    has = ", ".join(names) or "none"
    likely = sorted(wanted, key=lambda quantity: (quantity != "loss", quantity not in closest))
    needed = likely[: max(1, len(wanted) - 1)]
    answer = command(_hint(quantity, closest.get(quantity)) for quantity in needed)
    return (
        f"missing column {words} - needs loss and two of N, D, C; it has {has}{''.join(hints)}; name it with {answer}"
    )


def _hours(names: list[str]) -> list[str]:
    return [name for name in names if units.is_time(name)]


def _hint(quantity: str, name: str | None) -> Choice:
    """The option that names a missing column, with the factor where the name says a unit."""
    said = units.from_name(name) if name and quantity in COUNTED else None
    return Choice(quantity, name or "COLUMN", said.factor if said else 1.0)


def _closest(wanted: list[str], names: list[str]) -> dict[str, str]:
    """For each quantity the unknown name that is most like one of its telling words, where one is alike."""
    known = {word for words in NAMES.values() for word in words.split()}
    unknown = [name for name in names if plain(name) not in known]
    alike = [
        (_likeness(plain(name), word), quantity, name)
        for quantity in wanted
        for word in TELLING[quantity].split()
        for name in unknown
    ]
    closest: dict[str, str] = {}
    for likeness, quantity, name in sorted(alike, reverse=True):
        if likeness >= ALIKE and quantity not in closest and name not in closest.values():
            closest[quantity] = name
    return dict(sorted(closest.items()))


def _likeness(name: str, word: str) -> float:
    """1 for a name that contains the word, and less for one that is only spelt like it."""
    matcher = SequenceMatcher(None, name, word, autojunk=False)
    return max(matcher.ratio(), matcher.find_longest_match().size / len(word))


def read_labels(cells: pd.Series, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """The cells [n] as text, and what is wrong with them in words; empty if nothing is."""
    empty = cells.isna().to_numpy(bool) | (cells.astype(str).str.strip() == "").to_numpy(bool)
    return cells.astype(str).to_numpy(object), f"empty in {named(rows[empty])}" if empty.any() else ""


def read_numbers(cells: pd.Series, rows: np.ndarray, *, allow_zero: bool = False) -> tuple[np.ndarray, str]:
    """The cells [n] as floats, and what is wrong with them in words, with the `rows` [n] concerned; empty if nothing.

    Text goes through float(), so what was written in full precision is read back bit for bit.
    """
    parsed = [_number(cell) for cell in cells]
    text = np.array([number is None for number in parsed], bool)
    values = np.array([np.nan if number is None else number for number in parsed], float)
    problems = {
        "empty or NaN": np.isnan(values) & ~text,
        "not a number": text,
        "infinite": np.isinf(values),
        "negative": (values < 0) & np.isfinite(values),
        "zero": (values == 0) & (not allow_zero),
    }
    words = [f"{problem} in {named(rows[mask])}" for problem, mask in problems.items() if mask.any()]
    example = f" (such as {str(cells.iloc[int(text.argmax())])[:20]!r})" if text.any() else ""
    return values, ", ".join(words) + example


def _number(cell: object) -> float | None:
    """A cell as a float: NaN if it is empty, None if it is no number."""
    if cell is None or cell is pd.NA or (isinstance(cell, str) and not cell.strip()):
        return np.nan
    if isinstance(cell, (bool, np.bool_)) or not isinstance(cell, (str, Real, Decimal)):
        return None
    try:
        # float() takes Python's 1_000 for a thousand; in a table it is more likely a name.
        return None if isinstance(cell, str) and "_" in cell else float(cell)
    except OverflowError:
        return np.inf
    except ValueError:
        return None


def named(rows: list | np.ndarray, noun: str = "row") -> str:
    """Such as `row 4` or `rows 4, 5, 6`, the first eight and how many more."""
    more = f" and {len(rows) - AT_MOST} more" if len(rows) > AT_MOST else ""
    return f"{noun}{'s' if len(rows) > 1 else ''} {', '.join(map(str, rows[:AT_MOST]))}{more}"
