"""espeak-ng's speech: the same samples whatever was spoken before, and mistakes that are named."""

import ctypes
import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from speechxfer.data.synthesis import list_voice_variants, synthesize_espeak
from speechxfer.errors import MissingExtraError, UserError

espeakng_loader = pytest.importorskip("espeakng_loader", reason="the extra demo is not installed")

KETTLE, RAIN = "The kettle is on, would you like a cup of tea?", "It rained heavily all night long."
# f2 and whisper draw on espeak-ng's own generator, Reed and caleb on libc's, klatt2 is another synthesiser.
VOICES = ["f2", "whisper", "Reed", "caleb", "klatt2", "Andy", None]


def fundamental(waveform: np.ndarray, rate: int) -> float:
    """Hz, of the loudest tenth of a second, by autocorrelation from 60 to 400 Hz."""
    size = rate // 10
    start = max(range(0, len(waveform) - size, size // 4), key=lambda at: np.sum(waveform[at : at + size] ** 2))
    piece = waveform[start : start + size].astype(float)
    correlation = np.correlate(piece, piece, "full")[size - 1 :]
    lags = slice(rate // 400, rate // 60)
    return rate / (lags.start + int(correlation[lags].argmax()))


class TestSamples:
    def test_shape_and_range(self):
        waveform, rate = synthesize_espeak(KETTLE)
        assert rate == 22_050
        assert waveform.ndim == 1 and waveform.dtype == np.float32
        assert 1.5 < len(waveform) / rate < 5
        assert 0.1 < np.abs(waveform).max() <= 1

    def test_a_faster_rate_is_shorter(self):
        assert len(synthesize_espeak(KETTLE, rate=300)[0]) < 0.75 * len(synthesize_espeak(KETTLE, rate=150)[0])

    def test_a_higher_pitch_is_higher(self):
        low, high = (fundamental(*synthesize_espeak("Far.", pitch=pitch)) for pitch in (10, 90))
        assert high > 1.3 * low

    def test_voices_and_variants_differ(self):
        spoken = [
            synthesize_espeak(KETTLE),
            synthesize_espeak(KETTLE, voice="en-us"),
            synthesize_espeak(KETTLE, variant="f2"),
            synthesize_espeak(KETTLE, variant="m3"),
        ]
        assert len({waveform.tobytes() for waveform, _ in spoken}) == 4

    def test_neither_markup_nor_phonemes_are_interpreted(self):
        assert len(synthesize_espeak("<break time='5s'/> [[h@l'oU]]")[0]) > 0
        assert not np.array_equal(synthesize_espeak("[[h@l'oU]]")[0], synthesize_espeak("hello")[0])

    def test_text_after_a_null_character_is_spoken(self):
        assert np.array_equal(synthesize_espeak("tea\0time")[0], synthesize_espeak("tea time")[0])


class TestFreshState:
    @pytest.mark.parametrize("variant", VOICES)
    def test_what_was_spoken_between_changes_nothing(self, variant):
        first = synthesize_espeak(KETTLE, variant=variant)[0]
        synthesize_espeak(RAIN, variant="whisper", rate=250, pitch=80)
        assert np.array_equal(first, synthesize_espeak(KETTLE, variant=variant)[0])

    def test_a_new_process_says_the_same(self):
        here = [
            hashlib.sha256(synthesize_espeak(KETTLE, variant=variant)[0].tobytes()).hexdigest() for variant in VOICES
        ]
        code = (
            "import hashlib, sys\nfrom speechxfer.data.synthesis import synthesize_espeak\n"
            f"for variant in reversed({VOICES!r}):\n"
            f"    print(hashlib.sha256(synthesize_espeak({KETTLE!r}, variant=variant)[0].tobytes()).hexdigest())"
        )
        there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert there[::-1] == here

    def test_another_user_of_the_library_changes_nothing(self):
        before = synthesize_espeak(KETTLE, variant="f2")[0]
        theirs = ctypes.CDLL(espeakng_loader.get_library_path())
        assert theirs.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0x8000) == 22_050
        theirs.espeak_SetVoiceByName(b"de+whisper")
        theirs.espeak_Synth(b"guten Tag\0", ctypes.c_size_t(10), 0, 1, 0, 1, None, None)
        during = synthesize_espeak(KETTLE, variant="f2")[0]
        theirs.espeak_Terminate()
        assert np.array_equal(before, during)

    @pytest.mark.skipif(sys.platform == "win32", reason="libc's generator is reached through the process on POSIX only")
    def test_libcs_generator_changes_nothing(self):
        libc = ctypes.CDLL(None)
        spoken = []
        for seed in (3, 4):
            libc.srand(seed)
            spoken.append(synthesize_espeak(KETTLE, variant="Reed")[0])
        assert np.array_equal(*spoken)

    def test_threads_do_not_meet(self):
        alone = [synthesize_espeak(text, variant=variant)[0] for text in (KETTLE, RAIN) for variant in ("f2", "m3")]
        with ThreadPoolExecutor(4) as pool:
            waiting = [
                pool.submit(synthesize_espeak, text, variant=variant)
                for text in (KETTLE, RAIN)
                for variant in ("f2", "m3")
            ]
        assert all(np.array_equal(one, other.result()[0]) for one, other in zip(alone, waiting, strict=True))


class TestMistakes:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"voice": "en-gb-nowhere"}, "no voice 'en-gb-nowhere'"),
            ({"variant": "f22"}, r"no voice variant 'f22' \(did you mean 'f2'\?\)"),
            ({"rate": 10}, "rate of 10"),
            ({"pitch": 101}, "pitch of 101"),
        ],
    )
    def test_are_named(self, wrong, message):
        with pytest.raises(UserError, match=message):
            synthesize_espeak("hello", **wrong)

    @pytest.mark.parametrize("call", [list_voice_variants, lambda: synthesize_espeak("hello")])
    def test_a_missing_package_names_its_extra(self, call, monkeypatch):
        monkeypatch.setitem(sys.modules, "espeakng_loader", None)
        with pytest.raises(MissingExtraError) as caught:
            call()
        assert caught.value.extra == "demo"

    def test_missing_data_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path))
        with pytest.raises(UserError, match="could not read its data"):
            synthesize_espeak("hello")

    @pytest.mark.skipif(sys.platform == "win32", reason="the data is linked to on POSIX only")
    def test_an_installation_deep_in_folders_speaks(self, tmp_path, monkeypatch):
        deep = tmp_path / ("d" * 200)
        deep.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
        before = synthesize_espeak("hello")[0]
        monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep))
        assert np.array_equal(synthesize_espeak("hello")[0], before)


def test_variants_are_espeak_ngs_own():
    assert {"f1", "f5", "m1", "m8", "klatt2", "whisper"} <= set(list_voice_variants())
    assert list_voice_variants() == sorted(set(list_voice_variants()))
