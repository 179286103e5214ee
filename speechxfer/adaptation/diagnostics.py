"""What to do next, from a run's own numbers, as `report.json` holds them. A rule that lacks its numbers is silent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Standard errors of a rate on dev, its words taken as independent. Words of one speaker are not, which makes the true
# error larger; but two measures share dev's words, which makes their difference steadier. Two is a cautious middle.
NOISE_FACTOR = 2.0
FROZEN_GAP_RATIO, FROZEN_GAP_POINTS = (
    1.5,
    0.10,
)  # times and points above another's rate from which a head on frozen frames is far behind
EMPTY_OUTPUT_SHARE = 0.5  # of the utterances without a word from which a model counts as one that writes nothing
NO_LEARNING_RATE, NO_LEARNING_EPOCHS = (
    0.95,
    3,
)  # a new CTC head whose rate on dev has not been below, in so many epochs, learns nothing
MEMORISED_RATIO = 0.5  # of dev's rate: what was trained on is known by heart where its rate is below
DEV_NOISE_SHARE = 0.15  # of a rate: chance of this size hides what twice the data often brings
MIN_EPOCHS_FOR_TREND = 4  # epochs from which a stage's later half can be held against its earlier one
GROUP_RATIO, GROUP_SHARE, MIN_GROUP_WORDS = (
    2.0,
    0.10,
    50,
)  # above the rest's rate; of all errors; fewer words say nothing
MAX_PRETRAINED_SHARE = 0.8  # share of the untouched weights above which hardly an adapted model is left
ZERO_SHOT = "untouched"  # the candidate that nothing was done to


@dataclass(frozen=True)
class Advice:
    """What to do, and the evidence for it."""

    action: str
    evidence: str


def make_advice(report: Mapping[str, Any]) -> list[Advice]:
    """Every advice that the report gives evidence for, the gravest first."""
    run = _RunFigures(report)
    if failed := check_blank_collapse(run) or check_head_not_learning(run):
        return [failed]  # what else such a model's figures say is of no use
    return [found for rule in RULES if (found := rule(run))]


class _RunFigures:
    """A report as the rules read it: `dev_rates` are of the last stage's epochs, `trained` every candidate but one."""

    def __init__(self, report: Mapping[str, Any]) -> None:
        self.report, self.recipe = report, report["provenance"]["recipe"]
        self.is_new_ctc = (self.recipe["head"]["kind"], self.recipe["head"]["vocabulary"]) == ("ctc", "from-train")
        self.stages, self.last = report["stages"], len(report["stages"]) - 1
        self.dev_rates = [epoch["dev"] for epoch in self.stages[-1]["epochs"]]
        self.best = self.dev_rates.index(min(self.dev_rates)) + 1  # the first epoch is 1
        self.trained = {one["name"]: one["dev"] for one in report["candidates"]}
        self.untouched = self.trained.pop(ZERO_SHOT, None)
        self.dev = report.get("dev") or {}
        self.points = {point["share"]: point for point in report.get("learning_curve") or ()}

    def compute_sampling_error(self, rate: float) -> float:
        """By how much a rate on dev may differ by chance; infinite where nobody counted dev's words."""
        if not (words := self.dev.get("reference_words")):
            return math.inf
        rate = min(max(rate, 1 / words), 0.5)  # none at all, and more than all, are found by chance too
        return NOISE_FACTOR * math.sqrt(rate * (1 - rate) / words)

    @property
    def late_gain(self) -> float:
        """By how much the last stage's later half is better than its earlier one."""
        half = len(self.dev_rates) // 2
        return min(self.dev_rates[:half]) - min(self.dev_rates[half:])

    @property
    def decoder_rate_advice(self) -> str:
        """To slow Whisper's decoder down, where it learns as fast as its encoder: it knows texts by heart first."""
        stage = self.recipe["stages"][-1]
        encoder, decoder = (stage[f"{part}_lr"] or stage["lr"] for part in ("encoder", "decoder"))
        has_one = self.recipe["head"]["kind"] in ("seq2seq", "joint") and {"all", "head"} & set(stage["train"])
        return (
            f"a slower decoder (stages.{self.last}.decoder_lr={encoder / 10:g}), "
            if has_one and decoder >= encoder
            else ""
        )

    def train_and_dev_evidence(self, known: float, dev: float) -> str:
        """The evidence of a stage that stands still: the rate on what it was trained on, and that on dev."""
        late = len(self.dev_rates) - len(self.dev_rates) // 2
        told = f"{known:.1%} on utterances it trained on, {dev:.1%} on dev; its last {late} epochs gave "
        return told + f"{max(self.late_gain, 0.0):.1%}, and {self.compute_sampling_error(dev):.1%} may be chance"


def check_blank_collapse(run: _RunFigures) -> Advice | None:
    """A model that writes nothing: a CTC head that has collapsed to blanks, or a decoder that ends at once."""
    if not run.dev.get("utterances") or run.dev["empty"] < EMPTY_OUTPUT_SHARE * run.dev["utterances"]:
        return None
    what = "the trained model ends its answers at once: take a lower rate (stages.N.lr), and look at the texts"
    if run.recipe["head"]["kind"] == "ctc":
        what = "the CTC head has collapsed to blanks: train longer, unfreeze more, or keep Whisper's own decoder"
    return Advice(what, f"not a word for {run.dev['empty']:,} of dev's {run.dev['utterances']:,} utterances")


def check_head_not_learning(run: _RunFigures) -> Advice | None:
    """A new CTC head that writes, but as if it heard nothing."""
    if not run.is_new_ctc:
        return None
    devs = [epoch["dev"] for stage in run.stages for epoch in stage["epochs"]]
    what = diagnose_head_not_learning(run.stages[0]["train"], devs)
    return Advice(what, f"dev {min(devs):.1%} at best, in {len(devs)} epochs") if what else None


def diagnose_head_not_learning(train: Sequence[str], devs: Sequence[float]) -> str | None:
    """What to do where a new CTC head learns nothing, else None. It can be told while there are epochs yet to come.

    train: what the stage in which it began trains. devs: the rate on dev after every epoch so far.
    """
    if len(devs) < NO_LEARNING_EPOCHS or min(devs) < NO_LEARNING_RATE:
        return None
    if list(train) == ["head"]:
        return "the new head finds nothing in the frozen frames: unfreeze more, or start from an encoder nearer to it"
    return (
        "the encoder trains under a head that knows nothing yet, and has lost what it knew: train the head alone first "
        "(a stage with train: head, as in accent-ctc), or take a lower encoder_lr"
    )


def check_no_gain(run: _RunFigures) -> Advice | None:
    """Nothing beat the checkpoint as it came."""
    if run.report["kept"] != ZERO_SHOT or run.untouched is None:
        return None
    name, after = min(run.trained.items(), key=lambda one: one[1])
    rising = run.best < len(run.dev_rates)
    tries = [f"{'a lower rate' if rising else 'more epochs'} (stages.{run.last}.{'lr' if rising else 'epochs'})"]
    if run.is_new_ctc:
        tries.append("Whisper's decoder (head.kind=seq2seq) or a CTC checkpoint's own head (head.vocabulary=own)")
    told = f"dev {run.untouched:.1%} untouched, {after:.1%} {name}, best in epoch {run.best} of {len(run.dev_rates)}"
    return Advice(f"nothing beat the untouched model: try {', or '.join(tries)}", told)


def check_frozen_gap(run: _RunFigures) -> Advice | None:
    """A head alone on frozen frames is far behind: what the encoder learnt is far from this speech."""
    alone = max((number for number, stage in enumerate(run.stages) if stage["train"] == ["head"]), default=None)
    if alone is None:
        return None
    later = list(enumerate(run.stages))[alone + 1 :]
    others = {f"stage {number}": stage["dev"] for number, stage in later}
    others |= {} if run.untouched is None else {"the untouched model": run.untouched}
    name, best = min(others.items(), key=lambda one: one[1], default=("", math.inf))
    if (dev := run.stages[alone]["dev"]) < FROZEN_GAP_RATIO * best or dev - best < FROZEN_GAP_POINTS:
        return None
    whole = any({"all", "encoder"} & set(stage["train"]) for _, stage in later)
    what = "leave the epochs to the stages that unfreeze it" if whole else "unfreeze more ([head, top-2], then all)"
    what = f"the frozen encoder hears this speech badly: {what}, or start from an encoder nearer to it"
    return Advice(what, f"dev {dev:.1%} of the head alone (stage {alone}), {best:.1%} of {name}")


def check_overfitting(run: _RunFigures) -> Advice | None:
    """The last stage was best early, and dev has worsened since."""
    least, noise = min(run.dev_rates), run.compute_sampling_error(min(run.dev_rates))
    if len(run.dev_rates) < 3 or 2 * run.best > len(run.dev_rates) or run.dev_rates[-1] - least <= noise:
        return None
    what = f"the last stage overfits: more data, more augmentation (augment), or a lower rate (stages.{run.last}.lr)"
    told = f"dev {least:.1%} in epoch {run.best}, {run.dev_rates[-1]:.1%} in epoch {len(run.dev_rates)}"
    return Advice(what, f"{told}; {noise:.1%} may be chance")


def check_still_improving(run: _RunFigures) -> Advice | None:
    """The last stage was still getting better when it ended."""
    before, noise = (
        min(run.dev_rates[:-1], default=0.0),
        run.compute_sampling_error(min(run.dev_rates[:-1], default=0.0)),
    )
    if run.report["kept"] == ZERO_SHOT or before - run.dev_rates[-1] <= noise:
        return None
    what = f"train longer: stages.{run.last}.epochs={2 * run.recipe['stages'][-1]['epochs']:g}"
    return Advice(
        what, f"dev {run.dev_rates[-1]:.1%} in the last epoch, {before:.1%} before; {noise:.1%} may be chance"
    )


def check_memorised(run: _RunFigures) -> Advice | None:
    """What was trained on is known by heart, and dev stands still. A learning curve says this better."""
    known, dev = (run.report.get("seen") or {}).get("wer"), run.dev.get("wer")
    if (
        known is None
        or dev is None
        or len(run.dev_rates) < MIN_EPOCHS_FOR_TREND
        or run.points
        or check_overfitting(run)
    ):
        return None
    if (
        known > MEMORISED_RATIO * dev
        or dev - known <= run.compute_sampling_error(dev)
        or run.late_gain > run.compute_sampling_error(dev)
    ):
        return None
    what = "more data, of other speakers where there are any, or more augmentation (augment)"
    return Advice(run.decoder_rate_advice + what, run.train_and_dev_evidence(known, dev))


def check_capacity(run: _RunFigures) -> Advice | None:
    """Every layer was trained, and what was trained on is heard no better than dev: the encoder may be too small."""
    known, dev = (run.report.get("seen") or {}).get("wer"), run.dev.get("wer")
    whole = {"all", "encoder"} & set(run.stages[-1]["train"])
    if (
        known is None
        or dev is None
        or not whole
        or len(run.dev_rates) < MIN_EPOCHS_FOR_TREND
        or run.report["kept"] == ZERO_SHOT
    ):
        return None
    noise = run.compute_sampling_error(dev)
    if noise > DEV_NOISE_SHARE * dev or dev - known > noise or run.late_gain > noise or check_overfitting(run):
        return None
    what = "a larger encoder of the same family (encoder.name; whisper-base after whisper-tiny)"
    return Advice(what, run.train_and_dev_evidence(known, dev))


def check_learning_curve(run: _RunFigures) -> Advice | None:
    """What doubling the data brought."""
    if not {0.5, 1.0} <= run.points.keys() or not run.dev.get("reference_words"):
        return None
    half, whole = run.points[0.5], run.points[1.0]
    gain, noise = half["dev"] - whole["dev"], run.compute_sampling_error(half["dev"])
    what = "more data is the next step: doubling it helped"
    if gain < -noise:
        what = "half of the data did better: look for bad rows (speechxfer check --align), or train longer"
    elif gain <= noise:
        what = "more data of this kind is not the next step: doubling it brought no more than chance may"
        what = (
            what
            if noise < DEV_NOISE_SHARE * half["dev"]
            else "a larger dev part: this one cannot tell what more data brings"
        )
    told = (f"{point['dev']:.1%} from {point['hours']:.2g} h" for point in run.points.values())
    return Advice(what, f"dev {', '.join(told)}, one training each; {noise:.1%} may be chance")


def check_interpolation_edge(run: _RunFigures) -> Advice | None:
    """The best share of untouched weights is the highest that was offered."""
    offered = sorted(run.recipe["candidates"]["untouched"])
    if (
        not offered
        or offered[-1] >= MAX_PRETRAINED_SHARE
        or not run.report["kept"].endswith(f" {offered[-1]:.0%} untouched")
    ):
        return None
    named = [(n, d, f"{share:.0%}") for share in offered for n, d in run.trained.items()]
    found = [(dev, share) for name, dev, share in named if name.endswith(f" {share} untouched")]
    if len(found) > 1 and found[-1][0] >= found[-2][0]:
        return None  # it was taken among equals, and no more was better
    devs = (f"{dev:.1%} with {share}" for dev, share in found)
    more = ", ".join(f"{share:g}" for share in [*offered, round(offered[-1] + 0.1, 3), round(offered[-1] + 0.2, 3)])
    told = f"dev {', '.join(devs)}: the highest share offered was the best"
    return Advice(f"offer more of the untouched weights: candidates.pretrained_share=[{more}]", told)


def check_worst_group(run: _RunFigures) -> Advice | None:
    """One speaker or group is heard far worse than the rest: the one with most errors beyond the rest's rate."""
    found: list[tuple[float, Advice]] = []
    for column, values in run.report["after"].get("by", {}).items():
        tallies = [(value, p["reference_words"] - p["hits"] + p["insertions"], p) for value, p in values.items()]
        all_errors, all_words = sum(e for _, e, _ in tallies), sum(p["reference_words"] for *_, p in tallies)
        for value, errors, part in tallies:
            words, others = part["reference_words"], all_words - part["reference_words"]
            # no interval: too few speakers to speak for the group
            if min(words, others) < MIN_GROUP_WORDS or errors < GROUP_SHARE * all_errors or not part.get("interval"):
                continue
            rest = (all_errors - errors) / others
            if errors / words >= GROUP_RATIO * rest and part["interval"][0] > rest:
                what = f"collect speech like that of {column} {value}, which is heard far worse than the rest"
                told = f"test: {errors / words:.1%} of {words:,} words, {rest:.1%} of the others' {others:,}"
                found.append((errors - rest * words, Advice(what, told)))
    return max(found, key=lambda one: one[0])[1] if found else None


def check_dev_size(run: _RunFigures) -> Advice | None:
    """The dev part's interval is wider than the differences that it was asked to decide."""
    if not run.dev.get("utterances"):
        return None
    what = "a larger dev part (data.dev), of more speakers: this one cannot tell the trained model from the untouched"
    size = f"dev's {run.dev['reference_words']:,} words in {run.dev['utterances']:,} utterances"
    low, high = (run.dev.get("against_untouched") or {}).get("interval") or (1.0, 1.0)
    if low <= 0 <= high:
        return Advice(what, f"{100 * low:+.1f} to {100 * high:+.1f} points (95 %) between the two on {size}")
    spread = max(run.trained.values(), default=0.0) - min(run.trained.values(), default=0.0)
    low, high = run.dev.get("interval") or (0.0, 0.0)
    if not 0 < spread < high - low:
        return None
    told = f"{len(run.trained)} lie within {100 * spread:.1f} points; 95 % over {size}: {100 * (high - low):.1f} wide"
    return Advice("a larger dev part (data.dev), of more speakers, would choose among the candidates more surely", told)


RULES: tuple[Callable[[_RunFigures], Advice | None], ...] = (
    check_no_gain, check_frozen_gap, check_overfitting, check_still_improving, check_memorised,
    check_capacity, check_learning_curve, check_interpolation_edge, check_worst_group, check_dev_size,
)  # fmt: skip
