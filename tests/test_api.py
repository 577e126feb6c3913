"""The public functions: every example of docs/api.md runs, in its order, and `import vsweep` stays quick."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import vsweep

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def write_table(path: Path) -> None:
    """Eight sizes on eight budgets each, from a law whose optimum lies among them, with 0.3 % of noise."""
    params, tokens = np.meshgrid(np.geomspace(1e7, 1e9, 8), np.geomspace(5e8, 5e10, 8))
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(params.shape))
    loss = (1.7 + 400 / params**0.34 + 410 / tokens**0.28) * noise
    table = {"N": params.ravel(), "D": tokens.ravel(), "loss": loss.ravel()}
    pd.DataFrame(table).to_csv(path, index=False)


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> dict:
    """What the examples of the document leave behind: their names, and `here`, where they ran."""
    here = tmp_path_factory.mktemp("examples")
    write_table(here / "table.csv")
    names = {"here": here}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        for code in re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL):
            exec(compile(code, "docs/api.md", "exec"), names)
    return names


def test_the_example_of_a_plan_trains_nothing_yet(examples):
    assert examples["plan"].runs == 6


def test_the_example_of_a_sweep_trains_it(examples):
    assert set(pd.read_csv(examples["here"] / "runs" / "mine" / "runs.csv")["status"]) == {"finished"}


def test_the_example_of_a_run_gives_logits(examples):
    assert examples["logits_BxTxV"].shape[:2] == examples["tokens_BxT"].shape
    assert "embed" in examples["run"].arrays()


def test_the_example_of_an_analysis_has_runs_and_figures(examples):
    assert len(examples["result"].runs) == 64
    assert (examples["here"] / "valleys.pdf").stat().st_size > 5_000
    assert "<svg" not in examples["result"]._repr_html_()  # the figure is an image, which cannot disturb the page
    assert "data:image/svg+xml" in examples["result"]._repr_html_()


def test_the_example_of_a_comparison_finds_its_factor(examples):
    assert "constant" in examples["comparison"].verdict.outcome


def test_the_example_of_a_plan_from_a_law_has_intervals(examples):
    best = examples["best"]
    assert best.params.low < best.params.value < best.params.high


def test_the_example_of_a_check_finds_the_bug(examples):
    assert [run.verdict for run in examples["checked"].runs] == ["as predicted", "look for a bug"]
    assert not examples["checked"].passed


@pytest.mark.parametrize("name", vsweep.PUBLIC)
def test_a_public_function_is_documented(name):
    assert f"`vsweep.{name}" in DOCUMENT
    assert len(getattr(vsweep, name).__doc__) > 200
    assert name in dir(vsweep)


def test_importing_loads_no_library():
    program = "import sys, vsweep; print(sorted({'jax', 'numpy', 'pandas', 'absl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="run_sweeps"):
        vsweep.run_sweeps  # noqa: B018
