"""How stages start and end, by small ones and by the real ones' help."""

from pathlib import Path
from subprocess import CompletedProcess

import project
import pytest

PROGRAM = '''"""small: a stage for tests."""

import os

from huggingface_hub import constants

from preference.core import durations, stage
from preference.core.errors import InputError


def main(args: object) -> None:
    {body}


if __name__ == "__main__":
    stage.run(main{options})
'''


def run(directory: Path, body: str, options: str = "", **environment: str) -> CompletedProcess[str]:
    (directory / "small.py").write_text(PROGRAM.format(body=body, options=options))
    environment["PYTHONPATH"] = str(project.ROOT)
    return project.run(directory, "python", "-m", "small", **environment)


@pytest.mark.parametrize("stage", ["fetch_data", "train", "final_eval"])
def test_every_stage_explains_itself(stage: str) -> None:
    done = project.run(project.ROOT, "python", "-m", f"stages.{stage}", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python -m stages.{stage}")
    assert stage.replace("_", "-") + ":" in done.stdout


def test_a_full_disk_behind_another_error_is_told_in_a_line(tmp_path: Path) -> None:
    done = run(tmp_path, "raise RuntimeError('on the way') from OSError(28, 'full')")
    assert (done.returncode, done.stderr) == (
        1,
        "error: RuntimeError: on the way; make room on the disk and run dvc repro; earlier results "
        "are as they were\n",
    )


def test_what_nobody_foresaw_keeps_its_traceback(tmp_path: Path) -> None:
    done = run(tmp_path, "raise ZeroDivisionError('no matter what')")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("ZeroDivisionError: no matter what\n")


def test_clients_of_the_network_are_off_unless_a_stage_asks(tmp_path: Path) -> None:
    tell = "print(constants.HF_HUB_OFFLINE, os.getenv('HF_HUB_OFFLINE'), os.getenv({!r}))"
    body, on = tell.format("DVC_STUDIO_OFFLINE"), {"HF_HUB_OFFLINE": "0", "DVC_STUDIO_OFFLINE": ""}
    assert run(tmp_path, body, **on).stdout == "True 1 true\n"
    assert run(tmp_path, body, ", network=lambda args: True", **on).stdout == "False 0 \n"


def test_only_runs_by_dvc_are_noted(tmp_path: Path) -> None:
    tell = "print(*durations.known())"
    assert run(tmp_path, tell, DVC_STAGE="").stdout == "\n"
    run(tmp_path, "raise InputError('not done')", DVC_STAGE="failed")
    assert run(tmp_path, tell, DVC_STAGE="small").stdout == "\n"
    assert run(tmp_path, tell).stdout == "small\n"


def test_a_stage_that_is_stopped_says_what_comes_of_it(tmp_path: Path) -> None:
    done = run(tmp_path, "os.kill(os.getpid(), 2)")
    assert (done.returncode, done.stderr) == (
        130,
        "stopped by SIGINT; earlier results are as they were; dvc repro begins this stage anew\n",
    )


def test_bars_of_libraries_stay_out_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/barred.py").write_text(
        "from preference.core import stage\n"
        "from tqdm.auto import tqdm\n"
        "def main(args):\n"
        "    for _ in tqdm(range(3), desc='of a library'): pass\n"
        "if __name__ == '__main__':\n"
        "    stage.run(main)\n"
    )
    found = {"PYTHONPATH": str(project.ROOT)}
    done = project.run(tmp_path, "python", "-m", "stages.barred", **found)
    assert (done.returncode, done.stderr) == (0, "")
    asked = project.run(tmp_path, "python", "-m", "stages.barred", TQDM_DISABLE="", **found)
    assert "of a library: 100%" in asked.stderr
