"""`speechxfer transcribe MODEL AUDIO...`: transcribes files, folders and tables of any length."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._echo import echo
from speechxfer.cli._options import (
    BatchSeconds,
    BeamSize,
    ColumnNames,
    Device,
    HotWords,
    JsonFile,
    Language,
    LmFile,
    Model,
    PadTo30s,
    Quiet,
    is_silent,
    write_json,
)
from speechxfer.cli._outputs import Overwrite
from speechxfer.cli._transcripts import (
    JSONL_SUFFIXES,
    TranscriptOutput,
    TranscriptWriter,
    check_output,
    check_output_suffix,
    make_plain_writer,
    make_writer,
)
from speechxfer.errors import UserError

if TYPE_CHECKING:
    import datasets

    from speechxfer.models import SpeechModel
    from speechxfer.models.decoding_options import DecodingOptions
    from speechxfer.models.transcript import Transcript, UnreadableAudio
    from speechxfer.report.progress import Reporter

HELP_ORDER = 50
_MAX_RETRIED_SHOWN = 5


def register(app: typer.Typer) -> None:
    app.command("transcribe")(transcribe)


def transcribe(
    model: Model,
    audio: Annotated[
        list[str], typer.Argument(metavar="AUDIO...", help="Audio files, folders, or DATA (a table, hub:owner/name).")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write .jsonl, .csv or .txt; for one audio file also subtitles: .srt, .vtt.",
            show_default="standard output",
        ),
    ] = None,
    column: ColumnNames = None,
    language: Language = None,
    beam_size: BeamSize = None,
    pad_to_30s: PadTo30s = None,
    lm: LmFile = None,
    hot_word: HotWords = None,
    cut_seconds: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            metavar="SECONDS",
            help="Maximum segment length in seconds; longer audio is split at pauses.",
            show_default="the length of the training utterances, at most 28",
        ),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Add each word's time and confidence to the JSON (needs a CTC head).")
    ] = False,
    batch_seconds: BatchSeconds = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Transcribe audio files of any length. Exit code 1 if some could not be read.

    Audio of up to 30 s is transcribed as a whole; longer audio is split at pauses, and long silence is left out.
    Without --output the text is printed.

    Example: speechxfer transcribe runs/accent-whisper interviews --output interviews.jsonl
    """
    _check_options(output, words=words, json=json)  # before the libraries are imported, which takes seconds
    from speechxfer.data.audio_files import collect_audio
    from speechxfer.models import DecodingOptions, load
    from speechxfer.models.transcribe import find_long_warning
    from speechxfer.models.word_times import require_ctc
    from speechxfer.tables import parse_column_options

    reporter = _make_reporter(is_silent(quiet, json), to_stderr=output is None)
    utterances, missing = collect_audio(audio, columns=parse_column_options(column or ()), on_warning=reporter.warn)
    count = sum(len(dataset) for dataset in utterances)
    if output is not None:
        check_output(output, audio, count, overwrite=overwrite)
    decoding = DecodingOptions(beam_size, pad_to_30s, lm, hot_word or (), language, batch_seconds, cut_seconds, words)
    opened = load(model, device=device, language=language)
    if words:
        require_ctc(opened, "--words")
    for warning in opened.warnings:
        reporter.warn(warning)
    writer = _choose_writer(output, opened, utterances)
    target = _Printer(writer, reporter) if output is None else TranscriptOutput(output, writer)
    run = _transcribe_all(opened, utterances, missing, decoding, target, reporter)
    report = {**_make_report(run, opened), **_make_provenance(model, run.options)}
    write_json("transcribe", report, json)
    _report_retried(run, reporter)
    for warning in find_long_warning(opened, {one.audio: one.seconds for one in run.transcripts}):
        reporter.warn(warning)
    if output is not None:
        reporter.info(_summarize(report, output))
    if run.failed:
        raise typer.Exit(1)


def _check_options(output: Path | None, *, words: bool, json: Path | None) -> None:
    if output is not None:
        check_output_suffix(output)
    if words and json is None and (output is None or output.suffix.lower() not in JSONL_SUFFIXES):
        fix = "add --output FILE.jsonl or --json FILE"
        raise UserError("only JSON output has word times", where="--words", fix=fix)


@dataclass
class _TranscriptionRun:
    """The transcripts, the audio that could not be read, the wall time in seconds and the decoding options."""

    transcripts: list[Transcript] = field(default_factory=list)
    failed: list[UnreadableAudio] = field(default_factory=list)
    wall_seconds: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    def add_failure(self, unreadable: UnreadableAudio) -> None:
        self.failed.append(unreadable)
        echo(f"speechxfer: {unreadable}", err=True)


def _choose_writer(output: Path | None, model: SpeechModel, utterances: Sequence[datasets.Dataset]) -> TranscriptWriter:
    from speechxfer.models.transcribe import select_passthrough_columns
    from speechxfer.scoring.labels import MEASURE_COLUMN

    count = sum(len(dataset) for dataset in utterances)
    if output is None:
        return make_plain_writer(count == 1, times=True)
    names = [name for dataset in utterances for name in select_passthrough_columns(dataset.column_names, model)]
    if model.kind == "classify":
        names = ["score", *names, *([MEASURE_COLUMN] if "reference" in names else [])]
    return make_writer(output, list(dict.fromkeys(names)), count)


def _transcribe_all(
    model: SpeechModel,
    utterances: Sequence[datasets.Dataset],
    missing: Sequence[UserError],
    decoding: DecodingOptions,
    target: _Printer | TranscriptOutput,
    reporter: Reporter,
) -> _TranscriptionRun:
    """Transcribe every utterance and write each transcript to `target` as soon as it is done."""
    from speechxfer.models.decoding_options import apply_decoding
    from speechxfer.models.transcribe import iter_transcripts
    from speechxfer.models.transcript import UnreadableAudio

    run = _TranscriptionRun()
    for error in missing:
        run.add_failure(UnreadableAudio(str(error.where), str(error.where), error))
    start = time.perf_counter()
    model = apply_decoding(model, decoding)
    with target, reporter.progress("seconds of audio") as progress:
        for transcript in iter_transcripts(model, utterances, decoding, on_bad=run.add_failure, progress=progress):
            target.write(transcript)
            run.transcripts.append(transcript)
        run.wall_seconds = time.perf_counter() - start
        run.options = {
            "language": decoding.language,
            "beams": model.settings.beam_size,
            "padded_to_30s": getattr(model.encoder, "pad_to_30s", None),
            "cut_seconds": decoding.cut_seconds,
        }
    if decoding.lm is not None or decoding.hot_words:
        run.options |= {"lm": decoding.lm and Path(decoding.lm).name, "hot_words": list(decoding.hot_words)}
    return run


def _report_retried(run: _TranscriptionRun, reporter: Reporter) -> None:
    """Name the segments that were decoded again."""
    retried = [(t.audio, s) for t in run.transcripts for s in t.segments if s.is_retried]
    for audio, segment in retried[:_MAX_RETRIED_SHOWN]:
        reporter.warn(
            f"{audio}, {segment.start:.1f} to {segment.end:.1f} s: the text did not fit the length of the "
            "speech; decoded again in shorter cuts, or padded to 30 s"
        )
    if len(retried) > _MAX_RETRIED_SHOWN:
        reporter.warn(f"{len(retried) - _MAX_RETRIED_SHOWN} more segments were decoded again (see the JSON output)")


class _Printer:
    """Prints transcripts to standard output; progress goes to standard error, so that a pipe gets the text only."""

    def __init__(self, writer: TranscriptWriter, reporter: Reporter) -> None:
        self.writer, self.console = writer, reporter.console
        self.out = sys.stdout  # taken before a progress bar replaces it

    def __enter__(self) -> _Printer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, transcript: Transcript) -> None:
        text = self.writer.write(transcript)
        if self.console.quiet:
            return
        if self.out.isatty() and self.console.is_terminal:
            self.console.out(text, end="", highlight=False)  # above the progress bar
        else:
            echo(text, file=self.out, end="")


def _make_reporter(quiet: bool, *, to_stderr: bool) -> Reporter:
    from speechxfer.report.console import EscapingConsole
    from speechxfer.report.progress import Reporter

    reporter = Reporter(quiet=quiet)
    if to_stderr:
        reporter.console = EscapingConsole(stderr=True, quiet=quiet)
    return reporter


def _make_report(run: _TranscriptionRun, model: SpeechModel) -> dict[str, Any]:
    from speechxfer.adaptation.predictions import get_peak_memory_mb

    seconds = sum(transcript.seconds for transcript in run.transcripts)
    transcribed = sum(s.end - s.start for transcript in run.transcripts for s in transcript.segments)
    return {
        "files": len(run.transcripts),
        "seconds": round(seconds, 2),
        "silence_seconds": round(max(0.0, seconds - transcribed), 2),  # not transcribed
        "failed": [{"id": f.id, "audio": f.audio, "problem": f.error.problem, "fix": f.error.fix} for f in run.failed],
        "utterances": [transcript.to_json() for transcript in run.transcripts],
        "speed": {
            "audio_seconds": round(seconds, 2),
            "wall_seconds": round(run.wall_seconds, 2),
            "peak_memory_mb": get_peak_memory_mb(model.device),
            "device": model.device.type,
        },
    }


def _make_provenance(model: str, options: dict[str, Any]) -> dict[str, Any]:
    from speechxfer.adaptation.provenance import make_provenance
    from speechxfer.encoders.checkpoints import hash_model_dir, resolve_model_dir

    facts = {"model": model, "checkpoint": hash_model_dir(resolve_model_dir(model)), "options": options}
    return {"provenance": make_provenance(facts)}


def _summarize(report: dict[str, Any], output: Path) -> str:
    minutes, speed = report["seconds"] / 60, report["speed"]
    failed = f", {len(report['failed'])} could not be read" if report["failed"] else ""
    return (
        f"{output}: {report['files']:,} file{'s' * (report['files'] != 1)}, {minutes:.1f} min of audio "
        f"in {speed['wall_seconds']:.0f} s{failed}"
    )
