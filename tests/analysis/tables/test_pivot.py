"""A table of sizes and budgets is melted where it can be nothing else, and refused with the way on elsewhere."""

import numpy as np
import pandas as pd
import pytest

from tests.analysis.tables.logs import LAW, A
from vsweep.analysis.approaches import parametric
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import select
from vsweep.analysis.data.source import Convention
from vsweep.analysis.tables.foreign_tables import BadTable

SIZES = (2e7, 7e7, 2e8, 7e8)
TOKENS = (4e8, 1e9, 4e9, 1e10, 4e10)
LOSSES = np.array([[LAW.loss(size, tokens) for tokens in TOKENS] for size in SIZES])


def written(tmp_path, corner: str, headers, sizes=SIZES, losses=LOSSES):
    table = pd.DataFrame(losses, columns=list(headers))
    table.insert(0, corner, list(sizes))
    table.to_csv(tmp_path / "pivot.csv", index=False)
    return tmp_path / "pivot.csv"


def refusal(source) -> str:
    with pytest.raises(BadTable) as error:
        load(source)
    return str(error.value)


@pytest.mark.parametrize("corner", ["N", "params", "", "size", "N \\ D", "params/tokens"])
@pytest.mark.parametrize(
    "headers",
    [
        [f"{tokens:g}" for tokens in TOKENS],
        [f"D={tokens:g}" for tokens in TOKENS],
        [f"{tokens / 1e9:g}B tokens" for tokens in TOKENS],
        [f"{tokens / 1e9:g}B" for tokens in TOKENS],
    ],
)
def test_sizes_and_budgets_are_melted(tmp_path, corner, headers):
    source = load(written(tmp_path, corner, headers))
    np.testing.assert_allclose(source.runs["loss"], LOSSES.ravel(), rtol=1e-12)
    np.testing.assert_allclose(source.runs["params"], np.repeat(SIZES, len(TOKENS)))
    np.testing.assert_allclose(source.runs["tokens"], np.tile(TOKENS, len(SIZES)))


def test_melted_table_says_what_was_done(tmp_path):
    source = load(written(tmp_path, "N", [f"D={tokens:g}" for tokens in TOKENS]))
    assert source.notes[0] == (
        "The table is a pivot: 4 rows of N and 5 columns of D (D=4e+08 to D=4e+10). Each of its 20 cells was read as "
        "the loss of one run."
    )
    assert source.runs["run_id"].iloc[0] == "row 2:D=4e+08"
    assert source.runs["run_id"].is_unique
    assert parametric.fit(*select(source, Convention("loss")).law_columns).law.a == pytest.approx(A, abs=1e-3)


def test_data_frame_from_pandas_pivot_is_melted():
    long = pd.DataFrame([(n, d, LAW.loss(n, d)) for n in SIZES for d in TOKENS], columns=["N", "D", "loss"])
    source = load(long.pivot_table(index="N", columns="D", values="loss"))
    np.testing.assert_allclose(source.runs["loss"], long["loss"])


def test_budgets_of_compute_are_melted(tmp_path):
    flops = (1e17, 1e18, 1e19)
    losses = [[LAW.loss(size, c / (6 * size)) for c in flops] for size in SIZES]
    source = load(written(tmp_path, "N", [f"C={c:g}" for c in flops], losses=losses))
    np.testing.assert_allclose(source.runs["tokens"], [c / (6 * size) for size in SIZES for c in flops])


def test_tokens_in_rows_and_sizes_in_headers(tmp_path):
    source = load(written(tmp_path, "tokens", [f"{size:g}" for size in SIZES], TOKENS, LOSSES.T))
    np.testing.assert_allclose(source.runs["params"], np.tile(SIZES, len(TOKENS)))
    np.testing.assert_allclose(source.runs["tokens"], np.repeat(TOKENS, len(SIZES)))


def test_units_of_sizes_are_read(tmp_path):
    headers = [f"{tokens:g}" for tokens in TOKENS]
    in_millions = load(written(tmp_path, "params_M", headers, [size / 1e6 for size in SIZES]))
    np.testing.assert_allclose(in_millions.runs["params"], np.repeat(SIZES, len(TOKENS)))
    with_letters = load(written(tmp_path, "model", headers, [f"{size / 1e6:g}M" for size in SIZES]))
    np.testing.assert_allclose(with_letters.runs["params"], np.repeat(SIZES, len(TOKENS)))


def test_empty_cells_are_counted(tmp_path):
    losses = LOSSES.copy()
    losses[3, 4] = losses[0, 0] = np.nan
    source = load(written(tmp_path, "N", [f"{tokens:g}" for tokens in TOKENS], losses=losses))
    assert len(source.runs) == 18
    assert "18 cells was read as the loss of one run, and 2 are empty" in source.notes[0]


def test_budgets_that_may_be_flops_are_asked_about(tmp_path):
    said = refusal(written(tmp_path, "N", [f"{c:g}" for c in (1e17, 1e18, 1e19, 1e20, 1e21)]))
    assert "may be tokens or FLOP" in said
    assert "such as D=1e+17 or C=1e+17" in said


def test_near_pivots_are_refused_with_the_way_on(tmp_path):
    headers = [f"{tokens:g}" for tokens in TOKENS]
    texts = LOSSES.astype(object)
    texts[1, 1] = "diverged"
    twice = [SIZES[0], *SIZES[:3]]
    near = [
        ("N", headers, SIZES, texts),
        ("N", headers, twice, LOSSES),
        ("N", [*headers[:4], "note"], SIZES, LOSSES),
        ("depth", headers, SIZES, LOSSES),
        ("N", [*headers[:4], headers[0]], SIZES, LOSSES),
        ("N", headers, SIZES, -LOSSES),
    ]
    for corner, names, sizes, losses in near:
        said = refusal(written(tmp_path, corner, names, sizes, losses))
        assert "melt it to one row a run" in said, said


def test_table_with_a_loss_is_no_pivot(tmp_path):
    plain = pd.DataFrame([(n, d, LAW.loss(n, d)) for n in SIZES for d in TOKENS], columns=["N", "D", "loss"])
    assert load(plain.assign(**{"1e9": 1.0})).notes == ()
