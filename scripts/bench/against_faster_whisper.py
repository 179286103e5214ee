"""Transcribing many utterances, against faster-whisper: python scripts/bench/against_faster_whisper.py [TABLE]

Our adapted model (`--adapted`), unpadded, against faster-whisper's int8 on the CPU: with the checkpoint that the model
was adapted from, and with our own model exported to it. Ours is run as `transcribe` and `evaluate` do, in two forms:
exported to CTranslate2 in int8, on features as long as the utterance, and as it was saved, in torch in float32.
faster-whisper is run in the two ways that suit short utterances, and compared by the quicker one:

- `pipeline`: `BatchedInferencePipeline`, the utterances of a call one after another, each a clip of `clip_timestamps`;
- `direct`: what that calls inside, CTranslate2's `generate` on batches of 30 s features, a worker a thread.

All get English, no timestamps, no voice detection (an utterance is speech), the beams that our model was saved with,
one temperature, and our limit of tokens. Plain transformers' pipeline on our exported model runs once, for its WER.

Audio is decoded by the same code and is part of the time; opening the model and a warm-up are not. Every turn is a
process, so memory is each side's own. The first round, on four utterances, is for nothing but to fail early.
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
ONCE = (PLAIN,)
SMOKE = 4  # utterances
WARM_UP = 8
CALL = 8  # batches to a call of the pipeline, which keeps all their features at once


# -- the sides, each in a process of its own -------------------------------------------------------------------------
def ours(folder: str | Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """`answers` of `load(folder)`, as `evaluate` calls it: in CTranslate2 where the folder was exported to it."""
    import torch

    from speechxfer.config.recipe import DecodingConfig
    from speechxfer.models import load, predict_all

    torch.set_num_threads(given.threads)
    model = load(folder, device="cpu")
    model.settings.beam_size = given.beam_size
    return lambda rows: predict_all(model, rows, batch_seconds=DecodingConfig().batch_seconds)


def pipeline(folder: Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """faster-whisper's own batching; a call's utterances stand in one waveform, each a clip of it."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    opened = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=given.threads)
    batched = BatchedInferencePipeline(opened)

    def transcribe(rows: Any) -> list[str]:
        said = [""] * len(rows)
        for places, waveforms in _in_batches(rows, given.batch_size * CALL):
            starts = np.cumsum([0, *map(len, waveforms)])
            # half a sample more, as it rounds down
            clips = [{"start": (a + 0.5) / 16_000, "end": (b + 0.5) / 16_000} for a, b in pairwise(starts)]
            of_clip = {
                int(int(clip["start"] * 16_000) / 16_000 * 100): p for clip, p in zip(clips, places, strict=True)
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
                max_new_tokens=_most_tokens(waveforms),
            )
            for segment in segments:
                said[of_clip[segment.seek]] += segment.text
        return [text.strip() for text in said]

    return transcribe


def direct(folder: Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """CTranslate2 on batches of 30 s of features by faster-whisper's extractor, a batch a thread."""
    import ctranslate2
    import tokenizers
    from faster_whisper.audio import pad_or_trim
    from faster_whisper.feature_extractor import FeatureExtractor

    stated = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    extractor = FeatureExtractor(feature_size=stated["feature_size"])
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    names = ["<|startoftranscript|>", "<|notimestamps|>"]
    whisper = ctranslate2.models.Whisper(
        str(folder), device="cpu", compute_type="int8", inter_threads=given.threads, intra_threads=1
    )
    if whisper.is_multilingual:
        names[1:1] = ["<|en|>", "<|transcribe|>"]
    prompt = [tokenizer.token_to_id(name) for name in names]

    def batch(work: tuple[list[int], list[np.ndarray]]) -> list[tuple[int, str]]:
        places, waveforms = work
        features = [pad_or_trim(extractor(waveform)[:, :-1]) for waveform in waveforms]
        found = whisper.generate(
            ctranslate2.StorageView.from_array(np.ascontiguousarray(np.stack(features), dtype=np.float32)),
            [prompt] * len(places),
            beam_size=given.beam_size,
            max_length=len(prompt) + _most_tokens(waveforms),
        )
        return [(p, tokenizer.decode(one.sequences_ids[0]).strip()) for p, one in zip(places, found, strict=True)]

    def transcribe(rows: Any) -> list[str]:
        said = [""] * len(rows)
        with ThreadPoolExecutor(given.threads) as pool:
            for answered in pool.map(batch, _in_batches(rows, given.batch_size)):
                for place, text in answered:
                    said[place] = text
        return said

    return transcribe


def plain(folder: Path, given: argparse.Namespace) -> Callable[[Any], list[str]]:
    """As a user of transformers alone runs it."""
    import torch
    from transformers import pipeline as recogniser

    from speechxfer.data import audio

    torch.set_num_threads(given.threads)
    opened = recogniser("automatic-speech-recognition", str(folder), device="cpu")

    def transcribe(rows: Any) -> list[str]:
        order = _longest_first(rows)
        heard = [{"raw": audio.load_waveform(rows[place]), "sampling_rate": 16_000} for place in order]
        found = opened(heard, batch_size=given.batch_size, generate_kwargs={"num_beams": given.beam_size})
        text_of = {place: one["text"].strip() for place, one in zip(order, found, strict=True)}
        return [text_of[place] for place in range(len(rows))]

    return transcribe


def _longest_first(rows: Any) -> list[int]:
    from speechxfer.data import audio

    seconds = [audio.measure_duration(row) for row in rows]
    return sorted(range(len(rows)), key=lambda place: -seconds[place])


def _in_batches(rows: Any, size: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Places and waveforms of like length, as many to a batch as `size`: the texts' lengths are alike too."""
    from speechxfer.data import audio

    order = _longest_first(rows)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        yield places, [audio.load_waveform(rows[place]) for place in places]


def _most_tokens(waveforms: Sequence[np.ndarray]) -> int:
    """Our decoder's limit for the longest of them, so that a looping one ends as early here as there."""
    from speechxfer.decoding.whisper import MIN_TOKEN_LIMIT, MIN_TOKENS_PER_SECOND

    return min(440, MIN_TOKEN_LIMIT + max(map(len, waveforms)) * MIN_TOKENS_PER_SECOND // 16_000)


def one_turn(given: argparse.Namespace) -> None:
    """Open the side's model, warm up, transcribe, and write seconds and texts."""
    from speechxfer.data.reader import read

    rows = read(given.table)
    rows = rows.select(_chosen(len(rows), given))
    if given.side == OURS:
        transcribe = ours(given.folder / "exported", given)
    elif given.side == TORCH:
        transcribe = ours(given.adapted, given)
    elif given.side == PLAIN:
        transcribe = plain(given.folder / "plain", given)
    else:
        model, way = PEERS[given.side]
        transcribe = {"pipeline": pipeline, "direct": direct}[way](given.folder / model, given)
    transcribe(rows.select(range(0, len(rows), max(1, len(rows) // WARM_UP))))
    began = time.perf_counter()
    said = transcribe(rows)
    wall = time.perf_counter() - began
    given.result.write_text(json.dumps({"seconds": wall, "said": said}), encoding="utf-8")


def _chosen(count: int, given: argparse.Namespace) -> list[int]:
    places = list(range(0, count, given.every))
    return places[:: max(1, len(places) // SMOKE)][:SMOKE] if given.smoke else places


# -- the bench -------------------------------------------------------------------------------------------------------
def measure(table: Path, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every side in turn, `given.repeats` times; throughput, memory, and the score of the last turn's texts."""
    from speechxfer.data import audio
    from speechxfer.data.reader import read
    from speechxfer.models import load
    from speechxfer.scoring import score

    settings = load(given.adapted, device="cpu").settings
    rows = read(table)
    rows = rows.select(_chosen(len(rows), given))
    seconds = sum(audio.measure_duration(row) for row in rows)
    common = [str(Path(__file__).resolve()), str(table), "--adapted", given.adapted, "--folder", str(folder)]
    common += ["--every", str(given.every), "--threads", str(given.threads), "--batch-size", str(given.batch_size)]
    common += ["--beam-size", str(given.beam_size)]

    def turn(side: str, *more: str) -> dict[str, Any]:
        return measured([*common, "--side", side, *more], given.threads)

    began = time.perf_counter()
    for side in SIDES:
        turn(side, "--smoke")
    say(f"every side runs ({time.perf_counter() - began:.0f} s)")
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    began = time.perf_counter()
    for number in range(given.repeats):
        for side in SIDES if number == 0 else [side for side in SIDES if side not in ONCE]:
            runs[side].append(turn(side))
            say(f"repeat {number + 1}, {side}: {seconds / runs[side][-1]['seconds']:.1f} s of audio a second")
        if number == 0:
            say(f"about {(time.perf_counter() - began) * (given.repeats - 1) / 60:.0f} minutes are left")
    found = {}
    for side, turns in runs.items():
        scored = score(
            list(rows["text"]),
            turns[-1]["said"],
            speakers=list(rows["speaker"]) if "speaker" in rows.column_names else None,
            normaliser=settings.normaliser,
        ).to_json()
        found[side] = {
            "throughput": spread([seconds / one["seconds"] for one in turns], 2),
            "seconds": spread([one["seconds"] for one in turns], 2),
            "peak_memory_mb": spread([one["peak_memory_mb"] for one in turns], None),
            **{name: scored[name] for name in ("wer", "interval", "insertions", "reference_words")},
        }
    return {
        "utterances": len(rows),
        "audio_seconds": round(seconds, 1),
        "normaliser": settings.normaliser,
        "sides": found,
        "times_as_fast": {model: _ratio(runs, model) for model in ("zero-shot", "exported")},
    }


def _ratio(runs: dict[str, list[dict[str, Any]]], model: str) -> dict[str, Any]:
    """Ours over the quicker of faster-whisper's ways, turn by turn."""
    both = [side for side, (which, _) in PEERS.items() if which == model]
    quicker = min(both, key=lambda side: spread([one["seconds"] for one in runs[side]])["median"])
    ratios = [them["seconds"] / us["seconds"] for us, them in zip(runs[OURS], runs[quicker], strict=True)]
    return {"against": quicker, **spread(ratios, 2)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="default: $SPEECHXFER_CORPORA/speechocean762/test-part.csv")
    parser.add_argument("--adapted", default="runs/accent-whisper/model", help="our model; default %(default)s")
    parser.add_argument("--zero-shot", default="whisper-tiny.en", help="theirs as it came; default %(default)s")
    parser.add_argument("--every", type=int, default=1, help="use every N-th utterance; default %(default)s")
    parser.add_argument("--batch-size", type=int, default=16, help="utterances, on their side; default %(default)s")
    parser.add_argument("--beam-size", type=int, help="of all sides; else as our model was saved")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores")
    # one turn, in a process of its own
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    table = corpus_table(given.table, "speechocean762/test-part.csv")
    if given.side:
        given.table = table
        one_turn(given)
        return

    from speechxfer.export import export_model
    from speechxfer.models import load

    given.beam_size = given.beam_size or load(given.adapted, device="cpu").settings.beam_size
    with tempfile.TemporaryDirectory() as folder:
        for name, model in (("zero-shot", given.zero_shot), ("exported", given.adapted)):
            export_model(model, "ctranslate2", Path(folder) / name, quantization="int8")
        export_model(given.adapted, "transformers", Path(folder) / "plain")
        found = measure(table, given, Path(folder))
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
            **found,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
