"""Long files in cuts: held against the samples written, in every format, at any block size; memory against length."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxfer.data import audio, audio_stream
from speechxfer.data.audio import measure_duration
from speechxfer.data.segmentation import AudioSegment, segment_audio
from speechxfer.errors import MissingExtraError, UserError

RATE = 16_000
Writer = Callable[..., Path]
WRITTEN_AS = {".wav": ("WAV", "FLOAT"), ".flac": ("FLAC", None), ".ogg": ("OGG", "VORBIS")}
WRITTEN_AS |= {".opus": ("OGG", "OPUS"), ".mp3": ("MP3", None)}


def sound(seconds: float, level: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise at `level` dBFS (RMS)."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return (10 ** (level / 20) * noise).astype(np.float32)


def talk(spans: list[tuple[float, float]], seconds: float, *, level: float = -20, floor: float = -50) -> np.ndarray:
    """Bursts of noise at `level` over the spans (seconds), `floor` dBFS of noise everywhere; no floor: digital zero."""
    samples = sound(seconds, floor, seed=1) if np.isfinite(floor) else np.zeros(round(seconds * RATE), np.float32)
    for number, (start, end) in enumerate(spans):
        span = samples[round(start * RATE) : round(end * RATE)]
        span += sound(len(span) / RATE, level, seed=number)
    return samples


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> dict[str, str]:
    """The row of a file."""
    kind, subtype = WRITTEN_AS[path.suffix]
    soundfile.write(path, samples, rate, format=kind, subtype=subtype)
    return {"audio": path.name, "path": str(path)}


def times(found: list[AudioSegment]) -> list[tuple[float, float]]:
    return [(cut.start, cut.end) for cut in found]


@pytest.mark.parametrize("suffix", list(WRITTEN_AS))
@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_short_file_is_one_cut_and_what_others_load(tmp_path: Path, suffix: str, rate: int) -> None:
    if suffix == ".opus" and rate == 44_100:
        pytest.skip("Opus has no such rate")
    stereo = np.stack([sound(2.5, -20, 1, rate), sound(2.5, -25, 2, rate)], axis=1)
    row = write(tmp_path / f"a{suffix}", stereo, rate)
    (cut,) = segment_audio(row, max_seconds=1, max_single_seconds=3)
    assert cut.is_whole and (cut.start, cut.end) == (0, pytest.approx(2.5, abs=0.08))  # MP3 pads
    np.testing.assert_array_equal(cut.waveform, audio.load_waveform(row))
    assert cut.waveform.dtype == np.float32
    embedded = {"audio": "a", "path": "", "bytes": Path(row["path"]).read_bytes()}
    np.testing.assert_array_equal(
        next(segment_audio(embedded, max_seconds=1, max_single_seconds=3)).waveform, cut.waveform
    )


def test_silence_alone_is_one_cut_where_it_is_short(tmp_path: Path) -> None:
    (cut,) = segment_audio(write(tmp_path / "a.wav", np.zeros(3 * RATE)), max_seconds=3)
    assert cut.is_whole and len(cut.waveform) == 3 * RATE


def test_cuts_lie_in_the_pauses_and_lose_nothing(tmp_path: Path) -> None:
    pauses = [(3.0, 3.4), (7.0, 7.5), (9.5, 9.8), (12.0, 12.4), (16.0, 16.5), (20.0, 20.4)]
    edges = [0.0, *itertools.chain(*pauses), 24.0]
    samples = talk(list(zip(edges[::2], edges[1::2], strict=True)), 24.0)
    found = list(segment_audio(write(tmp_path / "a.wav", samples), max_seconds=6.0, max_single_seconds=8.0))
    assert len(found) > 3 and not any(cut.is_whole for cut in found)
    np.testing.assert_array_equal(np.concatenate([cut.waveform for cut in found]), samples)
    assert found[0].start == 0 and found[-1].end == 24.0
    for one, following in itertools.pairwise(found):
        assert one.end == following.start
        assert any(start < one.end < end for start, end in pauses), one.end
    assert all(cut.end - cut.start <= 6.0 for cut in found)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_pauses_no_cut_is_too_long_nor_the_last_a_snippet(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(0.05, 3.0, 60))
    length = float(edges[-1]) + rng.uniform(0, 5)
    samples = talk(list(zip(edges[::2], edges[1::2], strict=True)), length)
    row = write(tmp_path / "a.wav", samples)
    found = list(segment_audio(row, max_seconds=5.0))
    assert max(cut.end - cut.start for cut in found) <= 5.0
    assert min(cut.end - cut.start for cut in found) >= 0.99
    np.testing.assert_array_equal(np.concatenate([cut.waveform for cut in found]), samples)


def test_the_quietest_point_is_taken_and_a_short_dip_is_none(tmp_path: Path) -> None:
    # a stop consonant's 60 ms of silence at 8 s, a pause of 0.4 s in a louder room at 6.5 s
    samples = talk([(0, 6.5), (6.9, 8.0), (8.06, 20.0)], 20.0, floor=-90)
    samples[round(6.5 * RATE) : round(6.9 * RATE)] += sound(0.4, -45, seed=9)
    first = next(segment_audio(write(tmp_path / "a.wav", samples), max_seconds=10.0))
    assert 6.5 < first.end < 6.9


def test_a_pause_that_ends_where_the_search_begins_is_taken_in_its_middle(tmp_path: Path) -> None:
    first = next(segment_audio(write(tmp_path / "a.wav", talk([(0, 4.6), (5.05, 20)], 20.0)), max_seconds=10.0))
    assert 4.65 < first.end < 5


def test_segments_end_at_long_pauses_if_there_are_any(tmp_path: Path) -> None:
    # two utterances with short pauses within, a pause of 1.2 s between them, and 12 s of speech with short pauses only
    spans = [(0, 2.0), (2.3, 4.0), (5.2, 7.0), (8.3, 13.0), (13.4, 17.0), (17.3, 21.0)]
    samples = talk(spans, 21.0, floor=-55)
    row = write(tmp_path / "a.wav", samples)
    found = list(segment_audio(row, max_seconds=8.0, pause_seconds=1.0))
    np.testing.assert_array_equal(np.concatenate([cut.waveform for cut in found]), samples)
    assert 4.3 < found[0].end < 4.9 and 7.3 < found[1].end < 8.0
    assert 13.0 < found[2].end < 13.4 and max(cut.end - cut.start for cut in found) <= 8.0
    assert found[0].end != next(iter(segment_audio(row, max_seconds=8.0))).end


def test_segments_that_end_at_pauses_have_no_digital_silence_at_their_ends(tmp_path: Path) -> None:
    spans = [(0, 2.0), (3.5, 5.0), (6.5, 9.0)]
    samples = talk(spans, 9.5, floor=-np.inf)
    found = list(segment_audio(write(tmp_path / "a.wav", samples), max_seconds=4.0, pause_seconds=1.0))
    assert times(found) == [(pytest.approx(start, abs=1e-3), pytest.approx(end, abs=1e-3)) for start, end in spans]
    for cut in found:
        np.testing.assert_array_equal(cut.waveform, samples[round(cut.start * RATE) : round(cut.end * RATE)])


@pytest.mark.parametrize("seed", range(10))
def test_segments_that_end_at_pauses_are_neither_too_long_nor_snippets(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(0.05, 3.0, 60))
    samples = talk(list(zip(edges[::2], edges[1::2], strict=True)), float(edges[-1]) + 1, floor=-55)
    found = list(segment_audio(write(tmp_path / "a.wav", samples), max_seconds=5.0, pause_seconds=1.0))
    assert max(cut.end - cut.start for cut in found) <= 5.0
    assert min(cut.end - cut.start for cut in found) >= 0.99
    np.testing.assert_array_equal(np.concatenate([cut.waveform for cut in found]), samples)


def test_where_decoding_stops_for_breath_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = talk([(0.5, 4), (4.3, 9), (14, 19), (19.2, 30)], 31.0, floor=-np.inf)
    row = write(tmp_path / "a.flac", samples)
    expected = list(segment_audio(row, max_seconds=5.0))
    for block in (777, 16_000, 1_000_000):
        monkeypatch.setattr(audio_stream, "_BLOCK_VALUES", block)
        found = list(segment_audio(row, max_seconds=5.0))
        assert times(found) == times(expected)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.waveform, other.waveform)


def test_silence_is_left_out_and_every_sound_is_in_a_cut(tmp_path: Path) -> None:
    spans = [(6.0, 8.0), (8.9, 10.0), (17.0, 18.0), (40.0, 47.0), (60.0, 60.2)]
    row = write(tmp_path / "a.wav", talk(spans, 75.0, floor=-np.inf))
    found = list(segment_audio(row, max_seconds=5.0))
    for start, end in spans:
        heard = sum(max(0.0, min(end, cut.end) - max(start, cut.start)) for cut in found)
        assert heard == pytest.approx(end - start, abs=1e-6)
    spoken, kept = sum(end - start for start, end in spans), sum(cut.end - cut.start for cut in found)
    assert spoken < kept < spoken + 0.9 + 2 * 0.2 * len(spans)  # the pause of 0.9 s stays, 0.15 s around each sound
    assert found[0].start == pytest.approx(5.85, abs=0.04)
    assert [cut.end for cut in found][-1] == pytest.approx(60.35, abs=0.04)


@pytest.mark.parametrize(
    ("what", "level", "floor", "left_out"),
    [
        ("a room's noise under speech", -20, -55, False),
        ("a muted microphone", -20, -85, True),
        ("the gap in a faint recording, 30 dB under its speech", -62, -92, False),
        ("zeros in a faint recording", -62, -np.inf, True),
    ],
)
def test_what_is_silence(tmp_path: Path, what: str, level: float, floor: float, left_out: bool) -> None:
    row = write(tmp_path / "a.wav", talk([(0, 4), (24, 28)], 28.0, level=level, floor=floor))
    kept = sum(cut.end - cut.start for cut in segment_audio(row, max_seconds=5.0))
    assert kept == pytest.approx(8.3 if left_out else 28.0, abs=0.1), what


def test_a_speaker_far_from_the_microphone_is_heard(tmp_path: Path) -> None:
    near, far = talk([(0, 5)], 20.0, level=-20, floor=-90), talk([(10, 15)], 20.0, level=-55, floor=-np.inf)
    found = list(segment_audio(write(tmp_path / "a.wav", near + far), max_seconds=6.0))
    assert any(cut.start <= 10 and cut.end >= 15 for cut in found)


def test_a_constant_offset_is_no_sound(tmp_path: Path) -> None:
    row = write(tmp_path / "a.wav", talk([(0, 4)], 20.0, floor=-np.inf) + 0.2)
    assert sum(cut.end - cut.start for cut in segment_audio(row, max_seconds=5.0)) == pytest.approx(4.15, abs=0.05)


def test_a_long_file_of_nothing_has_no_cut(tmp_path: Path) -> None:
    assert list(segment_audio(write(tmp_path / "a.flac", np.zeros(20 * RATE)), max_seconds=5.0)) == []


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".opus", ".mp3"])
def test_cuts_of_compressed_files_are_slices_of_the_whole(tmp_path: Path, suffix: str) -> None:
    row = write(tmp_path / f"a{suffix}", talk([(0, 3), (3.4, 8), (8.4, 13)], 13.0, floor=-45))
    whole = audio.load_waveform(row)
    found = list(segment_audio(row, max_seconds=5.0))
    assert len(found) >= 3
    for cut in found:
        np.testing.assert_allclose(cut.waveform, whole[round(cut.start * RATE) : round(cut.end * RATE)], atol=1e-4)


@pytest.mark.parametrize("rate", [48_000, 44_101])
def test_cuts_of_another_rate_are_slices_of_the_resampled_whole(tmp_path: Path, rate: int) -> None:
    samples = np.repeat(talk([(0, 3), (3.4, 8), (8.4, 13)], 13.0, floor=-45), 3)  # 48 kHz
    row = write(tmp_path / "a.wav", np.stack([samples, samples / 2], axis=1), rate)
    whole = audio.load_waveform(row)
    found = list(segment_audio(row, max_seconds=5.0))
    assert len(found) >= 3
    for cut in found:
        np.testing.assert_array_equal(cut.waveform, whole[round(cut.start * RATE) : round(cut.end * RATE)])


@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
def test_a_stretch_of_a_file_has_the_files_times(tmp_path: Path, suffix: str) -> None:
    samples = talk([(0, 7), (7.4, 12), (12.4, 20)], 20.0)
    row = write(tmp_path / f"a{suffix}", samples) | {"start": 5.0, "end": 18.0}
    found = list(segment_audio(row, max_seconds=5.0))
    assert found[0].start == 5.0 and found[-1].end == pytest.approx(18.0)
    assert 7 < found[0].end < 7.4
    np.testing.assert_allclose(np.concatenate([cut.waveform for cut in found]), audio.load_waveform(row), atol=1e-4)
    (short,) = segment_audio(row | {"end": 6.5}, max_seconds=5.0)
    assert short.is_whole and (short.start, short.end) == (5.0, 6.5)
    np.testing.assert_array_equal(short.waveform, audio.load_waveform(row | {"end": 6.5}))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    piece = talk([(0, 7), (7.4, 19), (19.4, 30)], 30.0)
    peaks = {}
    for times_as_long in (1, 10):
        with soundfile.SoundFile(tmp_path / f"{times_as_long}.flac", "w", 44_100, 2) as file:
            for _ in range(5 * times_as_long):
                file.write(np.stack([piece, piece], axis=1))
        row = {"audio": "a", "path": str(tmp_path / f"{times_as_long}.flac")}
        tracemalloc.start()
        seconds = sum(cut.end - cut.start for cut in segment_audio(row, max_seconds=10.0, max_single_seconds=12.0))
        peaks[times_as_long] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds == pytest.approx(5 * times_as_long * len(piece) / 44_100)  # 54 s, and 9 minutes
    assert peaks[10] < 1.1 * peaks[1]
    assert peaks[10] < 60 * 44_100 * 4  # less than one minute of it, mono


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".opus", ".mp3"])
def test_a_damaged_file_is_named_as_in_the_table(tmp_path: Path, suffix: str) -> None:
    row = write(tmp_path / f"a{suffix}", talk([(0, 20)], 20.0)) | {"audio": "as/in/the/table"}
    data = Path(row["path"]).read_bytes()
    Path(row["path"]).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="as/in/the/table: is truncated or damaged"):
        list(segment_audio(row, max_seconds=5.0))


@pytest.mark.parametrize(
    ("content", "message"), [(b"", r"empty \(0 bytes\)"), (b"hello " * 9, "is text"), (None, "no such file")]
)
def test_what_is_no_audio_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.wav").write_bytes(content)
    row = {"audio": "a.wav", "path": str(tmp_path / "a.wav")}
    for ask in (lambda: list(segment_audio(row, max_seconds=5.0)), lambda: measure_duration(row)):
        with pytest.raises(UserError, match=f"a.wav: .*{message}"):
            ask()


def test_a_stretch_beyond_the_end(tmp_path: Path) -> None:
    row = write(tmp_path / "a.wav", talk([(0, 8)], 8.0)) | {"start": 1.0, "end": 9.0}
    with pytest.raises(UserError, match="after the file's end"):
        list(segment_audio(row, max_seconds=5.0))


def write_m4a(path: Path, samples: np.ndarray) -> dict[str, str]:
    av = pytest.importorskip("av", reason="the extra 'av' is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return {"audio": path.name, "path": str(path)}


def test_m4a_in_a_stream(tmp_path: Path) -> None:
    row = write_m4a(tmp_path / "a.m4a", talk([(0, 3), (3.5, 8), (8.5, 13)], 13.0, floor=-45))
    assert measure_duration(row) == pytest.approx(13, abs=0.2)
    whole = audio.load_waveform(row)
    (cut,) = segment_audio(row, max_seconds=20.0)
    np.testing.assert_array_equal(cut.waveform, whole)
    found = list(segment_audio(row, max_seconds=5.0))
    np.testing.assert_array_equal(np.concatenate([cut.waveform for cut in found]), whole)
    assert 3 < found[0].end < 3.6
    part = row | {"start": 4.0, "end": 12.0}
    assert measure_duration(part) == pytest.approx(8.0)
    found = list(segment_audio(part, max_seconds=5.0))
    np.testing.assert_array_equal(np.concatenate([cut.waveform for cut in found]), audio.load_waveform(part))
    with pytest.raises(UserError, match=r"a.m4a: the cut ends at 20 s, after the file's end"):
        list(segment_audio(row | {"start": 4.0, "end": 20.0}, max_seconds=5.0))
    data = Path(row["path"]).read_bytes()
    with pytest.raises(UserError, match="truncated or damaged"):
        list(segment_audio({"audio": "a", "path": "", "bytes": data[: len(data) // 3]}, max_seconds=5.0))


def test_m4a_without_av_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    row = {"audio": "a.m4a", "path": str(tmp_path / "a.m4a")}
    for ask in (lambda: list(segment_audio(row, max_seconds=5.0)), lambda: measure_duration(row)):
        with pytest.raises((UserError, MissingExtraError), match=r"a.m4a.*'av'[\s\S]*speechxfer\[av\]"):
            ask()


def test_seconds_of_a_part(tmp_path: Path, write_tone: Writer) -> None:
    row = {"audio": "a.flac", "path": str(write_tone(tmp_path / "a.flac", 2.0))}
    assert measure_duration(row) == 2.0
    assert measure_duration(row | {"start": 0.5, "end": None}) == 1.5
