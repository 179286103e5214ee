"""User errors: the whole message, collected problems, suggestions, and the mismatch of torch and torchaudio."""

from __future__ import annotations

import re
from importlib.metadata import version

import pytest

from speechxfer.errors import (
    MissingExtraError,
    Problems,
    UserError,
    explain_torchaudio_import_error,
    explain_torchaudio_mismatch,
    suggest_nearest,
    summarize_out_of_memory,
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("is empty"), "is empty"),
        (UserError("is empty", where="a.wav"), "a.wav: is empty"),
        (UserError("is empty", where="a.wav", fix="copy it again"), "a.wav: is empty\n  fix: copy it again"),
        (
            MissingExtraError("av", "av", "this file"),
            "this file needs the package 'av', which is not installed\n  fix: pip install 'speechxfer[av]'",
        ),
    ],
)
def test_the_whole_message(error: UserError, message: str) -> None:
    assert str(error) == message


def test_problems_are_listed_together_up_to_a_limit() -> None:
    problems = Problems("t.csv cannot be used", fix="correct the rows", shown=2)
    problems.raise_if_any()
    assert not problems
    for row in (1, 2, 3):
        problems.add(f"row {row}")
    with pytest.raises(UserError) as caught:
        problems.raise_if_any()
    assert str(caught.value) == ("t.csv cannot be used:\n  - row 1\n  - row 2\n  … and 1 more\n  fix: correct the rows")


def test_the_nearest_name_is_suggested() -> None:
    assert suggest_nearest("spaeker", ["speaker", "accent"]) == " (did you mean 'speaker'?)"
    assert suggest_nearest("zzz", ["speaker", "accent"]) == ""


def test_out_of_memory_is_its_first_sentence() -> None:
    error = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB")
    assert summarize_out_of_memory(error) == "Tried to allocate 2.00 GiB"
    assert summarize_out_of_memory(RuntimeError("MPS backend out of memory. More.")) == "MPS backend out of memory"


def test_a_mismatch_names_both_versions_and_a_command() -> None:
    message = str(explain_torchaudio_mismatch(OSError("undefined symbol: _ZN\nmore")))
    versions = f"torch {version('torch')}, torchaudio {version('torchaudio')}"
    assert f"{versions} (undefined symbol: _ZN)" in message
    assert re.search(r"pip install --force-reinstall '?torch.*torchaudio", message)


def test_an_import_error_of_torchaudio_is_found_in_any_cause() -> None:
    try:
        try:
            raise ModuleNotFoundError("No module named 'torchaudio'", name="torchaudio")
        except ModuleNotFoundError as inner:
            raise RuntimeError("Failed to import transformers.models") from inner
    except RuntimeError as error:
        assert "No module named 'torchaudio'" in str(explain_torchaudio_import_error(error))
    assert explain_torchaudio_import_error(ImportError("no such thing", name="numpy")) is None


def test_an_error_within_torchaudio_s_import_is_found_by_its_traceback() -> None:
    code = compile("raise OSError('libtorchaudio.so: undefined symbol')", "torchaudio/__init__.py", "exec")
    with pytest.raises(OSError) as caught:
        exec(code, {"__name__": "torchaudio._extension"})
    assert "undefined symbol" in str(explain_torchaudio_import_error(caught.value))
