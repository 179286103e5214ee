"""The commands of the tutorials, run in their order in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
pytestmark = pytest.mark.slow


def list_steps(name: str) -> list[str]:
    """Commands and Python blocks of a tutorial, in order."""
    text = (TUTORIALS / name).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$|^ {4}(speechxfer [^\n]*)$", text, re.DOTALL | re.MULTILINE)
    return [block or command for block, command in found]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a step in the tutorials' folder; returns its output."""
    folder = tmp_path_factory.mktemp("tutorials")
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"}

    def run_step(step: str) -> str:
        words = ["-m", "speechxfer", *shlex.split(step)[1:]] if step.startswith("speechxfer ") else ["-c", step]
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (step, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout + done.stderr

    return run_step


def test_a_better_model_and_its_wer(run: Callable[..., str]) -> None:
    """The second tutorial uses the first one's run."""
    steps = list_steps("first-adaptation.md")
    assert len(steps) == 9
    outputs = {step: run(step) for step in steps}
    adapted = next(output for step, output in outputs.items() if "adapt" in step and "--dry-run" not in step)
    assert "The model kept is 'stage 0" in adapted
    for step in list_steps("defend-a-wer.md"):
        outputs[step] = run(step)
    table = next(output for step, output in outputs.items() if step.endswith("--table markdown"))
    assert "before" in table and "after" in table
