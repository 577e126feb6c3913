"""Recurrent models: layers of LSTM (Hochreiter & Schmidhuber 1997; Gers et al. 2000) or GRU (Cho et al. 2014) cells.

A layer's products with its inputs are one product for all positions; the recurrence is a scan over the positions. Its
state has the width of the model. With `residual` each layer is added to its input, which it sees normed, and without it
the layers are stacked plainly. The GRU resets after the product with the state, as cuDNN's does.

Shapes in names are those of `models/transformer.py`; G is the gates of a cell, 4 or 3.
"""

import functools

import jax
import jax.numpy as jnp

from vsweep.models.base import Model, ModelShape, of_halves
from vsweep.models.dropout import Dropout
from vsweep.models.families.layers import (
    embed,
    embedding_specs,
    head_of,
    kernel_spec,
    norm,
    norm_specs,
)
from vsweep.models.params import Params, ParamSpec, Role, Specs

GATES = {"lstm": ("input", "forget", "cell", "output"), "gru": ("reset", "update", "candidate")}


def build(shape: ModelShape) -> Model:
    """The model of `shape`, whose family is `lstm` or `gru`."""
    return of_halves(
        shape, param_specs(shape), functools.partial(features, shape), functools.partial(head_of, shape.tied_embeddings)
    )


def param_specs(shape: ModelShape) -> Specs:
    """The parameters; matrices start with variance 1 / fan in. Layers have an entry each: `layer_0`, `layer_1`, ..."""
    layer = _layer_specs(shape)
    layers = {f"layer_{index}": layer for index in range(shape.layers)}
    return {**embedding_specs(shape), **layers, "final_norm": norm_specs(shape.width)}


def _layer_specs(shape: ModelShape) -> Specs:
    """The bias of an LSTM's forget gate starts at 1, so that it remembers (Jozefowicz et al. 2015)."""
    width, gates = shape.width, GATES[shape.family]
    specs: Specs = {
        "inputs": kernel_spec(width, len(gates) * width),
        "state": kernel_spec(width, len(gates) * width),
        "bias": {gate: ParamSpec((width,), Role.BIAS, constant=float(gate == "forget")) for gate in gates},
    }
    # The kernels' fan out is several widths, so they are [G W, W] as `kernel_spec` keeps them.
    if shape.family == "gru":
        specs["state_bias"] = ParamSpec((width,), Role.BIAS)  # of the candidate, inside the reset
    return specs | ({"norm": norm_specs(width)} if shape.option("residual") else {})


def features(shape: ModelShape, params: Params, tokens_BxT, *, dropout_key=None, dropout=0.0):
    """(x_WxN, None) of whole numbers below `shape.vocabulary`. The output of each layer is dropped out."""
    batch = tokens_BxT.shape[0]
    x_WxN = embed(shape, params, tokens_BxT)
    drop = Dropout.draw(dropout_key, dropout, (shape.layers, *x_WxN.shape))
    for index in range(shape.layers):
        layer = params[f"layer_{index}"]
        inputs_WxN = (
            norm(shape.option("norm"), layer["norm"], x_WxN, shape.target) if shape.option("residual") else x_WxN
        )
        y_WxN = drop(_layer(shape.family, batch, layer, inputs_WxN), index)
        x_WxN = x_WxN + y_WxN if shape.option("residual") else y_WxN
    return norm(shape.option("norm"), params["final_norm"], x_WxN, shape.target), None


def _layer(family: str, batch: int, params: Params, x_WxN):
    """The states [W, N] of a layer at all positions, in the type of x; it starts from zeros."""
    dtype, width = x_WxN.dtype, x_WxN.shape[0]
    gates = GATES[family]
    bias_GW = jnp.concatenate([params["bias"][gate] for gate in gates]).astype(dtype)
    drive_GWxN = params["inputs"].astype(dtype) @ x_WxN + bias_GW[:, None]
    drive_TxGxWxB = drive_GWxN.reshape(len(gates), width, -1, batch).transpose(2, 0, 1, 3)
    kernel_GWxW = params["state"].astype(dtype)
    start_WxB = jnp.zeros((width, batch), dtype)
    if family == "lstm":
        step = functools.partial(_lstm, kernel_GWxW)
        _, states_TxWxB = jax.lax.scan(step, (start_WxB, start_WxB), drive_TxGxWxB)
    else:
        step = functools.partial(_gru, kernel_GWxW, params["state_bias"].astype(dtype)[:, None])
        _, states_TxWxB = jax.lax.scan(step, start_WxB, drive_TxGxWxB)
    return states_TxWxB.transpose(1, 0, 2).reshape(width, -1)


def _lstm(kernel_GWxW, carried, drive_GxWxB):
    """One position: c = f c + i tanh(g), h = o tanh(c), with all gates from the input and the last h."""
    h_WxB, c_WxB = carried
    write, forget, cell, read = drive_GxWxB + (kernel_GWxW @ h_WxB).reshape(drive_GxWxB.shape)
    c_WxB = jax.nn.sigmoid(forget) * c_WxB + jax.nn.sigmoid(write) * jnp.tanh(cell)
    h_WxB = jax.nn.sigmoid(read) * jnp.tanh(c_WxB)
    return (h_WxB, c_WxB), h_WxB


def _gru(kernel_GWxW, bias_Wx1, h_WxB, drive_GxWxB):
    """One position: h = (1 - z) n + z h, n = tanh(input + r (state + bias))."""
    reset, update, candidate = (kernel_GWxW @ h_WxB).reshape(drive_GxWxB.shape)
    z = jax.nn.sigmoid(drive_GxWxB[1] + update)
    n = jnp.tanh(drive_GxWxB[2] + jax.nn.sigmoid(drive_GxWxB[0] + reset) * (candidate + bias_Wx1))
    h_WxB = (1.0 - z) * n + z * h_WxB
    return h_WxB, h_WxB
