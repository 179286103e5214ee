"""The contents of `report.json`: what is left out, and what is refused."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from speechxfer.report.run_report import RunReport

MINIMAL = {
    "before": None,
    "after": {"wer": 0.22},
    "selected": "stage 0",
    "candidates": [{"name": "stage 0", "dev": 0.2}],
    "stages": [],
    "metric": "WER",
    "normaliser": "default",
    "splits": {},
    "speed": {},
    "provenance": {},
}


def test_what_was_not_measured_is_left_out():
    found = RunReport.model_validate(MINIMAL).to_json()
    assert found["before"] is None and set(MINIMAL) < set(found)
    assert not {"rescoring", "search", "learning_curve", "retention", "rejected", "after_padded_to_30s"} & set(found)
    assert found["candidates"] == [{"name": "stage 0", "dev": 0.2, "dev_beam": None}]


def test_a_written_report_reads_back_equal(tmp_path):
    advice = [{"action": "train longer", "evidence": "dev 20.0 %"}]
    whole = RunReport.model_validate(MINIMAL | {"advice": advice, "learning_curve": [{"share": 0.5}]})
    path = tmp_path / "report.json"
    path.write_text(json.dumps(whole.to_json()))
    assert RunReport.read(path) == whole


@pytest.mark.parametrize("change", [{"kept": "stage 0"}, {"candidates": [{"name": "x"}]}, {"selected": None}])
def test_other_documents_are_refused(tmp_path, change):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(MINIMAL | change))
    with pytest.raises(ValidationError):
        RunReport.read(path)
