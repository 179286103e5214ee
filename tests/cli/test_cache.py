"""`speechxfer cache`: what is kept is listed as it lies on the disk; what is named is cleared, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speechxfer.cli import build_app


@pytest.fixture(autouse=True)
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))
    return tmp_path / "frames"


@pytest.fixture
def stores(tiny_whisper: Path) -> dict[int, Path]:
    """Layer to the folder of a store with as many utterances, and one more."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperModel

    from speechxfer.encoders.frame_store import FrameStore
    from speechxfer.encoders.whisper import WhisperEncoderWrapper
    from speechxfer.shapes import Hidden

    network = WhisperModel.from_pretrained(tiny_whisper)
    encoder = WhisperEncoderWrapper(network.encoder, WhisperFeatureExtractor.from_pretrained(tiny_whisper))
    made = {}
    for layer in (-1, 2):
        store = FrameStore(encoder, layer, name="tiny")
        count = layer + 2
        keys = [f"utterance {k}" for k in range(count)]
        store.add(keys, Hidden(torch.zeros(count, 500, 32), torch.full((count,), 500), layer))
        store.flush()
        made[layer] = store.path
    return made


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(build_app(), ["cache", *words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_what_is_kept_is_listed(stores, frames):
    code, output, _ = run()
    assert code == 0 and f"2 stores, 0 MB in {frames}" in output
    line = next(line for line in output.splitlines() if line.startswith(stores[2].name))
    assert "4 utterances" in line and line.endswith("whisper tiny, below layer 2, float32")
    assert "whisper tiny, convolutions, float32" in output
    code, output, _ = run("--json", "-")
    listed = {one["layer"]: one for one in json.loads(output)["stores"]}
    for layer, path in stores.items():
        one = listed[layer]
        assert one["path"] == str(path) and one["name"] == path.name and one["utterances"] == layer + 2
        size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
        assert one["megabytes"] == pytest.approx(size / 1e6, abs=1e-3) and size > 0


def test_one_is_cleared_by_how_its_name_begins(stores):
    code, output, _ = run("clear", stores[2].name[:10])
    assert code == 0 and output.startswith("1 of 2 stores removed")
    assert not stores[2].exists() and stores[-1].exists()
    assert run("clear", "--all", "--quiet") == (0, "", "")
    assert not stores[-1].exists()
    assert json.loads(run("--json", "-")[1])["stores"] == []
    assert json.loads(run("clear", "--all", "--json", "-")[1]) == {
        "schema": "speechxfer.cache-clear/1",
        "removed": [],
        "megabytes": 0,
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clear"], "nothing to clear"),
        (["clear", "--all", "abc"], "nothing to clear"),
        (["clear", "nothing"], "no such store"),
        (["clear", ""], "2 stores have names that begin with it"),
    ],
)
def test_what_is_not_clear_removes_nothing(stores, words, message):
    code, _, output = run(*words)
    assert code == 2 and message in output
    assert all(path.exists() for path in stores.values())


def test_nothing_kept_is_no_mistake(frames):
    code, output, _ = run()
    assert code == 0 and f"0 stores, 0 MB in {frames}" in output
    assert run("--quiet") == (0, "", "")
    assert not frames.exists()


def test_answers_are_counted_and_go_with_all(stores, frames):
    (frames / "answers").mkdir()
    for name in ("0a.json", "1b.json", "notes.txt"):
        (frames / "answers" / name).write_text("{}" * 100)
    assert "predictions of pretrained models on 2 data splits" in run()[1]
    assert json.loads(run("--json", "-")[1])["answers"] == 2
    assert run("clear", stores[2].name)[0] == 0 and len(list((frames / "answers").iterdir())) == 3
    assert run("clear", "--all")[0] == 0
    assert [path.name for path in (frames / "answers").iterdir()] == ["notes.txt"]
