"""How far the exponents of the parametric law move when a choice of the fit is made in another way.

An interval says what other runs of the same grid would give. This table says what other choices would give: another
penalty, a grid without its smallest or largest size or budget, another way to count N and C.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from vsweep.analysis.approaches.parametric import ParametricFit
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import FLOP_CONVENTIONS, SIZE_CONVENTIONS, Refusal
from vsweep.analysis.fitting.objective import ABSOLUTE, HUBER, LOG, SQUARED, Objective
from vsweep.analysis.formatting import percent
from vsweep.analysis.sections import law
from vsweep.analysis.sections.base import Finding, LossStudy, Section, Table, or_refused
from vsweep.analysis.uncertainty.approach import fit_parametric
from vsweep.analysis.uncertainty.estimates import quantities

METHOD = "sensitivity"
DELTAS = (1e-4, 1e-3, 1e-2, 1e-1)
ABSOLUTE_FROM = 20.0  # residuals of so many deltas lie nearly all on the linear part of the penalty
LABELS = {
    "params": "N of all parameters",
    "params_non_embedding": "N without embeddings",
    "flops_6nd": "C = 6ND",
    "flops_counted": "C counted",
}


@dataclass(frozen=True)
class Variant:
    """The law with one choice made in another way: its exponents, or why there are none.

    `kind` is `fit` (as in the report), `penalty`, `runs` or `convention`; `points` counts the runs that were fitted.
    """

    kind: str
    choice: str
    points: int
    a: float | None = None
    alpha: float | None = None
    beta: float | None = None
    refusal: str | None = None


class Sensitivity(Section[tuple[Variant, ...]]):
    """The exponents of the parametric law under other choices; the first variant is the fit of the report."""

    name, title = "sensitivity", "Sensitivity of the parametric law"

    def compute(self, study: LossStudy) -> tuple[Variant, ...] | Refusal:
        fitted = study.result(law.SECTION)
        if fitted.refused:
            return Refusal(METHOD, "no parametric law was fitted")
        return tuple(_variant(*choice) for choice in _choices(study))

    def findings(self, study: LossStudy, result: tuple[Variant, ...] | Refusal) -> list[Finding]:
        if isinstance(result, Refusal):
            return []
        return self.about(study, 35, [*_about_delta(study.result(law.SECTION).result), *_about(result)])

    def tables(self, study: LossStudy, result: tuple[Variant, ...] | Refusal) -> list[Table]:
        return [] if isinstance(result, Refusal) else [_table(result)]

    def refusals(self, study: LossStudy, result: tuple[Variant, ...] | Refusal) -> list[Refusal]:
        return []  # the law itself is refused by its own section

    def to_json(self, study: LossStudy, result: tuple[Variant, ...] | Refusal) -> dict:
        return {self.name: or_refused(result, lambda variants: [asdict(variant) for variant in variants])}


SECTION = Sensitivity()


def _choices(study: LossStudy) -> Iterator[tuple[str, str, Points]]:
    """Kind, choice and points of each variant, the fit of the report first."""
    points = study.points
    yield "fit", f"as in this report ({_short(points.convention.objective)})", points
    for objective in _objectives(points.convention.objective):
        other = replace(points.convention, objective=objective)
        yield "penalty", _short(objective), replace(points, convention=other)
    for name, column in (("size", "size"), ("budget", "budget")):
        values = points.table[column]
        for which, value in (("smallest", values.min()), ("largest", values.max())):
            yield "runs", f"without the {which} {name}", points.where(values != value)
    yield from _conventions(study)


def _objectives(own: Objective) -> Iterator[Objective]:
    """The other objectives on the same kind of residual."""
    others = [replace(own, penalty=HUBER, delta=delta) for delta in DELTAS]
    others += [replace(own, penalty=penalty) for penalty in (SQUARED, ABSOLUTE)]
    return (other for other in others if _short(other) != _short(own))


def _short(objective: Objective) -> str:
    if objective.penalty == HUBER:
        return f"Huber, delta = {objective.delta:g}"
    return {SQUARED: "squared residuals", ABSOLUTE: "absolute residuals"}[objective.penalty]


def _conventions(study: LossStudy) -> Iterator[tuple[str, str, Points]]:
    """The same runs with N or C counted in another way, where the source knows both."""
    if not study.source.is_workdir:
        return
    own = study.convention
    for size in SIZE_CONVENTIONS:
        for flops in FLOP_CONVENTIONS:
            if (size, flops) != (own.size, own.flops):
                points = select(study.source, replace(own, size=size, flops=flops))
                yield "convention", f"{LABELS[size]}, {LABELS[flops]}", points


def _variant(kind: str, choice: str, points: Points) -> Variant:
    count = len(points.table)
    fitted = fit_parametric(points)
    if isinstance(fitted, Refusal):
        return Variant(kind, choice, count, refusal=fitted.reason)
    found = quantities(points, fitted)
    return Variant(kind, choice, count, found["a"], found["alpha"], found["beta"])


def _about(variants: tuple[Variant, ...]) -> list[str]:
    """How far a moves, and which choice moves it most."""
    own, *others = variants
    known = [variant for variant in others if variant.a is not None]
    if not known:
        return []
    most = max(known, key=lambda variant: abs(variant.a - own.a))
    values = [variant.a for variant in known]
    refused = len(others) - len(known)
    also = f" {refused} more allow no law." if refused else ""
    return [
        f"under {len(known)} other choices of penalty, runs and convention the parametric law has a = "
        f"{min(values):.3f} to {max(values):.3f}, instead of {own.a:.3f}. It moves most with this one: {most.choice} "
        f"(a = {most.a:.3f}).{also}"
    ]


def _about_delta(fitted: ParametricFit) -> list[str]:
    """Huber's penalty with a threshold far below the residuals is no longer what its name says."""
    objective = fitted.objective
    if objective.penalty != HUBER or objective.residual != LOG or fitted.rms_log < ABSOLUTE_FROM * objective.delta:
        return []
    return [
        f"the residuals of the parametric law ({percent(fitted.rms_log)}) are far larger than delta = "
        f"{objective.delta:g}, so Huber's penalty acts as least absolute deviations here."
    ]


def _table(variants: tuple[Variant, ...]) -> Table:
    own = variants[0]
    rows = tuple(_row(variant, own) for variant in variants)
    note = (
        "The parametric law fitted again with one choice made in another way. Where a choice moves a beyond its "
        "interval, the choice matters more than which runs were drawn."
    )
    head = ("choice", "runs", "a", "change of a", "alpha", "beta")
    return Table("The exponents under other choices", head, rows, note)


def _row(variant: Variant, own: Variant) -> tuple[str, ...]:
    if variant.a is None:
        return (variant.choice, str(variant.points), f"refused: {variant.refusal}", "", "", "")
    change = "" if variant is own else f"{variant.a - own.a:+.3f}"
    exponents = (f"{value:.3f}" for value in (variant.alpha, variant.beta))
    return (variant.choice, str(variant.points), f"{variant.a:.3f}", change, *exponents)
