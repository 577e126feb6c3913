"""`python -m analysis plan`: what it reads, prints and refuses."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.analysis.fits_file import content_of, write
from vsweep.analysis import planner
from vsweep.analysis.approaches.parametric import HOFFMANN, Law
from vsweep.analysis.planner import plan, read_fits
from vsweep.analysis.public import plan_from_law

LAPTOP_FITS = Path(__file__).parents[3] / "docs" / "laptop" / "fits.json"
C = 1.3e19
TOKENS = 2e9
SERVED = 5e11


@pytest.fixture
def fits(tmp_path) -> str:
    return write(tmp_path, content_of())


def test_first_fitted_loss_is_the_default(fits, capsys):
    assert read_fits(fits).loss == "val_loss"
    assert planner.main([fits, "--compute", "1e18"]) == 0
    first = capsys.readouterr().out
    assert planner.main([fits, "--compute", "1e18", "--loss-convention", "val_loss"]) == 0
    assert capsys.readouterr().out == first
    assert f"A plan by the law of val_loss in {fits}" in first


def test_json_has_null_for_open_ends(fits, capsys):
    assert planner.main([fits, "--compute", "1.3e19", "--served", "5e11", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    law = read_fits(fits)
    ours = plan(HOFFMANN, C, resamples=law.resamples, residual_sd_log=0.004, served=SERVED)
    assert found["plan"]["optimum"]["params"] == {
        "value": ours.optimum.params.value,
        "low": ours.optimum.params.low,
        "high": ours.optimum.params.high,
    }
    assert found["plan"]["serving"]["saved"]["value"] == ours.serving.saved.value
    assert found["law"]["loss"] == "val_loss"
    planner.main(["--law", "0,30,900,0.9,1", "--compute", "1e12", "--json"])
    assert json.loads(capsys.readouterr().out)["plan"]["smaller"][2]["tokens"]["value"] is None


@pytest.mark.parametrize("compute", ["1e14", "1.3e19", "5.76e23"])
def test_text_fits_a_terminal_and_is_complete(fits, capsys, compute):
    options = ["--compute", compute, "--served", "1e12", "--tokens", "1e9", "--reserve", "0.2"]
    assert planner.main([fits, *options]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()[1:]) < 100  # the first line names the file
    for part in ("N_opt", "2 x N_opt", "4 x smaller", "1T TOKENS SERVED", "WITH 1B TOKENS", "RE-RUN", "20 % kept back"):
        assert part in text
    assert "inf" not in text
    assert "nan" not in text


def test_gpu_hours_become_compute_visibly(capsys):
    options = ["--gpu-hours", "24", "--flops", "3.12e14", "--mfu", "0.4", "--gpus", "8"]
    assert planner.main(["--law", "hoffmann", *options]) == 0
    text = capsys.readouterr().out
    assert "24 h x 3600 s/h x 8 GPU x 3.12e14 FLOP/s" in text
    assert "x 0.4 model FLOP utilisation = 8.63e19 FLOP" in text
    planner.main(["--law", "1.69,406.4,410.7,.34,.28", *options, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["plan"]["flops_total"] == pytest.approx(24 * 3600 * 8 * 3.12e14 * 0.4)
    assert found["plan"]["law"]["beta"] == 0.28


def test_extrapolation_says_how_far(fits, capsys):
    planner.main([fits, "--compute", "1.3e19"])
    text = " ".join(capsys.readouterr().out.split())
    params = HOFFMANN.params_opt(C)
    assert f"the compute-optimal run lies outside the fitted runs: N {params / 5e7:.3g} x above 50M, C 13 x" in text
    planner.main([fits, "--compute", "1e15", "--json"])
    found = json.loads(capsys.readouterr().out)["extrapolations"]
    below = next(entry for entry in found if entry["axis"] == "C")
    assert not below["above"]
    assert below["factor"] == pytest.approx(100)


def test_no_warning_inside_the_fitted_runs(tmp_path, capsys):
    content = content_of()
    content["losses"]["val_loss"]["range"] = {"params": [1e6, 1e10], "tokens": [1e9, 1e12], "flops": [1e17, 1e21]}
    planner.main([write(tmp_path, content), "--compute", "1.3e19"])
    assert "EXTRAPOLATION" not in capsys.readouterr().out


def test_conventions_of_the_law_are_named(tmp_path, capsys):
    content = content_of(Law(E=0.0, A=40.0, B=900.0, alpha=0.5, beta=0.6))
    entry = content["losses"]["val_loss"]
    entry["convention"] |= {"N": "params_non_embedding", "C": "flops_counted"}
    content["losses"] = {"excess_loss": {**entry, "floor_value": 1.03}}
    path = write(tmp_path, content)
    planner.main([path, "--compute", "1e13", "--json"])
    # Counted FLOP and 6ND are not compared.
    assert {entry["axis"] for entry in json.loads(capsys.readouterr().out)["extrapolations"]} <= {"N", "D"}
    planner.main([path, "--compute", "1e13"])
    text = capsys.readouterr().out
    assert "excess_loss: nats/token above the known floor of 1.0300 nats/token" in text
    predicted = plan(Law(0.0, 40.0, 900.0, 0.5, 0.6), 1e13).optimum.loss.value
    assert f"{1.03 + predicted:.4f} nats/token" in text
    assert "parameters without embeddings" in text
    assert "this plan is for C = 6ND" in text


def test_laptop_fits_can_be_planned_by(capsys):
    assert planner.main([str(LAPTOP_FITS), "--compute", "1e12"]) == 0
    assert "A plan by the law of excess_loss" in capsys.readouterr().out


def judged(verdict: str) -> dict:
    content = content_of()
    content["losses"]["val_loss"]["standing"] = {"verdict": verdict, "reasons": ["R^2 is 0.14", "N hardly matters"]}
    return content


def test_no_plan_from_a_law_that_is_not_shown(tmp_path, capsys):
    path = write(tmp_path, judged("not shown"))
    assert planner.main([path, "--compute", "1e18"]) == 2
    error = capsys.readouterr().err
    assert "is not shown by its runs - R^2 is 0.14; N hardly matters" in error
    assert "--anyway" in error
    with pytest.raises(planner.BadLaw, match="not shown"):
        plan_from_law(path, 1e18)
    assert plan_from_law(path, 1e18, anyway=True).flops == 1e18
    assert planner.main([path, "--compute", "1e18", "--anyway"]) == 0
    text = capsys.readouterr().out
    assert "THE RUNS DO NOT SHOW THIS LAW" in text
    assert "! R^2 is 0.14" in text
    assert planner.main([path, "--compute", "1e18", "--anyway", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["law"]["standing"]["verdict"] == "not shown"


@pytest.mark.parametrize(("verdict", "warned"), [("doubtful", True), ("describes", False)])
def test_a_doubtful_law_is_planned_by_with_a_warning(tmp_path, capsys, verdict, warned):
    assert planner.main([write(tmp_path, judged(verdict)), "--compute", "1e18"]) == 0
    text = capsys.readouterr().out
    assert ("THIS LAW IS DOUBTFUL" in text) == warned
    assert "holds no verdict" not in text


def test_an_older_file_holds_no_verdict(fits, capsys):
    assert planner.main([fits, "--compute", "1e18"]) == 0
    assert "This file holds no verdict on its law" in capsys.readouterr().out
    planner.main(["--law", "hoffmann", "--compute", "1e18"])
    assert "verdict" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "standing", ["describes", {"verdict": "fine", "reasons": []}, {"verdict": "describes", "reasons": [1]}]
)
def test_a_damaged_verdict_is_refused(tmp_path, capsys, standing):
    content = content_of()
    content["losses"]["val_loss"]["standing"] = standing
    assert planner.main([write(tmp_path, content), "--compute", "1e18"]) == 2
    assert "standing: must be a verdict" in capsys.readouterr().err


def without(content: dict, *keys: str) -> dict:
    content = copy.deepcopy(content)
    part = content
    for key in keys[:-1]:
        part = part[key]
    del part[keys[-1]]
    return content


def with_constant(name: str, value: object) -> dict:
    content = content_of()
    content["losses"]["val_loss"]["parametric"][name] = value
    return content


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ([1, 2], [], "not a fits.json"),
        (without(content_of(), "losses"), [], "not a fits.json"),
        (without(content_of(), "schema"), [], "not a fits.json"),
        ({**content_of(), "schema": 99}, [], "schema 99"),
        ({"schema": 1, "losses": {}}, [], "it holds no loss"),
        (content_of(), ["--loss-convention", "excess_loss"], "the law of excess_loss was refused - a single N"),
        (content_of(), ["--loss-convention", "bleu"], "no loss 'bleu' here - it has excess_loss, val_loss"),
        (
            without(content_of(), "losses", "val_loss"),
            [],
            "no parametric law was fitted here - excess_loss: a single N",
        ),
        (without(content_of(), "losses", "val_loss", "convention"), [], "losses.val_loss - KeyError('convention')"),
        (without(content_of(), "losses", "val_loss", "parametric", "beta"), [], "KeyError('beta')"),
        (with_constant("alpha", -0.3), [], "no law with alpha = -0.3"),
        (with_constant("A", None), [], "no law with A = None"),
        (
            with_constant("resamples", {"E": [1.0], "A": [1.0], "B": [1.0], "alpha": [1.0], "beta": []}),
            [],
            "resample",
        ),
        (with_constant("residual_sd_log", -1.0), [], "residual_sd_log: must be 0 or more"),
    ],
)
def test_file_without_law_is_refused(tmp_path, capsys, content, options, message):
    assert planner.main([write(tmp_path, content), "--compute", "1e18", *options]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000 + "]" * 200_000, "not a JSON file - maximum recursion depth exceeded"),
        ('{"schema": 2, "losses": {"val_loss": ' + '{"a":' * 200_000, "not a JSON file"),
        ('{"schema": ' + "9" * 10_000 + "}", "not a JSON file"),
        ('{"schema": 1.5, "losses": {}}', "schema 1.5"),
        ('{"schema": true, "losses": {}}', "schema True"),
        ('{"schema": 2, "losses": []}', "not a fits.json"),
        ("\x00", "not a JSON file"),
        ("null", "not a fits.json"),
    ],
)
def test_foreign_json_is_refused(tmp_path, capsys, text, message):
    (tmp_path / "fits.json").write_text(text)
    assert planner.main([str(tmp_path / "fits.json"), "--compute", "1e12"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


ODD = (
    *(None, True, 0, -1, -0.0, 1e-320, 1e308, 10**400, 2**63, float("nan"), float("inf")),
    *("", "x", "3", "\x1b[31m\n", [], [None], [[]], [1, 2], ["2", 3], {}, {"refused": None}, {"refused": 3}, {"a": {}}),
)


def nodes(node: object, path: tuple = ()) -> Iterator[tuple]:
    """The path of everything in a JSON document."""
    yield path
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield from nodes(value, (*path, key))


def replaced(node: object, path: tuple, value: object) -> object:
    """The document with `value` at `path`."""
    if not path:
        return value
    copied = copy.copy(node)
    copied[path[0]] = replaced(node[path[0]], path[1:], value)
    return copied


def test_edited_files_are_planned_or_refused(tmp_path, capsys):
    content = json.loads(LAPTOP_FITS.read_text(encoding="utf-8"))
    entry = content["losses"]["excess_loss"]
    entry = {name: entry[name] for name in ("convention", "range", "floor_value", "design", "parametric")}
    law, content = entry["parametric"], {name: content[name] for name in ("schema", "runs", "units")}
    rng, statuses = random.Random(8), []
    for number in range(300):
        some = 30 if number % 5 == 0 else 4  # too few for intervals: those take most of the time
        resamples = {name: values[:some] for name, values in law["resamples"].items()}
        content["losses"] = {"excess_loss": {**entry, "parametric": {**law, "resamples": resamples}}}
        places = [place for place in nodes(content) if number % 2 or "resamples" not in place[:-1]]
        place, value = rng.choice(places), rng.choice(ODD)
        path = write(tmp_path, replaced(content, place, value))
        options = rng.choice((["--json"], ["--served", "1e9", "--tokens", "1e7"]))
        statuses.append(planner.main([path, "--compute", "1e12", *options]))
        said = capsys.readouterr()
        assert (statuses[-1], said.err.count("\n")) in ((0, 0), (2, 1)), f"{place} = {value!r}: {said.err}"
        assert (statuses[-1] == 0) == bool(said.out)
        assert "nan" not in said.out.lower(), f"{place} = {value!r}"
        assert "\x1b" not in said.out + said.err
    assert min(statuses.count(0), statuses.count(2)) > 30


def test_path_without_json_is_refused(tmp_path, capsys):
    (tmp_path / "runs.csv").write_text("N,D,loss\n")
    for name, message in (("none.json", "no such file"), ("", "a directory"), ("runs.csv", "not a JSON file")):
        assert planner.main([str(tmp_path / name), "--compute", "1e18"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "one of the arguments --compute --gpu-hours --at is required"),
        (["--compute", "1e18", "--gpu-hours", "3"], "not allowed with argument"),
        (["--compute", "0"], "argument --compute: must be above 0 - got '0'"),
        (["--compute", "-5"], "argument --compute: must be above 0 - got '-5'"),
        (["--compute", "lots"], "argument --compute: must be a number - got 'lots'"),
        (["--compute", "nan"], "argument --compute: must be a number - got 'nan'"),
        (["--gpu-hours", "24"], "give the speed of one GPU too"),
        (["--compute", "1e18", "--mfu", "0.4"], "argument --mfu: is for --gpu-hours"),
        (["--gpu-hours", "24", "--flops", "1e14", "--mfu", "40"], "40 % is 0.4"),
        (["--compute", "1e18", "--reserve", "25"], "25 % is 0.25"),
        (["--compute", "1e18", "--level", "0.9"], "a share of 0.9 is 90"),
        (["--compute", "1e18", "fits.json"], "not allowed with argument"),
        (["--compute", "1e18", "--loss-convention", "val_loss"], "chooses a law in FITS.json"),
    ],
)
def test_bad_arguments_are_named(capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        planner.main(["--law", "hoffmann", *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_file_or_law_is_required(capsys):
    with pytest.raises(SystemExit):
        planner.main(["--compute", "1e18"])
    assert "one of the arguments FITS.json --law is required" in capsys.readouterr().err


@pytest.mark.parametrize("law", ["gpt", "1,2,3", "1,2,3,4,x", "1,2,3,0,1", "1.69,406.4,410.7,.34,inf"])
def test_bad_law_says_what_to_give(capsys, law):
    assert planner.main(["--law", law, "--compute", "1e18"]) == 2
    assert f"law {law!r}" in capsys.readouterr().err
