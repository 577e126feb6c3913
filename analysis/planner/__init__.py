"""From a fitted law to a training decision: `plan(law, flops)`, or `python -m analysis plan FITS.json --compute FLOP`.

`read_fits` reads a law with its resamples from fits.json; `plan` gives the numbers as dataclasses, each with its
interval.
"""

from vsweep.analysis.planner.allocation import plan
from vsweep.analysis.planner.command import main
from vsweep.analysis.planner.results import GpuTime, Plan
from vsweep.analysis.planner.saved_law import BadLaw, SavedLaw, read_fits

__all__ = ["BadLaw", "GpuTime", "Plan", "SavedLaw", "main", "plan", "read_fits"]
