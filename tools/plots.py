"""Draw the curves into one page that opens without a network.

`dvc plots show` makes a page that loads Vega from the net. This one has Vega inside, as it comes
with the package that draws the report's charts.

Use: python -m tools.plots [COMMIT]...
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import vl_convert
from dvc_render.html import PAGE_HTML

from preference.core.files import replacing

TEMPLATE = Path(".dvc/tmp/plots.html")
VEGA_LITE = "5.20"  # DVC's own charts are of version 5
# Those of DVC's template load from the net.
SCRIPTS = "{scripts}"


def template() -> str:
    """DVC's own page, with Vega in place of addresses of it."""
    assert SCRIPTS in PAGE_HTML
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed", vl_version=VEGA_LITE)
    return PAGE_HTML.replace(SCRIPTS, f'<meta charset="utf-8"><script>{bundle}</script>')


def main(commits: Sequence[str]) -> int:
    """Write the page, of the working directory or of commits beside each other; DVC's status."""
    from dvc.cli import main as dvc

    with replacing(TEMPLATE) as temporary:
        temporary.write_text(template(), encoding="utf-8")
    command = ["diff", *commits] if commits else ["show"]
    return dvc(["plots", *command, "--html-template", str(TEMPLATE.absolute())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
