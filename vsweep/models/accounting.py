"""Parameter, FLOP and memory counts, every convention named.

- `params`: all parameters, tied embeddings once. `params_non_embedding`: without token and position embeddings and
  without an untied head (Kaplan et al. 2020).
- `flops_6nd`: 6 N D with N = `params` and D = exact label tokens.
- `flops_counted`: matmuls only (projections, attention scores and values, logits), forward x 3, over every position of
  the padded sequence, attention counted full rather than causal (Hoffmann et al. 2022, appendix F, less its embedding).
  Looking up an embedding counts nothing, also where a built-in model does it by a product.
"""

import functools
from collections import Counter

from vsweep.config.model_options import ATTENDING, RECURRENT
from vsweep.models import by_name, flops
from vsweep.models.attention import BLOCKED_ELSEWHERE
from vsweep.models.base import ModelShape
from vsweep.models.families import experts, feed_forward
from vsweep.models.params import NON_EMBEDDING, Role, count_by_role

FLOAT_BYTES = 4
PARAMETER_COPIES = 3  # the parameters, their gradient or update, and the new ones beside the old ones
MOMENT_COPIES = 2  # the optimizer's state, and the new one beside it
LOGITS_AT_ONCE = 2**24  # of one batch: with more of them a loss goes chunk by chunk
CHUNK_LOGITS = 2**25  # of a chunk, at most
SMALL_CHUNK = 8  # times as many positions may be in a chunk: then one that has to be filled up is faster
# Copies that are kept for the backward pass, fitted to what XLA allocates on a CPU: in each layer of the features
# [W, N], of the MLP's [F, N] and of the attention weights [H, T, T, B]; of all logits, or of those of a chunk.
WIDTH_COPIES, FF_COPIES, SCORE_COPIES, LOGIT_COPIES, CHUNK_COPIES = 8, 3, 3, 4, 2
ACTIVATIONS_PER_HIDDEN = 4  # of an expert's hidden layer, a place
WITHOUT_ATTENTION = (*RECURRENT, "mlp")


@functools.lru_cache(maxsize=4096)  # a plan asks several times for each of its shapes
def _counts(shape: ModelShape) -> Counter[Role]:
    return count_by_role(by_name.param_specs(shape))


@functools.lru_cache(maxsize=4096)
def _counted(shape: ModelShape) -> float:
    lookup = 2 * shape.positions * shape.vocabulary * shape.width if by_name.looks_up_by_product(shape) else 0
    return 3.0 * (flops.count(by_name.forward_jaxpr(shape)) - lookup)


def params(shape: ModelShape) -> int:
    """All parameters, tied embeddings once."""
    return _counts(shape).total()


def params_non_embedding(shape: ModelShape) -> int:
    """Parameters without embeddings, positions and an untied head (Kaplan et al. 2020, section 2.1)."""
    return sum(_counts(shape)[role] for role in NON_EMBEDDING)


def params_active(shape: ModelShape) -> int:
    """Parameters that one token meets: all but those of the routed experts that it does not go through."""
    return params(shape) - _idle(shape).total()


def _idle(shape: ModelShape) -> Counter[Role]:
    """Parameters of the experts that a token does not go through; none in a model without experts."""
    if shape.family != "moe":
        return Counter()
    count = shape.option("experts")
    idle = shape.layers * (count - shape.option("experts_per_token"))
    all_of_a_layer = count_by_role(experts.specs(shape, 1.0)["experts"])
    return Counter({role: idle * size // count for role, size in all_of_a_layer.items()})


def flops_6nd(shape: ModelShape, tokens: int) -> float:
    """Training FLOPs of `tokens` label tokens as 6 N D (Kaplan et al. 2020, section 2.1), with N = `params`."""
    return 6.0 * params(shape) * tokens


def flops_counted_per_example(shape: ModelShape) -> float:
    """Training FLOPs of one example: forward x 3 (Hoffmann et al. 2022, appendix F, matmuls only).

    Of routed experts those that a token goes through are counted, because a sparse kernel needs no more; without
    places for them, all are computed. Those of other families and of a user's own model are counted from what they
    compute.
    """
    if shape.family not in ATTENDING:
        return _counted(shape)
    positions, width = shape.positions, shape.width
    matrices = _counts(shape)[Role.HIDDEN] + _counts(shape)[Role.ROUTER] - _idle(shape)[Role.HIDDEN]
    projections = 2 * positions * matrices
    attention = shape.layers * 2 * 2 * positions * positions * width
    logits = 2 * positions * width * shape.vocabulary
    return 3.0 * (projections + attention + logits)


def slot_bytes(shape: ModelShape, batch_size: int, moments: int | None = None) -> int:
    """Bytes that one slot needs while it trains, beside its examples; an estimate."""
    return state_bytes(shape, moments) + activation_bytes(shape, batch_size)


def state_bytes(shape: ModelShape, moments: int | None = None) -> int:
    """Bytes that a slot holds all the time: its state, and the next one beside it.

    `moments` is how many numbers the optimizer keeps. Default: two a parameter, as Adam does.
    """
    moments = 2 * params(shape) if moments is None else moments
    return FLOAT_BYTES * (PARAMETER_COPIES * params(shape) + MOMENT_COPIES * moments)


def activation_bytes(shape: ModelShape, batch_size: int) -> int:
    """Bytes that a slot holds only while its own step is under way."""
    positions = batch_size * shape.positions
    at_once = shape.positions < BLOCKED_ELSEWHERE and shape.family not in WITHOUT_ATTENTION
    scores = SCORE_COPIES * shape.heads * shape.positions if at_once else 0
    features = WIDTH_COPIES * shape.width + FF_COPIES * shape.ff
    window = 2 * shape.option("window") * shape.width if shape.family == "mlp" else 0
    chunk = logits_chunk(positions, shape.vocabulary) if _has_halves(shape) else None
    logits = LOGIT_COPIES * positions if chunk is None else CHUNK_COPIES * chunk
    layers = shape.layers * (positions * (features + scores) + batch_size * _of_experts(shape))
    return FLOAT_BYTES * (layers + positions * window + logits * shape.vocabulary)


@functools.lru_cache(maxsize=4096)
def _has_halves(shape: ModelShape) -> bool:
    """Whether the model gives features and a head, so that its loss may go by chunks."""
    model = by_name.build(shape)
    return model.features is not None and model.head is not None


def _of_experts(shape: ModelShape) -> int:
    """Floats that a layer's routed experts keep for the backward pass, an example."""
    if shape.family != "moe":
        return 0
    places = experts.places(shape)
    choices = 2 * places * shape.positions if shape.option("capacity_factor") else 0
    at_a_place = ACTIVATIONS_PER_HIDDEN * feed_forward.hidden_size(shape) + 3 * shape.width
    return shape.option("experts") * (places * at_a_place + choices)


@functools.lru_cache(maxsize=4096)
def logits_chunk(positions: int, vocabulary: int) -> int | None:
    """Positions whose logits a loss holds together, as many as `CHUNK_LOGITS` allow of all examples of a batch.

    The largest divisor of `positions`. Where that is a small one (of a context that is a prime number it may be 1),
    equal chunks, of which the last is filled up. None: `LOGITS_AT_ONCE` or fewer, which are all made at once.
    """
    if positions * vocabulary <= LOGITS_AT_ONCE:
        return None
    most = max(1, min(positions, CHUNK_LOGITS // vocabulary))
    divisor = next(size for size in range(most, 0, -1) if positions % size == 0)
    return divisor if SMALL_CHUNK * divisor > most else -(-positions // -(-positions // most))


def checkpoint_bytes(shape: ModelShape, slots: int, moments: int | None = None) -> int:
    """Bytes of a checkpoint of `slots` runs: parameters and `moments` numbers of the optimizer (default: Adam's)."""
    moments = 2 * params(shape) if moments is None else moments
    return FLOAT_BYTES * (params(shape) + moments) * slots


def finished_bytes(shape: ModelShape, runs: int) -> int:
    """Bytes of the parameters of `runs` finished runs."""
    return FLOAT_BYTES * params(shape) * runs
