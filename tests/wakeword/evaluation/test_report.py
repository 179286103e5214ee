"""The HTML report."""

from __future__ import annotations

from pathlib import Path

from speechxfer.report.progress import Reporter
from speechxfer.wakeword.evaluation.evaluate import evaluate_detector
from speechxfer.wakeword.evaluation.report import write_detector_report
from speechxfer.wakeword.runtime.detector import open_artifact

QUIET = Reporter(quiet=True)


def test_the_report_plays_what_went_wrong_and_escapes_what_people_wrote(
    detector: Path, tunes: Path, tmp_path: Path
) -> None:
    evil = tmp_path / "<script>alert(1)<b>"
    evil.mkdir()
    for i in range(3):
        (evil / f"{i}.wav").write_bytes((tunes / "test_words" / f"00{i}.wav").read_bytes())  # as a stream: it fires
    artifact = open_artifact(detector)
    found = evaluate_detector(
        artifact, QUIET, positives=str(tunes / "test_speech"), streams=[str(evil)]
    )  # and these are missed
    write_detector_report(tmp_path / "report.html", found, facts={"a<b": "c&d"}, warnings=["<i>"])
    text = (tmp_path / "report.html").read_text()
    assert found.metrics.false_alarms >= 2 and found.metrics.misses >= 15
    assert text.count("<audio") == min(found.metrics.misses, 30) + found.metrics.false_alarms
    assert "<script" not in text and "a&lt;b" in text and "&lt;i&gt;" in text
    assert "<polyline" in text and 'class="here"' in text
