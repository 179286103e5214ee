"""Compare our detectors with openWakeWord (the package pyopen-wakeword) on the same audio with the same evaluation.

    pip install pyopen-wakeword
    python scripts/bench/wakeword_peers.py --corpora ~/corpora --work runs/folds --jobs 2 --json FILE

- CPU seconds and peak memory per hour of audio, measured on ten minutes: on one core, in separate processes that load
  nothing else, alternating, with nothing else running.
- False alarms of the stock models `alexa` and `hey_jarvis` on all of speechocean762, at their default threshold of
  0.5. There are no recordings of those words, so their misses are not measured.
- Misses: a head as trained by openWakeWord (16 embeddings of 80 ms, two layers of 128) on its frozen embedding. To
  save time, only one of the five folds of scripts/bench/wakeword_folds.py is evaluated; that script's detectors in
  --work are evaluated on the same fold. The head is trained on all recordings of the other folds, each clean, with
  noise and with babble, and on their speech, clean and a quarter of it also with noise and with babble. Our training
  mixes anew at every step, which is too expensive with a frozen embedding.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, spread, versions, write
from wakeword_folds import CONDITIONS, WORDS, assign_fold, assign_speaker_folds, evaluate_pooled, make_mix

from speechxfer.data.audio import load_waveform
from speechxfer.errors import UserError
from speechxfer.scoring.statistics import poisson_upper
from speechxfer.wakeword.data.clips import ClipRow, find_speech_bounds, read_rows
from speechxfer.wakeword.evaluation.metrics import DetectionEvaluation, ScoredRecording
from speechxfer.wakeword.runtime.events import LabelledWord, Scores, Trigger
from speechxfer.wakeword.runtime.features import SAMPLE_RATE, compute_mel_energies

STOCK = ("alexa", "hey_jarvis")
CHUNK = 1_280  # samples: openWakeWord's step of 80 ms
STEP = CHUNK / SAMPLE_RATE
WINDOW = 16  # embeddings per window of its head: 1.28 s
LEAD = 1.28  # s of silence before a clip of the word; with the 1 s after the previous clip, a window never spans two
MEASURED_SECONDS = 600.0  # s of audio for CPU and memory
THRESHOLD = 0.5
TEST_FOLD = 0
MIXED_EVERY = 4  # one in this many rows of the training speech is mixed


# -- embeddings ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Part:
    """Rows to embed as one stream in one condition, each with `lead` s of silence before and 1 s after.

    voices: rows that babble is made of, by whether they are in the test fold.
    """

    name: str
    rows: list[ClipRow]
    condition: str
    voices: dict[bool, list[ClipRow]]
    lead: float = 0.0


@dataclass
class Embedded:
    """Embeddings of a part. frames: (chunks, 96). starts: (rows + 1,) the first chunk of each row, silence included."""

    frames: np.ndarray
    starts: np.ndarray

    def window_ends(self, row: int) -> np.ndarray:
        """Return the chunks of a row that end a complete window."""
        return np.arange(max(self.starts[row], WINDOW - 1), self.starts[row + 1])

    def take_windows(self, ends: np.ndarray) -> np.ndarray:
        """Return (windows, 16 * 96): each chunk and the 15 before it."""
        return self.frames[ends[:, None] + np.arange(1 - WINDOW, 1)].reshape(len(ends), -1)


def embed(part: Part, work: Path) -> Path:
    """Compute openWakeWord's embedding of every 80 ms of a part; return the file in `work`."""
    path = work / f"peer-{part.name}.npz"
    if path.is_file():
        return path
    from pyopen_wakeword import OpenWakeWordFeatures

    features = OpenWakeWordFeatures.from_builtin()
    list(features.process_streaming(bytes(2 * CHUNK)))  # the first chunk also returns embeddings of the initial silence
    rng = np.random.default_rng([11, len(part.rows), CONDITIONS.index(part.condition)])
    mixes = {in_test: make_mix(part.condition, voices, rng) for in_test, voices in part.voices.items()}
    frames, starts = [], [0]
    for row in part.rows:
        waveform = load_waveform(row)
        mix = mixes[bool(row["in_test"])]
        sound = np.pad(mix(waveform) if mix else waveform, (round(part.lead * SAMPLE_RATE), SAMPLE_RATE))
        sound = np.pad(sound, (0, -len(sound) % CHUNK))
        samples = np.clip(sound * 32_768, -32_768, 32_767).astype(np.int16)
        for start in range(0, len(samples), CHUNK):
            frames.append(list(features.process_streaming(samples[start : start + CHUNK].tobytes()))[-1].reshape(-1))
        starts.append(len(frames))
    scratch = work / f"peer-{part.name}.part.npz"
    np.savez(scratch, frames=np.array(frames, np.float32), starts=np.array(starts))
    scratch.rename(path)
    return path


def read_embedded(path: Path) -> Embedded:
    with np.load(path) as file:
        return Embedded(file["frames"], file["starts"])


# -- stock models ----------------------------------------------------------------------------------------------------
def evaluate_stock_models(stream: Embedded, hours: float) -> dict[str, Any]:
    """Return the false alarms of each stock model on a stream."""
    from pyopen_wakeword import Model, OpenWakeWord

    found = {}
    for name in STOCK:
        head = OpenWakeWord.from_builtin(Model(name))
        values = [max(head.process_streaming(frame[None, None, None]), default=0.0) for frame in stream.frames]
        recording = ScoredRecording(name, Scores(np.array(values), STEP, STEP), hours=hours)
        metrics = DetectionEvaluation([recording]).evaluate_at(Trigger(THRESHOLD)).to_json()
        found[name] = {key: metrics[key] for key in ("false_alarms", "hours", "false_alarms_per_hour", "intervals")}
    return found


# -- speed -----------------------------------------------------------------------------------------------------------
def measure_speed(rows: list[ClipRow], work: Path, detector: Path, repeats: int) -> dict[str, Any]:
    """Measure CPU and memory of both sides in separate processes, alternating."""
    pieces, length = [], 0
    for row in rows:
        pieces.append(np.pad(load_waveform(row), (0, SAMPLE_RATE)))
        length += len(pieces[-1])
        if length > MEASURED_SECONDS * SAMPLE_RATE:
            break
    audio, samples = work / "sound.npy", np.concatenate(pieces)[: round(MEASURED_SECONDS * SAMPLE_RATE)]
    np.save(audio, np.clip(samples * 32_768, -32_768, 32_767).astype(np.int16))
    sides = {"speechxfer": str(detector), "openWakeWord": STOCK[0]}
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, model in sides.items():
            command = [sys.executable, str(Path(__file__).with_name("_wakeword_play.py")), side, str(audio), model]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured[side].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        "sound_seconds": round(len(samples) / SAMPLE_RATE, 1),
        **{
            side: {name: spread([one[name] for one in found], 1) for name in ("cpu_seconds_an_hour", "peak_memory_mb")}
            for side, found in measured.items()
        },
    }


# -- their embedding, a head on the same clips ----------------------------------------------------------------------
Windows = list[tuple[Embedded, np.ndarray]]  # parts, and chunks that end a window


def train_head(good: Windows, bad: Windows, epochs: int = 10) -> Callable[[np.ndarray], np.ndarray]:
    """Train openWakeWord's head: 1536 -> 128 -> 128 -> 1, with layer norms; return its scoring function."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    size = WINDOW * good[0][0].frames.shape[1]
    layers = [nn.Linear(size, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 128), nn.LayerNorm(128), nn.ReLU()]
    head = nn.Sequential(*layers, nn.Linear(128, 1))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3, weight_decay=1e-4)
    positives = np.concatenate([part.take_windows(ends) for part, ends in good])
    negatives = np.concatenate([np.stack([np.full(len(ends), i), ends], 1) for i, (_, ends) in enumerate(bad)])
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(negatives))
        for start in range(0, len(order), 1024):
            chosen = negatives[order[start : start + 1024]]
            others = [bad[i][0].take_windows(chosen[chosen[:, 0] == i, 1]) for i in np.unique(chosen[:, 0])]
            batch = np.concatenate([positives[rng.integers(len(positives), size=256)], *others])
            targets = (torch.arange(len(batch)) < 256).float()
            loss = nn.functional.binary_cross_entropy_with_logits(head(torch.from_numpy(batch))[:, 0], targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def score(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.sigmoid(head(torch.from_numpy(np.ascontiguousarray(inputs)))[:, 0].double()).numpy()

    return score


def evaluate_head(word: str, words: dict[str, Path], speech: dict[str, Path], rows: dict[str, list[ClipRow]]) -> Any:
    """Train a head for one word and evaluate it on the test fold, at the thresholds of 0 and of 1 false alarm.

    words, speech: embedded parts by condition. rows: of the parts, by name.
    """
    good: Windows = []
    bad: Windows = []
    spans = [
        find_speech_bounds(compute_mel_energies(load_waveform(row))) if row["label"] == word else (0, 0)
        for row in rows["words"]
    ]
    for condition in CONDITIONS:
        clips, others = read_embedded(words[condition]), read_embedded(speech[condition])
        for place, row in enumerate(rows["words"]):
            if row["in_test"]:
                continue
            ends = clips.window_ends(place)
            if row["label"] != word:
                bad.append((clips, ends))
                continue
            known, last = (ends - clips.starts[place] + 1) * STEP, LEAD + spans[place][1] / 100
            good.append((clips, ends[(known >= last) & (known <= last + 0.4)]))
            bad.append((clips, ends[known < last - 0.5]))
        bad += [(others, others.window_ends(i)) for i, row in enumerate(rows[condition]) if not row["in_test"]]
    score = train_head(good, merge_parts(bad))
    result: dict[str, Any] = {}
    for condition in CONDITIONS:
        clips, others = read_embedded(words[condition]), read_embedded(speech[condition])
        recordings = []
        for place, row in enumerate(rows["words"]):
            if row["in_test"] and row["label"] == word:
                length, end = len(load_waveform(row)) / SAMPLE_RATE, spans[place][1] / 100
                ends = clips.window_ends(place)
                scores = Scores(score(clips.take_windows(ends)), STEP, (ends[0] - clips.starts[place] + 1) * STEP)
                recordings.append(ScoredRecording(str(place), scores, (LabelledWord(LEAD, LEAD + length, LEAD + end),)))
        test_rows = [i for i, row in enumerate(rows[condition]) if row["in_test"]]
        hours = sum(len(load_waveform(rows[condition][i])) for i in test_rows) / SAMPLE_RATE / 3600
        values = np.concatenate([score(others.take_windows(others.window_ends(i))) for i in test_rows])
        evaluation = DetectionEvaluation(
            [*recordings, ScoredRecording("stream", Scores(values, STEP, STEP), hours=hours)]
        )
        result[condition] = {
            f"at_{alarms}_alarms": evaluation.evaluate_at(
                Trigger(evaluation.find_threshold(alarms, Trigger(0.0)))
            ).to_json()
            for alarms in (0, 1)
        }
    return result


def merge_parts(windows: Windows) -> Windows:
    """Merge the entries of each part."""
    parts = {id(part): part for part, _ in windows}
    return [(part, np.concatenate([ends for p, ends in windows if p is part])) for part in parts.values()]


def evaluate_ours(word: str, work: Path) -> dict[str, Any] | None:
    """Return the results of our detector of the test fold, if it was trained."""
    path = work / f"{word}-{TEST_FOLD}.npz"
    if not path.is_file():
        return None
    conditions = evaluate_pooled([path])["conditions"]
    return {name: {at: rows[at] for at in ("at_0_alarms", "at_1_alarms")} for name, rows in conditions.items()}


def average_misses(found: dict[str, Any]) -> dict[str, Any]:
    """Return the mean miss rate over the words."""
    return {
        condition: {
            at: round(float(np.mean([word[condition][at]["miss_rate"] for word in found.values()])), 4)
            for at in ("at_0_alarms", "at_1_alarms")
        }
        for condition in CONDITIONS
        if found
    }


def make_parts(words: list[ClipRow], speech: list[ClipRow]) -> tuple[list[Part], dict[str, list[ClipRow]]]:
    """Return the parts to embed, the longest first, and their rows by condition, those of the words under `words`."""
    words = [{**row, "in_test": assign_fold(row) == TEST_FOLD} for row in words]
    folds = assign_speaker_folds(speech)
    speech = [{**row, "in_test": folds[str(row["speaker"])] == TEST_FOLD} for row in speech]
    speech = [row for row in speech if not row["in_test"]] + [row for row in speech if row["in_test"]]
    few = [row for i, row in enumerate(speech) if row["in_test"] or i % MIXED_EVERY == 0]
    rows = {CONDITIONS[0]: speech, CONDITIONS[1]: few, CONDITIONS[2]: few, "words": words}
    voices = {in_test: [row for row in speech if row["in_test"] == in_test] for in_test in (False, True)}
    parts = [Part(f"speech-{i}", rows[condition], condition, voices) for i, condition in enumerate(CONDITIONS)]
    parts += [Part(f"words-{i}", words, condition, voices, LEAD) for i, condition in enumerate(CONDITIONS)]
    return parts, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with wakewords/ and speechocean762/")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of the detectors of scripts/bench/wakeword_folds.py"
    )
    parser.add_argument(
        "--words", nargs="*", default=WORDS, help="words of the head on the embedding; empty to skip it"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timings of each side")
    parser.add_argument("--jobs", type=int, default=1, help="processes that embed and train, with one thread each")
    parser.add_argument(
        "--every", type=int, default=1, help="use one in this many rows of both corpora, for a quick test"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    given = parser.parse_args()
    rows = read_rows(given.corpora / "speechocean762/train.csv")[:: given.every]
    clips = read_rows(given.corpora / "wakewords/train.csv")[:: given.every]
    detectors = sorted(path.parent for path in given.work.glob("*/manifest.json"))
    if not detectors:
        raise UserError("contains no detector", where=str(given.work), fix="run scripts/bench/wakeword_folds.py first")
    timings = measure_speed(rows, given.work, detectors[0], given.repeats)
    parts, part_rows = make_parts(clips, rows)
    needed = parts if given.words else parts[:1]
    with ProcessPoolExecutor(given.jobs) as pool:
        files = pool.map(embed, needed, [given.work] * len(needed))
        embedded_files = {part.name: file for part, file in zip(needed, files, strict=True)}
        hours = sum(len(load_waveform(row)) for row in rows) / SAMPLE_RATE / 3600
        alarms = evaluate_stock_models(read_embedded(embedded_files["speech-0"]), hours)
        embedded = [
            {
                condition: embedded_files[f"{name}-{i}"]
                for i, condition in enumerate(CONDITIONS)
                if f"{name}-{i}" in embedded_files
            }
            for name in ("words", "speech")
        ]
        jobs = {word: pool.submit(evaluate_head, word, *embedded, part_rows) for word in given.words}
        heads = {word: job.result() for word, job in jobs.items()}
    ours = {word: found for word in given.words if (found := evaluate_ours(word, given.work)) is not None}
    write(
        {
            "command": "python scripts/bench/wakeword_peers.py --corpora $SPEECHXFER_CORPORA --work runs/folds",
            "machine": machine(),
            "versions": versions("onnxruntime", "pyopen-wakeword"),
            "every": given.every,
            "stock": {"threshold": THRESHOLD, "models": alarms},
            "upper_bounds_per_hour": {f"{k} alarms": round(poisson_upper(k) / hours, 2) for k in (0, 1)},
            "speed": timings,
            "fold_heard": f"{TEST_FOLD + 1} of 5",
            "mean_miss_rate": {"head on their embedding": average_misses(heads), "speechxfer": average_misses(ours)},
            "words": {"head on their embedding": heads, "speechxfer": ours},
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
