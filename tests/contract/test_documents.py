"""The documents: their Python runs as it stands, their commands, options and links exist, their map is whole."""

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
README = ROOT / "README.md"
DOCUMENTS = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MAX_README_BYTES = 10_240
COMMAND = re.compile(r"^(?: {4}|)(?:\$ )?(speechxfer .*)")


def list_python(path: Path) -> list[str]:
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL)]


def list_commands(path: Path) -> list[str]:
    """Lines of code that start with the program's name: indented, or in a fence."""
    found, in_code = [], False
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("```"):
            in_code = not in_code
        if (match := COMMAND.match(line)) and (in_code or line.startswith("    ")):
            found.append(match[1])
    return found


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= MAX_README_BYTES


@pytest.mark.parametrize("path", [README, ROOT / "docs" / "reference" / "python.md"], ids=lambda path: path.name)
def test_its_python_runs_as_it_stands(
    path: Path, tiny_recipe: Any, corpus_table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (block,) = list_python(path)
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


def test_scoring_in_python_runs_as_it_stands(capsys: Any) -> None:
    (block,) = list_python(ROOT / "docs" / "guides" / "scoring.md")
    exec(compile(block, "scoring.md", "exec"), {})
    assert "1 / 3" in capsys.readouterr().out


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
    (block,) = list_python(ROOT / "docs" / "guides" / "export.md")
    assert "speechxfer" not in block
    exec(compile(block, "README.md", "exec"), {})
    heard, _ = soundfile.read("seven.wav", dtype="float32")
    assert capsys.readouterr().out.strip() == load(folder, device="cpu").predict([heard])[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_it_shows_exists_with_its_options(path: Path) -> None:
    app: Any = typer.main.get_command(build_app())
    for line in list_commands(path):
        words = shlex.split(line, comments=True)[1:]
        if words[0].startswith("-"):
            continue
        command = app.commands[words[0]]
        if hasattr(command, "commands") and len(words) > 1:  # a group's: wakeword train
            command = command.commands[words[1]]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in words[1:]:
            assert not word.startswith("-") or word == "-" or word.split("=")[0] in known, line


def test_commands_are_found() -> None:
    assert {line.split()[1] for line in list_commands(README)} >= {"check", "adapt", "evaluate", "transcribe", "score"}
    assert len(list_commands(ROOT / "docs" / "guides" / "wake-words.md")) == 7


def test_the_map_names_every_folder_of_the_package() -> None:
    folders = {path.parent.name for path in (ROOT / "speechxfer").glob("*/__init__.py")}
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == folders


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        found = (path.parent / target.partition("#")[0]).exists()
        assert target.startswith("http") or found, target
    for script in set(re.findall(r"scripts/[\w/]+\.py", text)) - {"scripts/bench/NAME.py"}:
        assert (ROOT / script).exists(), script
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)\b(?=`|$)", text, re.MULTILINE)) <= targets
