"""Scaling laws from finished runs: all three approaches of Hoffmann et al. 2022, with what they cannot say.

It is imported as `vsweep.analysis`, in a checkout too. `analyse(source, out)` reads a work directory of vsweep (also
while it is training) or any table of N, D and loss, and writes `fits.json`, `figures/` and `report.html`. For one fit
alone there are `approaches.parametric.fit(params, tokens, loss)`, `fitting.power_terms.fit(columns, loss)` for a law in
other columns, `planner.plan(law, flops)`, `compare.comparison.compare(first, second)` and, for a single curve,
`compare_one_variable(x, loss)`. Loads no jax.
"""

from vsweep.analysis.fitting.breaks import compare_one_variable
from vsweep.analysis.pipeline import Result, analyse
from vsweep.analysis.tables.foreign_tables import BadTable

__all__ = ["BadTable", "Result", "analyse", "compare_one_variable"]
