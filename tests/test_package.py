"""The package as a user installs it: what the wheel holds, and its command beside an `analysis/` of his own."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import vsweep
from tests.test_api import write_table

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSIDE = {"vsweep": "vsweep", "analysis": "vsweep/analysis", "configs": "vsweep/configs"}  # in the tree, in the wheel
setuptools = pytest.importorskip("setuptools", "77", reason="an older setuptools cannot build this wheel")


def names(requirements: list[str]) -> dict[str, str]:
    """Package -> the version or range asked for, by lower-case names with one kind of dash."""
    matches = [re.match(r"([\w.-]+)(?:\[.*\])?(.*)", line) for line in requirements]
    return {match[1].lower().replace("_", "-"): match[2] for match in matches}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, because a build leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    for folder in INSIDE:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, "dist"], cwd=source, check=True, capture_output=True)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of the programs of an environment with the wheel, which shares the libraries of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    libraries = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    options = ["--no-deps", "--no-index", "--no-compile", "--ignore-installed", "--disable-pip-version-check"]
    subprocess.run([*pip, *options, wheel], check=True)
    return folder / "bin"


@pytest.fixture
def place(tmp_path) -> Path:
    """A user's folder. His `analysis` fails when it is imported, and so does his `configs`."""
    for name in ("analysis", "configs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('the {name} of the user was imported')\n")
    write_table(tmp_path / "table.csv")
    return tmp_path


def run(*command: object, cwd: Path, status: int = 0) -> str:
    """Standard output of a program that ends with `status`."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_tree(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tree = {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in INSIDE.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == tree


def test_the_metadata_has_version_and_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    text = next(archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert f"\nVersion: {vsweep.__version__}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text
    assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())


def test_the_version_stands_in_one_place_and_two_documents():
    assert "version" not in PROJECT
    assert f"\n## {vsweep.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {vsweep.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_tested_versions_are_in_the_ranges():
    from packaging.specifiers import SpecifierSet

    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = names([line for line in lines if "==" in line and not line.startswith("#")])
    ranges = names(PROJECT["dependencies"])
    assert set(pins) == set(ranges)
    assert [name for name, pin in pins.items() if pin.removeprefix("==") not in SpecifierSet(ranges[name])] == []


def test_the_command_lists_commands_and_configs(installed, place):
    text = run(installed / "vsweep", "--help", cwd=place)
    assert "plan-from-law FITS.json" in text
    assert "Bundled: addition, kaplan, markov, modular, text." in text


def test_a_bundled_config_is_planned_by_name(installed, place):
    assert "addition-smoke: 12 runs" in run(installed / "vsweep", "plan", "addition:smoke", cwd=place)


def test_a_table_is_analysed_beside_a_folder_of_that_name(installed, place):
    program = "import vsweep; print(vsweep.analyse('table.csv', 'fitted', bootstrap=0).report)"
    assert run(installed / "python", "-c", program, cwd=place) == "fitted/report.html\n"
    assert (place / "fitted" / "figures" / "isoflop_valleys.png").is_file()


def test_messages_name_the_installed_command(installed, place):
    assert run(installed / "vsweep", "analyse", "--help", cwd=place).startswith("usage: vsweep analyse ")
    assert "  vsweep compare A B " in run(installed / "vsweep", "analyse", "--help", cwd=place)


@pytest.mark.slow
def test_a_bundled_config_is_trained_and_used(installed, place):
    command = installed / "vsweep"
    run(command, "train", "addition:smoke", cwd=place)
    workdir = place / "runs" / "addition-smoke"
    assert (workdir / "analysis" / "report.html").is_file()
    run(command, "analyse", "table.csv", "--out", "fitted", "--bootstrap=40", cwd=place)
    assert "loss" in run(command, "plan-from-law", "fitted/fits.json", "--compute=1e21", cwd=place)
    assert run(command, "generate", workdir, "--run=w8-d16k-s0", "1+2=", cwd=place).startswith("1+2=")
    assert "embed" in run(command, "export", workdir, "w8-d16k-s0", "--to=model.npz", cwd=place)
