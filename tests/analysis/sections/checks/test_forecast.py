"""Held-out forecasts on planted laws: the right law wins, errors and intervals are what the noise makes them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.report import fits_json
from vsweep.analysis.sections import study_loss
from vsweep.analysis.sections.checks import contenders
from vsweep.analysis.sections.checks import forecast as forecasts
from vsweep.analysis.sections.checks.forecast import Forecast, forecast, learning_curve
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.bootstrap import CELLS, weights
from vsweep.analysis.uncertainty.verdicts import Judgement

CASES = Path(__file__).parents[3] / "data" / "cases"
LAW = Law(E=1.8, A=400.0, B=410.0, alpha=0.34, beta=0.28)
SIZES, BUDGETS, SEEDS = np.geomspace(2e7, 1e9, 7), np.geomspace(4e8, 3e10, 7), range(3)
N, D, SEED = (values.ravel() for values in np.meshgrid(SIZES, BUDGETS, SEEDS))
NOISE = 0.01
DESCRIBES = Judgement(verdicts.DESCRIBES)


def points(loss: np.ndarray, **columns: np.ndarray) -> Points:
    table = pd.DataFrame({"N": N, "D": D, "loss": loss, "seed": SEED.astype(int), **columns})
    return select(load(table), Convention("loss"))


def noise(trial: int, scale: float = NOISE) -> np.ndarray:
    return np.exp(scale * np.random.default_rng(trial).standard_normal(len(N)))


def by_law(found: Forecast) -> dict[str, forecasts.LawForecast]:
    return {row.law: row for row in found.laws}


@pytest.fixture(scope="module")
def foretold() -> Forecast:
    return forecast(points(LAW.loss(N, D) * noise(0)), bootstrap=50)


def test_the_true_law_predicts_the_largest_budget(foretold):
    assert (foretold.held_out, foretold.fitted, foretold.predicted) == ("the largest budget", 126, 21)
    assert foretold.yardstick == "seed noise"
    assert foretold.yardstick_log == pytest.approx(NOISE, rel=0.3)
    assert foretold.main.law == "chinchilla, E fitted"
    assert foretold.rms_log == pytest.approx(NOISE, rel=0.35)
    assert foretold.judged(DESCRIBES).verdict == verdicts.HELD
    assert foretold.judged(Judgement(verdicts.NOT_SHOWN, ("two sizes",))).verdict == verdicts.CANNOT


def test_a_wrong_law_predicts_worse_than_noise(foretold):
    rows = by_law(foretold)
    assert rows["kaplan, E = 0"].rms_log > 3 * NOISE
    assert rows["chinchilla, E = 0"].rms_log > 2 * NOISE
    assert rows["chinchilla, E = 0"].mean_log < -2 * NOISE  # without a floor the loss seems to fall on
    assert rows["chinchilla, E = 0"].coverage < 0.5 < rows["chinchilla, E fitted"].coverage


def test_prediction_intervals_cover_as_often_as_stated():
    base = points(LAW.loss(N, D))
    dear = base.table["budget"] == base.table["budget"].max()
    inside = []
    for trial in range(4):
        drawn = replace(base, table=base.table.assign(loss=base.column("loss") * noise(trial)))
        cheap, held = drawn.where(~dear), drawn.where(dear)
        fitted = contenders.fit_contender(contenders.contenders(cheap)[0], cheap)
        where = (held.column("params"), held.column("tokens"))
        low, high = forecasts.prediction_interval(fitted.refit(weights(cheap, CELLS, 100)), fitted, where)
        inside.append((low <= held.column("loss")) & (held.column("loss") <= high))
    # Runs of one trial share a fit: over 40 trials the share of one scattered by .08 about .895.
    assert np.mean(inside) == pytest.approx(0.9, abs=0.07)


def test_on_a_power_mean_the_power_mean_wins():
    core = ((400 / N**0.34) ** 4 + (410 / D**0.28) ** 4) ** (1 / 4)
    found = forecast(points((1.8 + core) * noise(1, 0.002)))
    assert found.best.law == "power mean, E fitted"
    assert found.best.rms_log == pytest.approx(0.002, rel=0.4)
    assert found.main.rms_log > 2 * found.best.rms_log


def test_on_kaplans_law_kaplans_law_wins():
    loss = ((8.8e13 / N) ** (0.076 / 0.095) + 5.4e13 / D) ** 0.095
    found = forecast(points(loss * noise(2, 0.002)))
    assert found.best.law == "kaplan, E = 0"
    assert found.best.rms_log == pytest.approx(0.002, rel=0.4)


def repeated(unique: np.ndarray) -> np.ndarray:
    """Muennighoff et al. 2023, equations 5 to 7, with R_D* = 8 and sizes too small to be worth less."""
    worth = unique + unique * 8 * (1 - np.exp(-(D / unique - 1) / 8))
    return 1.8 + 400 / N**0.34 + 410 / worth**0.28


def test_the_law_of_repeated_data_wins_on_repeats():
    unique = np.minimum(D, 1e9)
    found = forecast(points(repeated(unique) * noise(3, 0.002), unique_tokens=unique).where(pd.Series(SEED == 0)))
    assert found.best.law == "data constrained, E fitted"
    assert found.best.rms_log == pytest.approx(0.002, rel=0.5)
    assert by_law(found)["chinchilla, E fitted"].rms_log > 3 * found.best.rms_log


def test_without_repeats_its_law_is_not_compared(foretold):
    fresh = points(LAW.loss(N, D) * noise(0), unique_tokens=D)
    assert "data_constrained" not in {contender.form.name for contender in contenders.contenders(fresh)}
    assert not any(row.law.startswith("data constrained") for row in foretold.laws)


def test_a_given_floor_holds_in_the_forecast():
    given = replace(points(LAW.loss(N, D) * noise(4)), convention=Convention("loss", given_floor=1.8))
    found = forecast(given)
    assert found.main.law == "chinchilla, E = 1.8"
    assert found.main.parameters == 4
    assert found.rms_log == pytest.approx(NOISE, rel=0.35)


def test_more_compute_improves_a_true_laws_forecast():
    curve = learning_curve(points(LAW.loss(N, D) * noise(3)).where(pd.Series(SEED == 0)))
    true = curve[curve["law"] == "chinchilla, E fitted"]
    assert list(true["runs"]) == [17, 23, 29, 35, 42]
    assert true["flops"].is_monotonic_increasing
    assert true["rms_log"].iloc[-1] < 0.6 * true["rms_log"].iloc[0]
    assert true["rms_log"].iloc[-1] < 1.35 * NOISE


def test_without_few_budgets_a_fifth_is_held_out(chinchilla):
    table = chinchilla[["N", "D", "loss"]][:240]
    found = forecast(select(load(table), Convention("loss")))
    assert found.held_out == "the most expensive 20% of the points"
    assert (found.fitted, found.predicted) == (192, 48)
    assert found.yardstick == "residual of the fitted points"
    assert found.yardstick_log == found.main.fitted_rms_log
    assert found.rms_log == pytest.approx(0.0127, abs=1e-4)
    assert by_law(found)["chinchilla, E = 0"].rms_log > 2.5 * found.rms_log


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (BUDGETS[0] == D, "a single budget: nothing to hold out"),
        (np.isin(D, BUDGETS[:2]), "without the largest budget: a single D: the law needs several amounts of data"),
        (SIZES[0] == N, "without the most expensive 20% of the points: a single N: the law needs several sizes"),
    ],
    ids=["one budget", "two budgets", "one size"],
)
def test_a_refused_forecast_gives_its_reason(keep, reason):
    table = pd.DataFrame({"N": N, "D": D, "loss": LAW.loss(N, D), "seed": SEED.astype(int)})[keep]
    found = forecast(select(load(table), Convention("loss")))
    assert isinstance(found, Refusal)
    assert found.method == "forecast"
    assert found.reason.startswith(reason)


def test_a_refused_learning_curve_gives_its_reason():
    found = learning_curve(points(LAW.loss(N, D)).where(pd.Series(BUDGETS[0] == D)))
    assert found == Refusal("learning_curve", "a single budget: nothing to hold out")


def without(value: object, names: set[str]) -> object:
    """The same structure without the entries of these names."""
    if isinstance(value, dict):
        return {name: without(entry, names) for name, entry in value.items() if name not in names}
    return [without(entry, names) for entry in value] if isinstance(value, list) else value


def test_no_bootstrap_leaves_out_intervals_only():
    source = load(CASES / "base.csv")
    found = [
        fits_json.to_json(source, [study_loss(source, Convention("loss"), bootstrap=resamples)], [], [])
        for resamples in (0, 20)
    ]
    of_resamples = {"ranges", "resamples", "coverage", "standing", "verdict", "reasons"}  # a verdict needs intervals
    of_resamples |= {"first_screen"}  # it names the verdict and the intervals
    assert without(found[0], of_resamples) == without(found[1], of_resamples)
    assert len(found[0]["losses"]["loss"]["forecast"]["laws"]) > 1
    assert found[0]["losses"]["loss"]["learning_curve"][0]["rms_log"] > 0


@pytest.mark.parametrize(
    ("rms", "coverage", "cells", "seed_noise", "verdict"),
    [
        (0.019, 0.9, 10, None, verdicts.HELD),
        (0.021, 0.9, 10, None, verdicts.FAILED),
        (0.09, 0.9, 10, 0.05, verdicts.HELD),
        (0.11, 0.9, 10, 0.05, verdicts.FAILED),
        (0.009, 0.9, 10, 1e-4, verdicts.HELD),
        (0.019, 0.5, 10, None, verdicts.FAILED),
        (0.019, 1.0, 4, None, verdicts.CANNOT),
        (0.5, 1.0, 4, None, verdicts.FAILED),
        (0.019, None, 10, None, verdicts.CANNOT),
        (0.5, 0.9, 10, 0.6, verdicts.CANNOT),
    ],
    ids=[
        "within the tolerance",
        "beyond the tolerance",
        "within the noise",
        "beyond the noise",
        "quiet runs",
        "intervals that miss",
        "too few cells",
        "too few cells, far off",
        "no intervals",
        "loud seeds",
    ],
)
def test_a_forecast_holds_within_limits_only(rms, coverage, cells, seed_noise, verdict):
    assert verdicts.of_forecast(rms, 0.01, coverage, cells, seed_noise, DESCRIBES).verdict == verdict


def test_a_forecast_from_scattered_runs_is_luck():
    judged = verdicts.of_forecast(0.01, 0.3, 0.9, 10, None, DESCRIBES)
    assert judged.verdict == verdicts.CANNOT
    assert "the fitted runs themselves lie" in judged.why


def test_the_best_of_several_laws_has_not_held():
    core = ((400 / N**0.34) ** 4 + (410 / D**0.28) ** 4) ** (1 / 4)
    made = forecast(points((1.8 + core) * noise(1, 0.002)))
    found = forecasts.Forecasts(made, Refusal("learning_curve", ""), made.judged(DESCRIBES))
    text = " ".join(forecasts.about_forecast(found))
    assert "predicts them best" in text
    assert "chosen after the fact, so this is no forecast that held" in text
    assert text.count("held") == 1
