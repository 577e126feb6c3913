"""The table of verdicts: what is said of planted laws, and of tables that follow no law."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import BUDGETS, WIDTHS, params_of
from vsweep.analysis.approaches import parametric
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.cells import cells, seed_noise_log
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.sections.checks.forecast import forecast
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.approach import assess, fit

RESAMPLES = 40
Loss = Callable[[np.ndarray, np.ndarray], np.ndarray]


def grid(rng: np.random.Generator, seeds: int) -> pd.DataFrame:
    """Designs like those of the planted work directories and of published studies: N, D and seed."""
    kind = rng.integers(3)
    if kind == 0:  # sizes times budgets of a small sweep
        sizes, tokens = np.array([params_of(width) for width in WIDTHS], float), np.array(BUDGETS, float)
    elif kind == 1:  # the same of a large one
        sizes = np.geomspace(2e7, 2e9, int(rng.integers(6, 10)))
        tokens = np.geomspace(5e8, 5e10, int(rng.integers(5, 9)))
    else:  # IsoFLOP groups
        flops = np.geomspace(1e18, 1e21, int(rng.integers(5, 8)))
        best = 0.1 * flops**0.5
        n = best[:, None] * np.geomspace(0.2, 5, int(rng.integers(6, 9)))
        d = flops[:, None] / (6 * n)
        return _seeded(n.ravel(), d.ravel(), seeds)
    n, d = (values.ravel() for values in np.meshgrid(sizes, tokens, indexing="ij"))
    return _seeded(n, d, seeds)


def _seeded(n: np.ndarray, d: np.ndarray, seeds: int) -> pd.DataFrame:
    table = pd.DataFrame({"N": np.repeat(n, seeds), "D": np.repeat(d, seeds)})
    return table.assign(seed=np.tile(np.arange(seeds), len(n))) if seeds > 1 else table


def a_law(rng: np.random.Generator, table: pd.DataFrame) -> Law:
    """Exponents as they are published; terms of about one nat in the middle of the design, and a floor."""
    alpha, beta = rng.uniform(0.25, 0.55, 2)
    n, d = (np.exp(np.log(table[name]).mean()) for name in ("N", "D"))
    terms = rng.uniform(0.3, 1.2, 2)
    return Law(rng.uniform(1, 2), terms[0] * n**alpha, terms[1] * d**beta, alpha, beta)


def _noisy(rng: np.random.Generator, table: pd.DataFrame, loss: np.ndarray, noise: float) -> pd.DataFrame:
    return table.assign(loss=loss * np.exp(noise * rng.standard_normal(len(table))))


def planted_law(rng: np.random.Generator) -> pd.DataFrame:
    """One seed with up to 1 % of scatter, or three with up to 3 %."""
    seeds = int(rng.choice([1, 3]))
    table = grid(rng, seeds)
    loss = a_law(rng, table).loss(table["N"], table["D"])
    return _noisy(rng, table, loss, rng.uniform(0.001, 0.01 if seeds == 1 else 0.03))


def pooled(rng: np.random.Generator) -> pd.DataFrame:
    """Two to four studies with tokenizers and data of their own in one table."""
    parts = []
    for _ in range(int(rng.integers(2, 5))):
        table = grid(rng, 1)
        loss = a_law(rng, table).loss(table["N"], table["D"]) * rng.uniform(0.75, 1.35)
        parts.append(_noisy(rng, table, loss, 0.005))
    return pd.concat(parts, ignore_index=True)


def without_size(rng: np.random.Generator) -> pd.DataFrame:
    """A sweep over something that does nothing: the loss follows D only."""
    table = grid(rng, int(rng.choice([1, 3])))
    law = a_law(rng, table)
    return _noisy(rng, table, law.E + law.B / table["D"] ** law.beta, rng.uniform(0.002, 0.02))


def broken(rng: np.random.Generator) -> pd.DataFrame:
    """A plateau, and a sharp fall where a size has seen enough data."""
    table = grid(rng, int(rng.choice([1, 3])))
    law = a_law(rng, table)
    reach = np.log(table["N"]) + np.log(table["D"])
    drop = rng.uniform(0.25, 0.9) / (1 + np.exp(-rng.uniform(2, 5) * (reach - reach.quantile(rng.uniform(0.5, 0.7)))))
    return _noisy(rng, table, law.loss(table["N"], table["D"]) * np.exp(-drop), rng.uniform(0.002, 0.02))


def noise_only(rng: np.random.Generator) -> pd.DataFrame:
    """60 % of scatter over a law."""
    table = grid(rng, int(rng.choice([1, 3])))
    return _noisy(rng, table, a_law(rng, table).loss(table["N"], table["D"]), 0.6)


def diverged(rng: np.random.Generator) -> pd.DataFrame:
    """A law of which a tenth to a third of the rows had diverged, or had begun to."""
    table = planted_law(rng)
    wild = rng.permutation(len(table))[: round(rng.uniform(0.1, 0.33) * len(table))]
    table.loc[wild, "loss"] *= rng.uniform(1.2, 6, len(wild))
    return table


NO_LAWS = (pooled, without_size, broken, noise_only, diverged)


def said(table: pd.DataFrame) -> tuple[verdicts.Judgement, verdicts.Judgement]:
    """The verdicts on the law and on its forecast."""
    points: Points = select(load(table), Convention("loss"))
    noise = seed_noise_log(cells(points))
    fitted = assess(points, parametric.METHOD, fit(points, parametric.METHOD), bootstrap=RESAMPLES)
    law = verdicts.of_law(points, fitted, noise)
    made = forecast(points, bootstrap=RESAMPLES)
    if isinstance(made, Refusal):
        return law, verdicts.Judgement(verdicts.CANNOT, (made.reason,))
    return law, made.judged(law)


def counted(makers: list[Callable], seed: int, show: Callable[[str], None] = print) -> dict[str, float]:
    """The shares of `describes` and of `held` over one table of each maker; what was said is printed."""
    laws, forecasts = [], []
    for trial, make in enumerate(makers):
        law, predicted = said(make(np.random.default_rng([seed, trial])))
        show(f"{make.__name__:<14}{law.verdict:<11}{predicted.verdict:<17}{law.why} | {predicted.why}")
        laws.append(law.verdict == verdicts.DESCRIBES)
        forecasts.append(predicted.verdict == verdicts.HELD)
    return {"describes": float(np.mean(laws)), "held": float(np.mean(forecasts))}


def judge_many(count: int) -> None:
    """`count` planted laws and as many tables without one: the limits of the promise."""
    good = counted([planted_law] * count, seed=0)
    bad = counted([NO_LAWS[trial % len(NO_LAWS)] for trial in range(count)], seed=1)
    print(f"{count} planted laws: {good}; {count} tables without a law: {bad}")
    assert min(good.values()) >= 0.85
    assert max(bad.values()) <= 0.05


def test_planted_laws_are_told_from_others():
    judge_many(8)


@pytest.mark.slow
def test_verdicts_on_many_tables():
    judge_many(200)
