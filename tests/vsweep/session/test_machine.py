"""What a sweep needs of the machine and of JAX's settings: said before anything is written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from tests.vsweep import small
from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import from_dict
from vsweep.host import devices
from vsweep.host.hardware import Hardware
from vsweep.plan.sweep_plan import build_plan
from vsweep.session import preflight
from vsweep.tasks import build

ROOT = Path(__file__).parents[3]


def test_what_a_sweep_has_stored_already_needs_no_room_again(finished_sweep, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=20_000))
    assert preflight.prepare(small.config(), finished_sweep).sweep.runs == 6


def test_a_wall_limit_counts_compiling_only_where_nothing_is_compiled_yet(tmp_path, monkeypatch):
    ready = preflight.prepare(small.config(train={"max_wall_hours": 6 / 3600}), tmp_path)
    cache = jax.config.jax_compilation_cache_dir
    assert cache is not None
    assert preflight.wall_problems(ready) == []
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        (problem,) = preflight.wall_problems(ready)
        (tmp_path / "compile_cache").mkdir()
        assert preflight.wall_problems(ready) == []
    finally:
        jax.config.update("jax_compilation_cache_dir", cache)
    assert str(problem).startswith(
        "train.max_wall_hours: too short to compile and save - got 0.00166667; allowed: from 0.0"
    )


def test_bfloat16_on_a_gpu_that_emulates_it_is_a_note_beside_the_plan():
    def shown(precision: str, *, bfloat16: bool) -> str:
        parsed = from_dict(small.config(train={"precision": precision}))
        return small.shown(build_plan(parsed, build(parsed.task), Hardware("Tesla T4", 1, 2**33, bfloat16)))

    assert "note: Tesla T4 has no bfloat16 and emulates it slowly" in shown("bfloat16", bfloat16=False)
    assert "note: " not in shown("bfloat16", bfloat16=True)
    assert "note: " not in shown("float32", bfloat16=False)


UNUSABLE = {
    "jax_enable_x64": True,
    "jax_disable_jit": True,
    "jax_no_tracing": True,
    "jax_no_execution": True,
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_error_checking_behavior_nan": "raise",
    "jax_error_checking_behavior_divide": "raise",
    "jax_error_checking_behavior_oob": "raise",
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_transfer_guard": "disallow_explicit",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_setting_of_jax_under_which_nothing_runs_is_named_before_anything_is_written(name, tmp_path, jax_setting):
    jax_setting(name, UNUSABLE[name])
    with small.compilations() as compiled, pytest.raises(ConfigError) as caught:
        small.train(small.config(), tmp_path / "new")
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{name.upper()}: vsweep cannot run with it - got {UNUSABLE[name]}; allowed: ")
    assert (small.tree(tmp_path), compiled) == ({}, [])


def test_settings_come_in_one_list_with_all_other_problems(jax_setting):
    jax_setting("jax_enable_x64", True)
    jax_setting("jax_numpy_rank_promotion", "raise")
    with pytest.raises(ConfigError) as caught:
        preflight.prepare(small.config(optimizer={"lr": 0}))
    named = [problem.field for problem in caught.value.problems]
    assert named == ["JAX_ENABLE_X64", "JAX_NUMPY_RANK_PROMOTION", "optimizer.lr"]


def test_a_number_of_devices_in_xla_flags_is_checked(monkeypatch):
    for text in ("0", "banana", "", "-1"):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_cpu_enable_fast_math=false {devices.DEVICE_COUNT}={text}")
        (problem,) = devices.setting_problems()
        assert (problem.field, problem.got) == ("XLA_FLAGS", f"{devices.DEVICE_COUNT}={text}")
    monkeypatch.setenv("XLA_FLAGS", f"{devices.DEVICE_COUNT}=banana {devices.DEVICE_COUNT}=3")
    assert devices.setting_problems() == []


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"JAX_ENABLE_X64": "1", "JAX_DISABLE_JIT": "1"}, "JAX_ENABLE_X64: .*\n.*JAX_DISABLE_JIT: .*"),
        ({"JAX_ENABLE_X64": "banana"}, "environment: invalid truth value 'banana' for environment 'JAX_ENABLE_X64'"),
    ],
)
def test_both_commands_answer_variables_that_they_cannot_run_with_in_lines_and_not_in_a_traceback(
    variables, told, tmp_path
):
    for command in (
        ["launch.py", f"--config={ROOT}/configs/addition.py:smoke", f"--workdir={tmp_path}/new"],
        ["-m", "vsweep.generate", "."],
    ):
        arguments = [*command, "--run=a", "12+34="] if "-m" in command else command
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert re.fullmatch(f"(vsweep cannot start:\n)? *{told}\n", done.stderr), done.stderr
    assert small.tree(tmp_path) == {}
