"""The laws that are asked for a forecast, and how each is fitted to the runs that it may see."""

from dataclasses import dataclass, replace

import numpy as np

from vsweep.analysis.approaches.parametric import why_undetermined
from vsweep.analysis.data.points import Points
from vsweep.analysis.data.source import Convention
from vsweep.analysis.fitting.alternative_laws import DataConstrained, Kaplan, PowerMean, TiedExponents
from vsweep.analysis.fitting.chinchilla import Chinchilla, Data, Form
from vsweep.analysis.fitting.fit import FormFit, fit_form
from vsweep.analysis.uncertainty.repeated_data import repeats_data

POINTS_A_PARAMETER = 2  # distinct (N, D) that a forecast needs, because one from fewer predicts nothing
FIT, KNOWN, ZERO = "E fitted", "E known", "E = 0"


@dataclass(frozen=True)
class Contender:
    """A law that may be asked for a forecast; `floor` is E, or None where it is fitted."""

    form: Form
    floor: float | None
    floor_label: str

    @property
    def label(self) -> str:
        return self.form.name.replace("_", " ") + f", {self.floor_label}"

    @property
    def parameters(self) -> int:
        return len(self.form.parameters) + (self.floor is None)


def contenders(points: Points) -> list[Contender]:
    """The laws that these points may be asked of; the parametric law of the convention first."""
    convention = points.convention
    first = Contender(Chinchilla(), convention.floor_value, _floor_label(convention))
    found = [first]
    if repeats_data(points):
        found.append(replace(first, form=DataConstrained()))
    found += [replace(first, form=PowerMean()), replace(first, form=TiedExponents())]
    if convention.floor_free:
        exact = _exact_floor(points)
        found += [] if exact is None else [Contender(Chinchilla(), exact, KNOWN)]
        return [*found, Contender(Chinchilla(), 0.0, ZERO), Contender(Kaplan(), 0.0, ZERO)]
    kaplan = [replace(first, form=Kaplan())] if convention.given_floor is None else []
    return [*found, *kaplan, Contender(Chinchilla(), None, FIT)]


def _floor_label(convention: Convention) -> str:
    if convention.floor_free:
        return FIT
    return KNOWN if convention.given_floor is None else f"E = {convention.given_floor:g}"


def _exact_floor(points: Points) -> float | None:
    """The task's exact floor, where every run has the same one and lies above it."""
    if "floor" not in points.table or points.convention.loss != "val_loss":
        return None
    floors = points.column("floor")
    return float(floors[0]) if np.ptp(floors) < 1e-9 and points.column("loss").min() > floors[0] else None


def where_of(contender: Contender, points: Points) -> tuple[np.ndarray, ...]:
    """What the law is a function of: N, D, and the unique tokens for the law of repeated data."""
    repeated = isinstance(contender.form, DataConstrained)
    names = ("params", "tokens", *(["unique_tokens"] if repeated else []))
    return tuple(points.column(name) for name in names)


def why_not(contender: Contender, points: Points) -> str | None:
    """Why this law cannot be fitted to these points so that it may predict others; None where it can."""
    reason = why_undetermined(points.column("params"), points.column("tokens"), contender.floor is None)
    if reason:
        return reason
    distinct = len(points.table.groupby(["params", "tokens"]))
    needed = POINTS_A_PARAMETER * contender.parameters
    if distinct < needed:
        return f"{distinct} distinct (N, D) are left, a forecast by {contender.parameters} parameters needs {needed}"
    if points.column("loss").min() <= (contender.floor or 0):
        return f"some losses lie at or below the floor E = {contender.floor:.6g}"
    return None


def fit_contender(contender: Contender, points: Points) -> FormFit | None:
    """None where the points are too few for this law, or do not determine it."""
    if why_not(contender, points):
        return None
    data, loss = Data.of(*where_of(contender, points)), points.column("loss")
    objective = points.convention.objective
    return fit_form(contender.form, data, loss, floor=contender.floor, objective=objective, weight=points.weights)
