"""The console shows text as it is, without markup and without control sequences, in everything it renders."""

import io

import pytest
from rich.panel import Panel
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from speechxfer.report.console import EscapingConsole, make_text

HOSTILE = "[/noise] [indoor] \x1b]0;owned\x07 \x9b31m"
VISIBLE = "[/noise] [indoor] [U+001B]]0;owned[U+0007] [U+009B]31m"


def make_table(cell):
    table = Table(box=None)
    table.add_column("head", no_wrap=True)
    table.add_row(cell)
    return table


@pytest.mark.parametrize(
    "renderable",
    [HOSTILE, Text(HOSTILE), Text(HOSTILE, style="bold red"), make_table(HOSTILE), make_table(Text(HOSTILE))],
)
def test_hostile_text_is_visible(renderable):
    file = io.StringIO()
    EscapingConsole(file=file, width=200).print(renderable)
    assert "[/noise] [indoor]" in file.getvalue()
    assert file.getvalue().replace("\n", "").isprintable()


def test_text_is_escaped_before_it_is_measured():
    file = io.StringIO()
    EscapingConsole(file=file, width=200).print(make_table(make_text(HOSTILE, "bold")))
    assert VISIBLE in file.getvalue()


def test_a_table_wraps_its_names_in_a_narrow_terminal():
    file = io.StringIO()
    EscapingConsole(file=file, width=40).print(Panel("x " * 60))
    assert max(map(len, file.getvalue().splitlines())) <= 40


def test_descriptions_of_progress_bars_are_escaped():
    file = io.StringIO()
    with Progress(TextColumn("{task.description}", markup=False), console=EscapingConsole(file=file, width=200)) as bar:
        bar.add_task(HOSTILE, total=1)
    assert "[/noise] [indoor]" in file.getvalue() and file.getvalue().replace("\n", "").isprintable()


def test_a_quiet_console_prints_nothing(capsys):
    EscapingConsole(quiet=True).print("a")
    EscapingConsole(stderr=True).print("b")
    assert capsys.readouterr() == ("", "b\n")
