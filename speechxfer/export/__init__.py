"""A model leaves the toolkit: as plain transformers or faster-whisper open it, each proven equal on request."""

from speechxfer.export.exporting import QUANTIZATIONS, Exported, export
from speechxfer.export.proof import Proof

__all__ = ["QUANTIZATIONS", "Exported", "Proof", "export"]
