import pytest

from vsweep.cli.designing import options
from vsweep.config.problems import ConfigError


def problems(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        options.read(arguments)
    return [str(problem) for problem in error.value.problems]


def test_numbers_are_read(tmp_path):
    file = str(tmp_path / "mine.py")
    found = options.read(["--flops", "1e14", "--levels", "4", "--assume", "hoffmann", "--out", file])
    assert (found.flops, found.levels, found.assume, found.out.stem) == (1e14, 4, "hoffmann", "mine")
    assert found.sizes is None


def test_every_mistake_is_told_at_once():
    told = problems("--flops", "lots", "--kind", "gird", "--levels", "2.5", "--seed-spread", "0", "--out", "a/b.txt")
    for flag in ("--flops", "--kind", "--levels", "--seed-spread", "--out"):
        assert any(line.startswith(flag) for line in told)
    assert any("did you mean grid?" in line for line in told)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--flops: not given"),
        (["--flops", "1e9", "--vocabulary", "9"], "--vocabulary: goes with --positions"),
        (
            ["--flops", "1e9", "--vocabulary", "9", "--positions", "9", "--config", "x"],
            "--vocabulary: nothing reads it",
        ),
        (["runs/x", "--flops", "1e9", "--levels", "3"], "--levels: nothing reads it; allowed: without WORKDIR"),
        (["--flops", "1e9", "--assume", "hoffmann", "--tokens-per-param", "9"], "--tokens-per-param: nothing reads it"),
        (["--flops", "1e9", "--min-flops", "1e5", "--kind", "grid"], "--min-flops: nothing reads it"),
        (["--flops", "1e9", "--loss-convention", "val_loss"], "--loss-convention: nothing reads it"),
        (["--flops", "1e9", "--vocabulary", "9", "--positions", "9", "--out", "a.py"], "--out: a config needs a task"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, told):
    assert any(told in line for line in problems(*arguments))


def test_a_file_is_never_overwritten(tmp_path):
    (tmp_path / "mine.csv").write_text("mine")
    assert "is there already" in problems("--flops", "1e9", "--out", str(tmp_path / "mine.py"))[0]
