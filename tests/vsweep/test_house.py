"""The rules of the house, read from the source: what may import what."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vsweep"

# The rooms of the house: a folder or a module of the package's ground floor, and what it holds. A module imports only
# from its own room and from rooms above it in this list. docs/design.md shows the same list.
ROOMS = {
    "vsweep": {
        "_version": "the version, in one place",
        "program": "what a message calls a command",
        "config": "the fields of a configuration, and the problems found in one",
        "schema": "columns of the tables, with units and meanings",
        "atomic": "writing files whole or not at all",
        "tables": "reading and writing the tables",
        "corpus": "documents, tokenizers, and the store of ids",
        "tasks": "examples, their floor, and the order in which a run sees them",
        "models": "one model: init, apply, and how to count it",
        "optim": "optimizers and schedules",
        "host": "devices, signals, streams, progress",
        "plan": "runs, stacks, slots, costs",
        "storage": "the work directory, its lock, checkpoints and results",
        "session": "checks before training, and resuming",
        "train": "the step, the stack, the loop",
        "saved_run": "task, model and parameters of finished runs",
        "after": "sampling from finished runs, and their losses on other data",
        "generate": "text from a finished model",
        "evaluate": "a table of losses on any data",
        "export": "named arrays of a finished model",
        "serve": "a page that shows a sweep while it trains",
        "cli": "the command line",
    },
    "analysis": {
        "formatting": "numbers as words",
        "answering": "how a command ends",
        "plotting": "what all figures share",
        "fitting": "laws, objectives and fits",
        "tables": "anybody's table, read rightly or not at all",
        "option_help": "an example with every option",
        "reading_options": "options of commands that read tables",
        "data": "a source's runs as points of a fit",
        "approaches": "the three approaches and the compute frontier",
        "uncertainty": "resamples and intervals",
        "sections": "what a study asks, section by section",
        "report": "report.html and fits.json",
        "compare": "two studies side by side",
        "result": "runs and figures for a program or a notebook",
        "groups": "a law for each group of runs, side by side",
        "pipeline": "from a source to every file",
        "planner": "from a law to a training decision",
        "designer": "before training: what a design of runs would tell",
        "checking": "new runs against a forecast",
        "public": "the functions that vsweep offers",
        "terminal": "what an analysis prints",
        "commands": "the command line",
    },
}
PACKAGE_OF = {"vsweep": "vsweep.", "analysis": "vsweep.analysis."}  # how their modules are imported
MOST_FILES = 12  # in a folder
MOST_LINES = 60  # of a function


def sources(folder: Path) -> dict[str, Path]:
    """Module name with slashes -> file."""
    return {str(path.relative_to(folder).with_suffix("")): path for path in sorted(folder.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Full names of everything that a file imports, inside functions too: `vsweep.plan.grid.Run`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def importers(package: str, folder: Path) -> set[str]:
    return {
        name
        for name, path in sources(folder).items()
        if any(found == package or found.startswith(f"{package}.") for found in imports(path))
    }


MODULES = {name: path for name, path in sources(PACKAGE).items() if name != "__init__"}
INSIDE = [  # every module of a room
    (side, name, path)
    for side in ROOMS
    for name, path in sources(ROOT / side).items()
    if name not in ("__init__", "__main__")
]


@pytest.mark.parametrize("side", ROOMS)
def test_every_module_has_its_room(side):
    assert {name.partition("/")[0] for of, name, _ in INSIDE if of == side} == set(ROOMS[side])


@pytest.mark.parametrize(("side", "name", "path"), INSIDE, ids=[f"{side}/{name}" for side, name, _ in INSIDE])
def test_a_module_imports_from_rooms_above_its_own(side, name, path):
    order = list(ROOMS[side])
    own = order.index(name.partition("/")[0])
    package = PACKAGE_OF[side]
    rooms = {found.removeprefix(package).split(".")[0] for found in imports(path) if found.startswith(package)}
    below = {room for room in rooms if room in order and order.index(room) > own}
    assert not below, f"{name} imports from {sorted(below)}, which stand below it"


def module_graph(side: str) -> dict[str, set[str]]:
    """Module -> the modules that it imports when it is loaded; imports inside functions come later."""
    names = {
        f"{side}.{name.replace('/', '.')}".removesuffix(".__init__"): path
        for name, path in sources(ROOT / side).items()
    }
    graph = {}
    for name, path in names.items():
        found = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= inside if inside <= set(names) else {node.module, *inside}
        graph[name] = {module for module in found if module in names} - {name}
    return graph


def rooms_table(side: str) -> str:
    """The rooms of one side as docs/design.md shows them."""
    names = [f"{side}/{room}/" if (ROOT / side / room).is_dir() else f"{side}/{room}.py" for room in ROOMS[side]]
    rows = [f"| `{name}` | {what} |" for name, what in zip(names, ROOMS[side].values(), strict=True)]
    return "\n".join(["| room | what it holds |", "| --- | --- |", *rows])


@pytest.mark.parametrize("side", ROOMS)
def test_the_design_document_shows_these_rooms(side):
    assert rooms_table(side) in (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), rooms_table(side)


@pytest.mark.parametrize("side", ROOMS)
def test_modules_import_each_other_in_no_circle(side):
    graphlib.TopologicalSorter(module_graph(side)).prepare()


def test_a_circle_is_found():
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


@pytest.mark.parametrize("top", ["vsweep", "analysis", "configs", "benchmarks", "docs", "tests"])
def test_a_folder_holds_few_files(top):
    folders = [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir() and path.name != "__pycache__")]
    counts = {str(folder.relative_to(ROOT)): len([p for p in folder.iterdir() if p.is_file()]) for folder in folders}
    # Figures and benchmark records are results, several files each.
    assert {name: n for name, n in counts.items() if n > MOST_FILES and not name.startswith("docs/")} == {}


def test_functions_are_short():
    long = {
        f"{path.name}:{node.name}": node.end_lineno - node.lineno + 1
        for path in EVERYTHING
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= MOST_LINES
    }
    assert long == {}


def test_the_analysis_knows_the_tables_and_nothing_else_of_the_trainer():
    """And as a program it begins as every program here does."""
    known = ("vsweep.schema", "vsweep.atomic", "vsweep.tables", "vsweep.program")
    for name, path in sources(ROOT / "analysis").items():
        allowed = {*known, "vsweep.host.startup"} if name == "__main__" else set(known)
        used = {found for found in imports(path) if found.partition(".")[0] == "vsweep"}
        found = {one for one in used if not f"{one}.".startswith("vsweep.analysis.")}
        assert all(one in allowed or one.rpartition(".")[0] in allowed for one in found), name


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("orbax", {"storage/checkpoint"}),
        ("flax", {"models/dropout", "models/linen", "models/params"}),
        ("tiktoken", {"corpus/tokenizers"}),
        ("tokenizers", {"corpus/bpe", "corpus/tokenizers"}),
        ("datasets", {"corpus/documents/hub"}),
        ("pyarrow", {"corpus/documents/files"}),
        ("ml_collections", {"cli/command_line", "cli/flags", "cli/train", "config/sweep_config"}),
    ],
)
def test_a_library_has_one_place_where_it_is_known(library, only):
    assert importers(library, PACKAGE) == only


def test_only_training_and_what_comes_after_it_lift_with_vmap():
    def lifts(path: Path) -> bool:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        return not {"vmap", "pmap"}.isdisjoint(named) or not {"jax.vmap", "jax.pmap"}.isdisjoint(imports(path))

    assert {name for name, path in MODULES.items() if lifts(path)} == {
        "models/families/experts",  # over the experts of one model
        "train/stack",
        "after/sampling",
        "after/evaluation",
    }


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
    """Nor does the analysis load ml_collections, though its columns come from the table of fields."""
    heavy = "print(sorted({'jax', 'flax', 'orbax', 'ml_collections'} & set(sys.modules)))"
    program = f"import sys, vsweep.analysis; {heavy}; import launch; {heavy}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n['ml_collections']\n"


def test_the_launcher_is_short():
    assert len((ROOT / "launch.py").read_text(encoding="utf-8").splitlines()) < 25


OF_FORM = ("core", "starts", "describe")  # methods of every law, described once: fitting/chinchilla.py, Form
SHORT_METHOD = 3  # lines; a method or property so short says itself what it gives


def undocumented(text: str) -> list[str]:
    """Public functions and classes of a source, and public methods of some length, that have no docstring.

    A class that has a base may leave the words to the base's own methods.
    """
    body = ast.parse(text).body
    own = [node for node in body if isinstance(node, ast.ClassDef) and not node.bases]
    inside = [(f"{node.name}.", one) for node in own for one in node.body]
    found = []
    for owner, node in [("", node) for node in body] + inside:
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not named or f".{owner}{node.name}".count("._") or ast.get_docstring(node) or node.name in OF_FORM:
            continue
        if not owner or node.end_lineno - node.lineno >= SHORT_METHOD:
            found.append(f"{owner}{node.name}")
    return found


def test_what_is_public_has_a_docstring():
    files = [path for side in ROOMS for path in sources(ROOT / side).values()]
    missing = {str(path.relative_to(ROOT)): undocumented(path.read_text(encoding="utf-8")) for path in files}
    assert {name: found for name, found in missing.items() if found} == {}


def test_a_missing_docstring_is_found():
    long = "    def long(self):\n        x = 1\n        y = 2\n        return x\n"
    method = f"class A:\n    'Text.'\n{long}    def one(self): ...\n"
    assert undocumented(method) == ["A.long"]
    assert undocumented("def f(): ...\ndef _g(): ...\nclass B: ...\n") == ["f", "B"]
