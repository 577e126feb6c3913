"""The same fit by vsweep and by what people use now: whose objective is lower, and what a fit and a refit cost.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.fits             the real thing: half an hour on two cores, nearly all of it the others'
    python -m benchmarks.fits --quick     grids of 32 starts, 200 refits: under a minute, and nothing is written

Data: the 240 points of Besiroglu et al. 2024 (the five highest losses dropped). Everybody minimises the sum over the
points of Huber's penalty, delta = 1e-3, of log(prediction / loss); one function computes it again from the parameters
that each of them returns. A refit is the fit of a bootstrap resample. Contestants:

  vsweep                one fit from its own grid; refits all at once, from the ends found on all points.
  chinchilla            PyPI 0.2.0 with the grid of its README (3,125 starts, BFGS) and its `log_huber`.
  chinchilla, scaled    the same with the penalty times 1e6. BFGS stops where the gradient is below 1e-5, and the mean
                        of Huber penalties with delta = 1e-3 has so small a gradient almost everywhere.
  scipy, grid           BFGS with numerical gradients from the 4,500 starts of Hoffmann et al. 2022, appendix D.3.
  scipy, warm           the same, refits only, from the fit to all points and from nowhere else: the cheapest refit that
                        one can write in a line. It searches nothing, so it is shown and not judged.

Every contestant may use all cores. Exit code 1 if vsweep's objective is higher than another's by more than 1e-9 of it,
or if its refit is less than 50 times faster than that of a contestant that searches.
"""

import argparse
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from benchmarks import common
from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.parametric import Law

POINTS_FILE = common.ROOT / "tests" / "data" / "chinchilla_points.csv"
DROPPED = 5
DELTA = 1e-3
SCALE = 1e6  # of the penalty that `chinchilla, scaled` is given
HIGHER = 1e-9
FASTER = 50
WARM_RESAMPLES = 20
VSWEEP = "vsweep"


@dataclass(frozen=True)
class Points:
    """N, D (tokens) and loss (nats/token), each [n]."""

    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray

    def take(self, rows: np.ndarray) -> "Points":
        return Points(self.params[rows], self.tokens[rows], self.loss[rows])


@dataclass(frozen=True)
class Row:
    """One contestant's line of the table; None where there is nothing to say.

    `objective` and `law` are of all points, `refit_objective` of the first resample. `searches` tells whether a refit
    begins from more than one place.
    """

    contestant: str
    starts: int | None = None
    law: Law | None = None
    objective: float | None = None
    refit_objective: float | None = None
    fit_s: float | None = None
    refit_s: float | None = None
    searches: bool = True
    note: str = ""


def load_points(path: Path = POINTS_FILE) -> Points:
    """The points in the order of the file, without the five highest losses."""
    table = pd.read_csv(path).sort_values("loss")[:-DROPPED].sort_index()
    params, flops, loss = (table[name].to_numpy(float) for name in ("N", "C", "loss"))
    return Points(params, flops / (6 * params), loss)


def objective(law: Law, points: Points) -> float:
    """The sum of Huber's penalty of the log residuals (Hoffmann et al. 2022, equation 3), in plain numpy."""
    residual = np.log(law.E + law.A / points.params**law.alpha + law.B / points.tokens**law.beta) - np.log(points.loss)
    size = np.abs(residual)
    return float(np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)).sum())


def draws(points: Points, count: int) -> np.ndarray:
    """The rows of each resample [count, n]; the first is that of `numpy.random.seed(42)`."""
    n = len(points.loss)
    return np.random.RandomState(42).choice(n, (count, n))


def timed(call: Callable):
    """(what `call` returns, seconds)."""
    begin = time.perf_counter()
    result = call()
    return result, time.perf_counter() - begin


def vsweep_row(points: Points, drawn: np.ndarray, repeats: int) -> Row:
    """Median times over `repeats`; a refit is the time of all resamples over their number."""
    columns = (points.params, points.tokens, points.loss)
    weight = np.stack([np.bincount(rows, minlength=len(points.loss)) for rows in drawn])
    fits = [timed(lambda: parametric.fit(*columns)) for _ in range(repeats)]
    whole = fits[0][0]
    refits = [timed(lambda: parametric.refit(*columns, weight, whole)) for _ in range(repeats)]
    found = refits[0][0]
    first = Law(*(float(np.asarray(value)[found.rows == 0][0]) for value in _fields(found.law)))
    return Row(
        VSWEEP,
        law=whole.law,
        objective=objective(whole.law, points),
        refit_objective=objective(first, points.take(drawn[0])),
        fit_s=float(np.median([seconds for _, seconds in fits])),
        refit_s=float(np.median([seconds for _, seconds in refits])) / len(drawn),
        note=f"refits: {len(drawn):,} at once, {found.failed} refused",
    )


def _fields(law: Law) -> tuple:
    return law.E, law.A, law.B, law.alpha, law.beta


def searching_row(name: str, starts: int, fit: Callable[[Points], Law], points: Points, drawn: np.ndarray) -> Row:
    """A contestant whose refit is the whole fit again, so that each is run once."""
    law, fit_s = timed(lambda: fit(points))
    resample = points.take(drawn[0])
    again, refit_s = timed(lambda: fit(resample))
    return Row(name, starts, law, objective(law, points), objective(again, resample), fit_s, refit_s)


def chinchilla_rows(points: Points, drawn: np.ndarray, per_axis: int) -> list[Row]:
    names = {"chinchilla": 1.0, "chinchilla, scaled": SCALE}
    try:
        importlib.metadata.version("chinchilla")
    except importlib.metadata.PackageNotFoundError:
        return [Row(name, note="not installed: pip install -r benchmarks/requirements.txt") for name in names]
    return [
        searching_row(name, per_axis**5, partial(fit_chinchilla, scale=scale, per_axis=per_axis), points, drawn)
        for name, scale in names.items()
    ]


def scaled_log_huber(y_true: np.ndarray, y_pred: np.ndarray, *, scale: float) -> np.ndarray:
    from chinchilla._metrics import log_huber

    return scale * log_huber(y_true, y_pred, delta=DELTA)


def fit_chinchilla(points: Points, *, scale: float, per_axis: int) -> Law:
    """As the README of chinchilla 0.2.0 says: a df.csv, the grid, `fit()`; in a folder that is thrown away."""
    from chinchilla import Chinchilla

    flops = 6 * points.params * points.tokens
    table = pd.DataFrame({"C": flops, "N": points.params, "D": points.tokens, "loss": points.loss})
    ranges = {"E": (1, 2), "a": (1, 10), "b": (1, 10), "alpha": (0.1, 0.7), "beta": (0.1, 0.7)}
    with tempfile.TemporaryDirectory() as folder:
        table.to_csv(Path(folder) / "df.csv", index=False)
        model = Chinchilla(
            folder,
            param_grid={name: np.linspace(*ends, per_axis) for name, ends in ranges.items()},
            loss_fn=partial(scaled_log_huber, scale=scale),
            log_level=40,
        )
        model.fit()
    return Law(*(float(model.params[name]) for name in ("E", "A", "B", "alpha", "beta")))


def hoffmann_grid(thin: bool) -> list[tuple[float, ...]]:
    """Starts (a, b, e, alpha, beta): 6 x 6 x 5 x 5 x 5, or two an axis."""
    factors, floors, exponents = (
        (np.linspace(*ends, 2 if thin else count)) for ends, count in (((0, 25), 6), ((-1, 1), 5), ((0, 2), 5))
    )
    return list(itertools.product(factors, factors, floors, exponents, exponents))


def log_huber_sum(theta: np.ndarray, points: Points) -> float:
    """The objective over delta at theta = (a, b, e, alpha, beta), by the log-sum-exp of Hoffmann et al. 2022, eq. 3."""
    a, b, e, alpha, beta = theta
    by_size, by_tokens = a - alpha * np.log(points.params), b - beta * np.log(points.tokens)
    size = np.abs(np.logaddexp(np.logaddexp(by_size, by_tokens), e) - np.log(points.loss))
    return float(np.where(size <= DELTA, 0.5 * size**2 / DELTA, size - 0.5 * DELTA).sum())


def descend(start: tuple[float, ...], points: Points) -> tuple[float, np.ndarray]:
    """(objective over delta, theta) where scipy's BFGS ends."""
    found = minimize(log_huber_sum, start, args=(points,), method="BFGS")
    return float(found.fun), found.x


def as_law(theta: np.ndarray) -> Law:
    a, b, e, alpha, beta = (float(value) for value in theta)
    return Law(np.exp(e), np.exp(a), np.exp(b), alpha, beta)


def fit_scipy(points: Points, starts: list[tuple[float, ...]]) -> Law:
    """The lowest end of BFGS from every start, on all cores."""
    with multiprocessing.Pool() as pool:
        ends = pool.map(partial(descend, points=points), starts)
    return as_law(min((end for end in ends if np.isfinite(end[0])), key=lambda end: end[0])[1])


def warm_row(points: Points, drawn: np.ndarray, whole: Law) -> Row:
    """Refits from the fit to all points alone; the time is of `WARM_RESAMPLES` of them on all cores."""
    start = (np.log(whole.A), np.log(whole.B), np.log(whole.E), whole.alpha, whole.beta)
    resamples = [points.take(rows) for rows in drawn[:WARM_RESAMPLES]]
    with multiprocessing.Pool() as pool:
        pool.map(abs, range(2 * os.cpu_count()))  # the workers are up before the clock starts
        ends, seconds = timed(lambda: pool.map(partial(descend, start), resamples))
    value = objective(as_law(ends[0][1]), resamples[0])
    note = "no search: from the fit to all points only"
    return Row("scipy, warm", 1, None, None, value, None, seconds / len(resamples), searches=False, note=note)


def complaints(rows: list[Row]) -> list[str]:
    """Where vsweep does not keep what it promises, in sentences; `rows` begin with vsweep."""
    ours, found = rows[0], []
    for row in rows[1:]:
        for name, label in (("objective", "the 240 points"), ("refit_objective", "the first resample")):
            theirs = getattr(row, name)
            if theirs is not None and getattr(ours, name) > theirs * (1 + HIGHER):
                found.append(f"{row.contestant} reaches {theirs:.13g} on {label}, vsweep {getattr(ours, name):.13g}.")
        if row.searches and row.refit_s is not None and row.refit_s < FASTER * ours.refit_s:
            ratio = row.refit_s / ours.refit_s
            found.append(f"A refit is only {ratio:.3g} times faster than that of {row.contestant}, not {FASTER}.")
    return found


def table_of(rows: list[Row]) -> pd.DataFrame:
    """One line a contestant; `ratio` is its seconds a refit over vsweep's."""
    lines = []
    for row in rows:
        law = {} if row.law is None else {name: float(value) for name, value in asdict(row.law).items()}
        ratio = None if row.refit_s is None else row.refit_s / rows[0].refit_s
        kept = {name: getattr(row, name) for name in ("objective", "refit_objective", "fit_s", "refit_s", "note")}
        note = kept.pop("note")
        lines.append({"contestant": row.contestant, "starts": row.starts, **law, **kept, "ratio": ratio, "note": note})
    order = ["contestant", "starts", "objective", "refit_objective", "E", "A", "B", "alpha", "beta"]
    return pd.DataFrame(lines)[[*order, "fit_s", "refit_s", "ratio", "note"]].astype({"starts": "Int64"})


def machine() -> dict[str, str | int]:
    """What the times depend on; nothing that tells whose machine it is."""
    versions = common.versions(("numpy", "scipy", "chinchilla"))
    return {"cpu": common.cpu_model(), "cores": os.cpu_count() or 1, "system": platform.system(), **versions}


def write(table: pd.DataFrame, measured: dict, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "fits.csv", index=False)
    rows = json.loads(table.to_json(orient="records", double_precision=15))
    (folder / "fits.json").write_text(json.dumps({**measured, "rows": rows}, indent=2) + "\n")


def run(refits: int, repeats: int, quick: bool) -> list[Row]:
    points = load_points()
    drawn = draws(points, refits)
    ours = vsweep_row(points, drawn, repeats)
    print(f"{VSWEEP}: done; the others take minutes each", file=sys.stderr)
    starts = hoffmann_grid(thin=quick)
    grid = searching_row("scipy, grid", len(starts), partial(fit_scipy, starts=starts), points, drawn)
    warm = warm_row(points, drawn, ours.law)
    return [ours, *chinchilla_rows(points, drawn, per_axis=2 if quick else 5), grid, warm]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.fits", description=__doc__, formatter_class=_AsWritten)
    parser.add_argument(
        "--refits", type=int, default=4000, help="bootstrap refits of vsweep, timed together: 1 ms each"
    )
    parser.add_argument("--repeats", type=int, default=5, help="times that vsweep's fit and refits are run: 5 s each")
    parser.add_argument("--quick", action="store_true", help="two starts an axis and 200 refits; writes nothing")
    options = parser.parse_args(arguments)
    for name in ("refits", "repeats"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: at least 1 - got {getattr(options, name)}")
    return options


class _AsWritten(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of the description and shows the defaults."""


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    refits = min(options.refits, 200) if options.quick else options.refits
    rows = run(refits, options.repeats, options.quick)
    table = table_of(rows)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.11g}" if value < 0.01 else f"{value:.6g}"))
    if not options.quick:
        write(table, {**machine(), "refits": refits, "repeats": options.repeats, "delta": DELTA}, common.RESULTS)
    found = complaints(rows)
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
