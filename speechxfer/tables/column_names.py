"""The names under which tables have a column: the only list of them, for every command.

The first name of a role is its canonical one. Names are those of this toolkit, of Hugging Face datasets, of NeMo
manifests, of Common Voice and of the output of recognisers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from speechxfer.errors import Problems, UserError, suggest_nearest

_TEXTS = ("text", "sentence", "transcription", "transcript", "normalized_text", "raw_transcription", "raw_text")
COLUMN_ROLES: dict[str, tuple[str, ...]] = {
    "id": ("id", "utt_id", "utterance_id", "utt"),
    "audio": (
        *("audio", "audio_filepath", "audio_file", "audio_path", "wav", "wav_path", "wav_filename"),
        *("path", "file", "file_name", "filename", "file_path", "filepath"),
    ),
    "text": _TEXTS,
    "reference": ("reference", "ref", "reference_text", "ground_truth"),
    "hypothesis": (
        *("hypothesis", "hyp", "pred_text", "prediction", "predictions", "predicted", "predicted_text", "pred"),
        *(
            "asr",
            "asr_text",
            "asr_output",
            "output",
            "recognized",
            "recognised",
            "decoded",
            "generated_text",
            "whisper",
        ),
    ),
    "label": ("label", "class", "class_name"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "accent": ("accent", "accents"),
    "language": ("language", "lang"),
    "split": ("split",),
    "start": ("start", "start_time", "offset"),
    "end": ("end", "end_time"),
    "duration": ("duration", "dur"),
}
ColumnMap = dict[str, str]  # role -> name of the column that has it


def list_names(*roles: str) -> tuple[str, ...]:
    """Return all names of the roles, in order of preference."""
    return tuple(name for role in roles for name in COLUMN_ROLES[role])


def map_columns(names: Iterable[str], chosen: Mapping[str, str] | None = None, where: str = "") -> ColumnMap:
    """Return the column that has each role: the chosen one, else the first known name, whatever its case.

    A column that was chosen for one role has no other role.

    Args:
        names: the columns of the table.
        chosen: role to column name, e.g. `{"text": "sentence"}`.
        where: the table, for messages.

    Raises:
        UserError: for an unknown role, or a chosen column that the table lacks.
    """
    known = list(names)
    chosen = dict(chosen or {})
    check_roles(chosen)
    problems = Problems(f"{where}: columns that the table lacks", fix=f"the columns are {', '.join(known)}")
    for role, name in chosen.items():
        if name not in known:
            problems.add(f"{role}={name}{suggest_nearest(name, known)}")
    problems.raise_if_any()
    free = [name for name in known if name not in chosen.values()]
    found = {role: find_name(aliases, free) for role, aliases in COLUMN_ROLES.items() if role not in chosen}
    return chosen | {role: name for role, name in found.items() if name is not None}


def check_roles(chosen: Mapping[str, str], option: str = "columns") -> None:
    """Raise UserError for keys of `chosen` that are not roles."""
    for role in chosen:
        if role not in COLUMN_ROLES:
            raise UserError(
                f"unknown kind of column '{role}'{suggest_nearest(role, COLUMN_ROLES)}",
                where=f"{option}: {role}={chosen[role]}",
                fix=f"write KIND=NAME with one of the kinds {', '.join(COLUMN_ROLES)}",
            )


def find_role(name: str) -> str | None:
    """Return the role that a column of this name has, or None."""
    return next((role for role, aliases in COLUMN_ROLES.items() if find_name(aliases, [name])), None)


def parse_column_options(options: Iterable[str], option: str = "--column") -> dict[str, str]:
    """Return `{kind: name}` of options `KIND=NAME`. Raises UserError for any other form and for unknown kinds."""
    chosen: dict[str, str] = {}
    for text in options:
        role, equals, name = text.partition("=")
        if not equals or not name:
            raise UserError(f"'{text}' is not KIND=NAME", where=option, fix=f"e.g. {option} text=sentence")
        chosen[role.strip()] = name.strip()
    check_roles(chosen, option)
    return chosen


def find_names(aliases: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return the known names that are among the aliases, in the order of the aliases (see `find_name`)."""
    names = list(known)
    found = dict.fromkeys(name for alias in aliases if (name := find_name([alias], names)) is not None)
    return list(found)


def find_name(aliases: Iterable[str], known: Iterable[str]) -> str | None:
    """Return the first alias among the known names: as it is, else in another letter case or with other separators."""
    names = list(known)
    exact = next((alias for alias in aliases if alias in names), None)
    if exact is not None:
        return exact
    folded = {_fold(name): name for name in reversed(names)}
    return next((folded[_fold(alias)] for alias in aliases if _fold(alias) in folded), None)


def _fold(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")
