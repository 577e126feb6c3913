"""A law of power terms in any columns, such as width, depth and tokens, beside L(N, D) on the same points.

As McLeish et al. 2025 (Gemstones) fit the shapes of models. It is asked for by `terms` and planned from by nobody: it
says how much of the loss N alone leaves out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pandas as pd

from vsweep.analysis.approaches.parametric import SMALLEST_EXPONENT, parameter_count
from vsweep.analysis.data.source import Refusal, Source
from vsweep.analysis.fitting import power_terms
from vsweep.analysis.fitting.power_terms import MOST_TERMS, PowerTermsFit
from vsweep.analysis.formatting import percent
from vsweep.analysis.sections import law
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.sections.law import ranges_json
from vsweep.analysis.tables.column_names import read_numbers
from vsweep.analysis.uncertainty import bootstrap, intervals
from vsweep.analysis.uncertainty.approach import describe_range, numbers
from vsweep.analysis.uncertainty.intervals import Uncertainty

METHOD = "power_terms"
QUANTITIES = {"N": "params", "D": "tokens", "C": "flops"}  # of the points; every other term is a column of the source
RESULTS = ("run_id", "status", "loss", "flops_6nd", "seed_block")  # no variables of a law


@dataclass(frozen=True)
class PowerTermsStudy:
    """The fit with its intervals, and the objective and residual of L(N, D) on the same points (None if refused)."""

    fitted: PowerTermsFit
    parameters: int
    uncertainty: Uncertainty | None
    law_value: float | None
    law_rms_log: float | None
    law_parameters: int

    @property
    def quantities(self) -> dict[str, float]:
        """Every constant by name."""
        factors = {f"factor of {name}": value for name, value in self.fitted.factors.items()}
        exponents = {f"exponent of {name}": value for name, value in self.fitted.exponents.items()}
        return {"E": self.fitted.E, **factors, **exponents}


def columns_of(source: Source, terms: Iterable[str]) -> tuple[str, ...]:
    """The columns that `terms` names, checked against the source; no terms give none.

    Raises:
      ValueError: a table of one variable, too many terms, one twice, a column that is not there, or one that holds a
        value that is no positive number. Every such term is named.
    """
    terms = tuple(term.strip() for term in (terms.split(",") if isinstance(terms, str) else terms))
    if not terms:
        return ()
    if source.variable:
        raise ValueError(
            f"terms: the table has {source.variable} only, and its law L({source.variable}) is fitted anyway"
        )
    problems = []
    if len(terms) > MOST_TERMS or len(set(terms)) < len(terms):
        problems.append(f"one to {MOST_TERMS} columns, each once - got {', '.join(terms)}")
    problems += [problem for term in dict.fromkeys(terms) if (problem := _why_not(source, term))]
    if problems:
        raise ValueError(f"terms: {'; '.join(problems)}")
    return terms


def _why_not(source: Source, term: str) -> str:
    """What is wrong with one term; empty if nothing is."""
    if term in QUANTITIES:
        return ""
    usable = [name for name in source.runs.columns if name not in RESULTS and not name.endswith("_loss")]
    if term not in usable:
        close = get_close_matches(term, [*QUANTITIES, *usable], 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"no column {term!r} - it has {', '.join([*QUANTITIES, *usable])}{hint}"
    problem = read_numbers(source.runs[term], np.arange(2, len(source.runs) + 2))[1]
    return f"column {term}: {problem}" if problem else ""


class PowerTermsSection(Section[PowerTermsStudy | None]):
    """The law of power terms; None where no terms were asked for."""

    name, title = METHOD, "A sum of power terms"

    def compute(self, study: LossStudy) -> PowerTermsStudy | Refusal | None:
        if not study.convention.terms:
            return None
        if study.empty:
            return Refusal(METHOD, "no points")
        try:
            return _fit(study)
        except ValueError as error:  # too few points or a single value: known only once runs are selected
            return Refusal(METHOD, str(error))

    def findings(self, study: LossStudy, result: PowerTermsStudy | Refusal | None) -> list[Finding]:
        if result is None or isinstance(result, Refusal):
            return []
        return self.about(study, 35, [_about_fit(result)])

    def tables(self, study: LossStudy, result: PowerTermsStudy | Refusal | None) -> list[Table]:
        if result is None or isinstance(result, Refusal):
            return []
        rows = tuple((name, f"{value:.4g}", _range(result, name)) for name, value in result.quantities.items())
        return [Table("Constants of the power terms", ("quantity", "value", "range"), rows), _beside(result)]

    def to_json(self, study: LossStudy, result: PowerTermsStudy | Refusal | None) -> dict:
        return {} if result is None else {METHOD: or_refused(result, _to_json)}


SECTION = PowerTermsSection()


def _fit(study: LossStudy) -> PowerTermsStudy | Refusal:
    points, convention = study.points, study.convention
    columns = {term: _column(study, term) for term in convention.terms}
    told = {"floor": convention.floor_value, "objective": convention.objective, "weight": points.weights}
    drawn = points.weights * bootstrap.weights(points, bootstrap.CELLS, max(study.bootstrap, 1))
    found = power_terms.fit_with_resamples(columns, points.column("loss"), drawn, **told)
    if found is None or min(found[0].exponents.values()) <= SMALLEST_EXPONENT:
        return Refusal(METHOD, f"the loss does not fall with each of {', '.join(columns)} as a power")
    fitted, resampled = found
    approach = study.result(law.SECTION)
    made = PowerTermsStudy(
        fitted,
        2 * len(columns) + convention.floor_free,
        None,
        None if approach.refused else float(approach.result.value),
        None if approach.refused else float(approach.result.rms_log),
        parameter_count(convention.floor_free),
    )
    return _with_interval(study, made, resampled) if study.bootstrap else made


def _with_interval(study: LossStudy, made: PowerTermsStudy, resampled: dict[str, np.ndarray]) -> PowerTermsStudy:
    points = study.points
    good = np.all([np.isfinite(values) for values in resampled.values()], axis=0)
    for name in study.convention.terms:
        good &= resampled[f"exponent of {name}"] > SMALLEST_EXPONENT
    enough = int(bootstrap.cell_of_row(points).max()) + 1 >= intervals.MIN_CELLS_FOR_INTERVAL
    known = intervals.interval(
        intervals.CELLS if points.seeds else intervals.POINTS,
        made.quantities,
        {name: values[good] for name, values in resampled.items()},
        failed=int((~good).sum()),
        level=study.convention.level if enough else 1.0,
    )
    return PowerTermsStudy(**{**vars(made), "uncertainty": known})


def _column(study: LossStudy, term: str) -> np.ndarray:
    """The values [n] of one term at the points."""
    if term in QUANTITIES:
        return study.points.column(QUANTITIES[term])
    runs = study.source.runs
    values = pd.Series(read_numbers(runs[term], np.arange(len(runs)))[0], index=runs["run_id"].astype(str))
    return values.loc[study.points.table["run_id"]].to_numpy(float)


# Sentences and tables


def _about_fit(result: PowerTermsStudy) -> str:
    fitted, known = result.fitted, result.uncertainty
    shown = [
        f"{name} {value:.3f}" + (f" ({numbers(known, key)})" if known and key in known.ranges else "")
        for name, value in fitted.exponents.items()
        for key in [f"exponent of {name}"]
    ]
    form = f", {known.form}" if known and known.ranges else ""
    beside = "the parametric law was refused"
    if result.law_value is not None:
        beside = (
            f"L(N, D) reaches {result.law_value:.6g} with {result.law_parameters} parameters and a residual of "
            f"{percent(result.law_rms_log)}"
        )
    return (
        f"a sum of power terms is L = {fitted.describe()}, with the exponents {', '.join(shown)}{form}. Its objective "
        f"is {fitted.value:.6g} with {result.parameters} parameters, and its residual {percent(fitted.rms_log)}; on "
        f"the same {fitted.points} points {beside}. More parameters always fit more closely."
    )


def _beside(result: PowerTermsStudy) -> Table:
    fitted = result.fitted
    rows = [("power terms", str(result.parameters), f"{fitted.value:.6g}", percent(fitted.rms_log))]
    if result.law_value is not None:
        own = percent(result.law_rms_log)
        rows.append(("L(N, D)", str(result.law_parameters), f"{result.law_value:.6g}", own))
    return Table("On the same points", ("law", "parameters", "objective", "residual"), tuple(rows))


def _range(result: PowerTermsStudy, name: str) -> str:
    known = result.uncertainty
    return describe_range(known, name) if known and name in known.ranges else "not assessed"


def _to_json(result: PowerTermsStudy) -> dict:
    known = (result.uncertainty,) if result.uncertainty else ()
    fitted = {
        name: getattr(result.fitted, name) for name in ("E", "factors", "exponents", "value", "rms_log", "points")
    }
    return {
        "columns": list(result.fitted.factors),
        **fitted,
        "parameters": result.parameters,
        "law_value": result.law_value,
        "law_rms_log": result.law_rms_log,
        "ranges": {name: entries for name in result.quantities if (entries := ranges_json(known, name))},
    }
