"""The script that counts equal transcripts: it counts right, and sees a model whose answers depend on the batch."""

from __future__ import annotations

import json

import pytest

from speechxfer.errors import UserError


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, tiny_whisper):
    """A run folder around an unpadded model, as `adapt` leaves it."""
    from speechxfer.models import load

    model = load(tiny_whisper, device="cpu")
    model.settings.pad_to_30s = False
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "model")
    (folder / "recipe.yaml").write_text("")
    return folder


def test_an_unpadded_model_of_a_run_folder(script, run_folder, corpus_table, tmp_path, capsys):
    target = tmp_path / "batch-invariance.json"
    words = ["--utterances", "7", "--batch", "3", "--beam-size", "2", "--device", "cpu", "--json", str(target)]
    script("batch_invariance.py").main([str(run_folder), str(corpus_table), *words])
    output = capsys.readouterr().out
    assert "greedy: 7 of 7 transcripts equal at batch 1 and 3" in output
    assert "beam 2: 7 of 7 transcripts equal at batch 1 and 3" in output
    found = json.loads(target.read_text())
    assert found["padded_to_30s"] is False
    assert found["transcripts"]["greedy"] == {"equal": 7, "utterances": 7, "different": []}
    assert 0 < found["largest_frame_difference"] < 1e-4  # zero only if nothing was padded
    (row,) = script("tables.py").invariance(found)
    assert row[:2] == ["transcripts at batch 1 and 3", "greedy: 7 of 7 equal; beam 2: 7 of 7 equal"]
    assert found["audio_seconds"]["shortest"] < found["audio_seconds"]["longest"]
    assert str(run_folder) not in target.read_text() and str(corpus_table.parent) not in target.read_text()


def test_answers_that_depend_on_the_batch_are_counted_and_shown(
    script, run_folder, corpus_table, tmp_path, monkeypatch, capsys
):
    from speechxfer.models.seq2seq import WhisperRecogniser

    true = WhisperRecogniser.predict
    monkeypatch.setattr(WhisperRecogniser, "predict", lambda self, w: [f"{t} {len(w)}" for t in true(self, w)])
    target = tmp_path / "batch-invariance.json"
    words = ["--utterances", "7", "--batch", "3", "--device", "cpu", "--json", str(target)]
    with pytest.raises(SystemExit) as stopped:
        script("batch_invariance.py").main([str(run_folder), str(corpus_table), *words])
    assert stopped.value.code == 1
    assert "greedy: 1 of 7 transcripts equal" in capsys.readouterr().out  # batches of 3, 3 and 1
    different = json.loads(target.read_text())["transcripts"]["greedy"]["different"]
    assert all(pair["alone"].endswith(" 1") and pair["in_batch"].endswith(" 3") for pair in different)


def test_frames_that_leak_from_a_neighbour_show(script, run_folder, corpus_table, monkeypatch):
    from speechxfer.data import audio
    from speechxfer.data.reader import read
    from speechxfer.encoders import whisper
    from speechxfer.models import load

    monkeypatch.setattr(whisper, "make_additive_mask", lambda *_: None)  # attention then sees the padding
    waveforms = [audio.load_waveform(row) for row in read(corpus_table).select(range(6))]
    model = load(run_folder, device="cpu")
    assert script("batch_invariance.py").frame_difference(model, waveforms, 6) > 1e-3


def test_a_ctc_model_has_no_beam(script, tiny_whisper, corpus_table, tmp_path):
    from speechxfer.config import load_recipe
    from speechxfer.models import build_trainable

    stages = [{"train": "head", "epochs": 1, "lr": 1}]
    recipe = load_recipe({"encoder": {"name": str(tiny_whisper)}, "head": {"kind": "ctc"}, "stages": stages})
    build_trainable(recipe, ["one", "two"]).save(tmp_path / "model")
    with pytest.raises(UserError, match="a ctc model has no beam search"):
        script("batch_invariance.py").main([str(tmp_path / "model"), str(corpus_table), "--beam-size", "2"])
