"""`speechxfer wakeword listen`: its sources, its server, and what it prints. Does not import torch."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from speechxfer.cli._echo import echo, overwrite_line
from speechxfer.cli._outputs import check_output_files
from speechxfer.errors import UserError

if TYPE_CHECKING:
    from speechxfer.wakeword.runtime.audio_sources import AudioBlock, LevelReading, ListeningSummary
    from speechxfer.wakeword.runtime.detector import DetectorArtifact
    from speechxfer.wakeword.runtime.events import Event, Trigger
    from speechxfer.wakeword.runtime.saved_audio import AudioSaver

STANDARD_STREAM = "-"
RAW_RATE = 16_000  # Hz, of raw audio on standard input
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class ListenOptions:
    """Arguments and options of `wakeword listen`; None for those that are not given."""

    audio: str | None = None
    microphone: str | None = None
    channel: int | None = None
    gain: float = 0.0
    rate: int | None = None
    threshold: float | None = None
    wyoming: str | None = None
    log_level: str | None = None
    json_file: Path | None = None
    save_audio: Path | None = None
    quiet: bool = False


def run_listen(detector: Path, options: ListenOptions) -> None:
    """Run a detector on the source of the options until it ends, or serve it.

    Raises: UserError for options that do not apply; DetectorError for a detector or audio that cannot be used.
    """
    from speechxfer.wakeword.runtime.detector import open_artifact, replace_threshold

    check_options(options)
    artifact = open_artifact(detector)
    inputs = [] if options.audio in (None, STANDARD_STREAM) else [Path(str(options.audio))]
    check_output_files({"--json": options.json_file}, inputs)
    trigger = replace_threshold(artifact.trigger, options.threshold)
    if options.wyoming is not None:
        _serve(artifact, trigger, options.wyoming, options)
    else:
        _listen(artifact, trigger, options)


def check_options(options: ListenOptions) -> None:
    """Raise UserError for options that do not apply together, or whose value is not possible."""
    given = {
        "AUDIO": options.audio, "--microphone": options.microphone, "--rate": options.rate,
        "--json": options.json_file, "--log-level": options.log_level,
    }  # fmt: skip
    if options.wyoming is not None:
        reason, excluded = "with --wyoming", ["AUDIO", "--microphone", "--rate", "--json"]
    elif options.audio is None:
        reason, excluded = "to a microphone", ["--rate", "--log-level"]
    elif options.audio == STANDARD_STREAM:
        reason, excluded = "to standard input", ["--microphone", "--log-level"]
    else:
        reason, excluded = "to an audio file", ["--microphone", "--rate", "--log-level"]
    if wrong := [name for name in excluded if given[name] is not None]:
        verb = "does" if len(wrong) == 1 else "do"
        raise UserError(f"{' and '.join(wrong)} {verb} not apply {reason}", fix=f"leave out {' and '.join(wrong)}")
    if options.log_level is not None and options.log_level not in LOG_LEVELS:
        raise UserError("no such level", where=f"--log-level {options.log_level}", fix=f"use {', '.join(LOG_LEVELS)}")
    if not math.isfinite(options.gain):
        raise UserError("is not a number of dB", where=f"--gain {options.gain}", fix="use e.g. 20")


def _serve(artifact: DetectorArtifact, trigger: Trigger, address: str, options: ListenOptions) -> None:
    from speechxfer.wakeword.runtime.wyoming_connection import WyomingService
    from speechxfer.wakeword.runtime.wyoming_server import configure_log, make_server, serve_wyoming

    make_server(address)  # an address that cannot be used is an error before anything is printed
    service = WyomingService(
        artifact, trigger, channel=options.channel, gain=options.gain, save_audio=options.save_audio
    )
    configure_log(options.log_level or ("error" if options.quiet else "info"))
    if not options.quiet:
        echo(f"serving '{service.name}' on {address}", err=address.startswith("stdio:"))
    serve_wyoming(service, address)


def _listen(artifact: DetectorArtifact, trigger: Trigger, options: ListenOptions) -> None:
    from speechxfer.wakeword.runtime.audio_sources import apply_gain, is_terminal, listen_to_blocks
    from speechxfer.wakeword.runtime.detector import Detector
    from speechxfer.wakeword.runtime.saved_audio import AudioSaver

    target, blocks = options.json_file, _open_blocks(options)
    if options.gain:
        blocks = apply_gain(blocks, options.gain)
    saver = None if options.save_audio is None else AudioSaver(options.save_audio)
    if saver is not None:
        blocks = saver.follow(blocks)
    with ExitStack() as stack:
        to_stdout = str(target) == STANDARD_STREAM
        file = None if target is None or to_stdout else stack.enter_context(_open_output(target))
        printer = EventPrinter(
            artifact.word,
            trigger.threshold,
            file=file,
            to_stdout=to_stdout,
            saver=saver,
            quiet=options.quiet,
            with_level=is_terminal() and not options.quiet,
        )
        summary = listen_to_blocks(
            Detector(artifact, trigger=trigger),
            blocks,
            on_event=printer.print_event,
            on_level=printer.print_level,
            on_hint=printer.print_hint,
            keep=False,
        )
    printer.print_summary(summary)


class EventPrinter:
    """Prints events and the level line of `listen`.

    file: receives events as JSON. saver: saves the audio of each event. with_level: on standard error.
    """

    def __init__(
        self,
        word: str,
        threshold: float,
        *,
        file: IO[str] | None = None,
        saver: AudioSaver | None = None,
        to_stdout: bool = False,
        quiet: bool = False,
        with_level: bool = False,
    ) -> None:
        self.word, self.threshold, self.saver = word, threshold, saver
        self.file, self.to_stdout, self.quiet, self.with_level = file, to_stdout, quiet, with_level
        self.num_events = 0

    def print_event(self, event: Event) -> None:
        self.num_events += 1
        self._clear_level()
        line = json.dumps({"word": self.word, "time": round(event.time, 3), "score": event.score})
        if self.to_stdout:
            echo(line)
        elif not self.quiet:
            echo(f"{event.time:9.2f} s  {self.word}  (score {event.score:.3f})")
        if self.file is not None:
            self.file.write(line + "\n")
            self.file.flush()
        if self.saver is not None:
            self.saver.save(event)

    def print_level(self, level: LevelReading) -> None:
        from speechxfer.wakeword.runtime.audio_sources import format_level

        if self.with_level:
            overwrite_line(format_level(level, self.word, self.threshold))

    def print_hint(self, hint: str) -> None:
        if not self.quiet:
            self._clear_level()
            echo(f"speechxfer: {hint}", err=True)

    def print_summary(self, summary: ListeningSummary) -> None:
        if self.quiet or self.to_stdout:
            return
        found = f"{self.num_events} detection{'s' * (self.num_events != 1)}"
        if not self.num_events:
            found = f"no detection (highest score {summary.highest_score:.2f}, threshold {self.threshold:.2f})"
        lost = f", {summary.lost:.1f} s of it dropped" if summary.lost else ""
        echo(f"{summary.seconds:.1f} s of audio{lost}, {found}")

    def _clear_level(self) -> None:
        if self.with_level:
            overwrite_line(" " * 79)
            overwrite_line("")


def _open_blocks(options: ListenOptions) -> Iterator[AudioBlock]:
    """Return the blocks of a file, of standard input (`-`), or of the microphone."""
    from speechxfer.wakeword.runtime.audio_sources import read_file_blocks, read_raw_blocks
    from speechxfer.wakeword.runtime.microphone import read_microphone_blocks

    if options.audio == STANDARD_STREAM:
        return read_raw_blocks(sys.stdin.buffer, options.rate or RAW_RATE, options.channel)
    if options.audio is not None:
        return read_file_blocks(options.audio, options.channel)
    name = options.microphone
    return read_microphone_blocks(int(name) if name is not None and name.isdecimal() else name, options.channel)


def _open_output(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where=str(path)) from None
