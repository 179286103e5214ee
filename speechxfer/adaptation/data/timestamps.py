"""Timestamps in the texts of a data set: removed from references, and trained as timestamp tokens where possible."""

from __future__ import annotations

from datasets import Dataset

from speechxfer.config import Recipe
from speechxfer.models import DECODER_KINDS, SpeechModel
from speechxfer.models.seq2seq import WhisperRecogniser
from speechxfer.report.progress import Reporter
from speechxfer.text.timestamps import has_special_tokens, has_timestamps, parse_timestamps, strip_special_tokens

TARGET_COLUMN = "_text_with_timestamps"  # of the training split, until its targets are taken


def remove_special_tokens(utterances: Dataset, column: str) -> tuple[Dataset, int]:
    """Remove timestamps and other special tokens from the texts of a column; returns also how many texts had any."""
    texts = list(utterances[column])
    changed = sum(has_special_tokens(text or "") for text in texts)
    if not changed:
        return utterances, 0
    stripped = [text and strip_special_tokens(text) for text in texts]
    return utterances.remove_columns(column).add_column(column, stripped), changed


def clean_references(utterances: Dataset, column: str) -> tuple[Dataset, list[str]]:
    """Remove special tokens from the references of a data set; returns also a warning if there were any."""
    cleaned, changed = remove_special_tokens(utterances, column)
    warning = f"timestamps and other special tokens were removed from {changed} references"
    return cleaned, [warning] if changed else []


def remove_from_splits(
    splits: dict[str, Dataset], column: str, recipe: Recipe, reporter: Reporter
) -> dict[str, Dataset]:
    """Remove special tokens from the texts of every split, which are scored without them; the log has the numbers.

    The training texts to be trained with timestamps are kept in `TARGET_COLUMN`. A classifier's labels have none.
    """
    if recipe.head.kind == "classify":
        return splits
    stripped: dict[str, Dataset] = {}
    for name, rows in splits.items():
        stripped[name], changed = remove_special_tokens(rows, column)
        if not changed:
            continue
        reason = _find_obstacle(recipe) if name == "train" else "the texts are scored without them"
        if reason is None:
            targets = _select_targets(list(rows[column]))
            stripped[name] = stripped[name].add_column(TARGET_COLUMN, targets)
        else:
            reporter.info(f"{name}: timestamps and other special tokens were removed from {changed} texts: {reason}")
    return stripped


def take_training_texts(train: Dataset, column: str) -> tuple[Dataset, list[str]]:
    """Return the training split without `TARGET_COLUMN`, and the texts to train on."""
    if TARGET_COLUMN not in train.column_names:
        return train, list(train[column])
    return train.remove_columns(TARGET_COLUMN), list(train[TARGET_COLUMN])


def describe_targets(texts: list[str], model: SpeechModel) -> str | None:
    """Return the log line about the training texts that still have timestamps; None if there are none."""
    count = sum(map(has_timestamps, texts))
    if not count:
        return None
    if isinstance(model, WhisperRecogniser) and model.knows_timestamps:
        return (
            f"{count} training texts are trained with timestamp tokens: every second text that has timestamps; the "
            "others are trained without, so that the model keeps both ways of transcribing"
        )
    return f"timestamps were removed from the training texts: {model.settings.base} has no timestamp tokens"


def _find_obstacle(recipe: Recipe) -> str | None:
    """Return why the recipe cannot train timestamps; None if it can."""
    if recipe.head.kind not in DECODER_KINDS:
        return f"a {recipe.head.kind} head has no tokens for them"
    if any(factor != 1 for factor in recipe.augment.speed):
        return "augment.speed changes the times (set augment.speed=[] to train timestamps)"
    return None


def _select_targets(texts: list[str]) -> list[str]:
    """Return every second text with timestamps as it is, and all others without special tokens.

    Whisper transcribes with and without timestamps; trained on one way only, it forgets the other. Texts whose
    timestamps are not as Whisper writes them are trained without.
    """
    selected, is_next = [], True
    for text in texts:
        keeps = is_next and parse_timestamps(text or "") is not None
        selected.append(text if keeps else strip_special_tokens(text or ""))
        if parse_timestamps(text or "") is not None:
            is_next = not is_next
    return selected
