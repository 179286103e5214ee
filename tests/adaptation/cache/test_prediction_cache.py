"""The untouched model answers a part once; what its answers depend on makes them anew, and nothing else does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from speechxfer.adaptation.cache import prediction_cache
from speechxfer.adaptation.cache.prediction_cache import get_cached_predictions
from speechxfer.adaptation.predictions import Evaluation, evaluate_split
from speechxfer.adaptation.run import adapt
from speechxfer.config import load_recipe
from speechxfer.data.reader import read
from speechxfer.encoders.frame_store import get_predictions_dir, list_prediction_files
from speechxfer.models import load


@pytest.fixture(autouse=True)
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))
    return tmp_path / "frames"


class Case:
    """A checkpoint and a part that a test may change between two askings."""

    def __init__(self, values: dict[str, Any], tmp_path: Path) -> None:
        self.table = Path(shutil.copytree(Path(values["data"]["train"]).parent, tmp_path / "corpus")) / "all.csv"
        self.folder = Path(shutil.copytree(values["encoder"]["name"], tmp_path / "whisper"))
        self.values = values | {"encoder": {"name": str(self.folder)}, "data": {"train": str(self.table)}}
        self.settings: dict[str, Any] = {}

    def ask(self, *overrides: str) -> tuple[Evaluation, bool]:
        recipe = load_recipe(self.values, overrides)
        model = load(self.folder, device="cpu")
        for name, value in self.settings.items():
            setattr(model.settings, name, value)
        part = read(self.table).select(range(6))
        return get_cached_predictions(model, part, recipe, "text", lambda: evaluate_split(model, part, recipe.scoring))


@pytest.fixture
def case(recipe_values, tmp_path) -> Case:
    return Case(recipe_values, tmp_path)


def test_asked_again_it_is_read_and_is_the_same(case):
    first, read_first = case.ask()
    again, read_again = case.ask("seed=7", "stages.0.epochs=9", "cache.max_gb=1")  # none of its business
    assert (read_first, read_again) == (False, True)
    assert again.hypotheses == first.hypotheses and again.speed == first.speed
    assert again.score.to_json() == first.score.to_json()
    assert any(first.hypotheses) and len(list_prediction_files()) == 1


def test_another_normaliser_scores_the_same_answers(case):
    case.ask()
    lines = case.table.read_text().splitlines()
    case.table.write_text("\n".join([lines[0], *(line.replace(",one,", ",ONE!,") for line in lines[1:])]) + "\n")
    found, read_again = case.ask("scoring.normaliser=none")
    assert (
        read_again
        and found.score.to_json() == case.ask("scoring.normaliser=none", "cache.use=never")[0].score.to_json()
    )


def louder(case: Case) -> None:
    path = case.table.parent / "0-one.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples * 0.5, rate)


def cut(case: Case) -> None:
    lines = case.table.read_text().splitlines()
    case.table.write_text(
        "\n".join([f"{lines[0]},start", f"{lines[1]},0.1", *(f"{line}," for line in lines[2:])]) + "\n"
    )


def other_weights(case: Case) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(case.folder / "model.safetensors")
    weights["model.encoder.layer_norm.bias"] += 1
    save_file(weights, case.folder / "model.safetensors", metadata={"format": "pt"})


def other_generation(case: Case) -> None:
    path = case.folder / "generation_config.json"
    stated = json.loads(path.read_text())
    path.write_text(json.dumps({**stated, "suppress_tokens": [*(stated.get("suppress_tokens") or []), 5]}))


def other_settings(case: Case) -> None:
    case.settings = {"beam_size": 3}


def other_program(case: Case) -> None:
    prediction_cache._source_digest = lambda: "another"


@pytest.mark.parametrize("change", [louder, cut, other_weights, other_generation, other_settings, other_program])
def test_what_answers_depend_on_makes_them_anew(case, change, monkeypatch):
    monkeypatch.setattr(prediction_cache, "_source_digest", prediction_cache._source_digest)
    case.ask()
    change(case)
    found, was_read = case.ask()
    assert not was_read and len(list_prediction_files()) == 2
    assert found.hypotheses == case.ask("cache.use=never")[0].hypotheses
    assert case.ask()[1]


def test_never_neither_keeps_nor_reads(case):
    assert not case.ask("cache.use=never")[1] and not get_predictions_dir().exists()
    case.ask()
    assert not case.ask("cache.use=never")[1]


@pytest.mark.parametrize("damage", [b"", b"\xff{", b"[]", b"{}", b'{"hypotheses": [], "speed": {"wall_seconds": 1}}'])
def test_what_is_damaged_is_made_anew(case, damage):
    first, _ = case.ask()
    list_prediction_files()[0].write_bytes(damage)
    again, was_read = case.ask()
    assert not was_read and again.hypotheses == first.hypotheses
    assert case.ask()[1]


def test_a_place_that_cannot_be_written_costs_nothing(case, frames):
    frames.write_text("a file")
    assert not case.ask()[1] and not case.ask()[1]


def test_those_unused_longest_go_first(case, monkeypatch):
    monkeypatch.setattr(prediction_cache, "MAX_CACHED_PREDICTIONS", 2)
    for beams in (1, 2, 3):
        case.settings = {"beam_size": beams}
        case.ask()
        if beams == 2:
            case.settings = {"beam_size": 1}
            assert case.ask()[1]  # used again: it stays
    assert len(list_prediction_files()) == 2
    case.settings = {"beam_size": 1}
    assert case.ask()[1]


def test_a_second_run_says_the_same_and_says_that_it_was_kept(recipe_values, recording_reporter, tmp_path):
    runs, texts = [], []
    for name in ("first", "second"):
        narrator = recording_reporter()
        recipe = load_recipe(recipe_values, [f"output={tmp_path / name}"])
        runs.append(adapt(recipe, reporter=narrator))
        texts.append(
            narrator.logged("zero-shot, test: predictions read from the cache")
            and narrator.logged("zero-shot, dev: predictions read from the cache")
        )
    assert texts == [False, True] and len(list_prediction_files()) == 2
    first, second = runs
    assert first.before.to_json() == second.before.to_json() and first.after.to_json() == second.after.to_json()
    assert first.run_dir.before.read_bytes() == second.run_dir.before.read_bytes()
