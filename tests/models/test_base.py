"""A saved model opens again with the same predictions, settings and permissions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from speechxfer.models import (
    ModelSettings,
    load,
)

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec", "conformer", "bert")


HEADS = [
    ("whisper", {"kind": "seq2seq"}),
    ("whisper", {"kind": "ctc"}),
    ("whisper", {"kind": "classify", "pooling": "mean"}),
    ("whisper", {"kind": "classify", "pooling": "attentive"}),
    ("conformer", {"kind": "ctc"}),
    ("hubert", {"kind": "classify", "pooling": "mean"}),
    ("bert", {"kind": "classify", "pooling": "attentive"}),
]


@pytest.mark.parametrize("pad_to_30s", [False, True])
@pytest.mark.parametrize(
    ("family", "head"), HEADS, ids=lambda value: value if isinstance(value, str) else "-".join(value.values())
)
def test_a_saved_model_opens_with_the_same_predictions(
    save_untrained, make_encoder, tiny_whisper, make_speech, family, head, pad_to_30s
):
    checkpoint = tiny_whisper if family == "whisper" else make_encoder(family)
    model, folder = save_untrained(checkpoint, f"encoder.pad_to_30s={pad_to_30s}", **head)
    again = load(folder, device="cpu")
    assert again.settings == model.settings
    waveforms = [make_speech("one", 0, 0.5), make_speech("six", 3, 1.4), make_speech("two", 2, 0.9)]
    predictions = model.predict(waveforms)
    assert again.predict(waveforms) == predictions
    assert any(predictions)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    stored = json.loads((folder / "speechxfer.json").read_text())
    assert stored["base"] == str(checkpoint) and stored["kind"] == head["kind"] and stored["pad_to_30s"] is pad_to_30s


@pytest.mark.parametrize("kind", ["seq2seq", "joint", "ctc"])
def test_weights_have_the_permissions_of_the_other_files(save_untrained, tiny_whisper, kind):
    """safetensors writes files for the owner only, so nobody else could open a model in a shared folder."""
    _, folder = save_untrained(tiny_whisper, kind=kind)
    modes = {path.name: path.stat().st_mode for path in folder.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_the_settings_file_keeps_the_names_of_format_1(tmp_path):
    settings = ModelSettings(kind="ctc", pad_silence=0.5, beam_size=4, beam_search={"lm_weight": 0.3})
    settings.write(tmp_path)
    stored = json.loads((tmp_path / "speechxfer.json").read_text())
    assert (stored["silence"], stored["beams"], stored["search"]) == (0.5, 4, {"lm_weight": 0.3})
    assert not stored.keys() & {"pad_silence", "beam_size", "beam_search"}
    assert ModelSettings.model_validate(stored) == settings


def test_inference_leaves_training_mode_and_padding_as_they_were(tiny_whisper, make_speech):
    model, waveform = load(tiny_whisper, device="cpu"), make_speech("one", 0, 0.5)
    model.network.train()
    with model.use_padding(False):
        lengths = model.infer([waveform], lambda frames: (frames.lengths.tolist(), model.network.training))
    assert lengths == ([25], False)  # 0.5 s at 50 frames per second, in eval mode
    assert model.network.training and model.encoder.pad_to_30s
    assert model.infer([waveform], lambda frames: frames.lengths.tolist()) == [100]  # its "30 s" are 2 s


def test_a_frame_source_replaces_the_encoder(tiny_whisper, make_speech):
    model, waveform = load(tiny_whisper, device="cpu"), make_speech("one", 0, 0.5)
    frames = model.infer([waveform], lambda frames: frames)
    model.frame_source = lambda waveforms: frames
    assert model.infer([np.zeros(9, np.float32)], lambda given: given) is frames
