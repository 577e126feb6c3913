"""The best value of a setting as a law: f_opt = k N^x D^y, and for a learning rate times B^z where batch sizes vary.

The form is that of Step Law (Li et al. 2025, arXiv:2503.04715), which finds N^-.713 D^.307 for the learning rate and
D^.571 for the batch size. The minima of the cells are fitted by least squares in logs.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from vsweep.analysis.approaches.bowls import Bowls
from vsweep.analysis.data.source import LEVEL, Refusal
from vsweep.analysis.uncertainty import intervals
from vsweep.analysis.uncertainty.intervals import Uncertainty

VARIABLES = {"N": ("params", "x"), "D": ("tokens", "y"), "B": ("batch", "z")}  # column of `minima`, name of exponent
SPARE = 2  # cells with a minimum beyond the number of parameters, so that a scatter is known at all
NARROW = np.log(2.0)  # a variable that spans less is no variable
TOGETHER = 0.1  # scatter of log D about a power of N, below which one exponent stands for both
SURE = 0.99  # an exponent is called one only if the interval of this level excludes zero
MOVES, MAY_MOVE, NOT_SHOWN, NOT_ASKED = "moves", "may move", "not shown to move", "not asked without resamples"
LARGEST_LOG = 300.0  # of a constant or an exponent of a resample, so that its exponential is a number
DETERMINED = 1e8  # condition number of a resample's equations, beyond which it determines no law


@dataclass(frozen=True)
class HyperparameterLaw:
    """f_opt = k times powers of N, D and B.

    `exponents` has x, y and z as far as they were fitted. `verdicts` says by variable (N, D, B) whether f_opt moves
    with it. `left_out` says by variable why it is none. `rms_log` is the scatter of the minima about the law.
    """

    k: float
    exponents: dict[str, float]
    verdicts: dict[str, str]
    left_out: dict[str, str]
    minima: int
    cells: int
    r2_log: float
    rms_log: float
    uncertainty: Uncertainty | None

    def value(self, **at: float | np.ndarray) -> np.ndarray:
        """f_opt at N, D and B (those that the law has), such as `value(N=1e9, D=2e10)`."""
        powers = [np.power(at[name], self.exponents[x]) for name, (_, x) in VARIABLES.items() if x in self.exponents]
        return self.k * np.prod(np.broadcast_arrays(*powers), axis=0)

    @property
    def formula(self) -> str:
        """Such as `12.1 N^-0.71 D^0.31`."""
        names = [f"{name}^{self.exponents[x]:.3f}" for name, (_, x) in VARIABLES.items() if x in self.exponents]
        return " ".join([f"{self.k:.4g}", *names])


def fit(bowls: Bowls, count: int, level: float = LEVEL) -> HyperparameterLaw | Refusal:
    """The law through the interior minima, with intervals of `level` from `count` resamples of whole cells (0: none).

    Refused are too few minima for the number of exponents, and minima with no spread in N, D or B. A variable without
    spread is left out, and so is D where it is a power of N.
    """
    method, used = f"optimal {bowls.setting}", bowls.interior
    if used.empty:
        return Refusal(method, f"no cell has a minimum of {bowls.setting} between the values that were tried")
    cell = used.groupby(["size", "budget"]).ngroup().to_numpy()
    if cell.max() + 1 < 2 + SPARE:
        return Refusal(method, f"{cell.max() + 1} of {2 + SPARE} cells with a minimum that a law needs at least")
    variables, left_out = _variables(used)
    if not variables:
        return Refusal(method, "the cells with a minimum span less than a factor of two in N, D and batch size")
    needed = 1 + sum(name != "B" for name in variables) + SPARE
    if cell.max() + 1 < needed or len(used) < 1 + len(variables) + SPARE:
        text = f"{cell.max() + 1} cells have a minimum, and {needed} are needed for a law in {', '.join(variables)}"
        return Refusal(method, text)
    return _fitted(used, variables, left_out, cell, count, level)


def _variables(used: pd.DataFrame) -> tuple[list[str], dict[str, str]]:
    """The variables of the law, and by name why the others are none."""
    logs = {name: np.log(used[column].to_numpy(float)) for name, (column, _) in VARIABLES.items()}
    known = {name: values for name, values in logs.items() if np.isfinite(values).all()}
    narrow = [name for name, values in known.items() if np.ptp(values) < NARROW]
    left_out = dict.fromkeys(narrow, "it spans less than a factor of two")
    names = [name for name in known if name not in narrow]
    if {"N", "D"} <= set(names):
        slope, constant = np.polyfit(known["N"], known["D"], 1)
        if np.std(known["D"] - slope * known["N"] - constant) < TOGETHER:
            names.remove("D")
            left_out["D"] = f"D is a power of N here (D ~ N^{slope:.2f}), so the exponent of N stands for both"
    return names, left_out


def _fitted(
    used: pd.DataFrame, variables: list[str], left_out: dict[str, str], cell: np.ndarray, count: int, level: float
) -> HyperparameterLaw:
    logs = np.stack([np.log(used[VARIABLES[name][0]].to_numpy(float)) for name in variables], axis=1)
    middle = logs.mean(axis=0)
    design = np.column_stack([np.ones(len(used)), logs - middle])  # [n, p]
    y = np.log(used["best"].to_numpy(float))
    theta = np.linalg.lstsq(design, y, rcond=None)[0]
    residual, cells = y - design @ theta, int(cell.max()) + 1
    exponents = {VARIABLES[name][1]: float(value) for name, value in zip(variables, theta[1:], strict=True)}
    k = float(np.exp(theta[0] - theta[1:] @ middle))
    freedom = cells - 1 - sum(name != "B" for name in variables)
    resampled = _resampled(design, y, cell, count) if count else None
    return HyperparameterLaw(
        k=k,
        exponents=exponents,
        verdicts={
            name: _verdict(theta[at], None if resampled is None else resampled[:, at], cells, freedom)
            for at, name in enumerate(variables, start=1)
        },
        left_out=left_out,
        minima=len(used),
        cells=cells,
        r2_log=float(1 - residual.var() / y.var()) if y.var() > 0 else 0.0,
        rms_log=float(np.sqrt((residual**2).mean())),
        uncertainty=None
        if resampled is None
        else _uncertainty(exponents, k, resampled, middle, cells, freedom, count, level),
    )


def _resampled(design: np.ndarray, y: np.ndarray, cell: np.ndarray, count: int) -> np.ndarray:
    """[r, p] the coefficients of each resample of whole cells that determines them; r <= count."""
    rng, cells = np.random.default_rng(0), int(cell.max()) + 1
    left, right = [], []
    for _ in range(count):
        weight = np.bincount(rng.integers(cells, size=cells), minlength=cells)[cell]
        weighted = design.T * weight
        left.append(weighted @ design)
        right.append(weighted @ y)
    left, right = np.stack(left), np.stack(right)  # [count, p, p], [count, p]
    scale = np.sqrt(np.diag(design.T @ design))
    good = np.linalg.cond(left / scale[:, None] / scale) < DETERMINED
    return np.linalg.solve(left[good], right[good][..., None])[..., 0]


def _stretch(cells: int, freedom: int, level: float) -> float:
    """How much wider the interval of a few cells must be than the spread of their resamples.

    Resamples of n cells scatter by a factor of sqrt((n - p) / n) too little for p coefficients, and Student's t takes
    the place of the normal distribution.
    """
    share = (1 + level) / 2
    return float(np.sqrt(cells / freedom) * stdtrit(freedom, share) / ndtri(share))


def _verdict(value: float, resampled: np.ndarray | None, cells: int, freedom: int) -> str:
    if resampled is None or len(resampled) < 2:
        return NOT_ASKED
    # Clipped, because a resample that hardly determines a coefficient may throw it anywhere.
    deviation = float(np.std(np.clip(resampled, *np.quantile(resampled, intervals.TRIMMED))))

    def excludes_zero(level: float) -> bool:
        return abs(value) > deviation * ndtri((1 + level) / 2) * _stretch(cells, freedom, level) + 1e-9

    return MOVES if excludes_zero(SURE) else MAY_MOVE if excludes_zero(LEVEL) else NOT_SHOWN


def _uncertainty(
    exponents: dict[str, float],
    k: float,
    resampled: np.ndarray,
    middle: np.ndarray,
    cells: int,
    freedom: int,
    count: int,
    level: float,
) -> Uncertainty:
    log_k = np.clip(resampled[:, 0] - resampled[:, 1:] @ middle, -LARGEST_LOG, LARGEST_LOG)
    powers = np.clip(resampled[:, 1:], -LARGEST_LOG, LARGEST_LOG)
    # Exponents have either sign. Their exponentials are positive, as `interval` needs it, and are stretched in logs.
    values = {"k": np.exp(log_k)} | {name: np.exp(powers[:, at]) for at, name in enumerate(exponents)}
    estimate = {"k": k} | {name: float(np.exp(value)) for name, value in exponents.items()}
    widening = dict.fromkeys(values, _stretch(cells, freedom, level))
    found = intervals.interval(
        intervals.CELLS, estimate, values, failed=count - len(resampled), level=level, widening=widening
    )
    ranges = {
        name: found_range if name == "k" else intervals.Range(np.log(found_range.low), np.log(found_range.high))
        for name, found_range in found.ranges.items()
    }
    return intervals.Uncertainty(found.kind, found.form, ranges, found.fits, found.failed)
