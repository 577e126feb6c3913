"""From a law to a decision: how to split a compute, what a wrong size costs, what serving and scarce data change.

Training is counted as C = 6ND, a forward pass as 2N FLOP per token (Kaplan et al. 2020, section 2.1). Every quantity is
an expression of a law, evaluated once with the fitted law and once with all resampled laws together. A run that is
planned by the fitted law stays where it is planned: the resampled laws say what it may cost, and where they would have
put it.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from scipy import special
from scipy.optimize import elementwise

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.planner.laws import Laws, as_numpy
from vsweep.analysis.planner.results import (
    AtFixedTokens,
    Estimate,
    FixedTokens,
    OffOptimum,
    Optimum,
    Plan,
    Reserve,
    Serving,
    Smaller,
)

SIZES_OFF = (0.5, 2.0)  # of N_opt
TIMES_SMALLER = (2.0, 3.0, 4.0)
RESERVES = (0.0, 0.10, 0.25, 0.50)


def plan(
    law: Law,
    flops: float,
    *,
    resamples: Law | None = None,
    residual_sd_log: float | None = None,
    level: float = 0.9,
    reserve: float = 0.0,
    tokens: float | None = None,
    served: float | None = None,
) -> Plan:
    """What `law` says about training with `flops`, counted as 6ND in the law's own N.

    Args:
      resamples: the law fitted to r resamples, its fields arrays [r]; without it there are no intervals. The same where
        there are fewer than 2 / (1 - level) of them, because then none lies beyond either end.
      residual_sd_log: standard deviation of a single run's log loss around the law.
      level: the share of the resampled laws inside an interval.
      reserve: share of `flops` to keep back, 0 or more and below 1.
      tokens: if given, what a fixed amount of training tokens allows.
      served: if given, the tokens which the model will serve over its life.

    Raises:
      ValueError: a number outside its range (all such are listed), or a compute too small for one parameter and token.
    """
    _check(flops=flops, level=level, reserve=reserve, tokens=tokens, served=served, residual_sd_log=residual_sd_log)
    count = 0 if resamples is None else np.size(resamples.alpha)
    laws = Laws.of(as_numpy(law), resamples, residual_sd_log, level)
    try:
        # Beyond the largest float, inf is the answer; inf - inf is no number.
        with np.errstate(over="ignore", divide="ignore", invalid="raise"):
            _check_reach(laws.law, flops)
            return _plan(laws, flops, count, reserve, tokens, served)
    except FloatingPointError as error:
        raise ValueError(f"law: no plan by constants this large or small, {law} - or by a resample of it") from error


def _plan(laws: Laws, flops: float, resamples: int, reserve: float, tokens: float | None, served: float | None) -> Plan:
    usable = (1 - reserve) * flops
    return Plan(
        law=laws.law,
        flops_total=flops,
        reserve=reserve,
        flops=usable,
        level=laws.level,
        resamples=resamples,
        optimum=_optimum(laws, usable),
        off_optimum=tuple(_off_optimum(laws, usable, times) for times in SIZES_OFF),
        smaller=tuple(_smaller(laws, usable, times) for times in TIMES_SMALLER),
        serving=None if served is None else _serving(laws, usable, served),
        fixed_tokens=None if tokens is None else _fixed_tokens(laws, usable, tokens),
        reserves=tuple(_reserve(laws, flops, share) for share in sorted({*RESERVES, reserve})),
    )


def _check(**numbers: float | None) -> None:
    allowed = {
        "flops": ("a positive number of FLOP", lambda x: 0 < x < np.inf),
        "level": ("a share between 0 and 1", lambda x: 0 < x < 1),
        "reserve": ("a share from 0 to below 1", lambda x: 0 <= x < 1),
        "tokens": ("a positive number of tokens", lambda x: 0 < x < np.inf),
        "served": ("a positive number of tokens", lambda x: 0 < x < np.inf),
        "residual_sd_log": ("0 or more", lambda x: 0 <= x < np.inf),
    }
    wrong = [
        f"{name}: must be {allowed[name][0]} - got {number:g}"
        for name, number in numbers.items()
        if number is not None and not allowed[name][1](number)
    ]
    if wrong:
        raise ValueError("; ".join(wrong))


def _check_reach(law: Law, flops: float) -> None:
    params, tokens = law.params_opt(flops), law.tokens_opt(flops)
    if not (1 <= params < np.inf and 1 <= tokens < np.inf):
        raise ValueError(
            f"flops: by this law {flops:.3g} FLOP would train {params:.3g} parameters on {tokens:.3g} tokens - "
            "are C in FLOP, N in parameters and D in tokens?"
        )


def gamma(law: Law) -> np.ndarray:
    """The exponent of the compute-optimal loss: L_opt(C) - E ~ C^-gamma, from equation 4 of Hoffmann et al. 2022."""
    return law.alpha * law.beta / (law.alpha + law.beta)


def excess(law: Law, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """L - E; not by subtraction, which leaves no digits where both are nearly equal."""
    return replace(law, E=0.0).loss(params, tokens)


def wasted_share(law: Law, excess: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1 - C(excess)/C(reference), where C(x) is the compute with which the optimal run has L - E = x."""
    return 1 - np.power(reference / excess, 1 / gamma(law))


def tokens_for(law: Law, params: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The D at which `params` parameters reach L - E = `excess`; inf where the term of N alone is as high."""
    left = excess - law.A * np.power(params, -law.alpha)
    return np.power(law.B / np.maximum(left, 0.0), 1 / law.beta)


def params_for_serving(law: Law, excess: np.ndarray, served: float) -> np.ndarray:
    """The N with the least 6ND + 2NT at a given L - E = `excess`, T tokens served (Sardana et al. 2023, section 2).

    With u the share of L - E that is left to N, so that A/N^alpha = u (L - E) and B/D^beta = (1 - u)(L - E), the total
    is least where 3 D (alpha u / (beta (1 - u)) - 1) = T. In w = logit u - logit u_opt the logarithm of that rises
    steadily, and the bounds below enclose its root.
    """
    start = np.log(law.beta / law.alpha)  # logit of u_opt, where T = 0
    ratio = served / (3 * np.power(law.B / (law.b * excess), 1 / law.beta))  # T / 3D of the optimum
    lowest = np.minimum(np.minimum(law.beta, 1.0), ratio / np.e**2)
    bounds = np.minimum(lowest, np.log1p(ratio) / 2), np.log1p(ratio)
    root = elementwise.find_root(_log_too_few_served, bounds, args=(start, law.beta, np.log(ratio)))
    return np.power(law.A / (special.expit(start + root.x) * excess), 1 / law.alpha)


def _log_too_few_served(w: np.ndarray, start: np.ndarray, beta: np.ndarray, log_ratio: np.ndarray) -> np.ndarray:
    """log of 3 D (alpha u / (beta (1 - u)) - 1) / T, where u = expit(start + w)."""
    more_tokens = (np.logaddexp(0, start + w) - np.logaddexp(0, start)) / beta  # log D / D_opt
    return more_tokens + np.log(np.expm1(w)) - log_ratio


def _optimum(laws: Laws, flops: float) -> Optimum:
    params, tokens = laws.law.params_opt(flops), laws.law.tokens_opt(flops)

    def loss(law: Law) -> np.ndarray:
        return law.loss(params, tokens)

    regret = None
    if laws.resamples is not None:
        missed = excess(laws.resamples, params, tokens) - _planned(laws.resamples, laws.resamples, flops)
        regret = float(np.quantile(missed, laws.level, method="higher"))
    return Optimum(
        params=laws.estimate(lambda law: law.params_opt(flops)),
        tokens=laws.estimate(lambda law: law.tokens_opt(flops)),
        tokens_per_param=laws.estimate(lambda law: law.tokens_opt(flops) / law.params_opt(flops)),
        loss=laws.estimate(loss),
        single_run=laws.single_run(loss),
        regret=regret,
    )


def _planned(law: Law, planner: Law, flops: float) -> np.ndarray:
    """L - E under `law` of the run that `planner` holds for compute-optimal."""
    return excess(law, planner.params_opt(flops), planner.tokens_opt(flops))


def _off_optimum(laws: Laws, flops: float, times: float) -> OffOptimum:
    params, tokens = times * laws.law.params_opt(flops), laws.law.tokens_opt(flops) / times
    planned = partial(_planned, planner=laws.law, flops=flops)
    return OffOptimum(
        times=times,
        params=float(params),
        tokens=float(tokens),
        loss=laws.estimate(lambda law: law.loss(params, tokens)),
        given_up=laws.estimate(lambda law: excess(law, params, tokens) - planned(law)),
        wasted=laws.estimate(lambda law: wasted_share(law, excess(law, params, tokens), planned(law))),
    )


def _smaller(laws: Laws, flops: float, times: float) -> Smaller:
    optimal = float(laws.law.params_opt(flops))
    params, saved = optimal / times, 2 * optimal * (1 - 1 / times)

    def tokens(law: Law) -> np.ndarray:
        return tokens_for(law, params, _planned(law, laws.law, flops))

    never = None if laws.resamples is None else float(np.mean(np.isinf(tokens(laws.resamples))))
    return Smaller(
        times=times,
        params=params,
        tokens=laws.estimate(tokens),
        flops=laws.estimate(lambda law: 6 * params * tokens(law)),
        flops_times=laws.estimate(lambda law: 6 * params * tokens(law) / flops),
        extra_flops=laws.estimate(lambda law: 6 * params * tokens(law) - flops),
        saved_per_token=saved,
        break_even=laws.estimate(lambda law: (6 * params * tokens(law) - flops) / saved),
        never=never,
    )


def _serving(laws: Laws, flops: float, served: float) -> Serving:
    planned = partial(_planned, planner=laws.law, flops=flops)
    best = float(params_for_serving(laws.law, planned(laws.law), served))
    optimum_flops = flops + 2 * float(laws.law.params_opt(flops)) * served

    def tokens(law: Law) -> np.ndarray:
        return tokens_for(law, best, planned(law))

    def total(law: Law) -> np.ndarray:
        return 6 * best * tokens(law) + 2 * best * served

    return Serving(
        served=served,
        params=laws.estimate(lambda law: params_for_serving(law, planned(law), served)),
        tokens=laws.estimate(tokens),
        tokens_per_param=laws.estimate(lambda law: tokens(law) / best),
        training_flops=laws.estimate(lambda law: 6 * best * tokens(law)),
        serving_flops=2 * best * served,
        total_flops=laws.estimate(total),
        saved=laws.estimate(lambda law: 1 - total(law) / optimum_flops),
    )


def _fixed_tokens(laws: Laws, flops: float, tokens: float) -> FixedTokens:
    sd = laws.residual_sd_log
    visible = None if sd is None else laws.estimate(lambda law: last_visible_doubling(law, tokens, sd))
    return FixedTokens(
        tokens=tokens,
        scarce=bool(tokens < laws.law.tokens_opt(flops)),
        largest=_at_tokens(laws, Estimate(flops / (6 * tokens)), tokens),
        balanced=_at_tokens(laws, laws.estimate(lambda law: balanced_params(law, tokens)), tokens),
        last_visible=_at_tokens(laws, visible, tokens) if visible and 0 < visible.value < np.inf else None,
        floor=laws.estimate(lambda law: law.E + law.B * np.power(tokens, -law.beta)),
        of_data=laws.estimate(lambda law: law.B * np.power(tokens, -law.beta)),
    )


def _at_tokens(laws: Laws, params: Estimate, tokens: float) -> AtFixedTokens:
    n = params.value
    bounds = (None if bound is None else 6 * bound * tokens for bound in (params.low, params.high))
    return AtFixedTokens(
        params=params,
        flops=Estimate(6 * n * tokens, *bounds),
        loss=laws.estimate(lambda law: law.loss(n, tokens)),
        doubling_gains=laws.estimate(lambda law: law.A * np.power(n, -law.alpha) * -np.expm1(-law.alpha * np.log(2))),
    )


def balanced_params(law: Law, tokens: float) -> np.ndarray:
    """The N for which `tokens` is D_opt: equation 4 of Hoffmann et al. 2022, D = (C/6)^b / G solved for C."""
    return np.power(tokens * law.G, 1 / law.b) / tokens


def last_visible_doubling(law: Law, tokens: float, sd_log: float) -> np.ndarray:
    """The N at which log L(N, D) - log L(2N, D) has fallen to `sd_log`; 0 where it is lower at any N, inf for sd 0."""
    doubling, seen = -np.expm1(-law.alpha * np.log(2)), -np.expm1(-sd_log)
    floor = law.E + law.B * np.power(tokens, -law.beta)
    return np.power(law.A * np.maximum(doubling - seen, 0.0) / (seen * floor), 1 / law.alpha)


def _reserve(laws: Laws, flops: float, share: float) -> Reserve:
    used, kept = (1 - share) * flops, share * flops
    planned = partial(_planned, planner=laws.law)
    # (1 - p) L_opt((1 - r) C) + p L_opt(r C) is least where (r / (1 - r))^(1 + gamma) = p / (1 - p).
    odds = (share / (1 - share)) ** (1 + gamma(laws.law))
    return Reserve(
        share=share,
        flops_kept=kept,
        params=float(laws.law.params_opt(used)),
        tokens=float(laws.law.tokens_opt(used)),
        loss=laws.estimate(lambda law: law.E + planned(law, flops=used)),
        given_up=laws.estimate(lambda law: planned(law, flops=used) - planned(law, flops=flops)),
        reruns=share / (1 - share),
        loss_of_rerun=laws.estimate(lambda law: law.E + planned(law, flops=kept)) if share else None,
        best_at_chance=float(odds / (1 + odds)),
    )
