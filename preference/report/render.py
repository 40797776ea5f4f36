"""Templates filled in; what comes from outside is escaped where the format asks for it."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def fill(name: str, **values: object) -> str:
    """Fill in a template of this project; in HTML every value that is no `Markup` is escaped.

    Raises:
        jinja2.UndefinedError: the template names a value that is not given.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(values)


def verbatim(name: str) -> Markup:
    """A file beside the templates, to be put into a page as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))
