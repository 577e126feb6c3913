"""Every path of attention computes what the plain one does, and a device gets the path that suits it."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo

from vsweep.models.attention import PATHS, attend, attend_fused, path_of
from vsweep.models.target import Target

T4, A100, CPU = Target("cuda", 7), Target("cuda", 8), Target()
UNROLLED = {"short": 16, "elementwise": 64}  # longest sequences that these are for
BY_XLA = {**PATHS, "cudnn": functools.partial(attend_fused, implementation="xla")}  # layout, padding and scale alone


def inputs(length: int, head_dim: int, dtype: str = "float32", heads: int = 2) -> list[jax.Array]:
    """q, k, v and a cotangent [H, D, T, B]."""
    rng, batch = np.random.default_rng(0), 3 if length < 512 else 1
    return [jnp.asarray(rng.normal(size=(heads, head_dim, length, batch)), dtype) for _ in range(4)]


@jax.jit
def by_every_path(q, k, v, cotangent) -> dict:
    """Path -> (values, gradients of q, k and v)."""
    found = {}
    for name, path in BY_XLA.items():
        if q.shape[2] <= UNROLLED.get(name, q.shape[2]):
            mixed, vjp = jax.vjp(path, q, k, v)
            found[name] = (mixed, *vjp(cotangent))
    return found


LENGTHS_AND_HEAD_DIMS = [*itertools.product([12, 64, 128, 1024], [4, 12, 16]), (130, 12)]


@pytest.mark.parametrize(("length", "head_dim"), LENGTHS_AND_HEAD_DIMS)
def test_every_path_gives_the_values_and_gradients_of_plain(length, head_dim):
    found = by_every_path(*inputs(length, head_dim))
    assert len(found) == len(PATHS) - sum(length > longest for longest in UNROLLED.values())
    for name, arrays in found.items():
        for array, plain in zip(arrays, found["plain"], strict=True):
            assert np.abs(array - plain).max() < 5e-6, name


def test_paths_agree_in_bfloat16_to_its_precision():
    found = by_every_path(*inputs(130, 12, "bfloat16"))
    exact = by_every_path(*inputs(130, 12))
    for name, arrays in found.items():
        for array, plain in zip(arrays, exact["plain"], strict=True):
            assert array.dtype == "bfloat16", name
            assert np.abs(array.astype("float32") - plain).max() < 0.06, name


@pytest.mark.parametrize("name", ["transposed", "blocked"])
def test_nothing_depends_on_a_later_position(name):
    q, k, v, _ = inputs(300, 4)
    other_k, other_v = k.at[:, :, 200:].add(1.0), v.at[:, :, 200:].add(1.0)
    one, other = jax.jit(PATHS[name])(q, k, v), jax.jit(PATHS[name])(q, other_k, other_v)
    assert np.array_equal(one[:, :, :200], other[:, :, :200])
    assert not np.allclose(one[:, :, 200:], other[:, :, 200:])


@pytest.mark.parametrize(
    ("target", "length", "head_dim", "precision", "path"),
    [
        (CPU, 12, 4, "float32", "short"),
        (CPU, 12, 32, "float32", "plain"),
        (CPU, 17, 4, "float32", "transposed"),
        (CPU, 256, 4, "bfloat16", "blocked"),
        (T4, 256, 4, "float32", "transposed"),
        (T4, 12, 4, "float32", "elementwise"),
        (T4, 128, 8, "bfloat16", "transposed"),
        (A100, 128, 8, "bfloat16", "cudnn"),
        (A100, 1024, 4, "float16", "cudnn"),
        (A100, 1024, 4, "float32", "blocked"),
        (A100, 128, 256, "bfloat16", "transposed"),
        (Target("rocm"), 1024, 8, "bfloat16", "blocked"),
        (Target("tpu"), 128, 8, "bfloat16", "transposed"),
    ],
)
def test_a_device_gets_the_path_that_suits_it(target, length, head_dim, precision, path):
    assert path_of(target, length, head_dim, precision) == path


def lowered_for_cuda(target: Target, length: int, head_dim: int, precision: str) -> str:
    """A stack of four models' attention with its gradients, as it goes to CUDA's compiler."""

    def loss(qkv, cotangent):
        return jnp.sum(attend(*qkv, target).astype("float32") * cotangent)

    q, k, v, cotangent = (jnp.stack([array] * 4) for array in inputs(length, head_dim, precision))
    stacked = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    return stacked.trace((q, k, v), cotangent).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("head_dim", [4, 16])
def test_a_stack_calls_cudnn_once_each_way_and_has_no_loop(head_dim, monkeypatch):
    """Without a GPU. JAX asks for the version of cuDNN, which is nowhere here."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91_000)
    text = lowered_for_cuda(A100, 128, head_dim, "bfloat16")
    assert text.count("@__cudnn$fmhaSoftmax(") == 1
    assert text.count("@__cudnn$fmhaSoftmaxBackward(") == 1
    assert "stablehlo.while" not in text


def test_float32_on_a_gpu_needs_no_cudnn_and_loops_only_in_blocks():
    assert "cudnn" not in lowered_for_cuda(A100, 128, 4, "float32")
    assert "stablehlo.while" not in lowered_for_cuda(A100, 128, 4, "float32")
    assert lowered_for_cuda(A100, 1024, 4, "float32").count("stablehlo.while") == 2
