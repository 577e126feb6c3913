"""Learning rates and weight decay under muP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.vsweep.models.test_mup import shape_of, slopes
from vsweep.config import fields
from vsweep.models import by_name as models
from vsweep.optim import by_name

M = 4  # width / base width
OPTIONS = {  # of each built-in optimizer, at their defaults
    name: {
        field.name: field.default
        for field in fields.of_section("optimizer", name).values()
        if field.of and field.name not in by_name.CORE
    }
    for name in fields.OPTIMIZERS
}
SMALLER = {  # learning rates of matrices and of all else, relative to the base
    "adamw": (1 / M, 1),
    "adam": (1 / M, 1),
    "lion": (1 / M, 1),
    "sgd": (1, M),
    "muon": (M**-0.5, 1),
    "adafactor": (M**-0.5, 1),
}


def update(name: str, specs, *, weight_decay: float = 0.0, clip: float = np.inf, **options):
    """Of random parameters by random gradients: the first update, and the parameters."""
    optimizer = by_name.build(name, specs, {**OPTIONS[name], **options}, lr=0.5, weight_decay=weight_decay, clip=clip)
    rng = np.random.default_rng(0)
    params, grads = (
        jax.tree.map(lambda spec: jnp.asarray(rng.normal(size=spec.shape), jnp.float32), specs) for _ in range(2)
    )
    return optimizer.update(grads, optimizer.init(params), params)[0], params


def specs_of(parametrization: str, base_width: int = 4, **options):
    return models.param_specs(shape_of(16, parametrization, base_width, tied=False, **options))


@pytest.mark.parametrize("name", fields.OPTIMIZERS)
def test_each_role_has_the_learning_rate_of_the_table(name):
    standard, _ = update(name, specs_of("standard"))
    mup, _ = update(name, specs_of("mup"))
    matrix, other = SMALLER[name]
    roles = {
        "embed": other,
        "positions": other,
        "head": other,
        "final_norm": other,
        "attention_0": matrix,
    }
    for part, factor in roles.items():
        for scaled, unscaled in zip(jax.tree.leaves(mup[part]), jax.tree.leaves(standard[part]), strict=True):
            assert np.allclose(scaled, factor * unscaled, rtol=1e-5, atol=1e-7), part
    assert np.allclose(mup["mlp_0"]["up"]["bias"], other * standard["mlp_0"]["up"]["bias"], rtol=1e-5)


def test_adafactor_without_parameter_scale_is_adam_like():
    standard, _ = update("adafactor", specs_of("standard"), scale_by_parameter=False)
    mup, _ = update("adafactor", specs_of("mup"), scale_by_parameter=False)
    kernels = (found["attention_0"]["out"]["kernel"] for found in (mup, standard))
    assert np.allclose(*(kernel * factor for kernel, factor in zip(kernels, (M, 1), strict=True)), rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in fields.OPTIMIZERS if name != "adam"])
def test_weights_decay_by_the_learning_rate_of_the_base(name):
    """By 0.5 x 0.1 of themselves, whatever their own learning rate is: also in SGD, where decay is in the gradient."""
    specs = specs_of("mup")
    with_decay, params = update(name, specs, weight_decay=0.1)
    without, _ = update(name, specs)
    for one, other, param in zip(*map(jax.tree.leaves, (with_decay, without, params)), strict=True):
        assert np.allclose(one - other, -0.05 * param, atol=1e-5)


def test_layers_learn_slower_by_the_root_of_their_number():
    flat, _ = update("adamw", specs_of("mup", layers=2))
    deep, _ = update("adamw", specs_of("mup", base_layers=1, layers=2))
    assert np.allclose(deep["attention_0"]["out"]["kernel"] * 2**0.5, flat["attention_0"]["out"]["kernel"], rtol=1e-5)
    assert np.allclose(deep["embed"], flat["embed"])


@pytest.mark.parametrize("name", fields.OPTIMIZERS)
def test_at_the_base_width_updates_are_the_standard_ones_bit_for_bit(name):
    decay = 0.0 if name == "adam" else 0.1
    standard, _ = update(name, specs_of("standard"), weight_decay=decay, clip=1.0)
    mup, _ = update(name, specs_of("mup", base_width=16), weight_decay=decay, clip=1.0)
    assert all(np.array_equal(one, other) for one, other in zip(*map(jax.tree.leaves, (mup, standard)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "lr"), [("lion", 1e-3), ("adafactor", 1e-2)])
def test_the_logits_change_alike_at_every_width_under_mup_alone(name, lr):
    """A coordinate check at learning rates that suit the optimizer, and from width 64 on.

    Narrower models have noisier steps, so the change falls a little with the width. It does so for adamw as for lion:
    at widths 16, 64, 256 and 768 it was .441, .298, .267, .250 by lion, and .432, .293, .263, .247 by adamw.
    """
    standard, scaled = (slopes(each, name, lr, OPTIONS[name], (64, 256), heads=4) for each in ("standard", "mup"))
    assert abs(scaled["change of logits"]) < 0.15
    assert abs(scaled["change of features"]) < 0.15
    assert standard["change of logits"] > 0.25
