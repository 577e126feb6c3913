"""Designs that cannot tell the law, and those that can."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis.conftest import CHINCHILLA
from vsweep.analysis.data.design_checks import DesignProblem, design_problems
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention

SIZES = np.geomspace(1e7, 1e10, 10)
BUDGETS = np.geomspace(1e8, 1e11, 5)


def runs_of(params, tokens, **more) -> pd.DataFrame:
    """Every pair that the two arrays make together, numbered as the rows of a file are."""
    params, tokens = (np.ravel(values).astype(float) for values in np.broadcast_arrays(params, tokens))
    names = [f"row {row}" for row in range(2, len(params) + 2)]
    return pd.DataFrame({"run_id": names, "params": params, "tokens": tokens, "flops": 6 * params * tokens, **more})


def kinds(problems: list[DesignProblem]) -> dict[str, bool]:
    return {problem.kind: problem.fatal for problem in problems}


def only(problems: list[DesignProblem]) -> str:
    assert len(problems) == 1
    return problems[0].text


def test_good_designs_have_no_problem(planted_workdir):
    assert design_problems(runs_of(SIZES[:, None], BUDGETS)) == []
    assert design_problems(runs_of(SIZES[:, None], np.array([1e19, 1e20, 1e21]) / (6 * SIZES[:, None]))) == []
    assert design_problems(select(load(CHINCHILLA), Convention("loss")).table) == []
    assert design_problems(select(load(planted_workdir), Convention("val_loss")).table, has_curves=True) == []


def test_one_size_is_fatal():
    one = runs_of(1.2e6 * np.array([1, 1.004, 0.997, 1, 1, 1, 1, 1, 1, 1]), np.geomspace(1e8, 1e10, 10))
    assert kinds(design_problems(one)) == kinds(design_problems(one, has_curves=True)) == {"one_size": True}
    text = only(design_problems(one))
    assert "Column N: there is one size only, N = 1.2M (rows 2, 3, 4, 5, 6, 7, 8, 9 and 2 more)" in text
    assert "alpha, A and N_opt(C) cannot be determined" in text


def test_one_token_budget_is_fatal_without_curves():
    one = runs_of(SIZES, 1e9)
    assert kinds(design_problems(one)) == {"one_tokens": True}
    assert "D = 1B (rows 2, 3, 4, 5, 6, 7, 8, 9 and 2 more)" in only(design_problems(one))
    assert "only the sum E + B / D^beta is determined" in only(design_problems(one))
    with_curves = design_problems(one, has_curves=True)
    assert kinds(with_curves) == {"one_tokens": False}
    assert "lower envelope of curves that had not annealed" in only(with_curves)


def test_one_compute_gives_one_optimum_and_no_exponent():
    assert kinds(design_problems(runs_of(SIZES, 1e20 / (6 * SIZES)))) == {"one_compute": False}
    # Sizes and losses read off a figure scatter; the group's nominal compute does not.
    scattered = 1e20 / (6 * SIZES) * np.exp(0.2 * np.sin(np.arange(10)))
    text = only(design_problems(runs_of(SIZES, scattered, isoflop=1e20)))
    assert "Column C: all compute budgets are equal, C = 1e+20 FLOP" in text
    assert "N_opt is known at this one compute" in text


@pytest.mark.parametrize("slope", [0.5, 1.0, 2.0])
def test_collinear_tokens_determine_one_combination(slope):
    ladder = runs_of(SIZES, 20e8 * (SIZES / 1e8) ** slope)
    assert kinds(design_problems(ladder)) == {"collinear": True}
    assert f"N^{slope:.2f} in all runs, with a scatter of 0.0% (rows 2, 3," in only(design_problems(ladder))
    assert "alpha and beta cannot be told apart: only one combination of them is determined" in only(
        design_problems(ladder)
    )
    assert kinds(design_problems(ladder, has_curves=True)) == {"collinear": False}


def test_scatter_decides_how_bad_collinearity_is():
    wave = np.sqrt(2) * np.sin(2.4 * np.arange(10))  # about 1 rms, and not along N
    found = {
        scatter: kinds(design_problems(runs_of(SIZES, 20 * SIZES * np.exp(scatter * wave))))
        for scatter in (0.01, 0.05, 0.3, 1.5)
    }
    assert found == {
        0.01: {"collinear": True},
        0.05: {"nearly_collinear": False},
        0.3: {"nearly_collinear": False},  # by its correlation
        1.5: {},
    }


def test_nearly_collinear_design_names_decisive_runs():
    off = np.ones(10)
    off[[3, 6]] = 1.4, 1 / 1.4
    text = only(design_problems(runs_of(SIZES, 20 * SIZES * off)))
    assert "most of all by rows 5, 8, " in text or "rows 2, 5, 8" in text


def test_falling_tokens_depend_on_the_form():
    falling = design_problems(runs_of(SIZES, 1e9 * (SIZES / 1e8) ** -2))
    assert kinds(falling) == {"collinear": False}
    assert "told apart by the form of the law alone" in only(falling)


def test_two_values_cannot_tell_the_floor():
    assert kinds(design_problems(runs_of(np.array([1e6, 4e6])[:, None], BUDGETS))) == {"two_sizes": False}
    two = only(design_problems(runs_of(SIZES, np.array([1e9, 4e9])[:, None])))
    assert "Column D: there are two values only, 1B and 4B (one of them in rows 2, 3," in two
    assert "The exponent is known only where the floor E is known" in two


def test_narrow_range_is_a_warning():
    narrow = np.geomspace(1, 1.6, 4)
    assert kinds(design_problems(runs_of(1e6 * narrow[:, None], BUDGETS))) == {"narrow_sizes": False}
    assert kinds(design_problems(runs_of(SIZES, 1e9 * narrow[:, None]))) == {"narrow_tokens": False}
    assert kinds(design_problems(runs_of(SIZES, 1e20 * narrow[:, None] / SIZES))) == {"narrow_compute": False}


def test_seeds_of_one_pair_are_no_more_pairs():
    params, tokens = np.array([1e6, 2e6, 4e6, 4e6]), np.array([1e8, 4e8, 1e8, 9e8])
    four = design_problems(runs_of(np.tile(params, 5), np.tile(tokens, 5)))
    assert kinds(four) == {"few_points": False}
    assert "there are 4 distinct pairs (N, D) only" in only(four)
    assert "it can be fitted only where E is known" in only(four)
    three = runs_of(np.tile(params[:3], 5), np.tile([1e8, 4e8, 9e7], 5))
    assert kinds(design_problems(three))["few_points"]
    assert not kinds(design_problems(three, has_curves=True))["few_points"]


def test_nameless_runs_are_called_by_place():
    table = runs_of(SIZES, 1e9).drop(columns="run_id").set_index(np.arange(100, 110))
    assert "(rows 1, 2, 3, 4, 5, 6, 7, 8 and 2 more)" in only(design_problems(table))
    named = runs_of(SIZES[:3], 1e9).assign(run_id=["w4-s0", "w8-s0", "w16-s0"])
    assert "(runs w4-s0, w8-s0, w16-s0)" in design_problems(named)[0].text
    assert kinds(design_problems(table.iloc[:0])) == {"no_runs": True}
