"""What the section on the parametric law says, and what it refuses to say."""

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis import sections
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention
from vsweep.analysis.sections import law, optimum
from vsweep.analysis.sections.base import LossStudy, begin
from vsweep.analysis.uncertainty import verdicts
from vsweep.analysis.uncertainty.approach import Approach
from vsweep.analysis.uncertainty.intervals import CELLS, Range, Uncertainty

LAW = Law(E=1.8, A=400.0, B=410.0, alpha=0.34, beta=0.28)
SIZES, BUDGETS = np.geomspace(2e7, 1e9, 6), np.geomspace(4e8, 3e10, 6)
N, D = (values.ravel() for values in np.meshgrid(SIZES, BUDGETS))


def scattered(sd: float, seed: int = 0) -> np.ndarray:
    return np.exp(sd * np.random.default_rng(seed).standard_normal(len(N)))


def study(loss: np.ndarray, keep: np.ndarray | None = None, **options) -> LossStudy:
    table = pd.DataFrame({"N": N, "D": D, "loss": loss})
    return begin(load(table if keep is None else table[keep]), Convention("loss", **options), bootstrap=0)


def standing(loss: np.ndarray, keep: np.ndarray | None = None) -> verdicts.Judgement:
    return law.standing(study(loss, keep))


def text(of: LossStudy) -> str:
    return " ".join(finding.text for finding in law.SECTION.findings(of, of.result(law.SECTION)))


# The standing of the law


def test_a_planted_law_describes_its_runs():
    of = study(LAW.loss(N, D) * scattered(0.004))
    assert law.standing(of) == verdicts.Judgement(verdicts.DESCRIBES)
    assert "the parametric law describes these runs" in optimum.in_short(of)
    assert law.SECTION.to_json(of, of.result(law.SECTION))["standing"] == {"verdict": "describes", "reasons": ()}


@pytest.mark.parametrize(
    ("loss", "keep", "reason"),
    [
        (LAW.loss(N, D), np.isin(N, SIZES[[0, 5]]), "2 sizes only"),
        (LAW.loss(N, D), np.isin(D, BUDGETS[[0, 5]]), "2 amounts of data only"),
        ((1.8 + 410 / D**0.28) * (1 + 1e-3 * (N < 3e7)) * scattered(0.01, 3), None, "N hardly matters"),
        (LAW.loss(N, D) * scattered(0.6), None, "R^2 is"),
    ],
    ids=["two sizes", "two budgets", "depth", "noise"],
)
def test_a_law_that_is_not_shown_says_why(loss, keep, reason):
    of = study(loss, keep)
    judged = law.standing(of)
    assert judged.verdict == verdicts.NOT_SHOWN
    assert reason in judged.why or "no law was fitted" in judged.why
    assert optimum.in_short(of).startswith("In short, by loss: ")


def test_a_few_diverged_runs_do_not_hide_a_law():
    loss = LAW.loss(N, D) * scattered(0.004)
    loss[7] *= 5
    assert standing(loss).verdict == verdicts.DESCRIBES
    loss[[1, 12, 20, 30]] *= 3
    judged = standing(loss)
    assert judged.verdict != verdicts.DESCRIBES
    assert "5 of 36 runs lie far from the law" in judged.why


def test_residuals_that_follow_n_and_d_make_a_law_doubtful():
    fallen = LAW.loss(N, D) * np.where(N * D > 3e17, 0.7, 1.0) * scattered(0.004)
    judged = standing(fallen)
    assert judged.verdict == verdicts.DOUBTFUL
    assert "the residuals are no noise" in judged.why


@pytest.mark.parametrize(
    ("low", "high", "failed", "verdict"),
    [
        (0.4, 0.5, 0, verdicts.DESCRIBES),
        (0.3, 0.6, 0, verdicts.DOUBTFUL),
        (0.1, 0.9, 0, verdicts.NOT_SHOWN),
        (0.4, 0.5, 20, verdicts.DOUBTFUL),
        (None, None, 60, verdicts.NOT_SHOWN),
    ],
    ids=["narrow", "wide", "senseless", "some refused", "most refused"],
)
def test_the_interval_of_the_exponent_counts(low, high, failed, verdict):
    of = study(LAW.loss(N, D) * scattered(0.004))
    fitted = of.result(law.SECTION)
    ranges = {} if low is None else {"a": Range(low, high)}
    entry = Uncertainty(CELLS, "90 % interval" if ranges else "no interval", ranges, 100 - failed, failed)
    approach = Approach(fitted.method, fitted.result, fitted.quantities, (entry,))
    assert verdicts.of_law(of.points, approach, None).verdict == verdict


@pytest.mark.parametrize(
    ("best", "verdict"),
    [(5e6, verdicts.DESCRIBES), (1e6, verdicts.DOUBTFUL), (1e5, verdicts.NOT_SHOWN), (1e12, verdicts.NOT_SHOWN)],
)
def test_an_optimum_far_from_the_sizes_counts(best, verdict):
    of = study(LAW.loss(N, D) * scattered(0.004))
    fitted = of.result(law.SECTION)
    approach = Approach(fitted.method, fitted.result, {**fitted.quantities, "N_opt": best})
    assert verdicts.of_law(of.points, approach, None).verdict == verdict


# Sentences


def test_an_optimum_beyond_the_longest_run_is_extrapolated():
    expensive_data = Law(E=1.8, A=40.0, B=4100.0, alpha=0.34, beta=0.28)
    assert "[extrapolated, " in text(study(expensive_data.loss(N, D)))
    assert "x above the largest trained]" in text(study(expensive_data.loss(N, D)))


def test_no_floor_lies_above_a_loss_that_was_reached(monkeypatch):
    of = study(LAW.loss(N, D) * scattered(0.004))
    fitted = of.result(law.SECTION)
    wide = Uncertainty(CELLS, "90 % interval", {"E": Range(0.5, 9.0), "a": Range(0.4, 0.5)}, 3)
    monkeypatch.setattr(
        law, "assess", lambda *a, **k: Approach(fitted.method, fitted.result, fitted.quantities, (wide,))
    )
    (cut,) = law.SECTION.compute(of).uncertainty
    assert cut.ranges == {"E": Range(0.5, of.cells["loss"].min()), "a": Range(0.4, 0.5)}


def test_a_small_share_of_seeds_says_what_it_would_do():
    of = study(LAW.loss(N, D))
    fitted = of.result(law.SECTION)
    entry = Uncertainty(CELLS, "90 % interval", {"a": Range(0.4, 0.5)}, 100, 0, {"a": 0.27})
    found = law.SECTION.findings(of, Approach(fitted.method, fitted.result, fitted.quantities, (entry,)))
    assert "27 % of the variance of a" in found[-1].text
    assert "about 15 % narrower at most" in found[-1].text


def test_the_first_line_names_the_standing():
    of = study(LAW.loss(N, D) * scattered(0.6))
    headline = next(finding for finding in optimum.SECTION.findings(of, of.result(optimum.SECTION)))
    assert "these runs do not show the parametric law" in headline.text or "no law could be fitted" in headline.text
    assert sections.SECTIONS[0] is optimum.SECTION
