"""How quantities, ranges and approaches are called in sentences and tables."""

from vsweep.analysis.formatting import metric
from vsweep.analysis.sections.study import Approach
from vsweep.analysis.uncertainty.intervals import Uncertainty

NAMES = {
    "envelope": "the lower envelope",
    "isoflop_parabola": "IsoFLOP (parabola)",
    "isoflop_akima": "IsoFLOP (Akima)",
    "parametric": "the parametric law",
}


def assessed(approach: Approach, name: str) -> list[Uncertainty]:
    """What is known about the range of one quantity: the spread over seeds first, the interval last."""
    return [entry for entry in approach.uncertainty if name in entry.ranges]


def describe_range(uncertainty: Uncertainty, name: str) -> str:
    """Such as `.48 to .55 (90 % interval, 400 resampled cells and seeds)`."""
    failed = f", {uncertainty.failed} more refused" if uncertainty.failed else ""
    return f"{numbers(uncertainty, name)} ({uncertainty.form}, {uncertainty.fits} {uncertainty.kind}{failed})"


def numbers(uncertainty: Uncertainty, name: str) -> str:
    """Such as `.48 to .55`."""
    found = uncertainty.ranges[name]
    return f"{quantity(name, found.low)} to {quantity(name, found.high)}"


def quantity(name: str, value: float) -> str:
    """A number as its quantity is usually written: sizes with units, exponents with three digits."""
    if name in ("N_opt", "D_opt", "tokens_per_param"):
        return metric(value)
    return f"{value:.3f}" if name in ("a", "b", "alpha", "beta") else f"{value:.4g}"
