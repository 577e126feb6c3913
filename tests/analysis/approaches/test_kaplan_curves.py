"""Loss curves in Kaplan's reading: the published nine GPTs, and planted curves with and without a kink."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vsweep.analysis.approaches import kaplan_curves
from vsweep.analysis.approaches.compute_frontier import PF_DAY
from vsweep.analysis.approaches.kaplan_curves import KaplanCurves
from vsweep.analysis.data.language import Language
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.sections.further_laws import kaplan

PUBLISHED = Path(__file__).parents[2] / "data" / "kaplan_mini_curves.csv"
BATCH, CONTEXT, LAYERS, SKIPPED = 32, 1024, 12, 10


@pytest.fixture(scope="module")
def published() -> KaplanCurves:
    """The nine main runs of D. Moser, with forward FLOPs as he counts them, and which rows he fits."""
    table = pd.read_csv(PUBLISHED).query("series == 'main'")
    width = table["d_model"].astype(float)
    params = LAYERS * (12 * width**2 + 13 * width) + 2 * width
    tokens = BATCH * CONTEXT * table["step"].astype(float)
    curves = pd.DataFrame({"run_id": "w" + table["d_model"].astype(str), "size": params, "params": params})
    curves = curves.assign(tokens=tokens, flops=(2 * params + 2 * LAYERS * CONTEXT * width) * tokens)
    used = table.groupby("d_model").cumcount() >= SKIPPED
    return kaplan_curves.fit(curves.assign(loss=table["eval_loss"]), used)


def planted(loss_of, sizes=(1e5, 2e5, 4e5, 8e5, 1.6e6)) -> pd.DataFrame:
    """Curves of `loss_of(N, D)`, with the noise of an evaluation."""
    rng, tokens = np.random.default_rng(1), np.geomspace(1e6, 1e9, 40)
    runs = [
        pd.DataFrame({"run_id": f"n{size:g}", "size": size, "params": size, "tokens": tokens}).assign(
            flops=6 * size * tokens, loss=loss_of(size, tokens) * np.exp(0.002 * rng.standard_normal(40))
        )
        for size in sizes
    ]
    return pd.concat(runs, ignore_index=True)


def chinchilla(size, tokens):
    return 1.7 + 400 / size**0.34 + 400 / tokens**0.28


@pytest.fixture(scope="module")
def smooth() -> KaplanCurves:
    return kaplan_curves.fit(planted(chinchilla))


def with_kink(size, tokens):
    return 30 / size**0.05 * (tokens / 1e8) ** -np.where(tokens < 1e8, 0.25, 0.05)


def test_published_curves_give_both_slopes(published):
    assert round(-published.line.a, 4) == -0.0685
    assert round(-published.corners.a, 4) == -0.0717
    assert round(published.corners.C0 / PF_DAY, 1) == 66_060.5
    assert published.resamples == kaplan_curves.RESAMPLES
    assert published.low < -published.line.a < published.high


def test_the_published_curves_bend_without_a_kink(published):
    assert len(published.kinks) == 9
    assert all(kink.before > kink.after > 0 for kink in published.kinks)
    assert not published.shown_kinks


def test_a_smooth_law_has_no_kink(smooth):
    assert not smooth.shown_kinks


def test_a_planted_kink_is_found():
    result = kaplan_curves.fit(planted(with_kink))
    assert len(result.shown_kinks) == 5
    for kink in result.kinks:
        assert kink.tokens == pytest.approx(1e8, rel=0.2)
        assert (kink.before, kink.after) == (pytest.approx(0.25, rel=0.1), pytest.approx(0.05, rel=0.2))
        assert kink.curve(np.array([6e8])) == pytest.approx(with_kink(kink.size, 6e8), rel=0.03)


def test_few_curves_have_no_interval():
    result = kaplan_curves.fit(planted(chinchilla, sizes=(1e5, 4e5, 1.6e6)))
    assert (result.low, result.high, result.resamples) == (None, None, 0)


def test_the_beginning_of_a_run_is_not_fitted(smooth):
    assert smooth.curves["tokens"][smooth.used].min() > 1e9 / 30
    assert smooth.curves["tokens"].min() < 1e9 / 30


def test_curves_that_do_not_fall_are_refused():
    assert isinstance(kaplan_curves.fit(planted(lambda size, tokens: 2.0 + 0 * tokens)), Refusal)


@pytest.mark.parametrize(("vocabulary", "slopes"), [(50_257, ["-0.057", "-0.050"]), (256, [])])
def test_kaplans_lines_are_drawn_for_their_tokens_alone(vocabulary, slopes, published):
    drawing = kaplan.against_compute(published, Language(vocabulary=vocabulary))
    labels = [line.get_label() for line in drawing.figure.axes[0].get_lines()]
    assert [label.split()[-1] for label in labels if label.startswith(("Kaplan", "of their"))] == slopes
