"""A learning curve: nested portions of whole speakers, dev alone, light, taken up again, told before and after."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from rich.console import Console

from speechxfer.adaptation.dry_run import estimate_run
from speechxfer.adaptation.learning_curve import make_subsets
from speechxfer.adaptation.run import Run, adapt
from speechxfer.adaptation.selection.evaluator import Evaluator
from speechxfer.cli._run_output import print_advice
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter

# four speakers of three utterances train, of 0.4 to 0.9 s
PARTS = ("data.split=ignore", "data.dev=speaker=s4", "data.test=speaker=s5")


def make_recipe(values: dict[str, Any], output: Path) -> Any:
    from speechxfer.config import load_recipe

    stages = "stages=[{train: head, epochs: 2, lr: 3e-3, batch_seconds: 2}, {train: all, epochs: 2, lr: 3e-3}]"
    head = "head={kind: classify, pooling: mean}"  # it answers at once
    return load_recipe(values, [*PARTS, stages, head, f"output={output}"])


@pytest.fixture
def recipe(recipe_values: dict[str, Any], tmp_path: Path) -> Any:
    return make_recipe(recipe_values, tmp_path / "run")


@pytest.fixture(scope="module")
def curved(recipe_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run of the recipe with its learning curve, which no test changes."""
    recipe = make_recipe(recipe_values, tmp_path_factory.mktemp("curved") / "run")
    return adapt(recipe, learning_curve=True, reporter=Reporter(quiet=True))


def table(lengths: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A training part of these speakers' utterances, seconds each."""
    monkeypatch.setattr(audio, "measure_duration", lambda row: row["seconds"])
    rows = [{"speaker": who, "seconds": seconds, "text": "one"} for who, each in lengths.items() for seconds in each]
    return Dataset.from_list(rows)


@pytest.mark.parametrize("seed", range(5))
def test_portions_are_nested_and_of_whole_speakers(monkeypatch, seed):
    lengths = {f"s{number}": [1.0 + number % 3] * (5 + number) for number in range(12)}
    part = table(lengths, monkeypatch)
    quarter, half, whole = make_subsets(part, "speaker", seed)
    assert [quarter.share, half.share, whole.share] == [0.25, 0.5, 1.0]
    assert set(quarter.rows) < set(half.rows) < set(whole.rows) == set(range(len(part)))
    total = sum(sum(each) for each in lengths.values())
    largest = max(sum(each) for each in lengths.values())
    for portion in (quarter, half, whole):
        assert portion.rows == sorted(portion.rows)
        taken = {part["speaker"][row] for row in portion.rows}
        assert portion.rows == [row for row, who in enumerate(part["speaker"]) if who in taken]
        assert portion.seconds == pytest.approx(sum(sum(lengths[who]) for who in taken))
        assert abs(portion.seconds - portion.share * total) <= largest / 2  # no other number of them comes nearer
        assert portion.to_point(0.5) == {
            "share": portion.share,
            "hours": portion.seconds / 3600,
            "utterances": len(portion.rows),
            "dev": 0.5,
        }
    assert make_subsets(part, "speaker", seed) == [quarter, half, whole]


def test_another_seed_takes_other_speakers(monkeypatch):
    part = table({f"s{number}": [1.0] * 4 for number in range(12)}, monkeypatch)
    assert len({tuple(make_subsets(part, "speaker", seed)[0].rows) for seed in range(8)}) > 1


def test_without_speakers_it_is_utterances(monkeypatch):
    part = table({"s1": [1.0] * 10, "s2": [1.0] * 10}, monkeypatch)  # two are no quarter
    for column in ("speaker", "nobody"):
        quarter, half, _ = make_subsets(part, column, 0)
        assert (len(quarter.rows), len(half.rows)) == (5, 10) and set(quarter.rows) < set(half.rows)
    unnamed = table({"": [1.0] * 8, "s1": [1.0] * 2, "s2": [1.0] * 2}, monkeypatch)
    quarter, half, _ = make_subsets(unnamed, "speaker", 0)
    assert len(quarter.rows) in (2, 3, 4) and set(quarter.rows) < set(half.rows)
    with pytest.raises(UserError, match="2 training utterances are too few for a learning curve"):
        make_subsets(table({"s1": [1.0, 1.0]}, monkeypatch), "speaker", 0)


def test_one_speaker_of_nearly_everything(monkeypatch):
    """Still three sizes, each larger than the one before."""
    for seed in range(6):
        part = table({"loud": [1.0] * 40, "a": [1.0], "b": [1.0]}, monkeypatch)
        sizes = [len(portion.rows) for portion in make_subsets(part, "speaker", seed)]
        assert sizes == sorted(set(sizes)) and len(sizes) == 3


def test_what_a_run_leaves(recipe, tmp_path, recording_reporter, monkeypatch):
    heard: list[tuple[str, set[str]]] = []
    whole = Evaluator._evaluate

    def note(self, model, part, title):
        heard.append((title, set(part["speaker"])))
        return whole(self, model, part, title)

    monkeypatch.setattr(Evaluator, "_evaluate", note)
    narrator = recording_reporter()
    run = adapt(recipe, learning_curve=True, reporter=narrator)
    curve = run.report.to_json()["learning_curve"]
    assert [point["share"] for point in curve] == [0.25, 0.5, 1.0]
    assert [point["utterances"] for point in curve] == [3, 6, 12]  # of one, two and four speakers
    rows = [row for row in read(recipe.data.train) if row["speaker"] not in ("s4", "s5")]
    assert curve[2]["hours"] == pytest.approx(sum(audio.measure_duration(row) for row in rows) / 3600)
    assert 0 < curve[0]["hours"] < curve[1]["hours"] < curve[2]["hours"]
    assert curve[2]["dev"] == min(candidate["dev"] for candidate in run.report.to_json()["candidates"])
    assert narrator.logged("learning curve, 25% of the training split: 3 utterances")
    # the test part is heard by the whole part's model alone
    assert [title for title, who in heard if "s5" in who] == ["adapted, test"]
    # light: what was measured, and curves for TensorBoard
    for portion, point in zip(("25", "50"), curve, strict=False):
        place = run.run_dir.path / "learning-curve" / portion
        assert {path.name for path in place.iterdir()} == {"point.json", "logs"}
        assert json.loads((place / "point.json").read_text()) == point
    page = run.run_dir.html.read_text(encoding="utf-8")
    assert "<h2>Learning curve</h2>" in page and page.count('<th scope="row">') >= 3
    screen = Reporter()
    screen.console = Console(file=io.StringIO(), width=200)
    print_advice(run, screen)
    reported = screen.console.file.getvalue()
    assert "25 % of train" in reported and "dev accuracy %" in reported
    assert all(f"next    {advice['action']}" in reported for advice in run.report.to_json()["advice"])


def test_the_run_itself_is_as_without(recipe, curved, quiet, tmp_path, same_weights):
    plain = adapt(recipe.model_copy(update={"output": str(tmp_path / "plain")}), reporter=quiet)
    assert plain.report.learning_curve is None and not (plain.run_dir.path / "learning-curve").exists()
    assert same_weights(plain.run_dir.model, curved.run_dir.model)
    assert plain.run_dir.after.read_text() == curved.run_dir.after.read_text()
    # a finished run gets its curve, and trains nothing of its own again
    late = adapt(
        recipe.model_copy(update={"output": str(tmp_path / "plain")}), resume=True, learning_curve=True, reporter=quiet
    )
    assert late.report.learning_curve == curved.report.learning_curve
    assert late.report.stages == plain.report.stages


def test_it_is_taken_up_where_it_stopped(recipe, curved, quiet, recording_reporter, raise_interrupt, tmp_path):
    truth = curved.report.learning_curve
    seen: list[str] = []

    def stop() -> None:
        seen.append("head")
        if len(seen) == 3:  # the whole part, a quarter, a half
            raise_interrupt()

    with pytest.raises(KeyboardInterrupt):
        adapt(recipe, learning_curve=True, reporter=recording_reporter({("stage 0 (head)", 2): stop}))
    place = tmp_path / "run" / "learning-curve"
    assert (place / "25" / "point.json").is_file() and (place / "50" / "checkpoints").is_dir()
    narrator = recording_reporter()
    run = adapt(recipe, resume=True, learning_curve=True, reporter=narrator)
    assert narrator.logged("learning curve, 25% of the training split: already done")
    assert run.report.to_json()["learning_curve"] == truth
    # a finished run with its curve is finished
    narrator = recording_reporter()
    assert adapt(recipe, resume=True, learning_curve=True, reporter=narrator).report == run.report
    assert narrator.logged("nothing to do")
    # and another run in its place has none
    again = adapt(recipe.model_copy(update={"overwrite": True}), reporter=quiet)
    assert again.report.learning_curve is None and not place.exists()


def test_a_dry_run_counts_it(recipe, curved, recording_reporter):
    plain, narrator = estimate_run(recipe, reporter=recording_reporter()), recording_reporter()
    planned = estimate_run(recipe, learning_curve=True, reporter=narrator)
    quarter, half = planned["learning_curve"]
    assert planned["steps"] == plain["steps"] + quarter["steps"] + half["steps"]
    assert planned["disk_mb"] > plain["disk_mb"] and "learning_curve" not in plain
    assert narrator.logged(f"25% of train: 3 utterances, {quarter['steps']} steps")
    assert 0 <= quarter["seconds"] <= half["seconds"]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    taken = 0
    for number in (0, 1):
        events = EventAccumulator(str(curved.run_dir.path / "learning-curve" / "25" / "logs" / f"stage-{number}"))
        events.Reload()
        taken += max(event.step for event in events.Scalars("eval/error"))
    assert quarter["steps"] == taken
