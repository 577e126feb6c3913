"""Slope or intercept: planted pairs of sets, what they share, what cannot be compared, and the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.analysis import hostile
from tests.analysis.conftest import CHINCHILLA
from tests.analysis.planted import LAW, Planted, write_planted, write_runs
from vsweep import tables
from vsweep.analysis.approaches.parametric import Law
from vsweep.analysis.compare import command, comparison, paired_bootstrap, report, verdict
from vsweep.analysis.compare.comparison import Comparison
from vsweep.analysis.data import loading
from vsweep.analysis.data.loading import load
from vsweep.analysis.data.points import Points, select
from vsweep.analysis.data.source import Convention, Refusal
from vsweep.analysis.plotting import save
from vsweep.analysis.uncertainty import bootstrap
from vsweep.analysis.uncertainty.approach import fit_parametric

SIZES, BUDGETS = np.geomspace(1e3, 5e4, 6), np.geomspace(125e3, 2e6, 5)
COSTLIER = Law(E=0.0, A=1.2 * LAW.A, B=1.3 * LAW.B, alpha=LAW.alpha, beta=LAW.beta)
SLOWER = Law(E=0.0, A=LAW.A * 5e3**-0.1, B=LAW.B, alpha=0.4, beta=LAW.beta)
KNOWN = Convention("loss", given_floor=0.0)


def table(law: Law = LAW, noise: float = 0.01, seed: int = 0, seeds: int = 1) -> pd.DataFrame:
    """6 sizes x 5 budgets of a law with independent noise in log loss."""
    cells = [(n, d, s) for n in SIZES for d in BUDGETS for s in range(seeds)]
    frame = pd.DataFrame(cells, columns=["N", "D", "seed"])
    factor = np.exp(noise * np.random.default_rng(seed).standard_normal(len(frame)))
    frame["loss"] = law.loss(frame["N"], frame["D"]) * factor
    return frame if seeds > 1 else frame.drop(columns="seed")


def points(law: Law = LAW, noise: float = 0.01, seed: int = 0, seeds: int = 1) -> Points:
    return select(load(table(law, noise, seed, seeds)), KNOWN)


def compared(second: Points, first: Points | None = None, **options) -> Comparison:
    return comparison.compare(points() if first is None else first, second, **{"bootstrap": 60, **options})


def gamma(law: Law) -> float:
    return law.alpha * law.beta / (law.alpha + law.beta)


def multiplier(second: Law, flops: float) -> float:
    """Compute of `second` over that of LAW for the loss of LAW at `flops`, by search."""
    grid = np.geomspace(flops / 1e3, flops * 1e3, 100_001)
    loss = second.loss(second.params_opt(grid), second.tokens_opt(grid))
    wanted = LAW.loss(LAW.params_opt(flops), LAW.tokens_opt(flops))
    return grid[np.abs(loss - wanted).argmin()] / flops


# Verdicts


def test_changed_constants_move_only_the_constant():
    found = compared(points(COSTLIER, seed=1))
    assert found.verdict.outcome == verdict.CONSTANT
    at = found.multiplier
    for flops, low, value, high in zip(at.flops, at.low, at.value, at.high, strict=True):
        assert value == pytest.approx(multiplier(COSTLIER, flops), rel=0.05)
        assert low < value < high
    assert found.relative_range.low < 0 < found.relative_range.high
    assert found.held.by_chance > 0.1


def test_another_alpha_moves_the_exponent():
    found = compared(points(SLOWER, seed=1))
    assert found.verdict.outcome == verdict.MOVES
    assert found.relative_range.low < gamma(SLOWER) / gamma(LAW) - 1 < found.relative_range.high
    assert found.multiplier.slope_range.low < gamma(LAW) / gamma(SLOWER) - 1 < found.multiplier.slope_range.high
    assert (np.diff(found.multiplier.value) > 0).all()
    assert found.quantity("alpha").difference == pytest.approx(-0.1, abs=0.02)
    assert found.held.by_chance == 0
    assert found.held.rise > 1


def test_noise_alone_shows_no_difference():
    found = compared(points(seed=1))
    assert found.verdict.outcome == verdict.NO_DIFFERENCE
    assert found.multiplier.low[4] < 1 < found.multiplier.high[4]


def test_a_wide_interval_is_never_taken_for_equality():
    found = compared(points(noise=0.15, seed=1))
    assert found.verdict.outcome == verdict.CANNOT_TELL
    assert found.verdict.more > 1
    first = report.sentences(found)[0]
    assert first.startswith("These runs cannot tell")
    assert "runs a set instead of 30) would settle it" in first


def test_unknown_constant_is_left_open():
    noisy = compared(points(noise=0.15, seed=4), points(noise=0.15, seed=5), margin=0.99)
    assert noisy.verdict.outcome == verdict.CANNOT_TELL
    assert noisy.verdict.open == "multiplier"
    assert "holds one and is wider than 0.8 to 1.25" in report.sentences(noisy)[0]


def test_difference_within_the_margin_counts_as_constant():
    found = compared(points(replace(LAW, alpha=0.51), noise=1e-3, seed=1), points(noise=1e-3))
    assert found.relative_range.low > 0  # the exponents do differ
    assert found.verdict.outcome == verdict.CONSTANT
    strict = compared(points(replace(LAW, alpha=0.51), noise=1e-3, seed=1), points(noise=1e-3), margin=0.005)
    assert strict.verdict.outcome == verdict.MOVES


def test_a_floor_that_is_fitted_is_compared_too():
    flat = [
        select(load(table(law, 1e-3, seed).assign(loss=lambda t: t["loss"] + 1.0)), Convention("loss"))
        for seed, law in enumerate((LAW, COSTLIER))
    ]
    found = comparison.compare(*flat, bootstrap=60)
    assert [quantity.name for quantity in found.quantities] == ["E", "alpha", "beta", "a", "gamma"]
    assert found.quantity("E").difference == pytest.approx(0, abs=0.02)
    assert "the loss above E" in report.sentences(replace(found, verdict=verdict.Verdict(verdict.MOVES)))[0]


def test_counted_flops_use_the_counted_path(planted_workdir):
    source = load(planted_workdir)
    one = replace(source, runs=source.runs[source.runs["seed"] == 0], curves=None)
    worse = replace(one, runs=one.runs.assign(excess_loss=1.2 * one.runs["excess_loss"]))
    convention = Convention("excess_loss", flops="flops_counted")
    found = comparison.compare(select(one, convention), select(worse, convention), bootstrap=40)
    flops = np.geomspace(1e8, 1e15, 4_000)
    params = np.geomspace(1e2, 1e8, 4_000)[:, None]
    best = LAW.loss(params, flops / (6 * params + 4_000)).min(axis=0)  # planted: FLOPs a token = 6N + 4000
    for at, value in zip(found.multiplier.flops[2:-2], found.multiplier.value[2:-2], strict=True):
        needed = np.exp(np.interp(-np.log(np.interp(at, flops, best) / 1.2), -np.log(best), np.log(flops)))
        assert value == pytest.approx(needed / at, rel=0.02)


# What two sets share


def test_shared_misfit_cancels_in_paired_cells():
    bent = 1 + 0.05 * np.random.default_rng(3).standard_normal(len(table()))
    first, second, elsewhere = (
        select(load(frame.assign(loss=frame["loss"] * bent, N=frame["N"] * scale)), KNOWN)
        for frame, scale in ((table(), 1), (table(seed=1), 1), (table(seed=1), 1.01))
    )
    together, apart = compared(second, first), compared(elsewhere, first)
    assert (together.pairing, apart.pairing) == (
        "the same cells (N, D) drawn in both sets",
        "drawn separately, because most cells are in one set only",
    )
    widths = [found.relative_range.high - found.relative_range.low for found in (together, apart)]
    assert widths[0] < 0.6 * widths[1]


@pytest.fixture(scope="module")
def pair() -> paired_bootstrap.Pair:
    """Three seeds; the second set lacks one run and one whole cell."""
    first = points(seeds=3)
    second = points(COSTLIER, seeds=3, seed=1)
    second = second.where(~second.table.index.isin([0, 30, 31, 32]))
    return paired_bootstrap.Pair.of(
        (first, second), tuple(map(fit_parametric, (first, second))), np.geomspace(1e9, 1e11, 3)
    )


def test_cells_are_paired_by_width(pair):
    first, second = (
        replace(one, table=one.table.assign(width=np.round(one.table["size"] ** 0.5), size=scale * one.table["size"]))
        for one, scale in zip(pair.points, (1, 1.3), strict=True)
    )
    assert paired_bootstrap.Pair.of((first, second), pair.fits, pair.flops).by == "(width, D)"
    assert pair.by == "(N, D)"


@pytest.mark.parametrize("kind", [bootstrap.CELLS, bootstrap.SEEDS, bootstrap.RUNS])
def test_shared_cells_are_drawn_alike(pair, kind):
    first, second = paired_bootstrap.draws(pair, kind, 20)
    in_both = [row for row in range(90) if row not in (0, 30, 31, 32)]
    np.testing.assert_array_equal(first[:, in_both], second)
    assert first.std() > 0.5


def test_seeds_with_other_labels_are_drawn_apart(pair):
    first, second = pair.points
    other = replace(second, table=second.table.assign(seed="x" + second.table["seed"].astype(str)))
    apart = paired_bootstrap.Pair.of((first, other), pair.fits, pair.flops)
    drawn = paired_bootstrap.draws(apart, bootstrap.SEEDS, 20)
    assert (drawn[0][:, 33:] != drawn[1][:, 29:]).any()
    assert not apart.same_seeds


def test_seeds_widen_the_interval():
    noisy = compared(points(noise=0.15, seed=1, seeds=3), points(noise=0.15, seeds=3), bootstrap=40)
    assert noisy.pairing == "the same cells (N, D) drawn in both sets, the same seeds"
    assert noisy.verdict.outcome == verdict.CANNOT_TELL
    assert noisy.verdict.seed_share > 0.5
    assert "seeds instead of 3" in report.sentences(noisy)[0]


# What cannot be compared


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (
            lambda: select(load(table()), Convention("loss")),
            "the conventions differ: given_floor is 0.0 in the first set",
        ),
        (lambda: points().where(points().table["budget"] > 1e9), "the second set has no finished run"),
        (lambda: points().where(points().table["budget"] < 2e5), "no law of B: "),
        (lambda: select(load(table().assign(D=lambda t: 1e4 * t["D"])), KNOWN), "no compute in common"),
    ],
)
def test_incomparable_sets_are_refused(second, reason):
    refusal = compared(second())
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(reason)


def test_losses_above_different_floors_are_refused():
    free = Convention("loss")
    raised = [select(load(table(noise=1e-3).assign(loss=lambda t, e=e: t["loss"] + e)), free) for e in (1.0, 2.0)]
    assert comparison.compare(*raised, bootstrap=60).reason.startswith("the fitted floors differ: E = 1")
    known = [replace(points(), table=points().table.assign(floor=floor)) for floor in (1.03, 1.2)]
    assert compared(known[1], known[0]).reason.startswith(
        "the floors differ: no loss of the first set can be below 1.03"
    )


@pytest.mark.parametrize("option", [{"bootstrap": 10}, {"margin": 0.0}, {"margin": float("nan")}])
def test_options_out_of_range_are_named(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}: .* - got .*; allowed"):
        compared(points(), **option)


# The command


@pytest.fixture(scope="module")
def two_rates(tmp_path_factory) -> Path:
    """A sweep with two learning rates, the higher one without tied embeddings and with losses that are 10 % higher."""
    folder = write_planted(tmp_path_factory.mktemp("rates"), Planted(seeds=(0,), noise=0.01))
    runs = tables.read_runs(folder).astype(object)
    rng = np.random.default_rng(7)
    worse = runs.assign(run_id=runs["run_id"] + "-b", lr=1e-2, tied_embeddings=False)
    for name in ("excess_loss", "answer_loss"):
        worse[name] = 1.1 * runs[name] * np.exp(0.01 * rng.standard_normal(len(runs)))
    write_runs(folder, pd.concat([runs, worse]).to_dict("records"))
    return folder


@pytest.mark.parametrize(
    ("by", "names"),
    [("lr", ("lr = 0.005", "lr = 0.01")), ("tied_embeddings", ("tied_embeddings = False", "tied_embeddings = True"))],
)
def test_halves_are_split_before_selection(two_rates, by, names):
    source = load(two_rates)
    halves, found = command.split(source, by)
    assert found == names
    convention = Convention("excess_loss")
    assert [len(select(half, convention).table) for half in halves] == [30, 30]
    assert len(select(source, convention).table) == 30  # a selection of the whole keeps one rate a cell


def test_command_prints_verdict_and_writes_files(two_rates, tmp_path, capsys):
    assert command.main([str(two_rates), "--by", "lr=1e-2,5e-3", "--bootstrap", "40", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "gamma" in printed
    assert "Only the constant moves: lr = 5e-3 needs 0.7" in printed
    content = json.loads((tmp_path / "compare.json").read_text())
    assert content["verdict"]["outcome"] == verdict.CONSTANT
    assert content["names"] == ["lr = 1e-2", "lr = 5e-3"]
    assert content["points"] == [30, 30]
    drawn = pd.read_csv(tmp_path / "compare.csv")
    assert set(drawn["kind"]) == {"runs", "frontier", "multiplier"}
    band = drawn[drawn["kind"] == "multiplier"]
    np.testing.assert_allclose(band["multiplier"], content["multiplier"]["value"])
    assert (tmp_path / "compare.png").stat().st_size > 10_000


@pytest.mark.parametrize("names", [('=<b>a"&$', "$\\frac{"), (hostile.ALL, f"--><script>{hostile.ALL}")])
def test_hostile_set_names_are_text_everywhere(names, tmp_path):
    found = compared(points(COSTLIER, seed=1), names=names)
    save(command.drawing(found), tmp_path)
    hostile.assert_harmless(tmp_path)
    drawn = pd.read_csv(tmp_path / "compare.csv")["set"].dropna().unique().tolist()
    assert drawn == [f"'{name}" if name[0] in "=-" else name for name in names]


def test_two_tables_are_compared_by_their_names(tmp_path, capsys):
    for name, law in (("plain", LAW), ("costlier", COSTLIER)):
        table(law).to_csv(tmp_path / f"{name}.csv", index=False)
    paths = [str(tmp_path / f"{name}.csv") for name in ("plain", "costlier")]
    assert command.main([*paths, "--floor", "0", "--bootstrap", "40"]) == 0
    assert "costlier.csv needs 2.2" in capsys.readouterr().out


def test_conditions_choose_the_runs_of_both_sets(two_rates):
    kept = load(two_rates, where=["width=8,16.0"])
    assert set(kept.runs["width"]) == {8, 16}
    assert set(loading.keep(kept, ["tied_embeddings=true"]).runs["width"]) == {8, 16}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "seed"], "by: two values of seed are needed - got 0; choose two with seed=X,Y"),
        (["--by", "colour"], "by: no column 'colour'"),
        (["--by", "lr=0.005,0.02"], "lr: no run has '0.02'"),
        (["--by", "lr", "--where", "width"], "where: a column and its values - got 'width'"),
        (["--by", "lr", "--loss", "los"], "loss: not in"),
        (["--by", "lr", "--floor", "1"], "floor: E of excess_loss is known"),
        (["--by", "lr", "--where", "budget=125000"], "refused - no law of lr = 0.005"),
    ],
)
def test_impossible_comparison_exits_with_two(two_rates, capsys, arguments, message):
    assert command.main([str(two_rates), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_table_splits_only_by_known_columns(capsys):
    assert command.main([str(CHINCHILLA), "--by", "optimizer"]) == 2
    assert "by: no column 'optimizer' in" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["one"], ["one", "two", "--by", "lr"], ["one", "two", "three"]])
def test_wrong_number_of_sources_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "argument SOURCE" in capsys.readouterr().err
