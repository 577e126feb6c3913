"""The command `vsweep`: which program gets which arguments."""

import subprocess
import sys
from pathlib import Path

import pytest

from vsweep import program
from vsweep.cli import main

ROOT = Path(__file__).parents[3]
ADDITION = f"--config={ROOT}/configs/addition.py"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main.main(arguments)
    return left.value.code


@pytest.fixture
def handed(monkeypatch) -> list:
    """What the trainer's command is handed instead of training."""
    from vsweep.cli import train

    calls = []
    monkeypatch.setattr(train, "run", lambda arguments: calls.append(arguments))
    return calls


@pytest.mark.parametrize(
    ("typed", "flags"),
    [
        (["train", "addition:smoke"], [f"{ADDITION}:smoke"]),
        (["train", "addition"], [ADDITION]),
        (["train", "--config=addition:smoke"], [f"{ADDITION}:smoke"]),
        (["train", "mine.py:big", "--workdir=x"], ["--config=mine.py:big", "--workdir=x"]),
        (["train", "configs/mine.py", "--plan"], ["--config=configs/mine.py", "--plan"]),
        (["train", "--workdir=x", "--config=configs/mine.py"], ["--workdir=x", "--config=configs/mine.py"]),
        (
            ["plan", "addition:smoke", "--config.sweep.seed=0,1"],
            [f"{ADDITION}:smoke", "--config.sweep.seed=0,1", "--plan"],
        ),
        (["train", "--help"], ["--help"]),
    ],
)
def test_training_gets_the_flags_of_launch(typed, flags, handed):
    run(*typed)
    assert [arguments[1:] for arguments in handed] == [flags]
    assert handed[0][0] == f"vsweep {typed[0]}"


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["train"], "vsweep train: no config - got ''; allowed: the config first, such as addition:smoke"),
        (["plan", "--workdir=x"], "vsweep plan: no config - got '--workdir=x'"),
        (
            ["train", "additon:smoke"],
            "no such bundled config - got 'additon'; allowed: addition, kaplan, markov, modular, text, or a file",
        ),
        (["train", "additon:smoke"], "did you mean addition?"),
        (["analyze", "x.csv"], "no such command - got 'analyze'"),
        (["analyze", "x.csv"], "did you mean analyse?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(typed, told, handed, capsys):
    assert run(*typed) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert handed == []


@pytest.mark.parametrize("typed", [[], ["--help"], ["-h"], ["help"], ["--version"]])
def test_help_and_version_succeed(typed, capsys):
    assert run(*typed) == 0
    assert "vsweep" in capsys.readouterr().out


@pytest.mark.parametrize("word", [word for word in main.COMMANDS if word not in ("train", "plan")])
def test_each_command_has_its_own_help(word, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vsweep"])
    assert run(word, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: vsweep {word} ")


def test_every_command_stands_in_the_help():
    assert all(f"\n  {word} " in main.HELP for word in main.COMMANDS)


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("/venv/bin/vsweep", "vsweep compare"),
        ("/venv/lib/vsweep/__main__.py", "python -m vsweep compare"),
        ("/clone/analysis/__main__.py", "python -m analysis compare"),
        ("/venv/bin/pytest", "python -m analysis compare"),
    ],
)
def test_a_command_is_named_as_it_was_called(called, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called])
    assert program.command("compare") == name


def test_outside_a_checkout_only_vsweep_is_there(monkeypatch, tmp_path):
    monkeypatch.setattr(program, "LAUNCHER", tmp_path / "launch.py")
    assert program.command("analyse") == "vsweep analyse"


def test_an_analysis_loads_no_jax():
    text = """
import sys
from vsweep.cli import main
try:
    main.main(["analyse", "no-such-table.csv", "--out", "x"])
except SystemExit as left:
    print(left.code, sorted({"jax", "flax", "orbax"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2 []\n"
    assert done.stderr.startswith("analysis: ")


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "vsweep", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("vsweep 0.")
