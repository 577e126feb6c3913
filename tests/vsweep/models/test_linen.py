"""A user's own flax.linen.Module as a model."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vsweep
from tests.vsweep import small
from vsweep import generate
from vsweep.config import registry
from vsweep.config.problems import ConfigError
from vsweep.models import accounting, by_name
from vsweep.models.base import ModelShape
from vsweep.models.params import Role, named
from vsweep.tables import read_runs

OWN = '''
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

class Transformer(nn.Module):
    """Attention and an MLP, each added to its input."""

    vocabulary: int
    positions: int
    width: int
    layers: int
    heads: int = 2
    gain: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens, *, deterministic=True, dropout=0.0):
        x = nn.Embed(self.vocabulary, self.width, dtype=self.dtype)(tokens)
        x += self.param("pos_embed", nn.initializers.normal(0.1), (self.positions, self.width)).astype(self.dtype)
        mask = nn.make_causal_mask(tokens)
        for _ in range(self.layers):
            y = nn.LayerNorm(dtype=self.dtype)(x)
            x += nn.MultiHeadDotProductAttention(self.heads, dtype=self.dtype, use_bias=False)(y, mask=mask)
            y = nn.Dense(2 * self.width, dtype=self.dtype)(nn.LayerNorm(dtype=self.dtype)(x))
            y = self.gain * nn.Dense(self.width, dtype=self.dtype)(nn.relu(y))
            if not deterministic:
                kept = jax.random.bernoulli(self.make_rng("dropout"), 1.0 - dropout, y.shape)
                y = jnp.where(kept, y / (1.0 - dropout), 0).astype(y.dtype)
            x += y
        return nn.Dense(self.vocabulary, dtype=self.dtype)(x)

class Bigram(nn.Module):
    """Drops at a rate of its own."""

    vocabulary: int
    rate: float = 0.5
    hidden: int = 8

    @nn.compact
    def __call__(self, tokens, train: bool):
        x = nn.Embed(self.vocabulary, self.hidden)(tokens)
        return nn.Dense(self.vocabulary, name="head")(nn.Dropout(self.rate)(x, deterministic=not train))

class Normed(nn.Module):
    vocabulary: int

    @nn.compact
    def __call__(self, tokens, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Embed(self.vocabulary, 4)(tokens))
        return nn.Dense(self.vocabulary)(x)

class Needy(nn.Module):
    depth: int

class Static(nn.Module):
    dropout: float = 0.1

class Short(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Embed(3, 3)(tokens)
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_linen.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_linen", None)


def config_of(name: str, **sections) -> dict:
    values = small.config(sweep={"budget": [700, 1400], "seed": [0, 1]}, **sections)
    values["model"] = {"name": f"own_linen:{name}", **sections.get("model", {})}
    return values


TRANSFORMER = {"width": 4, "layers": 1, "dropout": 0.1}


def shape_of(name: str, options: tuple = (), **fields) -> ModelShape:
    sizes = {"vocabulary": 14, "positions": 9, "width": 4, "layers": 1, "head_dim": 4, "ff_multiple": 4}
    return ModelShape(**{**sizes, **fields}, tied_embeddings=True, family=f"own_linen:{name}", options=options)


def test_a_module_trains_resumes_and_is_loaded(folder):
    values = config_of("Bigram", model={"dropout": 0.0, "rate": 0.1})
    small.train(values, folder / "whole")
    runs = read_runs(folder / "whole")
    assert set(runs["params"]) == {14 * 8 + 8 * 14 + 14}
    assert set(runs["params_non_embedding"]) == {14}
    assert runs["flops_counted"].tolist() == pytest.approx((runs["steps"] * 8 * 3 * 2 * 9 * 8 * 14).tolist())
    losses = runs.groupby("budget")["val_loss"].mean()
    assert losses[1400] < losses[700]
    small.train(values, folder / "cut", progress=small.StopAfter(2))
    assert set(read_runs(folder / "cut")["status"]) != {"finished"}
    small.train(values, folder / "cut")
    assert small.differing(folder / "cut", folder / "whole") == []
    task, model, params = vsweep.load_run(folder / "whole", runs["run_id"][0])
    assert generate.greedy(model, params, [[1, 10, 2]], length=6, pad=task.pad).shape == (1, 6)


def test_a_module_in_a_stack_equals_itself_alone(mesh):
    values = config_of("Transformer", model=TRANSFORMER)
    bench = small.Bench(values, 2, mesh)
    runs = bench.sweep.stacks[0].runs
    bench.enter({0: small.with_fields(runs[2], lr=1e9), 1: runs[1]})
    bench.train(12)
    losses, alone = small.plain_run(values, runs[1], 12)
    assert float(bench.slot(1).train_loss) == pytest.approx(losses[-1], abs=1e-5)
    assert small.largest_difference(bench.slot(1).params, alone.params) < 1e-4


def test_its_initial_values_are_those_of_its_own_init():
    model, key = by_name.build(shape_of("Bigram")), jax.random.key(3)
    module = registry.attribute("model", "own_linen:Bigram")(vocabulary=14)
    assert small.same_bits(model.init(key), module.init(key, np.zeros((1, 9), np.int32), train=False)["params"])


def test_its_parameters_have_roles_and_its_products_are_counted():
    shape = shape_of("Transformer")
    roles = {path: spec.role for path, spec in named(by_name.param_specs(shape)).items()}
    assert roles["Embed_0/embedding"] == Role.EMBEDDING
    assert roles["pos_embed"] == Role.POSITION
    assert roles["LayerNorm_0/scale"] == Role.NORM
    assert roles["MultiHeadDotProductAttention_0/query/kernel"] == Role.HIDDEN
    assert roles["Dense_1/bias"] == Role.BIAS
    assert roles["Dense_2/kernel"] == Role.OUTPUT
    products = 9 * (4 * 4 * 4 + 2 * 4 * 8 + 4 * 14) + 2 * 9 * 9 * 4
    assert accounting.flops_counted_per_example(shape) == 3 * 2 * products


def test_of_several_matrices_with_a_column_a_token_the_head_is_the_output():
    shape = shape_of("Bigram", (("hidden", 14),))
    roles = {path: spec.role for path, spec in named(by_name.param_specs(shape)).items()}
    assert roles == {"Embed_0/embedding": Role.EMBEDDING, "head/kernel": Role.OUTPUT, "head/bias": Role.BIAS}


@pytest.mark.parametrize(("name", "rates"), [("Transformer", (0.0, 0.5)), ("Bigram", (0.0,))])
def test_it_drops_in_training_alone(name, rates):
    model = by_name.build(shape_of(name))
    params, tokens = model.init(jax.random.key(0)), jnp.arange(9)[None] % 14
    calm = model.apply(params, tokens)
    for rate in rates:
        seen = [jax.jit(model.apply)(params, tokens, dropout_key=jax.random.key(seed), dropout=rate) for seed in (0, 1)]
        drops = rate > 0 or name == "Bigram"
        assert np.array_equal(seen[0], seen[1]) != drops
        assert np.allclose(seen[0], calm, atol=1e-6) != drops


def test_activations_have_the_type_of_the_configs_precision():
    model = by_name.build(shape_of("Transformer", precision="bfloat16"))
    text = str(jax.make_jaxpr(model.apply)(model.init(jax.random.key(0)), jnp.zeros((1, 9), jnp.int32)))
    assert "bf16" in text
    assert jax.tree.leaves(model.init(jax.random.key(0)))[0].dtype == jnp.float32


def test_fields_of_a_module_are_options_and_may_be_swept():
    values = config_of("Bigram", model={"dropout": 0.0})
    values["sweep"]["hidden"] = [4, 8]
    assert {stack.name for stack in small.stacks(values)} == {"hidden_4", "hidden_8"}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "own_linen:Bigramm"}, ["own_linen has no Bigramm", "did you mean Bigram?"]),
        ({"name": "own_linen:Needy"}, ["the field depth of own_linen:Needy has no default"]),
        ({"name": "own_linen:Static"}, ["has a field dropout", "an argument `dropout` of its __call__"]),
        ({"name": "own_linen:Normed", "dropout": 0}, ["keeps other variables than parameters", "batch_stats, params"]),
        ({"name": "own_linen:Short", "dropout": 0}, ["gives other logits"]),
        ({"name": "own_linen:Bigram"}, ["model.dropout: own_linen:Bigram takes no rate of dropout - got 0.15"]),
        (
            {"name": "own_linen:Bigram", "width": 8, "rat": 1.0, "dropout": 0},
            ["model.width: own_linen:Bigram has no field width", "model.rat: unknown field", "did you mean rate?"],
        ),
    ],
)
def test_a_wrong_module_is_a_problem_of_the_plan(model, words):
    values = small.config()
    values["model"] = model
    with pytest.raises(ConfigError) as caught:
        small.sweep(values)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_no_precision_without_a_dtype():
    values = config_of("Bigram", model={"dropout": 0.0}, train={"precision": "bfloat16"})
    with pytest.raises(ConfigError, match="own_linen:Bigram has no field dtype - got bfloat16"):
        small.sweep(values)
