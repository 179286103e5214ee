"""Speech synthesis with espeak-ng through ctypes, for the demo corpus and tests; results say nothing about people.

espeak-ng keeps state between utterances (phases, flutter, two random generators) that neither `espeak_Terminate` nor
a seed resets. Therefore each utterance is synthesized by its own copy of the library, which is loaded, seeded and
unloaded again: earlier utterances, of this module or of another user of the library, have no influence.
"""

from __future__ import annotations

import _ctypes
import ctypes
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np

from speechxfer.errors import MissingExtraError, UserError, suggest_nearest

# From espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: audio goes to the callback, in the calling thread
_DONT_EXIT = 0x8000  # espeak_Initialize: return an error instead of exiting the process
_UTF8 = 1  # espeak_Synth: encoding of the text; without further flags neither SSML nor phonemes are interpreted
_CHARACTER = 1  # espeak_POSITION_TYPE
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_RATES, _PITCHES = (80, 450), (0, 100)
_SEED = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_lock = threading.Lock()  # libc's random generator is shared by the process


def synthesize_espeak(
    text: str,
    *,
    voice: str = "en-gb-x-gbclan",
    variant: str | None = None,
    rate: int | None = None,
    pitch: int | None = None,
) -> tuple[np.ndarray, int]:
    """Synthesize `text`: (time,) float32 mono within ±1, and the sampling rate (22,050 Hz).

    Deterministic: the same arguments give the same samples.

    voice: espeak-ng's name of a language or accent. variant: one of `list_voice_variants()` (`voice+variant`).
    rate: words per minute, 80 to 450 (default: 175). pitch: 0 to 100 (default: 50).
    Raises: MissingExtraError without the extra `demo`, UserError for an unknown voice or variant and for a rate or
    pitch out of range.
    """
    _check_range("rate", rate, _RATES)
    _check_range("pitch", pitch, _PITCHES)
    # espeak-ng silently ignores an unknown variant
    if variant is not None and variant not in (known := list_voice_variants()):
        raise UserError(f"espeak-ng has no voice variant '{variant}'{suggest_nearest(variant, known)}")
    chunks: list[bytes] = []

    def keep(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count:
            chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    with _lock, _load_library_copy() as (library, data):
        callback = _CALLBACK(keep)  # must outlive the synthesis
        sampling_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
        if sampling_rate <= 0:
            raise UserError(f"espeak-ng could not read its data in {data}", fix="reinstall the package espeakng-loader")
        try:
            library.espeak_SetSynthCallback(callback)
            name = voice if variant is None else f"{voice}+{variant}"
            if library.espeak_SetVoiceByName(name.encode()) != 0:
                raise UserError(f"espeak-ng has no voice '{voice}'", fix="use e.g. en-us, en-gb-x-gbclan or de")
            for parameter, value in ((_RATE, rate), (_PITCH, pitch)):
                if value is not None:
                    library.espeak_SetParameter(parameter, value, 0)
            _seed(library)
            encoded = text.replace("\0", " ").encode() + b"\0"
            library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, _CHARACTER, 0, _UTF8, None, None)
            library.espeak_Synchronize()
        finally:
            library.espeak_Terminate()
    return np.frombuffer(b"".join(chunks), np.int16).astype(np.float32) / 32_768, sampling_rate


def list_voice_variants() -> list[str]:
    """Return the sorted names of espeak-ng's voice variants. Raises MissingExtraError without the extra `demo`."""
    return sorted(file.name for file in (Path(_import_loader().get_data_path()) / "voices" / "!v").iterdir())


def _check_range(name: str, value: int | None, bounds: tuple[int, int]) -> None:
    low, high = bounds
    if value is not None and not low <= value <= high:
        raise UserError(f"a {name} of {value} is outside espeak-ng's {low} to {high}")


def _import_loader() -> ModuleType:
    try:
        import espeakng_loader
    except ImportError:
        raise MissingExtraError("espeakng-loader", "demo", "synthetic speech") from None
    return espeakng_loader


def _seed(library: ctypes.CDLL) -> None:
    """Seed espeak-ng's random generator, and libc's, which its Klatt-like voices use for noise."""
    library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
    if hasattr(_ctypes, "dlclose"):  # POSIX: the process's own symbols
        ctypes.CDLL(None).srand(_SEED)


@contextmanager
def _load_library_copy() -> Iterator[tuple[ctypes.CDLL, Path]]:
    """Load a fresh copy of espeak-ng's library, and return it with the folder of its data.

    The dynamic loader treats a copy at another path as another library, so it shares no variables with a loaded one.
    The data is linked next to it, as espeak-ng accepts paths of up to 160 bytes only.
    """
    loader = _import_loader()
    with tempfile.TemporaryDirectory(prefix="speechxfer-", ignore_cleanup_errors=True) as folder:
        source, data = Path(loader.get_library_path()), Path(loader.get_data_path())
        copy = shutil.copy(source, Path(folder) / source.name)
        if hasattr(_ctypes, "dlclose"):
            link = Path(folder) / "data"
            link.symlink_to(data, target_is_directory=True)
            data = link
        library = ctypes.CDLL(str(copy))
        try:
            yield library, data
        finally:
            if hasattr(_ctypes, "dlclose"):
                _ctypes.dlclose(library._handle)
