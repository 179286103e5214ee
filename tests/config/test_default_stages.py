"""Default stages: those of the shipped recipe for the head, for a recipe that leaves them out."""

from __future__ import annotations

import pytest

from speechxfer.config import load_recipe


@pytest.mark.parametrize(
    ("kind", "shipped"),
    [("seq2seq", "accent-whisper"), ("joint", "accent-best"), ("ctc", "accent-ctc"), ("classify", "spoken-commands")],
)
def test_stages_that_are_left_out_are_those_of_the_shipped_recipe_for_the_head(write, kind, shipped):
    theirs = load_recipe(shipped).stages
    assert load_recipe(write(f"head: {{kind: {kind}}}\n")).stages == theirs
    # the head may come from the command line, and what it brings may be changed there
    changed = load_recipe(write("seed: 1\n"), ["stages.0.epochs=17", f"head.kind={kind}"]).stages
    assert changed[0].epochs == 17 and changed[0].lr == theirs[0].lr and changed[1:] == theirs[1:]


def test_a_stage_gets_the_epochs_and_rates_that_it_leaves_out(write):
    text = (
        "head: {kind: ctc}\nstages: [{train: head}, {train: all, lr: 3e-4}, {train: [head, encoder], batch_seconds: 9}]"
    )
    head, every, encoder = load_recipe(write(text)).stages
    first, last = load_recipe("accent-ctc").stages
    assert head == first.model_copy(update={"batch_seconds": head.batch_seconds})
    assert (every.lr, every.encoder_lr, every.epochs) == (3e-4, None, last.epochs)  # one rate was given: for all
    assert (encoder.lr, encoder.encoder_lr, encoder.epochs) == (last.lr, last.encoder_lr, last.epochs)
    assert encoder.batch_seconds == 9


def test_stages_of_their_own_number_take_lengths_patience_and_rates_of_the_staged_recipe(write):
    text = "head: {kind: seq2seq}\nstages: [{train: head}, {train: [top-4, head], epochs: 2}, {train: all, lr: 1e-5}]"
    head, upper, every = load_recipe(write(text)).stages
    first, middle, last = load_recipe("staged").stages
    assert head == first.model_copy(update={"batch_seconds": head.batch_seconds})
    assert (upper.epochs, upper.patience) == (2, None)  # a length of its own, so no patience that belongs to another
    assert (upper.lr, upper.layer_decay) == (middle.lr, middle.layer_decay) and middle.layer_decay < 1
    assert (every.epochs, every.patience) == (last.epochs, last.patience) and last.patience
    assert (every.lr, every.layer_decay) == (1e-5, 1.0)
    # one stage alone is not a transfer in stages, wherever it was written
    alone = load_recipe(write("head: {kind: seq2seq}\n"), ["stages=[{train: head}]"]).stages
    assert alone[0].epochs == load_recipe("accent-whisper").stages[0].epochs
    typed = load_recipe(write("head: {kind: seq2seq}\n"), ["stages=[{train: head}, {train: all}]"]).stages
    assert typed[1].epochs == last.epochs
