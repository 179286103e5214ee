"""A package that extends speechxfer by entry points alone: the example in tests/plugin, as an installation finds it."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
import torch

from speechxfer.data.formats import READERS
from speechxfer.encoders.registry import ENCODERS
from speechxfer.scoring.metrics import METRICS
from speechxfer.text.normalise import NORMALISERS

PLUGIN = Path(__file__).parents[1] / "plugin"
REGISTRIES = (NORMALISERS, READERS, ENCODERS, METRICS)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as `pip install --target` leaves it; the registries forget it afterwards."""
    site = tmp_path / "site"
    shutil.copytree(PLUGIN / "speechxfer_example", site / "speechxfer_example")
    facts = site / "speechxfer_example-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: speechxfer-example\nVersion: 1.0\n")
    groups = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    (facts / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(site))
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))
        registry.__dict__.pop("_entry_points", None)
    yield
    for registry in REGISTRIES:
        registry.__dict__.pop("_entry_points", None)


def test_a_normaliser(plugin: None) -> None:
    import speechxfer
    from speechxfer.errors import UserError
    from speechxfer.scoring import ScoringOptions

    options = ScoringOptions(normaliser="digits")
    assert speechxfer.score(["Route 66."], ["route six six"], options=options).wer == 0
    with pytest.raises(UserError, match="did you mean 'digits'"):
        ScoringOptions(normaliser="digit")


def test_a_metric(plugin: None, tmp_path: Path) -> None:
    """Two of three sentences have an error: a limit of 0.6 fails, one of 0.7 does not."""
    from typer.testing import CliRunner

    from speechxfer.cli import build_app

    (tmp_path / "r.trn").write_text("a b (s-1)\nc d (s-2)\ne f (s-3)\n")
    (tmp_path / "h.trn").write_text("a x (s-1)\nc d (s-2)\ne (s-3)\n")
    words = ["score", str(tmp_path / "r.trn"), str(tmp_path / "h.trn"), "--metric", "sentences", "--fail-above"]
    failed = CliRunner().invoke(build_app(), [*words, "0.6"])
    assert failed.exit_code == 1 and "h.trn: SER 66.67 %, the limit is 60.00 %" in failed.output
    assert CliRunner().invoke(build_app(), [*words, "0.7"]).exit_code == 0


def test_a_reader(plugin: None, make_speech, tmp_path: Path) -> None:
    import speechxfer

    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "prompts.txt").write_text("one\ntwo\n")
    for number, word in enumerate(("one", "two"), 1):
        soundfile.write(folder / f"{number}.wav", make_speech(word, 0, 0.5), 16_000)
    rows = speechxfer.read(folder)
    assert rows["text"][:] == ["one", "two"] and rows[1]["path"] == str(folder / "2.wav")


@pytest.fixture
def unispeech(tmp_path: Path) -> Path:
    """A tiny random checkpoint without a head, saved as transformers saves it."""
    import transformers as hf

    folder = tmp_path / "unispeech"
    hf.set_seed(0)
    config = hf.UniSpeechConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8, 8),
        conv_kernel=(10, 8, 8), conv_stride=(5, 8, 8), num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    hf.UniSpeechModel(config).eval().save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def test_an_encoder(plugin: None, unispeech: Path, make_speech) -> None:
    """Frames are those of transformers at batch size 1, in a batch too."""
    import transformers as hf

    from speechxfer.encoders.registry import wrap_encoder

    network = hf.UniSpeechModel.from_pretrained(unispeech).eval()
    encoder = wrap_encoder(network, hf.Wav2Vec2FeatureExtractor.from_pretrained(unispeech))
    waveforms = [make_speech("one", 0, 0.9), make_speech("two", 1, 0.5)]
    with torch.no_grad():
        frames = encoder(encoder.prepare(waveforms))
        for row, waveform in enumerate(waveforms):
            inputs = encoder.extractor(waveform, sampling_rate=16_000, return_tensors="pt")
            truth = network(**inputs).last_hidden_state[0]
            torch.testing.assert_close(frames.states[row, : len(truth)], truth, atol=1e-4, rtol=0)


def test_a_run_with_all_of_them(plugin: None, unispeech: Path, corpus_table: Path, tmp_path: Path) -> None:
    """A CTC head on the new encoder, trained, scored and selected with the new normaliser and metric, opened again."""
    import speechxfer
    from speechxfer.config import load_recipe

    values = {
        "data": {"train": str(corpus_table)},
        "encoder": {"name": str(unispeech)},
        "stages": [{"train": "head", "epochs": 1, "lr": 1e-3, "batch_seconds": 4}],
        "scoring": {"normaliser": "digits", "metric": "sentences"},
        "device": "cpu",
        "output": str(tmp_path / "run"),
    }
    run = speechxfer.adapt(load_recipe(values))
    report = run.report.to_json()
    assert report["metric"] == "SER" and 0 <= report["candidates"][0]["dev"] <= 1
    wrong = (run.after.words[:, 1:].sum(axis=1) > 0).mean()
    assert report["test_metric"]["after"] == pytest.approx(wrong)
    assert "SER on test" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    model = speechxfer.load(run.run_dir.model)
    assert model.encoder.family == "unispeech" and len(speechxfer.transcribe(model, corpus_table)) == 18
