"""Tiny models that were saved by us, helpers to look into them, and a long recording."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

SAMPLE_RATE = 16_000
LEARNT_TEXTS = ("one", "two six", "six one two", "two two one six six", "one one two one two six one")
LEARNT_SECONDS = (0.5, 0.8, 1.0, 1.3, 1.5)
SAVED_TEXTS = ["one", "two", "six one"]
LABELS = ["one", "two", "six"]


def say_words(make_speech: Callable[..., np.ndarray]) -> list[np.ndarray]:
    return [make_speech(("one", "two", "six")[k % 3], k, length) for k, length in enumerate(LEARNT_SECONDS)]


@pytest.fixture(scope="session")
def taught(
    make_whisper: Callable[..., Path], make_speech: Callable[..., np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved model, unpadded, of two seconds, that has learnt `LEARNT_TEXTS`: its texts end, and differ."""
    import torch

    from speechxfer.models import load
    from speechxfer.shapes import pad_targets

    model = load(make_whisper(seconds=2), device="cpu")
    model.settings.pad_to_30s = model.encoder.pad_to_30s = False
    prepared = model.encoder.prepare(say_words(make_speech))
    labels = pad_targets([model.encode_target(text) for text in LEARNT_TEXTS])
    optimiser = torch.optim.AdamW(model.network.parameters(), lr=4e-3)
    torch.manual_seed(0)
    for _ in range(60):
        optimiser.zero_grad()
        model.compute_loss(model.encoder(prepared), labels).backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("taught")
    model.save(folder)
    return folder


@pytest.fixture
def words(make_speech: Callable[..., np.ndarray]) -> list[np.ndarray]:
    """The recordings that `taught` has learnt."""
    return say_words(make_speech)


@pytest.fixture(scope="session")
def two_second_whisper(make_whisper: Callable[..., Path]) -> Path:
    """A Whisper whose encoder takes two seconds in place of thirty, and pads to them.

    With this seed it predicts different texts for different words, padded too.
    """
    return make_whisper(seconds=2, seed=6)


@pytest.fixture
def long_file(tmp_path: Path, make_speech: Callable[..., np.ndarray]) -> Path:
    """Twelve words with pauses between them and six seconds of silence in the middle: 15 s."""
    gap = np.zeros(round(0.35 * SAMPLE_RATE), np.float32)
    recordings = [make_speech(("one", "two", "six")[n % 3], n % 5, 0.4) for n in range(12)]
    pieces = [piece for recording in recordings for piece in (recording, gap)]
    pieces.insert(12, np.zeros(6 * SAMPLE_RATE, np.float32))
    soundfile.write(tmp_path / "long.wav", np.concatenate(pieces), SAMPLE_RATE)
    return tmp_path / "long.wav"


@pytest.fixture(scope="session")
def few_rows(corpus_table: Path) -> Path:
    """A table of the corpus' first six rows."""
    table = corpus_table.parent / "few.csv"
    table.write_text("\n".join(corpus_table.read_text().splitlines()[:7]) + "\n")
    return table


@pytest.fixture
def waveform(make_speech: Callable[..., np.ndarray]) -> np.ndarray:
    return make_speech("two", 1, 1.3)


@pytest.fixture
def copy_folder(tmp_path: Path) -> Callable[[Path], Path]:
    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return copy


@pytest.fixture
def record_batches(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[int]]]:
    """record_batches(model, predict=None): the lengths of the batches that `model.predict` is called with from now on.

    predict: called in place of the model's own.
    """

    def start(model: Any, predict: Callable[..., list[str]] | None = None) -> list[list[int]]:
        batches: list[list[int]] = []
        original = predict or model.predict

        def record(waveforms: Sequence[np.ndarray]) -> list[str]:
            batches.append([len(waveform) for waveform in waveforms])
            return original(waveforms)

        monkeypatch.setattr(model, "predict", record)
        return batches

    return start


@pytest.fixture
def save_untrained(tmp_path: Path) -> Callable[..., tuple[Any, Path]]:
    """save_untrained(checkpoint, kind="ctc"): a model with the recipe's head and the folder that it was saved to."""
    import torch

    from speechxfer.config import load_recipe
    from speechxfer.models import build_trainable

    def save(checkpoint: Path, *overrides: str, **head: str | int) -> tuple[Any, Path]:
        stages = [{"train": "head", "epochs": 1, "lr": 1}]
        values = {"encoder": {"name": str(checkpoint)}, "head": head, "stages": stages, "device": "cpu"}
        torch.manual_seed(1)
        model = build_trainable(load_recipe(values, overrides), SAVED_TEXTS)
        model.network.eval()
        model.save(tmp_path / "saved")
        return model, tmp_path / "saved"

    return save


@pytest.fixture
def build() -> Callable[..., Any]:
    """build(checkpoint, head, texts): the model ready to train."""
    from speechxfer.config import load_recipe
    from speechxfer.models import build_trainable

    def make(checkpoint: Path, head: dict[str, str], texts: list[str] = LABELS) -> Any:
        stages = [{"train": "head", "epochs": 1, "lr": 1}]
        values = {"encoder": {"name": str(checkpoint)}, "head": head, "device": "cpu", "stages": stages}
        return build_trainable(load_recipe(values), texts)

    return make


@pytest.fixture
def save_perturbed(tmp_path: Path, build: Callable[..., Any]) -> Callable[..., tuple[Any, Path]]:
    """save_perturbed(checkpoint, head): the model and where it was saved, with all its weights changed."""
    import torch

    def save(checkpoint: Path, head: dict[str, str]) -> tuple[Any, Path]:
        model = build(checkpoint, head)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.add_(0.01)
        folder = tmp_path / f"{checkpoint.name}-{head.get('pooling', head['kind'])}"
        model.save(folder)
        return model, folder

    return save


@pytest.fixture
def have_equal_weights() -> Callable[[Any, Any], bool]:
    """Whether two modules have the same names and values; transformers' mask embedding does not count."""

    def get_state(module: Any) -> dict[str, Any]:
        return {key: tensor for key, tensor in module.state_dict().items() if "masked_spec_embed" not in key}

    def compare(module: Any, other: Any) -> bool:
        left, right = get_state(module), get_state(other)
        return left.keys() == right.keys() and all(left[key].equal(right[key]) for key in left)

    return compare


@pytest.fixture
def open_strictly() -> Callable[[Any, Path], Any]:
    """`cls.from_pretrained`, with every weight found and none left over."""

    def open_folder(cls: Any, folder: Path) -> Any:
        network, info = cls.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
        return network.eval()

    return open_folder


@pytest.fixture
def extract_features() -> Callable[[Path, np.ndarray], dict[str, Any]]:
    """The inputs that the folder's own feature extractor makes of a waveform."""
    from transformers import AutoFeatureExtractor

    def extract(folder: Path, waveform: np.ndarray) -> dict[str, Any]:
        extractor = AutoFeatureExtractor.from_pretrained(folder)
        return dict(extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt"))

    return extract


@pytest.fixture
def compute_frames() -> Callable[[Any, np.ndarray], Any]:
    return lambda model, waveform: model.encoder(model.encoder.prepare([waveform]))
