"""`speechxfer wakeword` on the command line, with a detector of two training steps."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner, Result

from speechxfer.cli import build_app, wakeword
from speechxfer.wakeword.data import prepare
from speechxfer.wakeword.runtime import microphone
from speechxfer.wakeword.settings import WakeWordSettings

pytest.importorskip("onnx")
pytest.importorskip("espeakng_loader")


def run(*words: object) -> Result:
    return CliRunner().invoke(build_app(), ["wakeword", *map(str, words)])


def expected_code(done: Result) -> int:
    """1 if all held-out clips are missed by the table that is printed, and the detector is said to be unusable."""
    (missed,) = re.findall(r"^held out, .*?  (\d+) of (\d+)  ", done.output, re.MULTILINE)
    assert ("the detector is unusable" in done.output) == (missed[0] == missed[1])
    return int(missed[0] == missed[1])


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips/ (22 of a word) and speech/ (12 of other sounds)."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    for name, count in (("clips", 22), ("speech", 12)):
        (folder / name).mkdir()
        for number in range(count):
            tone = 0.2 * np.sin(np.arange(16_000) / rng.uniform(5, 40))
            wave = np.concatenate([np.zeros(4_000), tone, np.zeros(4_000)]) + 0.001 * rng.standard_normal(24_000)
            soundfile.write(folder / name / f"{number}.wav", wave, 16_000)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _quick_training(quick_training: Callable[[int], AbstractContextManager[None]]) -> Iterator[None]:
    """Few copies of a clip, and none is transcribed with Whisper: wakeword/training/test_mining.py tests that."""
    with quick_training(60):
        yield


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The options of a training of two steps, of a small network."""
    recipe = tmp_path_factory.mktemp("recipe") / "small.yaml"
    recipe.write_text("word: hey juniper\nwidth: 16\nbatch: 8\n")
    return ["--recipe", recipe, "--steps", 2]


@pytest.fixture(scope="module")
def trained(speech: Path, small: list[object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("out") / "hey_juniper"
    options = ["--positives", speech / "clips", "--negatives", speech / "speech", "--synthetic", 0, *small]
    return folder, run("train", "hey juniper", *options, "--output", folder, "--json", folder.parent / "t.json")


def test_train_writes_a_detector_and_says_what_it_knows(trained: tuple[Path, Result]) -> None:
    folder, done = trained
    assert done.exit_code == expected_code(done), done.output
    assert "test on 30 h of speech" in done.output and str(folder) in done.output
    manifest = json.loads((folder.parent / "t.json").read_text())["manifest"]
    assert manifest["word"] == "hey juniper" and manifest["calibration"]["supported"] is False
    again = run("train", "hey juniper", "--steps", 2, "--output", folder)
    assert again.exit_code == 2 and "--overwrite" in again.output


def test_a_recipe_s_values_hold_and_what_is_typed_goes_before_them(speech: Path, tmp_path: Path) -> None:
    lines = [
        "word: REQUIRED", f"positives: {speech / 'clips'}", f"negatives: {speech / 'speech'}", "synthetic: 0",
        "steps: 3", "width: 16", "batch: 8", "false_alarms_per_hour: 5e-1", "seed: 7", f"output: {tmp_path / 'd'}",
    ]  # fmt: skip
    (tmp_path / "mine.yaml").write_text("\n".join(lines) + "\n")
    done = run("train", "hey juniper", "--recipe", tmp_path / "mine.yaml", "--steps", 2, "--json", tmp_path / "t.json")
    assert done.exit_code == expected_code(done), done.output
    manifest = json.loads((tmp_path / "t.json").read_text())["manifest"]
    assert manifest["word"] == "hey juniper" and manifest["model"]["width"] == 16
    expected = {"steps": 2, "batch": 8, "false_alarms_per_hour": 0.5, "seed": 7, "mining_rounds": 4}
    assert {name: manifest["settings"][name] for name in expected} == expected
    assert (tmp_path / "d" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("recipe", "texts"),
    [
        ("word: x\nstep: 4\n", "line 2: unknown key 'step' (did you mean 'steps'?)"),
        ("word: x\nbatch: many\nheld_out: 0.9\n", "line 3: held_out"),
        ("data: {train: t.csv}\nstages:\n  - {train: head, epochs: 1, lr: 1e-3}\n", "recipe for `speechxfer adapt`"),
        ("word: [\n", "not readable as YAML"),
        (None, "no such recipe"),
    ],
)
def test_a_recipe_that_cannot_be_used(recipe: str | None, texts: str, tmp_path: Path) -> None:
    if recipe is not None:
        (tmp_path / "r.yaml").write_text(recipe)
    done = run("train", "x", "--recipe", tmp_path / "r.yaml", "--output", tmp_path / "d")
    assert done.exit_code == 2 and texts in done.output, done.output
    assert not (tmp_path / "d").exists()


def test_train_puts_held_out_and_real_figures_side_by_side(
    speech: Path, small: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any recording: what is synthetic says so, and what a stream shows stands under it."""
    for name, few in (("NUM_FILLER_SENTENCES", 16), ("NUM_NEAR_MISSES", 8), ("_SYNTHETIC_CLIPS", 6)):
        monkeypatch.setattr(prepare, name, few)
    given = ["train", "hey juniper", *small, "--synthetic", 12, "--voices", "none"]
    alone = run(*given, "--output", tmp_path / "alone")
    assert alone.exit_code == expected_code(alone), alone.output
    assert "held out, synthetic" in alone.output and "real speech (--stream)" not in alone.output
    assert "No real speech was used" in alone.output
    stream = speech / "speech"
    both = run(*given, "--output", tmp_path / "both", "--stream", stream, "--json", tmp_path / "t.json")
    lines = [line for line in both.output.splitlines() if line.startswith(("evaluated on", "held out", "real speech"))]
    assert len(lines) == 3 and "No real speech was used" not in both.output
    result = json.loads((tmp_path / "t.json").read_text())
    manifest, streams = result["manifest"], result["streams"]
    assert manifest["calibration"]["kind"] == manifest["calibration"]["clips_kind"] == "synthetic"
    held = f"{manifest['calibration']['misses']} of {manifest['calibration']['positives']}"
    assert held in lines[1] and f"[{streams['false_alarms']} in 0.01 h]" in lines[2]
    assert streams["hours"] == pytest.approx(12 * 1.5 / 3600)
    assert json.loads((tmp_path / "both" / "manifest.json").read_text())["streams"]["names"] == ["speech"]


def test_a_detector_that_detects_nothing_is_exit_code_1(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechxfer.wakeword.training import train as training

    calibration = {"kind": "real", "clips_kind": "real", "positives": 6, "misses": 6, "hours": 0.0}
    manifest = {"calibration": calibration, "negatives_that_sound_like_it": []}
    monkeypatch.setattr(training, "train_detector", lambda *_: manifest)
    found = tmp_path / "t.json"
    done = run("train", "hey juniper", "--output", tmp_path / "d", "--json", found)
    assert done.exit_code == 1 and "unusable: it missed all 6 held-out clips" in done.output
    assert json.loads(found.read_text())["manifest"] == manifest


def test_an_address_that_cannot_be_served_is_one_message(trained: tuple[Path, Result]) -> None:
    pytest.importorskip("wyoming")
    done = run("listen", trained[0], "--wyoming", "nonsense")
    assert done.exit_code == 2 and "invalid address" in done.output and "serving" not in done.output


def test_a_stream_that_is_not_there_is_told_before_the_training(tmp_path: Path) -> None:
    done = run("train", "hey juniper", "--stream", tmp_path / "nowhere", "--output", tmp_path / "d")
    assert done.exit_code == 2 and "nowhere" in done.output and not (tmp_path / "d").exists()


def test_evaluate_prints_rates_with_intervals_and_writes_json_and_the_report(
    trained: tuple[Path, Result], speech: Path, tmp_path: Path
) -> None:
    folder, _ = trained
    given = ["--positives", speech / "clips", "--stream", speech / "speech", "--snr", 10, "--threshold", 0.01]
    done = run("evaluate", folder, *given, "--json", tmp_path / "e.json", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["positives"] == 22 and found["threshold"] == 0.01 and found["hours"] == pytest.approx(12 * 1.5 / 3600)
    assert f"[{found['misses']} / 22]" in done.output and "false alarms" in done.output
    assert (tmp_path / "report.html").is_file()


def test_columns_of_tables_under_other_names(
    trained: tuple[Path, Result], small: list[object], speech: Path, tmp_path: Path
) -> None:
    folder = trained[0]
    for name, source, word in (("w.csv", "clips", "hey juniper"), ("s.csv", "speech", "nothing")):
        paths = sorted(str(path) for path in (speech / source).glob("*.wav"))
        rows = [f"{path};{word}" for path in paths]
        (tmp_path / name).write_text("\n".join(["clip;said", *rows]) + "\n")
    columns = ["--column", "audio=clip", "--column", "label=said"]
    with (tmp_path / "w.csv").open("a") as table:
        table.write(f"{speech / 'speech' / '11.wav'};other\n")
    sources = ["--positives", tmp_path / "w.csv", "--stream", tmp_path / "s.csv"]
    found = tmp_path / "found.json"
    done = run("evaluate", folder, *sources, *columns, "--json", found, "--quiet")
    assert done.exit_code == 0, done.output
    assert json.loads(found.read_text())["positives"] == 22  # the row of another word is none of them
    done = run("evaluate", folder, *sources, "--column", "audio=nope")
    assert done.exit_code == 2 and "audio=nope" in done.output
    options = ["--positives", tmp_path / "w.csv", "--negatives", speech / "speech", "--synthetic", 0, *small]
    done = run("train", "hey juniper", *options, *columns, "--output", tmp_path / "detector")
    assert done.exit_code == expected_code(done), done.output
    done = run("train", "hey juniper", *options, "--output", tmp_path / "other")
    assert done.exit_code == 2 and "has no column 'audio'" in done.output


def test_evaluate_counts_another_engines_times(trained: tuple[Path, Result], speech: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("stream,time\n0.wav,1.0\n1.wav,1.1\n")
    given = ["--positives", speech / "clips", "--times", tmp_path / "t.csv", "--quiet", "--json", "-"]
    done = run("evaluate", trained[0], *given)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["misses"] == 20


def test_listen_prints_events_as_lines_of_json(trained: tuple[Path, Result], speech: Path, tmp_path: Path) -> None:
    clip = speech / "clips" / "0.wav"
    done = run("listen", trained[0], clip, "--threshold", 0.0, "--json", "-")
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in done.output.splitlines()]
    assert len(events) >= 1 and set(events[0]) == {"word", "time", "score"}
    plain = run("listen", trained[0], clip, "--threshold", 0.0, "--json", tmp_path / "e.jsonl")
    assert f"1.5 s of audio, {len(events)} detection" in plain.output and "hey juniper" in plain.output
    assert (tmp_path / "e.jsonl").read_text().splitlines() == done.output.splitlines()
    silent = run("listen", trained[0], clip, "--threshold", 1.5)
    assert re.fullmatch(r"1\.5 s of audio, no detection \(highest score 0\.\d\d, threshold 1\.50\)\n", silent.output)


def test_listen_leaves_its_inputs_alone(trained: tuple[Path, Result], speech: Path, tmp_path: Path) -> None:
    clip = tmp_path / "a.wav"
    clip.write_bytes((speech / "clips" / "0.wav").read_bytes())
    before = clip.read_bytes()
    (tmp_path / "hard.jsonl").hardlink_to(clip)
    (tmp_path / "other.jsonl").write_text('{"audio": "a.wav"}\n')
    manifest = trained[0] / "manifest.json"
    for path in (clip, tmp_path / "hard.jsonl", tmp_path / "other.jsonl", manifest):
        old = path.read_bytes()
        done = run("listen", trained[0], clip, "--json", path)
        assert done.exit_code == 2 and path.name in done.output and path.read_bytes() == old
    assert clip.read_bytes() == before
    for _ in range(2):  # its own events are replaced
        assert run("listen", trained[0], clip, "--threshold", 0.0, "--json", tmp_path / "own.jsonl").exit_code == 0
    done = run("listen", trained[0], "--wyoming", "tcp://127.0.0.1:1", "--json", tmp_path / "e.jsonl")
    assert done.exit_code == 2 and "--json does not apply with --wyoming" in done.output
    assert not (tmp_path / "e.jsonl").exists()


def test_listen_gives_hints_and_takes_a_gain_and_a_channel(trained: tuple[Path, Result], tmp_path: Path) -> None:
    tone = 1e-3 * np.sin(np.arange(16_000) / 3)
    soundfile.write(tmp_path / "a.wav", np.column_stack([0 * tone, tone]), 16_000)
    quiet = run("listen", trained[0], tmp_path / "a.wav", "--threshold", 1.5)
    assert "the loudest sample in the first 1 s is at -66 dB" in quiet.output and "--gain, by 54 dB" in quiet.output
    louder = run("listen", trained[0], tmp_path / "a.wav", "--threshold", 1.5, "--gain", 54, "--channel", 2)
    assert "too quiet" not in louder.output and louder.exit_code == 0
    absent = run("listen", trained[0], tmp_path / "a.wav", "--channel", 3)
    assert absent.exit_code == 2 and "has 2 channels, so no channel 3" in absent.output


def test_evaluate_says_what_a_low_rate_lacks(trained: tuple[Path, Result], tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips" / "a.wav", 0.1 * np.sin(np.arange(8_000) / 3), 8_000)
    done = run("evaluate", trained[0], "--positives", tmp_path / "clips")
    assert "8,000 Hz, resampled to 16,000 Hz; no content above 4 kHz" in done.output


def test_a_report_that_cannot_be_written_is_one_message(trained: tuple[Path, Result], speech: Path) -> None:
    done = run("evaluate", trained[0], "--positives", speech / "clips", "--output", "/proc/nowhere")
    assert done.exit_code == 2 and "/proc/nowhere: cannot be written" in done.output


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["train", "x", "--positives", "nowhere"], "no such file or folder"),
        (["train", "x", "--negatives", "nowhere"], "no such file or folder"),
        (["train", " "], "word"),
        (["evaluate", "nowhere", "--stream", "s"], "no such folder"),
        (["listen", "nowhere"], "no such folder"),
    ],
)
def test_mistakes_are_one_message(
    words: list[str], texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*words)
    assert done.exit_code == 2 and texts in done.output, done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_listen_without_torch(trained: tuple[Path, Result], speech: Path) -> None:
    """The whole command in a process in which torch cannot be imported."""
    clip = str(speech / "clips" / "0.wav")
    words = ["wakeword", "listen", str(trained[0]), clip, "--threshold", "0", "--json", "-"]
    program = f"import sys; sys.modules['torch'] = None; from speechxfer.cli import build_app; build_app()({words!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["word"] == "hey juniper"


def test_listen_without_a_microphone(trained: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMicrophone:
        def query_devices(self, *asked: object) -> list[dict[str, object]]:
            if asked:
                raise ValueError("Error querying device -1")
            return []

    monkeypatch.setattr(microphone, "_import_sounddevice", NoMicrophone)
    done = run("listen", trained[0])
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert "no microphone can be opened" in done.output and "connect one, or give a file" in done.output


def test_nothing_to_evaluate_on_and_no_such_audio(trained: tuple[Path, Result]) -> None:
    nothing = run("evaluate", trained[0])
    assert nothing.exit_code == 2 and "--positives" in nothing.output
    absent = run("listen", trained[0], "absent.wav")
    assert absent.exit_code == 2 and "no such file" in absent.output


def test_the_help_of_train_states_the_defaults_of_the_settings() -> None:
    words = CliRunner().invoke(build_app(), ["wakeword", "train", "--help"]).output.split()
    for name in ("false_alarms_per_hour", "voices", "steps", "teacher", "seed"):
        option = "--" + name.replace("_", "-")
        (text,) = " ".join(words).split(f" {option} ")[1:]
        assert f"[default: ({WakeWordSettings.model_fields[name].default})" in text.split(" --")[0]


def test_options_that_set_a_setting_have_its_name() -> None:
    names = set(inspect.signature(wakeword.train).parameters)
    assert names - set(WakeWordSettings.model_fields) == {"recipe", "stream", "column", "json_file", "quiet"}
