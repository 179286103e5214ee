"""An option has one meaning in every command, and the names of columns are listed in one place only."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import pytest
import typer.main

import speechxfer
from speechxfer.cli import build_app
from speechxfer.config.recipe import DataConfig, ScoringConfig
from speechxfer.tables import COLUMN_ROLES
from speechxfer.text.normalise import NORMALISER_NAMES
from speechxfer.wakeword.settings import WakeWordSettings

PACKAGE = Path(speechxfer.__file__).parent

# Every option of every command: its type (without None), and words that its help has in every command.
OPTIONS = {
    "--align": "str: alignment",
    "--all": "bool: remove everything",
    "--audio-folder": "Path: audio files",
    "--baseline": "str: model",
    "--batch-seconds": "float: audio per batch",
    "--beam-size": "int: beam size",
    "--by": "list[str]: columns to break",
    "--by-line": "bool: plain text per line",
    "--case": "bool: letter case",
    "--channel": "int: channel of the audio",
    "--check": "str: compare with the original",
    "--column": "list[str]: name of a column",
    "--compounds": "bool: ice cream",
    "--cut-seconds": "float: maximum segment length",
    "--device": "str: cpu",
    "--dry-run": "bool: train nothing",
    "--embed-audio": "int: audio files to embed",
    "--equivalents": "Path: count as equal",
    "--fail-above": "float: exit 1",
    "--fail-worse-than": "Path: exit 1",
    "--false-alarms-per-hour": "float: false alarms per hour",
    "--format": "str: csv",
    "--gain": "float: gain in db",
    "--hot-word": "list[str]: hot word",
    "--html": "Path: html report",
    "--hypothesis-column": "str: column of the hypotheses",
    "--json": "Path: json",
    "--language": "str: language of",
    "--learning-curve": "bool: more data",
    "--licence": "str: licence",
    "--lm": "Path: language model",
    "--log-level": "str: log of",
    "--metric": "str: metric of",
    "--microphone": "str: microphone",
    "--missing": "str: hypothesis is missing",
    "--model": "str: model",
    "--negatives": "str: speech without",
    "--no-pad-to-30s": "bool: pad the audio",
    "--noise": "str: noises",
    "--normalise": "str: text normalisation",
    "--normalize": "str: text normalisation",
    "--notation": "bool: notation",
    "--order": "int: words per n-gram",
    "--output": "Path: write",
    "--overwrite": "bool: replace",
    "--pad-to-30s": "bool: pad the audio",
    "--positives": "str: clips",
    "--punctuation": "bool: punctuation",
    "--quantization": "str: weight type",
    "--quiet": "bool: print errors",
    "--rate": "int: sampling rate",
    "--recipe": "str: settings",
    "--reduce": "str: leave out",
    "--reference-column": "str: column of the references",
    "--resume": "bool: continue",
    "--save-audio": "Path: save the last",
    "--seed": "int: seed",
    "--skip-bad": "bool: skip invalid rows",
    "--snr": "list[float]: snr",
    "--steps": "int: training steps",
    "--stream": "list[str]: speech without",
    "--synthetic": "int: synthetic clips",
    "--table": "str: results table",
    "--teacher": "str: frozen encoder",
    "--terms": "Path: words and phrases",
    "--threshold": "float: minimum score",
    "--times": "Path: detections",
    "--to": "str: transformers",
    "--transcripts": "bool: transcript",
    "--unit": "str: scoring unit",
    "--utt2spk": "Path: speaker of each utterance",
    "--voices": "str: voices",
    "--words": "bool: each word's time",
    "--wyoming": "str: serve",
    "-q": "bool: print errors",
}

# Every name of a column: the same list as `COLUMN_ROLES`, which is the only one of the package.
COLUMNS = {
    "id": "id utt_id utterance_id utt",
    "audio": "audio audio_filepath audio_file audio_path wav wav_path wav_filename path file file_name filename "
    "file_path filepath",
    "text": "text sentence transcription transcript normalized_text raw_transcription raw_text",
    "reference": "reference ref reference_text ground_truth",
    "hypothesis": "hypothesis hyp pred_text prediction predictions predicted predicted_text pred asr asr_text "
    "asr_output output recognized recognised decoded generated_text whisper",
    "label": "label class class_name",
    "speaker": "speaker speaker_id spk spk_id client_id",
    "accent": "accent accents",
    "language": "language lang",
    "split": "split",
    "start": "start start_time offset",
    "end": "end end_time",
    "duration": "duration dur",
}
# Headers of one format each, which are compared as a whole or give names to cells, and are no choice between names.
FORMAT_HEADERS = {
    ("data/common_voice.py", "client_id path sentence"),  # the columns by which a Common Voice table is recognised
    ("data/corpus_folders.py", "id file_name raw_transcription transcription phonemes num_samples gender"),  # FLEURS
    ("data/corpus_folders.py", "id raw_text text"),  # LJSpeech
}
NOT_DATA = {
    "demo",
    "adapt",
    "recipes",
    "recipes copy",
    "cache",
    "cache clear",
    "wakeword listen",
}  # adapt: data.columns


class Option(NamedTuple):
    command: str
    name: str
    type: str
    help: str


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(words, command) of everything that does something: `score`, `recipes`, `recipes copy`, ..."""
    inner = getattr(command, "commands", {})
    if name and (not inner or command.invoke_without_command):
        yield name, command
    for word, each in inner.items():
        yield from commands(each, f"{name} {word}".strip())


def list_options(app: typer.Typer) -> list[Option]:
    found = []
    for name, command in commands(typer.main.get_command(app)):
        hints = get_type_hints(inspect.unwrap(command.callback))
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                words = [*parameter.opts, *parameter.secondary_opts]
                found += [Option(name, word, describe(hints[parameter.name]), parameter.help) for word in words]
    return found


def describe(hint: Any) -> str:
    """The name of a type without None."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    (kind,) = (kind for kind in kinds if kind is not type(None))
    return str(kind) if typing.get_args(kind) else kind.__name__


def find_faults(options: list[Option], table: dict[str, str]) -> list[str]:
    """Options that the table lacks, or that differ from it in type or subject; rows that no command has."""
    faults = []
    for option in options:
        kind, _, subject = table.get(option.name, "").partition(": ")
        plain = re.sub(r'["“”]', "", option.help.casefold())
        if option.type != kind or subject not in plain:
            faults.append(f"{option.command} {option.name}: {option.type}: {option.help}")
    used = {option.name for option in options}
    return faults + [name for name in table if name not in used]


def test_an_option_has_one_type_and_one_subject_in_every_command():
    assert find_faults(list_options(build_app()), OPTIONS) == []


def test_a_second_meaning_of_an_option_is_found():
    def one(seed: typing.Annotated[int, typer.Option(help="Random seed.")] = 0) -> None: ...

    def other(
        seed: typing.Annotated[str, typer.Option(help="Seed of the words.")] = "",
        rows: typing.Annotated[int, typer.Option("--rows", help="Number of rows.")] = 0,
    ) -> None: ...

    def third(seed: typing.Annotated[int, typer.Option(help="Plants to grow.")] = 0) -> None: ...

    app = typer.Typer()
    for function in (one, other, third):
        function.__annotations__ = get_type_hints(function, globals(), include_extras=True)
        app.command(function.__name__)(function)
    faults = find_faults(list_options(app), {"--seed": "int: seed", "--unused": "int: rows"})
    assert faults == [
        "other --seed: str: Seed of the words.",
        "other --rows: int: Number of rows.",
        "third --seed: int: Plants to grow.",
        "--unused",
    ]


def test_every_command_that_reads_data_takes_the_names_of_its_columns():
    with_column = {option.command for option in list_options(build_app()) if option.name == "--column"}
    assert with_column == {name for name, _ in commands(typer.main.get_command(build_app()))} - NOT_DATA
    assert "columns" in DataConfig.model_fields
    assert "columns" in WakeWordSettings.model_fields


def test_help_lists_every_normaliser():
    texts = {option.help for option in list_options(build_app()) if option.name == "--normalise"}
    texts.add(str(ScoringConfig.model_fields["normaliser"].description))
    assert len(texts) == 3
    assert all(", ".join(NORMALISER_NAMES) in text for text in texts)


# -- names of columns ------------------------------------------------------------------------------------------------
def test_names_of_columns_are_those_of_the_table():
    assert {role: " ".join(names) for role, names in COLUMN_ROLES.items()} == COLUMNS
    names = [name for line in COLUMNS.values() for name in line.split()]
    assert len(set(names)) == len(names)


def collect_words(node: ast.AST) -> list[str]:
    """The strings that a node chooses between: items, keys of renamings, words of a split text, parts of `or`."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        nodes: list[Any] = [*node.elts]
    elif isinstance(node, ast.Dict):
        is_renaming = all(isinstance(value, ast.Constant) and value.value in COLUMN_ROLES for value in node.values)
        nodes = [*node.keys] if is_renaming else []
    elif isinstance(node, ast.BoolOp):
        nodes = list(ast.walk(node))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split":
        text = getattr(node.func.value, "value", None)
        return text.split() if isinstance(text, str) else []
    else:
        return []
    return [each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def find_name_lists(tree: ast.AST) -> list[str]:
    """Lists of two or more names of columns, of which one at least is not the canonical name.

    `path` is also the column of `speechxfer.data.read` with the absolute path.
    """
    canonical = {*COLUMN_ROLES, "path"}
    known = {name for names in COLUMN_ROLES.values() for name in names}
    lists = (collect_words(node) for node in ast.walk(tree))
    return [" ".join(w) for w in lists if len(known & {*w}) > 1 and (known - canonical) & {*w}]


def test_a_second_list_of_names_is_found():
    for source in (
        'NAMES = ("speaker", "spk")',
        'NAMES = ["wav", "audio_filepath"]',
        'x = {"sentence", "text"} & columns',
        'RENAMES = {"sentence": "text", "client_id": "speaker"}',
        'y = row.get("speaker_id") or row.get("speaker")',
        'y = name == "spk" or name == "speaker"',
        'y = name in ("pred_text", "hypothesis")',
        'y = "utt_id id".split()',
    ):
        assert len(find_name_lists(ast.parse(source))) == 1, source
    for source in (
        'first = ("id", "audio", "path", "bytes")',
        'y = "text" in row or "label" in row',
        'z = "a b".split()',
    ):
        assert find_name_lists(ast.parse(source)) == [], source


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_other_module_lists_names_of_columns(path):
    name = path.relative_to(PACKAGE).as_posix()
    if name == "tables/column_names.py":
        return
    found = find_name_lists(ast.parse(path.read_text(encoding="utf-8")))
    assert {(name, words) for words in found} <= FORMAT_HEADERS


def test_every_exception_is_there():
    for name, words in FORMAT_HEADERS:
        assert words in find_name_lists(ast.parse((PACKAGE / name).read_text(encoding="utf-8")))
