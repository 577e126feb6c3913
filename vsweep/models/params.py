"""Parameters described before they exist: a nested dict of `ParamSpec`, by the names that checkpoints hold.

Everything that depends on what a parameter is comes from this one tree: initial values, counts, which parameters decay,
and the classes by which a parametrization scales with width. A module system would hide that knowledge in code that
has to be traced first.
"""

import dataclasses
import enum
import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

Params = dict[str, Any]  # nested, of arrays
Specs = dict[str, Any]  # nested, of ParamSpec


class Role(enum.Enum):
    """What a parameter does; muP scales by these (Yang et al. 2022, arXiv:2203.03466, table 8).

    Embeddings, positions, norms and biases are its input weights and vectors, HIDDEN is a matrix of which both sides
    grow with the width, OUTPUT is an untied head. ROUTER chooses among experts: its outputs do not grow with the width.
    """

    EMBEDDING = "embedding"
    POSITION = "position"
    HIDDEN = "hidden"
    OUTPUT = "output"
    NORM = "norm"
    BIAS = "bias"
    ROUTER = "router"


NON_EMBEDDING = (Role.HIDDEN, Role.NORM, Role.BIAS, Role.ROUTER)  # what Kaplan et al. 2020 count


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """One parameter. With a `deviation` its initial entries are normal around 0; without, all are `constant`."""

    shape: tuple[int, ...]
    role: Role
    deviation: float = 0.0
    constant: float = 0.0
    width_multiple: float = 1.0  # width / base width under muP
    depth_multiple: float = 1.0  # layers / base layers under muP, in the layers

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


def init_params(specs: Specs, key: jax.Array) -> Params:
    """Float32 arrays in the shapes of `specs`.

    One draw for all of them, shared out in the order of `jax.tree.leaves`: a draw for each took almost as long to
    compile as the training step.
    """
    leaves, tree = jax.tree.flatten(specs)
    sizes = [spec.size for spec in leaves if spec.deviation]
    draws = iter(jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1]))

    def made(spec: ParamSpec) -> jax.Array:
        if not spec.deviation:
            return jnp.full(spec.shape, spec.constant)
        return spec.deviation * next(draws).reshape(spec.shape)

    return tree.unflatten([made(spec) for spec in leaves])


def count_by_role(specs: Specs) -> Counter[Role]:
    """Number of parameters of each role, as Python ints."""
    counts: Counter[Role] = Counter()
    for spec in jax.tree.leaves(specs):
        counts[spec.role] += spec.size
    return counts


def flat_mask(specs: Specs, roles: Collection[Role]) -> np.ndarray:
    """bool [parameters]: whether each has one of `roles`, in the order of `jax.flatten_util.ravel_pytree`."""
    return np.concatenate([np.full(spec.size, spec.role in roles) for spec in jax.tree.leaves(specs)])


def named(tree: Mapping) -> dict[str, Any]:
    """The leaves of a nested dict by their paths: `attention_0/out/kernel`."""
    flat = traverse_util.flatten_dict(tree, keep_empty_nodes=True)
    return {"/".join(map(str, path)): leaf for path, leaf in flat.items()}


def mismatches(specs: Specs, params: Any) -> list[str]:
    """Where `params`, from a file, is not what `specs` describes: `path: got ...; allowed: ...`, and [] if nowhere."""
    wanted = {path: spec.shape for path, spec in named(specs).items()}
    leaves = named(params) if isinstance(params, dict) else {}
    got = {path: getattr(leaf, "shape", None) for path, leaf in leaves.items()}
    paths = dict.fromkeys([*wanted, *got])
    return [
        f"{path}: got {got.get(path, 'nothing')}; allowed: {wanted.get(path, 'nothing')}"
        for path in paths
        if path not in wanted or path not in got or wanted[path] != got[path]
    ]
