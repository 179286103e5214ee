"""How much does 30 s padding cost? python scripts/bench/encode.py [TABLE] [--json recipes/results/bench-encode.json]

Encodes every sixth utterance of a table with Whisper's encoder: at its own length, and padded to 30 s, both with
speechxfer's encoder, and with transformers' extractor and encoder, which always pad. All run in turn in one process,
with the same threads and the same seconds of input per batch, on decoded audio and after a warm-up. The time of the
log-mel features is included, and also shown separately.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _measuring import cores, corpus_table, machine, named, options, run, spread, versions, write

from speechxfer.config.recipe import DecodingConfig
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.models import SpeechModel, batch_by_seconds, load
from speechxfer.shapes import SAMPLE_RATE

UNPADDED, PADDED, PEER = "unpadded", "padded to 30 s", "transformers, padded to 30 s"
WARM_UP = 2  # batches


class Side(NamedTuple):
    """An encoder to compare. mel: waveforms to features; frames: features to (batch, frames, dim)."""

    mel: Callable[[Sequence[np.ndarray]], Any]
    frames: Callable[[Any], torch.Tensor]
    batches: list[list[np.ndarray]]


def sides(model: SpeechModel, waveforms: Sequence[np.ndarray], batch_seconds: float) -> dict[str, Side]:
    """Return the three encoders with the same audio in batches of `batch_seconds` of input, including padding."""

    def native(pad: bool) -> tuple[Callable, Callable]:
        def mel(batch: Sequence[np.ndarray]) -> Any:
            with model.use_padding(pad):
                return model.encoder.prepare(batch)

        return mel, lambda inputs: model.encoder(inputs).states

    extractor = model.encoder.extractor  # type: ignore[attr-defined]  # transformers' own

    def peer_mel(batch: Sequence[np.ndarray]) -> torch.Tensor:
        return extractor(batch, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features

    durations = [len(waveform) / SAMPLE_RATE for waveform in waveforms]
    window = model.encoder.max_samples / SAMPLE_RATE  # type: ignore[attr-defined]
    order = sorted(range(len(durations)), key=lambda index: -durations[index])
    unpadded = [[waveforms[i] for i in batch] for batch in batch_by_seconds(order, durations, batch_seconds)]
    padded = [[waveforms[i] for i in b] for b in batch_by_seconds(order, [window] * len(durations), batch_seconds)]
    return {
        UNPADDED: Side(*native(False), unpadded),
        PADDED: Side(*native(True), padded),
        PEER: Side(peer_mel, lambda features: model.encoder.module(features).last_hidden_state, padded),
    }


def seconds(side: Side, batches: Iterable[list[np.ndarray]]) -> dict[str, float]:
    """Measure the wall time of the features, of the encoder, and of both, in seconds."""
    mel = frames = 0.0
    for batch in batches:
        started = time.perf_counter()
        features = side.mel(batch)
        between = time.perf_counter()
        side.frames(features)
        mel, frames = mel + between - started, frames + time.perf_counter() - between
    return {"both": mel + frames, "log-mel": mel, "encoder": frames}


@torch.no_grad()
def measure(model: SpeechModel, waveforms: Sequence[np.ndarray], batch_seconds: float, repeats: int) -> dict[str, Any]:
    """Time all encoders `repeats` times in turn, and compare the padded frames with transformers'."""
    encoders = sides(model, waveforms, batch_seconds)
    ours, theirs = (encoders[name].frames(encoders[name].mel(encoders[name].batches[0])) for name in (PADDED, PEER))
    for side in encoders.values():
        seconds(side, side.batches[:WARM_UP])
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in encoders}
    for _ in range(repeats):
        for name, side in encoders.items():
            runs[name].append(seconds(side, side.batches))
    ratios = {
        name: [slow["both"] / fast["both"] for slow, fast in zip(runs[name], runs[UNPADDED], strict=True)]
        for name in (PADDED, PEER)
    }
    measured = {n: {step: spread([one[step] for one in done], 4) for step in done[0]} for n, done in runs.items()}
    return {
        "utterances": len(waveforms),
        "audio_seconds": round(sum(map(len, waveforms)) / SAMPLE_RATE, 1),
        "seconds": measured,
        "times_as_long": {name: spread(ratio, 2) for name, ratio in ratios.items()},  # relative to unpadded, per turn
        "largest_difference_from_transformers": float((ours - theirs).abs().max()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/train.csv")
    parser.add_argument("--every", type=int, default=6, help="use every N-th utterance; default %(default)s")
    parser.add_argument("--model", default="whisper-tiny.en", help="a Whisper; default %(default)s")
    batch_seconds = DecodingConfig().batch_seconds
    parser.add_argument("--batch-seconds", type=float, default=batch_seconds, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/train.csv")
    torch.set_num_threads(given.threads)
    rows = read(table)
    waveforms = [audio.load_waveform(rows[index]) for index in range(0, len(rows), given.every)]
    model = load(given.model, device="cpu")
    found = measure(model, waveforms, given.batch_seconds, given.repeats)
    write(
        {
            "command": "python scripts/bench/encode.py",
            "machine": machine(),
            "versions": versions("torch", "transformers", "numpy"),
            "corpus": f"one utterance in {given.every} of {named(table)}",
            "model": Path(given.model).name,
            "threads": given.threads,
            "batch_seconds": given.batch_seconds,
            "target": 6,
            **found,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
