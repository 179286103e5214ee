"""What a recipe's `data` section becomes: three parts of usable rows, the column that is learnt, and its texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from datasets import Dataset

from speechxfer.adaptation.evaluation import fingerprint
from speechxfer.config import Recipe
from speechxfer.data.bad_rows import BadRow, Limits, bad_rows
from speechxfer.data.parts import parts
from speechxfer.data.read import lacks, read
from speechxfer.decoding.ctc_beam import SHOWN
from speechxfer.errors import Problems, UserError
from speechxfer.models import SpeechModel, text_limits
from speechxfer.report.progress import Narrator
from speechxfer.text.normalise import Normaliser, get_normaliser
from speechxfer.text.vocabulary import spell, vocabulary_of

SEEN = 200  # as many as a small dev part has
Teacher = Callable[[str], str]


@dataclass
class Material:
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
    stated: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    other: Dataset | None = None
    measure: str = "WER"  # what the rates are called: a classifier's answers are right or wrong

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each part's ids and texts."""
        parts = {"train": self.train, "dev": self.dev, "test": self.test, "other": self.other}
        return {name: fingerprint(part, self.reference) for name, part in parts.items() if part is not None}

    def some_of_train(self, seed: int) -> Dataset:
        """Up to `SEEN` utterances of the training part, to tell what is known by heart from what was learnt."""
        return _first(self.train, SEEN, seed)

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
    normalise = get_normaliser(recipe.scoring.normaliser)
    found = parts(data.train, data.dev, data.test, group=data.group, split=data.split, seed=recipe.seed)
    reference = "text"
    if recipe.head.kind == "classify" and "label" in found.train.column_names:
        reference = "label"
    every = {"train": found.train, "dev": found.dev, "test": found.test}
    if data.other is not None:
        every["other"] = read(data.other)
    for name, part in every.items():
        if reference not in part.column_names:
            raise lacks(reference, part.column_names, f"data.{name}")
    if data.limit is not None:
        every["train"] = _first(every["train"], data.limit, recipe.seed)
    teach, remark = _teacher(every["train"][reference], recipe, normalise)
    stated, warnings = dict(found.stated), list(found.warnings)
    for name, bad in _bad_rows(every, reference, recipe, teach, narrator).items():
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
        narrator.say(f"{name}: {len(part):,} utterances, {stated[name].get('from', 'as given')}")
    texts = [teach(text) for text in every["train"][reference]]
    if recipe.head.new_ctc:
        warnings += _never_written(texts, {name: part for name, part in every.items() if name != "train"}, teach)
    if recipe.head.kind == "classify":
        warnings += _never_answered(texts, {name: part[reference] for name, part in every.items() if name != "train"})
    for warning in warnings:
        narrator.say(f"warning: {warning}")
    if remark:
        narrator.say(remark)
    return Material(
        **every,
        reference=reference,
        texts=texts,
        stated=stated,
        warnings=warnings,
        measure="error rate" if recipe.head.kind == "classify" else "WER",
    )


def _bad_rows(
    every: dict[str, Dataset], reference: str, recipe: Recipe, teach: Teacher, narrator: Narrator
) -> dict[str, list[BadRow]]:
    """Each part's rows to leave out. Raises UserError naming all of them, unless the recipe says `data.skip_bad`."""
    limits = text_limits(recipe.encoder.name, head=recipe.head, language=recipe.encoder.language)
    # capitals take more tokens, what normalising takes away no frames
    limits = replace(limits, taught=teach, silence=recipe.encoder.silence)
    problems = Problems("some utterances cannot be used", fix="mend them, or say data.skip_bad=true to leave them out")
    bad: dict[str, list[BadRow]] = {}
    for name, part in every.items():
        with narrator.bar(f"checking {name}") as progress:
            bad[name] = bad_rows(part, text=reference, limits=limits, progress=partial(_step, progress, len(part)))
        if name == "train" and limits.characters is not None:
            known = {row.index for row in bad[name]}
            bad[name] += [row for row in _unspellable(part, limits, teach) if row.index not in known]
        for row in bad[name]:
            problems.add(f"data.{name}, {row}")
    if not recipe.data.skip_bad:
        problems.stop()
    return bad


def _unspellable(part: Dataset, limits: Limits, teach: Teacher) -> list[BadRow]:
    """Rows whose text a CTC head that keeps its vocabulary cannot be taught."""
    found, vocabulary = [], dict.fromkeys(limits.characters or (), 0)
    for index, (name, text) in enumerate(zip(part["id"], part["text"], strict=True)):
        words = teach(text or "")
        _, lacking = spell(words.upper() if limits.case == "upper" else words, vocabulary)
        if lacking:
            problem = f"its text holds {' '.join(sorted(lacking))}, which the vocabulary lacks"
            found.append(BadRow(index, name, problem, "spell it out, or say head.vocabulary=from-train"))
    return found


def _teacher(texts: Sequence[str | None], recipe: Recipe, normalise: Normaliser) -> tuple[Teacher, str]:
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


def _never_written(texts: Sequence[str], parts: dict[str, Dataset], teach: Teacher) -> list[str]:
    """Warnings of parts whose texts hold characters that the training part lacks, and a new CTC head never writes.

    Raises UserError for a part of which no text can be written: no model could be chosen, or measured, on it.
    """
    vocabulary, found = vocabulary_of(texts), []
    for name, part in parts.items():
        lacking = [spell(teach(text), vocabulary)[1] for text in part["text"]]
        count, characters = sum(map(bool, lacking)), " ".join(sorted(set().union(*lacking))[:SHOWN])
        if count == len(part):
            fix = "give a part in the training part's alphabet"
            raise UserError(
                f"no text of it can be written: the training part lacks {characters}", where=f"data.{name}", fix=fix
            )
        if count:
            found.append(f"{count} of {len(part)} texts of {name} hold what the training part lacks: {characters}")
    return found


def _never_answered(texts: Sequence[str], parts: dict[str, Sequence[str]]) -> list[str]:
    """Warnings of parts that hold labels which the training part lacks, and a classifier never answers."""
    known, found = set(texts), []
    for name, labels in parts.items():
        lacking = [label for label in labels if label not in known]
        if lacking:
            some = ", ".join(sorted(set(lacking))[:SHOWN])
            found.append(f"{len(lacking)} of {len(labels)} labels of {name} are none of the training part's: {some}")
    return found


def _step(progress: Callable[[int, int], None], of: int, done: int) -> None:
    progress(done, of)


def _first(part: Dataset, limit: int, seed: int) -> Dataset:
    return part.shuffle(seed=seed).select(range(min(limit, len(part))))
