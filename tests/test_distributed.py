"""Two processes train the weights that one trains with both batches in a step, and measure in shares; one writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_python import ForkServer

from speechxfer import distributed
from speechxfer.adaptation.training.batching import DurationBatchSampler

# what every process runs: two stages, frames of the first kept; nothing random above the split
TRAINING = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace

import torch

from speechxfer import distributed
from speechxfer.adaptation.training import trainer
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training.stages import train_stages
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.config import load_recipe
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.models import build_trainable
from speechxfer.report.progress import Reporter

values, table, rows, output = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
distributed.init_processes("cpu")
recipe = load_recipe(values)
torch.manual_seed(0)
part = read(table).select(range(rows))
model = build_trainable(recipe, part["text"])
for module in model.network.modules():
    if isinstance(module, torch.nn.Dropout):
        module.p = 0.0
    if isinstance(getattr(module, "dropout", None), float):
        module.dropout = 0.0
measured = []

def dev(*_):
    measured.append(1.0 / (1 + len(measured)))
    return measured[-1]

output.mkdir(exist_ok=True)
splits = SimpleNamespace(metric="WER", sample_train_probe=lambda seed: part, texts=list(part["text"]))
evaluator = SimpleNamespace(
    recipe=recipe, reporter=Reporter(quiet=True), splits=splits, evaluate_dev=dev, show_dev=str
)
targets = [model.encode_target(text) for text in part["text"]]
dataset = TrainingDataset(part, targets, WaveformAugmenter(recipe.augment), 0)
staged = StagedModule(model, recipe.augment)
keep, kept = trainer.save_epoch_weights, []
trainer.save_epoch_weights = lambda *paths: kept.append(paths) or keep(*paths)
entries = train_stages(staged, dataset, evaluator, RunDir(output), resume=False)
(output / f"entries-{distributed.get_rank()}.json").write_text(json.dumps([entries, measured, len(kept)]))
distributed.destroy_processes()
"""

# every process evaluates one model: the predictions, and how many utterances it processed itself
MEASURING = """
import json, sys
from pathlib import Path

from speechxfer import distributed
from speechxfer.adaptation.predictions import evaluate_split
from speechxfer.config.recipe import ScoringConfig
from speechxfer.data.reader import read
from speechxfer.models import load

model, table, output = load(sys.argv[1], device="cpu"), sys.argv[2], Path(sys.argv[3])
distributed.init_processes("cpu")
answer, heard = model.predict, []
model.predict = lambda waveforms: heard.extend(waveforms) or answer(waveforms)
found = evaluate_split(model, read(table), ScoringConfig(), batch_seconds=2, shared=True)
told = {"said": found.hypotheses, "heard": len(heard), "score": found.score.to_json()}
name = f"{distributed.get_world_size()}-{distributed.get_rank()}.json"
(output / name).write_text(json.dumps(told))
distributed.destroy_processes()
"""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.fixture
def start(fork_server: ForkServer) -> Callable[..., None]:
    """start(words, processes=1, **settings): run python with these words to the end; it must end well.

    Several processes have the environment variables that torchrun sets.
    """

    def run(*words: object, processes: int = 1, **settings: str) -> None:
        if processes == 1:
            started = [fork_server.start(*words, env=settings)]
        else:
            started = fork_server.start_ranks(processes, *words, env=settings)
        for process in started:
            assert process.wait() == 0, f"{process.errors[:6000]}\n...\n{process.errors[-3000:]}"

    return run


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_together_they_meet_every_utterance_once(processes):
    seconds = [1.0 + k % 5 for k in range(31)]
    shares = [
        DurationBatchSampler(seconds, max_seconds=9, epochs=2, seed=0, world_size=processes, rank=k)
        for k in range(processes)
    ]
    for epoch in (0, 1):
        for share in shares:
            share.set_epoch(epoch)
        drawn = [list(share) for share in shares]
        assert {len(batches) for batches in drawn} == {len(shares[0])}
        rows = [draw.row for batches in drawn for batch in batches for draw in batch]
        assert sorted(rows) == list(range(31))


def test_fewer_utterances_than_processes():
    shares = [DurationBatchSampler([1.0, 2.0], max_seconds=9, epochs=1, seed=0, world_size=3, rank=k) for k in range(3)]
    drawn = [[draw.row for batch in share for draw in batch] for share in shares]
    assert [len(rows) for rows in drawn] == [1, 1, 1] and {*map(tuple, drawn)} == {(0,), (1,)}


def test_alone_all_is_done_here(monkeypatch, tmp_path):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    distributed.init_processes("cpu")
    assert not torch.distributed.is_initialized()
    distributed.destroy_processes()
    assert (distributed.get_world_size(), distributed.get_rank(), distributed.get_local_rank()) == (1, 0, (0, 1))
    assert distributed.gather_from_all({3: "c", 1: "a"}) == {3: "c", 1: "a"}
    assert distributed.run_on_main(lambda: "done") == "done"
    # a group of one process, as torchrun --nproc_per_node=1 makes it, is the same, and is destroyed
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    assert (distributed.get_world_size(), distributed.get_rank()) == (1, 0)
    distributed.destroy_processes()
    assert not torch.distributed.is_initialized()


def test_the_ranks_of_a_launcher_are_read_and_its_group_is_joined(monkeypatch):
    made = []
    monkeypatch.setattr("accelerate.PartialState", lambda **options: made.append(options))
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    distributed.init_processes("cuda")
    assert distributed.get_local_rank() == (1, 2)
    assert made[0]["cpu"] is False and made[0]["timeout"].total_seconds() > 3600


@pytest.mark.parametrize("rank", [0, 1])
def test_results_of_two_processes_are_merged_in_both_and_work_is_done_in_one(monkeypatch, rank):
    """The collectives of torch replaced by those of two processes, of which the other has 2 and 4."""
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "get_rank", lambda: rank)

    def gather(shares, own):
        shares[rank], shares[1 - rank] = own, {2: "b", 4: "d"}

    def broadcast(objects):
        objects[0] = objects[0] if rank == 0 else "of the main process"

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    assert distributed.gather_from_all({1: "a", 3: "c"}) == {1: "a", 2: "b", 3: "c", 4: "d"}
    done = []
    result = distributed.run_on_main(lambda: done.append(rank) or "of the main process")
    assert (result, done) == ("of the main process", [0] if rank == 0 else [])


def test_two_processes_train_what_one_does(tiny_whisper, corpus_table, tmp_path, weights_of, start):
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
    for name, processes, accumulate in (("one", 1, 2), ("two", 2, 1)):
        given = json.dumps(values | {"stages": [stage | {"gradient_accumulation": accumulate} for stage in stages]})
        words = [tmp_path / "train.py", given, corpus_table, rows, tmp_path / name]
        start(*words, processes=processes, SPEECHXFER_FRAMES=str(tmp_path / f"frames-{name}"))
    reported = [json.loads((tmp_path / name).read_text()) for name in ("one/entries-0.json", "two/entries-0.json")]
    entries = [one for one, *_ in reported]
    # each measures after every epoch, and all know of the same
    others, measured, written = json.loads((tmp_path / "two/entries-1.json").read_text())
    assert [entry["epochs"] for entry in others] == [entry["epochs"] for entry in entries[1]]
    assert measured == reported[1][1] == reported[0][1] and len(measured) == 4
    for number, (one, two) in enumerate(zip(*entries, strict=True)):
        assert one["epochs"] == two["epochs"] and one["best"] == two["best"] and one["cached"] == two["cached"]
        folders = [tmp_path / name / "checkpoints" / f"stage-{number}" / one["best"] for name in ("one", "two")]
        weights = [weights_of(folder) for folder in folders]
        for key, tensor in weights[0].items():
            torch.testing.assert_close(weights[1][key], tensor, atol=1e-5, rtol=1e-5, msg=key)
    # the main process alone writes weights, and the log
    assert [reported[0][2], reported[1][2], written] == [4, 4, 0]
    assert len(list((tmp_path / "two/logs/stage-0").iterdir())) == 1


def test_two_processes_measure_in_shares_what_one_does(tiny_whisper, corpus_table, tmp_path, start):
    (tmp_path / "measure.py").write_text(MEASURING, encoding="utf-8")
    for processes in (1, 2):
        start(tmp_path / "measure.py", tiny_whisper, corpus_table, tmp_path, processes=processes)
    alone, *shares = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "2-0", "2-1"))
    for share in shares:
        assert share["said"] == alone["said"] and share["score"] == alone["score"]
        assert 0 < share["heard"] < alone["heard"]
    assert sum(share["heard"] for share in shares) == alone["heard"] == len(alone["said"]) == 18


def test_adapt_and_evaluate_under_torchrun(tiny_whisper, corpus_table, tmp_path, start):
    """`evaluate` is started by torchrun itself, `adapt` with the environment that torchrun sets."""
    output, table = tmp_path / "run", f"data.train={corpus_table}"
    recipe = ["accent-best", table, f"encoder.name={tiny_whisper}", f"output={output}", "device=cpu"]
    recipe += [
        "stages.0.epochs=2",
        "candidates.means=[2]",
        "candidates.pretrained_share=[0.5]",
        "decoding.beam_size=2",
    ]
    recipe += ["stages.0.batch_seconds=2", "decoding.batch_seconds=2", "precision=float32"]
    start("-m", "speechxfer", "adapt", *recipe, "--learning-curve", "--quiet", processes=2)
    report = json.loads((output / "report.json").read_text())
    test = report["after"]
    header, *rows = corpus_table.read_text().splitlines()
    heard = [row.replace(",", f",{corpus_table.parent}/", 1) for row in rows if row.endswith(",test")]
    (tmp_path / "test.csv").write_text("\n".join([header, *heard]) + "\n")
    for launcher, name in (([], "one"), (TORCHRUN, "two")):  # torchrun sets the environment of two processes
        words = ["evaluate", output, tmp_path / "test.csv", "--device", "cpu", "--batch-seconds", 2]
        start(*launcher, "-m", "speechxfer", *words, "--output", tmp_path / name, "--quiet")
        assert (tmp_path / name / "after.jsonl").read_text().count("\n") == test["utterances"] == 6
        assert json.loads((tmp_path / name / "report.json").read_text())["result"]["wer"] == test["wer"]
    written = [
        [json.loads(line)["hypothesis"] for line in path.open()] for path in sorted(tmp_path.glob("*/after.jsonl"))
    ]
    assert len(written) == 3 and written[0] == written[1] == written[2]


def _even(table: Path, stages: int) -> int:
    """As many utterances as make an even number of batches of every epoch, so that no process has to halve one."""
    from speechxfer.data import audio
    from speechxfer.data.reader import read

    seconds = [audio.measure_duration(row) for row in read(table)]
    for rows in range(9, 4, -1):
        batches = [
            len(DurationBatchSampler(seconds[:rows], max_seconds=2, epochs=2, seed=seed)) for seed in range(stages)
        ]
        if all(count % 2 == 0 and count >= 4 for count in batches):
            return rows
    raise AssertionError("no such number")
