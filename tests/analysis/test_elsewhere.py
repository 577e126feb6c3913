import subprocess

import pytest

from analysis import elsewhere
from analysis.points import Convention, load

CONVENTIONS = [Convention("answer_loss"), Convention("val_loss")]


def test_a_study_made_in_another_python_has_the_same_numbers_to_the_last_bit(broken_workdir):
    source, found = load(broken_workdir), []
    for processes in (0, 1):
        with elsewhere.studying(source, CONVENTIONS, 20, processes) as studies:
            found.append(studies())
    for here, there in zip(*found, strict=True):
        assert here.convention == there.convention
        assert [approach.quantities for approach in here.approaches] == [a.quantities for a in there.approaches]
        assert repr([approach.uncertainty for approach in here.approaches]) == repr(
            [approach.uncertainty for approach in there.approaches]
        )
        assert repr(here.forecast) == repr(there.forecast)


def test_a_study_that_fails_in_another_python_fails_here(broken_workdir, capfd):
    unknown = Convention("answer_loss", size="weight")
    with (
        pytest.raises(subprocess.CalledProcessError),
        elsewhere.studying(load(broken_workdir), [unknown], 20, 1) as studies,
    ):
        studies()
    assert "KeyError" in capfd.readouterr().err
