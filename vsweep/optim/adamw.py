"""AdamW with clipping, as the optax chain of one run."""

from collections.abc import Collection

import optax

from vsweep.models.params import Role, Specs, flat_mask

DECAYED = frozenset(Role)  # every parameter decays


def build(
    specs: Specs, *, lr, weight_decay, clip, beta1, beta2, epsilon, decayed: Collection[Role] = DECAYED
) -> optax.GradientTransformation:
    """Clipping by the run's own global norm, then AdamW on the parameters that `specs` describes.

    All scalars may be traced. The weights of the roles in `decayed` decay by
    lr x weight_decay a step (Loshchilov & Hutter 2019, algorithm 2, with alpha as the learning rate of both terms).

    The state is one flat vector a moment: fewer, longer operations than one a tensor, and a third less to compile.
    """
    if not decayed >= DECAYED:
        weight_decay = weight_decay * flat_mask(specs, decayed)
    adamw = optax.adamw(lr, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay)
    return optax.flatten(optax.chain(optax.clip_by_global_norm(clip), adamw))
