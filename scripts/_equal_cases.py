"""The cases of `equal_behaviour.py`: what is run on each side. Recipe keys are in their old spelling."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from _equal_inputs import FAMILIES
from _equal_scores import SCORES
from _equal_side import CaseError, Side
from _equal_weights import sha256

Recipe = dict[str, Any]


def score(side: Side) -> None:
    """Score the 20 inputs; paths are relative, so that the JSON names them alike."""
    for name, (words, code) in SCORES.items():
        target = side.folder / f"{name}.json"
        side.speechxfer(
            name, "score", *words.split(), "--json", target, "--quiet", cwd=side.inputs / "score", code=code
        )
    pra = ("score", "ref.csv", "hyp-a.csv", "hyp-c.csv", "--quiet", "--output", side.folder / "aligned.pra")
    side.speechxfer("aligned", *pra, cwd=side.inputs / "score")


def demo(side: Side) -> None:
    """Adapt as the demonstration does, in float32: its own corpus and recipe."""
    blocker = side.folder / "no-folder"
    blocker.write_text("`demo` writes its corpus, then refuses a run folder that is a file\n", encoding="utf-8")
    side.speechxfer("corpus", "demo", "--output", blocker, code=2)
    corpora = sorted(path.parent for path in side.cache.glob("demo-corpus*/train.csv"))
    if not corpora:
        raise CaseError(f"`speechxfer demo` wrote no corpus into {side.cache}")
    data = {f"data.{part}": corpora[-1] / f"{part}.csv" for part in ("train", "dev", "test")}
    side.adapt("demo", data | {"precision": "float32", "seed": 0, "device": "cpu"})
    side.use("run", corpora[-1] / "test.csv", "--baseline", "whisper-tiny.en")
    write_cache_digests(side)


def write_cache_digests(side: Side) -> None:
    """Write the SHA-256 of the demo's tables, of its checksums of audio, and of the converted weights."""
    made = [path for path in side.cache.rglob("*") if path.suffix in (".csv", ".txt", ".safetensors")]
    found = {path.relative_to(side.cache).as_posix(): sha256(path) for path in sorted(made)}
    (side.folder / "cache.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def accent_whisper(side: Side) -> None:
    """Adapt Whisper tiny.en to 200 utterances of speechocean762, two epochs."""
    tables = side.need("speechocean762")
    data = {f"data.{part}": tables / f"{part}.csv" for part in ("train", "dev", "test")}
    side.adapt("accent-whisper", data | {"stages.0.epochs": 2, "precision": "float32", "seed": 0, "device": "cpu"})
    side.use("run", tables / "test.csv")
    side.export("transformers")
    side.export("ctranslate2")


def batch_invariance(side: Side) -> None:
    """Transcribe 200 utterances one by one and in batches, by the model of `accent-whisper`."""
    model = side.folder.parent / "accent-whisper" / "run"
    if not (model / "report.json").is_file():
        raise CaseError("needs the model of accent-whisper: run that case first")
    table = side.need("speechocean762") / "test-200.csv"
    side.script("batch-invariance", "batch_invariance.py", model, table, "--json", side.folder / "result.json")


def _on_tones(side: Side, model: str, **sections: Any) -> Recipe:
    """Return a recipe over the tone corpus, in two stages; sections replace those that stand here."""
    tones = side.inputs / "tones"
    first = {"train": "head", "epochs": 3, "lr": 1e-2, "batch_seconds": 8, "clip": 0.5}
    second = {"train": ["head", "top-1"], "epochs": 4, "lr": 5e-3, "encoder_lr": 2e-3, "batch_seconds": 4}
    plain: Recipe = {
        "data": {part: str(tones / f"{part}.csv") for part in ("train", "dev", "test")},
        "encoder": {"name": str(side.inputs / model)},
        "head": {"kind": "ctc"},
        "stages": [first, second | {"accumulate": 2, "weight_decay": 0.01}],
        "augment": {"speed": [0.9, 1.0, 1.1], "time_masks": 1, "freq_masks": 1},
        "device": "cpu",
        "precision": "float32",
        "seed": 0,
    }
    for name, section in sections.items():
        plain[name] = plain.get(name, {}) | section if isinstance(section, dict) else section
    return plain


_WHOLE = {"train": "all", "epochs": 4, "lr": 5e-3, "batch_seconds": 8}
_WITH_LM = {"kind": "beam", "beams": 8, "lm": "from-train", "lm_order": 2}  # so small a head writes little without
# one family to a feature, so that every part of training and decoding is run by some case
_CTC: dict[str, Recipe] = {
    "wav2vec2": {"decoding": _WITH_LM},
    "hubert": {"augment": {"gain": 6, "noise": 0.5, "room": 0.5, "pitch": [0.9, 1.0, 1.1]}},
    "wavlm": {
        "lora": {"rank": 2, "targets": ["intermediate_dense", "output_dense"]},
        "stages": [_WHOLE],
        "candidates": {"means": [2, 3]},
        "decoding": _WITH_LM | {"lm_weight": 0.5, "word_bonus": 2.0},
    },
    "data2vec": {
        "cache": {"use": "never"},
        "stages": [_WHOLE | {"layer_decay": 0.8, "patience": 2}],
        "decoding": _WITH_LM,
    },
    "conformer": {
        "encoder": {"silence": 0.1},
        "cache": {"use": "always", "dtype": "float16", "copies": 2, "features": True},
        "decoding": _WITH_LM,
    },
    "bert": {
        "stages": [_WHOLE | {"train": ["head", "encoder"], "clip": 0.3}],
        "decoding": {"kind": "beam", "beams": 6, "hot_words": ["ten"]},
    },
}


def ctc(side: Side, family: str) -> None:
    """Train a CTC head on a tiny random checkpoint of one family, and use the model in every way."""
    tones = side.inputs / "tones"
    recipe = _on_tones(side, family, **_CTC[family])
    if family in ("hubert", "bert"):
        recipe["data"]["other"] = str(tones / "other.csv")
    if family == "data2vec":
        recipe["data"] = {"train": str(tones / "all.csv"), "limit": 40}  # its column `split` decides
    side.adapt(side.recipe("ctc", recipe), {})
    side.use("run", tones / "test.csv", audio=tones / "long.wav", words=True)
    side.export("transformers")
    side.export("onnx", tones / "test.csv", code=2 if family == "bert" else 0)  # whose filter bank no graph computes


def joint(side: Side) -> None:
    """Train Whisper's decoder and a CTC head together on a tiny random Whisper; beam search weighed by the head."""
    head = {"kind": "joint", "recurrent": 1, "ctc_weight": 0.3}
    search = {"kind": "beam", "beams": 3, "length_penalty": 0.5}
    stages = [_WHOLE | {"decoder_lr": 1e-3, "batch_seconds": 4}]
    recipe = _on_tones(side, "whisper", head=head, decoding=search, stages=stages)
    recipe["candidates"] = {"means": [2], "untouched": [0.2, 0.5]}
    recipe["augment"]["pad_to_30s"] = 0.2
    side.adapt(side.recipe("joint", recipe), {})
    side.use("run", side.inputs / "tones" / "test.csv", "--baseline", side.inputs / "whisper")
    side.export("transformers")


def ctc_whisper(side: Side) -> None:
    """Train a CTC head with LSTMs on a tiny random Whisper, and a learning curve of it."""
    recipe = _on_tones(side, "whisper", head={"kind": "ctc", "recurrent": 2}, encoder={"silence": 0.05})
    side.adapt(side.recipe("ctc-whisper", recipe), {}, "--learning-curve")
    side.use("run", side.inputs / "tones" / "test.csv", words=True)
    side.export("onnx", side.inputs / "tones" / "test.csv")


def classify(side: Side) -> None:
    """Train a classifier on a tiny random wav2vec2: attentive pooling, a split by speakers that is drawn."""
    recipe = _on_tones(side, "wav2vec2", head={"kind": "classify", "pooling": "attentive"})
    recipe["data"] = {"train": str(side.inputs / "tones" / "all.csv"), "split": "ignore", "group": "speaker"}
    side.adapt(side.recipe("classify", recipe), {})
    side.use("run", side.inputs / "tones" / "test.csv")
    side.export("onnx", side.inputs / "tones" / "test.csv")


def wakeword(side: Side) -> None:
    """Train a detector in 100 steps: mined in rounds, taught by a tiny wav2vec2; evaluate it on other recordings."""
    clips, speech = side.need("wakewords"), side.need("speechocean762")
    settings = {"rounds": 2, "extra": 1, "check": 0.12, "minutes": 60, "teaching": 0.4, "held_out": 0.2, "batch": 32}
    data = ("--positives", clips / "train.csv", "--negatives", speech / "train.csv", "--voices", "none")
    drawn = ("--synthetic", 20, "--steps", 100, "--seed", 0, "--teacher", side.inputs / "wav2vec2")
    trained = ("--output", "detector", "--json", side.folder / "train.json", "--quiet")
    recipe = side.recipe("wakeword", {"word": "computer", "width": 32} | settings, schema="wakeword")
    side.speechxfer("train", "wakeword", "train", "computer", "--recipe", recipe, *data, *drawn, *trained)
    inputs = ("--positives", clips / "test.csv", "--stream", speech / "test.csv", "--snr", 10)
    side.speechxfer("evaluate", "wakeword", "evaluate", "detector", *inputs, "--json", side.folder / "evaluate.json")
    events = side.folder / "events.jsonl"
    side.speechxfer("listen", "wakeword", "listen", "detector", clips / "stream.wav", "--json", events)


CASES: dict[str, Callable[[Side], None]] = {
    "score": score,
    **{f"ctc-{family}": lambda side, family=family: ctc(side, family) for family in FAMILIES},
    "ctc-whisper": ctc_whisper,
    "joint": joint,
    "classify": classify,
    "wakeword": wakeword,
    "demo": demo,
    "accent-whisper": accent_whisper,
    "batch-invariance": batch_invariance,
}
