"""Advice at the end of a run: rules over the figures of its report. A rule without its figures gives no advice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from speechxfer.report.run_report import ZERO_SHOT, AdviceEntry, RunReport
from speechxfer.report.run_summary import name_rate
from speechxfer.scoring.units import convert_error_rate

# Standard errors of a dev error rate, its words taken as independent. Words of one speaker are correlated, which makes
# the true error larger; two rates on the same dev words are correlated, which makes their difference smaller.
NOISE_FACTOR = 2.0
FROZEN_GAP_RATIO = 1.5  # a head on frozen frames is far behind from this ratio to the best other error rate,
FROZEN_GAP_POINTS = 0.10  # and this difference from it
EMPTY_OUTPUT_SHARE = 0.5  # share of dev utterances with an empty prediction: from here on the output has collapsed
NO_LEARNING_RATE = 0.95  # a new CTC head whose dev error rate stays above this
NO_LEARNING_EPOCHS = 3  # for this number of epochs does not learn
MEMORISED_RATIO = 0.5  # train over dev error rate below which the training data is memorised
DEV_NOISE_SHARE = 0.15  # relative noise of a dev error rate above which it hides what twice the data often gains
MIN_EPOCHS_FOR_TREND = 4  # epochs from which the second half of a stage is compared with its first
GROUP_RATIO = 2.0  # error rate of a group over that of all others,
GROUP_SHARE = 0.10  # its share of all errors,
MIN_GROUP_WORDS = 50  # and its reference words, from which it is reported
MAX_PRETRAINED_SHARE = 0.8  # interpolation share above which hardly an adapted model is left


def make_advice(report: RunReport) -> list[AdviceEntry]:
    """Return all advice that the report gives evidence for, the most serious first."""
    run = _RunFigures(report)
    if failed := check_blank_collapse(run) or check_head_not_learning(run):
        return [failed]  # the other figures of such a model mean nothing
    rules = RULES if run.is_own_rate else RULES_OF_ANY_METRIC
    return [advice for rule in rules if (advice := rule(run))]


class _RunFigures:
    """A report as the rules read it.

    Attributes:
        dev_rates: dev error rate after each epoch of the last stage.
        best: number of the best of these epochs, from 1.
        trained: dev error rate by candidate, without the zero-shot model.
        zero_shot: dev error rate of the zero-shot model, if it was evaluated.
        noun: what error rates count.
        is_own_rate: models were selected by the error rate of the scores, so that both can be compared.
    """

    def __init__(self, report: RunReport) -> None:
        self.report, self.recipe = report, report.provenance["recipe"]
        self.is_new_ctc = (self.recipe["head"]["kind"], self.recipe["head"]["vocabulary"]) == ("ctc", "from-train")
        self.stages, self.last = report.stages, len(report.stages) - 1
        self.dev_rates = [epoch["dev"] for epoch in self.stages[-1]["epochs"]]
        self.best = self.dev_rates.index(min(self.dev_rates)) + 1
        self.trained = {one.name: one.dev for one in report.candidates}
        self.zero_shot = self.trained.pop(ZERO_SHOT, None)
        self.dev, self.train_rate = report.dev, report.train_probe.get("wer")
        self.noun = "label" if self.recipe["head"]["kind"] == "classify" else "word"
        self.is_own_rate = report.test_metric is None or report.metric == name_rate(report)
        self.points = {point["share"]: point for point in report.learning_curve or ()}

    def compute_sampling_error(self, rate: float) -> float:
        """Return the difference from `rate` on dev that may be due to chance; infinite if dev's size is unknown."""
        if not (words := self.dev.get("reference_words")):
            return math.inf
        rate = min(max(rate, 1 / words), 0.5)  # 0 % and over 100 % have a sampling error too
        return NOISE_FACTOR * math.sqrt(rate * (1 - rate) / words)

    def show(self, rate: float) -> str:
        """Format an error rate as the report's metric."""
        return f"{convert_error_rate(rate, self.report.metric):.1%}"

    @property
    def late_gain(self) -> float:
        """Improvement of the last stage's second half over its first."""
        half = len(self.dev_rates) // 2
        return min(self.dev_rates[:half]) - min(self.dev_rates[half:])

    @property
    def decoder_rate_advice(self) -> str:
        """Suggest a lower decoder rate if Whisper's decoder learns as fast as the encoder: it memorises texts first."""
        stage = self.recipe["stages"][-1]
        encoder, decoder = (stage[f"{part}_lr"] or stage["lr"] for part in ("encoder", "decoder"))
        has_decoder = self.recipe["head"]["kind"] in ("seq2seq", "joint") and {"all", "head"} & set(stage["train"])
        if not has_decoder or decoder < encoder:
            return ""
        return f"a slower decoder (stages.{self.last}.decoder_lr={encoder / 10:g}), "

    def train_and_dev_evidence(self, train: float, dev: float) -> str:
        """Describe a stage that no longer improves: train and dev error rates, and the gain of the last epochs."""
        late = len(self.dev_rates) - len(self.dev_rates) // 2
        gain, noise = max(self.late_gain, 0.0), self.compute_sampling_error(dev)
        rates = f"{self.show(train)} on training utterances, {self.show(dev)} on dev"
        return f"{rates}; the last {late} epochs improved dev by {gain:.1%}; differences up to {noise:.1%} may be noise"


def check_blank_collapse(run: _RunFigures) -> AdviceEntry | None:
    """Check for empty predictions: a CTC head that outputs only blanks, or a decoder that ends at once."""
    if not run.dev.get("utterances") or run.dev["empty"] < EMPTY_OUTPUT_SHARE * run.dev["utterances"]:
        return None
    action = "the decoder ends its output at once: use a lower learning rate (stages.N.lr), and check the transcripts"
    if run.recipe["head"]["kind"] == "ctc":
        action = "the CTC head has collapsed to blanks: train longer, unfreeze more layers, or use Whisper's decoder"
    evidence = f"empty prediction for {run.dev['empty']:,} of {run.dev['utterances']:,} dev utterances"
    return AdviceEntry(action=action, evidence=evidence)


def check_head_not_learning(run: _RunFigures) -> AdviceEntry | None:
    """Check for a new CTC head whose predictions are not empty, but no better than chance."""
    if not run.is_new_ctc:
        return None
    dev_rates = [epoch["dev"] for stage in run.stages for epoch in stage["epochs"]]
    action = diagnose_head_not_learning(run.stages[0]["train"], dev_rates)
    evidence = f"best dev {run.show(min(dev_rates))} in {len(dev_rates)} epochs"
    return AdviceEntry(action=action, evidence=evidence) if action else None


def diagnose_head_not_learning(train: Sequence[str], dev_rates: Sequence[float]) -> str | None:
    """Return what to do about a new CTC head that does not learn, or `None`. Can be called during training.

    Args:
        train: the parts trained in the stage in which the head is new.
        dev_rates: dev error rate after each epoch so far.
    """
    if len(dev_rates) < NO_LEARNING_EPOCHS or min(dev_rates) < NO_LEARNING_RATE:
        return None
    if list(train) == ["head"]:
        return "the new head learns nothing from the frozen frames: unfreeze more layers, or use a closer encoder"
    return (
        "the encoder was trained under an untrained head and lost what it had learnt: train the head alone first "
        "(a stage with train: head, as in accent-ctc), or use a lower encoder_lr"
    )


def check_no_gain(run: _RunFigures) -> AdviceEntry | None:
    """Check whether no trained candidate was better than the zero-shot model."""
    if run.report.selected != ZERO_SHOT or run.zero_shot is None:
        return None
    name, after = min(run.trained.items(), key=lambda one: one[1])
    is_rising = run.best < len(run.dev_rates)
    change, key = ("a lower learning rate", "lr") if is_rising else ("more epochs", "epochs")
    tries = [f"{change} (stages.{run.last}.{key})"]
    if run.is_new_ctc:
        tries.append("Whisper's decoder (head.kind=seq2seq) or a CTC checkpoint's own head (head.vocabulary=own)")
    evidence = (
        f"dev {run.show(run.zero_shot)} zero-shot, {run.show(after)} {name}, "
        f"best in epoch {run.best} of {len(run.dev_rates)}"
    )
    return AdviceEntry(action=f"no candidate was better than zero-shot: try {', or '.join(tries)}", evidence=evidence)


def check_frozen_gap(run: _RunFigures) -> AdviceEntry | None:
    """Check whether a head on frozen frames is far behind: the pretraining is far from this speech."""
    alone = max((number for number, stage in enumerate(run.stages) if stage["train"] == ["head"]), default=None)
    if alone is None:
        return None
    later = list(enumerate(run.stages))[alone + 1 :]
    others = {f"stage {number}": stage["dev"] for number, stage in later}
    others |= {} if run.zero_shot is None else {"the zero-shot model": run.zero_shot}
    name, best = min(others.items(), key=lambda one: one[1], default=("", math.inf))
    if (dev := run.stages[alone]["dev"]) < FROZEN_GAP_RATIO * best or dev - best < FROZEN_GAP_POINTS:
        return None
    unfrozen = any({"all", "encoder"} & set(stage["train"]) for _, stage in later)
    change = (
        "spend the epochs on the stages that unfreeze it" if unfrozen else "unfreeze more ([head, top-2], then all)"
    )
    return AdviceEntry(
        action=f"the frozen encoder fits this speech badly: {change}, or use a closer encoder",
        evidence=f"dev {run.show(dev)} with the head alone (stage {alone}), {run.show(best)} with {name}",
    )


def check_overfitting(run: _RunFigures) -> AdviceEntry | None:
    """Check whether the last stage was best early and dev has become worse since."""
    least, noise = min(run.dev_rates), run.compute_sampling_error(min(run.dev_rates))
    if len(run.dev_rates) < 3 or 2 * run.best > len(run.dev_rates) or run.dev_rates[-1] - least <= noise:
        return None
    rates = f"dev {run.show(least)} in epoch {run.best}, {run.show(run.dev_rates[-1])} in epoch {len(run.dev_rates)}"
    return AdviceEntry(
        action=f"the last stage overfits: more data, more augmentation (augment), or a lower stages.{run.last}.lr",
        evidence=f"{rates}; differences up to {noise:.1%} may be noise",
    )


def check_still_improving(run: _RunFigures) -> AdviceEntry | None:
    """Check whether the last stage was still improving when it ended."""
    before = min(run.dev_rates[:-1], default=0.0)
    noise = run.compute_sampling_error(before)
    if run.report.selected == ZERO_SHOT or before - run.dev_rates[-1] <= noise:
        return None
    return AdviceEntry(
        action=f"train longer: stages.{run.last}.epochs={2 * run.recipe['stages'][-1]['epochs']:g}",
        evidence=f"dev {run.show(run.dev_rates[-1])} in the last epoch, {run.show(before)} before; "
        f"up to {noise:.1%} may be noise",
    )


def check_memorised(run: _RunFigures) -> AdviceEntry | None:
    """Check whether the training data is memorised and dev no longer improves. A learning curve tells more."""
    train, dev = run.train_rate, run.dev.get("wer")
    if train is None or dev is None or len(run.dev_rates) < MIN_EPOCHS_FOR_TREND:
        return None
    if run.points or check_overfitting(run):
        return None
    noise = run.compute_sampling_error(dev)
    if train > MEMORISED_RATIO * dev or dev - train <= noise or run.late_gain > noise:
        return None
    action = "more data, from other speakers where possible, or more augmentation (augment)"
    return AdviceEntry(action=run.decoder_rate_advice + action, evidence=run.train_and_dev_evidence(train, dev))


def check_capacity(run: _RunFigures) -> AdviceEntry | None:
    """Check whether the encoder may be too small: all layers trained, and training data no better than dev."""
    train, dev = run.train_rate, run.dev.get("wer")
    if train is None or dev is None or not {"all", "encoder"} & set(run.stages[-1]["train"]):
        return None
    if len(run.dev_rates) < MIN_EPOCHS_FOR_TREND or run.report.selected == ZERO_SHOT:
        return None
    noise = run.compute_sampling_error(dev)
    if noise > DEV_NOISE_SHARE * dev or dev - train > noise or run.late_gain > noise or check_overfitting(run):
        return None
    action = "a larger encoder of the same family (encoder.name; e.g. whisper-base after whisper-tiny)"
    return AdviceEntry(action=action, evidence=run.train_and_dev_evidence(train, dev))


def check_learning_curve(run: _RunFigures) -> AdviceEntry | None:
    """Report what doubling the data gained."""
    if not {0.5, 1.0} <= run.points.keys() or not run.dev.get("reference_words"):
        return None
    half, whole = run.points[0.5], run.points[1.0]
    gain, noise = half["dev"] - whole["dev"], run.compute_sampling_error(half["dev"])
    action = "collect more data: doubling it helped"
    if gain < -noise:
        action = "half of the data was better: look for bad rows (speechxfer check --transcripts), or train longer"
    elif gain <= noise and noise < DEV_NOISE_SHARE * half["dev"]:
        action = "more data of this kind is not the next step: the gain from doubling it is within noise"
    elif gain <= noise:
        action = "a larger dev split: this one is too small to measure the gain from more data"
    points = (f"{run.show(point['dev'])} from {point['hours']:.2g} h" for point in run.points.values())
    evidence = f"dev {', '.join(points)}, one training each; differences up to {noise:.1%} may be noise"
    return AdviceEntry(action=action, evidence=evidence)


def check_interpolation_edge(run: _RunFigures) -> AdviceEntry | None:
    """Check whether the best share of pretrained weights is the largest that was tried."""
    shares = sorted(run.recipe["candidates"]["pretrained_share"])
    if not shares or shares[-1] >= MAX_PRETRAINED_SHARE:
        return None
    endings = [f" {share:.0%} pretrained" for share in shares]
    if not run.report.selected.endswith(endings[-1]):
        return None
    rates = [(dev, ending) for ending in endings for name, dev in run.trained.items() if name.endswith(ending)]
    if len(rates) > 1 and rates[-1][0] >= rates[-2][0]:
        return None  # selected among equals: a larger share was not better
    larger = ", ".join(f"{share:g}" for share in [*shares, round(shares[-1] + 0.1, 3), round(shares[-1] + 0.2, 3)])
    return AdviceEntry(
        action=f"try larger shares of pretrained weights: candidates.pretrained_share=[{larger}]",
        evidence=f"dev {', '.join(f'{dev:.1%} with{ending}' for dev, ending in rates)}: the largest share was the best",
    )


def check_worst_group(run: _RunFigures) -> AdviceEntry | None:
    """Find the speaker or group with the most errors beyond the error rate of all others, if it is far worse."""
    found: list[tuple[float, AdviceEntry]] = []
    for column, values in run.report.after.get("by", {}).items():
        tallies = [(value, p["reference_words"] - p["hits"] + p["insertions"], p) for value, p in values.items()]
        all_errors, all_words = sum(e for _, e, _ in tallies), sum(p["reference_words"] for *_, p in tallies)
        for value, errors, group in tallies:
            words, others = group["reference_words"], all_words - group["reference_words"]
            # without an interval the group has too few speakers for a conclusion
            if min(words, others) < MIN_GROUP_WORDS or errors < GROUP_SHARE * all_errors or not group.get("interval"):
                continue
            rest = (all_errors - errors) / others
            if errors / words >= GROUP_RATIO * rest and group["interval"][0] > rest:
                action = f"collect speech like that of {column} {value}, whose error rate is far above the others'"
                evidence = f"test: {errors / words:.1%} of {words:,} {run.noun}s, {rest:.1%} of the others' {others:,}"
                found.append((errors - rest * words, AdviceEntry(action=action, evidence=evidence)))
    return max(found, key=lambda one: one[0])[1] if found else None


def check_dev_size(run: _RunFigures) -> AdviceEntry | None:
    """Check whether dev's confidence interval is wider than the differences that it decides."""
    if not run.dev.get("utterances"):
        return None
    size = f"{run.dev['reference_words']:,} dev {run.noun}s in {run.dev['utterances']:,} utterances"
    low, high = (run.dev.get("against_zero_shot") or {}).get("interval") or (1.0, 1.0)
    # an interval over very few speakers includes 0 even where the error rate has fallen far beyond sampling error
    gain = (run.zero_shot or 0.0) - run.dev.get("wer", math.inf)
    if low <= 0 <= high and gain <= run.compute_sampling_error(run.zero_shot or 0.0):
        action = "a larger dev split (data.dev), of more speakers: this one does not separate it from zero-shot"
        evidence = f"{100 * low:+.1f} to {100 * high:+.1f} points (95 %) between the two on {size}"
        return AdviceEntry(action=action, evidence=evidence)
    spread = max(run.trained.values(), default=0.0) - min(run.trained.values(), default=0.0)
    low, high = run.dev.get("interval") or (0.0, 0.0)
    if not 0 < spread < high - low:
        return None
    interval = f"the 95 % interval over {size} is {100 * (high - low):.1f} points wide"
    return AdviceEntry(
        action="a larger dev split (data.dev), of more speakers, would separate the candidates better",
        evidence=f"{len(run.trained)} candidates are within {100 * spread:.1f} points; {interval}",
    )


RULES: tuple[Callable[[_RunFigures], AdviceEntry | None], ...] = (
    check_no_gain, check_frozen_gap, check_overfitting, check_still_improving, check_memorised,
    check_capacity, check_learning_curve, check_interpolation_edge, check_worst_group, check_dev_size,
)  # fmt: skip
# without those that compare the dev error rates with a WER or with its sampling error
RULES_OF_ANY_METRIC = (check_no_gain, check_frozen_gap, check_interpolation_edge, check_worst_group)
