"""A stage's checkpoints on disk: written without pickled weights, found whole, and their weights kept for means."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_model

EPOCHS_DIR, MAX_KEPT_EPOCHS = "epochs", 5  # in a stage's folder: the weights alone of its last epochs
WEIGHTS_FILE = "model.safetensors"
TRAINER_STATE_FILE = "trainer_state.json"  # in a checkpoint: Trainer's own
_SECONDS_FILE = "seconds.json"  # in a checkpoint: how long the stage took to come there


def save_weights(model: torch.nn.Module, checkpoint: Path, seconds: float) -> None:
    """A model's weights (`save_model` knows tied ones), and the seconds that the stage took to come there."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    save_model(model, str(checkpoint / WEIGHTS_FILE))
    (checkpoint / _SECONDS_FILE).write_text(json.dumps(round(seconds, 1)), encoding="utf-8")


def read_elapsed_seconds(checkpoint: str | None) -> float:
    """What the stage took up to a checkpoint, in whichever runs; 0 where it does not say."""
    path = Path(checkpoint or "") / _SECONDS_FILE
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))) if checkpoint else 0.0
    except (OSError, ValueError, TypeError):
        return 0.0


def save_epoch_weights(checkpoint: Path, stage: Path) -> None:
    """A second name for an epoch's weights, which outlives its checkpoint: means of late epochs are made of them."""
    weights, beside = checkpoint / WEIGHTS_FILE, stage / EPOCHS_DIR / checkpoint.name
    beside.mkdir(parents=True, exist_ok=True)
    (beside / WEIGHTS_FILE).unlink(missing_ok=True)
    try:
        os.link(weights, beside / WEIGHTS_FILE)
    except OSError:  # a file system without links
        shutil.copyfile(weights, beside / WEIGHTS_FILE)
    for old in list_epoch_weights(stage)[:-MAX_KEPT_EPOCHS]:
        shutil.rmtree(old)


def list_epoch_weights(folder: Path) -> list[Path]:
    """A stage's folders `epochs/checkpoint-STEP`, each with an epoch's weights, oldest first."""
    return sorted((folder / EPOCHS_DIR).glob("checkpoint-*"), key=_step)


def find_last_valid_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end (Trainer writes its state last), None where there is none.

    Any other is removed: the machine stopped, or the disk filled, while it was written, or a file is cut short.
    """
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / TRAINER_STATE_FILE).read_text(encoding="utf-8"))
            with safe_open(str(path / WEIGHTS_FILE), framework="pt"):
                pass  # it compares the file's length with its header
            if not all(map(zipfile.is_zipfile, path.glob("*.pt*"))):  # torch's files: optimiser, random numbers
                raise ValueError
            whole.append(path)
        except (OSError, ValueError, SafetensorError):
            shutil.rmtree(path)
    return str(max(whole, key=_step)) if whole else None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
