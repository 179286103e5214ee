"""Scoring, comparison and gates of `speechxfer score`, without the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speechxfer.cli._score_inputs import NamedFile
from speechxfer.cli._score_run import ScoreRequest, score_files
from speechxfer.errors import UserError
from speechxfer.scoring import ScoringOptions

REFERENCE = "a b c d (s1-1)\ne f g h (s1-2)\n"
ONE_ERROR = "a b c d (s1-1)\ne f g x (s1-2)\n"  # 1 of 8 words
TWO_ERRORS = "a b c x (s1-1)\ne f g x (s1-2)\n"  # 2 of 8 words


@pytest.fixture
def make_request(tmp_path: Path) -> Callable[..., ScoreRequest]:
    """make_request({"h.trn": text, ...}, max_error=...): a request over r.trn and these hypotheses."""
    reading = {"format": None, "missing": "error", "utt2spk": None, "notation": False}

    def make(systems: dict[str, str], **options: Any) -> ScoreRequest:
        for name, text in {"r.trn": REFERENCE, "base.trn": ONE_ERROR, **systems}.items():
            (tmp_path / name).write_text(text)
        files = [NamedFile(tmp_path / name) for name in ("r.trn", *systems)]
        defaults = {"reading": reading, "columns": "auto", "options": ScoringOptions()}
        return ScoreRequest(files=files, **{**defaults, **options})

    return make


def test_rates_are_those_counted_by_hand(make_request: Callable[..., ScoreRequest]) -> None:
    run = score_files(make_request({"h.trn": ONE_ERROR, "i.trn": TWO_ERRORS}), with_analysis=False)
    assert {name: result.wer for name, result in run.results.items()} == {"h.trn": 1 / 8, "i.trn": 2 / 8}
    assert list(run.comparisons) == [("h.trn", "i.trn")]
    assert run.comparisons["h.trn", "i.trn"].difference == pytest.approx(1 / 8)
    assert run.analysed == {} and run.failures == []


def test_analysis_on_request(make_request: Callable[..., ScoreRequest], tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("x\nD\n")
    request = make_request({"h.trn": TWO_ERRORS}, terms=tmp_path / "terms.txt", case=True)
    run = score_files(request, with_analysis=True)
    analysed = run.analysed["h.trn"]
    assert analysed.errors.confusions == [("d", "x", 1), ("h", "x", 1)] and analysed.rules[0][0] == "as written"
    assert analysed.terms is not None and analysed.terms.total.to_json()["hypothesis"] == 2
    assert analysed.case is not None and analysed.case.words == 6 and analysed.punctuation is None


def test_columns_that_no_system_has_are_an_error(make_request: Callable[..., ScoreRequest]) -> None:
    request = make_request({"h.trn": ONE_ERROR}, columns=["speaker", "speeker"])
    with pytest.raises(UserError, match=r"--by speeker: no column 'speeker' .*\(did you mean 'speaker'\?\)") as raised:
        score_files(request, with_analysis=False)
    assert raised.value.fix == "use one of speaker"


def test_a_column_that_one_system_has_is_a_warning_for_the_others(
    make_request: Callable[..., ScoreRequest], tmp_path: Path
) -> None:
    table = "id,hypothesis,day\ns1-1,a b c d,mon\ns1-2,e f g h,tue\n"
    run = score_files(make_request({"h.csv": table, "i.trn": ONE_ERROR}, columns=["day"]), with_analysis=False)
    assert run.results["h.csv"].by_columns == ("day",) and run.results["i.trn"].by_columns == ()
    assert any(warning.startswith("i.trn: no column 'day'") for warning in run.warnings)


def test_systems_have_the_names_of_the_command_line(make_request: Callable[..., ScoreRequest], tmp_path: Path) -> None:
    request = make_request({"h.trn": ONE_ERROR, "i.trn": TWO_ERRORS})
    files = [request.files[0], NamedFile(request.files[1].path, "ours"), request.files[2]]
    run = score_files(replace(request, files=files), with_analysis=False)
    assert list(run.results) == ["ours", "i.trn"] and list(run.comparisons) == [("ours", "i.trn")]
    with pytest.raises(UserError, match="two systems have the same name"):
        score_files(replace(request, files=[*files[:2], NamedFile(files[2].path, "ours")]), with_analysis=False)
    with pytest.raises(UserError, match="the name 'gold' is given to the references"):
        score_files(replace(request, files=[NamedFile(files[0].path, "gold"), *files[1:]]), with_analysis=False)


def test_the_limit_is_a_gate(make_request: Callable[..., ScoreRequest]) -> None:
    request = make_request({"h.trn": TWO_ERRORS}, max_error=0.2)
    assert score_files(request, with_analysis=False).failures == ["h.trn: WER 25.00 %, the limit is 20.00 %"]
    request = make_request({"h.trn": TWO_ERRORS}, max_error=0.25)  # not above the limit
    assert score_files(request, with_analysis=False).failures == []


def test_a_baseline_is_compared_and_must_be_another_file(
    make_request: Callable[..., ScoreRequest], tmp_path: Path
) -> None:
    request = make_request({"h.trn": TWO_ERRORS}, baseline=tmp_path / "base.trn")
    run = score_files(request, with_analysis=False)
    assert run.against_baseline["h.trn"].difference == pytest.approx(1 / 8)
    assert run.failures == []  # two utterances are too few for a significant difference
    with pytest.raises(UserError, match="is the hypothesis itself"):
        score_files(make_request({"h.trn": TWO_ERRORS}, baseline=tmp_path / "h.trn"), with_analysis=False)


def test_a_significantly_worse_system_fails(make_request: Callable[..., ScoreRequest], tmp_path: Path) -> None:
    reference = "".join(f"a b c d (s{n}-1)\n" for n in range(20))
    request = make_request(
        {"h.trn": reference.replace("d", "x")}, baseline=tmp_path / "base.trn", options=ScoringOptions(seed=1)
    )
    for name in ("r.trn", "base.trn"):
        (tmp_path / name).write_text(reference)
    (failure,) = score_files(request, with_analysis=False).failures
    assert failure.startswith(f"h.trn: worse than {tmp_path / 'base.trn'}: ")
