"""Scaling laws from finished runs: all three approaches of Hoffmann et al. 2022, with what they cannot say.

It is imported as `vsweep.analysis`, in a checkout too. `analyse(source, out)` reads a work directory of vsweep (also
while it is training) or any table of N, D and loss, and writes `fits.json`, `figures/` and `report.html`. For one fit
alone there are `approaches.parametric.fit(params, tokens, loss)`, `fitting.power_terms.fit(columns, loss)` for a law in
other columns, `planner.plan(law, flops)`, `compare.comparison.compare(first, second)` and, for a single curve,
`compare_one_variable(x, loss)`. Loads no jax.
"""

import importlib

HOME = {  # public name -> the module that has it, loaded when the name is first used: a table is refused sooner so
    "BadTable": "vsweep.analysis.tables.foreign_tables",
    "Result": "vsweep.analysis.result",
    "analyse": "vsweep.analysis.pipeline",
    "compare_one_variable": "vsweep.analysis.fitting.breaks",
}
__all__ = ["HOME", *HOME]


def __getattr__(name: str):
    if name in HOME:
        return getattr(importlib.import_module(HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
