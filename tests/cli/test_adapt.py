"""`speechxfer adapt` as a person types it: what is printed, what is written, mistakes, Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from forked_python import ForkServer
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.models import SpeechModel

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def recipe(tmp_path: Path, tiny_whisper: Path) -> Path:
    """A classifier, which answers at once."""
    values = {
        "data": {"train": "REQUIRED"},
        "encoder": {"name": str(tiny_whisper)},
        "head": {"kind": "classify", "pooling": "mean"},
        "stages": [{"train": "all", "epochs": 2, "lr": 3e-3, "batch_seconds": 2.5}],
        "device": "cpu",
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "mine.yaml"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, code: int = 0) -> tuple[str, str]:
        done = CliRunner().invoke(build_app(), ["adapt", *map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.stdout, done.stderr

    return invoke


def test_what_it_says_and_leaves(run: Run, recipe: Path, corpus_table: Path, tmp_path: Path) -> None:
    out, err = run(recipe, f"data.train={corpus_table}", "output=deep/er/run", "--json", "result.json")
    assert err == ""
    folder = tmp_path / "deep" / "er" / "run"
    written = json.loads((folder / "report.json").read_text())
    assert json.loads(Path("result.json").read_text()) == {"schema": "speechxfer.adapt/1", **written}
    assert "train: 9 utterances" in out and "dev: 3 utterances" in out and "test: 6 utterances" in out
    assert "stage 0 (all): " in out and "parameters are trained (" in out and "frozen" in out
    losses = re.findall(r"^stage 0 \(all\): epoch \d, loss ([\d.]+), dev accuracy [\d.]+%$", out, re.MULTILINE)
    assert len(losses) == 2 and losses[0] != losses[1]  # one line an epoch, each with its own
    assert f"model   {Path('deep/er/run/model')}" in out and "report.html" in out
    links = {file.stat().st_ino: file.stat().st_size for file in Path("deep/er/run/checkpoints").rglob("*.*")}
    assert f"training checkpoints: {sum(links.values()) / 1e6:,.0f} MB in {Path('deep/er/run/checkpoints')}" in out
    # the same words once more are no way to lose it
    assert "a finished run already exists" in run(recipe, f"data.train={corpus_table}", "output=deep/er/run", code=2)[1]
    again, _ = run(recipe, f"data.train={corpus_table}", "output=deep/er/run", "--resume")
    assert "nothing to do" in again and "model   " in again


def test_quiet(run: Run, recipe: Path, corpus_table: Path) -> None:
    assert run(recipe, f"data.train={corpus_table}", "stages.0.epochs=1", "--quiet") == ("", "")
    assert Path("runs/mine/report.json").is_file()


def test_before_and_after_are_a_table(
    run: Run, recipe: Path, corpus_table: Path, make_encoder: Callable[..., Path]
) -> None:
    own = make_encoder("wav2vec2", words="one two six")
    words = [f"data.train={corpus_table}", f"encoder.name={own}", "head={kind: ctc, vocabulary: own}"]
    out, _ = run(recipe, *words, "stages.0.lr=9")
    assert re.search(r"^ +before +after *$", out, re.MULTILINE) and "change" in out
    assert "warning: no candidate was better than the zero-shot" in out


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["sede=1"], ["unknown key 'sede' (did you mean 'seed'?)"]),
        (["data.grup=speaker"], ["unknown key 'data.grup' (did you mean 'group'?)"]),
        (["stages.0.epochs=many"], ["stages.0.epochs: must be a number", "many"]),
        (["stages.0.train=tops"], ["'tops' is not one of head, adapter, top-N"]),
        (["seed"], ["'seed' is not key=value"]),
        ([], ["data.train: set data.train=..."]),
        (["data.train=nowhere.csv"], ["nowhere.csv"]),
        (["data.train=t.csv", "encoder.name=nowhere"], ["no such model"]),
        (["data.train=t.csv", "head.kind=seq2seq"], ["need Whisper's decoder"]),
        (["data.train=t.csv", "data.test=gone.csv"], ["gone.csv"]),
        (["data.train=t.csv", "output=t.csv"], ["output is a file"]),
    ],
)
def test_a_mistake_is_one_message(
    run: Run,
    recipe: Path,
    corpus_table: Path,
    make_encoder: Callable[..., Path],
    words: list[str],
    messages: list[str],
) -> None:
    header, *lines = corpus_table.read_text().splitlines()
    cells = (line.split(",", 2) for line in lines)
    Path("t.csv").write_text("\n".join([header, *(f"{i},{corpus_table.parent / a},{rest}" for i, a, rest in cells)]))
    family = ["encoder.name=" + str(make_encoder("wav2vec2"))] if "head.kind=seq2seq" in words else []
    out, err = run(recipe, *words, *family, code=2)
    for message in messages:
        assert message in err
    assert err.startswith("speechxfer: ") and err.count("speechxfer: ") == 1
    assert "parameters are trained" not in out
    assert not Path("runs").exists()


def test_no_such_recipe(run: Run) -> None:
    assert "did you mean 'accent-whisper'?" in run("accent-wisper", code=2)[1]


def test_a_disk_that_fills(run: Run, recipe: Path, corpus_table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SpeechModel, "save", fail)
    _, err = run(recipe, f"data.train={corpus_table}", code=2)
    assert "runs/mine: the disk is full" in err and "the last complete checkpoint is kept" in err and "--resume" in err
    monkeypatch.undo()
    run(recipe, f"data.train={corpus_table}", f"output={recipe.parent}/runs/mine", "--resume", "--quiet")
    assert (recipe.parent / "runs/mine/report.json").is_file()


def test_ctrl_c_leaves_a_checkpoint_and_resume_finishes(
    run: Run, recipe: Path, corpus_table: Path, tmp_path: Path, fork_server: ForkServer
) -> None:
    words = [str(recipe), f"data.train={corpus_table}", "stages.0.epochs=30"]
    process = fork_server.start("-m", "speechxfer", "adapt", *words, cwd=tmp_path, env={"PYTHONUNBUFFERED": "1"})
    process.wait_for("epoch 2,")
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait() == 130, process.errors
    err = process.errors
    assert "interrupted at step " in process.output and err.strip().endswith("speechxfer: interrupted")
    assert "Traceback" not in err and time.monotonic() - began < 60
    assert "started with different values of stages" in run(*words[:-1], "--resume", code=2)[1]
    out, _ = run(*words, "--resume")
    assert "epoch 30," in out and "epoch 2," not in out
    report = json.loads((tmp_path / "runs" / "mine" / "report.json").read_text())
    assert [epoch["epoch"] for epoch in report["stages"][0]["epochs"]] == list(range(1, 31))
