"""Which of the project's files a module needs, directly or not, read from the source."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("preference", "stages", "tools")
# Says how a stage starts, tells and stops, never what it writes.
CORE = Path("preference/core")
TEMPLATES, READ = Path("preference/report/templates"), ("fill", "verbatim")


def closure(module: Path) -> set[Path]:
    """The project's files that running `module` can import, itself among them."""
    found: set[Path] = set()
    todo = [module]
    while todo:
        file = todo.pop()
        if file not in found:
            found.add(file)
            todo += imported(file)
    return found


def imported(file: Path) -> list[Path]:
    """The project's files that the imports and the templates of one file name, wherever they do."""
    if file.suffix != ".py":
        return []
    names: list[str] = []
    templates: list[Path] = []
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in READ:
            assert isinstance(node.args[0], ast.Constant), f"{file}: names no template"
            templates.append(TEMPLATES / str(node.args[0].value))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            if CORE in file.parents:
                # To refuse options that an objective does not have; no output depends on it.
                continue
            directory, _, rest = ast.unparse(node.args[0])[2:-1].rpartition(".")
            assert rest.startswith("{"), f"{file}: imports no module of a directory"
            names += [
                ".".join(module.relative_to(ROOT).with_suffix("").parts)
                for module in (ROOT / directory.replace(".", "/")).glob("*.py")
            ]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports are not followed"
            names += [node.module or ""]
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    paths = [Path(*name.split(".")) for name in names if name.split(".")[0] in PACKAGES]
    # A package is imported before its modules.
    packages = [around / "__init__.py" for path in paths for around in (path, *path.parents)]
    files = [path.with_suffix(".py") for path in paths] + packages
    return sorted({file for file in [*files, *templates] if (ROOT / file).exists()})
