"""Parameter, FLOP and memory counts, every convention named.

- `params`: all parameters, tied embeddings once. `params_non_embedding`: without token and position embeddings and
  without an untied head (Kaplan et al. 2020).
- `flops_6nd`: 6 N D with N = `params` and D = exact label tokens.
- `flops_counted`: matmuls only (projections, attention scores and values, logits), forward x 3, over every position of
  the padded sequence, attention counted full rather than causal (Hoffmann et al. 2022, appendix F, less its embedding).
"""

from vsweep.models.base import ModelShape

FLOAT_BYTES = 4
STATE_COPIES = 3  # parameters and two Adam moments
STEP_COPIES = 4  # gradient, update and the new values beside the old ones
ACTIVATIONS_PER_WIDTH = 40  # floats kept for the backward pass, a layer, position and unit of width


def params(shape: ModelShape) -> int:
    return params_non_embedding(shape) + params_embedding(shape)


def params_embedding(shape: ModelShape) -> int:
    tables = shape.vocabulary * (1 if shape.tied_embeddings else 2)
    return shape.width * (tables + shape.positions)


def params_non_embedding(shape: ModelShape) -> int:
    width, ff = shape.width, shape.ff
    norms = 2 * width
    attention = 4 * width * width
    mlp = 2 * width * ff + ff + width
    return shape.layers * (norms + attention + mlp) + width


def flops_6nd(shape: ModelShape, tokens: int) -> float:
    return 6.0 * params(shape) * tokens


def flops_counted_per_example(shape: ModelShape) -> float:
    """Training FLOPs of one example: forward x 3."""
    positions, width = shape.positions, shape.width
    projections = 2 * positions * (4 * width * width + 2 * width * shape.ff)
    attention = 2 * 2 * positions * positions * width
    logits = 2 * positions * width * shape.vocabulary
    return 3.0 * (shape.layers * (projections + attention) + logits)


def slot_bytes(shape: ModelShape, batch_size: int) -> int:
    """Memory that one slot needs while it trains, beside the training examples; an estimate."""
    return state_bytes(shape) + activation_bytes(shape, batch_size)


def state_bytes(shape: ModelShape) -> int:
    """What a slot holds all the time: its state, and the next one beside it."""
    return FLOAT_BYTES * (STATE_COPIES + STEP_COPIES) * params(shape)


def activation_bytes(shape: ModelShape, batch_size: int) -> int:
    """What a slot holds only while its own step is under way."""
    scores = 4 * shape.heads * shape.positions**2
    logits = 4 * shape.positions * shape.vocabulary
    per_example = shape.layers * (ACTIVATIONS_PER_WIDTH * shape.positions * shape.width + scores) + logits
    return FLOAT_BYTES * batch_size * per_example


def checkpoint_bytes(shape: ModelShape, slots: int) -> int:
    return FLOAT_BYTES * STATE_COPIES * params(shape) * slots


def finished_bytes(shape: ModelShape, runs: int) -> int:
    return FLOAT_BYTES * params(shape) * runs
