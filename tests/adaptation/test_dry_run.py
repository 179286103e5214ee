"""`adapt --dry-run`: the steps that training would take, nothing written, the same mistakes told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechxfer.adaptation.dry_run import estimate_run
from speechxfer.adaptation.run import adapt
from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter


def test_it_tells_the_steps_that_training_takes_and_writes_nothing(
    tiny_recipe: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stages = 'stages=[{"train": "head", "epochs": 1, "lr": 1e-3, "batch_seconds": 1}, '
    stages += '{"train": "all", "epochs": 2, "lr": 1e-3, "batch_seconds": 2, "gradient_accumulation": 2}]'
    recipe = tiny_recipe(stages, "encoder.pad_silence=0.2")
    planned = estimate_run(recipe)
    output = capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    run = adapt(recipe, reporter=Reporter(quiet=True))
    taken = [
        max(int(path.name.partition("-")[2]) for path in (tmp_path / f"run/checkpoints/stage-{k}").glob("checkpoint-*"))
        for k in (0, 1)
    ]
    assert [stage["steps"] for stage in planned["stages"]] == taken
    assert planned["steps"] == sum(taken)
    assert [s["trained_parameters"] for s in planned["stages"]] == [
        s["trained_parameters"] for s in run.report.to_json()["stages"]
    ]
    assert planned["minutes"] >= 0 and planned["disk_mb"] >= 0 and planned["hours"]["train"] > 0
    assert f"total   {sum(taken)} steps, about {planned['minutes']:.3g} min on cpu" in output


def test_the_disk_that_it_tells_holds_the_run(tiny_recipe: Callable[..., Any], tmp_path: Path) -> None:
    recipe = tiny_recipe()
    reported = estimate_run(recipe, reporter=Reporter(quiet=True))
    adapt(recipe, reporter=Reporter(quiet=True))
    run = tmp_path / "run"
    heavy = [path for name in ("model.safetensors", "optimizer.pt") for path in run.rglob(name)]
    heavy = [path for path in heavy if path.parent.name != "rejected"]  # a trained model that lost: seldom there
    sizes = {path.stat().st_ino: path.stat().st_size for path in heavy}  # an epoch's weights may have two names
    assert reported["disk_mb"] == pytest.approx(sum(sizes.values()) / 1e6, rel=0.2)


def test_the_frames_that_it_tells_are_the_frames_that_are_kept(
    tiny_recipe: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from speechxfer.encoders.frame_store import list_stores

    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))
    recipe = tiny_recipe("stages.0.train=head", "stages.0.epochs=3", "cache.copies=2")
    reported = estimate_run(recipe)
    assert not (tmp_path / "frames").exists()
    assert f"MB in {tmp_path / 'frames'}" in capsys.readouterr().out
    adapt(recipe, reporter=Reporter(quiet=True))
    (store,) = list_stores()
    assert store.utterances == 2 * 9 + 3  # both copies of the training part, and the dev part as it was heard
    assert reported["cache_mb"] == pytest.approx(store.megabytes * 18 / 21, rel=0.25)
    elsewhere = ("stages.0.train=head", f"output={tmp_path / 'other'}")
    # four copies in two epochs: each would be read once
    assert estimate_run(tiny_recipe(*elsewhere), reporter=Reporter(quiet=True))["cache_mb"] == 0
    with pytest.raises(UserError, match="are allowed"):
        estimate_run(tiny_recipe(*elsewhere, "cache.use=always", "cache.max_gb=1e-5"), reporter=Reporter(quiet=True))


def test_what_adapt_refuses_is_refused(tiny_recipe: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file"):
        estimate_run(tiny_recipe(f"data.train={tmp_path}/none.csv"), reporter=Reporter(quiet=True))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.doc").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.doc"):
        estimate_run(tiny_recipe(), reporter=Reporter(quiet=True))


def test_a_folder_that_nobody_can_make_is_told_before_training(tiny_recipe: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"^/proc/run: cannot be written"):
        estimate_run(tiny_recipe("output=/proc/run"), reporter=Reporter(quiet=True))
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\)"):
        estimate_run(tiny_recipe(f"output={__file__}/run"), reporter=Reporter(quiet=True))


def test_a_disk_too_small_is_told(tiny_recipe: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechxfer.adaptation.dry_run.shutil.disk_usage", lambda _: type("Usage", (), {"free": -1})())
    with pytest.raises(UserError, match=r"does not fit on the disk"):
        estimate_run(tiny_recipe(), reporter=Reporter(quiet=True))
