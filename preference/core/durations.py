"""How long each stage took when it last ran here: what reusing its results saves."""

import json
from pathlib import Path

from preference.core.files import replacing

FILE = Path(".checkpoints/seconds.json")


def record(stage: str, seconds: float) -> None:
    """Note how long a stage took, in seconds, in place of what was noted of it before.

    Nothing depends on the note: where it cannot be written, it is left out.
    """
    try:
        with replacing(FILE) as temporary:
            noted = {**known(), stage: round(seconds, 2)}
            temporary.write_text(json.dumps(noted, indent=2, sort_keys=True), encoding="utf-8")
    except OSError:
        return


def known(project: Path = Path()) -> dict[str, float]:
    """Seconds by stage, as last noted; none where nothing readable has been noted."""
    try:
        noted = json.loads((project / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(noted, dict):
        return {}
    return {
        stage: float(seconds)
        for stage, seconds in noted.items()
        if isinstance(seconds, int | float) and seconds >= 0
    }
