"""Data of a run: train, dev and test splits of valid rows, and the texts that the model is trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from datasets import Dataset

from speechxfer.adaptation.data.timestamps import remove_from_splits, take_training_texts
from speechxfer.adaptation.provenance import fingerprint_dataset
from speechxfer.config import Recipe
from speechxfer.data.collection import LANGUAGE_COLUMN
from speechxfer.data.labels import clean_labels, describe_imbalance, describe_near_equal_labels
from speechxfer.data.reader import make_missing_column_error, read
from speechxfer.data.splits import make_splits
from speechxfer.data.validation import InputLimits, InvalidRow, find_invalid_rows
from speechxfer.decoding.ctc_beam import MAX_CHARACTERS_SHOWN
from speechxfer.errors import Problems, UserError
from speechxfer.models import SpeechModel, get_input_limits
from speechxfer.progress import ProgressCallback
from speechxfer.report.progress import Reporter
from speechxfer.scoring.metrics import AUTO_METRIC, Metric, choose_metric
from speechxfer.scoring.tokens import LABEL_UNIT, UNIT_NAMES
from speechxfer.scoring.units import METRIC_NAMES, resolve_unit
from speechxfer.text.normalise import Normaliser, get_normaliser
from speechxfer.text.vocabulary import build_vocabulary, encode_text

TRAIN_PROBE_SIZE = 200  # utterances; about a small dev split
TargetNormaliser = Callable[[str], str]


@dataclass
class DataSplits:
    """The splits of a run, with valid rows only.

    Attributes:
        reference: column that is trained on and scored against: `text`, or `label` for a classifier.
        texts: training targets, normalised; for Whisper's decoder with timestamps where they are trained.
        split_info: how each split was made, and its size, for the report.
        warnings: messages for the user.
        retention: speech that is not adapted to, on which forgetting is measured.
        metric: what models are selected by.
        unit: what error rates count: "word", "char" or "mixed"; "label" for a classifier.
    """

    train: Dataset
    dev: Dataset
    test: Dataset
    reference: str
    texts: list[str]
    split_info: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    retention: Dataset | None = None
    metric: Metric = field(default_factory=lambda: choose_metric(AUTO_METRIC, "word"))
    unit: str = "word"

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each split's ids, references and audio, which is read once, when the run starts."""
        splits = {"train": self.train, "dev": self.dev, "test": self.test, "retention": self.retention}
        return {name: fingerprint_dataset(rows, self.reference) for name, rows in splits.items() if rows is not None}

    def sample_train_probe(self, seed: int) -> Dataset:
        """Sample up to `TRAIN_PROBE_SIZE` training utterances, on which memorisation is measured."""
        return _sample(self.train, TRAIN_PROBE_SIZE, seed)

    def resolve_scoring(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the scoring unit of these splits; labels are no unit of a recipe."""
        if self.unit == LABEL_UNIT:
            return recipe
        return recipe.model_copy(update={"scoring": recipe.scoring.model_copy(update={"unit": self.unit})})

    def encode_targets(self, model: SpeechModel) -> list[list[int]]:
        """Return the target ids of each training utterance.

        Raises:
            UserError: names every text without targets.
        """
        problems = Problems("some texts cannot be used as training targets")
        targets: list[list[int]] = []
        has_languages = LANGUAGE_COLUMN in self.train.column_names
        languages = self.train[LANGUAGE_COLUMN][:] if has_languages else [""] * len(self.texts)
        prefixes = {language: model.encode_language(language) for language in set(languages)}
        for name, text, language in zip(self.train["id"], self.texts, languages, strict=True):
            try:
                targets.append([*prefixes[language], *model.encode_target(text)])
            except UserError as error:
                problems.add(f"{name}: {error.problem}")
        problems.raise_if_any()
        return targets


def prepare_splits(recipe: Recipe, reporter: Reporter) -> DataSplits:
    """Read and split the data, check every row, and normalise the training texts.

    Raises:
        UserError: names every invalid row of every split, unless `data.skip_bad` is set.
    """
    splits, reference, split_info, warnings = _read_splits(recipe)
    is_classifier = recipe.head.kind == "classify"
    choose_metric(recipe.scoring.metric, LABEL_UNIT if is_classifier else "word")  # an error before any work
    splits = remove_from_splits(splits, reference, recipe, reporter)
    normaliser = get_normaliser(recipe.scoring.normaliser)
    normalise_target, remark = _choose_target_normaliser(splits["train"][reference], recipe, normaliser)
    invalid = _find_invalid_rows(splits, reference, recipe, normalise_target, reporter)
    for name, rows in invalid.items():
        if rows:
            splits[name] = _drop_rows(splits[name], rows)
            warnings.append(f"{len(rows)} invalid rows of {name} were skipped (data.skip_bad)")
        split_info[name] = {**split_info.get(name, {}), "utterances": len(splits[name]), "skipped": len(rows)}
    for name, rows in splits.items():
        _check_has_words(name, rows[reference], get_normaliser("none") if is_classifier else normaliser)
        reporter.info(f"{name}: {len(rows):,} utterances, {split_info[name].get('from', 'as given')}")
    splits["train"], texts = take_training_texts(splits["train"], reference)
    texts = [normalise_target(text) for text in texts]
    others = {name: rows for name, rows in splits.items() if name != "train"}
    if recipe.head.is_new_ctc:
        warnings += _unseen_character_warnings(texts, others, normalise_target)
    if is_classifier:
        warnings += _label_warnings(recipe, reference, texts, splits)
    unit = LABEL_UNIT if is_classifier else resolve_unit(recipe.scoring.unit, splits["train"][reference])
    if unit not in ("word", LABEL_UNIT):
        reporter.info(f"error rates count {UNIT_NAMES[unit]}s ({METRIC_NAMES[unit]})")
    for line in [*(f"warning: {warning}" for warning in warnings), *([remark] if remark else [])]:
        reporter.info(line)
    return DataSplits(
        **splits,
        reference=reference,
        texts=texts,
        split_info=split_info,
        warnings=warnings,
        metric=choose_metric(recipe.scoring.metric, unit),
        unit=unit,
    )


def _read_splits(recipe: Recipe) -> tuple[dict[str, Dataset], str, dict[str, Any], list[str]]:
    """Read the data: the splits by name, the reference column, how each split was made, and warnings."""
    made = make_splits(
        recipe.data.train,
        recipe.data.dev,
        recipe.data.test,
        columns=recipe.data.columns,
        group=recipe.data.group,
        split=recipe.data.split,
        seed=recipe.seed,
    )
    warnings = list(made.warnings)
    is_classifier = recipe.head.kind == "classify"
    reference = "label" if is_classifier and "label" in made.train.column_names else "text"
    splits = {"train": made.train, "dev": made.dev, "test": made.test}
    if recipe.data.retention is not None:
        splits["retention"] = read(recipe.data.retention, columns=recipe.data.columns, on_warning=warnings.append)
    for name, rows in splits.items():
        if reference not in rows.column_names:
            raise make_missing_column_error(reference, rows.column_names, f"data.{name}")
        if is_classifier:
            splits[name], changes = clean_labels(rows, reference)
            warnings += [f"data.{name}: {change}" for change in changes]
    if recipe.data.limit is not None:
        splits["train"] = _sample(splits["train"], recipe.data.limit, recipe.seed)
    return splits, reference, dict(made.split_info), warnings


def _check_has_words(name: str, references: Sequence[str], normaliser: Normaliser) -> None:
    """Raise UserError for a split without rows, or (dev and test) without a word to score."""
    if not len(references):
        raise UserError("has no valid row", where=f"data.{name}")
    if name != "train" and not any(normaliser(text) for text in references):
        problem = f"its texts are empty after the normaliser '{normaliser.name}'"
        raise UserError(problem, where=f"data.{name}", fix="fix the texts, or set another scoring.normaliser")


def _find_invalid_rows(
    splits: dict[str, Dataset],
    reference: str,
    recipe: Recipe,
    normalise_target: TargetNormaliser,
    reporter: Reporter,
) -> dict[str, list[InvalidRow]]:
    """Find each split's invalid rows; raises UserError that names them, unless `data.skip_bad` is set."""
    limits = get_input_limits(recipe.encoder.name, head=recipe.head, language=recipe.encoder.language)
    # checked as trained: upper case may need more tokens; what normalisation removes needs no frames
    limits = replace(limits, target_normaliser=normalise_target, pad_silence=recipe.encoder.pad_silence)
    problems = Problems("some utterances cannot be used", fix="fix them, or set data.skip_bad=true to skip them")
    invalid: dict[str, list[InvalidRow]] = {}
    for name, rows in splits.items():
        with reporter.progress(f"checking {name}") as progress:
            step = partial(_report_step, progress, len(rows))
            invalid[name] = find_invalid_rows(rows, text=reference, limits=limits, progress=step)
        if name == "train" and limits.characters is not None:
            known = {row.index for row in invalid[name]}
            untrainable = _find_untrainable_texts(rows, limits, normalise_target)
            invalid[name] += [row for row in untrainable if row.index not in known]
        for row in invalid[name]:
            problems.add(f"data.{name}, {row}")
    if not recipe.data.skip_bad:
        problems.raise_if_any()
    return invalid


def _find_untrainable_texts(rows: Dataset, limits: InputLimits, normalise_target: TargetNormaliser) -> list[InvalidRow]:
    """Find texts with characters that a CTC head with its own vocabulary cannot write."""
    invalid, vocabulary = [], dict.fromkeys(limits.characters or (), 0)
    for index, (name, text) in enumerate(zip(rows["id"], rows["text"], strict=True)):
        target = normalise_target(text or "")
        _, unknown = encode_text(target.upper() if limits.case == "upper" else target, vocabulary)
        if unknown:
            problem = f"its text contains {' '.join(sorted(unknown))}, not in the vocabulary"
            invalid.append(InvalidRow(index, name, problem, "spell it out, or set head.vocabulary=from-train"))
    return invalid


def _choose_target_normaliser(
    texts: Sequence[str | None], recipe: Recipe, normaliser: Normaliser
) -> tuple[TargetNormaliser, str]:
    """Return how texts become training targets, and a log line about it."""
    if recipe.head.kind == "classify":
        return str, ""
    if recipe.head.kind == "ctc":
        # letters and spaces: a new head does not need characters that scoring removes
        return normaliser, f"training targets are normalised by '{normaliser.name}' (CTC head)"
    letters = "".join(text or "" for text in texts)
    is_upper_case = letters == letters.upper() and letters != letters.lower()
    if recipe.data.case == "lower" or (recipe.data.case == "auto" and is_upper_case):
        return str.lower, "the text is all upper case: trained in lower case (data.case=keep to keep)"
    return str, ""


def _unseen_character_warnings(
    texts: Sequence[str], splits: dict[str, Dataset], normalise_target: TargetNormaliser
) -> list[str]:
    """Return warnings about splits with characters that a new CTC head cannot write, as training does not have them.

    Raises:
        UserError: if no text of a split can be written, so that no model could be selected or scored on it.
    """
    vocabulary, warnings = build_vocabulary(texts), []
    for name, rows in splits.items():
        unknown = [encode_text(normalise_target(text), vocabulary)[1] for text in rows["text"]]
        count = sum(map(bool, unknown))
        characters = " ".join(sorted(set().union(*unknown))[:MAX_CHARACTERS_SHOWN])
        if count == len(rows):
            raise UserError(
                f"none of its texts can be written: the training split does not contain {characters}",
                where=f"data.{name}",
                fix="use a split in the alphabet of the training split",
            )
        if count:
            warnings.append(
                f"{count} of {len(rows)} texts of {name} contain characters that the training split does not: "
                f"{characters}"
            )
    return warnings


def _label_warnings(recipe: Recipe, reference: str, texts: Sequence[str], splits: dict[str, Dataset]) -> list[str]:
    """Return warnings about near-equal labels, rare ones, and those that training does not have."""
    warnings = describe_near_equal_labels(label for rows in splits.values() for label in rows[reference])
    if recipe.head.class_weights == "none":
        warnings += describe_imbalance(Counter(texts))
    others = {name: rows[reference] for name, rows in splits.items() if name != "train"}
    return warnings + _unseen_label_warnings(texts, others)


def _unseen_label_warnings(texts: Sequence[str], splits: dict[str, Sequence[str]]) -> list[str]:
    """Return warnings about splits with labels that the training split does not have."""
    known, warnings = set(texts), []
    for name, labels in splits.items():
        unseen = [label for label in labels if label not in known]
        if unseen:
            examples = ", ".join(sorted(set(unseen))[:MAX_CHARACTERS_SHOWN])
            warnings.append(
                f"{len(unseen)} of {len(labels)} labels of {name} are not in the training split: {examples}"
            )
    return warnings


def _report_step(progress: ProgressCallback, total: int, done: int) -> None:
    progress(done, total)


def _drop_rows(rows: Dataset, invalid: list[InvalidRow]) -> Dataset:
    dropped = {row.index for row in invalid}
    return rows.select([index for index in range(len(rows)) if index not in dropped])


def _sample(rows: Dataset, limit: int, seed: int) -> Dataset:
    return rows.shuffle(seed=seed).select(range(min(limit, len(rows))))
