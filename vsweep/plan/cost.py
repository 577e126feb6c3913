"""What a stack costs on a device: memory and seconds, estimated before anything runs."""

from vsweep.config.model_options import ATTENDING
from vsweep.config.sweep_config import SweepConfig
from vsweep.host.hardware import Hardware
from vsweep.models import accounting
from vsweep.models import by_name as models
from vsweep.models.attention import SHORT_POSITIONS
from vsweep.models.base import TRANSFORMER, ModelShape
from vsweep.models.transformer import SCANNED_LAYERS
from vsweep.optim import by_name as optimizers
from vsweep.plan.shape import Shape, model_shape
from vsweep.tasks.base import Task, token_dtype

CPU_CACHE_BYTES = 1e7  # by `_touched_bytes`; measured at widths 4 to 64
# By `_floats_per_example`, measured at widths 16 to 128: from so many on a batch goes in pieces, of at most so many.
PIECES_FROM_FLOATS, PIECE_FLOATS = 10_000_000, 5_200_000
LEAST_POSITIONS = 384  # of a piece's examples together: products want long rows
MEMORY_SHARE = 0.8  # of a device, for a stack
CHUNK_BYTES = 2**26  # of tokens that the devices are sent at once


def moments(shape: Shape, task: Task, config: SweepConfig) -> int:
    """How many numbers the optimizer of a run keeps. Raises ConfigError where a user's own optimizer fails."""
    return optimizers.state_numbers(config.optimizer, models.param_specs(model_shape(shape, task)))


def piece_of(shape: Shape, task: Task, config: SweepConfig, hardware: Hardware) -> int:
    """Examples of a batch that a training step takes at once; 0: all of them.

    A CPU core takes a large batch in pieces, so that the arrays of a step stay in its cache. An accelerator is faster
    the more it gets. Loss and gradient are those of the whole batch but for rounding, because both are sums over
    examples. That holds for the transformer, but not for routed experts, whose balance is one of the whole batch, and
    nobody knows it of a user's own model. Other families were not measured. Gradient statistics go by halves.
    """
    if hardware.kind != "cpu" or shape.family != TRANSFORMER or config.train.gradient_statistics:
        return 0
    model, batch = model_shape(shape, task), shape.batch_size
    if batch * _floats_per_example(model) <= PIECES_FROM_FLOATS:
        return 0
    least = 4 * -(-LEAST_POSITIONS // (4 * model.positions))  # a word of dropout is four examples
    most = max(least, PIECE_FLOATS // _floats_per_example(model))
    return max((size for size in range(least, min(most + 1, batch), 4) if batch % size == 0), default=0)


def slots_that_fit(shape: Shape, task: Task, hardware: Hardware, moments: int | None = None, piece: int = 0) -> int:
    """Slots of all devices together that memory allows; 0 if not one model fits on a device."""
    model, usable = model_shape(shape, task), MEMORY_SHARE * hardware.memory_bytes
    examples = piece or shape.batch_size
    fitting = int(usable / accounting.slot_bytes(model, examples, moments))
    if fitting and hardware.kind == "cpu" and usable > CPU_CACHE_BYTES:  # so many that they train one by one
        activations = accounting.activation_bytes(model, examples)
        fitting = max(fitting, int((usable - activations) / accounting.state_bytes(model, moments)))
    return fitting * hardware.devices


def device_bytes(
    shape: Shape, task: Task, slots: int, hardware: Hardware, moments: int | None = None, piece: int = 0
) -> int:
    """Memory that one device needs for its share of the slots, beside the examples; an estimate."""
    model, local = model_shape(shape, task), -(-slots // hardware.devices)
    under_way = 1 if trains_one_by_one(shape, task, slots, hardware, moments) else local
    activations = accounting.activation_bytes(model, piece or shape.batch_size)
    return local * accounting.state_bytes(model, moments) + under_way * activations


def trains_one_by_one(shape: Shape, task: Task, slots: int, hardware: Hardware, moments: int | None = None) -> bool:
    """Whether a device takes its slots one after the other in each step, instead of all at once.

    A CPU core gains nothing from longer arrays, and loses up to a third of its time when they leave its cache.
    """
    at_once = slots // hardware.devices * _touched_bytes(model_shape(shape, task), shape.batch_size, moments)
    return hardware.kind == "cpu" and at_once > CPU_CACHE_BYTES


def _touched_bytes(model: ModelShape, batch_size: int, moments: int | None) -> int:
    """What one slot moves through the cache in a step: more than it holds at any time, and no estimate of memory.

    How slots are trained decides the last bits of their results, so this stays as it is when the other is bettered.
    """
    return accounting.state_bytes(model, moments) + accounting.FLOAT_BYTES * batch_size * _floats_per_example(model)


def _floats_per_example(model: ModelShape) -> int:
    """That one example moves through the cache in a step."""
    scores = 4 * model.heads * model.positions**2
    return model.layers * (40 * model.positions * model.width + scores) + 4 * model.positions * model.vocabulary


def chunk_steps(shape: Shape, task: Task, slots: int, most: int) -> int:
    """Steps whose tokens the devices are sent at once: `most`, or as many as `CHUNK_BYTES` hold; one at least."""
    step_bytes = slots * shape.batch_size * task.sequence_length * token_dtype(task.vocabulary).itemsize
    return max(1, min(most, CHUNK_BYTES // step_bytes))


def step_seconds(shape: Shape, task: Task, slots: int, hardware: Hardware, matmul_precision: str = "highest") -> float:
    """Estimated time of one training step of a stack.

    Products are counted. Beside them each score of attention costs time for the softmax and its gradient, which grows
    with the square of the length.
    """
    speed, model = hardware.speed_in(shape.precision, matmul_precision), model_shape(shape, task)
    positions = shape.batch_size * model.positions * shape.layers
    matmuls = shape.batch_size * accounting.flops_counted_per_example(model) / speed.flops
    later = max(0, model.positions - SHORT_POSITIONS) if model.family in ATTENDING else 0
    scores = positions * model.heads * later
    slot_s = positions * speed.position_width_s * shape.width + scores * speed.score_s + matmuls
    return speed.step_s + slots / hardware.devices * slot_s


def compile_seconds(shape: Shape, hardware: Hardware) -> float:
    """Estimated time of compiling a stack's programs: XLA's grows faster than the layers where those are unrolled."""

    def relative(layers: int, scanned: bool) -> float:
        return 2.5 + 0.8 * layers + (0.0 if scanned else 0.025 * layers**2)

    scanned = shape.layers >= SCANNED_LAYERS
    return hardware.speed.compile_s * relative(shape.layers, scanned) / relative(4, scanned=False)
