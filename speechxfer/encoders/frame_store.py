"""Content-addressed store of hidden states on disk, so that frozen layers are computed once.

A store is a folder `<fingerprint>` of safetensors shards in `get_frames_dir()`. The fingerprint covers the weights
below the split, the layer, the preprocessing and the dtype; any change of them gives another store. The key of an
utterance covers its audio, its span and its augmentation. Shards are written atomically under the digest of their
content: several processes can use a store, an interrupted run keeps what it encoded, and a damaged shard is detected,
removed and encoded again. If another process removes a store that is in use, its utterances are missing.
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

STORE_FORMAT = 3  # to be increased when the states of the same weights change
SHARD_BYTES = 64 << 20
_USED = "used"  # file whose modification time is that of the last use
_ABOUT = "about.json"  # StoreInfo's fields about the encoder
_SCRATCH = ".part"
_UNREADABLE = (OSError, RuntimeError, SafetensorError)  # safetensors raises any of these for a missing file
_MAX_WRITES = 5  # attempts to write a shard while other processes remove stores
_NAME = re.compile(r"[0-9a-f]{32}")  # name of a store's folder; other folders are never touched
_STALE_SECONDS = 3600.0  # age at which a scratch file is assumed to be left by a process that died
# keys of a checkpoint's configuration that change the states of the same weights (not the head's size, not dropouts)
_SHAPING = re.compile(r"head|act|norm|conv|position|bucket|distance|stride|adapter")


@dataclass(frozen=True)
class StoreInfo:
    """Summary of a store, for `speechxfer cache`."""

    path: Path
    megabytes: float
    utterances: int
    last_used: float  # Unix time
    encoder: str  # family, and the checkpoint's name if known
    layer: int  # split: -1 is the output of the feature extractor, k the input of layer k
    dtype: str


class FrameStore:
    """Hidden states at one split of one encoder: `find_missing` keys, `add` their states, `get` them.

    Nothing is written before the first `flush`.

    dtype: on disk; float32 keeps the computed states exactly. max_bytes: limit of all stores together; the least
    recently used other stores are removed first. name: of the checkpoint, for `speechxfer cache`.
    Raises: UserError if the folder cannot be written, if the states of this run alone exceed `max_bytes`, or if a state
    is too large for float16.
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
        self._shard_of: dict[str, Path] = {}
        self._open_shards: dict[Path, Any] = {}
        self._pending: dict[str, Tensor] = {}  # not on disk yet
        self._known_shards: set[Path] = set()
        self.protected_keys: set[str] = set()  # of this store: their shards are not removed to make room
        self.removed: list[str] = []  # other stores that were removed to make room
        self.refresh()

    def refresh(self) -> None:
        """Register the shards that other processes have added; remove damaged ones."""
        self.touch()
        with suppress(FileNotFoundError):  # another process removes the whole store to make room
            for scratch in self.path.glob(f"*{_SCRATCH}"):
                with suppress(OSError):  # its process may rename it first
                    if time.time() - scratch.stat().st_mtime > _STALE_SECONDS:
                        scratch.unlink()
            for shard in sorted(set(self.path.glob("*.safetensors")) - self._known_shards):
                self._register(shard)

    def touch(self) -> None:
        """Set the time of last use to now."""
        with suppress(OSError):
            if self.path.is_dir():
                (self.path / _USED).touch()

    def find_missing(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that the store does not hold, without duplicates, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._shard_of and key not in self._pending]

    def add(self, keys: Sequence[str], hidden: Hidden) -> None:
        """Add the states of utterances. They are written when a shard is full, and by `flush`."""
        for key, states, length in zip(keys, hidden.states, hidden.lengths.tolist(), strict=True):
            kept = states[:length].detach().to("cpu", self.dtype)
            if self.dtype == torch.float16 and not bool(kept.isfinite().all()):
                raise UserError(
                    "this encoder's hidden states are too large for float16",
                    where="cache.dtype",
                    fix="set cache.dtype=float32",
                )
            self._pending[key] = kept.clone(memory_format=torch.contiguous_format)  # a view would keep the batch
        if _count_bytes(self._pending) >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the pending states as one more shard."""
        if not self._pending:
            return
        self._make_room(_count_bytes(self._pending))
        content = save(self._pending)
        shard = self.path / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
        with _translate_disk_errors(self.root):
            for attempts_left in reversed(range(_MAX_WRITES)):
                try:
                    self._write(content, shard)
                    break
                except FileNotFoundError:  # another process has removed this store
                    if not attempts_left:
                        raise
        self._shard_of.update(dict.fromkeys(self._pending, shard))
        self._known_shards.add(shard)
        self._pending = {}
        self.touch()

    def _write(self, content: bytes, shard: Path) -> None:
        """Write atomically; the scratch file has a unique name, as several processes may write the same shard."""
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
        """Return the states of `keys` as a padded batch, (batch, frames, dim) float32. Raises KeyError if missing."""
        return pad_states([self.read(key) for key in keys], self.layer)

    def read(self, key: str) -> Tensor:
        """Return the states of one utterance, (frames, dim), in the dtype on disk. Raises KeyError if missing."""
        if key in self._pending:
            return self._pending[key]
        shard = self._shard_of[key]
        try:
            if shard not in self._open_shards:
                self._open_shards[shard] = safe_open(str(shard), framework="pt")
            return self._open_shards[shard].get_tensor(key)
        except _UNREADABLE:  # removed by another process
            self._forget(shard)
            raise KeyError(key) from None

    def pin(self, keys: Iterable[str]) -> bool:
        """Open the shards of `keys`, so that they stay readable if another process removes them; whether all are held.

        This includes processes that are forked afterwards.
        """
        if self.find_missing(keys := list(keys)):
            return False
        try:
            shards = {self._shard_of[key] for key in keys if key not in self._pending}
            for shard in shards - self._open_shards.keys():
                self._open_shards[shard] = safe_open(str(shard), framework="pt")
        except _UNREADABLE:
            return False
        return True

    def _forget(self, shard: Path) -> None:
        self._shard_of = {key: path for key, path in self._shard_of.items() if path != shard}
        self._open_shards.pop(shard, None)

    def remove(self) -> None:
        """Remove the whole store, e.g. when the disk is full and checkpoints need the space."""
        self._shard_of, self._open_shards, self._pending, self._known_shards = {}, {}, {}, set()
        shutil.rmtree(self.path, ignore_errors=True)

    def _register(self, shard: Path) -> None:
        """Register the utterances of a shard; a damaged shard is removed, so that they are encoded again.

        An unreadable shard (of another user, or just removed) is skipped.
        """
        self._known_shards.add(shard)
        try:
            content = shard.read_bytes()
        except OSError:
            return
        try:
            if hashlib.sha256(content).hexdigest()[:32] != shard.stem:
                raise ValueError("its content has changed")
            with safe_open(str(shard), framework="pt") as file:
                self._shard_of.update(dict.fromkeys(file.keys(), shard))
        except (*_UNREADABLE, ValueError):
            with suppress(OSError):
                shard.unlink()

    def _make_room(self, num_bytes: int) -> None:
        """Remove stores and shards until `num_bytes` more fit into `max_bytes`.

        First the least recently used other stores, then the oldest shards of this one without protected keys.
        """
        if self.max_bytes == float("inf"):
            return
        sizes = {path: _measure_size(path) for path in _list_store_dirs(self.root)}
        total = sum(sizes.values())
        for path in sorted(sizes.keys() - {self.path}, key=_get_last_used):
            if total + num_bytes <= self.max_bytes:
                return
            total -= sizes[path]
            self.removed.append(path.name)
            shutil.rmtree(path, ignore_errors=True)
        kept = {shard for key, shard in self._shard_of.items() if key in self.protected_keys}
        shards = _list_shards(self.path)
        for shard in sorted(shards.keys() - kept, key=lambda shard: shards[shard].st_mtime):
            if total + num_bytes <= self.max_bytes:
                return
            total -= shards[shard].st_size
            with suppress(OSError):
                shard.unlink()
            self._forget(shard)
        if total + num_bytes > self.max_bytes:
            # measured again: another process that makes room may have removed this store's shards in the meantime
            total = sum(map(_measure_size, _list_store_dirs(self.root)))
        if total + num_bytes > self.max_bytes:
            raise UserError(
                f"the cached frames of this run take more than the {self.max_bytes / 1e9:g} GB allowed",
                where="cache.max_gb",
                fix="increase cache.max_gb, or set cache.dtype=float16 or cache.use=never",
            )


def make_utterance_key(audio: bytes, start: float | None, end: float | None, augmentation: str = "") -> str:
    """Return the key of an utterance: a digest of the bytes of its audio, its span, and its augmentation."""
    digest = hashlib.sha256(audio)
    digest.update(json.dumps([start, end, augmentation]).encode())
    return digest.hexdigest()[:32]


def pad_states(states: Sequence[Tensor], layer: int) -> Hidden:
    """Pad the states of utterances, (frames, dim) each, to a batch in float32, zero beyond each length."""
    lengths = [len(one) for one in states]
    batch = torch.zeros(len(states), max(lengths), states[0].shape[1])
    for row, one, length in zip(batch, states, lengths, strict=True):
        row[:length] = one
    return Hidden(batch, torch.tensor(lengths), layer)


def fingerprint_encoder(encoder: SpeechEncoder, layer: int, dtype: torch.dtype) -> str:
    """Return a digest of everything that the states at a split depend on, except the audio."""
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
    unused = {id(tensor) for module in above for tensor in module.state_dict(keep_vars=True).values()}
    for name, tensor in sorted(encoder.module.state_dict(keep_vars=True).items()):
        if id(tensor) not in unused:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def get_frames_dir() -> Path:
    """Return the folder of the stores: `$SPEECHXFER_FRAMES` (e.g. on a fast disk), or `frames` in the cache folder."""
    return Path(os.environ.get("SPEECHXFER_FRAMES") or get_cache_dir() / "frames")


def get_predictions_dir() -> Path:
    """Return the folder of the cached predictions of pretrained models, which is among the stores."""
    return get_frames_dir() / "answers"


def list_prediction_files() -> list[Path]:
    """List the files of cached predictions, most recently used first."""
    return sorted(get_predictions_dir().glob("[0-9a-f]*.json"), key=lambda path: -path.stat().st_mtime)


def list_stores(root: Path | None = None) -> list[StoreInfo]:
    """List all stores, most recently used first."""
    stores = [_summarize_store(path) for path in _list_store_dirs(root or get_frames_dir())]
    return sorted(stores, key=lambda store: -store.last_used)


def _list_store_dirs(root: Path) -> list[Path]:
    """List the folders of the stores. Other folders in `root` are never listed, and never removed."""
    named = [path for path in root.iterdir() if _NAME.fullmatch(path.name)] if root.is_dir() else []
    return [path for path in named if _is_store(path)]


def _is_store(path: Path) -> bool:
    try:
        return not path.is_symlink() and all(map(_is_store_file, path.iterdir()))
    except OSError:  # a file, or just removed by another process
        return False


def _is_store_file(path: Path) -> bool:
    return path.name in (_ABOUT, _USED) or path.suffix in (".safetensors", _SCRATCH)


def _get_last_used(path: Path) -> float:
    try:
        return (path / _USED).stat().st_mtime
    except OSError:
        return 0.0


def _summarize_store(path: Path) -> StoreInfo:
    utterances = 0
    for shard in path.glob("*.safetensors"):
        try:
            with safe_open(str(shard), framework="pt") as file:
                utterances += len(list(file.keys()))
        except _UNREADABLE:
            continue  # damaged: removed when the store is opened
    try:
        about = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = {"encoder": "unknown", "layer": -1, "dtype": "unknown"}
    return StoreInfo(path, _measure_size(path) / 1e6, utterances, _get_last_used(path), **about)


def clear_stores(root: Path | None = None, name: str | None = None) -> list[StoreInfo]:
    """Remove all stores, or those whose folder name starts with `name`; return the removed ones."""
    stores = [store for store in list_stores(root) if name is None or store.path.name.startswith(name)]
    for store in stores:
        shutil.rmtree(store.path, ignore_errors=True)
    return stores


def _measure_size(path: Path) -> int:
    return sum(status.st_size for status in _list_shards(path).values())


def _list_shards(path: Path) -> dict[Path, os.stat_result]:
    """Return the status of each shard, except those that another process removes at the same time."""
    shards: dict[Path, os.stat_result] = {}
    with suppress(OSError):
        for shard in path.glob("*.safetensors"):
            with suppress(OSError):
                shards[shard] = shard.stat()
    return shards


def _count_bytes(states: dict[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in states.values())


@contextmanager
def _translate_disk_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cached frames cannot be written ({error})",
            where=str(where),
            fix="free disk space, set SPEECHXFER_FRAMES to another folder, or set cache.use=never",
        ) from None
