"""Damaged and hostile tables, recipes, language models, model folders and detectors for scripts/torture.py."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from _torture import Case, Command, Outcome, run_cases
from _torture_audio import RATE, load_conftest, prepare_models

TABLES: dict[str, bytes | str] = {
    "table-cut": b'audio,text\n"a.wav","one',
    "table-nul": b"audio,text\na.wav,one\0two\n",
    "table-latin": "audio,text\na.wav,größer\n".encode("latin-1"),
    "table-utf16": "audio,text\na.wav,one\n".encode("utf-16"),
    "table-ragged": "audio,text\na.wav\na.wav,one,two\n",
    "table-header": "audio,text\n",
    "table-empty": "",
    "table-binary": bytes(range(256)) * 40,
    "table-twice": "audio,text,text\na.wav,one,two\n",
    "table-cell": "audio,text\na.wav," + "word " * 1_000_000 + "\n",
    "table-columns": ",".join(f"c{k}" for k in range(20_000)) + "\n" + ",".join("x" * 20_000) + "\n",
    "table-markup": "audio,text,speaker\na.wav,[/red] one,\x1b]0;title\x07[bold]\n",
    "table-outside": "audio,text\n../../../../etc/passwd,one\n/etc/hostname,two\n",
    "table-url": "audio,text\nhttp://127.0.0.1:9/a.wav,one\nfile:///etc/passwd,two\n",
    "table-times": "audio,text,start,end\na.wav,one,nan,inf\na.wav,two,-5,1e300\n",
    "json-deep": '{"audio": ' + "[" * 100_000 + "]" * 100_000 + "}\n",
    "json-types": '{"audio": 5, "text": ["a"]}\n{"audio": null, "text": {"b": 1}}\n[1]\n',
    "json-digits": '{"audio": "a.wav", "text": ' + "9" * 5_000 + "}\n",
    "json-surrogate": '{"audio": "a.wav", "text": "\\ud800"}\n',
    "json-names": '{"__class__": "x", "audio": "a.wav", "text": "one", "self": 1, "row": 2}\n',
}
RECIPES: dict[str, str] = {
    "yaml-aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)),
    "yaml-itself": "data: &d {train: t.csv, self: *d}\n",
    "yaml-deep": "a: " + "[" * 50_000 + "]" * 50_000 + "\n",
    "yaml-python": "data: !!python/object/apply:os.system ['touch hacked']\n",
    "yaml-digits": "seed: " + "9" * 5_000 + "\n",
    "yaml-epochs": "stages: [{train: all, epochs: 1.0e+9, lr: 1.0e-4}]\n",
    "yaml-negative": "stages: [{train: all, epochs: -1, lr: .nan, batch_seconds: -.inf}]\n",
    "yaml-twice": "data: {train: a.csv}\ndata: {train: b.csv}\n",
    "yaml-list": "- 1\n- 2\n",
    "yaml-nul": "data: {train: 'a\0b'}\n",
    "yaml-types": "data: 5\nencoder: [whisper]\nstages: {a: 1}\n",
    "yaml-empty": "",
}
ARPA: dict[str, bytes | str] = {
    "arpa-cut": "\\data\\\nngram 1=3\n\n\\1-grams:\n-1 one",
    "arpa-counts": "\\data\\\nngram 1=1000000000000\n\n\\1-grams:\n-1 one\n\\end\\\n",
    "arpa-negative": "\\data\\\nngram 1=-3\n\n\\1-grams:\n\\end\\\n",
    "arpa-numbers": "\\data\\\nngram 1=2\n\n\\1-grams:\nnan <unk>\nx one\n\n\\end\\\n",
    "arpa-binary": bytes(range(256)) * 40,
    "arpa-empty": "",
}
CONFIGS: dict[str, Mapping[str, Any]] = {
    "config-code": {"model_type": "evilx", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}},
    "config-code-known": {"auto_map": {"AutoConfig": "evil.C", "AutoModelForSpeechSeq2Seq": "evil.M"}},
    "config-layers": {"encoder_layers": 100_000},
    "config-width": {"d_model": 1_000_000_000},
    "config-types": {"architectures": 5, "d_model": "wide"},
    "config-negative": {"encoder_attention_heads": -3},
}
FILES: dict[str, tuple[str, bytes | str]] = {
    "model-generation": ("generation_config.json", "[]"),
    "model-tokenizer": ("tokenizer.json", "{}"),
    "model-tokenizer-class": ("tokenizer_config.json", '{"tokenizer_class": "os.system"}'),
    "model-settings": ("speechxfer.json", '{"kind": "seq2seq", "beam_size": -3}'),
    "model-settings-beams": ("speechxfer.json", '{"kind": "seq2seq", "beam_size": 100000}'),
    "model-settings-list": ("speechxfer.json", "[1, 2]"),
    "weights-empty": ("model.safetensors", b""),
    "weights-header": ("model.safetensors", struct.pack("<Q", 1 << 60) + b"{}"),
    "weights-other": ("model.safetensors", struct.pack("<Q", 2) + b"{}"),
    "weights-text": ("model.safetensors", "not weights"),
}
DETECTORS: dict[str, tuple[str, bytes | str]] = {
    "detector-graph": ("model.onnx", bytes(range(256)) * 8),
    "detector-empty": ("model.onnx", b""),
    "detector-manifest": ("manifest.json", "[]"),
    "detector-deep": ("manifest.json", "[" * 50_000),
}
MANIFESTS: dict[str, Any] = {"detector-nan": float("nan"), "detector-huge": 1e300}


class _Touch:
    """Pickles to a call that leaves a file: the sign that a pickle was run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


def run(
    work: Path, count: int, seed: int, wave: np.ndarray, jobs: int = 1, skip: Collection[str] = ()
) -> list[tuple[Case, list[Outcome]]]:
    """Make `count` of the kinds in a shuffled order, and run every command that reads each."""
    models = _make_models(work, wave)
    makers = make_makers(models)
    order = np.random.default_rng(seed).permutation(len(makers))
    cases = []
    for number in range(count):
        kind = list(makers)[order[number % len(order)]]
        here = work / "texts" / f"{number:03}"
        here.mkdir(parents=True)
        soundfile.write(here / "a.wav", wave, RATE)
        cases.append(Case(kind, makers[kind](here), (), {"here": here}))
    commands = [one for one in make_commands(models) if one.name not in skip]
    results = run_cases(cases, commands, jobs=jobs)
    run_code = list(work.rglob("hacked"))
    if run_code:
        raise SystemExit(f"code was run: {run_code}")
    return results


def make_makers(models: Mapping[str, Path]) -> dict[str, Callable[[Path], Path]]:
    """Return by kind a function that writes the input below a folder and returns its path."""

    def write(name: str, content: bytes | str) -> Callable[[Path], Path]:
        def make(here: Path) -> Path:
            (here / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            return here / name

        return make

    def copy(model: str, name: str, content: bytes | str) -> Callable[[Path], Path]:
        def make(here: Path) -> Path:
            shutil.copytree(models[model], here / "copy")
            write(name, content)(here / "copy")
            (here / "copy" / "evil.py").write_text("open('hacked', 'w').close()\n", encoding="utf-8")
            return here / "copy"

        return make

    config = json.loads((models["whisper"] / "config.json").read_text(encoding="utf-8"))
    makers = {kind: write("t.jsonl" if kind.startswith("json") else "t.csv", text) for kind, text in TABLES.items()}
    makers |= {kind: write("r.yaml", text) for kind, text in RECIPES.items()}
    makers |= {kind: write("lm.arpa", text) for kind, text in ARPA.items()}
    makers |= {kind: copy("whisper", "config.json", json.dumps({**config, **c})) for kind, c in CONFIGS.items()}
    makers |= {kind: copy("whisper", *content) for kind, content in FILES.items()}
    makers["weights-nan"], makers["weights-pickle"] = _make_nan_weights(models), _make_pickle(models)
    if "detector" in models:
        makers |= {kind: copy("detector", *content) for kind, content in DETECTORS.items()}
        manifest = json.loads((models["detector"] / "manifest.json").read_text(encoding="utf-8"))
        makers |= {
            k: copy("detector", "manifest.json", json.dumps({**manifest, "threshold": v})) for k, v in MANIFESTS.items()
        }
    return makers


def make_commands(models: Mapping[str, Path]) -> list[Command]:
    """Return the commands that read tables, recipes, language models, model folders and detectors."""
    sound, stages = str(models["sound"]), "stages=[{train: all, epochs: 1, lr: 1.0e-4, batch_seconds: 8}]"

    def of(prefixes: tuple[str, ...], *words: str) -> Callable[[Case], list[str] | None]:
        def arguments(case: Case) -> list[str] | None:
            if not case.kind.startswith(prefixes):
                return None
            out = str(case.arguments["here"] / "out")
            return [word.replace("{out}", out).replace("{}", str(case.path)) for word in words]

        return arguments

    tables, folders = ("table", "json"), ("model", "config", "weights")
    whisper, ctc = str(models["whisper"]), str(models["ctc"])
    commands = {
        "check": of(tables, "check", "{}"),
        "evaluate": of(tables, "evaluate", whisper, "{}"),
        "score": of(tables, "score", "{}", str(models["texts"])),
        "lm": of(tables, "lm", "{}", "--output", str(models["sound"].parent / "out.arpa"), "--overwrite"),
        "adapt": of(("yaml",), "adapt", "{}", f"data.train={models['table']}", f"encoder.name={whisper}", "--dry-run"),
        "wakeword train": of(("yaml",), "wakeword", "train", "x", "--recipe", "{}", "--output", "{out}"),
        "transcribe --lm": of(("arpa",), "transcribe", ctc, sound, "--lm", "{}", "--beam-size", "4"),
        "transcribe": of(folders, "transcribe", "{}", sound),
        "export": of(folders, "export", "{}", "--to", "transformers", "--output", "{out}"),
        "adapt MODEL": of(
            folders, "adapt", "accent-whisper", "encoder.name={}", f"data.train={models['table']}", stages, "--dry-run"
        ),
        "wakeword listen": of(("detector",), "wakeword", "listen", "{}", sound),
        "wakeword evaluate": of(("detector",), "wakeword", "evaluate", "{}", "--positives", sound),
    }
    return [Command(name, arguments, lambda code, _: f"exit {code}") for name, arguments in commands.items()]


def _make_models(work: Path, wave: np.ndarray) -> dict[str, Path]:
    """Return the folders of a Whisper, a CTC model and a detector, and files for the other side of each command."""
    whisper, detector = prepare_models(work / "models", wave)
    ctc, texts, sound = work / "models" / "ctc", work / "texts.csv", work / "sound.wav"
    if not ctc.exists():
        load_conftest().build_encoder(ctc, "wav2vec2", words="one two six")
    texts.write_text("id,text\na.wav,one\n", encoding="utf-8")
    soundfile.write(sound, wave, RATE)
    found = {
        "whisper": whisper,
        "ctc": ctc,
        "texts": texts,
        "sound": sound,
        "table": load_conftest().write_corpus(work / "corpus"),
    }
    return found if detector is None else {**found, "detector": detector}


def _make_nan_weights(models: Mapping[str, Path]) -> Callable[[Path], Path]:
    def make(here: Path) -> Path:
        from safetensors.numpy import load_file, save_file

        shutil.copytree(models["whisper"], here / "copy")
        weights = load_file(here / "copy" / "model.safetensors")
        name = next(iter(weights))
        weights[name] = np.full_like(weights[name], np.nan)
        save_file(weights, here / "copy" / "model.safetensors", metadata={"format": "pt"})
        return here / "copy"

    return make


def _make_pickle(models: Mapping[str, Path]) -> Callable[[Path], Path]:
    """A folder whose only weights are a pickle that would run code."""

    def make(here: Path) -> Path:
        shutil.copytree(models["whisper"], here / "copy")
        (here / "copy" / "model.safetensors").unlink()
        (here / "copy" / "pytorch_model.bin").write_bytes(pickle.dumps(_Touch(here / "hacked")))
        return here / "copy"

    return make
