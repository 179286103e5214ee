"""The computation of `speechxfer score`: reads the files, scores every system, compares them, applies the gates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.scoring import AlignedWord, Comparison, Score, ScoringOptions
    from speechxfer.scoring.error_analysis import ErrorAnalysis
    from speechxfer.scoring.pairing import MatchedTranscripts


@dataclass(frozen=True)
class ScoreRequest:
    """What `speechxfer score` computes.

    Args:
        files: the reference and the hypotheses of every system, or one table that has both.
        reading: keyword arguments of `read_pairs`.
        columns: columns to break the WER down by, or `"auto"`.
        options: how the texts are scored.
        baseline: hypotheses that no system may be significantly worse than (`--fail-worse-than`).
        max_wer: the highest accepted WER, a fraction of the reference words (`--fail-above`).
    """

    files: list[Path]
    reading: dict[str, Any]
    columns: Any
    options: ScoringOptions
    baseline: Path | None = None
    max_wer: float | None = None

    def score(self, pairs: MatchedTranscripts, by: Any) -> Score:
        """Return the score of one system, broken down by the columns `by`."""
        from speechxfer.scoring import score

        return score(
            pairs.references,
            pairs.hypotheses,
            ids=pairs.ids,
            speakers=pairs.speakers,
            columns=pairs.columns,
            by=by,
            options=self.options,
        )


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
    alignments: dict[str, list[list[AlignedWord]]] = field(default_factory=dict)
    analyses: dict[str, ErrorAnalysis] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """One message for each failed gate."""
        return [
            *_list_above(self.results, self.request.max_wer),
            *_list_worse(self.against_baseline, self.request.baseline),
        ]


def score_files(request: ScoreRequest, *, with_alignments: bool, with_analysis: bool) -> ScoreRun:
    """Score and compare the systems of `request`.

    Args:
        with_alignments: align every utterance, which takes memory.
        with_analysis: also analyse the errors; implies the alignments.

    Raises:
        UserError: if the files cannot be read or do not match.
    """
    from speechxfer.scoring import compare_scores, compare_systems
    from speechxfer.scoring.error_analysis import analyse_errors
    from speechxfer.scoring.pairing import read_pairs
    from speechxfer.scoring.rule_counts import count_by_rule

    reference, hypotheses, baseline = request.files[0], request.files[1:], request.baseline
    systems = read_pairs(reference, hypotheses, **request.reading)
    base: Score | None = None
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
    if with_alignments or with_analysis:
        run.alignments = {name: result.get_alignments() for name, result in results.items()}
    if with_analysis:
        run.analyses = {name: analyse_errors(result) for name, result in results.items()}
        run.rules = {name: count_by_rule(result) for name, result in results.items()}
    return run


def _have_same_utterances(results: dict[str, Score]) -> bool:
    return len({frozenset(result.ids) for result in results.values()}) == 1


def _collect_warnings(systems: list[MatchedTranscripts], results: dict[str, Score]) -> list[str]:
    """Return every warning once, with the names of its systems where it does not hold for all of them."""
    from speechxfer.scoring.error_analysis import find_input_warnings

    found: dict[str, list[str]] = {}
    for pairs in systems:
        result = results[pairs.name]
        for text in (*pairs.notes, *result.warnings, *find_input_warnings(result)):
            found.setdefault(text, []).append(pairs.name)
    listed = [text if len(names) == len(systems) else f"{', '.join(names)}: {text}" for text, names in found.items()]
    if not _have_same_utterances(results):
        listed.append("the systems are not compared: --missing skip left them with different utterances")
    return listed


def _list_above(results: dict[str, Score], max_wer: float | None) -> list[str]:
    found = []
    for name, result in results.items():
        if max_wer is not None and (result.wer is None or result.wer > max_wer):
            shown = "has no WER" if result.wer is None else f"WER {100 * result.wer:.2f} %"
            found.append(f"{name}: {shown}, the limit is {100 * max_wer:.2f} %")
    return found


def _list_worse(against: dict[str, Comparison], baseline: Path | None) -> list[str]:
    found = []
    for name, comparison in against.items():
        if comparison.difference is None:
            found.append(f"{name}: {comparison.summary()}")
        elif comparison.significant and comparison.difference > 0:
            found.append(f"{name}: worse than {baseline}: {comparison.summary()}")
    return found
