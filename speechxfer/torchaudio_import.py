"""torchaudio, where it fits the installed torch.

torchaudio's binary fails to import with a torch that it was not built for, such as a CPU-only one. transformers imports
it wherever it is installed, and fails with it. Here such a torchaudio counts as not installed, for transformers too, if
this module is imported first: the `__init__` of each package that uses transformers does so.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def _import_functional() -> ModuleType | None:
    try:
        return importlib.import_module("torchaudio.functional")
    except Exception:  # an ImportError, OSError or RuntimeError, by what does not fit
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio"] = None  # type: ignore[assignment]  # "not installed", to importlib and transformers
        return None


FUNCTIONAL = _import_functional()  # `torchaudio.functional`, or None where it cannot be imported
