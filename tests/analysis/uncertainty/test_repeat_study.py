"""The law of repeated data from a sweep shaped as `configs/text.py:repeat`, planted and found again."""

import numpy as np
import pandas as pd
import pytest

from configs import text
from tests.analysis import planted
from vsweep import schema
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.approaches.repeated_law import RepeatedLaw
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention
from vsweep.analysis.report import first_screen, fits_json
from vsweep.analysis.sections import base
from vsweep.analysis.sections.further_laws import hyperparameters, repeated
from vsweep.analysis.uncertainty import repeated_data
from vsweep.cli.designing.base import CountedTask
from vsweep.config import sweep_config
from vsweep.models import accounting
from vsweep.plan import grid
from vsweep.plan.cost import model_shape

LAW = RepeatedLaw(Law(E=1.0, A=15.0, B=75.0, alpha=0.35, beta=0.35), R_D=6.0, R_N=5.0)
NOISE = 0.003
# A 90 % interval holds the truth in 6 of 8 draws or more with a chance of 96 %, an interval of 50 % with one of 14 %.
DRAWS, COVERED = 8, 6


def rows_of(law: RepeatedLaw, draw: int = 0) -> list[dict]:
    """Rows of runs.csv as that sweep would write them if its losses followed `law`."""
    config = sweep_config.from_dict(text.get_config("repeat"))
    task = CountedTask(256, config.task.context + 1)
    rng, rows = np.random.default_rng(draw), []
    for run in (run for stack in grid.build_stacks(config, task) for run in stack.runs):
        shape = model_shape(run.shape, task)
        tokens, params = run.steps * run.shape.batch_size * config.task.context, accounting.params(shape)
        unique = min(tokens, run.unique_examples * config.task.context)
        row = dict.fromkeys(schema.RUN_COLUMNS) | run.fields()
        row |= {"run_id": run.run_id, "stack": "w", "task": "text", "params": params, "steps": run.steps}
        row |= {"params_non_embedding": accounting.params_non_embedding(shape), "tokens": tokens}
        row |= {"flops_6nd": 6 * params * tokens, "flops_counted": 7 * params * tokens, "unique_tokens": unique}
        row |= {"epochs": tokens / unique, "val_loss_se": 0.01, "status": schema.FINISHED, "eval_examples": 1024}
        loss = law.loss(params, tokens, unique) * np.exp(NOISE * rng.standard_normal())
        rows.append({name: row.get(name) for name in schema.RUN_COLUMNS} | {"val_loss": float(loss)})
    return rows


def study_of(folder, law: RepeatedLaw, draw: int = 0) -> base.LossStudy:
    planted.write_runs(folder, rows_of(law, draw))
    return base.begin(load(folder), Convention("val_loss"), bootstrap=20)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> base.LossStudy:
    return study_of(tmp_path_factory.mktemp("repeat"), LAW)


def test_the_design_has_1_to_32_epochs_at_three_sizes():
    table = pd.DataFrame(rows_of(LAW))
    epochs = table.groupby("width")["epochs"].agg(lambda column: sorted(set(column)))
    assert len(epochs) == 3
    assert all({1, 2, 4, 8, 16, 32} <= set(found) for found in epochs)


def test_intervals_hold_the_planted_worth_in_most_draws_of_the_noise(study, tmp_path_factory):
    studies = [study, *(study_of(tmp_path_factory.mktemp("draw"), LAW, draw) for draw in range(1, DRAWS))]
    results = [each.result(repeated.SECTION) for each in studies]
    assert {found.points for found in results} == {len(rows_of(LAW))}
    assert abs(np.mean([np.log(found.values["R_D"] / LAW.R_D) for found in results])) < 0.05
    worth = repeated_data.epochs_at_worth(LAW.R_D)
    ranges = {
        "R_D": [(found.uncertainty.ranges["R_D"], LAW.R_D) for found in results],
        "R_N": [(found.uncertainty.ranges["R_N"], LAW.R_N) for found in results],
        "worth": [(found.worth_range, worth) for found in results],
    }
    for name, pairs in ranges.items():
        assert sum(found.low < truth < found.high for found, truth in pairs) >= COVERED, name
    widths = [found.high / found.low for found, _ in ranges["R_D"]]
    assert max(widths) < 2  # and they are no wider than they need to be


def test_the_rule_of_four_epochs_is_told_with_its_interval(study):
    result = study.result(repeated.SECTION)
    _, told = [finding.text for finding in repeated.SECTION.findings(study, result)]
    assert told.startswith("up to 2.")
    assert "90 % interval) a repeated token is worth 0.9 of a new one on average" in told
    kept = fits_json.finite(repeated.SECTION.to_json(study, result))["repeated_data"]["worth"]
    assert kept["low"] < kept["epochs"] < kept["high"]
    assert kept["most_epochs"] == 32
    rows = repeated.SECTION.tables(study, result)[0].rows
    assert rows[-1][:2] == ("epochs at an average worth of 0.9", f"{kept['epochs']:.3g}")


def test_the_page_begins_with_what_a_repeated_token_is_worth(study):
    screen, result = first_screen.first_screen([study]), study.result(repeated.SECTION)
    epochs = repeated_data.epochs_at_worth(result.values["R_D"])
    assert screen.section == repeated.SECTION.name
    assert screen.headline == f"Up to {epochs:.2g} epochs, a repeated token is worth 0.9 of a new one, on average."
    assert screen.trust.verdict == first_screen.CANNOT_TELL
    tuned = {setting.name for setting in study.result(hyperparameters.SECTION)}
    assert "unique_examples" not in tuned


def test_the_figure_has_every_run_and_its_law(study):
    (drawing,) = repeated.SECTION.figures(study, study.result(repeated.SECTION))
    numbers = drawing.numbers
    new = numbers["epochs"] == 1
    assert len(numbers) == len(rows_of(LAW))
    assert np.allclose(numbers["by_law"][new], numbers["loss_of_new_tokens"][new])
    assert (numbers["by_law"][~new] > numbers["loss_of_new_tokens"][~new]).all()


def test_the_plain_law_sees_the_least_repeated_runs_alone(study):
    assert set(study.points.column("unique_tokens") / study.points.column("tokens")) == {1.0}
    assert len(study.points.table) + len(study.points.exclusions) == len(rows_of(LAW))


def test_repeats_that_never_lose_worth_have_no_number(tmp_path):
    study = study_of(tmp_path, RepeatedLaw(LAW.law, 1e5, LAW.R_N))
    result = study.result(repeated.SECTION)
    told = repeated.SECTION.findings(study, result)[1].text
    assert told.startswith("these runs do not show up to how many epochs a repeated token is worth 0.9 of a new one")
    kept = repeated.SECTION.to_json(study, result)["repeated_data"]["worth"]
    assert kept["epochs"] is None
    assert kept["high"] is None
    assert 4 < kept["low"] <= 32
    assert repeated.SECTION.tables(study, result)[0].rows[-1][1] == "not determined"


def test_the_published_constant_gives_about_four_epochs():
    assert repeated_data.epochs_at_worth(15.387756) == pytest.approx(4.3, abs=0.05)
    x = (repeated_data.epochs_at_worth(10.0, worth=0.5) - 1) / 10.0
    assert (1 - np.exp(-x)) / x == pytest.approx(0.5)
