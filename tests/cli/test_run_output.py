"""What `adapt` prints at the end, from runs made by hand."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from speechxfer.adaptation.run import Run
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.cli._run_output import print_advice, print_next_commands, print_run
from speechxfer.report.progress import Reporter
from speechxfer.report.run_report import RunReport
from speechxfer.scoring import score
from speechxfer.scoring.labels import score_labels

REPORT: dict[str, Any] = {
    "before": None,
    "after": {"wer": 0.25},
    "metric": "WER",
    "selected": "stage 0",
    "candidates": [{"name": "zero-shot", "dev": 0.4}, {"name": "stage 0", "dev": 0.2}],
    "stages": [],
    "normaliser": "default",
    "splits": {},
    "speed": {},
    "warnings": ["only 2 speakers"],
    "advice": [{"action": "train longer", "evidence": "dev still improves"}],
    "provenance": {"recipe": {"encoder": {"name": "my model"}, "scoring": {"unit": "word"}}},
}


@pytest.fixture
def reporter() -> Reporter:
    reporter = Reporter()
    reporter.console = Console(file=io.StringIO(), width=400)
    return reporter


def read(reporter: Reporter) -> str:
    file = reporter.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def make_run(folder: Path, before: Any, after: Any, **changes: Any) -> Run:
    run_dir = RunDir(folder)
    (run_dir.checkpoints / "stage-0").mkdir(parents=True)
    (run_dir.checkpoints / "stage-0" / "weights").write_bytes(b"x" * 3_000_000)
    return Run(run_dir=run_dir, before=before, after=after, report=RunReport.model_validate(REPORT | changes))


def test_texts_before_and_after(tmp_path: Path, reporter: Reporter) -> None:
    before, after = score(["a b", "c d"], ["a x", "c x"]), score(["a b", "c d"], ["a b", "c x"])
    run = make_run(tmp_path / "run", before, after)
    print_run(run, reporter)
    text = read(reporter)
    assert "50.0 [2]" in text and "25.0 [1]" in text and "-25.0" in text
    assert "warning: only 2 speakers" in text and "training checkpoints: 3 MB" in text
    assert "The model kept is 'stage 0': WER on dev 20.0 %" in text
    assert "runners-up: zero-shot 40.0 %" in text
    assert f"model   {tmp_path}/run/model" in text


def test_labels_without_a_pretrained_model(tmp_path: Path, reporter: Reporter) -> None:
    after = score_labels(["one", "one", "two", "two"], ["one", "one", "two", "one"])
    run = make_run(tmp_path / "run", None, after, metric="accuracy")
    print_run(run, reporter)
    text = read(reporter)
    assert "accuracy on test: 75.0 % [3 / 4]" in text and "balanced accuracy 75.0 %" in text
    assert "before" not in text.partition("The model kept")[0]


def test_the_next_commands_can_be_pasted(tmp_path: Path, reporter: Reporter) -> None:
    after = score(["a"], ["a"])
    print_next_commands(make_run(tmp_path / "my run", after, after), reporter)
    use, measure = read(reporter).splitlines()
    folder = shlex.quote(str(tmp_path / "my run"))
    assert use.endswith(f"speechxfer transcribe {folder} AUDIO")
    assert measure.endswith(f"speechxfer evaluate {folder} DATA --baseline 'my model'")


def test_advice_has_its_evidence_and_the_curve_comes_first(tmp_path: Path, reporter: Reporter) -> None:
    curve = [{"share": 0.5, "hours": 0.1, "utterances": 40, "dev": 0.3}]
    print_advice(make_run(tmp_path / "run", None, score(["a"], ["a"]), learning_curve=curve), reporter)
    text = read(reporter)
    assert "dev WER %" in text and "30.0" in text
    assert text.index("30.0") < text.index("next    train longer") < text.index("(dev still improves)")
