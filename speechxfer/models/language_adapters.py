"""Language adapters of MMS (Pratap et al. 2023): small layers and a CTC head for each language, in files of their own.

A checkpoint has `adapter.deu.safetensors` or `.bin` for each language, next to `model.safetensors`, and a `vocab.json`
whose keys are the languages. Languages are ISO 639-3 codes, some with a script (`cmn-script_simplified`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import Wav2Vec2CTCTokenizer

from speechxfer.encoders.checkpoints import SETTINGS_FILE, fetch_language_adapter
from speechxfer.errors import UserError, suggest_nearest
from speechxfer.models.languages import list_iso_codes
from speechxfer.models.pretrained import load_config, load_pretrained

VOCABULARY_FILE = "vocab.json"
_SUFFIXES = (".safetensors", ".bin")
_MAX_SHOWN = 20  # languages in a message


def prepare_language(model: str | Path, folder: Path, language: str | None, kind: str) -> None:
    """Check that the model has an adapter of the language, and download it if `model` is on the hub.

    A model without language adapters, and any without `language`, is left as it is.

    Args:
        model: the MODEL, of which `folder` is the transformers folder.
        language: `encoder.language`.
        kind: of the head; only a CTC head has adapters.

    Raises:
        UserError: if the language cannot be chosen; names the languages that can be.
    """
    if language is None or not has_language_adapters(load_config(folder)):
        return
    if (folder / SETTINGS_FILE).is_file():
        _check_saved_language(folder, language)
        return
    if kind != "ctc":
        raise UserError(
            f"the language adapters of an MMS checkpoint belong to a CTC head, and this head is {kind}",
            where="encoder.language",
            fix="leave the language out, or set head.kind=ctc",
        )
    listed = _list_vocabularies(folder)
    if language in listed:
        fetch_language_adapter(model, folder, language)
    if find_adapter(folder, language) is None and language != _get_main_language(folder):
        languages = listed if str(model).startswith("hub:") else _list_adapters(folder)
        raise _make_unknown_language_error(language, languages, str(model))


def has_language_adapters(config: Any) -> bool:
    """Return whether a configuration has MMS's adapters in its layers."""
    return getattr(config, "adapter_attn_dim", None) is not None


def find_adapter(folder: Path, language: str) -> Path | None:
    """Return the adapter file of a language, safetensors first; None if there is none."""
    paths = (folder / f"adapter.{language}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def load_adapter(network: Any, folder: Path, language: str | None) -> None:
    """Load the adapter of a language into the network: its layers, and the CTC head of the language.

    A checkpoint without adapters, or whose adapter was saved with it, is left as it is.
    Raises: UserError if the file cannot be read or belongs to another model.
    """
    if language is None or not has_language_adapters(network.config):
        return
    path = find_adapter(folder, language)
    if path is None:
        return
    try:
        # one of the two formats: transformers would read the .bin file if the safetensors file is damaged
        network.load_adapter(language, use_safetensors=path.suffix == ".safetensors", local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the language adapter cannot be read ({reason})", where=str(path), fix="copy or download it again"
        ) from None


def load_ctc_tokenizer(folder: Path, language: str | None = None) -> Wav2Vec2CTCTokenizer:
    """Load the tokenizer of a CTC head, for MMS with the vocabulary of a language (default: the checkpoint's own).

    Raises:
        UserError: if the folder has no tokenizer, or no vocabulary of the language.
    """
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        raise UserError(
            f"its tokenizer is missing: there is no {VOCABULARY_FILE}",
            where=str(folder),
            fix=f"copy {VOCABULARY_FILE} and tokenizer_config.json from the source of the weights, or train a new head "
            "(head.vocabulary=from-train)",
        )
    languages = _list_vocabularies(folder)
    if language is None or not languages:
        return load_pretrained(Wav2Vec2CTCTokenizer, folder)
    if language not in languages:
        raise _make_unknown_language_error(language, languages, str(path))
    return load_pretrained(Wav2Vec2CTCTokenizer, folder, target_lang=language)


def _list_adapters(folder: Path) -> list[str]:
    names = {path.name for suffix in _SUFFIXES for path in folder.glob(f"adapter.*{suffix}")}
    return sorted({name.removeprefix("adapter.").rpartition(".")[0] for name in names})


def _list_vocabularies(folder: Path) -> list[str]:
    """Return the languages in the vocabulary file; none if it is of one language."""
    try:
        vocabulary = json.loads((folder / VOCABULARY_FILE).read_text(encoding="utf-8"))
        return sorted(name for name, value in vocabulary.items() if isinstance(value, dict))
    except (OSError, ValueError, AttributeError):
        return []  # `load_ctc_tokenizer` reports the file


def _get_main_language(folder: Path) -> str | None:
    """Return the language whose adapter and head are in the folder's main weight file."""
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config.get("target_lang") if isinstance(config, dict) else None


def _check_saved_language(folder: Path, language: str) -> None:
    """Raise UserError if a saved model, which has one language, is asked for another."""
    saved = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8")).get("language")
    if saved != language:
        raise UserError(
            f"this model was saved with the adapter of {saved or 'one language'}, not of {language}",
            where=str(folder),
            fix="leave the language out, or name the MMS checkpoint that it was adapted from",
        )


def _make_unknown_language_error(language: str, languages: list[str], where: str) -> UserError:
    codes = [code for code in languages if code.partition("-")[0] in list_iso_codes(language)]
    hint = f"; MMS names it {' or '.join(codes)}" if codes else suggest_nearest(language, languages)
    shown = ", ".join(languages[:_MAX_SHOWN]) + (" …" if len(languages) > _MAX_SHOWN else "")
    available = f"it has {len(languages)}: {shown}" if languages else "it has none"
    return UserError(
        f"no language adapter for '{language}'{hint} ({available})",
        where=where,
        fix=f"set encoder.language={codes[0] if codes else 'CODE'} (adapt) or --language (other commands), "
        "or leave the language out",
    )
