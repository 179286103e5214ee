"""`speechxfer score`: text against text. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._options import JsonFile, Quiet, write_json
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.scoring import Score
    from speechxfer.scoring.matching import Pairs

HELP_ORDER = 60
SCHEMA = "speechxfer.score/1"
_AUDIO_SHOWN = 20_000  # utterances whose audio is looked for


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
    format: Annotated[str | None, typer.Option(help="csv, tsv, jsonl, trn, stm, ctm, kaldi; else by suffix.")] = None,
    by_line: Annotated[bool, typer.Option("--by-line", help="Plain lines, matched by their numbers.")] = False,
    utt2spk: Annotated[Path | None, typer.Option(help="Speakers, in Kaldi's format.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the report, one HTML file.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the aligned texts, like a .pra.")] = None,
    audio_folder: Annotated[Path | None, typer.Option(help="Where the report finds audio; else by the table.")] = None,
    embed_audio: Annotated[int, typer.Option(min=0, help="Audio files to put inside the report.")] = 0,
    fail_above: Annotated[float | None, typer.Option(help="Exit 1 if the WER is above this fraction.")] = None,
    fail_worse_than: Annotated[Path | None, typer.Option(help="Exit 1 if significantly worse than this.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Score hypotheses against references: WER with its counts, interval, breakdown and comparisons.

    Formats by suffix: .csv .tsv .jsonl .trn .stm .ctm; without one, Kaldi text. Utterances meet by id, never by order.
    """
    from speechxfer.scoring import compare, compare_all
    from speechxfer.scoring import score as score_texts
    from speechxfer.scoring.insight import by_rule, inspect, looks_swapped
    from speechxfer.scoring.matching import read_pairs

    _check_options(fail_above, by_line, format)
    chosen = "lines" if by_line else format
    base = [] if fail_worse_than is None else [fail_worse_than]
    systems = read_pairs(files[0], files[1:], format=chosen, missing=missing, utt2spk=utt2spk)
    columns: Any = by if by == "auto" else [name.strip() for name in by.split(",") if name.strip() not in ("", "none")]

    def scored(pairs: Pairs, breakdown: Any) -> Score:
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

    results = {pairs.name: scored(pairs, columns) for pairs in systems}
    warnings = []
    for pairs in systems:
        prefix = f"{pairs.name}: " if len(systems) > 1 else ""
        found = results[pairs.name]
        warnings += [prefix + text for text in (*pairs.notes, *found.warnings)]
        if looks_swapped(found):
            warnings.append(f"{prefix}the references look like a recogniser's output: are the two files swapped?")
    looked_at = not quiet or json_file is not None
    alignments = {n: r.alignments() for n, r in results.items()} if looked_at or output is not None else {}
    insights = {n: inspect(r, alignments[n]) for n, r in results.items()} if looked_at else {}
    rules = {n: by_rule(r) for n, r in results.items()} if looked_at else {}
    comparisons = _comparable(results, compare_all) if len(results) > 1 else {}

    if not quiet:
        from speechxfer.report.terminal import print_scores

        print_scores(results, insights, rules, comparisons, warnings)
    if html is not None:
        from speechxfer.report.html import write_report

        audio = _audio_files(files, systems, audio_folder)
        facts = {"files": " ".join(map(str, files)), **{k: str(v) for k, v in _options_of(results).items()}}
        write_report(html, files[0].stem, results, facts=facts, warnings=warnings, audio=audio, embed=embed_audio)
    if output is not None:
        _write_alignments(output, results, alignments)
    if json_file is not None:
        parts = {name: result.to_json() for name, result in results.items()}
        document = {
            "schema": SCHEMA,
            "options": {**_options_of(results), "missing": missing},
            "inputs": [{"path": str(path), "sha256": _sha256(path)} for path in (*files, *base)],
            "result" if len(parts) == 1 else "results": parts[systems[0].name] if len(parts) == 1 else parts,
            "raw_wer": {name: steps[0][1].wer for name, steps in rules.items()},
            "errors_by_rule": {n: [[rule, counts.errors] for rule, counts in steps] for n, steps in rules.items()},
            "comparisons": [{"before": a, "after": b, **c.to_json()} for (a, b), c in comparisons.items()],
            "insight": {name: insight.to_json(results[name]) for name, insight in insights.items()},
            "missing": {pairs.name: pairs.missing for pairs in systems},
            "utterances": {name: _utterances(result, alignments[name]) for name, result in results.items()},
            "warnings": warnings,
        }
        write_json(document, json_file)

    failures = []
    for name, result in results.items():
        if fail_above is not None and (result.wer is None or result.wer > fail_above):
            shown = "has no WER" if result.wer is None else f"WER {100 * result.wer:.2f} %"
            failures.append(f"{name}: {shown}, the bar is {100 * fail_above:.2f} %")
    if fail_worse_than is not None:
        failures += _worse(files, fail_worse_than, systems, results, scored, read_pairs, compare, chosen, missing)
    for failure in failures:
        typer.echo(f"speechxfer: {failure}", err=True)
    if failures:
        raise typer.Exit(1)


def _check_options(fail_above: float | None, by_line: bool, format: str | None) -> None:
    if fail_above is not None and fail_above < 0:
        raise UserError(f"--fail-above {fail_above}", fix="a fraction of the reference words: 0.20 is 20 %")
    if fail_above is not None and fail_above > 2:
        raise UserError(f"--fail-above {fail_above:g}", fix=f"a fraction: {fail_above / 100:g} is {fail_above:g} %")
    if by_line and format not in (None, "lines"):
        raise UserError(f"--by-line and --format {format} exclude each other", fix="leave one out")


def _worse(files: list[Path], path: Path, systems: list[Any], results: dict[str, Any], scored: Any, read_pairs: Any,
           compare: Any, chosen: str | None, missing: str) -> list[str]:  # fmt: skip
    """A message for every system that is significantly worse than the hypotheses in `path`."""
    own = len(files) == 1
    bases = read_pairs(path if own else files[0], [] if own else [path], format=chosen, missing=missing)
    base = scored(bases[0], None)
    found = []
    for pairs in systems:
        comparison = compare(base, results[pairs.name])
        if comparison.difference is None:
            found.append(f"{pairs.name}: {comparison.summary()}")
        elif comparison.significant and comparison.difference > 0:
            found.append(f"{pairs.name}: worse than {path}: {comparison.summary()}")
    return found


def _comparable(results: dict[str, Score], compare_all: Any) -> Any:
    """Comparisons of all pairs; none where --missing skip left the systems with different utterances."""
    return compare_all(results) if len({frozenset(r.ids) for r in results.values()}) == 1 else {}


def _options_of(results: dict[str, Score]) -> dict[str, Any]:
    return next(iter(results.values())).options.to_json()


def _audio_files(files: list[Path], systems: list[Any], folder: Path | None) -> dict[str, str]:
    """Id to the audio file that is really there: relative to `--audio-folder`, else to one of the tables."""
    roots = [folder] if folder is not None else [path.parent for path in files]
    found = {}
    for name, audio in list(systems[0].audio.items())[:_AUDIO_SHOWN]:
        path, _, stretch = audio.partition("#")
        here = next((root / path for root in roots if (root / path).is_file()), None)
        if here is not None:
            found[name] = f"{here}#{stretch}" if stretch else str(here)
    return found


def _utterances(result: Score, alignments: list[list[Any]]) -> list[dict[str, Any]]:
    return [
        {"id": name, "operations": "".join(word.operation for word in words)}
        for name, words in zip(result.ids, alignments, strict=True)
    ]


def _write_alignments(path: Path, results: dict[str, Score], alignments: dict[str, Any]) -> None:
    from speechxfer.scoring.pra import pra_lines

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for name, result in results.items():
            file.write(f"System name:   {name}\n\n")
            file.writelines(line.rstrip() + "\n" for line in pra_lines(result, alignments[name]))


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
