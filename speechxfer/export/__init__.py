"""A model leaves the toolkit: as plain transformers or faster-whisper open it, each proven equal on request."""

from speechxfer.export.exporter import QUANTIZATIONS, ExportResult, export_model
from speechxfer.export.parity import ParityResult

__all__ = ["QUANTIZATIONS", "ExportResult", "ParityResult", "export_model"]
