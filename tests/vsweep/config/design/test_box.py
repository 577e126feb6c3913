import numpy as np
import pytest

from vsweep.config.design import box
from vsweep.config.problems import ConfigError
from vsweep.config.sweep_config import from_dict

BOX = {"lr": [1e-3, 1e-1, "log"], "weight_decay": [0, 0.01], "warmup_steps": [2, 5]}


def design(**options):
    return from_dict({"sweep": {"random": BOX, "random_points": 16, **options}}).design


@pytest.mark.parametrize("method", ["sobol", "uniform", "latin_hypercube"])
def test_points_fill_the_box_evenly_in_each_scale(method):
    points = box.points(design(random_method=method, random_points=256))
    lr = np.log10([point["lr"] for point in points])
    assert lr.min() >= -3
    assert lr.max() <= -1
    assert np.histogram(lr, bins=4)[0] == pytest.approx([64] * 4, abs=25)
    assert np.mean([point["weight_decay"] for point in points]) == pytest.approx(0.005, abs=0.001)
    assert {point["warmup_steps"] for point in points} == {2, 3, 4, 5}
    assert [point["point"] for point in points] == list(range(256))


@pytest.mark.parametrize("method", ["sobol", "uniform"])
@pytest.mark.parametrize("count", [1, 5, 16, 17])
def test_the_first_points_stay_when_points_are_added(method, count):
    few, many = (box.points(design(random_method=method, random_points=n)) for n in (count, 40))
    assert many[:count] == few


def test_another_seed_draws_other_points():
    assert box.points(design()) != box.points(design(random_seed=1))


def test_a_box_survives_json():
    config = from_dict({"sweep": {"random": BOX, "random_points": 4, "random_seed": 7}})
    assert from_dict(config.to_dict()) == config
    assert config.to_dict()["sweep"] == {
        "random": {"lr": [1e-3, 1e-1, "log"], "weight_decay": [0.0, 0.01, "linear"], "warmup_steps": [2, 5, "linear"]},
        "random_points": 4,
        "random_seed": 7,
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"random": {"lr": [0.1, 0.01, "log"]}}, "sweep.random.lr: no range"),
        ({"random": {"weight_decay": [0, 0.1, "log"]}}, "low above 0, where the scale is log"),
        ({"random": {"lr": [0.1, 0.2, "cubic"]}}, "sweep.random.lr: no range"),
        ({"random": {"lr": [0.1]}}, "sweep.random.lr: no range"),
        ({"random": {"lr": [-0.1, 0.2]}}, "sweep.random.lr: not a valid value - got -0.1"),
        ({"random": {"lrr": [0.1, 0.2]}}, "did you mean lr?"),
        ({"random": {"width": [4, 8]}}, "cannot be drawn: it fixes the shape"),
        ({"random": {"schedule": [4, 8]}}, "sweep.random.schedule: cannot be drawn"),
        ({"random": [1, 2]}, "sweep.random: no box"),
        ({"random_points": 0}, "sweep.random: nothing uses it"),
        ({"random_points": -1}, "sweep.random_points: not a valid value"),
        ({"random_method": "halton"}, "allowed: sobol, uniform, latin_hypercube"),
        ({"random": {}}, "sweep.random_points: nothing uses it"),
        ({"lr": [0.1]}, "sweep.lr: given more than once - got sweep.lr, sweep.random"),
    ],
)
def test_a_bad_box_is_a_problem(options, told):
    with pytest.raises(ConfigError) as caught:
        design(**options)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "sweep",
    [
        {"random": {"lr": [0.0, 0.1, "log"]}, "random_points": 3},
        {"random": {"lr": [0.01, 0.1]}, "random_points": -1},
        {"flops": [-1.0], "flops_convention": "counted"},
    ],
)
def test_a_faulty_option_is_told_alone(sweep):
    with pytest.raises(ConfigError) as caught:
        from_dict({"sweep": sweep})
    assert len(caught.value.problems) == 1
