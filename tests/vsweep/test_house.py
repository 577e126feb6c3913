"""The rules of the house, read from the source: what may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vsweep"

# A module imports only from modules above it in this list.
HOUSE = (
    "startup",
    "records",
    "config",
    "tasks",
    "order",
    "grid",
    "attention",
    "model",
    "accounting",
    "packing",
    "plan",
    "metrics",
    "optimizer",
    "train_step",
    "devices",
    "stack",
    "lock",
    "workdir",
    "checkpoint",
    "writer",
    "interruption",
    "progress",
    "results",
    "resume",
    "preflight",
    "clock",
    "compiling",
    "pace",
    "stack_trainer",
    "trainer",
    "generate",
    "command_line",
)


def sources(folder: Path) -> dict[str, Path]:
    """Module name -> file; a package such as `tasks` counts as one module, file by file."""
    return {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Full names of everything that a file imports, inside functions too: `vsweep.grid`, `vsweep.grid.Run`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def imported_of_vsweep(path: Path) -> set[str]:
    """The modules of vsweep that a file imports, without the package itself."""
    parts = (name.split(".") for name in imports(path) if name.startswith("vsweep."))
    return {part[1] for part in parts if part[1] in HOUSE}


def importers(package: str, folder: Path) -> set[str]:
    return {
        name
        for name, path in sources(folder).items()
        if any(found == package or found.startswith(f"{package}.") for found in imports(path))
    }


MODULES = {name: path for name, path in sources(PACKAGE).items() if name != "__init__"}


def test_every_module_has_its_place_in_the_house():
    assert {name.partition("/")[0] for name in MODULES} == set(HOUSE)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_modules_above_it(module):
    own = module.partition("/")[0]
    above = set(HOUSE[: HOUSE.index(own)])
    below = imported_of_vsweep(MODULES[module]) - above - {own}
    assert not below, f"{module} imports {sorted(below)}, which stand below it"


def test_the_analysis_knows_the_schema_of_the_records_and_nothing_else():
    """And as a program it begins as every program here does."""
    for name, path in sources(ROOT / "analysis").items():
        known = {found for found in imports(path) if found.partition(".")[0] == "vsweep"}
        allowed = {"vsweep.records", "vsweep.startup"} if name == "__main__" else {"vsweep.records"}
        assert all(found in allowed or found.rpartition(".")[0] in allowed for found in known), name


@pytest.mark.parametrize(
    ("library", "only"),
    [("orbax", {"checkpoint"}), ("flax", {"model"}), ("ml_collections", {"command_line", "config"})],
)
def test_a_library_has_one_place_where_it_is_known(library, only):
    assert importers(library, PACKAGE) == only


def test_only_the_stack_lifts_with_vmap():
    def lifts(path: Path) -> bool:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        return not {"vmap", "pmap"}.isdisjoint(named) or not {"jax.vmap", "jax.pmap"}.isdisjoint(imports(path))

    assert {name for name, path in MODULES.items() if lifts(path)} == {"stack"}


RUNS_DATA = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "multiprocessing"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "read_pickle", "to_pickle"}
EVERYTHING = [ROOT / "launch.py", *(ROOT / "vsweep").rglob("*.py"), *(ROOT / "analysis").rglob("*.py")]


def what_runs_data(text: str) -> list[str]:
    """What in a source could turn data into code: modules that unpickle, evaluated text, `allow_pickle=...`."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            found += [module for module in modules if module.partition(".")[0] in RUNS_DATA]
        if isinstance(node, ast.Name) and node.id in RUNS_TEXT:
            found.append(node.id)
        if isinstance(node, ast.Attribute) and node.attr in RUNS_TEXT - {"compile", "eval"}:
            found.append(node.attr)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append(node.arg)
    return found


def test_data_never_runs_code():
    assert {path.name: what_runs_data(path.read_text(encoding="utf-8")) for path in EVERYTHING} == {
        path.name: [] for path in EVERYTHING
    }


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from pickle import loads", "eval('1')", "np.load(x, allow_pickle=True)", "pd.read_pickle"],
)
def test_what_would_run_data_is_found(text):
    assert what_runs_data(text)


def test_a_bad_flag_and_the_analysis_are_answered_without_loading_jax():
    program = "import sys, launch, analysis; print(sorted({'jax', 'flax', 'orbax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_launcher_is_short():
    assert len((ROOT / "launch.py").read_text(encoding="utf-8").splitlines()) < 80
