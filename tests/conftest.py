"""A tiny Whisper with random weights, a tiny corpus, and recipes for both: what training for real is tested with.

torch is imported inside the fixtures, so that tests of scoring start without it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # to import forked_python.py
from forked_python import ForkServer

# read when torch starts: tensors this small lose by threads, and idle ones must not spin
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that asks the hub for anything fails

# A shared CI machine may pause a process for longer than Hypothesis' default deadline of 200 ms per example.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

RATE = 16_000
# as in Whisper's own tokenizer, where a language's number follows from its place after the start token
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
WORDS = ("one", "two", "six")
TIMED_SECONDS = 2  # of the Whisper with timestamps
# family: transformers' name, and what its kinds differ in; the group norm, batch norms, positions made in three ways
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {}),
    "hubert": ("Hubert", {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}),
    "wavlm": ("WavLM", {"num_buckets": 20}),
    "data2vec": ("Data2VecAudio", {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2}),
    "conformer": ("Wav2Vec2Conformer", {"conv_depthwise_kernel_size": 7, "hidden_act": "swish"}),
    "bert": ("Wav2Vec2Bert", {"conv_depthwise_kernel_size": 7}),
}


@pytest.fixture(scope="session", autouse=True)
def _frames_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What training keeps goes where the tests' other files go."""
    os.environ["SPEECHXFER_FRAMES"] = str(tmp_path_factory.mktemp("frames"))


_frozen_modules = 0


@pytest.fixture(autouse=True)
def _freeze_imports() -> None:
    """Take what was imported out of garbage collection: Trainer collects all in every stage, 0.5 s with torch."""
    global _frozen_modules
    if len(sys.modules) > _frozen_modules + 200:
        gc.collect()
        gc.freeze()
        _frozen_modules = len(sys.modules)


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """fork_server.start("-m", "speechxfer", "adapt", ...): a process with the package imported already."""
    server = ForkServer(tmp_path_factory.mktemp("processes"))
    yield server
    server.close()


def byte_level_tokenizer() -> Any:
    """Whisper's tokenizer with the 256 bytes and the corpus' words as its vocabulary, and its special tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import AddedToken, WhisperTokenizer

    merges = []
    for a, b, c in WORDS:
        merges += [(a, b), (a + b, c), ("Ġ", a + b + c)]
    symbols = [*sorted(ByteLevel.alphabet()), *dict.fromkeys(left + right for left, right in merges)]
    tokenizer = WhisperTokenizer(vocab={symbol: place for place, symbol in enumerate(symbols)}, merges=merges)
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL], special_tokens=True)
    tokenizer.set_prefix_tokens()
    return tokenizer


def build_whisper(
    folder: Path, *, seconds: int, multilingual: bool = False, seed: int = 0, max_tokens: int = 64
) -> Path:
    """A random Whisper whose positions hold `seconds` of audio and `max_tokens`, saved as transformers saves it."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

    tokenizer = byte_level_tokenizer()
    number = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    end, start = number["<|endoftext|>"], number["<|startoftranscript|>"]
    torch.manual_seed(seed)
    network = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer),
            num_mel_bins=20,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_source_positions=50 * seconds,
            max_target_positions=max_tokens,
            dropout=0.1,
            init_std=0.15,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            decoder_start_token_id=start,
        )
    ).eval()
    stated = network.generation_config
    stated._from_model_config = False  # else transformers makes it anew on opening, and loses what follows
    stated.max_length = max_tokens
    stated.suppress_tokens = tokenizer.convert_tokens_to_ids(["!", "#"]) + [n for n in number.values() if n != end]
    stated.begin_suppress_tokens = [*tokenizer.convert_tokens_to_ids(["Ġ"]), end]
    stated.no_timestamps_token_id = number["<|notimestamps|>"]
    stated.is_multilingual = multilingual
    if multilingual:
        stated.lang_to_id = {name: number[name] for name in ("<|en|>", "<|zh|>", "<|de|>")}
        stated.task_to_id = {task: number[f"<|{task}|>"] for task in ("transcribe", "translate")}
    network.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=20, chunk_length=seconds)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_whisper(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_whisper(seconds=30, multilingual=False, seed=0, max_tokens=64): the folder of a tiny random Whisper."""
    made: dict[tuple, Path] = {}  # each is made once

    def make(**options: Any) -> Path:
        key = tuple(sorted(options.items()))
        if key not in made:
            made[key] = build_whisper(tmp_path_factory.mktemp("whisper"), **{"seconds": 30} | options)
        return made[key]

    return make


@pytest.fixture(scope="session")
def quick_training() -> Callable[[int], AbstractContextManager[None]]:
    """quick_training(copies): wake words are trained on so many copies of clips, none transcribed with Whisper."""

    @contextmanager
    def quicken(copies: int) -> Iterator[None]:
        from speechxfer.wakeword.data import prepare
        from speechxfer.wakeword.training.mining import ContaminationFilter

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare, "TARGET_VARIANTS", copies)
            patch.setattr(ContaminationFilter, "_transcribe", lambda self, rows: [""] * len(rows))
            yield

    return quicken


@pytest.fixture(scope="session")
def timed_whisper(make_whisper, tmp_path_factory):
    """A folder whose model and tokenizer have a token for every 0.02 s of its two seconds, as Whisper's have."""
    import torch
    from transformers import AddedToken, WhisperForConditionalGeneration, WhisperProcessor

    folder = tmp_path_factory.mktemp("timed")
    source = make_whisper(seconds=TIMED_SECONDS)
    processor = WhisperProcessor.from_pretrained(source)
    names = [f"<|{step * 0.02:.2f}|>" for step in range(50 * TIMED_SECONDS + 1)]
    times = [AddedToken(name, special=False, normalized=False) for name in names]
    processor.tokenizer.add_tokens(times)
    torch.manual_seed(0)
    network = WhisperForConditionalGeneration.from_pretrained(source)
    network.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_whisper(make_whisper: Callable[..., Path]) -> Path:
    """A Whisper that holds two seconds of audio in place of thirty: quick, padded too.

    A random decoder seldom ends by itself, and decoding is most of a run's time: it takes a few words only.
    """
    return make_whisper(seconds=2, max_tokens=24)


def speak(word: str, voice: int, seconds: float) -> np.ndarray:
    """A tone a word, its harmonics a voice, under a little noise: (time,) float32 at 16 kHz."""
    generator = np.random.default_rng([len(word), WORDS.index(word), voice, round(seconds * 100)])
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 300 * (1 + WORDS.index(word))
    wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 3 + voice % 3))
    return (0.1 * wave + 0.01 * generator.standard_normal(len(time))).astype(np.float32)


@pytest.fixture(scope="session")
def make_speech() -> Callable[..., np.ndarray]:
    """spoken(word, voice, seconds): see `speak`."""
    return speak


@pytest.fixture(scope="session")
def corpus_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of `write_corpus`."""
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def write_corpus(folder: Path) -> Path:
    """Six speakers of three utterances in all.csv: three train, one dev, two test. Each a word of 0.4 to 0.9 s."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["id,audio,text,speaker,accent,label,split"]
    for voice in range(6):
        split = ("train", "train", "train", "dev", "test", "test")[voice]
        for place, word in enumerate(WORDS):
            name = f"{voice}-{word}"
            soundfile.write(folder / f"{name}.wav", speak(word, voice, 0.4 + 0.1 * ((voice + 2 * place) % 6)), RATE)
            accent = "north" if voice % 2 else "south"
            lines.append(f"{name},{name}.wav,{word},s{voice},{accent},{word},{split}")
    (folder / "all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "all.csv"


@pytest.fixture
def tiny_recipe(tiny_whisper: Path, corpus_table: Path, tmp_path: Path) -> Callable[..., Any]:
    """tiny_recipe("stages.0.epochs=2", ...): Whisper's own decoder, tiny model and corpus, a run in tmp_path/run."""
    from speechxfer.config import load_recipe

    def make(*overrides: str) -> Any:
        values = {
            "data": {"train": str(corpus_table)},
            "encoder": {"name": str(tiny_whisper)},
            "head": {"kind": "seq2seq"},
            "stages": [{"train": "all", "epochs": 2, "lr": 3e-3, "batch_seconds": 2}],
            "candidates": {"means": [], "pretrained_share": []},
            "augment": {"speed": [0.9, 1.0, 1.1], "time_masks": 1, "freq_masks": 1, "pad_to_30s": 0.2},
            "device": "cpu",
            "precision": "float32",  # the same on every machine
            "output": str(tmp_path / "run"),
        }
        return load_recipe(values, overrides)

    return make


def build_encoder(folder: Path, family: str, *, words: str | None = None, labels: list[str] | None = None) -> Path:
    """A random checkpoint of a wav2vec2-like family at 50 frames a second, saved as transformers saves it.

    words: with a CTC head over these characters, and its tokenizer. labels: with a classification head over these.
    """
    import transformers as hf
    from torch import nn

    name, options = ENCODERS[family]
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    if name != "Wav2Vec2Bert":
        shape |= {"conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8)}
        shape |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    shape |= options | {"classifier_proj_size": 12}
    kind = "Model"
    if words is not None:
        symbols = ["<pad>", "|", "<unk>", *sorted(set(words) - {" "})]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps({symbol: place for place, symbol in enumerate(symbols)}))
        hf.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), bos_token=None, eos_token=None).save_pretrained(folder)
        kind, shape = "ForCTC", shape | {"vocab_size": len(symbols), "pad_token_id": 0}
    if labels is not None:
        kind = "ForSequenceClassification"
        shape |= {"id2label": dict(enumerate(labels)), "label2id": {label: k for k, label in enumerate(labels)}}
    hf.set_seed(0)
    network = getattr(hf, f"{name}{kind}")(getattr(hf, f"{name}Config")(**shape)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):  # statistics that are not zeros and ones
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    network.save_pretrained(folder)
    extractor = hf.SeamlessM4TFeatureExtractor() if name == "Wav2Vec2Bert" else hf.Wav2Vec2FeatureExtractor()
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make_encoder("wav2vec2", words="one two", labels=None): the folder of a tiny random checkpoint, made once."""
    made: dict[tuple, Path] = {}

    def make(family: str, *, words: str | None = None, labels: list[str] | None = None) -> Path:
        key = (family, words, tuple(labels or ()))
        if key not in made:
            made[key] = build_encoder(tmp_path_factory.mktemp(family), family, words=words, labels=labels)
        return made[key]

    return make


@pytest.fixture(scope="session")
def weights_of() -> Callable[[Path], dict[str, Any]]:
    """weights_of(folder): name to tensor of its model.safetensors; a checkpoint's names as the model's."""
    from safetensors.torch import load_file

    def read(folder: Path) -> dict[str, Any]:
        return {name.removeprefix("network."): t for name, t in load_file(folder / "model.safetensors").items()}

    return read


@pytest.fixture(scope="session")
def same_weights(weights_of: Callable[[Path], dict[str, Any]]) -> Callable[[Path, Path], bool]:
    """same_weights(folder, other): every tensor bit-equal."""

    def compare(folder: Path, other: Path) -> bool:
        one, two = weights_of(folder), weights_of(other)
        assert one.keys() == two.keys()
        return all(one[name].equal(two[name]) for name in one)

    return compare
