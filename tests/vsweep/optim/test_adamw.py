import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vsweep.models.params import ParamSpec, Role
from vsweep.models.target import CPU, Target
from vsweep.optim import adamw

PEAK = 5e-3
BETAS = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
SPECS = {"a": ParamSpec((3,), Role.BIAS), "b": ParamSpec((2, 2), Role.HIDDEN)}
PARAMS = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
TARGETS = [CPU, Target("cuda", 7)]
GRADS = {"a": jnp.array([3.0, -4.0, 0.0]), "b": jnp.full((2, 2), 0.5)}


def trained(optimizer: optax.GradientTransformation, steps: int) -> dict:
    """PARAMS after some updates with the same gradients."""
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(steps):
        updates, state = optimizer.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("target", TARGETS)
def test_an_update_is_that_of_plain_clipped_adamw(target):
    ours = adamw.build(SPECS, **BETAS, lr=PEAK, weight_decay=0.01, clip=1.0, target=target)
    plain = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(PEAK, weight_decay=0.01))
    one, other = trained(ours, 3), trained(plain, 3)
    assert all(np.allclose(one[name], other[name], rtol=1e-6) for name in PARAMS)


@pytest.mark.parametrize("target", TARGETS)
def test_only_the_chosen_roles_decay(target):
    decay = {"lr": PEAK, "weight_decay": 0.1, "clip": 1.0, "target": target}
    ours = adamw.build(SPECS, **BETAS, **decay, decayed={Role.HIDDEN})
    mask = {"a": False, "b": True}
    plain = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(PEAK, weight_decay=0.1, mask=mask))
    one, other, all_decay = (trained(t, 3) for t in (ours, plain, adamw.build(SPECS, **BETAS, **decay)))
    assert all(np.allclose(one[name], other[name], rtol=1e-6) for name in PARAMS)
    assert not np.allclose(one["a"], all_decay["a"], rtol=1e-6)
    assert np.array_equal(one["b"], all_decay["b"])


def test_a_state_is_the_same_whatever_the_device():
    """So a sweep that began on one kind of device goes on on another."""
    states = [
        adamw.build(SPECS, **BETAS, lr=PEAK, weight_decay=0.1, clip=1.0, target=target).init(PARAMS)
        for target in TARGETS
    ]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    assert [leaf.shape for leaf in jax.tree.leaves(states[0])] == [leaf.shape for leaf in jax.tree.leaves(states[1])]
