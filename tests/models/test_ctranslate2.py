"""An exported model in CTranslate2 compared with the same model in torch: settings, texts, batches, errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechxfer.config import load_recipe
from speechxfer.data.reader import read
from speechxfer.decoding.whisper import MAX_REPEATS, MAX_SINGLE_TOKEN_REPEATS, MIN_NO_REPEAT_NGRAM
from speechxfer.encoders.checkpoints import (
    SETTINGS_FILE,
    hash_files,
    hash_model_dir,
    resolve_model_dir,
    resolve_transformers_dir,
)
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.export import export_model
from speechxfer.models import ModelSettings, build_trainable, ctranslate2, get_input_limits, load, predict_all
from speechxfer.models.ctranslate2 import BUCKET_SAMPLES, CTranslate2Recogniser, find_loop
from speechxfer.models.decoding_options import DecodingOptions, apply_decoding
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.models.transcribe import transcribe
from speechxfer.models.transcript_check import score_transcripts

pytest.importorskip("ctranslate2")
RATE = 16_000


@pytest.fixture(scope="module")
def in_torch(taught: Path) -> WhisperRecogniser:
    model = load(taught, device="cpu")
    assert isinstance(model, WhisperRecogniser)
    return model


@pytest.fixture(scope="module")
def folder(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(taught, "ctranslate2", tmp_path_factory.mktemp("fast") / "out").output


@pytest.fixture
def model(folder: Path) -> CTranslate2Recogniser:
    opened = load(folder, device="cpu")
    assert isinstance(opened, CTranslate2Recogniser)
    return opened


def pad_to_bucket(waveform: np.ndarray) -> np.ndarray:
    """Pad with silence to the next half second."""
    return np.pad(waveform, (0, -len(waveform) % 8_000))


# -- the same texts --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("beams", "length_penalty"), [(1, 1.0), (4, 1.0), (4, 0.0)])
@pytest.mark.parametrize("padded", [False, True])
def test_texts_are_those_of_the_model_in_torch(model, in_torch, words, beams, length_penalty, padded, monkeypatch):
    for either in (model, in_torch):
        monkeypatch.setattr(either.settings, "length_penalty", length_penalty)
    options = DecodingOptions(beam_size=beams, pad_to_30s=padded)
    quick, slow = apply_decoding(model, options), apply_decoding(in_torch, options)
    texts = quick.predict(words)
    assert texts == slow.predict([pad_to_bucket(word) for word in words])
    whole = [word for word in words if len(word) % BUCKET_SAMPLES == 0]  # these get no padding
    assert len(whole) == 3 and [texts[place] for place in (0, 2, 4)] == slow.predict(whole)
    assert padded or len({*texts}) >= 4  # it was taught unpadded


def test_rescoring_weighs_the_words(model, words):
    model.settings.beam_size = 4
    lengths = []
    for word in (-20.0, 0.0, 20.0):
        model.settings.rescoring = {"ctc": 0.0, "word": word, "risk": 0.0}
        lengths.append(sum(len(text.split()) for text in model.predict(words)))
    assert lengths == sorted(lengths) and lengths[0] < lengths[2]


def test_silence_is_added_as_saved(taught, in_torch, words, tmp_path):
    quiet = Path(shutil.copytree(taught, tmp_path / "quiet"))
    ModelSettings(kind="seq2seq", pad_silence=0.15).write(quiet)
    fast_one = load(export_model(quiet, "ctranslate2", tmp_path / "out").output, device="cpu")
    around = [np.pad(word, 2_400) for word in words]
    assert fast_one.predict(words) == in_torch.predict([pad_to_bucket(word) for word in around])
    assert fast_one.encoder.compute_padded_seconds(0.8) == 1.5  # 0.8 s and 0.3 s of silence


def test_a_decoder_that_never_ends_stops_at_the_utterance_s_token_limit(make_whisper, words, tmp_path):
    """The untrained model repeats one token; the limit is 24 tokens plus twelve per second, the end token included."""
    untaught = make_whisper(seconds=2)
    exported = export_model(untaught, "ctranslate2", tmp_path / "out").output
    slow, quick = (
        apply_decoding(load(folder, device="cpu"), DecodingOptions(pad_to_30s=False)) for folder in (untaught, exported)
    )
    texts = quick.predict(words)
    assert texts == slow.predict([pad_to_bucket(word) for word in words])
    assert len(texts[0]) < len(texts[-1])


def test_suppressed_tokens_are_the_model_s(taught, words, tmp_path):
    copied = Path(shutil.copytree(taught, tmp_path / "copy"))
    stated = json.loads((copied / "generation_config.json").read_text())
    slow = load(taught, device="cpu")
    (first,) = {slow.encode_text(text)[0] for text in slow.predict(words[:1])}
    stated["begin_suppress_tokens"] = [*stated["begin_suppress_tokens"], first]
    (copied / "generation_config.json").write_text(json.dumps(stated))
    quick = load(export_model(copied, "ctranslate2", tmp_path / "out").output, device="cpu")
    texts = quick.predict(words)
    assert texts == load(copied, device="cpu").predict([pad_to_bucket(word) for word in words])
    assert texts[0] != slow.predict(words[:1])[0]


@pytest.mark.parametrize("quantization", ["int8", "float16"])
def test_other_precisions_run_too(taught, in_torch, words, quantization, tmp_path, capfd):
    opened = load(export_model(taught, "ctranslate2", tmp_path / "out", quantization=quantization).output, device="cpu")
    texts, truth = opened.predict(words), in_torch.predict([pad_to_bucket(word) for word in words])
    assert sum(one == other for one, other in zip(texts, truth, strict=True)) >= (4 if quantization == "int8" else 5)
    assert "compute type" not in capfd.readouterr().err  # CTranslate2 warns if it has to convert float16 by itself


def test_a_multilingual_model_keeps_its_language(make_whisper, words, tmp_path):
    many = make_whisper(seconds=2, multilingual=True)
    out = export_model(many, "ctranslate2", tmp_path / "out", language="de").output
    for stated, language in ((None, "de"), ("en", "en")):
        quick, slow = load(out, device="cpu", language=stated), load(many, device="cpu", language=language)
        assert quick.prompt == slow.prompt and quick.settings.language == language
        padded = DecodingOptions(pad_to_30s=True)
        texts = apply_decoding(quick, padded).predict(words)
        assert texts == apply_decoding(slow, padded).predict(words)
        in_german = apply_decoding(quick, DecodingOptions(language="de"))
        assert (
            in_german.prompt == load(many, device="cpu", language="de").prompt and quick.settings.language == language
        )
    with pytest.raises(UserError, match="does not know the language 'xx'"):
        load(out, device="cpu", language="xx")


def test_an_english_model_is_not_taken_for_a_multilingual_one(make_whisper, tmp_path):
    reported = load(make_whisper(seconds=2), device="cpu", language="en")
    reported.save(tmp_path / "told")
    out = export_model(tmp_path / "told", "ctranslate2", tmp_path / "out").output
    assert load(out, device="cpu").prompt == load(out, device="cpu", language="en").prompt == reported.prompt
    with pytest.raises(UserError, match="knows English only"):
        load(out, device="cpu", language="de")


# -- loops -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("tokens", "stretch"),
    [
        ([], 0),
        ([7, *[1] * (MAX_SINGLE_TOKEN_REPEATS - 1), 7], 0),
        ([7, *[1] * MAX_SINGLE_TOKEN_REPEATS, 7], 1),
        ([1, 2] * (MAX_REPEATS - 1), 0),
        ([3, *[1, 2] * MAX_REPEATS], 2),
        ([*range(12)] * (MAX_REPEATS - 1), 0),
        ([*range(12)] * MAX_REPEATS, 12),
        ([*range(13)] * MAX_REPEATS, 0),
        ([1, 2, 9, 1, 2, 8, 1, 2], 0),
        ([1, 2, 3, 4, 9, 1, 2, 3, 4, 8, 1, 2, 3, 4, 9], 0),
        ([1, 2, 3, 4, 9, 1, 2, 3, 4, 8, 1, 2, 3, 4, 9, 1, 2, 3, 4], MIN_NO_REPEAT_NGRAM),
    ],
)
def test_loops_are_found(tokens, stretch):
    assert find_loop(tokens) == stretch


@pytest.mark.parametrize("beams", [1, 4])
def test_loops_are_removed_and_other_texts_unchanged(make_whisper, words, beams, tmp_path):
    looping, heard = 0, []
    for seed in range(3):
        out = export_model(make_whisper(seconds=2, seed=seed), "ctranslate2", tmp_path / f"{seed}").output
        opened = load(out, device="cpu")
        tokens = opened.processor.tokenizer
        decoded, heard = tokens.decode, []
        tokens.decode = lambda ids, heard=heard, decoded=decoded, **how: heard.append(ids) or decoded(ids, **how)
        searching = apply_decoding(opened, DecodingOptions(beam_size=beams, pad_to_30s=False))
        searching.predict(words)
        free = heard.copy()
        heard.clear()
        searching.copy_with(no_loops=True).predict(words)
        for before, after in zip(free, heard, strict=True):
            looping += bool(find_loop(before))
            assert not find_loop(after) and (find_loop(before) or after == before)
            assert after
    assert looping > 3


# -- batches ---------------------------------------------------------------------------------------------------------
def test_the_batch_does_not_matter(model, corpus_table, monkeypatch):
    rows = read(corpus_table)
    whole = predict_all(model, rows)
    assert predict_all(model, rows, batch_seconds=0.1) == whole
    monkeypatch.setattr(ctranslate2, "MAX_BATCH_UTTERANCES", 2)
    model.num_inflight = 3
    assert predict_all(model, rows, batch_seconds=2) == whole
    shuffled = rows.shuffle(seed=3)
    by_name = dict(zip(rows["id"], whole, strict=True))
    assert predict_all(model, shuffled) == [by_name[name] for name in shuffled["id"]]
    assert len({*whole}) > 2


def test_an_utterance_is_padded_by_its_own_length(model):
    ears = model.encoder
    assert [ears.round_up_samples(samples) for samples in (0, 1, 8_000, 8_001, 31_999, 32_000)] == [
        8_000, 8_000, 8_000, 16_000, 32_000, 32_000,
    ]  # fmt: skip
    shapes = {tuple(ears.prepare([np.zeros(n, np.float32)]).features.shape) for n in (8_001, 9_999, 16_000)}
    assert shapes == {(1, 20, 100)}
    with pytest.raises(UserError, match=r"2\.5 s of audio in one utterance"):
        model.predict([np.zeros(40_000, np.float32)])


def test_workers_start_before_results_are_read(model, words):
    begun = [model.submit([word]) for word in words]
    assert model.num_inflight == torch.get_num_threads()
    assert [texts() for texts in reversed(begun)][::-1] == [[text] for text in model.predict(words)]


# -- the folder ------------------------------------------------------------------------------------------------------
def test_the_export_carries_how_it_was_adapted(make_whisper, tmp_path):
    recipe = load_recipe(
        {
            "encoder": {"name": str(make_whisper(seconds=2)), "pad_silence": 0.1},
            "head": {"kind": "joint"},
            "stages": [{"train": "head", "epochs": 1, "lr": 1}],
            "decoding": {"kind": "beam", "beam_size": 3},
            "scoring": {"normaliser": "basic"},
            "device": "cpu",
        }
    )
    joint = build_trainable(recipe, ["one", "two"])
    joint.settings.rescoring = {"ctc": 0.5, "word": 0.5, "risk": 0.0}
    joint.save(tmp_path / "joint")
    made = export_model(tmp_path / "joint", "ctranslate2", tmp_path / "out")
    assert "the CTC head, which rescores" in made.warnings[1] and made.files["speechxfer.json"] > 0
    base = str(make_whisper(seconds=2))
    expected = ModelSettings(
        kind="seq2seq",
        pad_silence=0.1,
        beam_size=3,
        length_penalty=0.0,
        no_loops=True,
        tokens_per_word=joint.settings.tokens_per_word,
        rescoring={"ctc": 0.0, "word": 0.5, "risk": 0.0},
        normaliser="basic",
        base=base,
    )
    assert load(made.output, device="cpu").settings == expected


def test_its_limits_and_fingerprint_need_no_conversion(folder, taught, tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "cache"))
    ours, theirs = get_input_limits(folder), get_input_limits(taught)
    assert (ours.max_seconds, ours.max_tokens) == (theirs.max_seconds, theirs.max_tokens) == (2.0, 59)
    assert ours.count_tokens is not None and ours.count_tokens("one two xyz") == theirs.count_tokens("one two xyz")
    assert resolve_model_dir(folder) == folder and len(hash_model_dir(folder)) == 64
    assert hash_model_dir(folder) != hash_files(folder / "model.bin") != hash_model_dir(taught)
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def wide(make_whisper, tmp_path, monkeypatch) -> Path:
    """An export with attention heads of the published width, which our reader of CTranslate2 files assumes."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor

    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "cache"))
    config = WhisperConfig.from_pretrained(make_whisper(seconds=2))
    config.d_model, config.encoder_attention_heads, config.decoder_attention_heads = 64, 1, 1
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path / "wide")
    WhisperProcessor.from_pretrained(make_whisper(seconds=2)).save_pretrained(tmp_path / "wide")
    ModelSettings(kind="seq2seq", beam_size=2).write(tmp_path / "wide")
    return export_model(tmp_path / "wide", "ctranslate2", tmp_path / "fast").output


def test_without_our_settings_it_becomes_torch_padded_as_before(wide):
    assert isinstance(load(wide, device="cpu"), CTranslate2Recogniser)
    (wide / "speechxfer.json").unlink()
    opened = load(wide, device="cpu")
    assert type(opened) is WhisperRecogniser
    assert opened.settings == ModelSettings(kind="seq2seq", pad_to_30s=True)


def test_adapting_from_it_starts_in_torch(wide):
    recipe = load_recipe(
        {
            "encoder": {"name": str(wide)},
            "head": {"kind": "seq2seq"},
            "stages": [{"train": "head", "epochs": 1, "lr": 1}],
            "device": "cpu",
        }
    )
    assert type(build_trainable(recipe, ["one"])) is WhisperRecogniser
    assert type(load(resolve_transformers_dir(wide), device="cpu")) is WhisperRecogniser


def test_on_another_device_it_is_a_model_in_torch_run_as_saved(wide, monkeypatch):
    monkeypatch.setattr("speechxfer.models.loading.resolve_device", lambda wanted: torch.device("meta"))
    opened = load(wide, device="cuda")
    assert type(opened) is WhisperRecogniser and opened.device.type == "meta"
    assert (opened.settings.beam_size, opened.encoder.pad_to_30s) == (2, False)


# -- refusals --------------------------------------------------------------------------------------------------------
def test_without_ctranslate2_it_names_the_extra(folder, monkeypatch):
    monkeypatch.setattr(ctranslate2, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"exported for CTranslate2[\s\S]*speechxfer\[export\]"):
        load(folder, device="cpu")


@pytest.mark.parametrize("keep", [30, 5_000, -100])
def test_weights_cut_short(folder, keep, tmp_path):
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    binary = copied / "model.bin"
    binary.write_bytes(binary.read_bytes()[:keep])
    with pytest.raises(UserError, match="not a complete CTranslate2 model"):
        load(copied, device="cpu")


def test_unsupported_operations_raise_user_errors(model, words, corpus_table, tmp_path):
    for asked in (
        lambda: model.encode_target("one"),
        lambda: model.head,
        lambda: model.infer(words, len),
        lambda: model.encoder(model.encoder.prepare(words[:1])),
    ):
        with pytest.raises(UserError, match=r"runs in CTranslate2[\s\S]*fix: name the model that it was exported from"):
            asked()
    with pytest.raises(UserError, match=r"cannot be saved[\s\S]*copy its folder"):
        model.save(tmp_path)
    with pytest.raises(UserError, match="does not give the probability of a transcript"):
        score_transcripts(model, read(corpus_table))


# -- the commands ----------------------------------------------------------------------------------------------------
def test_evaluate_and_transcribe_use_it(folder, taught, corpus_table, tmp_path, monkeypatch):
    from speechxfer.cli import main

    def run(*words: str) -> None:
        monkeypatch.setattr("sys.argv", ["speechxfer", *words, "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0

    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "cache"))
    out, scored = tmp_path / "out.jsonl", tmp_path / "scored.json"
    words = ["transcribe", str(folder), str(corpus_table), "--output", str(out), "--json", str(tmp_path / "heard.json")]
    run(*words)
    texts = [json.loads(line)["hypothesis"] for line in out.read_text().splitlines()]
    rows = read(corpus_table)
    assert texts == predict_all(load(folder, device="cpu"), rows) and len(texts) == 18
    run("evaluate", str(folder), str(corpus_table), "--json", str(scored))
    report = json.loads(scored.read_text())
    assert report["result"]["utterances"] == 18 and report["provenance"]["options"]["padded_to_30s"] is False
    assert report["provenance"]["checkpoint"] == hash_model_dir(folder)
    assert not (tmp_path / "cache").exists()  # no conversion


def test_long_audio_is_cut_and_transcribed(folder, make_speech: Callable[..., np.ndarray], tmp_path):
    pause = np.zeros(RATE // 2, np.float32)
    parts = [part for k in range(6) for part in (make_speech("one", k, 0.7), pause)]
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), RATE)
    (heard,) = transcribe(folder, tmp_path / "long.wav", decoding=DecodingOptions(batch_seconds=1), device="cpu")
    assert not heard.whole and len(heard.segments) > 2 and heard.complete and heard.text


def test_an_export_is_exported_and_adapted_as_it_was_adapted(wide, tmp_path):
    stated = ModelSettings(
        kind="seq2seq", beam_size=4, length_penalty=0.0, no_loops=True, pad_silence=0.1, normaliser="basic"
    )
    stated.write(wide)
    again = export_model(wide, "transformers", tmp_path / "plain")
    assert "0.1 s of silence" in again.warnings[0]
    opened = load(resolve_transformers_dir(str(wide)), device="cpu")
    assert isinstance(opened, WhisperRecogniser) and opened.settings == stated
    (wide / SETTINGS_FILE).unlink()  # as written by another program
    assert load(resolve_transformers_dir(str(wide)), device="cpu").settings == ModelSettings(
        kind="seq2seq", pad_to_30s=True
    )
