"""Export to transformers, CTranslate2 and ONNX, with an optional parity check."""

import speechxfer.torchaudio_import  # noqa: F401  # before transformers
from speechxfer.export.exporter import QUANTIZATIONS, ExportResult, export_model
from speechxfer.export.parity import ParityResult

__all__ = ["QUANTIZATIONS", "ExportResult", "ParityResult", "export_model"]
