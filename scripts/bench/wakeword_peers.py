"""Our detector beside openWakeWord's (the package pyopen-wakeword), on the same streams, by the same evaluator.

    pip install pyopen-wakeword
    python scripts/bench/wakeword_peers.py --corpora ~/corpora --work runs/folds --json FILE

- Alarms of the stock models `alexa` and `hey_jarvis` on speechocean762, at their usual threshold of 0.5. No recording
  of those words is here, so nothing is said of their misses.
- CPU seconds and peak memory for an hour of sound, one thread each, in a process of its own, alternating.
- Misses: a head as openWakeWord trains it (16 embeddings of 80 ms, two layers of 128) on its frozen embedding, trained
  on the clips and the speech of the same folds as scripts/bench/wakeword_folds.py, whose detectors lie in --work. Clips
  are mixed with noise and babble before they are embedded; ours mixes anew at every step, which a frozen embedding
  cannot afford.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, spread, versions, write
from wakeword_folds import CONDITIONS, FOLDS, SNR, WORDS, babble, fold_of, speaker_folds

from speechxfer.data.audio import load
from speechxfer.data.augment import add_noise
from speechxfer.wakeword.clips import Row, read_rows, speech_span
from speechxfer.wakeword.detector import Detector
from speechxfer.wakeword.evaluation import Evaluation, Heard
from speechxfer.wakeword.events import Scores, Trigger, Word
from speechxfer.wakeword.features import RATE, mel_energies
from speechxfer.wakeword.intervals import poisson_upper

STOCK = ("alexa", "hey_jarvis")
CHUNK = 1_280  # samples: openWakeWord's step of 80 ms
WINDOW = 16  # embeddings that its head sees: 1.28 s
SILENCE = np.zeros(RATE, np.float32)
MEASURED = 600.0  # s of sound for CPU and memory
THRESHOLD = 0.5


class Peer:
    """openWakeWord's front end and embedding, one chunk of 80 ms after the other."""

    def __init__(self) -> None:
        from pyopen_wakeword import OpenWakeWordFeatures

        self.features = OpenWakeWordFeatures.from_builtin()

    def embeddings(self, waveform: np.ndarray) -> Iterable[np.ndarray]:
        """(1, 1, 1, 96) after every whole chunk of a stream."""
        samples = np.clip(waveform * 32_768, -32_768, 32_767).astype(np.int16)
        for start in range(0, len(samples) - CHUNK + 1, CHUNK):
            found = list(self.features.process_streaming(samples[start : start + CHUNK].tobytes()))
            yield found[-1]  # the first chunk also brings those of the silence that it starts with

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """(time,) to (chunks, 96), from a fresh start."""
        self.features.reset()
        return np.concatenate([e.reshape(1, -1) for e in self.embeddings(waveform)] or [np.zeros((0, 96), np.float32)])


def windows(embedded: np.ndarray) -> np.ndarray:
    """(chunks, 96) to (chunks, 16 * 96): each chunk with the 15 before it, zeros before the beginning."""
    padded = np.concatenate([np.zeros((WINDOW - 1, embedded.shape[1]), np.float32), embedded])
    return (
        np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=0).transpose(0, 2, 1).reshape(len(embedded), -1)
    )


# -- stock models ----------------------------------------------------------------------------------------------------
def stock_alarms(rows: list[Row]) -> dict[str, Any]:
    """Alarms of every stock model on the rows, one after another with a second of silence between."""
    from pyopen_wakeword import Model, OpenWakeWord

    peer = Peer()
    heads = {name: OpenWakeWord.from_builtin(Model(name)) for name in STOCK}
    scores: dict[str, list[float]] = {name: [] for name in STOCK}
    rest, samples = np.zeros(0, np.float32), 0
    for row in rows:
        waveform = load(row)
        samples += len(waveform)
        joined = np.concatenate([rest, waveform, SILENCE])
        whole = len(joined) - len(joined) % CHUNK
        rest = joined[whole:]
        for embedding in peer.embeddings(joined[:whole]):
            for name, head in heads.items():
                scores[name].append(max(head.process_streaming(embedding), default=0.0))
    hours = samples / RATE / 3600
    found = {}
    for name, values in scores.items():
        heard = Heard(name, Scores(np.array(values), CHUNK / RATE, CHUNK / RATE), hours=hours)
        at = Evaluation([heard]).at(Trigger(THRESHOLD))
        found[name] = {
            key: at.to_json()[key] for key in ("false_alarms", "hours", "false_alarms_per_hour", "intervals")
        }
    return found


# -- speed -----------------------------------------------------------------------------------------------------------
def play(side: str, sound: Path, detector: str) -> None:
    """What a process of its own does: hear the sound, print CPU seconds and peak memory."""
    samples = np.load(sound)
    if side == "speechxfer":
        ours = Detector(detector)

        def hear(chunk: np.ndarray) -> None:
            ours.push(chunk)
    else:
        from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

        features, head = OpenWakeWordFeatures.from_builtin(), OpenWakeWord.from_builtin(Model(STOCK[0]))

        def hear(chunk: np.ndarray) -> None:
            for embedding in features.process_streaming(chunk.tobytes()):
                list(head.process_streaming(embedding))

    hear(samples[: 20 * CHUNK])  # warm-up
    began = time.process_time()
    for start in range(20 * CHUNK, len(samples) - CHUNK, CHUNK):
        hear(samples[start : start + CHUNK])
    seconds = time.process_time() - began
    hours = (len(samples) - 21 * CHUNK) / RATE / 3600
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu_seconds_an_hour": seconds / hours, "peak_memory_mb": memory}))


def speed(rows: list[Row], work: Path, detector: Path, repeats: int) -> dict[str, Any]:
    pieces, length = [], 0
    for row in rows:
        pieces += [load(row), SILENCE]
        length += len(pieces[-2]) + RATE
        if length > MEASURED * RATE:
            break
    sound = work / "sound.npy"
    np.save(sound, np.clip(np.concatenate(pieces)[: round(MEASURED * RATE)] * 32_768, -32_768, 32_767).astype(np.int16))
    measured: dict[str, list[dict[str, float]]] = {"speechxfer": [], "openWakeWord": []}
    for _ in range(repeats):
        for side, found in measured.items():
            command = [
                sys.executable,
                __file__,
                "--corpora",
                ".",
                "--work",
                ".",
                "--play",
                side,
                str(sound),
                str(detector),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return {
        side: {name: spread([one[name] for one in found], 1) for name in ("cpu_seconds_an_hour", "peak_memory_mb")}
        for side, found in measured.items()
    }


# -- their embedding, a head on the same clips ----------------------------------------------------------------------
def train_head(positives: np.ndarray, negatives: np.ndarray, epochs: int = 12) -> Callable[[np.ndarray], np.ndarray]:
    """openWakeWord's own shape of head: 1536 -> 128 -> 128 -> 1, with layer norms. Both: (windows, 1536)."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    size = positives.shape[1]
    layers = [nn.Linear(size, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, 128), nn.LayerNorm(128), nn.ReLU()]
    head = nn.Sequential(*layers, nn.Linear(128, 1))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3, weight_decay=1e-4)
    good, bad = torch.from_numpy(positives), torch.from_numpy(negatives)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        hardest = rng.permutation(len(bad))
        for start in range(0, len(bad), 1024):
            chosen = bad[hardest[start : start + 1024]]
            both = torch.cat([good[rng.integers(len(good), size=256)], chosen])
            wanted = torch.cat([torch.ones(256), torch.zeros(len(chosen))])
            loss = nn.functional.binary_cross_entropy_with_logits(head(both)[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def score(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.sigmoid(head(torch.from_numpy(np.ascontiguousarray(inputs)))[:, 0].double()).numpy()

    return score


def embed_corpus(name: str, rows: list[Row], fold: Callable[[Row], int], work: Path) -> dict[str, list[np.ndarray]]:
    """Of every condition: each row's embeddings, a clip of the word with 2 s of silence before it. Kept in `work`.

    A row is mixed with babble of its own fold, so that no voice of a fold that is heard was trained on.
    """
    found: dict[str, list[np.ndarray]] = {}
    speech = read_rows(rows[0]["speech"]) if "speech" in rows[0] else rows
    lead = [SILENCE, SILENCE] if name == "words" else []
    for condition in CONDITIONS:
        kept = work / f"peer-{name}-{CONDITIONS.index(condition)}.npz"
        if not kept.is_file():
            peer, rng, pieces = Peer(), np.random.default_rng([11, CONDITIONS.index(condition)]), []
            for part in range(FOLDS):
                voices = [row for row in speech if fold(row) == part]
                mixes = (None, partial(add_noise, snr=SNR, rng=rng), babble(voices, rng))
                mix = dict(zip(CONDITIONS, mixes, strict=True))[condition]
                for place, row in enumerate(rows):
                    if fold(row) == part:
                        waveform = load(row)
                        sound = np.concatenate([*lead, mix(waveform) if mix else waveform, SILENCE])
                        pieces.append((place, peer.embed(sound)))
            ordered = [embedded for _, embedded in sorted(pieces, key=lambda piece: piece[0])]
            np.savez(kept, all=np.concatenate(ordered), lengths=np.array([len(e) for e in ordered]))
        with np.load(kept) as file:
            found[condition] = np.split(file["all"], np.cumsum(file["lengths"])[:-1])
    return found


def head_on_embedding(word: str, words: list[Row], speech: list[Row], of: dict[str, Any]) -> dict[str, Any]:
    """Misses of one word over all folds, at the thresholds of no alarm and of one.

    of: the embeddings of `words` and `speech` by condition, and each one's folds.
    """
    step = CHUNK / RATE
    heard: dict[str, list[Heard]] = {condition: [] for condition in CONDITIONS}
    spans = {i: speech_span(mel_energies(load(row))) for i, row in enumerate(words) if row["label"] == word}
    for fold in range(FOLDS):
        good, bad = [], []
        for condition in CONDITIONS:
            for place, row in enumerate(words):
                if of["word_folds"][place] == fold:
                    continue
                found = windows(of["words"][condition][place])
                if row["label"] != word:
                    bad.append(found)
                    continue
                ends, last = (np.arange(len(found)) + 1) * step, 2 + spans[place][1] / 100
                good.append(found[(ends >= last) & (ends <= last + 0.4)])
                bad.append(found[ends < last - 0.5])
            bad += [windows(of["speech"][condition][i]) for i, f in enumerate(of["speech_folds"]) if f != fold]
        score = train_head(np.concatenate(good).astype(np.float32), np.concatenate(bad).astype(np.float32))
        for condition, recordings in heard.items():
            for place, (_, end) in spans.items():
                if of["word_folds"][place] == fold:
                    values = score(windows(of["words"][condition][place]))
                    length = len(load(words[place])) / RATE
                    recordings.append(
                        Heard(str(place), Scores(values, step, step), (Word(2, 2 + length, 2 + end / 100),))
                    )
            stream = [of["speech"][condition][i] for i, f in enumerate(of["speech_folds"]) if f == fold]
            hours = sum(len(load(speech[i])) for i, f in enumerate(of["speech_folds"]) if f == fold) / RATE / 3600
            values = np.concatenate([score(windows(embedded)) for embedded in stream])
            recordings.append(Heard("stream", Scores(values, step, step), hours=hours))
    result: dict[str, Any] = {}
    for condition, recordings in heard.items():
        evaluation = Evaluation(recordings)
        for alarms in (0, 1):
            at = evaluation.at(Trigger(evaluation.threshold_for(alarms, Trigger(0.0))))
            result.setdefault(condition, {})[f"at_{alarms}_alarms"] = at.to_json()
    return result


def heads(chosen: list[str], corpora: Path, work: Path) -> dict[str, Any]:
    """`head_on_embedding` of every chosen word."""
    if not chosen:
        return {}
    words, speech = read_rows(corpora / "wakewords/train.csv"), read_rows(corpora / "speechocean762/train.csv")
    folds = speaker_folds(speech)

    def of_speech(row: Row) -> int:
        return folds[str(row["speaker"])] if row.get("speaker") else fold_of(row)

    named = [{**row, "speech": str(corpora / "speechocean762/train.csv")} for row in words]
    embedded = {
        "words": embed_corpus("words", named, of_speech, work),
        "speech": embed_corpus("speech", speech, of_speech, work),
        "word_folds": [fold_of(row) for row in words],
        "speech_folds": [of_speech(row) for row in speech],
    }
    return {word: head_on_embedding(word, words, speech, embedded) for word in chosen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="holds wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="where scripts/bench/wakeword_folds.py left detectors")
    parser.add_argument("--words", nargs="*", default=WORDS, help="for the head on their embedding; none: leave it out")
    parser.add_argument("--repeats", type=int, default=3, help="of the timing, of each side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--play", nargs=3, metavar=("SIDE", "SOUND", "DETECTOR"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.play:
        play(given.play[0], Path(given.play[1]), given.play[2])
        return
    rows = read_rows(given.corpora / "speechocean762/train.csv")
    detector = sorted(path.parent for path in given.work.glob("*/manifest.json"))[0]
    alarms = stock_alarms(rows)
    hours = alarms[STOCK[0]]["hours"]
    write(
        {
            "command": "python scripts/bench/wakeword_peers.py --corpora $SPEECHXFER_CORPORA --work runs/folds",
            "machine": machine(),
            "versions": versions("onnxruntime", "pyopen-wakeword"),
            "stock": {"threshold": THRESHOLD, "models": alarms},
            "upper_bounds_per_hour": {f"{k} alarms": round(poisson_upper(k) / hours, 2) for k in (0, 1)},
            "speed": speed(rows, given.work, detector, given.repeats),
            "head_on_their_embedding": heads(given.words, given.corpora, given.work),
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
