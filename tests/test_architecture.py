"""The walls between packages, a test for each module, functions that can be read at a glance."""

import ast
from collections import Counter
from pathlib import Path

import imports
import networkx as nx
import pytest

ROOT = imports.ROOT
MODULES = sorted(
    file.relative_to(ROOT)
    for package in imports.PACKAGES
    for file in (ROOT / package).rglob("*.py")
    if file.name != "__init__.py"
)

# Which packages each may import; stages and tools may import all of them, and never each other.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "store": {"core"},
    "data": {"core", "store"},
    "runtime": {"core", "store"},
    "model": {"core", "store", "runtime"},
    "objectives": {"core", "store"},
    "losses": {"core", "store", "objectives"},
    "training": {"core", "store", "runtime", "model", "objectives"},
    "evaluation": {"core", "store", "data", "runtime", "model", "objectives"},
    "report": {"core", "store", "objectives", "evaluation"},
}
MAY_IMPORT |= {"stages": set(MAY_IMPORT), "tools": set(MAY_IMPORT)}

# Modules without a test of their own name, and why.
WITHOUT = {
    "preference/data/formats/example.py": "types, which the tests of each format fill",
}
STAGES = "a stage is run as a whole: test_pipeline, test_dvc"


def package(file: Path) -> str:
    """`stages`, `tools`, or the package of `preference` that a file lies in."""
    return file.parts[1] if file.parts[0] == "preference" else file.parts[0]


def arrows() -> set[tuple[Path, Path]]:
    found = {(file, other) for file in MODULES for other in imports.imported(file)}
    return {(a, b) for a, b in found if a != b and b.suffix == ".py" and b.name != "__init__.py"}


def test_every_package_has_its_walls() -> None:
    assert {package(file) for file in MODULES} == set(MAY_IMPORT)


def test_no_import_breaks_a_wall() -> None:
    across = {(package(a), package(b), str(a), str(b)) for a, b in arrows()}
    broken = {x for x in across if x[0] != x[1] and x[1] not in MAY_IMPORT[x[0]]}
    # Stages do not know each other either.
    broken |= {x for x in across if x[0] == x[1] == "stages"}
    assert broken == set()


def test_no_circle_of_modules() -> None:
    assert list(nx.simple_cycles(nx.DiGraph(arrows()))) == []


@pytest.mark.parametrize("file", MODULES, ids=str)
def test_every_module_has_a_test_of_its_name(file: Path) -> None:
    if package(file) == "stages":
        return
    inside = Path(*file.parts[1:]) if file.parts[0] == "preference" else file
    test = ROOT / "tests" / inside.parent / f"test_{file.name}"
    assert test.exists() != (str(file) in WITHOUT), f"{test} or a reason"


def test_reasons_are_of_modules() -> None:
    assert set(map(Path, WITHOUT)) <= set(MODULES)


def test_tests_bear_the_names_of_modules() -> None:
    """Those in the directory of a package; what is beside them is about several."""
    for test in (ROOT / "tests").rglob("test_*.py"):
        inside = test.relative_to(ROOT / "tests")
        if len(inside.parts) > 1:
            module = inside.with_name(inside.name.removeprefix("test_"))
            assert {module, "preference" / module} & set(MODULES), test


@pytest.mark.parametrize("file", MODULES, ids=str)
def test_functions_are_short_and_take_few_parameters(file: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} is long"
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            taken = [argument for argument in named if argument.arg not in ("self", "cls", "ctx")]
            assert len(taken) <= 8, f"{node.name} takes many parameters"


def test_no_piece_of_code_stands_in_two_stages() -> None:
    pieces: Counter[str] = Counter()
    for file in MODULES:
        if package(file) == "stages":
            body = ast.parse((ROOT / file).read_text()).body
            code = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
            # How every stage ends.
            lines = [line for node in code[:-1] for line in ast.unparse(node).splitlines()]
            pieces.update({"\n".join(lines[i : i + 4]) for i in range(len(lines) - 3)})
    assert [piece for piece, count in pieces.items() if count > 1] == []
