"""`speechxfer recipes`: what is listed and copied is what ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.config import load_recipe, shipped_recipes


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["recipes", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_every_shipped_recipe_is_listed_with_its_purpose():
    code, output, _ = run("--json", "all.json")
    assert code == 0
    listed = {one["name"]: one for one in json.loads(Path("all.json").read_text())["recipes"]}
    assert listed.keys() == shipped_recipes().keys()
    for name, one in listed.items():
        line = next(line for line in output.splitlines() if line.startswith(f"{name} "))
        assert line.endswith(one["purpose"]) and len(one["purpose"]) > 20
        assert Path(one["path"]).read_text().startswith(f"# {one['purpose']}\n")


def test_quiet_says_nothing():
    assert run("--quiet") == (0, "", "")


def test_a_copy_is_the_recipe_and_loads(tmp_path):
    code, output, _ = run("copy", "accent-whisper")
    assert code == 0 and "speechxfer adapt accent-whisper.yaml" in output
    assert Path("accent-whisper.yaml").read_text() == shipped_recipes()["accent-whisper"].read_text()
    assert load_recipe("accent-whisper.yaml") == load_recipe("accent-whisper")
    assert run("copy", "demo", "deep/er/mine.yaml", "--quiet") == (0, "", "")
    assert Path("deep/er/mine.yaml").is_file()
    (tmp_path / "folder").mkdir()
    assert run("copy", "demo", "folder")[0] == 0
    assert Path("folder/demo.yaml").is_file()


def test_the_wake_word_s_recipe_names_its_own_command():
    code, output, _ = run("copy", "wakeword", "mine.yaml")
    assert code == 0 and 'speechxfer wakeword train "hey juniper" --recipe mine.yaml' in output
    assert 'speechxfer wakeword train "hey juniper" --recipe wakeword' in run()[1]
    for words in (["adapt", "wakeword"], ["adapt", "mine.yaml", "data.train=x.csv"]):
        refused = CliRunner().invoke(build_app(), words)
        assert refused.exit_code == 2
        assert f"{words[1]}: is a recipe for `speechxfer wakeword train`" in refused.stderr
        assert f"speechxfer wakeword train WORD --recipe {words[1]}" in refused.stderr


def test_nothing_is_replaced_and_nothing_is_guessed():
    Path("demo.yaml").write_text("mine")
    code, _, output = run("copy", "demo")
    assert code == 2 and "demo.yaml: already exists" in output
    assert Path("demo.yaml").read_text() == "mine"
    code, _, output = run("copy", "acent-whisper")
    assert code == 2 and "did you mean 'accent-whisper'?" in output
    Path("file").write_text("")
    code, _, output = run("copy", "demo", "file/x.yaml")
    assert code == 2 and "file/x.yaml: already exists" not in output and "cannot be written" in output


def test_json_that_cannot_be_written_is_one_message():
    Path("file").write_text("")
    code, _, output = run("--json", "file/x.json")
    assert code == 2 and output.startswith("speechxfer: ") and "file" in output
