"""What a person gets wrong: each mistake is told by its name before anything is written or compiled."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from absl import flags as absl_flags
from absl.testing import flagsaver

from tests.vsweep import small
from vsweep.cli import flags, train
from vsweep.config.sweep_config import from_dict
from vsweep.storage.lock import locked
from vsweep.storage.workdir import WorkDir

ROOT = Path(__file__).parents[3]
ADDITION = f"--config={ROOT}/configs/addition.py"
SMALL = "--config=../configs/small.py"

CONFIG_FILES = {
    "syntax.py": "def get_config(:\n",
    "without.py": "config = {}\n",
    "none.py": "def get_config():\n    return None\n",
    "a_dict.py": "def get_config():\n    return {'model': {'width': 4}}\n",
    "raises.py": "def get_config():\n    raise RuntimeError('no such data set')\n",
    "warns.py": "import warnings\n\ndef get_config():\n    warnings.warn('soon gone', FutureWarning)\n",
    "missing_import.py": "import no_such_module\n",
    "small.py": """
from ml_collections import ConfigDict
from tests.vsweep import small
from vsweep.config import default_dict

def get_config():
    config = ConfigDict(default_dict())
    config.update(small.config())
    return config
""",
}

# (arguments, words that the message must hold: the flag or field, what was got, what is allowed)
COMMAND_LINES = [
    ([], ["--config: not given", "allowed: a config file", "configs/addition.py"]),
    (["--config=../configs/nowhere.py"], ["--config: ", "No such file", "configs/nowhere.py", "allowed: "]),
    (["--config=../configs"], ["--config: ", "../configs", "allowed: "]),
    (["--config=../configs/syntax.py"], ["--config: SyntaxError", "syntax.py, line 1", "allowed: "]),
    (["--config=../configs/without.py"], ["--config: ", "get_config", "allowed: "]),
    (["--config=../configs/none.py"], ["--config: get_config returned None", "allowed: a ConfigDict"]),
    (["--config=../configs/a_dict.py"], ["--config: get_config returned dict", "allowed: a ConfigDict"]),
    (["--config=../configs/raises.py"], ["--config: RuntimeError: no such data set"]),
    (["--config=../configs/warns.py"], ["python -W error: a warning became an error", "FutureWarning: soon gone"]),
    (["--config=../configs/missing_import.py"], ["--config: ", "no_such_module"]),
    ([f"{ADDITION}:lapotp"], ["lapotp", "allowed: full, laptop, wsd, seeds, smoke"]),
    ([SMALL, "--config.model.widht=8"], ["widht", "width"]),
    ([SMALL, "--config.modle.width=8"], ["modle", "model"]),
    ([SMALL, "--config.model.layers=two"], ["model.layers: not a valid value - got 'two'; allowed: an integer"]),
    ([SMALL, "--config.train.batch_size=1.5"], ["train.batch_size: not a valid value - got 1.5"]),
    (
        [SMALL, "--config.sweep.chunk_steps=9,8"],
        ["sweep.chunk_steps: cannot be swept", "train.chunk_steps)"],
    ),
    ([SMALL, "--config.sweep.width=range(4,20,4)"], ["sweep.width: not a valid value", "did you mean 4,8,12,16?"]),
    ([SMALL, "--config.model.width.x=8"], ["model.width.x: unknown field - got '8'", "did you mean width?"]),
    ([SMALL, "--config.model={'width': 0}"], ["model.width: not a valid value - got 0"]),
    ([SMALL, "--config.model=3"], ["model: not a section - got '3'"]),
    (
        [SMALL, "--config.model.width"],
        ["model.width: no value - got '--config.model.width'", "--config.model.width=VALUE"],
    ),
    ([SMALL, "--workdir"], ["Missing value for flag --workdir"]),
    (
        ["--config.model.widht=8", "--plna"],
        ["--config: not given", "model.widht: ", "--plna: ", "did you mean --plan?"],
    ),
    ([SMALL, "laptop"], ["stray argument - got 'laptop'", "allowed: flags"]),
    ([SMALL, "--plna"], ["plna", "plan"]),
    ([SMALL, "--plan=maybe"], ["plan", "maybe"]),
    ([SMALL, "--config.sweep.seed="], ["sweep.seed: not a valid value - got ''", "allowed: an integer"]),
    (
        [SMALL, "--config.sweep.seed=0,1,a"],
        ["start:\n  sweep.seed: not a valid value - got 'a'", "allowed: an integer"],
    ),
    ([SMALL, "--config.sweep.schedule=cosine,lin"], ["sweep.schedule: ", "got 'lin'", "did you mean linear?"]),
    ([SMALL, "--config.name=a/b"], ["name: not a valid name - got 'a/b'", "allowed: letters"]),
    ([SMALL, "--config.train.devices=99"], ["train.devices: ", "got 99", "allowed: 0 (all) to 2"]),
    ([SMALL, "--config.train.max_wall_hours=1e-4"], ["train.max_wall_hours: too short", "got 0.0001", "allowed: from"]),
    (
        [
            SMALL,
            "--config.optimizer.lr=0",
            "--config.train.slots=0",
            "--config.train.devices=99",
            "--config.model.dropout=1.0",
            "--config.sweep.seed=0,1,0",
            "--config.sweep.budget=3,4000",
            "--config.sweep.width=4,4000000",
            "--config.name=../up",
            "--workdir=../configs/small.py",
            "--resume_from=nowhere",
        ],
        [
            "optimizer.lr: ",
            "train.slots: ",
            "model.dropout: ",
            "sweep.seed: ",
            "name: ",
            "train.devices: ",
            "workdir: ",
        ],
    ),
    (
        [SMALL, "--config.sweep.budget=3,4000", "--config.sweep.width=4,4000000", "--workdir=../configs/small.py"],
        ["budget: below one batch", "model.width: one model alone", "workdir: not a folder"],
    ),
]


def a_file(here: Path) -> list[str]:
    (here / "taken").write_text("")
    return ["--workdir=taken"]


def below_a_file(here: Path) -> list[str]:
    return [f"{a_file(here)[0]}/below"]


def a_link_to_nothing(here: Path) -> list[str]:
    (here / "taken").symlink_to(here / "nothing")
    return ["--workdir=taken"]


def a_name_that_is_no_text(here: Path) -> list[str]:
    return [os.fsdecode(b"--workdir=runs/\xff")]


def a_source_that_is_no_text(here: Path) -> list[str]:
    (here / os.fsdecode(b"\xff")).mkdir()
    return [os.fsdecode(b"--resume_from=\xff")]


def an_endless_name(here: Path) -> list[str]:
    return [f"--workdir={'a' * 300}"]


def another_sweep(here: Path) -> list[str]:
    WorkDir(here / "old").write_config(from_dict(small.config(optimizer={"lr": 1e-3})))
    return ["--workdir=old"]


def no_source(here: Path) -> list[str]:
    return ["--resume_from=nowhere"]


def a_source_of_another_sweep(here: Path) -> list[str]:
    another_sweep(here)
    return ["--resume_from=old"]


def a_broken_config(here: Path) -> list[str]:
    another_sweep(here)
    (here / "old" / "config.json").write_text('{"model": ')
    return ["--workdir=old"]


def a_config_that_is_a_list(here: Path) -> list[str]:
    another_sweep(here)
    (here / "old" / "config.json").write_text("[1, 2]")
    return ["--workdir=old"]


def a_broken_plan(here: Path) -> list[str]:
    WorkDir(here / "old").write_config(from_dict(small.config()))
    (here / "old" / "plan.json").write_text('{"stacks": [{"name": "all"}]}')
    return ["--workdir=old"]


# (what the place is like, words that the message must hold)
PLACES = [
    (a_file, ["workdir: not a folder - got taken", "allowed: a folder"]),
    (below_a_file, ["workdir: not a folder - got taken/below", "allowed: a folder"]),
    (a_link_to_nothing, ["workdir: not a folder - got taken", "allowed: a folder"]),
    (a_name_that_is_no_text, ["workdir: a path that is not UTF-8 - got b'/", "runs/\\xff'; allowed: a folder whose"]),
    (a_source_that_is_no_text, ["resume_from: a path that is not UTF-8 - got b'/", "\\xff'; allowed: a folder whose"]),
    (an_endless_name, ["workdir: not usable - got aaa", "allowed: a folder"]),
    (another_sweep, ["workdir: old holds another sweep", "another --workdir", "optimizer.lr: ", "0.001", "0.005"]),
    (no_source, ["resume_from: not a work directory - got nowhere", "allowed: one with a config.json"]),
    (a_source_of_another_sweep, ["resume_from: old holds another sweep", "optimizer.lr: ", "0.001", "0.005"]),
    (a_broken_config, ["workdir: unreadable - got old/config.json", "allowed: "]),
    (a_config_that_is_a_list, ["workdir: unreadable - got old/config.json", "allowed: "]),
    (a_broken_plan, ["workdir: the plan is damaged - got old/plan.json", "allowed: "]),
]


@contextlib.contextmanager
def as_somebody_else():
    """Root may write anywhere; asking as another user shows what they would be told."""
    if os.getuid() != 0:
        yield
        return
    os.setresuid(65534, -1, -1)
    try:
        yield
    finally:
        os.setresuid(0, -1, -1)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to stand in, beside config files with mistakes."""
    (tmp_path / "configs").mkdir()
    for name, text in CONFIG_FILES.items():
        (tmp_path / "configs" / name).write_text(text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def launched(here, capsys) -> Callable:
    """Runs the launcher in this process: exit status, what was told on stderr, programs compiled, files changed."""

    def run(*arguments: str) -> SimpleNamespace:
        before = small.tree(here)
        config = None
        with flagsaver.flagsaver(), small.compilations() as compiled:
            try:
                status = train.main(flags.parse_flags(["launch.py", *arguments]))
                config = train.CONFIG.value
            except SystemExit as end:
                status = end.code
        absl_flags.FLAGS.unparse_flags()
        changed = dict(before.items() ^ small.tree(here).items())
        output = capsys.readouterr()
        texts = {"told": output.err, "shown": output.out}
        return SimpleNamespace(status=status, **texts, compiled=compiled, changed=changed, config=config)

    return run


def assert_refused(done: SimpleNamespace, words: list[str]) -> None:
    assert done.status == 2, done
    assert done.told.startswith("vsweep cannot start:\n"), done.told
    assert "Traceback" not in done.told
    assert [word for word in words if word not in done.told] == [], done.told
    assert done.compiled == []
    assert set(done.changed) <= {"old/lock"}


@pytest.mark.parametrize(("arguments", "words"), COMMAND_LINES, ids=[" ".join(a)[-40:] for a, _ in COMMAND_LINES])
def test_a_bad_command_line_is_refused_with_its_flag_and_what_is_allowed(arguments, words, launched):
    assert_refused(launched(*arguments), words)


def test_every_mistake_of_a_command_line_is_one_line(launched):
    mistakes = {
        "--config.train.bacth_size=4": "did you mean batch_size?",
        "--config.model.widht=4": "did you mean width?",
        "--config.modle.layers=2": "did you mean model?",
        "--config.train.lr=1e-3": "did you mean optimizer.lr?",
        "--config.sweep.chunk_steps=9": "cannot be swept",
        "--config.model.layers=two": "got 'two'",
        "--config.optimizer.clip=-1": "got -1",
        "--config.sweep.seed=range(3)": "did you mean 0,1,2?",
        "--plan=maybe": "--plan=maybe",
        "--plna": "did you mean --plan?",
        "stray": "got 'stray'",
    }
    done = launched(SMALL, *mistakes)
    assert_refused(done, list(mistakes.values()))
    assert len(done.told.splitlines()) == 1 + len(mistakes)


def test_overrides_are_read_as_before_in_any_order(launched):
    words = ["--config.sweep.seed", "(0, 1)", "--config.sweep.seed=2", "--noconfig.model.tied_embeddings"]
    words += [
        "--config.train.budget=1e3",
        "--config.sweep.schedule=cosine,linear",
        SMALL,
        "--config.train.slots",
        "all",
    ]
    words += ["--config.optimizer.lr=1", "--config.train.share_trunks", "--config.name=one", "--config.name=two"]
    done = launched(*words, "--config.sweep.budget=", "--config.sweep.budget=()", "--plan")
    assert_refused(done, ["sweep.budget: not a valid value - got ''"])
    done = launched(*words, "--config.sweep.budget=()", "--plan")
    assert done.status == 0, done.told
    assert "two: 6 runs in 2 stacks" in done.shown
    config = from_dict(done.config)
    assert (config.train.budget, config.optimizer.lr, config.model.tied_embeddings) == (1000, 1.0, False)
    assert dict(config.axes) == {"schedule": ("cosine", "linear"), "seed": (0, 1, 2)}


def test_an_override_reaches_fields_that_refer_to_it(here, launched):
    reference = "    config.train.final_examples = 2 * config.train.get_ref('curve_examples')\n    return"
    (here.parent / "configs" / "refers.py").write_text(CONFIG_FILES["small.py"].replace("    return", reference))
    done = launched("--config=../configs/refers.py", "--config.train.curve_examples=16", "--plan")
    assert done.status == 0, done.told
    assert done.config.train.final_examples == 32


@pytest.mark.parametrize("flag", ["--help", "--helpshort", "--helpfull", "--helpxml", "-?"])
def test_help_lists_flags_and_fields_and_succeeds(flag, launched):
    done = launched(flag)
    assert (done.status, done.told) == (0, "")
    assert "workdir" in done.shown
    if flag != "--helpxml":
        assert re.search(r"\* optimizer\.lr +0\.005 +peak learning rate", done.shown)
        assert re.search(r"  \* optimizer\.beta1 +0\.9 ", done.shown)


def test_a_plan_answers_beside_another_sweep(here, launched):
    WorkDir(here / "runs" / "small").write_config(from_dict(small.config(optimizer={"lr": 1e-3})))
    done = launched(SMALL, "--plan")
    assert (done.status, done.changed) == (0, {})
    assert "small: 6 runs" in done.shown
    assert "note: runs/small holds another sweep; to train this one, give another place" in done.shown
    assert "--workdir=runs/small-2" in done.shown
    for arguments in ([SMALL, "--plan", "--workdir=runs/small"], [SMALL]):
        assert_refused(launched(*arguments), ["workdir: runs/small holds another sweep", "optimizer.lr: "])


@pytest.mark.parametrize(("place", "words"), PLACES, ids=[place.__name__ for place, _ in PLACES])
def test_a_place_where_the_sweep_cannot_be_trained_is_refused_untouched(place, words, here, launched):
    assert_refused(launched(SMALL, *place(here)), words)


def test_a_place_that_you_may_not_write_to_is_refused(here, launched):
    here.chmod(0o555)
    with as_somebody_else():
        for workdir in (".", "new/folder"):
            assert_refused(
                launched(SMALL, f"--workdir={workdir}"), ["workdir: not writable - got", "allowed: a folder"]
            )
    here.chmod(0o755)


def test_a_place_in_use_is_refused_with_the_process_that_holds_it(here, launched):
    with locked(here / "old"):
        assert_refused(launched(SMALL, "--workdir=old"), ["workdir: old is in use by process ", " on ", " since "])


def test_a_sweep_of_which_every_checkpoint_is_corrupt_is_stopped_and_never_begun_anew(finished_sweep, here, launched):
    shutil.copytree(finished_sweep, here / "old")
    for data in (here / "old" / "stacks" / "all" / "checkpoints").rglob("d/*"):
        data.write_bytes(data.read_bytes()[:-1])
    assert_refused(launched(SMALL, "--workdir=old"), ["no checkpoint can be trusted", "move old/stacks/all"])


def test_slots_on_the_command_line_are_a_word_or_a_number_whatever_the_config_file_says(here, launched):
    text = CONFIG_FILES["small.py"].replace("    return", "    config.train.slots = 3\n    return")
    (here.parent / "configs" / "three.py").write_text(text)
    for config in (SMALL, "--config=../configs/three.py"):
        for flag in (["--config.train.slots=2"], ["--config.train.slots", "all"], ["--config.train.slots=packed"]):
            assert launched(config, *flag, "--plan").status == 0, flag
        assert_refused(launched(config, "--config.train.slots=paked"), ["train.slots: ", "did you mean packed?"])


def test_a_disk_with_too_little_room_is_refused_with_what_is_free_and_what_is_needed(here, launched, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=20_000))
    assert_refused(
        launched(SMALL), ["workdir: too little disk - got runs/small with 0.0 MB free", "allowed: a disk with"]
    )


def test_the_plan_of_a_finished_sweep_changes_nothing_in_it(finished_sweep, here, launched):
    shutil.copytree(finished_sweep, here / "old")
    done = launched(SMALL, "--workdir=old", "--plan")
    assert (done.status, done.compiled, done.changed) == (0, [], {})
