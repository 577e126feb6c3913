"""What the choice of runs can never tell about the law, however good their losses are.

Looks at N, D and C alone, before any fit. A study that varies too little, or N and D always together, gives exponents
that look like any others; only the design shows that they mean nothing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from vsweep.analysis.formatting import count, metric
from vsweep.analysis.tables.column_names import named
from vsweep.analysis.tables.compute import group_close

# Scatter is a standard deviation of a natural logarithm, so .02 is 2 %. On a line D = k N over three decades of N, with
# losses good to 0.5 %, the standard error of a is .17 at a scatter of 2 %, .12 at 10 %, .07 at 20 % and .03 at 50 %
# (Cramer-Rao bound at Hoffmann's law, 30 runs); a full grid of 30 runs has .007.
ONE_VALUE = 0.02
CLOSE_TO_ONE = 0.10
CORRELATED = 0.98
ALONG = 0.9  # below this correlation a small scatter only means that D hardly varies, which has its own sentence
NARROW = np.log(2.0)
FARTHEST = 3
LAW_PARAMETERS = 5  # of L = E + A/N^alpha + B/D^beta; four where E is known


@dataclass(frozen=True)
class DesignProblem:
    """One flaw of a design, in a sentence. `fatal`: no approach at all can say how N_opt grows with C."""

    kind: str
    text: str
    fatal: bool


@dataclass(frozen=True)
class _Line:
    """D = factor N^slope, least squares in logs over the cells; `off` [cells] is the distance of log D from it."""

    slope: float
    factor: float
    off: np.ndarray
    correlation: float

    @property
    def rule(self) -> str:
        return f"D = {self.factor:.3g} N^{self.slope:.2f}"

    @property
    def scatter(self) -> float:
        return float(np.sqrt((self.off**2).sum() / (len(self.off) - 2)))


def design_problems(table: pd.DataFrame, *, has_curves: bool = False) -> list[DesignProblem]:
    """What is wrong with the N, D and C of a set of runs; an empty list if nothing is.

    Args:
      table: one row a run with params, tokens, flops, and where they are known isoflop (FLOP) and run_id.
      has_curves: the runs' loss curves are known too. D varies along a curve, so one D a size is not the end of it.
    """
    if table.empty:
        return [DesignProblem("no_runs", "There is no finished run, so there is nothing to fit.", True)]
    cells = _cells(table)
    problems = _about_sizes(cells) + _about_tokens(cells, has_curves)
    if all(_spread(cells[column]) >= ONE_VALUE for column in ("log_n", "log_d")):
        problems += _about_compute(cells) + _about_line(cells, has_curves)
    return problems + _about_few(cells, has_curves)


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    """One row a distinct (N, D): size, budget, mean log_n, log_d, log_c, and its runs as (position, name).

    Repeats of a cell by seed count once; an IsoFLOP group's own compute counts for the C of its rows.
    """
    names = table["run_id"].astype(str) if "run_id" in table else [f"row {at}" for at in range(1, len(table) + 1)]
    columns = {"log_n": "params", "log_d": "tokens", "log_c": "isoflop" if "isoflop" in table else "flops"}
    logs = {name: np.log(table[column].to_numpy(float)) for name, column in columns.items()}
    groups = {name: group_close(table[of].to_numpy(float)) for name, of in (("size", "params"), ("budget", "tokens"))}
    rows = pd.DataFrame({**groups, **logs, "runs": list(enumerate(names))})
    return rows.groupby(["size", "budget"]).agg({**dict.fromkeys(logs, "mean"), "runs": list}).reset_index()


def _spread(log_values: pd.Series) -> float:
    return float(np.std(log_values.to_numpy()))


def _span(log_values: pd.Series) -> float:
    return float(np.ptp(log_values.to_numpy()))


def _narrow(log_values: pd.Series) -> bool:
    return _spread(log_values) < CLOSE_TO_ONE or _span(log_values) < NARROW


def _from_to(log_values: pd.Series) -> str:
    low, high = np.exp(log_values.min()), np.exp(log_values.max())
    return f"from {metric(low)} to {metric(high)}, a factor of {high / low:.3g}"


def _middle(log_values: pd.Series) -> float:
    return float(np.exp(log_values.median()))


def _runs(cells: pd.DataFrame) -> str:
    """The runs of `cells` in their order in the table, the first eight by name."""
    names = [name for _, name in sorted(run for runs in cells["runs"] for run in runs)]
    if all(name.startswith("row ") for name in names):
        return named([name.removeprefix("row ") for name in names])
    return named(names, "run")


def _about_sizes(cells: pd.DataFrame) -> list[DesignProblem]:
    log_n = cells["log_n"]
    if _spread(log_n) < ONE_VALUE:
        text = (
            f"Column N: there is one size only, N = {metric(_middle(log_n))} ({_runs(cells)}). How the loss falls with "
            "N is not measured, so alpha, A and N_opt(C) cannot be determined. Train several sizes, over a factor of "
            "ten."
        )
        return [DesignProblem("one_size", text, True)]
    if _narrow(log_n):
        text = (
            f"Column N: the sizes reach only {_from_to(log_n)} ({_runs(cells)}). That is too narrow for alpha, whose "
            "error will be large. Train sizes over a factor of ten."
        )
        return [DesignProblem("narrow_sizes", text, False)]
    return _about_two(cells, "two_sizes", "N", "size", "A, alpha")


def _about_tokens(cells: pd.DataFrame, has_curves: bool) -> list[DesignProblem]:
    log_d = cells["log_d"]
    if _spread(log_d) < ONE_VALUE:
        text = (
            f"Column D: there is one token budget only, D = {metric(_middle(log_d))} ({_runs(cells)}). How the loss "
            "falls with D is not measured: only the sum E + B / D^beta is determined, and no compute has two sizes to "
            f"choose from. {_what_is_left(has_curves)}. Train each size at several D."
        )
        return [DesignProblem("one_tokens", text, not has_curves)]
    if _narrow(log_d):
        text = (
            f"Column D: the token budgets reach only {_from_to(log_d)} ({_runs(cells)}). That is too narrow for "
            "beta, whose error will be large. Train on budgets over a factor of ten."
        )
        return [DesignProblem("narrow_tokens", text, False)]
    return _about_two(cells, "two_tokens", "D", "budget", "B, beta")


def _what_is_left(has_curves: bool) -> str:
    if has_curves:
        return "N_opt(C) can only be read off the lower envelope of curves that had not annealed"
    return "N_opt(C) cannot be determined"


def _about_two(cells: pd.DataFrame, kind: str, column: str, group: str, terms: str) -> list[DesignProblem]:
    values = cells[group].unique()
    if len(values) != 2:
        return []
    rarer = min((cells[cells[group] == value] for value in values), key=len)
    text = (
        f"Column {column}: there are two values only, {metric(min(values))} and {metric(max(values))} (one of them in "
        f"{_runs(rarer)}). Two levels of the loss cannot tell {terms} and E apart. The exponent is known only where "
        "the floor E is known. Add a third value."
    )
    return [DesignProblem(kind, text, False)]


def _about_compute(cells: pd.DataFrame) -> list[DesignProblem]:
    """One compute, or nearly one. N_opt is known there, and the law still has a form that says more than nothing."""
    log_c = cells["log_c"]
    if _spread(log_c) < ONE_VALUE:
        text = (
            f"Column C: all compute budgets are equal, C = {_middle(log_c):.3g} FLOP ({_runs(cells)}). N_opt is known "
            "at this one compute. How it grows with C is not measured, and the exponents of a law depend on its form "
            "alone. Add a second compute, ten times as large or small."
        )
        return [DesignProblem("one_compute", text, False)]
    if _span(log_c) < NARROW:
        text = (
            f"Column C: the compute reaches only a factor of {np.exp(_span(log_c)):.3g} around {_middle(log_c):.3g} "
            f"FLOP ({_runs(cells)}). That is too narrow to see how N_opt grows with C. Train over a factor of ten."
        )
        return [DesignProblem("narrow_compute", text, False)]
    return []


def _about_line(cells: pd.DataFrame, has_curves: bool) -> list[DesignProblem]:
    """N and D that vary together, so that a compute has one size only. One compute for all has its own sentence."""
    if len(cells) < 3 or _spread(cells["log_c"]) < ONE_VALUE:
        return []
    line = _line(cells)
    if line.scatter < ONE_VALUE and abs(line.correlation) > ALONG:
        return [_collinear(cells, line, has_curves)]
    near = line.scatter < CLOSE_TO_ONE and line.correlation > ALONG
    return [_nearly_collinear(cells, line)] if near or line.correlation > CORRELATED else []


def _line(cells: pd.DataFrame) -> _Line:
    log_n, log_d = cells["log_n"].to_numpy(), cells["log_d"].to_numpy()
    slope, constant = np.polyfit(log_n, log_d, 1)
    correlation = np.corrcoef(log_n, log_d)[0, 1]
    return _Line(float(slope), float(np.exp(constant)), log_d - slope * log_n - constant, float(correlation))


def _collinear(cells: pd.DataFrame, line: _Line, has_curves: bool) -> DesignProblem:
    """Where D grows with N, both terms of the law fall along the line and take each other's place.

    Where D falls as N grows, one term falls and the other rises, so the law's form still tells them apart (a scatter
    about such a line does no harm, and has no sentence).
    """
    start = f"Columns N and D: {line.rule} in all runs, with a scatter of {line.scatter:.1%} ({_runs(cells)})."
    if line.slope > 0:
        text = (
            f"{start} alpha and beta cannot be told apart: only one combination of them is determined, and no compute "
            f"has two sizes to choose from. {_what_is_left(has_curves)}. Train each size at several D."
        )
        return DesignProblem("collinear", text, not has_curves)
    text = (
        f"{start} No size has two D and no compute two sizes, so alpha and beta are told apart by the form of the law "
        "alone. Train each size at several D."
    )
    return DesignProblem("collinear", text, False)


def _nearly_collinear(cells: pd.DataFrame, line: _Line) -> DesignProblem:
    farthest = _runs(cells.iloc[np.argsort(-np.abs(line.off), kind="stable")[:FARTHEST]])
    text = (
        f"Columns N and D: nearly {line.rule}, with a scatter of {line.scatter:.2g} in log D (correlation "
        f"{line.correlation:.3f}). alpha and beta are told apart by that scatter only, most of all by {farthest}: "
        "expect errors several times those of a grid. Train each size at several D."
    )
    return DesignProblem("nearly_collinear", text, False)


def _about_few(cells: pd.DataFrame, has_curves: bool) -> list[DesignProblem]:
    if len(cells) > LAW_PARAMETERS:
        return []
    text = (
        f"Columns N and D: there {'is' if len(cells) == 1 else 'are'} {count(len(cells), 'distinct pair')} (N, D) only "
        f"({_runs(cells)}; seeds of one pair count once). The law has {LAW_PARAMETERS} parameters, one less where the "
        f"floor E is known: {_what_few_give(len(cells))}."
    )
    return [DesignProblem("few_points", text, len(cells) < LAW_PARAMETERS - 1 and not has_curves)]


def _what_few_give(pairs: int) -> str:
    if pairs == LAW_PARAMETERS:
        return "it goes through all of them, and nothing is left to check it against"
    if pairs == LAW_PARAMETERS - 1:
        return "it can be fitted only where E is known, and then nothing is left to check it against"
    return "it cannot be fitted to these"
