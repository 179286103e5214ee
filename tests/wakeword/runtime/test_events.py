"""Events and their matching with words, against counts made by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speechxfer.wakeword.runtime.events import (
    Event,
    EventFinder,
    LabelledWord,
    Scores,
    Trigger,
    find_events,
    match_events,
    smooth_scores,
)


def times(scores: list[float], **trigger: float) -> list[float]:
    settings = {"threshold": 0.5, "refractory": 0.0, **trigger}
    return [round(e.time, 6) for e in find_events(Scores(np.array(scores), 0.1), Trigger(**settings))]  # type: ignore[arg-type]


def outcome(at: list[float], words: list[tuple[float, float]], tolerance: float = 0.5) -> tuple[int, int, int, int]:
    """hits, misses, false alarms, repeats."""
    found = match_events([Event(t) for t in at], [LabelledWord(*word) for word in words], tolerance)
    return found.hits, found.misses, len(found.false_alarms), len(found.repeats)


def test_a_score_at_the_threshold_fires_and_one_below_does_not() -> None:
    assert times([0.5, 0.4999, 0.6]) == [0.0, 0.2]


def test_a_score_that_stays_up_fires_once_in_every_refractory_time() -> None:
    # 0.0 fires; 0.1 and 0.2 rest; 0.3 is 0.3 s later: fires; then 0.6, 0.9
    assert times([1.0] * 10, refractory=0.3) == [0.0, 0.3, 0.6, 0.9]


def test_a_short_dip_does_not_end_the_rest() -> None:
    assert times([1, 0, 1, 0, 1, 0, 1], refractory=0.4) == [0.0, 0.4]


def test_smoothing_is_the_mean_of_the_last_scores() -> None:
    assert smooth_scores(np.array([3.0, 0.0, 0.0, 9.0]), 3).tolist() == [3.0, 1.5, 1.0, 3.0]
    assert times([0.9, 0.0, 0.9, 0.9], smoothing=2, threshold=0.5) == [0.0, 0.3]


def test_no_scores_no_events() -> None:
    assert times([]) == []
    assert times([], smoothing=4) == []


@given(
    st.lists(st.floats(0, 1, width=32), max_size=60),
    st.lists(st.integers(0, 60), max_size=6),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.1, 0.3, 1.0]),
)
def test_scores_in_pieces_give_the_events_of_the_whole(
    values: list[float], cuts: list[int], smoothing: int, refractory: float
) -> None:
    trigger = Trigger(0.5, smoothing, refractory)
    whole = find_events(Scores(np.array(values), 0.1, 0.05), trigger)
    finder, found = EventFinder(trigger), []
    edges = [0, *sorted(min(c, len(values)) for c in cuts), len(values)]
    for start, end in itertools.pairwise(edges):
        found += finder.push(Scores(np.array(values[start:end]), 0.1, 0.05 + 0.1 * start))
    assert [(pytest.approx(e.time), pytest.approx(e.score)) for e in whole] == [(e.time, e.score) for e in found]


@given(st.lists(st.booleans(), max_size=40), st.sampled_from([0.0, 0.1, 0.2, 0.5]))
def test_events_are_those_of_a_walk_score_by_score(up: list[bool], refractory: float) -> None:
    expected, last = [], -(10**9)
    for place, high in enumerate(up):
        if high and (place - last) * 100 >= round(refractory * 1000):
            expected.append(round(place * 0.1, 6))
            last = place
    assert times([float(high) for high in up], refractory=refractory) == expected


def test_an_event_hits_from_the_words_start_to_the_tolerance_after_its_end() -> None:
    word = [(1.0, 2.0)]
    assert outcome([1.0], word) == (1, 0, 0, 0)  # on the window's first edge
    assert outcome([2.5], word) == (1, 0, 0, 0)  # on its last
    assert outcome([0.999], word) == (0, 1, 1, 0)
    assert outcome([2.501], word) == (0, 1, 1, 0)


def test_no_event_no_word() -> None:
    assert outcome([], []) == (0, 0, 0, 0)
    assert outcome([], [(0, 1), (2, 3)]) == (0, 2, 0, 0)
    assert outcome([1, 2, 3], []) == (0, 0, 3, 0)


def test_a_burst_at_a_word_is_one_hit_and_repeats_and_elsewhere_every_one_is_an_alarm() -> None:
    assert outcome([1.5, 1.8, 2.4, 5.0, 5.1, 5.2], [(1, 2)]) == (1, 0, 3, 2)


def test_overlapping_words_are_paired_so_that_most_are_hit() -> None:
    # windows 0 to 4.5 and 1 to 2.5: the event at 2 must take the second, for 4 fits the first alone
    assert outcome([2.0, 4.0], [(0, 4), (1, 2)]) == (2, 0, 0, 0)
    assert outcome([2.0], [(0, 4), (1, 2)]) == (1, 1, 0, 0)  # one event, one word
    assert outcome([1.2, 1.4, 1.6], [(1, 2), (1, 2)]) == (2, 0, 0, 1)


@given(st.lists(st.integers(0, 12), max_size=5), st.lists(st.tuples(st.integers(0, 10), st.integers(0, 4)), max_size=4))
def test_pairing_hits_as_many_words_as_a_search_of_all_pairings(at: list[int], spans: list[tuple[int, int]]) -> None:
    words = [(float(s), float(s + length)) for s, length in spans]

    def best(events: list[int], left: tuple[tuple[float, float], ...]) -> int:
        if not events:
            return 0
        here = [1 + best(events[1:], left[:i] + left[i + 1 :]) for i, (s, e) in enumerate(left) if s <= events[0] <= e]
        return max([best(events[1:], left), *here])

    found = outcome([float(t) for t in at], words, tolerance=0.0)
    assert found[0] == best(sorted(at), tuple(words))
    assert found[0] + found[1] == len(words)
    assert found[0] + found[2] + found[3] == len(at)
    assert found[2] == sum(all(not s <= t <= e for s, e in words) for t in at)


def test_the_delay_is_from_the_words_end_where_that_is_known() -> None:
    found = match_events([Event(1.9), Event(7.25)], [LabelledWord(0.0, 3.0, end=1.5), LabelledWord(6.0, 9.0)])
    assert found.delays == (pytest.approx(0.4),)
    assert found.missed == ()
