"""The built-in optimizers: functions of the learning rate, the weight decay and their own options, all may be traced.

Each is one of optax. Decay is decoupled (learning rate x weight decay a step), but in `adam` and `sgd` it is a part of
the gradient, as in their usual form.
"""

import jax
import optax
from optax import contrib

from vsweep.models.params import Role, Specs

MUON_UPDATE_RMS = (
    0.2  # as large as AdamW's usual ones, so both take one learning rate (Liu et al. 2025, arXiv:2502.16982)
)


def adam(learning_rate, weight_decay, *, beta1, beta2, epsilon) -> optax.GradientTransformation:
    """Adam with L2 regularisation (Kingma & Ba 2015)."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.adam(learning_rate, b1=beta1, b2=beta2, eps=epsilon)
    )


def sgd(learning_rate, weight_decay, *, momentum, nesterov) -> optax.GradientTransformation:
    """Gradient descent with momentum and L2 regularisation."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov)
    )


def lion(learning_rate, weight_decay, *, beta1, beta2) -> optax.GradientTransformation:
    """Lion (Chen et al. 2023, algorithm 2)."""
    return optax.lion(learning_rate, b1=beta1, b2=beta2, weight_decay=weight_decay)


def adafactor(
    learning_rate, weight_decay, *, decay_rate, clipping_threshold, epsilon, factored_from, scale_by_parameter
) -> optax.GradientTransformation:
    """Adafactor without momentum (Shazeer & Stern 2018, algorithm 4), with decoupled decay."""
    parts = [
        optax.scale_by_factored_rms(True, decay_rate, 0, factored_from, epsilon),
        optax.clip_by_block_rms(clipping_threshold),
    ]
    if scale_by_parameter:
        parts.append(optax.scale_by_param_block_rms())
    parts += [optax.add_decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate)]
    return optax.chain(*parts)


def muon(
    learning_rate,
    weight_decay,
    *,
    specs: Specs,
    momentum,
    nesterov,
    newton_schulz_steps,
    beta1,
    beta2,
    epsilon,
) -> optax.GradientTransformation:
    """Muon for the matrices inside the model (`Role.HIDDEN`), and AdamW for everything else.

    Updates of matrices have a root mean square of 0.2, whichever way round a kernel is kept (Liu et al. 2025, eq. 4).
    """

    def dimensions(params):
        return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(), params)

    matrices = optax.chain(
        contrib.scale_by_muon(
            ns_steps=newton_schulz_steps,
            beta=momentum,
            nesterov=nesterov,
            weight_dimension_numbers=dimensions,
        ),
        optax.stateless(_with_one_size),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    rest = optax.adamw(learning_rate, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay)
    labels = jax.tree.map(lambda spec: "muon" if spec.role == Role.HIDDEN and len(spec.shape) == 2 else "adamw", specs)
    return optax.partition({"muon": matrices, "adamw": rest}, labels)


def _with_one_size(updates, _):
    """An orthogonal matrix of sides a >= b has a root mean square of 1 / sqrt(a)."""
    return jax.tree.map(lambda matrix: MUON_UPDATE_RMS * max(matrix.shape) ** 0.5 * matrix, updates)


BUILT_IN = {"adam": adam, "sgd": sgd, "lion": lion, "adafactor": adafactor, "muon": muon}
