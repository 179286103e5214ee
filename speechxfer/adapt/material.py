"""What a recipe's `data` section becomes: three parts of usable rows, the column that is learnt, and its texts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from datasets import Dataset

from speechxfer.config import Recipe
from speechxfer.data.bad_rows import bad_rows
from speechxfer.data.parts import parts
from speechxfer.errors import Problems, UserError
from speechxfer.models import SpeechModel, text_limits
from speechxfer.report.progress import Narrator
from speechxfer.text.normalise import get_normaliser


@dataclass
class Material:
    """The parts, every row of them usable.

    reference: the column that is learnt and scored against (`text`, or `label` for a classifier). texts: the training
    part's, as they are taught. stated: how each part was made, for the report. warnings: for the user.
    """

    train: Dataset
    dev: Dataset
    test: Dataset
    reference: str
    texts: list[str]
    stated: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    measure: str = "WER"  # what the rates are called: a classifier's answers are right or wrong

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each part's ids and texts."""
        return {name: _fingerprint(getattr(self, name), self.reference) for name in ("train", "dev", "test")}

    def targets(self, model: SpeechModel) -> list[list[int]]:
        """What the loss compares each training utterance with. Raises UserError naming every text that has none."""
        problems = Problems("some texts cannot be learnt")
        found: list[list[int]] = []
        for name, text in zip(self.train["id"], self.texts, strict=True):
            try:
                found.append(model.targets(text))
            except UserError as error:
                problems.add(f"{name}: {error.problem}")
        problems.stop()
        return found


def gather(recipe: Recipe, narrator: Narrator) -> Material:
    """Read and part the data, refuse or (by `data.skip_bad`) leave out what cannot be used, settle the texts.

    Raises UserError naming every bad row of every part.
    """
    data = recipe.data
    found = parts(data.train, data.dev, data.test, group=data.group, split=data.split, seed=recipe.seed)
    reference = "text"
    if recipe.head.kind == "classify" and "label" in found.train.column_names:
        reference = "label"
    every = {"train": found.train, "dev": found.dev, "test": found.test}
    for name, part in every.items():
        if reference not in part.column_names:
            raise UserError(f"has no column '{reference}'", where=f"data.{name}", fix=f"add '{reference}' to the table")
    if data.limit is not None:
        every["train"] = _first(every["train"], data.limit, recipe.seed)
    limits = text_limits(recipe.encoder.name, head=recipe.head, language=recipe.encoder.language)
    problems = Problems("some utterances cannot be used", fix="mend them, or say data.skip_bad=true to leave them out")
    stated, warnings = dict(found.stated), list(found.warnings)
    for name, part in every.items():
        with narrator.bar(f"checking {name}") as progress:
            bad = bad_rows(part, text=reference, limits=limits, progress=partial(_step, progress, len(part)))
        for row in bad:
            problems.add(f"data.{name}, {row}")
        if bad and data.skip_bad:
            gone = {row.index for row in bad}
            every[name] = part.select([index for index in range(len(part)) if index not in gone])
            warnings.append(f"{len(bad)} bad rows of {name} were left out (data.skip_bad)")
            if not len(every[name]):
                raise UserError("no usable row is left", where=f"data.{name}")
        stated[name] = {**stated.get(name, {}), "utterances": len(every[name]), "skipped": len(bad)}
    if not data.skip_bad:
        problems.stop()
    for name in every:
        narrator.say(f"{name}: {len(every[name]):,} utterances, {stated[name].get('from', 'as given')}")
    for warning in warnings:
        narrator.say(f"warning: {warning}")
    texts, remark = _taught(list(every["train"][reference]), recipe)
    if remark:
        narrator.say(remark)
    measure = "error rate" if recipe.head.kind == "classify" else "WER"
    return Material(**every, reference=reference, texts=texts, stated=stated, warnings=warnings, measure=measure)


def _taught(texts: list[str], recipe: Recipe) -> tuple[list[str], str]:
    """The texts as the head learns to write them, and what to tell the user about it."""
    if recipe.head.kind == "classify":
        return texts, ""
    if recipe.head.kind == "ctc":
        # letters and spaces only: a new head has no use for marks that scoring takes away
        normalise = get_normaliser(recipe.scoring.normaliser)
        return [
            normalise(text) for text in texts
        ], f"a CTC head learns text normalised by '{recipe.scoring.normaliser}'"
    letters = "".join(texts)
    shouted = letters == letters.upper() and letters != letters.lower()
    if recipe.data.case == "lower" or (recipe.data.case == "auto" and shouted):
        return [
            text.lower() for text in texts
        ], "the text is all capitals: taught in small letters (data.case=keep to keep)"
    return texts, ""


def _step(progress: Callable[[int, int], None], of: int, done: int) -> None:
    progress(done, of)


def _first(part: Dataset, limit: int, seed: int) -> Dataset:
    return part.shuffle(seed=seed).select(range(min(limit, len(part))))


def _fingerprint(part: Dataset, reference: str) -> str:
    digest = hashlib.sha256()
    for name, text in zip(part["id"], part[reference], strict=True):
        digest.update(f"{name}\t{text}\n".encode())
    return digest.hexdigest()
