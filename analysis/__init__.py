"""Scaling laws from finished runs: all three approaches of Hoffmann et al. 2022, with what they cannot say.

`analyse(source, out)` reads a work directory of vsweep (also while it is training) or any table of N, D and loss, and
writes `fits.json`, `figures/` and `report.html`. For one fit alone there are `analysis.parametric.fit(params, tokens,
loss)`, `analysis.planner.plan(law, flops)`, `analysis.comparison.compare(first, second)` and, for a single curve,
`compare_one_variable(x, loss)`. Needs numpy, scipy, pandas and matplotlib; loads no jax.
"""

from analysis.data.points import BadTable
from analysis.fitting.breaks import compare_one_variable
from analysis.pipeline import Result, analyse

__all__ = ["BadTable", "Result", "analyse", "compare_one_variable"]
