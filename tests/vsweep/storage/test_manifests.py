"""Manifests of checkpoints: of which sweep they are, and what was crafted is a problem and no error."""

import json

import pytest

from tests.vsweep.storage.conftest import arrays, files_of
from vsweep.storage import checkpoint
from vsweep.storage.checkpoint import CheckpointFolder, CorruptCheckpoints, Origin
from vsweep.storage.workdir import json_sha256

OWN = Origin("a" * 64, "w4", "b" * 64)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (Origin("c" * 64, "w4", "b" * 64), "of another sweep"),
        (Origin("a" * 64, "w8", "b" * 64), "of another stack"),
        (Origin("a" * 64, "w4", "d" * 64), "of another plan"),
        (None, "of another sweep"),
    ],
)
def test_a_checkpoint_of_another_origin_is_never_used(tmp_path, other, told):
    CheckpointFolder(tmp_path, other).save(10, arrays(10), {})
    assert CheckpointFolder(tmp_path, OWN).problems(10) == [told]
    with pytest.raises(CorruptCheckpoints, match=f"(?s)no checkpoint can be trusted; .*00000010: {told}"):
        CheckpointFolder(tmp_path, OWN).latest()
    CheckpointFolder(tmp_path, OWN).save(20, arrays(20), {})
    assert CheckpointFolder(tmp_path, OWN).latest() == 20


def test_a_manifest_of_an_earlier_version_says_so(copied):
    sign(copied, 20, remove="origin")
    assert copied.problems(20) == [
        "unreadable manifest (ValueError: of an earlier vsweep, it does not say which sweep it belongs to)"
    ]


def sign(folder: CheckpointFolder, step: int, /, *, remove: str = "", **values) -> None:
    """Changes a manifest and makes its own checksum right again, as whoever crafts a directory can."""
    path = folder.folder / f"{step:08d}{checkpoint.MANIFEST}"
    manifest = {**json.loads(path.read_text()), **values}
    for name in (remove, "own_sha256"):
        manifest.pop(name, None)
    path.write_text(json.dumps({**manifest, "own_sha256": json_sha256(manifest)}))


CRAFTED = {
    "checksums as a list": {"sha256": ["x"]},
    "checksums as a number": {"sha256": 3},
    "no checksums": {"sha256": None},
    "a checksum that is null": {"sha256": {"records/metadata": None}},
    "an empty list of files": {"sha256": {}},
    "a NUL in a name": {"sha256": {"a\0b": "0" * 64}},
    "a name that leads outside": {"sha256": {"../../../../../../etc/passwd": "0" * 64}},
    "an absolute name": {"sha256": {"/etc/passwd": "0" * 64}},
    "names as a text": {"names": "run-20"},
    "names that are none": {"names": [3]},
    "an origin as text": {"origin": "here"},
    "a step as text": {"step": "20"},
    "another step": {"step": 21},
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_crafted_manifest_is_a_problem_and_no_error(copied, kind):
    sign(copied, 20, **CRAFTED[kind])
    assert copied.problems(20)
    assert copied.latest() == 10
    assert all(len(problem.splitlines()) == 1 for problem in copied.problems(20))
    copied.prune()
    assert copied.steps() == [10, 20]


def test_a_manifest_that_is_nested_without_end_is_a_problem_and_no_error(copied):
    (copied.folder / "00000020.manifest.json").write_text("[" * 200_000)
    assert copied.problems(20) == ["unreadable manifest (ValueError: nested too deeply)"]
    assert copied.names(20) == []


def test_a_file_that_no_manifest_lists_and_a_link_are_problems(copied, tmp_path):
    folder = copied.folder / "00000020"
    (folder / "arrays" / "more").write_text("x")
    assert copied.problems(20) == ["not in the manifest: 'arrays/more'"]
    (folder / "arrays" / "more").unlink()
    victim = files_of(copied, 20)[0]
    victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(tmp_path / "elsewhere")
    assert copied.problems(20) == [f"no plain file: {str(victim.relative_to(folder))!r}"]
