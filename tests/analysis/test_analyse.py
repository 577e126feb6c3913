"""The whole analysis: files, partial sweeps, the command line, and what it must not touch."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from tests.analysis import hostile
from tests.analysis.planted import LAW, Planted, broken, write_planted, write_runs
from vsweep import analysis, atomic, schema, tables
from vsweep.analysis import __main__ as command
from vsweep.analysis import pipeline
from vsweep.analysis.data.loading import TEXT_COLUMNS, load
from vsweep.analysis.report import appendix, definitions, page
from vsweep.analysis.report.interactive import bundle
from vsweep.analysis.sections.runs import about_runs

ROOT = Path(__file__).parent.parent.parent
METRICS = [
    name
    for name in schema.RUN_COLUMNS
    if name in schema.CURVE_COLUMNS and name not in ("run_id", "flops_6nd", "flops_counted")
]
METRICS += ["flops_6nd", "flops_counted", "val_loss_se", "answer_loss_se", "wall_s", "epochs", "unique_tokens"]


def leave_running(workdir: Path, finished) -> None:
    """Empties the metrics of all runs but those that `finished` names, as a sweep in training has them."""
    rows = tables.read_runs(workdir).astype(object).to_dict("records")
    for row in rows:
        if not finished(row):
            row |= {**dict.fromkeys(METRICS), "status": schema.RUNNING}
    write_runs(workdir, rows)
    done = {row["run_id"] for row in rows if row["status"] == schema.FINISHED}
    curves = tables.read_curves(workdir)
    kept = curves[curves["run_id"].isin(done)].to_dict("records")
    atomic.write_text_atomically(workdir / schema.CURVES_FILE, tables.as_csv(kept, list(schema.CURVE_COLUMNS)))


def digest(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def analysed(broken_workdir, tmp_path_factory) -> analysis.Result:
    return analysis.analyse(broken_workdir, tmp_path_factory.mktemp("out"), bootstrap=20)


def test_a_finished_sweep_gives_every_file(analysed):
    fits = json.loads(analysed.fits.read_text(encoding="utf-8"))
    assert fits["schema"] == 2
    assert fits["runs"] == {"total": 90, "finished": 90, "running": 0, "diverged": 0}
    assert list(fits["losses"]) == ["excess_loss", "answer_loss", "val_loss"]
    assert [fits["losses"][loss]["convention"]["E"] for loss in fits["losses"]] == ["known", "known", "free"]
    names = {path.stem for path in (analysed.out / "figures").glob("*.png")}
    assert {"loss_curves", "isoflop_valleys", "loss_surface", "loss_lines_excess_loss", "loss_and_match"} <= names
    for name in names:
        assert (analysed.out / "figures" / f"{name}.svg").stat().st_size > 2_000
        assert (analysed.out / "figures" / f"{name}.csv").read_text(encoding="utf-8").count("\n") > 3


def test_fits_json_gives_each_fit_or_a_reason(analysed):
    fits = json.loads(analysed.fits.read_text(encoding="utf-8"))
    assert len(fits["exponents"]) == 12
    for row in fits["exponents"]:
        assert (row["a"] is None) == (row["refused"] is not None)
        assert {"loss", "E", "N", "C", "method", "ranges"} <= set(row)
    assert "NaN" not in analysed.fits.read_text(encoding="utf-8")


def test_the_report_is_one_self_contained_file(analysed):
    whole = analysed.report.read_text(encoding="utf-8")
    assert len(whole) < 1_500_000
    text = re.sub(r"(<script[^>]*>).*?</script>", r"\1", whole, flags=re.DOTALL)
    assert text.count(" data-figure=") == len(list((analysed.out / "figures").glob("*.png")))
    for resource in re.findall(r"""(?:src|action)\s*=\s*["']([^"']*)""", text) + re.findall(r"url\(([^)]*)", text):
        assert resource.startswith(("data:", "#"))
    links = [dict(entry[1:])["href"] for entry in hostile.structure(text) if entry[0] == "a"]
    inside = {f"#{entry}" for entry in re.findall(r'id="([^"]*)"', text)}
    outside = set(links) - inside - set(definitions.PAPERS.values())  # papers, followed by the reader only
    assert all(re.fullmatch(r"https://arxiv\.org/abs/[\d.]+", link) for link in outside)
    assert re.findall("<script[^>]*>", text) == ['<script type="application/json" id="study">', *3 * ["<script>"]]
    assert "@import" not in text
    assert "no power law holds for" in text


def write_named(workdir: Path, texts: tuple[str, ...]) -> Path:
    """A small sweep with `texts` in every column of text of its three tables, and in the name of one column."""
    write_planted(workdir, Planted(widths=(4,), budgets=(125_000, 250_000, 500_000)))
    rows = tables.read_runs(workdir).astype(object).to_dict("records")
    curves = tables.read_curves(workdir).astype(object).to_dict("records")
    named = {row["run_id"]: f"{text} {row['run_id']}" for row, text in zip(rows, texts, strict=True)}
    for row in rows:
        row |= {name: named[row["run_id"]] for name in TEXT_COLUMNS if name != "status"} | {texts[0]: 1}
    for row in curves:
        row["run_id"] = named[row["run_id"]]
    rows[0]["status"] = schema.DIVERGED
    rows[1]["status"] = " ".join(texts)
    times = [dict.fromkeys(schema.TIME_COLUMNS, 1.5) | {"stack": text} for text in texts]
    atomic.write_text_atomically(workdir / schema.RUNS_FILE, tables.as_csv(rows, [*schema.RUN_COLUMNS, texts[0]]))
    atomic.write_text_atomically(workdir / schema.CURVES_FILE, tables.as_csv(curves, list(schema.CURVE_COLUMNS)))
    atomic.write_text_atomically(workdir / schema.TIMES_FILE, tables.as_csv(times, list(schema.TIME_COLUMNS)))
    return workdir


def test_hostile_names_in_a_sweep_change_no_tag(tmp_path):
    texts, pages = hostile.TEXTS, []
    for name, values in {"sweep": tuple(f"name {n}" for n in range(len(texts))), "=<b>'&\"$\\f": texts}.items():
        result = analysis.analyse(write_named(tmp_path / name, values), bootstrap=0)
        pages.append(result.report.read_text(encoding="utf-8"))
        hostile.assert_harmless(result.out)
    assert hostile.structure(pages[0]) == hostile.structure(pages[1])
    for text in texts:
        assert str(escape(text)) in pages[1]
    assert "=&lt;b&gt;" in pages[1]


def test_hostile_names_in_a_table_change_no_tag(tmp_path):
    pages = []
    for columns in (["N", "D", "loss", "seed", "U"], ["<N>", "'D'", '"><loss', "<seed>", "<U>"]):
        grid = [
            (n, d, 1.8 + LAW.loss(n, d), seed) for n in (1e6, 9e6) for d in (1e8, 2e9) for seed in hostile.TEXTS[2:5]
        ]
        table = pd.DataFrame([(*row, row[1]) for row in grid], columns=columns)
        result = analysis.analyse(table, tmp_path / columns[0], bootstrap=0)
        pages.append(result.report.read_text(encoding="utf-8"))
        hostile.assert_harmless(result.out)
    assert hostile.structure(pages[0]) == hostile.structure(pages[1])
    assert "unique_tokens is &lt;U&gt;" in pages[1]


def test_the_page_forbids_loads_and_other_scripts(analysed):
    text = analysed.report.read_text(encoding="utf-8")
    scripts = re.findall("<script>(.*?)</script>", text, flags=re.DOTALL)
    policy = bundle.policy(tuple(scripts))
    meta = ("meta", ("http-equiv", "Content-Security-Policy"), ("content", policy))
    assert meta in hostile.structure(text)
    assert policy.startswith("default-src 'none'; ")
    assert re.search("script-src ([^;]*);", policy)[1].count("'sha256-") == len(scripts) == 3
    assert "script" not in page.POLICY


def test_a_width_lost_to_divergence_is_named_first(tmp_path):
    workdir = write_planted(tmp_path, Planted(widths=(4, 8, 12, 16), noise=0.1))
    rows = tables.read_runs(workdir).astype(object).to_dict("records")
    for row in rows:
        row["status"] = schema.DIVERGED if row["width"] == 8 or row["seed"] == 0 else row["status"]
    write_runs(workdir, rows)
    assert about_runs(load(workdir))[1].startswith("Every run of width 8 diverged, so no fit uses them")
    write_runs(workdir, [row | {"status": schema.DIVERGED} for row in rows])
    result = analysis.analyse(workdir, bootstrap=0)
    assert str(result.findings[1]).startswith("Every run of widths 4, 8, 12, 16 diverged")
    assert "Every run of widths 4, 8, 12, 16 diverged" in result.report.read_text(encoding="utf-8")
    assert "val_loss: no finished run has a usable value, so nothing was fitted." in map(str, result.findings)


def test_diverged_and_moved_runs_are_reported(tmp_path):
    workdir = write_planted(tmp_path, Planted(widths=(4,), budgets=(125_000, 250_000)))
    rows = tables.read_runs(workdir).astype(object).to_dict("records")
    rows[3] |= {**dict.fromkeys(METRICS), "status": schema.DIVERGED, "diverged_at_step": 7}
    rows[4]["inexact_resumes"] = 2
    write_runs(workdir, rows)
    result = analysis.analyse(workdir, bootstrap=0)
    text, name = result.report.read_text(encoding="utf-8"), rows[3]["run_id"]
    assert f"<td>{name}</td><td>diverged</td><td>diverged at step 7</td>" in text
    for loss in json.loads(result.fits.read_text(encoding="utf-8"))["losses"].values():
        assert {"run_id": name, "reason": "diverged at step 7"} in loss["exclusions"]
    assert all(name not in set(study.points.table["run_id"]) for study in result.studies)
    assert "<td>all but 1 run (inexact_resumes in runs.csv)</td>" in text


def test_unknown_environments_are_reported_as_unknown():
    for words, resumes in {"all runs": [0, 0], "not recorded": [0, None]}.items():
        assert appendix.in_one_environment(pd.Series(resumes)) == words


def test_a_partial_sweep_is_analysed_with_a_banner(tmp_path):
    workdir = write_planted(tmp_path, Planted(widths=(4, 8, 12), noise=0.1, excess=broken))
    leave_running(workdir, lambda row: row["width"] == 4)
    result = analysis.analyse(workdir, bootstrap=0)
    assert "15 of 45 runs finished" in result.report.read_text(encoding="utf-8")
    fits = json.loads(result.fits.read_text(encoding="utf-8"))
    assert all(row["refused"] for row in fits["exponents"])
    assert {entry["reason"] for entry in fits["losses"]["val_loss"]["exclusions"]} == {"still running"}
    assert (result.out / "figures" / "loss_lines_excess_loss.png").is_file()
    assert not (result.out / "figures" / "isoflop_valleys.png").exists()


@pytest.mark.parametrize("finished", [0, 4])
def test_a_sweep_with_few_finished_runs_is_analysed(tmp_path, finished):
    workdir = write_planted(tmp_path, Planted(widths=(4, 8), budgets=(125_000, 250_000)))
    names = set(tables.read_runs(workdir)["run_id"][:finished])
    leave_running(workdir, lambda row: row["run_id"] in names)
    result = analysis.analyse(workdir)
    assert f"{finished} of 12 runs finished" in result.report.read_text(encoding="utf-8")


def test_a_sweep_without_curves_is_analysed(tmp_path):
    workdir = write_planted(tmp_path, Planted(widths=(4,), budgets=(125_000,)))
    leave_running(workdir, lambda row: False)
    (workdir / schema.CURVES_FILE).unlink()
    assert analysis.analyse(workdir).report.is_file()


def test_many_seeds_of_one_shape_are_studied(tmp_path):
    planted = Planted(widths=(16,), budgets=(500_000, 1_000_000), seeds=tuple(range(24)), noise=0.3)
    result = analysis.analyse(write_planted(tmp_path, planted))
    fits = json.loads(result.fits.read_text(encoding="utf-8"))["losses"]["answer_loss"]
    assert fits["seeds"] == 24
    assert fits["seed_noise_log"] == pytest.approx(0.3, rel=0.25)
    assert fits["seed_ratio"]["max"] > 2
    assert "There a single seed says little" in " ".join(map(str, result.findings))
    assert sum("over 24 seeds" in finding.text for finding in result.findings) == 3 * 2
    spread = pd.read_csv(result.out / "figures" / "seed_spread_excess_loss.csv")
    assert spread.groupby("budget").size().to_dict() == {500_000: 24, 1_000_000: 24}
    assert spread["share_at_or_below"].max() == 1


def test_conventions_hold_for_the_whole_analysis(tmp_path):
    workdir = write_planted(tmp_path / "sweep", Planted(widths=(4,), budgets=(125_000, 250_000)))
    result = analysis.analyse(workdir, bootstrap=0, size="params_non_embedding", flops="flops_counted")
    row = json.loads(result.fits.read_text(encoding="utf-8"))["exponents"][0]
    assert (row["N"], row["C"]) == ("params_non_embedding", "flops_counted")
    assert "N = parameters without embeddings, C = counted FLOPs" in result.report.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"size: unknown convention - got 'width'; allowed params, params_non_embed"):
        analysis.analyse(workdir, size="width")


@pytest.mark.parametrize("name", ["analysis", "analysis/figures"])
def test_a_link_as_output_is_not_followed(tmp_path, name):
    workdir = write_planted(tmp_path / "sweep", Planted(widths=(4,), budgets=(125_000, 250_000)))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "report.html").write_text("of the user")
    (workdir / name).parent.mkdir(exist_ok=True)
    (workdir / name).symlink_to(tmp_path / "thesis")
    with pytest.raises(ValueError, match="out: a link below a work directory - got "):
        analysis.analyse(workdir, bootstrap=0)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["report.html"]
    assert (tmp_path / "thesis" / "report.html").read_text() == "of the user"


def test_analysis_touches_only_its_output_and_repeats_exactly(tmp_path, request):
    workdir = write_planted(tmp_path / "sweep", Planted(widths=(4,), budgets=(125_000, 250_000), noise=0.05))
    before = digest(tmp_path)
    out = analysis.analyse(workdir, bootstrap=20).out
    after = digest(tmp_path)
    assert {name: after[name] for name in before} == before
    assert all(name.startswith("sweep/analysis/") for name in set(after) - set(before))
    assert not [name for name in after if Path(name).name.startswith(".")]
    request.getfixturevalue("several_processes")  # in this process or in others
    elsewhere = analysis.analyse(workdir, tmp_path / "elsewhere", bootstrap=20).out
    assert digest(elsewhere) == digest(out)


def test_leftovers_of_killed_analyses_are_removed(tmp_path):
    names = {
        ".fits.json.ab12_xyz.unfinished": False,
        "figures/.loss_curves.png.ab12_xyz.unfinished": False,
        "figures/.mine.unfinished": True,  # of somebody else
        ".report.html.new12345.unfinished": True,  # of one at work
        ".notes.html.folder12.unfinished/kept": True,
        ".report.html.link1234.unfinished": True,
    }
    (tmp_path / "kept").write_text("")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if "link" in name:
            path.symlink_to(tmp_path / "kept")
        else:
            path.write_text("")
            for aged in [] if "new" in name else [path, path.parent]:
                os.utime(aged, (0, 0))
    os.utime(tmp_path / ".report.html.link1234.unfinished", (0, 0), follow_symlinks=False)
    for folder in (tmp_path, tmp_path / "figures"):
        atomic.remove_leftovers(folder, older_than_s=pipeline.ABANDONED_S)
    assert {name: os.path.lexists(tmp_path / name) for name in names} == names
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_an_unwritable_disk_is_one_line_and_74(tmp_path, monkeypatch, capsys, number):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    workdir = write_planted(tmp_path, Planted(widths=(4,), budgets=(125_000,)))
    monkeypatch.setattr(os, "fsync", refused)
    assert command.main([str(workdir), "--bootstrap", "0"]) == atomic.CannotWrite.STATUS
    said = capsys.readouterr().err
    assert said.startswith(f"analysis: cannot write {workdir}/analysis/figures/")
    assert os.strerror(number) in said
    assert said.count("\n") == 1
    assert not list(workdir.rglob("*.unfinished"))


def test_where_memory_runs_out_it_is_named(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        return np.empty(2**50)

    monkeypatch.setattr(pipeline, "study_loss", full)
    workdir = write_planted(tmp_path, Planted(widths=(4,), budgets=(125_000,)))
    assert command.main([str(workdir), "--bootstrap", "0"]) == os.EX_OSERR
    said = capsys.readouterr().err
    assert said.startswith("analysis: not enough memory (Unable to allocate 8.00 PiB")
    assert said.count("\n") == 1


def test_importing_analysis_loads_no_jax():
    code = "import sys, analysis, analysis.__main__; print([name for name in sys.modules if name.startswith('jax')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_prints_exponents_and_paths(tmp_path, capsys):
    grid = [(n, d) for n in (1e6, 3e6, 9e6, 3e7, 9e7) for d in (1e8, 4e8, 2e9, 8e9)]
    rows = [f"{n},{d},{1.8 + LAW.loss(n, d)}" for n, d in grid]
    table = tmp_path / "points.csv"
    table.write_text("\n".join(["n,d,Loss", *rows]), encoding="utf-8")
    assert command.main([str(table), "--out", str(tmp_path / "out"), "--bootstrap", "0"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"loss +free +parametric +0\.545 +0\.455", shown)
    assert str(tmp_path / "out" / "report.html") in shown


@pytest.mark.parametrize("text", ["N,D,loss\n1e6,x,3\n", "N,D\n1,2\n"])
def test_a_bad_table_is_one_line_and_2(tmp_path, capsys, text):
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    assert command.main([str(tmp_path / "bad.csv"), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "bad.csv: " in shown.err
    assert not (tmp_path / "out").exists()
