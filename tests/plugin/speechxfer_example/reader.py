"""A reader of folders with `prompts.txt`, a sentence on each line, and the audio files 1.wav, 2.wav, ... next to it."""

from __future__ import annotations

from pathlib import Path


class NumberedReader:
    def recognises(self, path: Path) -> bool:
        return (path / "prompts.txt").is_file()

    def read(self, path: Path) -> tuple[Path, dict[str, list[str]]]:
        sentences = (path / "prompts.txt").read_text(encoding="utf-8").splitlines()
        return path, {"audio": [f"{number}.wav" for number, _ in enumerate(sentences, 1)], "text": sentences}


READER = NumberedReader()
