"""Downloads a model from the hub: safetensors where there are any, also from the hub's conversion pull request.

Many older checkpoints have a `pytorch_model.bin` only. For most of them the hub's bot has opened a pull request with
the same weights as safetensors, which transformers reads; it is read here as well, and no conversion is ever started.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx
from transformers.safetensors_conversion import previous_pr

from speechxfer.atomic import write_text_atomically
from speechxfer.encoders.weights import has_safetensors

# `*` also matches the names of folders: `language_model/attrs.json`
_FILES = ["*.json", "*.txt", "model*.safetensors", "ctc_head.safetensors", "*.arpa", "language_model/*.bin"]
_OTHER_WEIGHTS = ["pytorch_model*.bin", "pytorch_model.bin.index.json", "model.bin"]  # model.bin: CTranslate2's
_PULL_REQUEST_TITLE = "Adding `safetensors` variant of this model"
_PULL_REQUEST_AUTHOR = "SFconvertbot"  # anybody can open a pull request of that title


def download_model(repository: str, cache: Path) -> Path:
    """Download the files of a model that are read here, and return their folder.

    repository: owner/name. cache: folder in which the pull request of a commit is noted, for use without a network.
    Raises: the errors of huggingface_hub.
    """
    folder = Path(huggingface_hub.snapshot_download(repository, allow_patterns=_FILES))
    if has_safetensors(folder):
        return folder
    note = cache / "hub" / f"{repository.replace('/', '--')}-{folder.name}"  # the folder's name is the commit
    revision = note.read_text(encoding="utf-8") if note.is_file() else _find_conversion(repository)
    if revision is None:
        return Path(huggingface_hub.snapshot_download(repository, allow_patterns=[*_FILES, *_OTHER_WEIGHTS]))
    converted = Path(huggingface_hub.snapshot_download(repository, revision=revision, allow_patterns=_FILES))
    with suppress(OSError):  # without the note, the next run asks the hub again
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(note, revision)
    return converted


def download_adapter(repository: str, folder: Path, language: str) -> None:
    """Download a language adapter of an MMS checkpoint into `folder`, which `download_model` returned, if it exists."""
    names = [f"adapter.{language}.safetensors", f"adapter.{language}.bin"]
    for name in names:
        if not any((folder / each).is_file() for each in names):
            huggingface_hub.snapshot_download(repository, revision=folder.name, allow_patterns=[name])


def _find_conversion(repository: str) -> str | None:
    """Return the revision of the hub's conversion of the repository's last commit, if it has been converted."""
    api: Any = huggingface_hub.HfApi()
    token: Any = None  # the user's own, if there is one
    try:
        found = previous_pr(api, repository, _PULL_REQUEST_TITLE, token)
    except (HfHubHTTPError, httpx.HTTPError, OSError):
        return None  # without a network, or with discussions turned off
    return f"refs/pr/{found.num}" if found is not None and found.author == _PULL_REQUEST_AUTHOR else None
