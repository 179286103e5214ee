"""The benchmark against faster-whisper on a tiny model: every side transcribes every utterance, in order."""

from __future__ import annotations

import argparse
import json

import pytest

pytest.importorskip("faster_whisper")


@pytest.fixture(scope="module")
def whisper(make_whisper):
    return make_whisper(seconds=30)


def options(**values):
    return argparse.Namespace(**{"threads": 1, "batch_size": 2, "beam_size": 1, "every": 4, "smoke": False, **values})


def test_both_ways_of_faster_whisper_say_the_same(script, whisper, corpus_table, tmp_path, monkeypatch):
    from speechxfer.data.reader import read
    from speechxfer.export import export_model

    bench = script("bench/against_faster_whisper.py")
    monkeypatch.setattr(bench, "_max_tokens", lambda waveforms: 12)  # this model has 64 positions only
    folder = export_model(whisper, "ctranslate2", tmp_path / "out").output
    rows = read(corpus_table).select([0, 5, 10, 15, 17])
    by_pipeline, by_generate = bench.make_pipeline(folder, options())(rows), bench.make_direct(folder, options())(rows)
    assert all(by_generate) and by_pipeline == by_generate
    one_by_one = [bench.make_direct(folder, options())(rows.select([place]))[0] for place in range(len(rows))]
    assert one_by_one == by_generate  # independent of the batch, in the table's order


def test_transformers_pipeline_answers_in_the_table_s_order(script, whisper, corpus_table, tmp_path):
    from transformers import GenerationConfig

    from speechxfer.data.reader import read
    from speechxfer.export import export_model

    bench = script("bench/against_faster_whisper.py")
    folder = export_model(whisper, "transformers", tmp_path / "out").output
    stated = GenerationConfig.from_pretrained(folder)
    stated.max_new_tokens, stated.max_length = 12, None  # this model has 64 positions, and the pipeline asks for 256
    stated.save_pretrained(folder)
    rows = read(corpus_table).select([0, 5, 17])
    texts = bench.make_transformers(folder, options())(rows)
    assert texts == [bench.make_transformers(folder, options())(rows.select([place]))[0] for place in range(3)] and any(
        texts
    )


def test_our_sides_run_the_same_model_in_two_engines(script, whisper, corpus_table, tmp_path):
    from speechxfer.data.reader import read
    from speechxfer.export import export_model
    from speechxfer.models import load

    bench = script("bench/against_faster_whisper.py")
    unpadded = load(whisper, device="cpu")
    unpadded.settings.pad_to_30s = False
    unpadded.save(tmp_path / "saved")
    folder = export_model(tmp_path / "saved", "ctranslate2", tmp_path / "out").output
    rows = read(corpus_table).select([0, 3])  # 0.4 s, and 0.5 s, which no engine pads
    quick, slow = (
        bench.make_speechxfer(folder, options())(rows),
        bench.make_speechxfer(tmp_path / "saved", options())(rows),
    )
    assert all(quick) and quick[1] == slow[1]


def test_the_quicker_of_their_ways_is_the_one_compared_with(script):
    bench = script("bench/against_faster_whisper.py")
    runs = {side: [{"seconds": 9.0}] * 3 for side in bench.SIDES}
    runs[bench.OURS] = [{"seconds": seconds} for seconds in (1.0, 2.0, 1.0)]
    runs["faster-whisper int8, zero-shot, direct"] = [{"seconds": seconds} for seconds in (4.0, 6.0, 5.0)]
    found = bench._compute_speed_ratio(runs, "zero-shot")
    assert found["against"] == "faster-whisper int8, zero-shot, direct"
    assert (found["low"], found["median"], found["high"]) == (3.0, 4.0, 5.0)


def test_one_turn_as_a_process_of_its_own(script, whisper, corpus_table, tmp_path):
    bench = script("bench/against_faster_whisper.py")
    from _processes import measured

    words = [str(bench.__file__), str(corpus_table), "--adapted", str(whisper), "--every", "6", "--beam-size", "1"]
    found = measured([*words, "--side", bench.TORCH], 1)
    assert len(found["said"]) == 3 and found["seconds"] > 0 and found["peak_memory_mb"] > 100
    with pytest.raises(KeyError, match="no such side"):
        bench.main([*words[1:], "--side", "no such side", "--result", str(tmp_path / "result.json")])
    with pytest.raises(SystemExit, match=r"(?s)ended with 1:.*KeyError: 'no such side'"):
        measured(["-c", "raise KeyError('no such side')"], 1)


def test_the_whole_bench_describes_its_turns_in_words_that_it_reads(
    script, whisper, corpus_table, tmp_path, monkeypatch, capsys
):
    bench = script("bench/against_faster_whisper.py")
    asked = []
    monkeypatch.setattr(bench, "run_side", asked.append)

    def measured(words, threads):
        bench.main([*words[1:], "--result", str(tmp_path / "result.json")])
        times = 1 if asked[-1].side == bench.OURS else 4
        texts = ["one", "nothing", "nothing"] if times == 1 else ["nothing"] * 3
        return {"seconds": 0.5 * times, "said": texts, "peak_memory_mb": 100.0}

    monkeypatch.setattr(bench, "measured", measured)
    models = ["--adapted", str(whisper), "--zero-shot", str(whisper)]
    out = tmp_path / "out.json"
    bench.main([str(corpus_table), *models, "--every", "6", "--repeats", "2", "--json", str(out)])
    found = json.loads(out.read_text())
    assert set(found["sides"]) == set(bench.SIDES)
    assert found["sides"][bench.OURS]["wer"] == pytest.approx(2 / 3)  # rows 0, 6 and 12 of the table all say "one"
    assert found["sides"][bench.OURS]["throughput"]["median"] == pytest.approx(found["audio_seconds"] / 0.5, abs=0.2)
    assert found["times_as_fast"]["exported"]["median"] == 4.0 and found["beams"] == 1
    assert (
        found["sides"][bench.PLAIN]["seconds"]["repeats"] == 1
        and found["sides"][bench.TORCH]["seconds"]["repeats"] == 2
    )
    assert all(one.smoke for one in asked[: len(bench.SIDES)]) and not any(
        one.smoke for one in asked[len(bench.SIDES) :]
    )
    assert str(tmp_path) not in out.read_text()
    capsys.readouterr()
