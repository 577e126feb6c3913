"""The command line, from outside: what a person types, the exit status, what is said, and what is written."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ADDITION = f"--config={ROOT}/configs/addition.py"

# One process imports the launcher; a child of it runs each command line through the real parser and main, so that
# the flags are new each time and the imports are paid once. An uncaught error ends a child as it would end launch.py.
RUN_EACH = """
import json, os, sys
import launch
from absl import app
for number, arguments in enumerate(json.load(sys.stdin)):
    if not os.fork():
        told = os.open(os.path.join(sys.argv[1], str(number)), os.O_WRONLY | os.O_CREAT)
        os.dup2(told, 1)
        os.dup2(told, 2)
        sys.argv = ["launch.py", *arguments]
        try:
            app.run(launch.main, flags_parser=launch.command_line.parse_flags)
        except SystemExit as end:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)  # the interpreter takes half a second to tidy up
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""

CONFIG_FILES = {
    "syntax.py": "def get_config(:\n",
    "without.py": "config = {}\n",
    "none.py": "def get_config():\n    return None\n",
    "raises.py": "def get_config():\n    raise RuntimeError('no such data set')\n",
    "missing_import.py": "import no_such_module\n",
}

# (arguments, words that the message must hold)
BAD_COMMAND_LINES = [
    ([], ["--config", "not given", "configs/addition.py"]),
    (["--config=../configs/nowhere.py"], ["nowhere.py"]),
    (["--config=../configs/syntax.py"], ["syntax.py", "line 1"]),
    (["--config=../configs/without.py"], ["get_config"]),
    (["--config=../configs/none.py"], ["get_config", "None"]),
    (["--config=../configs/raises.py"], ["no such data set"]),
    (["--config=../configs/missing_import.py"], ["no_such_module"]),
    ([f"{ADDITION}:lapotp"], ["lapotp", "allowed: full, laptop, wsd, seeds, smoke"]),
    ([f"{ADDITION}:smoke", "--config.model.widht=8"], ["widht", "width"]),
    ([f"{ADDITION}:smoke", "--config.modle.width=8"], ["modle", "model"]),
    ([f"{ADDITION}:smoke", "--config.model.layers=two"], ["config.model.layers", "two"]),
    ([f"{ADDITION}:smoke", "--config.train.batch_size=1.5"], ["config.train.batch_size", "1.5"]),
    ([f"{ADDITION}:smoke", "laptop"], ["stray argument", "laptop"]),
    ([f"{ADDITION}:smoke", "--plna"], ["plna", "plan"]),
    ([f"{ADDITION}:smoke", "--plan=maybe"], ["plan", "maybe"]),
    (
        [
            f"{ADDITION}:smoke",
            "--config.optimizer.lr=0",
            "--config.train.slots=0",
            "--config.model.dropout=1.0",
            "--config.sweep.seed=0,1,0",
            "--config.sweep.budget=3,4000",
            "--config.name=../up",
        ],
        ["optimizer.lr: ", "train.slots: ", "model.dropout: ", "sweep.seed: ", "budget: below one batch", "name: "],
    ),
]


@pytest.fixture
def place(tmp_path) -> Path:
    """An empty folder to stand in, beside config files with mistakes."""
    (tmp_path / "configs").mkdir()
    for name, text in CONFIG_FILES.items():
        (tmp_path / "configs" / name).write_text(text)
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def environment() -> dict[str, str]:
    quiet = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **quiet}


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def launch(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    program = [sys.executable, str(ROOT / "launch.py"), *arguments]
    return subprocess.run(program, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300)


def test_a_bad_command_line_exits_with_2_names_the_mistake_and_writes_nothing(place, tmp_path):
    told = tmp_path / "told"
    told.mkdir()
    command_lines = json.dumps([arguments for arguments, _ in BAD_COMMAND_LINES])
    program = [sys.executable, "-c", RUN_EACH, str(told)]
    done = subprocess.run(
        program, cwd=place, env=environment(), input=command_lines, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    statuses = [int(status) for status in done.stdout.split()]
    assert len(statuses) == len(BAD_COMMAND_LINES)
    for number, (arguments, words) in enumerate(BAD_COMMAND_LINES):
        message = (told / str(number)).read_text()
        assert statuses[number] == 2, (arguments, message)
        assert "Traceback" not in message, (arguments, message)
        assert "vsweep cannot start:" in message, (arguments, message)
        assert all(word in message for word in words), (arguments, message)
    assert tree(place) == {}


def test_a_mistake_is_told_on_the_error_stream_and_in_few_lines(place):
    done = launch(f"{ADDITION}:smoke", "--config.model.width=wide", "--plan", cwd=place)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2


def test_the_plan_with_its_overrides_is_the_same_twice_and_touches_nothing(place):
    """Not even a work directory that is already there."""
    workdir = place / "runs" / "addition-smoke"
    workdir.mkdir(parents=True)
    (workdir / "runs.csv").write_text("what was there before")
    before = tree(place)
    overrides = ("--config.sweep.seed=0,1,2", "--config.sweep.width=8", "--config.sweep.lr=1e-3,5e-3")
    first, second = (launch(f"{ADDITION}:smoke", "--plan", *overrides, cwd=place) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "addition-smoke: 18 runs in 1 stacks" in first.stdout
    assert "w8" in first.stdout
    assert tree(place) == before
