"""Planted work directories, written once a session: tests read them and write elsewhere."""

from pathlib import Path

import pandas as pd
import pytest

from tests.analysis.planted import Planted, broken, write_planted

CHINCHILLA = Path(__file__).parent.parent / "data" / "chinchilla_points.csv"
MANY_WIDTHS = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64)
MANY_BUDGETS = tuple(62_500 * 2**i for i in range(8))


@pytest.fixture(scope="session")
def planted_workdir(tmp_path_factory) -> Path:
    """14 widths x 8 budgets x 3 seeds that follow the law exactly."""
    planted = Planted(widths=MANY_WIDTHS, budgets=MANY_BUDGETS)
    return write_planted(tmp_path_factory.mktemp("planted"), planted)


@pytest.fixture(scope="session")
def noisy_workdir(tmp_path_factory) -> Path:
    """The same with 3 % scatter between seeds."""
    planted = Planted(widths=MANY_WIDTHS, budgets=MANY_BUDGETS, noise=0.03)
    return write_planted(tmp_path_factory.mktemp("noisy"), planted)


@pytest.fixture(scope="session")
def broken_workdir(tmp_path_factory) -> Path:
    """6 widths x 5 budgets x 3 seeds with a plateau, a sudden fall, and 10 % scatter."""
    return write_planted(tmp_path_factory.mktemp("broken"), Planted(noise=0.1, excess=broken))


@pytest.fixture(scope="session")
def chinchilla() -> pd.DataFrame:
    """The 245 points with their D, highest losses last."""
    table = pd.read_csv(CHINCHILLA)
    return table.assign(D=table["C"] / (6 * table["N"])).sort_values("loss")
