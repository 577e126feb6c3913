"""AdamW with clipping, as the optax chain of one run."""

from collections.abc import Collection

import jax
import optax

from vsweep.models.params import Role, Specs, flat_mask
from vsweep.models.target import CPU, Target

DECAYED = frozenset(Role)  # every parameter decays


def build(
    specs: Specs,
    *,
    lr,
    weight_decay,
    clip,
    beta1,
    beta2,
    epsilon,
    decayed: Collection[Role] = DECAYED,
    target: Target = CPU,
) -> optax.GradientTransformation:
    """Clipping by the run's own global norm, then AdamW on the parameters that `specs` describes.

    All scalars may be traced. The weights of the roles in `decayed` decay by
    lr x weight_decay a step (Loshchilov & Hutter 2019, algorithm 2, with alpha as the learning rate of both terms).

    The state is one flat vector a moment: fewer, longer operations than one a tensor, and a third less to compile.
    """
    if target.is_gpu:
        return _decaying_apart(specs, lr, weight_decay, clip, decayed, optax.scale_by_adam(beta1, beta2, epsilon))
    if not decayed >= DECAYED:
        weight_decay = weight_decay * flat_mask(specs, decayed)
    adamw = optax.adamw(lr, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay)
    return optax.flatten(optax.chain(optax.clip_by_global_norm(clip), adamw))


def _decaying_apart(specs: Specs, lr, weight_decay, clip, decayed: Collection[Role], adam):
    """The same up to rounding, with the same state. Parameters decay one by one, and are never joined.

    As parts of one vector each of them is needed until the last is updated. So XLA copies them all, every step, and on
    a GPU each copy is a kernel.
    """
    inner = optax.chain(adam, optax.identity(), optax.scale_by_learning_rate(lr))
    flat = optax.flatten(optax.chain(optax.clip_by_global_norm(clip), inner))

    def update(grads, state, params):
        updates, state = flat.update(grads, state, params)

        def decay(spec, update, param):
            return update - lr * weight_decay * param if spec.role in decayed else update

        return jax.tree.map(decay, specs, updates, params), state

    return optax.GradientTransformation(flat.init, update)
