"""`speechxfer score`: text against text. Imports no torch."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._options import JsonFile, Quiet, write_json
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.scoring import AlignedWord, Comparison, Score
    from speechxfer.scoring.error_analysis import ErrorAnalysis
    from speechxfer.scoring.pairing import MatchedTranscripts

HELP_ORDER = 60
SCHEMA = "speechxfer.score/1"
_AUDIO_SHOWN = 20_000  # utterances whose audio is looked for
_STANDARD_OUTPUT = Path("-")


def register(app: typer.Typer) -> None:
    app.command("score")(score)


def score(
    files: Annotated[list[Path], typer.Argument(metavar="REF HYP [HYP2 ...]", help="Or one table that holds both.")],
    by: Annotated[str, typer.Option(help="Columns to break the result down by, with commas; auto; none.")] = "auto",
    normalise: Annotated[str, typer.Option(help="none, basic, default, english, or a GLM file.")] = "default",
    align: Annotated[str, typer.Option(help="min (as jiwer) or sclite.")] = "min",
    unit: Annotated[str, typer.Option(help="word, char, or mixed (CJK characters, other words).")] = "word",
    notation: Annotated[bool, typer.Option("--notation", help="References are in sclite's notation.")] = False,
    compounds: Annotated[bool, typer.Option("--compounds", help="Compounds split or joined are right.")] = False,
    missing: Annotated[str, typer.Option(help="A lacking hypothesis is an error, empty, or to skip.")] = "error",
    format: Annotated[
        str | None,
        typer.Option(help="csv, tsv, jsonl, trn, stm, ctm, kaldi, lines; or two, of REF,HYP; else by suffix."),
    ] = None,
    by_line: Annotated[bool, typer.Option("--by-line", help="Plain lines, matched by their numbers.")] = False,
    utt2spk: Annotated[Path | None, typer.Option(help="Speakers, in Kaldi's format.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report, one HTML file.")] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the aligned texts, like a .pra ('-': standard output).")
    ] = None,
    audio_folder: Annotated[Path | None, typer.Option(help="Where the report finds audio; else by the table.")] = None,
    embed_audio: Annotated[int, typer.Option(min=0, help="Audio files to put inside the report.")] = 0,
    fail_above: Annotated[float | None, typer.Option(help="Exit 1 if the WER is above this fraction.")] = None,
    fail_worse_than: Annotated[Path | None, typer.Option(help="Exit 1 if significantly worse than this.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Score hypotheses against references, and systems in pairs.

    WER with its counts and interval, the breakdown by columns, what went wrong.

    Formats by suffix: .csv .tsv .jsonl .trn .stm .ctm; without one, Kaldi text. Utterances meet by id, never by order.
    """
    from speechxfer.scoring import compare_scores, compare_systems
    from speechxfer.scoring import score as score_texts
    from speechxfer.scoring.error_analysis import analyse_errors, count_by_rule, find_input_warnings
    from speechxfer.scoring.pairing import read_pairs

    _check_options(fail_above, by_line, format, files)
    quiet = quiet or _STANDARD_OUTPUT in (json_file, output)
    inputs = [*files, *(path for path in (fail_worse_than, utt2spk) if path is not None)]
    inputs += [Path(normalise)] if normalise.endswith(".glm") else []
    _check_outputs({"--html": html, "--output": output, "--json": json_file}, inputs)
    columns: Any = by if by == "auto" else [name.strip() for name in by.split(",") if name.strip() not in ("", "none")]
    reading: dict[str, Any] = {
        "format": "lines" if by_line else format,
        "missing": missing,
        "utt2spk": utt2spk,
        "notation": notation,
    }

    def scored(pairs: MatchedTranscripts, breakdown: Any) -> Score:
        return score_texts(
            pairs.references,
            pairs.hypotheses,
            pairs.ids,
            pairs.speakers,
            columns=pairs.columns,
            by=breakdown,
            normaliser=normalise,
            align=align,
            unit=unit,
            notation=notation,
            compounds=compounds,
            seed=seed,
        )

    systems = read_pairs(files[0], files[1:], **reading)
    base: Score | None = None
    if fail_worse_than is not None:
        if [pairs.path for pairs in systems] == [fail_worse_than]:
            raise UserError("is the hypothesis itself", where=f"--fail-worse-than {fail_worse_than}")
        base = scored(read_pairs(files[0], [fail_worse_than], **reading)[-1], None)
    results = {pairs.name: scored(pairs, columns) for pairs in systems}
    comparisons = compare_systems(results) if len(results) > 1 and _same_utterances(results) else {}
    against = {p.name: compare_scores(base, results[p.name]) for p in systems if base and p.path != fail_worse_than}
    warnings = _warnings(systems, results, find_input_warnings)

    looked_at = not quiet or json_file is not None
    alignments = {n: r.get_alignments() for n, r in results.items()} if looked_at or output is not None else {}
    insights = {n: analyse_errors(r, alignments[n]) for n, r in results.items()} if looked_at else {}
    rules = {n: count_by_rule(r) for n, r in results.items()} if looked_at else {}
    failures = [*_above(results, fail_above), *_worse(against, fail_worse_than)]

    if not quiet:
        from speechxfer.report.terminal import print_scores

        gate = {(str(fail_worse_than), name): comparison for name, comparison in against.items()}
        print_scores(results, insights, rules, {**comparisons, **gate}, warnings)
    if html is not None:
        from speechxfer.report.html import write_html_report

        own = files[0] in [pairs.path for pairs in systems]
        title = ", ".join(results) if own else f"{', '.join(results)} against {files[0].name}"
        facts = {"files": ", ".join(map(str, files)), "speechxfer": _version("speechxfer"), **_facts(results)}
        audio = _audio_files(files, systems, audio_folder)
        with _written(html):
            write_html_report(html, title, results, facts=facts, warnings=warnings, audio=audio, embed=embed_audio)
    if output is not None:
        with _written(output):
            _write_alignments(output, results, alignments)
    if json_file is not None:
        document = {
            "schema": SCHEMA,
            "versions": {name: _version(name) for name in ("speechxfer", "numpy", "rapidfuzz")},
            "options": {**_options_of(results), "missing": missing, "by": columns},
            "inputs": [{"path": str(path), "sha256": _sha256(path)} for path in inputs],
            **_by_system(systems, results, insights, rules, alignments),
            "comparisons": [{"before": a, "after": b, **c.to_json()} for (a, b), c in comparisons.items()],
            "gates": {
                "fail_above": fail_above,
                "fail_worse_than": None if base is None else {n: c.to_json() for n, c in against.items()},
                "failures": failures,
            },
            "warnings": warnings,
        }
        with _written(json_file):
            write_json(document, json_file)
    for failure in failures:
        typer.echo(f"speechxfer: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


def _check_options(fail_above: float | None, by_line: bool, format: str | None, files: list[Path]) -> None:
    from speechxfer.scoring.formats import TRANSCRIPT_SUFFIXES

    if fail_above is not None and not (math.isfinite(fail_above) and fail_above >= 0):
        raise UserError(f"--fail-above {fail_above}", fix="a fraction of the reference words: 0.20 is 20 %")
    if fail_above is not None and fail_above > 2:
        raise UserError(f"--fail-above {fail_above:g}", fix=f"a fraction: {fail_above / 100:g} is {fail_above:g} %")
    if by_line and format not in (None, "lines"):
        raise UserError(f"--by-line and --format {format} exclude each other", fix="leave one out")
    for path in files if by_line and format is None else []:
        if (
            told := TRANSCRIPT_SUFFIXES.get(path.suffix.lower(), "kaldi")
        ) != "kaldi":  # a file without a suffix may be anything
            fix = "leave --by-line out; --format lines if its lines are texts and nothing else"
            raise UserError(f"is {told} by its name, and not plain lines", where=str(path), fix=fix)


def _check_outputs(outputs: dict[str, Path | None], inputs: list[Path]) -> None:
    """Before the work: no output may be a folder, an input, or another output."""
    seen: list[Path] = []
    for option, path in outputs.items():
        if path is None:
            continue
        where = f"{option} {path}"
        if path.is_dir():
            raise UserError("is a folder", where=where, fix="name a file")
        if option == "--html" and path == _STANDARD_OUTPUT:
            raise UserError("is not written to standard output", where=where, fix="name a file")
        if any(path == other or (path.exists() and other.exists() and path.samefile(other)) for other in inputs):
            raise UserError("would overwrite an input", where=where, fix="name another file")
        if path in seen:
            raise UserError("is named for two outputs", where=where, fix="name another file")
        seen.append(path)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """A file that cannot be written is the user's to mend."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot be written: {error.strerror}", where=str(path)) from None


def _same_utterances(results: dict[str, Score]) -> bool:
    return len({frozenset(r.ids) for r in results.values()}) == 1


def _warnings(systems: list[MatchedTranscripts], results: dict[str, Score], suspicions: Any) -> list[str]:
    """Everything a reader must know, each once: with the system's name only where it is not so of all."""
    found: dict[str, list[str]] = {}
    for pairs in systems:
        result = results[pairs.name]
        for text in (*pairs.notes, *result.warnings, *suspicions(result)):
            found.setdefault(text, []).append(pairs.name)
    listed = [text if len(names) == len(systems) else f"{', '.join(names)}: {text}" for text, names in found.items()]
    if not _same_utterances(results):
        listed.append("the systems are not compared: --missing skip left them with different utterances")
    return listed


def _above(results: dict[str, Score], bar: float | None) -> list[str]:
    found = []
    for name, result in results.items():
        if bar is not None and (result.wer is None or result.wer > bar):
            shown = "has no WER" if result.wer is None else f"WER {100 * result.wer:.2f} %"
            found.append(f"{name}: {shown}, the bar is {100 * bar:.2f} %")
    return found


def _worse(against: dict[str, Comparison], base: Path | None) -> list[str]:
    """A message for every system that is significantly worse than the base."""
    found = []
    for name, comparison in against.items():
        if comparison.difference is None:
            found.append(f"{name}: {comparison.summary()}")
        elif comparison.significant and comparison.difference > 0:
            found.append(f"{name}: worse than {base}: {comparison.summary()}")
    return found


def _options_of(results: dict[str, Score]) -> dict[str, Any]:
    return next(iter(results.values())).options.to_json()


def _facts(results: dict[str, Score]) -> dict[str, str]:
    """The options in words, those at rest left out."""
    options = _options_of(results)
    version = options["normaliser_version"]
    normaliser = f"{options['normaliser']}, version {version}" if version else options["normaliser"]
    facts = {"normaliser": normaliser, "alignment": options["align"], "unit": options["unit"]}
    return facts | {name: "yes" for name in ("notation", "compounds") if options[name]} | {"seed": str(options["seed"])}


def _by_system(
    systems: list[MatchedTranscripts],
    results: dict[str, Score],
    insights: dict[str, ErrorAnalysis],
    rules: dict[str, Any],
    alignments: dict[str, list[list[AlignedWord]]],
) -> dict[str, Any]:
    parts = {name: result.to_json() for name, result in results.items()}
    return {
        "result" if len(parts) == 1 else "results": parts[systems[0].name] if len(parts) == 1 else parts,
        "raw_wer": {name: steps[0][1].wer for name, steps in rules.items()},
        "errors_by_rule": {n: [[rule, counts.errors] for rule, counts in steps] for n, steps in rules.items()},
        "insight": {name: insight.to_json(results[name]) for name, insight in insights.items()},
        "missing": {pairs.name: pairs.missing for pairs in systems},
        "utterances": {
            name: [
                {"id": u, "operations": "".join(word.operation for word in words)}
                for u, words in zip(result.ids, alignments[name], strict=True)
            ]
            for name, result in results.items()
        },
    }


def _audio_files(files: list[Path], systems: list[MatchedTranscripts], folder: Path | None) -> dict[str, str]:
    """Id to the audio file that is really there: relative to `--audio-folder`, else to one of the tables."""
    roots = [folder] if folder is not None else [path.parent for path in files]
    found = {}
    for name, audio in list(systems[0].audio.items())[:_AUDIO_SHOWN]:
        path, _, stretch = audio.partition("#")
        here = next((root / path for root in roots if (root / path).is_file()), None)
        if here is not None:
            found[name] = f"{here}#{stretch}" if stretch else str(here)
    return found


def _write_alignments(path: Path, results: dict[str, Score], alignments: dict[str, list[list[AlignedWord]]]) -> None:
    from speechxfer.scoring.pra import format_pra

    def lines() -> Iterator[str]:
        for name, result in results.items():
            yield f"System name:   {name}\n\n"
            yield from (line.rstrip() + "\n" for line in format_pra(result, alignments[name]))

    if path == _STANDARD_OUTPUT:
        sys.stdout.writelines(lines())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines())


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
