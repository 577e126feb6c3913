"""The columns of a foreign table: which one holds N, D, C, the loss and so on, and what is wrong with their values.

People name the same quantity in many ways. The exact name wins, then any usual one; two usual ones for one quantity are
a question that only the owner of the table can answer, so they are a problem and never a guess.
"""

from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from numbers import Real

import numpy as np
import pandas as pd

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
OPTIONAL = ("seed", "unique_tokens", "budget", "weight")
# What to look for in unknown names when N, D, C or the loss is missing, and from which likeness (of 1) on to offer one.
TELLING = {"N": "params parameters modelsize", "D": "tokens", "C": "flops compute", "loss": "loss crossentropy"}
ALIKE = 0.75
AT_MOST = 8  # rows named in a message


@dataclass(frozen=True)
class Column:
    """One column that holds a known quantity: where it is, and its name in the table."""

    quantity: str
    at: int
    name: str

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


def recognise(names: list[str]) -> ColumnReading:
    """Which of the columns `names` hold a quantity of `NAMES`, and what a law needs beyond them."""
    columns, problems, notes, doubtful = {}, [], [], []
    for quantity in NAMES:
        best, others = _candidates(quantity, names)
        if len(best) > 1:
            doubtful.append(quantity)
            several = " and ".join(names[at] for at in best)
            problems.append(f"columns {several} could each be {quantity} - keep one, or name the right one {quantity}")
        elif best:
            columns[quantity] = Column(quantity, best[0], names[best[0]])
            if others:
                unused = ", ".join(names[at] for at in others)
                notes.append(f"The column {names[best[0]]} was read as {quantity}; {unused} was not used.")
    renamed = [f"{quantity} is {column.name}" for quantity, column in columns.items() if column.label != column.name]
    if renamed:
        notes.insert(0, f"Columns were recognised by their names: {', '.join(renamed)}.")
    missing = _missing({*columns, *doubtful}, names)
    return ColumnReading(columns, (*problems, missing) if missing else tuple(problems), tuple(notes))


def _candidates(quantity: str, names: list[str]) -> tuple[list[int], list[int]]:
    """Positions of the columns with the best claim to be `quantity`, and of those with a lesser one."""
    known = NAMES[quantity].split()
    tests = (
        lambda name: name == quantity,
        lambda name: plain(name) == plain(quantity),
        lambda name: plain(name) in known,
    )
    tiers = [[at for at, name in enumerate(names) if test(name)] for test in tests]
    best = next((tier for tier in tiers if tier), [])
    return best, [at for at in tiers[-1] if at not in best]


def _missing(there: set[str], names: list[str]) -> str:
    """What a law needs beyond the quantities that are `there`, with the closest names; empty if nothing is missing."""
    sizes = {"C" if quantity == "budget" else quantity for quantity in there} & set("NDC")
    wanted = [] if "loss" in there else ["loss"]
    if not sizes:
        wanted += ["N", "D", "C"]
    elif len(sizes) == 1:
        wanted += [quantity for quantity in "NDC" if quantity not in sizes]
    if not wanted:
        return ""
    # Of the last two either one will do.
    words = ", ".join(wanted) if wanted == ["loss"] else f"{', '.join(wanted[:-1])} (or {wanted[-1]})"
    hints = [f"; closest to {quantity}: {name}" for quantity, name in _closest(wanted, names).items()]
    has = ", ".join(names) or "none"
    return f"missing column {words} - needs loss and two of N, D, C; it has {has}{''.join(hints)}"


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
