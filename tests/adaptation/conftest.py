"""Runs that several tests look at, and a narrator that remembers and can interrupt."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from speechxfer.report.progress import Reporter

LEARNS = ("stages.0.epochs=24", "stages.0.lr=3e-3")


class RecordingReporter(Reporter):
    """Keeps what is said. act: what happens when a bar of this title reaches this step."""

    def __init__(self, act: dict[tuple[str, int], Callable[[], None]] | None = None) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []
        self.act = act or {}

    def info(self, words: Any = "") -> None:
        self.lines.append(str(words))

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int], None]]:
        def step(done: int, of: int) -> None:
            self.act.get((title, done), lambda: None)()

        yield step

    def logged(self, words: str) -> bool:
        return any(words in line for line in self.lines)


@pytest.fixture(scope="session")
def recording_reporter() -> type[RecordingReporter]:
    return RecordingReporter


@pytest.fixture(scope="session")
def improving_overrides() -> tuple[str, ...]:
    """Overrides under which the tiny model beats its untouched self."""
    return LEARNS


@pytest.fixture
def quiet() -> Reporter:
    return Reporter(quiet=True)


@pytest.fixture(scope="session")
def raise_interrupt() -> Callable[[], None]:
    """Ctrl-C, as the terminal sends it."""
    return lambda: signal.raise_signal(signal.SIGINT)


@pytest.fixture
def set_dev_errors(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """dev_says(untouched, first epoch, ...): the dev part's error rates, in the order in which they are asked for."""
    from speechxfer.adaptation.selection.evaluator import Evaluator

    def make(*errors: float) -> None:
        given = iter(errors)
        monkeypatch.setattr(Evaluator, "evaluate_dev", lambda *_: next(given))

    return make


@pytest.fixture(scope="session")
def recipe_values(tiny_whisper: Path, corpus_table: Path) -> dict[str, Any]:
    return {
        "data": {"train": str(corpus_table)},
        "encoder": {"name": str(tiny_whisper)},
        "head": {"kind": "seq2seq"},
        "stages": [{"train": "all", "epochs": 2, "lr": 3e-3, "batch_seconds": 2}],
        "candidates": {"means": [], "pretrained_share": []},
        "device": "cpu",
        "precision": "float32",  # the same on every machine
    }


@pytest.fixture
def make_small_recipe(recipe_values: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    """small("seed=1"): a recipe with a new classification head, which answers at once; a run in tmp_path/run."""
    from speechxfer.config import load_recipe

    def make(*overrides: str) -> Any:
        given = ["head={kind: classify, pooling: attentive}", f"output={tmp_path / 'run'}", *overrides]
        return load_recipe(recipe_values, given)

    return make


@pytest.fixture(scope="session")
def improved_run(recipe_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that beat the untouched model."""
    from speechxfer.adaptation.run import adapt
    from speechxfer.config import load_recipe

    output = tmp_path_factory.mktemp("runs") / "deep" / "won"
    recipe = load_recipe(recipe_values, [*LEARNS, f"output={output}", "scoring.by=[accent, speaker]"])
    return adapt(recipe, name="won", reporter=RecordingReporter())


@pytest.fixture(scope="session")
def rejected_run(
    recipe_values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, RecordingReporter]:
    """A run whose learning rate destroys the model, and what it said."""
    from speechxfer.adaptation.run import adapt
    from speechxfer.config import load_recipe

    narrator = RecordingReporter()
    recipe = load_recipe(recipe_values, ["stages.0.lr=100", f"output={tmp_path_factory.mktemp('runs') / 'lost'}"])
    return adapt(recipe, name="lost", reporter=narrator), narrator
