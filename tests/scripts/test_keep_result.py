"""What is kept of a run: its figures, and nothing of the machine that made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechxfer.errors import UserError
from speechxfer.report.progress import Reporter

CORPUS, COMMAND = "six tones", "speechxfer adapt accent-whisper data.train=$SPEECHXFER_CORPORA/six/all.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_whisper, corpus_table):
    """A real run of two short stages, and its report."""
    from speechxfer.adaptation.run import adapt
    from speechxfer.config import load_recipe

    folder = tmp_path_factory.mktemp("runs") / "accent-whisper"
    recipe = load_recipe(
        "accent-whisper",
        [
            f"data.train={corpus_table}",
            "data.dev=speaker=s3",
            f"encoder.name={tiny_whisper}",
            "stages=[{train: head, epochs: 1, lr: 0.01}, {train: all, epochs: 2, lr: 0.01}]",
            "decoding.kind=greedy",
            "device=cpu",
            f"output={folder}",
        ],
    )
    adapt(recipe, reporter=Reporter(quiet=True))
    return folder


def keep(script, run, target: Path, *, name="accent-whisper", corpus=CORPUS, command=COMMAND) -> dict:
    words = ["--name", name, "--corpus", corpus, "--command", command, "--results", str(target)]
    script("keep_result.py").main([str(run), *words])
    return json.loads((target / f"{name}.json").read_text(encoding="utf-8"))


def test_the_figures_are_the_report_s(script, run, tmp_path):
    kept = keep(script, run, tmp_path, name="accent-whisper-seed-1")
    report = json.loads((run / "report.json").read_text())
    assert (kept["recipe"], kept["corpus"], kept["command"]) == ("accent-whisper", CORPUS, COMMAND)
    for side in ("before", "after", "after_padded_to_30s"):
        if side in report:
            assert kept[side] == {key: report[side][key] for key in kept[side] if key != "speakers"} | {"speakers": 2}
            assert set(kept[side]) >= {"wer", "interval", "substitutions", "deletions", "insertions", "reference_words"}
    assert kept.get("advice") == (report["advice"] or None)
    assert kept["selected"] == report["selected"] and kept["candidates"] == report["candidates"]
    assert [len(stage["dev"]) for stage in kept["stages"]] == [1, 2]
    trained = [stage["trained_parameters"] for stage in report["stages"]]
    assert [stage["trained_parameters"] for stage in kept["stages"]] == trained
    assert trained[0] < trained[1]
    assert kept["speed"] == report["speed"] and kept["speed"]["training_seconds"] > 0
    assert kept["seed"] == 0 and kept["versions"]["torch"] and kept["machine"]
    assert kept["settings"]["stages"][1]["train"] == ["all"]
    assert kept["splits"]["test"] == {"utterances": 6, "values of speaker": 2, "skipped": 0}


def test_no_path_of_the_machine_is_kept(script, run, tmp_path, corpus_table, tiny_whisper):
    kept = keep(script, run, tmp_path)
    text = json.dumps(kept)
    assert str(corpus_table) in (run / "report.json").read_text()  # or this test would show nothing
    for place in (run, run.parent, corpus_table.parent, tiny_whisper, Path.home(), Path.cwd()):
        assert str(place) not in text
    assert kept["settings"]["data"]["train"] == "all.csv"
    assert kept["settings"]["data"]["dev"] == "speaker=s3"  # no path: told whole
    assert kept["settings"]["encoder"]["name"] == tiny_whisper.name
    assert "output" not in kept["settings"]


@pytest.mark.parametrize(
    "value, name",
    [
        ("/srv/data/train.csv", "train.csv"),
        ("/srv/runs/accent-best/model/", "accent-best/model"),
        (r"C:\runs\accent-best\model", "accent-best/model"),
        ("whisper-tiny.en", "whisper-tiny.en"),
        ("speaker=s3/4", "speaker=s3/4"),
        ("hub:openai/model", "hub:openai/model"),
    ],
)
def test_what_a_path_is_called(script, value, name):
    assert script("keep_result.py")._name(value) == name


@pytest.mark.parametrize(
    "words, path",
    [
        ("adapt data.train=/home/me/train.csv", "/home/me/train.csv"),
        ("adapt ~/corpora/train.csv", "~/corpora/train.csv"),
        (r"adapt C:\corpora\train.csv", r"C:\corpora\train.csv"),
        ("adapt 'data.train=/data'", "/data'"),
    ],
)
def test_a_command_that_tells_a_path_is_refused(script, run, tmp_path, words, path):
    with pytest.raises(UserError) as refused:
        keep(script, run, tmp_path, command=words)
    assert refused.value.where == "command" and path in refused.value.problem
    assert "$SPEECHXFER_CORPORA" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        COMMAND,
        "read/heard by 25 speakers, km/h, 3 / 4",
        "encoder.name=hub:facebook/wav2vec2-base https://example.org/a/b",
        "data.train=corpora/six/all.csv ../six/all.csv 2>&1",
    ],
)
def test_what_is_no_path_of_the_machine_is_not(script, text):
    assert list(script("keep_result.py").paths_in({"command": text, "deep": [{"list": text}]})) == []


def test_a_path_hidden_deep_is_named_with_its_key(script):
    found = script("keep_result.py").paths_in({"a": [{"b": "seen in /srv/x"}], "/srv/y": 1})
    assert list(found) == [("a.0.b", "/srv/x"), ("/srv/y", "/srv/y")]


def test_a_result_belongs_to_a_recipe(script, run, tmp_path):
    with pytest.raises(UserError, match=r"does not begin with a recipe's name \(did you mean 'accent-whisper'\?\)"):
        keep(script, run, tmp_path, name="acent-whisper")
    with pytest.raises(UserError, match="synthetic"):
        keep(script, run, tmp_path, name="demo")
    with pytest.raises(UserError, match=r"neither report\.json nor result\.json"):
        keep(script, tmp_path, tmp_path)


def test_one_value_held_out_at_a_time(script, run, tmp_path):
    folder, target = tmp_path / "loo", tmp_path / "results"
    target.mkdir()
    accuracies = {"george": 0.98, "lucas": 0.99, "theo": 1.0}
    for value in accuracies:
        (folder / value).mkdir(parents=True)
        (folder / value / "report.json").write_text((run / "report.json").read_text())
    held = {v: {"accuracy": a, "utterances": 500, "seconds": 60.0, "wer": 1 - a} for v, a in accuracies.items()}
    result = {"recipe": "spoken-commands", "column": "speaker", "mean_accuracy": 0.99, "held_out": held}
    (folder / "result.json").write_text(json.dumps(result))
    kept = keep(script, folder, target, name="spoken-commands")
    assert kept["mean_accuracy"] == 0.99 and kept["held_out"] == accuracies
    assert kept["utterances"] == 1500 and kept["speed"]["total_seconds"] == 180
    # three values of equal size: Student's t, 4.3027 at two degrees of freedom, times 0.01 / sqrt(3)
    assert kept["interval"][0] == pytest.approx(0.99 - 4.3027 * 0.01 / 3**0.5, abs=1e-4)
    assert kept["interval"][1] == 1.0  # an accuracy is no more
