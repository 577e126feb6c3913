import pytest

from tests.analysis.fits_file import content_of, write
from vsweep.analysis.approaches.parametric import HOFFMANN, Law
from vsweep.analysis.designer.assumption import CHINCHILLA_AT, assume, chinchilla
from vsweep.analysis.planner.saved_law import BadLaw


def test_the_moved_law_keeps_the_terms_of_the_loss():
    small = chinchilla(1e4, 1e6, floor_known=False)
    assert small.law.loss(1e4, 1e6) == pytest.approx(HOFFMANN.loss(*CHINCHILLA_AT))
    assert small.law.E == HOFFMANN.E
    assert small.law.a == HOFFMANN.a


def test_a_known_floor_leaves_the_excess():
    excess = chinchilla(1e4, 1e6, floor_known=True)
    assert excess.law.loss(1e4, 1e6) == pytest.approx(HOFFMANN.loss(*CHINCHILLA_AT) - HOFFMANN.E)
    assert not excess.floor_free
    assert "excess loss" in excess.about


def test_a_study_brings_its_law_and_its_seeds(tmp_path):
    content = content_of()
    content["losses"]["val_loss"]["seed_noise_log"] = 0.0025
    found = assume(write(tmp_path, content))
    assert (found.law, found.sd_log, found.floor_free) == (HOFFMANN, 0.0025, True)
    assert "0.2 % between seeds" in found.about or "0.3 % between seeds" in found.about


def test_without_seeds_the_scatter_about_the_law_serves(tmp_path):
    assert assume(write(tmp_path, content_of())).sd_log == 0.004


def test_a_doubtful_law_is_said(tmp_path):
    content = content_of()
    content["losses"]["val_loss"]["standing"] = {"verdict": "doubtful", "reasons": ["R^2 is 0.6"]}
    assert "doubtful (R^2 is 0.6)" in assume(write(tmp_path, content)).doubts[0]


@pytest.mark.parametrize(
    ("text", "law"), [("hoffmann", HOFFMANN), ("1.5,400,1e3,.3,.4", Law(1.5, 400.0, 1e3, 0.3, 0.4))]
)
def test_a_law_can_be_given(text, law):
    assert assume(text, sd_log=0.002).law == law


@pytest.mark.parametrize("text", ["no-such-file.json", "1,2,3"])
def test_what_is_no_law_is_refused(text):
    with pytest.raises(BadLaw):
        assume(text)


def test_a_senseless_scatter_in_a_file_is_refused(tmp_path):
    content = content_of()
    content["losses"]["val_loss"]["seed_noise_log"] = "loud"
    with pytest.raises(BadLaw, match="seed_noise_log"):
        assume(write(tmp_path, content))
