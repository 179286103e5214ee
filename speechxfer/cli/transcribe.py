"""`speechxfer transcribe MODEL AUDIO...`: files, folders and tables of any length become text."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._options import HotWords, JsonFile, LmFile, Quiet, silent, write_json
from speechxfer.cli._transcripts import JSONL, SUBTITLES, Form, KeptFile, check_output, form_of, plain
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.models import SpeechModel
    from speechxfer.models.transcript import Transcript, UnreadableAudio
    from speechxfer.report.progress import Reporter

HELP_ORDER = 50
_CUE_SECONDS = 7.0  # as long as a subtitle may stand


def register(app: typer.Typer) -> None:
    app.command("transcribe")(transcribe)


def transcribe(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model's folder or name, hub:owner/name.")],
    audio: Annotated[
        list[str], typer.Argument(metavar="AUDIO...", help="Files, folders, or DATA (a table, hub:owner/name).")
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write .jsonl, .csv, .txt; subtitles of one file: .srt, .vtt."),
    ] = None,
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Of a multilingual Whisper, say de.")] = None,
    beam_size: Annotated[int | None, typer.Option(min=1, help="MODEL's search, 1 is greedy; else as saved.")] = None,
    pad_to_30s: Annotated[
        bool | None,
        typer.Option("--pad-to-30s/--no-pad-to-30s", help="MODEL, a Whisper, padded to 30 s or not; else as saved."),
    ] = None,
    lm: LmFile = None,
    hot_word: HotWords = None,
    cut_seconds: Annotated[
        float | None,
        typer.Option(min=1.0, help="Cut longer audio at pauses into such lengths; else 28, for subtitles 7."),
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Each word's time and confidence, in JSON; of a model with a CTC head.")
    ] = False,
    batch_seconds: Annotated[float | None, typer.Option(min=0.1, help="Audio answered at once, seconds.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Write down what is said in audio files of any length. Exit code 1 when some could not be read.

    A file of up to 30 s is answered whole, a longer one in cuts at its pauses, without its silence. Without --output
    the text is printed. Example: speechxfer transcribe runs/accent-whisper interviews --output interviews.jsonl
    """
    from speechxfer.data.audio_files import collect_audio
    from speechxfer.models import load
    from speechxfer.models.decoding_options import DecodingOptions, override_decoding
    from speechxfer.models.transcribe import iter_transcripts, select_passthrough_columns
    from speechxfer.models.transcript import UnreadableAudio
    from speechxfer.models.word_times import require_ctc

    if words and json is None and (output is None or output.suffix.lower() not in JSONL):
        raise UserError(
            "only JSON holds the words' times", where="--words", fix="say --output FILE.jsonl or --json FILE"
        )
    utterances, missing = collect_audio(audio)
    count = sum(len(dataset) for dataset in utterances)
    if output is not None:
        check_output(output, audio, count)
        if output.suffix.lower() in SUBTITLES and cut_seconds is None:
            cut_seconds = _CUE_SECONDS
    opened = load(model, device=device, language=language)
    if words:
        require_ctc(opened, "--words")
    names = [name for dataset in utterances for name in select_passthrough_columns(dataset.column_names, opened)]
    form = plain(count == 1, times=True) if output is None else form_of(output, list(dict.fromkeys(names)), count)

    heard: list[Transcript] = []
    failed: list[UnreadableAudio] = []

    def bad(unread: UnreadableAudio) -> None:
        failed.append(unread)
        typer.echo(f"speechxfer: {unread}", err=True)

    for error in missing:
        bad(UnreadableAudio(str(error.where), str(error.where), error))
    narrator = _narrator(silent(quiet, json), to_stderr=output is None)
    sink = _Printed(form, narrator) if output is None else KeptFile(output, form)
    began = time.perf_counter()
    decoding = DecodingOptions(
        beam_size=beam_size,
        pad_to_30s=pad_to_30s,
        lm=lm,
        hot_words=hot_word or (),
        batch_seconds=batch_seconds,
        cut_seconds=cut_seconds,
        words=words,
    )
    with override_decoding(opened, decoding), sink, narrator.progress("seconds of audio") as progress:
        for one in iter_transcripts(opened, utterances, decoding, on_bad=bad, progress=progress):
            sink.write(one)
            heard.append(one)
        wall = time.perf_counter() - began
        options: dict[str, Any] = {
            "language": language,
            "beams": opened.settings.beam_size,
            "padded_to_30s": getattr(opened.encoder, "pad_to_30s", None),
            "cut_seconds": cut_seconds,
        }
    if lm is not None or hot_word:
        options |= {"lm": lm and lm.name, "hot_words": hot_word or []}
    report = {**_result(heard, failed, opened, wall), **_origin(model, options)}
    if output is not None:
        narrator.info(_summary(report, output))
    write_json(report, json)
    if failed:
        raise typer.Exit(1)


class _Printed:
    """Transcripts on standard output. What watches the work goes elsewhere, so that a pipe gets the text alone."""

    def __init__(self, form: Form, narrator: Reporter) -> None:
        self.form, self.console = form, narrator.console
        self.out = sys.stdout  # before a progress bar puts itself in its place

    def __enter__(self) -> _Printed:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, one: Transcript) -> None:
        text = self.form.write(one)
        if self.console.quiet:
            return
        if self.out.isatty() and self.console.is_terminal:
            self.console.out(text, end="", highlight=False)  # above the bar
        else:
            typer.echo(text, file=self.out, nl=False)


def _narrator(quiet: bool, *, to_stderr: bool) -> Reporter:
    from rich.console import Console

    from speechxfer.report.progress import Reporter

    narrator = Reporter(quiet=quiet)
    if to_stderr:
        narrator.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    return narrator


def _result(heard: list[Transcript], failed: list[UnreadableAudio], model: SpeechModel, wall: float) -> dict[str, Any]:
    from speechxfer.adaptation.predictions import get_peak_memory_mb

    seconds = sum(one.seconds for one in heard)
    spoken = sum(s.end - s.start for one in heard for s in one.segments)
    return {
        "files": len(heard),
        "seconds": round(seconds, 2),
        "silence_seconds": round(max(0.0, seconds - spoken), 2),  # left out
        "failed": [{"id": f.id, "audio": f.audio, "problem": f.error.problem, "fix": f.error.fix} for f in failed],
        "utterances": [one.to_json() for one in heard],
        "speed": {
            "audio_seconds": round(seconds, 2),
            "wall_seconds": round(wall, 2),
            "peak_memory_mb": get_peak_memory_mb(model.device),
            "device": model.device.type,
        },
    }


def _origin(model: str, options: dict[str, Any]) -> dict[str, Any]:
    from speechxfer.adaptation.predictions import make_provenance
    from speechxfer.encoders.checkpoints import hash_model_dir, resolve_model_dir

    facts = {"model": model, "checkpoint": hash_model_dir(resolve_model_dir(model)), "options": options}
    return {"provenance": make_provenance(facts)}


def _summary(report: dict[str, Any], output: Path) -> str:
    minutes, speed = report["seconds"] / 60, report["speed"]
    bad = f", {len(report['failed'])} could not be read" if report["failed"] else ""
    return (
        f"{output}: {report['files']:,} file{'s' * (report['files'] != 1)}, {minutes:.1f} min of audio "
        f"in {speed['wall_seconds']:.0f} s{bad}"
    )
