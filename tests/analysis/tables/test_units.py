"""Units: what a name says is believed, what only a magnitude says is doubted."""

import numpy as np
import pytest

from vsweep.analysis.tables import units


@pytest.mark.parametrize(
    ("name", "base", "factor"),
    [
        ("params_M", "params", 1e6),
        ("tokens (B)", "tokens", 1e9),
        ("tokensB", "tokens", 1e9),
        ("N [millions]", "n", 1e6),
        ("total_gflops", "totalflops", 1e9),
        ("train PFLOPs", "trainflops", 1e15),
        ("pf_days", "compute", 8.64e19),
        ("compute (PF-days)", "compute", 8.64e19),
    ],
)
def test_a_unit_in_a_name(name, base, factor):
    named = units.from_name(name)
    assert (named.base, named.factor) == (base, factor)


@pytest.mark.parametrize("name", ["N", "D", "C", "B", "M", "n_params", "trainTokens", "flops", "loss", "tokens"])
def test_a_name_without_a_unit(name):
    assert units.from_name(name) is None


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("val_bpb", units.BITS_PER_BYTE),
        ("test/ppl", units.PERPLEXITY),
        ("val_loss", None),
        ("Perplexity", "perplexity"),
    ],
)
def test_a_unit_of_a_loss(name, unit):
    assert units.loss_unit(name) == unit


SIZES, TOKENS = np.array([2e7, 5e7, 3e8]), np.array([4e8, 1e9, 1.5e10])
FLOPS = 6 * SIZES * TOKENS


@pytest.mark.parametrize(
    ("values", "factors"),
    [
        ({"N": SIZES / 1e6, "D": TOKENS / 1e9}, {"N": 1e6, "D": 1e9}),
        ({"N": SIZES, "D": TOKENS / 1e9}, {"D": 1e9}),
        ({"N": SIZES / 1e6, "D": TOKENS}, {"N": 1e6}),
        ({"N": SIZES, "D": TOKENS, "C": FLOPS / 1e9}, {"C": 1e9}),
        ({"N": SIZES, "C": FLOPS / 1e9}, {"C": 1e9}),
        ({"D": TOKENS, "C": FLOPS / 1e15}, {"C": 1e15}),
    ],
)
def test_an_implausible_magnitude_names_its_factor(values, factors):
    (doubt,) = units.doubts(values)
    assert doubt.factors == factors


@pytest.mark.parametrize(
    "values",
    [
        {"N": SIZES, "D": TOKENS},
        {"N": np.array([988.0, 50_912]), "D": np.array([125_000.0, 2e6])},  # the smallest models of a study here
        {"N": SIZES, "D": TOKENS, "C": 1.3 * FLOPS},
        {"N": SIZES, "C": FLOPS},
        {"D": TOKENS, "C": FLOPS},
    ],
)
def test_plausible_magnitudes_pass_without_a_word(values):
    assert units.doubts(values) == []
