"""How long each stage took when it last ran here: what reusing its results saves."""

import json
from pathlib import Path

from filelock import FileLock, Timeout

from preference.core.files import replacing

FILE = Path(".checkpoints/seconds.json")
PATIENCE = 5  # seconds, for another process that is writing


def record(stage: str, seconds: float) -> None:
    """Note how long a stage took, in seconds, in place of what was noted of it before.

    Nothing depends on the note: where it cannot be written, it is left out.
    """
    try:
        FILE.parent.mkdir(exist_ok=True)
        with FileLock(FILE.with_suffix(".lock"), timeout=PATIENCE):
            noted = {**known(), stage: round(seconds, 2)}
            with replacing(FILE) as temporary:
                temporary.write_text(json.dumps(noted, indent=2, sort_keys=True), encoding="utf-8")
    except (OSError, Timeout):
        return


def known() -> dict[str, float]:
    """Seconds by stage, as last noted; none where nothing readable has been noted."""
    try:
        noted = json.loads(FILE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(noted, dict):
        return {}
    return {
        stage: float(seconds)
        for stage, seconds in noted.items()
        if isinstance(seconds, int | float) and seconds >= 0
    }
