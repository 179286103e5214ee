"""What a recipe's `data` section becomes: three parts of usable rows, the column that is learnt, and its texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from datasets import Dataset

from speechxfer.adaptation.predictions import fingerprint_dataset
from speechxfer.config import Recipe
from speechxfer.data.reader import make_missing_column_error, read
from speechxfer.data.splits import make_splits
from speechxfer.data.validation import InputLimits, InvalidRow, find_invalid_rows
from speechxfer.decoding.ctc_beam import MAX_CHARACTERS_SHOWN
from speechxfer.errors import Problems, UserError
from speechxfer.models import SpeechModel, get_input_limits
from speechxfer.report.progress import Reporter
from speechxfer.text.normalise import Normaliser, get_normaliser
from speechxfer.text.vocabulary import build_vocabulary, encode_text

TRAIN_PROBE_SIZE = 200  # as many as a small dev part has
TargetNormaliser = Callable[[str], str]


@dataclass
class DataSplits:
    """The parts, every row of them usable.

    reference: the column that is learnt and scored against (`text`, or `label` for a classifier). texts: the training
    part's, as they are taught. other: speech that is not
    adapted to, to measure what is forgotten. stated: how each part was made, for the report. warnings: for the user.
    """

    train: Dataset
    dev: Dataset
    test: Dataset
    reference: str
    texts: list[str]
    split_info: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    retention: Dataset | None = None
    metric: str = "WER"  # what the rates are called: a classifier's answers are right or wrong

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each part's ids and texts."""
        parts = {"train": self.train, "dev": self.dev, "test": self.test, "other": self.retention}
        return {name: fingerprint_dataset(part, self.reference) for name, part in parts.items() if part is not None}

    def sample_train_probe(self, seed: int) -> Dataset:
        """Up to `TRAIN_PROBE_SIZE` utterances of the training part, to tell what is known by heart from what was learnt."""
        return _sample(self.train, TRAIN_PROBE_SIZE, seed)

    def encode_targets(self, model: SpeechModel) -> list[list[int]]:
        """What the loss compares each training utterance with. Raises UserError naming every text that has none."""
        problems = Problems("some texts cannot be learnt")
        found: list[list[int]] = []
        for name, text in zip(self.train["id"], self.texts, strict=True):
            try:
                found.append(model.encode_target(text))
            except UserError as error:
                problems.add(f"{name}: {error.problem}")
        problems.raise_if_any()
        return found


def prepare_splits(recipe: Recipe, narrator: Reporter) -> DataSplits:
    """Read and part the data, refuse or (by `data.skip_bad`) leave out what cannot be used, settle the texts.

    Raises UserError naming every bad row of every part.
    """
    data = recipe.data
    normalise = get_normaliser(recipe.scoring.normaliser)
    found = make_splits(data.train, data.dev, data.test, group=data.group, split=data.split, seed=recipe.seed)
    reference = "text"
    if recipe.head.kind == "classify" and "label" in found.train.column_names:
        reference = "label"
    every = {"train": found.train, "dev": found.dev, "test": found.test}
    if data.retention is not None:
        every["other"] = read(data.retention)
    for name, part in every.items():
        if reference not in part.column_names:
            raise make_missing_column_error(reference, part.column_names, f"data.{name}")
    if data.limit is not None:
        every["train"] = _sample(every["train"], data.limit, recipe.seed)
    teach, remark = _choose_target_normaliser(every["train"][reference], recipe, normalise)
    stated, warnings = dict(found.split_info), list(found.warnings)
    for name, bad in _find_invalid_rows(every, reference, recipe, teach, narrator).items():
        if bad:
            gone = {row.index for row in bad}
            every[name] = every[name].select([index for index in range(len(every[name])) if index not in gone])
            warnings.append(f"{len(bad)} bad rows of {name} were left out (data.skip_bad)")
        stated[name] = {**stated.get(name, {}), "utterances": len(every[name]), "skipped": len(bad)}
    for name, part in every.items():
        if not len(part):
            raise UserError("no usable row is left", where=f"data.{name}")
        if name != "train" and not any(normalise(text) for text in part[reference]):
            problem = f"normaliser '{normalise.name}' leaves no word of its texts"
            raise UserError(problem, where=f"data.{name}", fix="mend the texts, or say another scoring.normaliser")
        narrator.info(f"{name}: {len(part):,} utterances, {stated[name].get('from', 'as given')}")
    texts = [teach(text) for text in every["train"][reference]]
    if recipe.head.is_new_ctc:
        warnings += _unseen_character_warnings(
            texts, {name: part for name, part in every.items() if name != "train"}, teach
        )
    if recipe.head.kind == "classify":
        warnings += _unseen_label_warnings(
            texts, {name: part[reference] for name, part in every.items() if name != "train"}
        )
    for warning in warnings:
        narrator.info(f"warning: {warning}")
    if remark:
        narrator.info(remark)
    return DataSplits(
        **every,
        reference=reference,
        texts=texts,
        split_info=stated,
        warnings=warnings,
        metric="error rate" if recipe.head.kind == "classify" else "WER",
    )


def _find_invalid_rows(
    every: dict[str, Dataset], reference: str, recipe: Recipe, teach: TargetNormaliser, narrator: Reporter
) -> dict[str, list[InvalidRow]]:
    """Each part's rows to leave out. Raises UserError naming all of them, unless the recipe says `data.skip_bad`."""
    limits = get_input_limits(recipe.encoder.name, head=recipe.head, language=recipe.encoder.language)
    # capitals take more tokens, what normalising takes away no frames
    limits = replace(limits, target_normaliser=teach, pad_silence=recipe.encoder.pad_silence)
    problems = Problems("some utterances cannot be used", fix="mend them, or say data.skip_bad=true to leave them out")
    bad: dict[str, list[InvalidRow]] = {}
    for name, part in every.items():
        with narrator.progress(f"checking {name}") as progress:
            bad[name] = find_invalid_rows(
                part, text=reference, limits=limits, progress=partial(_report_step, progress, len(part))
            )
        if name == "train" and limits.characters is not None:
            known = {row.index for row in bad[name]}
            bad[name] += [row for row in _find_untrainable_texts(part, limits, teach) if row.index not in known]
        for row in bad[name]:
            problems.add(f"data.{name}, {row}")
    if not recipe.data.skip_bad:
        problems.raise_if_any()
    return bad


def _find_untrainable_texts(part: Dataset, limits: InputLimits, teach: TargetNormaliser) -> list[InvalidRow]:
    """Rows whose text a CTC head that keeps its vocabulary cannot be taught."""
    found, vocabulary = [], dict.fromkeys(limits.characters or (), 0)
    for index, (name, text) in enumerate(zip(part["id"], part["text"], strict=True)):
        words = teach(text or "")
        _, lacking = encode_text(words.upper() if limits.case == "upper" else words, vocabulary)
        if lacking:
            problem = f"its text holds {' '.join(sorted(lacking))}, which the vocabulary lacks"
            found.append(InvalidRow(index, name, problem, "spell it out, or say head.vocabulary=from-train"))
    return found


def _choose_target_normaliser(
    texts: Sequence[str | None], recipe: Recipe, normalise: Normaliser
) -> tuple[TargetNormaliser, str]:
    """How the head learns to write a text, and what to tell the user about it."""
    if recipe.head.kind == "classify":
        return str, ""
    if recipe.head.kind == "ctc":
        # letters and spaces only: a new head has no use for marks that scoring takes away
        return normalise, f"a CTC head learns text normalised by '{normalise.name}'"
    letters = "".join(text or "" for text in texts)
    shouted = letters == letters.upper() and letters != letters.lower()
    if recipe.data.case == "lower" or (recipe.data.case == "auto" and shouted):
        return str.lower, "the text is all capitals: taught in small letters (data.case=keep to keep)"
    return str, ""


def _unseen_character_warnings(texts: Sequence[str], parts: dict[str, Dataset], teach: TargetNormaliser) -> list[str]:
    """Warnings of parts whose texts hold characters that the training part lacks, and a new CTC head never writes.

    Raises UserError for a part of which no text can be written: no model could be chosen, or measured, on it.
    """
    vocabulary, found = build_vocabulary(texts), []
    for name, part in parts.items():
        lacking = [encode_text(teach(text), vocabulary)[1] for text in part["text"]]
        count, characters = sum(map(bool, lacking)), " ".join(sorted(set().union(*lacking))[:MAX_CHARACTERS_SHOWN])
        if count == len(part):
            fix = "give a part in the training part's alphabet"
            raise UserError(
                f"no text of it can be written: the training part lacks {characters}", where=f"data.{name}", fix=fix
            )
        if count:
            found.append(f"{count} of {len(part)} texts of {name} hold what the training part lacks: {characters}")
    return found


def _unseen_label_warnings(texts: Sequence[str], parts: dict[str, Sequence[str]]) -> list[str]:
    """Warnings of parts that hold labels which the training part lacks, and a classifier never answers."""
    known, found = set(texts), []
    for name, labels in parts.items():
        lacking = [label for label in labels if label not in known]
        if lacking:
            some = ", ".join(sorted(set(lacking))[:MAX_CHARACTERS_SHOWN])
            found.append(f"{len(lacking)} of {len(labels)} labels of {name} are none of the training part's: {some}")
    return found


def _report_step(progress: Callable[[int, int], None], of: int, done: int) -> None:
    progress(done, of)


def _sample(part: Dataset, limit: int, seed: int) -> Dataset:
    return part.shuffle(seed=seed).select(range(min(limit, len(part))))
