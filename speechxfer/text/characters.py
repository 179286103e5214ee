"""Unicode forms and case of characters."""

from __future__ import annotations

import unicodedata

# soft hyphen, zero-width space, direction marks, word joiner, byte order mark
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
_DOTTED_I = "i\u0307"  # what str.lower makes of the Turkish capital I with a dot


def remove_invisible(text: str) -> str:
    """Remove soft hyphens, direction marks and other characters without a glyph."""
    return text.translate(_INVISIBLE)


def compose(text: str) -> str:
    """Unify the forms of a character (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def to_nfc(text: str) -> str:
    """Unify the forms of a character (NFC) and remove invisible characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", remove_invisible(text))


def to_lower(text: str) -> str:
    """Lower-case a text. The Turkish capital I with a dot becomes i, and so does its lower case in two characters."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", text.lower().replace(_DOTTED_I, "i"))
