import dataclasses
import functools
from pathlib import Path

import jax
import pandas as pd
import pytest

from tests.vsweep import small
from vsweep.config.sweep_config import OptimizerConfig
from vsweep.models import accounting, transformer
from vsweep.models.base import ModelShape
from vsweep.train import train_step
from vsweep.train.stack import hyper_of
from vsweep.train.train_step import Recipe

APPENDIX_F = pd.read_csv(Path(__file__).parents[2] / "data" / "chinchilla_appendix_f.csv")
SEQUENCE = 2048
SHAPE = ModelShape(vocabulary=14, positions=7, width=8, layers=2, head_dim=4, ff_multiple=4, tied_embeddings=True)


def chinchilla_shape(row) -> ModelShape:
    return ModelShape(
        vocabulary=32_000,
        positions=SEQUENCE,
        width=row.d_model,
        layers=row.n_layers,
        head_dim=row.d_model // row.heads,
        ff_multiple=row.ffw // row.d_model,
        tied_embeddings=True,
    )


@pytest.mark.parametrize("row", list(APPENDIX_F.itertuples()), ids=lambda row: f"width_{row.d_model}")
def test_counted_flops_are_those_of_chinchilla_less_its_softmax_and_with_our_logits(row):
    """Appendix F counts 3 h s^2 for each softmax; we count matmuls. Its Table A4 leaves the logits out."""
    shape = chinchilla_shape(row)
    logits = 3 * 2 * SEQUENCE * row.d_model * shape.vocabulary
    softmax = 3 * 3 * row.n_layers * row.heads * SEQUENCE**2
    assert accounting.flops_counted_per_example(shape) - logits + softmax == row.flops_per_2048seq_noembed_nologits
    assert softmax < 0.02 * row.flops_per_2048seq_noembed_nologits
    ratio = row.flops_per_2048seq_noembed_nologits / (6 * row.N_params_nanogpt * SEQUENCE)
    assert ratio == pytest.approx(row.ratio_to_6ND, abs=5e-7)
    assert ratio == pytest.approx(row.published_TableA4, abs=0.0051)


def test_6nd_counts_every_parameter_and_stays_exact_for_tokens_beyond_32_bits():
    assert accounting.flops_6nd(SHAPE, 1) == 6 * accounting.params(SHAPE)
    assert accounting.flops_6nd(SHAPE, 10**12) == 6 * accounting.params(SHAPE) * 10**12


def test_twice_the_length_is_twice_the_projections_and_four_times_the_attention():
    one, two = (
        accounting.flops_counted_per_example(dataclasses.replace(SHAPE, positions=positions)) for positions in (8, 16)
    )
    scores_and_values = 3 * SHAPE.layers * 2 * (2 * SHAPE.width * 8**2)
    assert two - 2 * one == 2 * scores_and_values


def test_an_untied_head_adds_parameters_but_no_flops():
    untied = dataclasses.replace(SHAPE, tied_embeddings=False)
    assert accounting.params(untied) - accounting.params(SHAPE) == SHAPE.vocabulary * SHAPE.width
    assert accounting.params_non_embedding(untied) == accounting.params_non_embedding(SHAPE)
    assert accounting.flops_counted_per_example(untied) == accounting.flops_counted_per_example(SHAPE)


def test_a_checkpoint_is_estimated_as_the_bytes_of_the_state_of_a_run():
    """Parameters and two moments; the counters and hyperparameters beside them are a few dozen bytes."""
    values = small.config(model={"layers": 2}, sweep={"width": [32]})
    recipe, run = small.recipe(values), small.stacks(values)[0].runs[0]
    hyper = jax.tree.map(lambda column_K: column_K[0], hyper_of([run]))
    state = jax.eval_shape(functools.partial(train_step.init_run, recipe), hyper)
    true_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    assert accounting.checkpoint_bytes(recipe.model.shape, 1) == pytest.approx(true_bytes, rel=0.01)
    assert accounting.slot_bytes(recipe.model.shape, 1) > 2 * true_bytes


def test_estimates_of_memory_and_disk_grow_with_slots_runs_and_batch():
    assert accounting.checkpoint_bytes(SHAPE, 6) == 6 * accounting.checkpoint_bytes(SHAPE, 1)
    assert accounting.finished_bytes(SHAPE, 15) == 15 * accounting.finished_bytes(SHAPE, 1)
    assert accounting.slot_bytes(SHAPE, 65) > accounting.slot_bytes(SHAPE, 64)
    axes = {"seed": [0, 1, 2, 3], "budget": [700]}
    two, four = (small.sweep(small.config(train={"slots": slots}, sweep=axes)).estimates[0] for slots in (2, 4))
    assert four.memory_bytes == 2 * two.memory_bytes
    assert four.disk_bytes > two.disk_bytes
    assert four.flops == two.flops


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        (dataclasses.replace(SHAPE, positions=12, width=32, layers=4), 64),
        (ModelShape(256, 64, 48, 2, 8, 4, True), 16),
        (ModelShape(50_257, 256, 32, 2, 4, 4, True), 8),
    ],
    ids=["tiny", "text on a laptop", "large vocabulary"],
)
def test_the_estimate_of_memory_is_near_what_xla_allocates(shape, batch):
    recipe = Recipe(transformer.build(shape), OptimizerConfig(), "cosine", pad=-1, use_dropout=False)
    hyper = jax.tree.map(lambda column_K: column_K[0], hyper_of([None]))
    state = jax.eval_shape(functools.partial(train_step.init_run, recipe), hyper)
    tokens = jax.ShapeDtypeStruct((batch, shape.positions + 1), "uint16")
    step = jax.jit(functools.partial(train_step.train_step, recipe), donate_argnums=0)
    needed = step.lower(state, tokens).compile().memory_analysis()
    allocated = needed.argument_size_in_bytes + needed.temp_size_in_bytes
    assert 0.5 < accounting.slot_bytes(shape, batch) / allocated < 2
