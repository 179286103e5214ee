"""The computation of `speechxfer score`: reads the files, scores every system, compares them, applies the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from speechxfer.cli._score_inputs import NamedFile
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.scoring import Comparison, Score, ScoringOptions
    from speechxfer.scoring.analysis import AnalysedScore
    from speechxfer.scoring.matching import MatchedTranscripts


@dataclass(frozen=True)
class ScoreRequest:
    """What `speechxfer score` computes.

    Args:
        files: the reference and the hypotheses of every system, or one table that has both.
        reading: keyword arguments of `read_pairs`.
        columns: columns to break the WER down by, or `"auto"`.
        options: how the texts are scored.
        baseline: hypotheses that no system may be significantly worse than (`--fail-worse-than`).
        metric: name of the metric that `max_error` is a limit of.
        max_error: the highest accepted error rate, a fraction (`--fail-above`).
        terms: a file of words and phrases whose occurrences are counted.
        punctuation: also count errors of punctuation.
        case: also count errors of letter case.
    """

    files: list[NamedFile]
    reading: dict[str, Any]
    columns: list[str] | Literal["auto"]
    options: ScoringOptions
    baseline: Path | None = None
    metric: str = "auto"
    max_error: float | None = None
    terms: Path | None = None
    punctuation: bool = False
    case: bool = False

    def score(self, pairs: MatchedTranscripts, by: Any) -> Score:
        """Return the score of one system, broken down by the columns `by`.

        Files that say so are scored as labels (`MEASURE_COLUMN`), whatever the options.
        """
        from speechxfer.scoring import score
        from speechxfer.scoring.labels import MEASURE_COLUMN, measures_labels, score_labels
        from speechxfer.scoring.tokens import LABEL_UNIT
        from speechxfer.scoring.units import AUTO_UNIT

        arguments: dict[str, Any] = {
            "ids": pairs.ids,
            "speakers": pairs.speakers,
            "columns": {name: values for name, values in pairs.columns.items() if name != MEASURE_COLUMN},
            "by": by,
            "options": self.options,
        }
        if self.options.unit == LABEL_UNIT or (self.options.unit == AUTO_UNIT and measures_labels(pairs.columns)):
            return score_labels(pairs.references, pairs.hypotheses, **arguments)
        return score(pairs.references, pairs.hypotheses, **arguments)


@dataclass
class ScoreRun:
    """Scores by system name, and what follows from them.

    `comparisons` are between systems; `against_baseline` compares every system with the baseline of the request.
    """

    request: ScoreRequest
    systems: list[MatchedTranscripts]
    results: dict[str, Score]
    comparisons: dict[tuple[str, str], Comparison]
    against_baseline: dict[str, Comparison]
    warnings: list[str]
    analysed: dict[str, AnalysedScore] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """One message for each failed gate."""
        return [
            *_list_above(self.results, self.request),
            *_list_worse(self.against_baseline, self.request.baseline),
        ]


def score_files(request: ScoreRequest, *, with_analysis: bool) -> ScoreRun:
    """Score and compare the systems of `request`.

    Args:
        with_analysis: also analyse the errors.

    Raises:
        UserError: if the files cannot be read or do not match, or no system has a column to break the WER down by.
    """
    from speechxfer.scoring import compare_scores, compare_systems
    from speechxfer.scoring.analysis import analyse_score
    from speechxfer.scoring.pairing import read_pairs
    from speechxfer.scoring.terms import read_terms

    reference, *hypotheses = (file.path for file in request.files)
    systems = _set_names(read_pairs(reference, hypotheses, **request.reading), request.files)
    _check_columns(request.columns, systems)
    baseline, base = request.baseline, None
    if baseline is not None:
        if [pairs.path for pairs in systems] == [baseline]:
            raise UserError("is the hypothesis itself", where=f"--fail-worse-than {baseline}")
        base = request.score(read_pairs(reference, [baseline], **request.reading)[-1], None)
    results = {pairs.name: request.score(pairs, request.columns) for pairs in systems}
    run = ScoreRun(
        request,
        systems,
        results,
        comparisons=compare_systems(results) if len(results) > 1 and _have_same_utterances(results) else {},
        against_baseline={
            pairs.name: compare_scores(base, results[pairs.name])
            for pairs in systems
            if base and pairs.path != baseline
        },
        warnings=_collect_warnings(systems, results),
    )
    if with_analysis:
        for name, result in results.items():
            terms = None if request.terms is None else read_terms(request.terms, result.options)
            run.analysed[name] = analyse_score(result, terms=terms, punctuation=request.punctuation, case=request.case)
    return run


def _set_names(systems: list[MatchedTranscripts], files: Sequence[NamedFile]) -> list[MatchedTranscripts]:
    """Give the systems the names of the command line. Raises UserError for a name of a file that is not a system."""
    names = {file.path: file.name for file in files if file.name is not None}
    for path in names.keys() - {pairs.path for pairs in systems}:
        problem = f"the name '{names[path]}' is given to the references, which are not a system"
        raise UserError(problem, where=str(path), fix="name the hypotheses only")
    named = [replace(pairs, name=names.get(pairs.path) or pairs.name) for pairs in systems]
    if len({pairs.name for pairs in named}) < len(named):
        raise UserError("two systems have the same name", fix="give each its own name: NAME=FILE")
    return named


def _check_columns(by: Sequence[str] | Literal["auto"], systems: Sequence[MatchedTranscripts]) -> None:
    """Raise UserError for columns to break the WER down by that no system has."""
    from speechxfer.scoring.groups import select_breakdown

    if by == "auto":
        return
    columns = [_list_columns(pairs) for pairs in systems]
    for name in by:
        problems = [select_breakdown([name], one).problems for one in columns]
        if all(problems):
            known = ", ".join(dict.fromkeys(known for one in columns for known in one))
            raise UserError(problems[0][0], where=f"--by {name}", fix=f"use one of {known}" if known else None)


def _list_columns(pairs: MatchedTranscripts) -> dict[str, list[str]]:
    speakers = {} if pairs.speakers is None else {"speaker": pairs.speakers}
    known = {**pairs.columns, **speakers}
    return {name: ["" if value is None else value for value in values] for name, values in known.items()}


def _have_same_utterances(results: dict[str, Score]) -> bool:
    return len({frozenset(result.ids) for result in results.values()}) == 1


def _collect_warnings(systems: list[MatchedTranscripts], results: dict[str, Score]) -> list[str]:
    """Return every warning once, with the names of its systems where it does not hold for all of them."""
    from speechxfer.scoring.error_analysis import find_input_warnings
    from speechxfer.scoring.labels import LabelScore

    found: dict[str, list[str]] = {}
    for pairs in systems:
        result = results[pairs.name]
        from_texts = () if isinstance(result, LabelScore) else find_input_warnings(result)
        for text in (*pairs.notes, *result.warnings, *from_texts):
            found.setdefault(text, []).append(pairs.name)
    listed = [text if len(names) == len(systems) else f"{', '.join(names)}: {text}" for text, names in found.items()]
    if not _have_same_utterances(results):
        listed.append("the systems are not compared: --missing skip left them with different utterances")
    return listed


def _list_above(results: dict[str, Score], request: ScoreRequest) -> list[str]:
    from speechxfer.scoring.metrics import choose_metric

    if request.max_error is None:
        return []
    limit, found = request.max_error, []
    for name, result in results.items():
        metric = choose_metric(request.metric, result.options.unit, where="--metric")
        error = metric.compute_error(result)
        if error is None or error > limit:
            label = f"{metric.label} error" if metric.for_labels else metric.label
            shown = f"has no {label}" if error is None else f"{label} {100 * error:.2f} %"
            found.append(f"{name}: {shown}, the limit is {100 * limit:.2f} %")
    return found


def _list_worse(against: dict[str, Comparison], baseline: Path | None) -> list[str]:
    found = []
    for name, comparison in against.items():
        if comparison.difference is None:
            found.append(f"{name}: {comparison.summary()}")
        elif comparison.significant and comparison.difference > 0:
            found.append(f"{name}: worse than {baseline}: {comparison.summary()}")
    return found
