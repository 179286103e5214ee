"""The computation of `speechxfer evaluate`, without the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.cli._evaluate_run import EvaluationRequest, EvaluationRun, evaluate_models
from speechxfer.data.audio import load_waveform
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.models import DecodingOptions, load
from speechxfer.report.progress import Reporter


def evaluate(model: Path, data: Path, baseline: Path | None = None, **options: object) -> EvaluationRun:
    values = {"normalise": None, "by": "auto", "decoding": DecodingOptions(), "device": "cpu", "skip_bad": False}
    request = EvaluationRequest(
        str(model), None if baseline is None else str(baseline), str(data), **{**values, **options}
    )
    return evaluate_models(request, read(data), Reporter(quiet=True))


def test_hypotheses_are_those_of_each_model(whisper: Path, other_whisper: Path, speech: Path) -> None:
    run = evaluate(whisper, speech, other_whisper)
    assert run.before is not None
    for path, evaluation in ((whisper, run.after), (other_whisper, run.before)):
        model = load(path, device="cpu")
        expected = [text for row in read(speech) for text in model.predict([load_waveform(row)])]
        assert list(evaluation.hypotheses) == expected
    assert run.normaliser == "default" and run.split.skipped == 0


def test_rows_that_one_model_refuses_are_skipped_for_both(whisper: Path, tiny_whisper: Path, speech: Path) -> None:
    speech.write_text(speech.read_text().replace(",egg,", f",{'abcd ' * 10},"))  # whisper writes 40 tokens at most
    with pytest.raises(UserError, match=r"its text is .* tokens"):
        evaluate(tiny_whisper, speech, whisper)
    run = evaluate(tiny_whisper, speech, whisper, skip_bad=True)
    assert run.before is not None
    assert run.split.skipped == 1 and len(run.before.hypotheses) == len(run.after.hypotheses) == 5


def test_options_are_passed_on(whisper: Path, speech: Path) -> None:
    run = evaluate(whisper, speech, normalise="none", by=["accent"])
    assert run.baseline is run.before is None and run.normaliser == "none"
    assert set(run.after.score.to_json()["by"]) == {"accent"}


def test_columns_that_the_data_lack_are_an_error_before_the_work(speech: Path) -> None:
    with pytest.raises(UserError, match=r"--by accent\+speeker: no column 'speeker' .*did you mean 'speaker'"):
        evaluate(Path("no-such-model"), speech, by=["accent+speeker"])
