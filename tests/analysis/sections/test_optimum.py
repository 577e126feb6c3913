"""Whether the approaches agree: by the widest range known of each, or not at all where one has none."""

import pytest

from vsweep.analysis.sections import optimum
from vsweep.analysis.uncertainty.approach import METHODS, Approach
from vsweep.analysis.uncertainty.intervals import Range, Uncertainty


def approach(place: int, a: float, half: float | None) -> Approach:
    """An approach with the exponent `a`, known to within `half`; None for one without a range."""
    ranges = {} if half is None else {"a": Range(a - half, a + half)}
    return Approach(METHODS[place], None, {"a": a}, (Uncertainty("resamples", "90 % interval", ranges, 20),))


@pytest.mark.parametrize(
    ("exponents", "half", "verdict"),
    [
        ((0.50, 0.52), 0.05, "they agree"),
        ((0.40, 0.48), 0.05, "they agree"),
        ((0.40, 0.60), 0.05, "they disagree"),
        ((0.40, 0.60), 0.2, "cannot tell them apart"),
        ((0.40, 0.60), None, "it is unknown whether that is much"),
    ],
    ids=["close", "ranges meet", "apart", "wide ranges", "no range"],
)
def test_the_verdict_follows_from_the_ranges(exponents, half, verdict):
    found = optimum.agreement([approach(place, a, half) for place, a in enumerate(exponents)])
    assert found.apart == pytest.approx(exponents[1] - exponents[0])
    assert verdict in found.text
