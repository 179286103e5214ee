"""Five-fold cross-validation of wake words: every recording and speaker is evaluated by a detector that never saw it.

    python scripts/bench/wakeword_folds.py --corpora ~/corpora --work runs/wakeword-folds --jobs 2 \
        --json recipes/results/wakeword-folds.json

Words: wakewords/train.csv, folds by a hash of the file name (the speakers are unknown, so one may be in two folds).
Other speech: speechocean762/train.csv, folds by speaker. A detector is trained as by `speechxfer wakeword train` on
four folds of the word, of the other two words and of the speech; its scores on the fifth fold are stored in --work,
so that an interrupted run can be resumed. Finally all five are pooled at one threshold.

Conditions: as recorded; with generated noise; with babble of five speakers of the fifth fold. The SNR of 10 dB is
between mean powers over the whole clip, pauses included; the stream is mixed like the clips. False alarms are counted
on speech.

Control for recording conditions: false alarms on the other two words' recordings of the fifth fold, which come from
the same source, and on the fifth fold's own recordings with the word cut out.
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
from speechxfer.wakeword.data.clips import ClipRow, find_speech_bounds, hash_to_share, read_rows
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
BABBLE_VOICES = 5
CONDITIONS = ("as recorded", "noise at 10 dB", "babble at 10 dB")
CHANNEL = ("other words", "without the word")


def assign_fold(row: ClipRow) -> int:
    """Return a recording's fold, by its file name."""
    return int(hash_to_share(Path(str(row["audio"])).name) * FOLDS)


def assign_speaker_folds(rows: list[ClipRow]) -> dict[str, int]:
    """Return each speaker's fold; folds have nearly equal numbers of speakers."""
    return {speaker: index % FOLDS for index, speaker in enumerate(sorted({str(row["speaker"]) for row in rows}))}


def make_babble(rows: list[ClipRow], rng: np.random.Generator) -> MixFunction:
    """Return a mix with `BABBLE_VOICES` voices."""
    return partial(add_babble, voices=[load_waveform(row) for row in rows], snr=SNR, rng=rng, count=BABBLE_VOICES)


def make_mix(condition: str, voices: list[ClipRow], rng: np.random.Generator) -> MixFunction | None:
    """Return the mix of a condition, None for clean. voices: rows that babble is made of."""
    if condition == CONDITIONS[0]:
        return None
    return partial(add_noise, snr=SNR, rng=rng) if condition == CONDITIONS[1] else make_babble(voices, rng)


def write_rows(path: Path, rows: list[ClipRow], *columns: str) -> str:
    """Write rows as a table with absolute paths; return its name."""
    write_table(path, [{**row, "audio": row["path"]} for row in rows], columns)
    return str(path)


def write_scores(path: Path, scores: dict[str, np.ndarray], facts: dict[str, Any]) -> Path:
    """Write the result of `score_fold` atomically; return the path."""
    part = path.with_suffix(".part.npz")
    np.savez(part, **scores, facts=np.array(json.dumps(facts)))
    return part.rename(path)


def cut_word_out(waveform: np.ndarray) -> np.ndarray:
    """Return the samples up to 0.1 s before and from 0.1 s after the word."""
    start, end = find_speech_bounds(compute_mel_energies(waveform))
    return np.concatenate([waveform[: max(0, start - 10) * 160], waveform[(end + 10) * 160 :]])


def train_and_score(word: str, fold: int, corpora: Path, work: Path, steps: int | None) -> Path:
    """Train on the other folds and score this one; return the file of scores in `work`."""
    import torch

    torch.set_num_threads(1)
    scores_file = work / f"{word}-{fold}.npz"
    if scores_file.is_file():
        return scores_file
    words, speech = read_rows(corpora / "wakewords/train.csv"), read_rows(corpora / "speechocean762/train.csv")
    folds = assign_speaker_folds(speech)
    folder = work / f"{word}-{fold}"
    train = [r for r in speech if folds[str(r["speaker"])] != fold]
    given: dict[str, Any] = {
        "positives": write_rows(
            work / f"{word}-{fold}-positives.csv", [r for r in words if assign_fold(r) != fold], "audio", "label"
        ),
        "negatives": write_rows(work / f"{word}-{fold}-negatives.csv", train, "audio", "text", "speaker"),
        "voices": "none",  # independent of the installed voices
    }
    if steps is not None:
        given["steps"] = steps
    started = time.process_time()
    train_detector(WakeWordSettings(word=word, output=folder, overwrite=True, **given), Reporter(quiet=True))
    seconds = time.process_time() - started
    clips = [r for r in words if assign_fold(r) == fold and r["label"] == word]
    others = [r for r in words if assign_fold(r) == fold and r["label"] != word]
    stream = [r for r in speech if folds[str(r["speaker"])] == fold]
    scores, facts = score_fold(folder, clips, others, stream, np.random.default_rng([fold, 7]))
    return write_scores(scores_file, scores, {**facts, "cpu_seconds": seconds})


def score_fold(
    folder: Path, clips: list[ClipRow], others: list[ClipRow], stream: list[ClipRow], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Score clips of the word and other audio in all conditions; return the scores by name, and facts to count them."""
    artifact = open_artifact(folder)
    scorer = Scorer(folder / DETECTOR_ONNX_FILE)
    mixes = {condition: make_mix(condition, stream, rng) for condition in CONDITIONS}
    scores: dict[str, np.ndarray] = {}
    labels: list[dict[str, Any]] = []
    hours = 0.0
    for condition, mix in mixes.items():
        scored = [score_clip(scorer, load_waveform(row), str(row["audio"]), mix=mix) for row in clips]
        labels = [{"name": r.name, "words": [(w.start, w.until, w.end) for w in r.words]} for r in scored]
        scores |= {f"{condition}/{index}": r.scores.values for index, r in enumerate(scored)}
        waveforms = (mix(load_waveform(row)) if mix else load_waveform(row) for row in stream)
        recording = score_waveforms(scorer, waveforms, "stream")
        scores[f"{condition}/stream"] = recording.scores.values
        hours = recording.hours
    channel = {
        "other words": map(load_waveform, others),
        "without the word": (cut_word_out(load_waveform(row)) for row in clips),
    }
    controls = {name: score_waveforms(scorer, waveforms, name) for name, waveforms in channel.items()}
    scores |= {f"{name}/stream": recording.scores.values for name, recording in controls.items()}
    trigger = artifact.trigger
    return scores, {
        "clips": labels,
        "hours": hours,
        "first": scorer.first,
        "step": scorer.step,
        "trigger": [trigger.threshold, trigger.smoothing, trigger.refractory],
        "channel_hours": {name: recording.hours for name, recording in controls.items()},
    }


def smooth_fold(scores: dict[str, Any], name: str, facts: dict[str, Any]) -> Scores:
    """Smooth a fold's scores equally for all folds: detectors that share a threshold must share the scale."""
    return Scores(smooth_scores(scores[name], MINING_SMOOTHING), facts["step"], facts["first"])


def evaluate_pooled(files: list[Path]) -> dict[str, Any]:
    """Pool a word's folds: metrics by condition at the thresholds of 0 and of 1 false alarm, and the controls."""
    folds = []
    for path in files:
        with np.load(path) as file:
            folds.append((dict(file), json.loads(str(file["facts"]))))
    result: dict[str, Any] = {"conditions": {}, "cpu_minutes_of_training": []}
    result["cpu_minutes_of_training"] = [round(facts["cpu_seconds"] / 60, 1) for _, facts in folds]
    plain = Trigger(0.0, refractory=max(facts["trigger"][2] for _, facts in folds))
    evaluations = {}
    for condition in CONDITIONS:
        recordings = []
        for scores, facts in folds:
            for index, clip in enumerate(facts["clips"]):
                words = tuple(LabelledWord(*word) for word in clip["words"])
                smoothed = smooth_fold(scores, f"{condition}/{index}", facts)
                recordings.append(ScoredRecording(clip["name"], smoothed, words))
            smoothed = smooth_fold(scores, f"{condition}/stream", facts)
            recordings.append(ScoredRecording("stream", smoothed, hours=facts["hours"]))
        evaluations[condition] = DetectionEvaluation(recordings)
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
    result["as_calibrated"] = evaluate_calibrated(folds)
    result["channel"] = evaluate_controls(folds, plain, clean)
    return result


def evaluate_calibrated(folds: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Evaluate each detector at its own calibrated threshold."""
    found: dict[str, Any] = {}
    for condition in CONDITIONS:
        misses = words = alarms = 0
        for scores, facts in folds:
            trigger = Trigger(*facts["trigger"])
            recordings = [
                ScoredRecording(c["name"], Scores(scores[f"{condition}/{i}"], facts["step"], facts["first"]),
                      tuple(LabelledWord(*word) for word in c["words"]))
                for i, c in enumerate(facts["clips"])
            ]  # fmt: skip
            stream = Scores(scores[f"{condition}/stream"], facts["step"], facts["first"])
            recordings.append(ScoredRecording("stream", stream, hours=facts["hours"]))
            metrics = DetectionEvaluation(recordings).evaluate_at(trigger)
            misses, words = misses + metrics.misses, words + metrics.words
            alarms += metrics.false_alarms
        found[condition] = {"misses": misses, "positives": words, "false_alarms": alarms}
    return found


def evaluate_controls(
    folds: list[tuple[dict[str, Any], dict[str, Any]]], plain: Trigger, clean: dict[int, float]
) -> dict[str, Any]:
    """Count false alarms on audio from the source of the word's recordings, at the thresholds of the clean speech."""
    found: dict[str, Any] = {}
    for name in CHANNEL:
        recordings = [
            ScoredRecording(name, smooth_fold(scores, f"{name}/stream", facts), hours=facts["channel_hours"][name])
            for scores, facts in folds
        ]
        hours = round(sum(recording.hours for recording in recordings), 3)
        alarms = {
            f"alarms_at_the_threshold_of_{k}": DetectionEvaluation(recordings)
            .evaluate_at(replace(plain, threshold=t))
            .false_alarms
            for k, t in clean.items()
        }
        found[name] = {"hours": hours, **alarms}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, required=True, help="folder with wakewords/ and speechocean762/")
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of detectors and scores, reused by the next run"
    )
    parser.add_argument("--words", nargs="+", default=WORDS, help="words to evaluate")
    parser.add_argument("--steps", type=int, help="training steps, instead of those of `wakeword train`")
    parser.add_argument("--jobs", type=int, default=1, help="detectors trained in parallel, with one thread each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    tasks = [(word, fold) for word in given.words for fold in range(FOLDS)]
    with ProcessPoolExecutor(given.jobs) as pool:
        jobs = [pool.submit(train_and_score, *task, given.corpora, given.work, given.steps) for task in tasks]
        files = {task: job.result() for task, job in zip(tasks, jobs, strict=True)}
    found = {word: evaluate_pooled([files[word, fold] for fold in range(FOLDS)]) for word in given.words}
    hours = next(iter(found.values()))["conditions"][CONDITIONS[0]]["at_0_alarms"]["hours"]

    def mean(condition: str, at: str) -> float:
        return float(np.mean([word["conditions"][condition][at]["miss_rate"] for word in found.values()]))

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
