import jax
import numpy as np
import pytest

from vsweep.models.params import (
    ParamSpec,
    Role,
    count_by_role,
    flat_mask,
    init_params,
    mismatches,
    named,
)

SPECS = {
    "out": {"kernel": ParamSpec((40, 30), Role.HIDDEN, deviation=0.5), "bias": ParamSpec((40,), Role.BIAS)},
    "norm": {"scale": ParamSpec((30,), Role.NORM, constant=1.0)},
    "embed": ParamSpec((50, 30), Role.EMBEDDING, deviation=2.0),
}


@pytest.fixture(scope="module")
def params():
    return init_params(SPECS, jax.random.key(0))


def test_initial_values_have_their_shape_and_deviation(params):
    assert mismatches(SPECS, params) == []
    assert params["embed"].std() == pytest.approx(2.0, rel=0.1)
    assert params["out"]["kernel"].std() == pytest.approx(0.5, rel=0.1)
    assert np.all(params["out"]["bias"] == 0)
    assert np.all(params["norm"]["scale"] == 1)


def test_matrices_share_one_draw_in_leaf_order(params):
    draw = jax.random.normal(jax.random.key(0), (50 * 30 + 40 * 30,))
    assert np.array_equal(params["embed"], 2.0 * draw[: 50 * 30].reshape(50, 30))
    assert np.array_equal(params["out"]["kernel"], 0.5 * draw[50 * 30 :].reshape(40, 30))


def test_counts_are_told_apart_by_role():
    assert count_by_role(SPECS) == {Role.HIDDEN: 1200, Role.BIAS: 40, Role.NORM: 30, Role.EMBEDDING: 1500}


def test_a_mask_follows_the_order_of_flat_parameters():
    numbers = jax.tree.map(lambda spec: np.full(spec.shape, spec.role is Role.HIDDEN), SPECS)
    flat, _ = jax.flatten_util.ravel_pytree(numbers)
    assert np.array_equal(flat_mask(SPECS, {Role.HIDDEN}), flat)


def test_names_are_paths():
    assert set(named(SPECS)) == {"out/kernel", "out/bias", "norm/scale", "embed"}


def test_foreign_parameters_are_named(params):
    other = params | {"embed": np.zeros((50, 31)), "extra": {}, "norm": {"scale": [1.0]}}
    found = mismatches(SPECS, other)
    assert [problem.partition(":")[0] for problem in found] == ["norm/scale", "embed", "extra"]
    assert found[1] == "embed: got (50, 31); allowed: (50, 30)"
    assert len(mismatches(SPECS, "no tree")) == 4
