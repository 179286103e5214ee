"""Two processes train the weights that one trains with both batches in a step; the main one measures and writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from speechxfer.adaptation.batches import BatchesBySeconds

# what torchrun starts: two stages, frames of the first kept; nothing random above the split
TRAINING = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace

import torch

from speechxfer.adaptation import processes
from speechxfer.adaptation.batches import TrainingUtterances
from speechxfer.adaptation.folder import RunFolder
from speechxfer.adaptation.stages import train_stages
from speechxfer.adaptation.trainee import Trainee
from speechxfer.config import load_recipe
from speechxfer.data.augment import Augment
from speechxfer.data.read import read
from speechxfer.models import to_adapt
from speechxfer.report.progress import Narrator

values, table, rows, output = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
processes.begin("cpu")
recipe = load_recipe(values)
torch.manual_seed(0)
part = read(table).select(range(rows))
model = to_adapt(recipe, part["text"])
for module in model.network.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
    if isinstance(getattr(module, "dropout", None), float):
        module.dropout = 0.0
measured = []

def dev(*_):
    measured.append(1.0 / (1 + len(measured)))
    with (output / "measured.txt").open("a") as file:
        file.write(f"{processes.rank()}\\n")
    return measured[-1]

output.mkdir(exist_ok=True)
material = SimpleNamespace(measure="WER")
judge = SimpleNamespace(recipe=recipe, narrator=Narrator(quiet=True), material=material, dev=dev)
utterances = TrainingUtterances(part, [model.targets(text) for text in part["text"]], Augment(recipe.augment), 0)
trainee = Trainee(model, recipe.augment)
entries = train_stages(trainee, utterances, judge, RunFolder(output), resume=False)
(output / f"entries-{processes.rank()}.json").write_text(json.dumps(entries))
"""


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_together_they_meet_every_utterance_once(processes):
    seconds = [1.0 + k % 5 for k in range(31)]
    shares = [
        BatchesBySeconds(seconds, most=9, epochs=2, seed=0, processes=processes, rank=k) for k in range(processes)
    ]
    for epoch in (0, 1):
        for share in shares:
            share.set_epoch(epoch)
        drawn = [list(share) for share in shares]
        assert {len(batches) for batches in drawn} == {len(shares[0])}
        rows = [draw.row for batches in drawn for batch in batches for draw in batch]
        assert sorted(rows) == list(range(31))


def test_fewer_utterances_than_processes():
    shares = [BatchesBySeconds([1.0, 2.0], most=9, epochs=1, seed=0, processes=3, rank=k) for k in range(3)]
    drawn = [[draw.row for batch in share for draw in batch] for share in shares]
    assert [len(rows) for rows in drawn] == [1, 1, 1] and {*map(tuple, drawn)} == {(0,), (1,)}


def test_two_processes_train_what_one_does(tiny_whisper, corpus_table, tmp_path, weights_of):
    stages: list[dict[str, Any]] = [
        {"train": "head", "epochs": 2, "lr": 1e-2, "batch_seconds": 2},
        {"train": "all", "epochs": 2, "lr": 1e-3, "batch_seconds": 2},
    ]
    values = {
        "encoder": {"name": str(tiny_whisper)},
        "head": {"kind": "ctc", "dropout": 0.0},
        "cache": {"use": "always"},
        "device": "cpu",
        "precision": "float32",
    }
    (tmp_path / "train.py").write_text(TRAINING, encoding="utf-8")
    rows = _even(corpus_table, len(stages))
    for name, launcher, accumulate in (
        ("one", [], 2),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"], 1),
    ):
        given = values | {"stages": [stage | {"accumulate": accumulate} for stage in stages]}
        words = [str(tmp_path / "train.py"), json.dumps(given), str(corpus_table), str(rows), str(tmp_path / name)]
        environment = os.environ | {"SPEECHXFER_FRAMES": str(tmp_path / f"frames-{name}"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *launcher, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    entries = [json.loads((tmp_path / name).read_text()) for name in ("one/entries-0.json", "two/entries-0.json")]
    assert (tmp_path / "two/entries-1.json").is_file()
    for number, (one, two) in enumerate(zip(*entries, strict=True)):
        assert one["epochs"] == two["epochs"] and one["best"] == two["best"] and one["cached"] == two["cached"]
        folders = [tmp_path / name / "checkpoints" / f"stage-{number}" / one["best"] for name in ("one", "two")]
        weights = [weights_of(folder) for folder in folders]
        for key, tensor in weights[0].items():
            torch.testing.assert_close(weights[1][key], tensor, atol=1e-5, rtol=1e-5, msg=key)
    # the main process alone measures, and writes the log
    assert (tmp_path / "two/measured.txt").read_text().split() == ["0"] * 4
    assert len(list((tmp_path / "two/logs/stage-0").iterdir())) == 1


def _even(table: Path, stages: int) -> int:
    """As many utterances as make an even number of batches of every epoch, so that no process has to halve one."""
    from speechxfer.data import audio
    from speechxfer.data.read import read

    seconds = [audio.seconds(row) for row in read(table)]
    for rows in range(9, 4, -1):
        batches = [len(BatchesBySeconds(seconds[:rows], most=2, epochs=2, seed=seed)) for seed in range(stages)]
        if all(count % 2 == 0 and count >= 4 for count in batches):
            return rows
    raise AssertionError("no such number")
