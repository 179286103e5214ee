"""The parity check: it passes for the same model, and fails for another one."""

from __future__ import annotations

import pytest
import torch

from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.export import ParityResult, export_model, parity
from speechxfer.export.parity import check_parity
from speechxfer.export.runners import RunnerOutput
from speechxfer.models import load


def test_another_model_s_weights_do_not_pass(tiny_whisper, make_whisper, utterances, tmp_path):
    other = export_model(make_whisper(seconds=2, seed=3), "transformers", tmp_path / "other").output
    proof = check_parity(load(tiny_whisper, device="cpu"), "transformers", other, utterances, "float16")
    assert not proof.passed and proof.frames > 0.1


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_another_model_s_graph_does_not_pass(
    quantization, tiny_whisper, make_whisper, corpus_table, tmp_path, save_untrained
):
    folder = save_untrained("saved", tiny_whisper, {"kind": "ctc"}, scale=20)
    other = save_untrained("other", make_whisper(seconds=2, seed=3), {"kind": "ctc"}, scale=20)
    made = export_model(other, "onnx", tmp_path / "out", quantization=quantization)
    assert not check_parity(load(folder, device="cpu"), "onnx", made.output, read(corpus_table), quantization).passed


def test_the_same_model_passes_on_utterances_spread_over_the_table(tiny_whisper, corpus_table, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "MAX_PARITY_UTTERANCES", 4)
    exported = export_model(tiny_whisper, "transformers", tmp_path / "out").output
    steps = []
    result = check_parity(
        load(tiny_whisper, device="cpu"),
        "transformers",
        exported,
        read(corpus_table),
        "float32",
        progress=lambda *step: steps.append(step),
    )
    assert result.passed and result.utterances == 4 and steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.to_json()["holds"] is True and result.to_json()["allowed"] == parity.TOLERANCES["float32"]


def test_differences_are_those_of_the_distributions(make_encoder, utterances, tmp_path, monkeypatch):
    """Half the sum of absolute differences: (0.2 + 0.2) / 2 in one of two frames."""
    folder = make_encoder("wav2vec2", words="one")
    ours, theirs = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]), torch.tensor([[[0.5, 0.5], [0.7, 0.3]]])

    class Fixed:
        def __init__(self, probabilities, text):
            self.output = RunnerOutput(torch.zeros(1, 2, 3), probabilities, text, [])

        def run(self, waveform, tokens):
            return self.output

    monkeypatch.setattr(parity, "_make_runners", lambda *_: (Fixed(ours, "one"), Fixed(theirs, "on")))
    result = check_parity(load(folder, device="cpu"), "transformers", tmp_path, utterances, "float32")
    assert (result.mean, result.largest, result.frames) == (pytest.approx(0.1), pytest.approx(0.2), 0.0)
    assert not result.passed
    assert result.differing == [{"id": name, "ours": "one", "theirs": "on"} for name in utterances["id"]]


def test_a_result_passes_up_to_both_limits():
    assert ParityResult(1, 0.1, 0.2, None, (0.1, 0.2)).passed
    assert not ParityResult(1, 0.11, 0.2, None, (0.1, 0.2)).passed
    assert not ParityResult(1, 0.1, 0.21, None, (0.1, 0.2)).passed


def test_a_table_without_rows_cannot_be_checked(tiny_whisper, utterances, tmp_path):
    exported = export_model(tiny_whisper, "transformers", tmp_path / "out").output
    with pytest.raises(UserError, match="--check: has no utterances"):
        check_parity(load(tiny_whisper, device="cpu"), "transformers", exported, utterances.select([]), "float32")
