"""The law of the best setting: planted exponents are recovered, and none is seen where none was planted."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.approaches import bowls
from vsweep.analysis.approaches.bowls import Bowls
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.uncertainty import hyperparameter_law
from vsweep.analysis.uncertainty.hyperparameter_law import MOVES, NOT_ASKED, NOT_SHOWN, HyperparameterLaw

SIZES, BUDGETS = (1e7, 3e7, 1e8, 3e8, 1e9), (1e9, 3e9, 1e10, 3e10)


def planted(x=-0.713, y=0.307, z=None, noise=0.1, sizes=SIZES, budgets=BUDGETS, rng=None) -> Bowls:
    """Minima at 1.79 N^x D^y B^z (Step Law's constant) with a scatter of `noise` in logs."""
    rng = rng or np.random.default_rng(3)
    batches = (np.nan,) if z is None else (64.0, 128.0, 256.0)
    rows = [(n, d, n, d, batch) for n in sizes for d in budgets for batch in batches]
    minima = pd.DataFrame(rows, columns=["size", "budget", "params", "tokens", "batch"])
    best = 1.79 * minima["params"] ** x * minima["tokens"] ** y
    best = best if z is None else best * minima["batch"] ** z
    best = best * np.exp(noise * rng.standard_normal(len(minima)))
    return Bowls("lr", None, pd.DataFrame(), minima.assign(best=best, status=bowls.INTERIOR))


def test_planted_exponents_lie_in_their_intervals():
    law = hyperparameter_law.fit(planted(), 400)
    for name, truth in {"x": -0.713, "y": 0.307, "k": 1.79}.items():
        known = law.uncertainty.ranges[name]
        assert known.low < truth < known.high
    assert law.uncertainty.ranges["x"].high - law.uncertainty.ranges["x"].low < 0.1
    assert law.verdicts == {"N": MOVES, "D": MOVES}
    assert law.uncertainty.form == "90 % interval"


def test_a_law_without_noise_is_exact():
    law = hyperparameter_law.fit(planted(noise=0.0, z=0.5), 100)
    assert law.exponents == pytest.approx({"x": -0.713, "y": 0.307, "z": 0.5}, abs=1e-9)
    assert law.k == pytest.approx(1.79)
    assert law.value(N=1e8, D=1e10, B=128.0) == pytest.approx(1.79 * 1e8**-0.713 * 1e10**0.307 * 128**0.5)


def test_no_dependence_is_not_called_one():
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(60):
        law = hyperparameter_law.fit(planted(x=0.0, y=0.307, sizes=SIZES[:3], budgets=BUDGETS[:3], rng=rng), 100)
        verdicts.append(law.verdicts["N"])
    assert verdicts.count(MOVES) <= 2  # of 60; one in a hundred is what the level allows
    assert verdicts.count(NOT_SHOWN) >= 48


def test_intervals_of_few_cells_contain_the_truth():
    rng, inside = np.random.default_rng(1), 0
    for _ in range(100):
        law = hyperparameter_law.fit(planted(sizes=SIZES[:3], budgets=BUDGETS[:3], rng=rng), 200)
        known = law.uncertainty.ranges["x"]
        inside += known.low < -0.713 < known.high
    assert inside >= 83  # of 100, for an interval of 90 %


def test_edges_are_no_part_of_the_law():
    found = planted(noise=0.0)
    edge = np.arange(len(found.minima)) % 5 == 0
    status = np.where(edge, bowls.EDGE_LARGE, bowls.INTERIOR)
    minima = found.minima.assign(status=status, best=found.minima["best"] * np.where(edge, 9.0, 1.0))
    law = hyperparameter_law.fit(Bowls("lr", None, pd.DataFrame(), minima), 0)
    assert law.minima == len(minima) - edge.sum()
    assert law.exponents["x"] == pytest.approx(-0.713)


def test_one_budget_gives_a_law_in_n_alone():
    law = hyperparameter_law.fit(planted(budgets=(1e9,), noise=0.0), 0)
    assert set(law.exponents) == {"x"}
    assert law.left_out == {"D": "it spans less than a factor of two"}
    assert law.verdicts == {"N": NOT_ASKED}


def test_a_fixed_ratio_of_tokens_gives_one_exponent():
    found = planted(noise=0.0)
    minima = found.minima[found.minima["budget"] == BUDGETS[0]]
    minima = minima.assign(budget=20 * minima["size"], tokens=20 * minima["params"])
    law = hyperparameter_law.fit(Bowls("lr", None, pd.DataFrame(), minima), 0)
    assert set(law.exponents) == {"x"}
    assert "D is a power of N here (D ~ N^1.00)" in law.left_out["D"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (planted(sizes=SIZES[:2], budgets=BUDGETS[:2]), "4 cells have a minimum, and 5 are needed for a law in N, D"),
        (planted(sizes=(1e7,), budgets=(1e9,)), "1 of 4 cells with a minimum that a law needs at least"),
        (
            planted(sizes=(1e7, 1.5e7), budgets=(1e9, 1.5e9)),
            "the cells with a minimum span less than a factor of two in N",
        ),
    ],
)
def test_too_few_cells_are_refused_by_name(found, reason):
    refused = hyperparameter_law.fit(found, 100)
    assert isinstance(refused, Refusal)
    assert refused.method == "optimal lr"
    assert refused.reason.startswith(reason)


def test_no_minimum_at_all_is_refused():
    found = planted()
    minima = found.minima.assign(status=bowls.EDGE_SMALL)
    refused = hyperparameter_law.fit(Bowls("lr", None, pd.DataFrame(), minima), 100)
    assert refused.reason == "no cell has a minimum of lr between the values that were tried"


def test_the_formula_names_its_exponents():
    law = HyperparameterLaw(1.79, {"x": -0.713, "y": 0.307}, {}, {}, 9, 9, 1.0, 0.0, None)
    assert law.formula == "1.79 N^-0.713 D^0.307"
