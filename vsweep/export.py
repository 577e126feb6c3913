"""The parameters of a finished run as named arrays, for programs that know nothing of vsweep.

vsweep export WORKDIR RUN_ID --to FILE.npz, or FILE.safetensors.
"""

import argparse
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from vsweep import program
from vsweep.atomic import write_bytes_atomically
from vsweep.config.problems import ConfigError
from vsweep.generate import load_alone
from vsweep.host import ending

Arrays = Mapping[str, np.ndarray]


def as_npz(arrays: Arrays) -> bytes:
    """Read by `numpy.load`."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def as_safetensors(arrays: Arrays) -> bytes:
    """Read by `safetensors.numpy.load_file` and its like for torch and flax."""
    from safetensors import numpy as safetensors

    return safetensors.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


FORMATS: dict[str, Callable[[Arrays], bytes]] = {".npz": as_npz, ".safetensors": as_safetensors}


def export(workdir: str | Path, run_id: str, to: str | Path) -> dict[str, tuple[int, ...]]:
    """Writes the float32 parameters of a finished run to `to` in one step; returns name -> shape.

    The ending of `to` names the format. Names are paths in the tree of parameters, such as `attention_0.out.kernel`.

    Raises:
      ConfigError: an unknown ending, a missing library, or no such finished run; nothing was written.
      FileNotFoundError: `workdir` is no work directory.
      CannotWrite: `to` cannot be written.
    """
    to = Path(to)
    if problems := _format_problems(to):  # before anything is loaded
        raise ConfigError(problems)
    arrays = load_alone(Path(workdir), run_id).arrays()
    write_bytes_atomically(to, FORMATS[to.suffix](arrays))
    return {name: array.shape for name, array in arrays.items()}


def main(arguments: Sequence[str]) -> int:
    """Prints what was written; returns 0, 2 with a line on stderr, or 74 where the file cannot be written."""
    options = _parser().parse_args(arguments)

    def work() -> None:
        for name, shape in export(options.workdir, options.run, options.to).items():
            print(f"{name:<40} {' x '.join(map(str, shape))}")
        print(options.to)

    return ending.status(work, "nothing was written")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(program.command("export"), description="Writes a finished run's parameters.")
    parser.add_argument("workdir", type=Path, metavar="WORKDIR", help="work directory of a sweep")
    parser.add_argument("run", metavar="RUN_ID", help="a finished run, as in runs.csv")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help=f"ends in {' or '.join(FORMATS)}")
    return parser


def _format_problems(to: Path) -> list[str]:
    if to.suffix not in FORMATS:
        return [f"--to: not a known format - got {to}; allowed: a file that ends in {' or '.join(FORMATS)}"]
    if to.suffix == ".safetensors" and importlib.util.find_spec("safetensors") is None:
        return [f"--to: the library safetensors is missing - got {to}; allowed: .npz, or pip install safetensors first"]
    return []
