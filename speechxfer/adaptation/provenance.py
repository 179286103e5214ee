"""Provenance of a figure: fingerprints, library versions, memory."""

from __future__ import annotations

import hashlib
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from datasets import Dataset

from speechxfer.adaptation.training.batching import AudioHasher

_PACKAGES = ("speechxfer", "torch", "torchaudio", "transformers", "datasets", "jiwer", "soundfile", "soxr", "numpy")


def fingerprint_dataset(utterances: Dataset, reference: str) -> str:
    """Return the SHA-256 of a data set's ids, references and audio (the bytes of its files, start and end)."""
    digest, hasher = hashlib.sha256(), AudioHasher()
    for row, text in zip(utterances, utterances[reference], strict=True):
        digest.update(f"{row['id']}\t{text}\t{hasher.digest(row)}\n".encode())
    return digest.hexdigest()


def get_peak_memory_mb(device: torch.device) -> int:
    """Return the peak memory of this process in MB: GPU memory on CUDA, else the resident set."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak / 1e3)


def make_provenance(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions that a figure depends on, with further facts (fingerprints, recipe, seed)."""
    return {
        "python": sys.version.split()[0],
        "versions": {name: _get_version(name) for name in _PACKAGES},
        **facts,
    }


def _get_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # torchaudio need not be installed
        return None
