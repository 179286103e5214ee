"""Audio for scripts/torture.py: damaged and odd files made from a short WAV, and the commands that read audio."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import soundfile
from _torture import Case, Command, Outcome, invoke, run_cases
from _torture_files import KINDS, make_file

ROOT = Path(__file__).parent.parent
RATE = 16_000
SECONDS = 1.3  # of the synthesised audio; the model takes 2 s, so that two joined files are cut
_GOOD_ROWS = 6
# verdict: what the message of a refusal holds; "accepted" where audio is refused for none of these reasons
_VERDICTS = {
    "damaged": r"is truncated or damaged",
    "not numbers": r"samples that are not numbers",
    "level": r"where full scale is 1",
    "no samples": r"holds no samples",
    "empty": r"is empty \(0 bytes\)",
    "rate": r"states a sampling rate",
    "text": r"is text, not audio|Git LFS pointer",
    "unknown": r"unknown audio format|holds no audio track",
    "not a file": r"no such file|is a folder|is a pipe or a device|cannot be read \(",
    "extra": r"needs the package",
}


def run(
    work: Path, count: int, seed: int, wave: np.ndarray, jobs: int = 1, skip: Collection[str] = ()
) -> list[tuple[Case, list[Outcome]]]:
    """Make `count` files from (time,) audio at 16 kHz, and run every command that reads audio on each.

    skip: names of commands that are left out.
    """
    model, detector = prepare_models(work / "models", wave)
    commands = [one for one in make_commands(model, detector, work) if one.name not in skip]
    for command in commands:  # good audio: the forked processes start with everything imported
        good = work / "models" / "good.wav"
        soundfile.write(good, wave, RATE)
        case = Case("good", good, (), {"table": _write_table(work / "models" / "tables" / command.name, good, wave)})
        code, output = invoke(command.arguments(case) or [])
        if code != 0:
            raise SystemExit(f"{command.name} fails on good audio: {output}")
    return run_cases(make_cases(work / "audio", wave, count, seed), commands, jobs=jobs)


def read_wave(path: Path | None) -> np.ndarray:
    """Return (time,) float32 at 16 kHz: a WAV's first two seconds, or syllables of a synthetic voice."""
    if path is not None:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        if rate != RATE:
            raise SystemExit(f"{path}: {rate} Hz; a WAV of 16,000 Hz is needed")
        return samples.mean(axis=1)[: 2 * RATE]
    time = np.arange(round(SECONDS * RATE)) / RATE
    rng = np.random.default_rng(0)
    voice = sum(np.sin(2 * np.pi * 120 * k * time + k) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3.5 * time), 0, 1)
    return (0.08 * voice * syllables + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


def make_cases(folder: Path, wave: np.ndarray, count: int, seed: int) -> list[Case]:
    """Make `count` cases, the kinds in turn; each in a folder of its own, with a table of it and of good audio."""
    cases = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        here = folder / f"{number:03}"
        here.mkdir(parents=True)
        rng = np.random.default_rng([seed, number])
        path, expected = make_file(kind, here, wave, rng)
        table = _write_table(here.parent.parent / "tables" / f"{number:03}", path, wave)
        cases.append(Case(f"{kind} {number:03}", path, (table,), {"table": table}, expected))
    return cases


def make_commands(model: Path, detector: Path | None, work: Path) -> list[Command]:
    """Return the commands that read audio."""

    def adapt(case: Case) -> list[str] | None:
        stages = "stages=[{train: all, epochs: 1, lr: 1.0e-4, batch_seconds: 8}]"
        values = [f"encoder.name={model}", f"data.train={case.arguments['table']}", stages, "device=cpu"]
        output = f"output={work / 'runs' / case.path.parent.name}"
        return _if_in_table(case, ["adapt", "accent-whisper", *values, output, "--dry-run"])

    commands = [
        Command("check", lambda case: _if_in_table(case, ["check", str(case.arguments["table"])]), classify, "audio"),
        Command("transcribe", lambda case: ["transcribe", str(model), _shown(case.path)], classify, "audio"),
        Command(
            "evaluate",
            lambda case: _if_in_table(case, ["evaluate", str(model), str(case.arguments["table"])]),
            classify,
            "audio",
        ),
        Command("adapt --dry-run", adapt, classify, "audio"),
    ]
    if detector is not None:
        rows = ["--positives", "--stream"]
        commands += [
            Command(
                f"wakeword {option}",
                lambda case, option=option: _if_in_table(
                    case, ["wakeword", "evaluate", str(detector), option, str(case.arguments["table"])]
                ),
                classify,
                "audio",
            )
            for option in rows
        ]
        commands.append(
            Command("wakeword listen", lambda case: ["wakeword", "listen", str(detector), _shown(case.path)], classify)
        )
    return commands


def classify(code: int, output: str) -> str:
    """Return the verdict on the audio; other reasons to refuse a row (silence, too long, too short) accept it."""
    text = " ".join(output.split())
    for verdict, pattern in _VERDICTS.items():
        if re.search(pattern, text):
            return verdict
    return "accepted" if code in (0, 1, 2) else "failed"


def prepare_models(folder: Path, wave: np.ndarray) -> tuple[Path, Path | None]:
    """Return the folders of a random Whisper of two seconds and of a detector after two steps (None without onnx)."""
    tests = load_conftest()
    model = folder / "whisper"
    if not model.exists():
        tests.build_whisper(model, seconds=2)
    if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("onnxruntime") is None:
        return model, None
    detector = folder / "detector"
    if not detector.exists():
        _train_detector(detector, folder, wave)
    return model, detector


def _train_detector(detector: Path, folder: Path, wave: np.ndarray) -> None:
    from speechxfer.report.progress import Reporter
    from speechxfer.wakeword.settings import WakeWordSettings
    from speechxfer.wakeword.training.mining import ContaminationFilter
    from speechxfer.wakeword.training.train import train_detector

    rng = np.random.default_rng(0)
    for name, count in (("clips", 22), ("speech", 12)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            sound = wave if name == "clips" else wave[::-1]
            sound = np.pad(sound, 4_000) + 0.001 * rng.standard_normal(len(wave) + 8_000)
            soundfile.write(folder / name / f"{number:02}.wav", sound, RATE)
    settings = WakeWordSettings(
        word="hey juniper", positives=str(folder / "clips"), negatives=str(folder / "speech"), output=detector,
        synthetic=0, voices="none", steps=2, mining_rounds=1, extra_rounds=0,
    )  # fmt: skip
    untested = patch.object(ContaminationFilter, "_transcribe", lambda self, rows: [""] * len(rows))
    with untested, patch("speechxfer.wakeword.data.prepare.TARGET_VARIANTS", 60):
        train_detector(settings, Reporter(quiet=True))


def load_conftest() -> ModuleType:
    path = ROOT / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("torture_conftest", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _write_table(folder: Path, path: Path, wave: np.ndarray) -> Path:
    """Write a table of good audio for every split, and of the case in the part that is trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(_GOOD_ROWS):
        soundfile.write(folder / f"{number}.wav", (0.5 + 0.1 * number) * wave, RATE)
        split = ("train", "train", "dev", "dev", "test", "test")[number]
        rows.append((str(folder / f"{number}.wav"), "one two", f"s{number}", split))
    with suppress(UnicodeEncodeError), (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("audio", "text", "speaker", "split"))
        writer.writerows(rows)
        writer.writerow((str(path.absolute()), "six", "s0", "train"))
    return folder / "t.csv"


def _if_in_table(case: Case, arguments: list[str]) -> list[str] | None:
    """Return the arguments, or None for a name that a table of UTF-8 cannot hold, or that a table changes."""
    name = case.path.name
    try:
        os.fspath(case.path).encode("utf-8")
    except UnicodeEncodeError:
        return None
    return arguments if name == name.strip() else None


def _shown(path: Path) -> str:
    return str(path.absolute())
