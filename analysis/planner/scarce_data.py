"""A compute with few unique tokens: how often to repeat them, how large a model to train, and what that costs.

By the law of repeated data (Muennighoff et al. 2023, equations 5 to 7). A repeated token costs as much compute as a new
one and is worth less, and so is a parameter beyond those that the unique tokens can use.
"""

from dataclasses import dataclass

import numpy as np

from vsweep.analysis.approaches.repeated_law import MUENNIGHOFF, RepeatedLaw
from vsweep.analysis.planner.laws import Laws, as_numpy
from vsweep.analysis.planner.results import Estimate
from vsweep.analysis.planner.saved_law import BadLaw, SavedLaw

PUBLISHED = "muennighoff"


@dataclass(frozen=True)
class ScarceData:
    """The best run with `flops` = 6ND FLOP and `unique` distinct tokens, by the law of repeated data.

    N in parameters, D in tokens with repeats, losses in the unit of the fit. `epochs` is D / unique, and below 1 where
    not all of the tokens are used. `loss` is the law's at this N and D, `unlimited` its loss at the optimum with new
    tokens only (`unlimited_params`, `unlimited_tokens`), and `worse` their difference. `R_D` and `R_N` are the worth of
    repeats; `borrowed` says that these are not from the runs of the law.
    """

    flops: float
    unique: float
    params: Estimate
    tokens: Estimate
    epochs: Estimate
    loss: Estimate
    single_run: tuple[float, float] | None
    unlimited_params: float
    unlimited_tokens: float
    unlimited: Estimate
    worse: Estimate
    R_D: Estimate
    R_N: Estimate
    borrowed: bool
    law: RepeatedLaw
    resamples: int


def repeats_of(value: str | tuple[float, float] | None) -> tuple[float, float] | None:
    """R_D* and R_N* from `muennighoff`, `15.39,5.31` or a pair of numbers; None stays None.

    Raises:
      ValueError: neither of these, or a number that is not positive.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.strip().casefold() == PUBLISHED:
        return MUENNIGHOFF
    parts = value.split(",") if isinstance(value, str) else value
    try:
        r_d, r_n = (float(part) for part in parts)
    except (TypeError, ValueError):
        r_d = r_n = np.nan
    if not (0 < r_d < np.inf and 0 < r_n < np.inf):
        raise ValueError(f"repeats: must be `{PUBLISHED}` or R_D*,R_N* such as 15.39,5.31 - got {value!r}")
    return r_d, r_n


def repeated_laws(saved: SavedLaw, repeats: tuple[float, float] | None, level: float) -> tuple[Laws, bool, int]:
    """The law of repeated data with its resamples, whether its repeats are borrowed, and how many resamples it has.

    Raises:
      BadLaw: it was not fitted and `repeats` is None, or it was fitted and `repeats` are given too.
    """
    if saved.repeated is not None and repeats is not None:
        raise BadLaw(f"{saved.source}: it has a law of repeated data of its own - leave out --repeats")
    if saved.repeated is not None:
        law, drawn, sd = saved.repeated, saved.repeated_resamples, saved.repeated_sd_log
    elif repeats is not None:
        law = RepeatedLaw(as_numpy(saved.law), *map(np.float64, repeats))
        drawn = None if saved.resamples is None else RepeatedLaw(saved.resamples, *map(np.float64, repeats))
        sd = saved.residual_sd_log
    else:
        raise BadLaw(
            f"{saved.source}: no law of repeated data - {saved.why_not_repeated}; to borrow the published worth of "
            f"repeats, R_D* = {MUENNIGHOFF[0]:.2f} and R_N* = {MUENNIGHOFF[1]:.2f}, give --repeats {PUBLISHED} "
            f"(repeats={PUBLISHED!r} in Python)"
        )
    count = 0 if drawn is None else np.size(drawn.alpha)
    return Laws.of(law, drawn, sd, level), saved.repeated is None, count


def plan_scarce(
    saved: SavedLaw, flops: float, unique: float, *, level: float, repeats: tuple[float, float] | None = None
) -> ScarceData:
    """The best N, D and epochs for `flops` FLOP, counted as 6ND, with `unique` distinct tokens.

    The run is planned by the fitted law and stays where it is: resampled laws say what it may cost, and where they
    would have put it. `repeats` are R_D* and R_N* to borrow where the law of repeated data was not fitted.

    Raises:
      BadLaw: there is no law of repeated data, and nothing to borrow.
      ValueError: a number that is not positive.
    """
    for name, value in (("flops", flops), ("unique_tokens", unique)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name}: must be a positive number - got {value!r}")
    laws, borrowed, count = repeated_laws(saved, repeats, level)
    params = float(laws.law.params_opt(flops, unique))
    tokens = flops / (6 * params)
    fresh = laws.law.law
    most, enough = float(fresh.params_opt(flops)), float(fresh.tokens_opt(flops))
    if not (1 <= params < np.inf and 1 <= tokens < np.inf):
        raise ValueError(f"flops: {flops:.3g} FLOP would train {params:.3g} parameters on {tokens:.3g} tokens")

    def loss(law: RepeatedLaw) -> np.ndarray:
        return law.loss(params, tokens, unique)

    def unlimited(law: RepeatedLaw) -> np.ndarray:
        return law.law.loss(most, enough)

    return ScarceData(
        flops=flops,
        unique=unique,
        params=laws.estimate(lambda law: law.params_opt(flops, unique)),
        tokens=laws.estimate(lambda law: flops / (6 * law.params_opt(flops, unique))),
        epochs=laws.estimate(lambda law: flops / (6 * law.params_opt(flops, unique) * unique)),
        loss=laws.estimate(loss),
        single_run=laws.single_run(loss),
        unlimited_params=most,
        unlimited_tokens=enough,
        unlimited=laws.estimate(unlimited),
        worse=laws.estimate(lambda law: loss(law) - unlimited(law)),
        R_D=laws.estimate(lambda law: law.R_D),
        R_N=laws.estimate(lambda law: law.R_N),
        borrowed=borrowed,
        law=laws.law,
        resamples=count,
    )
