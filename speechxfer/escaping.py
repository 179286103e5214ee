"""Control characters in text from files, made visible before they reach a terminal or a page.

An escape sequence in a file name, an id or a transcript could otherwise clear the screen or set the window's title, and
bidirectional characters could hide or reorder text.
"""

from __future__ import annotations

import re

# C0 without tab and line feed, DEL and C1; bidirectional marks, embeddings and isolates; surrogates of file names that
# are not UTF-8, which no output stream can encode
_CONTROLS = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape_controls(value: object) -> str:
    """Return a value as text, with control and bidirectional characters replaced by their code points, e.g. `[U+001B]`.

    Tab and line feed are kept.
    """
    return _CONTROLS.sub(lambda found: f"[U+{ord(found[0]):04X}]", str(value))


def escape_controls_in_json(document: str) -> str:
    r"""Replace the same characters inside the strings of a JSON document by JSON's own escapes, e.g. `\u009b`."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
