"""Small random checkpoints of every family, made by transformers: biases and statistics that show a missing mask."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import nn
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from speechxfer.encoders import SpeechEncoder, wrap_encoder
from speechxfer.shapes import SAMPLE_RATE

Options = dict[str, Any]
SIZE: Options = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
PUBLISHED: Options = {"layerdrop": 0.1, "mask_time_prob": 0.05}  # what must not act here
# a stride of 20 samples, so that short waveforms have many frames
CONVOLUTIONS: Options = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "conv_bias": True,
    "num_conv_pos_embeddings": 10,  # of 8 channels each; 8 by 8 goes wrong in oneDNN's bfloat16 on processors with AMX
    "num_conv_pos_embedding_groups": 4,
}
WAV = SIZE | PUBLISHED | CONVOLUTIONS
STABLE = WAV | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
STACKED = WAV | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
CONFORMER = WAV | {"conv_depthwise_kernel_size": 7, "max_source_positions": 40, "hidden_act": "swish"}
BERT = SIZE | PUBLISHED | {"conv_depthwise_kernel_size": 7, "max_source_positions": 40}
ADAPTER: Options = {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 24}
WHISPER: Options = {
    "vocab_size": 60,
    "d_model": 32,
    "encoder_layers": 3,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 20,
    "max_source_positions": 50,  # a second of audio in place of 30
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
}

MODELS: dict[type, type] = {
    Wav2Vec2Config: Wav2Vec2Model,
    HubertConfig: HubertModel,
    WavLMConfig: WavLMModel,
    Data2VecAudioConfig: Data2VecAudioModel,
    Wav2Vec2ConformerConfig: Wav2Vec2ConformerModel,
    Wav2Vec2BertConfig: Wav2Vec2BertModel,
    WhisperConfig: WhisperForConditionalGeneration,
}
CHECKPOINTS: dict[str, tuple[type, Options]] = {
    "wav2vec2-group": (Wav2Vec2Config, WAV),
    "wav2vec2-layer": (Wav2Vec2Config, STABLE),
    "wav2vec2-group-stable": (Wav2Vec2Config, WAV | {"do_stable_layer_norm": True}),
    "mms": (Wav2Vec2Config, STABLE | {"adapter_attn_dim": 8}),
    "hubert": (HubertConfig, WAV),
    "hubert-stable": (HubertConfig, STABLE),
    "hubert-batch-norm": (HubertConfig, WAV | {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}),
    "wavlm": (WavLMConfig, WAV | {"num_buckets": 20}),
    "wavlm-stable": (WavLMConfig, STABLE | {"num_buckets": 20}),
    "data2vec": (Data2VecAudioConfig, STACKED),
    "conformer-relative": (Wav2Vec2ConformerConfig, CONFORMER),
    "conformer-rotary": (Wav2Vec2ConformerConfig, CONFORMER | {"position_embeddings_type": "rotary"}),
    "conformer-none": (
        Wav2Vec2ConformerConfig,
        CONFORMER | {"position_embeddings_type": None, "feat_extract_norm": "layer"},
    ),
    "bert": (Wav2Vec2BertConfig, BERT),
    "bert-relative": (Wav2Vec2BertConfig, BERT | {"position_embeddings_type": "relative"}),
    "bert-rotary": (Wav2Vec2BertConfig, BERT | {"position_embeddings_type": "rotary"}),
    "wav2vec2-adapter": (Wav2Vec2Config, STABLE | ADAPTER),
    "bert-adapter": (Wav2Vec2BertConfig, BERT | ADAPTER | {"use_intermediate_ffn_before_adapter": True}),
    "whisper": (WhisperConfig, WHISPER),
}


def extractor_for(name: str) -> Any:
    if name == "whisper":
        return WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    if name.startswith("bert"):
        return SeamlessM4TFeatureExtractor(padding_value=1.0)  # as facebook/w2v-bert-2.0 ships it
    return Wav2Vec2FeatureExtractor(do_normalize=name != "wav2vec2-group-stable")


@dataclass
class Small:
    """A checkpoint, its extractor and our encoder over both."""

    name: str
    model: PreTrainedModel
    extractor: Any
    encoder: SpeechEncoder

    def waveforms(self, count: int = 16, seed: int = 0) -> list[np.ndarray]:
        """`count` waveforms of very different lengths, shuffled: the longest twenty to thirty times the shortest."""
        generator = np.random.default_rng(seed)
        shortest, longest = (100, 2_400) if hasattr(self.encoder.module, "feature_extractor") else (600, 15_900)
        lengths = np.linspace(shortest, longest, count).astype(int) + generator.integers(0, 17, count)
        generator.shuffle(lengths)
        return [self.waveform(int(length), generator) for length in lengths]

    @staticmethod
    def waveform(samples: int, generator: np.random.Generator | None = None) -> np.ndarray:
        """Noise with a slow swell and an offset, so that its parts differ from its whole."""
        generator = generator or np.random.default_rng(samples)
        swell = 0.2 + np.sin(np.linspace(0, 3, samples)) ** 2
        return (0.1 * swell * generator.standard_normal(samples) + 0.02 * swell).astype(np.float32)

    def frames_alone(self, waveforms: list[np.ndarray], encoder: SpeechEncoder | None = None) -> list[torch.Tensor]:
        """Each utterance's (frames, dim) at batch 1."""
        encoder = encoder or self.encoder
        with torch.no_grad():
            return [encoder(encoder.prepare([waveform])).states[0] for waveform in waveforms]

    def difference_in_a_batch(self, waveforms: list[np.ndarray]) -> float:
        """The largest difference of a valid frame between batch 1 and one batch of all."""
        alone = self.frames_alone(waveforms)
        with torch.no_grad():
            batch = self.encoder(self.encoder.prepare(waveforms))
        assert batch.lengths.tolist() == [len(states) for states in alone]
        return max(float((a - b[: len(a)]).abs().max()) for a, b in zip(alone, batch.states, strict=True))

    def stock_frames(self, waveform: np.ndarray) -> torch.Tensor:
        """transformers' own preprocessing and forward, one utterance, (frames, dim)."""
        with torch.no_grad():
            options = {"sampling_rate": SAMPLE_RATE, "return_tensors": "pt"}
            if self.name == "bert-adapter":  # else a padded step, which stock transformers' adapter reads
                options["pad_to_multiple_of"] = None
            inputs = self.extractor(waveform, **options)
            if self.name == "whisper":
                return self.model.model.encoder(inputs.input_features).last_hidden_state[0]
            if self.name.startswith("bert"):
                valid = self.model._get_feat_extract_output_lengths(inputs.attention_mask.sum())
                return self.model(**inputs).last_hidden_state[0, : int(valid)]
            return self.model(inputs.input_values).last_hidden_state[0]

    def remove_dropout(self) -> None:
        """So that train mode can be compared."""
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for name in ("dropout", "activation_dropout"):  # dropout that is a number, not a module
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)

    def list_modules(self) -> list[nn.Module]:
        """All that the encoder names, bottom to top."""
        encoder = self.encoder
        return [
            *encoder.feature_extractor,
            *encoder.get_embedding_modules(),
            *encoder.layers,
            *encoder.get_output_modules(),
        ]


def randomise(model: nn.Module) -> None:
    """Biases, norms and running statistics that are not transformers' zeros and ones."""
    generator = torch.Generator().manual_seed(1)

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" in name:
                continue
            if parameter.ndim == 1:
                parameter.add_(0.3 * noise(parameter))
            elif "parametrizations" not in name:
                fan_in = parameter[0].numel()
                parameter.copy_(noise(parameter) * (1.5 / fan_in**0.5))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.copy_(noise(module.running_mean))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))


def build(name: str, *, attention: str | None = None) -> Small:
    torch.manual_seed(0)
    config, options = CHECKPOINTS[name]
    model, extractor = MODELS[config](config(**options)), extractor_for(name)
    randomise(model)
    if attention:
        model.set_attn_implementation(attention)
    model.eval()
    return Small(name, model, extractor, wrap_encoder(model, extractor))


@pytest.fixture(params=list(CHECKPOINTS))
def small(request: pytest.FixtureRequest) -> Small:
    """Each family in turn."""
    return build(request.param)


@pytest.fixture
def make() -> Callable[..., Small]:
    """`make(name, attention=...)`: one checkpoint by its name."""
    return build


# -- CTranslate2, written by its specification (python/ctranslate2/specs/model_spec.py, binary version 6) --------------
TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "bfloat16": 5}
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|startofprev|>", "<|notimestamps|>"]


@functools.cache
def original_whisper(vocabulary: int = 60) -> WhisperForConditionalGeneration:
    """A random Whisper of two heads of 64, the width that CTranslate2's files take for granted."""
    torch.manual_seed(0)
    wide = {"d_model": 128, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": vocabulary}
    model = WhisperForConditionalGeneration(WhisperConfig(**WHISPER | wide | {"max_target_positions": 30}))
    randomise(model)
    return model.eval()


def ctranslate2_variables(model: WhisperForConditionalGeneration) -> dict[str, np.ndarray]:
    """The model's weights by CTranslate2's names, with query, key and value in one matrix."""
    given = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    variables: dict[str, np.ndarray] = {}

    def linear(target: str, *sources: str) -> None:
        weights = [given[f"{source}.weight"] for source in sources]
        variables[f"{target}/weight"] = np.concatenate(weights)
        variables[f"{target}/bias"] = np.concatenate(
            [given.get(f"{s}.bias", np.zeros(len(w), np.float32)) for s, w in zip(sources, weights, strict=True)]
        )

    def norm(target: str, source: str) -> None:
        variables[f"{target}/gamma"], variables[f"{target}/beta"] = given[f"{source}.weight"], given[f"{source}.bias"]

    linear("encoder/conv1", "model.encoder.conv1")
    linear("encoder/conv2", "model.encoder.conv2")
    variables["decoder/embeddings/weight"] = given["model.decoder.embed_tokens.weight"]
    for side, depth in (("encoder", model.config.encoder_layers), ("decoder", model.config.decoder_layers)):
        variables[f"{side}/position_encodings/encodings"] = given[f"model.{side}.embed_positions.weight"]
        variables[f"{side}/num_heads"] = np.array(2, np.int16)
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for k in range(depth):
            ours, theirs = f"{side}/layer_{k}", f"model.{side}.layers.{k}"
            norm(f"{ours}/self_attention/layer_norm", f"{theirs}.self_attn_layer_norm")
            linear(f"{ours}/self_attention/linear_0", *(f"{theirs}.self_attn.{p}_proj" for p in "qkv"))
            linear(f"{ours}/self_attention/linear_1", f"{theirs}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{ours}/attention/layer_norm", f"{theirs}.encoder_attn_layer_norm")
                linear(f"{ours}/attention/linear_0", f"{theirs}.encoder_attn.q_proj")
                linear(f"{ours}/attention/linear_1", *(f"{theirs}.encoder_attn.{p}_proj" for p in "kv"))
                linear(f"{ours}/attention/linear_2", f"{theirs}.encoder_attn.out_proj")
            norm(f"{ours}/ffn/layer_norm", f"{theirs}.final_layer_norm")
            linear(f"{ours}/ffn/linear_0", f"{theirs}.fc1")
            linear(f"{ours}/ffn/linear_1", f"{theirs}.fc2")
    return variables


def in_type(variables: dict[str, np.ndarray], kind: str) -> dict[str, tuple[str, np.ndarray]]:
    """Name to (type, array). Scales are ctranslate2's: 127 over a row's largest (int8), 2**10 over all (int16)."""
    written: dict[str, tuple[str, np.ndarray]] = {}
    for name, array in variables.items():
        if array.dtype != np.float32:
            written[name] = (str(array.dtype), array)
        elif kind == "bfloat16":
            written[name] = (kind, (array.view(np.uint32) >> 16).astype(np.uint16))
        elif kind == "int8" and name.endswith("/weight"):
            rows = array.reshape(len(array), -1)
            scale = (127 / np.abs(rows).max(1)).astype(np.float32)
            written[name] = (kind, np.rint(rows * scale[:, None]).astype(np.int8).reshape(array.shape))
            written[f"{name}_scale"] = ("float32", scale)
        elif kind == "int16" and name.endswith("/weight"):
            scale = np.float32(2**10 / np.abs(array).max())
            written[name] = (kind, np.rint(array * scale).astype(np.int16))
            written[f"{name}_scale"] = ("float32", np.array(scale))
        else:
            kept = "float32" if kind.startswith("int") else kind
            written[name] = (kept, array.astype(kept))
    return written


def ctranslate2_binary(written: dict[str, tuple[str, np.ndarray]], *, version: int = 6) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<H", len(value.encode()) + 1) + value.encode() + b"\0"

    parts = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<I", 3), struct.pack("<I", len(written))]
    for name, (kind, array) in written.items():
        parts += [text(name), struct.pack("<B", array.ndim), struct.pack(f"<{array.ndim}I", *array.shape)]
        parts += [struct.pack("<BI", TYPES[kind], array.nbytes), array.tobytes()]
    parts += [struct.pack("<I", 1), text("decoder/projection/weight"), text("decoder/embeddings/weight")]
    return b"".join(parts)


@pytest.fixture
def original() -> Callable[..., WhisperForConditionalGeneration]:
    """`original(vocabulary)`: what `ctranslate2_folder(vocabulary=...)` holds."""
    return original_whisper


@pytest.fixture
def ctranslate2_folder(tmp_path: Path) -> Callable[..., Path]:
    """`ctranslate2_folder(kind="int8")`: a folder as faster-whisper reads it."""

    def make(kind: str = "float32", *, vocabulary: int = 60, version: int = 6, leave_out: str = "") -> Path:
        folder = tmp_path / f"ctranslate2-{kind}"
        folder.mkdir()
        variables = ctranslate2_variables(original_whisper(vocabulary))
        written = {k: v for k, v in in_type(variables, kind).items() if not (leave_out and leave_out in k)}
        (folder / "model.bin").write_bytes(ctranslate2_binary(written, version=version))
        tokenizer = Tokenizer(BPE({letter: k for k, letter in enumerate("Ġabcdefgh")}, []))
        tokenizer.add_special_tokens(SPECIAL)
        tokenizer.save(str(folder / "tokenizer.json"))
        stated = {"alignment_heads": [[0, 1]], "lang_ids": [11, 12], "suppress_ids": [3], "suppress_ids_begin": [0]}
        (folder / "config.json").write_text(json.dumps(stated))
        return folder

    return make
