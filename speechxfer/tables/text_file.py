"""Reads text files as strict UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

from speechxfer.errors import UserError

# UTF-32's mark begins with UTF-16's
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path) -> str:
    """Read a UTF-8 file, with or without byte order mark.

    Raises:
        UserError: if it cannot be read, has another encoding (naming the line of the first byte that is not UTF-8), or
            is not text.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=str(path)) from None
    return decode_text(data, path)


def decode_text(data: bytes, path: Path) -> str:
    """Decode the bytes of a text file (see `read_text`)."""
    for mark, encoding in _OTHER_MARKS.items():
        if data.startswith(mark):
            fix = f"iconv -f {encoding} -t UTF-8 '{path.name}', or save it as 'CSV UTF-8'"
            raise UserError(f"is encoded as {encoding}, not UTF-8", where=str(path), fix=fix)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            where=f"{path}:{line}",
            fix=f"iconv -f WINDOWS-1252 -t UTF-8 '{path.name}' (if that is its encoding), or save it as 'CSV UTF-8'",
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError("is not a text file: it contains a NUL byte", where=f"{path}:{line}")
    return text
