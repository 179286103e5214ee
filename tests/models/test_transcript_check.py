"""Transcripts that do not match their audio come first: with emissions made by hand, and in the command."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.data.audio import load_waveform as load_audio
from speechxfer.data.reader import read
from speechxfer.decoding.whisper import GenerationOptions, decode_n_best
from speechxfer.errors import UserError
from speechxfer.models import load, transcript_check
from speechxfer.shapes import Emissions


def make_emissions(text: str, vocabulary: dict[str, int]) -> Emissions:
    """Three frames per symbol (two of it, one blank), with high probability."""
    rows = torch.full((3 * len(text), len(vocabulary)), 0.01)
    for k, symbol in enumerate(text):
        rows[3 * k : 3 * k + 2, vocabulary["|" if symbol == " " else symbol]] = 1.0
        rows[3 * k + 2, 0] = 1.0
    return Emissions((rows / rows.sum(-1, keepdim=True)).log()[None], torch.tensor([len(rows)]))


@pytest.fixture
def ctc(make_encoder):
    return make_encoder("wav2vec2", words="one two six")


def test_wrong_transcripts_come_first_and_are_suspicious(ctc, corpus_table, monkeypatch):
    model, utterances = load(ctc, device="cpu"), read(corpus_table)
    spoken = list(utterances["text"])
    spoken[7] = "six one"  # the table has "two"
    spoken[11] = "s"  # the table has "six", which does not fit into two frames
    texts = [make_emissions(text, model.vocabulary) for text in spoken]
    texts[11] = Emissions(texts[11].log_probs[:, :2], torch.tensor([2]))
    monkeypatch.setattr(transcript_check, "predict_all", lambda *_, **__: texts)
    found = transcript_check.score_transcripts(model, utterances)
    assert [one.index for one in found[:2]] == [11, 7]
    assert [one.index for one in found if one.is_suspicious] == [11, 7]
    assert found[0].log_prob_gap is None and found[1].log_prob_gap > 1 and found[1].hypothesis == "six one"
    right = found[2]
    assert right.log_prob_gap == 0.0 and right.hypothesis == utterances[right.index]["text"]
    (word,) = right.words
    stride = 320 / 16_000  # product of the convolutions' strides
    assert word.start == 0.0 and word.end == pytest.approx(8 * stride)  # three letters, without the last blank


def test_the_gap_of_whisper_s_decoder_is_that_of_its_losses(tiny_whisper, corpus_table):
    model, utterances = load(tiny_whisper, device="cpu"), read(corpus_table)
    found = {one.index: one for one in transcript_check.score_transcripts(model, utterances, batch_seconds=100)}
    assert sorted(found) == list(range(18))
    for index in (0, 7, 17):  # each alone, by the training loss
        row, one = utterances[index], found[index]
        assert one.id == row["id"] and one.words == []
        own, text = [*model.encode_text(row["text"])], model.predict([load_audio(row)])[0]
        assert one.hypothesis == text or not model.settings.no_loops

        def likelihood(tokens, row=row):
            labels = torch.tensor([tokens])
            return -float(model.infer([load_audio(row)], lambda frames: model.compute_loss(frames, labels)).detach())

        (texts,) = model.infer(
            [load_audio(row)],
            lambda f: decode_n_best(model.whisper, f, model.prompt, GenerationOptions(block_loops=True)),
        )[0]
        assert one.log_prob_gap == pytest.approx(
            max(0.0, (likelihood(texts) - likelihood(own)) / len(own)), rel=1e-3, abs=1e-4
        )
    silent = utterances.map(lambda row: {**row, "text": ""})
    assert all(
        one.log_prob_gap is None and one.is_suspicious for one in transcript_check.score_transcripts(model, silent)
    )


def test_a_script_with_many_tokens_per_word_is_decoded_to_its_end(tiny_whisper, corpus_table):
    """The token limit follows from the tokens per word, as in prediction."""
    model, utterances = load(tiny_whisper, device="cpu"), read(corpus_table).select([0, 7, 17])
    model.settings.no_loops = True
    short = [
        one.hypothesis
        for one in sorted(transcript_check.score_transcripts(model, utterances), key=lambda one: one.index)
    ]
    model.settings.tokens_per_word = 17.0
    found = [
        one.hypothesis
        for one in sorted(transcript_check.score_transcripts(model, utterances), key=lambda one: one.index)
    ]
    assert found == [model.predict([load_audio(row)])[0] for row in utterances] != short


def test_check_lists_the_scores_and_refuses_a_classifier(ctc, make_encoder, corpus_table, tmp_path):
    def run(*words: str):
        return CliRunner().invoke(build_app(), ["check", str(corpus_table), *words])

    done = run("--model", str(ctc), "--transcripts", "--json", str(tmp_path / "check.json"))
    assert done.exit_code == 0, done.output
    assert "compared 18 rows" in done.output
    rows = json.loads((tmp_path / "check.json").read_text())["matches"]
    assert sorted(one["row"] for one in rows) == list(range(1, 19))
    gaps = [one["gap"] for one in rows]
    assert gaps == sorted(gaps, reverse=True)
    assert all([word["text"] for word in one["words"]] == one["text"].split() for one in rows)
    done = run("--transcripts")
    assert done.exit_code == 2 and "--model" in done.output
    with pytest.raises(UserError, match="kind classify writes no text"):
        transcript_check.score_transcripts(
            load(make_encoder("wav2vec2", labels=["one", "two"]), device="cpu"), read(corpus_table)
        )
