"""Lines about the errors of a score."""

from speechxfer.report.error_lines import describe_errors, describe_rates, describe_score
from speechxfer.report.formatting import format_percent, shorten_middle, shorten_names
from speechxfer.scoring import ScoringOptions, score
from speechxfer.scoring.analysis import analyse_score
from speechxfer.scoring.error_analysis import analyse_errors


def test_other_rates():
    found = score(["a b c d"], ["a b x"])  # 2 hits, 1 S, 1 D: MER 2 / 4, WIL 1 - 4 / 12
    assert describe_rates(found) == ["MER 50.0 %, WIL 66.7 %, CER 42.9 %"]
    by_character = score(["abcd"], ["abx"], options=ScoringOptions(unit="char"))
    assert describe_rates(by_character) == ["MER 50.0 %, WIL 66.7 %"]  # the headline is the CER
    assert describe_rates(score([""], ["a"])) == []


def test_words_utterances_and_loops():
    references = ["the cat"] * 6 + ["a b c d"]
    hypotheses = ["the hat"] * 3 + ["the cat"] * 2 + ["the cat sat"] + ["no no no no no no no no no"]
    ids = [*map(str, range(6)), "/a/long/path/of/a/recording.wav"]
    found = score(references, hypotheses, ids=ids)
    lines = describe_errors(found, analyse_errors(found))
    assert lines[0].startswith("most confused: cat > hat (3), ")
    assert "highest error rates of words: cat (3 of 6)" in lines
    assert any(line.startswith("worst utterances: /a/long/…a/recording.wav [9 / 4], ") for line in lines)
    assert lines[-2:] == [
        "utterances with more errors than words: 1",
        "hypotheses with repetition loops: 1; without them 33.3 % [4 / 12]",
    ]


def test_details_that_were_asked_for():
    found = score(["Hello, Ann. Bye!"], ["hello ann, Bye! Ann"])
    analysed = analyse_score(found, terms={"Ann": ("ann",)}, punctuation=True, case=True)
    lines = describe_score(analysed)
    assert "terms: error rate 100.0 %; recall 100.0 % [1 / 1], precision 50.0 % [1 / 2], F1 66.7 %" in lines
    assert "punctuation: error rate 66.7 % [2 / 3: 1 sub, 1 del, 0 ins]" in lines
    assert "case: error rate 66.7 % [2 / 3: 2 capitals missing, 0 added]" in lines
    assert not any(line.startswith(("terms", "punct", "case")) for line in describe_score(analyse_score(found)))


def test_names_and_percents():
    assert shorten_middle("abcdefghij", 10) == "abcdefghij" and shorten_middle("abcdefghijk", 6) == "ab…ijk"
    assert shorten_names(["exp[a]/h.trn", "exp[b]/h.trn"], 8) == ["exp[a]/h.trn", "exp[b]/h.trn"]
    assert shorten_names(["a" * 20, "b" * 20, "b" * 20], 6) == ["aa…aaa", "bb…bbb", "bb…bbb"]
    assert format_percent(0.12345) == "12.3 %" and format_percent(None) == "-"
