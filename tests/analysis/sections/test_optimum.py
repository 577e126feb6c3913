"""Whether the approaches agree: by the widest range known of each, or not at all where one has none."""

import pytest

from vsweep.analysis.sections import optimum
from vsweep.analysis.uncertainty.approach import METHODS, Approach
from vsweep.analysis.uncertainty.intervals import SEED_FITS, Range, Uncertainty


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
        ((0.50, 0.52), 0.1, "cannot tell them apart"),
        ((0.20, 0.70), 0.2, "they disagree"),
        ((0.40, 0.60), None, "it is unknown whether that is much"),
    ],
    ids=["close", "ranges meet", "apart", "wide ranges", "close, wide ranges", "wide ranges apart", "no range"],
)
def test_the_verdict_follows_from_the_ranges(exponents, half, verdict):
    found = optimum.agreement([approach(place, a, half) for place, a in enumerate(exponents)])
    assert found.apart == pytest.approx(exponents[1] - exponents[0])
    assert verdict in found.text


def of_seeds(a: float, low: float, high: float) -> Approach:
    spread = Uncertainty(SEED_FITS, "min..max", {"a": Range(low, high)}, 3)
    return Approach(METHODS[3], None, {"a": a}, (spread,))


def test_an_exponent_outside_single_seeds_is_explained():
    (sentence,) = optimum.about_single_seeds([of_seeds(0.525, 0.551, 0.638)])
    assert "a = 0.525 for all seeds together, outside the 0.551 to 0.638 of single seeds" in sentence
    assert "no mean of the fits to single seeds" in sentence
    assert optimum.about_single_seeds([of_seeds(0.6, 0.551, 0.638)]) == []
