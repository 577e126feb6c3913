"""Under muP nothing that a model computes grows or shrinks with its width; in the standard parametrization it does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vsweep.models import by_name, mup
from vsweep.models.base import ModelShape, logits_of
from vsweep.optim import by_name as optimizers

VOCABULARY, POSITIONS, BATCH, SEEDS, STEPS = 11, 6, 16, 4, 10
WIDTHS = (16, 48, 128)
MODELS = [("transformer", True), ("transformer", False), ("lstm", True), ("mlp", True)]
ADAMW = {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-12}


def shape_of(
    width: int,
    parametrization: str,
    base_width: int = 16,
    *,
    tied: bool = True,
    layers: int = 1,
    head_dim: int = 4,
    family: str = "transformer",
    **options,
) -> ModelShape:
    if "heads" in options:
        head_dim = width // options["heads"]
    if parametrization == "mup":
        options |= {"parametrization": "mup", "base_width": base_width}
    return ModelShape(
        VOCABULARY, POSITIONS, width, layers, head_dim, 4, tied, family=family, options=tuple(options.items())
    )


def sizes(shape: ModelShape, name: str, lr: float, options: dict) -> dict[str, float]:
    """Mean absolute change of activations over 10 steps, by name, and of the logits; a mean over seeds."""
    model = by_name.build(shape)
    optimizer = optimizers.build(name, model.specs, options, lr=lr, weight_decay=0.0, clip=np.inf)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, POSITIONS + 1))
    inputs, labels = tokens[:, :-1], tokens[:, 1:]

    def loss(params):
        return optax.softmax_cross_entropy_with_integer_labels(model.apply(params, inputs), labels).mean()

    def one_step(_, state):
        params, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    def activations(params):
        x_WxN, _ = model.features(params, inputs)
        return {"features": x_WxN, "logits": logits_of(model.head(params), x_WxN, *inputs.shape)}

    def of_seed(key):
        start = model.init(key)
        end, _ = jax.lax.fori_loop(0, STEPS, one_step, (start, optimizer.init(start)))
        before, after = map(activations, (start, end))
        return {name: jnp.abs(after[name]).mean() for name in after} | {
            f"change of {name}": jnp.abs(after[name] - before[name]).mean() for name in after
        }

    found = jax.jit(jax.vmap(of_seed))(jax.random.split(jax.random.key(0), SEEDS))
    return {name: float(size.mean()) for name, size in found.items()}


def slopes(parametrization: str, name: str, lr: float, options: dict, widths=WIDTHS, **shape) -> dict[str, float]:
    """Of the logarithm of each size on the logarithm of the width."""
    found = [sizes(shape_of(width, parametrization, **shape), name, lr, options) for width in widths]
    return {
        each: float(np.polyfit(np.log(widths), [np.log(at_width[each]) for at_width in found], 1)[0])
        for each in found[0]
    }


def test_activations_after_ten_steps_are_flat_in_the_width_under_mup_alone():
    """A coordinate check (Yang et al. 2022, appendix D.1), with the same heads at every width and so larger ones."""
    standard, scaled = (slopes(each, "adamw", 1e-2, ADAMW, heads=4) for each in ("standard", "mup"))
    for activations in ("features", "logits"):
        assert abs(scaled[activations]) < 0.1
    assert abs(scaled["change of logits"]) < 0.1
    assert min(standard["logits"], standard["change of logits"]) > 0.2


@pytest.mark.slow
def test_layers_move_the_features_alike_at_every_depth_under_depth_mup_alone():
    """A coordinate check (Yang et al. 2023, arXiv:2310.02244), in the residual stream behind two and eight layers."""

    def growth(**options) -> float:
        two, eight = (sizes(shape_of(16, "mup", layers=n, **options), "adamw", 1e-3, ADAMW) for n in (2, 8))
        return float(np.log(eight["change of features"] / two["change of features"]) / np.log(4))

    assert abs(growth(base_layers=2)) < 0.15
    assert growth() > 0.2


@pytest.mark.parametrize(("family", "tied"), MODELS)
def test_at_the_base_width_a_model_is_the_standard_one_bit_for_bit(family, tied):
    standard, scaled = (by_name.build(shape_of(16, each, tied=tied, family=family)) for each in ("standard", "mup"))
    assert scaled.specs == standard.specs
    params, inputs = standard_params(standard), np.zeros((2, 6), int)
    texts = [jax.jit(model.apply).lower(params, inputs).as_text() for model in (standard, scaled)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("family", "tied"), MODELS)
def test_initial_values_and_logits_follow_the_table(family, tied):
    """Four times the base width: embeddings and head stay as wide as the base's, logits are a quarter."""
    standard, scaled = (by_name.build(shape_of(64, each, tied=tied, family=family)) for each in ("standard", "mup"))
    spreads = jax.tree.map(lambda one, other: one.deviation / (other.deviation or 1.0), scaled.specs, standard.specs)
    assert spreads.pop("embed") == pytest.approx(2.0)
    assert spreads.pop("head", 2.0) == pytest.approx(2.0)
    assert spreads.pop("positions", 2.0) == pytest.approx(2.0)
    assert set(jax.tree.leaves(spreads)) <= {0.0, 1.0}
    params, inputs = standard_params(standard), np.zeros((2, 6), int)
    assert np.allclose(4 * scaled.apply(params, inputs), standard.apply(params, inputs), atol=1e-5)


def standard_params(model):
    return jax.tree.map(lambda spec: jnp.full(spec.shape, spec.deviation or spec.constant), model.specs)


def test_scores_shrink_with_the_head_dim_where_heads_are_fixed():
    assert mup.score_multiplier(shape_of(64, "mup", heads=4)) == 0.5
    assert mup.score_multiplier(shape_of(64, "mup")) == 1.0
    assert mup.score_multiplier(shape_of(64, "standard", heads=4)) == 1.0


def test_branches_of_a_deep_model_are_those_of_the_base_over_the_root_of_the_depth():
    deep = shape_of(16, "mup", layers=8, base_layers=2)
    assert mup.branch_multiplier(deep) == 0.5
    specs, base = (by_name.param_specs(shape) for shape in (deep, shape_of(16, "standard", layers=2)))
    for part in ("attention_1", "mlp_1", "embed"):
        pairs = zip(*map(jax.tree.leaves, (specs[part], base[part])), strict=True)
        assert all(one.deviation == other.deviation for one, other in pairs)
    assert specs["mlp_7"]["up"]["kernel"].depth_multiple == 4.0
    assert specs["final_norm"]["scale"].depth_multiple == 1.0
