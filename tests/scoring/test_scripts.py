"""The small scripts print what `speechxfer score` would."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def run(tmp_path):
    for name, text in (("ref", "a b c d"), ("before", "a x x d"), ("after", "a b c")):
        (tmp_path / f"{name}.trn").write_text("".join(f"{text} (s{i}-1)\n" for i in range(25)))
        lines = (f'{{"id": "{i}", "reference": "a b c d", "hypothesis": "{text}"}}\n' for i in range(25))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))

    def started(script, *files):
        command = [sys.executable, SCRIPTS / script, *files]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return started


def test_wer(run):
    assert run("wer.py", "ref.trn", "after.trn") == (
        0, "25.0 % [25 / 100: 0 sub, 25 del, 0 ins], 95 % 25.0 to 25.0 over 25 speakers\n", "",
    )  # fmt: skip
    code, output, _ = run("wer.py", "before.jsonl", "after.jsonl")  # both hold both sides: the last one's
    assert code == 0 and output.startswith("25.0 %") and "warning: fewer than two speakers are known" in output


def test_compare(run):
    code, output, _ = run("compare.py", "ref.trn", "before.trn", "after.trn")
    lines = output.splitlines()
    assert code == 0 and [line[:6] for line in lines] == ["50.0 %", "25.0 %", "-25.0 "] and lines[2].endswith("better")


@pytest.mark.parametrize("script", ["wer.py", "compare.py"])
def test_mistakes(run, script):
    code, _, output = run(script)
    assert code == 2 and f"scripts/{script} REF" in output
    code, _, output = run(script, *["ref.trn", "none.trn", "after.trn"][: 2 if script == "wer.py" else 3])
    assert code == 2 and "none.trn: no such file" in output
