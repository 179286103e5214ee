"""Checkpoints of a stage: safetensors weights, detection of damaged ones, and the last epochs' weights."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_model

from speechxfer.atomic import write_text_atomically
from speechxfer.encoders.checkpoints import hash_files

EPOCHS_DIR = "epochs"  # in a stage's directory: the weights of its last epochs, for averaging
MAX_KEPT_EPOCHS = 5
WEIGHTS_FILE = "model.safetensors"
TRAINER_STATE_FILE = "trainer_state.json"  # written by Trainer, last
_SECONDS_FILE = "seconds.json"  # time that the stage took up to the checkpoint
_DIGESTS_FILE = "digests.json"  # SHA-256 of the other files, written after them


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


def write_digests(checkpoint: Path, stage_dir: Path) -> None:
    """Write the digests of a checkpoint's files, which mark it as complete, and those of the epoch's kept weights."""
    digests = {path.name: hash_files(path) for path in sorted(checkpoint.iterdir()) if path.name != _DIGESTS_FILE}
    write_text_atomically(checkpoint / _DIGESTS_FILE, json.dumps(digests, indent=2) + "\n")
    if (epoch_dir := stage_dir / EPOCHS_DIR / checkpoint.name).is_dir():
        write_text_atomically(epoch_dir / _DIGESTS_FILE, json.dumps({WEIGHTS_FILE: digests[WEIGHTS_FILE]}) + "\n")


def find_damage(folder: Path) -> str | None:
    """Return what is wrong with a checkpoint or with an epoch's weights; `None` if they are as they were written."""
    try:
        digests = json.loads((folder / _DIGESTS_FILE).read_text(encoding="utf-8"))
        changed = [name for name, digest in digests.items() if hash_files(folder / name) != digest]
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, AttributeError, TypeError):
        return f"{_DIGESTS_FILE} is damaged"
    return f"{changed[0]} has changed" if changed else None


def find_last_valid_checkpoint(stage_dir: Path, log: Callable[[str], None] = lambda _: None) -> str | None:
    """Return the newest checkpoint that is complete and undamaged, as is its best epoch's; `None` if there is none.

    Damaged ones are removed: the machine stopped or the disk was full while they were written, or the disk failed.

    log: is called with a line about each of them, and about what is used instead.
    """
    valid = []
    damaged = False
    for path in sorted(stage_dir.glob("checkpoint-*"), key=_step):
        if problem := find_damage(path):
            log(f"{path} is damaged ({problem}): it is not used")
            shutil.rmtree(path)
            damaged = True
        else:
            valid.append(path)
    kept = {path.name for path in valid}
    usable = [path for path in valid if (best := _read_best(path)) is None or best in kept]
    if damaged:
        log(f"training continues from {usable[-1].name}" if usable else "the stage is trained from its start")
    return str(usable[-1]) if usable else None


def _read_best(checkpoint: Path) -> str | None:
    """Return the name of the checkpoint of the best epoch so far."""
    step = json.loads((checkpoint / TRAINER_STATE_FILE).read_text(encoding="utf-8")).get("best_global_step")
    return None if not step else f"checkpoint-{step}"


def remove_checkpoints(stage_dir: Path) -> None:
    """Remove a stage's checkpoints and the weights of its epochs."""
    for path in (*stage_dir.glob("checkpoint-*"), stage_dir / EPOCHS_DIR):
        shutil.rmtree(path, ignore_errors=True)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
