"""The GPU benchmark: no output without a GPU; its functions at tiny size on the CPU."""

from __future__ import annotations

import pytest
import torch

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "conv_dim": [16] * 7,
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(script, tmp_path, capsys):
    script("bench/gpu.py").main(["--json", str(tmp_path / "gpu.json")])
    assert capsys.readouterr().out == "no GPU found, nothing measured\n"
    assert list(tmp_path.iterdir()) == []


def test_epochs_of_a_decoder_of_its_own(script, tiny_whisper, corpus_table):
    bench = script("bench/gpu.py")
    found = bench.measure_epochs(tiny_whisper, corpus_table, bench.TINY_EN, 2, "cpu")
    assert found["seconds_an_epoch"]["repeats"] == 2 and found["seconds_an_epoch"]["low"] > 0
    assert found["utterances"] == 18 and found["precision"] == "float32"
    assert found["parameters"]["trained"] > found["parameters"]["frozen"] > 0
    assert found["remarks"] == []
    (row,) = script("tables.py").gpu({"machine": "a card", "training": {"tiny": found}})
    assert row[0] == "tiny, an epoch of 0 min in float32 on a card"


def test_epochs_of_a_random_wav2vec2_on_noise(script, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHXFER_FRAMES", "")  # restores it after the test
    bench = script("bench/gpu.py")
    large = bench.save_random_wav2vec2(tmp_path / "model", bench.LARGE | SMALL)
    table = bench.write_noise_table(tmp_path / "noise", 3, 1.5)
    found = bench.measure_epochs(large, table, bench.make_ctc_recipe(["head", "encoder"]), 1, "cpu")
    again, kept = (
        bench.measure_epochs(large, table, bench.make_ctc_recipe("head"), 1, "cpu", cached=cached)
        for cached in (False, True)
    )
    assert again["seconds_beforehand"] is None and kept["seconds_beforehand"] > 0
    assert kept["parameters"] == again["parameters"] and kept["parameters"]["trained"] < found["parameters"]["trained"]
    assert found["audio_seconds"] == 4.5
    assert found["seconds_an_epoch"]["repeats"] == 1
    extractor = 16 * 10 + 16 * 16 * (3 * 4 + 2 * 2) + 7 * (16 + 2 * 16)  # kernels, biases, layer norms
    assert found["parameters"]["frozen"] >= extractor


def test_the_large_model_is_of_wav2vec2_large_s_size(script):
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        model = Wav2Vec2Model(Wav2Vec2Config(**script("bench/gpu.py").LARGE))
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) in range(310, 320)  # the paper's 317
