"""A Whisper of 30,000 random weights that writes letters, and a table of tones for it to hear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>"]
WORDS = ("bad", "cab", "dead head", "a bag", "egg", "had a cab")


def save_whisper(folder: Path, *, seed: int = 0, multilingual: bool = False) -> Path:
    """A transformers folder, as `save_pretrained` writes it."""
    backend = Tokenizer(BPE({letter: k for k, letter in enumerate("Ġabcdefgh")}, []))
    backend.add_special_tokens(SPECIAL)
    folder.mkdir(parents=True)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    tokens = {name: backend.token_to_id(name) for name in SPECIAL}
    end, start = tokens["<|endoftext|>"], tokens["<|startoftranscript|>"]
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=backend.get_vocab_size(),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_mel_bins=80,
        max_target_positions=40,
        init_std=0.6,
        **special,
    )
    network = WhisperForConditionalGeneration(config)
    network.generation_config = GenerationConfig(**special, suppress_tokens=[tokens[n] for n in SPECIAL[1:]])
    network.generation_config.is_multilingual = multilingual
    network.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def other_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("model") / "other", seed=1)


@pytest.fixture(scope="session")
def multilingual_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("model") / "multilingual", multilingual=True)


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A table of six tones by three speakers, texts and a split among its columns."""
    folder = tmp_path / "speech"
    (folder / "audio").mkdir(parents=True)
    lines = ["audio,text,speaker,accent"]
    for number, words in enumerate(WORDS):
        samples = 0.3 * np.sin(np.arange(8_000 + 1_600 * number) / (5 + 3 * number))
        soundfile.write(folder / f"audio/{number}.wav", samples, 16_000)
        lines.append(f"audio/{number}.wav,{words},000{number // 2},{'north' if number < 3 else 'south'}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


@pytest.fixture
def run_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """run_score(*arguments, code=0): the output of `speechxfer score` in tmp_path, without a traceback."""
    from typer.testing import CliRunner

    from speechxfer.cli import build_app

    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(build_app(), ["score", *map(str, arguments)])
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.output

    return invoke


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """write_file(name, content): a file in tmp_path; its name."""

    def put(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return put
