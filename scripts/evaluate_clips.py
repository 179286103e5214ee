"""Is a word found wherever it is played? python scripts/evaluate_clips.py DETECTOR CLIPS [--cut] [--json FILE]

Counts the clips of CLIPS (a folder, a list or a table) in which a detector finds its word: by `wakeword evaluate`, by
`wakeword listen` from a file and from a pipe, and by its Wyoming server in chunks of 1,024 and of 1,025 bytes; with
leads of 0, 0.1, 0.5 and 2 s of silence, and at -30 dB. Clips are written as 16-bit WAV; --cut first cuts each clip
50 ms before and 150 ms after the word as the code finds it.

Exit code 1 if two counts at full level differ by more than one clip, or if at -30 dB any way finds less than nine
tenths of the clips that it finds at full level.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from speechxfer.data.audio import load_waveform
from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter
from speechxfer.wakeword.data.clips import find_speech_bounds, read_positives
from speechxfer.wakeword.evaluation.evaluate import evaluate_detector
from speechxfer.wakeword.runtime.audio_sources import AudioBlock, listen_to_blocks, read_file_blocks, read_raw_blocks
from speechxfer.wakeword.runtime.detector import Detector, DetectorArtifact, open_artifact
from speechxfer.wakeword.runtime.errors import DetectorError
from speechxfer.wakeword.runtime.features import HOP_SAMPLES, SAMPLE_RATE, compute_mel_energies
from speechxfer.wakeword.runtime.wyoming_connection import WyomingService
from speechxfer.wakeword.runtime.wyoming_server import make_handler_factory, make_server

LEADS = (0.0, 0.1, 0.5, 2.0)  # s
QUIET_DECIBELS = -30.0
QUIET_SHARE = 0.9
CHUNK_BYTES = (1_024, 1_025)
BEFORE_SECONDS, AFTER_SECONDS = 0.05, 0.15  # s kept around the word by --cut


def cut_clip(waveform: np.ndarray) -> np.ndarray:
    """Return the samples from `BEFORE_SECONDS` before to `AFTER_SECONDS` after the word."""
    start, end = find_speech_bounds(compute_mel_energies(waveform))
    first = max(0, start * HOP_SAMPLES - round(BEFORE_SECONDS * SAMPLE_RATE))
    return waveform[first : end * HOP_SAMPLES + round(AFTER_SECONDS * SAMPLE_RATE)]


def write_condition(folder: Path, waveforms: list[np.ndarray], lead: float, decibels: float) -> list[Path]:
    """Write the clips after `lead` seconds of silence and with a gain; return their paths."""
    folder.mkdir()
    paths = [folder / f"{number:04}.wav" for number in range(len(waveforms))]
    silence = np.zeros(round(lead * SAMPLE_RATE), np.float32)
    for path, waveform in zip(paths, waveforms, strict=True):
        samples = np.concatenate([silence, waveform * np.float32(10 ** (decibels / 20))])
        soundfile.write(path, np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
    return paths


def find_by_evaluate(artifact: DetectorArtifact, paths: list[Path]) -> list[bool]:
    """Return for each clip whether `evaluate` finds the word."""
    report = evaluate_detector(artifact, Reporter(quiet=True), positives=str(paths[0].parent))
    return [path.name not in report.metrics.missed for path in paths]


def find_by_blocks(
    open_blocks: Callable[[Path], Iterator[AudioBlock]],
) -> Callable[[DetectorArtifact, list[Path]], list[bool]]:
    """Return a function that finds the word as `listen` does, in the blocks of a source."""

    def find(artifact: DetectorArtifact, paths: list[Path]) -> list[bool]:
        running = Detector(artifact)
        return [bool(listen_to_blocks(running, open_blocks(path)).events) for path in paths]

    return find


def read_pipe(path: Path) -> Iterator[AudioBlock]:
    """Return the blocks of a clip as of a pipe with raw samples, which delivers at most 1,000 bytes at once."""

    class Pipe(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(min(size or 1_000, 1_000))

    return read_raw_blocks(Pipe(read_pcm(path)))


def read_pcm(path: Path) -> bytes:
    """Return the samples of a 16-bit WAV file."""
    return soundfile.read(path, dtype="int16")[0].astype("<i2").tobytes()


def find_by_wyoming(chunk_bytes: int) -> Callable[[DetectorArtifact, list[Path]], list[bool]]:
    """Return a function that finds the word with a Wyoming client, which sends chunks of this size."""

    def find(artifact: DetectorArtifact, paths: list[Path]) -> list[bool]:
        return asyncio.run(ask_server(artifact, [read_pcm(path) for path in paths], chunk_bytes))

    return find


async def ask_server(artifact: DetectorArtifact, clips: list[bytes], chunk_bytes: int) -> list[bool]:
    """Serve the detector on a socket and send it the clips over one connection each."""
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncClient
    from wyoming.ping import Ping
    from wyoming.wake import Detect

    form = {"rate": SAMPLE_RATE, "width": 2, "channels": 1}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix://{folder}/wyoming.sock"
        server = make_server(address)
        await server.start(make_handler_factory(WyomingService(artifact)))
        try:
            for clip in clips:
                async with AsyncClient.from_uri(address) as client:
                    await client.write_event(Detect(names=[artifact.word]).event())
                    await client.write_event(AudioStart(**form).event())
                    for start in range(0, len(clip), chunk_bytes):
                        audio = clip[start : start + chunk_bytes]
                        await client.write_event(AudioChunk(**form, audio=audio).event())
                    await client.write_event(AudioStop().event())
                    await client.write_event(Ping().event())  # its answer comes after all others
                    answers = set()
                    while (event := await client.read_event()) is not None and event.type != "pong":
                        answers.add(event.type)
                    found.append("detection" in answers)
        finally:
            await server.stop()
    return found


WAYS: dict[str, Callable[[DetectorArtifact, list[Path]], list[bool]]] = {
    "evaluate": find_by_evaluate,
    "listen FILE": find_by_blocks(read_file_blocks),
    "listen -": find_by_blocks(read_pipe),
    **{f"Wyoming, {size:,} bytes": find_by_wyoming(size) for size in CHUNK_BYTES},
}


def compare(artifact: DetectorArtifact, waveforms: list[np.ndarray]) -> dict[str, dict[str, int]]:
    """Return the number of clips found, by condition and way."""
    conditions = {f"lead {lead:g} s": (lead, 0.0) for lead in LEADS}
    conditions[f"{QUIET_DECIBELS:g} dB"] = (LEADS[0], QUIET_DECIBELS)
    with tempfile.TemporaryDirectory() as folder:
        counts = {}
        for number, (name, (lead, decibels)) in enumerate(conditions.items()):
            paths = write_condition(Path(folder) / str(number), waveforms, lead, decibels)
            counts[name] = {way: sum(find(artifact, paths)) for way, find in WAYS.items()}
    return counts


def list_failures(counts: dict[str, dict[str, int]]) -> list[str]:
    """Return the limits of the module's docstring that the counts exceed."""
    *full, quiet = counts
    every = [count for name in full for count in counts[name].values()]
    failures = [f"{min(every)} to {max(every)} clips found at full level"] if max(every) - min(every) > 1 else []
    for way, count in counts[quiet].items():
        expected = counts[full[0]][way]
        if count < QUIET_SHARE * expected:
            failures.append(f"{way}: {count} clips found at {quiet}, {expected} at full level")
    return failures


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", type=Path, help="folder written by `wakeword train`")
    parser.add_argument("clips", help="clips of the word: a folder, a list or a table")
    parser.add_argument("--cut", action="store_true", help="cut each clip 50 ms before and 150 ms after the word")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the counts to this file")
    given = parser.parse_args(arguments)
    try:
        artifact = open_artifact(given.detector)
        waveforms = [load_waveform(row) for row in read_positives(given.clips, artifact.word).rows]
        counts = compare(artifact, [cut_clip(waveform) for waveform in waveforms] if given.cut else waveforms)
    except (UserError, DetectorError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(f"{'clips found':<12}" + "".join(f"{way:>22}" for way in WAYS))
    for name, found in counts.items():
        print(f"{name:<12}" + "".join(f"{f'{count} of {len(waveforms)}':>22}" for count in found.values()))
    failures = list_failures(counts)
    for failure in failures:
        print(failure, file=sys.stderr)
    if given.json is not None:
        document = {"clips": len(waveforms), "cut": given.cut, "found": counts, "failures": failures}
        given.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
