"""What both sides of `equal_behaviour.py` read, made once: tiny random checkpoints, a tone corpus, tables of corpora.

Nothing here imports the package, so that the bytes depend on the seed and on transformers alone.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from _equal_scores import write_scores

RATE = 16_000
WORDS = ("one", "two", "six", "ten")
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
# by family: transformers' name, and options that reach group norm, batch norms, and positions made in three ways
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {}),
    "hubert": ("Hubert", {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}),
    "wavlm": ("WavLM", {"num_buckets": 20}),
    "data2vec": ("Data2VecAudio", {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2}),
    "conformer": ("Wav2Vec2Conformer", {"conv_depthwise_kernel_size": 7, "hidden_act": "swish"}),
    "bert": ("Wav2Vec2Bert", {"conv_depthwise_kernel_size": 7}),
}
STAMP = "inputs.json"  # what the folder holds; written last
Rows = list[dict[str, str]]


def prepare(folder: Path, corpora: Path | None) -> dict[str, Any]:
    """Write the inputs into `folder` unless they are there; returns their stamp: parts with fingerprints.

    corpora: the folder that holds `speechocean762` and `wakewords`; without it the parts that need them are missing.
    """
    stamp = folder / STAMP
    if not stamp.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_tones(folder / "tones")
        for family in FAMILIES:
            build_encoder(folder / family, family)
        build_whisper(folder / "whisper")
        write_scores(folder / "score")
        if corpora is not None and (corpora / "speechocean762").is_dir():
            write_accents(folder / "speechocean762", corpora / "speechocean762")
        if corpora is not None and (corpora / "wakewords").is_dir():
            write_wake_words(folder / "wakewords", corpora / "wakewords")
        parts = sorted(path.name for path in folder.iterdir() if path.is_dir())
        stamp.write_text(json.dumps({name: digest(folder / name) for name in parts}, indent=2) + "\n")
    return json.loads(stamp.read_text(encoding="utf-8"))


def digest(folder: Path) -> str:
    """Return the SHA-256 over a folder's files and their names."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes())
    return found.hexdigest()


def write_table(path: Path, rows: Rows) -> None:
    """Write rows as CSV; the first row's keys are the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def tone(word: str, voice: int, seconds: float) -> np.ndarray:
    """Return a word as a tone, its harmonics a voice, under a little noise: (time,) float32 at 16 kHz."""
    generator = np.random.default_rng([WORDS.index(word), voice, round(seconds * 100)])
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = 300 * (1 + WORDS.index(word))
    wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 3 + voice % 3))
    return (0.1 * wave + 0.01 * generator.standard_normal(len(time))).astype(np.float32)


def write_tones(folder: Path) -> None:
    """Write 18 speakers of six utterances of one to three words: train, dev, test, other and all.csv; and long.wav."""
    rng = np.random.default_rng(0)
    (folder / "audio").mkdir(parents=True)
    parts: dict[str, Rows] = {"train": [], "dev": [], "test": [], "other": []}
    pieces: list[np.ndarray] = []
    for voice in range(18):
        part = "train" if voice < 10 else "dev" if voice < 13 else "test" if voice < 16 else "other"
        for number in range(6):
            words = [WORDS[k] for k in rng.integers(len(WORDS), size=1 + number % 3)]
            wave = np.concatenate([tone(word, voice, 0.3 + 0.05 * int(rng.integers(4))) for word in words])
            name = f"audio/{voice:02d}-{number}.wav"
            soundfile.write(folder / name, wave, RATE)
            accent = "north" if voice % 2 else "south"
            row = {"id": f"{voice:02d}-{number}", "audio": name, "text": " ".join(words), "speaker": f"s{voice:02d}"}
            parts[part].append(row | {"accent": accent, "label": words[0], "split": part})
            pieces += [wave, 0.001 * rng.standard_normal(int(0.6 * RATE)).astype(np.float32)]
    for part, rows in parts.items():
        write_table(folder / f"{part}.csv", [{k: v for k, v in row.items() if k != "split"} for row in rows])
    write_table(folder / "all.csv", parts["train"] + parts["dev"] + parts["test"])
    soundfile.write(folder / "long.wav", np.concatenate(pieces[: 2 * 40]), RATE)


def build_encoder(folder: Path, family: str) -> None:
    """Save a random checkpoint of a family at 50 frames a second, as transformers saves it."""
    import transformers as hf
    from torch import nn

    name, options = FAMILIES[family]
    shape: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 24, "classifier_proj_size": 12}
    if name != "Wav2Vec2Bert":
        shape |= {"conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8)}
        shape |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    hf.set_seed(0)
    network = getattr(hf, f"{name}Model")(getattr(hf, f"{name}Config")(**(shape | options))).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):  # statistics that are not zeros and ones
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    network.save_pretrained(folder)
    extractor = hf.SeamlessM4TFeatureExtractor() if name == "Wav2Vec2Bert" else hf.Wav2Vec2FeatureExtractor()
    extractor.save_pretrained(folder)


def _tokenizer() -> Any:
    """Return Whisper's tokenizer with the 256 bytes and the corpus' words as its vocabulary."""
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


def build_whisper(folder: Path, seconds: int = 2) -> None:
    """Save a random Whisper that holds `seconds` of audio in place of thirty, as transformers saves it."""
    import transformers as hf

    tokenizer = _tokenizer()
    number = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    end, start = number["<|endoftext|>"], number["<|startoftranscript|>"]
    small: dict[str, Any] = {"vocab_size": len(tokenizer), "num_mel_bins": 20, "d_model": 32}
    for side in ("encoder", "decoder"):
        small |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 48}
    small |= {"max_source_positions": 50 * seconds, "max_target_positions": 64, "dropout": 0.1, "init_std": 0.15}
    small |= {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    hf.set_seed(0)
    network = hf.WhisperForConditionalGeneration(hf.WhisperConfig(**small)).eval()
    stated = network.generation_config
    stated._from_model_config = False  # else transformers makes it anew on opening, and loses what follows
    stated.max_length = 64
    stated.suppress_tokens = tokenizer.convert_tokens_to_ids(["!", "#"]) + [n for n in number.values() if n != end]
    stated.begin_suppress_tokens = [*tokenizer.convert_tokens_to_ids(["Ġ"]), end]
    stated.no_timestamps_token_id = number["<|notimestamps|>"]
    stated.is_multilingual = False
    network.save_pretrained(folder)
    extractor = hf.WhisperFeatureExtractor(feature_size=20, chunk_length=seconds)
    hf.WhisperProcessor(extractor, tokenizer).save_pretrained(folder)


def write_accents(folder: Path, corpus: Path) -> None:
    """Write tables of speechocean762: 200 training utterances, 32 dev, 32 test, and 200 of the reported speakers."""
    rows = _read(corpus / "train.csv", folder)
    speakers = sorted({row["speaker"] for row in rows})
    reported = set(speakers[2::5])
    dev = set([speaker for speaker in speakers if speaker not in reported][::10])
    parts: dict[str, Rows] = {"train": [], "dev": [], "test": []}
    for row in rows:
        part = "test" if row["speaker"] in reported else "dev" if row["speaker"] in dev else "train"
        parts[part].append(row)
    for name, part, count in (("train", "train", 200), ("dev", "dev", 32), ("test", "test", 32)):
        write_table(folder / f"{name}.csv", _some(parts[part], count))
    write_table(folder / "test-200.csv", _some(parts["test"], 200))


def write_wake_words(folder: Path, corpus: Path) -> None:
    """Write tables of wakewords: 40 recordings of *computer* and 20 of *jarvis* to train on, 20 others to test.

    `stream.wav` has twelve of the others one after another.
    """
    rows = _read(corpus / "train.csv", folder)
    word = [row for row in rows if row["label"] == "computer"]
    others = [row for row in rows if row["label"] == "jarvis"]
    write_table(folder / "train.csv", word[:40] + others[:20])
    write_table(folder / "test.csv", word[40:60])
    sounds = [soundfile.read(folder / row["audio"], dtype="float32")[0] for row in word[40:52]]
    soundfile.write(folder / "stream.wav", np.concatenate(sounds), RATE)


def _read(table: Path, folder: Path) -> Rows:
    """Return a table's rows, their audio relative to `folder`."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["audio"] = Path(os.path.relpath((table.parent / row["audio"]).resolve(), folder.resolve())).as_posix()
    return rows


def _some(rows: Sequence[Mapping[str, str]], count: int) -> Rows:
    """Return `count` rows drawn by seed 0, in the table's order."""
    chosen: Iterable[int] = np.random.default_rng(0).permutation(len(rows))[:count]
    return [dict(rows[k]) for k in sorted(chosen)]
