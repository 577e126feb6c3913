"""live.json: what the training tells whoever looks, and that it never costs a sweep."""

import time
from pathlib import Path

import pytest

import vsweep
from tests.vsweep import small
from vsweep.host.progress import SilentProgress
from vsweep.schema import LIVE_FILE
from vsweep.serve import live_file
from vsweep.serve.live_file import LiveProgress
from vsweep.tables import read_curves
from vsweep.train.events import Boundary


def progress(workdir: Path) -> LiveProgress:
    display = LiveProgress(SilentProgress())
    display.begin(workdir)
    return display


def status(**values) -> dict:
    return {"done": 0.5, "runs": "1 of 2", "tokens_per_s": 1.0, "eta_s": 2.0, **values}


def test_a_sweep_tells_its_newest_evaluations(tmp_path):
    values = small.config(sweep={"budget": [700, 1400], "seed": [0]})
    display = progress(tmp_path)
    with display:
        events = vsweep.run_sweep(values, tmp_path, progress=display)
        small.skip_to(events, Boundary)
        display._write(now=True)
        live = live_file.read(tmp_path)
        list(events)
    assert (live["doing"], live["batch_size"], live_file.is_alive(live)) == ("training", 8, True)
    assert 0 < live["step"] <= live["steps"]
    curves = read_curves(tmp_path)
    for run_id, points in live["points"].items():
        stored = curves[curves["run_id"] == run_id].set_index("steps")["val_loss"]
        assert [stored[step] for step, _, val_loss, *_ in points] == [point[2] for point in points]
        assert len(points) > 1
    assert live["points"].keys() <= set(curves["run_id"])
    assert not (tmp_path / LIVE_FILE).exists()


def test_a_display_is_asked_as_before(tmp_path):
    class Told(SilentProgress):
        def __init__(self):
            self.calls = []

        def update(self, stack, **values):
            self.calls.append((stack, values))

    told = Told()
    display = LiveProgress(told)
    display.update("w4", **status())
    assert told.calls == [("w4", status())]
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_no_reason_to_stop(tmp_path):
    display = progress(tmp_path / "not there")
    with display:
        display.compiling("w4")
        display.update("w4", **status())


def test_a_process_that_never_trained_leaves_anothers_file(tmp_path):
    with progress(tmp_path) as training:
        training.compiling("w4")
        with progress(tmp_path) as refused:
            refused.drawing()
        assert (tmp_path / LIVE_FILE).exists()
    assert not (tmp_path / LIVE_FILE).exists()


def test_no_link_is_followed_when_it_is_written(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (tmp_path / live_file.TEMPORARY).symlink_to(kept)
    (tmp_path / LIVE_FILE).symlink_to(kept)
    progress(tmp_path).compiling("w4")
    assert kept.read_text() == "mine"


def test_only_the_newest_points_are_kept(tmp_path):
    display = progress(tmp_path)
    for step in range(20):
        point = {"steps": step, **dict.fromkeys(live_file.MEASURES, 1.0)}
        display.measured("w4", step=step, steps=20, batch_size=8, news={"w4-s0": point})
    display.measured("w4", step=20, steps=20, batch_size=8, news={"w4-s1": {"diverged_at_step": 7}})
    display.update("w4", **status())
    live = live_file.read(tmp_path)
    assert [point[0] for point in live["points"]["w4-s0"]] == list(range(12, 20))
    assert live["diverged"] == {"w4-s1": 7}


@pytest.mark.parametrize(("age_s", "alive"), [(10, True), (10_000, False)])
def test_another_machine_is_judged_by_its_last_sign(age_s, alive):
    assert live_file.is_alive({"host": "elsewhere", "pid": 1, "time": time.time() - age_s}) is alive
