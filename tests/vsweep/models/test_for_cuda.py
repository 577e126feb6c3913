"""What a train program of text is for CUDA's compiler, seen on a machine without a GPU."""

import functools
import re

import jax
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from vsweep.config.sweep_config import OptimizerConfig
from vsweep.models import by_name
from vsweep.models.base import ModelShape
from vsweep.models.target import Target
from vsweep.train import stack, train_step

SLOTS, LAYERS, POSITIONS, BATCH = 3, 2, 64, 4


@pytest.fixture(scope="module")
def lowered() -> str:
    """One step of a stack of three in bfloat16, for an A100."""
    shape = ModelShape(256, POSITIONS, 32, LAYERS, 8, 4, True, precision="bfloat16", target=Target("cuda", 8))
    recipe = train_step.Recipe(by_name.build(shape), OptimizerConfig(), "cosine", pad=-1, use_dropout=False)
    hyper = stack.hyper_of([None] * SLOTS)
    init = functools.partial(train_step.init_run, recipe)
    state = jax.eval_shape(
        jax.vmap(init), jax.tree.map(lambda column: jax.ShapeDtypeStruct(column.shape, column.dtype), hyper)
    )
    tokens = jax.ShapeDtypeStruct((SLOTS, BATCH, POSITIONS + 1), np.uint8)
    step = jax.jit(jax.vmap(functools.partial(train_step.train_step, recipe)), donate_argnums=0)
    with pytest.MonkeyPatch.context() as patch:  # JAX asks for the version of cuDNN, which is nowhere here
        patch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
        return step.trace(state, tokens).lower(lowering_platforms=("cuda",)).as_text()


def test_each_layer_calls_cudnn_once_each_way(lowered):
    assert lowered.count("@__cudnn$fmhaSoftmax(") == LAYERS
    assert lowered.count("@__cudnn$fmhaSoftmaxBackward(") == LAYERS


def test_a_step_has_no_loop(lowered):
    assert "stablehlo.while" not in lowered


def test_no_scores_are_held(lowered):
    """No array has two axes of positions."""
    assert f"x{POSITIONS}x{POSITIONS}x" not in lowered


def test_every_array_of_the_state_is_updated_in_place(lowered):
    """A donated argument that no result takes the place of would be copied."""
    signature = re.search(r"func.func public @main\((.*?)\) ->", lowered, re.DOTALL)[1]
    arguments = signature.split("%arg")[1:]
    kept = [argument for argument in arguments if "tf.aliasing_output" not in argument]
    assert len(kept) == 1
    assert f"{SLOTS}x{BATCH}x{POSITIONS + 1}xui8" in kept[0]
