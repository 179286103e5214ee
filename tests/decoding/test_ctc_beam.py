"""Beam search over CTC emissions against every labelling written out, and against the language model's own words."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechxfer.decoding import ctc_beam
from speechxfer.decoding.ctc_beam import BeamSearch, BeamSearchOptions, LanguageModel, beam_search, read_lm
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.shapes import Emissions
from speechxfer.text.ngram import BEGIN_TOKEN, END_TOKEN, train_ngram

pytest.importorskip("ctc_beam_decoder", reason="the extra 'lm' is not installed")

LETTERS = ("", " ", "a", "b", "c")


def emissions(*lengths: int, vocab: int = len(LETTERS), seed: int = 0, sharp: float = 1.0) -> Emissions:
    torch.manual_seed(seed)
    logits = sharp * torch.randn(len(lengths), max(lengths), vocab)
    return Emissions(logits.log_softmax(-1), torch.tensor(lengths))


def saying(text: str, symbols=LETTERS, *, unsure: dict[str, str] | None = None) -> Emissions:
    """Frames that say `text`, each symbol then a blank; where it is unsure another symbol is as likely, nearly."""
    places = {symbol: place for place, symbol in enumerate(symbols)}
    rows = []
    for character in text:
        row = torch.full((len(symbols),), 1e-3)
        row[places[character]] = 1.0
        if unsure and character in unsure:
            row[places[unsure[character]]] = 0.9
        blank = torch.full((len(symbols),), 1e-3)
        blank[places[""]] = 1.0
        rows += [row / row.sum(), blank / blank.sum()]
    return Emissions(torch.stack(rows).log()[None], torch.tensor([len(rows)]))


def texts_of_all_labellings(log_probs: torch.Tensor, symbols=LETTERS) -> dict[str, float]:
    """Text to its log-probability: the sum over every labelling, written out."""
    found: dict[str, float] = defaultdict(float)
    rows = log_probs.exp().tolist()
    for path in product(range(len(symbols)), repeat=len(rows)):
        merged = [place for k, place in enumerate(path) if k == 0 or path[k - 1] != place]
        text = " ".join("".join(symbols[place] for place in merged).split())
        found[text] += math.prod(row[place] for row, place in zip(rows, path, strict=True))
    return {text: math.log(share) for text, share in found.items()}


@pytest.fixture(scope="module")
def model():
    return train_ngram(["a b c", "a b", "b a c", "ab c", "ab ab a", "c b a ba", "cab ba"], 3)


@pytest.fixture
def lm(model, tmp_path) -> LanguageModel:
    model.write(tmp_path / "lm.arpa")
    return read_lm(tmp_path / "lm.arpa")


@pytest.mark.parametrize("seed", range(4))
def test_wide_enough_it_finds_the_best_text_of_all(seed):
    given = emissions(5, seed=seed)
    truth = texts_of_all_labellings(given.log_probs[0])
    (found,) = beam_search(given, LETTERS, None, BeamSearchOptions(beam_size=5000))
    best = max(truth, key=truth.__getitem__)
    assert found[0].text == best
    assert found[0].score == found[0].ctc
    # the same text with more spaces is another prefix to the search, so it may hold a part of the text's probability
    assert truth[best] - 0.7 < found[0].ctc <= truth[best] + 1e-4
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_without_spaces_scores_are_the_sums_over_labellings(seed):
    symbols = ("", "a", "b", "c")
    given = emissions(6, vocab=4, seed=seed)
    truth = texts_of_all_labellings(given.log_probs[0], symbols)
    (found,) = beam_search(given, symbols, None, BeamSearchOptions(beam_size=5000))
    for one in found[:20]:
        assert one.ctc == pytest.approx(truth[one.text], abs=1e-4)
    assert [one.text for one in found[:5]] == sorted(truth, key=truth.__getitem__, reverse=True)[:5]


@pytest.mark.parametrize("weight, bonus", [(0.5, 0.0), (1.0, 1.5), (2.0, -0.5)])
def test_the_language_model_counts_as_kenlm_reads_our_file(model, lm, weight, bonus):
    """score = ctc + weight * ln P(words and end) + bonus * words."""
    search = BeamSearchOptions(beam_size=500, lm_weight=weight, word_bonus=bonus)
    checked = 0
    for seed in range(6):
        (found,) = beam_search(emissions(7, seed=seed), LETTERS, lm, search)
        for one in found[:30]:
            words = one.text.split()
            if words and set(words) <= set(lm.words):
                row = (BEGIN_TOKEN, *words, END_TOKEN)
                texts = math.log(10) * sum(model.log10(row[k], row[:k]) for k in range(1, len(row)))
                assert one.score - one.ctc == pytest.approx(weight * texts + bonus * len(words), abs=1e-3), one.text
                checked += 1
    assert checked > 10


UNKNOWN_WORD_OFFSET = -10.0  # log10, of the decoder


def score_of_text(model, text: str, ctc: float, search: BeamSearchOptions) -> float:
    """The definition: acoustic score, weighted language model score with the sentence's end, and the word bonus."""
    words = text.split()
    row = (BEGIN_TOKEN, *words, END_TOKEN)
    log10 = sum(model.log10(row[k], row[:k]) for k in range(1, len(row)))
    log10 += UNKNOWN_WORD_OFFSET * sum((word,) not in model.probabilities[0] for word in words)
    return ctc + search.lm_weight * math.log(10) * log10 + search.word_bonus * len(words)


@pytest.fixture
def no_pruning(monkeypatch):
    monkeypatch.setattr(ctc_beam, "MIN_TOKEN_LOG_PROB", -30.0)  # above the least value of the decoder, -34.5
    monkeypatch.setattr(ctc_beam, "BEAM_PRUNE_LOG_PROB", -1e6)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.floats(0, 6), min_size=5, max_size=5), min_size=1, max_size=5),
    weight=st.sampled_from([0.3, 0.5, 1.0, 2.0]),
    bonus=st.sampled_from([-0.5, 0.0, 1.5]),
)
def test_all_texts_and_scores_are_those_of_the_enumeration(model, lm, no_pruning, rows, weight, bonus):
    """Whatever spaces a path has before, between and after the words: none is scored as a word."""
    emitted = torch.tensor(rows).log_softmax(-1)
    search = BeamSearchOptions(beam_size=5000, lm_weight=weight, word_bonus=bonus)
    truth = texts_of_all_labellings(emitted)
    scores = {text: score_of_text(model, text, ctc, search) for text, ctc in truth.items()}
    (found,) = beam_search(Emissions(emitted[None], torch.tensor([len(rows)])), LETTERS, lm, search)
    assert {one.text for one in found} == set(truth) and len(found) == len(truth)
    for one in found:
        assert one.ctc == pytest.approx(truth[one.text], abs=1e-3), one.text
        assert one.score == pytest.approx(scores[one.text], abs=1e-3), one.text
    assert scores[found[0].text] == pytest.approx(max(scores.values()), abs=1e-3)


@pytest.mark.parametrize("space", [1e-4, 1.3e-4, 1e-2, 0.5, 0.999])
@pytest.mark.parametrize("where", ["before", "between", "after", "everywhere"])
def test_spaces_that_are_not_between_words_cost_nothing(model, lm, space, where):
    """The decoder ignores a space below `MIN_TOKEN_LOG_PROB`, so the first and the second value differ in a path."""
    letter = {symbol: torch.eye(len(LETTERS))[place] for place, symbol in enumerate(LETTERS)}
    pause = (1 - space) * letter[""] + space * letter[" "]
    rows = [letter["c"], letter[" "], letter["b"]]
    if where in ("before", "everywhere"):
        rows = [pause, *rows]
    if where in ("between", "everywhere"):
        rows[-1:] = [pause, letter[" "], letter["b"]]
    if where in ("after", "everywhere"):
        rows = [*rows, pause]
    log_probs = torch.stack(rows).clamp(min=1e-9).log()[None]
    search = BeamSearchOptions(beam_size=50, lm_weight=0.5)
    (found,) = beam_search(Emissions(log_probs, torch.tensor([len(rows)])), LETTERS, lm, search)
    assert found[0].text == "c b"
    assert found[0].score == pytest.approx(score_of_text(model, "c b", 0.0, search), abs=1e-3)


def test_the_language_model_decides_where_the_sound_does_not(lm):
    given = saying("ab a", unsure={"a": "c"})
    assert beam_search(given, LETTERS, None, BeamSearchOptions(beam_size=20))[0][0].text == "ab a"
    given = saying("cb c", unsure={"c": "a"})  # cb is no word of the model's
    assert beam_search(given, LETTERS, None, BeamSearchOptions(beam_size=20))[0][0].text == "cb c"
    assert beam_search(given, LETTERS, lm, BeamSearchOptions(beam_size=20, lm_weight=1.0))[0][0].text == "ab c"


def test_a_word_that_the_language_model_lacks_can_be_said(lm):
    assert (
        beam_search(saying("acca b"), LETTERS, lm, BeamSearchOptions(beam_size=20, lm_weight=0.5))[0][0].text
        == "acca b"
    )


def test_hot_words_are_preferred_and_need_no_language_model(lm):
    given = saying("ba ca", unsure={"b": "c", "c": "b"})
    for model, weight in ((None, 0.0), (lm, 0.1)):
        plain = beam_search(given, LETTERS, model, BeamSearchOptions(beam_size=20, lm_weight=weight))
        hot = BeamSearchOptions(
            beam_size=20, lm_weight=weight, hot_words=("CA ca",), hot_word_weight=5.0
        )  # found in our case
        assert "ca ca" not in plain[0][0].text
        assert beam_search(given, LETTERS, model, hot)[0][0].text == "ca ca"


@pytest.mark.parametrize("jobs", [1, 3])
def test_batch_padding_and_threads_change_nothing(lm, jobs):
    lengths = (9, 23, 14, 1, 30, 17)
    given = emissions(*lengths, sharp=2.0)
    search = BeamSearch(LETTERS, lm, BeamSearchOptions(beam_size=30, lm_weight=0.7, word_bonus=0.5), jobs=jobs)
    together = search(given)
    spoilt = Emissions(given.log_probs.clone(), given.lengths)
    for row, length in enumerate(lengths):
        spoilt.log_probs[row, length:] = 0.0
    assert search(spoilt) == together
    for row, length in enumerate(lengths):
        alone = Emissions(given.log_probs[row : row + 1, :length], given.lengths[row : row + 1])
        assert search(alone) == together[row : row + 1]
    assert search(given) == together


@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_is_the_number_of_threads(jobs, monkeypatch):
    """As many utterances as jobs are searched at once: each waits for the others. One job is the calling thread."""
    meeting, threads = threading.Barrier(jobs), []
    search_row = BeamSearch._search

    def search_together(search, log_probs):
        threads.append(threading.current_thread())
        meeting.wait(timeout=60)
        return search_row(search, log_probs)

    monkeypatch.setattr(BeamSearch, "_search", search_together)
    found = BeamSearch(LETTERS, None, BeamSearchOptions(beam_size=5), jobs=jobs)(emissions(4, 6))
    assert len(found) == 2
    assert len(set(threads)) == jobs and (threading.current_thread() in threads) == (jobs == 1)


def test_no_frames_are_no_words():
    found = beam_search(
        Emissions(torch.zeros(2, 3, 5), torch.tensor([0, 0])), LETTERS, None, BeamSearchOptions(beam_size=5)
    )
    assert [[one.text for one in rows] for rows in found] == [[""], [""]]


def test_what_must_never_be_written_is_not_even_where_it_is_likeliest():
    symbols = ("", " ", "a", None, None)
    log_probs = torch.tensor([[0.05, 0.05, 0.2, 0.6, 0.1]]).log().repeat(2, 1)[None]
    (found,) = beam_search(Emissions(log_probs, torch.tensor([2])), symbols, None, BeamSearchOptions(beam_size=10))
    assert {one.text for one in found} == {"", "a"}


def test_symbols_that_mean_something_to_the_decoder_are_letters_here():
    symbols = ("", " ", "▁", "##b", "_", "é", "th")
    for text in ("▁", "_é", "é_"):
        assert beam_search(saying(text, symbols), symbols, None, BeamSearchOptions(beam_size=5))[0][0].text == text
    log_probs = torch.full((1, 2, 7), -9.0)
    log_probs[0, 0, 3] = log_probs[0, 1, 6] = -0.01
    assert (
        beam_search(Emissions(log_probs, torch.tensor([2])), symbols, None, BeamSearchOptions(beam_size=5))[0][0].text
        == "##bth"
    )


def test_capitals_meet_a_language_model_in_small_letters(lm):
    symbols = tuple(symbol.upper() for symbol in LETTERS)
    given = saying("CB C", symbols, unsure={"C": "A"})
    assert beam_search(given, symbols, lm, BeamSearchOptions(beam_size=20, lm_weight=1.0))[0][0].text == "AB C"


def test_symbols_of_both_cases_are_not_converted(lm):
    """Converted to the language model's case and back, "a" would be "A"."""
    search = BeamSearchOptions(beam_size=20)
    symbols = ("", " ", "a", "b", "C")  # spell four of the six words
    assert beam_search(saying("ab a", symbols), symbols, lm, search)[0][0].text == "ab a"
    with pytest.raises(UserError, match=r"another alphabet: 1 of its 6 words .*lack 'b' 'c'"):
        beam_search(emissions(3), ("", " ", "a", "B", "C"), lm, search)


def test_a_language_model_of_another_alphabet_is_refused(tmp_path):
    train_ngram(["мама мыла раму"] * 2, 2).write(tmp_path / "lm.arpa")
    with pytest.raises(UserError, match=r"another alphabet: 0 of its 3 words .*'а'") as error:
        beam_search(emissions(3), LETTERS, read_lm(tmp_path / "lm.arpa"), BeamSearchOptions(beam_size=5, lm_weight=1.0))
    assert "speechxfer lm" in str(error.value)


def test_a_hot_word_that_cannot_be_spelt_is_refused():
    with pytest.raises(UserError, match=r"hot word 'abdô' has 'd' 'ô'"):
        beam_search(
            emissions(3), LETTERS, None, BeamSearchOptions(beam_size=5, hot_words=("ab", "abdô"), hot_word_weight=1.0)
        )


def test_files_that_are_no_language_model(tmp_path, lm):
    with pytest.raises(UserError, match="no such language model"):
        read_lm(tmp_path / "none.arpa")
    lines = lm.path.read_text().splitlines()
    (tmp_path / "bad.arpa").write_text("\n".join([*lines[:3], "ngram 3=9999", *lines[4:]]))
    with pytest.raises(
        UserError,
        match=r"(?s)bad.arpa: the language model cannot be read to its end: Could not parse .*fix: it is truncated",
    ):
        beam_search(
            emissions(3), LETTERS, read_lm(tmp_path / "bad.arpa"), BeamSearchOptions(beam_size=5, lm_weight=1.0)
        )


def test_kenlm_s_binary_format_is_that_of_the_arpa_file(model, lm, tmp_path):
    """abc_trigram.bin was written from this ARPA file by KenLM's own program: `build_binary trie lm.arpa`."""
    binary = tmp_path / "lm.bin"
    shutil.copy(Path(__file__).with_name("abc_trigram.bin"), binary)
    with pytest.raises(UserError, match=r"does not list its words.*\n.*unigrams\.txt"):
        read_lm(binary)
    (tmp_path / "unigrams.txt").write_text("\n".join(["<s>", *lm.words, "</s>"]))
    found = read_lm(binary)
    assert found.is_binary and set(found.words) == set(lm.words)
    search = BeamSearchOptions(beam_size=50, lm_weight=0.7, word_bonus=0.3)
    heard = emissions(9, 14, 23)
    assert beam_search(heard, LETTERS, found, search) == beam_search(heard, LETTERS, lm, search)
    (tmp_path / "saved").mkdir()
    found.save(tmp_path / "saved")
    assert read_lm(tmp_path / "saved" / found.saved_name).words == found.words
    binary.write_bytes(binary.read_bytes()[:300])
    with pytest.raises(UserError, match="cannot be read to its end"):
        beam_search(heard, LETTERS, read_lm(binary), search)


@pytest.mark.parametrize("offset", [-10.0, -3.0, 0.0])
def test_the_score_of_an_unknown_word(model, lm, offset):
    search = BeamSearchOptions(beam_size=50, lm_weight=0.5, unknown_word_score=offset)
    (found,) = beam_search(saying("cc"), LETTERS, lm, search)
    (ctc,) = (one.ctc for one in found if one.text == "cc")
    expected = score_of_text(model, "cc", ctc, search) + 0.5 * math.log(10) * (offset - UNKNOWN_WORD_OFFSET)
    assert next(one.score for one in found if one.text == "cc") == pytest.approx(expected, abs=1e-3)


def test_without_its_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctc_beam_decoder", None)
    with pytest.raises(MissingExtraError) as error:
        beam_search(emissions(3), LETTERS, None, BeamSearchOptions(beam_size=5))
    assert "pip install 'speechxfer[lm]'" in str(error.value)


def test_kenlm_s_bar_is_not_drawn(lm, tmp_path):
    script = tmp_path / "load.py"
    script.write_text(
        "import sys\nfrom speechxfer.decoding.ctc_beam import BeamSearch, BeamSearchOptions, read_lm\n"
        f"BeamSearch({LETTERS!r}, read_lm({str(lm.path)!r}), BeamSearchOptions(beam_size=5, lm_weight=1.0))\n"
        "print('still heard', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "still heard\n")


def test_text_written_to_stderr_before_the_model_is_read_is_not_lost(lm, tmp_path):
    """Text without a newline is still in Python's buffer then, and anything may flush that meanwhile."""
    script = tmp_path / "load.py"
    script.write_text(
        "import sys\nimport ctc_beam_decoder\n"
        "from speechxfer.decoding.ctc_beam import BeamSearch, BeamSearchOptions, read_lm\n"
        "decoder = ctc_beam_decoder.BeamSearchDecoder\n"
        "def flush_and_read(*args, **options):\n    sys.stderr.flush()\n    return decoder(*args, **options)\n"
        "ctc_beam_decoder.BeamSearchDecoder = flush_and_read\n"
        "sys.stderr.write('reading, ')\n"
        f"BeamSearch({LETTERS!r}, read_lm({str(lm.path)!r}), BeamSearchOptions(beam_size=5, lm_weight=1.0))\n"
        "print('done', file=sys.stderr)\n"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    finished = subprocess.run([sys.executable, str(script)], env=buffered, capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("", "reading, done\n")
