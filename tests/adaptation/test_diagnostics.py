"""Advice on numbers made by hand: each rule speaks where they say so, names them, and is silent otherwise."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from speechxfer.adaptation import diagnostics
from speechxfer.adaptation.diagnostics import diagnose_head_not_learning
from speechxfer.report.run_report import AdviceEntry, RunReport

# what a report always has, and no rule reads
OTHERS = {"before": None, "metric": "WER", "normaliser": "default", "splits": {}, "speed": {}}


def make_advice(found: dict[str, Any]) -> list[AdviceEntry]:
    return diagnostics.make_advice(RunReport.model_validate(OTHERS | found))


def score(wer: float, words: int, **others: Any) -> dict[str, Any]:
    errors = round(wer * words)
    counts = {"substitutions": errors, "deletions": 0, "insertions": 0, "hits": words - errors}
    return {"wer": wer, **counts, "reference_words": words, "utterances": words // 5, **others}


def report(**changes: Any) -> dict[str, Any]:
    """A run about which there is nothing to say: 10,000 dev words tell 0.8 points apart at 20 %."""
    stage = {"train": ["all"], "epochs": 8, "lr": 1e-4, "encoder_lr": None, "decoder_lr": 1e-5}
    recipe = {"stages": [stage], "head": {"kind": "seq2seq", "vocabulary": "from-train"}}
    found = {
        "selected": "stage 0",
        "candidates": [{"name": "zero-shot", "dev": 0.4}, {"name": "stage 0", "dev": 0.2}],
        "stages": stages(["all"], [0.3, 0.25, 0.21, 0.204, 0.202, 0.2, 0.201, 0.202]),
        "dev": score(0.2, 10_000, empty=0, interval=[0.17, 0.23], against_zero_shot={"interval": [-0.23, -0.17]}),
        "train_probe": score(0.15, 1_000),
        "after": score(0.2, 1_000, by={"accent": {"north": score(0.18, 500), "south": score(0.22, 500)}}),
        "provenance": {"recipe": recipe | {"candidates": {"pretrained_share": [0.1, 0.2, 0.3]}}},
    }
    return found | changes


def stages(train: list[str], devs: list[float]) -> list[dict[str, Any]]:
    epochs = [{"epoch": float(number + 1), "dev": dev} for number, dev in enumerate(devs)]
    return [{"train": train, "epochs": epochs, "dev": min(devs)}]


def the_only(found: dict[str, Any]) -> tuple[str, str]:
    (advice,) = make_advice(found)
    return advice.action, advice.evidence


def test_nothing_to_say():
    assert make_advice(report()) == []


def test_a_metric_other_than_the_scores_rate_is_not_compared_with_it():
    """A dev CER next to a WER of train and dev: what needs both is left out, what needs one is not."""
    found = report(stages=stages(["all"], [0.3, 0.25, 0.21, 0.204, 0.2, 0.2, 0.2, 0.2]), train_probe=score(0.01, 1_000))
    assert the_only(found)[0].startswith("a slower decoder") or "more data" in the_only(found)[0]
    by_cer = {"metric": "CER", "test_metric": {"after": 0.1}}
    found["provenance"]["recipe"]["scoring"] = {"unit": "word"}
    assert make_advice(found | by_cer) == []
    found["provenance"]["recipe"]["scoring"] = {"unit": "char"}  # of characters, the CER is the scores' own rate
    assert len(make_advice(found | by_cer)) == 1


def test_numbers_that_were_not_kept_say_nothing():
    bare = report()
    for name in ("dev", "train_probe"):
        del bare[name]
    bare["after"].pop("by")
    assert make_advice(bare) == []
    # every difference might be noise
    assert make_advice(bare | {"stages": stages(["all"], [0.9, 0.1])}) == []
    assert make_advice(bare | {"stages": stages(["all"], [0.1, 0.5, 0.9])}) == []


def test_a_model_that_writes_nothing():
    silent = report(dev=score(0.99, 1_000, empty=180) | {"utterances": 200})
    what, evidence = the_only(silent)
    assert "ends its output at once" in what and "180 of 200 dev" in evidence
    silent["provenance"]["recipe"]["head"]["kind"] = "ctc"
    assert "collapsed to blanks" in the_only(silent)[0]
    silent["dev"]["empty"] = 99
    assert not any("collapsed" in advice.action for advice in make_advice(silent))


@pytest.mark.parametrize(
    "train, words", [(["head", "encoder"], "train the head alone first"), (["head"], "nothing from the frozen frames")]
)
def test_a_new_ctc_head_that_learns_nothing(train, words):
    stuck = report(stages=stages(train, [1.0, 0.977, 0.995, 0.956]), dev=score(0.956, 1_000, empty=3))
    stuck["provenance"]["recipe"]["head"]["kind"] = "ctc"
    what, evidence = the_only(stuck)
    assert words in what and evidence == "best dev 95.6% in 4 epochs"
    # it can be told before the stage has ended, and not too early; a head that has begun to learn is left alone
    assert diagnose_head_not_learning(train, [1.0, 0.977]) is None
    assert words in (diagnose_head_not_learning(train, [1.0, 0.977, 0.995]) or "")
    assert diagnose_head_not_learning(train, [1.0, 0.977, 0.949]) is None
    # a later stage that learnt; a checkpoint's own head; a decoder
    learnt = deepcopy(stuck) | {"stages": stuck["stages"] + stages(["all"], [0.6, 0.5])}
    own, decoder = deepcopy(stuck), deepcopy(stuck)
    own["provenance"]["recipe"]["head"]["vocabulary"] = "own"
    decoder["provenance"]["recipe"]["head"]["kind"] = "seq2seq"
    for other in (learnt, own, decoder):
        assert not any(words in advice.action for advice in make_advice(other))


def test_a_head_alone_far_behind():
    alone = stages(["head"], [0.8, 0.8])
    behind = report(stages=alone, selected="stage 0")
    what, evidence = the_only(behind)
    assert "unfreeze more" in what and "80.0%" in evidence and "40.0% with the zero-shot model" in evidence
    rescued = report(stages=alone + stages(["all"], [0.25, 0.2, 0.2]))
    what, evidence = the_only(rescued)
    assert "spend the epochs on the stages" in what and "20.0% with stage 1" in evidence
    # nothing to compare with; not far behind; a decoder that trains with the encoder
    nothing = [{"name": "stage 0", "dev": 0.8}]
    assert make_advice(report(stages=alone, candidates=nothing, dev=score(0.8, 10_000, empty=0))) == []
    assert make_advice(report(stages=stages(["head"], [0.5, 0.5]))) == []
    assert make_advice(report(stages=stages(["head", "top-2"], [0.8, 0.8]))) == []


def test_the_last_epoch_was_the_best():
    improving = report(stages=stages(["all"], [0.3, 0.25, 0.2]))
    what, evidence = the_only(improving)
    assert "stages.0.epochs=16" in what and "20.0% in the last epoch, 25.0% before" in evidence
    assert make_advice(report(stages=stages(["all"], [0.3, 0.205, 0.2]))) == []  # by noise
    few_words = deepcopy(improving)
    few_words["dev"] |= score(0.2, 100)
    assert make_advice(few_words) == []
    assert make_advice(report(stages=stages(["all"], [0.2]))) == []


def test_overfitting():
    what, evidence = the_only(report(stages=stages(["all"], [0.25, 0.2, 0.22, 0.23, 0.24])))
    assert "overfits" in what and "stages.0.lr" in what
    assert "20.0% in epoch 2" in evidence and "24.0% in epoch 5" in evidence
    assert make_advice(report(stages=stages(["all"], [0.25, 0.2, 0.202, 0.203, 0.204]))) == []  # by noise
    assert make_advice(report(stages=stages(["all"], [0.25, 0.22, 0.21, 0.2, 0.24]))) == []  # best late
    tail = report(stages=stages(["all"], [0.25, 0.2, 0.24, 0.21, 0.203]))  # the rate fell, and all is well
    assert make_advice(tail) == []


def test_known_by_heart():
    still = {"stages": stages(["all"], [0.3, 0.2, 0.2, 0.199]), "train_probe": score(0.02, 1_000)}
    what, evidence = the_only(report(**still))
    assert what.startswith("more data") and "2.0% on training utterances" in evidence and "20.0%" in evidence
    assert make_advice(report(**still | {"train_probe": score(0.12, 1_000)})) == []
    assert make_advice(report(**still | {"train_probe": {"wer": None}})) == []
    improving = stages(["all"], [0.3, 0.25, 0.205, 0.2])
    assert make_advice(report(**still | {"stages": improving})) == []
    # a learning curve knows better
    curve = [{"share": share, "hours": share, "utterances": 9, "dev": 0.2} for share in (0.25, 0.5, 1.0)]
    (advice,) = make_advice(report(**still, learning_curve=curve))
    assert "not the next step" in advice.action


@pytest.mark.parametrize(
    ("stage", "advised"),
    [
        ({"decoder_lr": None}, "a slower decoder (stages.0.decoder_lr=1e-05), more data"),
        ({"decoder_lr": 1e-4, "encoder_lr": 5e-5}, "a slower decoder (stages.0.decoder_lr=5e-06), more data"),
        ({"decoder_lr": 1e-4, "encoder_lr": 1e-3}, "more data"),
        ({"decoder_lr": None, "train": ["encoder"]}, "more data"),  # it is frozen
    ],
)
def test_a_decoder_as_fast_as_its_encoder_is_slowed_first(stage, advised):
    """Where what was trained on is known by heart; a CTC head alone has no decoder."""
    heart = report(train_probe=score(0.02, 1_000))
    heart["provenance"]["recipe"]["stages"][0] |= stage
    assert the_only(heart)[0].startswith(advised)
    heart["provenance"]["recipe"]["head"] = {"kind": "ctc", "vocabulary": "own"}
    assert the_only(heart)[0].startswith("more data")


def test_too_small_an_encoder():
    """Every layer trained, to the end, and what was trained on is heard no better than dev."""
    what, why = the_only(report(train_probe=score(0.195, 1_000)))
    assert what.startswith("a larger encoder") and why == (
        "19.5% on training utterances, 20.0% on dev; the last 4 epochs improved dev by 0.4%; "
        "differences up to 0.8% may be noise"
    )
    for train, devs in ((["head"], [0.2, 0.2, 0.2, 0.2]), (["all"], [0.4, 0.3, 0.25, 0.2])):
        found = make_advice(report(train_probe=score(0.195, 1_000), stages=stages(train, devs)))
        assert not any("larger encoder" in advice.action for advice in found)


@pytest.mark.parametrize(
    ("half", "words"),
    [(0.25, "doubling it helped"), (0.203, "not the next step"), (0.17, "half of the data was better")],
)
def test_the_learning_curve(half, words):
    hours = {0.25: (0.4, 0.3), 0.5: (0.8, half), 1.0: (1.6, 0.2)}
    curve = [{"share": s, "hours": h, "utterances": 9, "dev": dev} for s, (h, dev) in hours.items()]
    what, evidence = the_only(report(learning_curve=curve))
    assert words in what
    assert f"30.0% from 0.4 h, {half:.1%} from 0.8 h, 20.0% from 1.6 h" in evidence
    few_words = report(learning_curve=curve, dev=score(0.2, 100, empty=0))
    assert "a larger dev split" in the_only(few_words)[0]  # whatever the figures


def test_the_highest_share_of_untouched_weights():
    names = [f"stage 0, {share}0% pretrained" for share in (1, 2, 3)]
    devs = dict(zip(names, (0.19, 0.18, 0.15), strict=True))
    mixed = [*report()["candidates"], *({"name": name, "dev": dev} for name, dev in devs.items())]
    wide = score(0.2, 10_000, empty=0, interval=[0.18, 0.22])  # narrower than the candidates lie apart
    what, evidence = the_only(report(candidates=mixed, selected=names[2], dev=wide))
    assert "candidates.pretrained_share=[0.1, 0.2, 0.3, 0.4, 0.5]" in what and "15.0% with 30%" in evidence
    assert make_advice(report(candidates=mixed, selected=names[1], dev=wide)) == []
    enough = report(candidates=mixed, selected="stage 0, 90% pretrained", dev=wide)
    enough["provenance"]["recipe"]["candidates"]["zero-shot"] = [0.5, 0.9]
    assert make_advice(enough) == []


def test_one_group_far_above_the_rest():
    groups = {"north": score(0.1, 800), "south": score(0.5, 200, interval=[0.4, 0.6])}
    after = score(0.18, 1_000, by={"gender": {"f": score(0.17, 500), "m": score(0.19, 500)}, "accent": groups})
    what, evidence = the_only(report(after=after))
    assert "accent south" in what and "50.0% of 200 words" in evidence and "10.0% of the others' 800" in evidence
    for harmless in (
        score(0.5, 200),  # no interval: too few speakers
        score(0.5, 200, interval=[0.05, 0.95]),
        score(0.15, 200, interval=[0.14, 0.16]),  # not far above
        score(0.5, 10, interval=[0.4, 0.6]),  # a few words
    ):
        assert make_advice(report(after=after | {"by": {"accent": groups | {"south": harmless}}})) == []


def test_the_zero_shot_model_was_selected():
    devs = [0.5, 0.48, 0.45]
    candidates = [{"name": "zero-shot", "dev": 0.4}, {"name": "stage 0", "dev": 0.45}]
    apart = score(0.45, 10_000, empty=0, against_zero_shot={"interval": [0.03, 0.07]})
    rejected_run = report(stages=stages(["all"], devs), candidates=candidates, selected="zero-shot", dev=apart)
    what, evidence = the_only(rejected_run)
    assert "more epochs (stages.0.epochs)" in what and "decoder" not in what and "lower rate" not in what
    assert "40.0% zero-shot, 45.0% stage 0" in evidence
    rejected_run["stages"] = stages(["all"], [0.46, 0.45, 0.453])
    rejected_run["provenance"]["recipe"]["head"]["kind"] = "ctc"
    what, _ = the_only(rejected_run)
    assert "a lower learning rate (stages.0.lr)" in what and "head.kind=seq2seq" in what and "more epochs" not in what


def test_a_dev_part_that_cannot_decide():
    unsure = score(0.2, 1_000, empty=0, against_zero_shot={"interval": [-0.03, 0.01]})
    close = [{"name": "zero-shot", "dev": 0.21}, {"name": "stage 0", "dev": 0.2}]
    what, evidence = the_only(report(dev=unsure, candidates=close))
    assert "does not separate it from zero-shot" in what
    assert "-3.0 to +1.0 points" in evidence and "1,000 dev words in 200 utterances" in evidence
    near = [*report()["candidates"], {"name": "stage 0, mean of its last 2 epochs", "dev": 0.21}]
    what, evidence = the_only(report(candidates=near))
    assert "would separate the candidates better" in what and "1.0 points" in evidence and "6.0 points wide" in evidence
    # two dev speakers give a wide interval, but the error rate has fallen far: nothing is said against it
    assert make_advice(report(dev=unsure)) == []
    far = [*report()["candidates"], {"name": "stage 0, mean of its last 2 epochs", "dev": 0.3}]
    assert make_advice(report(candidates=far)) == []


def test_a_run_says_what_it_found(rejected_run, improved_run):
    run, _ = rejected_run
    assert run.report.to_json()["advice"] == [vars(advice) for advice in diagnostics.make_advice(run.report)]
    assert (
        "no candidate was better than zero-shot" in run.report.to_json()["advice"][0]["action"]
        or run.report.to_json()["dev"]["empty"]
    )
    page = (run.run_dir.path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Advice</h2>" in page and run.report.to_json()["advice"][0]["evidence"].split("'")[0] in page
    for one in (run, improved_run):
        written = json.loads((one.run_dir.path / "report.json").read_text())
        assert {"dev", "train_probe"} <= set(written)
        assert written["dev"]["utterances"] == 3 and written["train_probe"]["utterances"] == 9
    # the weights that were chosen, once more
    assert improved_run.report.to_json()["dev"]["wer"] == improved_run.report.to_json()["stages"][0]["dev"]
    change = improved_run.report.to_json()["dev"]["against_zero_shot"]["difference"]
    assert change == pytest.approx(
        improved_run.report.to_json()["dev"]["wer"] - improved_run.report.to_json()["candidates"][0]["dev"]
    )
