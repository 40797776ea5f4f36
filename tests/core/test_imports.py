"""Imports without extras."""

import subprocess
import sys

CODE = """
import sys
from preference.core.imports import without
with without('wave', 'chunk'):
    try:
        import wave
    except ImportError:
        print('hidden')
import wave; print('back')
with without('wave', 'chunk'):
    import wave; print('kept')
import json; del sys.modules['wave']
with without('wave', 'json'):
    import wave; print('let be')
"""


def test_without_hides_a_package_only_inside() -> None:
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["hidden", "back", "kept", "let be", ""]
