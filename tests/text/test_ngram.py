"""The language model against values counted by hand, and against what a probability must be."""

from __future__ import annotations

import gzip
import math
import random
from itertools import product

import pytest

from speechxfer.errors import UserError
from speechxfer.text.ngram import BEGIN_TOKEN, END_TOKEN, FALLBACK_DISCOUNTS, UNKNOWN_WORD, read_arpa_words, train_ngram

HALF, ONE, MORE = FALLBACK_DISCOUNTS


def test_bigrams_of_two_sentences_by_hand():
    """`a b` and `a c`: too few for discounts, so one half, one, one and a half.

    Unigrams count contexts: a follows <s>; b and c follow a; </s> follows b and c: 1, 1, 1, 2 of 5. Their discounts
    free (0.5 + 0.5 + 0.5 + 1) / 5 = 0.5, spread over a, b, c, </s>, <unk>: 0.1 each.
    """
    model = train_ngram(["a b", "a c"], 2)
    unigram = {word: 10 ** model.log10(word, ()) for word in ("a", "b", "c", END_TOKEN, UNKNOWN_WORD)}
    assert unigram == pytest.approx({"a": 0.2, "b": 0.2, "c": 0.2, END_TOKEN: 0.3, UNKNOWN_WORD: 0.1})
    # <s> a occurs twice: (2 - 1) / 2, and the other half by the unigrams
    assert 10 ** model.log10("a", (BEGIN_TOKEN,)) == pytest.approx(0.5 + 0.5 * 0.2)
    assert 10 ** model.log10("c", (BEGIN_TOKEN,)) == pytest.approx(0.5 * 0.2)
    # a b and a c occur once each: (1 - 0.5) / 2, and (0.5 + 0.5) / 2 for the unigrams
    assert 10 ** model.log10("b", ("a",)) == pytest.approx(0.25 + 0.5 * 0.2)
    assert 10 ** model.log10(END_TOKEN, ("a",)) == pytest.approx(0.5 * 0.3)
    assert 10 ** model.log10("never seen", ("a",)) == pytest.approx(0.5 * 0.1)
    assert 10 ** model.log10(END_TOKEN, ("b",)) == pytest.approx(0.5 + 0.5 * 0.3)


def test_discounts_are_chen_and_goodman_s():
    """Bigrams seen 1, 2, 3, 4 times: 4, 2, 2 and 2 of them."""
    text = ["a"] * 4 + ["b"] * 3 + ["c"] * 2  # <s> a 4, a </s> 4, <s> b 3, b </s> 3, <s> c 2, c </s> 2
    model = train_ngram([*text, "d", "e"], 2)  # <s> d, d </s>, <s> e, e </s>: once each
    n1, n2, n3, n4 = 4, 2, 2, 2
    share = n1 / (n1 + 2 * n2)
    assert model.discounts[1] == pytest.approx(
        (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
    )
    seen = 11  # sentences
    freed = (2 * model.discounts[1][0] + model.discounts[1][1] + 2 * model.discounts[1][2]) / seen
    found = 10 ** model.log10("c", (BEGIN_TOKEN,))
    assert found == pytest.approx((2 - model.discounts[1][1]) / seen + freed * 10 ** model.log10("c", ()))


@pytest.fixture(scope="module")
def sentences():
    chance = random.Random(0)
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    return [" ".join(chance.choices(words, weights=range(7, 0, -1), k=chance.randint(1, 7))) for _ in range(150)]


@pytest.mark.parametrize("order", [2, 3, 4])
def test_after_every_context_the_probabilities_sum_to_one(sentences, order):
    model = train_ngram(sentences, order)
    words = [word for (word,) in model.probabilities[0] if word != BEGIN_TOKEN]
    contexts = [c for weights in model.backoffs for c in weights]
    contexts += [("one", "never seen"), ("seven", "seven", "seven")[: order - 1], ()]
    assert len(contexts) > 50 or order == 2
    for context in contexts:
        if context[-1:] != (END_TOKEN,):  # nothing comes after the end
            assert math.fsum(10 ** model.log10(word, context) for word in words) == pytest.approx(1), context


def test_all_orders_below_the_highest_have_what_a_longer_n_gram_ends_in(sentences):
    model = train_ngram(sentences, 4)
    for longer, shorter in zip(model.probabilities[1:], model.probabilities, strict=False):
        assert {ngram[1:] for ngram in longer} <= set(shorter)
        assert {ngram[:-1] for ngram in longer} <= set(shorter)


def test_an_order_more_tells_more_of_the_text_it_was_made_from(sentences):
    def total(order):
        model = train_ngram(sentences, order)
        padded = [(BEGIN_TOKEN, *sentence.split(), END_TOKEN) for sentence in sentences]
        return sum(model.log10(row[k], row[:k]) for row in padded for k in range(1, len(row)))

    assert total(2) < total(3) < total(4)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_the_file_says_what_the_model_says(tmp_path, sentences, name):
    model = train_ngram(sentences, 3)
    model.write(tmp_path / name)
    raw = (tmp_path / name).read_bytes()
    lines = (gzip.decompress(raw) if name.endswith("gz") else raw).decode().splitlines()
    assert lines[:4] == ["\\data\\", *(f"ngram {n}={len(model.probabilities[n - 1])}" for n in (1, 2, 3))]
    assert lines[-1] == "\\end\\"
    rows = [line.split("\t") for line in lines if "\t" in line]
    assert len(rows) == sum(map(len, model.probabilities))
    for row in rows:
        *context, word = row[1].split(" ")
        assert float(row[0]) == pytest.approx(model.probabilities[len(context)][(*context, word)], rel=1e-5)
    assert sorted(read_arpa_words(tmp_path / name)) == ["five", "four", "one", "seven", "six", "three", "two"]


def test_words_that_mean_something_to_the_format_are_not_taken_from_the_text():
    assert train_ngram(["<s> a </s> <unk> b"], 2).probabilities == train_ngram(["a b"], 2).probabilities


def test_writing_and_order_do_not_depend_on_chance(tmp_path, sentences):
    for number, text in enumerate((sentences, sentences[::-1])):
        train_ngram(text, 3).write(tmp_path / f"{number}.arpa")
    assert (tmp_path / "0.arpa").read_bytes() == (tmp_path / "1.arpa").read_bytes()


@pytest.mark.parametrize(
    "text, order, words", [(["", "  "], 3, "no words"), (["a b"], 1, "not a supported n-gram order")]
)
def test_what_cannot_be_made(text, order, words):
    with pytest.raises(UserError, match=words):
        train_ngram(text, order)


def wrong_files():
    whole = "\\data\\\nngram 1=2\nngram 2=1\n\n\\1-grams:\n-1\ta\t0\n-1\tb\t0\n\n\\2-grams:\n-1\ta b\n\n\\end\\\n"
    yield "nothing", b""
    yield "text", b"some words\nof text"
    yield "binary", b"mmap lm http://kheafield.com/code format version 5\n\0\xff\xfe"
    yield "cut", whole[: whole.index("\\2-grams")].encode()
    yield "unigrams alone", whole.replace("ngram 2=1\n", "").encode()
    yield "no number", whole.replace("-1\ta", "x\ta").encode()
    yield "no gzip", b"\x1f\x8b\x08\0nonsense"


@pytest.mark.parametrize("content, ending", list(product(wrong_files(), [".arpa", ".arpa.gz"])))
def test_what_is_no_arpa_is_said_to_be_none(tmp_path, content, ending):
    path = tmp_path / f"lm{ending}"
    path.write_bytes(content[1])
    with pytest.raises(UserError, match=r"ARPA|cannot be read"):
        read_arpa_words(path)
