"""One loss with its interval, and plans with few unique tokens: `plan --at` and `plan --unique-tokens`."""

import json

import numpy as np
import pytest

from tests.analysis.fits_file import content_of, scattered, write
from vsweep.analysis import planner
from vsweep.analysis.approaches.parametric import HOFFMANN, Law
from vsweep.analysis.approaches.repeated_law import MUENNIGHOFF, RepeatedLaw
from vsweep.analysis.planner import BadLaw, read_fits
from vsweep.analysis.planner.prediction import parse_run
from vsweep.analysis.planner.scarce_data import repeats_of
from vsweep.analysis.public import plan_repeated, predict_loss

N, D = 2e7, 3e9
REPEATED = RepeatedLaw(HOFFMANN, *MUENNIGHOFF)


def with_repeats(**more) -> dict:
    """A fits.json whose runs showed the worth of repeats, with resamples of that law."""
    content = content_of()
    entry = content["losses"]["val_loss"]
    constants = {name: entry["parametric"][name] for name in ("E", "A", "B", "alpha", "beta")}
    drawn = {**entry["parametric"]["resamples"], "R_D": [14.0, 17.0] * 60, "R_N": [5.0, 6.0] * 60}
    repeats = dict(zip(("R_D", "R_N"), MUENNIGHOFF, strict=True))
    entry["repeated_data"] = {**constants, **repeats, "residual_sd_log": 0.01, "resamples": drawn, **more}
    return content


def muennighoff_loss(params: float, tokens: float, unique: float) -> float:
    """Equations 5 to 7, written out without logarithms."""
    law, (r_d, r_n) = HOFFMANN, MUENNIGHOFF
    unique_d = min(unique, tokens)
    unique_n = min(params, float((unique_d * law.G) ** (law.beta / law.alpha) * law.G))
    worth_d = unique_d + unique_d * r_d * (1 - np.exp(-(tokens / unique_d - 1) / r_d))
    worth_n = unique_n + unique_n * r_n * (1 - np.exp(-(params / unique_n - 1) / r_n))
    return float(law.loss(worth_n, worth_d))


def test_one_loss_is_that_of_the_law(tmp_path):
    found = predict_loss(write(tmp_path, content_of()), N, D)
    laws = scattered(HOFFMANN).loss(N, D)
    assert found.loss.value == HOFFMANN.loss(N, D)
    assert found.loss.low == np.quantile(laws, 0.05, method="lower")
    assert found.loss.high == np.quantile(laws, 0.95, method="higher")
    assert found.single_run[0] <= found.loss.low < found.loss.high <= found.single_run[1]
    assert found.extrapolations == ()
    assert found.flops == 6 * N * D


def test_a_known_floor_is_added(tmp_path):
    content = content_of()
    content["losses"]["val_loss"]["floor_value"] = 1.25
    found = predict_loss(write(tmp_path, content), N, D)
    assert found.with_floor.value == found.loss.value + 1.25
    assert found.with_floor.high == found.loss.high + 1.25
    assert predict_loss(HOFFMANN, N, D).with_floor is None


def test_a_run_beyond_the_fitted_is_marked(tmp_path, capsys):
    fits = write(tmp_path, content_of())
    assert planner.main([fits, "--at", "N=5e8,D=2e11"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "EXTRAPOLATION ! this run lies outside the fitted runs: N 10 x above 50M, D 2 x above 100B, C 600 x" in text
    planner.main([fits, "--at", f"N={N},D={D}"])
    assert "EXTRAPOLATION" not in capsys.readouterr().out


def test_the_unit_of_the_loss_is_named(tmp_path, capsys):
    fits = write(tmp_path, {**content_of(), "units": {"loss": "bits/byte"}})
    planner.main([fits, "--at", f"N={N},D={D}"])
    planner.main([fits, "--compute", "1e18", "--tokens", "1e9", "--reserve", "0.1"])
    text = capsys.readouterr().out
    assert "bits/byte" in text
    assert "nats" not in text
    assert predict_loss(fits, N, D).loss_unit == "bits/byte"


def test_a_size_without_embeddings_is_named(tmp_path, capsys):
    content = content_of()
    content["losses"]["val_loss"]["convention"]["N"] = "params_non_embedding"
    planner.main([write(tmp_path, content), "--at", f"N={N},D={D}"])
    assert "20M parameters: parameters without embeddings" in capsys.readouterr().out


def test_json_has_the_same_loss(tmp_path, capsys):
    fits = write(tmp_path, with_repeats())
    assert planner.main([fits, "--at", f"N={N},D={D},unique=1e8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["prediction"]
    ours = predict_loss(fits, N, D, unique=1e8)
    assert found["loss"] == {"value": ours.loss.value, "low": ours.loss.low, "high": ours.loss.high}
    assert found["epochs"] == ours.epochs == 30
    assert found["loss_name"] == "val_loss"


@pytest.mark.parametrize("text", ["N=1e9", "N=1e9,D=0", "N=1e9,D=x", "N=1e9,D=1e9,D=2e9", "N=1e9,D=1e10,C=1e20", ""])
def test_a_run_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="such as N=1e9,D=2e10"):
        parse_run(text)


@pytest.mark.parametrize("unique", [1e7, 1e8, 1e9, 1e12])
def test_repeated_tokens_follow_the_published_law(unique):
    params, tokens = np.meshgrid([1e6, 1e8, 1e10], [1e8, 2e9, 1e11])
    expected = np.vectorize(lambda n, d: muennighoff_loss(n, d, unique))(params, tokens)
    np.testing.assert_allclose(REPEATED.loss(params, tokens, unique), expected, rtol=1e-9)


def test_unlimited_tokens_give_the_plain_optimum():
    found = plan_repeated(HOFFMANN, 1e20, 1e12, repeats="muennighoff")
    assert found.params.value == pytest.approx(HOFFMANN.params_opt(1e20), rel=1e-12)
    assert found.worse.value == pytest.approx(0, abs=1e-12)
    assert found.epochs.value < 1


@pytest.mark.parametrize(("flops", "unique"), [(1e20, 1e9), (1e22, 2.5e10), (1e21, 1e8)])
def test_no_other_split_of_the_compute_is_better(flops, unique):
    found = plan_repeated(HOFFMANN, flops, unique, repeats=MUENNIGHOFF)
    params = np.geomspace(1e5, flops / 6e6, 20_000)
    losses = REPEATED.loss(params, flops / (6 * params), unique)
    assert found.loss.value <= losses.min() * (1 + 1e-12)
    assert found.params.value * found.tokens.value * 6 == pytest.approx(flops)
    assert found.epochs.value > 1
    assert found.worse.value > 0


def test_fitted_repeats_have_intervals(tmp_path):
    found = plan_repeated(write(tmp_path, with_repeats()), 1e20, 1e9)
    for name in ("params", "epochs", "loss", "worse", "R_D"):
        estimate = getattr(found, name)
        assert estimate.low < estimate.value < estimate.high
    assert not found.borrowed
    assert found.resamples == 120


def test_the_plan_has_a_part_on_unique_tokens(tmp_path, capsys):
    fits = write(tmp_path, with_repeats())
    assert planner.main([fits, "--compute", "1e20", "--unique-tokens", "1e9"]) == 0
    text = capsys.readouterr().out
    assert "WITH 1B UNIQUE TOKENS, REPEATED" in text
    assert max(len(line) for line in text.splitlines()[1:]) < 100
    assert planner.main([fits, "--compute", "1e20", "--unique-tokens", "1e9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["unique_tokens"]
    assert found["epochs"]["value"] == plan_repeated(fits, 1e20, 1e9).epochs.value


def test_repeats_that_were_not_fitted_are_refused(tmp_path, capsys):
    fits = write(tmp_path, content_of())
    assert planner.main([fits, "--compute", "1e20", "--unique-tokens", "1e9"]) == 2
    said = capsys.readouterr().err
    assert "its runs name no unique tokens, or repeat none of them often enough" in said
    assert "R_D* = 15.39 and R_N* = 5.31, give --repeats muennighoff" in said
    assert planner.main([fits, "--compute", "1e20", "--unique-tokens", "1e9", "--repeats", "muennighoff"]) == 0
    assert "borrowed from Muennighoff et al. 2023" in capsys.readouterr().out
    content = content_of()
    content["losses"]["val_loss"]["repeated_data"] = {"refused": "6 distinct points"}
    with pytest.raises(BadLaw, match="it was refused: 6 distinct points"):
        predict_loss(write(tmp_path, content), N, D, unique=1e7)
    with pytest.raises(BadLaw, match="has a law of repeated data of its own"):
        predict_loss(write(tmp_path, with_repeats()), N, D, unique=1e7, repeats="muennighoff")


def test_options_of_a_plan_are_not_for_one_loss(capsys):
    for options in (["--served", "1e9"], ["--unique-tokens", "1e9"], ["--repeats", "1,1"]):
        with pytest.raises(SystemExit):
            planner.main(["--law", "hoffmann", "--at", "N=1e9,D=1e10", *options])
        assert options[0] in capsys.readouterr().err
    with pytest.raises(ValueError, match="repeats: must be"):
        repeats_of("15")


def test_a_damaged_law_of_repeats_is_named(tmp_path):
    for more in ({"R_D": None}, {"alpha": -1.0}, {"residual_sd_log": "x"}, {"resamples": {"E": [1.0]}}):
        with pytest.raises(BadLaw, match="repeated_data"):
            read_fits(write(tmp_path, with_repeats(**more)))
    with pytest.raises(BadLaw, match=r"units\.loss"):
        read_fits(write(tmp_path, {**content_of(), "units": {"loss": "bananas"}}))


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"params: must be a positive number"):
        predict_loss(HOFFMANN, 0, D)
    with pytest.raises(ValueError, match="no finite loss"):
        predict_loss(Law(1, 1e300, 1e300, 300, 1), 1e-9, D)
