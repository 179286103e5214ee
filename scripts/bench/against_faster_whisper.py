"""Transcription of many utterances, compared with faster-whisper: scripts/bench/against_faster_whisper.py [TABLE]

Our adapted model (`--adapted`) without padding is compared with faster-whisper in int8 on the CPU, which runs the
zero-shot checkpoint and our exported model. Our model runs as in `transcribe` and `evaluate`, in two forms: exported to
CTranslate2 in int8, with features of the utterance's own length, and as it was saved, in torch in float32.
faster-whisper runs in two ways that suit short utterances, and the faster one is compared:

- `pipeline`: `BatchedInferencePipeline`; the utterances of a call are concatenated, each a clip of `clip_timestamps`;
- `direct`: CTranslate2's `generate`, which the pipeline calls, on batches of 30 s features with one worker per thread.

All sides use English, no timestamps, no voice activity detection, the beam size that our model was saved with, a single
temperature, and our token limit. The pipeline of transformers runs our exported model once, for its WER.

All sides decode audio with the same code, and its time counts; loading the model and a warm-up do not. Every
measurement is a process of its own, so memory is per side. A first round on four utterances makes errors appear early.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import cores, corpus_table, machine, named, options, run, spread, versions, write
from _processes import measured, say

OURS = "speechxfer int8, exported, unpadded"
TORCH = "speechxfer float32, as saved, unpadded"
WAYS = ("pipeline", "direct")
PEERS = {f"faster-whisper int8, {model}, {way}": (model, way) for model in ("zero-shot", "exported") for way in WAYS}
PLAIN = "transformers' pipeline, exported"
SIDES = (OURS, TORCH, *PEERS, PLAIN)
SIDES_RUN_ONCE = (PLAIN,)
SMOKE_UTTERANCES = 4
WARM_UP_UTTERANCES = 8
BATCHES_PER_CALL = 8  # of the pipeline, which has all their features in memory at once


# -- the sides, each in a process of its own -------------------------------------------------------------------------
def make_speechxfer(folder: str | Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """`predict_all` with `load(folder)`, as `evaluate` calls it; an exported folder runs in CTranslate2."""
    import torch

    from speechxfer.config.recipe import DecodingConfig
    from speechxfer.models import load, predict_all

    torch.set_num_threads(given.threads)
    model = load(folder, device="cpu")
    model.settings.beam_size = given.beam_size
    return lambda rows: predict_all(model, rows, batch_seconds=DecodingConfig().batch_seconds)


def make_pipeline(folder: Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """faster-whisper's own batching; the utterances of a call are clips of one concatenated waveform."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    opened = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=given.threads)
    batched = BatchedInferencePipeline(opened)

    def transcribe(rows: Any) -> list[str]:
        texts = [""] * len(rows)
        for indices, waveforms in _iter_batches(rows, given.batch_size * BATCHES_PER_CALL):
            starts = np.cumsum([0, *map(len, waveforms)])
            # half a sample is added because faster-whisper rounds down
            clips = [{"start": (a + 0.5) / 16_000, "end": (b + 0.5) / 16_000} for a, b in pairwise(starts)]
            index_of_clip = {
                int(int(clip["start"] * 16_000) / 16_000 * 100): i for clip, i in zip(clips, indices, strict=True)
            }
            segments, _ = batched.transcribe(
                np.concatenate(waveforms),
                language="en",
                beam_size=given.beam_size,
                temperature=0.0,
                without_timestamps=True,
                vad_filter=False,
                clip_timestamps=clips,
                batch_size=given.batch_size,
                max_new_tokens=_max_tokens(waveforms),
            )
            for segment in segments:
                texts[index_of_clip[segment.seek]] += segment.text
        return [text.strip() for text in texts]

    return transcribe


def make_direct(folder: Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """CTranslate2 with faster-whisper's feature extractor on batches of 30 s features, one batch per thread."""
    import ctranslate2
    import tokenizers
    from faster_whisper.audio import pad_or_trim
    from faster_whisper.feature_extractor import FeatureExtractor

    config = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    extractor = FeatureExtractor(feature_size=config["feature_size"])
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    names = ["<|startoftranscript|>", "<|notimestamps|>"]
    whisper = ctranslate2.models.Whisper(
        str(folder), device="cpu", compute_type="int8", inter_threads=given.threads, intra_threads=1
    )
    if whisper.is_multilingual:
        names[1:1] = ["<|en|>", "<|transcribe|>"]
    prompt = [tokenizer.token_to_id(name) for name in names]

    def decode_batch(batch: tuple[list[int], list[np.ndarray]]) -> list[tuple[int, str]]:
        indices, waveforms = batch
        features = [pad_or_trim(extractor(waveform)[:, :-1]) for waveform in waveforms]
        results = whisper.generate(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(np.stack(features), dtype=np.float32)),
            [prompt] * len(indices),
            beam_size=given.beam_size,
            max_length=len(prompt) + _max_tokens(waveforms),
        )
        texts = [tokenizer.decode(result.sequences_ids[0]).strip() for result in results]
        return list(zip(indices, texts, strict=True))

    def transcribe(rows: Any) -> list[str]:
        texts = [""] * len(rows)
        with ThreadPoolExecutor(given.threads) as pool:
            for decoded in pool.map(decode_batch, _iter_batches(rows, given.batch_size)):
                for index, text in decoded:
                    texts[index] = text
        return texts

    return transcribe


def make_transformers(folder: Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """The speech recognition pipeline of transformers."""
    import torch
    from transformers import pipeline

    from speechxfer.data import audio

    torch.set_num_threads(given.threads)
    recogniser = pipeline("automatic-speech-recognition", str(folder), device="cpu")

    def transcribe(rows: Any) -> list[str]:
        order = _longest_first(rows)
        inputs = [{"raw": audio.load_waveform(rows[index]), "sampling_rate": 16_000} for index in order]
        results = recogniser(inputs, batch_size=given.batch_size, generate_kwargs={"num_beams": given.beam_size})
        texts = {index: result["text"].strip() for index, result in zip(order, results, strict=True)}
        return [texts[index] for index in range(len(rows))]

    return transcribe


def _longest_first(rows: Any) -> list[int]:
    from speechxfer.data import audio

    seconds = [audio.measure_duration(row) for row in rows]
    return sorted(range(len(rows)), key=lambda index: -seconds[index])


def _iter_batches(rows: Any, size: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Yield batches of `size` indices and waveforms of similar length, so that their texts are of similar length."""
    from speechxfer.data import audio

    order = _longest_first(rows)
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        yield indices, [audio.load_waveform(rows[index]) for index in indices]


def _max_tokens(waveforms: Sequence[np.ndarray]) -> int:
    """Our decoder's token limit for the longest waveform, so that loops end as early as in our decoder."""
    from speechxfer.decoding.whisper import MIN_TOKEN_LIMIT, MIN_TOKENS_PER_SECOND

    return min(440, MIN_TOKEN_LIMIT + max(map(len, waveforms)) * MIN_TOKENS_PER_SECOND // 16_000)


def run_side(given: argparse.Namespace) -> None:
    """Load the side's model, warm up, transcribe, and write seconds and texts."""
    from speechxfer.data.reader import read

    rows = read(given.table)
    rows = rows.select(_select_indices(len(rows), given))
    if given.side == OURS:
        transcribe = make_speechxfer(given.folder / "exported", given)
    elif given.side == TORCH:
        transcribe = make_speechxfer(given.adapted, given)
    elif given.side == PLAIN:
        transcribe = make_transformers(given.folder / "plain", given)
    else:
        model, way = PEERS[given.side]
        transcribe = {"pipeline": make_pipeline, "direct": make_direct}[way](given.folder / model, given)
    transcribe(rows.select(range(0, len(rows), max(1, len(rows) // WARM_UP_UTTERANCES))))
    start = time.perf_counter()
    texts = transcribe(rows)
    seconds = time.perf_counter() - start
    given.result.write_text(json.dumps({"seconds": seconds, "said": texts}), encoding="utf-8")


def _select_indices(count: int, given: argparse.Namespace) -> list[int]:
    indices = list(range(0, count, given.every))
    return indices[:: max(1, len(indices) // SMOKE_UTTERANCES)][:SMOKE_UTTERANCES] if given.smoke else indices


# -- the benchmark ---------------------------------------------------------------------------------------------------
def measure_sides(table: Path, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all sides alternately, `given.repeats` times: throughput, memory, and the score of the last run's texts."""
    from speechxfer.data import audio
    from speechxfer.data.reader import read
    from speechxfer.models import load
    from speechxfer.scoring import ScoringOptions, score

    settings = load(given.adapted, device="cpu").settings
    rows = read(table)
    rows = rows.select(_select_indices(len(rows), given))
    seconds = sum(audio.measure_duration(row) for row in rows)
    common = [str(Path(__file__).resolve()), str(table), "--adapted", given.adapted, "--folder", str(folder)]
    common += ["--every", str(given.every), "--threads", str(given.threads), "--batch-size", str(given.batch_size)]
    common += ["--beam-size", str(given.beam_size)]

    def run_process(side: str, *more: str) -> dict[str, Any]:
        return measured([*common, "--side", side, *more], given.threads)

    start = time.perf_counter()
    for side in SIDES:
        run_process(side, "--smoke")
    say(f"smoke test of all sides passed ({time.perf_counter() - start:.0f} s)")
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    start = time.perf_counter()
    for number in range(given.repeats):
        for side in SIDES if number == 0 else [side for side in SIDES if side not in SIDES_RUN_ONCE]:
            runs[side].append(run_process(side))
            say(f"repeat {number + 1}, {side}: {seconds / runs[side][-1]['seconds']:.1f} s of audio a second")
        if number == 0:
            say(f"about {(time.perf_counter() - start) * (given.repeats - 1) / 60:.0f} minutes left")
    results = {}
    for side, repeats in runs.items():
        scores = score(
            list(rows["text"]),
            repeats[-1]["said"],
            speakers=list(rows["speaker"]) if "speaker" in rows.column_names else None,
            options=ScoringOptions(normaliser=settings.normaliser),
        ).to_json()
        results[side] = {
            "throughput": spread([seconds / repeat["seconds"] for repeat in repeats], 2),
            "seconds": spread([repeat["seconds"] for repeat in repeats], 2),
            "peak_memory_mb": spread([repeat["peak_memory_mb"] for repeat in repeats], None),
            **{name: scores[name] for name in ("wer", "interval", "insertions", "reference_words")},
        }
    return {
        "utterances": len(rows),
        "audio_seconds": round(seconds, 1),
        "normaliser": settings.normaliser,
        "sides": results,
        "times_as_fast": {model: _compute_speed_ratio(runs, model) for model in ("zero-shot", "exported")},
    }


def _compute_speed_ratio(runs: dict[str, list[dict[str, Any]]], model: str) -> dict[str, Any]:
    """Compute our speed over that of faster-whisper's faster way, repeat by repeat."""
    sides = [side for side, (its_model, _) in PEERS.items() if its_model == model]
    faster = min(sides, key=lambda side: spread([repeat["seconds"] for repeat in runs[side]])["median"])
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(runs[OURS], runs[faster], strict=True)]
    return {"against": faster, **spread(ratios, 2)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/test-part.csv")
    parser.add_argument("--adapted", default="runs/accent-whisper/model", help="our model; default %(default)s")
    parser.add_argument("--zero-shot", default="whisper-tiny.en", help="their model; default %(default)s")
    parser.add_argument("--every", type=int, default=1, help="use every N-th utterance; default %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="of the other sides; default %(default)s")
    parser.add_argument("--beam-size", type=int, help="of all sides; default: as our model was saved")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    # a single measurement, in a process of its own
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/test-part.csv")
    if given.side:
        given.table = table
        run_side(given)
        return

    from speechxfer.export import export_model
    from speechxfer.models import load

    given.beam_size = given.beam_size or load(given.adapted, device="cpu").settings.beam_size
    with tempfile.TemporaryDirectory() as folder:
        for name, model in (("zero-shot", given.zero_shot), ("exported", given.adapted)):
            export_model(model, "ctranslate2", Path(folder) / name, quantization="int8")
        export_model(given.adapted, "transformers", Path(folder) / "plain")
        results = measure_sides(table, given, Path(folder))
    write(
        {
            "command": "python scripts/bench/against_faster_whisper.py"
            + f" --adapted {'/'.join(Path(given.adapted).parts[-3:])}"
            + f" --every {given.every}" * (given.every > 1),
            "machine": machine(),
            "versions": versions("torch", "transformers", "faster-whisper", "ctranslate2", "numpy"),
            "corpus": named(table) if given.every == 1 else f"one utterance in {given.every} of {named(table)}",
            "models": {"adapted": Path(given.adapted).name, "zero-shot": Path(given.zero_shot).name},
            "threads": given.threads,
            "beams": given.beam_size,
            "batch_size": given.batch_size,
            "target": 3,
            **results,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
