"""Our detector beside openWakeWord's (the package pyopen-wakeword), on the same streams, by the same evaluator.

    pip install pyopen-wakeword
    python scripts/bench/wakeword_peers.py --corpora ~/corpora --work runs/folds --jobs 2 --json FILE

- CPU seconds and peak memory for an hour of sound: ten minutes of it, on one core each, in a process that loads nothing
  else, alternating, with nothing beside it.
- Alarms of the stock models `alexa` and `hey_jarvis` on all of speechocean762, at their usual threshold of 0.5. No
  recording of those words is here, so nothing is said of their misses.
- Misses: a head as openWakeWord trains it (16 embeddings of 80 ms, two layers of 128) on its frozen embedding. To save
  time one fold of the five of scripts/bench/wakeword_folds.py is heard, and its detectors, which lie in --work, are
  counted on the same fold. The head trains on all recordings of the other folds, each as recorded, with noise and with
  babble, and on their speech as recorded, a quarter of it with noise and with babble too. Ours mixes anew at every
  step, which a frozen embedding cannot afford.
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
from wakeword_folds import CONDITIONS, WORDS, fold_of, mix_of, pooled, speaker_folds

from speechxfer.data.audio import load_waveform
from speechxfer.errors import UserError
from speechxfer.scoring.statistics import poisson_upper
from speechxfer.wakeword.data.clips import Row, find_speech_bounds, read_rows
from speechxfer.wakeword.evaluation.metrics import DetectionEvaluation, ScoredRecording
from speechxfer.wakeword.runtime.events import LabelledWord, Scores, Trigger
from speechxfer.wakeword.runtime.features import SAMPLE_RATE, compute_mel_energies

STOCK = ("alexa", "hey_jarvis")
CHUNK = 1_280  # samples: openWakeWord's step of 80 ms
STEP = CHUNK / SAMPLE_RATE
WINDOW = 16  # embeddings that its head sees: 1.28 s
LEAD = 1.28  # s of silence before a clip of the word; with the second after the last one, all that a score depends on
MEASURED = 600.0  # s of sound for CPU and memory
THRESHOLD = 0.5
HEARD = 0  # the fold
SHARE = 4  # of the training speech one row in so many is mixed


# -- embeddings ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Part:
    """Rows to embed one after another under one condition, each with `lead` s of silence before and 1 s after.

    voices: rows that babble is made of, by whether they are of the fold that is heard.
    """

    name: str
    rows: list[Row]
    condition: str
    voices: dict[bool, list[Row]]
    lead: float = 0.0


@dataclass
class Embedded:
    """frames: (chunks, 96) of a whole part. starts: (rows + 1,) the chunk at which each row begins, its silence too."""

    frames: np.ndarray
    starts: np.ndarray

    def ends_of(self, row: int) -> np.ndarray:
        """The chunks of a row that have a whole window before them."""
        return np.arange(max(self.starts[row], WINDOW - 1), self.starts[row + 1])

    def windows(self, ends: np.ndarray) -> np.ndarray:
        """(windows, 16 * 96): each chunk with the 15 before it."""
        return self.frames[ends[:, None] + np.arange(1 - WINDOW, 1)].reshape(len(ends), -1)


def embed(part: Part, work: Path) -> Path:
    """openWakeWord's embedding of every 80 ms of a part, a stream with one state; kept in `work`."""
    kept = work / f"peer-{part.name}.npz"
    if kept.is_file():
        return kept
    from pyopen_wakeword import OpenWakeWordFeatures

    features = OpenWakeWordFeatures.from_builtin()
    list(features.process_streaming(bytes(2 * CHUNK)))  # the first chunk brings those of the silence it starts with too
    rng = np.random.default_rng([11, len(part.rows), CONDITIONS.index(part.condition)])
    mixes = {heard: mix_of(part.condition, voices, rng) for heard, voices in part.voices.items()}
    frames, starts = [], [0]
    for row in part.rows:
        waveform = load_waveform(row)
        mix = mixes[bool(row["heard"])]
        sound = np.pad(mix(waveform) if mix else waveform, (round(part.lead * SAMPLE_RATE), SAMPLE_RATE))
        sound = np.pad(sound, (0, -len(sound) % CHUNK))
        samples = np.clip(sound * 32_768, -32_768, 32_767).astype(np.int16)
        for start in range(0, len(samples), CHUNK):
            frames.append(list(features.process_streaming(samples[start : start + CHUNK].tobytes()))[-1].reshape(-1))
        starts.append(len(frames))
    scratch = work / f"peer-{part.name}.part.npz"
    np.savez(scratch, frames=np.array(frames, np.float32), starts=np.array(starts))
    scratch.rename(kept)
    return kept


def opened(path: Path) -> Embedded:
    with np.load(path) as file:
        return Embedded(file["frames"], file["starts"])


# -- stock models ----------------------------------------------------------------------------------------------------
def stock_alarms(stream: Embedded, hours: float) -> dict[str, Any]:
    """Alarms of every stock model on the stream."""
    from pyopen_wakeword import Model, OpenWakeWord

    found = {}
    for name in STOCK:
        head = OpenWakeWord.from_builtin(Model(name))
        values = [max(head.process_streaming(frame[None, None, None]), default=0.0) for frame in stream.frames]
        heard = ScoredRecording(name, Scores(np.array(values), STEP, STEP), hours=hours)
        at = DetectionEvaluation([heard]).evaluate_at(Trigger(THRESHOLD)).to_json()
        found[name] = {key: at[key] for key in ("false_alarms", "hours", "false_alarms_per_hour", "intervals")}
    return found


# -- speed -----------------------------------------------------------------------------------------------------------
def speed(rows: list[Row], work: Path, detector: Path, repeats: int) -> dict[str, Any]:
    pieces, length = [], 0
    for row in rows:
        pieces.append(np.pad(load_waveform(row), (0, SAMPLE_RATE)))
        length += len(pieces[-1])
        if length > MEASURED * SAMPLE_RATE:
            break
    sound, samples = work / "sound.npy", np.concatenate(pieces)[: round(MEASURED * SAMPLE_RATE)]
    np.save(sound, np.clip(samples * 32_768, -32_768, 32_767).astype(np.int16))
    sides = {"speechxfer": str(detector), "openWakeWord": STOCK[0]}
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, what in sides.items():
            command = [sys.executable, str(Path(__file__).with_name("_wakeword_play.py")), side, str(sound), what]
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
Windows = list[tuple[Embedded, np.ndarray]]  # chunks of a part that end a window


def train_head(good: Windows, bad: Windows, epochs: int = 10) -> Callable[[np.ndarray], np.ndarray]:
    """openWakeWord's own shape of head: 1536 -> 128 -> 128 -> 1, with layer norms."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    size = WINDOW * good[0][0].frames.shape[1]
    layers = [nn.Linear(size, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 128), nn.LayerNorm(128), nn.ReLU()]
    head = nn.Sequential(*layers, nn.Linear(128, 1))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3, weight_decay=1e-4)
    positives = np.concatenate([part.windows(ends) for part, ends in good])
    negatives = np.concatenate([np.stack([np.full(len(ends), i), ends], 1) for i, (_, ends) in enumerate(bad)])
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(negatives))
        for start in range(0, len(order), 1024):
            chosen = negatives[order[start : start + 1024]]
            apart = [bad[i][0].windows(chosen[chosen[:, 0] == i, 1]) for i in np.unique(chosen[:, 0])]
            both = np.concatenate([positives[rng.integers(len(positives), size=256)], *apart])
            wanted = (torch.arange(len(both)) < 256).float()
            loss = nn.functional.binary_cross_entropy_with_logits(head(torch.from_numpy(both))[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def score(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.sigmoid(head(torch.from_numpy(np.ascontiguousarray(inputs)))[:, 0].double()).numpy()

    return score


def head_on_embedding(word: str, words: dict[str, Path], speech: dict[str, Path], rows: dict[str, list[Row]]) -> Any:
    """Misses of one word in the fold that is heard, at the thresholds of no alarm and of one.

    words, speech: the embedded parts by condition; rows: theirs, by the part's name.
    """
    good: Windows = []
    bad: Windows = []
    spans = [
        find_speech_bounds(compute_mel_energies(load_waveform(row))) if row["label"] == word else (0, 0)
        for row in rows["words"]
    ]
    for condition in CONDITIONS:
        clips, others = opened(words[condition]), opened(speech[condition])
        for place, row in enumerate(rows["words"]):
            if row["heard"]:
                continue
            ends = clips.ends_of(place)
            if row["label"] != word:
                bad.append((clips, ends))
                continue
            known, last = (ends - clips.starts[place] + 1) * STEP, LEAD + spans[place][1] / 100
            good.append((clips, ends[(known >= last) & (known <= last + 0.4)]))
            bad.append((clips, ends[known < last - 0.5]))
        bad += [(others, others.ends_of(i)) for i, row in enumerate(rows[condition]) if not row["heard"]]
    score = train_head(good, merged(bad))
    result: dict[str, Any] = {}
    for condition in CONDITIONS:
        clips, others = opened(words[condition]), opened(speech[condition])
        heard = []
        for place, row in enumerate(rows["words"]):
            if row["heard"] and row["label"] == word:
                length, end = len(load_waveform(row)) / SAMPLE_RATE, spans[place][1] / 100
                ends = clips.ends_of(place)
                scores = Scores(score(clips.windows(ends)), STEP, (ends[0] - clips.starts[place] + 1) * STEP)
                heard.append(ScoredRecording(str(place), scores, (LabelledWord(LEAD, LEAD + length, LEAD + end),)))
        of_fold = [i for i, row in enumerate(rows[condition]) if row["heard"]]
        hours = sum(len(load_waveform(rows[condition][i])) for i in of_fold) / SAMPLE_RATE / 3600
        values = np.concatenate([score(others.windows(others.ends_of(i))) for i in of_fold])
        evaluation = DetectionEvaluation([*heard, ScoredRecording("stream", Scores(values, STEP, STEP), hours=hours)])
        result[condition] = {
            f"at_{alarms}_alarms": evaluation.evaluate_at(
                Trigger(evaluation.find_threshold(alarms, Trigger(0.0)))
            ).to_json()
            for alarms in (0, 1)
        }
    return result


def merged(windows: Windows) -> Windows:
    """The same, one entry a part."""
    parts = {id(part): part for part, _ in windows}
    return [(part, np.concatenate([ends for p, ends in windows if p is part])) for part in parts.values()]


def of_ours(word: str, work: Path) -> dict[str, Any] | None:
    """The same of our detector of that fold, where it was trained."""
    kept = work / f"{word}-{HEARD}.npz"
    if not kept.is_file():
        return None
    conditions = pooled([kept])["conditions"]
    return {name: {at: of[at] for at in ("at_0_alarms", "at_1_alarms")} for name, of in conditions.items()}


def misses(found: dict[str, Any]) -> dict[str, Any]:
    """The mean over the words, of the words that both sides heard."""
    return {
        condition: {
            at: round(float(np.mean([of[condition][at]["miss_rate"] for of in found.values()])), 4)
            for at in ("at_0_alarms", "at_1_alarms")
        }
        for condition in CONDITIONS
        if found
    }


def make_partial_word_negatives(words: list[Row], speech: list[Row]) -> tuple[list[Part], dict[str, list[Row]]]:
    """What is embedded, the longest first, and the rows by part: of the speech, all as recorded."""
    words = [{**row, "heard": fold_of(row) == HEARD} for row in words]
    folds = speaker_folds(speech)
    speech = [{**row, "heard": folds[str(row["speaker"])] == HEARD} for row in speech]
    speech = [row for row in speech if not row["heard"]] + [row for row in speech if row["heard"]]
    few = [row for i, row in enumerate(speech) if row["heard"] or i % SHARE == 0]
    rows = {CONDITIONS[0]: speech, CONDITIONS[1]: few, CONDITIONS[2]: few, "words": words}
    voices = {heard: [row for row in speech if row["heard"] == heard] for heard in (False, True)}
    parts = [Part(f"speech-{i}", rows[condition], condition, voices) for i, condition in enumerate(CONDITIONS)]
    parts += [Part(f"words-{i}", words, condition, voices, LEAD) for i, condition in enumerate(CONDITIONS)]
    return parts, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="holds wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="where scripts/bench/wakeword_folds.py left detectors")
    parser.add_argument("--words", nargs="*", default=WORDS, help="for the head on their embedding; none: leave it out")
    parser.add_argument("--repeats", type=int, default=3, help="of the timing, of each side")
    parser.add_argument("--jobs", type=int, default=1, help="processes that embed and train, each on one thread")
    parser.add_argument("--every", type=int, default=1, help="one row in so many of both corpora, to try it out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    rows = read_rows(given.corpora / "speechocean762/train.csv")[:: given.every]
    clips = read_rows(given.corpora / "wakewords/train.csv")[:: given.every]
    detectors = sorted(path.parent for path in given.work.glob("*/manifest.json"))
    if not detectors:
        raise UserError("holds no detector", where=str(given.work), fix="run scripts/bench/wakeword_folds.py first")
    timed = speed(rows, given.work, detectors[0], given.repeats)
    parts, of_parts = make_partial_word_negatives(clips, rows)
    needed = parts if given.words else parts[:1]
    with ProcessPoolExecutor(given.jobs) as pool:
        files = pool.map(embed, needed, [given.work] * len(needed))
        kept = {part.name: file for part, file in zip(needed, files, strict=True)}
        hours = sum(len(load_waveform(row)) for row in rows) / SAMPLE_RATE / 3600
        alarms = stock_alarms(opened(kept["speech-0"]), hours)
        embedded = [
            {condition: kept[f"{name}-{i}"] for i, condition in enumerate(CONDITIONS) if f"{name}-{i}" in kept}
            for name in ("words", "speech")
        ]
        jobs = {word: pool.submit(head_on_embedding, word, *embedded, of_parts) for word in given.words}
        heads = {word: job.result() for word, job in jobs.items()}
    ours = {word: found for word in given.words if (found := of_ours(word, given.work)) is not None}
    write(
        {
            "command": "python scripts/bench/wakeword_peers.py --corpora $SPEECHXFER_CORPORA --work runs/folds",
            "machine": machine(),
            "versions": versions("onnxruntime", "pyopen-wakeword"),
            "every": given.every,
            "stock": {"threshold": THRESHOLD, "models": alarms},
            "upper_bounds_per_hour": {f"{k} alarms": round(poisson_upper(k) / hours, 2) for k in (0, 1)},
            "speed": timed,
            "fold_heard": f"{HEARD + 1} of 5",
            "mean_miss_rate": {"head on their embedding": misses(heads), "speechxfer": misses(ours)},
            "words": {"head on their embedding": heads, "speechxfer": ours},
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
