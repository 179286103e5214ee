"""Character errors of pairs of texts, as jiwer's CER counts them: the fewest edits, in which a space is a character.

Spaces next to characters of scripts written without spaces (Chinese, Japanese, Thai and others) are not counted, so
that punctuation that a normaliser removes, and a segmentation into words, are not errors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cpdist

from speechxfer.scoring.long_texts import find_distance
from speechxfer.scoring.tokens import remove_optional_spaces

_MIN_LONG_CELLS = 4_000_000_000  # larger tables are searched within a limit of errors


def count_character_errors(
    references: Sequence[str], hypotheses: Sequence[str], ids: Sequence[str]
) -> NDArray[np.int64]:
    """Return (utterances, 2) character errors and reference lengths of normalised texts.

    Raises:
        UserError: naming the utterance, if two texts are too long for their number of errors.
    """
    left, right = ([remove_optional_spaces(text.strip()) for text in texts] for texts in (references, hypotheses))
    counts = np.zeros((len(left), 2), dtype=np.int64)
    counts[:, 1] = [len(text) for text in left]
    for i in np.flatnonzero(counts[:, 1] * [len(text) for text in right] > _MIN_LONG_CELLS).tolist():
        counts[i, 0] = find_distance(left[i], right[i], f"utterance '{ids[i]}'", "characters")
        left[i] = right[i] = ""
    counts[:, 0] += cpdist(left, right, scorer=Levenshtein.distance, dtype=np.int32)
    return counts
