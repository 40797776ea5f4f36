"""Copy recipes/NAME.yaml over params.yaml, unless that would lose uncommitted changes.

Without a name, only check params.yaml. Run by `make repro [RECIPE=NAME]`.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from preference import params
from preference.errors import InputError


def use(name: str, root: Path) -> None:
    """Copy a recipe over the project's params.

    Raises:
        InputError: there is no such recipe, or params.yaml has uncommitted changes.
    """
    recipe, target = root / "recipes" / f"{name}.yaml", root / "params.yaml"
    if not recipe.exists():
        known = ", ".join(sorted(path.stem for path in recipe.parent.glob("*.yaml")))
        raise InputError(f"RECIPE={name}: no such recipe; there are {known}")
    if target.exists() and target.read_bytes() == recipe.read_bytes():
        return
    try:
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "params.yaml"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        raise InputError(
            f"RECIPE={name}: git cannot tell whether params.yaml has uncommitted changes ({said}); "
            "the pipeline needs a git repository: clone the project, or git init and commit"
        ) from None
    if changed.stdout:
        raise InputError(
            f"RECIPE={name}: params.yaml has uncommitted changes, which the recipe would "
            "overwrite; commit them, or drop them with git checkout params.yaml"
        )
    shutil.copyfile(recipe, target)


if __name__ == "__main__":
    try:
        for recipe_name in sys.argv[1:2]:
            use(recipe_name, ROOT)
        params.load(ROOT / "params.yaml")
    except InputError as error:
        sys.exit(f"error: {error}")
