"""The README holds: its Python runs as it stands, its commands and options exist, its map is whole, its links too."""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer.main

from speechxfer.cli import build_app
from speechxfer.config import dump_recipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)]
COMMANDS = [line.strip() for line in README.splitlines() if re.match(r" {4}(\$ )?speechxfer ", line)]


def test_its_python_runs_as_it_stands(
    tiny_recipe: Any, corpus_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    block, _ = BLOCKS
    rows = corpus_table.read_text().splitlines()
    for part, kept in {"train": ("train", "dev"), "test": ("test",)}.items():
        lines = [rows[0], *(row for row in rows[1:] if row.rsplit(",", 1)[1] in kept)]
        (tmp_path / f"{part}.csv").write_text("\n".join(lines) + "\n")
    for file in corpus_table.parent.glob("*.wav"):
        shutil.copy(file, tmp_path)
    shutil.copy(tmp_path / "5-one.wav", tmp_path / "interview.wav")
    (tmp_path / "accent-whisper").write_text(dump_recipe(tiny_recipe("stages.0.epochs=1")))  # a file goes before a name
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    output = capsys.readouterr().out
    assert len(re.findall(r"\d %? ?\[\d+ / 6: ", output)) == 2  # the test part's six words, before and after


def test_its_graph_runs_without_us(
    make_encoder: Any, make_speech: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("onnxruntime")
    from speechxfer.export import export_model
    from speechxfer.models import load

    folder = make_encoder("hubert", labels=["one", "two", "six"])
    export_model(folder, "onnx", tmp_path / "graph")
    soundfile.write(tmp_path / "seven.wav", make_speech("six", 1, 0.7), 16_000)
    monkeypatch.chdir(tmp_path)
    _, block = BLOCKS
    assert "speechxfer" not in block
    exec(compile(block, "README.md", "exec"), {})
    heard, _ = soundfile.read("seven.wav", dtype="float32")
    assert capsys.readouterr().out.strip() == load(folder, device="cpu").predict([heard])[0]


def test_every_command_it_shows_exists_with_its_options():
    app: Any = typer.main.get_command(build_app())
    assert {line.split()[1] for line in COMMANDS} >= {"check", "adapt", "evaluate", "transcribe", "score"}
    for line in COMMANDS:
        words = shlex.split(line, comments=True)[1:]
        command = app.commands[words[0]]
        if hasattr(command, "commands") and len(words) > 1:  # a group's: wakeword train
            command = command.commands[words[1]]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in words[1:]:
            assert not word.startswith("--") or word.split("=")[0] in known, line


def test_its_map_names_every_folder_of_the_package():
    folders = {path.parent.name for path in (ROOT / "speechxfer").glob("*/__init__.py")}
    mapped = set(re.findall(r"^\| `(\w+)/` \|", README, re.MULTILINE))
    assert mapped == folders


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert target.startswith("http") or (ROOT / target.partition("#")[0]).exists(), target
    for script in re.findall(r"scripts/[\w/]+\.py", README):
        assert (ROOT / script).exists(), script
