"""What must hold of any texts."""

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from speechxfer.scoring import ScoringOptions, alignment, score

words = st.lists(st.sampled_from(["a", "b", "c", "dd", "é", "字"]), max_size=12)
texts = words.map(" ".join)
corpora = st.lists(st.tuples(texts, texts), max_size=20)
quick = settings(max_examples=60)


def scored(pairs, align="min", **columns):
    options = ScoringOptions(normaliser="none", align=align, unit="word")
    return score([r for r, _ in pairs], [h for _, h in pairs], options=options, **columns)


@quick
@given(corpora, st.sampled_from(alignment.ALIGN_METHODS))
def test_swapping_sides_swaps_insertions_and_deletions(pairs, method):
    there = scored(pairs, align=method).counts
    back = scored([(h, r) for r, h in pairs], align=method).counts
    if method == "min":
        assert there.errors == back.errors
    # either way the sides' lengths differ by as much
    assert there.deletions - there.insertions == back.insertions - back.deletions


@quick
@given(words, words)
def test_swapping_one_pair_of_unique_choice(reference, hypothesis):
    """Of a pair with one best alignment, exactly the insertions and deletions change places."""
    longer = [*reference, "only", "here"]
    there, back = alignment.count_operations([longer], [reference]), alignment.count_operations([reference], [longer])
    assert there.tolist() == [[len(reference), 0, 2, 0]] and back.tolist() == [[len(reference), 0, 0, 2]]


@quick
@given(corpora)
def test_identical_texts_have_no_errors(pairs):
    assert scored([(r, r) for r, _ in pairs]).counts.errors == 0


@quick
@given(corpora, corpora)
def test_concatenating_adds_counts(first, second):
    assert scored(first + second).counts == scored(first).counts + scored(second).counts


@quick
@given(corpora, st.randoms())
def test_order_of_rows_never_matters(pairs, rng):
    ids = [str(i) for i in range(len(pairs))]
    order = list(range(len(pairs)))
    rng.shuffle(order)
    speakers = [f"s{i % 3}" for i in range(len(pairs))]
    a = scored(pairs, ids=ids, speakers=speakers, by="auto")
    b = scored([pairs[i] for i in order], ids=[ids[i] for i in order], speakers=[speakers[i] for i in order], by="auto")
    assert a.to_json() == b.to_json()
    assert dict(zip(a.ids, a.words.tolist(), strict=True)) == dict(zip(b.ids, b.words.tolist(), strict=True))


@quick
@given(corpora)
def test_every_utterance_is_in_the_result_with_all_its_words(pairs):
    found = scored(pairs)
    assert len(found.ids) == len(pairs)
    for (reference, hypothesis), row in zip(pairs, found.get_alignments(), strict=True):
        assert [w.reference for w in row if w.operation != "I"] == reference.split()
        assert [w.hypothesis for w in row if w.operation != "D"] == hypothesis.split()


@quick
@given(words, words)
def test_the_fewest_edits_are_the_fewest(reference, hypothesis):
    rows = list(range(len(hypothesis) + 1))
    for i, r in enumerate(reference, start=1):  # Wagner and Fischer, plainly
        line = [i]
        for j, h in enumerate(hypothesis, start=1):
            line.append(min(rows[j] + 1, line[-1] + 1, rows[j - 1] + (r != h)))
        rows = line
    assert int(alignment.count_operations([reference], [hypothesis])[0, 1:].sum()) == rows[-1]


@quick
@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_text_scores_against_itself(some):
    for name in ("none", "basic", "default", "english"):
        options = ScoringOptions(normaliser=name)
        assert score(some, [unicodedata.normalize("NFD", t) for t in some], options=options).counts.errors == 0
