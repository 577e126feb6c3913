"""What `--plan` shows of a design, for runs as they are planned."""

import io
import time

import pytest
from rich.console import Console

import vsweep
from tests.analysis.fits_file import content_of, write
from tests.vsweep import small
from vsweep.analysis.designer.precision import Precision, expected
from vsweep.cli import design_shown, train
from vsweep.models import accounting
from vsweep.plan.shape import model_shape

WIDE = {"width": [4, 8, 16], "budget": [700, 2800, 11_200], "seed": [0, 1]}


def planned(tmp_path, **sweep):
    return vsweep.plan_sweep(small.config(sweep=sweep), tmp_path / "none")


def shown(sweep, **options) -> str:
    console = Console(file=io.StringIO(), width=100)
    design_shown.show(sweep, console, **options)
    return console.file.getvalue()


def test_runs_are_those_of_the_plan(tmp_path):
    sweep = planned(tmp_path, **WIDE)
    runs = design_shown.runs_of(sweep.stacks, sweep.task, "params")
    assert (runs.number, runs.seeds, len(runs.params)) == (18, 2, 9)
    stack = sweep.stacks[0]
    assert runs.params.min() == accounting.params(model_shape(stack.shape, sweep.task))
    assert runs.tokens.max() == max(run.steps for run in stack.runs) * 8 * sweep.task.mean_label_tokens


def test_size_follows_the_convention(tmp_path):
    sweep = planned(tmp_path, **WIDE)
    every, inner = (
        design_shown.runs_of(sweep.stacks, sweep.task, size).params.min() for size in ("params", "params_non_embedding")
    )
    assert inner < every


def test_a_plan_is_drawn_and_judged(tmp_path):
    text = shown(planned(tmp_path, **WIDE))
    assert "D, tokens" in text
    assert text.count("2") > 9
    words = " ".join(text.split())
    assert "If the excess loss over the task's exact floor followed Chinchilla's law" in words
    assert "WHAT A LITTLE MORE WOULD BUY" in words
    assert "Addition is known to follow no smooth law" in words
    assert list(tmp_path.iterdir()) == []


def test_runs_that_differ_in_more_are_told(tmp_path):
    """Two learning rates are no two seeds."""
    assert "counted as if they had one loss" in shown(planned(tmp_path, **WIDE, lr=[1e-3, 5e-3]))
    assert "counted as if they had one loss" not in shown(planned(tmp_path, **WIDE))


def test_one_size_cannot_tell(tmp_path):
    assert "cannot tell the exponents apart: a single N" in " ".join(shown(planned(tmp_path)).split())


def test_a_louder_study_tells_less(tmp_path):
    sweep = planned(tmp_path, **WIDE)
    assert expected(*design_shown.of_plan(sweep, None, 0.001)).a < expected(*design_shown.of_plan(sweep, None, 0.002)).a


def test_an_earlier_study_is_assumed(tmp_path):
    file = write(tmp_path, content_of())
    _, assumed = design_shown.of_plan(planned(tmp_path, **WIDE), file, None)
    assert assumed.sd_log == 0.004
    assert file in assumed.about


@pytest.mark.parametrize("text", ["no-such.json", "1,2,3", "-1,1,1,.5,.5"])
def test_a_law_that_is_none_is_a_problem_of_the_command_line(text):
    (problem,) = train.law_problems(text)
    assert problem.field == "--assume"
    assert train.law_problems("hoffmann") == []


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_the_figure_is_written_where_it_was_asked_for(name, begins, tmp_path):
    design_shown.draw(planned(tmp_path, **WIDE), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_judging_hundreds_of_runs_takes_under_a_second(tmp_path):
    sweep = planned(tmp_path, width=list(range(4, 44, 4)), budget=[700 * 2**i for i in range(6)], seed=list(range(5)))
    begin = time.perf_counter()
    runs, assumed = design_shown.of_plan(sweep, None, None)
    assert isinstance(expected(runs, assumed), Precision)
    shown(sweep)
    assert runs.number == 300
    assert time.perf_counter() - begin < 1.0
