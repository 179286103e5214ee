"""The outputs of `speechxfer score`: terminal, HTML report, aligned texts, JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxfer.cli._options import translate_write_errors, write_json

if TYPE_CHECKING:
    from speechxfer.cli._score_run import ScoreRun

SCHEMA = "speechxfer.score/1"
STANDARD_OUTPUT = Path("-")
MAX_AUDIO_LOOKUPS = 20_000  # utterances whose audio file is looked for


def print_result(run: ScoreRun) -> None:
    """Print the score tables, the error analysis, the comparisons and the warnings."""
    from speechxfer.report.terminal import print_scores

    gate = {(str(run.request.baseline), name): comparison for name, comparison in run.against_baseline.items()}
    print_scores(run.results, run.analyses, run.rules, {**run.comparisons, **gate}, run.warnings)


def write_html(run: ScoreRun, path: Path, *, audio_folder: Path | None, embed: int) -> None:
    """Write the HTML report.

    Args:
        audio_folder: where the audio paths of the tables are relative to (default: the folders of the tables).
        embed: the number of audio files to embed in the page.
    """
    from speechxfer.report.html import ReportAudio, write_html_report

    files = run.request.files
    in_one_table = files[0] in [pairs.path for pairs in run.systems]
    title = ", ".join(run.results) if in_one_table else f"{', '.join(run.results)} against {files[0].name}"
    facts = {"files": ", ".join(map(str, files)), "speechxfer": _get_version("speechxfer"), **_option_facts(run)}
    audio = ReportAudio(_find_audio(run, audio_folder), num_embedded=embed)
    with translate_write_errors(path):
        write_html_report(path, title, run.results, facts=facts, warnings=run.warnings, audio=audio)


def write_alignments(run: ScoreRun, path: Path) -> None:
    """Write the aligned texts in the style of sclite's .pra files."""
    with translate_write_errors(path):
        if path == STANDARD_OUTPUT:
            sys.stdout.writelines(_alignment_lines(run))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            file.writelines(_alignment_lines(run))


def write_json_document(run: ScoreRun, path: Path, inputs: Sequence[Path]) -> None:
    """Write the JSON document of schema `speechxfer.score/1`; `inputs` are recorded with their SHA-256."""
    document = {
        "schema": SCHEMA,
        "versions": {name: _get_version(name) for name in ("speechxfer", "numpy", "rapidfuzz")},
        "options": {**_get_options(run), "missing": run.request.reading["missing"], "by": run.request.columns},
        "inputs": [{"path": str(source), "sha256": _hash_file(source)} for source in inputs],
        **_make_system_entries(run),
        "comparisons": [{"before": a, "after": b, **c.to_json()} for (a, b), c in run.comparisons.items()],
        "gates": {
            "fail_above": run.request.max_wer,
            "fail_worse_than": (
                None
                if run.request.baseline is None
                else {name: comparison.to_json() for name, comparison in run.against_baseline.items()}
            ),
            "failures": run.failures,
        },
        "warnings": run.warnings,
    }
    with translate_write_errors(path):
        write_json(document, path)


def _get_options(run: ScoreRun) -> dict[str, Any]:
    return next(iter(run.results.values())).options.to_json()


def _option_facts(run: ScoreRun) -> dict[str, str]:
    """Return the scoring options as text, without the switches that are off."""
    options = _get_options(run)
    version = options["normaliser_version"]
    normaliser = f"{options['normaliser']}, version {version}" if version else options["normaliser"]
    facts = {"normaliser": normaliser, "alignment": options["align"], "unit": options["unit"]}
    return facts | {name: "yes" for name in ("notation", "compounds") if options[name]} | {"seed": str(options["seed"])}


def _make_system_entries(run: ScoreRun) -> dict[str, Any]:
    results = {name: result.to_json() for name, result in run.results.items()}
    single = len(results) == 1
    return {
        "result" if single else "results": results[run.systems[0].name] if single else results,
        "raw_wer": {name: steps[0][1].wer for name, steps in run.rules.items()},
        "errors_by_rule": {n: [[rule, counts.errors] for rule, counts in steps] for n, steps in run.rules.items()},
        "insight": {name: analysis.to_json(run.results[name]) for name, analysis in run.analyses.items()},
        "missing": {pairs.name: pairs.missing for pairs in run.systems},
        "utterances": {
            name: [
                {"id": utterance, "operations": "".join(word.operation for word in words)}
                for utterance, words in zip(result.ids, run.alignments[name], strict=True)
            ]
            for name, result in run.results.items()
        },
    }


def _find_audio(run: ScoreRun, folder: Path | None) -> dict[str, str]:
    """Map ids to audio files that exist, relative to `folder` or else to the folder of one of the tables."""
    roots = [folder] if folder is not None else [path.parent for path in run.request.files]
    found = {}
    for name, audio in list(run.systems[0].audio.items())[:MAX_AUDIO_LOOKUPS]:
        path, _, interval = audio.partition("#")
        file = next((root / path for root in roots if (root / path).is_file()), None)
        if file is not None:
            found[name] = f"{file}#{interval}" if interval else str(file)
    return found


def _alignment_lines(run: ScoreRun) -> Iterator[str]:
    from speechxfer.scoring.pra import format_pra

    for name, result in run.results.items():
        yield f"System name:   {name}\n\n"
        yield from (line.rstrip() + "\n" for line in format_pra(result, run.alignments[name]))


def _get_version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _hash_file(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
