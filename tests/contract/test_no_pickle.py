"""A saved model is safetensors and JSON: nothing that could run code when it is opened."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

import speechxfer
from speechxfer.config import load_recipe

PACKAGE = Path(speechxfer.__file__).parent
HEADS = {
    "seq2seq": {"kind": "seq2seq"},
    "ctc": {"kind": "ctc"},
    "mean": {"kind": "classify", "pooling": "mean"},
    "attentive": {"kind": "classify", "pooling": "attentive"},
}


@pytest.mark.parametrize("head", HEADS)
def test_model_folder(head, tiny_whisper, tmp_path):
    from speechxfer.adaptation.run_dir import RunDir
    from speechxfer.models import build_trainable

    stages = [{"train": "head", "epochs": 1, "lr": 1}]
    recipe = load_recipe({"encoder": {"name": str(tiny_whisper)}, "head": HEADS[head], "stages": stages})
    folder = RunDir(tmp_path / "run")
    folder.path.mkdir()
    folder.save_model(build_trainable(recipe, ["one", "two"]))
    files = [path for path in folder.model.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            with safe_open(path, "pt") as tensors:
                assert list(tensors.keys())
    assert sorted(path.name for path in folder.path.iterdir()) == ["model"]  # nothing left beside it


FORBIDDEN = r"\b(?:import (?:pickle|dill|joblib|shelve|marshal)|from (?:pickle|dill|joblib|shelve|marshal) import)\b"
FORBIDDEN += r"|\b(?:torch\.load|yaml\.load|yaml\.unsafe_load|os\.system)\(|\bshell=True|(?<![.\w])(?:eval|exec)\("


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_source_file_opens_what_could_run_code(path):
    assert not re.findall(FORBIDDEN, path.read_text(encoding="utf-8"))
