"""Write the default with what recipes/NAME.yaml changes to params.yaml, if that loses nothing.

Without a name, only check params.yaml. Run by `make repro [RECIPE=NAME]`.
"""

import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import SafeRepresenter

from preference.core import params
from preference.core.errors import InputError
from preference.core.files import replacing
from tools.git import git

RECIPES = Path("recipes")


def merged(recipe: Path) -> CommentedMap:
    """The default's params, with its comments, and a recipe's values where it names others.

    Raises:
        InputError: the recipe is not YAML.
    """
    try:
        return _overlaid(YAML().load(recipe.with_name("demo-dpo.yaml")), YAML().load(recipe))
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{recipe}: not valid YAML: {error}") from None


def _overlaid(value: Any, change: Any) -> Any:
    if not isinstance(value, CommentedMap) or not isinstance(change, CommentedMap):
        return change
    value.ca.comment = change.ca.comment or value.ca.comment
    for key in change:
        value[key] = _overlaid(value.get(key), change[key])
    return value


def use(name: str) -> None:
    """Write what a recipe makes of the default over the project's params.

    Raises:
        InputError: there is no such recipe, it gives no valid params, or params.yaml has
            uncommitted changes.
    """
    recipe, target = RECIPES / f"{name}.yaml", params.PARAMS_FILE
    if not recipe.exists():
        known = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
        raise InputError(f"RECIPE={name}: no such recipe; there are {known}")
    yaml = YAML()
    # Its own way is to write nothing for null.
    yaml.representer.add_representer(type(None), SafeRepresenter.represent_none)
    with replacing(target) as temporary:
        yaml.dump(merged(recipe), temporary)
        try:
            params.load(temporary)
        except InputError as error:
            raise InputError(str(error).replace(str(temporary), str(recipe))) from None
        same = target.exists() and target.read_bytes() == temporary.read_bytes()
        if not same and git("status", "--porcelain", "--", str(target)):
            raise InputError(
                f"RECIPE={name}: {target} has uncommitted changes, which the recipe would "
                f"overwrite; commit them, or drop them with git checkout {target}"
            )


if __name__ == "__main__":
    try:
        for recipe_name in sys.argv[1:2]:
            use(recipe_name)
        params.load()
    except InputError as error:
        sys.exit(f"error: {error}")
