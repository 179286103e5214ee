"""What lies below a split, computed once: hidden states on disk, found again by everything that they depend on.

A store is a folder `<fingerprint>` of safetensors shards in `get_frames_dir()`; the fingerprint covers the weights below
the split, the layer, the preprocessing and the number type, so that a changed one is another store. Within it an
utterance is found by the content of its audio, its cut and its augmentation. A shard is written beside and moved into
place under the digest of its own content: processes never disturb each other, what an interrupted run encoded is kept,
and a damaged shard is noticed, removed and encoded again. A store that another process removes while it is read has
those utterances missing, no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from speechxfer.encoders.base import SpeechEncoder
from speechxfer.encoders.checkpoints import get_cache_dir
from speechxfer.errors import UserError
from speechxfer.shapes import Hidden

STORE_FORMAT = 2  # another number when the states of the same weights would come out differently
SHARD_BYTES = 64 << 20
_USED = "used"  # a file whose time of change says when the store was last opened
_ABOUT = "about.json"  # what a person wants to know of a store
_SCRATCH = ".part"
_UNREADABLE = (OSError, RuntimeError, SafetensorError)  # safetensors raises any of these for a file that is gone
_TRIES = 5  # to write a shard, while others make room
_NAME = re.compile(r"[0-9a-f]{32}")  # of a store's folder; others in the same place are someone else's
_STALE = 3600.0  # s after which a scratch file is one that a stopped process left
# of a checkpoint's configuration, what changes the states of the same weights; its head's size and dropouts do not
_SHAPING = re.compile(r"head|act|norm|conv|position|bucket|distance|stride|adapter")


@dataclass(frozen=True)
class StoreInfo:
    """One store, for `speechxfer cache`."""

    path: Path
    megabytes: float
    utterances: int
    last_used: float  # seconds since 1970
    encoder: str  # its family, and where known the checkpoint's name
    layer: int  # the split: -1 the feature extractor's output, k the input of layer k
    dtype: str


class FrameStore:
    """Hidden states at one split of one encoder. `find_missing` names what is to be encoded, `add_segment` keeps it, `get` reads it.

    dtype: the number type on disk; states come back as they were computed (float32) where it is float32.
    max_bytes: what all stores together may hold; the least recently used others go first. name: of the checkpoint, for
    `speechxfer cache`. Nothing is written before the first `flush`.
    Raises UserError where the folder cannot be written, where this run's own states alone pass `max_bytes`, and where
    a state is too large for float16.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        layer: int,
        *,
        dtype: torch.dtype = torch.float32,
        max_bytes: float = float("inf"),
        root: Path | None = None,
        name: str = "",
    ) -> None:
        self.layer, self.dtype, self.max_bytes = layer, dtype, max_bytes
        self.root = root or get_frames_dir()
        self.path = self.root / fingerprint_encoder(encoder, layer, dtype)
        self._about = {"encoder": " ".join((encoder.family, name)).strip(), "layer": layer, "dtype": str(dtype)[6:]}
        self._where: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self._waiting: dict[str, Tensor] = {}
        self._known: set[Path] = set()
        self.needed: set[str] = set()  # what is not to make room for more of this store
        self.removed: list[str] = []  # other stores that have made room
        self.refresh()

    def refresh(self) -> None:
        """Know the shards that other processes have added since; a damaged one is removed."""
        self.touch()
        for scratch in self.path.glob(f"*{_SCRATCH}"):
            with suppress(OSError):  # its process may end it first
                if time.time() - scratch.stat().st_mtime > _STALE:
                    scratch.unlink()
        for shard in sorted(set(self.path.glob("*.safetensors")) - self._known):
            self._take(shard)

    def touch(self) -> None:
        """Note that the store is in use, so that others make room before it."""
        with suppress(OSError):
            if self.path.is_dir():
                (self.path / _USED).touch()

    def find_missing(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that the store does not hold, each once, in their order."""
        return [key for key in dict.fromkeys(keys) if key not in self._where and key not in self._waiting]

    def add(self, keys: Sequence[str], hidden: Hidden) -> None:
        """Keep each utterance's own states. They are on disk once a shard is full, and after `flush`."""
        for key, states, length in zip(keys, hidden.states, hidden.lengths.tolist(), strict=True):
            kept = states[:length].detach().to("cpu", self.dtype)
            if self.dtype == torch.float16 and not bool(kept.isfinite().all()):
                raise UserError(
                    "this encoder's hidden states are too large for float16",
                    where="cache.dtype",
                    fix="say cache.dtype=float32",
                )
            self._waiting[key] = kept.clone(memory_format=torch.contiguous_format)  # no view, which keeps the batch
        if _bytes(self._waiting) >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one more shard."""
        if not self._waiting:
            return
        self._make_room(_bytes(self._waiting))
        content = save(self._waiting)
        shard = self.path / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
        with _disk(self.root):
            for left in reversed(range(_TRIES)):
                try:
                    self._write(content, shard)
                    break
                except FileNotFoundError:  # another process has made room of this store meanwhile
                    if not left:
                        raise
        self._where.update(dict.fromkeys(self._waiting, shard))
        self._known.add(shard)
        self._waiting = {}
        self.touch()

    def _write(self, content: bytes, shard: Path) -> None:
        """Beside, under a name of its own, and then into place."""
        if not (self.path / _ABOUT).is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / _ABOUT).write_text(json.dumps(self._about), encoding="utf-8")
        scratch = self.path / f"{secrets.token_hex(8)}{_SCRATCH}"
        try:
            scratch.write_bytes(content)
            scratch.rename(shard)
        finally:
            scratch.unlink(missing_ok=True)

    def get(self, keys: Sequence[str]) -> Hidden:
        """The states of `keys`, padded together: (batch, frames, dim) in float32. Raises KeyError for one not held."""
        return pad_states([self.read(key) for key in keys], self.layer)

    def read(self, key: str) -> Tensor:
        """One utterance's states, (frames, dim), of the number type on disk. Raises KeyError where it is not held."""
        if key in self._waiting:
            return self._waiting[key]
        shard = self._where[key]
        try:
            if shard not in self._open:
                self._open[shard] = safe_open(str(shard), framework="pt")
            return self._open[shard].get_tensor(key)
        except _UNREADABLE:  # another process made room
            self._forget(shard)
            raise KeyError(key) from None

    def pin(self, keys: Iterable[str]) -> bool:
        """Open what holds `keys`: another process may then make room, and they are read all the same. Whether all are.

        Processes that are forked afterwards read them too.
        """
        if self.find_missing(keys := list(keys)):
            return False
        try:
            for shard in {self._where[key] for key in keys if key not in self._waiting} - self._open.keys():
                self._open[shard] = safe_open(str(shard), framework="pt")
        except _UNREADABLE:
            return False
        return True

    def _forget(self, shard: Path) -> None:
        self._where = {held: place for held, place in self._where.items() if place != shard}
        self._open.pop(shard, None)

    def remove(self) -> None:
        """Remove the whole store: a disk that is full needs the room for checkpoints."""
        self._where, self._open, self._waiting, self._known = {}, {}, {}, set()
        shutil.rmtree(self.path, ignore_errors=True)

    def _take(self, shard: Path) -> None:
        """Know a shard's utterances; a damaged one is removed, so that they are missing and encoded again.

        One that cannot be read (another user's, or another process has made room) stays where it is.
        """
        self._known.add(shard)
        try:
            content = shard.read_bytes()
        except OSError:
            return
        try:
            if hashlib.sha256(content).hexdigest()[:32] != shard.stem:
                raise ValueError("its content has changed")
            with safe_open(str(shard), framework="pt") as file:
                self._where.update(dict.fromkeys(file.keys(), shard))
        except (*_UNREADABLE, ValueError):
            with suppress(OSError):
                shard.unlink()

    def _make_room(self, wanted: int) -> None:
        """Remove the least recently used other stores, then this one's oldest shards of which nothing is needed, until
        `wanted` bytes more fit under `max_bytes`."""
        if self.max_bytes == float("inf"):
            return
        sizes = {path: _size(path) for path in _folders(self.root)}
        total = sum(sizes.values())
        for path in sorted(sizes.keys() - {self.path}, key=_last_used):
            if total + wanted <= self.max_bytes:
                return
            total -= sizes[path]
            self.removed.append(path.name)
            shutil.rmtree(path, ignore_errors=True)
        kept = {shard for key, shard in self._where.items() if key in self.needed}
        shards = _shards(self.path)
        for shard in sorted(shards.keys() - kept, key=lambda shard: shards[shard].st_mtime):
            if total + wanted <= self.max_bytes:
                return
            total -= shards[shard].st_size
            with suppress(OSError):
                shard.unlink()
            self._forget(shard)
        if total + wanted > self.max_bytes:
            raise UserError(
                f"the frozen frames of this run take more than the {self.max_bytes / 1e9:g} GB allowed",
                where="cache.max_gb",
                fix="allow more, say cache.dtype=float16, or cache.use=never",
            )


def make_utterance_key(audio: bytes, start: float | None, end: float | None, augmentation: str = "") -> str:
    """By which an utterance is found: the digest of its audio's bytes, its cut, and what augmentation did to it."""
    digest = hashlib.sha256(audio)
    digest.update(json.dumps([start, end, augmentation]).encode())
    return digest.hexdigest()[:32]


def pad_states(states: Sequence[Tensor], layer: int) -> Hidden:
    """Each utterance's own states, (frames, dim), as one batch in float32, zero beyond each length."""
    lengths = [len(one) for one in states]
    batch = torch.zeros(len(states), max(lengths), states[0].shape[1])
    for row, one, length in zip(batch, states, lengths, strict=True):
        row[:length] = one
    return Hidden(batch, torch.tensor(lengths), layer)


def fingerprint_encoder(encoder: SpeechEncoder, layer: int, dtype: torch.dtype) -> str:
    """Digest of all that the states at a split depend on but the audio."""
    digest = hashlib.sha256()
    extractor = getattr(encoder, "extractor", None)
    config = encoder.module.config.to_dict()
    facts = {
        "format": STORE_FORMAT,
        "family": encoder.family,
        "layer": layer,
        "dtype": str(dtype),
        "pad_to_30s": getattr(encoder, "pad_to_30s", False),
        "silence": encoder.pad_silence,
        "preprocessing": extractor.to_dict() if extractor is not None else {},
        "shape": {name: value for name, value in config.items() if _SHAPING.search(name)},
    }
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    above = [
        *encoder.layers[max(layer, 0) :],
        *encoder.get_output_modules(),
        *(encoder.get_embedding_modules() if layer < 0 else []),
    ]
    unseen = {id(tensor) for module in above for tensor in module.state_dict(keep_vars=True).values()}
    for name, tensor in sorted(encoder.module.state_dict(keep_vars=True).items()):
        if id(tensor) not in unseen:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def get_frames_dir() -> Path:
    """Where the stores are: `$SPEECHXFER_FRAMES` (a quick disk with room), else `encode_frames` in the cache folder."""
    return Path(os.environ.get("SPEECHXFER_FRAMES") or get_cache_dir() / "frames")


def get_predictions_dir() -> Path:
    """Where untouched models' answers are kept, beside the stores."""
    return get_frames_dir() / "answers"


def list_prediction_files() -> list[Path]:
    """What is kept of untouched models' answers, the most recently used first."""
    return sorted(get_predictions_dir().glob("[0-9a-f]*.json"), key=lambda path: -path.stat().st_mtime)


def list_stores(root: Path | None = None) -> list[StoreInfo]:
    """Every store, the most recently used first."""
    found = [_store(path) for path in _folders(root or get_frames_dir())]
    return sorted(found, key=lambda store: -store.last_used)


def _folders(root: Path) -> list[Path]:
    """The stores: a folder of a user's own that stands beside them is never listed, and never removed."""
    found = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return [path for path in found if _is_store(path)]


def _is_store(path: Path) -> bool:
    try:
        return not path.is_symlink() and all(map(_ours, path.iterdir()))
    except OSError:  # a file, or another process has just removed it
        return False


def _ours(path: Path) -> bool:
    return path.name in (_ABOUT, _USED) or path.suffix in (".safetensors", _SCRATCH)


def _last_used(path: Path) -> float:
    try:
        return (path / _USED).stat().st_mtime
    except OSError:
        return 0.0


def _store(path: Path) -> StoreInfo:
    utterances = 0
    for shard in path.glob("*.safetensors"):
        try:
            with safe_open(str(shard), framework="pt") as file:
                utterances += len(list(file.keys()))
        except _UNREADABLE:
            continue  # damaged: it is removed when the store is opened
    try:
        stated = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stated = {"encoder": "unknown", "layer": -1, "dtype": "unknown"}
    return StoreInfo(path, _size(path) / 1e6, utterances, _last_used(path), **stated)


def clear_stores(root: Path | None = None, name: str | None = None) -> list[StoreInfo]:
    """Remove every store, or those whose folder's name begins with `name`; what was removed."""
    stores = [store for store in list_stores(root) if name is None or store.path.name.startswith(name)]
    for store in stores:
        shutil.rmtree(store.path, ignore_errors=True)
    return stores


def _size(path: Path) -> int:
    return sum(stated.st_size for stated in _shards(path).values())


def _shards(path: Path) -> dict[Path, os.stat_result]:
    """A store's shards; those that another process removes meanwhile are left out."""
    found: dict[Path, os.stat_result] = {}
    with suppress(OSError):
        for shard in path.glob("*.safetensors"):
            with suppress(OSError):
                found[shard] = shard.stat()
    return found


def _bytes(states: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in states.values())


@contextmanager
def _disk(where: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"frozen frames cannot be kept there ({error})",
            where=str(where),
            fix="make room, set SPEECHXFER_FRAMES to another folder, or say cache.use=never",
        ) from None
