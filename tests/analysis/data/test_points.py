import numpy as np
import pandas as pd
import pytest

from tests.analysis.planted import FLOOR, Planted, write_planted, write_runs
from vsweep import schema, tables
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import ExclusionKind, group_close, select
from vsweep.analysis.data.source import Convention
from vsweep.analysis.tables.foreign_tables import BadTable


def rewrite(workdir, change):
    """Applies `change` to the rows of runs.csv."""
    rows = tables.read_runs(workdir).astype(object).to_dict("records")
    for row in rows:
        change(row)
    write_runs(workdir, rows)


@pytest.fixture
def workdir(tmp_path):
    return write_planted(tmp_path / "sweep", Planted(widths=(4, 8), budgets=(125_000, 250_000)))


def test_missing_source_is_refused(tmp_path):
    with pytest.raises(BadTable, match="no such work directory or table"):
        load(tmp_path / "nowhere")
    with pytest.raises(BadTable, match=r"no runs\.csv here"):
        load(tmp_path)


def test_runs_table_is_no_foreign_table(workdir):
    with pytest.raises(BadTable, match="give the work directory"):
        load(workdir / schema.RUNS_FILE)


def test_workdir_with_bad_runs_is_refused(workdir):
    def change(row):
        row["params"] = -5 if row["run_id"] == "w4-b125000-s0" else row["params"]
        row["budget"] = None if row["run_id"] == "w4-b125000-s2" else row["budget"]

    rewrite(workdir, change)
    with pytest.raises(
        BadTable, match=r"runs\.csv: column params: negative in row 2; column budget: empty or NaN in row 4$"
    ):
        load(workdir)
    write_runs(workdir, [])
    with pytest.raises(BadTable, match=r"runs\.csv: the table has no rows"):
        load(workdir)


def test_text_among_numbers_is_named(workdir):
    runs = pd.read_csv(workdir / schema.RUNS_FILE, dtype=str)
    curves = pd.read_csv(workdir / schema.CURVES_FILE, dtype=str)
    runs.assign(remark="mine").to_csv(workdir / schema.RUNS_FILE, index=False)
    assert load(workdir).runs["remark"].tolist() == ["mine"] * len(runs)  # a column of somebody's own is not looked at
    broken = runs.copy()
    broken.loc[[0, 2], "val_loss"] = "none", "low"
    broken.loc[1, ["seed", "params"]] = "a", "large"
    broken.to_csv(workdir / schema.RUNS_FILE, index=False)
    with pytest.raises(BadTable) as caught:
        load(workdir)
    assert str(caught.value).removeprefix(f"{workdir / schema.RUNS_FILE}: ").split("; ") == [
        "column params: not a number in row 3 (such as 'large')",
        "column seed: not a number in row 3 (such as 'a')",
        "column val_loss: not a number in rows 2, 4 (such as 'none')",
    ]
    runs.to_csv(workdir / schema.RUNS_FILE, index=False)
    curves.loc[4, "tokens"] = "many"
    curves.to_csv(workdir / schema.CURVES_FILE, index=False)
    with pytest.raises(BadTable, match=r"curves\.csv: column tokens: not a number in row 6 \(such as 'many'\)"):
        load(workdir)


def test_excess_below_zero_is_never_clipped(workdir):
    def change(row):
        if row["run_id"] == "w8-b250000-s1":
            row["excess_loss"] = -0.002
        if row["run_id"] == "w8-b250000-s2":
            row["excess_loss"] = 0.0

    rewrite(workdir, change)
    points = select(load(workdir), Convention("excess_loss"))
    assert {entry.run_id: entry.reason for entry in points.exclusions} == {
        "w8-b250000-s1": "excess_loss = -0.002 has no logarithm",
        "w8-b250000-s2": "excess_loss = 0 has no logarithm",
    }
    assert len(points.table) == 10
    assert points.table["loss"].min() > 0.01
    # The same runs stay in fits of other losses.
    assert len(select(load(workdir), Convention("val_loss")).table) == 12


def test_diverged_and_running_runs_are_excluded(workdir):
    def change(row):
        if row["seed"] == 1:
            row |= {"status": schema.DIVERGED, "val_loss": np.inf, "diverged_at_step": 12}
        if row["seed"] == 2:
            row |= {"status": schema.RUNNING, "val_loss": None, "tokens": None}

    rewrite(workdir, change)
    points = select(load(workdir), Convention("val_loss"))
    assert sorted({entry.reason for entry in points.exclusions}) == ["diverged at step 12", "still running"]
    assert len(points.exclusions) == 8
    assert set(points.table["seed"]) == {"0"}
    assert points.table["loss"].min() > FLOOR


def test_conventions_change_n_and_c(workdir):
    source = load(workdir)
    total = select(source, Convention("val_loss")).table
    bare = select(source, Convention("val_loss", size="params_non_embedding")).table
    counted = select(source, Convention("val_loss", flops="flops_counted")).table
    assert (bare["params"] < total["params"]).all()
    np.testing.assert_allclose(bare["flops"], 6 * bare["params"] * bare["tokens"])
    np.testing.assert_allclose(counted["flops"], source.runs["flops_counted"])


@pytest.mark.parametrize("flops", ["flops_6nd", "flops_counted"])
def test_a_model_of_embeddings_alone_is_left_out_where_n_leaves_them_out(workdir, flops):
    def change(row):
        row["params_non_embedding"] = 0 if row["width"] == 4 else row["params_non_embedding"]

    rewrite(workdir, change)
    source = load(workdir)
    assert select(source, Convention("val_loss", flops=flops)).exclusions == ()
    bare = select(source, Convention("val_loss", size="params_non_embedding", flops=flops))
    assert {entry.kind for entry in bare.exclusions} == {ExclusionKind.NO_SIZE}
    assert set(bare.table["width"]) == {8}


def test_each_cell_keeps_its_best_setting(workdir):
    def change(row):
        if row["seed"] == 2:
            row |= {"lr": 1e-3, "val_loss": row["val_loss"] * (1.1 if row["width"] == 4 else 0.9)}

    rewrite(workdir, change)
    points = select(load(workdir), Convention("val_loss"))
    kept = points.table.groupby("width")["seed"].unique()
    assert set(kept[4]) == {"0", "1"}
    assert set(kept[8]) == {"2"}
    assert all("another setting of lr" in entry.reason for entry in points.exclusions)


def test_separate_seed_axes_make_separate_blocks(workdir):
    def change(row):
        row["init_seed"], row["seed"] = row["seed"], 0

    rewrite(workdir, change)
    assert select(load(workdir), Convention("val_loss")).seeds == ["0/0/0/0", "0/1/1/1", "0/2/2/2"]


def test_close_sizes_are_grouped():
    values = np.array([1.00e6, 1.01e6, 2e6, 1.99e6, 4e6])
    assert len(np.unique(group_close(values))) == 3
    dense = 1e6 * 1.02 ** np.arange(20)
    np.testing.assert_array_equal(group_close(dense), dense)


def test_points_carry_unique_tokens(workdir):
    def change(row):
        row["unique_tokens"] = row["budget"] / 2

    rewrite(workdir, change)
    table = select(load(workdir), Convention("val_loss")).table
    assert (table["unique_tokens"] == table["budget"] / 2).all()
    assert not {"isoflop", "weight"} & set(table)


def test_the_readers_give_one_row_a_run(workdir):
    assert isinstance(load(workdir).curves, pd.DataFrame)
    assert len(select(load(workdir), Convention("answer_loss")).table) == 12


def test_own_axes_without_a_config_are_a_warning(workdir):
    runs = tables.read_runs(workdir)
    runs.assign(decay=0.1 * runs["width"]).to_csv(workdir / schema.RUNS_FILE, index=False)
    (workdir / "config.json").write_text("{")
    (warning,) = load(workdir).warnings
    assert warning == "config.json cannot be read, so no column is taken for a setting of: decay."
    (workdir / "config.json").write_text('{"sweep": {"decay": [0.8, 0.9]}}')
    assert load(workdir).warnings == ()
    assert "decay" in load(workdir).settings
