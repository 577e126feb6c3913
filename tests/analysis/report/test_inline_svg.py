import pytest

from vsweep.analysis.report.inline_svg import Shared, inline

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="{}"/></svg>'


@pytest.mark.parametrize(
    ("path", "shorter"),
    [
        ("M 1 2 \nL 3.14159 -4 \nL 5 6 \nz \nM 7 8 \nL 9 1e-05 \n", "M1 2 3.14 -4 5 6zM7 8 9 1e-05"),
        ("M 0 1 \nQ 2 3 4 5 \nL 6 7 \nQ 8 9 0 1 \nL 2 3 \nL 4 5 \n", "M0 1Q2 3 4 5L6 7Q8 9 0 1L2 3 4 5"),
        ("M 0 1 \nC 2 3 4 5 6 7 \nz \nL 8 9 \n", "M0 1C2 3 4 5 6 7zL8 9"),
    ],
)
def test_paths_repeat_no_letter(path, shorter):
    assert f'd="{shorter}"' in inline(SVG.format(path).encode(), "figure", "label", Shared())
