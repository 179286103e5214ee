"""The run folder: one place for everything a run writes, never half a model, never someone else's files."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from speechxfer.config import Recipe, dump_recipe
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel

RECIPE_FILE, REPORT_FILE, HTML_FILE, MODEL_DIR = "recipe.yaml", "report.json", "report.html", "model"
BEFORE_FILE, AFTER_FILE, CHECKPOINTS_DIR, LOGS_DIR = "before.jsonl", "after.jsonl", "checkpoints", "logs"
SUBSETS_DIR = "learning-curve"  # only where one was asked for
# as they are removed: first what says that the run is finished, last what says that the folder is a run's
RUN_FILES = (
    REPORT_FILE,
    HTML_FILE,
    MODEL_DIR,
    BEFORE_FILE,
    AFTER_FILE,
    CHECKPOINTS_DIR,
    LOGS_DIR,
    SUBSETS_DIR,
    RECIPE_FILE,
)
SOURCES_FILE = (
    "sources.json"  # in checkpoints/: fingerprints of the data and the checkpoint that the run was begun with
)


class RunDir:
    """Paths of a run, and the rules for using a folder that is not empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model, self.checkpoints, self.logs = path / MODEL_DIR, path / CHECKPOINTS_DIR, path / LOGS_DIR
        self.before, self.after, self.html = path / BEFORE_FILE, path / AFTER_FILE, path / HTML_FILE
        self._held: int | None = None  # the descriptor by which `open` holds the folder

    @property
    def is_started(self) -> bool:
        return (self.path / RECIPE_FILE).is_file()

    @property
    def is_finished(self) -> bool:
        return self.is_started and (self.path / REPORT_FILE).is_file()

    def validate(self, recipe: Recipe, *, resume: bool) -> None:
        """Raise UserError rather than lose or mix anyone's work. Writes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError("output is a file", where=str(self.path), fix="name a folder")
        held = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        if held and not self.is_started:
            raise UserError(
                f"output holds files of something else ({', '.join(held[:4])})",
                where=str(self.path),
                fix="say output=DIR with a new folder",
            )
        if self.is_started and resume:
            self._same_recipe(recipe)
        elif self.is_started and not recipe.overwrite:
            state = "a finished run" if self.is_finished else "an unfinished run"
            raise UserError(
                f"{state} lies there",
                where=str(self.path),
                fix="--resume goes on with it, overwrite=true replaces it, output=DIR writes elsewhere",
            )
        elif self.is_started:
            self._keeps_what_it_starts_from(recipe)

    def check_writable(self) -> None:
        """Raise UserError where `open` could not write; what is tried is taken away again."""
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        with translate_os_errors(self.path), _make_dirs(), tempfile.TemporaryDirectory(dir=there):
            pass

    def open(self, recipe: Recipe, sources: Mapping[str, str], *, resume: bool) -> None:
        """Make the folder, or take it up again, as `check` allows, and hold it until `close`.

        sources: fingerprints by the recipe's key (`data.train`), which must be those that a resumed run was begun with.
        `--resume` goes before `overwrite`. Raises UserError where another process holds the folder.
        """
        self.validate(recipe, resume=resume)
        with translate_os_errors(self.path):
            with _make_dirs():
                self.path.mkdir(parents=True, exist_ok=True)
            self._hold()
            self.validate(recipe, resume=resume)  # whoever held it may have begun, or ended, a run meanwhile
            if self.is_started and resume:
                self._same_sources(sources)
            elif self.is_started:
                for name in RUN_FILES:
                    _remove(self.path / name)
            self.checkpoints.mkdir(exist_ok=True)
            write_atomically(self.path / RECIPE_FILE, dump_recipe(recipe))
            write_atomically(self.checkpoints / SOURCES_FILE, json.dumps(dict(sources), indent=2) + "\n")

    def close(self) -> None:
        """Let go of the folder; without effect where it is not held."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _hold(self) -> None:
        """Two processes that train in one folder remove each other's checkpoints. A killed one holds it no longer."""
        held = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise UserError(
                "another process is working in this run",
                where=str(self.path),
                fix="wait for it or stop it, or say output=DIR with a new folder",
            ) from None
        except OSError:  # a file system that knows no locks
            os.close(held)
        else:
            self._held = held

    def make_subset_dir(self, name: str) -> RunDir:
        """Where the same recipe is trained on a portion of the training part: checkpoints and logs only."""
        return RunDir(self.path / SUBSETS_DIR / name)

    def _same_recipe(self, recipe: Recipe) -> None:
        """A run is resumed with the recipe it was begun with; only where it runs and lies may differ."""
        path = self.path / RECIPE_FILE
        try:
            # checked, so that a key which the program had not when the run was begun has its default
            stored = Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).model_dump()
            now = recipe.model_dump()
            free = ("output", "overwrite", "device")
            changed = [key for key in now if key not in free and now[key] != stored[key]]
        except (OSError, ValueError, yaml.YAMLError):  # a ValidationError is a ValueError
            fix = "say overwrite=true in place of --resume to begin anew"
            raise UserError("not readable as a run's recipe", where=str(path), fix=fix) from None
        if changed:
            raise UserError(
                f"the run there was begun with other values under {', '.join(changed)}",
                where=str(path),
                fix="resume with the same values, or say overwrite=true in place of --resume",
            )

    def _same_sources(self, sources: Mapping[str, str]) -> None:
        """A stage's epochs are comparable, and its batches the same, only on the same utterances."""
        path = self.checkpoints / SOURCES_FILE
        try:
            begun = json.loads(path.read_text(encoding="utf-8"))
            changed = [key for key, found in sources.items() if begun[key] != found]
        except (OSError, ValueError, LookupError, TypeError):  # stopped before it was written, or damaged
            return
        if changed:
            raise UserError(
                f"the run there was begun with another content of {', '.join(changed)}",
                where=str(self.path),
                fix="put back what it was begun with, or say overwrite=true in place of --resume",
            )

    def _keeps_what_it_starts_from(self, recipe: Recipe) -> None:
        data, here = recipe.data, self.path.resolve()
        sources = {"encoder.name": recipe.encoder.name, "decoding.lm": recipe.decoding.lm}
        sources |= {f"data.{name}": getattr(data, name) for name in ("train", "dev", "test", "other")}
        removed = [here / name for name in RUN_FILES]
        for key, source in sources.items():
            place = Path(source).resolve() if source and Path(source).exists() else None
            if place and (place == here or any(place.is_relative_to(one) for one in removed)):
                problem = f"overwrite=true would remove what this run starts from: {source}"
                raise UserError(problem, where=key, fix="say output=DIR with a new folder")

    def count_checkpoint_bytes(self) -> int:
        """What `checkpoints/` takes on disk; weights that have two names there count once."""
        files = {path.stat().st_ino: path.stat().st_size for path in self.checkpoints.rglob("*") if path.is_file()}
        return sum(files.values())

    def save_model(self, model: SpeechModel) -> None:
        """Write `model/` beside and move it into place, so that there is never half of one."""
        scratch = self.path / ".model.part"
        _remove(scratch)
        with translate_os_errors(self.path):
            try:
                model.save(scratch)
            except BaseException:
                _remove(scratch)  # whoever must make room should not find half a model in the way
                raise
            _remove(self.model)
            scratch.rename(self.model)

    def write_report(self, report: dict[str, Any]) -> None:
        """Last of all: `report.json` says that the run is finished."""
        with translate_os_errors(self.path):
            text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            write_atomically(self.path / REPORT_FILE, text)

    def read_report(self) -> dict[str, Any]:
        return json.loads((self.path / REPORT_FILE).read_text(encoding="utf-8"))


@contextmanager
def translate_os_errors(where: Path) -> Iterator[None]:
    """A disk that fills, or a folder that cannot be written, becomes a UserError; what was saved before stays."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        words = str(error)
        if full or "No space left" in words or "PytorchStreamWriter failed" in words:
            free = shutil.disk_usage(where if where.exists() else where.parent).free
            raise UserError(
                f"the disk is full ({free / 1e6:.0f} MB free); the last whole checkpoint is kept",
                where=str(where),
                fix="make room and say --resume",
            ) from None
        refused = isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
        if isinstance(error, OSError) and (refused or error.errno == errno.EROFS):
            raise UserError(f"cannot be written ({error.strerror})", where=str(where), fix="say output=DIR") from None
        raise


@contextmanager
def _make_dirs() -> Iterator[None]:
    """A place where nobody may make folders, as /proc is, says that they are not found."""
    try:
        yield
    except FileNotFoundError as error:
        raise PermissionError(error.errno, error.strerror) from None


def write_atomically(path: Path, text: str) -> None:
    """Beside and then into place: who is stopped in between leaves the old file."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
