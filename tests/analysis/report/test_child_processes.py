import io
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import BUDGETS, Planted, write_planted
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.source import Convention, Refusal, Source
from vsweep.analysis.report import child_processes, exact_json
from vsweep.analysis.sections import law, optimum, study_loss
from vsweep.analysis.sections.base import LossStudy
from vsweep.analysis.sections.checks import forecast

ROOT = Path(__file__).parents[3]
CONVENTIONS = [Convention("answer_loss"), Convention("val_loss")]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    """A sweep as small as every approach can be fitted to."""
    planted = Planted(widths=(4, 8, 12, 16), budgets=BUDGETS[:4], seeds=(0, 1), noise=0.1)
    return load(write_planted(tmp_path_factory.mktemp("small"), planted))


@pytest.fixture(scope="module")
def study(source) -> LossStudy:
    return study_loss(source, CONVENTIONS[0], bootstrap=0)


def test_study_of_a_child_is_bit_identical(source):
    found = []
    for processes in (0, 1):
        with child_processes.studying(source, CONVENTIONS[:1], 20, processes) as studies:
            found.append(studies())
    assert law.law_of(found[0][0]) is not None
    for here, there in zip(*found, strict=True):
        assert here.convention == there.convention
        for one, other in zip(optimum.approaches(here), optimum.approaches(there), strict=True):
            assert one.quantities == other.quantities
            assert repr(one.uncertainty) == repr(other.uncertainty)
        assert repr(here.result(forecast.SECTION)) == repr(there.result(forecast.SECTION))


def test_failure_of_a_child_is_raised(source, monkeypatch, capfd):
    monkeypatch.setattr(child_processes, "CHILD", [sys.executable, "-c", "raise KeyError('weight')"])
    unknown = Convention("answer_loss", size="weight")
    with (
        pytest.raises(KeyError, match="weight"),
        child_processes.studying(source, [unknown], 20, 1) as studies,
    ):
        studies()
    assert "Traceback" not in capfd.readouterr().err


def test_what_a_child_prints_beside_is_no_answer(monkeypatch, capfd):
    """Else the answer to one question would be taken for that to the next."""
    monkeypatch.setattr(child_processes, "study_loss", lambda source, convention, bootstrap: print("noise") or source)
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(exact_json.dumps((at, None, 0)) + "\n" for at in (1, 2))))
    child_processes.answer()
    answered, complained = capfd.readouterr()
    assert [exact_json.loads(line) for line in answered.splitlines()] == [1, 2]
    assert complained == "noise\nnoise\n"


def kill(child: subprocess.Popen) -> None:
    os.kill(child.pid, signal.SIGKILL)  # as the kernel does where memory has run out


HARMS = {
    "was killed, most likely because memory ran out": (child_processes.CHILD, kill),
    "was ended by signal 15": (child_processes.CHILD, subprocess.Popen.terminate),
    "could not be started (No such file or directory)": (["/no/python"], None),
    "was cut off in its answer": ([sys.executable, "-c", 'print(\'{"kind": "dataclass", "name\')'], None),
    "failed (MemoryError: 9 GB)": ([sys.executable, "-c", "raise MemoryError('9 GB')"], None),
    "failed (status 3)": ([sys.executable, "-c", "raise SystemExit(3)"], None),
}


@pytest.mark.parametrize("reason", HARMS)
def test_study_without_answer_is_made_here(reason, source, study, monkeypatch, caplog, capfd):
    program, harm = HARMS[reason]
    started, popen = [], subprocess.Popen

    def harmed(*arguments, **keywords):
        started.append(popen(*arguments, **keywords))
        if harm:
            harm(started[-1])
        return started[-1]

    monkeypatch.setattr(child_processes, "CHILD", program)
    monkeypatch.setattr(subprocess, "Popen", harmed)
    with child_processes.studying(source, CONVENTIONS[:1], 0, 1) as studies:
        assert studies() is studies()  # and made once
    assert exact_json.dumps(studies()[0]) == exact_json.dumps(study)
    told = f"the process for answer_loss {reason}; its study is made in this one instead"
    assert [told in record.getMessage() for record in caplog.records] == [True]
    assert "Traceback" not in capfd.readouterr().err
    assert all(child.returncode is not None for child in started)  # waited for: no zombie


def test_one_child_studies_several_losses(source, monkeypatch):
    started, popen = [], subprocess.Popen

    def remembered(*arguments, **keywords):
        started.append(popen(*arguments, **keywords))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remembered)
    with child_processes.studying(source, CONVENTIONS, 0, 1) as studies:
        assert [study.convention for study in studies()] == CONVENTIONS
    assert [child.returncode for child in started] == [-9]  # it waited for another question


def test_answers_stay_after_a_child_dies(source, study, monkeypatch, caplog):
    """Of two questions it answers the first one; more complaints than a pipe holds stop nothing."""
    twice = f"{child_processes.CHILD[-1][: -len('answer()')]}"
    dies = "import sys; sys.stderr.write('x' * 200_000); sys.stdin = [sys.stdin.readline()]; "
    program = [*child_processes.CHILD[:-1], f"{dies}{twice}answer(); raise MemoryError('9 GB')"]
    monkeypatch.setattr(child_processes, "CHILD", program)
    with child_processes.studying(source, CONVENTIONS, 0, 1) as studies:
        assert exact_json.dumps(studies()[0]) == exact_json.dumps(study)
        assert studies()[1].convention == CONVENTIONS[1]
    assert [record.getMessage().split("; ")[0] for record in caplog.records] == [
        "analysis: the process for val_loss failed (MemoryError: 9 GB)"
    ]


def test_studies_are_made_here_without_threads(source, monkeypatch, caplog):
    def full(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    with child_processes.studying(source, CONVENTIONS, 0, 2) as studies:
        assert [study.convention for study in studies()] == CONVENTIONS
    assert caplog.text.count("could not be started (can't start new thread)") == 2


def test_children_end_after_an_error(source, monkeypatch):
    """Ctrl-C during an analysis: nothing goes on in the background."""
    monkeypatch.setattr(child_processes, "CHILD", [sys.executable, "-c", "import time; time.sleep(600)"])
    started, popen = [], subprocess.Popen

    def remembered(*arguments, **keywords):
        started.append(popen(*arguments, **keywords))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remembered)

    def interrupted():
        with child_processes.studying(source, CONVENTIONS, 20, 1):
            while not started:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [child.returncode for child in started] == [-9]


def test_child_ignores_its_start_folder(source, tmp_path, monkeypatch):
    for name in ("numpy", "vsweep", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path] + [str(Path(__file__).parents[3])])
    monkeypatch.chdir(tmp_path)
    with child_processes.studying(source, CONVENTIONS[:1], 0, 1) as studies:
        assert len(studies()) == 1
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 3, -0.0, 1 / 3, 5e-324, math.inf, "ä\n", (1, (2.5, "x")), [None], {"a": 1.5, 2: (3,)}),
        *(Path("a/b"), np.float64(0.1), np.int32(7), np.bool_(True), Refusal("method", "reason"), Convention("loss")),
    ],
)
def test_a_value_comes_back_as_it_was(value):
    again = exact_json.loads(exact_json.dumps(value))
    assert repr(again) == repr(value)
    assert type(again) is type(value)


def test_arrays_and_tables_round_trip():
    bits = np.array([0x7FF8000000000001, 0x3FF0000000000000, 0x8000000000000000], np.uint64)
    arrays = [bits.view(np.float64), np.arange(6).reshape(2, 3), np.zeros((0, 2)), np.array([True, False])]
    for array in arrays:
        again = exact_json.loads(exact_json.dumps(array))
        assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())
    table = pd.DataFrame({"x": [1.0, math.nan], "n": [1, 2], "name": ["a", None], "any": [None, (1, 2)]}, index=[5, 3])
    table["count"] = pd.array([1, None], dtype="Int64")
    again = exact_json.loads(exact_json.dumps(table))
    pd.testing.assert_frame_equal(again, table, check_exact=True)


def test_a_study_comes_back_as_it_was(source):
    study = study_loss(source, CONVENTIONS[0], bootstrap=20)
    for value in (source, study):
        text = exact_json.dumps(value)
        assert exact_json.dumps(exact_json.loads(text)) == text
        assert type(exact_json.loads(text)) is type(value)


def test_json_makes_nothing_that_is_not_known():
    for text in ('{"kind": "dataclass", "name": "Popen", "of": []}', '{"kind": "call"}', '{"a": 1}'):
        with pytest.raises(KeyError):
            exact_json.loads(text)
    with pytest.raises(TypeError, match="not known to exact_json"):
        exact_json.dumps(subprocess.Popen)


@pytest.mark.parametrize("question", ["[", None])
def test_orphaned_child_ends_silently(question, source):
    """In the middle of the question, or before the answer."""
    asked = exact_json.dumps((source, CONVENTIONS[0], 0)) if question is None else question
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(child_processes.CHILD, **pipes, env=environment, text=True) as child:
        child.stdout.close()
        child.stdin.write(asked)
        child.stdin.close()
        assert child.stderr.read() == ""
    assert child.returncode == 1
