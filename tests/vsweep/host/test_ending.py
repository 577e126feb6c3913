"""Exit statuses of commands."""

import errno
import os
from pathlib import Path

import pytest

from vsweep.atomic import CannotWrite
from vsweep.config.problems import ConfigError, Problem
from vsweep.host import ending
from vsweep.host.interruption import Leave


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Leave("SIGTERM received"), os.EX_TEMPFAIL, "SIGTERM received: nothing was written"),
        (CannotWrite(errno.EIO, "broken", Path("x.csv"), 0), os.EX_IOERR, "cannot write x.csv: broken"),
        (ConfigError([Problem("--out", "not a table")]), 2, "--out: not a table"),
        (FileNotFoundError("no such file"), 2, "no such file"),
    ],
)
def test_what_goes_wrong_has_a_status_and_a_line(error, status, said, capsys):
    assert ending.status(raising(error), "nothing was written") == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(said)
    assert told.err.count("\n") == 1


def test_what_goes_well_is_0_and_a_mistake_of_the_program_is_raised(capsys):
    assert ending.status(lambda: None, "nothing was written") == 0
    with pytest.raises(ZeroDivisionError):
        ending.status(raising(ZeroDivisionError()), "nothing was written")
    assert capsys.readouterr().err == ""
