"""What cannot be used is named before any work; texts are taught as they are scored, or as Whisper writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.adaptation import setup
from speechxfer.adaptation.data.splits import prepare_splits
from speechxfer.adaptation.run import adapt
from speechxfer.config import load_recipe
from speechxfer.errors import UserError

TONE = 0.1 * np.sin(np.arange(8_000))


@pytest.fixture
def table(corpus_table, tmp_path):
    """table(rows, text): the corpus with `text` changed and rows added (audio in the table's folder)."""

    def make(*rows: str, text=str) -> Path:
        header, *lines = corpus_table.read_text().splitlines()
        place = header.split(",").index("text")
        for number, line in enumerate(lines):
            cells = line.split(",")
            cells[1], cells[place] = str(corpus_table.parent / cells[1]), text(cells[place])
            lines[number] = ",".join(cells)
        (tmp_path / "t.csv").write_text("\n".join([header, *lines, *rows]) + "\n")
        return tmp_path / "t.csv"

    return make


@pytest.fixture
def recipe(recipe_values, tmp_path, make_whisper):
    """A full-length Whisper, so that 30 s are 30 s."""

    def make(table: Path, *overrides: str):
        given = [f"data.train={table}", f"encoder.name={make_whisper()}", f"output={tmp_path / 'run'}", *overrides]
        return load_recipe(recipe_values, given)

    return make


def bad(tmp_path: Path) -> list[str]:
    soundfile.write(tmp_path / "long.wav", np.resize(TONE, 31 * 16_000), 16_000)
    soundfile.write(tmp_path / "short.wav", TONE, 16_000)
    return [
        "long,long.wav,one,s0,north,one,train",
        f"wordy,short.wav,{'one ' * 60},s0,north,one,train",
        "gone,gone.wav,one,s3,north,one,dev",
        "silent,short.wav,,s4,north,one,test",
    ]


def test_every_bad_row_of_every_part_is_named_before_any_work(recipe, table, quiet, tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "build_trainable", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(UserError) as caught:
        adapt(recipe(table(*bad(tmp_path))), reporter=quiet)
    printed = str(caught.value)
    assert "data.train, long: lasts 31.0 s; the model takes 30 s" in printed
    assert "data.train, wordy: its text is 60 tokens; the model takes 59" in printed
    assert "data.dev, gone: no such file" in printed
    assert "data.test, silent: its text is empty" in printed
    assert "data.skip_bad=true" in printed
    assert not (tmp_path / "run").exists()


def test_bad_rows_may_be_left_out_and_are_counted(recipe, table, recording_reporter, tmp_path):
    narrator = recording_reporter()
    material = prepare_splits(recipe(table(*bad(tmp_path)), "data.skip_bad=true"), narrator)
    counted = {part: (stated["utterances"], stated["skipped"]) for part, stated in material.split_info.items()}
    assert counted == {"train": (9, 2), "dev": (3, 1), "test": (6, 1)}
    assert not {"long", "wordy"} & {*material.train["id"]} and "gone" not in material.dev["id"]
    assert sum("invalid rows" in warning for warning in material.warnings) == 3
    assert narrator.logged("warning: 2 invalid rows of train were skipped")


def test_a_ctc_head_refuses_audio_that_its_encoder_cannot_hold(recipe, table, quiet, tmp_path):
    """An earlier run's CTC head on Whisper holds 30 s as well."""
    from speechxfer.models import build_trainable

    ctc = recipe(table(), "head.kind=ctc")
    build_trainable(ctc, ["one"]).save(tmp_path / "ctc")
    with pytest.raises(UserError, match=r"long: lasts 31\.0 s"):
        prepare_splits(recipe(table(*bad(tmp_path)), "head.kind=ctc", f"encoder.name={tmp_path / 'ctc'}"), quiet)


def test_nothing_left_is_said(recipe, quiet, tmp_path):
    (tmp_path / "t.csv").write_text("audio,text,split\na.wav,one,train\nb.wav,one,dev\nc.wav,one,test\n")
    with pytest.raises(UserError, match="has no valid row"):
        prepare_splits(recipe(tmp_path / "t.csv", "data.skip_bad=true"), quiet)


@pytest.mark.parametrize(
    ("text", "case", "taught"),
    [
        (str.upper, "auto", "one"),
        (str.upper, "keep", "ONE"),
        (str.title, "auto", "One"),  # written as people write
        (str.title, "lower", "one"),
        ("1 {}".format, "auto", "1 one"),
    ],
)
def test_case_as_whisper_is_taught_it(recipe, table, recording_reporter, text, case, taught):
    narrator = recording_reporter()
    material = prepare_splits(recipe(table(text=text), f"data.case={case}"), narrator)
    assert material.texts[0] == taught
    assert material.train["text"][0] == text("one")  # what is scored stays as it was written
    assert narrator.logged("all upper case") is (taught == "one")


def test_capitals_are_counted_as_they_are_taught(recipe, table, quiet):
    """20 words in capitals are 80 tokens of the tiny tokenizer, and 20 once they are small."""
    many = table(text=lambda _: "ONE " * 20)
    assert len(prepare_splits(recipe(many), quiet).texts) == 9
    with pytest.raises(UserError, match="80 tokens"):
        prepare_splits(recipe(many, "data.case=keep"), quiet)


def test_a_ctc_head_learns_what_is_scored(recipe, table, recording_reporter):
    narrator = recording_reporter()
    material = prepare_splits(recipe(table(text="{}!".format), "head.kind=ctc"), narrator)
    assert {*material.texts} == {"one", "two", "six"}
    assert narrator.logged("targets are normalised by 'default'")


def test_texts_that_a_new_ctc_head_will_never_write(recipe, table, recording_reporter, quiet):
    """The vocabulary is the training part's: a dev part in another alphabet could choose nothing."""
    reported = recording_reporter()
    some = table("x,x.wav,né,s9,north,one,other", "y,x.wav,two,s9,north,one,other")
    soundfile.write(some.parent / "x.wav", TONE, 16_000)
    material = prepare_splits(recipe(some, "data.test=split=other", "head.kind=ctc"), reported)
    assert "1 of 2 texts of test contain characters that the training split does not: é" in material.warnings
    prepare_splits(recipe(some, "data.test=split=other"), quiet)  # Whisper's own decoder can write them
    none = table("x,x.wav,мир,s9,north,one,other")
    with pytest.raises(UserError, match=r"data\.dev: none of its texts can be written: .* does not contain и м р"):
        prepare_splits(recipe(none, "data.dev=split=other", "head.kind=ctc"), quiet)


def test_a_limit_takes_some_of_the_training_part_only(recipe, table, quiet):
    few = prepare_splits(recipe(table(), "data.limit=4"), quiet)
    assert (len(few.train), len(few.dev), len(few.test)) == (4, 3, 6)
    assert few.train["id"] == prepare_splits(recipe(table(), "data.limit=4"), quiet).train["id"]


def test_labels_before_texts(recipe, table, quiet):
    material = prepare_splits(recipe(table(text=lambda _: "words"), "head.kind=classify"), quiet)
    assert material.reference == "label" and {*material.texts} == {"one", "two", "six"}
    assert material.metric.label == "accuracy" and material.unit == "label"


def test_a_metric_that_cannot_be_used_is_an_error_before_any_work(recipe, table, quiet):
    assert prepare_splits(recipe(table(), "scoring.metric=cer"), quiet).metric.label == "CER"
    with pytest.raises(UserError, match=r"scoring\.metric: 'accuracy' is a metric of labels"):
        prepare_splits(recipe(table(), "scoring.metric=accuracy"), quiet)
    with pytest.raises(UserError, match=r"unknown metric 'werr' \(did you mean 'wer'\?\)"):
        prepare_splits(recipe(table(), "scoring.metric=werr"), quiet)


def test_labels_that_a_classifier_never_answers_are_told(recipe, table, quiet):
    strange = table("x,x.wav,words,s9,north,eight,test")
    soundfile.write(strange.parent / "x.wav", np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    material = prepare_splits(recipe(strange, "head.kind=classify"), quiet)
    assert "1 of 7 labels of test are not in the training split: eight" in material.warnings


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["scoring.normaliser=englsh"], "did you mean 'english'"),
        (["data.train=nowhere.csv"], "nowhere.csv"),
        (["encoder.name=nowhere"], "no such model"),
        (["data.dev=speaker=nobody"], "nobody"),
    ],
)
def test_mistakes_come_before_any_work(recipe, table, quiet, tmp_path, monkeypatch, overrides, words):
    monkeypatch.setattr(setup, "build_trainable", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(UserError) as caught:
        adapt(recipe(table(), *overrides), reporter=quiet)
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["lora.rank=2", "lora.targets=[q_proj, nope]"], "unknown layer names: nope"),
        (["cache.use=always", "cache.max_gb=1e-9", "stages.0.train=[head, top-1]"], "cache.max_gb"),
        (["stages.0.train=[head, top-3]"], "top-3 is more than the encoder's 2 layers"),
    ],
)
def test_what_a_stage_would_stop_at_comes_before_anything_is_heard(
    recipe, table, recording_reporter, tmp_path, overrides, words
):
    reported = recording_reporter()
    with pytest.raises(UserError) as caught:
        adapt(recipe(table(), *overrides), reporter=reported)
    assert words in str(caught.value) and not reported.logged("zero-shot")
    assert not (tmp_path / "run").exists()


def test_a_part_without_words_is_said(recipe, table, quiet):
    """No rate can be made of it, which an hour of training should not come before."""
    silent = table("x,x.wav,...,s9,north,one,other")
    soundfile.write(silent.parent / "x.wav", TONE, 16_000)
    with pytest.raises(UserError, match="empty after the normaliser 'default'"):
        prepare_splits(recipe(silent, "data.dev=split=other"), quiet)


def test_texts_that_a_vocabulary_cannot_write_are_all_named(recipe, table, quiet, make_encoder):
    own = make_encoder("wav2vec2", words="one two")
    with pytest.raises(UserError) as caught:
        adapt(recipe(table(), "head={kind: ctc, vocabulary: own}", f"encoder.name={own}"), reporter=quiet)
    printed = str(caught.value)
    assert (
        printed.count("its text contains i s x, not in the vocabulary") == 3
        and "0-six" in printed
        and "2-six" in printed
    )
    skipping = prepare_splits(
        recipe(table(), "head={kind: ctc, vocabulary: own}", f"encoder.name={own}", "data.skip_bad=true"), quiet
    )
    assert "six" not in skipping.texts and skipping.split_info["train"]["skipped"] == 3
    assert "six" in skipping.test["text"]  # what it cannot write is scored all the same
