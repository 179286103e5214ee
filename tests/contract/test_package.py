"""`import speechxfer`: six names, found when first used, and still those names whatever was imported before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forked_python import ForkServer

import speechxfer

NAMES = ("adapt", "evaluate", "load", "read", "score", "transcribe")


def fresh(code: str) -> str:
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_names_are_stated_and_no_other_is_guessed():
    assert tuple(speechxfer.__all__) == NAMES
    assert set(NAMES) <= set(dir(speechxfer))
    with pytest.raises(AttributeError, match="has no attribute 'transcibe'"):
        _ = speechxfer.transcibe


def test_importing_it_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'datasets', 'numpy', 'jiwer'} & set(sys.modules)"
    assert fresh(f"import sys, speechxfer; print({heavy} or 'none')") == "none"
    light = "{'torch', 'transformers', 'datasets'} & set(sys.modules)"
    code = f"import sys, speechxfer; print(speechxfer.score(['a b'], ['a c']).wer, {light} or 'none')"
    assert fresh(code) == "0.5 none"


def test_every_name_stays_a_function_whatever_is_imported(fork_server: ForkServer):
    code = f"import speechxfer.cli.adapt, speechxfer; [getattr(speechxfer, name) for name in {NAMES}]\n"
    code += f"print([callable(getattr(speechxfer, name)) for name in {NAMES}])"
    process = fork_server.run("-c", code)
    assert process.output.strip() == str([True] * len(NAMES)), process.errors


def test_a_recipe_by_its_path_with_words_as_on_the_command_line(
    tiny_recipe: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechxfer.config import dump_recipe

    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(dump_recipe(tiny_recipe()))
    run = speechxfer.adapt("mine.yaml", "stages.0.epochs=1", "output=null")
    assert run.run_dir.path == Path("runs/mine")
    assert len(run.report.to_json()["stages"][0]["epochs"]) == 1
    with pytest.raises(TypeError, match="not validated yet"):
        speechxfer.adapt(tiny_recipe(), "seed=1")
