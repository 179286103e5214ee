"""`speechxfer wakeword train`, `evaluate` and `listen`. `listen` imports no torch."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxfer.cli._options import JsonFile, Quiet, write_json
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.wakeword.runtime.audio_sources import LevelReading
    from speechxfer.wakeword.runtime.detector import DetectorArtifact
    from speechxfer.wakeword.runtime.events import Event, Trigger

HELP_ORDER = 70
_SHOWN = 10  # recordings named on the terminal

Folder = Annotated[Path, typer.Argument(metavar="DETECTOR", help="The folder that `wakeword train` wrote.")]
Threshold = Annotated[float | None, typer.Option(min=0, help="In place of the calibrated one.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    group.command("train")(train)
    group.command("evaluate")(evaluate)
    group.command("listen")(listen)
    app.add_typer(group, name="wakeword", help="Detectors of a word of your own: train, evaluate, listen.")


def train(
    word: Annotated[str, typer.Argument(help="The word or phrase, in quotation marks.")],
    positives: Annotated[
        str | None, typer.Option(metavar="CLIPS", help="Recordings of it: a folder, a list (.txt) or a table.")
    ] = None,
    negatives: Annotated[
        str | None, typer.Option(metavar="DATA", help="Other speech: a folder or DATA; else synthetic sentences.")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Else the word, as a folder's name.")] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="RECIPE", help="Settings from a file, or shipped ones: wakeword.")
    ] = None,
    noise: Annotated[
        str | None, typer.Option(metavar="DATA", help="Noises to mix in, beside the made-up ones.")
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="Real speech to hear when trained; no part of training.")
    ] = None,
    false_alarms_per_hour: Annotated[float | None, typer.Option(help="To calibrate for; 0.1 where not said.")] = None,
    synthetic: Annotated[int | None, typer.Option(min=0, help="Synthetic clips of the word; 0 for none.")] = None,
    voices: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Piper voices beside espeak-ng's; auto: those installed; none.")
    ] = None,
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Of the synthetic voices, say de.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A frozen encoder to learn from too; none: labels alone.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of your recordings, for the manifest.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is drawn.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the detector that lies there.")] = False,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Train a detector of WORD, from recordings, from synthetic speech, or both; calibrate it; write its folder.

    What is typed goes before what the recipe says.

    speechxfer wakeword train "hey juniper" --positives clips/ --negatives speech/ --output juniper/
    """
    from speechxfer.config import WAKEWORD_TRAIN, load_command_settings
    from speechxfer.report.progress import Reporter
    from speechxfer.wakeword.data.clips import read_rows
    from speechxfer.wakeword.settings import WakeWordSettings
    from speechxfer.wakeword.training.train import add_stream_results, train_detector

    given = {
        "word": word.strip(), "positives": positives, "negatives": negatives, "noise": noise,
        "output": output, "target": false_alarms_per_hour, "synthetic": synthetic, "voices": voices,
        "language": language, "steps": steps, "teacher": teacher, "licence": licence, "seed": seed,
        "overwrite": overwrite or None,
    }  # fmt: skip
    settings = load_command_settings(
        WakeWordSettings, recipe, {name: value for name, value in given.items() if value is not None},
        command=WAKEWORD_TRAIN, absent={"output": Path("_".join(word.casefold().split()) or "word")},
    )  # fmt: skip
    narrator = Reporter(quiet=quiet)
    for name in stream or []:
        read_rows(name)  # a wrong path is told before the training
    manifest = train_detector(settings, narrator)
    result: dict[str, Any] = {"detector": str(settings.output), "manifest": manifest, "streams": None}
    if stream:
        from speechxfer.wakeword.evaluation.evaluate import evaluate_detector
        from speechxfer.wakeword.runtime.detector import open_artifact

        measured = evaluate_detector(open_artifact(settings.output), narrator, streams=stream)
        result["streams"] = measured.to_json()
        result["manifest"] = add_stream_results(settings.output, stream, result["streams"])
    for line in _side_by_side(manifest["calibration"], result["streams"]):
        narrator.info(line)
    if manifest["calibration"]["kind"] == "synthetic" and not stream:
        narrator.info("no real speech was heard: these figures are of synthetic speech and say nothing about people.")
        narrator.info(f"  hear some: speechxfer wakeword evaluate {settings.output} --stream DATA")
    for name in manifest["negatives_that_sound_like_it"][:_SHOWN]:
        narrator.info(f"sounds like the word, listen to it: {name}")
    narrator.info(f"detector  {settings.output}")
    write_json(result, json_file)


def evaluate(
    detector: Folder,
    positives: Annotated[str | None, typer.Option(metavar="CLIPS", help="Clips that hold the word once.")] = None,
    stream: Annotated[
        list[str] | None, typer.Option(metavar="DATA", help="Speech without it; may be repeated.")
    ] = None,
    snr: Annotated[list[float] | None, typer.Option(help="The clips again, with noise at this ratio (dB).")] = None,
    threshold: Threshold = None,
    times: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Another engine's detections: stream, time[, score].")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write report.html there.")] = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Misses on clips of the word, false alarms an hour on streams, with intervals and the curve between them."""
    from speechxfer.report.progress import Reporter
    from speechxfer.wakeword.evaluation.evaluate import evaluate_detection_times, evaluate_detector
    from speechxfer.wakeword.runtime.detector import open_artifact

    artifact = open_artifact(detector)
    narrator = Reporter(quiet=quiet)
    if times is not None:
        from speechxfer.wakeword.evaluation.metrics import read_detection_times

        measured = evaluate_detection_times(
            artifact.word, read_detection_times(times), positives=positives, streams=stream or []
        )
    else:
        measured = evaluate_detector(
            artifact, narrator, positives=positives, streams=stream or [], snrs=snr or [],
            trigger=_trigger(artifact, threshold),
        )  # fmt: skip
    result = measured.to_json()
    warnings = _warnings(artifact, result)
    for line in _lines(artifact, result):
        narrator.info(line)
    for warning in warnings:
        narrator.info(f"warning: {warning}")
    if output is not None:
        from speechxfer.wakeword.evaluation.report import write_detector_report

        facts = {
            "detector": detector.name,
            "clips of the word": positives or "none",
            "streams": ", ".join(stream or []) or "none",
            "trained on": "; ".join(f"{s['clips']} {s['what']}" for s in artifact.manifest.get("data", [])),
            "calibrated on": str(artifact.manifest["calibration"].get("kind", "")) + " speech",
        }
        write_detector_report(output / "report.html", measured, facts=facts, warnings=warnings)
        narrator.info(f"report  {output / 'report.html'}")
    write_json({**result, "warnings": warnings}, json_file)


def listen(
    detector: Folder,
    audio: Annotated[
        str | None, typer.Argument(metavar="[AUDIO]", help="A file, or - for raw 16-bit sound; else the microphone.")
    ] = None,
    microphone: Annotated[str | None, typer.Option(help="Its number or a part of its name.")] = None,
    rate: Annotated[int, typer.Option(min=4_000, help="Of raw sound from standard input, Hz.")] = 16_000,
    threshold: Threshold = None,
    wyoming: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Serve Home Assistant, say tcp://0.0.0.0:10400.")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write every event as a line of JSON, '-': as it comes."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Listen to a microphone, a file or standard input, or serve Home Assistant. Ctrl-C ends it."""
    from speechxfer.wakeword.runtime.audio_sources import (
        format_level,
        is_terminal,
        read_file_blocks,
        read_microphone_blocks,
        read_raw_blocks,
    )
    from speechxfer.wakeword.runtime.audio_sources import listen_to_blocks as hear
    from speechxfer.wakeword.runtime.detector import Detector, open_artifact

    artifact = open_artifact(detector)
    trigger = _trigger(artifact, threshold)
    if wyoming is not None:
        from speechxfer.wakeword.runtime.wyoming_server import get_detector_name, serve_wyoming

        if not quiet:
            typer.echo(f"serving '{get_detector_name(artifact)}' on {wyoming}")
        serve_wyoming(artifact, wyoming, trigger)
        return
    if audio is None:
        chosen = int(microphone) if microphone is not None and microphone.isdigit() else microphone
        blocks = read_microphone_blocks(chosen)
    else:
        blocks = read_raw_blocks(sys.stdin.buffer, rate) if audio == "-" else read_file_blocks(audio)
    shown = is_terminal() and not quiet
    to_stdout = json_file is not None and str(json_file) == "-"
    with ExitStack() as stack:
        file = None if json_file is None or to_stdout else stack.enter_context(_written(json_file))

        def told(event: Event) -> None:
            if shown:
                typer.echo("\r" + " " * 79 + "\r", err=True, nl=False)
            line = json.dumps({"word": artifact.word, "time": round(event.time, 3), "score": event.score})
            if to_stdout:
                typer.echo(line)
            elif not quiet:
                typer.echo(f"{event.time:9.2f} s  {artifact.word}  (score {event.score:.3f})")
            if file is not None:
                file.write(line + "\n")
                file.flush()

        def level(now: LevelReading) -> None:
            if shown:
                typer.echo("\r" + format_level(now, artifact.word, trigger.threshold), err=True, nl=False)

        heard = hear(Detector(artifact, trigger=trigger), blocks, on_event=told, on_level=level, keep=False)
    if not quiet and not to_stdout:
        lost = f", {heard.lost:.1f} s of it lost" if heard.lost else ""
        typer.echo(f"{heard.seconds:.1f} s heard{lost}")


def _side_by_side(calibration: dict[str, Any], streams: dict[str, Any] | None) -> list[str]:
    """What is known when a detector was trained: of held-out sounds, by their kind, and of real streams, if given."""
    kind, clips_kind = calibration["kind"], calibration["clips_kind"]
    held = kind if kind == clips_kind or not calibration["positives"] else f"{clips_kind} clips, {kind} speech"
    misses = f"{calibration['misses']} of {calibration['positives']}" if calibration["positives"] else "not known"
    rate = "not known"
    if calibration["hours"]:
        rate = f"{calibration['alarms']} in {calibration['hours']:.2f} h, at most {calibration['bound']:.2g}/h (95 %)"
    rows = [("figures on", "misses", "false alarms"), (f"held out, {held}", misses, rate)]
    if streams is not None:
        rows.append(("real speech (--stream)", "not heard", _alarms(streams)))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{what:{widths[0]}}  {missed:{widths[1]}}  {alarms}" for what, missed, alarms in rows]
    if calibration["positives"]:
        lines.append("(each held-out clip is heard clean and with noise at 10 dB)")
    return lines


def _trigger(artifact: DetectorArtifact, threshold: float | None) -> Trigger:
    return artifact.trigger if threshold is None else replace(artifact.trigger, threshold=threshold)


def _written(path: Path) -> Any:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=str(path)) from None


def _lines(artifact: DetectorArtifact, result: dict[str, Any]) -> list[str]:
    """What an evaluation says: now, and what was known at calibration."""
    lines = [
        f"'{artifact.word}' at threshold {result['threshold']:.4g}" if result["threshold"] is not None else "events"
    ]
    if result["positives"]:
        low, high = (100 * bound for bound in result["intervals"]["miss_rate"])
        over = result["intervals"]["over"]
        lines.append(
            f"  misses        {100 * result['miss_rate']:.1f} % [{result['misses']} / {result['positives']}], "
            f"95 % {low:.1f} to {high:.1f} over {over}"
        )
    if result["delay_ms"]:
        delay = result["delay_ms"]
        lines.append(
            f"  delay         {delay['median']:.0f} ms after the word's end, 95th percentile {delay['p95']:.0f} ms"
        )
    if result["hours"]:
        lines.append(f"  false alarms  {_alarms(result)}")
    for column, parts in result["by"].items():
        for value, part in list(parts.items())[: 3 * _SHOWN]:
            lines.append(f"    {column} {value}: {part['misses']} / {part['positives']} missed")
    if result["missed"]:
        names = ", ".join(result["missed"][:_SHOWN])
        lines.append(f"  missed        {names}{' ...' if len(result['missed']) > _SHOWN else ''}")
    for event in result["fired_on"][:_SHOWN]:
        lines.append(
            f"  fired on      {event.get('row', event['stream'])} at {event.get('time_in_row', event['time'])} s"
        )
    stored = artifact.manifest["calibration"]
    if stored.get("hours"):
        lines.append(
            f"  calibrated on {stored['kind']} speech: {stored['alarms']} false alarms in {stored['hours']:.2f} h; "
            f"missed were {stored['misses']} of {stored['positives']} {stored.get('clips_kind', '')} clips"
        )
    return lines


def _alarms(result: dict[str, Any]) -> str:
    low, high = result["intervals"]["false_alarms_per_hour"]
    return (
        f"{result['false_alarms_per_hour']:.2f}/h [{result['false_alarms']} in {result['hours']:.2f} h], "
        f"95 % {low:.2f} to {high:.2f}"
    )


def _warnings(artifact: DetectorArtifact, result: dict[str, Any]) -> list[str]:
    found = []
    if artifact.manifest["calibration"].get("kind") == "synthetic" and not result["hours"]:
        found.append("no real speech was heard, here or in training: false alarms on people are unknown")
    if result["hours"] and result["false_alarms"] == 0 and result["hours"] < 30:
        found.append(
            f"{result['hours']:.2f} h without an alarm support at most {3.0 / result['hours']:.2g}/h, not 0.1/h"
        )
    return found
