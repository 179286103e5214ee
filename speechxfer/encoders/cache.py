"""What lies below a split, computed once: hidden states on disk, found again by everything that they depend on.

A store is a folder of safetensors shards under `$SPEECHXFER_CACHE/frames/<fingerprint>`; the fingerprint covers the
weights below the split, the layer, the preprocessing and the number type, so that a changed one is another store.
Within it an utterance is found by the content of its audio, its cut and its augmentation. A shard is written beside and
moved into place under the digest of its own content: processes never disturb each other, what an interrupted run
encoded is kept, and a damaged shard is noticed, removed and encoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from speechxfer.encoders.base import SpeechEncoder, pad_together
from speechxfer.encoders.weights import cache_folder
from speechxfer.errors import UserError
from speechxfer.shapes import Hidden

FORMAT = 1  # another number when the states of the same weights would come out differently
SHARD_BYTES = 64 << 20
_USED = "used"  # a file whose time of change says when the store was last opened


@dataclass(frozen=True)
class StoreSize:
    """One store, for `speechxfer cache`."""

    path: Path
    megabytes: float
    utterances: int
    last_used: float  # seconds since 1970


class FrameStore:
    """Hidden states at one split of one encoder. `missing` names what is to be encoded, `add` keeps it, `get` reads it.

    dtype: the number type on disk; states come back as they were computed (float32) where it is float32.
    max_bytes: what all stores together may hold; the least recently used others go first.
    Raises UserError where the folder cannot be written, or where this run's own states alone pass `max_bytes`.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        layer: int,
        *,
        dtype: torch.dtype = torch.float32,
        max_bytes: float = float("inf"),
        root: Path | None = None,
    ) -> None:
        self.layer, self.dtype, self.max_bytes = layer, dtype, max_bytes
        self.root = root or cache_folder() / "frames"
        self.path = self.root / fingerprint(encoder, layer, dtype)
        self._where: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        self._waiting: dict[str, Tensor] = {}
        with _disk(self.root):
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / _USED).touch()
        for shard in sorted(self.path.glob("*.safetensors")):
            self._take(shard)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that the store does not hold, each once, in their order."""
        return [key for key in dict.fromkeys(keys) if key not in self._where and key not in self._waiting]

    def add(self, keys: Sequence[str], hidden: Hidden) -> None:
        """Keep each utterance's own states. They are on disk once a shard is full, and after `flush`."""
        for key, states, length in zip(keys, hidden.states, hidden.lengths.tolist(), strict=True):
            self._waiting[key] = states[:length].detach().to("cpu", self.dtype).contiguous()
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
            descriptor, scratch = tempfile.mkstemp(dir=self.path, suffix=".part")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                Path(scratch).rename(shard)
            finally:
                Path(scratch).unlink(missing_ok=True)
        self._where.update(dict.fromkeys(self._waiting, shard))
        self._waiting = {}

    def get(self, keys: Sequence[str]) -> Hidden:
        """The states of `keys`, padded together: (batch, frames, dim) in float32. Raises KeyError for one not held."""
        states = pad_together([self._read(key).to(torch.float32).T for key in keys])
        return Hidden(states.features.transpose(1, 2), states.lengths, self.layer)

    def _read(self, key: str) -> Tensor:
        if key in self._waiting:
            return self._waiting[key]
        shard = self._where[key]
        if shard not in self._open:
            self._open[shard] = safe_open(str(shard), framework="pt")
        return self._open[shard].get_tensor(key)

    def _take(self, shard: Path) -> None:
        """Know a shard's utterances; a damaged one is removed, so that they are missing and encoded again."""
        try:
            content = shard.read_bytes()
            if hashlib.sha256(content).hexdigest()[:32] != shard.stem:
                raise ValueError("its content has changed")
            with safe_open(str(shard), framework="pt") as file:
                self._where.update(dict.fromkeys(file.keys(), shard))
        except (OSError, ValueError, SafetensorError):
            shard.unlink(missing_ok=True)

    def _make_room(self, wanted: int) -> None:
        """Remove the least recently used other stores until `wanted` bytes more fit under `max_bytes`."""
        if self.max_bytes == float("inf"):
            return
        stores = sorted((s for s in stores_in(self.root) if s.path != self.path), key=lambda s: s.last_used)
        total = _size(self.path) + sum(_size(store.path) for store in stores)
        for store in stores:
            if total + wanted <= self.max_bytes:
                return
            total -= _size(store.path)
            shutil.rmtree(store.path, ignore_errors=True)
        if total + wanted > self.max_bytes:
            raise UserError(
                f"the frozen frames of this run take more than the {self.max_bytes / 1e9:g} GB allowed",
                where="cache.max_gb",
                fix="allow more, say cache.dtype=float16, or cache.use=never",
            )


def utterance_key(audio: bytes, start: float | None, end: float | None, augmentation: str = "") -> str:
    """By which an utterance is found: the digest of its audio's bytes, its cut, and what augmentation did to it."""
    digest = hashlib.sha256(audio)
    digest.update(json.dumps([start, end, augmentation]).encode())
    return digest.hexdigest()[:32]


def fingerprint(encoder: SpeechEncoder, layer: int, dtype: torch.dtype) -> str:
    """Digest of all that the states at a split depend on but the audio."""
    digest = hashlib.sha256()
    extractor = getattr(encoder, "extractor", None)
    facts = {
        "format": FORMAT,
        "family": encoder.family,
        "layer": layer,
        "dtype": str(dtype),
        "pad_to_30s": getattr(encoder, "pad_to_30s", False),
        "silence": encoder.silence,
        "preprocessing": extractor.to_dict() if extractor is not None else {},
    }
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for module in encoder.modules_below(layer):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def stores_in(root: Path | None = None) -> list[StoreSize]:
    """Every store, the most recently used first."""
    folder = root or cache_folder() / "frames"
    found = [_store(path) for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda store: -store.last_used)


def _store(path: Path) -> StoreSize:
    used = path / _USED
    utterances = 0
    for shard in path.glob("*.safetensors"):
        try:
            with safe_open(str(shard), framework="pt") as file:
                utterances += len(list(file.keys()))
        except (OSError, SafetensorError):
            continue  # damaged: it is removed when the store is opened
    return StoreSize(path, _size(path) / 1e6, utterances, used.stat().st_mtime if used.exists() else 0.0)


def clear(root: Path | None = None) -> float:
    """Remove every store; the megabytes that this frees."""
    stores = stores_in(root)
    for store in stores:
        shutil.rmtree(store.path, ignore_errors=True)
    return sum(store.megabytes for store in stores)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


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
            fix="make room, set SPEECHXFER_CACHE to another folder, or say cache.use=never",
        ) from None
