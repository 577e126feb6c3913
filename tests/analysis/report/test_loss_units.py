"""A loss in bits per byte is called so in every figure, table, plan and comparison."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from vsweep import analysis
from vsweep.analysis import planner
from vsweep.analysis.approaches.parametric import HOFFMANN
from vsweep.analysis.compare import command, report
from vsweep.analysis.data.source import Refusal
from vsweep.analysis.public import compare


def table(factor: float = 1.0, name: str = "val_bpb", seed: int = 0) -> pd.DataFrame:
    params, tokens = (values.ravel() for values in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 5)))
    noise = np.exp(0.003 * np.random.default_rng(seed).standard_normal(25))
    return pd.DataFrame({"N": params, "D": tokens, name: factor * HOFFMANN.loss(params, tokens) * noise / 3})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return analysis.analyse(table(), tmp_path_factory.mktemp("bits"), bootstrap=20)


def test_every_figure_names_the_unit(result):
    labels = [text.get_text() for figure in result.figures.values() for text in figure.findobj(Text)]
    assert not [label for label in labels if "nats" in label]
    losses = [label for label in labels if label.startswith("loss (")]
    assert len(losses) >= 3
    assert set(losses) == {"loss (bits/byte)"}


def test_report_and_plan_name_the_unit(result, capsys):
    assert "nats" not in result.report.read_text(encoding="utf-8")
    assert planner.main([str(result.fits), "--compute", "1e20", "--tokens", "1e10", "--served", "1e12"]) == 0
    said = capsys.readouterr().out
    assert "bits/byte" in said
    assert "nats" not in said


def test_a_comparison_names_the_unit(tmp_path, capsys):
    for number, factor in enumerate((1.0, 1.1)):
        table(factor, seed=number).to_csv(tmp_path / f"{number}.csv", index=False)
    paths = [str(tmp_path / f"{number}.csv") for number in range(2)]
    assert command.main([*paths, "--floor", "0.5", "--bootstrap", "40", "--out", str(tmp_path / "out")]) == 0
    assert "nats" not in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))["loss_unit"] == "bits/byte"


def test_a_comparison_in_python_takes_columns_and_units():
    first, second = (table(factor, "score", seed) for seed, factor in enumerate((1.0, 1.1)))
    options = {"columns": {"loss": "score"}, "loss_unit": "bits/token", "floor": 0.5, "bootstrap": 40}
    found = compare(first, second, names=("A", "B"), **options)
    assert found.points[1].loss_unit == "bits/token"
    label = report.drawing(found).figure.axes[0].get_ylabel()
    assert label == "loss (bits/token)"


def test_losses_of_two_units_are_not_compared():
    refused = compare(table(), table(name="loss"), names=("A", "B"), bootstrap=40)
    assert isinstance(refused, Refusal)
    assert (
        "the units differ: the loss is in bits/byte in the first set and in nats/token in the second" in refused.reason
    )
