"""The symbols of a CTC head: as transformers' own tokenizer numbers and spells them."""

import json

from transformers import Wav2Vec2CTCTokenizer

from speechxfer.text.vocabulary import build_vocabulary, detect_case, encode_text

TEXTS = ["the cat", "नमस्ते दुनिया", "a|b  c\u00a0d"]


def test_blank_first_then_space_and_unknown_then_characters_in_order():
    found = build_vocabulary(TEXTS)
    assert list(found)[:3] == ["<pad>", "|", "<unk>"] and list(found.values()) == list(range(len(found)))
    letters = list(found)[3:]
    assert letters == sorted(letters) and set(letters) == set("thecatनमस्तेदुनियाabcd")
    assert "\u0947" in letters  # a vowel sign is a symbol of its own
    assert build_vocabulary(reversed(TEXTS)) == found


def test_spelling_is_transformers(tmp_path):
    found = build_vocabulary(TEXTS)
    (tmp_path / "vocab.json").write_text(json.dumps(found))
    tokenizer = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json")
    for text in ("the cat", "दुनिया नमस्ते", "a bad cat"):
        places, lacking = encode_text(text, found)
        assert places == tokenizer(text).input_ids and not lacking


def test_what_the_vocabulary_lacks_is_named_and_left_out():
    found = build_vocabulary(["the cat"])
    places, lacking = encode_text("the zoo  hat", found)
    assert lacking == {"z", "o"} and places == [found[symbol] for symbol in "the||hat"]


def test_case_is_that_of_the_letters_that_have_one():
    assert detect_case("abc '1") == "lower" and detect_case("ABC '1") == "upper" and detect_case("aB") == "mixed"
    assert detect_case("Aनम") == "upper"  # Devanagari has no case
    assert detect_case("नम'1") is None and detect_case("") is None
