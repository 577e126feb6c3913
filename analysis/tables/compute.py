"""N, D, C and budgets of a table: the third from two of them, and what a column of budgets is."""

import numpy as np

from vsweep.analysis.tables.column_names import Column, named, plain

CLOSE = np.log(3.0)  # a budget is the compute (or the tokens) of its rows where the median row is within this of it
PLAUSIBLE = np.log(1e4)  # the same where only N or only D is known and the other one guessed
TOKENS_PER_PARAM = 20.0  # the guess (Hoffmann et al. 2022, table 3)


def complete(
    values: dict[str, np.ndarray], columns: dict[str, Column], rows: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """`values` with N, D and C all there, and with `isoflop` (FLOP) or `token_budget` where the table has budgets.

    Raises:
      ValueError: a budget that is needed and fits neither FLOP nor tokens, or an N, D or C that cannot be.
    """
    known = sum(quantity in values for quantity in "NDC")
    notes = [_about_compute(values)] if known == 3 else []
    if known == 2:
        values, note = _with_third(values, rows)
        notes.append(note)
    if "budget" in values:
        values, budget_notes = _with_budget(values, columns["budget"], rows)
        notes += budget_notes
    if known == 1 and sum(quantity in values for quantity in "NDC") == 1:
        (only,) = (values[name] for name in "NDC" if name in values)
        nothing = dict.fromkeys("NDC", np.full(len(only), np.nan))
        return {**nothing, **values, "token_budget": group_close(only)}, [note for note in notes if note]
    if known == 1:
        values, note = _with_third(values, rows)
        notes.append(note)
    return values, [note for note in notes if note]


def _about_compute(values: dict[str, np.ndarray]) -> str:
    """A sentence where the table's own C is not 6ND: somebody counted, and that is taken as it stands."""
    with np.errstate(over="ignore"):
        ratio = np.exp(np.log(values["C"]) - _log_6nd(values["N"], values["D"]))
    if np.abs(ratio - 1).max() < 0.01:
        return ""
    return f"C is the table's own: {ratio.min():.3g} to {ratio.max():.3g} times 6ND (median {np.median(ratio):.3g})."


def _log_6nd(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    return np.log(6.0) + np.log(params) + np.log(tokens)


def _with_third(values: dict[str, np.ndarray], rows: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
    """The one of N, D and C that is missing, by C = 6ND, and a sentence that says so."""
    with np.errstate(over="ignore", under="ignore"):
        if "C" not in values:
            name, formula, third = "C", "6ND", 6 * values["N"] * values["D"]
        elif "D" not in values:
            name, formula, third = "D", "C / 6N", values["C"] / (6 * values["N"])
        else:
            name, formula, third = "N", "C / 6D", values["C"] / (6 * values["D"])
    wrong = ~np.isfinite(third) | (third < 1)
    if wrong.any():
        question = "are N and D plain counts, and C in FLOP (not thousands, not PF-days)?"
        raise ValueError(f"{name} = {formula} is below one or infinite in {named(rows[wrong])} - {question}")
    return {**values, name: third}, "" if name == "C" else f"The table has no {name}: it is {formula}."


def _with_budget(
    values: dict[str, np.ndarray], column: Column, rows: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """`values` with the column of budgets as what it is closest to: compute of IsoFLOP groups, or tokens."""
    budget = values["budget"]
    log_tokens, log_flops = _expected(values)
    off = {"C": np.log(budget) - log_flops, "D": np.log(budget) - log_tokens}
    median = {quantity: float(np.median(np.abs(off[quantity]))) for quantity in off}
    kind = _unit(column.name) or min(median, key=median.get)
    known = all(quantity in values for quantity in "NDC")
    if median[kind] > (CLOSE if known else PLAUSIBLE):
        far = f"in the median row {_factor(median['C'])} off the compute and {_factor(median['D'])} off the tokens"
        if known:
            return values, [f"The column {column.name} was not used: it is {far}."]
        raise ValueError(f"column {column.label}: needed for C or D, but it is {far} that such runs may have")
    if kind == "D":
        extended = {"D": budget, **values, "token_budget": budget}
        if "N" not in extended:
            raise ValueError(f"missing column N (or C) - column {column.label} is in tokens and only repeats D")
        return extended, [f"The column {column.name} was read as tokens: budgets of training."]
    strays = np.abs(off["C"]) > CLOSE
    notes = [f"The column {column.name} was read as FLOP: the compute of each run's IsoFLOP group."]
    if known and strays.any():
        notes.append(f"In {named(rows[strays])} it differs from C by more than a factor of three.")
    return {"C": budget, **values, "isoflop": budget}, notes


def _unit(name: str) -> str | None:
    """What the name of a budget says about it, if it says anything."""
    if "flop" in plain(name) or "compute" in plain(name):
        return "C"
    return "D" if "token" in plain(name) else None


def _expected(values: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """log D and log C [n]; where only N or only D is known, with 20 tokens a parameter for the other."""
    tokens = values["D"] if "D" in values else TOKENS_PER_PARAM * values["N"]
    params = values["N"] if "N" in values else tokens / TOKENS_PER_PARAM
    return np.log(tokens), np.log(values["C"]) if "C" in values else _log_6nd(params, tokens)


def _factor(log_ratio: float) -> str:
    with np.errstate(over="ignore"):
        return f"a factor of {np.exp(log_ratio):.3g}"


def group_close(values: np.ndarray, tolerance: float = 0.03) -> np.ndarray:
    """Gives values [n] that differ by less than about 3 % one common value: sizes read off a figure scatter a little.

    Where the values are so dense that a group would chain over more than three tolerances, they stay as they are.
    """
    values = np.asarray(values, float)
    order = np.argsort(values)
    logs = np.log(values[order])
    group = np.concatenate([[0], np.cumsum(np.diff(logs) > tolerance)]) if len(values) else np.array([], int)
    grouped = np.empty_like(values)
    for index in np.unique(group):
        members = order[group == index]
        wide = np.ptp(np.log(values[members])) > 3 * tolerance
        grouped[members] = values[members] if wide else np.exp(np.log(values[members]).mean())
    return grouped
