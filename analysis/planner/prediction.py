"""One loss: what a fitted law says about a run of N parameters on D tokens, once or with repeated data."""

from dataclasses import dataclass

import numpy as np

from vsweep.analysis.approaches.repeated_law import RepeatedLaw
from vsweep.analysis.planner.laws import Laws, as_numpy
from vsweep.analysis.planner.results import Estimate
from vsweep.analysis.planner.saved_law import Extrapolation, SavedLaw, outside_of
from vsweep.analysis.planner.scarce_data import repeated_laws

KEYS = ("N", "D", "unique")


@dataclass(frozen=True)
class Prediction:
    """The loss of one run: N in parameters, D in tokens, `flops` = 6ND, losses in `loss_unit`.

    `loss` is in the convention of the fit, an excess where the floor of the losses is known; `with_floor` adds that
    floor (None where there is none). `single_run` is the range in which one run falls, its scatter included (None where
    that is not known). `level` is the share that intervals cover, `resamples` how many laws they could be taken from.
    `unique` is None where every token is new, and `borrowed` says that the worth of repeats is not from these runs.
    `extrapolations` name each of N, D and C that lies outside the fitted runs.
    """

    params: float
    tokens: float
    unique: float | None
    flops: float
    loss_name: str
    loss_unit: str
    loss: Estimate
    with_floor: Estimate | None
    single_run: tuple[float, float] | None
    level: float
    resamples: int
    borrowed: bool
    extrapolations: tuple[Extrapolation, ...]

    @property
    def epochs(self) -> float:
        """How often each unique token is seen; 1 where all are new."""
        return max(1.0, self.tokens / self.unique) if self.unique else 1.0


def parse_run(text: str) -> dict[str, float]:
    """`N=1e9,D=2e10` or `N=1e9,D=2e10,unique=5e9` as numbers by name.

    Raises:
      ValueError: an unknown, repeated or missing name, or a value that is not a positive number.
    """
    example = "such as N=1e9,D=2e10 or N=1e9,D=2e10,unique=5e9"
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in KEYS or name in found:
            raise ValueError(f"must be N, D and perhaps unique, once each - got {part.strip()!r}; {example}")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = np.nan
        if not 0 < found[name] < np.inf:
            raise ValueError(f"{name} must be a positive number - got {value!r}; {example}")
    missing = [name for name in KEYS[:2] if name not in found]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing - {example}")
    return found


def predict(
    saved: SavedLaw,
    params: float,
    tokens: float,
    *,
    unique: float | None = None,
    repeats: tuple[float, float] | None = None,
    level: float | None = None,
) -> Prediction:
    """The loss of N = `params` parameters, in the N of the law, trained on D = `tokens` tokens, repeats included.

    Args:
      unique: how many of the tokens are distinct; all by default. With fewer than `tokens` the law of repeated data
        (Muennighoff et al. 2023) takes the place of the law.
      repeats: R_D* and R_N* to borrow where the law of repeated data was not fitted.
      level: the share that intervals cover (default: that of the fits).

    Raises:
      BadLaw: repeated tokens, and neither a law of repeated data nor `repeats`.
      ValueError: a number outside its range, or a loss beyond all numbers.
    """
    level = saved.level if level is None else level
    _check(params=params, tokens=tokens, unique=unique, level=level)
    borrowed, seen = False, None
    if unique is not None and unique < tokens:
        laws, borrowed, drawn = repeated_laws(saved, repeats, level)
        seen = unique
    else:
        drawn = 0 if saved.resamples is None else np.size(saved.resamples.alpha)
        laws = Laws.of(as_numpy(saved.law), saved.resamples, saved.residual_sd_log, level)

    def loss(law: object) -> np.ndarray:
        return law.loss(params, tokens, seen) if isinstance(law, RepeatedLaw) else law.loss(params, tokens)

    with np.errstate(over="ignore", divide="ignore"):
        estimate, single = laws.estimate(loss), laws.single_run(loss)
    if not np.isfinite(estimate.value):
        raise ValueError(f"law: no finite loss at N = {params:g}, D = {tokens:g} by these constants")
    return Prediction(
        params=params,
        tokens=tokens,
        unique=seen,
        flops=6 * params * tokens,
        loss_name=saved.loss,
        loss_unit=saved.loss_unit,
        loss=estimate,
        with_floor=_raised(estimate, saved.floor_value) if saved.floor_value else None,
        single_run=single,
        level=level,
        resamples=drawn,
        borrowed=borrowed,
        extrapolations=tuple(outside_of(saved, {"this run": (params, tokens)})),
    )


def _raised(estimate: Estimate, floor: float) -> Estimate:
    ends = (None if end is None else end + floor for end in (estimate.low, estimate.high))
    return Estimate(estimate.value + floor, *ends)


def _check(**numbers: float | None) -> None:
    wrong = [
        f"{name}: must be a positive number - got {value!r}"
        for name, value in numbers.items()
        if value is not None and not (0 < value < np.inf)
    ]
    if numbers["level"] >= 1:
        wrong.append(f"level: must be a share between 0 and 1 - got {numbers['level']:g}")
    if wrong:
        raise ValueError("; ".join(wrong))
