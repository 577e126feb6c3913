"""The tutorial's own task, models, optimizer and design: the code of the page, in files that it names."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

import vsweep
from vsweep.cli import (
    flags,
    train,  # noqa: F401, defines the flags
)
from vsweep.train.events import Finished

DOCUMENT = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
SECTIONS = DOCUMENT[DOCUMENT.index("## 10. Your own task") : DOCUMENT.index("## What next")]
SAVED = re.findall(r"as\s+`configs/(\w+\.py)`:\n\n```python\n(.*?)```", SECTIONS, flags=re.DOTALL)
COMMANDS = [block.replace("\\\n", " ").split() for block in re.findall(r"```sh\n(.*?)```", SECTIONS, flags=re.DOTALL)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "configs").mkdir()
    for name, code in SAVED:
        (tmp_path / "configs" / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name, _ in SAVED:
        sys.modules.pop(name.removesuffix(".py"), None)


def read(command: list[str], *more: str):
    """The config that a command of the page means."""
    with flagsaver.flagsaver():
        flags.parse_flags(["launch.py", *(word for word in command if word.startswith("--config")), *more])
        config = absl_flags.FLAGS["config"].value
    absl_flags.FLAGS.unparse_flags()
    sys.modules.pop("config_config", None)  # ml_collections loads the next config file into the same module
    return config


def command_with(word: str) -> list[str]:
    (found,) = [command for command in COMMANDS if any(word in part for part in command)]
    return found


def test_the_page_has_a_task_a_config_and_an_optimizer():
    own = ["sorting.py", "my_sorting.py", "my_models.py", "my_modules.py", "my_optimizers.py", "my_design.py"]
    assert [name for name, _ in SAVED] == own
    assert len(COMMANDS) == 7


def test_ones_own_task_and_optimizer_are_trained(folder):
    assert vsweep.plan_sweep(read(COMMANDS[0]), folder / "plan").runs == 9
    smaller = ["--config.sweep.width=4", "--config.sweep.budget=5000,10000"]
    *_, last = vsweep.run_sweep(read(command_with("my_optimizers:signs"), *smaller), folder / "sweep")
    assert isinstance(last, Finished)
    runs = pd.read_csv(folder / "sweep" / "runs.csv")
    assert set(runs["decay"]) == {0.5, 0.9}
    measured = runs[["val_loss", "answer_loss", "exact_match", "metric_first_digit", "metric_first_digit_se"]]
    assert measured.notna().all().all()
    assert runs[["floor", "excess_loss"]].isna().all().all()


@pytest.mark.parametrize(("name", "axis"), [("my_models:recurrent", "depth"), ("my_modules:Window", "window")])
def test_ones_own_model_is_trained(name, axis, folder):
    command = command_with(name)
    assert vsweep.plan_sweep(read(command), folder / "plan").runs == 18
    smaller = ["--config.sweep.width=4", "--config.sweep.budget=5000,10000"]
    *_, last = vsweep.run_sweep(read(command, *smaller), folder / "sweep")
    assert isinstance(last, Finished)
    runs = pd.read_csv(folder / "sweep" / "runs.csv")
    losses = runs.groupby("budget")["val_loss"].mean()
    assert losses[10_000] < losses[5_000]
    assert runs.groupby(axis)["params"].first().is_monotonic_increasing
    assert (runs["flops_counted"] > 0).all()


def test_a_design_of_runs_is_planned_trained_and_drawn_from(folder):
    planned, trained, drawn = (command for command in COMMANDS if "--config=configs/my_design.py" in command)
    plan = vsweep.plan_sweep(read(planned), folder / "plan")
    assert (plan.runs, len(plan.stacks)) == (18, 5)
    assert plan.notes[0] in DOCUMENT
    *_, last = vsweep.run_sweep(
        read(trained, "--config.sweep.width=4", "--config.sweep.flops=1e7,2e7"), folder / "sweep"
    )
    assert isinstance(last, Finished)
    runs = pd.read_csv(folder / "sweep" / "runs.csv")
    assert list(runs["isoflop"]) == [1e7, 2e7]
    assert set(runs["lr"]) == {0.04}
    assert list(runs["warmup_steps"]) == [2, 4]
    points = vsweep.plan_sweep(read(drawn), folder / "points")
    assert [run.run_id for run in points.stacks[0].runs] == [f"w8-c2e8-p{point}" for point in range(8)]


STUDY = DOCUMENT[DOCUMENT.index("## 4. Write your own config") : DOCUMENT.index("## 6. Look at runs.csv")]


def test_a_study_gets_more_seeds_later(folder):
    """Of fewer sizes; what the page shows of the difference is that of the whole study."""
    name, code = re.search(r"as\s+`(configs/\w+\.py)`:\n\n```python\n(.*?)```", STUDY, flags=re.DOTALL).groups()
    (folder / name).write_text(code)
    (command,) = [line.split() for line in STUDY.splitlines() if "--extend" in line]
    smaller = ["--config.sweep.width=4", "--config.sweep.budget=2000,4000", "--config.sweep.lr=0.003,0.01"]
    first = [word for word in command if word.startswith("--config=")]
    list(vsweep.run_sweep(read(first, *smaller), folder / "study"))
    before = pd.read_csv(folder / "study" / "runs.csv", index_col="run_id")
    planned, *_, last = vsweep.run_sweep(read(command, *smaller), folder / "study", extend="--extend" in command)
    assert isinstance(last, Finished)
    assert planned.extension.lines[-1] == "  stay as they are: 4 runs that ended"
    assert planned.extension.new[:3] == ("w4-d2k-s1-lr0.003", "w4-d2k-s1-lr0.01", "w4-d2k-s2-lr0.003")
    after = pd.read_csv(folder / "study" / "runs.csv", index_col="run_id")
    assert len(after) == 12
    pd.testing.assert_frame_equal(after.loc[before.index, list(before.columns)], before, check_exact=True)
