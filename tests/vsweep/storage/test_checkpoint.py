import errno
import gc
import json
import logging
import os
import shutil
from pathlib import Path

import jax
import pytest

from tests.vsweep import small
from tests.vsweep.storage.conftest import RECORDS, arrays, files_of
from tests.vsweep.storage.test_manifests import sign
from vsweep import atomic
from vsweep.atomic import CannotWrite
from vsweep.host import devices
from vsweep.storage import checkpoint
from vsweep.storage.checkpoint import CheckpointFolder, CorruptCheckpoints


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_newest(folder: CheckpointFolder) -> None:
    flip_a_bit(max(files_of(folder, folder.steps()[-1]), key=lambda path: path.stat().st_size))


def test_arrays_come_back_bit_for_bit_in_the_newest_step(copied):
    assert copied.steps() == [10, 20]
    assert copied.latest() == 20
    for step in (10, 20):
        assert small.same_bits(copied.restore(step), arrays(step))
    kinds = [leaf.dtype for leaf in jax.tree.leaves(copied.restore(20))]
    assert kinds == [leaf.dtype for leaf in jax.tree.leaves(arrays(20))]


def test_arrays_come_back_placed_like_the_target_they_are_for(copied, mesh):
    def struct(leaf):
        over = devices.over_slots(mesh) if leaf.ndim and leaf.shape[0] % mesh.size == 0 else devices.replicated(mesh)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=over)

    target = jax.tree.map(struct, arrays(20))
    restored = copied.restore(20, target)
    assert jax.tree.structure(restored) == jax.tree.structure(target)
    assert small.same_bits(jax.device_get(restored), arrays(20))
    assert jax.tree.map(lambda leaf: leaf.sharding, restored) == jax.tree.map(lambda leaf: leaf.sharding, target)


def test_records_and_names_come_back_with_their_step(copied):
    assert copied.records(20) == {**RECORDS, "step": 20}
    assert copied.names(10) == ["run-10"]
    assert copied.names(20) == ["run-20"]


def test_where_nothing_was_saved_there_is_no_step(tmp_path):
    assert CheckpointFolder(tmp_path / "nowhere").steps() == []
    assert CheckpointFolder(tmp_path / "nowhere").latest() is None
    assert not (tmp_path / "nowhere").exists()


def test_a_step_whose_save_was_killed_before_its_manifest_does_not_count_and_is_no_reason_to_warn(copied, caplog):
    for step in (20, 10):
        (copied.folder / f"{step:08d}.manifest.json").unlink()
        (copied.folder / f"{step:08d}.saving").touch()
        assert copied.latest() == (10 if step == 20 else None)
    assert caplog.text == ""


def test_a_step_that_has_lost_its_manifest_is_damaged_and_the_one_before_is_used_with_a_warning(copied, caplog):
    (copied.folder / "00000020.manifest.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert copied.latest() == 10
    assert "00000020: missing manifest" in caplog.text


def test_when_every_manifest_is_lost_that_is_an_error_and_no_silent_start_from_scratch(copied):
    for step in (10, 20):
        (copied.folder / f"{step:08d}.manifest.json").unlink()
    with pytest.raises(CorruptCheckpoints, match=r"(?s)move .* away .*00000020: missing manifest.*00000010: missing "):
        copied.latest()


def test_junk_beside_the_steps_does_not_count(copied):
    for name in ("7", "00000030.orbax-checkpoint-tmp-3", "notes"):
        (copied.folder / name).mkdir()
    (copied.folder / "x.manifest.json").write_text("{}")
    (copied.folder / ".00000030.manifest.json.a1b2").write_text("{")
    assert copied.steps() == [10, 20]
    assert copied.latest() == 20


DAMAGES = {
    "a flipped bit": flip_a_bit,
    "truncation": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptying": lambda path: path.write_bytes(b""),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "deletion": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_any_file_of_a_step_is_found_and_the_step_before_is_used(copied, damage, caplog):
    files = files_of(copied, 20)
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        if not content and damage != "deletion" and damage != "one byte more":
            continue
        DAMAGES[damage](path)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert copied.latest() == 10, path
        assert str(path.relative_to(copied.folder / "00000020")) in caplog.text
        assert copied.problems(10) == []
        path.write_bytes(content)
        assert copied.problems(20) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}"])
def test_a_step_with_a_broken_manifest_is_never_used(copied, content):
    (copied.folder / "00000020.manifest.json").write_bytes(content)
    assert copied.problems(20)
    assert copied.latest() == 10


def test_a_flipped_bit_in_the_checksums_is_found(copied):
    manifest = copied.folder / "00000020.manifest.json"
    text = manifest.read_text()
    for checksum in json.loads(text)["sha256"].values():
        manifest.write_text(text.replace(checksum, checksum[:-1] + ("0" if checksum[-1] != "0" else "1")))
        assert copied.latest() == 10


def test_a_flipped_bit_in_the_names_is_found(copied):
    """Otherwise the parameters of a finished run are there and can no longer be asked for."""
    manifest = copied.folder / "00000020.manifest.json"
    manifest.write_text(manifest.read_text().replace("run-20", "run-21"))
    assert copied.problems(20)


def test_when_every_step_is_damaged_that_is_an_error_that_names_them(copied):
    for step in (10, 20):
        flip_a_bit(files_of(copied, step)[0])
    with pytest.raises(CorruptCheckpoints, match=r"(?s)00000020: changed .*00000010: changed "):
        copied.latest()


def test_an_empty_folder_that_is_named_like_a_later_step_is_told_and_not_used(copied, caplog):
    (copied.folder / "00000099").mkdir()
    with caplog.at_level(logging.WARNING):
        assert copied.latest() == 20
    assert "00000099: missing manifest" in caplog.text


def test_a_manifest_of_another_step_is_not_taken_for_this_one(copied):
    for end in ("", checkpoint.MANIFEST):
        (copied.folder / f"00000020{end}").rename(copied.folder / f"00000040{end}")
    assert copied.problems(40)
    assert copied.latest() == 10


def test_a_folder_that_lies_where_a_step_was_is_not_taken_for_it(copied):
    shutil.rmtree(copied.folder / "00000020")
    (copied.folder / "00000020").mkdir()
    assert copied.latest() == 10


def test_saving_a_step_again_replaces_it(copied):
    copied.save(20, arrays(21), {"again": True}, names=("other",))
    assert copied.steps() == [10, 20]
    assert copied.latest() == 20
    assert small.same_bits(copied.restore(20), arrays(21))
    assert copied.records(20) == {"again": True}
    assert copied.names(20) == ["other"]


def test_pruning_keeps_the_newest_two(copied):
    copied.prune()
    assert copied.steps() == [10, 20]
    copied.save(30, arrays(30), {})
    copied.prune()
    assert copied.steps() == [20, 30]
    assert {path.name for path in copied.folder.iterdir()} == {
        f"{step:08d}{end}" for step in (20, 30) for end in ("", checkpoint.MANIFEST)
    }
    assert small.same_bits(copied.restore(20), arrays(20))


def test_nothing_is_pruned_while_the_newest_steps_are_damaged(copied):
    copied.save(30, arrays(30), {})
    damage_newest(copied)
    copied.prune()
    assert copied.steps() == [10, 20, 30]
    assert copied.latest() == 20
    assert copied.problems(10) == []


def test_pruning_removes_what_killed_saves_left_behind(copied):
    """A timed checkpoint is never at the same step again, so nothing else replaces a half-written one."""
    shutil.copytree(copied.folder / "00000020", copied.folder / "00000015")
    shutil.copytree(copied.folder / "00000020", copied.folder / "00000017.orbax-checkpoint-tmp")
    for step in (15, 17):
        (copied.folder / f"{step:08d}.saving").touch()
    (copied.folder / ".00000015.manifest.json.a1b2c3d4.unfinished").write_text("{")
    (copied.folder / "notes").mkdir()
    copied.prune()
    assert {path.name.partition(".")[0] for path in copied.folder.iterdir()} == {"00000010", "00000020", "notes"}


def failing_save(copied, disk: small.FailingDisk) -> bool:
    """Whether a save of step 30 failed; then it must have left nothing but the steps before, as they were."""
    with disk:
        try:
            copied.save(30, arrays(30), {})
        except CannotWrite as error:
            told = str(error)
        else:
            return False
    assert str(copied.folder / "00000030") in told
    assert os.strerror(disk.error) in told
    assert "run the same command again" in told
    assert {path.name.partition(".")[0] for path in copied.folder.iterdir()} == {"00000010", "00000020"}
    assert copied.latest() == 20
    return True


# Where a call fails, Orbax leaves a coroutine that nobody awaits; it must not be warned of in another test.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("error", "lasting"), [(errno.ENOSPC, True), pytest.param(errno.EIO, False, marks=pytest.mark.slow)]
)
def test_a_disk_that_fails_at_any_call_of_a_save_is_an_error_and_takes_nothing_that_was_there(copied, error, lasting):
    """Python's own calls; tests/slow does the same below Orbax's C++."""
    failed, disk = 0, small.FailingDisk(1, error, lasting=lasting)
    while failing_save(copied, disk) or disk.failed:
        failed += 1
        if copied.steps() == [10, 20, 30]:  # a call that was not needed: making a folder that is there
            assert small.same_bits(copied.restore(copied.latest()), arrays(30))
            copied.folder = Path(shutil.copytree(copied.folder, f"{copied.folder}-{failed}", ignore=of_step_30))
        disk = small.FailingDisk(failed + 1, error, lasting=lasting)
    assert failed > 10
    assert copied.latest() == 30
    assert small.same_bits(copied.restore(30), arrays(30))
    assert not list(copied.folder.glob(f"*{checkpoint.SAVING}"))
    gc.collect()


def of_step_30(folder, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("00000030")]


def test_a_save_goes_on_where_a_full_disk_has_stopped_it_once_there_is_room(copied):
    assert failing_save(copied, small.FailingDisk(8, errno.ENOSPC, lasting=True))
    copied.save(30, arrays(30), {})
    assert copied.latest() == 30
    assert small.same_bits(copied.restore(30), arrays(30))


def test_what_reads_back_differently_is_no_save(copied, monkeypatch):
    original = checkpoint._hashes
    monkeypatch.setattr(checkpoint, "_hashes", lambda folder: dict.fromkeys(original(folder), "0" * 64))
    with pytest.raises(CannotWrite, match="not what was just written: changed "):
        copied.save(30, arrays(30), {})
    assert copied.steps() == [10, 20]


def test_a_file_that_the_disk_cannot_read_any_more_is_damage_and_no_crash(copied, monkeypatch, caplog):
    original = Path.read_bytes

    def read_bytes(path):
        if "00000020" in str(path):
            raise OSError(errno.EIO, "Input/output error")
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert copied.latest() == 10
    assert "(Input/output error)" in caplog.text


FOREIGN = ("2024", "00000015", "00000020-backup", "000000020", "notes", "٢٠٢٤٠١٠١")


def test_nothing_is_removed_that_a_save_has_not_made(copied):
    """Folders of the user's with numbers for names, beside the steps; and one where a step is to be saved."""
    for name in FOREIGN:
        (copied.folder / name).mkdir()
        (copied.folder / name / "thesis.txt").write_text("years of work")
    (copied.folder / "00000030").mkdir()
    (copied.folder / "00000030" / "thesis.txt").write_text("years of work")
    copied.save(30, arrays(30), {})
    copied.prune()
    assert copied.steps() == [20, 30]
    assert small.same_bits(copied.restore(30), arrays(30))
    for name in (*FOREIGN, "00000030.not-ours-1"):
        assert (copied.folder / name / "thesis.txt").read_text() == "years of work"


def test_where_a_step_is_given_up_its_manifest_goes_last_so_that_nothing_is_left_for_ever(copied, monkeypatch):
    copied.save(30, arrays(30), {})

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            copied.prune()
    assert copied.steps() == [10, 20, 30]
    copied.prune()
    assert copied.steps() == [20, 30]


def test_what_cannot_be_restored_is_one_line(copied):
    """Files that are what the manifest says, and no checkpoint: whoever makes both can make that."""
    for path in (copied.folder / "00000020").rglob("*"):
        if path.is_file():
            path.write_text("[" * 200_000)
    sign(copied, 20, sha256=checkpoint._hashes(copied.folder / "00000020"))
    assert copied.latest() == 20
    for read in (copied.restore, copied.records):
        with pytest.raises(CorruptCheckpoints, match="no checkpoint of a sweep - got ") as caught:
            read(20)
        assert len(str(caught.value).splitlines()) == 1


def test_a_file_system_that_cannot_force_data_to_the_disk_is_said_once_and_is_no_error(copied, monkeypatch, caplog):
    def refuse(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    atomic.warn_once.cache_clear()
    monkeypatch.setattr(os, "fsync", refuse)
    copied.save(30, arrays(30), {})
    assert copied.latest() == 30
    assert caplog.text.count("a power cut may lose the newest checkpoint") == 1
