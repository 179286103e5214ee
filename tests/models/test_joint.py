"""Whisper with an additional CTC head: the combined loss, saving and loading, hypotheses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from speechxfer.config import load_recipe
from speechxfer.decoding.rescoring import RescoringWeights, choose_hypothesis
from speechxfer.errors import UserError
from speechxfer.heads.ctc import compute_ctc_loss
from speechxfer.heads.whisper_decoder import compute_decoder_loss
from speechxfer.models import build_trainable, load
from speechxfer.models.joint import CTC_HEAD_FILE, JointRecogniser
from speechxfer.shapes import Frames

TEXTS = ["one", "two", "Six, one"]


def joint(checkpoint: Path, **head: object) -> JointRecogniser:
    stages = [{"train": "all", "epochs": 1, "lr": 1}]
    decoding = {"kind": "beam", "beam_size": 3}
    values = {"encoder": {"name": str(checkpoint)}, "stages": stages, "device": "cpu", "decoding": decoding}
    torch.manual_seed(1)
    model = build_trainable(load_recipe({**values, "head": {"kind": "joint", **head}}), TEXTS)
    assert isinstance(model, JointRecogniser)
    model.network.eval()
    return model


@pytest.fixture
def waveforms(make_speech) -> list[np.ndarray]:
    return [make_speech("two", 1, 1.3), make_speech("one", 2, 0.6)]


def frames_of(model: JointRecogniser, waveforms: list[np.ndarray]) -> Frames:
    with torch.no_grad():
        return model.encoder(model.encoder.prepare(waveforms))


def test_the_loss_is_the_weighted_sum_of_both(tiny_whisper, waveforms):
    model = joint(tiny_whisper, ctc_weight=0.25, lstm_layers=1)
    frames = frames_of(model, waveforms)
    tokens = [model.encode_target("Six, one"), model.encode_target("two")]
    labels = torch.full((2, max(map(len, tokens))), -100)
    for row, target in zip(labels, tokens, strict=True):
        row[: len(target)] = torch.tensor(target)
    characters = torch.tensor([model.encode_known("six one"), [*model.encode_known("two"), *[-100] * 4]])
    decoder = compute_decoder_loss(model.whisper, frames, labels, model.prompt)
    ctc = compute_ctc_loss(model.compute_emissions(frames), characters, model.blank)
    torch.testing.assert_close(
        model.compute_loss(frames, labels), 0.75 * decoder + 0.25 * ctc * sum(map(len, tokens)) / 10
    )


def test_a_saved_model_opens_here_and_in_transformers(tiny_whisper, waveforms, tmp_path):
    model = joint(tiny_whisper, lstm_layers=2)
    model.settings.rescoring = {"ctc": 0.4, "word": 0.1, "risk": 0.2}
    model.save(tmp_path / "saved")
    again = load(tmp_path / "saved", device="cpu")
    assert isinstance(again, JointRecogniser) and again.vocabulary == model.vocabulary
    torch.testing.assert_close(
        again.compute_emissions(frames_of(again, waveforms)).log_probs,
        model.compute_emissions(frames_of(model, waveforms)).log_probs,
    )
    assert again.predict(waveforms) == model.predict(waveforms)
    network, found = WhisperForConditionalGeneration.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    torch.testing.assert_close(dict(network.state_dict()), dict(model.whisper.state_dict()))


def test_a_missing_ctc_head_is_an_error(tiny_whisper, tmp_path):
    joint(tiny_whisper).save(tmp_path / "saved")
    (tmp_path / "saved" / CTC_HEAD_FILE).unlink()
    with pytest.raises(UserError, match="CTC head"):
        load(tmp_path / "saved", device="cpu")


def test_hypothesis_scores_are_those_of_the_losses(tiny_whisper, waveforms):
    model = joint(tiny_whisper, lstm_layers=1)
    frames = frames_of(model, waveforms)
    found = model.list_hypotheses(frames)
    assert [len(hypotheses) for hypotheses in found] == [3, 3]
    for row, hypotheses in enumerate(found):
        length = frames.lengths[row : row + 1]
        alone = Frames(frames.states[row : row + 1, : int(length)], length)
        one = hypotheses[1]
        if one.words:
            characters = torch.tensor([model.encode_known(one.text)])
            ctc = compute_ctc_loss(model.compute_emissions(alone), characters, model.blank).item()
            assert one.ctc == pytest.approx(-ctc, rel=1e-4) or one.ctc == float("-inf")
    model.settings.rescoring = {"ctc": 0.5, "word": 0.0, "risk": 1.0}

    assert model.decode_frames(frames) == [
        choose_hypothesis(each, RescoringWeights(0.5, 0.0, 1.0)).text for each in found
    ]


def test_hypotheses_do_not_depend_on_the_batch(tiny_whisper, waveforms):
    model = joint(tiny_whisper, lstm_layers=1)
    together = model.list_hypotheses(frames_of(model, waveforms))
    for waveform, hypotheses in zip(waveforms, together, strict=True):
        alone = model.list_hypotheses(frames_of(model, [waveform]))[0]
        assert [one.text for one in alone] == [one.text for one in hypotheses]
        for one, other in zip(alone, hypotheses, strict=True):
            assert one.decoder == pytest.approx(other.decoder, abs=1e-3)
            assert one.ctc == pytest.approx(other.ctc, abs=1e-3)
