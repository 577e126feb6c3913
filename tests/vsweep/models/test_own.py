"""A user's own model by import path, and FLOPs counted from what a model computes."""

import sys

import jax
import jax.numpy as jnp
import pytest

import vsweep
from tests.vsweep import small
from vsweep.config.problems import ConfigError
from vsweep.models import accounting, by_name, flops
from vsweep.models.base import ModelShape
from vsweep.tables import read_runs

OWN = '''
import jax
import jax.numpy as jnp
from vsweep.models.params import ParamSpec, Role

def recurrent(shape, *, gain=1.0, deep=1):
    """A plain recurrent network."""
    width = shape.width
    specs = {
        "embed": ParamSpec((shape.vocabulary, width), Role.EMBEDDING, 1.0),
        "hidden": {f"layer_{i}": ParamSpec((width, width), Role.HIDDEN, width**-0.5) for i in range(deep)},
        "head": ParamSpec((width, shape.vocabulary), Role.OUTPUT, width**-0.5),
    }

    def apply(params, tokens_BxT, *, dropout_key=None, dropout=0.0):
        def step(h_BxW, x_BxW):
            for kernel in params["hidden"].values():
                h_BxW = jnp.tanh(gain * h_BxW @ kernel + x_BxW)
            return h_BxW, h_BxW

        x_TxBxW = params["embed"][tokens_BxT].swapaxes(0, 1)
        _, h_TxBxW = jax.lax.scan(step, jnp.zeros(x_TxBxW.shape[1:]), x_TxBxW)
        return (h_TxBxW @ params["head"]).swapaxes(0, 1)

    return specs, apply

def wrong_logits(shape):
    specs, apply = recurrent(shape)
    return specs, lambda params, tokens, **_: apply(params, tokens)[:, 0]

def no_specs(shape):
    return {"kernel": 3}, None
'''


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_models", None)


def config_of(name: str, **options) -> dict:
    values = small.config(sweep={"budget": [700, 1400], "seed": [0, 1]})
    values["model"] = {"name": f"own_models:{name}", "width": 4, "dropout": 0.0, **options}
    return values


def test_a_users_model_trains_resumes_and_is_loaded(folder):
    values = config_of("recurrent", deep=2)
    small.train(values, folder / "whole")
    runs = read_runs(folder / "whole")
    assert set(runs["params"]) == {14 * 4 + 2 * 16 + 4 * 14}
    assert set(runs["params_non_embedding"]) == {2 * 16}
    losses = runs.groupby("budget")["val_loss"].mean()
    assert losses[1400] < losses[700]
    small.train(values, folder / "cut", progress=small.StopAfter(2))
    small.train(values, folder / "cut")
    assert (folder / "cut" / "curves.csv").read_bytes() == (folder / "whole" / "curves.csv").read_bytes()
    run = vsweep.load_run(folder / "whole", runs["run_id"][0])
    assert run.model.apply(run.params, jnp.zeros((1, 9), jnp.int32)).shape == (1, 9, 14)


def test_its_flops_are_counted_step_by_step():
    shape = ModelShape(14, 9, 4, 1, 4, 4, True, family="own_models:recurrent", options=(("deep", 2),))
    assert accounting.flops_counted_per_example(shape) == 3 * 2 * 9 * (2 * 16 + 4 * 14)


@pytest.mark.parametrize("layers", [1, 3])
def test_counting_agrees_with_the_formula_of_the_transformer(layers):
    shape = ModelShape(
        vocabulary=100, positions=20, width=16, layers=layers, head_dim=8, ff_multiple=4, tied_embeddings=True
    )
    counted = 3 * flops.count(by_name.forward_jaxpr(shape))
    assert counted == pytest.approx(accounting.flops_counted_per_example(shape))


def test_of_a_conditional_the_dearest_branch_counts():
    x = jnp.ones((4, 4))
    jaxpr = jax.make_jaxpr(lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x))(x)
    assert flops.count(jaxpr) == 2 * 2 * 4**3


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"name": "own_models:recurent"}, "own_models has no recurent .* did you mean recurrent"),
        ({"name": "own_models:recurrent", "depp": 2}, "model.depp: unknown field .* did you mean deep"),
        ({"name": "own_models:recurrent", "deep": 1.5}, "model.deep: not a valid value"),
        ({"name": "own_models:wrong_logits"}, "gives other logits - got float32"),
        ({"name": "own_models:no_specs"}, "cannot be made .* no ParamSpec"),
    ],
)
def test_a_wrong_model_is_a_problem_of_the_plan(model, words):
    values = small.config()
    values["model"] = {"width": 4, **model}
    with pytest.raises(ConfigError, match=words.replace(" .* ", ".*")):
        small.sweep(values)
