"""Tables and marked texts."""

import io

import pytest
from rich.console import Console

from speechxfer.report.terminal import (
    make_before_after_table,
    make_curve_table,
    make_score_table,
    make_systems_table,
    mark_errors,
    mark_examples,
    print_scores,
)
from speechxfer.scoring import ScoringOptions, compare_systems, score
from speechxfer.scoring.analysis import AnalysedScore, analyse_score
from speechxfer.scoring.error_analysis import analyse_errors
from speechxfer.scoring.labels import score_labels

REFERENCES = ["a b c", "x y", "[red]not markup[/red]"]


def shown(renderable, width=120):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()


def systems():
    columns = {"accent": ["uk", "us", "us"]}
    options = ScoringOptions(normaliser="none")
    hypotheses = ["a q d d", "x", "[red]not"], ["a b c", "x y", "[red]not markup[/red]"]
    before, after = (score(REFERENCES, texts, columns=columns, by=["accent"], options=options) for texts in hypotheses)
    return before, after


def test_score_table_has_a_row_for_each_group():
    text = shown(make_score_table(systems()[0]))
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["all", "accent:", "accent:"]
    assert "71.4" in text


def test_before_and_after():
    text = shown(make_before_after_table(*systems(), by="accent"))
    assert "accent: us" in text and "-71.4" in text and "0.0" in text
    assert "accent" not in shown(make_before_after_table(*systems(), by="speaker"))


def test_examples_are_marked_and_markup_is_text():
    text = shown(mark_examples(*systems(), 3))
    assert "a (+" in text or "[q]" in text
    assert "(-y)" in text
    assert "[red]not markup[/red]" in text


def test_groups_that_look_like_markup_are_shown():
    columns = {"room": ["[anna]", "[/red]"]}
    found, other = (score(["a", "b"], texts, columns=columns, by=["room"]) for texts in (["a", "b"], ["a", "c"]))
    for table in (make_score_table(found), make_before_after_table(found, other)):
        assert "room: [anna]" in shown(table) and "room: [/red]" in shown(table)


def many(count, wrong):
    """Two utterances of four words from each speaker, of which `wrong(speaker)` are wrong."""
    speakers = [i for i in range(count) for _ in range(2)]
    hypotheses = [" ".join(["x"] * wrong(i) + ["a"] * (4 - wrong(i))) for i in speakers]
    return score(["a a a a"] * len(hypotheses), hypotheses, speakers=[f"p{i:03}" for i in speakers], by="auto")


def test_a_long_column_shows_its_worst_and_best_and_the_rest_in_one_row():
    found = many(40, lambda i: 4 if i < 3 else 2 if i < 30 else 0)
    rows = [line.strip() for line in shown(make_score_table(found)).splitlines()[1:]]
    labels = [row.split("  ")[0] for row in rows]
    assert labels[0] == "all" and labels[1:4] == ["speaker: p000", "speaker: p001", "speaker: p002"]
    assert len(labels) == 1 + 8 + 1 + 4 and labels[9] == "speaker: 28 others" and labels[-1] == "speaker: p039"
    words = [int(row.split()[-5]) for row in rows]
    assert sum(words[1:]) == words[0] == 320
    assert len(shown(make_score_table(many(24, lambda i: i % 3))).splitlines()) == 2 + 24


def test_the_columns_come_with_the_fewest_values_first_and_speakers_last():
    n = 24
    columns = {"accent": [f"a{i % 4}" for i in range(n)], "gender": [f"g{i % 2}" for i in range(n)]}
    speakers = [f"s{i % 8}" for i in range(n)]
    found = score(["a b"] * n, ["a"] * n, speakers=speakers, columns=columns, by="auto")
    names = [line.split(":")[0].strip() for line in shown(make_score_table(found)).splitlines()[2:]]
    assert list(dict.fromkeys(names)) == ["gender", "accent", "speaker"]


def test_groups_come_with_the_highest_rate_afterwards_first():
    before = score(["a b"] * 4, ["a b", "a b", "x y", "x y"], columns={"c": ["u", "u", "v", "v"]}, by=["c"])
    after = score(["a b"] * 4, ["a x", "a b", "a b", "a b"], columns={"c": ["u", "u", "v", "v"]}, by=["c"])
    lines = shown(make_before_after_table(before, after)).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["all", "c:", "c:"] and lines[3].split()[1] == "u"
    assert "0.0 [0]" in lines[3] and "25.0 [1]" in lines[3] and lines[3].split()[-1] == "+25.0"


def test_nothing_of_a_wide_table_is_cut():
    name = "a-very-long-file-name-of-a-system-of-some-kind.jsonl"
    found = score(["a b"], ["a"])
    console = Console(file=io.StringIO(), width=40, color_system=None, soft_wrap=True)
    console.print(make_systems_table({name: found, "y": found, "z": found}))
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3 and lines[2].count("50.0 [1]") == 3 and "d.jsonl" in lines[0] and "…" in lines[0]


def test_more_than_three_systems_leave_their_intervals_out():
    found = score(["a b"] * 9, ["a", "a b", "a"] * 3)
    assert "95 %" in shown(make_systems_table(dict.fromkeys("xyz", found)))
    assert "95 %" not in shown(make_systems_table(dict.fromkeys("wxyz", found)))


def test_examples_are_utterances_that_changed_for_better_and_worse():
    references = ["a b c d"] * 8
    before = score(references, ["a b c d", "x x x d", "a x x d", "x x c d", "a b c d", "a b c d", "x b c d", "a b c d"])
    after = score(references, ["a b c d", "a b c d", "a b c d", "a b c d", "x b c d", "x x x d", "x b c d", "a b c d"])
    heads = [line for line in shown(mark_examples(before, after, 4)).splitlines() if "error" in line]
    assert heads == ["2 (3 errors fewer)", "3 (2 errors fewer)", "6 (3 errors more)", "5 (1 error more)"]
    fewer = [line for line in shown(mark_examples(after, before, 8)).splitlines() if "error" in line]
    assert len(fewer) == 5  # of eight asked for, five changed
    assert shown(mark_examples(before, before, 4)).strip() == ""


def test_an_optional_word_left_out_is_not_said():
    found = score(["(uh) a hel-"], ["a hello"], options=ScoringOptions(notation=True))
    assert mark_errors(found, 0).plain == "a hello"


def test_all_examples_are_better_where_nothing_worsened():
    before, after = score(["a b"] * 5, ["x y"] * 5), score(["a b"] * 5, ["a y"] * 5)
    assert shown(mark_examples(before, after, 4)).count("1 error fewer") == 4


def test_a_learning_curve():
    points = [
        {"share": 0.25, "hours": 0.5, "utterances": 450, "dev": 0.301},
        {"share": 1.0, "hours": 2.0, "utterances": 1800, "dev": 0.2},
    ]
    lines = [line.split() for line in shown(make_curve_table(points)).splitlines()]
    assert lines[0] == ["hours", "utterances", "dev", "WER", "%"]
    assert lines[1:] == [
        ["25", "%", "of", "train", "0.50", "450", "30.1"],
        ["100", "%", "of", "train", "2.00", "1,800", "20.0"],
    ]


def test_printed_scores_of_two_systems(capsys):
    before, after = systems()
    results = {"before": before, "after": after}
    rules = [("as written", before.counts), ("case", before.counts)]
    analysed = {"before": AnalysedScore(before, analyse_errors(before), rules), "after": analyse_score(after)}
    print_scores(analysed, compare_systems(results), ["look at [red] twice"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("before: 71.4 % [5 / 7: ")
    assert "before normalisation 71.4 % [5 / 7]; change in errors by rule: none" in lines
    assert "worst utterances: 1 [3 / 3], 2 [1 / 2], 3 [1 / 2]" in lines
    assert any(
        line.startswith("before to after: -71.4 points over 3 utterances, permutation test p = ") for line in lines
    )
    assert lines[-1] == "warning: look at [red] twice"


def three_systems():
    """Three systems with long names, groups with long values, and more words than a line holds."""
    n = 60
    words = [f"word{i % 7:04}" for i in range(n)]
    references = [f"{word} {word} said the quick brown fox" for word in words]
    columns = {"room": [("a quiet living room with a carpet", "[/street]", "[indoor]")[i % 3] for i in range(n)]}
    speakers = [f"s{i % 20}" for i in range(n)]
    systems = {}
    for k, name in enumerate(("a-very-long-file-name-of-a-system-of-some-kind.jsonl", "exp[a]/h.trn", "exp[b]/h.trn")):
        texts = [text.replace("quick", f"quark{i}") if i % (k + 2) == 0 else text for i, text in enumerate(references)]
        ids = [f"/data/recordings/of/a/long/path/{i:04}.wav" for i in range(n)]
        systems[name] = score(references, texts, ids=ids, speakers=speakers, columns=columns, by=["room"])
    return systems


@pytest.mark.parametrize("count", [1, 2, 3])
def test_nothing_but_sentences_is_wider_than_80_columns(count, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    systems = dict(list(three_systems().items())[:count])
    print_scores({name: analyse_score(found) for name, found in systems.items()}, {}, [])
    lines = [line for line in capsys.readouterr().out.splitlines() if " ins]" not in line]  # the headlines
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "room: [indoor]" in text and "room: [/street]" in text and "most confused: quick > quark0 (1)" in text
    assert "95 %" in text and (count < 3 or ("exp[a]/h.trn" in text and "exp[b]/h.trn" in text))


def test_systems_that_do_not_fit_side_by_side_are_below_each_other_with_their_intervals():
    systems = three_systems()
    wide = shown(make_systems_table(systems), 200).splitlines()
    narrow = shown(make_systems_table(systems, width=80), 80).splitlines()
    assert len(wide) == 2 + 1 + 3 and len(narrow) == 1 + 3 * (1 + 3)
    assert narrow[0].split() == ["system", "words", "%", "[errors]", "95", "%"]
    assert [line.split()[-2:] for line in narrow[1:4]] == [
        [f"[{found.counts.errors}]", f"{100 * found.interval.low:.1f}-{100 * found.interval.high:.1f}"]
        for found in systems.values()
    ]
    two = shown(make_systems_table(dict(list(systems.items())[1:]), width=70)).splitlines()
    change = 100 * (systems["exp[b]/h.trn"].wer - systems["exp[a]/h.trn"].wer)
    assert two[0].split()[-1] == "change" and two[2].split()[-1] == f"{change:+.1f}" and max(map(len, two)) <= 70


def test_numbers_and_bins_are_in_their_own_order():
    ages = [9, 10, 25, 30, 100] * 4
    hypotheses = [f"a{'b' * (age // 10 % 3)}" for age in ages]
    found = score(["a"] * 20, hypotheses, columns={"age": ages}, by=["age:10"])
    labels = [line.split()[1] for line in shown(make_score_table(found)).splitlines()[2:]]
    assert labels == ["0-9", "10-19", "20-29", "30-39", "100-109"]


def test_labels_are_shown_with_their_accuracy(capsys):
    rooms = {"room": ["a", "a", "b", "b"]}
    before, after = (
        score_labels(["one", "one", "one", "two"], predictions, columns=rooms, by=["room"])
        for predictions in (["one"] * 4, ["one", "one", "one", "two"])
    )
    lines = [line.split() for line in shown(make_score_table(before)).splitlines()]
    assert lines[0] == ["accuracy", "%", "95", "%", "labels", "wrong"]
    assert lines[1][:2] == ["all", "75.0"] and lines[1][-2:] == ["4", "1"]
    assert [line[-3:] for line in lines[2:]] == [["50.0", "2", "1"], ["100.0", "2", "0"]]
    text = shown(make_before_after_table(before, after))
    assert "75.0 [1]" in text and "100.0 [0]" in text and "+25.0" in text and "accuracy % [wrong]" in text
    print_scores({"after": analyse_score(before)}, {}, before.warnings)
    printed = capsys.readouterr().out
    assert printed.startswith("accuracy 75.0 % [3 / 4]") and "never predicted: two" in printed
    assert "most confused: two > one (1)" in printed and "recall %" in printed
    for word in ("WER", "CER", "MER", "words", "normalisation"):
        assert word not in printed
    points = [{"share": 1.0, "hours": 0.5, "utterances": 10, "dev": 0.25}]
    curve = shown(make_curve_table(points, "accuracy"))
    assert "dev accuracy %" in curve and "75.0" in curve
