"""vsweep trains every model of a scaling-law study at once and turns that one run into the law.

`run_sweep(config, workdir)` yields an event at each boundary. It is loaded on first use, so that `vsweep.analysis`,
which needs only the tables, never imports jax.
"""

from pathlib import Path

__version__ = "0.1.0"

_HERE = Path(__file__).parent
if not (_HERE / "analysis").is_dir():
    # A checkout, where `analysis` and `configs` stand beside this folder; in an installed package they are inside it.
    # Both are imported as `vsweep.analysis` and `vsweep.configs`, whatever folders of those names a user has.
    __path__.append(str(_HERE.parent))


def __getattr__(name: str):
    if name == "run_sweep":
        from vsweep.train.sweep import run_sweep

        return run_sweep
    raise AttributeError(f"module 'vsweep' has no attribute {name!r}")
