"""The command line, from outside: what a person types, the exit status, what is said, and what is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vsweep import small

ROOT = Path(__file__).parents[2]
ADDITION = f"--config={ROOT}/configs/addition.py"


@pytest.fixture
def place(tmp_path) -> Path:
    """An empty folder to stand in."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def launch(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    program = [sys.executable, str(ROOT / "launch.py"), *arguments]
    quiet = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **quiet, **variables}
    return subprocess.run(program, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_a_mistake_is_told_on_the_error_stream_and_in_few_lines(place):
    done = launch(f"{ADDITION}:smoke", "--config.model.width=wide", "--plan", cwd=place)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2


def test_a_gpu_that_was_asked_for_and_is_not_there_is_said(place):
    done = launch(f"{ADDITION}:smoke", cwd=place, JAX_PLATFORMS="cuda")
    assert done.returncode == 2, done.stderr
    assert "JAX_PLATFORMS: no such device here - got 'cuda'" in done.stderr
    assert 'allowed: cpu, or cuda with a GPU, its driver and pip install "jax[cuda12]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert small.tree(place) == {}


def test_a_number_of_devices_in_xla_flags_is_honoured(place):
    flag = {"XLA_FLAGS": "--xla_force_host_platform_device_count=5", "JAX_NUM_CPU_DEVICES": "-1"}
    done = launch(f"{ADDITION}:smoke", "--plan", cwd=place, **flag)
    assert "cpu x 5: " in done.stdout, done.stderr


def test_the_plan_with_its_overrides_is_the_same_twice_and_touches_nothing(place):
    """Not even a work directory that is already there."""
    workdir = place / "runs" / "addition-smoke"
    workdir.mkdir(parents=True)
    (workdir / "lock").write_text("process 7 on a-machine, which is gone")
    before = small.tree(place)
    overrides = ("--config.sweep.seed=0,1,2", "--config.sweep.width=8", "--config.sweep.lr=1e-3,5e-3")
    first, second = (launch(f"{ADDITION}:smoke", "--plan", *overrides, cwd=place) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "addition-smoke: 18 runs in 1 stacks" in first.stdout
    assert "w8" in first.stdout
    assert small.tree(place) == before


def test_flags_that_only_a_plan_reads_are_refused_elsewhere(place):
    done = launch(f"{ADDITION}:smoke", "--assume=hoffmann", "--plan_figure=a.png", cwd=place)
    assert done.returncode == 2
    assert "--assume: nothing reads it - got 'hoffmann'; allowed: with --plan" in done.stderr
    assert "--plan_figure: nothing reads it" in done.stderr
    flags = ("--plan_figure=no/a.pdf", "--seed_spread=2", "--assume=no-such.json")
    wrong = launch(f"{ADDITION}:smoke", "--plan", *flags, cwd=place)
    assert wrong.returncode == 2
    assert [line.split(":")[0].strip() for line in wrong.stderr.splitlines()[1:]] == [
        "--plan_figure",
        "--plan_figure",
        "--seed_spread",
        "--assume",
    ]
    assert wrong.stdout == ""
    assert small.tree(place) == {}
