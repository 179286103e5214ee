"""Labels of a classifier as they are read: without invisible differences, with their counts and near-equal pairs."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

import pyarrow as pa
from datasets import Dataset
from datasets.table import InMemoryTable

from speechxfer.text.characters import to_nfc

MAX_TEXT_LABELS, MAX_LABEL_LENGTH = 100, 40  # different texts, and their characters, that may be labels
MIN_ROWS_PER_LABEL = 5  # rows per text, on average, from which texts may be labels
IMBALANCE_RATIO = 10  # utterances of the most frequent label over those of the rarest
_MAX_NAMED = 5  # labels or groups of labels named in a warning
_JOINERS = "\u200c\u200d"  # without width; they belong to words of some scripts and are removed at the ends only


def clean_label(label: str) -> str:
    """Return a label in NFC, without characters that have no width, and with single spaces inside only."""
    return " ".join(to_nfc(label).split()).strip(_JOINERS)


def clean_labels(utterances: Dataset, column: str) -> tuple[Dataset, list[str]]:
    """Clean a column of labels.

    Returns:
        The utterances, and a list with one warning if a label was changed, else an empty one.
    """
    labels = ["" if label is None else str(label) for label in utterances[column]]
    cleaned = list(map(clean_label, labels))
    changed = [(old, new) for old, new in zip(labels, cleaned, strict=True) if old != new]
    if not changed:
        return utterances, []
    table = utterances.data.table
    table = table.set_column(table.column_names.index(column), column, pa.array(cleaned, pa.string()))
    fingerprint = f"{utterances._fingerprint}-labels"
    shown = [f"{old!a} is read as '{new}'" for old, new in list(dict.fromkeys(changed))[:_MAX_NAMED]]
    rows = "1 label has" if len(changed) == 1 else f"{len(changed)} labels have"
    warning = f"{rows} spaces or invisible characters that are left out: {', '.join(shown)}"
    return Dataset(InMemoryTable(table), fingerprint=fingerprint), [warning]


def find_near_equal_labels(labels: Iterable[str]) -> list[list[tuple[str, int]]]:
    """Return the groups of different labels that differ in case, spaces, punctuation or width only, with their counts.

    The most frequent label of a group comes first.
    """
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for label, count in Counter(labels).items():
        groups[_fold(label)][label] = count
    return [
        sorted(group.items(), key=lambda item: (-item[1], item[0]))
        for _, group in sorted(groups.items())
        if len(group) > 1
    ]


def describe_near_equal_labels(labels: Iterable[str]) -> list[str]:
    """Return a list with one warning that names near-equal labels; an empty one if there are none."""
    groups = find_near_equal_labels(labels)
    if not groups:
        return []
    shown = [" and ".join(f"'{label}' ({count:,})" for label, count in group) for group in groups[:_MAX_NAMED]]
    more = f"; {len(groups) - _MAX_NAMED} more" if len(groups) > _MAX_NAMED else ""
    return [f"labels that are almost equal are different classes: {'; '.join(shown)}{more}: write each in one way"]


def _fold(label: str) -> str:
    """Return what a label has in common with its near-equals: a number's value, else all but punctuation and spaces."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    if any(character.isdigit() for character in folded):
        with suppress(ValueError):
            return f"{float(folded):g}"
    return "".join(one for one in folded if unicodedata.category(one)[0] not in "PZC") or folded


def find_label_column(utterances: Dataset) -> str | None:
    """Return the column of labels: `label`, else a `text` of few different short texts; None if there is neither."""
    if "label" in utterances.column_names and any(utterances["label"]):
        return "label"
    texts = [text for text in utterances["text"] if text] if "text" in utterances.column_names else []
    different = set(texts)
    is_label = 2 <= len(different) <= MAX_TEXT_LABELS and len(texts) >= MIN_ROWS_PER_LABEL * len(different)
    return "text" if is_label and all(len(text) <= MAX_LABEL_LENGTH for text in different) else None


def describe_imbalance(counts: Mapping[str, int]) -> list[str]:
    """Return a list with one warning if a label has far more training utterances than another; else an empty one."""
    if len(counts) < 2:
        return []
    least, most = min(counts, key=lambda label: counts[label]), max(counts, key=lambda label: counts[label])
    if counts[most] < IMBALANCE_RATIO * counts[least]:
        return []
    return [
        f"'{most}' has {counts[most]:,} utterances and '{least}' {counts[least]:,}: a classifier may never predict the "
        "rare labels; collect more of them, or set head.class_weights=balanced and scoring.metric=balanced_accuracy"
    ]
