"""Under muP nothing that a model computes grows or shrinks with its width; in the standard parametrization it does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vsweep.models import by_name
from vsweep.models.base import ModelShape
from vsweep.optim import by_name as optimizers

VOCABULARY, POSITIONS, BATCH, SEEDS, STEPS = 11, 6, 16, 4, 10
WIDTHS = (16, 32, 64, 128)
ADAMW = {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-12}


def shape_of(
    width: int,
    parametrization: str,
    base_width: int = 16,
    *,
    tied: bool = True,
    layers: int = 1,
    head_dim: int = 4,
    family: str = "transformer",
    **options,
) -> ModelShape:
    if parametrization == "mup":
        options |= {"parametrization": "mup", "base_width": base_width}
    return ModelShape(
        VOCABULARY, POSITIONS, width, layers, head_dim, 4, tied, family=family, options=tuple(options.items())
    )


def sizes(shape: ModelShape, name: str, lr: float, options: dict) -> dict[str, float]:
    """Mean absolute change of activations over 10 steps, by name, and of the logits; a mean over seeds."""
    model = by_name.build(shape)
    optimizer = optimizers.build(name, model.specs, options, lr=lr, weight_decay=0.0, clip=np.inf)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, POSITIONS + 1))
    inputs, labels = tokens[:, :-1], tokens[:, 1:]

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(model.apply(params, inputs), labels).mean()

    def one_step(_, state):
        params, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def of_seed(key):
        start = model.init(key)
        end, _ = jax.lax.fori_loop(0, STEPS, one_step, (start, optimizer.init(start)))
        before, after = (
            {"features": model.features(params, inputs)[0], "logits": model.apply(params, inputs)}
            for params in (start, end)
        )
        return {name: jnp.abs(after[name]).mean() for name in after} | {
            f"change of {name}": jnp.abs(after[name] - before[name]).mean() for name in after
        }

    found = jax.jit(jax.vmap(of_seed))(jax.random.split(jax.random.key(0), SEEDS))
    return {name: float(size.mean()) for name, size in found.items()}


def slopes(parametrization: str, name: str, lr: float, options: dict, **shape) -> dict[str, float]:
    """Of the logarithm of each size on the logarithm of the width."""
    found = [sizes(shape_of(width, parametrization, **shape), name, lr, options) for width in WIDTHS]
    return {
        each: float(np.polyfit(np.log(WIDTHS), [np.log(at_width[each]) for at_width in found], 1)[0])
        for each in found[0]
    }


def test_activations_after_ten_steps_are_flat_in_the_width_under_mup_alone():
    standard, mup = (slopes(each, "adamw", 2e-2, ADAMW) for each in ("standard", "mup"))
    print(standard, mup)
    assert max(map(abs, mup.values())) < 0.1
    assert standard["change of logits"] > 0.3
