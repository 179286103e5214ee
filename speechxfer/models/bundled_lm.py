"""The language model that a CTC checkpoint comes with, in pyctcdecode's layout, as `Wav2Vec2ProcessorWithLM` uses it.

The folder `language_model` has the model (ARPA or KenLM's binary format), `unigrams.txt`, its words, and `attrs.json`
with the weights: `alpha` (of the language model), `beta` (per word), `unk_score_offset` and `score_boundary`.
"""

from __future__ import annotations

import json
from pathlib import Path

from speechxfer.decoding.ctc_beam import UNIGRAMS_FILE, UNKNOWN_WORD_SCORE, read_lm
from speechxfer.errors import UserError
from speechxfer.models.ctc import CtcRecogniser

LM_FOLDER = "language_model"
ATTRIBUTES_FILE = "attrs.json"
BEAM_SIZE = 100  # pyctcdecode's default, which the folder does not state


def use_bundled_lm(model: CtcRecogniser, folder: Path) -> None:
    """Decode with the language model of the checkpoint's folder, if there is one.

    If it cannot be used, the model decodes greedily and `model.warnings` says why.
    """
    if not (folder / LM_FOLDER).is_dir():
        return
    saved = model.settings.model_copy()
    try:
        attributes = _read_attributes(folder / LM_FOLDER / ATTRIBUTES_FILE)
        model.lm = read_lm(_find_lm(folder / LM_FOLDER))
        model.settings.beam_size = BEAM_SIZE
        model.settings.beam_search = {
            "lm_weight": attributes.get("alpha", 0.5),
            "word_bonus": attributes.get("beta", 1.5),
            "unknown_word_score": attributes.get("unk_score_offset", UNKNOWN_WORD_SCORE),
        }
        model.settings.lm = model.lm.saved_name
        model.get_beam_search()
    except UserError as error:
        model.settings, model.lm = saved, None
        fix = f" To use it: {error.fix}." if error.fix else ""
        model.warnings.append(
            f"the checkpoint's own language model ({LM_FOLDER}) is not used: {error.problem}. Its result is not the "
            f"one that its authors report.{fix}"
        )


def _find_lm(folder: Path) -> Path:
    """Return the folder's only file besides the two that describe it, as pyctcdecode does."""
    described = (ATTRIBUTES_FILE, UNIGRAMS_FILE)
    found = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in described and p.name[0] != ".")
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise UserError(f"there must be one language model in the folder, and there is {names}", where=str(folder))
    return found[0]


def _read_attributes(path: Path) -> dict[str, float]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        attributes = {name: float(read[name]) for name in ("alpha", "beta", "unk_score_offset") if name in read}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{ATTRIBUTES_FILE} cannot be read ({error})", where=str(path), fix="copy it again") from None
    if read.get("score_boundary") is False:
        raise UserError(f"{ATTRIBUTES_FILE} sets score_boundary to false, which is not supported", where=str(path))
    return attributes
