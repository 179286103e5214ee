"""`speechxfer wakeword train`, `evaluate` and `listen`. `listen` does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._echo import echo
from speechxfer.cli._options import ColumnNames, JsonFile, Quiet, translate_write_errors, write_json
from speechxfer.cli._outputs import check_output_files

if TYPE_CHECKING:
    from speechxfer.report.progress import Reporter
    from speechxfer.wakeword.settings import WakeWordSettings

HELP_ORDER = 70
_REPORT_FILE = "report.html"  # in the folder of `evaluate --output`

Folder = Annotated[Path, typer.Argument(metavar="DETECTOR", help="Folder written by `wakeword train`.")]
Threshold = Annotated[
    float | None,
    typer.Option(metavar="SCORE", min=0, show_default="the calibrated one", help="Minimum score of a detection."),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("train")(train)
    group.command("evaluate")(evaluate)
    group.command("listen")(listen)
    app.add_typer(group, name="wakeword", help="Custom wake-word detectors: train, evaluate, listen.")


def train(
    word: Annotated[str, typer.Argument(metavar="WORD", help="The word or phrase, in quotation marks.")],
    positives: Annotated[
        str | None, typer.Option(metavar="CLIPS", help="Clips of WORD: a folder, a list (.txt) or a table.")
    ] = None,
    negatives: Annotated[
        str | None,
        typer.Option(metavar="DATA", show_default="synthetic sentences", help="Speech without WORD: a folder or DATA."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", show_default="a folder named after WORD", help="Folder to write the detector to."
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Settings from a file, or the shipped ones: wakeword.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(metavar="DATA", help="Noises to mix in, in addition to generated noise.")
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="Real speech without WORD to evaluate on after training (repeatable)."),
    ] = None,
    false_alarms_per_hour: Annotated[
        float | None, typer.Option(metavar="NUMBER", show_default="0.1", help="Target false alarms per hour.")
    ] = None,
    synthetic: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", min=0, show_default="120, or 400 without --positives", help="Synthetic clips of WORD."
        ),
    ] = None,
    voices: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            show_default="auto",
            help="Piper voices in addition to espeak-ng: a folder, auto (installed voices) or none.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", show_default="English", help="Language of the synthetic voices, e.g. de."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, show_default="1200", help="Training steps.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", show_default="none", help="Frozen encoder for distillation.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Licence of your recordings, written to the manifest.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="NUMBER", show_default="0", help="Random seed.")] = None,
    column: ColumnNames = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing detector.")] = False,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Train a detector of WORD from recordings, synthetic speech or both, calibrate it and write its folder.

    Exit code 1 if it detects none of its held-out clips. Options override the recipe.

    speechxfer wakeword train "hey juniper" --positives clips/ --negatives speech/ --output juniper/
    """
    from speechxfer.config import WAKEWORD_TRAIN, load_command_settings
    from speechxfer.report.progress import Reporter
    from speechxfer.tables import parse_column_options
    from speechxfer.wakeword.data.clips import read_rows
    from speechxfer.wakeword.evaluation.summary import describe_unusable
    from speechxfer.wakeword.settings import WakeWordSettings
    from speechxfer.wakeword.training.train import train_detector

    options = {
        "word": word.strip(), "positives": positives, "negatives": negatives, "noise": noise, "output": output,
        "false_alarms_per_hour": false_alarms_per_hour, "synthetic": synthetic, "voices": voices,
        "language": language, "steps": steps, "teacher": teacher, "licence": licence, "seed": seed,
        "overwrite": overwrite or None, "columns": parse_column_options(column or ()) or None,
    }  # fmt: skip
    settings = load_command_settings(
        WakeWordSettings,
        recipe,
        {name: value for name, value in options.items() if value is not None},
        command=WAKEWORD_TRAIN,
        absent={"output": Path("_".join(word.casefold().split()) or "word")},
    )
    reporter = Reporter(quiet=quiet)
    for name in stream or []:
        read_rows(name, settings.columns)  # a wrong path fails before the training
    manifest = train_detector(settings, reporter)
    result: dict[str, Any] = {"detector": str(settings.output), "manifest": manifest, "streams": None}
    if stream:
        result |= _evaluate_streams(settings, stream, reporter)
    write_json("wakeword-train", result, json_file)
    _print_training(result, reporter)
    if reason := describe_unusable(manifest["calibration"]):
        echo(f"speechxfer: {reason}", err=True)
        raise typer.Exit(1)


def evaluate(
    detector: Folder,
    positives: Annotated[
        str | None, typer.Option(metavar="CLIPS", help="Clips that contain the word once: a folder, a list or a table.")
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="Speech without the word (repeatable).")
    ] = None,
    snr: Annotated[
        list[float] | None,
        typer.Option(metavar="DB", help="Evaluate the clips also with noise at this SNR in dB (repeatable)."),
    ] = None,
    threshold: Threshold = None,
    times: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Evaluate another engine's detections instead: stream, time[, score]."),
    ] = None,
    column: ColumnNames = None,
    output: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write report.html there.")] = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure the miss rate on clips of the word and the false alarms per hour on streams, with intervals."""
    from speechxfer.report.progress import Reporter
    from speechxfer.tables import parse_column_options
    from speechxfer.wakeword.evaluation.evaluate import evaluate_detection_times, evaluate_detector
    from speechxfer.wakeword.evaluation.metrics import read_detection_times
    from speechxfer.wakeword.evaluation.summary import collect_warnings, summarize_evaluation
    from speechxfer.wakeword.runtime.detector import open_artifact, replace_threshold

    columns = parse_column_options(column or ())
    check_output_files({"--output": None if output is None else output / _REPORT_FILE})
    artifact, reporter = open_artifact(detector), Reporter(quiet=quiet)
    sources: Any = {"positives": positives, "streams": stream or [], "columns": columns}
    if times is not None:
        report = evaluate_detection_times(artifact.word, read_detection_times(times), **sources)
    else:
        trigger = replace_threshold(artifact.trigger, threshold)
        report = evaluate_detector(artifact, reporter, snrs=snr or [], trigger=trigger, **sources)
    result, calibration = report.to_json(), artifact.manifest["calibration"]
    warnings = collect_warnings(calibration, result)
    if output is not None:
        from speechxfer.wakeword.evaluation.report import write_detector_report

        facts = {
            "detector": detector.name,
            "clips of the word": positives or "none",
            "streams": ", ".join(stream or []) or "none",
            "training data": "; ".join(f"{s['clips']} {s['what']}" for s in artifact.manifest.get("data", [])),
            "calibration data": f"{calibration.get('kind', '')} speech",
        }
        with translate_write_errors(f"--output {output}"):
            write_detector_report(output / _REPORT_FILE, report, facts=facts, warnings=warnings)
    write_json("wakeword-evaluate", {**result, "warnings": warnings}, json_file)
    for line in (*summarize_evaluation(artifact.word, calibration, result), *(f"warning: {w}" for w in warnings)):
        reporter.info(line)
    if output is not None:
        reporter.info(f"report  {output / _REPORT_FILE}")


def listen(
    detector: Folder,
    audio: Annotated[
        str | None,
        typer.Argument(
            metavar="AUDIO", show_default="the microphone", help="An audio file, or - for raw 16-bit audio."
        ),
    ] = None,
    microphone: Annotated[
        str | None,
        typer.Option(metavar="NAME", show_default="the system's", help="Number or part of the name of the microphone."),
    ] = None,
    channel: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", min=1, show_default="the mean of all", help="Channel of the audio to use, from 1."
        ),
    ] = None,
    gain: Annotated[
        float, typer.Option(metavar="DB", min=-60, max=80, help="Gain in dB, for a quiet microphone.")
    ] = 0.0,
    rate: Annotated[
        int | None,
        typer.Option(
            metavar="HZ",
            min=4_000,
            max=192_000,
            show_default="16000",
            help="Sampling rate of raw audio on standard input.",
        ),
    ] = None,
    threshold: Threshold = None,
    wyoming: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Serve Home Assistant, e.g. on tcp://0.0.0.0:10400.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            metavar="LEVEL",
            show_default="info",
            help="Log of --wyoming: debug, info (connections, detections), warning or error.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write each event as a line of JSON ('-': standard output)."),
    ] = None,
    save_audio: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Save the last 4 s of audio of each detection there.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Detect the word on a microphone, a file or standard input, or serve Home Assistant. Stop with Ctrl-C."""
    from speechxfer.cli._listen import ListenOptions, run_listen

    options = ListenOptions(
        audio=audio,
        microphone=microphone,
        channel=channel,
        gain=gain,
        rate=rate,
        threshold=threshold,
        wyoming=wyoming,
        log_level=log_level,
        json_file=json_file,
        save_audio=save_audio,
        quiet=quiet,
    )
    run_listen(detector, options)


def _evaluate_streams(settings: WakeWordSettings, stream: list[str], reporter: Reporter) -> dict[str, Any]:
    """Evaluate a new detector on streams; return the results and the manifest that now contains them."""
    from speechxfer.wakeword.evaluation.evaluate import evaluate_detector
    from speechxfer.wakeword.runtime.detector import open_artifact
    from speechxfer.wakeword.training.train import add_stream_results

    streams = evaluate_detector(
        open_artifact(settings.output), reporter, streams=stream, columns=settings.columns
    ).to_json()
    return {"streams": streams, "manifest": add_stream_results(settings.output, stream, streams)}


def _print_training(result: dict[str, Any], reporter: Reporter) -> None:
    from speechxfer.wakeword.evaluation.summary import list_suspects, tabulate_training

    manifest, streams = result["manifest"], result["streams"]
    for line in tabulate_training(manifest["calibration"], streams):
        reporter.info(line)
    if manifest["calibration"]["kind"] == "synthetic" and streams is None:
        reporter.info("No real speech was used: these results are on synthetic speech and do not carry over to people.")
        reporter.info(f"  Evaluate on real speech: speechxfer wakeword evaluate {result['detector']} --stream DATA")
    for line in list_suspects(manifest["negatives_that_sound_like_it"]):
        reporter.info(line)
    reporter.info(f"detector  {result['detector']}")
