"""Means of epochs and mixtures with the untouched weights are measured on dev, and the best of all is kept."""

from __future__ import annotations

import json

import jiwer
import pytest
import torch
from safetensors.torch import load_file

from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.selection import rescoring_tuning
from speechxfer.decoding.rescoring import DecoderHypothesis, RescoringWeights
from speechxfer.models import load
from speechxfer.text.normalise import get_normaliser

EPOCHS = ("stages.0.epochs=3", "candidates={means: [2, 3, 5], pretrained_share: [0.25]}")


def weights(path) -> dict[str, torch.Tensor]:
    return load_file(path / "model.safetensors")


def test_a_mean_of_epochs_is_kept(tiny_recipe, quiet, set_dev_errors):
    """Three epochs, so no mean of five; the mean of the last three is the best, and no mixture as good."""
    set_dev_errors(0.9, 0.5, 0.4, 0.4, 0.35, 0.3, 0.31)
    run = adapt(tiny_recipe(*EPOCHS), reporter=quiet)
    assert run.report.to_json()["selected"] == "stage 0, mean of its last 3 epochs"
    assert [candidate["dev"] for candidate in run.report.to_json()["candidates"]] == [0.9, 0.3, 0.4, 0.35, 0.31]
    late = sorted((run.run_dir.checkpoints / "stage-0" / "epochs").iterdir())
    assert len(late) == 3
    kept = weights(run.run_dir.model)
    for name, weight in kept.items():
        truth = torch.stack([weights(path)[f"network.{name}"] for path in late]).double().mean(0).float()
        torch.testing.assert_close(weight, truth)
    assert run.report.to_json()["after"] == {**run.report.to_json()["after"], "utterances": 6}


@pytest.mark.parametrize("kind", ["seq2seq", "joint"])
def test_a_mixture_with_the_untouched_weights_is_kept(tiny_recipe, quiet, set_dev_errors, tiny_whisper, kind):
    set_dev_errors(0.9, 0.5, 0.4, 0.45, 0.41, 0.42, 0.4)
    run = adapt(tiny_recipe(*EPOCHS, f"head.kind={kind}"), reporter=quiet)
    assert run.report.to_json()["selected"] == "stage 0, 25% pretrained"  # as good as its best epoch, and forgot less
    stage = run.report.to_json()["stages"][0]
    adapted = weights(run.run_dir.checkpoints / "stage-0" / stage["best"])
    before, kept = weights(tiny_whisper), weights(run.run_dir.model)
    prefix = "network.whisper." if kind == "joint" else "network."
    for name, weight in kept.items():
        torch.testing.assert_close(weight, 0.75 * adapted[prefix + name] + 0.25 * before[name])


def test_the_epochs_stand_where_nothing_is_better(tiny_recipe, quiet, set_dev_errors):
    set_dev_errors(0.9, 0.5, 0.3, 0.45, 0.41, 0.42, 0.4)
    run = adapt(tiny_recipe(*EPOCHS), reporter=quiet)
    assert run.report.to_json()["selected"] == "stage 0"
    adapted = weights(run.run_dir.checkpoints / "stage-0" / run.report.to_json()["stages"][0]["best"])
    kept = weights(run.run_dir.model)
    assert all(weight.equal(adapted[f"network.{name}"]) for name, weight in kept.items())


def test_a_joint_model_decodes_with_the_weights_that_dev_chose(
    tiny_recipe, quiet, set_dev_errors, corpus_table, monkeypatch
):
    from speechxfer.adaptation.selection.evaluator import Evaluator

    set_dev_errors(99, 98, 98)  # the beam, which is heard, makes fewer errors
    monkeypatch.setattr(Evaluator, "evaluate_dev_with_beam", lambda *_: 98)
    run = adapt(tiny_recipe("head.kind=joint", "decoding={kind: beam, beam_size: 3}"), reporter=quiet)
    chosen = run.report.to_json()["rescoring"]
    model = load(run.run_dir.model, device="cpu")
    assert model.settings.rescoring == {name: chosen[name] for name in ("ctc", "word", "risk")}
    assert chosen["dev"] <= chosen["dev_decoder_only"]


@pytest.mark.parametrize("beam", [0.4, 0.95])
def test_a_joint_model_is_compared_as_it_will_decode(tiny_recipe, quiet, set_dev_errors, monkeypatch, beam):
    """Worse than the untouched model greedily, and perhaps by its beam too; better when that is weighed."""
    from speechxfer.adaptation.selection.evaluator import Evaluator

    set_dev_errors(0.5, 0.6, 0.6)
    monkeypatch.setattr(Evaluator, "evaluate_dev_with_beam", lambda *_: beam)
    monkeypatch.setattr(
        rescoring_tuning, "count_word_errors", lambda found, references, weights: 0 if weights.ctc else 2
    )
    run = adapt(tiny_recipe("head.kind=joint", "decoding={kind: beam, beam_size: 3}"), reporter=quiet)
    assert run.report.to_json()["selected"] == "stage 0" and run.report.to_json()["rescoring"]["dev"] == 0
    assert {one["name"]: one["dev_beam"] for one in run.report.to_json()["candidates"]}["stage 0"] == 0
    assert load(run.run_dir.model, device="cpu").settings.beam_size == 3


def test_rescoring_takes_the_fewest_errors(monkeypatch):
    """The decoder is wrong on both, the CTC head right on both: it is listened to."""
    found = [
        [DecoderHypothesis("x", ("x",), -1.0, -9.0), DecoderHypothesis("a", ("a",), -2.0, -1.0)],
        [DecoderHypothesis("b c", ("b", "c"), -1.0, -9.0), DecoderHypothesis("b", ("b",), -3.0, -1.0)],
    ]
    references = [("a",), ("b",)]
    assert rescoring_tuning.count_word_errors(found, references, RescoringWeights(ctc=0.0)) == 2
    assert rescoring_tuning.count_word_errors(found, references, RescoringWeights(ctc=0.3)) == 0


def test_the_finalists_are_heard_by_beam(tiny_recipe, quiet, set_dev_errors, monkeypatch):
    """Three of five candidates, of which a beam finds another the best than the best path does."""
    from speechxfer.adaptation.selection.evaluator import Evaluator

    heard = []

    def by_beam(judge, model, title):
        assert model.settings.beam_size == 2
        heard.append((title, {name: weight.clone() for name, weight in model.network.state_dict().items()}))
        return {"stage 0, mean of its last 2 epochs, dev, beam search": 0.2}.get(title, 0.25)

    monkeypatch.setattr(Evaluator, "evaluate_dev_with_beam", by_beam)
    set_dev_errors(0.9, 0.5, 0.4, 0.4, 0.32, 0.3, 0.31)
    run = adapt(tiny_recipe(*EPOCHS, "decoding={kind: beam, beam_size: 2}"), reporter=quiet)
    assert [title.removesuffix(", dev, beam search") for title, _ in heard] == [
        "stage 0, mean of its last 3 epochs",
        "stage 0, mean of its last 3 epochs, 25% pretrained",
        "stage 0, mean of its last 2 epochs",
    ]
    assert run.report.to_json()["selected"] == "stage 0, mean of its last 2 epochs"
    reported = {one["name"]: (one["dev"], one["dev_beam"]) for one in run.report.to_json()["candidates"]}
    assert reported[run.report.to_json()["selected"]] == (0.32, 0.2) and reported["stage 0"] == (0.4, None)
    kept = weights(run.run_dir.model)
    assert all(weight.equal(heard[2][1][name]) for name, weight in kept.items())


def test_of_finalists_alike_by_beam_the_better_by_the_best_path(tiny_recipe, quiet, set_dev_errors, monkeypatch):
    from speechxfer.adaptation.selection.evaluator import Evaluator

    monkeypatch.setattr(Evaluator, "evaluate_dev_with_beam", lambda *_: 0.0)
    set_dev_errors(0.9, 0.5, 0.4, 0.4, 0.32, 0.3, 0.3)
    run = adapt(tiny_recipe(*EPOCHS, "decoding={kind: beam, beam_size: 2}"), reporter=quiet)
    assert (
        run.report.to_json()["selected"] == "stage 0, mean of its last 3 epochs, 25% pretrained"
    )  # the last of two equals


def test_a_beam_that_errs_more_is_not_used(tiny_recipe, quiet, set_dev_errors, monkeypatch):
    """Right greedily, and looping under the recipe's beam: the weights are kept, and the beam is not."""
    from speechxfer.adaptation.selection.evaluator import Evaluator

    monkeypatch.setattr(Evaluator, "evaluate_dev_with_beam", lambda *_: 0.95)
    set_dev_errors(0.9, 0.5, 0.4, 0.4, 0.32, 0.3, 0.31)
    run = adapt(tiny_recipe(*EPOCHS, "head.kind=joint", "decoding={kind: beam, beam_size: 2}"), reporter=quiet)
    assert run.report.to_json()["selected"] == "stage 0, mean of its last 3 epochs" and "rescoring" not in run.report
    model = load(run.run_dir.model, device="cpu")
    assert model.settings.beam_size == 1 and model.settings.rescoring is None
    kept = run.report.to_json()["candidates"][1]
    assert (kept["dev"], kept["dev_beam"]) == (0.3, 0.95)


@pytest.mark.parametrize(("first", "second"), [("joint", "joint"), ("joint", "seq2seq")])
def test_a_model_adapted_before_is_mixed_with_what_it_was(tiny_recipe, quiet, set_dev_errors, tmp_path, first, second):
    set_dev_errors(0.9, 0.5, 0.4)
    base = adapt(tiny_recipe(f"head.kind={first}", f"output={tmp_path / 'base'}"), reporter=quiet).run_dir.model
    set_dev_errors(0.9, 0.5, 0.4, 0.45, 0.41, 0.42, 0.4)
    again = tiny_recipe(*EPOCHS, f"head.kind={second}", f"encoder.name={base}", f"output={tmp_path / 'again'}")
    run = adapt(again, reporter=quiet)
    assert run.report.to_json()["selected"] == "stage 0, 25% pretrained"
    adapted = weights(run.run_dir.checkpoints / "stage-0" / run.report.to_json()["stages"][0]["best"])
    before, kept = weights(base), weights(run.run_dir.model)
    prefix = "network.whisper." if second == "joint" else "network."
    for name, weight in kept.items():
        torch.testing.assert_close(weight, 0.75 * adapted[prefix + name] + 0.25 * before[name])


def test_a_base_that_was_saved_with_a_beam_competes_with_it(tiny_recipe, quiet, set_dev_errors, monkeypatch, tmp_path):
    """Greedily the trained one is better, and by the beam that the base was saved with it is not: the base stays."""
    from speechxfer.adaptation.selection.evaluator import Evaluator

    set_dev_errors(0.9, 0.5, 0.4)
    monkeypatch.setattr(Evaluator, "evaluate_dev_with_beam", lambda *_: 0.3)
    beam = "decoding={kind: beam, beam_size: 2}"
    base = adapt(tiny_recipe(beam, f"output={tmp_path / 'base'}"), reporter=quiet).run_dir.model
    assert load(base, device="cpu").settings.beam_size == 2
    set_dev_errors(0.5, 0.4, 0.35)
    again = tiny_recipe(beam, f"encoder.name={base}", f"output={tmp_path / 'again'}")
    monkeypatch.setattr(
        Evaluator, "evaluate_dev_with_beam", lambda _, __, title: 0.3 if title.startswith("zero-shot") else 0.32
    )
    run = adapt(again, reporter=quiet)
    assert run.report.to_json()["selected"] == "zero-shot" and run.report.to_json()["candidates"][0]["dev_beam"] == 0.3


def test_a_single_candidate_is_heard_by_beam_too(tiny_recipe, quiet, set_dev_errors, monkeypatch):
    from speechxfer.adaptation.selection.evaluator import Evaluator

    set_dev_errors(0.9, 0.5)
    monkeypatch.setattr(Evaluator, "evaluate_dev_with_beam", lambda *_: 0.7)
    given = ("stages.0.epochs=1", "candidates={means: [], pretrained_share: []}", "decoding={kind: beam, beam_size: 2}")
    run = adapt(tiny_recipe(*given), reporter=quiet)
    assert load(run.run_dir.model, device="cpu").settings.beam_size == 1
    assert run.report.to_json()["candidates"][1]["dev_beam"] == 0.7


def test_japanese_is_selected_by_characters(tiny_recipe, corpus_table, recording_reporter, tmp_path):
    """A sentence without spaces is one word: its word error rate would be 100 % for a single wrong character."""
    texts = [
        "今日は",
        "晴れです",
        "雨が降る",
        "駅はどこ",
        "本を読む",
        "水を飲む",
        "朝になる",
        "犬がいる",
        "海へ行く",
        "花が咲く",
    ]
    audio = sorted(corpus_table.parent.glob("*.wav"))[:10]
    rows = [
        f"{path},{text},s{number // 2},{'dev' if number in (6, 7) else 'test' if number > 7 else 'train'}"
        for number, (path, text) in enumerate(zip(audio, texts, strict=True))
    ]
    (tmp_path / "japanese.csv").write_text("\n".join(["audio,text,speaker,split", *rows]) + "\n", encoding="utf-8")
    reporter = recording_reporter()
    run = adapt(tiny_recipe(f"data.train={tmp_path / 'japanese.csv'}"), reporter=reporter)
    report = run.report.to_json()
    assert report["metric"] == "CER" and report["provenance"]["recipe"]["scoring"]["unit"] == "char"
    assert report["dev"]["reference_words"] == sum(map(len, texts[6:8])) and report["after"]["reference_words"] == 8
    epochs = [epoch["dev"] for epoch in report["stages"][0]["epochs"]]
    assert report["stages"][0]["dev"] == min(epochs) and reporter.logged("dev CER")
    lines = [json.loads(line) for line in run.run_dir.after.read_text(encoding="utf-8").splitlines()]
    normalise = get_normaliser("default")
    sides = [["".join(normalise(line[side]).split()) for line in lines] for side in ("reference", "hypothesis")]
    assert report["after"]["wer"] == pytest.approx(jiwer.cer(*sides))
