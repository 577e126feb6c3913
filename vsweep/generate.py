"""Greedy decoding from the query alone, with any finished run of a work directory.

vsweep generate WORKDIR --run RUN_ID "123+456=", or python -m vsweep.generate with the same arguments.
"""

from vsweep.host import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    import jax
except ValueError as error:  # so jax answers an environment variable that it cannot read
    if __name__ != "__main__":
        raise
    print(f"environment: {error}", file=sys.stderr)
    sys.exit(2)
import jax.numpy as jnp
import numpy as np
from absl import logging

from vsweep import program
from vsweep.config.problems import ConfigError
from vsweep.host import devices
from vsweep.models.base import Model
from vsweep.saved_run import SavedRun, load_run


def greedy(model: Model, params, queries: list[list[int]], *, length: int, pad: int) -> np.ndarray:
    """Continues token sequences by the most likely token, from nothing but the query.

    Returns int32 [Q, length]: each query and what follows it. Every position after the query holds padding until it
    has been decoded, and the causal mask keeps what is behind it out of sight.
    """
    tokens_QxS = np.full((len(queries), length), pad, np.int32)
    for row, query in enumerate(queries):
        tokens_QxS[row, : len(query)] = query
    starts_Q = jnp.array([len(query) for query in queries])
    return np.asarray(_decode(model, params, jnp.asarray(tokens_QxS), starts_Q))


@functools.partial(jax.jit, static_argnums=0)
def _decode(model: Model, params, tokens_QxS, starts_Q):
    def extend(position, tokens_QxS):
        logits_QxLxV = model.apply(params, tokens_QxS[:, :-1])
        likeliest_Q = jnp.argmax(logits_QxLxV[:, position - 1], axis=-1)
        chosen_Q = jnp.where(position >= starts_Q, likeliest_Q, tokens_QxS[:, position])
        return tokens_QxS.at[:, position].set(chosen_Q)

    return jax.lax.fori_loop(1, tokens_QxS.shape[1], extend, tokens_QxS)


def load_alone(workdir: Path, run_id: str) -> SavedRun:
    """`load_run` for a program that does nothing else: on every core, and without the steps that orbax reports."""
    logging.set_verbosity(logging.WARNING)
    devices.use_cpu_cores_as_devices()
    if problems := devices.setting_problems():
        raise ConfigError(problems)
    return load_run(workdir, run_id)


def main(arguments: Sequence[str]) -> int:
    """Prints a line for each query; returns 0, or 2 with a line on stderr. Argparse leaves with 2 for wrong ones."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        task, model, params = load_alone(options.workdir, options.run)
        encoded = [task.encode(query) for query in options.queries]
    except (ConfigError, FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    for row in greedy(model, params, encoded, length=task.sequence_length, pad=max(task.pad, 0)):
        print(task.decode(list(row)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program.command("generate"), description="The answers of a finished run.")
    parser.add_argument("workdir", type=Path, metavar="WORKDIR", help="work directory of a sweep")
    parser.add_argument("queries", nargs="+", metavar="QUERY", help='text to continue, such as "123+456="')
    parser.add_argument("--run", required=True, metavar="RUN_ID", help="a finished run, as in runs.csv")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
