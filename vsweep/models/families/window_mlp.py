"""A feed-forward network on a fixed window of the last tokens (Bengio et al. 2003), with residual layers.

The vectors of the last `window` tokens are joined and mapped to the width; before a sequence's start they are zeros.
Then come `layers` layers, each a normed feed-forward layer with GELU that is added to its input. A logit depends on no
token outside its window, and on no position.
"""

import functools

import jax.numpy as jnp

from vsweep.models.base import Model, ModelShape, of_halves
from vsweep.models.dropout import Dropout
from vsweep.models.families import feed_forward
from vsweep.models.families.layers import dense, dense_specs, embed, embedding_specs, head_of, norm, norm_specs
from vsweep.models.params import Params, Specs


def build(shape: ModelShape) -> Model:
    """The model of `shape`, whose family is `mlp`."""
    return of_halves(
        shape, param_specs(shape), functools.partial(features, shape), functools.partial(head_of, shape.tied_embeddings)
    )


def param_specs(shape: ModelShape) -> Specs:
    """The parameters; matrices start with variance 1 / fan in, those that write to the residual stream with less."""
    width, residual = shape.width, 1.0 / max(1, shape.layers)
    layer = {
        "norm": norm_specs(width),
        "up": dense_specs(width, shape.ff, bias=True),
        "down": dense_specs(shape.ff, width, bias=True, variance=residual),
    }
    return {
        **embedding_specs(shape),
        "window": dense_specs(shape.option("window") * width, width, bias=True),
        **{f"layer_{index}": layer for index in range(shape.layers)},
        "final_norm": norm_specs(width),
    }


def features(shape: ModelShape, params: Params, tokens_BxT, *, dropout_key=None, dropout=0.0):
    """(x_WxN, None) of whole numbers below `shape.vocabulary`."""
    vectors_WxN = embed(shape, params, tokens_BxT)
    x_WxN = dense(params["window"], _windows(vectors_WxN, shape.option("window"), tokens_BxT.shape[0]))
    drop = Dropout.draw(dropout_key, dropout, (shape.layers, *x_WxN.shape))
    for index in range(shape.layers):
        layer = params[f"layer_{index}"]
        normed_WxN = norm(shape.option("norm"), layer["norm"], x_WxN, shape.target)
        x_WxN += drop(feed_forward.apply("gelu", layer, normed_WxN), index)
    return norm(shape.option("norm"), params["final_norm"], x_WxN, shape.target), None


def _windows(x_WxN, window: int, batch: int):
    """[window W, N]: the vectors of the token itself, the one before it, ...; positions are `batch` columns apart."""
    padded_WxM = jnp.pad(x_WxN, ((0, 0), ((window - 1) * batch, 0)))
    columns = x_WxN.shape[1]
    starts = ((window - 1 - back) * batch for back in range(window))
    return jnp.concatenate([padded_WxM[:, start : start + columns] for start in starts])
