"""The run directory: layout, locking, resume rules, atomic writes; files of others are never overwritten."""

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

import yaml
from safetensors import SafetensorError

from speechxfer.atomic import write_text_atomically
from speechxfer.config import Recipe, dump_recipe
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel
from speechxfer.report.run_report import RunReport

RECIPE_FILE, REPORT_FILE, HTML_FILE, MODEL_DIR = "recipe.yaml", "report.json", "report.html", "model"
BEFORE_FILE, AFTER_FILE, CHECKPOINTS_DIR, LOGS_DIR = "before.jsonl", "after.jsonl", "checkpoints", "logs"
SUBSETS_DIR = "learning-curve"  # only with a learning curve
# in the order of removal: report.json marks a run as finished, recipe.yaml marks a directory as a run's
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
STAGE_DONE_FILE = "stage_done.json"  # in a finished stage's directory; `--resume` skips the stage then
SOURCES_FILE = "sources.json"  # in checkpoints/: fingerprints of the data and of the pretrained checkpoint


class RunDir:
    """Paths of a run, and the rules for using a directory that is not empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model, self.checkpoints, self.logs = path / MODEL_DIR, path / CHECKPOINTS_DIR, path / LOGS_DIR
        self.before, self.after, self.html = path / BEFORE_FILE, path / AFTER_FILE, path / HTML_FILE
        self._lock: int | None = None  # file descriptor of the lock that `open` takes

    @property
    def is_started(self) -> bool:
        return (self.path / RECIPE_FILE).is_file()

    @property
    def is_finished(self) -> bool:
        return self.is_started and (self.path / REPORT_FILE).is_file()

    def validate(self, recipe: Recipe, *, resume: bool) -> None:
        """Check that the run may use this directory. Writes nothing.

        Raises:
            UserError: if files would be lost or two runs mixed.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError("output is a file", where=str(self.path), fix="set output to a folder")
        entries = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        if entries and not self.is_started:
            raise UserError(
                f"output holds files that are not a run's ({', '.join(entries[:4])})",
                where=str(self.path),
                fix="set output=DIR to a new folder",
            )
        if self.is_started and resume:
            self._check_same_recipe(recipe)
        elif self.is_started and not recipe.overwrite:
            state = "a finished run" if self.is_finished else "an unfinished run"
            raise UserError(
                f"{state} already exists",
                where=str(self.path),
                fix="use --resume to continue it, overwrite=true to replace it, or output=DIR to write elsewhere",
            )
        elif self.is_started:
            self._check_sources_kept(recipe)

    def check_writable(self) -> None:
        """Raise UserError if `open` could not write; nothing is left behind."""
        existing = next(place for place in (self.path, *self.path.absolute().parents) if place.exists())
        with translate_os_errors(self.path), _make_dirs(), tempfile.TemporaryDirectory(dir=existing):
            pass

    def open(self, recipe: Recipe, sources: Mapping[str, str], *, resume: bool) -> None:
        """Create the directory or resume the run in it, and lock it until `close`.

        Args:
            sources: fingerprints by recipe key (e.g. `data.train`); a resumed run must have been started with the same.
            resume: takes precedence over `overwrite`.

        Raises:
            UserError: as `validate`, and if another process works in this directory.
        """
        self.validate(recipe, resume=resume)
        with translate_os_errors(self.path):
            with _make_dirs():
                self.path.mkdir(parents=True, exist_ok=True)
            self._acquire_lock()
            self.validate(recipe, resume=resume)  # again: the process that held the lock may have written
            if self.is_started and resume:
                self._check_same_sources(sources)
                self._reopen(self.find_longer_stage(recipe))
            elif self.is_started:
                for name in RUN_FILES:
                    _remove(self.path / name)
            self.checkpoints.mkdir(exist_ok=True)
            write_text_atomically(self.path / RECIPE_FILE, dump_recipe(recipe))
            write_text_atomically(self.checkpoints / SOURCES_FILE, json.dumps(dict(sources), indent=2) + "\n")

    def close(self) -> None:
        """Release the lock (no-op if not held)."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _acquire_lock(self) -> None:
        """Lock the directory; the system releases the lock of a killed process."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(
                "another process is working in this run directory",
                where=str(self.path),
                fix="wait for it or stop it, or set output=DIR to a new folder",
            ) from None
        except OSError:  # the file system does not support locks
            os.close(descriptor)
        else:
            self._lock = descriptor

    def make_subset_dir(self, name: str) -> RunDir:
        """Return the directory for training on a subset: checkpoints and logs only."""
        return RunDir(self.path / SUBSETS_DIR / name)

    def find_longer_stage(self, recipe: Recipe) -> int | None:
        """Return the number of the first stage with more epochs than in the run's recipe."""
        stored = self._read_recipe().stages if self.is_started else recipe.stages
        pairs = enumerate(zip(stored, recipe.stages, strict=False))
        return next((number for number, (before, now) in pairs if now.epochs > before.epochs), None)

    def _reopen(self, number: int | None) -> None:
        """Make a stage unfinished, so that it continues from its last checkpoint; later stages are trained again."""
        if number is None:
            return
        for name in (REPORT_FILE, HTML_FILE, SUBSETS_DIR):  # report.json first: the run is unfinished from here on
            _remove(self.path / name)
        _remove(self.checkpoints / f"stage-{number}" / STAGE_DONE_FILE)
        for path in self.checkpoints.glob("stage-*"):
            if int(path.name.rpartition("-")[2]) > number:
                _remove(path)

    def _check_same_recipe(self, recipe: Recipe) -> None:
        """Check that a resumed run has the same recipe, except for device, output and more epochs."""
        given, stored = recipe.model_dump(), self._read_recipe().model_dump()
        for before, now in zip(stored["stages"], given["stages"], strict=False):
            before["epochs"] = max(before["epochs"], now["epochs"])
        ignored = ("output", "overwrite", "device")
        changed = [key for key in given if key not in ignored and given[key] != stored[key]]
        if changed:
            raise UserError(
                f"the run was started with different values of {', '.join(changed)}",
                where=str(self.path / RECIPE_FILE),
                fix="resume with the same values (stages.N.epochs may be larger), or use overwrite=true instead of "
                "--resume",
            )

    def _read_recipe(self) -> Recipe:
        path = self.path / RECIPE_FILE
        try:
            # validated, so that keys that are newer than the run have their defaults
            return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, yaml.YAMLError) as error:  # a ValidationError is a ValueError
            reason = str(error).strip().splitlines()[0]
            fix = "restore the file, or start again with overwrite=true instead of --resume, which discards the run"
            raise UserError(f"cannot be read as the recipe of a run ({reason})", where=str(path), fix=fix) from None

    def _check_same_sources(self, sources: Mapping[str, str]) -> None:
        """Check that a resumed run has the same data and checkpoint: epochs of a stage are comparable only then."""
        path = self.checkpoints / SOURCES_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            changed = [key for key, found in sources.items() if stored[key] != found]
        except (OSError, ValueError, LookupError, TypeError):  # not written yet, or damaged
            return
        if changed:
            raise UserError(
                f"the run was started with different content of {', '.join(changed)}",
                where=str(self.path),
                fix="restore the content, or use overwrite=true instead of --resume",
            )

    def _check_sources_kept(self, recipe: Recipe) -> None:
        """Check that overwriting the run does not remove a model or table that it starts from."""
        data, here = recipe.data, self.path.resolve()
        sources = {"encoder.name": recipe.encoder.name, "decoding.lm": recipe.decoding.lm}
        sources |= {f"data.{name}": getattr(data, name) for name in ("dev", "test", "retention")}
        tables = [data.train] if isinstance(data.train, str) else [table.path for table in data.train]
        sources |= {"data.train" if not number else f"data.train.{number}": path for number, path in enumerate(tables)}
        removed = [here / name for name in RUN_FILES]
        for key, source in sources.items():
            place = Path(source).resolve() if source and Path(source).exists() else None
            if place and (place == here or any(place.is_relative_to(one) for one in removed)):
                problem = f"overwrite=true would remove an input of this run: {source}"
                raise UserError(problem, where=key, fix="set output=DIR to a new folder")

    def count_checkpoint_bytes(self) -> int:
        """Return the size of `checkpoints/` in bytes; hard links count once."""
        files = {path.stat().st_ino: path.stat().st_size for path in self.checkpoints.rglob("*") if path.is_file()}
        return sum(files.values())

    def save_model(self, model: SpeechModel) -> None:
        """Write `model/` atomically: to a temporary directory that is then renamed."""
        scratch = self.path / ".model.part"
        _remove(scratch)
        with translate_os_errors(self.path):
            try:
                model.save(scratch)
            except BaseException:
                _remove(scratch)  # a full disk should not keep a partial model
                raise
            _remove(self.model)
            scratch.rename(self.model)

    def write_report(self, report: RunReport) -> None:
        """Write `report.json`, which marks the run as finished: call it last."""
        with translate_os_errors(self.path):
            text = json.dumps(report.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            write_text_atomically(self.path / REPORT_FILE, text)

    def read_report(self) -> RunReport:
        """Read `report.json`.

        Raises:
            UserError: if it is not a report of this version.
        """
        path = self.path / REPORT_FILE
        try:
            return RunReport.read(path)
        except ValueError:  # JSON and validation errors
            fix = "use overwrite=true instead of --resume to run again"
            raise UserError("not readable as a run's report", where=str(path), fix=fix) from None


@contextmanager
def translate_os_errors(where: Path, *, fix: str = "set output=DIR") -> Iterator[None]:
    """Turn a full disk or a read-only directory into a UserError; earlier checkpoints are kept.

    fix: of a directory that cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        words = str(error)
        # PyTorch's writer reports a short write as an error of its own, in either of these words
        full = full or any(part in words for part in ("No space left", "PytorchStreamWriter failed", "unexpected pos"))
        if full:
            free = shutil.disk_usage(where if where.exists() else where.parent).free
            raise UserError(
                f"the disk is full ({free / 1e6:.0f} MB free); the last complete checkpoint is kept",
                where=str(where),
                fix="free disk space and use --resume",
            ) from None
        refused = isinstance(error, PermissionError | NotADirectoryError | FileExistsError)
        if isinstance(error, OSError) and (refused or error.errno == errno.EROFS):
            raise UserError(f"cannot be written ({error.strerror})", where=str(where), fix=fix) from None
        raise


@contextmanager
def _make_dirs() -> Iterator[None]:
    """Report a place where no directory can be created (e.g. /proc says "not found") as a permission error."""
    try:
        yield
    except FileNotFoundError as error:
        raise PermissionError(error.errno, error.strerror) from None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
