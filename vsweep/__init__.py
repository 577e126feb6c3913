"""vsweep trains every model of a scaling-law study at once and turns that one run into the law.

`run_sweep(config, workdir)` yields an event at each boundary. It is loaded on first use, so that `analysis`, which
needs only `vsweep.schema and vsweep.tables`, never imports jax.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    if name == "run_sweep":
        from vsweep.train.trainer import run_sweep

        return run_sweep
    raise AttributeError(f"module 'vsweep' has no attribute {name!r}")
