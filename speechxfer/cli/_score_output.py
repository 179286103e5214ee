"""The outputs of `speechxfer score`: terminal, HTML report, aligned texts, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxfer.atomic import open_atomically
from speechxfer.cli._echo import echo, echo_json
from speechxfer.cli._options import translate_write_errors
from speechxfer.cli._outputs import STANDARD_OUTPUT
from speechxfer.escaping import escape_controls

if TYPE_CHECKING:
    from speechxfer.cli._score_inputs import NamedFile
    from speechxfer.cli._score_run import ScoreRun

SCHEMA = "speechxfer.score/1"
MAX_AUDIO_LOOKUPS = 20_000  # utterances whose audio file is looked for


@dataclass(frozen=True)
class OutputTargets:
    """Where the results go.

    Attributes:
        html, alignments, json: files; the last two may be standard output.
        table: form of the table that is printed alone.
        audio_folder: where the audio paths of the tables are relative to (default: the folders of the tables).
        embed_audio: the number of audio files to embed in the page.
        quiet: nothing else is printed.
    """

    html: Path | None = None
    alignments: Path | None = None
    json: Path | None = None
    table: str | None = None
    audio_folder: Path | None = None
    embed_audio: int = 0
    quiet: bool = False

    @property
    def are_printed(self) -> bool:
        """Whether the result is printed for people: not if standard output has the JSON, the alignments or a table."""
        return not self.quiet and self.table is None and STANDARD_OUTPUT not in (self.json, self.alignments)

    @property
    def need_analysis(self) -> bool:
        return self.are_printed or self.html is not None or self.json is not None


def write_outputs(run: ScoreRun, targets: OutputTargets, inputs: Sequence[NamedFile]) -> None:
    """Write all files, then print, so that an error while printing loses nothing."""
    if targets.html is not None:
        write_html(run, targets.html, audio_folder=targets.audio_folder, embed=targets.embed_audio)
    if targets.alignments is not None:
        write_alignments(run, targets.alignments)
    if targets.json is not None:
        write_json_document(run, targets.json, inputs)
    if targets.table is not None:
        print_table(run, targets.table, quiet=targets.quiet)
    elif targets.are_printed:
        print_result(run)


def print_result(run: ScoreRun) -> None:
    """Print the score tables, the error analysis, the comparisons and the warnings."""
    from speechxfer.report.terminal import print_scores

    for line in describe_columns(run):
        echo(line)
    gate = {(str(run.request.baseline), name): comparison for name, comparison in run.against_baseline.items()}
    print_scores(run.analysed, {**run.comparisons, **gate}, run.warnings)


def describe_columns(run: ScoreRun) -> list[str]:
    """Return a line for each system that was read from tables: the columns of its texts."""
    lines = {}
    for pairs in run.systems:
        sides = ", ".join(f"{side} '{column}'" for side, column in pairs.columns_read.items())
        if sides:
            lines[pairs.name] = f"columns of {pairs.name}: {sides}"
    return list(lines.values())


def print_table(run: ScoreRun, form: str, *, quiet: bool) -> None:
    """Print the results as a table in Markdown, CSV or LaTeX, and warnings to standard error unless `quiet`."""
    from speechxfer.report.table_formats import format_results

    echo(format_results(run.results, form), end="")
    for warning in [] if quiet else run.warnings:
        echo(f"warning: {warning}", err=True)


def write_html(run: ScoreRun, path: Path, *, audio_folder: Path | None, embed: int) -> None:
    """Write the HTML report.

    Args:
        audio_folder: where the audio paths of the tables are relative to (default: the folders of the tables).
        embed: the number of audio files to embed in the page.
    """
    from speechxfer.report.html import ReportAudio, write_html_report

    files = run.request.files
    in_one_table = files[0].path in [pairs.path for pairs in run.systems]
    title = ", ".join(run.results) if in_one_table else f"{', '.join(run.results)} against {files[0].path.name}"
    facts = {
        "files": ", ".join(file.shown for file in files),
        **({"columns": "; ".join(columns)} if (columns := describe_columns(run)) else {}),
        "speechxfer": _get_version("speechxfer"),
        **_option_facts(run),
    }
    audio = ReportAudio(_find_audio(run, audio_folder), num_embedded=embed)
    with translate_write_errors(path):
        write_html_report(path, title, run.analysed, facts=facts, warnings=run.warnings, audio=audio)


def write_alignments(run: ScoreRun, path: Path) -> None:
    """Write the aligned texts in the style of sclite's .pra files."""
    with translate_write_errors(path):
        if path == STANDARD_OUTPUT:
            for line in _alignment_lines(run):
                echo(line)
            return
        with open_atomically(path) as file:
            file.writelines(f"{line}\n" for line in _alignment_lines(run))


def write_json_document(run: ScoreRun, path: Path, inputs: Sequence[NamedFile]) -> None:
    """Write the JSON document of schema `speechxfer.score/1`; `inputs` are recorded with their SHA-256.

    The utterances are written one by one, because a text of all of them would take as much memory as the scores.
    """
    head = json.dumps(_make_document(run, inputs), indent=2, ensure_ascii=False, allow_nan=False).removesuffix("\n}")
    pieces = chain([head, ',\n  "utterances": {'], _iter_utterances(run), ["\n  }\n}\n"])
    with translate_write_errors(path):
        if path == STANDARD_OUTPUT:
            for piece in pieces:
                echo_json(piece)
            return
        with open_atomically(path, errors="backslashreplace") as file:  # names that are not UTF-8
            file.writelines(pieces)


def _make_document(run: ScoreRun, inputs: Sequence[NamedFile]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "versions": {name: _get_version(name) for name in ("speechxfer", "numpy", "rapidfuzz")},
        "options": {
            **_get_options(run),
            "missing": run.request.reading["missing"],
            "reduce": run.request.reading.get("reduce"),
            "by": run.request.columns,
        },
        "columns": {pairs.name: pairs.columns_read for pairs in run.systems if pairs.columns_read},
        "inputs": [{"path": source.shown, "sha256": _hash_file(source.path)} for source in inputs],
        **_make_system_entries(run),
        "comparisons": [{"before": a, "after": b, **c.to_json()} for (a, b), c in run.comparisons.items()],
        "gates": {
            "metric": run.request.metric,
            "fail_above": run.request.max_error,
            "fail_worse_than": (
                None
                if run.request.baseline is None
                else {name: comparison.to_json() for name, comparison in run.against_baseline.items()}
            ),
            "failures": run.failures,
        },
        "warnings": run.warnings,
    }


def _iter_utterances(run: ScoreRun) -> Iterator[str]:
    """Yield the members of "utterances": for each system a list of ids with their operations."""
    for k, (name, result) in enumerate(run.results.items()):
        yield f"{',' if k else ''}\n    {_dump(name)}: ["
        for i, (utterance, operations) in enumerate(zip(result.ids, result.operations, strict=True)):
            yield f'{"," if i else ""}\n      {{"id": {_dump(utterance)}, "operations": "{operations}"}}'
        yield "\n    ]" if result.ids else "]"


_dump = json.JSONEncoder(ensure_ascii=False).encode  # `dumps` would make an encoder for each of many texts


def _get_options(run: ScoreRun) -> dict[str, Any]:
    return next(iter(run.results.values())).options.to_json()


def _option_facts(run: ScoreRun) -> dict[str, str]:
    """Return the scoring options as text, without the switches that are off."""
    options = _get_options(run)
    version = options["normaliser_version"]
    normaliser = f"{options['normaliser']}, version {version}" if version else options["normaliser"]
    facts = {"normaliser": normaliser, "alignment": options["align"], "unit": options["unit"]}
    facts |= {name: "yes" for name in ("notation", "compounds") if options[name]}
    facts |= {"equivalents": options["equivalents"]} if options["equivalents"] else {}
    return facts | {"seed": str(options["seed"])}


def _make_system_entries(run: ScoreRun) -> dict[str, Any]:
    results = {name: result.to_json() for name, result in run.results.items()}
    details: dict[str, dict[str, Any]] = {"terms": {}, "punctuation": {}, "case": {}}
    for name, analysed in run.analysed.items():
        for detail, found in details.items():
            if (counts := getattr(analysed, detail)) is not None:
                found[name] = counts.to_json()
    return {
        **({"result": results[run.systems[0].name]} if len(results) == 1 else {}),
        "results": results,
        "raw_wer": {name: analysed.rules[0][1].wer for name, analysed in run.analysed.items()},
        "errors_by_rule": {
            name: [[rule, counts.errors] for rule, counts in analysed.rules] for name, analysed in run.analysed.items()
        },
        "insight": {name: analysed.errors.to_json(analysed.score) for name, analysed in run.analysed.items()},
        **{detail: found for detail, found in details.items() if found},
        "missing": {pairs.name: pairs.missing for pairs in run.systems},
    }


def _find_audio(run: ScoreRun, folder: Path | None) -> dict[str, str]:
    """Map ids to audio files that exist, relative to `folder` or else to the folder of one of the tables."""
    roots = [folder] if folder is not None else [file.path.parent for file in run.request.files]
    found = {}
    for name, audio in list(run.systems[0].audio.items())[:MAX_AUDIO_LOOKUPS]:
        path, _, interval = audio.partition("#")
        file = next((root / path for root in roots if (root / path).is_file()), None)
        if file is not None:
            found[name] = f"{file}#{interval}" if interval else str(file)
    return found


def _alignment_lines(run: ScoreRun) -> Iterator[str]:
    from speechxfer.report.error_lines import describe_rates
    from speechxfer.scoring.pra import format_pra

    for name, result in run.results.items():
        yield from (f"System name:   {escape_controls(name)}", "")
        yield from (f"{result.summary()}; {line}" for line in describe_rates(result))
        for line in format_pra(result, result.iter_alignments()):
            yield escape_controls(line).rstrip()


def _get_version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _hash_file(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
