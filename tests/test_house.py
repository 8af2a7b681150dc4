"""Promises about the design: short files and functions, one importer a border library, nothing unpickled."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from pipeline.cli import VERBS

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "models", "losses", "cluster", "benchmarks")
LONGEST_FILE, LONGEST_FUNCTION, LONGEST_VERB = 300, 50, 150
BORDERS = {
    "ray": {"cluster/actors.py", "cluster/fleet.py", "cluster/search.py", "cluster/workers.py"},
    "accelerate": {"cluster/accelerate_engine.py"},
    "mlflow": {"pipeline/tracking/mlflow_tracker.py"},
    "webdataset": {"pipeline/data/shards.py"},
    "boto3": {"cluster/objects.py"},
}
METHODS_MAY_IMPORT = (
    "pipeline.methods",
    "pipeline.phase",
    "pipeline.nets",
    "pipeline.draws",
    "pipeline.errors",
)
# Calls that run, or can be told to run, what a file says.
EXECUTING = {
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "dill.load",
    "joblib.load",
    "numpy.load",
    "np.load",
    "yaml.load",
    "yaml.unsafe_load",
    "webdataset.WebDataset",
}
MODULES_THAT_EXECUTE = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@cache
def sources() -> dict[str, ast.Module]:
    """The tracked Python files of the rooms, parsed; without git (an archive of the tree), all files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *(f"{room}/*.py" for room in ROOMS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    if not names:
        names = [str(path.relative_to(ROOT)) for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    return {name: ast.parse((ROOT / name).read_text(encoding="utf-8"), name) for name in sorted(names)}


def imported(name: str) -> set[str]:
    """Absolute names of what a file imports, in functions too: `a` and `a.b` for `from a import b`."""
    package = name.removesuffix(".py").split("/")[:-1]
    found: set[str] = set()
    for node in ast.walk(sources()[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def lines(name: str) -> int:
    return len((ROOT / name).read_text(encoding="utf-8").splitlines())


def reads_weights(call: ast.Call, name: str) -> bool:
    """torch's reader through its allow-list, in the one file that may call it."""
    allowed = any(
        word.arg == "weights_only" and isinstance(word.value, ast.Constant) and word.value.value is True
        for word in call.keywords
    )
    return allowed and dotted(call.func) == "torch.load" and name == "models/files/pickled.py"


def dotted(node: ast.expr) -> str:
    """`torch.load` for the expression that says so; "" for what is no dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (front := dotted(node.value)):
        return f"{front}.{node.attr}"
    return ""


def test_no_file_is_longer_than_300_lines():
    assert {name: lines(name) for name in sources() if lines(name) > LONGEST_FILE} == {}


def test_no_function_is_longer_than_50_lines():
    long = {
        f"{name}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for name, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    }
    assert long == {}


def test_no_verb_is_longer_than_150_lines():
    files = [f"{module.replace('.', '/')}.py" for module, _ in VERBS.values()]
    assert {name: lines(name) for name in files if name in sources() and lines(name) > LONGEST_VERB} == {}


def test_every_verb_ends_in_the_one_program():
    for module, _ in VERBS.values():
        tree = sources().get(f"{module.replace('.', '/')}.py")
        if tree is None:
            continue
        assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body), module
        assert "raise SystemExit(run(main))" in ast.unparse(tree.body[-1]), module


@pytest.mark.parametrize("library", BORDERS)
def test_a_border_library_has_one_importer(library):
    importers = {name for name in sources() if any(within(module, (library,)) for module in imported(name))}
    assert importers <= BORDERS[library]


def test_leaves_import_no_other_room():
    for name in sources():
        room = name.split("/")[0]
        if room not in ("models", "losses", "cluster"):
            continue
        others = tuple({"pipeline", "models", "losses", "cluster"} - {room})
        assert {module for module in imported(name) if within(module, others)} == set(), name


def test_methods_import_only_the_core_and_the_leaves():
    for name in sources():
        if not name.startswith("pipeline/methods/"):
            continue
        inside = {module for module in imported(name) if within(module, ("pipeline", "cluster"))} - {
            "pipeline"
        }
        assert {module for module in inside if not within(module, METHODS_MAY_IMPORT)} == set(), name


def test_nothing_reads_a_file_in_a_way_that_executes_it():
    found = set()
    for name, tree in sources().items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and dotted(node.func) in EXECUTING
                and not reads_weights(node, name)
            ):
                found.add(f"{name}:{node.lineno} {dotted(node.func)}")
        found |= {f"{name} imports {module}" for module in imported(name) if module in MODULES_THAT_EXECUTE}
    assert found == set()


def test_no_decoder_of_webdataset_is_reachable():
    for name in BORDERS["webdataset"] & set(sources()):
        bytes_to_text = ("ascii", "utf-8", "utf8")
        for node in ast.walk(sources()[name]):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "decode"
            ):
                said = [each.value for each in node.args if isinstance(each, ast.Constant)]
                assert said, f"{name}:{node.lineno}: .decode() without an encoding may be webdataset's"
                assert said[0] in bytes_to_text, f"{name}:{node.lineno}"
        reached = {module for module in imported(name) if within(module, ("webdataset",))}
        assert not any("autodecode" in module or "handlers" in module for module in reached), name


def test_import_contracts_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-logo'])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_tests_mirror_the_rooms_with_names_of_their_own():
    """pytest imports test files without packages by their base name: two alike would hide one another."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    packaged = any((ROOT / "tests").rglob("__init__.py"))
    assert packaged or len(names) == len(set(names))
