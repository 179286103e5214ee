"""Timestamps in transcripts as Whisper writes them, `<|0.00|> one two<|1.40|>`, and its other special tokens."""

from __future__ import annotations

import re

TIMESTAMP_STEP = 0.02  # seconds between Whisper's timestamp tokens
_SPECIAL_TOKEN = re.compile(r"<\|([^|<>]*)\|>")
_SECONDS = re.compile(r"\d+\.\d+")
# scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese
_NO_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")

Segment = tuple[float, str, float | None]  # start in seconds, words, end in seconds


def has_special_tokens(text: str) -> bool:
    """Return whether the text has timestamps or other special tokens, such as `<|en|>`."""
    return _SPECIAL_TOKEN.search(text) is not None


def has_timestamps(text: str) -> bool:
    """Return whether the text has a timestamp."""
    return any(_SECONDS.fullmatch(name) for name in _SPECIAL_TOKEN.findall(text))


def strip_special_tokens(text: str) -> str:
    """Remove timestamps and other special tokens; the words before and after one stay separate words."""
    if "<|" not in text:
        return text

    def join(match: re.Match[str]) -> str:
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        return "" if _NO_SPACES.match(before) and _NO_SPACES.match(after) else " "

    # tokens that follow each other are removed as one, so that `join` sees the characters around them
    stripped = re.sub(rf"(?:{_SPECIAL_TOKEN.pattern})+", join, text)
    return " ".join(stripped.split())


def parse_timestamps(text: str) -> list[Segment] | None:
    """Return the segments of a text; None if it has no timestamps, or not as Whisper writes them.

    Each segment has a start, words and an end; only the last end may be missing, where the audio is cut. The times do
    not decrease. A single timestamp between two segments is the end of one and the start of the other. Other special
    tokens are left out.
    """
    segments: list[Segment] = []
    start: float | None = None
    words, latest = "", 0.0
    for place, part in enumerate(_SPECIAL_TOKEN.split(text)):
        if place % 2 == 0 and part.strip():
            if start is None and not segments:
                return None  # words before the first timestamp
            start = latest if start is None else start
            words = f"{words} {part.strip()}".strip()
        elif place % 2 and _SECONDS.fullmatch(part):
            time = float(part)
            if time < latest or (start is not None and not words):
                return None
            latest = time
            if start is None:
                start = time
            else:
                segments.append((start, words, time))
                start, words = None, ""
    if start is not None:
        if not words:
            return None
        segments.append((start, words, None))
    return segments or None
