"""A CTC checkpoint with a language model in pyctcdecode's layout is decoded with it, or a warning says why not."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.setup import load_zero_shot_model
from speechxfer.cli import build_app
from speechxfer.config import load_recipe
from speechxfer.decoding.ctc_beam import BeamSearch, BeamSearchOptions, read_lm
from speechxfer.models import load
from speechxfer.models.transcribe import transcribe
from speechxfer.report.progress import Reporter
from speechxfer.text.ngram import train_ngram

pytest.importorskip("ctc_beam_decoder", reason="the extra 'lm' is not installed")

WORDS = ("a", "ab", "b", "ba", "c", "cab")
ATTRIBUTES = {"alpha": 0.9, "beta": 1.1, "unk_score_offset": -6.0, "score_boundary": True}


@pytest.fixture
def checkpoint(make_encoder, tmp_path) -> Path:
    """A CTC checkpoint over a, b and c with a language model in ARPA format."""
    folder = Path(shutil.copytree(make_encoder("wav2vec2", words="a b c"), tmp_path / "checkpoint"))
    (folder / "language_model").mkdir()
    train_ngram(["a b c", "a b", "b a c", "ab c", "ab ab a", "c b a ba", "cab ba"], 3).write(
        folder / "language_model" / "3gram.arpa"
    )
    (folder / "language_model" / "attrs.json").write_text(json.dumps(ATTRIBUTES))
    (folder / "language_model" / "unigrams.txt").write_text("\n".join(WORDS))
    (folder / "alphabet.json").write_text(json.dumps({"labels": ["", " ", "⁇", "a", "b", "c"], "is_bpe": False}))
    return folder


@pytest.fixture
def waveforms(make_speech):
    return [make_speech(word, voice, 1.0) for voice, word in enumerate(("one", "two", "six"))]


def use_binary(folder: Path) -> None:
    """Replace the ARPA file by KenLM's binary of it."""
    (folder / "language_model" / "3gram.arpa").unlink()
    shutil.copy(Path(__file__).parents[1] / "decoding" / "abc_trigram.bin", folder / "language_model" / "3gram.bin")


@pytest.mark.parametrize("binary", [False, True])
def test_it_is_decoded_with_its_own_weights(checkpoint, waveforms, tmp_path, binary):
    lm = read_lm(shutil.copy(checkpoint / "language_model" / "3gram.arpa", tmp_path))
    if binary:
        use_binary(checkpoint)
    model = load(checkpoint, device="cpu")
    assert not model.warnings and model.settings.beam_size == 100
    search = BeamSearch(model.labels, lm, BeamSearchOptions(100, 0.9, 1.1, unknown_word_score=-6.0))
    expected = [rows[0].text for rows in search(model.infer(waveforms, model.compute_emissions))]
    assert model.predict(waveforms) == expected
    greedy = load(checkpoint, device="cpu")
    greedy.settings.beam_size = 1
    assert greedy.predict(waveforms) != expected

    model.save(tmp_path / "saved")  # as a run does if the adapted model is not better
    assert (tmp_path / "saved" / ("lm.bin" if binary else "lm.arpa")).is_file()
    shutil.rmtree(checkpoint)
    again = load(tmp_path / "saved", device="cpu")
    assert again.search_options == model.search_options and again.predict(waveforms) == expected


def without_attributes(folder: Path) -> None:
    (folder / "language_model" / "attrs.json").unlink()


def with_two_models(folder: Path) -> None:
    shutil.copy(folder / "language_model" / "3gram.arpa", folder / "language_model" / "4gram.arpa")


def cut_model(folder: Path) -> None:
    path = folder / "language_model" / "3gram.arpa"
    path.write_text(path.read_text()[:-200])


def binary_without_words(folder: Path) -> None:
    use_binary(folder)
    (folder / "language_model" / "unigrams.txt").unlink()


def without_boundaries(folder: Path) -> None:
    (folder / "language_model" / "attrs.json").write_text(json.dumps(ATTRIBUTES | {"score_boundary": False}))


def in_another_alphabet(folder: Path) -> None:
    train_ngram(["мама мыла раму"] * 2, 2).write(folder / "language_model" / "3gram.arpa")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_attributes, "attrs.json cannot be read"),
        (with_two_models, "there is 3gram.arpa, 4gram.arpa"),
        (cut_model, "cannot be read to its end"),
        (binary_without_words, "KenLM's binary format does not list its words"),
        (without_boundaries, "sets score_boundary to false"),
        (in_another_alphabet, "another alphabet"),
    ],
)
def test_what_cannot_be_used_is_a_warning_and_greedy_decoding(checkpoint, make_encoder, waveforms, spoil, reason):
    spoil(checkpoint)
    model = load(checkpoint, device="cpu")
    (warning,) = model.warnings
    assert reason in warning and "not the one that its authors report" in warning
    assert model.lm is None and model.settings.beam_size == 1
    assert model.predict(waveforms) == load(make_encoder("wav2vec2", words="a b c"), device="cpu").predict(waveforms)


def test_without_the_package_the_warning_names_it(checkpoint, corpus_table, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    (warning,) = load(checkpoint, device="cpu").warnings
    assert "needs the package 'ctc-beam-decoder'" in warning and "pip install 'speechxfer[lm]'" in warning
    for command in ("transcribe", "evaluate"):
        done = CliRunner().invoke(build_app(), [command, str(checkpoint), str(corpus_table), "--device", "cpu"])
        assert done.exit_code == 0
        assert "ctc-beam-decoder" in " ".join((done.stdout + done.stderr).split())


def test_a_run_compares_with_the_checkpoint_as_its_authors_run_it(checkpoint, corpus_table, tmp_path):
    text = corpus_table.read_text()
    for word, letters in (("one", "a b"), ("two", "c"), ("six", "cab")):
        text = text.replace(f".wav,{word},", f".wav,{letters},")
    table = corpus_table.with_name("letters.csv")
    table.write_text(text)
    values = {
        "data": {"train": str(table)},
        "encoder": {"name": str(checkpoint)},
        "head": {"kind": "ctc", "vocabulary": "own"},
        "stages": [{"train": "head", "epochs": 1, "lr": 1e-6}],
        "candidates": {"means": [], "pretrained_share": []},
        "device": "cpu",
        "output": str(tmp_path / "run"),
    }
    recipe = load_recipe(values)
    run = adapt(recipe, reporter=Reporter(quiet=True))
    lines = [json.loads(line) for line in (tmp_path / "run" / "before.jsonl").open()]
    zero_shot = load_zero_shot_model(recipe)
    assert zero_shot is not None and zero_shot.settings.beam_size == 100
    texts = {one.id: one.text for one in transcribe(zero_shot, table)}
    assert len(lines) == 6 and all(line["hypothesis"] == texts[line["id"]] for line in lines)
    assert run.before is not None
