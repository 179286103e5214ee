"""Wake words by five folds: every recording and every speaker is heard by a detector that never saw them.

    python scripts/bench/wakeword_folds.py --corpora ~/corpora --work runs/wakeword-folds --jobs 2 \
        --json recipes/results/wakeword-folds.json

Words: wakewords/train.csv, folds by a hash of the file's name (its speakers are not named, so one person may stand in
two folds). Other speech: speechocean762/train.csv, folds over speakers. A detector is trained as `speechxfer wakeword
train` does it, on four folds of the word, of the other two words and of the speech; what it hears of the fifth fold is
kept in --work, so that a run that was stopped goes on. Then all five are pooled at one threshold.

Conditions: as recorded; with made-up noise; with babble of five speakers of the fifth fold. The ratio of 10 dB is of
mean powers over the whole clip, pauses included; the stream is mixed like the clips. Alarms are counted on the speech.

Whether a detector keys on the channel: alarms on the other two words' recordings of the fifth fold, which come from the
same source, and on the fifth fold's own recordings with the word cut out.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import machine, run, versions, write

from speechxfer.data.audio import load_waveform
from speechxfer.data.augment import add_babble, add_noise
from speechxfer.data.tables import write_table
from speechxfer.report.progress import Reporter
from speechxfer.scoring.statistics import poisson_upper
from speechxfer.wakeword.data.clips import Row, find_speech_bounds, hash_to_share, read_rows
from speechxfer.wakeword.evaluation.metrics import DetectionEvaluation, ScoredRecording
from speechxfer.wakeword.evaluation.streams import MixFunction, score_clip, score_waveforms
from speechxfer.wakeword.runtime.detector import DETECTOR_ONNX_FILE, Scorer, open_artifact
from speechxfer.wakeword.runtime.events import LabelledWord, Scores, Trigger, smooth_scores
from speechxfer.wakeword.runtime.features import compute_mel_energies
from speechxfer.wakeword.settings import WakeWordSettings
from speechxfer.wakeword.training.loop import MINING_SMOOTHING
from speechxfer.wakeword.training.train import train_detector

FOLDS = 5
WORDS = ("computer", "jarvis", "snowboy")
SNR = 10.0  # dB
VOICES = 5  # in the babble
CONDITIONS = ("as recorded", "noise at 10 dB", "babble at 10 dB")
CHANNEL = ("other words", "without the word")


def fold_of(row: Row) -> int:
    """By the file's name alone."""
    return int(hash_to_share(Path(str(row["audio"])).name) * FOLDS)


def speaker_folds(rows: list[Row]) -> dict[str, int]:
    return {speaker: place % FOLDS for place, speaker in enumerate(sorted({str(row["speaker"]) for row in rows}))}


def babble(rows: list[Row], rng: np.random.Generator) -> MixFunction:
    """A mix with as many voices as `VOICES`."""
    return partial(add_babble, voices=[load_waveform(row) for row in rows], snr=SNR, rng=rng, count=VOICES)


def mix_of(condition: str, voices: list[Row], rng: np.random.Generator) -> MixFunction | None:
    """What a condition mixes with a clip; voices: rows that babble is made of."""
    if condition == CONDITIONS[0]:
        return None
    return partial(add_noise, snr=SNR, rng=rng) if condition == CONDITIONS[1] else babble(voices, rng)


def table(path: Path, rows: list[Row], *columns: str) -> str:
    """Rows as a table that `wakeword train` reads from anywhere; its name."""
    write_table(path, [{**row, "audio": row["path"]} for row in rows], columns)
    return str(path)


def keep(kept: Path, found: dict[str, np.ndarray], facts: dict[str, Any]) -> Path:
    """Write what `hear` gave: whole, or not at all."""
    part = kept.with_suffix(".part.npz")
    np.savez(part, **found, facts=np.array(json.dumps(facts)))
    return part.rename(kept)


def without_word(waveform: np.ndarray) -> np.ndarray:
    """The clip's sound before and after the word, and 0.1 s further away, to be sure."""
    start, end = find_speech_bounds(compute_mel_energies(waveform))
    return np.concatenate([waveform[: max(0, start - 10) * 160], waveform[(end + 10) * 160 :]])


def train_and_hear(word: str, fold: int, corpora: Path, work: Path, steps: int | None) -> Path:
    """Train on the other folds, hear this one: a file of scores in `work`."""
    import torch

    torch.set_num_threads(1)
    kept = work / f"{word}-{fold}.npz"
    if kept.is_file():
        return kept
    words, speech = read_rows(corpora / "wakewords/train.csv"), read_rows(corpora / "speechocean762/train.csv")
    folds = speaker_folds(speech)
    folder = work / f"{word}-{fold}"
    apart = [r for r in speech if folds[str(r["speaker"])] != fold]
    given: dict[str, Any] = {
        "positives": table(
            work / f"{word}-{fold}-positives.csv", [r for r in words if fold_of(r) != fold], "audio", "label"
        ),
        "negatives": table(work / f"{word}-{fold}-negatives.csv", apart, "audio", "text", "speaker"),
        "voices": "none",  # whatever is installed here
    }
    if steps is not None:
        given["steps"] = steps
    began = time.process_time()
    train_detector(WakeWordSettings(word=word, output=folder, overwrite=True, **given), Reporter(quiet=True))
    seconds = time.process_time() - began
    of_word = [r for r in words if fold_of(r) == fold and r["label"] == word]
    others = [r for r in words if fold_of(r) == fold and r["label"] != word]
    stream = [r for r in speech if folds[str(r["speaker"])] == fold]
    found, facts = hear(folder, of_word, others, stream, np.random.default_rng([fold, 7]))
    return keep(kept, found, {**facts, "cpu_seconds": seconds})


def hear(
    folder: Path, of_word: list[Row], others: list[Row], stream: list[Row], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Scores of a detector, by condition and recording, and what is needed to count them."""
    artifact = open_artifact(folder)
    scorer = Scorer(folder / DETECTOR_ONNX_FILE)
    mixes = {condition: mix_of(condition, stream, rng) for condition in CONDITIONS}
    found: dict[str, np.ndarray] = {}
    clips: list[dict[str, Any]] = []
    hours = 0.0
    for condition, mix in mixes.items():
        heard = [score_clip(scorer, load_waveform(row), str(row["audio"]), mix=mix) for row in of_word]
        clips = [{"name": h.name, "words": [(w.start, w.until, w.end) for w in h.words]} for h in heard]
        found |= {f"{condition}/{place}": h.scores.values for place, h in enumerate(heard)}
        sounds = score_waveforms(
            scorer, (mix(load_waveform(row)) if mix else load_waveform(row) for row in stream), "stream"
        )
        found[f"{condition}/stream"] = sounds.scores.values
        hours = sounds.hours
    channel = {
        "other words": map(load_waveform, others),
        "without the word": (without_word(load_waveform(row)) for row in of_word),
    }
    beside = {name: score_waveforms(scorer, sounds, name) for name, sounds in channel.items()}
    found |= {f"{name}/stream": heard.scores.values for name, heard in beside.items()}
    trigger = artifact.trigger
    return found, {
        "clips": clips,
        "hours": hours,
        "first": scorer.first,
        "step": scorer.step,
        "trigger": [trigger.threshold, trigger.smoothing, trigger.refractory],
        "channel_hours": {name: heard.hours for name, heard in beside.items()},
    }


def smoothed(kept: dict[str, Any], name: str, facts: dict[str, Any]) -> Scores:
    """A fold's scores, smoothed as every fold's: detectors that share a threshold must share the scores' scale."""
    return Scores(smooth_scores(kept[name], MINING_SMOOTHING), facts["step"], facts["first"])


def pooled(files: list[Path]) -> dict[str, Any]:
    """Of one word's folds: misses and alarms by condition at the thresholds of no alarm and of one; the channel."""
    folds = []
    for path in files:
        with np.load(path) as file:
            folds.append((dict(file), json.loads(str(file["facts"]))))
    result: dict[str, Any] = {"conditions": {}, "cpu_minutes_of_training": []}
    result["cpu_minutes_of_training"] = [round(facts["cpu_seconds"] / 60, 1) for _, facts in folds]
    plain = Trigger(0.0, refractory=max(facts["trigger"][2] for _, facts in folds))
    evaluations = {}
    for condition in CONDITIONS:
        heard = []
        for kept, facts in folds:
            for place, clip in enumerate(facts["clips"]):
                words = tuple(LabelledWord(*word) for word in clip["words"])
                heard.append(ScoredRecording(clip["name"], smoothed(kept, f"{condition}/{place}", facts), words))
            scores = smoothed(kept, f"{condition}/stream", facts)
            heard.append(ScoredRecording("stream", scores, hours=facts["hours"]))
        evaluations[condition] = DetectionEvaluation(heard)
    clean = {alarms: evaluations[CONDITIONS[0]].find_threshold(alarms, plain) for alarms in (0, 1)}
    for condition, evaluation in evaluations.items():
        rows: dict[str, Any] = {}
        for alarms in (0, 1):
            own = replace(plain, threshold=evaluation.find_threshold(alarms, plain))
            rows[f"at_{alarms}_alarms"] = evaluation.evaluate_at(own).to_json()
            rows[f"at_the_threshold_of_{alarms}_alarms_as_recorded"] = evaluation.evaluate_at(
                replace(plain, threshold=clean[alarms])
            ).to_json()
        rows["curve"] = [
            {name: row[name] for name in ("threshold", "misses", "false_alarms")}
            for row in evaluation.make_det_curve(plain, 60)
        ]
        result["conditions"][condition] = rows
    result["as_calibrated"] = calibrated(folds)
    result["channel"] = channel(folds, plain, clean)
    return result


def calibrated(folds: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Each detector at the threshold that its own training chose, without having heard the fold."""
    found: dict[str, Any] = {}
    for condition in CONDITIONS:
        misses = words = alarms = 0
        for kept, facts in folds:
            trigger = Trigger(*facts["trigger"])
            heard = [
                ScoredRecording(c["name"], Scores(kept[f"{condition}/{i}"], facts["step"], facts["first"]),
                      tuple(LabelledWord(*word) for word in c["words"]))
                for i, c in enumerate(facts["clips"])
            ]  # fmt: skip
            scores = Scores(kept[f"{condition}/stream"], facts["step"], facts["first"])
            at = DetectionEvaluation([*heard, ScoredRecording("stream", scores, hours=facts["hours"])]).evaluate_at(
                trigger
            )
            misses, words, alarms = misses + at.misses, words + at.words, alarms + at.false_alarms
        found[condition] = {"misses": misses, "positives": words, "false_alarms": alarms}
    return found


def channel(
    folds: list[tuple[dict[str, Any], dict[str, Any]]], plain: Trigger, clean: dict[int, float]
) -> dict[str, Any]:
    """Alarms on sound from where the word's recordings come from, at the thresholds of the speech as recorded."""
    found: dict[str, Any] = {}
    for name in CHANNEL:
        heard = [
            ScoredRecording(name, smoothed(kept, f"{name}/stream", facts), hours=facts["channel_hours"][name])
            for kept, facts in folds
        ]
        hours = round(sum(h.hours for h in heard), 3)
        alarms = {
            f"alarms_at_the_threshold_of_{k}": DetectionEvaluation(heard)
            .evaluate_at(replace(plain, threshold=t))
            .false_alarms
            for k, t in clean.items()
        }
        found[name] = {"hours": hours, **alarms}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="holds wakewords/ and speechocean762/")
    parser.add_argument("--work", type=Path, required=True, help="detectors and scores, kept for the next run")
    parser.add_argument("--words", nargs="+", default=WORDS, help="which of the three")
    parser.add_argument("--steps", type=int, help="of training, else as `wakeword train` has it")
    parser.add_argument("--jobs", type=int, default=1, help="detectors trained at once, each on one thread")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    tasks = [(word, fold) for word in given.words for fold in range(FOLDS)]
    with ProcessPoolExecutor(given.jobs) as pool:
        started = [pool.submit(train_and_hear, *task, given.corpora, given.work, given.steps) for task in tasks]
        files = {task: job.result() for task, job in zip(tasks, started, strict=True)}
    found = {word: pooled([files[word, fold] for fold in range(FOLDS)]) for word in given.words}
    hours = next(iter(found.values()))["conditions"][CONDITIONS[0]]["at_0_alarms"]["hours"]

    def mean(condition: str, at: str) -> float:
        return float(np.mean([of["conditions"][condition][at]["miss_rate"] for of in found.values()]))

    write(
        {
            "command": "python scripts/bench/wakeword_folds.py --corpora $SPEECHXFER_CORPORA --work runs/folds",
            "machine": machine(),
            "versions": versions("torch", "onnxruntime"),
            "folds": FOLDS,
            "steps": given.steps or WakeWordSettings.model_fields["steps"].default,
            "hours": round(hours, 3),
            "upper_bounds_per_hour": {f"{k} alarms": round(poisson_upper(k) / hours, 2) for k in (0, 1)},
            "smoothing_ms": 20 * MINING_SMOOTHING,
            "snr": f"{SNR:g} dB between mean powers over the whole clip, pauses included",
            "speakers": "the words' speakers are not named: one may stand in two folds",
            "mean_miss_rate": {
                condition: {at: round(mean(condition, at), 4) for at in ("at_0_alarms", "at_1_alarms")}
                for condition in CONDITIONS
            },
            "words": found,
        },
        given.json,
    )


if __name__ == "__main__":
    run(main)
