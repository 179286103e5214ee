"""Checkpoints of a stage: safetensors weights, detection of incomplete ones, and the last epochs' weights."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_model

EPOCHS_DIR = "epochs"  # in a stage's directory: the weights of its last epochs, for averaging
MAX_KEPT_EPOCHS = 5
WEIGHTS_FILE = "model.safetensors"
TRAINER_STATE_FILE = "trainer_state.json"  # written by Trainer, last
_SECONDS_FILE = "seconds.json"  # time that the stage took up to the checkpoint


def save_weights(model: torch.nn.Module, checkpoint: Path, seconds: float) -> None:
    """Save a model's weights, tied ones once, and the seconds that the stage took up to here."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    save_model(model, str(checkpoint / WEIGHTS_FILE))
    (checkpoint / _SECONDS_FILE).write_text(json.dumps(round(seconds, 1)), encoding="utf-8")


def read_elapsed_seconds(checkpoint: str | None) -> float:
    """Return the seconds that the stage took up to a checkpoint, over all runs; 0 if unknown."""
    path = Path(checkpoint or "") / _SECONDS_FILE
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))) if checkpoint else 0.0
    except (OSError, ValueError, TypeError):
        return 0.0


def save_epoch_weights(checkpoint: Path, stage_dir: Path) -> None:
    """Keep an epoch's weights, as a hard link, after its checkpoint is removed."""
    weights, epoch_dir = checkpoint / WEIGHTS_FILE, stage_dir / EPOCHS_DIR / checkpoint.name
    epoch_dir.mkdir(parents=True, exist_ok=True)
    (epoch_dir / WEIGHTS_FILE).unlink(missing_ok=True)
    try:
        os.link(weights, epoch_dir / WEIGHTS_FILE)
    except OSError:  # a file system without links
        shutil.copyfile(weights, epoch_dir / WEIGHTS_FILE)
    for old in list_epoch_weights(stage_dir)[:-MAX_KEPT_EPOCHS]:
        shutil.rmtree(old)


def list_epoch_weights(stage_dir: Path) -> list[Path]:
    """List the directories `epochs/checkpoint-STEP` of a stage, each with an epoch's weights, oldest first."""
    return sorted((stage_dir / EPOCHS_DIR).glob("checkpoint-*"), key=_step)


def find_last_valid_checkpoint(stage_dir: Path) -> str | None:
    """Return the newest complete checkpoint (Trainer writes its state last), or `None`.

    Incomplete ones are removed: the machine stopped or the disk was full while they were written.
    """
    valid = []
    for path in stage_dir.glob("checkpoint-*"):
        try:
            json.loads((path / TRAINER_STATE_FILE).read_text(encoding="utf-8"))
            with safe_open(str(path / WEIGHTS_FILE), framework="pt"):
                pass  # compares the file's length with its header
            if not all(map(zipfile.is_zipfile, path.glob("*.pt*"))):  # torch's files: optimiser, random numbers
                raise ValueError
            valid.append(path)
        except (OSError, ValueError, SafetensorError):
            shutil.rmtree(path)
    return str(max(valid, key=_step)) if valid else None


def remove_checkpoints(stage_dir: Path) -> None:
    """Remove a stage's checkpoints and the weights of its epochs."""
    for path in (*stage_dir.glob("checkpoint-*"), stage_dir / EPOCHS_DIR):
        shutil.rmtree(path, ignore_errors=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
