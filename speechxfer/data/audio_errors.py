"""The errors of audio that cannot be used, each naming the file and what to do."""

from __future__ import annotations

from pathlib import Path

from speechxfer.data.paths import make_printable
from speechxfer.errors import UserError

_MAGIC = {  # first bytes of a format, and how many bytes its shortest file has
    b"RIFF": 44, b"RF64": 80, b"riff": 104, b"FORM": 54, b"caff": 64, b".snd": 24, b"fLaC": 42, b"OggS": 28, b"ID3": 10,
}  # fmt: skip
_FORMATS = "WAV, FLAC, Ogg, Opus and MP3, and with the extra 'av' m4a and webm"


def name_source(source: str | Path | bytes) -> str:
    """Return the name of a source in messages."""
    return "embedded audio" if isinstance(source, bytes) else make_printable(source)


def make_damaged_error(where: str, reason: str) -> UserError:
    """Return the error for a truncated or damaged file."""
    return UserError(f"is truncated or damaged ({reason})", where=where, fix="copy or download the file again")


def make_no_samples_error(where: str) -> UserError:
    """Return the error for a file without samples."""
    return UserError("holds no samples", where=where, fix="record it again, or leave the row out")


def make_not_finite_error(where: str) -> UserError:
    """Return the error for a float file with NaN or infinite samples."""
    return UserError("holds samples that are not numbers", where=where, fix="write the file again")


def make_level_error(where: str, peak: float) -> UserError:
    """Return the error for a float file with samples far above full scale."""
    fix = "write the file again with samples within ±1: divide 16-bit values by 32768"
    return UserError(f"holds samples of up to {peak:.4g}, where full scale is 1", where=where, fix=fix)


def make_format_error(where: str, head: bytes, reason: str) -> UserError:
    """Return the error for a file that no decoder opens, according to its first bytes."""
    magic = next((magic for magic in _MAGIC if head.startswith(magic) or magic.startswith(head)), None)
    if magic is not None and len(head) < _MAGIC[magic]:
        return make_damaged_error(where, f"it has only {len(head)} bytes")
    if head.startswith(b"version https://git-lfs"):
        return UserError("is a Git LFS pointer, not the audio itself", where=where, fix="git lfs pull")
    if _is_text(head):
        line = head.decode("utf-8", "replace").strip().splitlines()[0] if head.strip() else ""
        return UserError(f"is text, not audio (it begins '{line[:40]}')", where=where, fix="replace it by audio")
    if magic is not None:
        return make_damaged_error(where, reason)
    return UserError(f"unknown audio format ({reason})", where=where, fix=f"supported are {_FORMATS}")


def format_decoder_error(error: Exception) -> str:
    """Return libsndfile's message without the object that it was given."""
    message = str(getattr(error, "error_string", error)).strip().removeprefix("Error : ").rstrip(".")
    if "is not a regular file" in message:  # libmpg123's, of a file that it opened
        return "its audio cannot be decoded"
    return message or type(error).__name__


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")  # the last character may be cut
    return len(text.encode()) >= len(head) - 3 and all(c.isprintable() or c.isspace() for c in text)
