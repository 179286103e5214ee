"""`speechxfer evaluate`: every form of model, the contract's JSON and files, bad rows, options that act."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from speechxfer.cli import build_app
from speechxfer.models import load
from speechxfer.models.transcribe import transcribe

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, code: int = 0) -> tuple[str, str]:
        done = CliRunner().invoke(build_app(), ["evaluate", *map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done.stdout, done.stderr

    return invoke


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_counts_are_those_of_the_answers_written(run: Run, whisper: Path, speech: Path, tmp_path: Path) -> None:
    out, _ = run(whisper, speech, "--output", tmp_path / "deep/report", "--json", tmp_path / "r.json")
    folder = tmp_path / "deep/report"
    assert sorted(path.name for path in folder.iterdir()) == ["after.jsonl", "report.html", "report.json"]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report == json.loads((folder / "report.json").read_text())
    assert {"result", "speed", "provenance", "warnings", "normaliser", "comparison"} <= set(report)
    assert report["comparison"] is None and "before" not in report
    rows = lines_of(folder / "after.jsonl")
    assert [row["audio"] for row in rows] == [f"audio/{n}.wav" for n in range(6)]
    assert {"id", "audio", "hypothesis", "reference", "speaker", "accent"} == set(rows[0])
    truth = jiwer.process_words([row["reference"] for row in rows], [row["hypothesis"] for row in rows])
    found = report["result"]
    assert (found["substitutions"], found["deletions"], found["insertions"], found["hits"]) == (
        truth.substitutions,
        truth.deletions,
        truth.insertions,
        truth.hits,
    )
    assert found["wer"] == pytest.approx(truth.wer)
    assert set(found["by"]) == {"speaker"}  # two accents of three rows each are too few rows for `auto`
    assert f"{100 * truth.wer:.1f} %" in out.replace("WER ", "")
    seconds = sum(soundfile.info(speech.parent / row["audio"]).duration for row in rows)
    assert report["speed"]["audio_seconds"] == pytest.approx(seconds, abs=0.01)
    assert report["provenance"]["options"] == {"language": None, "beams": 1, "padded_to_30s": True}
    # what the answers' own scoring says is the same
    scored = CliRunner().invoke(
        build_app(), ["score", str(folder / "after.jsonl"), "--normalise", report["normaliser"], "--json", "-", "-q"]
    )
    assert json.loads(scored.stdout)["result"] == found


def test_the_hypotheses_are_the_models_own(run: Run, whisper: Path, speech: Path, tmp_path: Path) -> None:
    run(whisper, speech, "--output", tmp_path / "o", "-q")
    waveforms = [soundfile.read(speech.parent / f"audio/{n}.wav", dtype="float32")[0] for n in range(6)]
    texts = [text for waveform in waveforms for text in load(whisper, device="cpu").predict([waveform])]
    assert [row["hypothesis"] for row in lines_of(tmp_path / "o/after.jsonl")] == texts
    assert len(set(texts)) > 1, "the random model says the same of everything, so this test would see nothing"


def test_beside_a_baseline(run: Run, whisper: Path, other_whisper: Path, speech: Path, tmp_path: Path) -> None:
    out, _ = run(
        whisper, speech, "--baseline", other_whisper, "--output", tmp_path / "o", "--json", tmp_path / "r.json"
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert "result" not in report
    before, after = lines_of(tmp_path / "o/before.jsonl"), lines_of(tmp_path / "o/after.jsonl")
    for name, rows in (("before", before), ("after", after)):
        rate = jiwer.wer([row["reference"] for row in rows], [row["hypothesis"] for row in rows])
        assert report[name]["wer"] == pytest.approx(rate)
    assert report["comparison"]["difference"] == pytest.approx(report["after"]["wer"] - report["before"]["wer"])
    assert report["provenance"]["baseline_checkpoint"] != report["provenance"]["checkpoint"]
    last = out.splitlines()[-5:]
    assert last[0].startswith("scored  6 utterances, normaliser default; ") and last[0].endswith("s on cpu")
    assert last[1].startswith(
        f"baseline  {other_whisper}, padded to 30 s, greedy: WER {100 * report['before']['wer']:.1f} %"
    )
    assert last[2].startswith(f"model     {whisper}, padded to 30 s, greedy: WER {100 * report['after']['wer']:.1f} %")
    assert last[3].startswith("change    ") and "points" in last[3]
    assert last[4] == f"report  {tmp_path / 'o/report.html'}"
    assert "baseline" in out and "before" not in out and " after" not in out
    assert "errors of the model:" in out and "highest error rates" not in out  # no word occurs five times
    assert "most confused: " in out and "MER " in out
    page = (tmp_path / "o/report.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["systems"] == ["baseline", "model"]
    # a later evaluation without one leaves no stale before.jsonl beside its own report
    run(whisper, speech, "--output", tmp_path / "o", "-q")
    assert not (tmp_path / "o/before.jsonl").exists()


def test_both_are_scored_on_what_both_can_take(
    run: Run, whisper: Path, make_whisper: Callable[..., Path], speech: Path, tmp_path: Path
) -> None:
    """The baseline writes forty tokens, the model sixty."""
    tiny_whisper = make_whisper(seconds=2)
    speech.write_text(speech.read_text().replace(",egg,", f",{'abcd ' * 10},"))
    _, err = run(tiny_whisper, speech, "--baseline", whisper, code=2)
    assert "row 5, audio/4.wav: its text is " in err and "the model takes " in err
    run(tiny_whisper, speech, "--baseline", whisper, "--skip-bad", "--json", tmp_path / "r.json", "-q")
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["skipped"], report["before"]["utterances"], report["after"]["utterances"]) == (1, 5, 5)
    run(tiny_whisper, speech, "-q")


def test_a_recording_of_ten_minutes_with_its_whole_text(run: Run, whisper: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    tones = [0.3 * np.sin(np.arange(56_000) / generator.uniform(5, 30)) for _ in range(150)]
    wave = np.concatenate([part for tone in tones for part in (tone, np.zeros(8_000))])
    soundfile.write(tmp_path / "talk.wav", wave, 16_000)
    text = " ".join(generator.choice(["bad", "cab", "egg"]) for _ in range(1_500))
    (tmp_path / "talk.csv").write_text(f"audio,text\ntalk.wav,{text}\n")
    out, _ = run(whisper, tmp_path / "talk.csv", "--output", tmp_path / "o", "--json", tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["result"]["reference_words"], found["result"]["utterances"], found["skipped"]) == (1500, 1, 0)
    assert found["speed"]["audio_seconds"] == 600
    transcript = transcribe(whisper, tmp_path / "talk.wav", device="cpu")[0].text
    (line,) = (tmp_path / "o" / "after.jsonl").read_text().splitlines()
    assert json.loads(line)["hypothesis"] == transcript and len(transcript) > 100
    assert (tmp_path / "o" / "report.html").stat().st_size < 1_000_000
    assert max(map(len, out.splitlines())) <= 400


def test_a_model_that_writes_on_and_on_is_remarked_on(run: Run, whisper: Path, speech: Path, tmp_path: Path) -> None:
    remarks = {}
    for text in ("bad", "bad " * 8):
        speech.write_text(f"audio,text\naudio/5.wav,{text}\n")
        out, _ = run(whisper, speech, "--json", tmp_path / "r.json")
        found = json.loads((tmp_path / "r.json").read_text())["result"]
        mostly = 2 * found["insertions"] > found["substitutions"] + found["deletions"] + found["insertions"]
        remarks[mostly] = "are insertions: it loops or does not end" in out
    assert remarks == {True: True, False: False}


def test_a_run_folder_and_a_model_saved_by_us_are_the_same_model(
    run: Run, whisper: Path, speech: Path, tmp_path: Path
) -> None:
    load(whisper, device="cpu").save(tmp_path / "run/model")
    (tmp_path / "run/recipe.yaml").write_text("stages: []\n")
    results = []
    for model in (whisper, tmp_path / "run/model", tmp_path / "run"):
        run(model, speech, "--json", tmp_path / "r.json", "-q")
        results.append(json.loads((tmp_path / "r.json").read_text())["result"])
    assert results[0] == results[1] == results[2]


def test_padding_and_beams_act_and_are_stated(run: Run, whisper: Path, speech: Path, tmp_path: Path) -> None:
    texts = {}
    for options in ("--pad-to-30s", "--no-pad-to-30s", "--beam-size=3"):
        run(whisper, speech, options, "--output", tmp_path / "o", "-q")
        stated = json.loads((tmp_path / "o/report.json").read_text())["provenance"]["options"]
        assert stated["padded_to_30s"] is (options != "--no-pad-to-30s")
        assert stated["beams"] == (3 if options == "--beam-size=3" else 1)
        texts[options] = [row["hypothesis"] for row in lines_of(tmp_path / "o/after.jsonl")]
    assert texts["--pad-to-30s"] != texts["--no-pad-to-30s"]
    assert texts["--pad-to-30s"] != texts["--beam-size=3"]


def test_breakdown_and_normaliser_by_choice(run: Run, whisper: Path, speech: Path, tmp_path: Path) -> None:
    _, err = run(whisper, speech, "--by", "accent, dialect", code=2)
    assert "no column 'dialect'" in err
    run(whisper, speech, "--by", "accent", "--normalise", "none", "--json", tmp_path / "r.json", "-q")
    report = json.loads((tmp_path / "r.json").read_text())
    assert set(report["result"]["by"]) == {"accent"}
    assert report["normaliser"] == "none"
    run(whisper, speech, "--by", "none", "--json", tmp_path / "r.json", "-q")
    assert json.loads((tmp_path / "r.json").read_text())["result"]["by"] == {}


def test_a_multilingual_checkpoint_is_told_its_language(run: Run, multilingual_whisper: Path, speech: Path) -> None:
    _, err = run(multilingual_whisper, speech, code=2)
    assert "--language en" in err
    run(multilingual_whisper, speech, "--language", "de", "-q")


def test_bad_rows_stop_before_any_work(
    run: Run, whisper: Path, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (speech.parent / "audio/1.wav").write_text("not audio")
    speech.write_text(speech.read_text() + "audio/gone.wav,bad,0001,south\n")
    monkeypatch.setattr("speechxfer.adaptation.evaluate.evaluate_split", lambda *_, **__: pytest.fail("it began"))
    _, err = run(whisper, speech, code=2)
    for named in ("row 2, audio/1.wav: is text", "row 7, audio/gone.wav: no such file"):
        assert named in err
    assert "--skip-bad" in err
    monkeypatch.undo()
    run(whisper, speech, "--skip-bad", "--json", tmp_path / "r.json", "-q")
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["skipped"], report["result"]["utterances"]) == (2, 5)
    assert "2 invalid rows were skipped" in report["warnings"][0]


def test_several_splits_are_remarked_on(run: Run, whisper: Path, speech: Path) -> None:
    header, *rows = speech.read_text().splitlines()
    split = [f"{header},split", *(f"{row},{'train' if n else 'test'}" for n, row in enumerate(rows))]
    speech.write_text("\n".join(split) + "\n")
    assert "all rows are scored, from the splits test, train" in run(whisper, speech)[0]


def test_quiet_and_json_to_standard_output(run: Run, whisper: Path, speech: Path) -> None:
    assert json.loads(run(whisper, speech, "--json", "-")[0])["result"]["utterances"] == 6
    assert run(whisper, speech, "-q") == ("", "")


def test_the_page_plays_the_stretch_that_was_scored(run: Run, whisper: Path, speech: Path, tmp_path: Path) -> None:
    speech.write_text("audio,text,start,end\naudio/5.wav,bad,0.25,0.75\n")
    run(whisper, speech, "--output", tmp_path / "o", "-q")
    assert "audio/5.wav#t=0.25,0.75" in (tmp_path / "o/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}", "gone.csv"], "gone.csv: no such file or folder"),
        (["nowhere", "{data}"], "no such model"),
        (["{model}", "untold.csv"], "has no column 'text' to score against"),
        (["{model}", "{data}", "--normalise", "englsh"], "did you mean 'english'"),
        (["{model}", "{data}", "--baseline", "nowhere"], "no such model"),
        (["{model}", "{data}", "--device", "gpu"], "'gpu' is not one of auto, cpu, cuda, mps"),
        (["{model}", "{data}", "--output", "{data}"], "is a file"),
        (["{model}", "{data}", "--output", "run"], "is a run folder"),
        (["{model}", "{data}", "--language", "de"], "this checkpoint knows English only"),
        (["cut", "{data}"], "its weights cannot be read"),
        (["{model}", "silent.csv"], "has no valid row"),
    ],
)
def test_mistakes(arguments: list[str], message: str, run: Run, whisper: Path, speech: Path, tmp_path: Path) -> None:
    (tmp_path / "untold.csv").write_text(f"audio\n{speech.parent}/audio/0.wav\n")
    (tmp_path / "silent.csv").write_text("audio,text\ngone.wav,bad\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/recipe.yaml").write_text("")
    shutil.copytree(whisper, tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    skip = ["--skip-bad"] if "silent.csv" in arguments else []
    _, err = run(*(a.format(model=whisper, data=speech) for a in arguments), *skip, code=2)
    assert message in err
