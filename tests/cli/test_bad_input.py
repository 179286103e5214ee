"""Bad input through the real command line: one clear message, the contract's exit code, no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from forked_python import ForkServer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from speechxfer.cli import build_app

Made = Callable[[Path], Path]
COMMANDS = ("check", "evaluate", "adapt")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """run("check", DATA): exit code, standard output, standard error; in a folder of its own, where `runs` would be."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def invoke(*arguments: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done.exit_code, done.stdout, done.stderr

    return invoke


def words_for(command: str, data: Path, model: Path) -> list[object]:
    """The command on DATA with MODEL; adapt trains on DATA for a moment, were it let."""
    if command == "adapt":
        stages = "stages=[{train: all, epochs: 1, lr: 1.0e-4}]"
        return ["adapt", "accent-whisper", f"encoder.name={model}", f"data.train={data}", stages, "output=run"]
    return ["check", data] if command == "check" else ["evaluate", model, data]


def one_message(err: str, message: str) -> None:
    """What is shown is one message of ours, about what is wrong."""
    assert err.startswith("speechxfer: ") and err.count("speechxfer: ") == 1, err
    assert message in err, err


# -- what is not DATA at all ---------------------------------------------------------------------------------------
def written(name: str, text: str) -> Made:
    def make(folder: Path) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def piped(folder: Path) -> Path:
    """A Kaldi folder whose command would leave a file behind."""
    (folder / "wav.scp").write_text(f"u1 touch {folder / 'ran'} |\n")
    (folder / "text").write_text("u1 BAD\n")
    return folder


def pickled_table(folder: Path) -> Path:
    (folder / "t.pkl").write_bytes(b"\x80\x04N.")
    return folder / "t.pkl"


NOT_DATA: dict[str, tuple[Made, str]] = {
    "missing": (lambda folder: folder / "gone.csv", "gone.csv: no such file or folder"),
    "empty table": (written("t.csv", ""), "t.csv: the table is empty"),
    "header alone": (written("t.csv", "audio,text\n"), "t.csv: has no rows"),
    "no audio": (written("t.csv", "adio,text\na.wav,bad\n"), "has no column 'audio' (did you mean 'adio'?)"),
    "ragged": (written("t.csv", "audio,text\na.wav,bad,cab\n"), "line 2 has 3 cells, the header has 2"),
    "cut JSON": (written("t.jsonl", '{"audio": "a.wav", "te'), "line 1: "),
    "UTF-16": (lambda folder: utf16(folder), "is encoded as UTF-16, not UTF-8"),
    "pickle": (pickled_table, "is not DATA ('.pkl' is not a table)"),
    "empty folder": (lambda folder: folder, "it has no metadata.csv, wav.scp"),
    "piped": (piped, "entry 1 (u1) is a piped command, which is never executed"),
    "damaged parquet": (written("t.parquet", "PAR1 no more"), "is not readable parquet"),
    "wrong seconds": (written("t.csv", "audio,text,start,end\na.wav,bad,0,soon\n"), "row 1: end is 'soon'"),
}


def utf16(folder: Path) -> Path:
    (folder / "t.csv").write_text("audio,text\na.wav,bad\n", encoding="utf-16")
    return folder / "t.csv"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", list(NOT_DATA))
def test_what_is_not_data(run, whisper: Path, tmp_path: Path, kind: str, command: str) -> None:
    make, message = NOT_DATA[kind]
    (tmp_path / "data").mkdir()
    data = make(tmp_path / "data")
    held = sorted(tmp_path.rglob("*"))
    code, out, err = run(*words_for(command, data, whisper))
    assert (code, out) == (2, "")
    one_message(err, message)
    assert sorted(tmp_path.rglob("*")) == held  # nothing begun, nothing lost, no command run


@pytest.mark.parametrize("command", COMMANDS)
def test_a_hub_that_cannot_be_reached(run, whisper: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    code, _, err = run(*words_for(command, Path("hub:owner/name"), whisper))
    assert code == 2
    one_message(err, "hub:owner/name: cannot be downloaded from the hub (no route to the hub)")


# -- rows that cannot be used --------------------------------------------------------------------------------------
def tone(path: Path, kind: str = "WAV", subtype: str | None = None) -> bytes:
    samples = 0.3 * np.sin(np.arange(32_000) / 9)
    soundfile.write(path, samples, 16_000, format=kind, subtype=subtype)
    return path.read_bytes()


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A table of good rows and one row of each fault, and what is said of it by its audio."""
    folder = tmp_path / "broken"
    folder.mkdir()
    texts = {}
    for name, (kind, subtype) in {
        "cut.wav": ("WAV", None),
        "cut.flac": ("FLAC", None),
        "cut.ogg": ("OGG", "VORBIS"),
        "cut.opus": ("OGG", "OPUS"),
        "cut.mp3": ("MP3", None),
    }.items():
        whole = tone(folder / name, kind, subtype)
        (folder / name).write_bytes(whole[: len(whole) // 2])
        texts[name] = "is truncated or damaged"
    (folder / "text.wav").write_text("a transcript in audio's place\n")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe.wav")
    (folder / "voice.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(400))
    (folder / "voice.webm").write_bytes(b"\x1aE\xdf\xa3\x9fB\x86\x81" + bytes(400))
    texts |= {
        "gone.wav": "no such file",
        "text.wav": "is text, not audio (it begins 'a transcript in audio's place')",
        "empty.wav": "is empty (0 bytes)",
        "folder": "is a folder, not an audio file",
        "pipe.wav": "is a pipe or a device, not a file",
        "voice.m4a": "needs the package 'av', which is not installed: pip install 'speechxfer[av]'",
        "voice.webm": "needs the package 'av', which is not installed: pip install 'speechxfer[av]'",
    }
    lines = ["audio,text,speaker"]
    for number in range(6):
        tone(folder / f"{number}.wav")
        lines.append(f"{number}.wav,bad,{number}")
    lines += [f"{name},cab,6" for name in texts]
    tone(folder / "mute.wav")
    lines.append("mute.wav,,6")
    texts["mute.wav"] = "its text is empty"
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv", texts


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_rows_are_all_named_before_any_work(
    run, whisper: Path, broken, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    table, texts = broken
    monkeypatch.setitem(sys.modules, "av", None)
    code, out, err = run(*words_for(command, table, whisper))
    for name, words in texts.items():
        lines = [line for line in (out + err).splitlines() if name in line and words in line]
        assert len(lines) == 1, (name, out, err)
    if command == "check":
        assert (code, err) == (1, "")
        assert f"{6 + len(texts)} rows, 14.0 s, 6 usable, {len(texts)} bad" in out  # the mute one's audio counts
        return
    assert code == 2
    one_message(err, "some utterances cannot be used:")
    assert ("--skip-bad" if command == "evaluate" else "data.skip_bad=true") in err
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["check", "evaluate"])
def test_duplicate_ids(run, whisper: Path, speech: Path, command: str) -> None:
    speech.write_text(speech.read_text() + "audio/2.wav,cab,0001,south\n")
    code, out, _ = run(*words_for(command, speech, whisper))
    assert code == 0
    assert "1 id occurs more than once, e.g. 'audio/2.wav' in rows 3, 7: a number is added" in out


@pytest.mark.parametrize("command", ["check", "evaluate"])
def test_with_av_m4a_and_webm_are_read(run, whisper: Path, tmp_path: Path, command: str) -> None:
    av = pytest.importorskip("av", reason="the extra 'av' is not installed")
    for name, codec, rate in (("a.m4a", "aac", 16_000), ("b.webm", "libopus", 48_000)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout="mono")
            samples = (0.3 * np.sin(np.arange(rate) / 9)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            step = 1_024 if codec == "aac" else 960
            cut = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate, frame_size=step)
            for piece in (*cut.resample(frame), *cut.resample(None), None):
                for packet in stream.encode(piece):
                    container.mux(packet)
    (tmp_path / "t.csv").write_text("audio,text\na.m4a,bad\nb.webm,cab\n")
    assert run(*words_for(command, tmp_path / "t.csv", whisper))[0] == 0


# -- models --------------------------------------------------------------------------------------------------------
def without_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.encoder.layers.0.fc1.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def shortened(name: str, keep: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def pickle_alone(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "model.pt")
    (folder / "model.safetensors").unlink()


def sharded_in_part(folder: Path) -> None:
    weights = dict.fromkeys(load_file(folder / "model.safetensors"), "model.safetensors")
    weights[min(weights)] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))


MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not there": (shutil.rmtree, "no such model"),
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()], "no config.json (it holds nothing)"),
    "pickle": (pickle_alone, "only model.pt, a pickle, which can run code when opened"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "no model.safetensors and no pytorch_model.bin: no weights",
    ),
    "cut weights": (shortened("model.safetensors", -1_000), "its weights cannot be read"),
    "cut header": (shortened("model.safetensors", 100), "its weights cannot be read"),
    "no bytes": (shortened("model.safetensors", 0), "its weights cannot be read"),
    "sharded in part": (sharded_in_part, "weights are missing: model-00002-of-00002.safetensors"),
    "cut config": (shortened("config.json", 60), "cannot read its config.json"),
    "unknown type": (lambda f: (f / "config.json").write_text('{"model_type": "nonesuch"}'), "`nonesuch`"),
    "cut tokenizer": (shortened("tokenizer.json", 60), "its tokenizer or feature extractor cannot be read"),
}


def model_words(command: str, model: Path, data: Path) -> list[object]:
    return ["check", data, "--model", model] if command == "check" else words_for(command, data, model)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", list(MODELS))
def test_a_wrong_model(run, whisper: Path, speech: Path, tmp_path: Path, kind: str, command: str) -> None:
    spoil, message = MODELS[kind]
    model = tmp_path / "model"
    shutil.copytree(whisper, model)
    spoil(model)
    code, out, err = run(*model_words(command, model, speech))
    assert (code, out) == (2, "")
    one_message(err, message)
    assert str(model) in err
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["evaluate", "adapt"])
def test_a_model_that_lacks_a_tensor(run, whisper: Path, speech: Path, tmp_path: Path, command: str) -> None:
    shutil.copytree(whisper, tmp_path / "model")
    without_tensor(tmp_path / "model")
    code, _, err = run(*model_words(command, tmp_path / "model", speech))
    assert code == 2
    one_message(err, "weights are missing: model.encoder.layers.0.fc1.weight")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_table_in_a_models_place(run, speech: Path, command: str) -> None:
    code, _, err = run(*model_words(command, speech, speech))
    assert code == 2
    one_message(err, "a model is a folder, and this is a file")


# -- what is not the user's mistake --------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [RuntimeError, ImportError, OSError, ZeroDivisionError])
def test_an_unexpected_exception_is_not_hidden(
    speech: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("a fault of ours")

    monkeypatch.setattr("speechxfer.data.reader.read", fail)
    done = CliRunner().invoke(build_app(), ["check", str(speech)])
    assert type(done.exception) is error  # Python shows its traceback
    assert done.exit_code == 1


def test_ctrl_c_is_130(speech: Path, fork_server: ForkServer) -> None:
    """SIGINT while rows are decoded in threads."""
    rows = speech.read_text().splitlines()
    many = [f"{number},{row}" for number in range(400) for row in rows[1:]]
    speech.write_text("\n".join([f"id,{rows[0]}", *many]) + "\n")
    slow = "import os, time\nimport speechxfer.data.audit as a\nreal = a.measure_utterance\ndef measure(row):\n"
    slow += "    os.write(1, b'decoding\\n')\n    time.sleep(0.02)\n    return real(row)\n"
    slow += "a.measure_utterance = measure\n"
    start = f"import sys\nsys.argv = ['speechxfer', 'check', {str(speech)!r}]\nfrom speechxfer.cli import main\nmain()"
    process = fork_server.start("-c", slow + start)
    process.wait_for("decoding\n")
    os.kill(process.pid, signal.SIGINT)
    assert (process.wait(60), process.errors) == (130, "speechxfer: interrupted\n")
