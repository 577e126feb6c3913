"""What an approach says, as numbers by name: exponents, the law's constants, and the optimum at one compute.

a, b                exponents of N_opt ~ C^a and D_opt ~ C^b
E, A, B, alpha, beta    the constants of the parametric law (E where it was fitted)
N_opt, D_opt        parameters and tokens of the best run with the largest compute of the data
tokens_per_param    their ratio
loss_opt            its loss, nats/token, in the convention of the fit
"""

import numpy as np

from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.optimal_path import PathFit, PathRefits
from vsweep.analysis.data.points import Points
from vsweep.analysis.uncertainty.intervals import Quantities


def largest_flops(points: Points) -> float:
    """The largest C of the points, in FLOP."""
    return float(points.column("flops").max())


def quantities(points: Points, fit: PathFit | parametric.ParametricFit, at: float | None = None) -> dict[str, float]:
    """What an approach says: its exponents, and the optimum at the compute `at` (the largest of the data)."""
    at = largest_flops(points) if at is None else at
    if isinstance(fit, PathFit):
        values = path_quantities(fit, at)
    else:
        values = law_quantities(fit.law, points, at, fit.floor_free)
    return {name: float(np.squeeze(value)) for name, value in values.items()}


def path_quantities(path: PathFit | PathRefits, at: float) -> Quantities:
    """The same for a path, or for the paths of many resamples, without those that were refused."""
    flops = np.array([at])
    params, tokens, loss = (np.ravel(f(flops)) for f in (path.params_opt, path.tokens_opt, path.loss_opt))
    a, b = np.ravel(path.a), np.ravel(path.b)
    values = {"a": a, "b": b, "N_opt": params, "D_opt": tokens, "tokens_per_param": tokens / params, "loss_opt": loss}
    good = np.isfinite(a)
    return {name: column[good] for name, column in values.items()}


def law_quantities(law: parametric.Law, points: Points, at: float, floor_free: bool) -> Quantities:
    """The same for a law, or for many laws [r] at once: then each value is [r]."""
    a, b = path_exponents(law, points)
    values = {"a": a, "b": b, "alpha": law.alpha, "beta": law.beta, "A": law.A, "B": law.B}
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the optimum of a senseless law is no number
        params, tokens = (sizes[..., 0] for sizes in optimal_sizes(law, points, np.array([at])))
        values |= {"N_opt": params, "D_opt": tokens, "tokens_per_param": tokens / params}
        values["loss_opt"] = law.loss(params, tokens)
    return {**values, "E": law.E} if floor_free else values


def counts_6nd(points: Points) -> bool:
    """Whether C is 6ND with the N of these points; a table may count in a way of its own."""
    params, tokens, _ = points.law_columns
    return bool(np.allclose(points.column("flops"), 6 * params * tokens, rtol=0.01))


def path_exponents(law: parametric.Law, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """a and b: in closed form for C = 6ND; for counted FLOPs the slopes of the numerical optimum over the data."""
    if counts_6nd(points):
        return law.a, law.b
    flops = np.geomspace(points.column("flops").min(), points.column("flops").max(), 9)
    params, tokens = optimal_sizes(law, points, flops)
    x = np.log(flops) - np.log(flops).mean()
    return tuple((np.log(values) * x).sum(axis=-1) / (x**2).sum() for values in (params, tokens))


def optimal_sizes(law: parametric.Law, points: Points, flops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N_opt, D_opt) [..., m] of the law at `flops` [m] in the convention of `points`."""
    table = points.table.assign(per_token=points.table["flops"] / points.table["tokens"])
    per_token = table.groupby("size")["per_token"].mean()
    if counts_6nd(points) or len(per_token) < 2:
        return law.along().params_opt(flops), law.along().tokens_opt(flops)
    return parametric.optimal_path(law, flops, per_token.index.to_numpy(float), per_token.to_numpy())
