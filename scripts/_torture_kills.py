"""Interrupted work for scripts/torture.py: commands killed at random points, and run again.

After the second run the results must be the bytes of an uninterrupted run, or the command must have said why not.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _torture import Case, Command, Outcome, Worker, invoke
from _torture_audio import load_conftest, prepare_models

_MAX_SECONDS = 900.0  # trainings on a busy machine
_SHARES = (0.03, 0.97)  # of the time of an uninterrupted run, in which a run is killed


@dataclass(frozen=True)
class Target:
    """A command that is killed. first, again: arguments for an output; the second of the run after the kill.

    results: files below the output that are compared. clear: removes what the second run refused to touch.
    """

    name: str
    first: Callable[[Path], list[str]]
    again: Callable[[Path], list[str]]
    results: Sequence[str]
    clear: Callable[[Path], None] = lambda _: None


def run(
    work: Path, count: int, seed: int, wave: np.ndarray, _: int = 1, skip: Collection[str] = ()
) -> list[tuple[Case, list[Outcome]]]:
    """Kill the targets in turn, `count` times in all."""
    targets = [target for target in make_targets(work, wave) if target.name not in skip]
    truth = {target.name: _run_uninterrupted(target, work / "whole") for target in targets}
    results = []
    for number in range(count):
        target = targets[number % len(targets)]
        share = float(np.random.default_rng([seed, number]).uniform(*_SHARES))
        results.append(_kill_and_run_again(target, truth[target.name], share, work / "killed" / f"{number:03}"))
        print(f"\r{number + 1} of {count}", end="", flush=True)
    print()
    return results


def make_targets(work: Path, wave: np.ndarray) -> list[Target]:
    """Return the commands: a run with cached features, transcripts, an export and a wake-word training."""
    model, _ = prepare_models(work / "models", wave)
    table = load_conftest().write_corpus(work / "corpus")

    def adapt(output: Path) -> list[str]:
        stages = [
            f"{{train: {train}, epochs: 2, lr: 3.0e-3, batch_seconds: 2}}" for train in ("head", "[head, top-1]", "all")
        ]
        values = [f"encoder.name={model}", f"data.train={table}", f"stages=[{', '.join(stages)}]", "device=cpu"]
        extra = ["cache.use=always", "augment={speed: [0.9, 1.0]}", "precision=float32", f"output={output / 'run'}"]
        return ["adapt", "accent-whisper", *values, *extra]

    def transcribe(output: Path) -> list[str]:
        return ["transcribe", str(model), str(table.parent), "--output", str(output / "t.jsonl")]

    def export(output: Path) -> list[str]:
        return ["export", str(model), "--to", "transformers", "--output", str(output / "model")]

    def train(output: Path) -> list[str]:
        clips, speech = work / "models" / "clips", work / "models" / "speech"
        words = ["wakeword", "train", "hey juniper", "--positives", str(clips), "--negatives", str(speech)]
        return [*words, "--synthetic", "0", "--voices", "none", "--steps", "20", "--output", str(output / "det")]

    def remove_part(output: Path) -> None:
        (output / "t.jsonl.part").unlink(missing_ok=True)

    return [
        Target("adapt", adapt, lambda o: [*adapt(o), "--resume"], ["run/model/model.safetensors", "run/after.jsonl"]),
        Target("transcribe", transcribe, transcribe, ["t.jsonl"], remove_part),
        Target("export", export, export, ["model/model.safetensors", "model/config.json"]),
        Target("wakeword train", train, lambda o: [*train(o), "--overwrite"], ["det/model.safetensors"]),
    ]


def _run_uninterrupted(target: Target, folder: Path) -> tuple[dict[str, str], float]:
    """Return the digests of the results, and the seconds taken."""
    output = _make_output(folder / target.name.replace(" ", "-"))
    start = time.perf_counter()
    code, text, _, _ = run_in_fork(target.first(output))
    digests = _digest_results(target, output)
    if code not in (0, 1) or len(digests) != len(target.results):
        raise SystemExit(f"{target.name} cannot be run: {text}")
    return digests, time.perf_counter() - start


def _kill_and_run_again(
    target: Target, truth: tuple[dict[str, str], float], share: float, folder: Path
) -> tuple[Case, list[Outcome]]:
    digests, seconds = truth
    output = _make_output(folder)
    _kill(target.first(output), share * seconds)
    violations, told, text = [], False, ""
    for _ in range(2):
        code, text, _, stopped = run_in_fork(target.again(output))
        found = _digest_results(target, output)
        if stopped or "Traceback" in text or code not in (0, 1, 2):
            violations.append(stopped or f"exit code {code}: {text.strip()[-200:]}")
            break
        if found == digests:
            break
        told = True  # refused, with a reason
        target.clear(output)
    if not violations and found != digests:
        violations.append(f"another result than uninterrupted: {text.strip()[-200:]}")
    verdict = "equal after a message" if told else "equal"
    command = Command(target.name, target.again, lambda *_: verdict)
    outcome = Outcome(command, "wrong" if violations else verdict, seconds, 0.0, code, text, tuple(violations))
    return Case(f"killed at {share:.0%}", output), [outcome]


def run_in_fork(arguments: list[str]) -> tuple[int | None, str, float, str]:
    """Run a command in a process of its own: (exit code, output, peak MB, why it was stopped)."""
    worker = Worker()
    try:
        return worker.run(arguments, _MAX_SECONDS)
    finally:
        worker.stop()


def _make_output(folder: Path) -> Path:
    """Make an output folder; features are cached below it, so that the cache is interrupted too."""
    folder.mkdir(parents=True)
    os.environ["SPEECHXFER_FRAMES"] = str(folder / "frames")
    return folder


def _kill(arguments: list[str], seconds: float) -> None:
    """Run a command in a fork, and kill it after some seconds."""
    process = multiprocessing.get_context("fork").Process(target=invoke, args=(arguments,))
    process.start()
    process.join(seconds)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()


def _digest_results(target: Target, output: Path) -> dict[str, str]:
    digests = {}
    for name in target.results:
        with suppress(OSError):
            digests[name] = hashlib.sha256((output / name).read_bytes()).hexdigest()
    return digests
