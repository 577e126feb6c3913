"""Do 90 % intervals hold the truth 90 % of the time? On planted laws, at the designs that people really have."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import CHINCHILLA
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention
from vsweep.analysis.uncertainty import approach_intervals
from vsweep.analysis.uncertainty.approach import fit_parametric
from vsweep.analysis.uncertainty.estimates import largest_flops, law_quantities, quantities

LAPTOP = Path(__file__).parents[3] / "docs" / "laptop"
ADDITION = {"A": 40.0, "B": 900.0, "alpha": 0.5, "beta": 0.6}


@dataclass(frozen=True)
class Design:
    """Where runs lie, the law planted there, and the sd of one run's noise: of log loss, or of log excess loss."""

    points: Points
    law: Law
    noise: float

    def drawn(self, rng: np.random.Generator, shared: float) -> Points:
        """The points with new losses; `shared` is the sd, in units of `noise`, of what each seed's runs share."""
        points = self.points
        scatter = rng.standard_normal(len(points.table))
        if points.seeds:
            number = points.table.groupby("seed").ngroup().to_numpy()
            scatter = scatter + shared * rng.standard_normal(len(points.seeds))[number]
        params, tokens, _ = points.law_columns
        return replace(
            points, table=points.table.assign(loss=self.law.loss(params, tokens) * np.exp(self.noise * scatter))
        )


def laptop(loss: str) -> Points:
    """The 90 runs of the laptop study, each with the whole budget as its D."""
    points = select(load(LAPTOP), Convention(loss))
    table = points.table.assign(tokens=points.table["budget"])
    return replace(points, table=table.assign(flops=6 * table["params"] * table["tokens"]))


def excess_at_the_laptop_design() -> Design:
    return Design(laptop("excess_loss"), Law(E=0.0, **ADDITION), noise=0.05)


def val_loss_at_the_laptop_design() -> Design:
    return Design(laptop("val_loss"), Law(E=1.03, **ADDITION), noise=0.005)


def chinchilla_design() -> Design:
    table = pd.read_csv(CHINCHILLA).sort_values("loss")[:240]
    points = select(load(table), Convention("loss"))
    return Design(points, Law(E=1.8172, A=477.8, B=2143.4, alpha=0.3473, beta=0.3672), noise=0.006)


DESIGNS = [excess_at_the_laptop_design, val_loss_at_the_laptop_design, chinchilla_design]


def coverage(design: Design, *, trials: int, resamples: int, shared: float = 0.0) -> pd.DataFrame:
    """By quantity: shares of the trials whose 90 % interval holds the truth, holds it when halved, or lies above it."""
    at = largest_flops(design.points)
    truth = law_quantities(design.law, design.points, at, design.points.convention.floor_free)
    truth = {name: float(np.squeeze(value)) for name, value in truth.items()}
    hits = []
    for trial in range(trials):
        points = design.drawn(np.random.default_rng(trial), shared)
        whole = fit_parametric(points)
        found = quantities(points, whole)
        ranges = approach_intervals.of_law(points, whole, found, resamples)[0].ranges
        hits += [hit(name, truth[name], found[name], ranges[name]) for name in truth]
    return pd.DataFrame(hits).groupby("quantity", sort=False).mean()


def hit(name: str, truth: float, middle: float, ends) -> dict:
    narrow = (middle + ends.low) / 2 <= truth <= (middle + ends.high) / 2
    return {"quantity": name, "holds": ends.low <= truth <= ends.high, "halved": narrow, "above": ends.low > truth}


def test_laptop_design_intervals_have_their_coverage():
    """A quick look at what the slow test measures: of 8 trials at 90 %, fewer than 5 hits come once in 200."""
    found = coverage(excess_at_the_laptop_design(), trials=8, resamples=50)
    assert set(found.index) == {*ADDITION, "a", "b", "N_opt", "D_opt", "tokens_per_param", "loss_opt"}
    assert found["holds"].min() >= 5 / 8
    assert found["holds"].mean() == pytest.approx(0.9, abs=0.1)
    assert found["halved"].mean() < found["holds"].mean() - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_intervals_cover_400_planted_laws(design: Callable[[], Design]):
    found = coverage(design(), trials=400, resamples=400)
    assert found["holds"].between(0.86, 0.94).all(), f"\n{found.round(3)}"
    assert found["halved"].max() < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS[:2])
def test_shared_seeds_move_loss_not_exponents(design):
    """Three seeds cannot show a shared part of half the noise: the interval of the loss holds the truth less often."""
    found = coverage(design(), trials=200, resamples=400, shared=0.5)["holds"]
    assert found.drop("loss_opt").between(0.84, 0.96).all(), f"\n{found.round(3)}"
    assert found["loss_opt"] > 0.75
