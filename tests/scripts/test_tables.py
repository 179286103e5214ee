"""Tables of a made-up project: figures by hand, against what the script writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechxfer.errors import UserError

RECIPE = """\
# When an accent is heard | anywhere.
#   Run:      speechxfer adapt accent data.train=train.csv     (an hour)
#   Override: seed=1   stages.0.epochs=3
#   It wants half an hour of speech.
data: {train: REQUIRED}
"""
README = "# x\n\n<!-- table: results -->\n<!-- end -->\nbetween\n<!-- table: benchmarks -->\nold\n<!-- end -->\nlast\n"


def rates(wer: float, low: float, high: float, speakers: int | None = 25) -> dict:
    return {"wer": wer, "interval": [low, high], "speakers": speakers}


def run_result(**changes: object) -> dict:
    return {
        "recipe": "accent",
        "corpus": "25 unheard speakers",
        "command": "speechxfer adapt accent",
        "machine": "2 cores",
        "kind": "run",
        "metric": "WER",
        "before": rates(0.3956, 0.35, 0.44),
        "after": rates(0.215, 0.1984, 0.2338),
        "after_padded_to_30s": rates(0.2251, 0.2, 0.25),
        "speed": {"total_seconds": 2_888.0},
        "busy": False,
        "settings": {"encoder": {"name": "whisper-small"}},
        **changes,
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A README with marks, one recipe, no results."""
    (tmp_path / "recipes" / "results").mkdir(parents=True)
    (tmp_path / "recipes" / "accent.yaml").write_text(RECIPE)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def keep(project: Path, name: str, result: dict) -> None:
    (project / "recipes" / "results" / f"{name}.json").write_text(json.dumps(result))


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]


def written(script, project: Path) -> str:
    script("tables.py").main(["--root", str(project)])
    return (project / "README.md").read_text()


def test_without_results_nothing_is_made_up(script, project):
    text = written(script, project)
    assert ["[accent](recipes/accent.yaml)", "not measured yet", "", "", "", "", ""] in rows(text)
    benches = rows(text.partition("between")[2])[2:]
    assert len(benches) == len(script("tables.py").BENCHES)
    assert all(row[1:] == ["not measured yet", "", ""] for row in benches)
    assert text.startswith("# x\n\n") and text.endswith("<!-- end -->\nlast\n") and "old" not in text
    assert "Result: not measured yet." in (project / "recipes" / "README.md").read_text()


def test_a_run(script, project):
    keep(project, "accent", run_result())
    assert rows(written(script, project))[2] == [
        "[accent](recipes/accent.yaml)",
        "25 unheard speakers",
        "whisper-small 39.6 % (35.0 to 44.0)",
        "21.5 % (19.8 to 23.4)",
        "22.5 % (20.0 to 25.0)",
        "48.1",
        "`speechxfer adapt accent`",
    ]


def test_several_results_of_a_recipe_stand_in_the_order_of_their_names(script, project):
    keep(project, "accent-seed-2", run_result(corpus="second"))
    keep(project, "accent", run_result(corpus="first"))
    assert [row[1] for row in rows(written(script, project))[2:4]] == ["first", "second"]


def test_a_selected_pretrained_model_is_stated(script, project):
    tried = [{"dev": 0.31, "dev_beam": None}, {"dev": 0.36, "dev_beam": 0.34}, {"dev": 0.2}]
    result = run_result(after=rates(0.3956, 0.35, 0.44), rejected=rates(0.5, 0.4, 0.6), candidates=tried)
    del result["after_padded_to_30s"]
    keep(project, "accent", result)
    row = rows(written(script, project))[2]
    kept = "the pretrained model, selected on dev (31.0 % against 34.0 %); the trained model has 50.0 % (40.0 to 60.0)"
    assert row[3] == f"39.6 % (35.0 to 44.0): {kept}"
    assert row[4] == "–"


def test_a_classifier_s_accuracy_and_an_interval_over_utterances(script, project):
    result = run_result(metric="error rate", before=None, after=rates(0.012, 0.005, 0.02, speakers=None))
    del result["after_padded_to_30s"]
    keep(project, "accent", result)
    assert rows(written(script, project))[2][2:4] == ["–", "accuracy 98.8 % (98.0 to 99.5, over utterances)"]


def test_one_held_out_at_a_time(script, project):
    held = {"kind": "leave one out", "column": "speaker", "mean_accuracy": 0.991, "interval": [0.98, 1.0]}
    keep(project, "accent", run_result(**held, held_out={"a": 0.982, "b": 1.0}))
    output = "accuracy 99.1 % (98.0 to 100.0), mean of 2, each held out by speaker; lowest 98.2 %"
    assert rows(written(script, project))[2][2:5] == ["–", output, "–"]


def test_the_recipes_page(script, project):
    keep(project, "accent", run_result())
    written(script, project)
    text = (project / "recipes" / "README.md").read_text()
    assert (
        "| [accent](accent.yaml) | When an accent is heard \\| anywhere. | whisper-small 39.6 % (35.0 to 44.0) → 21.5 %"
        in text
    )
    assert "\n    speechxfer adapt accent data.train=train.csv\n" in text
    assert "Override: `seed=1`, `stages.0.epochs=3`." in text
    assert "(an hour) It wants half an hour of speech." in text
    assert "Commands:\n\n    speechxfer adapt accent\n" in text


def test_benches_as_the_benches_write_them(script, project, monkeypatch):
    spread = {"median": 0.4123, "low": 0.4, "high": 0.45, "repeats": 9}
    slow = {"median": 690.4, "low": 688, "high": 695, "repeats": 3}
    keep(
        project,
        "bench-startup",
        {
            "command": "python scripts/bench/startup.py",
            "machine": "2 cores",
            "seconds": dict.fromkeys(("speechxfer --help", "python -c pass"), spread),
            "targets": {"speechxfer --help": 0.6},
        },
    )
    keep(
        project,
        "bench-encode",
        {
            "command": "python scripts/bench/encode.py",
            "machine": "2 cores",
            "corpus": "one utterance in 6 of a/b.csv",
            "model": "whisper-tiny.en",
            "audio_seconds": 1740,
            "seconds": {
                "unpadded": {"both": {"median": 14.04, "low": 14, "high": 15}},
                "padded to 30 s": {"both": slow},
            },
            "times_as_long": {"padded to 30 s": {"median": 8.2, "low": 8.1, "high": 8.33}},
        },
    )
    found = {row[0]: row[1:] for row in rows(written(script, project).partition("between")[2])}
    assert found["`speechxfer --help`, start to end"] == [
        "0.41 s (0.40 to 0.45)",
        "limit 0.6 s; Python alone 0.41 s (0.40 to 0.45)",
        "`python scripts/bench/startup.py`",
    ]
    encoded = found["29 min of speech encoded by whisper-tiny.en, unpadded (one utterance in 6 of a/b.csv)"]
    assert encoded[0] == "14.0 s (14.0 to 15.0)"
    assert encoded[1] == "padded to 30 s 690 s (688 to 695), 8.20 times (8.10 to 8.33) as long"


def test_check_names_what_is_out_of_step_and_writes_nothing(script, project, capsys):
    before = {path: path.read_text() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        script("tables.py").main(["--root", str(project), "--check"])
    assert "make tables" in str(stopped.value.code)
    output = capsys.readouterr().out
    for name in ("README.md, table 'results'", "README.md, table 'benchmarks'", "recipes/README.md"):
        assert f"{name}: out of date" in output
    assert {path: path.read_text() for path in project.rglob("*") if path.is_file()} == before

    written(script, project)
    capsys.readouterr()
    script("tables.py").main(["--root", str(project), "--check"])
    assert capsys.readouterr().out == ""
    assert written(script, project) == (project / "README.md").read_text()  # a second time changes nothing

    keep(project, "accent", run_result())
    with pytest.raises(SystemExit):
        script("tables.py").main(["--root", str(project), "--check"])
    output = capsys.readouterr().out
    assert "'results'" in output and "'benchmarks'" not in output


def test_a_readme_without_marks_is_left_alone(script, project):
    (project / "README.md").write_text("# mine\n")
    assert written(script, project) == "# mine\n"


@pytest.mark.parametrize(
    "readme, problem",
    [
        ("<!-- table: result -->\n<!-- end -->\n", r"unknown table 'result' \(did you mean 'results'\?\)"),
        ("<!-- table: results -->\ntext\n", "a table has no end"),
        ("<!-- table: results -->\n\n<!-- table: benchmarks -->\n<!-- end -->\n", "a table has no end"),
    ],
)
def test_marks_that_cannot_be_read(script, project, readme, problem):
    (project / "README.md").write_text(readme)
    with pytest.raises(UserError, match=problem):
        script("tables.py").main(["--root", str(project)])
    assert (project / "README.md").read_text() == readme


def test_a_results_file_that_lacks_something_is_named(script, project):
    keep(project, "bench-adapt", {"command": "x", "machine": "y", "what": "z"})
    with pytest.raises(UserError, match=r"bench-adapt\.json: has no 'splits'"):
        written(script, project)
    keep(project, "bench-adapt", {})
    result = run_result()
    del result["speed"]
    keep(project, "accent", result)
    with pytest.raises(UserError, match=r"accent\.json: has no 'speed'"):
        written(script, project)
    (project / "recipes" / "results" / "accent.json").write_text("{")
    with pytest.raises(UserError, match=r"accent\.json: is not JSON"):
        written(script, project)


# -- wake words ------------------------------------------------------------------------------------------------------
WAKEWORD_TRAIN = """\
# A detector of a word of your own.
#   Run: speechxfer wakeword train "hey" --recipe wakeword
word: REQUIRED
"""
WAKE_README = "<!-- table: results -->\n<!-- end -->\n<!-- table: wake-words -->\n<!-- end -->\n" + (
    "<!-- table: wake-word-benches -->\n<!-- end -->\n"
)


def at(misses: int, positives: int = 50) -> dict:
    interval = {"miss_rate": [0.01, 0.2], "false_alarms_per_hour": [0.0, 1.0]}
    delay = {"median": 240.4, "p95": 400.0}
    return {
        "misses": misses, "positives": positives, "miss_rate": misses / positives, "intervals": interval,
        "delay_ms": delay, "false_alarms": 3, "hours": 2.88,
    }  # fmt: skip


@pytest.fixture
def wake_words(project: Path) -> Path:
    (project / "recipes" / "wakeword.yaml").write_text(WAKEWORD_TRAIN)
    (project / "README.md").write_text(WAKE_README)
    return project


def test_a_wake_word_has_tables_of_its_own_and_no_row_of_before_and_after(script, wake_words):
    text = written(script, wake_words)
    results, words, benches = text.split("<!-- end -->")[:3]
    assert "wakeword" not in results.partition("table: results")[2]
    assert rows(words)[2] == ["miss rates over five folds", "not measured yet", "", ""]
    assert len(rows(benches)) == 2 + len(script("tables.py").WAKE_WORDS)
    assert "| [wakeword](wakeword.yaml) |" in (wake_words / "recipes" / "README.md").read_text()


def test_misses_by_folds(script, wake_words):
    conditions = {"as recorded": {"at_0_alarms": at(3), "at_1_alarms": at(1)}}
    keep(
        wake_words,
        "wakeword-folds",
        {
            "command": "python scripts/bench/wakeword_folds.py",
            "hours": 2.88,
            "upper_bounds_per_hour": {"0 alarms": 1.04, "1 alarms": 1.65},
            "snr": "10 dB",
            "speakers": "not named",
            "mean_miss_rate": {"as recorded": {"at_0_alarms": 0.06, "at_1_alarms": 0.02}},
            "words": {
                "computer": {
                    "conditions": conditions,
                    "cpu_minutes_of_training": [2.5, 2.31],
                    "as_calibrated": {"as recorded": {"misses": 2, "positives": 50, "false_alarms": 1}},
                }
            },
        },
    )
    text = written(script, wake_words)
    command = "`python scripts/bench/wakeword_folds.py`"
    none, one = "6.0 % [3 of 50] (1.0 to 20.0)", "2.0 % [1 of 50] (1.0 to 20.0)"
    assert ["computer", "as recorded", none, one, "4.0 %, 1 alarm", "240 ms"] in rows(text)
    assert ["mean", "as recorded", "6.0 %", "2.0 %", "4.0 %, 1 alarm", ""] in rows(text)
    assert f"took 2.3 to 2.5 CPU minutes per detector. Command: {command}." in text
    assert "On 2.9 h" in text and "an upper bound of 1.04 per hour, 1 gives 1.65" in text
    page = (wake_words / "recipes" / "README.md").read_text()
    assert "miss rate at no false alarm: as recorded 6.0 %" in page and none in page


def test_wake_words_beside_others(script, wake_words):
    spread = {"median": 0.04, "low": 0.02, "high": 0.1, "repeats": 10}
    cost = {"cpu_seconds_an_hour": {"median": 20.0, "low": 19.0, "high": 21.0, "repeats": 3}}
    cost["peak_memory_mb"] = cost["cpu_seconds_an_hour"]
    mean = {"as recorded": {"at_0_alarms": 0.05, "at_1_alarms": 0.04}}
    better = {"as recorded": {"at_0_alarms": 0.01, "at_1_alarms": 0.01}}
    command = {"command": "python x.py"}
    keep(
        wake_words, "wakeword-fewshot", {
            **command, "word": "snowboy", "recordings": 5,
            "miss_rate": {"as recorded": {"at_0_alarms": spread, "at_1_alarms": spread}},
        },
    )  # fmt: skip
    keep(
        wake_words, "wakeword-peers", {
            **command, "speed": {"speechxfer": cost, "openWakeWord": cost},
            "mean_miss_rate": {"speechxfer": mean, "head on their embedding": mean},
            "stock": {"models": {"alexa": {"false_alarms": 2, "hours": 2.88}}},
        },
    )  # fmt: skip
    made_up = {"misses": 1, "positives": 120, "alarms": 0, "hours": 0.06, "bound": 48.0}
    keep(
        wake_words, "wakeword-newcomer",
        {**command, "words": {"computer": {"minutes": 7.25, "synthetic": made_up, "real": at(20)}}},
    )  # fmt: skip
    day = {"hours": 24.0, "memory_growth_mb": 0.4, "cpu_seconds_an_hour": 21.0}
    keep(wake_words, "wakeword-day", {**command, **day})
    sides = {"none": [{"miss_rate": mean}] * 2, "whisper-tiny.en": [{"miss_rate": mean}, {"miss_rate": better}]}
    keep(wake_words, "wakeword-teacher", {**command, "word": "snowboy", "steps": 60, "sides": sides})
    found = [row[:3] for row in rows(written(script, wake_words))]
    assert [
        "*snowboy* taught by whisper-tiny.en too, 60 steps, as recorded",
        "missed at no false alarm 3.0 %",
        "without a teacher 5.0 % (2 seeds)",
    ] in found
    assert [
        "5 recordings of *snowboy*, as recorded",
        "missed at no false alarm, median 4.0 %",
        "2.0 % to 10.0 % over 10 draws",
    ] in found
    both = "missed at no false alarm, and at one, as recorded"
    assert [both, "5.0 %, 4.0 %", "openWakeWord: 5.0 %, 4.0 %"] in found
    assert ["false alarms", "–", "openWakeWord: stock `alexa`: 2 in 2.9 h"] in found
    newcomer = next(row for row in found if "synthetic voices alone, 7.2 min" in row[0])
    assert newcomer[1].startswith("on real speech: 40.0 % [20 of 50]") and "3 false alarms in 2.9 h" in newcomer[1]
    assert newcomer[2] == "on synthetic speech: 1 of 120 missed, 0 false alarms"
    assert any(row[0].startswith("24 h of sound") and "0.4 MB" in row[1] for row in found)


def test_pages_below_docs_have_tables_with_links_from_where_they_are(script, project):
    page = project / "docs" / "results" / "all.md"
    page.parent.mkdir(parents=True)
    page.write_text("<!-- table: results -->\n<!-- end -->\n")
    keep(project, "accent", run_result())
    assert "(recipes/accent.yaml)" in written(script, project)
    assert "(../../recipes/accent.yaml)" in page.read_text()


def test_the_summary_has_the_mean_of_three_seeds(script, project):
    (project / "README.md").write_text("<!-- table: summary -->\n<!-- end -->\n")
    for seed, wer in enumerate((0.2, 0.3, 0.25)):
        result = run_result()
        result["after"]["wer"] = wer
        keep(project, f"accent-little-seed-{seed}", result)
    page = written(script, project)
    assert "25.0 % (20.0 to 30.0 by seed)" in page and page.count("\n| ") == 3 and "accent-best" not in page
