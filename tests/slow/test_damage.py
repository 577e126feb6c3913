"""Random faults in every file of a work directory: each is refused, repaired, or without effect on any number."""

import collections
import contextlib
import json
import logging
import random
import shutil
from pathlib import Path

import pytest

from tests.vsweep import small
from vsweep import generate, tables
from vsweep.config.problems import ConfigError
from vsweep.storage.checkpoint import CheckpointFolder, CorruptCheckpoints
from vsweep.train import compiling
from vsweep.train.events import Finished

pytestmark = pytest.mark.slow

FAULTS = 500


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The work directory of a small sweep; copy it before you change it."""
    workdir = tmp_path_factory.mktemp("finished")
    small.train(small.config(), workdir)
    return workdir


def files_of(folder: CheckpointFolder, step: int) -> list[Path]:
    """Every file of a step, and its manifest."""
    return sorted(path for path in folder.folder.rglob("*") if path.is_file() and f"{step:08d}" in str(path))


def flip_a_bit(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    place = rng.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    return f"bit {place} flipped"


def truncate(path: Path, rng: random.Random) -> str:
    content = path.read_bytes()
    length = rng.randrange(len(content))
    path.write_bytes(content[:length])
    return f"cut to {length} of {len(content)} bytes"


def delete(path: Path, rng: random.Random) -> str:
    path.unlink()
    return "deleted"


def harm(folder: CheckpointFolder, step: int, rng: random.Random) -> str:
    path = rng.choice(files_of(folder, step))
    how = rng.choice([flip_a_bit, truncate, delete]) if path.stat().st_size else delete
    return f"{path.relative_to(folder.folder)}: {how(path, rng)}"


def same_manifest(folder: CheckpointFolder, original: CheckpointFolder, step: int) -> bool:
    """A manifest that only lost the line end behind it says what it said."""
    texts = [(place.folder / f"{step:08d}.manifest.json").read_text() for place in (folder, original)]
    return json.loads(texts[0]) == json.loads(texts[1])


def test_every_one_of_500_random_faults_is_told_and_the_step_before_is_used(finished, tmp_path, caplog):
    original = CheckpointFolder(next((finished / "stacks").glob("*/checkpoints")))
    before, newest = original.steps()
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(FAULTS):
        folder = CheckpointFolder(shutil.copytree(original.folder, tmp_path / "copy", dirs_exist_ok=True))
        done = harm(folder, newest, rng)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            latest = folder.latest()
        told = f"{newest:08d}: " in caplog.text
        assert (latest, told) == (before, True) or same_manifest(folder, original, newest), f"seed {seed}: {done}"
        shutil.rmtree(folder.folder)


def test_when_both_steps_are_damaged_that_is_a_clear_stop_a_hundred_times(finished, tmp_path):
    original = CheckpointFolder(next((finished / "stacks").glob("*/checkpoints")))
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(FAULTS // 5):
        folder = CheckpointFolder(shutil.copytree(original.folder, tmp_path / "copy", dirs_exist_ok=True))
        done = [harm(folder, step, rng) for step in original.steps()]
        with pytest.raises(CorruptCheckpoints, match="no checkpoint can be trusted; move "):
            pytest.fail(f"seed {seed}: {done}, and step {folder.latest()} was used")
        shutil.rmtree(folder.folder)


def test_a_fault_in_the_parameters_of_finished_runs_names_them_fifty_times(finished, tmp_path):
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(FAULTS // 10):
        workdir = shutil.copytree(finished, tmp_path / "copy", dirs_exist_ok=True)
        folder = CheckpointFolder(workdir / "stacks" / "all" / "finished")
        step = rng.choice(folder.steps())
        names = folder.names(step)
        done = harm(folder, step, rng)
        with pytest.raises(ConfigError, match=f"(?s)missing or damaged: .*{names[0]}"):
            pytest.fail(f"seed {seed}: {done} was not seen: {small.train(small.config(), workdir)}")
        shutil.rmtree(workdir)


# Every file of a work directory, with any harm.

REFUSED, EQUAL = "refused in one line each", "the same to the bit"


def edit_a_digit(path: Path, rng: random.Random) -> str:
    """A number that is another one, and a file that is as well formed as before."""
    content = bytearray(path.read_bytes())
    digits = [place for place, byte in enumerate(content) if 48 <= byte <= 57]
    if not digits:
        return flip_a_bit(path, rng)
    place = rng.choice(digits)
    content[place] = rng.choice([digit for digit in range(48, 58) if digit != content[place]])
    path.write_bytes(content)
    return f"digit {place} edited"


def append(path: Path, rng: random.Random) -> str:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 40)))
    return "bytes appended"


def nest(path: Path, rng: random.Random) -> str:
    path.write_text("[" * 100_000)
    return "nested without end"


def drop_a_line(path: Path, rng: random.Random) -> str:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    path.write_bytes(b"".join(lines))
    return "a line dropped"


def take_another(path: Path, rng: random.Random) -> str:
    """The content of a file beside it: whole, and not its own."""
    other = rng.choice([each for each in sorted(path.parent.iterdir()) if each.is_file()])
    path.write_bytes(other.read_bytes())
    return f"replaced by {other.name}"


HARMS = (flip_a_bit, flip_a_bit, edit_a_digit, edit_a_digit, truncate, delete, append, nest, drop_a_line, take_another)


def files_by_kind(workdir: Path) -> dict[str, list[Path]]:
    """Every file, in kinds: there are many array files, and the few others are to be harmed as often."""
    kinds = collections.defaultdict(list)
    for path in sorted(workdir.rglob("*")):
        if path.is_file() and path.stat().st_size:
            parts = path.relative_to(workdir).parts
            kind = parts[0] if parts[0] != "stacks" else "/".join([parts[2], *path.suffixes[:1], *parts[4:5]])
            kinds[kind].append(path)
    return kinds


def looked_at(workdir: Path, expected: Path, run_id: str) -> None:
    """By the analysis and by `generate`, before a sweep repairs anything: the same numbers, or a refusal."""
    for read in (tables.read_runs, tables.read_curves):
        with contextlib.suppress(ValueError, OSError):  # the refusals that the analysis answers in a line
            table = read(workdir)
            assert table.equals(read(expected))
    with contextlib.suppress(ConfigError, FileNotFoundError):
        params = generate.load_run(workdir, run_id)[2]
        assert small.same_bits(params, generate.load_run(expected, run_id)[2])


def gone_on_with(workdir: Path, expected: Path) -> str:
    problems = []
    try:
        events = small.train(small.config(), workdir)
    except ConfigError as error:
        problems = error.problems
    if problems:
        assert all(len(str(problem).splitlines()) == 1 for problem in problems)
        return REFUSED
    assert isinstance(events[-1], Finished)
    assert small.differing(workdir, expected) == []
    return EQUAL


@pytest.mark.parametrize(("begun", "faults"), [("finished", 2 * FAULTS), ("interrupted_sweep", FAULTS // 4)])
def test_no_fault_in_any_file_of_a_work_directory_changes_a_number(
    begun, faults, finished, tmp_path, request, monkeypatch
):
    """1,000 in a finished sweep, 125 in one under way. A fault that is taken back leaves a sweep that goes on."""
    compile_stack, programs = compiling.compile_stack, {}

    def compiled_once(sweep, stack, stack_plan, mesh):
        if stack_plan.slots not in programs:
            programs[stack_plan.slots] = compile_stack(sweep, stack, stack_plan, mesh)
        return programs[stack_plan.slots]

    monkeypatch.setattr(compiling, "compile_stack", compiled_once)
    original = finished if begun == "finished" else request.getfixturevalue(begun)
    seed = random.randrange(10**6)
    rng, outcomes = random.Random(seed), collections.Counter()
    for number in range(faults):
        workdir = shutil.copytree(original, tmp_path / "copy")
        kinds = files_by_kind(workdir)
        kind = rng.choice(sorted(kinds))
        path = rng.choice(kinds[kind])
        whole, done = path.read_bytes(), rng.choice(HARMS)(path, rng)
        try:
            if begun == "finished":
                looked_at(workdir, finished, "d2800-s1")
            outcome = gone_on_with(workdir, finished)
            if outcome == REFUSED and number % 5 == 0:
                path.write_bytes(whole)
                assert gone_on_with(workdir, finished) == EQUAL
        except Exception:
            print(f"seed {seed}, fault {number}: {path.relative_to(workdir)}: {done}")
            raise
        outcomes[kind, outcome] += 1
        shutil.rmtree(workdir)
    print(*(f"{kind}: {outcome}: {count}" for (kind, outcome), count in sorted(outcomes.items())), sep="\n")
    assert sum(outcomes.values()) == faults
    assert {outcome for _, outcome in outcomes} == {REFUSED, EQUAL}
